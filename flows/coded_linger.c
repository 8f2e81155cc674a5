/* SPDX-License-Identifier: Apache-2.0
 * coded_linger.c: rows of flows with codecs that nobody flushes travel within the linger time.
 *
 * A source sleeps once a round has found nothing pending. Its thread stores pending = true and then looks at asleep, the service stores
 * asleep = true and then looks at pending, all of it sequentially consistent: one of the two sees the other's. */
#include "coded.h"
#include "context.h"
#include "source.h"

static int64_t linger_ns(const struct dpi_coded *c)
{
	int64_t us = c->s->linger_us ? c->s->linger_us : c->s->ctx->settings.number[DPI_SETTING_LINGER];
	return us * 1000;
}

/* The service that is asleep looks at it again when this returns: what it says is due comes before or behind a round, not into it. */
void dpi_coded_linger_wake(struct dpi_coded *c)
{
	atomic_store(&c->asleep, false);
	dpi_flow_linger_by(c->s->ctx, &c->linger, dpi_now() + linger_ns(c));
}

static bool some_pending(struct dpi_coded *c)
{
	for (uint32_t t = 0; t < c->s->flow->definition->targets; t++)
		if (atomic_load(&c->lane[t].pending)) return true;
	return false;
}

int64_t dpi_coded_linger(struct dpi_lingerer *l, int64_t now)
{
	struct dpi_coded *c = (struct dpi_coded *)((char *)l - offsetof(struct dpi_coded, linger));
	if (some_pending(c)) {
		for (uint32_t t = 0; t < c->s->flow->definition->targets; t++) dpi_coded_linger_send(c, t);
		return now + linger_ns(c);
	}
	atomic_store(&c->asleep, true);
	if (!some_pending(c)) return DPI_NEVER;
	atomic_store(&c->asleep, false);
	return now + linger_ns(c);
}
