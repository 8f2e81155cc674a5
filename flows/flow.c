/* SPDX-License-Identifier: Apache-2.0
 * flow.c: this process's copies of flows: how they are found and made, what they hear, what endpoints read of them. */
#include "flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "hello.h"
#include "layer.h"
#include "registry.h"

/* -------------------------------------------------------------------------------------------------------- copies */

/* The place of a copy in its bucket's list. copy 0: any that is whole. Under the layer's lock. */
static struct dpi_flow **place(struct dpi_flow_layer *l, uint64_t id, uint64_t copy)
{
	struct dpi_flow **at = &l->copy[id % DPI_FLOW_BUCKETS];
	while (*at && ((*at)->id != id || (copy ? (*at)->copy != copy : !(*at)->definition))) at = &(*at)->next;
	return at;
}

static struct dpi_flow *copy_new(struct dpi_context *ctx, const char *name)
{
	struct dpi_flow *f = calloc(1, sizeof *f);
	if (!f) {
		dpi_fail(DPI_ERR_MEMORY, "no memory for a flow");
		return NULL;
	}
	f->ctx = ctx;
	f->references = 1;
	snprintf(f->name, sizeof f->name, "%s", name);
	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_lock(&ctx->flows->lock);
	f->copy = ++ctx->flows->next_copy;
	pthread_mutex_unlock(&ctx->flows->lock);
	return f;
}

static void copy_free(struct dpi_flow *f)
{
	dpi_definition_unref(f->definition);
	free(f->source);
	free(f->source_node);
	free(f->target);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static void enlist(struct dpi_flow *f)
{
	struct dpi_flow_layer *l = f->ctx->flows;
	pthread_mutex_lock(&l->lock);
	struct dpi_flow **at = &l->copy[f->id % DPI_FLOW_BUCKETS];
	f->next = *at;
	*at = f;
	pthread_mutex_unlock(&l->lock);
}

/* To the coordinator, without an answer; it may be gone. */
static void tell(struct dpi_context *ctx, uint16_t type, struct dpi_pack *p)
{
	struct dpi_peer *to = dpi_peer_find(ctx, DPI_REGISTRY_NODE);
	if (to) dpi_tell(ctx, to, type, p);
	else dpi_pack_free(p);
}

static void tell_two(struct dpi_context *ctx, uint16_t type, uint64_t id, uint64_t second)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, id);
	dpi_pack_u64(&p, second);
	tell(ctx, type, &p);
}

static void tell_one(struct dpi_context *ctx, uint16_t type, uint64_t id)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, id);
	tell(ctx, type, &p);
}

struct dpi_flow *dpi_flow_ref(struct dpi_flow *f)
{
	struct dpi_flow_layer *l = f->ctx->flows;
	pthread_mutex_lock(&l->lock);
	f->references++;
	pthread_mutex_unlock(&l->lock);
	return f;
}

void dpi_flow_unref(struct dpi_flow *f)
{
	struct dpi_flow_layer *l = f->ctx->flows;
	pthread_mutex_lock(&l->lock);
	bool last = !--f->references;
	if (last) {
		struct dpi_flow **at = place(l, f->id, f->copy);
		if (*at) *at = f->next;
	}
	pthread_mutex_unlock(&l->lock);
	if (!last) return;
	tell_two(f->ctx, DPI_FLOW_CLOSE, f->id, f->copy);
	copy_free(f);
}

struct dpi_flow *dpi_flow_get(DPI_Flow handle)
{
	struct dpi_context *ctx = dpi_context();
	/* looked at first, as in a forked child, where no handle is alive, the lock may be held for ever */
	if (!ctx || !dpi_handle_get(DPI_HANDLE_FLOW, (uint64_t)(uintptr_t)handle)) return NULL;
	pthread_mutex_lock(&ctx->flows->lock);
	struct dpi_flow *f = dpi_handle_get(DPI_HANDLE_FLOW, (uint64_t)(uintptr_t)handle);
	if (f) f->references++;
	pthread_mutex_unlock(&ctx->flows->lock);
	return f;
}

/* ----------------------------------------------------------------------------------------------- what copies hear */

/* The copy has changed. Under its lock. */
static void changed(struct dpi_flow *f)
{
	atomic_fetch_add_explicit(&f->version, 1, memory_order_release);
	for (struct dpi_flow_watch *w = f->watches; w; w = w->next) dpi_bell_ring(&f->ctx->bells, w->bell);
}

