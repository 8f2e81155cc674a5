/* SPDX-License-Identifier: Apache-2.0
 * movement.c: partitioning, gathering and transposing of what lies in memory, against the plainest way to say it. */
#include <math.h>
#include <stdlib.h>

#include "memory_kit.h"

static uint64_t state;

static uint64_t any(void)
{
	state ^= state << 13, state ^= state >> 7, state ^= state << 17;
	return state;
}

static void begin(void)
{
	state = harness_seed() | 1;
	any();
}

/* A year and a month in rows, and a flag beside them in bits, of which some are NULL. */
TEST(partition_by_radix, "D-6 D-9 D-19 D-20", 1, .once = true)
{
	enum { ROWS = 1000 };
	static struct row {
		int32_t year;
		int8_t month;
		uint8_t nulls;
		uint64_t id;
	} row[ROWS];
	static uint8_t flag[(ROWS + 7) / 8];
	static uint16_t part[ROWS];
	uint64_t counts[1024];
	uint8_t bits[3] = { 5, 4, 1 };
	begin();
	for (int i = 0; i < ROWS; i++)
		row[i] = (struct row){ (int32_t)any(), (int8_t)any(), any() % 4 == 0, any() };
	for (size_t i = 0; i < sizeof flag; i++) flag[i] = (uint8_t)any();
	DPI_Values key[3] = { { .type = DPI_TYPE_INT32, .data = &row->year, .stride = sizeof *row },
			      { .type = DPI_TYPE_INT8, .data = &row->month, .stride = sizeof *row, .null = &row->nulls, .null_mask = 1 },
			      { .type = DPI_TYPE_BOOL, .data = flag } };
	DPI_Values id = { .type = DPI_TYPE_UINT64, .data = &row->id, .stride = sizeof *row };
	DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
	a.method = DPI_PARTITION_RADIX;
	for (a.shift = 0; a.shift < 64; a.shift += 3)
		for (int given = 0; given < 2; given++) {
			uint64_t seen[1024] = { 0 };
			a.parts = 1u << any() % 11, a.keys = key, a.key_count = 3, a.bits = given ? bits : NULL;
			CHECK_DPI(DPI_Partition(&a, ROWS, part, counts));
			for (int i = 0; i < ROWS; i++) {
				uint64_t year = (uint32_t)row[i].year, month = row[i].nulls ? 0 : (uint8_t)row[i].month, f = flag[i / 8] >> i % 8 & 1;
				uint64_t number = given ? (year & 31) << 5 | (month & 15) << 1 | f : year << 9 | month << 1 | f;
				CHECK_INT(part[i], ==, (number >> a.shift) % a.parts);
				seen[part[i]]++;
			}
			CHECK(!memcmp(seen, counts, a.parts * sizeof *seen));
			a.keys = given ? &id : key, a.key_count = 1, a.bits = NULL;
			CHECK_DPI(DPI_Partition(&a, ROWS, part, NULL));
			for (int i = 0; i < ROWS; i++)
				CHECK_INT(part[i], ==, ((given ? row[i].id : (uint64_t)(int64_t)row[i].year) >> a.shift) % a.parts);
		}
	DPI_Values wide[2] = { id, key[0] };
	a.shift = 0, a.keys = wide, a.key_count = 2;
	CHECK_ERROR(DPI_Partition(&a, ROWS, part, NULL), DPI_ERR_UNSUPPORTED, "96");
	a.bits = (uint8_t[]){ 64, 1 };
	CHECK_ERROR(DPI_Partition(&a, ROWS, part, NULL), DPI_ERR_ARGUMENT, "65");
	a.bits = (uint8_t[]){ 7, 0 };
	CHECK_ERROR(DPI_Partition(&a, ROWS, part, NULL), DPI_ERR_ARGUMENT, "0");
	a.bits = (uint8_t[]){ 63, 1 };
	CHECK_DPI(DPI_Partition(&a, ROWS, part, NULL));
}

