/* SPDX-License-Identifier: Apache-2.0
 * schema.c: schemas, the layout of their rows, and rows built and taken apart. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory_kit.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A column of each type. */
static const DPI_Column all_types[] = {
	{ "bool", DPI_TYPE_BOOL, 0, 0, 0, 0 }, { "i8", DPI_TYPE_INT8, 0, 0, 0, 0 }, { "i16", DPI_TYPE_INT16, 0, 0, 0, 0 },
	{ "i32", DPI_TYPE_INT32, 0, 0, 0, 0 }, { "i64", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "u8", DPI_TYPE_UINT8, 0, 0, 0, 0 },
	{ "u16", DPI_TYPE_UINT16, 0, 0, 0, 0 }, { "u32", DPI_TYPE_UINT32, 0, 0, 0, 0 },
	{ "u64", DPI_TYPE_UINT64, 0, 0, 0, 0 },
	{ "float", DPI_TYPE_FLOAT, 0, 0, 0, 0 }, { "double", DPI_TYPE_DOUBLE, 0, 0, 0, 0 },
	{ "date", DPI_TYPE_DATE32, 0, 0, 0, 0 },
	{ "d64", DPI_TYPE_DECIMAL64, 0, 0, 12, 2 }, { "d128", DPI_TYPE_DECIMAL128, 0, 0, 0, 6 },
	{ "fixed", DPI_TYPE_FIXED, 0, 3, 0, 0 },
	{ "binary", DPI_TYPE_BINARY, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 0, 0, 0, 0 },
};
#define TYPES COUNT(all_types)

static DPI_Schema schema_of(const DPI_Column *columns, size_t count)
{
	DPI_Schema s;
	CHECK_DPI(DPI_Create_Schema(columns, count, &s));
	return s;
}
#define SCHEMA(...) schema_of((const DPI_Column[]){ __VA_ARGS__ }, COUNT(((const DPI_Column[]){ __VA_ARGS__ })))

static DPI_Schema all_nullable(void)
{
	DPI_Column c[TYPES];
	memcpy(c, all_types, sizeof c);
	for (size_t i = 0; i < TYPES; i++) c[i].nullable = 1;
	return schema_of(c, TYPES);
}

static DPI_Schema_Info shape_of(DPI_Schema s)
{
	DPI_Schema_Info info = DPI_SCHEMA_INFO_INIT;
	CHECK_DPI(DPI_Get_Schema_Info(s, &info));
	return info;
}

static size_t offset_of(DPI_Schema s, size_t i)
{
	DPI_Column c;
	size_t offset;
	CHECK_DPI(DPI_Get_Column(i, s, &c, &offset));
	return offset;
}

/* size bytes that end where a page begins that cannot be touched, and begin wherever that is. */
static uint8_t *at_the_edge(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (size + page - 1) / page * page;
	uint8_t *p = mmap(NULL, body + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || (body && mprotect(p, body, PROT_READ | PROT_WRITE))) FAIL("no memory with an edge");
	return p + body - size;
}

/* -------------------------------------------------------------------------------------------------------- schemas */

TEST(a_schema_is_what_was_asked_for, "S-1 S-5", 0)
{
	DPI_Column columns[TYPES], c;
	char names[TYPES][DPI_NAME_MAX];
	DPI_Schema s;
	memcpy(columns, all_types, sizeof columns);
	for (size_t i = 0; i < TYPES; i++) {
		strcpy(names[i], all_types[i].name);
		columns[i].name = names[i];
		columns[i].nullable = i % 2;
	}
	CHECK_DPI(DPI_Create_Schema(columns, TYPES, &s));
	memset(columns, 0xee, sizeof columns);
	memset(names, 'x', sizeof names);
	CHECK_INT(shape_of(s).columns, ==, TYPES);
	for (size_t i = 0; i < TYPES; i++) {
		CHECK_DPI(DPI_Get_Column(i, s, &c, NULL));
		CHECK_STR(c.name, all_types[i].name);
		CHECK_INT(c.type, ==, all_types[i].type);
		CHECK_INT(c.nullable, ==, i % 2);
		CHECK_INT(c.width, ==, all_types[i].width);
		CHECK_INT(c.scale, ==, all_types[i].scale);
		int precision = c.type == DPI_TYPE_DECIMAL128 ? 38 : all_types[i].precision;
		CHECK_INT(c.precision, ==, precision);
	}
	CHECK_ERROR(DPI_Get_Column(TYPES, s, &c, NULL), DPI_ERR_RANGE, "no column 17");
	CHECK_ERROR(DPI_Get_Column(SIZE_MAX, s, &c, NULL), DPI_ERR_RANGE, "no column");
	CHECK_ERROR(DPI_Get_Column(0, s, NULL, NULL), DPI_ERR_ARGUMENT, "column");
	CHECK_DPI(DPI_Free_Schema(s));

	s = SCHEMA({ "d", DPI_TYPE_DECIMAL64, 0, 0, 0, 18 });
	CHECK_DPI(DPI_Get_Column(0, s, &c, NULL));
	CHECK_INT(c.precision, ==, 18);
	CHECK_DPI(DPI_Free_Schema(s));
}

