/* SPDX-License-Identifier: Apache-2.0
 * open.c: handles: opened, closed; buffers destroyed; what is told of them. */
#include <signal.h>

#include "memory_kit.h"

static const DPI_Open_Attr at_once = {.size = sizeof at_once, .wait_us = DPI_NO_WAIT};

TEST(waits_for_the_name, "A-17 P-10 A-19", 3)
{
	DPI_Context ctx = join();
	DPI_Buffer q;
	uint64_t seed = draw_seed(rank);
	CHECK_ERROR(DPI_Open_Buffer("nothing", &at_once, ctx, &q), DPI_ERR_NAME, "nothing");
	for (int i = 0; i < 15; i++) {
		char name[16];
		snprintf(name, sizeof name, "n%d", i);
		harness_barrier();
		if (rank == 2) {
			if (i % 2) usleep((useconds_t)draw(&seed, 2000));
			q = CREATE(name, 1, ctx, DPI_USE_QUEUE);
		} else {
			CHECK_DPI(DPI_Open_Buffer(name, NULL, ctx, &q));
		}
		CHECK_STR(info_of(q).name, name);
		CHECK_DPI(DPI_Close_Buffer(q));
		harness_barrier();
		if (rank == i % 3) CHECK_DPI(DPI_Destroy_Buffer(name, ctx));
	}
	leave(ctx);
}

TEST(closing, "A-20 A-21 M-16", 2, .env = "DPI_LINGER=1min")
{
	DPI_Context ctx = join();
	DPI_Buffer q = NULL, r = NULL, l = NULL;
	uint64_t position = 0;
	char text[8];
	if (rank == 0) {
		q = CREATE("q", 1, ctx, DPI_USE_QUEUE);
		r = CREATE("r", 1, ctx, DPI_USE_REGION, .capacity = 64);
		l = CREATE("l", 1, ctx, DPI_USE_LOG);
		DPI_Buffer other = open_buffer("q", ctx);
		CHECK_DPI(DPI_Append("one", 3, q));
		CHECK_DPI(DPI_Write("two", 3, 8, r));
		CHECK_DPI(DPI_Append_Position("three", 5, l, &position));
		CHECK_DPI(DPI_Close_Buffer(q));
		CHECK_DPI(DPI_Close_Buffer(r));
		CHECK_DPI(DPI_Close_Buffer(l));
		CHECK_ERROR(DPI_Close_Buffer(q), DPI_ERR_HANDLE, "closed");
		CHECK_ERROR(DPI_Append("x", 1, q), DPI_ERR_HANDLE, "closed");
		/* the other handle goes on */
		CHECK_DPI(DPI_Append("four", 4, other));
		CHECK_DPI(DPI_Close_Buffer(other));
		*(_Atomic uint64_t *)harness_shared() = position;
	}
	harness_barrier();
	/* no handle is open anywhere, and everything is there */
	if (rank == 1) {
		bool one = false, four = false;
		position = *(_Atomic uint64_t *)harness_shared();
		q = open_buffer("q", ctx), r = open_buffer("r", ctx), l = open_buffer("l", ctx);
		CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, q));
		for (int i = 0; i < 2; i++) {
			DPI_Record record;
			CHECK_DPI(DPI_Next_Record(q, &record));
			if (record.size == 3) one = !memcmp(record.data, "one", 3);
			else four = record.size == 4 && !memcmp(record.data, "four", 4);
		}
		CHECK(one && four);
		CHECK_DPI(DPI_Read(text, 3, 8, r));
		CHECK(!memcmp(text, "two", 3));
		CHECK_DPI(DPI_Read_Record(position, text, sizeof text, l, NULL, NULL));
		CHECK(!memcmp(text, "three", 5));
	}
	leave(ctx);
}

