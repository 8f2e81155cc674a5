/* SPDX-License-Identifier: Apache-2.0
 * buffer.c: handles: create, open, close, destroy, describe. */
#include "buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "registry.h"
#include "layer.h"
#include "request.h"

/* ------------------------------------------------------------------------------------------------ what calls share */

static const char *const uses[] = { "?", "queue", "log", "region" };

struct dpi_buffer *dpi_buffer_begin(DPI_Buffer handle, const char *call, unsigned allowed, int *error)
{
	struct dpi_buffer *b = dpi_buffer_get(handle);
	if (!b) {
		*error = dpi_handle_error(DPI_HANDLE_BUFFER, (uint64_t)(uintptr_t)handle);
		return NULL;
	}
	if (!dpi_buffer_enter(b)) {
		*error = dpi_fail(DPI_ERR_THREAD, "%s: another thread is inside a call on this handle of buffer '%s': each thread opens its own", call, b->name);
		return NULL;
	}
	if (!(allowed & 1u << b->shape.use)) {
		static const char *const takes[] = { "nothing", "queues", "logs", "queues and logs", "regions", "queues and regions", "logs and regions" };
		*error = dpi_fail(DPI_ERR_USE, "%s: buffer '%s' is a %s, and the call is for %s: create one, or use the calls of a %s", call, b->name,
				  uses[b->shape.use], takes[allowed >> 1 & 7], uses[b->shape.use]);
		dpi_buffer_leave(b);
		return NULL;
	}
	*error = DPI_SUCCESS;
	return b;
}

int dpi_buffer_check(const struct dpi_buffer *b)
{
	if (__builtin_expect(atomic_load_explicit(&b->destroyed, memory_order_acquire), 0))
		return dpi_fail(DPI_ERR_DESTROYED, "buffer '%s' was destroyed: close the handle", b->name);
	if (__builtin_expect(atomic_load_explicit(&b->home_peer->dead, memory_order_acquire), 0)) return dpi_peer_dead(b->home_peer);
	return DPI_SUCCESS;
}

int dpi_buffer_timed_out(const struct dpi_buffer *b, const char *what, bool append)
{
	int gone = dpi_buffer_check(b);
	if (gone) return gone;
	if (!append)
		return dpi_fail(DPI_ERR_TIMEOUT, "%s: node %d, home of buffer '%s', did not answer within the deadline: see whether it runs, or give more time (DPI_Set_Timeout)", what, b->home_peer->node, b->name);
	return dpi_fail(DPI_ERR_TIMEOUT, "%s: buffer '%s' on node %d had no room within the deadline: its consumer is behind, or stopped; give it more time (DPI_Set_Timeout), or the buffer more room (max_capacity)", what,
			b->name, b->home_peer->node);
}

int64_t dpi_buffer_deadline(const struct dpi_buffer *b, int64_t timeout_us)
{
	return dpi_deadline(timeout_us, b->timeout_us);
}

int dpi_buffer_answered(struct dpi_buffer *b, int error)
{
	if (error != DPI_ERR_DESTROYED) return error;
	atomic_store(&b->destroyed, true);
	dpi_append_no_fast(b);
	return dpi_buffer_check(b);
}

int dpi_buffer_call(struct dpi_buffer *b, uint16_t type, struct dpi_pack *p, int64_t deadline, struct dpi_reply *reply)
{
	/* a deadline of none is for the operation; the home's answer itself is due at once */
	int64_t least = dpi_now() + DPI_ANSWER_NS;
	return dpi_buffer_answered(b, dpi_call(b->ctx, b->home_peer->node, type, p, deadline > least ? deadline : least, reply));
}

/* ----------------------------------------------------------------------------------------------------------- opening */

static void buffer_free(struct dpi_buffer *b)
{
	dpi_log_reader_close(b);
	free(b->consumer.run); /* of a handle that wanted to consume, and was not let */
	if (b->region.length) dpi_remote_detach(&b->region);
	if (b->home) dpi_home_release(b->ctx, b->home);
	free(b);
}

static void keep(struct dpi_buffer *b)
{
	struct dpi_memory_layer *m = b->ctx->memory;
	pthread_mutex_lock(&m->lock);
	b->next = m->buffer;
	m->buffer = b;
	pthread_mutex_unlock(&m->lock);
}

