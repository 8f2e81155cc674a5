/* SPDX-License-Identifier: Apache-2.0
 * transport_hook.c: hook itself: that it does what its setting says, and nothing else. Over shm, where nothing is pending
 * by itself; the cases of the other files run over hook too. */
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "transport_kit.h"

static const char *the_setting;

static const char *setting(const char *name)
{
	return strcmp(name, "HOOK") ? NULL : the_setting;
}

HOOK_TEST(tp_hook_settings, "T-56", "")
{
	static const char *const good[] = {
		"", "seed=0", "again=0.", "again=1.000",
		"seed=18446744073709551615,delay=0,again=0,short=1,error=0.000000001",
		"delay=10000000,reorder,noorder,refuse,nodirect,trace,count,kill=0",
	};
	static const struct {
		const char *text, *item;
	} bad[] = {
		{"dealy=5", "'dealy=5'"}, {"seed=", "'seed='"}, {"seed", "'seed'"}, {"seed=-1", "'seed=-1'"},
		{"seed=0x5", "'seed=0x5'"}, {"seed=18446744073709551616", "'seed=18446744073709551616'"},
		{"trace=1", "'trace=1'"}, {"trace,,count", "''"}, {"trace,", "''"}, {" trace", "' trace'"},
		{"TRACE", "'TRACE'"},
		{"again=1.1", "'again=1.1'"}, {"again=.5", "'again=.5'"}, {"again=0,5", "'5'"}, {"error=2", "'error=2'"},
		{"short=0.1234567890", "'short=0.1234567890'"}, {"delay=10000001", "'delay=10000001'"},
		{"delay=1ms", "'delay=1ms'"},
		{"a-name-that-no-item-of-this-setting-will-ever-have-if-all-goes-well=1", "'a-name-"},
	};
	DPI_Tp *tp;
	kit_open(rank);
	kit.setting = setting;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		the_setting = good[i];
		CHECK_KIT(kit_open_table(&tp));
		kit.table->close(tp);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		the_setting = bad[i].text;
		CHECK_KIT_ERROR(kit_open_table(&tp), DPI_ERR_CONFIG);
		CHECK_HAS(kit_sentence(), bad[i].item);
		CHECK_HAS(kit_sentence(), "seed=N, delay=US, reorder, noorder, again=P, error=P, short=P, kill=N, death=P, refuse, nodirect, "
					  "trace, count");
	}
	the_setting = "";
	CHECK_KIT_ERROR(kit.table->open(&kit.core, NULL, &tp), DPI_ERR_CONFIG);
	CHECK_HAS(kit_sentence(), "hook:shm");
	CHECK_KIT_ERROR(kit.lower->open(&kit.core, kit.lower, &tp), DPI_ERR_CONFIG);
	kit_end();
}

/* What becomes of posts, one letter each. */
static void decisions(const char *text, char *letters, int count)
{
	DPI_Tp *tp, *mine = kit.tp;
	struct kit_remote r;
	struct kit_window w;
	static struct kit_op ops[400];
	the_setting = text;
	kit.setting = setting;
	CHECK_KIT(kit_open_table(&tp));
	kit.tp = tp;
	CHECK_KIT(kit_connect());
	kit_share(&w, 4096, KIT_ALL, &r);
	for (int i = 0; i < count; i++) {
		static uint8_t data[1000];
		struct iovec iov = {data, sizeof data};
		kit_before(&ops[i]);
		int error = kit.table->put(r.remote, &iov, 1, 0, NULL, 0, &ops[i]);
		letters[i] = error == DPI_TP_PENDING ? 'p' : !error ? 'd' : error == DPI_ERR_AGAIN ? 'a' : 'e';
		kit_after(&ops[i], error == DPI_ERR_AGAIN ? DPI_ERR_TRANSPORT : error);
	}
	letters[count] = 0;
	for (int i = 0; i < count; i++) kit_finish(&ops[i]);
	kit_detach(&r);
	kit_barrier();
	kit_free(&w);
	kit.table->disconnect(kit.to);
	kit.table->close(tp);
	kit.tp = mine;
}

