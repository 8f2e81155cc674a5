/* SPDX-License-Identifier: Apache-2.0
 * flow_late.c: sources that nobody expected come to a target whose memory others have taken. */
#include "flow_kit.h"

#define MEMORY ((uint64_t)4 << 20)
#define LITTLE ((uint64_t)1 << 18)

/* Rows until the flow ends. */
static int64_t take_all(DPI_Target t)
{
	DPI_Tuple u;
	int64_t rows = 0;
	int error;
	for (; !(error = DPI_Next(t, &u)); rows++) {
		const struct flow_row *r = u.data;
		CHECK_INT(r->check, ==, row_of(0, r->key, r->number).check);
	}
	CHECK_INT(error, ==, DPI_ERR_END);
	return rows;
}

/* Push until a ring that grows by and by is full for good. */
static void push_until_full(DPI_Source s, int64_t *sent)
{
	int64_t before;
	do {
		before = *sent;
		for (struct flow_row r = row_of(0, 1, *sent); !DPI_Push(&r, sizeof r, s); r = row_of(0, 1, ++*sent)) continue;
	} while (*sent != before);
}

TEST(flow_late_sources, "FL-409 FL-421", 1)
{
	enum { LATER = 16 };
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .segment = 4096, .memory = MEMORY);
	DPI_Target t = target_of(0, f);
	DPI_Source first = source_with(f, 50 * MS), s[LATER];
	DPI_Target_Stats stats = { .size = sizeof stats };
	DPI_Tuple u;
	int64_t sent = 0, taken = 0;
	push_until_full(first, &sent);
	CHECK_INT(sent * (int64_t)sizeof(struct flow_row), >=, (int64_t)MEMORY / 4);
	for (int i = 0; i < LATER; i++) {
		s[i] = source_with(f, 50 * MS);
		struct flow_row r = row_of(0, i, i);
		CHECK_DPI(DPI_Push(&r, sizeof r, s[i]));
	}
	CHECK_DPI(DPI_Get_Target_Stats(t, &stats));
	CHECK_INT(stats.memory, <=, MEMORY);
	for (; !DPI_Try_Next(t, &u); taken++) continue; /* what closing says needs room, too */
	CHECK_DPI(DPI_Close_Source(first));
	for (int i = 0; i < LATER; i++) CHECK_DPI(DPI_Close_Source(s[i]));
	CHECK_DPI(DPI_Seal_Flow(f));
	CHECK_INT(taken + take_all(t), ==, sent + LATER);
	leave(ctx);
}

/* Sources that are closed, and of which nothing was taken, leave no memory for one more: it waits for that. */
TEST(flow_late_source_waits, "FL-409 FL-420 FL-422", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .segment = 4096, .memory = LITTLE);
	int64_t *sent = harness_shared();
	if (rank == 0) {
		DPI_Source s, other;
		DPI_Source_Stats stats = { .size = sizeof stats };
		struct flow_row r;
		int error, fd, ready = 1;
		harness_barrier();
		for (;; ++*sent) {
			s = source_with(f, 300 * MS);
			r = row_of(0, *sent, *sent);
			error = DPI_Push(&r, sizeof r, s);
			if (error) break;
			CHECK_DPI(DPI_Close_Source(s));
			CHECK_INT(*sent, <, 64);
		}
		CHECK_ERROR(error, DPI_ERR_TIMEOUT, "target 0 of flow 'f' on node 1 had no room");
		CHECK_INT(*sent, >=, 8);
		CHECK_DPI(DPI_Get_Source_Stats(s, &stats));
		CHECK_INT(stats.stalls, ==, 1);
		CHECK_INT(stats.stall_us, >=, 300 * MS * 9 / 10);
		CHECK_ERROR(DPI_Try_Push(&r, sizeof r, s), DPI_ERR_AGAIN, "'f'");
		CHECK_DPI(DPI_Get_Source_Descriptor(s, &fd));
		CHECK_DPI(DPI_Arm_Source(s, &ready));
		CHECK_INT(ready, ==, 0);
		other = source_with(f, DPI_NO_WAIT);
		CHECK_ERROR(DPI_Push(&r, sizeof r, other), DPI_ERR_TIMEOUT, "no room");
		CHECK_DPI(DPI_Close_Source(other)); /* it is at no target, and has nothing to wait for */
		other = source_with(f, 20 * SECOND);
		harness_barrier();
		CHECK_DPI(DPI_Push(&r, sizeof r, other)); /* it goes on when the target takes */
		++*sent;
		r = row_of(0, *sent, *sent);
		UNTIL(10 * SECOND, ready, CHECK_DPI(DPI_Arm_Source(s, &ready)));
		CHECK_DPI(DPI_Push(&r, sizeof r, s));
		++*sent;
		CHECK_DPI(DPI_Close_Source(s));
		CHECK_DPI(DPI_Close_Source(other));
		CHECK_DPI(DPI_Seal_Flow(f));
	} else {
		DPI_Target t = target_of(0, f);
		harness_barrier();
		harness_barrier();
		pause_ms(100);
		CHECK_INT(take_all(t), ==, *sent);
	}
	leave(ctx);
}

