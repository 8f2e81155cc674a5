/* SPDX-License-Identifier: Apache-2.0
 * flow_definition.h: the flow that flow_plan.h has drawn: its functions and stages, where its keys go, and what its sums are of. */
#ifndef FLOW_DEFINITION_H
#define FLOW_DEFINITION_H

#include "flow_plan.h"


static uint32_t function_mask(int64_t key, uint32_t targets)
{
	return (uint32_t)mix((uint64_t)key + 5) & ((1u << targets) - 1);
}

static int dist(const void *row, size_t size, uint64_t key, uint32_t targets, void *arg, uint32_t *to, uint32_t *count)
{
	int64_t k;
	(void)size, (void)key, (void)arg;
	memcpy(&k, row, 8);
	uint32_t mask = function_mask(k, targets);
	*count = 0;
	for (uint32_t t = 0; t < targets; t++)
		if (mask >> t & 1) to[(*count)++] = t;
	return DPI_SUCCESS;
}

static int group(const void *row, size_t size, void *arg, uint64_t *key)
{
	(void)size, (void)arg;
	memcpy(key, row, 8);
	*key *= 7;
	return DPI_SUCCESS;
}

/* The rows whose number three does not divide. */
static int map(const void *row, size_t size, void *arg, void *out, size_t room, size_t *written)
{
	int64_t number;
	(void)arg;
	memcpy(&number, (const uint8_t *)row + 8, 8);
	*written = number % 3 ? size : 0;
	if (*written > room) return DPI_ERR_SIZE;
	memcpy(out, row, *written);
	return DPI_SUCCESS;
}

static DPI_Stage filter_stage(const struct plan *p, char text[100])
{
	if (p->filter == FILTER_TEXTS) return (DPI_Stage){ .kind = DPI_STAGE_MAP, .place = p->place, .text = "model_map", .version = 1 };
	if (p->sifted) snprintf(text, 100, "(%s) AND %s IS NOT NULL", filter_text[p->filter], p->columns.column[p->sifted].name);
	else snprintf(text, 100, "%s", filter_text[p->filter]);
	return (DPI_Stage){ .kind = DPI_STAGE_FILTER, .place = p->place, .text = text };
}

/* Are two keys equal, as the flow sees them? */
static bool same_key(const struct columns *c, int64_t one, int64_t other)
{
	uint8_t room[2 * ROW_MOST];
	for (uint32_t i = 0; i < c->keys; i++) {
		uint8_t *at = room;
		DPI_Value a = value_of(c, c->key[i], of_value(c, c->key[i], one, 0, 0), &at), b = value_of(c, c->key[i], of_value(c, c->key[i], other, 0, 0), &at);
		if (!same_value(&a, &b)) return false;
	}
	return true;
}

/* Where each key goes, and which keys are equal: some columns have fewer values. */
static void look_at_keys(struct plan *p, const DPI_Flow_Attr *a, DPI_Flow flow)
{
	const struct columns *c = &p->columns;
	static uint8_t row[ROW_MOST], room[ROW_MOST];
	DPI_Value values[COLUMNS_MOST];
	for (int64_t k = 0; k < KEYS; k++) {
		uint32_t to[TARGETS], n, range = 0;
		row_values(p, k, 0, 0, values, room);
		CHECK_DPI(DPI_Route(row, pack_values(values, c->schema, row), flow, to, &n));
		for (uint32_t i = 0; i < n; i++) p->mask[k] |= UINT64_C(1) << to[i];
		while (range < p->targets - 1 && k >= p->bound[range]) range++;
		if (a->dist == DPI_DIST_RADIX && !c->keys) CHECK_INT(p->mask[k], ==, 1 << (k >> a->shift & (p->targets - 1)));
		if (a->dist == DPI_DIST_RANGE) CHECK_INT(p->mask[k], ==, 1 << range);
		if (a->dist == DPI_DIST_FUNCTION) CHECK_INT(p->mask[k], ==, function_mask(k, p->targets));
		if (a->dist == DPI_DIST_BROADCAST) CHECK_INT(p->mask[k], ==, (1 << p->targets) - 1);
		for (p->group[k] = c->keys ? 0 : k; p->group[k] < k && !same_key(c, k, p->group[k]);) p->group[k]++;
		if (p->mask[k] != p->mask[p->group[k]]) FAIL("keys %" PRId64 " and %" PRId64 " are equal, and go to %#" PRIx64 " and %#" PRIx64, k, p->group[k], p->mask[k], p->mask[p->group[k]]);
	}
}

/* The names of the key's columns. Returns how many. */
static size_t key_names(const struct columns *c, const char *key[2])
{
	key[0] = c->column[KEY].name;
	for (uint32_t i = 0; i < c->keys; i++) key[i] = c->column[c->key[i]].name;
	return c->keys ? c->keys : 1;
}

