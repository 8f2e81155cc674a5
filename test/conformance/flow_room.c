/* SPDX-License-Identifier: Apache-2.0
 * flow_room.c: targets that are behind, or not there: memory stays bounded, who waits learns for whom; cycles. */
#include "flow_kit.h"

#define MEMORY ((uint64_t)1 << 18)

TEST(flow_back_pressure, "FL-420 FL-421 FL-422", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .segment = 4096, .memory = MEMORY);
	int64_t *sent = harness_shared();
	DPI_Tuple u;
	if (rank == 0) {
		DPI_Source s = source_with(f, 300 * MS);
		struct flow_row r = row_of(0, 1, 0);
		CHECK_ERROR(DPI_Try_Push(&r, sizeof r, s), DPI_ERR_AGAIN, "'f'");
		CHECK_ERROR(DPI_Push(&r, sizeof r, s), DPI_ERR_TIMEOUT, "target 0 of flow 'f' was not opened");
		harness_barrier();
		harness_barrier();
		int error = DPI_SUCCESS;
		for (int64_t before = -1; before != *sent || !*sent;) { /* rings grow by and by: full is when it stays so */
			before = *sent;
			while (!(error = DPI_Push(&r, sizeof r, s))) r = row_of(0, 1, ++*sent);
		}
		CHECK_ERROR(error, DPI_ERR_TIMEOUT, "target 0 of flow 'f' on node 1 had no room");
		CHECK_ERROR(DPI_Try_Push(&r, sizeof r, s), DPI_ERR_AGAIN, " ");
		DPI_Source_Stats stats = { .size = sizeof stats };
		CHECK_DPI(DPI_Get_Source_Stats(s, &stats));
		CHECK_INT(stats.rows, ==, *sent);
		CHECK_INT(stats.stalls, >, 0);
		CHECK_INT(stats.stall_us, >=, 300 * MS * 9 / 10);
		CHECK_INT(*sent * (int64_t)sizeof r, >=, 16384);
		CHECK_INT(*sent * (int64_t)sizeof r, <=, (int64_t)MEMORY);
		harness_barrier();
		UNTIL(10 * SECOND, !error, error = DPI_Push(&r, sizeof r, s)); /* it waits until there is room */
		++*sent;
		UNTIL(10 * SECOND, !error, error = DPI_Flush_Source(s)); /* so that closing has nothing to wait for */
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		harness_barrier();
		DPI_Target t = target_of(0, f);
		harness_barrier();
		harness_barrier();
		DPI_Target_Stats stats = { .size = sizeof stats };
		CHECK_DPI(DPI_Get_Target_Stats(t, &stats));
		CHECK_INT(stats.memory, <=, MEMORY);
		int64_t rows = 0;
		int error;
		for (; !(error = DPI_Next(t, &u)); rows++) CHECK_INT(((const struct flow_row *)u.data)->number, ==, rows);
		CHECK_INT(error, ==, DPI_ERR_END);
		CHECK_INT(rows, ==, *sent);
	}
	leave(ctx);
}

/* A push is admitted to all of its targets or to none. */
TEST(flow_all_or_none, "FL-423", 3)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 2, .sources = 1, .segment = 1024, .memory = 65536, .dist = DPI_DIST_BROADCAST);
	int64_t *sent = harness_shared();
	if (rank == 0) {
		DPI_Source s = source_of(f);
		harness_barrier();
		for (struct flow_row r = row_of(0, 0, 0); *sent < 5000;) {
			int error = DPI_Try_Push(&r, sizeof r, s);
			if (error != DPI_ERR_AGAIN) {
				CHECK_DPI(error);
				++*sent;
				r = row_of(0, *sent, *sent);
			}
		}
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of((uint32_t)rank - 1, f);
		DPI_Tuple u;
		int64_t rows = 0;
		int error;
		harness_barrier();
		for (; !(error = DPI_Next(t, &u)); rows++) {
			CHECK_INT(((const struct flow_row *)u.data)->number, ==, rows);
			if (rank == 2 && rows % 500 == 0) pause_ms(1); /* it is behind */
		}
		CHECK_INT(error, ==, DPI_ERR_END);
		CHECK_INT(rows, ==, 5000);
	}
	leave(ctx);
}