static void forget(struct dpi_buffer *b)
{
	struct dpi_memory_layer *m = b->ctx->memory;
	pthread_mutex_lock(&m->lock);
	struct dpi_buffer **p = &m->buffer;
	while (*p && *p != b) p = &(*p)->next;
	if (*p) *p = b->next;
	pthread_mutex_unlock(&m->lock);
}

static int tell_closed(struct dpi_buffer *b, int64_t deadline)
{
	int64_t soon = dpi_now() + 1000000000;
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, b->id);
	dpi_pack_u64(&p, (uint64_t)(uintptr_t)b->handle);
	return dpi_call(b->ctx, b->home_peer->node, DPI_MEMORY_CLOSE, &p, deadline < soon ? deadline : soon, NULL);
}

/* A handle of which its home does not know yet. */
static int open_new(struct dpi_context *ctx, const struct dpi_wanted *wanted, int home, uint64_t id, int64_t deadline, struct dpi_buffer **out)
{
	struct dpi_buffer *b = aligned_alloc(64, (sizeof *b + 63) / 64 * 64);
	if (!b) return dpi_fail(DPI_ERR_MEMORY, "no memory for a handle");
	memset(b, 0, sizeof *b);
	b->ctx = ctx;
	b->id = id;
	b->timeout_us = wanted->timeout_us ? wanted->timeout_us : ctx->timeout_us;
	b->linger_us = wanted->linger_us ? wanted->linger_us : ctx->settings.number[DPI_SETTING_LINGER];
	b->bell = wanted->bell ? wanted->bell : dpi_bell_pick(ctx);
	b->appender.credit.fd = -1;
	snprintf(b->name, sizeof b->name, "%s", wanted->name);
	pthread_mutex_init(&b->appender.lock, NULL);
	int error = dpi_peer_get(ctx, home, deadline, &b->home_peer);
	if (!error && home == ctx->node && !(b->home = dpi_home_find(ctx, id)))
		error = dpi_fail(DPI_ERR_DESTROYED, "buffer '%s' was destroyed meanwhile", b->name);
	if (!error) {
		b->handle = (DPI_Buffer)(uintptr_t)dpi_handle_open(DPI_HANDLE_BUFFER, b);
		if (!b->handle) error = dpi_fail(DPI_ERR_LIMIT, "%u handles are open: close some", DPI_HANDLE_MAX);
	}
	if (!error) {
		keep(b); /* from here on a GONE finds it */
		*out = b;
		return DPI_SUCCESS;
	}
	pthread_mutex_destroy(&b->appender.lock);
	buffer_free(b);
	return error;
}

static struct dpi_pack open_request(const struct dpi_buffer *b)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, b->id);
	dpi_pack_u64(&p, (uint64_t)(uintptr_t)b->handle);
	return p;
}

/* The home has answered: what kind of buffer it is. */
static int open_answered(struct dpi_buffer *b, struct dpi_reply *reply, int64_t deadline)
{
	struct dpi_context *ctx = b->ctx;
	struct dpi_window_offer offer = { .fd = -1 };
	dpi_shape_unpack(&reply->body, &b->shape);
	b->salt = dpi_unpack_u64(&reply->body);
	b->log.segment_size = dpi_unpack_u64(&reply->body);
	bool window = dpi_unpack_u8(&reply->body);
	if (window) dpi_window_unpack(&reply->body, &offer);
	bool bad = reply->body.bad || dpi_shape_check(&b->shape) || window != (b->shape.use != DPI_USE_QUEUE) ||
		   (b->shape.use == DPI_USE_LOG && (b->log.segment_size < DPI_RING_LEAST || b->log.segment_size > (uint64_t)1 << 41 ||
						     offer.length < sizeof(struct dpi_log_bounds)));
	dpi_reply_free(reply);
	if (bad) {
		if (window) dpi_window_offer_free(&offer);
		return dpi_fail(DPI_ERR_CORRUPT, "node %d described buffer '%s' with nonsense", b->home_peer->node, b->name);
	}
	b->max_record = b->appender.wanted = b->shape.max_record;
	if (b->shape.use == DPI_USE_REGION && b->home) {
		dpi_window_offer_free(&offer);
		dpi_remote_self(ctx, b->home_peer, &b->home->region, &b->region);
	} else if (b->shape.use == DPI_USE_REGION && dpi_window_out_of_reach(ctx, b->home_peer, &offer)) { /* region_call.c */
		b->region = (struct dpi_remote){ .ctx = ctx, .peer = b->home_peer, .length = offer.length };
		dpi_window_offer_free(&offer);
	} else if (window) {
		return dpi_remote_attach(ctx, b->home_peer, &offer, deadline, b->shape.use == DPI_USE_LOG ? &b->log.bounds : &b->region);
	}
	return DPI_SUCCESS;
}

