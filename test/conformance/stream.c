/* SPDX-License-Identifier: Apache-2.0
 * stream.c: many records through small rings: space is reclaimed under load, from one appender and from many. */
#include "memory_kit.h"

#define RECORD_MAX 2000

struct stream {
	_Atomic uint64_t appended[STAMPS_MAX]; /* set when the appender has ended */
	_Atomic int ended;
};

struct appender {
	DPI_Context ctx;
	int id;
	uint64_t count;
};

/* One appender, by every way to append. Its memory is used again at once. */
static void *append_stream(void *arg)
{
	const struct appender *a = arg;
	struct stream *s = harness_shared();
	uint64_t seed = draw_seed(a->id), n = 0;
	static _Thread_local uint8_t data[8][RECORD_MAX];
	DPI_Buffer q = open_buffer("stream", a->ctx);
	while (n < a->count) {
		size_t size[8];
		uint64_t run = 1 + draw(&seed, 8);
		for (uint64_t i = 0; i < run; i++) {
			size[i] = STAMP_SIZE + (draw(&seed, 3) ? draw(&seed, 200) : draw(&seed, RECORD_MAX - STAMP_SIZE + 1));
			stamp(data[i], size[i], (uint64_t)a->id, n + i);
		}
		uint64_t way = draw(&seed, 10);
		if (way == 0) {
			DPI_Record records[8];
			size_t done;
			for (uint64_t i = 0; i < run; i++) records[i] = (DPI_Record){data[i], size[i]};
			CHECK_DPI(DPI_Append_Batch(records, run, q, &done));
			CHECK_INT(done, ==, run);
			n += run;
			continue;
		}
		n++;
		if (way == 1) {
			size_t half = size[0] / 2;
			CHECK_DPI(DPI_Append_Vector((struct iovec[]){{data[0], half}, {data[0] + half, size[0] - half}}, 2, q));
		} else if (way == 2) {
			void *room;
			CHECK_DPI(DPI_Reserve_Append(RECORD_MAX, q, &room));
			memcpy(room, data[0], size[0]);
			CHECK_DPI(DPI_Commit_Append(size[0], q));
		} else if (way == 3) {
			DPI_Request request;
			CHECK_DPI(DPI_Append_Nb(data[0], size[0], q, &request));
			CHECK_DPI(DPI_Wait(&request, 0));
		} else {
			CHECK_DPI(DPI_Append(data[0], size[0], q));
		}
		memset(data[0], 0xee, size[0]);
		if (draw(&seed, 50) == 0) CHECK_DPI(DPI_Flush_Buffer(q));
	}
	CHECK_DPI(DPI_Close_Buffer(q));
	s->appended[a->id] = n;
	s->ended++;
	return NULL;
}

/* Takes until all appenders have ended and everything is there. */
static void consume(DPI_Buffer q, int appenders)
{
	struct stream *s = harness_shared();
	struct tally t = {.total = 0};
	uint64_t seed = draw_seed(99), all = UINT64_MAX;
	DPI_Record records[32];
	size_t n;
	while (t.total < all) {
		if (all == UINT64_MAX && s->ended == appenders) {
			all = 0;
			for (int i = 0; i < STAMPS_MAX; i++) all += s->appended[i];
			if (t.total == all) break;
		}
		CHECK_DPI(DPI_Set_Timeout(all == UINT64_MAX ? 5 * MS : 0, q));
		if (draw(&seed, 2)) {
			int error = DPI_Next_Record(q, &records[0]);
			if (error == DPI_ERR_TIMEOUT && all == UINT64_MAX) continue;
			CHECK_DPI(error);
			tally_take(&t, records[0].data, records[0].size);
		} else {
			int error = DPI_Next_Records(q, 1 + draw(&seed, 32), records, &n);
			if (error == DPI_ERR_TIMEOUT && all == UINT64_MAX) continue;
			CHECK_DPI(error);
			for (size_t i = 0; i < n; i++) tally_take(&t, records[i].data, records[i].size);
			if (draw(&seed, 4)) CHECK_DPI(DPI_Release_Records(n, q));
		}
		if (draw(&seed, 400) == 0) usleep((useconds_t)draw(&seed, 1000));
	}
	for (int i = 0; i < STAMPS_MAX; i++) CHECK_INT(t.next[i], ==, s->appended[i]);
	CHECK_EMPTY(q, DPI_NO_WAIT);
}

/* threads: in each rank but the home; the home is rank 1 and appends too when that many are asked for. */
static void run_stream(int rank, int ranks, int threads, int home_threads, uint64_t count, const DPI_Buffer_Attr *attr)
{
	DPI_Context ctx = join();
	DPI_Buffer_Attr a = *attr;
	DPI_Buffer q = kit_make("stream", 1, DPI_CREATE_OR_OPEN, &a, ctx);
	struct appender w[16];
	pthread_t t[16];
	int mine = rank == 1 ? home_threads : threads;
	harness_barrier();
	for (int i = 0; i < mine; i++) {
		w[i] = (struct appender){ctx, rank * 8 + i, count};
		t[i] = start_thread(append_stream, &w[i]);
	}
	if (rank == 1) consume(q, (ranks - 1) * threads + home_threads);
	for (int i = 0; i < mine; i++) end_thread(t[i]);
	leave(ctx);
}

