/* SPDX-License-Identifier: Apache-2.0
 * flow_marks.c: marks come after the rows before them, once every open source has passed them. */
#include <signal.h>

#include "flow_kit.h"

/* Take until a mark comes; rows are counted. */
static uint64_t until_mark(DPI_Target t, struct flow_tally *tally)
{
	DPI_Tuple u;
	for (;;) {
		CHECK_DPI(DPI_Next(t, &u));
		if (u.kind == DPI_TUPLE_MARK) break;
		flow_take(tally, u.data, u.size);
	}
	CHECK(!u.data);
	return u.mark;
}

TEST(flow_mark_of_all, "FL-413 FL-414 FL-415", 3)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 3);
	DPI_Target t = target_of((uint32_t)rank, f);
	DPI_Source s = source_of(f);
	struct flow_tally tally = { 0 };
	DPI_Tuple u;
	harness_barrier();
	for (int64_t round = 1; round <= 20; round++) {
		push_rows(s, rank, (round - 1) * 50, 50);
		CHECK_DPI(DPI_Push_Mark((uint64_t)round, s));
		CHECK_INT(until_mark(t, &tally), ==, round);
		/* what any source pushed before its mark is here */
		for (int r = 0; r < ranks; r++) CHECK(!tally.rows[r] || tally.last[r] >= 0);
		uint64_t *all = (uint64_t *)harness_shared() + round;
		__atomic_fetch_add(all, (uint64_t)tally.total, __ATOMIC_SEQ_CST);
		harness_barrier();
		CHECK_INT(*all, ==, 150 * round);
	}
	CHECK_ERROR(DPI_Push_Mark(19, s), DPI_ERR_ARGUMENT, "19");
	/* a source that closes is waited for no longer */
	if (rank == 2) CHECK_DPI(DPI_Close_Source(s));
	else CHECK_DPI(DPI_Push_Mark(21, s));
	CHECK_INT(until_mark(t, &tally), ==, 21);
	/* one that comes late is */
	harness_barrier();
	if (rank == 2) s = source_of(f);
	harness_barrier();
	UNTIL(5 * SECOND, info.sources == 4, DPI_Flow_Info info = DPI_FLOW_INFO_INIT; CHECK_DPI(DPI_Get_Flow_Info(f, &info)));
	if (rank != 2) CHECK_DPI(DPI_Push_Mark(22, s));
	harness_barrier();
	for (int i = 0; i < 100; i++) CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, " ");
	harness_barrier();
	if (rank == 2) CHECK_DPI(DPI_Push_Mark(30, s));
	CHECK_INT(until_mark(t, &tally), ==, 22);
	if (rank == 0) CHECK_DPI(DPI_Seal_Flow(f));
	CHECK_DPI(DPI_Close_Source(s));
	flow_drain(t, &tally);
	leave(ctx);
}

static void push_by_all_ways(DPI_Source s, int rank, int64_t from, int64_t to)
{
	for (int64_t n = from; n < to;) {
		struct flow_row rows[3] = { row_of(rank, n, n), row_of(rank, n + 1, n + 1), row_of(rank, n + 2, n + 2) };
		bool batch = n % 5 == 4 && n + 3 <= to;
		if (n % 7 == 0) CHECK_DPI(DPI_Push_Mark((uint64_t)n, s));
		if (batch) CHECK_DPI(DPI_Push_Batch(rows, 3, s, NULL));
		else CHECK_DPI(DPI_Push(rows, sizeof *rows, s));
		n += batch ? 3 : 1;
	}
}

/* Rows are there at once whatever call pushed them, also where segments end and marks stand between them, and when a source joins. */
TEST(flow_rows_at_once, "FL-416 FL-418", 3)
{
	enum { ROWS = 1000 };
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 2, .segment = 512, .hint = DPI_HINT_LATENCY, .linger_us = 10 * SECOND);
	if (rank < 2) {
		DPI_Source s;
		if (!rank) s = source_of(f), push_by_all_ways(s, rank, 0, ROWS / 2);
		harness_barrier(); /* all of that was taken */
		if (rank) s = source_of(f);
		push_by_all_ways(s, rank, rank ? 0 : ROWS / 2, ROWS);
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of(0, f);
		struct flow_tally tally = { .last = { -1, -1 } };
		for (int n = 0;; n++) {
			DPI_Tuple u;
			DPI_Batch b;
			size_t which;
			int error;
			if (n % 11 == 0) CHECK_DPI(DPI_Wait_Targets(&t, 1, 10 * SECOND * harness_slow(), &which));
			if (n % 3 == 0) {
				error = DPI_Next_Batch(t, &b);
				for (size_t i = 0; !error && i < b.count; i++) flow_take(&tally, (const char *)b.rows + i * b.stride, b.stride);
				if (!error && b.count) CHECK_DPI(DPI_Release_Batch(1, t));
			} else {
				error = DPI_Next(t, &u);
				if (!error && u.kind == DPI_TUPLE_ROW) flow_take(&tally, u.data, u.size);
			}
			if (error == DPI_ERR_END) break;
			CHECK_DPI(error);
			if (tally.total == ROWS / 2 && tally.rows[0] == ROWS / 2) harness_barrier(), tally.total++;
		}
		CHECK_INT(tally.rows[0], ==, ROWS);
		CHECK_INT(tally.rows[1], ==, ROWS);
	}
	leave(ctx);
}

