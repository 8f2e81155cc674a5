/* SPDX-License-Identifier: Apache-2.0
 * transport_window.c: windows: keys, access, direct pointers, withdrawal. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport_kit.h"

KIT_TEST(tp_expose_file, "T-18 T-20", 60)
{
	struct kit_window w;
	struct kit_remote r, again;
	DPI_Tp_Key key;
	kit_start(rank);
	kit_memory(&w, 5000, true); /* no multiple of a page */
	CHECK_KIT(kit_expose(&w, KIT_ALL));
	kit_swap_keys(&w.key, &key);
	CHECK_KIT(kit_attach(&key, 5000, &r));
	CHECK_KIT(kit_attach(&key, 5000, &again)); /* the descriptor is still the caller's */
	CHECK(key.fd < 0 || fcntl(key.fd, F_GETFD) >= 0);
	if (key.fd >= 0) close(key.fd);
	CHECK_KIT(kit_put(&r, "one", 3, 4990, NULL));
	CHECK_KIT(kit_put(&again, "two", 3, 4993, NULL));
	CHECK_KIT(kit_flush());
	kit_barrier();
	CHECK(!memcmp(w.memory + 4990, "onetwo", 6));
	kit_detach(&again);
	CHECK_KIT(kit_put(&r, "three", 5, 0, NULL));
	CHECK_KIT(kit_flush());
	kit_barrier();
	CHECK(!memcmp(w.memory, "three", 5));
	kit_detach(&r);
	kit_barrier();
	kit_free(&w);
	kit_end();
}

KIT_TEST(tp_expose_any, "T-19", 60)
{
	struct kit_window w;
	kit_start(rank);
	kit_memory(&w, 4096, false);
	if (kit_has(DPI_TP_ANY_MEMORY)) CHECK_KIT(kit_expose(&w, KIT_ALL));
	else CHECK_KIT_ERROR(kit_expose(&w, KIT_ALL), DPI_ERR_UNSUPPORTED);
	if (kit_has(DPI_TP_ANY_MEMORY)) {
		DPI_Tp_Key key;
		struct kit_remote r;
		kit_swap_keys(&w.key, &key);
		CHECK_KIT(kit_attach(&key, 4096, &r));
		CHECK_KIT(kit_put(&r, "any", 3, 4093, NULL));
		CHECK_KIT(kit_flush());
		kit_barrier();
		CHECK(!memcmp(w.memory + 4093, "any", 3));
		kit_detach(&r);
		if (key.fd >= 0) close(key.fd);
	}
	kit_barrier();
	kit_free(&w);
	kit_end();
}

/* Memory that is exposed to nobody, for puts from it alone. */
KIT_TEST(tp_expose_locally, "T-19", 60)
{
	enum { SIZE = 20000, PUTS = 12 };
	struct kit_window w, from;
	struct kit_remote r, none;
	struct kit_op op[PUTS];
	DPI_Tp_Key key;
	kit_start(rank);
	kit_share(&w, 8 + SIZE * PUTS, KIT_ALL, &r);
	kit_memory(&from, SIZE * PUTS, false);
	for (uint64_t i = 0; i < SIZE * PUTS; i++) from.memory[i] = kit_pattern((uint64_t)rank, i);
	if (kit_has(DPI_TP_LOCAL)) CHECK_KIT(kit_expose(&from, 0));
	for (uint64_t i = 0; i < PUTS; i++) {
		struct iovec v = { from.memory + SIZE * i, SIZE };
		DPI_Tp_Notify n = { 0, SIZE * (i + 1), DPI_TP_NO_BELL };
		KIT_POST(&op[i], kit.table->put(r.remote, &v, 1, 8 + SIZE * i, &n, i % 3 ? DPI_TP_MORE : 0, &op[i]));
	}
	KIT_AWAIT(kit_word(&w, 0) == SIZE * PUTS);
	for (uint64_t i = 0; i < SIZE * PUTS; i++) CHECK(w.memory[8 + i] == kit_pattern((uint64_t)kit.other, i));
	CHECK_KIT(kit_flush());
	for (int i = 0; i < PUTS; i++) CHECK_KIT(kit_finish(&op[i]));
	if (kit_has(DPI_TP_LOCAL)) {
		kit_swap_keys(&from.key, &key);
		CHECK_KIT(kit_attach(&key, SIZE, &none));
		CHECK_KIT_ERROR(kit_put(&none, "any", 3, 0, NULL), DPI_ERR_USE);
		kit_detach(&none);
		if (key.fd >= 0) close(key.fd);
	}
	kit_barrier();
	kit_free(&from);
	kit_detach(&r);
	kit_barrier();
	kit_free(&w);
	kit_end();
}

