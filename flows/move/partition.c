/* SPDX-License-Identifier: Apache-2.0
 * partition.c: which part a row belongs to, chunk by chunk in the first cache: words, then hash or search, then parts. */
#include <string.h>

#include "error.h"
#include "kernel.h"
#include "move.h"

#define CHUNK ((size_t)512)

/* Types whose order is that of one signed word. */
static bool ordered(int type)
{
	return type < DPI_TYPE_DECIMAL128;
}

/* The 64 bits of each value, of a decimal those of its digits; of NULL any. */
static void raw_words(const struct dpi_strided *s, size_t first, size_t count, uint64_t *word)
{
	struct dpi_strided raw = *s;
	raw.valid = raw.null = NULL;
	raw.scale = 0;
	if (raw.type == DPI_TYPE_UINT64) raw.type = DPI_TYPE_INT64;
	dpi_words(&raw, first, count, word);
}

/* Such a word of each value; NULL: the least. The order of doubles is that of their bits, the negative ones turned round. */
static void order_words(const struct dpi_strided *s, size_t first, size_t count, uint64_t *word)
{
	raw_words(s, first, count, word);
	if (s->type == DPI_TYPE_UINT64)
		for (size_t i = 0; i < count; i++) word[i] ^= UINT64_C(1) << 63;
	else if (s->type == DPI_TYPE_FLOAT || s->type == DPI_TYPE_DOUBLE)
		for (size_t i = 0; i < count; i++) word[i] ^= -(word[i] >> 63) >> 1;
}

/* -1, 0, 1: two values of one type, NULL first. */
static int compare(const struct dpi_strided *a, size_t i, const struct dpi_strided *b, size_t j)
{
	bool no = dpi_strided_is_null(a, i), nb = dpi_strided_is_null(b, j);
	if (no || nb) return nb - no;
	const uint8_t *p = (const uint8_t *)a->data + i * a->stride, *q = (const uint8_t *)b->data + j * b->stride;
	if (ordered(a->type)) {
		uint64_t x, y;
		order_words(a, i, 1, &x);
		order_words(b, j, 1, &y);
		return ((int64_t)x > (int64_t)y) - ((int64_t)x < (int64_t)y);
	}
	if (a->type == DPI_TYPE_DECIMAL128) {
		uint64_t x[2], y[2];
		memcpy(x, p, 16), memcpy(y, q, 16);
		if (x[1] != y[1]) return (int64_t)x[1] > (int64_t)y[1] ? 1 : -1;
		return (x[0] > y[0]) - (x[0] < y[0]);
	}
	size_t n = a->width, m = b->width;
	if (a->type != DPI_TYPE_FIXED) {
		p = (const uint8_t *)a->data + a->offset[i], n = (size_t)(a->offset[i + 1] - a->offset[i]);
		q = (const uint8_t *)b->data + b->offset[j], m = (size_t)(b->offset[j + 1] - b->offset[j]);
	}
	size_t least = n < m ? n : m;
	int c = least ? memcmp(p, q, least) : 0;
	return c ? (c > 0) - (c < 0) : (n > m) - (n < m);
}

int dpi_compare_keys(const struct dpi_strided *a, size_t i, const struct dpi_strided *b, size_t j, size_t keys)
{
	int c = 0;
	for (size_t k = 0; k < keys && !c; k++) c = compare(a + k, i, b + k, j);
	return c;
}

/* ---------------------------------------------------------------------------------------------------------- prepare */

static int prepare_range(struct dpi_partition *p, const struct dpi_strided *key, const struct dpi_strided *bound)
{
	uint32_t bounds = p->parts - 1;
	if (bounds && !bound)
		return dpi_fail(DPI_ERR_ARGUMENT, "a range partitioning of %u parts needs %u bounds", p->parts, bounds);
	for (size_t k = 0; bounds && k < p->key_count; k++)
		if (bound[k].type != key[k].type || bound[k].scale != key[k].scale ||
		    (bound[k].width != key[k].width && key[k].type != DPI_TYPE_BOOL)) /* bits or bytes */
			return dpi_fail(DPI_ERR_ARGUMENT,
					"the bounds of key %zu have another type, width or scale than the key", k);
	for (uint32_t b = 1; b < bounds; b++)
		if (dpi_compare_keys(bound, b - 1, bound, b, p->key_count) > 0)
			return dpi_fail(DPI_ERR_ARGUMENT, "bound %u is below bound %u: sort the bounds", b, b - 1);
	p->bound = bound;
	dpi_search_make(&p->search, NULL, 0); /* of one part, whatever the key */
	if (p->key_count > 1 || !ordered(key->type) || (bounds && (bound->valid || bound->null))) return DPI_SUCCESS;
	uint64_t word[DPI_PARTS_MAX];
	if (bounds) order_words(bound, 0, bounds, word);
	dpi_search_make(&p->search, (const int64_t *)word, bounds);
	p->bound = NULL;
	return DPI_SUCCESS;
}

