/* SPDX-License-Identifier: Apache-2.0
 * queue_stretches.c: long stretches of records of one size, and stretches of any size between, taken one by one, many at a time and in runs, held
 * for a while and released some at a time. */
#include "memory_kit.h"

#define RECORDS 30000u
#define STRETCH 1500u
#define SOME 300u /* the consumer takes at most so many at a time */

static size_t size_of(uint32_t i)
{
	uint32_t stretch = i / STRETCH;
	return stretch % 4 == 3 ? 8 + i * 7919u % 120 : 8 * (size_t)(1 + stretch * 5 % 16);
}

static void append_all(DPI_Buffer q)
{
	uint8_t data[128];
	uint64_t seed = draw_seed(1);
	for (uint32_t i = 0; i < RECORDS; i++) {
		size_t size = size_of(i);
		memset(data, (int)i & 255, size);
		memcpy(data, &i, sizeof i);
		CHECK_DPI(DPI_Append(data, size, q));
		if (i / 500 % 8 == 5 || !draw(&seed, 2000)) CHECK_DPI(DPI_Flush_Buffer(q));
	}
	CHECK_DPI(DPI_Flush_Buffer(q));
	DPI_Buffer_Stats stats = {.size = sizeof stats};
	CHECK_DPI(DPI_Get_Buffer_Stats(q, &stats));
	CHECK_INT(stats.appends, ==, RECORDS);
}

static void take_all(DPI_Buffer q)
{
	static DPI_Record r[SOME];
	uint64_t seed = draw_seed(0);
	size_t held = 0, count;
	for (uint32_t i = 0; i < RECORDS;) {
		uint64_t way = draw(&seed, 4);
		if (way == 3) {
			DPI_Run run = {0};
			size_t most = 1 + draw(&seed, SOME);
			CHECK_DPI(DPI_Next_Run(q, most, &run));
			CHECK(run.count >= 1 && run.count <= most && run.stride >= run.size);
			held += count = run.count;
			for (size_t k = 0; k < count; k++) r[k] = (DPI_Record){(const uint8_t *)run.data + k * run.stride, run.size};
		} else if (way) {
			CHECK_DPI(DPI_Next_Records(q, 1 + draw(&seed, SOME), r, &count));
			held += count;
		} else {
			CHECK_DPI(DPI_Next_Record(q, r)); /* gives back what is held */
			held = 0;
			count = 1;
		}
		for (size_t k = 0; k < count; k++, i++) {
			uint32_t number;
			CHECK_INT(r[k].size, ==, size_of(i));
			memcpy(&number, r[k].data, sizeof number);
			CHECK_INT(number, ==, i);
			for (size_t at = sizeof number; at < r[k].size; at++) CHECK_INT(((const uint8_t *)r[k].data)[at], ==, i & 255);
		}
		if (held && draw(&seed, 2)) {
			size_t some = 1 + draw(&seed, held);
			CHECK_DPI(DPI_Release_Records(some, q));
			held -= some;
		}
		if (held > SOME) {
			CHECK_DPI(DPI_Release_Records(held, q));
			held = 0;
		}
	}
}

static void stretches(int rank, uint64_t capacity)
{
	DPI_Context ctx = join();
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	DPI_Buffer q;
	attr.create = DPI_CREATE_OR_OPEN;
	attr.max_record = 1000;
	attr.capacity = capacity;
	CHECK_DPI(DPI_Create_Buffer("stretches", 0, &attr, ctx, &q));
	if (rank) append_all(q);
	else take_all(q);
	leave(ctx);
}

TEST(stretches_of_one_size, "M-1 M-4 M-5 M-6 A-59 A-115", 2) { stretches(rank, 0); }
TEST(stretches_in_a_small_ring, "M-1 M-4 M-5 M-6 A-59 A-115", 2) { stretches(rank, 16384); }