/* A part of a file that starts at no page. */
KIT_TEST(tp_expose_part, "T-18 T-20 T-25", 60)
{
	struct kit_window w;
	struct kit_remote r;
	DPI_Tp_Key key;
	kit_start(rank);
	kit_memory(&w, 10000, true);
	DPI_Tp_Memory part = {
		.address = w.memory + 4200, .length = 1000, .fd = w.fd, .fd_offset = w.fd_offset + 4200, .access = KIT_ALL};
	CHECK_KIT(kit.table->expose(kit.tp, &part, &w.window, &w.key));
	kit_swap_keys(&w.key, &key);
	CHECK_KIT(kit_attach(&key, 1000, &r));
	uint8_t bytes[1001];
	kit_fill(bytes, 1, 0, sizeof bytes);
	CHECK_KIT(kit_put(&r, bytes, 1000, 0, NULL));
	CHECK_KIT_ERROR(kit_put(&r, bytes, 1001, 0, NULL), DPI_ERR_RANGE);
	CHECK_KIT_ERROR(kit_put(&r, bytes, 1, 1000, NULL), DPI_ERR_RANGE);
	CHECK_KIT(kit_flush());
	kit_barrier();
	CHECK(kit_all(w.memory, 0, 4200));
	CHECK(kit_filled(w.memory + 4200, 1, 0, 1000));
	CHECK(kit_all(w.memory + 5200, 0, 4800));
	if (key.fd >= 0) close(key.fd);
	kit_detach(&r);
	kit_barrier();
	kit_free(&w);
	kit_end();
}

/* Never anything but an error class, or a remote that reaches what was exposed. */
static void try_key(const DPI_Tp_Key *key, uint64_t length)
{
	struct kit_remote r;
	kit_forget_sentence();
	int error = kit_attach(key, length, &r);
	if (!error) kit_detach(&r);
	else CHECK(*kit_sentence());
	CHECK(!error || error == DPI_ERR_CORRUPT || error == DPI_ERR_PEER || error == DPI_ERR_RANGE);
}

