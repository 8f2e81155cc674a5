/* SPDX-License-Identifier: Apache-2.0
 * region.c: reads, writes and atomics on regions. */
#include <string.h>

#include "buffer.h"
#include "request.h"
#include "dpi_words.h"

static int range(const struct dpi_buffer *b, uint64_t offset, uint64_t size, const char *call)
{
	if (offset <= b->region.length && size <= b->region.length - offset) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_RANGE, "%s: %llu bytes at %llu lie outside region '%s' of %llu bytes: stay within it, or create it larger", call, (unsigned long long)size,
			(unsigned long long)offset, b->name, (unsigned long long)b->region.length);
}

void dpi_region_account(struct dpi_buffer *b, bool write, uint64_t size)
{
	if (write) {
		DPI_COUNT(b, writes, 1);
		DPI_COUNT(b, write_bytes, size);
	} else {
		DPI_COUNT(b, reads, 1);
		DPI_COUNT(b, read_bytes, size);
	}
}

/* Post in pieces of at most what the transport takes; one piece is under way at a time. stage counts bytes through sequence. */
static int advance_copy(struct dpi_request *r)
{
	struct dpi_buffer *b = r->b;
	int error = dpi_buffer_check(b);
	if (error && atomic_load(&r->op_state) == DPI_OP_NONE) return error;
	for (;;) {
		if (r->begun) {
			error = dpi_request_posted(r);
			if (error) return error;
			r->begun = false;
			r->sequence += r->expected;
		}
		if (r->sequence == r->size) {
			dpi_region_account(b, r->stage, r->size);
			return DPI_SUCCESS;
		}
		uint64_t most = b->region.carrier->attr.max_put, at = r->offset + r->sequence;
		if (most > 8) most = (most & ~(uint64_t)7) - (at & 7); /* no piece ends within a word */
		r->expected = r->size - r->sequence < most || !most ? r->size - r->sequence : most;
		struct iovec v = { (uint8_t *)r->data + r->sequence, r->expected };
		error = r->stage ? DPI_REQUEST_POST(r, &b->region, dpi_remote_put(&b->region, &v, 1, at, NULL, 0, &r->op))
				 : DPI_REQUEST_POST(r, &b->region, dpi_remote_get(&b->region, &v, 1, at, &r->op));
		r->begun = !error || (error == DPI_ERR_AGAIN && atomic_load(&r->op_state) != DPI_OP_NONE);
		if (error) return error;
	}
}

static int advance_direct(struct dpi_request *r)
{
	int error = dpi_buffer_check(r->b);
	if (error) return error;
	uint8_t *at = r->b->region.direct + r->offset;
	if (r->stage) dpi_words_store(at, r->data, r->size);
	else dpi_words_load(r->data, at, r->size);
	dpi_region_account(r->b, r->stage, r->size);
	return DPI_SUCCESS;
}

void dpi_region_request(struct dpi_request *r, struct dpi_buffer *b, bool write, void *data, uint64_t size, uint64_t offset)
{
	*r = (struct dpi_request){ .advance = b->region.direct ? advance_direct : b->region.carrier ? advance_copy : dpi_region_advance_call, .b = b,
				   .stage = write, .data = data, .size = size, .offset = offset,
				   .call = write ? DPI_MEMORY_WRITE : DPI_MEMORY_READ };
}

int dpi_region_range(const struct dpi_buffer *b, uint64_t offset, uint64_t size, const char *call)
{
	return range(b, offset, size, call);
}

/* Whoever reads on where it stopped finds the first lines there: the processor's own prefetch ends with a page, and begins anew with each. */
#define AHEAD_LEAST 1024u /* bytes of a read from which it is worth it */
#define AHEAD_BYTES 256u
static void look_ahead(struct dpi_buffer *b, uint64_t offset, uint64_t size)
{
	uint64_t next = offset + size;
	if (size >= AHEAD_LEAST && offset == b->read_on && b->region.length - next >= AHEAD_BYTES)
		for (uint64_t i = 0; i < AHEAD_BYTES; i += 64) __builtin_prefetch(b->region.direct + next + i);
	b->read_on = next;
}

static int copy(bool write, void *data, size_t size, uint64_t offset, DPI_Buffer handle, DPI_Request *request, const char *call)
{
	int error;
	if (!data && size) return dpi_fail(DPI_ERR_ARGUMENT, "%s: data is NULL and size is %zu: pass so many bytes of memory, or size 0", call, size);
	struct dpi_buffer *b = dpi_buffer_begin(handle, call, 1u << DPI_USE_REGION, &error);
	if (!b) return error;
	error = range(b, offset, size, call);
	if (!error && b->region.direct && !b->first && !request) { /* no request is needed for a copy in memory */
		error = dpi_buffer_check(b);
		if (!error && write) dpi_words_store(b->region.direct + offset, data, size);
		if (!error && !write) {
			dpi_words_load(data, b->region.direct + offset, size);
			look_ahead(b, offset, size);
		}
		if (!error) dpi_region_account(b, write, size);
	} else if (!error) {
		struct dpi_request r;
		dpi_region_request(&r, b, write, data, size, offset);
		error = request ? dpi_request_start(&r, request) : dpi_request_run(&r, 0, call);
	}
	dpi_buffer_leave(b);
	return error;
}

int DPI_Read(void *data, size_t size, uint64_t offset, DPI_Buffer handle)
{
	return copy(false, data, size, offset, handle, NULL, "DPI_Read");
}

int DPI_Write(const void *data, size_t size, uint64_t offset, DPI_Buffer handle)
{
	return copy(true, (void *)(uintptr_t)data, size, offset, handle, NULL, "DPI_Write");
}

