/* SPDX-License-Identifier: Apache-2.0
 * hash_test.c: flows/move/hash.h: the numbers of the specification, equal values of all types, batches of any kind against
 * one value at a time, every instruction set. */
#include "unit.h"

#include <dpi.h>
#include <math.h>

#include "flows/move/hash.h"
#include "flows/move/kernel.h"

#define ROWS 300

static uint64_t seed0(void)
{
	return dpi_hash_seed(0);
}

static uint64_t of_word(uint64_t word)
{
	return dpi_hash_word(seed0(), word);
}

static uint64_t one(const DPI_Values *v, uint64_t salt)
{
	uint64_t h;
	CHECK_DPI(DPI_Hash_Rows(v, 1, 1, salt, &h));
	return h;
}

#define VALUE(kind, type_, ...)                                                                        \
	one(&(DPI_Values){ .type = (type_), .width = sizeof(kind), .data = (kind[]){ __VA_ARGS__ } }, 0)

TEST(hash_numbers_of_the_specification, "H-1 H-2 H-3 H-4 H-5 H-6 H-8", 0)
{
	uint8_t bytes[256];
	for (int i = 0; i < 256; i++) bytes[i] = (uint8_t)i;
	CHECK(VALUE(int64_t, DPI_TYPE_INT64, 0) == 0xe7299dcd09e414d0);
	CHECK(VALUE(int64_t, DPI_TYPE_INT64, 1) == 0x8ccff722880a9ad3);
	CHECK(VALUE(int64_t, DPI_TYPE_INT64, -1) == 0x40c97f33f2813080);
	CHECK(VALUE(uint64_t, DPI_TYPE_UINT64, UINT64_C(1) << 63) == 0x616370c82464a008);
	CHECK(VALUE(uint64_t, DPI_TYPE_UINT64, UINT64_MAX) == 0x2cd3d9a11cac6375);
	CHECK(VALUE(double, DPI_TYPE_DOUBLE, 1.5) == 0x6092d0d237ba9f91);
	CHECK(VALUE(double, DPI_TYPE_DOUBLE, NAN) == 0xbcb6d5b9f03c0a5d);
	CHECK(one(&(DPI_Values){ .type = DPI_TYPE_INT64, .data = (int64_t[]){ 1 } }, 1) == 0x5c8d3542d08bb3a7);
	CHECK(one(&(DPI_Values){ .type = DPI_TYPE_DECIMAL64, .scale = 1, .data = (int64_t[]){ 15 } },
		  0) == 0x00019c1a2e8c47b4);
	CHECK(one(&(DPI_Values){ .type = DPI_TYPE_DECIMAL64, .scale = 2, .data = (int64_t[]){ -1234 } },
		  0) == 0x3e5ec5fa71b3f9d3);
	CHECK(of_word(DPI_HASH_NULL) == 0x66154e24e1fed6fd);
	CHECK(dpi_hash_bytes(seed0(), "abc", 3) == 0xbf9bd85b96a9e1b7);
	CHECK(dpi_hash_bytes(seed0(), "12345678", 8) == 0x0e1f0a1d5d305788);
	CHECK(dpi_hash_bytes(seed0(), bytes, 99) == 0x58e01ec884ec9f59);
	CHECK(dpi_hash_bytes(seed0(), bytes, 256) == 0x150f927482f6b56b);
	memset(bytes, 'a', 63);
	CHECK(dpi_hash_bytes(seed0(), bytes, 63) == 0xb9935667f637cfce);
	CHECK(dpi_hash_word(dpi_hash_bytes(of_word(7), "x", 1), DPI_HASH_NULL) == 0xea2b45fbfa6e6eab);
	__extension__ __int128 big = 1;
	for (int i = 0; i < 37; i++) big *= 10;
	uint64_t wide[2] = { (uint64_t)big, (uint64_t)(big >> 64) };
	CHECK(one(&(DPI_Values){ .type = DPI_TYPE_DECIMAL128, .data = wide }, 0) == 0x683ceb769b3de244);
	big = 1;
	for (int i = 0; i < 22; i++) big *= 10;
	big = -big - 1;
	wide[0] = (uint64_t)big, wide[1] = (uint64_t)(big >> 64);
	CHECK(one(&(DPI_Values){ .type = DPI_TYPE_DECIMAL128, .scale = 2, .data = wide }, 0) == 0xa703d6dbf2b926f3);
}

