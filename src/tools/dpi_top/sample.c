/* SPDX-License-Identifier: Apache-2.0
 * sample.c: look at every node, put together what belongs to a flow, and compare with the last time. */
#include "sample.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cluster.h"

static bool make_room(struct sample *s, size_t count)
{
	if (count <= s->room) return true;
	size_t room = count + count / 2 + 64;
	struct seen *p = realloc(s->seen, room * sizeof *p);
	if (!p) return false;
	s->seen = p;
	s->room = room;
	return true;
}

static void failed(struct sample *s, int node, const char *sentence)
{
	struct failure *p = realloc(s->failure, (s->failures + 1) * sizeof *p);
	if (!p) return;
	s->failure = p;
	p[s->failures].node = node;
	snprintf(p[s->failures++].sentence, sizeof p->sentence, "%s", sentence);
}

static void look_at(struct sample *s, int node, DPI_Context ctx)
{
	const char *sentence = "no memory";
	DPI_Endpoint_Info *all = NULL;
	size_t room = 64, count = 0;
	for (;;) {
		DPI_Endpoint_Info *p = realloc(all, room * sizeof *p);
		if (!p) break;
		all = p;
		all->size = sizeof *all;
		if (DPI_Get_Endpoints(node, ctx, all, room, &count)) {
			DPI_Get_Error_Detail(&sentence);
			count = 0;
			break;
		}
		sentence = NULL;
		if (count <= room) break;
		room = count + 64;
	}
	if (sentence || !make_room(s, s->count + count)) failed(s, node, sentence ? sentence : "no memory");
	else
		for (size_t i = 0; i < count; i++) s->seen[s->count++] = (struct seen){ .now = all[i], .waits_for = -1 };
	free(all);
}

/* All that a node says of one kind behind what is there of others; a node that does not know the question has none. */
#define LIST(call, type, list, count)                                                                  \
	do {                                                                                           \
		size_t found = 0, room = 64;                                                           \
		for (;;) {                                                                             \
			type *p = realloc(list, (count + room) * sizeof *p);                           \
			if (!p) break;                                                                 \
			list = p;                                                                      \
			p[count].size = sizeof *p;                                                     \
			if (call(node, ctx, p + count, room, &found)) break;                           \
			if (found > room) room = found + 64;                                           \
			else count += found, found = 0;                                                \
			if (!found) break;                                                             \
		}                                                                                      \
	} while (0)

static void look_at_lists(struct lists *l, int node, DPI_Context ctx)
{
	LIST(DPI_Get_Stalls, DPI_Stall, l->stall, l->stalls);
	LIST(DPI_Get_Heavy_Keys, DPI_Heavy_Key, l->key, l->keys);
}

static int compare_stalls(const void *a, const void *b)
{
	const DPI_Stall *x = a, *y = b;
	int flow = strcmp(x->flow, y->flow);
	if (flow) return flow;
	if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
	if (x->number != y->number) return x->number < y->number ? -1 : 1;
	if (x->node != y->node) return x->node < y->node ? -1 : 1;
	return x->peer < y->peer ? -1 : x->peer > y->peer;
}

static int compare_keys(const void *a, const void *b)
{
	const DPI_Heavy_Key *x = a, *y = b;
	int flow = strcmp(x->flow, y->flow);
	if (flow) return flow;
	if (x->target != y->target) return x->target < y->target ? -1 : 1;
	if (x->node != y->node) return x->node < y->node ? -1 : 1;
	if (x->rows != y->rows) return x->rows > y->rows ? -1 : 1;
	return x->hash < y->hash ? -1 : x->hash > y->hash;
}

/* Those of a flow, out of all. */
static struct lists lists_of(const struct lists *all, const char *flow)
{
	struct lists l = { 0 };
	for (size_t i = 0; i < all->stalls; i++)
		if (!strcmp(all->stall[i].flow, flow) && !l.stalls++) l.stall = all->stall + i;
	for (size_t i = 0; i < all->keys; i++)
		if (!strcmp(all->key[i].flow, flow) && !l.keys++) l.key = all->key + i;
	return l;
}

uint64_t sample_stalled(const struct flow *f, uint32_t target, uint64_t *count)
{
	uint64_t time_us = 0;
	*count = 0;
	for (size_t i = 0; i < f->lists.stalls; i++) {
		const DPI_Stall *s = &f->lists.stall[i];
		if (s->kind == DPI_ENDPOINT_SOURCE && s->peer == target) *count += s->count, time_us += s->time_us;
	}
	return time_us;
}

