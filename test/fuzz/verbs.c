/* SPDX-License-Identifier: Apache-2.0
 * verbs.c: libFuzzer target: datagrams of anybody, and messages of a peer, through the verbs transport's parsers. The first byte says which.
 *
 *	clang -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -I. test/fuzz/verbs.c
 *	mkdir found && ./a.out found test/fuzz/corpus/verbs */
#include "fuzz.h"

#include "../../transports/verbs/datagram.c"
#include "../../transports/verbs/wire.c"

static void datagram(const uint8_t *data, size_t size)
{
	struct datagram d;
	uint8_t again[DATAGRAM_HEAD];
	if (dpi_verbs_datagram_parse(data, size, &d)) return;
	dpi_verbs_datagram(again, d.kind, d.sequence, d.token);
	need(!memcmp(again, data, DATAGRAM_HEAD), "round trip");
	need(d.payload == data + DATAGRAM_HEAD && d.size == size - DATAGRAM_HEAD && size <= DATAGRAM_MOST, "round trip");
	need((d.kind == DATAGRAM_DATA) == (d.size > 0), "round trip");
}

static void message(const uint8_t *data, size_t size)
{
	struct wire_message m;
	uint8_t again[WIRE_WORDS * 8];
	if (dpi_verbs_message_parse(data, size, &m)) return;
	size_t head = dpi_verbs_message_head(again, m.op, m.size, m.word);
	dpi_verbs_message_credits(again, m.credits, m.handled);
	if (m.tell) dpi_verbs_message_tell(again);
	need(head + m.size == size && m.payload == data + head && !memcmp(again, data, head), "round trip");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size) return 0;
	if (data[0] & 1) datagram(data + 1, size - 1);
	else message(data + 1, size - 1);
	return 0;
}
