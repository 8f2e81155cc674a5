/* SPDX-License-Identifier: Apache-2.0
 * works.c: as it should be: bytes, notifications, atomics and messages arrive, and who waits sleeps. */
#include "sides.h"

#include <poll.h>

static void move(uint32_t access)
{
	static uint8_t back[1 << 18];
	static const size_t sizes[] = { 1, 8, 100, 4096, 4097, 16320, 16384, 70001, 200000 };
	uint64_t word;
	struct op op;
	start(access);
	for (int round = 0; round < 2; round++) /* the second one with grants, if there are any */
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
			size_t size = sizes[i];
			DPI_Tp_Notify n = { .offset = sizeof b.memory - 8, .value = 100 * i + (size_t)round + 1, .bell = (uint32_t)i };
			fill((int)i + round);
			memset(b.memory, 0, sizeof b.memory);
			b.rung = 0;
			b.at = 8 + (i & 1);
			b.size = size;
			CHECK_TP(put(&a, size, 8 + (i & 1), &n));
			CHECK_TP(flush(&a));
			CHECK(!memcmp(b.memory + 8 + (i & 1), data, size));
			memcpy(&word, b.memory + sizeof b.memory - 8, 8);
			CHECK_INT(word, ==, n.value);
			CHECK_INT(b.rung, ==, UINT64_C(1) << i);
			memset(back, 0, sizeof back);
			CHECK_TP(get(&a, back, size, 8 + (i & 1)));
			CHECK(!memcmp(back, data, size));
		}
	if (access & DPI_TP_ATOMIC) {
		memset(b.memory, 0, 8);
		DO(op, table()->fetch_add(a.remote, 0, 5, &op.result, &op));
		CHECK(!op.error && op.result == 0);
		DO(op, table()->compare_swap(a.remote, 0, 5, 9, &op.result, &op));
		CHECK(!op.error && op.result == 5 && b.memory[0] == 9);
		CHECK_INT(mock.registered, ==, 0 + (mock.mr_mode & FI_MR_LOCAL ? mock.registered : 0));
	} else {
		CHECK(mock.calls[MOCK_WRITE] > 0 && mock.calls[MOCK_READ] > 0);
	}
	CHECK_TP(table()->send(a.to, "hello", 5, 0));
	turns(10);
	CHECK_INT(b.delivered, ==, 1);
	/* a window goes: its grants are taken back first */
	int error, n = 0;
	while ((error = table()->withdraw(b.window)) == DPI_ERR_AGAIN && n++ < 100) turn();
	CHECK_TP(error);
	CHECK_TP(put(&a, 100, 0, NULL)); /* nobody is harmed */
	CHECK_TP(put(&a, 50000, 0, NULL));
	CHECK_INT(get(&a, back, 100, 0), ==, DPI_ERR_DESTROYED);
	CHECK_INT(get(&a, back, 100000, 0), ==, DPI_ERR_DESTROYED);
	CHECK_TP(flush(&a));
	CHECK_TP(table()->detach(a.remote));
	table()->disconnect(a.to);
	turns(50);
	CHECK_INT(b.lost, ==, 1);
	CHECK_HAS(b.why, "has left");
	CHECK_TP_ERROR(put(&b, 10, 0, NULL), DPI_ERR_PEER, "has left");
	table()->disconnect(b.to);
	close_both();
}

/* Each kind of endpoint, order and way to register. */
TEST(moves_everything, "", 0)
{
	static const int modes[] = { 0, FI_MR_LOCAL, FI_MR_VIRT_ADDR | FI_MR_PROV_KEY, FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY,
				    FI_MR_ENDPOINT | FI_MR_ALLOCATED, FI_MR_ENDPOINT | FI_MR_ALLOCATED | FI_MR_PROV_KEY };
	for (int type = 1; type <= 2; type++)
		for (int ordered = 0; ordered < 2; ordered++)
			for (size_t m = 0; m < sizeof modes / sizeof *modes; m++)
				for (int atomic = 0; atomic < 2; atomic++) {
					mock_reset();
					mock.types = type;
					mock.order = FI_ORDER_SAS | (ordered ? FI_ORDER_SAW : 0);
					mock.mr_mode = modes[m];
					if (m == 1) mock.inject = 0, mock.key_size = 4;
					if (m == 4) mock.key_size = 4, mock.nic = true;
					if (m == 2) mock.message = 70000, mock.nic = true;
					if (m == 3) mock.iov_limit = 1, mock.tx_size = 16;
					move(atomic ? ALL : PLAIN);
				}
}

