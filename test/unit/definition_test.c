/* SPDX-License-Identifier: Apache-2.0
 * definition_test.c: flows/definition.h: definitions from attributes, what is refused, and when two are equal. */
#include "definition_kit.h"

#include <math.h>

static DPI_Schema schema; /* of the case */

static void refused(DPI_Flow_Attr a, int error, const char *part)
{
	struct dpi_definition *d = NULL;
	if (!a.schema) a.schema = schema;
	CHECK_ERROR(dpi_definition_from(&a, &d), error, part);
	CHECK(!d);
}

static void taken(DPI_Flow_Attr a)
{
	a.schema = schema;
	dpi_definition_unref(definition_of(a));
}

#define REFUSED(error, part, ...) refused(FLOW(__VA_ARGS__), error, part)
#define WRONG(part, ...) refused(FLOW(__VA_ARGS__), DPI_ERR_ARGUMENT, part)
#define TAKEN(...) taken(FLOW(__VA_ARGS__))

#define INT64_BOUNDS(...) (const DPI_Values[]){ { .type = DPI_TYPE_INT64, .data = (const int64_t[]){ __VA_ARGS__ } } }
#define TARGETS(...) .table = (const uint32_t[]){ __VA_ARGS__ }, .table_size = COUNT(((const uint32_t[]){ __VA_ARGS__ }))

TEST(zero_is_the_default, "FL-2", 0)
{
	DPI_Schema s = kit_schema();
	struct dpi_definition *d = definition_of(FLOW(.schema = s));
	CHECK(d->schema == dpi_schema_get(s));
	CHECK_INT(d->targets, ==, 1);
	CHECK_INT(d->sources, ==, 0);
	CHECK_INT(d->dist, ==, DPI_DIST_HASH);
	CHECK_INT(d->hint, ==, DPI_HINT_BANDWIDTH);
	CHECK_INT(d->segment, ==, 16 << 10);
	CHECK_INT(d->memory, ==, 64 << 20);
	CHECK_INT(d->on_death, ==, DPI_DEATH_FAILS);
	CHECK(!d->linger_us && !d->expected && !d->salt);
	CHECK(!d->key_count && !dpi_definition_keys(d) && !d->table && !d->bound && !d->group[0] && !d->dist_function[0]);
	dpi_definition_unref(dpi_definition_ref(d));
	forget_schemas(); /* the definition keeps what it needs */
	CHECK_STR(d->schema->column[0].name, "id");
	dpi_definition_unref(d);
	dpi_definition_unref(NULL);
}

TEST(a_definition_copies_what_it_is_given, "FL-1", 0)
{
	char first[] = "name", second[] = "id", text[] = "abb", function[] = "to some";
	int64_t id[] = { -3, 7 };
	int32_t offset[] = { 0, 1, 3 };
	uint8_t valid[] = { 3 };
	DPI_Values bounds[] = { { .type = DPI_TYPE_UTF8, .data = text, .offset = offset, .valid = valid },
				{ .type = DPI_TYPE_INT64, .data = id } };
	const char *key[] = { first, second };
	uint32_t table[] = { 2, 0 };
	DPI_Flow_Attr range = FLOW(.schema = kit_schema(), .targets = 3, .sources = 5, .key = key, .key_count = 2,
				   .dist = DPI_DIST_RANGE, .bounds = bounds, .hint = DPI_HINT_LATENCY, .segment = 600,
				   .memory = 1 << 20, .expected = 9, .linger_us = 77, .on_death = DPI_DEATH_GOES_ON);
	DPI_Flow_Attr by_table = FLOW(.schema = range.schema, .targets = 3, .group = function, .group_version = 8,
				      .table = table, .table_size = 2, .dist = DPI_DIST_TABLE, .salt = 1234567890123);
	DPI_Flow_Attr by_function = FLOW(.schema = range.schema, .dist = DPI_DIST_FUNCTION, .dist_function = function,
					 .dist_version = 4);
	struct dpi_definition *r = definition_of(range), *t = definition_of(by_table), *f = definition_of(by_function);
	memset(first, 'x', 4), memset(second, 'x', 2), memset(text, 'x', 3), memset(function, 'x', 7);
	memset(id, 1, sizeof id), memset(offset, 1, sizeof offset), memset(table, 0, sizeof table), valid[0] = 0;
	memset(bounds, 0, sizeof bounds), memset(key, 0, sizeof key);
	CHECK(r->targets == 3 && r->sources == 5 && r->hint == DPI_HINT_LATENCY && r->segment == 600);
	CHECK(r->memory == 1 << 20 && r->expected == 9 && r->linger_us == 77);
	CHECK(r->on_death == DPI_DEATH_GOES_ON && r->dist == DPI_DIST_RANGE);
	CHECK(r->key_count == 2 && r->key[0] == 6 && r->key[1] == 0);
	CHECK(!memcmp(r->bound[0].data, "abb", 3) && r->bound[0].offset[1] == 1 && r->bound[0].offset[2] == 3);
	CHECK(!r->bound[0].valid && r->bound[0].type == DPI_TYPE_UTF8); /* no NULL among them */
	CHECK(!memcmp(r->bound[1].data, (int64_t[]){ -3, 7 }, 16) && r->bound[1].width == 8);
	CHECK(t->table_size == 2 && t->table[0] == 2 && t->table[1] == 0 && t->salt == 1234567890123);
	CHECK_STR(t->group, "to some");
	CHECK(t->group_version == 8 && dpi_definition_keys(t) == 1);
	CHECK_STR(f->dist_function, "to some");
	CHECK(f->dist_version == 4 && !dpi_definition_keys(f));
	dpi_definition_unref(r), dpi_definition_unref(t), dpi_definition_unref(f);
	forget_schemas();
}

