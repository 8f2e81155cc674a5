/* SPDX-License-Identifier: Apache-2.0
 * append.c: the appending side of a handle, once it has a ring (attach.c).
 *
 * A record is written into the handle's ring, or into a mirror of it, and becomes visible when the ring's tail is published: when
 * DPI_GROUP_BYTES are there, at a flush, or by the linger service.
 *
 * Through shared memory the tail is one word with two writers, the handle's thread and the linger service:
 *   thread: store tail = written  (release)        then, for later records, store written (release)
 *   linger: p = tail; w = written (acquire);  compare-and-swap tail p -> w (release)
 * tail never goes back: the service read w, so every store of tail that precedes that store of written has happened
 * before its compare-and-swap, which fails if it read an older p; and later stores of the thread are at least w.
 * While records lie on a stage (ring.h) both hold the lock to publish; the service takes it first of all and keeps it, so
 * that it never publishes a written that it has read without one up to which nothing is copied. */
#define DPI_NO_INLINE /* here are the calls themselves */
#include "buffer.h"
#include "layer.h"
#include "request.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

void dpi_append_no_fast(struct dpi_buffer *b)
{
	atomic_store(&b->fast_size, 0);
	atomic_store(&b->run, 0);
}

void dpi_append_fast(struct dpi_buffer *b)
{
	struct dpi_appender *a = &b->appender;
	dpi_descriptor_fire(a->room); /* what it may have waited for, of this handle's own */
	/* without membarrier a record needs a fence of its own: see appended */
	b->fast = a->attached && !b->runs && !b->first && !a->open_room && !b->closing &&
		  !atomic_load_explicit(&b->ctx->bells.page->fence, memory_order_relaxed);
	uint64_t size = b->max_record < DPI_SMALL_BYTES ? b->max_record : DPI_SMALL_BYTES;
	size = b->fast ? size + 1 : 0;
	/* seq_cst, as the loop thread's stores: either it overwrites this with 0, or its flag is seen here */
	atomic_store(&b->fast_size, size);
	a->stage.gate = &b->run;
	if (a->writer.stage != &a->stage) a->writer.stage = &a->stage; /* the linger service reads it, once a stage is set */
	atomic_store(&b->run, b->fast ? (uint32_t)a->writer.same : 0);
	if (atomic_load(&b->destroyed) || atomic_load(&b->home_peer->dead)) dpi_append_no_fast(b);
	if (a->attached && !b->runs) dpi_ring_until(&a->writer, a->published, dpi_append_group(a));
	struct dpi_bell_page *page = a->attached && a->tail ? a->remote.peer->bells.page : NULL;
	bool store = b->fast && page && b->shape.use == DPI_USE_QUEUE && a->home_bell < DPI_BELLS;
	if (store) dpi_bell_other(&a->remote.peer->bells, a->home_bell);
	a->may_flush = store ? a->tail : NULL;
	a->flush = a->stage.memory ? NULL : a->may_flush;
	a->bell = store ? &page->bell[a->home_bell] : NULL;
}

/* ---------------------------------------------------------------------------------------------------- publishing */

/* A consumer that sleeps and is woken for each group reads little at a time, and its appender pays for a wake-up as often. It may sleep on
 * until there is a quarter of the ring, or the appender flushes, waits itself, or the linger time is over; one that is awake sees the tail. */
static bool lets_sleep(const struct dpi_appender *a, uint64_t written)
{
	const struct dpi_bell_page *page = a->remote.peer->bells.page;
	return page && a->home_bell < DPI_BELLS && written - atomic_load_explicit(&a->rung, memory_order_relaxed) < a->writer.capacity / 4 &&
	       dpi_bell_slept_at(&page->bell[a->home_bell]);
}

static void ring_home(struct dpi_appender *a, uint64_t published)
{
	atomic_store_explicit(&a->rung, published, memory_order_relaxed);
	dpi_remote_ring(&a->remote, a->home_bell);
}

static int publish_direct(struct dpi_buffer *b, bool group)
{
	struct dpi_appender *a = &b->appender;
	uint64_t written = atomic_load_explicit(&a->writer.written, memory_order_relaxed);
	if (__builtin_expect(atomic_load_explicit(&b->destroyed, memory_order_relaxed) ||
			     atomic_load_explicit(&b->home_peer->dead, memory_order_relaxed), 0))
		return dpi_buffer_check(b);
	if (a->stage.memory) {
		dpi_ring_lock_stage(&a->stage);
		dpi_ring_copy_staged(&a->writer, written);
		dpi_ring_set_stage(&a->writer, a->stage.memory);
		dpi_ring_publish(&a->writer, a->tail, a->published);
		dpi_ring_unlock_stage(&a->stage);
	} else {
		dpi_ring_publish(&a->writer, a->tail, a->published);
	}
	a->published = written;
	if (!group || !lets_sleep(a, written)) ring_home(a, written);
	DPI_ADD(b->appender.publishes, 1);
	return DPI_SUCCESS;
}

