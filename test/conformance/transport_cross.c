/* SPDX-License-Identifier: Apache-2.0
 * transport_cross.c: two nodes that connect to each other at once, with traffic at once. */
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport_kit.h"

enum { ROUNDS = 20, RECORDS = 100 };

/* Both go on at the same moment, more or less; in some rounds one of them a little later. */
static void together(int round)
{
	_Atomic int *here = (_Atomic int *)harness_shared() + HARNESS_SHARED / sizeof(int) - 2;
	atomic_fetch_add(here, 1);
	while (atomic_load(here) < 2 * (round + 1)) sched_yield();
	if (round % 4 == 2 + kit.rank)
		for (uint64_t i = harness_seed() >> round & 7; i; i--) sched_yield();
}

/* Connections of this process. */
static int connections(void)
{
	int n = 0;
	for (int fd = 3; fd < 1024; fd++) {
		struct sockaddr_storage to;
		socklen_t size = sizeof to;
		if (!getpeername(fd, (struct sockaddr *)&to, &size) && (to.ss_family == AF_INET || to.ss_family == AF_INET6)) n++;
	}
	return n;
}

/* What has come is whole and in order; all of it in the end. */
static bool look(const struct kit_window *w, uint64_t *seen)
{
	uint64_t now = kit_word(w, 0);
	CHECK(now >= *seen && now <= RECORDS);
	for (uint64_t i = *seen + 1; i <= now; i++) CHECK_INT(kit_word(w, 8 * i), ==, i << 8 | (uint64_t)kit.other);
	*seen = now;
	return now == RECORDS && (!kit.attr.max_send || kit.messages == RECORDS);
}

static void post(struct kit_remote *r, uint64_t i)
{
	uint64_t record = i << 8 | (uint64_t)kit.rank;
	DPI_Tp_Notify n = {.offset = 0, .value = i, .bell = DPI_TP_NO_BELL};
	CHECK_KIT(kit_put(r, &record, 8, 8 * i, &n));
	if (!kit.attr.max_send) return;
	struct kit_op op;
	KIT_POST(&op, kit.table->send(kit.to, &i, sizeof i, 0));
	CHECK_INT(op.posted, ==, 0);
}

KIT_TEST(tp_cross, "T-9 T-59", 120)
{
	for (int round = 0; round < ROUNDS; round++) {
		struct kit_window w;
		struct kit_remote r;
		DPI_Tp_Key key;
		uint64_t seen = 0;
		kit.messages = 0, kit.lost = 0; /* the end of the round before was seen, perhaps */
		kit_open(rank);
		kit_memory(&w, 4096, true);
		CHECK_KIT(kit_expose(&w, KIT_ALL));
		kit_swap_keys(&w.key, &key);
		together(round);
		CHECK_KIT(kit_connect());
		CHECK_KIT(kit_attach(&key, 4096, &r));
		if (key.fd >= 0) close(key.fd);
		for (uint64_t i = 1; i <= RECORDS; i++) {
			post(&r, i);
			look(&w, &seen);
		}
		CHECK_KIT(kit_flush());
		KIT_AWAIT(look(&w, &seen));
		for (uint64_t i = 0; kit.attr.max_send && i < RECORDS; i++) {
			uint64_t number;
			memcpy(&number, kit.inbox[i].bytes, sizeof number);
			CHECK_INT(number, ==, i + 1);
		}
		kit_barrier();
		/* only of tcp it is known what a connection is */
		if (!strcmp(kit.own->name, "tcp") || (kit.lower && !strcmp(kit.lower->name, "tcp"))) KIT_AWAIT(connections() == 1);
		CHECK_INT(kit.lost, ==, 0);
		kit_detach(&r);
		kit_barrier();
		kit_free(&w);
		kit_end();
	}
}

/* Killed at that moment, or soon after. */
KIT_TEST(tp_cross_killed, "T-15 T-59", 120)
{
	struct kit_window w;
	struct kit_remote r;
	DPI_Tp_Key key;
	kit_open(rank);
	kit_memory(&w, 4096, true);
	CHECK_KIT(kit_expose(&w, KIT_ALL));
	kit_swap_keys(&w.key, &key);
	together(0);
	if (rank == 1) {
		uint64_t when = harness_seed() % 4;
		DPI_Tp_Peer peer;
		kit_peer(&peer);
		if (when == 1) kit.table->connect(kit.tp, 0, &peer, 0, &kit.to);
		if (when > 1) CHECK_KIT(kit_connect());
		if (when == 3) kit_pause();
		harness_kill(1, SIGKILL);
	}
	int error = kit_connect();
	CHECK(!error || ((error == DPI_ERR_PEER || error == DPI_ERR_TIMEOUT) && *kit_sentence()));
	if (!error && !kit_attach(&key, 4096, &r) && !kit_has(DPI_TP_SAME_HOST))
		while (!kit.lost) {
			error = kit_put(&r, "there?", 7, 0, NULL);
			CHECK(!error || error == DPI_ERR_PEER);
			kit_pause();
		}
	KIT_AWAIT(!harness_alive(1));
	CHECK_INT(kit.lost, <=, 1);
	if (key.fd >= 0) close(key.fd);
	kit.table->close(kit.tp);
	w.window = NULL;
	kit_free(&w);
}
