/* SPDX-License-Identifier: Apache-2.0
 * ack_target.c: a target that acknowledges: it tells each source how many of its rows were released, or confirmed. */
#include "ack_target.h"

#include "segment.h"

/* Rows of an inlet before the first that the program still has. Pieces are given back in any order. */
static uint64_t released(const struct dpi_target *t, const struct dpi_inlet *i)
{
	uint64_t rows = i->rows;
	if (!i->out) return rows;
	for (size_t n = 0; n < t->lents; n++) {
		const struct dpi_piece *p = &t->lent[(t->first + n) % DPI_LENT_MAX];
		if (p->inlet == i && p->before < rows) rows = p->before;
	}
	if (t->piece.inlet == i && t->piece.before < rows) rows = t->piece.before;
	if (t->kept.piece.inlet == i && t->kept.piece.before < rows) rows = t->kept.piece.before;
	return rows;
}

static void tell(struct dpi_target *t, struct dpi_inlet *i, uint64_t rows)
{
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

void dpi_ack_released(struct dpi_target *t, struct dpi_inlet *i)
{
	if (level(t) == DPI_ACK_RELEASED && !dpi_target_fenced(t)) tell(t, i, released(t, i));
}

void dpi_ack_began(struct dpi_target *t, struct dpi_inlet *i)
{
	tell(t, i, i->begin);
}

static uint64_t rows_in(const struct dpi_target *t, const uint8_t *at, const uint8_t *stop)
{
	return (uint64_t)(stop - at) / (t->stride ? t->stride : sizeof(DPI_Record));
}

/* Rows of an inlet that the program has been given. */
static uint64_t taken(const struct dpi_target *t, const struct dpi_inlet *i)
{
	uint64_t rows = i->rows < i->begin ? i->begin : i->rows;
	if (t->piece.inlet == i) rows -= rows_in(t, t->at, t->stop);
	if (t->kept.piece.inlet == i) rows -= rows_in(t, t->kept.piece.data, t->kept.piece.stop);
	return rows;
}

static struct dpi_inlet *inlet_of(const struct dpi_target *t, uint32_t source)
{
	for (size_t n = 0; n < t->inlets; n++)
		if (t->inlet[n]->known && t->inlet[n]->source == source) return t->inlet[n];
	return NULL;
}

static int confirm(struct dpi_target *t, uint32_t source, uint64_t rows)
{
	struct dpi_inlet *i = inlet_of(t, source);
	int state = dpi_flow_source_state(t->flow, source);
	if (!i && (state == DPI_SOURCE_CLOSED || state == DPI_SOURCE_DEAD)) return DPI_SUCCESS;
	if (!i && rows == DPI_ACK_TAKEN && state) return DPI_SUCCESS;
	if (!i) return dpi_fail(DPI_ERR_RANGE, "DPI_Ack: source %u of flow '%s' has sent nothing to target %u", source, t->flow->name, t->index);
	uint64_t most = taken(t, i);
	if (rows == DPI_ACK_TAKEN) rows = most;
	if (rows > most)
		return dpi_fail(DPI_ERR_RANGE, "DPI_Ack: %llu rows of source %u, but target %u has given %llu of it to the program", (unsigned long long)rows, source, t->index,
				(unsigned long long)most);
	tell(t, i, rows);
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
	else for (size_t n = 0; !error && n < t->inlets; n++) tell(t, t->inlet[n], taken(t, t->inlet[n]));
	dpi_target_leave(t);
	return error;
}

int DPI_Get_Taken(uint32_t source, DPI_Target handle, uint64_t *rows)
{
	int error;
	if (!rows) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Get_Taken: rows is NULL");
	*rows = 0;
	struct dpi_target *t = dpi_target_begin(handle, "DPI_Get_Taken", &error);
	if (!t) return error;
	const struct dpi_inlet *i = inlet_of(t, source);
	if (i) *rows = taken(t, i);
	else dpi_target_position(t, source, rows);
	dpi_target_leave(t);
	return DPI_SUCCESS;
}