/* Put what the mirror holds from sent to written, then the tail. Caller holds a->lock. */
static int put_mirror(struct dpi_buffer *b, uint64_t written, uint32_t flags)
{
	struct dpi_appender *a = &b->appender;
	uint64_t sent = atomic_load_explicit(&a->sent, memory_order_relaxed);
	while (sent != written) {
		uint64_t at = sent & a->writer.mask, n = written - sent, end = a->writer.capacity - at;
		bool last = n <= end;
		if (!last) n = end;
		struct iovec v = { a->writer.data + at, n };
		/* a first part up to the ring's end is published on its own: records do not wrap */
		DPI_Tp_Notify notify = { offsetof(struct dpi_ring, tail), sent + n, last ? a->home_bell : DPI_TP_NO_BELL };
		/* the mirror stays untouched until the reader has given the space back, so completion need not be awaited */
		int error = dpi_remote_put(&a->remote, &v, 1, DPI_RING_HEADER + at, &notify, DPI_TP_LATE | (last ? flags : DPI_TP_MORE), &dpi_unawaited);
		if (error && error != DPI_TP_PENDING) return error;
		sent += n;
		atomic_store_explicit(&a->sent, sent, memory_order_relaxed);
	}
	return DPI_SUCCESS;
}

int dpi_append_publish_group(struct dpi_buffer *b)
{
	return b->appender.attached && b->appender.tail ? publish_direct(b, true) : dpi_append_publish(b, 0);
}

int dpi_append_publish(struct dpi_buffer *b, uint32_t flags)
{
	struct dpi_appender *a = &b->appender;
	int error = DPI_SUCCESS;
	if (!a->attached) return DPI_SUCCESS;
	uint64_t written = atomic_load_explicit(&a->writer.written, memory_order_relaxed);
	if (a->tail) {
		bool done = a->published == written && atomic_load_explicit(&a->rung, memory_order_relaxed) == written;
		return done ? DPI_SUCCESS : publish_direct(b, false);
	}
	error = dpi_buffer_check(b);
	if (error) return error;
	pthread_mutex_lock(&a->lock);
	if (atomic_load_explicit(&a->sent, memory_order_relaxed) != written) {
		error = put_mirror(b, written, flags);
		DPI_ADD(b->appender.publishes, 1);
	}
	a->published = atomic_load_explicit(&a->sent, memory_order_relaxed);
	pthread_mutex_unlock(&a->lock);
	return error;
}

/* Caller holds the stage's lock, so no stage is set, moved or published from meanwhile; the owner may publish without one. */
static bool linger_direct(struct dpi_buffer *b)
{
	struct dpi_appender *a = &b->appender;
	DPI_DELAY(append_linger_comes);
	uint64_t seen = atomic_load_explicit(a->tail, memory_order_relaxed);
	DPI_DELAY(append_linger_saw_tail);
	uint64_t written = atomic_load_explicit(&a->writer.written, memory_order_acquire);
	if ((int64_t)(written - seen) <= 0) {
		bool some = atomic_load_explicit(&a->rung, memory_order_relaxed) != seen;
		if (some) ring_home(a, seen);
		return some;
	}
	if (a->stage.memory) dpi_ring_copy_staged(&a->writer, written);
	DPI_DELAY(append_linger_swaps);
	if (atomic_compare_exchange_strong_explicit(a->tail, &seen, written, memory_order_release, memory_order_relaxed)) ring_home(a, written);
	return true;
}

bool dpi_append_linger(struct dpi_buffer *b)
{
	struct dpi_appender *a = &b->appender;
	if (!a->attached) return false;
	if (a->tail) {
		if (!dpi_ring_try_stage(&a->stage)) return true; /* the owner is publishing */
		bool some = linger_direct(b);
		dpi_ring_unlock_stage(&a->stage);
		return some;
	}
	if (pthread_mutex_trylock(&a->lock)) return true;
	uint64_t written = atomic_load_explicit(&a->writer.written, memory_order_acquire);
	uint64_t sent = atomic_load_explicit(&a->sent, memory_order_relaxed);
	bool some = written != sent, young = dpi_append_waits_a_look(b) && (int64_t)(a->looked_at - sent) <= 0;
	a->looked_at = written;
	if (some && !young && put_mirror(b, written, 0) == DPI_ERR_PEER) some = false;
	pthread_mutex_unlock(&a->lock);
	return some;
}

static inline void account(struct dpi_buffer *b, uint64_t size)
{
	if (b->appender.writer.same) return; /* the run is counted as one */
	DPI_ADD(b->appends, 1);
	DPI_ADD(b->append_bytes, size);
}

static inline void arm(struct dpi_buffer *b)
{
	if (__builtin_expect(atomic_load_explicit(&b->ctx->bells.page->fence, memory_order_relaxed), 0))
		atomic_thread_fence(memory_order_seq_cst);
	/* the service counts itself out with a fence on its side (linger.c), so a plain look is enough here */
	atomic_signal_fence(memory_order_seq_cst);
	DPI_DELAY(append_looks_at_armed);
	if (__builtin_expect(!atomic_load_explicit(&b->armed, memory_order_relaxed), 0) && !b->prompt) dpi_linger_arm(b);
}

