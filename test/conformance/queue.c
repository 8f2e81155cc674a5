/* SPDX-License-Identifier: Apache-2.0
 * queue.c: the consumer. */
#include "memory_kit.h"

static void append_numbers(DPI_Buffer q, int first, int count)
{
	for (int i = first; i < first + count; i++) CHECK_DPI(DPI_Append(&i, sizeof i, q));
	CHECK_DPI(DPI_Flush_Buffer(q));
}

static int number(const DPI_Record *r)
{
	int n;
	CHECK_INT(r->size, ==, sizeof n);
	memcpy(&n, r->data, sizeof n);
	return n;
}

TEST(one_consumer, "A-55 A-56 A-22 M-5 A-20", 3)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), second = open_buffer("q", ctx), third = open_buffer("q", ctx);
	DPI_Record records[8];
	size_t n;
	if (rank == 0) append_numbers(q, 0, 20);
	harness_barrier();
	if (rank != 1) {
		CHECK_ERROR(DPI_Next_Record(q, records), DPI_ERR_USE, "1");
		CHECK_ERROR(DPI_Next_Records(q, 8, records, &n), DPI_ERR_USE, "1");
		CHECK_ERROR(DPI_Next_Run(q, 8, &(DPI_Run){0}), DPI_ERR_USE, "1");
		CHECK_ERROR(DPI_Release_Records(1, q), DPI_ERR_RANGE, ": ");
	} else {
		int want = 0;
		CHECK_DPI(DPI_Next_Record(second, records));
		CHECK_INT(number(records), ==, want++);
		CHECK_ERROR(DPI_Next_Record(q, records), DPI_ERR_USE, "consumer");
		CHECK_ERROR(DPI_Next_Records(third, 8, records, &n), DPI_ERR_USE, "consumer");
		/* closed with records lent: the next goes on behind the last that was taken */
		CHECK_DPI(DPI_Next_Records(second, 3, records, &n));
		for (size_t i = 0; i < n; i++) CHECK_INT(number(&records[i]), ==, want++);
		CHECK_DPI(DPI_Close_Buffer(second));
		CHECK_DPI(DPI_Next_Records(third, 8, records, &n));
		for (size_t i = 0; i < n; i++) CHECK_INT(number(&records[i]), ==, want++);
		CHECK_ERROR(DPI_Next_Record(q, records), DPI_ERR_USE, "consumer");
		CHECK_DPI(DPI_Close_Buffer(third));
		while (want < 20) {
			CHECK_DPI(DPI_Next_Record(q, records));
			CHECK_INT(number(records), ==, want++);
		}
		CHECK_EMPTY(q, DPI_NO_WAIT);
	}
	leave(ctx);
}

/* Wrong ones change nothing. */
TEST(releases, "A-58 A-59 A-61 M-19 R-4", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE);
	if (rank == 0) append_numbers(q, 0, 100);
	harness_barrier();
	if (rank == 1) {
		DPI_Record r[40];
		size_t n, lent = 0;
		int i;
		CHECK_ERROR(DPI_Next_Records(q, 0, r, &n), DPI_ERR_ARGUMENT, "max");
		CHECK_DPI(DPI_Release_Records(0, q));
		CHECK_ERROR(DPI_Release_Records(1, q), DPI_ERR_RANGE, "1");
		while (lent < 20) {
			CHECK_DPI(DPI_Next_Records(q, 20 - lent, r + lent, &n));
			CHECK(n >= 1 && n <= 20 - lent);
			lent += n;
		}
		CHECK_ERROR(DPI_Release_Records(21, q), DPI_ERR_RANGE, "21");
		CHECK_ERROR(DPI_Release_Records(SIZE_MAX, q), DPI_ERR_RANGE, "20");
		CHECK_DPI(DPI_Release_Records(0, q));
		for (i = 0; i < 20; i++) CHECK_INT(number(&r[i]), ==, i);
		CHECK_DPI(DPI_Release_Records(5, q));
		for (; lent < 35; lent += n) CHECK_DPI(DPI_Next_Records(q, 35 - lent, r + lent, &n));
		for (i = 5; i < 35; i++) CHECK_INT(number(&r[i]), ==, i);
		CHECK_ERROR(DPI_Release_Records(31, q), DPI_ERR_RANGE, "31");
		/* the single call gives back all that was lent, by either call */
		CHECK_DPI(DPI_Next_Record(q, &r[35]));
		CHECK_INT(number(&r[35]), ==, 35);
		CHECK_ERROR(DPI_Release_Records(2, q), DPI_ERR_RANGE, "2");
		CHECK_DPI(DPI_Release_Records(1, q));
		CHECK_ERROR(DPI_Release_Records(1, q), DPI_ERR_RANGE, "1");
		CHECK_DPI(DPI_Next_Record(q, &r[0]));
		CHECK_DPI(DPI_Next_Records(q, 3, r + 1, &n));
		CHECK_DPI(DPI_Release_Records(1 + n, q));
		i = 36 + 1 + (int)n;
		while (i < 100) {
			CHECK_DPI(DPI_Next_Record(q, r));
			CHECK_INT(number(r), ==, i++);
		}
		/* also when it finds none */
		CHECK_EMPTY(q, DPI_NO_WAIT);
		CHECK_ERROR(DPI_Release_Records(1, q), DPI_ERR_RANGE, "1");
	}
	leave(ctx);
}

