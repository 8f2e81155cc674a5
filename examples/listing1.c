/* SPDX-License-Identifier: Apache-2.0
 * listing1.c: Listing 1 of the DPI paper (Alonso et al., "DPI: The Data Processing Interface for Modern Networks",
 * CIDR 2019), statement for statement. The numbers are the listing's lines; what differs is said beside them.
 *
 *	dpirun -n 2 build/examples/listing1
 */
#include "check.h"

static void receive(const char *buffer_name, DPI_Context context);

int main(void)
{
	int node, nodes;

	/*  1 */ const char *buffer_name = "buffer";	/* C has no 'string' */
	/*  2 */ char data1[] = "Hello ";
	/*  3 */ char data2[] = "World!";
	/*  4 */ int rcv_node_id = 0;			/* dpirun or a cluster file says which process that is */
	/*  5 */ DPI_Context context;
	/*  6 */ CHECK(DPI_Init(&context));		/* by address: it is an output; all calls are checked */

	/* The listing is the source's program. The receiver runs it up to here: it joins the cluster too. */
	CHECK(DPI_Get_Node_Id(context, &node));
	CHECK(DPI_Get_Node_Count(context, &nodes));

	if (node == nodes - 1) {
		DPI_Buffer buffer;

		/* The listing repeats the name in every call. Here it is looked up once, and a handle stands for it
		 * from then on: an append costs no look-up, and each handle is an appender of its own. The handle
		 * knows its context. NULL: a queue with default attributes. */
		/*  7 */ CHECK(DPI_Create_Buffer(buffer_name, rcv_node_id, NULL, context, &buffer));
		/*  8 */ CHECK(DPI_Append((void *)data1, sizeof(data1), buffer));
		/*  9 */ CHECK(DPI_Flush_Buffer(buffer));
		/* 10 */ CHECK(DPI_Append((void *)data2, sizeof(data2), buffer));
		/* 11 */ CHECK(DPI_Flush_Buffer(buffer));
	}

	/* What follows is not in the listing. */
	if (node == rcv_node_id)
		receive(buffer_name, context);
	CHECK(DPI_Barrier("end", (uint32_t)nodes, 0, context));
	CHECK(DPI_Finalize(context));
	return 0;
}

/* The other side: consume what was appended, where it lies in this process's memory. */
static void receive(const char *buffer_name, DPI_Context context)
{
	DPI_Buffer buffer;
	DPI_Record record;

	CHECK(DPI_Open_Buffer(buffer_name, NULL, context, &buffer)); /* waits until it has been created */
	printf("received:");
	for (int i = 0; i < 2; i++) {
		CHECK(DPI_Next_Record(buffer, &record));
		printf(" '%s' (%zu bytes)", (const char *)record.data, record.size); /* sizeof counted the ending zero */
	}
	printf("\n");
	CHECK(DPI_Close_Buffer(buffer));
}
