/* SPDX-License-Identifier: Apache-2.0
 * progress.c: deadlines, progress without calls, wake-ups, what waiting costs. */
#include "memory_kit.h"

/* A call that must time out after us. */
#define TIMES_OUT(us, call, part)                                                                      \
	do {                                                                                           \
		int64_t kit_begin = now();                                                             \
		CHECK_ERROR(call, DPI_ERR_TIMEOUT, part);                                              \
		CHECK_NOT_BEFORE(kit_begin, us);                                                       \
		CHECK_WITHIN(kit_begin, (us) + SECOND);                                                \
	} while (0)

#define SMALL DPI_USE_QUEUE, .capacity = 4096, .max_capacity = 1 << 20, .max_record = 1000, .growth = DPI_GROWTH_NONE

TEST(deadlines, "P-1 P-2 P-6 P-20 A-39 A-57 A-69", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("the queue", 1, ctx, SMALL), l = MAKE("the log", 1, ctx, DPI_USE_LOG), r;
	DPI_Record record;
	DPI_Request request;
	DPI_Open_Attr open = {sizeof open, 30 * MS, 0, 0};
	static char data[1000];
	uint64_t end = info_of(l).end;
	CHECK_DPI(DPI_Set_Timeout(30 * MS, q));
	CHECK_DPI(DPI_Set_Timeout(30 * MS, l));
	TIMES_OUT(30 * MS, DPI_Read_Record(end, data, sizeof data, l, NULL, NULL), "the log");
	int64_t start = now();
	CHECK_ERROR(DPI_Open_Buffer("never made", &open, ctx, &r), DPI_ERR_NAME, "never made");
	CHECK_NOT_BEFORE(start, 30 * MS);
	CHECK_WITHIN(start, SECOND);
	if (rank == 1) {
		DPI_Record records[4];
		size_t n;
		TIMES_OUT(30 * MS, DPI_Next_Record(q, &record), "the queue");
		TIMES_OUT(30 * MS, DPI_Next_Records(q, 4, records, &n), "the queue");
		TIMES_OUT(30 * MS, DPI_Next_Run(q, 4, &(DPI_Run){0}), "the queue");
	}
	harness_barrier();
	if (rank == 0) {
		void *room;
		fill_up(q);
		CHECK_DPI(DPI_Set_Timeout(30 * MS, q));
		TIMES_OUT(30 * MS, DPI_Append(data, sizeof data, q), "1");
		CHECK_HAS(detail(), "the queue");
		TIMES_OUT(30 * MS, DPI_Append_Vector(&(struct iovec){data, sizeof data}, 1, q), "1");
		TIMES_OUT(30 * MS, DPI_Append_Batch(&(DPI_Record){data, sizeof data}, 1, q, NULL), "1");
		TIMES_OUT(30 * MS, DPI_Reserve_Append(sizeof data, q, &room), "1");
		CHECK_DPI(DPI_Append_Nb(data, sizeof data, q, &request));
		TIMES_OUT(30 * MS, DPI_Wait(&request, 30 * MS), "1");
		CHECK(request != DPI_REQUEST_NULL);
		TIMES_OUT(50 * MS, DPI_Wait(&request, 50 * MS), "the queue");
		CHECK_DPI(DPI_Cancel(request));
		CHECK_ERROR(DPI_Wait(&request, 0), DPI_ERR_CANCELLED, " ");
	}
	leave(ctx);
}

