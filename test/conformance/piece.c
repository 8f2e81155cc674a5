/* SPDX-License-Identifier: Apache-2.0
 * piece.c: pieces of regions and the references to them. */
#include <signal.h>

#include "memory_kit.h"

static DPI_Reference allocate(uint64_t size, DPI_Buffer r)
{
	DPI_Reference f;
	CHECK_DPI(DPI_Allocate_Piece(size, r, &f));
	CHECK(f.length == size && f.generation && f.offset % 8 == 0);
	return f;
}

struct board { /* in shared memory: what each rank has */
	DPI_Reference piece[3][40];
	_Atomic int go;
};

/* All nodes allocate at once, of all sizes; nobody's pieces meet, each is read and freed by another node. */
TEST(pieces_of_all, "A-103 A-104 A-105 A-106 A-111 A-97 M-31", 3)
{
	enum { MANY = 40, SIZE = 600004 };
	struct board *board = harness_shared();
	uint8_t *data = malloc(SIZE);
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = SIZE, .timeout_us = 10 * SECOND), other = open_with("r", 10 * SECOND, 0, ctx);
	uint64_t seed = draw_seed(rank), moved = 0;
	for (uint64_t round = 0; round < 3; round++) {
		harness_barrier();
		for (uint64_t i = 0; i < MANY; i++) {
			uint64_t size = 1 + draw(&seed, i ? 4000 : 70000);
			board->piece[rank][i] = allocate(size, i % 2 ? r : other);
			fill(data, size, round << 16 | (uint64_t)rank << 8 | i);
			CHECK_DPI(DPI_Write_Piece(data, size, 0, &board->piece[rank][i], i % 2 ? other : r));
			moved += i % 2 ? 0 : size;
		}
		CHECK_DPI(DPI_Flush_Buffer(r));
		CHECK_DPI(DPI_Flush_Buffer(other));
		harness_barrier();
		CHECK_INT(stats_of(r).write_bytes, ==, moved);
		const DPI_Reference *all = &board->piece[0][0];
		for (int i = 0; i < 3 * MANY; i++) {
			CHECK(all[i].offset <= SIZE && all[i].length <= SIZE - all[i].offset);
			for (int k = 0; k < i; k++) {
				CHECK(all[i].generation != all[k].generation);
				CHECK(all[i].offset + all[i].length <= all[k].offset || all[k].offset + all[k].length <= all[i].offset);
			}
		}
		for (int from = 0; from < 3; from++)
			for (uint64_t i = 0; i < MANY; i++) { /* by reference and at the offset it gives */
				const DPI_Reference f = board->piece[from][i];
				memset(data, 0, f.length);
				if (i % 3) CHECK_DPI(DPI_Read_Piece(data, f.length, 0, &f, r));
				else CHECK_DPI(DPI_Read(data, f.length, f.offset, r));
				CHECK(filled(data, f.length, round << 16 | (uint64_t)from << 8 | i));
			}
		harness_barrier();
		for (uint64_t i = 0; i < MANY; i++) CHECK_DPI(DPI_Free_Piece(&board->piece[(rank + 1) % 3][i], r));
		harness_barrier();
		if (rank == (int)round) { /* nothing lives: all of it is one run, and what was written is there still */
			DPI_Reference f = allocate(SIZE, r), none;
			CHECK_INT(f.offset, ==, 0);
			CHECK_ERROR(DPI_Allocate_Piece(1, r, &none), DPI_ERR_FULL, "free");
			const DPI_Reference was = board->piece[0][7];
			CHECK_DPI(DPI_Read_Piece(data, was.length, was.offset, &f, r));
			CHECK(filled(data, was.length, round << 16 | 7));
			CHECK_DPI(DPI_Free_Piece(&f, r));
		}
	}
	leave(ctx);
	free(data);
}

