/* SPDX-License-Identifier: Apache-2.0
 * rebind.c: kill -9 of a retained flow's targets at random moments, many times. Each stores what it has taken in, with how much that is,
 * and then confirms it; who comes after it goes on from there. In the end every row was taken in exactly once, in order. */
#include "kit.h"

ENROL_PLAIN;

enum { SOURCES = 2, TARGETS = 2, KILLER = SOURCES + TARGETS, KILLS = 40 };

struct row {
	int64_t key, number;
};

/* What a target's program has made of its rows: its database. The one that counts is number now & 1. */
struct stored {
	int64_t sum, last[SOURCES];
	uint64_t rows[SOURCES];
};
struct shared {
	_Atomic int stop, opened;
	_Atomic int64_t pushed[SOURCES];
	struct {
		struct stored version[2];
		_Atomic uint32_t now;
		_Atomic int ended;
	} target[TARGETS];
};

static DPI_Flow open_flow(DPI_Context ctx)
{
	static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "number", DPI_TYPE_INT64, 0, 0, 0, 0 } };
	return retained_flow(ctx, columns, 2, TARGETS, SOURCES, DPI_ACK_CONFIRMED, 0);
}

static void source(struct shared *w, int rank)
{
	DPI_Context ctx;
	DPI_Source s;
	uint32_t number;
	DPI_Source_Attr a = DPI_SOURCE_ATTR_INIT;
	a.timeout_us = 60000000;
	CHECK_DPI(DPI_Init(&ctx));
	DPI_Flow f = open_flow(ctx);
	CHECK_DPI(DPI_Open_Source(f, &a, &s));
	CHECK_DPI(DPI_Get_Source_Number(s, &number));
	w->opened++;
	for (struct row r = { 0, 0 }; !w->stop || r.number < 1000; r.number++) {
		r.key = r.number * 7 + rank;
		CHECK_DPI(DPI_Push(&r, sizeof r, s));
		w->pushed[number] = r.number + 1;
	}
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Close_Flow(f));
	CHECK_DPI(DPI_Barrier("end", SOURCES, 60000000, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

static void target(struct shared *w, int rank)
{
	uint32_t index = (uint32_t)(rank - SOURCES), now = w->target[index].now;
	struct stored my = w->target[index].version[now & 1];
	uint64_t state = harness_seed() + (uint64_t)harness_spawns(rank) * 16 + index;
	if (w->target[index].ended) return;
	DPI_Context ctx;
	DPI_Target t;
	DPI_Batch b;
	DPI_Target_Attr a = DPI_TARGET_ATTR_INIT;
	DPI_Position position[SOURCES];
	for (uint32_t i = 0; i < SOURCES; i++) position[i] = (DPI_Position){ i, my.rows[i] };
	a.timeout_us = 60000000;
	a.rebind = 1;
	a.position = position;
	a.positions = SOURCES;
	CHECK_DPI(DPI_Init(&ctx));
	DPI_Flow f = open_flow(ctx);
	CHECK_DPI(DPI_Open_Target(index, &a, f, &t));
	int error;
	while ((error = DPI_Next_Batch(t, &b)) == DPI_SUCCESS) {
		const struct row *r = b.rows;
		CHECK(b.source < SOURCES);
		for (size_t i = 0; i < b.count; i++) {
			if (my.rows[b.source]) CHECK_INT(r[i].number, >, my.last[b.source]);
			my.last[b.source] = r[i].number;
			my.rows[b.source]++;
			my.sum += r[i].number;
		}
		CHECK_DPI(DPI_Release_Batch(1, t));
		/* stored at random moments, and confirmed after that; when nothing waits to be taken, both at once, as sources may wait for it */
		size_t which;
		bool idle = DPI_Wait_Targets(&t, 1, DPI_NO_WAIT, &which) == DPI_ERR_TIMEOUT;
		if (!idle && !one_in(&state, 4)) continue;
		w->target[index].version[++now & 1] = my;
		w->target[index].now = now;
		if (!idle && one_in(&state, 4)) continue;
		CHECK_DPI(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, t));
	}
	CHECK_ERROR(error, DPI_ERR_END, "has ended");
	w->target[index].ended = 1;
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Close_Flow(f));
	CHECK_DPI(DPI_Finalize(ctx));
}

static void killer(struct shared *w)
{
	uint64_t state = harness_seed();
	AWAIT(w->opened == SOURCES);
	for (int i = 0; i < times(KILLS, 6); i++) kill_one(SOURCES, TARGETS, 30000, &state);
	w->stop = 1;
	for (int i = 0; i < TARGETS; i++) AWAIT(w->target[i].ended);
	int64_t sum = 0, rows = 0, expected = 0, pushed = 0;
	for (int i = 0; i < TARGETS; i++) {
		const struct stored *s = &w->target[i].version[w->target[i].now & 1];
		sum += s->sum;
		for (int k = 0; k < SOURCES; k++) rows += (int64_t)s->rows[k];
	}
	for (int k = 0; k < SOURCES; k++) {
		expected += w->pushed[k] * (w->pushed[k] - 1) / 2;
		pushed += w->pushed[k];
	}
	CHECK_INT(rows, ==, pushed);
	CHECK_INT(sum, ==, expected);
}

TEST(targets_are_killed_and_bound_anew, "FL-905 FL-906", KILLER + 1, .deadline_s = 270)
{
	struct shared *w = harness_shared();
	if (rank == KILLER) killer(w);
	else if (rank < SOURCES) source(w, rank);
	else target(w, rank);
}
