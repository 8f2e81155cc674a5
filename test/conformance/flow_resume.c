/* SPDX-License-Identifier: Apache-2.0
 * flow_resume.c: sources of retained flows that are lost and resume by their id; what is said when they do not; fencing. */
#include <signal.h>
#include <unistd.h>

#include "descriptor_kit.h"
#include "flow_kit.h"

#define LATE (120 * SECOND) /* longer than any of these waits */
#define ID 7001

static DPI_Source resume_with(DPI_Flow f, uint64_t id, const uint64_t *rows, int takeover)
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

static DPI_Flow_Info flow_info(DPI_Flow f)
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
	_Atomic int current, closed, over, done; /* done: the source's life that has nothing more to do */
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

static void take_all(DPI_Flow f, int rank, struct resuming *r, bool kills, bool confirms)
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
			if (confirms && draw(&seed, 2)) CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, t));
		} else {
			CHECK_INT(error, ==, DPI_ERR_AGAIN);
			if (confirms) CHECK_DPI(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, t));
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

/* A source is killed at any moment, and each time resumed by another process: every row is taken once, in order. With stages none that
 * is even or a multiple of 5 comes. */
static void resume_after_kills(int rank, bool anew, int dist, int retain, bool staged, int layout, enum kit_codecs codecs)
{
	static const DPI_Stage stages[] = { { .kind = DPI_STAGE_FILTER, .place = DPI_AT_SOURCE, .text = "number % 2 = 1" },
					    { .kind = DPI_STAGE_FILTER, .place = DPI_AT_TARGET, .text = "number % 5 <> 0" } };
	struct resuming *r = harness_shared();
	bool all = dist == DPI_DIST_BROADCAST;
	if (rank == 2) harness_expect_death(2);
	DPI_Context ctx = join();
	DPI_Flow_Attr *a = FLOW_ATTR(.targets = TARGETS, .sources = 1, .segment = 1024, .memory = 65536, .dist = dist, .retain = retain,
				     .resume_us = LATE, .layout = layout, .stages = staged ? stages : NULL, .stage_count = staged ? 2 : 0);
	kit_codecs(codecs, a, ctx);
	DPI_Flow f = kit_flow("f", a, ctx);
	if (rank == 2) {
		push_and_store(f, r, anew);
		r->done = harness_spawns(2);
	} else {
		take_all(f, rank, r, rank == 0, retain == DPI_ACK_CONFIRMED);
	}
	if (rank < 2) r->over++;
	if (rank < 2) AWAIT(r->over == 2);
	if (rank == 0) {
		AWAIT(r->done == harness_spawns(2)); /* one that was killed when all was done joins once more, and needs this node for that */
		int64_t rows = 0, sum = 0;
		for (int64_t n = 0; n < ROWS; n++)
			if (!staged || (n % 2 && n % 5)) rows++, sum += n;
		CHECK_INT(r->taken, ==, to_all(all, rows));
		CHECK_INT(r->sum, ==, to_all(all, sum));
	}
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_source_resumes, "FL-950 FL-951 FL-952", 3, .deadline_s = 180) { resume_after_kills(rank, false, DPI_DIST_HASH, DPI_ACK_RELEASED, false, DPI_LAYOUT_ROWS, KIT_PLAIN); }
TEST(flow_source_resumes_in_turn, "FL-950 FL-953", 3, .deadline_s = 180) { resume_after_kills(rank, false, DPI_DIST_ROUND_ROBIN, DPI_ACK_RELEASED, false, DPI_LAYOUT_ROWS, KIT_PLAIN); }
TEST(flow_source_resumes_to_all, "FL-950", 3, .deadline_s = 180) { resume_after_kills(rank, false, DPI_DIST_BROADCAST, DPI_ACK_RELEASED, false, DPI_LAYOUT_ROWS, KIT_PLAIN); }
TEST(flow_source_resumes_columns, "FL-950 FL-951 FL-952", 3, .deadline_s = 180)
{
	resume_after_kills(rank, false, DPI_DIST_HASH, DPI_ACK_RELEASED, false, DPI_LAYOUT_COLUMNS, KIT_PLAIN);
}
TEST(flow_source_resumes_columns_to_all, "FL-950 FL-951 FL-952", 3, .deadline_s = 180)
{
	resume_after_kills(rank, false, DPI_DIST_BROADCAST, DPI_ACK_CONFIRMED, false, DPI_LAYOUT_COLUMNS, KIT_PLAIN);
}
TEST(flow_source_resumes_with_stages, "FL-910 FL-950 FL-951", 3, .deadline_s = 180) { resume_after_kills(rank, false, DPI_DIST_HASH, DPI_ACK_RELEASED, true, DPI_LAYOUT_ROWS, KIT_PLAIN); }
TEST(flow_source_resumes_with_stages_confirmed, "FL-910 FL-950 FL-951", 3, .deadline_s = 180)
{
	resume_after_kills(rank, false, DPI_DIST_BROADCAST, DPI_ACK_CONFIRMED, true, DPI_LAYOUT_ROWS, KIT_PLAIN);
}
TEST(flow_source_pushes_anew_with_stages, "FL-910 FL-950 FL-953", 3, .deadline_s = 180)
{
	resume_after_kills(rank, true, DPI_DIST_ROUND_ROBIN, DPI_ACK_RELEASED, true, DPI_LAYOUT_ROWS, KIT_PLAIN);
}
TEST(flow_source_pushes_anew, "FL-950 FL-951", 3, .deadline_s = 180) { resume_after_kills(rank, true, DPI_DIST_HASH, DPI_ACK_RELEASED, false, DPI_LAYOUT_ROWS, KIT_PLAIN); }
TEST(flow_source_resumes_compressed, "C-15 FL-950 FL-951 FL-952", 3, .deadline_s = 180)
{
	resume_after_kills(rank, false, DPI_DIST_HASH, DPI_ACK_CONFIRMED, false, DPI_LAYOUT_ROWS, KIT_COMPRESSED);
}
TEST(flow_source_resumes_encrypted, "C-9 C-15 FL-950 FL-951 FL-952", 3, .deadline_s = 180)
{
	resume_after_kills(rank, false, DPI_DIST_BROADCAST, DPI_ACK_RELEASED, false, DPI_LAYOUT_ROWS, KIT_ENCRYPTED);
}
TEST(flow_source_pushes_anew_encoded, "C-15 FL-950 FL-951", 3, .deadline_s = 180)
{
	resume_after_kills(rank, true, DPI_DIST_ROUND_ROBIN, DPI_ACK_RELEASED, true, DPI_LAYOUT_ROWS, KIT_BOTH);
}

