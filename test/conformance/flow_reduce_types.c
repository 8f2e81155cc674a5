/* SPDX-License-Identifier: Apache-2.0
 * flow_reduce_types.c: the aggregates that take columns of any type, over a column of each, against the plainest way to say them. */
#include "flow_kit.h"

enum { TYPES = DPI_TYPE_UTF8, ROWS = 400, GROUPS = 7, K = 3, EACH = 5, WIDTH = 5 };

static const char text[] = "abracadabra and so on, zzzz";
static char name[TYPES][4], out[EACH * TYPES][8];
static DPI_Value value[ROWS][TYPES + 2]; /* key, number, then one of each type */
static uint64_t state;

static uint64_t any(void)
{
	state ^= state << 13, state ^= state >> 7, state ^= state << 17;
	return state;
}

static DPI_Value any_value(int type)
{
	DPI_Value v = { .type = type };
	uint64_t n = any() % 3 ? any() % 20 - 10 : any();
	if (any() % 5 == 0) return (DPI_Value){ .type = DPI_TYPE_NULL };
	switch (type) {
	case DPI_TYPE_BOOL: v.i = n & 1; break;
	case DPI_TYPE_INT8: v.i = (int8_t)n; break;
	case DPI_TYPE_INT16: v.i = (int16_t)n; break;
	case DPI_TYPE_INT32:
	case DPI_TYPE_DATE32: v.i = (int32_t)n; break;
	case DPI_TYPE_UINT8: v.u = (uint8_t)n; break;
	case DPI_TYPE_UINT16: v.u = (uint16_t)n; break;
	case DPI_TYPE_UINT32: v.u = (uint32_t)n; break;
	case DPI_TYPE_UINT64: v.u = n; break;
	case DPI_TYPE_FLOAT:
	case DPI_TYPE_DOUBLE:
		v.d = (double)(int64_t)(n % 41) / 4 - 5;
		if (any() % 30 == 0) v.d = any() % 2 ? __builtin_nan("") : -__builtin_inf();
		break;
	case DPI_TYPE_DECIMAL64: v.i = (int64_t)n % 1000000000000; break;
	case DPI_TYPE_DECIMAL128: v.w[0] = n, v.w[1] = any() % 2 ? (uint64_t)((int64_t)n >> 63) : any() % 5 - 2; break;
	case DPI_TYPE_FIXED: v.size = WIDTH, v.data = text + n % 20; break;
	case DPI_TYPE_BINARY:
	case DPI_TYPE_UTF8: v.size = (uint32_t)(n >> 8) % 7, v.data = text + n % 20; break;
	default: v.i = (int64_t)n;
	}
	return v;
}

static int sign(bool above, bool below)
{
	return above - below;
}

static int compare(const DPI_Value *a, const DPI_Value *b)
{
	if (a->type == DPI_TYPE_FLOAT || a->type == DPI_TYPE_DOUBLE) {
		if (a->d != a->d || b->d != b->d) return sign(a->d != a->d, b->d != b->d);
		return sign(a->d > b->d, a->d < b->d);
	}
	if (a->type >= DPI_TYPE_UINT8 && a->type <= DPI_TYPE_UINT64) return sign(a->u > b->u, a->u < b->u);
	if (a->type == DPI_TYPE_DECIMAL128) {
		if (a->w[1] != b->w[1]) return sign((int64_t)a->w[1] > (int64_t)b->w[1], (int64_t)a->w[1] < (int64_t)b->w[1]);
		return sign(a->w[0] > b->w[0], a->w[0] < b->w[0]);
	}
	if (a->type < DPI_TYPE_FIXED) return sign(a->i > b->i, a->i < b->i);
	int order = memcmp(a->data, b->data, a->size < b->size ? a->size : b->size);
	return order ? order : sign(a->size > b->size, a->size < b->size);
}

static bool same(const DPI_Value *a, const DPI_Value *b)
{
	return a->type == b->type && (!a->type || !compare(a, b));
}

/* The rows of a group in the order of their values, the best first, without those that have none: how many, at most K. */
static int best_rows(int64_t group, int type, bool ascending, int64_t best[K])
{
	int found = 0;
	for (int i = 0; i < ROWS; i++) {
		const DPI_Value *v = value[i] + 1 + type;
		int at = found;
		if (value[i][0].i != group || !v->type) continue;
		while (at && (ascending ? -1 : 1) * compare(v, value[best[at - 1]] + 1 + type) > 0) at--;
		if (at == K) continue;
		if (found < K) found++;
		for (int k = found - 1; k > at; k--) best[k] = best[k - 1];
		best[at] = i;
	}
	return found;
}