/* ------------------------------------------------------------------------------------------------------- what is refused */

TEST(wrong_numbers_are_refused, "FL-3 FL-13", 0)
{
	DPI_Schema gone = kit_schema();
	struct dpi_definition *d;
	forget_schemas();
	schema = kit_schema();
	CHECK_ERROR(dpi_definition_from(&FLOW(.targets = 1), &d), DPI_ERR_ARGUMENT, "attr->schema is NULL");
	REFUSED(DPI_ERR_HANDLE, "schema", .schema = gone);
	WRONG("attr->create is 2: it is one of DPI_CREATE_NEW", .create = 2);
	WRONG("attr->create is -1", .create = -1);
	WRONG("attr->targets is 4097: a flow has 1 to 4096", .targets = 4097, .dist = DPI_DIST_ROUND_ROBIN);
	TAKEN(.targets = 4096, .dist = DPI_DIST_ROUND_ROBIN, .create = DPI_CREATE_OR_OPEN);
	WRONG("attr->sources is 65537: a flow has at most 65536", .sources = 65537);
	TAKEN(.sources = 65536);
	WRONG("attr->dist is 7: it is one of DPI_DIST_*", .dist = 7);
	WRONG("attr->dist is -1", .dist = -1);
	WRONG("attr->hint is 2: it is one of DPI_HINT_BANDWIDTH and", .hint = 2);
	WRONG("attr->on_death is -5: it is one of DPI_DEATH_FAILS and", .on_death = -5);
	WRONG("attr->segment is 511: a segment has 512 to 1048576 bytes", .segment = 511);
	WRONG("attr->segment is 1048577", .segment = 1048577);
	TAKEN(.segment = 512, .memory = 512);
	TAKEN(.segment = 1048576);
	WRONG("attr->memory is 16383: give a target the 16384 bytes of one segment at least", .memory = 16383);
	WRONG("attr->memory is 70368744177665", .memory = (UINT64_C(1) << 46) + 1);
	TAKEN(.memory = UINT64_C(1) << 46);
	WRONG("attr->linger_us is -1: it is microseconds", .linger_us = -1);
	WRONG("attr->linger_us is 1000000000000001", .linger_us = 1000000000000001);
	TAKEN(.linger_us = 1000000000000000);
	TAKEN(.expected = UINT64_MAX);
	forget_schemas();
}

TEST(wrong_keys_are_refused, "FL-4 FL-13", 0)
{
	const char *many[DPI_KEYS_MAX + 1];
	char long_name[DPI_NAME_MAX + 10];
	schema = kit_schema();
	memset(long_name, 'n', sizeof long_name); /* no zero at its end within what may be read */
	for (int i = 0; i <= DPI_KEYS_MAX; i++) many[i] = "id";
	WRONG("attr->key_count is 65: a key has at most 64", .key = many, .key_count = 65);
	WRONG("attr->key is NULL, but attr->key_count is 2", .key_count = 2);
	WRONG("attr->key is given, but attr->key_count is 0", .key = many);
	WRONG("attr->key[1] is NULL", KEY("id", NULL));
	WRONG("attr->key[0] and attr->key[2] are both \"id\"", KEY("id", "name", "id"));
	WRONG("attr->group is given, and attr->key_count is 1", KEY("id"), .group = "f");
	REFUSED(DPI_ERR_NAME, "attr->key[1] is \"nam\", and the schema has no such column", KEY("id", "nam"));
	REFUSED(DPI_ERR_NAME, "attr->key[0] is \"\"", KEY(""));
	REFUSED(DPI_ERR_NAME, "attr->key[0] is \"nnn", KEY(long_name));
	WRONG("DPI_DIST_HASH takes a key", .targets = 2);
	TAKEN(.targets = 2, KEY("name", "flag", "id", "part", "price", "code", "ratio", "part8"));
	TAKEN(.targets = 2, .group = "f");
	forget_schemas();
}