TEST(pieces_refuse, "A-103 A-105 A-107 A-112 A-111 A-1 A-76 A-77 A-81 M-31 R-9", 3)
{
	const uint64_t size = 4004;
	uint8_t data[5000], back[5000];
	uint64_t previous;
	DPI_Reference f, none = {0}, odd;
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = size), q = MAKE("q", 1, ctx, DPI_USE_QUEUE);
	char name[16];
	snprintf(name, sizeof name, "own%d", rank);
	DPI_Buffer mine = CREATE(name, 1, ctx, DPI_USE_REGION, .capacity = size);
	memset(data, 0x77, sizeof data), memset(back, 0xa5, sizeof back);
	const uint64_t sizes[] = {0, size + 1, UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 63};
	for (int i = 0; i < 5; i++) CHECK_ERROR(DPI_Allocate_Piece(sizes[i], r, &f), DPI_ERR_ARGUMENT, "4004");
	CHECK_ERROR(DPI_Allocate_Piece(8, r, NULL), DPI_ERR_ARGUMENT, "reference");
	CHECK_ERROR(DPI_Allocate_Piece(8, q, &f), DPI_ERR_USE, "q");
	CHECK_ERROR(DPI_Allocate_Piece(8, NULL, &f), DPI_ERR_ARGUMENT, ": ");
	f = allocate(100, mine);
	CHECK_ERROR(DPI_Free_Piece(NULL, mine), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(DPI_Free_Piece(&none, mine), DPI_ERR_ARGUMENT, "DPI_Allocate_Piece");
	CHECK_ERROR(DPI_Free_Piece(&f, q), DPI_ERR_USE, "q");
	CHECK_ERROR(DPI_Read_Piece(back, 1, 0, NULL, mine), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(DPI_Read_Piece(NULL, 1, 0, &f, mine), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(DPI_Write_Piece(data, 1, 0, &none, mine), DPI_ERR_ARGUMENT, "DPI_Allocate_Piece");
	CHECK_ERROR(DPI_Fetch_Add_Piece(0, 1, &none, mine, NULL), DPI_ERR_ARGUMENT, "DPI_Allocate_Piece");
	CHECK_ERROR(DPI_Write_Piece(data, 1, 0, &f, q), DPI_ERR_USE, "q");
	CHECK_ERROR(DPI_Read_Piece_Nb(back, 1, 0, &f, mine, NULL), DPI_ERR_ARGUMENT, "request");
	DPI_Request request = (DPI_Request)(void *)data;
	CHECK_ERROR(DPI_Write_Piece_Nb(data, 101, 0, &f, mine, &request), DPI_ERR_RANGE, "100");
	CHECK(request == DPI_REQUEST_NULL);
	const struct {
		uint64_t offset, size;
	} bad[] = {{0, 101}, {1, 100}, {100, 1}, {101, 0}, {UINT64_MAX, 1}, {UINT64_MAX - 7, 16}, {1, SIZE_MAX}, {size, 1}};
	for (int i = 0; i < 8; i++) {
		CHECK_ERROR(DPI_Write_Piece(data, bad[i].size, bad[i].offset, &f, mine), DPI_ERR_RANGE, "100");
		CHECK_ERROR(DPI_Read_Piece(back, bad[i].size, bad[i].offset, &f, mine), DPI_ERR_RANGE, "4004");
	}
	CHECK_ERROR(DPI_Fetch_Add_Piece(4, 1, &f, mine, &previous), DPI_ERR_ARGUMENT, "8");
	CHECK_ERROR(DPI_Compare_Swap_Piece(96, 0, 1, &f, mine, &previous), DPI_ERR_RANGE, "100");
	for (int i = 0; i < 3 * 64; i++) { /* altered: never taken for one that it does not name */
		odd = f;
		uint64_t *field[] = {&odd.offset, &odd.length, &odd.generation};
		*field[i / 64] ^= UINT64_C(1) << i % 64;
		int e = i % 2 ? DPI_Write_Piece(data, 1, 0, &odd, mine) : i % 4 ? DPI_Free_Piece(&odd, mine) : DPI_Fetch_Add_Piece(0, 1, &odd, mine, NULL);
		CHECK(e == DPI_ERR_ARGUMENT || e == DPI_ERR_RECLAIMED || (e == DPI_ERR_RANGE && i / 64 == 1));
	}
	CHECK_DPI(DPI_Write_Piece(NULL, 0, 100, &f, mine));
	CHECK_DPI(DPI_Read_Piece(NULL, 0, 0, &f, mine));
	CHECK(all_bytes(back, sizeof back, 0xa5));
	CHECK_DPI(DPI_Read(back, size, 0, mine));
	CHECK(all_bytes(back, size, 0));
	CHECK_DPI(DPI_Write_Piece(data, 100, 0, &f, mine));
	CHECK_DPI(DPI_Flush_Buffer(mine));
	CHECK_DPI(DPI_Read(back, size, 0, mine));
	CHECK(all_bytes(back + f.offset, 100, 0x77) && all_bytes(back, f.offset, 0) && all_bytes(back + f.offset + 100, size - 100 - f.offset, 0));
	CHECK_DPI(DPI_Free_Piece(&f, mine));
	leave(ctx);
}

/* Each way to use a reference whose piece was freed. */
static void all_stale(const DPI_Reference *f, DPI_Buffer r)
{
	uint8_t data[64] = {1};
	uint64_t previous = 99;
	DPI_Request q;
	CHECK_ERROR(DPI_Read_Piece(data, 64, 0, f, r), DPI_ERR_RECLAIMED, "freed");
	CHECK_ERROR(DPI_Read_Piece(NULL, 0, 0, f, r), DPI_ERR_RECLAIMED, "'r'");
	CHECK_ERROR(DPI_Write_Piece(data, 64, 0, f, r), DPI_ERR_RECLAIMED, "freed");
	CHECK_ERROR(DPI_Fetch_Add_Piece(8, 1, f, r, &previous), DPI_ERR_RECLAIMED, "freed");
	CHECK_ERROR(DPI_Compare_Swap_Piece(8, 0, 1, f, r, &previous), DPI_ERR_RECLAIMED, "freed");
	CHECK_ERROR(DPI_Free_Piece(f, r), DPI_ERR_RECLAIMED, "freed");
	CHECK_DPI(DPI_Write_Piece_Nb(data, 64, 0, f, r, &q));
	CHECK_ERROR(DPI_Wait(&q, 0), DPI_ERR_RECLAIMED, "freed");
	CHECK(previous == 99 && data[0] == 1);
}

TEST(piece_freed, "A-104 A-108", 3)
{
	enum { SIZE = 50000 };
	struct board *board = harness_shared();
	uint8_t *data = malloc(SIZE);
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = SIZE, .timeout_us = 10 * SECOND);
	for (int by = 0; by < 3; by++) {
		if (by == rank) {
			board->piece[0][0] = allocate(SIZE, r);
			memset(data, 0x11, SIZE);
			CHECK_DPI(DPI_Write_Piece(data, SIZE, 0, &board->piece[0][0], r));
		}
		harness_barrier();
		CHECK_DPI(DPI_Read_Piece(data, SIZE, 0, &board->piece[0][0], r));
		CHECK(all_bytes(data, SIZE, 0x11));
		harness_barrier();
		if ((by + 1) % 3 == rank) CHECK_DPI(DPI_Free_Piece(&board->piece[0][0], r));
		harness_barrier();
		all_stale(&board->piece[0][0], r);
		harness_barrier();
		if ((by + 2) % 3 == rank) { /* another has the bytes */
			board->piece[0][1] = allocate(SIZE, r);
			memset(data, 0x22, SIZE);
			CHECK_DPI(DPI_Write_Piece(data, SIZE, 0, &board->piece[0][1], r));
		}
		harness_barrier();
		all_stale(&board->piece[0][0], r);
		harness_barrier();
		CHECK_DPI(DPI_Read_Piece(data, SIZE, 0, &board->piece[0][1], r));
		CHECK(all_bytes(data, SIZE, 0x22));
		harness_barrier();
		if (by == rank) CHECK_DPI(DPI_Free_Piece(&board->piece[0][1], r));
		harness_barrier();
	}
	if (rank == 0) board->piece[0][0] = allocate(SIZE, r);
	CHECK_DPI(DPI_Close_Buffer(r));
	harness_barrier();
	if (rank == 2) { /* a region of the same name is another */
		CHECK_DPI(DPI_Destroy_Buffer("r", ctx));
		r = CREATE("r", 1, ctx, DPI_USE_REGION, .capacity = SIZE);
		board->piece[0][1] = allocate(SIZE, r);
	}
	harness_barrier();
	if (rank != 2) r = open_buffer("r", ctx);
	all_stale(&board->piece[0][0], r);
	CHECK_DPI(DPI_Read_Piece(data, SIZE, 0, &board->piece[0][1], r));
	CHECK(all_bytes(data, SIZE, 0));
	leave(ctx);
	free(data);
}

#define LONG 100000u /* several messages */

/* A piece is freed and its bytes given to another again and again, while others read and write by references that go stale
 * under them. Words carry the number of the piece they were written to: what is read has none of a later one, and what lives has
 * none of an earlier one. */
TEST(pieces_race, "A-109 A-107 M-28", 3, .deadline_s = 180)
{
	enum { LIVES = 60, WORDS = LONG / 8 };
	struct board *board = harness_shared();
	static DPI_Reference seen;
	uint64_t *words = malloc(LONG), gone = 0, went = 0;
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = LONG, .timeout_us = 10 * SECOND);
	DPI_Reference *ring = &board->piece[0][0]; /* life n at n % 40 */
	harness_barrier();
	if (rank == 0) {
		for (uint64_t life = 1; life <= LIVES; life++) {
			DPI_Reference f = allocate(LONG, r);
			ring[life % 40] = f;
			for (size_t i = 0; i < WORDS; i++) words[i] = life << 8;
			CHECK_DPI(DPI_Write_Piece(words, LONG, 0, &f, r));
			board->go = (int)life;
			usleep((useconds_t)(life % 7 * 300));
			CHECK_DPI(DPI_Read_Piece(words, LONG, 0, &f, r));
			for (size_t i = 0; i < WORDS; i++)
				if (words[i] >> 8 != life) FAIL("word %zu of life %" PRIu64 " is of life %" PRIu64, i, life, words[i] >> 8);
			CHECK_DPI(DPI_Free_Piece(&f, r));
		}
		board->go = -1;
	} else {
		for (int turn = 0;; turn++) {
			int life = board->go;
			if (life < 0) break;
			if (!life) continue;
			seen = ring[life % 40];
			/* the ring's place is written anew after 40 lives: only what was the same life before and after counts */
			int now_is = board->go;
			if (now_is < 0 || now_is - life > 30) continue;
			int e;
			if ((turn + rank) % 2) {
				for (size_t i = 0; i < WORDS; i++) words[i] = (uint64_t)life << 8 | (unsigned)rank;
				e = DPI_Write_Piece(words, LONG, 0, &seen, r);
			} else {
				e = DPI_Read_Piece(words, LONG, 0, &seen, r);
				for (size_t i = 0; i < WORDS && !e; i++)
					if (words[i] >> 8 > (uint64_t)life) FAIL("word %zu read of life %d is of life %" PRIu64, i, life, words[i] >> 8);
			}
			CHECK(!e || e == DPI_ERR_RECLAIMED);
			if (e) gone++;
			else went++;
		}
	}
	leave(ctx);
	free(words);
}

