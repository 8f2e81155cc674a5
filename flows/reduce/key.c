/* SPDX-License-Identifier: Apache-2.0
 * key.c: keys of a chunk of rows, copied once: as words where they are one number, else as images, which are what entries
 * begin with. Equal keys have equal bytes there: NULL is zeros and its bit, -0.0 is 0.0, every NaN the same. */
#include <string.h>

#include "../move/move.h"
#include "table.h"

static void canonical(int type, uint8_t *p, size_t stride, size_t n)
{
	if (type == DPI_TYPE_FLOAT) {
		for (size_t i = 0; i < n; i++, p += stride) {
			float x;
			memcpy(&x, p, sizeof x);
			x = x == x ? x + 0.0f : __builtin_nanf("");
			memcpy(p, &x, sizeof x);
		}
	} else if (type == DPI_TYPE_DOUBLE) {
		for (size_t i = 0; i < n; i++, p += stride) {
			double x;
			memcpy(&x, p, sizeof x);
			x = x == x ? x + 0.0 : __builtin_nan("");
			memcpy(p, &x, sizeof x);
		}
	} else if (type == DPI_TYPE_BOOL) {
		for (size_t i = 0; i < n; i++, p += stride) *p = *p != 0;
	}
}

/* The image of row i: words of the key, then a word of its NULLs. */
static inline uint8_t *image_of(const struct dpi_table *t, size_t i)
{
	return (uint8_t *)(t->images + i * (t->key_words + 1));
}

static void take_nulls(const struct dpi_table *t, const struct dpi_strided *s, const struct dpi_column *c, unsigned bit,
		       size_t first, size_t n)
{
	uint64_t *nulls = t->images + t->key_words;
	if (!s->valid && !s->null) return;
	for (size_t i = 0; i < n; i++, nulls += t->key_words + 1) {
		if (!dpi_strided_is_null(s, first + i)) continue;
		*nulls |= UINT64_C(1) << bit;
		memset(image_of(t, i) + c->offset, 0, c->width);
	}
}

static uint32_t bytes_of(const struct dpi_strided *s, size_t i)
{
	return dpi_strided_is_null(s, i) ? 0 : (uint32_t)(s->offset[i + 1] - s->offset[i]);
}

/* Where the bytes will lie in the entry: one column's behind the other's, from the end of the fixed part. */
static void take_places(const struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t *image = image_of(t, i);
		uint32_t place[2] = { t->r->state->row_size, 0 };
		for (uint32_t k = 0; k < t->r->key_count; k++) {
			const struct dpi_strided *s = f->column + f->key[k];
			if (!t->r->state->column[k].variable || dpi_strided_is_null(s, first + i)) continue;
			place[0] += place[1];
			place[1] = bytes_of(s, first + i);
			memcpy(image + t->r->state->column[k].offset, place, sizeof place);
		}
	}
}

static void take_images(struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t n)
{
	size_t stride = 8 * ((size_t)t->key_words + 1);
	unsigned bit = 0;
	memset(t->images, 0, n * stride);
	for (uint32_t k = 0; k < t->r->key_count; k++) {
		const struct dpi_column *c = t->r->state->column + k;
		const struct dpi_strided *s = f->column + f->key[k];
		uint8_t *to = image_of(t, 0) + c->offset;
		if (c->type == DPI_TYPE_BOOL && !s->stride)
			for (size_t i = 0; i < n; i++) to[i * stride] = dpi_bit(s->data, first + i);
		else if (!c->variable)
			dpi_copy_strided(to, stride, (const uint8_t *)s->data + first * s->stride, s->stride, c->width, n);
		canonical(c->type, to, stride, n);
		if (c->nullable) take_nulls(t, s, c, bit++, first, n);
	}
	if (t->varies) take_places(t, f, first, n);
}

/* A hash of the image, which stays in the table: so it need not be that of the columns. */
static void hash_images(struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t n)
{
	size_t words = t->key_words + (t->nulls != 0);
	for (size_t i = 0; i < n; i++) {
		const uint64_t *image = t->images + i * (t->key_words + 1);
		uint64_t h = t->seed;
		for (size_t w = 0; w < words; w++) h = dpi_hash_word(h, image[w]);
		for (uint32_t k = 0; k < t->r->key_count && t->varies; k++) {
			const struct dpi_strided *s = f->column + f->key[k];
			if (!t->r->state->column[k].variable || dpi_strided_is_null(s, first + i)) continue;
			h = dpi_hash_bytes(h, (const uint8_t *)s->data + s->offset[first + i], bytes_of(s, first + i));
		}
		t->hash[i] = h;
	}
}

void dpi_key_take(struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t n)
{
	take_images(t, f, first, n);
	hash_images(t, f, first, n);
}

/* ---------------------------------------------------------------------------------------------------------- and entries */

bool dpi_key_same_bytes(const struct dpi_table *t, const struct dpi_feed *f, size_t first, const uint8_t *entry, size_t i)
{
	const uint8_t *tail = entry + t->r->state->row_size;
	for (uint32_t k = 0; k < t->r->key_count; k++) {
		const struct dpi_strided *s = f->column + f->key[k];
		if (!t->r->state->column[k].variable) continue;
		uint32_t bytes = bytes_of(s, first + i);
		if (bytes && memcmp(tail, (const uint8_t *)s->data + s->offset[first + i], bytes)) return false;
		tail += bytes;
	}
	return true;
}

size_t dpi_key_entry_size(const struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t i)
{
	size_t size = t->r->state->row_size;
	for (uint32_t k = 0; k < t->r->key_count && t->varies; k++)
		if (t->r->state->column[k].variable) size += bytes_of(f->column + f->key[k], first + i);
	return size;
}

void dpi_key_put(const struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t i, uint8_t *entry)
{
	const uint8_t *image = image_of(t, i), *nulls = image + 8 * (size_t)t->key_words;
	memcpy(entry, image, t->key_bytes);
	for (unsigned b = 0; b < (t->nulls + 7) / 8; b++) entry[t->null_at + b] |= nulls[b];
	uint8_t *tail = entry + t->r->state->row_size;
	for (uint32_t k = 0; k < t->r->key_count && t->varies; k++) {
		const struct dpi_strided *s = f->column + f->key[k];
		uint32_t bytes = t->r->state->column[k].variable ? bytes_of(s, first + i) : 0;
		if (bytes) memcpy(tail, (const uint8_t *)s->data + s->offset[first + i], bytes);
		tail += bytes;
	}
}