KIT_TEST(tp_attach_garbage, "T-20 T-21", 60)
{
	struct kit_window w;
	struct kit_remote r;
	DPI_Tp_Key key, bad;
	uint64_t seed = harness_seed();
	kit_start(rank);
	kit_memory(&w, 8192, true);
	CHECK_KIT(kit_expose(&w, KIT_ALL));
	kit_swap_keys(&w.key, &key);
	memset(&bad, 0, sizeof bad);
	bad.fd = key.fd;
	CHECK_KIT_ERROR(kit_attach(&bad, 8192, &r), DPI_ERR_CORRUPT);
	bad = key;
	for (bad.size = 0; bad.size <= DPI_TP_KEY_MAX; bad.size++)
		if (bad.size != key.size) CHECK_KIT_ERROR(kit_attach(&bad, 8192, &r), DPI_ERR_CORRUPT);
	bad.size = UINT32_MAX;
	CHECK_KIT_ERROR(kit_attach(&bad, 8192, &r), DPI_ERR_CORRUPT);
	for (uint32_t bit = 0; bit < 8 * key.size; bit++) {
		bad = key;
		bad.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		try_key(&bad, 8192);
	}
	for (int round = 0; round < 300; round++) {
		bad = key;
		for (uint32_t i = 0; i < DPI_TP_KEY_MAX; i++) bad.bytes[i] = (uint8_t)kit_random(&seed);
		try_key(&bad, 8192);
	}
	CHECK_KIT_ERROR(kit_attach(&key, 8193, &r), DPI_ERR_RANGE);
	CHECK_KIT_ERROR(kit_attach(&key, UINT64_MAX, &r), DPI_ERR_RANGE);
	CHECK_KIT(kit_attach(&key, 8192, &r)); /* nothing of this has harmed the good one */
	CHECK_KIT(kit_put(&r, "good", 4, 8188, NULL));
	CHECK_KIT(kit_flush());
	kit_barrier();
	CHECK(kit_all(w.memory, 0, 8188) && !memcmp(w.memory + 8188, "good", 4));
	if (key.fd >= 0) close(key.fd);
	kit_detach(&r);
	kit_barrier();
	kit_free(&w);
	kit_end();
}