/* ------------------------------------------------------------------------------------------------- lost and waited for */

/* The flow does not end, and no mark is reported, while a source is lost; one that was given up is lost, too. */
TEST(flow_waits_for_a_lost_source, "FL-121 FL-954 FL-955", 2)
{
	_Atomic int *stage = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 2, .retain = DPI_ACK_RELEASED, .resume_us = LATE);
	uint64_t rows = 0;
	DPI_Tuple u;
	void *room;
	if (rank == 1) {
		DPI_Source s = resume_with(f, ID, NULL, 0), other = source_of(f);
		push_rows(s, 1, 0, 10);
		CHECK_DPI(DPI_Push_Mark(5, s));
		CHECK_DPI(DPI_Flush_Source(s));
		CHECK_DPI(DPI_Get_Source_Rows(s, &rows));
		CHECK_INT(rows, ==, 10);
		CHECK_DPI(DPI_Reserve(sizeof(struct flow_row), 0, s, &room));
		CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_STATE, "room");
		CHECK_DPI(DPI_Push_Mark(7, other));
		CHECK_DPI(DPI_Close_Source(other));
		UNTIL(50 * SECOND, info.lost == 1 && info.closed == 1, DPI_Flow_Info info = flow_info(f));
		*stage = 1;
		AWAIT(*stage == 2);
		s = resume_with(f, ID, &rows, 0);
		UNTIL(50 * SECOND, info.lost == 0 && info.sources == 2, DPI_Flow_Info info = flow_info(f));
		CHECK_DPI(DPI_Push_Mark(5, s)); /* again */
		push_rows(s, 1, 10, 10);
		CHECK_DPI(DPI_Get_Source_Rows(s, &rows));
		CHECK_INT(rows, ==, 20);
		DPI_Source_Stats stats = { .size = sizeof stats };
		CHECK_DPI(DPI_Get_Source_Stats(s, &stats));
		CHECK_INT(stats.rows, ==, 10);
		CHECK_DPI(DPI_Push_Mark(9, s));
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_with(0, f, 50 * MS);
		struct flow_tally tally = { 0 };
		uint64_t marks[8];
		int error, n = 0;
		for (bool known = false, lost = false; !lost; known = *stage == 1) { /* a wait that begins when all is known says so */
			const char *text = "";
			error = DPI_Next(t, &u);
			DPI_Get_Error_Detail(&text);
			lost = error && known && strstr(text, "lost and may resume");
			if (error) CHECK_INT(error, ==, DPI_ERR_TIMEOUT);
			else if (u.kind == DPI_TUPLE_MARK) marks[n++] = u.mark;
			else flow_take(&tally, u.data, u.size);
			CHECK_INT(n, <, 8);
		}
		CHECK_ERROR(error, DPI_ERR_TIMEOUT, "lost and may resume");
		CHECK_INT(tally.total, ==, 10);
		DPI_Flow_End end = DPI_FLOW_END_INIT;
		CHECK_DPI(DPI_Get_Flow_Source(0, f, &end));
		CHECK(end.state == DPI_END_LOST && end.node == 1 && end.epoch == 0 && end.id == ID);
		UNTIL(10 * SECOND, end.state == DPI_END_CLOSED, CHECK_DPI(DPI_Get_Flow_Source(1, f, &end)));
		CHECK(end.node == 1 && end.id == 0);
		CHECK(n == 1 && marks[0] == 5);
		*stage = 2;
		while ((error = DPI_Next(t, &u)) != DPI_ERR_END) {
			if (error) CHECK_INT(error, ==, DPI_ERR_TIMEOUT);
			else if (u.kind == DPI_TUPLE_MARK) marks[n++] = u.mark;
			else flow_take(&tally, u.data, u.size);
			CHECK_INT(n, <, 8);
		}
		CHECK_INT(tally.total, ==, 20);
		CHECK(n == 2 && marks[1] == 9);
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* A source that nobody resumes in time is dead: the flow fails, or goes on. */
static void not_resumed(int rank, int on_death)
{
	struct {
		_Atomic int pushed;
	} *shared = harness_shared();
	if (rank == 1) harness_expect_death(1);
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .retain = DPI_ACK_RELEASED, .resume_us = 200 * MS, .on_death = on_death);
	DPI_Tuple u;
	if (rank == 1) {
		DPI_Source s = resume_with(f, ID, NULL, 0);
		push_rows(s, 1, 0, 10);
		CHECK_DPI(DPI_Flush_Source(s));
		shared->pushed = 1;
		for (;;) harness_pause();
	}
	DPI_Target t = target_of(0, f);
	struct flow_tally tally = { 0 };
	int error;
	AWAIT(shared->pushed);
	int64_t start = now();
	harness_kill(1, SIGKILL);
	while (!(error = DPI_Next(t, &u))) flow_take(&tally, u.data, u.size);
	CHECK_INT(now() - start, >=, 150 * MS);
	CHECK_INT(tally.total, ==, 10);
	DPI_Source_Attr a = DPI_SOURCE_ATTR_INIT;
	DPI_Source s;
	a.id = ID;
	if (on_death == DPI_DEATH_FAILS) {
		CHECK_ERROR(error, DPI_ERR_PEER, "nobody has resumed its id 7001");
		CHECK_ERROR(DPI_Open_Source(f, &a, &s), DPI_ERR_PEER, "nobody has resumed");
	} else {
		CHECK_ERROR(error, DPI_ERR_END, "ended");
		CHECK_ERROR(DPI_Open_Source(f, &a, &s), DPI_ERR_EXISTS, "not resumed in time");
		DPI_Flow_Info info = flow_info(f);
		CHECK(info.closed == 1 && info.dead == 1 && info.lost == 0);
		DPI_Flow_End end = DPI_FLOW_END_INIT;
		CHECK_DPI(DPI_Get_Flow_Source(0, f, &end));
		CHECK(end.state == DPI_END_DEAD && end.node == 1 && end.id == ID);
		uint64_t rows;
		CHECK_DPI(DPI_Get_Taken(0, t, &rows));
		CHECK_INT(rows, ==, 10);
	}
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_source_not_resumed, "FL-956", 2) { not_resumed(rank, DPI_DEATH_FAILS); }
TEST(flow_goes_on_source_not_resumed, "FL-121 FL-956", 2) { not_resumed(rank, DPI_DEATH_GOES_ON); }

