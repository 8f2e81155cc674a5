/* SPDX-License-Identifier: Apache-2.0
 * attach.c: how an appender comes by its ring: the first, a larger one, and the end of both. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "wait.h"
#include "buffer.h"
#include "layer.h"
#include "request.h"

static void leave(struct dpi_buffer *b)
{
	struct dpi_appender *a = &b->appender;
	pthread_mutex_lock(&b->ctx->memory->linger_lock); /* the linger service looks at the ring under it */
	a->attached = false;
	a->stage.memory = NULL;
	pthread_mutex_unlock(&b->ctx->memory->linger_lock);
}

static void detach(struct dpi_buffer *b)
{
	struct dpi_appender *a = &b->appender;
	leave(b);
	dpi_remote_detach(&a->remote);
	if (a->mirror && !a->keep_mirror) {
		dpi_window_withdraw(b->ctx, &a->local);
		munmap(a->mirror, a->mirror_size);
	}
	a->mirror = NULL;
	dpi_append_fast(b);
}

/* Point the writer at a ring of capacity bytes that starts at position base. */
static int use_ring(struct dpi_buffer *b, struct dpi_remote *remote, uint64_t base)
{
	struct dpi_appender *a = &b->appender;
	uint64_t capacity = remote->length - DPI_RING_HEADER;
	uint8_t *mirror = NULL;
	struct dpi_window local = { 0 };
	if (!remote->direct) {
		/* for runs twice as large: see dpi_run_end; memory that is not touched costs none */
		mirror = mmap(NULL, b->runs ? 2 * capacity : capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (mirror == MAP_FAILED) return dpi_fail_errno(DPI_ERR_MEMORY, "no memory to stage %llu bytes of appends", (unsigned long long)capacity);
		dpi_window_wrap(mirror, capacity, -1, 0, &local);
		dpi_window_expose_locally(&local, remote->carrier);
	}
	pthread_mutex_lock(&b->ctx->memory->linger_lock); /* the linger service looks at the ring under it */
	struct dpi_remote old = a->remote;
	uint8_t *old_mirror = a->mirror;
	uint64_t old_size = a->mirror_size;
	struct dpi_window old_local = a->local;
	struct dpi_ring *ring = (struct dpi_ring *)remote->direct;
	a->remote = *remote;
	a->mirror = mirror;
	a->local = local;
	a->large = mirror && local.exposed[remote->carrier->index] ? DPI_LARGE_LOCAL_BYTES : DPI_LARGE_BYTES;
	a->mirror_size = b->runs ? 2 * capacity : capacity;
	a->tail = ring ? &ring->tail : NULL;
	a->writer.data = ring ? ring->data : mirror;
	a->writer.capacity = capacity;
	a->writer.mask = capacity - 1;
	a->writer.head = ring ? &ring->head : &((struct dpi_credit *)a->credit.address)->head;
	a->writer.head_seen = base;
	atomic_store_explicit(&a->writer.written, base, memory_order_relaxed);
	atomic_store_explicit(&a->sent, base, memory_order_relaxed);
	a->published = base;
	atomic_store_explicit(&a->rung, base, memory_order_relaxed);
	/* through shared memory a group is a cache's affair; a put costs a system call, so it takes more at once */
	uint64_t group = ring ? DPI_GROUP_BYTES : DPI_PUT_GROUP_BYTES, most = ring ? capacity / 8 : capacity / 4;
	a->group = most < group ? most : group;
	/* The space of a run that goes on comes back late (dpi_ring_boundary), and so does what the home has not told yet; the largest record
	 * must find room all the same. */
	uint64_t run = capacity / 8 < DPI_RUN_BYTES ? capacity / 8 : DPI_RUN_BYTES, late = capacity / 8 + run + 64 + 2 * DPI_RING_WORD;
	bool spare = late + 2 * (dpi_ring_need(b->max_record) + 64) <= capacity;
	a->same_most = ring && spare && b->shape.use == DPI_USE_QUEUE && !b->runs ? run : 0;
	a->attached = true;
	pthread_mutex_unlock(&b->ctx->memory->linger_lock);
	if (old.length) dpi_remote_detach(&old);
	if (old_mirror) {
		dpi_window_withdraw(b->ctx, &old_local);
		munmap(old_mirror, old_size);
	}
	dpi_append_fast(b);
	return DPI_SUCCESS;
}

static int check_ring(struct dpi_buffer *b, const struct dpi_window_offer *o)
{
	uint64_t capacity = o->length - DPI_RING_HEADER;
	if (o->length > DPI_RING_HEADER && !(capacity & (capacity - 1)) && capacity >= dpi_ring_least(b->max_record) &&
	    capacity <= (uint64_t)1 << 40)
		return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_CORRUPT, "node %d offered a ring of %llu bytes", b->shape.use ? b->home_peer->node : -1, (unsigned long long)o->length);
}

