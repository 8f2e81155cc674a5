/* SPDX-License-Identifier: Apache-2.0
 * flow_ack.c: acknowledgements: their levels, keys and aggregation, what waits for them, and deaths. */
#include <signal.h>

#include "flow_kit.h"

#define LONG (10 * SECOND)

static void push_one(DPI_Source s, int64_t key, int64_t number)
{
	struct flow_row r = row_of(0, key, number);
	CHECK_DPI(DPI_Push(&r, sizeof r, s));
}

static int tested(uint64_t key, DPI_Source s)
{
	int acknowledged = 9;
	CHECK_DPI(DPI_Test_Ack(key, s, &acknowledged));
	return acknowledged;
}

static void take(DPI_Target t, int count)
{
	DPI_Tuple u;
	for (int i = 0; i < count; i++) CHECK_DPI(DPI_Next(t, &u));
}

/* Nothing more is there; gives back what was taken. */
static void take_none(DPI_Target t)
{
	DPI_Tuple u;
	CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, "nothing");
}

static void confirm_all(DPI_Target t)
{
	CHECK_DPI(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, t));
}

static void finish_source(DPI_Source s, DPI_Flow f, DPI_Context ctx)
{
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Close_Flow(f));
	leave(ctx);
}

static void finish_target(DPI_Target t, DPI_Flow f, DPI_Context ctx)
{
	struct flow_tally tally = { 0 };
	flow_drain(t, &tally);
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Close_Flow(f));
	leave(ctx);
}

/* ---------------------------------------------------------------------------------------------------------- levels */

/* The target's program does nothing at all. */
TEST(ack_received, "FL-503", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .ack = DPI_ACK_RECEIVED, .ack_up_to = 1);
	if (rank) {
		DPI_Target t = target_of(0, f);
		harness_barrier();
		finish_target(t, f, ctx);
		return;
	}
	DPI_Source s = source_of(f);
	DPI_Acked told[4];
	size_t count;
	push_rows(s, 0, 0, 1000);
	CHECK_DPI(DPI_Wait_Ack(1000, s));
	push_rows(s, 0, 1000, 10);
	UNTIL(LONG, tested(1010, s), );
	push_rows(s, 0, 1010, 10);
	CHECK_DPI(DPI_Next_Acks(told, 4, s, &count));
	CHECK(count == 1 && told[0].key > 1010 && told[0].rows == told[0].key - 1010 && told[0].targets == 1 && !told[0].error);
	harness_barrier();
	finish_source(s, f, ctx);
}

TEST(ack_released, "FL-504", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .ack = DPI_ACK_RELEASED, .ack_up_to = 1);
	DPI_Batch b;
	DPI_Tuple u;
	if (rank) {
		DPI_Target t = target_of(0, f);
		take(t, 10);
		harness_barrier(); /* 1: all taken, the last not given back */
		harness_barrier(); /* 2 */
		take_none(t);
		CHECK_DPI(DPI_Next_Batch(t, &b));
		CHECK_INT(b.count, ==, 1);
		harness_barrier(); /* 3: row 11 is lent */
		CHECK_DPI(DPI_Next(t, &u));
		take_none(t);
		harness_barrier(); /* 4: row 12 was given back, 11 is still lent */
		harness_barrier(); /* 5 */
		CHECK_DPI(DPI_Release_Batch(1, t));
		finish_target(t, f, ctx);
		return;
	}
	DPI_Source s = source_of(f);
	push_rows(s, 0, 0, 10);
	CHECK_DPI(DPI_Flush_Source(s));
	harness_barrier(); /* 1 */
	CHECK(!tested(10, s));
	harness_barrier(); /* 2 */
	CHECK_DPI(DPI_Wait_Ack(10, s));
	push_rows(s, 0, 10, 1);
	CHECK_DPI(DPI_Flush_Source(s));
	harness_barrier(); /* 3 */
	push_rows(s, 0, 11, 1);
	CHECK_DPI(DPI_Flush_Source(s));
	harness_barrier(); /* 4 */
	CHECK(!tested(11, s) && !tested(12, s));
	harness_barrier(); /* 5 */
	CHECK_DPI(DPI_Wait_Ack(12, s));
	finish_source(s, f, ctx);
}

