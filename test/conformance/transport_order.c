/* SPDX-License-Identifier: Apache-2.0
 * transport_order.c: what is seen before what: notifications, bells, the order of puts. */
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "transport_kit.h"

/* To and fro: the word is seen, so all bytes are. Thousands of rounds, since what is wrong is wrong seldom. */
KIT_TEST(tp_notify, "T-39 T-40", 180)
{
	enum { ROUNDS = 2000, SIZE = 4096, WORD = SIZE };
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[SIZE];
	kit_start(rank);
	kit_share(&w, SIZE + 64, KIT_ALL, &r);
	for (uint64_t i = 1; i <= ROUNDS; i++) {
		uint64_t size = (i * 2654435761u >> 8) % (i % 20 ? 300 : SIZE), offset = i % 5 % (SIZE - size + 1);
		DPI_Tp_Notify n = {.offset = WORD, .value = i, .bell = (uint32_t)(i % KIT_BELLS)};
		kit_fill(data, i, 0, size);
		if (rank == (int)(i % 2)) CHECK_KIT(kit_put(&r, data, size, offset, &n));
		else {
			KIT_AWAIT(kit_word(&w, WORD) == i);
			if (!kit_filled(w.memory + offset, i, 0, size)) FAIL("round %" PRIu64 ": told before the bytes", i);
			KIT_AWAIT(kit_rung(n.bell) > (i - 1) / 2 / (KIT_BELLS / 2));
		}
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* A ring of slots, several on their way; credit comes back by a word. */
KIT_TEST(tp_notify_stream, "T-39 T-42", 180)
{
	enum { RECORDS = 5000, SLOTS = 16, SIZE = 500, WORD = SLOTS * SIZE + 8 - SLOTS * SIZE % 8, CREDIT = WORD + 8 };
	struct kit_window w;
	struct kit_remote r;
	static struct kit_op ops[SLOTS];
	static uint8_t data[SLOTS][SIZE];
	DPI_Tp_Notify n = {.offset = WORD, .bell = DPI_TP_NO_BELL};
	kit_start(rank);
	kit_share(&w, CREDIT + 8, KIT_ALL, &r);
	if (rank == 0)
		for (uint64_t i = 0; i < RECORDS; i++) {
			uint64_t slot = i % SLOTS;
			struct iovec iov[2] = {{data[slot], 100}, {data[slot] + 100, SIZE - 100}};
			struct kit_op *op = &ops[slot];
			KIT_AWAIT(i < kit_word(&w, CREDIT) + SLOTS);
			if (i >= SLOTS) CHECK_KIT(kit_finish(op));
			kit_fill(data[slot], i, 0, SIZE);
			n.value = i + 1;
			KIT_POST(op, kit.table->put(r.remote, iov, 2, slot * SIZE, &n, 0, op));
		}
	for (uint64_t i = 0, seen = 0; rank == 1 && i < RECORDS;) {
		uint64_t now = kit_word(&w, WORD);
		if (now == i) {
			kit_pause();
			continue;
		}
		CHECK_INT(now, >=, seen);
		seen = now;
		for (; i < now; i++)
			if (!kit_filled(w.memory + i % SLOTS * SIZE, i, 0, SIZE)) {
				/* without put order only the last one is promised */
				if (kit_has(DPI_TP_PUT_ORDER) || i + 1 == now)
					FAIL("the word says %" PRIu64 ", record %" PRIu64 " is not there", now, i);
			}
		DPI_Tp_Notify credit = {.offset = CREDIT, .value = i, .bell = DPI_TP_NO_BELL};
		CHECK_KIT(kit_put(&r, NULL, 0, 0, &credit));
	}
	for (int i = 0; rank == 0 && i < SLOTS; i++) CHECK_KIT(kit_finish(&ops[i]));
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

KIT_TEST(tp_notify_kinds, "T-40 T-41", 60)
{
	struct kit_window w;
	struct kit_remote r;
	DPI_Tp_Notify silent = {.offset = 8, .value = 11, .bell = DPI_TP_NO_BELL};
	DPI_Tp_Notify bell = {.offset = DPI_TP_NO_OFFSET, .value = 22, .bell = 5};
	DPI_Tp_Notify neither = {.offset = DPI_TP_NO_OFFSET, .value = 33, .bell = DPI_TP_NO_BELL};
	DPI_Tp_Notify both = {.offset = 16, .value = 0x1122334455667788, .bell = 6};
	kit_start(rank);
	kit_share(&w, 64, KIT_ALL, &r);
	if (rank == 0) {
		CHECK_KIT(kit_put(&r, NULL, 0, 0, &silent));
		CHECK_KIT(kit_put(&r, NULL, 0, 64, &bell));
		CHECK_KIT(kit_put(&r, "x", 1, 63, &neither));
		CHECK_KIT(kit_put(&r, NULL, 0, 0, &both));
		CHECK_KIT(kit_flush());
	} else {
		KIT_AWAIT(kit_rung(5) && kit_rung(6));
		CHECK_INT(kit_word(&w, 16), ==, 0x1122334455667788);
		CHECK_INT(w.memory[16], ==, 0x88); /* little endian */
	}
	kit_barrier();
	if (rank == 1) {
		CHECK_INT(kit_word(&w, 8), ==, 11);
		CHECK_INT(w.memory[63], ==, 'x');
		CHECK(kit_all(w.memory, 0, 8) && kit_all(w.memory + 24, 0, 39));
	}
	for (uint32_t i = 0; i < KIT_BELLS; i++) CHECK_INT(kit_rung(i), ==, rank == 1 && (i == 5 || i == 6));
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* A word never goes back. */
KIT_TEST(tp_notify_last, "T-42", 120)
{
	enum { ROUNDS = 3000 };
	struct kit_window w;
	struct kit_remote r;
	static struct kit_op ops[ROUNDS];
	static uint8_t data[900];
	kit_start(rank);
	kit_share(&w, 1024, KIT_ALL, &r);
	if (rank == 0) {
		for (uint64_t i = 0; i < ROUNDS; i++) {
			DPI_Tp_Notify n = {.offset = 1000, .value = i + 1, .bell = DPI_TP_NO_BELL};
			struct iovec iov = {data, i % sizeof data};
			KIT_POST(&ops[i], kit.table->put(r.remote, &iov, 1, 0, &n, 0, &ops[i]));
		}
		for (int i = 0; i < ROUNDS; i++) CHECK_KIT(kit_finish(&ops[i]));
		CHECK_KIT(kit_flush());
	}
	for (uint64_t last = 0, now; rank == 1 && last < ROUNDS; last = now) {
		kit_pause();
		now = kit_word(&w, 1000);
		CHECK_INT(now, >=, last);
	}
	kit_barrier();
	if (rank == 1) CHECK_INT(kit_word(&w, 1000), ==, ROUNDS);
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* Two counters, the second put after the first: the first is never seen behind. */
KIT_TEST(tp_put_order, "T-49", 120)
{
	enum { ROUNDS = 4000, FIRST = 64, SECOND = 40000 };
	struct kit_window w;
	struct kit_remote r;
	static struct kit_op ops[2 * ROUNDS];
	static uint64_t value[ROUNDS][8];
	kit_start(rank);
	if (!kit_has(DPI_TP_PUT_ORDER)) SKIP("it does not claim an order of puts");
	kit_share(&w, 65536, KIT_ALL, &r);
	if (rank == 0) {
		for (uint64_t i = 0; i < ROUNDS; i++) {
			for (int k = 0; k < 8; k++) value[i][k] = i + 1;
			struct iovec iov = {value[i], i % 3 ? 8 : 64};
			KIT_POST(&ops[2 * i], kit.table->put(r.remote, &iov, 1, FIRST, NULL, DPI_TP_MORE, &ops[2 * i]));
			KIT_POST(&ops[2 * i + 1], kit.table->put(r.remote, &iov, 1, SECOND, NULL, 0, &ops[2 * i + 1]));
		}
		for (int i = 0; i < 2 * ROUNDS; i++) CHECK_KIT(kit_finish(&ops[i]));
	}
	for (uint64_t second = 0; rank == 1 && second < ROUNDS;) {
		kit_progress();
		second = kit_word(&w, SECOND);
		uint64_t first = kit_word(&w, FIRST);
		if (first < second) FAIL("the second put says %" PRIu64 ", the first before it %" PRIu64, second, first);
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

KIT_TEST(tp_last_byte, "T-50", 120)
{
	enum { ROUNDS = 400, SIZE = 50000 };
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[SIZE];
	kit_start(rank);
	if (!kit_has(DPI_TP_LAST_BYTE_LAST)) SKIP("it does not claim that the last byte comes last");
	kit_share(&w, SIZE, KIT_ALL, &r);
	for (int i = 1; i <= ROUNDS; i++) {
		uint64_t size = i % 2 ? SIZE : (uint64_t)i * 8;
		memset(data, i, size);
		if (rank == 0) CHECK_KIT(kit_put(&r, data, size, 0, NULL));
		else {
			KIT_AWAIT(((_Atomic uint8_t *)w.memory)[size - 1] == (uint8_t)i);
			atomic_thread_fence(memory_order_acquire);
			CHECK(!memcmp(w.memory, data, size));
		}
		kit_barrier();
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* The target sits in a call that is none of the library's. */
KIT_TEST(tp_passive, "T-51", 60)
{
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[100000];
	kit_start(rank);
	if (!kit_has(DPI_TP_PASSIVE)) SKIP("it does not claim that a target needs no progress");
	kit_share(&w, sizeof data, KIT_ALL, &r);
	_Atomic int *told = (_Atomic int *)harness_shared() + HARNESS_SHARED / sizeof(int) - 1;
	if (rank == 0) {
		uint64_t before = 7;
		kit_fill(data, 4, 0, sizeof data);
		CHECK_KIT(kit_put(&r, data, sizeof data, 0, NULL));
		CHECK_KIT(kit_flush());
		memset(data, 0, sizeof data);
		CHECK_KIT(kit_get(&r, data, sizeof data, 0));
		CHECK(kit_filled(data, 4, 0, sizeof data));
		if (kit_has(DPI_TP_ATOMICS)) CHECK_KIT(kit_fetch_add(&r, 0, 0, &before));
		atomic_store(told, 1);
	} else {
		AWAIT(atomic_load(told));
		CHECK(kit_filled(w.memory, 4, 0, sizeof data));
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}