/* Ask the home for a ring; the answer comes to the handle's bell. */
static int ask(struct dpi_buffer *b, bool by_credit)
{
	struct dpi_appender *a = &b->appender;
	struct dpi_pack p = { 0 };
	bool credit = by_credit || b->shape.use == DPI_USE_LOG || b->acked;
	if (credit && !a->credit.address) {
		int error = dpi_window_allocate(sizeof(struct dpi_credit), DPI_HUGE_NEVER, DPI_NUMA_ANY, &a->credit);
		if (!error) error = dpi_window_expose(b->ctx, &a->credit, DPI_TP_WRITE);
		if (error) return error;
	}
	a->by_credit = by_credit;
	dpi_pack_u64(&p, b->id);
	dpi_pack_u64(&p, (uint64_t)(uintptr_t)b->handle);
	dpi_pack_u32(&p, b->bell);
	dpi_pack_u8(&p, by_credit);
	dpi_pack_u8(&p, credit);
	dpi_pack_u8(&p, b->tries);
	dpi_pack_u8(&p, a->queued);
	dpi_pack_u32(&p, b->who);
	/* by the connection that there is: the home, who may not wait, looks for no other */
	if (credit) dpi_window_pack(b->ctx, &a->credit, a->carrier, b->home_peer->same_host || b->home, &p);
	return dpi_call_start(b->ctx, b->home_peer, DPI_MEMORY_APPEND, &p, b->bell, &a->joining);
}

/* The home has answered: map its ring. DPI_ERR_AGAIN: shared memory did not work out after all. */
static int join(struct dpi_buffer *b, struct dpi_reply *reply)
{
	struct dpi_appender *a = &b->appender;
	struct dpi_window_offer offer;
	struct dpi_remote remote;
	a->home_bell = dpi_unpack_u32(&reply->body);
	dpi_window_unpack(&reply->body, &offer);
	bool bad = reply->body.bad || a->home_bell >= DPI_BELLS;
	dpi_reply_free(reply);
	if (bad) return dpi_fail(DPI_ERR_CORRUPT, "node %d answered with nonsense", b->home_peer->node);
	int error = check_ring(b, &offer);
	if (error) {
		dpi_window_offer_free(&offer);
		return error;
	}
	error = dpi_remote_attach(b->ctx, b->home_peer, &offer, dpi_now() + DPI_CONNECT_NS, &remote);
	if (error) return error;
	if (!remote.direct && !a->by_credit) {
		dpi_remote_detach(&remote);
		return a->base ? dpi_fail(DPI_ERR_TRANSPORT, "the ring at node %d was given up, and the one that replaces it cannot be mapped", b->home_peer->node) : DPI_ERR_AGAIN;
	}
	error = use_ring(b, &remote, a->base);
	if (error) dpi_remote_detach(&remote);
	else if (a->credit.address) dpi_window_given(&a->credit);
	return error;
}

