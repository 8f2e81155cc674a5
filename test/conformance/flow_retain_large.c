/* SPDX-License-Identifier: Apache-2.0
 * flow_retain_large.c: rows larger than a segment, for several targets of a retained flow, of which one moves all the time. */
#include "flow_kit.h"

enum { ROWS = 1500, MOVES = 150, TEXT = 3000, LONG = 60 * SECOND };

static size_t write_row(uint8_t *to, DPI_Schema schema, int64_t n)
{
	char text[TEXT];
	size_t size;
	memset(text, 'a' + (int)(n % 26), sizeof text);
	CHECK_DPI(DPI_Pack_Row((const DPI_Value[]){ { .type = DPI_TYPE_INT64, .i = n }, { .type = DPI_TYPE_UTF8, .data = text, .size = sizeof text } }, schema, to, 2 * TEXT, &size));
	return size;
}

static DPI_Target bind(uint32_t index, DPI_Flow f)
{
	DPI_Target t;
	DPI_Target_Attr a = DPI_TARGET_ATTR_INIT;
	a.timeout_us = LONG;
	a.rebind = 1;
	CHECK_DPI(DPI_Open_Target(index, &a, f, &t));
	return t;
}

/* No push is told that its row is at one target and not at the other: what was begun for one that moves is kept for it. */
static void moves(int rank, enum kit_codecs codecs)
{
	static const DPI_Column columns[] = { { "n", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 0, 0, 0, 0 } };
	static uint8_t row[2 * TEXT] __attribute__((aligned(16)));
	DPI_Context ctx = join();
	DPI_Schema schema;
	CHECK_DPI(DPI_Create_Schema(columns, 2, &schema));
	DPI_Flow_Attr *a = FLOW_ATTR(.schema = schema, .dist = DPI_DIST_BROADCAST, .targets = 2, .sources = 1, .retain = DPI_ACK_RELEASED, .segment = 1024, .memory = 65536);
	kit_codecs(codecs, a, ctx);
	DPI_Flow f = kit_flow("f", a, ctx);
	if (rank == 0) {
		DPI_Source s = source_with(f, LONG);
		for (int64_t n = 0; n < ROWS; n++) CHECK_DPI(DPI_Push(row, write_row(row, schema, n), s));
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		uint64_t seed = draw_seed(rank);
		DPI_Target t = bind((uint32_t)rank - 1, f);
		DPI_Tuple u;
		int64_t next = 0, left = 0;
		int error, moved = 0;
		for (; !(error = DPI_Next(t, &u)); left--) {
			int64_t n;
			memcpy(&n, u.data, sizeof n);
			CHECK_INT(n, <=, next); /* from where nothing is missing */
			CHECK_INT(u.size, ==, write_row(row, schema, n));
			CHECK(!memcmp(u.data, row, u.size));
			if (n == next) next++;
			if (rank == 1 || left || moved++ == MOVES) continue;
			DPI_Target former = t;
			t = bind(1, f);
			CHECK_DPI(DPI_Close_Target(former));
			left = 1 + (int64_t)draw(&seed, 15);
		}
		CHECK_ERROR(error, DPI_ERR_END, "ended");
		CHECK_INT(next, ==, ROWS);
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

TEST(large_rows_of_a_target_that_moves, "FL-429 FL-905", 3, .deadline_s = 180) { moves(rank, KIT_PLAIN); }
TEST(large_rows_of_a_target_that_moves_compressed, "FL-429 FL-905", 3, .deadline_s = 180) { moves(rank, KIT_COMPRESSED); }
TEST(large_rows_of_a_target_that_moves_encrypted, "FL-429 FL-905 C-20", 3, .deadline_s = 180) { moves(rank, KIT_ENCRYPTED); }