/* Under the copy's lock. */
static void failed(struct dpi_flow *f, int error, const char *sentence)
{
	if (atomic_load_explicit(&f->failed, memory_order_relaxed)) return;
	snprintf(f->sentence, sizeof f->sentence, "%s", sentence);
	/* release: whoever sees failed sees the sentence */
	atomic_store_explicit(&f->failed, error, memory_order_release);
	changed(f);
}

static bool room_for_sources(struct dpi_flow *f, uint32_t count)
{
	uint32_t room = f->source_room ? f->source_room : 8;
	while (room < count) room *= 2;
	if (room == f->source_room) return true;
	uint8_t *source = realloc(f->source, room);
	if (source) f->source = source;
	int *node = source ? realloc(f->source_node, room * sizeof *node) : NULL;
	if (node) f->source_node = node;
	if (node) f->source_room = room;
	return node;
}

/* Each of the following: false: nonsense, or no memory. Under the copy's lock. */

static bool hear_sources(struct dpi_flow *f, struct dpi_unpack *u)
{
	uint32_t first = dpi_unpack_u32(u), count = dpi_unpack_u32(u), opened = atomic_load(&f->opened), over = atomic_load(&f->over);
	if (u->bad || first > opened || count > DPI_SOURCES_MAX - first || !room_for_sources(f, first + count)) return false;
	for (uint32_t i = first; i < first + count; i++) {
		uint8_t state = dpi_unpack_u8(u);
		uint32_t node = dpi_unpack_u32(u);
		if (u->bad || state < DPI_SOURCE_OPEN || state > DPI_SOURCE_DEAD || node >= DPI_NODES_MAX) return false;
		bool was_over = i < opened && f->source[i] != DPI_SOURCE_OPEN;
		if (was_over) continue; /* for ever */
		f->source[i] = state;
		f->source_node[i] = (int)node;
		if (state != DPI_SOURCE_OPEN) over++;
		if (i >= opened) opened = i + 1;
	}
	atomic_store_explicit(&f->opened, opened, memory_order_release);
	atomic_store_explicit(&f->over, over, memory_order_release);
	return true;
}

static bool hear_targets(struct dpi_flow *f, struct dpi_unpack *u)
{
	uint32_t first = dpi_unpack_u32(u), count = dpi_unpack_u32(u), most = f->definition ? f->target_room : DPI_TARGETS_MAX;
	if (u->bad || first > most || count > most - first) return false;
	if (first + count > f->target_room) {
		struct dpi_flow_target *t = realloc(f->target, (first + count) * sizeof *t);
		if (!t) return false;
		memset(t + f->target_room, 0, (first + count - f->target_room) * sizeof *t);
		f->target = t;
		f->target_room = first + count;
	}
	for (uint32_t i = first; i < first + count; i++) {
		struct dpi_flow_target t = { .state = dpi_unpack_u8(u) };
		uint32_t node = dpi_unpack_u32(u);
		t.node = (int)node;
		t.queue = dpi_unpack_u64(u);
		if (u->bad || t.state > DPI_TARGET_DEAD || node >= DPI_NODES_MAX) return false;
		f->target[i] = t;
	}
	return true;
}

static bool hear_failed(struct dpi_flow *f, struct dpi_unpack *u)
{
	char sentence[DPI_FLOW_SENTENCE];
	uint32_t error = dpi_unpack_u32(u);
	dpi_unpack_text(u, sentence, sizeof sentence);
	if (u->bad) return false;
	dpi_clean(sentence);
	failed(f, dpi_flow_class(error), sentence);
	return true;
}

void dpi_flow_news(struct dpi_context *ctx, uint16_t type, struct dpi_unpack *u)
{
	uint64_t id = dpi_unpack_u64(u), copy = dpi_unpack_u64(u);
	bool good = copy && !u->bad;
	pthread_mutex_lock(&ctx->flows->lock);
	struct dpi_flow *f = good ? *place(ctx->flows, id, copy) : NULL; /* NULL: closed meanwhile */
	if (f) {
		pthread_mutex_lock(&f->lock);
		if (type == DPI_FLOW_SOURCES) good = hear_sources(f, u);
		else if (type == DPI_FLOW_TARGETS) good = hear_targets(f, u);
		else if (type == DPI_FLOW_FAILED) good = hear_failed(f, u);
		else atomic_store_explicit(&f->sealed, true, memory_order_release); /* opened stands, now for ever */
		if (!good) failed(f, DPI_ERR_FLOW, "what the registry's node tells of the flow is malformed, or there is no memory for it");
		changed(f);
		pthread_mutex_unlock(&f->lock);
	}
	pthread_mutex_unlock(&ctx->flows->lock);
	if (!good) dpi_log(DPI_LOG_ERROR, "what the registry's node tells of a flow is malformed, or there is no memory for it");
}

