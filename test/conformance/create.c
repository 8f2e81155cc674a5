/* SPDX-License-Identifier: Apache-2.0
 * create.c: making buffers: uses, attributes, names that are taken, homes that are not there. */
#include <signal.h>
#include <sys/resource.h>

#include "memory_kit.h"

static const DPI_Open_Attr at_once = {.size = sizeof at_once, .wait_us = DPI_NO_WAIT};

TEST(uses, "A-1 R-4", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), l = MAKE("l", 1, ctx, DPI_USE_LOG), r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 64);
	DPI_Buffer no_region[] = {q, l};
	char data[8] = "";
	uint64_t word;
	size_t n;
	void *at;
	DPI_Record record;
	DPI_Request x;
	for (int i = 0; i < 2; i++) {
		DPI_Buffer b = no_region[i];
		CHECK_ERROR(DPI_Read(data, 1, 0, b), DPI_ERR_USE, i ? "l" : "q");
		CHECK_ERROR(DPI_Write(data, 1, 0, b), DPI_ERR_USE, i ? "l" : "q");
		CHECK_ERROR(DPI_Fetch_Add(0, 1, b, &word), DPI_ERR_USE, i ? "l" : "q");
		CHECK_ERROR(DPI_Compare_Swap(0, 1, 2, b, &word), DPI_ERR_USE, i ? "l" : "q");
		CHECK_ERROR(DPI_Get_Address(b, &at), DPI_ERR_USE, i ? "l" : "q");
		CHECK_ERROR(DPI_Read_Nb(data, 1, 0, b, &x), DPI_ERR_USE, i ? "l" : "q");
	}
	DPI_Buffer no_log[] = {q, r};
	for (int i = 0; i < 2; i++) {
		CHECK_ERROR(DPI_Append_Position(data, 1, no_log[i], &word), DPI_ERR_USE, ": ");
		CHECK_ERROR(DPI_Read_Record(0, data, 8, no_log[i], &n, &word), DPI_ERR_USE, ": ");
		CHECK_ERROR(DPI_Truncate_Log(0, no_log[i]), DPI_ERR_USE, ": ");
	}
	DPI_Buffer no_queue[] = {l, r};
	for (int i = 0; i < 2; i++) {
		CHECK_ERROR(DPI_Next_Record(no_queue[i], &record), DPI_ERR_USE, ": ");
		CHECK_ERROR(DPI_Next_Records(no_queue[i], 1, &record, &n), DPI_ERR_USE, ": ");
		CHECK_ERROR(DPI_Next_Run(no_queue[i], 1, &(DPI_Run){0}), DPI_ERR_USE, ": ");
		CHECK_ERROR(DPI_Release_Records(0, no_queue[i]), DPI_ERR_USE, ": ");
	}
	CHECK_ERROR(DPI_Append(data, 1, r), DPI_ERR_USE, "r");
	CHECK_ERROR(DPI_Append_Vector(&(struct iovec){data, 1}, 1, r), DPI_ERR_USE, "r");
	CHECK_ERROR(DPI_Append_Batch(&(DPI_Record){data, 1}, 1, r, &n), DPI_ERR_USE, "r");
	CHECK_ERROR(DPI_Append_Nb(data, 1, r, &x), DPI_ERR_USE, "r");
	CHECK_ERROR(DPI_Reserve_Append(1, r, &at), DPI_ERR_USE, "r");
	CHECK_ERROR(DPI_Commit_Append(1, r), DPI_ERR_USE, "r");
	CHECK_ERROR(DPI_Discard_Append(r), DPI_ERR_USE, "r");
	DPI_Part part = {q, data, 8, 0, 0};
	CHECK_ERROR(DPI_Gather(&part, 1), DPI_ERR_USE, "q");
	CHECK_INT(part.error, ==, DPI_ERR_USE);
	/* what all have */
	DPI_Buffer all[] = {q, l, r};
	for (int i = 0; i < 3; i++) {
		CHECK_DPI(DPI_Flush_Buffer(all[i]));
		CHECK_INT(info_of(all[i]).use, ==, i + 1);
		CHECK_INT(stats_of(all[i]).appends, ==, 0);
		CHECK_DPI(DPI_Close_Buffer(all[i]));
	}
	leave(ctx);
}

