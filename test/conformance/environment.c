/* SPDX-License-Identifier: Apache-2.0
 * environment.c: start and end of a context, versions. */
#include <signal.h>
#include <sys/stat.h>

#include "memory_kit.h"

TEST(alone, "E-1 A-38", 0)
{
	DPI_Context ctx = join();
	int node = -1, count = -1;
	CHECK_DPI(DPI_Get_Node_Id(ctx, &node));
	CHECK_DPI(DPI_Get_Node_Count(ctx, &count));
	CHECK_INT(node, ==, 0);
	CHECK_INT(count, ==, 1);
	DPI_Buffer q;
	CHECK_DPI(DPI_Create_Buffer("q", 0, NULL, ctx, &q));
	CHECK_DPI(DPI_Append("alone", 5, q));
	TAKE(q, "alone", 5);
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(init_twice, "E-2", 0)
{
	DPI_Context ctx = join(), second = NULL;
	DPI_Buffer q = CREATE("q", DPI_NODE_SELF, ctx, DPI_USE_QUEUE);
	CHECK_DPI(DPI_Append("first", 5, q));
	CHECK_ERROR(DPI_Init(&second), DPI_ERR_STATE, "DPI_Finalize");
	CHECK_ERROR(DPI_Init(&second), DPI_ERR_STATE, "context");
	TAKE(q, "first", 5);
	CHECK_DPI(DPI_Finalize(ctx));
}

static const DPI_Open_Attr at_once = {.size = sizeof at_once, .wait_us = DPI_NO_WAIT};

TEST(init_again, "E-3", 0)
{
	DPI_Context former = NULL, ctx;
	DPI_Buffer old = NULL, q;
	for (int round = 0; round < 4; round++) {
		int node;
		ctx = join();
		CHECK_ERROR(DPI_Open_Buffer("q", &at_once, ctx, &q), DPI_ERR_NAME, "q");
		q = CREATE("q", DPI_NODE_SELF, ctx, DPI_USE_QUEUE);
		if (former) {
			CHECK_ERROR(DPI_Get_Node_Id(former, &node), DPI_ERR_HANDLE, "closed");
			CHECK_ERROR(DPI_Append("x", 1, old), DPI_ERR_HANDLE, "closed");
			CHECK_EMPTY(q, DPI_NO_WAIT);
		}
		CHECK_DPI(DPI_Append("x", 1, q));
		former = ctx;
		old = q;
		CHECK_DPI(DPI_Finalize(ctx));
	}
}

/* A node leaves and comes again, by the same number. */
TEST(join_again, "E-3 E-9", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer old = NULL, q;
	for (int round = 0; round < 3; round++) {
		if (rank == 1) q = CREATE("q", 1, ctx, DPI_USE_QUEUE);
		else q = open_buffer("q", ctx);
		if (rank == 0) {
			CHECK_DPI(DPI_Append(&round, sizeof round, q));
			CHECK_DPI(DPI_Flush_Buffer(q));
		} else {
			TAKE(q, &round, sizeof round);
			if (old) CHECK_ERROR(DPI_Append("x", 1, old), DPI_ERR_HANDLE, "closed");
		}
		harness_barrier();
		if (rank == 0) CHECK_DPI(DPI_Close_Buffer(q));
		harness_barrier();
		if (rank == 1) CHECK_DPI(DPI_Finalize(ctx));
		old = q;
		harness_barrier();
		if (rank == 0) UNTIL(SECOND, e == DPI_ERR_NAME, int e = DPI_Open_Buffer("q", &at_once, ctx, &q); if (!e) DPI_Close_Buffer(q));
		harness_barrier();
		if (rank == 1) ctx = join();
	}
	leave(ctx);
}

/* Appended, never flushed, with a linger time that does not end; the process leaves. */
TEST(finalize_publishes, "E-4 M-16", 3, .env = "DPI_LINGER=1min")
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), l = MAKE("l", 1, ctx, DPI_USE_LOG);
	harness_barrier();
	if (rank != 1) {
		for (int i = 0; i < 100; i++) CHECK_DPI(DPI_Append(&i, sizeof i, q));
		for (int i = 0; i < 100; i++) CHECK_DPI(DPI_Append(&i, sizeof i, l));
	}
	if (rank == 2) CHECK_DPI(DPI_Finalize(ctx));
	harness_barrier();
	if (rank == 1) {
		DPI_Buffer_Info info = info_of(l);
		int value;
		for (int i = 0; i < 100; i++) TAKE_NOW(q, &i, sizeof i);
		for (int i = 0; i < 100; i++) {
			CHECK_DPI(DPI_Read_Record(info.first, &value, sizeof value, l, NULL, &info.first));
			CHECK_INT(value, ==, i);
		}
	}
	harness_barrier();
	if (rank != 2) CHECK_DPI(DPI_Finalize(ctx));
}

