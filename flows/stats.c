/* SPDX-License-Identifier: Apache-2.0
 * stats.c: a process tells another what its flows do: on request, by its progress thread, which reads counters where they are. The
 * threads that use the endpoints take no part in it. */
#include "stats.h"

#include <stdlib.h>
#include <string.h>

#include "layer.h"
#include "map.h"
#include "pipe.h"
#include "source.h"
#include "target.h"

#define ANSWER_BYTES 32768 /* an answer ends behind the entry that goes beyond this */
#define AT_ONCE 256	   /* entries of an answer, at most: so many endpoints are unpacked before they are given */

/* ---------------------------------------------------------------------------------------------------------- asked */

bool dpi_stats_due(struct dpi_stats_writer *w)
{
	if (w->skip) {
		w->skip--;
		return false;
	}
	w->more |= w->body.size > ANSWER_BYTES || w->count == AT_ONCE;
	if (w->more) return false;
	w->count++;
	return true;
}

static void write_flow(struct dpi_stats_writer *w, struct dpi_flow *f)
{
	DPI_Flow_Info all = { 0 };
	if (!dpi_stats_due(w)) return;
	dpi_flow_count(f, &all);
	dpi_pack_u8(&w->body, DPI_ENDPOINT_NONE);
	dpi_pack_text(&w->body, f->name);
	dpi_pack_u32(&w->body, f->definition->targets);
	dpi_pack_u32(&w->body, all.bound);
	dpi_pack_u32(&w->body, atomic_load(&f->opened));
	dpi_pack_u32(&w->body, atomic_load(&f->over));
	dpi_pack_u32(&w->body, atomic_load(&f->sealed));
	dpi_pack_u32(&w->body, (uint32_t)atomic_load(&f->failed));
	dpi_pack_u32(&w->body, all.dead);
	dpi_pack_u32(&w->body, all.lost);
	dpi_pack_u32(&w->body, all.detached);
}

#define PACK(name, unit, text) dpi_pack_u64(&w->body, s.name);
#define ONE(name, unit, text) +1
#define SOURCE_COUNTERS (0 DPI_SOURCE_STATS(ONE))
#define TARGET_COUNTERS (0 DPI_TARGET_STATS(ONE))
#define STAGE_COUNTERS (0 DPI_STAGE_STATS(ONE))
_Static_assert(SOURCE_COUNTERS <= DPI_STATS_COUNTERS && TARGET_COUNTERS <= DPI_STATS_COUNTERS && STAGE_COUNTERS <= DPI_STATS_COUNTERS, "they fit");

/* Of those of a definition that run at an endpoint. */
static void write_stages(struct dpi_stats_writer *w, const struct dpi_definition *d, const struct dpi_maps *maps, uint8_t kind, uint32_t number)
{
	DPI_Stage_Stats s = { 0 };
	for (uint32_t i = 0; i < d->stages; i++) {
		if (!dpi_maps_stage(maps, i, &s) || !dpi_stats_due(w)) continue;
		dpi_pack_u8(&w->body, kind);
		dpi_pack_u32(&w->body, number);
		dpi_pack_u32(&w->body, i);
		dpi_pack_u8(&w->body, (uint8_t)d->stage[i].kind);
		dpi_pack_u8(&w->body, STAGE_COUNTERS);
		DPI_STAGE_STATS(PACK)
	}
}

static void write_source(struct dpi_stats_writer *w, const struct dpi_source *source)
{
	DPI_Source_Stats s;
	if (dpi_stats_due(w)) {
		dpi_source_stats(source, &s);
		dpi_pack_u8(&w->body, DPI_ENDPOINT_SOURCE);
		dpi_pack_u32(&w->body, source->number);
		dpi_pack_u8(&w->body, SOURCE_COUNTERS);
		DPI_SOURCE_STATS(PACK)
	}
	if (source->pipe) write_stages(w, source->flow->definition, source->pipe->maps, DPI_ENDPOINT_SOURCE_STAGE, source->number);
}

/* Bytes that lie in its rings and were not given back. The progress thread made the rings, and is told before one is freed. */
static uint64_t fill_of(struct dpi_home *h)
{
	uint64_t fill = 0;
	pthread_mutex_lock(&h->lock);
	for (size_t i = 0; i < h->handles && !atomic_load_explicit(&h->destroyed, memory_order_relaxed); i++) {
		const struct dpi_ring_in *r = h->handle[i].ring;
		if (!r) continue;
		uint64_t head = __atomic_load_n(&r->reader.head, __ATOMIC_RELAXED);
		uint64_t bytes = atomic_load_explicit(&r->reader.ring->tail, memory_order_relaxed) - head;
		if (bytes <= r->reader.capacity) fill += bytes; /* the tail is the writer's word */
	}
	pthread_mutex_unlock(&h->lock);
	return fill;
}