HOOK_TEST(tp_hook_seed, "T-29", "")
{
	char a[401], b[401], c[401];
	kit_open(rank);
	decisions("seed=17,again=0.3,error=0.2,short=0.4", a, 400);
	decisions("again=0.3,error=0.2,short=0.4,seed=17", b, 400);
	decisions("seed=18,again=0.3,error=0.2,short=0.4", c, 400);
	CHECK_STR(a, b);
	CHECK(strcmp(a, c));
	int agains = 0, errors = 0, pending = 0;
	for (int i = 0; i < 400; i++) agains += a[i] == 'a', errors += a[i] == 'e', pending += a[i] == 'p';
	CHECK(agains > 80 && agains < 160);
	CHECK(errors > 25 && errors < 90);
	CHECK_INT(pending, >, 50); /* what was cut, and what waits behind it */
	CHECK_HAS(kit.log, "seed=17");
	kit_end();
}

HOOK_TEST(tp_hook_passes, "T-57", "trace,count")
{
	struct kit_window w;
	struct kit_remote r;
	DPI_Tp *tp;
	DPI_Tp_Attr lower = {.size = sizeof lower};
	uint64_t before;
	char bytes[3];
	kit_start(rank);
	CHECK_KIT(kit.lower->open(&kit.core, NULL, &tp));
	CHECK_KIT(kit.lower->query(tp, &lower));
	kit.lower->close(tp);
	CHECK_INT(kit.attr.capabilities, ==, lower.capabilities & ~DPI_TP_MULTICAST);
	kit_share(&w, 64, KIT_ALL, &r);
	CHECK_KIT(kit_put(&r, "abc", 3, 5, NULL));
	CHECK_KIT(kit_flush());
	kit_barrier();
	CHECK_KIT(kit_get(&r, bytes, 3, 5));
	CHECK(!memcmp(bytes, "abc", 3));
	CHECK_KIT(kit_fetch_add(&r, 8, 0, &before));
	CHECK_HAS(kit.log, "put node");
	CHECK_HAS(kit.log, "3 bytes at 5 of 64: done");
	CHECK_HAS(kit.log, "flush node");
	kit_end();
	CHECK_HAS(kit.log, "1 puts of 3 bytes, 1 gets of 3 bytes, 1 fetch_adds, 0 compare_swaps, 1 flushes, 0 sends");
	w.window = NULL;
	kit_free(&w);
}

