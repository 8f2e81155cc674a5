/* SPDX-License-Identifier: Apache-2.0
 * flow_route.c: where rows go, as DPI_Route tells it, against what a program computes itself. */
#include "memory_kit.h"

struct order {
	int64_t key;
	uint32_t part;
	uint32_t number;
};

enum { ORDERS = 500, TARGETS = 8 };

static struct order orders[ORDERS];

static DPI_Schema order_schema(void)
{
	DPI_Schema s;
	DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "part", DPI_TYPE_UINT32, 0, 0, 0, 0 },
				 { "number", DPI_TYPE_UINT32, 0, 0, 0, 0 } };
	CHECK_DPI(DPI_Create_Schema(columns, 3, &s));
	for (uint32_t i = 0; i < ORDERS; i++)
		orders[i] = (struct order){ (int64_t)(harness_seed() * (i + 1) * 0x9e3779b97f4a7c15), i * 7919, i };
	return s;
}

/* Attributes of a flow of orders by the key columns "key" and "part", of these the first keys. */
static DPI_Flow_Attr attr_of(DPI_Schema s, int dist, size_t keys)
{
	static const char *const key[] = { "key", "part" };
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	a.schema = s, a.dist = dist, a.targets = TARGETS;
	if (keys) a.key = key, a.key_count = keys;
	return a;
}

static DPI_Flow flow_of(const char *name, const DPI_Flow_Attr *attr, DPI_Context ctx)
{
	DPI_Flow flow;
	CHECK_DPI(DPI_Create_Flow(name, attr, ctx, &flow));
	return flow;
}

static uint32_t route(const struct order *o, DPI_Flow flow)
{
	uint32_t to[TARGETS], count;
	CHECK_DPI(DPI_Route(o, sizeof *o, flow, to, &count));
	CHECK_INT(count, ==, 1);
	return to[0];
}

/* The parts that chapter 10 finds for the same keys. */
static void parts_of(DPI_Partition_Attr a, size_t keys, uint16_t *part)
{
	DPI_Values v[2] = { { .type = DPI_TYPE_INT64, .data = &orders->key, .stride = sizeof *orders },
			    { .type = DPI_TYPE_UINT32, .data = &orders->part, .stride = sizeof *orders } };
	a.keys = v, a.key_count = keys;
	CHECK_DPI(DPI_Partition(&a, ORDERS, part, NULL));
}

TEST(route_by_columns, "FL-210 FL-211 FL-212 FL-213 FL-214 FL-225", 1, .once = true)
{
	DPI_Context ctx = join();
	DPI_Schema s = order_schema();
	DPI_Partition_Attr p = DPI_PARTITION_ATTR_INIT;
	uint16_t part[ORDERS];
	int64_t bound[TARGETS - 1];
	uint32_t table[100];
	DPI_Values bounds = { .type = DPI_TYPE_INT64, .data = bound };
	for (int i = 0; i < TARGETS - 1; i++) bound[i] = (i - 3) * (INT64_MAX / 5);
	for (uint32_t i = 0; i < 100; i++) table[i] = i * i % TARGETS;
	for (size_t keys = 1; keys <= 2; keys++) {
		DPI_Flow_Attr a = attr_of(s, DPI_DIST_HASH, keys);
		p.salt = a.salt = 12345, p.parts = TARGETS, p.method = DPI_PARTITION_HASH;
		DPI_Flow flow = flow_of(keys == 1 ? "hash" : "hashes", &a, ctx);
		parts_of(p, keys, part);
		for (int i = 0; i < ORDERS; i++) CHECK_INT(route(orders + i, flow), ==, part[i]);
		a.dist = DPI_DIST_TABLE, a.table = table, p.parts = a.table_size = 100;
		flow = flow_of(keys == 1 ? "table" : "tables", &a, ctx);
		parts_of(p, keys, part);
		for (int i = 0; i < ORDERS; i++) CHECK_INT(route(orders + i, flow), ==, table[part[i]]);
	}
	DPI_Flow_Attr a = attr_of(s, DPI_DIST_RADIX, 1);
	p.parts = TARGETS, p.shift = a.shift = 5, p.method = DPI_PARTITION_RADIX;
	DPI_Flow flow = flow_of("radix", &a, ctx);
	parts_of(p, 1, part);
	for (int i = 0; i < ORDERS; i++) CHECK_INT(route(orders + i, flow), ==, part[i]);
	static const char *const two[] = { "number", "part" };
	DPI_Values numbers[2] = { { .type = DPI_TYPE_UINT32, .data = &orders->number, .stride = sizeof *orders },
				  { .type = DPI_TYPE_UINT32, .data = &orders->part, .stride = sizeof *orders } };
	a.key = two, a.key_count = 2, p.keys = numbers, p.key_count = 2;
	p.shift = a.shift = 30; /* bits of both */
	flow = flow_of("radix of two", &a, ctx);
	CHECK_DPI(DPI_Partition(&p, ORDERS, part, NULL));
	for (int i = 0; i < ORDERS; i++) {
		CHECK_INT(part[i], ==, ((orders[i].number & 1) << 2 | orders[i].part >> 30));
		CHECK_INT(route(orders + i, flow), ==, part[i]);
	}
	a = attr_of(s, DPI_DIST_RANGE, 1);
	p.bounds = a.bounds = &bounds, p.method = DPI_PARTITION_RANGE;
	flow = flow_of("range", &a, ctx);
	parts_of(p, 1, part);
	for (int i = 0; i < ORDERS; i++) CHECK_INT(route(orders + i, flow), ==, part[i]);
	CHECK_DPI(DPI_Free_Schema(s));
	leave(ctx);
}

