/* SPDX-License-Identifier: Apache-2.0
 * reduce_rules_test.c: flows/reduce: what is refused, sums at their limits, the order of floats, bytes of anybody. */
#include "reduce_kit.h"

#include "flows/sketch.h"

static const DPI_Column numbers[] = {
	{ "key", DPI_TYPE_INT64, 0, 0, 0, 0 },	   { "i", DPI_TYPE_INT64, 1, 0, 0, 0 },
	{ "u", DPI_TYPE_UINT64, 0, 0, 0, 0 },	   { "d", DPI_TYPE_DOUBLE, 1, 0, 0, 0 },
	{ "dec", DPI_TYPE_DECIMAL128, 1, 0, 0, 3 }, { "text", DPI_TYPE_UTF8, 1, 0, 0, 0 },
	{ "b", DPI_TYPE_BOOL, 0, 0, 0, 0 },	   { "day", DPI_TYPE_DATE32, 0, 0, 0, 0 },
};
enum { KEY, I, U, D, DEC, TEXT, B, DAY, NUMBERS };

static struct dpi_schema *input; /* of numbers; stays for good */

static int make(const DPI_Aggregate *a, size_t count, struct dpi_reduction **r)
{
	if (!input) input = schema_of(numbers, NUMBERS);
	return dpi_reduction_new(input, (uint16_t[]){ KEY }, 1, a, count, r);
}

static struct dpi_reduction *made(const DPI_Aggregate *a, size_t count)
{
	struct dpi_reduction *r = NULL;
	CHECK_OK(make(a, count, &r));
	return r;
}

#define REFUSED(class, part, ...)                                                                      \
	do {                                                                                           \
		struct dpi_reduction *r_;                                                              \
		CHECK_INT(make((DPI_Aggregate[]){ { __VA_ARGS__ } }, 1, &r_), ==, class);              \
		CHECK_HAS(dpi_detail(), part);                                                         \
	} while (0)

TEST(reduce_refuses, "FL-302 FL-314", 0)
{
	REFUSED(DPI_ERR_UNSUPPORTED, "\"text\"", .function = DPI_AGGREGATE_SUM, .column = "text");
	REFUSED(DPI_ERR_UNSUPPORTED, "\"b\"", .function = DPI_AGGREGATE_AVG, .column = "b");
	REFUSED(DPI_ERR_UNSUPPORTED, "\"day\"", .function = DPI_AGGREGATE_SUM, .column = "day");
	REFUSED(DPI_ERR_ARGUMENT, "k 0", .function = DPI_AGGREGATE_TOP_K, .column = "text", .by = "i");
	REFUSED(DPI_ERR_ARGUMENT, "k 1000000", .function = DPI_AGGREGATE_TOP_K, .column = "text", .k = 1000000);
	REFUSED(DPI_ERR_NAME, "\"none\"", .function = DPI_AGGREGATE_SUM, .column = "none");
	REFUSED(DPI_ERR_NAME, "\"none\"", .function = DPI_AGGREGATE_TOP_K, .column = "i", .by = "none", .k = 1);
	REFUSED(DPI_ERR_ARGUMENT, "aggregate 0", .function = DPI_AGGREGATE_SUM);
	REFUSED(DPI_ERR_ARGUMENT, "count(*)", .function = DPI_AGGREGATE_COUNT_ALL, .column = "i");
	REFUSED(DPI_ERR_ARGUMENT, "function 77", .function = 77, .column = "i");
	REFUSED(DPI_ERR_ARGUMENT, "k 0", .function = DPI_AGGREGATE_TOP_K, .column = "i");
	REFUSED(DPI_ERR_ARGUMENT, "k 1000000", .function = DPI_AGGREGATE_TOP_K, .column = "i", .k = 1000000);
	REFUSED(DPI_ERR_ARGUMENT, "precision 3", .function = DPI_AGGREGATE_COUNT_DISTINCT, .column = "i", .precision = 3);
	REFUSED(DPI_ERR_ARGUMENT, "precision 17", .function = DPI_AGGREGATE_COUNT_DISTINCT, .column = "i", .precision = 17);
	REFUSED(DPI_ERR_ARGUMENT, "\"key\"", .function = DPI_AGGREGATE_SUM, .column = "i", .name = "key");
	REFUSED(DPI_ERR_ARGUMENT, "no reducer", .function = DPI_AGGREGATE_REDUCER);
	REFUSED(DPI_ERR_NAME, "\"gone\"", .function = DPI_AGGREGATE_REDUCER, .reducer = "gone");
	struct dpi_reduction *r;
	CHECK_INT(make(NULL, DPI_AGGREGATES_MAX + 1, &r), ==, DPI_ERR_ARGUMENT);
	struct dpi_schema *s = schema_of(numbers, NUMBERS);
	CHECK_INT(dpi_reduction_new(s, (uint16_t[]){ I, I }, 2, NULL, 0, &r), ==, DPI_ERR_ARGUMENT);
	CHECK_HAS(dpi_detail(), "twice");
	CHECK_INT(dpi_reduction_new(s, NULL, 0, NULL, 0, &r), ==, DPI_ERR_ARGUMENT);
	CHECK_INT(dpi_reduction_new(s, (uint16_t[]){ NUMBERS }, 1, NULL, 0, &r), ==, DPI_ERR_ARGUMENT);
	dpi_schema_unref(s);
	DPI_Reducer bad = DPI_REDUCER_INIT;
	CHECK_INT(dpi_reducer_register("bad", 1, &bad), ==, DPI_ERR_ARGUMENT);
	bad.state = 8, bad.result.type = DPI_TYPE_INT64, bad.accumulate = poly_accumulate, bad.finalise = poly_finalise;
	CHECK_INT(dpi_reducer_register("", 1, &bad), ==, DPI_ERR_ARGUMENT);
	bad.result.type = 99;
	CHECK_INT(dpi_reducer_register("bad", 1, &bad), ==, DPI_ERR_ARGUMENT);
	bad.result.type = DPI_TYPE_INT64, bad.state = DPI_STATE_MAX + 1;
	CHECK_INT(dpi_reducer_register("bad", 1, &bad), ==, DPI_ERR_ARGUMENT);
}

