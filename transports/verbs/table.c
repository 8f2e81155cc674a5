/* SPDX-License-Identifier: Apache-2.0
 * table.c: things that are known by an id, an index and a serial: one that is gone is never taken for another. */
#include <stdlib.h>

#include "verbs.h"

#define NONE UINT32_MAX

uint64_t dpi_verbs_table_add(struct verbs_table *t, void *item)
{
	uint32_t i;
	if (!t->room) t->free = NONE;
	if (t->free != NONE) {
		i = t->free;
		t->free = t->entry[i].next_free;
	} else {
		if (t->count == t->room) {
			uint32_t room = t->room ? t->room * 2 : 32;
			struct verbs_entry *more = room < t->room ? NULL : realloc(t->entry, room * sizeof *more);
			if (!more) return 0;
			t->entry = more;
			t->room = room;
		}
		i = t->count++;
		t->entry[i].serial = 0;
	}
	struct verbs_entry *e = &t->entry[i];
	e->item = item;
	e->serial++;
	return (uint64_t)e->serial << 32 | i;
}

void *dpi_verbs_table_find(const struct verbs_table *t, uint64_t id)
{
	uint32_t i = (uint32_t)id;
	return i < t->count && t->entry[i].serial == id >> 32 ? t->entry[i].item : NULL;
}

void dpi_verbs_table_remove(struct verbs_table *t, uint64_t id)
{
	uint32_t i = (uint32_t)id;
	if (i >= t->count || t->entry[i].serial != id >> 32 || !t->entry[i].item) return;
	t->entry[i].item = NULL;
	if (t->entry[i].serial == UINT32_MAX) return; /* stays unused for ever */
	t->entry[i].next_free = t->free;
	t->free = i;
}
