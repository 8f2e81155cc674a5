/* SPDX-License-Identifier: Apache-2.0
 * coordinator.c: the truth about each flow, on the registry's node. All on its loop thread.
 *
 * Every change is told to every member (a copy of the flow in some process) before whoever asked for it is answered. As
 * messages stay in order on a channel, a copy is always a prefix of the truth, and holds what its own process has been
 * told. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "coordinator.h"
#include "hello.h"
#include "registry.h"


/* --------------------------------------------------------------------------------------------------------- flows */

struct flow **dpi_coordinator_place(struct dpi_coordinator *c, uint64_t id)
{
	struct flow **at = &c->bucket[id % DPI_FLOW_BUCKETS];
	while (*at && (*at)->id != id) at = &(*at)->next;
	return at;
}

static void flow_free(struct flow *f)
{
	free(f->definition);
	free(f->source);
	free(f->target);
	free(f->member);
	free(f);
}

struct flow *dpi_coordinator_new(uint64_t id, const struct dpi_definition *d, const void *bytes, uint32_t size)
{
	struct flow *f = calloc(1, sizeof *f);
	if (!f) return NULL;
	*f = (struct flow){ .id = id,
			    .targets = d->targets,
			    .sources = d->sources,
			    .on_death = d->on_death,
			    .retain = d->retain,
			    .resume_us = d->resume_us,
			    .detach = d->detach_us,
			    .definition = malloc(size),
			    .size = size };
	f->target = calloc(f->targets, sizeof *f->target);
	if (f->definition && f->target) {
		memcpy(f->definition, bytes, size);
		return f;
	}
	flow_free(f);
	return NULL;
}

void dpi_coordinator_enter(struct dpi_coordinator *c, struct flow *f)
{
	struct flow **at = dpi_coordinator_place(c, f->id);
	f->next = *at;
	*at = f;
	c->flows++;
}

static void forget(struct dpi_coordinator *c, struct flow *f)
{
	dpi_coordinator_found(c, f);
	*dpi_coordinator_place(c, f->id) = f->next;
	c->flows--;
	flow_free(f);
}

bool dpi_coordinator_room(void **array, uint32_t count, uint32_t *room, size_t size)
{
	if (count < *room) return true;
	uint32_t more = *room ? 2 * *room : 8;
	void *grown = realloc(*array, more * size);
	if (!grown) return false;
	*array = grown;
	*room = more;
	return true;
}

bool dpi_coordinator_member(struct flow *f, struct dpi_peer *peer, uint64_t copy)
{
	if (!dpi_coordinator_room((void **)&f->member, f->members, &f->member_room, sizeof *f->member)) return false;
	f->member[f->members++] = (struct member){ peer, copy };
	return true;
}

static struct member *find_member(struct flow *f, const struct dpi_peer *peer, uint64_t copy)
{
	for (uint32_t i = 0; i < f->members; i++)
		if (f->member[i].peer == peer && f->member[i].copy == copy) return &f->member[i];
	return NULL;
}

/* ---------------------------------------------------------------------------------------------------------- news */

static struct dpi_pack news(const struct flow *f, const struct member *m)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, f->id);
	dpi_pack_u64(&p, m->copy);
	return p;
}

static void tell(struct dpi_context *ctx, const struct member *m, uint16_t type, struct dpi_pack *p)
{
	if (m->peer->node == ctx->node) {
		struct dpi_unpack u = { .at = p->data, .end = p->data + p->size, .bad = p->failed };
		dpi_flow_news(ctx, type, &u);
		dpi_pack_free(p);
	} else if (dpi_tell(ctx, m->peer, type, p) == DPI_ERR_MEMORY) {
		dpi_log(DPI_LOG_ERROR, "node %d misses news of a flow: %s", m->peer->node, dpi_detail());
	} /* one who cannot be told is about to die */
}

