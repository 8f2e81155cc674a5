/* SPDX-License-Identifier: Apache-2.0
 * hash.c: the hash of keys, as chapter 10 words it: the numbers of its table, and values of any type, in arrays and in rows,
 * against its formulas written down once more; the parts that follow from it, and those of two checksums that others know. */
#include <math.h>

#include "memory_kit.h"

#define GOLDEN 0x9e3779b97f4a7c15u
#define MIX1 0x3c79ac492ba7b653u
#define MIX2 0x1c69b3f74ac4ae35u
#define HIGH 0xa0761d6478bd642fu
#define SCALE 0xe7037ed1a0b428dbu
#define NULL_WORD 0xd6e8feb86659fd93u

__extension__ typedef __int128 wide;

static uint64_t rotl(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 27) * MIX1;
	x = (x ^ x >> 33) * MIX2;
	return x ^ x >> 27;
}

static uint64_t seed_of(uint64_t salt)
{
	return mix(salt + GOLDEN);
}

static uint64_t word_of_double(double d)
{
	uint64_t word;
	if (isnan(d)) return 0x7ff8000000000000u;
	memcpy(&word, &d, 8);
	return d == 0 ? 0 : word;
}

static uint64_t word_of_decimal(wide m, int s)
{
	while (s && m % 10 == 0) m /= 10, s--;
	uint64_t low = (uint64_t)m, high = (uint64_t)(m >> 64);
	return low + (high + (low >> 63)) * HIGH + (uint64_t)s * SCALE;
}

static uint64_t number_at(const uint8_t *p, size_t bytes)
{
	uint64_t n = 0;
	while (bytes--) n = n << 8 | p[bytes];
	return n;
}

static uint64_t hash_bytes(uint64_t h, const uint8_t *p, size_t n)
{
	size_t left = n;
	if (n >= 64) {
		uint64_t lane[4];
		for (unsigned i = 0; i < 4; i++) lane[i] = h + (i + 1) * GOLDEN;
		for (; left >= 32; left -= 32, p += 32)
			for (unsigned i = 0; i < 4; i++) lane[i] = rotl(lane[i] + number_at(p + 8 * i, 8) * MIX2, 31) * GOLDEN;
		for (int i = 0; i < 4; i++) h = mix(h ^ lane[i]);
	}
	for (; left >= 8; left -= 8, p += 8) h = mix(h ^ number_at(p, 8));
	return mix(h ^ number_at(p, left) ^ (uint64_t)(n % 256) << 56);
}

/* ------------------------------------------------------------------------------------------------------- the table */

static uint64_t hash_of(uint64_t salt, const DPI_Values *key, size_t columns)
{
	uint64_t h;
	CHECK_DPI(DPI_Hash_Rows(key, columns, 1, salt, &h));
	return h;
}

#define KEY(...) &(DPI_Values){ __VA_ARGS__ }, 1
#define INTEGER(type_, value) KEY(.type = DPI_TYPE_##type_, .data = &(uint64_t){ (uint64_t)(value) })
#define DECIMAL(mantissa, digits) KEY(.type = DPI_TYPE_DECIMAL128, .scale = digits, .data = (wide[]){ mantissa })
#define DOUBLE(value) KEY(.type = DPI_TYPE_DOUBLE, .data = (double[]){ value })

static wide power_of_ten(int n)
{
	wide m = 1;
	while (n--) m *= 10;
	return m;
}