/* --------------------------------------------------------------------------------------------------------- refused */

/* With stages at the source nobody can tell how many rows were pushed before those that travelled, and so whose turn it is. */
TEST(flow_source_rows_in_turn, "FL-911", 1)
{
	static const DPI_Stage stage = { .kind = DPI_STAGE_FILTER, .place = DPI_AT_SOURCE, .text = "number % 2 = 0" };
	static const uint64_t none[2] = { 0, 0 }, rows[2] = { 0, 2 };
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 2, .dist = DPI_DIST_ROUND_ROBIN, .retain = DPI_ACK_RELEASED, .stages = &stage, .stage_count = 1);
	DPI_Source_Attr a = DPI_SOURCE_ATTR_INIT;
	DPI_Source s;
	a.id = ID;
	a.rows = rows;
	CHECK_ERROR(DPI_Open_Source(f, &a, &s), DPI_ERR_UNSUPPORTED, "push from the first again");
	a.rows = none;
	CHECK_DPI(DPI_Open_Source(f, &a, &s));
	CHECK_DPI(DPI_Close_Source(s));
	leave(ctx);
}

TEST(flow_source_ids, "FL-957 FL-958", 1)
{
	static const uint64_t rows[1] = { 3 };
	DPI_Context ctx = join();
	DPI_Flow direct = FLOW("d", ctx, .targets = 1), f = FLOW("f", ctx, .retain = DPI_ACK_RELEASED, .resume_us = LATE);
	DPI_Source_Attr a = DPI_SOURCE_ATTR_INIT;
	DPI_Source s, other;
	DPI_Target t = target_of(0, f);
	struct flow_tally tally = { 0 };
	a.id = ID;
	CHECK_ERROR(DPI_Open_Source(direct, &a, &s), DPI_ERR_USE, "attr->retain");
	a.rows = rows;
	CHECK_ERROR(DPI_Open_Source(f, &a, &s), DPI_ERR_ARGUMENT, "no source with the id 7001");
	a.id = 0;
	CHECK_ERROR(DPI_Open_Source(f, &a, &s), DPI_ERR_ARGUMENT, "attr->rows");
	a.rows = NULL;
	a.takeover = 1;
	CHECK_ERROR(DPI_Open_Source(f, &a, &s), DPI_ERR_ARGUMENT, "attr->takeover");
	a.takeover = 2;
	a.id = ID;
	CHECK_ERROR(DPI_Open_Source(f, &a, &s), DPI_ERR_ARGUMENT, "attr->takeover is 2");
	a.takeover = 0;
	CHECK_DPI(DPI_Open_Source(f, &a, &s));
	CHECK_ERROR(DPI_Open_Source(f, &a, &other), DPI_ERR_EXISTS, "is open on node 0");
	CHECK_ERROR(DPI_Get_Source_Rows(s, NULL), DPI_ERR_ARGUMENT, "rows");
	push_rows(s, 0, 0, 3);
	CHECK_DPI(DPI_Flush_Source(s));
	for (int i = 0; i < 3; i++) { /* so that the close finds them acknowledged */
		DPI_Tuple u;
		CHECK_DPI(DPI_Next(t, &u));
		flow_take(&tally, u.data, u.size);
	}
	CHECK_ERROR(DPI_Try_Next(t, &(DPI_Tuple){ 0 }), DPI_ERR_AGAIN, "nothing");
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_ERROR(DPI_Open_Source(f, &a, &s), DPI_ERR_EXISTS, "was closed");
	CHECK_DPI(DPI_Seal_Flow(f));
	flow_drain(t, &tally);
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* One that is open is taken over: it is fenced, also while it waits for room, and its successor goes on. */
static void taken_over(int rank, enum kit_codecs codecs)
{
	struct {
		_Atomic int64_t pushed;
		_Atomic int over;
	} *shared = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow_Attr *a = FLOW_ATTR(.sources = 1, .segment = 512, .memory = 16384, .retain = DPI_ACK_RELEASED, .resume_us = LATE);
	kit_codecs(codecs, a, ctx);
	DPI_Flow f = kit_flow("f", a, ctx);
	if (rank == 0) {
		DPI_Target t = target_of(0, f);
		struct flow_tally tally = { 0 };
		AWAIT(shared->over);
		flow_drain(t, &tally);
		CHECK_INT(tally.total, ==, 5000);
		CHECK_DPI(DPI_Close_Target(t));
	} else if (rank == 1) {
		DPI_Source s = resume_with(f, ID, NULL, 0);
		int error = DPI_SUCCESS;
		for (int64_t n = 0; !error; n++) {
			struct flow_row r = row_of(1, n, n);
			error = DPI_Push(&r, sizeof r, s);
			if (!error) shared->pushed = n + 1;
		}
		CHECK_ERROR(error, DPI_ERR_FENCED, "taken over by another on node 2");
		CHECK_ERROR(DPI_Flush_Source(s), DPI_ERR_FENCED, "taken over");
		CHECK_ERROR(DPI_Push_Mark(1, s), DPI_ERR_FENCED, "taken over");
		CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_FENCED, "taken over");
		shared->over = 1;
	} else {
		for (int64_t seen = -1; seen != shared->pushed || !seen; pause_ms(50)) seen = shared->pushed; /* it waits for room */
		DPI_Source s = resume_with(f, ID, NULL, 1);
		push_rows(s, 1, 0, 5000);
		CHECK_DPI(DPI_Close_Source(s));
	}
	CHECK_DPI(DPI_Barrier("end", 3, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_source_taken_over, "FL-959", 3) { taken_over(rank, KIT_PLAIN); }
TEST(flow_source_taken_over_encrypted, "C-15 FL-959", 3) { taken_over(rank, KIT_ENCRYPTED); }

/* It waits for acknowledgements, by a call or by closing, which come to the other. */
static void taken_over_waiting(int rank, int ack)
{
	enum { FEW = 100 };
	_Atomic int *stage = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .retain = DPI_ACK_CONFIRMED, .ack = ack, .resume_us = LATE);
	if (rank == 0) {
		DPI_Target t = target_of(0, f);
		struct flow_tally tally = { 0 };
		DPI_Tuple u;
		int error;
		AWAIT(*stage == 2);
		while (!(error = DPI_Next(t, &u))) {
			flow_take(&tally, u.data, u.size);
			CHECK_DPI(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, t));
		}
		CHECK_INT(error, ==, DPI_ERR_END);
		CHECK_INT(tally.total, ==, FEW);
		CHECK_DPI(DPI_Close_Target(t));
	} else if (rank == 1) {
		DPI_Source s = resume_with(f, ID, NULL, 0);
		push_rows(s, 1, 0, FEW);
		CHECK_DPI(DPI_Flush_Source(s));
		*stage = 1;
		if (ack) CHECK_ERROR(DPI_Wait_Ack(FEW, s), DPI_ERR_FENCED, "taken over");
		CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_FENCED, "taken over");
		*stage = 2;
	} else {
		AWAIT(*stage == 1);
		pause_ms(50); /* it waits */
		DPI_Source s = resume_with(f, ID, NULL, 1);
		push_rows(s, 1, 0, FEW);
		CHECK_DPI(DPI_Close_Source(s));
	}
	CHECK_DPI(DPI_Barrier("end", 3, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_source_taken_over_closing, "FL-959", 3) { taken_over_waiting(rank, DPI_ACK_NONE); }
TEST(flow_source_taken_over_waiting, "FL-959", 3) { taken_over_waiting(rank, DPI_ACK_CONFIRMED); }

/* There is memory for two rings. A third finds some when the first one's source is closed, though nothing else happens at the target. */
TEST(flow_source_taken_over_twice, "FL-902 FL-959", 1)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .segment = 512, .memory = 8192, .retain = DPI_ACK_RELEASED, .resume_us = LATE);
	DPI_Target t = target_of(0, f);
	DPI_Source s[3];
	struct flow_row r = row_of(1, 1, 1);
	DPI_Tuple u;
	int error;
	s[0] = resume_with(f, ID, NULL, 0);
	push_rows(s[0], 1, 0, 1);
	CHECK_DPI(DPI_Flush_Source(s[0]));
	CHECK_DPI(DPI_Next(t, &u));
	s[1] = resume_with(f, ID, NULL, 1);
	push_rows(s[1], 1, 0, 2);
	CHECK_DPI(DPI_Flush_Source(s[1]));
	CHECK_DPI(DPI_Next(t, &u));
	s[2] = resume_with(f, ID, (const uint64_t[]){ 1 }, 1);
	CHECK_ERROR(DPI_Try_Push(&r, sizeof r, s[2]), DPI_ERR_AGAIN, "room");
	for (int i = 0; i < 50; i++, pause_ms(1)) CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, "nothing"); /* all news are known */
	CHECK_ERROR(DPI_Close_Source(s[0]), DPI_ERR_FENCED, "taken over");
	while ((error = DPI_Try_Push(&r, sizeof r, s[2])) == DPI_ERR_AGAIN) CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, "nothing");
	CHECK_DPI(error);
	CHECK_ERROR(DPI_Close_Source(s[1]), DPI_ERR_FENCED, "taken over");
	CHECK_DPI(DPI_Flush_Source(s[2]));
	for (int i = 0; i < 50; i++, pause_ms(1)) CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, "nothing"); /* what it has pushed came before */
	CHECK_DPI(DPI_Close_Source(s[2]));
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* While it waits for a target its process stands; when it goes on, that target has had all from the other, and has ended. */
TEST(flow_source_taken_over_late, "FL-959", 2)
{
	enum { FEW = 3 };
	_Atomic int *waits = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .retain = DPI_ACK_CONFIRMED, .resume_us = LATE);
	if (rank == 1) {
		DPI_Source s = resume_with(f, ID, NULL, 0);
		struct flow_row r = row_of(1, 0, 0);
		*waits = 1;
		CHECK_ERROR(DPI_Push(&r, sizeof r, s), DPI_ERR_FENCED, "taken over by another on node 0");
		CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_FENCED, "taken over");
	} else {
		DPI_Tuple u;
		AWAIT(*waits);
		pause_ms(50);
		harness_kill(1, SIGSTOP);
		DPI_Source s = resume_with(f, ID, NULL, 1);
		DPI_Target t = target_of(0, f);
		push_rows(s, 1, 0, FEW);
		CHECK_DPI(DPI_Flush_Source(s));
		for (int i = 0; i < FEW; i++) CHECK_DPI(DPI_Next(t, &u));
		CHECK_DPI(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, t));
		CHECK_DPI(DPI_Close_Source(s));
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
		CHECK_DPI(DPI_Close_Target(t));
		harness_kill(1, SIGCONT);
	}
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* A source that goes on behind what its target has got. */
static void gap(int rank, int on_death)
{
	_Atomic int *stage = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .retain = DPI_ACK_RELEASED, .resume_us = LATE, .on_death = on_death);
	uint64_t rows = 15;
	void *room;
	if (rank == 1) {
		DPI_Source s = resume_with(f, ID, NULL, 0);
		push_rows(s, 1, 0, 10);
		CHECK_DPI(DPI_Flush_Source(s));
		CHECK_DPI(DPI_Reserve(sizeof(struct flow_row), 0, s, &room));
		CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_STATE, "room");
		s = resume_with(f, ID, &rows, 0);
		int error = DPI_Close_Source(s); /* with nothing more to send: found all the same */
		if (on_death == DPI_DEATH_FAILS) CHECK_INT(error, ==, DPI_ERR_FLOW);
		*stage = 1;
	} else {
		DPI_Target t = target_of(0, f);
		struct flow_tally tally = { 0 };
		DPI_Tuple u;
		int error;
		while (!(error = DPI_Next(t, &u))) flow_take(&tally, u.data, u.size);
		CHECK_ERROR(error, DPI_ERR_RECLAIMED, "source 0 of flow 'f' goes on at row 15 of target 0, which has got 10 of it");
		CHECK_INT(tally.total, ==, 10);
		if (on_death == DPI_DEATH_FAILS) CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_RECLAIMED, "goes on at row 15");
		AWAIT(*stage);
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_source_leaves_a_gap, "FL-960", 2) { gap(rank, DPI_DEATH_FAILS); }

