/* SPDX-License-Identifier: Apache-2.0
 * sketch_topk.c: the k largest, in a heap whose least is first, behind the header in one piece of memory. */
#include <string.h>

#include "sketch.h"

/* An entry, with its payload behind it, padded to 8 bytes. */
struct entry {
	int64_t order;
	uint64_t sequence;
};

static size_t stride(const struct dpi_topk *t)
{
	return sizeof(struct entry) + ((size_t)t->payload + 7) / 8 * 8;
}

static uint8_t *at(const struct dpi_topk *t, uint32_t i)
{
	return (uint8_t *)(uintptr_t)(t + 1) + i * stride(t);
}

size_t dpi_topk_size(uint32_t k, uint32_t payload)
{
	uint64_t each = sizeof(struct entry) + ((uint64_t)payload + 7) / 8 * 8, most = (uint64_t)1 << 30;
	return each > most || k > most / each ? 0 : sizeof(struct dpi_topk) + (size_t)(k * each);
}

void dpi_topk_init(struct dpi_topk *t, uint32_t k, uint32_t payload)
{
	*t = (struct dpi_topk){ .k = k, .payload = payload };
}

bool dpi_topk_check(const struct dpi_topk *t, size_t size, uint32_t k, uint32_t payload)
{
	struct dpi_topk copy;
	if (size < sizeof copy || !dpi_topk_size(k, payload) || size < dpi_topk_size(k, payload)) return false;
	memcpy(&copy, t, sizeof copy);
	return copy.k == k && copy.payload == payload && copy.used <= k && !copy.reserved;
}

/* a comes before b in the result. */
static bool above(struct entry a, struct entry b)
{
	return a.order != b.order ? a.order > b.order : a.sequence < b.sequence;
}

static struct entry head(const uint8_t *p)
{
	struct entry e;
	memcpy(&e, p, sizeof e);
	return e;
}

/* Let what is at e sink from place i of a heap of n; the place it comes to rest is returned. */
static uint32_t sink(struct dpi_topk *t, uint32_t i, uint32_t n, struct entry e)
{
	for (uint32_t child; (uint64_t)2 * i + 1 < n; i = child) {
		child = 2 * i + 1;
		if (child + 1 < n && above(head(at(t, child)), head(at(t, child + 1)))) child++;
		if (!above(e, head(at(t, child)))) break;
		memcpy(at(t, i), at(t, child), stride(t));
	}
	return i;
}

static void put(struct dpi_topk *t, uint32_t i, struct entry e, const void *payload)
{
	memcpy(at(t, i), &e, sizeof e);
	if (t->payload) memcpy(at(t, i) + sizeof e, payload, t->payload);
}

void dpi_topk_add(struct dpi_topk *t, int64_t order, const void *payload)
{
	struct entry e = { order, t->sequence++ };
	uint32_t i;
	if (t->used < t->k) {
		for (i = t->used++; i && above(head(at(t, (i - 1) / 2)), e); i = (i - 1) / 2)
			memcpy(at(t, i), at(t, (i - 1) / 2), stride(t));
	} else {
		if (!t->k || !above(e, head(at(t, 0)))) return;
		i = sink(t, 0, t->used, e);
	}
	put(t, i, e, payload);
}

void dpi_topk_merge(struct dpi_topk *to, const struct dpi_topk *from)
{
	uint64_t base = to->sequence;
	for (uint32_t i = 0; i < from->used; i++) { /* in the order they came, whatever place they have in the heap */
		struct entry e = head(at(from, i));
		to->sequence = base + e.sequence;
		dpi_topk_add(to, e.order, at(from, i) + sizeof e);
	}
	to->sequence = base + from->sequence;
}

/* The least goes to the end, again and again. Swapped byte by byte, so that no memory is needed. */
void dpi_topk_sort(struct dpi_topk *t)
{
	for (uint32_t n = t->used; n > 1; n--) {
		uint8_t *first = at(t, 0), *last = at(t, n - 1);
		for (size_t b = 0; b < stride(t); b++) {
			uint8_t x = first[b];
			first[b] = last[b], last[b] = x;
		}
		for (uint32_t i = 0, child; (child = 2 * i + 1) < n - 1; i = child) {
			if (child + 1 < n - 1 && above(head(at(t, child)), head(at(t, child + 1)))) child++;
			if (!above(head(at(t, i)), head(at(t, child)))) break;
			uint8_t *a = at(t, i), *b = at(t, child);
			for (size_t k = 0; k < stride(t); k++) {
				uint8_t x = a[k];
				a[k] = b[k], b[k] = x;
			}
		}
	}
}

int64_t dpi_topk_get(const struct dpi_topk *t, uint32_t i, const void **payload)
{
	if (payload) *payload = at(t, i) + sizeof(struct entry);
	return head(at(t, i)).order;
}
