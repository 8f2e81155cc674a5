/* SPDX-License-Identifier: Apache-2.0
 * stage_test.c: flows/stage.h, definition_pipe.c: stages, reduce and codecs of definitions, what is refused, what differs, the
 * schemas on the way; flows/map.h: stages over rows. */
#include "definition_kit.h"

#include <math.h>

#include "flows/map.h"
#include "flows/row.h"
#include "flows/reduce/reduce.h"
#include "flows/row_batch.h"
#include "flows/slice.h"

static DPI_Schema schema; /* of the case */

#define LIST(type, ...) (const type[]){ __VA_ARGS__ }
#define STAGES(...) .stages = LIST(DPI_Stage, __VA_ARGS__), .stage_count = COUNT((LIST(DPI_Stage, __VA_ARGS__)))
#define COLUMNS(...) .columns = LIST(DPI_Stage_Column, __VA_ARGS__), .column_count = COUNT((LIST(DPI_Stage_Column, __VA_ARGS__)))
#define CODECS(...) .codecs = LIST(DPI_Codec, __VA_ARGS__), .codec_count = COUNT((LIST(DPI_Codec, __VA_ARGS__)))
#define AGGREGATES(...) .aggregates = LIST(DPI_Aggregate, __VA_ARGS__), .aggregate_count = COUNT((LIST(DPI_Aggregate, __VA_ARGS__)))
#define FILTER(expression) { .kind = DPI_STAGE_FILTER, .text = expression }
#define TO_TARGET(expression) { .kind = DPI_STAGE_FILTER, .place = DPI_AT_TARGET, .text = expression }
#define COUNT_ROWS { .function = DPI_AGGREGATE_COUNT_ALL }

static void refused(DPI_Flow_Attr a, int error, const char *part)
{
	struct dpi_definition *d = NULL;
	if (!a.schema) a.schema = schema;
	CHECK_ERROR(dpi_definition_from(&a, &d), error, part);
	CHECK(!d);
}
#define WRONG(part, ...) refused(FLOW(__VA_ARGS__), DPI_ERR_ARGUMENT, part)
#define STAGE(part, ...) refused(FLOW(STAGES({ __VA_ARGS__ })), DPI_ERR_ARGUMENT, part)
#define NAMED(part, ...) refused(FLOW(STAGES({ __VA_ARGS__ })), DPI_ERR_NAME, part)

