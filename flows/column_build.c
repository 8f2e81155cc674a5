/* SPDX-License-Identifier: Apache-2.0
 * column_build.c: columnar segments, built row by row or batch by batch. How much room the variable columns need is not
 * known before: they get what they needed in the segments before and share what is left over. */
#include <stdlib.h>

#include "column_bits.h"
#include "column_inner.h"
#include "error.h"

#define FIRST_MEAN 16 /* bytes of a variable value, before any was seen */

int dpi_column_builder_new(struct dpi_schema *s, struct dpi_column_builder **builder)
{
	struct dpi_column_builder *b = calloc(1, sizeof *b + s->columns * sizeof *b->column);
	if (!b) return dpi_fail(DPI_ERR_MEMORY, "no memory to build segments of %u columns", s->columns);
	b->schema = dpi_schema_ref(s);
	for (uint32_t i = 0; i < s->columns; i++) b->column[i].mean = FIRST_MEAN;
	*builder = b;
	return DPI_SUCCESS;
}

void dpi_column_builder_free(struct dpi_column_builder *b)
{
	if (!b) return;
	dpi_schema_unref(b->schema);
	free(b);
}

/* ------------------------------------------------------------------------------------------------------- planning */

static uint64_t up(uint64_t n)
{
	return (n + DPI_COLUMN_ALIGN - 1) & ~(uint64_t)(DPI_COLUMN_ALIGN - 1);
}

static uint64_t head_size(const struct dpi_schema *s)
{
	return up(DPI_SEGMENT_HEADER + s->columns * sizeof(struct dpi_column_place));
}

/* Bytes of the values of fixed size, or of the offsets. */
static uint64_t values_size(const struct dpi_column *c, uint64_t rows)
{
	if (c->type == DPI_TYPE_BOOL) return dpi_bits_bytes(rows);
	return c->variable ? 4 * (rows + 1) : c->width * rows;
}

static uint64_t variable_size(const struct dpi_column_build *o, uint64_t rows)
{
	uint64_t all = rows > 1 ? o->mean * rows : 0;
	return all > o->first ? all : o->first;
}

/* Bytes of a segment with room for so many rows. */
static uint64_t plan(const struct dpi_column_builder *b, uint64_t rows)
{
	const struct dpi_schema *s = b->schema;
	uint64_t size = head_size(s);
	for (uint32_t i = 0; i < s->columns; i++) {
		const struct dpi_column *c = s->column + i;
		if (c->nullable) size += up(dpi_bits_bytes(rows));
		size += up(values_size(c, rows));
		if (c->variable) size += up(variable_size(b->column + i, rows));
	}
	return size;
}

/* The same of one row whose variable values have these bytes together with what rounds each up. */
static uint64_t plan_one(const struct dpi_schema *s, uint64_t variable)
{
	uint64_t size = head_size(s) + variable;
	for (uint32_t i = 0; i < s->columns; i++)
		size += (s->column[i].nullable ? DPI_COLUMN_ALIGN : 0) + up(values_size(s->column + i, 1));
	return size;
}

uint64_t dpi_column_least(const struct dpi_schema *s)
{
	return plan_one(s, 0);
}

uint64_t dpi_column_need_row(const struct dpi_schema *s, const void *row, uint32_t size)
{
	uint64_t variable = 0;
	for (uint32_t i = 0; i < s->columns && s->varies; i++) {
		const uint8_t *data;
		uint32_t bytes;
		const struct dpi_column *c = s->column + i;
		if (c->variable && !dpi_row_null(row, c) && dpi_row_bytes(s, row, size, c, &data, &bytes)) variable += up(bytes);
	}
	return plan_one(s, variable);
}

