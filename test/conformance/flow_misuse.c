/* SPDX-License-Identifier: Apache-2.0
 * flow_misuse.c: handles of sources and targets: closed, of another thread, in a child; arguments; wrong order. */
#include <sys/wait.h>

#include "flow_kit.h"

/* Every call on a handle returns this. */
static void refuse_source(DPI_Source s, int class, const char *part)
{
	struct flow_row r = row_of(0, 1, 1);
	void *room;
	size_t n = 9;
	CHECK_ERROR(DPI_Push(&r, sizeof r, s), class, part);
	CHECK_ERROR((DPI_Push)(&r, sizeof r, s), class, part);
	CHECK_ERROR(DPI_Try_Push(&r, sizeof r, s), class, part);
	CHECK_ERROR(DPI_Push_Batch(&r, 1, s, &n), class, part);
	CHECK_INT(n, ==, 0);
	CHECK_ERROR(DPI_Reserve(sizeof r, 0, s, &room), class, part);
	CHECK(!room);
	CHECK_ERROR(DPI_Commit(sizeof r, s), class, part);
	CHECK_ERROR(DPI_Discard(s), class, part);
	CHECK_ERROR(DPI_Push_Mark(1, s), class, part);
	CHECK_ERROR(DPI_Flush_Source(s), class, part);
	CHECK_ERROR(DPI_Close_Source(s), class, part);
}

static void refuse_target(DPI_Target t, int class, const char *part)
{
	DPI_Tuple u;
	DPI_Batch b;
	size_t n;
	CHECK_ERROR(DPI_Next(t, &u), class, part);
	CHECK_ERROR((DPI_Next)(t, &u), class, part);
	CHECK_ERROR(DPI_Try_Next(t, &u), class, part);
	CHECK_ERROR(DPI_Next_Batch(t, &b), class, part);
	CHECK_ERROR(DPI_Release_Batch(0, t), class, part);
	CHECK_ERROR(DPI_Wait_Targets(&t, 1, 0, &n), class, part);
	CHECK_ERROR(DPI_Close_Target(t), class, part);
}

static void refuse_stats(DPI_Source s, DPI_Target t, int class, const char *part)
{
	DPI_Source_Stats ss = { .size = sizeof ss };
	DPI_Target_Stats ts = { .size = sizeof ts };
	CHECK_ERROR(DPI_Get_Source_Stats(s, &ss), class, part);
	CHECK_ERROR(DPI_Get_Source_Number(s, &(uint32_t){ 0 }), class, part);
	CHECK_ERROR(DPI_Get_Target_Stats(t, &ts), class, part);
}

/* The rows 0 … count - 1 of rank 0 come, then the end. */
static void take_all(DPI_Target t, int64_t count)
{
	struct flow_tally tally = { 0 };
	flow_drain(t, &tally);
	CHECK_INT(tally.total, ==, count);
}

TEST(flow_endpoints_closed, "FL-430 R-11", 0)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1), g = FLOW("g", ctx, .sources = 1);
	DPI_Target t = target_of(0, f), open = target_of(0, g), none;
	DPI_Source s = source_of(f), open_source = source_of(g), no_source;
	CHECK_DPI(DPI_Close_Flow(f));
	CHECK_ERROR(DPI_Open_Source(f, NULL, &no_source), DPI_ERR_HANDLE, "closed");
	CHECK_ERROR(DPI_Open_Target(0, NULL, f, &none), DPI_ERR_HANDLE, "closed");
	CHECK(!no_source && !none);
	push_rows(s, 0, 0, 100); /* the endpoints live on */
	CHECK_DPI(DPI_Close_Source(s));
	take_all(t, 100);
	CHECK_DPI(DPI_Close_Target(t));
	refuse_source(s, DPI_ERR_HANDLE, "closed");
	refuse_target(t, DPI_ERR_HANDLE, "closed");
	refuse_stats(s, t, DPI_ERR_HANDLE, "closed");
	refuse_source(NULL, DPI_ERR_ARGUMENT, "NULL");
	refuse_target(NULL, DPI_ERR_ARGUMENT, "NULL");
	refuse_stats(NULL, NULL, DPI_ERR_ARGUMENT, "NULL");
	void *others[] = { ctx, g };
	for (int i = 0; i < 2; i++) {
		refuse_source((DPI_Source)others[i], DPI_ERR_HANDLE, "source");
		refuse_target((DPI_Target)others[i], DPI_ERR_HANDLE, "target");
	}
	refuse_source((DPI_Source)open, DPI_ERR_HANDLE, "a target handle");
	refuse_target((DPI_Target)open_source, DPI_ERR_HANDLE, "a source handle");
	refuse_stats((DPI_Source)open, (DPI_Target)open_source, DPI_ERR_HANDLE, "handle");
	CHECK_ERROR(DPI_Open_Source((DPI_Flow)open_source, NULL, &no_source), DPI_ERR_HANDLE, "a source handle");
	CHECK_ERROR(DPI_Open_Target(0, NULL, (DPI_Flow)open, &none), DPI_ERR_HANDLE, "a target handle");
	CHECK_DPI(DPI_Finalize(ctx));
	refuse_source(open_source, DPI_ERR_STATE, "DPI_Init");
	refuse_target(open, DPI_ERR_STATE, "DPI_Init");
	refuse_stats(open_source, open, DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Open_Source(g, NULL, &no_source), DPI_ERR_STATE, "DPI_Init");
	ctx = join();
	refuse_source(open_source, DPI_ERR_HANDLE, "closed");
	refuse_target(open, DPI_ERR_HANDLE, "closed");
	CHECK_DPI(DPI_Finalize(ctx));
}