void dpi_append_arm(struct dpi_buffer *b)
{
	arm(b);
}

/* Records of one size that come fast go without words: begin a run of them if the last ones were such. The size of the next is not known,
 * so this may be in vain, once in a group. */
#define RUN_RECORDS 4 /* at least so many, */
#define RUN_NS 150    /* in less time each: slower ones are seen sooner by their words */
#define STAGE_SPARE 192 /* bytes: the stage begins as its first record does within a line, and ends behind one that passes the group's end */
void dpi_append_stage(struct dpi_buffer *b)
{
	struct dpi_appender *a = &b->appender;
	if (!a->stage_memory) a->stage_memory = aligned_alloc(64, DPI_STAGE_BYTES + STAGE_SPARE);
	if (!a->stage_memory) return;
	a->stage.room = a->writer.capacity / 8 < DPI_STAGE_BYTES ? a->writer.capacity / 8 : DPI_STAGE_BYTES;
	dpi_ring_lock_stage(&a->stage);
	dpi_ring_set_stage(&a->writer, a->stage_memory);
	dpi_ring_unlock_stage(&a->stage);
	a->flush = NULL;
}

/* Whether the two cores are near or far is not to be known, so both ways are tried: of each TRIAL_EVERY runs the first, third and so on as they are,
 * the second and fourth staged, and the others as was faster. time, n: of the run that has ended, in nanoseconds and records. */
#define TRIAL_EVERY 64
#define TRIALS 4
static bool stage_pays(struct dpi_appender *a, int64_t time, uint64_t n)
{
	uint32_t last = a->runs_begun++ % TRIAL_EVERY, next = a->runs_begun % TRIAL_EVERY;
	int64_t *cost = &a->run_cost[last & 1], took = n ? time * 64 / (int64_t)n : INT64_MAX;
	if (last < TRIALS && (took < *cost || last < 2)) *cost = took;
	return next < TRIALS ? next & 1 : a->run_cost[1] < a->run_cost[0];
}

static bool begin_run(struct dpi_buffer *b, uint64_t size)
{
	struct dpi_appender *a = &b->appender;
	if (!a->same_most || !size || size > DPI_RING_SAME_MOST || size % 8 || !b->fast || a->writer.same) return false;
	int64_t now = dpi_now(), time = now - a->seen_ns;
	uint64_t records = b->appends + a->writer.same_records, bytes = b->append_bytes + a->writer.same_bytes;
	uint64_t n = records - a->seen_records;
	bool so = n >= RUN_RECORDS && bytes - a->seen_bytes == n * size && (uint64_t)time < n * RUN_NS;
	a->seen_records = records;
	a->seen_bytes = bytes;
	a->seen_ns = now;
	uint64_t flushes = a->flushes + a->quick;
	bool flushed = flushes != a->seen_flushes;
	a->seen_flushes = flushes;
	bool staged = stage_pays(a, time, n);
	if (!so || !dpi_ring_begin_same(&a->writer, size, a->same_most)) return false;
	if (staged && !flushed) dpi_append_stage(b);
	dpi_ring_go_on(&a->writer, dpi_append_group(a));
	atomic_store(&b->run, (uint32_t)size); /* as in dpi_append_fast */
	if (!atomic_load(&b->fast_size)) atomic_store(&b->run, 0);
	return true;
}

static int appended(struct dpi_buffer *b, uint64_t size)
{
	struct dpi_appender *a = &b->appender;
	account(b, size);
	bool visible = false;
	if (atomic_load_explicit(&a->writer.written, memory_order_relaxed) - a->published >= dpi_append_group(a)) {
		int error = dpi_append_publish_group(b);
		if (error && error != DPI_ERR_AGAIN) return error;
		visible = a->tail && !error && atomic_load_explicit(&a->rung, memory_order_relaxed) == a->published;
	}
	dpi_ring_until(&a->writer, a->published, dpi_append_group(a));
	if (!visible) arm(b); /* else there is nothing that the service would find */
	return DPI_SUCCESS;
}

/* -------------------------------------------------------------------------------------------------------- records */

static void copy_in(uint8_t *to, const struct iovec *iov, int count)
{
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len) memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
}

