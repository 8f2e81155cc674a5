/* SPDX-License-Identifier: Apache-2.0
 * accumulate.c: values into states, a loop for each function and type. */
#include "accumulate.h"

#include <math.h>

#include "error.h"
#include "table.h"
#include "wide.h"

#define DISTINCT_SALT UINT64_C(0x6469737469637400) /* the same everywhere, or sketches would not merge */

static void count_rows(const struct dpi_column *c, size_t n, uint8_t *const *entry)
{
	for (size_t i = 0; i < n; i++) dpi_bump(entry[i] + c->offset, 1);
}

static void count_values(const struct dpi_column *c, const struct dpi_strided *from, size_t first, size_t n,
			 uint8_t *const *entry)
{
	if (!from->null && !from->valid) {
		count_rows(c, n, entry);
		return;
	}
	for (size_t i = 0; i < n; i++) dpi_bump(entry[i] + c->offset, !dpi_strided_is_null(from, first + i));
}

void dpi_add_double(const struct dpi_column *c, const struct dpi_strided *from, size_t first, size_t n,
		    uint8_t *const *entry)
{
	EACH_VALUE(double, {
		double sum;
		memcpy(&sum, to, sizeof sum);
		sum += x;
		memcpy(to, &sum, sizeof sum);
	});
}

static void add_float(const struct dpi_column *c, const struct dpi_strided *from, size_t first, size_t n,
		      uint8_t *const *entry)
{
	EACH_VALUE(float, {
		double sum;
		memcpy(&sum, to, sizeof sum);
		sum += (double)x;
		memcpy(to, &sum, sizeof sum);
	});
}

/* c: the column of the sum; behind it, for 128-bit values, that of what it cannot hold. */
static void add(const struct dpi_column *c, const struct dpi_strided *from, size_t first, size_t n, uint8_t *const *entry)
{
	ptrdiff_t carry = from->type == DPI_TYPE_DECIMAL128 ? (ptrdiff_t)c[1].offset - (ptrdiff_t)c->offset : 0;
	switch (from->type) {
	case DPI_TYPE_INT8: EACH_VALUE(int8_t, dpi_add_128(to, (dpi_u128)(dpi_i128)x)); break;
	case DPI_TYPE_INT16: EACH_VALUE(int16_t, dpi_add_128(to, (dpi_u128)(dpi_i128)x)); break;
	case DPI_TYPE_INT32: EACH_VALUE(int32_t, dpi_add_128(to, (dpi_u128)(dpi_i128)x)); break;
	case DPI_TYPE_INT64:
	case DPI_TYPE_DECIMAL64: EACH_VALUE(int64_t, dpi_add_128(to, (dpi_u128)(dpi_i128)x)); break;
	case DPI_TYPE_UINT8: EACH_VALUE(uint8_t, dpi_add_128(to, x)); break;
	case DPI_TYPE_UINT16: EACH_VALUE(uint16_t, dpi_add_128(to, x)); break;
	case DPI_TYPE_UINT32: EACH_VALUE(uint32_t, dpi_add_128(to, x)); break;
	case DPI_TYPE_UINT64: EACH_VALUE(uint64_t, dpi_add_128(to, x)); break;
	case DPI_TYPE_FLOAT: add_float(c, from, first, n, entry); break;
	case DPI_TYPE_DOUBLE: dpi_add_double(c, from, first, n, entry); break;
	case DPI_TYPE_DECIMAL128: EACH_VALUE(dpi_u128, dpi_add_192(to, to + carry, x, dpi_sign_128(x))); break;
	}
}

/* ------------------------------------------------------------------------------------------------- least and largest */

/* NaN is above all others. */
static inline bool below(double a, double b)
{
	return a < b || (b != b && a == a);
}

/* Keep x where better is true of x and of what is there, y. */
#define KEEP(kind, better)                                                                             \
	EACH_VALUE(kind, {                                                                             \
		kind y;                                                                                \
		memcpy(&y, to, sizeof y);                                                              \
		if (better) memcpy(to, &x, sizeof x);                                                  \
	})
#define EXTREME(kind)                                                                                  \
	if (least) KEEP(kind, x < y);                                                                  \
	else KEEP(kind, x > y);                                                                        \
	break

static void extreme_bytes(const struct dpi_column *c, const struct dpi_strided *from, size_t first, size_t n,
			  uint8_t *const *entry, bool least)
{
	for (size_t i = 0; i < n; i++) {
		const uint8_t *x = (const uint8_t *)from->data + (first + i) * from->stride;
		uint8_t *to = entry[i] + c->offset;
		if (dpi_strided_is_null(from, first + i)) continue;
		entry[i][c->null_at] &= (uint8_t)~c->null_mask;
		int order = memcmp(x, to, c->width);
		if (least ? order < 0 : order > 0) memcpy(to, x, c->width);
	}
}

