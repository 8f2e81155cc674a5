/* SPDX-License-Identifier: Apache-2.0
 * flow_failure.c: flows that are cancelled or destroyed, and whose endpoints are given up or die. */
#include <signal.h>

#include "flow_kit.h"

#define DEATH (2 * SECOND) /* the bound of a death, and a slow machine */

/* --------------------------------------------------------------------------------- what becomes of those who wait */

/* Radix over four targets: target 0 is open and never reads, 1 waits for rows, 2 is never opened, 3 is the last rank's.
 * Rank 0 waits for room at 0, rank 1 has it, rank 2 waits in DPI_Next of 1, rank 3 waits for 2 to be opened. */
struct waiting {
	_Atomic int waits, over;
};

static DPI_Flow waiting_flow(const char *name, DPI_Context ctx, int on_death)
{
	static const char *const key[] = { "key" };
	DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "number", DPI_TYPE_INT64, 0, 0, 0, 0 },
				 { "from", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "check", DPI_TYPE_UINT64, 0, 0, 0, 0 } };
	DPI_Schema schema;
	CHECK_DPI(DPI_Create_Schema(columns, 4, &schema));
	DPI_Flow f = FLOW(name, ctx, .schema = schema, .targets = 4, .segment = 512, .memory = 65536, .dist = DPI_DIST_RADIX,
			  .key = key, .key_count = 1, .on_death = on_death);
	CHECK_DPI(DPI_Free_Schema(schema));
	return f;
}

static DPI_Flow_Info state_of(DPI_Flow f)
{
	DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
	CHECK_DPI(DPI_Get_Flow_Info(f, &info));
	return info;
}

static int push_to(DPI_Source s, int rank, int64_t target, int64_t *number)
{
	int error = DPI_SUCCESS;
	while (!error) {
		struct flow_row r = row_of(rank, target, (*number)++);
		error = DPI_Push(&r, sizeof r, s);
	}
	return error;
}

static void check_all(DPI_Source s, DPI_Target t, int class, const char *sentence)
{
	struct flow_row r = row_of(0, 1, 0);
	DPI_Tuple u;
	DPI_Batch b;
	void *room;
	size_t n;
	if (s) {
		/* a row for an open segment may still be taken; none comes out at a target */
		CHECK_ERROR((DPI_Try_Push)(&r, sizeof r, s), class, sentence);
		CHECK_ERROR(DPI_Push_Batch(&r, 1, s, &n), class, sentence);
		CHECK_INT(n, ==, 0);
		CHECK_ERROR(DPI_Reserve(sizeof r, 1, s, &room), class, sentence);
		CHECK(!room);
		CHECK_ERROR(DPI_Push_Mark(1, s), class, sentence);
		CHECK_ERROR(DPI_Flush_Source(s), class, sentence);
		CHECK_ERROR(DPI_Close_Source(s), class, sentence);
		CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_HANDLE, "closed");
	}
	if (t) {
		size_t which = 9;
		CHECK_ERROR(DPI_Next(t, &u), class, sentence);
		CHECK_ERROR(DPI_Try_Next(t, &u), class, sentence);
		CHECK_ERROR(DPI_Next_Batch(t, &b), class, sentence);
		CHECK_DPI(DPI_Wait_Targets(&t, 1, 0, &which));
		CHECK_INT(which, ==, 0);
		CHECK_DPI(DPI_Close_Target(t));
		CHECK_ERROR(DPI_Close_Target(t), DPI_ERR_HANDLE, "closed");
	}
}

