/* SPDX-License-Identifier: Apache-2.0
 * flow_bloom.c: Bloom filters that the targets of one flow fill and the sources of another apply. Hashes are specified, so that the
 * same keys pass by mistake in every run. */
#include <signal.h>

#include "flow_columns_kit.h"

enum { EVERY = 7, BUILT = 3000, PROBED = BUILT * EVERY };

static bool built(int64_t key)
{
	return key % EVERY == 0;
}

static DPI_Bloom bloom_of(DPI_Flow f, uint64_t expected)
{
	DPI_Bloom bloom;
	DPI_Bloom_Attr a = DPI_BLOOM_ATTR_INIT;
	a.expected = expected;
	CHECK_DPI(DPI_Create_Bloom(f, &a, &bloom));
	return bloom;
}

static DPI_Bloom open_bloom(const char *name, DPI_Context ctx)
{
	DPI_Bloom bloom;
	CHECK_DPI(DPI_Open_Bloom(name, 0, ctx, &bloom));
	return bloom;
}

static uint64_t unmatched(DPI_Source s)
{
	DPI_Source_Stats x = { .size = sizeof x };
	CHECK_DPI(DPI_Get_Source_Stats(s, &x));
	return x.unmatched;
}

/* ------------------------------------------------------------------------------------------------------- what passes */

struct probe {
	DPI_Target target;
	struct flow_tally tally;
	uint64_t good; /* rows with keys that were built */
};

static void *take_probe(void *arg)
{
	struct probe *p = arg;
	DPI_Tuple u;
	int error;
	while (!(error = DPI_Next(p->target, &u))) {
		flow_take(&p->tally, u.data, u.size);
		p->good += built(((const struct flow_row *)u.data)->key);
	}
	CHECK_INT(error, ==, DPI_ERR_END);
	CHECK_DPI(DPI_Close_Target(p->target));
	return NULL;
}

/* Keys first, first + step, … below PROBED, by one of the calls that push. */
static void push_by(int way, int rank, int64_t first, int64_t step, DPI_Flow f, DPI_Source s)
{
	static struct flow_row rows[1000];
	size_t n = 0, pushed;
	for (int64_t key = first, number = 0; key < PROBED; key += step, number++) {
		struct flow_row r = row_of(rank, key, number);
		uint32_t to[4], count;
		void *room;
		int error = DPI_ERR_AGAIN;
		switch (way) {
		case 0: CHECK_DPI(DPI_Push(&r, sizeof r, s)); break;
		case 1:
			while (error == DPI_ERR_AGAIN) error = DPI_Try_Push(&r, sizeof r, s), harness_pause();
			CHECK_DPI(error);
			break;
		case 2:
			CHECK_DPI(DPI_Route(&r, sizeof r, f, to, &count));
			CHECK_DPI(DPI_Reserve(sizeof r, to[0], s, &room));
			memcpy(room, &r, sizeof r);
			CHECK_DPI(DPI_Commit(sizeof r, s));
			break;
		default:
			rows[n++] = r;
			if (n < 1000 && key + step < PROBED) break;
			CHECK_DPI(DPI_Push_Batch(rows, n, s, &pushed));
			CHECK_INT(pushed, ==, n);
			n = 0;
		}
	}
}

static void build(const char *name, int ranks, int rank, DPI_Context ctx)
{
	struct flow_tally tally = { 0 };
	DPI_Flow f = FLOW("build", ctx, .targets = (uint32_t)ranks, .sources = (uint32_t)ranks);
	DPI_Target t = target_of((uint32_t)rank, f);
	DPI_Source s = source_of(f);
	DPI_Bloom bloom = bloom_of(f, BUILT);
	CHECK_DPI(DPI_Set_Target_Bloom(bloom, t));
	for (int64_t i = rank; i < BUILT; i += ranks) {
		struct flow_row r = row_of(rank, i * EVERY, i);
		CHECK_DPI(DPI_Push(&r, sizeof r, s));
	}
	CHECK_DPI(DPI_Close_Source(s));
	flow_drain(t, &tally);
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Publish_Bloom(name, (uint32_t)ranks, bloom));
	CHECK_DPI(DPI_Close_Bloom(bloom));
	CHECK_DPI(DPI_Close_Flow(f));
}

