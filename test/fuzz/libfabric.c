/* SPDX-License-Identifier: Apache-2.0
 * libfabric.c: libFuzzer target: messages of a peer, and addresses, through the libfabric transport's parsers. The first byte says which;
 * without libfabric's headers there are messages only.
 *
 *	clang -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -I. test/fuzz/libfabric.c
 *	mkdir found && ./a.out found test/fuzz/corpus/libfabric */
#include "fuzz.h"

#include "../../transports/libfabric/wire.c"

#if __has_include(<rdma/fabric.h>)
#include "../../transports/libfabric/address.c"

static void address(const uint8_t *data, size_t size)
{
	struct fabric_address a;
	if (dpi_fabric_address_parse(data, size, &a)) return;
	size_t name = strlen(a.provider);
	need(name && name < sizeof a.provider && a.size && a.size <= sizeof a.bytes, "bounds");
	need(BLOB_HEAD + name + a.size == size, "sizes");
	need(!memcmp(data + BLOB_HEAD, a.provider, name) && !memcmp(data + BLOB_HEAD + name, a.bytes, a.size), "round trip");
}
#else
static void address(const uint8_t *data, size_t size)
{
	(void)data, (void)size;
}
#endif

/* As the receiver takes a message apart: one frame after the other. */
static void message(const uint8_t *data, size_t size)
{
	struct wire_frame f;
	uint8_t again[WIRE_WORDS * 8];
	for (int head; size; data += (size_t)head + f.length, size -= (size_t)head + f.length) {
		head = dpi_fabric_parse(data, size, &f);
		if (head < 0) return;
		need((size_t)head + f.length <= size && (size_t)head >= 16, "bounds");
		need(dpi_fabric_write(again, &f) == (size_t)head && !memcmp(again, data, (size_t)head), "round trip");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size) return 0;
	if (data[0] & 1) address(data + 1, size - 1);
	else message(data + 1, size - 1);
	return 0;
}