TEST(ack_confirmed, "FL-505 FL-514 FL-515", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .ack = DPI_ACK_CONFIRMED, .ack_up_to = 1);
	uint64_t rows = 9;
	if (rank) {
		DPI_Target t = target_of(0, f);
		CHECK_DPI(DPI_Get_Taken(0, t, &rows));
		CHECK_INT(rows, ==, 0);
		CHECK_ERROR(DPI_Ack(0, 1, t), DPI_ERR_RANGE, "source 0");
		confirm_all(t); /* of nothing */
		take(t, 10);
		CHECK_DPI(DPI_Get_Taken(0, t, &rows));
		CHECK_INT(rows, ==, 10);
		CHECK_ERROR(DPI_Ack(0, 11, t), DPI_ERR_RANGE, "given 10");
		CHECK_ERROR(DPI_Ack(7, 0, t), DPI_ERR_RANGE, "source 7");
		CHECK_ERROR(DPI_Ack(DPI_ACK_EVERY_SOURCE, 3, t), DPI_ERR_ARGUMENT, "name one");
		CHECK_DPI(DPI_Ack(0, 4, t));
		harness_barrier();
		harness_barrier();
		CHECK_DPI(DPI_Ack(0, 2, t)); /* what is confirmed stays so */
		CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, t));
		finish_target(t, f, ctx);
		return;
	}
	DPI_Source s = source_of(f);
	CHECK_DPI(DPI_Get_Source_Position(s, &rows));
	CHECK_INT(rows, ==, 0);
	CHECK_DPI(DPI_Wait_Ack(UINT64_MAX, s)); /* nothing waits */
	push_rows(s, 0, 0, 10);
	CHECK_DPI(DPI_Get_Source_Position(s, &rows));
	CHECK_INT(rows, ==, 10);
	CHECK_DPI(DPI_Flush_Source(s));
	harness_barrier();
	CHECK_DPI(DPI_Wait_Ack(4, s));
	CHECK(tested(3, s) && !tested(5, s));
	harness_barrier();
	CHECK_DPI(DPI_Wait_Ack(10, s));
	finish_source(s, f, ctx);
}

/* Rings that are replaced by larger ones, rows that are larger than a segment, and every way to push. */
struct reader {
	DPI_Target target;
	_Atomic int go;
};

static void *read_late(void *arg)
{
	struct reader *r = arg;
	DPI_Batch b;
	while (!r->go) harness_pause();
	for (int error; (error = DPI_Next_Batch(r->target, &b)) != DPI_ERR_END;) {
		CHECK_DPI(error);
		CHECK_DPI(DPI_Release_Batch(b.count != 0, r->target));
	}
	return NULL;
}

static void through_growth(int ack, int rank)
{
	enum { ROWS = 30000 };
	_Atomic int *go = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW(ack == DPI_ACK_RELEASED ? "g" : "f", ctx, .sources = 1, .segment = 512, .memory = 1 << 20, .ack = ack, .ack_up_to = 1, .ack_pending = 1 << 16);
	if (rank) {
		struct reader r = { target_of(0, f), 0 };
		pthread_t thread = start_thread(read_late, &r);
		AWAIT(*go);
		r.go = 1;
		end_thread(thread);
		CHECK_DPI(DPI_Close_Target(r.target));
		leave(ctx);
		return;
	}
	DPI_Source s = source_of(f);
	struct flow_row rows[10];
	size_t pushed;
	void *room;
	for (int64_t n = 0; n < ROWS; n += 10) {
		struct flow_row r = row_of(0, n, n);
		if (n == ROWS / 2) *go = 1; /* 480 kB: the first ring is far too small */
		CHECK_DPI(DPI_Push(&r, sizeof r, s));
		for (int i = 0; i < 10; i++) rows[i] = row_of(0, n + i, n + i);
		CHECK_DPI(DPI_Push_Batch(rows + 1, 8, s, &pushed));
		CHECK_INT(pushed, ==, 8);
		CHECK_DPI(DPI_Reserve(sizeof r, 0, s, &room));
		memcpy(room, rows + 9, sizeof r);
		CHECK_DPI(DPI_Commit(sizeof r, s));
	}
	CHECK_DPI(DPI_Wait_Ack(ROWS, s));
	CHECK(tested(ROWS, s));
	CHECK_DPI(DPI_Close_Source(s));
	leave(ctx);
}

TEST(ack_through_larger_rings, "FL-504 FL-515", 2, .deadline_s = 60)
{
	through_growth(DPI_ACK_RELEASED, rank);
}

TEST(ack_received_through_larger_rings, "FL-503 FL-515", 2, .deadline_s = 60)
{
	through_growth(DPI_ACK_RECEIVED, rank);
}

