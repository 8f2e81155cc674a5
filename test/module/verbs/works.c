/* SPDX-License-Identifier: Apache-2.0
 * works.c: over a healthy device everything arrives. */
#include "sides.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

static struct window w, v;
static uint8_t data[300000], back[300000];

static void fill(uint8_t *bytes, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(seed + i * 7 + i / 256);
}

static void move_all(void)
{
	static const size_t sizes[] = { 1, 7, 8, 100, 255, 256, 257, 900, 976, 977, 4096, 4097, 16384, 50000, 65536, 65537, 250000 };
	struct op o;
	uint64_t notified = 0;
	window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE | DPI_TP_ATOMIC);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		for (uint64_t offset = 0; offset < 24; offset += 3) {
			size_t n = sizes[i];
			DPI_Tp_Notify notify = { sizeof w.memory - 8, ++notified, 5 };
			fill(data, n, (unsigned)(i + offset));
			memset(w.memory, 0, sizeof w.memory);
			CHECK_INT(put(&a, w.remote, data, n, offset, offset % 2 ? &notify : NULL), ==, DPI_SUCCESS);
			CHECK_INT(flush(&a), ==, DPI_SUCCESS);
			CHECK(!memcmp(w.memory + offset, data, n) && !w.memory[offset + n]);
			if (offset % 2) CHECK(!memcmp(w.memory + sizeof w.memory - 8, &notified, 8) && b.bell == 5);
			memset(back, 0, n + 1);
			CHECK_INT(get(&a, w.remote, back, n, offset), ==, DPI_SUCCESS);
			CHECK(!memcmp(back, data, n) && !back[n]);
		}
	struct iovec pieces[8];
	for (int i = 0; i < 8; i++) pieces[i] = (struct iovec){ data + 1000 * i, i == 3 ? 0 : 900 };
	POST(&o, verbs()->put(w.remote, pieces, 8, 5, NULL, DPI_TP_MORE, &o));
	CHECK_INT(finish(&o), ==, DPI_SUCCESS);
	for (int i = 0; i < 8; i++) pieces[i] = (struct iovec){ back + 1000 * i, i == 3 ? 0 : 900 };
	POST(&o, verbs()->get(w.remote, pieces, 8, 5, &o));
	CHECK_INT(finish(&o), ==, DPI_SUCCESS);
	for (int i = 0; i < 8; i++) CHECK(i == 3 || !memcmp(back + 1000 * i, data + 1000 * i, 900));
	memset(w.memory, 0, 64);
	POST(&o, verbs()->fetch_add(w.remote, 8, 5, &o.result, &o));
	CHECK_INT(finish(&o), ==, DPI_SUCCESS);
	CHECK_INT(o.result, ==, 0);
	POST(&o, verbs()->compare_swap(w.remote, 8, 5, 99, &o.result, &o));
	CHECK_INT(finish(&o), ==, DPI_SUCCESS);
	CHECK_INT(o.result, ==, 5);
	POST(&o, verbs()->compare_swap(w.remote, 8, 5, 1, &o.result, &o));
	CHECK_INT(finish(&o), ==, DPI_SUCCESS);
	CHECK_INT(o.result, ==, 99);
	for (int i = 0; i < 300; i++) {
		POST(&o, verbs()->send(a.to, data, (size_t)i * 3, i % 2 ? DPI_TP_MORE : 0));
		CHECK_INT(o.posted, ==, DPI_SUCCESS);
	}
	sides_progress();
	CHECK_INT(b.messages, ==, 300);
	CHECK_INT(b.message_size, ==, 897);
	CHECK_INT(a.lost + b.lost, ==, 0);
}

TEST(verbs_moves, "", 0)
{
	sides_start();
	move_all();
	sides_end();
}

/* Devices that have less. */
TEST(verbs_moves_without_shared_receive_queues, "", 0)
{
	sides_init();
	mock.device.max_srq = 0;
	sides_open();
	sides_connect();
	move_all();
	sides_end();
}

TEST(verbs_moves_without_inline, "", 0)
{
	sides_init();
	mock.inline_most = 0;
	sides_open();
	sides_connect();
	move_all();
	sides_end();
}

/* A device that grants fewer bytes inline than it is asked for. */
TEST(verbs_moves_with_inline_cut, "", 0)
{
	sides_init();
	mock.inline_most = 60;
	mock.inline_cut = true;
	sides_open();
	sides_connect();
	move_all();
	CHECK_INT(mock.inlined, >, 0);
	sides_end();
}

TEST(verbs_moves_with_few_pieces, "", 0)
{
	sides_init();
	mock.device.max_sge = 2;
	mock.device.max_sge_rd = 1;
	mock.device.max_qp_wr = 40;
	mock.port.max_msg_sz = 65536;
	sides_open();
	sides_connect();
	move_all();
	sides_end();
}