/* In the order of the handle: what was written at offsets, through whatever transport, is not overtaken by calls by reference. */
TEST(piece_in_handle_order, "A-107 A-113 M-22 M-23 P-23", 3)
{
	enum { SIZE = 150000 };
	struct board *board = harness_shared();
	uint8_t *data = malloc(SIZE), *back = malloc(SIZE);
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = SIZE, .timeout_us = 10 * SECOND);
	for (uint64_t round = 0; round < 12; round++) {
		DPI_Request q[3];
		int by = (int)(round % 3);
		if (by == rank) {
			DPI_Reference f = allocate(SIZE, r);
			fill(data, SIZE, round);
			CHECK_DPI(DPI_Write(data, SIZE, f.offset, r));
			CHECK_DPI(DPI_Read_Piece(back, SIZE, 0, &f, r));
			CHECK(filled(back, SIZE, round));
			CHECK_DPI(DPI_Write_Piece("by reference", 12, 5, &f, r));
			CHECK_DPI(DPI_Read(back, 12, f.offset + 5, r));
			CHECK(!memcmp(back, "by reference", 12));
			CHECK_DPI(DPI_Write_Nb(data, SIZE, f.offset, r, &q[0]));
			CHECK_DPI(DPI_Write_Piece_Nb("later", 5, 70000, &f, r, &q[1]));
			CHECK_DPI(DPI_Read_Piece_Nb(back, SIZE, 0, &f, r, &q[2]));
			for (int i = 2; i >= 0; i--) CHECK_DPI(DPI_Wait(&q[i], 0));
			memcpy(data + 70000, "later", 5);
			CHECK(!memcmp(data, back, SIZE));
			CHECK_DPI(DPI_Write(data, SIZE, f.offset, r)); /* and no flush */
			CHECK_DPI(DPI_Free_Piece(&f, r));
			board->go = (int)round + 1;
		}
		if ((by + 1) % 3 == rank) {
			AWAIT(board->go == (int)round + 1);
			DPI_Reference f = allocate(SIZE, r);
			memset(back, 0x5a, SIZE);
			CHECK_DPI(DPI_Write_Piece(back, SIZE, 0, &f, r));
			for (int i = 0; i < 10; i++) {
				CHECK_DPI(DPI_Read_Piece(back, SIZE, 0, &f, r));
				CHECK(all_bytes(back, SIZE, 0x5a)); /* nothing of the freed one's writes comes late */
			}
			CHECK_DPI(DPI_Free_Piece(&f, r));
		}
		harness_barrier();
	}
	leave(ctx);
	free(data), free(back);
}

