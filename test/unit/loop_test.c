/* SPDX-License-Identifier: Apache-2.0
 * loop_test.c: src/core/loop.h: descriptors that come and go, services and kicks, and that somebody always serves the
 * transports. */
#include "unit.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "context.h"
#include "loop_state.h"
#include "wait.h"

static struct dpi_context ctx; /* each case is a process of its own */

static void prepare(bool fence)
{
	CHECK_INT(dpi_settings_read(&ctx.settings, NULL, 0), ==, DPI_SUCCESS);
	if (fence) forbid_membarrier();
	CHECK_INT(dpi_bells_create(&ctx.bells, 1), ==, DPI_SUCCESS);
	CHECK_INT(ctx.bells.page->fence, ==, fence);
	CHECK_INT(dpi_loop_open(&ctx), ==, DPI_SUCCESS);
}

static void open_loop(dpi_service *service, bool fence)
{
	prepare(fence);
	if (service) CHECK_INT(dpi_loop_service(&ctx, service), ==, DPI_SUCCESS);
	CHECK_INT(dpi_loop_start(&ctx), ==, DPI_SUCCESS);
}

static void close_loop(void)
{
	dpi_loop_stop(&ctx);
	dpi_loop_close(&ctx);
	dpi_bells_close(&ctx.bells);
	dpi_settings_free(&ctx.settings);
}