#define RING(bytes, ...) ATTR(DPI_USE_QUEUE, .capacity = bytes, .max_record = RECORD_MAX, __VA_ARGS__)
#define CITES "M-1 M-4 M-5 M-6 M-7 M-20 A-37 A-63 P-10 "

/* the smallest ring, which the records fill many times over */
TEST(stream_one, CITES, 2) { run_stream(rank, ranks, 1, 0, 3000, RING(4096, .growth = DPI_GROWTH_NONE)); }
TEST(stream_four, CITES, 5) { run_stream(rank, ranks, 1, 0, 1000, RING(8192, .growth = DPI_GROWTH_NONE)); }
/* threads of nodes, and of the home itself */
TEST(stream_eight, CITES "A-38 P-13", 4) { run_stream(rank, ranks, 2, 2, 500, RING(16384, .growth = DPI_GROWTH_NONE)); }
TEST(stream_grows, CITES "A-43", 4) { run_stream(rank, ranks, 1, 1, 1000, RING(4096, .max_capacity = 1 << 20)); }
TEST(stream_of_one_node, CITES, 2, .env = "DPI_SPIN=0") { run_stream(rank, ranks, 3, 0, 1000, RING(4096, .growth = DPI_GROWTH_NONE)); }

/* Records larger than what is grouped, of sizes about half a ring: they end at its border again and again. */
TEST(stream_of_large_records, "M-1 M-4 M-5 M-6 M-20 P-10", 3)
{
	enum { LARGE = 40000, N = 120 };
	static uint8_t data[LARGE];
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .capacity = 4096, .max_record = LARGE, .growth = DPI_GROWTH_NONE);
	if (rank != 1) {
		uint64_t seed = draw_seed(rank);
		for (uint64_t i = 0; i < N; i++) {
			size_t size = LARGE - draw(&seed, draw(&seed, 2) ? 100 : LARGE - STAMP_SIZE);
			stamp(data, size, (uint64_t)rank, i);
			CHECK_DPI(DPI_Append(data, size, q));
			memset(data, 0xee, size);
		}
		CHECK_DPI(DPI_Flush_Buffer(q));
	} else {
		struct tally t = {.total = 0};
		DPI_Record r;
		while (t.total < 2 * N) {
			CHECK_DPI(DPI_Next_Record(q, &r));
			tally_take(&t, r.data, r.size);
		}
	}
	leave(ctx);
}

/* Appenders come and go while the consumer takes; each is one record or a few. */
TEST(appenders_come_and_go, "A-18 A-32 A-37 A-64 M-16 M-5", 3)
{
	enum { ROUNDS = 40 };
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .capacity = 4096, .max_record = 200);
	uint64_t got[2][ROUNDS] = {{0}};
	harness_barrier();
	if (rank != 1) {
		for (uint64_t i = 0; i < ROUNDS; i++) {
			DPI_Buffer own = open_buffer("q", ctx);
			for (uint64_t k = 0; k < 1 + i % 4; k++) {
				uint64_t record[3] = {(uint64_t)rank / 2, i, k};
				CHECK_DPI(DPI_Append(record, sizeof record, own));
			}
			CHECK_DPI(DPI_Close_Buffer(own));
		}
	} else {
		for (int n = 0; n < 2 * (ROUNDS / 4) * (1 + 2 + 3 + 4); n++) {
			DPI_Record r;
			uint64_t record[3];
			CHECK_DPI(DPI_Next_Record(q, &r));
			CHECK_INT(r.size, ==, sizeof record);
			memcpy(record, r.data, sizeof record);
			CHECK_INT(record[2], ==, got[record[0]][record[1]]++);
		}
		CHECK_EMPTY(q, DPI_NO_WAIT);
		UNTIL(SECOND, info_of(q).appenders == 0, (void)0);
	}
	leave(ctx);
}

/* A node that joins when the others have been at it for long: started later by the harness. */
TEST(late_joiner, "A-37 A-18 E-13", 3, .nodes = 4)
{
	struct stream *s = harness_shared();
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("stream", 1, ctx, DPI_USE_QUEUE, .capacity = 4096, .max_record = RECORD_MAX);
	struct appender a = {ctx, rank, 500};
	if (rank != 1) append_stream(&a);
	if (rank == 0) harness_spawn_rank(3);
	if (rank == 1) consume(q, 3);
	if (rank == 3) {
		CHECK_DPI(DPI_Finalize(ctx));
		return;
	}
	AWAIT(s->ended == 3);
	leave(ctx);
}
