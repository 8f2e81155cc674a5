/* SPDX-License-Identifier: Apache-2.0
 * names.c: names of buffers, two clusters at once, the registry's death. */
#include <signal.h>

#include "memory_kit.h"

static const DPI_Open_Attr at_once = {.size = sizeof at_once, .wait_us = DPI_NO_WAIT};

TEST(names_are_found_everywhere, "E-28 A-2 A-28", 3, .once = true)
{
	DPI_Context ctx = join();
	DPI_Buffer mine[3];
	char name[32];
	/* every node creates on every node */
	for (int home = 0; home < ranks; home++) {
		snprintf(name, sizeof name, "by %d on %d", rank, home);
		DPI_Buffer q = CREATE(name, home, ctx, DPI_USE_QUEUE);
		CHECK_INT(info_of(q).home, ==, home);
		CHECK_STR(info_of(q).name, name);
	}
	snprintf(name, sizeof name, "self %d", rank);
	CHECK_INT(info_of(CREATE(name, DPI_NODE_SELF, ctx, DPI_USE_QUEUE)).home, ==, rank);
	harness_barrier();
	for (int by = 0; by < ranks; by++)
		for (int home = 0; home < ranks; home++) {
			snprintf(name, sizeof name, "by %d on %d", by, home);
			DPI_Buffer q = open_buffer(name, ctx);
			CHECK_INT(info_of(q).home, ==, home);
			if (by == (rank + 1) % ranks) CHECK_DPI(DPI_Append(name, strlen(name), q));
			if (home == rank) mine[by] = q;
		}
	for (int by = 0; by < ranks; by++) {
		snprintf(name, sizeof name, "by %d on %d", by, rank);
		TAKE(mine[by], name, strlen(name));
	}
	leave(ctx);
}

TEST(names_differ, "E-29 E-30 A-5", 2, .once = true)
{
	char long_one[DPI_NAME_MAX], other[DPI_NAME_MAX];
	memset(long_one, 'n', sizeof long_one - 1);
	long_one[sizeof long_one - 1] = 0;
	memcpy(other, long_one, sizeof other);
	other[sizeof other - 2] = 'm';
	const char *names[] = {"a", "A", "a ", " a", "ab", "b", "/", "a/b", "../a", "%s%n", "naïve 数", "\x80\xff", long_one, other, "a\"b\\"};
	DPI_Context ctx = join();
	DPI_Buffer buf, q[15];
	for (int i = 0; i < 15; i++) {
		harness_barrier();
		if (rank == i % 2) {
			q[i] = CREATE(names[i], i / 2 % 2, ctx, DPI_USE_QUEUE);
			CHECK_STR(info_of(q[i]).name, names[i]);
		}
		harness_barrier();
		if (rank != i % 2) q[i] = open_buffer(names[i], ctx);
		for (int node = 0; node < 2; node++)
			CHECK_ERROR(DPI_Create_Buffer(names[i], node, NULL, ctx, &buf), DPI_ERR_EXISTS, names[i]);
	}
	if (rank == 0)
		for (int i = 0; i < 15; i++) CHECK_DPI(DPI_Append(&i, sizeof i, q[i]));
	for (int i = 0; i < 15; i++) {
		if (rank == 0) CHECK_DPI(DPI_Flush_Buffer(q[i]));
		if (rank == i / 2 % 2) TAKE(q[i], &i, sizeof i);
	}
	leave(ctx);
}

TEST(bad_names, "E-30 R-11", 0)
{
	char long_one[DPI_NAME_MAX + 1];
	memset(long_one, 'n', DPI_NAME_MAX);
	long_one[DPI_NAME_MAX] = 0;
	const char *names[] = {NULL, "", long_one, "a\nb", "\t", "a\x01", "\x1f", "\x7f"};
	DPI_Context ctx = join();
	DPI_Buffer buf;
	for (int i = 0; i < 8; i++) {
		CHECK_ERROR(DPI_Create_Buffer(names[i], 0, NULL, ctx, &buf), DPI_ERR_ARGUMENT, "name");
		CHECK_ERROR(DPI_Open_Buffer(names[i], &at_once, ctx, &buf), DPI_ERR_ARGUMENT, "name");
		CHECK_ERROR(DPI_Destroy_Buffer(names[i], ctx), DPI_ERR_ARGUMENT, "name");
		CHECK_ERROR(DPI_Barrier(names[i], 1, 0, ctx), DPI_ERR_ARGUMENT, "name");
	}
	CHECK_DPI(DPI_Finalize(ctx));
}

