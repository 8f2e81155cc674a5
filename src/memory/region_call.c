/* SPDX-License-Identifier: Apache-2.0
 * region_call.c: operations on a region that its home carries out for this node, asked by control calls: for memory that no
 * transport reaches. One call of a handle is under way at a time, so its operations keep their order. */
#include <string.h>

#include "buffer.h"
#include "request.h"

static bool moves_bytes(const struct dpi_request *r)
{
	return r->call == DPI_MEMORY_READ || r->call == DPI_MEMORY_WRITE;
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
	dpi_pack_u64(&p, at);
	if (moves_bytes(r)) {
		uint32_t size = (uint32_t)(rest < most ? rest : most);
		r->operand = size;
		if (r->call == DPI_MEMORY_READ) dpi_pack_u32(&p, size);
		else dpi_pack_bytes(&p, (uint8_t *)r->data + r->sequence, size);
	} else {
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
	} else if (!moves_bytes(r)) {
		uint64_t previous = dpi_unpack_u64(u);
		if (u->bad) return false;
		if (r->previous_out) *r->previous_out = previous;
	}
	if (moves_bytes(r)) r->sequence += r->operand;
	return true;
}

int dpi_region_advance_call(struct dpi_request *r)
{
	struct dpi_buffer *b = r->b;
	struct dpi_reply reply;
	r->refused = false;
	for (;;) {
		int error = DPI_SUCCESS;
		if (!r->calling.peer) error = dpi_buffer_check(b);
		if (!error && !r->calling.peer) error = ask(r);
		if (error) return error;
		error = dpi_call_end(b->ctx, &r->calling, &reply);
		if (error == DPI_ERR_AGAIN) {
			r->refused = !r->calling.peer; /* its answers pile up: it did nothing */
			if (r->refused) r->unknown = false;
			return error;
		}
		if (error) return dpi_buffer_answered(b, error);
		bool good = take(r, &reply.body);
		dpi_reply_free(&reply);
		if (!good) return dpi_fail(DPI_ERR_CORRUPT, "node %d answered with nonsense", b->home_peer->node);
		if (!moves_bytes(r)) {
			DPI_COUNT(b, atomics, 1);
			return DPI_SUCCESS;
		}
		if (r->sequence < r->size) continue;
		bool write = r->call == DPI_MEMORY_WRITE;
		dpi_region_account(b, write, r->size);
		if (write) b->flushed_writes++; /* the home has carried it out */
		return DPI_SUCCESS;
	}
}
