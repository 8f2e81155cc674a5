/* SPDX-License-Identifier: Apache-2.0
 * definition_kit.h: definitions of flows for the unit tests: a schema with a column of every kind, attributes at random. */
#ifndef DEFINITION_KIT_H
#define DEFINITION_KIT_H

#include "schema_kit.h"

#include "flows/definition.h"

static struct {
	DPI_Schema schema[16];
	int count;
} kit_made;

/* A schema until forget_schemas. */
static inline DPI_Schema make_schema(const DPI_Column *columns, size_t count)
{
	CHECK_INT(kit_made.count, <, 16);
	CHECK_DPI(DPI_Create_Schema(columns, count, kit_made.schema + kit_made.count));
	return kit_made.schema[kit_made.count++];
}

static inline void forget_schemas(void)
{
	while (kit_made.count) CHECK_DPI(DPI_Free_Schema(kit_made.schema[--kit_made.count]));
}

static inline DPI_Schema kit_schema(void)
{
	static const DPI_Column columns[] = {
		{ "id", DPI_TYPE_INT64, 0, 0, 0, 0 },	      { "part", DPI_TYPE_UINT32, 1, 0, 0, 0 },
		{ "price", DPI_TYPE_DECIMAL64, 0, 0, 12, 2 }, { "ratio", DPI_TYPE_DOUBLE, 0, 0, 0, 0 },
		{ "flag", DPI_TYPE_BOOL, 1, 0, 0, 0 },	      { "code", DPI_TYPE_FIXED, 0, 4, 0, 0 },
		{ "name", DPI_TYPE_UTF8, 1, 0, 0, 0 },	      { "part8", DPI_TYPE_FLOAT, 0, 0, 0, 0 },
	};
	return make_schema(columns, COUNT(columns));
}

#define FLOW(...) ((DPI_Flow_Attr){ .size = sizeof(DPI_Flow_Attr), __VA_ARGS__ })
#define KEY(...) .key = (const char *const[]){ __VA_ARGS__ }, .key_count = COUNT(((const char *const[]){ __VA_ARGS__ }))

static inline struct dpi_definition *definition_of(DPI_Flow_Attr attr)
{
	struct dpi_definition *d = NULL;
	CHECK_OK(dpi_definition_from(&attr, &d));
	return d;
}

static inline uint8_t *written(const struct dpi_definition *d, size_t *size)
{
	uint8_t *bytes;
	CHECK_OK(dpi_definition_write(d, &bytes, size));
	CHECK_INT(*size, <=, DPI_DEFINITION_MAX);
	return bytes;
}

/* Bounds that ascend in each column, NULLs first; all in one block, the caller's. */
static inline void *random_bounds(struct draws *d, const struct dpi_schema *s, const char *const *key, size_t keys,
				  uint32_t rows, DPI_Values *v)
{
	size_t room = (rows + 1) * 64;
	uint8_t *block = calloc(keys, 3 * room), *data = block;
	for (size_t k = 0; k < keys; k++, data += 3 * room) {
		const struct dpi_column *c = s->column + dpi_schema_find(s, key[k]);
		uint64_t step = draw_below(d, 4), nulls = draw_below(d, 3) ? 0 : draw_below(d, rows + 1);
		int32_t *offset = (void *)(data + room);
		uint8_t *valid = data + 2 * room;
		uint32_t width = c->type == DPI_TYPE_BOOL ? 1 : c->variable ? 3 : c->width;
		v[k] = (DPI_Values){ .type = c->type, .scale = c->scale, .width = width, .data = data };
		if (nulls) v[k].valid = valid;
		if (c->variable) v[k].offset = offset;
		else v[k].stride = draw_below(d, 2) || c->type == DPI_TYPE_BOOL ? width : 0;
		for (uint32_t i = 0; i < rows; i++) {
			uint64_t n = i * step < 100 ? i * step : 100, big = (n & 255) << (8 * width - 8) % 64;
			uint8_t *at = data + i * (size_t)width;
			double x = (double)n;
			float f = (float)n;
			offset[i + 1] = offset[i] + (int32_t)width;
			if (i >= nulls) valid[i / 8] |= (uint8_t)(1 << i % 8);
			if (c->type == DPI_TYPE_DOUBLE) memcpy(at, &x, 8);
			else if (c->type == DPI_TYPE_FLOAT) memcpy(at, &f, 4);
			else if (c->type >= DPI_TYPE_FIXED) memset(at, (int)n, width);
			else if (c->type == DPI_TYPE_BOOL) *at = n >= 100;
			else if (width <= 8) big >>= 1, memcpy(at, &big, width);
			else memcpy(at, &n, 8);
		}
	}
	return block;
}