TEST(destroying, "A-24 A-25 A-26 A-28 E-29", 3)
{
	DPI_Context ctx = join();
	static const char *const names[] = {"q", "l", "r"};
	DPI_Buffer buf;
	CHECK_ERROR(DPI_Destroy_Buffer("nothing", ctx), DPI_ERR_NAME, "nothing");
	for (int round = 0; round < 3; round++) {
		/* by the home, by one with a handle, by one without */
		DPI_Buffer q = NULL, l = NULL, r = NULL, other = NULL;
		DPI_Record record;
		DPI_Buffer_Info info = DPI_BUFFER_INFO_INIT;
		DPI_Request x;
		char text[8] = "";
		uint64_t position = 0;
		void *room;
		if (rank != 2) {
			q = MAKE("q", 1, ctx, DPI_USE_QUEUE), l = MAKE("l", 1, ctx, DPI_USE_LOG);
			r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 64);
			CHECK_DPI(DPI_Append("old", 3, q));
			CHECK_DPI(DPI_Append_Position("old", 3, l, &position));
			CHECK_DPI(DPI_Write("old", 3, 0, r));
			CHECK_DPI(DPI_Flush_Buffer(r));
		}
		harness_barrier();
		if (rank == round)
			for (int i = 0; i < 3; i++) {
				CHECK_DPI(DPI_Destroy_Buffer(names[i], ctx));
				CHECK_ERROR(DPI_Open_Buffer(names[i], &at_once, ctx, &buf), DPI_ERR_NAME, names[i]);
				CHECK_ERROR(DPI_Destroy_Buffer(names[i], ctx), DPI_ERR_NAME, names[i]);
			}
		harness_barrier();
		if (rank == 2)
			for (int i = 0; i < 3; i++) {
				CHECK_ERROR(DPI_Open_Buffer(names[i], &at_once, ctx, &buf), DPI_ERR_NAME, names[i]);
				/* new ones of the same names, elsewhere */
				CREATE(names[i], round, ctx, i + 1, .capacity = i == 2 ? 64 : 0);
			}
		if (rank != 2) {
			UNTIL(SECOND, e == DPI_ERR_DESTROYED, int e = DPI_Flush_Buffer(q));
			UNTIL(SECOND, e == DPI_ERR_DESTROYED, int e = DPI_Flush_Buffer(l));
			UNTIL(SECOND, e == DPI_ERR_DESTROYED, int e = DPI_Flush_Buffer(r));
			CHECK_ERROR(DPI_Append("x", 1, q), DPI_ERR_DESTROYED, "q");
			CHECK_ERROR(DPI_Append_Vector(&(struct iovec){text, 1}, 1, q), DPI_ERR_DESTROYED, "q");
			CHECK_ERROR(DPI_Append_Batch(&(DPI_Record){text, 1}, 1, q, NULL), DPI_ERR_DESTROYED, "q");
			CHECK_ERROR(DPI_Reserve_Append(1, q, &room), DPI_ERR_DESTROYED, "q");
			int error = DPI_Append_Nb("x", 1, q, &x);
			if (!error) error = DPI_Wait(&x, 0);
			CHECK_ERROR(error, DPI_ERR_DESTROYED, "q");
			CHECK_ERROR(DPI_Get_Buffer_Info(q, &info), DPI_ERR_DESTROYED, "q");
			CHECK_ERROR(DPI_Append("x", 1, l), DPI_ERR_DESTROYED, "l");
			CHECK_ERROR(DPI_Append_Position("x", 1, l, &position), DPI_ERR_DESTROYED, "l");
			CHECK_ERROR(DPI_Read_Record(0, text, 8, l, NULL, NULL), DPI_ERR_DESTROYED, "l");
			CHECK_ERROR(DPI_Truncate_Log(0, l), DPI_ERR_DESTROYED, "l");
			CHECK_ERROR(DPI_Read(text, 1, 0, r), DPI_ERR_DESTROYED, "r");
			CHECK_ERROR(DPI_Write(text, 1, 0, r), DPI_ERR_DESTROYED, "r");
			CHECK_ERROR(DPI_Fetch_Add(0, 1, r, NULL), DPI_ERR_DESTROYED, "r");
			CHECK_ERROR(DPI_Get_Buffer_Info(r, &info), DPI_ERR_DESTROYED, "r");
			DPI_Part parts[] = {{q, text, 1, 0, 0}, {r, text, 1, 0, 0}};
			CHECK_ERROR(DPI_Scatter(parts, 2), DPI_ERR_DESTROYED, "q");
			CHECK_INT(parts[0].error, ==, DPI_ERR_DESTROYED);
			CHECK_INT(parts[1].error, ==, DPI_ERR_DESTROYED);
			if (rank == 1) UNTIL(SECOND, e == DPI_ERR_DESTROYED, int e = DPI_Next_Record(q, &record));
			/* the statistics stay */
			CHECK_INT(stats_of(q).appends, >=, 1);
		}
		harness_barrier();
		if (rank != 2) {
			/* the new ones are empty, and not reached by the old handles */
			other = open_buffer("r", ctx);
			CHECK_DPI(DPI_Read(text, 3, 0, other));
			CHECK(all_bytes(text, 3, 0));
			CHECK_INT(info_of(other).home, ==, round);
			DPI_Buffer new_l = open_buffer("l", ctx), new_q = open_buffer("q", ctx);
			DPI_Buffer_Info empty = info_of(new_l);
			CHECK_INT(empty.first, ==, empty.end);
			if (rank == round) CHECK_EMPTY(new_q, DPI_NO_WAIT);
			CHECK_ERROR(DPI_Append("x", 1, q), DPI_ERR_DESTROYED, "q");
			CHECK_ERROR(DPI_Write("x", 1, 0, r), DPI_ERR_DESTROYED, "r");
			/* they are open until they are closed */
			DPI_Buffer old[] = {q, l, r};
			for (int i = 0; i < 3; i++) {
				int error = DPI_Close_Buffer(old[i]);
				CHECK(error == DPI_SUCCESS || error == DPI_ERR_DESTROYED);
				CHECK_ERROR(DPI_Close_Buffer(old[i]), DPI_ERR_HANDLE, "closed");
			}
			CHECK_DPI(DPI_Close_Buffer(other));
			CHECK_DPI(DPI_Close_Buffer(new_l));
			CHECK_DPI(DPI_Close_Buffer(new_q));
		}
		harness_barrier();
		if (rank == 0)
			for (int i = 0; i < 3; i++) CHECK_DPI(DPI_Destroy_Buffer(names[i], ctx));
		harness_barrier();
	}
	leave(ctx);
}