TEST(reduce_output_schema, "FL-301", 0)
{
	static const struct {
		int function;
		const char *column;
		int type, nullable, scale;
	} want[] = {
		{ DPI_AGGREGATE_COUNT_ALL, NULL, DPI_TYPE_INT64, 0, 0 },
		{ DPI_AGGREGATE_COUNT, "i", DPI_TYPE_INT64, 0, 0 },
		{ DPI_AGGREGATE_SUM, "i", DPI_TYPE_INT64, 1, 0 },
		{ DPI_AGGREGATE_SUM, "u", DPI_TYPE_UINT64, 0, 0 },
		{ DPI_AGGREGATE_SUM, "d", DPI_TYPE_DOUBLE, 1, 0 },
		{ DPI_AGGREGATE_SUM, "dec", DPI_TYPE_DECIMAL128, 1, 3 },
		{ DPI_AGGREGATE_AVG, "i", DPI_TYPE_DOUBLE, 1, 0 },
		{ DPI_AGGREGATE_AVG, "dec", DPI_TYPE_DECIMAL128, 1, 6 },
		{ DPI_AGGREGATE_MIN, "day", DPI_TYPE_DATE32, 0, 0 },
		{ DPI_AGGREGATE_FIRST, "dec", DPI_TYPE_DECIMAL128, 1, 3 },
		{ DPI_AGGREGATE_TOP_K, "i", DPI_TYPE_BINARY, 0, 0 },
		{ DPI_AGGREGATE_TOP_K, "text", DPI_TYPE_BINARY, 0, 0 },
		{ DPI_AGGREGATE_MAX, "text", DPI_TYPE_UTF8, 1, 0 },
		{ DPI_AGGREGATE_COUNT_DISTINCT, "text", DPI_TYPE_INT64, 0, 0 },
	};
	DPI_Aggregate a[COUNT(want)] = { { 0 } };
	char name[COUNT(want)][8];
	for (size_t i = 0; i < COUNT(want); i++) {
		snprintf(name[i], sizeof name[i], "%zu", i);
		a[i] = (DPI_Aggregate){ .function = want[i].function,
					.column = want[i].column,
					.name = name[i],
					.k = want[i].function == DPI_AGGREGATE_TOP_K };
	}
	struct dpi_reduction *r = made(a, COUNT(want));
	CHECK_INT(r->output->columns, ==, 1 + COUNT(want));
	CHECK_STR(r->output->column[0].name, "key");
	for (size_t i = 0; i < COUNT(want); i++) {
		const struct dpi_column *c = r->output->column + 1 + i;
		CHECK_STR(c->name, name[i]);
		CHECK_INT(c->type, ==, want[i].type);
		CHECK_INT(c->nullable, ==, want[i].nullable);
		CHECK_INT(c->scale, ==, want[i].scale);
	}
	dpi_reduction_unref(r);
	r = made((DPI_Aggregate[]){ { .function = DPI_AGGREGATE_SUM, .column = "u" },
				    { .function = DPI_AGGREGATE_COUNT_ALL } },
		 2);
	CHECK_STR(r->output->column[1].name, "u");
	CHECK_STR(r->output->column[2].name, "count");
	dpi_reduction_unref(r);
}

