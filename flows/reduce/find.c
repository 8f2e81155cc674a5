/* SPDX-License-Identifier: Apache-2.0
 * find.c: the index of a table: open addressing with linear probing over slots of 8 bytes. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "table.h"

#define BIG ((size_t)256 << 10) /* bytes of slots and entries from which on it pays to ask for them ahead */
#define AHEAD 1024	   /* bytes: rows are asked for so far ahead of their keys */

static inline uint8_t *entry_at(const struct dpi_table *t, uint64_t slot)
{
	return t->arena + (size_t)(uint32_t)slot * 8;
}

#define INLINE static inline __attribute__((always_inline))
#define AGAIN 3u /* the first slots stand behind the last once more, so that four can be read anywhere */
#define PAGES ((size_t)2 << 20) /* bytes of slots from which on large pages pay: their places are at random */

uint64_t *dpi_slots_new(uint64_t slots)
{
	slots += AGAIN;
	if (slots * 8 < PAGES) return calloc(slots, 8);
	void *m = mmap(NULL, slots * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED) return NULL;
	madvise(m, slots * 8, MADV_HUGEPAGE);
	return m;
}

void dpi_slots_clear(uint64_t *slot, uint64_t slots)
{
	memset(slot, 0, (slots + AGAIN) * sizeof *slot);
}

void dpi_slots_free(uint64_t *slot, uint64_t slots)
{
	slots += AGAIN;
	if (slot && slots * 8 >= PAGES) munmap(slot, slots * 8);
	else free(slot);
}

/* Twice the slots, if the budget has room for them. */
static bool grow(struct dpi_table *t)
{
	uint64_t slots = 2 * (t->mask + 1);
	if (t->used + t->values + t->reserved + slots * 8 > t->limit) return false;
	uint64_t *slot = dpi_slots_new(slots);
	if (!slot) return false;
	for (uint64_t i = 0; i <= t->mask; i++) {
		uint64_t s = t->slot[i], at = s >> 32 & (slots - 1);
		if (!s) continue;
		while (slot[at]) at = (at + 1) & (slots - 1);
		slot[at] = s;
	}
	memcpy(slot + slots, slot, AGAIN * sizeof *slot);
	dpi_slots_free(t->slot, t->mask + 1);
	t->slot = slot;
	t->mask = slots - 1;
	t->grow_at = slots / 2;
	return true;
}

int dpi_slots_cut(struct dpi_table *t, uint32_t place)
{
	uint64_t slots = t->mask + 1, *slot = dpi_slots_new(slots);
	if (!slot) return dpi_fail(DPI_ERR_MEMORY, "no memory for an index of %llu keys", (unsigned long long)slots);
	for (uint64_t i = 0; i < slots; i++) {
		uint64_t s = t->slot[i], at = s >> 32 & t->mask;
		if ((uint32_t)s >= place || !s) continue;
		while (slot[at]) at = (at + 1) & t->mask;
		slot[at] = s;
	}
	memcpy(slot + slots, slot, AGAIN * sizeof *slot);
	dpi_slots_free(t->slot, slots);
	t->slot = slot;
	return DPI_SUCCESS;
}

/* A group for row i, whose key has none. NULL: there is no room. */
static uint8_t *make(struct dpi_table *t, const struct dpi_feed *f, size_t first, size_t i)
{
	if (t->filled) return NULL;
	if (t->groups >= t->grow_at && !grow(t)) {
		if (t->groups >= t->mask + 1 - (t->mask + 1) / 8) return NULL;
		t->grow_at = t->groups + 64; /* tried again now and then: it is memory that was short, maybe */
	}
	size_t row = t->varies ? dpi_key_entry_size(t, f, first, i) : t->r->state->row_size, head = t->stride ? 0 : 8,
	       size = head + dpi_words8(row);
	if (size > t->limit || dpi_table_bytes(t) + t->reserved + size > t->limit) return NULL;
	uint8_t *entry = t->arena + t->used + head;
	uint64_t tag = (uint32_t)t->hash[i], at = tag & t->mask, bytes = row;
	if (head) memcpy(entry - 8, &bytes, 8);
	dpi_row_copy(entry, t->blank, t->r->state->row_size);
	if (t->kind >= DPI_KEY_FIXED) dpi_key_put(t, f, first, i, entry);
	else memcpy(entry, t->word + i, t->key_bytes);
	while (t->slot[at]) at = (at + 1) & t->mask;
	t->slot[at] = tag << 32 | (uint64_t)((t->used + head) / 8);
	if (at < AGAIN) t->slot[t->mask + 1 + at] = t->slot[at];
	t->used += size;
	t->groups++;
	t->created[t->created_count++] = (uint32_t)i;
	return entry;
}