/* The first four ranks: wait, and learn of the failure at once or within the bound of a death. The last: end(). */
static void fail_while_waiting(int rank, int class, const char *sentence, int last_is_target,
			       void (*end)(DPI_Flow, DPI_Source, DPI_Target, DPI_Context))
{
	struct waiting *w = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = waiting_flow("f", ctx, DPI_DEATH_FAILS);
	DPI_Source s = NULL;
	DPI_Target t = NULL;
	int64_t number = 0;
	DPI_Tuple u;
	if (rank == 1) t = target_of(0, f);
	if (rank == 2) t = target_of(1, f);
	if (rank == 4 && last_is_target) t = target_of(3, f);
	if (rank == 0 || rank == 3 || (rank == 4 && !last_is_target)) s = source_of(f);
	harness_barrier();
	if (rank == 4) {
		AWAIT(w->waits == 3);
		pause_ms(100);
		end(f, s, t, ctx);
		return;
	}
	if (rank != 1) w->waits++;
	if (rank == 0) CHECK_ERROR(push_to(s, 0, 0, &number), class, sentence);
	if (rank == 2) CHECK_ERROR(DPI_Next(t, &u), class, sentence);
	if (rank == 3) CHECK_ERROR(push_to(s, 3, 2, &number), class, sentence);
	if (rank == 1) UNTIL(10 * SECOND, error == class, int error = DPI_Try_Next(t, &u));
	w->over++;
	int64_t start = now();
	AWAIT(w->over == 4);
	CHECK_WITHIN(start, DEATH);
	check_all(s, t, class, sentence);
	CHECK_ERROR(DPI_Open_Source(f, NULL, &s), class, sentence);
	CHECK_ERROR(DPI_Open_Target(2, NULL, f, &t), class, sentence);
	CHECK_DPI(DPI_Barrier("end", 4, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

static void cancel(DPI_Flow f, DPI_Source s, DPI_Target t, DPI_Context ctx)
{
	CHECK_DPI(DPI_Cancel_Flow("nobody wants the answer", f));
	check_all(s, t, DPI_ERR_CANCELLED, "by node 4: nobody wants the answer");
	CHECK_DPI(DPI_Finalize(ctx));
}

static void destroy(DPI_Flow f, DPI_Source s, DPI_Target t, DPI_Context ctx)
{
	CHECK_DPI(DPI_Destroy_Flow("f", ctx));
	UNTIL(SECOND, info.failed == DPI_ERR_DESTROYED, DPI_Flow_Info info = state_of(f));
	check_all(s, t, DPI_ERR_DESTROYED, "'f' was destroyed");
	CHECK_DPI(DPI_Finalize(ctx));
}

static void die(DPI_Flow f, DPI_Source s, DPI_Target t, DPI_Context ctx)
{
	(void)f, (void)s, (void)t, (void)ctx;
	harness_expect_death(4);
	harness_kill(4, SIGKILL);
}

static void close_early(DPI_Flow f, DPI_Source s, DPI_Target t, DPI_Context ctx)
{
	(void)s, (void)f;
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Finalize(ctx));
}

static void close_with_error(DPI_Flow f, DPI_Source s, DPI_Target t, DPI_Context ctx)
{
	struct flow_row r = row_of(4, 0, 0);
	void *room;
	(void)t, (void)f;
	CHECK_DPI(DPI_Push(&r, sizeof r, s));
	CHECK_DPI(DPI_Reserve(sizeof r, 0, s, &room));
	CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_STATE, "room");
	CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_HANDLE, "closed");
	CHECK_DPI(DPI_Finalize(ctx));
}

static void leave_open(DPI_Flow f, DPI_Source s, DPI_Target t, DPI_Context ctx)
{
	(void)f, (void)s, (void)t;
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_cancelled_while_others_wait, "FL-440 FL-442", 5)
{
	fail_while_waiting(rank, DPI_ERR_CANCELLED, "by node 4: nobody wants the answer", 1, cancel);
}
TEST(flow_destroyed_while_others_wait, "FL-441 FL-442", 5)
{
	fail_while_waiting(rank, DPI_ERR_DESTROYED, "'f' was destroyed", 0, destroy);
}
TEST(flow_source_killed, "FL-443 FL-442", 5)
{
	fail_while_waiting(rank, DPI_ERR_PEER, "node 4", 0, die);
}
TEST(flow_target_killed, "FL-443 FL-442", 5)
{
	fail_while_waiting(rank, DPI_ERR_PEER, "node 4", 1, die);
}
TEST(flow_target_closed_early, "FL-446 FL-442", 5)
{
	fail_while_waiting(rank, DPI_ERR_FLOW, "target 3 of flow 'f' was closed by node 4", 1, close_early);
}
TEST(flow_source_closed_with_error, "FL-447 FL-442", 5)
{
	fail_while_waiting(rank, DPI_ERR_FLOW, "by node 4", 0, close_with_error);
}
TEST(flow_target_left_open, "FL-446 FL-436", 5)
{
	fail_while_waiting(rank, DPI_ERR_FLOW, "target 3 of flow 'f' was closed by node 4", 1, leave_open);
}

/* ------------------------------------------------------------------------------------------------ flows that go on */

struct killed {
	_Atomic int64_t flushed[HARNESS_RANKS]; /* by incarnation */
	_Atomic int64_t steady;
	_Atomic int stop;
};

#define KILLS 4