TEST(wrong_stages_are_refused, "FL-13 FL-16 FL-17", 0)
{
	char name[DPI_NAME_MAX + 1];
	memset(name, 'x', sizeof name - 1), name[DPI_NAME_MAX] = 0;
	schema = kit_schema();
	STAGE("attr->stages[0].kind is 6", .kind = 6);
	STAGE("attr->stages[0].place is 2", .place = 2, .text = "true");
	STAGE("attr->stages[0].pushable is 2", .pushable = 2, .text = "true");
	WRONG("attr->stages[1].place is DPI_AT_SOURCE, behind", STAGES(TO_TARGET("true"), FILTER("true")));
	WRONG("attr->row_error is 3", .row_error = 3);
	WRONG("attr->stages is NULL and attr->stage_count 1", .stage_count = 1);
	WRONG("at most 64", .stages = LIST(DPI_Stage, FILTER("true")), .stage_count = DPI_STAGES_MAX + 1);
	WRONG("attr->stages is given and attr->stage_count 0", .stages = LIST(DPI_Stage, FILTER("true")));
	STAGE("attr->stages[0].text is NULL", .kind = DPI_STAGE_FILTER);
	STAGE("attr->stages[0].text: character 6", .text = "id + nothing > 1");
	STAGE("attr->stages[0].text is an expression of type INT64", .text = "id + 1");
	WRONG("attr->stages[1].text: character 1", STAGES({ .kind = DPI_STAGE_PROJECT, COLUMNS({ .name = "a", .text = "id" }) }, FILTER("id > 1")));
	STAGE("attr->stages[0].fraction is set, which DPI_STAGE_FILTER", .text = "true", .fraction = 1);
	STAGE("attr->stages[0].salt is set", .kind = DPI_STAGE_SAMPLE, .salt = 1);
	STAGE("attr->stages[0].version is set", .text = "true", .version = 1);
	STAGE("attr->stages[0].schema is set", .text = "true", .schema = schema);
	STAGE("attr->stages[0].columns is set", .text = "true", COLUMNS({ .name = "id" }));
	STAGE("attr->stages[0].text is set", .kind = DPI_STAGE_PROJECT, .text = "true");
	STAGE("attr->stages[0] has 0 columns", .kind = DPI_STAGE_PROJECT);
	STAGE("attr->stages[0].columns[0].name is NULL", .kind = DPI_STAGE_PROJECT, COLUMNS({ .text = "id" }));
	STAGE("attr->stages[0].columns[0].name is longer", .kind = DPI_STAGE_PROJECT, COLUMNS({ .name = name }));
	STAGE("attr->stages[0].columns[1].text: character", .kind = DPI_STAGE_PROJECT, COLUMNS({ .name = "id" }, { .name = "b", .text = "(" }));
	STAGE("attr->stages[0].columns[0].text: character 1", .kind = DPI_STAGE_PROJECT, COLUMNS({ .name = "b", .text = "NULL" }));
	STAGE("attr->stages[0] makes rows that no schema has", .kind = DPI_STAGE_PROJECT, COLUMNS({ .name = "id" }, { .name = "id" }));
	STAGE("columns[0].type is set", .kind = DPI_STAGE_PROJECT, COLUMNS({ .name = "id", .type = DPI_TYPE_INT8 }));
	STAGE("columns[0].text is set", .kind = DPI_STAGE_CAST, COLUMNS({ .name = "id", .text = "id", .type = DPI_TYPE_INT8 }));
	STAGE("columns[0].by is set", .kind = DPI_STAGE_CAST, COLUMNS({ .name = "id", .by = 1, .type = DPI_TYPE_INT8 }));
	STAGE("attr->stages[0].columns[0]: character", .kind = DPI_STAGE_CAST, COLUMNS({ .name = "ratio", .type = DPI_TYPE_DATE32 }));
	STAGE("attr->stages[0].columns[0]: character", .kind = DPI_STAGE_CAST, COLUMNS({ .name = "id", .type = 99 }));
	STAGE("are DECIMAL64", .kind = DPI_STAGE_CAST, COLUMNS({ .name = "id", .type = DPI_TYPE_DECIMAL128, .precision = 18 }));
	STAGE("columns[0] and [1] are both", .kind = DPI_STAGE_CAST,
	      COLUMNS({ .name = "id", .type = DPI_TYPE_INT8 }, { .name = "id", .type = DPI_TYPE_INT8 }));
	STAGE("has minus 0 and by 0", .kind = DPI_STAGE_NORMALISE, COLUMNS({ .name = "id" }));
	STAGE("both are finite", .kind = DPI_STAGE_NORMALISE, COLUMNS({ .name = "id", .minus = INFINITY, .by = 1 }));
	STAGE("attr->stages[0].columns[0]", .kind = DPI_STAGE_NORMALISE, COLUMNS({ .name = "code", .by = 1 }));
	STAGE("which is no number", .kind = DPI_STAGE_NORMALISE, COLUMNS({ .name = "name", .by = 1 }));
	STAGE("fraction is 1.5", .kind = DPI_STAGE_SAMPLE, .fraction = 1.5);
	STAGE("fraction is -1", .kind = DPI_STAGE_SAMPLE, .fraction = -1);
	STAGE("fraction is nan", .kind = DPI_STAGE_SAMPLE, .fraction = fabs(NAN));
	STAGE("attr->stages[0].key is NULL and key_count 1", .kind = DPI_STAGE_SAMPLE, .key_count = 1);
	STAGE("key[0] and key[1] are both", .kind = DPI_STAGE_SAMPLE, KEY("id", "id"));
	STAGE("attr->stages[0].text is NULL", .kind = DPI_STAGE_MAP);
	STAGE("attr->stages[0].text is empty", .kind = DPI_STAGE_MAP, .text = "");
	NAMED("attr->stages[0].columns[0].name is \"none\"", .kind = DPI_STAGE_PROJECT, COLUMNS({ .name = "none" }));
	NAMED("attr->stages[0].columns[0].name is \"none\"", .kind = DPI_STAGE_CAST, COLUMNS({ .name = "none", .type = DPI_TYPE_INT8 }));
	NAMED("attr->stages[0].key[0] is \"none\"", .kind = DPI_STAGE_SAMPLE, KEY("none"));
	refused(FLOW(.segment = 512, STAGES({ .kind = DPI_STAGE_PROJECT, COLUMNS({ .name = "code", .text = "CAST(name AS FIXED(600))" }) })), DPI_ERR_SIZE,
		"a row that travels");
	forget_schemas();
}