TEST(attributes, "A-3 A-4 A-34", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer_Attr zero = DPI_BUFFER_ATTR_INIT;
	DPI_Buffer buf;
	if (rank == 0) {
		CHECK_DPI(DPI_Create_Buffer("null", 1, NULL, ctx, &buf));
		CHECK_DPI(DPI_Create_Buffer("zero", 1, &zero, ctx, &buf));
		CREATE("queue", 1, ctx, DPI_USE_QUEUE, .capacity = 10000, .max_capacity = 3 << 20, .max_record = 1234);
		CREATE("log", 1, ctx, DPI_USE_LOG, .capacity = 10000, .max_capacity = 3 << 20, .max_record = 1234);
		CREATE("region", 1, ctx, DPI_USE_REGION, .capacity = 12345);
	}
	harness_barrier();
	for (int i = 0; i < 2; i++) {
		DPI_Buffer_Info info = info_of(open_buffer(i ? "zero" : "null", ctx));
		CHECK_INT(info.use, ==, DPI_USE_QUEUE);
		CHECK_INT(info.capacity, ==, 256 << 10);
		CHECK_INT(info.max_capacity, ==, 256 << 20);
		CHECK_INT(info.max_record, ==, 64 << 10);
		CHECK_INT(info.memory, <=, info.max_capacity);
		info = info_of(open_buffer(i ? "queue" : "log", ctx));
		CHECK_INT(info.use, ==, i ? DPI_USE_QUEUE : DPI_USE_LOG);
		CHECK_INT(info.capacity, >=, 10000);
		CHECK_INT(info.max_capacity, ==, 3 << 20);
		CHECK_INT(info.max_record, ==, 1234);
	}
	DPI_Buffer_Info info = info_of(open_buffer("region", ctx));
	CHECK_INT(info.use, ==, DPI_USE_REGION);
	CHECK_INT(info.capacity, ==, 12345);
	CHECK_INT(info.memory, >=, 12345);
	CHECK_INT(info.home, ==, 1);
	leave(ctx);
}

TEST(taken_names, "A-5 A-6 A-7 E-29", 3)
{
	DPI_Context ctx = join();
	DPI_Buffer buf;
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	if (rank == 0) {
		buf = CREATE("queue", 1, ctx, DPI_USE_QUEUE, .max_record = 100);
		CHECK_DPI(DPI_Append("mine", 4, buf));
		CHECK_DPI(DPI_Flush_Buffer(buf));
		CREATE("region", 2, ctx, DPI_USE_REGION, .capacity = 1000);
		CREATE("log", 2, ctx, DPI_USE_LOG, .max_record = 100);
	}
	harness_barrier();
	for (int node = 0; node < 3; node++) {
		/* new: taken, whatever node has it and whatever is asked for */
		CHECK_ERROR(DPI_Create_Buffer("queue", node, NULL, ctx, &buf), DPI_ERR_EXISTS, "queue");
		CHECK_ERROR(DPI_Create_Buffer("region", node, NULL, ctx, &buf), DPI_ERR_EXISTS, "region");
		/* or open: where it is */
		attr = (DPI_Buffer_Attr){.size = sizeof attr, .create = DPI_CREATE_OR_OPEN, .max_record = 100};
		CHECK_DPI(DPI_Create_Buffer("queue", node, &attr, ctx, &buf));
		CHECK_INT(info_of(buf).home, ==, 1);
		attr.max_record = 50;
		CHECK_DPI(DPI_Create_Buffer("queue", node, &attr, ctx, &buf));
		CHECK_INT(info_of(buf).max_record, ==, 100);
		attr.max_record = 101;
		CHECK_ERROR(DPI_Create_Buffer("queue", node, &attr, ctx, &buf), DPI_ERR_SIZE, "queue");
		attr.use = DPI_USE_LOG;
		attr.max_record = 100;
		CHECK_ERROR(DPI_Create_Buffer("queue", node, &attr, ctx, &buf), DPI_ERR_USE, "queue");
		CHECK_ERROR(DPI_Create_Buffer("region", node, &attr, ctx, &buf), DPI_ERR_USE, "region");
		CHECK_DPI(DPI_Create_Buffer("log", node, &attr, ctx, &buf));
		attr.max_record = 4000;
		CHECK_ERROR(DPI_Create_Buffer("log", node, &attr, ctx, &buf), DPI_ERR_SIZE, "log");
		attr = (DPI_Buffer_Attr){.size = sizeof attr, .create = DPI_CREATE_OR_OPEN, .use = DPI_USE_REGION, .capacity = 1000};
		CHECK_DPI(DPI_Create_Buffer("region", node, &attr, ctx, &buf));
		attr.capacity = 1001;
		CHECK_ERROR(DPI_Create_Buffer("region", node, &attr, ctx, &buf), DPI_ERR_SIZE, "region");
		attr.capacity = 999;
		CHECK_DPI(DPI_Create_Buffer("region", node, &attr, ctx, &buf));
		CHECK_INT(info_of(buf).capacity, ==, 1000);
	}
	harness_barrier();
	/* unharmed */
	if (rank == 1) TAKE_NOW(open_buffer("queue", ctx), "mine", 4);
	leave(ctx);
}