static void push_until_killed(DPI_Flow f, struct killed *k, int incarnation)
{
	DPI_Source s = source_of(f);
	uint64_t seed = draw_seed(incarnation);
	for (int64_t n = 0;;) {
		struct flow_row rows[50];
		size_t count = 1 + draw(&seed, 50);
		for (size_t i = 0; i < count; i++) rows[i] = row_of(incarnation, n, n), n++;
		if (draw(&seed, 2)) {
			CHECK_DPI(DPI_Push_Batch(rows, count, s, NULL));
		} else {
			for (size_t i = 0; i < count; i++) CHECK_DPI(DPI_Push(&rows[i], sizeof *rows, s));
		}
		if (draw(&seed, 6)) continue;
		CHECK_DPI(DPI_Flush_Source(s));
		k->flushed[incarnation] = n;
	}
}

/* A source is killed at any moment, several times, while another pushes all the time: what it had flushed comes, whole,
 * in order and without gap; the other goes on; the flow ends. */
TEST(flow_goes_on_without_sources, "FL-121 FL-444", 3, .deadline_s = 180)
{
	struct killed *k = harness_shared();
	if (rank == 2) harness_expect_death(2);
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .segment = 1024, .memory = 1 << 20, .on_death = DPI_DEATH_GOES_ON);
	if (rank == 2) push_until_killed(f, k, harness_spawns(2));
	if (rank == 0) {
		DPI_Source s = source_of(f);
		int64_t n = 0;
		for (; !k->stop; n++) {
			push_rows(s, 0, n, 1);
			if (n % 64 == 0) usleep(200);
		}
		k->steady = n;
		CHECK_DPI(DPI_Close_Source(s));
		CHECK_DPI(DPI_Seal_Flow(f));
	} else {
		DPI_Target t = target_of(0, f);
		struct flow_tally tally = { 0 };
		DPI_Tuple u;
		uint64_t seed = draw_seed(1);
		int64_t until = now() + 20 * MS + (int64_t)draw(&seed, 30) * MS;
		int error, kills = 0;
		while ((error = DPI_Try_Next(t, &u)) != DPI_ERR_END) {
			if (!error) {
				flow_take(&tally, u.data, u.size);
				int64_t from = ((const struct flow_row *)u.data)->from;
				CHECK_INT(tally.last[from], ==, tally.rows[from] - 1);
			} else {
				CHECK_INT(error, ==, DPI_ERR_AGAIN);
			}
			if (kills == KILLS || now() < until) continue;
			int incarnation = harness_spawns(2);
			UNTIL(10 * SECOND, k->flushed[incarnation] || !error, error = DPI_Try_Next(t, &u);
			      if (!error) flow_take(&tally, u.data, u.size));
			harness_kill(2, SIGKILL);
			AWAIT(!harness_alive(2));
			if (++kills < KILLS) harness_spawn_rank(2);
			else k->stop = 1;
			until = now() + 20 * MS + (int64_t)draw(&seed, 30) * MS;
		}
		CHECK_INT(tally.rows[0], ==, k->steady);
		for (int i = 1; i <= KILLS; i++) CHECK_INT(tally.rows[i], >=, k->flushed[i]);
		DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
		CHECK_DPI(DPI_Get_Flow_Info(f, &info));
		CHECK_INT(info.dead, ==, info.sources - 1); /* one of them may have been killed before it had opened its own */
		for (uint32_t s = 0; s < info.sources; s++) {
			DPI_Flow_End end = DPI_FLOW_END_INIT;
			CHECK_DPI(DPI_Get_Flow_Source(s, f, &end));
			CHECK_INT(end.state, ==, end.node ? DPI_END_DEAD : DPI_END_CLOSED);
		}
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* A target dies while its source waits for room at it: rows for it are dropped and counted, the others get theirs. */
static void go_on_without_target(int rank, bool killed, int dist)
{
	enum { ROWS = 20000 };
	_Atomic int *stage = harness_shared();
	DPI_Context ctx = join();
	DPI_Schema schema;
	static const char *const key[] = { "key" };
	DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "number", DPI_TYPE_INT64, 0, 0, 0, 0 },
				 { "from", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "check", DPI_TYPE_UINT64, 0, 0, 0, 0 } };
	CHECK_DPI(DPI_Create_Schema(columns, 4, &schema));
	bool all = dist == DPI_DIST_BROADCAST;
	DPI_Flow f = FLOW("f", ctx, .schema = schema, .targets = 2, .sources = 1, .segment = 512, .memory = 65536,
			  .dist = dist, .key = all ? NULL : key, .key_count = !all, .on_death = DPI_DEATH_GOES_ON);
	CHECK_DPI(DPI_Free_Schema(schema));
	DPI_Tuple u;
	if (rank == 0) {
		DPI_Source s = source_of(f);
		DPI_Source_Stats stats = { .size = sizeof stats };
		harness_barrier();
		*stage = 1;
		push_rows(s, 0, 0, ROWS);
		CHECK_DPI(DPI_Push_Mark(7, s));
		push_rows(s, 0, ROWS, 10);
		CHECK_DPI(DPI_Flush_Source(s));
		CHECK_DPI(DPI_Get_Source_Stats(s, &stats));
		CHECK_INT(stats.dropped, >, 0);
		CHECK_INT(stats.rows + stats.dropped, ==, (ROWS + 10) * (all ? 2 : 1)); /* each is one or the other */
		void *room;
		CHECK_ERROR(DPI_Reserve(sizeof(struct flow_row), 1, s, &room), DPI_ERR_PEER, "target 1");
		DPI_Flow_End end = DPI_FLOW_END_INIT;
		UNTIL(10 * SECOND, end.state != DPI_END_OPEN, CHECK_DPI(DPI_Get_Flow_Target(1, f, &end)));
		CHECK(end.state == DPI_END_DEAD && end.node == 2 && end.epoch == 1);
		CHECK_DPI(DPI_Get_Flow_Target(0, f, &end));
		CHECK(end.state == DPI_END_OPEN && end.node == 1);
		CHECK_ERROR(DPI_Get_Flow_Target(2, f, &end), DPI_ERR_ARGUMENT, "target is 2");
		CHECK_DPI(DPI_Get_Flow_Source(0, f, &end));
		CHECK(end.state == DPI_END_OPEN && end.node == 0 && end.id == 0);
		CHECK_DPI(DPI_Get_Flow_Source(1, f, &end));
		CHECK(end.state == DPI_END_NONE && end.node == -1);
		CHECK_DPI(DPI_Close_Source(s));
	} else if (rank == 1) {
		DPI_Target t = target_of(0, f);
		struct flow_tally tally = { 0 };
		uint64_t marks = 0;
		int error;
		harness_barrier();
		while (!(error = DPI_Next(t, &u)))
			if (u.kind == DPI_TUPLE_MARK) marks += u.mark;
			else flow_take(&tally, u.data, u.size);
		CHECK_ERROR(error, DPI_ERR_END, "'f'");
		CHECK_INT(marks, ==, 7);
		CHECK_INT(tally.total, ==, (ROWS + 10) / (all ? 1 : 2));
	} else {
		DPI_Target t = target_of(1, f);
		harness_barrier();
		for (int i = 0; i < 10; i++) CHECK_DPI(DPI_Next(t, &u));
		AWAIT(*stage == 1);
		pause_ms(50); /* the source waits for room here by now */
		if (killed) {
			harness_expect_death(2);
			harness_kill(2, SIGKILL);
		}
		CHECK_DPI(DPI_Close_Target(t));
		CHECK_DPI(DPI_Finalize(ctx));
		return;
	}
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_goes_on_without_target, "FL-445 FL-121", 3) { go_on_without_target(rank, true, DPI_DIST_RADIX); }
TEST(flow_goes_on_without_target_of_all, "FL-445 FL-121", 3) { go_on_without_target(rank, true, DPI_DIST_BROADCAST); }
TEST(flow_goes_on_without_closed_target, "FL-445 FL-446", 3) { go_on_without_target(rank, false, DPI_DIST_RADIX); }

