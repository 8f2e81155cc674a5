/* SPDX-License-Identifier: Apache-2.0
 * coordinator_source.c: sources of flows, at the coordinator. */
#include "coordinator.h"

static void on_join(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), token = dpi_unpack_u64(&in->body);
	struct flow *f = dpi_coordinator_flow(ctx, in, id);
	if (!f) return;
	int error = DPI_SUCCESS;
	if (f->sealed)
		error = dpi_fail(DPI_ERR_SEALED, "flow '%s' is sealed: after %u sources no more can be opened", f->name,
				 f->opened);
	else if (f->opened >= DPI_SOURCES_MAX)
		error = dpi_fail(DPI_ERR_LIMIT, "flow '%s' has had %u sources: no flow has more", f->name, f->opened);
	else if (!dpi_coordinator_room((void **)&f->source, f->opened, &f->source_room, sizeof *f->source))
		error = dpi_fail(DPI_ERR_MEMORY, "the registry's node has no memory for a source");
	if (error) {
		dpi_coordinator_answer(ctx, in, error);
		return;
	}
	uint32_t number = f->opened++;
	f->source[number] = (struct source){ in->from, token, DPI_SOURCE_OPEN };
	dpi_coordinator_told_source(ctx, f, number);
	if (f->opened == f->sources) dpi_coordinator_seal(ctx, f);
	struct dpi_pack p = { 0 };
	dpi_pack_u32(&p, number);
	dpi_answer(ctx, in->from, in->id, DPI_SUCCESS, &p);
}

void dpi_coordinator_source_over(struct dpi_context *ctx, struct flow *f, uint32_t number, uint8_t state)
{
	struct source *s = &f->source[number];
	if (s->state != DPI_SOURCE_OPEN) return;
	s->state = state;
	if (state == DPI_SOURCE_DEAD && f->on_death == DPI_DEATH_FAILS)
		dpi_coordinator_fail(ctx, f, DPI_ERR_FLOW, "source %u of flow '%s' was given up by node %d before it had sent everything",
		     number, f->name, s->from->node);
	else dpi_coordinator_told_source(ctx, f, number);
}

static void on_abandon(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), token = dpi_unpack_u64(&in->body);
	struct flow *f = dpi_coordinator_flow(ctx, in, id);
	for (uint32_t i = f ? f->opened : 0; i--;)
		if (f->source[i].from == in->from && f->source[i].token == token) {
			dpi_coordinator_source_over(ctx, f, i, DPI_SOURCE_CLOSED);
			return;
		}
}

static void on_leave(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body);
	uint32_t number = dpi_unpack_u32(&in->body), state = dpi_unpack_u32(&in->body);
	struct flow *f = dpi_coordinator_flow(ctx, in, id);
	if (!f) return;
	if (number >= f->opened || f->source[number].from != in->from ||
	    (state != DPI_SOURCE_CLOSED && state != DPI_SOURCE_DEAD)) {
		dpi_coordinator_corrupt(ctx, in);
		return;
	}
	dpi_coordinator_source_over(ctx, f, number, (uint8_t)state);
	dpi_coordinator_answer(ctx, in, DPI_SUCCESS);
}

int dpi_coordinator_sources(struct dpi_context *ctx)
{
	int error = dpi_handle_messages(ctx, DPI_FLOW_JOIN, on_join);
	if (!error) error = dpi_handle_messages(ctx, DPI_FLOW_ABANDON, on_abandon);
	if (!error) error = dpi_handle_messages(ctx, DPI_FLOW_LEAVE, on_leave);
	return error;
}