/* Each rank pushes all keys in its own way: none that was built is missing, of the others few come, and all are counted. */
static void probe(const char *name, DPI_Flow_Attr *a, int ranks, int rank, DPI_Context ctx, DPI_Bloom bloom)
{
	_Atomic uint64_t *sums = harness_shared(); /* pushed, dropped, came, good */
	a->size = sizeof *a, a->targets = a->sources = (uint32_t)ranks;
	DPI_Flow f = kit_flow(name, a, ctx);
	struct probe p = { .target = target_of((uint32_t)rank, f) };
	DPI_Source s = source_of(f);
	harness_barrier();
	for (int i = 0; i < 4; i++) sums[i] = 0;
	harness_barrier();
	pthread_t thread = start_thread(take_probe, &p);
	CHECK_DPI(DPI_Set_Source_Bloom(bloom, s));
	push_by(rank, rank, 0, 1, f, s);
	DPI_Source_Stats x = { .size = sizeof x };
	CHECK_DPI(DPI_Get_Source_Stats(s, &x));
	CHECK_INT(x.rows + x.unmatched, ==, PROBED);
	CHECK_INT(x.filtered, ==, 0);
	CHECK_DPI(DPI_Close_Source(s));
	end_thread(thread);
	sums[0] += PROBED;
	sums[1] += x.unmatched;
	sums[2] += (uint64_t)p.tally.total;
	sums[3] += p.good;
	harness_barrier();
	CHECK_INT(sums[1] + sums[2], ==, sums[0]);
	CHECK_INT(sums[3], ==, (uint64_t)BUILT * (uint64_t)ranks);
	/* one of a hundred others, half as many again at most */
	CHECK_INT((sums[2] - sums[3]) * 200, <, (sums[0] - sums[3]) * 3);
	CHECK_DPI(DPI_Close_Flow(f));
}

TEST(bloom_join, "FL-801 FL-804 FL-805 FL-806 FL-807", 4, .deadline_s = 180)
{
	DPI_Context ctx = join();
	build("built", 4, rank, ctx);
	DPI_Bloom bloom = open_bloom("built", ctx);
	probe("bandwidth", &(DPI_Flow_Attr){ 0 }, 4, rank, ctx, bloom);
	probe("latency", &(DPI_Flow_Attr){ .hint = DPI_HINT_LATENCY, .salt = 77 }, 4, rank, ctx, bloom);
	CHECK_DPI(DPI_Close_Bloom(bloom));
	leave(ctx);
}

