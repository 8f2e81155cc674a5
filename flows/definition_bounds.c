/* SPDX-License-Identifier: Apache-2.0
 * definition_bounds.c: the bounds of a range: copied from wherever they lie into columns of the definition's own. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "definition_parts.h"
#include "error.h"
#include "move/move.h"

void dpi_bounds_key(const struct dpi_definition *d, struct dpi_strided key[static DPI_KEYS_MAX])
{
	if (d->group[0]) key[0] = (struct dpi_strided){ .type = DPI_TYPE_UINT64, .width = 8, .stride = 8 };
	for (uint32_t k = 0; k < d->key_count; k++) {
		const struct dpi_column *c = d->schema->column + d->key[k];
		key[k] = (struct dpi_strided){ .type = c->type, .scale = c->scale, .width = c->variable ? 0 : c->width,
					       .stride = c->variable ? 0 : d->schema->row_size };
	}
}

void dpi_bounds_free(struct dpi_definition *d)
{
	for (uint32_t k = 0; d->bound && k < dpi_definition_keys(d); k++) free((void *)(uintptr_t)d->bound[k].data);
	free(d->bound);
	d->bound = NULL;
}

static bool varies(const struct dpi_strided *s)
{
	return s->type >= DPI_TYPE_BINARY;
}

static size_t bits(uint32_t rows)
{
	return (rows + 7) / 8;
}

size_t dpi_bounds_data(const struct dpi_vector *v, uint32_t rows)
{
	if (v->offset) return (size_t)v->offset[rows];
	return v->width ? (size_t)v->width * rows : bits(rows);
}

/* ------------------------------------------------------------------------------------------------------------- copy */

/* Bytes that the values take; the offsets of variable ones are checked. */
static int measure(const struct dpi_strided *s, uint32_t rows, uint32_t k, size_t *bytes)
{
	*bytes = s->width ? (size_t)s->width * rows : bits(rows);
	if (varies(s)) *bytes = 0;
	for (uint32_t i = 0; varies(s) && i < rows && *bytes <= DPI_DEFINITION_MAX; i++) {
		int32_t from = s->offset[i], to = s->offset[i + 1];
		if (from < 0 || to < from)
			return dpi_fail(DPI_ERR_ARGUMENT, "attr->bounds[%u].offset goes from %d to %d at row %u: offsets never fall",
					k, from, to, i);
		if (!dpi_strided_is_null(s, i)) *bytes += (size_t)(to - from);
	}
	if (*bytes > DPI_DEFINITION_MAX)
		return dpi_fail(DPI_ERR_LIMIT,
				"attr->bounds[%u] has %u values of more than DPI_DEFINITION_MAX, %d bytes: take shorter or fewer "
				"bounds", k, rows, DPI_DEFINITION_MAX);
	return DPI_SUCCESS;
}

static void copy_value(const struct dpi_strided *s, uint32_t i, uint8_t *to)
{
	const uint8_t *from = (const uint8_t *)s->data + i * s->stride;
	float f;
	double d;
	switch (s->type) {
	case DPI_TYPE_BOOL:
		if (s->stride ? *from != 0 : dpi_bit(s->data, i)) to[i / 8] |= (uint8_t)(1 << i % 8);
		break;
	case DPI_TYPE_FLOAT:
		memcpy(&f, from, sizeof f);
		f = f != f ? (float)NAN : f + 0.0f; /* -0.0 becomes 0.0 */
		memcpy(to + i * sizeof f, &f, sizeof f);
		break;
	case DPI_TYPE_DOUBLE:
		memcpy(&d, from, sizeof d);
		d = d != d ? (double)NAN : d + 0.0;
		memcpy(to + i * sizeof d, &d, sizeof d);
		break;
	default: memcpy(to + (size_t)i * s->width, from, s->width);
	}
}

