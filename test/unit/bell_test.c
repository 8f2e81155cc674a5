/* SPDX-License-Identifier: Apache-2.0
 * bell_test.c: src/core/bell.h and wait.h: whoever waits is woken, whatever the others are at when it goes to sleep. */
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "context.h"
#include "wait.h"

/* A context of bells and a loop that nobody runs. With a carrier in it, the first that waits sleeps in poll. */
struct node {
	struct dpi_context ctx;
	struct dpi_carrier carrier;
	DPI_Transport table;
};

static int idle_progress(DPI_Tp *tp, uint32_t lane, int *events)
{
	(void)tp, (void)lane, (void)events;
	return DPI_SUCCESS;
}

static int idle_arm(DPI_Tp *tp, uint32_t lane)
{
	(void)tp, (void)lane;
	return DPI_SUCCESS;
}

static void open_node(struct node *n, bool polls, bool fence, int64_t spin_ns)
{
	memset(n, 0, sizeof *n);
	struct dpi_context *ctx = &n->ctx;
	if (fence) forbid_membarrier();
	CHECK_INT(dpi_bells_create(&ctx->bells, 1), ==, DPI_SUCCESS);
	CHECK_INT(ctx->bells.page->fence, ==, fence);
	ctx->spin_ns = spin_ns;
	CHECK_INT(dpi_loop_open(ctx), ==, DPI_SUCCESS);
	if (!polls) return;
	struct dpi_carrier *c = &n->carrier;
	pthread_mutex_init(&c->lock, NULL);
	n->table = (DPI_Transport){ .progress = idle_progress, .arm = idle_arm };
	c->table = &n->table;
	c->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	c->needs_progress = true;
	ctx->carrier[ctx->carriers++] = c;
}

static void close_node(struct node *n)
{
	dpi_loop_close(&n->ctx);
	dpi_bells_close(&n->ctx.bells);
	if (n->ctx.carriers) close(n->carrier.fd);
}

static int open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;
	while (readdir(d)) n++;
	closedir(d);
	return n;
}

/* ---------------------------------------------------------------------------------------------------------- games */

/* Two players hand a number to and fro. Each publishes, then rings; each waits for the other's. */
struct game {
	_Atomic uint32_t said[2];
	uint32_t rounds;
	int64_t longest_idle;
	uint32_t bells; /* of each, from which the other draws one; 0: 1 */
	bool forgets;	/* that somebody slept: the next sleeper fences anew */
};

struct player {
	struct game *game;
	struct dpi_context *ctx;
	const struct dpi_bells *other; /* where the other is woken */
	int me;
	uint32_t seen;
	bool across; /* the other is another process */
};

static bool heard(void *arg)
{
	struct player *p = arg;
	return atomic_load_explicit(&p->game->said[!p->me], memory_order_acquire) != p->seen;
}

/* So many rings find nobody that the bell is as nobody had slept at it. */
static void forget(struct player *p, uint32_t bell)
{
	struct dpi_bells *own = &p->ctx->bells;
	for (int i = 0; i < 2000; i++) CHECK(!dpi_bell_ring(own, bell));
	CHECK_INT(own->page->bell[bell].sleepers, ==, 0);
}

static void await_other(struct player *p, uint32_t round)
{
	if (p->game->forgets && round % 4 == 1) forget(p, (uint32_t)p->me + 1);
	struct dpi_wait w = { heard, p, (uint32_t)p->me + 1, patience(), 0 };
	for (uint32_t n = 1; n < p->game->bells; n++) w.bells |= UINT64_C(1) << ((uint32_t)p->me + 1 + 2 * n);
	int error = dpi_wait(p->ctx, &w);
	uint32_t said = atomic_load(&p->game->said[!p->me]);
	if (error) FAIL("player %d slept through round %u: error %d, the other has said %u", p->me, round, error, said);
	CHECK_INT(said, ==, p->seen + 1);
	p->seen = said;
}

static void say(struct player *p, struct draws *d)
{
	if (p->game->longest_idle) idle(d, p->game->longest_idle);
	atomic_fetch_add_explicit(&p->game->said[p->me], 1, memory_order_release);
	uint32_t bell = (uint32_t)!p->me + 1 + (p->game->bells ? 2 * (uint32_t)draw_below(d, p->game->bells) : 0);
	if (p->across) dpi_bell_other(p->other, bell);
	dpi_bell_ring(p->other, bell);
}

static void *play(void *arg)
{
	struct player *p = arg;
	struct draws d = draws_from(p->me);
	for (uint32_t i = 1; i <= p->game->rounds; i++) {
		if (!p->me) say(p, &d);
		await_other(p, i);
		if (p->me) say(p, &d);
	}
	return NULL;
}