/* By reference and by offset the words are the same, and all is in one order. */
TEST(piece_atomics, "A-107 A-78 A-79 A-80 A-97 M-25 M-26", 3)
{
	enum { ADDS = 60 };
	struct board *board = harness_shared();
	_Atomic uint8_t *seen = (_Atomic uint8_t *)harness_shared() + 65536;
	uint64_t previous, before = 0, word;
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 4096, .timeout_us = 10 * SECOND);
	if (rank == 2) {
		allocate(24, r);
		board->piece[0][0] = allocate(64, r);
	}
	harness_barrier();
	const DPI_Reference f = board->piece[0][0];
	DPI_Request q;
	for (int i = 0; i < ADDS; i++) {
		if (i % 3 == 0) CHECK_DPI(DPI_Fetch_Add(f.offset + 8, 1, r, &previous));
		if (i % 3 == 1) CHECK_DPI(DPI_Fetch_Add_Piece(8, 1, &f, r, &previous));
		if (i % 3 == 2) {
			CHECK_DPI(DPI_Fetch_Add_Piece_Nb(8, 1, &f, r, &previous, &q));
			CHECK_DPI(DPI_Wait(&q, 0));
		}
		CHECK_INT(previous, <, 3 * ADDS);
		CHECK(!i || previous > before);
		CHECK(!seen[previous]++);
		before = previous;
	}
	for (int i = 0; i < 15; i++) { /* a lock, taken and given back in both ways */
		do CHECK_DPI(i % 2 ? DPI_Compare_Swap(f.offset + 16, 0, 7, r, &previous) : DPI_Compare_Swap_Piece(16, 0, 7, &f, r, &previous));
		while (previous);
		CHECK_DPI(DPI_Read_Piece(&word, 8, 24, &f, r));
		word++;
		CHECK_DPI(DPI_Write_Piece(&word, 8, 24, &f, r));
		CHECK_DPI(DPI_Flush_Buffer(r));
		if (i % 3) {
			CHECK_DPI(DPI_Compare_Swap_Piece_Nb(16, 7, 0, &f, r, NULL, &q));
			CHECK_DPI(DPI_Wait(&q, 0));
		} else {
			CHECK_DPI(DPI_Compare_Swap(f.offset + 16, 7, 0, r, NULL));
		}
	}
	harness_barrier();
	CHECK_DPI(DPI_Read_Piece(&word, 8, 24, &f, r));
	CHECK_INT(word, ==, 45);
	CHECK_DPI(DPI_Read(&word, 8, f.offset + 8, r));
	CHECK_INT(word, ==, 3 * ADDS);
	CHECK_INT(stats_of(r).atomics, >=, ADDS + 30);
	CHECK_INT(stats_of(r).reads, ==, 17);
	CHECK_INT(stats_of(r).writes, ==, 15);
	leave(ctx);
}

