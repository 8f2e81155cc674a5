/* SPDX-License-Identifier: Apache-2.0
 * column_scatter.c: rows of a batch to many columnar segments at once: first how many fit, then column by column. */
#include <string.h>

#include "column_bits.h"
#include "column_inner.h"
#include "push_plan.h"

/* Does one more row fit? Its variable values are planned then. */
static inline bool plan_row(struct dpi_column_builder *b, const struct dpi_schema *s, const struct dpi_batch *batch, size_t i)
{
	uint32_t k;
	for (k = 0; k < s->columns; k++) {
		struct dpi_column_build *o = b->column + k;
		if (!s->column[k].variable) continue;
		const int32_t *offset = batch->column[k].offset + i;
		uint32_t bytes = (uint32_t)(offset[1] - offset[0]);
		if (bytes > o->room - o->used - o->planned) break;
		o->planned += bytes;
	}
	if (k == s->columns) return true;
	while (k--) { /* take it back */
		const int32_t *offset = batch->column[k].offset + i;
		if (s->column[k].variable) b->column[k].planned -= (uint32_t)(offset[1] - offset[0]);
	}
	return false;
}

static size_t plan(struct dpi_column_scatter *s, const struct dpi_schema *schema, const struct dpi_batch *batch, size_t first, size_t count,
		   const uint16_t *part)
{
	size_t i = 0;
	s->touches = 0;
	for (; i < count; i++) {
		uint16_t p = part[i];
		struct dpi_column_builder *b = s->to[p];
		if (__builtin_expect(!b || b->rows + s->count[p] >= b->most, 0)) break;
		if (schema->varies && !plan_row(b, schema, batch, first + i)) break;
		s->touched[s->touches] = p; /* stays if it is the first */
		s->touches += s->count[p]++ == 0;
	}
	return i;
}

/* Where each part's next bit or offset goes. */
static void fill_from_rows(struct dpi_column_scatter *s)
{
	for (uint32_t n = 0; n < s->touches; n++) s->fill[s->touched[n]] = s->to[s->touched[n]]->rows;
}

static void put_valid(struct dpi_column_scatter *s, uint32_t k, const struct dpi_vector *v, size_t first, size_t count, const uint16_t *part)
{
	if (!v->valid) {
		for (uint32_t n = 0; n < s->touches; n++) {
			struct dpi_column_builder *b = s->to[s->touched[n]];
			dpi_bits_ones(b->column[k].valid, b->rows, s->count[s->touched[n]]);
		}
		return;
	}
	fill_from_rows(s);
	for (size_t i = 0; i < count; i++) {
		struct dpi_column_build *o = s->to[part[i]]->column + k;
		bool valid = dpi_bit(v->valid, first + i);
		dpi_bits_put(o->valid, s->fill[part[i]]++, valid);
		o->nulls += !valid;
	}
}

static void put_bits(struct dpi_column_scatter *s, uint32_t k, const struct dpi_vector *v, size_t first, size_t count, const uint16_t *part)
{
	fill_from_rows(s);
	for (size_t i = 0; i < count; i++)
		dpi_bits_put(s->to[part[i]]->column[k].data, s->fill[part[i]]++, dpi_bit(v->data, first + i));
}

static void put_variable(struct dpi_column_scatter *s, uint32_t k, const struct dpi_vector *v, size_t first, size_t count, const uint16_t *part)
{
	const uint8_t *data = v->data;
	fill_from_rows(s);
	for (size_t i = 0; i < count; i++) {
		struct dpi_column_build *o = s->to[part[i]]->column + k;
		const int32_t *offset = v->offset + first + i;
		uint32_t bytes = (uint32_t)(offset[1] - offset[0]);
		if (bytes) memcpy(o->data + o->used, data + offset[0], bytes);
		DPI_COLUMN_SET(o->used, o->used + bytes);
		o->offset[++s->fill[part[i]]] = (int32_t)o->used;
	}
	for (uint32_t n = 0; n < s->touches; n++) s->to[s->touched[n]]->column[k].planned = 0;
}

size_t dpi_column_scatter(struct dpi_column_scatter *s, const struct dpi_schema *schema, const struct dpi_batch *batch, size_t first,
			  size_t count, const uint16_t *part)
{
	size_t rows = plan(s, schema, batch, first, count, part);
	if (!rows) return 0;
	for (uint32_t k = 0; k < schema->columns; k++) {
		const struct dpi_column *c = schema->column + k;
		const struct dpi_vector *v = batch->column + k;
		if (c->nullable) put_valid(s, k, v, first, rows, part);
		if (c->variable) put_variable(s, k, v, first, rows, part);
		else if (c->type == DPI_TYPE_BOOL) put_bits(s, k, v, first, rows, part);
		else {
			for (uint32_t n = 0; n < s->touches; n++) {
				struct dpi_column_builder *b = s->to[s->touched[n]];
				s->at[s->touched[n]] = b->column[k].data + (size_t)b->rows * c->width;
			}
			dpi_push_scatter((const uint8_t *)v->data + first * c->width, c->width, c->width, rows, part, s->at);
		}
	}
	for (uint32_t n = 0; n < s->touches; n++) {
		struct dpi_column_builder *b = s->to[s->touched[n]];
		DPI_COLUMN_SET(b->rows, b->rows + s->count[s->touched[n]]);
	}
	return rows;
}