TEST(ack_of_large_rows, "FL-503 FL-504 FL-505", 2, .deadline_s = 60)
{
	static const DPI_Column columns[] = { { "id", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "bytes", DPI_TYPE_BINARY, 0, 0, 0, 0 } };
	static const char *const names[] = { "r", "l", "c" };
	DPI_Context ctx = join();
	DPI_Schema schema;
	CHECK_DPI(DPI_Create_Schema(columns, 2, &schema));
	for (int level = DPI_ACK_RECEIVED; level <= DPI_ACK_CONFIRMED; level++) {
		DPI_Flow f = FLOW(names[level - 1], ctx, .schema = schema, .sources = 1, .segment = 512, .ack = level, .ack_column = "id", .ack_up_to = 1);
		if (rank) {
			DPI_Target t = target_of(0, f);
			DPI_Tuple u;
			int error;
			while (!(error = DPI_Next(t, &u)))
				if (level == DPI_ACK_CONFIRMED) confirm_all(t);
			CHECK_ERROR(error, DPI_ERR_END, "ended");
			CHECK_DPI(DPI_Close_Target(t));
		} else {
			DPI_Source s = source_of(f);
			static uint8_t bytes[6000], row[8192];
			for (int64_t id = 1; id <= 60; id++) {
				DPI_Value v[2] = { { .type = DPI_TYPE_INT64, .i = id },
						   { .type = DPI_TYPE_BINARY, .data = bytes, .size = id % 3 ? (uint32_t)(id * 99) : 5 } };
				size_t size;
				CHECK_DPI(DPI_Pack_Row(v, schema, row, sizeof row, &size));
				CHECK_DPI(DPI_Push(row, size, s));
				if (id % 20 == 0) CHECK_DPI(DPI_Wait_Ack((uint64_t)id, s));
			}
			CHECK_DPI(DPI_Close_Source(s));
		}
		CHECK_DPI(DPI_Close_Flow(f));
	}
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

/* A run that is lent stays where it is, also when one that came later is given back before it. */
TEST(ack_lent_run_stays, "FL-425", 2, .deadline_s = 60)
{
	enum { FIRST = 20, ROWS = 6000 };
	_Atomic int *pushed_all = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .segment = 512, .memory = 65536);
	if (rank == 0) {
		DPI_Source s = source_of(f);
		int64_t n = FIRST, stuck = 0;
		push_rows(s, 0, 0, FIRST);
		CHECK_DPI(DPI_Flush_Source(s));
		harness_barrier();
		while (n < ROWS && (!stuck || now() - stuck < 300 * MS)) { /* in the end what is lent leaves no room */
			struct flow_row r = row_of(0, n, n);
			int error = DPI_Try_Push(&r, sizeof r, s);
			if (!error) n++, stuck = 0;
			else CHECK_INT(error, ==, DPI_ERR_AGAIN);
			if (error && !stuck) stuck = now();
		}
		*pushed_all = 1;
		push_rows(s, 0, n, 1);
		finish_source(s, f, ctx);
		return;
	}
	DPI_Target t = target_of(0, f);
	DPI_Batch b;
	DPI_Tuple u;
	struct flow_row copy[FIRST];
	harness_barrier();
	CHECK_DPI(DPI_Next_Batch(t, &b));
	CHECK(b.count > 0 && b.count <= FIRST);
	memcpy(copy, b.rows, b.count * sizeof *copy);
	while (!*pushed_all)
		if (DPI_Try_Next(t, &u)) harness_pause();
	CHECK(!memcmp(copy, b.rows, b.count * sizeof *copy));
	CHECK_DPI(DPI_Release_Batch(1, t));
	finish_target(t, f, ctx);
}

/* ----------------------------------------------------------------------------------------------------- aggregation */

#define EVERYWHERE .dist = DPI_DIST_BROADCAST, .targets = 3, .sources = 1, .ack = DPI_ACK_CONFIRMED

/* Ranks 1 to 3 have the targets and confirm in turn, when rank 0 says so: steps 1, 2, 3. */
static void confirm_in_turn(int rank, DPI_Flow f, int rows)
{
	_Atomic int *step = harness_shared();
	DPI_Target t = target_of((uint32_t)rank - 1, f);
	take(t, rows);
	AWAIT(*step == rank);
	confirm_all(t);
	struct flow_tally tally = { 0 };
	flow_drain(t, &tally);
	CHECK_DPI(DPI_Close_Target(t));
}

TEST(ack_all, "FL-506", 4)
{
	_Atomic int *step = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, EVERYWHERE, .ack_column = "number", .ack_up_to = 1);
	if (rank) {
		confirm_in_turn(rank, f, 5);
		leave(ctx);
		return;
	}
	DPI_Source s = source_with(f, 150 * MS);
	DPI_Acked told[3];
	size_t count;
	for (int64_t n = 0; n < 5; n++) UNTIL(LONG, !error, struct flow_row r = row_of(0, n, 100 + n); int error = DPI_Try_Push(&r, sizeof r, s));
	CHECK_DPI(DPI_Flush_Source(s));
	for (*step = 1; *step < 3; ++*step) {
		CHECK_ERROR(DPI_Wait_Ack(104, s), DPI_ERR_TIMEOUT, "target");
		CHECK_ERROR(DPI_Next_Acks(told, 3, s, &count), DPI_ERR_TIMEOUT, "5 rows wait");
		CHECK_INT(count, ==, 0);
	}
	UNTIL(LONG, error == DPI_SUCCESS, int error = DPI_Next_Acks(told, 3, s, &count));
	CHECK(count == 1 && told[0].key == 104 && told[0].rows == 5 && told[0].acknowledged == 3 && told[0].targets == 3 && !told[0].error);
	CHECK_DPI(DPI_Next_Acks(told, 3, s, &count)); /* nothing is left to wait for */
	CHECK_INT(count, ==, 0);
	finish_source(s, f, ctx);
}

