/* SPDX-License-Identifier: Apache-2.0
 * scatter.c: several buffers in one call. */
#include "memory_kit.h"

#define OPEN_ALL                                                                                               \
	DPI_Context ctx = join();                                                                              \
	DPI_Buffer q0 = MAKE("q0", 0, ctx, DPI_USE_QUEUE, .max_record = 20000),                                \
		   q1 = MAKE("q1", 1, ctx, DPI_USE_QUEUE, .max_record = 20000),                                \
		   l1 = MAKE("l1", 1, ctx, DPI_USE_LOG, .max_record = 20000),                                  \
		   l2 = MAKE("l2", 2, ctx, DPI_USE_LOG, .max_record = 20000),                                  \
		   r0 = MAKE("r0", 0, ctx, DPI_USE_REGION, .capacity = 65536),                                 \
		   r2 = MAKE("r2", 2, ctx, DPI_USE_REGION, .capacity = 65536)

TEST(scatter_and_gather, "A-84 A-85 A-86 A-87 A-88 A-89 M-1 M-2 M-3 M-4", 3)
{
	OPEN_ALL;
	static uint8_t data[12][20000], back[4][20001];
	uint64_t seed = draw_seed(0), from1 = info_of(l1).first, from2 = info_of(l2).first;
	CHECK_DPI(DPI_Scatter(NULL, 0));
	CHECK_DPI(DPI_Gather(NULL, 0));
	for (uint64_t round = 0; round < 12; round++) {
		DPI_Buffer to[12] = {q0, q1, l1, l2, r0, r2, q1, q1, l1, l1, r2, r2};
		size_t size[12];
		for (int i = 0; i < 12; i++) size[i] = round == 0 ? (size_t)i : draw(&seed, draw(&seed, 3) ? 200 : 20001);
		if (rank == 0) {
			DPI_Part parts[12];
			for (uint64_t i = 0; i < 12; i++) {
				fill(data[i], size[i], 100 * round + i);
				parts[i] = (DPI_Part){to[i], size[i] ? data[i] : NULL, size[i], i >= 10 ? 100 * i : 0, 77};
			}
			/* the last two overlap: the later one stays */
			if (round % 3 == 2) {
				DPI_Request x;
				CHECK_DPI(DPI_Scatter_Nb(parts, 12, &x));
				CHECK_DPI(DPI_Wait(&x, 0));
			} else {
				CHECK_DPI(DPI_Scatter(parts, 12));
			}
			for (int i = 0; i < 12; i++) CHECK_INT(parts[i].error, ==, DPI_SUCCESS);
			memset(data, 0xee, sizeof data);
			for (int i = 0; i < 6; i++) CHECK_DPI(DPI_Flush_Buffer(to[i]));
		}
		harness_barrier();
		DPI_Record r;
		if (rank == 0) {
			CHECK_DPI(DPI_Next_Record(q0, &r));
			CHECK(r.size == size[0] && filled(r.data, r.size, 100 * round));
		}
		if (rank == 1)
			for (uint64_t i = 1; i < 8; i = i == 1 ? 6 : i + 1) {
				CHECK_DPI(DPI_Next_Record(q1, &r));
				CHECK(r.size == size[i] && filled(r.data, r.size, 100 * round + i));
			}
		/* every node gathers: two records, the later region, a piece of the other */
		size_t n10 = size[11] < 100 ? 100 : size[11];
		uint64_t next1, next2;
		size_t ignored;
		DPI_Part parts[4] = {{l1, back[0], 20000, from1, 77}, {l2, back[1], 20000, from2, 77}, {r0, back[2], size[4], 0, 77}, {r2, back[3], n10, 1000, 77}};
		memset(back, 0xee, sizeof back);
		CHECK_DPI(DPI_Gather(parts, 4));
		for (int i = 0; i < 4; i++) {
			CHECK_INT(parts[i].error, ==, DPI_SUCCESS);
			CHECK(all_bytes(back[i] + parts[i].size, sizeof back[i] - parts[i].size, 0xee));
		}
		CHECK_INT(parts[0].size, ==, size[2]);
		CHECK_INT(parts[1].size, ==, size[3]);
		CHECK(filled(back[0], size[2], 100 * round + 2));
		CHECK(filled(back[1], size[3], 100 * round + 3));
		CHECK(filled(back[2], size[4], 100 * round + 4));
		CHECK(filled(back[3] + 100, size[11], 100 * round + 11) || size[11] + 100 > n10);
		/* on to the next round's records; those of one log stand in array order */
		CHECK_DPI(DPI_Read_Record(from1, back[0], 20000, l1, &ignored, &next1));
		for (uint64_t i = 8; i < 10; i++) {
			size_t got;
			CHECK_DPI(DPI_Read_Record(next1, back[0], 20000, l1, &got, &next1));
			CHECK(got == size[i] && filled(back[0], got, 100 * round + i));
		}
		CHECK_DPI(DPI_Read_Record(from2, back[0], 20000, l2, &ignored, &next2));
		from1 = next1, from2 = next2;
		harness_barrier();
	}
	leave(ctx);
}

