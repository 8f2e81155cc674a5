/* SPDX-License-Identifier: Apache-2.0
 * local_memory.c: memory of the caller: registered, allocated, and under a region. */
#include <sys/mman.h>

#include "memory_kit.h"

#define ROOM 20000u

/* Write from here and there, read to here and there, all with the same results. */
static void exchange(uint8_t *memory, size_t size, uint64_t key, DPI_Buffer r)
{
	uint8_t plain[ROOM];
	for (size_t at = 0; at < 9; at += 4) {
		size_t n = size - at < sizeof plain ? size - at : sizeof plain;
		fill(memory + at, n, key + at);
		CHECK_DPI(DPI_Write(memory + at, n, at, r));
		memset(memory + at, 0, n);
		CHECK_DPI(DPI_Read(plain, n, at, r));
		CHECK(filled(plain, n, key + at));
		fill(plain, n, key + at + 1);
		CHECK_DPI(DPI_Write(plain, n, at, r));
		CHECK_DPI(DPI_Flush_Buffer(r));
		CHECK_DPI(DPI_Read(memory + at, n, at, r));
		CHECK(filled(memory + at, n, key + at + 1));
	}
}

TEST(registered_memory, "A-90 A-91", 3)
{
	static uint8_t data_segment[ROOM];
	uint8_t on_stack[5000], *heap = malloc(ROOM + 3), *mapped, name[16];
	long page = sysconf(_SC_PAGESIZE);
	DPI_Memory memory[6];
	DPI_Context ctx = join();
	snprintf((char *)name, sizeof name, "r%d", rank);
	DPI_Buffer r = CREATE((char *)name, 1, ctx, DPI_USE_REGION, .capacity = ROOM + 9, .timeout_us = 10 * SECOND);
	mapped = mmap(NULL, 3 * (size_t)page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mapped != MAP_FAILED);
	struct {
		uint8_t *at;
		size_t size;
	} place[] = {{data_segment, sizeof data_segment}, {on_stack + 1, 4000}, {heap + 3, ROOM}, {mapped + page - 1, (size_t)page + 2},
		     {heap + 3, 100} /* again, inside */, {mapped + 5, 50}};
	for (int i = 0; i < 6; i++) {
		fill(place[i].at, place[i].size, (uint64_t)i);
		CHECK_DPI(DPI_Register_Memory(place[i].at, place[i].size, ctx, &memory[i]));
		CHECK(filled(place[i].at, place[i].size, (uint64_t)i));
		exchange(place[i].at, place[i].size, (uint64_t)(100 * rank + 10 * i), r);
	}
	for (int i = 0; i < 6; i++) {
		fill(place[i].at, place[i].size, (uint64_t)i);
		CHECK_DPI(DPI_Deregister_Memory(memory[i]));
		CHECK(filled(place[i].at, place[i].size, (uint64_t)i));
		exchange(place[i].at, place[i].size, (uint64_t)(100 * rank + 10 * i), r);
		CHECK_ERROR(DPI_Deregister_Memory(memory[i]), DPI_ERR_HANDLE, ": ");
	}
	CHECK(!munmap(mapped, 3 * (size_t)page));
	CHECK_DPI(DPI_Register_Memory(heap, ROOM, ctx, &memory[0])); /* and once more; ended by the end */
	leave(ctx);
	fill(heap, ROOM, 5);
	CHECK(filled(heap, ROOM, 5));
	free(heap);
}

TEST(allocated_memory, "A-92 A-90", 3)
{
	void *address[4];
	DPI_Memory memory[4];
	size_t sizes[] = {1, 4096, 5000, 300001};
	char name[16];
	DPI_Context ctx = join();
	snprintf(name, sizeof name, "r%d", rank);
	DPI_Buffer r = CREATE(name, 1, ctx, DPI_USE_REGION, .capacity = ROOM + 9, .timeout_us = 10 * SECOND);
	for (int pass = 0; pass < 3; pass++) { /* memory that was used before is zero again */
		for (int i = 0; i < 4; i++) {
			CHECK_DPI(DPI_Allocate_Memory(sizes[i], i % 2 ? DPI_HUGE_TRY : DPI_HUGE_NEVER, DPI_NUMA_ANY, ctx, &address[i], &memory[i]));
			CHECK_INT((uintptr_t)address[i] % (uintptr_t)sysconf(_SC_PAGESIZE), ==, 0);
			CHECK(all_bytes(address[i], sizes[i], 0));
			if (sizes[i] > 9) exchange(address[i], sizes[i], (uint64_t)(10 * i), r);
			memset(address[i], 0xff, sizes[i]);
		}
		for (int i = 0; i < 4; i++) {
			CHECK(all_bytes(address[i], sizes[i], 0xff));
			CHECK_DPI(DPI_Free_Memory(memory[i]));
			CHECK_ERROR(DPI_Free_Memory(memory[i]), DPI_ERR_HANDLE, ": ");
		}
	}
	leave(ctx);
}

