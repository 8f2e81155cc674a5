/* SPDX-License-Identifier: Apache-2.0
 * queue.c: the consuming side of a queue, at its home. */
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "delay.h"

/* Take over the rings that appeared since. */
static int import(struct dpi_buffer *b)
{
	struct dpi_consumer *c = &b->consumer;
	struct dpi_home *h = b->home;
	int error = DPI_SUCCESS;
	pthread_mutex_lock(&h->lock);
	while (h->incoming) {
		if (c->rings == c->room) {
			size_t room = c->room ? 2 * c->room : 16;
			void *p = realloc(c->ring, room * sizeof *c->ring);
			if (!p) {
				error = dpi_fail(DPI_ERR_MEMORY, "no memory for %zu appenders", room);
				break;
			}
			c->ring = p;
			c->room = room;
		}
		c->ring[c->rings++] = h->incoming;
		h->incoming = h->incoming->next;
	}
	if (!h->incoming) atomic_store(&h->changed, false);
	pthread_mutex_unlock(&h->lock);
	return error;
}

static void drop(struct dpi_buffer *b, size_t at)
{
	struct dpi_consumer *c = &b->consumer;
	struct dpi_ring_in *r = c->ring[at];
	c->ring[at] = c->ring[--c->rings];
	if (!r->ended) dpi_ring_in_free_larger(b->ctx, b->home, r); /* its appender died before it linked, or nobody reads on */
	r->ended = true;
	if (!r->lent) dpi_ring_in_free(b->ctx, b->home, r);
}

int dpi_consumer_activate(struct dpi_buffer *b, const char *call)
{
	struct dpi_home *h = b->home;
	int error = DPI_SUCCESS;
	if (!h)
		return dpi_fail(DPI_ERR_USE, "%s: records of queue '%s' are consumed on its home, node %d, not on node %d", call, b->name,
				b->home_peer->node, b->ctx->node);
	pthread_mutex_lock(&h->lock);
	if (!h->consumer) h->consumer = b;
	else if (h->consumer != b)
		error = dpi_fail(DPI_ERR_USE, "%s: another handle is the consumer of queue '%s': a queue has one, until it is closed", call, b->name);
	pthread_mutex_unlock(&h->lock);
	if (!error) b->consumer.active = true;
	return error;
}

static bool over(const struct dpi_buffer *b)
{
	return atomic_load_explicit(&b->destroyed, memory_order_acquire);
}

/* Look at every ring once, from the present one on. */
static enum dpi_ring_found look(struct dpi_buffer *b, DPI_Record *record, struct dpi_ring_in **from)
{
	struct dpi_consumer *c = &b->consumer;
	for (size_t n = 0; n <= c->rings && c->rings;) {
		if (c->at >= c->rings) c->at = 0;
		struct dpi_ring_in **r = &c->ring[c->at];
		enum dpi_ring_found found = dpi_ring_in_next(b->ctx, b->home, r, &record->data, &record->size);
		*from = *r;
		if (found == DPI_RING_FOUND || found == DPI_RING_CORRUPT) return found;
		if (dpi_ring_in_over(*r)) {
			DPI_DELAY(consumer_finds_over);
			/* looked at again: it may have published between the two looks */
			found = dpi_ring_in_next(b->ctx, b->home, r, &record->data, &record->size);
			*from = *r;
			if (found == DPI_RING_FOUND || found == DPI_RING_CORRUPT) return found;
			DPI_DELAY(consumer_drops);
			drop(b, c->at);
			continue;
		}
		c->at++;
		n++;
	}
	return DPI_RING_EMPTY;
}

/* A consumer that looks again at once takes the tail's line from its appender at every record that is published, which makes both
 * several times slower. One that has just read a run of records rests; one that gets them singly looks at once. */