/* 0 stands for the next in the order: the call's own, the handle's, the setting's. */
TEST(default_timeouts, "P-3 P-5 A-19", 0, .env = "DPI_TIMEOUT=400ms")
{
	DPI_Context ctx = join();
	DPI_Buffer q = CREATE("q", 0, ctx, SMALL), short_one = open_with("q", 20 * MS, 0, ctx), l = CREATE("l", 0, ctx, DPI_USE_LOG),
		   timed = CREATE("timed", 0, ctx, DPI_USE_LOG, .timeout_us = 20 * MS);
	DPI_Record record;
	DPI_Request request;
	char data[1000] = "";
	uint64_t end = info_of(l).end;
	TIMES_OUT(400 * MS, DPI_Next_Record(q, &record), "q");
	TIMES_OUT(400 * MS, DPI_Read_Record(end, data, 1, l, NULL, NULL), "l");
	TIMES_OUT(400 * MS, DPI_Barrier("b", 2, 0, ctx), "b");
	int64_t start = now();
	CHECK_ERROR(DPI_Open_Buffer("n", NULL, ctx, &(DPI_Buffer){0}), DPI_ERR_NAME, "n");
	CHECK_NOT_BEFORE(start, 400 * MS);
	start = now();
	CHECK_ERROR(DPI_Read_Record(info_of(timed).end, data, 1, timed, NULL, NULL), DPI_ERR_TIMEOUT, "timed");
	CHECK_NOT_BEFORE(start, 20 * MS);
	CHECK_DPI(DPI_Set_Timeout(30 * MS, timed));
	TIMES_OUT(30 * MS, DPI_Read_Record(info_of(timed).end, data, 1, timed, NULL, NULL), "timed");
	CHECK_DPI(DPI_Set_Timeout(10 * SECOND, short_one));
	fill_up(short_one);
	CHECK_DPI(DPI_Set_Timeout(20 * MS, short_one));
	CHECK_DPI(DPI_Append_Nb(data, sizeof data, short_one, &request));
	TIMES_OUT(20 * MS, DPI_Wait(&request, 0), "q");
	TIMES_OUT(40 * MS, DPI_Wait(&request, 40 * MS), "q");
	/* 0 is the setting again */
	CHECK_DPI(DPI_Set_Timeout(0, short_one));
	TIMES_OUT(400 * MS, DPI_Wait(&request, 0), "q");
	/* and another handle has its own */
	CHECK_DPI(DPI_Set_Timeout(10 * MS, short_one));
	TIMES_OUT(400 * MS, DPI_Read_Record(end, data, 1, l, NULL, NULL), "l");
	CHECK_DPI(DPI_Cancel(request));
	CHECK_ERROR(DPI_Wait(&request, 0), DPI_ERR_CANCELLED, " ");
	CHECK_DPI(DPI_Finalize(ctx));
}

#define NO_TIME(call, part)                                                                            \
	do {                                                                                           \
		int64_t kit_begin = now();                                                             \
		CHECK_ERROR(call, DPI_ERR_TIMEOUT, part);                                              \
		CHECK_AT_ONCE(kit_begin);                                                              \
	} while (0)

TEST(no_wait, "P-4 A-17 A-60", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, SMALL), l = MAKE("l", 1, ctx, DPI_USE_LOG), r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 64), n;
	DPI_Open_Attr open = {sizeof open, DPI_NO_WAIT, DPI_NO_WAIT, 0};
	DPI_Record record;
	DPI_Request request;
	static char data[1000];
	void *room;
	if (rank == 0) {
		CHECK_DPI(DPI_Append("now", 3, q));
		CHECK_DPI(DPI_Flush_Buffer(q));
		CHECK_DPI(DPI_Append("now", 3, l));
		CHECK_DPI(DPI_Flush_Buffer(l));
	}
	harness_barrier();
	int64_t start = now();
	CHECK_ERROR(DPI_Open_Buffer("never made", &open, ctx, &n), DPI_ERR_NAME, "never made");
	CHECK_DPI(DPI_Open_Buffer("q", &open, ctx, &n));
	CHECK_AT_ONCE(start);
	CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, l));
	CHECK_DPI(DPI_Read_Record(info_of(l).first, data, 3, l, NULL, NULL));
	CHECK(!memcmp(data, "now", 3));
	NO_TIME(DPI_Read_Record(info_of(l).end, data, 3, l, NULL, NULL), "l");
	NO_TIME(DPI_Barrier("b", 3, DPI_NO_WAIT, ctx), "b");
	if (rank == 1) {
		CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, q));
		CHECK_DPI(DPI_Next_Record(q, &record));
		CHECK_INT(record.size, ==, 3);
		NO_TIME(DPI_Next_Record(q, &record), "q");
		CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, r));
		CHECK_DPI(DPI_Write("x", 1, 0, r));
		CHECK_DPI(DPI_Read(data, 1, 0, r));
		CHECK_DPI(DPI_Fetch_Add(8, 1, r, NULL));
		CHECK_DPI(DPI_Flush_Buffer(r));
	}
	harness_barrier();
	if (rank == 0) {
		fill_up(q);
		CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, q));
		NO_TIME(DPI_Append(data, sizeof data, q), "1");
		NO_TIME(DPI_Reserve_Append(sizeof data, q, &room), "1");
		CHECK_DPI(DPI_Append_Nb(data, sizeof data, q, &request));
		NO_TIME(DPI_Wait(&request, DPI_NO_WAIT), "1");
		CHECK_DPI(DPI_Cancel(request));
		CHECK_ERROR(DPI_Wait(&request, DPI_NO_WAIT), DPI_ERR_CANCELLED, " ");
	}
	leave(ctx);
}