/* Texts, with NULLs that have bytes, beside numbers: dealt out in two goes, and gathered. */
static struct texts {
	int32_t offset[501], number[500];
	uint8_t valid[63];
	char bytes[500 * 30];
} texts;

enum { TEXTS = 500 };

static void any_texts(DPI_Values *columns)
{
	begin();
	texts.offset[0] = 3;
	for (int i = 0; i < TEXTS; i++)
		texts.offset[i + 1] = texts.offset[i] + (int32_t)(any() % (any() % 29 + 1)), texts.number[i] = (int32_t)any();
	for (size_t i = 0; i < sizeof texts.bytes; i++) texts.bytes[i] = (char)any();
	for (size_t i = 0; i < sizeof texts.valid; i++) texts.valid[i] = (uint8_t)(any() | any());
	columns[0] = (DPI_Values){ .type = DPI_TYPE_UTF8, .data = texts.bytes, .offset = texts.offset, .valid = texts.valid };
	columns[1] = (DPI_Values){ .type = DPI_TYPE_INT32, .data = texts.number };
	columns[2] = columns[0], columns[2].valid = NULL, columns[2].type = DPI_TYPE_BINARY;
}

static void check_text(int i, bool nulls, const DPI_Bytes_Column *c, uint64_t n)
{
	bool null = nulls && !(texts.valid[i / 8] >> i % 8 & 1);
	int32_t size = null ? 0 : texts.offset[i + 1] - texts.offset[i];
	CHECK_INT(c->offset[n + 1] - c->offset[n], ==, size);
	CHECK(!memcmp((char *)c->bytes + c->offset[n], texts.bytes + texts.offset[i], (size_t)size));
}

static void grow(DPI_Bytes_Column *c, size_t count)
{
	for (size_t i = 0; i < count; i++) CHECK((c[i].bytes = realloc(c[i].bytes, c[i].size)) || !c[i].size);
}

TEST(partition_columns_with_texts, "D-12 D-21 D-22 D-23", 1, .once = true)
{
	enum { PARTS = 5 };
	static int32_t offset[2 * PARTS][2 * TEXTS + 1], number[PARTS][2 * TEXTS];
	static uint8_t valid[PARTS][2 * TEXTS / 8 + 1];
	DPI_Values columns[3];
	DPI_Bytes_Column text[2 * PARTS];
	void *to[3 * PARTS];
	uint8_t *to_valid[3 * PARTS] = { NULL };
	uint64_t filled[PARTS] = { 0 }, seen[PARTS] = { 0 };
	uint16_t part[TEXTS];
	any_texts(columns);
	for (int i = 0; i < TEXTS; i++) part[i] = (uint16_t)(any() % PARTS);
	for (int p = 0; p < PARTS; p++) {
		text[p] = (DPI_Bytes_Column){ .offset = offset[p] }, text[PARTS + p] = (DPI_Bytes_Column){ .offset = offset[PARTS + p] };
		to[p] = text + p, to[PARTS + p] = number[p], to[2 * PARTS + p] = text + PARTS + p, to_valid[p] = valid[p];
	}
	for (int twice = 0; twice < 2; twice++) {
		CHECK_ERROR(DPI_Partition_Columns(columns, 3, TEXTS, part, PARTS, to, to_valid, filled), DPI_ERR_SIZE, "column");
		CHECK(!memcmp(filled, seen, sizeof seen));
		grow(text, 2 * PARTS);
		CHECK_DPI(DPI_Partition_Columns(columns, 3, TEXTS, part, PARTS, to, to_valid, filled));
		for (int i = 0; i < TEXTS; i++) {
			uint16_t p = part[i];
			uint64_t n = seen[p]++;
			CHECK(number[p][n] == texts.number[i] && (valid[p][n / 8] >> n % 8 & 1) == (texts.valid[i / 8] >> i % 8 & 1));
			check_text(i, true, text + p, n);
			check_text(i, false, text + PARTS + p, n);
		}
		CHECK(!memcmp(filled, seen, sizeof seen));
	}
	for (int p = 0; p < 2 * PARTS; p++) CHECK((size_t)text[p].offset[filled[p % PARTS]] == text[p].size && !text[p].offset[0]);
	texts.offset[9] = texts.offset[8] - 1;
	CHECK_ERROR(DPI_Partition_Columns(columns, 3, TEXTS, part, PARTS, to, to_valid, filled), DPI_ERR_ARGUMENT, "column 0");
	CHECK(!memcmp(filled, seen, sizeof seen));
	for (int p = 0; p < 2 * PARTS; p++) free(text[p].bytes);
}

