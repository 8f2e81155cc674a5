/* SPDX-License-Identifier: Apache-2.0
 * stats.c: counters: exact where they promise it, never back. */
#include "memory_kit.h"

TEST(counters_are_exact, "A-97 A-98", 2)
{
	static char data[5000];
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .max_record = 1000), l = MAKE("l", 1, ctx, DPI_USE_LOG, .max_record = 1000),
		   r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 4096);
	DPI_Buffer all[] = {q, l, r};
	for (int i = 0; i < 3; i++) {
		DPI_Buffer_Stats s = stats_of(all[i]);
		for (size_t k = sizeof s.size; k < sizeof s; k++) CHECK_INT(((char *)&s)[k], ==, 0);
	}
	if (rank == 0) {
		uint64_t position, next;
		size_t n;
		void *room;
		DPI_Request x;
		DPI_Record batch[] = {{data, 10}, {data, 20}, {data, 1001}, {data, 30}};
		DPI_Part parts[] = {{q, data, 5, 0, 0}, {l, data, 6, 0, 0}, {r, data, 7, 0, 0}, {r, data, 8, 4090, 0}};
		for (size_t i = 0; i < 100; i++) CHECK_DPI(DPI_Append(data, i, q)); /* 4950 bytes */
		CHECK_DPI(DPI_Append_Vector((struct iovec[]){{data, 50}, {data, 60}}, 2, q));
		CHECK_ERROR(DPI_Append_Batch(batch, 4, q, &n), DPI_ERR_SIZE, ": ");
		CHECK_DPI(DPI_Reserve_Append(1000, q, &room));
		CHECK_DPI(DPI_Commit_Append(300, q));
		CHECK_DPI(DPI_Reserve_Append(1000, q, &room));
		CHECK_DPI(DPI_Discard_Append(q));
		CHECK_DPI(DPI_Append_Nb(data, 40, q, &x));
		CHECK_DPI(DPI_Wait(&x, 0));
		CHECK_ERROR(DPI_Append(data, 1001, q), DPI_ERR_SIZE, ": ");
		CHECK_DPI(DPI_Append(data, 100, l));
		CHECK_DPI(DPI_Append_Position(data, 200, l, &position));
		CHECK_DPI(DPI_Append_Position_Nb(data, 300, l, &position, &x));
		CHECK_DPI(DPI_Wait(&x, 0));
		CHECK_ERROR(DPI_Scatter(parts, 4), DPI_ERR_RANGE, ": ");
		for (int i = 0; i < 3; i++) CHECK_DPI(DPI_Flush_Buffer(q));
		DPI_Buffer_Stats s = stats_of(q);
		CHECK_INT(s.appends, ==, 100 + 1 + 2 + 1 + 1 + 1);
		CHECK_INT(s.append_bytes, ==, 4950 + 110 + 30 + 300 + 40 + 5);
		CHECK_INT(s.flushes, ==, 3);
		CHECK_INT(s.records, ==, 0);
		CHECK_INT(s.full_waits, ==, 0);
		CHECK_INT(s.reads + s.writes + s.atomics, ==, 0);
		s = stats_of(l);
		CHECK_INT(s.appends, ==, 4);
		CHECK_INT(s.append_bytes, ==, 606);
		/* reading */
		CHECK_DPI(DPI_Read_Record(position, data, sizeof data, l, &n, &next));
		CHECK_DPI(DPI_Read_Record_Nb(position, data, sizeof data, l, &n, &next, &x));
		CHECK_DPI(DPI_Wait(&x, 0));
		CHECK_ERROR(DPI_Read_Record(position, data, 10, l, &n, &next), DPI_ERR_SIZE, ": ");
		CHECK_ERROR(DPI_Read_Record(position + (1 << 20), data, 10, l, &n, &next), DPI_ERR_RANGE, ": ");
		DPI_Part in = {l, data, sizeof data, position, 0};
		CHECK_DPI(DPI_Gather(&in, 1));
		s = stats_of(l);
		CHECK_INT(s.records, ==, 3);
		CHECK_INT(s.record_bytes, ==, 900);
		for (size_t i = 0; i < 10; i++) CHECK_DPI(DPI_Write(data, i, 100 * i, r));
		for (size_t i = 0; i < 10; i++) CHECK_DPI(DPI_Read(data, 2 * i, 100 * i, r));
		CHECK_DPI(DPI_Write_Nb(data, 1000, 0, r, &x));
		CHECK_DPI(DPI_Wait(&x, 0));
		CHECK_DPI(DPI_Read_Nb(data, 1001, 0, r, &x));
		CHECK_DPI(DPI_Wait(&x, 0));
		CHECK_ERROR(DPI_Write(data, 5000, 0, r), DPI_ERR_RANGE, ": ");
		CHECK_ERROR(DPI_Read(data, 5000, 0, r), DPI_ERR_RANGE, ": ");
		for (int i = 0; i < 5; i++) CHECK_DPI(DPI_Fetch_Add(0, 1, r, NULL));
		CHECK_DPI(DPI_Compare_Swap(0, 99, 1, r, NULL));
		CHECK_DPI(DPI_Fetch_Add_Nb(0, 1, r, NULL, &x));
		CHECK_DPI(DPI_Wait(&x, 0));
		CHECK_ERROR(DPI_Fetch_Add(4096, 1, r, NULL), DPI_ERR_RANGE, ": ");
		s = stats_of(r);
		CHECK_INT(s.writes, ==, 12);
		CHECK_INT(s.write_bytes, ==, 45 + 1000 + 7);
		CHECK_INT(s.reads, ==, 11);
		CHECK_INT(s.read_bytes, ==, 90 + 1001);
		CHECK_INT(s.atomics, ==, 7);
		/* another handle begins at nothing */
		s = stats_of(open_buffer("q", ctx));
		CHECK_INT(s.appends + s.append_bytes + s.flushes, ==, 0);
	} else {
		DPI_Record records[16];
		size_t n, got = 0;
		for (int i = 0; i < 50; i++) CHECK_DPI(DPI_Next_Record(q, records)); /* 0 … 49 bytes */
		DPI_Buffer_Stats s = stats_of(q);
		CHECK_INT(s.records, ==, 50);
		CHECK_INT(s.record_bytes, ==, 49 * 50 / 2);
		for (; got < 56; got += n) CHECK_DPI(DPI_Next_Records(q, got < 40 ? 16 : 56 - got, records, &n));
		s = stats_of(q);
		CHECK_INT(s.records, ==, 106);
		CHECK_INT(s.record_bytes, ==, 4950 + 110 + 30 + 300 + 40 + 5);
		CHECK_EMPTY(q, DPI_NO_WAIT);
		CHECK_INT(stats_of(q).records, ==, 106);
	}
	leave(ctx);
}

