/* SPDX-License-Identifier: Apache-2.0
 * region.c: regions: reads, writes, atomics, addresses, and when bytes are visible. */
#include <signal.h>

#include "memory_kit.h"

#define ROOM 40009u

/* Each node in turn writes at random and keeps a model; then the others must see just that. */
TEST(region_bytes, "A-75 A-77 M-1 M-3 M-22 M-23 M-30 M-31", 3)
{
	uint8_t *model = harness_shared(), *from = malloc(ROOM + 64), *to = malloc(ROOM + 64);
	uint64_t seed = draw_seed(rank);
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = ROOM, .timeout_us = 10 * SECOND);
	memset(to, 0xa5, ROOM + 64);
	CHECK_DPI(DPI_Read(to, ROOM, 0, r));
	CHECK(all_bytes(to, ROOM, 0) && all_bytes(to + ROOM, 64, 0xa5));
	harness_barrier();
	for (int by = 0; by < ranks; by++) {
		for (int i = 0; by == rank && i < 120; i++) {
			uint64_t kind = draw(&seed, 8), offset = draw(&seed, ROOM + 1), at = draw(&seed, 17);
			uint64_t size = draw(&seed, kind < 6 ? 40 : ROOM);
			if (i == 60) offset = 0, size = ROOM;
			if (size > ROOM - offset) size = ROOM - offset;
			if (i % 20 == 0) offset = draw(&seed, ROOM + 1), size = 0;
			if (i % 2 == 0) {
				fill(from + at, size, draw(&seed, UINT64_MAX));
				memcpy(model + offset, from + at, size);
				CHECK_DPI(DPI_Write(size ? from + at : NULL, size, offset, r));
				memset(from + at, 0xee, size);
			} else {
				uint64_t near = offset > 30 ? offset - 30 : 0; /* over the end of what was just written too */
				size = size + 30 > ROOM - near ? ROOM - near : size + 30;
				memset(to, 0xa5, ROOM + 64);
				CHECK_DPI(DPI_Read(to + at, size, near, r));
				CHECK(!memcmp(to + at, model + near, size));
				CHECK(all_bytes(to, at, 0xa5) && all_bytes(to + at + size, ROOM + 64 - at - size, 0xa5));
			}
		}
		if (by == rank) CHECK_DPI(DPI_Flush_Buffer(r));
		harness_barrier();
		CHECK_DPI(DPI_Read(to, ROOM, 0, r));
		CHECK(!memcmp(to, model, ROOM));
		DPI_Buffer other = open_buffer("r", ctx);
		CHECK_DPI(DPI_Read(to + 1, ROOM - 7, 7, other));
		CHECK(!memcmp(to + 1, model + 7, ROOM - 7));
		CHECK_DPI(DPI_Close_Buffer(other));
		void *address;
		if (rank == 1) {
			CHECK_DPI(DPI_Get_Address(r, &address));
			CHECK(!memcmp(address, model, ROOM));
		}
		harness_barrier();
	}
	leave(ctx);
	free(from), free(to);
}

#define LARGE 3000001u

TEST(region_large, "A-75 M-22 M-31", 3)
{
	uint8_t *data = malloc(LARGE + 64), *back = calloc(1, LARGE + 64);
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = LARGE + 100, .timeout_us = 10 * SECOND);
	for (int by = 0; by < ranks; by++) {
		fill(data + 3, LARGE, (uint64_t)by);
		if (by == rank) {
			CHECK_DPI(DPI_Write(data + 3, LARGE, 13, r));
			CHECK_DPI(DPI_Flush_Buffer(r));
		}
		harness_barrier();
		CHECK_DPI(DPI_Read(back + 5, LARGE, 13, r));
		CHECK(!memcmp(back + 5, data + 3, LARGE));
		CHECK_DPI(DPI_Read(back, 13, 0, r));
		CHECK_DPI(DPI_Read(back + 13, 87, 13 + LARGE, r));
		CHECK(all_bytes(back, 100, 0));
		harness_barrier();
	}
	leave(ctx);
	free(data), free(back);
}

