/* SPDX-License-Identifier: Apache-2.0
 * flow_sieve.h: a Bloom filter for the sources of a flow of flow_plan.h, made of the rows of another flow, in parts of several processes. */
#ifndef FLOW_SIEVE_H
#define FLOW_SIEVE_H

#include "flow_definition.h"

/* Was the key added, and by which part? */
static bool is_added(const struct plan *p, int64_t key, uint32_t parts, uint32_t part)
{
	uint64_t r = mix(p->seed + 40 + (uint64_t)p->group[key]);
	return r % 3 == 0 && r / 3 % parts == part;
}

static uint32_t sieve_parts(const struct plan *p)
{
	return 1 + (uint32_t)(mix(p->seed + 41) % 2);
}

static void sieve_name(const struct plan *p, char name[32])
{
	snprintf(name, 32, "%.20s_sieve", p->name);
}

/* A flow of the same rows and key, for one process. */
static DPI_Flow side_flow(const struct plan *p, const char *what, int rank, DPI_Context ctx, char name[40])
{
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	const char *key[2];
	DPI_Flow flow;
	a.schema = p->columns.schema;
	a.sources = 1;
	a.key = key;
	a.key_count = key_names(&p->columns, key);
	a.salt = p->seed;
	a.layout = (int)(p->seed % 2);
	snprintf(name, 40, "%.20s_%s%d", p->name, what, rank);
	CHECK_DPI(DPI_Create_Flow(name, &a, ctx, &flow));
	return flow;
}

static uint32_t side_row(const struct plan *p, int64_t key, uint8_t *row)
{
	uint8_t room[ROW_MOST];
	DPI_Value values[COLUMNS_MOST];
	row_values(p, key, 0, 1, values, room);
	uint32_t size = pack_values(values, p->columns.schema, row);
	soil(&p->columns, row, size);
	return size;
}

/* Taken by a target that adds them. */
static void add_taken(const struct plan *p, uint32_t parts, uint32_t part, DPI_Flow flow, DPI_Bloom bloom)
{
	uint8_t row[ROW_MOST];
	DPI_Source source;
	DPI_Target target;
	DPI_Batch b;
	DPI_Tuple u;
	int error = DPI_SUCCESS;
	CHECK_DPI(DPI_Open_Target(0, NULL, flow, &target));
	CHECK_DPI(DPI_Open_Source(flow, NULL, &source));
	CHECK_DPI(DPI_Set_Target_Bloom(bloom, target));
	for (int64_t key = 0; key < KEYS; key++)
		if (is_added(p, key, parts, part)) CHECK_DPI(DPI_Push(row, side_row(p, key, row), source));
	CHECK_DPI(DPI_Close_Source(source));
	for (uint64_t i = p->seed; !error; i++) {
		if (i % 2) error = DPI_Next(target, &u);
		else if (!(error = DPI_Next_Batch(target, &b))) CHECK_DPI(DPI_Release_Batch(1, target));
	}
	CHECK_ERROR(error, DPI_ERR_END, "ended");
	CHECK_DPI(DPI_Close_Target(target));
}

static void make_part(const struct plan *p, uint32_t parts, uint32_t part, DPI_Context ctx)
{
	DPI_Bloom_Attr a = DPI_BLOOM_ATTR_INIT;
	DPI_Bloom bloom;
	uint8_t row[ROW_MOST];
	char name[40];
	DPI_Flow flow = side_flow(p, "made", (int)part, ctx, name);
	a.expected = KEYS;
	a.rate = mix(p->seed + 42) % 2 ? 0.3 : 0;
	CHECK_DPI(DPI_Create_Bloom(flow, &a, &bloom));
	if (mix(p->seed + part + 43) % 2) add_taken(p, parts, part, flow, bloom);
	else
		for (int64_t key = 0; key < KEYS; key++)
			if (is_added(p, key, parts, part)) CHECK_DPI(DPI_Insert_Bloom(row, side_row(p, key, row), 1, bloom));
	CHECK_DPI(DPI_Close_Flow(flow));
	CHECK_DPI(DPI_Destroy_Flow(name, ctx));
	sieve_name(p, name);
	CHECK_DPI(DPI_Publish_Bloom(name, parts, bloom));
	CHECK_DPI(DPI_Close_Bloom(bloom));
}

static bool has_null(const struct columns *c, int64_t key)
{
	for (uint32_t i = 0; i < c->keys; i++)
		if (is_null(c, c->key[i], of_value(c, c->key[i], key, 0, 0))) return true;
	return false;
}

static DPI_Bloom sieve_open(const struct plan *p, DPI_Context ctx)
{
	DPI_Bloom bloom;
	char name[32];
	sieve_name(p, name);
	CHECK_DPI(DPI_Open_Bloom(name, WAIT_US, ctx, &bloom));
	return bloom;
}

/* Which keys pass: all that were added, and some by mistake. Of a flow whose target is not there the source says it of each row. */
static void learn_passes(struct plan *p, int rank, DPI_Context ctx)
{
	DPI_Bloom bloom = sieve_open(p, ctx);
	DPI_Source_Stats stats = { .size = sizeof stats };
	DPI_Source source;
	uint8_t row[ROW_MOST];
	uint64_t unmatched = 0;
	char name[40];
	DPI_Flow flow = side_flow(p, "asked", rank, ctx, name);
	CHECK_DPI(DPI_Open_Source(flow, NULL, &source));
	CHECK_DPI(DPI_Set_Source_Bloom(bloom, source));
	CHECK_DPI(DPI_Close_Bloom(bloom));
	for (int64_t key = 0; key < KEYS; key++) {
		int error = DPI_Try_Push(row, side_row(p, key, row), source);
		bool null = has_null(&p->columns, key), added = !null && (is_added(p, key, 1, 0));
		if (error) p->passes |= UINT64_C(1) << key;
		unmatched += !error;
		if (error) CHECK_INT(error, ==, DPI_ERR_AGAIN);
		if ((null && error) || (added && !error)) FAIL("key %" PRId64 " of flow '%s' %s by its filter", key, p->name, error ? "passes" : "does not pass");
	}
	CHECK_DPI(DPI_Get_Source_Stats(source, &stats));
	CHECK_INT(stats.unmatched, ==, unmatched);
	CHECK_DPI(DPI_Close_Source(source));
	CHECK_DPI(DPI_Close_Flow(flow));
	CHECK_DPI(DPI_Destroy_Flow(name, ctx));
}

static void make_sieve(struct plan *p, int rank, DPI_Context ctx)
{
	uint32_t parts = sieve_parts(p);
	if (!p->bloom) return;
	p->passes = 0;
	if ((uint32_t)rank < parts) make_part(p, parts, (uint32_t)rank, ctx);
	learn_passes(p, rank, ctx);
}

#endif
