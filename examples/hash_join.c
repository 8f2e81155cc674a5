/* SPDX-License-Identifier: Apache-2.0
 * hash_join.c: a distributed hash join over flows, as section 6.1 of the DPI paper describes it.
 *
 *	dpirun -n 4 build/examples/hash_join --scale 0.05
 *
 * All processes run this program, and each is a source and a target of two flows, "orders" and "lineitem". A flow is all
 * there is between the scan of a table and the join: its definition says what a row is (the schema) and which process
 * joins it (dist: by the hash of the order's key). The producer thread scans its share of orders, then of lineitem, and
 * pushes row by row. The consumer thread keeps the orders that come, makes a hash table of them when that flow has ended,
 * then looks up the order of every row of lineitem that comes. So build and probe are pipelined: whoever has scanned orders
 * goes on with lineitem, which waits in the rings of those that still build, while others probe.
 *
 * Rows have the layout of C structs of the same fields and are taken where they lie in this process's memory. Nothing
 * announces the end of a table: a flow ends when all its sources are closed and everything was taken.
 *
 * What the join finds for the second query goes into a third flow, "revenue", which reduces: it adds up by discount, in each
 * process before anything travels and then in node 0, where the sums come out.
 *
 * A fourth flow gathers what every process has to say, as it goes and at its end; node 0 prints it.
 *
 * --scale S      generate tables of that TPC-H scale factor (1: 1.5 million orders, 6 million rows of lineitem)
 * --tables DIR   or read DIR/orders.tbl and DIR/lineitem.tbl, which every process must see
 * --answers DIR  and compare with DIR/join_count.txt and DIR/join_filtered.txt; generated tables are checked without */
#include <stdatomic.h>

#include "check.h"
#include "tpch.h"

enum { ORDERS, LINEITEM, TABLES };

static struct tpch tables = { .orders = 75000 };
static DPI_Context ctx;
static int node, nodes;

/* ---------------------------------------------------------------------------------------------------------- the flows */

static const DPI_Column orders_columns[] = { /* struct order */
	{ .name = "o_orderkey", .type = DPI_TYPE_INT64 },
	{ .name = "o_totalprice", .type = DPI_TYPE_DECIMAL64, .scale = 2 },
	{ .name = "o_orderdate", .type = DPI_TYPE_INT64 }, /* a DATE32 would leave four bytes of the struct unset */
};
static const DPI_Column lineitem_columns[] = { /* struct item */
	{ .name = "l_orderkey", .type = DPI_TYPE_INT64 },
	{ .name = "l_extendedprice", .type = DPI_TYPE_DECIMAL64, .scale = 2 },
	{ .name = "l_discount", .type = DPI_TYPE_INT32 },
	{ .name = "l_shipdate", .type = DPI_TYPE_DATE32 },
};

struct sale { /* a row of the flow "revenue" */
	int64_t discount, revenue;
};
static const DPI_Column sale_columns[] = {
	{ .name = "discount", .type = DPI_TYPE_INT64 },
	{ .name = "revenue", .type = DPI_TYPE_DECIMAL64, .scale = 4 },
};
static const DPI_Aggregate sums[] = {
	{ .function = DPI_AGGREGATE_COUNT_ALL },
	{ .function = DPI_AGGREGATE_SUM, .column = "revenue" },
};
struct revenue { /* what comes out of it */
	int64_t discount, rows;
	int128 sum;
};

/* Every process says the same; whoever comes first creates the flow. The first column is the key, if there are targets
 * to choose from. */
static DPI_Flow create_flow(const char *name, const DPI_Column *columns, size_t count, DPI_Flow_Attr attr)
{
	DPI_Flow flow;

	CHECK(DPI_Create_Schema(columns, count, &attr.schema));
	attr.size = sizeof attr;
	attr.create = DPI_CREATE_OR_OPEN;
	attr.sources = (uint32_t)nodes; /* when as many have been opened, no more can come, and the flow can end */
	attr.key = &columns[0].name;
	attr.key_count = 1;
	attr.dist = DPI_DIST_HASH;
	CHECK(DPI_Create_Flow(name, &attr, ctx, &flow));
	CHECK(DPI_Free_Schema(attr.schema));
	return flow;
}

/* Sources are numbered in the order of their opening: the nodes take turns, so that a source's number is its node's. */
static DPI_Source open_source(DPI_Flow flow)
{
	DPI_Source source = NULL;

	for (int n = 0; n < nodes; n++) {
		if (n == node)
			CHECK(DPI_Open_Source(flow, NULL, &source));
		CHECK(DPI_Barrier("turn", (uint32_t)nodes, 0, ctx));
	}
	return source;
}

/* -------------------------------------------------------------------------------------------------- producer: the scan */

static DPI_Source source[TABLES];
static uint64_t stall_us; /* time that pushes waited for room */

