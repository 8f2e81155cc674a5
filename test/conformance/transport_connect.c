/* SPDX-License-Identifier: Apache-2.0
 * transport_connect.c: connections: whom they reach, and whom they refuse. */
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport_kit.h"

/* What each posts reaches the other. */
static void exchange(void)
{
	struct kit_window w;
	struct kit_remote r;
	char text[32];
	kit_share(&w, 4096, KIT_ALL, &r);
	int n = snprintf(text, sizeof text, "from rank %d", kit.rank);
	CHECK_KIT(kit_put(&r, text, (size_t)n + 1, 0, NULL));
	CHECK_KIT(kit_flush());
	kit_barrier();
	snprintf(text, sizeof text, "from rank %d", kit.other);
	CHECK_STR((char *)w.memory, text);
	kit_detach(&r);
	kit_barrier();
	kit_free(&w);
}

KIT_TEST(tp_connect_in_turn, "T-9", 60)
{
	for (int first = 0; first < 2; first++) {
		kit_open(rank);
		if (rank == first) CHECK_KIT(kit_connect());
		kit_barrier();
		if (rank != first) CHECK_KIT(kit_connect());
		kit_barrier();
		exchange();
		kit_end();
	}
}

KIT_TEST(tp_connect_together, "T-9", 120)
{
	for (int round = 0; round < 10; round++) {
		kit_open(rank);
		/* not at the very same moment each time */
		for (int i = 0; i < (int)(harness_seed() >> (2 * round) & 3) * 20 * rank; i++) sched_yield();
		CHECK_KIT(kit_connect());
		exchange();
		kit_end();
	}
}

/* A stopped peer is no reason to wait longer. */
KIT_TEST(tp_connect_in_time, "T-10", 60)
{
	kit_open(rank);
	kit_barrier();
	if (rank == 0) {
		DPI_Tp_Peer peer;
		kit_peer(&peer);
		harness_kill(1, SIGSTOP);
		int64_t begin = kit_us();
		int error = kit.table->connect(kit.tp, 0, &peer, 200000, &kit.to);
		int64_t took = kit_us() - begin;
		harness_kill(1, SIGCONT);
		CHECK(!error || error == DPI_ERR_PEER || error == DPI_ERR_TIMEOUT);
		CHECK_INT(took, <, 8000000 * harness_slow());
	}
	kit_end();
}

KIT_TEST(tp_connect_incarnation, "T-11 T-56", 60)
{
	DPI_Tp_Peer peer;
	DPI_Tp_Endpoint *e;
	kit_open(rank);
	kit_peer(&peer);
	peer.incarnation++;
	CHECK_KIT_ERROR(kit.table->connect(kit.tp, 0, &peer, 40000000, &e), DPI_ERR_PEER);
	kit_barrier();
	CHECK_KIT(kit_connect()); /* the right one still works */
	exchange();
	kit_end();
}

/* A transport without connections cannot know. */
KIT_TEST(tp_connect_nobody, "T-11", 60)
{
	DPI_Tp *tp;
	struct kit_address mine = {.size = DPI_TP_ADDRESS_MAX}, theirs;
	DPI_Tp_Peer peer;
	DPI_Tp_Endpoint *e;
	kit_open(rank);
	CHECK_KIT(kit_open_table(&tp));
	CHECK_KIT(kit.table->address(tp, mine.bytes, &mine.size));
	kit.table->close(tp);
	kit_swap(&mine, &theirs, sizeof mine);
	kit_peer(&peer);
	peer.address = theirs.bytes;
	peer.address_size = theirs.size;
	if (!kit_has(DPI_TP_SAME_HOST)) CHECK_KIT_ERROR(kit.table->connect(kit.tp, 0, &peer, 40000000, &e), DPI_ERR_PEER);
	kit_end();
}