TEST(flow_visible, "FL-416 FL-417 FL-418", 2)
{
	DPI_Context ctx = join();
	DPI_Flow flows[3] = {
		FLOW("flush", ctx, .sources = 1, .linger_us = 10 * SECOND),
		FLOW("linger", ctx, .sources = 1, .linger_us = 2 * MS),
		FLOW("latency", ctx, .sources = 1, .linger_us = 10 * SECOND, .hint = DPI_HINT_LATENCY),
	};
	DPI_Source s[3];
	DPI_Target t[3];
	for (int i = 0; i < 3; i++) {
		if (rank) t[i] = target_of(0, flows[i]);
		else s[i] = source_of(flows[i]);
	}
	harness_barrier();
	for (int64_t round = 0; round < 10; round++)
		for (int i = 0; i < 3; i++) {
			if (!rank) {
				push_rows(s[i], rank, 3 * round, 3);
				if (i == 0) CHECK_DPI(DPI_Flush_Source(s[i]));
			} else {
				size_t which;
				int64_t start = now();
				CHECK_DPI(DPI_Wait_Targets(t, 3, 5 * SECOND, &which));
				CHECK_INT(which, ==, i);
				for (int k = 0; k < 3; k++) {
					DPI_Tuple u;
					CHECK_DPI(DPI_Next(t[i], &u));
					CHECK_INT(((const struct flow_row *)u.data)->number, ==, 3 * round + k);
				}
				CHECK_AT_ONCE(start);
			}
			harness_barrier();
		}
	if (rank) {
		size_t which;
		CHECK_ERROR(DPI_Wait_Targets(t, 3, 3 * MS, &which), DPI_ERR_TIMEOUT, "3 targets");
	}
	harness_barrier();
	for (int i = 0; i < 3 && !rank; i++) CHECK_DPI(DPI_Close_Source(s[i]));
	for (int i = 0; i < 3 && rank; i++) {
		DPI_Tuple u;
		CHECK_ERROR(DPI_Next(t[i], &u), DPI_ERR_END, " ");
	}
	leave(ctx);
}

/* A source dies before it has passed the mark that the other has: the flow fails, and nobody is told that all have passed it. */
TEST(flow_mark_and_a_death, "FL-118 FL-414", 3)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 2);
	if (rank == 1) { /* not the registry's node, which is the first to know of a death */
		DPI_Target t = target_of(0, f);
		struct flow_tally tally = { 0 };
		DPI_Tuple u;
		int error;
		UNTIL(10 * SECOND, info.sources == 2, DPI_Flow_Info info = DPI_FLOW_INFO_INIT; CHECK_DPI(DPI_Get_Flow_Info(f, &info)));
		harness_barrier();
		while (!(error = DPI_Next(t, &u))) {
			CHECK_INT(u.kind, ==, DPI_TUPLE_ROW);
			flow_take(&tally, u.data, u.size);
			if (tally.total == 20) harness_barrier();
		}
		CHECK_ERROR(error, DPI_ERR_PEER, "node 2");
		CHECK_INT(tally.total, ==, 20);
	} else {
		DPI_Source s = source_of(f);
		harness_barrier();
		push_rows(s, rank, 0, 10);
		if (!rank) CHECK_DPI(DPI_Push_Mark(1, s));
		else CHECK_DPI(DPI_Flush_Source(s));
		harness_barrier();
		if (rank == 2) {
			harness_expect_death(2);
			harness_kill(2, SIGKILL);
		}
		UNTIL(10 * SECOND, info.failed, DPI_Flow_Info info = DPI_FLOW_INFO_INIT; CHECK_DPI(DPI_Get_Flow_Info(f, &info)));
	}
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}