#define REST_RECORDS 4
#define REST_NS 2000
static bool rest(struct dpi_buffer *b)
{
	struct dpi_consumer *c = &b->consumer;
	uint64_t run = b->stats.records - c->caught_up;
	c->caught_up = b->stats.records;
	if (run < REST_RECORDS || !b->ctx->spin_ns) return false;
	for (int64_t end = dpi_now() + REST_NS; dpi_now() < end;)
		for (int i = 0; i < 8; i++) dpi_pause(); /* a sibling thread of the core is not to pay for looks at the clock */
	return true;
}

/* Nor does it pay to look for what came while little was read: such looks find ever less, and each keeps the appender waiting. Where
 * records come that fast, the consumer of one appender rests first. One that is behind finds more, and does not. */
#define FAST_RECORDS 64
#define FEW_BYTES 16384
static void rest_first(struct dpi_buffer *b)
{
	struct dpi_consumer *c = &b->consumer;
	uint64_t found = b->stats.record_bytes - c->looked;
	c->looked = b->stats.record_bytes;
	if (c->rings == 1 && b->timeout_us > 0 && found < FEW_BYTES && b->stats.records - c->caught_up >= FAST_RECORDS) rest(b);
}

static bool something(void *arg)
{
	struct dpi_buffer *b = arg;
	struct dpi_consumer *c = &b->consumer;
	if (over(b) || atomic_load_explicit(&b->home->changed, memory_order_acquire)) return true;
	for (size_t i = 0; i < c->rings; i++) {
		struct dpi_ring_in *r = c->ring[i];
		if (!r->ended && dpi_ring_ready(&r->reader)) return true;
		if (dpi_ring_in_over(r)) return true;
	}
	return false;
}

bool dpi_consumer_ready(struct dpi_buffer *b)
{
	struct dpi_consumer *c = &b->consumer;
	struct dpi_ring_in *from;
	DPI_Record record;
	if (over(b) || c->corrupt) return true;
	if (atomic_load_explicit(&b->home->changed, memory_order_acquire) && import(b)) return true; /* the next call will say why */
	enum dpi_ring_found found = look(b, &record, &from);
	if (found == DPI_RING_FOUND) dpi_ring_unread(&from->reader, record.size);
	for (size_t i = 0; found == DPI_RING_EMPTY && i < c->rings; i++) dpi_ring_in_caught_up(c->ring[i]);
	c->corrupt = found == DPI_RING_CORRUPT;
	return found != DPI_RING_EMPTY;
}

/* first: of this call. An appender that comes or goes wakes it, too, and the call waits on. */
static int wait_for_records(struct dpi_buffer *b, int64_t deadline, bool first, const char *call)
{
	struct dpi_wait w = { .ready = something, .arg = b, .bell = b->home->bell, .deadline = deadline };
	int64_t start = dpi_now();
	int error = dpi_wait(b->ctx, &w);
	DPI_COUNT(b, empty_waits, first);
	DPI_COUNT(b, empty_wait_us, (dpi_now() - start) / 1000);
	if (!error) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_TIMEOUT, "%s: no record came to queue '%s' within the deadline (DPI_Set_Timeout); appenders attached: %zu", call, b->name, b->consumer.rings);
}