int dpi_append_connect(struct dpi_buffer *b, int64_t deadline, bool *direct)
{
	struct dpi_way way = { 0 };
	DPI_Tp_Endpoint *endpoint;
	int error = DPI_SUCCESS;
	b->appender.carrier = NULL;
	*direct = b->home;
	for (int i = 0; i < b->ctx->carriers && !*direct; i++) { /* where one gets no connection, by the next */
		dpi_peer_choose(b->ctx, b->home_peer, &way);
		if (!way.carrier) return error ? error : dpi_fail(DPI_ERR_TRANSPORT, "no transport reaches node %d: %s", b->home_peer->node, way.reason);
		*direct = way.carrier->attr.capabilities & DPI_TP_DIRECT;
		b->appender.carrier = *direct ? NULL : way.carrier;
		error = *direct ? DPI_SUCCESS : dpi_peer_endpoint(b->ctx, b->home_peer, way.carrier->index, deadline, &endpoint);
		if (!error) break;
	}
	return error;
}

int dpi_append_ask(struct dpi_buffer *b)
{
	struct dpi_appender *a = &b->appender;
	bool direct;
	if (a->attached) return DPI_SUCCESS;
	int error = dpi_buffer_check(b);
	if (!error && !a->joining.peer) {
		/* a transport that puts must be connected before the home can send credits over the same connection */
		error = dpi_append_connect(b, dpi_now() + DPI_CONNECT_NS, &direct);
		if (!error) error = ask(b, !direct);
	}
	if (error) dpi_call_forget(b->ctx, &a->joining);
	return error;
}

int dpi_append_attach(struct dpi_buffer *b)
{
	struct dpi_appender *a = &b->appender;
	struct dpi_reply reply;
	if (a->attached) return DPI_SUCCESS;
	int error = dpi_append_ask(b);
	if (error) return error;
	error = dpi_call_end(b->ctx, &a->joining, &reply);
	if (error == DPI_ERR_AGAIN) return error;
	bool wait = error == DPI_ERR_LIMIT && b->runs && !a->queued;
	a->queued = wait;
	if (wait) return (error = ask(b, a->by_credit)) ? error : DPI_ERR_AGAIN;
	if (error) return dpi_buffer_answered(b, error);
	error = join(b, &reply);
	return error == DPI_ERR_AGAIN && !(error = ask(b, true)) ? DPI_ERR_AGAIN : error;
}

static bool joined(void *arg)
{
	struct dpi_buffer *b = arg;
	b->appender.join_error = dpi_append_attach(b);
	return b->appender.join_error != DPI_ERR_AGAIN;
}

int dpi_append_attach_wait(struct dpi_buffer *b, int64_t deadline)
{
	if (b->appender.attached) return DPI_SUCCESS;
	int64_t least = dpi_now() + DPI_ANSWER_NS;
	struct dpi_wait w = { .ready = joined, .arg = b, .bell = b->bell, .deadline = deadline > least ? deadline : least };
	if (!dpi_wait(b->ctx, &w)) return b->appender.join_error;
	/* the question stays: the next append takes the answer up */
	return dpi_buffer_timed_out(b, "asking for room to append", false);
}

