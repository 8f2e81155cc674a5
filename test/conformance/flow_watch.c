/* SPDX-License-Identifier: Apache-2.0
 * flow_watch.c: what can be seen of flows while they run: numbers, counters. */
#include "flow_kit.h"

/* Each source, in whatever process and order, is known to its target by the number that it is told; rows that vary are counted
 * by their own bytes. */
TEST(flow_source_number, "FL-601 FL-403", 3)
{
	enum { EACH = 3 };
	static const DPI_Column columns[] = { { "number", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 0, 0, 0, 0 } };
	_Atomic uint64_t *bytes = harness_shared();
	DPI_Context ctx = join();
	DPI_Schema schema;
	DPI_Value v[2] = { 0 };
	CHECK_DPI(DPI_Create_Schema(columns, 2, &schema));
	DPI_Flow f = FLOW("f", ctx, .schema = schema, .dist = DPI_DIST_ROUND_ROBIN, .sources = 2 * EACH);
	DPI_Target t = rank ? NULL : target_of(0, f);
	if (rank) {
		DPI_Source s[EACH];
		for (int i = 0; i < EACH; i++) s[i] = source_of(f);
		for (int i = EACH - 1; i >= 0; i--) {
			uint8_t row[100];
			size_t size;
			uint32_t number = UINT32_MAX;
			CHECK_DPI(DPI_Get_Source_Number(s[i], &number));
			v[0] = (DPI_Value){ .type = DPI_TYPE_INT64, .i = number };
			v[1] = (DPI_Value){ .type = DPI_TYPE_UTF8, .size = 5 + (uint32_t)i, .data = "nine bytes" };
			CHECK_DPI(DPI_Pack_Row(v, schema, row, sizeof row, &size));
			CHECK_DPI(DPI_Push(row, size, s[i]));
			*bytes += size;
			CHECK_DPI(DPI_Close_Source(s[i]));
		}
	}
	harness_barrier();
	if (rank == 0) {
		bool seen[2 * EACH] = { 0 };
		DPI_Tuple u;
		int error;
		while (!(error = DPI_Next(t, &u))) {
			CHECK_INT(u.source, <, 2 * EACH);
			CHECK_DPI(DPI_Get_Value(u.data, u.size, 0, schema, v));
			CHECK_INT(v[0].i, ==, u.source);
			CHECK(!seen[u.source]);
			seen[u.source] = true;
		}
		CHECK_ERROR(error, DPI_ERR_END, "'f'");
		DPI_Target_Stats stats = { .size = sizeof stats };
		CHECK_DPI(DPI_Get_Target_Stats(t, &stats));
		CHECK_INT(stats.rows, ==, 2 * EACH);
		CHECK_INT(stats.bytes, ==, *bytes);
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}
