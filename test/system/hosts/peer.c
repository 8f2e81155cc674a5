/* SPDX-License-Identifier: Apache-2.0
 * peer.c: what test/system/hosts.sh runs on its hosts. Node 0 holds a queue, a region and the target of a flow; node 1 uses them
 * until they fail, and says how. */
#include <dpi.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static DPI_Context ctx;

/* A line 'CALL CLASS SENTENCE'; the error. */
static int say(const char *call, int error)
{
	const char *name = "?", *detail = "";
	if (error) DPI_Get_Error_Detail(&detail);
	DPI_Get_Error_Name(error, &name);
	printf("%s %s %s\n", call, name, detail);
	return error;
}

static void need(const char *call, int error)
{
	if (error) exit(say(call, error));
}

static void say_peer(int node)
{
	DPI_Node_Info info = DPI_NODE_INFO_INIT;
	need("DPI_Get_Node_Info", DPI_Get_Node_Info(node, ctx, &info));
	printf("node %d alive %d host %s by %s: %s\n", node, info.alive, info.host, info.transport, info.reason);
}

static DPI_Flow open_flow(void)
{
	static const DPI_Column column = { .name = "n", .type = DPI_TYPE_INT64 };
	DPI_Flow_Attr attr = DPI_FLOW_ATTR_INIT;
	DPI_Flow flow;
	attr.create = DPI_CREATE_OR_OPEN;
	attr.sources = attr.targets = 1;
	attr.hint = DPI_HINT_LATENCY;
	attr.key = &column.name;
	attr.key_count = 1;
	need("DPI_Create_Schema", DPI_Create_Schema(&column, 1, &attr.schema));
	need("DPI_Create_Flow", DPI_Create_Flow("flow", &attr, ctx, &flow));
	return flow;
}

static _Atomic bool done;

static void *consume(void *queue)
{
	DPI_Record record;
	while (!done)
		if (!DPI_Next_Record(queue, &record)) need("DPI_Release_Records", DPI_Release_Records(1, queue));
	return NULL;
}

static void serve(DPI_Buffer queue)
{
	DPI_Target target;
	DPI_Tuple row;
	pthread_t consumer;
	int error;
	need("DPI_Open_Target", DPI_Open_Target(0, NULL, open_flow(), &target));
	need("DPI_Barrier", DPI_Barrier("start", 2, 0, ctx));
	if (pthread_create(&consumer, NULL, consume, queue)) exit(9);
	while (!(error = DPI_Next(target, &row))) continue;
	say("next", error);
	say_peer(1);
	done = true;
	pthread_join(consumer, NULL);
}

/* Stay until a file is there. */
static void stay(const char *path)
{
	puts("stays");
	while (path && access(path, F_OK)) usleep(20000);
}

static void use(DPI_Buffer queue, DPI_Buffer region)
{
	DPI_Source source;
	int64_t n = 0, word;
	int append, read, push;
	need("DPI_Open_Source", DPI_Open_Source(open_flow(), NULL, &source));
	need("DPI_Barrier", DPI_Barrier("start", 2, 0, ctx));
	do {
		append = DPI_Append(&n, sizeof n, queue);
		if (!append) append = DPI_Flush_Buffer(queue);
		if (append) break;
		push = DPI_Push(&n, sizeof n, source);
		if (!push) push = DPI_Flush_Source(source);
		if (push) break;
		read = DPI_Read(&word, sizeof word, 0, region);
		if (n++ == 3) say_peer(0), puts("running");
	} while (!read);
	do append = DPI_Append(&n, sizeof n, queue);
	while (!append && !(append = DPI_Flush_Buffer(queue)));
	say("append", append);
	do read = DPI_Read(&word, sizeof word, 0, region);
	while (!read);
	say("read", read);
	do push = DPI_Push(&n, sizeof n, source);
	while (!push && !(push = DPI_Flush_Source(source)));
	say("push", push);
	say_peer(0);
}

/* peer [FILE]: stays until FILE is there; with a second argument it does nothing else */
int main(int argc, char **argv)
{
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	DPI_Buffer queue, region;
	int node;
	setvbuf(stdout, NULL, _IOLBF, 0);
	need("DPI_Init", DPI_Init(&ctx));
	need("DPI_Get_Node_Id", DPI_Get_Node_Id(ctx, &node));
	if (argc > 2) {
		stay(argv[1]);
		return say("finalize", DPI_Finalize(ctx));
	}
	attr.create = DPI_CREATE_OR_OPEN;
	need("DPI_Create_Buffer", DPI_Create_Buffer("queue", 0, &attr, ctx, &queue));
	attr.use = DPI_USE_REGION;
	attr.capacity = 4096;
	need("DPI_Create_Buffer", DPI_Create_Buffer("region", 0, &attr, ctx, &region));
	need("DPI_Set_Timeout", DPI_Set_Timeout(node ? 120000000 : 100000, queue));
	if (node) use(queue, region);
	else serve(queue);
	if (argc > 1) stay(argv[1]);
	return say("finalize", DPI_Finalize(ctx));
}