TEST(ack_quorum, "FL-506 FL-508", 4)
{
	_Atomic int *step = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, EVERYWHERE, .ack_of = DPI_ACK_QUORUM, .ack_quorum = 2, .ack_column = "key");
	if (rank) {
		confirm_in_turn(rank, f, 3);
		leave(ctx);
		return;
	}
	DPI_Source s = source_of(f);
	DPI_Acked told[4];
	size_t count;
	push_one(s, 50, 0); /* keys in no order, one twice */
	push_one(s, -7, 1);
	push_one(s, 50, 2);
	CHECK_DPI(DPI_Flush_Source(s));
	*step = 1;
	pause_ms(50);
	CHECK_ERROR(DPI_Try_Next_Acks(told, 4, s, &count), DPI_ERR_AGAIN, "now");
	CHECK(!tested(50, s) && tested(51, s));
	*step = 2;
	CHECK_DPI(DPI_Wait_Ack(50, s)); /* tells both */
	CHECK_DPI(DPI_Next_Acks(told, 4, s, &count));
	CHECK(count == 1 && told[0].key == (uint64_t)-7 && told[0].rows == 1 && told[0].acknowledged >= 2 && told[0].targets == 3);
	*step = 3;
	CHECK_DPI(DPI_Next_Acks(told, 4, s, &count));
	CHECK_INT(count, ==, 0);
	finish_source(s, f, ctx);
}

TEST(ack_count, "FL-506 FL-508", 4)
{
	_Atomic int *step = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, EVERYWHERE, .ack_of = DPI_ACK_COUNT);
	if (rank) {
		confirm_in_turn(rank, f, 2);
		leave(ctx);
		return;
	}
	DPI_Source s = source_of(f);
	DPI_Acked told[4];
	size_t count;
	push_rows(s, 0, 0, 2);
	for (*step = 1; *step < 4; ++*step) {
		bool seen[2] = { false, false };
		while (!seen[0] || !seen[1]) {
			CHECK_DPI(DPI_Next_Acks(told, 4, s, &count));
			CHECK_INT(count, >, 0);
			for (size_t i = 0; i < count; i++) {
				CHECK(told[i].key >= 1 && told[i].key <= 2 && told[i].rows == 1 && told[i].targets == 3);
				CHECK_INT(told[i].acknowledged, ==, *step);
				CHECK(!seen[told[i].key - 1]);
				seen[told[i].key - 1] = true;
			}
		}
		CHECK_INT(tested(1, s), ==, *step == 3);
	}
	CHECK_DPI(DPI_Wait_Ack(2, s));
	finish_source(s, f, ctx);
}

/* Without ack_up_to one target's rows do not wait for another's. */
TEST(ack_out_of_order, "FL-508 FL-509", 3)
{
	_Atomic int *step = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .dist = DPI_DIST_ROUND_ROBIN, .targets = 2, .sources = 1, .ack = DPI_ACK_CONFIRMED, .ack_column = "number");
	if (rank) {
		DPI_Target t = target_of((uint32_t)rank - 1, f);
		take(t, 4);
		AWAIT(*step == 3 - rank); /* rank 2 first */
		confirm_all(t);
		finish_target(t, f, ctx);
		return;
	}
	DPI_Source s = source_of(f);
	DPI_Acked told[8];
	size_t count;
	push_rows(s, 0, 0, 8);
	CHECK_DPI(DPI_Flush_Source(s));
	*step = 1;
	CHECK_DPI(DPI_Wait_Ack(7, s)); /* the last of one target */
	CHECK_DPI(DPI_Next_Acks(told, 2, s, &count));
	CHECK(count == 2 && told[0].key == 1 && told[1].key == 3);
	CHECK_DPI(DPI_Next_Acks(told, 8, s, &count));
	CHECK(count == 1 && told[0].key == 5);
	CHECK(!tested(0, s) && tested(7, s) && tested(5, s));
	*step = 2;
	CHECK_DPI(DPI_Wait_Ack(6, s));
	CHECK_DPI(DPI_Next_Acks(told, 8, s, &count));
	CHECK(count == 3 && told[0].key == 0 && told[1].key == 2 && told[2].key == 4);
	finish_source(s, f, ctx);
}

/* ----------------------------------------------------------------------------------------------------------- keys */

static int negated(const void *row, size_t size, void *arg, uint64_t *key)
{
	int64_t number;
	(void)size;
	memcpy(&number, (const uint8_t *)row + 8, 8);
	if (number == 99) return DPI_ERR_CORRUPT;
	*key = ~(uint64_t)number + *(uint64_t *)arg;
	return DPI_SUCCESS;
}

/* key 0: nowhere; 1: target 0; else both. */
static int some(const void *row, size_t size, uint64_t key, uint32_t targets, void *arg, uint32_t *to, uint32_t *count)
{
	int64_t k;
	(void)size, (void)key, (void)arg;
	memcpy(&k, row, 8);
	*count = 0;
	for (uint32_t t = 0; t < targets && (int64_t)t < k; t++) to[(*count)++] = t;
	return DPI_SUCCESS;
}