/* Nobody has a handle then but NULL. */
TEST(before_init, "E-5 R-11", 0)
{
	DPI_Buffer buf;
	DPI_Record record;
	DPI_Request request = DPI_REQUEST_NULL;
	int node;
	uint64_t word;
	CHECK_ERROR(DPI_Finalize(NULL), DPI_ERR_STATE, "DPI_Init comes first");
	CHECK_ERROR(DPI_Get_Node_Id(NULL, &node), DPI_ERR_STATE, "DPI_Init comes first");
	CHECK_ERROR(DPI_Barrier("b", 1, 0, NULL), DPI_ERR_STATE, "DPI_Init comes first");
	CHECK_ERROR(DPI_Create_Buffer("q", 0, NULL, NULL, &buf), DPI_ERR_STATE, "DPI_Init comes first");
	CHECK_ERROR(DPI_Open_Buffer("q", NULL, NULL, &buf), DPI_ERR_STATE, "DPI_Init comes first");
	CHECK_ERROR(DPI_Append("x", 1, NULL), DPI_ERR_STATE, "DPI_Init comes first");
	CHECK_ERROR(DPI_Append_Nb("x", 1, NULL, &request), DPI_ERR_STATE, "DPI_Init comes first");
	CHECK_ERROR(DPI_Flush_Buffer(NULL), DPI_ERR_STATE, "DPI_Init comes first");
	CHECK_ERROR(DPI_Next_Record(NULL, &record), DPI_ERR_STATE, "DPI_Init comes first");
	CHECK_ERROR(DPI_Write("x", 1, 0, NULL), DPI_ERR_STATE, "DPI_Init comes first");
	CHECK_ERROR(DPI_Fetch_Add(0, 1, NULL, &word), DPI_ERR_STATE, "DPI_Init comes first");
	CHECK_ERROR(DPI_Close_Buffer(NULL), DPI_ERR_STATE, "DPI_Init comes first");
}

/* The second call is refused, and the first one's handle is not lost by it, although it is asked to be given there. */
TEST(the_handle_survives_a_second_init, "E-2", 0)
{
	DPI_Context ctx = join(), same = ctx;
	CHECK_ERROR(DPI_Init(&same), DPI_ERR_STATE, "DPI_Finalize it first");
	CHECK(same == ctx);
	CHECK_DPI(DPI_Finalize(same));
}

TEST(after_finalize, "E-5", 0)
{
	static char memory[4096];
	DPI_Context ctx = join();
	DPI_Buffer q = CREATE("q", DPI_NODE_SELF, ctx, DPI_USE_QUEUE), r = CREATE("r", DPI_NODE_SELF, ctx, DPI_USE_REGION, .capacity = 64);
	DPI_Request request;
	DPI_Memory m;
	DPI_Record record;
	DPI_Buffer_Info info = DPI_BUFFER_INFO_INIT;
	DPI_Buffer_Stats stats = {.size = sizeof stats};
	int done, node;
	char byte;
	CHECK_DPI(DPI_Register_Memory(memory, sizeof memory, ctx, &m));
	CHECK_DPI(DPI_Append_Nb("x", 1, q, &request));
	CHECK_DPI(DPI_Finalize(ctx));
	CHECK_ERROR(DPI_Finalize(ctx), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Get_Node_Id(ctx, &node), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Get_Node_Count(ctx, &node), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Barrier("b", 1, 0, ctx), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Create_Buffer("n", 0, NULL, ctx, &q), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Open_Buffer("q", NULL, ctx, &(DPI_Buffer){0}), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Destroy_Buffer("q", ctx), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Register_Memory(memory, 8, ctx, &(DPI_Memory){0}), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Deregister_Memory(m), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Append("x", 1, q), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Flush_Buffer(q), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Next_Record(q, &record), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Read(&byte, 1, 0, r), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Fetch_Add(0, 1, r, NULL), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Get_Buffer_Info(q, &info), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Get_Buffer_Stats(q, &stats), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Close_Buffer(q), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Test(&request, &done), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Wait(&request, 0), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Cancel(request), DPI_ERR_STATE, "DPI_Init");
}

