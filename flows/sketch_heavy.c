/* SPDX-License-Identifier: Apache-2.0
 * sketch_heavy.c: Space-Saving (Metwally, Agrawal, El Abbadi): as many counters as there is room for; a new key takes
 * over the smallest one with its count, which is then its error. A heap by count, and a table from key to place in the
 * heap. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "move/hash.h"
#include "sketch.h"

#define MAGIC "DPIF"
#define VERSION 1
#define HEADER 24 /* magic, version and three zeros, capacity and used in 4 bytes, total in 8 */
#define ENTRY 24
#define MOST ((uint32_t)1 << 20)

struct dpi_heavy {
	uint32_t capacity, used, mask;
	uint64_t total;
	struct dpi_heavy_entry *heap; /* the smallest count first */
	uint32_t *slot;		      /* of the table, for each place in the heap */
	uint32_t *table;	      /* place in the heap + 1; 0: free. At most half full, linear probing */
};

int dpi_heavy_new(uint32_t capacity, struct dpi_heavy **heavy)
{
	if (!capacity || capacity > MOST)
		return dpi_fail(DPI_ERR_ARGUMENT, "room for %u frequent keys: there are 1 to %u", capacity, MOST);
	struct dpi_heavy *h = calloc(1, sizeof *h);
	uint32_t slots = 4;
	while (slots < 2 * capacity) slots *= 2;
	if (h) {
		h->capacity = capacity, h->mask = slots - 1;
		h->heap = calloc(capacity, sizeof *h->heap);
		h->slot = calloc(capacity, sizeof *h->slot);
		h->table = calloc(slots, sizeof *h->table);
	}
	if (!h || !h->heap || !h->slot || !h->table) {
		dpi_heavy_free(h);
		return dpi_fail(DPI_ERR_MEMORY, "no memory for %u frequent keys", capacity);
	}
	*heavy = h;
	return DPI_SUCCESS;
}

void dpi_heavy_free(struct dpi_heavy *h)
{
	if (!h) return;
	free(h->heap), free(h->slot), free(h->table);
	free(h);
}

/* Where the key is, or would be. */
static uint32_t find(const struct dpi_heavy *h, uint64_t key)
{
	uint32_t s = (uint32_t)dpi_hash_mix(key) & h->mask;
	while (h->table[s] && h->heap[h->table[s] - 1].key != key) s = (s + 1) & h->mask;
	return s;
}

static void set(struct dpi_heavy *h, uint32_t place, struct dpi_heavy_entry e, uint32_t slot)
{
	h->heap[place] = e;
	h->slot[place] = slot;
	h->table[slot] = place + 1;
}

/* The entry at place has grown. */
static void down(struct dpi_heavy *h, uint32_t place)
{
	struct dpi_heavy_entry e = h->heap[place];
	uint32_t slot = h->slot[place];
	for (uint32_t child; (child = 2 * place + 1) < h->used; place = child) {
		if (child + 1 < h->used && h->heap[child + 1].count < h->heap[child].count) child++;
		if (h->heap[child].count >= e.count) break;
		set(h, place, h->heap[child], h->slot[child]);
	}
	set(h, place, e, slot);
}

static void up(struct dpi_heavy *h, uint32_t place)
{
	struct dpi_heavy_entry e = h->heap[place];
	uint32_t slot = h->slot[place];
	for (uint32_t parent; place && h->heap[parent = (place - 1) / 2].count > e.count; place = parent)
		set(h, place, h->heap[parent], h->slot[parent]);
	set(h, place, e, slot);
}

/* Take a slot out of the table: what comes after it moves up, so that no search ends early. */
static void vacate(struct dpi_heavy *h, uint32_t slot)
{
	h->table[slot] = 0;
	for (uint32_t s = (slot + 1) & h->mask; h->table[s]; s = (s + 1) & h->mask) {
		uint32_t place = h->table[s] - 1, home = (uint32_t)dpi_hash_mix(h->heap[place].key) & h->mask;
		if (((s - home) & h->mask) < ((s - slot) & h->mask)) continue;
		h->table[slot] = place + 1;
		h->slot[place] = slot;
		h->table[s] = 0;
		slot = s;
	}
}

static uint64_t plus(uint64_t a, uint64_t b) /* counts stay at the most there is */
{
	return a + b < a ? UINT64_MAX : a + b;
}

static struct dpi_heavy_entry add(struct dpi_heavy *h, uint64_t key, uint64_t weight, uint64_t error)
{
	uint32_t s = find(h, key);
	struct dpi_heavy_entry now;
	if (h->table[s]) {
		struct dpi_heavy_entry *e = &h->heap[h->table[s] - 1];
		e->count = plus(e->count, weight);
		e->error = plus(e->error, error);
		now = *e;
		down(h, h->table[s] - 1);
	} else if (h->used < h->capacity) {
		uint32_t place = h->used++;
		now = (struct dpi_heavy_entry){ key, weight, error, place };
		set(h, place, now, s);
		up(h, place);
	} else {
		uint64_t least = h->heap[0].count;
		vacate(h, h->slot[0]);
		now = (struct dpi_heavy_entry){ key, plus(least, weight), plus(least, error), h->heap[0].id };
		set(h, 0, now, find(h, key));
		down(h, 0);
	}
	return now;
}

struct dpi_heavy_entry dpi_heavy_add(struct dpi_heavy *h, uint64_t key, uint64_t weight)
{
	h->total = plus(h->total, weight);
	return add(h, key, weight, 0);
}

uint64_t dpi_heavy_total(const struct dpi_heavy *h)
{
	return h->total;
}

