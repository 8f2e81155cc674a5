/* SPDX-License-Identifier: Apache-2.0
 * transport_death.c: peers that stop, die or are given up, and operations that are taken back. */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "transport_kit.h"

enum { OPS = 200, SIZE = 60000 };
static struct kit_op ops[OPS];
static uint8_t out[SIZE], in[OPS][SIZE];

static int post(struct kit_remote *r, int i)
{
	struct kit_op *op = &ops[i];
	struct iovec from = {out, SIZE}, to = {in[i], SIZE};
	kit_before(op);
	int error = i % 4 == 3 ? kit.table->flush(kit.to, op)
		    : i % 2    ? kit.table->get(r->remote, &to, 1, 0, op)
			       : kit.table->put(r->remote, &from, 1, 0, NULL, 0, op);
	kit_after(op, error);
	return error;
}

/* Post until it is full, or there are no more; how many were accepted. */
static int post_all(struct kit_remote *r)
{
	int n = 0;
	for (int again = 0; n < OPS && again < 50;) {
		int error = post(r, n);
		CHECK(!error || error == DPI_TP_PENDING || error == DPI_ERR_AGAIN);
		if (error == DPI_ERR_AGAIN) again++;
		else n++;
	}
	return n;
}

static bool all_finished(int n)
{
	for (int i = 0; i < n; i++)
		if (!kit_finished(&ops[i])) return false;
	return true;
}

/* Killed while its peer's operations are under way. */
KIT_TEST(tp_peer_killed, "T-15 T-28 T-56", 120)
{
	struct kit_window w;
	struct kit_remote r;
	kit_start(rank);
	kit_share(&w, SIZE, KIT_ALL, &r);
	kit_barrier();
	if (rank == 1)
		for (;;) kit_pause();
	harness_kill(1, SIGSTOP); /* so that much is under way */
	int n = post_all(&r);
	harness_kill(1, SIGKILL);
	KIT_AWAIT(!harness_alive(1));
	/* a transport without connections leaves it to the core to notice, which has by now */
	if (!kit_has(DPI_TP_SAME_HOST)) KIT_AWAIT(kit.lost);
	KIT_AWAIT(all_finished(n));
	for (int i = 0; i < n; i++) {
		CHECK(ops[i].completions == (ops[i].posted == DPI_TP_PENDING));
		CHECK(ops[i].posted != DPI_TP_PENDING || !ops[i].error || ops[i].error == DPI_ERR_PEER);
	}
	if (kit.lost) {
		CHECK_INT(kit.lost_node, ==, 1);
		CHECK(*kit.lost_sentence);
		CHECK_KIT_ERROR(kit_put(&r, out, 1, 0, NULL), DPI_ERR_PEER);
		CHECK_KIT_ERROR(kit_get(&r, in[0], 1, 0), DPI_ERR_PEER);
		CHECK_KIT_ERROR(kit_flush(), DPI_ERR_PEER);
	} else { /* stores into memory of the dead harm nobody */
		for (int i = 0; i < 20; i++) CHECK_KIT(kit_put(&r, out, SIZE, 0, NULL));
		if (r.direct) memset(r.direct, 1, SIZE);
	}
	for (int i = 0; i < 100; i++) kit_pause();
	CHECK_INT(kit.lost, <=, 1);
	kit_detach(&r);
	kit.table->disconnect(kit.to);
	kit_free(&w);
	kit.table->close(kit.tp);
}

/* The other way round: who put is dead; the target is not held up. */
KIT_TEST(tp_initiator_killed, "T-15 T-23", 120)
{
	struct kit_window w;
	struct kit_remote r;
	kit_start(rank);
	kit_share(&w, SIZE, KIT_ALL, &r);
	kit_barrier();
	if (rank == 0)
		for (int i = 0;; i = (i + 1) % OPS) {
			if (i % 4 == 1) i++; /* puts and flushes */
			post(&r, i);
			KIT_AWAIT(kit_finished(&ops[i]));
		}
	for (int i = 0; i < 300; i++) kit_pause();
	harness_kill(0, SIGKILL);
	KIT_AWAIT(!harness_alive(0));
	if (!kit_has(DPI_TP_SAME_HOST)) KIT_AWAIT(kit.lost);
	kit_free(&w); /* nothing of a dead peer is in flight for ever */
	kit.table->disconnect(kit.to);
	kit.table->close(kit.tp);
}

/* Given up: all completes in the call, and nothing is written to the caller's memory later. */
KIT_TEST(tp_disconnect, "T-14 T-28", 120)
{
	struct kit_window w;
	struct kit_remote r;
	kit_start(rank);
	kit_share(&w, SIZE, KIT_ALL, &r);
	memset(w.memory, 0x77, SIZE);
	kit_barrier();
	if (rank == 0) {
		harness_kill(1, SIGSTOP);
		int n = post_all(&r);
		int before = 0, after = 0;
		for (int i = 0; i < n; i++) before += kit_finished(&ops[i]);
		kit.table->disconnect(kit.to);
		for (int i = 0; i < n; i++) {
			CHECK(kit_finished(&ops[i]));
			after += ops[i].posted == DPI_TP_PENDING && ops[i].error == DPI_ERR_PEER;
			CHECK(ops[i].posted != DPI_TP_PENDING || !ops[i].error || ops[i].error == DPI_ERR_PEER);
		}
		CHECK_INT(after, >=, n - before);
		memset(in, 0x11, sizeof in);
		harness_kill(1, SIGCONT);
		for (int i = 0; i < 200; i++) kit_pause();
		CHECK(kit_all(in, 0x11, sizeof in));
		for (int i = 0; i < n; i++) CHECK(ops[i].completions == (ops[i].posted == DPI_TP_PENDING));
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* Taken back: no completion after, and the memory is the caller's again. */
KIT_TEST(tp_cancel, "T-58 T-30", 120)
{
	struct kit_window w;
	struct kit_remote r;
	kit_start(rank);
	kit_share(&w, SIZE, KIT_ALL, &r);
	memset(w.memory, 0x77, SIZE);
	kit_barrier();
	if (rank == 0) {
		bool taken_back[OPS];
		harness_kill(1, SIGSTOP);
		int n = post_all(&r), completed[OPS];
		for (int i = 0; i < n; i++) {
			taken_back[i] = false;
			if (kit_finished(&ops[i]) || i % 3 == 0) continue;
			kit_forget_sentence();
			int error = kit.table->cancel(kit.to, &ops[i]);
			CHECK(!error || error == DPI_ERR_UNSUPPORTED);
			taken_back[i] = !error;
			completed[i] = ops[i].completions;
			if (!error && i % 2) memset(in[i], 0x11, SIZE);
		}
		harness_kill(1, SIGCONT);
		for (int i = 0; i < n; i++)
			if (!taken_back[i]) CHECK_KIT(kit_finish(&ops[i]));
		CHECK_KIT(kit_flush());
		for (int i = 0; i < 200; i++) kit_pause();
		for (int i = 0; i < n; i++) {
			if (!taken_back[i]) continue;
			CHECK_INT(ops[i].completions, ==, completed[i]);
			if (i % 2) CHECK(kit_all(in[i], 0x11, SIZE));
		}
		CHECK_KIT(kit_put(&r, "go on", 6, 0, NULL));
		CHECK_KIT(kit_flush());
	}
	kit_barrier();
	if (rank == 1) CHECK_STR((char *)w.memory, "go on");
	kit_end();
	w.window = NULL;
	kit_free(&w);
}