static DPI_Flow flow_of_types(int reduce, DPI_Schema *schema, DPI_Context ctx)
{
	static const char *const key[] = { "key" };
	static DPI_Aggregate a[EACH * TYPES];
	DPI_Column c[TYPES + 2] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "number", DPI_TYPE_INT64, 0, 0, 0, 0 } };
	DPI_Flow f;
	for (int t = 1; t <= TYPES; t++) {
		snprintf(name[t - 1], sizeof name[0], "%d", t);
		c[t + 1] = (DPI_Column){ .name = name[t - 1], .type = t, .nullable = 1, .width = t == DPI_TYPE_FIXED ? WIDTH : 0,
					 .scale = t == DPI_TYPE_DECIMAL64 || t == DPI_TYPE_DECIMAL128 ? 2 : 0 };
		for (int k = 0; k < EACH; k++) {
			DPI_Aggregate *to = a + EACH * (t - 1) + k;
			snprintf(out[to - a], sizeof out[0], "%d.%d", t, k);
			*to = (DPI_Aggregate){ .column = name[t - 1], .name = out[to - a],
					       .function = k == 0 ? DPI_AGGREGATE_MIN : k == 1 ? DPI_AGGREGATE_MAX : DPI_AGGREGATE_FIRST };
			if (k < 3) continue;
			to->function = DPI_AGGREGATE_TOP_K, to->column = "number", to->by = name[t - 1], to->k = K, to->ascending = k == 4;
		}
	}
	CHECK_DPI(DPI_Create_Schema(c, TYPES + 2, schema));
	CHECK_DPI(DPI_Create_Flow(reduce == DPI_REDUCE_BOTH ? "both" : "target",
				  FLOW_ATTR(.schema = *schema, .key = key, .key_count = 1, .sources = 1, .segment = 65536, .reduce = reduce,
					    .aggregates = a, .aggregate_count = EACH * TYPES), ctx, &f));
	return f;
}

static void check_group(const void *row, size_t size, DPI_Schema output)
{
	DPI_Value key, v, null = { 0 };
	CHECK_DPI(DPI_Get_Value(row, size, 0, output, &key));
	for (int t = 1; t <= TYPES; t++) {
		const DPI_Value *least = &null, *most = &null, *first = NULL;
		for (int i = 0; i < ROWS; i++) {
			const DPI_Value *w = value[i] + 1 + t;
			if (value[i][0].i != key.i) continue;
			if (!first) first = w;
			if (w->type && (!least->type || compare(w, least) < 0)) least = w;
			if (w->type && (!most->type || compare(w, most) > 0)) most = w;
		}
		const DPI_Value *want[3] = { least, most, first };
		for (int k = 0; k < EACH; k++) {
			int64_t best[K];
			CHECK_DPI(DPI_Get_Value(row, size, (size_t)(1 + EACH * (t - 1) + k), output, &v));
			if (k < 3) {
				CHECK(same(&v, want[k]));
				continue;
			}
			CHECK_INT(v.size, ==, 8 * best_rows(key.i, t, k == 4, best));
			CHECK(!memcmp(v.data, best, v.size));
		}
	}
}

TEST(flow_reduce_every_type, "FL-303 FL-307 FL-308 FL-309", 1)
{
	DPI_Context ctx = join();
	state = harness_seed() | 1;
	for (int reduce = DPI_REDUCE_BOTH; reduce <= DPI_REDUCE_TARGET; reduce++) {
		DPI_Schema schema, output;
		DPI_Flow f = flow_of_types(reduce, &schema, ctx);
		DPI_Target t = target_of(0, f);
		DPI_Source s = source_of(f);
		DPI_Tuple u;
		int error, groups = 0;
		for (int i = 0; i < ROWS; i++) {
			uint8_t row[1024];
			size_t size;
			value[i][0] = (DPI_Value){ .type = DPI_TYPE_INT64, .i = (int64_t)(any() % GROUPS) };
			value[i][1] = (DPI_Value){ .type = DPI_TYPE_INT64, .i = i };
			for (int k = 1; k <= TYPES; k++) value[i][1 + k] = any_value(k);
			CHECK_DPI(DPI_Pack_Row(value[i], schema, row, sizeof row, &size));
			CHECK_DPI(DPI_Push(row, size, s));
		}
		CHECK_DPI(DPI_Close_Source(s));
		CHECK_DPI(DPI_Get_Flow_Output_Schema(f, &output));
		for (; !(error = DPI_Next(t, &u)); groups++) check_group(u.data, u.size, output);
		CHECK_ERROR(error, DPI_ERR_END, "ended");
		CHECK_INT(groups, ==, GROUPS);
		CHECK_DPI(DPI_Close_Target(t));
		CHECK_DPI(DPI_Free_Schema(output));
		CHECK_DPI(DPI_Free_Schema(schema));
		CHECK_DPI(DPI_Close_Flow(f));
	}
	leave(ctx);
}
