/* SPDX-License-Identifier: Apache-2.0
 * columnar_push.c: record batches into a flow of columns, and rows, too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arrow.h"
#include "bloom.h"
#include "columnar.h"
#include "wait.h"

static uint64_t capacity(const struct dpi_source *s)
{
	return s->segment - sizeof(struct dpi_flow_segment);
}

/* -------------------------------------------------------------------------------------------------- to the same targets */

/* Row i as a row, in memory of the source's. */
static int make_row(struct dpi_source *s, const struct dpi_batch *batch, size_t i, uint32_t *size)
{
	const struct dpi_schema *schema = s->flow->definition->schema;
	struct dpi_columns *c = s->columns;
	uint64_t need = dpi_row_size_in_batch(schema, batch, i);
	if (need > DPI_ROW_MAX)
		return dpi_fail(DPI_ERR_SIZE, "row %zu of the batch has %llu bytes, at most %u are taken", i, (unsigned long long)need,
				DPI_ROW_MAX);
	if (need > c->room) {
		free(c->row);
		c->row = malloc(need);
		c->room = c->row ? need : 0;
		if (!c->row) return dpi_fail(DPI_ERR_MEMORY, "no memory for a row of %llu bytes", (unsigned long long)need);
	}
	*size = dpi_row_write_from_batch(schema, batch, i, c->row);
	return DPI_SUCCESS;
}

/* As many rows of first … as each of the targets has room for in one segment, at most count; row first does not exceed one. A wait
 * for one of them sends what is under construction for the others: then these begin anew, at most once each. */
static int room_at_all(struct dpi_source *s, const uint32_t *to, uint32_t targets, const struct dpi_batch *batch, size_t first,
		       size_t *count, bool wait)
{
	struct dpi_column_builder **open = s->columns->open;
	const size_t most = *count;
	for (bool all = false; !all;) {
		all = true;
		*count = most;
		for (uint32_t i = 0; i < targets; i++) {
			bool dropped;
			int error = dpi_columns_room(s, to[i], batch, first, wait, &dropped);
			if (error) return error;
			if (!dropped) *count = dpi_column_fit(open[to[i]], batch, first, *count);
		}
		for (uint32_t i = 0; i < targets; i++) all &= open[to[i]] || s->lane[to[i]].dropped;
	}
	return DPI_SUCCESS;
}

