/* SPDX-License-Identifier: Apache-2.0
 * flow_ack.c: acknowledgements: their levels, keys and aggregation. */
#include "flow_ack_kit.h"

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
		harness_barrier(); /* else row 11 may be there already */
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
	harness_barrier();
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

/* What is pushed by the batch is acknowledged by the row. */
static void batch(int rank, int up_to)
{
	enum { ROWS = 1000, FIRST = 300 };
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .ack = DPI_ACK_CONFIRMED, .ack_up_to = up_to, .ack_pending = ROWS);
	struct flow_row rows[ROWS];
	DPI_Acked told[7];
	size_t pushed, count;
	uint64_t key = up_to ? FIRST : 0; /* the last that the program was told of */
	if (rank) {
		DPI_Target t = target_of(0, f);
		take(t, ROWS);
		CHECK_DPI(DPI_Ack(0, FIRST, t));
		harness_barrier();
		harness_barrier();
		CHECK_DPI(DPI_Ack(0, ROWS, t));
		finish_target(t, f, ctx);
		return;
	}
	DPI_Source s = source_of(f);
	for (int i = 0; i < ROWS; i++) rows[i] = row_of(0, i % 3, i);
	CHECK_DPI(DPI_Push_Batch(rows, ROWS, s, &pushed));
	CHECK_INT(pushed, ==, ROWS);
	CHECK_DPI(DPI_Flush_Source(s));
	harness_barrier();
	UNTIL(LONG, tested(FIRST, s), ); /* this tells of it, and with up_to of all before */
	CHECK(!tested(FIRST + 1, s));
	harness_barrier();
	while (key < ROWS) {
		CHECK_DPI(DPI_Next_Acks(told, 7, s, &count));
		CHECK_INT(count, >, 0);
		for (size_t i = 0; i < count; i++) {
			if (!up_to && key + 1 == FIRST) key++;
			CHECK(up_to || told[i].rows == 1);
			key += told[i].rows;
			CHECK(told[i].key == key && told[i].acknowledged == 1 && told[i].targets == 1 && !told[i].error);
		}
	}
	CHECK_INT(key, ==, ROWS);
	CHECK_ERROR(DPI_Try_Next_Acks(told, 7, s, &count), DPI_ERR_AGAIN, "nothing");
	finish_source(s, f, ctx);
}

TEST(ack_batch, "FL-505 FL-508 FL-509", 2)
{
	batch(rank, 0);
}

TEST(ack_batch_up_to, "FL-505 FL-508 FL-509", 2)
{
	batch(rank, 1);
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

TEST(ack_through_larger_rings, "FL-504 FL-515", 2, .deadline_s = 180)
{
	through_growth(DPI_ACK_RELEASED, rank);
}

TEST(ack_received_through_larger_rings, "FL-503 FL-515", 2, .deadline_s = 180)
{
	through_growth(DPI_ACK_RECEIVED, rank);
}

TEST(ack_of_large_rows, "FL-503 FL-504 FL-505", 2, .deadline_s = 180)
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
TEST(ack_lent_run_stays, "FL-425", 2, .deadline_s = 180)
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
	UNTIL(LONG, !error, int error = DPI_Flush_Source(s));
	for (*step = 1; *step < 3; ++*step) {
		CHECK_ERROR(DPI_Wait_Ack(104, s), DPI_ERR_TIMEOUT, "target");
		CHECK_ERROR(DPI_Next_Acks(told, 3, s, &count), DPI_ERR_TIMEOUT, "5 rows wait");
		CHECK_INT(count, ==, 0);
	}
	UNTIL(LONG, error == DPI_SUCCESS, int error = DPI_Next_Acks(told, 3, s, &count));
	CHECK(count == 1 && told[0].key == 104 && told[0].rows == 5 && told[0].acknowledged == 3 && told[0].targets == 3 && !told[0].error);
	CHECK_DPI(DPI_Next_Acks(told, 3, s, &count)); /* nothing is left to wait for */
	CHECK_INT(count, ==, 0);
	UNTIL(LONG, !error, int error = DPI_Flush_Source(s)); /* so that closing has nothing to wait for */
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