/* Lent records keep their place and bytes while appenders fill, empty and refill the rings, close and die. */
TEST(lent_records_stay, "M-19 M-21 A-64", 4)
{
	enum { LENT = 8 };
	if (rank == 3) harness_expect_death(3);
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .capacity = 8192, .max_capacity = 1 << 20, .max_record = 1000);
	uint8_t data[500];
	DPI_Record lent[3 * LENT], more[16];
	size_t n, have = 0;
	_Atomic int *stage = harness_shared();
	if (rank != 1) {
		for (uint64_t i = 0; i < LENT; i++) {
			stamp(data, sizeof data, (uint64_t)rank, i);
			CHECK_DPI(DPI_Append(data, sizeof data, q));
		}
		CHECK_DPI(DPI_Flush_Buffer(q));
	}
	harness_barrier();
	if (rank == 1) {
		struct tally t = {.total = 0};
		for (; have < 3 * LENT; have += n) CHECK_DPI(DPI_Next_Records(q, 3 * LENT - have, lent + have, &n));
		for (size_t i = 0; i < have; i++) tally_take(&t, lent[i].data, lent[i].size);
		*stage = 1;
		/* rank 0 dies, rank 3 is killed, rank 2 goes on */
		AWAIT(*stage >= 2 && !harness_alive(3));
		uint64_t more_taken = 0;
		while (more_taken < 40) {
			CHECK_DPI(DPI_Next_Records(q, 16, more, &n));
			for (size_t i = 0; i < n; i++) tally_take(&t, more[i].data, more[i].size);
			more_taken += n;
		}
		pause_ms(50);
		uint64_t appender;
		for (size_t i = 0; i < have; i++) check_stamp(lent[i].data, lent[i].size, &appender);
		CHECK_INT(t.next[0], ==, LENT);
		CHECK_INT(t.next[3], ==, LENT);
		CHECK_INT(t.next[2], ==, LENT + 40);
		CHECK_DPI(DPI_Release_Records(have + more_taken, q));
		*stage = 3;
	}
	if (rank == 3) {
		AWAIT(*stage >= 1);
		harness_kill(3, 9);
		for (;;) pause_ms(1000);
	}
	AWAIT(*stage >= 1);
	if (rank == 0) CHECK_DPI(DPI_Close_Buffer(q));
	if (rank == 2) {
		for (uint64_t i = LENT; i < LENT + 40; i++) {
			stamp(data, sizeof data, 2, i);
			CHECK_DPI(DPI_Append(data, sizeof data, q));
		}
		CHECK_DPI(DPI_Flush_Buffer(q));
		*stage = 2;
	}
	AWAIT(*stage >= 3);
	CHECK_DPI(DPI_Finalize(ctx));
}

/* A consumer that keeps the last so many records and gives back one for each that it takes. */
static void slide(int rank, int kept)
{
	enum { N = 400 };
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .capacity = 4096, .max_record = 100, .growth = DPI_GROWTH_NONE);
	uint8_t data[100];
	if (rank == 0) {
		for (uint64_t i = 0; i < N; i++) {
			stamp(data, sizeof data, 0, i);
			CHECK_DPI(DPI_Append(data, sizeof data, q));
		}
		CHECK_DPI(DPI_Flush_Buffer(q));
	} else {
		struct tally t = {.total = 0};
		DPI_Record r;
		size_t n;
		for (int i = 0; i < N; i++) {
			if (i >= kept) CHECK_DPI(DPI_Release_Records(1, q));
			CHECK_DPI(DPI_Next_Records(q, 1, &r, &n));
			tally_take(&t, r.data, r.size);
		}
	}
	leave(ctx);
}

