/* SPDX-License-Identifier: Apache-2.0
 * retain_target.c: a target of a retained flow: what it leaves in the rings, where its program wants to go on, and whether it still has
 * the target.
 *
 * A ring's space is given back segment by segment: up to where one begins, once all rows before that are acknowledged and none of them is
 * lent. So the source, which sends segments again, never finds half of one; and the last one stays until the next has begun. */
#include <stdlib.h>
#include <string.h>

#include "detach.h"
#include "target.h"

const char *dpi_inlet_keeps(struct dpi_inlet *i, uint64_t rows)
{
	if (i->places == i->place_room) {
		uint32_t room = i->place_room ? 2 * i->place_room : 32;
		struct dpi_place *place = malloc(room * sizeof *place);
		if (!place) return "no memory for where its segments lie";
		for (uint32_t n = 0; n < i->places; n++) place[n] = i->place[(i->first_place + n) & (i->place_room - 1)];
		free(i->place);
		i->place = place;
		i->place_room = room;
		i->first_place = 0;
	}
	i->place[(i->first_place + i->places++) & (i->place_room - 1)] = (struct dpi_place){ i->run.at, rows };
	return NULL;
}

void dpi_inlet_frees(struct dpi_target *t, struct dpi_inlet *i)
{
	struct dpi_ring_in *r = i->ring;
	if (!i->place || !r) return;
	uint64_t end = r->reader.read, to = r->reader.head;
	if (r->lent) end = dpi_target_first_lent(t, r, end);
	for (; i->places; i->places--, i->first_place++) {
		const struct dpi_place *p = &i->place[i->first_place & (i->place_room - 1)];
		if (p->rows > i->acked || (int64_t)(p->at - end) > 0) break;
		to = p->at;
	}
	if (to != r->reader.head) dpi_run_give_back(r, &i->run, to);
}

/* ------------------------------------------------------------------------------------------------------- positions */

int dpi_target_positions(struct dpi_target *t, const DPI_Target_Attr *a)
{
	const struct dpi_definition *d = t->flow->definition;
	if ((a->rebind || a->positions) && !d->retain)
		return dpi_fail(DPI_ERR_USE, "attr->%s is set, and flow '%s' is direct: its sources keep nothing to go on with", a->rebind ? "rebind" : "positions", t->flow->name);
	if (!a->positions) return DPI_SUCCESS;
	if (!a->position || a->positions > DPI_SOURCES_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->positions is %zu and attr->position %s: give one for each source, of which there are at most %d", a->positions,
				a->position ? "given" : "NULL", DPI_SOURCES_MAX);
	for (size_t n = 0; n < a->positions; n++)
		if (a->position[n].source >= DPI_SOURCES_MAX)
			return dpi_fail(DPI_ERR_ARGUMENT, "attr->position[%zu].source is %u: no source has that number", n, a->position[n].source);
	if (!(t->position = malloc(a->positions * sizeof *t->position))) return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu positions", a->positions);
	memcpy(t->position, a->position, a->positions * sizeof *t->position);
	t->positions = a->positions;
	return DPI_SUCCESS;
}

bool dpi_target_position(const struct dpi_target *t, uint32_t source, uint64_t *rows)
{
	for (size_t n = 0; n < t->positions; n++)
		if (t->position[n].source == source) {
			*rows = t->position[n].rows;
			return true;
		}
	return false;
}

/* --------------------------------------------------------------------------------------------------------- fencing */

int dpi_target_fenced(struct dpi_target *t)
{
	int detached = dpi_target_detached(t);
	if (detached) return detached;
	uint64_t version = atomic_load_explicit(&t->flow->version, memory_order_acquire);
	if (!t->flow->definition->retain) return DPI_SUCCESS;
	struct dpi_flow_target where = { .epoch = t->epoch };
	if (t->fence_seen != version || t->fenced) where = dpi_flow_where(t->flow, t->index);
	t->fence_seen = version;
	t->fenced = where.epoch != t->epoch;
	if (!t->fenced) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_FENCED, "target %u of flow '%s' was bound anew, by node %d: this handle, of epoch %u, has it no more; close it", t->index, t->flow->name, where.node,
			t->epoch);
}
