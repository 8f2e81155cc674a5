/* SPDX-License-Identifier: Apache-2.0
 * group_by.c: select group, count(*), sum(amount) from sales group by group; with few groups, then with many.
 *
 *	dpirun -n 4 build/examples/group_by
 *
 * All processes run this program. Each has a share of the rows and pushes them into the flow "sales", which is a target in
 * every process: dist sends all rows of one group to the same target, by the hash of the group. The flow reduces: its
 * definition names the aggregates, and what comes out of a target is a row for each of its groups.
 *
 * Rows are added up twice: in each source, before they travel, and in the target. With few groups next to nothing travels;
 * with many a group's rows still travel as one from each source. The program prints how much it was.
 *
 * What was added up goes through a second flow, "groups", whose one target is in node 0: a gather. It is sealed in the
 * same way, so node 0 has every group when that flow ends.
 *
 * --rows N   rows in all (default 2,000,000) */
#include <inttypes.h>
#include <string.h>

#include "check.h"

static uint64_t rows = 2000000;
static DPI_Context ctx;
static int node, nodes;

struct sale { /* a row of the flow "sales" */
	int64_t group, amount;
};
static const DPI_Column sale_columns[] = {
	{ .name = "group", .type = DPI_TYPE_INT64 },
	{ .name = "amount", .type = DPI_TYPE_INT64 },
};
static const DPI_Aggregate aggregates[] = {
	{ .function = DPI_AGGREGATE_COUNT_ALL },
	{ .function = DPI_AGGREGATE_SUM, .column = "amount" },
};

struct group { /* what comes out of it: the key, then the aggregates; and a row of the flow "groups" */
	int64_t group, count, sum;
};
static const DPI_Column group_columns[] = {
	{ .name = "group", .type = DPI_TYPE_INT64 },
	{ .name = "count", .type = DPI_TYPE_INT64 },
	{ .name = "sum", .type = DPI_TYPE_INT64 },
};

static uint64_t mix(uint64_t x) /* the finaliser of SplitMix64 */
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* A row is a function of its number, so that any process can make any. */
static struct sale sale_of(uint64_t row, uint64_t groups)
{
	uint64_t random = mix(row + 1);

	return (struct sale){ (int64_t)(random % groups), (int64_t)(random >> 40) };
}

/* The first column is the key. */
static DPI_Flow create_flow(const char *name, const DPI_Column *columns, size_t count, DPI_Flow_Attr attr)
{
	DPI_Flow flow;

	CHECK(DPI_Create_Schema(columns, count, &attr.schema));
	attr.size = sizeof attr;
	attr.create = DPI_CREATE_OR_OPEN; /* every process says the same */
	attr.sources = (uint32_t)nodes;
	attr.key = &columns[0].name;
	attr.key_count = 1;
	CHECK(DPI_Create_Flow(name, &attr, ctx, &flow));
	CHECK(DPI_Free_Schema(attr.schema));
	return flow;
}

/* ------------------------------------------------------------------------------------ pushing, in a thread of its own */

struct work {
	uint64_t groups;
	DPI_Source sales;
	uint64_t sent; /* bytes */
};

static void *push_sales(void *arg)
{
	struct work *w = arg;
	DPI_Source_Stats stats = { .size = sizeof stats };
	uint64_t end = rows * ((uint64_t)node + 1) / (uint64_t)nodes;

	for (uint64_t r = rows * (uint64_t)node / (uint64_t)nodes; r < end; r++) {
		struct sale sale = sale_of(r, w->groups);
		CHECK(DPI_Push(&sale, sizeof sale, w->sales));
	}
	CHECK(DPI_Flush_Source(w->sales)); /* for the figure: closing would do it, too */
	CHECK(DPI_Get_Source_Stats(w->sales, &stats));
	w->sent = stats.bytes;
	CHECK(DPI_Close_Source(w->sales)); /* this process has no more */
	return NULL;
}

/* ------------------------------------------------------------------------------------------------------------ the check */