/* Rows that do not pass are no rows to anything that stands behind: round robin, a sample by number, sums. */
TEST(bloom_comes_first, "FL-807", 1)
{
	static const DPI_Stage half[] = { { .kind = DPI_STAGE_SAMPLE, .fraction = 0.5 } };
	static const DPI_Aggregate count[] = { { .function = DPI_AGGREGATE_COUNT_ALL } };
	(void)rank;
	DPI_Context ctx = join();
	DPI_Flow f[2] = { FLOW("sample", ctx, .sources = 1, .stages = half, .stage_count = 1), FLOW("sums", ctx, .sources = 1, .aggregates = count, .aggregate_count = 1) };
	for (int i = 0; i < 2; i++) {
		DPI_Target t = target_of(0, f[i]);
		DPI_Source s = source_of(f[i]);
		DPI_Bloom bloom = bloom_of(f[i], 10);
		struct flow_row rows[200];
		DPI_Tuple u;
		int64_t came = 0;
		int error;
		for (int64_t k = 0; k < 10; k++) {
			rows[k] = row_of(0, k, k);
			CHECK_DPI(DPI_Insert_Bloom(&rows[k], sizeof *rows, 1, bloom));
		}
		CHECK_DPI(DPI_Set_Source_Bloom(bloom, s));
		CHECK_DPI(DPI_Close_Bloom(bloom));
		for (int64_t k = 0; k < 200; k++) rows[k] = row_of(0, k % 20, k);
		CHECK_DPI(DPI_Push_Batch(rows, 100, s, NULL));
		for (int64_t k = 100; k < 200; k++) CHECK_DPI(DPI_Push(&rows[k], sizeof *rows, s));
		uint64_t passed = 200 - unmatched(s);
		CHECK(passed >= 100 && passed < 200);
		CHECK_DPI(DPI_Close_Source(s));
		while (!(error = DPI_Next(t, &u))) came += i ? ((const int64_t *)u.data)[1] : 1;
		CHECK_INT(error, ==, DPI_ERR_END);
		CHECK_INT(came, ==, i ? passed : passed / 2);
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

/* ------------------------------------------------------------------------------------------------------ other rows */

/* Key columns of other names, widths and salts; NULL; rows that vary. */
TEST(bloom_joinable_keys, "FL-802 FL-803 FL-801", 1)
{
	static const DPI_Column columns[2][3] = {
		{ { "a", DPI_TYPE_INT32, 1, 0, 0, 0 }, { "b", DPI_TYPE_DECIMAL64, 0, 0, 12, 2 }, { "c", DPI_TYPE_UTF8, 1, 0, 0, 0 } },
		{ { "x", DPI_TYPE_BINARY, 1, 0, 0, 0 }, { "y", DPI_TYPE_INT64, 1, 0, 0, 0 }, { "z", DPI_TYPE_UINT8, 0, 0, 0, 0 } },
	};
	static const char *const key[2][3] = { { "a", "b", "c" }, { "y", "z", "x" } };
	DPI_Context ctx = join();
	DPI_Schema schema[2];
	DPI_Flow f[2];
	(void)rank;
	for (int i = 0; i < 2; i++) {
		CHECK_DPI(DPI_Create_Schema(columns[i], 3, &schema[i]));
		f[i] = FLOW(i ? "probe" : "build", ctx, .schema = schema[i], .key = key[i], .key_count = 3, .sources = 1, .salt = (uint64_t)i + 5);
	}
	DPI_Bloom bloom = bloom_of(f[0], 200);
	DPI_Target t = target_of(0, f[1]);
	DPI_Source s = source_of(f[1]);
	char text[16], row[200];
	size_t size;
	uint64_t nulls = 0;
	for (int round = 0; round < 2; round++) {
		if (round) CHECK_DPI(DPI_Set_Source_Bloom(bloom, s));
		for (int64_t i = 0; i < 200; i++) {
			bool null = i % 10 == 3, no_text = i % 10 == 4;
			uint32_t length = (uint32_t)snprintf(text, sizeof text, "text %d", (int)i * (int)i);
			DPI_Value number = { .type = null ? DPI_TYPE_NULL : round ? DPI_TYPE_INT64 : DPI_TYPE_INT32, .i = null ? 0 : 1000 - i };
			DPI_Value words = { .type = no_text ? DPI_TYPE_NULL : round ? DPI_TYPE_BINARY : DPI_TYPE_UTF8, .size = length, .data = text };
			if (!round) {
				DPI_Value price = { .type = DPI_TYPE_DECIMAL64, .i = i * 100 };
				CHECK_DPI(DPI_Pack_Row((DPI_Value[]){ number, price, words }, schema[0], row, sizeof row, &size));
				CHECK_DPI(DPI_Insert_Bloom(row, size, 1, bloom));
			} else {
				DPI_Value small = { .type = DPI_TYPE_UINT8, .u = (uint64_t)i };
				CHECK_DPI(DPI_Pack_Row((DPI_Value[]){ words, number, small }, schema[1], row, sizeof row, &size));
				uint64_t before = unmatched(s);
				CHECK_DPI(DPI_Push(row, size, s));
				CHECK_INT(unmatched(s) - before, ==, null || no_text);
				nulls += null || no_text;
			}
		}
	}
	CHECK_INT(nulls, ==, 40);
	CHECK_DPI(DPI_Close_Source(s));
	DPI_Tuple u;
	int64_t came = 0;
	while (!DPI_Next(t, &u)) came++;
	CHECK_INT(came, ==, 160);
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Close_Bloom(bloom));
	for (int i = 0; i < 2; i++) CHECK_DPI(DPI_Free_Schema(schema[i]));
	leave(ctx);
}

/* Segments of columns, both where keys are added and where rows are dropped. */
static void columns_join(bool varies, DPI_Context ctx)
{
	enum { ROWS = 2000 };
	char name[2][16];
	snprintf(name[0], sizeof name[0], "build %d", varies);
	snprintf(name[1], sizeof name[1], "probe %d", varies);
	DPI_Schema schema = columns_schema(varies);
	DPI_Flow f[2];
	for (int i = 0; i < 2; i++) f[i] = COLUMNS_FLOW(name[i], varies, ctx, .targets = 1, .sources = 1, .segment = 8192);
	DPI_Bloom bloom = bloom_of(f[0], ROWS);
	DPI_Target t = target_of(0, f[0]);
	DPI_Source s = source_of(f[0]);
	struct ArrowArray array;
	DPI_Batch b;
	DPI_Tuple u;
	size_t pushed;
	char row[256];
	int error = DPI_SUCCESS;
	columns_batch(varies, 0, 0, ROWS, 3, &array);
	CHECK_DPI(DPI_Push_Arrow(&array, NULL, s, NULL));
	array.release(&array);
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Next(t, &u)); /* what is left of its run is added, too; the row itself may be */
	CHECK_DPI(DPI_Set_Target_Bloom(bloom, t));
	for (int n = 0; !error; n++) {
		if (n % 3 == 0) error = DPI_Next_Arrow(t, &b, &array, NULL);
		else if (n % 3 == 1) error = DPI_Next(t, &u);
		else error = DPI_Next_Batch(t, &b);
		if (!error && n % 3 == 0) array.release(&array);
		if (!error && n % 3 == 2) CHECK_DPI(DPI_Release_Batch(1, t));
	}
	CHECK_INT(error, ==, DPI_ERR_END);
	CHECK_DPI(DPI_Close_Target(t));

	struct flow_tally tally = { 0 };
	t = target_of(0, f[1]);
	s = source_of(f[1]);
	CHECK_DPI(DPI_Set_Source_Bloom(bloom, s));
	CHECK_DPI(DPI_Close_Bloom(bloom));
	columns_batch(varies, 0, 1, 2 * ROWS - 1, 5, &array);
	CHECK_DPI(DPI_Push_Arrow(&array, NULL, s, &pushed));
	CHECK_INT(pushed, ==, 2 * ROWS - 1);
	array.release(&array);
	for (int64_t i = 2 * ROWS; i < 2 * ROWS + 100; i++) {
		size_t size = columns_row(schema, varies, 0, i, row, sizeof row);
		CHECK_DPI(varies ? DPI_Push(row, size, s) : DPI_Push_Batch(row, 1, s, NULL));
	}
	uint64_t dropped = unmatched(s);
	CHECK_INT(dropped, <=, ROWS + 100);
	CHECK_INT(dropped, >, ROWS * 97 / 100);
	CHECK_DPI(DPI_Close_Source(s));
	while (!(error = DPI_Next(t, &u))) columns_take_row(schema, varies, u.data, u.size, &tally);
	CHECK_INT(tally.total + (int64_t)dropped, ==, 2 * ROWS + 99);
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Free_Schema(schema));
}