static void between_threads_in(struct game *game, bool polls, bool fence, int64_t spin_ns, int n)
{
	static struct node node;
	game->rounds = (uint32_t)rounds(n);
	open_node(&node, polls, fence, spin_ns);
	struct player a = { game, &node.ctx, &node.ctx.bells, 0, 0, false }, b = { game, &node.ctx, &node.ctx.bells, 1, 0, false };
	pthread_t t = start_thread(play, &b);
	play(&a);
	end_thread(t);
	for (int i = 0; i < (int)DPI_BELLS; i++) CHECK_INT((node.ctx.bells.page->bell[i].sleepers & ~DPI_BELL_FENCED) + node.ctx.bells.page->bell[i].pollers, ==, 0);
	CHECK_INT(node.ctx.inside, ==, 0);
	close_node(&node);
}

static void between_threads_on(uint32_t bells, bool polls, bool fence, int64_t spin_ns, int n, int64_t longest_idle)
{
	static struct game game;
	game.bells = bells;
	game.longest_idle = longest_idle;
	between_threads_in(&game, polls, fence, spin_ns, n);
}

static void between_threads(bool polls, bool fence, int64_t spin_ns, int n, int64_t longest_idle)
{
	between_threads_on(0, polls, fence, spin_ns, n, longest_idle);
}

/* Each waits on several bells, of which any is rung: the thread that serves the transports, and the other, on futexes. */
TEST(bells_wake_a_sleeper_on_many, "", 0) { between_threads_on(2, false, false, 0, 10000, 0); }
TEST(bells_wake_a_sleeper_on_many_at_odd_times, "", 0) { between_threads_on(30, false, false, 0, 5000, 40000); }
TEST(bells_wake_a_poller_on_many, "", 0) { between_threads_on(3, true, false, 0, 10000, 20000); }
TEST(bells_wake_on_many_with_real_fences, "", 0) { between_threads_on(3, true, true, 3000, 10000, 20000); }

TEST(bell_wakes_sleepers, "", 0)
{
	between_threads(false, false, 0, 20000, 0);
}

TEST(bell_wakes_sleepers_at_odd_times, "", 0)
{
	between_threads(false, false, 0, 15000, 40000);
}

TEST(bell_wakes_who_slept_long_ago, "", 0)
{
	static struct game game = { .forgets = true, .longest_idle = 20000 };
	between_threads_in(&game, false, false, 0, 10000);
}

TEST(bell_wakes_who_spins_first, "", 0)
{
	between_threads(false, false, 3000, 20000, 20000);
}

TEST(bell_wakes_pollers, "", 0)
{
	between_threads(true, false, 0, 10000, 0);
}

TEST(bell_wakes_pollers_at_odd_times, "", 0)
{
	between_threads(true, false, 1000, 10000, 40000);
}

TEST(bell_wakes_with_real_fences, "", 0)
{
	between_threads(false, true, 0, 20000, 20000);
}

TEST(bell_wakes_pollers_with_real_fences, "", 0)
{
	between_threads(true, true, 0, 10000, 20000);
}

/* -------------------------------------------------------------------------------------------------- two processes */

static void between_processes(bool polls, bool fence, int64_t spin_ns, int n, int64_t longest_idle)
{
	struct game *game = harness_shared();
	static struct node nodes[2];
	struct dpi_bells other;
	game->rounds = (uint32_t)rounds(n);
	game->longest_idle = longest_idle;
	for (int i = 0; i < 2; i++) open_node(&nodes[i], polls, fence, spin_ns);
	pid_t child = fork();
	CHECK(child >= 0);
	int me = !child, flags = F_DUPFD_CLOEXEC;
	struct dpi_bells *b = &nodes[!me].ctx.bells;
	CHECK_INT(dpi_bells_map(&other, fcntl(b->page_fd, flags, 3), fcntl(b->event_fd, flags, 3)), ==, DPI_SUCCESS);
	CHECK_INT(other.page->fence, ==, fence);
	struct player p = { game, &nodes[me].ctx, &other, me, 0, true };
	play(&p);
	CHECK_INT(nodes[me].ctx.bells.page->bell[me + 1].others, ==, 1);
	CHECK_INT(nodes[me].ctx.bells.page->bell[DPI_BELL_SERVICE].others, ==, 0);
	dpi_bells_close(&other);
	for (int i = 0; i < 2; i++) close_node(&nodes[i]);
	int status;
	if (!child) _exit(0);
	CHECK_INT(waitpid(child, &status, 0), ==, child);
	CHECK_INT(status, ==, 0);
}

TEST(bell_wakes_across_processes, "", 0)
{
	between_processes(false, false, 0, 15000, 20000);
}

