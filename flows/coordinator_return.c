/* SPDX-License-Identifier: Apache-2.0
 * coordinator_return.c: the coordinator comes back with the registry: what the flows are is made anew of what their copies tell.
 *
 * Each copy is a prefix of the truth, so of two the one that has seen more is right: the higher epoch, and of the same epoch the
 * later state. What a node says of its own endpoints goes before what others have heard of them; an endpoint that is open to
 * others, and of which its own node does not tell, has gone with its process. A flow of which nobody has a copy is gone. */
#include <stdlib.h>
#include <string.h>

#include "coordinator.h"
#include "hello.h"
#include "registry.h"

#define LEFT_MAX (1u << 20)

/* The coordinator, if it is coming back and the message is whole. */
static struct dpi_coordinator *returning(struct dpi_context *ctx, const struct dpi_request_in *in)
{
	struct dpi_coordinator *c = ctx->flows->coordinator;
	if (c && c->returning && !in->body.bad && !in->id) return c;
	dpi_log(DPI_LOG_WARNING, "node %d tells of a flow what it has no right to, or what is malformed", in->from->node);
	return NULL;
}

static void on_copy(struct dpi_context *ctx, struct dpi_request_in *in)
{
	char name[DPI_NAME_MAX], sentence[DPI_FLOW_SENTENCE];
	uint64_t id = dpi_unpack_u64(&in->body), copy = dpi_unpack_u64(&in->body);
	dpi_unpack_text(&in->body, name, sizeof name);
	uint32_t failed = dpi_unpack_u32(&in->body), size;
	dpi_unpack_text(&in->body, sentence, sizeof sentence);
	uint8_t sealed = dpi_unpack_u8(&in->body);
	const void *bytes = dpi_unpack_bytes(&in->body, &size);
	if (in->body.at != in->body.end || sealed > 1 || !*name || !copy) in->body.bad = true;
	struct dpi_coordinator *c = returning(ctx, in);
	struct dpi_definition *d;
	if (!c) return;
	struct flow *f = *dpi_coordinator_place(c, id);
	if (!f) {
		if (c->flows >= DPI_FLOWS_MAX || dpi_definition_parse(bytes, size, &d)) {
			dpi_log(DPI_LOG_ERROR, "flow '%s' of node %d is lost: %s", name, in->from->node, dpi_detail());
			return;
		}
		f = dpi_coordinator_new(id, d, bytes, size);
		dpi_definition_unref(d);
		if (!f) return;
		memcpy(f->name, name, sizeof name);
		dpi_clean(f->name);
		dpi_coordinator_enter(c, f);
	}
	if (f->size != size || memcmp(f->definition, bytes, size) || f->members >= DPI_FLOW_MEMBERS_MAX ||
	    !dpi_coordinator_member(f, in->from, copy)) {
		dpi_log(DPI_LOG_ERROR, "node %d has another flow '%s' than others, or there is no room for it", in->from->node, name);
		return;
	}
	f->sealed |= sealed;
	if (!failed || f->failed) return;
	f->failed = dpi_flow_class(failed);
	memcpy(f->sentence, sentence, sizeof sentence);
	dpi_clean(f->sentence);
}

/* Of the same epoch: does what this message says go before what is known? */
static bool goes_before(struct told *t, int teller, int node, bool later)
{
	bool itself = teller == node;
	bool before = itself || (!t->itself && later);
	t->itself |= itself;
	return before;
}

static uint32_t rank_of_source(uint32_t state)
{
	static const uint8_t ranks[] = { [DPI_SOURCE_OPEN] = 1, [DPI_SOURCE_LOST] = 2, [DPI_SOURCE_CLOSED] = 3, [DPI_SOURCE_DEAD] = 3 };
	return ranks[state];
}

