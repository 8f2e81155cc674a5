/* SPDX-License-Identifier: Apache-2.0
 * mpi_flow.c: MPI for what is dense, flows for what is irregular, in one program: which item is rated best, day by day's mood
 * taken off?
 *
 *	mpirun -n 4 build/examples/mpi_flow
 *	mpirun -n 3 build/examples/mpi_flow --dpi-first --dpi-last
 *
 * Every process has a share of the ratings. Dense: the mean rating of each day, a short vector that all add up and all need:
 * MPI_Allreduce. Irregular: what each rating is above the mean of its day goes to the process that keeps the item, which
 * nobody knows before it has seen the rating: the flow "ratings", whose dist sends a row where its item's hash says. Then
 * each process knows the best of its items, and MPI_Reduce finds the best of all.
 *
 * DPI_Init asks the launcher, by PMIx, as MPI_Init does: there is nothing to set. Nodes are numbered as ranks of
 * MPI_COMM_WORLD are. The two can be started and ended in either order, the same one in every process.
 *
 * --ratings N   in all (default 1,000,000)
 * --dpi-first   DPI_Init before MPI_Init
 * --dpi-last    DPI_Finalize after MPI_Finalize */
#include <inttypes.h>
#include <mpi.h>
#include <string.h>

#include "check.h"

enum { DAYS = 7, ITEMS = 20011 };

static uint64_t ratings = 1000000;
static bool dpi_first, dpi_last;
static DPI_Context ctx;
static int rank, ranks;

struct rating {
	int64_t item, day, value;
};

struct row { /* of the flow "ratings" */
	int64_t item, above; /* the day's mean, in thousandths */
};
static const DPI_Column columns[] = {
	{ .name = "item", .type = DPI_TYPE_INT64 },
	{ .name = "above", .type = DPI_TYPE_INT64 },
};

struct best { /* as MPI_2INT has it: the value and where it is */
	int value, item;
};

/* A rating is a function of its number, so that any process can make any. */
static struct rating rating_of(uint64_t number)
{
	uint64_t x = number + 1;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	x ^= x >> 31;
	int64_t item = (int64_t)(x % ITEMS), day = (int64_t)(x >> 20 & 0xff) % DAYS;
	return (struct rating){ item, day, 1000 * ((int64_t)(x >> 40 & 3) + item % 5 + day) };
}

/* The sums and counts of some of the ratings, by day. */
static void add_days(uint64_t from, uint64_t to, int64_t sum[2 * DAYS])
{
	for (uint64_t n = from; n < to; n++) {
		struct rating r = rating_of(n);

		sum[r.day] += r.value;
		sum[DAYS + r.day]++;
	}
}

static struct row row_of(uint64_t number, const int64_t sum[2 * DAYS])
{
	struct rating r = rating_of(number);

	return (struct row){ r.item, r.value - sum[r.day] / sum[DAYS + r.day] };
}

static struct best best_of(const int64_t above[ITEMS])
{
	struct best b = { INT32_MIN, -1 };

	for (int i = 0; i < ITEMS; i++)
		if (above[i] > b.value)
			b = (struct best){ (int)above[i], i };
	return b;
}

/* ------------------------------------------------------------------------------------ pushing, in a thread of its own */

struct work {
	uint64_t from, to;
	int64_t sum[2 * DAYS];
	DPI_Source source;
};

static void *push_ratings(void *arg)
{
	struct work *w = arg;

	for (uint64_t n = w->from; n < w->to; n++) {
		struct row row = row_of(n, w->sum);
		CHECK(DPI_Push(&row, sizeof row, w->source));
	}
	CHECK(DPI_Close_Source(w->source)); /* this process has no more */
	return NULL;
}

/* Adds up what comes for this process's items; how many rows came. */
static uint64_t take_ratings(DPI_Target target, int64_t above[ITEMS])
{
	uint64_t rows = 0;
	DPI_Tuple tuple;
	int error;

	while ((error = DPI_Next(target, &tuple)) != DPI_ERR_END) {
		struct row row;

		CHECK(error);
		memcpy(&row, tuple.data, sizeof row);
		above[row.item] += row.above;
		rows++;
	}
	CHECK(DPI_Close_Target(target));
	return rows;
}