/* -------------------------------------------------------------------------------------------------------- threads */

static void *push_one(void *source)
{
	push_rows(source, 0, 0, 1);
	return NULL;
}

static void *next_one(void *target)
{
	DPI_Tuple u;
	CHECK_DPI(DPI_Next(target, &u));
	CHECK_INT(((const struct flow_row *)u.data)->number, ==, 0);
	return NULL;
}

static void *wait_for_it(void *target)
{
	DPI_Target t = target;
	size_t which;
	CHECK_DPI(DPI_Wait_Targets(&t, 1, 0, &which));
	return NULL;
}

TEST(flow_second_thread_is_refused, "FL-431", 2)
{
	SKIP_UNDER_TSAN("two threads use a handle on purpose");
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1);
	DPI_Source_Stats ss = { .size = sizeof ss };
	DPI_Target_Stats ts = { .size = sizeof ts };
	if (rank == 0) {
		DPI_Source s = source_of(f);
		pthread_t thread = start_thread(push_one, s); /* it waits for the target to be opened */
		await_asleep();
		refuse_source(s, DPI_ERR_THREAD, "thread");
		CHECK_DPI(DPI_Get_Source_Stats(s, &ss));
		CHECK_INT(ss.rows, ==, 0);
		harness_barrier();
		end_thread(thread);
		harness_barrier();
		CHECK_DPI(DPI_Flush_Source(s)); /* now it is this thread's */
		harness_barrier();
		push_rows(s, 0, 1, 10);
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		harness_barrier();
		DPI_Target t = target_of(0, f);
		harness_barrier();
		harness_barrier();
		pthread_t thread = start_thread(next_one, t);
		end_thread(thread);
		DPI_Tuple u;
		for (int i = 0; i < 10; i++) CHECK_DPI(DPI_Next(t, &u));
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "'f'");
	}
	leave(ctx);
}

TEST(flow_second_thread_at_a_target, "FL-431", 2)
{
	DPI_Context ctx = join();
	DPI_Flow flows[2] = { FLOW("f", ctx, .sources = 1), FLOW("g", ctx, .sources = 1) };
	for (int i = 0; i < 2; i++) {
		if (rank == 0) {
			DPI_Source s = source_of(flows[i]);
			harness_barrier();
			push_rows(s, 0, 0, 1);
			CHECK_DPI(DPI_Flush_Source(s));
			harness_barrier();
			continue;
		}
		DPI_Target t = target_of(0, flows[i]);
		DPI_Target_Stats ts = { .size = sizeof ts };
		pthread_t thread = start_thread(i ? next_one : wait_for_it, t);
		await_asleep();
		refuse_target(t, DPI_ERR_THREAD, "thread");
		CHECK_DPI(DPI_Get_Target_Stats(t, &ts));
		CHECK_INT(ts.rows, ==, 0);
		harness_barrier();
		end_thread(thread);
		if (!i) next_one(t);
		harness_barrier();
	}
	leave(ctx);
}

