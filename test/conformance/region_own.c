/* SPDX-License-Identifier: Apache-2.0
 * region_own.c: regions over memory of rank 1 that nothing but the region's home may be able to reach. */
#include <signal.h>

#include "memory_kit.h"

#define ROOM 3000100u

static uint8_t own[ROOM + 64] __attribute__((aligned(64)));

/* The region 'own' over size bytes of the home's, 8 bytes of it left before and some behind. */
static DPI_Buffer over_own(int rank, uint64_t size, DPI_Context ctx)
{
	if (rank == 1) return CREATE("own", DPI_NODE_SELF, ctx, DPI_USE_REGION, .capacity = size, .memory = own + 8, .timeout_us = 10 * SECOND);
	return open_with("own", 10 * SECOND, 0, ctx);
}

TEST(own_large, "A-102 A-31 A-75 A-97 M-1 M-3 M-22 M-23 M-31", 3)
{
	SKIP_UNDER_TSAN("other processes order what is compared here");
	const uint64_t size = 3000001;
	uint8_t *data = malloc(size + 64), *back = malloc(size + 64);
	DPI_Context ctx = join();
	DPI_Buffer r = over_own(rank, ROOM, ctx);
	uint64_t moved = 0, times = 0;
	if (rank == 1) memset(own, 0, sizeof own);
	CHECK(rank == 1 ? !strcmp(info_of(r).transport, "local") : info_of(r).transport[0] && strcmp(info_of(r).transport, "local"));
	for (int by = 0; by < ranks; by++) {
		harness_barrier();
		if (by == rank) {
			fill(data + 3, size, (uint64_t)by);
			CHECK_DPI(DPI_Write(data + 3, size, 13, r));
			memset(data, 0, size + 64);
			CHECK_DPI(DPI_Read(back, size, 13, r));
			CHECK(filled(back, size, (uint64_t)by));
			CHECK_DPI(DPI_Flush_Buffer(r));
			moved += size, times++;
		}
		harness_barrier();
		if (rank == 1) {
			fill(data, size, (uint64_t)by);
			CHECK(!memcmp(own + 8 + 13, data, size) && all_bytes(own, 8 + 13, 0) && all_bytes(own + 8 + 13 + size, 86 + 56, 0));
		}
		memset(back, 0xa5, size + 64);
		for (uint64_t at = 0, n; at < size; at += n) { /* 64 KiB and what lies about it, in turn */
			n = 65536 - 9 + at % 17;
			if (n > size - at) n = size - at;
			CHECK_DPI(DPI_Read(back + 5 + at, n, 13 + at, r));
		}
		CHECK(filled(back + 5, size, (uint64_t)by) && all_bytes(back, 5, 0xa5) && all_bytes(back + 5 + size, 59, 0xa5));
	}
	CHECK_INT(stats_of(r).write_bytes, ==, moved);
	CHECK_INT(stats_of(r).writes, ==, times);
	CHECK_INT(stats_of(r).read_bytes, ==, 4 * size);
	leave(ctx);
	free(data), free(back);
}

#define ADDS 60u
#define ROUNDS 20u