TEST(hash_table, "H-1 H-2 H-3 H-4 H-5 H-6 H-8 D-3", 1, .once = true)
{
	uint8_t bytes[256];
	const uint8_t none = 0;
	for (int i = 0; i < 256; i++) bytes[i] = (uint8_t)i;
	CHECK(hash_of(0, INTEGER(INT64, 0)) == 0xe7299dcd09e414d0u);
	CHECK(hash_of(0, INTEGER(INT64, 1)) == 0x8ccff722880a9ad3u);
	CHECK(hash_of(0, INTEGER(INT64, -1)) == 0x40c97f33f2813080u);
	CHECK(hash_of(1, INTEGER(INT64, 1)) == 0x5c8d3542d08bb3a7u);
	CHECK(hash_of(0, INTEGER(UINT64, UINT64_C(1) << 63)) == 0x616370c82464a008u);
	CHECK(hash_of(0, INTEGER(UINT64, UINT64_MAX)) == 0x2cd3d9a11cac6375u);
	CHECK(hash_of(0, DECIMAL(15, 1)) == 0x00019c1a2e8c47b4u);
	CHECK(hash_of(0, DECIMAL(-1234, 2)) == 0x3e5ec5fa71b3f9d3u);
	CHECK(hash_of(0, DECIMAL(power_of_ten(37), 0)) == 0x683ceb769b3de244u);
	CHECK(hash_of(0, DECIMAL(-power_of_ten(22) - 1, 2)) == 0xa703d6dbf2b926f3u);
	CHECK(hash_of(0, DOUBLE(1.5)) == 0x6092d0d237ba9f91u);
	CHECK(hash_of(0, DOUBLE(NAN)) == 0xbcb6d5b9f03c0a5du);
	CHECK(hash_of(0, KEY(.type = DPI_TYPE_INT64, .data = bytes, .valid = &none)) == 0x66154e24e1fed6fdu);
	CHECK(hash_of(0, KEY(.type = DPI_TYPE_UTF8, .data = "abc", .offset = (int32_t[]){ 0, 3 })) == 0xbf9bd85b96a9e1b7u);
	CHECK(hash_of(0, KEY(.type = DPI_TYPE_FIXED, .width = 99, .data = bytes)) == 0x58e01ec884ec9f59u);
	CHECK(hash_of(0, KEY(.type = DPI_TYPE_BINARY, .data = bytes, .offset = (int32_t[]){ 0, 256 })) == 0x150f927482f6b56bu);
	DPI_Values three[] = { { .type = DPI_TYPE_INT32, .data = &(int32_t){ 7 } },
			       { .type = DPI_TYPE_UTF8, .data = "x", .offset = (int32_t[]){ 0, 1 } },
			       { .type = DPI_TYPE_DOUBLE, .data = bytes, .valid = &none } };
	CHECK(hash_of(0, three, 3) == 0xea2b45fbfa6e6eabu);
}

/* One value in every type that has it. */
TEST(hash_of_equal_values, "H-2 H-3 H-4 H-5 H-6", 1, .once = true)
{
	uint64_t seven = mix(seed_of(3) ^ 7), null = mix(seed_of(3) ^ NULL_WORD);
	const uint8_t none = 0;
	for (int type = DPI_TYPE_INT8; type <= DPI_TYPE_UINT64; type++) CHECK(hash_of(3, KEY(.type = type, .data = &(uint64_t){ 7 })) == seven);
	CHECK(hash_of(3, INTEGER(DATE32, 7)) == seven && hash_of(3, INTEGER(DECIMAL64, 7)) == seven);
	CHECK(hash_of(3, INTEGER(BOOL, 1)) == hash_of(3, INTEGER(INT8, 1)));
	CHECK(hash_of(3, INTEGER(UINT64, UINT64_MAX)) != hash_of(3, INTEGER(INT64, -1)));
	for (int s = 0; s <= 37; s++) CHECK(hash_of(3, DECIMAL(7 * power_of_ten(s), s)) == seven);
	for (int s = 0; s <= 17; s++) CHECK(hash_of(3, KEY(.type = DPI_TYPE_DECIMAL64, .scale = s, .data = &(int64_t){ (int64_t)(7 * power_of_ten(s)) })) == seven);
	CHECK(hash_of(3, DECIMAL((wide)1 << 63, 0)) == hash_of(3, INTEGER(UINT64, UINT64_C(1) << 63)));
	CHECK(hash_of(3, KEY(.type = DPI_TYPE_FLOAT, .data = &(float){ 1.5f })) == hash_of(3, DOUBLE(1.5)));
	CHECK(hash_of(3, KEY(.type = DPI_TYPE_FLOAT, .data = &(float){ -0.0f })) == hash_of(3, DOUBLE(0.0)) && hash_of(3, DOUBLE(-0.0)) == hash_of(3, DOUBLE(0.0)));
	const uint64_t nan[] = { 0xfff8000000000001, 0x7ff0000000000001, 0xffffffffffffffff };
	for (int i = 0; i < 3; i++) CHECK(hash_of(3, KEY(.type = DPI_TYPE_DOUBLE, .data = nan + i)) == hash_of(3, KEY(.type = DPI_TYPE_FLOAT, .data = &(float){ NAN })));
	for (int type = DPI_TYPE_BOOL; type <= DPI_TYPE_UTF8; type++)
		CHECK(hash_of(3, KEY(.type = type, .width = 4, .data = "some sixteen bytes", .offset = (int32_t[]){ 0, 3 }, .valid = &none)) == null);
}