TEST(what_a_dist_does_not_use_is_refused, "FL-5 FL-13 FL-22", 0)
{
	static const char *const name[] = { "HASH", "RADIX", "RANGE", "ROUND_ROBIN", "BROADCAST", "TABLE", "FUNCTION" };
	static const struct {
		const char *field, *dists;
	} use[] = { /* by number of the dist */
		{ "salt", "05" }, { "shift", "1" }, { "bounds", "2" }, { "table_size", "5" }, { "dist_function", "6" },
		{ "dist_version", "6" }, { "group", "0123456" }, { "key_count", "0123456" },
	};
	const DPI_Values bounds = { .type = DPI_TYPE_UINT64, .data = (uint64_t[]){ 1, 2, 3 } };
	const uint32_t table[] = { 3 };
	const char *key[] = { "id" };
	schema = kit_schema();
	for (int dist = 0; dist <= DPI_DIST_FUNCTION; dist++) {
		for (size_t i = 0; i < COUNT(use); i++) {
			const char *field = use[i].field;
			char wrong[64];
			DPI_Flow_Attr a = FLOW(.schema = schema, .targets = 4, .dist = dist);
			if (strchr("0125", '0' + dist)) a.group = "f";
			if (dist == DPI_DIST_RANGE) a.bounds = &bounds;
			if (dist == DPI_DIST_TABLE) a.table = table, a.table_size = 1;
			if (dist == DPI_DIST_FUNCTION) a.dist_function = "g";
			dpi_definition_unref(definition_of(a));
			if (!strcmp(field, "salt")) a.salt = 1;
			if (!strcmp(field, "shift")) a.shift = 1;
			if (!strcmp(field, "bounds")) a.bounds = &bounds;
			if (!strcmp(field, "table_size")) a.table_size = 1;
			if (!strcmp(field, "dist_function")) a.dist_function = "g";
			if (!strcmp(field, "dist_version")) a.dist_version = 9;
			if (!strcmp(field, "group")) a.group = "f";
			if (!strcmp(field, "key_count") && !a.group) a.key = key, a.key_count = 1;
			if (strchr(use[i].dists, '0' + dist)) {
				dpi_definition_unref(definition_of(a));
				continue;
			}
			snprintf(wrong, sizeof wrong, "attr->%s is ", field);
			refused(a, DPI_ERR_ARGUMENT, wrong);
			snprintf(wrong, sizeof wrong, "DPI_DIST_%s", name[dist]);
			refused(a, DPI_ERR_ARGUMENT, wrong);
		}
	}
	WRONG("attr->table is given, which DPI_DIST_HASH has no use for", .table = (const uint32_t[]){ 0 });
	WRONG("attr->group_version is 3, but attr->group is NULL", .group_version = 3);
	forget_schemas();
}

TEST(radix_takes_integers_and_a_power_of_two, "FL-6 FL-13", 0)
{
	static const char *const good[] = { "id", "part", "price", "flag" };
	static const char *const bad[] = { "ratio", "part8", "code", "name" };
	schema = kit_schema();
	for (int i = 0; i < 4; i++) {
		TAKEN(.targets = 16, .dist = DPI_DIST_RADIX, .shift = 63, KEY(good[i]));
		REFUSED(DPI_ERR_UNSUPPORTED, "DPI_DIST_HASH takes any", .targets = 16, .dist = DPI_DIST_RADIX, KEY(bad[i]));
	}
	TAKEN(.targets = 4096, .dist = DPI_DIST_RADIX, .group = "f");
	REFUSED(DPI_ERR_UNSUPPORTED, "attr->key[0] is \"ratio\" DOUBLE", .dist = DPI_DIST_RADIX, KEY("ratio"));
	TAKEN(.targets = 4, .dist = DPI_DIST_RADIX, KEY("flag", "part"));
	REFUSED(DPI_ERR_UNSUPPORTED, "attr->key[1] is \"name\"", .dist = DPI_DIST_RADIX, KEY("flag", "name"));
	REFUSED(DPI_ERR_UNSUPPORTED, "attr->key has 65 bits", .dist = DPI_DIST_RADIX, KEY("flag", "id"));
	WRONG("attr->targets is 12: DPI_DIST_RADIX takes a power of two", .targets = 12, .dist = DPI_DIST_RADIX, KEY("id"));
	WRONG("attr->shift is 64: a key has the bits 0 to 63", .targets = 8, .dist = DPI_DIST_RADIX, KEY("id"), .shift = 64);
	WRONG("DPI_DIST_RADIX takes a key", .dist = DPI_DIST_RADIX);
	forget_schemas();
}