/* Bounds that were sampled are taken as they are, of keys of two columns too; and parts are even. */
TEST(route_by_sampled_bounds, "D-17 FL-214", 1, .once = true)
{
	DPI_Context ctx = join();
	DPI_Schema s = order_schema();
	DPI_Values key[2] = { { .type = DPI_TYPE_INT64, .data = &orders->key, .stride = sizeof *orders },
			      { .type = DPI_TYPE_UINT32, .data = &orders->part, .stride = sizeof *orders } }, bounds[2];
	for (size_t keys = 1; keys <= 2; keys++) {
		DPI_Partition_Attr p = DPI_PARTITION_ATTR_INIT;
		DPI_Flow_Attr a = attr_of(s, DPI_DIST_RANGE, keys);
		uint64_t memory[2 * TARGETS];
		uint16_t part[ORDERS];
		int rows[TARGETS] = { 0 };
		size_t size = sizeof memory;
		p.method = DPI_PARTITION_RANGE, p.parts = TARGETS, p.keys = key, p.key_count = keys;
		CHECK_DPI(DPI_Sample_Bounds(&p, ORDERS, memory, &size, bounds));
		p.bounds = a.bounds = bounds;
		DPI_Flow flow = flow_of(keys == 1 ? "one" : "two", &a, ctx);
		parts_of(p, keys, part);
		for (int i = 0; i < ORDERS; i++) CHECK_INT(route(orders + i, flow), ==, part[i]);
		for (int i = 0; i < ORDERS; i++) rows[part[i]]++;
		for (int t = 0; t < TARGETS; t++) CHECK(rows[t] == ORDERS / TARGETS || rows[t] == ORDERS / TARGETS + 1); /* keys differ */
	}
	CHECK_DPI(DPI_Free_Schema(s));
	leave(ctx);
}

TEST(route_without_a_key, "FL-216 FL-217 FL-224 FL-225", 1, .once = true)
{
	DPI_Context ctx = join();
	DPI_Schema s = order_schema();
	DPI_Flow_Attr a = attr_of(s, DPI_DIST_ROUND_ROBIN, 0);
	uint32_t to[TARGETS], count;
	DPI_Flow flow = flow_of("robin", &a, ctx);
	CHECK_INT(route(orders, flow), ==, 0); /* nobody has pushed, no source was opened */
	CHECK_INT(route(orders + 1, flow), ==, 0);
	a.dist = DPI_DIST_BROADCAST;
	flow = flow_of("broadcast", &a, ctx);
	CHECK_DPI(DPI_Route(orders, sizeof *orders, flow, to, &count));
	CHECK_INT(count, ==, TARGETS);
	for (uint32_t t = 0; t < count; t++) CHECK_INT(to[t], ==, t);
	DPI_Flow_Attr one = DPI_FLOW_ATTR_INIT;
	one.schema = s;
	flow = flow_of("one", &one, ctx);
	CHECK_INT(route(orders, flow), ==, 0);
	CHECK_DPI(DPI_Free_Schema(s));
	leave(ctx);
}

static int group_number(const void *row, size_t size, void *arg, uint64_t *key)
{
	struct order o;
	if (size != sizeof o) return DPI_ERR_SIZE;
	memcpy(&o, row, sizeof o);
	*key = UINT64_MAX - o.number;
	return o.number == 13 ? *(int *)arg : DPI_SUCCESS;
}

/* Number n: filtered if n mod 8 is 0, else as many targets from the key's on, the first of them twice. */
static int dist_some(const void *row, size_t size, uint64_t key, uint32_t targets, void *arg, uint32_t *to, uint32_t *count)
{
	struct order o;
	(void)size, (void)arg;
	memcpy(&o, row, sizeof o);
	*count = o.number % 8;
	for (uint32_t i = 0; i < *count; i++) to[i] = (uint32_t)((key + i) % targets);
	if (*count) to[(*count)++] = to[0];
	if (o.number == 14) *to = targets;
	return DPI_SUCCESS;
}

