/* SPDX-License-Identifier: Apache-2.0
 * barrier.c: named barriers. */
#include <signal.h>

#include "memory_kit.h"

TEST(barrier_counts, "E-33 E-34 E-38", 4, .once = true)
{
	_Atomic int *came = harness_shared();
	DPI_Context ctx = join();
	for (int round = 0; round < 50; round++) {
		came[round]++;
		CHECK_DPI(DPI_Barrier("all", (uint32_t)ranks, 0, ctx));
		CHECK_INT(came[round], ==, ranks);
	}
	harness_barrier();
	/* the same name with another count */
	if (rank < 2) CHECK_DPI(DPI_Barrier("all", 2, 0, ctx));
	harness_barrier();
	CHECK_DPI(DPI_Barrier("all", (uint32_t)ranks, 0, ctx));
	int64_t start = now();
	for (int i = 0; i < 10; i++) CHECK_DPI(DPI_Barrier("alone", 1, DPI_NO_WAIT, ctx));
	CHECK_AT_ONCE(start);
	CHECK_ERROR(DPI_Barrier("all", 0, 0, ctx), DPI_ERR_ARGUMENT, "count");
	leave(ctx);
}

struct caller {
	DPI_Context ctx;
	_Atomic int *came;
	int all;
};

/* A call of barrier "b" in a thread of its own. */
struct entry {
	DPI_Context ctx;
	uint32_t count;
	int class; /* of the error that ends it; DPI_SUCCESS: none */
};

static void *call_b(void *arg)
{
	const struct entry *e = arg;
	if (e->class) CHECK_ERROR(DPI_Barrier("b", e->count, 0, e->ctx), e->class, "3");
	else CHECK_DPI(DPI_Barrier("b", e->count, 0, e->ctx));
	return NULL;
}

/* Returns when the call counts: it waits, and a call behind it has been answered. */
static pthread_t enter_b(struct entry *e)
{
	char name[32];
	int node;
	pthread_t t = start_thread(call_b, e);
	await_asleep();
	CHECK_DPI(DPI_Get_Node_Id(e->ctx, &node));
	snprintf(name, sizeof name, "only node %d", node);
	CHECK_DPI(DPI_Barrier(name, 1, 0, e->ctx));
	return t;
}

static void *call_barrier(void *arg)
{
	struct caller *c = arg;
	for (int round = 0; round < 10; round++) {
		c->came[round]++;
		CHECK_DPI(DPI_Barrier("threads", (uint32_t)c->all, 0, c->ctx));
		CHECK_INT(c->came[round], ==, c->all);
	}
	return NULL;
}

TEST(barrier_threads, "E-33 P-16", 2, .once = true)
{
	DPI_Context ctx = join();
	struct caller c = {ctx, harness_shared(), 6};
	pthread_t t[3];
	for (int i = 0; i < 3; i++) t[i] = start_thread(call_barrier, &c);
	for (int i = 0; i < 3; i++) end_thread(t[i]);
	leave(ctx);
}

TEST(barrier_times_out, "E-35 P-1 P-2 P-4 P-6", 3, .once = true)
{
	_Atomic int *stage = harness_shared(), *in = stage + 1;
	DPI_Context ctx = join();
	if (rank == 0) {
		int64_t start = now();
		CHECK_ERROR(DPI_Barrier("b", 3, 50 * MS, ctx), DPI_ERR_TIMEOUT, "1");
		CHECK_NOT_BEFORE(start, 50 * MS);
		CHECK_WITHIN(start, SECOND);
		CHECK_HAS(detail(), "b");
		start = now();
		CHECK_ERROR(DPI_Barrier("b", 3, DPI_NO_WAIT, ctx), DPI_ERR_TIMEOUT, "1");
		CHECK_AT_ONCE(start);
	}
	harness_barrier();
	/* ranks 0 and 1 are in it; 1 leaves; then a full count without it is needed: 0, 2 and another call of 1 */
	int64_t start = now();
	if (rank == 0) {
		pthread_t t = enter_b(&(struct entry){ctx, 3, DPI_SUCCESS});
		*in = 1;
		end_thread(t);
		CHECK_INT(*stage, ==, 2);
	}
	if (rank == 1) {
		AWAIT(*in);
		CHECK_ERROR(DPI_Barrier("b", 3, 100 * MS, ctx), DPI_ERR_TIMEOUT, "2");
		++*stage;
	}
	if (rank == 2) {
		AWAIT(*stage >= 1);
		CHECK_ERROR(DPI_Barrier("b", 3, 30 * MS, ctx), DPI_ERR_TIMEOUT, "2");
		++*stage;
		CHECK_DPI(DPI_Barrier("b", 3, 0, ctx));
	}
	if (rank == 1) {
		AWAIT(*stage >= 2);
		CHECK_DPI(DPI_Barrier("b", 3, 0, ctx));
	}
	CHECK_WITHIN(start, 3 * SECOND);
	leave(ctx);
}