/* Each rank waits in another call; rank 0 destroys. */
TEST(destroyed_under_waiters, "A-27 A-26 P-10", 4)
{
	static char data[FILLER], text[8];
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), l = MAKE("l", 1, ctx, DPI_USE_LOG),
		   full = MAKE("full", 1, ctx, DPI_USE_QUEUE, .capacity = 4096, .max_record = FILLER, .growth = DPI_GROWTH_NONE);
	uint64_t end = info_of(l).end;
	DPI_Record record;
	if (rank == 3) fill_up(full);
	harness_barrier();
	if (rank == 0) {
		pause_ms(50);
		CHECK_DPI(DPI_Destroy_Buffer("q", ctx));
		CHECK_DPI(DPI_Destroy_Buffer("l", ctx));
		CHECK_DPI(DPI_Destroy_Buffer("full", ctx));
	}
	int64_t start = now();
	if (rank == 1) CHECK_ERROR(DPI_Next_Record(q, &record), DPI_ERR_DESTROYED, "q");
	if (rank == 2) CHECK_ERROR(DPI_Read_Record(end, text, sizeof text, l, NULL, NULL), DPI_ERR_DESTROYED, "l");
	if (rank == 3) CHECK_ERROR(DPI_Append(data, sizeof data, full), DPI_ERR_DESTROYED, "full");
	CHECK_WITHIN(start, SECOND + 100 * MS);
	/* the home waits at its own log, too */
	if (rank == 1) {
		start = now();
		CHECK_ERROR(DPI_Read_Record(end, text, sizeof text, l, NULL, NULL), DPI_ERR_DESTROYED, "l");
		CHECK_WITHIN(start, SECOND);
	}
	leave(ctx);
}

TEST(readable_after_destruction, "A-29 M-19", 3)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 100000);
	static uint8_t data[1000];
	void *address = NULL;
	DPI_Record lent[4];
	size_t n, have = 0;
	if (rank == 0) {
		for (uint64_t i = 0; i < 4; i++) {
			fill(data, sizeof data, i);
			CHECK_DPI(DPI_Append(data, sizeof data, q));
			CHECK_DPI(DPI_Write(data, sizeof data, 90000, r));
		}
		CHECK_DPI(DPI_Flush_Buffer(q));
		CHECK_DPI(DPI_Flush_Buffer(r));
	}
	harness_barrier();
	int mapped = DPI_Get_Address(r, &address);
	if (rank == 1) {
		CHECK_DPI(mapped);
		for (; have < 4; have += n) CHECK_DPI(DPI_Next_Records(q, 4 - have, lent + have, &n));
	}
	harness_barrier();
	if (rank == 2) {
		CHECK_DPI(DPI_Destroy_Buffer("q", ctx));
		CHECK_DPI(DPI_Destroy_Buffer("r", ctx));
	}
	harness_barrier();
	pause_ms(50);
	if (!mapped) {
		CHECK(filled((uint8_t *)address + 90000, sizeof data, 3));
		((volatile uint8_t *)address)[99999] = 1;
	}
	for (uint64_t i = 0; i < have; i++) CHECK(lent[i].size == sizeof data && filled(lent[i].data, sizeof data, i));
	int error = DPI_Close_Buffer(r);
	CHECK(error == DPI_SUCCESS || error == DPI_ERR_DESTROYED);
	leave(ctx);
}