static void push_order(const void *row, void *to)
{
	CHECK(DPI_Push(row, sizeof(struct order), to));
}

static void push_item(const void *row, void *to)
{
	CHECK(DPI_Push(row, sizeof(struct item), to));
}

static void *produce(void *unused)
{
	for (int table = 0; table < TABLES; table++) {
		DPI_Source_Stats stats = { .size = sizeof stats };
		struct scan scan = { table == LINEITEM ? push_item : push_order, source[table] };

		scan_table(&tables, table == LINEITEM, node, nodes, scan);
		CHECK(DPI_Get_Source_Stats(source[table], &stats));
		stall_us += stats.stall_us;
		CHECK(DPI_Close_Source(source[table])); /* this process has no more */
	}
	return unused;
}

/* -------------------------------------------------------------------------------------------------- consumer: the join */

/* A hash table with open addressing, at most half full; as many orders of one key as there are. */
struct slot {
	struct order order;
	bool used;
};
struct join {
	DPI_Target target[TABLES];
	struct order *orders; /* as they came */
	uint64_t count, room;
	struct slot *slot;
	uint64_t mask;
	struct answer answer;
	DPI_Source revenue;
	DPI_Source_Stats sent;	       /* of revenue */
	_Atomic uint64_t rows[TABLES]; /* taken; the main thread looks at them */
	uint64_t *bytes_from;	       /* of each node */
};

static void keep_orders(struct join *j, const void *rows, size_t count)
{
	if (j->count + count > j->room) {
		j->room = 2 * (j->count + count);
		j->orders = need(realloc(j->orders, j->room * sizeof *j->orders));
	}
	memcpy(j->orders + j->count, rows, count * sizeof *j->orders);
	j->count += count;
}

enum { AHEAD = 8 }; /* rows whose slots are being fetched from memory while one is looked at */

/* The table is made when all orders have come: it has its size at once, and nothing is moved twice. */
static void build(struct join *j)
{
	for (j->mask = 1023; j->mask < 2 * j->count; j->mask = 2 * j->mask + 1)
		;
	j->slot = need(aligned_alloc(64, (j->mask + 1) * sizeof *j->slot)); /* no slot lies in two cache lines */
	memset(j->slot, 0, (j->mask + 1) * sizeof *j->slot);
	for (uint64_t i = 0; i < j->count; i++) {
		uint64_t at = mix(j->orders[i].key) & j->mask;

		if (i + AHEAD < j->count)
			__builtin_prefetch(&j->slot[mix(j->orders[i + AHEAD].key) & j->mask], 1);
		while (j->slot[at].used)
			at = (at + 1) & j->mask;
		j->slot[at] = (struct slot){ j->orders[i], true };
	}
	free(j->orders);
}

static void sell(struct join *j, const struct item *item)
{
	struct sale sale = { item->discount, item->price * (100 - item->discount) };

	CHECK(DPI_Push(&sale, sizeof sale, j->revenue));
}

static void probe(struct join *j, const void *rows, size_t count)
{
	const struct item *item = rows;

	for (size_t i = 0; i < count; i++) {
		if (i + AHEAD < count)
			__builtin_prefetch(&j->slot[mix(item[i + AHEAD].key) & j->mask]);
		for (uint64_t at = mix(item[i].key) & j->mask; j->slot[at].used; at = (at + 1) & j->mask)
			if (j->slot[at].order.key == item[i].key && answer_match(&j->answer, &j->slot[at].order, &item[i]))
				sell(j, &item[i]);
	}
}

/* Take runs of rows, where they lie, until the flow has ended. */
static void take_table(struct join *j, int table, void (*take_rows)(struct join *j, const void *rows, size_t count))
{
	DPI_Batch run;
	int error;

	while ((error = DPI_Next_Batch(j->target[table], &run)) != DPI_ERR_END) {
		CHECK(error);
		take_rows(j, run.rows, run.count);
		j->bytes_from[run.source] += run.count * run.stride;
		atomic_fetch_add_explicit(&j->rows[table], run.count, memory_order_relaxed);
		CHECK(DPI_Release_Batch(1, j->target[table]));
	}
	CHECK(DPI_Close_Target(j->target[table]));
}

static void *consume(void *arg)
{
	struct join *j = arg;

	take_table(j, ORDERS, keep_orders);
	build(j);
	take_table(j, LINEITEM, probe);
	CHECK(DPI_Flush_Source(j->revenue)); /* for the figures: closing would do it, too */
	CHECK(DPI_Get_Source_Stats(j->revenue, &j->sent));
	CHECK(DPI_Close_Source(j->revenue));
	free(j->slot);
	return NULL;
}

/* ---------------------------------------------------------------------------------------------------------- the report */

