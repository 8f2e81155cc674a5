/* SPDX-License-Identifier: Apache-2.0
 * ring_in.c: the home's side of one appender's ring. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "wait.h"
#include "home.h"
#include "layer.h"

#define CREDIT_AGAIN_NS 1000000 /* a credit that the transport could not take is tried again after this */

int dpi_ring_in_make(struct dpi_context *ctx, struct dpi_home *h, uint64_t capacity, uint64_t base, struct dpi_ring_in **out)
{
	struct dpi_ring_in *r = calloc(1, sizeof *r);
	if (!r) return dpi_fail(DPI_ERR_MEMORY, "no memory for an appender");
	int error = dpi_window_allocate(DPI_RING_HEADER + capacity, (int)h->shape.huge_pages, (int)h->shape.numa, &r->window);
	if (!error) error = dpi_window_expose(ctx, &r->window, DPI_TP_READ | DPI_TP_WRITE);
	if (error) {
		if (r->window.mapping) dpi_window_free(ctx, &r->window);
		free(r);
		return error;
	}
	struct dpi_ring *ring = r->window.address;
	atomic_init(&ring->tail, base);
	atomic_init(&ring->head, base);
	atomic_init(&ring->clear, DPI_RING_NOWHERE); /* nor does a put, which may bring the bytes of a record after its word */
	r->reader = (struct dpi_ring_reader){ .ring = ring, .capacity = capacity, .mask = capacity - 1, .max_record = h->shape.max_record,
					      .tail = base, .clear = DPI_RING_NOWHERE, .read = base, .head = base, .freed = base, .head_told = base,
					      .same_most = h->shape.use == DPI_USE_QUEUE ? DPI_RING_SAME_MOST : 0 };
	/* An appender that does not see the head must never wait for space that was given back untold: untold space is less than what
	 * the largest record and its PAD leave of the ring. */
	uint64_t spare = capacity - 2 * DPI_RING_WORD - 2 * dpi_ring_need(h->shape.max_record);
	r->tell_at = spare < capacity / 8 ? spare : capacity / 8;
	if (!r->tell_at) r->tell_at = 1;
	r->tell_least = r->tell_at;
	*out = r;
	return DPI_SUCCESS;
}

/* Its reader finds nothing in it, and then the LINK. The appender never sees it. */
#define NO_RING 64u
int dpi_ring_in_yielded(uint64_t base, struct dpi_ring_in **out)
{
	struct dpi_ring_in *r = calloc(1, sizeof *r);
	struct dpi_ring *ring = r ? aligned_alloc(64, DPI_RING_HEADER + NO_RING) : NULL;
	if (!ring) {
		free(r);
		return dpi_fail(DPI_ERR_MEMORY, "no memory for an appender");
	}
	memset(ring, 0, DPI_RING_HEADER + NO_RING);
	atomic_init(&ring->tail, base);
	atomic_init(&ring->head, base);
	atomic_init(&ring->clear, DPI_RING_NOWHERE);
	r->reader = (struct dpi_ring_reader){ .ring = ring, .capacity = NO_RING, .mask = NO_RING - 1, .tail = base, .clear = DPI_RING_NOWHERE, .read = base, .head = base,
					      .freed = base, .head_told = base };
	r->tell_at = r->tell_least = 1;
	r->yielded = base;
	*out = r;
	return DPI_SUCCESS;
}

void dpi_ring_in_link(struct dpi_ring_in *yielded, struct dpi_ring_in *next)
{
	struct dpi_ring *ring = yielded->reader.ring;
	yielded->credit_shared = true;
	dpi_ring_put_word(ring->data + (yielded->yielded & (NO_RING - 1)), 0, DPI_RING_LINK);
	/* release: whoever finds the LINK finds the ring; whoever finds the tail, the LINK */
	atomic_store_explicit(&yielded->larger, next, memory_order_release);
	DPI_DELAY(home_links_ring);
	atomic_store_explicit(&ring->tail, yielded->yielded + DPI_RING_WORD, memory_order_release);
}

void dpi_ring_in_by_credit(struct dpi_ring_in *r)
{
	r->direct = false;
	/* Each costs system calls on both sides, and wakes the appender if it sleeps. Where it may have to wait for these bytes, with all that it
	 * sent read, the bound is tell_least. */
	if (r->tell_at == r->reader.capacity / 8) r->tell_at *= 2;
}

void dpi_ring_in_prompt(struct dpi_ring_in *r)
{
	r->tell_at = r->tell_least = 1;
}