/* Give up a handle whose opening came to nothing; error: why, with its sentence. known: its home may know of it. */
static int open_failed(struct dpi_buffer *b, bool known, int error)
{
	char sentence[DPI_DETAIL_MAX];
	snprintf(sentence, sizeof sentence, "%s", dpi_detail());
	if (known && !dpi_buffer_check(b)) tell_closed(b, DPI_NEVER);
	forget(b);
	dpi_handle_close((uint64_t)(uintptr_t)b->handle);
	pthread_mutex_destroy(&b->appender.lock);
	buffer_free(b);
	return dpi_fail(error, "%s", sentence);
}

int dpi_buffer_open_at(struct dpi_context *ctx, const struct dpi_wanted *wanted, int home, uint64_t id, int64_t deadline, DPI_Buffer *out)
{
	struct dpi_buffer *b;
	struct dpi_reply reply;
	int error = open_new(ctx, wanted, home, id, deadline, &b);
	if (error) return error;
	struct dpi_pack p = open_request(b);
	error = dpi_call(ctx, home, DPI_MEMORY_OPEN, &p, deadline, &reply);
	if (!error) error = open_answered(b, &reply, deadline);
	if (error) return open_failed(b, b->shape.use, error);
	bool direct; /* what stands against connecting is told by the first append, which tries again */
	if (!b->home && b->shape.use != DPI_USE_REGION) dpi_append_connect(b, deadline, &direct);
	*out = b->handle;
	return DPI_SUCCESS;
}

int dpi_buffer_open_start(struct dpi_context *ctx, const struct dpi_wanted *wanted, int home, uint64_t id, int64_t deadline, struct dpi_buffer **out)
{
	struct dpi_buffer *b;
	int error = open_new(ctx, wanted, home, id, deadline, &b);
	if (error) return error;
	struct dpi_pack p = open_request(b);
	error = dpi_call_start(ctx, b->home_peer, DPI_MEMORY_OPEN, &p, b->bell, &b->appender.opening);
	if (error) return open_failed(b, false, error);
	*out = b;
	return DPI_SUCCESS;
}

int dpi_buffer_open_end(struct dpi_buffer *b)
{
	struct dpi_reply reply;
	if (!b->appender.opening.peer) return DPI_SUCCESS;
	int error = dpi_call_end(b->ctx, &b->appender.opening, &reply);
	return error ? error : open_answered(b, &reply, dpi_now() + DPI_CONNECT_NS);
}

void dpi_buffer_open_drop(struct dpi_buffer *b)
{
	struct dpi_pack p = open_request(b);
	dpi_call_forget(b->ctx, &b->appender.opening);
	dpi_append_close(b);
	dpi_tell(b->ctx, b->home_peer, DPI_MEMORY_CLOSE, &p);
	forget(b);
	dpi_handle_close((uint64_t)(uintptr_t)b->handle);
	buffer_free(b);
}

static int check_timeouts(const char *call, int64_t timeout_us, int64_t linger_us)
{
	if (dpi_timeout_check(call, "timeout_us", timeout_us)) return DPI_ERR_ARGUMENT;
	if (linger_us < 0) return dpi_fail(DPI_ERR_ARGUMENT, "%s: linger_us is %lld: it is 0 or microseconds", call, (long long)linger_us);
	return DPI_SUCCESS;
}

/* Tell the home, best effort, what became of a buffer it made. */
static int settle(struct dpi_context *ctx, int node, uint16_t type, uint64_t id, int64_t deadline)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, id);
	return dpi_call(ctx, node, type, &p, deadline, NULL);
}

