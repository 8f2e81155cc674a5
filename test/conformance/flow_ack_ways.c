/* SPDX-License-Identifier: Apache-2.0
 * flow_ack_ways.c: acknowledgements of rows that do not travel as they are pushed: encoded, as columns, through stages, reduced. */
#include "arrow_kit.h"
#include "flow_ack_kit.h"

#define LIST(type, ...) (const type[]){ __VA_ARGS__ }
#define STAGES(...) .stages = LIST(DPI_Stage, __VA_ARGS__), .stage_count = sizeof LIST(DPI_Stage, __VA_ARGS__) / sizeof(DPI_Stage)
#define FILTER(at, expression) { .kind = DPI_STAGE_FILTER, .place = at, .text = expression }
#define CODECS(...) .codecs = LIST(DPI_Codec, __VA_ARGS__), .codec_count = sizeof LIST(DPI_Codec, __VA_ARGS__) / sizeof(DPI_Codec)
#define SUMS .aggregates = LIST(DPI_Aggregate, { .function = DPI_AGGREGATE_SUM, .column = "number" }), .aggregate_count = 1
#define NUMBERED .sources = 1, .ack_column = "number"

static const uint8_t key[DPI_KEY_SIZE] = "thirty-two bytes that are a key.";

static DPI_Flow flow_with(const char *name, DPI_Flow_Attr a, int level, DPI_Context ctx)
{
	a.size = sizeof a;
	a.ack = level;
	return kit_flow(name, &a, ctx);
}

/* ------------------------------------------------------------------------------------------------------- every way */

/* One of the ways to push; how many rows went. */
static int64_t push_some(DPI_Source s, int64_t n, bool reserves)
{
	struct flow_row rows[9];
	size_t pushed;
	void *room;
	for (int i = 0; i < 9; i++) rows[i] = row_of(0, (n + i) % 7, n + i);
	switch (n % 4) {
	case 0: CHECK_DPI(n % 8 ? DPI_Push_Batch(rows, 9, s, &pushed) : arrow_push(rows, sizeof *rows, 9, s, &pushed)); CHECK_INT(pushed, ==, 9); return 9;
	case 1: UNTIL(LONG, !error, int error = DPI_Try_Push(rows, sizeof *rows, s); CHECK(!error || error == DPI_ERR_AGAIN)); return 1;
	case 2:
		if (!reserves) return push_one(s, n % 7, n), 1;
		CHECK_DPI(DPI_Reserve(sizeof *rows, 0, s, &room));
		memcpy(room, rows, sizeof *rows);
		CHECK_DPI(DPI_Commit(sizeof *rows, s));
		return 1;
	default: return push_one(s, n % 7, n), 1;
	}
}

/* Rows, runs and confirmations; to the end. */
static void take_all(DPI_Target t, int level, bool batches)
{
	for (int n = 0;; n++) {
		DPI_Tuple u;
		DPI_Batch b;
		struct ArrowArray array = { 0 };
		int error = n % 3 == 2 ? DPI_Next_Arrow(t, &b, &array, NULL) : batches ? DPI_Next_Batch(t, &b) : DPI_Next(t, &u);
		if (error) {
			CHECK_ERROR(error, DPI_ERR_END, "ended");
			break;
		}
		if (level == DPI_ACK_CONFIRMED) confirm_all(t);
		if (array.release) array.release(&array); /* the next call on the target gives it back */
		else if (batches && n % 3 != 2 && b.kind == DPI_TUPLE_ROW) CHECK_DPI(DPI_Release_Batch(1, t));
	}
	CHECK_DPI(DPI_Close_Target(t));
}