TEST(region_outside, "A-76 A-77 A-81 M-31 A-10", 3)
{
	const uint64_t size = 4004;
	uint8_t data[5000], back[5000];
	uint64_t previous;
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = size), other;
	const struct {
		uint64_t offset, size;
	} bad[] = {{0, size + 1}, {1, size}, {size, 1}, {size - 7, 8}, {size + 1, 0}, {size + 1, 1}, {UINT64_MAX, 0}, {UINT64_MAX, 1}, {UINT64_MAX, 2},
		   {UINT64_MAX - 7, 8}, {UINT64_MAX - 3, 4004}, {UINT64_MAX - 100, 101}, {UINT64_MAX - 100, 150}, {UINT64_C(1) << 63, 8}, {1, SIZE_MAX},
		   {8, SIZE_MAX - 7}, {4000, SIZE_MAX - 3999}, {UINT64_C(1) << 32, 8}};
	memset(data, 0x77, sizeof data);
	memset(back, 0xa5, sizeof back);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		CHECK_ERROR(DPI_Write(data, bad[i].size, bad[i].offset, r), DPI_ERR_RANGE, "r");
		CHECK_ERROR(DPI_Read(back, bad[i].size, bad[i].offset, r), DPI_ERR_RANGE, "r");
	}
	const uint64_t odd[] = {1, 2, 4, 7, 9, 4001, size, UINT64_MAX}, outside[] = {4000, 4008, UINT64_MAX - 7, UINT64_C(1) << 63};
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
		CHECK_ERROR(DPI_Fetch_Add(odd[i], 1, r, &previous), DPI_ERR_ARGUMENT, "8");
		CHECK_ERROR(DPI_Compare_Swap(odd[i], 0, 1, r, &previous), DPI_ERR_ARGUMENT, "8");
	}
	for (size_t i = 0; i < 4; i++) {
		CHECK_ERROR(DPI_Fetch_Add(outside[i], 1, r, &previous), DPI_ERR_RANGE, "r");
		CHECK_ERROR(DPI_Compare_Swap(outside[i], 0, 1, r, &previous), DPI_ERR_RANGE, "r");
	}
	const uint64_t good[] = {0, 1, 8, size - 1, size};
	for (size_t i = 0; i < 5; i++) {
		CHECK_DPI(DPI_Write(data, 0, good[i], r));
		CHECK_DPI(DPI_Read(back, 0, good[i], r));
	}
	CHECK(all_bytes(back, sizeof back, 0xa5));
	CHECK_DPI(DPI_Flush_Buffer(r));
	harness_barrier();
	CHECK_DPI(DPI_Read(back, size, 0, r));
	CHECK(all_bytes(back, size, 0));
	CHECK_ERROR(DPI_Create_Buffer("none", 1, ATTR(DPI_USE_REGION), ctx, &other), DPI_ERR_ARGUMENT, "capacity");
	leave(ctx);
}

/* ---------------------------------------------------------------------------------------------------------- atomics */

TEST(atomics_compute, "A-78 A-79 A-80 M-26 M-31", 3)
{
	uint64_t word, previous, operand[] = {1, UINT64_MAX, UINT64_C(1) << 63, UINT64_C(1) << 63, 0, 0x123456789abcdef0u}, sum;
	uint64_t all[8];
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 64, .timeout_us = 10 * SECOND);
	for (int by = 0; by < ranks; by++) {
		uint64_t at = 8 + 16 * (uint64_t)by;
		sum = 0;
		for (int i = 0; i < 6; i++) {
			if (by == rank) {
				previous = 99;
				CHECK_DPI(DPI_Fetch_Add(at, operand[i], r, i % 3 == 1 ? NULL : &previous));
				CHECK_INT(previous, ==, i % 3 == 1 ? 99 : sum);
			}
			sum += operand[i];
			harness_barrier(); /* no flush */
			CHECK_DPI(DPI_Read(&word, 8, at, r));
			CHECK_INT(word, ==, sum);
			harness_barrier();
		}
		for (uint64_t i = 0; i < 3; i++) {
			if (by == rank) {
				CHECK_DPI(DPI_Compare_Swap(at, sum + 1, 5, r, &previous)); /* is another */
				CHECK_INT(previous, ==, sum);
				CHECK_DPI(DPI_Compare_Swap(at, sum ^ UINT64_C(1) << 63, 5, r, NULL));
				CHECK_DPI(DPI_Compare_Swap(at, sum, ~i, r, i % 2 ? NULL : &previous));
				CHECK_INT(previous, ==, sum);
			}
			sum = ~i;
			harness_barrier();
			CHECK_DPI(DPI_Read(&word, 8, at, r));
			CHECK_INT(word, ==, sum);
			harness_barrier();
		}
	}
	CHECK_DPI(DPI_Read(all, sizeof all, 0, r));
	for (int i = 0; i < 8; i += 2) CHECK_INT(all[i], ==, 0);
	CHECK(all[7] == 0);
	leave(ctx);
}