/* Each limit at its least, and at one that leaves room for few connections in a group; what is asked for beyond it, is refused. */
TEST(verbs_moves_within_limits, "", 0)
{
	for (int i = 0; i < 11; i++) {
		sides_init();
		struct ibv_device_attr *d = &mock.device;
		if (i == 0) d->max_qp_wr = DEPTH_MIN;
		if (i == 1) d->max_sge = d->max_sge_rd = 1;
		if (i == 2) d->max_sge_rd = 1;
		if (i == 3) d->max_sge_rd = 3;
		if (i == 4) d->max_cqe = DEPTH + CREDITS;
		if (i == 5) d->max_cqe = 2 * (DEPTH + CREDITS) + 1;
		if (i == 6) d->max_srq_wr = CREDITS;
		if (i == 7) d->max_srq_wr = 2 * CREDITS + 1;
		if (i == 8) d->max_srq_wr = CREDITS - 1, d->max_qp_wr = CREDITS;
		if (i == 9) d->max_srq_sge = 0;
		if (i == 10) mock.port.max_msg_sz = BUFFER * BUFFERS;
		sides_open();
		if (side_open(&third) || side_connect(&third, &b, LONG)) FAIL("%s", third.sentence);
		sides_connect();
		move_all();
		sides_end();
	}
}

/* Nobody looks for as long as anything can complete. */
TEST(verbs_completions_have_room, "", 0)
{
	static struct op o[OUTSTANDING];
	struct iovec to = { back, 8 };
	int gets = 0, sends = 0;
	sides_init();
	mock.device.max_cqe = DEPTH + CREDITS;
	sides_open();
	sides_connect();
	window_share(&b, &a, &w, DPI_TP_READ);
	sides_progress();
	while (gets < OUTSTANDING && verbs()->get(w.remote, &to, 1, 0, &o[gets]) == DPI_TP_PENDING) gets++;
	while (verbs()->send(b.to, data, 8, 0) == DPI_SUCCESS) sends++;
	CHECK_INT(gets + sends, >, DEPTH + CREDITS / 4);
	sides_progress();
	for (int i = 0; i < gets; i++) CHECK(o[i].completions == 1 && !o[i].error);
	CHECK_INT(a.messages, ==, sends);
	sides_end();
}

/* The wire loses a few, and a receiver is not ready for long: both are tried again. */
TEST(verbs_tries_again, "", 0)
{
	sides_start();
	for (int i = 0; i < 2; i++) {
		struct side *from = i ? &b : &a, *to = i ? &a : &b;
		mock.lost = 5;
		CHECK_INT(verbs()->send(from->to, data, 8, 0), ==, DPI_SUCCESS);
		mock.unready = 1000;
		CHECK_INT(verbs()->send(from->to, data, 8, 0), ==, DPI_SUCCESS);
		sides_progress();
		CHECK_INT(to->messages, ==, 2);
	}
	CHECK_INT(a.lost + b.lost, ==, 0);
	sides_end();
}

TEST(verbs_moves_over_iwarp, "", 0)
{
	sides_init();
	mock.transport = IBV_TRANSPORT_IWARP;
	mock.device.atomic_cap = IBV_ATOMIC_NONE;
	sides_open();
	sides_connect();
	move_all();
	for (uint64_t i = 0; i < 10; i++) { /* a write right behind a read that nobody has seen done */
		static struct op o, copied;
		struct iovec to = { back, 1000 }, from = { &i, 8 };
		POST(&o, verbs()->get(w.remote, &to, 1, 0, &o));
		POST(&copied, verbs()->put(w.remote, &from, 1, 8, NULL, 0, &copied));
		CHECK_INT(finish(&o), ==, DPI_SUCCESS);
		CHECK_INT(finish(&copied), ==, DPI_SUCCESS);
		sides_progress();
		CHECK(!memcmp(w.memory + 8, &i, 8));
	}
	CHECK_INT(mock.overtakes, ==, 0);
	CHECK_INT(mock.stalls, ==, 0);
	sides_end();
}