static unsigned long mapped_pages(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	CHECK(f && fscanf(f, "%lu", &pages) == 1);
	fclose(f);
	return pages;
}

TEST(memory_goes_back, "A-30 A-34", 2)
{
	enum { SIZE = 24 << 20 };
	DPI_Context ctx = join();
	_Atomic unsigned long *pages = harness_shared();
	for (int round = 0; round < 3; round++) {
		harness_barrier();
		if (rank == 1) pages[0] = mapped_pages();
		harness_barrier();
		if (rank == 0) {
			DPI_Buffer r = CREATE("r", 1, ctx, DPI_USE_REGION, .capacity = SIZE),
				   q = CREATE("q", 1, ctx, DPI_USE_QUEUE, .capacity = 8 << 20), l = CREATE("l", 1, ctx, DPI_USE_LOG);
			CHECK_DPI(DPI_Append("x", 1, q));
			CHECK_DPI(DPI_Append("x", 1, l));
			CHECK_DPI(DPI_Write("x", 1, SIZE - 1, r));
			CHECK_INT(info_of(r).memory, >=, SIZE);
			CHECK_INT(info_of(q).memory, <=, info_of(q).max_capacity);
			/* one handle open elsewhere, one closed */
			if (round % 2) CHECK_DPI(DPI_Close_Buffer(r));
			CHECK_DPI(DPI_Close_Buffer(q));
			CHECK_DPI(DPI_Destroy_Buffer("r", ctx));
			CHECK_DPI(DPI_Destroy_Buffer("q", ctx));
			CHECK_DPI(DPI_Destroy_Buffer("l", ctx));
		}
		harness_barrier();
		/* the first round may grow what the process keeps for itself */
		if (rank == 1 && round) UNTIL(SECOND, mapped_pages() < pages[0] + (4 << 20) / 4096, (void)0);
	}
	leave(ctx);
}

TEST(counted_appenders, "A-32 A-64", 4)
{
	_Atomic int *stage = harness_shared();
	if (rank == 3) harness_expect_death(3);
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), l = MAKE("l", 1, ctx, DPI_USE_LOG);
	CHECK_INT(info_of(q).appenders, ==, 0); /* open alone is not counted */
	harness_barrier();
	DPI_Buffer more = open_buffer("q", ctx);
	CHECK_DPI(DPI_Append(&rank, sizeof rank, q));
	CHECK_DPI(DPI_Append(&rank, sizeof rank, more));
	CHECK_DPI(DPI_Append(&rank, sizeof rank, l));
	CHECK_DPI(DPI_Flush_Buffer(q));
	harness_barrier();
	CHECK_INT(info_of(q).appenders, ==, 8);
	CHECK_INT(info_of(l).appenders, ==, 4);
	harness_barrier();
	if (rank == 3) harness_kill(3, SIGKILL);
	CHECK_DPI(DPI_Close_Buffer(more));
	++*stage;
	AWAIT(*stage >= 3 && !harness_alive(3));
	UNTIL(SECOND, info_of(q).appenders == 3, (void)0);
	UNTIL(SECOND, info_of(l).appenders == 3, (void)0);
	++*stage;
	AWAIT(*stage >= 6);
	if (rank == 1) {
		int seen[4] = {0};
		DPI_Record r;
		/* all but what the dead one had not flushed, which may be there */
		CHECK_DPI(DPI_Set_Timeout(300 * MS, q));
		while (!DPI_Next_Record(q, &r)) seen[*(const int *)r.data]++;
		CHECK(seen[0] == 2 && seen[1] == 2 && seen[2] == 2);
		CHECK(seen[3] == 1 || seen[3] == 2);
	}
	++*stage;
	AWAIT(*stage >= 9);
	CHECK_DPI(DPI_Finalize(ctx));
}