/* ------------------------------------------------------------------------------------------------------ arguments */

TEST(flow_endpoint_arguments, "FL-432 FL-438 FL-439", 2, .once = true)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 2, .sources = 1);
	DPI_Source_Attr sa = DPI_SOURCE_ATTR_INIT;
	DPI_Target_Attr ta = DPI_TARGET_ATTR_INIT;
	DPI_Source s;
	DPI_Target t;
	struct {
		DPI_Source_Attr a;
		uint64_t later;
	} newer = { DPI_SOURCE_ATTR_INIT, 1 };
	CHECK_ERROR(DPI_Open_Source(f, NULL, NULL), DPI_ERR_ARGUMENT, "source is NULL");
	CHECK_ERROR(DPI_Open_Source(NULL, NULL, &s), DPI_ERR_ARGUMENT, "flow handle is NULL");
	sa.size = 3;
	CHECK_ERROR(DPI_Open_Source(f, &sa, &s), DPI_ERR_ARGUMENT, "attr->size is 3");
	sa = (DPI_Source_Attr){ .size = sizeof sa, .timeout_us = -2 };
	CHECK_ERROR(DPI_Open_Source(f, &sa, &s), DPI_ERR_ARGUMENT, "timeout_us is -2");
	newer.a.size = sizeof newer;
	CHECK_ERROR(DPI_Open_Source(f, &newer.a, &s), DPI_ERR_UNSUPPORTED, "byte");
	CHECK(!s);
	CHECK_ERROR(DPI_Open_Target(0, NULL, f, NULL), DPI_ERR_ARGUMENT, "target is NULL");
	CHECK_ERROR(DPI_Open_Target(0, NULL, NULL, &t), DPI_ERR_ARGUMENT, "flow handle is NULL");
	ta.size = 0;
	CHECK_ERROR(DPI_Open_Target(0, &ta, f, &t), DPI_ERR_ARGUMENT, "attr->size is 0");
	ta = (DPI_Target_Attr){ .size = sizeof ta, .timeout_us = -7 };
	CHECK_ERROR(DPI_Open_Target(0, &ta, f, &t), DPI_ERR_ARGUMENT, "timeout_us is -7");
	ta = (DPI_Target_Attr){ .size = sizeof ta, .numa = -1 };
	CHECK_ERROR(DPI_Open_Target(0, &ta, f, &t), DPI_ERR_ARGUMENT, "numa is -1");
	ta = (DPI_Target_Attr){ .size = sizeof ta, .sketch = 2 };
	CHECK_ERROR(DPI_Open_Target(0, &ta, f, &t), DPI_ERR_ARGUMENT, "sketch is 2");
	CHECK_ERROR(DPI_Open_Target(2, NULL, f, &t), DPI_ERR_RANGE, "index is 2: flow 'f' has targets 0 to 1");
	CHECK_ERROR(DPI_Open_Target(UINT32_MAX, NULL, f, &t), DPI_ERR_RANGE, "targets 0 to 1");
	CHECK(!t);
	harness_barrier();
	DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
	CHECK_DPI(DPI_Get_Flow_Info(f, &info));
	CHECK_INT(info.sources + info.bound, ==, 0);
	harness_barrier();

	t = target_of((uint32_t)rank, f);
	harness_barrier();
	DPI_Target again;
	CHECK_ERROR(DPI_Open_Target(1 - (uint32_t)rank, NULL, f, &again), DPI_ERR_EXISTS,
		    rank ? "target 0 of flow 'f' is open on node 0" : "is open on node 1");
	CHECK_ERROR(DPI_Open_Target((uint32_t)rank, NULL, f, &again), DPI_ERR_EXISTS, "is open on node");
	CHECK(!again);
	harness_barrier(); /* both have looked while both are open */
	DPI_Target_Stats ts = { .size = 1 };
	DPI_Batch b;
	size_t which;
	CHECK_ERROR(DPI_Next(t, NULL), DPI_ERR_ARGUMENT, "tuple is NULL");
	CHECK_ERROR((DPI_Next)(t, NULL), DPI_ERR_ARGUMENT, "tuple is NULL");
	CHECK_ERROR(DPI_Try_Next(t, NULL), DPI_ERR_ARGUMENT, "tuple is NULL");
	CHECK_ERROR(DPI_Next_Batch(t, NULL), DPI_ERR_ARGUMENT, "batch is NULL");
	CHECK_DPI(DPI_Release_Batch(0, t));
	CHECK_ERROR(DPI_Release_Batch(1, t), DPI_ERR_RANGE, "0 are lent");
	CHECK_ERROR(DPI_Release_Batch(SIZE_MAX, t), DPI_ERR_RANGE, "0 are lent");
	CHECK_ERROR(DPI_Wait_Targets(NULL, 1, 0, &which), DPI_ERR_ARGUMENT, "targets is NULL");
	CHECK_ERROR(DPI_Wait_Targets(&t, 0, 0, &which), DPI_ERR_ARGUMENT, "count is 0");
	CHECK_ERROR(DPI_Wait_Targets(&t, 1, 0, NULL), DPI_ERR_ARGUMENT, "index is NULL");
	CHECK_ERROR(DPI_Wait_Targets(&t, 1, -2, &which), DPI_ERR_ARGUMENT, "timeout_us is -2");
	CHECK_ERROR(DPI_Wait_Targets((DPI_Target[]){ t, NULL }, 2, 0, &which), DPI_ERR_ARGUMENT, "target handle is NULL");
	CHECK_ERROR(DPI_Wait_Targets((DPI_Target[]){ t, t }, 2, DPI_NO_WAIT, &which), DPI_ERR_THREAD, " ");
	CHECK_ERROR(DPI_Wait_Targets(&t, 1, DPI_NO_WAIT, &which), DPI_ERR_TIMEOUT, "targets"); /* all are free again */
	CHECK_ERROR(DPI_Get_Target_Stats(t, NULL), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(DPI_Get_Target_Stats(t, &ts), DPI_ERR_ARGUMENT, "size is 1");
	harness_barrier(); /* neither target was ready: what makes them so begins here */

	if (rank == 0) {
		struct flow_row r[2] = { row_of(0, 0, 0), row_of(0, 0, 1) };
		DPI_Source_Stats ss = { .size = 0 };
		void *room = &r;
		size_t n = 9;
		s = source_of(f);
		CHECK_ERROR(DPI_Push(NULL, sizeof *r, s), DPI_ERR_ARGUMENT, "row is NULL");
		CHECK_ERROR(DPI_Try_Push(NULL, sizeof *r, s), DPI_ERR_ARGUMENT, "row is NULL");
		static const size_t sizes[] = { 0, 1, 31, 33, 64, 1 << 20, SIZE_MAX };
		for (int i = 0; i < 7; i++) {
			CHECK_ERROR(DPI_Push(r, sizes[i], s), DPI_ERR_SIZE, "a row of flow 'f' has 32");
			CHECK_ERROR(DPI_Try_Push(r, sizes[i], s), DPI_ERR_SIZE, "a row of flow 'f' has 32");
			CHECK_ERROR(DPI_Reserve(sizes[i], 0, s, &room), DPI_ERR_SIZE, " ");
			CHECK(!room);
		}
		CHECK_ERROR(DPI_Push_Batch(NULL, 1, s, &n), DPI_ERR_ARGUMENT, "rows is NULL");
		CHECK_INT(n, ==, 0);
		CHECK_DPI(DPI_Push_Batch(NULL, 0, s, &n));
		CHECK_DPI(DPI_Push_Batch(r, 0, s, NULL));
		CHECK_ERROR(DPI_Reserve(sizeof *r, 0, s, NULL), DPI_ERR_ARGUMENT, "room is NULL");
		CHECK_ERROR(DPI_Reserve(sizeof *r, 2, s, &room), DPI_ERR_ARGUMENT, "target is 2: flow 'f' has 2");
		CHECK_ERROR(DPI_Reserve(sizeof *r, UINT32_MAX, s, &room), DPI_ERR_ARGUMENT, "flow 'f' has 2");
		CHECK_ERROR(DPI_Get_Source_Stats(s, NULL), DPI_ERR_ARGUMENT, "NULL");
		CHECK_ERROR(DPI_Get_Source_Number(s, NULL), DPI_ERR_ARGUMENT, "NULL");
		CHECK_ERROR(DPI_Get_Source_Stats(s, &ss), DPI_ERR_ARGUMENT, "size is 0");
		ss.size = sizeof ss;
		CHECK_DPI(DPI_Get_Source_Stats(s, &ss));
		CHECK_INT(ss.rows + ss.bytes, ==, 0);
		uint32_t to, count;
		CHECK_DPI(DPI_Route(r, sizeof *r, f, &to, &count));
		CHECK_DPI(DPI_Push_Batch(r, 2, s, NULL));
		CHECK_DPI(DPI_Close_Source(s));
		CHECK_ERROR(DPI_Open_Source(f, NULL, &s), DPI_ERR_SEALED, "'f'");
	}
	int64_t rows = 0;
	int error;
	while (!(error = DPI_Next_Batch(t, &b))) {
		rows += (int64_t)b.count;
		CHECK_DPI(DPI_Release_Batch(1, t));
	}
	CHECK_ERROR(error, DPI_ERR_END, "'f'");
	CHECK(rows == 0 || rows == 2);
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_ERROR(DPI_Open_Target((uint32_t)rank, NULL, f, &again), DPI_ERR_EXISTS, "was taken to its end");
	leave(ctx);
}

