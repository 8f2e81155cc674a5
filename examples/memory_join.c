/* SPDX-License-Identifier: Apache-2.0
 * memory_join.c: a distributed hash join over remote buffers, as section 6.1 of the DPI paper describes it.
 *
 *	dpirun -n 4 build/examples/memory_join --scale 0.05
 *
 * All processes run this program. Each reads its share of both tables, hashes every row's order key to the process that
 * joins it, and appends the row, by way of a local batch for each target, to that process's queue: "orders@2",
 * "lineitem@2". Each builds a hash table of the orders that arrive at its own queue, then looks up the order of every row
 * of lineitem that arrives.
 *
 * --scale S      generate tables of that TPC-H scale factor (1: 1.5 million orders, 6 million rows of lineitem)
 * --tables DIR   or read DIR/orders.tbl and DIR/lineitem.tbl, which every process must see
 * --answers DIR  and compare with DIR/join_count.txt and DIR/join_filtered.txt; generated tables are checked without */
#include "check.h"
#include "tpch.h"

enum { ORDERS, LINEITEM, TABLES };
static const char *const table_name[TABLES] = { "orders", "lineitem" };
static const size_t row_size[TABLES] = { sizeof(struct order), sizeof(struct item) };

static struct tpch source = { .orders = 75000 };
static DPI_Context ctx;
static int node, nodes;

/* ------------------------------------------------------------------------------------------- producer: the shuffle */

#define BATCH 12288 /* bytes; a row has 24 */

struct target { /* one a process */
	DPI_Buffer queue;
	size_t row, size; /* bytes of a row, and in the batch */
	unsigned char batch[BATCH];
};

struct way { /* how many bytes went by a transport */
	char transport[32];
	uint64_t bytes;
};
enum { WAYS = 4 };

static struct way sent[WAYS];

static void send_batch(struct target *t)
{
	if (t->size)
		CHECK(DPI_Append(t->batch, t->size, t->queue));
	t->size = 0;
}

/* The upper half of the hash chooses the target, the lower half the place in its hash table. */
static void send_row(const void *row, void *targets)
{
	uint64_t key;

	memcpy(&key, row, sizeof key); /* both tables' rows begin with it */
	struct target *t = (struct target *)targets + ((mix(key) >> 32) * (uint64_t)nodes >> 32);
	if (t->size + t->row > BATCH)
		send_batch(t);
	memcpy(t->batch + t->size, row, t->row);
	t->size += t->row;
}

static void add_way(struct way *ways, const char *transport, uint64_t bytes)
{
	for (int i = 0; i < WAYS; i++)
		if (!ways[i].transport[0] || !strcmp(ways[i].transport, transport)) {
			snprintf(ways[i].transport, sizeof ways[i].transport, "%s", transport);
			ways[i].bytes += bytes;
			return;
		}
}

static void finish_target(struct target *t)
{
	DPI_Buffer_Info info = DPI_BUFFER_INFO_INIT;
	DPI_Buffer_Stats stats = { .size = sizeof stats };

	send_batch(t);
	CHECK(DPI_Append(NULL, 0, t->queue)); /* an empty record: this process has no more */
	CHECK(DPI_Flush_Buffer(t->queue));
	CHECK(DPI_Get_Buffer_Info(t->queue, &info));
	CHECK(DPI_Get_Buffer_Stats(t->queue, &stats));
	add_way(sent, info.transport, stats.append_bytes);
	CHECK(DPI_Close_Buffer(t->queue));
}

static void *produce(void *unused)
{
	struct target *target = need(calloc((size_t)nodes, sizeof *target));

	for (int table = 0; table < TABLES; table++) {
		for (int n = 0; n < nodes; n++) {
			char name[DPI_NAME_MAX];
			target[n].row = row_size[table];
			snprintf(name, sizeof name, "%s@%d", table_name[table], n);
			CHECK(DPI_Open_Buffer(name, NULL, ctx, &target[n].queue)); /* waits until node n has created it */
		}
		scan_table(&source, table == LINEITEM, node, nodes, (struct scan){ send_row, target });
		for (int n = 0; n < nodes; n++)
			finish_target(&target[n]);
	}
	free(target);
	return unused;
}

/* ----------------------------------------------------------------------------------------------- consumer: the join */

/* A hash table with open addressing; as many orders of one key as there are. */
struct slot {
	struct order order;
	bool used;
};
struct join {
	struct slot *slot;
	uint64_t mask, count;
	struct answer answer;
};

static void place(struct join *j, const struct order *o)
{
	uint64_t at = mix(o->key) & j->mask;

	while (j->slot[at].used)
		at = (at + 1) & j->mask;
	j->slot[at] = (struct slot){ *o, true };
}

static void build(struct join *j, const void *row)
{
	if (2 * ++j->count > j->mask) { /* at most half full */
		uint64_t old_mask = j->mask;
		struct slot *old = j->slot;

		j->mask = old_mask ? 2 * old_mask + 1 : 1023;
		j->slot = need(calloc(j->mask + 1, sizeof *j->slot));
		for (uint64_t i = 0; old && i <= old_mask; i++)
			if (old[i].used)
				place(j, &old[i].order);
		free(old);
	}
	place(j, row);
}

static void probe(struct join *j, const void *row)
{
	const struct item *i = row;

	for (uint64_t at = mix(i->key) & j->mask; j->slot && j->slot[at].used; at = (at + 1) & j->mask)
		if (j->slot[at].order.key == i->key)
			answer_match(&j->answer, &j->slot[at].order, i);
}

static void (*const take_row[TABLES])(struct join *j, const void *row) = { build, probe };

