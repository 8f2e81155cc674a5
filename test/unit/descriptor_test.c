/* SPDX-License-Identifier: Apache-2.0
 * descriptor_test.c: src/core/descriptor.h: whoever sleeps on a descriptor is woken, whatever the others are at when it is
 * armed; and what was not armed, or not rung, is not readable. */
#include "unit.h"

#include <poll.h>
#include <sys/resource.h>

#include "context.h"
#include "descriptor.h"
#include "wait.h"

static struct dpi_context ctx; /* each case is a process of its own */
static _Atomic uint64_t passes;

static int64_t count_pass(struct dpi_context *c, int64_t now)
{
	(void)c, (void)now;
	atomic_fetch_add(&passes, 1);
	return DPI_NEVER;
}

static void open_all(bool fence)
{
	CHECK_INT(dpi_settings_read(&ctx.settings, NULL, 0), ==, DPI_SUCCESS);
	if (fence) forbid_membarrier();
	CHECK_INT(dpi_bells_create(&ctx.bells, 1), ==, DPI_SUCCESS);
	CHECK_INT(ctx.bells.page->fence, ==, fence);
	CHECK_INT(dpi_loop_open(&ctx), ==, DPI_SUCCESS);
	CHECK_INT(dpi_loop_service(&ctx, count_pass), ==, DPI_SUCCESS);
	CHECK_INT(dpi_descriptors_open(&ctx), ==, DPI_SUCCESS);
	CHECK_INT(dpi_loop_start(&ctx), ==, DPI_SUCCESS);
}

static void close_all(void)
{
	for (uint32_t i = 1; i < DPI_BELLS; i++) CHECK_INT(ctx.bells.page->bell[i].pollers, ==, 0);
	dpi_loop_stop(&ctx);
	dpi_descriptors_close(&ctx);
	dpi_loop_close(&ctx);
	dpi_bells_close(&ctx.bells);
	dpi_settings_free(&ctx.settings);
}

/* Things of which each has a count that grows and a bell that is rung then; a sleeper waits for one, or several. */
#define THINGS 6
static _Atomic uint64_t things[THINGS];

static uint32_t bell_of(int thing) { return 1 + (uint32_t)(thing * 7 % 62); }

struct sleeper {
	struct dpi_descriptor *d;
	int fd, first, count; /* its things */
	uint64_t seen[THINGS];
	int64_t look_at; /* 0: never */
};

static bool grown(void *arg, struct dpi_listening *l)
{
	struct sleeper *s = arg;
	bool some = false;
	for (int i = s->first; i < s->first + s->count; i++) {
		some |= atomic_load_explicit(&things[i], memory_order_acquire) != s->seen[i];
		l->bells |= (uint64_t)1 << bell_of(i);
	}
	if (s->look_at) l->look_at = s->look_at;
	return some;
}

static void get(struct sleeper *s, int first, int n)
{
	*s = (struct sleeper){ .first = first, .count = n };
	CHECK_INT(dpi_descriptor_get(&ctx, "get", &s->d, &s->fd), ==, DPI_SUCCESS);
	CHECK(s->d && s->fd >= 0);
}

static bool armed(struct sleeper *s)
{
	int now = -1;
	CHECK_INT(dpi_descriptor_arm("arm", s->d, grown, s, &now), ==, DPI_SUCCESS);
	CHECK(now == 0 || now == 1);
	return !now;
}

static bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	return poll(&p, 1, ms) == 1;
}

static void grow(int thing)
{
	atomic_fetch_add_explicit(&things[thing], 1, memory_order_release);
	dpi_bell_ring(&ctx.bells, bell_of(thing));
}

/* ----------------------------------------------------------------------------------------------------------- games */

static int total; /* of each thing */

static void *grower(void *arg)
{
	int thing = (int)(intptr_t)arg;
	struct draws d = draws_from(thing);
	for (int i = 0; i < total; i++) {
		idle(&d, draw_below(&d, 8) ? 20000 : 200000);
		grow(thing);
	}
	return NULL;
}

static void *sleep_for(void *arg)
{
	struct sleeper *s = arg;
	for (;;) {
		bool over = true;
		for (int i = s->first; i < s->first + s->count; i++) {
			s->seen[i] = atomic_load_explicit(&things[i], memory_order_acquire);
			over &= s->seen[i] == (uint64_t)total;
		}
		if (over) return NULL;
		if (!armed(s)) {
			CHECK(!readable(s->fd, 0)); /* ready: not armed */
			continue;
		}
		if (!readable(s->fd, 30000 * harness_slow()))
			FAIL("slept through %" PRIu64 " of %d", atomic_load(&things[s->first]) - s->seen[s->first], total);
	}
}

/* Each thing has a sleeper of its own, and there are some of several; another waits by dpi_wait on the same bells. */
static bool waiter_over(void *arg)
{
	(void)arg;
	return atomic_load_explicit(&things[0], memory_order_acquire) == (uint64_t)total;
}

static void *waiter(void *arg)
{
	struct dpi_wait w = { waiter_over, arg, bell_of(0), patience() * 10, 0 };
	CHECK_INT(dpi_wait(&ctx, &w), ==, DPI_SUCCESS);
	return NULL;
}

