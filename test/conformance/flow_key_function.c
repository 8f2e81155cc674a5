/* SPDX-License-Identifier: Apache-2.0
 * flow_key_function.c: Bloom filters and sketches of keys that a function makes of rows, or that do not say where rows go. */
#include "flow_columns_kit.h"

enum { TENS = 10, BUILT = 300, PROBED = 3000, REFUSED = -77 };

/* A row's key is the tens of its first column, but for one that it refuses. */
static int tens(const void *row, size_t size, void *arg, uint64_t *key)
{
	int64_t n;
	(void)arg;
	if (size < sizeof n) return DPI_ERR_CORRUPT;
	memcpy(&n, row, sizeof n);
	if (n == REFUSED) return DPI_ERR_RANGE;
	*key = (uint64_t)(n / TENS);
	return DPI_SUCCESS;
}

static DPI_Bloom bloom_of(DPI_Flow f)
{
	DPI_Bloom bloom;
	DPI_Bloom_Attr a = DPI_BLOOM_ATTR_INIT;
	a.expected = BUILT, a.rate = 1e-6; /* none of the few that are looked up passes by mistake */
	CHECK_DPI(DPI_Create_Bloom(f, &a, &bloom));
	return bloom;
}

static uint64_t unmatched(DPI_Source s)
{
	DPI_Source_Stats x = { .size = sizeof x };
	CHECK_DPI(DPI_Get_Source_Stats(s, &x));
	return x.unmatched;
}

/* Push numbers 0 … PROBED by several calls: those whose tens, or which themselves, are in the filter come, in order. */
static void probe(DPI_Flow f, DPI_Bloom bloom, int64_t each, bool batches)
{
	enum { RUN = 100 };
	DPI_Target t = target_of(0, f);
	DPI_Source s = source_of(f);
	struct flow_row rows[RUN];
	DPI_Tuple u;
	int error;
	CHECK_DPI(DPI_Set_Source_Bloom(bloom, s));
	for (int64_t first = 0; first < PROBED; first += RUN) {
		size_t pushed;
		for (int64_t i = 0; i < RUN; i++) rows[i] = row_of(0, first + i, first + i);
		if (batches && first % 200) CHECK_DPI(DPI_Push_Batch(rows, RUN, s, &pushed));
		else for (int64_t i = 0; i < RUN; i++) CHECK_DPI(DPI_Push(rows + i, sizeof *rows, s));
	}
	int64_t passes = BUILT / TENS / 3 * each;
	CHECK_INT(unmatched(s), ==, PROBED - passes);
	CHECK_DPI(DPI_Close_Source(s));
	int64_t came = 0, last = -1;
	for (; !(error = DPI_Next(t, &u)); came++) {
		struct flow_row r;
		memcpy(&r, u.data, sizeof r);
		CHECK(r.key > last && r.key / each % 3 == 0 && r.key / each < BUILT / TENS);
		last = r.key;
	}
	CHECK_ERROR(error, DPI_ERR_END, "ended");
	CHECK_INT(came, ==, passes);
	CHECK_DPI(DPI_Close_Target(t));
}