bool sample_slowest(const struct flow *f, uint32_t *target, uint64_t *time_us)
{
	bool any = false;
	for (size_t i = 0; i < f->lists.stalls; i++) {
		const DPI_Stall *s = &f->lists.stall[i];
		uint64_t count, us = s->kind == DPI_ENDPOINT_SOURCE ? sample_stalled(f, s->peer, &count) : 0;
		if (s->kind == DPI_ENDPOINT_SOURCE && (!any || us > *time_us)) *target = s->peer, *time_us = us, any = true;
	}
	return any;
}

const DPI_Heavy_Key *sample_heaviest(const struct flow *f, const struct seen *target)
{
	for (size_t i = 0; i < f->lists.keys; i++)
		if (f->lists.key[i].target == target->now.number && f->lists.key[i].node == target->now.node) return &f->lists.key[i];
	return NULL;
}

static int compare(const void *a, const void *b)
{
	const DPI_Endpoint_Info *x = &((const struct seen *)a)->now, *y = &((const struct seen *)b)->now;
	int flow = strcmp(x->flow.name, y->flow.name);
	if (flow) return flow;
	if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
	if (x->number != y->number) return x->number < y->number ? -1 : 1;
	if (x->node != y->node) return x->node < y->node ? -1 : 1;
	return x->stage_number < y->stage_number ? -1 : x->stage_number > y->stage_number;
}

static double rate(uint64_t now, uint64_t before, double elapsed)
{
	return now > before && elapsed > 0 ? (double)(now - before) / elapsed : 0;
}

static double part(uint64_t now_us, uint64_t before_us, double elapsed, bool waits)
{
	double p = rate(now_us, before_us, elapsed) / 1e6;
	/* a wait is counted when it ends: one that goes on has taken, as far as is known, all of the time */
	if (waits && now_us == before_us) p = 1;
	return p > 1 ? 1 : p;
}

static void differ(struct seen *e, const struct sample *before, double elapsed)
{
	const struct seen *b = before && before->count ? bsearch(e, before->seen, before->count, sizeof *e, compare) : NULL;
	const DPI_Source_Stats *s = &e->now.source;
	const DPI_Target_Stats *t = &e->now.target;
	if (!b) return; /* new: its rows may be older than the interval */
	if (e->now.kind == DPI_ENDPOINT_SOURCE) {
		e->rows_per_s = rate(s->rows, b->now.source.rows, elapsed);
		e->bytes_per_s = rate(s->bytes, b->now.source.bytes, elapsed);
		e->waited = part(s->stall_us, b->now.source.stall_us, elapsed, s->waiting && b->now.source.waiting);
	} else if (e->now.kind != DPI_ENDPOINT_TARGET) {
		e->rows_per_s = rate(e->now.stage.rows, b->now.stage.rows, elapsed);
		e->passed_per_s = rate(e->now.stage.passed, b->now.stage.passed, elapsed);
		e->bytes_per_s = rate(e->now.stage.bytes, b->now.stage.bytes, elapsed);
	} else {
		e->rows_per_s = rate(t->rows, b->now.target.rows, elapsed);
		e->bytes_per_s = rate(t->bytes, b->now.target.bytes, elapsed);
		e->waited = part(t->wait_us, b->now.target.wait_us, elapsed, t->waiting && b->now.target.waiting);
	}
}

static void sum_up(struct flow *f)
{
	uint64_t most = 0;
	for (size_t i = 0; i < f->targets; i++) {
		const struct seen *t = &f->target[i];
		f->rows += t->now.target.rows;
		f->bytes += t->now.target.bytes;
		f->rows_per_s += t->rows_per_s;
		f->bytes_per_s += t->bytes_per_s;
		if (t->now.target.rows > most) most = t->now.target.rows;
	}
	if (f->rows) f->skew = (double)most * (double)f->targets / (double)f->rows;
	for (size_t i = 0; i < f->sources; i++)
		for (size_t k = 0; k < f->targets; k++)
			if (f->source[i].now.source.waiting == (uint64_t)f->target[k].now.number + 1) f->source[i].waits_for = f->target[k].now.node;
}