/* One thread that is source and target of a cycle of two flows whose rings are full. */
TEST(flow_cycle, "FL-424", 2)
{
	DPI_Context ctx = join();
	enum { LAPS = 5, IN_FLIGHT = 3000 };
	DPI_Flow there = FLOW("there", ctx, .sources = 1, .segment = 512, .memory = 16384), back = FLOW("back", ctx, .sources = 1, .segment = 512, .memory = 16384);
	DPI_Target t = target_of(0, rank ? there : back);
	DPI_Source s = source_of(rank ? back : there);
	int64_t pushed = 0, taken = 0, total = (int64_t)LAPS * IN_FLIGHT, held = 0;
	static struct flow_row store[IN_FLIGHT + 1];
	DPI_Tuple u;
	while (taken < total) {
		bool source = !rank && pushed < IN_FLIGHT, more = pushed < total;
		struct flow_row r = source ? row_of(0, pushed, pushed) : store[held ? held - 1 : 0];
		if (more && (source || held)) {
			int error = DPI_Try_Push(&r, sizeof r, s);
			if (!error && !source) held--;
			if (!error) pushed++;
			else CHECK_INT(error, ==, DPI_ERR_AGAIN);
		}
		int error = held < IN_FLIGHT && taken < total ? DPI_Try_Next(t, &u) : DPI_ERR_AGAIN;
		if (error == DPI_ERR_AGAIN) {
			sched_yield();
			continue;
		}
		CHECK_DPI(error);
		memcpy(&r, u.data, sizeof r);
		CHECK_INT(r.check, ==, row_of(0, r.key, r.number).check);
		taken++;
		store[held++] = r;
	}
	while (pushed < total) { /* rank 1 sends the last ones back */
		int error = DPI_Try_Push(&store[held - 1], sizeof *store, s);
		if (!error) held--, pushed++;
		else CHECK_INT(error, ==, DPI_ERR_AGAIN);
	}
	CHECK_INT(pushed, ==, total);
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, " ");
	leave(ctx);
}

/* The same within one process: besides the two rings, which it fills first, the thread holds no more than it must be able to. */
static void one_thread(uint64_t memory)
{
	enum { LAPS = 20, SEGMENT = 512, HANDS = 2 * SEGMENT / sizeof(struct flow_row) + 1, MOST = 20000 };
	static bool came[MOST];
	DPI_Context ctx = join();
	DPI_Flow f[2];
	DPI_Source s[2];
	DPI_Target t[2];
	struct flow_row hand[2][HANDS]; /* taken from flow i, to go on to the other */
	int held[2] = { 0, 0 };
	int64_t rows = 0, hops = 0, refused[2] = { 0, 0 }, seen = 0;
	for (int i = 0; i < 2; i++) {
		f[i] = FLOW(i ? "back" : "there", ctx, .sources = 1, .segment = SEGMENT, .memory = memory);
		s[i] = source_of(f[i]);
		t[i] = target_of(0, f[i]);
	}
	for (int i = 0; i < 2; i++)
		for (int in_vain = 0; in_vain < 50;) { /* full, and not just opening or sending */
			struct flow_row r = row_of(0, rows, rows);
			int error = DPI_Try_Push(&r, sizeof r, s[i]);
			CHECK(!error || error == DPI_ERR_AGAIN);
			if (error) pause_ms(1), in_vain++;
			else rows++, in_vain = 0;
		}
	CHECK(rows > 2 * HANDS && rows <= MOST);
	while (hops < LAPS * rows)
		for (int i = 0; i < 2; i++) {
			DPI_Tuple u;
			int error = held[i] < HANDS ? DPI_Try_Next(t[i], &u) : DPI_ERR_AGAIN;
			CHECK(!error || error == DPI_ERR_AGAIN);
			if (!error) memcpy(&hand[i][held[i]++], u.data, sizeof **hand);
			if (!held[i]) continue;
			error = DPI_Try_Push(&hand[i][held[i] - 1], sizeof **hand, s[!i]);
			CHECK(!error || error == DPI_ERR_AGAIN);
			if (error) refused[!i]++;
			else held[i]--, hops++;
		}
	CHECK(refused[0] && refused[1]);
	for (int i = 0; i < 2; i++) {
		for (int k = 0; k < held[i]; k++) came[hand[i][k].number] = true, seen++;
		CHECK_DPI(DPI_Close_Source(s[i]));
	}
	for (int i = 0; i < 2; i++) {
		DPI_Tuple u;
		int error;
		while (!(error = DPI_Next(t[i], &u))) {
			struct flow_row r;
			memcpy(&r, u.data, sizeof r);
			CHECK(r.number < rows && !came[r.number]);
			came[r.number] = true;
			seen++;
		}
		CHECK_INT(error, ==, DPI_ERR_END);
	}
	CHECK_INT(seen, ==, rows);
	leave(ctx);
}

