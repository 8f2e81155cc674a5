/* SPDX-License-Identifier: Apache-2.0
 * ping_pong.c: two processes bounce a message and say how long it takes: what libibverbs' rc_pingpong does, over any transport.
 *
 *	dpirun -n 2 build/examples/ping_pong 4096 1000
 *
 * The arguments are the message's bytes and how often it goes there and back. */
#include <dpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHECK(call) check((call), #call)
static void check(int error, const char *call)
{
	const char *detail;

	if (error == DPI_SUCCESS)
		return;
	DPI_Get_Error_Detail(&detail);
	fprintf(stderr, "%s: %s\n", call, detail);
	exit(1);
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
	size_t size = argc > 1 ? strtoul(argv[1], NULL, 10) : 4096, times = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000;
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	DPI_Buffer ours, theirs; /* a queue in the memory of each process */
	DPI_Context ctx;
	int node;
	unsigned char *message = malloc(size);
	if (!size || !message) {
		fprintf(stderr, "usage: ping_pong [BYTES [TIMES]]\n");
		return 2;
	}

	CHECK(DPI_Init(&ctx));
	CHECK(DPI_Get_Node_Id(ctx, &node));
	attr.create = DPI_CREATE_OR_OPEN;
	attr.max_record = size;
	CHECK(DPI_Create_Buffer(node ? "pong" : "ping", DPI_NODE_SELF, &attr, ctx, &ours));
	CHECK(DPI_Create_Buffer(node ? "ping" : "pong", !node, &attr, ctx, &theirs));

	double start = now_us();
	for (size_t i = 0; i < 2 * times; i++) {
		DPI_Record record;

		memset(message, (int)i, size);
		if ((int)(i % 2) == node) {
			CHECK(DPI_Append(message, size, theirs));
			CHECK(DPI_Flush_Buffer(theirs));
			continue;
		}
		CHECK(DPI_Next_Record(ours, &record));
		if (record.size != size || memcmp(record.data, message, size)) {
			fprintf(stderr, "message %zu is not the one that was sent\n", i);
			return 1;
		}
	}
	double us = now_us() - start;
	if (!node)
		printf("%zu messages of %zu bytes each way: %.2f us one way, %.1f MB/s\n", times, size, us / (double)(2 * times),
		       (double)(2 * times * size) / us);
	CHECK(DPI_Barrier("end", 2, 0, ctx));
	CHECK(DPI_Finalize(ctx));
	free(message);
	return 0;
}
