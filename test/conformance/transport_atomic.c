/* SPDX-License-Identifier: Apache-2.0
 * transport_atomic.c: atomics: one step each, whoever else is at the word. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "transport_kit.h"

KIT_TEST(tp_atomics, "T-44", 60)
{
	struct kit_window w;
	struct kit_remote r;
	uint64_t before;
	kit_start(rank);
	kit_share(&w, 64, KIT_ALL, &r);
	if (!kit_has(DPI_TP_ATOMICS)) {
		CHECK_KIT_ERROR(kit_fetch_add(&r, 0, 1, &before), DPI_ERR_UNSUPPORTED);
		CHECK_KIT_ERROR(kit_compare_swap(&r, 0, 0, 1, &before), DPI_ERR_UNSUPPORTED);
	} else if (rank == 0) {
		CHECK_KIT(kit_fetch_add(&r, 8, 5, &before));
		CHECK_INT(before, ==, 0);
		CHECK_KIT(kit_fetch_add(&r, 8, UINT64_MAX, &before)); /* minus one, around the end */
		CHECK_INT(before, ==, 5);
		CHECK_KIT(kit_compare_swap(&r, 8, 5, 77, &before));
		CHECK_INT(before, ==, 4);
		CHECK_KIT(kit_compare_swap(&r, 8, 4, 0xfedcba9876543210u, &before));
		CHECK_INT(before, ==, 4);
		CHECK_KIT(kit_fetch_add(&r, 8, 0, &before));
		CHECK(before == 0xfedcba9876543210u);
		CHECK_KIT(kit_fetch_add(&r, 56, 9, &before));
		CHECK_INT(before, ==, 0);
	}
	kit_barrier();
	if (kit_has(DPI_TP_ATOMICS) && rank == 1) {
		CHECK(kit_word(&w, 8) == 0xfedcba9876543210u);
		CHECK_INT(kit_word(&w, 56), ==, 9);
		CHECK(kit_all(w.memory, 0, 8) && kit_all(w.memory + 16, 0, 40));
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* A third node: another open of the table in rank 0, connected to rank 1. */
struct third {
	DPI_Tp_Core core;
	DPI_Tp *tp;
	DPI_Tp_Endpoint *to;
	DPI_Tp_Remote *remote;
};

static void third_open(struct third *t, const DPI_Tp_Key *key, uint64_t length)
{
	DPI_Tp_Peer peer;
	void *direct;
	t->core = kit.core;
	t->core.node = 2;
	t->core.incarnation += 100;
	CHECK_KIT(kit.table->open(&t->core, kit.lower, &t->tp));
	kit_peer(&peer);
	CHECK_KIT(kit.table->connect(t->tp, 0, &peer, 40000000, &t->to));
	CHECK_KIT(kit.table->attach(t->to, key, length, &t->remote, &direct));
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* Two initiators with several operations each under way, and the target's own instructions where that is claimed: the sum is
 * exact and no value is given out twice. */
KIT_TEST(tp_fetch_add_sum, "T-44 T-45", 180)
{
	enum { MOST = 40000, DEEP = 16 };
	struct kit_window w;
	struct kit_remote r;
	struct third third;
	DPI_Tp_Key key;
	static struct kit_op ops[DEEP];
	static uint64_t given[MOST];
	uint64_t own = 0, theirs;
	kit_start(rank);
	if (!kit_has(DPI_TP_ATOMICS)) SKIP("it does not claim atomics");
	int all = kit_has(DPI_TP_CPU_ATOMICS) ? MOST : 6000;
	kit_memory(&w, 64, true);
	CHECK_KIT(kit_expose(&w, KIT_ALL));
	kit_swap_keys(&w.key, &key);
	CHECK_KIT(kit_attach(&key, 64, &r));
	if (rank == 0) third_open(&third, &key, 64);
	if (key.fd >= 0) close(key.fd);
	_Atomic int *over = (_Atomic int *)harness_shared() + HARNESS_SHARED / sizeof(int) - 1, *begun = over - 1;
	kit_barrier();
	if (rank == 0) KIT_AWAIT(atomic_load(begun));
	for (int i = 0; rank == 0 && i < all + DEEP; i++) {
		struct kit_op *op = &ops[i % DEEP];
		while (i >= DEEP && !kit_finished(op)) {
			CHECK_KIT(kit.table->progress(third.tp, 0, NULL));
			kit_pause();
		}
		if (i >= DEEP) {
			CHECK_KIT(kit_finish(op));
			given[i - DEEP] = op->result;
		}
		for (bool again = i < all; again;) {
			kit_before(op);
			again = kit_after(op, kit.table->fetch_add(i % 2 ? third.remote : r.remote, 8, 1, &op->result, op));
			if (again) CHECK_KIT(kit.table->progress(third.tp, 0, NULL));
		}
	}
	if (rank == 0) atomic_store(over, 1);
	while (rank == 1 && !atomic_load(over)) {
		for (int i = 0; i < 200 && kit_has(DPI_TP_CPU_ATOMICS); i++, own++)
			atomic_fetch_add((_Atomic uint64_t *)(void *)(w.memory + 8), 1);
		kit_progress();
		atomic_store(begun, 1);
	}
	kit_swap(&own, &theirs, sizeof own);
	if (rank == 1) CHECK_INT(kit_word(&w, 8), ==, (uint64_t)all + own);
	if (rank == 0) {
		qsort(given, (size_t)all, sizeof *given, by_value);
		for (int i = 0; i < all; i++) {
			CHECK(given[i] < (uint64_t)all + theirs);
			if (i && given[i] == given[i - 1]) FAIL("%" PRIu64 " was given out twice", given[i]);
		}
		kit.table->close(third.tp);
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* A lock by compare-and-swap around two words that are only ever changed together. */
KIT_TEST(tp_compare_swap_lock, "T-44 T-45 T-38", 180)
{
	enum { ROUNDS = 300, LOCK = 0, A = 8, B = 128 };
	struct kit_window w;
	struct kit_remote r;
	struct third third;
	DPI_Tp_Key key;
	kit_start(rank);
	if (!kit_has(DPI_TP_ATOMICS)) SKIP("it does not claim atomics");
	kit_memory(&w, 256, true);
	CHECK_KIT(kit_expose(&w, KIT_ALL));
	kit_swap_keys(&w.key, &key);
	CHECK_KIT(kit_attach(&key, 256, &r));
	if (rank == 0) third_open(&third, &key, 256);
	if (key.fd >= 0) close(key.fd);
	kit_barrier();
	for (int i = 0; rank == 0 && i < ROUNDS; i++) {
		uint64_t before = 1, a, b;
		while (before) CHECK_KIT(kit_compare_swap(&r, LOCK, 0, 1, &before));
		CHECK_KIT(kit_get(&r, &a, 8, A));
		CHECK_KIT(kit_get(&r, &b, 8, B));
		CHECK_INT(a, ==, b);
		a++;
		CHECK_KIT(kit_put(&r, &a, 8, A, NULL));
		CHECK_KIT(kit_put(&r, &a, 8, B, NULL));
		CHECK_KIT(kit_flush());
		/* the third cannot have the lock */
		struct kit_op op;
		for (bool again = true; again;) {
			kit_before(&op);
			again = kit_after(&op, kit.table->compare_swap(third.remote, LOCK, 0, 2, &op.result, &op));
			if (again) CHECK_KIT(kit.table->progress(third.tp, 0, NULL));
		}
		while (!kit_finished(&op)) CHECK_KIT(kit.table->progress(third.tp, 0, NULL));
		CHECK_KIT(kit_finish(&op));
		CHECK_INT(op.result, ==, 1);
		CHECK_KIT(kit_compare_swap(&r, LOCK, 1, 0, &before));
		CHECK_INT(before, ==, 1);
	}
	/* the target takes part where its instructions may */
	for (int i = 0; rank == 1 && kit_has(DPI_TP_CPU_ATOMICS) && i < ROUNDS; i++) {
		uint64_t free_lock = 0, *a = (uint64_t *)(void *)(w.memory + A), *b = (uint64_t *)(void *)(w.memory + B);
		while (!atomic_compare_exchange_strong((_Atomic uint64_t *)(void *)w.memory, &free_lock, 1)) {
			free_lock = 0;
			kit_pause();
		}
		CHECK_INT(*a, ==, *b);
		++*a, ++*b;
		atomic_store((_Atomic uint64_t *)(void *)w.memory, 0);
	}
	kit_barrier();
	if (rank == 1) CHECK_INT(kit_word(&w, A), ==, (kit_has(DPI_TP_CPU_ATOMICS) ? 2 : 1) * ROUNDS);
	if (rank == 0) kit.table->close(third.tp);
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* ----------------------------------------------------------------------------------------------------------- lanes */

struct lane {
	pthread_t thread;
	uint32_t lane;
	DPI_Tp_Endpoint *to;
	DPI_Tp_Remote *remote;
};

/* By itself: the kit's own waiting is for lane 0. */
static void lane_finish(const struct lane *l, struct kit_op *op)
{
	while (!kit_finished(op)) CHECK_KIT(kit.table->progress(kit.tp, l->lane, NULL));
	CHECK_KIT(op->posted == DPI_TP_PENDING ? op->error : op->posted);
}

#define LANE_POST(op, call)                                                                            \
	do {                                                                                           \
		kit_before(op);                                                                        \
		while (((op)->posted = (call)) == DPI_ERR_AGAIN) kit.table->progress(kit.tp, l->lane, NULL); \
		kit_after((op), (op)->posted);                                                         \
		lane_finish(l, (op));                                                                  \
	} while (0)

static void *lane_main(void *argument)
{
	struct lane *l = argument;
	static const char text[] = "each lane by itself";
	struct iovec iov = {(void *)(uintptr_t)text, sizeof text};
	for (int i = 0; i < 2000; i++) {
		struct kit_op op;
		LANE_POST(&op, kit.table->put(l->remote, &iov, 1, 4096 * (l->lane + 1), NULL, 0, &op));
		if (kit_has(DPI_TP_ATOMICS)) LANE_POST(&op, kit.table->fetch_add(l->remote, 0, 1, &op.result, &op));
	}
	struct kit_op flush;
	LANE_POST(&flush, kit.table->flush(l->to, &flush));
	return NULL;
}

KIT_TEST(tp_lanes, "T-55", 120)
{
	struct kit_window w;
	struct kit_remote r;
	struct lane lane[4];
	DPI_Tp_Key key;
	DPI_Tp_Peer peer;
	void *direct;
	kit_start(rank);
	if (kit.attr.lanes < 2) SKIP("it has one lane");
	uint32_t lanes = kit.attr.lanes < 4 ? kit.attr.lanes : 4;
	kit_memory(&w, 5 * 4096, true);
	CHECK_KIT(kit_expose(&w, KIT_ALL));
	kit_swap_keys(&w.key, &key);
	CHECK_KIT(kit_attach(&key, 5 * 4096, &r));
	kit_peer(&peer);
	for (uint32_t i = 0; i < lanes; i++) {
		lane[i].lane = i;
		lane[i].to = kit.to;
		if (i) CHECK_KIT(kit.table->connect(kit.tp, i, &peer, 40000000, &lane[i].to));
		CHECK_KIT(kit.table->attach(lane[i].to, &key, 5 * 4096, &lane[i].remote, &direct));
	}
	kit_barrier();
	for (uint32_t i = 0; i < lanes; i++) CHECK(!pthread_create(&lane[i].thread, NULL, lane_main, &lane[i]));
	for (uint32_t i = 0; i < lanes; i++) pthread_join(lane[i].thread, NULL);
	kit_barrier();
	for (uint32_t i = 0; i < lanes; i++) CHECK_STR((char *)w.memory + 4096 * (i + 1), "each lane by itself");
	if (kit_has(DPI_TP_ATOMICS)) CHECK_INT(kit_word(&w, 0), ==, 2000 * lanes);
	if (key.fd >= 0) close(key.fd);
	kit_end();
	w.window = NULL;
	kit_free(&w);
}