/* soft-iWARP's sender would stand still for reads, and two that read from each other for ever: what waits for reads is not posted. */
TEST(verbs_waits_for_reads_itself_over_soft_iwarp, "T-35", 0)
{
	enum { GETS = 10, SIZE = 1000, LIMIT = 3 };
	static struct op gets[2 * GETS], copied;
	sides_init();
	mock.transport = IBV_TRANSPORT_IWARP;
	mock.device.vendor_id = MOCK_SIW;
	mock.device.atomic_cap = IBV_ATOMIC_NONE;
	mock.device.max_qp_init_rd_atom = LIMIT;
	sides_open();
	sides_connect();
	window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
	fill(w.memory, sizeof w.memory, 5);
	fill(data, sizeof data, 6);
	mock.hold = true;
	int requests = mock.requests;
	for (int k = 0; k < 2; k++) {
		struct iovec from = { data + k * SIZE, SIZE };
		for (int i = k * GETS; i < (k + 1) * GETS; i++) {
			struct iovec to = { back + i * SIZE, SIZE };
			CHECK_INT(verbs()->get(w.remote, &to, 1, (uint64_t)i * SIZE, &gets[i]), ==, DPI_TP_PENDING);
		}
		CHECK_INT(verbs()->put(w.remote, &from, 1, (uint64_t)(100 + k) * SIZE, NULL, 0, &copied), ==, DPI_SUCCESS);
	}
	CHECK_INT(mock.requests - requests, ==, LIMIT);
	for (int i = 0; i < GETS; i++) {
		CHECK_INT(mock.requests - requests, ==, (i + 1) * LIMIT < GETS ? (i + 1) * LIMIT : GETS);
		mock_run();
		sides_progress();
		if (mock.requests - requests > GETS) break;
		CHECK(memcmp(data, w.memory + 100 * SIZE, SIZE));
	}
	CHECK_INT(mock.requests - requests, ==, GETS + 1 + LIMIT); /* the put, and reads behind it */
	mock.hold = false;
	mock_run();
	for (int i = 0; i < 2 * GETS; i++) CHECK_INT(finish(&gets[i]), ==, DPI_SUCCESS);
	sides_progress();
	CHECK(!memcmp(back, w.memory, 2 * GETS * SIZE) && !memcmp(data, w.memory + 100 * SIZE, 2 * SIZE));
	CHECK_INT(mock.stalls + mock.overtakes, ==, 0);
	CHECK_INT(a.lost + b.lost, ==, 0);
	sides_end();
}

/* soft-RoCE's requester may sleep for ever behind a long read: nothing is posted there until it is over. */
TEST(verbs_waits_for_long_reads_itself_over_soft_roce, "T-35", 0)
{
	enum { PACKETS = 128, MTU = 256, LONG_READ = PACKETS * MTU + 8, GETS = 3 };
	static struct op gets[GETS], copied;
	sides_init();
	mock.device.vendor_id = MOCK_RXE;
	mock.port.active_mtu = IBV_MTU_256;
	sides_open();
	sides_connect();
	window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
	fill(w.memory, sizeof w.memory, 5);
	mock.hold = true;
	int requests = mock.requests;
	for (int i = 0; i < GETS; i++) { /* short, long, short */
		struct iovec to = { back + i * LONG_READ, i == 1 ? LONG_READ : 1000 };
		CHECK_INT(verbs()->get(w.remote, &to, 1, (uint64_t)i * LONG_READ, &gets[i]), ==, gets[i].posted = DPI_TP_PENDING);
	}
	struct iovec from = { data, 100 };
	CHECK_INT(verbs()->put(w.remote, &from, 1, 200000, NULL, 0, &copied), ==, DPI_SUCCESS);
	CHECK_INT(mock.requests - requests, ==, 2);
	sides_progress();
	CHECK_INT(mock.requests - requests, ==, 2);
	mock_run();
	CHECK_INT(finish(&gets[1]), ==, DPI_SUCCESS);
	CHECK_INT(mock.requests - requests, ==, 4);
	mock.hold = false;
	mock_run();
	for (int i = 0; i < GETS; i++) CHECK_INT(finish(&gets[i]), ==, DPI_SUCCESS);
	CHECK_INT(flush(&a), ==, DPI_SUCCESS);
	CHECK(!memcmp(back + LONG_READ, w.memory + LONG_READ, LONG_READ) && !memcmp(data, w.memory + 200000, 100));
	sides_end();
}

/* A peer that attaches a window itself meanwhile handles ATTACH out of turn, and counts it later: a flush does not ride on it. */
TEST(verbs_flush_behind_an_attach_that_waits, "T-37", 0)
{
	static struct window asked, theirs;
	static struct op read, flushed;
	struct iovec to = { back, 1000 };
	void *direct;
	sides_init();
	mock.transport = IBV_TRANSPORT_IWARP;
	mock.device.vendor_id = MOCK_SIW;
	sides_open();
	sides_connect();
	window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
	CHECK_INT(window_expose(&b, &asked, DPI_TP_READ), ==, DPI_SUCCESS);
	CHECK_INT(window_expose(&a, &theirs, DPI_TP_READ), ==, DPI_SUCCESS);
	CHECK_INT(put(&a, w.remote, data, 100000, 0, NULL), ==, DPI_SUCCESS);
	mock.hold = true;
	CHECK_INT(verbs()->get(w.remote, &to, 1, 0, &read), ==, DPI_TP_PENDING);
	CHECK_INT(verbs()->attach(a.to, &asked.key, sizeof asked.memory, &asked.remote, &direct), ==, DPI_SUCCESS); /* waits for the read */
	CHECK_INT(flushed.posted = verbs()->flush(a.to, &flushed), ==, DPI_TP_PENDING);
	mock.hold = false;
	mock_run();
	CHECK_INT(verbs()->progress(a.tp, 0, NULL), ==, DPI_SUCCESS); /* ATTACH is on its way */
	CHECK_INT(verbs()->attach(b.to, &theirs.key, sizeof theirs.memory, &theirs.remote, &direct), ==, DPI_SUCCESS);
	CHECK_INT(finish(&flushed), ==, DPI_SUCCESS);
	sides_end();
}