/* A word of an appender's credit by a put. False: the transport is busy. */
static bool put_word(struct dpi_ring_in *r, uint64_t offset, uint64_t value)
{
	DPI_Tp_Notify n = { offset, value, r->bell };
	return dpi_remote_put(&r->credit, NULL, 0, 0, &n, 0, &dpi_unawaited) != DPI_ERR_AGAIN;
}

/* Tell an appender what is due. False: some of it still is. Under credit_lock. */
static bool put_credit(struct dpi_ring_in *r)
{
	if (r->head_due) r->head_due = !put_word(r, offsetof(struct dpi_credit, head), r->credit_head);
	if (r->acked_due) r->acked_due = !put_word(r, offsetof(struct dpi_credit, acked), r->credit_acked);
	return !r->head_due && !r->acked_due;
}

/* Under credit_lock. True: the transport was busy, and the loop has it now. */
static bool post_credit(struct dpi_memory_layer *m, struct dpi_ring_in *r)
{
	if (r->credit_due || put_credit(r)) return false;
	r->credit_due = true;
	r->next_due = atomic_load_explicit(&m->credits_due, memory_order_relaxed);
	atomic_store_explicit(&m->credits_due, r, memory_order_release);
	return true;
}

/* The reader may not call again, so what the transport cannot take now is left to the loop. */
static void tell_by_credit(struct dpi_ring_in *r)
{
	r->reader.head_told = r->reader.head;
	if (r->credit.direct) {
		struct dpi_credit *credit = (struct dpi_credit *)r->credit.direct;
		atomic_store_explicit(&credit->head, r->reader.head, memory_order_release);
		dpi_remote_ring(&r->credit, r->bell);
		return;
	}
	struct dpi_memory_layer *m = r->credit.ctx->memory;
	pthread_mutex_lock(&m->credit_lock);
	r->credit_head = r->reader.head;
	r->head_due = true;
	bool left = post_credit(m, r);
	pthread_mutex_unlock(&m->credit_lock);
	if (left) dpi_loop_kick(r->credit.ctx);
}

void dpi_ring_in_ack(struct dpi_ring_in *r, uint64_t count)
{
	if (!r->credit.length || r->ended || atomic_load_explicit(&r->state, memory_order_acquire) != DPI_RING_OPEN) return;
	if (r->credit.direct) {
		/* release: the appender, which sees it with acquire, also sees what its acknowledgement tells of; the bell's ring looks afterwards */
		atomic_store_explicit(&((struct dpi_credit *)r->credit.direct)->acked, count, memory_order_release);
		DPI_DELAY(ring_acks);
		dpi_remote_ring(&r->credit, r->bell);
		return;
	}
	struct dpi_memory_layer *m = r->credit.ctx->memory;
	pthread_mutex_lock(&m->credit_lock);
	r->credit_acked = count;
	r->acked_due = true;
	bool left = post_credit(m, r);
	pthread_mutex_unlock(&m->credit_lock);
	if (left) dpi_loop_kick(r->credit.ctx);
}

/* The ring is left: nothing that is due for it matters any more. But what is acknowledged is: whether that was due. */
static bool forget_credit(struct dpi_context *ctx, struct dpi_ring_in *r)
{
	struct dpi_memory_layer *m = ctx->memory;
	if (!r->credit.length || r->credit.direct) return false; /* none is ever due */
	pthread_mutex_lock(&m->credit_lock);
	struct dpi_ring_in *at = atomic_load_explicit(&m->credits_due, memory_order_relaxed);
	if (r->credit_due && at == r) atomic_store_explicit(&m->credits_due, r->next_due, memory_order_relaxed);
	else if (r->credit_due) {
		while (at->next_due != r) at = at->next_due;
		at->next_due = r->next_due;
	}
	bool acked = r->acked_due;
	r->credit_due = r->head_due = r->acked_due = false;
	pthread_mutex_unlock(&m->credit_lock);
	return acked;
}

int64_t dpi_credit_service(struct dpi_context *ctx, int64_t now)
{
	struct dpi_memory_layer *m = ctx->memory;
	if (!atomic_load_explicit(&m->credits_due, memory_order_acquire)) return DPI_NEVER;
	pthread_mutex_lock(&m->credit_lock);
	struct dpi_ring_in *left = NULL, *r = atomic_load_explicit(&m->credits_due, memory_order_relaxed);
	while (r) {
		struct dpi_ring_in *next = r->next_due;
		r->credit_due = !put_credit(r);
		if (r->credit_due) r->next_due = left, left = r;
		r = next;
	}
	atomic_store_explicit(&m->credits_due, left, memory_order_relaxed);
	pthread_mutex_unlock(&m->credit_lock);
	return left ? now + CREDIT_AGAIN_NS : DPI_NEVER;
}