static uint64_t shuffle(struct work *work, int64_t above[ITEMS])
{
	DPI_Flow_Attr attr = DPI_FLOW_ATTR_INIT;
	DPI_Flow flow;
	DPI_Target target;
	pthread_t thread;

	attr.create = DPI_CREATE_OR_OPEN; /* every process says the same */
	attr.sources = attr.targets = (uint32_t)ranks;
	attr.key = &columns[0].name;
	attr.key_count = 1;
	CHECK(DPI_Create_Schema(columns, 2, &attr.schema));
	CHECK(DPI_Create_Flow("ratings", &attr, ctx, &flow));
	CHECK(DPI_Free_Schema(attr.schema));
	CHECK(DPI_Open_Target((uint32_t)rank, NULL, flow, &target));
	CHECK(DPI_Open_Source(flow, NULL, &work->source));
	if (pthread_create(&thread, NULL, push_ratings, work)) {
		fprintf(stderr, "cannot start a thread\n");
		exit(1);
	}
	uint64_t rows = take_ratings(target, above);

	pthread_join(thread, NULL);
	return rows;
}

/* ------------------------------------------------------------------------------------------------------------ the check */

/* The same by this process alone. */
static bool check_best(struct best found, int64_t rows)
{
	int64_t sum[2 * DAYS] = { 0 }, *above = need(calloc(ITEMS, sizeof *above));
	struct best b;

	add_days(0, ratings, sum);
	for (uint64_t n = 0; n < ratings; n++) {
		struct row row = row_of(n, sum);
		above[row.item] += row.above;
	}
	b = best_of(above);
	free(above);
	return b.item == found.item && b.value == found.value && (uint64_t)rows == ratings;
}

static void options(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--dpi-first")) dpi_first = true;
		else if (!strcmp(argv[i], "--dpi-last")) dpi_last = true;
		else if (!strcmp(argv[i], "--ratings") && i + 1 < argc) ratings = strtoull(argv[++i], NULL, 10);
		else fprintf(stderr, "usage: mpi_flow [--ratings N] [--dpi-first] [--dpi-last]\n"), exit(2);
}

int main(int argc, char **argv)
{
	struct work work = { .from = 0 };
	struct best mine, best;
	int64_t rows, all_rows = 0, *above = need(calloc(ITEMS, sizeof *above));
	int node, nodes, threads, right = 1;

	options(argc, argv);
	if (dpi_first)
		CHECK(DPI_Init(&ctx));
	MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &threads);
	if (!dpi_first)
		CHECK(DPI_Init(&ctx));
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	CHECK(DPI_Get_Node_Id(ctx, &node));
	CHECK(DPI_Get_Node_Count(ctx, &nodes));
	if (node != rank || nodes != ranks) {
		fprintf(stderr, "node %d of %d is rank %d of %d\n", node, nodes, rank, ranks);
		MPI_Abort(MPI_COMM_WORLD, 1);
	}

	work.from = ratings * (uint64_t)rank / (uint64_t)ranks;
	work.to = ratings * ((uint64_t)rank + 1) / (uint64_t)ranks;
	add_days(work.from, work.to, work.sum);
	MPI_Allreduce(MPI_IN_PLACE, work.sum, 2 * DAYS, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
	rows = (int64_t)shuffle(&work, above);
	mine = best_of(above);
	printf("rank %d keeps the items of %" PRId64 " ratings; its best is %d\n", rank, rows, mine.item);
	MPI_Reduce(&mine, &best, 1, MPI_2INT, MPI_MAXLOC, 0, MPI_COMM_WORLD);
	MPI_Reduce(&rows, &all_rows, 1, MPI_INT64_T, MPI_SUM, 0, MPI_COMM_WORLD);
	if (rank == 0) {
		right = check_best(best, all_rows);
		printf("the best of all is %d; answer checked: %s\n", best.item, right ? "ok" : "WRONG");
	}
	MPI_Bcast(&right, 1, MPI_INT, 0, MPI_COMM_WORLD);

	CHECK(DPI_Barrier("end", (uint32_t)ranks, 0, ctx));
	if (!dpi_last)
		CHECK(DPI_Finalize(ctx));
	MPI_Finalize();
	if (dpi_last)
		CHECK(DPI_Finalize(ctx));
	free(above);
	return right ? 0 : 1;
}
