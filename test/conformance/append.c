/* SPDX-License-Identifier: Apache-2.0
 * append.c: records of every size, in pieces, in batches, built in place; a full buffer. */
#include "memory_kit.h"

static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 500, 1023, 1024, 1025, 4095, 4096, 4097,
			       8183, 8184, 8185, 8191, 8192, 8193, 9001, 16383, 16384};
#define SIZES (sizeof sizes / sizeof *sizes)

/* The record number i of a queue or log, whatever call appended it. */
static void check_record(const void *record, size_t size, size_t i)
{
	CHECK_INT(size, ==, sizes[i % SIZES]);
	CHECK(filled(record, size, i));
}

static void append_by(size_t way, size_t i, DPI_Buffer buf)
{
	static uint8_t data[16384];
	size_t size = sizes[i % SIZES], third = size / 3;
	void *room;
	fill(data, size, i);
	struct iovec pieces[] = {{data, third}, {NULL, 0}, {data + third, third}, {data + 2 * third, size - 2 * third}, {data, 0}};
	switch (way) {
	case 0: CHECK_DPI(DPI_Append(size ? data : NULL, size, buf)); break;
	case 1: CHECK_DPI(DPI_Append_Vector(pieces, 5, buf)); break;
	case 2: CHECK_DPI(DPI_Append_Batch(&(DPI_Record){data, size}, 1, buf, NULL)); break;
	case 3:
		CHECK_DPI(DPI_Reserve_Append(size, buf, &room));
		CHECK_INT((uintptr_t)room % 8, ==, 0);
		memcpy(room, data, size);
		CHECK_DPI(DPI_Commit_Append(size, buf));
	}
	memset(data, 0xff, size); /* it is the caller's again */
}

TEST(record_sizes, "A-35 A-36 A-62 M-1 M-3 M-4 M-6", 3)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .max_record = 16384), l = MAKE("l", 1, ctx, DPI_USE_LOG, .max_record = 16384);
	static uint8_t data[16384 + 1];
	void *room;
	uint64_t at = info_of(l).first;
	harness_barrier();
	if (rank == 0) {
		for (size_t way = 0, i = 0; way < 4; way++)
			for (size_t k = 0; k < SIZES; k++, i++) {
				append_by(way, i, q);
				append_by(way, i, l);
			}
		uint64_t position;
		DPI_Request request;
		DPI_Buffer both[] = {q, l};
		for (int b = 0; b < 2; b++) {
			CHECK_ERROR(DPI_Append(data, 16385, both[b]), DPI_ERR_SIZE, "16385");
			CHECK_ERROR(DPI_Append(data, SIZE_MAX, both[b]), DPI_ERR_SIZE, "16384");
			CHECK_ERROR(DPI_Append_Vector((struct iovec[]){{data, 16384}, {data, 1}}, 2, both[b]), DPI_ERR_SIZE, "16385");
			CHECK_ERROR(DPI_Append_Vector((struct iovec[]){{data, SIZE_MAX}, {data, 2}}, 2, both[b]), DPI_ERR_SIZE, ": ");
			CHECK_ERROR(DPI_Append_Batch(&(DPI_Record){data, 16385}, 1, both[b], NULL), DPI_ERR_SIZE, "16385");
			CHECK_ERROR(DPI_Reserve_Append(16385, both[b], &room), DPI_ERR_SIZE, "16385");
			CHECK_ERROR(DPI_Append_Nb(data, 16385, both[b], &request), DPI_ERR_SIZE, "16385");
		}
		CHECK_ERROR(DPI_Append_Position(data, 16385, l, &position), DPI_ERR_SIZE, "16385");
		CHECK_DPI(DPI_Append("end", 3, q));
		CHECK_DPI(DPI_Append("end", 3, l));
		CHECK_DPI(DPI_Flush_Buffer(l));
	}
	if (rank == 1) {
		DPI_Record r;
		for (size_t i = 0; i < 4 * SIZES; i++) {
			CHECK_DPI(DPI_Next_Record(q, &r));
			if (r.size) CHECK_INT((uintptr_t)r.data % 8, ==, 0);
			check_record(r.data, r.size, i);
		}
		TAKE(q, "end", 3);
		CHECK_EMPTY(q, DPI_NO_WAIT);
	}
	harness_barrier();
	if (rank) {
		size_t size;
		for (size_t i = 0; i < 4 * SIZES; i++) {
			memset(data, 0xee, sizeof data);
			CHECK_DPI(DPI_Read_Record(at, data, sizeof data, l, &size, &at));
			check_record(data, size, i);
			CHECK(all_bytes(data + size, sizeof data - size, 0xee));
		}
		CHECK_DPI(DPI_Read_Record(at, data, 3, l, &size, &at));
		CHECK_INT(size, ==, 3);
	}
	leave(ctx);
}