/* A target adds the tens of rows of which every third is built, to all targets or by hash, in rows or columns. */
static void join_by_tens(DPI_Flow_Attr *a, const char *key)
{
	DPI_Context ctx = join();
	DPI_Flow none = FLOW("none", ctx, .group = "tens", .group_version = 3, .sources = 1);
	DPI_Bloom bloom;
	DPI_Bloom_Attr ba = DPI_BLOOM_ATTR_INIT;
	ba.expected = 10;
	CHECK_ERROR(DPI_Create_Bloom(none, &ba, &bloom), DPI_ERR_NAME, "\"tens\"");
	CHECK_DPI(DPI_Register_Group("tens", 0, tens, NULL));
	if (key) a->key = &key, a->key_count = 1;
	else a->group = "tens";
	a->sources = 1;
	DPI_Flow build = kit_flow("build", a, ctx);
	DPI_Target t = target_of(0, build);
	DPI_Source s = source_of(build);
	DPI_Tuple u;
	bloom = bloom_of(build);
	CHECK_DPI(DPI_Set_Target_Bloom(bloom, t));
	for (int64_t i = 0; i < BUILT; i++) {
		struct flow_row r = row_of(0, key ? i / TENS : i, i);
		if (i / TENS % 3 == 0) CHECK_DPI(DPI_Push(&r, sizeof r, s));
	}
	CHECK_DPI(DPI_Close_Source(s));
	while (!DPI_Next(t, &u)) continue;
	CHECK_DPI(DPI_Close_Target(t));
	probe(FLOW("probe", ctx, .group = "tens", .sources = 1), bloom, TENS, true);
	probe(FLOW("probe in columns", ctx, .group = "tens", .sources = 1, .layout = DPI_LAYOUT_COLUMNS), bloom, TENS, false);
	probe(FLOW("numbers", ctx, .sources = 1), bloom, 1, true); /* the numbers that the function gives are a column's */
	CHECK_DPI(DPI_Close_Bloom(bloom));
	leave(ctx);
}

TEST(bloom_by_function, "FL-813 FL-801 FL-204", 1) { (void)rank, (void)ranks, join_by_tens(FLOW_ATTR(.targets = 1), NULL); }
TEST(bloom_by_function_in_columns, "FL-813", 1) { (void)rank, (void)ranks, join_by_tens(FLOW_ATTR(.layout = DPI_LAYOUT_COLUMNS), NULL); }
TEST(bloom_of_a_broadcast, "FL-22 FL-801", 1) { (void)rank, (void)ranks, join_by_tens(FLOW_ATTR(.dist = DPI_DIST_BROADCAST), "key"); }

/* What comes out of a reduction has the key as a column; behind a stage that makes other rows there is none. */
TEST(bloom_by_function_behind_stages, "FL-813", 1)
{
	static const DPI_Aggregate count[] = { { .function = DPI_AGGREGATE_COUNT_ALL } };
	static const DPI_Stage_Column number[] = { { .name = "number" } };
	static const DPI_Stage project[] = { { .kind = DPI_STAGE_PROJECT, .columns = number, .column_count = 1 } };
	static const DPI_Stage filter[] = { { .kind = DPI_STAGE_FILTER, .text = "key >= 0" } };
	(void)rank, (void)ranks;
	DPI_Context ctx = join();
	CHECK_DPI(DPI_Register_Group("tens", 0, tens, NULL));
	DPI_Flow f = FLOW("sums", ctx, .group = "tens", .sources = 1, .aggregates = count, .aggregate_count = 1);
	DPI_Flow other = FLOW("other", ctx, .group = "tens", .stages = project, .stage_count = 1);
	DPI_Flow some = FLOW("some", ctx, .group = "tens", .stages = filter, .stage_count = 1);
	DPI_Target t = target_of(0, f), u, v = target_of(0, some);
	DPI_Target_Attr ta = DPI_TARGET_ATTR_INIT;
	DPI_Source s = source_of(f), wrong = source_of(some);
	DPI_Bloom bloom = bloom_of(f), second = bloom_of(some);
	struct flow_row refused = row_of(0, REFUSED, 0), rows[3] = { row_of(0, 1, 0), refused, row_of(0, 2, 2) };
	DPI_Tuple tuple;
	ta.sketch = 1;
	CHECK_ERROR(DPI_Open_Target(0, &ta, other, &u), DPI_ERR_UNSUPPORTED, "\"tens\"");
	u = target_of(0, other);
	CHECK_ERROR(DPI_Set_Target_Bloom(bloom, u), DPI_ERR_UNSUPPORTED, "\"tens\"");
	CHECK_DPI(DPI_Set_Target_Bloom(second, v));
	CHECK_DPI(DPI_Set_Target_Bloom(bloom, t));
	for (int64_t i = 0; i < BUILT; i++) {
		struct flow_row r = row_of(0, i, i);
		if (i / TENS % 3 == 0) CHECK_DPI(DPI_Push(&r, sizeof r, s));
	}
	CHECK_DPI(DPI_Close_Source(s));
	while (!DPI_Next(t, &tuple)) continue;
	probe(FLOW("probe", ctx, .group = "tens", .sources = 1), bloom, TENS, true);
	/* what the function refuses fails, where it is added and where it is looked up */
	DPI_Bloom third = bloom_of(some);
	CHECK_ERROR(DPI_Insert_Bloom(rows, sizeof *rows, 3, third), DPI_ERR_RANGE, "group function");
	CHECK_DPI(DPI_Set_Source_Bloom(bloom, wrong));
	CHECK_ERROR(DPI_Push(&refused, sizeof refused, wrong), DPI_ERR_RANGE, "group function");
	size_t pushed;
	CHECK_ERROR(DPI_Push_Batch(rows, 3, wrong, &pushed), DPI_ERR_RANGE, "group function");
	CHECK_INT(pushed, ==, 1);
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Close_Source(wrong));
	CHECK_DPI(DPI_Close_Target(v));
	leave(ctx);
}