TEST(window_slides, "M-20 M-19 A-59 A-61 P-10", 2) { slide(rank, 10); }
TEST(large_window_slides, "M-20 M-19 A-39 P-10", 2) { slide(rank, 30); }
/* The rest holds less than what is else given back untold. */
TEST(largest_window_slides, "M-20 M-19 A-39 P-10", 2) { slide(rank, 33); }

static void *append_for_ever(void *arg)
{
	DPI_Buffer q = arg;
	_Atomic int *stop = harness_shared();
	for (uint64_t i = 0; !*stop; i++) {
		uint64_t record[2] = {1, i};
		CHECK_DPI(DPI_Append(record, sizeof record, q));
	}
	return NULL;
}

/* Fairness: one appender never pauses; a single record of another comes through. */
TEST(every_record_is_met, "A-63 A-60", 3)
{
	_Atomic int *stop = harness_shared();
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .capacity = 65536, .max_record = 100);
	harness_barrier();
	pthread_t t = 0;
	if (rank == 0) t = start_thread(append_for_ever, q);
	if (rank == 2) {
		uint64_t record[2] = {2, 0};
		pause_ms(20);
		for (int i = 0; i < 10; i++) {
			CHECK_DPI(DPI_Append(record, sizeof record, q));
			CHECK_DPI(DPI_Flush_Buffer(q));
			pause_ms(1);
		}
	}
	if (rank == 1) {
		DPI_Record r;
		for (int met = 0; met < 10;) {
			uint64_t record[2];
			CHECK_DPI(DPI_Next_Record(q, &r));
			memcpy(record, r.data, sizeof record);
			met += record[0] == 2;
		}
		*stop = 1;
		/* what is left lets the other come to its end */
		CHECK_DPI(DPI_Set_Timeout(50 * MS, q));
		while (!DPI_Next_Record(q, &r)) {}
	}
	if (rank == 0) end_thread(t);
	leave(ctx);
}

/* Flushes: of one handle, and of several that say nothing of each other; a consume call finds what one made visible. */
TEST(flush_makes_visible, "M-11 M-7 M-15 M-16 A-60", 3, .env = "DPI_LINGER=1min")
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .max_record = 20000), l = MAKE("l", 2, ctx, DPI_USE_LOG, .max_record = 20000), other = open_buffer("q", ctx);
	static uint8_t data[20000];
	uint64_t at = info_of(l).first, seed = draw_seed(0); /* the same everywhere */
	CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, l));
	harness_barrier();
	for (uint64_t round = 0; round < 25; round++) {
		uint64_t count = 1 + draw(&seed, 8);
		size_t size[8];
		for (uint64_t i = 0; i < count; i++) size[i] = STAMP_SIZE + draw(&seed, draw(&seed, 4) ? 100 : 15000);
		if (rank == 0) {
			CHECK_DPI(DPI_Set_Timeout(0, l));
			for (uint64_t i = 0; i < count; i++) {
				stamp(data, size[i], 0, i);
				CHECK_DPI(DPI_Append(data, size[i], q));
				CHECK_DPI(DPI_Append(data, size[i], l));
			}
			if (round % 3 == 2) {
				/* closing does what a flush would */
				CHECK_DPI(DPI_Close_Buffer(q));
				q = open_buffer("q", ctx);
			} else {
				CHECK_DPI(DPI_Flush_Buffer(q));
			}
			CHECK_DPI(DPI_Flush_Buffer(l));
			CHECK_DPI(DPI_Append("other", 5, other));
		}
		harness_barrier();
		struct tally queue = {.total = 0}, log = {.total = 0};
		if (rank == 1) {
			CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, q));
			while (queue.total < count) {
				DPI_Record r;
				CHECK_DPI(DPI_Next_Record(q, &r));
				if (r.size != 5) tally_take(&queue, r.data, r.size);
			}
		}
		if (rank == 2)
			for (size_t n; log.total < count;) {
				CHECK_DPI(DPI_Read_Record(at, data, sizeof data, l, &n, &at));
				tally_take(&log, data, n);
			}
		harness_barrier();
	}
	leave(ctx);
}
