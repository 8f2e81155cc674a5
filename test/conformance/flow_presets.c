/* SPDX-License-Identifier: Apache-2.0
 * flow_presets.c: the flows that are created in a line are those that attributes define. */
#include "flow_kit.h"

static DPI_Schema schema_of_rows(void)
{
	DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "number", DPI_TYPE_INT64, 0, 0, 0, 0 },
				 { "from", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "check", DPI_TYPE_UINT64, 0, 0, 0, 0 } };
	DPI_Schema s;
	CHECK_DPI(DPI_Create_Schema(columns, 4, &s));
	return s;
}

/* The flow that is there is the one that attr defines, and no other. */
static void same(const char *name, DPI_Flow made, DPI_Flow_Attr a, DPI_Context ctx)
{
	DPI_Flow f;
	a.create = DPI_CREATE_OR_OPEN;
	CHECK_DPI(DPI_Create_Flow(name, &a, ctx, &f));
	CHECK_DPI(DPI_Close_Flow(f));
	a.sources++;
	CHECK_ERROR(DPI_Create_Flow(name, &a, ctx, &f), DPI_ERR_EXISTS, "sources");
	CHECK_DPI(DPI_Close_Flow(made));
}

TEST(presets_are_flows, "FL-20", 2)
{
	static const char *const key[] = { "key" };
	DPI_Aggregate sum = { .function = DPI_AGGREGATE_SUM, .column = "number" };
	DPI_Context ctx = join();
	DPI_Schema s = schema_of_rows();
	DPI_Flow f;
	harness_barrier();
	CHECK_DPI(DPI_Create_Shuffle("shuffle", s, "key", 3, 4, ctx, &f)); /* both at once */
	same("shuffle", f, *FLOW_ATTR(.schema = s, .key = key, .key_count = 1, .sources = 3, .targets = 4), ctx);
	CHECK_DPI(DPI_Create_Replicate("replicate", s, 0, 3, ctx, &f));
	same("replicate", f, *FLOW_ATTR(.schema = s, .dist = DPI_DIST_BROADCAST, .targets = 3), ctx);
	CHECK_DPI(DPI_Create_Combine("combine", s, "key", &sum, 1, 2, 2, ctx, &f));
	same("combine", f, *FLOW_ATTR(.schema = s, .key = key, .key_count = 1, .sources = 2, .targets = 2, .aggregates = &sum, .aggregate_count = 1), ctx);
	CHECK_DPI(DPI_Create_Gather("gather", s, 2, ctx, &f));
	same("gather", f, *FLOW_ATTR(.schema = s, .sources = 2, .targets = 1), ctx);
	CHECK_DPI(DPI_Free_Schema(s));
	leave(ctx);
}

TEST(presets_move_rows, "FL-20", 3)
{
	enum { ROWS = 1000 };
	DPI_Context ctx = join();
	DPI_Schema s = schema_of_rows();
	DPI_Flow shuffle, gather;
	int64_t *taken = harness_shared();
	CHECK_DPI(DPI_Create_Shuffle("shuffle", s, "key", (uint32_t)ranks, (uint32_t)ranks, ctx, &shuffle));
	CHECK_DPI(DPI_Create_Gather("gather", s, (uint32_t)ranks, ctx, &gather));
	DPI_Target t = target_of((uint32_t)rank, shuffle), all = rank == 1 ? target_of(0, gather) : NULL;
	DPI_Source to = source_of(shuffle), on = source_of(gather);
	struct flow_tally shuffled = { 0 }, gathered = { 0 };
	push_rows(to, rank, 0, ROWS);
	CHECK_DPI(DPI_Close_Source(to));
	flow_drain(t, &shuffled);
	push_rows(on, rank, 0, shuffled.total);
	taken[rank] = shuffled.total;
	CHECK_DPI(DPI_Close_Source(on));
	if (all) flow_drain(all, &gathered);
	harness_barrier();
	if (all) CHECK_INT(gathered.total, ==, ROWS * ranks);
	CHECK_INT(taken[0] + taken[1] + taken[2], ==, ROWS * ranks);
	CHECK(shuffled.total);
	CHECK_DPI(DPI_Close_Target(t));
	if (all) CHECK_DPI(DPI_Close_Target(all));
	CHECK_DPI(DPI_Close_Flow(shuffle));
	CHECK_DPI(DPI_Close_Flow(gather));
	CHECK_DPI(DPI_Free_Schema(s));
	leave(ctx);
}

TEST(presets_refuse, "FL-21 R-11", 0)
{
	DPI_Aggregate sum = { .function = DPI_AGGREGATE_SUM, .column = "number" };
	DPI_Context ctx = join();
	DPI_Schema s = schema_of_rows();
	DPI_Flow f;
	CHECK_ERROR(DPI_Create_Shuffle("f", s, NULL, 1, 2, ctx, &f), DPI_ERR_ARGUMENT, "key is NULL: ");
	CHECK_ERROR(DPI_Create_Combine("f", s, NULL, &sum, 1, 1, 2, ctx, &f), DPI_ERR_ARGUMENT, "key is NULL: ");
	CHECK_ERROR(DPI_Create_Combine("f", s, "key", NULL, 0, 1, 2, ctx, &f), DPI_ERR_ARGUMENT, "no aggregates: ");
	CHECK_ERROR(DPI_Create_Combine("f", s, "key", &sum, 0, 1, 2, ctx, &f), DPI_ERR_ARGUMENT, "no aggregates: ");
	CHECK_ERROR(DPI_Create_Shuffle("f", s, "colour", 1, 2, ctx, &f), DPI_ERR_NAME, "colour");
	CHECK_ERROR(DPI_Create_Shuffle("f", NULL, "key", 1, 2, ctx, &f), DPI_ERR_ARGUMENT, "schema");
	CHECK_ERROR(DPI_Create_Shuffle("f", s, "key", 1, DPI_TARGETS_MAX + 1, ctx, &f), DPI_ERR_ARGUMENT, "targets");
	CHECK_ERROR(DPI_Create_Replicate(NULL, s, 1, 2, ctx, &f), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(DPI_Create_Gather("f", s, 1, NULL, &f), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(DPI_Create_Gather("f", s, 1, ctx, NULL), DPI_ERR_ARGUMENT, "NULL");
	CHECK_DPI(DPI_Free_Schema(s));
	CHECK_DPI(DPI_Finalize(ctx));
}
