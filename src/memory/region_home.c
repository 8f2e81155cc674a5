/* SPDX-License-Identifier: Apache-2.0
 * region_home.c: what a region's home does for nodes that ask it by control calls. All of it runs on the loop thread; its
 * accesses are this processor's, as those of handles here, so its atomics are one step with theirs. */
#include <stdatomic.h>

#include "../core/error.h"
#include "home.h"
#include "words.h"

static void answer(struct dpi_context *ctx, struct dpi_request_in *in, int error, struct dpi_pack *p)
{
	dpi_answer(ctx, in->from, in->id, error, p);
}

/* Where the bytes that a request names lie; NULL: answered already. */
static uint8_t *place(struct dpi_context *ctx, struct dpi_request_in *in, uint64_t id, uint64_t offset, uint64_t size)
{
	struct dpi_home *h = dpi_home_target(ctx, in, id);
	int error = DPI_SUCCESS;
	if (!h) return NULL;
	if (h->shape.use != DPI_USE_REGION) error = dpi_fail(DPI_ERR_USE, "the buffer is not a region");
	else if (size > DPI_MEMORY_CHUNK) error = dpi_fail(DPI_ERR_CORRUPT, "a request for more bytes at once than a correct library asks for");
	else if (offset > h->region.length || size > h->region.length - offset)
		error = dpi_fail(DPI_ERR_RANGE, "%llu bytes at %llu lie outside the region of %llu bytes", (unsigned long long)size,
				 (unsigned long long)offset, (unsigned long long)h->region.length);
	else if (dpi_control_piles_up(ctx, in->from)) error = dpi_fail(DPI_ERR_AGAIN, "it does not read its answers");
	if (!error) return (uint8_t *)h->region.address + offset;
	answer(ctx, in, error, NULL);
	return NULL;
}

static void on_read(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), offset = dpi_unpack_u64(&in->body);
	uint32_t size = dpi_unpack_u32(&in->body);
	uint8_t *at = place(ctx, in, id, offset, size);
	if (!at) return;
	struct dpi_pack p = { 0 };
	void *room = dpi_pack_room(&p, size);
	if (room) dpi_words_copy(at, room, size, false);
	answer(ctx, in, DPI_SUCCESS, &p);
}

static void on_write(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), offset = dpi_unpack_u64(&in->body);
	uint32_t size;
	const void *bytes = dpi_unpack_bytes(&in->body, &size);
	uint8_t *at = place(ctx, in, id, offset, size);
	if (!at) return;
	dpi_words_copy(at, (uint8_t *)(uintptr_t)bytes, size, true);
	answer(ctx, in, DPI_SUCCESS, NULL);
}

static void on_atomic(struct dpi_context *ctx, struct dpi_request_in *in)
{
	bool swap = in->type == DPI_MEMORY_COMPARE_SWAP;
	uint64_t id = dpi_unpack_u64(&in->body), offset = dpi_unpack_u64(&in->body);
	uint64_t previous = swap ? dpi_unpack_u64(&in->body) : 0, operand = dpi_unpack_u64(&in->body);
	uint8_t *at = place(ctx, in, id, offset, 8);
	if (!at) return;
	if (offset % 8) {
		answer(ctx, in, dpi_fail(DPI_ERR_ARGUMENT, "offset %llu is not a multiple of 8", (unsigned long long)offset), NULL);
		return;
	}
	_Atomic uint64_t *word = (_Atomic uint64_t *)(void *)at;
	if (swap) atomic_compare_exchange_strong(word, &previous, operand);
	else previous = atomic_fetch_add(word, operand);
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, previous);
	answer(ctx, in, DPI_SUCCESS, &p);
}

int dpi_region_home_open(struct dpi_context *ctx)
{
	int error = dpi_handle_messages(ctx, DPI_MEMORY_READ, on_read);
	if (!error) error = dpi_handle_messages(ctx, DPI_MEMORY_WRITE, on_write);
	if (!error) error = dpi_handle_messages(ctx, DPI_MEMORY_FETCH_ADD, on_atomic);
	if (!error) error = dpi_handle_messages(ctx, DPI_MEMORY_COMPARE_SWAP, on_atomic);
	return error;
}
