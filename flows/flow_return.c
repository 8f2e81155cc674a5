/* SPDX-License-Identifier: Apache-2.0
 * flow_return.c: the endpoints that this process has, and what it tells a coordinator that comes back: of its copies, of its
 * endpoints, and of those that it closed meanwhile. */
#include <stdlib.h>
#include <time.h>

#include "cluster.h"
#include "layer.h"

#define JOINING_NS 2000000000 /* calls that had their answer when the registry died end at once */

/* ------------------------------------------------------------------------------------------------------------- endpoints */

void dpi_flow_owned(struct dpi_flow_layer *l, struct dpi_flow_own *own)
{
	pthread_mutex_lock(&l->lock);
	own->next = l->own;
	l->own = own;
	pthread_mutex_unlock(&l->lock);
}

static void tell_left(struct dpi_context *ctx, const struct dpi_flow_own *o, int (*tell)(struct dpi_context *, struct dpi_peer *, uint16_t, struct dpi_pack *),
		      struct dpi_peer *to)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, o->flow);
	dpi_pack_u8(&p, o->target);
	dpi_pack_u32(&p, o->number);
	dpi_pack_u32(&p, o->epoch);
	dpi_pack_u64(&p, o->queue);
	dpi_pack_u32(&p, o->left);
	tell(ctx, to, DPI_FLOW_LEFT, &p);
}

static bool is_it(const struct dpi_flow_own *o, const struct dpi_flow_own *which)
{
	return o->flow == which->flow && o->target == which->target && o->number == which->number &&
	       (o->target ? o->queue == which->queue : o->epoch == which->epoch);
}

void dpi_flow_disowned(struct dpi_context *ctx, const struct dpi_flow_own *which, int state, int error)
{
	struct dpi_flow_layer *l = ctx->flows;
	struct dpi_flow_own left = { 0 };
	pthread_mutex_lock(&l->lock);
	struct dpi_flow_own **at = &l->own, *o;
	while (*at && !is_it(*at, which)) at = &(*at)->next;
	o = *at;
	if (o && error == DPI_ERR_REGISTRY) {
		o->left = (uint32_t)state;
		left = *o;
	} else if (o) {
		*at = o->next;
		free(o);
	}
	pthread_mutex_unlock(&l->lock);
	/* one that comes back at this moment may have been told of the others before */
	struct dpi_peer *registry = left.left ? dpi_peer_find(ctx, DPI_REGISTRY_NODE) : NULL;
	if (registry) tell_left(ctx, &left, dpi_tell, registry);
}

void dpi_flow_let_go(struct dpi_flow *f, uint32_t source, uint32_t epoch)
{
	struct dpi_flow_own which = { .flow = f->id, .number = source, .epoch = epoch };
	dpi_flow_disowned(f->ctx, &which, 0, DPI_SUCCESS);
}

void dpi_flow_let_go_queue(struct dpi_flow *f, uint32_t target, uint64_t queue)
{
	struct dpi_flow_own which = { .flow = f->id, .number = target, .queue = queue, .target = true };
	dpi_flow_disowned(f->ctx, &which, 0, DPI_SUCCESS);
}

void dpi_flow_left_is_known(struct dpi_flow_layer *l)
{
	for (struct dpi_flow_own **at = &l->own, *o; (o = *at);) {
		if (!o->left) {
			at = &o->next;
			continue;
		}
		*at = o->next;
		free(o);
	}
}

/* Has this process this endpoint, or had it until nobody could be told? Under the layer's lock. */
static bool has(const struct dpi_flow_layer *l, const struct dpi_flow_own *which)
{
	for (const struct dpi_flow_own *o = l->own; o; o = o->next)
		if (is_it(o, which)) return true;
	return false;
}

/* ------------------------------------------------------------------------------------------------------------- the report */

/* Endpoints of this node that no call has got are of a call that failed: nobody has used them. */

static struct dpi_pack pack_sources(struct dpi_flow *f, uint32_t first, uint32_t count)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, f->id);
	dpi_pack_u64(&p, f->copy);
	dpi_pack_u32(&p, first);
	dpi_pack_u32(&p, count);
	for (uint32_t i = first; i < first + count; i++) {
		struct dpi_flow_own own = { .flow = f->id, .number = i, .epoch = f->source_epoch[i] };
		uint8_t state = f->source[i];
		if (state == DPI_SOURCE_OPEN && f->source_node[i] == f->ctx->node && !has(f->ctx->flows, &own))
			state = own.epoch ? DPI_SOURCE_DEAD : DPI_SOURCE_CLOSED;
		dpi_pack_u8(&p, state);
		dpi_pack_u32(&p, (uint32_t)f->source_node[i]);
		dpi_pack_u32(&p, own.epoch);
		dpi_pack_u64(&p, f->source_id[i]);
	}
	return p;
}