/* With several handles to a home that is stopped and to one that is dead. */
TEST(finalize_is_short, "E-6", 4)
{
	_Atomic int *stage = harness_shared();
	DPI_Context ctx = join();
	char name[2][8];
	for (int home = 2; home < 4; home++)
		for (int i = 0; i < 4; i++) {
			snprintf(name[0], sizeof name[0], "q%d%d", home, i);
			snprintf(name[1], sizeof name[1], "r%d%d", home, i);
			DPI_Buffer q = MAKE(name[0], home, ctx, DPI_USE_QUEUE), r = MAKE(name[1], home, ctx, DPI_USE_REGION, .capacity = 4096);
			if (rank != 1) continue;
			CHECK_DPI(DPI_Append("x", 1, q));
			CHECK_DPI(DPI_Flush_Buffer(q));
			CHECK_DPI(DPI_Write("x", 1, 0, r));
			CHECK_DPI(DPI_Flush_Buffer(r));
		}
	if (rank > 1) harness_expect_death(rank);
	harness_barrier();
	if (rank > 1) {
		++*stage;
		for (;;) pause_ms(1000);
	}
	AWAIT(*stage >= 2);
	if (rank == 1) {
		harness_kill(2, SIGSTOP);
		harness_kill(3, SIGKILL);
		int64_t start = now();
		CHECK_DPI(DPI_Finalize(ctx));
		CHECK_WITHIN(start, 2 * SECOND);
		*stage = 10;
		return;
	}
	AWAIT(*stage >= 10);
	int64_t start = now();
	CHECK_DPI(DPI_Finalize(ctx));
	CHECK_WITHIN(start, 2 * SECOND);
	harness_kill(2, SIGKILL);
}

static void *take_one(void *buf)
{
	TAKE(buf, "go on", 5);
	return NULL;
}

static void *enter_barrier(void *ctx)
{
	CHECK_DPI(DPI_Barrier("both", 2, 0, ctx));
	return NULL;
}

static void *open_late(void *ctx)
{
	open_with("late", 0, 0, ctx);
	return NULL;
}

TEST(finalize_while_others_wait, "E-7 R-4", 0)
{
	DPI_Context ctx = join();
	DPI_Buffer q = CREATE("q", DPI_NODE_SELF, ctx, DPI_USE_QUEUE), other = open_buffer("q", ctx);
	pthread_t t = start_thread(take_one, q);
	await_asleep();
	CHECK_ERROR(DPI_Finalize(ctx), DPI_ERR_THREAD, "thread");
	CHECK_DPI(DPI_Append("go on", 5, other));
	end_thread(t);
	t = start_thread(enter_barrier, ctx);
	await_asleep();
	CHECK_ERROR(DPI_Finalize(ctx), DPI_ERR_THREAD, "thread");
	CHECK_DPI(DPI_Barrier("both", 2, 0, ctx));
	end_thread(t);
	t = start_thread(open_late, ctx);
	await_asleep();
	CHECK_ERROR(DPI_Finalize(ctx), DPI_ERR_THREAD, "thread");
	CREATE("late", DPI_NODE_SELF, ctx, DPI_USE_QUEUE);
	end_thread(t);
	CHECK_DPI(DPI_Finalize(ctx));
}

static void *no_work(void *tid)
{
	*(int *)tid = gettid();
	return NULL;
}

TEST(nothing_is_left, "E-8", 2)
{
	char ended[64];
	int tid = 0;
	end_thread(start_thread(no_work, &tid)); /* a sanitizer makes a thread of its own with the first */
	snprintf(ended, sizeof ended, "/proc/self/task/%d", tid);
	UNTIL(SECOND, access(ended, F_OK), (void)0); /* it is joined before the kernel has forgotten it */
	/* the listening socket that rank 0 inherits is the launcher's */
	int fds = entries("/proc/self/fd") - (rank == 0 && getenv("DPI_LISTEN_FD")), threads = entries("/proc/self/task");
	static char memory[100];
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), l = MAKE("l", 0, ctx, DPI_USE_LOG),
		   r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 10000);
	DPI_Memory m;
	void *address;
	CHECK_DPI(DPI_Register_Memory(memory, sizeof memory, ctx, &m));
	CHECK_DPI(DPI_Allocate_Memory(10000, DPI_HUGE_NEVER, DPI_NUMA_ANY, ctx, &address, &m));
	CHECK_DPI(DPI_Append("q", 1, q));
	CHECK_DPI(DPI_Append("l", 1, l));
	CHECK_DPI(DPI_Write("r", 1, 0, r));
	CHECK_DPI(DPI_Barrier("b", 2, 0, ctx));
	leave(ctx);
	UNTIL(SECOND, entries("/proc/self/task") == threads, (void)0);
	CHECK_INT(entries("/proc/self/fd"), <=, fds + (rank == 0 && getenv("DPI_LISTEN_FD")));
}