static void on_sources(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body);
	(void)dpi_unpack_u64(&in->body);
	uint32_t first = dpi_unpack_u32(&in->body), count = dpi_unpack_u32(&in->body);
	struct dpi_coordinator *c = returning(ctx, in);
	struct flow *f = c ? *dpi_coordinator_place(c, id) : NULL;
	if (!f || first > f->opened || count > DPI_SOURCES_MAX - first) return;
	for (uint32_t i = first; i < first + count; i++) {
		struct source s = { .state = dpi_unpack_u8(&in->body) };
		uint32_t node = dpi_unpack_u32(&in->body);
		s.epoch = dpi_unpack_u32(&in->body);
		s.id = dpi_unpack_u64(&in->body);
		s.told.node = (int)node;
		if (in->body.bad || s.state < DPI_SOURCE_OPEN || s.state > DPI_SOURCE_LOST || node >= DPI_NODES_MAX) return;
		if (i == f->opened && !dpi_coordinator_room((void **)&f->source, i, &f->source_room, sizeof *f->source)) return;
		if (i == f->opened) f->source[f->opened++] = (struct source){ .told.node = s.told.node };
		struct source *known = &f->source[i];
		if (s.epoch < known->epoch) continue;
		bool newer = s.epoch > known->epoch || !known->state;
		if (!newer && !goes_before(&known->told, in->from->node, s.told.node, rank_of_source(s.state) > rank_of_source(known->state))) continue;
		s.told.itself = in->from->node == s.told.node;
		s.from = s.told.itself ? in->from : NULL;
		*known = s;
	}
}

static uint32_t rank_of_target(uint32_t state)
{
	static const uint8_t ranks[] = { [DPI_TARGET_UNBOUND] = 0, [DPI_TARGET_BOUND] = 1, [DPI_TARGET_LOST] = 2,
					 [DPI_TARGET_ENDED] = 3,   [DPI_TARGET_DEAD] = 3,  [DPI_TARGET_DETACHED] = 3 };
	return ranks[state];
}

static void on_targets(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body);
	(void)dpi_unpack_u64(&in->body);
	uint32_t first = dpi_unpack_u32(&in->body), count = dpi_unpack_u32(&in->body);
	struct dpi_coordinator *c = returning(ctx, in);
	struct flow *f = c ? *dpi_coordinator_place(c, id) : NULL;
	if (!f || first > f->targets || count > f->targets - first) return;
	for (uint32_t i = first; i < first + count; i++) {
		struct target t = { .state = dpi_unpack_u8(&in->body) };
		uint32_t node = dpi_unpack_u32(&in->body);
		t.queue = dpi_unpack_u64(&in->body);
		t.epoch = dpi_unpack_u32(&in->body);
		t.told.node = (int)node;
		if (in->body.bad || t.state > DPI_TARGET_DETACHED || node >= DPI_NODES_MAX) return;
		struct target *known = &f->target[i];
		if (t.epoch < known->epoch || !t.epoch) continue;
		bool newer = t.epoch > known->epoch;
		if (!newer && !goes_before(&known->told, in->from->node, t.told.node, rank_of_target(t.state) > rank_of_target(known->state))) continue;
		t.told.itself = in->from->node == t.told.node;
		t.from = t.told.itself ? in->from : NULL;
		*known = t;
	}
}

/* ---------------------------------------------------------------------------------------------------- who left meanwhile */

static void apply(struct dpi_context *ctx, struct flow *f, const struct left *l)
{
	if (!f || f->failed) return;
	if (l->target) {
		struct target *t = l->number < f->targets ? &f->target[l->number] : NULL;
		if (!t || t->state != DPI_TARGET_BOUND || t->queue != l->queue || t->from != l->from) return;
		dpi_coordinator_target_over(ctx, f, l->number, l->state, l->from->node);
	} else if (l->number < f->opened && f->source[l->number].from == l->from && f->source[l->number].epoch == l->epoch) {
		dpi_coordinator_source_over(ctx, f, l->number, (uint8_t)l->state);
	}
}

static void on_left(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct dpi_coordinator *c = ctx->flows->coordinator;
	struct left l = { .flow = dpi_unpack_u64(&in->body), .target = dpi_unpack_u8(&in->body), .number = dpi_unpack_u32(&in->body) };
	l.epoch = dpi_unpack_u32(&in->body);
	l.queue = dpi_unpack_u64(&in->body);
	l.state = dpi_unpack_u32(&in->body);
	l.from = in->from;
	bool state = l.target ? l.state == DPI_TARGET_ENDED || l.state == DPI_TARGET_DEAD || l.state == DPI_TARGET_UNBOUND
			      : l.state == DPI_SOURCE_CLOSED || l.state == DPI_SOURCE_DEAD;
	if (!c || in->id || in->body.bad || in->body.at != in->body.end || !state) return;
	if (!c->returning) {
		apply(ctx, *dpi_coordinator_place(c, l.flow), &l);
		return;
	}
	if (c->lefts < LEFT_MAX && dpi_coordinator_room((void **)&c->left, c->lefts, &c->left_room, sizeof *c->left)) c->left[c->lefts++] = l;
}