TEST(ack_function_and_no_targets, "FL-502 FL-507 FL-512 FL-516", 2)
{
	static uint64_t three = 3;
	DPI_Context ctx = join();
	CHECK_DPI(DPI_Register_Dist("some", 1, some, NULL));
	DPI_Flow f = FLOW("f", ctx, .dist = DPI_DIST_FUNCTION, .dist_function = "some", .dist_version = 1, .targets = 2, .sources = 1, .ack = DPI_ACK_RECEIVED,
			  .ack_of = DPI_ACK_QUORUM, .ack_quorum = 2, .ack_function = "negated", .ack_version = 4);
	if (rank) {
		DPI_Target t[] = { target_of(0, f), target_of(1, f) };
		for (int i = 0; i < 2; i++) {
			struct flow_tally tally = { 0 };
			flow_drain(t[i], &tally);
			CHECK_INT(tally.total, ==, 1);
			CHECK_DPI(DPI_Close_Target(t[i]));
		}
		leave(ctx);
		return;
	}
	DPI_Source s;
	DPI_Acked told[4];
	size_t count;
	CHECK_DPI(DPI_Register_Ack("negated", 3, negated, &three));
	CHECK_ERROR(DPI_Open_Source(f, NULL, &s), DPI_ERR_NAME, "\"negated\" of version 4");
	CHECK_DPI(DPI_Register_Ack("negated", 4, negated, &three));
	s = source_of(f);
	push_one(s, 0, 1);
	CHECK_DPI(DPI_Try_Next_Acks(told, 4, s, &count));
	CHECK(count == 1 && told[0].key == ~UINT64_C(1) + 3 && told[0].targets == 0 && told[0].acknowledged == 0 && !told[0].error);
	struct flow_row r = row_of(0, 1, 2);
	CHECK_ERROR(DPI_Push(&r, sizeof r, s), DPI_ERR_ARGUMENT, "1 targets, and 2");
	r = row_of(0, 2, 99);
	CHECK_INT(DPI_Push(&r, sizeof r, s), ==, DPI_ERR_CORRUPT); /* the function's own */
	push_one(s, 2, 5);
	CHECK_DPI(DPI_Wait_Ack(~UINT64_C(5) + 3, s));
	finish_source(s, f, ctx);
}

TEST(ack_keys_that_fall, "FL-502 FL-513", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .ack = DPI_ACK_RECEIVED, .ack_up_to = 1, .ack_column = "number");
	if (rank) {
		DPI_Target t = target_of(0, f);
		struct flow_tally tally = { 0 };
		flow_drain(t, &tally);
		CHECK_INT(tally.total, ==, 2);
		CHECK_DPI(DPI_Close_Target(t));
		leave(ctx);
		return;
	}
	DPI_Source s = source_of(f);
	void *room;
	push_one(s, 1, 7);
	struct flow_row r = row_of(0, 1, 6);
	CHECK_ERROR(DPI_Push(&r, sizeof r, s), DPI_ERR_ARGUMENT, "is 6, that of the row before 7");
	CHECK_ERROR(DPI_Try_Push(&r, sizeof r, s), DPI_ERR_ARGUMENT, "never fall");
	CHECK_DPI(DPI_Reserve(sizeof r, 0, s, &room));
	memcpy(room, &r, sizeof r);
	CHECK_ERROR(DPI_Commit(sizeof r, s), DPI_ERR_ARGUMENT, "never fall");
	CHECK_DPI(DPI_Discard(s));
	push_one(s, 1, 8);
	CHECK_DPI(DPI_Wait_Ack(8, s));
	finish_source(s, f, ctx);
}

/* ------------------------------------------------------------------------------------------------------------ room */

TEST(ack_pending, "FL-511", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .ack = DPI_ACK_CONFIRMED, .ack_pending = 8);
	if (rank) {
		DPI_Target t = target_of(0, f);
		take(t, 8);
		harness_barrier(); /* 1 */
		CHECK_DPI(DPI_Ack(0, 1, t));
		harness_barrier(); /* 2 */
		pause_ms(30);
		CHECK_DPI(DPI_Ack(0, 2, t)); /* rank 0 waits for it inside a push */
		finish_target(t, f, ctx);
		return;
	}
	DPI_Source s = source_with(f, 100 * MS);
	struct flow_row r = row_of(0, 8, 8);
	DPI_Acked told[8];
	size_t count;
	for (int64_t n = 0; n < 8; n++) {
		struct flow_row row = row_of(0, n, n);
		UNTIL(LONG, !error, int error = DPI_Try_Push(&row, sizeof row, s));
	}
	CHECK_DPI(DPI_Flush_Source(s));
	harness_barrier(); /* 1 */
	UNTIL(LONG, error == DPI_ERR_LIMIT, int error = DPI_Try_Push(&r, sizeof r, s); CHECK(error == DPI_ERR_LIMIT || error == DPI_ERR_AGAIN));
	CHECK_ERROR(DPI_Push(&r, sizeof r, s), DPI_ERR_LIMIT, "DPI_Next_Acks");
	CHECK_DPI(DPI_Next_Acks(told, 8, s, &count));
	CHECK(count == 1 && told[0].key == 1);
	CHECK_DPI(DPI_Push(&r, sizeof r, s)); /* the place of the one */
	r = row_of(0, 9, 9);
	CHECK_ERROR(DPI_Try_Push(&r, sizeof r, s), DPI_ERR_AGAIN, "ack_pending");
	CHECK_ERROR(DPI_Push(&r, sizeof r, s), DPI_ERR_TIMEOUT, "8 rows wait");
	harness_barrier(); /* 2 */
	int error;
	while ((error = DPI_Push(&r, sizeof r, s)) == DPI_ERR_TIMEOUT) ;
	CHECK_INT(error, ==, DPI_ERR_LIMIT); /* it was acknowledged, and the program is to take it */
	CHECK_DPI(DPI_Wait_Ack(2, s));
	CHECK_DPI(DPI_Push(&r, sizeof r, s));
	finish_source(s, f, ctx);
}

