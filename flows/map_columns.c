/* SPDX-License-Identifier: Apache-2.0
 * map_columns.c: stages over runs of columns. Rows that do not pass stay where they are, with their bits cleared, and later stages do
 * not look at them; nothing is copied but what an expression makes. Where a stage is a function of the program, which takes rows, all
 * run over rows that are made of the columns, and columns are made of what comes out. */
#include "map_inner.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "move/hash.h"
#include "move/move.h"

/* ---------------------------------------------------------------------------------------------------------- over rows */

static int over_rows(struct dpi_maps *m, const struct dpi_batch *in, struct dpi_mapped_columns *out)
{
	const struct dpi_step *last = m->step + m->steps - 1;
	struct dpi_rows rows;
	struct dpi_mapped made;
	int error = DPI_SUCCESS;
	void *own = dpi_rows_from_batch(m->step->stage->in, in, &rows);
	if (!own) return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu rows", in->rows);
	if (!m->made.schema) error = dpi_row_batch_new(last->stage->out, NULL, &m->made);
	if (!error) error = dpi_maps_run(m, &rows, &made);
	if (!error && (error = dpi_row_batch_records(&m->made, made.record, made.count))) dpi_maps_back(m);
	free(own);
	if (!error) *out = (struct dpi_mapped_columns){ .batch = m->made.batch, .from = made.from, .count = made.count };
	return error;
}

/* ------------------------------------------------------------------------------------------------------- over columns */

static void sample(struct dpi_maps *m, struct dpi_step *t, const struct dpi_batch *in)
{
	const struct dpi_stage *s = t->stage;
	if (s->key_count) {
		dpi_hash_start(dpi_hash_seed(s->salt), in->rows, m->hash);
		for (uint32_t k = 0; k < s->key_count; k++) dpi_hash_vector(in->column + s->key[k], 0, in->rows, m->hash);
	}
	for (size_t i = 0; i < in->rows; i++) {
		bool passes;
		if (!dpi_bit(m->bits, i)) continue;
		passes = s->key_count ? (uint32_t)m->hash[i] < s->share : dpi_step_share(t->seen + 1, s->share) > dpi_step_share(t->seen, s->share);
		t->seen += !s->key_count;
		if (!passes) m->bits[i / 8] &= (uint8_t)~(1u << i % 8);
	}
}

/* Bytes of the rows whose bit is set, none of which is too large. */
static int bytes_of(const struct dpi_maps *m, const struct dpi_schema *s, const struct dpi_batch *b, uint64_t *bytes)
{
	*bytes = (uint64_t)m->count * s->row_size;
	if (!s->varies) return DPI_SUCCESS;
	*bytes = 0;
	for (size_t i = 0; i < b->rows; i++) {
		if (!dpi_bit(m->bits, i)) continue;
		uint64_t size = dpi_row_size_in_batch(s, b, i);
		if (size > DPI_ROW_MAX) return dpi_step_too_large(size);
		*bytes += size;
	}
	return DPI_SUCCESS;
}

/* now: the columns that come, then those that leave. */
static int step(struct dpi_maps *m, struct dpi_step *t, struct dpi_batch *now)
{
	const struct dpi_stage *s = t->stage;
	size_t rows = m->count, ignored;
	uint64_t bytes, before = dpi_step_dropped(t);
	int error = DPI_SUCCESS, next = 0;
	if (s->kind == DPI_STAGE_FILTER) error = dpi_expr_filter(t->state, now, m->bits, m->bits, &ignored);
	else if (s->kind == DPI_STAGE_SAMPLE) sample(m, t, now);
	else if (t->state) error = dpi_expr_project(t->state, now, m->bits, t->value);
	if (error) return error;
	if (dpi_stage_makes(s)) {
		for (uint32_t c = 0; c < s->out->columns; c++) t->column[c] = s->from[c] >= 0 ? now->column[s->from[c]] : t->value[next++];
		*now = (struct dpi_batch){ now->rows, (int)s->out->columns, t->column };
	}
	m->count = dpi_count_bits(m->bits, now->rows);
	error = bytes_of(m, s->out, now, &bytes);
	if (error) return error;
	uint64_t dropped = dpi_step_dropped(t) - before;
	m->errors += dropped;
	dpi_step_count(t, rows, m->count, bytes, dropped);
	return DPI_SUCCESS;
}

int dpi_maps_run_columns(struct dpi_maps *m, const struct dpi_batch *in, struct dpi_mapped_columns *out)
{
	struct dpi_batch now = *in;
	size_t passed = 0;
	if (m->calls) return over_rows(m, in, out);
	int error = dpi_maps_begin(m, in->rows);
	if (error) return error;
	memset(m->bits, 0xff, (in->rows + 7) / 8);
	for (uint32_t i = 0; i < m->steps && m->count && !error; i++) {
		error = step(m, m->step + i, &now);
		if (error) dpi_step_failed(m->step + i, error);
	}
	if (error) {
		dpi_maps_back(m);
		return error;
	}
	for (size_t i = 0; i < in->rows; i++) {
		m->from[passed] = (uint32_t)i;
		passed += dpi_bit(m->bits, i);
	}
	m->sifted += in->rows - m->count;
	*out = (struct dpi_mapped_columns){ .batch = now, .bits = m->count == in->rows ? NULL : m->bits, .from = m->from, .count = m->count };
	return DPI_SUCCESS;
}
