/* SPDX-License-Identifier: Apache-2.0
 * nodes.c: who is in the cluster, how it is reached, what becomes of those who leave. */
#include <signal.h>

#include "memory_kit.h"

static int node_id(DPI_Context ctx)
{
	int node = -1;
	CHECK_DPI(DPI_Get_Node_Id(ctx, &node));
	return node;
}

static int node_count(DPI_Context ctx)
{
	int count = -1;
	CHECK_DPI(DPI_Get_Node_Count(ctx, &count));
	return count;
}

static DPI_Node_Info node_info(int node, DPI_Context ctx)
{
	DPI_Node_Info info = DPI_NODE_INFO_INIT;
	CHECK_DPI(DPI_Get_Node_Info(node, ctx, &info));
	return info;
}

TEST(node_numbers, "E-12 E-14", 4, .once = true)
{
	_Atomic int *taken = harness_shared();
	DPI_Context ctx = join();
	int node = node_id(ctx);
	CHECK_INT(node_count(ctx), ==, ranks);
	CHECK(node >= 0 && node < ranks);
	CHECK_INT(taken[node]++, ==, 0);
	_Atomic int64_t *pids = (_Atomic int64_t *)(taken + 64);
	pids[node] = getpid();
	harness_barrier();
	for (int n = 0; n < ranks; n++) {
		DPI_Node_Info info = node_info(n, ctx);
		CHECK_INT(info.node, ==, n);
		CHECK_INT(info.alive, ==, 1);
		CHECK_INT(info.pid, ==, pids[n]);
	}
	CHECK_INT(node_info(DPI_NODE_SELF, ctx).node, ==, node);
	CHECK_INT(node_info(DPI_NODE_SELF, ctx).pid, ==, getpid());
	CHECK_INT(node_info(DPI_NODE_SELF, ctx).alive, ==, 1);
	leave(ctx);
}

/* No size was declared; rank 0 is first, the others ask for no number. */
TEST(nodes_join, "E-13 E-28", 4, .nodes = -1)
{
	_Atomic int *taken = harness_shared();
	DPI_Context ctx = NULL;
	if (rank) unsetenv("DPI_NODE");
	for (int r = 0; r < ranks; r++) {
		if (rank == r) {
			ctx = join();
			int node = node_id(ctx);
			CHECK(node >= 0 && node < HARNESS_RANKS);
			CHECK_INT(taken[node]++, ==, 0);
		}
		harness_barrier();
		if (rank <= r) UNTIL(SECOND, node_count(ctx) == r + 1, (void)0);
		harness_barrier();
	}
	/* one leaves and joins again: nobody who lives has its number */
	if (rank == 2) {
		taken[node_id(ctx)]--;
		CHECK_DPI(DPI_Finalize(ctx));
	}
	harness_barrier();
	if (rank == 2) {
		ctx = join();
		CHECK_INT(taken[node_id(ctx)]++, ==, 0);
		DPI_Buffer q = CREATE("q", DPI_NODE_SELF, ctx, DPI_USE_QUEUE);
		TAKE(q, "found", 5);
		TAKE(q, "found", 5);
	}
	if (rank < 2) { /* by node 0, too, whom its introduction reached before it had a number */
		DPI_Buffer q = open_buffer("q", ctx);
		CHECK_DPI(DPI_Append("found", 5, q));
		CHECK_DPI(DPI_Close_Buffer(q));
	}
	harness_barrier();
	UNTIL(SECOND, node_count(ctx) == ranks, (void)0);
	leave(ctx);
}