TEST(hash_equal_values_of_all_types, "H-2 H-3 H-4 H-6", 0)
{
	uint64_t seven = of_word(7);
	CHECK(VALUE(int8_t, DPI_TYPE_INT8, 7) == seven && VALUE(int16_t, DPI_TYPE_INT16, 7) == seven);
	CHECK(VALUE(int32_t, DPI_TYPE_INT32, 7) == seven && VALUE(int64_t, DPI_TYPE_INT64, 7) == seven);
	CHECK(VALUE(uint8_t, DPI_TYPE_UINT8, 7) == seven && VALUE(uint16_t, DPI_TYPE_UINT16, 7) == seven);
	CHECK(VALUE(uint32_t, DPI_TYPE_UINT32, 7) == seven && VALUE(uint64_t, DPI_TYPE_UINT64, 7) == seven);
	CHECK(VALUE(int32_t, DPI_TYPE_DATE32, 7) == seven);
	CHECK(VALUE(int8_t, DPI_TYPE_INT8, -7) == VALUE(int64_t, DPI_TYPE_INT64, -7));
	CHECK(VALUE(int32_t, DPI_TYPE_DATE32, -7) == VALUE(int16_t, DPI_TYPE_INT16, -7));
	CHECK(VALUE(uint64_t, DPI_TYPE_UINT64, UINT64_MAX) != VALUE(int64_t, DPI_TYPE_INT64, -1));
	CHECK(VALUE(float, DPI_TYPE_FLOAT, 1.5f) == VALUE(double, DPI_TYPE_DOUBLE, 1.5));
	CHECK(VALUE(float, DPI_TYPE_FLOAT, -0.0f) == VALUE(double, DPI_TYPE_DOUBLE, 0.0));
	CHECK(VALUE(double, DPI_TYPE_DOUBLE, -0.0) == VALUE(double, DPI_TYPE_DOUBLE, 0.0));
	CHECK(VALUE(double, DPI_TYPE_DOUBLE, INFINITY) != VALUE(double, DPI_TYPE_DOUBLE, -INFINITY));
	uint64_t nans[] = { 0x7ff8000000000000, 0xfff8000000000001, 0x7ff0000000000001, 0xffffffffffffffff };
	for (int i = 0; i < 4; i++)
		CHECK(one(&(DPI_Values){ .type = DPI_TYPE_DOUBLE, .data = nans + i }, 0) == VALUE(float, DPI_TYPE_FLOAT,
			NAN));
	/* 7, 7.0, 7.00000 … in both decimals */
	__extension__ unsigned __int128 m = 7;
	for (int scale = 0; scale <= 37; scale++, m *= 10) {
		uint64_t wide[2] = { (uint64_t)m, (uint64_t)(m >> 64) };
		CHECK(one(&(DPI_Values){ .type = DPI_TYPE_DECIMAL128, .scale = scale, .data = wide }, 0) == seven);
		if (scale < 18)
			CHECK(one(&(DPI_Values){ .type = DPI_TYPE_DECIMAL64, .scale = scale, .data = wide }, 0) == seven);
	}
	uint64_t half[2] = { UINT64_C(1) << 63, 0 };
	CHECK(one(&(DPI_Values){ .type = DPI_TYPE_DECIMAL128, .data = half }, 0) == VALUE(uint64_t, DPI_TYPE_UINT64,
											  half[0]));
	int32_t offset[] = { 0, 3 };
	uint64_t fixed = one(&(DPI_Values){ .type = DPI_TYPE_FIXED, .width = 3, .data = "abc" }, 0);
	CHECK(one(&(DPI_Values){ .type = DPI_TYPE_BINARY, .data = "abc", .offset = offset }, 0) == fixed);
	CHECK(one(&(DPI_Values){ .type = DPI_TYPE_UTF8, .data = "abc", .offset = offset }, 0) == fixed);
	uint8_t none = 0;
	for (int type = DPI_TYPE_BOOL; type <= DPI_TYPE_UTF8; type++) {
		DPI_Values v = { .type = type, .width = 4, .data = "                ", .valid = &none };
		if (type >= DPI_TYPE_BINARY) v.offset = offset;
		CHECK(one(&v, 0) == of_word(DPI_HASH_NULL));
	}
}

