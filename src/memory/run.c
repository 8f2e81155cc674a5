/* SPDX-License-Identifier: Apache-2.0
 * run.c: runs: their queues, the writer's end, the reader's end. */
#include "run.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "layer.h"
#include "request.h"

/* -------------------------------------------------------------------------------------------------------- queues */

struct dpi_buffer_shape dpi_run_shape(uint64_t run, uint64_t first, uint64_t max, uint32_t numa)
{
	/* the word, the line before it, the rounding; and a PAD at the ring's end may be as large as a run */
	uint64_t least = DPI_RUNS_IN_RING * (dpi_ring_need(run) + 64) + DPI_RING_WORD, capacity = DPI_RING_LEAST;
	if (first < least) first = least;
	while (capacity < first) capacity *= 2;
	if (max < capacity) max = capacity;
	return (struct dpi_buffer_shape){ .use = DPI_USE_QUEUE, .growth = DPI_GROWTH_DOUBLE, .full = DPI_FULL_WAIT, .numa = numa,
					  .capacity = capacity, .max_capacity = max, .max_record = run };
}

int dpi_run_queue(struct dpi_context *ctx, const struct dpi_buffer_shape *shape, int64_t deadline, uint64_t *id)
{
	struct dpi_pack p = { 0 };
	struct dpi_reply reply;
	dpi_shape_pack(&p, shape);
	int error = dpi_call(ctx, ctx->node, DPI_MEMORY_CREATE, &p, deadline, &reply);
	if (error) return error;
	*id = dpi_unpack_u64(&reply.body);
	bool bad = reply.body.bad;
	dpi_reply_free(&reply);
	return bad ? dpi_fail(DPI_ERR_INTERNAL, "this node answered itself with nonsense") : DPI_SUCCESS;
}

void dpi_run_queue_end(struct dpi_context *ctx, uint64_t id)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, id);
	dpi_call(ctx, ctx->node, DPI_MEMORY_DESTROY, &p, dpi_now() + DPI_ANSWER_NS, NULL);
}

/* It is open: may runs be written to it? */
static int check_runs(struct dpi_buffer *b)
{
	if (b->shape.use != DPI_USE_QUEUE || b->shape.capacity < DPI_RUNS_IN_RING * (dpi_ring_need(b->max_record) + 64))
		return dpi_fail(DPI_ERR_CORRUPT, "node %d offers %s a queue that holds no runs", b->home_peer->node, b->name);
	b->runs = true;
	dpi_append_fast(b);
	return DPI_SUCCESS;
}

int dpi_run_open(struct dpi_context *ctx, const char *name, int node, uint64_t id, int64_t timeout_us, int64_t linger_us, int64_t deadline,
		 struct dpi_buffer **out)
{
	DPI_Buffer handle;
	int error = dpi_buffer_open_at(ctx, &(struct dpi_wanted){ name, timeout_us, linger_us, 0, false, false, 0 }, node, id, deadline, &handle);
	if (error) return error;
	struct dpi_buffer *b = dpi_buffer_get(handle);
	error = check_runs(b);
	if (error) DPI_Close_Buffer(handle);
	else *out = b;
	return error;
}

/* An error while it is being opened. */
static int open_failed(struct dpi_buffer *b, int error)
{
	char sentence[DPI_DETAIL_MAX];
	snprintf(sentence, sizeof sentence, "%s", dpi_detail());
	dpi_buffer_open_drop(b);
	return dpi_fail(error, "%s", sentence);
}

int dpi_run_open_start(struct dpi_context *ctx, const struct dpi_wanted *wanted, int node, uint64_t id, int64_t deadline, struct dpi_buffer **b)
{
	int error = dpi_buffer_open_start(ctx, wanted, node, id, deadline, b);
	if (error) return error;
	(*b)->acked = wanted->acked;
	(*b)->tries = wanted->tries;
	(*b)->who = wanted->who;
	error = dpi_append_ask(*b);
	return error ? open_failed(*b, error) : DPI_SUCCESS;
}

int dpi_run_open_step(struct dpi_buffer *b)
{
	bool asked = b->appender.opening.peer;
	int error = dpi_buffer_open_end(b);
	if (!error && asked) error = check_runs(b);
	if (!error) error = dpi_append_attach(b);
	return error && error != DPI_ERR_AGAIN ? open_failed(b, error) : error;
}

void dpi_run_open_drop(struct dpi_buffer *b)
{
	dpi_buffer_open_drop(b);
}

bool dpi_run_yield(struct dpi_buffer *b, pthread_mutex_t *lock)
{
	return dpi_append_yield(b, lock);
}