/* ------------------------------------------------------------------------------------------------------ any values */

enum { ROWS = 200, STRIDE = 64, LONGEST = 50 };

static const size_t width_of[] = {
	0,
#define WIDTH(name, number, bytes, text) bytes,
	DPI_TYPES(WIDTH)
#undef WIDTH
};

static uint64_t take_in(uint64_t h, const DPI_Values *v, size_t i)
{
	size_t width = v->type == DPI_TYPE_FIXED ? v->width : width_of[v->type];
	const uint8_t *p = v->offset ? (const uint8_t *)v->data + v->offset[i] : (const uint8_t *)v->data + i * (v->stride ? v->stride : width);
	double d;
	float f;
	wide m;
	if (v->valid ? !(v->valid[i / 8] >> i % 8 & 1) : v->null && v->null[i * v->stride] & v->null_mask) return mix(h ^ NULL_WORD);
	if (v->type == DPI_TYPE_BOOL) return mix(h ^ (v->stride ? *p : (uint64_t)(((const uint8_t *)v->data)[i / 8] >> i % 8 & 1)));
	uint64_t n = number_at(p, width < 8 ? width : 8);
	int unused = width < 8 ? 64 - 8 * (int)width : 0;
	switch (v->type) {
	case DPI_TYPE_UINT8:
	case DPI_TYPE_UINT16:
	case DPI_TYPE_UINT32: return mix(h ^ n);
	case DPI_TYPE_UINT64: return mix(h ^ (n >> 63 ? n + HIGH : n));
	case DPI_TYPE_FLOAT: memcpy(&f, p, 4); return mix(h ^ word_of_double((double)f));
	case DPI_TYPE_DOUBLE: memcpy(&d, p, 8); return mix(h ^ word_of_double(d));
	case DPI_TYPE_DECIMAL64: return mix(h ^ word_of_decimal((int64_t)n, v->scale));
	case DPI_TYPE_DECIMAL128: memcpy(&m, p, 16); return mix(h ^ word_of_decimal(m, v->scale));
	case DPI_TYPE_FIXED: return hash_bytes(h, p, width);
	case DPI_TYPE_BINARY:
	case DPI_TYPE_UTF8: return hash_bytes(h, p, (size_t)(v->offset[i + 1] - v->offset[i]));
	default: return mix(h ^ (uint64_t)((int64_t)(n << unused) >> unused));
	}
}