/* One value at a time, by another way than the batches go. */
static uint64_t slowly(const struct dpi_strided *s, size_t i, uint64_t h)
{
	const uint8_t *p = (const uint8_t *)s->data + i * s->stride;
	int64_t n = 0;
	if (dpi_strided_is_null(s, i)) return dpi_hash_word(h, DPI_HASH_NULL);
	switch (s->type) {
	case DPI_TYPE_BOOL: return dpi_hash_word(h, s->stride ? *p != 0 : dpi_bit(s->data, i));
	case DPI_TYPE_FLOAT: {
		float f;
		memcpy(&f, p, 4);
		return dpi_hash_word(h, dpi_hash_double_word(f));
	}
	case DPI_TYPE_DOUBLE: {
		double d;
		memcpy(&d, p, 8);
		return dpi_hash_word(h, dpi_hash_double_word(d));
	}
	case DPI_TYPE_FIXED: return dpi_hash_bytes(h, p, s->width);
	case DPI_TYPE_BINARY:
	case DPI_TYPE_UTF8:
		return dpi_hash_bytes(h, (const uint8_t *)s->data + s->offset[i], (size_t)(s->offset[i + 1] - s->offset[i]));
	case DPI_TYPE_DECIMAL128: {
		uint64_t w[2];
		memcpy(w, p, 16);
		return dpi_hash_word(h, dpi_hash_decimal_word(w[0], (int64_t)w[1], s->scale));
	}
	default: break;
	}
	memcpy(&n, p, s->width); /* little endian */
	bool is_signed = s->type < DPI_TYPE_UINT8 || s->type > DPI_TYPE_UINT64;
	if (is_signed && s->width < 8) n = (int64_t)((uint64_t)n << (64 - 8 * s->width)) >> (64 - 8 * s->width);
	if (s->type == DPI_TYPE_UINT64) return dpi_hash_word(h, dpi_hash_unsigned_word((uint64_t)n));
	return dpi_hash_word(h, dpi_hash_decimal_word((uint64_t)n, n >> 63, s->type == DPI_TYPE_DECIMAL64 ? s->scale : 0));
}

