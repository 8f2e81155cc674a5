/* SPDX-License-Identifier: Apache-2.0
 * home.c: the buffers whose home is this node, and the requests about them. All of it runs on the loop thread, but what home.h says. */
#include "home.h"

#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "delay.h"
#include "layer.h"
#include "wait.h"

/* -------------------------------------------------------------------------------------------------------- the list */

/* The list's head; other threads may put a new one before it (dpi_home_over), only the loop thread takes any out. */
struct dpi_home *dpi_home_first(struct dpi_context *ctx)
{
	pthread_mutex_lock(&ctx->memory->lock);
	struct dpi_home *h = ctx->memory->home;
	pthread_mutex_unlock(&ctx->memory->lock);
	return h;
}

static struct dpi_home *find(struct dpi_home *h, uint64_t id)
{
	while (h && h->id != id) h = h->next;
	return h;
}

struct dpi_home *dpi_home_find(struct dpi_context *ctx, uint64_t id)
{
	pthread_mutex_lock(&ctx->memory->lock);
	struct dpi_home *h = find(ctx->memory->home, id);
	if (h) h->references++;
	pthread_mutex_unlock(&ctx->memory->lock);
	return h;
}

static void home_free(struct dpi_context *ctx, struct dpi_home *h)
{
	dpi_wanted_free(ctx, h, DPI_SUCCESS);
	while (h->incoming) {
		struct dpi_ring_in *r = h->incoming, *larger = atomic_load(&r->larger);
		h->incoming = r->next;
		/* a ring and the one it would have been replaced by */
		while (r) {
			dpi_ring_in_free(ctx, h, r);
			r = larger;
			larger = r ? atomic_load(&r->larger) : NULL;
		}
	}
	if (h->shape.use == DPI_USE_LOG) dpi_log_free(ctx, h);
	if (h->region.address) dpi_window_free(ctx, &h->region);
	dpi_pieces_free(h->pieces);
	free(h->handle);
	free(h->ring);
	free(h->came);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

void dpi_home_release(struct dpi_context *ctx, struct dpi_home *h)
{
	pthread_mutex_lock(&ctx->memory->lock);
	bool last = !--h->references;
	pthread_mutex_unlock(&ctx->memory->lock);
	if (last) home_free(ctx, h);
}

static struct dpi_home *make(struct dpi_context *ctx, const struct dpi_buffer_shape *shape)
{
	struct dpi_memory_layer *m = ctx->memory;
	struct dpi_home *h = calloc(1, sizeof *h);
	if (!h) {
		dpi_fail(DPI_ERR_MEMORY, "no memory for a buffer");
		return NULL;
	}
	pthread_mutex_init(&h->lock, NULL);
	h->shape = *shape;
	h->references = 1; /* the list's */
	h->bell = shape->use == DPI_USE_LOG ? DPI_BELL_SERVICE : dpi_bell_pick(ctx);
	h->region.fd = -1;
	pthread_mutex_lock(&m->lock);
	h->id = ++m->next_home;
	pthread_mutex_unlock(&m->lock);
	return h;
}

static void list(struct dpi_context *ctx, struct dpi_home *h)
{
	pthread_mutex_lock(&ctx->memory->lock);
	h->next = ctx->memory->home;
	ctx->memory->home = h;
	pthread_mutex_unlock(&ctx->memory->lock);
}

static void unlist(struct dpi_context *ctx, struct dpi_home *h)
{
	pthread_mutex_lock(&ctx->memory->lock);
	struct dpi_home **p = &ctx->memory->home;
	while (*p && *p != h) p = &(*p)->next;
	if (*p) *p = h->next;
	pthread_mutex_unlock(&ctx->memory->lock);
}

#define REGION_ACCESS (DPI_TP_READ | DPI_TP_WRITE | DPI_TP_ATOMIC)

int dpi_home_over(struct dpi_context *ctx, const struct dpi_buffer_shape *shape, void *memory, uint64_t *id)
{
	struct dpi_home *h = make(ctx, shape);
	if (!h) return DPI_ERR_MEMORY;
	int fd = -1;
	uint64_t offset = 0;
	dpi_local_memory_find(ctx, memory, shape->capacity, &fd, &offset); /* shareable if the library allocated it */
	dpi_window_wrap(memory, shape->capacity, fd, offset, &h->region);
	int error = dpi_window_expose(ctx, &h->region, REGION_ACCESS);
	if (error) {
		home_free(ctx, h);
		return error;
	}
	h->memory = shape->capacity;
	*id = h->id;
	list(ctx, h);
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------- requests */

void dpi_home_answer(struct dpi_context *ctx, struct dpi_request_in *in, int error)
{
	if (in->id) dpi_answer(ctx, in->from, in->id, error, NULL);
}

bool dpi_home_same_host(struct dpi_context *ctx, const struct dpi_peer *peer)
{
	return peer->same_host || peer->node == ctx->node;
}

struct dpi_home *dpi_home_target(struct dpi_context *ctx, struct dpi_request_in *in, uint64_t id)
{
	struct dpi_home *h = in->body.bad ? NULL : find(dpi_home_first(ctx), id);
	if (h) return h;
	dpi_home_answer(ctx, in, in->body.bad ? dpi_fail(DPI_ERR_CORRUPT, "a malformed request about a buffer")
					    : dpi_fail(DPI_ERR_DESTROYED, "the buffer was destroyed, or never was on node %d", ctx->node));
	return NULL;
}

/* Rings and segments come later, of the same kind of memory: that there is some is found out now. */
static int try_memory(struct dpi_context *ctx, const struct dpi_buffer_shape *shape)
{
	struct dpi_window w;
	if (shape->huge_pages != DPI_HUGE_REQUIRE && (int)shape->numa == DPI_NUMA_ANY) return DPI_SUCCESS;
	int error = dpi_window_allocate(shape->capacity, (int)shape->huge_pages, (int)shape->numa, &w);
	if (!error) dpi_window_free(ctx, &w);
	return error;
}

static void on_create(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct dpi_buffer_shape shape;
	dpi_shape_unpack(&in->body, &shape);
	int error = in->body.bad ? dpi_fail(DPI_ERR_CORRUPT, "a malformed request to create a buffer") : dpi_shape_check(&shape);
	struct dpi_home *h = error ? NULL : make(ctx, &shape);
	if (!h) {
		dpi_home_answer(ctx, in, error ? error : DPI_ERR_MEMORY);
		return;
	}
	if (shape.use == DPI_USE_REGION) {
		error = dpi_window_allocate(shape.capacity, (int)shape.huge_pages, (int)shape.numa, &h->region);
		if (!error) error = dpi_window_expose(ctx, &h->region, REGION_ACCESS);
		if (!error) h->memory = shape.capacity;
	} else {
		error = try_memory(ctx, &shape);
		if (!error && shape.use == DPI_USE_LOG) error = dpi_log_create(ctx, h);
	}
	if (error) {
		home_free(ctx, h);
		dpi_home_answer(ctx, in, error);
		return;
	}
	h->creator = in->from;
	list(ctx, h);
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, h->id);
	dpi_answer(ctx, in->from, in->id, DPI_SUCCESS, &p);
	dpi_pack_free(&p);
}

struct dpi_handle_in *dpi_home_handle(struct dpi_home *h, const struct dpi_peer *peer, uint64_t handle)
{
	for (size_t i = 0; i < h->handles; i++)
		if (h->handle[i].peer == peer && h->handle[i].handle == handle) return &h->handle[i];
	return NULL;
}

static void on_open(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), handle = dpi_unpack_u64(&in->body);
	struct dpi_home *h = dpi_home_target(ctx, in, id);
	if (!h) return;
	if (!dpi_home_handle(h, in->from, handle)) {
		if (h->handles == h->handles_room) {
			size_t room = h->handles_room ? 2 * h->handles_room : 8;
			void *p = realloc(h->handle, room * sizeof *h->handle);
			if (!p) {
				dpi_home_answer(ctx, in, dpi_fail(DPI_ERR_MEMORY, "no memory for another handle"));
				return;
			}
			h->handle = p;
			h->handles_room = room;
		}
		h->handle[h->handles++] = (struct dpi_handle_in){ in->from, handle, NULL };
	}
	struct dpi_pack p = { 0 };
	dpi_shape_pack(&p, &h->shape);
	dpi_pack_u64(&p, h->log.salt);
	dpi_pack_u64(&p, h->log.segment_size);
	const struct dpi_window *w = h->shape.use == DPI_USE_LOG ? &h->log.bounds : h->shape.use == DPI_USE_REGION ? &h->region : NULL;
	dpi_pack_u8(&p, w != NULL);
	if (w) dpi_window_pack(ctx, w, NULL, dpi_home_same_host(ctx, in->from), &p);
	dpi_answer(ctx, in->from, in->id, DPI_SUCCESS, &p);
	dpi_pack_free(&p);
}