static void tell_sources(struct dpi_context *ctx, const struct flow *f, const struct member *m, uint32_t first,
			 uint32_t count)
{
	struct dpi_pack p = news(f, m);
	dpi_pack_u32(&p, first);
	dpi_pack_u32(&p, count);
	for (uint32_t i = first; i < first + count; i++) {
		dpi_pack_u8(&p, f->source[i].state);
		dpi_pack_u32(&p, (uint32_t)f->source[i].from->node);
		dpi_pack_u32(&p, f->source[i].epoch);
		dpi_pack_u64(&p, f->source[i].id);
	}
	tell(ctx, m, DPI_FLOW_SOURCES, &p);
}

static void tell_targets(struct dpi_context *ctx, const struct flow *f, const struct member *m, uint32_t first,
			 uint32_t count)
{
	struct dpi_pack p = news(f, m);
	dpi_pack_u32(&p, first);
	dpi_pack_u32(&p, count);
	for (uint32_t i = first; i < first + count; i++) {
		dpi_pack_u8(&p, f->target[i].state);
		dpi_pack_u32(&p, f->target[i].from ? (uint32_t)f->target[i].from->node : 0);
		dpi_pack_u64(&p, f->target[i].queue);
		dpi_pack_u32(&p, f->target[i].epoch);
	}
	tell(ctx, m, DPI_FLOW_TARGETS, &p);
}

static void tell_sealed(struct dpi_context *ctx, const struct flow *f, const struct member *m)
{
	struct dpi_pack p = news(f, m);
	tell(ctx, m, DPI_FLOW_SEALED, &p);
}

static void tell_failed(struct dpi_context *ctx, const struct flow *f, const struct member *m)
{
	struct dpi_pack p = news(f, m);
	dpi_pack_u32(&p, (uint32_t)f->failed);
	dpi_pack_text(&p, f->sentence);
	tell(ctx, m, DPI_FLOW_FAILED, &p);
}

void dpi_coordinator_tell_all(struct dpi_context *ctx, const struct flow *f, const struct member *m)
{
	for (uint32_t first = 0, count; first < f->opened; first += count) {
		count = f->opened - first < DPI_FLOW_NEWS_SOURCES ? f->opened - first : DPI_FLOW_NEWS_SOURCES;
		tell_sources(ctx, f, m, first, count);
	}
	for (uint32_t first = 0, count; first < f->targets; first += count) {
		count = f->targets - first < DPI_FLOW_NEWS_TARGETS ? f->targets - first : DPI_FLOW_NEWS_TARGETS;
		tell_targets(ctx, f, m, first, count);
	}
	if (f->sealed) tell_sealed(ctx, f, m);
	if (f->failed) tell_failed(ctx, f, m);
}

void dpi_coordinator_back(struct dpi_context *ctx, const struct flow *f, const struct member *m)
{
	struct dpi_pack p = news(f, m);
	tell(ctx, m, DPI_FLOW_BACK, &p);
	dpi_coordinator_tell_all(ctx, f, m);
}

void dpi_coordinator_told_source(struct dpi_context *ctx, const struct flow *f, uint32_t source)
{
	for (uint32_t i = 0; i < f->members; i++) tell_sources(ctx, f, &f->member[i], source, 1);
}

void dpi_coordinator_told_target(struct dpi_context *ctx, const struct flow *f, uint32_t target)
{
	for (uint32_t i = 0; i < f->members; i++) tell_targets(ctx, f, &f->member[i], target, 1);
}

void dpi_coordinator_seal(struct dpi_context *ctx, struct flow *f)
{
	if (f->sealed) return;
	f->sealed = true;
	for (uint32_t i = 0; i < f->members; i++) tell_sealed(ctx, f, &f->member[i]);
}

void dpi_coordinator_fail(struct dpi_context *ctx, struct flow *f, int error, const char *format, ...)
{
	va_list args;
	if (f->failed) return;
	f->failed = error;
	va_start(args, format);
	vsnprintf(f->sentence, sizeof f->sentence, format, args);
	va_end(args);
	for (uint32_t i = 0; i < f->members; i++) tell_failed(ctx, f, &f->member[i]);
}

/* ------------------------------------------------------------------------------------------------------ requests */

void dpi_coordinator_answer(struct dpi_context *ctx, struct dpi_request_in *in, int error)
{
	dpi_answer(ctx, in->from, in->id, error, NULL);
}