TEST(gather_columns_with_texts, "D-14 D-21 D-22", 1, .once = true)
{
	static int32_t offset[2][TEXTS + 1], number[TEXTS];
	uint8_t bits[TEXTS / 8 + 1], valid[TEXTS / 8 + 1], *to_valid[3] = { valid };
	DPI_Values columns[3];
	DPI_Bytes_Column text[2] = { { .offset = offset[0] }, { .offset = offset[1] } };
	void *to[3] = { text, number, text + 1 };
	uint64_t gathered, n = 0;
	any_texts(columns);
	for (size_t i = 0; i < sizeof bits; i++) bits[i] = i % 3 ? (uint8_t)any() : 0xff;
	CHECK_ERROR(DPI_Gather_Columns(columns, 3, TEXTS, bits, to, to_valid, &gathered), DPI_ERR_SIZE, "column");
	grow(text, 2);
	CHECK_DPI(DPI_Gather_Columns(columns, 3, TEXTS, bits, to, to_valid, &gathered));
	for (int i = 0; i < TEXTS; i++) {
		if (!(bits[i / 8] >> i % 8 & 1)) continue;
		CHECK(number[n] == texts.number[i] && (valid[n / 8] >> n % 8 & 1) == (texts.valid[i / 8] >> i % 8 & 1));
		check_text(i, true, text, n);
		check_text(i, false, text + 1, n++);
	}
	CHECK_INT(gathered, ==, n);
	for (int c = 0; c < 2; c++) CHECK((size_t)text[c].offset[n] == text[c].size && !text[c].offset[0]);
	free(text[0].bytes), free(text[1].bytes);
}

/* ----------------------------------------------------------------------------------------------- values and ranges */

TEST(values_that_cannot_be, "D-2", 1, .once = true)
{
	uint64_t data[2] = { 0 }, h, gathered;
	uint16_t part;
	uint8_t bit = 1;
	int32_t offset[] = { 0, 1 };
	const DPI_Values wrong[] = {
		{ .type = 0, .data = data },
		{ .type = 18, .data = data },
		{ .type = DPI_TYPE_INT64 },
		{ .type = DPI_TYPE_UTF8, .offset = offset, .width = 1, .data = NULL },
		{ .type = DPI_TYPE_INT64, .data = data, .stride = 7 },
		{ .type = DPI_TYPE_FIXED, .width = 9, .data = data, .stride = 8 },
		{ .type = DPI_TYPE_DECIMAL128, .data = data, .scale = -1 },
		{ .type = DPI_TYPE_DECIMAL64, .data = data, .scale = 39 },
		{ .type = DPI_TYPE_INT64, .data = data, .null = &bit, .null_mask = 1 },
	};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
		a.parts = 2, a.keys = wrong + i, a.key_count = 1;
		CHECK_ERROR(DPI_Hash_Rows(wrong + i, 1, 1, 0, &h), DPI_ERR_ARGUMENT, " ");
		CHECK_ERROR(DPI_Partition(&a, 1, &part, NULL), DPI_ERR_ARGUMENT, " ");
		CHECK_ERROR(DPI_Gather_Columns(wrong + i, 1, 1, &bit, (void *[]){ data }, NULL, &gathered), DPI_ERR_ARGUMENT, " ");
	}
}