/* What a key may have had where it is not known: the smallest count, if there was no room for it. */
static uint64_t unknown(const struct dpi_heavy *h)
{
	return h->used == h->capacity ? h->heap[0].count : 0;
}

/* Both say of every key that one of them knows what it came to at most; the largest of these stay. */
int dpi_heavy_merge(struct dpi_heavy *to, const struct dpi_heavy *from)
{
	if (to->capacity != from->capacity)
		return dpi_fail(DPI_ERR_ARGUMENT, "%u and %u frequent keys do not merge", to->capacity, from->capacity);
	uint64_t mine = unknown(to), theirs = unknown(from);
	uint32_t before = to->used;
	/* known here alone: as if it had come there as often as it could */
	for (uint32_t i = 0; theirs && i < before; i++)
		if (!from->table[find(from, to->heap[i].key)]) {
			to->heap[i].count = plus(to->heap[i].count, theirs);
			to->heap[i].error = plus(to->heap[i].error, theirs);
		}
	for (uint32_t i = 0; i < from->used; i++) {
		struct dpi_heavy_entry e = from->heap[i];
		uint32_t s = find(to, e.key);
		if (!to->table[s]) continue;
		struct dpi_heavy_entry *t = &to->heap[to->table[s] - 1];
		t->count = plus(t->count, e.count), t->error = plus(t->error, e.error);
	}
	for (uint32_t i = before / 2 + 1; i-- > 0;)
		if (i < before) down(to, i);
	for (uint32_t i = 0; i < from->used; i++) {
		struct dpi_heavy_entry e = from->heap[i];
		uint32_t s = find(to, e.key);
		if (to->table[s]) continue;
		e.count = plus(e.count, mine), e.error = plus(e.error, mine);
		if (to->used < to->capacity) {
			uint32_t place = e.id = to->used++;
			set(to, place, e, s);
			up(to, place);
		} else if (e.count > to->heap[0].count) {
			vacate(to, to->slot[0]);
			e.id = to->heap[0].id;
			set(to, 0, e, find(to, e.key));
			down(to, 0);
		}
	}
	to->total = plus(to->total, from->total);
	return DPI_SUCCESS;
}

static int descending(const void *a, const void *b)
{
	const struct dpi_heavy_entry *x = a, *y = b;
	if (x->count != y->count) return x->count < y->count ? 1 : -1;
	return (x->key > y->key) - (x->key < y->key);
}

/* The least of the best stands first among them until they are sorted. */
size_t dpi_heavy_top(const struct dpi_heavy *h, struct dpi_heavy_entry *top, size_t max)
{
	size_t n = 0;
	for (uint32_t i = 0; i < h->used && max; i++) {
		size_t at;
		if (n < max) {
			for (at = n++; at && descending(&h->heap[i], top + (at - 1) / 2) > 0; at = (at - 1) / 2)
				top[at] = top[(at - 1) / 2];
		} else {
			if (descending(&h->heap[i], top) >= 0) continue;
			at = 0;
			for (size_t child; (child = 2 * at + 1) < n; at = child) {
				if (child + 1 < n && descending(top + child + 1, top + child) > 0) child++;
				if (descending(top + child, &h->heap[i]) <= 0) break;
				top[at] = top[child];
			}
		}
		top[at] = h->heap[i];
	}
	qsort(top, n, sizeof *top, descending);
	return n;
}

static void put(uint8_t *p, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++) p[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t take(const uint8_t *p, int bytes)
{
	uint64_t v = 0;
	for (int i = 0; i < bytes; i++) v |= (uint64_t)p[i] << 8 * i;
	return v;
}

size_t dpi_heavy_size(const struct dpi_heavy *h)
{
	return HEADER + (size_t)h->used * ENTRY;
}

void dpi_heavy_save(const struct dpi_heavy *h, void *to)
{
	uint8_t *p = to;
	memcpy(p, MAGIC, 4);
	put(p + 4, VERSION, 4), put(p + 8, h->capacity, 4), put(p + 12, h->used, 4), put(p + 16, h->total, 8);
	p += HEADER;
	for (uint32_t i = 0; i < h->used; i++, p += ENTRY)
		put(p, h->heap[i].key, 8), put(p + 8, h->heap[i].count, 8), put(p + 16, h->heap[i].error, 8);
}

int dpi_heavy_load(const void *from, size_t size, uint32_t limit, struct dpi_heavy **heavy)
{
	const uint8_t *p = from;
	if (size < HEADER || memcmp(p, MAGIC, 4) || take(p + 4, 4) != VERSION)
		return dpi_fail(DPI_ERR_CORRUPT, "%zu bytes are no frequent keys of version %d", size, VERSION);
	uint32_t capacity = (uint32_t)take(p + 8, 4), used = (uint32_t)take(p + 12, 4);
	if (!capacity || capacity > limit || capacity > MOST || used > capacity || size != HEADER + (size_t)used * ENTRY)
		return dpi_fail(DPI_ERR_CORRUPT, "frequent keys: %u of %u in %zu bytes, at most %u are taken", used,
				capacity, size, limit);
	struct dpi_heavy *h;
	int error = dpi_heavy_new(capacity, &h);
	if (error) return error;
	h->total = take(p + 16, 8);
	p += HEADER;
	for (uint32_t i = 0; i < used; i++, p += ENTRY) {
		struct dpi_heavy_entry e = { take(p, 8), take(p + 8, 8), take(p + 16, 8), i };
		if (e.error > e.count || !e.count || h->table[find(h, e.key)]) {
			dpi_heavy_free(h);
			return dpi_fail(DPI_ERR_CORRUPT, "frequent keys: entry %u is twice there, or has no count", i);
		}
		add(h, e.key, e.count, e.error);
	}
	*heavy = h;
	return DPI_SUCCESS;
}
