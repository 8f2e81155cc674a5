/* SPDX-License-Identifier: Apache-2.0
 * ends.c: what a connection leaves behind when it is lost or given up: nothing, but to those who have a handle of it. */
#include "sides.h"

#include <errno.h>
#include <malloc.h>

static struct window w;
static uint8_t data[100000];

/* As the core's calls come to it: inside progress. */
static void lose(struct side *s)
{
	s->tp->inside = true;
	dpi_verbs_lose(s->to, "the test ends it");
	s->tp->inside = false;
}

/* So much later; the clock stands from then on. */
static void later(int64_t us)
{
	mock.frozen_us = dpi_verbs_now() + us;
	sides_progress();
}

static int receives(const DPI_Tp *tp)
{
	int n = 0;
	for (const struct verbs_group *g = tp->groups; g; g = g->next) n += mock_receives(g->srq);
	return n;
}

static int promised(const DPI_Tp *tp)
{
	int n = 0;
	for (const struct verbs_group *g = tp->groups; g; g = g->next) n += (int)g->credits;
	return n;
}

static int buffers(const DPI_Tp *tp)
{
	int n = 0;
	for (const struct verbs_buffer *b = tp->buffers; b; b = b->next) n++;
	return n;
}

static void all_is_back(const struct side *s)
{
	CHECK_INT(receives(s->tp), ==, promised(s->tp));
	CHECK_INT(promised(s->tp), ==, CREDITS);
	CHECK_INT(buffers(s->tp), ==, s->tp->slab_count * SLAB);
	CHECK_INT(s->tp->quiet, ==, 0);
	CHECK(!s->tp->ending);
}

/* Requests of all kinds, none of which is carried out; a message of each side that nobody has looked at. */
static void pend(struct op o[3])
{
	struct iovec large = { data, sizeof data }, small = { data, 3000 };
	CHECK_INT(verbs()->send(a.to, data, 500, 0), ==, DPI_SUCCESS);
	CHECK_INT(verbs()->send(b.to, data, 500, 0), ==, DPI_SUCCESS);
	mock.hold = true;
	for (int i = 0; i < 3; i++) o[i].completions = 0;
	CHECK_INT(verbs()->put(w.remote, &small, 1, 0, NULL, 0, NULL), ==, DPI_SUCCESS);
	CHECK_INT(o[0].posted = verbs()->put(w.remote, &large, 1, 0, NULL, 0, &o[0]), ==, DPI_TP_PENDING);
	CHECK_INT(o[1].posted = verbs()->get(w.remote, &large, 1, 0, &o[1]), ==, DPI_TP_PENDING);
	CHECK_INT(o[2].posted = verbs()->get(w.remote, &small, 1, 0, &o[2]), ==, DPI_TP_PENDING);
}

static void connect_and_lose(int how)
{
	static struct op o[3];
	sides_connect();
	window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
	pend(o);
	if (how == 1) mock_fail(MOCK_modify_qp, 0, EIO);
	if (how == 2) verbs()->disconnect(b.to);
	else lose(&a);
	mock.hold = false;
	mock.frozen_us = 0;
	sides_progress();
	later(FLUSH_US);
	mock.frozen_us = 0;
	for (int i = 0; i < 3; i++) CHECK_INT(o[i].completions, ==, 1);
	CHECK_INT(verbs()->withdraw(w.window), ==, DPI_SUCCESS);
}

/* Peers come and go, and the core, which keeps its handles, disconnects none that is lost: what stays is no more than the handles are. */
TEST(verbs_the_lost_keep_no_memory, "", 0)
{
	enum { TIMES = 40 };
	for (int how = 0; how < 4; how++) {
		size_t before = 0;
		int ids = 0, regions = 0;
		sides_init();
		mock.unsaid = how == 3;
		sides_open();
		for (int i = 0; i < 2 * TIMES; i++) {
			connect_and_lose(how);
			CHECK_INT(mock.queue_pairs, ==, 0);
			if (i == TIMES) before = mallinfo2().uordblks, ids = mock.ids, regions = mock.regions;
		}
		size_t after = mallinfo2().uordblks;
		CHECK_INT(mock.ids, ==, ids);
		CHECK_INT(mock.regions, ==, regions);
		CHECK_INT(after > before ? (after - before) / TIMES : 0, <, 4096);
		sides_end();
	}
}