static void *append_one(void *buf)
{
	static char data[FILLER];
	CHECK_DPI(DPI_Append(data, sizeof data, buf));
	return NULL;
}

TEST(waits_are_counted, "A-98 A-99", 2)
{
	static char data[FILLER];
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .capacity = 4096, .max_record = FILLER, .growth = DPI_GROWTH_NONE), l = MAKE("l", 1, ctx, DPI_USE_LOG);
	if (rank == 0) {
		fill_up(q);
		DPI_Buffer_Stats before = stats_of(q), after;
		/* a call begins to wait a little after it began */
		CHECK_DPI(DPI_Set_Timeout(60 * MS, q));
		for (int i = 0; i < 2; i++) CHECK_ERROR(DPI_Append(data, sizeof data, q), DPI_ERR_TIMEOUT, "q");
		after = stats_of(q);
		CHECK_INT(after.full_waits, ==, before.full_waits + 2);
		CHECK_INT(after.full_wait_us - before.full_wait_us, >=, 80 * MS);
		CHECK_INT(after.appends, ==, before.appends);
		/* one that waits and gets its room is counted, too */
		CHECK_DPI(DPI_Set_Timeout(0, q));
		pthread_t t = start_thread(append_one, q);
		await_asleep();
		harness_barrier();
		end_thread(t);
		CHECK_INT(stats_of(q).full_waits, ==, after.full_waits + 1);
		CHECK_INT(stats_of(q).full_wait_us, >=, after.full_wait_us + 5 * MS);
		CHECK_INT(stats_of(q).appends, ==, before.appends + 1);
		CHECK_DPI(DPI_Flush_Buffer(q));
		harness_barrier();
	}
	uint64_t end = info_of(l).end;
	CHECK_DPI(DPI_Set_Timeout(60 * MS, l));
	CHECK_ERROR(DPI_Read_Record(end, data, 1, l, NULL, NULL), DPI_ERR_TIMEOUT, "l");
	CHECK_INT(stats_of(l).empty_waits, ==, 1);
	CHECK_INT(stats_of(l).empty_wait_us, >=, 30 * MS);
	if (rank == 1) {
		DPI_Record r;
		harness_barrier();
		pause_ms(20);
		for (int i = 0; i < 4; i++) CHECK_DPI(DPI_Next_Record(q, &r));
		harness_barrier();
		CHECK_DPI(DPI_Set_Timeout(40 * MS, q));
		int error;
		while (!(error = DPI_Next_Record(q, &r))) {}
		CHECK_INT(error, ==, DPI_ERR_TIMEOUT);
		DPI_Buffer_Stats before = stats_of(q), after;
		CHECK_INT(before.empty_waits, >=, 1);
		CHECK_INT(before.empty_wait_us, >=, 20 * MS);
		CHECK_ERROR(DPI_Next_Record(q, &r), DPI_ERR_TIMEOUT, "q");
		after = stats_of(q);
		CHECK_INT(after.empty_waits, ==, before.empty_waits + 1);
		CHECK_INT(after.empty_wait_us, >=, before.empty_wait_us + 20 * MS);
	}
	leave(ctx);
}