TEST(wrong_bounds_are_refused, "FL-7 FL-13", 0)
{
	DPI_Values v = { .type = DPI_TYPE_INT64, .data = (int64_t[]){ 1, 2, 2, INT64_MAX } };
	DPI_Values text = { .type = DPI_TYPE_UTF8, .data = "aabb", .offset = (int32_t[]){ 0, 2, 3, 4, 4 } };
	schema = kit_schema();
#define RANGE(...) .dist = DPI_DIST_RANGE, .targets = 5, __VA_ARGS__
	TAKEN(RANGE(KEY("id"), .bounds = &v)); /* two may be equal */
	WRONG("DPI_DIST_RANGE takes a key", .dist = DPI_DIST_RANGE);
	WRONG("attr->bounds is NULL: DPI_DIST_RANGE over 5 targets takes 4 bounds", RANGE(KEY("id")));
	WRONG("attr->bounds: bound 2 is below bound 1: sort the", RANGE(KEY("id"), .bounds = INT64_BOUNDS(1, 3, 2, 4)));
	WRONG("attr->bounds[0] has type 5, scale 0 and width 8, and the key has \"part\" UINT32 or NULL: give",
	      RANGE(KEY("part"), .bounds = &v));
	WRONG("the key has a UINT64 that the group function gives", RANGE(.group = "f", .bounds = &v));
	v.type = DPI_TYPE_UINT64;
	TAKEN(RANGE(.group = "f", .bounds = &v));
	v.type = DPI_TYPE_DECIMAL64, v.scale = 3;
	WRONG("attr->bounds[0] has type 13, scale 3", RANGE(KEY("price"), .bounds = &v));
	v.scale = 2;
	TAKEN(RANGE(KEY("price"), .bounds = &v));
	v.scale = 39;
	WRONG("attr->bounds: column 0 has the scale 39", RANGE(KEY("price"), .bounds = &v));
	v = (DPI_Values){ .type = DPI_TYPE_FIXED, .width = 5, .data = "aaaaabbbbbcccccddddd" };
	WRONG("attr->bounds[0] has type 15, scale 0 and width 5", RANGE(KEY("code"), .bounds = &v));
	v.width = 4, v.stride = 5;
	TAKEN(RANGE(KEY("code"), .bounds = &v));
	v.type = 99;
	WRONG("attr->bounds: column 0 has the type 99", RANGE(KEY("code"), .bounds = &v));
	WRONG("attr->bounds: bound 3 is below bound 2", RANGE(KEY("name"), .bounds = &text));
	text.offset = (int32_t[]){ 0, 1, 2, 3, 4 };
	TAKEN(RANGE(KEY("name"), .bounds = &text));
	text.offset = (int32_t[]){ 0, 1, 2, 1, 4 };
	WRONG("attr->bounds[0].offset goes from 2 to 1 at row 2", RANGE(KEY("name"), .bounds = &text));
	text.offset = (int32_t[]){ -1, 1, 2, 3, 4 };
	WRONG("attr->bounds[0].offset goes from -1 to 1 at row 0", RANGE(KEY("name"), .bounds = &text));
	text.offset = NULL;
	WRONG("attr->bounds: column 0 has bytes of any length, but no offsets", RANGE(KEY("name"), .bounds = &text));
	v.data = NULL, v.type = DPI_TYPE_INT64, v.stride = 0;
	WRONG("attr->bounds: column 0 has no data", RANGE(KEY("id"), .bounds = &v));
	WRONG("attr->bounds[1] has type 5", RANGE(KEY("id", "part"), .bounds = (DPI_Values[]){ *INT64_BOUNDS(1, 2, 3, 4),
											     *INT64_BOUNDS(1, 2, 3, 4) }));
	TAKEN(.dist = DPI_DIST_RANGE, KEY("id"), .bounds = &v); /* one target: not looked at */
	TAKEN(.dist = DPI_DIST_RANGE, KEY("id"));
	forget_schemas();
}