void dpi_coordinator_corrupt(struct dpi_context *ctx, struct dpi_request_in *in)
{
	dpi_coordinator_answer(ctx, in, dpi_fail(DPI_ERR_CORRUPT, "a request about a flow that no correct library sends"));
}

/* The coordinator, the request being whole; answers if there is none. */
static struct dpi_coordinator *coordinator(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct dpi_coordinator *c = ctx->flows->coordinator;
	if (!c)
		dpi_coordinator_answer(ctx, in,
			     dpi_fail(DPI_ERR_REGISTRY, "node %d does not hold the registry, node %d does", ctx->node,
				      DPI_REGISTRY_NODE));
	else if (in->body.bad || in->body.at != in->body.end) dpi_coordinator_corrupt(ctx, in);
	else if (in->id && dpi_registry_check(ctx)) dpi_coordinator_answer(ctx, in, DPI_ERR_REGISTRY);
	else if (c->returning && in->type != DPI_FLOW_CLOSE && in->type != DPI_FLOW_FAIL)
		dpi_coordinator_answer(ctx, in, dpi_fail(DPI_ERR_REGISTRY, "the flow's coordinator is not back yet"));
	else return c;
	return NULL;
}

static struct flow *flow(struct dpi_context *ctx, struct dpi_request_in *in, uint64_t id)
{
	struct dpi_coordinator *c = coordinator(ctx, in);
	struct flow *f = c ? *dpi_coordinator_place(c, id) : NULL;
	if (c && !f) dpi_coordinator_answer(ctx, in, dpi_fail(DPI_ERR_DESTROYED, "the flow was destroyed"));
	return f;
}

struct flow *dpi_coordinator_flow(struct dpi_context *ctx, struct dpi_request_in *in, uint64_t id)
{
	struct flow *f = flow(ctx, in, id);
	if (!f || !f->failed) return f;
	dpi_coordinator_answer(ctx, in, dpi_fail(f->failed, "%s", f->sentence));
	return NULL;
}

static void on_create(struct dpi_context *ctx, struct dpi_request_in *in)
{
	char name[DPI_NAME_MAX];
	uint64_t copy = dpi_unpack_u64(&in->body);
	dpi_unpack_text(&in->body, name, sizeof name);
	uint32_t size;
	const void *bytes = dpi_unpack_bytes(&in->body, &size);
	struct dpi_coordinator *c = coordinator(ctx, in);
	struct dpi_definition *d;
	if (!c) return;
	if (c->flows >= DPI_FLOWS_MAX) {
		dpi_coordinator_answer(ctx, in, dpi_fail(DPI_ERR_LIMIT, "the cluster has %u flows: destroy some", DPI_FLOWS_MAX));
		return;
	}
	int error = dpi_definition_parse(bytes, size, &d);
	if (error) {
		dpi_coordinator_answer(ctx, in, error);
		return;
	}
	struct flow *f = dpi_coordinator_new(c->next_id + 1, d, bytes, size);
	dpi_definition_unref(d);
	if (f) f->creator = in->from;
	if (!f || !dpi_coordinator_member(f, in->from, copy)) {
		if (f) flow_free(f);
		dpi_coordinator_answer(ctx, in, dpi_fail(DPI_ERR_MEMORY, "the registry's node has no memory for a flow"));
		return;
	}
	memcpy(f->name, name, sizeof name);
	dpi_clean(f->name);
	c->next_id++;
	dpi_coordinator_enter(c, f);
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, f->id);
	dpi_answer(ctx, in->from, in->id, DPI_SUCCESS, &p);
}

static void on_named(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct flow *f = flow(ctx, in, dpi_unpack_u64(&in->body));
	if (f && f->creator == in->from) f->creator = NULL;
}

static void on_drop(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct flow *f = flow(ctx, in, dpi_unpack_u64(&in->body));
	if (f && f->creator == in->from) forget(ctx->flows->coordinator, f);
}

