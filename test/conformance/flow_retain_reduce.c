/* SPDX-License-Identifier: Apache-2.0
 * flow_retain_reduce.c: retained flows that reduce: rows are kept until the results of their window are, and make the same results elsewhere. */
#include <signal.h>

#include "reduce_flow_kit.h"

#define LONG (50 * SECOND)
enum { SOURCES = 2, ROUNDS = 40, EACH = 60, KEYS = 7 };

/* What the target's program stores: what came of each window, and how far it is; together, when the window's mark comes. */
struct stored {
	int64_t n[ROUNDS + 2], sum[ROUNDS + 2]; /* rows, and their sum; the last is behind the last mark */
	uint64_t position[SOURCES];
	_Atomic int64_t round;
	_Atomic int over;
};

struct pusher {
	DPI_Source source;
	int64_t which;
};

/* The rows of a window, from one of them on. */
static void push_round(const struct pusher *p, int64_t round, int64_t from)
{
	for (int64_t i = from; i < EACH; i++) {
		struct sale x = { i % KEYS, round * 1000 + p->which, 0 };
		CHECK_DPI(DPI_Push(&x, sizeof x, p->source));
	}
	if (round <= ROUNDS) CHECK_DPI(DPI_Push_Mark((uint64_t)round, p->source));
}

/* All windows, of which the last has no mark. A source waits for the others, so each has a thread. */
static void *push_rounds(void *arg)
{
	struct pusher *p = arg;
	for (int64_t round = 1; round <= ROUNDS + 1; round++) push_round(p, round, 0);
	CHECK_DPI(DPI_Close_Source(p->source));
	return NULL;
}

static void check_rounds(const struct stored *w, int sources)
{
	for (int64_t r = 1; r <= ROUNDS + 1; r++) {
		CHECK_INT(w->n[r], ==, EACH * sources);
		CHECK_INT(w->sum[r], ==, EACH * (sources * r * 1000 + (sources == 2)));
	}
}

/* Windows from the one after w->round on; until: the last to be stored; amid: behind it results are taken that are not. */
static void take_windows(DPI_Target t, struct stored *w, uint32_t sources, int64_t until, bool amid, bool confirm)
{
	int64_t n = 0, sum = 0;
	for (;;) {
		DPI_Tuple u;
		int error = DPI_Next(t, &u);
		if (error == DPI_ERR_END) break;
		CHECK_DPI(error);
		if (u.kind == DPI_TUPLE_ROW) {
			struct sum x;
			memcpy(&x, u.data, sizeof x);
			n += x.n;
			sum += x.sum;
			if (amid && until < w->round + 1) return;
		} else if ((int64_t)u.mark <= w->round) {
			CHECK(!confirm || !n); /* one that was told before, of which positions leave nothing */
			n = sum = 0;
			continue;
		}
		bool last = w->round == ROUNDS && n == EACH * (int64_t)sources;
		if (u.kind == DPI_TUPLE_ROW && !last) continue;
		int64_t round = last ? ROUNDS + 1 : (int64_t)u.mark;
		CHECK_INT(round, ==, w->round + 1);
		w->n[round] = n, w->sum[round] = sum;
		for (uint32_t s = 0; s < sources; s++) CHECK_DPI(DPI_Get_Taken(s, t, &w->position[s]));
		w->round = round;
		n = sum = 0;
		if (confirm) CHECK_DPI(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, t));
		if (!amid && round == until) return;
	}
	CHECK_INT(w->round, ==, ROUNDS + 1);
}

static void *close_one(void *source)
{
	CHECK_DPI(DPI_Close_Source(source));
	return NULL;
}

static DPI_Target bind_again(DPI_Flow f, const struct stored *w, bool positions)
{
	DPI_Position p[SOURCES];
	DPI_Target_Attr a = { .size = sizeof a, .timeout_us = LONG, .rebind = 1 };
	DPI_Target t;
	for (uint32_t s = 0; s < SOURCES; s++) p[s] = (DPI_Position){ s, w->position[s] };
	if (positions) a.position = p, a.positions = SOURCES;
	CHECK_DPI(DPI_Open_Target(0, &a, f, &t));
	return t;
}