/* A handle that never waits gets there all the same, by trying again. */
TEST(no_wait_gets_there, "P-4", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .timeout_us = DPI_NO_WAIT), l = MAKE("l", 1, ctx, DPI_USE_LOG, .timeout_us = DPI_NO_WAIT),
		   r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 64, .timeout_us = DPI_NO_WAIT);
#define GETS_THERE(call) UNTIL(5 * SECOND, !kit_error, int kit_error = (call); if (kit_error && kit_error != DPI_ERR_TIMEOUT) CHECK_DPI(kit_error))
	if (rank == 0) {
		char text[8];
		GETS_THERE(DPI_Append("queue", 5, q));
		GETS_THERE(DPI_Flush_Buffer(q));
		GETS_THERE(DPI_Append("log", 3, l));
		GETS_THERE(DPI_Flush_Buffer(l));
		GETS_THERE(DPI_Write("region", 6, 0, r));
		GETS_THERE(DPI_Flush_Buffer(r));
		GETS_THERE(DPI_Read(text, 6, 0, r));
		CHECK(!memcmp(text, "region", 6));
		GETS_THERE(DPI_Read_Record(info_of(l).first, text, 3, l, NULL, NULL));
		CHECK(!memcmp(text, "log", 3));
	} else {
		DPI_Record record;
		GETS_THERE(DPI_Next_Record(q, &record));
	}
	leave(ctx);
}

/* Rank 1 makes no call while the others work on its memory. */
TEST(passive_home, "P-8 A-2 A-18", 3)
{
	_Atomic int *done = harness_shared();
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), l = MAKE("l", 1, ctx, DPI_USE_LOG), r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 4096);
	harness_barrier();
	if (rank != 1) {
		char name[16], data[16];
		uint64_t position, word = 0, mine = 1024 * (uint64_t)rank;
		snprintf(name, sizeof name, "new %d", rank);
		DPI_Buffer fresh = CREATE(name, 1, ctx, DPI_USE_LOG), again = open_buffer("q", ctx);
		CHECK_DPI(DPI_Append_Position("first", 5, fresh, &position));
		CHECK_DPI(DPI_Read_Record(position, data, sizeof data, fresh, NULL, NULL));
		CHECK(!memcmp(data, "first", 5));
		for (int i = 0; i < 20; i++) {
			CHECK_DPI(DPI_Append(&i, sizeof i, q));
			CHECK_DPI(DPI_Flush_Buffer(q));
			CHECK_DPI(DPI_Append(&i, sizeof i, again));
			CHECK_DPI(DPI_Append_Position(&i, sizeof i, l, &position));
			CHECK_DPI(DPI_Read_Record(position, data, sizeof data, l, NULL, NULL));
			CHECK(!memcmp(data, &i, sizeof i));
			CHECK_DPI(DPI_Write(&i, sizeof i, mine, r));
			CHECK_DPI(DPI_Flush_Buffer(r));
			CHECK_DPI(DPI_Read(data, sizeof i, mine, r));
			CHECK(!memcmp(data, &i, sizeof i));
			CHECK_DPI(DPI_Fetch_Add(mine + 8, 1, r, &word));
			CHECK_INT(word, ==, i);
		}
		CHECK_DPI(DPI_Close_Buffer(again));
		CHECK_DPI(DPI_Close_Buffer(fresh));
		CHECK_DPI(DPI_Destroy_Buffer(name, ctx));
		++*done;
	}
	AWAIT(*done == 2);
	harness_barrier();
	if (rank == 1) {
		DPI_Record record;
		for (int i = 0; i < 80; i++) CHECK_DPI(DPI_Next_Record(q, &record));
		CHECK_EMPTY(q, DPI_NO_WAIT);
	}
	leave(ctx);
}