static int event(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

static void raise_event(int fd)
{
	uint64_t one = 1;
	CHECK_INT(write(fd, &one, sizeof one), ==, sizeof one);
}

static void take_event(int fd)
{
	uint64_t n;
	ssize_t size = read(fd, &n, sizeof n);
	(void)size;
}

static void run_until(_Atomic uint64_t *value, uint64_t wanted, const char *what)
{
	for (int64_t end = patience(); atomic_load(value) < wanted; sched_yield())
		if (dpi_now() > end) FAIL("%s: %" PRIu64 " of %" PRIu64, what, atomic_load(value), wanted);
}

/* ------------------------------------------------------------------------------------------------- descriptors */

#define ALIVE 0x600df00d

struct visitor {
	struct dpi_watch watch;
	_Atomic uint32_t state; /* ALIVE from add to the return of remove */
	_Atomic uint64_t calls;
	struct visitor *other; /* to be removed by whichever is called first */
};

static void visit(struct dpi_context *c, struct dpi_watch *w, uint32_t events)
{
	struct visitor *v = (struct visitor *)w;
	CHECK(c == &ctx && dpi_loop_inside(c));
	if (atomic_load(&v->state) != ALIVE) FAIL("called after it was removed");
	if (events & EPOLLIN) {
		take_event(w->fd);
		atomic_fetch_add(&v->calls, 1);
	}
}

static void *come_and_go(void *arg)
{
	struct draws d = draws_from((int)(intptr_t)arg);
	CHECK(!dpi_loop_inside(&ctx));
	for (int n = rounds(2000); n; n--) {
		struct visitor *v = calloc(1, sizeof *v);
		v->watch = (struct dpi_watch){ event(), visit };
		v->state = ALIVE;
		if (draw_below(&d, 2)) raise_event(v->watch.fd); /* ready from the start */
		CHECK_INT(dpi_loop_add(&ctx, &v->watch, EPOLLIN), ==, DPI_SUCCESS);
		for (uint64_t i = draw_below(&d, 4); i; i--) {
			uint64_t before = atomic_load(&v->calls);
			if (!draw_below(&d, 4)) CHECK_INT(dpi_loop_change(&ctx, &v->watch, EPOLLIN | (i & 1 ? EPOLLOUT : 0)), ==, DPI_SUCCESS);
			raise_event(v->watch.fd);
			if (draw_below(&d, 2)) run_until(&v->calls, before + 1, "events of a descriptor");
		}
		idle(&d, 50000);
		dpi_loop_remove(&ctx, &v->watch); /* mostly with an event just raised */
		atomic_store(&v->state, 0);
		close(v->watch.fd);
		memset(&v->watch, 0xff, sizeof v->watch);
		free(v);
	}
	return NULL;
}

TEST(loop_watches_come_and_go_while_events_come, "", 0)
{
	pthread_t t[3];
	open_loop(NULL, false);
	for (intptr_t i = 0; i < 3; i++) t[i] = start_thread(come_and_go, (void *)i);
	for (int i = 0; i < 3; i++) end_thread(t[i]);
	close_loop();
}

static void remove_other(struct dpi_context *c, struct dpi_watch *w, uint32_t events)
{
	struct visitor *v = (struct visitor *)w;
	visit(c, w, events);
	dpi_loop_remove(c, &v->other->watch); /* on the loop thread: it may be next in the same batch */
	atomic_store(&v->other->state, 0);
	dpi_loop_remove(c, w);
	atomic_store(&v->state, 0);
}

static _Atomic uint64_t passes;

static int64_t count_pass(struct dpi_context *c, int64_t now)
{
	(void)c, (void)now;
	atomic_fetch_add(&passes, 1);
	return DPI_NEVER;
}

static struct visitor pairs[8];

static void raise_all(struct dpi_context *c, struct dpi_watch *w, uint32_t events)
{
	(void)c, (void)events;
	take_event(w->fd);
	for (int i = 0; i < 8; i++) raise_event(pairs[i].watch.fd); /* one batch */
}

TEST(loop_callback_removes_others_of_its_batch, "", 0)
{
	struct dpi_watch all = { event(), raise_all };
	open_loop(count_pass, false);
	CHECK_INT(dpi_loop_add(&ctx, &all, EPOLLIN), ==, DPI_SUCCESS);
	for (int n = rounds(300); n; n--) {
		for (int i = 0; i < 8; i++) {
			struct visitor *v = &pairs[i];
			v->watch = (struct dpi_watch){ event(), remove_other };
			v->other = &pairs[i ^ 1];
			v->state = ALIVE;
			v->calls = 0;
			CHECK_INT(dpi_loop_add(&ctx, &v->watch, EPOLLIN), ==, DPI_SUCCESS);
		}
		raise_event(all.fd);
		for (int i = 0; i < 8; i++)
			for (int64_t end = patience(); pairs[i].state; sched_yield())
				if (dpi_now() > end) FAIL("watch %d was neither called nor removed", i);
		uint64_t pass = atomic_load(&passes);
		dpi_loop_kick(&ctx);
		run_until(&passes, pass + 1, "passes of the loop");
		for (int i = 0; i < 8; i++) {
			CHECK_INT(pairs[i].calls + pairs[i ^ 1].calls, ==, 1);
			close(pairs[i].watch.fd);
		}
	}
	close_loop();
	close(all.fd);
}

static _Atomic uint64_t inside_callback;
static _Atomic bool may_return;

static void long_visit(struct dpi_context *c, struct dpi_watch *w, uint32_t events)
{
	(void)c, (void)events;
	take_event(w->fd);
	atomic_store(&inside_callback, 1);
	while (!atomic_load(&may_return)) sched_yield();
	harness_pause();
	atomic_store(&inside_callback, 0);
}

TEST(loop_remove_waits_for_a_callback_that_runs, "", 0)
{
	open_loop(NULL, false);
	for (int n = rounds(100); n; n--) {
		struct dpi_watch w = { event(), long_visit };
		atomic_store(&may_return, false);
		CHECK_INT(dpi_loop_add(&ctx, &w, EPOLLIN), ==, DPI_SUCCESS);
		raise_event(w.fd);
		run_until(&inside_callback, 1, "callback");
		atomic_store(&may_return, true);
		dpi_loop_remove(&ctx, &w);
		CHECK_INT(atomic_load(&inside_callback), ==, 0);
		close(w.fd);
	}
	close_loop();
}

TEST(loop_refuses_what_cannot_be_watched, "", 0)
{
	struct dpi_watch w = { -1, visit };
	prepare(false);
	CHECK_ERROR(dpi_loop_add(&ctx, &w, EPOLLIN), DPI_ERR_LIMIT, "descriptor -1");
	CHECK_ERROR(dpi_loop_change(&ctx, &w, EPOLLIN), DPI_ERR_INTERNAL, "descriptor -1");
	dpi_loop_remove(&ctx, &w); /* nobody runs it: returns at once */
	for (int i = 0; i < 12; i++) CHECK_INT(dpi_loop_service(&ctx, count_pass), ==, DPI_SUCCESS);
	CHECK_ERROR(dpi_loop_service(&ctx, count_pass), DPI_ERR_INTERNAL, "services");
	dpi_loop_close(&ctx);
	close_loop(); /* it never ran, and is closed already */
}

/* ---------------------------------------------------------------------------------------------- services and kicks */

static _Atomic uint64_t wanted, served;

static int64_t serve_wanted(struct dpi_context *c, int64_t now)
{
	(void)c, (void)now;
	CHECK(dpi_loop_inside(c));
	atomic_store(&served, atomic_load_explicit(&wanted, memory_order_acquire));
	return DPI_NEVER;
}

static bool by_bell;

static void *want(void *arg)
{
	struct draws d = draws_from((int)(intptr_t)arg);
	for (int n = rounds(5000); n; n--) {
		uint64_t mine = atomic_fetch_add_explicit(&wanted, 1, memory_order_release) + 1;
		if (by_bell) dpi_bell_ring(&ctx.bells, DPI_BELL_SERVICE);
		else dpi_loop_kick(&ctx);
		if (draw_below(&d, 4)) run_until(&served, mine, by_bell ? "rings of the service bell" : "kicks");
		idle(&d, 30000);
	}
	return NULL;
}

static void want_much(bool bell, bool fence)
{
	pthread_t t[3];
	by_bell = bell;
	open_loop(serve_wanted, fence);
	for (intptr_t i = 0; i < 3; i++) t[i] = start_thread(want, (void *)i);
	for (int i = 0; i < 3; i++) end_thread(t[i]);
	run_until(&served, atomic_load(&wanted), "the last of them");
	close_loop();
}

TEST(loop_loses_no_kick, "", 0)
{
	want_much(false, false);
}

TEST(loop_loses_no_ring_of_its_bell, "", 0)
{
	want_much(true, false);
}

TEST(loop_loses_no_ring_with_real_fences, "", 0)
{
	want_much(true, true);
}

static _Atomic int64_t next_time;
static _Atomic uint64_t runs_on_time;

static int64_t on_time(struct dpi_context *c, int64_t now)
{
	(void)c;
	atomic_fetch_add(&passes, 1);
	if (now < atomic_load(&next_time)) return atomic_load(&next_time);
	atomic_fetch_add(&runs_on_time, 1);
	atomic_store(&next_time, now + 2 * MS);
	return now + 2 * MS;
}

TEST(loop_runs_a_service_when_it_wants, "", 0)
{
	int64_t start = dpi_now(); /* before the first run */
	open_loop(on_time, false);
	run_until(&runs_on_time, 50, "runs of a service every 2 ms");
	CHECK_INT(dpi_now() - start, >=, 98 * MS);
	CHECK_INT(dpi_now() - start, <, 20 * SECOND * harness_slow());
	CHECK_INT(passes, <, 50 * 20); /* it does not come by all the time */
	close_loop();
}

TEST(loop_is_quiet_when_nobody_wants_it, "", 0)
{
	open_loop(count_pass, false);
	run_until(&passes, 2, "first passes");
	for (uint64_t before = 0; before != passes;) { /* it comes to rest */
		before = passes;
		nanosleep(&(struct timespec){ 0, 200 * MS }, NULL);
	}
	close_loop();
}

TEST(loop_stops_at_any_time, "", 0)
{
	struct draws d = draws_from(rank);
	for (int n = rounds(400); n; n--) {
		ctx = (struct dpi_context){ 0 };
		open_loop(count_pass, false);
		if (draw_below(&d, 2)) dpi_loop_kick(&ctx);
		idle(&d, 300000);
		close_loop();
		CHECK(!ctx.loop);
	}
}

/* -------------------------------------------------------------------------------------------------- transports */

/* A transport whose peer is a thread here. eager: its descriptor is readable while messages wait. Else, as many a network
 * card: it becomes readable once, at the first message after it was armed, and stays so until it is armed again. */
#define WIRE_BELL 9u

static struct wire {
	DPI_Transport table;
	struct dpi_carrier carrier;
	_Atomic uint64_t sent, received;
	_Atomic int armed;
	_Atomic int chores; /* rounds to be made before anything else */
	bool eager;
	_Atomic bool over;
} wires[2];

static struct wire *wire_of(DPI_Tp *tp)
{
	return (struct wire *)(void *)tp;
}

static int wire_progress(DPI_Tp *tp, uint32_t lane, int *events)
{
	(void)lane, (void)events;
	struct wire *w = wire_of(tp);
	if (w->eager) take_event(w->carrier.fd);
	if (atomic_load(&w->chores)) return atomic_fetch_sub(&w->chores, 1), DPI_SUCCESS;
	uint64_t sent = atomic_load_explicit(&w->sent, memory_order_acquire);
	if (sent == atomic_load_explicit(&w->received, memory_order_relaxed)) return DPI_SUCCESS;
	atomic_store_explicit(&w->received, sent, memory_order_release);
	dpi_bell_ring(&ctx.bells, WIRE_BELL);
	return DPI_SUCCESS;
}

static int wire_is_busy(DPI_Tp *tp, uint32_t lane, int *events)
{
	(void)tp, (void)lane, (void)events;
	return DPI_SUCCESS; /* its descriptor stays readable */
}

static int wire_arm(DPI_Tp *tp, uint32_t lane)
{
	(void)lane;
	struct wire *w = wire_of(tp);
	if (atomic_load(&w->chores)) return DPI_ERR_AGAIN;
	if (w->eager) return DPI_SUCCESS;
	take_event(w->carrier.fd);
	atomic_store(&w->armed, 1);
	return atomic_load(&w->sent) == atomic_load(&w->received) ? DPI_SUCCESS : DPI_ERR_AGAIN;
}

static void wire_send(struct wire *w)
{
	atomic_fetch_add(&w->sent, 1);
	if (w->eager || atomic_exchange(&w->armed, 0)) raise_event(w->carrier.fd);
}

static void open_wires(bool eager)
{
	prepare(false);
	for (int i = 0; i < 2; i++) {
		struct wire *w = &wires[i];
		struct dpi_carrier *c = &w->carrier;
		w->table = (DPI_Transport){ .progress = wire_progress, .arm = wire_arm };
		w->eager = eager;
		w->over = false;
		*c = (struct dpi_carrier){ .table = &w->table, .tp = (DPI_Tp *)(void *)w, .ctx = &ctx, .index = i, .fd = event(),
					   .lock = PTHREAD_MUTEX_INITIALIZER, .needs_progress = true };
		c->watch = (struct dpi_watch){ c->fd, dpi_loop_carrier_ready };
		ctx.carrier[ctx.carriers++] = c;
	}
	CHECK_INT(dpi_loop_start(&ctx), ==, DPI_SUCCESS);
}

static void close_wires(void)
{
	close_loop();
	for (int i = 0; i < 2; i++) close(wires[i].carrier.fd);
	ctx.carriers = 0;
}

static _Atomic uint64_t states[3];

/* Sends, and waits for somebody, whoever it is, to take it. */
static void *peer(void *arg)
{
	struct wire *w = arg;
	struct draws d = draws_from((int)(w - wires));
	for (int n = rounds(4000); n; n--) {
		wire_send(w);
		if (draw_below(&d, 4)) run_until(&w->received, atomic_load(&w->sent), "messages that somebody took");
		atomic_fetch_add(&states[atomic_load(&dpi_loop_standing(&ctx)->state)], 1);
		if (!draw_below(&d, 16)) idle(&d, 2 * MS);
	}
	run_until(&w->received, atomic_load(&w->sent), "messages that somebody took");
	atomic_store(&w->over, true);
	return NULL;
}

struct caller {
	uint64_t seen;
	struct wire *wire;
};

static bool arrived(void *arg)
{
	struct caller *c = arg;
	return atomic_load_explicit(&c->wire->received, memory_order_acquire) != c->seen;
}

/* Calls of all kinds, that come and go: waits of any length, single looks, posts. */
static void *caller(void *arg)
{
	struct draws d = draws_from(10 + (int)(intptr_t)arg);
	struct caller c = { 0, &wires[(intptr_t)arg % 2] };
	while (!atomic_load(&c.wire->over)) {
		uint64_t how = draw_below(&d, 8);
		c.seen = atomic_load(&c.wire->received);
		struct dpi_wait w = { arrived, &c, WIRE_BELL, dpi_now() + (int64_t)draw_below(&d, how ? 300000 : 4 * MS), 0 };
		if (how < 6) {
			dpi_wait(&ctx, &w);
		} else if (how < 7) {
			dpi_progress(&ctx);
		} else {
			pthread_mutex_lock(&c.wire->carrier.lock);
			idle(&d, 20000);
			pthread_mutex_unlock(&c.wire->carrier.lock);
		}
		idle(&d, draw_below(&d, 8) ? 50000 : 3 * MS);
	}
	return NULL;
}

static void serve_always(bool eager, int64_t spin_ns)
{
	pthread_t t[5];
	ctx.spin_ns = spin_ns;
	open_wires(eager);
	for (int i = 0; i < 2; i++) t[i] = start_thread(peer, &wires[i]);
	for (intptr_t i = 0; i < 3; i++) t[2 + i] = start_thread(caller, (void *)i);
	for (int i = 0; i < 5; i++) end_thread(t[i]);
	struct dpi_standing *s = dpi_loop_standing(&ctx);
	CHECK_INT(s->inside, ==, 0);
	CHECK_INT(s->leader, ==, 0);
	for (int i = 0; i < 20; i++) { /* and with nobody about */
		wire_send(&wires[i % 2]);
		run_until(&wires[i % 2].received, wires[i % 2].sent, "messages that the loop took");
	}
	close_wires();
}

/* Which states are met is the scheduler's choice: again, until both have been. */
static void serve_in_both_states(bool eager)
{
	do serve_always(eager, 0);
	while (!states[DPI_STANDING_UP] || !states[DPI_STANDING_SHALLOW]);
}

TEST(transports_are_always_served, "", 0)
{
	serve_in_both_states(true);
}

TEST(transports_that_must_be_armed_are_always_served, "", 0)
{
	serve_in_both_states(false);
}

TEST(transports_are_always_served_with_spinning, "", 0)
{
	serve_always(false, 20000);
}

static bool nothing(void *arg)
{
	(void)arg;
	return false;
}

static bool told(void *arg)
{
	return atomic_load_explicit((_Atomic bool *)arg, memory_order_acquire);
}

static void *lead(void *arg)
{
	struct dpi_wait w = { told, arg, WIRE_BELL, DPI_NEVER, 0 };
	CHECK_INT(dpi_wait(&ctx, &w), ==, DPI_SUCCESS);
	return NULL;
}

static void *look(void *arg)
{
	struct dpi_wait w = { nothing, NULL, WIRE_BELL, dpi_now() + 1000, 0 };
	if (arg) CHECK_INT(dpi_wait(&ctx, &w), ==, DPI_ERR_TIMEOUT);
	else dpi_progress(&ctx);
	return NULL;
}

/* Each round of progress leaves something for the next one, and nothing but arm says so: who comes by while a leader, or the loop, sleeps on
 * the descriptors does it all, or wakes the sleeper for the rest. */
static void do_chores(bool with_leader)
{
	_Atomic bool enough = false;
	pthread_t leader = 0;
	open_wires(false);
	if (with_leader) {
		leader = start_thread(lead, &enough);
		for (int64_t end = patience(); !atomic_load(&dpi_loop_standing(&ctx)->leader); sched_yield())
			if (dpi_now() > end) FAIL("nobody leads");
	}
	for (int n = rounds(200); n; n--) {
		int64_t end = patience();
		pass_ns(n % 4 * 50000); /* the sleeper may be asleep by now, or not */
		pthread_mutex_lock(&wires[0].carrier.lock);
		atomic_store(&wires[0].chores, 1 + n % 12);
		pthread_mutex_unlock(&wires[0].carrier.lock);
		end_thread(start_thread(look, n % 3 ? wires : NULL));
		for (; atomic_load(&wires[0].chores); sched_yield())
			if (dpi_now() > end) FAIL("%d of %d rounds were left", atomic_load(&wires[0].chores), 1 + n % 12);
	}
	if (with_leader) {
		atomic_store_explicit(&enough, true, memory_order_release);
		dpi_bell_ring(&ctx.bells, WIRE_BELL);
		end_thread(leader);
	}
	close_wires();
}

TEST(transports_leave_no_round_to_a_leader_that_sleeps, "", 0)
{
	do_chores(true);
}

TEST(transports_leave_no_round_to_a_loop_that_sleeps, "", 0)
{
	do_chores(false);
}

/* A transport that always has something to do is no reason to stay beyond the deadline. */
TEST(transports_that_are_busy_hold_nobody_up, "", 0)
{
	open_wires(true);
	wires[0].table.progress = wires[1].table.progress = wire_is_busy;
	wire_send(&wires[0]);
	for (int ms = 1; ms < 20; ms *= 2)
		for (int spins = 0; spins < 2; spins++) {
			int64_t begin = dpi_now();
			struct dpi_wait w = { nothing, NULL, WIRE_BELL, begin + ms * MS, 0 };
			ctx.spin_ns = spins * 20000;
			CHECK_INT(dpi_wait(&ctx, &w), ==, DPI_ERR_TIMEOUT);
			CHECK_INT(dpi_now() - begin, >=, ms * MS);
			CHECK_INT(dpi_now() - begin, <, 10 * SECOND * harness_slow());
		}
	close_wires();
}

/* From the deepest sleep the loop comes back when the last caller leaves. */
static void *long_wait(void *arg)
{
	struct caller c = { *(uint64_t *)arg, &wires[0] };
	struct dpi_wait w = { arrived, &c, WIRE_BELL, DPI_NEVER, 0 };
	CHECK_INT(dpi_wait(&ctx, &w), ==, DPI_SUCCESS);
	return NULL;
}

static void wake_from_depth(bool eager)
{
	struct dpi_standing *s;
	struct draws d = draws_from(1);
	open_wires(eager);
	s = dpi_loop_standing(&ctx);
	for (int n = rounds(60); n; n--) {
		_Atomic bool enough = false;
		pthread_t leader = start_thread(lead, &enough), other = 0;
		uint64_t received = atomic_load(&wires[0].received);
		int64_t end = patience();
		while (atomic_load(&s->state) != DPI_STANDING_DEEP) { /* each packet wakes both, until the loop has had enough of it */
			wire_send(&wires[1]);
			run_until(&wires[1].received, wires[1].sent, "messages that the leader took");
			if (dpi_now() > end) FAIL("the loop goes on watching what a leader serves");
		}
		bool with_other = draw_below(&d, 2);
		if (with_other) other = start_thread(long_wait, &received); /* sleeps on the bell alone */
		pass_ns((int64_t)draw_below(&d, 100000));
		atomic_store_explicit(&enough, true, memory_order_release);
		dpi_bell_ring(&ctx.bells, WIRE_BELL);
		if (draw_below(&d, 2)) end_thread(leader), leader = 0;
		wire_send(&wires[0]); /* whoever it is */
		run_until(&wires[0].received, wires[0].sent, "messages after the leader has left");
		if (with_other) end_thread(other);
		if (leader) end_thread(leader);
		for (int i = 0; i < 3; i++) {
			wire_send(&wires[i % 2]);
			run_until(&wires[i % 2].received, wires[i % 2].sent, "messages with nobody about");
		}
	}
	close_wires();
}

/* The loop gives the transports up for good just when the leader leaves. */
static void leave_at_the_edge(bool eager)
{
	struct draws d = draws_from(1);
	int64_t edge = MS; /* from the loop's standing down to its deepest sleep; learnt */
	int deep = 0, shallow = 0;
	open_wires(eager);
	struct dpi_standing *s = dpi_loop_standing(&ctx);
	for (int n = rounds(120); n > 0 || !shallow; n--) {
		_Atomic bool enough = false;
		pthread_t leader = start_thread(lead, &enough);
		int64_t end = patience(), begin;
		while (atomic_load(&s->state) == DPI_STANDING_UP) {
			wire_send(&wires[1]);
			run_until(&wires[1].received, wires[1].sent, "messages that somebody took");
			if (dpi_now() > end) FAIL("the loop goes on watching what a leader serves");
		}
		begin = dpi_now();
		pass_ns(edge + (int64_t)draw_below(&d, 60000) - 30000);
		bool was_deep = atomic_load(&s->state) == DPI_STANDING_DEEP;
		atomic_store_explicit(&enough, true, memory_order_release);
		dpi_bell_ring(&ctx.bells, WIRE_BELL);
		end_thread(leader);
		if (dpi_now() - begin < 10 * MS) edge += was_deep ? -10000 : 10000;
		was_deep ? deep++ : shallow++;
		if (edge < 500000) edge = 500000;
		if (edge > 2 * MS) edge = 2 * MS;
		for (int i = 0; i < 2; i++) {
			wire_send(&wires[i]);
			run_until(&wires[i].received, wires[i].sent, "messages with nobody about");
		}
		while (atomic_load(&s->state) != DPI_STANDING_UP)
			if (dpi_now() > end) FAIL("the loop does not come back");
	}
	close_wires();
}

TEST(loop_goes_deep_as_the_leader_leaves, "", 0)
{
	leave_at_the_edge(true);
}

TEST(loop_comes_back_from_its_deepest_sleep, "", 0)
{
	wake_from_depth(true);
}

TEST(loop_comes_back_to_transports_that_must_be_armed, "", 0)
{
	wake_from_depth(false);
}