TEST(barrier_dies, "E-36 P-7 R-9", 4, .once = true)
{
	_Atomic int *left = harness_shared(), *in = left + 1;
	DPI_Context ctx = join();
	if (rank == 3) harness_expect_death(3);
	CHECK_DPI(DPI_Barrier("start", 4, 0, ctx));
	pthread_t t = enter_b(&(struct entry){ctx, 5, DPI_ERR_PEER});
	++*in;
	if (rank == 3) {
		end_thread(t);
		FAIL("it should be dead");
	}
	AWAIT(*in == 4);
	int64_t start = now();
	if (rank == 0) harness_kill(3, SIGKILL);
	end_thread(t);
	CHECK_WITHIN(start, 2 * SECOND);
	++*left;
	AWAIT(*left >= 3);
	/* the name is good again */
	CHECK_DPI(DPI_Barrier("b", 3, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(barrier_other_count, "E-37 E-39", 3, .once = true)
{
	_Atomic int *in = harness_shared();
	DPI_Context ctx = join();
	if (rank == 0) {
		pthread_t t = enter_b(&(struct entry){ctx, 3, DPI_SUCCESS});
		*in = 1;
		end_thread(t);
	}
	if (rank == 1) {
		AWAIT(*in);
		int64_t start = now();
		CHECK_ERROR(DPI_Barrier("b", 2, 0, ctx), DPI_ERR_EXISTS, "b");
		CHECK_ERROR(DPI_Barrier("b", 4, 0, ctx), DPI_ERR_EXISTS, "3");
		CHECK_AT_ONCE(start);
		/* other names go on meanwhile, also one that a buffer has */
		CREATE("b", 2, ctx, DPI_USE_QUEUE);
		CREATE("c", 2, ctx, DPI_USE_QUEUE);
		CHECK_DPI(DPI_Barrier("c", 2, 0, ctx));
		CHECK_DPI(DPI_Barrier("b", 3, 0, ctx));
	}
	if (rank == 2) {
		CHECK_DPI(DPI_Barrier("c", 2, 0, ctx));
		open_buffer("b", ctx);
		CHECK_DPI(DPI_Barrier("b", 3, 0, ctx));
		CHECK_DPI(DPI_Destroy_Buffer("b", ctx));
	}
	leave(ctx);
}

TEST(barrier_orders, "E-33 M-11 M-22", 3)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), r = MAKE("r", 2, ctx, DPI_USE_REGION, .capacity = 4096);
	for (int round = 0; round < 20; round++) {
		if (rank != 1) CHECK_DPI(DPI_Append(&round, sizeof round, q));
		CHECK_DPI(DPI_Write(&round, sizeof round, 8 * (uint64_t)rank, r));
		if (rank != 1) CHECK_DPI(DPI_Flush_Buffer(q));
		CHECK_DPI(DPI_Flush_Buffer(r));
		CHECK_DPI(DPI_Barrier("b", 3, 0, ctx));
		for (int i = 0; i < 3; i++) {
			int value;
			CHECK_DPI(DPI_Read(&value, sizeof value, 8 * (uint64_t)i, r));
			CHECK_INT(value, ==, round);
		}
		if (rank == 1) {
			TAKE_NOW(q, &round, sizeof round);
			TAKE_NOW(q, &round, sizeof round);
		}
		CHECK_DPI(DPI_Barrier("b", 3, 0, ctx));
	}
	leave(ctx);
}
