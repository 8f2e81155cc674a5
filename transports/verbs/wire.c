/* SPDX-License-Identifier: Apache-2.0
 * wire.c: messages and introductions to bytes and back. Pure: no device, no memory of others. */
#include "wire.h"

#define HELLO_MAGIC UINT64_C(0x56497044) /* "DpIV" */
#define ACK_MAGIC UINT64_C(0x76497044)	 /* "DpIv" */

const struct wire_shape dpi_verbs_shape[WIRE_OP_COUNT] = {
#define WIRE_OP(name, words, payload) [WIRE_##name] = { words, payload },
	WIRE_OPS(WIRE_OP)
#undef WIRE_OP
};

int dpi_verbs_message_parse(const uint8_t *bytes, size_t size, struct wire_message *m)
{
	memset(m, 0, sizeof *m);
	if (size < 8) return -1;
	uint64_t first = wire_load(bytes);
	unsigned op = (uint8_t)first;
	if (op <= WIRE_NONE || op >= WIRE_OP_COUNT || first >> 57) return -1;
	const struct wire_shape *s = &dpi_verbs_shape[op];
	m->op = (enum wire_op)op;
	m->credits = (uint16_t)(first >> 8);
	m->size = (uint16_t)(first >> 24);
	m->handled = (uint16_t)(first >> 40);
	m->tell = (uint8_t)(first >> 56);
	if (size != 8 * (1 + (size_t)s->words) + m->size || (m->size && !s->payload)) return -1;
	for (int i = 0; i < s->words; i++) m->word[i] = wire_load(bytes + 8 + 8 * i);
	m->payload = bytes + 8 * (1 + s->words);
	return 0;
}

size_t dpi_verbs_message_head(uint8_t *bytes, enum wire_op op, uint32_t size, const uint64_t *words)
{
	int n = dpi_verbs_shape[op].words;
	wire_store(bytes, (uint64_t)op | (uint64_t)size << 24);
	for (int i = 0; i < n; i++) wire_store(bytes + 8 + 8 * i, words[i]);
	return 8 * (1 + (size_t)n);
}

void dpi_verbs_message_credits(uint8_t *bytes, uint32_t credits, uint32_t handled)
{
	wire_store(bytes, wire_load(bytes) | (uint64_t)credits << 8 | (uint64_t)(uint16_t)handled << 40);
}

void dpi_verbs_message_tell(uint8_t *bytes)
{
	bytes[7] = 1;
}

void dpi_verbs_hello(uint8_t bytes[WIRE_HELLO], const struct wire_hello *h)
{
	wire_store(bytes, HELLO_MAGIC | (uint64_t)h->version << 32 | (uint64_t)h->lane << 48);
	wire_store(bytes + 8, h->node | (uint64_t)(uint8_t)h->credits << 32 | (uint64_t)h->serial << 40);
	wire_store(bytes + 16, h->incarnation);
	wire_store(bytes + 24, h->target_incarnation);
	memcpy(bytes + 32, h->token, WIRE_TOKEN);
}

/* The connection manager may hand over more bytes than were given to it, zeroed. */
int dpi_verbs_hello_parse(const uint8_t *bytes, size_t size, struct wire_hello *h)
{
	memset(h, 0, sizeof *h);
	if (!bytes || size < WIRE_HELLO) return -1;
	uint64_t first = wire_load(bytes), second = wire_load(bytes + 8);
	if ((uint32_t)first != HELLO_MAGIC) return -1;
	h->version = (uint16_t)(first >> 32);
	h->lane = (uint32_t)(first >> 48);
	h->node = (uint32_t)second;
	h->credits = (uint8_t)(second >> 32);
	h->serial = (uint32_t)(second >> 40);
	h->incarnation = wire_load(bytes + 16);
	h->target_incarnation = wire_load(bytes + 24);
	memcpy(h->token, bytes + 32, WIRE_TOKEN);
	return h->node > INT32_MAX ? -1 : 0;
}

void dpi_verbs_ack(uint8_t bytes[WIRE_ACK], const struct wire_ack *a)
{
	wire_store(bytes, ACK_MAGIC | (uint64_t)a->version << 32 | (uint64_t)a->status << 48);
	wire_store(bytes + 8, a->node | (uint64_t)(uint8_t)a->credits << 32 | (uint64_t)a->serial << 40);
	wire_store(bytes + 16, a->incarnation);
}

int dpi_verbs_ack_parse(const uint8_t *bytes, size_t size, struct wire_ack *a)
{
	memset(a, 0, sizeof *a);
	if (!bytes || size < WIRE_ACK) return -1;
	uint64_t first = wire_load(bytes), second = wire_load(bytes + 8);
	if ((uint32_t)first != ACK_MAGIC) return -1;
	a->version = (uint16_t)(first >> 32);
	a->status = (uint32_t)(first >> 48);
	a->node = (uint32_t)second;
	a->credits = (uint8_t)(second >> 32);
	a->serial = (uint32_t)(second >> 40);
	a->incarnation = wire_load(bytes + 16);
	return a->node > INT32_MAX ? -1 : 0;
}