TEST(a_schema_has_up_to_1024_columns, "S-1 S-2", 0)
{
	static DPI_Column columns[DPI_COLUMNS_MAX + 1];
	static char names[DPI_COLUMNS_MAX + 1][DPI_NAME_MAX];
	DPI_Schema s;
	for (size_t i = 0; i < COUNT(columns); i++) {
		memset(names[i], 'a', DPI_NAME_MAX - 1);
		snprintf(names[i] + DPI_NAME_MAX - 8, 8, "%07zu", i);
		columns[i] = (DPI_Column){ names[i], DPI_TYPE_FIXED, 1, DPI_FIXED_MAX, 0, 0 };
	}
	CHECK_DPI(DPI_Create_Schema(columns, DPI_COLUMNS_MAX, &s));
	CHECK_INT(shape_of(s).row_size, ==, (size_t)DPI_COLUMNS_MAX * DPI_FIXED_MAX + DPI_COLUMNS_MAX / 8);
	CHECK_DPI(DPI_Free_Schema(s));
	CHECK_ERROR(DPI_Create_Schema(columns, DPI_COLUMNS_MAX + 1, &s), DPI_ERR_ARGUMENT, "1025 columns");
	CHECK_ERROR(DPI_Create_Schema(columns, 0, &s), DPI_ERR_ARGUMENT, "0 columns");
	CHECK_ERROR(DPI_Create_Schema(NULL, 1, &s), DPI_ERR_ARGUMENT, "columns");
	CHECK_ERROR(DPI_Create_Schema(columns, 1, NULL), DPI_ERR_ARGUMENT, "schema");
	columns[1000].name = columns[3].name;
	CHECK_ERROR(DPI_Create_Schema(columns, DPI_COLUMNS_MAX, &s), DPI_ERR_ARGUMENT,
		    "columns 3 and 1000 have the same name");
}

TEST(a_wrong_column_is_named, "S-2", 0)
{
	static char longest[DPI_NAME_MAX], longer[DPI_NAME_MAX + 1];
	memset(longest, 'n', DPI_NAME_MAX - 1);
	memset(longer, 'n', DPI_NAME_MAX);
	static const DPI_Column bad[] = {
		{ NULL, DPI_TYPE_INT8, 0, 0, 0, 0 }, { "", DPI_TYPE_INT8, 0, 0, 0, 0 },
		{ longer, DPI_TYPE_INT8, 0, 0, 0, 0 },
		{ "a\nb", DPI_TYPE_INT8, 0, 0, 0, 0 }, { "a\x7f", DPI_TYPE_INT8, 0, 0, 0, 0 },
		{ "a\xff", DPI_TYPE_INT8, 0, 0, 0, 0 },
		{ "\xc0\x80", DPI_TYPE_INT8, 0, 0, 0, 0 }, { "\xed\xa0\x80", DPI_TYPE_INT8, 0, 0, 0, 0 },
		{ "first", DPI_TYPE_INT8, 0, 0, 0, 0 },
		{ "b", 0, 0, 0, 0, 0 }, { "b", -1, 0, 0, 0, 0 }, { "b", 18, 0, 0, 0, 0 },
		{ "b", DPI_TYPE_INT8, 2, 0, 0, 0 }, { "b", DPI_TYPE_INT8, -1, 0, 0, 0 }, { "b", DPI_TYPE_INT8, 0, 1, 0, 0 },
		{ "b", DPI_TYPE_UTF8, 0, 9, 0, 0 }, { "b", DPI_TYPE_FIXED, 0, 0, 0, 0 },
		{ "b", DPI_TYPE_FIXED, 0, DPI_FIXED_MAX + 1, 0, 0 },
		{ "b", DPI_TYPE_INT64, 0, 0, 5, 0 }, { "b", DPI_TYPE_INT64, 0, 0, 0, 2 },
		{ "b", DPI_TYPE_DECIMAL64, 0, 0, 19, 0 },
		{ "b", DPI_TYPE_DECIMAL64, 0, 0, -1, 0 }, { "b", DPI_TYPE_DECIMAL128, 0, 0, 39, 0 },
		{ "b", DPI_TYPE_DECIMAL64, 0, 0, 5, 6 },
		{ "b", DPI_TYPE_DECIMAL64, 0, 0, 5, -1 }, { "b", DPI_TYPE_DECIMAL128, 0, 0, 0, 39 },
	};
	static const DPI_Column good = { "first", DPI_TYPE_INT8, 0, 0, 0, 0 };
	for (size_t i = 0; i < COUNT(bad); i++) {
		DPI_Column pair[] = { good, bad[i] };
		DPI_Schema s = NULL;
		if (i == 8) CHECK_ERROR(DPI_Create_Schema(pair, 2, &s), DPI_ERR_ARGUMENT, "columns 0 and 1");
		else CHECK_ERROR(DPI_Create_Schema(pair, 2, &s), DPI_ERR_ARGUMENT, "column 1");
		CHECK(!s);
	}
	CHECK_DPI(DPI_Free_Schema(SCHEMA({ longest, DPI_TYPE_INT8, 0, 0, 0, 0 },
					 { "größe €𝄞", DPI_TYPE_DECIMAL128, 1, 0, 38, 38 },
					 { "f", DPI_TYPE_FIXED, 0, DPI_FIXED_MAX, 0, 0 })));
}