/* The next record, waiting for one. */
static int next(struct dpi_buffer *b, DPI_Record *record, struct dpi_ring_in **from, bool wait, const char *call)
{
	struct dpi_consumer *c = &b->consumer;
	int64_t deadline = 0;
	bool waited = false;
	if (!c->active) {
		int error = dpi_consumer_activate(b, call);
		if (error) return error;
	}
	if (__builtin_expect(c->corrupt, 0)) {
		c->corrupt = false;
		return dpi_fail(DPI_ERR_CORRUPT, "%s: an appender to queue '%s' wrote what is no record; it is cut off, call again for the others",
				call, b->name);
	}
	for (;;) {
		if (c->rings) {
			/* the short way: more in the run that is being read */
			struct dpi_ring_in **r = &c->ring[c->at < c->rings ? c->at : 0];
			if ((*r)->reader.read != (*r)->reader.tail && c->at < c->rings) {
				enum dpi_ring_found f = dpi_ring_in_next(b->ctx, b->home, r, &record->data, &record->size);
				*from = *r;
				if (f == DPI_RING_FOUND) return DPI_SUCCESS;
				if (f == DPI_RING_CORRUPT) goto corrupt;
			} else {
				c->at++; /* fairness: another ring's turn */
			}
		}
		if (wait && !waited) rest_first(b);
		if (over(b)) return dpi_buffer_check(b);
		if (atomic_load_explicit(&b->home->changed, memory_order_acquire)) {
			int error = import(b);
			if (error) return error;
		}
		enum dpi_ring_found found = look(b, record, from);
		if (found == DPI_RING_FOUND) return DPI_SUCCESS;
		if (found == DPI_RING_CORRUPT) goto corrupt;
		for (size_t i = 0; i < c->rings; i++) dpi_ring_in_caught_up(c->ring[i]);
		if (!wait) return DPI_ERR_AGAIN;
		if (!waited) deadline = dpi_buffer_deadline(b, 0);
		if (!waited && deadline && rest(b)) continue;
		int error = wait_for_records(b, deadline, !waited, call);
		if (error) return error;
		waited = true;
	}
corrupt:
	return dpi_fail(DPI_ERR_CORRUPT, "%s: an appender to queue '%s' on node %d wrote what is no record; it is cut off, call again for the others", call,
			b->name, (*from)->from->node);
}

/* See that a run can be noted, before its records are read. */
static int lend_room(struct dpi_consumer *c)
{
	if (c->runs < c->runs_room) return DPI_SUCCESS;
	size_t room = c->runs_room ? 2 * c->runs_room : 16;
	struct dpi_lent *p = malloc(room * sizeof *p);
	if (!p) return dpi_fail(DPI_ERR_MEMORY, "no memory to note %zu lent runs: release some", room);
	for (size_t i = 0; i < c->runs; i++) p[i] = c->run[(c->run_first + i) % c->runs_room];
	free(c->run);
	c->run = p;
	c->runs_room = room;
	c->run_first = 0;
	return DPI_SUCCESS;
}

/* The ring's last count records, up to where it was read, are lent. There is room to note it. */
static void lend(struct dpi_consumer *c, struct dpi_ring_in *from, size_t count)
{
	struct dpi_lent *last = c->runs ? &c->run[(c->run_first + c->runs - 1) % c->runs_room] : NULL;
	if (!last || last->ring != from) {
		last = &c->run[(c->run_first + c->runs++) % c->runs_room];
		*last = (struct dpi_lent){ .ring = from };
	}
	last->count += count;
	last->end = from->reader.read;
	last->boundary = dpi_ring_boundary(&from->reader);
	from->lent += count;
	c->lent += count;
}

static void release(struct dpi_buffer *b, size_t count)
{
	struct dpi_consumer *c = &b->consumer;
	while (count) {
		struct dpi_lent *l = &c->run[c->run_first];
		struct dpi_ring_in *r = l->ring;
		size_t n = count < l->count ? count : l->count;
		if (n < l->count) dpi_ring_release_some(&r->reader, n, l->end);
		else dpi_ring_release(&r->reader, l->end, l->end == r->reader.read ? dpi_ring_boundary(&r->reader) : l->boundary);
		l->count -= n;
		c->lent -= n;
		count -= n;
		r->lent -= n;
		if (!l->count) {
			if (++c->run_first == c->runs_room) c->run_first = 0;
			c->runs--;
		}
		dpi_ring_in_tell(r);
		if (r->ended && !r->lent) {
			/* a ring that was replaced goes; one that is corrupt stays on the list until its appender has gone */
			bool listed = false;
			for (size_t i = 0; i < c->rings && !listed; i++) listed = c->ring[i] == r;
			if (!listed) dpi_ring_in_free(b->ctx, b->home, r);
		}
	}
}