/* One append and no other call: the consumer, or the reader of the log, finds it. */
TEST(linger_publishes, "P-9 M-12 A-19 M-7", 3)
{
	_Atomic int *seen = harness_shared();
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .linger_us = 20 * MS), l = MAKE("l", 1, ctx, DPI_USE_LOG, .linger_us = 20 * MS);
	uint64_t seed = draw_seed(0), at = info_of(l).first;
	harness_barrier();
	/* rank 0 appends; 1 waits for it in the queue, 2 in the log */
	for (int round = 0; round < 12; round++) {
		int64_t start = now();
		if (rank == 0) {
			CHECK_DPI(DPI_Append("last", 4, q));
			CHECK_DPI(DPI_Append(&round, sizeof round, q));
			CHECK_DPI(DPI_Append(&round, sizeof round, l));
		} else if (rank == 1) {
			TAKE(q, "last", 4);
			TAKE(q, &round, sizeof round);
			CHECK_WITHIN(start, SECOND);
			++*seen;
		} else {
			int value = -1;
			CHECK_DPI(DPI_Read_Record(at, &value, sizeof value, l, NULL, &at));
			CHECK_INT(value, ==, round);
			CHECK_WITHIN(start, SECOND);
			++*seen;
		}
		AWAIT(*seen == 2 * (round + 1));
		if (draw(&seed, 3) == 0) pause_ms((int)draw(&seed, 30));
		harness_barrier();
	}
	leave(ctx);
}

/* Many times, at all distances from the last one: none may be forgotten. */
TEST(linger_forgets_none, "P-9 P-10 M-12", 2, .env = "DPI_LINGER=200us")
{
	_Atomic int *seen = harness_shared();
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE);
	uint64_t seed = draw_seed(rank);
	harness_barrier();
	for (int round = 0; round < 200; round++) {
		if (rank == 0) {
			CHECK_DPI(DPI_Append(&round, sizeof round, q));
			while (*seen <= round) sched_yield();
			if (draw(&seed, 8) == 0) usleep((useconds_t)draw(&seed, 3000));
		} else {
			TAKE(q, &round, sizeof round);
			*seen = round + 1;
		}
	}
	leave(ctx);
}

static void ping_pong(int rank, int rounds)
{
	DPI_Context ctx = join();
	DPI_Buffer to[2] = {MAKE("to 0", 0, ctx, DPI_USE_QUEUE), MAKE("to 1", 1, ctx, DPI_USE_QUEUE)};
	uint64_t seed = draw_seed(rank);
	for (int i = 0; i < rounds; i++) {
		if (i % 2 == rank) {
			/* at any moment of the other's falling asleep */
			if (draw(&seed, 4) == 0) usleep((useconds_t)draw(&seed, 200));
			CHECK_DPI(DPI_Append(&i, sizeof i, to[1 - rank]));
			CHECK_DPI(DPI_Flush_Buffer(to[1 - rank]));
		} else {
			TAKE(to[rank], &i, sizeof i);
		}
	}
	leave(ctx);
}

TEST(wakes_from_sleep, "P-10", 2, .env = "DPI_SPIN=0 DPI_LINGER=1min") { ping_pong(rank, 400); }
TEST(wakes_from_spin, "P-10", 2, .env = "DPI_LINGER=1min") { ping_pong(rank, 400); }

/* Whoever sleeps serves appenders that come at once, the first ones of all: their windows are attached by another thread, which takes in
 * what comes meanwhile. */