TEST(flow_room_is_handed_out, "FL-433", 1)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .on_death = DPI_DEATH_GOES_ON);
	DPI_Target t = target_of(0, f);
	DPI_Source s = source_of(f);
	struct flow_row r = row_of(0, 0, 0);
	void *room, *more;
	size_t n;
	CHECK_ERROR(DPI_Commit(sizeof r, s), DPI_ERR_STATE, "DPI_Reserve");
	CHECK_ERROR(DPI_Discard(s), DPI_ERR_STATE, "DPI_Reserve");
	CHECK_DPI(DPI_Reserve(sizeof r, 0, s, &room));
	CHECK_ERROR(DPI_Push(&r, sizeof r, s), DPI_ERR_STATE, "DPI_Commit");
	CHECK_ERROR((DPI_Push)(&r, sizeof r, s), DPI_ERR_STATE, "DPI_Commit");
	CHECK_ERROR(DPI_Try_Push(&r, sizeof r, s), DPI_ERR_STATE, "DPI_Commit");
	CHECK_ERROR(DPI_Push_Batch(&r, 1, s, &n), DPI_ERR_STATE, "DPI_Commit");
	CHECK_INT(n, ==, 0);
	CHECK_ERROR(DPI_Reserve(sizeof r, 0, s, &more), DPI_ERR_STATE, "DPI_Commit");
	CHECK(!more);
	CHECK_ERROR(DPI_Push_Mark(3, s), DPI_ERR_STATE, "DPI_Commit");
	CHECK_ERROR(DPI_Commit(sizeof r - 1, s), DPI_ERR_SIZE, "32 were reserved");
	CHECK_ERROR(DPI_Commit(sizeof r + 1, s), DPI_ERR_SIZE, "32 were reserved");
	/* none of this has taken the room back */
	memcpy(room, &r, sizeof r);
	CHECK_DPI(DPI_Commit(sizeof r, s));
	CHECK_ERROR(DPI_Commit(sizeof r, s), DPI_ERR_STATE, "DPI_Reserve");
	r = row_of(0, 0, 1);
	CHECK_DPI(DPI_Push(&r, sizeof r, s));
	CHECK_DPI(DPI_Reserve(sizeof r, 0, s, &room));
	memset(room, 0xff, sizeof r);
	CHECK_DPI(DPI_Flush_Source(s)); /* what was pushed before, and no byte of the room */
	DPI_Tuple u;
	struct flow_tally tally = { 0 };
	for (int i = 0; i < 2; i++) {
		CHECK_DPI(DPI_Next(t, &u));
		flow_take(&tally, u.data, u.size);
	}
	CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, " ");
	/* still handed out; it is lost when the source closes, which counts as its death */
	CHECK_ERROR(DPI_Push(&r, sizeof r, s), DPI_ERR_STATE, "DPI_Commit");
	CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_STATE, "room");
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "'f'");
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_no_wait, "FL-434", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .segment = 512, .memory = 65536);
	struct flow_row r = row_of(0, 1, 0);
	DPI_Tuple u;
	DPI_Batch b;
	size_t n, which;
	void *room;
	int64_t rows = 0, *sent = harness_shared();
	if (rank == 0) {
		DPI_Source s = source_with(f, DPI_NO_WAIT);
		int64_t start = now();
		CHECK_ERROR(DPI_Push(&r, sizeof r, s), DPI_ERR_TIMEOUT, "DPI_NO_WAIT");
		CHECK_ERROR(DPI_Push_Batch(&r, 1, s, &n), DPI_ERR_TIMEOUT, "DPI_NO_WAIT");
		CHECK_INT(n, ==, 0);
		CHECK_ERROR(DPI_Reserve(sizeof r, 0, s, &room), DPI_ERR_TIMEOUT, "DPI_NO_WAIT");
		CHECK_ERROR(DPI_Push_Mark(1, s), DPI_ERR_ARGUMENT, "DPI_NO_WAIT");
		CHECK_AT_ONCE(start);
		harness_barrier();
		harness_barrier();
		UNTIL(5 * SECOND, !e, int e = DPI_Push(&r, sizeof r, s); if (e) CHECK_INT(e, ==, DPI_ERR_TIMEOUT));
		CHECK_DPI(DPI_Flush_Source(s)); /* a row that has its room */
		start = now();
		int error;
		do r = row_of(0, 1, ++rows); /* until it is full */
		while (!(error = DPI_Push(&r, sizeof r, s)));
		CHECK_ERROR(error, DPI_ERR_TIMEOUT, "DPI_NO_WAIT");
		CHECK_WITHIN(start, 3 * SECOND);
		*sent = rows;
		harness_barrier();
		CHECK_DPI(DPI_Close_Source(s)); /* it waits nevertheless: there is no second try */
	} else {
		harness_barrier();
		DPI_Target t = target_with(0, f, DPI_NO_WAIT);
		int64_t start = now();
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_TIMEOUT, "target 0 of flow 'f'");
		CHECK_ERROR(DPI_Next_Batch(t, &b), DPI_ERR_TIMEOUT, "the first of them source 0 on node 0");
		CHECK_ERROR(DPI_Wait_Targets(&t, 1, DPI_NO_WAIT, &which), DPI_ERR_TIMEOUT, " ");
		CHECK_AT_ONCE(start);
		harness_barrier();
		harness_barrier();
		int error;
		while ((error = DPI_Next(t, &u)) != DPI_ERR_END) {
			if (error) CHECK_ERROR(error, DPI_ERR_TIMEOUT, "target 0");
			else CHECK_INT(((const struct flow_row *)u.data)->number, ==, rows++);
		}
		CHECK_INT(rows, ==, *sent);
	}
	leave(ctx);
}