/* Data first, so that it is what free takes; then offsets, then validity. */
static int copy_column(const struct dpi_strided *s, uint32_t rows, uint32_t k, struct dpi_vector *v)
{
	size_t bytes, offsets = varies(s) ? ((size_t)rows + 1) * sizeof(int32_t) : 0;
	int error = measure(s, rows, k, &bytes);
	if (error) return error;
	size_t data = (bytes + 7) & ~(size_t)7;
	uint8_t *block = calloc(1, data + offsets + bits(rows));
	if (!block) return dpi_fail(DPI_ERR_MEMORY, "no memory for %u bounds", rows);
	int32_t *offset = offsets ? (int32_t *)(void *)(block + data) : NULL;
	uint8_t *valid = block + data + offsets;
	bool nulls = false;
	*v = (struct dpi_vector){ .type = s->type, .scale = s->scale, .width = s->type == DPI_TYPE_BOOL ? 0 : s->width,
				  .data = block, .offset = offset };
	for (uint32_t i = 0; i < rows; i++) {
		bool null = dpi_strided_is_null(s, i);
		nulls |= null;
		if (!null) valid[i / 8] |= (uint8_t)(1 << i % 8);
		if (!offset) {
			if (!null) copy_value(s, i, block);
			continue;
		}
		int32_t from = s->offset[i], size = null ? 0 : s->offset[i + 1] - from;
		if (size < 0 || (size_t)size > bytes - (size_t)offset[i])
			return dpi_fail(DPI_ERR_ARGUMENT, "attr->bounds[%u] changed while they were copied", k);
		if (size) memcpy(block + offset[i], (const uint8_t *)s->data + from, (size_t)size);
		offset[i + 1] = offset[i] + size;
	}
	if (nulls) v->valid = valid;
	return DPI_SUCCESS;
}

static const char *column_name(const struct dpi_definition *d, uint32_t k)
{
	return d->group[0] ? "of the group function" : d->schema->column[d->key[k]].name;
}

static int check_type(const struct dpi_strided *s, const struct dpi_strided *key, const struct dpi_definition *d, uint32_t k)
{
	if (s->type != key->type)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->bounds[%u].type is %d, and the key \"%s\" has type %d: give bounds of the "
				"key's type", k, s->type, column_name(d, k), key->type);
	if (s->scale != key->scale)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->bounds[%u].scale is %d, and the key \"%s\" has scale %d: give bounds of "
				"the key's scale", k, s->scale, column_name(d, k), key->scale);
	if (s->type == DPI_TYPE_FIXED && s->width != key->width)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->bounds[%u].width is %u, and the key \"%s\" has %u bytes: give bounds of "
				"the key's width", k, s->width, column_name(d, k), key->width);
	return DPI_SUCCESS;
}

int dpi_bounds_from(const DPI_Values *values, struct dpi_definition *d)
{
	struct dpi_strided key[DPI_KEYS_MAX], s;
	uint32_t rows = d->targets - 1, keys = dpi_definition_keys(d);
	dpi_bounds_key(d, key);
	if (!(d->bound = calloc(keys, sizeof *d->bound))) return dpi_fail(DPI_ERR_MEMORY, "no memory for %u bounds", rows);
	for (uint32_t k = 0; k < keys; k++) {
		DPI_Values v = values[k];
		int error = dpi_strided_check(&v, "attr->bounds: column", k, &s);
		if (!error) error = check_type(&s, key + k, d, k);
		if (!error) error = copy_column(&s, rows, k, d->bound + k);
		if (error) return error;
	}
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------------ differ */

static bool same(const struct dpi_vector *a, const struct dpi_vector *b, uint32_t i)
{
	const uint8_t *p = a->data, *q = b->data;
	if (dpi_is_null(a, i) || dpi_is_null(b, i)) return dpi_is_null(a, i) == dpi_is_null(b, i);
	if (a->type == DPI_TYPE_BOOL) return dpi_bit(p, i) == dpi_bit(q, i);
	if (!a->offset) return !memcmp(p + (size_t)i * a->width, q + (size_t)i * a->width, a->width);
	int32_t n = a->offset[i + 1] - a->offset[i];
	return n == b->offset[i + 1] - b->offset[i] && !memcmp(p + a->offset[i], q + b->offset[i], (size_t)n);
}

uint32_t dpi_bounds_differ(const struct dpi_vector *a, const struct dpi_vector *b, uint32_t rows)
{
	uint32_t i = 0;
	while (i < rows && same(a, b, i)) i++;
	return i;
}
