/* SPDX-License-Identifier: Apache-2.0
 * flow_columns.c: flows whose segments are columns: rows and record batches in, rows and record batches out. */
#include "flow_columns_kit.h"

#define ROWS 6000

/* ---------------------------------------------------------------------------------------------------- every way each end */

TEST(columns_ways, "FL-470 FL-471 FL-472 FL-479", 3, .deadline_s = 120)
{
	DPI_Context ctx = join();
	uint64_t *counts = harness_shared();
	for (int round = 0; round < 8; round++) {
		char name[16];
		bool varies = round % 4 < 3 && round != 2; /* rows of one size are pushed by the batch, too */
		int way = round % 4;
		snprintf(name, sizeof name, "f%d", round);
		DPI_Flow f = COLUMNS_FLOW(name, varies, ctx, .targets = 3, .sources = 3, .segment = round < 4 ? 2048 : 0);
		struct columns_taker t = { .target = target_of((uint32_t)rank, f), .schema = columns_schema(varies), .way = (round + rank) % 6, .varies = varies };
		DPI_Source s = source_of(f);
		pthread_t thread = start_thread(columns_take, &t);
		columns_push_by(way, varies, t.schema, s, rank, ROWS);
		DPI_Source_Stats ss = { .size = sizeof ss };
		CHECK_DPI(DPI_Get_Source_Stats(s, &ss));
		CHECK_INT(ss.rows, ==, ROWS);
		__atomic_fetch_add(&counts[100 + round], ss.bytes, __ATOMIC_SEQ_CST);
		CHECK_DPI(DPI_Close_Source(s));
		end_thread(thread);
		DPI_Target_Stats ts = { .size = sizeof ts };
		CHECK_DPI(DPI_Get_Target_Stats(t.target, &ts));
		CHECK_INT(ts.rows, ==, t.tally.total);
		CHECK_DPI(DPI_Close_Target(t.target));
		CHECK_DPI(DPI_Free_Schema(t.schema));
		__atomic_fetch_add(&counts[round], (uint64_t)t.tally.total, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(&counts[200 + round], ts.bytes, __ATOMIC_SEQ_CST);
		harness_barrier();
		CHECK_INT(counts[round], ==, 3 * ROWS);
		CHECK_INT(counts[100 + round], ==, counts[200 + round]);
		CHECK_DPI(DPI_Close_Flow(f));
	}
	leave(ctx);
}

/* --------------------------------------------------------------------------------------------------------- where they go */

static int by_number(const void *row, size_t size, uint64_t key, uint32_t targets, void *arg, uint32_t *to, uint32_t *count)
{
	int64_t number;
	(void)size, (void)key, (void)arg;
	memcpy(&number, row, 8);
	*count = (uint32_t)(number % 3); /* none, one, two */
	for (uint32_t i = 0; i < *count; i++) to[i] = (uint32_t)(number + i) % targets;
	return DPI_SUCCESS;
}

static void where(int rank, int layout, uint32_t segment)
{
	static const uint32_t table[] = { 1, 0, 0, 1, 1 };
	static const int64_t bound[] = { 700 };
	static const char *const keys[] = { "text", "price", "flag", "small", "fixed" };
	static const char *const key[] = { "key" };
	DPI_Values bounds = { .type = DPI_TYPE_INT64, .data = bound };
	DPI_Flow_Attr attrs[] = {
		{ .key = keys, .key_count = 5, .salt = 3 }, { .dist = DPI_DIST_RADIX, .shift = 2 },
		{ .dist = DPI_DIST_RANGE, .bounds = &bounds }, { .dist = DPI_DIST_TABLE, .table = table, .table_size = 5 },
		{ .key = key, .key_count = 1 }, { .dist = DPI_DIST_BROADCAST },
		{ .dist = DPI_DIST_ROUND_ROBIN }, { .dist = DPI_DIST_FUNCTION, .dist_function = "columns by number", .key = keys, .key_count = 2 },
	};
	DPI_Context ctx = join();
	DPI_Schema schema = columns_schema(true);
	CHECK_DPI(DPI_Register_Dist("columns by number", 0, by_number, NULL));
	for (int d = 0; d < 8; d++) {
		char name[16], row[256];
		struct flow_tally tally = { 0 };
		DPI_Flow_Attr a = attrs[d];
		DPI_Tuple u;
		int64_t due = 0;
		int error;
		snprintf(name, sizeof name, "f%d", d);
		a.size = sizeof a;
		a.targets = a.sources = 2;
		a.segment = segment;
		a.layout = layout;
		DPI_Flow f = columns_flow(name, true, &a, ctx);
		DPI_Target t = target_of((uint32_t)rank, f);
		DPI_Source s = source_of(f);
		struct ArrowArray batch;
		columns_batch(true, rank, 0, 1500, 0, &batch);
		CHECK_DPI(DPI_Push_Arrow(&batch, NULL, s, NULL));
		CHECK_DPI(DPI_Close_Source(s));
		while (!(error = DPI_Next(t, &u))) columns_take_row(schema, true, u.data, u.size, &tally);
		CHECK_INT(error, ==, DPI_ERR_END);
		for (int from = 0; from < 2; from++)
			for (int64_t i = 0; i < 1500; i++) {
				uint32_t to[2], count;
				if (d == 6) {
					due += (from + i) % 2 == rank;
					continue;
				}
				size_t size = columns_row(schema, true, from, i, row, sizeof row);
				CHECK_DPI(DPI_Route(row, size, f, to, &count));
				for (uint32_t k = 0; k < count; k++) due += to[k] == (uint32_t)rank;
			}
		CHECK_INT(tally.total, ==, due);
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

TEST(columns_where, "FL-470 FL-471", 2, .deadline_s = 120) { where(rank, DPI_LAYOUT_COLUMNS, 0); }
TEST(columns_to_rows_where, "FL-471", 2, .deadline_s = 120) { where(rank, DPI_LAYOUT_ROWS, 0); }

static void released(struct ArrowArray *array)
{
	array->release = NULL;
}

/* Rows of texts of any length, some larger than a segment, some NULL; in order, and each where it would go by itself. */
TEST(columns_to_large_rows, "FL-406 FL-471", 1)
{
	enum { COUNT = 3000, MOST = 1500 };
	static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 1, 0, 0, 0 } };
	static const char *const key[] = { "key" };
	static int64_t number[COUNT];
	static int32_t offset[COUNT + 1];
	static uint8_t valid[COUNT / 8 + 1];
	DPI_Context ctx = join();
	DPI_Flow_Attr *a = FLOW_ATTR(.targets = 2, .segment = 512, .key = key, .key_count = 1);
	DPI_Flow f;
	CHECK_DPI(DPI_Create_Schema(columns, 2, &a->schema));
	CHECK_DPI(DPI_Create_Flow("f", a, ctx, &f));
	DPI_Target t[] = { target_of(0, f), target_of(1, f) };
	DPI_Source s = source_of(f);
	char *text = malloc((size_t)COUNT * MOST);
	for (int i = 0; i < COUNT; i++) {
		number[i] = i;
		offset[i + 1] = offset[i] + (i % 11 ? i * 7 % (i % 5 ? 60 : MOST) : 0);
		memset(text + offset[i], 'a' + i % 26, (size_t)(offset[i + 1] - offset[i]));
		if (i % 11) valid[i / 8] |= (uint8_t)(1u << i % 8);
	}
	const void *none[] = { NULL }, *numbers[] = { NULL, number }, *texts[] = { valid, offset, text };
	struct ArrowArray child[] = { { .length = COUNT, .n_buffers = 2, .buffers = numbers, .release = released },
				      { .length = COUNT, .null_count = -1, .n_buffers = 3, .buffers = texts, .release = released } };
	struct ArrowArray *children[] = { &child[0], &child[1] };
	struct ArrowArray batch = { .length = COUNT, .n_buffers = 1, .buffers = none, .n_children = 2, .children = children, .release = released };
	size_t pushed;
	CHECK_DPI(DPI_Push_Arrow(&batch, NULL, s, &pushed));
	CHECK_INT(pushed, ==, COUNT);
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Seal_Flow(f));
	int taken = 0, error;
	for (uint32_t n = 0; n < 2; n++) {
		DPI_Tuple u;
		int64_t last = -1;
		for (; !(error = DPI_Next(t[n], &u)); taken++) {
			DPI_Value v[2];
			uint32_t to, count;
			for (size_t k = 0; k < 2; k++) CHECK_DPI(DPI_Get_Value(u.data, u.size, k, a->schema, &v[k]));
			CHECK_DPI(DPI_Route(u.data, u.size, f, &to, &count));
			CHECK_INT(to, ==, n);
			CHECK_INT(v[0].i, >, last);
			last = v[0].i;
			CHECK_INT(v[1].type == DPI_TYPE_NULL, ==, last % 11 == 0);
			if (last % 11 == 0) continue;
			CHECK_INT(v[1].size, ==, offset[last + 1] - offset[last]);
			CHECK(!memcmp(v[1].data, text + offset[last], v[1].size));
		}
		CHECK_INT(error, ==, DPI_ERR_END);
	}
	CHECK_INT(taken, ==, COUNT);
	CHECK_DPI(DPI_Free_Schema(a->schema));
	free(text);
	leave(ctx);
}