TEST(bell_wakes_pollers_across_processes, "", 0)
{
	between_processes(true, false, 1000, 10000, 20000);
}

TEST(bell_wakes_across_processes_with_real_fences, "", 0)
{
	between_processes(false, true, 0, 15000, 20000);
}

/* ------------------------------------------------------------------------------------------------------- crowds */

/* Ringers count up; each waiter wants to see every change come to an end, and all of them share one bell. */
#define RINGERS 2
#define WAITERS 3

struct crowd {
	struct node node;
	_Atomic uint32_t count, seen[WAITERS];
	uint32_t total;
	int64_t longest_idle;
};

struct member {
	struct crowd *crowd;
	int who;
	uint32_t seen;
};

static bool counted(void *arg)
{
	struct member *m = arg;
	return atomic_load_explicit(&m->crowd->count, memory_order_acquire) != m->seen;
}

static void *crowd_waiter(void *arg)
{
	struct member *m = arg;
	while (m->seen != m->crowd->total) {
		struct dpi_wait w = { counted, m, 5, patience(), 0 };
		if (dpi_wait(&m->crowd->node.ctx, &w)) FAIL("waiter %d sleeps on at %u of %u", m->who, m->crowd->count, m->crowd->total);
		m->seen = atomic_load_explicit(&m->crowd->count, memory_order_acquire);
		atomic_store(&m->crowd->seen[m->who], m->seen);
	}
	return NULL;
}

static void *crowd_ringer(void *arg)
{
	struct member *m = arg;
	struct draws d = draws_from(m->who + 10);
	for (uint32_t i = 0; i < m->crowd->total / RINGERS; i++) {
		idle(&d, m->crowd->longest_idle);
		atomic_fetch_add_explicit(&m->crowd->count, 1, memory_order_release);
		dpi_bell_ring(&m->crowd->node.ctx.bells, 5);
		/* now and then let them all fall asleep: the next ring is then the only one */
		for (int64_t end = patience(); i % 8 == 0;) {
			uint32_t count = atomic_load(&m->crowd->count), behind = 0;
			for (int k = 0; k < WAITERS; k++) behind += atomic_load(&m->crowd->seen[k]) != count;
			if (!behind || atomic_load(&m->crowd->count) != count) break;
			if (dpi_now() > end) FAIL("%u waiters sleep on at %u of %u", behind, count, m->crowd->total);
			sched_yield();
		}
	}
	return NULL;
}

static void run_crowd(bool polls, bool fence, int n)
{
	static struct crowd crowd;
	pthread_t threads[RINGERS + WAITERS];
	struct member members[RINGERS + WAITERS];
	crowd.total = (uint32_t)rounds(n) / RINGERS * RINGERS;
	crowd.longest_idle = 50000;
	open_node(&crowd.node, polls, fence, 0);
	for (int i = 0; i < WAITERS + RINGERS; i++) {
		members[i] = (struct member){ &crowd, i, 0 };
		threads[i] = start_thread(i < WAITERS ? crowd_waiter : crowd_ringer, &members[i]);
	}
	for (int i = 0; i < WAITERS + RINGERS; i++) end_thread(threads[i]);
	close_node(&crowd.node);
}

TEST(bell_wakes_a_crowd, "", 0)
{
	run_crowd(false, false, 10000);
}

TEST(bell_wakes_a_crowd_of_which_one_polls, "", 0)
{
	run_crowd(true, false, 6000);
}

TEST(bell_wakes_a_crowd_with_real_fences, "", 0)
{
	run_crowd(true, true, 6000);
}

/* -------------------------------------------------------------------------------------------------- without a race */

TEST(bell_without_a_waiter_is_silent, "", 0)
{
	struct node n;
	open_node(&n, false, false, 0);
	for (uint32_t i = 0; i < DPI_BELLS; i++) {
		CHECK(!dpi_bell_ring(&n.ctx.bells, i));
		CHECK_INT(n.ctx.bells.page->bell[i].sequence, ==, 0);
	}
	n.ctx.bells.page->bell[7].pollers = 1;
	CHECK(dpi_bell_ring(&n.ctx.bells, 7));
	CHECK(!dpi_bell_ring(&n.ctx.bells, 8));
	uint64_t count;
	CHECK_INT(read(n.ctx.bells.event_fd, &count, 8), ==, 8);
	CHECK_INT(count, ==, 1);
	n.ctx.bells.page->bell[7].pollers = 0;
	n.ctx.bells.page->bell[9].sleepers = 1;
	CHECK(!dpi_bell_ring(&n.ctx.bells, 9)); /* it has been woken, and looks again before it sleeps */
	n.ctx.bells.page->bell[9].awaited = 1;
	CHECK(dpi_bell_ring(&n.ctx.bells, 9));
	CHECK(!dpi_bell_ring(&n.ctx.bells, 9));
	CHECK_INT(n.ctx.bells.page->bell[9].sequence, ==, 1);
	CHECK_INT(read(n.ctx.bells.event_fd, &count, 8), ==, -1); /* a sleeper costs no event */
	close_node(&n);
}

