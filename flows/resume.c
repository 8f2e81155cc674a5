/* SPDX-License-Identifier: Apache-2.0
 * resume.c: sources with ids: where one goes on that was lost, and how one finds out that another has taken its place. */
#include "resume.h"

#include <string.h>

/* Whose turn it is by round robin is counted where rows are pushed, and rows where they travel. */
static int check_turn(const struct dpi_definition *d, const uint64_t *rows)
{
	if (d->dist != DPI_DIST_ROUND_ROBIN || !d->source_stages) return DPI_SUCCESS;
	for (uint32_t t = 0; t < d->targets; t++)
		if (rows[t])
			return dpi_fail(DPI_ERR_UNSUPPORTED, "DPI_Open_Source: attr->rows with DPI_DIST_ROUND_ROBIN and stages at the source: how many rows were pushed before those that travelled is "
					"not known; push from the first again, without rows");
	return DPI_SUCCESS;
}

int dpi_source_check_attr(const struct dpi_definition *d, const DPI_Source_Attr *a)
{
	if (a->takeover != 0 && a->takeover != 1)
		return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Open_Source: attr->takeover is %d: it is 0 or 1", a->takeover);
	if (!a->id && (a->rows || a->takeover))
		return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Open_Source: attr->%s is set, and attr->id is 0: a source is resumed by its id", a->rows ? "rows" : "takeover");
	if (a->id && !d->retain)
		return dpi_fail(DPI_ERR_USE, "DPI_Open_Source: attr->id is %llu: only sources of a retained flow resume; create it with attr->retain", (unsigned long long)a->id);
	if (a->id && d->partial)
		return dpi_fail(DPI_ERR_UNSUPPORTED, "DPI_Open_Source: attr->id is %llu, and the flow reduces at its sources: which partial rows travel depends on when the tables went out, so they cannot be "
				"numbered a second time; create it with attr->reduce DPI_REDUCE_TARGET", (unsigned long long)a->id);
	return a->rows ? check_turn(d, a->rows) : DPI_SUCCESS;
}

int dpi_source_join(struct dpi_source *s, const DPI_Source_Attr *a, int64_t deadline)
{
	uint32_t targets = s->flow->definition->targets;
	struct dpi_flow_joining j = { .id = a->id, .takes_over = a->takeover };
	uint64_t pushed = 0;
	for (uint32_t t = 0; a->rows && t < targets; t++) {
		s->lane[t].first = s->lane[t].rows = a->rows[t];
		if (s->coded) s->coded->lane[t].sent = a->rows[t];
		pushed += a->rows[t];
	}
	j.goes_on = pushed;
	int error = dpi_flow_resume(s->flow, &j, deadline);
	if (error) return error;
	s->id = a->id;
	s->number = j.number;
	s->epoch = j.epoch;
	dpi_route_begin(s->route, (uint32_t)((s->number + pushed) % targets)); /* of round robin each row went to one target */
	return DPI_SUCCESS;
}

int dpi_source_look(struct dpi_source *s)
{
	uint64_t version = atomic_load_explicit(&s->flow->version, memory_order_acquire);
	if (dpi_flow_source_fenced(s->flow, s->number, s->epoch))
		return dpi_fail(DPI_ERR_FENCED, "source %u of flow '%s', with the id %llu, was taken over by another on node %d: close this one", s->number, s->flow->name,
				(unsigned long long)s->id, dpi_flow_whose(s->flow, s->number).node);
	s->seen = version;
	return DPI_SUCCESS;
}

int DPI_Get_Source_Rows(DPI_Source handle, uint64_t *rows)
{
	int error;
	if (!rows) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Get_Source_Rows: rows is NULL: pass room for a number of each target");
	struct dpi_source *s = dpi_source_enter(handle, "DPI_Get_Source_Rows", &error);
	if (!s) return error;
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) {
		uint64_t bytes;
		dpi_lane_count(s, t, &rows[t], &bytes);
	}
	dpi_source_leave(s);
	return DPI_SUCCESS;
}