/* ---------------------------------------------------------------------------------------------------- when they travel */

static int64_t waiting(DPI_Target t)
{
	struct ArrowArray a;
	DPI_Batch b;
	int64_t rows;
	CHECK_DPI(DPI_Next_Arrow(t, &b, &a, NULL));
	if (b.kind == DPI_TUPLE_MARK) return -(int64_t)b.mark;
	rows = a.length;
	a.release(&a);
	return rows;
}

/* One process, so that what has not travelled is known not to come. */
TEST(columns_travel, "FL-473 FL-474", 1)
{
	DPI_Context ctx = join();
	struct ArrowArray batch, array;
	DPI_Batch b;
	DPI_Flow f = COLUMNS_FLOW("f", true, ctx, .sources = 1, .linger_us = 1000 * SECOND);
	DPI_Target t = target_of(0, f);
	DPI_Tuple u;
	DPI_Source s = source_of(f);
	columns_batch(true, 0, 0, 10, 0, &batch);
	CHECK_DPI(DPI_Push_Arrow(&batch, NULL, s, NULL));
	CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, "nothing");
	CHECK_DPI(DPI_Flush_Source(s));
	CHECK_INT(waiting(t), ==, 10);
	columns_batch(true, 0, 10, 7, 3, &batch);
	CHECK_DPI(DPI_Push_Arrow(&batch, NULL, s, NULL));
	CHECK_DPI(DPI_Push_Mark(5, s));
	CHECK_INT(waiting(t), ==, 7);
	CHECK_INT(waiting(t), ==, -5);
	columns_batch(true, 0, 17, 3, 0, &batch);
	CHECK_DPI(DPI_Push_Arrow(&batch, NULL, s, NULL));
	CHECK_DPI(DPI_Flush_Source(s));
	CHECK_DPI(DPI_Flush_Source(s));
	columns_batch(true, 0, 20, 2, 0, &batch);
	CHECK_DPI(DPI_Push_Arrow(&batch, NULL, s, NULL));
	batch.length = 0; /* a batch of no rows */
	CHECK_DPI(DPI_Push_Arrow(&batch, NULL, s, NULL));
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_INT(waiting(t), ==, 3);
	CHECK_INT(waiting(t), ==, 2);
	CHECK_ERROR(DPI_Next_Arrow(t, &b, &array, NULL), DPI_ERR_END, "'f'");
	CHECK(!array.release);
	CHECK_DPI(DPI_Close_Target(t));

	DPI_Flow g = COLUMNS_FLOW("g", true, ctx, .sources = 1, .linger_us = 1000);
	t = target_of(0, g);
	s = source_of(g);
	columns_batch(true, 0, 0, 10, 0, &batch);
	CHECK_DPI(DPI_Push_Arrow(&batch, NULL, s, NULL));
	int64_t came = 0;
	while (came < 10) came += waiting(t); /* it does no more, and they come */
	CHECK_INT(came, ==, 10);
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Close_Target(t));

	DPI_Flow h = COLUMNS_FLOW("h", true, ctx, .sources = 1, .hint = DPI_HINT_LATENCY);
	t = target_of(0, h);
	s = source_of(h);
	columns_batch(true, 0, 0, 10, 0, &batch);
	CHECK_DPI(DPI_Push_Arrow(&batch, NULL, s, NULL));
	CHECK_INT(waiting(t), ==, 10);
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Close_Target(t));
	leave(ctx);
}