static void write_target(struct dpi_stats_writer *w, struct dpi_target *target)
{
	DPI_Target_Stats s;
	if (dpi_stats_due(w)) {
		dpi_target_stats(target, &s);
		dpi_pack_u8(&w->body, DPI_ENDPOINT_TARGET);
		dpi_pack_u32(&w->body, target->index);
		dpi_pack_u64(&w->body, fill_of(target->home));
		dpi_pack_u8(&w->body, TARGET_COUNTERS);
		DPI_TARGET_STATS(PACK)
	}
	if (target->pipe) write_stages(w, target->flow->definition, target->pipe->maps, DPI_ENDPOINT_TARGET_STAGE, target->index);
}

static void write_endpoints(struct dpi_stats_writer *w, struct dpi_flow *f)
{
	write_flow(w, f);
	for (struct dpi_flow_watch *at = f->watches; at; at = at->next)
		if (at->kind == DPI_ENDPOINT_SOURCE) write_source(w, at->endpoint);
		else if (at->kind == DPI_ENDPOINT_TARGET) write_target(w, at->endpoint);
}

void dpi_stats_answer(struct dpi_context *ctx, struct dpi_request_in *in, dpi_stats_write *write)
{
	struct dpi_flow_layer *l = ctx->flows;
	struct dpi_stats_writer w = { .skip = dpi_unpack_u32(&in->body) };
	struct dpi_pack answer = { 0 };
	if (!in->id) return;
	if (in->body.bad) {
		dpi_answer(ctx, in->from, in->id, dpi_fail(DPI_ERR_CORRUPT, "a malformed request for statistics"), NULL);
		return;
	}
	pthread_mutex_lock(&l->lock);
	for (uint32_t i = 0; i < DPI_FLOW_BUCKETS && !w.more; i++)
		for (struct dpi_flow *f = l->copy[i]; f && !w.more; f = f->next) {
			if (!f->definition) continue;
			/* an endpoint is on the list until it begins to go */
			pthread_mutex_lock(&f->lock);
			write(&w, f);
			pthread_mutex_unlock(&f->lock);
		}
	pthread_mutex_unlock(&l->lock);
	dpi_pack_u8(&answer, w.more);
	dpi_pack_u32(&answer, w.count);
	dpi_pack_bytes(&answer, w.body.data, (uint32_t)w.body.size);
	answer.failed |= w.body.failed;
	if (answer.failed) dpi_answer(ctx, in->from, in->id, dpi_fail(DPI_ERR_MEMORY, "no memory for statistics"), NULL);
	else dpi_answer(ctx, in->from, in->id, DPI_SUCCESS, &answer);
	dpi_pack_free(&answer);
	dpi_pack_free(&w.body);
}

static void on_stats(struct dpi_context *ctx, struct dpi_request_in *in)
{
	dpi_stats_answer(ctx, in, write_endpoints);
}

int dpi_stats_open(struct dpi_context *ctx)
{
	int error = dpi_handle_messages(ctx, DPI_FLOW_ENDPOINTS, on_stats);
	return error ? error : dpi_stats_lists_open(ctx);
}

/* --------------------------------------------------------------------------------------------------------- answered */

static bool read_flow(struct dpi_unpack *u, DPI_Flow_Info *f)
{
	*f = (DPI_Flow_Info)DPI_FLOW_INFO_INIT;
	dpi_unpack_text(u, f->name, sizeof f->name);
	f->targets = dpi_unpack_u32(u);
	f->bound = dpi_unpack_u32(u);
	f->sources = dpi_unpack_u32(u);
	f->closed = dpi_unpack_u32(u);
	f->sealed = dpi_unpack_u32(u) != 0;
	f->failed = (int)dpi_unpack_u32(u);
	f->dead = dpi_unpack_u32(u);
	f->lost = dpi_unpack_u32(u);
	f->detached = dpi_unpack_u32(u);
	return !u->bad;
}

/* Those counters that there are, to those that this library knows. */
static bool read_counters(struct dpi_unpack *u, uint64_t *to, unsigned known)
{
	unsigned n = dpi_unpack_u8(u);
	if (n > DPI_STATS_COUNTERS) return false;
	for (unsigned i = 0; i < n; i++) {
		uint64_t value = dpi_unpack_u64(u);
		if (i < known) to[i] = value;
	}
	return !u->bad;
}

