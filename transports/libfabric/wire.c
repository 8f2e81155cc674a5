/* SPDX-License-Identifier: Apache-2.0
 * wire.c: headers to bytes and back. Pure: no endpoint, no memory of others. */
#include "wire.h"

const struct wire_shape dpi_fabric_shape[256] = {
	[WIRE_PUT] = { 4, 1, WIRE_PAYLOAD },
	[WIRE_PUT_NOTIFY] = { 7, 1, WIRE_PAYLOAD },
	[WIRE_GET] = { 6, 1, 0 },
	[WIRE_ADD] = { 6, 1, 0 },
	[WIRE_SWAP] = { 7, 1, 0 },
	[WIRE_FLUSH] = { 3, 0, 0 },
	[WIRE_GOT] = { 4, 1, WIRE_PAYLOAD },
	[WIRE_WORD] = { 4, 1, 0 },
	[WIRE_FLUSHED] = { 3, 0, 0 },
	[WIRE_SEND_OP] = { 2, 0, WIRE_SEND },
	[WIRE_CREDIT] = { 2, 0, 0 },
	[WIRE_USE] = { 4, 1, 0 },
	[WIRE_GRANT] = { 7, 1, 0 },
	[WIRE_REVOKE] = { 4, 1, 0 },
	[WIRE_REVOKED] = { 4, 1, 0 },
	[WIRE_BYE] = { 2, 0, 0 },
	[WIRE_ERROR] = { 2, 0, WIRE_TEXT },
	[WIRE_HELLO] = { 8, 0, WIRE_ADDRESS },
	[WIRE_WELCOME] = { 5, 1, WIRE_ADDRESS },
};

int dpi_fabric_parse(const uint8_t *bytes, size_t size, struct wire_frame *f)
{
	if (size < 16) return -1;
	uint64_t first = wire_load(bytes);
	f->length = (uint32_t)first & 0xffffff;
	f->op = (uint32_t)first >> 24;
	f->slot = (uint32_t)(first >> 32) & 0xffffff;
	f->credits = (uint32_t)(first >> 56);
	const struct wire_shape *s = &dpi_fabric_shape[f->op];
	if (!s->words || f->length > s->max || (f->slot && !s->slot)) return -1;
	if (size < s->words * 8u + f->length) return -1;
	for (unsigned i = 1; i < s->words; i++) f->word[i] = wire_load(bytes + i * 8);
	if (f->op == WIRE_PUT_NOTIFY && f->word[6] >> 32) return -1;
	return s->words * 8;
}

size_t dpi_fabric_write(uint8_t *bytes, const struct wire_frame *f)
{
	unsigned words = dpi_fabric_shape[f->op].words;
	wire_store(bytes, (uint64_t)f->length | (uint64_t)f->op << 24 | (uint64_t)f->slot << 32 | (uint64_t)f->credits << 56);
	for (unsigned i = 1; i < words; i++) wire_store(bytes + i * 8, f->word[i]);
	return words * 8u;
}
