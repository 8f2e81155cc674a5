/* SPDX-License-Identifier: Apache-2.0
 * flow_retain.c: retained flows: targets that die or move, and are bound anew. */
#include <signal.h>

#include "flow_kit.h"

#define LONG (50 * SECOND)
#define ROWS 4000

struct retained {
	_Atomic int64_t taken, released, bound, done;
	_Atomic uint64_t position;
	_Atomic int go;
};

/* Bind a target anew; n: the position of source 0; < 0: none. */
static DPI_Target bind_again(uint32_t index, int64_t n, DPI_Flow f)
{
	DPI_Position p = { 0, (uint64_t)n };
	DPI_Target_Attr a = DPI_TARGET_ATTR_INIT;
	DPI_Target t;
	a.timeout_us = LONG;
	a.rebind = 1;
	if (n >= 0) a.position = &p, a.positions = 1;
	CHECK_DPI(DPI_Open_Target(index, &a, f, &t));
	return t;
}

static uint64_t epoch_of(DPI_Target t)
{
	DPI_Target_Stats s = { .size = sizeof s };
	CHECK_DPI(DPI_Get_Target_Stats(t, &s));
	return s.epoch;
}

/* Take count rows, whose numbers go on from first; acknowledge each run. */
static int64_t take_some(DPI_Target t, int64_t first, int64_t count, bool confirm, struct retained *shared)
{
	while (count > 0) {
		DPI_Batch b;
		CHECK_DPI(DPI_Next_Batch(t, &b));
		const struct flow_row *r = b.rows;
		for (size_t i = 0; i < b.count; i++, first++) {
			CHECK_INT(r[i].number, ==, first);
			CHECK_INT(r[i].check, ==, row_of(0, first, first).check);
		}
		count -= (int64_t)b.count;
		shared->taken = first;
		uint64_t position;
		CHECK_DPI(DPI_Get_Taken(0, t, &position));
		shared->position = position;
		if (confirm) CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, t));
		CHECK_DPI(DPI_Release_Batch(1, t));
		shared->released = first;
	}
	return first;
}

/* The first run after a rebinding: no row is left out. What was acknowledged last may not have been heard. */
static int64_t take_first(DPI_Target t, int64_t acknowledged, bool confirm)
{
	DPI_Batch b;
	CHECK_DPI(DPI_Next_Batch(t, &b));
	const struct flow_row *r = b.rows;
	int64_t next = r->number + (int64_t)b.count;
	CHECK_INT(r->number, <=, acknowledged);
	if (confirm) CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, t));
	CHECK_DPI(DPI_Release_Batch(1, t));
	return next;
}

static void end_at(DPI_Target t, int64_t first, int64_t all, bool confirm, struct retained *shared)
{
	DPI_Tuple u;
	CHECK_INT(take_some(t, first, all - first, confirm, shared), ==, all);
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "has ended");
	CHECK_DPI(DPI_Close_Target(t));
}

/* ---------------------------------------------------------------------------------------------------------- deaths */

/* Before each row one that a stage drops. */
static void push_all(DPI_Source s, bool staged)
{
	if (!staged) push_rows(s, 0, 0, ROWS);
	for (int64_t n = 0; staged && n < ROWS; n++) {
		struct flow_row r = row_of(0, -1, n);
		CHECK_DPI(DPI_Push(&r, sizeof r, s));
		push_rows(s, 0, n, 1);
	}
}

enum { AS_PUSHED = -1, IN_COLUMNS = -2 };

/* Rank 0 pushes; rank 1 takes some and dies; rank 2 takes over and gets the rest, from there on, or from the position that it says. place:
 * DPI_AT_*, of a stage; or one of the above. */