static void keep(struct ArrowArray *a)
{
	a->release = NULL;
}

/* Rows that are larger than a segment, between others. */
TEST(columns_large, "FL-475", 2)
{
	enum { LARGE = 40000 };
	DPI_Context ctx = join();
	static const DPI_Column columns[] = { { "n", DPI_TYPE_INT32, 0, 0, 0, 0 }, { "bytes", DPI_TYPE_BINARY, 1, 0, 0, 0 } };
	static char bytes[LARGE], row[LARGE + 64];
	DPI_Schema schema;
	memset(bytes, 'x', sizeof bytes);
	CHECK_DPI(DPI_Create_Schema(columns, 2, &schema));
	DPI_Flow f;
	CHECK_DPI(DPI_Create_Flow("f", FLOW_ATTR(.create = DPI_CREATE_OR_OPEN, .schema = schema, .sources = 1, .segment = 1024, .layout = DPI_LAYOUT_COLUMNS), ctx, &f));
	if (rank == 0) {
		DPI_Source s = source_of(f);
		for (int i = 0; i < 60; i++) {
			uint32_t size = i % 4 == 3 ? LARGE - (uint32_t)i : (uint32_t)i * 14;
			int32_t n = i, offset[] = { 0, (int32_t)size };
			const void *none[] = { NULL }, *of_n[] = { NULL, &n }, *of_bytes[] = { NULL, offset, bytes };
			struct ArrowArray children[] = { { .length = 1, .n_buffers = 2, .buffers = of_n, .release = keep },
							 { .length = 1, .n_buffers = 3, .buffers = of_bytes, .release = keep } };
			struct ArrowArray *child[] = { children, children + 1 };
			struct ArrowArray a = { .length = 1, .n_buffers = 1, .buffers = none, .n_children = 2, .children = child, .release = keep };
			DPI_Value v[] = { { .type = DPI_TYPE_INT32, .i = i }, { .type = DPI_TYPE_BINARY, .size = size, .data = bytes } };
			size_t row_size;
			if (i % 2) {
				CHECK_DPI(DPI_Push_Arrow(&a, NULL, s, NULL));
			} else {
				CHECK_DPI(DPI_Pack_Row(v, schema, row, sizeof row, &row_size));
				CHECK_DPI(DPI_Push(row, row_size, s));
			}
		}
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of(0, f);
		struct ArrowArray a;
		DPI_Batch b;
		int next = 0, error;
		while (!(error = DPI_Next_Arrow(t, &b, &a, NULL))) {
			const int32_t *n = a.children[0]->buffers[1], *offset = a.children[1]->buffers[1];
			for (int64_t i = 0; i < a.length; i++, next++) {
				int32_t size = next % 4 == 3 ? LARGE - next : next * 14;
				CHECK_INT(n[i], ==, next);
				CHECK_INT(offset[i + 1] - offset[i], ==, size);
				CHECK(!size || !memcmp((const char *)a.children[1]->buffers[2] + offset[i], bytes, (size_t)size));
			}
			a.release(&a);
		}
		CHECK_INT(error, ==, DPI_ERR_END);
		CHECK_INT(next, ==, 60);
	}
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}