TEST(route_by_functions, "FL-200 FL-201 FL-202 FL-204 FL-218 FL-219 FL-220 FL-221 FL-222 FL-223 FL-225", 1, .once = true)
{
	static int error = DPI_ERR_UNSUPPORTED;
	uint32_t to[TARGETS] = { 99 }, count = 99;
	uint64_t hashes[ORDERS];
	DPI_Flow flow = NULL;
	CHECK_ERROR(DPI_Register_Group("", 1, group_number, NULL), DPI_ERR_ARGUMENT, "name");
	CHECK_DPI(DPI_Register_Group("number", 1, group_number, NULL));
	CHECK_DPI(DPI_Register_Group("number", 1, group_number, &error)); /* before DPI_Init, and again */
	DPI_Context ctx = join();
	DPI_Schema s = order_schema();
	DPI_Flow_Attr a = attr_of(s, DPI_DIST_HASH, 0);
	a.group = "number", a.group_version = 1;
	flow = flow_of("group", &a, ctx);
	for (int i = 0; i < ORDERS; i++) {
		uint64_t key = UINT64_MAX - (uint64_t)i;
		DPI_Values v = { .type = DPI_TYPE_UINT64, .data = &key };
		CHECK_DPI(DPI_Hash_Rows(&v, 1, 1, 0, hashes));
		if (i == 13) continue;
		CHECK_INT(route(orders + i, flow), ==, (hashes[0] >> 32) * TARGETS >> 32);
	}
	CHECK_ERROR(DPI_Route(orders + 13, sizeof *orders, flow, to, &count), DPI_ERR_UNSUPPORTED, "number");
	CHECK(to[0] == 99 && count == 99);

	CHECK_DPI(DPI_Register_Dist("some", 1, dist_some, NULL));
	a = attr_of(s, DPI_DIST_FUNCTION, 1);
	a.dist_function = "some", a.dist_version = 1;
	flow = flow_of("dist", &a, ctx);
	DPI_Values v = { .type = DPI_TYPE_INT64, .data = &orders->key, .stride = sizeof *orders };
	CHECK_DPI(DPI_Hash_Rows(&v, 1, ORDERS, 0, hashes));
	for (uint32_t i = 0; i < ORDERS; i++) {
		if (i == 14) continue;
		CHECK_DPI(DPI_Route(orders + i, sizeof *orders, flow, to, &count));
		CHECK_INT(count, ==, i % 8);
		for (uint32_t t = 0; t < count; t++) CHECK_INT(to[t], ==, (hashes[i] + t) % TARGETS);
	}
	CHECK_ERROR(DPI_Route(orders + 14, sizeof *orders, flow, to, &count), DPI_ERR_CORRUPT, "some");
	CHECK_DPI(DPI_Free_Schema(s));
	leave(ctx);
}

TEST(route_of_no_row, "FL-225", 1, .once = true)
{
	DPI_Context ctx = join();
	DPI_Schema s;
	DPI_Column columns[] = { { "text", DPI_TYPE_UTF8, 0, 0, 0, 0 }, { "yes", DPI_TYPE_BOOL, 0, 0, 0, 0 } };
	CHECK_DPI(DPI_Create_Schema(columns, 2, &s));
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	const char *key = "text";
	uint32_t to[4], count;
	uint8_t row[64];
	size_t size;
	a.schema = s, a.targets = 4, a.key = &key, a.key_count = 1;
	DPI_Flow flow = flow_of("texts", &a, ctx);
	DPI_Value v[2] = { { .type = DPI_TYPE_UTF8, .size = 5, .data = "hello" }, { .type = DPI_TYPE_BOOL, .i = 1 } };
	CHECK_DPI(DPI_Pack_Row(v, s, row, sizeof row, &size));
	CHECK_DPI(DPI_Route(row, size, flow, to, &count));
	CHECK_ERROR(DPI_Route(row, 3, flow, to, &count), DPI_ERR_SIZE, "3 bytes");
	CHECK_ERROR(DPI_Route(row, size - 1, flow, to, &count), DPI_ERR_CORRUPT, "text");
	row[8] = 2;
	CHECK_ERROR(DPI_Route(row, size, flow, to, &count), DPI_ERR_CORRUPT, "yes");
	CHECK_ERROR(DPI_Route(NULL, size, flow, to, &count), DPI_ERR_ARGUMENT, "row");
	CHECK_ERROR(DPI_Route(row, size, flow, NULL, &count), DPI_ERR_ARGUMENT, "targets");
	CHECK_ERROR(DPI_Route(row, size, flow, to, NULL), DPI_ERR_ARGUMENT, "count");
	CHECK_ERROR(DPI_Route(row, size, NULL, to, &count), DPI_ERR_ARGUMENT, "flow");
	CHECK_DPI(DPI_Close_Flow(flow));
	CHECK_ERROR(DPI_Route(row, size, flow, to, &count), DPI_ERR_HANDLE, "flow");
	CHECK_DPI(DPI_Free_Schema(s));
	leave(ctx);
}
