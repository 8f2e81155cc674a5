/* SPDX-License-Identifier: Apache-2.0
 * route.c: a route made ready, and the targets of many rows at once. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "route_inner.h"

#define CHUNK ((size_t)512) /* rows whose parts lie in the first cache until the table has turned them to targets */

/* What a row's key columns are to the engine, but for where they lie. */
static void make_keys(struct dpi_route *r)
{
	const struct dpi_definition *d = r->d;
	r->keys = d->key_count;
	for (uint32_t k = 0; k < r->keys; k++) {
		const struct dpi_column *c = r->column[k] = d->schema->column + d->key[k];
		r->key[k] = (struct dpi_strided){ .type = c->type, .scale = c->scale, .null_mask = c->null_mask };
		if (c->variable) r->key[k].offset = r->place[k];
		else r->key[k].width = c->width;
	}
	if (r->keys) r->key_offset = r->column[0]->offset;
	if (!r->grouped) return;
	r->keys = 1;
	r->key[0] = (struct dpi_strided){ .type = DPI_TYPE_UINT64, .width = 8, .stride = 8 };
}

static int make_partition(struct dpi_route *r)
{
	static const int methods[] = { [DPI_DIST_HASH] = DPI_PARTITION_HASH, [DPI_DIST_RADIX] = DPI_PARTITION_RADIX,
				       [DPI_DIST_RANGE] = DPI_PARTITION_RANGE, [DPI_DIST_TABLE] = DPI_PARTITION_HASH };
	const struct dpi_definition *d = r->d;
	const struct dpi_strided *bound = NULL;
	r->partition = malloc(sizeof *r->partition);
	if (!r->partition) return dpi_fail(DPI_ERR_MEMORY, "no memory for a route to %u targets", d->targets);
	if (d->dist == DPI_DIST_RANGE && d->bound) {
		for (uint32_t k = 0; k < r->keys; k++) r->bound[k] = dpi_strided_of(d->bound + k);
		bound = r->bound;
	}
	r->parts = d->dist == DPI_DIST_TABLE ? d->table_size : d->targets;
	return dpi_partition_prepare(r->partition, methods[d->dist], r->parts, d->salt, d->shift, NULL, r->key, r->keys, bound);
}

static enum dpi_route_how how_of(const struct dpi_route *r)
{
	const struct dpi_definition *d = r->d;
	bool whole = r->keys == 1 && !r->grouped && !r->key[0].null_mask; /* a key of one column, never NULL */
	if (d->dist == DPI_DIST_FUNCTION) return DPI_ROUTE_FUNCTION;
	if (d->targets == 1 && !r->grouped) return DPI_ROUTE_ONE;
	switch (d->dist) {
	case DPI_DIST_ROUND_ROBIN: return DPI_ROUTE_ROBIN;
	case DPI_DIST_BROADCAST: return DPI_ROUTE_BROADCAST;
	case DPI_DIST_RADIX:
	case DPI_DIST_RANGE: return DPI_ROUTE_FIND;
	case DPI_DIST_TABLE: return DPI_ROUTE_HASH;
	default: /* hash */
		if (!whole) return DPI_ROUTE_HASH;
		if (r->key[0].type == DPI_TYPE_INT64) return DPI_ROUTE_HASH_8;
		if (r->key[0].type == DPI_TYPE_INT32 || r->key[0].type == DPI_TYPE_DATE32) return DPI_ROUTE_HASH_4;
		return DPI_ROUTE_HASH;
	}
}

static int make(struct dpi_route *r, uint32_t first)
{
	const struct dpi_definition *d = r->d;
	int error = DPI_SUCCESS;
	if (d->group[0]) error = dpi_function_group(d->group, d->group_version, &r->group);
	if (!error && d->dist == DPI_DIST_FUNCTION)
		error = dpi_function_dist(d->dist_function, d->dist_version, &r->dist);
	if (error) return error;
	r->grouped = d->group[0];
	r->targets = d->targets;
	r->next = first % d->targets;
	r->seed = dpi_hash_seed(d->salt);
	r->to = calloc(d->targets, sizeof *r->to);
	r->seen = calloc(d->targets / 64 + 1, sizeof *r->seen);
	if (!r->to || !r->seen) return dpi_fail(DPI_ERR_MEMORY, "no memory for a route to %u targets", d->targets);
	if (d->dist == DPI_DIST_BROADCAST)
		for (uint32_t t = 0; t < d->targets; t++) r->to[t] = t;
	make_keys(r);
	r->how = how_of(r);
	switch (r->how) {
	case DPI_ROUTE_HASH_8:
	case DPI_ROUTE_HASH_4:
	case DPI_ROUTE_HASH:
	case DPI_ROUTE_FIND: return make_partition(r);
	default: return DPI_SUCCESS;
	}
}

