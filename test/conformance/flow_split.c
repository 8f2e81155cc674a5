/* SPDX-License-Identifier: Apache-2.0
 * flow_split.c: a process's share of a retained flow is split: its logical targets are bound anew by two processes. */
#include <signal.h>

#include "flow_kit.h"

#define LONG (50 * SECOND)
enum { SHARES = 8, HALF = SHARES / 2, ROWS = 6000, FIRST = 2500 };

/* What a store would hold: which rows were taken in, and how many of each share; the two are written together. */
struct store {
	_Atomic uint64_t taken[SHARES];
	_Atomic uint8_t seen[ROWS];
	_Atomic int handed; /* the first process has let go */
};
_Static_assert(sizeof(struct store) < HARNESS_SHARED, "fits");

static void take(const DPI_Tuple *u, uint32_t share, DPI_Target t)
{
	struct store *w = harness_shared();
	const struct flow_row *r = u->data;
	uint64_t rows;
	CHECK(r->number >= 0 && r->number < ROWS);
	CHECK_INT(r->check, ==, row_of(0, r->number, r->number).check);
	CHECK_DPI(DPI_Get_Taken(0, t, &rows));
	atomic_fetch_add(&w->seen[r->number], 1);
	w->taken[share] = rows;
	CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, t));
}

/* Take from whichever of the shares that are open has something: most rows, or to the end of all. At its end each is closed, and NULL. */
static int64_t take_in(uint32_t first, uint32_t shares, DPI_Target *t, int64_t most)
{
	DPI_Target open[SHARES];
	uint32_t share[SHARES], count = 0;
	int64_t rows = 0;
	for (uint32_t i = 0; i < shares; i++)
		if (t[i]) open[count] = t[i], share[count++] = first + i;
	while (count && rows < most) {
		size_t i;
		DPI_Tuple u;
		CHECK_DPI(DPI_Wait_Targets(open, count, LONG, &i));
		int error = DPI_Try_Next(open[i], &u);
		if (error == DPI_ERR_END) {
			CHECK_DPI(DPI_Close_Target(open[i]));
			t[share[i] - first] = NULL;
			open[i] = open[--count], share[i] = share[count];
		} else if (error != DPI_ERR_TIMEOUT) {
			CHECK_DPI(error);
			take(&u, share[i], open[i]);
			rows++;
		}
	}
	return rows;
}

static void bind_half(uint32_t first, DPI_Flow f, DPI_Target *t)
{
	struct store *w = harness_shared();
	for (uint32_t i = 0; i < HALF; i++) {
		DPI_Position p = { 0, w->taken[first + i] };
		DPI_Target_Attr a = { .size = sizeof a, .timeout_us = LONG, .rebind = 1, .position = &p, .positions = 1 };
		int error = DPI_Open_Target(first + i, &a, f, &t[i]);
		if (error) CHECK_INT(error, ==, DPI_ERR_EXISTS); /* it has ended: the first process took all */
		if (error) t[i] = NULL;
	}
}

static void split(int rank, bool dies, enum kit_codecs codecs)
{
	struct store *w = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow_Attr *a = FLOW_ATTR(.targets = SHARES, .sources = 1, .retain = DPI_ACK_CONFIRMED, .segment = 1024, .memory = 1 << 17);
	kit_codecs(codecs, a, ctx);
	DPI_Flow f = kit_flow("f", a, ctx);
	DPI_Target t[SHARES];
	if (rank == 0) {
		DPI_Source s = source_with(f, LONG);
		harness_barrier();
		push_rows(s, 0, 0, ROWS);
		CHECK_DPI(DPI_Close_Source(s));
	} else if (rank == 1) {
		for (uint32_t i = 0; i < SHARES; i++) t[i] = target_with(i, f, LONG);
		harness_barrier();
		if (dies) harness_expect_death(1);
		CHECK_INT(take_in(0, SHARES, t, FIRST), ==, FIRST);
		if (dies) harness_kill(1, SIGKILL);
		w->handed = 1; /* nothing more of the second half is stored */
		take_in(0, HALF, t, ROWS);
		for (uint32_t i = HALF; i < SHARES; i++) {
			DPI_Tuple u;
			if (!t[i]) continue;
			UNTIL(LONG, e == DPI_ERR_FENCED, int e = DPI_Try_Next(t[i], &u));
			CHECK_DPI(DPI_Close_Target(t[i]));
		}
	} else {
		harness_barrier();
		if (dies) AWAIT(!harness_alive(1));
		else AWAIT(w->handed);
		if (rank == 2) bind_half(HALF, f, t);
		else if (dies) bind_half(0, f, t);
		if (rank == 2) take_in(HALF, HALF, t, ROWS);
		else if (dies) take_in(0, HALF, t, ROWS);
	}
	CHECK_DPI(DPI_Barrier("taken", dies ? 3 : 4, LONG, ctx));
	for (int i = 0; i < ROWS; i++)
		if (w->seen[i] != 1) FAIL("row %d was taken in %d times", i, w->seen[i]);
	CHECK_DPI(DPI_Close_Flow(f));
	CHECK_DPI(DPI_Barrier("end", dies ? 3 : 4, LONG, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(a_share_is_split_after_a_death, "FL-904 FL-905 FL-906", 4, .deadline_s = 120)
{
	split(rank, true, KIT_PLAIN);
}

TEST(a_share_is_split_while_it_runs, "FL-905 FL-906 FL-907", 4, .deadline_s = 120)
{
	split(rank, false, KIT_PLAIN);
}

TEST(an_encrypted_share_is_split_after_a_death, "C-20 FL-904 FL-905 FL-906", 4, .deadline_s = 120)
{
	split(rank, true, KIT_ENCRYPTED);
}

TEST(an_encoded_share_is_split_while_it_runs, "C-20 FL-905 FL-906 FL-907", 4, .deadline_s = 120)
{
	split(rank, false, KIT_BOTH);
}