static void death(int rank, int retain, bool position, int place, enum kit_codecs codecs)
{
	struct retained *w = harness_shared();
	DPI_Context ctx = join();
	const DPI_Stage stage = { .kind = DPI_STAGE_FILTER, .place = place, .text = "key >= 0" };
	DPI_Flow_Attr *a = FLOW_ATTR(.targets = 1, .sources = 1, .retain = retain, .segment = 1024, .memory = codecs ? 1 << 15 : 1 << 17, .on_death = DPI_DEATH_FAILS,
				     .layout = place == IN_COLUMNS ? DPI_LAYOUT_COLUMNS : DPI_LAYOUT_ROWS, .stages = place < 0 ? NULL : &stage, .stage_count = place >= 0);
	kit_codecs(codecs, a, ctx);
	DPI_Flow f = kit_flow("f", a, ctx);
	bool confirm = retain == DPI_ACK_CONFIRMED;
	if (rank == 0) {
		DPI_Source s = source_with(f, LONG);
		DPI_Source_Stats stats = { .size = sizeof stats };
		harness_barrier();
		push_all(s, place >= 0);
		CHECK_DPI(DPI_Flush_Source(s));
		CHECK_DPI(DPI_Get_Source_Stats(s, &stats));
		CHECK_INT(stats.replays, ==, 1);
		CHECK_INT(stats.rows, ==, place == DPI_AT_TARGET ? 2 * ROWS : ROWS);
		CHECK_DPI(DPI_Close_Source(s));
	} else if (rank == 1) {
		DPI_Target t = target_with(0, f, LONG);
		CHECK_INT(epoch_of(t), ==, 1);
		harness_barrier();
		harness_expect_death(1);
		take_some(t, 0, ROWS / 3, confirm, w);
		harness_kill(1, SIGKILL);
	} else {
		harness_barrier();
		AWAIT(!harness_alive(1));
		int64_t first = w->released;
		DPI_Target t = bind_again(0, position ? (int64_t)w->position : -1, f);
		CHECK_INT(epoch_of(t), ==, 2);
		DPI_Flow_End end = DPI_FLOW_END_INIT;
		CHECK_DPI(DPI_Get_Flow_Target(0, f, &end));
		CHECK(end.state == DPI_END_OPEN && end.node == 2 && end.epoch == 2);
		if (!position) first = take_first(t, first, confirm);
		end_at(t, first, ROWS, confirm, w);
	}
	CHECK_DPI(DPI_Close_Flow(f));
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(a_dead_target_is_bound_anew, "FL-901 FL-903 FL-905 FL-908", 3)
{
	death(rank, DPI_ACK_RELEASED, false, AS_PUSHED, KIT_PLAIN);
}

TEST(a_dead_target_is_bound_anew_confirmed, "FL-902 FL-905", 3)
{
	death(rank, DPI_ACK_CONFIRMED, false, AS_PUSHED, KIT_PLAIN);
}

TEST(a_dead_target_is_bound_anew_at_a_position, "FL-906", 3)
{
	death(rank, DPI_ACK_CONFIRMED, true, AS_PUSHED, KIT_PLAIN);
}

TEST(a_dead_target_is_bound_anew_in_columns, "FL-901 FL-903 FL-905 FL-908", 3)
{
	death(rank, DPI_ACK_RELEASED, false, IN_COLUMNS, KIT_PLAIN);
}

TEST(a_dead_target_is_bound_anew_in_columns_at_a_position, "FL-906", 3)
{
	death(rank, DPI_ACK_CONFIRMED, true, IN_COLUMNS, KIT_PLAIN);
}

TEST(a_dead_target_is_bound_anew_with_stages, "FL-901 FL-905 FL-910", 3)
{
	death(rank, DPI_ACK_RELEASED, false, DPI_AT_TARGET, KIT_PLAIN);
}

TEST(a_dead_target_is_bound_anew_with_stages_at_the_source, "FL-901 FL-905 FL-910", 3)
{
	death(rank, DPI_ACK_RELEASED, true, DPI_AT_SOURCE, KIT_PLAIN);
}

TEST(a_dead_target_is_bound_anew_with_stages_at_a_position, "FL-906 FL-910", 3)
{
	death(rank, DPI_ACK_CONFIRMED, true, DPI_AT_TARGET, KIT_PLAIN);
}

TEST(a_dead_target_is_bound_anew_compressed, "C-20 FL-901 FL-905 FL-908", 3) { death(rank, DPI_ACK_RELEASED, false, AS_PUSHED, KIT_COMPRESSED); }
TEST(a_dead_target_is_bound_anew_encrypted, "C-20 FL-901 FL-905 FL-908", 3) { death(rank, DPI_ACK_RELEASED, false, AS_PUSHED, KIT_ENCRYPTED); }
TEST(a_dead_target_is_bound_anew_encrypted_at_a_position, "C-20 FL-906", 3) { death(rank, DPI_ACK_CONFIRMED, true, AS_PUSHED, KIT_ENCRYPTED); }
TEST(a_dead_target_is_bound_anew_encoded_with_stages, "C-20 FL-905 FL-910", 3) { death(rank, DPI_ACK_CONFIRMED, true, DPI_AT_SOURCE, KIT_BOTH); }

/* Every row goes to both targets: one of them dies, and rank 3 takes it over; the other hears nothing of it. */
TEST(one_of_several_targets_is_bound_anew, "FL-901 FL-904 FL-905", 4)
{
	struct retained *w = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .dist = DPI_DIST_BROADCAST, .targets = 2, .sources = 1, .retain = DPI_ACK_RELEASED, .segment = 1024, .memory = 1 << 17);
	if (rank == 0) {
		DPI_Source s = source_with(f, LONG);
		harness_barrier();
		push_rows(s, 0, 0, ROWS);
		CHECK_DPI(DPI_Close_Source(s));
	} else if (rank == 1) {
		DPI_Target t = target_with(0, f, LONG);
		harness_barrier();
		end_at(t, 0, ROWS, false, &w[1]);
	} else if (rank == 2) {
		DPI_Target t = target_with(1, f, LONG);
		harness_barrier();
		harness_expect_death(2);
		take_some(t, 0, ROWS / 3, false, w);
		harness_kill(2, SIGKILL);
	} else {
		harness_barrier();
		AWAIT(!harness_alive(2));
		int64_t first = w->released;
		DPI_Target t = bind_again(1, -1, f);
		end_at(t, take_first(t, first, false), ROWS, false, w);
	}
	CHECK_DPI(DPI_Close_Flow(f));
	CHECK_DPI(DPI_Barrier("end", 3, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* Rank 0 is the registry's process. */
TEST(retained_data_without_registry, "FL-448 FL-904", 3)
{
	struct retained *w = harness_shared();
	if (rank == 0) harness_expect_death(0);
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 1, .sources = 1, .retain = DPI_ACK_CONFIRMED);
	DPI_Source s = NULL;
	DPI_Target t = NULL;
	if (rank == 1) s = source_with(f, LONG);
	if (rank == 2) t = target_with(0, f, LONG);
	harness_barrier();
	if (rank == 1) push_rows(s, 0, 0, 100);
	if (rank == 2) take_some(t, 0, 100, true, w);
	harness_barrier();
	if (rank == 0) harness_kill(0, SIGKILL);
	AWAIT(!harness_alive(0));
	if (rank == 1) {
		DPI_Target_Attr again = DPI_TARGET_ATTR_INIT;
		DPI_Target other;
		push_rows(s, 0, 100, ROWS);
		CHECK_DPI(DPI_Flush_Source(s));
		UNTIL(LONG, e == DPI_ERR_REGISTRY, int e = DPI_Seal_Flow(f));
		again.rebind = 1;
		CHECK_ERROR(DPI_Open_Target(0, &again, f, &other), DPI_ERR_REGISTRY, " ");
		push_rows(s, 0, 100 + ROWS, 100);
		CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_REGISTRY, " ");
		w->done = 1;
	} else {
		take_some(t, 100, ROWS + 100, true, w);
		AWAIT(w->done);
		int error = DPI_Close_Target(t);
		CHECK(error == DPI_SUCCESS || error == DPI_ERR_REGISTRY);
	}
	CHECK_DPI(DPI_Close_Flow(f));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* Rows that were released, but not confirmed, come again: exactly those behind the position. */
TEST(a_position_says_where_to_go_on, "FL-902 FL-906 FL-908", 3)
{
	struct retained *w = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 1, .sources = 1, .retain = DPI_ACK_CONFIRMED, .segment = 1024);
	if (rank == 0) {
		DPI_Source s = source_with(f, LONG);
		harness_barrier();
		push_rows(s, 0, 0, 500);
		CHECK_DPI(DPI_Close_Source(s));
	} else if (rank == 1) {
		DPI_Target t = target_with(0, f, LONG);
		DPI_Tuple u;
		harness_barrier();
		harness_expect_death(1);
		for (int i = 0; i < 300; i++) CHECK_DPI(DPI_Next(t, &u));
		CHECK_DPI(DPI_Ack(0, 100, t));
		harness_kill(1, SIGKILL);
	} else {
		uint64_t rows = 0;
		DPI_Target_Stats stats = { .size = sizeof stats };
		harness_barrier();
		AWAIT(!harness_alive(1));
		DPI_Target t = bind_again(0, 217, f);
		CHECK_DPI(DPI_Get_Taken(0, t, &rows));
		CHECK_INT(rows, ==, 217);
		take_some(t, 217, 1, true, w);
		CHECK_DPI(DPI_Get_Target_Stats(t, &stats));
		CHECK_INT(stats.passed, >=, 100);
		CHECK_INT(stats.passed, <=, 217);
		end_at(t, w->taken, 500, true, w);
	}
	CHECK_DPI(DPI_Close_Flow(f));
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* ---------------------------------------------------------------------------------------------------------- fencing */

TEST(a_target_that_lives_is_fenced, "FL-904 FL-907", 3)
{
	struct retained *w = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 1, .sources = 1, .retain = DPI_ACK_RELEASED, .segment = 1024);
	DPI_Tuple u;
	DPI_Target t, other;
	if (rank == 0) {
		DPI_Source s = source_with(f, LONG);
		harness_barrier();
		push_rows(s, 0, 0, 100);
		CHECK_DPI(DPI_Flush_Source(s));
		harness_barrier(); /* pushed */
		harness_barrier(); /* some of it taken */
		harness_barrier(); /* and bound anew */
		/* by the short way, too, a row goes to where the target is now */
		push_rows(s, 0, 100, 1);
		CHECK_DPI(DPI_Close_Source(s));
	} else if (rank == 1) {
		t = target_with(0, f, LONG);
		harness_barrier();
		harness_barrier();
		for (int i = 0; i < 40; i++) CHECK_DPI(DPI_Next(t, &u));
		harness_barrier();
		harness_barrier();
		UNTIL(LONG, error == DPI_ERR_FENCED, int error = DPI_Ack(0, 0, t)); /* which takes nothing, and is of no use here otherwise */
		while (DPI_Try_Next(t, &u) == DPI_SUCCESS) continue; /* the rest of its run */
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_FENCED, "target 0 of flow 'f' was bound anew, by node 2");
		CHECK_DPI(DPI_Close_Target(t));
	} else {
		harness_barrier();
		harness_barrier();
		harness_barrier();
		CHECK_ERROR(DPI_Open_Target(0, NULL, f, &other), DPI_ERR_EXISTS, "attr->rebind");
		t = bind_again(0, -1, f);
		harness_barrier();
		end_at(t, take_first(t, 40, false), 101, false, w);
	}
	CHECK_DPI(DPI_Close_Flow(f));
	leave(ctx);
}

