/* SPDX-License-Identifier: Apache-2.0
 * arrow_import.c: record batches of somebody else's, lent as our columns. What the interface tells is checked; it does not
 * tell how long buffers are. */
#include <stdlib.h>
#include <string.h>

#include "arrow.h"
#include "column_bits.h"
#include "error.h"

enum { OWN_VALID, OWN_DATA, OWN };

int dpi_arrow_batch_new(struct dpi_schema *s, struct dpi_arrow_batch *b)
{
	*b = (struct dpi_arrow_batch){ .vector = calloc(s->columns, sizeof *b->vector),
				       .own = calloc(s->columns, OWN * sizeof *b->own) };
	if (!b->vector || !b->own) {
		free(b->vector), free(b->own);
		return dpi_fail(DPI_ERR_MEMORY, "no memory for a batch of %u columns", s->columns);
	}
	b->schema = dpi_schema_ref(s);
	b->batch = (struct dpi_batch){ .columns = (int)s->columns, .column = b->vector };
	return DPI_SUCCESS;
}

static void drop_own(struct dpi_arrow_batch *b)
{
	for (int i = 0; i < b->batch.columns * OWN; i++) free(b->own[i]), b->own[i] = NULL;
}

void dpi_arrow_batch_free(struct dpi_arrow_batch *b)
{
	drop_own(b);
	free(b->vector), free(b->own);
	dpi_schema_unref(b->schema);
	*b = (struct dpi_arrow_batch){ 0 };
}

/* A column under way. */
struct input {
	struct dpi_arrow_batch *batch;
	const struct dpi_column *c;
	const struct ArrowArray *a;
	uint32_t i;
	size_t rows, first; /* its values begin at this one of the buffers */
};

static int no_memory(const struct input *in, size_t bytes)
{
	return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu bytes of Arrow column %u \"%s\"", bytes, in->i, in->c->name);
}

/* Bits from the first on: where they lie if that begins a byte, else a copy. */
static int lend_bits(const struct input *in, int own, const uint8_t *bits, const uint8_t **out)
{
	*out = bits + in->first / 8;
	if (in->first % 8 == 0) return DPI_SUCCESS;
	uint8_t *copy = malloc(dpi_bits_bytes(in->rows) + 1);
	if (!copy) return no_memory(in, dpi_bits_bytes(in->rows));
	dpi_bits_copy(copy, 0, bits, in->first, in->rows);
	in->batch->own[in->i * OWN + own] = copy;
	*out = copy;
	return DPI_SUCCESS;
}

/* Values at an address that a CPU may not like are copied. */
static int lend_values(const struct input *in, const uint8_t *from, size_t bytes, size_t align, const void **out)
{
	*out = from;
	if ((uintptr_t)from % align == 0) return DPI_SUCCESS;
	void *copy = malloc(bytes);
	if (!copy) return no_memory(in, bytes);
	in->batch->own[in->i * OWN + OWN_DATA] = memcpy(copy, from, bytes);
	*out = copy;
	return DPI_SUCCESS;
}

static int import_nulls(const struct input *in, struct dpi_vector *v)
{
	const uint8_t *bits = in->a->buffers[0];
	int64_t nulls = in->a->null_count;
	if (nulls < -1 || nulls > in->a->length)
		return dpi_fail(DPI_ERR_ARGUMENT, "Arrow column %u \"%s\" has null_count %lld of %lld values", in->i,
				in->c->name, (long long)nulls, (long long)in->a->length);
	if (nulls > 0 && !bits)
		return dpi_fail(DPI_ERR_ARGUMENT, "Arrow column %u \"%s\" has NULLs, but no bits that say where", in->i,
				in->c->name);
	if (!nulls || !bits) return DPI_SUCCESS;
	if (!in->c->nullable) { /* null_count may count values outside the slice, or nothing may be known */
		if (dpi_bits_count(bits, in->first, in->rows) == in->rows) return DPI_SUCCESS;
		return dpi_fail(DPI_ERR_ARGUMENT,
				"Arrow column %u \"%s\" has NULLs, and the schema's column has none: fill them",
				in->i, in->c->name);
	}
	return lend_bits(in, OWN_VALID, bits, &v->valid);
}

static int import_variable(const struct input *in, struct dpi_vector *v)
{
	static const int32_t none[1]; /* an empty array may have no offsets */
	const uint8_t *data = in->a->buffers[2];
	const uint8_t *offsets = in->a->buffers[1];
	const void *at = none;
	int error = DPI_SUCCESS;
	if (offsets && in->rows) error = lend_values(in, offsets + 4 * in->first, 4 * (in->rows + 1), 4, &at);
	else if (in->rows)
		error = dpi_fail(DPI_ERR_ARGUMENT, "Arrow column %u \"%s\" has values, but no offsets", in->i, in->c->name);
	if (error) return error;
	v->offset = at;
	int32_t falls = v->offset[0] < 0;
	for (size_t i = 0; i < in->rows; i++) falls |= v->offset[i + 1] < v->offset[i];
	if (falls)
		return dpi_fail(DPI_ERR_ARGUMENT, "the offsets of Arrow column %u \"%s\" fall, or are negative", in->i,
				in->c->name);
	if (!data && v->offset[in->rows] > v->offset[0])
		return dpi_fail(DPI_ERR_ARGUMENT, "Arrow column %u \"%s\" has bytes at NULL", in->i, in->c->name);
	v->data = data ? data : (const uint8_t *)"";
	return DPI_SUCCESS;
}