/* A piece outlives who allocated it; its reference travels as any other bytes do. */
TEST(piece_outlives, "A-110 A-111", 3)
{
	DPI_Reference f;
	char text[16] = "";
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 4096, .timeout_us = 10 * SECOND);
	DPI_Buffer to = MAKE("to", 0, ctx, DPI_USE_QUEUE);
	if (rank == 2) {
		DPI_Buffer own = open_buffer("r", ctx);
		f = allocate(16, own);
		CHECK_DPI(DPI_Write_Piece("testament", 10, 0, &f, own));
		CHECK_DPI(DPI_Close_Buffer(own));
		CHECK_DPI(DPI_Append(&f, sizeof f, to));
		CHECK_DPI(DPI_Flush_Buffer(to));
		harness_expect_death(2);
		for (;;) pause();
	}
	if (rank == 0) {
		DPI_Record record;
		CHECK_DPI(DPI_Next_Record(to, &record));
		CHECK_INT(record.size, ==, sizeof f);
		memcpy(&f, record.data, sizeof f);
		harness_kill(2, SIGKILL);
		AWAIT(!harness_alive(2));
		DPI_Node_Info info = DPI_NODE_INFO_INIT;
		UNTIL(10 * SECOND, !info.alive, CHECK_DPI(DPI_Get_Node_Info(2, ctx, &info)));
		CHECK_DPI(DPI_Read_Piece(text, 10, 0, &f, r));
		CHECK_STR(text, "testament");
		CHECK_DPI(DPI_Free_Piece(&f, r));
		CHECK_ERROR(DPI_Read_Piece(text, 10, 0, &f, r), DPI_ERR_RECLAIMED, "freed");
	}
	CHECK_DPI(DPI_Barrier("two", 2, 10 * SECOND, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* While the home is stopped; what became of an allocation or a free cannot be known then. */
TEST(piece_home_stopped, "A-114 P-2", 3)
{
	_Atomic int *go = harness_shared();
	uint8_t data[8];
	uint64_t word;
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 4096, .timeout_us = 10 * SECOND);
	harness_barrier();
	if (rank == 0) {
		DPI_Reference f = allocate(64, r), other;
		int e[5];
		CHECK_DPI(DPI_Set_Timeout(40 * MS, r));
		harness_kill(1, SIGSTOP);
		int64_t start = now();
		e[0] = DPI_Allocate_Piece(64, r, &other);
		e[1] = DPI_Fetch_Add_Piece(0, 1, &f, r, &word);
		e[2] = DPI_Read_Piece(data, 8, 0, &f, r);
		e[3] = DPI_Write_Piece(data, 8, 8, &f, r);
		e[4] = DPI_Free_Piece(&f, r);
		CHECK_WITHIN(start, 3 * SECOND);
		harness_kill(1, SIGCONT);
		for (int i = 0; i < 5; i++) CHECK(!e[i] || e[i] == (i == 2 || i == 3 ? DPI_ERR_TIMEOUT : DPI_ERR_UNKNOWN));
		CHECK_DPI(DPI_Set_Timeout(10 * SECOND, r));
		int again = DPI_Free_Piece(&f, r); /* tells what became of the first */
		CHECK(again == DPI_ERR_RECLAIMED || (e[4] && !again));
		CHECK_ERROR(DPI_Read_Piece(data, 8, 0, &f, r), DPI_ERR_RECLAIMED, "freed");
		*go = 1;
	}
	AWAIT(*go);
	leave(ctx);
}

TEST(piece_home_dies, "A-107 M-38 P-25", 2)
{
	uint8_t data[8] = {0};
	DPI_Reference f;
	DPI_Request q;
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 4096, .timeout_us = 10 * SECOND);
	harness_barrier();
	if (rank == 1) {
		harness_expect_death(1);
		for (;;) pause();
	}
	f = allocate(64, r);
	harness_kill(1, SIGSTOP);
	CHECK_DPI(DPI_Read_Piece_Nb(data, 8, 0, &f, r, &q));
	harness_kill(1, SIGKILL);
	int e = DPI_Wait(&q, 10 * SECOND); /* it may have been done before the signal came */
	CHECK(!e || e == DPI_ERR_PEER);
	UNTIL(10 * SECOND, e, e = DPI_Write_Piece(data, 8, 0, &f, r));
	CHECK_INT(e, ==, DPI_ERR_PEER);
	CHECK_ERROR(DPI_Read_Piece(data, 8, 0, &f, r), DPI_ERR_PEER, "1");
	CHECK_ERROR(DPI_Allocate_Piece(8, r, &f), DPI_ERR_PEER, "1");
	DPI_Close_Buffer(r);
	CHECK_DPI(DPI_Finalize(ctx));
}