/* ------------------------------------------------------------------------------------------------------- the source */

TEST(a_source_waits_for_acknowledgements, "FL-903 FL-909", 2, .one_transport = true)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 1, .sources = 1, .retain = DPI_ACK_CONFIRMED, .segment = 512, .memory = 8192, .on_death = DPI_DEATH_GOES_ON);
	DPI_Tuple u;
	if (rank == 0) {
		DPI_Source s = source_with(f, 200 * MS);
		DPI_Source_Stats stats = { .size = sizeof stats };
		int error = DPI_SUCCESS;
		harness_barrier();
		for (int64_t n = 0; !error; n++) {
			struct flow_row r = row_of(0, n, n);
			error = DPI_Push(&r, sizeof r, s);
		}
		CHECK_ERROR(error, DPI_ERR_TIMEOUT, "target 0 of flow 'f' on node 1 had no room");
		CHECK_DPI(DPI_Get_Source_Stats(s, &stats));
		CHECK_INT(stats.kept, >=, 2048);
		CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_TIMEOUT, "target 0");
		harness_barrier();
	} else {
		DPI_Target t = target_with(0, f, LONG);
		harness_barrier();
		for (int i = 0; i < 10; i++) CHECK_DPI(DPI_Next(t, &u));
		harness_barrier();
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Close_Flow(f));
	leave(ctx);
}