TEST(wrong_reductions_are_refused, "FL-13 FL-18", 0)
{
	schema = kit_schema();
	WRONG("attr->reduce is set, and attr->aggregate_count is 0", .reduce = DPI_REDUCE_TARGET);
	WRONG("attr->reduce_memory is set", .reduce_memory = 1 << 20);
	WRONG("attr->reduce_full is set", .reduce_full = DPI_FULL_FAILS);
	WRONG("attr->window is set", .window = DPI_WINDOW_MARKS);
	WRONG("attr->window_rows is set", .window_rows = 1);
	WRONG("attr->aggregates is NULL and attr->aggregate_count 1", .aggregate_count = 1);
	WRONG("attr->reduce is 3", AGGREGATES(COUNT_ROWS), .reduce = 3);
	WRONG("attr->reduce_full is 2", AGGREGATES(COUNT_ROWS), .reduce_full = 2);
	WRONG("attr->window is 3", AGGREGATES(COUNT_ROWS), .window = 3);
	WRONG("attr->reduce_memory is 1000", AGGREGATES(COUNT_ROWS), .reduce_memory = 1000);
	WRONG("attr->window is 2 and attr->window_rows 0", AGGREGATES(COUNT_ROWS), .window = DPI_WINDOW_ROWS, .reduce = DPI_REDUCE_TARGET);
	WRONG("attr->window is 0 and attr->window_rows 5", AGGREGATES(COUNT_ROWS), .window_rows = 5);
	WRONG("partial rows do not count rows", AGGREGATES(COUNT_ROWS), .window = DPI_WINDOW_ROWS, .window_rows = 5);
	WRONG("attr->group is \"id\", and rows cannot have a column of this name", AGGREGATES(COUNT_ROWS), .group = "id");
	WRONG("attr->group, \"f\", gives a column that is changed or left out", AGGREGATES(COUNT_ROWS), .group = "f",
	      STAGES({ .kind = DPI_STAGE_PROJECT, COLUMNS({ .name = "part" }) }));
	WRONG("attr->key[0], \"id\", is changed or left out", AGGREGATES(COUNT_ROWS), KEY("id"),
	      STAGES({ .kind = DPI_STAGE_PROJECT, COLUMNS({ .name = "part" }) }));
	WRONG("attr->key[0], \"id\", is changed or left out", AGGREGATES(COUNT_ROWS), KEY("id"),
	      STAGES({ .kind = DPI_STAGE_CAST, COLUMNS({ .name = "id", .type = DPI_TYPE_INT32 }) }));
	refused(FLOW(AGGREGATES({ .function = DPI_AGGREGATE_SUM, .column = "none" })), DPI_ERR_NAME, "attr->aggregates: aggregate 0");
	/* stages at the target see the results */
	WRONG("attr->stages[0].text: character", AGGREGATES(COUNT_ROWS), STAGES(TO_TARGET("id > 1")));
	DPI_Flow_Attr a = FLOW(.schema = schema, AGGREGATES(COUNT_ROWS), KEY("part"), STAGES(FILTER("id > 1"), TO_TARGET("count > 1")));
	struct dpi_definition *d = definition_of(a);
	CHECK(d->partial && d->wire == d->reduction->state && d->output == d->reduction->output);
	CHECK_INT(d->reduce_memory, ==, 64 << 20);
	CHECK(dpi_definition_source_pipe(d) && dpi_definition_target_pipe(d));
	dpi_definition_unref(d);
	a.reduce = DPI_REDUCE_TARGET;
	d = definition_of(a);
	CHECK(!d->partial && d->wire == d->schema && d->output == d->reduction->output);
	dpi_definition_unref(d);
	/* by a function: its value is a column more, of rows that come to the stages */
	DPI_Flow_Attr g = FLOW(.schema = schema, AGGREGATES(COUNT_ROWS), .group = "f", .reduce = DPI_REDUCE_TARGET);
	d = definition_of(g);
	CHECK(d->wire == d->grouped.out && d->reduction->input == d->grouped.out && dpi_definition_source_pipe(d));
	CHECK_INT(d->wire->columns, ==, d->schema->columns + 1);
	CHECK(!strcmp(d->output->column[0].name, "f") && d->output->column[0].type == DPI_TYPE_UINT64);
	dpi_definition_unref(d);
	g = FLOW(.schema = schema, AGGREGATES(COUNT_ROWS), .group = "f", STAGES(FILTER("f < 10")));
	d = definition_of(g);
	CHECK(d->partial && d->wire == d->reduction->state && d->stage->in == d->grouped.out);
	dpi_definition_unref(d);
	forget_schemas();
}

TEST(wrong_codecs_are_refused, "FL-13 FL-19", 0)
{
	schema = kit_schema();
	WRONG("attr->codecs[0].codec is 0", CODECS({ .codec = 0 }));
	WRONG("attr->codecs[0].codec is 5", CODECS({ .codec = 5 }));
	WRONG("attr->codecs[0].level is 99", CODECS({ .codec = DPI_CODEC_ZSTD, .level = 99 }));
	WRONG("attr->codecs[0].level is 1", CODECS({ .codec = DPI_CODEC_AES_256_GCM, .level = 1, .key = "k" }));
	WRONG("attr->codecs[0].key is NULL", CODECS({ .codec = DPI_CODEC_AES_256_GCM }));
	WRONG("attr->codecs[0].key is given", CODECS({ .codec = DPI_CODEC_LZ4, .key = "k" }));
	WRONG("attr->codecs[1] compresses what is encrypted", CODECS({ .codec = DPI_CODEC_AES_256_GCM, .key = "k" }, { .codec = DPI_CODEC_LZ4 }));
	WRONG("attr->codecs is NULL and attr->codec_count 1", .codec_count = 1);
	WRONG("attr->codecs is given and attr->codec_count 5", .codecs = LIST(DPI_Codec, { .codec = 1 }), .codec_count = DPI_CODECS_MAX + 1);
	struct dpi_definition *d = definition_of(FLOW(.schema = schema, CODECS({ .codec = DPI_CODEC_LZ4 }, { .codec = DPI_CODEC_AES_256_GCM, .key = "k" })));
	CHECK(d->codecs == 2 && d->codec[1].codec == DPI_CODEC_AES_256_GCM && !strcmp(d->codec[1].key, "k"));
	CHECK(!dpi_definition_source_pipe(d) && !dpi_definition_target_pipe(d) && d->wire == d->schema && d->output == d->schema);
	dpi_definition_unref(d);
	forget_schemas();
}

static void differ(DPI_Flow_Attr a, DPI_Flow_Attr b, const char *part)
{
	char text[300];
	if (!a.schema) a.schema = schema;
	if (!b.schema) b.schema = schema;
	struct dpi_definition *d = definition_of(a), *e = definition_of(b);
	bool same = dpi_definition_equal(d, e, text, sizeof text);
	CHECK(same == !*part);
	if (!strstr(text, part)) FAIL("\"%s\" does not have \"%s\"", text, part);
	dpi_definition_unref(d), dpi_definition_unref(e);
}