/* Take what arrives at a queue until every process has said that it has no more. */
static void consume_table(int table, DPI_Buffer queue, DPI_Buffer progress, struct join *j)
{
	uint64_t rows = 0;

	for (int open = nodes; open;) {
		DPI_Record record;

		CHECK(DPI_Next_Record(queue, &record)); /* the rows lie in this process's memory: they are used in place */
		for (size_t at = 0; at < record.size; at += row_size[table], rows++)
			take_row[table](j, (const char *)record.data + at);
		open -= record.size == 0;
		if (rows > 50000 || !open) {
			CHECK(DPI_Fetch_Add((uint64_t)table * 8, rows, progress, NULL));
			rows = 0;
		}
	}
}

static void *consume(void *join)
{
	DPI_Buffer queue[TABLES], progress;

	for (int table = 0; table < TABLES; table++) {
		char name[DPI_NAME_MAX];
		snprintf(name, sizeof name, "%s@%d", table_name[table], node);
		CHECK(DPI_Create_Buffer(name, DPI_NODE_SELF, NULL, ctx, &queue[table]));
	}
	CHECK(DPI_Open_Buffer("progress", NULL, ctx, &progress));
	for (int table = 0; table < TABLES; table++)
		consume_table(table, queue[table], progress, join);
	return NULL;
}

/* --------------------------------------------------------------------------------------------------- node 0's report */

struct result { /* what every process appends to node 0's queue at its end */
	struct answer answer;
	struct way sent[WAYS];
};

/* Join the thread; until then, a line every half second. */
static void watch(pthread_t thread, double start, DPI_Buffer progress)
{
	uint64_t rows[TABLES], bytes, before = 0;

	for (double at = start, next; !join_within(thread, 0.5); at = next) {
		next = now();
		CHECK(DPI_Read(rows, sizeof rows, 0, progress));
		bytes = rows[ORDERS] * row_size[ORDERS] + rows[LINEITEM] * row_size[LINEITEM];
		printf("%5.1f s  %9" PRIu64 " orders  %10" PRIu64 " rows of lineitem  %7.1f MB/s\n", next - start,
		       rows[ORDERS], rows[LINEITEM], (double)(bytes - before) * 1e-6 / (next - at));
		before = bytes;
	}
}

static void gather(DPI_Buffer results, struct result *sum)
{
	for (int n = 0; n < nodes; n++) {
		DPI_Record record;
		struct result r;

		CHECK(DPI_Next_Record(results, &record));
		memcpy(&r, record.data, sizeof r);
		answer_add(&sum->answer, &r.answer);
		for (int w = 0; w < WAYS && r.sent[w].transport[0]; w++)
			add_way(sum->sent, r.sent[w].transport, r.sent[w].bytes);
	}
}

static bool report(const struct result *r, double seconds, DPI_Buffer progress)
{
	uint64_t rows[TABLES];

	CHECK(DPI_Read(rows, sizeof rows, 0, progress));
	printf("%" PRIu64 " orders and %" PRIu64 " rows of lineitem in %.2f s: %.1f million rows/s\n", rows[ORDERS],
	       rows[LINEITEM], seconds, (double)(rows[ORDERS] + rows[LINEITEM]) / seconds * 1e-6);
	printf("moved");
	for (int w = 0; w < WAYS && r->sent[w].transport[0]; w++)
		printf("%s %.1f MB by %s", w ? "," : "", (double)r->sent[w].bytes * 1e-6, r->sent[w].transport);
	printf("\n");
	return answer_check(&r->answer, &source);
}

int main(int argc, char **argv)
{
	DPI_Buffer results, progress;
	DPI_Buffer_Attr queue = DPI_BUFFER_ATTR_INIT, region = DPI_BUFFER_ATTR_INIT;
	struct join join = { 0 };
	struct result result = { 0 };
	pthread_t producer, consumer;
	double start;
	bool right = true;

	tpch_options(&source, argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	CHECK(DPI_Init(&ctx));
	CHECK(DPI_Get_Node_Id(ctx, &node));
	CHECK(DPI_Get_Node_Count(ctx, &nodes));
	queue.create = region.create = DPI_CREATE_OR_OPEN;
	CHECK(DPI_Create_Buffer("results", 0, &queue, ctx, &results));
	region.use = DPI_USE_REGION; /* two counters: rows of each table that have arrived anywhere */
	region.capacity = TABLES * sizeof(uint64_t);
	CHECK(DPI_Create_Buffer("progress", 0, &region, ctx, &progress));
	if (node == 0)
		printf("joining orders and lineitem%s%s with %d process%s\n", source.tables ? " of " : ", generated,",
		       source.tables ? source.tables : "", nodes, nodes > 1 ? "es" : "");
	CHECK(DPI_Barrier("start", (uint32_t)nodes, 0, ctx));
	start = now();

	if (pthread_create(&consumer, NULL, consume, &join) || pthread_create(&producer, NULL, produce, NULL)) {
		fprintf(stderr, "cannot start a thread\n");
		exit(1);
	}
	if (node == 0)
		watch(consumer, start, progress);
	else
		pthread_join(consumer, NULL);
	pthread_join(producer, NULL);
	free(join.slot);

	result.answer = join.answer;
	memcpy(result.sent, sent, sizeof sent);
	CHECK(DPI_Append(&result, sizeof result, results));
	CHECK(DPI_Flush_Buffer(results));
	if (node == 0) {
		memset(&result, 0, sizeof result);
		gather(results, &result);
		right = report(&result, now() - start, progress);
	}
	CHECK(DPI_Barrier("end", (uint32_t)nodes, 0, ctx));
	CHECK(DPI_Finalize(ctx));
	return right ? 0 : 1;
}