TEST(direct_flows_do_not_rebind, "FL-904", 1, .one_transport = true)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 1);
	DPI_Target t;
	DPI_Position p = { 0, 1 };
	DPI_Target_Attr a = DPI_TARGET_ATTR_INIT;
	a.rebind = 1;
	CHECK_ERROR(DPI_Open_Target(0, &a, f, &t), DPI_ERR_USE, "attr->rebind");
	a.rebind = 2;
	CHECK_ERROR(DPI_Open_Target(0, &a, f, &t), DPI_ERR_ARGUMENT, "attr->rebind is 2");
	a.rebind = 0;
	a.position = &p;
	a.positions = 1;
	CHECK_ERROR(DPI_Open_Target(0, &a, f, &t), DPI_ERR_USE, "attr->positions");
	CHECK_DPI(DPI_Close_Flow(f));
	f = FLOW("g", ctx, .targets = 1, .retain = DPI_ACK_RELEASED);
	a.position = NULL;
	CHECK_ERROR(DPI_Open_Target(0, &a, f, &t), DPI_ERR_ARGUMENT, "attr->position");
	CHECK_DPI(DPI_Close_Flow(f));
	leave(ctx);
}

/* --------------------------------------------------------------------------------------- rows that vary, and marks */

/* Row n has text of a size that follows from n; some are larger than a segment. */
static uint32_t text_size(int64_t n)
{
	return n % 50 == 7 ? 3000 : (uint32_t)(n * 7 % 61);
}

