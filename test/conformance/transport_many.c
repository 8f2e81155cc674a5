/* SPDX-License-Identifier: Apache-2.0
 * transport_many.c: the same bytes to several windows. */
#include <stdlib.h>
#include <unistd.h>

#include "transport_kit.h"

enum { SIZE = 70000, WORDS = SIZE, LENGTH = SIZE + 64 };

static const char *multicast(const char *name)
{
	return strcmp(name, "MULTICAST") ? NULL : "on";
}

static int put_many(struct kit_remote r[2], const void *data, size_t size, uint64_t offset, const DPI_Tp_Notify *n, struct kit_op *op)
{
	struct iovec v = { (void *)(uintptr_t)data, size };
	DPI_Tp_To to[2] = { { r[0].remote, offset, n }, { r[1].remote, offset + 1, n } };
	KIT_POST(op, kit.table->put_many(kit.tp, to, 2, &v, 1, 0, op));
	return kit_finish(op);
}

/* The network may be slow to take part; if it never does, all go by puts. */
KIT_TEST(tp_put_many, "T-61", 180)
{
	enum { ROUNDS = 300 };
	static const size_t sizes[] = { 1, 8, 100, 1000, 5000, 20000, 65536 };
	static struct kit_op op;
	static uint8_t data[SIZE];
	struct kit_window w[2];
	struct kit_remote r[2];
	bool reached = false;
	kit.setting = multicast;
	kit_start(rank);
	for (int i = 0; i < 2; i++) kit_share(&w[i], LENGTH, KIT_ALL, &r[i]);
	if (!kit_has(DPI_TP_MULTICAST)) {
		CHECK_INT(kit.attr.max_many, ==, 0);
		CHECK_INT(put_many(r, data, 100, 0, NULL, &op), ==, DPI_ERR_UNSUPPORTED);
		CHECK(*kit_sentence());
	} else if (rank == 0) {
		CHECK(put_many(r, data, SIZE, 0, NULL, &op));
		for (int i = 0; i < 5000 && !reached; i++) {
			reached = !put_many(r, data, 1, SIZE - 8, NULL, &op);
			for (int k = 0; k < 10 && !reached; k++) kit_pause();
			usleep(1000);
		}
		if (!reached && getenv("RDMA_HOSTS")) FAIL("in the RDMA machine, whose wire carries them, no multicast came through");
		printf("multicast: %s\n", reached ? "reached" : "not reached");
	}
	kit_barrier();
	for (uint64_t i = 1; i <= ROUNDS && kit_has(DPI_TP_MULTICAST); i++) {
		size_t size = sizes[i % 7];
		uint64_t offset = i % 13;
		DPI_Tp_Notify n = { WORDS, i, 1 }, then = { WORDS + 8, i, 2 }, back = { WORDS + 16, i, 3 };
		if (size > kit.attr.max_many) size = kit.attr.max_many;
		kit_fill(data, i, 0, size);
		if (rank == 0) {
			int error = put_many(r, data, size, offset, &n, &op);
			if (error) {
				CHECK_INT(error, ==, DPI_ERR_UNSUPPORTED);
				for (int k = 0; k < 2; k++) CHECK_KIT(kit_put(&r[k], data, size, offset + (uint64_t)k, &n));
			}
			memset(data, 0xee, size); /* it is the caller's again */
			CHECK_KIT(kit_put(&r[0], NULL, 0, 0, &then));
			KIT_AWAIT(kit_word(&w[0], WORDS + 16) == i);
		} else {
			KIT_AWAIT(kit_word(&w[0], WORDS + 8) == i);
			for (int k = 0; k < 2; k++) {
				CHECK_INT(kit_word(&w[k], WORDS), ==, i);
				CHECK(kit_filled(w[k].memory + offset + k, i, 0, size));
			}
			CHECK_KIT(kit_put(&r[0], NULL, 0, 0, &back));
		}
	}
	kit_barrier();
	kit.setting = NULL;
	kit_end();
	for (int i = 0; i < 2; i++) {
		w[i].window = NULL;
		kit_free(&w[i]);
	}
}