int dpi_run_close(struct dpi_buffer *b, int64_t timeout_us)
{
	b->timeout_us = timeout_us;
	return DPI_Close_Buffer(b->handle);
}

/* ------------------------------------------------------------------------------------------------------- writing */

/* How far bytes may be written with nothing else to do: within the run, and less than a group beyond what is published. */
static void set_until(struct dpi_buffer *b, const struct dpi_run *run)
{
	struct dpi_appender *a = &b->appender;
	uint64_t until = a->published + dpi_append_group(a);
	a->writer.until = !run->end || until > run->end ? run->end : until;
}

static void write_word(struct dpi_appender *a, uint64_t at, uint64_t size)
{
	uint64_t word = size | (uint64_t)DPI_RING_RUN << 32;
	/* one store: the reader may look while it is rewritten */
	typedef uint64_t __attribute__((may_alias)) aliased;
	__atomic_store_n((aliased *)(void *)(a->writer.data + (at & a->writer.mask)), word, __ATOMIC_RELAXED);
}

static int advance_begin(struct dpi_request *r)
{
	struct dpi_buffer *b = r->b;
	struct dpi_appender *a = &b->appender;
	int error = dpi_buffer_check(b); /* first: it may be why there is no ring any more */
	if (!error && !a->attached && a->writer.capacity) /* another ring would begin anew, and the reader counts */
		error = dpi_fail(DPI_ERR_TRANSPORT, "the ring at node %d could not be replaced, and is lost", b->home_peer->node);
	if (!error) error = dpi_append_attach(b);
	if (error) return error;
	if (!dpi_ring_room(&a->writer, r->size)) return dpi_append_no_room(b, r);
	return DPI_SUCCESS;
}

int dpi_run_begin(struct dpi_buffer *b, struct dpi_run *run, uint64_t size, bool wait)
{
	struct dpi_appender *a = &b->appender;
	struct dpi_request r = { .advance = advance_begin, .append = true, .b = b, .size = size };
	int error = advance_begin(&r);
	if (error == DPI_ERR_AGAIN && wait) error = dpi_request_run(&r, 0, "a push");
	if (error) return error;
	write_word(a, a->writer.place, size);
	run->at = a->writer.place;
	run->end = run->at + DPI_RING_WORD + size;
	a->writer.same_at = run->at; /* where the run goes on when a stage has ended */
	a->writer.same_place = (uintptr_t)a->writer.data + (run->at & a->writer.mask) - run->at;
	DPI_DELAY(run_begins);
	/* the word alone may be published already: a run of which nothing is there yet */
	atomic_store_explicit(&a->writer.written, run->at + DPI_RING_WORD, memory_order_release);
	set_until(b, run);
	return DPI_SUCCESS;
}

void dpi_run_stage(struct dpi_buffer *b, const struct dpi_run *run)
{
	if (!b->appender.tail || b->prompt) return;
	dpi_append_stage(b);
	set_until(b, run);
}

int dpi_run_end(struct dpi_buffer *b, struct dpi_run *run)
{
	static const uint64_t eight = 7;
	struct dpi_appender *a = &b->appender;
	if (!run->end) return DPI_SUCCESS;
	if (a->stage.memory) dpi_ring_unstage(&a->writer);
	uint64_t written = atomic_load_explicit(&a->writer.written, memory_order_relaxed), size = written - run->at - DPI_RING_WORD;
	int error = DPI_SUCCESS;
	if (written != run->end) {
		DPI_DELAY(run_ends);
		if (a->tail) {
			write_word(a, run->at, size);
		} else {
			pthread_mutex_lock(&a->lock);
			if ((int64_t)(run->at - atomic_load_explicit(&a->sent, memory_order_relaxed)) >= 0) {
				write_word(a, run->at, size);
			} else {
				/* The word was sent, and the transport may be reading it still: the new one lies in the mirror's other
				 * half until the run's space comes back. */
				uint64_t word = size | (uint64_t)DPI_RING_RUN << 32, at = run->at & a->writer.mask;
				uint8_t *beside = a->mirror + a->writer.capacity + at;
				memcpy(beside, &word, sizeof word);
				struct iovec v = { beside, sizeof word };
				/* the tail as it is: notifications keep their order, so the word is there before the tail goes on */
				DPI_Tp_Notify notify = { offsetof(struct dpi_ring, tail), atomic_load_explicit(&a->sent, memory_order_relaxed), DPI_TP_NO_BELL };
				error = dpi_remote_put(&a->remote, &v, 1, DPI_RING_HEADER + at, &notify, DPI_TP_MORE, &dpi_unawaited);
				if (error == DPI_TP_PENDING) error = DPI_SUCCESS;
			}
			pthread_mutex_unlock(&a->lock);
		}
		if (error) return error;
	}
	run->end = 0;
	a->writer.until = 0;
	DPI_DELAY(run_ended);
	/* release: the word, for whoever sees a tail from here on */
	atomic_store_explicit(&a->writer.written, (written + eight) & ~eight, memory_order_release);
	return DPI_SUCCESS;
}

