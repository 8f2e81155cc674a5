/* SPDX-License-Identifier: Apache-2.0
 * flow_many.c: many endpoints: of several flows at once, in threads, 64 × 64 in one thread each; targets that come late. */
#include "flow_kit.h"

#define THREADS 4

struct worker {
	DPI_Flow flow;
	int number; /* of all ranks' threads */
	int64_t rows;
	struct flow_tally tally;
	DPI_Target target;
};

static void *source_thread(void *arg)
{
	struct worker *w = arg;
	DPI_Source s = source_of(w->flow);
	push_rows(s, w->number, 0, w->rows);
	CHECK_DPI(DPI_Close_Source(s));
	return NULL;
}

static void *target_thread(void *arg)
{
	struct worker *w = arg;
	flow_drain(w->target, &w->tally);
	CHECK_DPI(DPI_Close_Target(w->target));
	return NULL;
}

/* In each of four processes, of each of two flows: a source in each of four threads, a target in one of its own. */
TEST(flow_threads, "FL-450", 4, .deadline_s = 180)
{
	enum { FLOWS = 2, ROWS = 3000 };
	int64_t *all = harness_shared(), (*per_source)[HARNESS_RANKS] = (void *)(all + 8);
	DPI_Context ctx = join();
	struct worker sources[FLOWS][THREADS] = { 0 }, targets[FLOWS] = { 0 };
	pthread_t threads[FLOWS][THREADS], target_threads[FLOWS];
	for (int i = 0; i < FLOWS; i++) {
		char name[8] = { 'f', (char)('0' + i), 0 };
		DPI_Flow f = FLOW(name, ctx, .targets = 4, .sources = 4 * THREADS, .segment = 1024, .memory = 1 << 20);
		targets[i] = (struct worker){ .flow = f, .target = target_of((uint32_t)rank, f) };
		target_threads[i] = start_thread(target_thread, &targets[i]);
		for (int k = 0; k < THREADS; k++) {
			sources[i][k] = (struct worker){ .flow = f, .number = rank * THREADS + k, .rows = ROWS };
			threads[i][k] = start_thread(source_thread, &sources[i][k]);
		}
	}
	for (int i = 0; i < FLOWS; i++) {
		for (int k = 0; k < THREADS; k++) end_thread(threads[i][k]);
		end_thread(target_threads[i]);
		__atomic_fetch_add(&all[i], targets[i].tally.total, __ATOMIC_SEQ_CST);
		for (int k = 0; k < 4 * THREADS; k++)
			__atomic_fetch_add(&per_source[i][k], targets[i].tally.rows[k], __ATOMIC_SEQ_CST);
	}
	harness_barrier();
	for (int i = 0; i < FLOWS; i++) {
		CHECK_INT(all[i], ==, 4 * THREADS * ROWS);
		for (int k = 0; k < 4 * THREADS; k++) CHECK_INT(per_source[i][k], ==, ROWS);
	}
	leave(ctx);
}

/* 64 sources and 64 targets, 16 of each in each process's one thread, which takes while it has no room. */
TEST(flow_64_by_64, "FL-451", 4, .once = true, .deadline_s = 180)
{
	enum { EACH = 16, ROWS = 2000 };
	static const uint64_t memory = 8 << 20;
	struct shared {
		_Atomic int64_t taken, pushed;
	} *all = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 64, .sources = 64, .segment = 512, .memory = memory);
	DPI_Target t[EACH];
	DPI_Source s[EACH];
	struct flow_tally *tally = calloc(EACH, sizeof *tally);
	CHECK(tally);
	for (int i = 0; i < EACH; i++) {
		t[i] = target_of((uint32_t)(rank * EACH + i), f);
		s[i] = source_of(f);
	}
	DPI_Tuple u;
	for (int64_t n = 0; n < ROWS; n++)
		for (int i = 0; i < EACH; i++) {
			struct flow_row r = row_of(rank * EACH + i, n * 64 + i, n);
			int error;
			while ((error = DPI_Try_Push(&r, sizeof r, s[i])) == DPI_ERR_AGAIN)
				for (int k = 0; k < EACH; k++)
					while (!(error = DPI_Try_Next(t[k], &u))) flow_take(&tally[k], u.data, u.size);
			CHECK_DPI(error);
		}
	/* closing waits for room at others' targets, which their one thread takes from: not before there is room for all */
	all->pushed++;
	int64_t taken = 0;
	bool closed = false;
	int ended[EACH] = { 0 }, ends = 0;
	while (ends < EACH) {
		for (int k = 0; k < EACH; k++) {
			int error = DPI_SUCCESS;
			while (!ended[k] && !(error = DPI_Try_Next(t[k], &u))) flow_take(&tally[k], u.data, u.size);
			if (error == DPI_ERR_END) ended[k] = 1, ends++;
			else if (!ended[k]) CHECK_INT(error, ==, DPI_ERR_AGAIN);
		}
		if (closed || all->pushed < 4) continue;
		closed = true;
		for (int i = 0; i < EACH; i++) CHECK_DPI(DPI_Close_Source(s[i]));
	}
	for (int k = 0; k < EACH; k++) {
		DPI_Target_Stats stats = { .size = sizeof stats };
		CHECK_DPI(DPI_Get_Target_Stats(t[k], &stats));
		CHECK_INT(stats.rows, ==, tally[k].total);
		CHECK_INT(stats.sources, ==, 64);
		CHECK_INT(stats.memory, <=, memory);
		taken += tally[k].total;
		CHECK_DPI(DPI_Close_Target(t[k]));
	}
	free(tally);
	all->taken += taken;
	harness_barrier();
	CHECK_INT(all->taken, ==, (int64_t)64 * ROWS);
	leave(ctx);
}

/* A target that is opened when its sources wait for it already; those for others are not held up. */
TEST(flow_late_target, "FL-452", 4)
{
	enum { ROWS = 2000 };
	int64_t *all = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 2, .sources = 2, .segment = 512);
	if (rank < 2) {
		struct worker w = { .flow = f, .number = rank, .rows = ROWS };
		pthread_t thread = start_thread(source_thread, &w);
		await_asleep();
		harness_barrier();
		end_thread(thread);
	} else {
		struct worker w = { .flow = f };
		if (rank == 3) harness_barrier();
		w.target = target_of((uint32_t)rank - 2, f);
		if (rank == 2) harness_barrier();
		target_thread(&w);
		__atomic_fetch_add(all, w.tally.total, __ATOMIC_SEQ_CST);
	}
	harness_barrier();
	CHECK_INT(*all, ==, 2 * ROWS);
	leave(ctx);
}