/* A tenth of the rows has the key 7; the others have one of 200 each. */
static void sketch_tens(DPI_Flow_Attr *a)
{
	enum { ROWS = 20000, KEYS = 200 };
	static DPI_Heavy_Key heavy[DPI_HEAVY_KEYS + 1];
	DPI_Context ctx = join();
	DPI_Target_Attr ta = DPI_TARGET_ATTR_INIT;
	DPI_Target_Stats st = { .size = sizeof st };
	DPI_Target t;
	DPI_Tuple u;
	size_t count;
	int error;
	CHECK_DPI(DPI_Register_Group("tens", 0, tens, NULL));
	a->sources = 1, a->group = "tens", a->memory = 16 << 20;
	DPI_Flow f = kit_flow("f", a, ctx);
	ta.sketch = 1;
	CHECK_DPI(DPI_Open_Target(0, &ta, f, &t));
	DPI_Source s = source_of(f);
	for (int64_t i = 0; i < ROWS; i++) {
		struct flow_row r = row_of(0, i % 10 ? i % (KEYS * TENS) : 7 * TENS + i / 10 % TENS, i);
		CHECK_DPI(DPI_Push(&r, sizeof r, s));
	}
	CHECK_DPI(DPI_Close_Source(s));
	while (!(error = DPI_Next(t, &u))) continue;
	CHECK_ERROR(error, DPI_ERR_END, "ended");
	CHECK_DPI(DPI_Get_Target_Stats(t, &st));
	CHECK_INT(st.distinct, >, KEYS * 85 / 100);
	CHECK_INT(st.distinct, <, KEYS * 115 / 100);
	heavy[0] = (DPI_Heavy_Key)DPI_HEAVY_KEY_INIT;
	CHECK_DPI(DPI_Get_Heavy_Keys(DPI_NODE_SELF, ctx, heavy, DPI_HEAVY_KEYS + 1, &count));
	uint64_t seven = 7, hash;
	DPI_Values key = { .type = DPI_TYPE_UINT64, .data = &seven };
	CHECK_DPI(DPI_Hash_Rows(&key, 1, 1, a->salt, &hash));
	CHECK_INT(count, >, 0);
	CHECK_STR(heavy[0].key, "7");
	CHECK_INT(heavy[0].hash, ==, hash);
	CHECK_INT(heavy[0].rows, >=, ROWS / 10);
	CHECK_DPI(DPI_Close_Target(t));
	leave(ctx);
}

TEST(sketch_by_function, "FL-611 FL-606 FL-608", 1) { (void)rank, (void)ranks, sketch_tens(FLOW_ATTR(.salt = 5)); }
TEST(sketch_by_function_in_columns, "FL-611", 1) { (void)rank, (void)ranks, sketch_tens(FLOW_ATTR(.layout = DPI_LAYOUT_COLUMNS)); }
TEST(sketch_by_function_in_turn, "FL-611 FL-22", 1) { (void)rank, (void)ranks, sketch_tens(FLOW_ATTR(.dist = DPI_DIST_ROUND_ROBIN)); }
