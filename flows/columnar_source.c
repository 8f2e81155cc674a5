/* SPDX-License-Identifier: Apache-2.0
 * columnar_source.c: the segments that a source of a columnar flow has under construction. */
#include "columnar.h"

#include <stdlib.h>
#include <string.h>

#include "wait.h"

#define HEADER sizeof(struct dpi_flow_segment)

int dpi_columns_open(struct dpi_source *s)
{
	uint32_t targets = s->flow->definition->targets;
	struct dpi_columns *c = calloc(1, sizeof *c);
	if (!c) return dpi_fail(DPI_ERR_MEMORY, "no memory for a source of columns");
	c->source = s;
	c->open = calloc(targets, sizeof *c->open);
	c->scatter = (struct dpi_column_scatter){ .to = c->open, .count = calloc(targets, sizeof *c->scatter.count), .touched = c->touched,
						  .at = calloc(targets, sizeof *c->scatter.at), .fill = calloc(targets, sizeof *c->scatter.fill) };
	pthread_mutex_init(&c->lock, NULL);
	s->columns = c;
	if (!c->open || !c->scatter.count || !c->scatter.at || !c->scatter.fill)
		return dpi_fail(DPI_ERR_MEMORY, "no memory for a source of %u targets", targets);
	int error = dpi_row_batch_new(s->flow->definition->schema, NULL, &c->pushed);
	if (!error) error = dpi_row_batch_new(s->flow->definition->wire, NULL, &c->rows);
	if (!error) error = dpi_row_batch_new(s->flow->definition->wire, NULL, &c->mapped);
	return error ? error : dpi_slice_new(s->flow->definition->schema, DPI_PUSH_RUN, &c->run);
}

void dpi_columns_close(struct dpi_source *s)
{
	struct dpi_columns *c = s->columns;
	if (!c) return;
	if (c->pushed.schema) dpi_row_batch_free(&c->pushed);
	if (c->rows.schema) dpi_row_batch_free(&c->rows);
	if (c->mapped.schema) dpi_row_batch_free(&c->mapped);
	dpi_slice_free(&c->run);
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) dpi_column_builder_free(s->lane[t].columns);
	pthread_mutex_destroy(&c->lock);
	free(c->scatter.count), free(c->scatter.at), free(c->scatter.fill);
	free(c->open);
	free(c->row);
	free(c);
	s->columns = NULL;
}

/* Where the next segment is built; NULL with *dropped or *error. */
static uint8_t *place(struct dpi_source *s, uint32_t target, int64_t deadline, bool *dropped, int *error)
{
	if (s->coded) {
		dpi_columns_finish(s, target);
		*error = dpi_coded_room(s, target, s->segment - HEADER, deadline, dropped);
		return *error || *dropped ? NULL : dpi_coded_columns(s, target);
	}
	*error = dpi_lane_begin(s, target, DPI_FLOW_COLUMNS, 0, s->segment, deadline, dropped);
	return *error || *dropped ? NULL : dpi_run_place(s->lane[target].b) + HEADER;
}

/* A lane of a retained flow whose ring was lost has none until its target is bound anew. */
static int64_t linger_ns(const struct dpi_lane *l)
{
	return l->b ? l->b->linger_us * 1000 : DPI_COLUMNS_AGAIN_NS;
}

int dpi_columns_begin(struct dpi_source *s, uint32_t target, int64_t deadline, bool *dropped)
{
	struct dpi_lane *l = &s->lane[target];
	int error = l->columns ? DPI_SUCCESS : dpi_column_builder_new(s->flow->definition->wire, &l->columns);
	uint8_t *at = error ? NULL : place(s, target, deadline, dropped, &error);
	if (!at) return error;
	error = dpi_column_begin(l->columns, at, s->segment - HEADER);
	if (error) return error;
	__atomic_store_n(&s->columns->open[target], l->columns, __ATOMIC_RELEASE); /* with what statistics read in it */
	if (!s->coded) DPI_ADD(s->stats.segments, 1);
	if (s->flow->definition->hint == DPI_HINT_LATENCY) return DPI_SUCCESS; /* it travels before the call returns */
	l->due = dpi_now() + linger_ns(l);
	dpi_flow_linger_by(s->ctx, &s->columns->linger, l->due);
	return DPI_SUCCESS;
}

int dpi_columns_room(struct dpi_source *s, uint32_t target, const struct dpi_batch *batch, size_t i, bool wait, bool *dropped)
{
	struct dpi_columns *c = s->columns;
	*dropped = s->lane[target].dropped;
	if (*dropped) return DPI_SUCCESS;
	if (c->open[target] && dpi_column_fit(c->open[target], batch, i, 1)) return DPI_SUCCESS;
	int error = dpi_columns_begin(s, target, 0, dropped);
	if (error == DPI_ERR_AGAIN && wait) {
		dpi_columns_send(s); /* nobody else does while this waits */
		error = dpi_columns_begin(s, target, dpi_deadline(0, s->timeout_us), dropped);
	}
	if (!error && !*dropped && !dpi_column_fit(c->open[target], batch, i, 1))
		error = dpi_fail(DPI_ERR_INTERNAL, "a row that should fit a segment does not");
	return dpi_source_wants(s, target, DPI_WANT_COLUMNS, 0, error);
}

int dpi_columns_finish(struct dpi_source *s, uint32_t target)
{
	struct dpi_lane *l = &s->lane[target];
	struct dpi_column_builder *b = s->columns->open[target];
	__atomic_store_n(&s->columns->open[target], NULL, __ATOMIC_RELAXED);
	if (!b || !dpi_column_rows(b)) return DPI_SUCCESS; /* a run of no bytes is none */
	DPI_ADD(l->bytes, dpi_column_bytes(b));
	if (s->coded) {
		dpi_coded_built(s, target, dpi_column_end(b, 0), dpi_column_rows(b));
		return DPI_SUCCESS;
	}
	size_t size = HEADER + dpi_column_end(b, 0);
	if (s->retain && size < DPI_RING_ALIGNED) { /* when it is sent again, in a run of its own size, that is to begin a line, too */
		memset(dpi_run_place(l->b) + size, 0, DPI_RING_ALIGNED - size);
		size = DPI_RING_ALIGNED;
	}
	return dpi_run_wrote(l->b, &l->run, size);
}

void dpi_columns_send_to(struct dpi_source *s, uint32_t target)
{
	struct dpi_lane *l = &s->lane[target];
	if (s->coded) {
		if (!dpi_coded_publish(s, target, false)) dpi_flow_linger_by(s->ctx, &s->columns->linger, dpi_now() + linger_ns(l));
		return;
	}
	if (!s->columns->open[target] || !dpi_column_rows(s->columns->open[target])) return;
	/* what the transport cannot take now is written, and goes with the next publishing; a dead target is found by the next push */
	if (!dpi_lane_end(s, target, 0)) dpi_run_publish(l->b, &l->run);
}

void dpi_columns_send(struct dpi_source *s)
{
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) dpi_columns_send_to(s, t);
}