TEST(hash_batches_are_single_values, "D-1 D-3", 0)
{
	struct draws d = draws_from(rank);
	static const uint32_t width[] = { 0,
#define WIDTH(name, number, bytes, text) bytes,
					  DPI_TYPES(WIDTH)
#undef WIDTH
	};
	for (int n = rounds(400); n; n--) {
		dpi_move_kernels_force(dpi_move_kernels_number((int)draw_below(&d, 3)));
		int columns = 1 + (int)draw_below(&d, 3);
		size_t rows = 1 + draw_below(&d, ROWS), size[3];
		DPI_Values v[3];
		void *memory[3], *valid[3] = { NULL };
		int32_t offset[3][ROWS + 1];
		uint64_t h[ROWS], salt = draw(&d);
		for (int c = 0; c < columns; c++) {
			int type = 1 + (int)draw_below(&d, 17);
			bool in_rows = type < DPI_TYPE_BINARY && draw_below(&d, 2);
			v[c] = (DPI_Values){ .type = type, .width = 1 + (uint32_t)draw_below(&d, 40), .scale =
					     (int)draw_below(&d, 39) };
			uint32_t w = type < DPI_TYPE_FIXED ? width[type] : v[c].width;
			if (type == DPI_TYPE_BOOL && in_rows) w = 1;
			if (in_rows) v[c].stride = draw_below(&d, 3) ? w + draw_below(&d, 30) : w <= 16 ? 16 : w;
			size[c] = in_rows ? (rows - 1) * v[c].stride + w : type == DPI_TYPE_BOOL ? (rows + 7) / 8 : rows * w;
			if (type >= DPI_TYPE_BINARY) {
				offset[c][0] = 0;
				for (size_t i = 0; i < rows; i++)
					offset[c][i + 1] = offset[c][i] + (int32_t)draw_below(&d, 100);
				v[c].offset = offset[c];
				size[c] = (size_t)offset[c][rows];
			}
			memory[c] = guarded(size[c]);
			fill(memory[c], size[c], draw(&d));
			v[c].data = memory[c];
			if (in_rows && draw_below(&d, 2))
				v[c].null = memory[c], v[c].null_mask = (uint8_t)(1 << draw_below(&d, 8));
			else if (draw_below(&d, 2)) {
				v[c].valid = valid[c] = guarded((rows + 7) / 8);
				fill(valid[c], (rows + 7) / 8, draw(&d));
			}
		}
		CHECK_DPI(DPI_Hash_Rows(v, (size_t)columns, rows, salt, h));
		for (size_t i = 0; i < rows; i++) {
			uint64_t expected = dpi_hash_seed(salt);
			for (int c = 0; c < columns; c++) {
				struct dpi_strided s = { .type = v[c].type, .scale = v[c].scale, .data = v[c].data, .valid =
							 v[c].valid,
							 .offset = v[c].offset, .null = v[c].null, .null_mask =
								 v[c].null_mask };
				s.width = v[c].type < DPI_TYPE_FIXED ? width[v[c].type] : v[c].width;
				s.stride = v[c].stride || s.type == DPI_TYPE_BOOL ? v[c].stride : s.width;
				expected = slowly(&s, i, expected);
			}
			CHECK(h[i] == expected);
		}
		for (int c = 0; c < columns; c++) {
			guarded_free(memory[c], size[c]);
			if (valid[c]) guarded_free(valid[c], (rows + 7) / 8);
		}
	}
	dpi_move_kernels_force(NULL);
}

