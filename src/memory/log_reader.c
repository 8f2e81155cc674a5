/* SPDX-License-Identifier: Apache-2.0
 * log_reader.c: reading a log by position, from any node. */
#include <stddef.h>
#include <string.h>

#include "buffer.h"
#include "delay.h"
#include "request.h"

#define AHEAD 512u /* bytes got together with a record's word from a home that is only reached by gets */

void dpi_log_reader_close(struct dpi_buffer *b)
{
	dpi_call_forget(b->ctx, &b->log.asking);
	dpi_call_forget(b->ctx, &b->log.awaiting);
	for (int i = 0; i < DPI_SEGMENTS_CACHED; i++)
		if (b->log.segment[i].attached) dpi_remote_detach(&b->log.segment[i].remote);
	if (b->log.bounds.length) dpi_remote_detach(&b->log.bounds);
}

/* ------------------------------------------------------------------------- bytes of a window, by load or by get */

static int fetch(struct dpi_request *r, struct dpi_remote *from, void *to, uint64_t size, uint64_t offset)
{
	if (from->direct) {
		memcpy(to, from->direct + offset, size);
		return DPI_SUCCESS;
	}
	struct iovec v = { to, size };
	if (!r->begun) {
		int error = DPI_REQUEST_POST(r, from, dpi_remote_get(from, &v, 1, offset, &r->op));
		r->begun = atomic_load(&r->op_state) != DPI_OP_NONE;
		if (error) return error;
	}
	int error = dpi_request_posted(r);
	if (error) return error;
	r->begun = false;
	atomic_store_explicit(&r->op_state, DPI_OP_NONE, memory_order_relaxed); /* nothing is under way that a cancel must wait for */
	return DPI_SUCCESS;
}

static int bounds(struct dpi_request *r, uint64_t out[2])
{
	struct dpi_log_bounds *d = (struct dpi_log_bounds *)r->b->log.bounds.direct;
	if (!d) return fetch(r, &r->b->log.bounds, out, 16, 0);
	/* acquire pairs with the home's release: what lies before end is there */
	out[1] = atomic_load_explicit(&d->end, memory_order_acquire);
	out[0] = atomic_load_explicit(&d->first, memory_order_acquire);
	return DPI_SUCCESS;
}

/* The segment of a position, and the offset in it; asks the home for it the first time: DPI_ERR_AGAIN until it has answered. */
static int segment(struct dpi_buffer *b, uint64_t position, struct dpi_remote **out, uint64_t *offset)
{
	struct dpi_log_reader *l = &b->log;
	for (int i = 0; i < DPI_SEGMENTS_CACHED; i++) {
		if (!l->segment[i].attached || position < l->segment[i].base || position >= l->segment[i].limit) continue;
		*out = &l->segment[i].remote;
		*offset = position - l->segment[i].base;
		return DPI_SUCCESS;
	}
	struct dpi_reply reply;
	struct dpi_window_offer offer;
	int error;
	if (l->asking.peer && l->asked != position) dpi_call_forget(b->ctx, &l->asking);
	if (!l->asking.peer) {
		struct dpi_pack p = { 0 };
		dpi_pack_u64(&p, b->id);
		dpi_pack_u64(&p, position);
		error = dpi_call_start(b->ctx, b->home_peer, DPI_MEMORY_SEGMENT, &p, b->bell, &l->asking);
		if (error) return error;
		l->asked = position;
	}
	error = dpi_call_end(b->ctx, &l->asking, &reply);
	if (error) return dpi_buffer_answered(b, error);
	uint64_t number = dpi_unpack_u64(&reply.body), base = dpi_unpack_u64(&reply.body);
	dpi_window_unpack(&reply.body, &offer);
	bool bad = reply.body.bad;
	dpi_reply_free(&reply);
	if (bad || offer.length != l->segment_size || base > position || position - base > l->segment_size - 8 || base % 8) {
		if (!bad) dpi_window_offer_free(&offer);
		return dpi_fail(DPI_ERR_CORRUPT, "node %d offered a segment that is none", b->home_peer->node);
	}
	int at = (int)(number % DPI_SEGMENTS_CACHED);
	if (l->segment[at].attached) dpi_remote_detach(&l->segment[at].remote);
	l->segment[at].attached = false;
	error = dpi_remote_attach(b->ctx, b->home_peer, &offer, dpi_now() + DPI_CONNECT_NS, &l->segment[at].remote);
	if (error) return error;
	l->segment[at].attached = true;
	l->segment[at].base = base;
	l->segment[at].limit = base + l->segment_size;
	*out = &l->segment[at].remote;
	*offset = position - base;
	return DPI_SUCCESS;
}

