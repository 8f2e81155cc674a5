/* SPDX-License-Identifier: Apache-2.0
 * region_home.c: what a region's home does for nodes that ask it by control calls. All of it runs on the loop thread; its
 * accesses are this processor's, as those of handles here, so its atomics are one step with theirs. */
#include <stdatomic.h>

#include "error.h"
#include "home.h"
#include "dpi_words.h"
#include "layer.h"

void dpi_reference_pack(struct dpi_pack *p, const DPI_Reference *r)
{
	dpi_pack_u64(p, r->offset);
	dpi_pack_u64(p, r->length);
	dpi_pack_u64(p, r->generation);
}

void dpi_reference_unpack(struct dpi_unpack *u, DPI_Reference *r)
{
	r->offset = dpi_unpack_u64(u);
	r->length = dpi_unpack_u64(u);
	r->generation = dpi_unpack_u64(u);
}

static void answer(struct dpi_context *ctx, struct dpi_request_in *in, int error, struct dpi_pack *p)
{
	dpi_answer(ctx, in->from, in->id, error, p);
}

/* The region a request is about, its body unpacked; NULL: answered already. */
static struct dpi_home *region(struct dpi_context *ctx, struct dpi_request_in *in, uint64_t id)
{
	struct dpi_home *h = dpi_home_target(ctx, in, id);
	if (!h || h->shape.use == DPI_USE_REGION) return h;
	answer(ctx, in, dpi_fail(DPI_ERR_USE, "the buffer is not a region"), NULL);
	return NULL;
}

/* What the requests for bytes have in common. */
struct where {
	uint64_t id, offset;
	DPI_Reference reference;
};

static struct where where(struct dpi_unpack *u)
{
	struct where w = { .id = dpi_unpack_u64(u) };
	dpi_reference_unpack(u, &w.reference);
	w.offset = dpi_unpack_u64(u);
	return w;
}

/* Where the bytes lie; NULL: answered already. That a piece lives is known until the handler returns. */
static uint8_t *place(struct dpi_context *ctx, struct dpi_request_in *in, const struct where *w, uint64_t size)
{
	struct dpi_home *h = region(ctx, in, w->id);
	int error = DPI_SUCCESS;
	if (!h) return NULL;
	bool piece = w->reference.generation;
	if (piece) error = dpi_pieces_check(h->pieces, &w->reference);
	uint64_t base = piece ? w->reference.offset : 0, length = piece ? w->reference.length : h->region.length;
	if (!error && size > DPI_MEMORY_CHUNK)
		error = dpi_fail(DPI_ERR_CORRUPT, "a request for more bytes at once than a correct library asks for");
	if (!error && (w->offset > length || size > length - w->offset))
		error = dpi_fail(DPI_ERR_RANGE, "%llu bytes at %llu lie outside the %s of %llu bytes", (unsigned long long)size,
				 (unsigned long long)w->offset, piece ? "piece" : "region", (unsigned long long)length);
	if (!error && dpi_control_piles_up(ctx, in->from)) error = dpi_fail(DPI_ERR_AGAIN, "it does not read its answers");
	if (!error) return (uint8_t *)h->region.address + base + w->offset;
	answer(ctx, in, error, NULL);
	return NULL;
}

static void on_read(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct where w = where(&in->body);
	uint32_t size = dpi_unpack_u32(&in->body);
	uint8_t *at = place(ctx, in, &w, size);
	if (!at) return;
	struct dpi_pack p = { 0 };
	void *room = dpi_pack_room(&p, size);
	if (room) dpi_words_load(room, at, size);
	answer(ctx, in, DPI_SUCCESS, &p);
}

static void on_write(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct where w = where(&in->body);
	uint32_t size;
	const void *bytes = dpi_unpack_bytes(&in->body, &size);
	uint8_t *at = place(ctx, in, &w, size);
	if (!at) return;
	dpi_words_store(at, bytes, size);
	answer(ctx, in, DPI_SUCCESS, NULL);
}

static void on_atomic(struct dpi_context *ctx, struct dpi_request_in *in)
{
	bool swap = in->type == DPI_MEMORY_COMPARE_SWAP;
	struct where w = where(&in->body);
	uint64_t previous = swap ? dpi_unpack_u64(&in->body) : 0, operand = dpi_unpack_u64(&in->body);
	uint8_t *at = place(ctx, in, &w, 8);
	if (!at) return;
	if (w.offset % 8) {
		answer(ctx, in, dpi_fail(DPI_ERR_ARGUMENT, "offset %llu is not a multiple of 8: atomics are on aligned words", (unsigned long long)w.offset), NULL);
		return;
	}
	_Atomic uint64_t *word = (_Atomic uint64_t *)(void *)at;
	if (swap) atomic_compare_exchange_strong(word, &previous, operand);
	else previous = atomic_fetch_add(word, operand);
	struct dpi_pack p = { 0 };
	dpi_pack_u64(&p, previous);
	answer(ctx, in, DPI_SUCCESS, &p);
}

static void on_allocate(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body), size = dpi_unpack_u64(&in->body);
	struct dpi_home *h = region(ctx, in, id);
	DPI_Reference reference;
	struct dpi_pack p = { 0 };
	if (!h) return;
	if (!h->pieces) h->pieces = dpi_pieces_new(h->region.length, &ctx->memory->piece);
	int error = h->pieces ? dpi_pieces_allocate(h->pieces, size, &reference)
			      : dpi_fail(DPI_ERR_MEMORY, "no memory for the table of the region's pieces");
	if (!error) dpi_reference_pack(&p, &reference);
	answer(ctx, in, error, &p);
}

static void on_free(struct dpi_context *ctx, struct dpi_request_in *in)
{
	DPI_Reference reference;
	uint64_t id = dpi_unpack_u64(&in->body);
	dpi_reference_unpack(&in->body, &reference);
	struct dpi_home *h = region(ctx, in, id);
	if (h) answer(ctx, in, dpi_pieces_release(h->pieces, &reference), NULL);
}

int dpi_region_home_open(struct dpi_context *ctx)
{
	int error = dpi_handle_messages(ctx, DPI_MEMORY_READ, on_read);
	if (!error) error = dpi_handle_messages(ctx, DPI_MEMORY_ALLOCATE, on_allocate);
	if (!error) error = dpi_handle_messages(ctx, DPI_MEMORY_FREE, on_free);
	if (!error) error = dpi_handle_messages(ctx, DPI_MEMORY_WRITE, on_write);
	if (!error) error = dpi_handle_messages(ctx, DPI_MEMORY_FETCH_ADD, on_atomic);
	if (!error) error = dpi_handle_messages(ctx, DPI_MEMORY_COMPARE_SWAP, on_atomic);
	return error;
}