/* Regions over memory of rank 1, those from 'from' to 'to' - 1 of: its own, registered, allocated, and within an allocation. */
static void lay_regions(int rank, int ranks, uint64_t from, uint64_t to)
{
	SKIP_UNDER_TSAN("other processes order what is compared here");
	static const char *names[] = {"plain", "registered", "allocated", "inside"};
	const uint64_t size = 20008;
	uint8_t *own[4] = {0}, *back = malloc(size);
	static uint8_t data[2][20048] __attribute__((aligned(16)));
	uint64_t previous;
	void *address;
	DPI_Memory registered = NULL, allocated = NULL;
	DPI_Buffer r[4];
	DPI_Context ctx = join();
	if (rank == 1) {
		void *whole;
		CHECK_DPI(DPI_Register_Memory(data[1] + 8, size, ctx, &registered));
		CHECK_DPI(DPI_Allocate_Memory(2 * 20480 + 96, DPI_HUGE_NEVER, DPI_NUMA_ANY, ctx, &whole, &allocated));
		own[0] = data[0] + 8, own[1] = data[1] + 8, own[2] = whole, own[3] = (uint8_t *)whole + 20480 + 24;
		for (uint64_t i = from; i < to; i++) {
			fill(own[i], size, i);
			r[i] = CREATE(names[i], rank % 2 ? DPI_NODE_SELF : 1, ctx, DPI_USE_REGION, .capacity = size, .memory = own[i],
				      .timeout_us = 10 * SECOND);
			CHECK(filled(own[i], size, i));
			CHECK_DPI(DPI_Get_Address(r[i], &address));
			CHECK(address == own[i]);
		}
	} else {
		for (uint64_t i = from; i < to; i++) r[i] = open_with(names[i], 10 * SECOND, 0, ctx);
	}
	for (uint64_t i = from; i < to; i++) {
		CHECK_DPI(DPI_Read(back, size, 0, r[i]));
		CHECK(filled(back, size, i));
		harness_barrier();
		if (rank == 1) fill(own[i] + 5000, 5000, i + 10); /* a store of the home */
		harness_barrier();
		CHECK_DPI(DPI_Read(back, 5000, 5000, r[i]));
		CHECK(filled(back, 5000, i + 10));
		for (int by = 0; by < ranks; by++) {
			harness_barrier();
			if (by == rank) {
				fill(back, 4001, i + 20 + (uint64_t)by);
				CHECK_DPI(DPI_Write(back, 4001, 11001, r[i]));
				CHECK_DPI(DPI_Flush_Buffer(r[i]));
				CHECK_DPI(DPI_Fetch_Add(20000, 7, r[i], &previous));
			}
			harness_barrier();
			if (rank == 1) CHECK(filled(own[i] + 11001, 4001, i + 20 + (uint64_t)by));
			CHECK_DPI(DPI_Read(back, 4001, 11001, r[i]));
			CHECK(filled(back, 4001, i + 20 + (uint64_t)by));
			CHECK_ERROR(DPI_Write(back, 9, size - 8, r[i]), DPI_ERR_RANGE, names[i]);
		}
		harness_barrier();
		if (rank == 1) {
			fill(back, size, i);
			CHECK(!memcmp(own[i], back, 5000) && !memcmp(own[i] + 10000, back + 10000, 1001) && !memcmp(own[i] + 15002, back + 15002, 4998));
			uint64_t word, was;
			memcpy(&word, own[i] + 20000, 8), memcpy(&was, back + 20000, 8);
			CHECK(word == was + 21);
		}
		if (rank != 1) CHECK_DPI(DPI_Close_Buffer(r[i]));
	}
	harness_barrier();
	if (rank == 1) {
		CHECK(all_bytes(data[0], 8, 0) && all_bytes(data[0] + 8 + size, 32, 0) && all_bytes(data[1], 8, 0) && all_bytes(data[1] + 8 + size, 32, 0));
		bool over_registered = from <= 1 && to > 1, over_allocated = to > 2;
		if (over_registered) CHECK_ERROR(DPI_Deregister_Memory(registered), DPI_ERR_STATE, "region");
		if (over_allocated) CHECK_ERROR(DPI_Free_Memory(allocated), DPI_ERR_STATE, "region");
		for (uint64_t i = from; i < to; i++) {
			CHECK_DPI(DPI_Read(back, size, 0, r[i])); /* it is left */
			CHECK(!memcmp(back, own[i], size));
			CHECK_DPI(DPI_Close_Buffer(r[i]));
			if (i == 1) CHECK_ERROR(DPI_Deregister_Memory(registered), DPI_ERR_STATE, "region");
			CHECK_DPI(DPI_Destroy_Buffer(names[i], ctx));
			if (i == 2) CHECK_ERROR(DPI_Free_Memory(allocated), DPI_ERR_STATE, "region"); /* the last lies over it too */
			CHECK(!memcmp(back, own[i], size));
		}
		CHECK_DPI(DPI_Deregister_Memory(registered));
		CHECK_DPI(DPI_Free_Memory(allocated));
	}
	leave(ctx);
	free(back);
}