static void play(bool fence, int n)
{
	static struct sleeper s[THINGS + 3];
	pthread_t t[2 * THINGS + 4];
	int threads = 0;
	total = rounds(n);
	open_all(fence);
	for (int i = 0; i < THINGS; i++) get(&s[i], i, 1);
	get(&s[THINGS], 0, THINGS);
	get(&s[THINGS + 1], 1, 2);
	get(&s[THINGS + 2], 0, THINGS);
	for (int i = 0; i < THINGS + 3; i++) t[threads++] = start_thread(sleep_for, &s[i]);
	t[threads++] = start_thread(waiter, NULL);
	for (intptr_t i = 0; i < THINGS; i++) t[threads++] = start_thread(grower, (void *)i);
	while (threads) end_thread(t[--threads]);
	for (int i = 0; i < THINGS + 3; i++) dpi_descriptor_close(s[i].d);
	close_all();
}

TEST(descriptors_lose_no_ring, "", 0, .deadline_s = 180)
{
	play(false, 4000);
}

TEST(descriptors_lose_no_ring_with_real_fences, "", 0, .deadline_s = 180)
{
	play(true, 4000);
}

/* One hands to the other and waits for the answer: each ring comes as the other falls asleep. */
static void *answer(void *arg)
{
	struct sleeper s;
	get(&s, 0, 1);
	for (int i = 0; i < total; i++) {
		while (atomic_load_explicit(&things[0], memory_order_acquire) == s.seen[0])
			if (armed(&s) && !readable(s.fd, 30000 * harness_slow())) FAIL("slept through question %d", i);
		s.seen[0]++;
		grow(1);
	}
	dpi_descriptor_close(s.d);
	return arg;
}

TEST(descriptors_hand_to_and_fro, "", 0, .deadline_s = 180)
{
	struct sleeper s;
	total = rounds(10000);
	open_all(false);
	get(&s, 1, 1);
	pthread_t t = start_thread(answer, NULL);
	for (int i = 0; i < total; i++) {
		grow(0);
		while (atomic_load_explicit(&things[1], memory_order_acquire) == s.seen[1])
			if (armed(&s) && !readable(s.fd, 30000 * harness_slow())) FAIL("slept through answer %d", i);
		s.seen[1]++;
	}
	end_thread(t);
	dpi_descriptor_close(s.d);
	close_all();
}

static _Atomic bool over;

static void *ring_all(void *arg)
{
	struct draws d = draws_from((int)(intptr_t)arg);
	while (!atomic_load(&over)) {
		grow((int)draw_below(&d, THINGS));
		idle(&d, 20000);
	}
	return NULL;
}

TEST(descriptors_come_and_go_while_rung, "", 0, .deadline_s = 180)
{
	struct draws d = draws_from(9);
	pthread_t t[2];
	open_all(false);
	for (intptr_t i = 0; i < 2; i++) t[i] = start_thread(ring_all, (void *)i);
	for (int n = rounds(4000); n; n--) {
		struct sleeper s[4];
		for (int i = 0; i < 4; i++) {
			get(&s[i], (int)draw_below(&d, THINGS - 2), 1 + (int)draw_below(&d, 3));
			for (int j = 0; j < THINGS; j++) s[i].seen[j] = atomic_load(&things[j]);
			if (draw_below(&d, 4)) armed(&s[i]);
			if (!draw_below(&d, 4)) armed(&s[i]); /* again */
		}
		if (!draw_below(&d, 8)) idle(&d, 100000);
		for (int i = 0; i < 4; i++) dpi_descriptor_close(s[i].d);
	}
	atomic_store(&over, true);
	for (int i = 0; i < 2; i++) end_thread(t[i]);
	close_all();
}

/* ------------------------------------------------------------------------------------------------ one at a time */

static void settle_loop(void)
{
	nanosleep(&(struct timespec){ 0, 50 * MS }, NULL);
}

TEST(descriptor_is_readable_once_rung_and_only_then, "", 0)
{
	struct sleeper s, t;
	open_all(false);
	get(&s, 0, 2);
	get(&t, 2, 1);
	grow(0); /* nobody is armed */
	CHECK(!readable(s.fd, 50));
	CHECK(!armed(&s)); /* it is ready */
	s.seen[0] = 1;
	CHECK(armed(&s) && armed(&t));
	settle_loop();
	CHECK(!readable(s.fd, 0) && !readable(t.fd, 0));
	CHECK_INT(ctx.bells.page->bell[bell_of(0)].pollers, ==, 1);
	grow(3); /* a bell that is not theirs */
	dpi_loop_kick(&ctx);
	settle_loop();
	CHECK(!readable(s.fd, 0) && !readable(t.fd, 0));
	grow(1);
	CHECK(readable(s.fd, 30000 * harness_slow()));
	CHECK(!readable(t.fd, 20));
	CHECK_INT(ctx.bells.page->bell[bell_of(0)].pollers, ==, 0); /* counted out: rings cost nothing again */
	grow(1);
	CHECK(readable(s.fd, 0));
	s.seen[1] = 1;
	CHECK(!armed(&s)); /* one more came */
	CHECK(!readable(s.fd, 20));
	s.seen[1] = 2;
	CHECK(armed(&s));
	uint64_t n;
	dpi_descriptor_fire(s.d);
	dpi_descriptor_fire(s.d);
	CHECK(readable(s.fd, 0));
	CHECK_INT(read(s.fd, &n, sizeof n), ==, sizeof n); /* as some programs do */
	CHECK(!readable(s.fd, 0));
	dpi_descriptor_fire(s.d); /* not armed */
	CHECK(!readable(s.fd, 0));
	CHECK(armed(&s));
	grow(0);
	CHECK(readable(s.fd, 30000 * harness_slow()));
	dpi_descriptor_close(s.d);
	dpi_descriptor_close(t.d); /* armed */
	dpi_descriptor_close(NULL);
	dpi_descriptor_fire(NULL);
	close_all();
}