static void *describe_often(void *schema)
{
	for (int i = 0; i < 2000; i++) {
		uint8_t row[512];
		DPI_Value v[TYPES] = { { .type = DPI_TYPE_NULL } };
		size_t size, at;
		CHECK_DPI(DPI_Pack_Row(v, schema, row, sizeof row, &size));
		CHECK_DPI(DPI_Find_Column("u64", schema, &at));
		CHECK_DPI(DPI_Get_Value(row, size, at, schema, v));
		CHECK_INT(v->type, ==, DPI_TYPE_NULL);
	}
	return NULL;
}

TEST(schemas_need_no_cluster, "S-3", 0)
{
	DPI_Context ctx;
	pthread_t thread[4];
	DPI_Schema s = all_nullable(), t;
	CHECK_DPI(DPI_Init(&ctx));
	t = all_nullable();
	for (size_t i = 0; i < COUNT(thread); i++) CHECK(!pthread_create(thread + i, NULL, describe_often, s));
	for (size_t i = 0; i < COUNT(thread); i++) CHECK(!pthread_join(thread[i], NULL));
	CHECK_DPI(DPI_Finalize(ctx));
	int equal = 0;
	CHECK_DPI(DPI_Compare_Schemas(s, t, &equal, NULL, 0));
	CHECK_INT(equal, ==, 1);
	CHECK_DPI(DPI_Free_Schema(s));
	CHECK_DPI(DPI_Free_Schema(t));
}

TEST(a_freed_schema_is_no_handle, "S-4", 0)
{
	DPI_Schema s = all_nullable(), live = all_nullable();
	DPI_Schema_Info info = DPI_SCHEMA_INFO_INIT;
	DPI_Column c;
	DPI_Value v[TYPES] = { { .type = DPI_TYPE_NULL } };
	struct ArrowSchema arrow;
	size_t at;
	int equal;
	CHECK_DPI(DPI_Free_Schema(s));
	CHECK_ERROR(DPI_Free_Schema(s), DPI_ERR_HANDLE, "schema");
	CHECK_ERROR(DPI_Get_Schema_Info(s, &info), DPI_ERR_HANDLE, "schema");
	CHECK_ERROR(DPI_Get_Column(0, s, &c, NULL), DPI_ERR_HANDLE, "schema");
	CHECK_ERROR(DPI_Find_Column("i8", s, &at), DPI_ERR_HANDLE, "schema");
	CHECK_ERROR(DPI_Compare_Schemas(s, live, &equal, NULL, 0), DPI_ERR_HANDLE, "schema");
	CHECK_ERROR(DPI_Compare_Schemas(live, s, &equal, NULL, 0), DPI_ERR_HANDLE, "schema");
	CHECK_ERROR(DPI_Pack_Row(v, s, &c, sizeof c, NULL), DPI_ERR_HANDLE, "schema");
	CHECK_ERROR(DPI_Get_Value(&c, sizeof c, 0, s, v), DPI_ERR_HANDLE, "schema");
	CHECK_ERROR(DPI_Check_Row(&c, sizeof c, 0, s), DPI_ERR_HANDLE, "schema");
	CHECK_ERROR(DPI_Export_Arrow_Schema(s, &arrow), DPI_ERR_HANDLE, "schema");
	CHECK_ERROR(DPI_Free_Schema(NULL), DPI_ERR_ARGUMENT, "schema");
	CHECK_DPI(DPI_Free_Schema(live));
}

TEST(columns_are_found_by_name, "S-6", 0)
{
	DPI_Schema s = schema_of(all_types, TYPES);
	size_t at;
	for (size_t i = 0; i < TYPES; i++) {
		CHECK_DPI(DPI_Find_Column(all_types[i].name, s, &at));
		CHECK_INT(at, ==, i);
	}
	CHECK_ERROR(DPI_Find_Column("I8", s, &at), DPI_ERR_NAME, "\"I8\"");
	CHECK_ERROR(DPI_Find_Column("", s, &at), DPI_ERR_NAME, "column");
	CHECK_ERROR(DPI_Find_Column("zzz", s, &at), DPI_ERR_NAME, "zzz");
	CHECK_ERROR(DPI_Find_Column(NULL, s, &at), DPI_ERR_ARGUMENT, "name");
	CHECK_DPI(DPI_Free_Schema(s));
}