static void on_news(struct dpi_context *ctx, struct dpi_request_in *in)
{
	if (in->from->node == DPI_REGISTRY_NODE) dpi_flow_news(ctx, in->type, &in->body);
	else dpi_log(DPI_LOG_WARNING, "node %d sent news of a flow, which it has no right to", in->from->node);
}

static void on_peer_down(struct dpi_context *ctx, struct dpi_peer *peer)
{
	struct dpi_flow_layer *l = ctx->flows;
	if (peer->node != DPI_REGISTRY_NODE) return;
	pthread_mutex_lock(&l->lock);
	for (uint32_t i = 0; i < DPI_FLOW_BUCKETS; i++)
		for (struct dpi_flow *f = l->copy[i]; f; f = f->next) {
			pthread_mutex_lock(&f->lock);
			atomic_store_explicit(&f->orphaned, true, memory_order_release);
			changed(f);
			pthread_mutex_unlock(&f->lock);
		}
	pthread_mutex_unlock(&l->lock);
}

/* ----------------------------------------------------------------------------------------------------- requests */

static int ask(struct dpi_context *ctx, uint16_t type, struct dpi_pack *p, int64_t deadline, struct dpi_reply *reply)
{
	int error = dpi_call(ctx, DPI_REGISTRY_NODE, type, p, deadline, reply);
	if (error == DPI_ERR_PEER && !dpi_peer_find(ctx, DPI_REGISTRY_NODE))
		return dpi_fail(DPI_ERR_REGISTRY, "the flow's coordinator cannot be asked any more: %s", dpi_detail());
	return error;
}

/* The same about a copy's flow: if that has failed, its own failure. */
static int ask_of(struct dpi_flow *f, uint16_t type, struct dpi_pack *p, int64_t deadline, struct dpi_reply *reply)
{
	int error = ask(f->ctx, type, p, deadline, reply);
	if (!error || error == DPI_ERR_TIMEOUT || error == DPI_ERR_REGISTRY) return error;
	int own = dpi_flow_check(f);
	return own ? own : error;
}

static int nonsense(const char *name)
{
	return dpi_fail(DPI_ERR_CORRUPT, "the registry's node answered with nonsense about flow '%s'", name);
}

static int open_call(struct dpi_flow *f, int64_t deadline)
{
	struct dpi_reply reply;
	struct dpi_pack p = { 0 };
	struct dpi_definition *d;
	dpi_pack_u64(&p, f->id);
	dpi_pack_u64(&p, f->copy);
	int error = ask(f->ctx, DPI_FLOW_OPEN, &p, deadline, &reply);
	if (error) return error;
	uint32_t size;
	const void *bytes = dpi_unpack_bytes(&reply.body, &size);
	error = reply.body.bad ? nonsense(f->name) : dpi_definition_parse(bytes, size, &d);
	dpi_reply_free(&reply);
	if (error) return error;
	pthread_mutex_lock(&f->ctx->flows->lock);
	pthread_mutex_lock(&f->lock);
	if (f->target_room == d->targets) f->definition = d;
	pthread_mutex_unlock(&f->lock);
	pthread_mutex_unlock(&f->ctx->flows->lock);
	if (f->definition) return DPI_SUCCESS;
	dpi_definition_unref(d);
	return nonsense(f->name);
}

static int open_entry(struct dpi_context *ctx, const char *name, const struct dpi_name *entry, int64_t deadline, struct dpi_flow **out)
{
	if (entry->node != DPI_REGISTRY_NODE) return nonsense(name);
	pthread_mutex_lock(&ctx->flows->lock);
	struct dpi_flow *f = *place(ctx->flows, entry->id, 0);
	/* one that failed may be destroyed by now, which only the coordinator knows */
	if (f && !atomic_load_explicit(&f->failed, memory_order_acquire)) f->references++;
	else f = NULL;
	pthread_mutex_unlock(&ctx->flows->lock);
	*out = f;
	if (f) return DPI_SUCCESS;
	f = copy_new(ctx, name);
	if (!f) return DPI_ERR_MEMORY;
	f->id = entry->id;
	enlist(f); /* from here on news find it */
	int error = open_call(f, deadline);
	if (!error) {
		*out = f;
		return DPI_SUCCESS;
	}
	char sentence[DPI_DETAIL_MAX];
	snprintf(sentence, sizeof sentence, "%s", dpi_detail());
	dpi_flow_unref(f);
	return dpi_fail(error, "%s", sentence);
}