int DPI_Read_Nb(void *data, size_t size, uint64_t offset, DPI_Buffer handle, DPI_Request *request)
{
	if (!dpi_request_none(request, "DPI_Read_Nb")) return DPI_ERR_ARGUMENT;
	return copy(false, data, size, offset, handle, request, "DPI_Read_Nb");
}

int DPI_Write_Nb(const void *data, size_t size, uint64_t offset, DPI_Buffer handle, DPI_Request *request)
{
	if (!dpi_request_none(request, "DPI_Write_Nb")) return DPI_ERR_ARGUMENT;
	return copy(true, (void *)(uintptr_t)data, size, offset, handle, request, "DPI_Write_Nb");
}

/* ------------------------------------------------------------------------------------------------------- atomics */

static int gives(struct dpi_request *r, uint64_t previous)
{
	if (r->previous_out) *r->previous_out = previous;
	DPI_COUNT(r->b, atomics, 1);
	return DPI_SUCCESS;
}

static int advance_atomic(struct dpi_request *r)
{
	struct dpi_buffer *b = r->b;
	uint64_t previous;
	int error;
	if (!r->begun) {
		error = dpi_buffer_check(b);
		if (error) return error;
		if (b->region.direct) {
			_Atomic uint64_t *word = (_Atomic uint64_t *)(b->region.direct + r->offset);
			if (r->stage) {
				previous = r->expected;
				atomic_compare_exchange_strong(word, &previous, r->operand);
			} else {
				previous = atomic_fetch_add(word, r->operand);
			}
			return gives(r, previous);
		}
		error = r->stage ? DPI_REQUEST_POST(r, &b->region, dpi_remote_compare_swap(&b->region, r->offset, r->expected, r->operand, &r->previous, &r->op))
				 : DPI_REQUEST_POST(r, &b->region, dpi_remote_fetch_add(&b->region, r->offset, r->operand, &r->previous, &r->op));
		if (!error) return gives(r, r->previous);
		if (error == DPI_ERR_AGAIN && atomic_load(&r->op_state) != DPI_OP_NONE) r->begun = r->unknown = true;
		if (error) return error;
	}
	error = dpi_request_posted(r);
	return error ? error : gives(r, r->op_result);
}

static int atomic(bool swap, uint64_t offset, uint64_t expected, uint64_t operand, DPI_Buffer handle, uint64_t *previous, DPI_Request *request,
		  const char *call)
{
	int error;
	struct dpi_buffer *b = dpi_buffer_begin(handle, call, 1u << DPI_USE_REGION, &error);
	if (!b) return error;
	error = offset % 8 ? dpi_fail(DPI_ERR_ARGUMENT, "%s: offset %llu is not a multiple of 8: atomics are on aligned words", call, (unsigned long long)offset) : range(b, offset, 8, call);
	if (!error) {
		bool by_call = !b->region.direct && !b->region.carrier;
		struct dpi_request r = { .advance = by_call ? dpi_region_advance_call : advance_atomic, .b = b, .stage = swap, .offset = offset,
					 .operand = operand, .expected = expected, .previous_out = previous,
					 .call = swap ? DPI_MEMORY_COMPARE_SWAP : DPI_MEMORY_FETCH_ADD };
		error = request ? dpi_request_start(&r, request) : dpi_request_run(&r, 0, call);
	}
	dpi_buffer_leave(b);
	return error;
}

int DPI_Fetch_Add(uint64_t offset, uint64_t operand, DPI_Buffer handle, uint64_t *previous)
{
	return atomic(false, offset, 0, operand, handle, previous, NULL, "DPI_Fetch_Add");
}

int DPI_Compare_Swap(uint64_t offset, uint64_t expected, uint64_t desired, DPI_Buffer handle, uint64_t *previous)
{
	return atomic(true, offset, expected, desired, handle, previous, NULL, "DPI_Compare_Swap");
}

int DPI_Fetch_Add_Nb(uint64_t offset, uint64_t operand, DPI_Buffer handle, uint64_t *previous, DPI_Request *request)
{
	if (!dpi_request_none(request, "DPI_Fetch_Add_Nb")) return DPI_ERR_ARGUMENT;
	return atomic(false, offset, 0, operand, handle, previous, request, "DPI_Fetch_Add_Nb");
}

int DPI_Compare_Swap_Nb(uint64_t offset, uint64_t expected, uint64_t desired, DPI_Buffer handle, uint64_t *previous, DPI_Request *request)
{
	if (!dpi_request_none(request, "DPI_Compare_Swap_Nb")) return DPI_ERR_ARGUMENT;
	return atomic(true, offset, expected, desired, handle, previous, request, "DPI_Compare_Swap_Nb");
}

int DPI_Get_Address(DPI_Buffer handle, void **address)
{
	struct dpi_buffer *b = dpi_buffer_get(handle);
	if (!b) return dpi_handle_error(DPI_HANDLE_BUFFER, (uint64_t)(uintptr_t)handle);
	if (!address) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Get_Address: address is NULL: pass where it may go");
	if (b->shape.use != DPI_USE_REGION) return dpi_fail(DPI_ERR_USE, "DPI_Get_Address: buffer '%s' is not a region", b->name);
	if (!b->region.direct)
		return dpi_fail(DPI_ERR_UNSUPPORTED, "DPI_Get_Address: region '%s' of node %d is reached by %s and has no address here: use DPI_Read and DPI_Write",
				b->name, b->home_peer->node, b->region.carrier ? b->region.carrier->name : "calls to it");
	*address = b->region.direct;
	return DPI_SUCCESS;
}