TEST(differences_of_stages_are_named, "FL-12 FL-16", 0)
{
	DPI_Column one = { "id", DPI_TYPE_INT64, 0, 0, 0, 0 };
	schema = kit_schema();
	DPI_Schema other = make_schema(&one, 1);
#define MAP(...) FLOW(STAGES({ .kind = DPI_STAGE_MAP, .text = "m", __VA_ARGS__ }))
#define SAMPLE(...) FLOW(STAGES({ .kind = DPI_STAGE_SAMPLE, __VA_ARGS__ }))
#define PROJECT(...) FLOW(STAGES({ .kind = DPI_STAGE_PROJECT, COLUMNS(__VA_ARGS__) }))
	differ(FLOW(STAGES(FILTER("id > 1"))), FLOW(STAGES(FILTER("id > 1"))), "");
	differ(FLOW(STAGES(FILTER("id > 1"))), FLOW(STAGES(FILTER("id > 2"))), "the flow's stages[0].text is \"id > 1\", yours is \"id > 2\"");
	differ(FLOW(STAGES(FILTER("true"), FILTER("true"))), FLOW(STAGES(FILTER("true"))), "the flow's stage_count is 2, yours is 1");
	differ(FLOW(STAGES(FILTER("true"))), SAMPLE(.fraction = 1), "the flow's stages[0] is a filter, yours a sample");
	differ(FLOW(STAGES(FILTER("true"))), FLOW(STAGES(TO_TARGET("true"))), "the flow's stages[0].place is 0, yours is 1");
	differ(SAMPLE(.fraction = 0.5), SAMPLE(.fraction = 0.25), "fraction, times 2^32, is 2147483648, yours is 1073741824");
	differ(SAMPLE(.fraction = 0.5, KEY("id")), SAMPLE(.fraction = 0.5), "the flow's stages[0].key_count is 1, yours is 0");
	differ(SAMPLE(.fraction = 0.5, KEY("id")), SAMPLE(.fraction = 0.5, KEY("part")), "the flow's stages[0].key[0] is \"id\", yours is \"part\"");
	differ(SAMPLE(KEY("id"), .salt = 1), SAMPLE(KEY("id"), .salt = 2), "the flow's stages[0].salt is 1, yours is 2");
	differ(MAP(.version = 1), MAP(.version = 2), "the flow's stages[0].version is 1, yours is 2");
	differ(MAP(.schema = schema), MAP(.version = 0), "the flow's stages[0].schema is given, yours is NULL");
	differ(MAP(.schema = schema), MAP(.schema = other), "the schema of the flow's stage has 8 columns and of yours 1");
	differ(MAP(.pushable = 1), MAP(.pushable = 0), "the flow's stages[0].pushable is 1, yours is 0");
	differ(PROJECT({ .name = "id" }), PROJECT({ .name = "part" }), "the flow's stages[0].columns[0] is \"id\", yours is \"part\"");
	differ(PROJECT({ .name = "x", .text = "id" }), PROJECT({ .name = "x", .text = "part" }), "the flow's stages[0].columns[0], \"x\", is another than in yours");
	differ(PROJECT({ .name = "id" }), PROJECT({ .name = "id" }, { .name = "part" }), "the flow's stages[0] has 1 columns, yours 2");
	differ(FLOW(.row_error = 1), FLOW(.row_error = 2), "the flow's row_error is 1, yours is 2");
	differ(FLOW(AGGREGATES(COUNT_ROWS)), FLOW(.targets = 1), "reduce_memory is 67108864, yours is 0");
	differ(FLOW(AGGREGATES(COUNT_ROWS)), FLOW(AGGREGATES(COUNT_ROWS), .reduce = 1), "the flow's reduce is 0, yours is 1");
	differ(FLOW(AGGREGATES({ .function = DPI_AGGREGATE_SUM, .column = "id" })), FLOW(AGGREGATES({ .function = DPI_AGGREGATE_MAX, .column = "id" })),
	       "the flow's aggregates[0], \"id\", is another than yours");
	differ(FLOW(CODECS({ .codec = 1 })), FLOW(.targets = 1), "the flow's codec_count is 1, yours is 0");
	differ(FLOW(CODECS({ .codec = 1 })), FLOW(CODECS({ .codec = 2 })), "the flow's codecs[0] is lz4, level 0");
	forget_schemas();
}

TEST(pushable_stages_run_where_they_spare_most, "FL-711", 0)
{
	schema = kit_schema();
#define AT(kind_, ...) { .kind = DPI_STAGE_##kind_, .place = DPI_AT_TARGET, .pushable = 1, __VA_ARGS__ }
	const struct {
		DPI_Stage stage;
		bool moves;
	} c[] = { { AT(FILTER, .text = "id > 1"), true },
		  { AT(SAMPLE, .fraction = 0.5), false },
		  { AT(PROJECT, COLUMNS({ .name = "name" })), false },
		  { AT(MAP, .text = "f"), false } };
	for (size_t i = 0; i < COUNT(c); i++) {
		struct dpi_definition *d = definition_of(FLOW(.schema = schema, .stages = &c[i].stage, .stage_count = 1));
		CHECK_INT(d->source_stages, ==, c[i].moves);
		dpi_definition_unref(d);
	}
	struct dpi_definition *d = definition_of(FLOW(.schema = schema, AGGREGATES({ .function = DPI_AGGREGATE_MAX, .column = "id" }), STAGES(AT(FILTER, .text = "id > 1"))));
	CHECK_INT(d->source_stages, ==, 0);
	dpi_definition_unref(d);
	forget_schemas();
}

