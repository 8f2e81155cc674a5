/* SPDX-License-Identifier: Apache-2.0
 * reduce_flow_kit.h: what the cases of flows that reduce share: rows, and what must come of them. */
#ifndef REDUCE_FLOW_KIT_H
#define REDUCE_FLOW_KIT_H

#include "flow_kit.h"

struct sale {
	int64_t key, a;
	double b;
};
static const DPI_Column sale_columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "a", DPI_TYPE_INT64, 0, 0, 0, 0 },
					   { "b", DPI_TYPE_DOUBLE, 0, 0, 0, 0 } };
static const char *const sale_key[] = { "key" };

static inline DPI_Flow reduce_flow(const char *name, const DPI_Aggregate *aggregates, size_t count, DPI_Flow_Attr *a, DPI_Context ctx)
{
	DPI_Flow f;
	CHECK_DPI(DPI_Create_Schema(sale_columns, 3, &a->schema));
	a->create = DPI_CREATE_OR_OPEN;
	a->key = sale_key, a->key_count = 1;
	a->aggregates = aggregates, a->aggregate_count = count;
	CHECK_QUIET(DPI_Create_Flow(name, a, ctx, &f));
	CHECK_DPI(DPI_Free_Schema(a->schema));
	return f;
}
#define REDUCE(name, aggregates, count, ctx, ...) reduce_flow(name, aggregates, count, FLOW_ATTR(__VA_ARGS__), ctx)

static inline uint64_t reduce_mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* Row i of a rank, the same everywhere; b in quarters, whose sums have no rounding. */
static inline struct sale sale_of(int rank, int64_t i, int64_t keys)
{
	uint64_t r = reduce_mix((uint64_t)rank * 1000003 + (uint64_t)i + 1);
	int64_t a = (int64_t)(r >> 32) % 2001 - 1000;
	return (struct sale){ (int64_t)(r % (uint64_t)keys) - keys / 2, a, (double)a / 4 };
}

static inline void push_sales(DPI_Source s, int rank, int64_t first, int64_t end, int64_t keys)
{
	for (int64_t i = first; i < end; i++) {
		struct sale r = sale_of(rank, i, keys);
		CHECK_DPI(DPI_Push(&r, sizeof r, s));
	}
}

static inline DPI_Source_Stats source_stats(DPI_Source s)
{
	DPI_Source_Stats x = { .size = sizeof x };
	CHECK_DPI(DPI_Get_Source_Stats(s, &x));
	return x;
}

static inline DPI_Target_Stats target_stats(DPI_Target t)
{
	DPI_Target_Stats x = { .size = sizeof x };
	CHECK_DPI(DPI_Get_Target_Stats(t, &x));
	return x;
}

/* What most flows here make of them. */
static const DPI_Aggregate sum_a[] = { { .function = DPI_AGGREGATE_SUM, .column = "a" }, { .function = DPI_AGGREGATE_COUNT_ALL, .name = "n" } };
struct sum {
	int64_t key, sum, n;
};

/* ------------------------------------------------------------------------------------------------------- the model */

struct group {
	int64_t count, sum, least, most, distinct, top[3];
	bool came;
};

static inline struct group *model_of(int ranks, int64_t rows, int64_t keys)
{
	struct group *g = calloc((size_t)keys, sizeof *g);
	bool *seen = calloc((size_t)keys * 2001, 1);
	CHECK(g && seen);
	for (int rank = 0; rank < ranks; rank++)
		for (int64_t i = 0; i < rows; i++) {
			struct sale r = sale_of(rank, i, keys);
			int64_t at = r.key + keys / 2, a = r.a;
			struct group *x = g + at;
			if (!x->count || a < x->least) x->least = a;
			if (!x->count || a > x->most) x->most = a;
			x->distinct += !seen[at * 2001 + a + 1000];
			seen[at * 2001 + a + 1000] = true;
			for (int k = 0; k < 3; k++) {
				if (k >= x->count) {
					x->top[k] = a;
					break;
				}
				if (a > x->top[k]) {
					int64_t less = x->top[k];
					x->top[k] = a;
					a = less;
				}
			}
			x->sum += r.a;
			x->count++;
		}
	free(seen);
	return g;
}

#endif