static void on_open(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), copy = dpi_unpack_u64(&in->body);
	struct flow *f = flow(ctx, in, id);
	if (!f) return;
	if (find_member(f, in->from, copy)) {
		dpi_coordinator_corrupt(ctx, in);
		return;
	}
	if (f->members >= DPI_FLOW_MEMBERS_MAX || !dpi_coordinator_member(f, in->from, copy)) {
		dpi_coordinator_answer(ctx, in,
			     dpi_fail(DPI_ERR_LIMIT, "flow '%s' is open %u times, and there is no room for more", f->name,
				      f->members));
		return;
	}
	f->creator = NULL; /* it has its name: by that it was found */
	dpi_coordinator_tell_all(ctx, f, &f->member[f->members - 1]);
	struct dpi_pack p = { 0 };
	dpi_pack_bytes(&p, f->definition, f->size);
	dpi_answer(ctx, in->from, in->id, DPI_SUCCESS, &p);
}

static void on_close(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), copy = dpi_unpack_u64(&in->body);
	struct flow *f = flow(ctx, in, id);
	struct member *m = f ? find_member(f, in->from, copy) : NULL;
	if (m) *m = f->member[--f->members];
}

static void on_seal(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct flow *f = dpi_coordinator_flow(ctx, in, dpi_unpack_u64(&in->body));
	if (!f) return;
	dpi_coordinator_seal(ctx, f);
	dpi_coordinator_answer(ctx, in, DPI_SUCCESS);
}

static void on_cancel(struct dpi_context *ctx, struct dpi_request_in *in)
{
	char reason[DPI_FLOW_SENTENCE];
	uint64_t id = dpi_unpack_u64(&in->body);
	dpi_unpack_text(&in->body, reason, sizeof reason);
	struct flow *f = dpi_coordinator_flow(ctx, in, id);
	if (!f) return;
	dpi_clean(reason);
	dpi_coordinator_fail(ctx, f, DPI_ERR_CANCELLED, "flow '%s' was cancelled by node %d%s%s", f->name, in->from->node,
	     *reason ? ": " : "", reason);
	dpi_coordinator_answer(ctx, in, DPI_SUCCESS);
}

static void on_fail(struct dpi_context *ctx, struct dpi_request_in *in)
{
	char sentence[DPI_FLOW_SENTENCE];
	uint64_t id = dpi_unpack_u64(&in->body);
	uint32_t error = dpi_unpack_u32(&in->body);
	dpi_unpack_text(&in->body, sentence, sizeof sentence);
	struct flow *f = dpi_coordinator_flow(ctx, in, id);
	if (!f) return;
	dpi_clean(sentence);
	dpi_coordinator_fail(ctx, f, dpi_flow_class(error), "%s", sentence);
	dpi_coordinator_answer(ctx, in, DPI_SUCCESS);
}

static void on_destroy(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct flow *f = flow(ctx, in, dpi_unpack_u64(&in->body));
	if (!f) return;
	dpi_coordinator_fail(ctx, f, DPI_ERR_DESTROYED, "flow '%s' was destroyed", f->name);
	forget(ctx->flows->coordinator, f);
	dpi_coordinator_answer(ctx, in, DPI_SUCCESS);
}

/* --------------------------------------------------------------------------------------------------------- death */

/* What a dead node had open of a retained flow: its targets may be bound anew. */
static void targets_lost(struct dpi_context *ctx, struct flow *f, const struct dpi_peer *peer)
{
	for (uint32_t i = 0; i < f->targets; i++)
		if (f->target[i].from == peer && f->target[i].state == DPI_TARGET_BOUND) {
			f->target[i].state = DPI_TARGET_LOST;
			dpi_coordinator_told_target(ctx, f, i);
		}
}

/* What a dead node had open of a flow that goes on. */
static void endpoints_dead(struct dpi_context *ctx, struct flow *f, const struct dpi_peer *peer)
{
	for (uint32_t i = 0; i < f->opened; i++)
		if (f->source[i].from == peer) dpi_coordinator_source_over(ctx, f, i, DPI_SOURCE_DEAD);
	for (uint32_t i = 0; i < f->targets; i++)
		if (f->target[i].from == peer && f->target[i].state == DPI_TARGET_BOUND) {
			f->target[i].state = DPI_TARGET_DEAD;
			dpi_coordinator_told_target(ctx, f, i);
		}
}

