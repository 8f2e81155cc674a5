/* SPDX-License-Identifier: Apache-2.0
 * move_test.c: partition, gather and transpose against the simplest way to say them, with every instruction set, in memory
 * that ends where it must not be touched. */
#include "unit.h"

#include <dpi.h>
#include <math.h>

#include "flows/move/kernel.h"
#include "flows/move/move.h"

static void any_kernels(struct draws *d)
{
	dpi_move_kernels_force(dpi_move_kernels_number((int)draw_below(d, 3)));
}

/* ---------------------------------------------------------------------------------------------------- finding parts */

TEST(partition_by_hash, "D-4 D-5 D-9 H-7", 0)
{
	struct draws d = draws_from(rank);
	enum { MOST = 3000 };
	static uint8_t rows[MOST * 24];
	static uint64_t hashes[MOST], counts[DPI_PARTS_MAX];
	static uint16_t part[MOST];
	for (int n = rounds(100); n; n--) {
		any_kernels(&d);
		size_t count = draw_below(&d, MOST + 1);
		fill(rows, count * 24, draw(&d));
		DPI_Values keys[2] = { { .type = DPI_TYPE_INT64, .data = rows, .stride = 24 },
				       { .type = DPI_TYPE_FIXED, .width = 11, .data = rows + 8, .stride = 24 } };
		DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
		a.parts = 1 + (uint32_t)draw_below(&d, draw_below(&d, 2) ? 40 : DPI_PARTS_MAX);
		a.keys = keys, a.key_count = 1 + draw_below(&d, 2), a.salt = draw(&d), a.method = (int)draw_below(&d, 3);
		if (draw_below(&d, 4) == 0) keys[0].null = rows + 20, keys[0].null_mask = 1;
		CHECK_DPI(DPI_Partition(&a, count, part, counts));
		CHECK_DPI(DPI_Hash_Rows(keys, a.key_count, count, a.salt, hashes));
		for (size_t i = 0; i < count; i++) {
			uint64_t h = hashes[i];
			bool null = keys[0].null && rows[24 * i + 20] & 1;
			if (a.method == DPI_PARTITION_CRC32C) {
				uint32_t c = null ? 0 : dpi_crc32c(0, rows + 24 * i, 8);
				h = (uint64_t)(a.key_count > 1 ? dpi_crc32c(c, rows + 24 * i + 8, 11) : c) << 32;
			} else if (a.method == DPI_PARTITION_XXH64) {
				h = null ? a.salt : dpi_xxh64(rows + 24 * i, 8, a.salt);
				if (a.key_count > 1) h = dpi_xxh64(rows + 24 * i + 8, 11, h);
			}
			CHECK_INT(part[i], ==, (h >> 32) * a.parts >> 32);
			counts[part[i]]--;
		}
		for (uint32_t p = 0; p < a.parts; p++) CHECK_INT(counts[p], ==, 0);
	}
	dpi_move_kernels_force(NULL);
}

TEST(partition_by_radix, "D-6", 0)
{
	struct draws d = draws_from(rank);
	static int32_t key[1000];
	static uint16_t part[1000];
	uint8_t valid[125];
	for (int n = rounds(200); n; n--) {
		any_kernels(&d);
		fill(key, sizeof key, draw(&d)), fill(valid, sizeof valid, draw(&d));
		DPI_Values v = { .type = DPI_TYPE_INT32, .data = key, .valid = draw_below(&d, 2) ? valid : NULL };
		DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
		a.method = DPI_PARTITION_RADIX, a.parts = 1u << draw_below(&d, 13), a.keys = &v, a.key_count = 1;
		a.shift = (uint32_t)draw_below(&d, 64);
		CHECK_DPI(DPI_Partition(&a, 1000, part, NULL));
		for (size_t i = 0; i < 1000; i++)
			CHECK_INT(part[i], ==, v.valid && !dpi_bit(valid, i) ? 0
				  : ((uint64_t)(int64_t)key[i] >> a.shift & (a.parts - 1)));
	}
	uint64_t top = UINT64_C(1) << 63;
	DPI_Values v = { .type = DPI_TYPE_UINT64, .data = &top };
	DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
	a.method = DPI_PARTITION_RADIX, a.parts = 4, a.shift = 62, a.keys = &v, a.key_count = 1;
	CHECK_DPI(DPI_Partition(&a, 1, part, NULL));
	CHECK_INT(part[0], ==, 2);
	dpi_move_kernels_force(NULL);
}

/* Columns of all types that radix takes, packed, in rows or as bits, with NULLs and without; the number is made bit by bit. */
TEST(partition_by_radix_of_several_keys, "D-6 D-19", 0)
{
	static const int types[] = { DPI_TYPE_BOOL,   DPI_TYPE_INT8,   DPI_TYPE_INT16,	DPI_TYPE_INT32,	 DPI_TYPE_INT64,    DPI_TYPE_UINT8,
				     DPI_TYPE_UINT16, DPI_TYPE_UINT32, DPI_TYPE_UINT64, DPI_TYPE_DATE32, DPI_TYPE_DECIMAL64 };
	static const uint8_t widths[] = { 1, 1, 2, 4, 8, 1, 2, 4, 8, 4, 8 };
	enum { MOST = 5, ROWS = 700, STRIDE = 11 };
	struct draws d = draws_from(rank);
	static uint8_t data[MOST][ROWS * STRIDE], valid[MOST][ROWS / 8 + 1];
	static uint16_t part[ROWS];
	for (int n = rounds(400); n; n--) {
		DPI_Values v[MOST];
		uint8_t bits[MOST];
		size_t keys = 1 + draw_below(&d, MOST), count = draw_below(&d, ROWS + 1);
		unsigned all = 0, natural = 0;
		any_kernels(&d);
		fill(data, sizeof data, draw(&d)), fill(valid, sizeof valid, draw(&d));
		for (size_t k = 0; k < keys; k++) {
			uint64_t t = draw_below(&d, sizeof types / sizeof *types);
			v[k] = (DPI_Values){ .type = types[t], .data = data[k], .stride = draw_below(&d, 2) ? STRIDE : 0 };
			if (types[t] == DPI_TYPE_DECIMAL64) v[k].scale = (int)draw_below(&d, 5);
			if (draw_below(&d, 2)) v[k].valid = valid[k];
			else if (v[k].stride && draw_below(&d, 2)) v[k].null = data[k] + 8, v[k].null_mask = 6;
			natural += types[t] == DPI_TYPE_BOOL ? 1 : 8 * widths[t];
			unsigned most = 64 - all - (unsigned)(keys - 1 - k); /* one at least for each that follows */
			all += bits[k] = (uint8_t)(1 + draw_below(&d, draw_below(&d, 2) && most > 12 ? 12 : most));
		}
		bool given = natural > 64 || draw_below(&d, 2);
		DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
		a.method = DPI_PARTITION_RADIX, a.parts = 1u << draw_below(&d, 13), a.keys = v, a.key_count = keys;
		a.shift = (uint32_t)draw_below(&d, draw_below(&d, 2) ? 8 : 64), a.bits = given ? bits : NULL;
		CHECK_DPI(DPI_Partition(&a, count, part, NULL));
		for (size_t i = 0; i < count; i++) {
			bool number[64] = { false }; /* the lowest bit first */
			int at = 0;
			for (size_t k = keys; k--;) {
				unsigned width = 1, take;
				for (size_t t = 0; t < sizeof types / sizeof *types; t++)
					if (types[t] == v[k].type) width = widths[t];
				bool truth = v[k].type == DPI_TYPE_BOOL, sign = v[k].type < DPI_TYPE_UINT8 || v[k].type > DPI_TYPE_UINT64;
				const uint8_t *p = data[k] + i * (v[k].stride ? v[k].stride : width);
				take = given ? bits[k] : keys == 1 ? 64 : truth ? 1 : 8 * width;
				bool null = v[k].valid ? !dpi_bit(valid[k], i) : v[k].null && p[8] & 6;
				for (unsigned b = 0; b < take; b++) {
					bool bit = truth ? b == 0 && (v[k].stride ? *p != 0 : dpi_bit(data[k], i))
						   : b < 8 * width ? p[b / 8] >> b % 8 & 1 : sign && p[width - 1] >> 7;
					number[at++] = bit && !null;
				}
			}
			uint32_t is = 0;
			for (uint32_t b = 0; 1u << b < a.parts; b++) is |= (uint32_t)(a.shift + b < 64 && number[a.shift + b]) << b;
			CHECK_INT(part[i], ==, is);
		}
	}
	dpi_move_kernels_force(NULL);
}