struct way { /* how many bytes came by a transport */
	char transport[32];
	uint64_t bytes;
};
enum { WAYS = 4 };

struct report { /* a row of the flow "report" */
	int64_t node;
	uint64_t rows[TABLES], stall_us;
	uint64_t sold, sent, sent_bytes; /* rows of "revenue": pushed, and as they travelled */
	struct way came[WAYS];
	struct answer answer; /* of the last report; 0 before */
};

static void add_way(struct way *ways, const char *transport, uint64_t bytes)
{
	for (int i = 0; i < WAYS; i++)
		if (!ways[i].transport[0] || !strcmp(ways[i].transport, transport)) {
			snprintf(ways[i].transport, sizeof ways[i].transport, "%s", transport);
			ways[i].bytes += bytes;
			return;
		}
}

static struct report report_of(const struct join *j, bool last)
{
	struct report r = { .node = node };

	for (int table = 0; table < TABLES; table++)
		r.rows[table] = atomic_load_explicit(&j->rows[table], memory_order_relaxed);
	if (!last)
		return r;
	r.answer = j->answer;
	r.stall_us = stall_us;
	r.sold = j->sent.reduced;
	r.sent = j->sent.rows;
	r.sent_bytes = j->sent.bytes;
	for (int n = 0; n < nodes; n++) {
		DPI_Node_Info info = DPI_NODE_INFO_INIT;

		CHECK(DPI_Get_Node_Info(n, ctx, &info));
		add_way(r.came, n == node ? "local" : info.transport, j->bytes_from[n]);
	}
	return r;
}

/* The latest of each node. */
static struct report sum_of(const struct report *latest)
{
	struct report sum = { 0 };

	for (int n = 0; n < nodes; n++) {
		for (int table = 0; table < TABLES; table++)
			sum.rows[table] += latest[n].rows[table];
		for (int w = 0; w < WAYS && latest[n].came[w].transport[0]; w++)
			add_way(sum.came, latest[n].came[w].transport, latest[n].came[w].bytes);
		sum.sold += latest[n].sold;
		sum.sent += latest[n].sent;
		sum.sent_bytes += latest[n].sent_bytes;
		answer_add(&sum.answer, &latest[n].answer);
	}
	return sum;
}

/* The sums by discount are those of the whole answer. */
static bool print_revenue(DPI_Target target, const struct report *sum)
{
	struct revenue by[101] = { { 0 } }, all = { 0 };
	DPI_Tuple tuple;
	int error;

	while ((error = DPI_Next(target, &tuple)) == DPI_SUCCESS) { /* in no order */
		struct revenue r;

		memcpy(&r, tuple.data, sizeof r);
		by[r.discount] = r;
		all.rows += r.rows;
		all.sum += r.sum;
	}
	if (error != DPI_ERR_END)
		CHECK(error);
	printf("discount      rows  revenue\n");
	for (int d = 0; d <= 100; d++) {
		char text[64];

		if (by[d].rows)
			printf("    %3d%%  %8" PRIi64 "  %s\n", d, by[d].rows, decimal_text(by[d].sum, 4, text));
	}
	printf("reduced on the way: %" PRIu64 " rows to %" PRIu64 " that travelled, %.1f kB\n", sum->sold, sum->sent,
	       (double)sum->sent_bytes * 1e-3);
	return (uint64_t)all.rows == sum->answer.filtered_rows && all.sum == sum->answer.revenue;
}

static bool print_result(const struct report *latest, DPI_Target revenue, double seconds)
{
	struct report sum = sum_of(latest);
	uint64_t all = sum.rows[ORDERS] + sum.rows[LINEITEM], most = 0;

	printf("node      orders    lineitem   share   pushes waited\n");
	for (int n = 0; n < nodes; n++) {
		uint64_t rows = latest[n].rows[ORDERS] + latest[n].rows[LINEITEM];

		printf("%4d  %10" PRIu64 "  %10" PRIu64 "  %5.1f %%  %8.1f ms\n", n, latest[n].rows[ORDERS],
		       latest[n].rows[LINEITEM], all ? 100.0 * (double)rows / (double)all : 0.0,
		       (double)latest[n].stall_us * 1e-3);
		most = rows > most ? rows : most;
	}
	printf("%" PRIu64 " orders and %" PRIu64 " rows of lineitem in %.2f s: %.1f million rows/s, skew %.2f\n",
	       sum.rows[ORDERS], sum.rows[LINEITEM], seconds, (double)all / seconds * 1e-6,
	       all ? (double)most * nodes / (double)all : 1.0);
	printf("moved");
	for (int w = 0; w < WAYS && sum.came[w].transport[0]; w++)
		printf("%s %.1f MB by %s", w ? "," : "", (double)sum.came[w].bytes * 1e-6, sum.came[w].transport);
	printf("\n");
	if (!print_revenue(revenue, &sum)) {
		printf("the sums by discount are not those of the answer\n");
		return false;
	}
	return answer_check(&sum.answer, &tables);
}