static int open_existing(struct dpi_context *ctx, const DPI_Buffer_Attr *a, const struct dpi_buffer_shape *shape, const struct dpi_wanted *wanted,
			 const struct dpi_name *entry, int64_t deadline, DPI_Buffer *out)
{
	if (entry->kind != DPI_NAME_BUFFER) return dpi_fail(DPI_ERR_EXISTS, "the name '%s' is taken by something that is no buffer", wanted->name);
	if (a->create != DPI_CREATE_OR_OPEN)
		return dpi_fail(DPI_ERR_EXISTS, "the name '%s' is taken, by a buffer on node %d: choose another, open it, or create with DPI_CREATE_OR_OPEN", wanted->name,
				entry->node);
	int error = dpi_buffer_open_at(ctx, wanted, entry->node, entry->id, deadline, out);
	if (error) return error;
	const struct dpi_buffer *b = dpi_buffer_get(*out);
	if (b->shape.use != shape->use)
		error = dpi_fail(DPI_ERR_USE, "buffer '%s' exists and is a %s, not a %s: destroy it first, or choose another name", wanted->name, uses[b->shape.use], uses[shape->use]);
	else if (shape->use == DPI_USE_REGION ? b->shape.capacity < shape->capacity : b->shape.max_record < shape->max_record)
		error = dpi_fail(DPI_ERR_SIZE, "buffer '%s' exists and is smaller: its %s is %llu, %llu were asked for: destroy it first, or ask for no more", wanted->name,
				 shape->use == DPI_USE_REGION ? "size" : "largest record",
				 (unsigned long long)(shape->use == DPI_USE_REGION ? b->shape.capacity : b->shape.max_record),
				 (unsigned long long)(shape->use == DPI_USE_REGION ? shape->capacity : shape->max_record));
	if (error) {
		char sentence[DPI_DETAIL_MAX];
		snprintf(sentence, sizeof sentence, "%s", dpi_detail());
		DPI_Close_Buffer(*out);
		*out = NULL;
		dpi_fail(error, "%s", sentence);
	}
	return error;
}

static int create_buffer(const char *name, int node, const DPI_Buffer_Attr *attr, DPI_Context handle, DPI_Buffer *out)
{
	int error;
	DPI_Buffer_Attr a = DPI_BUFFER_ATTR_INIT;
	struct dpi_buffer_shape shape;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	if (!out) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Create_Buffer: buf is NULL: pass where the handle may go");
	*out = NULL;
	error = dpi_check_name("DPI_Create_Buffer", name);
	if (!error && attr) error = dpi_take("DPI_Create_Buffer", &a, sizeof a, attr);
	if (!error) error = dpi_shape_from(&a, &shape);
	if (!error) error = check_timeouts("DPI_Create_Buffer", a.timeout_us, a.linger_us);
	if (error) return error;
	if (node == DPI_NODE_SELF) node = ctx->node;
	if (a.memory && node != ctx->node)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->memory is memory of this process, node %d: the region's home cannot be node %d", ctx->node, node);
	struct dpi_wanted wanted = { name, a.timeout_us, a.linger_us, 0, false, false, 0 };
	struct dpi_name entry;
	int64_t deadline = dpi_deadline(0, ctx->timeout_us);
	if (a.create == DPI_CREATE_OR_OPEN && !dpi_name_find(ctx, name, DPI_NAME_BUFFER, dpi_now(), &entry))
		return open_existing(ctx, &a, &shape, &wanted, &entry, deadline, out);
	error = dpi_node_await(ctx, node, deadline);
	if (error) return error;
	uint64_t id;
	if (a.memory) {
		error = dpi_home_over(ctx, &shape, a.memory, &id);
	} else {
		struct dpi_pack p = { 0 };
		struct dpi_reply reply;
		dpi_shape_pack(&p, &shape);
		error = dpi_call(ctx, node, DPI_MEMORY_CREATE, &p, deadline, &reply);
		if (!error) {
			id = dpi_unpack_u64(&reply.body);
			if (reply.body.bad) error = dpi_fail(DPI_ERR_CORRUPT, "node %d answered with nonsense", node);
			dpi_reply_free(&reply);
		}
	}
	if (error) return error;
	struct dpi_peer *home;
	error = dpi_peer_get(ctx, node, deadline, &home);
	if (error) return error;
	entry = (struct dpi_name){ DPI_NAME_BUFFER, node, home->incarnation, id };
	error = dpi_name_publish(ctx, name, &entry, deadline);
	if (error) {
		char sentence[DPI_DETAIL_MAX];
		snprintf(sentence, sizeof sentence, "%s", dpi_detail());
		settle(ctx, node, DPI_MEMORY_DROP, id, dpi_deadline(0, 1000000));
		if (error == DPI_ERR_EXISTS) return open_existing(ctx, &a, &shape, &wanted, &entry, deadline, out);
		return dpi_fail(error, "%s", sentence);
	}
	error = settle(ctx, node, DPI_MEMORY_NAMED, id, deadline);
	return error ? error : dpi_buffer_open_at(ctx, &wanted, node, id, deadline, out);
}