/* Parts of keys of one column, each as it must be. */
static void ranges(int type, const void *keys, size_t count, const void *bounds, uint32_t parts, const uint16_t *expected)
{
	DPI_Values v = { .type = type, .data = keys }, b = { .type = type, .data = bounds };
	DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
	uint16_t part[20];
	a.method = DPI_PARTITION_RANGE, a.parts = parts, a.keys = &v, a.key_count = 1, a.bounds = &b;
	CHECK_DPI(DPI_Partition(&a, count, part, NULL));
	for (size_t i = 0; i < count; i++) CHECK_INT(part[i], ==, expected[i]);
}

TEST(partition_by_range, "D-7 D-9", 1, .once = true)
{
	const double key[] = { -INFINITY, -2, -1, -0.0, 0.0, 1, 2.5, 3, INFINITY, NAN }, bound[] = { -1, 0.0, 2.5, INFINITY, NAN };
	float fkey[10], fbound[5];
	for (int i = 0; i < 10; i++) fkey[i] = (float)key[i];
	for (int i = 0; i < 5; i++) fbound[i] = (float)bound[i];
	const uint16_t part[] = { 0, 0, 1, 2, 2, 2, 3, 3, 4, 5 };
	ranges(DPI_TYPE_DOUBLE, key, 10, bound, 6, part);
	ranges(DPI_TYPE_FLOAT, fkey, 10, fbound, 6, part);
	ranges(DPI_TYPE_UINT64, (uint64_t[]){ 0, 5, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX }, 5, (uint64_t[]){ 5, UINT64_C(1) << 63 }, 3,
	       (uint16_t[]){ 0, 1, 1, 2, 2 });
	ranges(DPI_TYPE_INT8, (int8_t[]){ -128, -1, 0, 127 }, 4, (int8_t[]){ -1, 127 }, 3, (uint16_t[]){ 0, 1, 1, 2 });
	/* a text, which may be NULL, and a number: the bounds are (NULL, 5), ("", 0), ("a", -3), ("a", 7), ("ab", 0), ("b", 0) */
	const uint8_t not_first = 0x3e;
	DPI_Values b[] = { { .type = DPI_TYPE_UTF8, .data = "aaabb", .offset = (int32_t[]){ 0, 0, 0, 1, 2, 4, 5 }, .valid = &not_first },
			   { .type = DPI_TYPE_INT32, .data = (int32_t[]){ 5, 0, -3, 7, 0, 0 } } };
	static const struct {
		const char *text;
		int32_t number;
		uint16_t part;
	} row[] = { { NULL, 4, 0 }, { NULL, 5, 1 }, { "", -1, 1 }, { "", 0, 2 }, { "a", -4, 2 }, { "a", -3, 3 }, { "a", 7, 4 }, { "aa", 0, 4 }, { "ab", -1, 4 },
		    { "ab", 0, 5 }, { "abc", -9, 5 }, { "b", -1, 5 }, { "b", 0, 6 }, { "\xff", 0, 6 } };
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		uint8_t valid = row[i].text != NULL;
		const char *text = valid ? row[i].text : "b";
		DPI_Values v[] = { { .type = DPI_TYPE_UTF8, .data = text, .offset = (int32_t[]){ 0, (int32_t)strlen(text) }, .valid = &valid },
				   { .type = DPI_TYPE_INT32, .data = &row[i].number } };
		DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
		uint16_t p;
		uint64_t counts[7];
		a.method = DPI_PARTITION_RANGE, a.parts = 7, a.keys = v, a.key_count = 2, a.bounds = b;
		CHECK_DPI(DPI_Partition(&a, 1, &p, counts));
		CHECK_INT(p, ==, row[i].part);
		for (int k = 0; k < 7; k++) CHECK_INT(counts[k], ==, k == p);
	}
	begin(); /* any numbers, and any number of bounds, some of them equal */
	for (int n = 0; n < 100; n++) {
		static int64_t keys[200], bounds[DPI_PARTS_MAX - 1];
		uint16_t found[200];
		uint32_t count = (uint32_t)(any() % (n % 2 ? 70 : DPI_PARTS_MAX));
		uint64_t at = (uint64_t)INT64_MIN;
		for (uint32_t i = 0; i < count; i++) bounds[i] = (int64_t)(at += any() % (any() % 9 ? UINT64_MAX / DPI_PARTS_MAX : 2));
		for (int i = 0; i < 200; i++) keys[i] = count && any() % 2 ? (int64_t)((uint64_t)bounds[any() % count] - any() % 2) : (int64_t)any();
		DPI_Values v = { .type = DPI_TYPE_INT64, .data = keys }, of = { .type = DPI_TYPE_INT64, .data = bounds };
		DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
		a.method = DPI_PARTITION_RANGE, a.parts = count + 1, a.keys = &v, a.key_count = 1, a.bounds = &of;
		CHECK_DPI(DPI_Partition(&a, 200, found, NULL));
		for (int i = 0; i < 200; i++) {
			uint32_t is = 0;
			for (uint32_t k = 0; k < count; k++) is += bounds[k] <= keys[i];
			CHECK_INT(found[i], ==, is);
		}
	}
}