TEST(pushable_reductions_run_where_they_spare_most, "FL-338", 0)
{
	static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "x", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "y", DPI_TYPE_DOUBLE, 0, 0, 0, 0 } };
	const struct {
		DPI_Aggregate aggregate;
		int window;
		bool partial;
	} c[] = { { { .function = DPI_AGGREGATE_COUNT_ALL }, DPI_WINDOW_END, true },
		  { { .function = DPI_AGGREGATE_MAX, .column = "y" }, DPI_WINDOW_MARKS, true },
		  { { .function = DPI_AGGREGATE_COUNT_ALL }, DPI_WINDOW_ROWS, false },
		  { { .function = DPI_AGGREGATE_SUM, .column = "y" }, DPI_WINDOW_END, false },
		  { { .function = DPI_AGGREGATE_TOP_K, .column = "x", .k = 9 }, DPI_WINDOW_END, false } };
	DPI_Schema rows = make_schema(columns, COUNT(columns));
	for (size_t i = 0; i < COUNT(c); i++) {
		struct dpi_definition *d = definition_of(FLOW(.schema = rows, KEY("key"), .reduce = DPI_REDUCE_PUSHABLE, .window = c[i].window,
							      .window_rows = c[i].window == DPI_WINDOW_ROWS, .aggregates = &c[i].aggregate, .aggregate_count = 1));
		CHECK_INT(d->partial, ==, c[i].partial);
		CHECK_INT(d->reduce, ==, DPI_REDUCE_PUSHABLE);
		dpi_definition_unref(d);
	}
	forget_schemas();
}

/* -------------------------------------------------------------------------------------------------------------- maps */

struct abc {
	int64_t a;
	int32_t b;
	uint32_t pad;
	double c;
};

static DPI_Schema abc_schema(void)
{
	static const DPI_Column columns[] = { { "a", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "b", DPI_TYPE_INT32, 0, 0, 0, 0 },
					      { "pad", DPI_TYPE_UINT32, 0, 0, 0, 0 }, { "c", DPI_TYPE_DOUBLE, 0, 0, 0, 0 } };
	return make_schema(columns, 4);
}

/* Through all stages, as rows in line or as records; what comes out must be the same. */
static struct dpi_mapped run(struct dpi_maps *m, const struct abc *rows, size_t count, bool strided)
{
	static DPI_Record record[5000];
	struct dpi_mapped out;
	for (size_t i = 0; i < count; i++) record[i] = (DPI_Record){ rows + i, sizeof *rows };
	struct dpi_rows in = { .rows = strided ? rows : NULL, .stride = sizeof *rows, .record = record, .count = count };
	CHECK_OK(dpi_maps_run(m, &in, &out));
	return out;
}

TEST(stages_make_what_they_say, "FL-701 FL-702 FL-703 FL-704 FL-705", 0)
{
	static struct abc rows[5000];
	struct draws r = draws_from(7);
	schema = abc_schema();
	struct dpi_definition *d = definition_of(FLOW(.schema = schema, STAGES(FILTER("b % 3 <> 0 AND c < 0.9"),
		{ .kind = DPI_STAGE_PROJECT, COLUMNS({ .name = "c" }, { .name = "sum", .text = "a + b" }, { .name = "t", .text = "'x' || CAST(b AS UTF8)" }, { .name = "b" }) },
		{ .kind = DPI_STAGE_NORMALISE, COLUMNS({ .name = "c", .minus = 0.5, .by = 0.25 }) },
		{ .kind = DPI_STAGE_CAST, COLUMNS({ .name = "b", .type = DPI_TYPE_INT64 }) }, { .kind = DPI_STAGE_SAMPLE, .fraction = 0.3 })));
	struct dpi_maps *m;
	CHECK_INT(d->source_stages, ==, 5);
	CHECK_OK(dpi_maps_new(d, 0, 5, &m));
	uint64_t passed = 0, all = 0, sifted, errors;
	for (int round = 0; round < rounds(40); round++) {
		size_t count = (size_t)draw_below(&r, round % 4 ? 40 : 5000), out = 0;
		for (size_t i = 0; i < count; i++)
			rows[i] = (struct abc){ (int64_t)draw_below(&r, 1000000), (int32_t)draw_below(&r, 1000) - 500, 0, (double)draw_below(&r, 1000) / 1000 };
		struct dpi_mapped o = run(m, rows, count, round % 2);
		for (size_t i = 0; i < count; i++) {
			if (rows[i].b % 3 == 0 || rows[i].c >= 0.9) continue;
			passed++;
			if (passed * 1288490189 >> 32 == (passed - 1) * 1288490189 >> 32) continue; /* 0.3 times 2^32 */
			char text[40];
			DPI_Value v[4];
			CHECK_INT(out, <, o.count);
			CHECK_INT(o.from[out], ==, i);
			for (size_t k = 0; k < 4; k++) CHECK_OK(dpi_row_value(d->wire, o.record[out].data, o.record[out].size, k, v + k));
			CHECK(v[0].d == (rows[i].c - 0.5) / 0.25);
			CHECK_INT(v[1].i, ==, rows[i].a + rows[i].b);
			CHECK_INT(v[2].size, ==, snprintf(text, sizeof text, "x%d", rows[i].b));
			CHECK(!memcmp(v[2].data, text, v[2].size));
			CHECK(v[3].type == DPI_TYPE_INT64 && v[3].i == rows[i].b);
			CHECK_OK(dpi_row_check(d->wire, o.record[out].data, o.record[out].size, true));
			out++;
		}
		CHECK_INT(out, ==, o.count);
		all += count - out;
	}
	dpi_maps_count(m, &sifted, &errors);
	CHECK(sifted == all && !errors);
	dpi_maps_free(m);
	dpi_definition_unref(d);
	forget_schemas();
}