/* Nothing is flushed: who waits sends what it waits for. marks: a window has to end first. */
static void every_way(const char *name, DPI_Flow_Attr a, int rank, bool reserves, bool marks)
{
	enum { ROWS = 1500 };
	a.segment = a.layout == DPI_LAYOUT_COLUMNS ? 2048 : 1024;
	DPI_Context ctx = join();
	CHECK_DPI(DPI_Set_Key("key", key, sizeof key));
	for (int level = DPI_ACK_RECEIVED; level <= DPI_ACK_CONFIRMED; level++) {
		char text[64];
		snprintf(text, sizeof text, "%s %d", name, level);
		DPI_Flow f = flow_with(text, a, level, ctx);
		if (rank) {
			take_all(target_of(0, f), level, level % 2);
		} else {
			DPI_Source s = source_of(f);
			DPI_Acked told[4];
			size_t count;
			uint64_t position, last = 0;
			int64_t n = 0, wait = 0;
			while (n < ROWS) {
				n += push_some(s, n, reserves);
				if (n < wait) continue;
				wait = n + 111;
				if (marks) CHECK_DPI(DPI_Push_Mark((uint64_t)n, s));
				CHECK_DPI(DPI_Wait_Ack((uint64_t)n - 1, s));
				CHECK(tested((uint64_t)n - 1, s));
			}
			if (marks) CHECK_DPI(DPI_Push_Mark((uint64_t)n, s));
			while (!DPI_Next_Acks(told, 4, s, &count) && count) last = told[count - 1].key;
			CHECK(!last || last == (uint64_t)n - 1);
			CHECK_DPI(DPI_Get_Source_Position(s, &position));
			CHECK_INT(position, ==, n);
			CHECK_DPI(DPI_Close_Source(s));
		}
		CHECK_DPI(DPI_Close_Flow(f));
	}
	leave(ctx);
}
#define EVERY_WAY(name, reserves, marks, ...) every_way(name, (DPI_Flow_Attr){ NUMBERED, .ack_up_to = 1, __VA_ARGS__ }, rank, reserves, marks)

TEST(ack_encoded, "FL-503 FL-504 FL-505 FL-517", 2, .deadline_s = 120)
{
	EVERY_WAY("f", true, false, CODECS({ DPI_CODEC_LZ4, 0, NULL }));
}

TEST(ack_encrypted, "FL-503 FL-504 FL-505 FL-517", 2, .deadline_s = 120)
{
	EVERY_WAY("f", true, false, CODECS({ DPI_CODEC_LZ4, 0, NULL }, { DPI_CODEC_AES_256_GCM, 0, "key" }), .hint = DPI_HINT_LATENCY);
}

TEST(ack_columns, "FL-503 FL-504 FL-505 FL-517", 2, .deadline_s = 120)
{
	EVERY_WAY("f", false, false, .layout = DPI_LAYOUT_COLUMNS);
}

TEST(ack_filtered, "FL-503 FL-504 FL-505 FL-507 FL-518", 2, .deadline_s = 120)
{
	EVERY_WAY("f", false, false, STAGES(FILTER(DPI_AT_SOURCE, "number % 3 = 0"), FILTER(DPI_AT_TARGET, "number % 5 = 0")));
}

TEST(ack_filtered_and_encoded, "FL-503 FL-504 FL-505 FL-518", 2, .deadline_s = 120)
{
	EVERY_WAY("f", false, false, STAGES(FILTER(DPI_AT_SOURCE, "number % 3 = 0"), FILTER(DPI_AT_TARGET, "false")), CODECS({ DPI_CODEC_DEFLATE, 0, NULL }));
}

TEST(ack_reduced, "FL-503 FL-504 FL-505 FL-519", 2, .deadline_s = 120)
{
	EVERY_WAY("f", false, true, SUMS, .window = DPI_WINDOW_MARKS);
}

TEST(ack_reduced_at_the_target, "FL-503 FL-504 FL-505 FL-519", 2, .deadline_s = 120)
{
	EVERY_WAY("f", false, true, SUMS, .reduce = DPI_REDUCE_TARGET, .window = DPI_WINDOW_MARKS, STAGES(FILTER(DPI_AT_SOURCE, "number % 2 = 0")));
}

TEST(ack_reduced_and_encoded, "FL-503 FL-504 FL-505 FL-519", 2, .deadline_s = 120)
{
	EVERY_WAY("f", false, true, SUMS, .window = DPI_WINDOW_MARKS, CODECS({ DPI_CODEC_LZ4, 0, NULL }), STAGES(FILTER(DPI_AT_SOURCE, "number % 2 = 0")));
}

/* The same of columns. */
#define COLUMNS .layout = DPI_LAYOUT_COLUMNS

TEST(ack_columns_encoded, "FL-484 FL-503 FL-504 FL-505 FL-517", 2, .deadline_s = 120)
{
	EVERY_WAY("f", false, false, COLUMNS, CODECS({ DPI_CODEC_LZ4, 0, NULL }, { DPI_CODEC_AES_256_GCM, 0, "key" }));
}