bool dpi_radix_takes(const struct dpi_strided *key)
{
	return ordered(key->type) && key->type != DPI_TYPE_FLOAT && key->type != DPI_TYPE_DOUBLE;
}

unsigned dpi_radix_bits(const struct dpi_strided *key)
{
	return key->type == DPI_TYPE_BOOL ? 1 : 8 * key->width;
}

static int prepare_radix(struct dpi_partition *p, const uint8_t *bits, const struct dpi_strided *key)
{
	unsigned all = 0;
	if (p->parts & (p->parts - 1)) return dpi_fail(DPI_ERR_ARGUMENT, "%u parts by radix: take a power of two", p->parts);
	if (p->shift > 63) return dpi_fail(DPI_ERR_ARGUMENT, "a shift of %u: a key has the bits 0 to 63", p->shift);
	for (size_t k = 0; k < p->key_count; k++) {
		unsigned n = bits ? bits[k] : p->key_count == 1 ? 64 : dpi_radix_bits(key + k);
		if (!dpi_radix_takes(key + k))
			return dpi_fail(DPI_ERR_UNSUPPORTED,
					"key %zu is no integer, date or decimal64, which radix takes: use DPI_PARTITION_HASH for "
					"others", k);
		if (!n) return dpi_fail(DPI_ERR_ARGUMENT, "bits[%zu] is 0: leave the column out of the keys", k);
		all += n;
		if (all > 64 && bits)
			return dpi_fail(DPI_ERR_ARGUMENT, "bits of the keys 0 to %zu are %u together: there are at most 64", k, all);
		if (all > 64)
			return dpi_fail(DPI_ERR_UNSUPPORTED,
					"the keys 0 to %zu have %u bits, and radix takes 64: say in bits which count, or use "
					"DPI_PARTITION_HASH", k, all);
		p->bits[k] = (uint8_t)n;
	}
	p->mask = (uint32_t)(~UINT64_C(0) >> (64 - all) >> p->shift) & (p->parts - 1);
	return DPI_SUCCESS;
}

int dpi_partition_prepare(struct dpi_partition *p, int method, uint32_t parts, uint64_t salt, unsigned shift,
			  const uint8_t *bits, const struct dpi_strided *key, size_t key_count,
			  const struct dpi_strided *bound)
{
	p->method = method, p->parts = parts, p->shift = shift, p->key_count = key_count, p->bound = NULL;
	p->seed = method == DPI_PARTITION_XXH64 ? salt : dpi_hash_seed(salt);
	if (!parts || parts > DPI_PARTS_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "%u parts: there are 1 to %d", parts, DPI_PARTS_MAX);
	if (!key_count || key_count > DPI_KEYS_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "a key of %zu columns: it has 1 to %d", key_count, DPI_KEYS_MAX);
	switch (method) {
	case DPI_PARTITION_HASH: return DPI_SUCCESS;
	case DPI_PARTITION_CRC32C:
	case DPI_PARTITION_XXH64:
		for (size_t k = 0; k < key_count; k++)
			if (key[k].type == DPI_TYPE_BOOL && !key[k].stride)
				return dpi_fail(DPI_ERR_UNSUPPORTED,
						"key %zu is a column of bits, which have no bytes to hash: use "
								     "DPI_PARTITION_HASH", k);
		return DPI_SUCCESS;
	case DPI_PARTITION_RADIX: return prepare_radix(p, bits, key);
	case DPI_PARTITION_RANGE: return prepare_range(p, key, bound);
	default: return dpi_fail(DPI_ERR_ARGUMENT, "%d is no method of partitioning", method);
	}
}

/* ------------------------------------------------------------------------------------------------------------- find */

/* The bytes of a value where it lies. */
static const uint8_t *bytes_of(const struct dpi_strided *s, size_t i, size_t *size)
{
	if (s->type < DPI_TYPE_BINARY) {
		*size = s->width;
		return (const uint8_t *)s->data + i * s->stride;
	}
	*size = (size_t)(s->offset[i + 1] - s->offset[i]);
	return (const uint8_t *)s->data + s->offset[i];
}