void dpi_route_begin(struct dpi_route *r, uint32_t first)
{
	r->next = first % r->d->targets;
}

void dpi_route_back(struct dpi_route *r, size_t count)
{
	if (r->how == DPI_ROUTE_ROBIN) r->next = (uint32_t)((r->next + r->targets - count % r->targets) % r->targets);
}

int dpi_route_new(const struct dpi_definition *d, uint32_t first, struct dpi_route **route)
{
	struct dpi_route *r = calloc(1, sizeof *r);
	if (!r) return dpi_fail(DPI_ERR_MEMORY, "no memory for a route to %u targets", d->targets);
	r->d = d;
	int error = make(r, first);
	if (error) dpi_route_free(r);
	else *route = r;
	return error;
}

void dpi_route_free(struct dpi_route *r)
{
	if (!r) return;
	free(r->partition);
	free(r->seen);
	free(r->to);
	free(r);
}

/* ------------------------------------------------------------------------------------------------------- many at once */

bool dpi_route_single(const struct dpi_route *r)
{
	return r->how != DPI_ROUTE_FUNCTION && r->how != DPI_ROUTE_BROADCAST && !r->grouped;
}

const uint32_t *dpi_route_all(const struct dpi_route *r, uint32_t *count)
{
	*count = r->targets;
	return r->how == DPI_ROUTE_BROADCAST || r->how == DPI_ROUTE_ONE ? r->to : NULL;
}

static void find(struct dpi_route *r, const void *rows, size_t stride, size_t count, uint16_t *part)
{
	const uint32_t *table = r->d->dist == DPI_DIST_TABLE ? r->d->table : NULL;
	for (uint32_t k = 0; k < r->keys; k++) {
		const struct dpi_column *c = r->column[k];
		r->key[k].data = (const uint8_t *)rows + c->offset;
		r->key[k].null = c->null_mask ? (const uint8_t *)rows + c->null_at : NULL;
		r->key[k].stride = stride;
	}
	if (!table) dpi_partition_find(r->partition, r->key, 0, count, part);
	for (size_t first = 0, n; table && first < count; first += n) {
		n = count - first < CHUNK ? count - first : CHUNK;
		dpi_partition_find(r->partition, r->key, first, n, part + first);
		for (size_t i = first; i < first + n; i++) part[i] = (uint16_t)table[part[i]];
	}
}

void dpi_route_rows(struct dpi_route *r, const void *rows, size_t stride, size_t count, uint16_t *part)
{
	switch (r->how) {
	case DPI_ROUTE_ONE: memset(part, 0, count * sizeof *part); break;
	case DPI_ROUTE_ROBIN:
		for (size_t i = 0; i < count; i++) {
			part[i] = (uint16_t)r->next;
			r->next = r->next + 1 < r->targets ? r->next + 1 : 0;
		}
		break;
	default: find(r, rows, stride, count, part);
	}
}

/* ------------------------------------------------------------------------------------------------ by programs themselves */

void dpi_route_short(const struct dpi_route *r, struct dpi_short_route *s)
{
	const struct dpi_definition *d = r->d;
	const struct dpi_column *c = r->column[0];
	*s = (struct dpi_short_route){ .kind = DPI_SHORT_NONE };
	if (r->how == DPI_ROUTE_ONE) s->kind = DPI_SHORT_ONE;
	else if (r->keys == 1 && !r->grouped && !c->null_mask && (d->dist == DPI_DIST_HASH || d->dist == DPI_DIST_RADIX)) {
		bool radix = d->dist == DPI_DIST_RADIX;
		if (c->type == DPI_TYPE_INT64) s->kind = radix ? DPI_SHORT_RADIX_8 : DPI_SHORT_HASH_8;
		if (c->type == DPI_TYPE_INT32 || c->type == DPI_TYPE_DATE32)
			s->kind = radix ? DPI_SHORT_RADIX_4 : DPI_SHORT_HASH_4;
	}
	if (s->kind == DPI_SHORT_NONE || s->kind == DPI_SHORT_ONE) return;
	s->offset = c->offset, s->parts = d->targets, s->shift = d->shift, s->seed = r->seed;
}