TEST(wrong_tables_are_refused, "FL-8 FL-13", 0)
{
	uint32_t table[DPI_PARTS_MAX] = { 0 };
	schema = kit_schema();
#define BY_TABLE(...) .dist = DPI_DIST_TABLE, .targets = 3, KEY("id"), __VA_ARGS__
	TAKEN(BY_TABLE(TARGETS(2, 2, 1, 2)));
	TAKEN(BY_TABLE(.table = table, .table_size = DPI_PARTS_MAX, .salt = 5));
	WRONG("attr->table_size is 4097: a table has 1 to 4096", BY_TABLE(.table = table, .table_size = DPI_PARTS_MAX + 1));
	WRONG("attr->table_size is 0", BY_TABLE(.table = table));
	WRONG("attr->table is NULL: give the target of each of 2 parts", BY_TABLE(.table_size = 2));
	WRONG("attr->table[2] is 3: the flow has 3 targets, counted from 0", BY_TABLE(TARGETS(0, 2, 3)));
	WRONG("DPI_DIST_TABLE takes a key", .dist = DPI_DIST_TABLE, TARGETS(0));
	forget_schemas();
}

TEST(wrong_names_of_functions_are_refused, "FL-9 FL-13", 0)
{
	char name[DPI_NAME_MAX + 1] = "";
	schema = kit_schema();
	memset(name, 'a', DPI_NAME_MAX);
	WRONG("attr->group has more bytes: a name has 1 to 127", .group = name);
	WRONG("attr->dist_function has more bytes", .dist = DPI_DIST_FUNCTION, .dist_function = name);
	name[DPI_NAME_MAX - 1] = 0;
	TAKEN(.dist = DPI_DIST_FUNCTION, .dist_function = name, .group = name);
	WRONG("attr->group has no bytes", .group = "");
	WRONG("attr->dist_function has no bytes", .dist = DPI_DIST_FUNCTION, .dist_function = "");
	WRONG("attr->dist_function is NULL", .dist = DPI_DIST_FUNCTION);
	WRONG("attr->group has the control character 10 at byte 2", .group = "ab\ncd");
	WRONG("attr->dist_function has the control character 127 at byte 0", .dist = DPI_DIST_FUNCTION,
	      .dist_function = "\177");
	forget_schemas();
}

TEST(a_row_must_fit_a_segment, "FL-10 FL-13", 0)
{
	DPI_Column c[] = { { "a", DPI_TYPE_FIXED, 0, 424, 0, 0 }, { "b", DPI_TYPE_UTF8, 0, 0, 0, 0 } };
	for (int i = 0; i < 2; i++) { /* rows of 424 bytes, of 500 and more */
		schema = make_schema(c, 1 + (size_t)i);
		TAKEN(.segment = 512);
		c[0].width = 500;
		schema = make_schema(c, 1 + (size_t)i);
		REFUSED(DPI_ERR_SIZE, "attr->segment is 512, and the fixed part of a row has 5", .segment = 512);
		TAKEN(.segment = 1024);
		c[0].width = 424 - 8;
	}
	c[0].width = 1 << 20;
	schema = make_schema(c, 1);
	REFUSED(DPI_ERR_SIZE, "raise it, at most to 1048576", .segment = 1 << 20);
	forget_schemas();
}

/* As many columns, each with a name of this many bytes. */
static void wide_schema(size_t columns, int name)
{
	static char names[DPI_COLUMNS_MAX][DPI_NAME_MAX];
	static DPI_Column c[DPI_COLUMNS_MAX];
	for (size_t i = 0; i < columns; i++) {
		snprintf(names[i], sizeof names[i], "c%0*zu", name - 1, i);
		c[i] = (DPI_Column){ .name = names[i], .type = DPI_TYPE_INT64 };
	}
	schema = make_schema(c, columns);
}