TEST(the_first_difference_is_named, "S-7 S-8", 0)
{
	static const DPI_Column base[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 },
					   { "price", DPI_TYPE_DECIMAL64, 1, 0, 12, 2 },
					   { "code", DPI_TYPE_FIXED, 0, 4, 0, 0 } };
	static const struct {
		int at;
		DPI_Column c;
		const char *one, *two;
	} changes[] = {
		{ 0, { "key2", DPI_TYPE_INT64, 0, 0, 0, 0 }, "column 0", "key2" },
		{ 0, { "key", DPI_TYPE_UINT64, 0, 0, 0, 0 }, "INT64", "UINT64" },
		{ 0, { "key", DPI_TYPE_INT64, 1, 0, 0, 0 }, "key", "NULL" },
		{ 1, { "price", DPI_TYPE_DECIMAL64, 1, 0, 13, 2 }, "12", "13" },
		{ 1, { "price", DPI_TYPE_DECIMAL64, 1, 0, 12, 3 }, "(12,2)", "(12,3)" },
		{ 2, { "code", DPI_TYPE_FIXED, 0, 5, 0, 0 }, "4", "5" },
	};
	DPI_Schema s = schema_of(base, 3), same = schema_of(base, 3);
	char text[300] = "x";
	int equal = 0;
	CHECK_DPI(DPI_Compare_Schemas(s, same, &equal, text, sizeof text));
	CHECK_INT(equal, ==, 1);
	CHECK_STR(text, "");
	CHECK_INT(shape_of(s).digest, ==, shape_of(same).digest);
	for (size_t i = 0; i < COUNT(changes); i++) {
		DPI_Column c[3];
		memcpy(c, base, sizeof c);
		c[changes[i].at] = changes[i].c;
		DPI_Schema other = schema_of(c, 3);
		CHECK_DPI(DPI_Compare_Schemas(s, other, &equal, text, sizeof text));
		CHECK_INT(equal, ==, 0);
		CHECK_HAS(text, changes[i].one);
		CHECK_HAS(text, changes[i].two);
		CHECK(shape_of(s).digest != shape_of(other).digest);
		CHECK_DPI(DPI_Free_Schema(other));
	}
	DPI_Schema shorter = schema_of(base, 2);
	CHECK_DPI(DPI_Compare_Schemas(shorter, s, &equal, text, sizeof text));
	CHECK_INT(equal, ==, 0);
	CHECK_HAS(text, "column 2, \"code\"");
	memset(text, 'x', sizeof text);
	CHECK_DPI(DPI_Compare_Schemas(s, shorter, &equal, text, 10));
	CHECK_INT(strlen(text), ==, 9);
	CHECK_INT(text[10], ==, 'x');
	CHECK_DPI(DPI_Compare_Schemas(s, shorter, &equal, NULL, 0));
	CHECK_INT(equal, ==, 0);
	CHECK_ERROR(DPI_Compare_Schemas(s, s, NULL, NULL, 0), DPI_ERR_ARGUMENT, "equal");
	CHECK_ERROR(DPI_Compare_Schemas(s, s, &equal, NULL, 1), DPI_ERR_ARGUMENT, "difference");
	CHECK_DPI(DPI_Free_Schema(s));
	CHECK_DPI(DPI_Free_Schema(same));
	CHECK_DPI(DPI_Free_Schema(shorter));
}

/* --------------------------------------------------------------------------------------------------------- layout */

#define SAME_OFFSET(s, type, i, field) CHECK_INT(offset_of((s), (i)), ==, offsetof(type, field))

TEST(a_plain_row_is_a_c_struct, "S-9 S-11 S-13", 0)
{
	struct mixed {
		int8_t a;
		int64_t b;
		int16_t c;
		float d;
		char e[3];
		uint16_t f;
		uint64_t g[2];
		uint8_t h;
	};
	DPI_Schema s = SCHEMA({ "a", DPI_TYPE_INT8, 0, 0, 0, 0 }, { "b", DPI_TYPE_INT64, 0, 0, 0, 0 },
			      { "c", DPI_TYPE_INT16, 0, 0, 0, 0 }, { "d", DPI_TYPE_FLOAT, 0, 0, 0, 0 },
			      { "e", DPI_TYPE_FIXED, 0, 3, 0, 0 }, { "f", DPI_TYPE_UINT16, 0, 0, 0, 0 },
			      { "g", DPI_TYPE_DECIMAL128, 0, 0, 0, 0 }, { "h", DPI_TYPE_BOOL, 0, 0, 0, 0 });
	SAME_OFFSET(s, struct mixed, 0, a);
	SAME_OFFSET(s, struct mixed, 1, b);
	SAME_OFFSET(s, struct mixed, 2, c);
	SAME_OFFSET(s, struct mixed, 3, d);
	SAME_OFFSET(s, struct mixed, 4, e);
	SAME_OFFSET(s, struct mixed, 5, f);
	SAME_OFFSET(s, struct mixed, 6, g);
	SAME_OFFSET(s, struct mixed, 7, h);
	CHECK_INT(shape_of(s).row_size, ==, sizeof(struct mixed));
	CHECK_INT(shape_of(s).row_align, ==, _Alignof(struct mixed));
	CHECK_INT(shape_of(s).varies, ==, 0);
	CHECK_DPI(DPI_Free_Schema(s));

	struct tail { int64_t a; int32_t b; };
	struct pair { int32_t a, b; };
	struct odd { uint16_t a; uint8_t b; };
	struct bytes { char a[7]; };
	static const struct {
		DPI_Column c[2];
		size_t count, size, align;
	} known[] = {
		{ { { "a", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "b", DPI_TYPE_INT32, 0, 0, 0, 0 } }, 2, sizeof(struct tail),
		  _Alignof(struct tail) },
		{ { { "a", DPI_TYPE_INT32, 0, 0, 0, 0 }, { "b", DPI_TYPE_DATE32, 0, 0, 0, 0 } }, 2, sizeof(struct pair),
		  _Alignof(struct pair) },
		{ { { "a", DPI_TYPE_UINT16, 0, 0, 0, 0 }, { "b", DPI_TYPE_UINT8, 0, 0, 0, 0 } }, 2, sizeof(struct odd),
		  _Alignof(struct odd) },
		{ { { "a", DPI_TYPE_FIXED, 0, 7, 0, 0 } }, 1, sizeof(struct bytes), _Alignof(struct bytes) },
		{ { { "a", DPI_TYPE_BOOL, 0, 0, 0, 0 } }, 1, 1, 1 },
	};
	for (size_t i = 0; i < COUNT(known); i++) {
		s = schema_of(known[i].c, known[i].count);
		CHECK_INT(shape_of(s).row_size, ==, known[i].size);
		CHECK_INT(shape_of(s).row_align, ==, known[i].align);
		CHECK_DPI(DPI_Free_Schema(s));
	}
}