static int import_column(struct input *in, int64_t length, int64_t skip)
{
	const struct dpi_column *c = in->c;
	const struct ArrowArray *a = in->a;
	struct dpi_vector *v = in->batch->vector + in->i;
	int buffers = c->variable ? 3 : 2;
	*v = (struct dpi_vector){ .type = c->type, .scale = c->scale,
				  .width = c->variable || c->type == DPI_TYPE_BOOL ? 0 : c->width };
	if (!a || !a->release)
		return dpi_fail(DPI_ERR_ARGUMENT, "Arrow column %u \"%s\" is missing or released", in->i, c->name);
	if (a->n_buffers != buffers || !a->buffers || a->n_children || a->dictionary)
		return dpi_fail(DPI_ERR_ARGUMENT,
				"Arrow column %u \"%s\" has %lld buffers and %lld children: its type has %d and none",
				in->i, c->name, (long long)a->n_buffers, (long long)a->n_children, buffers);
	/* the batch's own offset and length choose among the column's values */
	if (a->length < 0 || a->offset < 0 || a->length > INT64_MAX - a->offset || skip > a->length ||
	    length > a->length - skip)
		return dpi_fail(DPI_ERR_ARGUMENT,
				"Arrow column %u \"%s\" has %lld values from %lld on: the batch has %lld from %lld on",
				in->i, c->name, (long long)a->length, (long long)a->offset, (long long)length,
				(long long)skip);
	if (a->offset + skip > INT64_MAX / (DPI_FIXED_MAX + 1))
		return dpi_fail(DPI_ERR_ARGUMENT, "Arrow column %u \"%s\" begins at value %lld", in->i, c->name,
				(long long)a->offset);
	in->rows = (size_t)length;
	in->first = (size_t)(a->offset + skip);
	int error = import_nulls(in, v);
	if (error || c->variable) return error ? error : import_variable(in, v);
	const uint8_t *data = a->buffers[1];
	if (!data && length) return dpi_fail(DPI_ERR_ARGUMENT, "Arrow column %u \"%s\" has values at NULL", in->i, c->name);
	if (!length) return v->data = "", DPI_SUCCESS;
	if (c->type == DPI_TYPE_BOOL) {
		const uint8_t *bits;
		error = lend_bits(in, OWN_DATA, data, &bits);
		v->data = error ? NULL : bits;
		return error;
	}
	size_t align = c->type == DPI_TYPE_FIXED ? 1 : c->width > 8 ? 8 : c->width;
	return lend_values(in, data + in->first * c->width, in->rows * c->width, align, &v->data);
}

int dpi_arrow_import(struct dpi_arrow_batch *b, const struct ArrowArray *a)
{
	const struct dpi_schema *s = b->schema;
	b->batch.rows = 0;
	drop_own(b);
	if (!a->release) return dpi_fail(DPI_ERR_ARGUMENT, "the Arrow array is released: import it before that");
	if (a->n_children != s->columns || !a->children || a->n_buffers != 1 || a->dictionary)
		return dpi_fail(DPI_ERR_ARGUMENT,
				"the Arrow array has %lld columns and %lld buffers: a batch of this schema has %u and 1",
				(long long)a->n_children, (long long)a->n_buffers, s->columns);
	if (a->length < 0 || a->length >= INT32_MAX || a->offset < 0)
		return dpi_fail(DPI_ERR_ARGUMENT,
				"the Arrow array has %lld rows from %lld on: cut it into batches of fewer than 2^31",
				(long long)a->length, (long long)a->offset);
	const uint8_t *valid = a->null_count && a->buffers ? a->buffers[0] : NULL;
	if (a->offset > INT64_MAX / 2)
		return dpi_fail(DPI_ERR_ARGUMENT, "the Arrow array begins at row %lld", (long long)a->offset);
	if (valid && dpi_bits_count(valid, (size_t)a->offset, (size_t)a->length) != (size_t)a->length)
		return dpi_fail(DPI_ERR_ARGUMENT, "the Arrow array has rows that are NULL as a whole: filter them out");
	for (uint32_t i = 0; i < s->columns; i++) {
		struct input in = { .batch = b, .c = s->column + i, .a = a->children[i], .i = i };
		int error = import_column(&in, a->length, a->offset);
		if (error) return error;
	}
	b->batch.rows = (size_t)a->length;
	return DPI_SUCCESS;
}