HOOK_TEST(tp_hook_masks, "T-22 T-57", "nodirect,noorder")
{
	struct kit_window w;
	struct kit_remote r;
	kit_start(rank);
	CHECK(!(kit.attr.capabilities & (DPI_TP_DIRECT | DPI_TP_CPU_ATOMICS | DPI_TP_PUT_ORDER)));
	CHECK(kit_has(DPI_TP_ATOMICS));
	kit_share(&w, 64, KIT_ALL, &r);
	CHECK(!r.direct);
	CHECK_KIT(kit_put(&r, "abc", 3, 0, NULL));
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* After so many operations the connection is dead: what was pending fails, and so does the rest. */
HOOK_TEST(tp_hook_kill, "T-15 T-28", "kill=10,delay=20000")
{
	struct kit_window w;
	struct kit_remote r;
	static struct kit_op ops[12];
	static uint8_t data[64];
	struct iovec iov = {data, sizeof data};
	kit_start(rank);
	kit_share(&w, 64, KIT_ALL, &r);
	memset(data, 0xff, sizeof data);
	for (int i = 0; i < 12; i++) {
		kit_before(&ops[i]);
		ops[i].posted = kit.table->put(r.remote, &iov, 1, 0, NULL, 0, &ops[i]);
		kit_after(&ops[i], ops[i].posted);
		CHECK_INT(ops[i].posted, ==, i < 10 ? DPI_TP_PENDING : DPI_ERR_PEER);
	}
	CHECK_INT(kit.lost, ==, 0); /* from progress only */
	usleep(60000);		    /* all are due by now, and come too late */
	kit_progress();
	CHECK(kit_all(r.direct, 0, 64));
	CHECK_INT(kit.lost, ==, 1);
	CHECK_INT(kit.lost_node, ==, kit.other);
	CHECK_HAS(kit.lost_sentence, "hook");
	for (int i = 0; i < 10; i++) CHECK_INT(kit_finish(&ops[i]), ==, DPI_ERR_PEER);
	CHECK_KIT_ERROR(kit_flush(), DPI_ERR_PEER);
	for (int i = 0; i < 50; i++) kit_pause();
	CHECK_INT(kit.lost, ==, 1);
	kit_detach(&r);
	kit.table->disconnect(kit.to);
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* Delay: an operation happens later, a flush not before it, and who sleeps on the descriptor is woken for it. */
HOOK_TEST(tp_hook_delay, "T-37 T-52", "delay=3000")
{
	enum { OPS = 30 };
	struct kit_window w;
	struct kit_remote r;
	static struct kit_op ops[OPS];
	static uint64_t value[OPS];
	struct kit_op flush;
	int fd, sleeps = 0;
	kit_start(rank);
	CHECK(kit_has(DPI_TP_FD));
	CHECK_KIT(kit.table->get_fd(kit.tp, 0, &fd));
	kit_share(&w, 8 * OPS, KIT_ALL, &r);
	while (!sleeps) { /* a slow machine may find all done before it sleeps: once more */
		int64_t begin = kit_us();
		for (uint64_t i = 0; i < OPS; i++) {
			struct iovec iov = {&value[i], 8};
			value[i] = i + 1;
			KIT_POST(&ops[i], kit.table->put(r.remote, &iov, 1, 8 * i, NULL, 0, &ops[i]));
			CHECK_INT(ops[i].posted, ==, DPI_TP_PENDING);
		}
		KIT_POST(&flush, kit.table->flush(kit.to, &flush));
		while (!kit_finished(&flush)) {
			struct pollfd p = {.fd = fd, .events = POLLIN};
			int error = kit.table->arm(kit.tp, 0);
			if (error) CHECK_INT(error, ==, DPI_ERR_AGAIN);
			else CHECK_INT(poll(&p, 1, 3000 * harness_slow()), ==, 1);
			sleeps += !error;
			kit_progress();
		}
		CHECK_KIT(flush.error);
		CHECK_INT(kit_us() - begin, >, 3000);
		for (uint64_t i = 0; i < OPS; i++) CHECK_INT(((uint64_t *)(void *)r.direct)[i], ==, i + 1);
		for (int i = 0; i < OPS; i++) CHECK_KIT(kit_finish(&ops[i]));
	}

	/* armed once; what others post and progress meanwhile keeps waking who sleeps since then */
	CHECK_KIT(kit.table->arm(kit.tp, 0));
	for (int i = 0; i < 5; i++) KIT_POST(&ops[i], kit.table->flush(kit.to, &ops[i]));
	while (!kit_finished(&ops[4])) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		CHECK_INT(poll(&p, 1, 3000 * harness_slow()), ==, 1);
		kit_progress();
	}
	for (int i = 0; i < 5; i++) CHECK_KIT(kit_finish(&ops[i]));
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* Reordering: completions come in another order than posts; puts keep theirs, since it is promised. */
HOOK_TEST(tp_hook_reorder, "T-49", "reorder,delay=200")
{
	enum { OPS = 60 };
	struct kit_window w;
	struct kit_remote r;
	static struct kit_op ops[OPS];
	static uint64_t value[OPS], got[OPS];
	int overtaken = 0;
	kit_start(rank);
	kit_share(&w, 8 * OPS, KIT_ALL, &r);
	for (uint64_t round = 1; !overtaken; round++) { /* a slow machine may find all due at once: once more */
		for (uint64_t i = 0; i < OPS; i++) {
			struct iovec put = {&value[i], 8}, get = {&got[i], 8};
			value[i] = round * OPS + i;
			if (i % 2) KIT_POST(&ops[i], kit.table->get(r.remote, &get, 1, 0, &ops[i]));
			else KIT_POST(&ops[i], kit.table->put(r.remote, &put, 1, 8 * i, NULL, 0, &ops[i]));
		}
		for (bool done = false; !done;) {
			bool gap = false;
			kit_progress();
			done = true;
			for (int i = 0; i < OPS; i++) {
				overtaken += i && kit_finished(&ops[i]) && !kit_finished(&ops[i - 1]);
				done &= kit_finished(&ops[i]);
			}
			for (uint64_t i = 0; i < OPS; i += 2) {
				bool there = ((uint64_t *)(void *)r.direct)[i] == round * OPS + i;
				CHECK(!there || !gap);
				gap |= !there;
			}
		}
		for (int i = 0; i < OPS; i++) CHECK_KIT(kit_finish(&ops[i]));
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}