/* A provider completes receives in any order; what was sent is taken in the order in which it was, and a flush follows the puts before it. */
TEST(receives_in_any_order, "", 0)
{
	for (int type = 1; type <= 2; type++)
		for (int atomic = 0; atomic < 2; atomic++) {
			mock_reset();
			mock.types = type;
			mock.overtake = true;
			move(atomic ? ALL : PLAIN);
			mock_reset();
			mock.types = type;
			mock.overtake = true;
			start(atomic ? ALL : PLAIN);
			for (int i = 0; i < 1000; i++) { /* their numbers wrap */
				struct iovec v = { data, 3000 };
				int error;
				while ((error = table()->send(a.to, &i, sizeof i, i % 3 ? 0 : DPI_TP_MORE)) == DPI_ERR_AGAIN) turn();
				CHECK_TP(error);
				if (i % 10) continue;
				struct op op = { 0 };
				fill(i);
				while ((error = table()->put(a.remote, &v, 1, 0, NULL, 0, NULL)) == DPI_ERR_AGAIN) turn();
				CHECK_TP(error);
				while ((error = table()->flush(a.to, &op)) == DPI_ERR_AGAIN) turn();
				CHECK_INT(error, ==, DPI_TP_PENDING);
				while (!op.completions) turn();
				CHECK(!op.error && !memcmp(b.memory, data, 3000));
			}
			turns(20);
			CHECK_INT(b.delivered, ==, 1000);
			close_both();
		}
}

/* A write on its way, then a notification or a flush: neither says that it is there before it is. */
TEST(writes_land_late, "", 0)
{
	static const size_t sizes[] = { 0, 100, 5000, 70000 };
	for (int type = 1; type <= 2; type++)
		for (int order = 0; order < 2; order++)
			for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
				struct op first = { 0 }, second = { 0 }, flushed = { 0 };
				struct iovec v = { data, LARGE }, w = { data + LARGE, sizes[i] };
				DPI_Tp_Notify n = { .offset = DPI_TP_NO_OFFSET, .bell = 1 };
				int error;
				mock_reset();
				mock.types = type;
				mock.nic = true;
				mock.order = FI_ORDER_SAS | (order ? FI_ORDER_SAW : 0);
				start(PLAIN);
				CHECK_TP(put(&a, LARGE, 0, NULL)); /* asks for the grant */
				CHECK_TP(flush(&a));
				fill(9);
				memset(b.memory, 0, sizeof b.memory);
				b.size = LARGE + sizes[i];
				int before = mock.calls[MOCK_WRITE];
				CHECK_INT(table()->put(a.remote, &v, 1, 0, NULL, 0, &first), ==, DPI_TP_PENDING);
				CHECK_INT(mock.calls[MOCK_WRITE], ==, before + 1);
				if (sizes[i]) { /* else the flush follows at once */
					while ((error = table()->put(a.remote, &w, 1, LARGE, &n, 0, &second)) == DPI_ERR_AGAIN) turn();
					CHECK(!error || error == DPI_TP_PENDING);
				}
				for (int k = 0; k < 5; k++) CHECK_TP(table()->progress(b.tp, 0, NULL)); /* it takes what there is before the completion is read */
				mock.overtake = true;
				while ((error = table()->flush(a.to, &flushed)) == DPI_ERR_AGAIN) turn();
				CHECK_INT(error, ==, DPI_TP_PENDING);
				for (int k = 0; k < 5; k++) CHECK_TP(table()->progress(b.tp, 0, NULL));
				for (int k = 0; !flushed.completions && k < 1000; k++) turn();
				CHECK_INT(flushed.completions, ==, 1);
				CHECK(!flushed.error && !memcmp(b.memory, data, b.size));
				CHECK_INT(b.rung, ==, sizes[i] ? 2 : 0);
				close_both();
			}
}

