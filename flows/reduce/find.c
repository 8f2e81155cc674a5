/* SPDX-License-Identifier: Apache-2.0
 * find.c: the index of a table: open addressing with linear probing over slots of 8 bytes. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "table.h"

#define BIG ((size_t)256 << 10) /* bytes of slots and entries from which on it pays to ask for them ahead */

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
	size_t row = dpi_key_entry_size(t, f, first, i), head = t->stride ? 0 : 8, size = head + dpi_words8(row);
	if (size > t->limit || t->used + size + (t->mask + 1) * 8 > t->limit) return NULL;
	uint8_t *entry = t->arena + t->used + head;
	uint64_t tag = (uint32_t)t->hash[i], at = tag & t->mask, bytes = row;
	if (head) memcpy(entry - 8, &bytes, 8);
	memcpy(entry, t->blank, t->r->state->row_size);
	dpi_key_put(t, f, first, i, entry);
	while (t->slot[at]) at = (at + 1) & t->mask;
	t->slot[at] = tag << 32 | (uint64_t)((t->used + head) / 8);
	t->used += size;
	t->groups++;
	t->created[t->created_count++] = (uint32_t)i;
	return entry;
}

static inline __attribute__((always_inline)) bool same(const struct dpi_table *t, const struct dpi_feed *f, size_t first,
						       enum dpi_key_kind kind, const uint8_t *entry, size_t i)
{
	uint64_t eight;
	uint32_t four;
	if (kind == DPI_KEY_8) return memcpy(&eight, entry, 8), eight == t->word[i];
	if (kind == DPI_KEY_4) return memcpy(&four, entry, 4), four == (uint32_t)t->word[i];
	return dpi_key_same(t, f, first, entry, i);
}

static inline __attribute__((always_inline)) uint8_t *look(const struct dpi_table *t, const struct dpi_feed *f, size_t first,
							   enum dpi_key_kind kind, size_t i)
{
	uint64_t tag = (uint32_t)t->hash[i], mask = t->mask;
	for (uint64_t at = tag & mask;; at = (at + 1) & mask) {
		uint64_t s = t->slot[at];
		if (!s) return NULL;
		if (s >> 32 == tag && same(t, f, first, kind, entry_at(t, s), i)) return entry_at(t, s);
	}
}

/* Ask for the slots, then for the entries that they point to, most likely the right ones. */
static void fetch_ahead(struct dpi_table *t, size_t n)
{
	const uint64_t *slot = t->slot;
	uint64_t mask = t->mask;
	for (size_t i = 0; i < n; i++) __builtin_prefetch(slot + (t->hash[i] & mask));
	for (size_t i = 0; i < n; i++) {
		uint64_t tag = (uint32_t)t->hash[i], at = tag & mask, s = slot[at];
		while (s && s >> 32 != tag) s = slot[at = (at + 1) & mask];
		__builtin_prefetch(entry_at(t, s), 1);
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

static inline __attribute__((always_inline)) int find(struct dpi_table *t, const struct dpi_feed *f, size_t first,
						      enum dpi_key_kind kind, size_t n, size_t *done)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t *e = look(t, f, first, kind, i);
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
	if (t->used + (t->mask + 1) * 8 > BIG) fetch_ahead(t, n);
	switch (t->kind) {
	case DPI_KEY_8: return find(t, f, first, DPI_KEY_8, n, done);
	case DPI_KEY_4: return find(t, f, first, DPI_KEY_4, n, done);
	default: return find(t, f, first, DPI_KEY_IMAGE, n, done);
	}
}