void dpi_ring_in_tell(struct dpi_ring_in *r)
{
	struct dpi_ring_reader *d = &r->reader;
	if (r->ended) return; /* the appender has left this ring */
	if (r->direct) {
		/* a store and a look; but not for every record: the appender reads the word only when it believes the ring full */
		if (d->head - d->head_told >= r->tell_at || d->head == d->tail) {
			dpi_ring_tell(d);
			dpi_peer_ring(r->from, r->bell);
		}
		return;
	}
	if (d->head - d->head_told >= (d->read == d->tail ? r->tell_least : r->tell_at)) tell_by_credit(r);
}

/* Where something is lent the rest may be less than a record needs: then each byte that is back counts. In shared memory it costs a store
 * to tell it in any case. */
void dpi_ring_in_caught_up(struct dpi_ring_in *r)
{
	struct dpi_ring_reader *d = &r->reader;
	uint64_t back = d->head - d->head_told;
	if (!back || r->ended) return;
	if (r->direct) {
		dpi_ring_tell(d);
		dpi_peer_ring(r->from, r->bell);
	} else if (r->lent || back >= r->tell_least) {
		tell_by_credit(r);
	}
}

void dpi_ring_in_give_back(struct dpi_ring_in *r, uint64_t end, uint64_t boundary)
{
	dpi_ring_release(&r->reader, end, boundary);
	dpi_ring_in_tell(r);
}

void dpi_ring_in_free(struct dpi_context *ctx, struct dpi_home *h, struct dpi_ring_in *r)
{
	pthread_mutex_lock(&h->lock);
	if (!r->yielded) h->memory -= r->reader.capacity;
	bool wanted = h->wanted;
	pthread_mutex_unlock(&h->lock);
	if (wanted) dpi_loop_kick(ctx);
	forget_credit(ctx, r);
	if (r->credit.length && !r->credit_shared) dpi_remote_detach(&r->credit);
	if (r->yielded) free(r->reader.ring);
	else dpi_window_free(ctx, &r->window);
	free(r->position);
	free(r);
}

void dpi_ring_in_free_larger(struct dpi_context *ctx, struct dpi_home *h, struct dpi_ring_in *r)
{
	for (struct dpi_ring_in *larger = atomic_load(&r->larger), *next; larger; larger = next) {
		next = atomic_load(&larger->larger);
		dpi_ring_in_free(ctx, h, larger);
	}
}

bool dpi_ring_in_replace(struct dpi_context *ctx, struct dpi_home *h, struct dpi_ring_in **at)
{
	struct dpi_ring_in *r = *at;
	/* acquire: the ring was made by the loop thread before the appender could have linked to it */
	struct dpi_ring_in *larger = atomic_load_explicit(&r->larger, memory_order_acquire);
	r->ended = true;
	bool acked = forget_credit(ctx, r); /* the credit's words are the larger ring's now */
	if (!larger) return false;
	if (acked) dpi_ring_in_ack(larger, r->credit_acked);
	larger->ordered = r->ordered;
	larger->position = r->position;
	larger->told_full = r->told_full;
	r->position = NULL;
	*at = larger;
	if (!r->lent) dpi_ring_in_free(ctx, h, r);
	return true;
}

enum dpi_ring_found dpi_ring_in_next(struct dpi_context *ctx, struct dpi_home *h, struct dpi_ring_in **at, const void **data, size_t *size)
{
	struct dpi_ring_in *r = *at;
	if (r->ended) return DPI_RING_EMPTY;
	enum dpi_ring_found found = dpi_ring_next(&r->reader, data, size);
	if (__builtin_expect(found == DPI_RING_FOUND || found == DPI_RING_EMPTY, 1)) return found;
	if (found == DPI_RING_ENDED && dpi_ring_in_replace(ctx, h, at)) return dpi_ring_in_next(ctx, h, at, data, size);
	r->ended = true;
	forget_credit(ctx, r);
	dpi_log(DPI_LOG_WARNING, "an appender on node %d wrote nonsense into its ring and is cut off", r->from->node);
	return DPI_RING_CORRUPT;
}

bool dpi_ring_in_over(struct dpi_ring_in *r)
{
	/* acquire: then everything the appender published before it closed or died is visible */
	if (atomic_load_explicit(&r->state, memory_order_acquire) == DPI_RING_OPEN) {
		struct dpi_ring_in *last = r, *larger;
		while ((larger = atomic_load_explicit(&last->larger, memory_order_acquire))) last = larger;
		if (atomic_load_explicit(&last->state, memory_order_acquire) == DPI_RING_OPEN) return false;
		/* it closed or died before it linked to its larger ring, or after: then the link is there to be read */
	}
	return r->ended || !dpi_ring_ready(&r->reader);
}