/* All nodes, the home too, add to one word; locks made of compare-and-swap guard a count. */
TEST(own_atomics, "A-102 A-78 A-79 A-97 M-25 M-26 M-32", 3)
{
	SKIP_UNDER_TSAN("other processes order what is compared here");
	_Atomic uint8_t *seen = harness_shared();
	uint64_t previous, before = 0, word;
	DPI_Context ctx = join();
	DPI_Buffer r = over_own(rank, 4096, ctx);
	harness_barrier();
	for (uint64_t i = 0; i < ADDS; i++) {
		CHECK_DPI(DPI_Fetch_Add(8, 1, r, &previous));
		CHECK_INT(previous, <, 3 * ADDS);
		CHECK(!i || previous > before);
		CHECK(!seen[previous]++);
		before = previous;
	}
	for (uint64_t i = 0; i < ROUNDS; i++) {
		do CHECK_DPI(DPI_Compare_Swap(16, 0, (uint64_t)rank + 1, r, &previous));
		while (previous);
		CHECK_DPI(DPI_Read(&word, 8, 24, r));
		word++;
		CHECK_DPI(DPI_Write(&word, 8, 24, r));
		CHECK_DPI(DPI_Flush_Buffer(r));
		CHECK_DPI(DPI_Compare_Swap(16, (uint64_t)rank + 1, 0, r, &previous));
		CHECK_INT(previous, ==, rank + 1);
	}
	CHECK_INT(stats_of(r).atomics, >=, ADDS + 2 * ROUNDS);
	harness_barrier();
	CHECK_DPI(DPI_Read(&word, 8, 24, r));
	CHECK_INT(word, ==, 3 * ROUNDS);
	if (rank == 1) {
		memcpy(&word, own + 16, 8);
		CHECK_INT(word, ==, 3 * ADDS);
		word = UINT64_MAX - 1;
		__atomic_store_n((uint64_t *)(void *)(own + 16), word, __ATOMIC_RELEASE);
	}
	harness_barrier();
	if (rank == 2) {
		CHECK_DPI(DPI_Fetch_Add(8, 5, r, &previous));
		CHECK_INT(previous, ==, -2);
		CHECK_DPI(DPI_Fetch_Add(8, 0, r, NULL));
	}
	harness_barrier();
	CHECK_DPI(DPI_Read(&word, 8, 8, r));
	CHECK_INT(word, ==, 3);
	leave(ctx);
}

TEST(own_outside, "A-102 A-76 A-77 A-81 M-31", 3)
{
	const uint64_t size = 4004;
	uint8_t data[5000], back[5000];
	uint64_t previous;
	DPI_Context ctx = join();
	DPI_Buffer r = over_own(rank, size, ctx);
	const struct {
		uint64_t offset, size;
	} bad[] = {{0, size + 1}, {size, 1}, {size - 7, 8}, {size + 1, 0}, {UINT64_MAX, 1}, {UINT64_MAX - 7, 8}, {UINT64_MAX - 100, 150}, {1, SIZE_MAX}};
	memset(data, 0x77, sizeof data);
	memset(back, 0xa5, sizeof back);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		CHECK_ERROR(DPI_Write(data, bad[i].size, bad[i].offset, r), DPI_ERR_RANGE, "4004");
		CHECK_ERROR(DPI_Read(back, bad[i].size, bad[i].offset, r), DPI_ERR_RANGE, "4004");
	}
	CHECK_ERROR(DPI_Fetch_Add(4000, 1, r, &previous), DPI_ERR_RANGE, "4004");
	CHECK_ERROR(DPI_Compare_Swap(UINT64_MAX - 7, 0, 1, r, &previous), DPI_ERR_RANGE, "4004");
	CHECK_ERROR(DPI_Fetch_Add(4, 1, r, &previous), DPI_ERR_ARGUMENT, "8");
	CHECK_DPI(DPI_Write(data, 0, size, r));
	CHECK_DPI(DPI_Read(back, 0, size, r));
	CHECK(all_bytes(back, sizeof back, 0xa5));
	harness_barrier();
	if (rank == 1) CHECK(all_bytes(own, sizeof own, 0));
	leave(ctx);
}

static uint64_t pattern(uint64_t n) { return (n % 250 + 1) * 0x0101010101010101u; }

/* Words stay whole wherever the operations that move them begin and end. */
TEST(own_words, "A-102 M-28 M-32", 3)
{
	SKIP_UNDER_TSAN("other processes order what is compared here");
	enum { WORDS = 20000 };
	_Atomic uint64_t *ended = harness_shared();
	uint64_t *words = calloc(WORDS + 1, 8), seed = draw_seed(rank);
	uint8_t *place = (uint8_t *)words;
	DPI_Context ctx = join();
	DPI_Buffer r = over_own(rank, WORDS * 8, ctx);
	harness_barrier();
	if (rank == 1) {
		for (uint64_t i = 0; *ended < 2; i++) __atomic_store_n((uint64_t *)(void *)(own + 8) + i % WORDS, pattern(i / WORDS), __ATOMIC_RELAXED);
	} else {
		for (uint64_t turn = 0; turn < 60; turn++) {
			uint64_t first = draw(&seed, WORDS - 8000), count = 1 + draw(&seed, 8000), at = draw(&seed, 8), cut = draw(&seed, 8);
			memset(place + at, (int)(pattern(turn * 2 + (rank == 2)) & 255), 8 * count);
			/* parts of words at both ends, of which nothing is promised: read before, so that they stay as they are */
			if (turn % 2) CHECK_DPI(DPI_Write(place + at, 8 * count, 8 * first, r));
			else CHECK_DPI(DPI_Read(place + at, 8 * count - cut, 8 * first + cut, r));
			if (turn % 2) continue;
			memmove(words, place + at + (8 - cut) % 8, 8 * (count - 1));
			for (size_t i = 0; i + 1 < count; i++) CHECK(words[i] == 0 || words[i] == pattern(words[i] % 256 - 1));
		}
		++*ended;
	}
	leave(ctx);
	free(words);
}