/* Who has heard of more has the newer news. */
static const DPI_Flow_Info *newer(const DPI_Flow_Info *a, const DPI_Flow_Info *b)
{
	if (!a) return b;
	uint64_t x = a->sources + a->closed + a->bound + (a->sealed != 0) + (a->failed != 0);
	uint64_t y = b->sources + b->closed + b->bound + (b->sealed != 0) + (b->failed != 0);
	return y > x ? b : a;
}

static bool put_together(struct sample *s)
{
	s->flow = calloc(s->count + 1, sizeof *s->flow);
	if (!s->flow) return false;
	for (size_t i = 0; i < s->count;) {
		struct flow *f = &s->flow[s->flows++];
		const char *name = s->seen[i].now.flow.name;
		for (; i < s->count && !strcmp(s->seen[i].now.flow.name, name); i++) {
			struct seen *e = &s->seen[i];
			f->info = newer(f->info, &e->now.flow);
			if (e->now.kind == DPI_ENDPOINT_SOURCE) {
				if (!f->sources++) f->source = e;
			} else if (e->now.kind == DPI_ENDPOINT_TARGET) {
				if (!f->targets++) f->target = e;
			} else if (!f->stages++) {
				f->stage = e;
			}
		}
		f->lists = lists_of(&s->lists, name);
		s->endpoints += f->sources + f->targets;
		sum_up(f);
	}
	return true;
}

bool sample_stage(const struct flow *f, uint32_t from, struct stage *stage)
{
	const struct seen *first = NULL;
	for (size_t i = 0; i < f->stages; i++) {
		const struct seen *e = &f->stage[i];
		if (e->now.stage_number >= from && (!first || e->now.stage_number < first->now.stage_number)) first = e;
	}
	if (!first) return false;
	*stage = (struct stage){ first->now.stage_number, first->now.stage_kind, first->now.kind == DPI_ENDPOINT_TARGET_STAGE, 0, { 0 }, 0, 0, 0 };
	for (size_t i = 0; i < f->stages; i++) {
		const struct seen *e = &f->stage[i];
		if (e->now.stage_number != stage->number) continue;
		stage->endpoints++;
#define ADD(name, unit, text) stage->total.name += e->now.stage.name;
		DPI_STAGE_STATS(ADD)
#undef ADD
		stage->rows_per_s += e->rows_per_s;
		stage->passed_per_s += e->passed_per_s;
		stage->bytes_per_s += e->bytes_per_s;
	}
	return true;
}

const char *sample_stage_kind(int kind)
{
	switch (kind) {
	case DPI_STAGE_FILTER: return "filter";
	case DPI_STAGE_PROJECT: return "project";
	case DPI_STAGE_CAST: return "cast";
	case DPI_STAGE_SAMPLE: return "sample";
	case DPI_STAGE_NORMALISE: return "normalise";
	case DPI_STAGE_MAP: return "map";
	default: return "unknown"; /* of a newer library */
	}
}

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bool sample_take(DPI_Context handle, const struct sample *before, struct sample *s)
{
	int self = -1, error;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	struct dpi_node n;
	*s = (struct sample){ .time = seconds() };
	DPI_Get_Node_Id(handle, &self);
	for (int i = 0; ctx && dpi_cluster_at(ctx, i, &n); i++) {
		if (n.node == DPI_REGISTRY_NODE && !n.alive) return false;
		if (!n.alive || n.node == self) continue;
		s->nodes++;
		look_at(s, n.node, handle);
		look_at_lists(&s->lists, n.node, handle);
	}
	s->elapsed = before ? s->time - before->time : 0;
	if (s->count) qsort(s->seen, s->count, sizeof *s->seen, compare);
	if (s->lists.stalls) qsort(s->lists.stall, s->lists.stalls, sizeof *s->lists.stall, compare_stalls);
	if (s->lists.keys) qsort(s->lists.key, s->lists.keys, sizeof *s->lists.key, compare_keys);
	for (size_t i = 0; i < s->count; i++) differ(&s->seen[i], before, s->elapsed);
	if (!put_together(s)) failed(s, self, "no memory");
	return true;
}

void sample_free(struct sample *s)
{
	free(s->seen);
	free(s->flow);
	free(s->lists.stall);
	free(s->lists.key);
	free(s->failure);
	*s = (struct sample){ 0 };
}