TEST(partition_that_cannot_be, "D-8 D-18", 1, .once = true)
{
	int64_t key[4] = { 4, 1, 3, 2 }, bound[3] = { 1, 3, 2 }, memory[4];
	uint16_t part[4];
	size_t size = 7;
	DPI_Values v = { .type = DPI_TYPE_INT64, .data = key }, b = { .type = DPI_TYPE_INT64, .data = bound }, sampled = { 0 };
	DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
	a.method = DPI_PARTITION_RANGE, a.keys = &v, a.key_count = 1, a.parts = 4;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "bounds");
	a.bounds = &b;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "bound 2");
	bound[2] = 3;
	CHECK_DPI(DPI_Partition(&a, 4, part, NULL));
	b.type = DPI_TYPE_UINT64;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "type");
	v.type = b.type = DPI_TYPE_DECIMAL64, v.scale = 2;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "scale");
	v.type = b.type = DPI_TYPE_FIXED, v.width = 2, b.width = 3, v.scale = 0;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "width");
	v = (DPI_Values){ .type = DPI_TYPE_DOUBLE, .data = key }, a.method = DPI_PARTITION_RADIX, a.bounds = NULL;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_UNSUPPORTED, "radix");
	v = (DPI_Values){ .type = DPI_TYPE_BOOL, .data = key }, a.method = DPI_PARTITION_CRC32C;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_UNSUPPORTED, "bits");

	v = (DPI_Values){ .type = DPI_TYPE_INT64, .data = key }, a.method = DPI_PARTITION_RANGE;
	CHECK_ERROR(DPI_Sample_Bounds(&a, 0, memory, &size, &sampled), DPI_ERR_ARGUMENT, "sample");
	CHECK_DPI(DPI_Sample_Bounds(&a, 4, NULL, &size, NULL));
	CHECK(size >= 3 * sizeof *memory && size <= sizeof memory);
	size_t takes = size--;
	fill(memory, sizeof memory, 1);
	CHECK_ERROR(DPI_Sample_Bounds(&a, 4, memory, &size, &sampled), DPI_ERR_SIZE, " ");
	CHECK(size == takes && filled(memory, sizeof memory, 1) && !sampled.data && !sampled.type);
	CHECK_DPI(DPI_Sample_Bounds(&a, 4, memory, &size, &sampled));
	for (int i = 0; i < 3; i++) CHECK_INT(((const int64_t *)sampled.data)[i], ==, i + 2);
}

/* ------------------------------------------------------------------------------------------------------------ rows */

