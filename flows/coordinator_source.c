/* SPDX-License-Identifier: Apache-2.0
 * coordinator_source.c: sources of flows, at the coordinator: how they join, leave, are lost, and resume.
 *
 * A source with an id whose process dies, or which is given up, is lost: it is not over until somebody has resumed it and closed it, or
 * until it has been waited for as long as the definition says. Each resumption raises the source's epoch. */
#include <string.h>

#include "coordinator.h"

/* --------------------------------------------------------------------------------------------------------- over */

static void dead(struct dpi_context *ctx, struct flow *f, uint32_t number)
{
	struct source *s = &f->source[number];
	s->state = DPI_SOURCE_DEAD;
	if (f->on_death == DPI_DEATH_FAILS)
		dpi_coordinator_fail(ctx, f, DPI_ERR_FLOW, "source %u of flow '%s' was given up by node %d before it had sent everything",
				     number, f->name, s->from->node);
	else dpi_coordinator_told_source(ctx, f, number);
}

void dpi_coordinator_source_waits(struct dpi_context *ctx, struct flow *f, uint32_t number)
{
	struct dpi_coordinator *c = ctx->flows->coordinator;
	struct source *s = &f->source[number];
	s->state = DPI_SOURCE_LOST;
	s->until = dpi_deadline(f->resume_us, 0);
	if (!c->lost++ || s->until < c->lost_until) c->lost_until = s->until;
}

static void lost(struct dpi_context *ctx, struct flow *f, uint32_t number)
{
	dpi_coordinator_source_waits(ctx, f, number);
	dpi_coordinator_told_source(ctx, f, number);
}

void dpi_coordinator_source_over(struct dpi_context *ctx, struct flow *f, uint32_t number, uint8_t state)
{
	struct source *s = &f->source[number];
	if (s->state != DPI_SOURCE_OPEN) return;
	if (state == DPI_SOURCE_DEAD && s->id && f->resume_us) {
		lost(ctx, f, number);
	} else if (state == DPI_SOURCE_DEAD) {
		dead(ctx, f, number);
	} else {
		s->state = state;
		dpi_coordinator_told_source(ctx, f, number);
	}
}

void dpi_coordinator_sources_lost(struct dpi_context *ctx, struct flow *f, const struct dpi_peer *peer)
{
	for (uint32_t i = 0; i < f->opened && f->resume_us; i++)
		if (f->source[i].from == peer && f->source[i].state == DPI_SOURCE_OPEN && f->source[i].id) lost(ctx, f, i);
}

/* Nobody has resumed it in time. */
static void give_up(struct dpi_context *ctx, struct flow *f, uint32_t number)
{
	struct source *s = &f->source[number];
	bool died = atomic_load_explicit(&s->from->dead, memory_order_acquire);
	s->state = DPI_SOURCE_DEAD;
	ctx->flows->coordinator->lost--;
	if (f->on_death == DPI_DEATH_FAILS)
		dpi_coordinator_fail(ctx, f, DPI_ERR_PEER, "flow '%s' lost source %u: nobody has resumed its id %llu within %lld us; rows that it had not sent are lost: %s%.200s",
				     f->name, number, (unsigned long long)s->id, (long long)f->resume_us, died ? "" : "it was given up with an error",
				     died ? s->from->sentence : "");
	else if (!f->failed) dpi_coordinator_told_source(ctx, f, number);
}

void dpi_coordinator_found(struct dpi_coordinator *c, const struct flow *f)
{
	for (uint32_t i = 0; i < f->opened; i++) c->lost -= f->source[i].state == DPI_SOURCE_LOST;
}

static int64_t give_up_service(struct dpi_context *ctx, int64_t now)
{
	struct dpi_coordinator *c = ctx->flows->coordinator;
	if (!c || !c->lost) return DPI_NEVER;
	if (now < c->lost_until) return c->lost_until;
	int64_t next = DPI_NEVER;
	for (uint32_t b = 0; b < DPI_FLOW_BUCKETS; b++)
		for (struct flow *f = c->bucket[b]; f; f = f->next)
			for (uint32_t i = 0; i < f->opened; i++) {
				if (f->source[i].state != DPI_SOURCE_LOST) continue;
				if (now >= f->source[i].until) give_up(ctx, f, i);
				else if (f->source[i].until < next) next = f->source[i].until;
			}
	return c->lost_until = next;
}

/* --------------------------------------------------------------------------------------------------------- joining */