/* Rows first … first + count to all of the targets, each row to all or to none. *done goes on by those that went. */
static int push_same(struct dpi_source *s, const uint32_t *to, uint32_t targets, const struct dpi_batch *batch, size_t first,
		     size_t count, bool wait, size_t *done)
{
	const struct dpi_schema *schema = s->flow->definition->schema;
	if (!targets) {
		DPI_ADD(s->stats.filtered, count);
		*done += count;
		return DPI_SUCCESS;
	}
	for (size_t end = first + count, n; first < end; first += n, *done += n) {
		n = 1;
		if (schema->varies && dpi_column_need(schema, batch, first) > capacity(s)) {
			uint32_t size;
			int error = make_row(s, batch, first, &size);
			if (!error) error = dpi_push_large(s, to, targets, s->columns->row, size, wait);
			if (error) return error;
			continue;
		}
		n = end - first;
		int error = room_at_all(s, to, targets, batch, first, &n, wait);
		if (error) return error;
		for (uint32_t i = 0; i < targets; i++) {
			struct dpi_lane *l = &s->lane[to[i]];
			if (l->dropped) {
				DPI_ADD(s->stats.dropped, n);
				continue;
			}
			dpi_column_append_batch(s->columns->open[to[i]], batch, first, n, NULL);
			DPI_ADD(l->rows, n);
		}
	}
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------ each to one of many */

/* One run: what fits goes column by column; the row that does not is given room first. */
static int push_run(struct dpi_source *s, const struct dpi_batch *batch, size_t first, size_t count, size_t *done)
{
	const struct dpi_schema *schema = s->flow->definition->schema;
	struct dpi_columns *c = s->columns;
	dpi_route_batch(s->route, batch, first, count, c->part);
	for (size_t at = 0; at < count;) {
		size_t n = dpi_column_scatter(&c->scatter, schema, batch, first + at, count - at, c->part + at);
		for (uint32_t i = 0; i < c->scatter.touches; i++) {
			uint16_t p = c->touched[i];
			DPI_ADD(s->lane[p].rows, c->scatter.count[p]);
			c->scatter.count[p] = 0;
		}
		at += n;
		*done += n;
		if (at == count) break;
		/* this one by itself; also where its target is gone, or the row exceeds a segment */
		uint32_t to = c->part[at];
		int error = push_same(s, &to, 1, batch, first + at, 1, true, done);
		if (error) {
			dpi_route_back(s->route, count - at);
			return error;
		}
		at++;
	}
	return DPI_SUCCESS;
}

/* Functions say where each row goes. */
static int push_by_function(struct dpi_source *s, const struct dpi_batch *batch, size_t i, size_t *done)
{
	const uint32_t *to;
	uint32_t count, size;
	int error = make_row(s, batch, i, &size);
	if (!error) error = dpi_route_row(s->route, s->columns->row, size, &to, &count);
	return error ? error : push_same(s, to, count, batch, i, 1, true, done);
}

/* Rows first … first + count, wherever they go. */
static int push_rows(struct dpi_source *s, const struct dpi_batch *batch, size_t first, size_t count, size_t *done)
{
	static const uint32_t zero[] = { 0 };
	const struct dpi_definition *d = s->flow->definition;
	const uint32_t *to = zero;
	uint32_t targets = 1;
	int error = DPI_SUCCESS;
	if (d->dist == DPI_DIST_BROADCAST) error = dpi_route_row(s->route, "", 0, &to, &targets); /* looks at no row */
	bool single = dpi_route_single(s->route), same = (single && d->targets == 1) || d->dist == DPI_DIST_BROADCAST;
	if (same && !error) error = push_same(s, to, targets, batch, first, count, true, done);
	for (size_t i = first, n; i < first + count && !same && !error; i += n) {
		n = !single ? 1 : first + count - i < DPI_PUSH_RUN ? first + count - i : DPI_PUSH_RUN;
		error = single ? push_run(s, batch, i, n, done) : push_by_function(s, batch, i, done);
	}
	return error;
}

/* With the latency hint what was pushed travels now, also before the rows that an error is about. */
static int prompt(struct dpi_source *s, int error)
{
	char detail[DPI_DETAIL_MAX];
	if (s->flow->definition->hint != DPI_HINT_LATENCY) return error;
	if (error) snprintf(detail, sizeof detail, "%s", dpi_detail());
	dpi_columns_send(s);
	return error ? dpi_fail(error, "%s", detail) : DPI_SUCCESS;
}

int dpi_columns_push_batch(struct dpi_source *s, const struct dpi_batch *batch, size_t *done)
{
	int error = push_rows(s, batch, 0, batch->rows, done);
	return prompt(s, error);
}

/* Those that pass the source's Bloom filter, as many in line as there are. */
static int push_some(struct dpi_source *s, const struct dpi_batch *batch, size_t *done)
{
	int error = DPI_SUCCESS;
	for (size_t first = 0, n; first < batch->rows && !error; first += n) {
		n = batch->rows - first < DPI_KEY_RUN ? batch->rows - first : DPI_KEY_RUN;
		const uint8_t *pass = dpi_source_bloom_batch(s->bloom, batch, first, n);
		for (size_t i = 0, end; i < n && !error; i = end) {
			bool some = dpi_bit(pass, i);
			for (end = i + 1; end < n && dpi_bit(pass, end) == some;) end++;
			if (some) {
				error = push_rows(s, batch, first + i, end - i, done);
				continue;
			}
			DPI_ADD(s->stats.unmatched, end - i);
			*done += end - i;
		}
	}
	return prompt(s, error);
}

/* Those that are acknowledged, one by one. */
static int push_noted(struct dpi_source *s, const struct dpi_batch *batch, size_t *done)
{
	int error = DPI_SUCCESS;
	for (size_t i = 0; i < batch->rows && !error; i++, *done += !error) {
		uint32_t size;
		error = make_row(s, batch, i, &size);
		if (!error) error = dpi_push_noted_row(s, s->columns->row, size);
	}
	return error;
}

/* ---------------------------------------------------------------------------------------------------------------- rows */

int dpi_columns_push_row(struct dpi_source *s, const uint32_t *to, uint32_t count, const void *row, uint64_t size, bool wait)
{
	const struct dpi_definition *d = s->flow->definition;
	struct dpi_columns *c = s->columns;
	DPI_Record record = { row, size };
	size_t done = 0;
	if (!count) return DPI_SUCCESS;
	if (d->schema->varies && dpi_column_need_row(d->schema, row, (uint32_t)size) > capacity(s))
		return dpi_push_large(s, to, count, row, size, wait);
	int error = dpi_row_batch_records(&c->rows, &record, 1);
	if (!error) error = push_same(s, to, count, &c->rows.batch, 0, 1, wait, &done);
	for (uint32_t i = 0; i < count && d->hint == DPI_HINT_LATENCY; i++) dpi_columns_send_to(s, to[i]);
	return error;
}

int dpi_columns_push_rows(struct dpi_source *s, const void *rows, size_t count, size_t *done)
{
	const struct dpi_schema *schema = s->flow->definition->schema;
	const uint8_t *row = rows;
	int error = DPI_SUCCESS;
	for (size_t n; count && !error; count -= n, row += n * s->row_size) {
		n = count < DPI_PUSH_RUN ? count : DPI_PUSH_RUN;
		for (size_t i = 0; i < n && !schema->plain && !error; i++) error = dpi_row_check(schema, row + i * s->row_size, s->row_size, false);
		if (!error) error = dpi_row_batch_strided(&s->columns->rows, row, s->row_size, n);
		if (!error) error = dpi_columns_push_batch(s, &s->columns->rows.batch, done);
	}
	return error;
}

/* --------------------------------------------------------------------------------------------------------------- Arrow */

/* Has the batch the flow's columns? */
static int check_schema(const struct dpi_source *s, const struct ArrowSchema *arrow)
{
	char text[512];
	struct dpi_schema *yours;
	int error = dpi_arrow_import_schema(arrow, &yours);
	if (error) return error;
	if (!dpi_schema_equal(s->flow->definition->schema, "the flow's schema", yours, "the batch's", text, sizeof text))
		error = dpi_fail(DPI_ERR_SCHEMA, "DPI_Push_Arrow: flow '%s': %s", s->flow->name, text);
	dpi_schema_unref(yours);
	return error;
}

int DPI_Push_Arrow(const struct ArrowArray *array, const struct ArrowSchema *schema, DPI_Source handle, size_t *pushed)
{
	struct dpi_arrow_batch batch;
	int error;
	size_t done = 0;
	if (pushed) *pushed = 0;
	struct dpi_source *s = dpi_source_begin(handle, "DPI_Push_Arrow", &error);
	if (!s) return error;
	if (!array) error = dpi_fail(DPI_ERR_ARGUMENT, "DPI_Push_Arrow: array is NULL: pass the ArrowArray to push");
	else if (!s->columns)
		error = dpi_fail(DPI_ERR_USE, "DPI_Push_Arrow: the segments of flow '%s' are rows: create it with DPI_LAYOUT_COLUMNS, or push rows", s->flow->name);
	if (!error && schema) error = check_schema(s, schema);
	if (!error) error = dpi_arrow_batch_new(s->flow->definition->schema, &batch);
	if (!error) {
		error = dpi_arrow_import(&batch, array);
		if (!error && s->ack) error = push_noted(s, &batch.batch, &done);
		else if (!error) error = s->bloom ? push_some(s, &batch.batch, &done) : dpi_columns_push_batch(s, &batch.batch, &done);
		if (error == DPI_ERR_AGAIN) error = dpi_push_no_room(s, true, "DPI_Push_Arrow");
		dpi_arrow_batch_free(&batch);
	}
	dpi_source_leave(s);
	if (pushed) *pushed = done;
	return error;
}