/* Given up as well, they leave nothing at all. */
TEST(verbs_the_disconnected_keep_no_memory, "", 0)
{
	enum { TIMES = 40 };
	size_t before = 0;
	sides_start();
	for (int i = 0; i < 2 * TIMES; i++) {
		if (i) sides_connect();
		CHECK_INT(verbs()->send(a.to, data, 500, 0), ==, DPI_SUCCESS);
		if (i & 1) lose(&a);
		verbs()->disconnect(a.to);
		verbs()->disconnect(b.to);
		sides_progress();
		CHECK_INT(mock.queue_pairs, ==, 0);
		if (i == TIMES) before = mallinfo2().uordblks;
	}
	CHECK_INT(mallinfo2().uordblks, <=, before);
	sides_end();
}

/* Messages that nobody has looked at, and one that is not there yet: the shared queue has all of its buffers again, whether or not the
 * device says when a queue pair has none any more. */
TEST(verbs_the_lost_keep_no_receive_buffer, "", 0)
{
	for (int how = 0; how < 4; how++) {
		sides_init();
		mock.unsaid = how & 1;
		sides_open();
		for (int i = 0; i < 30; i++) {
			sides_connect();
			for (int k = 0; k < 40; k++) CHECK_INT(verbs()->send(a.to, data, 8, 0), ==, DPI_SUCCESS);
			mock.taken = true;
			CHECK_INT(verbs()->send(a.to, data, 8, 0), ==, DPI_SUCCESS);
			CHECK(!mock.taken);
			mock.frozen_us = dpi_verbs_now();
			if (how & 2) verbs()->disconnect(b.to);
			else lose(&b);
			sides_progress();
			if (mock.unsaid) CHECK_INT(mock.queue_pairs, >, 0);
			else CHECK_INT(mock.queue_pairs, ==, 0);
			later(FLUSH_US);
			mock.frozen_us = 0;
			CHECK_INT(mock.queue_pairs, ==, 0);
			CHECK_INT(mock.missing, ==, 0);
			all_is_back(&a);
			all_is_back(&b);
		}
		sides_end();
	}
}

/* A device that is slow to let go of what was posted: until it has, nobody is told that it has, and nobody sleeps over it; but not for
 * ever. What it says later is about nothing that there is any more. */
TEST(verbs_completions_later_than_their_endpoint, "", 0)
{
	static struct op o[3];
	for (int disconnect = 0; disconnect < 3; disconnect++) {
		sides_start();
		window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
		sides_progress();
		mock.frozen_us = dpi_verbs_now();
		pend(o);
		mock.hold = false;
		mock.taken = true;
		CHECK_INT(verbs()->send(b.to, data, 8, 0), ==, DPI_SUCCESS); /* to where it is not there yet */
		mock.late = true;
		lose(&a);
		lose(&b);
		sides_progress();
		for (int i = 0; i < 3; i++) CHECK_INT(o[i].completions, ==, 0);
		CHECK_INT(a.lost, ==, 0);
		CHECK_INT(mock.queue_pairs, ==, 2);
		CHECK_INT(verbs()->arm(a.tp, 0), ==, DPI_ERR_AGAIN);
		mock.frozen_us += FLUSH_US;
		if (disconnect == 1) verbs()->disconnect(a.to), verbs()->disconnect(b.to);
		verbs()->progress(a.tp, 0, NULL);
		verbs()->progress(b.tp, 0, NULL);
		for (int i = 0; i < 3; i++) {
			CHECK_INT(o[i].completions, ==, 1);
			CHECK_INT(o[i].error, ==, DPI_ERR_PEER);
		}
		CHECK_INT(mock.queue_pairs, ==, 0);
		CHECK_INT(a.lost, ==, disconnect != 1);
		if (disconnect == 2) verbs()->disconnect(a.to), verbs()->disconnect(b.to);
		sides_progress();
		for (int i = 0; i < 3; i++) CHECK_INT(o[i].completions, ==, 1);
		all_is_back(&a);
		all_is_back(&b);
		mock.late = false;
		mock.frozen_us = 0;
		sides_connect();
		CHECK_INT(verbs()->send(a.to, data, 8, 0), ==, DPI_SUCCESS);
		b.messages = 0;
		sides_progress();
		CHECK_INT(b.messages, ==, 1);
		sides_end();
	}
}