/* What a source of a retained flow keeps lies in its ring, which it has until it is closed: one more than there is memory for waits for that. */
TEST(flow_late_retained_waits, "FL-409 FL-420 FL-902", 2)
{
	enum { MOST = 256 };
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .segment = 4096, .memory = (uint64_t)1 << 20, .retain = DPI_ACK_RELEASED);
	int64_t *sent = harness_shared();
	if (rank == 0) {
		DPI_Source s[MOST];
		int error = DPI_SUCCESS, open = 0;
		struct flow_row r;
		harness_barrier();
		for (; !error; open++) {
			CHECK_INT(open, <, MOST);
			s[open] = source_with(f, SECOND);
			r = row_of(0, open, open);
			error = DPI_Push(&r, sizeof r, s[open]);
		}
		CHECK_ERROR(error, DPI_ERR_TIMEOUT, "target 0 of flow 'f' on node 1 had no room");
		CHECK_INT(open, >, 16);
		CHECK_DPI(DPI_Close_Source(s[0]));
		UNTIL(10 * SECOND, !error, error = DPI_Push(&r, sizeof r, s[open - 1]));
		*sent = open;
		for (int i = 1; i < open; i++) CHECK_DPI(DPI_Close_Source(s[i]));
		CHECK_DPI(DPI_Seal_Flow(f));
	} else {
		DPI_Target t = target_of(0, f);
		harness_barrier();
		CHECK_INT(take_all(t), ==, *sent);
	}
	leave(ctx);
}

/* One row, to this target: by radix of its key, or into room that is reserved there. */
static int push_at(int from, uint32_t target, int64_t number, bool reserve, DPI_Source s)
{
	struct flow_row r = row_of(from, target, number);
	void *room;
	if (!reserve) return DPI_Push(&r, sizeof r, s);
	int error = DPI_Reserve(sizeof r, target, s, &room);
	if (error) return error;
	memcpy(room, &r, sizeof r);
	return DPI_Commit(sizeof r, s);
}

/* Sources that have a ring at this target, until there is memory for none but one more. */
enum { FILLERS = 16 };
static int fill_all_but_one(int from, uint32_t target, bool reserve, DPI_Flow f, DPI_Source *s)
{
	int open = 0, error = DPI_SUCCESS;
	for (; !error; open += !error) {
		CHECK_INT(open, <, FILLERS);
		s[open] = source_with(f, 100 * MS * harness_slow());
		error = push_at(from, target, open, reserve, s[open]);
	}
	CHECK_INT(error, ==, DPI_ERR_TIMEOUT);
	CHECK_DPI(DPI_Close_Source(s[open--]));
	CHECK_DPI(DPI_Close_Source(s[open]));
	CHECK_INT(open, >, 2);
	return open;
}