/* Each part its own result, whatever becomes of others; the call's is the first that failed. */
TEST(scatter_errors, "A-86 A-87 A-1 R-13 M-9", 3)
{
	OPEN_ALL;
	static uint8_t data[20001];
	if (rank == 0) {
		DPI_Buffer closed = open_buffer("q1", ctx);
		CHECK_DPI(DPI_Close_Buffer(closed));
		DPI_Part parts[] = {
			{q1, "first", 5, 0, 77},	{q1, data, 20001, 0, 77}, {r2, "abc", 3, 65534, 77}, {closed, "x", 1, 0, 77},
			{(DPI_Buffer)ctx, "x", 1, 0, 77}, {NULL, "x", 1, 0, 77},  {r2, NULL, 3, 0, 77},	     {r2, "good", 4, 65532, 77},
			{q1, "second", 6, 0, 77},
		};
		static const int errors[] = {0, DPI_ERR_SIZE, DPI_ERR_RANGE, DPI_ERR_HANDLE, DPI_ERR_HANDLE, DPI_ERR_ARGUMENT, DPI_ERR_ARGUMENT, 0, 0};
		CHECK_ERROR(DPI_Scatter(parts, 9), DPI_ERR_SIZE, "20001");
		for (int i = 0; i < 9; i++) CHECK_INT(parts[i].error, ==, errors[i]);
		CHECK_ERROR(DPI_Scatter(parts + 2, 7), DPI_ERR_RANGE, "65534");
		CHECK_ERROR(DPI_Scatter(parts + 3, 1), DPI_ERR_HANDLE, ": ");
		/* the same, not waiting */
		DPI_Request x;
		int error = DPI_Scatter_Nb(parts, 9, &x);
		if (!error) error = DPI_Wait(&x, 0);
		CHECK_INT(error, ==, DPI_ERR_SIZE);
		for (int i = 0; i < 9; i++) CHECK_INT(parts[i].error, ==, errors[i]);
		CHECK_DPI(DPI_Flush_Buffer(q1));
		CHECK_DPI(DPI_Flush_Buffer(r2));
	}
	harness_barrier();
	if (rank == 1) {
		TAKE_NOW(q1, "first", 5);
		TAKE_NOW(q1, "second", 6);
		TAKE_NOW(q1, "second", 6);
		TAKE_NOW(q1, "first", 5);
		TAKE_NOW(q1, "second", 6);
		CHECK_EMPTY(q1, DPI_NO_WAIT);
	}
	if (rank == 2) {
		CHECK_DPI(DPI_Read(data, 65536 - 65530, 65530, r2));
		CHECK(!memcmp(data, "\0\0good", 6));
	}
	(void)q0, (void)l1, (void)l2, (void)r0;
	leave(ctx);
}

