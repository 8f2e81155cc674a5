/* SPDX-License-Identifier: Apache-2.0
 * log.c: a log at its home: the loop thread, the only writer, orders the appenders' records into segments.
 *
 * Positions count the bytes of the records alone, so the next record's position is known before it comes. A segment knows the position of
 * its first record; a record that does not fit the rest of a segment begins the next, and a PAD tells a reader so. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "delay.h"
#include "home.h"
#include "wait.h"

#define DRAIN_BYTES (1u << 20) /* of one log, before other work of the loop has its turn */

static struct dpi_log_segment *segment(const struct dpi_log *l, uint64_t number)
{
	return &l->segment[number % l->segments_max];
}

int dpi_log_create(struct dpi_context *ctx, struct dpi_home *h)
{
	struct dpi_log *l = &h->log;
	uint64_t need = 2 * dpi_ring_need(h->shape.max_record);
	l->segment_size = 64 * 1024;
	while (l->segment_size < need || l->segment_size < h->shape.max_capacity / 256) l->segment_size *= 2;
	/* truncation frees whole segments: one more than the capacity is under way */
	l->segments_max = h->shape.max_capacity / l->segment_size + 1;
	if (l->segments_max < 2) l->segments_max = 2;
	l->segment = calloc(l->segments_max, sizeof *l->segment);
	if (!l->segment) return dpi_fail(DPI_ERR_MEMORY, "no memory for a log of %llu segments", (unsigned long long)l->segments_max);
	if (getrandom(&l->salt, sizeof l->salt, 0) != sizeof l->salt) l->salt = (uint64_t)dpi_now();
	int error = dpi_window_allocate(sizeof(struct dpi_log_bounds), DPI_HUGE_NEVER, DPI_NUMA_ANY, &l->bounds);
	return error ? error : dpi_window_expose(ctx, &l->bounds, DPI_TP_READ);
}

void dpi_log_free(struct dpi_context *ctx, struct dpi_home *h)
{
	struct dpi_log *l = &h->log;
	for (size_t i = 0; i < h->rings; i++) {
		dpi_ring_in_free_larger(ctx, h, h->ring[i]);
		dpi_ring_in_free(ctx, h, h->ring[i]);
	}
	h->rings = 0;
	for (uint64_t n = l->first_segment; n < l->last_segment; n++) dpi_window_free(ctx, &segment(l, n)->window);
	if (l->bounds.address) dpi_window_free(ctx, &l->bounds);
	free(l->segment);
	free(l->wait);
}

static int import(struct dpi_home *h)
{
	int error = DPI_SUCCESS;
	pthread_mutex_lock(&h->lock);
	while (h->incoming && !error) {
		if (h->rings == h->rings_room) {
			size_t room = h->rings_room ? 2 * h->rings_room : 16;
			void *p = realloc(h->ring, room * sizeof *h->ring);
			if (p) h->ring = p, h->rings_room = room;
			else error = DPI_ERR_MEMORY;
		}
		if (error) break;
		h->ring[h->rings++] = h->incoming;
		h->incoming = h->incoming->next;
	}
	if (!h->incoming) atomic_store(&h->changed, false);
	pthread_mutex_unlock(&h->lock);
	return error;
}

uint64_t dpi_log_segment_of(const struct dpi_log *l, uint64_t position)
{
	uint64_t low = l->first_segment, high = l->last_segment;
	while (high - low > 1) { /* bases grow with numbers */
		uint64_t middle = low + (high - low) / 2;
		if (segment(l, middle)->base <= position) low = middle;
		else high = middle;
	}
	return low;
}

/* Where the next record, of size bytes and at position end, goes; NULL: no memory for it now. */
static uint8_t *place(struct dpi_context *ctx, struct dpi_home *h, uint64_t size, uint64_t end)
{
	struct dpi_log *l = &h->log;
	struct dpi_log_segment *last = l->last_segment == l->first_segment ? NULL : segment(l, l->last_segment - 1);
	uint64_t need = dpi_ring_need(size), offset = last ? end - last->base : l->segment_size;
	if (offset + need <= l->segment_size) return (uint8_t *)last->window.address + offset;
	if (l->last_segment - l->first_segment >= l->segments_max) return NULL;
	struct dpi_log_segment *s = segment(l, l->last_segment);
	if (dpi_window_allocate(l->segment_size, (int)h->shape.huge_pages, (int)h->shape.numa, &s->window)) return NULL;
	if (dpi_window_expose(ctx, &s->window, DPI_TP_READ)) {
		dpi_window_free(ctx, &s->window);
		return NULL;
	}
	s->base = end;
	l->last_segment++;
	pthread_mutex_lock(&h->lock);
	h->memory += l->segment_size;
	pthread_mutex_unlock(&h->lock);
	if (offset < l->segment_size) { /* readers who come here go on in the next segment */
		uint64_t word = dpi_log_word(end, DPI_LOG_PAD, l->salt);
		memcpy((uint8_t *)last->window.address + offset, &word, sizeof word);
	}
	return s->window.address;
}