/* A target goes at any moment while each row for it travels at once, pushed or built in place: no push fails, and each row is
 * counted as pushed or as dropped. */
static void go_on_at_once(int rank, bool killed, const DPI_Codec *codec)
{
	enum { ROWS = 3000 };
	_Atomic int *pushed = harness_shared();
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 2, .sources = 1, .segment = 512, .hint = DPI_HINT_LATENCY, .on_death = DPI_DEATH_GOES_ON,
			  .codecs = codec, .codec_count = codec != NULL);
	DPI_Tuple u;
	if (rank == 0) {
		DPI_Source s = source_of(f);
		DPI_Source_Stats stats = { .size = sizeof stats };
		int64_t in_all = 0, refused = 0;
		for (int64_t n = 0; n < ROWS || !refused; n++, in_all++) {
			struct flow_row r = row_of(0, n, n);
			uint32_t to, count;
			void *room;
			*pushed = (int)n;
			CHECK_DPI(DPI_Route(&r, sizeof r, f, &to, &count));
			int error = n % 2 ? DPI_Reserve(sizeof r, to, s, &room) : DPI_Push(&r, sizeof r, s);
			if (n % 2 && !error) {
				memcpy(room, &r, sizeof r);
				CHECK_DPI(DPI_Commit(sizeof r, s));
			} else if (n % 2) { /* one who asks for room at a target that is gone is told so */
				CHECK_ERROR(error, DPI_ERR_PEER, "is gone");
				refused++;
			} else {
				CHECK_DPI(error);
			}
		}
		CHECK_DPI(DPI_Get_Source_Stats(s, &stats));
		CHECK_INT(stats.rows + stats.dropped + (uint64_t)refused, ==, in_all);
		CHECK_DPI(DPI_Close_Source(s));
	} else if (rank == 1) {
		DPI_Target t = target_of(0, f);
		struct flow_tally tally = { 0 };
		flow_drain(t, &tally);
		CHECK_INT(tally.total, >, ROWS / 4);
	} else {
		DPI_Target t = target_of(1, f);
		CHECK_DPI(DPI_Next(t, &u));
		AWAIT(*pushed > ROWS / 4);
		if (killed) {
			harness_expect_death(2);
			harness_kill(2, SIGKILL);
		}
		CHECK_DPI(DPI_Close_Target(t));
		CHECK_DPI(DPI_Finalize(ctx));
		return;
	}
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_goes_on_at_once, "FL-445", 3) { go_on_at_once(rank, true, NULL); }
TEST(flow_goes_on_at_once_encoded, "FL-445", 3)
{
	static const DPI_Codec lz4 = { DPI_CODEC_LZ4, 0, NULL };
	go_on_at_once(rank, true, &lz4);
}
TEST(flow_goes_on_at_once_closed, "FL-445 FL-446", 3) { go_on_at_once(rank, false, NULL); }

