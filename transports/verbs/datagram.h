/* SPDX-License-Identifier: Apache-2.0
 * datagram.h: datagrams of multicast. Everything is little endian, in words of 8 bytes: magic (32 bits), version (8), kind
 * (8); sequence number; token of the sender (2 words), which its targets have been told over their connections; then bytes. */
#ifndef DPI_VERBS_DATAGRAM_H
#define DPI_VERBS_DATAGRAM_H

#include "wire.h"

enum { DATAGRAM_HEAD = 32, DATAGRAM_MOST = 4096, DATAGRAM_LEAST = 256 }; /* the last two: of a device's MTU */
enum datagram_kind { DATAGRAM_DATA = 1, DATAGRAM_PROBE };

struct datagram {
	enum datagram_kind kind;
	uint64_t sequence, token[2];
	const uint8_t *payload;
	uint32_t size;
};
void dpi_verbs_datagram(uint8_t bytes[DATAGRAM_HEAD], enum datagram_kind kind, uint64_t sequence, const uint64_t token[2]);
/* From bytes of anybody. 0, or -1: not a datagram. */
int dpi_verbs_datagram_parse(const uint8_t *bytes, size_t size, struct datagram *d);

#endif