/* Rank 1 stores some windows, has taken more, and dies; rank 2 goes on, and all windows come out whole. */
static void death(int rank, uint32_t sources, int reduce, int retain, enum kit_codecs codecs)
{
	struct stored *w = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow_Attr *a = FLOW_ATTR(.sources = sources, .segment = 1024, .memory = 1 << 17, .retain = retain, .reduce = reduce, .window = DPI_WINDOW_MARKS);
	kit_codecs(codecs, a, ctx);
	DPI_Flow f = reduce_flow("f", sum_a, 2, a, ctx);
	bool confirm = retain == DPI_ACK_CONFIRMED;
	if (rank == 0) {
		struct pusher s[SOURCES];
		pthread_t thread[SOURCES];
		for (uint32_t k = 0; k < sources; k++) s[k] = (struct pusher){ source_with(f, LONG), 0 };
		harness_barrier();
		for (uint32_t k = 0; k < sources; k++) {
			uint32_t number;
			CHECK_DPI(DPI_Get_Source_Number(s[k].source, &number));
			s[k].which = number;
			thread[k] = start_thread(push_rounds, &s[k]);
		}
		for (uint32_t k = 0; k < sources; k++) end_thread(thread[k]);
	} else if (rank == 1) {
		DPI_Target t = target_with(0, f, LONG);
		harness_barrier();
		harness_expect_death(1);
		take_windows(t, w, sources, ROUNDS / 3, true, confirm);
		harness_kill(1, SIGKILL);
	} else {
		harness_barrier();
		AWAIT(!harness_alive(1));
		DPI_Target t = bind_again(f, w, confirm);
		take_windows(t, w, sources, ROUNDS + 2, false, confirm);
		check_rounds(w, (int)sources);
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Close_Flow(f));
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(reduced_rows_come_again, "FL-912 FL-913 FL-914", 3) { death(rank, SOURCES, DPI_REDUCE_TARGET, DPI_ACK_CONFIRMED, KIT_PLAIN); }
TEST(reduced_rows_come_again_released, "FL-912 FL-913 FL-914", 3) { death(rank, 1, DPI_REDUCE_TARGET, DPI_ACK_RELEASED, KIT_PLAIN); }
TEST(partial_rows_come_again, "FL-912 FL-913 FL-914", 3) { death(rank, SOURCES, DPI_REDUCE_BOTH, DPI_ACK_CONFIRMED, KIT_PLAIN); }
TEST(partial_rows_come_again_released, "FL-912 FL-913 FL-914", 3) { death(rank, 1, DPI_REDUCE_BOTH, DPI_ACK_RELEASED, KIT_PLAIN); }
TEST(partial_rows_come_again_encrypted, "C-20 FL-912 FL-913", 3) { death(rank, SOURCES, DPI_REDUCE_BOTH, DPI_ACK_CONFIRMED, KIT_ENCRYPTED); }

/* ------------------------------------------------------------------------------------------------ windows by their rows */

/* The results of so many rows. */
static int64_t take_window(DPI_Target t, int64_t rows)
{
	int64_t n = 0;
	while (n < rows) {
		struct sum x;
		DPI_Tuple u;
		CHECK_DPI(DPI_Next(t, &u));
		memcpy(&x, u.data, sizeof x);
		CHECK_INT(x.sum, ==, x.n);
		n += x.n;
	}
	CHECK_INT(n, ==, rows);
	return n;
}

/* Results that were not confirmed are made anew, of other rows: each row is in one that the program stores. */
TEST(reduced_windows_of_rows_come_again, "FL-912 FL-914", 1)
{
	enum { WINDOW = 25, ROWS = 1010 };
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", sum_a, 2, ctx, .sources = 1, .retain = DPI_ACK_CONFIRMED, .reduce = DPI_REDUCE_TARGET, .window = DPI_WINDOW_ROWS, .window_rows = WINDOW);
	DPI_Target t = target_of(0, f);
	DPI_Source s = source_of(f);
	DPI_Tuple u;
	uint64_t taken;
	int64_t rows = 0;
	for (int64_t i = 0; i < ROWS; i++) {
		struct sale r = { i % KEYS, 1, 0 };
		CHECK_DPI(DPI_Push(&r, sizeof r, s));
	}
	CHECK_DPI(DPI_Flush_Source(s));
	for (int life = 0; life < 3; life++) {
		for (int windows = 0; windows < 5; windows++) rows += take_window(t, WINDOW);
		CHECK_DPI(DPI_Next(t, &u)); /* of the next one: what is whole was given */
		CHECK_DPI(DPI_Get_Taken(0, t, &taken));
		CHECK_INT(taken, ==, rows);
		CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, t));
		CHECK_DPI(DPI_Close_Target(t));
		struct stored w = { .position = { taken } };
		t = bind_again(f, &w, true);
		CHECK_DPI(DPI_Flush_Source(s));
	}
	pthread_t thread = start_thread(close_one, s);
	while (rows < ROWS) { /* the last window has fewer, and ends with its source */
		rows += take_window(t, ROWS - rows < WINDOW ? ROWS - rows : WINDOW);
		CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, t));
	}
	CHECK_INT(rows, ==, ROWS);
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
	end_thread(thread);
	CHECK_DPI(DPI_Close_Target(t));
	leave(ctx);
}

