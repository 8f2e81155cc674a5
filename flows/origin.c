/* SPDX-License-Identifier: Apache-2.0
 * origin.c: sources that resume, at a target of a retained flow.
 *
 * A source that resumes writes into a ring of its own, with a higher epoch in its segments. Rings of one source are read one after the
 * other, by their epochs: the older one until nothing is there any more, then the next from the row where that one ended; what it
 * has again is passed over. So each row is taken once if a source never goes on behind what its rings hold, which is found as a gap.
 *
 * Why no older ring is missed: what a source had flushed when it went was in this memory, and its ring on the home's list, before anybody
 * could resume it, so before the newer ring was made. Whoever names one ring names all that are there, and so finds the older one. What
 * becomes visible of that later was not flushed: it is pushed again, and not taken from there. */
#include "origin.h"

#include <stdlib.h>
#include <string.h>

struct dpi_origin *dpi_origin_find(const struct dpi_target *t, uint32_t source)
{
	return source < t->origins && t->origin[source].some ? &t->origin[source] : NULL;
}

struct dpi_origin *dpi_origin_make(struct dpi_target *t, uint32_t source)
{
	if (source >= t->origins) {
		uint32_t room = t->origins ? t->origins : 16;
		while (room <= source) room *= 2;
		struct dpi_origin *p = realloc(t->origin, room * sizeof *p);
		if (!p) return NULL;
		memset(p + t->origins, 0, (room - t->origins) * sizeof *p);
		t->origin = p;
		t->origins = room;
	}
	t->origin[source].some = true;
	return &t->origin[source];
}

void dpi_origins_free(struct dpi_target *t)
{
	free(t->origin);
	t->origin = NULL;
	t->origins = 0;
}

/* --------------------------------------------------------------------------------------------- rings of one source */

/* What is no segment stays for those who take it. */
static void name(struct dpi_target *t, struct dpi_inlet *i)
{
	struct dpi_flow_segment h;
	const uint8_t *data;
	uint64_t size;
	bool first;
	enum dpi_ring_found found = dpi_run_next(t->ctx, t->home, &i->ring, &i->run, &data, &size, &first);
	if (found == DPI_RING_EMPTY) return;
	i->peeked = true;
	if (found != DPI_RING_FOUND) return;
	i->ring->reader.read -= size; /* unread */
	if (!first || size < sizeof h) return;
	memcpy(&h, data, sizeof h);
	/* A ring that was meant for a former binding of this target: a process that is started anew may have the same node and queue. It is
	 * nobody's: its source hears of the new binding, and comes again. */
	if (h.coded.epoch != t->epoch) return;
	i->named = true;
	i->source = h.base.reserved;
	i->epoch = h.base.rows;
	t->resumes |= i->epoch != 0;
}

bool dpi_inlets_name(struct dpi_target *t)
{
	bool some = false;
	for (size_t n = 0; n < t->inlets; n++) {
		struct dpi_inlet *i = t->inlet[n];
		if (i->peeked || i->over) continue;
		name(t, i);
		some |= i->named;
	}
	return some;
}

bool dpi_inlet_later(const struct dpi_target *t, const struct dpi_inlet *i)
{
	if (!i->named || i->known || !i->epoch) return false;
	for (size_t n = 0; n < t->inlets; n++) {
		const struct dpi_inlet *other = t->inlet[n];
		if (other->named && !other->over && other->source == i->source && other->epoch < i->epoch) return true;
	}
	return false;
}

bool dpi_inlet_superseded(const struct dpi_target *t, const struct dpi_inlet *i)
{
	if (!t->resumes || !i->named) return false;
	const struct dpi_origin *o = dpi_origin_find(t, i->source);
	if (o && o->epoch > i->epoch) return true;
	for (size_t n = 0; n < t->inlets; n++) {
		const struct dpi_inlet *other = t->inlet[n];
		if (other->named && other->source == i->source && other->epoch > i->epoch) return true;
	}
	return false;
}

/* ------------------------------------------------------------------------------------------------------------ marks */

/* The ring of a source that is read now: of several the oldest. NULL: none. */
static const struct dpi_inlet *read_now(const struct dpi_target *t, uint32_t source)
{
	const struct dpi_inlet *oldest = NULL;
	for (size_t n = 0; n < t->inlets; n++) {
		const struct dpi_inlet *i = t->inlet[n];
		if (i->named && !i->over && i->source == source && (!oldest || i->epoch < oldest->epoch)) oldest = i;
	}
	return oldest;
}

/* The last mark in what was read of a source. A ring of which nothing was taken yet knows of none: what was read before it counts. */
static bool last_mark(const struct dpi_target *t, uint32_t source, uint64_t *mark)
{
	const struct dpi_origin *o = dpi_origin_find(t, source);
	const struct dpi_inlet *i = read_now(t, source);
	if (i && i->known) {
		*mark = i->mark;
		return i->marked;
	}
	if (o) *mark = o->mark;
	return o && o->marked;
}

static bool any_ring(const struct dpi_target *t, uint32_t source)
{
	for (size_t n = 0; n < t->inlets; n++)
		if (t->inlet[n]->named && t->inlet[n]->source == source) return true;
	return false;
}

/* Of a source that is not over. */
static bool passed(const struct dpi_target *t, uint32_t source, bool *any, uint64_t *mark)
{
	const struct dpi_origin *o = dpi_origin_find(t, source);
	uint64_t its;
	if ((!o || o->ended) && !read_now(t, source)) return o || any_ring(t, source); /* it has not sent anything; or everything */
	if (!last_mark(t, source, &its)) return false;
	if (!*any || its < *mark) *mark = its;
	*any = true;
	return true;
}

bool dpi_origins_marked(const struct dpi_target *t, uint64_t *mark)
{
	uint32_t opened = atomic_load_explicit(&t->flow->opened, memory_order_acquire), known = opened > t->origins ? opened : t->origins;
	bool any = false;
	for (size_t n = 0; n < t->inlets; n++) { /* also those whose source is over, while there is something to take */
		const struct dpi_inlet *i = t->inlet[n];
		uint64_t its;
		if (i->over) continue;
		if (!i->named || !last_mark(t, i->source, &its)) return false;
		if (!any || its < *mark) *mark = its;
		any = true;
	}
	for (uint32_t s = 0; s < known; s++) {
		int state = dpi_flow_whose(t->flow, s).state;
		bool unheard = s >= opened && dpi_origin_find(t, s); /* it has sent something, and the news that it was opened is under way */
		if ((state == DPI_SOURCE_OPEN || state == DPI_SOURCE_LOST || unheard) && !passed(t, s, &any, mark)) return false;
	}
	return any;
}
