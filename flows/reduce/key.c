/* SPDX-License-Identifier: Apache-2.0
 * key.c: keys of a chunk of rows, copied once: as words where they are one number, else as images, which are what entries
 * begin with. Equal keys have equal bytes there: NULL is zeros and its bit, -0.0 is 0.0, every NaN the same. */
#include <string.h>

#include "../move/kernel.h"
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

/* The word of NULLs of image i. */
static inline uint8_t *nulls_of(const struct dpi_table *t, size_t i)
{
	return t->images + i * t->image + t->image - 8;
}

static void take_nulls(const struct dpi_table *t, const struct dpi_strided *s, const struct dpi_column *c, unsigned bit,
		       size_t first, size_t n)
{
	if (!s->valid && !s->null) return;
	for (size_t i = 0; i < n; i++) {
		if (!dpi_strided_is_null(s, first + i)) continue;
		nulls_of(t, i)[bit / 8] |= (uint8_t)(1u << bit % 8);
		memset(t->images + i * t->image + c->offset, 0, c->width);
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
		uint8_t *image = t->images + i * t->image;
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
	unsigned bit = 0;
	memset(t->images, 0, n * t->image);
	for (uint32_t k = 0; k < t->r->key_count; k++) {
		const struct dpi_column *c = t->r->state->column + k;
		const struct dpi_strided *s = f->column + f->key[k];
		uint8_t *to = t->images + c->offset;
		if (c->type == DPI_TYPE_BOOL && !s->stride)
			for (size_t i = 0; i < n; i++) to[i * t->image] = dpi_bit(s->data, first + i);
		else if (!c->variable)
			dpi_copy_strided(to, t->image, (const uint8_t *)s->data + first * s->stride, s->stride, c->width, n);
		canonical(c->type, to, t->image, n);
		if (c->nullable) take_nulls(t, s, c, bit++, first, n);
	}
	if (t->varies) take_places(t, f, first, n);
}

static void hash_images(struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t n)
{
	unsigned bit = 0;
	for (uint32_t k = 0; k < t->r->key_count; k++) {
		const struct dpi_column *c = t->r->state->column + k;
		struct dpi_strided s = { .type = c->type,
					 .scale = c->scale,
					 .width = c->width,
					 .data = t->images + c->offset,
					 .stride = t->image };
		if (c->nullable) s.null = nulls_of(t, 0) + bit / 8, s.null_mask = (uint8_t)(1u << bit % 8), bit++;
		if (c->variable) dpi_hash_column(f->column + f->key[k], first, n, t->hash);
		else dpi_hash_column(&s, 0, n, t->hash);
	}
}

void dpi_key_take(struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t n)
{
	dpi_hash_start(t->seed, n, t->hash);
	if (t->kind != DPI_KEY_IMAGE) { /* eight bytes whose word is not themselves */
		const struct dpi_strided *s = f->column + f->key[0];
		struct dpi_strided copy = { .type = s->type, .scale = s->scale, .width = 8, .data = t->word, .stride = 8 };
		dpi_move_kernels()->load8(t->word, (const uint8_t *)s->data + first * s->stride, s->stride, n);
		dpi_hash_column(&copy, 0, n, t->hash);
		return;
	}
	take_images(t, f, first, n);
	hash_images(t, f, first, n);
}

/* ---------------------------------------------------------------------------------------------------------- and entries */

static uint64_t entry_nulls(const struct dpi_table *t, const uint8_t *entry)
{
	uint64_t bits = 0;
	memcpy(&bits, entry + t->null_at, (t->nulls + 7) / 8);
	return t->nulls < 64 ? bits & ((UINT64_C(1) << t->nulls) - 1) : bits;
}

bool dpi_key_same(const struct dpi_table *t, const struct dpi_feed *f, size_t first, const uint8_t *entry, size_t i)
{
	const uint8_t *image = t->images + i * t->image;
	uint32_t at = 0;
	for (; at + 8 <= t->key_bytes; at += 8) {
		uint64_t a, b;
		memcpy(&a, entry + at, 8), memcpy(&b, image + at, 8);
		if (a != b) return false;
	}
	for (; at < t->key_bytes; at++)
		if (entry[at] != image[at]) return false;
	if (t->nulls) {
		uint64_t bits;
		memcpy(&bits, nulls_of(t, i), 8);
		if (bits != entry_nulls(t, entry)) return false;
	}
	if (!t->varies) return true;
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
	memcpy(entry, t->images + i * t->image, t->key_bytes);
	for (unsigned b = 0; b < (t->nulls + 7) / 8; b++) entry[t->null_at + b] |= nulls_of(t, i)[b];
	uint8_t *tail = entry + t->r->state->row_size;
	for (uint32_t k = 0; k < t->r->key_count && t->varies; k++) {
		const struct dpi_strided *s = f->column + f->key[k];
		uint32_t bytes = t->r->state->column[k].variable ? bytes_of(s, first + i) : 0;
		if (bytes) memcpy(tail, (const uint8_t *)s->data + s->offset[first + i], bytes);
		tail += bytes;
	}
}