/* --------------------------------------------------------------------------------------------------------------- sums */

static wide ten(int digits)
{
	wide v = 1;
	while (digits--) v *= 10;
	return v;
}

/* A table into which rows of one group go, one value of one column each; the others are 0. */
static void put(struct dpi_table *t, int column, DPI_Value v)
{
	uint8_t row[256];
	size_t size, taken;
	DPI_Value values[NUMBERS];
	for (int i = 0; i < NUMBERS; i++) values[i] = (DPI_Value){ .type = numbers[i].type };
	values[column] = v;
	CHECK_OK(dpi_row_pack(input, values, row, sizeof row, &size));
	DPI_Record record = { row, size };
	CHECK_OK(dpi_table_add(t, &(struct dpi_rows){ .record = &record, .count = 1 }, &taken));
}

static void put_wide(struct dpi_table *t, wide v)
{
	DPI_Value value = { .type = DPI_TYPE_DECIMAL128 };
	memcpy(value.w, &v, 16);
	put(t, DEC, value);
}

static void put_int(struct dpi_table *t, int64_t v)
{
	put(t, I, (DPI_Value){ .type = DPI_TYPE_INT64, .i = v });
}

static int result(struct dpi_table *t, const struct dpi_reduction *r, DPI_Value *v)
{
	static uint8_t row[1024];
	struct dpi_rows run;
	int error = dpi_table_next_result(t, &run);
	if (error) {
		dpi_table_clear(t);
		return error;
	}
	CHECK_INT(run.count, ==, 1);
	CHECK(run.rows);
	memcpy(row, run.rows, r->output->row_size);
	for (size_t c = 1; c < r->output->columns; c++)
		CHECK_OK(dpi_row_value(r->output, row, r->output->row_size, c, v + c - 1));
	CHECK_OK(dpi_table_next_result(t, &run));
	CHECK_INT(run.count, ==, 0);
	return DPI_SUCCESS;
}

static wide of_value(const DPI_Value *v)
{
	wide w;
	memcpy(&w, v->w, 16);
	return w;
}

TEST(reduce_sums_at_their_limits, "FL-303 FL-304", 0)
{
	DPI_Aggregate sums[] = { { .function = DPI_AGGREGATE_SUM, .column = "i" },
				 { .function = DPI_AGGREGATE_SUM, .column = "dec" } };
	struct dpi_reduction *r = made(sums, 2);
	struct dpi_table *t = table_of(r, 1 << 20, DPI_TABLE_LIMITED);
	DPI_Value v[2];
	for (int i = 0; i < 1000; i++) put_int(t, INT64_MAX); /* far beyond on the way */
	for (int i = 0; i < 999; i++) put_int(t, -INT64_MAX);
	CHECK_OK(result(t, r, v));
	CHECK(v[0].i == INT64_MAX);
	put_int(t, INT64_MAX), put_int(t, 1);
	CHECK_INT(result(t, r, v), ==, DPI_ERR_RANGE);
	CHECK_HAS(dpi_detail(), "\"i\"");
	put_int(t, INT64_MIN), put_int(t, -1);
	CHECK_INT(result(t, r, v), ==, DPI_ERR_RANGE);
	put_int(t, INT64_MIN);
	CHECK_OK(result(t, r, v));
	CHECK(v[0].i == INT64_MIN);
	wide most = ten(38) - 1;
	for (int i = 0; i < 50; i++) put_wide(t, most); /* around 128 bits several times */
	for (int i = 0; i < 49; i++) put_wide(t, -most);
	CHECK_OK(result(t, r, v));
	CHECK(of_value(v + 1) == most);
	put_wide(t, most), put_wide(t, 1);
	CHECK_INT(result(t, r, v), ==, DPI_ERR_RANGE);
	CHECK_HAS(dpi_detail(), "\"dec\"");
	for (int i = 0; i < 3; i++) put_wide(t, -most); /* about 2^128 less, which 128 bits take for something small */
	CHECK_INT(result(t, r, v), ==, DPI_ERR_RANGE);
	for (int i = 0; i < 7; i++) put_wide(t, most);
	CHECK_INT(result(t, r, v), ==, DPI_ERR_RANGE);
	put(t, I, (DPI_Value){ 0 });
	CHECK_OK(result(t, r, v));
	CHECK(v[0].type == DPI_TYPE_NULL && of_value(v + 1) == 0);
	dpi_table_free(t);
	dpi_reduction_unref(r);
	r = made((DPI_Aggregate[]){ { .function = DPI_AGGREGATE_SUM, .column = "u" } }, 1);
	t = table_of(r, 1 << 20, DPI_TABLE_LIMITED);
	put(t, U, (DPI_Value){ .type = DPI_TYPE_UINT64, .u = UINT64_MAX });
	CHECK_OK(result(t, r, v));
	CHECK(v[0].u == UINT64_MAX);
	put(t, U, (DPI_Value){ .type = DPI_TYPE_UINT64, .u = UINT64_MAX });
	put(t, U, (DPI_Value){ .type = DPI_TYPE_UINT64, .u = 1 });
	CHECK_INT(result(t, r, v), ==, DPI_ERR_RANGE);
	dpi_table_free(t);
	dpi_reduction_unref(r);
}