/* Columns of rows at an odd address or arrays that end where memory does, with NULLs and without. */
TEST(hash_of_any_values, "H-1 H-2 H-3 H-4 H-5 H-6 H-7 D-1 D-3 D-4", 1, .once = true)
{
	uint64_t state = draw_seed(0), hash[ROWS], counts[DPI_PARTS_MAX];
	static int32_t offset[3][ROWS + 1];
	uint16_t part[ROWS];
	for (int n = 0; n < 600; n++) {
		size_t count = 1 + draw(&state, ROWS), columns = 1 + draw(&state, 3), size[3], bits = (count + 7) / 8;
		uint64_t salt = draw(&state, UINT64_MAX);
		DPI_Values v[3];
		uint8_t *data[3], *valid[3] = { NULL };
		for (size_t c = 0; c < columns; c++) {
			int type = 1 + (n + (int)c) % 17;
			uint32_t width = type < DPI_TYPE_FIXED ? (uint32_t)width_of[type] : 1 + (uint32_t)draw(&state, LONGEST);
			bool rows = type < DPI_TYPE_BINARY && draw(&state, 2), null = draw(&state, 2);
			for (size_t i = 0; i < count; i++) offset[c][i + 1] = offset[c][i] + (int32_t)draw(&state, draw(&state, 9) ? 20 : 300);
			size[c] = rows ? (count - 1) * STRIDE + width : type == DPI_TYPE_BOOL ? bits : type < DPI_TYPE_BINARY ? count * width : (size_t)offset[c][count];
			data[c] = guarded(size[c]);
			fill(data[c], size[c], draw(&state, UINT64_MAX));
			v[c] = (DPI_Values){ .type = type, .scale = (int)draw(&state, 39), .width = width, .data = data[c], .stride = rows ? STRIDE : 0 };
			if (rows && type == DPI_TYPE_BOOL) /* no other byte is a value */
				for (size_t i = 0; i < count; i++) data[c][i * STRIDE] &= 1;
			if (type >= DPI_TYPE_BINARY) v[c].offset = offset[c];
			if (null && rows) v[c].null = data[c], v[c].null_mask = type == DPI_TYPE_BOOL ? 1 : 6;
			else if (null) fill(valid[c] = guarded(bits), bits, draw(&state, UINT64_MAX)), v[c].valid = valid[c];
		}
		DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
		a.parts = 1 + (uint32_t)draw(&state, n % 2 ? 40 : DPI_PARTS_MAX), a.keys = v, a.key_count = columns, a.salt = salt;
		CHECK_DPI(DPI_Hash_Rows(v, columns, count, salt, hash));
		CHECK_DPI(DPI_Partition(&a, count, part, counts));
		for (size_t i = 0; i < count; i++) {
			uint64_t h = seed_of(salt);
			for (size_t c = 0; c < columns; c++) h = take_in(h, v + c, i);
			CHECK(hash[i] == h);
			CHECK_INT(part[i], ==, (h >> 32) * a.parts >> 32);
		}
		for (size_t c = 0; c < columns; c++) {
			guarded_free(data[c], size[c]);
			if (valid[c]) guarded_free(valid[c], bits);
		}
	}
}

/* Texts of every length about where the formula branches. */
TEST(hash_of_bytes, "H-5", 1, .once = true)
{
	uint8_t bytes[600];
	fill(bytes, sizeof bytes, draw_seed(0));
	for (int32_t n = 0; n < 600; n++) {
		uint64_t expected = hash_bytes(seed_of(5), bytes, (size_t)n);
		CHECK(hash_of(5, KEY(.type = DPI_TYPE_UTF8, .data = bytes, .offset = (int32_t[]){ 0, n })) == expected);
		if (n) CHECK(hash_of(5, KEY(.type = DPI_TYPE_FIXED, .width = (uint32_t)n, .data = bytes)) == expected);
	}
}

/* ------------------------------------------------------------------------------------------------------- checksums */

/* The checksum of more bytes behind those of c; 0: of none. */
static uint32_t crc32c(uint32_t c, const uint8_t *p, size_t n)
{
	for (c = ~c; n--; p++) {
		c ^= *p;
		for (int bit = 0; bit < 8; bit++) c = c >> 1 ^ (c & 1 ? 0x82f63b78u : 0);
	}
	return ~c;
}