/* A device writes pieces from 16 KiB on by itself. Without one, over connections, what fits into a message goes in one. */
TEST(writes_or_messages, "", 0)
{
	for (int type = 1; type <= 2; type++)
		for (int nic = 0; nic < 2; nic++) {
			bool writes = nic || type == 2;
			mock_reset();
			mock.types = type;
			mock.nic = nic;
			start(PLAIN);
			CHECK_TP(put(&a, LARGE, 0, NULL)); /* asks for the grant */
			CHECK_TP(flush(&a));
			turns(5);
			for (int i = 0; i < 3; i++) {
				size_t size = i < 2 ? (size_t)(i ? 65536 : 16384) : LARGE;
				int before = mock.calls[MOCK_WRITE], sent = mock.calls[MOCK_SEND];
				fill(i);
				CHECK_TP(put(&a, size, 8, NULL));
				CHECK_INT(mock.calls[MOCK_WRITE] - before, ==, writes || i == 2);
				CHECK_INT(mock.calls[MOCK_SEND] - sent, ==, !(writes || i == 2));
				CHECK_TP(flush(&a));
				CHECK(!memcmp(b.memory + 8, data, size));
			}
			close_both();
		}
}

/* What is posted together goes in one message; the answer to a flush goes along with what is posted next, or by itself a round later. */
TEST(goes_along, "", 0)
{
	struct op flushed[2] = { 0 };
	DPI_Tp_Notify n = { .offset = 64, .value = 7, .bell = 3 };
	struct iovec v = { data, 16 };
	fill(1);
	for (int alone = 0; alone < 2; alone++)
		for (int types = 1; types <= 2; types++) {
			mock_reset();
			mock.types = types;
			start(ALL);
			turns(3);
			memset(flushed, 0, sizeof flushed);
			int before = mock.calls[MOCK_SEND] + mock.calls[MOCK_INJECT];
			CHECK_TP(table()->put(a.remote, &v, 1, 0, &n, DPI_TP_MORE, NULL));
			CHECK_TP(table()->put(a.remote, &v, 1, 128, &n, DPI_TP_MORE, NULL));
			CHECK_INT(mock.calls[MOCK_SEND] + mock.calls[MOCK_INJECT], ==, before);
			CHECK_INT(table()->flush(a.to, &flushed[0]), ==, DPI_TP_PENDING);
			CHECK_INT(mock.calls[MOCK_SEND] + mock.calls[MOCK_INJECT], ==, before + 1);
			CHECK_TP(table()->progress(b.tp, 0, NULL));
			CHECK(!memcmp(b.memory, data, 16) && !memcmp(b.memory + 128, data, 16) && b.rung == 8);
			CHECK_INT(mock.calls[MOCK_SEND] + mock.calls[MOCK_INJECT], ==, before + 1);
			CHECK_INT(table()->arm(b.tp, 0), ==, DPI_ERR_AGAIN);
			if (alone) CHECK_TP(table()->progress(b.tp, 0, NULL));
			else CHECK_TP(table()->put(b.remote, &v, 1, 0, &n, 0, NULL));
			CHECK_INT(mock.calls[MOCK_SEND] + mock.calls[MOCK_INJECT], ==, before + 2);
			CHECK_TP(table()->progress(a.tp, 0, NULL));
			CHECK_INT(flushed[0].completions, ==, 1);
			CHECK_INT(flushed[0].error, ==, DPI_SUCCESS);
			/* one that the program leaves without a successor goes with the next round */
			CHECK_TP(table()->put(a.remote, &v, 1, 256, &n, DPI_TP_MORE, NULL));
			CHECK_INT(table()->arm(a.tp, 0), ==, DPI_ERR_AGAIN);
			turns(2);
			CHECK(!memcmp(b.memory + 256, data, 16));
			close_both();
		}
}

/* Credits: a peer that takes nothing is sent no more than it has buffers for, and all arrives when it goes on. */
TEST(credits_run_out, "", 0)
{
	struct op op;
	struct iovec v = { data, 64 };
	int taken = 0;
	mock_reset();
	start(PLAIN);
	while (table()->put(a.remote, &v, 1, (uint64_t)taken * 64, NULL, 0, &op) != DPI_ERR_AGAIN) {
		CHECK_INT(++taken, <=, CREDITS);
		table()->progress(a.tp, 0, NULL);
	}
	CHECK_INT(taken, ==, CREDITS);
	turns(10);
	CHECK_TP(put(&a, 64, 0, NULL));
	CHECK_TP(flush(&a));
	close_both();
}