TEST(region_over_own_memory, "A-14 M-22 M-30 M-31 M-32", 3) { lay_regions(rank, ranks, 0, 1); }
TEST(region_over_registered_memory, "A-14 A-93 A-94 M-30 M-31", 3) { lay_regions(rank, ranks, 1, 2); }
TEST(region_over_allocated_memory, "A-14 A-93 A-94 M-30 M-31", 3) { lay_regions(rank, ranks, 2, 4); }

TEST(memory_that_cannot_be, "A-15", 2)
{
	uint64_t words[9] = {0};
	DPI_Buffer buf;
	DPI_Context ctx = join();
	CHECK_ERROR(DPI_Create_Buffer("q", DPI_NODE_SELF, ATTR(DPI_USE_QUEUE, .memory = words), ctx, &buf), DPI_ERR_ARGUMENT, "memory");
	CHECK_ERROR(DPI_Create_Buffer("l", DPI_NODE_SELF, ATTR(DPI_USE_LOG, .memory = words), ctx, &buf), DPI_ERR_ARGUMENT, "memory");
	CHECK_ERROR(DPI_Create_Buffer("r", 1 - rank, ATTR(DPI_USE_REGION, .capacity = 64, .memory = words), ctx, &buf), DPI_ERR_ARGUMENT, "memory");
	for (int i = 1; i < 8; i++)
		CHECK_ERROR(DPI_Create_Buffer("r", rank, ATTR(DPI_USE_REGION, .capacity = 32, .memory = (char *)words + i), ctx, &buf), DPI_ERR_ARGUMENT,
			    "memory");
	DPI_Open_Attr at_once = {.size = sizeof at_once, .wait_us = DPI_NO_WAIT};
	CHECK_ERROR(DPI_Open_Buffer("r", &at_once, ctx, &buf), DPI_ERR_NAME, "r");
	leave(ctx);
}

static long pages(void)
{
	long n = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	CHECK(f && fscanf(f, "%ld", &n) == 1);
	fclose(f);
	return n;
}

TEST(finalize_ends_memory, "A-96", 0)
{
	static uint8_t own[100000];
	long before = 0, size = 64 << 20;
	int files = 0;
	for (int i = 0; i < 6; i++) {
		void *address;
		DPI_Memory memory, registered;
		DPI_Context ctx = join();
		CHECK_DPI(DPI_Allocate_Memory((size_t)size, DPI_HUGE_NEVER, DPI_NUMA_ANY, ctx, &address, &memory));
		memset(address, 1, 8192);
		CHECK_DPI(DPI_Register_Memory(own, sizeof own, ctx, &registered));
		CHECK_DPI(DPI_Finalize(ctx));
		CHECK(DPI_Free_Memory(memory) != DPI_SUCCESS && DPI_Deregister_Memory(registered) != DPI_SUCCESS);
		memset(own, i, sizeof own);
		if (i == 0) before = pages(), files = entries("/proc/self/fd");
	}
	CHECK_INT((pages() - before) * sysconf(_SC_PAGESIZE), <, 2 * size);
	CHECK_INT(entries("/proc/self/fd"), <=, files);
}
