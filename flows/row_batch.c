/* SPDX-License-Identifier: Apache-2.0
 * row_batch.c: rows to columns. Rows may be a peer's: a place is copied once and bounded, a bool is what is not 0. */
#include "row_batch.h"

#include <stdlib.h>

#include "column_bits.h"
#include "error.h"
#include "move/move.h"

static void gather(void *packed, const void *rows, size_t stride, size_t width, size_t count)
{
	uint8_t *to = packed;
	const uint8_t *from = rows;
	switch (width) {
#define CASE(n)                                                                                        \
	case n:                                                                                        \
		for (size_t i = 0; i < count; i++) memcpy(to + i * n, from + i * stride, n);           \
		return;
		CASE(1) CASE(2) CASE(4) CASE(8) CASE(16)
#undef CASE
	}
	for (size_t i = 0; i < count; i++) memcpy(to + i * width, from + i * stride, width);
}

static void scatter(void *rows, size_t stride, const void *packed, size_t width, size_t count)
{
	uint8_t *to = rows;
	const uint8_t *from = packed;
	switch (width) {
#define CASE(n)                                                                                        \
	case n:                                                                                        \
		for (size_t i = 0; i < count; i++) memcpy(to + i * stride, from + i * n, n);           \
		return;
		CASE(1) CASE(2) CASE(4) CASE(8) CASE(16)
#undef CASE
	}
	for (size_t i = 0; i < count; i++) memcpy(to + i * stride, from + i * width, width);
}

const struct dpi_row_kernels dpi_row_scalar = { gather, scatter };
const struct dpi_row_kernels *dpi_row_kernels = &dpi_row_scalar;

/* -------------------------------------------------------------------------------------------------------- memory */

struct dpi_row_vector {
	uint8_t *data;
	size_t room; /* variable: bytes of data */
	uint8_t *valid;
	int32_t *offset;
	bool wanted;
};

int dpi_row_batch_new(struct dpi_schema *s, const uint64_t *wanted, struct dpi_row_batch *b)
{
	*b = (struct dpi_row_batch){ .own = calloc(s->columns, sizeof *b->own),
				     .vector = calloc(s->columns, sizeof *b->vector) };
	if (!b->own || !b->vector) {
		free(b->own), free(b->vector);
		return dpi_fail(DPI_ERR_MEMORY, "no memory for a batch of %u columns", s->columns);
	}
	b->schema = dpi_schema_ref(s);
	b->batch = (struct dpi_batch){ .columns = (int)s->columns, .column = b->vector };
	for (uint32_t i = 0; i < s->columns; i++) {
		const struct dpi_column *c = s->column + i;
		b->own[i].wanted = !wanted || wanted[i / 64] >> i % 64 & 1;
		b->vector[i] = (struct dpi_vector){ .type = c->type, .scale = c->scale,
						    .width = c->variable || c->type == DPI_TYPE_BOOL ? 0 : c->width };
	}
	return DPI_SUCCESS;
}

void dpi_row_batch_free(struct dpi_row_batch *b)
{
	for (int i = 0; i < b->batch.columns; i++) free(b->own[i].data), free(b->own[i].valid), free(b->own[i].offset);
	free(b->own), free(b->vector), free(b->rows), free(b->sizes);
	dpi_schema_unref(b->schema);
	*b = (struct dpi_row_batch){ 0 };
}

/* What was there is not kept. */
static void *renew(void *old, size_t bytes)
{
	free(old);
	return malloc(bytes);
}

static bool reserve_column(struct dpi_row_vector *o, const struct dpi_column *c, size_t rows)
{
	if (c->nullable && !(o->valid = renew(o->valid, dpi_bits_bytes(rows)))) return false;
	if (c->variable) return (o->offset = renew(o->offset, 4 * (rows + 1)));
	return (o->data = renew(o->data, c->type == DPI_TYPE_BOOL ? dpi_bits_bytes(rows) : rows * c->width));
}

static int reserve(struct dpi_row_batch *b, size_t rows)
{
	if (b->room && rows <= b->room) return DPI_SUCCESS;
	if (rows >= INT32_MAX) return dpi_fail(DPI_ERR_SIZE, "a batch of %zu rows: it has fewer than %d", rows, INT32_MAX);
	if (rows < 16) rows = 16;
	b->room = 0;
	b->rows = renew(b->rows, rows * sizeof *b->rows);
	b->sizes = renew(b->sizes, rows * sizeof *b->sizes);
	bool good = b->rows && b->sizes;
	for (uint32_t i = 0; i < b->schema->columns && good; i++)
		if (b->own[i].wanted) good = reserve_column(b->own + i, b->schema->column + i, rows);
	if (!good) return dpi_fail(DPI_ERR_MEMORY, "no memory for a batch of %zu rows", rows);
	b->room = rows;
	return DPI_SUCCESS;
}