TEST(wakes_for_the_first_that_come, "P-10", 3, .env = "DPI_SPIN=0")
{
	enum { ROUNDS = 40, HOME = 2 };
	DPI_Context ctx = rank == HOME ? NULL : join();
	uint64_t seed = draw_seed(rank);
	for (int i = 0; i < ROUNDS; i++) {
		char name[16];
		snprintf(name, sizeof name, "q %d", i);
		if (rank == HOME) {
			CHECK_DPI(DPI_Init(&ctx));
			DPI_Buffer q = CREATE(name, HOME, ctx, SMALL);
			TAKE(q, &i, sizeof i);
			TAKE(q, &i, sizeof i);
			CHECK_DPI(DPI_Close_Buffer(q));
			CHECK_DPI(DPI_Barrier("round", 3, 0, ctx));
			CHECK_DPI(DPI_Finalize(ctx));
		} else {
			DPI_Buffer b = open_buffer(name, ctx);
			usleep((useconds_t)draw(&seed, 100));
			CHECK_DPI(DPI_Append(&i, sizeof i, b));
			CHECK_DPI(DPI_Flush_Buffer(b));
			CHECK_DPI(DPI_Close_Buffer(b));
			CHECK_DPI(DPI_Barrier("round", 3, 0, ctx));
		}
	}
	if (rank != HOME) CHECK_DPI(DPI_Finalize(ctx));
}

/* Several wait for one log, each from another node; and for names, and for barriers. */
TEST(wakes_all, "P-10 A-69", 4, .env = "DPI_SPIN=0")
{
	DPI_Context ctx = join();
	DPI_Buffer l = MAKE("l", 1, ctx, DPI_USE_LOG);
	uint64_t at = info_of(l).first, seed = draw_seed(rank);
	harness_barrier();
	for (int round = 0; round < 60; round++) {
		int value = -1;
		if (rank == round % 4) {
			usleep((useconds_t)draw(&seed, 300));
			CHECK_DPI(DPI_Append(&round, sizeof round, l));
			CHECK_DPI(DPI_Flush_Buffer(l));
		}
		CHECK_DPI(DPI_Read_Record(at, &value, sizeof value, l, NULL, &at));
		CHECK_INT(value, ==, round);
		if (round % 10 == 9) CHECK_DPI(DPI_Barrier("b", 4, 0, ctx));
	}
	leave(ctx);
}

/* Each rank waits in another kind of call for 400 ms. */
TEST(waiting_is_cheap, "P-11", 4)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, SMALL), l = MAKE("l", 1, ctx, DPI_USE_LOG);
	static char data[1000];
	DPI_Record record;
	DPI_Request request = DPI_REQUEST_NULL;
	uint64_t end = info_of(l).end;
	if (rank == 0) fill_up(q);
	if (rank == 1) CHECK_DPI(DPI_Set_Timeout(400 * MS, l));
	if (rank == 3) {
		fill_up(q);
		CHECK_DPI(DPI_Append_Nb(data, sizeof data, q, &request));
	}
	CHECK_DPI(DPI_Set_Timeout(400 * MS, q));
	CHECK_DPI(DPI_Set_Timeout(400 * MS, l));
	harness_barrier();
	pause_ms(20);
	int64_t cpu = cpu_us(), start = now();
	if (rank == 0) CHECK_ERROR(DPI_Append(data, sizeof data, q), DPI_ERR_TIMEOUT, "q");
	if (rank == 1) CHECK_ERROR(DPI_Barrier("b", 2, 400 * MS, ctx), DPI_ERR_TIMEOUT, "b");
	if (rank == 2) CHECK_ERROR(DPI_Read_Record(end, data, 1, l, NULL, NULL), DPI_ERR_TIMEOUT, "l");
	if (rank == 3) CHECK_ERROR(DPI_Wait(&request, 400 * MS), DPI_ERR_TIMEOUT, "q");
	CHECK_INT(cpu_us() - cpu, <, (now() - start) / 10 * harness_slow());
	harness_barrier();
	/* and a consumer; nothing goes on in the cluster */
	if (rank == 1) {
		while (!DPI_Set_Timeout(DPI_NO_WAIT, q) && !DPI_Next_Record(q, &record)) {}
		CHECK_DPI(DPI_Set_Timeout(300 * MS, q));
		cpu = cpu_us(), start = now();
		int error = DPI_Next_Record(q, &record); /* rank 3's request may be in time for this */
		if (!error) error = DPI_Next_Record(q, &record);
		CHECK_INT(error, ==, DPI_ERR_TIMEOUT);
		CHECK_INT(cpu_us() - cpu, <, (now() - start) / 10 * harness_slow());
	}
	leave(ctx);
}