TEST(signals_are_the_programs, "E-10 E-11", 2)
{
	struct sigaction before[65], after;
	sigset_t mask, mask_after;
	struct stat out;
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	signal(SIGUSR1, SIG_IGN);
	for (int s = 1; s < 65; s++) sigaction(s, NULL, &before[s]);
	DPI_Context ctx = NULL;
	for (int round = 0; round < 2; round++) {
		if (!ctx) {
			ctx = join();
			DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE);
			if (rank == 0) CHECK_DPI(DPI_Append("x", 1, q));
			if (rank == 1) TAKE(q, "x", 1);
		} else {
			leave(ctx);
		}
		for (int s = 1; s < 65; s++) {
			if (sigaction(s, NULL, &after)) continue; /* the C library's own */
			CHECK(after.sa_handler == before[s].sa_handler && after.sa_flags == before[s].sa_flags);
		}
		pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
		for (int s = 1; s < 65; s++) CHECK_INT(sigismember(&mask_after, s), ==, sigismember(&mask, s));
	}
	/* standard error is watched by the harness */
	CHECK(!fstat(1, &out));
	CHECK_INT(out.st_size, ==, 0);
}

TEST(log_is_asked_for, "E-11", 2, .once = true, .expect_stderr = true, .env = "DPI_LOG=debug")
{
	struct stat out;
	DPI_Context ctx = join();
	MAKE("q", 1, ctx, DPI_USE_QUEUE);
	leave(ctx);
	CHECK(!fstat(1, &out));
	CHECK_INT(out.st_size, ==, 0);
}

TEST(version, "E-44", 0)
{
	uint32_t v = 0, again = 1;
	const char *path = NULL;
	CHECK_DPI(DPI_Get_Version(&v, &path));
	CHECK_INT(v >> 16, ==, DPI_VERSION_MAJOR);
	CHECK_INT(v, >=, DPI_VERSION & ~255);
	CHECK(path && !access(path, R_OK));
	CHECK_DPI(DPI_Get_Version(NULL, &path));
	CHECK_DPI(DPI_Get_Version(&again, NULL));
	CHECK_DPI(DPI_Get_Version(NULL, NULL));
	CHECK_INT(again, ==, v);
}

TEST(version_of_another_header, "E-45", 0)
{
	uint32_t v, other[4];
	const char *path;
	char text[64];
	DPI_Context ctx = NULL;
	CHECK_DPI(DPI_Get_Version(&v, &path));
	other[0] = v + (1 << 16);		     /* newer major */
	other[1] = v + (1 << 8);		     /* newer minor */
	other[2] = (v | 0xff) + 1;		     /* the same without a patch */
	other[3] = v >> 16 ? v - (1 << 16) : 255u << 16; /* older major, or much newer */
	for (int i = 0; i < 4; i++) {
		CHECK_ERROR(DPI_Init_Abi(other[i], NULL, &ctx), DPI_ERR_VERSION, path);
		snprintf(text, sizeof text, "%u.%u", other[i] >> 16, other[i] >> 8 & 255);
		CHECK_HAS(detail(), text);
		snprintf(text, sizeof text, "%u.%u", v >> 16, v >> 8 & 255);
		CHECK_HAS(detail(), text);
	}
	/* another patch fits, and so does an older minor */
	uint32_t fits[] = {v ^ 1, v | 255, v >> 8 & 255 ? v - (1 << 8) : v};
	for (int i = 0; i < 3; i++) {
		CHECK_DPI(DPI_Init_Abi(fits[i], NULL, &ctx));
		CHECK_DPI(DPI_Finalize(ctx));
	}
}
