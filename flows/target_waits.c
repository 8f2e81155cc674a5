/* SPDX-License-Identifier: Apache-2.0
 * target_waits.c: whom a target has waited for. Kept when a wait ends, which is the slow way. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "target.h"

struct entry {
	uint32_t source;
	uint64_t count, us;
};

struct dpi_target_waits {
	pthread_mutex_t lock;
	struct entry *entry; /* by source */
	size_t count, room;
};

int dpi_target_waits_new(struct dpi_target *t)
{
	t->waits = calloc(1, sizeof *t->waits);
	if (!t->waits) return dpi_fail(DPI_ERR_MEMORY, "no memory for a target");
	pthread_mutex_init(&t->waits->lock, NULL);
	return DPI_SUCCESS;
}

void dpi_target_waits_free(struct dpi_target_waits *w)
{
	if (!w) return;
	pthread_mutex_destroy(&w->lock);
	free(w->entry);
	free(w);
}

/* The first entry of this source or a later one. */
static size_t find(const struct dpi_target_waits *w, uint32_t source)
{
	size_t low = 0, high = w->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (w->entry[middle].source < source) low = middle + 1;
		else high = middle;
	}
	return low;
}

/* NULL: no memory. */
static struct entry *entry_of(struct dpi_target_waits *w, uint32_t source)
{
	size_t at = find(w, source);
	if (at < w->count && w->entry[at].source == source) return &w->entry[at];
	if (w->count == w->room) {
		size_t room = 2 * w->room + 4;
		struct entry *p = realloc(w->entry, room * sizeof *p);
		if (!p) return NULL;
		w->entry = p;
		w->room = room;
	}
	memmove(&w->entry[at + 1], &w->entry[at], (w->count++ - at) * sizeof *w->entry);
	w->entry[at] = (struct entry){ .source = source };
	return &w->entry[at];
}

void dpi_target_waited(struct dpi_target *t, uint32_t source, int64_t us)
{
	pthread_mutex_lock(&t->waits->lock);
	struct entry *e = entry_of(t->waits, source);
	if (e) e->count++, e->us += (uint64_t)us;
	pthread_mutex_unlock(&t->waits->lock);
}

bool dpi_target_wait_at(struct dpi_target *t, size_t i, uint32_t *source, uint64_t *count, uint64_t *us)
{
	pthread_mutex_lock(&t->waits->lock);
	bool there = i < t->waits->count;
	if (there) {
		const struct entry *e = &t->waits->entry[i];
		*source = e->source, *count = e->count, *us = e->us;
	}
	pthread_mutex_unlock(&t->waits->lock);
	return there;
}