TEST(reduce_averages, "FL-305", 0)
{
	struct dpi_reduction *r = made((DPI_Aggregate[]){ { .function = DPI_AGGREGATE_AVG, .column = "i" },
							  { .function = DPI_AGGREGATE_AVG, .column = "dec" } },
				       2);
	struct dpi_table *t = table_of(r, 1 << 20, DPI_TABLE_LIMITED);
	DPI_Value v[2];
	wide most = ten(35) - 1; /* with three digits more the quotient still has 38 */
	for (int i = 0; i < 100; i++) put_wide(t, most);
	CHECK_OK(result(t, r, v));
	CHECK(v[0].d == 0 && of_value(v + 1) == most * 1000);
	put_wide(t, ten(36)); /* no longer */
	CHECK_INT(result(t, r, v), ==, DPI_ERR_RANGE);
	CHECK_HAS(dpi_detail(), "average");
	put_wide(t, 1), put_wide(t, 0), put_wide(t, 0); /* 0.001 / 3 */
	CHECK_OK(result(t, r, v));
	CHECK(of_value(v + 1) == 333);
	put_wide(t, 2), put_wide(t, 0), put_wide(t, 0);
	CHECK_OK(result(t, r, v));
	CHECK(of_value(v + 1) == 667);
	put_wide(t, -2), put_wide(t, 0), put_wide(t, 0);
	CHECK_OK(result(t, r, v));
	CHECK(of_value(v + 1) == -667);
	put_wide(t, -1);
	for (int i = 0; i < 1999; i++) put_wide(t, 0); /* -0.0000005 */
	CHECK_OK(result(t, r, v));
	CHECK(of_value(v + 1) == -1);
	for (int i = 0; i < 300; i++) put_wide(t, i % 3 ? ten(38) - 1 : -(ten(38) - 1)); /* 10^38 / 3 */
	CHECK_INT(result(t, r, v), ==, DPI_ERR_RANGE);
	for (int i = 0; i < 3; i++) put_int(t, INT64_MAX);
	put(t, I, (DPI_Value){ 0 });
	CHECK_OK(result(t, r, v));
	CHECK(v[0].d == (double)(3 * (wide)INT64_MAX) / 3);
	dpi_table_free(t);
	dpi_reduction_unref(r);
}

TEST(reduce_floats_in_order, "FL-306 FL-307", 0)
{
	DPI_Aggregate a[] = { { .function = DPI_AGGREGATE_SUM, .column = "d" },
			      { .function = DPI_AGGREGATE_MIN, .column = "d", .name = "min" },
			      { .function = DPI_AGGREGATE_MAX, .column = "d", .name = "max" } };
	struct draws d = draws_from(4);
	struct dpi_reduction *r = made(a, 3);
	struct dpi_table *t = table_of(r, 1 << 20, DPI_TABLE_LIMITED), *u = table_of(r, 1 << 20, DPI_TABLE_LIMITED);
	DPI_Value v[3];
	double all = 0, part = 0;
	struct dpi_rows run;
	size_t taken;
	for (int i = 0; i < 3000; i++) {
		double x = ldexp((double)(int64_t)draw(&d), (int)draw_below(&d, 100) - 50);
		all += x, part += x;
		put(t, D, (DPI_Value){ .type = DPI_TYPE_DOUBLE, .d = x });
		put(u, D, (DPI_Value){ .type = DPI_TYPE_DOUBLE, .d = x });
	}
	CHECK_OK(result(t, r, v));
	CHECK(!memcmp(&v[0].d, &all, 8));
	all = 0;
	put(t, D, (DPI_Value){ .type = DPI_TYPE_DOUBLE, .d = 0.1 });
	CHECK_OK(dpi_table_next_partial(u, &run));
	CHECK_OK(dpi_table_merge(t, &run, &taken));
	CHECK_OK(dpi_table_merge(t, &run, &taken));
	CHECK_OK(result(t, r, v));
	part = 0.1 + part + part;
	CHECK(v[0].d != 0.1 && !memcmp(&v[0].d, &part, 8));
	static const double few[] = { 1, (double)NAN, -(double)INFINITY, (double)INFINITY };
	for (size_t i = 0; i < COUNT(few); i++) put(t, D, (DPI_Value){ .type = DPI_TYPE_DOUBLE, .d = few[i] });
	CHECK_OK(result(t, r, v));
	CHECK(v[0].d != v[0].d && v[1].d == -(double)INFINITY && v[2].d != v[2].d);
	put(t, D, (DPI_Value){ .type = DPI_TYPE_DOUBLE, .d = -0.0 });
	put(t, D, (DPI_Value){ .type = DPI_TYPE_DOUBLE, .d = 0.0 });
	CHECK_OK(result(t, r, v));
	CHECK(signbit(v[1].d) && signbit(v[2].d));
	dpi_table_free(t), dpi_table_free(u);
	dpi_reduction_unref(r);
}