/* Buffers whose largest record is small, of no special size, or large. */
TEST(largest_records, "A-35 A-4 M-4", 2)
{
	static const uint64_t largest[] = {1, 7, 8, 100, 4097, 65536, 1000000};
	static uint8_t data[1000001];
	DPI_Context ctx = join();
	char name[32];
	for (int i = 0; i < 7; i++) {
		snprintf(name, sizeof name, "q%d", i);
		DPI_Buffer q = MAKE(name, 1, ctx, DPI_USE_QUEUE, .capacity = 4096, .max_record = largest[i]);
		CHECK_INT(info_of(q).max_record, ==, largest[i]);
		if (rank == 0) {
			for (uint64_t n = 0; n < 6; n++) {
				fill(data, largest[i] - n % 2, n);
				CHECK_DPI(DPI_Append(data, largest[i] - n % 2, q));
			}
			CHECK_ERROR(DPI_Append(data, largest[i] + 1, q), DPI_ERR_SIZE, ": ");
			CHECK_DPI(DPI_Close_Buffer(q));
		} else {
			DPI_Record r;
			for (uint64_t n = 0; n < 6; n++) {
				CHECK_DPI(DPI_Next_Record(q, &r));
				CHECK_INT(r.size, ==, largest[i] - n % 2);
				CHECK(filled(r.data, r.size, n));
			}
		}
	}
	leave(ctx);
}

TEST(pieces, "A-45 M-1 M-4", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .max_record = 40000);
	static uint8_t data[40000];
	uint64_t seed = draw_seed(0); /* the same at both */
	for (uint64_t round = 0; round < 30; round++) {
		size_t size = draw(&seed, sizeof data + 1), at = 0;
		int count = round < 3 ? (int)round : (int)draw(&seed, 1200);
		if (!count) size = 0;
		static struct iovec v[1200];
		fill(data, size, round);
		for (int i = 0; i < count; i++) {
			size_t n = i == count - 1 ? size - at : draw(&seed, 4) ? draw(&seed, 2 * (size - at) / (size_t)(count - i) + 1) : 0;
			if (n > size - at) n = size - at;
			v[i] = (struct iovec){n ? data + at : NULL, n};
			at += n;
		}
		if (rank == 0) {
			CHECK_DPI(DPI_Append_Vector(count ? v : NULL, count, q));
			memset(data, 0xff, size);
			memset(v, 0xff, sizeof v);
		} else {
			DPI_Record r;
			CHECK_DPI(DPI_Next_Record(q, &r));
			CHECK_INT(r.size, ==, size);
			CHECK(filled(r.data, r.size, round));
		}
	}
	if (rank == 0) CHECK_ERROR(DPI_Append_Vector(&(struct iovec){data, 1}, -1, q), DPI_ERR_ARGUMENT, "count");
	if (rank == 0) CHECK_ERROR(DPI_Append_Vector(&(struct iovec){data, 1}, INT32_MIN, q), DPI_ERR_ARGUMENT, "count");
	leave(ctx);
}

