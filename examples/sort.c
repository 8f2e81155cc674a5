/* SPDX-License-Identifier: Apache-2.0
 * sort.c: sort rows that lie at several nodes, so that node 0 has the least of them in order, node 1 those that follow, and so on.
 *
 *	dpirun -n 4 build/examples/sort
 *
 * All processes run this program. Where one node's share ends and the next one's begins is not known beforehand, as keys are not
 * spread evenly: so each node picks some keys at random, which a gather flow brings to node 0. From them it finds the bounds of
 * shares of one size, and creates the flow "rows", whose dist is a range with these bounds. The others wait until that flow
 * appears. Each pushes all its rows into it, takes its share, and sorts that.
 *
 * To check, each tells node 0 how its share begins and ends, and what its keys add up to.
 *
 * --rows N   of each node (default 500,000) */
#include <inttypes.h>
#include <string.h>

#include "check.h"

enum { SAMPLE = 400 }; /* keys that each node picks, for each share */

struct row {
	int64_t key, payload;
};
struct share {
	int64_t node, rows, least, greatest, sum, ordered;
};

static DPI_Context ctx;
static int node, nodes;
static int64_t rows = 500000;
static DPI_Schema row_schema, key_schema, share_schema;

/* Small keys are the most frequent by far. */
static struct row row_of(int from, int64_t number)
{
	uint64_t x = ((uint64_t)from << 40 | (uint64_t)number) * 0x9e3779b97f4a7c15;

	x = (x ^ x >> 31) * 0xbf58476d1ce4e5b9;
	return (struct row){ (int64_t)(x >> (20 + (x & 31))), (int64_t)x };
}

static DPI_Target open_target(uint32_t index, DPI_Flow flow)
{
	DPI_Target target;

	CHECK(DPI_Open_Target(index, NULL, flow, &target));
	return target;
}

static DPI_Source open_source(DPI_Flow flow)
{
	DPI_Source source;

	CHECK(DPI_Open_Source(flow, NULL, &source));
	return source;
}

/* Every row that the target gives, one behind the other; *count of them. Closes it. */
static void *take_all(DPI_Target target, size_t size, size_t *count)
{
	size_t room = 1024;
	char *all = need(malloc(room * size));
	DPI_Batch batch;
	int error;

	*count = 0;
	while ((error = DPI_Next_Batch(target, &batch)) != DPI_ERR_END) {
		CHECK(error);
		while (*count + batch.count > room)
			all = need(realloc(all, (room *= 2) * size));
		memcpy(all + *count * size, batch.rows, batch.count * size);
		*count += batch.count;
		CHECK(DPI_Release_Batch(1, target));
	}
	CHECK(DPI_Close_Target(target));
	return all;
}

/* ------------------------------------------------------------------------------------------------------------ the flows */

/* On node 0: create the flow of the rows by what all have picked. */
static DPI_Flow create_rows(const int64_t *sample, size_t count)
{
	const char *key = "key";
	DPI_Values keys = { .type = DPI_TYPE_INT64, .data = sample }, bounds;
	DPI_Partition_Attr range = DPI_PARTITION_ATTR_INIT;
	DPI_Flow_Attr attr = DPI_FLOW_ATTR_INIT;
	size_t size;
	void *memory;
	DPI_Flow flow;

	range.parts = (uint32_t)nodes;
	range.keys = &keys;
	range.key_count = 1;
	CHECK(DPI_Sample_Bounds(&range, count, NULL, &size, NULL));
	memory = need(malloc(size));
	CHECK(DPI_Sample_Bounds(&range, count, memory, &size, &bounds));
	attr.schema = row_schema;
	attr.sources = attr.targets = (uint32_t)nodes;
	attr.key = &key;
	attr.key_count = 1;
	attr.dist = DPI_DIST_RANGE;
	attr.bounds = &bounds;
	CHECK(DPI_Create_Flow("rows", &attr, ctx, &flow));
	free(memory); /* the definition has a copy */
	return flow;
}

static DPI_Flow agree_on_bounds(void)
{
	DPI_Flow sample, flow;
	DPI_Target target = NULL;
	DPI_Source source;

	CHECK(DPI_Create_Gather("sample", key_schema, (uint32_t)nodes, ctx, &sample));
	if (node == 0)
		target = open_target(0, sample);
	source = open_source(sample);
	for (int64_t i = 0; i < (int64_t)SAMPLE * nodes; i++) {
		int64_t key = row_of(node, i * 7919 % rows).key;

		CHECK(DPI_Push(&key, sizeof key, source));
	}
	CHECK(DPI_Close_Source(source));
	if (node == 0) {
		size_t count;
		int64_t *keys = take_all(target, sizeof *keys, &count);

		flow = create_rows(keys, count);
		free(keys);
	} else {
		CHECK(DPI_Open_Flow("rows", row_schema, 30000000, ctx, &flow)); /* waits for it */
	}
	CHECK(DPI_Close_Flow(sample));
	return flow;
}