TEST(bells_are_picked_in_turn, "", 0)
{
	static struct dpi_context ctx;
	bool picked[DPI_BELLS] = { false };
	for (int i = 1; i < DPI_BELLS; i++) {
		uint32_t bell = dpi_bell_pick(&ctx);
		CHECK(bell < DPI_BELLS && bell != DPI_BELL_SERVICE && !picked[bell]);
		picked[bell] = true;
	}
	ctx.next_bell = UINT32_MAX;
	for (int i = 0; i < 3; i++) {
		uint32_t bell = dpi_bell_pick(&ctx);
		CHECK(bell < DPI_BELLS && bell != DPI_BELL_SERVICE);
	}
}

static bool never(void *arg)
{
	(*(int *)arg)++;
	return false;
}

static bool second_time(void *arg)
{
	return ++*(int *)arg == 2;
}

static void check_deadlines(bool polls, int64_t spin_ns)
{
	struct node n;
	open_node(&n, polls, false, spin_ns);
	int looks = 0;
	struct dpi_wait w = { never, &looks, 3, 0, 0 };
	int64_t start = dpi_now();
	CHECK_INT(dpi_wait(&n.ctx, &w), ==, DPI_ERR_TIMEOUT); /* DPI_NO_WAIT */
	CHECK(looks > 0);
	CHECK_INT(dpi_now() - start, <, 10 * SECOND * harness_slow());
	for (int ms = 1; ms < 64; ms *= 4) {
		start = dpi_now();
		w.deadline = start + ms * MS;
		CHECK_INT(dpi_wait(&n.ctx, &w), ==, DPI_ERR_TIMEOUT);
		CHECK_INT(dpi_now(), >=, w.deadline);
		CHECK_INT(dpi_now() - start, <, (ms + 10000) * MS * harness_slow());
	}
	looks = 0;
	w = (struct dpi_wait){ second_time, &looks, 3, DPI_NEVER, 0 }; /* seen by the look between counting in and sleeping */
	CHECK_INT(dpi_wait(&n.ctx, &w), ==, DPI_SUCCESS);
	CHECK_INT(n.ctx.inside, ==, 0);
	close_node(&n);
}

TEST(wait_keeps_its_deadline, "", 0)
{
	check_deadlines(false, 0);
	check_deadlines(true, 0);
	check_deadlines(false, 20000);
	check_deadlines(true, 20000);
}

TEST(bells_of_a_liar_are_refused, "", 0)
{
	struct dpi_bells b, good;
	static const char page[sizeof(struct dpi_bell_page)];
	int files = open_files();
	for (int i = 0; i < 5; i++) {
		int fd = memfd_create("liar", MFD_ALLOW_SEALING | MFD_CLOEXEC), event = eventfd(0, EFD_CLOEXEC);
		size_t size = sizeof page - (i == 1) + (i == 2);
		CHECK_INT(ftruncate(fd, (off_t)size), ==, 0);
		if (i) CHECK_INT(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), ==, 0);
		if (i == 4) close(fd), fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		/* 0: could be cut short; 1, 2: too short, too long; 3: of no version; 4: no memfd */
		CHECK_ERROR(dpi_bells_map(&b, fd, event), i == 3 ? DPI_ERR_VERSION : DPI_ERR_CORRUPT, "page of wake-ups");
		CHECK(!b.page);
		CHECK_INT(open_files(), ==, files);
	}
	CHECK_ERROR(dpi_bells_map(&b, -1, -1), DPI_ERR_CORRUPT, "page of wake-ups"); /* none came */
	CHECK_INT(dpi_bells_create(&good, 42), ==, DPI_SUCCESS);
	CHECK_INT(good.page->incarnation, ==, 42);
	int page_fd = fcntl(good.page_fd, F_DUPFD_CLOEXEC, 3), event_fd = fcntl(good.event_fd, F_DUPFD_CLOEXEC, 3);
	CHECK_INT(dpi_bells_map(&b, page_fd, event_fd), ==, DPI_SUCCESS);
	CHECK_INT(b.page->incarnation, ==, 42);
	CHECK(ftruncate(good.page_fd, 0) && ftruncate(good.page_fd, 8192)); /* nobody can */
	dpi_bells_close(&b);
	dpi_bells_close(&good);
	CHECK_INT(open_files(), ==, files);
}