/* The same of one that does not. */
static void endpoints_fail(struct dpi_context *ctx, struct flow *f, const struct dpi_peer *peer)
{
	const char *kind = NULL;
	uint32_t number = 0, more = 0;
	for (uint32_t i = 0; i < f->opened; i++) {
		if (f->source[i].from != peer || f->source[i].state != DPI_SOURCE_OPEN) continue;
		if (kind) more++;
		else kind = "source", number = i;
	}
	for (uint32_t i = 0; i < f->targets; i++) {
		if (f->target[i].from != peer || f->target[i].state != DPI_TARGET_BOUND) continue;
		if (kind) more++;
		else kind = "target", number = i;
	}
	if (!kind) return;
	char others[32] = "";
	if (more) snprintf(others, sizeof others, " and %u more", more);
	dpi_coordinator_fail(ctx, f, DPI_ERR_PEER, "flow '%s' lost %s %u%s: %s", f->name, kind, number, others, peer->sentence);
}

void dpi_coordinator_died(struct dpi_context *ctx, struct flow *f, const struct dpi_peer *peer)
{
	if (f->failed) return;
	dpi_coordinator_sources_lost(ctx, f, peer);
	if (f->retain) targets_lost(ctx, f, peer);
	if (f->on_death == DPI_DEATH_FAILS) endpoints_fail(ctx, f, peer);
	else endpoints_dead(ctx, f, peer);
}

static void peer_down(struct dpi_context *ctx, struct dpi_peer *peer)
{
	struct dpi_coordinator *c = ctx->flows->coordinator;
	for (uint32_t i = 0; c && i < DPI_FLOW_BUCKETS; i++)
		for (struct flow *f = c->bucket[i], *next; f; f = next) {
			next = f->next;
			if (f->creator == peer) { /* before the name stood: nobody can ever find it */
				forget(c, f);
				continue;
			}
			for (uint32_t m = 0; m < f->members;)
				if (f->member[m].peer == peer) f->member[m] = f->member[--f->members];
				else m++;
			if (!c->returning) dpi_coordinator_died(ctx, f, peer);
		}
}

/* -------------------------------------------------------------------------------------------------- start and end */

int dpi_coordinator_open(struct dpi_context *ctx)
{
	static const struct {
		uint16_t type;
		dpi_handler *handler;
	} handlers[] = {
		{ DPI_FLOW_CREATE, on_create }, { DPI_FLOW_NAMED, on_named },	{ DPI_FLOW_DROP, on_drop },
		{ DPI_FLOW_OPEN, on_open },	{ DPI_FLOW_CLOSE, on_close },	{ DPI_FLOW_SEAL, on_seal },
		{ DPI_FLOW_CANCEL, on_cancel }, { DPI_FLOW_FAIL, on_fail },	{ DPI_FLOW_DESTROY, on_destroy },
	};
	int error = DPI_SUCCESS;
	for (size_t i = 0; i < sizeof handlers / sizeof *handlers && !error; i++)
		error = dpi_handle_messages(ctx, handlers[i].type, handlers[i].handler);
	if (!error) error = dpi_coordinator_sources(ctx);
	if (!error) error = dpi_coordinator_targets(ctx);
	if (!error) error = dpi_coordinator_returns(ctx);
	if (!error) error = dpi_on_peer_down(ctx, peer_down);
	if (error || !ctx->registry) return error;
	ctx->flows->coordinator = calloc(1, sizeof *ctx->flows->coordinator);
	if (!ctx->flows->coordinator) return dpi_fail(DPI_ERR_MEMORY, "no memory for the flows' coordinator");
	ctx->flows->coordinator->returning = dpi_registry_check(ctx);
	return DPI_SUCCESS;
}

void dpi_coordinator_close(struct dpi_context *ctx)
{
	struct dpi_coordinator *c = ctx->flows->coordinator;
	for (uint32_t i = 0; c && i < DPI_FLOW_BUCKETS; i++)
		while (c->bucket[i]) forget(c, c->bucket[i]);
	if (c) free(c->left);
	free(c);
	ctx->flows->coordinator = NULL;
}
