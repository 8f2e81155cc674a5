/* SPDX-License-Identifier: Apache-2.0
 * flow_columns_retain.c: retained flows of columns whose rows go through stages. */
#include "arrow_kit.h"
#include "flow_kit.h"

#define PUSHED 100

static DPI_Target bind_again(uint64_t rows, DPI_Flow f)
{
	DPI_Target_Attr a = DPI_TARGET_ATTR_INIT;
	DPI_Position at = { .rows = rows };
	DPI_Target t;
	a.rebind = 1;
	a.position = &at, a.positions = 1;
	CHECK_DPI(DPI_Open_Target(0, &a, f, &t));
	return t;
}

/* A position lies inside a segment, of whose rows some pass a filter; confirmed is what they came from. */
TEST(columns_retained_stages, "FL-485 FL-906 FL-910", 1)
{
	DPI_Context ctx = join();
	(void)rank;
	for (int place = DPI_AT_SOURCE; place <= DPI_AT_TARGET; place++) {
		DPI_Stage stage = { .kind = DPI_STAGE_FILTER, .place = place, .text = "number % 3 = 1" };
		DPI_Flow f = FLOW(place ? "there" : "here", ctx, .targets = 1, .sources = 1, .retain = DPI_ACK_CONFIRMED, .layout = DPI_LAYOUT_COLUMNS, .stages = &stage, .stage_count = 1);
		DPI_Target t = target_of(0, f);
		DPI_Source s = source_of(f);
		DPI_Schema schema;
		struct flow_row rows[PUSHED];
		struct arrow_run run;
		size_t pushed, i = 0;
		DPI_Tuple u;
		CHECK_DPI(DPI_Get_Flow_Output_Schema(f, &schema));
		for (int n = 0; n < PUSHED; n++) rows[n] = row_of(0, n, n);
		CHECK_DPI(arrow_push(rows, sizeof *rows, PUSHED, s, &pushed));
		CHECK_DPI(DPI_Flush_Source(s));
		CHECK_DPI(DPI_Next(t, &u));
		CHECK_DPI(DPI_Close_Target(t));
		uint64_t position = place ? 50 : 17, taken; /* rows that travelled; the next that passes is number 52 */
		t = bind_again(position, f);
		CHECK_DPI(DPI_Flush_Source(s));
		for (int64_t next = 52; next < PUSHED; next += 3) {
			if (i == 0) CHECK_DPI(arrow_next(t, schema, &run));
			CHECK_INT(((const struct flow_row *)run.row[i].data)->number, ==, next);
			if (++i < run.count) continue;
			arrow_done(&run);
			i = 0;
		}
		CHECK_INT(i, ==, 0);
		CHECK_DPI(DPI_Get_Taken(0, t, &taken));
		CHECK_INT(taken, ==, place ? PUSHED : 33);
		CHECK_DPI(DPI_Ack(0, DPI_ACK_TAKEN, t));
		CHECK_DPI(DPI_Close_Source(s));
		CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
		CHECK_DPI(DPI_Close_Target(t));
		CHECK_DPI(DPI_Free_Schema(schema));
	}
	leave(ctx);
}