TEST(batches, "A-46 A-47 M-9 M-6", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .capacity = 4096, .max_record = 500, .growth = DPI_GROWTH_NONE);
	enum { N = 400 };
	if (rank == 0) {
		static uint8_t data[N][101];
		DPI_Record records[N];
		size_t done = 7, all = 0;
		CHECK_DPI(DPI_Append_Batch(records, 0, q, &done));
		CHECK_INT(done, ==, 0);
		CHECK_DPI(DPI_Append_Batch(NULL, 0, q, NULL));
		for (uint64_t i = 0; i < N; i++) {
			fill(data[i], sizeof *data, i);
			records[i] = (DPI_Record){data[i], sizeof *data};
		}
		/* to the brim: what is said to be in it is in it */
		CHECK_DPI(DPI_Append_Batch(records, 3, q, NULL));
		CHECK_DPI(DPI_Set_Timeout(20 * MS, q));
		CHECK_ERROR(DPI_Append_Batch(records + 3, N - 3, q, &done), DPI_ERR_TIMEOUT, "q");
		CHECK(done > 0 && done < N - 3);
		all = 3 + done;
		CHECK_ERROR(DPI_Append_Batch(records + all, N - all, q, &done), DPI_ERR_TIMEOUT, "q");
		CHECK_INT(done, ==, 0);
		*(_Atomic size_t *)harness_shared() = all;
		harness_barrier();
		/* the rest waits for room as it comes; one of them is too large */
		CHECK_DPI(DPI_Set_Timeout(0, q));
		records[N - 2].size = 501;
		CHECK_ERROR(DPI_Append_Batch(records + all, N - all, q, &done), DPI_ERR_SIZE, "501");
		CHECK_INT(all + done, ==, N - 2);
		memset(data, 0xff, sizeof data);
		CHECK_DPI(DPI_Append("end", 3, q));
	} else {
		DPI_Record r;
		harness_barrier();
		size_t all = *(_Atomic size_t *)harness_shared();
		for (uint64_t i = 0; i < N - 2; i++) {
			CHECK_DPI(DPI_Next_Record(q, &r));
			CHECK_INT(r.size, ==, 101);
			CHECK(filled(r.data, r.size, i));
			if (i < all) continue;
		}
		TAKE(q, "end", 3);
		CHECK_EMPTY(q, DPI_NO_WAIT);
	}
	leave(ctx);
}

TEST(built_in_place, "A-49 A-50 A-51 A-52 A-53 A-23 M-6", 2, .env = "DPI_LINGER=10ms")
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .capacity = 4096, .max_record = 1000), closing = open_buffer("q", ctx);
	if (rank == 0) {
		void *room = NULL;
		size_t n;
		DPI_Request request;
		DPI_Part part = {q, "x", 1, 0, 0};
		CHECK_ERROR(DPI_Commit_Append(0, q), DPI_ERR_STATE, "DPI_Reserve_Append");
		CHECK_ERROR(DPI_Discard_Append(q), DPI_ERR_STATE, "DPI_Reserve_Append");
		CHECK_DPI(DPI_Append("before", 6, q));
		CHECK_DPI(DPI_Reserve_Append(1000, q, &room));
		CHECK_INT((uintptr_t)room % 8, ==, 0);
		memset(room, 'r', 1000);
		CHECK_ERROR(DPI_Append("x", 1, q), DPI_ERR_STATE, "DPI_Commit_Append");
		CHECK_ERROR(DPI_Append_Vector(&(struct iovec){"x", 1}, 1, q), DPI_ERR_STATE, "DPI_Commit_Append");
		CHECK_ERROR(DPI_Append_Batch(&(DPI_Record){"x", 1}, 1, q, &n), DPI_ERR_STATE, "DPI_Commit_Append");
		CHECK_ERROR(DPI_Append_Nb("x", 1, q, &request), DPI_ERR_STATE, "DPI_Commit_Append");
		CHECK_ERROR(DPI_Reserve_Append(1, q, &room), DPI_ERR_STATE, "DPI_Commit_Append");
		CHECK_ERROR(DPI_Scatter(&part, 1), DPI_ERR_STATE, ": ");
		CHECK_INT(part.error, ==, DPI_ERR_STATE);
		CHECK_DPI(DPI_Flush_Buffer(q));
		harness_barrier();
		/* rank 1 sees that there is nothing, for longer than the linger time */
		harness_barrier();
		CHECK_ERROR(DPI_Commit_Append(1001, q), DPI_ERR_SIZE, "1001");
		CHECK_ERROR(DPI_Append("x", 1, q), DPI_ERR_STATE, "DPI_Commit_Append");
		memcpy(room, "in place", 8);
		CHECK_DPI(DPI_Commit_Append(8, q));
		CHECK_DPI(DPI_Append("after", 5, q));
		for (int i = 0; i < 20; i++) {
			CHECK_DPI(DPI_Reserve_Append((size_t)(i * 50), q, &room));
			memset(room, '#', (size_t)(i * 50));
			CHECK_DPI(DPI_Discard_Append(q));
			CHECK_ERROR(DPI_Commit_Append(0, q), DPI_ERR_STATE, "DPI_Reserve_Append");
			CHECK_DPI(DPI_Reserve_Append(100, q, &room));
			memset(room, i, 100);
			CHECK_DPI(DPI_Commit_Append(i % 2 ? 100 : 0, q));
		}
		CHECK_DPI(DPI_Flush_Buffer(q));
		harness_barrier();
		/* closed over its room */
		CHECK_DPI(DPI_Append("closing", 7, closing));
		CHECK_DPI(DPI_Reserve_Append(500, closing, &room));
		memset(room, '!', 500);
		CHECK_DPI(DPI_Close_Buffer(closing));
		harness_barrier();
	} else {
		char data[100];
		harness_barrier();
		TAKE_NOW(q, "before", 6);
		CHECK_EMPTY(q, 40 * MS);
		harness_barrier();
		TAKE(q, "in place", 8);
		TAKE(q, "after", 5);
		for (int i = 0; i < 20; i++) {
			memset(data, i, sizeof data);
			TAKE(q, data, i % 2 ? 100 : 0);
		}
		harness_barrier();
		harness_barrier();
		TAKE_NOW(q, "closing", 7);
		CHECK_EMPTY(q, 30 * MS);
	}
	leave(ctx);
}