TEST(a_definition_has_a_limit, "FL-11 FL-13", 0)
{
	static uint32_t table[DPI_PARTS_MAX];
	static int64_t number[DPI_PARTS_MAX];
	static char text[2 * DPI_DEFINITION_MAX];
	DPI_Values v = { .type = DPI_TYPE_INT64, .data = number };
	int32_t offset[] = { 0, DPI_DEFINITION_MAX + 1 };
	size_t size;
	for (int i = 0; i < DPI_PARTS_MAX; i++) number[i] = i;
	wide_schema(500, 20);
	TAKEN(.dist = DPI_DIST_RANGE, .targets = DPI_TARGETS_MAX, .bounds = &v, KEY("c0000000000000000000"));
	TAKEN(.dist = DPI_DIST_TABLE, .targets = DPI_TARGETS_MAX, TARGETS(1), KEY("c0000000000000000000"));
	TAKEN(.dist = DPI_DIST_TABLE, .table = table, .table_size = DPI_PARTS_MAX, KEY("c0000000000000000000"));
	wide_schema(1024, 50);
	REFUSED(DPI_ERR_LIMIT, "of these its schema 63500", .segment = 1 << 20);
	/* exactly as much as there may be */
	wide_schema(1000, 47);
	struct dpi_definition *d = definition_of(FLOW(.schema = schema));
	free(written(d, &size));
	dpi_definition_unref(d);
	uint32_t parts = (uint32_t)(DPI_DEFINITION_MAX - size - 1) / 2; /* the group's name has a byte, too */
	CHECK_INT(parts, <, DPI_PARTS_MAX);
	TAKEN(.dist = DPI_DIST_TABLE, .table = table, .table_size = parts, .group = "f");
	REFUSED(DPI_ERR_LIMIT, "the definition has 6000", .dist = DPI_DIST_TABLE, .table = table, .table_size = parts + 1,
		.group = "f");
	/* bounds that are too long by themselves */
	schema = kit_schema();
	v = (DPI_Values){ .type = DPI_TYPE_UTF8, .data = text, .offset = offset };
	REFUSED(DPI_ERR_LIMIT, "attr->bounds[0]", .dist = DPI_DIST_RANGE, .targets = 2, .bounds = &v, KEY("name"));
	offset[1] = INT32_MAX;
	REFUSED(DPI_ERR_LIMIT, "attr->bounds[0]", .dist = DPI_DIST_RANGE, .targets = 2, .bounds = &v, KEY("name"));
	DPI_Column c = { "a", DPI_TYPE_FIXED, 0, 100000, 0, 0 };
	schema = make_schema(&c, 1);
	v = (DPI_Values){ .type = DPI_TYPE_FIXED, .width = 100000, .data = text };
	REFUSED(DPI_ERR_LIMIT, "attr->bounds[0]", .dist = DPI_DIST_RANGE, .targets = 2, .bounds = &v, KEY("a"),
		.segment = 1 << 20);
	forget_schemas();
}

/* ---------------------------------------------------------------------------------------------------------------- equal */

static void differ(DPI_Flow_Attr a, DPI_Flow_Attr b, const char *difference)
{
	char text[400];
	if (!a.schema) a.schema = schema;
	if (!b.schema) b.schema = schema;
	struct dpi_definition *flow = definition_of(a), *yours = definition_of(b);
	size_t one_size, two_size;
	uint8_t *one = written(flow, &one_size), *two = written(yours, &two_size);
	bool equal = dpi_definition_equal(flow, yours, text, sizeof text);
	CHECK_STR(text, difference);
	CHECK(equal == !*difference);
	CHECK(equal == (one_size == two_size && !memcmp(one, two, one_size)));
	CHECK(equal == dpi_definition_equal(yours, flow, NULL, 0));
	dpi_definition_unref(flow), dpi_definition_unref(yours);
	free(one), free(two);
}

#define FUNCTION(n, v) .dist = DPI_DIST_FUNCTION, .dist_function = n, .dist_version = v
#define RANGE3(...) .dist = DPI_DIST_RANGE, .targets = 3, KEY("id"), .bounds = INT64_BOUNDS(__VA_ARGS__)

