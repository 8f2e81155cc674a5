/* SPDX-License-Identifier: Apache-2.0
 * hash.h: the hash of keys, as spec/10-data-movement.md defines it, version 1. A value is a 64-bit word, the same for equal
 * values of joinable types; a key is its words mixed in one after another. Bytes are taken in eights. */
#ifndef DPI_MOVE_HASH_H
#define DPI_MOVE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../vector.h"

#define DPI_HASH_VERSION 1
#define DPI_HASH_GOLDEN UINT64_C(0x9e3779b97f4a7c15)
#define DPI_HASH_MIX1 UINT64_C(0x3c79ac492ba7b653)
#define DPI_HASH_MIX2 UINT64_C(0x1c69b3f74ac4ae35)
#define DPI_HASH_NULL UINT64_C(0xd6e8feb86659fd93)  /* the word of NULL */
#define DPI_HASH_HIGH UINT64_C(0xa0761d6478bd642f)  /* numbers beyond 64 bits: times what the high half adds */
#define DPI_HASH_SCALE UINT64_C(0xe7037ed1a0b428db) /* decimals: times the digits behind the point */

/* Bijective; every bit of x moves every bit of the result. */
static inline uint64_t dpi_hash_mix(uint64_t x)
{
	x = (x ^ x >> 27) * DPI_HASH_MIX1;
	x = (x ^ x >> 33) * DPI_HASH_MIX2;
	return x ^ x >> 27;
}

/* Where every key begins; once a flow. */
static inline uint64_t dpi_hash_seed(uint64_t salt)
{
	return dpi_hash_mix(salt + DPI_HASH_GOLDEN);
}

/* One more column of a key. The key of one int64 column is dpi_hash_word(seed, (uint64_t)value): that is all of it. */
static inline uint64_t dpi_hash_word(uint64_t h, uint64_t word)
{
	return dpi_hash_mix(h ^ word);
}

/* Which of parts (1 … 2^32): the hash's upper half, scaled. Hash tables and sketches behind it take the lower half. */
static inline uint32_t dpi_hash_part(uint64_t h, uint32_t parts)
{
	return (uint32_t)((h >> 32) * parts >> 32);
}

/* ------------------------------------------------------------------------------------------------- words of values */

/* Integers, dates and booleans that int64 holds are their own word; beyond it: */
static inline uint64_t dpi_hash_unsigned_word(uint64_t value)
{
	return value + (value >> 63) * DPI_HASH_HIGH;
}

static inline uint64_t dpi_hash_double_word(double value)
{
	uint64_t w;
	if (value != value) return UINT64_C(0x7ff8000000000000);
	value += 0.0; /* -0.0 becomes 0.0 */
	__builtin_memcpy(&w, &value, sizeof w);
	return w;
}

/* A decimal of scale 0 … 38 in two's complement, equal to the word of the integer that has its value, if one has. */
uint64_t dpi_hash_decimal_word(uint64_t low, int64_t high, int scale);

/* Binary, text and fixed bytes: mixed in as several words, by content and length. */
uint64_t dpi_hash_bytes(uint64_t h, const void *bytes, size_t size);

/* ---------------------------------------------------------------------------------------------------------- batches */

/* One column of many rows where it lies: packed, or a field of rows. */
struct dpi_strided {
	int type, scale;
	uint32_t width;	      /* bytes of a value; bool in bits: 0; variable: 0 */
	const void *data;     /* first value; variable: the bytes */
	size_t stride;	      /* bytes from a value to the next; variable, bool in bits: 0 */
	const uint8_t *valid; /* as in struct dpi_vector, or NULL */
	const int32_t *offset;
	const uint8_t *null; /* in rows: value i is NULL if null[i * stride] has a bit of null_mask; NULL: none is */
	uint8_t null_mask;
};
struct dpi_strided dpi_strided_of(const struct dpi_vector *v);

static inline bool dpi_strided_is_null(const struct dpi_strided *s, size_t i)
{
	return (s->valid && !dpi_bit(s->valid, i)) || (s->null && s->null[i * s->stride] & s->null_mask);
}

/* Fill hash[0 … count) with the seed; then mix in columns one after another: value first + i into hash[i]. */
void dpi_hash_start(uint64_t seed, size_t count, uint64_t *hash);
void dpi_hash_column(const struct dpi_strided *s, size_t first, size_t count, uint64_t *hash);
static inline void dpi_hash_vector(const struct dpi_vector *v, size_t first, size_t count, uint64_t *hash)
{
	struct dpi_strided s = dpi_strided_of(v);
	dpi_hash_column(&s, first, count, hash);
}

/* The words alone of a column that is not of bytes: what the mixing, radix and range start from. */
void dpi_words(const struct dpi_strided *s, size_t first, size_t count, uint64_t *word);

/* The checksums and hashes others know, over bytes: CRC32C (init and final complement), XXH64 of the published
 * specification. */
uint32_t dpi_crc32c(uint32_t crc, const void *bytes, size_t size); /* crc: 0, or of what went before */
uint64_t dpi_xxh64(const void *bytes, size_t size, uint64_t seed);
void dpi_xxh64_words(uint64_t *hash, const uint64_t *word, uint64_t seed, size_t count); /* of eight bytes each */

#endif