/* Open what a name stands for. A name whose flow is no more (its destroyer or creator died between two steps) is removed:
 * DPI_ERR_AGAIN. */
static int open_named(struct dpi_context *ctx, const char *name, const struct dpi_name *entry, int64_t deadline, struct dpi_flow **f)
{
	int error = open_entry(ctx, name, entry, deadline, f);
	if (error != DPI_ERR_DESTROYED) return error;
	error = dpi_name_remove(ctx, name, entry->id, deadline);
	return error && error != DPI_ERR_NAME ? error : DPI_ERR_AGAIN;
}

int dpi_flow_open(struct dpi_context *ctx, const char *name, int64_t appear, int64_t deadline, struct dpi_flow **f)
{
	int error;
	struct dpi_name entry;
	do {
		error = dpi_name_find(ctx, name, DPI_NAME_FLOW, appear, &entry);
		if (!error) error = open_named(ctx, name, &entry, deadline, f);
	} while (error == DPI_ERR_AGAIN);
	return error;
}

/* A create found the name taken. AGAIN: it is free now. */
static int open_existing(struct dpi_context *ctx, const char *name, int create, const struct dpi_definition *d, const struct dpi_name *entry,
			 int64_t deadline, struct dpi_flow **f)
{
	char difference[DPI_DETAIL_MAX / 2];
	if (entry->kind != DPI_NAME_FLOW) return dpi_fail(DPI_ERR_EXISTS, "the name '%s' is taken by something that is no flow", name);
	if (create != DPI_CREATE_OR_OPEN)
		return dpi_fail(DPI_ERR_EXISTS, "the name '%s' is taken by a flow: choose another, open it, or create with DPI_CREATE_OR_OPEN", name);
	int error = open_named(ctx, name, entry, deadline, f);
	if (error || dpi_definition_equal((*f)->definition, d, difference, sizeof difference)) return error;
	dpi_flow_unref(*f);
	*f = NULL;
	return dpi_fail(DPI_ERR_EXISTS, "flow '%s' is there with another definition: %s", name, difference);
}

static int create_call(struct dpi_flow *f, int64_t deadline)
{
	uint8_t *bytes;
	size_t size;
	struct dpi_reply reply;
	struct dpi_pack p = { 0 };
	int error = dpi_definition_write(f->definition, &bytes, &size);
	if (error) return error;
	dpi_pack_u64(&p, f->copy);
	dpi_pack_text(&p, f->name);
	dpi_pack_bytes(&p, bytes, (uint32_t)size);
	free(bytes);
	error = ask(f->ctx, DPI_FLOW_CREATE, &p, deadline, &reply);
	if (error) return error;
	f->id = dpi_unpack_u64(&reply.body);
	bool bad = reply.body.bad;
	dpi_reply_free(&reply);
	return bad ? nonsense(f->name) : DPI_SUCCESS;
}

/* One try. d's reference stays the caller's. AGAIN: the name was that of a flow that is no more. */
static int create(struct dpi_context *ctx, const char *name, int how, struct dpi_definition *d, int64_t deadline, struct dpi_flow **out)
{
	struct dpi_name entry;
	struct dpi_peer *home;
	if (how == DPI_CREATE_OR_OPEN && !dpi_name_find(ctx, name, DPI_NAME_FLOW, dpi_now(), &entry))
		return open_existing(ctx, name, how, d, &entry, deadline, out);
	int error = dpi_peer_get(ctx, DPI_REGISTRY_NODE, deadline, &home);
	if (error == DPI_ERR_PEER) return dpi_fail(DPI_ERR_REGISTRY, "the registry cannot be asked any more: %s", dpi_detail());
	if (error) return error;
	struct dpi_flow *f = copy_new(ctx, name);
	if (!f) return DPI_ERR_MEMORY;
	f->definition = dpi_definition_ref(d);
	f->target_room = d->targets;
	f->target = calloc(d->targets, sizeof *f->target);
	error = f->target ? create_call(f, deadline) : dpi_fail(DPI_ERR_MEMORY, "no memory for a flow");
	if (error) {
		copy_free(f);
		return error;
	}
	enlist(f); /* before anybody can find the flow, and so change it */
	entry = (struct dpi_name){ DPI_NAME_FLOW, DPI_REGISTRY_NODE, home->incarnation, f->id };
	error = dpi_name_publish(ctx, name, &entry, deadline);
	if (!error) {
		tell_one(ctx, DPI_FLOW_NAMED, f->id);
		*out = f;
		return DPI_SUCCESS;
	}
	char sentence[DPI_DETAIL_MAX];
	snprintf(sentence, sizeof sentence, "%s", dpi_detail());
	tell_one(ctx, DPI_FLOW_DROP, f->id);
	dpi_flow_unref(f);
	return error == DPI_ERR_EXISTS ? open_existing(ctx, name, how, d, &entry, deadline, out) : dpi_fail(error, "%s", sentence);
}