/* A large record over a transport goes from the caller's memory: its header from the mirror, then its pieces. */
static int put_large(struct dpi_buffer *b, const struct iovec *iov, int count, uint64_t size, struct dpi_request *r)
{
	struct dpi_appender *a = &b->appender;
	static const uint8_t zeros[8];
	struct iovec v[8];
	int n = 0, error;
	pthread_mutex_lock(&a->lock);
	uint64_t end = a->writer.place + dpi_ring_need(size), at = a->writer.place & a->writer.mask;
	dpi_ring_put_word(a->writer.data + at, size, DPI_RING_RECORD);
	error = put_mirror(b, a->writer.place, DPI_TP_MORE); /* earlier records, and PADs */
	/* PADs that have been sent are written, whatever becomes of the record; that may be the one at the ring's end alone */
	uint64_t sent = atomic_load_explicit(&a->sent, memory_order_relaxed);
	if ((int64_t)(sent - atomic_load_explicit(&a->writer.written, memory_order_relaxed)) > 0)
		atomic_store_explicit(&a->writer.written, sent, memory_order_release);
	if (error) goto out;
	v[n++] = (struct iovec){ a->writer.data + at, DPI_RING_WORD };
	for (int i = 0; i < count; i++)
		if (iov[i].iov_len) v[n++] = iov[i];
	if (size % 8) v[n++] = (struct iovec){ (void *)(uintptr_t)zeros, 8 - size % 8 };
	DPI_Tp_Notify notify = { offsetof(struct dpi_ring, tail), end, a->home_bell };
	error = DPI_REQUEST_POST(r, &a->remote, dpi_remote_put(&a->remote, v, n, DPI_RING_HEADER + at, &notify, 0, &r->op));
	if (error && error != DPI_ERR_AGAIN) goto out;
	if (error == DPI_ERR_AGAIN && atomic_load(&r->op_state) == DPI_OP_NONE) goto out; /* not taken */
	atomic_store_explicit(&a->writer.written, end, memory_order_release);
	atomic_store_explicit(&a->sent, end, memory_order_relaxed);
	a->published = end;
	r->begun = r->unknown = true;
out:
	pthread_mutex_unlock(&a->lock);
	return error;
}

int dpi_append_is_full(const struct dpi_buffer *b)
{
	return dpi_fail(DPI_ERR_FULL, "%s '%s' on node %d is full: %s, raise max_capacity, or wait (DPI_FULL_WAIT)",
			b->shape.use == DPI_USE_LOG ? "log" : "queue", b->name, b->home_peer->node,
			b->shape.use == DPI_USE_LOG ? "truncate it" : "its consumer is behind; release records");
}

/* The ring is full. What is written must be visible, or the reader could never make room. */
int dpi_append_no_room(struct dpi_buffer *b, struct dpi_request *r)
{
	struct dpi_appender *a = &b->appender;
	int error = dpi_append_publish(b, 0);
	r->refused = error == DPI_ERR_AGAIN;
	a->wanted = r->size;
	if (error || b->shape.full != DPI_FULL_ERROR) return error ? error : DPI_ERR_AGAIN;
	/* A log's ring is mostly full only until the home has emptied it; the home says when it cannot. A queue's may be replaced. */
	if (b->shape.use == DPI_USE_LOG) {
		struct dpi_credit *credit = a->credit.address;
		return atomic_load_explicit(&credit->full, memory_order_acquire) ? dpi_append_is_full(b) : DPI_ERR_AGAIN;
	}
	return a->no_growth || b->shape.growth == DPI_GROWTH_NONE ? dpi_append_is_full(b) : DPI_ERR_AGAIN;
}

int dpi_append_try(struct dpi_buffer *b, const struct iovec *iov, int count, uint64_t size, struct dpi_request *r)
{
	struct dpi_appender *a = &b->appender;
	int error = dpi_buffer_check(b);
	r->refused = false;
	if (error) return error;
	uint8_t *room = dpi_ring_room(&a->writer, size);
	if (!room) {
		return dpi_append_no_room(b, r);
	}
	if (!a->tail && size >= a->large && count <= 4 && size + DPI_RING_WORD + 8 <= a->remote.carrier->attr.max_put - 1) {
		error = put_large(b, iov, count, size, r);
		r->refused = error == DPI_ERR_AGAIN && !r->begun;
		if (error && !r->begun) return error;
		int again = appended(b, size);
		return error ? error : again;
	}
	copy_in(room, iov, count);
	dpi_ring_commit(&a->writer, size);
	return appended(b, size);
}

static int advance_append(struct dpi_request *r)
{
	if (r->begun) return dpi_request_posted(r);
	int error = dpi_append_attach(r->b);
	if (error) return error;
	return dpi_append_try(r->b, r->pieces, r->count, r->size, r);
}

static int check_size(struct dpi_buffer *b, uint64_t size)
{
	if (size <= b->max_record) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_SIZE, "a record of %llu bytes is larger than the largest of buffer '%s', %llu: create it with a larger max_record",
			(unsigned long long)size, b->name, (unsigned long long)b->max_record);
}

/* What every append checks, in the order of cheapness. Enters the handle. wait: for the ring, the first time. */
static struct dpi_buffer *begin(DPI_Buffer handle, const char *call, bool wait, int *error)
{
	struct dpi_buffer *b = dpi_buffer_begin(handle, call, DPI_RECORDS, error);
	if (!b) return NULL;
	if (b->appender.open_room) *error = dpi_fail(DPI_ERR_STATE, "%s: room is handed out: DPI_Commit_Append or DPI_Discard_Append comes first", call);
	else if (wait) *error = dpi_append_attach_wait(b, dpi_buffer_deadline(b, 0));
	if (!*error) return b;
	dpi_buffer_leave(b);
	return NULL;
}