/* All at once, many times: one buffer comes of it. */
TEST(created_by_all_at_once, "A-6 P-16", 4)
{
	DPI_Context ctx = join();
	for (int i = 0; i < 25; i++) {
		char name[16];
		snprintf(name, sizeof name, "r%d", i);
		harness_barrier();
		/* each names another node */
		DPI_Buffer r = MAKE(name, (rank + i) % ranks, ctx, DPI_USE_REGION, .capacity = 64);
		CHECK_DPI(DPI_Fetch_Add(0, 1, r, NULL));
		_Atomic int *home = harness_shared();
		home[rank] = info_of(r).home;
		harness_barrier();
		uint64_t word;
		CHECK_DPI(DPI_Read(&word, 8, 0, r));
		CHECK_INT(word, ==, ranks);
		for (int k = 0; k < ranks; k++) CHECK_INT(home[k], ==, home[0]);
		harness_barrier();
		CHECK_DPI(DPI_Close_Buffer(r));
	}
	leave(ctx);
}

/* Rank 2 is started later by the harness; a node 3 never comes. */
TEST(home_not_yet_there, "A-8 A-2 P-1 P-2 P-6", 2, .nodes = 4)
{
	_Atomic int *flushed = harness_shared();
	if (rank == 0) setenv("DPI_TIMEOUT", "2s", 1);
	DPI_Context ctx = join();
	DPI_Buffer q;
	if (rank == 2) {
		q = open_buffer("late", ctx);
		TAKE(q, "hello", 5);
		AWAIT(*flushed);
		CHECK_DPI(DPI_Finalize(ctx));
		return;
	}
	if (rank == 1) {
		/* waits for the node */
		CHECK_DPI(DPI_Create_Buffer("late", 2, NULL, ctx, &q));
		CHECK_INT(info_of(q).home, ==, 2);
		CHECK_DPI(DPI_Append("hello", 5, q));
		CHECK_DPI(DPI_Flush_Buffer(q));
		*flushed = 1;
	} else {
		pause_ms(50);
		harness_spawn_rank(2);
		int64_t start = now();
		CHECK_ERROR(DPI_Create_Buffer("never", 3, NULL, ctx, &q), DPI_ERR_TIMEOUT, "3");
		CHECK_NOT_BEFORE(start, 2 * SECOND);
		CHECK_WITHIN(start, 3 * SECOND);
		CHECK_ERROR(DPI_Open_Buffer("never", &at_once, ctx, &q), DPI_ERR_NAME, "never");
	}
	leave(ctx);
}