INLINE bool is_word(enum dpi_key_kind kind)
{
	return kind < DPI_KEY_FIXED;
}

INLINE uint64_t load(const uint8_t *p)
{
	uint64_t w;
	return memcpy(&w, p, sizeof w), w;
}

INLINE uint64_t word_at(enum dpi_key_kind kind, const uint8_t *p)
{
	uint32_t four;
	return kind == DPI_KEY_8 ? load(p) : (memcpy(&four, p, sizeof four), four);
}

/* Is entry that of row i, whose key is word where it is one? */
INLINE bool same(const struct dpi_table *t, const struct dpi_feed *f, size_t first, enum dpi_key_kind kind,
		 const uint8_t *entry, size_t i, uint64_t word)
{
	if (is_word(kind)) return word_at(kind, entry) == word;
	const uint64_t *image = t->images + i * (t->key_words + 1);
	uint64_t differ = (load(entry + t->null_at) ^ image[t->key_words]) & t->null_mask;
	uint32_t last = t->key_words - 1;
	if (t->key_words) {
		for (uint32_t w = 0; w < last; w++) differ |= load(entry + 8 * w) ^ image[w];
		differ |= (load(entry + 8 * last) ^ image[last]) & t->last_mask;
	}
	return !differ && (kind == DPI_KEY_FIXED || dpi_key_same_bytes(t, f, first, entry, i));
}

/* Of four slots, without a jump, the first that has the tag; else any. */
INLINE uint64_t first_of_four(const uint64_t *slot, uint64_t tag)
{
	uint64_t s = slot[3];
	s = slot[2] >> 32 == tag ? slot[2] : s;
	s = slot[1] >> 32 == tag ? slot[1] : s;
	return slot[0] >> 32 == tag ? slot[0] : s;
}

/* Rows from i on whose groups are among the first four slots, or sparse, where there is hardly a second, in the first; where
 * that ends. */
INLINE size_t find_near(const struct dpi_table *t, const struct dpi_feed *f, size_t first, enum dpi_key_kind kind,
			bool sparse, const struct dpi_strided *key, size_t i, size_t n)
{
	const uint64_t *slot = t->slot, *hash = t->hash;
	uint64_t mask = t->mask, seed = t->seed, word = 0, h;
	uint8_t *arena = t->arena, **entry = t->entry;
	size_t stride = is_word(kind) ? key->stride : 0;
	const uint8_t *p = is_word(kind) ? (const uint8_t *)key->data + (first + i) * stride : arena;
	for (; i < n; i++, p += stride) {
		if (is_word(kind)) {
			word = word_at(kind, p);
			h = dpi_hash_word(seed, word);
			__builtin_prefetch((const void *)((uintptr_t)p + AHEAD));
		} else {
			h = hash[i];
		}
		uint64_t s = sparse ? slot[h & mask] : first_of_four(slot + (h & mask), (uint32_t)h);
		uint8_t *e = arena + (size_t)(uint32_t)s * 8;
		if (e == arena || !same(t, f, first, kind, e, i, word)) break; /* at place 0 is no entry */
		entry[i] = e;
	}
	return i;
}

/* The same where slots and entries are not in the cache: they are asked for, a pass each. */
INLINE void fetch_slots(struct dpi_table *t, enum dpi_key_kind kind, const struct dpi_strided *key, size_t first, size_t n)
{
	const uint64_t *slot = t->slot;
	uint64_t mask = t->mask, seed = t->seed, *hash = t->hash, *word = t->word;
	size_t stride = is_word(kind) ? key->stride : 0;
	const uint8_t *p = is_word(kind) ? (const uint8_t *)key->data + first * stride : t->arena;
	for (size_t i = 0; i < n; i++, p += stride) {
		if (is_word(kind)) {
			word[i] = word_at(kind, p);
			hash[i] = dpi_hash_word(seed, word[i]);
			__builtin_prefetch((const void *)((uintptr_t)p + AHEAD));
		}
		__builtin_prefetch(slot + (hash[i] & mask));
	}
}

