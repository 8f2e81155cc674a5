/* SPDX-License-Identifier: Apache-2.0
 * hash.c: words of values, bytes, and keys of many rows. */
#include "hash.h"

#include <string.h>

#include "dpi.h"
#include "kernel.h"

#define CHUNK 1024 /* rows whose words lie in the first cache at once */
#define STRIPE 32

static inline uint64_t rotate(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static inline uint64_t read8(const uint8_t *p)
{
	uint64_t w;
	memcpy(&w, p, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	w = __builtin_bswap64(w);
#endif
	return w;
}

/* Fewer than eight bytes, the first one lowest. */
static inline uint64_t read_tail(const uint8_t *p, size_t size)
{
	uint64_t w = 0;
	for (size_t i = 0; i < size; i++) w |= (uint64_t)p[i] << 8 * i;
	return w;
}

uint64_t dpi_hash_decimal_word(uint64_t low, int64_t high, int scale)
{
	if (high == (int64_t)low >> 63) {
		int64_t v = (int64_t)low;
		while (scale > 0 && v % 10 == 0) v /= 10, scale--;
		return (uint64_t)v + (uint64_t)scale * DPI_HASH_SCALE;
	}
	__extension__ __int128 v = (__int128)((unsigned __int128)(uint64_t)high << 64 | low);
	while (scale > 0 && v % 10 == 0) v /= 10, scale--;
	low = (uint64_t)v;
	high = (int64_t)(v >> 64);
	return low + ((uint64_t)high + (low >> 63)) * DPI_HASH_HIGH + (uint64_t)scale * DPI_HASH_SCALE;
}

uint64_t dpi_hash_bytes(uint64_t h, const void *bytes, size_t size)
{
	const uint8_t *p = bytes, *end = p + size;
	if (size >= 2 * STRIPE) {
		uint64_t lane[4];
		for (unsigned i = 0; i < 4; i++) lane[i] = h + (i + 1) * DPI_HASH_GOLDEN;
		for (; end - p >= STRIPE; p += STRIPE)
			for (unsigned i = 0; i < 4; i++)
				lane[i] = rotate(lane[i] + read8(p + 8 * i) * DPI_HASH_MIX2, 31) * DPI_HASH_GOLDEN;
		for (unsigned i = 0; i < 4; i++) h = dpi_hash_word(h, lane[i]);
	}
	for (; end - p >= 8; p += 8) h = dpi_hash_word(h, read8(p));
	return dpi_hash_word(h, read_tail(p, (size_t)(end - p)) | (uint64_t)(size & 255) << 56);
}

/* ------------------------------------------------------------------------------------------------------------ words */

struct dpi_strided dpi_strided_of(const struct dpi_vector *v)
{
	return (struct dpi_strided){ .type = v->type, .scale = v->scale, .width = v->width, .data = v->data, .stride =
				     v->width,
				     .valid = v->valid, .offset = v->offset };
}

#define EACH(kind, expression)                                                                         \
	for (size_t i = 0; i < count; i++, p += stride) {                                              \
		kind x;                                                                                \
		memcpy(&x, p, sizeof x);                                                               \
		word[i] = (expression);                                                                \
	}                                                                                              \
	break

static void words(const struct dpi_strided *s, size_t first, size_t count, uint64_t *word)
{
	size_t stride = s->stride;
	const uint8_t *p = (const uint8_t *)s->data + first * stride;
	switch (s->type) {
	case DPI_TYPE_BOOL:
		if (stride)
			for (size_t i = 0; i < count; i++) word[i] = p[i * stride] != 0;
		else
			for (size_t i = 0; i < count; i++) word[i] = dpi_bit(p, first + i);
		break;
	case DPI_TYPE_INT8: EACH(int8_t, (uint64_t)(int64_t)x);
	case DPI_TYPE_INT16: EACH(int16_t, (uint64_t)(int64_t)x);
	case DPI_TYPE_INT32:
	case DPI_TYPE_DATE32: EACH(int32_t, (uint64_t)(int64_t)x);
	case DPI_TYPE_INT64: dpi_move_kernels()->load8(word, p, stride, count); break;
	case DPI_TYPE_UINT8: EACH(uint8_t, x);
	case DPI_TYPE_UINT16: EACH(uint16_t, x);
	case DPI_TYPE_UINT32: EACH(uint32_t, x);
	case DPI_TYPE_UINT64: EACH(uint64_t, dpi_hash_unsigned_word(x));
	case DPI_TYPE_FLOAT: EACH(float, dpi_hash_double_word((double)x));
	case DPI_TYPE_DOUBLE: EACH(double, dpi_hash_double_word(x));
	case DPI_TYPE_DECIMAL64:
		if (!s->scale) dpi_move_kernels()->load8(word, p, stride, count);
		else
			for (size_t i = 0; i < count; i++, p += stride) {
				int64_t x;
				memcpy(&x, p, sizeof x);
				word[i] = dpi_hash_decimal_word((uint64_t)x, x >> 63, s->scale);
			}
		break;
	case DPI_TYPE_DECIMAL128:
		for (size_t i = 0; i < count; i++, p += stride) {
			uint64_t x[2];
			memcpy(x, p, sizeof x);
			word[i] = dpi_hash_decimal_word(x[0], (int64_t)x[1], s->scale);
		}
		break;
	default: memset(word, 0, count * sizeof *word);
	}
}

void dpi_words(const struct dpi_strided *s, size_t first, size_t count, uint64_t *word)
{
	words(s, first, count, word);
	if (s->valid || s->null)
		for (size_t i = 0; i < count; i++)
			if (dpi_strided_is_null(s, first + i)) word[i] = DPI_HASH_NULL;
}

/* ------------------------------------------------------------------------------------------------------------- keys */

void dpi_hash_start(uint64_t seed, size_t count, uint64_t *hash)
{
	for (size_t i = 0; i < count; i++) hash[i] = seed;
}

static void hash_bytes(const struct dpi_strided *s, size_t first, size_t count, uint64_t *hash)
{
	const uint8_t *data = s->data;
	for (size_t i = first; i < first + count; i++, hash++) {
		if (dpi_strided_is_null(s, i)) *hash = dpi_hash_word(*hash, DPI_HASH_NULL);
		else if (s->type == DPI_TYPE_FIXED) *hash = dpi_hash_bytes(*hash, data + i * s->stride, s->width);
		else *hash = dpi_hash_bytes(*hash, data + s->offset[i], (size_t)(s->offset[i + 1] - s->offset[i]));
	}
}

void dpi_hash_column(const struct dpi_strided *s, size_t first, size_t count, uint64_t *hash)
{
	uint64_t word[CHUNK];
	if (s->type >= DPI_TYPE_FIXED) {
		hash_bytes(s, first, count, hash);
		return;
	}
	const struct dpi_move_kernels *k = dpi_move_kernels();
	for (size_t n; count; first += n, hash += n, count -= n) {
		n = count < CHUNK ? count : CHUNK;
		dpi_words(s, first, n, word);
		k->mix(hash, word, n);
	}
}

/* ------------------------------------------------------------------------------------------------------------ XXH64 */

#define X1 UINT64_C(0x9e3779b185ebca87)
#define X2 UINT64_C(0xc2b2ae3d27d4eb4f)
#define X3 UINT64_C(0x165667b19e3779f9)
#define X4 UINT64_C(0x85ebca77c2b2ae63)
#define X5 UINT64_C(0x27d4eb2f165667c5)

static inline uint64_t xxh_round(uint64_t lane, uint64_t word)
{
	return rotate(lane + word * X2, 31) * X1;
}

uint64_t dpi_xxh64(const void *bytes, size_t size, uint64_t seed)
{
	const uint8_t *p = bytes, *end = p + size;
	uint64_t h = seed + X5;
	if (size >= STRIPE) {
		uint64_t lane[4] = { seed + X1 + X2, seed + X2, seed, seed - X1 };
		for (; end - p >= STRIPE; p += STRIPE)
			for (int i = 0; i < 4; i++) lane[i] = xxh_round(lane[i], read8(p + 8 * i));
		h = rotate(lane[0], 1) + rotate(lane[1], 7) + rotate(lane[2], 12) + rotate(lane[3], 18);
		for (int i = 0; i < 4; i++) h = (h ^ xxh_round(0, lane[i])) * X1 + X4;
	}
	h += size;
	for (; end - p >= 8; p += 8) h = rotate(h ^ xxh_round(0, read8(p)), 27) * X1 + X4;
	if (end - p >= 4) h = rotate(h ^ read_tail(p, 4) * X1, 23) * X2 + X3, p += 4;
	for (; p < end; p++) h = rotate(h ^ *p * X5, 11) * X1;
	h = (h ^ h >> 33) * X2;
	h = (h ^ h >> 29) * X3;
	return h ^ h >> 32;
}

void dpi_xxh64_words(uint64_t *hash, const uint64_t *word, uint64_t seed, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t h = rotate((seed + X5 + 8) ^ xxh_round(0, word[i]), 27) * X1 + X4;
		h = (h ^ h >> 33) * X2;
		h = (h ^ h >> 29) * X3;
		hash[i] = h ^ h >> 32;
	}
}