/* Of values that vary, of which the shorter one is below where it is the other's beginning. */
static void extreme_values(struct dpi_table *t, const struct dpi_column *c, const struct dpi_strided *from, size_t first, size_t n,
			   uint8_t *const *entry, bool least)
{
	for (size_t i = 0; i < n; i++) {
		if (dpi_strided_is_null(from, first + i)) continue;
		const uint8_t *x = (const uint8_t *)from->data + from->offset[first + i];
		uint32_t size = (uint32_t)(from->offset[first + i + 1] - from->offset[first + i]), had;
		const uint8_t *y = dpi_value_of(t, entry[i], c, &had);
		int order = 0;
		if (dpi_value_is(entry[i], c)) {
			uint32_t both = size < had ? size : had;
			if (both) order = memcmp(x, y, both);
			if (!order) order = (size > had) - (size < had);
			if (least ? order >= 0 : order <= 0) continue;
		}
		dpi_value_put(t, entry[i], c, x, size);
	}
}

static void extreme_bools(const struct dpi_column *c, const struct dpi_strided *from, size_t first, size_t n,
			  uint8_t *const *entry, bool least)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t *to = entry[i] + c->offset;
		if (dpi_strided_is_null(from, first + i)) continue;
		bool x = dpi_bool_at(from, first + i);
		entry[i][c->null_at] &= (uint8_t)~c->null_mask;
		*to = least ? *to && x : *to || x;
	}
}

void dpi_take_extreme(struct dpi_table *t, const struct dpi_aggregate *a, const struct dpi_strided *from, size_t first,
		      size_t n, uint8_t *const *entry)
{
	const struct dpi_column *c = t->r->state->column + a->state;
	bool least = a->function == DPI_AGGREGATE_MIN;
	switch (from->type) {
	case DPI_TYPE_BOOL: extreme_bools(c, from, first, n, entry, least); break;
	case DPI_TYPE_INT8: EXTREME(int8_t);
	case DPI_TYPE_INT16: EXTREME(int16_t);
	case DPI_TYPE_INT32:
	case DPI_TYPE_DATE32: EXTREME(int32_t);
	case DPI_TYPE_INT64:
	case DPI_TYPE_DECIMAL64: EXTREME(int64_t);
	case DPI_TYPE_UINT8: EXTREME(uint8_t);
	case DPI_TYPE_UINT16: EXTREME(uint16_t);
	case DPI_TYPE_UINT32: EXTREME(uint32_t);
	case DPI_TYPE_UINT64: EXTREME(uint64_t);
	case DPI_TYPE_DECIMAL128: EXTREME(dpi_i128);
	case DPI_TYPE_FLOAT:
		if (least) KEEP(float, below((double)x, (double)y));
		else KEEP(float, below((double)y, (double)x));
		break;
	case DPI_TYPE_DOUBLE:
		if (least) KEEP(double, below(x, y));
		else KEEP(double, below(y, x));
		break;
	case DPI_TYPE_FIXED: extreme_bytes(c, from, first, n, entry, least); break;
	default: extreme_values(t, c, from, first, n, entry, least);
	}
}

void dpi_take_first(struct dpi_table *t, const struct dpi_aggregate *a, const struct dpi_strided *from, size_t first)
{
	const struct dpi_column *c = t->r->state->column + a->state;
	for (uint32_t k = 0; k < t->created_count; k++) {
		size_t i = t->created[k], row = first + i;
		uint8_t *to = t->entry[i] + c->offset;
		if (dpi_strided_is_null(from, row)) continue;
		if (c->variable) {
			int32_t at = from->offset[row];
			dpi_value_put(t, t->entry[i], c, (const uint8_t *)from->data + at, (uint32_t)(from->offset[row + 1] - at));
			continue;
		}
		t->entry[i][c->null_at] &= (uint8_t)~c->null_mask;
		if (c->type == DPI_TYPE_BOOL) *to = dpi_bool_at(from, row);
		else memcpy(to, (const uint8_t *)from->data + row * from->stride, c->width);
	}
}

/* ------------------------------------------------------------------------------------------------------- larger states */

/* A number whose order is that of the values: NaN above all, -0.0 as 0.0. */
static int64_t order_of(double x)
{
	int64_t w;
	if (x != x) return INT64_MAX;
	x += 0.0;
	memcpy(&w, &x, sizeof w);
	return w < 0 ? w ^ INT64_MAX : w;
}