TEST(own_requests, "A-102 P-21 P-22 P-23 P-24 M-2 M-23", 3)
{
	enum { SIZE = 150000, ROUND = 12 };
	uint8_t *data = malloc(SIZE), *back = malloc(SIZE);
	uint64_t previous[4];
	DPI_Context ctx = join();
	DPI_Buffer r = over_own(rank, 3 * SIZE + 64, ctx);
	const uint64_t word = 3 * SIZE + 8 * (uint64_t)rank, at = (uint64_t)rank * SIZE;
	for (uint64_t round = 0; round < ROUND; round++) {
		DPI_Request q[7];
		uint64_t expected = 3 * round;
		int left = 7;
		fill(data, SIZE, round);
		memset(back, 0, SIZE);
		CHECK_DPI(DPI_Write_Nb(data, SIZE, at, r, &q[0]));
		CHECK_DPI(DPI_Fetch_Add_Nb(word, 1, r, &previous[0], &q[1]));
		CHECK_DPI(DPI_Write_Nb("abcdefgh", 8, at + 40001, r, &q[2]));
		CHECK_DPI(DPI_Read_Nb(back, SIZE, at, r, &q[3]));
		CHECK_DPI(DPI_Fetch_Add_Nb(word, 2, r, &previous[1], &q[4]));
		CHECK_DPI(DPI_Compare_Swap_Nb(word, expected, 0, r, &previous[2], &q[5]));
		CHECK_DPI(DPI_Flush_Buffer_Nb(r, &q[6]));
		while (left) {
			size_t which;
			CHECK_DPI(DPI_Wait_Any(q, 7, 0, &which));
			left--;
		}
		CHECK_INT(previous[0], ==, expected);
		CHECK_INT(previous[1], ==, expected + 1);
		CHECK_INT(previous[2], ==, expected + 3);
		fill(data, SIZE, round);
		memcpy(data + 40001, "abcdefgh", 8);
		CHECK(!memcmp(data, back, SIZE));
	}
	DPI_Request q, dropped;
	DPI_Buffer other = rank == 1 ? open_buffer("own", ctx) : r;
	CHECK_DPI(DPI_Read_Nb(back, SIZE, at, other, &q));
	CHECK_DPI(DPI_Read_Nb(back, SIZE, at, other, &dropped));
	int e = DPI_Cancel(dropped);
	CHECK_INT(e, ==, DPI_SUCCESS);
	CHECK_DPI(DPI_Wait(&q, 0));
	e = DPI_Wait(&dropped, 0);
	CHECK(e == DPI_SUCCESS || e == DPI_ERR_CANCELLED);
	CHECK_DPI(DPI_Close_Buffer(other));
	harness_barrier();
	CHECK_DPI(DPI_Finalize(ctx));
	free(data), free(back);
}