TEST(the_first_difference_is_named, "FL-12", 0)
{
	DPI_Column c[] = { { "id", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "part", DPI_TYPE_UINT32, 0, 0, 0, 0 } };
	DPI_Schema other = make_schema(c, 2);
	schema = kit_schema();
	differ(FLOW(.targets = 0), FLOW(.targets = 1), "");
	differ(FLOW(.create = 0), FLOW(.create = 1), ""); /* no part of it */
	differ(FLOW(.schema = kit_schema()), FLOW(.targets = 1), "");
	differ(FLOW(.targets = 1), FLOW(.schema = other),
	       "column 1 is \"part\" UINT32 or NULL in the flow's schema and \"part\" UINT32 in yours");
	differ(FLOW(KEY("id", "part")), FLOW(KEY("id", "name")), "the flow's key[1] is \"part\", yours is \"name\"");
	differ(FLOW(KEY("id", "part")), FLOW(KEY("id")), "the flow's key_count is 2, yours is 1");
	differ(FLOW(KEY("id")), FLOW(.group = "f"), "the flow's key_count is 1, yours is 0");
	differ(FLOW(.group = "f"), FLOW(.targets = 1), "the flow's group is \"f\", yours is none");
	differ(FLOW(.group = "f"), FLOW(.group = "g"), "the flow's group is \"f\", yours is \"g\"");
	differ(FLOW(.group = "f", .group_version = 1), FLOW(.group = "f"), "the flow's group_version is 1, yours is 0");
	differ(FLOW(.targets = 2, KEY("id")), FLOW(.targets = 3, KEY("id")), "the flow's targets is 2, yours is 3");
	differ(FLOW(.sources = 2), FLOW(.targets = 1), "the flow's sources is 2, yours is 0");
	differ(FLOW(KEY("id")), FLOW(KEY("id"), .dist = DPI_DIST_RADIX), "the flow's dist is hash, yours is radix");
	differ(FLOW(.dist = DPI_DIST_BROADCAST), FLOW(.dist = DPI_DIST_ROUND_ROBIN),
	       "the flow's dist is broadcast, yours is round robin");
	differ(FLOW(KEY("id"), .salt = 1), FLOW(KEY("id"), .salt = 2), "the flow's salt is 1, yours is 2");
	differ(FLOW(KEY("id"), .dist = DPI_DIST_RADIX, .shift = 4), FLOW(KEY("id"), .dist = DPI_DIST_RADIX),
	       "the flow's shift is 4, yours is 0");
	differ(FLOW(.hint = DPI_HINT_LATENCY), FLOW(.targets = 1), "the flow's hint is latency, yours is bandwidth");
	differ(FLOW(.segment = 512), FLOW(.targets = 1), "the flow's segment is 512, yours is 16384");
	differ(FLOW(.memory = 1 << 20), FLOW(.targets = 1), "the flow's memory is 1048576, yours is 67108864");
	differ(FLOW(.expected = UINT64_MAX), FLOW(.targets = 1), "the flow's expected is 18446744073709551615, yours is 0");
	differ(FLOW(.linger_us = 5), FLOW(.targets = 1), "the flow's linger_us is 5, yours is 0");
	differ(FLOW(.on_death = 1), FLOW(.targets = 1), "the flow's on_death is goes on, yours is fails");
	differ(FLOW(FUNCTION("f", 1)), FLOW(FUNCTION("g", 1)), "the flow's dist_function is \"f\", yours is \"g\"");
	differ(FLOW(FUNCTION("f", 1)), FLOW(FUNCTION("f", 2)), "the flow's dist_version is 1, yours is 2");
	differ(FLOW(BY_TABLE(TARGETS(0, 1))), FLOW(BY_TABLE(TARGETS(0, 2))), "the flow's table[1] is 1, yours is 2");
	differ(FLOW(BY_TABLE(TARGETS(0, 1))), FLOW(BY_TABLE(TARGETS(0))), "the flow's table_size is 2, yours is 1");
	differ(FLOW(.retain = DPI_ACK_RELEASED), FLOW(.targets = 1), "the flow's retain is released, yours is direct");
	differ(FLOW(.retain = 3, .resume_us = 5), FLOW(.retain = 3, .resume_us = 6), "the flow's resume_us is 5, yours is 6");
	differ(FLOW(.detach_us = 5), FLOW(.targets = 1), "the flow's detach_us is 5, yours is 0");
	differ(FLOW(RANGE3(1, 2)), FLOW(RANGE3(1, 2)), "");
	differ(FLOW(RANGE3(1, 2)), FLOW(RANGE3(1, 3)), "row 1 of the flow's bounds[0] is another than in yours");
	forget_schemas();
}