/* Each range method as counting bounds one by one. */
TEST(partition_by_range_of_numbers, "D-7", 0)
{
	struct draws d = draws_from(rank);
	double keys[] = { -INFINITY, -1e30, -2, -1, -0.0, 0.0, 1, 2.5, 3, 1e30, INFINITY, NAN };
	double bounds[] = { -1, 0.0, 2.5, INFINITY, NAN };
	int expected[] = { 0, 0, 0, 1, 2, 2, 2, 3, 3, 3, 4, 5 };
	float fkeys[12], fbounds[5];
	uint16_t part[12];
	for (int i = 0; i < 12; i++) fkeys[i] = (float)keys[i];
	for (int i = 0; i < 5; i++) fbounds[i] = (float)bounds[i];
	DPI_Values v = { .type = DPI_TYPE_DOUBLE, .data = keys }, b = { .type = DPI_TYPE_DOUBLE, .data = bounds };
	DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
	a.method = DPI_PARTITION_RANGE, a.parts = 6, a.keys = &v, a.key_count = 1, a.bounds = &b;
	CHECK_DPI(DPI_Partition(&a, 12, part, NULL));
	for (int i = 0; i < 12; i++) CHECK_INT(part[i], ==, expected[i]);
	v.data = fkeys, b.data = fbounds, v.type = b.type = DPI_TYPE_FLOAT;
	CHECK_DPI(DPI_Partition(&a, 12, part, NULL));
	for (int i = 0; i < 12; i++) CHECK_INT(part[i], ==, expected[i]);
	uint64_t ukeys[] = { 0, 5, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX }, ubounds[] =
		{ 5, (uint64_t)INT64_MAX + 1 };
	v = (DPI_Values){ .type = DPI_TYPE_UINT64, .data = ukeys }, b = (DPI_Values){ .type = DPI_TYPE_UINT64, .data =
										      ubounds };
	a.parts = 3;
	CHECK_DPI(DPI_Partition(&a, 5, part, NULL));
	CHECK(part[0] == 0 && part[1] == 1 && part[2] == 1 && part[3] == 2 && part[4] == 2);
	uint8_t bytes[] = { 0, 200, 1 }, bits[] = { 2 }; /* keys in bytes and bounds in bits are of one type */
	v = (DPI_Values){ .type = DPI_TYPE_BOOL, .data = bytes, .stride = 1 };
	b = (DPI_Values){ .type = DPI_TYPE_BOOL, .data = bits };
	CHECK_DPI(DPI_Partition(&a, 3, part, NULL));
	CHECK(part[0] == 1 && part[1] == 2 && part[2] == 2);
	for (int n = rounds(200); n; n--) { /* int64 with NULLs, any number of bounds */
		static int64_t key[500], bound[4095];
		static uint16_t found[500];
		uint8_t valid[63];
		any_kernels(&d);
		uint32_t count = (uint32_t)draw_below(&d, draw_below(&d, 2) ? 70 : 4096);
		int64_t at = INT64_MIN;
		for (uint32_t i = 0; i < count; i++)
			bound[i] = at = (int64_t)((uint64_t)at + draw_below(&d, draw_below(&d, 9) ? UINT64_MAX / 4200 : 2));
		for (int i = 0; i < 500; i++)
			key[i] = count && draw_below(&d, 2) ? (int64_t)((uint64_t)bound[draw_below(&d,
				count)] - draw_below(&d, 2)) : (int64_t)draw(&d);
		fill(valid, sizeof valid, draw(&d));
		v = (DPI_Values){ .type = DPI_TYPE_INT64, .data = key, .valid = draw_below(&d, 2) ? valid : NULL };
		b = (DPI_Values){ .type = DPI_TYPE_INT64, .data = bound };
		a.parts = count + 1;
		CHECK_DPI(DPI_Partition(&a, 500, found, NULL));
		for (size_t i = 0; i < 500; i++) {
			int is = 0;
			for (uint32_t k = 0; k < count; k++) is += bound[k] <= key[i];
			CHECK_INT(found[i], ==, v.valid && !dpi_bit(valid, i) ? 0 : is);
		}
	}
	dpi_move_kernels_force(NULL);
}