void dpi_home_ring_end(struct dpi_context *ctx, struct dpi_home *h, struct dpi_handle_in *handle, int state)
{
	pthread_mutex_lock(&h->lock); /* the ring's freeing takes it too, so the ring stays until the lock is given back */
	if (handle->ring) {
		h->appenders--;
		/* release: what the appender published before it closed, or died, is visible to who sees this */
		atomic_store_explicit(&handle->ring->state, state, memory_order_release);
	}
	handle->ring = NULL;
	pthread_mutex_unlock(&h->lock);
	DPI_DELAY(home_ends_ring);
	dpi_bell_ring(&ctx->bells, h->bell);
	if (h->bell == DPI_BELL_SERVICE) dpi_loop_kick(ctx);
}

static void handle_end(struct dpi_context *ctx, struct dpi_home *h, struct dpi_handle_in *handle, int state)
{
	dpi_wanted_forget(ctx, h, handle);
	dpi_home_ring_end(ctx, h, handle, state);
	*handle = h->handle[--h->handles];
}

static void on_close(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), handle = dpi_unpack_u64(&in->body);
	struct dpi_home *h = dpi_home_target(ctx, in, id);
	if (!h) return;
	struct dpi_handle_in *found = dpi_home_handle(h, in->from, handle);
	if (found) handle_end(ctx, h, found, DPI_RING_CLOSED);
	dpi_home_answer(ctx, in, DPI_SUCCESS);
}

