/* SPDX-License-Identifier: Apache-2.0
 * flow_stats.c: the counters of a flow, of all its sources and targets in the cluster together. */
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "error.h"
#include "flow.h"
#include "stats.h"

struct sum {
	DPI_Flow_Stats all;
	uint64_t *stalled; /* us, for each target */
};

static void add_source(DPI_Flow_Stats *all, const DPI_Source_Stats *s)
{
	all->sources++;
	all->sent += s->rows, all->sent_bytes += s->bytes;
	all->filtered += s->filtered, all->unmatched += s->unmatched, all->sifted += s->sifted, all->row_errors += s->row_errors;
	all->dropped += s->dropped, all->reduced += s->reduced;
	all->stalls += s->stalls, all->stall_us += s->stall_us, all->kept += s->kept;
}

static void add_target(DPI_Flow_Stats *all, const DPI_Endpoint_Info *e)
{
	const DPI_Target_Stats *t = &e->target;
	if (!all->targets++ || t->rows > all->most_rows) all->most_rows = t->rows, all->most_target = e->number;
	all->rows += t->rows, all->bytes += t->bytes, all->results += t->results;
	all->sifted += t->sifted, all->row_errors += t->row_errors, all->spilled += t->spilled;
	all->waits += t->waits, all->wait_us += t->wait_us;
	all->memory += t->memory, all->fill += e->fill;
}

/* All that a node answers to a question, from malloc. */
static int ask_all(const struct dpi_stats_question *q, int node, struct dpi_context *ctx, void *state, void **all, size_t *count)
{
	size_t room = 32;
	for (;;) {
		void *p = realloc(*all, room * q->bytes);
		if (!p) return dpi_fail(DPI_ERR_MEMORY, "no memory for the statistics of node %d", node);
		*all = p;
		memcpy(p, &q->bytes, sizeof q->bytes);
		int error = dpi_stats_ask(q, node, ctx, state, p, room, count);
		if (error || *count <= room) return error;
		room = *count + 32;
	}
}

static int add_node(struct dpi_flow *f, int node, struct sum *s)
{
	DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
	char name[DPI_NAME_MAX] = "";
	void *all = NULL;
	size_t count = 0;
	int error = ask_all(&dpi_stats_endpoints, node, f->ctx, &info, &all, &count);
	for (size_t i = 0; i < count && !error; i++) {
		const DPI_Endpoint_Info *e = (const DPI_Endpoint_Info *)all + i;
		if (strcmp(e->flow.name, f->name)) continue;
		if (e->kind == DPI_ENDPOINT_SOURCE) add_source(&s->all, &e->source);
		if (e->kind == DPI_ENDPOINT_TARGET) add_target(&s->all, e);
	}
	if (!error) error = ask_all(&dpi_stats_stalls, node, f->ctx, name, &all, &count);
	for (size_t i = 0; i < count && !error; i++) {
		const DPI_Stall *x = (const DPI_Stall *)all + i;
		if (x->kind == DPI_ENDPOINT_SOURCE && x->peer < f->definition->targets && !strcmp(x->flow, f->name)) s->stalled[x->peer] += x->time_us;
	}
	free(all);
	return error;
}

static int sum_up(struct dpi_flow *f, struct sum *s)
{
	struct dpi_node n;
	for (int i = 0; dpi_cluster_at(f->ctx, i, &n); i++) {
		int error = n.alive ? add_node(f, n.node, s) : DPI_SUCCESS;
		/* it has died meanwhile: what it had is gone */
		if (error && error != DPI_ERR_PEER && error != DPI_ERR_NODE) return error;
	}
	for (uint32_t k = 0; k < f->definition->targets; k++)
		if (s->stalled[k] > s->all.slowest_us) s->all.slowest_us = s->stalled[k], s->all.slowest_target = k;
	return DPI_SUCCESS;
}

int DPI_Get_Flow_Stats(DPI_Flow handle, DPI_Flow_Stats *stats)
{
	int error = dpi_give("DPI_Get_Flow_Stats", stats, NULL, sizeof *stats);
	struct dpi_flow *f = error ? NULL : dpi_flow_get(handle);
	if (error) return error;
	if (!f) return dpi_flow_error(handle);
	struct sum s = { .stalled = calloc(f->definition->targets, sizeof *s.stalled) };
	error = s.stalled ? sum_up(f, &s) : dpi_fail(DPI_ERR_MEMORY, "DPI_Get_Flow_Stats: no memory");
	free(s.stalled);
	dpi_flow_unref(f);
	return error ? error : dpi_give("DPI_Get_Flow_Stats", stats, &s.all, sizeof s.all);
}