void dpi_run_prompt(struct dpi_buffer *b)
{
	struct dpi_appender *a = &b->appender;
	struct dpi_bell_page *page = a->remote.peer->bells.page;
	b->prompt = true;
	/* without membarrier whoever publishes has a fence to pay */
	if (!page || a->home_bell >= DPI_BELLS || atomic_load_explicit(&b->ctx->bells.page->fence, memory_order_relaxed)) return;
	dpi_bell_other(&a->remote.peer->bells, a->home_bell);
	a->flush = a->tail;
	a->bell = &page->bell[a->home_bell];
	/* seq_cst, as in dpi_append_fast: either the loop thread overwrites this with 0, or its flag is seen here */
	atomic_store(&b->run, 1);
	if (atomic_load(&b->destroyed) || atomic_load(&b->home_peer->dead)) dpi_append_no_fast(b);
}

int dpi_run_publish(struct dpi_buffer *b, const struct dpi_run *run)
{
	int error = dpi_append_publish(b, 0);
	set_until(b, run);
	return error;
}

void dpi_run_went_together(struct dpi_buffer *b, const struct dpi_run *run)
{
	b->appender.published = atomic_load_explicit(&b->appender.sent, memory_order_relaxed);
	set_until(b, run);
}

int dpi_run_wrote(struct dpi_buffer *b, const struct dpi_run *run, uint64_t size)
{
	struct dpi_appender *a = &b->appender;
	uint64_t written = atomic_load_explicit(&a->writer.written, memory_order_relaxed) + size;
	DPI_DELAY(run_writes);
	atomic_store_explicit(&a->writer.written, written, memory_order_release);
	if (written - a->published >= dpi_append_group(a)) {
		int error = dpi_append_publish_group(b);
		if (error && error != DPI_ERR_AGAIN) return error;
	}
	set_until(b, run);
	dpi_append_arm(b);
	return DPI_SUCCESS;
}

int dpi_run_wrote_now(struct dpi_buffer *b, const struct dpi_run *run, uint64_t size)
{
	struct dpi_appender *a = &b->appender;
	uint64_t written = atomic_load_explicit(&a->writer.written, memory_order_relaxed) + size;
	DPI_DELAY(run_writes);
	atomic_store_explicit(&a->writer.written, written, memory_order_release);
	int error = dpi_append_publish(b, 0);
	set_until(b, run);
	if (error == DPI_ERR_AGAIN) dpi_append_arm(b); /* nothing is left for the service else */
	return error;
}

int dpi_run_flush(struct dpi_buffer *b, const struct dpi_run *run)
{
	if (!b->appender.attached) return dpi_buffer_check(b);
	int error = dpi_append_flush(b);
	set_until(b, run);
	return error;
}

int dpi_run_look(struct dpi_buffer *b, struct dpi_run_flush *f)
{
	struct dpi_appender *a = &b->appender;
	int done = 1, error = dpi_buffer_check(b);
	if (!error && dpi_run_yielded(b)) f->seen = a->base; /* all of it was flushed */
	if (error || !a->attached) return error;
	if (a->tail) { /* the linger service publishes, too */
		f->seen = atomic_load_explicit(a->tail, memory_order_relaxed);
		return DPI_SUCCESS;
	}
	if (f->request) {
		error = DPI_Test(&f->request, &done);
		if (error) return error;
		if (done) f->seen = f->asked;
	}
	uint64_t written = atomic_load_explicit(&a->writer.written, memory_order_relaxed);
	if (!done || written == f->seen) return DPI_SUCCESS;
	f->asked = written; /* a flush publishes it first */
	return DPI_Flush_Buffer_Nb(b->handle, &f->request);
}

bool dpi_run_looks(struct dpi_buffer *b, const struct dpi_run_flush *f)
{
	const struct dpi_appender *a = &b->appender;
	if (f->request) return dpi_request_list(b);
	if (dpi_run_yielded(b)) return f->seen != a->base;
	return a->attached && a->tail && atomic_load_explicit(a->tail, memory_order_relaxed) != f->seen;
}

