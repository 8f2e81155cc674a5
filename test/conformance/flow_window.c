/* SPDX-License-Identifier: Apache-2.0
 * flow_window.c: when the results of flows that reduce come, and what travels when. */
#include <signal.h>

#include "reduce_flow_kit.h"

/* --------------------------------------------------------------------------------------------------------- windows */

/* Source 0 is far ahead; the windows are exact all the same. */
static void windows_of_marks(int rank, int layout)
{
	enum { ROUNDS = 8, KEYS = 10 };
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", sum_a, 2, ctx, .sources = 2, .layout = layout, .window = DPI_WINDOW_MARKS);
	DPI_Target t = rank == 2 ? target_of(0, f) : NULL;
	DPI_Source s = rank < 2 ? source_of(f) : NULL;
	harness_barrier();
	for (int64_t round = 1; round <= ROUNDS; round++) {
		if (rank == 0 && round > 1) continue;
		for (int64_t r = round; rank < 2 && r <= (rank ? round : ROUNDS); r++) {
			for (int64_t i = 0; i < 100; i++) {
				struct sale x = { i % KEYS, r * 1000 + rank, 0 };
				CHECK_DPI(DPI_Push(&x, sizeof x, s));
			}
			CHECK_DPI(DPI_Push_Mark((uint64_t)r, s));
		}
		if (rank == 1) pause_ms(2);
	}
	if (rank < 2) { /* what comes behind the last mark comes at the end */
		struct sale x = { 5, 1, 0 };
		CHECK_DPI(DPI_Push(&x, sizeof x, s));
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Tuple u;
		for (int64_t round = 1; round <= ROUNDS; round++) {
			int64_t keys = 0;
			for (;;) {
				struct sum x;
				CHECK_DPI(DPI_Next(t, &u));
				if (u.kind == DPI_TUPLE_MARK) break;
				memcpy(&x, u.data, sizeof x);
				CHECK_INT(x.n, ==, 20);
				CHECK_INT(x.sum, ==, 10 * (round * 1000) + 10 * (round * 1000 + 1));
				keys |= 1 << x.key;
			}
			CHECK_INT(keys, ==, (1 << KEYS) - 1);
			CHECK_INT(u.mark, ==, round);
		}
		CHECK_DPI(DPI_Next(t, &u));
		CHECK_INT(u.kind, ==, DPI_TUPLE_ROW);
		struct sum x;
		memcpy(&x, u.data, sizeof x);
		CHECK_INT(x.key, ==, 5);
		CHECK_INT(x.n, ==, 2);
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

TEST(flow_reduce_windows_of_marks, "FL-322", 3)
{
	windows_of_marks(rank, DPI_LAYOUT_ROWS);
}

TEST(columns_reduce_windows_of_marks, "FL-322 FL-486", 3)
{
	windows_of_marks(rank, DPI_LAYOUT_COLUMNS);
}

/* Several targets, batches, windows without rows; a source that closes early, and one that has no marks of its own any more. */
TEST(flow_reduce_marks_of_all, "FL-322 FL-324", 3)
{
	enum { ROUNDS = 6 };
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", sum_a, 2, ctx, .targets = 3, .sources = 3, .window = DPI_WINDOW_MARKS, .reduce = DPI_REDUCE_TARGET);
	DPI_Target t = target_of((uint32_t)rank, f);
	DPI_Source s = source_of(f);
	int64_t *total = (int64_t *)harness_shared();
	harness_barrier();
	for (int64_t round = 1; round <= ROUNDS; round++) {
		for (int64_t i = 0; s && round % 3 && i < 50; i++) {
			struct sale x = { i, round, 0 };
			CHECK_DPI(DPI_Push(&x, sizeof x, s));
		}
		if (s) CHECK_DPI(DPI_Push_Mark((uint64_t)round, s));
		if (s && rank == 2 && round == 4) {
			CHECK_DPI(DPI_Close_Source(s));
			s = NULL;
		}
		DPI_Batch b;
		for (;;) {
			CHECK_DPI(DPI_Next_Batch(t, &b));
			if (b.kind == DPI_TUPLE_MARK) break;
			for (size_t i = 0; i < b.count; i++) {
				struct sum x;
				memcpy(&x, (const char *)b.rows + i * b.stride, sizeof x);
				CHECK_INT(x.sum, ==, x.n * round);
				__atomic_fetch_add(total + round, x.n, __ATOMIC_SEQ_CST);
			}
			CHECK_DPI(DPI_Release_Batch(1, t));
		}
		CHECK_INT(b.mark, ==, round);
		harness_barrier();
		CHECK_INT(total[round], ==, round % 3 ? (round > 4 ? 100 : 150) : 0);
	}
	if (s) CHECK_DPI(DPI_Close_Source(s));
	DPI_Tuple u;
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
	CHECK_DPI(DPI_Close_Target(t));
	leave(ctx);
}

static void windows_of_rows(int rank, int layout)
{
	enum { ROWS = 1234, WINDOW = 100 };
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", sum_a, 2, ctx, .sources = 1, .layout = layout, .segment = 1024, .reduce = DPI_REDUCE_TARGET, .window = DPI_WINDOW_ROWS, .window_rows = WINDOW);
	if (rank == 0) {
		DPI_Source s = source_of(f);
		push_sales(s, 0, 0, ROWS, 5);
		CHECK_DPI(DPI_Push_Mark(7, s));
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of(0, f);
		DPI_Tuple u;
		uint64_t mark = 0;
		for (int64_t first = 0; first < ROWS; first += WINDOW) {
			int64_t n[5] = { 0 }, sum[5] = { 0 }, groups = 0;
			for (int64_t i = first; i < first + WINDOW && i < ROWS; i++) {
				struct sale r = sale_of(0, i, 5);
				groups += !n[r.key + 2]++;
				sum[r.key + 2] += r.a;
			}
			for (; groups; groups--) {
				struct sum x;
				CHECK_DPI(DPI_Next(t, &u));
				if (u.kind == DPI_TUPLE_MARK) { /* it does not end a window */
					mark = u.mark;
					CHECK_DPI(DPI_Next(t, &u));
				}
				memcpy(&x, u.data, sizeof x);
				CHECK_INT(x.n, ==, n[x.key + 2]);
				CHECK_INT(x.sum, ==, sum[x.key + 2]);
				n[x.key + 2] = 0;
			}
		}
		CHECK_INT(mark, ==, 7);
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

TEST(flow_reduce_windows_of_rows, "FL-323", 2)
{
	windows_of_rows(rank, DPI_LAYOUT_ROWS);
}

TEST(columns_reduce_windows_of_rows, "FL-323 FL-486", 2)
{
	windows_of_rows(rank, DPI_LAYOUT_COLUMNS);
}

/* ---------------------------------------------------------------------------------------------- what travels, and when */

TEST(flow_reduce_travels, "FL-325 FL-327", 2)
{
	enum { KEYS = 20 };
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", sum_a, 2, ctx, .sources = 1, .linger_us = 1 * MS);
	DPI_Target t = rank ? target_of(0, f) : NULL;
	DPI_Source s = rank ? NULL : source_of(f);
	DPI_Tuple u;
	harness_barrier();
	for (uint64_t round = 1; round <= 3; round++) {
		for (int64_t i = 0; s && i < 500; i++) {
			struct sale x = { i % KEYS, 1, 0 };
			CHECK_DPI(DPI_Push(&x, sizeof x, s));
		}
		if (s && round < 3) CHECK_DPI(DPI_Flush_Source(s));
		else if (s) CHECK_DPI(DPI_Push_Mark(1, s));
		harness_barrier();
		if (s) {
			CHECK_INT(source_stats(s).reduced, ==, round * 500);
			CHECK_INT(source_stats(s).rows, ==, round * KEYS);
		} else if (round < 3) {
			CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, " ");
			CHECK_INT(target_stats(t).rows, ==, round * KEYS);
		} else {
			CHECK_DPI(DPI_Next(t, &u));
			CHECK_INT(u.mark, ==, 1);
			CHECK_INT(target_stats(t).rows, ==, round * KEYS);
			CHECK_INT(target_stats(t).results, ==, 0);
		}
		harness_barrier();
	}
	if (s) CHECK_DPI(DPI_Close_Source(s));
	for (int k = 0; t && k < KEYS; k++) {
		CHECK_DPI(DPI_Next(t, &u));
		CHECK_INT(((const struct sum *)u.data)->n, ==, 75);
	}
	if (t) CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
	if (t) CHECK_INT(target_stats(t).results, ==, KEYS);
	if (t) CHECK_DPI(DPI_Close_Target(t));
	leave(ctx);
}

/* A target waits for results as for rows: its deadline counts from the last row that came. */
TEST(flow_reduce_waits, "FL-324", 1)
{
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", sum_a, 2, ctx, .sources = 1, .window = DPI_WINDOW_MARKS);
	DPI_Target t = target_with(0, f, 30 * MS);
	DPI_Source s = source_of(f);
	DPI_Tuple u;
	size_t which = 9;
	(void)rank;
	push_sales(s, 0, 0, 100, 1);
	CHECK_DPI(DPI_Flush_Source(s));
	int64_t start = now();
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_TIMEOUT, "1 of 1 sources");
	CHECK_NOT_BEFORE(start, 30 * MS);
	CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, " ");
	CHECK_ERROR(DPI_Wait_Targets(&t, 1, 3 * MS, &which), DPI_ERR_TIMEOUT, " ");
	CHECK_DPI(DPI_Push_Mark(1, s));
	CHECK_DPI(DPI_Wait_Targets(&t, 1, 10 * SECOND, &which));
	CHECK_INT(which, ==, 0);
	CHECK_DPI(DPI_Try_Next(t, &u));
	CHECK_INT(((const struct sum *)u.data)->n, ==, 100);
	CHECK_DPI(DPI_Try_Next(t, &u));
	CHECK_INT(u.mark, ==, 1);
	CHECK_DPI(DPI_Close_Source(s));
	UNTIL(10 * SECOND, error != DPI_ERR_TIMEOUT, int error = DPI_Next(t, &u));
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
	CHECK_DPI(DPI_Close_Target(t));
	leave(ctx);
}

/* What a source had flushed when it died is in the results, and each of its later rows once or not at all. */
TEST(flow_reduce_death, "FL-330", 3)
{
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", sum_a, 2, ctx, .targets = 1, .on_death = DPI_DEATH_GOES_ON);
	DPI_Target t = rank == 0 ? target_of(0, f) : NULL;
	DPI_Source s = rank ? source_of(f) : NULL;
	if (rank) push_sales(s, rank, 0, 1000, 10);
	if (rank == 2) {
		CHECK_DPI(DPI_Flush_Source(s));
		push_sales(s, rank, 1000, 1100, 10);
	}
	harness_barrier();
	if (rank == 2) {
		harness_expect_death(2);
		harness_kill(2, SIGKILL);
	}
	if (rank == 1) CHECK_DPI(DPI_Close_Source(s));
	if (rank == 0) {
		int64_t n = 0;
		DPI_Tuple u;
		int error;
		CHECK_DPI(DPI_Seal_Flow(f));
		while (!(error = DPI_Next(t, &u))) n += ((const struct sum *)u.data)->n;
		CHECK_ERROR(error, DPI_ERR_END, "ended");
		CHECK_INT(n, >=, 2000);
		CHECK_INT(n, <=, 2100);
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* A target that dies takes nothing from the others; what was for it is dropped and counted. */
TEST(flow_reduce_death_of_a_target, "FL-330 FL-445", 3)
{
	enum { ROWS = 30000, KEYS = 6000 };
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", sum_a, 2, ctx, .targets = 2, .sources = 1, .segment = 1024, .memory = 65536, .reduce_memory = 65536,
			    .on_death = DPI_DEATH_GOES_ON);
	DPI_Target t = rank < 2 ? target_of((uint32_t)rank, f) : NULL;
	DPI_Source s = rank == 2 ? source_of(f) : NULL;
	uint32_t to, count;
	harness_barrier();
	if (s) push_sales(s, 0, 0, 1000, KEYS);
	if (rank == 0) CHECK_ERROR(DPI_Try_Next(t, &(DPI_Tuple){ 0 }), DPI_ERR_AGAIN, " ");
	harness_barrier();
	if (rank == 1) {
		harness_expect_death(1);
		harness_kill(1, SIGKILL);
	}
	if (s) {
		push_sales(s, 0, 1000, ROWS, KEYS);
		CHECK_DPI(DPI_Flush_Source(s));
		CHECK_INT(source_stats(s).dropped, >, 0);
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		struct group *g = model_of(1, ROWS, KEYS);
		DPI_Tuple u;
		int error;
		while (!(error = DPI_Next(t, &u))) {
			struct sum x;
			memcpy(&x, u.data, sizeof x);
			struct group *y = g + x.key + KEYS / 2;
			CHECK_INT(x.n, ==, y->count);
			CHECK_INT(x.sum, ==, y->sum);
			y->came = true;
		}
		CHECK_ERROR(error, DPI_ERR_END, "ended");
		for (int64_t k = 0; k < KEYS; k++) {
			struct sale r = { k - KEYS / 2, 0, 0 };
			CHECK_DPI(DPI_Route(&r, sizeof r, f, &to, &count));
			CHECK(g[k].came == (to == 0 && g[k].count));
		}
		CHECK_DPI(DPI_Close_Target(t));
		free(g);
	}
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}