/* Rows of two targets, of each source in order, until the flow ends. */
static int64_t take_from_both(DPI_Target *t)
{
	enum { SOURCES = 256 };
	const DPI_Target zero = t[0];
	int64_t rows = 0, last[2][SOURCES];
	DPI_Tuple u;
	for (int n = 0; n < 2 * SOURCES; n++) last[n / SOURCES][n % SOURCES] = -1;
	for (int open = 2, turn = 0; open; turn++) {
		DPI_Target *at = &t[turn % open];
		int error = DPI_Try_Next(*at, &u); /* it gives back what it took before */
		if (error == DPI_ERR_END) *at = t[--open];
		if (error == DPI_ERR_END || error == DPI_ERR_AGAIN) continue;
		CHECK_DPI(error);
		const struct flow_row *r = u.data;
		CHECK_INT(u.source, <, SOURCES);
		CHECK_INT(r->number, >, last[*at != zero][u.source]);
		CHECK_INT(r->check, ==, row_of((int)r->from, r->key, r->number).check);
		last[*at != zero][u.source] = r->number;
		rows++;
	}
	return rows;
}

/* The other one is as far. */
static void meet(_Atomic int *met, int ranks)
{
	++*met;
	UNTIL(60 * SECOND, *met >= ranks, pause_ms(1));
}

/* Two sources, each of which has the last ring at one target, and wants one at the other: for each second row, or for one that goes to both. */
static void cross(int rank, bool both, int retain, int layout)
{
	enum { TURNS = 12 };
	struct {
		_Atomic int met[3];
		_Atomic int64_t sent;
	} *shared = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .segment = 4096, .memory = LITTLE, .targets = 2, .dist = both ? DPI_DIST_BROADCAST : DPI_DIST_RADIX, .retain = retain, .layout = layout);
	DPI_Target t[2] = { 0 };
	for (uint32_t i = 0; i < 2 && rank == 2; i++) t[i] = target_of(i, f);
	harness_barrier();
	if (rank < 2) {
		uint32_t mine = (uint32_t)rank, other = 1 - mine;
		DPI_Source filler[FILLERS], s;
		int fillers = fill_all_but_one(rank, mine, both, f, filler);
		s = source_with(f, 10 * SECOND * harness_slow());
		CHECK_DPI(push_at(rank, mine, 0, both, s));
		meet(&shared->met[0], 2);
		for (int64_t n = 1; n <= TURNS; n++) {
			struct flow_row r = row_of(rank, n, n);
			if (both) CHECK_DPI(DPI_Push(&r, sizeof r, s));
			else CHECK_DPI(push_at(rank, n % 2 ? other : mine, n, false, s));
		}
		CHECK_DPI(DPI_Close_Source(s));
		meet(&shared->met[1], 2);
		shared->sent += fillers + 2 + TURNS * (both ? 2 : 1);
		for (int i = 0; i < fillers; i++) CHECK_DPI(DPI_Close_Source(filler[i]));
		meet(&shared->met[2], 2);
		if (rank == 0) CHECK_DPI(DPI_Seal_Flow(f));
	} else {
		int64_t rows = take_from_both(t);
		CHECK_INT(rows, ==, shared->sent);
	}
	leave(ctx);
}

TEST(flow_late_sources_cross, "FL-409 FL-980", 3, .deadline_s = 120) { cross(rank, false, 0, 0); }
TEST(flow_late_sources_cross_both, "FL-409 FL-423 FL-980", 3, .deadline_s = 120) { cross(rank, true, 0, 0); }
TEST(flow_late_sources_cross_retained, "FL-409 FL-902 FL-980", 3, .deadline_s = 120) { cross(rank, false, DPI_ACK_RELEASED, 0); }
TEST(flow_late_sources_cross_columns, "FL-409 FL-980", 3, .deadline_s = 120) { cross(rank, false, 0, DPI_LAYOUT_COLUMNS); }
