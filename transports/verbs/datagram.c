/* SPDX-License-Identifier: Apache-2.0
 * datagram.c: datagrams to bytes and back. Pure: no device, no memory of others. */
#include "datagram.h"

#define MAGIC UINT64_C(0x4d497044) /* "DpIM" */
enum { VERSION = 1 };

void dpi_verbs_datagram(uint8_t bytes[DATAGRAM_HEAD], enum datagram_kind kind, uint64_t sequence, const uint64_t token[2])
{
	wire_store(bytes, MAGIC | (uint64_t)VERSION << 32 | (uint64_t)kind << 40);
	wire_store(bytes + 8, sequence);
	wire_store(bytes + 16, token[0]);
	wire_store(bytes + 24, token[1]);
}

int dpi_verbs_datagram_parse(const uint8_t *bytes, size_t size, struct datagram *d)
{
	memset(d, 0, sizeof *d);
	if (!bytes || size < DATAGRAM_HEAD || size > DATAGRAM_MOST) return -1;
	uint64_t first = wire_load(bytes), kind = first >> 40;
	if ((uint32_t)first != MAGIC || (uint8_t)(first >> 32) != VERSION) return -1;
	if (kind != DATAGRAM_DATA && kind != DATAGRAM_PROBE) return -1;
	if ((kind == DATAGRAM_DATA) != (size > DATAGRAM_HEAD)) return -1;
	d->kind = (enum datagram_kind)kind;
	d->sequence = wire_load(bytes + 8);
	d->token[0] = wire_load(bytes + 16);
	d->token[1] = wire_load(bytes + 24);
	d->payload = bytes + DATAGRAM_HEAD;
	d->size = (uint32_t)(size - DATAGRAM_HEAD);
	return 0;
}