static size_t write_row(uint8_t *to, DPI_Schema schema, int64_t n)
{
	static char text[3000];
	size_t size;
	memset(text, 'a' + (int)(n % 26), sizeof text);
	const DPI_Value value[] = { { .type = DPI_TYPE_INT64, .i = n }, { .type = DPI_TYPE_UTF8, .data = text, .size = text_size(n) } };
	CHECK_DPI(DPI_Pack_Row(value, schema, to, 8192, &size));
	return size;
}

/* Rank 1 takes up to row 120 and confirms some of them; rank 2 gets the others and the marks, of which the first was told before. */
static void vary_and_come_again(int rank, int64_t confirmed, enum kit_codecs codecs)
{
	DPI_Context ctx = join();
	DPI_Schema schema;
	static const DPI_Column columns[] = { { "n", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 0, 0, 0, 0 } };
	static uint8_t row[8192] __attribute__((aligned(16)));
	CHECK_DPI(DPI_Create_Schema(columns, 2, &schema));
	DPI_Flow_Attr *a = FLOW_ATTR(.schema = schema, .dist = DPI_DIST_BROADCAST, .targets = 1, .sources = 1, .retain = DPI_ACK_CONFIRMED, .segment = 1024);
	kit_codecs(codecs, a, ctx);
	DPI_Flow f = kit_flow("f", a, ctx);
	DPI_Tuple u;
	if (rank == 0) {
		DPI_Source s = source_with(f, LONG);
		harness_barrier();
		for (int64_t n = 0; n < 300; n++) {
			size_t size = write_row(row, schema, n);
			CHECK_DPI(DPI_Push(row, size, s));
			if (n == 49 || n == 249) CHECK_DPI(DPI_Push_Mark((uint64_t)n, s));
		}
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		int64_t next = rank == 1 ? 0 : confirmed, marks = 0;
		DPI_Target t = NULL;
		if (rank == 1) t = target_with(0, f, LONG);
		harness_barrier();
		harness_expect_death(1);
		if (rank == 2) {
			AWAIT(!harness_alive(1));
			t = bind_again(0, (uint64_t)confirmed, f);
		}
		int error;
		while ((error = DPI_Next(t, &u)) == DPI_SUCCESS) {
			if (u.kind == DPI_TUPLE_MARK) {
				marks++;
				if (next > 249) CHECK_INT(u.mark, ==, 249);
				continue;
			}
			CHECK_INT(u.size, ==, write_row(row, schema, next));
			CHECK(!memcmp(u.data, row, u.size));
			next++;
			if (rank == 1 && next == confirmed) CHECK_DPI(DPI_Ack(0, (uint64_t)confirmed, t));
			if (rank == 1 && next == 120) harness_kill(1, SIGKILL);
			if (rank == 2) CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, t));
		}
		CHECK_INT(error, ==, DPI_ERR_END);
		CHECK_INT(next, ==, 300);
		CHECK_INT(marks, >=, 1);
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Free_Schema(schema));
	CHECK_DPI(DPI_Close_Flow(f));
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(rows_that_vary_and_marks_come_again, "FL-905", 3) { vary_and_come_again(rank, 100, KIT_PLAIN); }
/* The first of them is larger than a segment: all of its parts come. */
TEST(a_large_row_comes_again, "FL-905", 3) { vary_and_come_again(rank, 107, KIT_PLAIN); }
TEST(encoded_rows_that_vary_and_marks_come_again, "C-20 FL-905", 3) { vary_and_come_again(rank, 100, KIT_BOTH); }
TEST(a_large_row_comes_again_compressed, "C-20 FL-905", 3) { vary_and_come_again(rank, 107, KIT_COMPRESSED); }
TEST(a_large_row_comes_again_encrypted, "C-20 FL-905", 3) { vary_and_come_again(rank, 107, KIT_ENCRYPTED); }