#define ADDS 80u
#define ROUNDS 25u

/* All add to one word and must get different values; locks made of compare-and-swap count without loss; and of two who
 * each set their own word and then look at the other's, one sees it. */
TEST(atomics_in_one_order, "M-25 M-26 M-27", 3)
{
	_Atomic uint8_t *seen = harness_shared();
	_Atomic uint64_t *result = (_Atomic uint64_t *)(seen + 4096), *turn = result + 256;
	uint64_t previous, before = 0, word;
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 4096, .timeout_us = 10 * SECOND), other = open_with("r", 10 * SECOND, 0, ctx);
	harness_barrier();
	for (uint64_t i = 0; i < ADDS; i++) {
		CHECK_DPI(DPI_Fetch_Add(8, 1, i % 2 ? r : other, &previous));
		CHECK_INT(previous, <, 3 * ADDS);
		CHECK(!i || previous > before);
		CHECK(!seen[previous]++);
		before = previous;
	}
	harness_barrier();
	CHECK_DPI(DPI_Read(&word, 8, 8, r));
	CHECK_INT(word, ==, 3 * ADDS);
	for (uint64_t i = 0; i < ROUNDS; i++) { /* a count under a lock; its flush makes the count visible before the unlock */
		do CHECK_DPI(DPI_Compare_Swap(16, 0, (uint64_t)rank + 1, r, &previous));
		while (previous);
		CHECK_DPI(DPI_Read(&word, 8, 24, r));
		word++;
		CHECK_DPI(DPI_Write(&word, 8, 24, r));
		CHECK_DPI(DPI_Flush_Buffer(r));
		CHECK_DPI(DPI_Compare_Swap(16, (uint64_t)rank + 1, 0, r, &previous));
		CHECK_INT(previous, ==, rank + 1);
	}
	harness_barrier();
	CHECK_DPI(DPI_Read(&word, 8, 24, r));
	CHECK_INT(word, ==, 3 * ROUNDS);
	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint64_t mine = 64 + 16 * i + (rank == 2 ? 8 : 0), theirs = 64 + 16 * i + (rank == 2 ? 0 : 8);
		if (rank != 1) {
			harness_pause();
			++*turn;
			AWAIT(*turn >= 2 * (i + 1));
			CHECK_DPI(DPI_Fetch_Add(mine, 1, r, NULL));
			CHECK_DPI(DPI_Fetch_Add(theirs, 0, r, &previous));
			result[2 * i + (rank == 2)] = previous;
		}
	}
	harness_barrier();
	for (uint64_t i = 0; i < ROUNDS; i++) CHECK(result[2 * i] || result[2 * i + 1]);
	/* one that begins after another has returned follows it */
	for (uint64_t i = 0; i < 30; i++)
		if (i % 3 == (uint64_t)rank) {
			AWAIT(result[200] == i);
			CHECK_DPI(DPI_Fetch_Add(32, 1, r, &previous));
			CHECK_INT(previous, ==, i);
			++result[200];
		}
	leave(ctx);
}

/* ------------------------------------------------------------------------------------------------- words and bytes */

