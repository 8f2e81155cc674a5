/* SPDX-License-Identifier: Apache-2.0
 * flow.c: this process's copies of flows: what they hear, and what endpoints read of them. */
#include "flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "columnar.h"
#include "hello.h"
#include "layer.h"
#include "linger.h"
#include "loop.h"
#include "retain.h"
#include "stats.h"

/* -------------------------------------------------------------------------------------------------------- copies */

struct dpi_flow **dpi_flow_place(struct dpi_flow_layer *l, uint64_t id, uint64_t copy)
{
	struct dpi_flow **at = &l->copy[id % DPI_FLOW_BUCKETS];
	while (*at && ((*at)->id != id || (copy ? (*at)->copy != copy : !(*at)->definition))) at = &(*at)->next;
	return at;
}

struct dpi_flow *dpi_flow_new(struct dpi_context *ctx, const char *name)
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

void dpi_flow_free(struct dpi_flow *f)
{
	dpi_definition_unref(f->definition);
	free(f->source);
	free(f->source_node);
	free(f->source_epoch);
	free(f->source_id);
	free(f->target);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

void dpi_flow_enlist(struct dpi_flow *f)
{
	struct dpi_flow_layer *l = f->ctx->flows;
	pthread_mutex_lock(&l->lock);
	struct dpi_flow **at = &l->copy[f->id % DPI_FLOW_BUCKETS];
	f->next = *at;
	*at = f;
	pthread_mutex_unlock(&l->lock);
}

void dpi_flow_tell(struct dpi_context *ctx, uint16_t type, struct dpi_pack *p)
{
	struct dpi_peer *to = dpi_peer_find(ctx, DPI_REGISTRY_NODE);
	if (to) dpi_tell(ctx, to, type, p);
	else dpi_pack_free(p);
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
		struct dpi_flow **at = dpi_flow_place(l, f->id, f->copy);
		if (*at) *at = f->next;
	}
	pthread_mutex_unlock(&l->lock);
	if (!last) return;
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, f->id);
	dpi_pack_u64(&p, f->copy);
	dpi_flow_tell(f->ctx, DPI_FLOW_CLOSE, &p);
	dpi_flow_free(f);
}

struct dpi_flow *dpi_flow_get(DPI_Flow handle)
{
	struct dpi_context *ctx = dpi_context();
	/* looked at first, as in a forked child, where no handle is alive, the lock may be held for ever */
	if (!ctx || !dpi_handle_alive(DPI_HANDLE_FLOW, (uint64_t)(uintptr_t)handle)) return NULL;
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
	uint32_t *epoch = node ? realloc(f->source_epoch, room * sizeof *epoch) : NULL;
	if (epoch) f->source_epoch = epoch;
	uint64_t *id = epoch ? realloc(f->source_id, room * sizeof *id) : NULL;
	if (id) f->source_id = id;
	if (id) f->source_room = room;
	return id;
}

static bool is_over(uint8_t state)
{
	return state == DPI_SOURCE_CLOSED || state == DPI_SOURCE_DEAD;
}

/* Each of the following: false: nonsense, or no memory. Under the copy's lock. */

static bool hear_sources(struct dpi_flow *f, struct dpi_unpack *u)
{
	uint32_t first = dpi_unpack_u32(u), count = dpi_unpack_u32(u), opened = atomic_load(&f->opened),
		 over = atomic_load(&f->over);
	if (u->bad || first > opened || count > DPI_SOURCES_MAX - first || !room_for_sources(f, first + count))
		return false;
	for (uint32_t i = first; i < first + count; i++) {
		uint8_t state = dpi_unpack_u8(u);
		uint32_t node = dpi_unpack_u32(u), epoch = dpi_unpack_u32(u);
		uint64_t id = dpi_unpack_u64(u);
		if (u->bad || state < DPI_SOURCE_OPEN || state > DPI_SOURCE_LOST || node >= DPI_NODES_MAX) return false;
		if (i < opened && is_over(f->source[i])) continue; /* for ever */
		f->source[i] = state;
		f->source_node[i] = (int)node;
		f->source_epoch[i] = epoch;
		f->source_id[i] = id;
		if (is_over(state)) over++;
		if (i >= opened) opened = i + 1;
	}
	atomic_store_explicit(&f->opened, opened, memory_order_release);
	atomic_store_explicit(&f->over, over, memory_order_release);
	return true;
}