/* Rows of any width at any address to parts that have exactly the room they need, in two calls, with parts given and found. */
static void part_rows(size_t width, size_t stride, size_t count, uint32_t parts, bool given)
{
	size_t size = (count - 1) * stride + width, half = any() % count;
	uint8_t *rows = guarded(size), **to = calloc(parts, sizeof *to);
	uint16_t *part = calloc(count, sizeof *part);
	uint64_t *counts = calloc(parts, sizeof *counts), *gone = calloc(parts, sizeof *gone), *seen = calloc(parts, sizeof *seen);
	DPI_Values key = { .type = DPI_TYPE_UINT8, .data = rows, .stride = stride };
	DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
	CHECK(to && part && counts && gone && seen);
	fill(rows, size, any());
	a.parts = parts, a.keys = &key, a.key_count = 1, a.salt = any();
	CHECK_DPI(DPI_Partition(&a, count, part, counts));
	for (uint32_t p = 0; p < parts; p++) to[p] = guarded(counts[p] * width);
	CHECK_DPI(DPI_Partition_Rows(&a, rows, stride, width, half, given ? part : NULL, (void **)to, gone));
	key.data = rows + half * stride;
	for (size_t i = 0; i < half; i++) seen[part[i]]++;
	for (uint32_t p = 0; p < parts; p++) {
		CHECK_INT(gone[p], ==, seen[p]);
		CHECK(all_bytes(to[p] + gone[p] * width, (counts[p] - gone[p]) * width, 0));
	}
	CHECK_DPI(DPI_Partition_Rows(&a, rows + half * stride, stride, width, count - half, given ? part + half : NULL, (void **)to, gone));
	memset(seen, 0, parts * sizeof *seen);
	for (size_t i = 0; i < count; i++) CHECK(!memcmp(to[part[i]] + seen[part[i]]++ * width, rows + i * stride, width));
	for (uint32_t p = 0; p < parts; p++) {
		CHECK(gone[p] == counts[p] && seen[p] == counts[p]);
		guarded_free(to[p], counts[p] * width);
	}
	guarded_free(rows, size);
	free(to), free(part), free(counts), free(gone), free(seen);
}

TEST(partition_rows, "D-1 D-10", 1, .once = true)
{
	static const size_t widths[] = { 1, 2, 3, 4, 8, 12, 16, 24, 32, 63, 64, 65, 200 };
	begin();
	for (int n = 0; n < 200; n++) {
		size_t width = widths[any() % (sizeof widths / sizeof *widths)];
		part_rows(width, width + (any() % 2 ? any() % 20 : 0), 1 + any() % (n % 2 ? 100 : 2000), 1 + (uint32_t)(any() % (n % 3 ? 20 : 200)), n % 4 < 2);
	}
	part_rows(16, 16, 300000, 32, false); /* more than caches keep */
}

TEST(partition_rows_refused, "D-11", 1, .once = true)
{
	int64_t rows[4] = { 1, 2, 3, 4 }, memory[4] = { 0 };
	uint16_t part[4] = { 0, 1, 2, 0 };
	uint64_t gone[3] = { 0 };
	void *to[3] = { memory, NULL, memory };
	DPI_Values key = { .type = DPI_TYPE_INT64, .data = rows };
	DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
	a.parts = 2, a.keys = &key, a.key_count = 1;
	CHECK_ERROR(DPI_Partition_Rows(&a, rows, 8, 8, 4, part, to, gone), DPI_ERR_RANGE, "part 2");
	a.parts = 3;
	CHECK_ERROR(DPI_Partition_Rows(&a, rows, 8, 8, 4, part, to, gone), DPI_ERR_ARGUMENT, "part 1");
	CHECK_ERROR(DPI_Partition_Rows(&a, rows, 8, 8, 4, NULL, (void *[3]){ 0 }, gone), DPI_ERR_ARGUMENT, "part");
	CHECK(all_bytes(memory, sizeof memory, 0) && !gone[0] && !gone[1] && !gone[2]);
	part[1] = part[2] = 0; /* what gets no rows needs no memory */
	CHECK_DPI(DPI_Partition_Rows(&a, rows, 8, 8, 4, part, to, gone));
	CHECK(!memcmp(memory, rows, sizeof rows) && gone[0] == 4 && !gone[1] && !gone[2]);
}