int dpi_flow_create(struct dpi_context *ctx, const char *name, const DPI_Flow_Attr *attr, int64_t deadline, struct dpi_flow **f)
{
	struct dpi_definition *d;
	int error = dpi_definition_from(attr, &d);
	if (error) return error;
	do error = create(ctx, name, attr->create, d, deadline, f);
	while (error == DPI_ERR_AGAIN);
	dpi_definition_unref(d);
	return error;
}

int dpi_flow_destroy(struct dpi_context *ctx, const char *name, int64_t deadline)
{
	struct dpi_name entry;
	int error = dpi_name_find(ctx, name, DPI_NAME_FLOW, dpi_now(), &entry);
	if (error) return error;
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, entry.id);
	error = ask(ctx, DPI_FLOW_DESTROY, &p, deadline, NULL);
	if (error && error != DPI_ERR_DESTROYED) return error;
	int removed = dpi_name_remove(ctx, name, entry.id, deadline);
	if (error) return dpi_fail(DPI_ERR_NAME, "flow '%s' is being destroyed by another caller", name);
	return removed == DPI_ERR_NAME ? DPI_SUCCESS : removed; /* somebody who could not open it did that */
}

int dpi_flow_join(struct dpi_flow *f, int64_t deadline, uint32_t *source)
{
	struct dpi_reply reply;
	struct dpi_pack p = { 0 };
	uint64_t token = atomic_fetch_add_explicit(&f->ctx->flows->next_token, 1, memory_order_relaxed);
	dpi_pack_u64(&p, f->id);
	dpi_pack_u64(&p, token);
	int error = ask_of(f, DPI_FLOW_JOIN, &p, deadline, &reply);
	if (error == DPI_ERR_TIMEOUT) tell_two(f->ctx, DPI_FLOW_ABANDON, f->id, token);
	if (error) return error;
	*source = dpi_unpack_u32(&reply.body);
	bool bad = reply.body.bad || *source >= DPI_SOURCES_MAX;
	dpi_reply_free(&reply);
	return bad ? nonsense(f->name) : DPI_SUCCESS;
}

int dpi_flow_leave(struct dpi_flow *f, uint32_t source, int state, int64_t deadline)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, f->id);
	dpi_pack_u32(&p, source);
	dpi_pack_u32(&p, (uint32_t)state);
	return ask_of(f, DPI_FLOW_LEAVE, &p, deadline, NULL);
}

static struct dpi_pack unbinding(const struct dpi_flow *f, uint32_t target, uint64_t queue, int state)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, f->id);
	dpi_pack_u32(&p, target);
	dpi_pack_u64(&p, queue);
	dpi_pack_u32(&p, (uint32_t)state);
	return p;
}

int dpi_flow_bind(struct dpi_flow *f, uint32_t target, uint64_t queue, int64_t deadline)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, f->id);
	dpi_pack_u32(&p, target);
	dpi_pack_u64(&p, queue);
	int error = ask_of(f, DPI_FLOW_BIND, &p, deadline, NULL);
	if (error != DPI_ERR_TIMEOUT) return error;
	p = unbinding(f, target, queue, DPI_TARGET_UNBOUND);
	tell(f->ctx, DPI_FLOW_UNBIND, &p);
	return error;
}

int dpi_flow_unbind(struct dpi_flow *f, uint32_t target, int state, int64_t deadline)
{
	struct dpi_pack p = unbinding(f, target, dpi_flow_where(f, target).queue, state);
	return ask_of(f, DPI_FLOW_UNBIND, &p, deadline, NULL);
}

