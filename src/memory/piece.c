/* SPDX-License-Identifier: Apache-2.0
 * piece.c: the calls on pieces of regions: they check what they are given and ask the home (region_call.c). */
#include "buffer.h"
#include "request.h"

static struct dpi_buffer *begin(const DPI_Reference *reference, DPI_Buffer handle, const char *call, int *error)
{
	if (reference && reference->generation) return dpi_buffer_begin(handle, call, 1u << DPI_USE_REGION, error);
	*error = dpi_fail(DPI_ERR_ARGUMENT, "%s: %s: pass what DPI_Allocate_Piece gave", call,
			  reference ? "the reference names no piece" : "reference is NULL");
	return NULL;
}

static int run(struct dpi_request *r, DPI_Request *request, const char *call)
{
	r->advance = dpi_region_advance_call;
	int error = request ? dpi_request_start(r, request) : dpi_request_run(r, 0, call);
	dpi_buffer_leave(r->b);
	return error;
}

int DPI_Allocate_Piece(uint64_t size, DPI_Buffer handle, DPI_Reference *reference)
{
	int error;
	if (!reference) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Allocate_Piece: reference is NULL: pass where it may go");
	*reference = (DPI_Reference){ 0 };
	struct dpi_buffer *b = dpi_buffer_begin(handle, "DPI_Allocate_Piece", 1u << DPI_USE_REGION, &error);
	if (!b) return error;
	struct dpi_request r = { .b = b, .call = DPI_MEMORY_ALLOCATE, .size = size, .reference_out = reference };
	return run(&r, NULL, "DPI_Allocate_Piece");
}

int DPI_Free_Piece(const DPI_Reference *reference, DPI_Buffer handle)
{
	int error;
	struct dpi_buffer *b = begin(reference, handle, "DPI_Free_Piece", &error);
	if (!b) return error;
	struct dpi_request r = { .b = b, .call = DPI_MEMORY_FREE, .reference = *reference };
	return run(&r, NULL, "DPI_Free_Piece");
}

static int range(const struct dpi_buffer *b, const DPI_Reference *reference, uint64_t offset, uint64_t size, const char *call)
{
	if (offset <= reference->length && size <= reference->length - offset) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_RANGE, "%s: %llu bytes at %llu lie outside the piece of %llu bytes in region '%s' of %llu: stay within it, or allocate a larger one", call,
			(unsigned long long)size, (unsigned long long)offset, (unsigned long long)reference->length, b->name, (unsigned long long)b->region.length);
}

static int copy(uint16_t type, void *data, size_t size, uint64_t offset, const DPI_Reference *reference, DPI_Buffer handle, DPI_Request *request,
		const char *call)
{
	int error;
	if (!data && size) return dpi_fail(DPI_ERR_ARGUMENT, "%s: data is NULL and size is %zu: pass so many bytes of memory, or size 0", call, size);
	struct dpi_buffer *b = begin(reference, handle, call, &error);
	if (!b) return error;
	struct dpi_request r = { .b = b, .call = type, .data = data, .size = size, .offset = offset, .reference = *reference };
	error = range(b, reference, offset, size, call);
	if (!error) return run(&r, request, call);
	dpi_buffer_leave(b);
	return error;
}

static int atomic(uint16_t type, uint64_t offset, uint64_t expected, uint64_t operand, const DPI_Reference *reference, DPI_Buffer handle,
		  uint64_t *previous, DPI_Request *request, const char *call)
{
	int error;
	struct dpi_buffer *b = begin(reference, handle, call, &error);
	if (!b) return error;
	struct dpi_request r = { .b = b, .call = type, .offset = offset, .expected = expected, .operand = operand, .previous_out = previous,
				 .reference = *reference };
	error = offset % 8 ? dpi_fail(DPI_ERR_ARGUMENT, "%s: offset %llu is not a multiple of 8: atomics are on aligned words", call, (unsigned long long)offset)
			   : range(b, reference, offset, 8, call);
	if (!error) return run(&r, request, call);
	dpi_buffer_leave(b);
	return error;
}

int DPI_Read_Piece(void *data, size_t size, uint64_t offset, const DPI_Reference *reference, DPI_Buffer handle)
{
	return copy(DPI_MEMORY_READ, data, size, offset, reference, handle, NULL, "DPI_Read_Piece");
}

int DPI_Write_Piece(const void *data, size_t size, uint64_t offset, const DPI_Reference *reference, DPI_Buffer handle)
{
	return copy(DPI_MEMORY_WRITE, (void *)(uintptr_t)data, size, offset, reference, handle, NULL, "DPI_Write_Piece");
}

int DPI_Fetch_Add_Piece(uint64_t offset, uint64_t operand, const DPI_Reference *reference, DPI_Buffer handle, uint64_t *previous)
{
	return atomic(DPI_MEMORY_FETCH_ADD, offset, 0, operand, reference, handle, previous, NULL, "DPI_Fetch_Add_Piece");
}

int DPI_Compare_Swap_Piece(uint64_t offset, uint64_t expected, uint64_t desired, const DPI_Reference *reference, DPI_Buffer handle,
			   uint64_t *previous)
{
	return atomic(DPI_MEMORY_COMPARE_SWAP, offset, expected, desired, reference, handle, previous, NULL, "DPI_Compare_Swap_Piece");
}

int DPI_Read_Piece_Nb(void *data, size_t size, uint64_t offset, const DPI_Reference *reference, DPI_Buffer handle, DPI_Request *request)
{
	if (!dpi_request_none(request, "DPI_Read_Piece_Nb")) return DPI_ERR_ARGUMENT;
	return copy(DPI_MEMORY_READ, data, size, offset, reference, handle, request, "DPI_Read_Piece_Nb");
}

int DPI_Write_Piece_Nb(const void *data, size_t size, uint64_t offset, const DPI_Reference *reference, DPI_Buffer handle, DPI_Request *request)
{
	if (!dpi_request_none(request, "DPI_Write_Piece_Nb")) return DPI_ERR_ARGUMENT;
	return copy(DPI_MEMORY_WRITE, (void *)(uintptr_t)data, size, offset, reference, handle, request, "DPI_Write_Piece_Nb");
}

int DPI_Fetch_Add_Piece_Nb(uint64_t offset, uint64_t operand, const DPI_Reference *reference, DPI_Buffer handle, uint64_t *previous,
			   DPI_Request *request)
{
	if (!dpi_request_none(request, "DPI_Fetch_Add_Piece_Nb")) return DPI_ERR_ARGUMENT;
	return atomic(DPI_MEMORY_FETCH_ADD, offset, 0, operand, reference, handle, previous, request, "DPI_Fetch_Add_Piece_Nb");
}

int DPI_Compare_Swap_Piece_Nb(uint64_t offset, uint64_t expected, uint64_t desired, const DPI_Reference *reference, DPI_Buffer handle,
			      uint64_t *previous, DPI_Request *request)
{
	if (!dpi_request_none(request, "DPI_Compare_Swap_Piece_Nb")) return DPI_ERR_ARGUMENT;
	return atomic(DPI_MEMORY_COMPARE_SWAP, offset, expected, desired, reference, handle, previous, request, "DPI_Compare_Swap_Piece_Nb");
}