int DPI_Create_Buffer(const char *name, int node, const DPI_Buffer_Attr *attr, DPI_Context handle, DPI_Buffer *out)
{
	int before = dpi_aside();
	return dpi_aside_over(before, create_buffer(name, node, attr, handle, out));
}

static int open_buffer(const char *name, const DPI_Open_Attr *attr, DPI_Context handle, DPI_Buffer *out)
{
	int error;
	DPI_Open_Attr a = DPI_OPEN_ATTR_INIT;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	if (!out) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Open_Buffer: buf is NULL: pass where the handle may go");
	*out = NULL;
	error = dpi_check_name("DPI_Open_Buffer", name);
	if (!error && attr) error = dpi_take("DPI_Open_Buffer", &a, sizeof a, attr);
	if (!error) error = check_timeouts("DPI_Open_Buffer", a.timeout_us, a.linger_us);
	if (!error) error = dpi_timeout_check("DPI_Open_Buffer", "wait_us", a.wait_us);
	if (error) return error;
	struct dpi_name entry;
	struct dpi_wanted wanted = { name, a.timeout_us, a.linger_us, 0, false, false, 0 };
	int64_t appear = a.wait_us < 0 ? dpi_now() : dpi_deadline(a.wait_us, ctx->timeout_us);
	error = dpi_name_find(ctx, name, DPI_NAME_BUFFER, appear, &entry);
	if (error) return error;
	return dpi_buffer_open_at(ctx, &wanted, entry.node, entry.id, dpi_deadline(0, ctx->timeout_us), out);
}

int DPI_Open_Buffer(const char *name, const DPI_Open_Attr *attr, DPI_Context handle, DPI_Buffer *out)
{
	int before = dpi_aside();
	return dpi_aside_over(before, open_buffer(name, attr, handle, out));
}

/* ----------------------------------------------------------------------------------------------------------- closing */

static int close_buffer(struct dpi_buffer *b, int64_t deadline)
{
	int error = DPI_SUCCESS;
	b->closing = true;
	b->appender.open_room = false;
	dpi_append_fast(b);
	/* what is under way gets the deadline to finish; then what was appended must be visible before the home is told. With nothing that
	 * could be lost, a home that is gone is no error. */
	struct dpi_appender *a = &b->appender;
	bool unflushed = a->tail && b->shape.use == DPI_USE_QUEUE ? atomic_load(&a->writer.written) != a->published : b->appends != b->flushed_appends;
	bool risk = b->first || unflushed || (b->stats.writes != b->flushed_writes && b->region.carrier);
	if (risk || (b->appender.attached && !dpi_buffer_check(b))) {
		int64_t timeout = b->timeout_us > 0 ? b->timeout_us : 1;
		b->timeout_us = timeout;
		int again = atomic_exchange(&b->busy, 0) != 0;
		error = DPI_Flush_Buffer(b->handle);
		b->appender.keep_mirror = error != DPI_SUCCESS;
		if (again) atomic_store(&b->busy, 1);
	}
	char sentence[DPI_DETAIL_MAX];
	snprintf(sentence, sizeof sentence, "%s", error ? dpi_detail() : "");
	dpi_request_close(b);
	if (b->consumer.active) dpi_consumer_close(b);
	dpi_append_close(b);
	if (!risk) error = DPI_SUCCESS;
	if (!dpi_buffer_check(b)) tell_closed(b, deadline);
	forget(b);
	dpi_handle_close((uint64_t)(uintptr_t)b->handle);
	buffer_free(b);
	return error ? dpi_fail(error, "%s", sentence) : DPI_SUCCESS;
}

int DPI_Close_Buffer(DPI_Buffer handle)
{
	int error;
	struct dpi_buffer *b = dpi_buffer_begin(handle, "DPI_Close_Buffer", DPI_ANY_USE, &error);
	if (!b) return error;
	int before = dpi_aside();
	return dpi_aside_over(before, close_buffer(b, DPI_NEVER));
}