/* Full, by waiting and by error; then there is room again. For queues and logs. */
static void full_buffers(int rank, int use)
{
	static char data[1000];
	DPI_Context ctx = join();
	DPI_Buffer waits = MAKE("waits", 1, ctx, use, .capacity = 8192, .max_capacity = use == DPI_USE_LOG ? 200000 : 8192 * 8, .max_record = 1000,
				.growth = DPI_GROWTH_NONE),
		   errs = MAKE("errs", 1, ctx, use, .capacity = 8192, .max_capacity = use == DPI_USE_LOG ? 200000 : 8192 * 8, .max_record = 1000,
			       .growth = DPI_GROWTH_NONE, .full = DPI_FULL_ERROR);
	harness_barrier();
	if (rank == 0) {
		void *room;
		size_t n;
		int error, in = 0, in_errs = 0;
		/* an appender's part may drain into a log's meanwhile, when its home gets to it: full is when every call finds it so */
		CHECK_DPI(DPI_Append(data, sizeof data, waits));
		in++;
		for (int refused = 0; refused < 3;) {
			CHECK_DPI(DPI_Set_Timeout(refused ? 20 * MS : 50 * MS, waits));
			int64_t start = now();
			error = DPI_Append(data, sizeof data, waits);
			if (error) CHECK_ERROR(error, DPI_ERR_TIMEOUT, "waits");
			if (error) CHECK_NOT_BEFORE(start, 20 * MS);
			refused = error ? refused + 1 : 0;
			in += !error;
		}
		uint64_t position;
		int64_t start;
		for (int way = 0; way < 6;) {
			if (way == 1) pause_ms(20);
			start = now();
			n = way == 3;
			switch (way) {
			case 0:
			case 1: error = DPI_Append(data, sizeof data, errs); break;
			case 2: error = DPI_Append_Vector(&(struct iovec){data, sizeof data}, 1, errs); break;
			case 3: error = DPI_Append_Batch(&(DPI_Record){data, sizeof data}, 1, errs, &n); break;
			case 4:
				error = DPI_Reserve_Append(sizeof data, errs, &room);
				if (!error) memset(room, 0, sizeof data);
				if (!error) CHECK_DPI(DPI_Commit_Append(sizeof data, errs));
				break;
			default: error = use == DPI_USE_LOG ? DPI_Append_Position(data, sizeof data, errs, &position) : DPI_ERR_FULL;
			}
			if (error && (way < 5 || use == DPI_USE_LOG)) CHECK_ERROR(error, DPI_ERR_FULL, "errs");
			if (error && way == 3) CHECK_INT(n, ==, 0);
			if (error) CHECK_AT_ONCE(start);
			way = error ? way + 1 : 0;
			in_errs += !error;
		}
		_Atomic int *told = harness_shared();
		told[0] = in;
		told[1] = in_errs;
		harness_barrier();
		/* there is room now, or will be */
		CHECK_DPI(DPI_Set_Timeout(0, waits));
		CHECK_DPI(DPI_Append("good", 4, waits));
		CHECK_DPI(DPI_Flush_Buffer(waits));
		harness_barrier();
		UNTIL(5 * SECOND, !error, error = DPI_Append("good", 4, errs); if (error) CHECK_ERROR(error, DPI_ERR_FULL, "errs"));
		CHECK_DPI(DPI_Flush_Buffer(errs));
		harness_barrier();
	} else {
		_Atomic int *told = harness_shared();
		DPI_Buffer both[] = {waits, errs};
		harness_barrier();
		for (int b = 0; b < 2; b++) {
			uint64_t at = use == DPI_USE_LOG ? info_of(both[b]).first : 0;
			size_t size;
			for (int i = 0; i < told[b]; i++) {
				DPI_Record r;
				if (use == DPI_USE_QUEUE) {
					CHECK_DPI(DPI_Next_Record(both[b], &r));
					CHECK_INT(r.size, ==, sizeof data);
				} else {
					CHECK_DPI(DPI_Read_Record(at, data, sizeof data, both[b], &size, &at));
					CHECK_INT(size, ==, sizeof data);
					CHECK_DPI(DPI_Truncate_Log(at, both[b]));
				}
			}
			if (use == DPI_USE_LOG) {
				CHECK_DPI(DPI_Read_Record(at, data, sizeof data, both[b], &size, &at));
				CHECK(size == 4 && !memcmp(data, "good", 4));
			} else {
				/* gives back what was lent, in the end all of it */
				TAKE(both[b], "good", 4);
			}
			harness_barrier();
		}
	}
	leave(ctx);
}

