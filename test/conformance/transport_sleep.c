/* SPDX-License-Identifier: Apache-2.0
 * transport_sleep.c: waiting without turning: the descriptor, arm, and messages. */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "transport_kit.h"

/* Arm, look once more, sleep on the transport and on bells: as the core does it. */
static void sleep_until(bool (*ready)(const void *), const void *argument)
{
	int fd = -1;
	CHECK_KIT(kit.table->get_fd(kit.tp, 0, &fd));
	while (!ready(argument)) {
		struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = kit.bell_fd[kit.rank], .events = POLLIN}};
		uint64_t rung;
		int error = kit.table->arm(kit.tp, 0);
		if (error == DPI_ERR_AGAIN) {
			kit_progress();
			continue;
		}
		CHECK_KIT(error);
		if (ready(argument)) return;
		if (poll(p, 2, 5000 * harness_slow()) <= 0) FAIL("a wake-up was lost");
		if (p[1].revents && read(kit.bell_fd[kit.rank], &rung, sizeof rung) < 0) rung = 0;
		kit_progress();
	}
}

struct word {
	const struct kit_window *w;
	uint64_t offset, value;
};

static bool word_ready(const void *argument)
{
	const struct word *a = argument;
	return kit_word(a->w, a->offset) >= a->value;
}

static bool op_ready(const void *argument)
{
	return kit_finished(argument);
}

KIT_TEST(tp_sleep, "T-52", 180)
{
	enum { ROUNDS = 600, SIZE = 20000 };
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[SIZE];
	uint64_t seed = harness_seed() + (uint64_t)rank;
	int fd;
	kit_start(rank);
	if (!kit_has(DPI_TP_FD)) {
		CHECK_KIT_ERROR(kit.table->get_fd(kit.tp, 0, &fd), DPI_ERR_UNSUPPORTED);
		kit_end();
		return;
	}
	kit_share(&w, SIZE + 8, KIT_ALL, &r);
	for (uint64_t i = 1; i <= ROUNDS; i++) {
		if (rank == (int)(i % 2)) {
			struct kit_op op;
			struct iovec iov = {data, kit_random(&seed) % (i % 10 < 2 ? SIZE : 100)};
			DPI_Tp_Notify n = {.offset = SIZE, .value = i, .bell = 1};
			/* before, while and after the other goes to sleep */
			int64_t until = kit_us() + (int64_t)(kit_random(&seed) % 60);
			while (kit_us() < until) {}
			KIT_POST(&op, kit.table->put(r.remote, &iov, 1, 0, &n, 0, &op));
			sleep_until(op_ready, &op);
			CHECK_KIT(kit_finish(&op));
			if (i % 5) continue;
			KIT_POST(&op, kit.table->get(r.remote, &iov, 1, 0, &op));
			sleep_until(op_ready, &op);
			CHECK_KIT(kit_finish(&op));
			KIT_POST(&op, kit.table->flush(kit.to, &op));
			sleep_until(op_ready, &op);
			CHECK_KIT(kit_finish(&op));
		} else {
			/* who has to answer gets must not be asleep on bells alone, so it sleeps here too */
			sleep_until(word_ready, &(struct word){&w, SIZE, i});
		}
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* Nothing to do: progress says so, at once; something: it says that too. */
KIT_TEST(tp_progress_events, "T-54", 60)
{
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[100000];
	struct kit_op op;
	int moved;
	kit_start(rank);
	kit_share(&w, sizeof data, KIT_ALL, &r);
	CHECK_KIT(kit_flush());
	kit_barrier();
	do { /* until nothing comes any more from the other side */
		for (int i = 0; i < 200; i++) kit_pause();
		int64_t begin = kit_us();
		moved = 0;
		for (int i = 0; i < 1000; i++) moved += kit_progress();
		CHECK_INT(kit_us() - begin, <, 10000000 * harness_slow());
	} while (moved);
	CHECK_KIT(kit.table->progress(kit.tp, 0, NULL));
	kit_barrier();
	struct iovec iov = {data, sizeof data};
	KIT_POST(&op, kit.table->get(r.remote, &iov, 1, 0, &op));
	while (!kit_finished(&op)) moved += kit_progress();
	CHECK(op.posted != DPI_TP_PENDING || moved > 0);
	CHECK_KIT(kit_finish(&op));
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* -------------------------------------------------------------------------------------------------------- messages */

static int send_message(const void *bytes, size_t size)
{
	int error;
	struct kit_op op;
	do {
		kit_before(&op);
		error = kit.table->send(kit.to, bytes, size, 0);
	} while (kit_after(&op, error));
	return error;
}

KIT_TEST(tp_send, "T-47 T-48 T-30", 120)
{
	enum { MESSAGES = 2000 };
	static uint8_t bytes[1 << 20];
	kit_start(rank);
	size_t most = kit.attr.max_send;
	CHECK_INT(most, <, sizeof bytes);
	if (!most) {
		CHECK_KIT_ERROR(send_message("hello", 5), DPI_ERR_UNSUPPORTED);
		kit_end();
		return;
	}
	for (int i = 0; i < MESSAGES; i++) {
		size_t size = i == 0 ? 0 : i == 1 ? most : 1 + (size_t)i * 13 % (i % 50 && most > 200 ? 200 : most);
		kit_fill(bytes, (uint64_t)(10000 * rank + i), 0, size);
		CHECK_KIT(send_message(bytes, size));
		memset(bytes, 0, size);
	}
	CHECK_KIT_ERROR(send_message(bytes, most + 1), DPI_ERR_SIZE);
	KIT_AWAIT(kit.messages >= MESSAGES);
	kit_barrier();
	CHECK_INT(kit.messages, ==, MESSAGES);
	for (int i = 0; i < MESSAGES; i++) {
		size_t size = i == 0 ? 0 : i == 1 ? most : 1 + (size_t)i * 13 % (i % 50 && most > 200 ? 200 : most);
		CHECK_INT(kit.inbox[i].node, ==, kit.other);
		CHECK_INT(kit.inbox[i].size, ==, size);
		CHECK(kit_filled(kit.inbox[i].bytes, (uint64_t)(10000 * kit.other + i), 0, size < 256 ? size : 256));
	}
	kit_end();
}