static int append_slow(const struct iovec *iov, int count, uint64_t size, DPI_Buffer handle, const char *call)
{
	int error;
	struct dpi_buffer *b = begin(handle, call, true, &error);
	if (!b) return error;
	error = check_size(b, size);
	if (!error) {
		struct dpi_request r = { .advance = advance_append, .append = true, .b = b, .pieces = iov, .count = count, .size = size };
		error = dpi_request_run(&r, 0, call);
	}
	dpi_buffer_leave(b);
	return error;
}

/* Room may come sooner than a wait begins and ends. Looking in vain costs the next waits their try, as in next_soon of queue.c. */
#define LOOKS 256
#define VAIN_WAITS 16
static __attribute__((noinline)) uint8_t *room_soon(struct dpi_buffer *b, size_t size)
{
	struct dpi_appender *a = &b->appender;
	if (!b->ctx->spin_ns || b->timeout_us <= 0 || b->shape.full == DPI_FULL_ERROR || (a->vain && a->vain--)) return NULL;
	if (dpi_append_publish(b, 0)) return NULL; /* or the reader could never make room */
	for (int i = 0; i < LOOKS; i++) {
		uint8_t *room = dpi_ring_room(&a->writer, size);
		DPI_COUNT(b, full_waits, room != NULL);
		if (room) return room;
		dpi_pause();
	}
	a->vain = VAIN_WAITS;
	return NULL;
}

/* A record that is not small, through shared memory: its copy costs a few times what is done here. From BY_STRING bytes on memcpy is the
 * processor's own string instruction, which takes whole lines without reading them: to ask for those would make it read. */
#define BY_STRING 2048
static __attribute__((noinline)) int append_direct(struct dpi_buffer *b, const void *data, size_t size, DPI_Buffer handle)
{
	struct dpi_appender *a = &b->appender;
	uint8_t *room = dpi_ring_room(&a->writer, size);
	if (__builtin_expect(!room, 0)) room = room_soon(b, size);
	if (__builtin_expect(!room, 0)) {
		dpi_buffer_leave(b);
		struct iovec v = { (void *)(uintptr_t)data, size };
		return append_slow(&v, 1, size, handle, "DPI_Append");
	}
	if (size < BY_STRING)
		for (uint64_t ahead = 0; ahead < size; ahead += 64) dpi_ring_ask(a->writer.data, a->writer.place + ahead, a->writer.mask);
	memcpy(room, data, size);
	dpi_ring_commit(&a->writer, size);
	int error = appended(b, size);
	dpi_buffer_leave(b);
	return error;
}

/* A record that has no room in the group or the run, is put as it is, or comes to a handle that is not ready. */
static __attribute__((noinline)) int append_one(const void *data, size_t size, DPI_Buffer handle)
{
	if (!data && size) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Append: data is NULL and size is %zu: pass so many bytes, or size 0", size);
	struct dpi_buffer *b = dpi_buffer_get(handle);
	struct iovec v = { (void *)(uintptr_t)data, size };
	bool written = false;
	int error = DPI_SUCCESS;
	if (b && (b->appender.tail || size < b->appender.large) && size <= b->max_record &&
	    atomic_load_explicit(&b->fast_size, memory_order_relaxed) && dpi_buffer_enter(b)) {
		struct dpi_ring_writer *w = &b->appender.writer;
		if (w->same == size && size) { /* the group ends, or the run does */
			error = publish_direct(b, true);
			if (!error && !dpi_ring_go_on(w, dpi_append_group(&b->appender))) {
				dpi_ring_end_same(w);
				begin_run(b, size);
			}
		}
		written = error || dpi_ring_write(w, data, size);
		uint8_t *room = !written && b->appender.tail ? dpi_ring_room(w, size) : NULL;
		if (room) { /* the group ends, or the ring does */
			written = true;
			if (size) memcpy(room, data, size);
			dpi_ring_commit(w, size);
			error = appended(b, size);
			if (!error) begin_run(b, size);
		} else if (written && !error) {
			account(b, size);
			arm(b);
		}
		dpi_buffer_leave(b);
	}
	if (written) return error;
	error = append_slow(&v, 1, size, handle, "DPI_Append");
	if (!error && b->appender.same_most && dpi_buffer_enter(b)) { /* it waited for room */
		begin_run(b, size);
		dpi_buffer_leave(b);
	}
	return error;
}

static __attribute__((noinline)) int arm_and_leave(struct dpi_buffer *b)
{
	arm(b);
	dpi_buffer_leave(b);
	return DPI_SUCCESS;
}

