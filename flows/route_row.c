/* SPDX-License-Identifier: Apache-2.0
 * route_row.c: the targets of one row. What a hash needs of a key is taken from the row at once; everything else is asked
 * of the data-movement engine as one row of many. */
#include <string.h>

#include "error.h"
#include "route_inner.h"
#include "row.h"

#define LOAD(type, from) __extension__({ type loaded; memcpy(&loaded, (from), sizeof loaded); loaded; })

static int outside(const struct dpi_route *r, uint32_t k, uint32_t size)
{
	return dpi_fail(DPI_ERR_CORRUPT, "column %u \"%s\" of a row of %u bytes does not lie within it", r->d->key[k],
			r->column[k]->name, size);
}

/* Let the key's views show this row's values. */
static int see(struct dpi_route *r, const void *row, uint32_t size)
{
	for (uint32_t k = 0; k < r->keys; k++) {
		const struct dpi_column *c = r->column[k];
		struct dpi_strided *s = r->key + k;
		const uint8_t *data = (const uint8_t *)row + c->offset;
		uint32_t bytes;
		s->null = c->null_mask ? (const uint8_t *)row + c->null_at : NULL;
		if (c->variable) {
			if (dpi_row_null(row, c)) continue;
			if (!dpi_row_bytes(r->d->schema, row, size, c, &data, &bytes)) return outside(r, k, size);
			r->place[k][1] = (int32_t)bytes; /* below DPI_ROW_MAX, as size is */
		} else {
			s->stride = s->width;
		}
		s->data = data;
	}
	return DPI_SUCCESS;
}

/* The hash of a row's key columns, as DPI_Hash_Rows finds it. */
static int hash(const struct dpi_route *r, const void *row, uint32_t size, uint64_t *to)
{
	uint64_t h = r->seed;
	for (uint32_t k = 0; k < r->keys; k++) {
		const struct dpi_column *c = r->column[k];
		const uint8_t *at = (const uint8_t *)row + c->offset;
		uint32_t bytes = c->width;
		uint64_t word;
		if (dpi_row_null(row, c)) {
			h = dpi_hash_word(h, DPI_HASH_NULL);
			continue;
		}
		switch (c->type) {
		case DPI_TYPE_BOOL: word = *at != 0; break;
		case DPI_TYPE_INT8: word = (uint64_t)(int8_t)*at; break;
		case DPI_TYPE_INT16: word = (uint64_t)LOAD(int16_t, at); break;
		case DPI_TYPE_INT32:
		case DPI_TYPE_DATE32: word = (uint64_t)LOAD(int32_t, at); break;
		case DPI_TYPE_INT64: word = LOAD(uint64_t, at); break;
		case DPI_TYPE_UINT8: word = *at; break;
		case DPI_TYPE_UINT16: word = LOAD(uint16_t, at); break;
		case DPI_TYPE_UINT32: word = LOAD(uint32_t, at); break;
		case DPI_TYPE_UINT64: word = dpi_hash_unsigned_word(LOAD(uint64_t, at)); break;
		case DPI_TYPE_FLOAT: word = dpi_hash_double_word((double)LOAD(float, at)); break;
		case DPI_TYPE_DOUBLE: word = dpi_hash_double_word(LOAD(double, at)); break;
		case DPI_TYPE_DECIMAL64:
			word = dpi_hash_decimal_word(LOAD(uint64_t, at), LOAD(int64_t, at) >> 63, c->scale);
			break;
		case DPI_TYPE_DECIMAL128:
			word = dpi_hash_decimal_word(LOAD(uint64_t, at), LOAD(int64_t, at + 8), c->scale);
			break;
		default:
			if (c->variable && !dpi_row_bytes(r->d->schema, row, size, c, &at, &bytes))
				return outside(r, k, size);
			h = dpi_hash_bytes(h, at, bytes);
			continue;
		}
		h = dpi_hash_word(h, word);
	}
	*to = h;
	return DPI_SUCCESS;
}

/* ---------------------------------------------------------------------------------------------------------- functions */

static int failed(int error, const char *kind, const char *name, uint32_t version)
{
	return dpi_fail(error, "the %s function \"%s\" of version %u returned %s (%d) for a row", kind, name, version,
			dpi_error_name(error), error);
}

static int call_group(const struct dpi_route *r, const void *row, uint32_t size, uint64_t *key)
{
	*key = 0;
	int error = r->group.call(row, size, r->group.arg, key);
	return error ? failed(error, "group", r->d->group, r->d->group_version) : DPI_SUCCESS;
}

