/* SPDX-License-Identifier: Apache-2.0
 * columnar_push.c: columns into a flow of columns, and rows, too. */
#include <stdio.h>

#include "bloom.h"
#include "columnar.h"
#include "wait.h"

static uint64_t capacity(const struct dpi_source *s)
{
	return s->segment - sizeof(struct dpi_flow_segment);
}

/* -------------------------------------------------------------------------------------------------- to the same targets */

/* Row i of columns of a schema as a row, in memory of the source's. */
static int make_row(struct dpi_source *s, const struct dpi_schema *schema, const struct dpi_batch *batch, size_t i, uint32_t *size)
{
	return dpi_row_make(schema, batch, i, &s->columns->row, &s->columns->room, size);
}

/* As many rows of first … as each of the targets has room for in one segment, at most count; row first does not exceed one. A wait
 * for one of them sends what is under construction for the others: then these begin anew, at most once each. */
static int each_room(struct dpi_source *s, const uint32_t *to, uint32_t targets, const struct dpi_batch *batch, size_t first,
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

static int room_at_all(struct dpi_source *s, const uint32_t *to, uint32_t targets, const struct dpi_batch *batch, size_t first, size_t *count, bool wait)
{
	dpi_source_together(s, to, targets);
	int error = each_room(s, to, targets, batch, first, count, wait);
	dpi_source_together(s, NULL, 0);
	return error;
}

int dpi_columns_same(struct dpi_source *s, const uint32_t *to, uint32_t targets, const struct dpi_batch *batch, size_t first,
		     size_t count, bool wait, size_t *done)
{
	const struct dpi_schema *schema = s->flow->definition->wire;
	for (size_t end = first + count, n; first < end; first += n, *done += n) {
		n = 1;
		if (schema->varies && dpi_column_need(schema, batch, first) > capacity(s)) {
			uint32_t size;
			int error = make_row(s, schema, batch, first, &size);
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

/* What fits goes column by column; the row that does not is given room first. */
int dpi_columns_deal(struct dpi_source *s, const struct dpi_batch *batch, size_t first, size_t count, const uint16_t *part, size_t *done)
{
	struct dpi_columns *c = s->columns;
	for (size_t at = 0; at < count;) {
		size_t n = dpi_column_scatter(&c->scatter, s->flow->definition->wire, batch, first + at, count - at, part + at);
		for (uint32_t i = 0; i < c->scatter.touches; i++) {
			uint16_t p = c->touched[i];
			DPI_ADD(s->lane[p].rows, c->scatter.count[p]);
			c->scatter.count[p] = 0;
		}
		at += n;
		*done += n;
		if (at == count) break;
		/* this one by itself; also where its target is gone, or the row exceeds a segment */
		uint32_t to = part[at];
		int error = dpi_columns_same(s, &to, 1, batch, first + at, 1, true, done);
		if (error) return error;
		at++;
	}
	return DPI_SUCCESS;
}

/* One run. */
static int push_run(struct dpi_source *s, const struct dpi_batch *batch, size_t first, size_t count, size_t *done)
{
	size_t went = 0;
	dpi_route_batch(s->route, batch, first, count, s->columns->part);
	int error = dpi_columns_deal(s, batch, first, count, s->columns->part, &went);
	if (error) dpi_route_back(s->route, count - went);
	*done += went;
	return error;
}

int dpi_columns_route(struct dpi_source *s, const struct dpi_batch *batch, size_t i, const uint32_t **to, uint32_t *count)
{
	uint32_t size;
	int error = make_row(s, s->flow->definition->schema, batch, i, &size);
	return error ? error : dpi_route_row(s->route, s->columns->row, size, to, count);
}

/* Functions say where each row goes. */
static int push_by_function(struct dpi_source *s, const struct dpi_batch *batch, size_t i, size_t *done)
{
	const uint32_t *to;
	uint32_t count;
	int error = dpi_columns_route(s, batch, i, &to, &count);
	if (error) return error;
	if (count) return dpi_columns_same(s, to, count, batch, i, 1, true, done);
	DPI_ADD(s->stats.filtered, 1);
	++*done;
	return DPI_SUCCESS;
}

/* Rows first … first + count, wherever they go. */
static int push_rows(struct dpi_source *s, const struct dpi_batch *batch, size_t first, size_t count, size_t *done)
{
	uint32_t targets = 0;
	const uint32_t *all = dpi_route_all(s->route, &targets);
	bool single = dpi_route_single(s->route);
	int error = DPI_SUCCESS;
	if (s->pipe) return dpi_columns_map(s, batch, first, count, done);
	if (all) return dpi_columns_same(s, all, targets, batch, first, count, true, done);
	for (size_t i = first, n; i < first + count && !error; i += n) {
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

int dpi_columns_push_filtered(struct dpi_source *s, const struct dpi_batch *batch, size_t *done)
{
	return s->bloom ? push_some(s, batch, done) : dpi_columns_push_batch(s, batch, done);
}

/* ---------------------------------------------------------------------------------------------------------------- rows */

int dpi_columns_push_row(struct dpi_source *s, const uint32_t *to, uint32_t count, const void *row, uint64_t size, bool wait)
{
	const struct dpi_definition *d = s->flow->definition;
	struct dpi_columns *c = s->columns;
	DPI_Record record = { row, size };
	size_t done = 0;
	if (!count) return DPI_SUCCESS;
	if (d->wire->varies && dpi_column_need_row(d->wire, row, (uint32_t)size) > capacity(s))
		return dpi_push_large(s, to, count, row, size, wait);
	int error = dpi_row_batch_records(&c->rows, &record, 1);
	if (!error) error = dpi_columns_same(s, to, count, &c->rows.batch, 0, 1, wait, &done);
	/* on an error it is at none of them, and what was there before travels already */
	for (uint32_t i = 0; i < count && !error && d->hint == DPI_HINT_LATENCY; i++) dpi_columns_send_to(s, to[i]);
	return error;
}

int dpi_columns_push_made(struct dpi_source *s, uint32_t to, const struct dpi_rows *rows, bool wait, size_t *done)
{
	struct dpi_row_batch *b = &s->columns->rows;
	size_t n = rows->count - *done < DPI_PUSH_RUN ? rows->count - *done : DPI_PUSH_RUN, went = 0;
	int error = rows->rows ? dpi_row_batch_strided(b, (const uint8_t *)rows->rows + *done * rows->stride, rows->stride, n)
			       : dpi_row_batch_records(b, rows->record + *done, n);
	if (!error) error = dpi_columns_same(s, &to, 1, &b->batch, 0, n, wait, &went);
	*done += went;
	return error;
}

int dpi_columns_push_rows(struct dpi_source *s, const void *rows, size_t count, size_t *done)
{
	const struct dpi_schema *schema = s->flow->definition->schema;
	const uint8_t *row = rows;
	int error = DPI_SUCCESS;
	for (size_t n; count && !error; count -= n, row += n * s->push_size) {
		n = count < DPI_PUSH_RUN ? count : DPI_PUSH_RUN;
		for (size_t i = 0; i < n && !schema->plain && !error; i++) error = dpi_row_check(schema, row + i * s->push_size, s->push_size, false);
		if (!error) error = dpi_row_batch_strided(&s->columns->pushed, row, s->push_size, n);
		if (!error) error = dpi_columns_push_batch(s, &s->columns->pushed.batch, done);
	}
	return error;
}