static void destroy(struct dpi_context *ctx, struct dpi_home *h)
{
	atomic_store_explicit(&h->destroyed, true, memory_order_release);
	unlist(ctx, h);
	dpi_wanted_free(ctx, h, dpi_fail(DPI_ERR_DESTROYED, "the buffer was destroyed"));
	for (size_t i = 0; i < h->handles; i++) {
		struct dpi_pack p = { 0 };
		dpi_pack_u64(&p, h->id);
		dpi_pack_u64(&p, h->handle[i].handle);
		if (h->handle[i].peer->node == ctx->node) dpi_memory_gone(ctx, ctx->node, h->id), dpi_pack_free(&p);
		else dpi_tell(ctx, h->handle[i].peer, DPI_MEMORY_GONE, &p);
	}
	for (size_t i = 0; i < h->log.waits; i++)
		dpi_answer(ctx, h->log.wait[i].peer, h->log.wait[i].call, dpi_fail(DPI_ERR_DESTROYED, "the log was destroyed"), NULL);
	h->log.waits = 0;
	dpi_home_release(ctx, h);
}

static void on_named(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct dpi_home *h = dpi_home_target(ctx, in, dpi_unpack_u64(&in->body));
	if (!h) return;
	h->creator = NULL;
	dpi_home_answer(ctx, in, DPI_SUCCESS);
}

static void on_destroy(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct dpi_home *h = dpi_home_target(ctx, in, dpi_unpack_u64(&in->body));
	if (!h) return;
	destroy(ctx, h);
	dpi_home_answer(ctx, in, DPI_SUCCESS);
}

static void on_gone(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body);
	if (!in->body.bad) dpi_memory_gone(ctx, in->from->node, id);
}

static void on_info(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct dpi_home *h = dpi_home_target(ctx, in, dpi_unpack_u64(&in->body));
	struct dpi_pack p = { 0 };
	if (!h) return;
	pthread_mutex_lock(&h->lock);
	dpi_pack_u64(&p, h->memory);
	dpi_pack_u64(&p, h->appenders);
	pthread_mutex_unlock(&h->lock);
	struct dpi_log_bounds *bounds = h->log.bounds.address;
	dpi_pack_u64(&p, bounds ? atomic_load(&bounds->first) : 0);
	dpi_pack_u64(&p, bounds ? atomic_load(&bounds->end) : 0);
	dpi_answer(ctx, in->from, in->id, DPI_SUCCESS, &p);
	dpi_pack_free(&p);
}

static bool wrong_use(struct dpi_context *ctx, struct dpi_request_in *in, const struct dpi_home *h)
{
	if (h->shape.use == DPI_USE_LOG) return false;
	dpi_home_answer(ctx, in, dpi_fail(DPI_ERR_USE, "the buffer is not a log"));
	return true;
}

static void on_truncate(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), position = dpi_unpack_u64(&in->body);
	struct dpi_home *h = dpi_home_target(ctx, in, id);
	if (h && !wrong_use(ctx, in, h)) dpi_home_answer(ctx, in, dpi_log_truncate(ctx, h, position));
}