/* ------------------------------------------------------------------------------------------------------ functions */

static int group_all(const void *row, size_t size, void *arg, uint64_t *key)
{
	(void)row, (void)size, (void)arg;
	*key = 0;
	return DPI_SUCCESS;
}

static int to_both(const void *row, size_t size, uint64_t key, uint32_t targets, void *arg, uint32_t *to, uint32_t *count)
{
	(void)row, (void)size, (void)key, (void)targets, (void)arg;
	to[0] = 0;
	to[1] = 1;
	*count = 2;
	return DPI_SUCCESS;
}

/* A process without the definition's functions: it cannot be a source; a target needs none. */
TEST(flow_functions_missing, "FL-435 FL-204", 2, .once = true)
{
	DPI_Context ctx = join();
	DPI_Flow g, d;
	struct flow_row r = row_of(0, 1, 0);
	uint32_t to[2], count;
	if (rank == 0) {
		CHECK_DPI(DPI_Register_Group("one group", 3, group_all, NULL));
		CHECK_DPI(DPI_Register_Dist("to both", 4, to_both, NULL));
		g = FLOW("g", ctx, .targets = 2, .group = "one group", .group_version = 3);
		static const char *const key[] = { "key" };
		d = FLOW("d", ctx, .targets = 2, .dist = DPI_DIST_FUNCTION, .dist_function = "to both", .dist_version = 4,
			 .key = key, .key_count = 1);
		harness_barrier();
	} else {
		harness_barrier();
		CHECK_DPI(DPI_Open_Flow("g", NULL, 0, ctx, &g));
		CHECK_DPI(DPI_Open_Flow("d", NULL, 0, ctx, &d));
		CHECK_DPI(DPI_Register_Group("one group", 2, group_all, NULL)); /* another version */
		CHECK_DPI(DPI_Register_Group("to both", 4, group_all, NULL));	/* of another kind */
		DPI_Source s = NULL;
		CHECK_ERROR(DPI_Open_Source(g, NULL, &s), DPI_ERR_NAME, "one group");
		CHECK_HAS(detail(), "version 3");
		CHECK_ERROR(DPI_Open_Source(d, NULL, &s), DPI_ERR_NAME, "to both");
		CHECK_HAS(detail(), "version 4");
		CHECK(!s);
		CHECK_ERROR(DPI_Route(&r, sizeof r, g, to, &count), DPI_ERR_NAME, "one group");
	}
	harness_barrier();
	DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
	CHECK_DPI(DPI_Get_Flow_Info(g, &info));
	CHECK_INT(info.sources, ==, 0);
	harness_barrier();
	DPI_Target t = target_of((uint32_t)rank, d);
	if (rank == 0) {
		DPI_Source s = source_of(d);
		push_rows(s, 0, 0, 10);
		CHECK_DPI(DPI_Close_Source(s));
		CHECK_DPI(DPI_Seal_Flow(d));
	}
	take_all(t, 10);
	if (rank == 1) {
		CHECK_DPI(DPI_Register_Group("one group", 3, group_all, NULL));
		CHECK_DPI(DPI_Close_Source(source_of(g)));
	}
	leave(ctx);
}

