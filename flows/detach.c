/* SPDX-License-Identifier: Apache-2.0
 * detach.c: a target that lags by more than its flow allows is detached: the coordinator is asked to say so, and what it says is news to
 * everybody, the target too. Only then are rows for it dropped: it may have been bound anew meanwhile.
 *
 * Lag is the time that rows lie in the target's ring. A push that finds it full notes when, and where the last run began: all before that is
 * to be given back in time. So it does not help a target that it makes room now and then, and one is not late whose source has paused. */
#include "detach.h"

#include "cluster.h"
#include "layer.h"
#include "target.h"

static void ask(const struct dpi_source *s, uint32_t target, uint64_t queue)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, s->flow->id);
	dpi_pack_u32(&p, target);
	dpi_pack_u64(&p, queue);
	dpi_flow_tell(s->ctx, DPI_FLOW_DETACH, &p);
}

/* Was all given back that lay there when the ring was full? Where nothing was sent there is nothing to give back; where there is no ring
 * it is memory that is waited for. */
static bool caught_up(const struct dpi_lane *l)
{
	return l->b && (int64_t)(dpi_run_given_back(l->b) - l->full_at) >= 0;
}

void dpi_lane_goes_on(struct dpi_source *s, uint32_t target)
{
	struct dpi_lane *l = &s->lane[target];
	if (l->full_since && caught_up(l)) l->full_since = 0;
}

bool dpi_lane_lags(struct dpi_source *s, uint32_t target, int64_t now)
{
	struct dpi_lane *l = &s->lane[target];
	struct dpi_flow_target where = dpi_flow_where(s->flow, target);
	if (!l->full_since || caught_up(l)) {
		l->full_since = now;
		l->full_at = l->run.at ? l->run.at : 1;
	}
	if (where.state == DPI_TARGET_DETACHED) return true;
	uint64_t term = atomic_load_explicit(&s->ctx->cluster->term, memory_order_relaxed);
	if (now < dpi_lane_patience(s, target) || (l->detaching == where.queue && l->detaching_term == term)) return false;
	l->detaching = where.queue; /* without a registry it stays at that, until that is back: the push waits */
	l->detaching_term = term;
	ask(s, target, where.queue);
	return false;
}

int64_t dpi_lane_patience(const struct dpi_source *s, uint32_t target)
{
	return s->lane[target].full_since + s->flow->definition->detach_us * 1000;
}

bool dpi_lane_is_detached(struct dpi_source *s, uint32_t target)
{
	struct dpi_lane *l = &s->lane[target];
	uint64_t version = atomic_load_explicit(&s->flow->version, memory_order_acquire);
	if (version == l->looked) return false;
	l->looked = version;
	return dpi_flow_where(s->flow, target).state == DPI_TARGET_DETACHED;
}

int dpi_target_detached(struct dpi_target *t)
{
	const struct dpi_definition *d = t->flow->definition;
	uint64_t version = atomic_load_explicit(&t->flow->version, memory_order_acquire);
	if (!d->detach_us || (version == t->attached && version)) return DPI_SUCCESS;
	if (dpi_flow_where(t->flow, t->index).state == DPI_TARGET_DETACHED)
		return dpi_fail(DPI_ERR_FENCED, "target %u of flow '%s' was detached: it lagged behind a source by more than %lld us, which attr->detach_us allows; the others go on without it",
				t->index, t->flow->name, (long long)d->detach_us);
	t->attached = version;
	return DPI_SUCCESS;
}
