/* SPDX-License-Identifier: Apache-2.0
 * transport_open.c: the table itself: slots, open and close, what it says of itself. */
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "transport_kit.h"

static int entries(const char *directory)
{
	int n = 0;
	DIR *d = opendir(directory);
	CHECK(d);
	while (readdir(d)) n++;
	closedir(d);
	return n;
}

KIT_TEST(tp_table, "T-1", 60)
{
	kit_open(rank);
	CHECK_INT(kit.own->abi, ==, DPI_TP_ABI);
	CHECK_INT(kit.own->size, >=, offsetof(DPI_Transport, name) + sizeof kit.own->name);
	CHECK(kit.own->name && *kit.own->name);
	kit_end();
}

/* A table of nothing, filled. */
TEST(tp_empty_slots, "T-3", 1, .once = true)
{
	static const DPI_Transport empty = {.abi = DPI_TP_ABI, .size = sizeof empty, .name = "empty"};
	DPI_Transport t;
	DPI_Tp *tp;
	DPI_Tp_Endpoint *endpoint;
	DPI_Tp_Window *window;
	DPI_Tp_Remote *remote;
	DPI_Tp_Key key;
	DPI_Tp_Attr attr = {.size = sizeof attr};
	uint32_t size = 1;
	uint64_t word;
	void *direct;
	int events = 1, fd;
	char reason[64];
	kit_fill_table(&t, &empty);
	CHECK_ERROR(t.probe(NULL, reason, sizeof reason), DPI_ERR_UNSUPPORTED, "probe");
	CHECK_ERROR(t.open(NULL, NULL, &tp), DPI_ERR_UNSUPPORTED, "open");
	CHECK_ERROR(t.query(NULL, &attr), DPI_ERR_UNSUPPORTED, "query");
	CHECK_ERROR(t.address(NULL, reason, &size), DPI_ERR_UNSUPPORTED, "address");
	CHECK_ERROR(t.connect(NULL, 0, NULL, 1, &endpoint), DPI_ERR_UNSUPPORTED, "connect");
	CHECK_ERROR(t.expose(NULL, NULL, &window, &key), DPI_ERR_UNSUPPORTED, "expose");
	CHECK_ERROR(t.withdraw(NULL), DPI_ERR_UNSUPPORTED, "withdraw");
	CHECK_ERROR(t.attach(NULL, &key, 1, &remote, &direct), DPI_ERR_UNSUPPORTED, "attach");
	CHECK_ERROR(t.detach(NULL), DPI_ERR_UNSUPPORTED, "detach");
	CHECK_ERROR(t.put(NULL, NULL, 0, 0, NULL, 0, NULL), DPI_ERR_UNSUPPORTED, "put");
	CHECK_ERROR(t.get(NULL, NULL, 0, 0, NULL), DPI_ERR_UNSUPPORTED, "get");
	CHECK_ERROR(t.fetch_add(NULL, 0, 1, &word, NULL), DPI_ERR_UNSUPPORTED, "fetch_add");
	CHECK_ERROR(t.compare_swap(NULL, 0, 1, 2, &word, NULL), DPI_ERR_UNSUPPORTED, "compare_swap");
	CHECK_ERROR(t.send(NULL, NULL, 0, 0), DPI_ERR_UNSUPPORTED, "send");
	CHECK_ERROR(t.flush(NULL, NULL), DPI_ERR_UNSUPPORTED, "flush");
	CHECK_ERROR(t.cancel(NULL, NULL), DPI_ERR_UNSUPPORTED, "cancel");
	CHECK_ERROR(t.get_fd(NULL, 0, &fd), DPI_ERR_UNSUPPORTED, "get_fd");
	CHECK_INT(t.progress(NULL, 0, &events), ==, DPI_SUCCESS);
	CHECK_INT(events, ==, 0);
	CHECK_INT(t.progress(NULL, 0, NULL), ==, DPI_SUCCESS);
	CHECK_INT(t.arm(NULL, 0), ==, DPI_SUCCESS);
	t.disconnect(NULL);
	t.close(NULL);
}

