/* SPDX-License-Identifier: Apache-2.0
 * stats_lists.c: what a process tells of its endpoints in lists: whom they have waited for, and the keys that come most often. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "source.h"
#include "stats.h"
#include "target.h"

/* Whose the entries behind it are. */
static bool write_name(struct dpi_stats_writer *w, const struct dpi_flow *f)
{
	if (!dpi_stats_due(w)) return false;
	dpi_pack_u8(&w->body, 1);
	dpi_pack_text(&w->body, f->name);
	return true;
}

static void write_stall(struct dpi_stats_writer *w, uint8_t kind, uint32_t number, uint32_t peer, uint64_t count, uint64_t us)
{
	if (!count || !dpi_stats_due(w)) return;
	dpi_pack_u8(&w->body, 0);
	dpi_pack_u8(&w->body, kind);
	dpi_pack_u32(&w->body, number);
	dpi_pack_u32(&w->body, peer);
	dpi_pack_u64(&w->body, count);
	dpi_pack_u64(&w->body, us);
}

static void write_stalls(struct dpi_stats_writer *w, struct dpi_flow *f)
{
	write_name(w, f);
	for (struct dpi_flow_watch *at = f->watches; at; at = at->next) {
		const struct dpi_source *s = at->endpoint;
		struct dpi_target *t = at->endpoint;
		uint32_t source;
		uint64_t count, us;
		for (uint32_t k = 0; at->kind == DPI_ENDPOINT_SOURCE && k < f->definition->targets; k++)
			write_stall(w, DPI_ENDPOINT_SOURCE, s->number, k, __atomic_load_n(&s->lane[k].stalls, __ATOMIC_RELAXED),
				    __atomic_load_n(&s->lane[k].stall_us, __ATOMIC_RELAXED));
		for (size_t k = 0; at->kind == DPI_ENDPOINT_TARGET && dpi_target_wait_at(t, k, &source, &count, &us); k++)
			write_stall(w, DPI_ENDPOINT_TARGET, t->index, source, count, us);
	}
}

static void write_heavy(struct dpi_stats_writer *w, struct dpi_flow *f)
{
	write_name(w, f);
	for (struct dpi_flow_watch *at = f->watches; at; at = at->next) {
		DPI_Heavy_Key key[DPI_HEAVY_KEYS];
		struct dpi_target *t = at->endpoint;
		size_t n = at->kind == DPI_ENDPOINT_TARGET ? dpi_target_heavy(t, key) : 0;
		for (size_t k = 0; k < n; k++) {
			if (!dpi_stats_due(w)) continue;
			dpi_pack_u8(&w->body, 0);
			dpi_pack_u32(&w->body, t->index);
			dpi_pack_u64(&w->body, key[k].rows);
			dpi_pack_u64(&w->body, key[k].error);
			dpi_pack_u64(&w->body, key[k].total);
			dpi_pack_u64(&w->body, key[k].hash);
			dpi_pack_text(&w->body, key[k].key);
		}
	}
}

static void on_stalls(struct dpi_context *ctx, struct dpi_request_in *in)
{
	dpi_stats_answer(ctx, in, write_stalls);
}

static void on_heavy(struct dpi_context *ctx, struct dpi_request_in *in)
{
	dpi_stats_answer(ctx, in, write_heavy);
}

int dpi_stats_lists_open(struct dpi_context *ctx)
{
	int error = dpi_handle_messages(ctx, DPI_FLOW_STALLS, on_stalls);
	return error ? error : dpi_handle_messages(ctx, DPI_FLOW_HEAVY, on_heavy);
}

/* --------------------------------------------------------------------------------------------------------- answered */

static bool read_stall(struct dpi_unpack *u, const char *flow, void *to)
{
	DPI_Stall s = DPI_STALL_INIT;
	memcpy(s.flow, flow, sizeof s.flow);
	s.kind = dpi_unpack_u8(u);
	s.number = dpi_unpack_u32(u);
	s.peer = dpi_unpack_u32(u);
	s.count = dpi_unpack_u64(u);
	s.time_us = dpi_unpack_u64(u);
	if (to) memcpy(to, &s, sizeof s);
	return !u->bad && (s.kind == DPI_ENDPOINT_SOURCE || s.kind == DPI_ENDPOINT_TARGET);
}

static bool read_heavy(struct dpi_unpack *u, const char *flow, void *to)
{
	DPI_Heavy_Key k = DPI_HEAVY_KEY_INIT;
	memcpy(k.flow, flow, sizeof k.flow);
	k.target = dpi_unpack_u32(u);
	k.rows = dpi_unpack_u64(u);
	k.error = dpi_unpack_u64(u);
	k.total = dpi_unpack_u64(u);
	k.hash = dpi_unpack_u64(u);
	dpi_unpack_text(u, k.key, sizeof k.key);
	if (to) memcpy(to, &k, sizeof k);
	return !u->bad;
}

static bool read_list(struct dpi_unpack *u, char *flow, bool (*read)(struct dpi_unpack *u, const char *flow, void *to), uint8_t *some,
		      size_t bytes, size_t room, size_t *found, uint32_t *seen, bool *more)
{
	uint32_t size;
	*more = dpi_unpack_u8(u);
	*seen = dpi_unpack_u32(u);
	const uint8_t *entries = dpi_unpack_bytes(u, &size);
	*found = 0;
	if (u->bad) return false;
	struct dpi_unpack e = { .at = entries, .end = entries + size };
	for (uint32_t i = 0; i < *seen; i++) {
		uint8_t is_name = dpi_unpack_u8(&e);
		if (e.bad || is_name > 1) return false;
		if (is_name) dpi_unpack_text(&e, flow, DPI_NAME_MAX);
		else if (!read(&e, flow, *found < room ? some + *found * bytes : NULL)) return false;
		else ++*found;
		if (e.bad) return false;
	}
	return e.at == e.end;
}

bool dpi_stats_unpack_stalls(struct dpi_unpack *u, void *state, void *some, size_t room, size_t *found, uint32_t *seen, bool *more)
{
	return read_list(u, state, read_stall, some, sizeof(DPI_Stall), room, found, seen, more);
}

bool dpi_stats_unpack_heavy(struct dpi_unpack *u, void *state, void *some, size_t room, size_t *found, uint32_t *seen, bool *more)
{
	return read_list(u, state, read_heavy, some, sizeof(DPI_Heavy_Key), room, found, seen, more);
}

const struct dpi_stats_question dpi_stats_stalls = { "DPI_Get_Stalls", DPI_FLOW_STALLS, dpi_stats_unpack_stalls, sizeof(DPI_Stall),
						     offsetof(DPI_Stall, node) };

int DPI_Get_Stalls(int node, DPI_Context handle, DPI_Stall *stalls, size_t room, size_t *count)
{
	char flow[DPI_NAME_MAX] = "";
	int error;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	return ctx ? dpi_stats_ask(&dpi_stats_stalls, node, ctx, flow, stalls, room, count) : error;
}

int DPI_Get_Heavy_Keys(int node, DPI_Context handle, DPI_Heavy_Key *keys, size_t room, size_t *count)
{
	static const struct dpi_stats_question q = { "DPI_Get_Heavy_Keys", DPI_FLOW_HEAVY, dpi_stats_unpack_heavy, sizeof *keys, offsetof(DPI_Heavy_Key, node) };
	char flow[DPI_NAME_MAX] = "";
	int error;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	return ctx ? dpi_stats_ask(&q, node, ctx, flow, keys, room, count) : error;
}