static void fetch_entries(struct dpi_table *t, size_t n)
{
	const uint64_t *slot = t->slot, *hash = t->hash;
	uint64_t mask = t->mask;
	uint8_t *arena = t->arena, **entry = t->entry;
	size_t second = t->second;
	for (size_t i = 0; i < n; i++) {
		uint8_t *e = arena + (size_t)(uint32_t)first_of_four(slot + (hash[i] & mask), (uint32_t)hash[i]) * 8;
		entry[i] = e;
		__builtin_prefetch(e, 1);
		__builtin_prefetch(e + second, 1);
	}
}

INLINE size_t find_fetched(const struct dpi_table *t, const struct dpi_feed *f, size_t first, enum dpi_key_kind kind,
			   size_t i, size_t n)
{
	const uint8_t *arena = t->arena;
	while (i < n && t->entry[i] != arena && same(t, f, first, kind, t->entry[i], i, t->word[i])) i++;
	return i;
}

/* Anywhere; word and hash are there. */
INLINE uint8_t *find_far(const struct dpi_table *t, const struct dpi_feed *f, size_t first, enum dpi_key_kind kind, size_t i)
{
	uint64_t tag = (uint32_t)t->hash[i], mask = t->mask;
	for (uint64_t at = tag & mask;; at = (at + 1) & mask) {
		uint64_t s = t->slot[at];
		if (!s) return NULL;
		if (s >> 32 == tag && same(t, f, first, kind, entry_at(t, s), i, t->word[i])) return entry_at(t, s);
	}
}

int dpi_table_no_room(struct dpi_table *t)
{
	if (!t->filled) t->stats.fulls++;
	if (t->full == DPI_TABLE_DRAINS && t->groups) return DPI_ERR_FULL;
	if (t->full == DPI_TABLE_SPILLS && t->groups) { /* so each pass over the file finishes a group at least */
		t->filled = true;
		return DPI_SUCCESS;
	}
	if (!t->groups)
		return dpi_fail(
			DPI_ERR_LIMIT,
			"a single key with its states does not fit the %zu bytes that the reduction may use: give it more",
			t->limit);
	return dpi_fail(
		DPI_ERR_LIMIT,
		"the %llu keys so far fill the %zu bytes that the reduction may use: give it more memory, or let it spill",
		(unsigned long long)t->groups, t->limit);
}

INLINE int find(struct dpi_table *t, const struct dpi_feed *f, size_t first, enum dpi_key_kind kind, size_t n, size_t *done)
{
	const struct dpi_strided *key = f->column + f->key[0]; /* looked at where it is one number */
	bool big = t->used + (t->mask + 1) * 8 > BIG;
	if (big) fetch_slots(t, kind, key, first, n), fetch_entries(t, n);
	for (size_t i = 0;; i++) {
		if (big) i = find_fetched(t, f, first, kind, i, n);
		else if (t->groups * 32 < t->mask) i = find_near(t, f, first, kind, true, key, i, n);
		else i = find_near(t, f, first, kind, false, key, i, n);
		if (i >= n) break;
		if (!big && is_word(kind)) {
			t->word[i] = word_at(kind, (const uint8_t *)key->data + (first + i) * key->stride);
			t->hash[i] = dpi_hash_word(t->seed, t->word[i]);
		}
		uint8_t *e = find_far(t, f, first, kind, i);
		if (!e) e = make(t, f, first, i);
		if (!e) {
			int error = dpi_table_no_room(t);
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
	if (!is_word(t->kind)) dpi_key_take(t, f, first, n);
	switch (t->kind) {
	case DPI_KEY_8: return find(t, f, first, DPI_KEY_8, n, done);
	case DPI_KEY_4: return find(t, f, first, DPI_KEY_4, n, done);
	case DPI_KEY_FIXED: return find(t, f, first, DPI_KEY_FIXED, n, done);
	default: return find(t, f, first, DPI_KEY_VARIES, n, done);
	}
}
