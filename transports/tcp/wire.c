/* SPDX-License-Identifier: Apache-2.0
 * wire.c: headers to bytes and back. Pure: no socket, no memory of others. */
#include "wire.h"

#define HELLO_MAGIC UINT64_C(0x48497044) /* "DpIH" */
#define ACK_MAGIC UINT64_C(0x41497044)	 /* "DpIA": unlike a hello, so that a socket connected to itself is noticed */

const struct wire_shape dpi_tcp_shape[256] = {
	[WIRE_PUT] = { 3, 1, WIRE_MAX_PUT },
	[WIRE_PUT_NOTIFY] = { 6, 1, WIRE_MAX_PUT },
	[WIRE_GET] = { 4, 1, WIRE_MAX_PUT },
	[WIRE_ADD] = { 5, 1, 0 },
	[WIRE_SWAP] = { 6, 1, 0 },
	[WIRE_FLUSH] = { 2, 0, 0 },
	[WIRE_GOT] = { 2, 1, WIRE_MAX_PUT },
	[WIRE_WORD] = { 3, 1, 0 },
	[WIRE_FLUSHED] = { 2, 0, 0 },
	[WIRE_SEND] = { 1, 0, WIRE_MAX_SEND },
	[WIRE_BYE] = { 1, 0, 0 },
	[WIRE_ERROR] = { 1, 0, WIRE_MAX_ERROR },
	[WIRE_KEEP] = { 1, 0, 0 },
};

void dpi_tcp_wire_hello(uint8_t bytes[WIRE_HELLO], const struct wire_hello *h)
{
	wire_store(bytes, HELLO_MAGIC | (uint64_t)h->version << 32 | (uint64_t)WIRE_HELLO << 48);
	memcpy(bytes + 8, h->token, WIRE_TOKEN);
	wire_store(bytes + 24, h->node | (uint64_t)h->serial << 32);
	wire_store(bytes + 32, h->incarnation);
	wire_store(bytes + 40, h->target_incarnation);
}

int dpi_tcp_wire_parse_hello(const uint8_t bytes[WIRE_HELLO], struct wire_hello *h)
{
	uint64_t first = wire_load(bytes), node = wire_load(bytes + 24);
	memset(h, 0, sizeof *h);
	if ((uint32_t)first != HELLO_MAGIC) return -1;
	h->version = (uint16_t)(first >> 32);
	if (h->version != WIRE_VERSION) return 0;
	if (first >> 48 != WIRE_HELLO || (uint32_t)node > INT32_MAX) return -1;
	memcpy(h->token, bytes + 8, WIRE_TOKEN);
	h->node = (uint32_t)node;
	h->serial = (uint32_t)(node >> 32);
	h->incarnation = wire_load(bytes + 32);
	h->target_incarnation = wire_load(bytes + 40);
	return 0;
}

void dpi_tcp_wire_ack(uint8_t bytes[WIRE_ACK], const struct wire_ack *a)
{
	wire_store(bytes, ACK_MAGIC | (uint64_t)a->version << 32 | (uint64_t)a->status << 48);
	wire_store(bytes + 8, a->node | (uint64_t)a->serial << 32);
	wire_store(bytes + 16, a->incarnation);
}

int dpi_tcp_wire_parse_ack(const uint8_t bytes[WIRE_ACK], struct wire_ack *a)
{
	uint64_t first = wire_load(bytes), node = wire_load(bytes + 8);
	if ((uint32_t)first != ACK_MAGIC || (uint32_t)node > INT32_MAX) return -1;
	a->version = (uint16_t)(first >> 32);
	a->status = (uint16_t)(first >> 48);
	a->node = (uint32_t)node;
	a->serial = (uint32_t)(node >> 32);
	a->incarnation = wire_load(bytes + 16);
	return 0;
}