bool dpi_append_grow(struct dpi_buffer *b, int64_t deadline)
{
	struct dpi_appender *a = &b->appender;
	if (!a->attached || a->no_growth || b->shape.growth == DPI_GROWTH_NONE) return false;
	uint64_t base = atomic_load_explicit(&a->writer.written, memory_order_relaxed) + DPI_RING_WORD;
	struct dpi_pack p = { 0 };
	struct dpi_reply reply;
	struct dpi_window_offer offer;
	struct dpi_remote remote;
	/* who does without the answer never grows again; and once the ring is linked there is no way back */
	int64_t least = dpi_now() + DPI_ANSWER_NS;
	if (deadline < least) deadline = least;
	dpi_pack_u64(&p, b->id);
	dpi_pack_u64(&p, (uint64_t)(uintptr_t)b->handle);
	dpi_pack_u64(&p, base);
	int error = dpi_buffer_call(b, DPI_MEMORY_GROW, &p, deadline, &reply);
	/* Whatever goes wrong now, the ring there is must do: the home has, or may have, a larger one that this one's LINK leads to. */
	a->no_growth = error != DPI_ERR_MEMORY;
	a->stays = error != DPI_ERR_MEMORY && error != DPI_ERR_FULL;
	if (error) return false;
	dpi_window_unpack(&reply.body, &offer);
	bool bad = reply.body.bad;
	dpi_reply_free(&reply);
	if (bad || check_ring(b, &offer)) {
		if (!bad) dpi_window_offer_free(&offer);
		return false;
	}
	if (dpi_remote_attach(b->ctx, b->home_peer, &offer, deadline, &remote)) return false;
	if (!remote.direct && a->tail) { /* no credit window was given */
		dpi_remote_detach(&remote);
		return false;
	}
	dpi_ring_link(&a->writer);
	least = dpi_now() + DPI_ANSWER_NS;
	if (deadline < least) deadline = least;
	while ((error = dpi_append_publish(b, 0)) == DPI_ERR_AGAIN && dpi_now() < deadline) dpi_progress(b->ctx);
	if (error || use_ring(b, &remote, base)) {
		/* the old ring has ended and there is no new one: this handle cannot go on */
		dpi_remote_detach(&remote);
		detach(b);
		return false;
	}
	a->no_growth = a->stays = false;
	DPI_COUNT(b, grows, 1);
	return true;
}

bool dpi_append_yield(struct dpi_buffer *b, pthread_mutex_t *lock)
{
	struct dpi_appender *a = &b->appender;
	if (!a->attached || a->stays || b->first) return false;
	uint64_t base = atomic_load_explicit(&a->writer.written, memory_order_relaxed) + DPI_RING_WORD;
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, b->id);
	dpi_pack_u64(&p, (uint64_t)(uintptr_t)b->handle);
	dpi_pack_u64(&p, base);
	int error = dpi_buffer_call(b, DPI_MEMORY_YIELD, &p, dpi_now() + DPI_ANSWER_NS, NULL);
	a->stays = error != DPI_ERR_MEMORY; /* as in dpi_append_grow */
	if (error) return false;
	dpi_ring_link(&a->writer);
	a->keep_mirror = dpi_append_flush(b) != DPI_SUCCESS; /* puts may be under way still */
	a->base = base + DPI_RING_WORD; /* behind the second LINK, which the home writes */
	atomic_store_explicit(&a->given_up, a->base, memory_order_relaxed);
	if (lock) pthread_mutex_lock(lock);
	leave(b);
	if (lock) pthread_mutex_unlock(lock);
	detach(b);
	pthread_mutex_lock(&b->ctx->memory->linger_lock);
	a->tail = NULL;
	a->writer.head = &a->given_up;
	a->writer.capacity = 0; /* it is not lost */
	a->writer.head_seen = a->published = a->base;
	atomic_store_explicit(&a->writer.written, a->base, memory_order_relaxed);
	atomic_store_explicit(&a->sent, a->base, memory_order_relaxed);
	pthread_mutex_unlock(&b->ctx->memory->linger_lock);
	atomic_store_explicit(&b->asked_back, 0, memory_order_relaxed);
	a->stays = a->keep_mirror = false;
	a->no_growth = false;
	return true;
}

void dpi_append_close(struct dpi_buffer *b)
{
	struct dpi_appender *a = &b->appender;
	dpi_linger_disarm(b);
	dpi_call_forget(b->ctx, &a->joining);
	detach(b);
	dpi_descriptor_close(a->room);
	free(a->stage_memory);
	if (a->credit.address) dpi_window_free(b->ctx, &a->credit);
	pthread_mutex_destroy(&a->lock);
}