static void on_segment(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), position = dpi_unpack_u64(&in->body);
	struct dpi_home *h = dpi_home_target(ctx, in, id);
	if (!h || wrong_use(ctx, in, h)) return;
	struct dpi_log *l = &h->log;
	struct dpi_log_bounds *bounds = l->bounds.address;
	uint64_t first = atomic_load(&bounds->first), end = atomic_load(&bounds->end);
	if (position < first || position >= end) {
		dpi_home_answer(ctx, in, dpi_fail(position < first ? DPI_ERR_RECLAIMED : DPI_ERR_RANGE, "the log holds positions %llu to %llu",
					       (unsigned long long)first, (unsigned long long)end));
		return;
	}
	uint64_t number = dpi_log_segment_of(l, position);
	const struct dpi_log_segment *s = &l->segment[number % l->segments_max];
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, number);
	dpi_pack_u64(&p, s->base);
	dpi_window_pack(ctx, &s->window, NULL, dpi_home_same_host(ctx, in->from), &p);
	dpi_answer(ctx, in->from, in->id, DPI_SUCCESS, &p);
	dpi_pack_free(&p);
}

static void on_await(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), position = dpi_unpack_u64(&in->body);
	struct dpi_home *h = dpi_home_target(ctx, in, id);
	if (!h || wrong_use(ctx, in, h)) return;
	struct dpi_log_bounds *bounds = h->log.bounds.address;
	if (atomic_load(&bounds->end) > position) {
		dpi_home_answer(ctx, in, DPI_SUCCESS);
		return;
	}
	if (h->log.waits == h->log.waits_room) {
		size_t room = h->log.waits_room ? 2 * h->log.waits_room : 8;
		void *p = room > 65536 ? NULL : realloc(h->log.wait, room * sizeof *h->log.wait);
		if (!p) {
			dpi_home_answer(ctx, in, dpi_fail(DPI_ERR_LIMIT, "%zu readers wait at the log's end", h->log.waits));
			return;
		}
		h->log.wait = p;
		h->log.waits_room = room;
	}
	h->log.wait[h->log.waits++] = (struct dpi_log_wait){ in->from, in->id, position };
}

/* ------------------------------------------------------------------------------------------------- death and service */

void dpi_home_peer_down(struct dpi_context *ctx, struct dpi_peer *peer)
{
	dpi_memory_home_down(ctx, peer);
	for (struct dpi_home *h = dpi_home_first(ctx), *next; h; h = next) {
		next = h->next;
		for (size_t i = 0; i < h->handles;) {
			if (h->handle[i].peer == peer) handle_end(ctx, h, &h->handle[i], DPI_RING_DEAD);
			else i++;
		}
		size_t kept = 0;
		for (size_t i = 0; i < h->log.waits; i++)
			if (h->log.wait[i].peer != peer) h->log.wait[kept++] = h->log.wait[i];
		h->log.waits = kept;
		if (h->creator == peer) destroy(ctx, h); /* it died before the name stood: nobody can ever find it */
	}
}

/* Order what the logs' rings hold. */
static int64_t drain_logs(struct dpi_context *ctx, int64_t now)
{
	int64_t again = DPI_NEVER;
	for (struct dpi_home *h = dpi_home_first(ctx); h; h = h->next)
		if (h->shape.use == DPI_USE_LOG && dpi_log_drain(ctx, h)) again = now;
	return again;
}

int dpi_home_open(struct dpi_context *ctx)
{
	static const struct {
		uint16_t type;
		dpi_handler *handler;
	} handlers[] = {
		{ DPI_MEMORY_CREATE, on_create }, { DPI_MEMORY_NAMED, on_named },	{ DPI_MEMORY_DROP, on_destroy },
		{ DPI_MEMORY_OPEN, on_open },	  { DPI_MEMORY_CLOSE, on_close },	{ DPI_MEMORY_DESTROY, on_destroy },
		{ DPI_MEMORY_GONE, on_gone },
		{ DPI_MEMORY_INFO, on_info },	  { DPI_MEMORY_TRUNCATE, on_truncate }, { DPI_MEMORY_SEGMENT, on_segment },
		{ DPI_MEMORY_AWAIT, on_await },
	};
	int error = DPI_SUCCESS;
	for (size_t i = 0; i < sizeof handlers / sizeof *handlers && !error; i++)
		error = dpi_handle_messages(ctx, handlers[i].type, handlers[i].handler);
	if (!error) error = dpi_ring_home_open(ctx);
	if (!error) error = dpi_region_home_open(ctx);
	if (!error) error = dpi_on_peer_down(ctx, dpi_home_peer_down);
	if (!error) error = dpi_loop_service(ctx, drain_logs);
	if (!error) error = dpi_loop_service(ctx, dpi_credit_service);
	return error;
}

void dpi_home_close(struct dpi_context *ctx)
{
	while (ctx->memory->home) {
		struct dpi_home *h = ctx->memory->home;
		ctx->memory->home = h->next;
		home_free(ctx, h);
	}
}