/* ------------------------------------------------------------------------------------------------- sources that resume */

/* Killed at any moment, a source pushes everything again: each window comes once, and whole. */
TEST(reduced_source_resumes, "FL-912 FL-915 FL-950", 2, .deadline_s = 120)
{
	enum { KILLS = 3 };
	struct stored *w = harness_shared();
	if (rank == 1) harness_expect_death(1);
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", sum_a, 2, ctx, .sources = 1, .segment = 1024, .memory = 1 << 17, .retain = DPI_ACK_CONFIRMED, .reduce = DPI_REDUCE_TARGET,
			    .window = DPI_WINDOW_MARKS, .resume_us = 120 * SECOND);
	if (rank == 1) {
		DPI_Source_Attr a = { .size = sizeof a, .timeout_us = LONG, .id = 5, .takeover = harness_spawns(1) > 1 };
		DPI_Source s;
		int error;
		while ((error = DPI_Open_Source(f, &a, &s)) == DPI_ERR_EXISTS && !w->over) harness_pause();
		if (!error) {
			struct pusher p = { s, 0 };
			push_rounds(&p);
		}
		w->over = 1;
	} else {
		DPI_Target t = target_with(0, f, LONG);
		for (int64_t kill = 1; kill <= KILLS; kill++) {
			take_windows(t, w, 1, kill * 8, false, true);
			CHECK_INT(w->round, ==, kill * 8);
			harness_kill(1, SIGKILL);
			AWAIT(!harness_alive(1));
			harness_spawn_rank(1);
		}
		take_windows(t, w, 1, ROUNDS + 2, false, true);
		check_rounds(w, 1);
		CHECK_DPI(DPI_Close_Target(t));
		AWAIT(w->over);
	}
	CHECK_DPI(DPI_Finalize(ctx));
}

/* A source is lost with windows that its target has not read, and resumed before it does: first nothing is in the new ring, then everything.
 * The marks in the old ring do not wait for that, which waits for the end of the old one. */
TEST(reduced_source_resumes_unread, "FL-912 FL-950 FL-954", 2)
{
	struct stored *w = harness_shared();
	if (rank == 1) harness_expect_death(1);
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", sum_a, 2, ctx, .sources = 1, .segment = 1024, .memory = 1 << 17, .linger_us = 5 * SECOND, .retain = DPI_ACK_CONFIRMED, .reduce = DPI_REDUCE_TARGET,
			    .window = DPI_WINDOW_MARKS, .resume_us = 120 * SECOND);
	if (rank == 1) {
		bool first = harness_spawns(1) == 1;
		DPI_Source_Attr a = { .size = sizeof a, .timeout_us = LONG, .id = 5, .takeover = !first };
		struct pusher p = { 0 };
		CHECK_DPI(DPI_Open_Source(f, &a, &p.source));
		if (first) {
			for (int64_t round = 1; round <= 3; round++) push_round(&p, round, 0);
			CHECK_DPI(DPI_Flush_Source(p.source));
			w->over = 1;
			for (;;) harness_pause();
		}
		struct sale x = { 0, 1000, 0 };
		CHECK_DPI(DPI_Push(&x, sizeof x, p.source));
		w->over = 2;
		AWAIT(w->over == 3);
		for (int64_t round = 1; round <= ROUNDS + 1; round++) push_round(&p, round, round == 1);
		CHECK_DPI(DPI_Close_Source(p.source));
	} else {
		DPI_Target t = target_with(0, f, LONG);
		size_t index;
		AWAIT(w->over == 1);
		harness_kill(1, SIGKILL);
		AWAIT(!harness_alive(1));
		harness_spawn_rank(1);
		AWAIT(w->over == 2);
		int found = DPI_Wait_Targets(&t, 1, 20 * MS, &index); /* it reads what is there */
		CHECK(found == DPI_SUCCESS || found == DPI_ERR_TIMEOUT);
		w->over = 3;
		take_windows(t, w, 1, ROUNDS + 2, false, true);
		check_rounds(w, 1);
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(partial_rows_have_no_numbers, "FL-915", 1, .one_transport = true)
{
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", sum_a, 2, ctx, .sources = 1, .retain = DPI_ACK_RELEASED, .window = DPI_WINDOW_MARKS);
	DPI_Source_Attr a = { .size = sizeof a, .id = 5 };
	DPI_Source s;
	CHECK_ERROR(DPI_Open_Source(f, &a, &s), DPI_ERR_UNSUPPORTED, "DPI_REDUCE_TARGET");
	leave(ctx);
}

TEST(a_window_that_is_not_kept, "FL-916", 1, .one_transport = true)
{
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", sum_a, 2, ctx, .sources = 1, .segment = 512, .memory = 16384, .retain = DPI_ACK_RELEASED, .reduce = DPI_REDUCE_TARGET,
			    .window = DPI_WINDOW_MARKS, .on_death = DPI_DEATH_GOES_ON);
	DPI_Target t = target_of(0, f);
	DPI_Source s = source_with(f, 100 * MS);
	struct sale x = { 1, 1, 0 };
	DPI_Tuple u;
	int error;
	do {
		while (!(error = DPI_Push(&x, sizeof x, s))) continue;
		CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, "nothing");
	} while (error == DPI_ERR_TIMEOUT && !strstr(detail(), "raise attr->memory") && DPI_Try_Push(&x, sizeof x, s) == DPI_SUCCESS);
	CHECK_ERROR(DPI_Push(&x, sizeof x, s), DPI_ERR_TIMEOUT, "a window does not fit the memory in which it is kept: raise attr->memory");
	CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_TIMEOUT, " ");
	leave(ctx);
}