TEST(ack_columns_filtered, "FL-485 FL-503 FL-504 FL-505 FL-507 FL-518", 2, .deadline_s = 120)
{
	EVERY_WAY("f", false, false, COLUMNS, STAGES(FILTER(DPI_AT_SOURCE, "number % 3 = 0"), FILTER(DPI_AT_TARGET, "number % 5 = 0")), .hint = DPI_HINT_LATENCY);
}

TEST(ack_columns_filtered_and_encoded, "FL-485 FL-503 FL-504 FL-505 FL-518", 2, .deadline_s = 120)
{
	EVERY_WAY("f", false, false, COLUMNS, STAGES(FILTER(DPI_AT_SOURCE, "number % 3 = 0"), FILTER(DPI_AT_TARGET, "false")), CODECS({ DPI_CODEC_DEFLATE, 0, NULL }));
}

TEST(ack_columns_reduced, "FL-486 FL-503 FL-504 FL-505 FL-519", 2, .deadline_s = 120)
{
	EVERY_WAY("f", false, true, COLUMNS, SUMS, .window = DPI_WINDOW_MARKS);
}

TEST(ack_columns_reduced_at_the_target, "FL-486 FL-503 FL-504 FL-505 FL-519", 2, .deadline_s = 120)
{
	EVERY_WAY("f", false, true, COLUMNS, SUMS, .reduce = DPI_REDUCE_TARGET, .window = DPI_WINDOW_MARKS, STAGES(FILTER(DPI_AT_SOURCE, "number % 2 = 0")));
}

TEST(ack_columns_reduced_and_encoded, "FL-486 FL-503 FL-504 FL-505 FL-519", 2, .deadline_s = 120)
{
	EVERY_WAY("f", false, true, COLUMNS, SUMS, .window = DPI_WINDOW_MARKS, CODECS({ DPI_CODEC_LZ4, 0, NULL }), STAGES(FILTER(DPI_AT_SOURCE, "number % 2 = 0")));
}

/* ---------------------------------------------------------------------------------------------------------- stages */

/* What does not travel waits for nobody. */
TEST(ack_dropped_at_the_source, "FL-507 FL-518", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = flow_with("f", (DPI_Flow_Attr){ NUMBERED, STAGES(FILTER(DPI_AT_SOURCE, "number % 3 = 0")) }, DPI_ACK_CONFIRMED, ctx);
	if (rank) {
		DPI_Target t = target_of(0, f);
		take(t, 1);
		harness_barrier();
		confirm_all(t);
		finish_target(t, f, ctx);
		return;
	}
	DPI_Source s = source_of(f);
	DPI_Acked told[4];
	size_t count;
	push_rows(s, 0, 1, 3);
	CHECK_DPI(DPI_Try_Next_Acks(told, 4, s, &count));
	CHECK(count == 2 && told[0].key == 1 && told[1].key == 2 && !told[0].targets && !told[0].acknowledged && !told[0].error);
	CHECK(!tested(3, s));
	CHECK_DPI(DPI_Flush_Source(s));
	harness_barrier();
	CHECK_DPI(DPI_Wait_Ack(3, s));
	finish_source(s, f, ctx);
}

/* A run of rows 0 … 9, of which 0, 3, 6 and 9 come out, and then one of which nothing does. */
static DPI_Flow thirds(int level, DPI_Context ctx)
{
	return flow_with("f", (DPI_Flow_Attr){ NUMBERED, .ack_up_to = 1, STAGES(FILTER(DPI_AT_TARGET, "number % 3 = 0")) }, level, ctx);
}

static void push_thirds(DPI_Source s)
{
	push_rows(s, 0, 0, 10);
	CHECK_DPI(DPI_Flush_Source(s));
	harness_barrier(); /* 1 */
	harness_barrier(); /* 2 */
	push_rows(s, 0, 10, 2);
	CHECK_DPI(DPI_Flush_Source(s));
	harness_barrier(); /* 3 */
}