TEST(hash_kernels_are_the_scalar_ones, "", 0)
{
	struct draws d = draws_from(rank);
	uint64_t word[100], a[100], b[100];
	uint16_t p[100], q[100];
	static struct dpi_search search;
	int64_t bound[4095];
	for (int which = 1; dpi_move_kernels_number(which); which++) {
		const struct dpi_move_kernels *k = dpi_move_kernels_number(which), *s = &dpi_move_kernels_scalar;
		for (int n = rounds(2000); n; n--) {
			size_t count = draw_below(&d, 101), stride = draw_below(&d, 2) ? 16 : 8 + draw_below(&d, 20);
			for (size_t i = 0; i < count; i++) word[i] = draw(&d), a[i] = b[i] = draw(&d);
			uint64_t seed = draw(&d);
			uint32_t parts = 1 + (uint32_t)draw_below(&d, 4096), bounds = (uint32_t)draw_below(&d,
				draw_below(&d, 2) ? 40 : 4096);
			s->part(p, word, parts, count), k->part(q, word, parts, count);
			CHECK(!memcmp(p, q, 2 * count));
			s->mix_part(p, word, seed, parts, count), k->mix_part(q, word, seed, parts, count);
			CHECK(!memcmp(p, q, 2 * count));
			unsigned shift = (unsigned)draw_below(&d, 64);
			s->radix(p, word, shift, 4095, count), k->radix(q, word, shift, 4095, count);
			CHECK(!memcmp(p, q, 2 * count));
			s->append(a, word, 1 + shift % 63, count), k->append(b, word, 1 + shift % 63, count);
			CHECK(!memcmp(a, b, 8 * count));
			s->mix(a, word, count), k->mix(b, word, count);
			CHECK(!memcmp(a, b, 8 * count));
			s->crc8(a, word, count), k->crc8(b, word, count);
			CHECK(!memcmp(a, b, 8 * count));
			for (size_t i = 0; i < count; i++)
				word[i] = draw_below(&d, 8) ? draw(&d) : draw_below(&d, 2) ? INT64_MAX : (uint64_t)INT64_MIN;
			for (uint32_t i = 0; i < bounds; i++)
				bound[i] = (int64_t)((uint64_t)INT64_MIN + UINT64_MAX / (bounds + 1) * (i + 1));
			if (bounds && draw_below(&d, 2)) bound[bounds - 1] = INT64_MAX;
			dpi_search_make(&search, bound, bounds);
			s->range(p, word, &search, count), k->range(q, word, &search, count);
			CHECK(!memcmp(p, q, 2 * count));
			for (size_t i = 0; i < count; i++) {
				uint32_t expected = 0;
				while (expected < bounds && bound[expected] <= (int64_t)word[i]) expected++;
				CHECK_INT(p[i], ==, expected);
				if (bounds > 64 && i > 3) break; /* the slow way is slow */
			}
			if (!count) continue;
			size_t size = (count - 1) * stride + 8;
			uint8_t *rows = guarded(size);
			fill(rows, size, seed);
			s->load8(a, rows, stride, count), k->load8(b, rows, stride, count);
			CHECK(!memcmp(a, b, 8 * count));
			CHECK(s->crc32c(7, rows, size) == k->crc32c(7, rows, size));
			guarded_free(rows, size);
		}
	}
}

TEST(hash_checksums_others_know, "D-5", 0)
{
	uint8_t bytes[101];
	for (int which = 0; dpi_move_kernels_number(which); which++) {
		dpi_move_kernels_force(dpi_move_kernels_number(which));
		CHECK(dpi_crc32c(0, "123456789", 9) == 0xe3069283);
		CHECK(dpi_crc32c(dpi_crc32c(0, "1234", 4), "56789", 5) == 0xe3069283);
		memset(bytes, 0, 32);
		CHECK(dpi_crc32c(0, bytes, 32) == 0x8a9136aa); /* RFC 3720, B.4 */
		memset(bytes, 0xff, 32);
		CHECK(dpi_crc32c(0, bytes, 32) == 0x62a8ab43);
	}
	dpi_move_kernels_force(NULL);
	CHECK(dpi_xxh64("", 0, 0) == 0xef46db3751d8e999);
	CHECK(dpi_xxh64("abc", 3, 0) == 0x44bc2cf5ad770999);
	/* the sanity check of the published specification: bytes made by its generator */
	uint64_t g = 2654435761U;
	for (int i = 0; i < 101; i++, g *= UINT64_C(11400714785074694797)) bytes[i] = (uint8_t)(g >> 56);
	CHECK(dpi_xxh64(bytes, 1, 0) == 0xe934a84adb052768);
	CHECK(dpi_xxh64(bytes, 1, 2654435761U) == 0x5014607643a9b4c3);
	CHECK(dpi_xxh64(bytes, 14, 0) == 0x8282dcc4994e35c8);
	CHECK(dpi_xxh64(bytes, 14, 2654435761U) == 0xc3bd6bf63deb6df0);
	uint64_t word[5], h[5];
	fill(word, sizeof word, 3);
	dpi_xxh64_words(h, word, 9, 5);
	for (int i = 0; i < 5; i++) CHECK(h[i] == dpi_xxh64(word + i, 8, 9));
}