/* Adds the rows up alone, in an array, and crosses off what came: each group once, with the right sums. */
static bool check_groups(DPI_Target target, uint64_t groups)
{
	struct group *alone = need(calloc(groups, sizeof *alone));
	uint64_t wrong = 0, missing = 0;
	DPI_Tuple tuple;
	int error;

	for (uint64_t r = 0; r < rows; r++) {
		struct sale sale = sale_of(r, groups);
		alone[sale.group].count++;
		alone[sale.group].sum += sale.amount;
	}
	while ((error = DPI_Next(target, &tuple)) != DPI_ERR_END) {
		CHECK(error);
		const struct group *g = tuple.data;
		struct group *a = &alone[g->group];
		wrong += g->count != a->count || g->sum != a->sum;
		a->count = a->sum = 0;
	}
	for (uint64_t g = 0; g < groups; g++)
		missing += alone[g].count != 0;
	free(alone);
	CHECK(DPI_Close_Target(target));
	return !wrong && !missing;
}

/* Everything that comes from one flow goes into another. */
static uint64_t pass_on(DPI_Target from, DPI_Source to)
{
	uint64_t count = 0;
	DPI_Batch run;
	int error;

	while ((error = DPI_Next_Batch(from, &run)) != DPI_ERR_END) {
		CHECK(error);
		CHECK(DPI_Push_Batch(run.rows, run.count, to, NULL));
		count += run.count;
		CHECK(DPI_Release_Batch(1, from));
	}
	CHECK(DPI_Close_Target(from));
	CHECK(DPI_Close_Source(to));
	return count;
}

static bool group_by(uint64_t groups)
{
	struct work work = { .groups = groups };
	DPI_Flow sales, gather;
	DPI_Target in, all = NULL;
	DPI_Source out;
	pthread_t thread;
	char name[DPI_NAME_MAX];
	bool right = true;
	double start;
	uint64_t here;

	snprintf(name, sizeof name, "sales of %" PRIu64 " groups", groups);
	sales = create_flow(name, sale_columns, 2, (DPI_Flow_Attr){ .targets = (uint32_t)nodes,
			    .aggregates = aggregates, .aggregate_count = 2 });
	snprintf(name, sizeof name, "%" PRIu64 " groups", groups);
	gather = create_flow(name, group_columns, 3, (DPI_Flow_Attr){ .targets = 1 });
	CHECK(DPI_Open_Target((uint32_t)node, NULL, sales, &in));
	if (node == 0)
		CHECK(DPI_Open_Target(0, NULL, gather, &all));
	CHECK(DPI_Open_Source(sales, NULL, &work.sales));
	CHECK(DPI_Open_Source(gather, NULL, &out));
	CHECK(DPI_Barrier("start", (uint32_t)nodes, 0, ctx));
	start = now();

	if (pthread_create(&thread, NULL, push_sales, &work)) {
		fprintf(stderr, "cannot start a thread\n");
		exit(1);
	}
	here = pass_on(in, out);
	pthread_join(thread, NULL);
	printf("%" PRIu64 " rows of %" PRIu64 " groups: %.1f million rows/s; %" PRIu64 " groups added up here; sent from here: "
	       "%" PRIu64 " bytes for %" PRIu64 "\n", rows, groups, (double)rows / (now() - start) * 1e-6, here, work.sent,
	       rows / (uint64_t)nodes * sizeof(struct sale));
	if (node == 0) {
		right = check_groups(all, groups);
		printf("answer checked: %s\n", right ? "ok" : "WRONG");
	}
	CHECK(DPI_Close_Flow(sales));
	CHECK(DPI_Close_Flow(gather));
	return right;
}

int main(int argc, char **argv)
{
	bool right;

	if (argc == 3 && !strcmp(argv[1], "--rows"))
		rows = strtoull(argv[2], NULL, 10);
	else if (argc > 1) {
		fprintf(stderr, "usage: group_by [--rows N]\n");
		return 2;
	}
	CHECK(DPI_Init(&ctx));
	CHECK(DPI_Get_Node_Id(ctx, &node));
	CHECK(DPI_Get_Node_Count(ctx, &nodes));
	right = group_by(4);
	right &= group_by(200000);
	CHECK(DPI_Barrier("end", (uint32_t)nodes, 0, ctx));
	CHECK(DPI_Finalize(ctx));
	return right ? 0 : 1;
}