TEST(partition_by_range_of_several_keys, "D-7", 0)
{
	struct draws d = draws_from(rank);
	/* text then int32: the bounds are (NULL, 5), ("", 0), ("a", -3), ("a", 7), ("ab", 0), ("b", 0) */
	int32_t boffset[] = { 0, 0, 0, 1, 2, 4, 5 }, bnumber[] = { 5, 0, -3, 7, 0, 0 };
	uint8_t bvalid = 0x3e;
	DPI_Values b[2] = { { .type = DPI_TYPE_UTF8, .data = "aaabb", .offset = boffset, .valid = &bvalid },
			    { .type = DPI_TYPE_INT32, .data = bnumber } };
	static const struct {
		const char *text;
		int32_t number;
		int part;
	} row[] = { { NULL, 4, 0 }, { NULL, 5, 1 }, { "", -1, 1 }, { "", 0, 2 }, { "a", -4, 2 }, { "a", -3, 3 },
		    { "a", 6, 3 }, { "a", 7, 4 },
		    { "aa", 0, 4 }, { "ab", -1, 4 }, { "ab", 0, 5 }, { "abc", -9, 5 }, { "b", -1, 5 }, { "b", 0, 6 },
			    { "\xff", 0, 6 } };
	enum { ROWS = sizeof row / sizeof *row };
	char text[64] = "";
	int32_t offset[ROWS + 1] = { 0 }, number[ROWS];
	uint8_t valid[2] = { 0 };
	uint16_t part[ROWS];
	for (int i = 0; i < ROWS; i++) {
		size_t size = row[i].text ? strlen(row[i].text) : 0;
		if (size) memcpy(text + offset[i], row[i].text, size);
		offset[i + 1] = offset[i] + (int32_t)size, number[i] = row[i].number;
		valid[i / 8] = (uint8_t)(valid[i / 8] | (row[i].text != NULL) << i % 8);
	}
	DPI_Values v[2] = { { .type = DPI_TYPE_UTF8, .data = text, .offset = offset, .valid = valid },
			    { .type = DPI_TYPE_INT32, .data = number } };
	DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
	a.method = DPI_PARTITION_RANGE, a.parts = 7, a.keys = v, a.key_count = 2, a.bounds = b;
	CHECK_DPI(DPI_Partition(&a, ROWS, part, NULL));
	for (int i = 0; i < ROWS; i++) CHECK_INT(part[i], ==, row[i].part);
	/* decimals of 128 bits */
	__extension__ typedef __int128 wide;
	wide key[200], bound[9];
	for (int n = rounds(50); n; n--) {
		uint16_t found[200];
		for (int i = 0; i < 200; i++) key[i] = (wide)(int64_t)draw(&d) * ((int64_t)1 << draw_below(&d, 60));
		bound[0] = (wide)INT64_MIN * ((int64_t)1 << 50);
		for (int i = 1; i < 9; i++)
			bound[i] = bound[i - 1] + ((wide)draw_below(&d, UINT64_MAX) << draw_below(&d, 50));
		key[7] = bound[3];
		v[0] = (DPI_Values){ .type = DPI_TYPE_DECIMAL128, .scale = 4, .data = key };
		b[0] = (DPI_Values){ .type = DPI_TYPE_DECIMAL128, .scale = 4, .data = bound };
		a.parts = 10, a.key_count = 1;
		CHECK_DPI(DPI_Partition(&a, 200, found, NULL));
		for (int i = 0; i < 200; i++) {
			int is = 0;
			for (int k = 0; k < 9; k++) is += bound[k] <= key[i];
			CHECK_INT(found[i], ==, is);
		}
	}
}

TEST(partition_that_cannot_be, "D-8 D-20", 0)
{
	int64_t key[4] = { 0 }, bound[3] = { 1, 3, 2 };
	uint16_t part[4];
	DPI_Values v = { .type = DPI_TYPE_INT64, .data = key }, b = { .type = DPI_TYPE_INT64, .data = bound };
	DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
	a.keys = &v, a.key_count = 1, a.parts = 4;
	CHECK_DPI(DPI_Partition(&a, 4, part, NULL));
	a.method = DPI_PARTITION_RANGE;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "3 bounds");
	a.bounds = &b;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "bound 2 is below bound 1");
	b.type = DPI_TYPE_UINT64;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "another type");
	a.method = DPI_PARTITION_RADIX, a.parts = 3;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "power of two");
	a.parts = 4, a.shift = 64;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "shift");
	a.shift = 0, v.type = DPI_TYPE_DOUBLE;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_UNSUPPORTED, "radix");
	DPI_Values two[2] = { { .type = DPI_TYPE_INT32, .data = key }, { .type = DPI_TYPE_INT64, .data = key } };
	uint8_t bits[2] = { 1, 0 };
	a.keys = two, a.key_count = 2, a.bounds = NULL;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_UNSUPPORTED, "96 bits");
	a.bits = bits;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "bits[1] is 0");
	bits[1] = 64;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "65 together");
	bits[1] = 63;
	CHECK_DPI(DPI_Partition(&a, 4, part, NULL));
	a.keys = &v, a.key_count = 1, a.bits = NULL;
	a.method = DPI_PARTITION_CRC32C, v.type = DPI_TYPE_BOOL;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_UNSUPPORTED, "bits");
	a.method = 5;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "no method");
	a.method = DPI_PARTITION_HASH, a.parts = DPI_PARTS_MAX + 1;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "4096");
	a.parts = 0;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "0 parts");
	a.parts = 4, a.size = 4;
	CHECK_ERROR(DPI_Partition(&a, 4, part, NULL), DPI_ERR_ARGUMENT, "size");
	struct {
		DPI_Partition_Attr attr;
		uint64_t more;
	} longer = { a, 0 };
	longer.attr.size = sizeof longer;
	CHECK_DPI(DPI_Partition(&longer.attr, 4, part, NULL));
	longer.more = 1;
	CHECK_ERROR(DPI_Partition(&longer.attr, 4, part, NULL), DPI_ERR_UNSUPPORTED, "not know");
	CHECK_ERROR(DPI_Partition(NULL, 4, part, NULL), DPI_ERR_ARGUMENT, "NULL");
}

/* ---------------------------------------------------------------------------------------------------------- sample */