TEST(flow_cycle_of_one_thread, "FL-424", 1) { one_thread(16384); }
TEST(flow_cycle_of_one_thread_small, "FL-424", 1) { one_thread(4096); }
TEST(flow_cycle_of_one_thread_large, "FL-424", 1) { one_thread(1 << 18); }

/* Nor does what DPI_Next takes meanwhile end what was lent before: the ring goes around several times. */
TEST(flow_lend_and_next, "FL-425", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .segment = 512, .memory = 16384);
	if (rank == 0) {
		DPI_Source s = source_of(f);
		push_rows(s, 0, 0, 5000);
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of(0, f);
		DPI_Batch b;
		DPI_Tuple u;
		int64_t rows = 0;
		int error = DPI_SUCCESS;
		while (!error && !(error = DPI_Next_Batch(t, &b))) {
			rows += (int64_t)b.count;
			for (int i = 0; i < 40 && !error; i++) {
				error = DPI_Next(t, &u);
				rows += !error;
			}
			for (size_t k = 0; k < b.count; k++) {
				const struct flow_row *r = (const struct flow_row *)b.rows + k;
				CHECK_INT(r->check, ==, row_of(0, r->key, r->number).check);
				if (k) CHECK_INT(r->number, ==, r[-1].number + 1);
			}
			CHECK_DPI(DPI_Release_Batch(1, t));
		}
		CHECK_ERROR(error, DPI_ERR_END, " ");
		CHECK_INT(rows, ==, 5000);
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

TEST(flow_lend, "FL-425 FL-426", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .segment = 512, .memory = 1 << 20);
	if (rank == 0) {
		DPI_Source s = source_of(f);
		for (int64_t i = 0; i < 5000; i += 10) {
			push_rows(s, 0, i, 10);
			CHECK_DPI(DPI_Flush_Source(s));
		}
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of(0, f);
		DPI_Batch b[DPI_LENT_MAX + 1];
		int64_t rows = 0;
		size_t lent = 0;
		int error = DPI_SUCCESS;
		CHECK_ERROR(DPI_Release_Batch(1, t), DPI_ERR_RANGE, "0 are lent");
		while (!error) {
			error = DPI_Next_Batch(t, &b[lent]);
			if (error == DPI_ERR_LIMIT) {
				CHECK_INT(lent, ==, DPI_LENT_MAX);
				CHECK_DPI(DPI_Release_Batch(lent / 2, t)); /* those lent longest */
				for (size_t i = 0; i < lent - lent / 2; i++) b[i] = b[i + lent / 2];
				lent -= lent / 2;
				error = DPI_SUCCESS;
				continue;
			}
			if (error) break;
			CHECK_INT(((const struct flow_row *)b[lent].rows)->number, ==, rows);
			rows += (int64_t)b[lent].count;
			lent++;
			/* nothing that is lent changes */
			for (size_t i = 0; i < lent; i++)
				for (size_t k = 0; k < b[i].count; k++) {
					const struct flow_row *r = (const struct flow_row *)b[i].rows + k;
					CHECK_INT(r->check, ==, row_of(0, r->key, r->number).check);
				}
		}
		CHECK_ERROR(error, DPI_ERR_END, " ");
		CHECK_INT(rows, ==, 5000);
		CHECK_ERROR(DPI_Release_Batch(lent + 1, t), DPI_ERR_RANGE, "lent");
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

/* Bursts of rows, and a target that holds now and then what it was lent while it looks for more. What it leaves untold, and where in the
 * ring, depends on what it holds and on how the two keep step: many sizes of bursts have their turn. */
#define HELD_ROWS 20000
#define HELD_MOST 24 /* rows of a segment */
enum looks { BY_NEXT, BY_POLL, BY_WAIT };

static void push_in_bursts(DPI_Flow f, _Atomic int64_t *taken)
{
	DPI_Source s = source_of(f);
	for (int64_t n = 0, burst = 0, left = 0; n < HELD_ROWS; n++, left--) {
		struct flow_row r = row_of(0, n, n);
		int error;
		if (!left) {
			CHECK_DPI(DPI_Flush_Source(s));
			AWAIT(*taken == n);
			left = 1 + burst++ * 7 % 120;
		}
		UNTIL(10 * SECOND, error != DPI_ERR_AGAIN, error = DPI_Try_Push(&r, sizeof r, s));
		CHECK_DPI(error);
	}
	CHECK_DPI(DPI_Close_Source(s));
}

static int look_by(enum looks how, DPI_Target t, DPI_Batch *b)
{
	size_t index;
	int error = DPI_SUCCESS;
	if (how == BY_WAIT) CHECK_DPI(DPI_Wait_Targets(&t, 1, 10 * SECOND, &index));
	UNTIL(10 * SECOND, how != BY_POLL || error != DPI_ERR_TIMEOUT, error = DPI_Next_Batch(t, b));
	return error;
}

static void hold_while_it_looks(int rank, enum looks how)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .segment = 832, .memory = 4096);
	_Atomic int64_t *taken = harness_shared();
	if (rank == 0) {
		push_in_bursts(f, taken);
	} else {
		DPI_Target t = target_with(0, f, how == BY_POLL ? DPI_NO_WAIT : 10 * SECOND);
		DPI_Batch b;
		uint64_t seed = 1;
		size_t lent = 0, rows = 0;
		int error;
		while (!(error = look_by(how, t, &b))) {
			lent++, rows += b.count;
			if (rows > HELD_MOST || draw(&seed, 3)) {
				CHECK_DPI(DPI_Release_Batch(lent, t));
				lent = rows = 0;
			}
			*taken += (int64_t)b.count;
		}
		CHECK_INT(error, ==, DPI_ERR_END);
		CHECK_INT(*taken, ==, HELD_ROWS);
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

TEST(flow_hold_next, "FL-427", 2)
{
	hold_while_it_looks(rank, BY_NEXT);
}
TEST(flow_hold_poll, "FL-427", 2)
{
	hold_while_it_looks(rank, BY_POLL);
}
TEST(flow_hold_wait, "FL-427", 2)
{
	hold_while_it_looks(rank, BY_WAIT);
}

/* ---------------------------------------------------------------------------------------------- rows that are expected */

/* 100 rows go through a flow, and later more: what its target's rings take when the first of them, and when all 100 are there. */
static void expect(DPI_Context ctx, int rank, const char *name, uint64_t expected, int64_t more, uint64_t memory[2])
{
	DPI_Flow f = FLOW(name, ctx, .sources = 1, .expected = expected);
	DPI_Source s = rank ? NULL : source_of(f);
	DPI_Target t = rank ? target_of(0, f) : NULL;
	for (int i = 0; i < 2; i++) {
		if (s) push_rows(s, 0, i ? 1 : 0, i ? 99 : 1);
		if (s) CHECK_DPI(DPI_Flush_Source(s));
		harness_barrier();
		DPI_Target_Stats stats = { .size = sizeof stats };
		if (t) CHECK_DPI(DPI_Get_Target_Stats(t, &stats));
		memory[i] = stats.memory;
		harness_barrier();
	}
	if (s) {
		push_rows(s, 0, 100, more);
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		struct flow_tally tally = { 0 };
		flow_drain(t, &tally);
		CHECK_INT(tally.total, ==, 100 + more);
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Close_Flow(f));
}

TEST(flow_expected, "FL-428 FL-2", 2)
{
	DPI_Context ctx = join();
	uint64_t few[2], wrong[2], many[2], unknown[2];
	expect(ctx, rank, "few", 100, 0, few);
	expect(ctx, rank, "many", 10000000, 0, many);
	expect(ctx, rank, "wrong", 100, 50000, wrong);
	expect(ctx, rank, "wrong, too", 1, 50000, wrong);
	expect(ctx, rank, "unknown", 0, 50000, unknown);
	if (rank) {
		CHECK_INT(few[0], >, 0);
		CHECK_INT(few[0], ==, few[1]); /* it did not grow */
		CHECK_INT(few[1], <, many[0]);
		CHECK_INT(few[1], <, unknown[0]);
		CHECK_INT(wrong[1], <=, few[1]);
	}
	expect(ctx, rank, "most", UINT64_MAX, 0, many);
	leave(ctx);
}

/* ------------------------------------------------------------------------------------------------ half of the targets */

/* Target 1 is opened late, when a push has waited for it in vain, or the flow is cancelled instead: the row is at both, once, or at none. */
static void half_way(int rank, bool cancelled)
{
	static const DPI_Column columns[] = { { "n", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 0, 0, 0, 0 } };
	static char text[3000];
	static uint8_t row[4000] __attribute__((aligned(16)));
	DPI_Context ctx = join();
	DPI_Schema schema;
	size_t size;
	memset(text, 'x', sizeof text);
	CHECK_DPI(DPI_Create_Schema(columns, 2, &schema));
	CHECK_DPI(DPI_Pack_Row((const DPI_Value[]){ { .type = DPI_TYPE_INT64, .i = 7 }, { .type = DPI_TYPE_UTF8, .data = text, .size = sizeof text } }, schema, row, sizeof row, &size));
	DPI_Flow f = FLOW("f", ctx, .schema = schema, .dist = DPI_DIST_BROADCAST, .targets = 2, .sources = 1, .segment = 512);
	DPI_Target t[2];
	if (rank) t[0] = target_of(0, f);
	harness_barrier();
	if (!rank) {
		DPI_Source s = source_with(f, cancelled ? 20 * SECOND : 300 * MS);
		if (cancelled) {
			CHECK_ERROR(DPI_Push(row, size, s), DPI_ERR_CANCELLED, "enough");
			leave(ctx);
			return;
		}
		CHECK_ERROR(DPI_Push(row, size, s), DPI_ERR_TIMEOUT, "target 1");
		CHECK_DPI(DPI_Flush_Source(s));
		harness_barrier();
		harness_barrier();
		int error = DPI_ERR_TIMEOUT;
		UNTIL(20 * SECOND, !error, error = DPI_Push(row, size, s));
		CHECK_DPI(DPI_Close_Source(s));
	} else if (cancelled) {
		DPI_Tuple u;
		for (int64_t end = now() + 100 * MS; now() < end;) CHECK_INT(DPI_Try_Next(t[0], &u), ==, DPI_ERR_AGAIN);
		CHECK_DPI(DPI_Cancel_Flow("enough", f));
	} else {
		harness_barrier();
		t[1] = target_of(1, f);
		harness_barrier();
		for (int i = 0; i < 2; i++) {
			DPI_Tuple u;
			int rows = 0, error;
			for (; !(error = DPI_Next(t[i], &u)); rows++) CHECK(u.size == size && !memcmp(u.data, row, size));
			CHECK_INT(error, ==, DPI_ERR_END);
			CHECK_INT(rows, ==, 1);
			CHECK_DPI(DPI_Close_Target(t[i]));
		}
	}
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

TEST(flow_large_row_half_way, "FL-429", 2) { half_way(rank, false); }
TEST(flow_large_row_cancelled, "FL-429 FL-440", 2) { half_way(rank, true); }

/* Row number n: large, but every third, which is small. */
static size_t large_row(DPI_Schema schema, int64_t n, uint8_t *row, size_t room)
{
	static char text[60000];
	size_t size, length = n % 3 == 2 ? 100 : sizeof text - (size_t)n;
	for (size_t i = 0; i < length; i++) text[i] = (char)('a' + (i + (size_t)n) % 26);
	CHECK_DPI(DPI_Pack_Row((const DPI_Value[]){ { .type = DPI_TYPE_INT64, .i = n }, { .type = DPI_TYPE_UTF8, .data = text, .size = length } }, schema, row, room, &size));
	return size;
}

/* One thread has both ends, of rings that are smaller than a row; what it gives up half way comes to nobody. */
static void large_alone(const char *name, DPI_Context ctx, uint64_t *seed, DPI_Flow_Attr *a)
{
	enum { LARGE = 9, ROOM = 61000 };
	static const DPI_Column columns[] = { { "n", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 0, 0, 0, 0 } };
	static uint8_t row[ROOM] __attribute__((aligned(16))), expected[ROOM] __attribute__((aligned(16)));
	DPI_Schema schema;
	DPI_Target t[2];
	int64_t taken[2] = { 0 };
	CHECK_DPI(DPI_Create_Schema(columns, 2, &schema));
	a->schema = schema;
	a->sources = 1;
	a->segment = 4096;
	a->memory = 65536;
	DPI_Flow f = kit_flow(name, a, ctx);
	for (uint32_t i = 0; i < a->targets; i++) t[i] = target_of(i, f);
	DPI_Source s = source_of(f);
	for (int64_t n = 0, tries = 0, given_up = 0; n < LARGE;) {
		size_t size = large_row(schema, n + given_up * LARGE, row, sizeof row);
		int error = (DPI_Try_Push)(row, size, s);
		given_up = error && tries == 3 && n % 3 == 1; /* for one of another content, once */
		tries = error ? tries + 1 : 0;
		if (error) CHECK_INT(error, ==, DPI_ERR_AGAIN);
		else n++;
		CHECK_INT(tries, <, 5000);
		for (uint32_t i = 0; i < a->targets; i++) {
			DPI_Tuple u;
			if (a->targets == 2 && draw(seed, 3) == 0) continue;
			for (; !(error = DPI_Try_Next(t[i], &u)); taken[i]++) {
				CHECK_INT(u.size, ==, large_row(schema, taken[i], expected, sizeof expected));
				CHECK(!memcmp(u.data, expected, u.size));
			}
			CHECK_INT(error, ==, DPI_ERR_AGAIN);
		}
		if (n == LARGE) CHECK_DPI(DPI_Flush_Source(s));
	}
	for (uint32_t i = 0; i < a->targets; i++) {
		DPI_Tuple u;
		for (; taken[i] < LARGE; taken[i]++) CHECK_DPI(DPI_Next(t[i], &u));
		CHECK_INT(DPI_Try_Next(t[i], &u), ==, DPI_ERR_AGAIN);
	}
	DPI_Source_Stats stats = { .size = sizeof stats };
	CHECK_DPI(DPI_Get_Source_Stats(s, &stats));
	CHECK_INT(stats.rows, ==, LARGE * a->targets);
	CHECK_DPI(DPI_Close_Source(s));
	for (uint32_t i = 0; i < a->targets; i++) CHECK_DPI(DPI_Close_Target(t[i]));
	CHECK_DPI(DPI_Free_Schema(schema));
	CHECK_DPI(DPI_Close_Flow(f));
}

TEST(flow_large_rows_alone, "FL-419 FL-420 FL-429", 1, .deadline_s = 180)
{
	static const DPI_Codec lz4 = { .codec = DPI_CODEC_LZ4 };
	DPI_Context ctx = join();
	uint64_t seed = draw_seed(rank);
	for (int way = 0; way < 16; way++) {
		char name[16];
		DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
		snprintf(name, sizeof name, "f%d", way);
		a.layout = way & 1 ? DPI_LAYOUT_COLUMNS : DPI_LAYOUT_ROWS;
		a.targets = way & 2 ? 2 : 1;
		a.dist = way & 2 ? DPI_DIST_BROADCAST : DPI_DIST_ROUND_ROBIN;
		if (way & 4) a.codecs = &lz4, a.codec_count = 1;
		a.hint = way & 8 ? DPI_HINT_LATENCY : 0;
		large_alone(name, ctx, &seed, &a);
	}
	leave(ctx);
}

/* Keys of Zipf 1.2, and targets that are behind: the memory of each stays within the flow's, and every row comes. */
TEST(flow_skewed_keys, "FL-402 FL-421", 4)
{
	enum { KEYS = 1000, ROWS = 20000, LOOK = 100 };
	_Atomic int64_t *taken = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 2, .sources = 2, .segment = 4096, .memory = MEMORY);
	if (rank < 2) {
		double below[KEYS], sum = 0, weight = 1;
		uint64_t seed = draw_seed(rank);
		for (int k = 1; k <= KEYS; k++) {
			if (k > 1 && !(k & (k - 1))) weight *= 0.4353; /* 1/2^1.2: between powers of two it stays */
			below[k - 1] = sum += weight;
		}
		DPI_Source s = source_with(f, 60 * SECOND);
		for (int64_t n = 0; n < ROWS; n++) {
			double x = (double)draw(&seed, 1 << 30) / (1 << 30) * sum;
			int key = 0;
			while (key < KEYS - 1 && below[key] <= x) key++;
			struct flow_row r = row_of(rank, key, n);
			CHECK_DPI(DPI_Push(&r, sizeof r, s));
		}
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of((uint32_t)rank - 2, f);
		struct flow_tally tally = { 0 };
		DPI_Target_Stats stats = { .size = sizeof stats };
		DPI_Tuple u;
		int error;
		while (!(error = DPI_Next(t, &u))) {
			flow_take(&tally, u.data, u.size);
			if (tally.total % LOOK) continue;
			CHECK_DPI(DPI_Get_Target_Stats(t, &stats));
			CHECK_INT(stats.memory, <=, MEMORY);
			usleep(200);
		}
		CHECK_INT(error, ==, DPI_ERR_END);
		taken[rank] = tally.total;
	}
	harness_barrier();
	CHECK_INT(taken[2] + taken[3], ==, 2 * ROWS);
	leave(ctx);
}