static int destroy_buffer(const char *name, DPI_Context handle)
{
	int error;
	struct dpi_name entry;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	error = dpi_check_name("DPI_Destroy_Buffer", name);
	if (error) return error;
	int64_t deadline = dpi_deadline(0, ctx->timeout_us);
	error = dpi_name_find(ctx, name, DPI_NAME_BUFFER, dpi_now(), &entry);
	if (error) return error;
	error = settle(ctx, entry.node, DPI_MEMORY_DESTROY, entry.id, deadline);
	int removed = dpi_name_remove(ctx, name, entry.id, deadline);
	if (error == DPI_ERR_DESTROYED) return dpi_fail(DPI_ERR_NAME, "buffer '%s' is being destroyed by another caller", name);
	return error ? error : removed;
}

int DPI_Destroy_Buffer(const char *name, DPI_Context handle)
{
	int before = dpi_aside();
	return dpi_aside_over(before, destroy_buffer(name, handle));
}

void dpi_memory_gone(struct dpi_context *ctx, int home, uint64_t id)
{
	struct dpi_memory_layer *m = ctx->memory;
	pthread_mutex_lock(&m->lock);
	for (struct dpi_buffer *b = m->buffer; b; b = b->next) {
		if (b->id != id || b->home_peer->node != home) continue;
		atomic_store(&b->destroyed, true);
		atomic_store(&b->fast_size, 0); /* append.c: dpi_append_fast */
		dpi_bell_ring(&ctx->bells, b->bell);
		if (b->home) dpi_bell_ring(&ctx->bells, b->home->bell);
	}
	pthread_mutex_unlock(&m->lock);
}

void dpi_memory_short(struct dpi_context *ctx, int home, uint64_t id, uint64_t handle)
{
	struct dpi_memory_layer *m = ctx->memory;
	pthread_mutex_lock(&m->lock);
	for (struct dpi_buffer *b = m->buffer; b; b = b->next)
		if (b->id == id && b->home_peer->node == home && (uint64_t)(uintptr_t)b->handle == handle) atomic_store_explicit(&b->asked_back, dpi_now(), memory_order_relaxed);
	pthread_mutex_unlock(&m->lock);
}

void dpi_memory_home_down(struct dpi_context *ctx, struct dpi_peer *peer)
{
	struct dpi_memory_layer *m = ctx->memory;
	pthread_mutex_lock(&m->lock);
	for (struct dpi_buffer *b = m->buffer; b; b = b->next)
		if (b->home_peer == peer) dpi_append_no_fast(b);
	pthread_mutex_unlock(&m->lock);
}

/* ------------------------------------------------------------------------------------------------------- describing */

int DPI_Get_Buffer_Info(DPI_Buffer handle, DPI_Buffer_Info *info)
{
	struct dpi_buffer *b = dpi_buffer_get(handle);
	struct dpi_pack p = { 0 };
	struct dpi_reply reply;
	if (!b) return dpi_handle_error(DPI_HANDLE_BUFFER, (uint64_t)(uintptr_t)handle);
	int error = dpi_give("DPI_Get_Buffer_Info", info, NULL, sizeof *info);
	if (!error) error = dpi_buffer_check(b);
	if (error) return error;
	dpi_pack_u64(&p, b->id);
	error = dpi_buffer_call(b, DPI_MEMORY_INFO, &p, dpi_buffer_deadline(b, 0), &reply);
	if (error) return error;
	DPI_Buffer_Info all = { 0 };
	all.use = (int)b->shape.use;
	all.home = b->home_peer->node;
	all.capacity = b->appender.attached ? b->appender.writer.capacity : b->shape.capacity;
	all.max_capacity = b->shape.max_capacity;
	all.max_record = b->shape.max_record;
	all.memory = dpi_unpack_u64(&reply.body);
	all.appenders = dpi_unpack_u64(&reply.body);
	all.first = dpi_unpack_u64(&reply.body);
	all.end = dpi_unpack_u64(&reply.body);
	bool bad = reply.body.bad;
	dpi_reply_free(&reply);
	if (bad) return dpi_fail(DPI_ERR_CORRUPT, "node %d answered with nonsense", b->home_peer->node);
	const struct dpi_remote *way = b->shape.use == DPI_USE_REGION ? &b->region : b->appender.attached ? &b->appender.remote : &b->log.bounds;
	if (b->home) snprintf(all.transport, sizeof all.transport, "local");
	else if (way->carrier) snprintf(all.transport, sizeof all.transport, "%s", way->carrier->name);
	else if (b->shape.use == DPI_USE_REGION) snprintf(all.transport, sizeof all.transport, "control");
	else {
		struct dpi_way choice;
		dpi_peer_choose(b->ctx, b->home_peer, &choice);
		if (choice.carrier) snprintf(all.transport, sizeof all.transport, "%s", choice.carrier->name);
	}
	memcpy(all.name, b->name, sizeof all.name);
	return dpi_give("DPI_Get_Buffer_Info", info, &all, sizeof all);
}