/* ---------------------------------------------------------------------------------------------------------- columns */

/* Where the rows are: stride bytes apart, or each by itself. */
struct source {
	const uint8_t *first;
	size_t stride;
	const uint8_t *const *row; /* NULL: by stride */
};

static inline const uint8_t *row_at(const struct source *in, size_t i)
{
	return in->row ? in->row[i] : in->first + i * in->stride;
}

static void take_nulls(struct dpi_row_vector *o, struct dpi_vector *v, const struct dpi_column *c, const struct source *in,
		       size_t count)
{
	size_t nulls = 0;
	v->valid = NULL;
	if (!c->nullable) return;
	for (size_t i = 0; i < count; i++) {
		bool null = row_at(in, i)[c->null_at] & c->null_mask;
		dpi_bits_put(o->valid, i, !null);
		nulls += null;
	}
	if (nulls) v->valid = o->valid;
}

static void take_values(struct dpi_row_vector *o, struct dpi_vector *v, const struct dpi_column *c, const struct source *in,
			size_t count)
{
	v->data = o->data;
	if (c->type == DPI_TYPE_BOOL) {
		for (size_t i = 0; i < count; i++) dpi_bits_put(o->data, i, row_at(in, i)[c->offset] != 0);
		return;
	}
	if (!in->row) {
		dpi_row_kernels->gather(o->data, in->first + c->offset, in->stride, c->width, count);
		return;
	}
	switch (c->width) {
#define CASE(n)                                                                                        \
	case n:                                                                                        \
		for (size_t i = 0; i < count; i++) memcpy(o->data + i * n, in->row[i] + c->offset, n); \
		return;
		CASE(1) CASE(2) CASE(4) CASE(8) CASE(16)
#undef CASE
	}
	for (size_t i = 0; i < count; i++) memcpy(o->data + i * c->width, in->row[i] + c->offset, c->width);
}

static int take_bytes(struct dpi_row_batch *b, uint32_t k, size_t count)
{
	const struct dpi_column *c = b->schema->column + k;
	struct dpi_row_vector *o = b->own + k;
	struct dpi_vector *v = b->vector + k;
	uint32_t used = 0, size;
	const uint8_t *bytes;
	o->offset[0] = 0;
	for (size_t i = 0; i < count; i++, o->offset[i] = (int32_t)used) {
		if (dpi_is_null(v, i)) continue;
		if (!dpi_row_bytes(b->schema, b->rows[i], b->sizes[i], c, &bytes, &size))
			return dpi_fail(DPI_ERR_CORRUPT, "column %u \"%s\" of a row of %u bytes does not lie within it", k,
					c->name, b->sizes[i]);
		if (size > INT32_MAX - used)
			return dpi_fail(DPI_ERR_SIZE,
					"column %u \"%s\" of %zu rows has more than 2 GiB: take fewer rows at a time", k,
					c->name, count);
		if (size > o->room - used) {
			size_t room = 2 * ((size_t)used + size) + 64;
			void *data = realloc(o->data, room);
			if (!data)
				return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu bytes of column \"%s\"", room, c->name);
			o->data = data;
			o->room = room;
		}
		if (size) memcpy(o->data + used, bytes, size);
		used += size;
	}
	v->data = o->data ? o->data : (const uint8_t *)"";
	v->offset = o->offset;
	return DPI_SUCCESS;
}

static int convert(struct dpi_row_batch *b, const struct source *in, size_t count)
{
	int error = DPI_SUCCESS;
	for (uint32_t i = 0; i < b->schema->columns && !error; i++) {
		const struct dpi_column *c = b->schema->column + i;
		if (!b->own[i].wanted) continue;
		take_nulls(b->own + i, b->vector + i, c, in, count);
		if (c->variable) error = take_bytes(b, i, count);
		else take_values(b->own + i, b->vector + i, c, in, count);
	}
	b->batch.rows = error ? 0 : count;
	return error;
}

int dpi_row_batch_strided(struct dpi_row_batch *b, const void *rows, size_t stride, size_t count)
{
	struct source in = { rows, stride, NULL };
	b->batch.rows = 0;
	int error = reserve(b, count);
	return error ? error : convert(b, &in, count);
}