/* Several hundred regions in one call, so that what is asked and answered piles up. */
TEST(own_many, "A-102 A-84 A-85 A-86 A-88", 2, .deadline_s = 180)
{
	SKIP_UNDER_TSAN("it takes each word of a region for a race, and ten minutes to tell them apart");
	enum { MANY = 300, EACH = 40000, GAP = 8 };
	static uint8_t wide[MANY][EACH + GAP] __attribute__((aligned(8)));
	uint8_t *data = malloc(MANY * EACH);
	DPI_Part *parts = calloc(MANY + 1, sizeof *parts);
	DPI_Buffer r[MANY];
	char name[32];
	DPI_Context ctx = join();
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "own%d", i);
		if (rank == 1) r[i] = CREATE(name, 1, ctx, DPI_USE_REGION, .capacity = EACH, .memory = wide[i]);
		else r[i] = open_with(name, 30 * SECOND, 0, ctx);
	}
	harness_barrier();
	if (rank == 0) {
		for (int i = 0; i < MANY; i++) {
			fill(data + i * EACH, EACH, (uint64_t)i);
			parts[i] = (DPI_Part){r[i], data + i * EACH, EACH, 0, 77};
		}
		parts[MANY] = (DPI_Part){r[MANY - 1], (void *)"last", 4, 7, 77}; /* over an earlier part */
		CHECK_DPI(DPI_Scatter(parts, MANY + 1));
		for (int i = 0; i <= MANY; i++) CHECK_INT(parts[i].error, ==, DPI_SUCCESS);
		for (int i = 0; i < MANY; i++) CHECK_DPI(DPI_Flush_Buffer(r[i]));
	}
	harness_barrier();
	if (rank == 1) {
		CHECK(!memcmp(wide[MANY - 1] + 7, "last", 4));
		fill(wide[MANY - 1], EACH, MANY - 1);
		for (int i = 0; i < MANY; i++) CHECK(filled(wide[i], EACH, (uint64_t)i) && all_bytes(wide[i] + EACH, GAP, 0));
	}
	harness_barrier();
	if (rank == 0) {
		DPI_Request q;
		for (int nb = 0; nb < 2; nb++) {
			memset(data, 0, MANY * EACH);
			if (nb) {
				CHECK_DPI(DPI_Gather_Nb(parts, MANY, &q));
				CHECK_DPI(DPI_Wait(&q, 30 * SECOND));
			} else {
				CHECK_DPI(DPI_Gather(parts, MANY));
			}
			for (int i = 0; i < MANY; i++) CHECK(filled(data + i * EACH, EACH, (uint64_t)i));
		}
		parts[3].offset = 1; /* its end is outside: the others are read */
		CHECK_ERROR(DPI_Gather(parts, 6), DPI_ERR_RANGE, "own3");
		for (int i = 0; i < 6; i++) CHECK_INT(parts[i].error, ==, i == 3 ? DPI_ERR_RANGE : DPI_SUCCESS);
	}
	leave(ctx);
	free(data), free(parts);
}

/* The home is stopped for a while: calls end at their deadlines, and the handle is good afterwards. */
TEST(own_home_stopped, "A-102 M-33 P-2", 3)
{
	enum { SIZE = 200000 };
	_Atomic int *go = harness_shared();
	uint8_t *data = malloc(SIZE), *back = malloc(SIZE);
	uint64_t previous, word = 0;
	DPI_Context ctx = join();
	DPI_Buffer r = over_own(rank, SIZE + 8, ctx);
	harness_barrier();
	if (rank == 0) {
		int e[4];
		DPI_Request q;
		fill(data, SIZE, 1);
		CHECK_DPI(DPI_Write(data, SIZE, 0, r));
		CHECK_DPI(DPI_Fetch_Add(SIZE, 1, r, NULL));
		CHECK_DPI(DPI_Flush_Buffer(r));
		CHECK_DPI(DPI_Set_Timeout(40 * MS, r));
		memset(data, 0x22, SIZE);
		harness_kill(1, SIGSTOP);
		int64_t start = now();
		e[0] = DPI_Read(back, SIZE, 0, r);
		e[1] = DPI_Fetch_Add(SIZE, 1, r, &previous);
		e[2] = DPI_Write(data, SIZE, 0, r);
		CHECK_DPI(DPI_Read_Nb(back, SIZE, 0, r, &q));
		e[3] = DPI_Wait(&q, 40 * MS);
		CHECK_WITHIN(start, 2 * SECOND);
		harness_kill(1, SIGCONT);
		CHECK(!e[0] || e[0] == DPI_ERR_TIMEOUT);
		CHECK(!e[1] || e[1] == DPI_ERR_UNKNOWN || e[1] == DPI_ERR_TIMEOUT);
		CHECK(!e[2] || e[2] == DPI_ERR_TIMEOUT);
		CHECK(!e[3] || e[3] == DPI_ERR_TIMEOUT);
		CHECK_DPI(DPI_Set_Timeout(10 * SECOND, r));
		if (e[3]) CHECK_DPI(DPI_Wait(&q, 10 * SECOND));
		CHECK_DPI(DPI_Fetch_Add(SIZE, 0, r, &word));
		CHECK(word == 1 || (word == 2 && (!e[1] || e[1] == DPI_ERR_UNKNOWN)));
		CHECK(e[1] || word == 2);
		fill(data, SIZE, 1);
		CHECK_DPI(DPI_Read(back, SIZE, 0, r));
		for (size_t i = 0; i < SIZE; i += 8) CHECK(!memcmp(back + i, data + i, 8) || all_bytes(back + i, 8, 0x22));
		*go = 1;
	}
	AWAIT(*go);
	leave(ctx);
	free(data), free(back);
}