/* Less than the window may be attached; it bounds operations. */
KIT_TEST(tp_attach_less, "T-25", 60)
{
	struct kit_window w;
	struct kit_remote r;
	DPI_Tp_Key key;
	kit_start(rank);
	kit_memory(&w, 8192, true);
	CHECK_KIT(kit_expose(&w, KIT_ALL));
	kit_swap_keys(&w.key, &key);
	CHECK_KIT(kit_attach(&key, 100, &r));
	CHECK_KIT(kit_put(&r, "end", 3, 97, NULL));
	CHECK_KIT_ERROR(kit_put(&r, "end", 3, 98, NULL), DPI_ERR_RANGE);
	if (key.fd >= 0) close(key.fd);
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* A key of the same node in an earlier life. */
KIT_TEST(tp_attach_incarnation, "T-20", 60)
{
	struct kit_window w;
	struct kit_remote r;
	DPI_Tp_Key key;
	DPI_Tp *now, *earlier;
	kit_start(rank);
	kit_memory(&w, 4096, true);
	DPI_Tp_Core core = kit.core;
	core.incarnation -= 2;
	CHECK_KIT(kit.table->open(&core, kit.lower, &earlier));
	now = kit.tp;
	kit.tp = earlier;
	CHECK_KIT(kit_expose(&w, KIT_ALL));
	kit.tp = now;
	kit_swap_keys(&w.key, &key);
	CHECK_KIT_ERROR(kit_attach(&key, 4096, &r), DPI_ERR_PEER);
	if (key.fd >= 0) close(key.fd);
	kit_barrier();
	kit_free(&w);
	kit.table->close(earlier);
	kit_end();
}

/* A descriptor is the peer's word only: none of these may be mapped, for reading them could be a SIGBUS. */
KIT_TEST(tp_attach_hostile_file, "T-21", 60)
{
	struct kit_window w;
	struct kit_remote r;
	DPI_Tp_Key key;
	char path[256];
	int good, pipes[2];
	kit_start(rank);
	kit_memory(&w, 100000, true);
	CHECK_KIT(kit_expose(&w, KIT_ALL));
	kit_swap_keys(&w.key, &key);
	good = key.fd;
	if (good >= 0) {
		key.fd = -1;
		CHECK_KIT_ERROR(kit_attach(&key, 100000, &r), DPI_ERR_CORRUPT);
		key.fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		CHECK(!ftruncate(key.fd, 1 << 20));
		CHECK_KIT_ERROR(kit_attach(&key, 100000, &r), DPI_ERR_CORRUPT);
		close(key.fd);
		key.fd = memfd_create("small", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		CHECK(!ftruncate(key.fd, 100000) && !fcntl(key.fd, F_ADD_SEALS, F_SEAL_SHRINK));
		CHECK_KIT_ERROR(kit_attach(&key, 100000, &r), DPI_ERR_CORRUPT);
		close(key.fd);
		key.fd = memfd_create("read only", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		CHECK(!ftruncate(key.fd, 1 << 20) && !fcntl(key.fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE));
		CHECK_KIT_ERROR(kit_attach(&key, 100000, &r), DPI_ERR_CORRUPT);
		close(key.fd);
		snprintf(path, sizeof path, "%s/file", getenv("TMPDIR"));
		key.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		CHECK(key.fd >= 0 && !ftruncate(key.fd, 1 << 20));
		CHECK_KIT_ERROR(kit_attach(&key, 100000, &r), DPI_ERR_CORRUPT);
		close(key.fd);
		unlink(path);
		CHECK(!pipe(pipes));
		key.fd = pipes[0];
		CHECK_KIT_ERROR(kit_attach(&key, 100000, &r), DPI_ERR_CORRUPT);
		close(pipes[0]), close(pipes[1]);
		key.fd = good;
		CHECK_KIT(kit_attach(&key, 100000, &r));
		close(good);
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

KIT_TEST(tp_access, "T-46", 60)
{
	struct kit_window readable, writable;
	struct kit_remote r, w;
	uint64_t before;
	char bytes[8] = "nothing";
	kit_start(rank);
	kit_share(&readable, 4096, DPI_TP_READ, &r);
	kit_share(&writable, 4096, DPI_TP_WRITE, &w);
	memcpy(readable.memory, "legible", 8);
	kit_barrier();
	CHECK_KIT(kit_get(&r, bytes, 8, 0));
	CHECK_STR(bytes, "legible");
	CHECK_KIT_ERROR(kit_put(&r, "changed", 8, 0, NULL), DPI_ERR_USE);
	CHECK_KIT(kit_put(&w, "written", 8, 0, NULL));
	CHECK_KIT_ERROR(kit_get(&w, bytes, 8, 0), DPI_ERR_USE);
	CHECK_STR(bytes, "legible");
	if (kit_has(DPI_TP_ATOMICS)) {
		CHECK_KIT_ERROR(kit_fetch_add(&w, 0, 1, &before), DPI_ERR_USE);
		CHECK_KIT_ERROR(kit_compare_swap(&r, 0, 0, 1, &before), DPI_ERR_USE);
	}
	CHECK_KIT(kit_flush());
	kit_barrier();
	CHECK_STR((char *)readable.memory, "legible");
	CHECK_STR((char *)writable.memory, "written");
	kit_end();
	readable.window = writable.window = NULL;
	kit_free(&readable), kit_free(&writable);
}

KIT_TEST(tp_direct, "T-22", 60)
{
	struct kit_window w;
	struct kit_remote r;
	kit_start(rank);
	kit_share(&w, 50000, KIT_ALL, &r); /* share checks that there is a pointer exactly if the bit is set */
	if (r.direct) {
		kit_fill(r.direct, 7 + (uint64_t)rank, 0, 25000);
		kit_fill(w.memory + 25000, 9 + (uint64_t)rank, 0, 25000);
		kit_barrier();
		CHECK(kit_filled(w.memory, 7 + (uint64_t)kit.other, 0, 25000));
		CHECK(kit_filled(r.direct + 25000, 9 + (uint64_t)kit.other, 0, 25000));
	}
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

/* Puts go on while the window is withdrawn: each has an outcome, nothing is written later, other windows go on. */
KIT_TEST(tp_withdraw_under_way, "T-23 T-28", 120)
{
	enum { SIZE = 200000, OPS = 64 };
	struct kit_window w, other;
	struct kit_remote r, s;
	static struct kit_op ops[OPS];
	static uint8_t data[SIZE];
	kit_start(rank);
	kit_share(&w, SIZE, KIT_ALL, &r);
	kit_share(&other, 4096, KIT_ALL, &s);
	kit_fill(data, 1, 0, SIZE);
	if (rank == 0) {
		struct iovec iov = {data, SIZE};
		for (int i = 0; i < OPS; i++) KIT_POST(&ops[i], kit.table->put(r.remote, &iov, 1, 0, NULL, 0, &ops[i]));
		for (int i = 0; i < OPS; i++) {
			int error = kit_finish(&ops[i]);
			CHECK(!error || error == DPI_ERR_PEER || error == DPI_ERR_TRANSPORT || error == DPI_ERR_DESTROYED ||
			      error == DPI_ERR_UNKNOWN);
		}
		CHECK_KIT(kit_put(&s, "alive", 6, 0, NULL));
		CHECK_KIT(kit_flush());
	} else {
		int error;
		KIT_AWAIT(w.memory[100] || kit_has(DPI_TP_PASSIVE)); /* some are on their way */
		while ((error = kit.table->withdraw(w.window)) == DPI_ERR_AGAIN) kit_pause();
		CHECK_KIT(error);
		w.window = NULL;
		if (!kit_has(DPI_TP_DIRECT)) memset(w.memory, 0, SIZE);
		for (int i = 0; i < 200; i++) kit_pause();
	}
	kit_barrier();
	if (rank == 1) {
		if (!kit_has(DPI_TP_DIRECT) && !kit_has(DPI_TP_SAME_HOST)) CHECK(kit_all(w.memory, 0, SIZE));
		CHECK_STR((char *)other.memory, "alive");
	}
	kit_end();
	w.window = other.window = NULL;
	kit_free(&w), kit_free(&other);
}

KIT_TEST(tp_detach_pending, "T-24 T-56", 60)
{
	enum { SIZE = 1 << 20 };
	struct kit_window w;
	struct kit_remote r;
	static uint8_t data[SIZE];
	struct kit_op op;
	struct iovec iov = {data, SIZE};
	kit_start(rank);
	kit_share(&w, SIZE, KIT_ALL, &r);
	for (int round = 0; round < 20; round++) {
		KIT_POST(&op, kit.table->get(r.remote, &iov, 1, 0, &op));
		if (!kit_finished(&op)) CHECK_INT(kit.table->detach(r.remote), ==, DPI_ERR_AGAIN);
		CHECK_KIT(kit_finish(&op));
	}
	CHECK_KIT(kit.table->detach(r.remote));
	kit_end();
	w.window = NULL;
	kit_free(&w);
}

static int mappings(void)
{
	int n = 0, c;
	FILE *f = fopen("/proc/self/maps", "r");
	CHECK(f);
	while ((c = getc(f)) != EOF) n += c == '\n';
	fclose(f);
	return n;
}

/* Many at once, and many one after the other; nothing of them stays. */
KIT_TEST(tp_many_windows, "T-18 T-20", 180)
{
	static struct kit_window w[300];
	static struct kit_remote r[300];
	kit_start(rank);
	int count = kit.attr.windows && kit.attr.windows < 300 ? (int)kit.attr.windows : 300, before = mappings();
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < count; i++) {
			uint64_t value = (uint64_t)(i + 1000 * round + 1);
			kit_share(&w[i], 4096, KIT_ALL, &r[i]);
			CHECK_KIT(kit_put(&r[i], &value, 8, 8, NULL));
		}
		CHECK_KIT(kit_flush());
		kit_barrier();
		for (int i = 0; i < count; i++) {
			CHECK_INT(kit_word(&w[i], 8), ==, i + 1000 * round + 1);
			kit_detach(&r[i]);
		}
		kit_barrier();
		for (int i = 0; i < count; i++) kit_free(&w[i]);
	}
	CHECK_INT(mappings(), <, before + 50); /* a heap may have grown */
	kit_end();
}