/* Each bound has its place in the order of the sample's rows; and they are taken as they are. */
static void sample_case(const DPI_Values *v, size_t keys, size_t count, uint32_t parts)
{
	DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
	DPI_Values bounds[DPI_KEYS_MAX];
	struct dpi_strided key[DPI_KEYS_MAX], bound[DPI_KEYS_MAX];
	size_t size = 0, half;
	a.method = DPI_PARTITION_RANGE, a.parts = parts, a.keys = v, a.key_count = keys;
	CHECK_DPI(DPI_Sample_Bounds(&a, count, NULL, &size, NULL));
	uint8_t *memory = malloc(size), *before = malloc(size);
	CHECK(size && memory && before);
	memset(memory, 0x55, size), memset(before, 0x55, size);
	half = size - 1;
	CHECK_ERROR(DPI_Sample_Bounds(&a, count, memory, &half, bounds), DPI_ERR_SIZE, "memory has");
	CHECK_INT(half, ==, size);
	CHECK(!memcmp(memory, before, size));
	CHECK_DPI(DPI_Sample_Bounds(&a, count, memory, &size, bounds));
	for (size_t k = 0; k < keys; k++) {
		CHECK_DPI(dpi_strided_check(&v[k], "key", k, &key[k]));
		CHECK_DPI(dpi_strided_check(&bounds[k], "bound", k, &bound[k]));
	}
	for (uint32_t b = 0; b + 1 < parts; b++) {
		size_t below = 0, upto = 0, at = (size_t)(b + 1) * count / parts;
		for (size_t i = 0; i < count; i++) {
			int c = dpi_compare_keys(key, i, bound, b, keys);
			below += c < 0, upto += c <= 0;
		}
		CHECK(below <= at && at < upto);
	}
	a.bounds = bounds;
	CHECK_DPI(DPI_Partition(&a, count, NULL, NULL));
	free(memory);
	free(before);
}

TEST(sample_bounds, "D-17 D-18", 0)
{
	enum { ROWS = 700 };
	struct draws d = draws_from(rank);
	static const uint32_t parts[] = { 1, 2, 7, 64, 1000 };
	struct row {
		uint8_t null, flag;
		char fixed[5];
		double real;
		int64_t number;
	} row[ROWS];
	char text[ROWS * 4];
	int32_t offset[ROWS + 1] = { 0 };
	uint8_t valid[ROWS / 8 + 1], bits[ROWS / 8 + 1];
	for (int n = rounds(6); n; n--) {
		uint64_t values = 1 + draw_below(&d, n % 2 ? 10 : UINT64_MAX / 2);
		for (int i = 0; i < ROWS; i++) {
			size_t size = draw_below(&d, 4);
			row[i] = (struct row){ .null = (uint8_t)draw_below(&d, 2), .flag = (uint8_t)draw_below(&d, 2), .number = (int64_t)draw_below(&d, values),
					       .real = draw_below(&d, 9) ? (double)draw_below(&d, values) - 3 : (double)NAN };
			for (int k = 0; k < 5; k++) row[i].fixed[k] = (char)draw_below(&d, 3);
			for (size_t k = 0; k < size; k++) text[offset[i] + (int32_t)k] = (char)('a' + draw_below(&d, 3));
			offset[i + 1] = offset[i] + (int32_t)size;
		}
		fill(valid, sizeof valid, n), fill(bits, sizeof bits, n + 1);
		const DPI_Values all[] = {
			{ .type = DPI_TYPE_INT64, .data = &row[0].number, .stride = sizeof *row },
			{ .type = DPI_TYPE_DOUBLE, .data = &row[0].real, .stride = sizeof *row, .null = &row[0].null, .null_mask = 1 },
			{ .type = DPI_TYPE_UTF8, .data = text, .offset = offset, .valid = valid },
			{ .type = DPI_TYPE_BINARY, .data = text, .offset = offset },
			{ .type = DPI_TYPE_FIXED, .width = 5, .data = row[0].fixed, .stride = sizeof *row, .null = &row[0].null, .null_mask = 1 },
			{ .type = DPI_TYPE_BOOL, .data = bits, .valid = valid },
			{ .type = DPI_TYPE_BOOL, .data = &row[0].flag, .stride = sizeof *row },
		};
		enum { ALL = sizeof all / sizeof *all };
		for (int p = 0; p < 5; p++) {
			for (int k = 0; k < ALL; k++) sample_case(&all[k], 1, ROWS, parts[p]);
			sample_case(all + draw_below(&d, ALL - 2), 3, 1 + draw_below(&d, ROWS), parts[p]);
			sample_case(all, ALL, 1, parts[p]);
		}
	}
}

TEST(sample_that_cannot_be, "D-18", 0)
{
	int64_t key[4] = { 4, 1, 3, 2 }, memory[4];
	size_t size = sizeof memory;
	DPI_Values v = { .type = DPI_TYPE_INT64, .data = key }, b;
	DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
	a.keys = &v, a.key_count = 1, a.parts = 4;
	CHECK_DPI(DPI_Sample_Bounds(&a, 4, memory, &size, &b));
	CHECK_INT(size, ==, 3 * sizeof *memory);
	for (int i = 0; i < 3; i++) CHECK_INT(memory[i], ==, i + 2);
	CHECK_ERROR(DPI_Sample_Bounds(&a, 0, memory, &size, &b), DPI_ERR_ARGUMENT, "sample some");
	CHECK_ERROR(DPI_Sample_Bounds(&a, 4, memory, NULL, &b), DPI_ERR_ARGUMENT, "size is NULL");
	CHECK_ERROR(DPI_Sample_Bounds(&a, 4, memory, &size, NULL), DPI_ERR_ARGUMENT, "bounds is NULL");
	CHECK_ERROR(DPI_Sample_Bounds(&a, 4, (char *)memory + 1, &size, &b), DPI_ERR_ARGUMENT, "multiple of 8");
	CHECK_ERROR(DPI_Sample_Bounds(&a, (size_t)UINT32_MAX + 1, memory, &size, &b), DPI_ERR_LIMIT, "at most");
	CHECK_ERROR(DPI_Sample_Bounds(NULL, 4, memory, &size, &b), DPI_ERR_ARGUMENT, "attr is NULL");
	a.parts = 0;
	CHECK_ERROR(DPI_Sample_Bounds(&a, 4, memory, &size, &b), DPI_ERR_ARGUMENT, "0 parts");
}

/* --------------------------------------------------------------------------------------------------------- scatter */