/* ------------------------------------------------------------------------------------------------ closed before its time */

/* Rank 1 lends a run, takes a row of the next, and closes the target: none of these rows was given back, and rank 2 gets them. */
static void closed_too_early(int rank, bool lends)
{
	_Atomic uint64_t *closed = harness_shared(); /* the rows given back, and whether it is */
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 1, .sources = 1, .retain = DPI_ACK_RELEASED, .segment = 512);
	if (rank == 0) {
		DPI_Source s = source_with(f, LONG);
		push_rows(s, 0, 0, ROWS);
		CHECK_DPI(DPI_Close_Source(s));
	} else if (rank == 1) {
		DPI_Target t = target_with(0, f, LONG);
		DPI_Batch b;
		DPI_Tuple u;
		CHECK_DPI(DPI_Next_Batch(t, &b));
		closed[0] = b.count;
		CHECK_DPI(DPI_Release_Batch(1, t));
		if (lends) CHECK_DPI(DPI_Next_Batch(t, &b));
		else CHECK_DPI(DPI_Next(t, &u));
		CHECK_DPI(DPI_Close_Target(t));
		closed[1] = 1;
	} else {
		DPI_Tuple u;
		AWAIT(closed[1]);
		DPI_Target_Attr a = DPI_TARGET_ATTR_INIT;
		DPI_Target t;
		a.rebind = 1;
		a.timeout_us = LONG;
		CHECK_DPI(DPI_Open_Target(0, &a, f, &t));
		for (int64_t next = -1; next < ROWS; next++) {
			struct flow_row r;
			CHECK_DPI(DPI_Next(t, &u));
			memcpy(&r, u.data, sizeof r);
			if (next < 0) CHECK_INT(next = r.number, <=, closed[0]); /* the source may not have heard of all that was given back */
			CHECK_INT(r.number, ==, next);
		}
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "'f'");
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

TEST(a_target_closed_early_gives_no_run_back, "FL-901 FL-904", 3) { closed_too_early(rank, true); }
TEST(a_target_closed_early_gives_no_row_back, "FL-901 FL-904", 3) { closed_too_early(rank, false); }

/* A position may lie inside a segment of columns, or behind all of it. */
TEST(a_position_inside_columns, "FL-476 FL-515 FL-906 FL-908", 1)
{
	DPI_Context ctx = join();
	/* a segment is sent when it is full or flushed, however slow this is */
	DPI_Flow f = FLOW("f", ctx, .targets = 1, .sources = 1, .retain = DPI_ACK_CONFIRMED, .layout = DPI_LAYOUT_COLUMNS, .linger_us = 60 * SECOND);
	DPI_Target t = target_of(0, f);
	DPI_Source s = source_of(f);
	DPI_Target_Stats x = { .size = sizeof x };
	struct ArrowArray array;
	DPI_Batch b;
	DPI_Tuple u;
	uint64_t rows;
	push_rows(s, 0, 0, 100);
	CHECK_DPI(DPI_Flush_Source(s));
	for (int i = 0; i < 10; i++) CHECK_DPI(DPI_Next(t, &u));
	CHECK_DPI(DPI_Close_Target(t));
	t = bind_again(0, 7, f);
	CHECK_DPI(DPI_Flush_Source(s));
	for (int64_t n = 7; n < 10; n++) {
		CHECK_DPI(DPI_Next(t, &u));
		CHECK_INT(((const struct flow_row *)u.data)->number, ==, n);
	}
	CHECK_DPI(DPI_Get_Taken(0, t, &rows));
	CHECK_INT(rows, ==, 10);
	CHECK_DPI(DPI_Next_Arrow(t, &b, &array, NULL));
	CHECK(b.count == 90 && array.length == 90);
	CHECK_INT(((const int64_t *)array.children[1]->buffers[1])[array.children[1]->offset], ==, 10);
	array.release(&array);
	CHECK_DPI(DPI_Close_Target(t));
	t = bind_again(0, 50, f);
	CHECK_DPI(DPI_Flush_Source(s));
	CHECK_DPI(DPI_Next_Arrow(t, &b, &array, NULL));
	CHECK(b.count == 50 && array.length == 50);
	CHECK_INT(((const int64_t *)array.children[1]->buffers[1])[array.children[1]->offset], ==, 50);
	array.release(&array);
	CHECK_DPI(DPI_Get_Target_Stats(t, &x));
	CHECK(x.rows == 50 && x.passed == 50);
	CHECK_DPI(DPI_Close_Target(t));
	t = bind_again(0, 100, f);
	CHECK_DPI(DPI_Flush_Source(s));
	CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, "nothing");
	CHECK_DPI(DPI_Get_Taken(0, t, &rows));
	CHECK_INT(rows, ==, 100);
	for (int64_t n = 100; n < 110; n++) { /* segments of a row each, which come again */
		push_rows(s, 0, n, 1);
		CHECK_DPI(DPI_Flush_Source(s));
	}
	CHECK_DPI(DPI_Close_Target(t));
	t = bind_again(0, 100, f);
	CHECK_DPI(DPI_Flush_Source(s));
	for (int64_t n = 100; n < 110; n++) {
		CHECK_DPI(DPI_Next(t, &u));
		CHECK_INT(((const struct flow_row *)u.data)->number, ==, n);
	}
	CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, t));
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
	CHECK_DPI(DPI_Close_Target(t));
	leave(ctx);
}