TEST(bits_of_nulls_come_behind_the_columns, "S-10 S-11", 0)
{
	static char names[12][4];
	DPI_Column c[12];
	uint8_t row[64];
	size_t size;
	for (int i = 0; i < 12; i++) {
		snprintf(names[i], sizeof names[i], "c%d", i);
		c[i] = (DPI_Column){ names[i], DPI_TYPE_INT32, i != 5, 0, 0, 0 }; /* 11 are nullable: two bytes */
	}
	DPI_Schema s = schema_of(c, 12);
	CHECK_INT(shape_of(s).row_size, ==, 52);
	for (int null = 0; null < 12; null++) {
		DPI_Value v[12];
		for (int i = 0; i < 12; i++) v[i] = (DPI_Value){ .type = DPI_TYPE_INT32, .i = i + 1 };
		if (null != 5) v[null].type = DPI_TYPE_NULL;
		CHECK_DPI(DPI_Pack_Row(v, s, row, sizeof row, &size));
		CHECK_INT(size, ==, 52);
		int bit = null == 5 ? -1 : null > 5 ? null - 1 : null; /* column 5 has none */
		CHECK_INT(row[48], ==, bit >= 0 && bit < 8 ? 1 << bit : 0);
		CHECK_INT(row[49], ==, bit >= 8 ? 1 << (bit - 8) : 0);
	}
	CHECK_DPI(DPI_Free_Schema(s));
	s = SCHEMA({ "a", DPI_TYPE_INT64, 1, 0, 0, 0 });
	CHECK_INT(shape_of(s).row_size, ==, 16);
	CHECK_DPI(DPI_Free_Schema(s));
	s = SCHEMA({ "a", DPI_TYPE_INT8, 1, 0, 0, 0 });
	CHECK_INT(shape_of(s).row_size, ==, 2);
	CHECK_DPI(DPI_Free_Schema(s));
}

TEST(variable_values_stand_behind_the_fixed_part, "S-12 S-13", 0)
{
	DPI_Schema s = SCHEMA({ "a", DPI_TYPE_INT8, 0, 0, 0, 0 }, { "t", DPI_TYPE_UTF8, 0, 0, 0, 0 },
			      { "b", DPI_TYPE_BINARY, 1, 0, 0, 0 });
	DPI_Value v[3] = { { .type = DPI_TYPE_INT8, .i = -3 }, { .type = DPI_TYPE_UTF8, .size = 5, .data = "hello" },
			   { .type = DPI_TYPE_BINARY, .size = 2, .data = "\1\2" } };
	uint8_t row[64];
	uint32_t place[2];
	size_t size;
	CHECK_INT(offset_of(s, 1), ==, 4);
	CHECK_INT(offset_of(s, 2), ==, 12);
	CHECK_INT(shape_of(s).row_size, ==, 24);
	CHECK_INT(shape_of(s).row_align, ==, 4);
	CHECK_INT(shape_of(s).varies, ==, 1);
	CHECK_DPI(DPI_Pack_Row(v, s, row, sizeof row, &size));
	CHECK_INT(size, ==, 24 + 7);
	for (int i = 1; i <= 2; i++) {
		memcpy(place, row + offset_of(s, (size_t)i), sizeof place);
		CHECK_INT(place[0], >=, 24);
		CHECK_INT(place[1], ==, v[i].size);
		CHECK(!memcmp(row + place[0], v[i].data, v[i].size));
	}
	/* two columns may share bytes, in any order, with others between */
	place[0] = 26, place[1] = 3;
	memcpy(row + 4, place, 8);
	memcpy(row + 12, place, 8);
	CHECK_DPI(DPI_Check_Row(row, size, 1, s));
	CHECK_DPI(DPI_Get_Value(row, size, 2, s, v));
	CHECK(v->data == row + 26 && v->size == 3);
	CHECK_DPI(DPI_Free_Schema(s));
}

/* ----------------------------------------------------------------------------------------------------------- rows */

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