static struct dpi_pack pack_targets(struct dpi_flow *f, uint32_t first, uint32_t count)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, f->id);
	dpi_pack_u64(&p, f->copy);
	dpi_pack_u32(&p, first);
	dpi_pack_u32(&p, count);
	for (uint32_t i = first; i < first + count; i++) {
		struct dpi_flow_target t = f->target[i];
		struct dpi_flow_own own = { .flow = f->id, .number = i, .queue = t.queue, .target = true };
		if (t.state == DPI_TARGET_BOUND && t.node == f->ctx->node && !has(f->ctx->flows, &own))
			t.state = t.epoch > 1 ? DPI_TARGET_LOST : DPI_TARGET_UNBOUND;
		dpi_pack_u8(&p, (uint8_t)t.state);
		dpi_pack_u32(&p, (uint32_t)t.node);
		dpi_pack_u64(&p, t.queue);
		dpi_pack_u32(&p, t.epoch);
	}
	return p;
}

static int pack_copy(struct dpi_flow *f, struct dpi_pack *p)
{
	uint8_t *bytes;
	size_t size;
	int error = dpi_definition_write(f->definition, &bytes, &size);
	if (error) return error;
	int failed = atomic_load_explicit(&f->failed, memory_order_acquire);
	*p = (struct dpi_pack){ 0 };
	dpi_pack_u64(p, f->id);
	dpi_pack_u64(p, f->copy);
	dpi_pack_text(p, f->name);
	dpi_pack_u32(p, (uint32_t)failed);
	dpi_pack_text(p, failed ? f->sentence : "");
	dpi_pack_u8(p, atomic_load(&f->sealed));
	dpi_pack_bytes(p, bytes, (uint32_t)size);
	free(bytes);
	return DPI_SUCCESS;
}

static struct dpi_pack pack_some(struct dpi_flow *f, bool targets, uint32_t first, uint32_t count)
{
	pthread_mutex_lock(&f->ctx->flows->lock);
	pthread_mutex_lock(&f->lock);
	struct dpi_pack p = targets ? pack_targets(f, first, count) : pack_sources(f, first, count);
	pthread_mutex_unlock(&f->lock);
	pthread_mutex_unlock(&f->ctx->flows->lock);
	return p;
}

static int report_flow(struct dpi_context *ctx, struct dpi_peer *registry, struct dpi_flow *f)
{
	struct dpi_pack p;
	int error = pack_copy(f, &p);
	if (!error) error = dpi_report(ctx, registry, DPI_FLOW_COPY, &p);
	uint32_t sources = atomic_load(&f->opened), targets = f->definition->targets;
	for (uint32_t first = 0, count; first < sources && !error; first += count) {
		count = sources - first < DPI_FLOW_NEWS_SOURCES ? sources - first : DPI_FLOW_NEWS_SOURCES;
		p = pack_some(f, false, first, count);
		error = dpi_report(ctx, registry, DPI_FLOW_COPY_SOURCES, &p);
	}
	for (uint32_t first = 0, count; first < targets && !error; first += count) {
		count = targets - first < DPI_FLOW_NEWS_TARGETS ? targets - first : DPI_FLOW_NEWS_TARGETS;
		p = pack_some(f, true, first, count);
		error = dpi_report(ctx, registry, DPI_FLOW_COPY_TARGETS, &p);
	}
	return error;
}

/* The next copy that others can have, by its number, with a reference; NULL: no more. */
static struct dpi_flow *next_flow(struct dpi_flow_layer *l, uint64_t *last)
{
	struct dpi_flow *next = NULL;
	pthread_mutex_lock(&l->lock);
	for (uint32_t i = 0; i < DPI_FLOW_BUCKETS; i++)
		for (struct dpi_flow *f = l->copy[i]; f; f = f->next) {
			if (f->copy <= *last || !f->definition || (next && next->copy < f->copy)) continue;
			pthread_mutex_lock(&f->lock);
			bool named = f->named && atomic_load(&f->failed) != DPI_ERR_DESTROYED;
			pthread_mutex_unlock(&f->lock);
			if (named) next = f;
		}
	if (next) {
		next->references++;
		*last = next->copy;
	}
	pthread_mutex_unlock(&l->lock);
	return next;
}

static int report(struct dpi_context *ctx, struct dpi_peer *registry)
{
	struct dpi_flow_layer *l = ctx->flows;
	struct dpi_flow *f;
	uint64_t last = 0;
	int error = DPI_SUCCESS;
	for (int64_t until = dpi_now() + JOINING_NS; atomic_load(&l->joining) && dpi_now() < until;)
		nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
	while (!error && (f = next_flow(l, &last))) {
		error = report_flow(ctx, registry, f);
		dpi_flow_unref(f); /* if it was the last, the registry hears that now */
	}
	if (error) return error;
	pthread_mutex_lock(&l->lock);
	for (const struct dpi_flow_own *o = l->own; o; o = o->next)
		if (o->left) tell_left(ctx, o, dpi_tell, registry);
	pthread_mutex_unlock(&l->lock);
	return DPI_SUCCESS;
}

int dpi_flow_return_open(struct dpi_context *ctx)
{
	return dpi_on_registry_found(ctx, report);
}

void dpi_flow_return_close(struct dpi_flow_layer *l)
{
	while (l->own) {
		struct dpi_flow_own *o = l->own;
		l->own = o->next;
		free(o);
	}
}