TEST(full_queue, "A-39 A-40 A-41 M-9 P-2", 2) { full_buffers(rank, DPI_USE_QUEUE); }
TEST(full_log, "A-39 A-40 A-41 A-73 M-9", 2) { full_buffers(rank, DPI_USE_LOG); }

/* What fits for certain, from an appender of which the buffer holds nothing. */
TEST(half_fits, "A-42 A-54 M-15", 2)
{
	static const struct {
		uint64_t capacity, record;
	} tries[] = {{4096, 1}, {4096, 100}, {4096, 1000}, {65536, 0}, {65536, 10000}, {0, 65536}, {1 << 20, 3000}};
	static char data[65536];
	DPI_Context ctx = join();
	for (int i = 0; i < 7; i++) {
		char name[16];
		snprintf(name, sizeof name, "q%d", i);
		DPI_Buffer q = MAKE(name, 1, ctx, DPI_USE_QUEUE, .capacity = tries[i].capacity, .max_record = tries[i].record ? tries[i].record : 100,
				    .growth = DPI_GROWTH_NONE, .full = DPI_FULL_ERROR);
		uint64_t capacity = tries[i].capacity ? tries[i].capacity : 256 << 10;
		if (rank) continue;
		CHECK_DPI(DPI_Flush_Buffer(q));
		for (uint64_t in = 0; in + tries[i].record + 16 <= capacity / 2; in += tries[i].record + 16)
			CHECK_DPI(DPI_Append(data, tries[i].record, q));
		/* and nobody need take anything for a flush */
		CHECK_DPI(DPI_Flush_Buffer(q));
		CHECK_DPI(DPI_Flush_Buffer(q));
	}
	leave(ctx);
}

TEST(growth, "A-43 A-34 M-4 M-6", 2)
{
	static uint8_t data[1000];
	DPI_Context ctx = join();
	DPI_Buffer grows = MAKE("grows", 1, ctx, DPI_USE_QUEUE, .capacity = 8192, .max_capacity = 1 << 20, .max_record = 1000),
		   stays = MAKE("stays", 1, ctx, DPI_USE_QUEUE, .capacity = 8192, .max_capacity = 1 << 20, .max_record = 1000, .growth = DPI_GROWTH_NONE);
	_Atomic uint64_t *told = harness_shared();
	uint64_t in = 0;
	if (rank == 0) {
		/* nobody consumes */
		for (; in < 200; in++) {
			stamp(data, sizeof data, 0, in);
			CHECK_DPI(DPI_Append(data, sizeof data, grows));
		}
		CHECK_INT(info_of(grows).memory, <=, 1 << 20);
		CHECK_INT(info_of(grows).capacity, >, 8192);
		CHECK_INT(stats_of(grows).grows, >=, 1);
		/* up to the limit, then it is full */
		CHECK_DPI(DPI_Set_Timeout(50 * MS, grows));
		int error;
		for (;; in++) {
			stamp(data, sizeof data, 0, in);
			error = DPI_Append(data, sizeof data, grows);
			if (error) break;
			CHECK_INT(in, <, 2000);
		}
		CHECK_INT(error, ==, DPI_ERR_TIMEOUT);
		CHECK_INT(info_of(grows).memory, <=, 1 << 20);
		int n = fill_up(stays);
		CHECK_INT(n * FILLER, <=, 2 * info_of(stays).capacity);
		CHECK_INT(stats_of(stays).grows, ==, 0);
		*told = in;
		CHECK_DPI(DPI_Flush_Buffer(grows));
		harness_barrier();
		/* then while it is consumed */
		CHECK_DPI(DPI_Set_Timeout(0, grows));
		for (uint64_t end = in + 1000; in < end; in++) {
			stamp(data, sizeof data, 0, in);
			CHECK_DPI(DPI_Append(data, sizeof data, grows));
		}
		CHECK_DPI(DPI_Flush_Buffer(grows));
	} else {
		struct tally tally = {.total = 0};
		DPI_Record r;
		harness_barrier();
		for (uint64_t all = *told + 1000; tally.total < all;) {
			CHECK_DPI(DPI_Next_Record(grows, &r));
			tally_take(&tally, r.data, r.size);
		}
		CHECK_EMPTY(grows, DPI_NO_WAIT);
	}
	leave(ctx);
}