/* -------------------------------------------------------------------------------------------------------------- limits */

static int add_numbers(struct dpi_table *t, const struct dpi_reduction *r, int64_t count)
{
	uint8_t row[256];
	size_t size, taken;
	DPI_Value values[NUMBERS];
	for (int i = 0; i < NUMBERS; i++) values[i] = (DPI_Value){ .type = numbers[i].type };
	for (int64_t k = 0; k < count; k++) {
		values[KEY].i = k;
		CHECK_OK(dpi_row_pack(r->input, values, row, sizeof row, &size));
		DPI_Record record = { row, size };
		int error = dpi_table_add(t, &(struct dpi_rows){ .record = &record, .count = 1 }, &taken);
		CHECK_INT(taken, ==, !error);
		if (error) return error;
	}
	return DPI_SUCCESS;
}

TEST(reduce_budget, "FL-315", 0)
{
	struct dpi_reduction *r = made((DPI_Aggregate[]){ { .function = DPI_AGGREGATE_SUM, .column = "i" } }, 1);
	struct dpi_table *t = table_of(r, DPI_TABLE_LEAST, DPI_TABLE_LIMITED);
	struct dpi_table_stats s;
	struct dpi_rows run;
	size_t taken;
	CHECK_INT(add_numbers(t, r, 1 << 20), ==, DPI_ERR_LIMIT);
	CHECK_HAS(dpi_detail(), "give it more memory");
	dpi_table_stats(t, &s);
	CHECK(s.groups > 1000 && s.bytes <= DPI_TABLE_LEAST);
	dpi_table_free(t);
	t = table_of(r, DPI_TABLE_LEAST, DPI_TABLE_DRAINS);
	CHECK_INT(add_numbers(t, r, 1 << 20), ==, DPI_ERR_FULL);
	CHECK_OK(dpi_table_next_partial(t, &run));
	CHECK_INT(run.count, ==, s.groups);
	CHECK_INT(dpi_table_add(t, &run, &taken), ==, DPI_ERR_STATE);
	CHECK_OK(dpi_table_next_partial(t, &run));
	CHECK_INT(run.count, ==, 0);
	CHECK_INT(add_numbers(t, r, 1000), ==, DPI_SUCCESS);
	dpi_table_free(t);
	struct dpi_table_attr attr = { .budget = DPI_TABLE_LEAST - 1 };
	CHECK_INT(dpi_table_new(r, &attr, &t), ==, DPI_ERR_ARGUMENT);
	attr = (struct dpi_table_attr){ .budget = DPI_TABLE_LEAST,
					.full = DPI_TABLE_SPILLS,
					.directory = "/nowhere/at/all" };
	CHECK_OK(dpi_table_new(r, &attr, &t));
	CHECK_INT(add_numbers(t, r, 1 << 20), ==, DPI_ERR_LIMIT);
	CHECK_HAS(dpi_detail(), "/nowhere/at/all");
	dpi_table_free(t);
	dpi_reduction_unref(r);
	r = made((DPI_Aggregate[]){ { .function = DPI_AGGREGATE_COUNT_DISTINCT, .column = "i", .precision = 16 } }, 1);
	CHECK_INT(dpi_table_new(r, &attr, &t), ==, DPI_ERR_LIMIT);
	CHECK_HAS(dpi_detail(), "single key");
	dpi_reduction_unref(r);
}