int DPI_Get_Buffer_Stats(DPI_Buffer handle, DPI_Buffer_Stats *stats)
{
	struct dpi_buffer *b = dpi_buffer_get(handle);
	if (!b) return dpi_handle_error(DPI_HANDLE_BUFFER, (uint64_t)(uintptr_t)handle);
	DPI_Buffer_Stats all = { 0 };
#define COPY(name, unit, text) all.name = __atomic_load_n(&b->stats.name, __ATOMIC_RELAXED);
	DPI_BUFFER_STATS(COPY)
#undef COPY
	uint64_t quick = __atomic_load_n(&b->appender.quick, __ATOMIC_RELAXED);
	uint64_t records = 0, bytes = 0;
	for (int i = 0; i < 1000 && !dpi_ring_count_same(&b->appender.writer, &records, &bytes); i++) dpi_pause();
	all.appends = __atomic_load_n(&b->appends, __ATOMIC_RELAXED) + records;
	all.publishes = __atomic_load_n(&b->appender.publishes, __ATOMIC_RELAXED) + quick;
	all.flushes = __atomic_load_n(&b->appender.flushes, __ATOMIC_RELAXED) + quick;
	all.append_bytes = __atomic_load_n(&b->append_bytes, __ATOMIC_RELAXED) + bytes;
	return dpi_give("DPI_Get_Buffer_Stats", stats, &all, sizeof all);
}

int DPI_Set_Timeout(int64_t timeout_us, DPI_Buffer handle)
{
	int error = check_timeouts("DPI_Set_Timeout", timeout_us, 0);
	if (error) return error;
	struct dpi_buffer *b = dpi_buffer_begin(handle, "DPI_Set_Timeout", DPI_ANY_USE, &error);
	if (!b) return error;
	b->timeout_us = timeout_us ? timeout_us : b->ctx->timeout_us;
	dpi_buffer_leave(b);
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------- the layer */

int dpi_memory_open(struct dpi_context *ctx)
{
	ctx->memory = calloc(1, sizeof *ctx->memory);
	if (!ctx->memory) return dpi_fail(DPI_ERR_MEMORY, "no memory for the memory layer");
	if (getrandom(&ctx->memory->piece, sizeof ctx->memory->piece, 0) != sizeof ctx->memory->piece) ctx->memory->piece = (uint64_t)dpi_now();
	pthread_mutex_init(&ctx->memory->lock, NULL);
	pthread_mutex_init(&ctx->memory->linger_lock, NULL);
	pthread_mutex_init(&ctx->memory->credit_lock, NULL);
	pthread_mutex_init(&ctx->memory->leaving_lock, NULL);
	int error = dpi_home_open(ctx);
	if (!error) error = dpi_linger_open(ctx);
	return error ? error : dpi_leaving_open(ctx);
}

void dpi_memory_finish(struct dpi_context *ctx)
{
	int64_t deadline = dpi_now() + 1000000000; /* for all together */
	while (ctx->memory->buffer) {
		struct dpi_buffer *b = ctx->memory->buffer;
		int64_t left = (deadline - dpi_now()) / 1000;
		if (left < 1) left = 1;
		if (b->timeout_us <= 0 || b->timeout_us > left) b->timeout_us = left;
		close_buffer(b, deadline);
	}
}

void dpi_memory_close(struct dpi_context *ctx)
{
	struct dpi_memory_layer *m = ctx->memory;
	dpi_requests_free();
	dpi_home_close(ctx);
	dpi_local_memory_close(ctx);
	dpi_leaving_close(ctx);
	free(m->armed);
	pthread_mutex_destroy(&m->leaving_lock);
	pthread_mutex_destroy(&m->credit_lock);
	pthread_mutex_destroy(&m->linger_lock);
	pthread_mutex_destroy(&m->lock);
	free(m);
	ctx->memory = NULL;
}