/* soft-iWARP's defect: a short read that lies in two pages is asked for in two requests, there only. */
TEST(verbs_reads_across_pages, "", 0)
{
	for (int siw = 0; siw < 2; siw++) {
		sides_init();
		mock.transport = IBV_TRANSPORT_IWARP;
		mock.device.vendor_id = siw ? MOCK_SIW : MOCK_ADAPTER;
		sides_open();
		sides_connect();
		window_share(&b, &a, &w, DPI_TP_READ);
		fill(w.memory, sizeof w.memory, 5);
		uint64_t page = 4096 - ((uintptr_t)w.memory & 4095);
		for (size_t size = 1; size < 100; size++) {
			int requests = mock.requests;
			CHECK_INT(get(&a, w.remote, back, size, page - (size + 1) / 2), ==, DPI_SUCCESS);
			CHECK(!memcmp(back, w.memory + page - (size + 1) / 2, size));
			CHECK_INT(mock.requests - requests, ==, siw && size > 1 && size < 64 ? 2 : 1);
		}
		CHECK_INT(get(&a, w.remote, back, 60, page), ==, DPI_SUCCESS);
		sides_end();
	}
}

TEST(verbs_moves_with_global_atomics, "", 0)
{
	sides_init();
	mock.device.atomic_cap = IBV_ATOMIC_GLOB;
	sides_open();
	sides_connect();
	move_all();
	sides_end();
}

/* The home's device counts: one that is asked for what it does not do breaks the connection. */
TEST(verbs_moves_between_devices_of_unlike_atomics, "", 0)
{
	static const enum ibv_atomic_cap caps[] = { IBV_ATOMIC_NONE, IBV_ATOMIC_HCA, IBV_ATOMIC_GLOB };
	for (int initiator = 0; initiator < 3; initiator++)
		for (int home = 0; home < 3; home++) {
			sides_init();
			mock.device.atomic_cap = caps[initiator];
			if (side_open(&a)) FAIL("%s", a.sentence);
			mock.device.atomic_cap = caps[home];
			if (side_open(&b)) FAIL("%s", b.sentence);
			sides_connect();
			move_all();
			CHECK_INT(mock.atomics > 0, ==, initiator && home == 2);
			sides_end();
		}
}

/* What is in a window goes from where it lies; other large memory is registered as long as it takes. */
TEST(verbs_registers_no_longer_than_needed, "", 0)
{
	sides_start();
	window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
	CHECK_INT(window_expose(&a, &v, DPI_TP_WRITE), ==, DPI_SUCCESS);
	int before = mock.regions, calls = mock.calls[MOCK_reg_mr];
	CHECK_INT(put(&a, w.remote, v.memory + 10, 200000, 0, NULL), ==, DPI_SUCCESS);
	CHECK_INT(get(&a, w.remote, v.memory + 10, 200000, 0), ==, DPI_SUCCESS);
	CHECK_INT(mock.calls[MOCK_reg_mr], ==, calls);
	mock.hold = true;
	static struct op o[4];
	struct iovec from = { data, 200000 };
	for (int i = 0; i < 4; i++) CHECK_INT(o[i].posted = verbs()->put(w.remote, &from, 1, 0, NULL, 0, &o[i]), ==, DPI_TP_PENDING);
	CHECK_INT(mock.calls[MOCK_reg_mr], ==, calls + 1);
	CHECK_INT(mock.regions, ==, before + 1);
	CHECK_INT(verbs()->detach(w.remote), ==, DPI_ERR_AGAIN);
	mock.hold = false;
	mock_run();
	for (int i = 0; i < 4; i++) CHECK_INT(finish(&o[i]), ==, DPI_SUCCESS);
	CHECK_INT(mock.regions, ==, before);
	CHECK_INT(verbs()->detach(w.remote), ==, DPI_SUCCESS);
	sides_end();
}

/* Memory that is registered for this process's own operations alone, or for peers' reads, serves its puts and its gets; over iWARP what
 * peers read is no place for gets, as they could then write there. Memory that cannot be written is registered as well. */