/* XXH64 of several columns: the hash of one is the seed of the next. */
static void raw_hash(const struct dpi_partition *p, const struct dpi_strided *key, size_t first, size_t count,
		     uint64_t *hash)
{
	bool crc = p->method == DPI_PARTITION_CRC32C;
	for (size_t i = 0; i < count; i++) {
		uint64_t h = crc ? 0 : p->seed;
		for (size_t k = 0; k < p->key_count; k++) {
			size_t size;
			if (dpi_strided_is_null(key + k, first + i)) continue;
			const uint8_t *b = bytes_of(key + k, first + i, &size);
			h = crc ? dpi_crc32c((uint32_t)h, b, size) : dpi_xxh64(b, size, h);
		}
		hash[i] = crc ? h << 32 : h;
	}
}

static void hash(const struct dpi_partition *p, const struct dpi_strided *key, size_t first, size_t count, uint64_t *to)
{
	const struct dpi_move_kernels *m = dpi_move_kernels();
	bool eight = p->key_count == 1 && key->width == 8 && !key->valid && !key->null && key->type < DPI_TYPE_BINARY;
	if (p->method == DPI_PARTITION_HASH) {
		dpi_hash_start(p->seed, count, to);
		for (size_t k = 0; k < p->key_count; k++) dpi_hash_column(key + k, first, count, to);
	} else if (eight) {
		uint64_t word[CHUNK];
		m->load8(word, (const uint8_t *)key->data + first * key->stride, key->stride, count);
		if (p->method == DPI_PARTITION_CRC32C) m->crc8(to, word, count);
		else dpi_xxh64_words(to, word, p->seed, count);
	} else raw_hash(p, key, first, count, to);
}

/* How many bounds are not above each key: a search without branches over the rows of the bounds. */
static void search(const struct dpi_partition *p, const struct dpi_strided *key, size_t first, size_t count, uint16_t *part)
{
	for (size_t i = 0; i < count; i++) {
		uint32_t base = 0, left = p->parts - 1;
		while (left > 1) {
			uint32_t half = left / 2;
			base += dpi_compare_keys(p->bound, base + half - 1, key, first + i, p->key_count) <= 0 ? half : 0;
			left -= half;
		}
		if (left) base += dpi_compare_keys(p->bound, base, key, first + i, p->key_count) <= 0;
		part[i] = (uint16_t)base;
	}
}

/* The number that a key is: the bits of each column below those of the columns before it; NULL gives zeros. Above it may
 * be more of the first column. */
static void radix_words(const struct dpi_partition *p, const struct dpi_strided *key, size_t first, size_t count,
			uint64_t *word)
{
	uint64_t column[CHUNK];
	for (size_t k = 0; k < p->key_count; k++) {
		uint64_t *w = k ? column : word;
		raw_words(key + k, first, count, w);
		if (key[k].valid || key[k].null)
			for (size_t i = 0; i < count; i++)
				if (dpi_strided_is_null(key + k, first + i)) w[i] = 0;
		if (k) dpi_move_kernels()->append(word, column, p->bits[k], count);
	}
}

static void nulls_first(const struct dpi_strided *key, size_t first, size_t count, uint16_t *part)
{
	if (key->valid || key->null)
		for (size_t i = 0; i < count; i++)
			if (dpi_strided_is_null(key, first + i)) part[i] = 0;
}

void dpi_partition_find(const struct dpi_partition *p, const struct dpi_strided *key, size_t first, size_t count,
			uint16_t *part)
{
	const struct dpi_move_kernels *m = dpi_move_kernels();
	uint64_t word[CHUNK];
	if (p->method == DPI_PARTITION_RANGE && p->bound) {
		search(p, key, first, count, part);
		return;
	}
	for (size_t n; count; first += n, part += n, count -= n) {
		n = count < CHUNK ? count : CHUNK;
		switch (p->method) {
		case DPI_PARTITION_RADIX:
			radix_words(p, key, first, n, word);
			m->radix(part, word, p->shift, p->mask, n);
			break;
		case DPI_PARTITION_RANGE:
			order_words(key, first, n, word);
			m->range(part, word, &p->search, n);
			nulls_first(key, first, n, part);
			break;
		case DPI_PARTITION_HASH:
			if (p->key_count == 1 && key->type < DPI_TYPE_FIXED) {
				dpi_words(key, first, n, word);
				m->mix_part(part, word, p->seed, p->parts, n);
				break;
			}
			/* fall through */
		default:
			hash(p, key, first, n, word);
			m->part(part, word, p->parts, n);
		}
	}
}