/* Bounds that are the same wherever they lie and however they are written. */
TEST(bounds_are_equal_by_value, "FL-12", 0)
{
	struct {
		double ratio;
		uint32_t part;
		uint8_t flag, null;
	} row[] = { { -HUGE_VAL, 7, 9, 3 }, { -0.0, 3, 0, 1 }, { 5, 4, 200, 0 }, { -NAN, 4, 1, 0 } };
	DPI_Values rows[] = {
		{ .type = DPI_TYPE_DOUBLE, .data = &row[0].ratio, .stride = sizeof *row },
		{ .type = DPI_TYPE_UINT32, .data = &row[0].part, .stride = sizeof *row, .null = &row[0].null,
		  .null_mask = 1 },
		{ .type = DPI_TYPE_BOOL, .data = &row[0].flag, .stride = sizeof *row, .null = &row[0].null,
		  .null_mask = 2 },
	};
	DPI_Values packed[] = {
		{ .type = DPI_TYPE_DOUBLE, .data = (double[]){ -HUGE_VAL, 0.0, 5, NAN } },
		{ .type = DPI_TYPE_UINT32, .data = (uint32_t[]){ 1, 2, 4, 4 }, .valid = (uint8_t[]){ 0xfc } },
		{ .type = DPI_TYPE_BOOL, .data = (uint8_t[]){ 0xfd }, .valid = (uint8_t[]){ 0x0e } },
	};
	schema = kit_schema();
#define ROWS(b, ...) FLOW(.dist = DPI_DIST_RANGE, .targets = 5, .bounds = b, KEY(__VA_ARGS__))
	differ(ROWS(rows, "ratio", "part", "flag"), ROWS(packed, "ratio", "part", "flag"), "");
	packed[1].valid = (uint8_t[]){ 0xfe };
	differ(ROWS(rows, "ratio", "part", "flag"), ROWS(packed, "ratio", "part", "flag"),
	       "row 1 of the flow's bounds[1] is another than in yours");
	packed[1].valid = (uint8_t[]){ 0xfc }, packed[2].data = (uint8_t[]){ 4 };
	differ(ROWS(rows, "ratio", "part", "flag"), ROWS(packed, "ratio", "part", "flag"),
	       "row 3 of the flow's bounds[2] is another than in yours");
	DPI_Values text[] = { { .type = DPI_TYPE_UTF8, .data = "--b.bc", .offset = (int32_t[]){ 2, 2, 3, 4, 6 },
				.valid = (uint8_t[]){ 0x0b } },
			      { .type = DPI_TYPE_UTF8, .data = "bbc", .offset = (int32_t[]){ 0, 0, 1, 1, 3 },
				.valid = (uint8_t[]){ 0x0b } } };
	refused(ROWS(text, "name"), DPI_ERR_ARGUMENT, "bound 2 is below bound 1"); /* NULL is below every value */
	text[0].valid = text[1].valid = (uint8_t[]){ 0x0c };
	text[0].offset = (int32_t[]){ 0, 1, 2, 3, 6 }, text[1].offset = (int32_t[]){ 1, 1, 1, 2, 3 };
	text[0].data = "xyb+++", text[1].data = "-bb+++"; /* NULL, NULL, b, +++; NULL, NULL, b, b */
	refused(ROWS(text, "name"), DPI_ERR_ARGUMENT, "bound 3 is below bound 2");
	text[0].data = "xybbbb", text[1].data = "-bbbbb";
	text[1].offset = (int32_t[]){ 1, 1, 1, 2, 5 };
	differ(ROWS(text, "name"), ROWS(text + 1, "name"), "");
	text[1].offset = (int32_t[]){ 1, 1, 1, 2, 4 };
	differ(ROWS(text, "name"), ROWS(text + 1, "name"), "row 3 of the flow's bounds[0] is another than in yours");
	float plus[] = { -1, 0.0f, NAN, NAN }, minus[] = { -1, -0.0f, -NAN, NAN };
	DPI_Values f = { .type = DPI_TYPE_FLOAT, .data = plus }, g = { .type = DPI_TYPE_FLOAT, .data = minus };
	differ(ROWS(&f, "part8"), ROWS(&g, "part8"), "");
	forget_schemas();
}

TEST(fields_of_delivery, "FL-900 FL-911", 0)
{
	DPI_Codec codec = { .codec = DPI_CODEC_LZ4 };
	DPI_Stage filter = { .kind = DPI_STAGE_FILTER, .text = "true" }, sample = { .kind = DPI_STAGE_SAMPLE, .fraction = 0.5 };
	DPI_Aggregate count = { .function = DPI_AGGREGATE_COUNT_ALL, .name = "rows" };
	schema = kit_schema();
	TAKEN(.retain = DPI_ACK_RELEASED);
	TAKEN(.retain = DPI_ACK_CONFIRMED, .ack = DPI_ACK_CONFIRMED, .resume_us = 7);
	TAKEN(.retain = DPI_ACK_RELEASED, .stages = &filter, .stage_count = 1);
	TAKEN(.detach_us = DPI_FLOW_LINGER_MOST);
	WRONG("attr->retain is 1", .retain = DPI_ACK_RECEIVED);
	WRONG("attr->retain is -1", .retain = -1);
	WRONG("attr->retain is 4", .retain = 4);
	WRONG("attr->ack another level", .retain = DPI_ACK_RELEASED, .ack = DPI_ACK_CONFIRMED);
	WRONG("attr->ack another level", .retain = DPI_ACK_RELEASED, .ack = DPI_ACK_RECEIVED);
	WRONG("attr->resume_us is set", .resume_us = 1);
	WRONG("attr->resume_us is -1", .resume_us = -1, .retain = DPI_ACK_RELEASED);
	WRONG("attr->detach_us is", .detach_us = DPI_FLOW_LINGER_MOST + 1);
	TAKEN(.retain = DPI_ACK_RELEASED, .codecs = &codec, .codec_count = 1);
	REFUSED(DPI_ERR_UNSUPPORTED, "stage 0 is a sample without a key", .retain = DPI_ACK_RELEASED, .stages = &sample, .stage_count = 1);
	WRONG("attr->window is DPI_WINDOW_END", .retain = DPI_ACK_RELEASED, KEY("id"), .aggregates = &count, .aggregate_count = 1);
	TAKEN(.retain = DPI_ACK_RELEASED, KEY("id"), .aggregates = &count, .aggregate_count = 1, .window = DPI_WINDOW_MARKS);
	TAKEN(.retain = DPI_ACK_RELEASED, .layout = DPI_LAYOUT_COLUMNS);
	forget_schemas();
}