/* A PAD stands at position: the segment ends there. False: it did so before, and the home offered it all the same. */
static bool segment_ends(struct dpi_buffer *b, uint64_t position)
{
	for (int i = 0; i < DPI_SEGMENTS_CACHED; i++) {
		if (!b->log.segment[i].attached || position <= b->log.segment[i].base || position >= b->log.segment[i].limit) continue;
		b->log.segment[i].limit = position;
		return true;
	}
	return false;
}

/* The home has taken back the segment in which position was thought to lie. */
static void segment_forget(struct dpi_buffer *b, uint64_t position)
{
	for (int i = 0; i < DPI_SEGMENTS_CACHED; i++) {
		if (!b->log.segment[i].attached || position < b->log.segment[i].base || position >= b->log.segment[i].limit) continue;
		dpi_remote_detach(&b->log.segment[i].remote);
		b->log.segment[i].attached = false;
	}
}

static int reclaimed(const struct dpi_buffer *b, uint64_t position, uint64_t first)
{
	return dpi_fail(DPI_ERR_RECLAIMED, "position %llu of log '%s' was truncated: go on at %llu, the oldest kept", (unsigned long long)position, b->name,
			(unsigned long long)first);
}

static int no_record(const struct dpi_buffer *b, uint64_t position)
{
	return dpi_fail(DPI_ERR_RANGE, "no record of log '%s' starts at position %llu: use positions that appends, reads or DPI_Get_Buffer_Info gave",
			b->name, (unsigned long long)position);
}

/* Ask the home to tell, at the handle's bell, when something lies at the log's end; DPI_ERR_AGAIN until it has. */
static int await_record(struct dpi_buffer *b, uint64_t position)
{
	struct dpi_log_reader *l = &b->log;
	if (l->awaiting.peer && l->awaited != position) dpi_call_forget(b->ctx, &l->awaiting);
	if (!l->awaiting.peer) {
		struct dpi_pack p = { 0 };
		dpi_pack_u64(&p, b->id);
		dpi_pack_u64(&p, position);
		int error = dpi_call_start(b->ctx, b->home_peer, DPI_MEMORY_AWAIT, &p, b->bell, &l->awaiting);
		if (error) return error;
		l->awaited = position;
	}
	return dpi_buffer_answered(b, dpi_call_end(b->ctx, &l->awaiting, NULL));
}

/* One step of a read. stage 0: bounds; 1: segment, word and first bytes; 2: the rest; 3: bounds again */
enum { LOG_BOUNDS, LOG_WORD, LOG_REST, LOG_AGAIN };