static DPI_Flow open_flow(struct plan *p, DPI_Context ctx)
{
	struct columns *c = &p->columns;
	const char *key[2];
	size_t keys = key_names(c, key);
	DPI_Flow flow;
	DPI_Flow_Attr a = p->attr;
	DPI_Values bounds = { .type = DPI_TYPE_INT64, .data = p->bound };
	make_schemas(c);
	a.schema = c->schema;
	bool hash = a.dist == DPI_DIST_HASH || a.dist == DPI_DIST_TABLE;
	if (hash && p->grouped) a.group = "model_group", a.group_version = 1;
	else if (a.dist != DPI_DIST_ROUND_ROBIN && a.dist != DPI_DIST_BROADCAST) a.key = key, a.key_count = keys;
	if (!hash) a.salt = 0;
	if (a.dist != DPI_DIST_RADIX) a.shift = 0;
	if (a.dist == DPI_DIST_RANGE && p->targets > 1) a.bounds = &bounds;
	if (a.dist == DPI_DIST_TABLE) a.table = p->table;
	else a.table_size = 0;
	if (a.dist == DPI_DIST_FUNCTION) a.dist_function = "model_dist", a.dist_version = 1;
	DPI_Stage_Column out[COLUMNS_MOST];
	DPI_Stage stages[2];
	const char *measured = c->column[p->measured].name;
	const DPI_Aggregate sums[] = { { .function = DPI_AGGREGATE_COUNT_ALL, .name = "rows" },
				       { .function = DPI_AGGREGATE_SUM, .column = "number", .name = "sum" },
				       { .function = DPI_AGGREGATE_COUNT, .column = measured, .name = "values" },
				       { .function = DPI_AGGREGATE_MIN, .column = measured, .name = "least" },
				       { .function = DPI_AGGREGATE_MAX, .column = measured, .name = "most" } };
	for (uint32_t i = 0; i < c->outs; i++) out[i] = (DPI_Stage_Column){ .name = c->column[c->out[i]].name, .text = c->out[i] == CHECK ? "number" : NULL };
	char filter[100];
	if (p->with & FILTER) stages[a.stage_count++] = filter_stage(p, filter);
	if (p->with & PROJECT) stages[a.stage_count++] = (DPI_Stage){ .kind = DPI_STAGE_PROJECT, .place = p->place, .columns = out, .column_count = c->outs };
	if (p->with & SUMS) a.aggregates = sums, a.aggregate_count = p->measured ? 5 : 2;
	if (a.stage_count) a.stages = stages;
	if (p->codecs) a.codecs = p->codec, a.codec_count = p->codecs;
	CHECK_DPI(DPI_Create_Flow(p->name, &a, ctx, &flow));
	look_at_keys(p, &a, flow);
	if (p->with & SUMS) { /* what targets give is another schema */
		CHECK_DPI(DPI_Free_Schema(c->output));
		CHECK_DPI(DPI_Get_Flow_Output_Schema(flow, &c->output));
	}
	return flow;
}

static void close_flow(struct plan *p, DPI_Flow flow)
{
	CHECK_DPI(DPI_Close_Flow(flow));
	free_schemas(&p->columns);
}

/* The columns beside the first ones, in words for a failure. */
static const char *columns_text(const struct columns *c, char text[200])
{
	int n = snprintf(text, 200, "%s", c->soiled ? "soiled" : "clean");
	for (uint32_t i = HEADS; i < c->count && n < 180; i++)
		n += snprintf(text + n, (size_t)(200 - n), " %s%d%s", c->keys && (c->key[0] == i || (c->keys > 1 && c->key[1] == i)) ? "key:" : "", c->column[i].type, c->column[i].nullable ? "?" : "");
	return text;
}

/* The group of a result of the flow's sums, and these; -1: there is no such group. */
static int64_t group_of(const struct plan *p, const void *row, size_t size, int64_t sums[2])
{
	const struct columns *c = &p->columns;
	DPI_Value key[2], v;
	uint32_t keys = c->keys ? c->keys : 1;
	if (DPI_Check_Row(row, size, 1, c->output)) return -1;
	for (uint32_t i = 0; i < keys; i++) CHECK_DPI(DPI_Get_Value(row, size, i, c->output, key + i));
	for (uint32_t i = 0; i < 2; i++) {
		CHECK_DPI(DPI_Get_Value(row, size, keys + i, c->output, &v));
		sums[i] = v.type == DPI_TYPE_NULL ? -1 : v.i;
	}
	if (p->grouped) return key->u % 7 || key->u / 7 >= KEYS ? -1 : (int64_t)key->u / 7; /* see group() */
	if (!c->keys) return key->i < 0 || key->i >= KEYS ? -1 : key->i;
	for (int64_t k = 0; k < KEYS; k++) {
		uint8_t room[ROW_MOST], *at = room;
		bool same = p->group[k] == k;
		for (uint32_t i = 0; same && i < keys; i++) {
			v = value_of(c, c->key[i], of_value(c, c->key[i], k, 0, 0), &at);
			same = same_value(key + i, &v);
		}
		if (same) return k;
	}
	return -1;
}

#endif
