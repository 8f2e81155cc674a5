/* SPDX-License-Identifier: Apache-2.0
 * merge.c: states that came as partial rows into those that are here. They may be anybody's: what could lead astray is
 * copied and checked first. */
#include "accumulate.h"
#include "error.h"
#include "table.h"
#include "wide.h"

static int broken(const struct dpi_aggregate *a, const char *what)
{
	return dpi_fail(DPI_ERR_CORRUPT, "a partial row's state of \"%s\" %s: no source of this flow sends that", a->name,
			what);
}

static void merge_sums(const struct dpi_column *c, bool carries, const struct dpi_strided *from, size_t first, size_t n,
		       uint8_t *const *entry)
{
	if (!carries) {
		EACH_VALUE(dpi_u128, dpi_add_128(to, x));
		return;
	}
	ptrdiff_t carry = (ptrdiff_t)c[1].offset - (ptrdiff_t)c->offset;
	const uint8_t *high = (const uint8_t *)from[1].data + first * from[1].stride;
	EACH_VALUE(dpi_u128, {
		int64_t h;
		memcpy(&h, high + i * from[1].stride, sizeof h);
		dpi_add_192(to, to + carry, x, h);
	});
}

static int merge_counts(const struct dpi_aggregate *a, const struct dpi_column *c, const struct dpi_strided *from,
			size_t first, size_t n, uint8_t *const *entry)
{
	bool negative = false;
	EACH_VALUE(int64_t, {
		negative |= x < 0;
		dpi_bump(to, (uint64_t)x);
	});
	return negative ? broken(a, "is a count below 0") : DPI_SUCCESS;
}

static int merge_top(struct dpi_table *t, const struct dpi_aggregate *a, const struct dpi_strided *from, size_t first,
		     size_t n, uint8_t *const *entry)
{
	const struct dpi_column *c = t->r->state->column + a->state;
	if (a->varies) return dpi_top_merge(t, a, from, first, n, entry) ? DPI_SUCCESS : broken(a, "is no top k of this kind");
	uint32_t width = t->r->input->column[a->column].width;
	struct dpi_topk *copy = (struct dpi_topk *)(void *)t->scratch;
	for (size_t i = 0; i < n; i++) {
		memcpy(copy, (const uint8_t *)from->data + (first + i) * from->stride, c->width);
		if (!dpi_topk_check(copy, c->width, a->k, width)) return broken(a, "is no top k of this size");
		dpi_topk_merge((struct dpi_topk *)(void *)(entry[i] + c->offset), copy);
	}
	return DPI_SUCCESS;
}

static int merge_registers(struct dpi_table *t, const struct dpi_aggregate *a, const struct dpi_strided *from, size_t first,
			   size_t n, uint8_t *const *entry)
{
	const struct dpi_column *c = t->r->state->column + a->state;
	uint8_t *copy = (uint8_t *)t->scratch, most = (uint8_t)(65 - a->precision);
	for (size_t i = 0; i < n; i++) {
		uint8_t *to = entry[i] + c->offset, largest = 0;
		memcpy(copy, (const uint8_t *)from->data + (first + i) * from->stride, c->width);
		for (uint32_t k = 0; k < c->width; k++) largest = copy[k] > largest ? copy[k] : largest;
		if (largest > most) return broken(a, "has a HyperLogLog register that none can have");
		for (uint32_t k = 0; k < c->width; k++) to[k] = copy[k] > to[k] ? copy[k] : to[k];
	}
	return DPI_SUCCESS;
}

static int merge_reducer(struct dpi_table *t, uint32_t k, const struct dpi_strided *from, size_t first, size_t n,
			 uint8_t *const *entry)
{
	const struct dpi_column *c = t->r->state->column + t->r->aggregate[k].state;
	const DPI_Reducer *u = t->reducer + k;
	int error = DPI_SUCCESS;
	for (size_t i = 0; i < n && !error; i++) {
		memcpy(t->scratch, (const uint8_t *)from->data + (first + i) * from->stride, c->width);
		if (!u->merge) { /* a group that left this table comes back, to a new entry */
			memcpy(entry[i] + c->offset, t->scratch, c->width);
			continue;
		}
		if (u->check && u->check(t->scratch, u->arg)) return broken(t->r->aggregate + k, "is none, as the reducer's check says");
		error = u->merge(entry[i] + c->offset, t->scratch, u->arg);
	}
	return error ? dpi_reducer_failed(t->r->aggregate + k, "merge", error) : DPI_SUCCESS;
}

int dpi_merge_states(struct dpi_table *t, const struct dpi_feed *f, uint32_t k, size_t first, size_t n,
		     uint8_t *const *entry)
{
	const struct dpi_aggregate *a = t->r->aggregate + k;
	const struct dpi_column *c = t->r->state->column + a->state;
	const struct dpi_strided *from = f->column + a->state;
	bool carries = a->type == DPI_TYPE_DECIMAL128, sum = a->function == DPI_AGGREGATE_SUM;
	switch (a->function) {
	case DPI_AGGREGATE_COUNT_ALL:
	case DPI_AGGREGATE_COUNT: return merge_counts(a, c, from, first, n, entry);
	case DPI_AGGREGATE_SUM:
	case DPI_AGGREGATE_AVG:
		if (c->type == DPI_TYPE_DOUBLE) dpi_add_double(c, from, first, n, entry);
		else merge_sums(c, carries, from, first, n, entry);
		return sum ? DPI_SUCCESS : merge_counts(a, c + 1 + carries, from + 1 + carries, first, n, entry);
	case DPI_AGGREGATE_MIN:
	case DPI_AGGREGATE_MAX: dpi_take_extreme(t, a, from, first, n, entry); break;
	case DPI_AGGREGATE_TOP_K: return merge_top(t, a, from, first, n, entry);
	case DPI_AGGREGATE_COUNT_DISTINCT: return merge_registers(t, a, from, first, n, entry);
	case DPI_AGGREGATE_REDUCER: return merge_reducer(t, k, from, first, n, entry);
	}
	return DPI_SUCCESS;
}
