/* SPDX-License-Identifier: Apache-2.0
 * transport_copy.c: put, get and flush: every byte where it belongs, and no other. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "transport_kit.h"

#define MIB 1048576u
static const uint64_t sizes[] = {0, 1, 7, 8, 9, 64, 100, 4095, 4096, 4097, 16384, 65536, 65537, MIB + 3};
#define SIZES (sizeof sizes / sizeof *sizes)
#define WINDOW (2 * MIB + 64)

static void check_window(const struct kit_window *w, uint64_t seed, uint64_t offset, uint64_t size)
{
	CHECK(kit_all(w->memory, 0, offset));
	CHECK(kit_filled(w->memory + offset, seed, 0, size));
	CHECK(kit_all(w->memory + offset + size, 0, w->length - offset - size));
}

KIT_TEST(tp_put_sizes, "T-35 T-37", 180)
{
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[2 * MIB];
	kit_start(rank);
	kit_share(&w, WINDOW, KIT_ALL, &r);
	for (size_t i = 0; i < SIZES; i++) {
		const uint64_t offsets[] = {0, 1, 7, 8, 4090, WINDOW - sizes[i]};
		for (size_t k = 0; k < 6; k++) {
			kit_fill(data, 10 * i + k, 0, sizes[i]);
			if (rank == 0) {
				CHECK_KIT(kit_put(&r, data, sizes[i], offsets[k], NULL));
				CHECK_KIT(kit_flush());
			}
			kit_barrier();
			if (rank == 1) {
				check_window(&w, 10 * i + k, offsets[k], sizes[i]);
				memset(w.memory, 0, WINDOW);
			}
			kit_barrier();
		}
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

KIT_TEST(tp_get_sizes, "T-36", 180)
{
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[2 * MIB];
	kit_start(rank);
	kit_share(&w, WINDOW, KIT_ALL, &r);
	kit_fill(w.memory, 5 + (uint64_t)rank, 0, WINDOW);
	kit_barrier();
	for (size_t i = 0; i < SIZES; i++) {
		const uint64_t offsets[] = {0, 1, 7, 8, 4090, WINDOW - sizes[i]};
		for (size_t k = 0; k < 6; k++) {
			memset(data, 0, sizes[i] + 16);
			CHECK_KIT(kit_get(&r, data + 5, sizes[i], offsets[k]));
			CHECK(kit_all(data, 0, 5));
			CHECK(kit_filled(data + 5, 5 + (uint64_t)kit.other, offsets[k], sizes[i]));
			CHECK(kit_all(data + 5 + sizes[i], 0, 11));
		}
	}
	kit_barrier();
	CHECK(kit_filled(w.memory, 5 + (uint64_t)rank, 0, WINDOW));
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* Pieces of all sizes, empty ones among them; as many as there may be; the array is used up on return. */
KIT_TEST(tp_pieces, "T-33 T-35 T-36", 120)
{
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[WINDOW], back[WINDOW];
	uint64_t seed = harness_seed();
	kit_start(rank);
	kit_share(&w, WINDOW, KIT_ALL, &r);
	int most = kit.attr.max_iov ? (int)kit.attr.max_iov : 1024;
	struct iovec *iov = calloc((size_t)most + 1, sizeof *iov);
	for (int round = 0; rank == 0 && round < 30; round++) {
		struct kit_op op;
		int count = round % 3 ? 1 + (int)(kit_random(&seed) % (uint64_t)most) : most;
		uint64_t total = 0, at = 0, offset = kit_random(&seed) % 64;
		for (int i = 0; i < count; i++) {
			uint64_t size = kit_random(&seed) % 4 ? kit_random(&seed) % (round % 5 ? 200 : 20000) : 0;
			if (total + size > WINDOW - 64) size = 0;
			iov[i] = (struct iovec){data + total, size};
			total += size;
		}
		kit_fill(data, (uint64_t)round, 0, total);
		KIT_POST(&op, kit.table->put(r.remote, iov, count, offset, NULL, 0, &op));
		memset(iov, 0xff, (size_t)count * sizeof *iov);
		CHECK_KIT(kit_finish(&op));
		CHECK_KIT(kit_flush());
		memset(back, 0, total + 64);
		for (int i = 0; i < count; i++) {
			uint64_t size = i + 1 < count ? total / (uint64_t)count : total - at;
			iov[i] = (struct iovec){back + at, size};
			at += size;
		}
		KIT_POST(&op, kit.table->get(r.remote, iov, count, offset, &op));
		memset(iov, 0xff, (size_t)count * sizeof *iov);
		CHECK_KIT(kit_finish(&op));
		CHECK(kit_filled(back, (uint64_t)round, 0, total) && kit_all(back + total, 0, 64));
	}
	if (kit.attr.max_iov && rank == 0) {
		for (int i = 0; i <= most; i++) iov[i] = (struct iovec){data, 1};
		CHECK_KIT_ERROR(kit_put_pieces(&r, iov, most + 1, 0, NULL), DPI_ERR_LIMIT);
		struct kit_op op;
		KIT_POST(&op, kit.table->get(r.remote, iov, most + 1, 0, &op));
		CHECK_INT(kit_finish(&op), ==, DPI_ERR_LIMIT);
	}
	free(iov);
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

KIT_TEST(tp_largest, "T-33", 60)
{
	struct kit_window w;
	struct kit_remote r;
	kit_start(rank);
	uint64_t most = kit.attr.max_put && kit.attr.max_put < 16 * MIB ? kit.attr.max_put : 16 * MIB;
	kit_share(&w, 16 * MIB + 8, KIT_ALL, &r);
	uint8_t *data = malloc(16 * MIB + 8);
	kit_fill(data, 3, 0, most);
	if (rank == 0) {
		CHECK_KIT(kit_put(&r, data, most, 5, NULL));
		CHECK_KIT(kit_flush());
		memset(data, 0, most);
		CHECK_KIT(kit_get(&r, data, most, 5));
		CHECK(kit_filled(data, 3, 0, most));
		if (kit.attr.max_put && kit.attr.max_put < 16 * MIB) {
			CHECK_KIT_ERROR(kit_put(&r, data, most + 1, 0, NULL), DPI_ERR_LIMIT);
			CHECK_KIT_ERROR(kit_get(&r, data, most + 1, 0), DPI_ERR_LIMIT);
		}
	}
	kit_barrier();
	if (rank == 1) CHECK(kit_filled(w.memory + 5, 3, 0, most));
	free(data);
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* Every way of leaving the window, and nothing changes in it. */
KIT_TEST(tp_range, "T-25 T-29 T-41", 60)
{
	enum { SIZE = 10000 };
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[SIZE + 8];
	uint64_t before;
	kit_start(rank);
	kit_share(&w, SIZE, KIT_ALL, &r);
	kit_fill(data, 1, 0, sizeof data);
	if (rank == 0) {
		static const struct {
			uint64_t offset, size;
		} bad[] = {
			{SIZE, 1}, {SIZE - 1, 2}, {0, SIZE + 1}, {SIZE + 1, 0}, {UINT64_MAX, 1}, {UINT64_MAX, 0},
			{UINT64_MAX - 7, 8}, {UINT64_MAX - 7, 16}, {1ull << 63, 8}, {8, SIZE - 7}, {1ull << 32, 1},
		};
		static const uint64_t words[] = {SIZE, SIZE - 4, SIZE + 8, UINT64_MAX - 7, UINT64_MAX - 8, 1, 4, 1ull << 63};
		for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
			CHECK_KIT_ERROR(kit_put(&r, data, bad[i].size, bad[i].offset, NULL), DPI_ERR_RANGE);
			CHECK_KIT_ERROR(kit_get(&r, data, bad[i].size, bad[i].offset), DPI_ERR_RANGE);
		}
		/* sums that do not fit into 64 bits, of memory that is never looked at */
		struct iovec huge[] = {{data, 8}, {data, SIZE_MAX}, {data, 16}};
		int too_much = kit.attr.max_put ? DPI_ERR_LIMIT : DPI_ERR_RANGE;
		for (int count = 2; count <= 3; count++) {
			int error = kit_put_pieces(&r, huge, count, 0, NULL);
			CHECK(error == DPI_ERR_RANGE || error == too_much);
		}
		for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
			DPI_Tp_Notify n = {.offset = words[i], .value = UINT64_MAX, .bell = 3};
			CHECK_KIT_ERROR(kit_put(&r, data, 8, 0, &n), DPI_ERR_RANGE);
			CHECK_KIT_ERROR(kit_put(&r, NULL, 0, 0, &n), DPI_ERR_RANGE);
			if (!kit_has(DPI_TP_ATOMICS)) continue;
			CHECK_KIT_ERROR(kit_fetch_add(&r, words[i], 1, &before), DPI_ERR_RANGE);
			CHECK_KIT_ERROR(kit_compare_swap(&r, words[i], 0, 1, &before), DPI_ERR_RANGE);
		}
		/* the edges themselves are inside */
		CHECK(kit_filled(data, 1, 0, sizeof data));
		CHECK_KIT(kit_put(&r, NULL, 0, SIZE, NULL));
		CHECK_KIT(kit_put(&r, data, 1, SIZE - 1, NULL));
		CHECK_KIT(kit_flush());
	}
	kit_barrier();
	if (rank == 1) {
		CHECK(kit_all(w.memory, 0, SIZE - 1));
		CHECK_INT(w.memory[SIZE - 1], ==, kit_pattern(1, 0));
		CHECK_INT(kit_rung(3), ==, 0);
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* A completion gives the memory back: what arrives is what it held before. */
KIT_TEST(tp_reuse, "T-27 T-31 T-32", 120)
{
	enum { ROUNDS = 600, SLOT = 3000 };
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[SLOT];
	kit_start(rank);
	kit_share(&w, ROUNDS * SLOT, KIT_ALL, &r);
	if (rank == 0) {
		for (uint64_t i = 0; i < ROUNDS; i++) {
			struct kit_op op;
			uint64_t size = i % 3 ? i % SLOT : SLOT;
			struct iovec iov = {data, size};
			kit_fill(data, i, 0, size);
			KIT_POST(&op, kit.table->put(r.remote, &iov, 1, i * SLOT, NULL, i % 2 ? DPI_TP_MORE : 0, &op));
			if (size <= kit.attr.inline_size) CHECK_INT(op.posted, ==, DPI_SUCCESS);
			CHECK_KIT(kit_finish(&op));
			memset(data, 0xcc, SLOT);
		}
		CHECK_KIT(kit_flush());
	}
	kit_barrier();
	for (uint64_t i = 0; rank == 1 && i < ROUNDS; i++)
		CHECK(kit_filled(w.memory + i * SLOT, i, 0, i % 3 ? i % SLOT : SLOT));
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* After a flush the other need only be told by any means; and gets and atomics find what was flushed. */
KIT_TEST(tp_flush, "T-37 T-38", 120)
{
	enum { SIZE = 70000 };
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[SIZE], back[SIZE];
	kit_start(rank);
	kit_share(&w, SIZE, KIT_ALL, &r);
	for (uint64_t i = 1; i <= 150; i++) {
		uint64_t size = 8 + (i * 7919) % (i % 10 ? 2000 : SIZE - 8), before;
		if (rank == 0) {
			struct kit_op ops[4], flush;
			struct iovec iov[4];
			kit_fill(data, i, 0, size);
			for (uint64_t k = 0; k < 4; k++) { /* in parts, none waited for before the flush is posted */
				uint64_t a = size * k / 4, b = size * (k + 1) / 4;
				iov[k] = (struct iovec){data + a, b - a};
				KIT_POST(&ops[k], kit.table->put(r.remote, &iov[k], 1, a, NULL, 0, &ops[k]));
			}
			KIT_POST(&flush, kit.table->flush(kit.to, &flush));
			CHECK_KIT(kit_finish(&flush));
			CHECK_KIT(kit_get(&r, back, size, 0));
			CHECK(kit_filled(back, i, 0, size));
			if (kit_has(DPI_TP_ATOMICS)) {
				memcpy(&before, data, 8);
				uint64_t seen;
				CHECK_KIT(kit_fetch_add(&r, 0, 0, &seen));
				CHECK_INT(seen, ==, before);
			}
			for (int k = 0; k < 4; k++) CHECK_KIT(kit_finish(&ops[k]));
		}
		kit_barrier();
		if (rank == 1) CHECK(kit_filled(w.memory, i, 0, size));
		kit_barrier();
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* Posts pile up at a peer that takes nothing: none waits, all complete once it goes on. */
KIT_TEST(tp_pile_up, "T-26 T-28 T-29 T-30", 180)
{
	enum { OPS = 3000, SIZE = 8192 };
	struct kit_window w;
	struct kit_remote r;
	static struct kit_op ops[OPS];
	static uint8_t data[OPS / 3][SIZE];
	int posted = 0, again = 0;
	kit_start(rank);
	kit_share(&w, OPS * SIZE, KIT_ALL, &r);
	if (rank == 0) {
		int64_t longest = 0;
		harness_kill(1, SIGSTOP);
		while (posted < OPS && again < 200) {
			struct kit_op *op = &ops[posted];
			uint8_t *bytes = data[posted / 3];
			struct iovec iov = {bytes, SIZE};
			if (posted % 3 == 0) kit_fill(bytes, (uint64_t)posted, 0, SIZE);
			kit_before(op);
			int64_t begin = kit_us();
			int error = kit.table->put(r.remote, &iov, 1, (uint64_t)posted * SIZE, NULL, 0, op);
			int64_t took = kit_us() - begin;
			if (took > longest) longest = took;
			again += kit_after(op, error);
			if (error == DPI_ERR_AGAIN) continue;
			CHECK(!error || error == DPI_TP_PENDING);
			posted++;
		}
		harness_kill(1, SIGCONT);
		CHECK_INT(longest, <, 200000 * harness_slow());
		for (int i = 0; i < posted; i++) CHECK_KIT(kit_finish(&ops[i]));
		CHECK_KIT(kit_flush());
		for (int i = 0; i < posted; i++) CHECK(ops[i].completions == (ops[i].posted == DPI_TP_PENDING));
	}
	kit_swap(&posted, &again, sizeof posted);
	if (rank == 1) {
		CHECK_INT(again, >, 0);
		for (int i = 0; i < again; i++)
			CHECK(kit_filled(w.memory + (uint64_t)i * SIZE, (uint64_t)(i - i % 3), 0, SIZE));
		CHECK(kit_all(w.memory + (uint64_t)again * SIZE, 0, (uint64_t)(OPS - again) * SIZE));
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* Whom nobody waits for completes in the end, when its memory is wanted back. */
KIT_TEST(tp_late, "T-63 T-31 T-28", 60)
{
	enum { ROUNDS = 40, SLOT = 20000 };
	struct kit_window w, from;
	struct kit_remote r;
	static struct kit_op op[ROUNDS];
	kit_start(rank);
	kit_share(&w, ROUNDS * SLOT, KIT_ALL, &r);
	kit_memory(&from, ROUNDS * SLOT, true);
	CHECK_KIT(kit_expose(&from, DPI_TP_WRITE));
	for (uint64_t i = 0; rank == 0 && i < ROUNDS; i++) {
		struct iovec iov = {from.memory + i * SLOT, SLOT - i};
		kit_fill(iov.iov_base, i, 0, iov.iov_len);
		KIT_POST(&op[i], kit.table->put(r.remote, &iov, 1, i * SLOT, NULL, DPI_TP_LATE, &op[i]));
	}
	if (rank == 0) CHECK_KIT(kit_flush());
	kit_free(&from);
	for (int i = 0; rank == 0 && i < ROUNDS; i++) CHECK_KIT(kit_finish(&op[i]));
	kit_barrier();
	for (uint64_t i = 0; rank == 1 && i < ROUNDS; i++) CHECK(kit_filled(w.memory + i * SLOT, i, 0, SLOT - i));
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* Held back at most until the next progress. */
KIT_TEST(tp_more, "T-34", 60)
{
	struct kit_window w;
	struct kit_remote r;
	kit_start(rank);
	kit_share(&w, 4096, KIT_ALL, &r);
	for (uint64_t i = 1; i <= 50; i++) {
		if (rank == 0) {
			struct kit_op op[3];
			struct iovec iov = {&i, 8};
			for (uint64_t k = 0; k < 3; k++)
				KIT_POST(&op[k], kit.table->put(r.remote, &iov, 1, 8 * k, NULL, DPI_TP_MORE, &op[k]));
			kit_progress();
			for (int k = 0; k < 3; k++) CHECK_KIT(kit_finish(&op[k]));
		} else {
			for (uint64_t k = 0; k < 3; k++) KIT_AWAIT(kit_word(&w, 8 * k) == i);
		}
		kit_barrier();
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* Both put and get large pieces at once: neither may wait for the other to stop. */
KIT_TEST(tp_both_ways, "T-35 T-36 T-28", 180)
{
	enum { SIZE = 300000, OPS = 40 };
	struct kit_window w;
	struct kit_remote r;
	static uint8_t out[SIZE], in[OPS][SIZE];
	static struct kit_op puts[OPS], gets[OPS];
	kit_start(rank);
	kit_share(&w, 2 * SIZE, KIT_ALL, &r);
	kit_fill(w.memory + SIZE, 20 + (uint64_t)rank, 0, SIZE);
	kit_fill(out, 30 + (uint64_t)rank, 0, SIZE);
	kit_barrier();
	for (int i = 0; i < OPS; i++) {
		struct iovec from = {out, SIZE}, to = {in[i], SIZE};
		KIT_POST(&puts[i], kit.table->put(r.remote, &from, 1, 0, NULL, 0, &puts[i]));
		KIT_POST(&gets[i], kit.table->get(r.remote, &to, 1, SIZE, &gets[i]));
	}
	for (int i = 0; i < OPS; i++) {
		CHECK_KIT(kit_finish(&puts[i]));
		CHECK_KIT(kit_finish(&gets[i]));
		CHECK(kit_filled(in[i], 20 + (uint64_t)kit.other, 0, SIZE));
	}
	CHECK_KIT(kit_flush());
	kit_barrier();
	CHECK(kit_filled(w.memory, 30 + (uint64_t)kit.other, 0, SIZE));
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* Words are whole while puts go on: every put writes words of eight equal bytes. */
KIT_TEST(tp_words, "T-43", 120)
{
	enum { SIZE = 200008, ROUNDS = 250 };
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[2][SIZE];
	uint64_t seed = harness_seed();
	kit_start(rank);
	kit_share(&w, SIZE, KIT_ALL, &r);
	for (int i = 0; rank == 0 && i < ROUNDS; i++) {
		struct kit_op op;
		uint64_t size = i % 2 ? 8 + kit_random(&seed) % 1000 * 8 : SIZE - 8, cut = kit_random(&seed) % size;
		uint8_t *bytes = data[i % 2] + i % 8; /* not aligned where it comes from */
		memset(bytes, i, size);
		struct iovec iov[2] = {{bytes, cut}, {bytes + cut, size - cut}}; /* nor in how it is cut */
		KIT_POST(&op, kit.table->put(r.remote, iov, 2, 0, NULL, 0, &op));
		CHECK_KIT(kit_finish(&op));
	}
	if (rank == 0) {
		uint64_t end = 1;
		CHECK_KIT(kit_flush());
		CHECK_KIT(kit_put(&r, &end, 8, SIZE - 8, NULL));
	}
	while (rank == 1 && !kit_word(&w, SIZE - 8)) {
		kit_progress();
		for (uint64_t i = 0; i < SIZE - 8; i += 8) {
			uint64_t word = kit_word(&w, i);
			if (word != (word & 0xff) * 0x0101010101010101u)
				FAIL("word at %" PRIu64 " is torn: %016" PRIx64, i, word);
		}
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* The other way: words change while they are got. */
KIT_TEST(tp_words_got, "T-43", 120)
{
	enum { WORDS = 4096, ROUNDS = 400 };
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[8 * WORDS + 8];
	uint64_t seed = harness_seed();
	kit_start(rank);
	kit_share(&w, 8 * WORDS, KIT_ALL, &r);
	_Atomic int *over = (_Atomic int *)harness_shared() + HARNESS_SHARED / sizeof(int) - 1;
	for (int i = 0; rank == 0 && i < ROUNDS; i++) {
		struct kit_op op;
		uint64_t first = kit_random(&seed) % WORDS, size = 8 * (1 + kit_random(&seed) % (WORDS - first));
		uint64_t cut = kit_random(&seed) % size;
		uint8_t *bytes = data + i % 8;
		struct iovec iov[2] = {{bytes, cut}, {bytes + cut, size - cut}};
		KIT_POST(&op, kit.table->get(r.remote, iov, 2, 8 * first, &op));
		CHECK_KIT(kit_finish(&op));
		for (uint64_t k = 0; k < size; k += 8)
			if (!kit_all(bytes + k, bytes[k], 8)) FAIL("word %" PRIu64 " of those got is torn", k / 8);
	}
	if (rank == 0) atomic_store(over, 1);
	for (uint64_t i = 0; rank == 1 && !atomic_load(over); i++) {
		_Atomic uint64_t *word = (_Atomic uint64_t *)(void *)w.memory;
		for (uint64_t k = 0; k < WORDS; k++)
			atomic_store_explicit(&word[k], (i & 0xff) * 0x0101010101010101u, memory_order_relaxed);
		kit_progress();
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}