/* Neighbouring keys, keys apart by powers of two, and each bit: all spread evenly. */
TEST(hash_spreads, "H-7", 0)
{
	enum { PARTS = 32, KEYS = 64000 };
	for (int step = 0; step < 60; step += 5) {
		int count[PARTS] = { 0 }, low[PARTS] = { 0 };
		for (uint64_t i = 0; i < KEYS; i++) {
			uint64_t h = dpi_hash_word(dpi_hash_seed(5), step > 48 ? i * 1000003 : i << step);
			CHECK(dpi_hash_part(h, PARTS) < PARTS);
			count[dpi_hash_part(h, PARTS)]++;
			low[h % PARTS]++;
		}
		for (int p = 0; p < PARTS; p++) { /* mean 2000, deviation 44 */
			CHECK(count[p] > 1730 && count[p] < 2270);
			CHECK(low[p] > 1730 && low[p] < 2270);
		}
	}
	struct draws d = draws_from(rank);
	for (int bit = 0; bit < 64; bit++) {
		int flips[64] = { 0 };
		for (int n = 0; n < 2000; n++) {
			uint64_t x = draw(&d), y = dpi_hash_mix(x) ^ dpi_hash_mix(x ^ UINT64_C(1) << bit);
			for (int i = 0; i < 64; i++) flips[i] += y >> i & 1;
		}
		for (int i = 0; i < 64; i++) CHECK(flips[i] > 800 && flips[i] < 1200);
	}
}

TEST(hash_wrong_arguments, "D-2", 0)
{
	uint64_t h, data[2] = { 0 };
	DPI_Values v = { .type = DPI_TYPE_INT64, .data = data };
	CHECK_ERROR(DPI_Hash_Rows(NULL, 1, 1, 0, &h), DPI_ERR_ARGUMENT, "NULL");
	CHECK_ERROR(DPI_Hash_Rows(&v, 0, 1, 0, &h), DPI_ERR_ARGUMENT, "0 columns");
	CHECK_ERROR(DPI_Hash_Rows(&v, DPI_KEYS_MAX + 1, 1, 0, &h), DPI_ERR_ARGUMENT, "1 to 64");
	CHECK_ERROR(DPI_Hash_Rows(&v, 1, 1, 0, NULL), DPI_ERR_ARGUMENT, "hashes");
	CHECK_DPI(DPI_Hash_Rows(&v, 1, 0, 0, NULL));
	DPI_Values w = v;
	w.type = 18;
	CHECK_ERROR(DPI_Hash_Rows(&w, 1, 1, 0, &h), DPI_ERR_ARGUMENT, "type 18");
	w = v, w.data = NULL;
	CHECK_ERROR(DPI_Hash_Rows(&w, 1, 1, 0, &h), DPI_ERR_ARGUMENT, "no data");
	w = v, w.stride = 7;
	CHECK_ERROR(DPI_Hash_Rows(&w, 1, 1, 0, &h), DPI_ERR_ARGUMENT, "stride of 7");
	w = v, w.null = (uint8_t *)data;
	CHECK_ERROR(DPI_Hash_Rows(&w, 1, 1, 0, &h), DPI_ERR_ARGUMENT, "valid");
	w = v, w.type = DPI_TYPE_DECIMAL64, w.scale = 39;
	CHECK_ERROR(DPI_Hash_Rows(&w, 1, 1, 0, &h), DPI_ERR_ARGUMENT, "0 to 38");
	w = v, w.type = DPI_TYPE_FIXED;
	CHECK_ERROR(DPI_Hash_Rows(&w, 1, 1, 0, &h), DPI_ERR_ARGUMENT, "no width");
	w = v, w.type = DPI_TYPE_UTF8;
	CHECK_ERROR(DPI_Hash_Rows(&w, 1, 1, 0, &h), DPI_ERR_ARGUMENT, "offsets");
}