/* Its death ends what waits for it, and all that follows. */
TEST(own_home_dies, "A-102 M-38 P-25", 3)
{
	uint8_t data[5000] = {0};
	uint64_t previous;
	DPI_Context ctx = join();
	DPI_Buffer r = over_own(rank, 100000, ctx);
	harness_barrier();
	if (rank == 1) {
		harness_expect_death(1);
		for (;;) pause();
	}
	if (rank == 0) {
		DPI_Request q;
		CHECK_DPI(DPI_Write(data, sizeof data, 0, r));
		harness_kill(1, SIGSTOP);
		CHECK_DPI(DPI_Read_Nb(data, sizeof data, 0, r, &q));
		harness_kill(1, SIGKILL);
		int e = DPI_Wait(&q, 10 * SECOND); /* it may have been done before the signal came */
		CHECK(!e || e == DPI_ERR_PEER);
	}
	int dead = DPI_SUCCESS;
	UNTIL(10 * SECOND, dead, dead = DPI_Read(data, sizeof data, 0, r));
	CHECK_INT(dead, ==, DPI_ERR_PEER);
	int64_t start = now();
	CHECK_ERROR(DPI_Read(data, sizeof data, 0, r), DPI_ERR_PEER, "1");
	CHECK_ERROR(DPI_Write(data, sizeof data, 0, r), DPI_ERR_PEER, "1");
	CHECK_ERROR(DPI_Fetch_Add(0, 1, r, &previous), DPI_ERR_PEER, "1");
	CHECK_ERROR(DPI_Flush_Buffer(r), DPI_ERR_PEER, "1");
	CHECK_AT_ONCE(start);
	DPI_Close_Buffer(r);
	CHECK_DPI(DPI_Finalize(ctx));
}

/* Destroyed while others use it: they are told, and the memory is the caller's again. */
TEST(own_destroyed, "A-102 A-26 A-27", 3)
{
	_Atomic int *in = harness_shared();
	uint8_t *data = malloc(100000);
	DPI_Context ctx = join();
	DPI_Buffer r = over_own(rank, 100000, ctx);
	harness_barrier();
	if (rank == 1) {
		AWAIT(*in == 2);
		CHECK_DPI(DPI_Close_Buffer(r));
		CHECK_DPI(DPI_Destroy_Buffer("own", ctx));
		memset(own, 0x33, 100100);
	} else {
		int e = DPI_SUCCESS;
		memset(data, 0x44, 100000);
		CHECK_DPI(DPI_Write(data, 100000, 0, r));
		++*in;
		UNTIL(10 * SECOND, e, e = DPI_Write(data, 100000, 0, r));
		CHECK_INT(e, ==, DPI_ERR_DESTROYED);
		CHECK_ERROR(DPI_Fetch_Add(0, 1, r, NULL), DPI_ERR_DESTROYED, "own");
	}
	harness_barrier();
	if (rank == 1) CHECK(all_bytes(own, 100100, 0x33));
	leave(ctx);
	free(data);
}
