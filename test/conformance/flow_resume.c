/* SPDX-License-Identifier: Apache-2.0
 * flow_resume.c: sources of retained flows that are lost and resume by their id; what is said when they do not; fencing. */
#include <signal.h>
#include <unistd.h>

#include "flow_kit.h"

#define LATE (30 * SECOND) /* longer than any of these waits */
#define ID 7001

static __attribute__((unused)) DPI_Source resume_with(DPI_Flow f, uint64_t id, const uint64_t *rows, int takeover)
{
	DPI_Source_Attr a = DPI_SOURCE_ATTR_INIT;
	DPI_Source s = NULL;
	a.id = id;
	a.rows = rows;
	a.takeover = takeover;
	int error;
	while ((error = DPI_Open_Source(f, &a, &s)) == DPI_ERR_EXISTS && !takeover) harness_pause(); /* its death is not known yet */
	CHECK_DPI(error);
	return s;
}

static __attribute__((unused)) DPI_Flow_Info flow_info(DPI_Flow f)
{
	DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
	CHECK_DPI(DPI_Get_Flow_Info(f, &info));
	return info;
}

/* ------------------------------------------------------------------------------------------------ killed at any moment */

/* What a source's program stores: one of two slots is whole at any moment. */
struct stored {
	uint64_t rows[2];
	int64_t next, mark;
};
struct resuming {
	struct stored slot[2];
	_Atomic int current, closed, over;
	_Atomic int64_t taken, sum, marks;
};

#define ROWS 30000
#define KILLS 4
#define TARGETS 2

static int64_t to_all(bool all, int64_t n)
{
	return all ? n * TARGETS : n;
}

/* Stores now and then what it has flushed; with anew never, and pushes everything again. */
static void push_and_store(DPI_Flow f, struct resuming *r, bool anew)
{
	int life = harness_spawns(2);
	uint64_t seed = draw_seed(life);
	struct stored now = r->slot[r->current];
	DPI_Source_Attr a = DPI_SOURCE_ATTR_INIT;
	DPI_Source s;
	int error;
	a.id = ID;
	a.takeover = life % 2;
	a.rows = life > 1 && !anew ? now.rows : NULL;
	while ((error = DPI_Open_Source(f, &a, &s)) == DPI_ERR_EXISTS && life > 1) {
		const char *text;
		CHECK_DPI(DPI_Get_Error_Detail(&text));
		if (strstr(text, "was closed")) return; /* it was killed when all was done */
		harness_pause();
	}
	CHECK_DPI(error);
	while (now.next < ROWS) {
		int64_t count = 1 + (int64_t)draw(&seed, 200);
		if (count > ROWS - now.next) count = ROWS - now.next;
		push_rows(s, 2, now.next, count);
		now.next += count;
		if (draw(&seed, 4)) continue;
		now.mark++;
		CHECK_DPI(DPI_Push_Mark((uint64_t)now.next, s));
		if (draw(&seed, 2)) continue;
		CHECK_DPI(DPI_Flush_Source(s));
		CHECK_DPI(DPI_Get_Source_Rows(s, now.rows));
		if (anew) continue;
		int other = !r->current;
		r->slot[other] = now;
		r->current = other;
	}
	CHECK_DPI(DPI_Close_Source(s));
	r->closed = 1;
}

static void take_all(DPI_Flow f, int rank, struct resuming *r, bool kills)
{
	DPI_Target t = target_of((uint32_t)rank, f);
	struct flow_tally tally = { 0 };
	uint64_t seed = draw_seed(1), mark = 0;
	int done = 0, error;
	int64_t sum = 0, until = now() + (int64_t)draw(&seed, 30) * MS;
	DPI_Tuple u;
	while ((error = DPI_Try_Next(t, &u)) != DPI_ERR_END) {
		if (!error && u.kind == DPI_TUPLE_MARK) {
			CHECK_INT(u.mark, >, mark);
			mark = u.mark;
		} else if (!error) {
			flow_take(&tally, u.data, u.size);
			CHECK_INT(u.source, ==, 0);
			sum += ((const struct flow_row *)u.data)->number;
		} else {
			CHECK_INT(error, ==, DPI_ERR_AGAIN);
		}
		if (!kills || done == KILLS || now() < until || r->closed || !harness_alive(2)) continue;
		harness_kill(2, SIGKILL);
		AWAIT(!harness_alive(2));
		done++;
		harness_spawn_rank(2);
		until = now() + (int64_t)draw(&seed, 30) * MS;
	}
	r->taken += tally.total;
	r->sum += sum;
	CHECK_DPI(DPI_Close_Target(t));
}

/* A source is killed at any moment, and each time resumed by another process: every row is taken once, in order. */
static void resume_after_kills(int rank, bool anew, int dist)
{
	struct resuming *r = harness_shared();
	bool all = dist == DPI_DIST_BROADCAST;
	if (rank == 2) harness_expect_death(2);
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = TARGETS, .sources = 1, .segment = 1024, .memory = 65536, .dist = dist, .retain = DPI_ACK_RELEASED,
			  .resume_us = LATE);
	if (rank == 2) push_and_store(f, r, anew);
	else take_all(f, rank, r, rank == 0);
	if (rank < 2) r->over++;
	if (rank < 2) AWAIT(r->over == 2);
	if (rank == 0) {
		CHECK_INT(r->taken, ==, to_all(all, ROWS));
		CHECK_INT(r->sum, ==, to_all(all, (int64_t)ROWS * (ROWS - 1) / 2));
	}
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_source_resumes, "FL-950 FL-951 FL-952", 3, .deadline_s = 60) { resume_after_kills(rank, false, DPI_DIST_HASH); }
TEST(flow_source_resumes_in_turn, "FL-950 FL-953", 3, .deadline_s = 60) { resume_after_kills(rank, false, DPI_DIST_ROUND_ROBIN); }
TEST(flow_source_resumes_to_all, "FL-950", 3, .deadline_s = 60) { resume_after_kills(rank, false, DPI_DIST_BROADCAST); }
TEST(flow_source_pushes_anew, "FL-950 FL-951", 3, .deadline_s = 60) { resume_after_kills(rank, true, DPI_DIST_HASH); }