static int advance_read(struct dpi_request *r)
{
	struct dpi_buffer *b = r->b;
	struct dpi_log_reader *l = &b->log;
	int error = dpi_buffer_check(b);
	if (error) return error;
	for (;;) {
		uint64_t offset;
		struct dpi_remote *s;
		switch (r->stage) {
		case LOG_BOUNDS:
			/* a look at the end may cost a message: only when the home has said that it moved */
			if (r->at_end && r->wait_at_end && !r->cancelled && !l->bounds.direct && (error = await_record(b, r->offset))) return error;
			error = bounds(r, r->log_bounds);
			if (error) return error;
			DPI_DELAY(log_reads);
			if (r->offset < r->log_bounds[0]) return reclaimed(b, r->offset, r->log_bounds[0]);
			if (r->offset == r->log_bounds[1]) {
				r->at_end = true;
				if (!r->wait_at_end) return r->stop_at_end ? DPI_ERR_TIMEOUT : DPI_ERR_AGAIN;
				error = r->cancelled ? DPI_ERR_CANCELLED : await_record(b, r->offset);
				if (error) return error;
				break;
			}
			if (r->offset > r->log_bounds[1] || r->offset % 8) return no_record(b, r->offset);
			r->stage = LOG_WORD;
			break;
		case LOG_WORD:
			error = segment(b, r->offset, &s, &offset);
			if (error == DPI_ERR_RECLAIMED) goto truncated;
			if (error) return error;
			r->expected = l->segment_size - offset < AHEAD + 8 ? l->segment_size - offset : AHEAD + 8;
			if (s->direct) r->expected = 8;
			error = fetch(r, s, r->ahead, r->expected, offset);
			if (error == DPI_ERR_DESTROYED) goto truncated;
			if (error) return error;
			uint64_t word;
			memcpy(&word, r->ahead, sizeof word);
			r->sequence = word & UINT32_MAX; /* size */
			if (word != dpi_log_word(r->offset, (uint32_t)word, b->salt)) {
				/* truncated meanwhile, or never a record */
				r->stage = LOG_AGAIN;
				r->operand = 1;
				break;
			}
			if ((uint32_t)word == DPI_LOG_PAD) {
				if (segment_ends(b, r->offset)) break; /* once more, in the next one */
				return dpi_fail(DPI_ERR_CORRUPT, "log '%s' is damaged at %llu", b->name, (unsigned long long)r->offset);
			}
			if (r->sequence > l->segment_size - offset - 8) return dpi_fail(DPI_ERR_CORRUPT, "log '%s' is damaged at %llu", b->name, (unsigned long long)r->offset);
			r->operand = 0;
			if (r->sequence > r->size) {
				r->stage = LOG_AGAIN;
				break;
			}
			r->stage = LOG_REST;
			if (!s->direct && r->sequence + 8 <= r->expected) {
				memcpy(r->data, r->ahead + 8, r->sequence);
				r->stage = LOG_AGAIN;
			}
			break;
		case LOG_REST:
			error = segment(b, r->offset, &s, &offset);
			DPI_DELAY(log_copies);
			if (!error && r->sequence) error = fetch(r, s, r->data, r->sequence, offset + 8);
			if (error == DPI_ERR_DESTROYED) goto truncated;
			if (error) return error;
			/* acquire fence: the copy comes before the look at first */
			atomic_thread_fence(memory_order_acquire);
			r->stage = LOG_AGAIN;
			break;
		truncated: /* the segment is gone: the bounds, looked at anew, say it */
			error = dpi_buffer_check(b);
			if (error) return error;
			segment_forget(b, r->offset);
			r->begun = false;
			r->operand = 2;
			r->stage = LOG_AGAIN;
			break;
		default:
			error = bounds(r, r->log_bounds);
			if (error) return error;
			if (r->offset < r->log_bounds[0]) return reclaimed(b, r->offset, r->log_bounds[0]);
			if (r->operand == 1) return no_record(b, r->offset);
			if (r->operand == 2) { /* the position is good: it begins the next segment */
				r->operand = 0;
				r->stage = LOG_BOUNDS;
				break;
			}
			if (r->size_out) *r->size_out = r->sequence;
			if (r->next_out) *r->next_out = r->offset + dpi_ring_need(r->sequence);
			if (r->sequence > r->size)
				return dpi_fail(DPI_ERR_SIZE, "the record at %llu has %llu bytes, there is room for %llu: read it again with more, its size is in record_size", (unsigned long long)r->offset,
						(unsigned long long)r->sequence, (unsigned long long)r->size);
			DPI_COUNT(b, records, 1);
			DPI_COUNT(b, record_bytes, r->sequence);
			return DPI_SUCCESS;
		}
	}
}