TEST(bloom_columns, "FL-804 FL-807 FL-801", 1)
{
	(void)rank;
	DPI_Context ctx = join();
	columns_join(false, ctx);
	columns_join(true, ctx);
	leave(ctx);
}

/* Results of reduce have keys, too; a key that a stage leaves out has nobody. */
TEST(bloom_of_results, "FL-804", 1)
{
	static const DPI_Aggregate count[] = { { .function = DPI_AGGREGATE_COUNT_ALL } };
	static const DPI_Stage_Column number[] = { { .name = "number" } };
	static const DPI_Stage project[] = { { .kind = DPI_STAGE_PROJECT, .columns = number, .column_count = 1 } };
	(void)rank;
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("sums", ctx, .sources = 1, .aggregates = count, .aggregate_count = 1), g = FLOW("none", ctx, .stages = project, .stage_count = 1);
	DPI_Target t = target_of(0, f), u = target_of(0, g);
	DPI_Source s = source_of(f), to = source_of(FLOW("probe", ctx, .targets = 1));
	DPI_Bloom bloom = bloom_of(f, 1000), other = bloom_of(g, 1000);
	DPI_Tuple tuple;
	CHECK_ERROR(DPI_Set_Target_Bloom(other, u), DPI_ERR_UNSUPPORTED, "\"key\"");
	CHECK_DPI(DPI_Set_Target_Bloom(bloom, t));
	push_rows(s, 0, 0, 1000);
	push_rows(s, 0, 0, 1000);
	CHECK_DPI(DPI_Close_Source(s));
	while (!DPI_Next(t, &tuple)) continue;
	CHECK_DPI(DPI_Set_Source_Bloom(bloom, to));
	DPI_Target end = target_of(0, FLOW("probe", ctx, .targets = 1));
	push_rows(to, 0, 0, 1000);
	CHECK_INT(unmatched(to), ==, 0);
	push_rows(to, 0, 1000, 1000);
	CHECK_INT(unmatched(to), >, 970);
	CHECK_DPI(DPI_Close_Target(end));
	leave(ctx);
}

TEST(bloom_acknowledged, "FL-808", 1)
{
	(void)rank;
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .ack = DPI_ACK_CONFIRMED, .ack_up_to = 1, .ack_pending = 64);
	DPI_Target t = target_of(0, f);
	DPI_Source s = source_of(f);
	DPI_Bloom bloom = bloom_of(f, 10);
	struct flow_row rows[30];
	uint64_t position;
	int acknowledged;
	for (int64_t i = 0; i < 30; i++) rows[i] = row_of(0, i + 1000, i);
	CHECK_DPI(DPI_Insert_Bloom(rows, sizeof *rows, 10, bloom));
	CHECK_DPI(DPI_Set_Source_Bloom(bloom, s));
	CHECK_DPI(DPI_Push_Batch(rows + 10, 10, s, NULL)); /* rows 1 … 10 */
	uint64_t dropped = unmatched(s);
	CHECK_INT(dropped, ==, 10);
	CHECK_DPI(DPI_Wait_Ack(10, s));
	CHECK_DPI(DPI_Push_Batch(rows, 10, s, NULL)); /* … 20 */
	CHECK_DPI(DPI_Push(&rows[20], sizeof *rows, s));
	CHECK_INT(unmatched(s), ==, 11);
	CHECK_DPI(DPI_Get_Source_Position(s, &position));
	CHECK_INT(position, ==, 21);
	CHECK_DPI(DPI_Flush_Source(s));
	CHECK_DPI(DPI_Test_Ack(21, s, &acknowledged));
	CHECK(!acknowledged); /* not before the ten that travel */
	DPI_Tuple u;
	for (int i = 0; i < 10; i++) CHECK_DPI(DPI_Next(t, &u));
	CHECK_DPI(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, t));
	CHECK_DPI(DPI_Wait_Ack(21, s));
	void *room;
	CHECK_DPI(DPI_Reserve(sizeof *rows, 0, s, &room));
	memcpy(room, &rows[21], sizeof *rows);
	CHECK_DPI(DPI_Commit(sizeof *rows, s));
	CHECK_INT(unmatched(s), ==, 12);
	CHECK_DPI(DPI_Wait_Ack(22, s));
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_INT(DPI_Next(t, &u), ==, DPI_ERR_END);
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Close_Bloom(bloom));
	leave(ctx);
}