/* What a stage drops is acknowledged behind the position that the program has stored, and is no reason not to go on there. */
TEST(a_position_before_what_was_dropped, "FL-906 FL-910", 1)
{
	DPI_Context ctx = join();
	const DPI_Stage stage = { .kind = DPI_STAGE_FILTER, .place = DPI_AT_TARGET, .text = "key >= 0" };
	DPI_Flow f = FLOW("f", ctx, .targets = 1, .sources = 1, .retain = DPI_ACK_CONFIRMED, .ack = DPI_ACK_CONFIRMED, .ack_up_to = 1, .segment = 512,
			  .stages = &stage, .stage_count = 1);
	DPI_Target t = target_of(0, f);
	DPI_Source s = source_of(f);
	DPI_Tuple u;
	uint64_t position;
	push_rows(s, 0, 0, 10);
	CHECK_DPI(DPI_Flush_Source(s));
	for (int i = 0; i < 10; i++) CHECK_DPI(DPI_Next(t, &u));
	CHECK_DPI(DPI_Get_Taken(0, t, &position));
	CHECK_INT(position, ==, 10);
	CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, t));
	for (int64_t n = 10; n < 210; n++) {
		struct flow_row r = row_of(0, -1, n);
		CHECK_DPI(DPI_Push(&r, sizeof r, s));
	}
	CHECK_DPI(DPI_Flush_Source(s));
	CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, "nothing");
	CHECK_DPI(DPI_Wait_Ack(210, s));
	CHECK_DPI(DPI_Close_Target(t));
	t = bind_again(0, (int64_t)position, f);
	push_rows(s, 0, 210, 10);
	CHECK_DPI(DPI_Flush_Source(s));
	for (int64_t n = 210; n < 220; n++) {
		CHECK_DPI(DPI_Next(t, &u));
		CHECK_INT(((const struct flow_row *)u.data)->number, ==, n);
	}
	CHECK_DPI(DPI_Get_Taken(0, t, &position));
	CHECK_INT(position, ==, 220);
	CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, t));
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Close_Target(t));
	leave(ctx);
}