int DPI_Append(const void *data, size_t size, DPI_Buffer handle)
{
	struct dpi_buffer *b = dpi_buffer_get(handle);
	/* The short way: a copy, a few stores and comparisons. Every call out of it is its last act, so it needs no frame. */
	if (__builtin_expect(!b || !data || size >= atomic_load_explicit(&b->fast_size, memory_order_relaxed) || !dpi_buffer_enter(b), 0)) {
		if (b && data && size > DPI_SMALL_BYTES && size <= b->max_record && b->appender.tail &&
		    atomic_load_explicit(&b->fast_size, memory_order_relaxed) && dpi_buffer_enter(b))
			return append_direct(b, data, size, handle);
		return append_one(data, size, handle);
	}
	if (__builtin_expect(!dpi_ring_write_small(&b->appender.writer, data, size), 0)) {
		dpi_buffer_leave(b);
		return append_one(data, size, handle);
	}
	account(b, size);
	atomic_signal_fence(memory_order_seq_cst); /* as in arm */
	if (__builtin_expect(!atomic_load_explicit(&b->armed, memory_order_relaxed), 0)) return arm_and_leave(b);
	dpi_buffer_leave(b);
	return DPI_SUCCESS;
}

static int sum_pieces(const struct iovec *iov, int count, const char *call, uint64_t *size)
{
	*size = 0;
	if (count < 0 || (count && !iov)) return dpi_fail(DPI_ERR_ARGUMENT, "%s: iov is NULL, or count, %d, is negative: pass an array of count pieces, or count 0", call, count);
	for (int i = 0; i < count; i++) {
		if (!iov[i].iov_base && iov[i].iov_len) return dpi_fail(DPI_ERR_ARGUMENT, "%s: piece %d is NULL with %zu bytes: pass so many bytes, or a length of 0", call, i, iov[i].iov_len);
		if (__builtin_add_overflow(*size, iov[i].iov_len, size)) return dpi_fail(DPI_ERR_SIZE, "%s: the pieces have more than 2^64 bytes", call);
	}
	return DPI_SUCCESS;
}

int DPI_Append_Vector(const struct iovec *iov, int count, DPI_Buffer handle)
{
	uint64_t size;
	int error = sum_pieces(iov, count, "DPI_Append_Vector", &size);
	return error ? error : append_slow(iov, count, size, handle, "DPI_Append_Vector");
}

int DPI_Append_Batch(const DPI_Record *records, size_t count, DPI_Buffer handle, size_t *done)
{
	size_t i;
	int error = DPI_SUCCESS;
	if (done) *done = 0;
	if (count && !records) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Append_Batch: records is NULL: pass an array of them, or count 0");
	struct dpi_buffer *b = begin(handle, "DPI_Append_Batch", true, &error);
	if (!b) return error;
	for (i = 0; i < count && !error; i++) {
		const void *data = records[i].data;
		size_t size = records[i].size;
		if (!data && size) {
			error = dpi_fail(DPI_ERR_ARGUMENT, "DPI_Append_Batch: record %zu is NULL with %zu bytes: pass so many bytes, or size 0", i, size);
			break;
		}
		if (size < atomic_load_explicit(&b->fast_size, memory_order_relaxed) && dpi_ring_write_small(&b->appender.writer, data, size)) {
			account(b, size);
			continue;
		}
		struct iovec v = { (void *)(uintptr_t)data, size };
		struct dpi_request r = { .advance = advance_append, .append = true, .b = b, .pieces = &v, .count = 1, .size = size };
		error = check_size(b, size);
		if (!error) error = dpi_request_run(&r, 0, "DPI_Append_Batch");
		if (error) break;
	}
	if (done) *done = i;
	if (i) arm(b);
	dpi_buffer_leave(b);
	return error;
}

/* --------------------------------------------------------------------------------------------------- room in place */

static int advance_reserve(struct dpi_request *r)
{
	int error = dpi_buffer_check(r->b);
	if (error) return error;
	return dpi_ring_room(&r->b->appender.writer, r->size) ? DPI_SUCCESS : dpi_append_no_room(r->b, r);
}

int DPI_Reserve_Append(size_t size, DPI_Buffer handle, void **room)
{
	int error;
	if (!room) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Reserve_Append: room is NULL: pass where the address may go");
	struct dpi_buffer *b = begin(handle, "DPI_Reserve_Append", true, &error);
	if (!b) return error;
	error = check_size(b, size);
	if (!error) {
		struct dpi_request r = { .advance = advance_reserve, .append = true, .b = b, .size = size };
		error = dpi_request_run(&r, 0, "DPI_Reserve_Append");
	}
	if (!error) {
		struct dpi_ring_writer *w = &b->appender.writer;
		*room = w->data + (w->place & w->mask) + DPI_RING_WORD;
		b->appender.open_room = true;
		dpi_append_fast(b);
	}
	dpi_buffer_leave(b);
	return error;
}

static struct dpi_buffer *begin_room(DPI_Buffer handle, const char *call, int *error)
{
	struct dpi_buffer *b = dpi_buffer_begin(handle, call, DPI_RECORDS, error);
	if (!b || b->appender.open_room) return b;
	*error = dpi_fail(DPI_ERR_STATE, "%s: no room is handed out: DPI_Reserve_Append comes first", call);
	dpi_buffer_leave(b);
	return NULL;
}