/* Ranks 2 and 3 are a cluster of their own, with the same node numbers and the same names. */
TEST(two_clusters, "E-31", 4, .nodes = 2)
{
	int cluster = rank / 2;
	char text[128];
	if (cluster) {
		snprintf(text, sizeof text, "unix:dpi-test-other-%d", (int)harness_pid(2));
		setenv("DPI_CLUSTER", text, 1);
		setenv("DPI_JOB", "other", 1);
		snprintf(text, sizeof text, "%d", rank - 2);
		setenv("DPI_NODE", text, 1);
		unsetenv("DPI_LISTEN_FD");
	}
	DPI_Context ctx = join();
	DPI_Buffer q;
	int count;
	CHECK_DPI(DPI_Get_Node_Count(ctx, &count));
	CHECK_INT(count, ==, 2);
	snprintf(text, sizeof text, "only %d", cluster);
	if (rank % 2 == 0) CREATE(text, 1, ctx, DPI_USE_QUEUE);
	harness_barrier();
	snprintf(text, sizeof text, "only %d", 1 - cluster);
	CHECK_ERROR(DPI_Open_Buffer(text, &at_once, ctx, &q), DPI_ERR_NAME, text);
	q = MAKE("same", 1, ctx, DPI_USE_QUEUE);
	if (rank % 2 == 0) {
		CHECK_DPI(DPI_Append(&cluster, sizeof cluster, q));
		CHECK_DPI(DPI_Flush_Buffer(q));
	} else {
		TAKE(q, &cluster, sizeof cluster);
	}
	harness_barrier();
	if (rank % 2) CHECK_EMPTY(q, DPI_NO_WAIT);
	CHECK_ERROR(DPI_Barrier("same", 4, 20 * MS, ctx), DPI_ERR_TIMEOUT, "same");
	leave(ctx);
}

static void *one_more(void *buf)
{
	TAKE(buf, "late", 4);
	return NULL;
}

/* A node leaves when nobody is there any more who would tell the others. */
TEST(leaves_untold, "E-32", 3)
{
	_Atomic int *stage = harness_shared();
	DPI_Buffer buf;
	if (rank == 0) harness_expect_death(0);
	DPI_Context ctx = join();
	harness_barrier();
	if (rank == 0) harness_kill(0, SIGKILL);
	AWAIT(!harness_alive(0));
	int64_t start = now();
	UNTIL(SECOND, e == DPI_ERR_REGISTRY, int e = DPI_Barrier("b", 2, 0, ctx)); /* it has heard of it */
	if (rank == 1) AWAIT(*stage == 1);
	if (rank == 1) {
		int error = DPI_Create_Buffer("there", 2, NULL, ctx, &buf);
		CHECK(error == DPI_ERR_PEER || error == DPI_ERR_REGISTRY);
		CHECK(*detail());
		CHECK_WITHIN(start, 3 * SECOND);
	}
	CHECK_DPI(DPI_Finalize(ctx));
	++*stage;
}

/* Rank 0 is the registry's node in this implementation and any other that keeps it in the first. */
TEST(registry_dies, "E-32 P-2", 3)
{
	_Atomic int *stage = harness_shared();
	if (rank == 0) harness_expect_death(0);
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), r = MAKE("r", 2, ctx, DPI_USE_REGION, .capacity = 64), buf;
	if (rank) CHECK_DPI(DPI_Append("early", 5, q));
	if (rank == 1) {
		TAKE(q, "early", 5);
		TAKE(q, "early", 5);
		CHECK_DPI(DPI_Write("before", 6, 0, r));
		CHECK_DPI(DPI_Flush_Buffer(r));
	}
	harness_barrier();
	if (rank == 0) harness_kill(0, SIGKILL);
	AWAIT(!harness_alive(0));
	pthread_t waits = 0;
	if (rank == 1) waits = start_thread(one_more, q);
	/* a new name needs it */
	int64_t start = now();
	UNTIL(SECOND, e == DPI_ERR_REGISTRY, int e = DPI_Create_Buffer(rank == 1 ? "n1" : "n2", rank, NULL, ctx, &buf); if (!e) DPI_Close_Buffer(buf));
	CHECK(*detail());
	CHECK_ERROR(DPI_Open_Buffer("q", NULL, ctx, &buf), DPI_ERR_REGISTRY, ": ");
	CHECK_ERROR(DPI_Destroy_Buffer("q", ctx), DPI_ERR_REGISTRY, ": ");
	CHECK_ERROR(DPI_Barrier("b", 2, 0, ctx), DPI_ERR_REGISTRY, ": ");
	CHECK_WITHIN(start, 2 * SECOND);
	++*stage;
	AWAIT(*stage >= 2);
	/* what is open goes on */
	if (rank == 2) {
		uint64_t previous;
		char text[6];
		CHECK_DPI(DPI_Append("late", 4, q));
		CHECK_DPI(DPI_Flush_Buffer(q));
		CHECK_DPI(DPI_Read(text, 6, 0, r));
		CHECK(!memcmp(text, "before", 6));
		CHECK_DPI(DPI_Fetch_Add(8, 1, r, &previous));
	} else {
		end_thread(waits);
		CHECK_DPI(DPI_Append("late", 4, q));
		TAKE(q, "late", 4);
		CHECK_DPI(DPI_Write("after ", 6, 16, r));
		CHECK_DPI(DPI_Fetch_Add(8, 1, r, NULL));
		CHECK_DPI(DPI_Flush_Buffer(r));
		CHECK_INT(info_of(r).home, ==, 2);
	}
	++*stage;
	AWAIT(*stage >= 4);
	if (rank == 2) {
		uint64_t word;
		CHECK_DPI(DPI_Read(&word, 8, 8, r));
		CHECK_INT(word, ==, 2);
	}
	++*stage;
	AWAIT(*stage >= 6);
	CHECK_DPI(DPI_Close_Buffer(q));
	CHECK_DPI(DPI_Finalize(ctx));
}