TEST(reduce_file_of_many_passes, "FL-316", 0, .deadline_s = 180)
{
	struct dpi_reduction *r = made((DPI_Aggregate[]){ { .function = DPI_AGGREGATE_SUM, .column = "i" } }, 1);
	struct dpi_table_attr attr = { .budget = DPI_TABLE_LEAST, .full = DPI_TABLE_SPILLS, .directory = getenv("TMPDIR") };
	struct dpi_table *t;
	struct dpi_table_stats s;
	struct dpi_rows run;
	size_t groups = 0;
	CHECK_OK(dpi_table_new(r, &attr, &t));
	for (int times = 0; times < 2; times++, groups = 0) {
		CHECK_OK(add_numbers(t, r, 200000));
		do {
			CHECK_OK(dpi_table_next_result(t, &run));
			groups += run.count;
		} while (run.count);
		CHECK_INT(groups, ==, 200000);
	}
	dpi_table_stats(t, &s);
	CHECK(s.spilled > 200000 && s.file > 1000000); /* some went there twice */
	CHECK_INT(s.rows, ==, 400000);
	dpi_table_free(t);
	dpi_reduction_unref(r);
}

/* ------------------------------------------------------------------------------------------------------ reducers, bytes */

static int fails(void *state, const DPI_Value *v, void *arg)
{
	(void)state, (void)arg;
	return v->i == 7 ? dpi_fail(DPI_ERR_RANGE, "it is seven") : DPI_SUCCESS;
}

static int is_even(const void *state, void *arg)
{
	(void)arg;
	return *(const uint8_t *)state % 2 ? dpi_fail(DPI_ERR_CORRUPT, "it is odd") : DPI_SUCCESS;
}

TEST(reduce_registered, "FL-311 FL-313 FL-314", 0)
{
	DPI_Reducer u = DPI_REDUCER_INIT;
	struct dpi_table *t;
	struct dpi_rows run;
	size_t taken;
	register_polys();
	u.state = 16, u.result.type = DPI_TYPE_UINT64;
	u.accumulate = fails, u.merge = poly_merge, u.finalise = poly_finalise, u.check = is_even;
	CHECK_OK(dpi_reducer_register("fails", 3, &u));
	DPI_Aggregate a = { .function = DPI_AGGREGATE_REDUCER, .column = "i", .reducer = "fails", .version = 3 };
	struct dpi_reduction *r = made(&a, 1);
	t = table_of(r, 1 << 20, DPI_TABLE_LIMITED);
	put_int(t, 6);
	uint8_t row[256] = { 0 };
	DPI_Value values[NUMBERS];
	for (int i = 0; i < NUMBERS; i++) values[i] = (DPI_Value){ .type = numbers[i].type, .w = { i == I ? 7 : 0 } };
	DPI_Record record = { row, 0 };
	CHECK_OK(dpi_row_pack(r->input, values, row, sizeof row, &record.size));
	CHECK_INT(dpi_table_add(t, &(struct dpi_rows){ .record = &record, .count = 1 }, &taken), ==, DPI_ERR_RANGE);
	CHECK_HAS(dpi_detail(), "accumulate of the reducer \"fails\"");
	memset(row, 0, sizeof row);
	run = (struct dpi_rows){ .rows = row, .stride = r->state->row_size, .count = 1 };
	CHECK_OK(dpi_table_merge(t, &run, &taken));
	memset(row, 1, sizeof row);
	CHECK_INT(dpi_table_merge(t, &run, &taken), ==, DPI_ERR_CORRUPT);
	dpi_table_free(t);
	u.state = 24;
	CHECK_OK(dpi_reducer_register("fails", 3, &u));
	struct dpi_table_attr attr = { .budget = 1 << 20 };
	CHECK_INT(dpi_table_new(r, &attr, &t), ==, DPI_ERR_VERSION);
	CHECK_HAS(dpi_detail(), "\"fails\"");
	dpi_reduction_unref(r);
	a.reducer = "poly", a.version = 2;
	r = made(&a, 1);
	CHECK(!r->merges);
	t = table_of(r, 1 << 20, DPI_TABLE_LIMITED);
	CHECK_INT(dpi_table_merge(t, &run, &taken), ==, DPI_ERR_UNSUPPORTED);
	CHECK_INT(dpi_table_next_partial(t, &run), ==, DPI_ERR_UNSUPPORTED);
	CHECK_HAS(dpi_detail(), "\"poly\"");
	dpi_table_free(t);
	dpi_reduction_unref(r);
}