uint64_t dpi_column_need(const struct dpi_schema *s, const struct dpi_batch *batch, size_t i)
{
	uint64_t variable = 0;
	for (uint32_t k = 0; k < s->columns && s->varies; k++) {
		const int32_t *offset = batch->column[k].offset;
		if (s->column[k].variable) variable += up((uint32_t)(offset[i + 1] - offset[i]));
	}
	return plan_one(s, variable);
}

static void lay_out(struct dpi_column_builder *b, uint32_t rows)
{
	const struct dpi_schema *s = b->schema;
	uint64_t spare = 0;
	if (s->varies) spare = (b->capacity - plan(b, rows)) / s->variable_columns & ~(uint64_t)(DPI_COLUMN_ALIGN - 1);
	uint8_t *at = b->segment + head_size(s);
	b->most = rows;
	for (uint32_t i = 0; i < s->columns; i++) {
		const struct dpi_column *c = s->column + i;
		struct dpi_column_build *o = b->column + i;
		o->valid = c->nullable ? at : NULL;
		if (c->nullable) at += up(dpi_bits_bytes(rows));
		o->offset = c->variable ? (int32_t *)(void *)at : NULL;
		if (c->variable) at += up(values_size(c, rows)), *o->offset = 0;
		o->data = at;
		o->room = c->variable ? (uint32_t)(up(variable_size(o, rows)) + spare) : 0;
		if (o->room > INT32_MAX) o->room = INT32_MAX & ~(DPI_COLUMN_ALIGN - 1);
		at += c->variable ? o->room : up(values_size(c, rows));
	}
}

/* Lay out for as many rows as the capacity should hold; false: not even the first. */
static bool divide(struct dpi_column_builder *b)
{
	uint64_t low = 0, high = b->capacity; /* low fits, or is 0; a row of only bits: 8 × capacity, which nobody needs */
	while (low < high) {
		uint64_t middle = (low + high + 1) / 2;
		if (plan(b, middle) <= b->capacity) low = middle;
		else high = middle - 1;
	}
	if (low) lay_out(b, (uint32_t)low);
	return low;
}

int dpi_column_begin(struct dpi_column_builder *b, void *segment, size_t capacity)
{
	b->segment = segment;
	b->capacity = capacity > INT32_MAX ? INT32_MAX & ~(DPI_COLUMN_ALIGN - 1) : (uint32_t)capacity;
	DPI_COLUMN_SET(b->rows, 0);
	for (uint32_t i = 0; i < b->schema->columns; i++) {
		DPI_COLUMN_SET(b->column[i].used, 0);
		b->column[i].nulls = b->column[i].first = 0;
	}
	if ((uintptr_t)segment % DPI_COLUMN_ALIGN)
		return dpi_fail(DPI_ERR_ARGUMENT, "a columnar segment at %p: it begins at a multiple of %u", segment,
				DPI_COLUMN_ALIGN);
	if (!divide(b))
		return dpi_fail(DPI_ERR_SIZE, "a segment of %zu bytes holds no row of %u columns: it needs %llu at least",
				capacity, b->schema->columns, (unsigned long long)plan(b, 1));
	return DPI_SUCCESS;
}

/* In an empty segment, give the first row what it needs. */
static bool make_room(struct dpi_column_builder *b)
{
	for (uint32_t i = 0; i < b->schema->columns; i++) b->column[i].first = b->column[i].size;
	return !b->rows && divide(b);
}

/* ----------------------------------------------------------------------------------------------------- row by row */

/* Look at the row's NULLs and variable values, once. */
static int take_places(struct dpi_column_builder *b, const void *row, uint32_t size, bool *fits)
{
	const struct dpi_schema *s = b->schema;
	if (s->varies ? size < s->row_size : size != s->row_size)
		return dpi_fail(DPI_ERR_CORRUPT, "a row of %u bytes: this schema has rows of %s%u", size,
				s->varies ? "at least " : "", s->row_size);
	*fits = b->rows < b->most;
	for (uint32_t i = 0; i < s->columns; i++) {
		const struct dpi_column *c = s->column + i;
		struct dpi_column_build *o = b->column + i;
		o->null = dpi_row_null(row, c);
		o->size = 0;
		if (!c->variable || o->null) continue;
		if (!dpi_row_bytes(s, row, size, c, &o->bytes, &o->size))
			return dpi_fail(DPI_ERR_CORRUPT, "column %u \"%s\" of a row of %u bytes does not lie within it", i,
					c->name, size);
		if (o->size > o->room - o->used) *fits = false;
	}
	return DPI_SUCCESS;
}