/* Tell an appender how many of its records have positions. */
static void tell_ordered(struct dpi_ring_in *r, uint64_t told)
{
	uint64_t n = r->ordered - told;
	const uint64_t *position = r->position;
	if (!n) return;
	if (r->credit.direct) {
		struct dpi_credit *c = (struct dpi_credit *)r->credit.direct;
		for (uint64_t i = n > DPI_POSITIONS ? n - DPI_POSITIONS : 0; i < n; i++)
			atomic_store_explicit(&c->position[(told + i) % DPI_POSITIONS], position[(told + i) % DPI_POSITIONS], memory_order_relaxed);
		/* release pairs with the acquire of who waits for a position or a flush */
		atomic_store_explicit(&c->ordered, r->ordered, memory_order_release);
		dpi_remote_ring(&r->credit, r->bell);
		return;
	}
	for (uint64_t i = n > DPI_POSITIONS ? n - DPI_POSITIONS : 0; i < n;) {
		uint64_t at = (told + i) % DPI_POSITIONS, run = n - i < DPI_POSITIONS - at ? n - i : DPI_POSITIONS - at;
		struct iovec v = { (void *)(uintptr_t)&position[at], run * 8 };
		DPI_Tp_Notify notify = { offsetof(struct dpi_credit, ordered), r->ordered, r->bell };
		bool last = i + run == n;
		int64_t deadline = dpi_now() + 1000000000;
		int error;
		while ((error = dpi_remote_put(&r->credit, &v, 1, offsetof(struct dpi_credit, position) + at * 8, last ? &notify : NULL,
					       last ? 0 : DPI_TP_MORE, &dpi_unawaited)) == DPI_ERR_AGAIN && dpi_now() < deadline) {
			pthread_mutex_lock(&r->credit.carrier->lock);
			dpi_carrier_progress(r->credit.carrier);
			pthread_mutex_unlock(&r->credit.carrier->lock);
		}
		if (error && error != DPI_TP_PENDING) return; /* the peer is dead, or dies */
		i += run;
	}
}

/* Tell an appender whether its next record finds room. */
static void tell_full(struct dpi_ring_in *r, bool full)
{
	if (r->told_full == full) return;
	if (r->credit.direct) {
		atomic_store_explicit(&((struct dpi_credit *)r->credit.direct)->full, full, memory_order_release);
		dpi_remote_ring(&r->credit, r->bell);
	} else {
		DPI_Tp_Notify n = { offsetof(struct dpi_credit, full), full, r->bell };
		if (dpi_remote_put(&r->credit, NULL, 0, 0, &n, 0, &dpi_unawaited) == DPI_ERR_AGAIN) return; /* the next drain says it */
	}
	r->told_full = full;
}

static void answer_waits(struct dpi_context *ctx, struct dpi_home *h, uint64_t end)
{
	struct dpi_log *l = &h->log;
	size_t kept = 0;
	for (size_t i = 0; i < l->waits; i++) {
		if (l->wait[i].position < end) dpi_answer(ctx, l->wait[i].peer, l->wait[i].call, DPI_SUCCESS, NULL);
		else l->wait[kept++] = l->wait[i];
	}
	l->waits = kept;
}