TEST(ack_released_behind_stages, "FL-504 FL-518", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = thirds(DPI_ACK_RELEASED, ctx);
	DPI_Batch b;
	if (rank) {
		DPI_Target t = target_of(0, f);
		harness_barrier(); /* 1 */
		CHECK_DPI(DPI_Next_Batch(t, &b));
		CHECK_INT(b.count, ==, 4);
		harness_barrier(); /* 2 */
		harness_barrier(); /* 3 */
		take_none(t);	   /* 10 and 11 are dropped, behind a run that is lent */
		harness_barrier(); /* 4 */
		harness_barrier(); /* 5 */
		CHECK_DPI(DPI_Release_Batch(1, t));
		finish_target(t, f, ctx);
		return;
	}
	DPI_Source s = source_of(f);
	push_thirds(s);
	harness_barrier(); /* 4 */
	CHECK(!tested(0, s));
	harness_barrier(); /* 5 */
	CHECK_DPI(DPI_Wait_Ack(11, s));
	finish_source(s, f, ctx);
}

TEST(ack_confirmed_behind_stages, "FL-505 FL-515 FL-518", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = thirds(DPI_ACK_CONFIRMED, ctx);
	uint64_t rows;
	if (rank) {
		DPI_Target t = target_of(0, f);
		harness_barrier(); /* 1 */
		take(t, 1);
		CHECK_DPI(DPI_Get_Taken(0, t, &rows));
		CHECK_INT(rows, ==, 3); /* with the two that nothing came of */
		CHECK_ERROR(DPI_Ack(0, 4, t), DPI_ERR_RANGE, "given 3");
		take(t, 1);
		confirm_all(t);
		harness_barrier(); /* 2 */
		harness_barrier(); /* 3 */
		harness_barrier(); /* 4: up to 5 is confirmed */
		take(t, 2);
		CHECK_DPI(DPI_Get_Taken(0, t, &rows));
		CHECK_INT(rows, ==, 10);
		take_none(t); /* 10 and 11 */
		CHECK_DPI(DPI_Ack(0, 10, t));
		finish_target(t, f, ctx);
		return;
	}
	DPI_Source s = source_of(f);
	push_thirds(s);
	CHECK_DPI(DPI_Wait_Ack(5, s));
	CHECK(!tested(6, s));
	harness_barrier(); /* 4 */
	CHECK_DPI(DPI_Wait_Ack(11, s));
	finish_source(s, f, ctx);
}

/* Who is given nothing has nothing to confirm. */
TEST(ack_confirmed_of_nothing, "FL-505 FL-518", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = flow_with("f", (DPI_Flow_Attr){ NUMBERED, .ack_up_to = 1, STAGES(FILTER(DPI_AT_TARGET, "number > 99")) }, DPI_ACK_CONFIRMED, ctx);
	if (rank) {
		DPI_Target t = target_of(0, f);
		DPI_Tuple u;
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
		CHECK_DPI(DPI_Close_Target(t));
		CHECK_DPI(DPI_Close_Flow(f));
		leave(ctx);
		return;
	}
	DPI_Source s = source_of(f);
	for (int64_t n = 0; n < 100; n += 10) {
		push_rows(s, 0, n, 10);
		CHECK_DPI(DPI_Wait_Ack((uint64_t)n + 9, s));
	}
	finish_source(s, f, ctx);
}

/* ---------------------------------------------------------------------------------------------------------- reduce */

static void finish(DPI_Target t, DPI_Flow f, DPI_Context ctx)
{
	take_all(t, DPI_ACK_NONE, false);
	CHECK_DPI(DPI_Close_Flow(f));
	leave(ctx);
}

/* Rows that wait in the source's table are sent by who waits for them, and acknowledged with those that they were reduced to. */
TEST(ack_sends_the_table, "FL-503 FL-511 FL-519 FL-520", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = flow_with("f", (DPI_Flow_Attr){ NUMBERED, SUMS, .ack_pending = 100 }, DPI_ACK_RECEIVED, ctx);
	if (rank) {
		finish(target_of(0, f), f, ctx);
		return;
	}
	DPI_Source s = source_of(f);
	DPI_Acked told[100];
	DPI_Source_Stats x = { .size = sizeof x };
	size_t count, all = 0;
	for (int64_t n = 0; n < 50; n++) push_one(s, 1, n);
	CHECK(!tested(0, s));
	CHECK_DPI(DPI_Get_Source_Stats(s, &x));
	CHECK_INT(x.rows, ==, 0);
	CHECK_DPI(DPI_Wait_Ack(49, s));
	CHECK_DPI(DPI_Get_Source_Stats(s, &x));
	CHECK_INT(x.rows, ==, 1);
	for (all = 1; all < 50; all += count) CHECK_DPI(DPI_Next_Acks(told, 100, s, &count));
	for (int64_t n = 0; n < 1000; n++) { /* as many wait as may: the table goes out */
		struct flow_row r = row_of(0, 1, n);
		int error;
		while ((error = DPI_Push(&r, sizeof r, s)) == DPI_ERR_LIMIT) CHECK_DPI(DPI_Next_Acks(told, 100, s, &count));
		CHECK_DPI(error);
	}
	CHECK_DPI(DPI_Wait_Ack(999, s));
	CHECK_DPI(DPI_Get_Source_Stats(s, &x));
	CHECK(x.rows >= 10 && x.rows <= 30);
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Close_Flow(f));
	leave(ctx);
}