TEST(taken_back, "", 0)
{
	static uint8_t back[100000];
	struct op puts[3], gets[3];
	struct iovec v = { data, 100000 }, w = { back, sizeof back };
	memset(puts, 0, sizeof puts);
	memset(gets, 0, sizeof gets);
	mock_reset();
	start(ALL);
	mock.hold = true;
	for (int i = 0, posted = 0; !posted && i < 20; i++) posted = table()->put(a.remote, &v, 1, 0, NULL, 0, &puts[0]);
	for (int i = 0; i < 3; i++) {
		if (i) CHECK_INT(table()->put(a.remote, &v, 1, 0, NULL, 0, &puts[i]), ==, DPI_TP_PENDING);
		CHECK_INT(table()->get(a.remote, &w, 1, 0, &gets[i]), ==, DPI_TP_PENDING);
	}
	CHECK_TP(table()->cancel(a.to, &puts[1]));
	CHECK_TP(table()->cancel(a.to, &gets[1]));
	CHECK_TP(table()->cancel(a.to, &gets[1])); /* it is gone */
	mock.hold = false;
	mock_release();
	turns(300);
	CHECK(puts[0].completions == 1 && puts[2].completions == 1 && gets[0].completions == 1 && gets[2].completions == 1);
	CHECK(puts[1].completions == 0 && gets[1].completions == 0);
	CHECK_INT(a.lost + b.lost, ==, 0);
	close_both();
}

TEST(sleeps, "", 0)
{
	mock_reset();
	start(PLAIN);
	int fd, n = 0;
	CHECK_TP(table()->get_fd(a.tp, 0, &fd));
	while (table()->arm(a.tp, 0) == DPI_ERR_AGAIN && n++ < 100) turn();
	CHECK_TP(table()->arm(a.tp, 0));
	CHECK_TP(put(&b, 8, 0, NULL));
	close_both();
	mock_reset();
	mock.no_fd = true;
	start(PLAIN);
	DPI_Tp_Attr attr = { .size = sizeof attr };
	CHECK_TP(table()->query(a.tp, &attr));
	CHECK(attr.capabilities & DPI_TP_FD);
	CHECK(!(attr.capabilities & (DPI_TP_PASSIVE | DPI_TP_LAST_BYTE_LAST)));
	struct pollfd p = { .events = POLLIN };
	CHECK_TP(table()->get_fd(b.tp, 0, &p.fd));
	for (int round = 0; round < 40; round++) { /* each time it is woken, be there something to do or not */
		n = 0;
		while (table()->arm(b.tp, 0) == DPI_ERR_AGAIN && n++ < 100) turn();
		CHECK_INT(poll(&p, 1, 60000), ==, 1);
		if (round % 8 == 7) {
			int events;
			CHECK_TP(put(&a, 8, 0, NULL));
			CHECK_TP(table()->progress(b.tp, 0, &events));
			CHECK_INT(events, >, 0);
		}
	}
	CHECK_TP(flush(&a));
	close_both();
	mock_reset();
	mock.no_fd = true;
	mock.types = 2;
	start(PLAIN);
	CHECK_TP(put(&a, 8, 0, NULL));
	CHECK_TP(flush(&a));
	close_both();
}

/* Endpoints come and go while a process sleeps: no provider is asked to wait for one that is closed. */
TEST(sleeps_after_a_close, "", 0)
{
	for (int type = 1; type <= 2; type++) {
		mock_reset();
		mock.types = type;
		start(PLAIN);
		table()->disconnect(a.to);
		turns(10);
		for (int n = 0; table()->arm(a.tp, 0) == DPI_ERR_AGAIN && n < 100; n++) turn();
		CHECK_TP(table()->arm(a.tp, 0));
		CHECK_INT(mock.stale, ==, 0);
		table()->disconnect(b.to);
		close_both();
	}
}