/* Order what one ring holds; false: the log is full. */
static bool drain_ring(struct dpi_context *ctx, struct dpi_home *h, struct dpi_ring_in **at, uint64_t *end, uint64_t *bytes)
{
	struct dpi_log *l = &h->log;
	uint64_t told = (*at)->ordered;
	const void *data;
	size_t size;
	bool room = true;
	for (;;) {
		uint64_t read = (*at)->reader.read;
		struct dpi_ring_in *before = *at;
		if (dpi_ring_in_next(ctx, h, at, &data, &size) != DPI_RING_FOUND) break;
		struct dpi_ring_in *r = *at;
		uint64_t size_now = size; /* from the ring's word, loaded once */
		uint8_t *to = place(ctx, h, size_now, *end);
		if (!to) {
			r->reader.read = r == before ? read : r->reader.head; /* it stays in the ring, and holds its appender back */
			room = false;
			break;
		}
		uint64_t word = dpi_log_word(*end, (uint32_t)size_now, l->salt);
		memcpy(to, &word, sizeof word);
		if (size_now) memcpy(to + sizeof word, data, size_now);
		r->position[r->ordered % DPI_POSITIONS] = *end;
		r->ordered++;
		*end += dpi_ring_need(size_now);
		*bytes += dpi_ring_need(size_now);
		dpi_ring_in_give_back(r, r->reader.read, r->reader.read);
		if (r->ordered - told == DPI_POSITIONS / 2 || *bytes >= DRAIN_BYTES) {
			/* positions are told in the order of visibility: the end first */
			atomic_store_explicit(&((struct dpi_log_bounds *)l->bounds.address)->end, *end, memory_order_release);
			DPI_DELAY(log_ends);
			tell_ordered(r, told);
			told = r->ordered;
			if (*bytes >= DRAIN_BYTES) break;
		}
	}
	DPI_DELAY(log_orders);
	atomic_store_explicit(&((struct dpi_log_bounds *)l->bounds.address)->end, *end, memory_order_release);
	DPI_DELAY(log_ends);
	tell_ordered(*at, told);
	return room;
}

bool dpi_log_drain(struct dpi_context *ctx, struct dpi_home *h)
{
	struct dpi_log_bounds *bounds = h->log.bounds.address;
	uint64_t end = atomic_load_explicit(&bounds->end, memory_order_relaxed), bytes = 0, before = end;
	if (atomic_load_explicit(&h->changed, memory_order_acquire) && import(h)) return false;
	for (size_t i = 0; i < h->rings;) {
		struct dpi_ring_in **r = &h->ring[i];
		bool over = dpi_ring_in_over(*r); /* before the last look: what was published before it closed is there */
		bool room = drain_ring(ctx, h, r, &end, &bytes);
		tell_full(*r, !room);
		if (!room) { /* other appenders' records may be smaller */
			i++;
			continue;
		}
		if (over && dpi_ring_in_over(*r)) {
			struct dpi_ring_in *old = *r;
			h->ring[i] = h->ring[--h->rings];
			if (!old->ended) dpi_ring_in_free_larger(ctx, h, old);
			dpi_ring_in_free(ctx, h, old);
			continue;
		}
		i++;
	}
	if (end != before && h->log.waits) answer_waits(ctx, h, end);
	return bytes != 0;
}

int dpi_log_truncate(struct dpi_context *ctx, struct dpi_home *h, uint64_t position)
{
	struct dpi_log *l = &h->log;
	struct dpi_log_bounds *bounds = l->bounds.address;
	uint64_t end = atomic_load(&bounds->end), first = atomic_load(&bounds->first);
	if (position > end)
		return dpi_fail(DPI_ERR_RANGE, "position %llu is beyond the log's end, %llu: truncate to that at most", (unsigned long long)position, (unsigned long long)end);
	if (position <= first) return DPI_SUCCESS;
	uint64_t keep = l->last_segment; /* the end may begin a segment that is not there yet */
	if (position < end) {
		uint64_t word;
		keep = dpi_log_segment_of(l, position);
		const struct dpi_log_segment *in = segment(l, keep);
		memcpy(&word, (uint8_t *)in->window.address + (position - in->base) / 8 * 8, sizeof word);
		if (word != dpi_log_word(position, (uint32_t)word, l->salt))
			return dpi_fail(DPI_ERR_RANGE, "no record starts at position %llu: truncate to one that an append, a read or DPI_Get_Buffer_Info gave", (unsigned long long)position);
	} else {
		keep--; /* the last segment goes on taking records */
	}
	/* seq_cst: readers look at first again after they have copied a record */
	atomic_store(&bounds->first, position);
	DPI_DELAY(log_truncates);
	for (; l->first_segment < keep && l->first_segment < l->last_segment; l->first_segment++) {
		dpi_window_free(ctx, &segment(l, l->first_segment)->window);
		pthread_mutex_lock(&h->lock);
		h->memory -= l->segment_size;
		pthread_mutex_unlock(&h->lock);
	}
	dpi_loop_kick(ctx); /* appenders that the full log held back */
	return DPI_SUCCESS;
}