static struct dpi_buffer *begin(DPI_Buffer handle, const char *call, int *error)
{
	return dpi_buffer_begin(handle, call, 1u << DPI_USE_QUEUE, error);
}

/* The record that DPI_Next_Record lent counts among the lent ones from now on. */
static int note_single(struct dpi_consumer *c)
{
	struct dpi_ring_in *r = c->single;
	if (!r) return DPI_SUCCESS;
	int error = lend_room(c);
	if (error) return error;
	r->lent--; /* it was counted when it was lent */
	lend(c, r, 1);
	c->single = NULL;
	return DPI_SUCCESS;
}

static int next_record(DPI_Buffer handle, DPI_Record *record)
{
	int error;
	struct dpi_ring_in *from;
	if (!record) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Next_Record: record is NULL: pass where it may go");
	struct dpi_buffer *b = begin(handle, "DPI_Next_Record", &error);
	if (!b) return error;
	struct dpi_consumer *c = &b->consumer;
	error = note_single(c);
	if (!error) {
		if (c->lent) release(b, c->lent);
		error = next(b, record, &from, true, "DPI_Next_Record");
	}
	if (!error) {
		c->single = from;
		from->lent++;
		DPI_COUNT(b, records, 1);
		DPI_COUNT(b, record_bytes, record->size);
	}
	dpi_buffer_leave(b);
	return error;
}

/* The next record of the only appender may come sooner than a wait begins and ends. Looking in vain costs the next waits their try. */
#define LOOKS 512
#define VAIN_WAITS 16
static __attribute__((noinline)) bool next_soon(struct dpi_buffer *b, DPI_Record *record)
{
	struct dpi_consumer *c = &b->consumer;
	struct dpi_ring_reader *r = &c->single->reader;
	if (r->read != r->tail || c->rings != 1 || !b->ctx->spin_ns || b->timeout_us <= 0 || over(b) ||
	    atomic_load_explicit(&b->home->changed, memory_order_acquire) || (c->vain && c->vain--))
		return false;
	for (int i = 0; i < LOOKS; i++) {
		enum dpi_ring_found found = dpi_ring_next(r, &record->data, &record->size);
		if (found != DPI_RING_EMPTY) {
			DPI_COUNT(b, empty_waits, i && found == DPI_RING_FOUND);
			return found == DPI_RING_FOUND; /* what else it may be is found again */
		}
		if (i) continue;
		if (b->stats.records - c->caught_up >= REST_RECORDS) return false; /* see rest */
		c->caught_up = b->stats.records;
	}
	c->vain = VAIN_WAITS;
	return false;
}

int DPI_Next_Record(DPI_Buffer handle, DPI_Record *record)
{
	struct dpi_buffer *b = dpi_buffer_get(handle);
	/* the short way: the next record of the same run, and its space is not yet worth telling the appender of */
	if (__builtin_expect(b && b->consumer.single && record, 1) && dpi_buffer_enter(b)) {
		struct dpi_ring_reader *r = &b->consumer.single->reader;
		uint64_t given_back = r->read, boundary = dpi_ring_boundary(r);
		bool read = given_back - r->head_told < b->consumer.single->tell_at &&
			    (dpi_ring_read(r, &record->data, &record->size) || next_soon(b, record));
		if (__builtin_expect(read, 1)) {
			dpi_ring_release(r, given_back, boundary);
			DPI_COUNT(b, records, 1);
			DPI_COUNT(b, record_bytes, record->size);
		}
		dpi_buffer_leave(b);
		if (__builtin_expect(read, 1)) return DPI_SUCCESS;
	}
	return next_record(handle, record);
}