/* What is kept by a wait, and what is left of a run, is added. */
TEST(bloom_set_midway, "FL-804 FL-809", 1)
{
	enum { ROWS = 1000 };
	(void)rank;
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1), g = FLOW("g", ctx, .sources = 1);
	DPI_Target t = target_of(0, f), end = target_of(0, g);
	DPI_Source s = source_of(f), to = source_of(g);
	DPI_Bloom bloom = bloom_of(f, ROWS), second = bloom_of(f, ROWS);
	DPI_Tuple u;
	size_t which;
	push_rows(s, 0, 0, ROWS);
	CHECK_DPI(DPI_Flush_Source(s));
	CHECK_DPI(DPI_Next(t, &u));
	CHECK_DPI(DPI_Set_Target_Bloom(bloom, t));
	CHECK_ERROR(DPI_Set_Target_Bloom(bloom, t), DPI_ERR_STATE, "a target adds");
	CHECK_ERROR(DPI_Set_Source_Bloom(bloom, to), DPI_ERR_STATE, "a target adds");
	CHECK_ERROR(DPI_Publish_Bloom("b", 1, bloom), DPI_ERR_STATE, "a target adds");
	struct flow_row r = row_of(0, 1, 1);
	CHECK_ERROR(DPI_Insert_Bloom(&r, sizeof r, 1, bloom), DPI_ERR_STATE, "a target adds");
	for (int i = 1; i < ROWS; i++) CHECK_DPI(DPI_Next(t, &u));
	push_rows(s, 0, ROWS, 10);
	CHECK_DPI(DPI_Flush_Source(s));
	CHECK_DPI(DPI_Wait_Targets(&t, 1, 0, &which));
	CHECK_DPI(DPI_Set_Target_Bloom(second, t)); /* the one it had is free now */
	for (int i = 0; i < 10; i++) CHECK_DPI(DPI_Next(t, &u));
	CHECK_DPI(DPI_Set_Target_Bloom(NULL, t));
	CHECK_DPI(DPI_Set_Source_Bloom(bloom, to));
	push_rows(to, 0, 1, ROWS - 1);
	CHECK_INT(unmatched(to), ==, 0);
	CHECK_DPI(DPI_Set_Source_Bloom(second, to));
	push_rows(to, 0, ROWS, 10);
	CHECK_INT(unmatched(to), ==, 0);
	push_rows(to, 0, 2 * ROWS, 1000);
	CHECK_INT(unmatched(to), ==, 1000); /* ten keys where a thousand may be */
	CHECK_DPI(DPI_Set_Source_Bloom(NULL, to));
	push_rows(to, 0, 3 * ROWS, 1000);
	CHECK_INT(unmatched(to), ==, 1000);
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_INT(DPI_Next(t, &u), ==, DPI_ERR_END);
	DPI_Bloom late = bloom_of(f, 10);
	CHECK_ERROR(DPI_Set_Target_Bloom(late, t), DPI_ERR_STATE, "ended");
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Close_Source(to));
	struct flow_tally tally = { 0 };
	flow_drain(end, &tally);
	CHECK_INT(tally.total, ==, ROWS - 1 + 10 + 1000);
	CHECK_DPI(DPI_Close_Target(end));
	leave(ctx);
}

/* ---------------------------------------------------------------------------------------------------- retained flows */

/* The first row's number is first, and the numbers go up by step to below end. */
static void take_every(DPI_Target t, int64_t first, int64_t end, int64_t step)
{
	DPI_Tuple u;
	for (int64_t n = first; n < end; n += step) {
		CHECK_DPI(DPI_Next(t, &u));
		CHECK_INT(((const struct flow_row *)u.data)->number, ==, n);
	}
}

/* A target that is bound anew gets what passed, though the filter is another's by then; positions count that alone. A source that could
 * resume has none. */
