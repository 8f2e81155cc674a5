/* SPDX-License-Identifier: Apache-2.0
 * row_from_batch.c: columns to rows. */
#include "row_batch.h"

#include <stdlib.h>

#include "error.h"

static bool null_at(const struct dpi_column *c, const struct dpi_vector *v, size_t i)
{
	return c->nullable && dpi_is_null(v, i);
}

uint64_t dpi_row_size_in_batch(const struct dpi_schema *s, const struct dpi_batch *batch, size_t i)
{
	uint64_t size = s->row_size;
	for (uint32_t k = 0; k < s->columns && s->varies; k++) {
		const struct dpi_vector *v = batch->column + k;
		if (s->column[k].variable) size += (uint32_t)(v->offset[i + 1] - v->offset[i]); /* NULLs have none, as a rule */
	}
	return size;
}

uint32_t dpi_row_write_from_batch(const struct dpi_schema *s, const struct dpi_batch *batch, size_t i, void *row)
{
	uint8_t *to = row;
	uint32_t behind = s->row_size;
	memset(to, 0, s->row_size);
	for (uint32_t k = 0; k < s->columns; k++) {
		const struct dpi_column *c = s->column + k;
		const struct dpi_vector *v = batch->column + k;
		const uint8_t *data = v->data;
		if (null_at(c, v, i)) {
			to[c->null_at] |= c->null_mask;
		} else if (c->variable) {
			uint32_t place[2] = { behind, (uint32_t)(v->offset[i + 1] - v->offset[i]) };
			memcpy(to + c->offset, place, sizeof place);
			if (place[1]) memcpy(to + behind, data + v->offset[i], place[1]);
			behind += place[1];
		} else if (c->type == DPI_TYPE_BOOL) {
			to[c->offset] = dpi_bit(data, i);
		} else {
			memcpy(to + c->offset, data + i * c->width, c->width);
		}
	}
	return behind;
}

/* Column by column: rows of one size, in line. */
static void write_strided(const struct dpi_schema *s, const struct dpi_batch *batch, size_t first, size_t count,
			  uint8_t *rows)
{
	size_t stride = s->row_size, filled = 0;
	for (uint32_t k = 0; k < s->columns; k++) filled += s->column[k].width;
	if (filled < stride) memset(rows, 0, count * stride); /* padding, bits of NULLs */
	for (uint32_t k = 0; k < s->columns; k++) {
		const struct dpi_column *c = s->column + k;
		const struct dpi_vector *v = batch->column + k;
		if (c->type == DPI_TYPE_BOOL)
			for (size_t i = 0; i < count; i++) rows[i * stride + c->offset] = dpi_bit(v->data, first + i);
		else
			dpi_row_kernels->scatter(rows + c->offset, stride, (const uint8_t *)v->data + first * c->width,
						 c->width, count);
		if (!c->nullable || !v->valid) continue;
		for (size_t i = 0; i < count; i++) {
			uint8_t *row = rows + i * stride;
			if (dpi_bit(v->valid, first + i)) continue;
			row[c->null_at] |= c->null_mask;
			memset(row + c->offset, 0, c->width);
		}
	}
}

size_t dpi_row_from_batch(const struct dpi_schema *s, const struct dpi_batch *batch, size_t first, size_t count,
			  struct dpi_row_writer *w)
{
	size_t done = 0;
	if (w->stride) {
		size_t room = w->at > w->last ? 0 : (size_t)(w->last - w->at) / w->stride + 1;
		done = count < room ? count : room;
		write_strided(s, batch, first, done, w->at);
		w->at += done * w->stride;
		return done;
	}
	for (; done < count; done++) {
		uint64_t size = dpi_row_size_in_batch(s, batch, first + done);
		void *row = size > DPI_ROW_MAX ? NULL : dpi_row_reserve(w, (uint32_t)size);
		if (!row) break;
		dpi_row_shrink(w, row, dpi_row_write_from_batch(s, batch, first + done, row));
	}
	return done;
}

int dpi_row_make(const struct dpi_schema *s, const struct dpi_batch *batch, size_t i, uint8_t **row, size_t *room, uint32_t *size)
{
	uint64_t need = dpi_row_size_in_batch(s, batch, i);
	if (need > DPI_ROW_MAX)
		return dpi_fail(DPI_ERR_SIZE, "row %zu of the batch has %llu bytes, at most %u are taken", i, (unsigned long long)need, DPI_ROW_MAX);
	if (need > *room) {
		free(*row);
		*row = malloc(need);
		*room = *row ? need : 0;
		if (!*row) return dpi_fail(DPI_ERR_MEMORY, "no memory for a row of %llu bytes", (unsigned long long)need);
	}
	*size = dpi_row_write_from_batch(s, batch, i, *row);
	return DPI_SUCCESS;
}

static void *make_rows(const struct dpi_schema *s, const struct dpi_batch *b, struct dpi_rows *made)
{
	uint8_t *rows = malloc(b->rows * s->row_size);
	struct dpi_row_writer w = { .at = rows, .stride = s->row_size, .segment = rows };
	if (!rows) return NULL;
	w.last = rows + (b->rows - 1) * s->row_size;
	dpi_row_from_batch(s, b, 0, b->rows, &w);
	*made = (struct dpi_rows){ .rows = rows, .stride = s->row_size, .count = b->rows };
	return rows;
}

void *dpi_rows_from_batch(const struct dpi_schema *s, const struct dpi_batch *b, struct dpi_rows *made)
{
	if (!s->varies) return make_rows(s, b, made);
	uint64_t size = b->rows * sizeof(DPI_Record);
	for (size_t i = 0; i < b->rows; i++) size += (dpi_row_size_in_batch(s, b, i) + 7) & ~UINT64_C(7);
	DPI_Record *list = malloc(size);
	uint8_t *at = (uint8_t *)(list + b->rows);
	for (size_t i = 0; list && i < b->rows; i++) {
		list[i] = (DPI_Record){ at, dpi_row_write_from_batch(s, b, i, at) };
		at += (list[i].size + 7) & ~(size_t)7;
	}
	*made = (struct dpi_rows){ .record = list, .count = b->rows };
	return list;
}