/* A value that the column of all_types takes; edges often. */
static DPI_Value any_value(const DPI_Column *c, uint64_t *state, const char *bytes)
{
	static const int bits[] = { 0, 1, 8, 16, 32, 64, 8, 16, 32, 64 };
	DPI_Value v = { .type = c->type };
	uint64_t r = next(state), edge = next(state) % 4;
	int64_t most = c->type <= DPI_TYPE_UINT64 ? INT64_MAX >> (64 - bits[c->type]) : 0;
	switch (c->type) {
	case DPI_TYPE_BOOL: v.i = r & 1; break;
	case DPI_TYPE_INT8:
	case DPI_TYPE_INT16:
	case DPI_TYPE_INT32:
	case DPI_TYPE_INT64: v.i = edge == 0 ? most : edge == 1 ? -most - 1 : (int64_t)r >> (64 - bits[c->type]); break;
	case DPI_TYPE_DATE32: v.i = edge == 0 ? INT32_MAX : edge == 1 ? INT32_MIN : (int32_t)r; break;
	case DPI_TYPE_UINT8:
	case DPI_TYPE_UINT16:
	case DPI_TYPE_UINT32:
	case DPI_TYPE_UINT64: v.u = (edge == 0 ? UINT64_MAX : r) >> (64 - bits[c->type]); break;
	case DPI_TYPE_FLOAT: v.d = (double)((float)(int64_t)r / 3.0f); break;
	case DPI_TYPE_DOUBLE: v.d = edge == 0 ? -0.0 : (double)(int64_t)r / 3.0; break;
	case DPI_TYPE_DECIMAL64: v.i = edge < 2 ? (edge ? -1 : 1) * INT64_C(999999999999) : (int64_t)(r % 1000000); break;
	case DPI_TYPE_DECIMAL128: v.w[0] = r, v.w[1] = edge == 0 ? UINT64_MAX : edge == 1 ? 0 : next(state) >> 4; break;
	case DPI_TYPE_FIXED: v.data = bytes, v.size = c->width; break;
	default: v.data = bytes, v.size = (uint32_t)(r % 40); break;
	}
	return v;
}

static void same_value(const DPI_Value *a, const DPI_Value *b)
{
	CHECK_INT(a->type, ==, b->type);
	if (a->type == DPI_TYPE_NULL) return;
	if (a->type == DPI_TYPE_DECIMAL128) CHECK(!memcmp(a->w, b->w, sizeof a->w));
	else if (a->type >= DPI_TYPE_FIXED) CHECK(a->size == b->size && !memcmp(a->data, b->data, a->size));
	else CHECK_INT(a->i, ==, b->i);
}

TEST(values_come_out_as_they_went_in, "S-14 S-15 S-18 S-20", 0)
{
	static const char bytes[] = "the quick brown fox jumps over the lazy dog";
	DPI_Schema s = all_nullable(), plain = schema_of(all_types, TYPES);
	uint64_t state = harness_seed() * 2 + 1;
	for (int round = 0; round < 2000; round++) {
		DPI_Schema t = round % 2 ? plain : s;
		DPI_Value in[TYPES], out;
		size_t size, again;
		for (size_t i = 0; i < TYPES; i++) {
			in[i] = any_value(all_types + i, &state, bytes);
			if (t == s && next(&state) % 3 == 0) in[i] = (DPI_Value){ .type = DPI_TYPE_NULL, .i = 77 };
		}
		CHECK_ERROR(DPI_Pack_Row(in, t, NULL, 0, &size), DPI_ERR_SIZE, "bytes");
		uint8_t *one = malloc(size + 1), *row = one + round / 2 % 2, *two = malloc(size); /* also at odd addresses */
		CHECK(one && two);
		memset(one, 0xaa, size + 1), memset(two, 0x55, size);
		CHECK_DPI(DPI_Pack_Row(in, t, row, size, &again));
		CHECK_INT(size, ==, again);
		CHECK_DPI(DPI_Pack_Row(in, t, two, size, NULL));
		CHECK(!memcmp(row, two, size));
		CHECK_DPI(DPI_Check_Row(row, size, 1, t));
		for (size_t i = 0; i < TYPES; i++) {
			CHECK_DPI(DPI_Get_Value(row, size, i, t, &out));
			same_value(&out, in + i);
		}
		CHECK_ERROR(DPI_Get_Value(row, size, TYPES, t, &out), DPI_ERR_RANGE, "column");
		free(one), free(two);
	}
	CHECK_DPI(DPI_Free_Schema(s));
	CHECK_DPI(DPI_Free_Schema(plain));
}