static _Atomic bool stop_watching;

/* Watches a handle that another thread uses. */
static void *watch(void *buf)
{
	DPI_Buffer_Stats before = stats_of(buf), after;
	while (!stop_watching) {
		after = stats_of(buf);
		const uint64_t *a = &before.appends, *b = &after.appends;
		for (size_t i = 0; i < (sizeof before - offsetof(DPI_Buffer_Stats, appends)) / 8; i++) CHECK(b[i] >= a[i]);
		before = after;
	}
	return NULL;
}

TEST(counters_only_grow, "A-99 P-16", 2)
{
	static char data[100];
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .capacity = 4096, .max_record = 100);
	DPI_Record r;
	pthread_t t = start_thread(watch, q);
	harness_barrier();
	for (int i = 0; i < 3000; i++) {
		if (rank == 0) CHECK_DPI(DPI_Append(data, (size_t)i % 100, q));
		else CHECK_DPI(DPI_Next_Record(q, &r));
	}
	stop_watching = true;
	end_thread(t);
	CHECK_INT(stats_of(q).appends, ==, rank ? 0 : 3000);
	CHECK_INT(stats_of(q).records, ==, rank ? 3000 : 0);
	leave(ctx);
}

TEST(peer_counters, "A-100 A-99", 2)
{
	static char data[50000];
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = sizeof data);
	DPI_Peer_Stats before = {.size = sizeof before}, after = {.size = sizeof after};
	void *address;
	harness_barrier();
	if (rank == 0) {
		CHECK_DPI(DPI_Get_Peer_Stats(1, ctx, &before));
		bool direct = !DPI_Get_Address(r, &address);
		for (int i = 0; i < 5; i++) {
			CHECK_DPI(DPI_Write(data, 40000, 0, r));
			CHECK_DPI(DPI_Read(data, 50000, 0, r));
			CHECK_DPI(DPI_Fetch_Add(0, 1, r, NULL));
		}
		CHECK_DPI(DPI_Flush_Buffer(r));
		CHECK_DPI(DPI_Get_Peer_Stats(1, ctx, &after));
		const uint64_t *b = &before.puts, *a = &after.puts;
		for (size_t i = 0; i < (sizeof before - offsetof(DPI_Peer_Stats, puts)) / 8; i++) CHECK(a[i] >= b[i]);
		if (!direct) {
			CHECK_INT(after.put_bytes - before.put_bytes, >=, 5 * 40000);
			CHECK_INT(after.get_bytes - before.get_bytes, >=, 5 * 50000);
		}
	}
	leave(ctx);
}