static int check_size(const struct dpi_schema *s, size_t size)
{
	if (s->varies ? size >= s->row_size && size <= DPI_ROW_MAX : size == s->row_size) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_CORRUPT, "a row of %zu bytes: this schema has rows of %s%u", size,
			s->varies ? "at least " : "", s->row_size);
}

int dpi_row_batch_records(struct dpi_row_batch *b, const DPI_Record *rows, size_t count)
{
	b->batch.rows = 0;
	int error = reserve(b, count);
	for (size_t i = 0; i < count && !error; i++) {
		error = check_size(b->schema, rows[i].size);
		b->rows[i] = rows[i].data;
		b->sizes[i] = (uint32_t)rows[i].size;
	}
	struct source in = { NULL, 0, b->rows };
	return error ? error : convert(b, &in, count);
}

int dpi_row_batch_read(struct dpi_row_batch *b, struct dpi_row_reader *r, size_t max)
{
	size_t count = r->rows < max ? r->rows : max;
	if (r->stride) {
		int error = dpi_row_batch_strided(b, r->at, r->stride, count);
		if (!error) r->at += count * r->stride, r->rows -= (uint32_t)count;
		return error;
	}
	b->batch.rows = 0;
	int error = reserve(b, count);
	for (size_t i = 0; i < count && !error; i++) {
		b->rows[i] = dpi_row_next(r, b->sizes + i);
		error = b->rows[i] ? check_size(b->schema, b->sizes[i]) : dpi_row_done(r);
	}
	struct source in = { NULL, 0, b->rows };
	return error ? error : convert(b, &in, count);
}

/* ----------------------------------------------------------------------------------------------------------- columns */

/* Bytes of the values whose bit is set. */
static uint64_t bytes_of(const struct dpi_vector *v, size_t rows, const uint8_t *bits)
{
	if (!bits) return (uint64_t)(v->offset[rows] - v->offset[0]);
	uint64_t bytes = 0;
	for (size_t i = 0; i < rows; i++)
		if (dpi_bit(bits, i)) bytes += (uint64_t)(v->offset[i + 1] - v->offset[i]);
	return bytes;
}

static int gather_bytes(struct dpi_row_vector *o, struct dpi_vector *to, const struct dpi_vector *v, size_t rows, const uint8_t *bits)
{
	uint64_t bytes = bytes_of(v, rows, bits);
	const uint8_t *data = v->data;
	size_t n = 0;
	if (bytes > o->room || !o->data) {
		o->data = renew(o->data, bytes + 1);
		o->room = o->data ? bytes : 0;
		if (!o->data) return dpi_fail(DPI_ERR_MEMORY, "no memory for %llu bytes of a column", (unsigned long long)bytes);
	}
	o->offset[0] = 0;
	for (size_t i = 0; i < rows; i++) {
		if (bits && !dpi_bit(bits, i)) continue;
		int32_t size = v->offset[i + 1] - v->offset[i];
		if (size && bits) memcpy(o->data + o->offset[n], data + v->offset[i], (size_t)size);
		o->offset[n + 1] = o->offset[n] + size;
		n++;
	}
	if (!bits && bytes) memcpy(o->data, data + v->offset[0], bytes);
	to->data = o->data;
	to->offset = o->offset;
	return DPI_SUCCESS;
}

int dpi_row_batch_gather(struct dpi_row_batch *b, const struct dpi_batch *from, const uint8_t *bits, size_t count)
{
	b->batch.rows = 0;
	int error = reserve(b, count);
	for (uint32_t i = 0; i < b->schema->columns && !error; i++) {
		const struct dpi_column *c = b->schema->column + i;
		const struct dpi_vector *v = from->column + i;
		struct dpi_row_vector *o = b->own + i;
		struct dpi_vector *to = b->vector + i;
		to->valid = NULL;
		if (c->nullable && v->valid) {
			if (bits) dpi_gather_bits(v->valid, from->rows, bits, o->valid);
			else memcpy(o->valid, v->valid, dpi_bits_bytes(count));
			to->valid = o->valid;
		}
		to->data = o->data;
		if (c->variable) error = gather_bytes(o, to, v, from->rows, bits);
		else if (c->type == DPI_TYPE_BOOL && bits) dpi_gather_bits(v->data, from->rows, bits, o->data);
		else if (c->type == DPI_TYPE_BOOL) memcpy(o->data, v->data, dpi_bits_bytes(count));
		else if (bits) dpi_gather(v->data, c->width, c->width, from->rows, bits, o->data);
		else memcpy(o->data, v->data, count * c->width);
	}
	if (!error) b->batch.rows = count;
	return error;
}