/* ----------------------------------------------------------------------------------------------------------- death */

/* Ranks 2 and 3 die, one after the other; rank 1 confirms all. */
static void survive(int rank, int ack_up_to)
{
	_Atomic int *step = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, EVERYWHERE, .ack_of = DPI_ACK_QUORUM, .ack_quorum = 2, .on_death = DPI_DEATH_GOES_ON, .ack_up_to = ack_up_to, .segment = 512);
	DPI_Tuple u;
	if (rank) {
		DPI_Target t = target_of((uint32_t)rank - 1, f);
		int error;
		take(t, 10);
		confirm_all(t);
		while (rank == 1 || *step < rank - 1) { /* rank 2 at 1, 3 at 2 */
			error = DPI_Try_Next(t, &u);
			if (error == DPI_ERR_END) break;
			if (!error) confirm_all(t);
			else harness_pause();
		}
		if (rank > 1) {
			harness_expect_death(rank);
			harness_kill(rank, SIGKILL);
		}
		CHECK_DPI(DPI_Close_Target(t));
		CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
		CHECK_DPI(DPI_Finalize(ctx));
		return;
	}
	DPI_Source s = source_of(f);
	DPI_Acked told[4];
	size_t count;
	push_rows(s, 0, 0, 100);
	CHECK_DPI(DPI_Wait_Ack(100, s));
	*step = 1;
	for (int64_t n = 100; n < 2000; n += 10) { /* rank 2 dies meanwhile: two of three are left */
		push_rows(s, 0, n, 10);
		CHECK_DPI(DPI_Wait_Ack((uint64_t)n + 10, s));
		while (!ack_up_to && !DPI_Try_Next_Acks(told, 4, s, &count)) ;
	}
	AWAIT(!harness_alive(2));
	*step = 2;
	AWAIT(!harness_alive(3));
	uint64_t key = 2001;
	push_rows(s, 0, 2000, 1);
	for (;;) { /* what rank 3 confirmed before it died counts */
		int error = DPI_Wait_Ack(key, s);
		if (error) {
			CHECK_ERROR(error, DPI_ERR_PEER, "is lost: ");
			break;
		}
		push_rows(s, 0, (int64_t)key, 1);
		key++;
	}
	CHECK_ERROR(DPI_Wait_Ack(key, s), DPI_ERR_PEER, "is gone"); /* until it was told */
	int acknowledged = 9;
	CHECK_ERROR(DPI_Test_Ack(key, s, &acknowledged), DPI_ERR_PEER, "target");
	CHECK_INT(acknowledged, ==, 0);
	do CHECK_DPI(DPI_Next_Acks(told, 1, s, &count));
	while (!told[0].error);
	CHECK(told[0].key == key && told[0].error == DPI_ERR_PEER && told[0].acknowledged <= 1 && told[0].targets == 3);
	CHECK_DPI(DPI_Wait_Ack(key, s)); /* it was */
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(ack_survives_death, "FL-510", 4, .deadline_s = 60)
{
	survive(rank, 0);
}

TEST(ack_survives_death_up_to, "FL-510", 4, .deadline_s = 60)
{
	survive(rank, 1);
}

/* In a flow that fails, so does whoever waits. */
TEST(ack_of_a_flow_that_fails, "FL-510", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .ack = DPI_ACK_CONFIRMED);
	if (rank) {
		DPI_Target t = target_of(0, f);
		take(t, 1);
		harness_expect_death(1);
		harness_kill(1, SIGKILL);
		CHECK_DPI(DPI_Close_Target(t));
	}
	DPI_Source s = source_of(f);
	DPI_Acked told[1];
	size_t count;
	push_rows(s, 0, 0, 1);
	CHECK_INT(DPI_Wait_Ack(1, s), ==, DPI_ERR_PEER);
	UNTIL(LONG, info.failed == DPI_ERR_PEER, DPI_Flow_Info info = DPI_FLOW_INFO_INIT; CHECK_DPI(DPI_Get_Flow_Info(f, &info)));
	CHECK_ERROR(DPI_Next_Acks(told, 1, s, &count), DPI_ERR_PEER, "lost target 0");
	CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_PEER, "target 0");
	CHECK_DPI(DPI_Finalize(ctx));
}

/* ------------------------------------------------------------------------------------------------------------ many */

struct confirmer {
	DPI_Target target;
	int level;
	uint64_t seed;
};

