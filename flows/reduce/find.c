/* SPDX-License-Identifier: Apache-2.0
 * find.c: the index of a table: open addressing with linear probing over slots of 8 bytes. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "table.h"

#define BIG ((size_t)256 << 10) /* bytes of slots and entries from which on it pays to ask for them ahead */
#define AHEAD 1024	   /* bytes: rows are asked for so far ahead of their keys */

static inline uint8_t *entry_at(const struct dpi_table *t, uint64_t slot)
{
	return t->arena + (size_t)(uint32_t)slot * 8;
}

/* Twice the slots, if the budget has room for them. */
static bool grow(struct dpi_table *t)
{
	uint64_t slots = 2 * (t->mask + 1);
	if (t->used + slots * 8 > t->limit) return false;
	uint64_t *slot = calloc(slots, sizeof *slot);
	if (!slot) return false;
	for (uint64_t i = 0; i <= t->mask; i++) {
		uint64_t s = t->slot[i], at = s >> 32 & (slots - 1);
		if (!s) continue;
		while (slot[at]) at = (at + 1) & (slots - 1);
		slot[at] = s;
	}
	free(t->slot);
	t->slot = slot;
	t->mask = slots - 1;
	t->grow_at = slots / 2;
	return true;
}

/* A group for row i, whose key has none. NULL: there is no room. */
static uint8_t *make(struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t i)
{
	if (t->filled) return NULL;
	if (t->groups >= t->grow_at && !grow(t)) {
		if (t->groups >= t->mask + 1 - (t->mask + 1) / 8) return NULL;
		t->grow_at = t->groups + 64; /* tried again now and then: it is memory that was short, maybe */
	}
	size_t row = t->varies ? dpi_key_entry_size(t, f, first, i) : t->r->state->row_size, head = t->stride ? 0 : 8, size = head + dpi_words8(row);
	if (size > t->limit || t->used + size + (t->mask + 1) * 8 > t->limit) return NULL;
	uint8_t *entry = t->arena + t->used + head;
	uint64_t tag = (uint32_t)t->hash[i], at = tag & t->mask, bytes = row;
	if (head) memcpy(entry - 8, &bytes, 8);
	dpi_row_copy(entry, t->blank, t->r->state->row_size);
	if (t->kind == DPI_KEY_IMAGE) dpi_key_put(t, f, first, i, entry);
	else memcpy(entry, t->word + i, t->key_bytes);
	while (t->slot[at]) at = (at + 1) & t->mask;
	t->slot[at] = tag << 32 | (uint64_t)((t->used + head) / 8);
	t->used += size;
	t->groups++;
	t->created[t->created_count++] = (uint32_t)i;
	return entry;
}

#define INLINE static inline __attribute__((always_inline))

INLINE bool same(const struct dpi_table *t, const struct dpi_feed *f, size_t first, enum dpi_key_kind kind, const uint8_t *entry, size_t i)
{
	uint64_t eight;
	uint32_t four;
	if (kind == DPI_KEY_IMAGE) return dpi_key_same(t, f, first, entry, i);
	if (kind == DPI_KEY_INT64 || kind == DPI_KEY_8) return memcpy(&eight, entry, 8), eight == t->word[i];
	return memcpy(&four, entry, 4), four == (uint32_t)t->word[i];
}

INLINE uint8_t *look(const struct dpi_table *t, const struct dpi_feed *f, size_t first, enum dpi_key_kind kind, size_t i)
{
	uint64_t tag = (uint32_t)t->hash[i], mask = t->mask;
	for (uint64_t at = tag & mask;; at = (at + 1) & mask) {
		uint64_t s = t->slot[at];
		if (!s) return NULL;
		if (s >> 32 == tag && same(t, f, first, kind, entry_at(t, s), i)) return entry_at(t, s);
	}
}