/* Rows to parts of exactly the room they need, at any alignment, twice, so that the second begins behind the first. */
static void scatter_case(struct draws *d, size_t count, size_t width, size_t stride, uint32_t parts, enum dpi_store store)
{
	uint8_t *rows = guarded((count ? count - 1 : 0) * stride + width);
	uint16_t *part = malloc(count * sizeof *part + 1);
	uint8_t **to = calloc(parts, sizeof *to), **at = calloc(parts, sizeof *at);
	size_t *n = calloc(parts, sizeof *n), *shift = calloc(parts, sizeof *shift), *seen = calloc(parts, sizeof *seen);
	bool skewed = draw_below(d, 3) == 0;
	fill(rows, (count ? count - 1 : 0) * stride + width, 77);
	for (size_t i = 0; i < count; i++)
		n[part[i] = (uint16_t)(skewed ? draw_below(d, 1 + draw_below(d, parts)) : draw_below(d, parts))]++;
	for (uint32_t p = 0; p < parts; p++) {
		shift[p] = draw_below(d, 100);
		to[p] = guarded(shift[p] + n[p] * width);
		memset(to[p], 0xaa, shift[p]);
		at[p] = to[p] + shift[p];
	}
	size_t half = draw_below(d, count + 1);
	struct dpi_scatter s;
	CHECK(dpi_scatter_begin(&s, at, parts, width, count, store));
	dpi_scatter_rows(&s, rows, stride, half, part);
	dpi_scatter_rows(&s, rows + half * stride, stride, count - half, part + half);
	dpi_scatter_end(&s);
	for (size_t i = 0; i < count; i++) {
		uint32_t p = part[i];
		CHECK(!memcmp(to[p] + shift[p] + seen[p]++ * width, rows + i * stride, width));
	}
	for (uint32_t p = 0; p < parts; p++) {
		CHECK(seen[p] == n[p] && at[p] == to[p] + shift[p] + n[p] * width);
		for (size_t i = 0; i < shift[p]; i++) CHECK(to[p][i] == 0xaa);
		guarded_free(to[p], shift[p] + n[p] * width);
	}
	guarded_free(rows, (count ? count - 1 : 0) * stride + width);
	free(part), free(to), free(at), free(n), free(shift), free(seen);
}

TEST(scatter_of_any_rows, "D-10 D-1", 0, .deadline_s = 180)
{
	struct draws d = draws_from(rank);
	static const size_t widths[] = { 1, 2, 3, 4, 8, 12, 16, 20, 24, 32, 48, 63, 64, 65, 100, 200 };
	for (int n = rounds(120); n; n--) {
		any_kernels(&d);
		size_t width = widths[draw_below(&d, sizeof widths / sizeof *widths)];
		uint32_t parts = 1 + (uint32_t)draw_below(&d, draw_below(&d, 3) ? 20 : 200);
		size_t count = draw_below(&d, 4) ? draw_below(&d, 100) * parts : draw_below(&d, 50);
		scatter_case(&d, count, width, width + (draw_below(&d, 2) ? draw_below(&d, 20) : 0), parts,
			     (enum dpi_store)draw_below(&d, 3));
	}
	for (int which = 0; dpi_move_kernels_number(which); which++) { /* surely streamed */
		dpi_move_kernels_force(dpi_move_kernels_number(which));
		for (size_t width = 1; width <= 64; width += 1 + draw_below(&d, 9)) {
			scatter_case(&d, 7 * 4 * 512 / width + 50, width, width, 7, DPI_STORE_STREAM);
			scatter_case(&d, 70 * 4 * 256 / width + 500, width, width + 3, 70, DPI_STORE_STREAM);
		}
	}
	dpi_move_kernels_force(NULL);
}

TEST(partition_rows_in_one_go_and_in_two, "D-9 D-10", 0)
{
	struct draws d = draws_from(rank);
	enum { COUNT = 700000, PARTS = 32 }; /* more bytes than DPI_STREAM_LEAST */
	struct row {
		int64_t key;
		uint64_t number;
	} *rows = malloc(COUNT * sizeof *rows), *one = malloc(COUNT * sizeof *one), *two = malloc(COUNT * sizeof *two);
	uint16_t *part = malloc(COUNT * sizeof *part);
	uint64_t counts[PARTS], filled[PARTS], again[PARTS] = { 0 };
	void *to[PARTS], *to2[PARTS];
	CHECK(COUNT * sizeof *rows > DPI_STREAM_LEAST);
	for (uint64_t i = 0; i < COUNT; i++) rows[i] = (struct row){ (int64_t)draw_below(&d, 100000), i };
	DPI_Values key = { .type = DPI_TYPE_INT64, .data = rows, .stride = sizeof *rows };
	DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
	a.parts = PARTS, a.keys = &key, a.key_count = 1;
	CHECK_DPI(DPI_Partition(&a, COUNT, part, counts));
	uint64_t start = 0;
	for (int p = 0; p < PARTS; start += counts[p++]) to[p] = one + start, to2[p] = two + start, filled[p] = 0;
	CHECK_DPI(DPI_Partition_Rows(&a, rows, sizeof *rows, sizeof *rows, COUNT, NULL, to, filled));
	CHECK(!memcmp(filled, counts, sizeof counts));
	CHECK_DPI(DPI_Partition_Rows(&a, rows, sizeof *rows, sizeof *rows, 1000, part, to2, again));
	CHECK_DPI(DPI_Partition_Rows(&a, rows + 1000, sizeof *rows, sizeof *rows, COUNT - 1000, part + 1000, to2, again));
	CHECK(!memcmp(again, counts, sizeof counts));
	CHECK(!memcmp(one, two, COUNT * sizeof *one));
	for (uint64_t i = 0, p = 0, end = counts[0]; i < COUNT; i++) {
		while (i == end) end += counts[++p];
		CHECK(dpi_hash_part(dpi_hash_word(dpi_hash_seed(0), (uint64_t)one[i].key), PARTS) == p);
		CHECK(i + 1 == end || one[i].number < one[i + 1].number);
	}
	free(rows), free(one), free(two), free(part);
}

TEST(partition_rows_refused, "D-11", 0)
{
	int64_t rows[4] = { 1, 2, 3, 4 }, memory[4] = { 0 };
	uint16_t part[4] = { 0, 1, 2, 0 };
	void *to[3] = { memory, NULL, memory };
	uint64_t filled[3] = { 0 };
	DPI_Values key = { .type = DPI_TYPE_INT64, .data = rows };
	DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
	a.parts = 2, a.keys = &key, a.key_count = 1;
	CHECK_ERROR(DPI_Partition_Rows(&a, rows, 8, 8, 4, part, to, filled), DPI_ERR_RANGE, "part 2 of 2");
	a.parts = 3;
	CHECK_ERROR(DPI_Partition_Rows(&a, rows, 8, 8, 4, part, to, filled), DPI_ERR_ARGUMENT, "part 1 gets rows");
	CHECK_ERROR(DPI_Partition_Rows(&a, rows, 8, 8, 4, NULL, (void *[3]){ 0 }, filled), DPI_ERR_ARGUMENT, "gets rows");
	CHECK_ERROR(DPI_Partition_Rows(&a, rows, 7, 8, 4, part, to, filled), DPI_ERR_ARGUMENT, "stride");
	CHECK_ERROR(DPI_Partition_Rows(&a, rows, 8, 0, 4, part, to, filled), DPI_ERR_ARGUMENT, "no bytes");
	CHECK_ERROR(DPI_Partition_Rows(&a, NULL, 8, 8, 4, part, to, filled), DPI_ERR_ARGUMENT, "rows");
	CHECK_ERROR(DPI_Partition_Rows(&a, rows, 8, 8, 4, part, NULL, filled), DPI_ERR_ARGUMENT, "NULL");
	for (int i = 0; i < 4; i++) CHECK_INT(memory[i], ==, 0);
	CHECK(!filled[0] && !filled[1] && !filled[2]);
	CHECK_DPI(DPI_Partition_Rows(&a, rows, 8, 8, 0, part, to, filled));
}