/* A stage over one row; its first error, that of the definition or of the row. What comes out: bytes. */
static int cast_once(DPI_Schema from, DPI_Stage stage, const void *row, size_t size, DPI_Column *column, uint8_t *bytes, size_t *count)
{
	struct dpi_definition *d;
	struct dpi_maps *m;
	struct dpi_mapped out;
	DPI_Flow_Attr a = FLOW(.schema = from, .stages = &stage, .stage_count = 1);
	int error = dpi_definition_from(&a, &d);
	*count = 0;
	if (error) return error;
	CHECK_OK(dpi_maps_new(d, 0, 1, &m));
	DPI_Record record = { row, size };
	struct dpi_rows in = { .record = &record, .count = 1 };
	error = dpi_maps_run(m, &in, &out);
	*column = dpi_schema_column(d->wire, 0);
	column->name = NULL;
	if (!error) {
		CHECK_INT(out.count, ==, 1);
		CHECK_OK(dpi_row_check(d->wire, out.record->data, (uint32_t)out.record->size, true));
		memcpy(bytes, out.record->data, *count = out.record->size);
	}
	dpi_maps_free(m);
	dpi_definition_unref(d);
	return error;
}

/* Between every two types a cast is what CAST makes of it, and of the type that was asked for. */
TEST(casts_are_what_expressions_make, "FL-703 X-21", 0)
{
	static const struct {
		DPI_Column column;
		const char *name;
		DPI_Value value;
	} of[] = {
#define NUMBER(type_, field, ...) { { "v", DPI_TYPE_##type_, 1, __VA_ARGS__ }, #type_, { .type = DPI_TYPE_##type_, .field = 1 } }
#define BYTES(type_, width, print) { { "v", DPI_TYPE_##type_, 1, width, 0, 0 }, print, { .type = DPI_TYPE_##type_, .size = 1, .data = "1" } }
		NUMBER(INT8, i, 0, 0, 0),   NUMBER(INT16, i, 0, 0, 0),	NUMBER(INT32, i, 0, 0, 0),  NUMBER(INT64, i, 0, 0, 0),
		NUMBER(UINT8, u, 0, 0, 0),  NUMBER(UINT16, u, 0, 0, 0), NUMBER(UINT32, u, 0, 0, 0), NUMBER(UINT64, u, 0, 0, 0),
		NUMBER(FLOAT, d, 0, 0, 0),  NUMBER(DOUBLE, d, 0, 0, 0), NUMBER(BOOL, i, 0, 0, 0),   NUMBER(DATE32, i, 0, 0, 0),
		{ { "v", DPI_TYPE_DECIMAL64, 1, 0, 9, 2 }, "DECIMAL(9,2)", { .type = DPI_TYPE_DECIMAL64, .i = 100 } },
		{ { "v", DPI_TYPE_DECIMAL64, 1, 0, 12, 2 }, "DECIMAL(12,2)", { .type = DPI_TYPE_DECIMAL64, .i = 100 } },
		{ { "v", DPI_TYPE_DECIMAL128, 1, 0, 30, 2 }, "DECIMAL(30,2)", { .type = DPI_TYPE_DECIMAL128, .w = { 100 } } },
		{ { "v", DPI_TYPE_DECIMAL128, 1, 0, 38, 2 }, "DECIMAL(38,2)", { .type = DPI_TYPE_DECIMAL128, .w = { 100 } } },
		BYTES(FIXED, 1, "FIXED(1)"), BYTES(BINARY, 0, "BINARY"), BYTES(UTF8, 0, "UTF8"),
	};
	int accepted = 0;
	for (size_t f = 0; f < COUNT(of); f++) {
		DPI_Schema from = make_schema(&of[f].column, 1);
		for (int null = 0; null < 2; null++) {
			uint8_t row[64], bytes[2][256];
			size_t size, count[2];
			CHECK_DPI(DPI_Pack_Row(null ? &(DPI_Value){ .type = DPI_TYPE_NULL } : &of[f].value, from, row, sizeof row, &size));
			for (size_t t = 0; t < COUNT(of); t++) {
				char text[64];
				const DPI_Column *to = &of[t].column;
				DPI_Column got[2];
				snprintf(text, sizeof text, "CAST(v AS %s)", to->type == DPI_TYPE_DATE32 ? "DATE" : of[t].name);
				int wanted = cast_once(from, (DPI_Stage){ .kind = DPI_STAGE_PROJECT, COLUMNS({ .name = "v", .text = text }) }, row, size, got, bytes[0], count);
				int error = cast_once(from, (DPI_Stage){ .kind = DPI_STAGE_CAST, COLUMNS({ .name = "v", .type = to->type, .width = to->width, .precision = to->precision, .scale = to->scale }) },
						      row, size, got + 1, bytes[1], count + 1);
				if (error != wanted) FAIL("%s from %s, null %d: CAST %d, PROJECT %d: %s", text, of[f].name, null, error, wanted, dpi_detail());
				if (error) continue;
				accepted++;
				for (int i = 0; i < 2; i++)
					if (got[i].type != to->type || got[i].width != to->width || got[i].precision != to->precision || got[i].scale != to->scale || !got[i].nullable)
						FAIL("%s from %s by %s: type %d", text, of[f].name, i ? "CAST" : "PROJECT", got[i].type);
				CHECK(count[0] == count[1] && !memcmp(bytes[0], bytes[1], count[0]));
			}
		}
		forget_schemas();
	}
	CHECK_INT(accepted, >, 400);
}