int DPI_Commit_Append(size_t size, DPI_Buffer handle)
{
	int error;
	struct dpi_buffer *b = begin_room(handle, "DPI_Commit_Append", &error);
	if (!b) return error;
	struct dpi_ring_writer *w = &b->appender.writer;
	if (size > w->reserved) {
		error = dpi_fail(DPI_ERR_SIZE, "DPI_Commit_Append: %zu bytes, but %llu were reserved", size, (unsigned long long)w->reserved);
	} else {
		b->appender.open_room = false;
		dpi_append_fast(b);
		error = dpi_buffer_check(b);
		if (!error) {
			dpi_ring_commit(w, size);
			error = appended(b, size);
		}
	}
	dpi_buffer_leave(b);
	return error;
}

int DPI_Discard_Append(DPI_Buffer handle)
{
	int error;
	struct dpi_buffer *b = begin_room(handle, "DPI_Discard_Append", &error);
	if (!b) return error;
	b->appender.open_room = false; /* nothing was written past written: the room is simply used again */
	dpi_append_fast(b);
	dpi_buffer_leave(b);
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------ flush, positions */

/* stage 0: publish; 1: the transport's flush; 2: a log's order */
static int advance_flush(struct dpi_request *r)
{
	struct dpi_buffer *b = r->b;
	struct dpi_appender *a = &b->appender;
	int error;
	if (r->stage == 0) {
		error = dpi_append_publish(b, DPI_TP_MORE); /* the flush goes along */
		r->refused = error == DPI_ERR_AGAIN;
		if (error) return error;
		if (b->shape.use != DPI_USE_REGION && !a->attached) return dpi_buffer_check(b);
		r->sequence = b->appends;
		r->offset = b->stats.writes;
		r->remote = b->shape.use == DPI_USE_REGION ? &b->region : &a->remote;
		r->stage = r->remote->carrier ? 1 : 2;
		if (r->remote->carrier && r->remote->direct) { /* stores are visible when they are done */
			r->stage = 2;
			atomic_thread_fence(memory_order_seq_cst);
		}
	}
	if (r->stage == 1) {
		if (!r->begun) {
			error = DPI_REQUEST_POST(r, r->remote, dpi_remote_flush(r->remote, &r->op));
			if (error && atomic_load(&r->op_state) == DPI_OP_NONE) return error;
			r->begun = true;
		}
		error = dpi_request_posted(r);
		if (error) return error;
		r->stage = 2;
	}
	error = dpi_buffer_check(b);
	if (error) return error;
	if (b->shape.use != DPI_USE_LOG) {
		b->flushed_appends = r->sequence;
		b->flushed_writes = r->offset;
		return DPI_SUCCESS;
	}
	struct dpi_credit *credit = a->credit.address;
	uint64_t ordered = atomic_load_explicit(&credit->ordered, memory_order_acquire);
	if ((int64_t)(ordered - r->sequence) < 0) return DPI_ERR_AGAIN;
	b->flushed_appends = r->sequence;
	return DPI_SUCCESS;
}

int dpi_append_flush(struct dpi_buffer *b)
{
	struct dpi_request r = { .advance = advance_flush, .b = b };
	int error = dpi_request_run(&r, 0, "DPI_Flush_Buffer");
	DPI_ADD(b->appender.flushes, 1);
	return error;
}

int DPI_Flush_Buffer(DPI_Buffer handle)
{
	int error;
	struct dpi_buffer *b = dpi_buffer_get(handle);
	/* shared memory: one store and a look at the bell */
	if (__builtin_expect(b && b->fast && b->appender.tail && b->shape.use == DPI_USE_QUEUE, 1) && dpi_buffer_enter(b)) {
		error = publish_direct(b, false);
		if (b->appender.stage.memory) dpi_ring_unstage(&b->appender.writer); /* where flushes come the next will, too */
		b->appender.flush = b->appender.may_flush;
		dpi_ring_until(&b->appender.writer, b->appender.published, b->appender.group);
		DPI_ADD(b->appender.flushes, 1);
		dpi_buffer_leave(b);
		return error;
	}
	b = dpi_buffer_begin(handle, "DPI_Flush_Buffer", DPI_ANY_USE, &error);
	if (!b) return error;
	error = dpi_append_flush(b);
	dpi_buffer_leave(b);
	return error;
}

/* stage 0: append; 1: published; 2: ordered by the home */
static int advance_position(struct dpi_request *r)
{
	struct dpi_buffer *b = r->b;
	int error = dpi_append_attach(b);
	if (error) return error;
	struct dpi_credit *credit = b->appender.credit.address;
	if (r->stage == 0) {
		/* a position's slot is used again after DPI_POSITIONS records */
		uint64_t ordered = atomic_load_explicit(&credit->ordered, memory_order_acquire);
		if (b->appends - ordered >= DPI_POSITIONS - 1) {
			error = dpi_append_publish(b, 0);
			return error ? error : DPI_ERR_AGAIN;
		}
		error = r->begun ? dpi_request_posted(r) : dpi_append_try(b, r->pieces, r->count, r->size, r);
		if (error) return error;
		r->sequence = b->appends;
		r->unknown = true;
		r->stage = 1;
	}
	if (r->stage == 1) {
		error = dpi_append_publish(b, 0);
		r->refused = error == DPI_ERR_AGAIN;
		if (error) return error;
		r->stage = 2;
	}
	uint64_t ordered = atomic_load_explicit(&credit->ordered, memory_order_acquire);
	if ((int64_t)(ordered - r->sequence) < 0) {
		error = dpi_buffer_check(b);
		return error ? error : DPI_ERR_AGAIN;
	}
	*r->position = atomic_load_explicit(&credit->position[(r->sequence - 1) % DPI_POSITIONS], memory_order_relaxed);
	return DPI_SUCCESS;
}

static int position_arguments(const void *data, size_t size, DPI_Buffer handle, uint64_t *position, bool wait, const char *call, struct dpi_buffer **b)
{
	int error;
	if ((!data && size) || !position) return dpi_fail(DPI_ERR_ARGUMENT, "%s: %s", call, position ? "data is NULL and size is not 0: pass the bytes" : "position is NULL: pass where it may go");
	*b = dpi_buffer_begin(handle, call, 1u << DPI_USE_LOG, &error);
	if (!*b) return error;
	if ((*b)->appender.open_room) error = dpi_fail(DPI_ERR_STATE, "%s: room is handed out: DPI_Commit_Append or DPI_Discard_Append comes first", call);
	else if (wait) error = dpi_append_attach_wait(*b, dpi_buffer_deadline(*b, 0));
	if (!error) error = check_size(*b, size);
	if (error) dpi_buffer_leave(*b);
	return error;
}

int DPI_Append_Position(const void *data, size_t size, DPI_Buffer handle, uint64_t *position)
{
	struct dpi_buffer *b;
	int error = position_arguments(data, size, handle, position, true, "DPI_Append_Position", &b);
	if (error) return error;
	struct iovec v = { (void *)(uintptr_t)data, size };
	struct dpi_request r = { .advance = advance_position, .append = true, .b = b, .pieces = &v, .count = 1, .size = size, .position = position };
	error = dpi_request_run(&r, 0, "DPI_Append_Position");
	dpi_buffer_leave(b);
	return error;
}

/* -------------------------------------------------------------------------------------------------- without blocking */

int DPI_Append_Nb(const void *data, size_t size, DPI_Buffer handle, DPI_Request *request)
{
	int error;
	if (!dpi_request_none(request, "DPI_Append_Nb")) return DPI_ERR_ARGUMENT;
	if (!data && size) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Append_Nb: data is NULL and size is %zu: pass so many bytes, or size 0", size);
	struct dpi_buffer *b = begin(handle, "DPI_Append_Nb", false, &error);
	if (!b) return error;
	error = check_size(b, size);
	if (!error) {
		struct dpi_request r = { .advance = advance_append, .append = true, .b = b, .iov = { { (void *)(uintptr_t)data, size } }, .count = 1, .size = size };
		error = dpi_request_start(&r, request);
	}
	dpi_buffer_leave(b);
	return error;
}

int DPI_Append_Position_Nb(const void *data, size_t size, DPI_Buffer handle, uint64_t *position, DPI_Request *request)
{
	struct dpi_buffer *b;
	if (!dpi_request_none(request, "DPI_Append_Position_Nb")) return DPI_ERR_ARGUMENT;
	int error = position_arguments(data, size, handle, position, false, "DPI_Append_Position_Nb", &b);
	if (error) return error;
	struct dpi_request r = { .advance = advance_position, .append = true, .b = b, .iov = { { (void *)(uintptr_t)data, size } }, .count = 1, .size = size,
				 .position = position };
	error = dpi_request_start(&r, request);
	dpi_buffer_leave(b);
	return error;
}

int DPI_Flush_Buffer_Nb(DPI_Buffer handle, DPI_Request *request)
{
	int error;
	if (!dpi_request_none(request, "DPI_Flush_Buffer_Nb")) return DPI_ERR_ARGUMENT;
	struct dpi_buffer *b = dpi_buffer_begin(handle, "DPI_Flush_Buffer_Nb", DPI_ANY_USE, &error);
	if (!b) return error;
	struct dpi_request r = { .advance = advance_flush, .b = b };
	error = dpi_request_start(&r, request);
	DPI_ADD(b->appender.flushes, 1);
	dpi_buffer_leave(b);
	return error;
}

/* For scatter: one append as a part's request. */
void dpi_append_request(struct dpi_request *r, struct dpi_buffer *b, void *data, uint64_t size)
{
	*r = (struct dpi_request){ .advance = advance_append, .append = true, .b = b, .iov = { { data, size } }, .count = 1, .size = size };
	r->pieces = r->iov;
}