TEST(verbs_fills_what_is_registered, "", 0)
{
	static const uint32_t access[] = { 0, DPI_TP_READ, DPI_TP_WRITE, DPI_TP_READ | DPI_TP_WRITE, DPI_TP_ATOMIC };
	for (int i = 0; i < 20; i++) {
		bool iwarp = i / 5 % 2, constant = i / 10 && access[i % 5] < DPI_TP_WRITE;
		sides_init();
		if (iwarp) mock.transport = IBV_TRANSPORT_IWARP;
		sides_open();
		sides_connect();
		window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
		if (constant) mock_fail(MOCK_reg_mr, 0, EFAULT);
		CHECK_INT(window_expose(&a, &v, access[i % 5]), ==, DPI_SUCCESS);
		int calls = mock.calls[MOCK_reg_mr];
		fill(v.memory, sizeof v.memory, (unsigned)i);
		CHECK_INT(put(&a, w.remote, v.memory, 200000, 0, NULL), ==, DPI_SUCCESS);
		CHECK_INT(mock.calls[MOCK_reg_mr], ==, calls);
		memset(v.memory, 0, sizeof v.memory);
		CHECK_INT(get(&a, w.remote, v.memory, 200000, 0), ==, DPI_SUCCESS);
		CHECK(!memcmp(v.memory, w.memory, 200000));
		CHECK_INT(mock.calls[MOCK_reg_mr] - calls, ==, constant || (iwarp && access[i % 5] == DPI_TP_READ));
		sides_end();
	}
}

/* What is small travels in its work request, and few requests ask for a completion. */
TEST(verbs_small_is_inline, "", 0)
{
	static struct op o;
	struct iovec from = { data, 64 };
	DPI_Tp_Notify n = { 8, 0, 5 };
	sides_start();
	window_share(&b, &a, &w, DPI_TP_WRITE);
	sides_progress();
	int requests = mock.requests, inlined = mock.inlined, signalled = mock.signalled;
	for (int i = 0; i < 320; i++) {
		n.value++;
		POST(&o, i % 2 ? verbs()->put(w.remote, &from, 1, 64, &n, 0, &o) : verbs()->put(w.remote, &from, 1, 64, NULL, 0, &o));
		CHECK_INT(o.posted, ==, DPI_SUCCESS);
	}
	CHECK_INT(mock.requests - requests, >=, 320);
	CHECK_INT(mock.inlined - inlined, ==, mock.requests - requests);
	CHECK_INT(mock.signalled - signalled, <=, (mock.requests - requests) / (DEPTH / 4) + 2);
	sides_end();
}

/* Puts that nobody waits for: few ask for a completion; to detach takes none of them, to withdraw all. */
TEST(verbs_late, "T-63", 0)
{
	enum { PUTS = 43 };
	static struct op o[PUTS];
	int done = 0;
	sides_start();
	window_share(&b, &a, &w, DPI_TP_WRITE);
	CHECK_INT(window_expose(&a, &v, DPI_TP_WRITE), ==, DPI_SUCCESS);
	fill(v.memory, sizeof v.memory, 3);
	int signalled = mock.signalled, doorbells = mock.doorbells;
	mock.hold = true;
	for (uint64_t i = 0; i < PUTS; i++) {
		struct iovec from = { v.memory + 5000 * i, 5000 };
		CHECK_INT(o[i].posted = verbs()->put(w.remote, &from, 1, 5000 * i, NULL, DPI_TP_LATE | (i % 2 ? DPI_TP_MORE : 0), &o[i]), ==, DPI_TP_PENDING);
	}
	CHECK_INT(mock.signalled - signalled, ==, PUTS / (DEPTH / LATE_SHARE));
	CHECK_INT(mock.doorbells - doorbells, ==, (PUTS + 1) / 2); /* every second is held back */
	CHECK_INT(verbs()->detach(w.remote), ==, DPI_SUCCESS);
	mock.hold = false;
	mock_run();
	sides_progress();
	CHECK(!memcmp(w.memory, v.memory, 5000 * PUTS));
	while (verbs()->withdraw(v.window) == DPI_ERR_AGAIN) verbs()->progress(a.tp, 0, NULL);
	for (int i = 0; i < PUTS; i++) done += o[i].completions;
	CHECK_INT(done, ==, PUTS);
	sides_end();
}

/* The last ones ask for none of their own; the connection's end is theirs too. */
TEST(verbs_late_disconnected, "T-63", 0)
{
	static struct op o[3];
	struct iovec from = { v.memory, 5000 };
	sides_start();
	window_share(&b, &a, &w, DPI_TP_WRITE);
	CHECK_INT(window_expose(&a, &v, DPI_TP_WRITE), ==, DPI_SUCCESS);
	for (int i = 0; i < 3; i++) CHECK_INT(verbs()->put(w.remote, &from, 1, 0, NULL, DPI_TP_LATE, &o[i]), ==, DPI_TP_PENDING);
	sides_progress();
	for (int i = 0; i < 3; i++) CHECK_INT(o[i].completions, ==, 0);
	verbs()->disconnect(a.to);
	for (int i = 0; i < 3; i++) CHECK_INT(o[i].completions, ==, 1);
	CHECK_INT(verbs()->withdraw(v.window), ==, DPI_SUCCESS);
	a.to = NULL;
	sides_end();
}

