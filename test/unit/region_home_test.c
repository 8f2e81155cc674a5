/* SPDX-License-Identifier: Apache-2.0
 * region_home_test.c: src/memory/region_home.c: what a region's home does with requests that no correct library sends. */
#include "unit.h"

#include "buffer.h"

#define SIZE 5000u

static struct dpi_context *context;
static uint8_t *memory, model[SIZE];
static uint64_t id;
static DPI_Reference piece; /* of the whole region */

static int ask(uint16_t type, struct dpi_pack *p, struct dpi_reply *reply)
{
	return dpi_call(context, context->node, type, p, patience(), reply);
}

static uint64_t any_number(struct draws *d)
{
	static const uint64_t edges[] = { 0, 1, 7, 8, SIZE - 8, SIZE - 1, SIZE, SIZE + 1, DPI_MEMORY_CHUNK, DPI_MEMORY_CHUNK + 1, UINT32_MAX, INT64_MAX,
					  UINT64_MAX, UINT64_MAX - 7 };
	return draw_below(d, 3) ? draw_below(d, SIZE + 20) : edges[draw_below(d, sizeof edges / sizeof *edges)];
}

static bool inside(uint64_t offset, uint64_t size)
{
	return offset <= SIZE && size <= SIZE - offset;
}

static void one(struct draws *d, bool whole)
{
	uint16_t type = (uint16_t)(DPI_MEMORY_READ + draw_below(d, 4));
	uint64_t offset = any_number(d), operand = draw(d), word = 0, expected = draw(d);
	uint32_t size = (uint32_t)any_number(d);
	static uint8_t bytes[DPI_MEMORY_CHUNK + 1];
	struct dpi_pack p = { 0 };
	struct dpi_reply reply;
	bool atomic = type == DPI_MEMORY_FETCH_ADD || type == DPI_MEMORY_COMPARE_SWAP;
	if (atomic) size = 8;
	if (type == DPI_MEMORY_WRITE && size > sizeof bytes) size = sizeof bytes;
	bool good = whole && inside(offset, size) && size <= DPI_MEMORY_CHUNK && !(atomic && offset % 8);
	if (good && atomic) memcpy(&word, model + offset, 8);
	if (draw_below(d, 2)) expected = word;
	DPI_Reference reference = draw_below(d, 2) ? piece : (DPI_Reference){ .offset = draw(d), .length = draw(d) };
	if (reference.generation && !draw_below(d, 8)) {
		uint64_t *field[] = { &reference.offset, &reference.length, &reference.generation };
		*field[draw_below(d, 3)] ^= (uint64_t)1 << draw_below(d, 64);
		good = false;
	}
	dpi_pack_u64(&p, id);
	dpi_reference_pack(&p, &reference);
	dpi_pack_u64(&p, offset);
	if (type == DPI_MEMORY_READ) dpi_pack_u32(&p, size);
	if (type == DPI_MEMORY_WRITE) {
		fill(bytes, size, operand);
		dpi_pack_bytes(&p, bytes, size);
	}
	if (type == DPI_MEMORY_COMPARE_SWAP) dpi_pack_u64(&p, expected);
	if (atomic) dpi_pack_u64(&p, operand);
	if (!whole) p.size = draw_below(d, p.size);
	int error = ask(type, &p, &reply);
	if (!good) {
		CHECK(error == DPI_ERR_RANGE || error == DPI_ERR_CORRUPT || error == DPI_ERR_DESTROYED || error == DPI_ERR_RECLAIMED ||
		      error == DPI_ERR_ARGUMENT);
		return;
	}
	CHECK_INT(error, ==, DPI_SUCCESS);
	if (type == DPI_MEMORY_READ) {
		uint32_t n;
		const void *got = dpi_unpack_bytes(&reply.body, &n);
		CHECK(n == size && !memcmp(got, model + offset, size));
	} else if (type == DPI_MEMORY_WRITE) {
		memcpy(model + offset, bytes, size);
	} else {
		CHECK(dpi_unpack_u64(&reply.body) == word);
		if (type == DPI_MEMORY_FETCH_ADD) operand += word;
		else if (word != expected) operand = word;
		memcpy(model + offset, &operand, 8);
	}
	dpi_reply_free(&reply);
	CHECK(!memcmp(memory, model, SIZE));
}

TEST(region_home_requests, "", 0)
{
	struct draws d = draws_from(0);
	DPI_Context ctx;
	DPI_Buffer r, q;
	int error;
	memory = guarded(SIZE);
	DPI_Buffer_Attr attr = { .size = sizeof attr, .use = DPI_USE_REGION, .capacity = SIZE, .memory = memory };
	CHECK_DPI(DPI_Init(&ctx));
	context = dpi_context_get(ctx, &error);
	CHECK_DPI(DPI_Create_Buffer("r", DPI_NODE_SELF, &attr, ctx, &r));
	CHECK_DPI(DPI_Create_Buffer("q", DPI_NODE_SELF, NULL, ctx, &q));
	id = dpi_buffer_get(r)->id;
	CHECK_DPI(DPI_Allocate_Piece(SIZE, r, &piece));
	for (int i = 0; i < rounds(4000); i++) one(&d, draw_below(&d, 4));
	CHECK(!memcmp(memory, model, SIZE));
	for (uint16_t type = DPI_MEMORY_READ; type <= DPI_MEMORY_FREE; type++) { /* of a queue, and of nothing */
		for (int i = 0; i < 2; i++) {
			struct dpi_pack p = { 0 };
			dpi_pack_u64(&p, i ? dpi_buffer_get(q)->id : UINT64_MAX);
			for (int k = 0; k < 6; k++) dpi_pack_u64(&p, 0);
			CHECK_INT(ask(type, &p, NULL), ==, i ? DPI_ERR_USE : DPI_ERR_DESTROYED);
		}
	}
	CHECK_DPI(DPI_Finalize(ctx));
	guarded_free(memory, SIZE);
}