TEST(descriptor_looks_again_in_time, "", 0)
{
	struct sleeper s, t;
	open_all(false);
	get(&s, 0, 1);
	get(&t, 0, 0);
	for (int round = 0; round < 20; round++) {
		int64_t start = dpi_now();
		t.look_at = start + 5 * MS;
		s.look_at = start + (round % 2 ? 10 : 3) * MS;
		CHECK(armed(&t) && armed(&s));
		CHECK(readable(t.fd, 30000 * harness_slow()));
		CHECK_INT(dpi_now() - start, >=, 5 * MS);
		CHECK(readable(s.fd, 30000 * harness_slow()));
		CHECK_INT(dpi_now(), >=, s.look_at);
	}
	dpi_descriptor_close(s.d);
	dpi_descriptor_close(t.d);
	close_all();
}

TEST(armed_descriptors_cost_nothing, "", 0)
{
	struct sleeper s[THINGS];
	open_all(false);
	for (int i = 0; i < THINGS; i++) {
		get(&s[i], i, 1);
		CHECK(armed(&s[i]));
	}
	for (uint64_t before = 0; before != passes;) { /* the loop comes to rest */
		before = passes;
		nanosleep(&(struct timespec){ 0, 200 * MS }, NULL);
	}
	for (int i = 0; i < THINGS; i++) dpi_descriptor_close(s[i].d);
	close_all();
}

/* Ready at the second look, or only after other bells have been named: the last look counts. */
static int looks, ready_at, moves_until;

static bool moves(void *arg, struct dpi_listening *l)
{
	(void)arg;
	l->bells = (uint64_t)1 << (looks < moves_until ? 10 + looks : 9);
	return ++looks == ready_at;
}

TEST(descriptor_listens_where_it_is_told_last, "", 0)
{
	struct sleeper s;
	int now;
	open_all(false);
	get(&s, 0, 1);
	for (ready_at = 1; ready_at < 4; ready_at++) {
		looks = 0, moves_until = 3;
		CHECK_INT(dpi_descriptor_arm("arm", s.d, moves, NULL, &now), ==, DPI_SUCCESS);
		CHECK_INT(now, ==, 1);
		CHECK_INT(looks, ==, ready_at);
		for (uint32_t i = 1; i < DPI_BELLS; i++) CHECK_INT(ctx.bells.page->bell[i].pollers, ==, 0);
	}
	looks = ready_at = 0, moves_until = 3;
	CHECK_INT(dpi_descriptor_arm("arm", s.d, moves, NULL, &now), ==, DPI_SUCCESS);
	CHECK_INT(now, ==, 0);
	CHECK_INT(looks, ==, 5); /* three moves, the place itself, and a look after that */
	CHECK(!readable(s.fd, 20));
	dpi_bell_ring(&ctx.bells, 9);
	CHECK(readable(s.fd, 30000 * harness_slow()));
	dpi_descriptor_close(s.d);
	close_all();
}

TEST(descriptor_errors, "", 0)
{
	struct dpi_descriptor *d = NULL;
	struct rlimit limit;
	int now = 5, fd = 5;
	open_all(false);
	CHECK_ERROR(dpi_descriptor_get(&ctx, "DPI_X", &d, NULL), DPI_ERR_ARGUMENT, "DPI_X: fd is NULL");
	CHECK_ERROR(dpi_descriptor_arm("DPI_X", NULL, grown, NULL, &now), DPI_ERR_STATE, "DPI_X: there is no descriptor");
	CHECK_INT(now, ==, 0);
	CHECK_ERROR(dpi_descriptor_arm("DPI_X", NULL, grown, NULL, NULL), DPI_ERR_ARGUMENT, "DPI_X: ready is NULL");
	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	rlim_t before = limit.rlim_cur;
	limit.rlim_cur = 3;
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	CHECK_ERROR(dpi_descriptor_get(&ctx, "DPI_X", &d, &fd), DPI_ERR_LIMIT, "ulimit -n");
	CHECK(!d && fd == -1);
	limit.rlim_cur = before;
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	CHECK_INT(dpi_descriptor_get(&ctx, "DPI_X", &d, &fd), ==, DPI_SUCCESS);
	dpi_descriptor_close(d);
	close_all();
}