TEST(values_that_do_not_fit_are_refused, "S-16", 0)
{
	static const struct {
		int column;
		DPI_Value v;
		int error;
	} bad[] = {
		{ 0, { .type = DPI_TYPE_BOOL, .i = 2 }, DPI_ERR_RANGE },
		{ 0, { .type = DPI_TYPE_BOOL, .i = -1 }, DPI_ERR_RANGE },
		{ 0, { .type = DPI_TYPE_NULL }, DPI_ERR_ARGUMENT },
		{ 0, { .type = DPI_TYPE_INT8 }, DPI_ERR_ARGUMENT },
		{ 1, { .type = DPI_TYPE_INT8, .i = 128 }, DPI_ERR_RANGE },
		{ 1, { .type = DPI_TYPE_INT8, .i = -129 }, DPI_ERR_RANGE },
		{ 2, { .type = DPI_TYPE_INT16, .i = 32768 }, DPI_ERR_RANGE },
		{ 3, { .type = DPI_TYPE_INT32, .i = INT64_C(2147483648) }, DPI_ERR_RANGE },
		{ 5, { .type = DPI_TYPE_UINT8, .u = 256 }, DPI_ERR_RANGE },
		{ 6, { .type = DPI_TYPE_UINT16, .u = 65536 }, DPI_ERR_RANGE },
		{ 7, { .type = DPI_TYPE_UINT32, .u = UINT64_C(1) << 32 }, DPI_ERR_RANGE },
		{ 9, { .type = DPI_TYPE_FLOAT, .d = 1e39 }, DPI_ERR_RANGE },
		{ 11, { .type = DPI_TYPE_DATE32, .i = INT64_C(-2147483649) }, DPI_ERR_RANGE },
		{ 12, { .type = DPI_TYPE_DECIMAL64, .i = INT64_C(1000000000000) }, DPI_ERR_RANGE },
		{ 12, { .type = DPI_TYPE_DECIMAL64, .i = INT64_C(-1000000000000) }, DPI_ERR_RANGE },
		{ 13, { .type = DPI_TYPE_DECIMAL128, .w = { 0, INT64_MAX } }, DPI_ERR_RANGE },
		{ 13, { .type = DPI_TYPE_DECIMAL64, .i = 1 }, DPI_ERR_ARGUMENT },
		{ 14, { .type = DPI_TYPE_FIXED, .size = 2, .data = "ab" }, DPI_ERR_ARGUMENT },
		{ 14, { .type = DPI_TYPE_FIXED, .size = 3 }, DPI_ERR_ARGUMENT },
		{ 15, { .type = DPI_TYPE_UTF8, .size = 1, .data = "a" }, DPI_ERR_ARGUMENT },
		{ 16, { .type = 99 }, DPI_ERR_ARGUMENT },
	};
	DPI_Schema s = schema_of(all_types, TYPES);
	uint64_t state = 1;
	for (size_t i = 0; i < COUNT(bad); i++) {
		DPI_Value v[TYPES];
		uint8_t row[512];
		char number[32];
		for (size_t k = 0; k < TYPES; k++)
			v[k] = any_value(all_types + k, &state, "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz");
		v[bad[i].column] = bad[i].v;
		memset(row, 0xaa, sizeof row);
		snprintf(number, sizeof number, "column %d", bad[i].column);
		CHECK_ERROR(DPI_Pack_Row(v, s, row, sizeof row, NULL), bad[i].error, number);
		for (size_t k = 0; k < sizeof row; k++) CHECK_INT(row[k], ==, 0xaa);
	}
	CHECK_DPI(DPI_Free_Schema(s));
}

TEST(the_room_that_a_row_needs_is_told, "S-16 S-17", 0)
{
	DPI_Schema s = SCHEMA({ "i", DPI_TYPE_INT32, 0, 0, 0, 0 }, { "t", DPI_TYPE_UTF8, 1, 0, 0, 0 });
	DPI_Value v[2] = { { .type = DPI_TYPE_INT32, .i = 7 }, { .type = DPI_TYPE_UTF8, .size = 10, .data = "0123456789" } };
	size_t size = 0;
	uint8_t row[26];
	CHECK_ERROR(DPI_Pack_Row(v, s, NULL, 0, &size), DPI_ERR_SIZE, "26");
	CHECK_INT(size, ==, 26);
	memset(row, 0xaa, sizeof row);
	CHECK_ERROR(DPI_Pack_Row(v, s, row, 25, &size), DPI_ERR_SIZE, "25");
	for (size_t k = 0; k < sizeof row; k++) CHECK_INT(row[k], ==, 0xaa);
	CHECK_DPI(DPI_Pack_Row(v, s, row, 26, &size));
	v[1].size = DPI_ROW_MAX; /* never read: it cannot be a row */
	CHECK_ERROR(DPI_Pack_Row(v, s, row, sizeof row, &size), DPI_ERR_SIZE, "at most");
	CHECK_ERROR(DPI_Pack_Row(NULL, s, row, sizeof row, &size), DPI_ERR_ARGUMENT, "values");
	CHECK_ERROR(DPI_Pack_Row(v, s, NULL, 5, &size), DPI_ERR_ARGUMENT, "row");
	CHECK_DPI(DPI_Free_Schema(s));
}