TEST(no_such_node, "E-15 A-9 A-100 R-9", 2)
{
	static const int numbers[] = {2, 3, 1000, 70000, INT32_MAX, -2, INT32_MIN};
	DPI_Context ctx = join();
	DPI_Buffer q;
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		DPI_Node_Info info = DPI_NODE_INFO_INIT;
		DPI_Peer_Stats stats = {.size = sizeof stats};
		char number[16];
		int64_t start = now();
		snprintf(number, sizeof number, "%d", numbers[i]);
		CHECK_ERROR(DPI_Get_Node_Info(numbers[i], ctx, &info), DPI_ERR_NODE, number);
		CHECK_ERROR(DPI_Get_Peer_Stats(numbers[i], ctx, &stats), DPI_ERR_NODE, number);
		CHECK_ERROR(DPI_Create_Buffer("q", numbers[i], NULL, ctx, &q), DPI_ERR_NODE, number);
		CHECK_AT_ONCE(start);
	}
	/* the name stayed free */
	if (rank == 0) CREATE("q", 1, ctx, DPI_USE_QUEUE);
	leave(ctx);
}

TEST(nodes_die, "E-9 E-16 P-7 R-9", 4)
{
	static const char *const names[] = {"", "left", "killed", ""};
	_Atomic int *gone = harness_shared();
	DPI_Context ctx = join();
	if (rank == 1 || rank == 2) CREATE(names[rank], DPI_NODE_SELF, ctx, DPI_USE_QUEUE);
	if (rank == 2) harness_expect_death(2);
	DPI_Buffer q[3] = {NULL, open_buffer("left", ctx), open_buffer("killed", ctx)};
	harness_barrier();
	for (int n = 0; n < ranks; n++) CHECK_INT(node_info(n, ctx).alive, ==, 1);
	if (rank % 3 == 0)
		for (int i = 1; i < 3; i++) {
			CHECK_DPI(DPI_Append("x", 1, q[i]));
			CHECK_DPI(DPI_Flush_Buffer(q[i]));
		}
	harness_barrier();
	if (rank == 1) {
		CHECK_DPI(DPI_Finalize(ctx));
		++*gone;
		return;
	}
	if (rank == 2) {
		++*gone;
		harness_kill(2, SIGKILL);
	}
	AWAIT(*gone >= 2 && !harness_alive(2));
	int64_t start = now();
	for (int n = 1; n < 3; n++) {
		DPI_Buffer again;
		char number[8];
		snprintf(number, sizeof number, "%d", n);
		UNTIL(SECOND, !node_info(n, ctx).alive, (void)0);
		/* an append into memory that is there may still be accepted; a flush is not */
		CHECK_INT(DPI_Append("x", 1, q[n]) % DPI_ERR_PEER, ==, 0);
		CHECK_ERROR(DPI_Flush_Buffer(q[n]), DPI_ERR_PEER, number);
		if (rank == 0) {
			UNTIL(SECOND, e != DPI_ERR_EXISTS, int e = DPI_Create_Buffer(names[n], 3, NULL, ctx, &again));
			CHECK_INT(info_of(again).home, ==, 3);
		}
	}
	CHECK_WITHIN(start, 2 * SECOND);
	UNTIL(5 * SECOND, *gone == 3 || rank == 0, (void)0);
	if (rank == 0) ++*gone;
	/* the whole cluster of those who live still works */
	CHECK_DPI(DPI_Barrier("alive", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(how_reached, "E-17 A-31", 2)
{
	DPI_Context ctx = join();
	const char *list = getenv("DPI_TRANSPORT");
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 64);
	if (rank == 0) {
		CHECK_DPI(DPI_Append("x", 1, q));
		CHECK_DPI(DPI_Flush_Buffer(q));
		CHECK_DPI(DPI_Write("x", 1, 0, r));
		CHECK_DPI(DPI_Flush_Buffer(r));
		DPI_Node_Info info = node_info(1, ctx);
		CHECK(*info.transport);
		CHECK_HAS(list, info.transport);
		CHECK_HAS(info.reason, info.transport);
		/* each of the list stands in the reasons */
		char copy[256], *save = NULL;
		snprintf(copy, sizeof copy, "%s", list);
		for (char *s = strtok_r(copy, ",", &save); s; s = strtok_r(NULL, ",", &save)) CHECK_HAS(info.reason, s);
		CHECK_STR(info_of(q).transport, info.transport);
		CHECK_STR(info_of(r).transport, info.transport);
	} else {
		TAKE(q, "x", 1);
		CHECK_STR(info_of(q).transport, "local");
		CHECK_STR(info_of(r).transport, "local");
	}
	CHECK_INT(info_of(q).home, ==, 1);
	CHECK_STR(info_of(q).name, "q");
	CHECK_INT(info_of(q).use, ==, DPI_USE_QUEUE);
	CHECK_INT(info_of(r).use, ==, DPI_USE_REGION);
	leave(ctx);
}

TEST(forced_transport, "E-18", 2, .once = true)
{
	setenv("DPI_TRANSPORT", rank ? "tcp" : "shm", 1);
	DPI_Context ctx = join();
	DPI_Buffer own = CREATE(rank ? "q1" : "q0", DPI_NODE_SELF, ctx, DPI_USE_QUEUE), q = NULL, r = NULL;
	DPI_Buffer_Attr attr = {.size = sizeof attr, .use = DPI_USE_REGION, .capacity = 64};
	CHECK_DPI(DPI_Append("own", 3, own));
	TAKE(own, "own", 3);
	harness_barrier();
	/* no transport of both lists: nothing gets through, neither by another way */
	int error = DPI_Open_Buffer(rank ? "q0" : "q1", NULL, ctx, &q);
	if (!error) error = DPI_Append("x", 1, q);
	CHECK_INT(error, !=, DPI_SUCCESS);
	CHECK_HAS(detail(), rank ? "tcp" : "shm");
	error = DPI_Create_Buffer(rank ? "r0" : "r1", 1 - rank, &attr, ctx, &r);
	if (!error) error = DPI_Write("x", 1, 0, r);
	CHECK_INT(error, !=, DPI_SUCCESS);
	CHECK_HAS(detail(), rank ? "tcp" : "shm");
	harness_barrier();
	CHECK_EMPTY(own, DPI_NO_WAIT);
	leave(ctx);
}

/* The first transport gets no connection, and the second carries all. */
TEST(no_connection, "E-65 E-17 E-18", 2, .once = true, .env = "DPI_TRANSPORT=hook:tcp,tcp DPI_HOOK=refuse")
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 0, ctx, DPI_USE_QUEUE), log = MAKE("log", 0, ctx, DPI_USE_LOG), region = MAKE("region", 0, ctx, DPI_USE_REGION, .capacity = 64);
	if (rank == 1) {
		char bytes[5];
		CHECK_QUIET(DPI_Append("found", 5, q));
		CHECK_QUIET(DPI_Flush_Buffer(q));
		CHECK_QUIET(DPI_Append("found", 5, log));
		CHECK_QUIET(DPI_Flush_Buffer(log));
		CHECK_QUIET(DPI_Write("found", 5, 0, region));
		CHECK_QUIET(DPI_Read(bytes, 5, 0, region));
		CHECK(!memcmp(bytes, "found", 5));
		DPI_Node_Info info = node_info(0, ctx);
		CHECK_STR(info.transport, "tcp");
		CHECK_HAS(info.reason, "hook:tcp: hook refuses to connect to node 0; tcp: chosen");
	} else {
		TAKE(q, "found", 5);
	}
	leave(ctx);
}

TEST(no_such_transport, "E-18 R-9", 0)
{
	DPI_Context ctx;
	static const char *const lists[] = {"pigeon", "shm,pigeon", "pigeon,tcp"};
	for (int i = 0; i < 3; i++) {
		setenv("DPI_TRANSPORT", lists[i], 1);
		CHECK_ERROR(DPI_Init(&ctx), DPI_ERR_CONFIG, "TRANSPORT");
		CHECK_HAS(detail(), "pigeon");
	}
}