int64_t dpi_order_word(const struct dpi_strided *s, size_t i)
{
	DPI_Value v = dpi_value_at(s, i);
	if (s->type == DPI_TYPE_FLOAT || s->type == DPI_TYPE_DOUBLE) return order_of(v.d);
	if (s->type == DPI_TYPE_UINT64) return (int64_t)(v.u ^ UINT64_C(1) << 63);
	return v.i;
}

static void take_top(const struct dpi_table *t, const struct dpi_aggregate *a, const struct dpi_strided *from,
		     const struct dpi_strided *by, size_t first, size_t n, uint8_t *const *entry)
{
	const struct dpi_column *c = t->r->state->column + a->state;
	for (size_t i = 0; i < n; i++) {
		size_t row = first + i;
		uint8_t b;
		if (dpi_strided_is_null(from, row) || dpi_strided_is_null(by, row)) continue;
		const void *payload = (const uint8_t *)from->data + row * from->stride;
		int64_t order = dpi_order_word(by, row);
		if (from->type == DPI_TYPE_BOOL) b = dpi_bool_at(from, row), payload = &b;
		dpi_topk_add((struct dpi_topk *)(void *)(entry[i] + c->offset), a->ascending ? ~order : order, payload);
	}
}

static void take_distinct(struct dpi_table *t, const struct dpi_aggregate *a, const struct dpi_strided *from, size_t first,
			  size_t n, uint8_t *const *entry)
{
	const struct dpi_column *c = t->r->state->column + a->state;
	unsigned p = a->precision;
	dpi_hash_start(dpi_hash_seed(DISTINCT_SALT), n, t->other_hash);
	dpi_hash_column(from, first, n, t->other_hash);
	for (size_t i = 0; i < n; i++) {
		uint64_t h = t->other_hash[i], rest = h >> p | UINT64_C(1) << (64 - p);
		uint8_t *r = entry[i] + c->offset + (h & ((UINT64_C(1) << p) - 1)),
			rank = (uint8_t)(1 + __builtin_ctzll(rest));
		if (rank > *r && !dpi_strided_is_null(from, first + i)) *r = rank;
	}
}

static int take_reducer(struct dpi_table *t, uint32_t k, const struct dpi_strided *from, const struct dpi_strided *by,
			size_t first, size_t n, uint8_t *const *entry)
{
	const struct dpi_column *c = t->r->state->column + t->r->aggregate[k].state;
	const DPI_Reducer *u = t->reducer + k;
	int error = DPI_SUCCESS;
	for (size_t i = 0; i < n && !error; i++) {
		DPI_Value v[2] = { { 0 } };
		if (from) v[0] = dpi_value_at(from, first + i);
		if (by) v[1] = dpi_value_at(by, first + i);
		error = u->accumulate(entry[i] + c->offset, v, u->arg);
	}
	return error ? dpi_reducer_failed(t->r->aggregate + k, "accumulate", error) : DPI_SUCCESS;
}

int dpi_accumulate(struct dpi_table *t, const struct dpi_feed *f, uint32_t k, size_t first, size_t n, uint8_t *const *entry)
{
	const struct dpi_aggregate *a = t->r->aggregate + k;
	const struct dpi_column *c = t->r->state->column + a->state;
	const struct dpi_strided *from = a->column < 0 ? NULL : f->column + a->column;
	const struct dpi_strided *by = a->by < 0 ? NULL : f->column + a->by;
	switch (a->function) {
	case DPI_AGGREGATE_COUNT_ALL: count_rows(c, n, entry); break;
	case DPI_AGGREGATE_COUNT: count_values(c, from, first, n, entry); break;
	case DPI_AGGREGATE_SUM: add(c, from, first, n, entry); break;
	case DPI_AGGREGATE_AVG:
		add(c, from, first, n, entry);
		count_values(c + dpi_aggregate_columns(a) - 1, from, first, n, entry);
		break;
	case DPI_AGGREGATE_MIN:
	case DPI_AGGREGATE_MAX: dpi_take_extreme(t, a, from, first, n, entry); break;
	case DPI_AGGREGATE_TOP_K:
		if (a->varies) dpi_top_take(t, a, f, first, n, entry);
		else take_top(t, a, from, by ? by : from, first, n, entry);
		break;
	case DPI_AGGREGATE_COUNT_DISTINCT: take_distinct(t, a, from, first, n, entry); break;
	case DPI_AGGREGATE_REDUCER: return take_reducer(t, k, from, by, first, n, entry);
	}
	return DPI_SUCCESS;
}