/* Stages, reduce and codecs at random, for any schema; room for three stages. */
static inline void random_pipe(struct draws *d, const struct dpi_schema *s, DPI_Flow_Attr *a, DPI_Stage stage[3])
{
	static const DPI_Aggregate count[] = { { .function = DPI_AGGREGATE_COUNT_ALL, .name = "(rows)" },
					       { .function = DPI_AGGREGATE_COUNT_ALL, .name = "(again)" } };
	static const DPI_Codec codec[] = { { .codec = DPI_CODEC_ZSTD, .level = 3 }, { .codec = DPI_CODEC_AES_256_GCM, .key = "key" } };
	static const DPI_Stage_Column column[] = { { .name = "(one)", .text = "CASE WHEN 2 > 1 THEN 1.50 ELSE NULL END" } };
	static const char *key[3];
	int place = DPI_AT_SOURCE;
	a->row_error = (int)draw_below(d, 3);
	if (draw_below(d, 2)) a->codecs = codec, a->codec_count = 1 + draw_below(d, 2);
	if (!a->group && draw_below(d, 3) == 0) {
		a->aggregates = count, a->aggregate_count = 1 + draw_below(d, 2), a->reduce = (int)draw_below(d, 2);
		a->reduce_full = (int)draw_below(d, 2), a->reduce_memory = draw_below(d, 2) ? 1 << 20 : 0, a->window = (int)draw_below(d, 2);
		if (a->reduce) a->window = DPI_WINDOW_ROWS, a->window_rows = 1 + draw_below(d, 1000);
	}
	for (a->stage_count = 0; a->stage_count < draw_below(d, 4); a->stage_count++) {
		DPI_Stage *t = stage + a->stage_count;
		if (draw_below(d, 2) == 0) place = DPI_AT_TARGET;
		*t = (DPI_Stage){ .kind = (int)draw_below(d, 4), .place = place, .pushable = (int)draw_below(d, 2) };
		if (t->kind == DPI_STAGE_FILTER) t->text = draw_below(d, 2) ? "true" : "1 < 2 OR NULL";
		else if (t->kind == DPI_STAGE_SAMPLE) t->fraction = (double)draw_below(d, 101) / 100;
		else t->kind = DPI_STAGE_MAP, t->text = "(map)", t->version = (uint32_t)draw(d);
		if (t->kind == DPI_STAGE_SAMPLE && !(place && a->aggregate_count) && draw_below(d, 2))
			key[0] = s->column[0].name, t->key = key, t->key_count = 1, t->salt = draw(d);
	}
	if (a->stage_count && place == DPI_AT_TARGET && draw_below(d, 2))
		stage[a->stage_count - 1] = (DPI_Stage){ .kind = DPI_STAGE_PROJECT, .place = place, .columns = column, .column_count = 1 };
	a->stages = a->stage_count ? stage : NULL;
}