/* ---------------------------------------------------------------------------------------------------- the registry */

/* Rank 0 is the registry's node in this implementation and any other that keeps it in the first. */
TEST(flow_data_without_registry, "FL-448 FL-115", 3)
{
	_Atomic int *closed = harness_shared();
	if (rank == 0) harness_expect_death(0);
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1), done = FLOW("done", ctx, .sources = 1);
	DPI_Source s = NULL, ended = NULL, more;
	DPI_Target t = NULL, last = NULL;
	struct flow_tally tally = { 0 };
	DPI_Tuple u;
	if (rank == 1) {
		s = source_of(f);
		ended = source_of(done);
	}
	if (rank == 2) {
		t = target_of(0, f);
		last = target_of(0, done);
	}
	harness_barrier();
	if (rank == 1) {
		push_rows(s, 1, 0, 100);
		push_rows(ended, 1, 0, 100);
		CHECK_DPI(DPI_Close_Source(ended));
	}
	if (rank == 2) UNTIL(5 * SECOND, info.closed == 1, DPI_Flow_Info info = state_of(done));
	harness_barrier();
	if (rank == 0) harness_kill(0, SIGKILL);
	AWAIT(!harness_alive(0));
	if (rank == 1) {
		push_rows(s, 1, 100, 100000);
		CHECK_DPI(DPI_Flush_Source(s));
		UNTIL(DEATH, e == DPI_ERR_REGISTRY, int e = DPI_Seal_Flow(f));
		CHECK_ERROR(DPI_Open_Source(f, NULL, &more), DPI_ERR_REGISTRY, " ");
		CHECK(!more);
		push_rows(s, 1, 100100, 100);
		int64_t start = now();
		CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_REGISTRY, " ");
		CHECK_WITHIN(start, DEATH);
		*closed = 1;
	} else {
		int error;
		while (!(error = DPI_Next(t, &u))) flow_take(&tally, u.data, u.size);
		CHECK_INT(tally.total, ==, 100200);
		CHECK_ERROR(error, DPI_ERR_REGISTRY, "'f'");
		CHECK_ERROR(DPI_Open_Target(0, NULL, f, &(DPI_Target){ 0 }), DPI_ERR_REGISTRY, " ");
		tally = (struct flow_tally){ 0 };
		flow_drain(last, &tally); /* what was closed before ends */
		CHECK_INT(tally.total, ==, 100);
		AWAIT(*closed); /* it may still ask whether all has come */
		int64_t start = now();
		error = DPI_Close_Target(t);
		CHECK(error == DPI_SUCCESS || error == DPI_ERR_REGISTRY);
		CHECK_ERROR(DPI_Close_Target(t), DPI_ERR_HANDLE, "closed");
		CHECK_WITHIN(start, DEATH);
	}
	CHECK_DPI(DPI_Finalize(ctx));
}
