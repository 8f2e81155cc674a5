/* SPDX-License-Identifier: Apache-2.0
 * ack_target.c: a target that acknowledges: it tells each source how many of its rows were released, or confirmed. */
#include "ack_target.h"

#include "origin.h"
#include "pipe.h"
#include "segment.h"
#include "ack_window.h"

bool dpi_ack_same_source(const struct dpi_inlet *a, const struct dpi_inlet *b)
{
	return a == b || (a && b && a->named && b->named && a->source == b->source);
}

static bool reduces(const struct dpi_target *t)
{
	return t->pipe && t->pipe->final;
}

uint64_t *dpi_ack_given(const struct dpi_target *t, struct dpi_inlet *i)
{
	struct dpi_origin *o = i->known ? dpi_origin_find(t, i->source) : NULL;
	return o ? &o->given : &i->given;
}

/* Rows of an inlet's source before the first that the program still has, or is still to get something of. Pieces are given back in any
 * order. */
static uint64_t released(const struct dpi_target *t, struct dpi_inlet *i)
{
	if (reduces(t)) return *dpi_ack_given(t, i);
	uint64_t rows = i->rows < i->begin ? i->begin : i->rows;
	if (!i->out && !t->resumes) return rows;
	for (size_t n = 0; n < t->lents; n++) {
		const struct dpi_piece *p = &t->lent[(t->first + n) % DPI_LENT_MAX];
		if (dpi_ack_same_source(p->inlet, i) && p->before < rows) rows = p->before;
	}
	if (dpi_ack_same_source(t->piece.inlet, i) && t->piece.before < rows) rows = t->piece.before;
	if (dpi_ack_same_source(t->kept.piece.inlet, i) && t->kept.piece.before < rows) rows = t->kept.piece.before;
	if (t->pipe && dpi_ack_same_source(t->pipe->rest.inlet, i) && t->pipe->rest.before < rows) rows = t->pipe->rest.before;
	return rows;
}

static void tell(struct dpi_target *t, struct dpi_inlet *i, uint64_t rows)
{
	struct dpi_origin *o = t->resumes || i->over ? dpi_origin_find(t, i->source) : NULL;
	if (o && rows > o->acked) o->acked = rows;
	if (rows <= i->acked || !i->ring || t->fenced) return;
	i->acked = rows;
	dpi_ring_in_ack(i->ring, rows);
	if (i->place) dpi_inlet_frees(t, i); /* in this order: what is given back was acknowledged */
}

/* When a target acknowledges, to the source's program or for what the source keeps. */
static uint32_t level(const struct dpi_target *t)
{
	const struct dpi_definition *d = t->flow->definition;
	return d->ack ? d->ack : d->retain;
}

bool dpi_ack_answers(const struct dpi_target *t)
{
	return level(t) == DPI_ACK_RELEASED || level(t) == DPI_ACK_CONFIRMED;
}

/* Of several the last. */
static struct dpi_inlet *inlet_of(const struct dpi_target *t, uint32_t source)
{
	struct dpi_inlet *last = NULL;
	for (size_t n = 0; n < t->inlets; n++) {
		struct dpi_inlet *i = t->inlet[n];
		if (i->known && i->source == source && (!last || i->epoch > last->epoch)) last = i;
	}
	return last;
}

void dpi_ack_released(struct dpi_target *t, struct dpi_inlet *i)
{
	if (level(t) != DPI_ACK_RELEASED || t->closing || dpi_target_fenced(t)) return;
	struct dpi_inlet *live = t->resumes && i->known ? inlet_of(t, i->source) : i; /* where its source listens now */
	tell(t, i, released(t, i));
	if (live && live != i) tell(t, live, released(t, live));
}

void dpi_ack_began(struct dpi_target *t, struct dpi_inlet *i)
{
	const struct dpi_origin *o = dpi_origin_find(t, i->source);
	tell(t, i, level(t) == DPI_ACK_RELEASED ? released(t, i) : o->acked);
}

/* Rows before the one that DPI_Next gives next, or what that was made of. */
static uint64_t before_next(const struct dpi_target *t)
{
	const struct dpi_piece *p = &t->piece;
	uint64_t given = (uint64_t)(t->at - p->data) / (t->stride ? t->stride : sizeof(DPI_Record));
	return p->before + (p->from ? p->from[given] : given);
}

/* Rows of an inlet's source that the program has been given. */
static uint64_t taken(const struct dpi_target *t, struct dpi_inlet *i)
{
	if (reduces(t)) return dpi_ack_window_taken(t, i);
	uint64_t rows = i->rows < i->begin ? i->begin : i->rows;
	const struct dpi_piece *p = &t->piece, *k = &t->kept.piece;
	if (t->at != t->stop && dpi_ack_same_source(p->inlet, i) && before_next(t) < rows) rows = before_next(t);
	if (dpi_ack_same_source(k->inlet, i) && k->before < rows) rows = k->before;
	if (t->pipe && dpi_ack_same_source(t->pipe->rest.inlet, i) && t->pipe->rest.before < rows) rows = t->pipe->rest.before;
	return rows;
}