KIT_TEST(tp_probe, "T-4", 60)
{
	kit_open(rank);
	int before = entries("/proc/self/fd");
	for (size_t size = 1; size <= 128; size *= 2) {
		char reason[129];
		memset(reason, 'x', sizeof reason);
		int error = kit.table->probe(&kit.core, reason, size);
		CHECK(!error || error == DPI_ERR_UNSUPPORTED);
		CHECK_INT(reason[size], ==, 'x');
		if (error) CHECK(memchr(reason, 0, size) && (*reason || size == 1));
	}
	CHECK_INT(entries("/proc/self/fd"), ==, before);
	kit_end();
}

KIT_TEST(tp_open_several, "T-5 T-6 T-8", 60)
{
	DPI_Tp *tp[4];
	kit_open(rank);
	int fds = entries("/proc/self/fd"), threads = entries("/proc/self/task");
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 4; i++) CHECK_KIT(kit_open_table(&tp[i]));
		for (int i = 0; i < 4; i++) {
			uint8_t a[DPI_TP_ADDRESS_MAX], b[DPI_TP_ADDRESS_MAX];
			uint32_t n = sizeof a, m = sizeof b, small = 0;
			CHECK_KIT(kit.table->address(tp[i], a, &n));
			CHECK_INT(n, <=, DPI_TP_ADDRESS_MAX);
			CHECK_KIT(kit.table->address(tp[i], b, &m));
			CHECK(n == m && !memcmp(a, b, n));
			if (n) CHECK(kit.table->address(tp[i], a, &small) != DPI_SUCCESS);
		}
		for (int i = 0; i < 4; i++) kit.table->close(tp[i]);
		CHECK_INT(entries("/proc/self/fd"), ==, fds);
		CHECK_INT(entries("/proc/self/task"), ==, threads);
	}
	kit_end();
}

/* What is open goes with close. */
KIT_TEST(tp_close_all, "T-6", 60)
{
	struct kit_window w[8];
	struct kit_remote r[8];
	int fds = entries("/proc/self/fd");
	kit_start(rank);
	for (int i = 0; i < 8; i++) kit_share(&w[i], 10000, KIT_ALL, &r[i]);
	CHECK_KIT(kit_put(&r[7], "here", 4, 0, NULL));
	kit_end();
	for (int i = 0; i < 8; i++) {
		w[i].window = NULL;
		kit_free(&w[i]);
	}
	CHECK_INT(entries("/proc/self/fd"), ==, fds);
}

KIT_TEST(tp_query, "T-7 T-53", 60)
{
	kit_open(rank);
	const DPI_Tp_Attr *a = &kit.attr;
	CHECK_INT(a->lanes, >=, 1);
	CHECK(!a->max_iov || a->max_iov >= 4);
	CHECK_INT(a->alignment & (a->alignment - 1), ==, 0);
	CHECK(!(a->capabilities & DPI_TP_APPEND));
	CHECK_INT(!!(a->capabilities & DPI_TP_MULTICAST), ==, a->max_many > 0);
	CHECK(!(a->capabilities & DPI_TP_CPU_ATOMICS) || (a->capabilities & DPI_TP_ATOMICS));
	CHECK(memchr(a->device, 0, sizeof a->device));
	CHECK(a->latency_us >= 0 && a->bandwidth_bytes_us >= 0 && a->overhead_us >= 0);

	/* a caller that knows less of the struct, and one that knows more */
	struct {
		DPI_Tp_Attr attr;
		uint8_t more[64];
	} x;
	for (uint32_t known = 8; known <= sizeof x; known += 4) {
		memset(&x, 0xee, sizeof x);
		x.attr.size = known;
		CHECK_KIT(kit.table->query(kit.tp, &x.attr));
		CHECK_INT(x.attr.capabilities, ==, a->capabilities);
		CHECK(kit_all((uint8_t *)&x + known, 0xee, sizeof x - known));
	}
	kit_end();
}