/* A definition of any kind over a schema of any kind. */
static inline struct dpi_definition *random_definition(struct draws *d)
{
	struct dpi_schema *s = random_schema(d, draw_below(d, 2) ? KIT_FIXED : 0);
	const char *key[4];
	uint32_t table[64];
	DPI_Values bounds[4];
	void *block = NULL;
	struct dpi_definition *made = NULL;
	DPI_Flow_Attr a = FLOW(.dist = (int)draw_below(d, 7), .targets = 1 + (uint32_t)draw_below(d, 40));
	CHECK_OK(dpi_schema_open(dpi_schema_ref(s), &a.schema));
	if (draw_below(d, 2)) a.sources = (uint32_t)draw_below(d, 1000);
	if (draw_below(d, 2)) a.segment = 4096 + (uint32_t)draw_below(d, 100000);
	if (draw_below(d, 2)) a.memory = 1 + (1 << 20) + draw_below(d, 1 << 30);
	if (draw_below(d, 2)) a.expected = draw(d);
	if (draw_below(d, 2)) a.linger_us = (int64_t)draw_below(d, 100000);
	a.hint = (int)draw_below(d, 2), a.on_death = (int)draw_below(d, 2);
	if ((a.dist != DPI_DIST_ROUND_ROBIN && a.dist != DPI_DIST_BROADCAST) || draw_below(d, 2)) {
		for (; a.key_count < 4 && a.key_count < s->columns; a.key_count++)
			key[a.key_count] = s->column[s->columns - 1 - a.key_count].name;
		a.key = key;
		a.key_count = 1 + draw_below(d, a.key_count);
	}
	if (a.dist == DPI_DIST_HASH || a.dist == DPI_DIST_TABLE) a.salt = draw(d);
	if (a.dist == DPI_DIST_RADIX) {
		a.key = NULL, a.key_count = 0, a.group = "by any", a.group_version = (uint32_t)draw(d);
		a.targets = 1u << draw_below(d, 10), a.shift = (uint32_t)draw_below(d, 64);
	}
	if (a.dist == DPI_DIST_RANGE) {
		block = random_bounds(d, s, key, a.key_count, a.targets - 1, bounds);
		a.bounds = bounds;
	}
	if (a.dist == DPI_DIST_TABLE) {
		a.table_size = 1 + (uint32_t)draw_below(d, 64), a.table = table;
		for (int i = 0; i < 64; i++) table[i] = (uint32_t)draw_below(d, a.targets);
	}
	if (a.dist == DPI_DIST_FUNCTION) a.dist_function = "to some", a.dist_version = (uint32_t)draw(d);
	DPI_Stage stage[3];
	if (draw_below(d, 2)) random_pipe(d, s, &a, stage);
	else if (draw_below(d, 2)) {
		a.ack = 1 + (int)draw_below(d, 3), a.ack_of = (int)draw_below(d, 3), a.ack_pending = (uint32_t)draw_below(d, 1000);
		a.ack_up_to = a.ack_of != DPI_ACK_COUNT && draw_below(d, 2), a.ack_quorum = a.ack_of == DPI_ACK_QUORUM;
		if (draw_below(d, 2)) a.ack_function = "as key", a.ack_version = (uint32_t)draw(d);
		for (uint32_t c = 0; c < s->columns && !a.ack_function; c++)
			if (!s->column[c].nullable && s->column[c].type >= DPI_TYPE_INT8 && s->column[c].type <= DPI_TYPE_UINT64) a.ack_column = s->column[c].name;
	}
	if (!a.stage_count && !a.aggregate_count && !a.codec_count && draw_below(d, 2)) {
		a.retain = a.ack ? a.ack == DPI_ACK_RECEIVED ? 0 : a.ack : DPI_ACK_RELEASED + (int)draw_below(d, 2);
		if (a.retain && draw_below(d, 2)) a.resume_us = (int64_t)draw_below(d, 1000000);
	}
	if (draw_below(d, 4) == 0) a.detach_us = (int64_t)draw_below(d, 1000000);
	CHECK_OK(dpi_definition_from(&a, &made));
	CHECK_DPI(DPI_Free_Schema(a.schema));
	dpi_schema_unref(s);
	free(block);
	return made;
}

#endif
