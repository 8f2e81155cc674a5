/* SPDX-License-Identifier: Apache-2.0
 * fork.c: what a child of fork may do, and what its parent does not notice. */
#include <sys/wait.h>

#include "memory_kit.h"

/* The leak check of a sanitizer at a child's exit takes what the parent still uses for lost. */
#if defined(__SANITIZE_ADDRESS__)
#define CHILD_MUST_NOT_EXIT 1
#else
#define CHILD_MUST_NOT_EXIT 0
#endif

/* In the child a failed CHECK ends it with a status that the parent looks at. */
static void wait_for(pid_t child)
{
	int status = -1;
	CHECK_INT(waitpid(child, &status, 0), ==, child);
	CHECK_INT(status, ==, 0);
}

static void try_all(DPI_Context ctx, DPI_Buffer q, DPI_Buffer r, DPI_Request request, DPI_Memory memory)
{
	DPI_Context new_ctx = NULL;
	DPI_Buffer_Info info = DPI_BUFFER_INFO_INIT;
	DPI_Buffer_Stats stats = {.size = sizeof stats};
	DPI_Peer_Stats peer = {.size = sizeof peer};
	DPI_Node_Info node_info = DPI_NODE_INFO_INIT;
	DPI_Record record;
	DPI_Buffer buf;
	DPI_Memory m;
	DPI_Request started;
	char text[64];
	int node;
	size_t n;
	uint64_t word;
	void *room;
	CHECK_ERROR(DPI_Init(&new_ctx), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Finalize(ctx), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Get_Node_Id(ctx, &node), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Get_Node_Count(ctx, &node), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Get_Node_Info(0, ctx, &node_info), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Barrier("b", 1, 0, ctx), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Get_Setting("linger", ctx, text, sizeof text, NULL), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Get_Peer_Stats(0, ctx, &peer), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Create_Buffer("n", 0, NULL, ctx, &buf), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Open_Buffer("q", NULL, ctx, &buf), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Destroy_Buffer("q", ctx), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Register_Memory(text, sizeof text, ctx, &m), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Deregister_Memory(memory), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Append("child", 5, q), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Append_Nb("child", 5, q, &started), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Append_Batch(&(DPI_Record){"child", 5}, 1, q, &n), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Reserve_Append(5, q, &room), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Flush_Buffer(q), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Next_Record(q, &record), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Release_Records(0, q), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Get_Buffer_Info(q, &info), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Get_Buffer_Stats(q, &stats), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Set_Timeout(0, q), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Close_Buffer(q), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Read(text, 1, 0, r), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Write(text, 1, 0, r), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Fetch_Add(0, 1, r, &word), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Get_Address(r, &room), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Scatter(&(DPI_Part){q, text, 1, 0, 0}, 1), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Test(&request, &node), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Wait(&request, 0), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Cancel(request), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Get_Buffer_Descriptor(DPI_EVENT_ROOM, q, &node), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Arm_Buffer(DPI_EVENT_ROOM, q, &node), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Get_Request_Descriptor(request, &node), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Arm_Request(request, &node), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Get_Context_Descriptor(ctx, &node), DPI_ERR_FORK, "fork");
	CHECK_ERROR(DPI_Arm_Context(ctx), DPI_ERR_FORK, "fork");
}

static void try_what_works(void)
{
	const char *text;
	uint32_t v;
	CHECK(DPI_Get_Error_Name(DPI_ERR_SIZE, &text) == DPI_SUCCESS);
	CHECK_STR(text, "DPI_ERR_SIZE");
	CHECK(DPI_Get_Error_Text(DPI_ERR_SIZE, &text) == DPI_SUCCESS);
	CHECK(DPI_Get_Error_Detail(&text) == DPI_SUCCESS);
	CHECK(DPI_Get_Version(&v, &text) == DPI_SUCCESS);
}

