/* SPDX-License-Identifier: Apache-2.0
 * region_call.c: operations on a region that its home carries out for this node, asked by control calls: on memory that no
 * transport reaches, and on pieces, whose references are checked in the same step. One call of a handle is under way at a
 * time, so its operations keep their order. */
#include <string.h>

#include "buffer.h"
#include "request.h"

static bool moves_bytes(const struct dpi_request *r)
{
	return r->call == DPI_MEMORY_READ || r->call == DPI_MEMORY_WRITE;
}

static bool is_atomic(const struct dpi_request *r)
{
	return r->call == DPI_MEMORY_FETCH_ADD || r->call == DPI_MEMORY_COMPARE_SWAP;
}

/* Writes of this handle that a transport still carries must not come behind what the home is asked now. */
static int flush_first(struct dpi_request *r)
{
	struct dpi_buffer *b = r->b;
	if (!b->region.carrier || b->region.direct) return DPI_SUCCESS;
	/* of a write that failed something may be on its way, too */
	if (!r->flushing && b->stats.writes == b->flushed_writes && r->call != DPI_MEMORY_FREE) return DPI_SUCCESS;
	if (!r->flushing) {
		int error = DPI_REQUEST_POST(r, &b->region, dpi_remote_flush(&b->region, &r->op));
		if (error && atomic_load(&r->op_state) == DPI_OP_NONE) return error;
		r->refused = false;
		r->flushing = true;
	}
	int error = dpi_request_posted(r);
	if (error == DPI_ERR_AGAIN) return error;
	r->flushing = false;
	atomic_store_explicit(&r->op_state, DPI_OP_NONE, memory_order_relaxed);
	if (!error) b->flushed_writes = b->stats.writes;
	return error;
}

/* Ask for the next chunk, which does not end within a word, or for all there is to do. */
static int ask(struct dpi_request *r)
{
	struct dpi_buffer *b = r->b;
	struct dpi_pack p = { 0 };
	uint64_t at = r->offset + r->sequence, most = DPI_MEMORY_CHUNK - (at & 7), rest = r->size - r->sequence;
	if (dpi_control_piles_up(b->ctx, b->home_peer)) {
		r->refused = true;
		return DPI_ERR_AGAIN;
	}
	dpi_pack_u64(&p, b->id);
	if (r->call != DPI_MEMORY_ALLOCATE) dpi_reference_pack(&p, &r->reference);
	if (moves_bytes(r) || is_atomic(r)) dpi_pack_u64(&p, at);
	if (r->call == DPI_MEMORY_ALLOCATE) dpi_pack_u64(&p, r->size);
	if (moves_bytes(r)) {
		uint32_t size = (uint32_t)(rest < most ? rest : most);
		r->operand = size;
		if (r->call == DPI_MEMORY_READ) dpi_pack_u32(&p, size);
		else dpi_pack_bytes(&p, (uint8_t *)r->data + r->sequence, size);
	} else if (is_atomic(r)) {
		if (r->call == DPI_MEMORY_COMPARE_SWAP) dpi_pack_u64(&p, r->expected);
		dpi_pack_u64(&p, r->operand);
	}
	int error = dpi_call_start(b->ctx, b->home_peer, r->call, &p, b->bell, &r->calling);
	if (error == DPI_ERR_PEER && !dpi_buffer_check(b)) { /* the loop is about to find out why */
		r->refused = true;
		return DPI_ERR_AGAIN;
	}
	if (!error) r->begun = true;
	if (!error && !moves_bytes(r)) r->unknown = true;
	return error;
}

/* Take what the home answered; false: nonsense. */
static bool take(struct dpi_request *r, struct dpi_unpack *u)
{
	if (r->call == DPI_MEMORY_READ) {
		uint32_t size;
		const void *bytes = dpi_unpack_bytes(u, &size);
		if (u->bad || size != r->operand) return false;
		if (size) memcpy((uint8_t *)r->data + r->sequence, bytes, size);
	} else if (is_atomic(r)) {
		uint64_t previous = dpi_unpack_u64(u);
		if (u->bad) return false;
		if (r->previous_out) *r->previous_out = previous;
	} else if (r->call == DPI_MEMORY_ALLOCATE) {
		DPI_Reference got;
		uint64_t length = r->b->region.length;
		dpi_reference_unpack(u, &got);
		if (u->bad || got.length != r->size || got.offset > length || got.length > length - got.offset || got.offset % 8 || !got.generation)
			return false;
		*r->reference_out = got;
	}
	if (moves_bytes(r)) r->sequence += r->operand;
	return true;
}

static int failed(struct dpi_request *r, int error)
{
	const DPI_Reference *f = &r->reference;
	if (error != DPI_ERR_RECLAIMED) return dpi_buffer_answered(r->b, error);
	return dpi_fail(error, "the piece of %llu bytes at %llu of region '%s' was freed: its references are stale", (unsigned long long)f->length,
			(unsigned long long)f->offset, r->b->name);
}

static void account(struct dpi_request *r)
{
	bool write = r->call == DPI_MEMORY_WRITE;
	if (is_atomic(r)) DPI_COUNT(r->b, atomics, 1);
	if (!moves_bytes(r)) return;
	dpi_region_account(r->b, write, r->size);
	if (write) r->b->flushed_writes++; /* the home has carried it out */
}

int dpi_region_advance_call(struct dpi_request *r)
{
	struct dpi_buffer *b = r->b;
	struct dpi_reply reply;
	r->refused = false;
	for (;;) {
		int error = DPI_SUCCESS;
		if (!r->calling.peer) {
			error = dpi_buffer_check(b);
			if (!error) error = flush_first(r);
			if (!error) error = ask(r);
			if (error) return error;
		}
		error = dpi_call_end(b->ctx, &r->calling, &reply);
		if (error == DPI_ERR_AGAIN) {
			r->refused = !r->calling.peer; /* its answers pile up: it did nothing */
			if (r->refused) r->unknown = false;
			return error;
		}
		if (error) return failed(r, error);
		bool good = take(r, &reply.body);
		dpi_reply_free(&reply);
		if (!good) return dpi_fail(DPI_ERR_CORRUPT, "node %d answered with nonsense", b->home_peer->node);
		if (moves_bytes(r) && r->sequence < r->size) continue;
		account(r);
		return DPI_SUCCESS;
	}
}