/* Windows are acknowledged one by one, in order, when all of their results are given back. */
TEST(ack_released_windows, "FL-504 FL-519", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = flow_with("f", (DPI_Flow_Attr){ NUMBERED, .ack_up_to = 1, SUMS, .window = DPI_WINDOW_MARKS }, DPI_ACK_RELEASED, ctx);
	if (rank) {
		DPI_Target t = target_of(0, f);
		DPI_Batch b;
		for (int window = 1; window <= 2; window++) {
			CHECK_DPI(DPI_Next_Batch(t, &b));
			CHECK_INT(b.count, ==, 7);
			CHECK_DPI(DPI_Next_Batch(t, &b));
			CHECK(b.kind == DPI_TUPLE_MARK && b.mark == (uint64_t)window);
		}
		harness_barrier(); /* 1 */
		harness_barrier(); /* 2 */
		CHECK_DPI(DPI_Release_Batch(1, t));
		harness_barrier(); /* 3 */
		CHECK_DPI(DPI_Release_Batch(1, t));
		finish(t, f, ctx);
		return;
	}
	DPI_Source s = source_of(f);
	for (int64_t n = 0; n < 100; n++) push_one(s, n % 7, n);
	CHECK_DPI(DPI_Push_Mark(1, s));
	for (int64_t n = 100; n < 200; n++) push_one(s, n % 7, n);
	CHECK_DPI(DPI_Push_Mark(2, s));
	CHECK_DPI(DPI_Flush_Source(s));
	harness_barrier(); /* 1 */
	CHECK(!tested(0, s));
	harness_barrier(); /* 2 */
	CHECK_DPI(DPI_Wait_Ack(99, s));
	CHECK(!tested(100, s));
	push_one(s, 0, 200); /* in a window that has not ended */
	harness_barrier();   /* 3 */
	CHECK_DPI(DPI_Wait_Ack(199, s));
	CHECK(!tested(200, s));
	finish_source(s, f, ctx);
}

/* A window of rows tells its program nothing of its end: the last of its results does. */
TEST(ack_confirmed_windows_of_rows, "FL-505 FL-515 FL-519", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = flow_with("f", (DPI_Flow_Attr){ NUMBERED, .ack_up_to = 1, SUMS, .reduce = DPI_REDUCE_TARGET, .window = DPI_WINDOW_ROWS, .window_rows = 50 },
			       DPI_ACK_CONFIRMED, ctx);
	if (rank) {
		DPI_Target t = target_of(0, f);
		uint64_t rows;
		for (uint64_t window = 0; window < 3; window++) {
			take(t, 6);
			CHECK_DPI(DPI_Get_Taken(0, t, &rows));
			CHECK_INT(rows, ==, 50 * window);
			take(t, 1);
			CHECK_DPI(DPI_Get_Taken(0, t, &rows));
			CHECK_INT(rows, ==, 50 * (window + 1));
			CHECK_ERROR(DPI_Ack(0, rows + 1, t), DPI_ERR_RANGE, "given");
			CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, t));
			harness_barrier();
		}
		finish(t, f, ctx);
		return;
	}
	DPI_Source s = source_of(f);
	for (int64_t n = 0; n < 160; n++) push_one(s, n % 7, n);
	CHECK_DPI(DPI_Flush_Source(s));
	for (uint64_t window = 0; window < 3; window++) {
		CHECK_DPI(DPI_Wait_Ack(50 * window + 49, s));
		CHECK(!tested(50 * window + 50, s));
		harness_barrier();
	}
	finish_source(s, f, ctx);
}