/* Columns, any rows of a batch, through the same stages as rows: what comes out, of which rows, and all that is counted. */
TEST(columns_go_as_rows_do, "FL-485 FL-701 FL-705 FL-706 FL-710", 0)
{
	static const DPI_Column columns[] = { { "a", DPI_TYPE_INT64, 1, 0, 0, 0 }, { "b", DPI_TYPE_INT32, 0, 0, 0, 0 }, { "t", DPI_TYPE_UTF8, 1, 0, 0, 0 }, { "f", DPI_TYPE_BOOL, 1, 0, 0, 0 } };
	static const char *const key[] = { "b" };
	static uint8_t bytes[300][128];
	static DPI_Record record[300];
	struct draws r = draws_from(11);
	schema = make_schema(columns, 4);
	struct dpi_schema *in = dpi_schema_get(schema);
	struct dpi_definition *d = definition_of(FLOW(.schema = schema, .row_error = DPI_ROW_ERROR_DROPS, STAGES(FILTER("b % 7 <> 0"), { .kind = DPI_STAGE_SAMPLE, .fraction = 0.8 },
		{ .kind = DPI_STAGE_PROJECT, COLUMNS({ .name = "t" }, { .name = "x", .text = "1000 / (b % 5)" }, { .name = "u", .text = "t || '!'" }, { .name = "f" }, { .name = "a" }, { .name = "b" }) },
		FILTER("f OR a IS NULL OR x < 0"), { .kind = DPI_STAGE_SAMPLE, .fraction = 0.9, .key = key, .key_count = 1 })));
	struct dpi_maps *as_rows, *as_columns;
	struct dpi_row_batch given, kept;
	struct dpi_slice slice;
	CHECK_OK(dpi_maps_new(d, 0, 5, &as_rows));
	CHECK_OK(dpi_maps_new(d, 0, 5, &as_columns));
	CHECK_OK(dpi_row_batch_new(in, NULL, &given));
	CHECK_OK(dpi_row_batch_new(d->wire, NULL, &kept));
	CHECK_OK(dpi_slice_new(in, 300, &slice));
	for (int round = 0; round < rounds(200); round++) {
		size_t count = 1 + (size_t)draw_below(&r, 300), first = (size_t)draw_below(&r, count), some = 1 + (size_t)draw_below(&r, count - first);
		for (size_t i = 0; i < count; i++) {
			char text[40];
			DPI_Value v[] = { { .type = draw_below(&r, 4) ? DPI_TYPE_INT64 : DPI_TYPE_NULL, .i = (int64_t)draw_below(&r, 100) }, { .type = DPI_TYPE_INT32, .i = (int64_t)draw_below(&r, 200) - 100 },
					  { .type = draw_below(&r, 4) ? DPI_TYPE_UTF8 : DPI_TYPE_NULL, .size = (uint32_t)draw_below(&r, 40), .data = text },
					  { .type = draw_below(&r, 4) ? DPI_TYPE_BOOL : DPI_TYPE_NULL, .i = (int64_t)draw_below(&r, 2) } };
			memset(text, 'a' + (int)(i % 26), sizeof text);
			CHECK_OK(DPI_Pack_Row(v, schema, bytes[i], sizeof bytes[i], &record[i].size));
			record[i].data = bytes[i];
		}
		CHECK_OK(dpi_row_batch_records(&given, record, count));
		struct dpi_rows rows = { .record = record + first, .count = some }, made = { 0 };
		struct dpi_mapped x;
		struct dpi_mapped_columns y;
		CHECK_OK(dpi_maps_run(as_rows, &rows, &x));
		CHECK_OK(dpi_maps_run_columns(as_columns, dpi_slice(&slice, &given.batch, first, some), &y));
		CHECK_INT(x.count, ==, y.count);
		CHECK(!x.count || !memcmp(x.from, y.from, x.count * sizeof *x.from));
		if (round % 5 == 4) dpi_maps_back(as_rows), dpi_maps_back(as_columns);
		for (uint32_t i = 0; i < 5; i++) {
			DPI_Stage_Stats a = { 0 }, b = { 0 };
			CHECK(dpi_maps_stage(as_rows, i, &a) && dpi_maps_stage(as_columns, i, &b));
			CHECK(a.rows == b.rows && a.passed == b.passed && a.bytes == b.bytes && a.batches == b.batches && a.row_errors == b.row_errors);
		}
		if (!y.count) continue;
		CHECK_OK(dpi_row_batch_gather(&kept, &y.batch, y.bits, y.count));
		void *own = dpi_rows_from_batch(d->wire, &kept.batch, &made);
		CHECK(own && made.count == x.count);
		for (size_t i = 0; i < x.count; i++) {
			DPI_Record row = dpi_rows_at(&made, i);
			CHECK(row.size == x.record[i].size && !memcmp(row.data, x.record[i].data, row.size));
		}
		free(own);
	}
	dpi_slice_free(&slice);
	dpi_row_batch_free(&given), dpi_row_batch_free(&kept);
	dpi_maps_free(as_rows), dpi_maps_free(as_columns);
	dpi_definition_unref(d);
	forget_schemas();
}