/* --------------------------------------------------------------------------------------------------------- columns */

static bool bit_of(const void *bits, uint64_t i)
{
	return dpi_bit(bits, i);
}

TEST(partition_and_gather_columns, "D-12 D-14", 0)
{
	struct draws d = draws_from(rank);
	enum { MOST = 700, PARTS = 5 };
	for (int n = rounds(60); n; n--) {
		any_kernels(&d);
		static int32_t number[MOST], number_to[PARTS + 1][2 * MOST];
		static uint8_t bits[MOST / 8 + 1], valid[MOST / 8 + 1], rows[MOST][20], bits_to[PARTS + 1][2 * MOST / 8 + 1],
			valid_to[3][PARTS + 1][2 * MOST / 8 + 1], wide_to[PARTS + 1][2 * MOST][12], choose[MOST / 8 + 1];
		uint16_t part[MOST];
		size_t count = draw_below(&d, MOST + 1);
		fill(number, sizeof number, draw(&d)), fill(bits, sizeof bits, draw(&d)), fill(valid, sizeof valid,
			draw(&d));
		fill(rows, sizeof rows, draw(&d)), fill(choose, sizeof choose, draw(&d));
		for (size_t i = 0; i < count; i++) part[i] = (uint16_t)draw_below(&d, PARTS);
		DPI_Values v[3] = { { .type = DPI_TYPE_INT32, .data = number, .valid = valid },
				    { .type = DPI_TYPE_BOOL, .data = bits },
				    { .type = DPI_TYPE_FIXED, .width = 12, .data = rows, .stride = 20, .null = rows[0] + 19,
				      .null_mask = 4 } };
		void *to[3 * PARTS], *gather_to[3] = { number_to[PARTS], bits_to[PARTS], wide_to[PARTS] };
		uint8_t *to_valid[3 * PARTS], *gather_valid[3] = { valid_to[0][PARTS], NULL, valid_to[2][PARTS] };
		for (int p = 0; p < PARTS; p++) {
			to[p] = number_to[p], to[PARTS + p] = bits_to[p], to[2 * PARTS + p] = wide_to[p];
			for (int c = 0; c < 3; c++) to_valid[c * PARTS + p] = c == 1 ? NULL : valid_to[c][p];
		}
		uint64_t filled[PARTS] = { 0 }, seen[PARTS] = { 0 }, gathered, is = 0;
		for (int twice = 0; twice < 2; twice++) {
			CHECK_DPI(DPI_Partition_Columns(v, 3, count, part, PARTS, to, to_valid, filled));
			for (size_t i = 0; i < count; i++) {
				uint16_t p = part[i];
				uint64_t at = seen[p]++;
				CHECK(number_to[p][at] == number[i] && !memcmp(wide_to[p][at], rows[i], 12));
				CHECK(bit_of(bits_to[p], at) == bit_of(bits, i) && bit_of(valid_to[0][p],
											  at) == bit_of(valid, i));
				CHECK(bit_of(valid_to[2][p], at) == !(rows[i][19] & 4));
			}
			CHECK(!memcmp(filled, seen, sizeof seen));
		}
		CHECK_DPI(DPI_Gather_Columns(v, 3, count, choose, gather_to, gather_valid, &gathered));
		for (size_t i = 0; i < count; i++) {
			if (!bit_of(choose, i)) continue;
			CHECK(number_to[PARTS][is] == number[i] && !memcmp(wide_to[PARTS][is], rows[i], 12));
			CHECK(bit_of(bits_to[PARTS], is) == bit_of(bits, i) && bit_of(valid_to[0][PARTS],
										      is) == bit_of(valid, i));
			CHECK(bit_of(valid_to[2][PARTS], is) == !(rows[i][19] & 4));
			is++;
		}
		CHECK_INT(gathered, ==, is);
		if (!count) continue;
		part[count - 1] = PARTS;
		CHECK_ERROR(DPI_Partition_Columns(v, 3, count, part, PARTS, to, to_valid, filled), DPI_ERR_RANGE,
			    "part 5 of 5");
		part[count - 1] = 0;
		CHECK_ERROR(DPI_Partition_Columns(v, 3, count, part, PARTS, to, NULL, filled), DPI_ERR_ARGUMENT, "validity");
		CHECK(!memcmp(filled, seen, sizeof seen));
	}
	dpi_move_kernels_force(NULL);
}

/* A column of texts, of which one that is NULL has bytes all the same, and what became of it. */
struct texts {
	uint8_t *data, *valid;
	int32_t *offset;
	size_t count, first, bytes; /* offset[0] */
};

static struct texts any_texts(struct draws *d, size_t count, size_t longest)
{
	struct texts t = { .count = count, .first = draw_below(d, 3) ? 0 : draw_below(d, 50) };
	t.offset = guarded((count + 1) * sizeof *t.offset);
	t.offset[0] = (int32_t)t.first;
	for (size_t i = 0; i < count; i++) t.offset[i + 1] = t.offset[i] + (int32_t)draw_below(d, 1 + draw_below(d, longest + 1));
	t.bytes = (size_t)t.offset[count];
	t.data = guarded(t.bytes), t.valid = guarded((count + 7) / 8);
	fill(t.data, t.bytes, draw(d)), fill(t.valid, (count + 7) / 8, draw(d));
	return t;
}

static void free_texts(struct texts *t)
{
	guarded_free(t->offset, (t->count + 1) * sizeof *t->offset);
	guarded_free(t->data, t->bytes), guarded_free(t->valid, (t->count + 7) / 8);
}

/* Row i of t is value n of to. */
static void check_text(const struct texts *t, bool nulls, size_t i, const DPI_Bytes_Column *to, const uint8_t *valid, uint64_t n)
{
	bool null = nulls && !dpi_bit(t->valid, i);
	int32_t size = null ? 0 : t->offset[i + 1] - t->offset[i];
	CHECK(!nulls || dpi_bit(valid, n) == !null);
	CHECK_INT(to->offset[n + 1] - to->offset[n], ==, size);
	CHECK(!memcmp((uint8_t *)to->bytes + to->offset[n], t->data + t->offset[i], (size_t)size));
}