/* The key of row i, taken and hashed. */
INLINE void take(struct dpi_table *t, enum dpi_key_kind kind, const uint8_t *p, size_t i)
{
	uint64_t word = 0;
	int32_t four;
	if (kind == DPI_KEY_INT64) memcpy(&word, p, 8);
	else if (kind == DPI_KEY_UINT32) memcpy(&word, p, 4);
	else if (kind == DPI_KEY_INT32) memcpy(&four, p, 4), word = (uint64_t)(int64_t)four;
	else return;
	__builtin_prefetch(p + AHEAD);
	t->word[i] = word;
	t->hash[i] = dpi_hash_word(t->seed, word);
}

/* Ask for the slots, then for the entries that they point to, most likely the right ones. */
INLINE void fetch_ahead(struct dpi_table *t, enum dpi_key_kind kind, const uint8_t *p, size_t stride, size_t n)
{
	const uint64_t *slot = t->slot;
	uint64_t mask = t->mask;
	for (size_t i = 0; i < n; i++, p += stride) {
		take(t, kind, p, i);
		__builtin_prefetch(slot + (t->hash[i] & mask));
	}
	for (size_t i = 0; i < n; i++) {
		uint64_t tag = (uint32_t)t->hash[i], at = tag & mask, s = slot[at];
		while (s && s >> 32 != tag) s = slot[at = (at + 1) & mask];
		t->entry[i] = s ? entry_at(t, s) : NULL;
		__builtin_prefetch(entry_at(t, s), 1);
		__builtin_prefetch(entry_at(t, s) + t->second, 1);
	}
}

static int no_room(struct dpi_table *t)
{
	if (!t->filled) t->stats.fulls++;
	if (t->full == DPI_TABLE_DRAINS && t->groups) return DPI_ERR_FULL;
	if (t->full == DPI_TABLE_SPILLS && t->groups) { /* so each pass over the file finishes a group at least */
		t->filled = true;
		return DPI_SUCCESS;
	}
	if (!t->groups)
		return dpi_fail(DPI_ERR_LIMIT, "a single key with its states does not fit the %zu bytes that the reduction may use: give it more",
				t->limit);
	return dpi_fail(DPI_ERR_LIMIT,
			"the %llu keys so far fill the %zu bytes that the reduction may use: give it more memory, or let it spill",
			(unsigned long long)t->groups, t->limit);
}

INLINE int find(struct dpi_table *t, const struct dpi_feed *f, size_t first, enum dpi_key_kind kind, size_t n, size_t *done)
{
	const struct dpi_strided *key = f->column + f->key[0]; /* looked at where it is one number */
	size_t stride = kind == DPI_KEY_IMAGE ? 0 : key->stride;
	const uint8_t *p = kind == DPI_KEY_IMAGE ? NULL : (const uint8_t *)key->data + first * stride;
	bool big = t->used + (t->mask + 1) * 8 > BIG;
	if (big) fetch_ahead(t, kind, p, stride, n);
	for (size_t i = 0; i < n; i++, p += stride) {
		uint8_t *e = big ? t->entry[i] : NULL;
		if (!big) take(t, kind, p, i);
		if (!e || !same(t, f, first, kind, e, i)) e = look(t, f, first, kind, i);
		if (__builtin_expect(!e, 0)) e = make(t, f, first, i);
		if (__builtin_expect(!e, 0)) {
			int error = no_room(t);
			*done = i;
			if (error) return error;
		}
		t->entry[i] = e;
	}
	*done = n;
	return DPI_SUCCESS;
}

int dpi_table_find(struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t n, size_t *done)
{
	t->created_count = 0;
	switch (t->kind) {
	case DPI_KEY_INT64: return find(t, f, first, DPI_KEY_INT64, n, done);
	case DPI_KEY_INT32: return find(t, f, first, DPI_KEY_INT32, n, done);
	case DPI_KEY_UINT32: return find(t, f, first, DPI_KEY_UINT32, n, done);
	case DPI_KEY_8: dpi_key_take(t, f, first, n); return find(t, f, first, DPI_KEY_8, n, done);
	default: dpi_key_take(t, f, first, n); return find(t, f, first, DPI_KEY_IMAGE, n, done);
	}
}