/* Take the reports that are there, or, at the end, all that come. */
static void take_reports(DPI_Target target, struct report *latest, bool end)
{
	DPI_Tuple tuple;
	int error;

	while ((error = end ? DPI_Next(target, &tuple) : DPI_Try_Next(target, &tuple)) == DPI_SUCCESS) {
		struct report r;

		memcpy(&r, tuple.data, sizeof r);
		latest[r.node] = r;
	}
	if (error != DPI_ERR_END && error != DPI_ERR_AGAIN)
		CHECK(error);
}

/* Every half second until the join is done, and then once more, each process reports. */
static void report_all(pthread_t joining, const struct join *j, DPI_Source out, DPI_Target in, double start,
		       struct report *latest)
{
	uint64_t before = 0, bytes;
	double at = start, next;
	bool last = false;

	for (; !last; at = next) {
		struct report r;

		last = join_within(joining, 0.5);
		next = now();
		r = report_of(j, last);
		CHECK(DPI_Push(&r, sizeof r, out));
		if (node || last)
			continue;
		take_reports(in, latest, false);
		r = sum_of(latest);
		bytes = r.rows[ORDERS] * sizeof(struct order) + r.rows[LINEITEM] * sizeof(struct item);
		printf("%5.1f s  %9" PRIu64 " orders  %10" PRIu64 " rows of lineitem  %7.1f MB/s\n", next - start,
		       r.rows[ORDERS], r.rows[LINEITEM], (double)(bytes - before) * 1e-6 / (next - at));
		before = bytes;
	}
	CHECK(DPI_Close_Source(out));
	if (!node)
		take_reports(in, latest, true);
}

int main(int argc, char **argv)
{
	const DPI_Column report_columns[] = {
		{ .name = "node", .type = DPI_TYPE_INT64 },
		{ .name = "report", .type = DPI_TYPE_FIXED, .width = sizeof(struct report) - sizeof(int64_t) },
	};
	struct join join = { .sent = { .size = sizeof join.sent } };
	DPI_Flow flow[TABLES], revenue, report;
	DPI_Source report_out;
	DPI_Target revenue_in = NULL, report_in = NULL;
	struct report *latest;
	pthread_t producer, consumer;
	double start;
	bool right = true;

	tpch_options(&tables, argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	CHECK(DPI_Init(&ctx));
	CHECK(DPI_Get_Node_Id(ctx, &node));
	CHECK(DPI_Get_Node_Count(ctx, &nodes));
	join.bytes_from = need(calloc((size_t)nodes, sizeof *join.bytes_from));
	latest = need(calloc((size_t)nodes, sizeof *latest));

	flow[ORDERS] = create_flow("orders", orders_columns, 3, (DPI_Flow_Attr){ .targets = (uint32_t)nodes });
	flow[LINEITEM] = create_flow("lineitem", lineitem_columns, 4, (DPI_Flow_Attr){ .targets = (uint32_t)nodes });
	revenue = create_flow("revenue", sale_columns, 2, (DPI_Flow_Attr){ .aggregates = sums, .aggregate_count = 2 });
	report = create_flow("report", report_columns, 2, (DPI_Flow_Attr){ .hint = DPI_HINT_LATENCY });
	for (int table = 0; table < TABLES; table++)
		CHECK(DPI_Open_Target((uint32_t)node, NULL, flow[table], &join.target[table]));
	if (!node) {
		CHECK(DPI_Open_Target(0, NULL, revenue, &revenue_in));
		CHECK(DPI_Open_Target(0, NULL, report, &report_in));
	}
	for (int table = 0; table < TABLES; table++)
		source[table] = open_source(flow[table]);
	join.revenue = open_source(revenue);
	report_out = open_source(report);
	if (node == 0)
		printf("joining orders and lineitem%s%s with %d process%s\n", tables.tables ? " of " : ", generated,",
		       tables.tables ? tables.tables : "", nodes, nodes > 1 ? "es" : "");
	CHECK(DPI_Barrier("start", (uint32_t)nodes, 0, ctx));
	start = now();

	if (pthread_create(&consumer, NULL, consume, &join) || pthread_create(&producer, NULL, produce, NULL)) {
		fprintf(stderr, "cannot start a thread\n");
		exit(1);
	}
	report_all(consumer, &join, report_out, report_in, start, latest);
	if (node == 0)
		right = print_result(latest, revenue_in, now() - start);
	pthread_join(producer, NULL);

	CHECK(DPI_Barrier("end", (uint32_t)nodes, 0, ctx));
	CHECK(DPI_Finalize(ctx));
	free(join.bytes_from);
	free(latest);
	return right ? 0 : 1;
}