/* Buffers come back with a later completion, unless too many wait for one already. */
TEST(verbs_buffers_come_back, "", 0)
{
	sides_start();
	window_share(&b, &a, &w, DPI_TP_WRITE);
	sides_progress();
	int signalled = mock.signalled;
	for (int i = 0; i < 64; i++) CHECK_INT(put(&a, w.remote, data, 4000, 0, NULL), ==, DPI_SUCCESS);
	CHECK_INT(mock.signalled - signalled, <=, 64 / (DEPTH / LATE_SHARE) + 1);
	a.tp->quiet += QUIET; /* of other connections */
	signalled = mock.signalled;
	for (int i = 0; i < 64; i++) CHECK_INT(put(&a, w.remote, data, 4000, 0, NULL), ==, DPI_SUCCESS);
	CHECK_INT(mock.signalled - signalled, ==, 64);
	sides_progress();
	CHECK_INT(a.tp->quiet, ==, QUIET);
	sides_end();
}

/* One doorbell for what was held back. */
TEST(verbs_holds_back, "", 0)
{
	sides_start();
	window_share(&b, &a, &w, DPI_TP_WRITE);
	int calls = mock.calls[MOCK_post_send], doorbells = mock.doorbells;
	for (uint64_t i = 0; i < 10; i++) CHECK_INT(put(&a, w.remote, &i, 8, 8 * i, NULL), ==, DPI_SUCCESS);
	CHECK_INT(mock.calls[MOCK_post_send], ==, calls + 10);
	struct op o;
	uint64_t value = 42;
	struct iovec one = { &value, 8 };
	for (uint64_t i = 0; i < 10; i++) CHECK_INT(verbs()->put(w.remote, &one, 1, 8 * i, NULL, DPI_TP_MORE, &o), ==, DPI_SUCCESS);
	value = 0; /* it is the caller's again */
	CHECK_INT(mock.calls[MOCK_post_send], ==, calls + 10);
	CHECK_INT(verbs()->arm(a.tp, 0), ==, DPI_ERR_AGAIN);
	CHECK_INT(put(&a, w.remote, &value, 8, 80, NULL), ==, DPI_SUCCESS);
	CHECK_INT(mock.calls[MOCK_post_send], ==, calls + 21);
	CHECK_INT(mock.doorbells, ==, doorbells + 11);
	for (int i = 0; i < 10; i++) CHECK_INT(w.memory[8 * i], ==, 42);
	sides_end();
}

/* Nothing falls between arm and sleep. */
TEST(verbs_sleeps, "", 0)
{
	int fd;
	uint64_t value = 1;
	sides_start();
	window_share(&b, &a, &w, DPI_TP_WRITE);
	CHECK_INT(verbs()->get_fd(b.tp, 0, &fd), ==, DPI_SUCCESS);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	DPI_Tp_Notify n = { 0, 7, 3 };
	for (int i = 0; i < 20; i++) {
		sides_progress();
		while (verbs()->arm(b.tp, 0) == DPI_ERR_AGAIN) verbs()->progress(b.tp, 0, NULL);
		CHECK_INT(poll(&p, 1, 0), ==, 0);
		CHECK_INT(put(&a, w.remote, &value, 8, 8, &n), ==, DPI_SUCCESS);
		CHECK_INT(poll(&p, 1, 0), ==, 1);
		CHECK_INT(b.rung, ==, i);
		if (i % 2) CHECK_INT(verbs()->arm(b.tp, 0), ==, DPI_ERR_AGAIN);
		verbs()->progress(b.tp, 0, NULL);
		CHECK_INT(b.rung, ==, i + 1);
	}
	sides_end();
}

/* Credit is given back however one-sided the talk is. */
TEST(verbs_credits, "", 0)
{
	struct op o;
	sides_start();
	window_share(&b, &a, &w, DPI_TP_WRITE);
	window_share(&a, &b, &v, DPI_TP_WRITE);
	int posted = 0, again = 0;
	for (uint64_t i = 0; i < 1000 && again < 2; i++) {
		DPI_Tp_Notify n = { 8, i, DPI_TP_NO_BELL };
		int error = verbs()->put(w.remote, NULL, 0, 0, &n, 0, &o);
		CHECK(!error || error == DPI_ERR_AGAIN);
		posted += !error, again += error == DPI_ERR_AGAIN;
	}
	CHECK_INT(posted, <, CREDITS);
	CHECK_INT(posted, >, CREDITS / 2);
	for (uint64_t i = 1; i <= 5000; i++) {
		DPI_Tp_Notify n = { 8, i, DPI_TP_NO_BELL };
		CHECK_INT(put(&a, w.remote, NULL, 0, 0, &n), ==, DPI_SUCCESS);
		if (i % 3 == 0) CHECK_INT(put(&b, v.remote, NULL, 0, 0, &n), ==, DPI_SUCCESS);
		if (i % 7 == 0) CHECK_INT(flush(&a), ==, DPI_SUCCESS);
	}
	sides_progress();
	CHECK_INT(w.memory[8] | w.memory[9] << 8, ==, 5000);
	CHECK_INT(a.lost + b.lost, ==, 0);
	sides_end();
}