/* With the rows behind these, if nothing came of them. */
static uint64_t with_nothing(const struct dpi_ack_none *none, uint64_t rows)
{
	return rows >= none->from && rows < none->to ? none->to : rows;
}

static void tell_confirmed(struct dpi_target *t, struct dpi_inlet *i, uint64_t rows)
{
	const struct dpi_origin *o = dpi_origin_find(t, i->source);
	tell(t, i, with_nothing(o ? &o->none : &i->none, rows));
}

void dpi_ack_nothing(struct dpi_target *t, struct dpi_inlet *i, uint64_t from, uint64_t to)
{
	struct dpi_origin *o = dpi_origin_find(t, i->source);
	struct dpi_ack_none *none = o ? &o->none : &i->none;
	uint64_t acked = o && o->acked > i->acked ? o->acked : i->acked;
	if (level(t) != DPI_ACK_CONFIRMED || from == to) return;
	if (none->to != from) none->from = from;
	none->to = to;
	if (acked < none->from || dpi_target_fenced(t)) return;
	struct dpi_inlet *live = inlet_of(t, i->source);
	tell(t, i, to);
	if (live && live != i) tell(t, live, to);
}

/* Of a source without a ring here, which may get another: rows, or all that it ever sent. False: it has not sent so many. */
static bool origin_confirmed(struct dpi_target *t, uint32_t source, uint64_t rows)
{
	struct dpi_origin *o = dpi_origin_find(t, source);
	if (o && rows == UINT64_MAX) rows = o->rows;
	if (!o || rows > o->rows) return false;
	rows = with_nothing(&o->none, rows);
	if (rows > o->acked) o->acked = rows;
	return true;
}

static int confirm(struct dpi_target *t, uint32_t source, uint64_t rows)
{
	struct dpi_inlet *i = inlet_of(t, source);
	int state = dpi_flow_whose(t->flow, source).state;
	if (!i && (state == DPI_SOURCE_CLOSED || state == DPI_SOURCE_DEAD)) return DPI_SUCCESS;
	if (!i && (rows == DPI_ACK_TAKEN || origin_confirmed(t, source, rows)) && state) {
		if (rows == DPI_ACK_TAKEN) origin_confirmed(t, source, UINT64_MAX);
		return DPI_SUCCESS;
	}
	if (!i) return dpi_fail(DPI_ERR_RANGE, "DPI_Ack: source %u of flow '%s' has sent nothing to target %u", source, t->flow->name, t->index);
	uint64_t most = taken(t, i);
	if (rows == DPI_ACK_TAKEN) rows = most;
	if (rows > most)
		return dpi_fail(DPI_ERR_RANGE, "DPI_Ack: %llu rows of source %u, but target %u has given %llu of it to the program", (unsigned long long)rows, source, t->index,
				(unsigned long long)most);
	tell_confirmed(t, i, rows);
	return DPI_SUCCESS;
}

int DPI_Ack(uint32_t source, uint64_t rows, DPI_Target handle)
{
	int error;
	struct dpi_target *t = dpi_target_begin(handle, "DPI_Ack", &error);
	if (!t) return error;
	error = dpi_flow_check(t->flow);
	if (!error) error = dpi_target_fenced(t);
	if (!error && level(t) != DPI_ACK_CONFIRMED)
		error = dpi_fail(DPI_ERR_USE, "DPI_Ack: flow '%s' was created with another attr->ack, or attr->retain, than DPI_ACK_CONFIRMED", t->flow->name);
	if (!error && source == DPI_ACK_EVERY_SOURCE && rows != DPI_ACK_TAKEN)
		error = dpi_fail(DPI_ERR_ARGUMENT, "DPI_Ack: %llu rows of every source: each has its own number; name one, or say DPI_ACK_TAKEN", (unsigned long long)rows);
	if (!error && source != DPI_ACK_EVERY_SOURCE) error = confirm(t, source, rows);
	else for (size_t n = 0; !error && n < t->inlets; n++) /* whose a ring is, is known with its first segment */
		if (t->inlet[n]->known) tell_confirmed(t, t->inlet[n], taken(t, t->inlet[n]));
	for (uint32_t n = 0; !error && source == DPI_ACK_EVERY_SOURCE && n < t->origins; n++)
		if (t->origin[n].acked < t->origin[n].rows && !inlet_of(t, n)) origin_confirmed(t, n, UINT64_MAX);
	dpi_target_leave(t);
	return error;
}

int DPI_Get_Taken(uint32_t source, DPI_Target handle, uint64_t *rows)
{
	int error;
	if (!rows) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Get_Taken: rows is NULL: pass where the number may go");
	*rows = 0;
	struct dpi_target *t = dpi_target_begin(handle, "DPI_Get_Taken", &error);
	if (!t) return error;
	struct dpi_inlet *i = inlet_of(t, source);
	if (i) *rows = taken(t, i);
	else if (dpi_origin_find(t, source)) *rows = dpi_origin_find(t, source)->rows;
	else dpi_target_position(t, source, rows);
	dpi_target_leave(t);
	return DPI_SUCCESS;
}
