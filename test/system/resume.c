/* SPDX-License-Identifier: Apache-2.0
 * resume.c: kill -9 of a retained flow's sources at random moments, many times. Each stores now and then how far it has come; who comes
 * after it resumes it from there, or pushes everything again. In the end every row was taken exactly once, in order. */
#include "kit.h"

ENROL_PLAIN;

enum { TARGETS = 2, SOURCES = 2, KILLER = TARGETS + SOURCES, KILLS = 40, LEAST = 1000 };

struct row {
	int64_t key, number, source;
};

/* What a source's program knows when it is started again. The one that counts is number now & 1. */
struct stored {
	int64_t next;
	uint64_t rows[TARGETS];
};
struct shared {
	_Atomic int stop, ended;
	_Atomic int64_t rows[TARGETS], sum[TARGETS];
	struct {
		struct stored version[2];
		_Atomic uint32_t now;
		_Atomic int opened, closed;
		_Atomic int64_t most, all; /* rows that any life has pushed; and that are pushed in the end */
	} source[SOURCES];
};

static DPI_Flow open_flow(DPI_Context ctx)
{
	static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "number", DPI_TYPE_INT64, 0, 0, 0, 0 },
					      { "source", DPI_TYPE_INT64, 0, 0, 0, 0 } };
	return retained_flow(ctx, columns, 3, TARGETS, SOURCES, DPI_ACK_RELEASED, 120000000);
}

/* A source that is killed when it has closed is started again all the same. */
static bool open_again(struct shared *w, int index, int life, DPI_Flow f, struct stored *my, DPI_Source *s)
{
	DPI_Source_Attr a = DPI_SOURCE_ATTR_INIT;
	uint64_t state = harness_seed() + (uint64_t)life * 16 + (uint64_t)index;
	bool anew = one_in(&state, 4);
	*my = w->source[index].version[w->source[index].now & 1];
	if (anew) *my = (struct stored){ 0 };
	a.timeout_us = 60000000;
	a.id = 100 + (uint64_t)index;
	a.takeover = (int)draw(&state, 2);
	a.rows = anew ? NULL : my->rows;
	for (;;) {
		const char *text;
		int error = DPI_Open_Source(f, &a, s);
		if (error != DPI_ERR_EXISTS) {
			CHECK_DPI(error);
			return true;
		}
		CHECK_DPI(DPI_Get_Error_Detail(&text));
		if (strstr(text, "was closed")) return false;
		harness_pause();
	}
}

static void source(struct shared *w, int rank)
{
	int index = rank - TARGETS, life = harness_spawns(rank);
	uint64_t state = harness_seed() + (uint64_t)life * 64 + (uint64_t)index;
	struct stored my;
	DPI_Context ctx;
	DPI_Source s;
	CHECK_DPI(DPI_Init(&ctx));
	DPI_Flow f = open_flow(ctx);
	if (!open_again(w, index, life, f, &my, &s)) {
		w->source[index].closed = 1;
		CHECK_DPI(DPI_Finalize(ctx));
		return;
	}
	w->source[index].opened = 1;
	for (int64_t all; !(all = w->source[index].all) || my.next < all;) {
		if (my.next >= w->source[index].most) w->source[index].most = my.next + 1;
		struct row r = { my.next * 7 + index, my.next, index };
		CHECK_DPI(DPI_Push(&r, sizeof r, s));
		my.next++;
		if (w->stop && !all && my.next >= LEAST && my.next == w->source[index].most) { /* said once: who comes after it pushes as many */
			int64_t none = 0;
			atomic_compare_exchange_strong(&w->source[index].all, &none, my.next);
		}
		if (!one_in(&state, 200)) continue;
		CHECK_DPI(DPI_Flush_Source(s));
		CHECK_DPI(DPI_Get_Source_Rows(s, my.rows));
		uint32_t now = w->source[index].now + 1;
		w->source[index].version[now & 1] = my;
		w->source[index].now = now;
	}
	CHECK_DPI(DPI_Close_Source(s));
	w->source[index].closed = 1;
	CHECK_DPI(DPI_Finalize(ctx));
}

static void target(struct shared *w, int rank)
{
	DPI_Context ctx;
	DPI_Target t;
	DPI_Tuple u;
	DPI_Target_Attr a = DPI_TARGET_ATTR_INIT;
	int64_t last[SOURCES] = { -1, -1 }, rows = 0, sum = 0;
	a.timeout_us = 60000000;
	CHECK_DPI(DPI_Init(&ctx));
	DPI_Flow f = open_flow(ctx);
	CHECK_DPI(DPI_Open_Target((uint32_t)rank, &a, f, &t));
	int error;
	while ((error = DPI_Next(t, &u)) == DPI_SUCCESS) {
		struct row r;
		CHECK_INT(u.size, ==, sizeof r);
		memcpy(&r, u.data, sizeof r);
		CHECK(r.source >= 0 && r.source < SOURCES);
		CHECK_INT(r.key, ==, r.number * 7 + r.source);
		CHECK_INT(r.number, >, last[r.source]);
		last[r.source] = r.number;
		rows++;
		sum += r.number;
	}
	CHECK_ERROR(error, DPI_ERR_END, "has ended");
	w->rows[rank] = rows;
	w->sum[rank] = sum;
	w->ended++;
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Barrier("end", TARGETS, 60000000, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

static void killer(struct shared *w)
{
	uint64_t state = harness_seed();
	for (int i = 0; i < SOURCES; i++) AWAIT(w->source[i].opened);
	for (int i = 0; i < times(KILLS, 6); i++) {
		if (i == times(KILLS, 6) - 4) w->stop = 1; /* the last while they end */
		kill_one(TARGETS, SOURCES, 30000, &state);
	}
	AWAIT(w->ended == TARGETS);
	int64_t rows = 0, sum = 0, all = 0, expected = 0;
	for (int i = 0; i < TARGETS; i++) rows += w->rows[i], sum += w->sum[i];
	for (int i = 0; i < SOURCES; i++) all += w->source[i].all, expected += w->source[i].all * (w->source[i].all - 1) / 2;
	CHECK_INT(rows, ==, all);
	CHECK_INT(sum, ==, expected);
}

TEST(sources_are_killed_and_resumed, "FL-950 FL-951 FL-959", KILLER + 1, .deadline_s = 270)
{
	struct shared *w = harness_shared();
	if (rank == KILLER) killer(w);
	else if (rank >= TARGETS) source(w, rank);
	else target(w, rank);
}