/* As its author publishes it. */
static uint64_t xxh64(const uint8_t *p, size_t n, uint64_t seed)
{
	const uint64_t p1 = 0x9e3779b185ebca87u, p2 = 0xc2b2ae3d27d4eb4fu, p3 = 0x165667b19e3779f9u, p4 = 0x85ebca77c2b2ae63u, p5 = 0x27d4eb2f165667c5u;
	uint64_t h = seed + p5, lane[4] = { seed + p1 + p2, seed + p2, seed, seed - p1 };
	size_t left = n;
	if (n >= 32) {
		for (; left >= 32; left -= 32)
			for (int i = 0; i < 4; i++, p += 8) lane[i] = rotl(lane[i] + number_at(p, 8) * p2, 31) * p1;
		h = rotl(lane[0], 1) + rotl(lane[1], 7) + rotl(lane[2], 12) + rotl(lane[3], 18);
		for (int i = 0; i < 4; i++) h = (h ^ rotl(lane[i] * p2, 31) * p1) * p1 + p4;
	}
	h += n;
	for (; left >= 8; left -= 8, p += 8) h = rotl(h ^ rotl(number_at(p, 8) * p2, 31) * p1, 27) * p1 + p4;
	if (left >= 4) h = rotl(h ^ number_at(p, 4) * p1, 23) * p2 + p3, p += 4, left -= 4;
	for (; left; left--, p++) h = rotl(h ^ *p * p5, 11) * p1;
	h = (h ^ h >> 33) * p2, h = (h ^ h >> 29) * p3;
	return h ^ h >> 32;
}

TEST(partition_by_checksums, "D-5 H-7", 1, .once = true)
{
	struct row {
		int64_t number;
		uint8_t null, fixed[11];
	} row[ROWS];
	uint64_t state = draw_seed(0);
	static uint8_t text[ROWS * 100];
	int32_t offset[ROWS + 1] = { 0 };
	uint16_t part[ROWS];
	CHECK(crc32c(0, (const uint8_t *)"123456789", 9) == 0xe3069283u);
	CHECK(xxh64((const uint8_t *)"abc", 3, 0) == 0x44bc2cf5ad770999u);
	for (int n = 0; n < 200; n++) {
		fill(row, sizeof row, draw(&state, UINT64_MAX)), fill(text, sizeof text, draw(&state, UINT64_MAX));
		for (int i = 0; i < ROWS; i++) offset[i + 1] = offset[i] + (int32_t)draw(&state, 100);
		DPI_Values key[] = { { .type = DPI_TYPE_INT64, .data = &row[0].number, .stride = sizeof *row, .null = &row[0].null, .null_mask = 5 },
				     { .type = DPI_TYPE_FIXED, .width = 11, .data = row[0].fixed, .stride = sizeof *row },
				     { .type = DPI_TYPE_UTF8, .data = text, .offset = offset } };
		DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
		a.method = n % 2 ? DPI_PARTITION_CRC32C : DPI_PARTITION_XXH64;
		a.keys = key, a.key_count = 1 + draw(&state, 3), a.parts = 1 + (uint32_t)draw(&state, DPI_PARTS_MAX), a.salt = draw(&state, UINT64_MAX);
		CHECK_DPI(DPI_Partition(&a, ROWS, part, NULL));
		for (int i = 0; i < ROWS; i++) {
			const uint8_t *bytes[] = { row[i].null & 5 ? NULL : (const uint8_t *)&row[i].number, row[i].fixed, text + offset[i] };
			size_t size[] = { 8, 11, (size_t)(offset[i + 1] - offset[i]) };
			uint32_t c = 0;
			uint64_t h = a.salt;
			for (size_t k = 0; k < a.key_count; k++)
				if (bytes[k]) c = crc32c(c, bytes[k], size[k]), h = xxh64(bytes[k], size[k], h);
			CHECK_INT(part[i], ==, (n % 2 ? c : h >> 32) * a.parts >> 32);
		}
	}
}