TEST(samples_go_back, "FL-705 FL-714", 0)
{
	static struct abc rows[10];
	uint64_t sifted, errors;
	schema = abc_schema();
	struct dpi_definition *d = definition_of(FLOW(.schema = schema, STAGES({ .kind = DPI_STAGE_SAMPLE, .fraction = 0.25 })));
	struct dpi_maps *m;
	CHECK_OK(dpi_maps_new(d, 0, 1, &m));
	CHECK_INT(run(m, rows, 3, true).count, ==, 0);
	CHECK_INT(run(m, rows, 1, true).count, ==, 1);
	dpi_maps_back(m);
	CHECK_INT(run(m, rows, 1, true).count, ==, 1);
	CHECK_INT(run(m, rows, 10, true).count, ==, 2);
	dpi_maps_back(m);
	CHECK_INT(run(m, rows, 3, true).count, ==, 0);
	CHECK_INT(run(m, rows, 1, true).count, ==, 1);
	dpi_maps_count(m, &sifted, &errors);
	CHECK_INT(sifted, ==, 6);
	DPI_Stage_Stats stats = { 0 };
	CHECK(dpi_maps_stage(m, 0, &stats) && !dpi_maps_stage(m, 1, &stats)); /* what went back was not */
	CHECK(stats.rows == 8 && stats.passed == 2 && stats.batches == 4 && stats.bytes == 2 * sizeof *rows && !stats.row_errors);
	dpi_maps_free(m);
	dpi_definition_unref(d);
	forget_schemas();
}

static int twice(const void *row, size_t size, void *arg, void *out, size_t room, size_t *written)
{
	struct abc r;
	CHECK_INT(size, ==, sizeof r);
	CHECK_INT((uintptr_t)out % 8, ==, 0);
	memcpy(&r, row, sizeof r);
	++*(int *)arg;
	*written = 0;
	if (r.b == 13) return DPI_ERR_USE;
	if (r.b < 0) return DPI_SUCCESS;
	*written = 16 + (size_t)r.b;
	if (*written > room) return DPI_ERR_SIZE;
	uint32_t place[2] = { 16, (uint32_t)r.b };
	r.a *= 2;
	memcpy(out, &r.a, 8), memcpy((char *)out + 8, place, 8), memset((char *)out + 16, 'z', (size_t)r.b);
	return DPI_SUCCESS;
}

TEST(map_functions_make_rows, "FL-707 FL-716", 0)
{
	static const DPI_Column columns[] = { { "a", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "z", DPI_TYPE_UTF8, 0, 0, 0, 0 } };
	static const int32_t length[] = { 5, -1, 100000, 0, 13, 7, 70000 };
	struct abc rows[COUNT(length)];
	int calls = 0;
	struct dpi_maps *m;
	struct dpi_mapped out;
	schema = abc_schema();
	DPI_Flow_Attr a = FLOW(.schema = schema, STAGES({ .kind = DPI_STAGE_MAP, .text = "twice", .version = 3, .schema = make_schema(columns, 2) }));
	for (size_t i = 0; i < COUNT(rows); i++) rows[i] = (struct abc){ .a = (int64_t)i, .b = length[i] };
	struct dpi_definition *d = definition_of(a);
	CHECK_ERROR(dpi_maps_new(d, 0, 1, &m), DPI_ERR_NAME, "no map function \"twice\" of version 3: DPI_Register_Map");
	CHECK_DPI(DPI_Register_Map("twice", 3, twice, &calls));
	CHECK_OK(dpi_maps_new(d, 0, 1, &m));
	struct dpi_rows in = { .rows = rows, .stride = sizeof *rows, .count = COUNT(rows) };
	CHECK_ERROR(dpi_maps_run(m, &in, &out), DPI_ERR_USE, "stage 0: the map function \"twice\" returned DPI_ERR_USE");
	dpi_maps_free(m);
	dpi_definition_unref(d);
	a.row_error = DPI_ROW_ERROR_DROPS;
	d = definition_of(a);
	CHECK_OK(dpi_maps_new(d, 0, 1, &m));
	CHECK_OK(dpi_maps_run(m, &in, &out));
	size_t next = 0;
	for (size_t i = 0; i < COUNT(length); i++) {
		DPI_Value v[2];
		if (length[i] < 0 || length[i] == 13) continue;
		CHECK_INT(out.from[next], ==, i);
		CHECK_OK(dpi_row_check(d->wire, out.record[next].data, out.record[next].size, true));
		for (size_t k = 0; k < 2; k++) CHECK_OK(dpi_row_value(d->wire, out.record[next].data, out.record[next].size, k, v + k));
		CHECK(v[0].i == 2 * (int64_t)i && v[1].size == (uint32_t)length[i]);
		next++;
	}
	CHECK_INT(next, ==, out.count);
	uint64_t sifted, errors;
	dpi_maps_count(m, &sifted, &errors);
	CHECK(sifted == 2 && errors == 1);
	dpi_maps_free(m);
	dpi_definition_unref(d);
	forget_schemas();
}