/* ------------------------------------------------------------------------------------------------------- reading */

static enum dpi_ring_found corrupt(struct dpi_ring_in *r)
{
	r->ended = true;
	dpi_log(DPI_LOG_WARNING, "a source on node %d wrote nonsense into its ring and is cut off", r->from->node);
	return DPI_RING_CORRUPT;
}

/* The word of the run that is open, for a tail just loaded: where the run ends. False: nonsense. */
static bool look_at_word(const struct dpi_ring_reader *d, struct dpi_run_in *run)
{
	uint64_t word = dpi_ring_get_word(d->ring->data + (run->at & d->mask)), end = run->at + DPI_RING_WORD + (word & UINT32_MAX);
	if (word >> 32 != DPI_RING_RUN || end > run->end || end < d->read) return false;
	run->end = end;
	return true;
}

enum dpi_ring_found dpi_run_next(struct dpi_context *ctx, struct dpi_home *h, struct dpi_ring_in **at, struct dpi_run_in *run, const uint8_t **data,
				 uint64_t *size, bool *first)
{
	struct dpi_ring_in *r = *at;
	struct dpi_ring_reader *d = &r->reader;
	*first = false;
	if (r->ended) return DPI_RING_EMPTY;
	for (;;) {
		if (d->read == d->tail) {
			uint64_t tail = atomic_load_explicit(&d->ring->tail, memory_order_acquire);
			DPI_DELAY(run_saw_tail);
			if ((int64_t)(tail - d->tail) <= 0) return DPI_RING_EMPTY;
			if (tail - d->head > d->capacity || tail - d->read > d->capacity) return corrupt(r);
			d->tail = tail;
		}
		if (run->end) {
			if (!look_at_word(d, run)) return corrupt(r);
			uint64_t until = d->tail < run->end ? d->tail : run->end;
			if (until != d->read) {
				*data = d->ring->data + (d->read & d->mask);
				*size = until - d->read;
				*first = d->read == run->at + DPI_RING_WORD;
				d->read = until;
				return DPI_RING_FOUND;
			}
			/* it is over, and there is more behind it */
			uint64_t next = (run->end + 7) & ~(uint64_t)7;
			if (next > d->tail) return corrupt(r);
			run->end = 0;
			d->read = next;
			continue;
		}
		uint64_t place = d->read & d->mask, word = dpi_ring_get_word(d->ring->data + place);
		uint64_t length = word & UINT32_MAX, need = dpi_ring_need(length), left = d->tail - d->read;
		if (d->read % 8 || left < DPI_RING_WORD) return corrupt(r);
		switch (word >> 32) {
		case DPI_RING_RUN: /* what is behind the tail need not be there yet */
			if (length > d->max_record || need > d->capacity - place) return corrupt(r);
			run->at = d->read;
			run->end = d->read + DPI_RING_WORD + length;
			d->read += DPI_RING_WORD;
			continue;
		case DPI_RING_PAD:
			if (length % 8 || need > d->capacity - place || need > left) return corrupt(r);
			d->read += need;
			continue;
		case DPI_RING_LINK:
			if (left != DPI_RING_WORD || !dpi_ring_in_replace(ctx, h, at)) return corrupt(r);
			r = *at;
			d = &r->reader;
			continue;
		default:
			return corrupt(r);
		}
	}
}

uint64_t dpi_run_more(struct dpi_ring_in *r, struct dpi_run_in *run, uint64_t unit)
{
	struct dpi_ring_reader *d = &r->reader;
	if (!run->end || r->ended) return 0;
	uint64_t tail = atomic_load_explicit(&d->ring->tail, memory_order_acquire);
	if ((int64_t)(tail - d->read) <= 0 || tail - d->head > d->capacity || !look_at_word(d, run)) return 0;
	uint64_t until = tail < run->end ? tail : run->end, size = until - d->read;
	if (size % unit) return 0;
	if ((int64_t)(tail - d->tail) > 0) d->tail = tail;
	d->read = until;
	return size;
}

void dpi_run_give_back(struct dpi_ring_in *r, struct dpi_run_in *run, uint64_t position)
{
	/* read to where its word says it ends, it can neither grow nor be made shorter; what follows begins here, there being no padding */
	if (run->end && position == run->end && r->reader.read == run->end && !(run->end & 7)) run->end = 0;
	if (run->end && (int64_t)(position - run->at) > 0) position = run->at;
	if ((int64_t)(position - r->reader.head) > 0) dpi_ring_in_give_back(r, position, position);
}