TEST(partition_columns_of_bytes, "D-12 D-21 D-22 D-1", 0)
{
	struct draws d = draws_from(rank);
	enum { PARTS = 6 };
	for (int n = rounds(150); n; n--) {
		any_kernels(&d);
		size_t count = draw_below(&d, 300), rows[PARTS] = { 0 }, room[PARTS];
		struct texts t = any_texts(&d, count, draw_below(&d, 3) ? 20 : 200);
		bool nulls = draw_below(&d, 2);
		int64_t *number = guarded(count * sizeof *number);
		uint16_t *part = guarded(count * sizeof *part);
		fill(number, count * sizeof *number, draw(&d));
		for (size_t i = 0; i < count; i++) rows[part[i] = (uint16_t)draw_below(&d, PARTS - 1)] += 2; /* none to the last */
		DPI_Values v[2] = { { .type = draw_below(&d, 2) ? DPI_TYPE_UTF8 : DPI_TYPE_BINARY, .data = t.data, .offset = t.offset,
				      .valid = nulls ? t.valid : NULL },
				    { .type = DPI_TYPE_INT64, .data = number } };
		DPI_Bytes_Column text[PARTS];
		void *to[2 * PARTS];
		uint8_t *valid[2 * PARTS] = { NULL };
		uint64_t filled[PARTS] = { 0 }, seen[PARTS] = { 0 };
		for (int p = 0; p < PARTS; p++) { /* of exactly the room that two calls take, but for the bytes */
			text[p] = (DPI_Bytes_Column){ .offset = guarded((rows[p] + 1) * sizeof(int32_t)) };
			memset(text[p].offset, 0x55, (rows[p] + 1) * sizeof(int32_t));
			to[p] = text + p, to[PARTS + p] = guarded(rows[p] * sizeof *number);
			valid[p] = nulls ? guarded((rows[p] + 7) / 8) : NULL;
		}
		for (int twice = 0; twice < 2; twice++) {
			int error = DPI_Partition_Columns(v, 2, count, part, PARTS, to, valid, filled);
			if (error) { /* nothing has happened but that sizes are known */
				CHECK_INT(error, ==, DPI_ERR_SIZE);
				CHECK(!memcmp(filled, seen, sizeof seen));
				for (int p = 0; p < PARTS; p++) {
					uint8_t *bytes = guarded(text[p].size);
					size_t used = filled[p] ? (size_t)text[p].offset[filled[p]] : 0;
					if (used) memcpy(bytes, text[p].bytes, used);
					if (text[p].bytes) guarded_free(text[p].bytes, room[p]);
					text[p].bytes = bytes, room[p] = text[p].size;
				}
				CHECK_DPI(DPI_Partition_Columns(v, 2, count, part, PARTS, to, valid, filled));
			}
			for (size_t i = 0; i < count; i++) {
				uint16_t p = part[i];
				CHECK(!seen[p] || text[p].offset[0] == 0);
				CHECK_INT(((int64_t *)to[PARTS + p])[seen[p]], ==, number[i]);
				check_text(&t, nulls, i, text + p, valid[p], seen[p]++);
			}
			CHECK(!memcmp(filled, seen, sizeof seen));
		}
		CHECK_INT(text[PARTS - 1].offset[0], ==, 0);
		for (int p = 0; p < PARTS; p++) {
			if (text[p].bytes) CHECK_INT(text[p].size, ==, text[p].offset[filled[p]]);
			guarded_free(text[p].offset, (rows[p] + 1) * sizeof(int32_t));
			if (text[p].bytes) guarded_free(text[p].bytes, room[p]);
			guarded_free(to[PARTS + p], rows[p] * sizeof *number);
			if (valid[p]) guarded_free(valid[p], (rows[p] + 7) / 8);
		}
		guarded_free(number, count * sizeof *number), guarded_free(part, count * sizeof *part);
		free_texts(&t);
	}
	dpi_move_kernels_force(NULL);
}

TEST(gather_columns_of_bytes, "D-14 D-21 D-22 D-1", 0)
{
	struct draws d = draws_from(rank);
	for (int n = rounds(300); n; n--) {
		size_t count = draw_below(&d, 400), bytes = (count + 7) / 8;
		struct texts t = any_texts(&d, count, draw_below(&d, 3) ? 20 : 200);
		uint64_t density = draw_below(&d, 4), chosen, gathered, is = 0;
		bool nulls = draw_below(&d, 2);
		uint8_t *bits = guarded(bytes);
		for (size_t i = 0; i < bytes; i++) bits[i] = density == 0 ? 0 : density == 1 ? 0xff : (uint8_t)(draw(&d) | (density == 2 ? draw(&d) : 0));
		CHECK_DPI(DPI_Gather_Rows(t.data, 1, 1, count, bits, NULL, &chosen));
		DPI_Bytes_Column to = { .offset = guarded((chosen + 1) * sizeof(int32_t)) };
		uint8_t *valid = guarded((chosen + 7) / 8);
		DPI_Values v = { .type = DPI_TYPE_UTF8, .data = t.data, .offset = t.offset, .valid = nulls ? t.valid : NULL };
		int error = DPI_Gather_Columns(&v, 1, count, bits, (void *[]){ &to }, &valid, &gathered);
		if (error) {
			CHECK_INT(error, ==, DPI_ERR_SIZE);
			to.bytes = guarded(to.size);
			CHECK_DPI(DPI_Gather_Columns(&v, 1, count, bits, (void *[]){ &to }, &valid, &gathered));
		}
		CHECK_INT(to.offset[0], ==, 0);
		for (size_t i = 0; i < count; i++)
			if (dpi_bit(bits, i)) check_text(&t, nulls, i, &to, valid, is++);
		CHECK(gathered == is && chosen == is && (size_t)to.offset[is] == to.size);
		if (to.bytes) guarded_free(to.bytes, to.size);
		guarded_free(to.offset, (chosen + 1) * sizeof(int32_t)), guarded_free(valid, (chosen + 7) / 8), guarded_free(bits, bytes);
		free_texts(&t);
	}
}