static bool read_endpoint(struct dpi_unpack *u, int kind, DPI_Endpoint_Info *e)
{
	uint64_t counter[DPI_STATS_COUNTERS] = { 0 }, *at = counter;
	bool stage = kind == DPI_ENDPOINT_SOURCE_STAGE || kind == DPI_ENDPOINT_TARGET_STAGE;
	e->kind = kind;
	e->number = dpi_unpack_u32(u);
	if (kind == DPI_ENDPOINT_TARGET) e->fill = dpi_unpack_u64(u);
	if (stage) {
		e->stage_number = dpi_unpack_u32(u);
		e->stage_kind = dpi_unpack_u8(u);
	}
	if (!read_counters(u, counter, stage ? STAGE_COUNTERS : kind == DPI_ENDPOINT_SOURCE ? SOURCE_COUNTERS : TARGET_COUNTERS)) return false;
	e->source.size = sizeof e->source;
	e->target.size = sizeof e->target;
	e->stage.size = sizeof e->stage;
#define TO_SOURCE(name, unit, text) e->source.name = *at++;
#define TO_TARGET(name, unit, text) e->target.name = *at++;
#define TO_STAGE(name, unit, text) e->stage.name = *at++;
	if (stage) {
		DPI_STAGE_STATS(TO_STAGE)
	} else if (kind == DPI_ENDPOINT_SOURCE) {
		DPI_SOURCE_STATS(TO_SOURCE)
	} else {
		DPI_TARGET_STATS(TO_TARGET)
	}
	return true;
}

bool dpi_stats_unpack(struct dpi_unpack *u, DPI_Flow_Info *flow, DPI_Endpoint_Info *info, size_t room, size_t *found, uint32_t *seen, bool *more)
{
	uint32_t size;
	*more = dpi_unpack_u8(u);
	*seen = dpi_unpack_u32(u);
	const uint8_t *entries = dpi_unpack_bytes(u, &size);
	*found = 0;
	if (u->bad) return false;
	struct dpi_unpack e = { .at = entries, .end = entries + size };
	for (uint32_t i = 0; i < *seen; i++) {
		DPI_Endpoint_Info one = DPI_ENDPOINT_INFO_INIT;
		uint8_t kind = dpi_unpack_u8(&e);
		if (e.bad || kind > DPI_ENDPOINT_TARGET_STAGE) return false;
		if (kind == DPI_ENDPOINT_NONE) {
			if (!read_flow(&e, flow)) return false;
			continue;
		}
		if (!read_endpoint(&e, kind, &one)) return false;
		one.flow = *flow;
		if (*found < room) info[*found] = one;
		++*found;
	}
	return e.at == e.end;
}

/* ------------------------------------------------------------------------------------------------------------ asking */

static int ask(struct dpi_context *ctx, uint16_t message, int node, uint32_t skip, struct dpi_reply *reply)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u32(&p, skip);
	return dpi_call(ctx, node, message, &p, dpi_deadline(0, ctx->timeout_us), reply);
}

int dpi_stats_ask(const struct dpi_stats_question *q, int node, struct dpi_context *ctx, void *state, void *info, size_t room, size_t *count)
{
	int error = DPI_SUCCESS;
	if (!count) return dpi_fail(DPI_ERR_ARGUMENT, "%s: count is NULL: pass where it may go", q->call);
	*count = 0;
	if (room) error = dpi_give(q->call, info, NULL, q->bytes);
	if (error) return error;
	if (node == DPI_NODE_SELF) node = ctx->node;
	size_t stride = 0;
	if (room) memcpy(&stride, info, sizeof stride);
	uint8_t *some = malloc(AT_ONCE * q->bytes);
	if (!some) return dpi_fail(DPI_ERR_MEMORY, "%s: no memory", q->call);
	bool more = true;
	for (uint32_t skip = 0, seen; more && !error; skip += seen) {
		struct dpi_reply reply;
		size_t found = 0;
		error = ask(ctx, q->message, node, skip, &reply);
		if (error) break;
		if (!q->read(&reply.body, state, some, AT_ONCE, &found, &seen, &more) || found > AT_ONCE || (more && !seen) || seen > UINT32_MAX - skip)
			error = dpi_fail(DPI_ERR_CORRUPT, "node %d answered with nonsense", node);
		dpi_reply_free(&reply);
		for (size_t i = 0; i < found && !error; i++, ++*count) {
			if (*count >= room) continue;
			void *to = (uint8_t *)info + *count * stride, *from = some + i * q->bytes;
			memcpy(to, &stride, sizeof stride);
			memcpy((uint8_t *)from + q->node_at, &node, sizeof node);
			error = dpi_give(q->call, to, from, q->bytes);
		}
	}
	free(some);
	if (error) *count = 0;
	return error;
}

static bool read_endpoints(struct dpi_unpack *u, void *state, void *some, size_t room, size_t *found, uint32_t *seen, bool *more)
{
	return dpi_stats_unpack(u, state, some, room, found, seen, more);
}

const struct dpi_stats_question dpi_stats_endpoints = { "DPI_Get_Endpoints", DPI_FLOW_ENDPOINTS, read_endpoints, sizeof(DPI_Endpoint_Info),
							offsetof(DPI_Endpoint_Info, node) };

int DPI_Get_Endpoints(int node, DPI_Context handle, DPI_Endpoint_Info *info, size_t room, size_t *count)
{
	DPI_Flow_Info flow = DPI_FLOW_INFO_INIT;
	int error;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	return ctx ? dpi_stats_ask(&dpi_stats_endpoints, node, ctx, &flow, info, room, count) : error;
}
