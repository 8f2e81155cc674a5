/* SPDX-License-Identifier: Apache-2.0
 * threads.c: the thread rules. */
#include "memory_kit.h"

struct worker {
	DPI_Context ctx;
	DPI_Buffer buf;
	int rank, index;
	_Atomic int *turn;
};

#define THREADS 3
#define RECORDS 300

static void *append_many(void *arg)
{
	struct worker *w = arg;
	char data[100];
	DPI_Buffer own = open_buffer("q", w->ctx);
	for (uint64_t i = 0; i < RECORDS; i++) {
		stamp(data, sizeof data, (uint64_t)(w->rank * THREADS + w->index), i);
		CHECK_DPI(DPI_Append(data, sizeof data, own));
	}
	CHECK_DPI(DPI_Close_Buffer(own));
	return NULL;
}

/* Handles of one buffer, of several threads and nodes, at the same time, while another thread consumes. */
TEST(own_handle_each, "P-13 A-18 A-37 M-35", 3)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .capacity = 4096, .max_record = 1000);
	struct worker w[THREADS];
	pthread_t t[THREADS];
	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ctx, NULL, rank, i, NULL};
		t[i] = start_thread(append_many, &w[i]);
	}
	if (rank == 1) {
		struct tally tally = {.total = 0};
		DPI_Record r;
		while (tally.total < (uint64_t)(3 * THREADS * RECORDS)) {
			CHECK_DPI(DPI_Next_Record(q, &r));
			tally_take(&tally, r.data, r.size);
		}
		CHECK_EMPTY(q, DPI_NO_WAIT);
	}
	for (int i = 0; i < THREADS; i++) end_thread(t[i]);
	leave(ctx);
}

static void *take_two(void *buf)
{
	TAKE(buf, "one", 3);
	TAKE(buf, "two", 3);
	return NULL;
}

static void *read_end(void *arg)
{
	struct worker *w = arg;
	char text[3];
	CHECK_DPI(DPI_Read_Record(info_of(w->buf).end, text, 3, w->buf, NULL, NULL));
	CHECK(!memcmp(text, "one", 3));
	return NULL;
}

static void *append_full(void *buf)
{
	static char data[1000];
	int error = DPI_SUCCESS;
	/* until one waits for room and gets it */
	for (int i = 0; i < 9 && !error; i++) error = DPI_Append(data, sizeof data, buf);
	CHECK_DPI(error);
	return NULL;
}

TEST(second_thread_is_refused, "P-14 R-4", 2)
{
	SKIP_UNDER_TSAN("two threads use a handle on purpose");
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), l = MAKE("l", 1, ctx, DPI_USE_LOG),
		   full = MAKE("full", 1, ctx, DPI_USE_QUEUE, .capacity = 4096, .max_record = 1000, .growth = DPI_GROWTH_NONE),
		   other = open_buffer("q", ctx), other_l = open_buffer("l", ctx);
	DPI_Record record;
	char data[8];
	void *room;
	size_t n;
	uint64_t position;
	DPI_Request request;
	DPI_Part part = {q, data, 1, 0, 0};
	if (rank == 1) {
		pthread_t t = start_thread(take_two, q);
		await_asleep();
		CHECK_ERROR(DPI_Append("x", 1, q), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Append_Batch(&(DPI_Record){"x", 1}, 1, q, &n), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Append_Vector(&(struct iovec){data, 1}, 1, q), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Append_Nb("x", 1, q, &request), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Reserve_Append(1, q, &room), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Flush_Buffer(q), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Flush_Buffer_Nb(q, &request), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Next_Record(q, &record), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Next_Records(q, 1, &record, &n), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Next_Run(q, 1, &(DPI_Run){0}), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Release_Records(0, q), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Scatter(&part, 1), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Set_Timeout(0, q), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Close_Buffer(q), DPI_ERR_THREAD, "thread");
		/* rule any: these may be called */
		CHECK_INT(info_of(q).use, ==, DPI_USE_QUEUE);
		CHECK_INT(stats_of(q).records, ==, 0);
		CHECK_DPI(DPI_Append("one", 3, other));
		CHECK_DPI(DPI_Flush_Buffer(other));
		CHECK_DPI(DPI_Append("two", 3, other));
		end_thread(t);
		CHECK_EMPTY(q, DPI_NO_WAIT);
	} else {
		/* away from the home */
		struct worker w = {.buf = l};
		pthread_t t = start_thread(read_end, &w);
		await_asleep();
		CHECK_ERROR(DPI_Read_Record(0, data, 8, l, NULL, NULL), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Append("x", 1, l), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Append_Position("x", 1, l, &position), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Truncate_Log(0, l), DPI_ERR_THREAD, "thread");
		CHECK_DPI(DPI_Append_Position("one", 3, other_l, &position));
		end_thread(t);
		t = start_thread(append_full, full);
		await_asleep();
		CHECK_ERROR(DPI_Append("x", 1, full), DPI_ERR_THREAD, "thread");
		CHECK_ERROR(DPI_Flush_Buffer(full), DPI_ERR_THREAD, "thread");
		harness_barrier();
		end_thread(t);
	}
	if (rank == 1) {
		harness_barrier();
		for (int i = 0; i < 9; i++) CHECK_DPI(DPI_Next_Record(full, &record));
	}
	leave(ctx);
}