/* All of a row is kept at once: one that does not fit where it is to be kept is refused, and not waited for; a larger ring takes it. */
static void too_large_to_keep(int layout, DPI_Context ctx)
{
	static const DPI_Column columns[] = { { "a", DPI_TYPE_BINARY, 0, 0, 0, 0 } };
	static char data[100000], row[sizeof data + 64];
	DPI_Schema schema;
	CHECK_DPI(DPI_Create_Schema(columns, 1, &schema));
	for (int i = 0; i < 3; i++) {
		DPI_Flow f = FLOW(i == 0 ? "kept" : i == 1 ? "large" : "direct", ctx, .schema = schema, .targets = 1, .sources = 1, .dist = DPI_DIST_BROADCAST, .layout = layout,
				  .segment = 4096, .memory = i == 1 ? 1 << 20 : 1 << 16, .retain = i == 2 ? 0 : DPI_ACK_RELEASED);
		DPI_Target t = target_of(0, f);
		DPI_Source s = source_of(f);
		DPI_Tuple u;
		size_t size, small;
		DPI_Value v = { .type = DPI_TYPE_BINARY, .size = sizeof data, .data = data };
		CHECK_DPI(DPI_Pack_Row(&v, schema, row, sizeof row, &size));
		if (i == 0) {
			CHECK_ERROR(DPI_Push(row, size, s), DPI_ERR_SIZE, "raise attr->memory or attr->segment");
			CHECK_ERROR(DPI_Try_Push(row, size, s), DPI_ERR_SIZE, "100008 bytes");
		} else if (i == 1) {
			CHECK_DPI(DPI_Push(row, size, s));
		}
		v.size = 20000;
		CHECK_DPI(DPI_Pack_Row(&v, schema, row, sizeof row, &small));
		CHECK_DPI(DPI_Push(row, small, s));
		CHECK_DPI(DPI_Flush_Source(s));
		for (int n = i != 1; n < 2; n++) {
			CHECK_DPI(DPI_Next(t, &u));
			CHECK_INT(u.size, ==, n ? small : size);
		}
		if (i == 2) CHECK_ERROR(DPI_Try_Push(row, SIZE_MAX, s), DPI_ERR_SIZE, "at most");
		CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, "nothing");
		CHECK_DPI(DPI_Close_Source(s));
		CHECK_INT(DPI_Next(t, &u), ==, DPI_ERR_END);
		CHECK_DPI(DPI_Close_Target(t));
		CHECK_DPI(DPI_Close_Flow(f));
	}
}

TEST(a_row_too_large_to_keep, "FL-917", 1)
{
	(void)rank;
	DPI_Context ctx = join();
	too_large_to_keep(DPI_LAYOUT_ROWS, ctx);
	leave(ctx);
}
TEST(a_row_too_large_to_keep_in_columns, "FL-917", 1)
{
	(void)rank;
	DPI_Context ctx = join();
	too_large_to_keep(DPI_LAYOUT_COLUMNS, ctx);
	leave(ctx);
}

/* Who confirms what it has taken of every source confirms nothing of one that has a ring there and has not sent anything yet. */
TEST(a_ring_of_nobody_is_not_confirmed, "FL-505 FL-518", 1)
{
	DPI_Context ctx = join();
	const DPI_Stage stage = { .kind = DPI_STAGE_FILTER, .place = DPI_AT_TARGET, .text = "key >= 0" };
	DPI_Flow f = FLOW("f", ctx, .targets = 1, .sources = 2, .retain = DPI_ACK_CONFIRMED, .ack = DPI_ACK_CONFIRMED, .ack_up_to = 1, .linger_us = SECOND,
			  .stages = &stage, .stage_count = 1);
	DPI_Target t = target_of(0, f);
	DPI_Source s[2] = { source_of(f), source_of(f) };
	DPI_Tuple u;
	void *room;
	int done;
	for (int64_t n = 0; n < 5; n++) {
		struct flow_row r = row_of(0, -1, n);
		CHECK_DPI(DPI_Push(&r, sizeof r, s[0]));
	}
	CHECK_DPI(DPI_Flush_Source(s[0]));
	CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, "nothing");
	CHECK_DPI(DPI_Wait_Ack(5, s[0]));
	CHECK_DPI(DPI_Reserve(sizeof(struct flow_row), 0, s[1], &room)); /* its ring is made */
	CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, "nothing");
	CHECK_DPI(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, t));
	CHECK_DPI(DPI_Discard(s[1]));
	push_rows(s[1], 1, 0, 5);
	CHECK_DPI(DPI_Flush_Source(s[1]));
	CHECK_DPI(DPI_Test_Ack(1, s[1], &done));
	CHECK_INT(done, ==, 0);
	CHECK_DPI(DPI_Close_Target(t));
	t = bind_again(0, -1, f);
	CHECK_DPI(DPI_Flush_Source(s[1])); /* goes over to it */
	for (int64_t n = 0; n < 5; n++) {
		CHECK_DPI(DPI_Next(t, &u));
		CHECK_INT(((const struct flow_row *)u.data)->number, ==, n);
	}
	CHECK_DPI(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, t));
	for (int i = 0; i < 2; i++) CHECK_DPI(DPI_Close_Source(s[i]));
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
	CHECK_DPI(DPI_Close_Target(t));
	leave(ctx);
}