/* What came of it until nothing is there. */
static int64_t take_sums(DPI_Target t, int64_t *sum)
{
	DPI_Tuple u;
	int error;
	while (!(error = DPI_Try_Next(t, &u))) {
		struct sum x;
		if (u.kind != DPI_TUPLE_ROW) continue;
		memcpy(&x, u.data, sizeof x);
		*sum += x.sum;
	}
	return error;
}

/* A source is lost and resumed again and again while another, that has come or is still to come, holds all windows back: what its rings keep stays
 * within the memory, and a life that finds none waits until the windows end. */
static void lives(uint32_t sources)
{
	enum { LIVES = 50, EACH_LIFE = 20 };
	static const uint64_t memory = 1 << 18;
	const struct sale x = { 1, 1, 0 };
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", sum_a, 2, ctx, .sources = sources, .segment = 1024, .memory = memory, .retain = DPI_ACK_RELEASED, .resume_us = LONG,
			    .reduce = DPI_REDUCE_TARGET, .window = DPI_WINDOW_MARKS);
	DPI_Target t = target_of(0, f);
	DPI_Source holds = source_with(f, LONG), s = NULL;
	uint64_t rows = 0, lived = 0;
	int64_t sum = 0;
	int error;
	if (!sources) CHECK_DPI(DPI_Push(&x, sizeof x, holds)); /* nobody knows how many are to come */
	for (int life = 0; life <= LIVES; life++) {
		DPI_Source_Attr a = { .size = sizeof a, .id = 7, .takeover = life > 0, .rows = rows ? &rows : NULL, .timeout_us = life < LIVES ? 50 * MS : LONG };
		DPI_Source next;
		CHECK_DPI(DPI_Open_Source(f, &a, &next));
		if (s) CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_FENCED, "taken over");
		s = next;
		if (life == LIVES) break;
		CHECK_INT(take_sums(t, &sum), ==, DPI_ERR_AGAIN);
		error = DPI_Push(&x, sizeof x, s);
		if (error) CHECK_ERROR(error, DPI_ERR_TIMEOUT, "no room");
		for (int i = 1; i < EACH_LIFE && !error; i++) CHECK_DPI(DPI_Push(&x, sizeof x, s));
		if (!error) CHECK_DPI(DPI_Push_Mark(++lived, s));
		if (!error) CHECK_DPI(DPI_Flush_Source(s));
		if (!error) CHECK_DPI(DPI_Get_Source_Rows(s, &rows));
		CHECK_INT(rows, ==, lived * EACH_LIFE);
		CHECK_INT(target_stats(t).memory, <=, memory);
	}
	CHECK_INT(lived, >=, 2);
	CHECK_INT(lived, <, LIVES);
	if (sources) CHECK_DPI(DPI_Push(&x, sizeof x, holds));
	CHECK_DPI(DPI_Push_Mark(lived, holds));
	UNTIL(10 * SECOND, sum >= (int64_t)rows + 1, CHECK_INT(take_sums(t, &sum), ==, DPI_ERR_AGAIN));
	for (int i = 0; i < EACH_LIFE; i++) CHECK_DPI(DPI_Push(&x, sizeof x, s));
	pthread_t closing[] = { start_thread(close_one, holds), start_thread(close_one, s) };
	CHECK_DPI(DPI_Seal_Flow(f));
	UNTIL(20 * SECOND, error == DPI_ERR_END, error = take_sums(t, &sum));
	CHECK_INT(sum, ==, (int64_t)rows + 1 + EACH_LIFE);
	for (int i = 0; i < 2; i++) pthread_join(closing[i], NULL);
	leave(ctx);
}

TEST(retain_reduce_lives, "FL-409 FL-421 FL-981", 1, .deadline_s = 120) { lives(0); }
TEST(retain_reduce_lives_declared, "FL-421 FL-981", 1, .deadline_s = 120) { lives(2); }