static void *append_in_turn(void *arg)
{
	struct worker *w = arg;
	for (int i = 0; i < 50; i++) {
		while (*w->turn != 2 * i + w->index) sched_yield();
		int number = 2 * i + w->index;
		CHECK_DPI(DPI_Append(&number, sizeof number, w->buf));
		if (i % 7 == 0) CHECK_DPI(DPI_Flush_Buffer(w->buf));
		++*w->turn;
	}
	return NULL;
}

/* One handle goes to and fro between two threads, which synchronise by themselves. */
TEST(handed_over, "P-15 M-34 M-6", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE);
	if (rank == 0) {
		_Atomic int turn = 0;
		struct worker w[2] = {{ctx, q, 0, 0, &turn}, {ctx, q, 0, 1, &turn}};
		pthread_t t = start_thread(append_in_turn, &w[1]);
		append_in_turn(&w[0]);
		end_thread(t);
		CHECK_DPI(DPI_Flush_Buffer(q));
	} else {
		for (int i = 0; i < 100; i++) TAKE(q, &i, sizeof i);
	}
	leave(ctx);
}

static void *call_any(void *arg)
{
	struct worker *w = arg;
	char name[32], text[64];
	DPI_Node_Info node = DPI_NODE_INFO_INIT;
	DPI_Peer_Stats peer = {.size = sizeof peer};
	DPI_Memory m;
	DPI_Buffer mine;
	int count;
	snprintf(name, sizeof name, "own %d %d", w->rank, w->index);
	for (int i = 0; i < 10; i++) {
		mine = CREATE(name, (w->rank + i) % 2, w->ctx, DPI_USE_REGION, .capacity = 64);
		CHECK_DPI(DPI_Get_Node_Info(1 - w->rank, w->ctx, &node));
		CHECK_DPI(DPI_Get_Node_Count(w->ctx, &count));
		CHECK_DPI(DPI_Get_Peer_Stats(1 - w->rank, w->ctx, &peer));
		CHECK_DPI(DPI_Get_Setting("linger", w->ctx, text, sizeof text, NULL));
		CHECK_DPI(DPI_Register_Memory(text, sizeof text, w->ctx, &m));
		CHECK_INT(info_of(w->buf).use, ==, DPI_USE_QUEUE);
		stats_of(w->buf);
		CHECK_INT(info_of(mine).capacity, >=, 64);
		CHECK_DPI(DPI_Deregister_Memory(m));
		CHECK_DPI(DPI_Close_Buffer(mine));
		CHECK_DPI(DPI_Destroy_Buffer(name, w->ctx));
	}
	return NULL;
}

TEST(any_thread, "P-16", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE);
	struct worker w[4];
	pthread_t t[4];
	harness_barrier();
	for (int i = 0; i < 4; i++) {
		w[i] = (struct worker){ctx, q, rank, i, NULL};
		t[i] = start_thread(call_any, &w[i]);
	}
	for (int i = 0; i < 4; i++) end_thread(t[i]);
	leave(ctx);
}
