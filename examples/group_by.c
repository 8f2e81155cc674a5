/* SPDX-License-Identifier: Apache-2.0
 * group_by.c: select group, count(*), sum(amount) from sales group by group; with few groups, then with many.
 *
 *	dpirun -n 4 build/examples/group_by
 *
 * All processes run this program. Each has a share of the rows and pushes them into the flow "sales", which is a target in
 * every process: dist sends all rows of one group to the same target, by the hash of the group. So each target has its
 * groups whole: it adds them up in a hash table of its own, and no two tables need merging.
 *
 * What was added up travels through a second flow, "groups", whose one target is in node 0: a gather. It is sealed in the
 * same way, so node 0 has every group when that flow ends.
 *
 * With few groups this moves far more rows than it must, and as many targets as there are groups have all the work. A
 * program that knows its groups to be few adds up before it pushes.
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

struct group { /* a row of the flow "groups" */
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
static DPI_Flow create_flow(const char *name, const DPI_Column *columns, size_t count, uint32_t targets)
{
	DPI_Flow_Attr attr = DPI_FLOW_ATTR_INIT;
	DPI_Flow flow;

	CHECK(DPI_Create_Schema(columns, count, &attr.schema));
	attr.create = DPI_CREATE_OR_OPEN; /* every process says the same */
	attr.targets = targets;
	attr.sources = (uint32_t)nodes;
	attr.key = &columns[0].name;
	attr.key_count = 1;
	CHECK(DPI_Create_Flow(name, &attr, ctx, &flow));
	CHECK(DPI_Free_Schema(attr.schema));
	return flow;
}

/* ------------------------------------------------------------------------------------------------- adding up at a target */

struct table { /* open addressing, at most half full; a slot without rows is free */
	struct group *slot;
	uint64_t mask, used;
};

static struct group *find(const struct table *t, int64_t group)
{
	uint64_t at = mix((uint64_t)group) & t->mask;

	while (t->slot[at].count && t->slot[at].group != group)
		at = (at + 1) & t->mask;
	return &t->slot[at];
}

static void grow(struct table *t)
{
	struct table old = *t;

	t->mask = old.slot ? 2 * old.mask + 1 : 255;
	t->slot = need(calloc(t->mask + 1, sizeof *t->slot));
	for (uint64_t i = 0; old.slot && i <= old.mask; i++)
		if (old.slot[i].count)
			*find(t, old.slot[i].group) = old.slot[i];
	free(old.slot);
}

static void add_up(struct table *t, const struct sale *sale)
{
	struct group *g;

	if (!t->slot || 2 * t->used > t->mask)
		grow(t);
	g = find(t, sale->group);
	t->used += !g->count;
	g->group = sale->group;
	g->count++;
	g->sum += sale->amount;
}

/* The rows lie in this process's memory, one after another, as C structs. */
static void take_sales(DPI_Target target, struct table *t)
{
	DPI_Batch run;
	int error;

	while ((error = DPI_Next_Batch(target, &run)) != DPI_ERR_END) {
		CHECK(error);
		for (size_t i = 0; i < run.count; i++)
			add_up(t, (const struct sale *)run.rows + i);
		CHECK(DPI_Release_Batch(1, target));
	}
	CHECK(DPI_Close_Target(target));
}

/* ---------------------------------------------------------------------------------- pushing, in a thread of its own */

struct work {
	uint64_t groups;
	struct table table;
	DPI_Source sales, gather;
};

static void *push_sales(void *arg)
{
	struct work *w = arg;
	uint64_t end = rows * ((uint64_t)node + 1) / (uint64_t)nodes;

	for (uint64_t r = rows * (uint64_t)node / (uint64_t)nodes; r < end; r++) {
		struct sale sale = sale_of(r, w->groups);
		CHECK(DPI_Push(&sale, sizeof sale, w->sales));
	}
	CHECK(DPI_Close_Source(w->sales)); /* this process has no more */
	return NULL;
}

static void *push_groups(void *arg)
{
	struct work *w = arg;

	for (uint64_t i = 0; w->table.slot && i <= w->table.mask; i++)
		if (w->table.slot[i].count)
			CHECK(DPI_Push(&w->table.slot[i], sizeof w->table.slot[i], w->gather));
	CHECK(DPI_Close_Source(w->gather));
	return NULL;
}

static pthread_t start_thread(void *(*body)(void *), struct work *w)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, body, w)) {
		fprintf(stderr, "cannot start a thread\n");
		exit(1);
	}
	return thread;
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

static bool group_by(uint64_t groups)
{
	struct work work = { .groups = groups };
	DPI_Flow sales, gather;
	DPI_Target in, all = NULL;
	pthread_t thread;
	char name[DPI_NAME_MAX];
	bool right = true;
	double start;

	snprintf(name, sizeof name, "sales of %" PRIu64 " groups", groups);
	sales = create_flow(name, sale_columns, 2, (uint32_t)nodes);
	snprintf(name, sizeof name, "%" PRIu64 " groups", groups);
	gather = create_flow(name, group_columns, 3, 1);
	CHECK(DPI_Open_Target((uint32_t)node, NULL, sales, &in));
	if (node == 0)
		CHECK(DPI_Open_Target(0, NULL, gather, &all));
	CHECK(DPI_Open_Source(sales, NULL, &work.sales));
	CHECK(DPI_Open_Source(gather, NULL, &work.gather));
	CHECK(DPI_Barrier("start", (uint32_t)nodes, 0, ctx));
	start = now();

	thread = start_thread(push_sales, &work);
	take_sales(in, &work.table);
	pthread_join(thread, NULL);
	printf("%" PRIu64 " rows of %" PRIu64 " groups, %" PRIu64 " of them added up here: %.1f million rows/s\n", rows,
	       groups, work.table.used, (double)rows / (now() - start) * 1e-6);

	thread = start_thread(push_groups, &work);
	if (node == 0) {
		right = check_groups(all, groups);
		printf("answer checked: %s\n", right ? "ok" : "WRONG");
	}
	pthread_join(thread, NULL);
	free(work.table.slot);
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