#define WORDS 6000u /* odd sizes and places are added */

static uint64_t pattern(uint64_t n) { return (n % 250 + 1) * 0x0101010101010101u; }

static void check_words(const uint64_t *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (words[i] != pattern(words[i] % 256 - 1) && words[i])
			FAIL("word %zu of %zu is torn: %016" PRIx64, i, count, words[i]);
}

TEST(words_are_whole, "M-28", 3)
{
	_Atomic uint64_t *ended = harness_shared();
	uint64_t *words = calloc(WORDS + 1, 8), seed = draw_seed(rank), turn = 0;
	uint8_t *place = (uint8_t *)words;
	void *address = NULL;
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = WORDS * 8, .timeout_us = 10 * SECOND);
	if (DPI_Get_Address(r, &address)) CHECK(rank != 1);
	harness_barrier();
	while (*ended < 2) { /* ranks 0 and 2 write, also over each other; all read, and load where they can */
		bool writes = rank != 1 && turn < 150;
		if (rank != 1 && turn++ == 150) ++*ended;
		uint64_t first = draw(&seed, 3) ? draw(&seed, WORDS - 1) : 0, count = draw(&seed, 2) ? WORDS - first : 1 + draw(&seed, 20), at = draw(&seed, 8);
		if (count > WORDS - first) count = WORDS - first;
		if (writes) {
			memset(place + at, (int)(pattern(turn * 2 + (rank == 2)) & 255), 8 * count);
			CHECK_DPI(DPI_Write(place + at, 8 * count, 8 * first, r));
			if (turn % 4 == 0) CHECK_DPI(DPI_Flush_Buffer(r));
		} else {
			CHECK_DPI(DPI_Read(place + at, 8 * count, 8 * first, r));
			memmove(words, place + at, 8 * count);
			check_words(words, count);
		}
		for (size_t i = 0; address && i < WORDS; i++) {
			uint64_t word = __atomic_load_n((uint64_t *)address + i, __ATOMIC_RELAXED);
			check_words(&word, 1);
		}
	}
	leave(ctx);
	free(words);
}

/* 'address' elsewhere, if there is one, and loads and stores through it. */
TEST(region_address, "A-82 A-83 M-22 M-32", 3)
{
	_Atomic uint64_t *step = harness_shared();
	uint64_t word, loaded;
	void *address[3] = {0}, *again;
	int error[3];
	DPI_Context ctx = join();
	DPI_Buffer r[2] = {MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 4096, .timeout_us = 10 * SECOND), open_with("r", 10 * SECOND, 0, ctx)};
	for (int i = 0; i < 2; i++) {
		error[i] = DPI_Get_Address(r[i], &address[i]);
		if (rank == 1) CHECK_INT(error[i], ==, DPI_SUCCESS);
		else if (error[i]) CHECK_ERROR(error[i], DPI_ERR_UNSUPPORTED, "DPI_Read");
	}
	for (uint64_t by = 0; by < 3; by++)
		for (uint64_t i = 1; i <= 10; i++) {
			uint64_t value = (by << 8 | i) * 0x0001000100010001u, offset = 8 * (64 + 10 * by + i);
			if (by == (uint64_t)rank) { /* by a store where there is an address, else by a write */
				if (!error[0]) {
					__atomic_store_n((uint64_t *)((uint8_t *)address[i % 2] + offset), value, __ATOMIC_RELAXED);
				} else {
					CHECK_DPI(DPI_Write(&value, 8, offset, r[0]));
					CHECK_DPI(DPI_Flush_Buffer(r[0]));
				}
			}
			harness_barrier();
			CHECK_DPI(DPI_Read(&word, 8, offset, r[i % 2]));
			CHECK_INT(word, ==, value);
			if (!error[0]) {
				loaded = __atomic_load_n((uint64_t *)((uint8_t *)address[0] + offset), __ATOMIC_RELAXED);
				CHECK_INT(loaded, ==, value);
			}
		}
	harness_barrier();
	/* stores of the home while others read */
	if (rank == 1) {
		for (uint64_t i = 0; *step < 2; i++) __atomic_store_n((uint64_t *)address[0] + i % 8, pattern(i), __ATOMIC_RELAXED);
	} else {
		for (int i = 0; i < 60; i++) {
			uint64_t words[8];
			CHECK_DPI(DPI_Read(words, sizeof words, 0, r[1]));
			check_words(words, 8);
		}
		++*step;
	}
	for (int i = 0; i < 2; i++) {
		CHECK_INT(DPI_Get_Address(r[i], &again), ==, error[i]);
		CHECK(error[i] || again == address[i]);
	}
	leave(ctx);
}

