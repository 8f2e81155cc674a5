/* SPDX-License-Identifier: Apache-2.0
 * hello.c: every process appends a greeting to a queue in the memory of process 0, which prints them.
 *
 * Compile with  cc -o hello hello.c $(pkg-config --cflags --libs dpi)  and start four of them with
 *	dpirun -n 4 build/examples/hello
 */
#include <dpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Every call returns DPI_SUCCESS or an error class; the detail is a sentence: what happened and what to do. */
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

int main(void)
{
	DPI_Context ctx;
	DPI_Buffer greetings;
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	char text[100];
	int node, nodes;

	CHECK(DPI_Init(&ctx));
	CHECK(DPI_Get_Node_Id(ctx, &node));
	CHECK(DPI_Get_Node_Count(ctx, &nodes));

	/* Whoever comes first creates the queue, in the memory of node 0; the others open it. */
	attr.create = DPI_CREATE_OR_OPEN;
	CHECK(DPI_Create_Buffer("greetings", 0, &attr, ctx, &greetings));

	int length = snprintf(text, sizeof text, "Hello from node %d of %d, process %d", node, nodes, (int)getpid());
	CHECK(DPI_Append(text, (size_t)length, greetings));
	CHECK(DPI_Flush_Buffer(greetings)); /* now it is in node 0's memory */

	for (int i = 0; node == 0 && i < nodes; i++) {
		DPI_Record record;
		CHECK(DPI_Next_Record(greetings, &record)); /* lends the record where it lies */
		printf("%.*s\n", (int)record.size, (const char *)record.data);
	}

	/* Node 0 must not leave while others still flush to it. */
	CHECK(DPI_Barrier("end", (uint32_t)nodes, 0, ctx));
	CHECK(DPI_Finalize(ctx));
	return 0;
}