TEST(home_is_dead, "A-9 E-16 R-9", 3)
{
	if (rank == 2) harness_expect_death(2);
	DPI_Context ctx = join();
	DPI_Node_Info info = DPI_NODE_INFO_INIT;
	DPI_Buffer q;
	harness_barrier();
	if (rank == 2) harness_kill(2, SIGKILL);
	AWAIT(!harness_alive(2));
	UNTIL(SECOND, !info.alive, CHECK_DPI(DPI_Get_Node_Info(2, ctx, &info)));
	int64_t start = now();
	int error = DPI_Create_Buffer(rank ? "a" : "b", 2, NULL, ctx, &q);
	CHECK(error == DPI_ERR_NODE || error == DPI_ERR_PEER);
	CHECK_HAS(detail(), "2");
	CHECK_AT_ONCE(start);
	CREATE(rank ? "a" : "b", 1 - rank, ctx, DPI_USE_QUEUE);
	CHECK_DPI(DPI_Barrier("two", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* The home may have no more address space than now and a little; a region of a size that nobody has is asked for too. */
TEST(no_memory_at_home, "A-11 R-4", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer r, q = MAKE("q", 1, ctx, DPI_USE_QUEUE);
	static const uint64_t sizes[] = {(uint64_t)1 << 33, (uint64_t)1 << 60, ((uint64_t)1 << 62) + 4096, UINT64_MAX - 4096, UINT64_MAX};
	if (rank == 1) {
		unsigned long pages = 0;
		FILE *f = fopen("/proc/self/statm", "r");
		CHECK(f && fscanf(f, "%lu", &pages) == 1);
		fclose(f);
		struct rlimit limit = {pages * 4096 + ((rlim_t)256 << 20), RLIM_INFINITY};
		CHECK(!setrlimit(RLIMIT_AS, &limit));
	}
	harness_barrier();
	for (int i = 0; i < 5; i++) {
		DPI_Buffer_Attr attr = {.size = sizeof attr, .use = DPI_USE_REGION, .capacity = sizes[i]};
		if (rank == 0) {
			int error = DPI_Create_Buffer("huge", 1, &attr, ctx, &r);
			if (error != DPI_ERR_MEMORY && error != DPI_ERR_LIMIT) CHECK_ERROR(error, DPI_ERR_MEMORY, ": ");
			CHECK(*detail());
			CHECK_ERROR(DPI_Open_Buffer("huge", &at_once, ctx, &r), DPI_ERR_NAME, "huge");
			CREATE("huge", 1, ctx, DPI_USE_REGION, .capacity = 4096);
			CHECK_DPI(DPI_Destroy_Buffer("huge", ctx));
		}
	}
	/* the home goes on */
	if (rank == 0) CHECK_DPI(DPI_Append("on", 2, q));
	if (rank == 1) TAKE(q, "on", 2);
	leave(ctx);
}

/* More than there is: an error, and the process goes on. */
TEST(too_much, "A-95 R-4", 0)
{
	DPI_Context ctx = join();
	void *address;
	DPI_Memory m;
	static const size_t sizes[] = {(size_t)1 << 60, SIZE_MAX, SIZE_MAX - 4095};
	for (int i = 0; i < 3; i++) {
		int error = DPI_Allocate_Memory(sizes[i], DPI_HUGE_NEVER, DPI_NUMA_ANY, ctx, &address, &m);
		if (error != DPI_ERR_LIMIT) CHECK_ERROR(error, DPI_ERR_MEMORY, ": ");
	}
	CHECK_DPI(DPI_Allocate_Memory(4096, DPI_HUGE_NEVER, DPI_NUMA_ANY, ctx, &address, &m));
	CHECK_DPI(DPI_Free_Memory(m));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(page_kinds, "A-12 A-13", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer buf;
	DPI_Buffer_Attr attr = {.size = sizeof attr, .use = DPI_USE_REGION, .capacity = 3 << 20, .huge_pages = DPI_HUGE_TRY};
	if (rank == 0) {
		char byte = 0;
		/* the memory of queues and logs comes with their records; whether there is any is told now */
		for (int use = DPI_USE_QUEUE; use <= DPI_USE_LOG; use++) {
			DPI_Buffer_Attr records = {.size = sizeof records, .use = use, .huge_pages = DPI_HUGE_REQUIRE};
			int error = DPI_Create_Buffer("records", 1, &records, ctx, &buf);
			if (error) {
				CHECK(error == DPI_ERR_MEMORY || error == DPI_ERR_UNSUPPORTED);
				CHECK_HAS(detail(), "huge");
			} else {
				CHECK_DPI(DPI_Append("x", 1, buf));
				CHECK_DPI(DPI_Destroy_Buffer("records", ctx));
			}
			records.huge_pages = DPI_HUGE_NEVER;
			records.numa = DPI_NUMA_NODE(1000);
			CHECK_ERROR(DPI_Create_Buffer("records", 1, &records, ctx, &buf), DPI_ERR_UNSUPPORTED, "NUMA node 1000");
			CHECK_ERROR(DPI_Open_Buffer("records", &at_once, ctx, &buf), DPI_ERR_NAME, "records");
		}
		/* with or without huge pages on this machine */
		CHECK_DPI(DPI_Create_Buffer("try", 1, &attr, ctx, &buf));
		CHECK_DPI(DPI_Write("x", 1, (3 << 20) - 1, buf));
		CHECK_DPI(DPI_Read(&byte, 1, (3 << 20) - 1, buf));
		CHECK_INT(byte, ==, 'x');
		attr.huge_pages = DPI_HUGE_REQUIRE;
		int error = DPI_Create_Buffer("require", 1, &attr, ctx, &buf);
		if (error) {
			CHECK(error == DPI_ERR_MEMORY || error == DPI_ERR_UNSUPPORTED);
			CHECK_HAS(detail(), "huge");
			CHECK_ERROR(DPI_Open_Buffer("require", &at_once, ctx, &buf), DPI_ERR_NAME, "require");
		} else {
			CHECK_DPI(DPI_Write("x", 1, 0, buf));
		}
		/* nobody has that many memory nodes */
		static const int nodes[] = {1000, 1022, 100000, INT32_MAX - 1};
		attr.huge_pages = DPI_HUGE_NEVER;
		for (int i = 0; i < 4; i++) {
			attr.numa = DPI_NUMA_NODE(nodes[i]);
			error = DPI_Create_Buffer("far", 1, &attr, ctx, &buf);
			if (error != DPI_ERR_UNSUPPORTED) CHECK_ERROR(error, DPI_ERR_ARGUMENT, ": ");
			CHECK_ERROR(DPI_Open_Buffer("far", &at_once, ctx, &buf), DPI_ERR_NAME, "far");
		}
		attr.numa = DPI_NUMA_ANY;
		CHECK_DPI(DPI_Create_Buffer("near", 1, &attr, ctx, &buf));
	}
	leave(ctx);
}

TEST(a_thousand_buffers, "A-16 A-21", 2, .deadline_s = 180)
{
	DPI_Context ctx = join();
	char name[32];
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof name, "%d of %d", i, rank);
		DPI_Buffer b = i % 20 == 0 ? CREATE(name, i % 2, ctx, DPI_USE_REGION, .capacity = 4096) : CREATE(name, i % 2, ctx, DPI_USE_QUEUE);
		if (i % 20) CHECK_DPI(DPI_Close_Buffer(b));
		else CHECK_DPI(DPI_Write(&i, sizeof i, 0, b));
	}
	harness_barrier();
	/* all are there, and the first and last work */
	for (int i = 0; i < 500; i++) {
		int value;
		snprintf(name, sizeof name, "%d of %d", i, 1 - rank);
		DPI_Buffer b = open_buffer(name, ctx);
		if (i % 20 == 0) {
			CHECK_DPI(DPI_Read(&value, sizeof value, 0, b));
		} else if (i == 1 || i == 499) {
			CHECK_DPI(DPI_Append(&i, sizeof i, b));
			if (rank == 1) TAKE(b, &i, sizeof i);
		}
		CHECK_DPI(DPI_Close_Buffer(b));
	}
	leave(ctx);
}