static void *push_rows(void *source)
{
	for (int64_t i = 0; i < rows; i++) {
		struct row row = row_of(node, i);

		CHECK(DPI_Push(&row, sizeof row, source));
	}
	CHECK(DPI_Close_Source(source));
	return NULL;
}

/* ----------------------------------------------------------------------------------------------------------- the answer */

static int by_key(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return (x->key > y->key) - (x->key < y->key);
}

static int by_node(const void *a, const void *b)
{
	const struct share *x = a, *y = b;

	return (x->node > y->node) - (x->node < y->node);
}

static struct share describe(const struct row *row, size_t count)
{
	struct share s = { .node = node, .rows = (int64_t)count, .ordered = 1 };

	if (count)
		s.least = row[0].key, s.greatest = row[count - 1].key;
	for (size_t i = 0; i < count; i++) {
		s.sum += row[i].key;
		s.ordered &= !i || row[i - 1].key <= row[i].key;
	}
	return s;
}

static bool print_shares(struct share *share, size_t count)
{
	int64_t sum = 0, expected = 0, last = INT64_MIN, all = 0;
	bool right = count == (size_t)nodes;

	qsort(share, count, sizeof *share, by_node);
	for (size_t i = 0; i < count; i++) {
		const struct share *s = &share[i];

		printf("node %" PRId64 ": %" PRId64 " rows, keys %" PRId64 " to %" PRId64 "; %.2f of an even share\n", s->node, s->rows, s->least,
		       s->greatest, (double)s->rows / (double)rows);
		right &= s->ordered && (!s->rows || s->least >= last);
		if (s->rows)
			last = s->greatest;
		sum += s->sum;
		all += s->rows;
	}
	for (int from = 0; from < nodes; from++)
		for (int64_t i = 0; i < rows; i++)
			expected += row_of(from, i).key;
	right &= all == rows * nodes && sum == expected;
	printf("%" PRId64 " rows sorted; answer checked: %s\n", all, right ? "ok" : "WRONG");
	return right;
}

int main(int argc, char **argv)
{
	static const DPI_Column row_columns[] = { { .name = "key", .type = DPI_TYPE_INT64 }, { .name = "payload", .type = DPI_TYPE_INT64 } };
	static const DPI_Column share_columns[] = {
		{ .name = "node", .type = DPI_TYPE_INT64 },	{ .name = "rows", .type = DPI_TYPE_INT64 }, { .name = "least", .type = DPI_TYPE_INT64 },
		{ .name = "greatest", .type = DPI_TYPE_INT64 }, { .name = "sum", .type = DPI_TYPE_INT64 },  { .name = "ordered", .type = DPI_TYPE_INT64 },
	};
	DPI_Flow flow, shares;
	DPI_Target target, all = NULL;
	DPI_Source source;
	pthread_t thread;
	struct row *mine;
	struct share share;
	size_t count;
	bool right = true;

	if (argc == 3 && !strcmp(argv[1], "--rows"))
		rows = atoll(argv[2]);
	if (rows < 1 || (argc != 1 && argc != 3)) {
		fprintf(stderr, "usage: sort [--rows N]\n");
		return 2;
	}
	CHECK(DPI_Create_Schema(row_columns, 2, &row_schema));
	CHECK(DPI_Create_Schema(row_columns, 1, &key_schema));
	CHECK(DPI_Create_Schema(share_columns, 6, &share_schema));
	CHECK(DPI_Init(&ctx));
	CHECK(DPI_Get_Node_Id(ctx, &node));
	CHECK(DPI_Get_Node_Count(ctx, &nodes));

	flow = agree_on_bounds();
	target = open_target((uint32_t)node, flow);
	source = open_source(flow);
	if (pthread_create(&thread, NULL, push_rows, source)) {
		fprintf(stderr, "cannot start a thread\n");
		return 1;
	}
	mine = take_all(target, sizeof *mine, &count);
	pthread_join(thread, NULL);
	qsort(mine, count, sizeof *mine, by_key);
	share = describe(mine, count);
	free(mine);
	CHECK(DPI_Close_Flow(flow));

	CHECK(DPI_Create_Gather("shares", share_schema, (uint32_t)nodes, ctx, &shares));
	if (node == 0)
		all = open_target(0, shares);
	source = open_source(shares);
	CHECK(DPI_Push(&share, sizeof share, source));
	CHECK(DPI_Close_Source(source));
	if (node == 0) {
		struct share *every = take_all(all, sizeof *every, &count);

		right = print_shares(every, count);
		free(every);
	}
	CHECK(DPI_Close_Flow(shares));
	CHECK(DPI_Barrier("end", (uint32_t)nodes, 0, ctx)); /* nobody leaves while another still takes */
	CHECK(DPI_Finalize(ctx));
	DPI_Free_Schema(row_schema);
	DPI_Free_Schema(key_schema);
	DPI_Free_Schema(share_schema);
	return right ? 0 : 1;
}