/* What is done with a word goes on, so that a write with immediate says it: one request a put, from where the bytes lie. */
TEST(verbs_writes_with_immediate, "", 0)
{
	enum { BYTES = 8192 };
	static struct op o;
	uint64_t tail = 0, seen;
	sides_start();
	window_share(&b, &a, &w, DPI_TP_WRITE);
	CHECK_INT(window_expose(&a, &v, 0), ==, DPI_SUCCESS);
	fill(v.memory, sizeof v.memory, 3);
	for (int i = 0; i < 1000; i++) {
		uint64_t at = 64 + (uint64_t)i % 32 * BYTES;
		struct iovec from = { v.memory + at, BYTES };
		int posted = mock.calls[MOCK_post_send];
		tail += BYTES;
		DPI_Tp_Notify n = { 8, tail, i % 100 == 99 ? 7 : 5 }; /* another bell: a message, and one to come back */
		POST(&o, verbs()->put(w.remote, &from, 1, at, &n, i % 3 ? 0 : DPI_TP_MORE, &o));
		CHECK_INT(o.posted, ==, DPI_TP_PENDING);
		CHECK_INT(finish(&o), ==, DPI_SUCCESS);
		if (i > 1 && i % 100 && i % 100 != 99) CHECK_INT(mock.calls[MOCK_post_send] - posted, <=, 2); /* credit may be due */
		memcpy(&seen, w.memory + 8, 8);
		CHECK(seen == tail && !memcmp(w.memory + at, v.memory + at, BYTES));
		CHECK_INT(b.rung, ==, i + 1);
		CHECK_INT(b.bell, ==, n.bell);
	}
	CHECK_INT(flush(&a), ==, DPI_SUCCESS);
	/* the memory is the device's until it says so */
	mock.hold = true;
	static struct op many[20];
	for (int i = 0; i < 20; i++) {
		struct iovec from = { v.memory + 64, BYTES };
		tail += BYTES;
		DPI_Tp_Notify n = { 8, tail, 5 };
		CHECK_INT(many[i].posted = verbs()->put(w.remote, &from, 1, 64, &n, 0, &many[i]), ==, DPI_TP_PENDING);
	}
	CHECK_FAILS(&a, verbs()->withdraw(v.window), DPI_ERR_AGAIN, "of this process");
	CHECK_FAILS(&a, verbs()->withdraw(v.window), DPI_ERR_AGAIN, "of this process");
	mock.hold = false;
	mock_run();
	for (int i = 0; i < 20; i++) CHECK_INT(finish(&many[i]), ==, DPI_SUCCESS);
	CHECK_INT(verbs()->withdraw(v.window), ==, DPI_SUCCESS);
	memcpy(&seen, w.memory + 8, 8);
	CHECK(seen == tail);
	CHECK_INT(flush(&a), ==, DPI_SUCCESS);
	CHECK_INT(a.lost + b.lost, ==, 0);
	sides_end();
}

/* A flush asks along with what is held back, and is answered along with what is sent anyway. */
TEST(verbs_flushes_along, "", 0)
{
	static struct op o;
	struct iovec from = { data, 100 };
	DPI_Tp_Notify n = { 8, 1, 5 };
	sides_start();
	window_share(&b, &a, &w, DPI_TP_WRITE);
	window_share(&a, &b, &v, DPI_TP_WRITE);
	for (int i = 0; i < 100; i++) {
		int posted = mock.calls[MOCK_post_send];
		n.value++;
		CHECK_INT(verbs()->put(w.remote, &from, 1, 16, &n, DPI_TP_MORE, &o), ==, DPI_SUCCESS);
		o.completions = 0;
		CHECK_INT(o.posted = verbs()->flush(a.to, &o), ==, DPI_TP_PENDING);
		CHECK_INT(mock.calls[MOCK_post_send], ==, posted + 1);
		verbs()->progress(b.tp, 0, NULL);
		CHECK_INT(mock.calls[MOCK_post_send], ==, posted + 1);
		CHECK_INT(verbs()->arm(b.tp, 0), ==, DPI_ERR_AGAIN); /* nobody sleeps over it */
		if (i % 2) CHECK_INT(verbs()->put(v.remote, &from, 1, 16, &n, 0, &o), ==, DPI_SUCCESS);
		else verbs()->progress(b.tp, 0, NULL);
		CHECK_INT(mock.calls[MOCK_post_send], ==, posted + 2);
		CHECK_INT(o.completions, ==, 0);
		verbs()->progress(a.tp, 0, NULL);
		CHECK_INT(o.completions, ==, 1);
		CHECK_INT(verbs()->flush(a.to, &o), ==, DPI_SUCCESS);
		sides_progress();
	}
	sides_end();
}