TEST(bloom_retained, "FL-812", 1)
{
	enum { KEYS = 400 };
	(void)rank;
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 1, .sources = 2, .retain = DPI_ACK_CONFIRMED, .segment = 512, .resume_us = SECOND);
	DPI_Target_Attr again = DPI_TARGET_ATTR_INIT;
	DPI_Source_Attr with = DPI_SOURCE_ATTR_INIT;
	DPI_Target t = target_of(0, f), second;
	DPI_Source s = source_of(f), resumes;
	DPI_Bloom_Attr a = DPI_BLOOM_ATTR_INIT;
	DPI_Bloom even, third;
	DPI_Tuple u;
	uint64_t taken;
	a.expected = KEYS, a.rate = 1e-6;
	CHECK_DPI(DPI_Create_Bloom(f, &a, &even));
	CHECK_DPI(DPI_Create_Bloom(f, &a, &third));
	for (int64_t k = 0; k < KEYS; k++) {
		struct flow_row r = row_of(0, k, k);
		if (k % 2 == 0) CHECK_DPI(DPI_Insert_Bloom(&r, sizeof r, 1, even));
		if (k % 3 == 0) CHECK_DPI(DPI_Insert_Bloom(&r, sizeof r, 1, third));
	}
	with.id = 7;
	CHECK_DPI(DPI_Open_Source(f, &with, &resumes));
	CHECK_ERROR(DPI_Set_Source_Bloom(even, resumes), DPI_ERR_UNSUPPORTED, "has the id 7");
	CHECK_DPI(DPI_Set_Source_Bloom(NULL, resumes));
	CHECK_DPI(DPI_Close_Source(resumes));

	CHECK_DPI(DPI_Set_Source_Bloom(even, s));
	push_rows(s, 0, 0, KEYS / 2);
	CHECK_DPI(DPI_Flush_Source(s));
	take_every(t, 0, KEYS / 4, 2);
	CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, t));
	take_every(t, KEYS / 4, KEYS / 2, 2);
	CHECK_DPI(DPI_Get_Taken(0, t, &taken));
	CHECK_INT(taken, ==, KEYS / 4);
	CHECK_DPI(DPI_Set_Source_Bloom(third, s));
	again.rebind = 1;
	DPI_Position position = { 0, KEYS / 8 };
	again.position = &position, again.positions = 1;
	CHECK_DPI(DPI_Open_Target(0, &again, f, &second));
	push_rows(s, 0, KEYS / 2 + 1, KEYS / 2 - 1);
	CHECK_DPI(DPI_Flush_Source(s));
	take_every(second, KEYS / 4, KEYS / 2, 2);
	take_every(second, KEYS / 2 + 1, KEYS, 3);
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_FENCED, " ");
	CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, second));
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_ERROR(DPI_Next(second, &u), DPI_ERR_END, "has ended");
	CHECK_DPI(DPI_Close_Target(second));
	CHECK_DPI(DPI_Close_Target(t));
	leave(ctx);
}

/* ------------------------------------------------------------------------------------------------------- publishing */

TEST(bloom_parts, "FL-805 FL-806 FL-809 FL-810", 3)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 1);
	DPI_Bloom mine = bloom_of(f, 300), whole;
	struct flow_row r;
	for (int64_t i = 0; i < 100; i++) {
		r = row_of(rank, rank * 100 + i, i);
		CHECK_DPI(DPI_Insert_Bloom(&r, sizeof r, 1, mine));
	}
	if (rank == 0) {
		CHECK_ERROR(DPI_Open_Bloom("b", DPI_NO_WAIT, ctx, &whole), DPI_ERR_NAME, "'b'");
		CHECK_DPI(DPI_Publish_Bloom("b", 3, mine));
		CHECK_ERROR(DPI_Publish_Bloom("b", 3, mine), DPI_ERR_STATE, "published already");
		CHECK_ERROR(DPI_Insert_Bloom(&r, sizeof r, 1, mine), DPI_ERR_STATE, "is published");
		CHECK_ERROR(DPI_Open_Bloom("b", DPI_NO_WAIT, ctx, &whole), DPI_ERR_NAME, "1 of 3");
		CHECK(!whole);
		CHECK_ERROR(DPI_Open_Bloom("b", 20 * MS, ctx, &whole), DPI_ERR_NAME, "1 of 3");
	}
	harness_barrier();
	if (rank == 1) {
		DPI_Bloom larger = bloom_of(f, 30000), smaller = bloom_of(f, 10);
		CHECK_ERROR(DPI_Publish_Bloom("b", 2, mine), DPI_ERR_ARGUMENT, "in 3 parts, and you in 2");
		CHECK_ERROR(DPI_Publish_Bloom("b", 3, larger), DPI_ERR_ARGUMENT, "the same attr");
		CHECK_ERROR(DPI_Publish_Bloom("b", 3, smaller), DPI_ERR_ARGUMENT, "the same attr");
		CHECK_DPI(DPI_Publish_Bloom("b", 3, mine));
	}
	harness_barrier();
	DPI_Source s = source_of(f);
	if (rank == 2) { /* the others wait for it, or come later */
		CHECK_DPI(DPI_Publish_Bloom("b", 3, mine));
		CHECK_ERROR(DPI_Set_Source_Bloom(mine, s), DPI_ERR_STATE, "one of the 3 parts");
		DPI_Bloom fourth = bloom_of(f, 300);
		CHECK_ERROR(DPI_Publish_Bloom("b", 3, fourth), DPI_ERR_EXISTS, "all 3 parts");
	}
	whole = open_bloom("b", ctx);
	CHECK_ERROR(DPI_Insert_Bloom(&r, sizeof r, 1, whole), DPI_ERR_STATE, "opened by its name");
	harness_barrier();
	if (rank == 0) {
		CHECK_DPI(DPI_Destroy_Bloom("b", ctx));
		CHECK_ERROR(DPI_Destroy_Bloom("b", ctx), DPI_ERR_NAME, "'b'");
	}
	harness_barrier();
	DPI_Bloom none;
	CHECK_ERROR(DPI_Open_Bloom("b", DPI_NO_WAIT, ctx, &none), DPI_ERR_NAME, "'b'");
	/* the copy stays; closed, a source still has it */
	CHECK_DPI(DPI_Set_Source_Bloom(whole, s));
	CHECK_DPI(DPI_Close_Bloom(whole));
	CHECK_ERROR(DPI_Close_Bloom(whole), DPI_ERR_HANDLE, "Bloom filter");
	DPI_Target t = rank ? NULL : target_of(0, f);
	harness_barrier();
	push_rows(s, rank, 0, 300);
	CHECK_INT(unmatched(s), ==, 0);
	push_rows(s, rank, 1000, 1000);
	CHECK_INT(unmatched(s), >, 970);
	CHECK_DPI(DPI_Close_Source(s));
	harness_barrier();
	if (t) CHECK_DPI(DPI_Seal_Flow(f));
	if (t) flow_drain(t, &(struct flow_tally){ 0 });
	if (t) CHECK_DPI(DPI_Close_Target(t));
	/* the name is free again */
	if (rank == 1) CHECK_DPI(DPI_Publish_Bloom("b", 1, bloom_of(f, 10)));
	leave(ctx);
}