TEST(gather_rows, "D-1 D-13", 1, .once = true)
{
	static const size_t widths[] = { 1, 2, 4, 7, 8, 16, 24, 100 };
	begin();
	for (int n = 0; n < 200; n++) {
		size_t width = widths[any() % 8], stride = width + (any() % 2 ? any() % 9 : 0), count = 1 + any() % 500, size = (count - 1) * stride + width;
		uint8_t *rows = guarded(size), *bits = guarded((count + 7) / 8);
		uint64_t gathered, again, is = 0;
		fill(rows, size, any()), fill(bits, (count + 7) / 8, any());
		if (n % 4 == 0) memset(bits, 0xff, (count + 7) / 8);
		for (size_t i = 0; i < count; i++) is += bits[i / 8] >> i % 8 & 1;
		CHECK_DPI(DPI_Gather_Rows(rows, stride, width, count, bits, NULL, &gathered));
		CHECK_INT(gathered, ==, is);
		uint8_t *to = guarded(is * width);
		CHECK_DPI(DPI_Gather_Rows(rows, stride, width, count, bits, to, &again));
		CHECK_INT(again, ==, is);
		is = 0;
		for (size_t i = 0; i < count; i++)
			if (bits[i / 8] >> i % 8 & 1) CHECK(!memcmp(to + is++ * width, rows + i * stride, width));
		guarded_free(rows, size), guarded_free(bits, (count + 7) / 8), guarded_free(to, gathered * width);
	}
}

TEST(transpose_rows, "D-1 D-15 D-16", 1, .once = true)
{
	static const size_t widths[] = { 1, 2, 4, 8, 16, 3, 20 };
	begin();
	for (int n = 0; n < 200; n++) {
		enum { FIELDS = 7 };
		size_t count = 1 + any() % 300, stride = 1 + any() % 3, size; /* a gap before each field, and one behind them all */
		DPI_Field field[FIELDS];
		for (int f = 0; f < FIELDS; f++) {
			size_t width = widths[(n + f) % FIELDS];
			field[f] = (DPI_Field){ stride, width, guarded(count * width) };
			stride += width + any() % 3;
		}
		size = count * stride;
		uint8_t *rows = guarded(size), *back = guarded(size);
		fill(rows, size, any());
		CHECK_DPI(DPI_Rows_To_Columns(rows, stride, count, field, FIELDS));
		for (size_t i = 0; i < count; i++)
			for (int f = 0; f < FIELDS; f++)
				CHECK(!memcmp((uint8_t *)field[f].column + i * field[f].width, rows + i * stride + field[f].offset, field[f].width));
		memset(back, 0x55, size);
		CHECK_DPI(DPI_Columns_To_Rows(field, FIELDS, count, back, stride));
		for (size_t i = 0; i < count; i++)
			for (size_t k = 0, f = 0; k < stride; k++) {
				while (f < FIELDS && k >= field[f].offset + field[f].width) f++;
				CHECK_INT(back[i * stride + k], ==, f < FIELDS && k >= field[f].offset ? rows[i * stride + k] : 0x55);
			}
		DPI_Field past = { stride - 1, 2, back };
		fill(back, size, 4);
		CHECK_ERROR(DPI_Rows_To_Columns(rows, stride, count, &past, 1), DPI_ERR_ARGUMENT, "field");
		past.column = rows;
		CHECK_ERROR(DPI_Columns_To_Rows(&past, 1, count, back, stride), DPI_ERR_ARGUMENT, "field");
		past = (DPI_Field){ SIZE_MAX, 2, rows };
		CHECK_ERROR(DPI_Columns_To_Rows(&past, 1, count, back, stride), DPI_ERR_ARGUMENT, "field");
		CHECK(filled(back, size, 4));
		for (int f = 0; f < FIELDS; f++) guarded_free(field[f].column, count * field[f].width);
		guarded_free(rows, size), guarded_free(back, size);
	}
}