static int keep_last(void *state, const DPI_Value *v, void *arg)
{
	(void)arg;
	memcpy(state, &v->i, 8);
	return DPI_SUCCESS;
}

/* The state as a value of the type that arg is; of 0 NULL. */
static int give(const void *state, void *arg, DPI_Value *v)
{
	int64_t i;
	memcpy(&i, state, 8);
	*v = (DPI_Value){ .type = i ? *(const int *)arg : DPI_TYPE_NULL };
	if (v->type >= DPI_TYPE_FIXED) v->data = state, v->size = v->type == DPI_TYPE_FIXED ? 3 : (uint32_t)i;
	else if (v->type == DPI_TYPE_FLOAT || v->type == DPI_TYPE_DOUBLE) v->d = (double)i;
	else if (v->type) memcpy(v->w, (int64_t[]){ i, 0 }, 16);
	return DPI_SUCCESS;
}

TEST(reduce_results_of_every_type, "FL-301 FL-311", 0)
{
	static int types[DPI_TYPE_UTF8 + 1];
	DPI_Aggregate a[DPI_TYPE_UTF8];
	char name[DPI_TYPE_UTF8][8];
	for (int i = 0; i < DPI_TYPE_UTF8; i++) {
		DPI_Reducer u = DPI_REDUCER_INIT;
		types[i] = i + 1;
		u.state = 8, u.result.type = i + 1, u.result.nullable = 1, u.result.width = i + 1 == DPI_TYPE_FIXED ? 3 : 0;
		u.accumulate = keep_last, u.finalise = give, u.arg = types + i;
		CHECK_OK(dpi_reducer_register("last", (uint32_t)i, &u));
		snprintf(name[i], sizeof name[i], "%d", i);
		a[i] = (DPI_Aggregate){ .function = DPI_AGGREGATE_REDUCER, .column = "i", .name = name[i], .reducer = "last",
					.version = (uint32_t)i };
	}
	struct dpi_reduction *r = made(a, DPI_TYPE_UTF8);
	struct dpi_table *t = table_of(r, 1 << 20, DPI_TABLE_LIMITED);
	for (int64_t i = 0; i < 2; i++) {
		struct dpi_rows run;
		DPI_Value v;
		put_int(t, i);
		CHECK_OK(dpi_table_next_result(t, &run));
		CHECK(run.count == 1 && run.record);
		CHECK_OK(dpi_row_check(r->output, run.record->data, run.record->size, true));
		for (int c = 0; c < DPI_TYPE_UTF8; c++) {
			CHECK_OK(dpi_row_value(r->output, run.record->data, run.record->size, (size_t)c + 1, &v));
			CHECK_INT(v.type, ==, i ? c + 1 : DPI_TYPE_NULL);
			if (c + 1 >= DPI_TYPE_FIXED && i) CHECK_INT(((const uint8_t *)v.data)[0], ==, 1);
			else if (i) CHECK(c + 1 == DPI_TYPE_FLOAT || c + 1 == DPI_TYPE_DOUBLE ? v.d == 1 : v.i == 1);
		}
		CHECK_OK(dpi_table_next_result(t, &run));
		CHECK_INT(run.count, ==, 0);
	}
	types[3] = DPI_TYPE_DOUBLE; /* not what it was registered with */
	put_int(t, 1);
	struct dpi_rows run;
	CHECK_INT(dpi_table_next_result(t, &run), ==, DPI_ERR_ARGUMENT);
	CHECK_HAS(dpi_detail(), "\"last\"");
	dpi_table_free(t);
	dpi_reduction_unref(r);
}

TEST(reduce_bytes, "FL-318", 0, .deadline_s = 180)
{
	struct draws d = draws_from(5);
	register_polys();
	for (int round = rounds(200); round--;) {
		struct kit k = kit_new(&d, 0, 1, 0);
		struct dpi_reduction *r = NULL;
		size_t size = dpi_reduction_bytes(k.r);
		char text[512];
		uint8_t *bytes = guarded(size), *again = guarded(size);
		dpi_reduction_write(k.r, bytes);
		CHECK_OK(dpi_reduction_parse(bytes, size, k.schema, &r));
		CHECK(dpi_schema_equal(r->state, "a", k.r->state, "b", text, sizeof text));
		CHECK(dpi_schema_equal(r->output, "a", k.r->output, "b", text, sizeof text));
		CHECK_INT(dpi_reduction_bytes(r), ==, size);
		dpi_reduction_write(r, again);
		CHECK(!memcmp(bytes, again, size) && r->merges == k.r->merges);
		dpi_reduction_unref(r);
		for (size_t cut = 0; cut < size; cut += 1 + draw_below(&d, 20)) {
			uint8_t *part = guarded(cut + 1);
			memcpy(part + 1, bytes, cut);
			CHECK_INT(dpi_reduction_parse(part + 1, cut, k.schema, &r), ==, DPI_ERR_CORRUPT);
			guarded_free(part, cut + 1);
		}
		for (int i = 0; i < 30; i++) {
			memcpy(again, bytes, size);
			again[draw_below(&d, size)] = (uint8_t)draw(&d);
			int error = dpi_reduction_parse(again, size, k.schema, &r);
			CHECK(!error || error == DPI_ERR_CORRUPT || error == DPI_ERR_VERSION);
			if (!error) dpi_reduction_unref(r);
		}
		guarded_free(bytes, size), guarded_free(again, size);
		kit_free(&k);
	}
}