/* --------------------------------------------------------------------------------------------------- end and fork */

/* What is open when its process leaves: a source is closed, with all its rows; a target that has taken all is no loss. */
TEST(flow_left_open, "FL-436", 3)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 1, .sources = 2, .linger_us = 10 * SECOND);
	if (rank == 1) {
		DPI_Target t = target_of(0, f);
		struct flow_tally tally = { 0 };
		flow_drain(t, &tally);
		CHECK_INT(tally.rows[0], ==, 1000);
		CHECK_INT(tally.rows[2], ==, 1000);
		CHECK_DPI(DPI_Finalize(ctx)); /* t is open */
		return;
	}
	DPI_Source s = source_of(f);
	push_rows(s, rank, 0, 1000);
	if (rank == 2) {
		CHECK_DPI(DPI_Finalize(ctx));
		return;
	}
	DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
	UNTIL(10 * SECOND, info.closed == 1, CHECK_DPI(DPI_Get_Flow_Info(f, &info)));
	CHECK_DPI(DPI_Close_Source(s));
	DPI_Node_Info node = DPI_NODE_INFO_INIT;
	UNTIL(10 * SECOND, !node.alive, CHECK_DPI(DPI_Get_Node_Info(1, ctx, &node)));
	CHECK_DPI(DPI_Get_Flow_Info(f, &info));
	CHECK_INT(info.failed, ==, 0);
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_endpoints_in_a_child, "FL-437 E-47 E-48", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 2, .sources = 2);
	DPI_Target t = target_of((uint32_t)rank, f);
	DPI_Source s = source_of(f);
	void *room;
	push_rows(s, rank, 0, 500);
	for (int i = 0; i < 3; i++) {
		struct flow_row r = row_of(rank, 0, 500 + i);
		int status = -1;
		CHECK_DPI(DPI_Reserve(sizeof r, (uint32_t)rank, s, &room));
		pid_t child = fork();
		if (!child) {
			DPI_Source no_source;
			DPI_Target no_target;
			refuse_source(s, DPI_ERR_FORK, "fork");
			refuse_target(t, DPI_ERR_FORK, "fork");
			refuse_stats(s, t, DPI_ERR_FORK, "fork");
			CHECK_ERROR(DPI_Open_Source(f, NULL, &no_source), DPI_ERR_FORK, "fork");
			CHECK_ERROR(DPI_Open_Target(0, NULL, f, &no_target), DPI_ERR_FORK, "fork");
			_exit(0);
		}
		CHECK_INT(waitpid(child, &status, 0), ==, child);
		CHECK_INT(status, ==, 0);
		memcpy(room, &r, sizeof r);
		CHECK_DPI(DPI_Commit(sizeof r, s));
	}
	push_rows(s, rank, 503, 500);
	CHECK_DPI(DPI_Close_Source(s));
	struct flow_tally tally = { 0 };
	flow_drain(t, &tally);
	uint64_t *all = harness_shared();
	__atomic_fetch_add(all, (uint64_t)tally.total, __ATOMIC_SEQ_CST);
	harness_barrier();
	CHECK_INT(*all, ==, 2 * 1003);
	leave(ctx);
}