/* -------------------------------------------------------------------------------------------------------------- the return */

/* Whose an endpoint is: of who is there only if it has told so itself, or has said that it left. */
static struct dpi_peer *whose(struct dpi_context *ctx, const struct flow *f, const struct told *told, bool target, uint32_t number, bool open)
{
	struct dpi_coordinator *c = ctx->flows->coordinator;
	struct dpi_peer *peer = dpi_peer_find(ctx, told->node);
	for (uint32_t i = 0; i < c->lefts; i++)
		if (c->left[i].flow == f->id && c->left[i].target == target && c->left[i].number == number && c->left[i].from == peer) return peer;
	return peer && !open ? peer : dpi_peer_ghost(ctx, told->node);
}

/* Everybody's endpoints are somebody's; those of nobody who is there have died. */
static bool settle(struct dpi_context *ctx, struct flow *f)
{
	for (uint32_t i = 0; i < f->opened; i++) {
		struct source *s = &f->source[i];
		if (!s->state) s->state = DPI_SOURCE_DEAD;
		if (!s->from) s->from = whose(ctx, f, &s->told, false, i, s->state == DPI_SOURCE_OPEN);
		if (!s->from) return false;
		if (s->state == DPI_SOURCE_LOST) dpi_coordinator_source_waits(ctx, f, i);
	}
	for (uint32_t i = 0; i < f->targets; i++) {
		struct target *t = &f->target[i];
		if (t->state == DPI_TARGET_UNBOUND) *t = (struct target){ .epoch = t->epoch };
		else if (!t->from && !(t->from = whose(ctx, f, &t->told, true, i, t->state == DPI_TARGET_BOUND))) return false;
	}
	return true;
}

static void bury(struct dpi_context *ctx, struct flow *f)
{
	for (uint32_t i = 0; i < f->opened && !f->failed; i++)
		if (f->source[i].state == DPI_SOURCE_OPEN && atomic_load(&f->source[i].from->dead)) dpi_coordinator_died(ctx, f, f->source[i].from);
	for (uint32_t i = 0; i < f->targets && !f->failed; i++)
		if (f->target[i].state == DPI_TARGET_BOUND && atomic_load(&f->target[i].from->dead)) dpi_coordinator_died(ctx, f, f->target[i].from);
}

static void come_back(struct dpi_context *ctx)
{
	struct dpi_coordinator *c = ctx->flows->coordinator;
	if (!c) return;
	c->returning = false;
	/* ids of one life are never those of another */
	c->next_id = (atomic_load(&ctx->cluster->term) & 0xffffff) << 40;
	for (uint32_t b = 0; b < DPI_FLOW_BUCKETS; b++)
		for (struct flow *f = c->bucket[b]; f; f = f->next) {
			if (dpi_return_name(ctx, f->name, DPI_NAME_FLOW, f->id)) dpi_log(DPI_LOG_ERROR, "a flow is lost: %s", dpi_detail());
			/* what follows is told at the end, all at once */
			uint32_t members = f->members;
			f->members = 0;
			if (!settle(ctx, f)) dpi_coordinator_fail(ctx, f, DPI_ERR_FLOW, "flow '%s' is lost: the registry's node has no memory for it", f->name);
			for (uint32_t i = 0; i < c->lefts; i++)
				if (c->left[i].flow == f->id) apply(ctx, f, &c->left[i]);
			if (!f->failed) bury(ctx, f);
			if (!f->sealed && f->sources && f->opened >= f->sources) dpi_coordinator_seal(ctx, f);
			f->members = members;
			for (uint32_t i = 0; i < f->members; i++) dpi_coordinator_back(ctx, f, &f->member[i]);
		}
	free(c->left);
	c->left = NULL;
	c->lefts = c->left_room = 0;
}

int dpi_coordinator_returns(struct dpi_context *ctx)
{
	int error = dpi_handle_messages(ctx, DPI_FLOW_COPY, on_copy);
	if (!error) error = dpi_handle_messages(ctx, DPI_FLOW_COPY_SOURCES, on_sources);
	if (!error) error = dpi_handle_messages(ctx, DPI_FLOW_COPY_TARGETS, on_targets);
	if (!error) error = dpi_handle_messages(ctx, DPI_FLOW_LEFT, on_left);
	return error ? error : dpi_on_registry_back(ctx, come_back);
}