static void answer_joined(struct dpi_context *ctx, struct dpi_request_in *in, struct flow *f, uint32_t number)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u32(&p, number);
	dpi_pack_u32(&p, f->source[number].epoch);
	dpi_answer(ctx, in->from, in->id, DPI_SUCCESS, &p);
}

static int join(struct dpi_context *ctx, struct flow *f, const struct source *s)
{
	if (f->sealed)
		return dpi_fail(DPI_ERR_SEALED, "flow '%s' is sealed: after %u sources no more can be opened", f->name, f->opened);
	if (f->opened >= DPI_SOURCES_MAX)
		return dpi_fail(DPI_ERR_LIMIT, "flow '%s' has had %u sources: no flow has more", f->name, f->opened);
	if (!dpi_coordinator_room((void **)&f->source, f->opened, &f->source_room, sizeof *f->source))
		return dpi_fail(DPI_ERR_MEMORY, "the registry's node has no memory for a source");
	f->source[f->opened++] = *s;
	dpi_coordinator_told_source(ctx, f, f->opened - 1);
	if (f->opened == f->sources) dpi_coordinator_seal(ctx, f);
	return DPI_SUCCESS;
}

static int resume(struct dpi_context *ctx, struct flow *f, uint32_t number, const struct source *joining, bool takes_over)
{
	struct source *s = &f->source[number];
	const char *how = s->state == DPI_SOURCE_CLOSED ? "was closed" : "was lost and not resumed in time";
	if (s->state == DPI_SOURCE_OPEN && !takes_over)
		return dpi_fail(DPI_ERR_EXISTS, "source %u of flow '%s' has the id %llu and is open on node %d: it can be resumed when it is lost, or taken over with attr->takeover",
				number, f->name, (unsigned long long)s->id, s->from->node);
	if (s->state == DPI_SOURCE_CLOSED || s->state == DPI_SOURCE_DEAD)
		return dpi_fail(DPI_ERR_EXISTS, "source %u of flow '%s' had the id %llu on node %d and %s: that is over", number, f->name,
				(unsigned long long)s->id, s->from->node, how);
	ctx->flows->coordinator->lost -= s->state == DPI_SOURCE_LOST;
	s->from = joining->from;
	s->token = joining->token;
	s->state = DPI_SOURCE_OPEN;
	s->epoch++;
	dpi_coordinator_told_source(ctx, f, number);
	return DPI_SUCCESS;
}

static void on_join(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body);
	struct source joining = { .from = in->from, .token = dpi_unpack_u64(&in->body), .id = dpi_unpack_u64(&in->body), .state = DPI_SOURCE_OPEN };
	uint32_t how = dpi_unpack_u32(&in->body), number = 0;
	struct flow *f = dpi_coordinator_flow(ctx, in, id);
	if (!f) return;
	while (joining.id && number < f->opened && f->source[number].id != joining.id) number++;
	if (!joining.id) number = f->opened;
	int error;
	if (number < f->opened) error = resume(ctx, f, number, &joining, how & DPI_JOIN_TAKES_OVER);
	else if (how & DPI_JOIN_GOES_ON)
		error = dpi_fail(DPI_ERR_ARGUMENT, "attr->rows says where a source goes on, and flow '%s' has had no source with the id %llu", f->name,
				 (unsigned long long)joining.id);
	else error = join(ctx, f, &joining);
	if (error) dpi_coordinator_answer(ctx, in, error);
	else answer_joined(ctx, in, f, number);
}

static void on_abandon(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), token = dpi_unpack_u64(&in->body);
	struct flow *f = dpi_coordinator_flow(ctx, in, id);
	for (uint32_t i = f ? f->opened : 0; i--;)
		if (f->source[i].from == in->from && f->source[i].token == token) {
			dpi_coordinator_source_over(ctx, f, i, f->source[i].epoch ? DPI_SOURCE_DEAD : DPI_SOURCE_CLOSED);
			return;
		}
}

static void on_leave(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body);
	uint32_t number = dpi_unpack_u32(&in->body), epoch = dpi_unpack_u32(&in->body), state = dpi_unpack_u32(&in->body);
	struct flow *f = dpi_coordinator_flow(ctx, in, id);
	if (!f) return;
	if (number < f->opened && epoch < f->source[number].epoch) {
		dpi_coordinator_answer(ctx, in, dpi_fail(DPI_ERR_FENCED, "source %u of flow '%s' was resumed on node %d", number, f->name, f->source[number].from->node));
		return;
	}
	if (number >= f->opened || f->source[number].from != in->from || epoch != f->source[number].epoch ||
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
	if (!error) error = dpi_loop_service(ctx, give_up_service);
	return error;
}