/* Are these the flow's? */
static int check(const struct dpi_route *r, uint32_t said)
{
	const struct dpi_definition *d = r->d;
	if (said > d->targets)
		return dpi_fail(DPI_ERR_CORRUPT, "the dist function \"%s\" of version %u named %u targets for a row: the "
				"flow has %u, each once is enough", d->dist_function, d->dist_version, said, d->targets);
	for (uint32_t i = 0; i < said; i++)
		if (r->to[i] >= d->targets)
			return dpi_fail(DPI_ERR_CORRUPT, "the dist function \"%s\" of version %u named target %u for a "
					"row: there are 0 to %u", d->dist_function, d->dist_version, r->to[i],
					d->targets - 1);
	return DPI_SUCCESS;
}

/* Each once, in the function's order. Returns how many. */
static uint32_t unique(struct dpi_route *r, uint32_t said)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < said; i++) {
		uint32_t t = r->to[i];
		if (r->seen[t / 64] >> t % 64 & 1) continue;
		r->seen[t / 64] |= UINT64_C(1) << t % 64;
		r->to[n++] = t;
	}
	for (uint32_t i = 0; i < n; i++) r->seen[r->to[i] / 64] = 0;
	return n;
}

static int call_dist(struct dpi_route *r, const void *row, uint32_t size, uint32_t *count)
{
	const struct dpi_definition *d = r->d;
	uint64_t key = 0;
	uint32_t said = 0;
	int error = DPI_SUCCESS;
	if (r->grouped) error = call_group(r, row, size, &key);
	else if (r->keys) error = hash(r, row, size, &key);
	if (error) return error;
	error = r->dist.call(row, size, key, d->targets, r->dist.arg, r->to, &said);
	if (error) return failed(error, "dist", d->dist_function, d->dist_version);
	error = check(r, said);
	if (!error) *count = unique(r, said);
	return error;
}

/* --------------------------------------------------------------------------------------------------------------- rows */

int dpi_route_hash(const struct dpi_route *r, const void *row, uint32_t size, uint64_t *to)
{
	return hash(r, row, size, to);
}

static int by_hash(struct dpi_route *r, const void *row, uint32_t size)
{
	uint64_t h = 0, key;
	int error;
	if (r->grouped) {
		error = call_group(r, row, size, &key);
		h = dpi_hash_word(r->seed, dpi_hash_unsigned_word(key));
	} else {
		error = hash(r, row, size, &h);
	}
	uint32_t part = dpi_hash_part(h, r->parts);
	r->one = r->d->dist == DPI_DIST_TABLE ? r->d->table[part] : part;
	return error;
}

static int by_engine(struct dpi_route *r, const void *row, uint32_t size)
{
	uint64_t key;
	uint16_t part;
	int error = r->grouped ? call_group(r, row, size, &key) : see(r, row, size);
	if (error) return error;
	if (r->grouped) r->key[0].data = &key;
	dpi_partition_find(r->partition, r->key, 0, 1, &part);
	r->one = part;
	return DPI_SUCCESS;
}

static __attribute__((noinline)) int route_row(struct dpi_route *r, const void *row, uint32_t size, const uint32_t **to,
					       uint32_t *count)
{
	if (r->how == DPI_ROUTE_HASH) return by_hash(r, row, size);
	if (r->how == DPI_ROUTE_FIND) return by_engine(r, row, size);
	*to = r->to;
	if (r->how == DPI_ROUTE_FUNCTION) return call_dist(r, row, size, count);
	*count = r->targets; /* broadcast */
	return DPI_SUCCESS;
}

/* What is short stands here, without a jump through a table; the rest is a call away. */
int dpi_route_row(struct dpi_route *r, const void *row, uint32_t size, const uint32_t **to, uint32_t *count)
{
	const uint8_t *key = (const uint8_t *)row + r->key_offset;
	*to = &r->one;
	*count = 1;
	if (r->how == DPI_ROUTE_HASH_8) {
		r->one = dpi_hash_part(dpi_hash_word(r->seed, LOAD(uint64_t, key)), r->parts);
	} else if (r->how == DPI_ROUTE_HASH_4) {
		r->one = dpi_hash_part(dpi_hash_word(r->seed, (uint64_t)LOAD(int32_t, key)), r->parts);
	} else if (r->how == DPI_ROUTE_ROBIN) {
		r->one = r->next;
		r->next = r->next + 1 < r->targets ? r->next + 1 : 0;
	} else if (r->how != DPI_ROUTE_ONE) {
		return route_row(r, row, size, to, count);
	}
	return DPI_SUCCESS;
}