TEST(columns_of_bytes_refused, "D-22 D-23", 0)
{
	int32_t offset[4] = { 0, 3, 2, 4 }, to_offset[8] = { 0 }, wide[3] = { 0, INT32_MAX - 1, INT32_MAX - 1 };
	uint16_t part[3] = { 0 };
	uint8_t all = 7;
	char bytes[8] = "";
	uint64_t filled = 0, gathered;
	DPI_Bytes_Column text = { to_offset, bytes, sizeof bytes };
	void *to = &text;
	DPI_Values v = { .type = DPI_TYPE_UTF8, .data = "abcd", .offset = offset };
	CHECK_ERROR(DPI_Partition_Columns(&v, 1, 3, part, 1, &to, NULL, &filled), DPI_ERR_ARGUMENT, "do not ascend");
	CHECK_ERROR(DPI_Gather_Columns(&v, 1, 3, &all, &to, NULL, &gathered), DPI_ERR_ARGUMENT, "do not ascend");
	offset[2] = 3, offset[0] = -1;
	CHECK_ERROR(DPI_Partition_Columns(&v, 1, 3, part, 1, &to, NULL, &filled), DPI_ERR_ARGUMENT, "do not ascend");
	offset[0] = 0, text.size = 3;
	CHECK_ERROR(DPI_Gather_Columns(&v, 1, 3, &all, &to, NULL, &gathered), DPI_ERR_SIZE, "column 0");
	CHECK_INT(text.size, ==, 4);
	text.bytes = NULL;
	CHECK_ERROR(DPI_Partition_Columns(&v, 1, 3, part, 1, &to, NULL, &filled), DPI_ERR_ARGUMENT, "bytes of part 0");
	text.bytes = bytes, text.offset = NULL;
	CHECK_ERROR(DPI_Partition_Columns(&v, 1, 3, part, 1, &to, NULL, &filled), DPI_ERR_ARGUMENT, "offsets of part 0");
	CHECK_ERROR(DPI_Gather_Columns(&v, 1, 3, &all, &to, NULL, &gathered), DPI_ERR_ARGUMENT, "offsets of part 0");
	text.offset = to_offset, filled = 2, to_offset[2] = -4;
	CHECK_ERROR(DPI_Partition_Columns(&v, 1, 3, part, 1, &to, NULL, &filled), DPI_ERR_ARGUMENT, "below 0");
	to_offset[2] = 2, v.offset = wide; /* what is not there is not read */
	CHECK_ERROR(DPI_Partition_Columns(&v, 1, 2, part, 1, &to, NULL, &filled), DPI_ERR_LIMIT, "2 GiB");
	CHECK(filled == 2 && !bytes[0]);
	v.offset = offset, text.size = 8;
	CHECK_DPI(DPI_Partition_Columns(&v, 1, 3, part, 1, &to, NULL, &filled));
	CHECK(filled == 5 && !memcmp(bytes, "\0\0abcd\0", 8) && to_offset[5] == 6);
}

TEST(gather_of_any_rows, "D-13 D-1", 0)
{
	struct draws d = draws_from(rank);
	static const size_t widths[] = { 1, 2, 3, 4, 8, 16, 32, 40 };
	for (int n = rounds(600); n; n--) {
		any_kernels(&d);
		size_t width = widths[draw_below(&d, 8)], count = draw_below(&d, 400), stride = width + (draw_below(&d, 2)
			? draw_below(&d, 9) : 0);
		size_t size = count ? (count - 1) * stride + width : 0, bytes = (count + 7) / 8;
		uint8_t *rows = guarded(size), *bits = guarded(bytes);
		uint64_t density = draw_below(&d, 4), gathered, counted, is = 0;
		fill(rows, size, draw(&d));
		for (size_t i = 0; i < bytes; i++) bits[i] = density == 0 ? 0 : density == 1 ? 0xff : (uint8_t)draw(&d);
		CHECK_DPI(DPI_Gather_Rows(rows, stride, width, count, bits, NULL, &counted));
		uint8_t *to = guarded(counted * width);
		CHECK_DPI(DPI_Gather_Rows(rows, stride, width, count, bits, to, &gathered));
		for (size_t i = 0; i < count; i++)
			if (dpi_bit(bits, i)) CHECK(!memcmp(to + is++ * width, rows + i * stride, width));
		CHECK(gathered == is && counted == is);
		guarded_free(rows, size), guarded_free(bits, bytes), guarded_free(to, counted * width);
	}
	uint64_t gathered;
	CHECK_ERROR(DPI_Gather_Rows("abcd", 1, 2, 2, (uint8_t *)"a", &gathered, &gathered), DPI_ERR_ARGUMENT, "stride");
	CHECK_ERROR(DPI_Gather_Rows("abcd", 2, 2, 2, NULL, &gathered, &gathered), DPI_ERR_ARGUMENT, "bits");
	dpi_move_kernels_force(NULL);
}

TEST(transpose_there_and_back, "D-15 D-16 D-1", 0)
{
	struct draws d = draws_from(rank);
	static const size_t widths[] = { 1, 2, 4, 8, 16, 5 };
	for (int n = rounds(200); n; n--) {
		any_kernels(&d);
		size_t count = draw_below(&d, 600), stride = 0, fields = 1 + draw_below(&d, 8);
		DPI_Field f[8];
		for (size_t i = 0; i < fields; i++) {
			f[i].offset = stride, f[i].width = widths[draw_below(&d, 6)];
			stride += f[i].width + (draw_below(&d, 3) ? 0 : 1 + draw_below(&d, 4));
			f[i].column = guarded(count * f[i].width);
		}
		uint8_t *rows = guarded(count * stride), *back = guarded(count * stride);
		fill(rows, count * stride, draw(&d));
		memset(back, 0x55, count * stride);
		CHECK_DPI(DPI_Rows_To_Columns(rows, stride, count, f, fields));
		for (size_t i = 0; i < fields; i++)
			for (size_t k = 0; k < count; k++)
				CHECK(!memcmp((uint8_t *)f[i].column + k * f[i].width, rows + k * stride + f[i].offset,
					      f[i].width));
		CHECK_DPI(DPI_Columns_To_Rows(f, fields, count, back, stride));
		for (size_t k = 0; k < count; k++)
			for (size_t at = 0; at < stride; at++) {
				bool in = false;
				for (size_t i = 0; i < fields; i++) in |= at >= f[i].offset && at < f[i].offset + f[i].width;
				CHECK(back[k * stride + at] == (in ? rows[k * stride + at] : 0x55));
			}
		f[0].offset = stride;
		CHECK_ERROR(DPI_Rows_To_Columns(rows, stride, count, f, fields), DPI_ERR_ARGUMENT, "field 0");
		f[0].offset = 0, f[0].width = 0;
		CHECK_ERROR(DPI_Columns_To_Rows(f, fields, count, rows, stride), DPI_ERR_ARGUMENT, "field 0");
		f[0].width = 1; /* not what it was allocated with, but no longer used */
		guarded_free(rows, count * stride), guarded_free(back, count * stride);
		for (size_t i = 1; i < fields; i++) guarded_free(f[i].column, count * f[i].width);
	}
	dpi_move_kernels_force(NULL);
}