/* Two writers of the same words, and a flush: each word is of one of them. Overlapping writes of one: the later's. */
TEST(writes_over_each_other, "M-22 M-28", 3)
{
	uint64_t words[64], back[64];
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 512, .timeout_us = 10 * SECOND);
	for (uint64_t round = 0; round < 15; round++) {
		uint64_t mine = 3 * round + (uint64_t)rank;
		for (uint64_t i = 0; i < 4; i++) {
			memset(words, (int)(pattern(100 + i) & 255), sizeof words);
			if (i == 3) memset(words, (int)(pattern(mine) & 255), sizeof words);
			harness_barrier();
			CHECK_DPI(DPI_Write(words, i == 3 ? 512 : 500 - 8 * i, i == 3 ? 0 : 8 * i, r));
		}
		CHECK_DPI(DPI_Flush_Buffer(r));
		harness_barrier();
		CHECK_DPI(DPI_Read(back, sizeof back, 0, r));
		for (int i = 0; i < 64; i++) CHECK(back[i] == pattern(3 * round) || back[i] == pattern(3 * round + 1) || back[i] == pattern(3 * round + 2));
		harness_barrier();
		if (rank == 0) { /* alone: 40 writes, one over the other */
			uint8_t model[512], data[512];
			uint64_t seed = draw_seed((int)round);
			memcpy(model, back, 512);
			for (int i = 0; i < 40; i++) {
				uint64_t offset = draw(&seed, 512), size = draw(&seed, 513 - offset);
				memset(data, i + 1, size);
				memset(model + offset, i + 1, size);
				CHECK_DPI(DPI_Write(data, size, offset, r));
			}
			CHECK_DPI(DPI_Flush_Buffer(r));
			memcpy(harness_shared(), model, 512);
		}
		harness_barrier();
		CHECK_DPI(DPI_Read(back, sizeof back, 0, r));
		CHECK(!memcmp(back, harness_shared(), 512));
		harness_barrier();
	}
	leave(ctx);
}

#define STOPPED (16u << 20)

/* The home is stopped, so that a write may run into its deadline; then each word is old or new. */
TEST(failed_write_leaves_words, "M-33", 3)
{
	_Atomic int *go = harness_shared();
	uint64_t *words = malloc(STOPPED);
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = STOPPED, .timeout_us = 20 * SECOND);
	harness_barrier();
	if (rank == 0) {
		memset(words, 0x11, STOPPED);
		CHECK_DPI(DPI_Write(words, STOPPED, 0, r));
		CHECK_DPI(DPI_Flush_Buffer(r));
		CHECK_DPI(DPI_Set_Timeout(30 * MS, r));
		memset(words, 0x22, STOPPED);
		harness_kill(1, SIGSTOP);
		int e = DPI_Write(words + 1, STOPPED - 8, 8, r);
		harness_kill(1, SIGCONT);
		if (e) CHECK_INT(e, ==, DPI_ERR_TIMEOUT);
		DPI_Buffer other = open_with("r", 20 * SECOND, 0, ctx);
		for (int i = 0; i < 3; i++) {
			CHECK_DPI(DPI_Read(words, STOPPED, 0, other));
			CHECK(words[0] == 0x1111111111111111u);
			for (size_t k = 1; k < STOPPED / 8; k++) CHECK(words[k] == 0x1111111111111111u || words[k] == 0x2222222222222222u);
		}
		*go = 1;
	}
	AWAIT(*go);
	leave(ctx);
	free(words);
}