TEST(fork_child, "E-47 E-48 R-10", 2)
{
	static char memory[4096];
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), r = MAKE("r", 0, ctx, DPI_USE_REGION, .capacity = 64);
	DPI_Memory m;
	DPI_Request request;
	int value = 1;
	CHECK_DPI(DPI_Register_Memory(memory, sizeof memory, ctx, &m));
	if (rank == 0) {
		CHECK_DPI(DPI_Append("before", 6, q));
		CHECK_DPI(DPI_Write("parent", 6, 0, r));
	}
	CHECK_DPI(DPI_Flush_Buffer_Nb(q, &request));
	for (int round = 0; round < 3; round++) {
		fflush(NULL);
		pid_t child = fork();
		CHECK(child >= 0);
		if (!child) {
			if (round == 0) try_all(ctx, q, r, request, m);
			try_what_works();
			memset(memory, 1, sizeof memory);
			/* by exit, so that whatever runs then runs, and by _exit */
			if (round == 1 && !CHILD_MUST_NOT_EXIT) exit(0);
			_exit(0);
		}
		/* the parent goes on, before, while and after the child lives */
		if (rank == 0) CHECK_DPI(DPI_Append(&round, sizeof round, q));
		wait_for(child);
		CHECK_INT(memory[0], ==, 0);
		if (rank == 0) {
			CHECK_DPI(DPI_Flush_Buffer(q));
		} else {
			if (round == 0) TAKE(q, "before", 6);
			TAKE(q, &round, sizeof round);
			char text[6];
			CHECK_DPI(DPI_Write(&value, sizeof value, 32, r));
			if (round == 2) CHECK_DPI(DPI_Read(text, 6, 0, r));
		}
	}
	CHECK_DPI(DPI_Wait(&request, 0));
	CHECK_DPI(DPI_Barrier("b", 2, 0, ctx));
	if (rank == 1) CHECK_EMPTY(q, DPI_NO_WAIT);
	leave(ctx);
}

/* While a thread of the parent waits in a call. */
static void *take_late(void *buf)
{
	TAKE(buf, "late", 4);
	return NULL;
}

TEST(fork_while_waiting, "E-48", 2)
{
	_Atomic int *forked = harness_shared();
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE);
	if (rank == 1) {
		pthread_t t = start_thread(take_late, q);
		await_asleep();
		pid_t child = fork();
		if (!child) _exit(0);
		wait_for(child);
		*forked = 1;
		end_thread(t);
	} else {
		AWAIT(*forked);
		CHECK_DPI(DPI_Append("late", 4, q));
		CHECK_DPI(DPI_Flush_Buffer(q));
	}
	leave(ctx);
}

/* What fork_exec starts: a cluster of its own. */
TEST(after_exec, "E-49", 0, .only_named = true)
{
	DPI_Context ctx = join();
	DPI_Buffer q = CREATE("q", DPI_NODE_SELF, ctx, DPI_USE_QUEUE);
	CHECK_DPI(DPI_Append("x", 1, q));
	TAKE(q, "x", 1);
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(fork_exec, "E-49 E-48", 0)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	CHECK(n > 0);
	self[n] = 0;
	DPI_Context ctx = join();
	DPI_Buffer q = CREATE("q", DPI_NODE_SELF, ctx, DPI_USE_QUEUE);
	pid_t child = fork();
	if (!child) {
		execl(self, self, "after_exec", (char *)NULL);
		_exit(1);
	}
	wait_for(child);
	CHECK_DPI(DPI_Append("x", 1, q));
	TAKE(q, "x", 1);
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(schemas_do_not_keep_a_child_from_starting, "S-25", 0)
{
	static const DPI_Column column = {"c", DPI_TYPE_INT64, 0, 0, 0, 0};
	DPI_Schema_Info info = DPI_SCHEMA_INFO_INIT;
	DPI_Schema s, own;
	CHECK_DPI(DPI_Create_Schema(&column, 1, &s));
	for (int first = 0; first < 2; first++) { /* what the child does first */
		pid_t child = fork();
		CHECK(child >= 0);
		if (!child) {
			DPI_Context ctx;
			int error = DPI_Get_Schema_Info(s, &info);
			CHECK(error == DPI_ERR_FORK || error == DPI_ERR_HANDLE);
			if (first) CHECK_DPI(DPI_Create_Schema(&column, 1, &own));
			CHECK_DPI(DPI_Init(&ctx));
			if (!first) CHECK_DPI(DPI_Create_Schema(&column, 1, &own));
			error = DPI_Get_Schema_Info(s, &info);
			CHECK(error == DPI_ERR_FORK || error == DPI_ERR_HANDLE);
			CHECK_DPI(DPI_Get_Schema_Info(own, &info));
			CHECK_DPI(DPI_Free_Schema(own));
			CHECK_DPI(DPI_Finalize(ctx));
			_exit(0);
		}
		wait_for(child);
	}
	CHECK_DPI(DPI_Get_Schema_Info(s, &info));
	CHECK_DPI(DPI_Free_Schema(s));
}