TEST(reduce_partial_rows_of_anybody, "FL-317", 0, .deadline_s = 180)
{
	struct draws d = draws_from(6);
	register_polys();
	int refused = 0;
	for (int round = rounds(100); round--;) {
		struct kit k = kit_new(&d, 20, 10, KIT_MERGES);
		struct dpi_table *t = table_of(k.r, 64 << 20, DPI_TABLE_LIMITED),
				 *from = table_of(k.r, 64 << 20, DPI_TABLE_LIMITED);
		struct dpi_rows run;
		int error;
		hand_in(from, k.schema, k.row, k.rows, &d, false, &error);
		CHECK_OK(dpi_table_next_partial(from, &run));
		for (size_t i = 0; i < run.count; i++) {
			size_t size = run.rows ? k.r->state->row_size : run.record[i].size, taken;
			const void *row = run.rows ? (const uint8_t *)run.rows + i * run.stride : run.record[i].data;
			uint8_t *there = guarded(size);
			memcpy(there, row, size);
			for (uint64_t n = draw_below(&d, 10); n--;) there[draw_below(&d, size)] = (uint8_t)draw(&d);
			DPI_Record record = { there, size - (draw_below(&d, 20) == 0) };
			error = dpi_table_merge(t, &(struct dpi_rows){ .record = &record, .count = 1 }, &taken);
			CHECK(!error || error == DPI_ERR_CORRUPT);
			refused += error != 0;
			guarded_free(there, size);
		}
		do error = dpi_table_next_result(t, &run);
		while (!error && run.count);
		CHECK(!error || error == DPI_ERR_RANGE);
		dpi_table_free(t), dpi_table_free(from);
		kit_free(&k);
	}
	CHECK(refused);
}

TEST(reduce_states_that_are_none, "FL-317", 0)
{
	struct dpi_reduction *r = made(
		(DPI_Aggregate[]){ { .function = DPI_AGGREGATE_COUNT, .column = "i" },
				   { .function = DPI_AGGREGATE_TOP_K, .column = "u", .name = "top", .k = 3 },
				   { .function = DPI_AGGREGATE_COUNT_DISTINCT, .column = "d", .precision = 4 } },
		3);
	struct dpi_table *t = table_of(r, 1 << 20, DPI_TABLE_LIMITED), *from = table_of(r, 1 << 20, DPI_TABLE_LIMITED);
	uint8_t row[512];
	struct dpi_rows run;
	size_t taken;
	put_int(from, 1);
	CHECK_OK(dpi_table_next_partial(from, &run));
	memcpy(row, run.rows, r->state->row_size);
	run.rows = row, run.stride = r->state->row_size;
	CHECK_OK(dpi_table_merge(t, &run, &taken));
#define SPOILT(which, at, byte, part)                                                                  \
	do {                                                                                           \
		uint8_t *p = row + r->state->column[which].offset + (at), was = *p;                   \
		*p = (byte);                                                                           \
		CHECK_INT(dpi_table_merge(t, &run, &taken), ==, DPI_ERR_CORRUPT);                      \
		CHECK_HAS(dpi_detail(), part);                                                         \
		*p = was;                                                                              \
	} while (0)
	SPOILT(1, 7, 0x80, "\"i\"");
	SPOILT(2, offsetof(struct dpi_topk, used), 4, "\"top\"");
	SPOILT(2, offsetof(struct dpi_topk, k) + 1, 1, "\"top\"");
	SPOILT(2, offsetof(struct dpi_topk, payload), 9, "\"top\"");
	SPOILT(3, 5, 62, "\"d\"");
	CHECK_OK(dpi_table_merge(t, &run, &taken));
	dpi_table_free(t), dpi_table_free(from);
	dpi_reduction_unref(r);
}