static void put(struct dpi_column_build *o, const struct dpi_column *c, const uint8_t *row, uint32_t i)
{
	if (c->nullable) dpi_bits_put(o->valid, i, !o->null);
	o->nulls += o->null;
	if (c->variable) {
		if (o->size) memcpy(o->data + o->used, o->bytes, o->size);
		DPI_COLUMN_SET(o->used, o->used + o->size);
		o->offset[i + 1] = (int32_t)o->used;
		return;
	}
	const uint8_t *from = row + c->offset;
	if (c->type == DPI_TYPE_BOOL) {
		dpi_bits_put(o->data, i, !o->null && *from);
		return;
	}
	uint8_t *to = o->data + (size_t)i * c->width;
	if (o->null) {
		memset(to, 0, c->width);
		return;
	}
	switch (c->width) {
	case 1: *to = *from; return;
	case 2: memcpy(to, from, 2); return;
	case 4: memcpy(to, from, 4); return;
	case 8: memcpy(to, from, 8); return;
	default: memcpy(to, from, c->width);
	}
}

int dpi_column_append_row(struct dpi_column_builder *b, const void *row, uint32_t size)
{
	bool fits = false;
	int error = take_places(b, row, size, &fits);
	if (error) return error;
	if (!fits && b->rows) return DPI_ERR_FULL;
	if (!fits && !make_room(b)) return DPI_ERR_SIZE;
	for (uint32_t i = 0; i < b->schema->columns; i++) put(b->column + i, b->schema->column + i, row, b->rows);
	DPI_COLUMN_SET(b->rows, b->rows + 1);
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------- batch by batch */

/* How many rows from first on fit, at most n. */
static size_t fitting(const struct dpi_column_builder *b, const struct dpi_batch *batch, size_t first, size_t n)
{
	const struct dpi_schema *s = b->schema;
	if (n > b->most - b->rows) n = b->most - b->rows;
	for (uint32_t i = 0; i < s->columns; i++) {
		const struct dpi_column_build *o = b->column + i;
		if (!s->column[i].variable) continue;
		const int32_t *offset = batch->column[i].offset + first;
		uint32_t room = o->room - o->used;
		size_t low = 0;
		while (low < n) { /* offsets rise */
			size_t middle = (low + n + 1) / 2;
			if ((uint32_t)(offset[middle] - offset[0]) <= room) low = middle;
			else n = middle - 1;
		}
	}
	return n;
}

static void put_run(struct dpi_column_build *o, const struct dpi_column *c, const struct dpi_vector *v, size_t first, uint32_t at,
		    size_t n)
{
	if (c->nullable && v->valid) {
		dpi_bits_copy(o->valid, at, v->valid, first, n);
		o->nulls += (uint32_t)(n - dpi_bits_count(v->valid, first, n));
	} else if (c->nullable) {
		dpi_bits_ones(o->valid, at, n);
	}
	if (c->variable) {
		const int32_t *offset = v->offset + first;
		uint32_t bytes = (uint32_t)(offset[n] - offset[0]);
		if (bytes) memcpy(o->data + o->used, (const uint8_t *)v->data + offset[0], bytes);
		for (size_t i = 1; i <= n; i++) o->offset[at + i] = (int32_t)o->used + (offset[i] - offset[0]);
		DPI_COLUMN_SET(o->used, o->used + bytes);
	} else if (c->type == DPI_TYPE_BOOL) {
		dpi_bits_copy(o->data, at, v->data, first, n);
	} else {
		memcpy(o->data + (size_t)at * c->width, (const uint8_t *)v->data + first * c->width, n * c->width);
	}
}

size_t dpi_column_fit(struct dpi_column_builder *b, const struct dpi_batch *batch, size_t first, size_t count)
{
	const struct dpi_schema *s = b->schema;
	if (!count) return 0;
	size_t n = fitting(b, batch, first, count);
	if (n || b->rows) return n;
	for (uint32_t i = 0; i < s->columns; i++) {
		const int32_t *offset = batch->column[i].offset;
		b->column[i].size = s->column[i].variable ? (uint32_t)(offset[first + 1] - offset[first]) : 0;
	}
	return make_room(b) ? fitting(b, batch, first, count) : 0;
}

size_t dpi_column_append_batch(struct dpi_column_builder *b, const struct dpi_batch *batch, size_t first, size_t count,
			       bool *large)
{
	const struct dpi_schema *s = b->schema;
	size_t n = dpi_column_fit(b, batch, first, count);
	if (large) *large = count && !n && !b->rows;
	if (!n) return 0;
	for (uint32_t i = 0; i < s->columns; i++)
		put_run(b->column + i, s->column + i, batch->column + i, first, b->rows, n);
	DPI_COLUMN_SET(b->rows, b->rows + n);
	return n;
}

uint32_t dpi_column_rows(const struct dpi_column_builder *b)
{
	return b->rows;
}

uint64_t dpi_column_bytes(const struct dpi_column_builder *b)
{
	uint64_t bytes = (uint64_t)__atomic_load_n(&b->rows, __ATOMIC_RELAXED) * b->schema->row_size;
	for (uint32_t i = 0; i < b->schema->columns; i++) bytes += __atomic_load_n(&b->column[i].used, __ATOMIC_RELAXED);
	return bytes;
}

/* -------------------------------------------------------------------------------------------------------- the end */

/* Move a buffer down to *at, which is never above it, and zero what is left of its last 64 bytes. */
static uint32_t settle(const struct dpi_column_builder *b, uint8_t **at, const void *from, uint64_t size)
{
	uint8_t *to = *at;
	if (to != from) memmove(to, from, size);
	memset(to + size, 0, up(size) - size);
	*at += up(size);
	return (uint32_t)(to - b->segment);
}

size_t dpi_column_end(struct dpi_column_builder *b, uint32_t flags)
{
	const struct dpi_schema *s = b->schema;
	uint64_t head = head_size(s);
	uint8_t *at = b->segment + head, *places = b->segment + DPI_SEGMENT_HEADER;
	memset(places, 0, head - DPI_SEGMENT_HEADER);
	for (uint32_t i = 0; i < s->columns; i++) {
		const struct dpi_column *c = s->column + i;
		struct dpi_column_build *o = b->column + i;
		struct dpi_column_place p = { .bytes = c->variable ? o->used : (uint32_t)values_size(c, b->rows) };
		if (o->nulls) p.valid = settle(b, &at, o->valid, dpi_bits_bytes(b->rows));
		if (c->variable) p.offset = settle(b, &at, o->offset, values_size(c, b->rows));
		p.data = settle(b, &at, o->data, p.bytes);
		memcpy(places + i * sizeof p, &p, sizeof p);
		if (c->variable && b->rows) o->mean = (uint32_t)((o->mean + (uint64_t)o->used / b->rows * 9 / 8 + 2) / 2);
	}
	struct dpi_segment h = { .rows = b->rows, .bytes = (uint32_t)(at - b->segment - DPI_SEGMENT_HEADER),
				 .flags = DPI_SEGMENT_MAGIC | DPI_SEGMENT_COLUMNS | flags };
	memcpy(b->segment, &h, sizeof h);
	return (size_t)(at - b->segment);
}