KIT_TEST(tp_connect_garbage, "T-12", 60)
{
	DPI_Tp_Peer peer;
	DPI_Tp_Endpoint *e;
	uint8_t bytes[DPI_TP_ADDRESS_MAX + 1];
	uint64_t seed = harness_seed();
	kit_open(rank);
	kit_peer(&peer);
	memset(bytes, 0, sizeof bytes);
	memcpy(bytes, kit.theirs.bytes, kit.theirs.size);
	peer.address = bytes;
	const uint32_t right = kit.theirs.size, most = DPI_TP_ADDRESS_MAX;
	const uint32_t sizes[] = {0, 1, 4, right - 1, right + 1, most, most + 1};
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		peer.address_size = sizes[i];
		CHECK_KIT_ERROR(kit.table->connect(kit.tp, 0, &peer, 40000000, &e), DPI_ERR_PEER);
	}
	for (int round = 0; round < 200; round++) {
		peer.address_size = round % 2 ? kit.theirs.size : (uint32_t)(kit_random(&seed) % DPI_TP_ADDRESS_MAX);
		for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)kit_random(&seed);
		bytes[0] = (uint8_t)~kit.theirs.bytes[0];
		CHECK_KIT_ERROR(kit.table->connect(kit.tp, 0, &peer, 40000000, &e), DPI_ERR_PEER);
	}
	kit_end();
}

KIT_TEST(tp_connect_same_host, "T-13", 60)
{
	DPI_Tp_Peer peer;
	DPI_Tp_Endpoint *e;
	kit_open(rank);
	kit_peer(&peer);
	peer.same_host = 0;
	if (kit_has(DPI_TP_SAME_HOST)) CHECK_KIT_ERROR(kit.table->connect(kit.tp, 0, &peer, 40000000, &e), DPI_ERR_PEER);
	kit_end();
}

KIT_TEST(tp_connect_lane, "T-56", 60)
{
	DPI_Tp_Peer peer;
	DPI_Tp_Endpoint *e;
	kit_open(rank);
	kit_peer(&peer);
	CHECK_KIT_ERROR(kit.table->connect(kit.tp, kit.attr.lanes, &peer, 40000000, &e), DPI_ERR_ARGUMENT);
	kit_end();
}

/* --------------------------------------------------------------------------------------------------- strangers */

/* The sockets this process listens on; the address of the i-th. */
static bool listener(int i, struct sockaddr_storage *address, socklen_t *size)
{
	for (int fd = 3; fd < 1024; fd++) {
		int listens = 0;
		socklen_t n = sizeof listens;
		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) || !listens) continue;
		*size = sizeof *address;
		CHECK(!getsockname(fd, (struct sockaddr *)address, size));
		if (address->ss_family != AF_INET && address->ss_family != AF_INET6) continue;
		if (!i--) return true;
	}
	return false;
}

KIT_TEST(tp_loopback_only, "T-16", 60)
{
	struct sockaddr_storage s;
	socklen_t size;
	kit_open(rank);
	for (int i = 0; listener(i, &s, &size); i++) {
		if (s.ss_family == AF_INET)
			CHECK_INT(ntohl(((struct sockaddr_in *)&s)->sin_addr.s_addr) >> 24, ==, 127);
		else CHECK(IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&s)->sin6_addr));
	}
	kit_end();
}

KIT_TEST(tp_strangers, "T-17", 120)
{
	struct kit_window w;
	struct kit_remote r;
	struct sockaddr_storage s;
	socklen_t size;
	uint64_t seed = harness_seed();
	kit_start(rank);
	kit_share(&w, 65536, KIT_ALL, &r);
	if (rank == 0)
		for (int i = 0; i < 20; i++) {
			uint64_t word = (uint64_t)i + 1;
			CHECK_KIT(kit_put(&r, &word, 8, 8 * (uint64_t)i, NULL));
		}
	/* each shouts at its own door */
	for (int i = 0; listener(i, &s, &size); i++)
		for (int round = 0; round < 60; round++) {
			uint8_t bytes[20000];
			size_t n = kit_random(&seed) % (round % 2 ? sizeof bytes : 100);
			int fd = socket(s.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
			CHECK(fd >= 0 && !connect(fd, (struct sockaddr *)&s, size));
			for (size_t b = 0; b < n; b++) bytes[b] = round % 5 ? (uint8_t)kit_random(&seed) : 0xff;
			ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
			for (int k = 0; k < 10; k++) kit_progress();
			if (sent >= 0 && round % 3 == 0) shutdown(fd, SHUT_WR);
			kit_progress();
			close(fd);
			kit_progress();
		}
	if (rank == 0) CHECK_KIT(kit_flush());
	kit_barrier();
	CHECK_INT(kit.lost, ==, 0);
	if (rank == 1) {
		for (uint64_t i = 0; i < 20; i++) CHECK_INT(kit_word(&w, 8 * i), ==, i + 1);
		CHECK(kit_all(w.memory + 160, 0, w.length - 160));
	}
	exchange();
	kit_end();
	w.window = NULL;
	kit_free(&w);
}