/* -------------------------------------------------------------------------------------------------------- detached */

/* By an event loop: the source sleeps until there is room, or the target that has none is to be left out. */
static void push_rows_in_a_loop(DPI_Source s, int rank, int64_t count)
{
	int fd, ready;
	CHECK_DPI(DPI_Get_Source_Descriptor(s, &fd));
	int loop = loop_with(fd);
	for (int64_t n = 0; n < count; n++) {
		struct flow_row r = row_of(rank, n, n);
		int error;
		while ((error = DPI_Try_Push(&r, sizeof r, s)) == DPI_ERR_AGAIN) {
			CHECK_DPI(DPI_Arm_Source(s, &ready));
			if (!ready) CHECK_WOKEN(loop);
		}
		CHECK_DPI(error);
	}
	close(loop);
}

/* Everybody gets all rows; one target takes nothing, and is left out. The other, and the other source, go on. */
static void detach(int rank, int retain, int layout, bool loops)
{
	enum { MANY = 4000 };
	_Atomic int *stage = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 2, .sources = 2, .segment = 512, .memory = 65536, .dist = DPI_DIST_BROADCAST,
			  .detach_us = 5 * SECOND * harness_slow(), /* target 0 is never so slow */
			  .retain = retain, .layout = layout);
	if (rank < 2) {
		DPI_Source s = source_of(f);
		if (loops) push_rows_in_a_loop(s, rank, MANY);
		else push_rows(s, rank, 0, MANY);
		CHECK_DPI(DPI_Push_Mark(5, s));
		DPI_Source_Stats stats = { .size = sizeof stats };
		CHECK_DPI(DPI_Flush_Source(s));
		CHECK_DPI(DPI_Get_Source_Stats(s, &stats));
		CHECK_INT(stats.dropped, >, 0);
		CHECK_INT(stats.rows + stats.dropped, ==, 2 * MANY);
		CHECK_DPI(DPI_Close_Source(s));
		UNTIL(60 * SECOND * harness_slow(), info.detached == 1 && info.closed == 2, DPI_Flow_Info info = flow_info(f));
		CHECK(!flow_info(f).failed);
	} else if (rank == 2) {
		DPI_Target t = target_of(0, f);
		struct flow_tally tally = { 0 };
		DPI_Tuple u;
		uint64_t mark = 0;
		int error;
		while (!(error = DPI_Next(t, &u)))
			if (u.kind == DPI_TUPLE_MARK) mark = u.mark;
			else flow_take(&tally, u.data, u.size);
		CHECK_ERROR(error, DPI_ERR_END, "ended");
		CHECK_INT(tally.total, ==, 2 * MANY);
		CHECK_INT(mark, ==, 5);
		CHECK_DPI(DPI_Close_Target(t));
		*stage = 1;
	} else {
		DPI_Target t = target_of(1, f), again;
		DPI_Tuple u;
		size_t which = 9;
		UNTIL(60 * SECOND * harness_slow(), info.detached == 1, DPI_Flow_Info info = flow_info(f));
		CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_FENCED, "target 1 of flow 'f' was detached");
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_FENCED, "was detached");
		CHECK_DPI(DPI_Wait_Targets(&t, 1, 0, &which));
		CHECK_ERROR(DPI_Open_Target(1, NULL, f, &again), DPI_ERR_EXISTS, "was detached");
		AWAIT(*stage);
		CHECK_DPI(DPI_Close_Target(t));
		CHECK(!flow_info(f).failed);
	}
	CHECK_DPI(DPI_Barrier("end", 4, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_target_detached, "FL-970 FL-971", 4, .deadline_s = 180) { detach(rank, 0, DPI_LAYOUT_ROWS, false); }
TEST(flow_target_detached_of_columns, "FL-970 FL-971", 4, .deadline_s = 180) { detach(rank, 0, DPI_LAYOUT_COLUMNS, false); }
TEST(flow_target_detached_retained, "FL-970 FL-971", 4, .deadline_s = 180) { detach(rank, DPI_ACK_RELEASED, DPI_LAYOUT_ROWS, false); }

TEST(flow_target_detached_in_event_loops, "FL-603 FL-970", 4, .deadline_s = 180) { detach(rank, 0, DPI_LAYOUT_ROWS, true); }

/* Both targets make room all the time, and hold up the source: one takes what lies there within the budget, the other in twice as long. */
static void lagging(int rank, int retain)
{
	int64_t budget = SECOND * harness_slow();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 2, .sources = 1, .segment = 512, .memory = 16384, .dist = DPI_DIST_BROADCAST, .detach_us = budget, .retain = retain);
	if (rank == 2) {
		DPI_Source s = source_of(f);
		DPI_Source_Stats stats = { .size = sizeof stats };
		int64_t n = 0, until = now() + 60 * budget;
		uint64_t stalls[2] = { 0 };
		while (!flow_info(f).detached && now() < until) push_rows(s, 2, n, 20), n += 20;
		CHECK_INT(flow_info(f).detached, ==, 1);
		CHECK_DPI(DPI_Get_Source_Stats(s, &stats));
		for (int64_t more = n + 2000; n < more; n += 20) push_rows(s, 2, n, 20); /* the other one is still waited for */
		stalls[0] = stats.stalls;
		CHECK_DPI(DPI_Get_Source_Stats(s, &stats));
		stalls[1] = stats.stalls;
		CHECK_INT(stalls[0], <, stalls[1]);
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of((uint32_t)rank, f);
		DPI_Tuple u;
		int64_t rows = 0;
		int error;
		while (!(error = DPI_Next(t, &u))) {
			CHECK_INT(((const struct flow_row *)u.data)->number, ==, rows);
			rows++;
			/* of some 200 rows that lie there */
			if (rank) usleep((useconds_t)(budget / 100));
			else if (rows % 4 == 0) usleep(1000);
		}
		if (rank) CHECK_ERROR(error, DPI_ERR_FENCED, "lagged behind");
		else CHECK_ERROR(error, DPI_ERR_END, "ended");
		CHECK_INT(rows, >, rank ? 40 : 2000);
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Barrier("end", 3, 0, ctx));
	CHECK_INT(flow_info(f).detached, ==, 1);
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_target_lags, "FL-970 FL-971", 3, .deadline_s = 180) { lagging(rank, 0); }
TEST(flow_target_lags_retained, "FL-970 FL-971", 3, .deadline_s = 180) { lagging(rank, DPI_ACK_RELEASED); }