void dpi_log_request(struct dpi_request *r, struct dpi_buffer *b, uint64_t position, void *data, uint64_t size, size_t *size_out, uint64_t *next)
{
	*r = (struct dpi_request){ .advance = advance_read, .b = b, .data = data, .size = size, .offset = position, .size_out = size_out, .next_out = next };
}

/* Wait, by a request to the home, until something lies at the position. */
static int await(struct dpi_buffer *b, uint64_t position, int64_t deadline)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, b->id);
	dpi_pack_u64(&p, position);
	return dpi_buffer_answered(b, dpi_call(b->ctx, b->home_peer->node, DPI_MEMORY_AWAIT, &p, deadline, NULL));
}

int DPI_Read_Record(uint64_t position, void *data, size_t size, DPI_Buffer handle, size_t *record_size, uint64_t *next)
{
	int error;
	struct dpi_request r;
	if (!data && size) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Read_Record: data is NULL and size is %zu: pass where so many bytes may go, or size 0", size);
	struct dpi_buffer *b = dpi_buffer_begin(handle, "DPI_Read_Record", 1u << DPI_USE_LOG, &error);
	if (!b) return error;
	int64_t deadline = dpi_buffer_deadline(b, 0), start = 0;
	for (;;) {
		dpi_log_request(&r, b, position, data, size, record_size, next);
		r.stop_at_end = true; /* the home tells when there is more */
		error = dpi_request_run(&r, 0, "DPI_Read_Record");
		if (!r.at_end || error != DPI_ERR_TIMEOUT) break;
		if (dpi_now() >= deadline) {
			error = dpi_fail(DPI_ERR_TIMEOUT, "DPI_Read_Record: log '%s' has no record at %llu yet", b->name, (unsigned long long)position);
			break;
		}
		if (!start) start = dpi_now();
		error = await(b, r.offset, deadline);
		if (error == DPI_ERR_TIMEOUT) dpi_fail(error, "DPI_Read_Record: no record came to position %llu of log '%s' within the deadline",
						       (unsigned long long)position, b->name);
		if (error) break;
	}
	if (start) {
		DPI_COUNT(b, empty_waits, 1);
		DPI_COUNT(b, empty_wait_us, (dpi_now() - start) / 1000);
	}
	dpi_buffer_leave(b);
	return error;
}

int DPI_Read_Record_Nb(uint64_t position, void *data, size_t size, DPI_Buffer handle, size_t *record_size, uint64_t *next, DPI_Request *request)
{
	int error;
	struct dpi_request r;
	if (!dpi_request_none(request, "DPI_Read_Record_Nb")) return DPI_ERR_ARGUMENT;
	if (!data && size) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Read_Record_Nb: data is NULL and size is %zu: pass where so many bytes may go, or size 0", size);
	struct dpi_buffer *b = dpi_buffer_begin(handle, "DPI_Read_Record_Nb", 1u << DPI_USE_LOG, &error);
	if (!b) return error;
	dpi_log_request(&r, b, position, data, size, record_size, next);
	r.wait_at_end = true;
	error = dpi_request_start(&r, request);
	dpi_buffer_leave(b);
	return error;
}

int DPI_Truncate_Log(uint64_t position, DPI_Buffer handle)
{
	int error;
	struct dpi_pack p = { 0 };
	struct dpi_buffer *b = dpi_buffer_begin(handle, "DPI_Truncate_Log", 1u << DPI_USE_LOG, &error);
	if (!b) return error;
	dpi_pack_u64(&p, b->id);
	dpi_pack_u64(&p, position);
	error = dpi_buffer_call(b, DPI_MEMORY_TRUNCATE, &p, dpi_buffer_deadline(b, 0), NULL);
	dpi_buffer_leave(b);
	return error;
}