static void *confirm_at_random(void *arg)
{
	struct confirmer *c = arg;
	DPI_Batch b;
	size_t lent = 0;
	for (int error; (error = DPI_Next_Batch(c->target, &b)) != DPI_ERR_END;) {
		CHECK_DPI(error);
		if (b.kind == DPI_TUPLE_ROW) lent++;
		if (c->level == DPI_ACK_CONFIRMED) {
			if (draw(&c->seed, 2)) CHECK_DPI(DPI_Ack(b.source, DPI_ACK_TAKEN, c->target));
			else confirm_all(c->target);
		}
		if (lent) CHECK_DPI(DPI_Release_Batch(lent, c->target));
		lent = 0;
	}
	return NULL;
}

TEST(ack_many, "FL-504 FL-505 FL-508", 3, .deadline_s = 60)
{
	enum { ROWS = 4000 };
	static const char *const names[] = { "a", "b" };
	DPI_Context ctx = join();
	for (int round = 0; round < 2; round++) {
		int level = DPI_ACK_RELEASED + round;
		DPI_Flow f = FLOW(names[round], ctx, .dist = DPI_DIST_BROADCAST, .targets = 3, .sources = 3, .segment = 1024, .ack = level,
				  .ack_of = round ? DPI_ACK_QUORUM : DPI_ACK_ALL, .ack_quorum = round ? 2 : 0, .ack_pending = 300, .ack_column = "number");
		struct confirmer c = { target_of((uint32_t)rank, f), level, draw_seed(rank) };
		pthread_t thread = start_thread(confirm_at_random, &c);
		DPI_Source s = source_of(f);
		DPI_Acked told[50];
		size_t count, total = 0;
		static bool seen[ROWS];
		memset(seen, 0, sizeof seen);
		for (int64_t n = 0; n < ROWS || total < ROWS;) {
			struct flow_row r = row_of(rank, n, n);
			int error = n < ROWS ? DPI_Push(&r, sizeof r, s) : DPI_ERR_LIMIT;
			if (!error) n++;
			else CHECK_INT(error, ==, DPI_ERR_LIMIT);
			if (!error && draw(&c.seed, 100)) continue;
			if (error) CHECK_DPI(DPI_Next_Acks(told, 50, s, &count));
			else if (DPI_Try_Next_Acks(told, 50, s, &count)) count = 0;
			for (size_t i = 0; i < count; i++) {
				CHECK(told[i].key < ROWS && !seen[told[i].key] && !told[i].error && told[i].targets == 3);
				CHECK_INT(told[i].acknowledged, >=, round ? 2 : 3);
				seen[told[i].key] = true;
			}
			total += count;
		}
		CHECK_INT(total, ==, ROWS);
		CHECK_DPI(DPI_Close_Source(s));
		end_thread(thread);
		CHECK_DPI(DPI_Close_Target(c.target));
		CHECK_DPI(DPI_Close_Flow(f));
	}
	leave(ctx);
}

/* ---------------------------------------------------------------------------------------------------------- misuse */

#define WRONG(class, sentence, ...)                                                                     \
	do {                                                                                            \
		DPI_Flow_Attr wrong_attr = { .size = sizeof wrong_attr, .schema = schema, __VA_ARGS__ };    \
		DPI_Flow wrong_flow;                                                                    \
		CHECK_ERROR(DPI_Create_Flow("w", &wrong_attr, ctx, &wrong_flow), class, sentence);      \
	} while (0)