/* Without it a push waits, in calls that do not wait likewise; and with it those that do not wait detach, too. */
TEST(flow_detach_is_asked_for, "FL-970 FL-972", 1)
{
	DPI_Context ctx = join();
	DPI_Flow waits = FLOW("w", ctx, .segment = 512, .memory = 8192), tries = FLOW("t", ctx, .segment = 512, .memory = 8192, .detach_us = 20 * MS);
	DPI_Target tw = target_of(0, waits), tt = target_of(0, tries);
	DPI_Source w = source_with(waits, 200 * MS), t = source_of(tries);
	DPI_Tuple u;
	int error = DPI_SUCCESS;
	for (int64_t n = 0; !error; n++) {
		struct flow_row r = row_of(0, n, n);
		error = DPI_Push(&r, sizeof r, w);
	}
	CHECK_ERROR(error, DPI_ERR_TIMEOUT, "had no room");
	CHECK_INT(flow_info(waits).detached, ==, 0);
	CHECK_DPI(DPI_Try_Next(tw, &u));
	DPI_Source_Stats stats = { .size = sizeof stats };
	for (int64_t n = 0, again = 0; !stats.dropped; n++) {
		struct flow_row r = row_of(0, n, n);
		error = DPI_Try_Push(&r, sizeof r, t);
		if (error) CHECK_ERROR(error, DPI_ERR_AGAIN, "no room");
		again += error != 0;
		CHECK_DPI(DPI_Get_Source_Stats(t, &stats));
		CHECK(again || !stats.dropped);
	}
	CHECK_INT(flow_info(tries).detached, ==, 1);
	CHECK_ERROR(DPI_Try_Next(tt, &u), DPI_ERR_FENCED, "was detached");
	CHECK_DPI(DPI_Close_Source(t));
	CHECK_DPI(DPI_Close_Target(tt));
	CHECK_DPI(DPI_Cancel_Flow(NULL, waits));
	CHECK_ERROR(DPI_Close_Source(w), DPI_ERR_CANCELLED, " ");
	CHECK_DPI(DPI_Close_Target(tw));
	CHECK_DPI(DPI_Finalize(ctx));
}