/* Each appender has room of its own: one that finds the queue full is alone with it. */
TEST(full_for_one, "A-44 M-21", 3)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .capacity = 8192, .max_capacity = 1 << 20, .max_record = 1000, .growth = DPI_GROWTH_NONE);
	DPI_Record records[64];
	size_t n, lent = 0;
	int in = 0;
	if (rank == 0) {
		in = fill_up(q);
		*(_Atomic int *)harness_shared() = in;
		CHECK_DPI(DPI_Flush_Buffer(q));
	}
	harness_barrier();
	if (rank == 1) {
		/* all of the one's records are lent and kept */
		size_t all = (size_t) * (_Atomic int *)harness_shared();
		while (lent < all) {
			CHECK_DPI(DPI_Next_Records(q, 64 - lent, records + lent, &n));
			lent += n;
		}
	}
	harness_barrier();
	if (rank == 2)
		for (int i = 0; i < 500; i++) CHECK_DPI(DPI_Append(&i, sizeof i, q));
	if (rank == 1)
		for (int i = 0; i < 500; i++) {
			CHECK_DPI(DPI_Next_Records(q, 1, records + lent, &n));
			CHECK(records[lent].size == sizeof i && !memcmp(records[lent].data, &i, sizeof i));
			if (i % 50 == 49) {
				for (size_t k = 0; k < lent; k++) CHECK(records[k].size == FILLER && all_bytes(records[k].data, FILLER, 0));
			}
			/* the oldest are kept; what is newest cannot be given back alone */
			if (i == 100) break;
		}
	if (rank == 0) {
		CHECK_DPI(DPI_Set_Timeout(20 * MS, q));
		CHECK_ERROR(DPI_Append(records, FILLER, q), DPI_ERR_TIMEOUT, "q");
	}
	harness_barrier();
	if (rank == 1) {
		CHECK_DPI(DPI_Release_Records(lent + 101, q));
		for (int i = 101; i < 500; i++) TAKE(q, &i, sizeof i);
	}
	harness_barrier();
	if (rank == 0) {
		CHECK_DPI(DPI_Set_Timeout(0, q));
		CHECK_DPI(DPI_Append(records, FILLER, q));
	}
	leave(ctx);
}

/* A handle at the home appends and consumes; several handles of one thread. */
TEST(home_appends, "A-38 A-18 A-37 M-35 M-6", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), more[64];
	harness_barrier();
	if (rank == 1) {
		CHECK_DPI(DPI_Append("own", 3, q));
		TAKE(q, "own", 3);
		uint64_t seen[64] = {0};
		for (int i = 0; i < 64; i++) more[i] = open_buffer("q", ctx);
		for (uint64_t k = 0; k < 3; k++)
			for (uint64_t i = 0; i < 64; i++) {
				uint64_t number[2] = {i, k};
				CHECK_DPI(DPI_Append(number, sizeof number, more[i]));
			}
		CHECK_INT(info_of(q).appenders, ==, 65);
		for (int i = 0; i < 3 * 64; i++) {
			DPI_Record r;
			uint64_t number[2];
			CHECK_DPI(DPI_Next_Record(q, &r));
			CHECK_INT(r.size, ==, sizeof number);
			memcpy(number, r.data, sizeof number);
			CHECK_INT(number[1], ==, seen[number[0]]++);
		}
		for (int i = 0; i < 64; i++) CHECK_DPI(DPI_Close_Buffer(more[i]));
		CHECK_INT(info_of(q).appenders, ==, 1);
	}
	leave(ctx);
}