/* What was published ends with the process that has it. */
TEST(bloom_holder_dies, "FL-810", 3)
{
	_Atomic int *seen = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 1);
	DPI_Bloom whole;
	if (rank == 2) CHECK_DPI(DPI_Publish_Bloom("b", 2, bloom_of(f, 10)));
	harness_barrier();
	if (rank == 1) CHECK_DPI(DPI_Publish_Bloom("b", 2, bloom_of(f, 10)));
	harness_barrier();
	whole = open_bloom("b", ctx);
	harness_barrier();
	if (rank == 2) harness_kill(2, SIGKILL);
	DPI_Bloom again = NULL;
	int error;
	UNTIL(20 * SECOND, error == DPI_ERR_NAME, error = DPI_Open_Bloom("b", DPI_NO_WAIT, ctx, &again); if (!error) CHECK_DPI(DPI_Close_Bloom(again)));
	CHECK_DPI(DPI_Close_Bloom(whole));
	if (rank) *seen = 1;
	else AWAIT(*seen); /* the registry is here */
	CHECK_DPI(DPI_Finalize(ctx));
}

/* ----------------------------------------------------------------------------------------------------------- misuse */

TEST(bloom_misuse, "FL-800 FL-802 FL-809", 1)
{
	static const DPI_Column columns[] = { { "date", DPI_TYPE_DATE32, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 0, 0, 0, 0 } };
	static const char *const keys[] = { "date", "text" };
	(void)rank;
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 1), round = FLOW("round", ctx, .dist = DPI_DIST_ROUND_ROBIN);
	DPI_Schema schema;
	CHECK_DPI(DPI_Create_Schema(columns, 2, &schema));
	DPI_Flow dates = FLOW("dates", ctx, .schema = schema, .key = keys, .key_count = 1), both = FLOW("both", ctx, .schema = schema, .key = keys, .key_count = 2);
	DPI_Bloom bloom = (DPI_Bloom)1;
	DPI_Bloom_Attr a = DPI_BLOOM_ATTR_INIT;
	CHECK_ERROR(DPI_Create_Bloom(f, NULL, &bloom), DPI_ERR_ARGUMENT, "attr is NULL");
	CHECK(!bloom);
	CHECK_ERROR(DPI_Create_Bloom(f, &a, NULL), DPI_ERR_ARGUMENT, "bloom is NULL");
	CHECK_ERROR(DPI_Create_Bloom(f, &a, &bloom), DPI_ERR_ARGUMENT, "attr->expected");
	a.expected = 100;
	a.rate = 0.6;
	CHECK_ERROR(DPI_Create_Bloom(f, &a, &bloom), DPI_ERR_ARGUMENT, "attr->rate is 0.6");
	a.rate = 1e-7;
	CHECK_ERROR(DPI_Create_Bloom(f, &a, &bloom), DPI_ERR_ARGUMENT, "attr->rate");
	a.rate = 0;
	a.memory = UINT64_C(2) << 30;
	CHECK_ERROR(DPI_Create_Bloom(f, &a, &bloom), DPI_ERR_ARGUMENT, "attr->memory");
	a.memory = 1000;
	a.expected = 10000;
	CHECK_ERROR(DPI_Create_Bloom(f, &a, &bloom), DPI_ERR_LIMIT, "1000");
	a.memory = 0;
	CHECK_ERROR(DPI_Create_Bloom(round, &a, &bloom), DPI_ERR_UNSUPPORTED, "no key columns");
	CHECK_ERROR(DPI_Create_Bloom(NULL, &a, &bloom), DPI_ERR_ARGUMENT, "flow");
	CHECK_DPI(DPI_Create_Bloom(f, &a, &bloom));

	struct flow_row rows[2] = { row_of(0, 1, 1), row_of(0, 2, 2) };
	CHECK_ERROR(DPI_Insert_Bloom(NULL, sizeof *rows, 1, bloom), DPI_ERR_ARGUMENT, "rows is NULL");
	CHECK_ERROR(DPI_Insert_Bloom(rows, 7, 1, bloom), DPI_ERR_SIZE, "7");
	CHECK_ERROR(DPI_Insert_Bloom(rows, sizeof *rows, 1, NULL), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(DPI_Insert_Bloom(rows, sizeof *rows, 1, (DPI_Bloom)f), DPI_ERR_HANDLE, "flow");
	CHECK_DPI(DPI_Insert_Bloom(NULL, sizeof *rows, 0, bloom));
	CHECK_DPI(DPI_Insert_Bloom(rows, sizeof *rows, 2, bloom));
	CHECK_ERROR(DPI_Publish_Bloom("", 1, bloom), DPI_ERR_ARGUMENT, "name");
	CHECK_ERROR(DPI_Publish_Bloom("b", 0, bloom), DPI_ERR_ARGUMENT, "parts is 0");
	CHECK_ERROR(DPI_Publish_Bloom("b", DPI_BLOOM_PARTS_MAX + 1, bloom), DPI_ERR_ARGUMENT, "parts is");
	char name[DPI_NAME_MAX];
	memset(name, 'n', sizeof name);
	name[DPI_NAME_MAX - 8] = 0;
	CHECK_ERROR(DPI_Publish_Bloom(name, 1, bloom), DPI_ERR_ARGUMENT, "more");

	DPI_Bloom varies = NULL;
	CHECK_DPI(DPI_Create_Bloom(both, &a, &varies));
	CHECK_ERROR(DPI_Insert_Bloom(rows, 20, 2, varies), DPI_ERR_USE, "one by one");
	CHECK_ERROR(DPI_Insert_Bloom(rows, 3, 1, varies), DPI_ERR_CORRUPT, "3 bytes");
	DPI_Source s = source_of(f), date = source_of(dates), two = source_of(both), none = source_of(round);
	DPI_Target t = target_of(0, dates);
	CHECK_ERROR(DPI_Set_Source_Bloom(bloom, none), DPI_ERR_UNSUPPORTED, "no key columns");
	CHECK_ERROR(DPI_Set_Source_Bloom(bloom, date), DPI_ERR_UNSUPPORTED, "\"date\"");
	CHECK_ERROR(DPI_Set_Source_Bloom(bloom, date), DPI_ERR_UNSUPPORTED, "INT64");
	CHECK_ERROR(DPI_Set_Source_Bloom(bloom, two), DPI_ERR_UNSUPPORTED, "1 columns");
	CHECK_ERROR(DPI_Set_Target_Bloom(bloom, t), DPI_ERR_UNSUPPORTED, "DATE32");
	CHECK_DPI(DPI_Insert_Bloom(rows, sizeof *rows, 1, bloom)); /* no source has it */
	DPI_Target end = target_of(0, f);
	void *room;
	CHECK_DPI(DPI_Reserve(sizeof *rows, 0, s, &room));
	CHECK_ERROR(DPI_Set_Source_Bloom(bloom, s), DPI_ERR_STATE, "room is handed out");
	CHECK_DPI(DPI_Discard(s));
	CHECK_DPI(DPI_Set_Source_Bloom(bloom, s));
	CHECK_ERROR(DPI_Insert_Bloom(rows, sizeof *rows, 1, bloom), DPI_ERR_STATE, "is a source's");
	CHECK_ERROR(DPI_Set_Target_Bloom(bloom, end), DPI_ERR_STATE, "is a source's");
	CHECK_ERROR(DPI_Open_Bloom("f", DPI_NO_WAIT, ctx, &varies), DPI_ERR_NAME, "is a flow");
	CHECK_ERROR(DPI_Open_Bloom("b", -7, ctx, &varies), DPI_ERR_ARGUMENT, "wait_us");
	CHECK_ERROR(DPI_Open_Bloom("b", 0, ctx, NULL), DPI_ERR_ARGUMENT, "bloom is NULL");
	/* the name is a flow's: found out by the last part */
	CHECK_ERROR(DPI_Publish_Bloom("f", 1, bloom), DPI_ERR_EXISTS, "'f'");
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}