TEST(what_is_no_row_is_refused, "S-12 S-19 S-20", 0)
{
	/* 0, 4 … 12, bits 12, 16 in all */
	DPI_Schema s = SCHEMA({ "b", DPI_TYPE_BOOL, 1, 0, 0, 0 }, { "t", DPI_TYPE_UTF8, 1, 0, 0, 0 });
	DPI_Value v[2] = { { .type = DPI_TYPE_BOOL, .i = 1 },
			   { .type = DPI_TYPE_UTF8, .size = 4, .data = "\xf0\x9d\x84\x9e" } }, out;
	uint8_t *row = at_the_edge(20);
	size_t size;
	CHECK_DPI(DPI_Pack_Row(v, s, row, 20, &size));
	CHECK_INT(size, ==, 20);
	CHECK_DPI(DPI_Check_Row(row, 20, 1, s));
	for (size_t n = 0; n < 20; n++) {
		CHECK_ERROR(DPI_Check_Row(row + 20 - n, n, 0, s), DPI_ERR_CORRUPT, "row");
		if (n < 16) CHECK_ERROR(DPI_Get_Value(row + 20 - n, n, 0, s, &out), DPI_ERR_CORRUPT, "at least 16");
	}
	CHECK_DPI(DPI_Get_Value(row, 16, 0, s, &out));
	CHECK_ERROR(DPI_Get_Value(row, 16, 1, s, &out), DPI_ERR_CORRUPT, "column 1 \"t\"");

	static const uint32_t places[][2] = { { 15, 1 }, { 0, 1 }, { 16, 5 }, { 17, 4 }, { 21, 0 }, { 20, 1 },
					      { UINT32_MAX, 1 }, { 16, UINT32_MAX },
					      { UINT32_MAX, UINT32_MAX }, { 0x80000000u, 0x80000000u },
					      { 0xfffffff0u, 0x20 } };
	for (size_t i = 0; i < COUNT(places); i++) {
		memcpy(row + 4, places[i], 8);
		CHECK_ERROR(DPI_Check_Row(row, 20, 0, s), DPI_ERR_CORRUPT, "column 1 \"t\"");
		CHECK_ERROR(DPI_Get_Value(row, 20, 1, s, &out), DPI_ERR_CORRUPT, "column 1 \"t\"");
		row[12] = 2; /* NULL: its place does not matter */
		CHECK_DPI(DPI_Check_Row(row, 20, 1, s));
		CHECK_DPI(DPI_Get_Value(row, 20, 1, s, &out));
		CHECK_INT(out.type, ==, DPI_TYPE_NULL);
		row[12] = 0;
	}
	memcpy(row + 4, (uint32_t[]){ 20, 0 }, 8); /* nothing, at the very end */
	CHECK_DPI(DPI_Check_Row(row, 20, 1, s));
	memcpy(row + 4, (uint32_t[]){ 16, 3 }, 8);
	CHECK_DPI(DPI_Check_Row(row, 20, 0, s));
	CHECK_ERROR(DPI_Check_Row(row, 20, 1, s), DPI_ERR_CORRUPT, "UTF-8");
	row[0] = 2;
	CHECK_ERROR(DPI_Check_Row(row, 20, 0, s), DPI_ERR_CORRUPT, "column 0 \"b\"");
	CHECK_ERROR(DPI_Get_Value(row, 20, 0, s, &out), DPI_ERR_CORRUPT, "column 0 \"b\"");
	row[12] = 1;
	CHECK_DPI(DPI_Check_Row(row, 20, 0, s));
	CHECK_ERROR(DPI_Check_Row(NULL, 20, 0, s), DPI_ERR_ARGUMENT, "row");
	CHECK_DPI(DPI_Free_Schema(s));

	s = SCHEMA({ "a", DPI_TYPE_INT64, 0, 0, 0, 0 });
	CHECK_DPI(DPI_Check_Row(row, 8, 1, s));
	CHECK_ERROR(DPI_Check_Row(row, 16, 1, s), DPI_ERR_CORRUPT, "16 bytes");
	CHECK_ERROR(DPI_Get_Value(row, 7, 0, s, &out), DPI_ERR_CORRUPT, "7 bytes");
	CHECK_DPI(DPI_Free_Schema(s));
}

TEST(random_bytes_are_a_row_or_an_error, "S-20", 0)
{
	DPI_Schema s = all_nullable();
	size_t fixed = shape_of(s).row_size;
	uint64_t state = harness_seed() * 2 + 1;
	for (int round = 0; round < 300; round++) {
		size_t size = fixed + next(&state) % 50;
		uint8_t *row = at_the_edge(size);
		for (size_t i = 0; i < size; i++) row[i] = next(&state) % 4 ? (uint8_t)(next(&state) % 200) : 0;
		int good = DPI_Check_Row(row, size, 1, s) == DPI_SUCCESS;
		for (size_t i = 0; i < TYPES; i++) {
			DPI_Value v;
			int error = DPI_Get_Value(row, size, i, s, &v);
			CHECK(error == DPI_SUCCESS || (error == DPI_ERR_CORRUPT && !good));
			if (!error && v.type >= DPI_TYPE_FIXED)
				for (uint32_t k = 0; k < v.size; k++)
					state += ((const uint8_t *)v.data)[k]; /* all of it can be read */
		}
		size_t page = (size_t)sysconf(_SC_PAGESIZE);
		munmap((void *)((uintptr_t)row & ~(page - 1)), 2 * page);
	}
	CHECK_DPI(DPI_Free_Schema(s));
}