int DPI_Next_Records(DPI_Buffer handle, size_t max, DPI_Record *records, size_t *count)
{
	int error;
	struct dpi_ring_in *from;
	if (!records || !count || !max)
		return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Next_Records: %s", !records ? "records is NULL: pass an array of max" : !count ? "count is NULL: pass where the number may go" : "max is 0: ask for one or more");
	*count = 0;
	struct dpi_buffer *b = begin(handle, "DPI_Next_Records", &error);
	if (!b) return error;
	struct dpi_consumer *c = &b->consumer;
	size_t n = 0;
	uint64_t bytes = 0;
	error = note_single(c);
	if (!error) error = lend_room(c);
	if (!error) error = next(b, &records[0], &from, true, "DPI_Next_Records");
	while (!error) {
		size_t first = n;
		n += 1 + dpi_ring_read_many(&from->reader, records[n].size, max - n - 1, records + n + 1);
		for (size_t i = first; i < n; i++) bytes += records[i].size;
		lend(c, from, n - first);
		if (n == max) break;
		error = lend_room(c);
		if (!error) error = next(b, &records[n], &from, false, "DPI_Next_Records");
	}
	*count = n;
	if (*count) { /* a full run; what ended it is told, or found again, by the next call */
		c->corrupt = error == DPI_ERR_CORRUPT;
		error = DPI_SUCCESS;
	}
	DPI_COUNT(b, records, *count);
	DPI_COUNT(b, record_bytes, bytes);
	dpi_buffer_leave(b);
	return error;
}

int DPI_Next_Run(DPI_Buffer handle, size_t max, DPI_Run *run)
{
	int error;
	struct dpi_ring_in *from;
	DPI_Record record;
	if (!run || !max) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Next_Run: %s", run ? "max is 0: ask for one or more" : "run is NULL: pass where it may go");
	struct dpi_buffer *b = begin(handle, "DPI_Next_Run", &error);
	if (!b) return error;
	struct dpi_consumer *c = &b->consumer;
	error = note_single(c);
	if (!error) error = lend_room(c);
	if (!error) error = next(b, &record, &from, true, "DPI_Next_Run");
	if (!error) {
		*run = (DPI_Run){ .data = record.data, .size = record.size };
		run->count = 1 + dpi_ring_read_evenly(&from->reader, record.size, max - 1, &run->stride);
		lend(c, from, run->count);
		DPI_COUNT(b, records, run->count);
		DPI_COUNT(b, record_bytes, run->count * run->size);
	}
	dpi_buffer_leave(b);
	return error;
}

int DPI_Release_Records(size_t count, DPI_Buffer handle)
{
	int error;
	struct dpi_buffer *b = begin(handle, "DPI_Release_Records", &error);
	if (!b) return error;
	error = note_single(&b->consumer);
	if (!error && count > b->consumer.lent)
		error = dpi_fail(DPI_ERR_RANGE, "DPI_Release_Records: %zu records, but %zu are lent", count, b->consumer.lent);
	else if (!error && count) release(b, count);
	dpi_buffer_leave(b);
	return error;
}

void dpi_consumer_close(struct dpi_buffer *b)
{
	struct dpi_consumer *c = &b->consumer;
	struct dpi_home *h = b->home;
	if (!c->active) return;
	if (c->single) { /* give back without a note, which could fail */
		c->single->lent--;
		dpi_ring_in_give_back(c->single, c->single->reader.read, dpi_ring_boundary(&c->single->reader));
	}
	if (c->lent) release(b, c->lent);
	pthread_mutex_lock(&h->lock);
	h->consumer = NULL;
	for (size_t i = 0; i < c->rings; i++) { /* for the next consumer; what was read but not lent is not there */
		c->ring[i]->next = h->incoming;
		h->incoming = c->ring[i];
		atomic_store(&h->changed, true);
	}
	pthread_mutex_unlock(&h->lock);
	dpi_descriptor_close(c->records);
	free(c->ring);
	free(c->run);
	memset(c, 0, sizeof *c);
}