/* Keys are asked for and answered out of turn; what they overtake is not handled by that. */
TEST(verbs_flush_is_not_overtaken, "", 0)
{
	static struct op o;
	static struct window u;
	struct iovec from = { data, 100 };
	DPI_Tp_Notify n = { 8, 1, 5 };
	DPI_Tp_Remote *r;
	void *direct;
	sides_start();
	window_share(&b, &a, &w, DPI_TP_WRITE);
	CHECK_INT(window_expose(&b, &u, DPI_TP_WRITE), ==, DPI_SUCCESS);
	CHECK_INT(window_expose(&a, &v, DPI_TP_WRITE), ==, DPI_SUCCESS);
	CHECK_INT(verbs()->put(w.remote, &from, 1, 16, &n, 0, &o), ==, DPI_SUCCESS);
	CHECK_INT(o.posted = verbs()->flush(a.to, &o), ==, DPI_TP_PENDING);
	CHECK_INT(verbs()->attach(a.to, &u.key, 8, &r, &direct), ==, DPI_SUCCESS);
	CHECK_INT(verbs()->attach(b.to, &v.key, 8, &r, &direct), ==, DPI_SUCCESS);
	for (int i = 0; i < 3; i++) verbs()->progress(a.tp, 0, NULL);
	CHECK_INT(o.completions, ==, 0);
	CHECK_INT(b.rung, ==, 0);
	CHECK_INT(finish(&o), ==, DPI_SUCCESS);
	CHECK_INT(b.rung, ==, 1);
	CHECK_INT(a.lost + b.lost, ==, 0);
	sides_end();
}

/* A window goes when those who have it attached have let go. */
TEST(verbs_withdraws, "", 0)
{
	static struct op o;
	struct iovec from = { data, 200000 };
	sides_start();
	window_share(&b, &a, &w, DPI_TP_WRITE);
	mock.frozen_us = 1000000000;
	mock.hold = true;
	CHECK_INT(o.posted = verbs()->put(w.remote, &from, 1, 0, NULL, 0, &o), ==, DPI_TP_PENDING);
	CHECK_FAILS(&b, verbs()->withdraw(w.window), DPI_ERR_AGAIN, "progress");
	mock.hold = false;
	sides_progress();
	CHECK_INT(verbs()->withdraw(w.window), ==, DPI_ERR_AGAIN);
	mock_run();
	CHECK_INT(finish(&o), ==, DPI_SUCCESS);
	sides_progress();
	CHECK_INT(verbs()->withdraw(w.window), ==, DPI_SUCCESS);
	CHECK_FAILS(&a, put(&a, w.remote, data, 8, 0, NULL), DPI_ERR_DESTROYED, "withdrawn");
	mock.frozen_us = 0;
	/* a key of the past */
	DPI_Tp_Remote *late;
	void *direct;
	CHECK_INT(verbs()->attach(a.to, &w.key, 100, &late, &direct), ==, DPI_SUCCESS);
	sides_progress();
	CHECK_FAILS(&a, put(&a, late, data, 8, 0, NULL), DPI_ERR_DESTROYED, "withdrawn");
	/* and one that never was */
	w.key.bytes[16] ^= 1;
	CHECK_INT(verbs()->attach(a.to, &w.key, 100, &late, &direct), ==, DPI_SUCCESS);
	sides_progress();
	CHECK_FAILS(&a, put(&a, late, data, 8, 0, NULL), DPI_ERR_CORRUPT, "never");
	CHECK_INT(a.lost + b.lost, ==, 0);
	sides_end();
}

/* A peer that stands still keeps a window for so long and no longer. */
TEST(verbs_withdraws_from_the_stopped, "", 0)
{
	sides_start();
	window_share(&b, &a, &w, DPI_TP_WRITE);
	mock.frozen_us = 1000000000;
	CHECK_INT(verbs()->withdraw(w.window), ==, DPI_ERR_AGAIN);
	mock.frozen_us += REVOKE_US - 1;
	CHECK_INT(verbs()->withdraw(w.window), ==, DPI_ERR_AGAIN);
	mock.frozen_us += 1;
	CHECK_INT(verbs()->withdraw(w.window), ==, DPI_SUCCESS);
	mock.frozen_us = 0;
	CHECK_INT(put(&a, w.remote, data, 8, 0, NULL), ==, DPI_SUCCESS); /* it does not know yet */
	sides_progress();
	CHECK_INT(a.lost, ==, 1);
	CHECK_HAS(a.lost_sentence, "not registered any more");
	sides_end();
}