int dpi_flow_seal(struct dpi_flow *f, int64_t deadline)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, f->id);
	return ask_of(f, DPI_FLOW_SEAL, &p, deadline, NULL);
}

int dpi_flow_cancel(struct dpi_flow *f, const char *reason, int64_t deadline)
{
	char text[DPI_FLOW_SENTENCE];
	struct dpi_pack p = { 0 };
	snprintf(text, sizeof text, "%s", reason ? reason : "");
	dpi_pack_u64(&p, f->id);
	dpi_pack_text(&p, text);
	return ask_of(f, DPI_FLOW_CANCEL, &p, deadline, NULL);
}

void dpi_flow_fail(struct dpi_flow *f, int error, const char *sentence)
{
	struct dpi_pack p = { 0 };
	pthread_mutex_lock(&f->lock);
	bool first = !atomic_load_explicit(&f->failed, memory_order_relaxed);
	failed(f, error, sentence);
	pthread_mutex_unlock(&f->lock);
	if (!first) return;
	dpi_pack_u64(&p, f->id);
	dpi_pack_u32(&p, (uint32_t)error);
	dpi_pack_text(&p, f->sentence); /* cut to fit; it does not change any more */
	tell(f->ctx, DPI_FLOW_FAIL, &p);
}

/* --------------------------------------------------------------------------------------------- what endpoints read */

int dpi_flow_check(const struct dpi_flow *f)
{
	int error = atomic_load_explicit(&f->failed, memory_order_acquire);
	return error ? dpi_fail(error, "%s", f->sentence) : DPI_SUCCESS;
}

struct dpi_flow_target dpi_flow_where(struct dpi_flow *f, uint32_t target)
{
	struct dpi_flow_target t = { 0 };
	pthread_mutex_lock(&f->lock);
	if (target < f->target_room) t = f->target[target];
	pthread_mutex_unlock(&f->lock);
	return t;
}

int dpi_flow_source_node(struct dpi_flow *f, uint32_t source)
{
	pthread_mutex_lock(&f->lock);
	int node = source < atomic_load_explicit(&f->opened, memory_order_relaxed) ? f->source_node[source] : -1;
	pthread_mutex_unlock(&f->lock);
	return node;
}

int dpi_flow_source_state(struct dpi_flow *f, uint32_t source)
{
	pthread_mutex_lock(&f->lock);
	int state = source < atomic_load_explicit(&f->opened, memory_order_relaxed) ? f->source[source] : 0;
	pthread_mutex_unlock(&f->lock);
	return state;
}

void dpi_flow_watch(struct dpi_flow *f, struct dpi_flow_watch *w)
{
	pthread_mutex_lock(&f->lock);
	w->next = f->watches;
	f->watches = w;
	pthread_mutex_unlock(&f->lock);
}

void dpi_flow_unwatch(struct dpi_flow *f, struct dpi_flow_watch *w)
{
	pthread_mutex_lock(&f->lock);
	struct dpi_flow_watch **at = &f->watches;
	while (*at && *at != w) at = &(*at)->next;
	if (*at) *at = w->next;
	pthread_mutex_unlock(&f->lock);
}

/* ------------------------------------------------------------------------------------------------------- the layer */

int dpi_flows_open(struct dpi_context *ctx)
{
	ctx->flows = calloc(1, sizeof *ctx->flows);
	if (!ctx->flows) return dpi_fail(DPI_ERR_MEMORY, "no memory for the flow layer");
	pthread_mutex_init(&ctx->flows->lock, NULL);
	int error = dpi_coordinator_open(ctx);
	for (uint16_t type = DPI_FLOW_SOURCES; type < DPI_FLOW_MESSAGES_END && !error; type++) error = dpi_handle_messages(ctx, type, on_news);
	return error ? error : dpi_on_peer_down(ctx, on_peer_down);
}

void dpi_flows_close(struct dpi_context *ctx)
{
	struct dpi_flow_layer *l = ctx->flows;
	dpi_coordinator_close(ctx);
	for (uint32_t i = 0; i < DPI_FLOW_BUCKETS; i++)
		while (l->copy[i]) {
			struct dpi_flow *f = l->copy[i];
			l->copy[i] = f->next;
			copy_free(f);
		}
	pthread_mutex_destroy(&l->lock);
	free(l);
	ctx->flows = NULL;
}