static bool hear_targets(struct dpi_flow *f, struct dpi_unpack *u)
{
	uint32_t first = dpi_unpack_u32(u), count = dpi_unpack_u32(u),
		 most = f->definition ? f->target_room : DPI_TARGETS_MAX;
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
		t.epoch = dpi_unpack_u32(u);
		if (u->bad || t.state > DPI_TARGET_DETACHED || node >= DPI_NODES_MAX) return false;
		f->target[i] = t;
	}
	/* a source that pushes by the short way alone is to learn that its lanes lead to the wrong place */
	for (struct dpi_flow_watch *w = f->watches; w && f->definition && f->definition->retain; w = w->next)
		if (w->kind == DPI_ENDPOINT_SOURCE) dpi_retain_moved(w->endpoint);
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
	static const char nonsense[] =
		"what the registry's node tells of a flow is malformed, or there is no memory for it";
	uint64_t id = dpi_unpack_u64(u), copy = dpi_unpack_u64(u);
	bool good = copy && !u->bad;
	pthread_mutex_lock(&ctx->flows->lock);
	struct dpi_flow *f = good ? *dpi_flow_place(ctx->flows, id, copy) : NULL; /* NULL: closed meanwhile */
	if (f) {
		pthread_mutex_lock(&f->lock);
		if (type == DPI_FLOW_SOURCES) good = hear_sources(f, u);
		else if (type == DPI_FLOW_TARGETS) good = hear_targets(f, u);
		else if (type == DPI_FLOW_FAILED) good = hear_failed(f, u);
		else if (type == DPI_FLOW_BACK) atomic_store_explicit(&f->orphaned, false, memory_order_release);
		else atomic_store_explicit(&f->sealed, true, memory_order_release); /* opened stands, now for ever */
		if (!good) failed(f, DPI_ERR_FLOW, nonsense);
		changed(f);
		pthread_mutex_unlock(&f->lock);
	}
	if (type == DPI_FLOW_BACK) dpi_flow_left_is_known(ctx->flows);
	pthread_mutex_unlock(&ctx->flows->lock);
	if (!good) dpi_log(DPI_LOG_ERROR, "%s", nonsense);
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

static struct dpi_pack failure(const struct dpi_flow *f, int error, const char *sentence)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, f->id);
	dpi_pack_u32(&p, (uint32_t)error);
	dpi_pack_text(&p, sentence);
	return p;
}

void dpi_flow_fail(struct dpi_flow *f, int error, const char *sentence)
{
	char text[DPI_FLOW_SENTENCE], detail[DPI_DETAIL_MAX];
	if (atomic_load_explicit(&f->failed, memory_order_acquire)) return;
	snprintf(text, sizeof text, "%s", sentence);
	snprintf(detail, sizeof detail, "%s", dpi_detail());
	/* of several failures that are found at once the coordinator says which is everyone's, and then answers; a class that only
	 * this process is to return it does not know */
	struct dpi_pack p = failure(f, error, text);
	int unheard = DPI_ERR_AGAIN;
	if (dpi_loop_inside(f->ctx) || dpi_flow_class((uint32_t)error) != error) dpi_pack_free(&p);
	else unheard = dpi_call(f->ctx, DPI_REGISTRY_NODE, DPI_FLOW_FAIL, &p, dpi_now() + DPI_ANSWER_NS, NULL);
	pthread_mutex_lock(&f->lock);
	bool first = !atomic_load_explicit(&f->failed, memory_order_relaxed);
	failed(f, error, text);
	pthread_mutex_unlock(&f->lock);
	p = failure(f, error, text);
	if (first && unheard) dpi_flow_tell(f->ctx, DPI_FLOW_FAIL, &p);
	else dpi_pack_free(&p);
	dpi_fail(error, "%s", detail);
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

void dpi_flow_count(const struct dpi_flow *f, DPI_Flow_Info *info)
{
	uint32_t opened = atomic_load_explicit(&f->opened, memory_order_relaxed);
	for (uint32_t i = 0; i < f->target_room; i++) {
		info->bound += f->target[i].state != DPI_TARGET_UNBOUND;
		info->detached += f->target[i].state == DPI_TARGET_DETACHED;
	}
	for (uint32_t i = 0; i < opened; i++) {
		info->dead += f->source[i] == DPI_SOURCE_DEAD;
		info->lost += f->source[i] == DPI_SOURCE_LOST;
	}
}

bool dpi_flow_source_fenced(struct dpi_flow *f, uint32_t source, uint32_t epoch)
{
	pthread_mutex_lock(&f->lock);
	bool known = source < atomic_load_explicit(&f->opened, memory_order_relaxed);
	bool fenced = known && (f->source_epoch[source] != epoch || f->source[source] != DPI_SOURCE_OPEN);
	pthread_mutex_unlock(&f->lock);
	return fenced;
}

struct dpi_flow_source dpi_flow_whose(struct dpi_flow *f, uint32_t source)
{
	struct dpi_flow_source is = { .node = -1 };
	pthread_mutex_lock(&f->lock);
	if (source < atomic_load_explicit(&f->opened, memory_order_relaxed))
		is = (struct dpi_flow_source){ f->source[source], f->source_node[source], f->source_epoch[source], f->source_id[source] };
	pthread_mutex_unlock(&f->lock);
	return is;
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
	int error = dpi_flow_linger_open(ctx);
	if (!error) error = dpi_coordinator_open(ctx);
	if (!error) error = dpi_flow_return_open(ctx);
	for (uint16_t type = DPI_FLOW_SOURCES; type < DPI_FLOW_MESSAGES_END && !error; type++)
		error = dpi_handle_messages(ctx, type, on_news);
	if (!error) error = dpi_stats_open(ctx);
	return error ? error : dpi_on_peer_down(ctx, on_peer_down);
}

void dpi_flows_close(struct dpi_context *ctx)
{
	struct dpi_flow_layer *l = ctx->flows;
	dpi_coordinator_close(ctx);
	dpi_flow_return_close(l);
	for (uint32_t i = 0; i < DPI_FLOW_BUCKETS; i++)
		while (l->copy[i]) {
			struct dpi_flow *f = l->copy[i];
			l->copy[i] = f->next;
			dpi_flow_free(f);
		}
	pthread_mutex_destroy(&l->linger_lock);
	pthread_mutex_destroy(&l->lock);
	free(l);
	ctx->flows = NULL;
}