TEST(ack_definition, "FL-500 FL-501", 1, .once = true)
{
	static const DPI_Column columns[] = { { "i", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "n", DPI_TYPE_INT64, 1, 0, 0, 0 }, { "d", DPI_TYPE_DOUBLE, 0, 0, 0, 0 } };
	DPI_Context ctx = join();
	DPI_Schema schema;
	DPI_Flow f, g;
	CHECK_DPI(DPI_Create_Schema(columns, 3, &schema));
	WRONG(DPI_ERR_ARGUMENT, "attr->ack is 4", .ack = 4);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack is -1", .ack = -1);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_of is 3", .ack = 1, .ack_of = 3);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_up_to is 2", .ack = 1, .ack_up_to = 2);
	WRONG(DPI_ERR_ARGUMENT, "counts are told row by row", .ack = 1, .ack_up_to = 1, .ack_of = DPI_ACK_COUNT);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_pending is 4194305", .ack = 1, .ack_pending = 4194305);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_quorum is 2", .ack = 1, .ack_quorum = 2);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_quorum is 0", .ack = 1, .ack_of = DPI_ACK_QUORUM);
	WRONG(DPI_ERR_ARGUMENT, "at most 1, so", .ack = 1, .ack_of = DPI_ACK_QUORUM, .ack_quorum = 2);
	WRONG(DPI_ERR_ARGUMENT, "at most 3, so", .ack = 1, .targets = 3, .dist = DPI_DIST_BROADCAST, .ack_of = DPI_ACK_QUORUM, .ack_quorum = 4);
	WRONG(DPI_ERR_ARGUMENT, "both given", .ack = 1, .ack_column = "i", .ack_function = "f");
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_version is 3", .ack = 1, .ack_version = 3);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_function has no bytes", .ack = 1, .ack_function = "");
	WRONG(DPI_ERR_NAME, "attr->ack_column is \"x\"", .ack = 1, .ack_column = "x");
	WRONG(DPI_ERR_UNSUPPORTED, "never NULL", .ack = 1, .ack_column = "n");
	WRONG(DPI_ERR_UNSUPPORTED, "DOUBLE", .ack = 1, .ack_column = "d");
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_of is set, and", .ack_of = 1);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_quorum is set, and", .ack_quorum = 1);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_up_to is set, and", .ack_up_to = 1);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_pending is set, and", .ack_pending = 1);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_version is set, and", .ack_version = 1);
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_column is set, and", .ack_column = "i");
	WRONG(DPI_ERR_ARGUMENT, "attr->ack_function is set, and", .ack_function = "f");
	DPI_Flow_Attr a = { .size = sizeof a, .schema = schema, .ack = DPI_ACK_RELEASED, .ack_column = "i", .create = DPI_CREATE_OR_OPEN };
	CHECK_DPI(DPI_Create_Flow("f", &a, ctx, &f));
	a.ack_pending = 16384;
	CHECK_DPI(DPI_Create_Flow("f", &a, ctx, &g));
	a.ack_column = NULL;
	CHECK_ERROR(DPI_Create_Flow("f", &a, ctx, &g), DPI_ERR_EXISTS, "the flow's ack_column is i, yours is none");
	a.ack_column = "i", a.ack = DPI_ACK_CONFIRMED;
	CHECK_ERROR(DPI_Create_Flow("f", &a, ctx, &g), DPI_ERR_EXISTS, "the flow's ack is released, yours is confirmed");
	a.ack = DPI_ACK_NONE, a.ack_column = NULL, a.ack_pending = 0;
	CHECK_ERROR(DPI_Create_Flow("f", &a, ctx, &g), DPI_ERR_EXISTS, "the flow's ack is released, yours is none");
	a.ack = DPI_ACK_RELEASED, a.ack_column = "i", a.ack_of = DPI_ACK_COUNT;
	CHECK_ERROR(DPI_Create_Flow("f", &a, ctx, &g), DPI_ERR_EXISTS, "the flow's ack_of is all, yours is count");
	a.ack_column = NULL, a.ack_of = 0, a.ack_function = "k";
	CHECK_ERROR(DPI_Create_Flow("f", &a, ctx, &g), DPI_ERR_EXISTS, "ack_column");
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

TEST(ack_misuse, "FL-514", 1, .once = true)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1), g = FLOW("g", ctx, .ack = DPI_ACK_RELEASED);
	DPI_Source s = source_of(f), h = source_of(g);
	DPI_Target t = target_of(0, f), u = target_of(0, g);
	DPI_Acked told[2];
	size_t count;
	uint64_t n;
	int acknowledged;
	CHECK_ERROR(DPI_Next_Acks(told, 2, s, &count), DPI_ERR_USE, "'f' has no acknowledgements");
	CHECK_ERROR(DPI_Try_Next_Acks(told, 2, s, &count), DPI_ERR_USE, "attr->ack");
	CHECK_ERROR(DPI_Wait_Ack(1, s), DPI_ERR_USE, "DPI_Wait_Ack");
	CHECK_ERROR(DPI_Test_Ack(1, s, &acknowledged), DPI_ERR_USE, "DPI_Test_Ack");
	CHECK_ERROR(DPI_Get_Source_Position(s, &n), DPI_ERR_USE, "DPI_Get_Source_Position");
	CHECK_ERROR(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, t), DPI_ERR_USE, "'f'");
	CHECK_ERROR(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, u), DPI_ERR_USE, "DPI_ACK_CONFIRMED");
	CHECK_ERROR(DPI_Next_Acks(NULL, 2, h, &count), DPI_ERR_ARGUMENT, "acks is NULL");
	CHECK_ERROR(DPI_Next_Acks(told, 0, h, &count), DPI_ERR_ARGUMENT, "max is 0");
	CHECK_ERROR(DPI_Try_Next_Acks(told, 2, h, NULL), DPI_ERR_ARGUMENT, "count is NULL");
	CHECK_ERROR(DPI_Test_Ack(1, h, NULL), DPI_ERR_ARGUMENT, "acknowledged is NULL");
	CHECK_ERROR(DPI_Get_Source_Position(h, NULL), DPI_ERR_ARGUMENT, "position is NULL");
	CHECK_ERROR(DPI_Get_Taken(0, t, NULL), DPI_ERR_ARGUMENT, "rows is NULL");
	CHECK_ERROR(DPI_Wait_Ack(1, NULL), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(DPI_Ack(0, 0, NULL), DPI_ERR_ARGUMENT, "NULL");
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_ERROR(DPI_Wait_Ack(1, s), DPI_ERR_HANDLE, "closed");
	CHECK_DPI(DPI_Close_Source(h));
	CHECK_DPI(DPI_Seal_Flow(g));
	struct flow_tally tally = { 0 };
	flow_drain(t, &tally);
	tally = (struct flow_tally){ 0 };
	flow_drain(u, &tally);
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Close_Target(u));
	CHECK_ERROR(DPI_Get_Taken(0, t, &n), DPI_ERR_HANDLE, "closed");
	leave(ctx);
}