TEST(gather_errors, "A-85 A-86 A-87 A-71 M-3 R-4", 3)
{
	OPEN_ALL;
	static uint8_t back[5][64];
	if (rank == 0) {
		uint64_t first, second, after;
		CHECK_DPI(DPI_Append_Position("reclaimed", 9, l1, &first));
		CHECK_DPI(DPI_Append_Position("a record of 28 bytes, no more", 28, l1, &second));
		CHECK_DPI(DPI_Truncate_Log(second, l1));
		CHECK_DPI(DPI_Append_Position("z", 1, l2, &after));
		CHECK_DPI(DPI_Write("region", 6, 10, r0));
		memset(back, 0xee, sizeof back);
		DPI_Part parts[] = {{r0, back[0], 6, 10, 77},	   {l1, back[1], 64, first, 77}, {l1, back[2], 27, second, 77}, {l2, back[3], 64, after + (1 << 20), 77},
				    {q1, back[3], 64, 0, 77},	   {r2, back[3], 64, 65536, 77}, {l1, back[4], 64, second, 77}};
		static const int errors[] = {0, DPI_ERR_RECLAIMED, DPI_ERR_SIZE, DPI_ERR_RANGE, DPI_ERR_USE, DPI_ERR_RANGE, 0};
		CHECK_ERROR(DPI_Gather(parts, 7), DPI_ERR_RECLAIMED, ": ");
		for (int i = 0; i < 7; i++) CHECK_INT(parts[i].error, ==, errors[i]);
		CHECK(!memcmp(back[0], "region", 6) && all_bytes(back[0] + 6, 58, 0xee));
		CHECK(all_bytes(back[1], 64, 0xee) && all_bytes(back[2], 64, 0xee) && all_bytes(back[3], 64, 0xee));
		CHECK_INT(parts[2].size, ==, 28);
		CHECK_INT(parts[6].size, ==, 28);
		CHECK(!memcmp(back[4], "a record of 28 bytes, no more", 28));
		CHECK_ERROR(DPI_Gather(parts + 2, 2), DPI_ERR_RANGE, ": "); /* now with 28 bytes of room */
		CHECK_INT(parts[2].error, ==, DPI_SUCCESS);
	}
	(void)q0;
	leave(ctx);
}

/* One part waits for room, or does not get it; the others happen. */
TEST(scatter_to_a_full_one, "A-86 A-87 A-88 A-39 M-9 P-1", 3)
{
	OPEN_ALL;
	static uint8_t data[FILLER];
	DPI_Buffer full = MAKE("full", 1, ctx, DPI_USE_QUEUE, .capacity = 4096, .max_record = FILLER, .growth = DPI_GROWTH_NONE);
	if (rank == 0) {
		int n = fill_up(full);
		/* the others are connected: what they get waits for nothing */
		CHECK_DPI(DPI_Append("zero", 4, q1));
		CHECK_DPI(DPI_Flush_Buffer(q1));
		CHECK_DPI(DPI_Write("zero", 4, 100, r2));
		CHECK_DPI(DPI_Flush_Buffer(r2));
		DPI_Part parts[] = {{q1, "one", 3, 0, 77}, {full, data, FILLER, 0, 77}, {q1, "two", 3, 0, 77}, {r2, "three", 5, 0, 77}, {full, data, FILLER, 0, 77}};
		CHECK_DPI(DPI_Set_Timeout(30 * MS, full));
		CHECK_DPI(DPI_Set_Timeout(30 * MS, q1));
		CHECK_DPI(DPI_Set_Timeout(30 * MS, r2));
		int64_t start = now();
		CHECK_ERROR(DPI_Scatter(parts, 5), DPI_ERR_TIMEOUT, ": ");
		CHECK_NOT_BEFORE(start, 30 * MS);
		CHECK_WITHIN(start, SECOND + 30 * MS);
		static const int errors[] = {0, DPI_ERR_TIMEOUT, 0, 0, DPI_ERR_TIMEOUT};
		for (int i = 0; i < 5; i++)
			if (parts[i].error != errors[i]) FAIL("part %d: %d, not %d", i, parts[i].error, errors[i]);
		CHECK_DPI(DPI_Flush_Buffer(q1));
		CHECK_DPI(DPI_Flush_Buffer(r2));
		*(_Atomic int *)harness_shared() = n;
		harness_barrier();
		CHECK_DPI(DPI_Set_Timeout(0, full));
		CHECK_DPI(DPI_Scatter(parts, 5));
		for (int i = 0; i < 5; i++) CHECK_INT(parts[i].error, ==, DPI_SUCCESS);
		CHECK_DPI(DPI_Flush_Buffer(full));
		harness_barrier();
	} else {
		DPI_Record r;
		harness_barrier();
		if (rank == 1) {
			TAKE_NOW(q1, "zero", 4);
			TAKE_NOW(q1, "one", 3);
			TAKE_NOW(q1, "two", 3);
			for (int n = *(_Atomic int *)harness_shared(); n; n--) {
				CHECK_DPI(DPI_Next_Record(full, &r));
				CHECK_INT(r.size, ==, FILLER);
			}
			TAKE(full, data, FILLER);
			TAKE(full, data, FILLER);
			CHECK_EMPTY(full, DPI_NO_WAIT);
		}
		if (rank == 2) {
			CHECK_DPI(DPI_Read(data, 5, 0, r2));
			CHECK(!memcmp(data, "three", 5));
		}
		harness_barrier();
	}
	(void)q0, (void)l1, (void)l2, (void)r0;
	leave(ctx);
}