/* Over the caller's own memory as over any other. */
TEST(piece_of_own_memory, "A-102 A-103 A-107 A-108", 3)
{
	static uint8_t own[70000] __attribute__((aligned(8)));
	struct board *board = harness_shared();
	uint8_t *data = malloc(70000);
	DPI_Context ctx = join();
	DPI_Buffer r;
	if (rank == 1) r = CREATE("r", 1, ctx, DPI_USE_REGION, .capacity = 69000, .memory = own + 8, .timeout_us = 10 * SECOND);
	else r = open_with("r", 10 * SECOND, 0, ctx);
	board->piece[rank][0] = allocate(20000, r);
	fill(data, 20000, (uint64_t)rank);
	CHECK_DPI(DPI_Write_Piece(data, 20000, 0, &board->piece[rank][0], r));
	harness_barrier();
	for (int i = 0; i < 3; i++) {
		const DPI_Reference f = board->piece[i][0];
		CHECK_DPI(DPI_Read_Piece(data, f.length, 0, &f, r));
		CHECK(filled(data, f.length, (uint64_t)i));
		if (rank == 1) CHECK(filled(own + 8 + f.offset, f.length, (uint64_t)i));
	}
	harness_barrier();
	CHECK_DPI(DPI_Free_Piece(&board->piece[rank][0], r));
	CHECK_ERROR(DPI_Read_Piece(data, 1, 0, &board->piece[rank][0], r), DPI_ERR_RECLAIMED, "freed");
	harness_barrier();
	if (rank == 1) CHECK(all_bytes(own, 8, 0) && all_bytes(own + 8 + 69000, 992, 0));
	leave(ctx);
	free(data);
}
