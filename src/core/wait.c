/* SPDX-License-Identifier: Apache-2.0
 * wait.c: spin, give way, then sleep.
 *
 * Spinning pays only if what is waited for comes within a few microseconds and no other thread needs the core. Both are learnt: the
 * budget doubles when spinning succeeded and halves when it did not, unless that is so seldom that it costs nothing, and a thread that
 * finds itself preempted while it spins (two looks at the clock far apart) does not spin for its next waits. */
#include "wait.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "context.h"
#include "loop_state.h"

#define PREEMPTED_NS 200000	/* two looks further apart than this: the core was taken away */
#define PENALTY_WAITS 64	/* waits without spinning after that */
#define SPIN_LEAST_NS 1000
#define SELDOM 32		/* budgets apart: of a stream, say, whose other side is held up now and then */
#define EAGER_LOOKS 256		/* before the first pause, which is 50 ns on some processors: an answer may come within 100 */
#define CLOCK_EVERY 16		/* looks, where none of them is a system call */
#define CLOCK_EVERY_SERVED 8	/* where each of them is, unless the budget is for a few of them only */
#define FEW_NS 8000
#define LOCK_TRIES 64
#define LOCK_NS 1000000
#define ROUNDS 4		/* of progress that a caller makes who wants nothing himself */
#define YIELDS 4		/* before sleeping, to threads that may do what is waited for */
#define LONG_YIELD_NS 500000	/* one that takes longer went to others: */
#define YIELD_PAUSE 100		/* none for that many times as long */
#define SPIN_ALWAYS_NS 1000000	/* a setting above this is meant: never give up */

uint32_t dpi_bell_pick(struct dpi_context *ctx)
{
	return 1 + atomic_fetch_add_explicit(&ctx->next_bell, 1, memory_order_relaxed) % (DPI_BELLS - 1);
}

/* What fails in it is others' too. */
static void serve(struct dpi_carrier *c)
{
	int before = dpi_aside();
	c->table->progress(c->tp, 0, NULL);
	dpi_aside_over(before, DPI_SUCCESS);
}

static void progress(struct dpi_context *ctx)
{
	for (int i = 0; i < ctx->carriers; i++) {
		struct dpi_carrier *c = ctx->carrier[i];
		if (!c->needs_progress || pthread_mutex_trylock(&c->lock)) continue;
		serve(c);
		pthread_mutex_unlock(&c->lock);
	}
}

/* Lock a carrier that others post to. Who holds it may have been preempted, and may not run before this thread sleeps. */
bool dpi_carrier_lock(struct dpi_carrier *c)
{
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (!pthread_mutex_trylock(&c->lock)) return true;
		dpi_pause();
	}
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t); /* gcc's thread sanitizer does not see pthread_mutex_clocklock */
	t.tv_nsec += LOCK_NS;
	if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
	return !pthread_mutex_timedlock(&c->lock, &t);
}

/* Whoever sleeps on the transports, leader or progress thread, looks again. */
static void wake_sleeper(struct dpi_context *ctx)
{
	uint64_t one = 1;
	ssize_t n = write(ctx->bells.event_fd, &one, sizeof one);
	(void)n;
}

/* Let a carrier do at once what it left for the next round. That round may leave something itself, such as the answer to what it has just
 * received, which nothing would wake a sleeper for. false: after some rounds there is still more. */
static bool finish_rounds(struct dpi_carrier *c)
{
	for (int i = 0; c->table->arm(c->tp, 0) == DPI_ERR_AGAIN; i++) {
		if (i == ROUNDS) return false;
		serve(c);
	}
	return true;
}

/* Leave nothing for the transports' next round. */
static void settle(struct dpi_context *ctx)
{
	bool missed = false;
	for (int i = 0; i < ctx->carriers; i++) {
		struct dpi_carrier *c = ctx->carrier[i];
		if (!c->needs_progress) continue;
		if (!dpi_carrier_lock(c)) {
			missed = true;
			continue;
		}
		if (c->table->arm(c->tp, 0) == DPI_ERR_AGAIN) {
			serve(c);
			missed |= !finish_rounds(c);
		}
		pthread_mutex_unlock(&c->lock);
	}
	if (missed) wake_sleeper(ctx);
}

void dpi_carrier_progress(struct dpi_carrier *c)
{
	serve(c);
	if (!finish_rounds(c)) wake_sleeper(c->ctx);
}

void dpi_carrier_served(struct dpi_carrier *c)
{
	if (c->needs_progress && c->table->arm(c->tp, 0) == DPI_ERR_AGAIN) wake_sleeper(c->ctx);
}

void dpi_progress(struct dpi_context *ctx)
{
	progress(ctx);
	settle(ctx);
}

/* served: each look is a system call of the transports. */
static bool spin(struct dpi_context *ctx, const struct dpi_wait *w, bool served)
{
	static _Thread_local int64_t budget = -1, failed;
	static _Thread_local int penalty;
	bool always = ctx->spin_ns >= SPIN_ALWAYS_NS;
	if (!ctx->spin_ns) return false;
	if (budget < 0 || always) budget = ctx->spin_ns;
	if (penalty > 0 && !always) {
		penalty--;
		return false;
	}
	int64_t start = 0, seen = 0; /* read once the first looks were in vain: the clock costs as much as some of them */
	unsigned every = !served ? CLOCK_EVERY : budget > FEW_NS ? CLOCK_EVERY_SERVED : 1;
	for (unsigned i = 1;; i++) {
		progress(ctx);
		if (w->ready(w->arg)) {
			if (budget < ctx->spin_ns) budget *= 2;
			return true;
		}
		if (i > EAGER_LOOKS) dpi_pause();
		if (i % every) continue;
		int64_t now = dpi_now();
		if (!start) start = seen = now;
		if (now - seen > PREEMPTED_NS) penalty = PENALTY_WAITS;
		seen = now;
		if (now - start > budget || now >= w->deadline || (penalty && !always)) break;
	}
	if (start - failed > SELDOM * ctx->spin_ns) budget = ctx->spin_ns;
	else if (budget > SPIN_LEAST_NS && !always) budget /= 2;
	failed = seen;
	return false;
}

/* With more threads than cores the one that is waited for may want this very core; to let it run costs less than to sleep and be woken. A core
 * that nobody wants comes back at once. One that a stranger wants is gone for his whole slice: that may take a hundredth of the time. */
static bool give_way(struct dpi_context *ctx, const struct dpi_wait *w)
{
	static _Thread_local int64_t not_before;
	int64_t before = dpi_now();
	if (!ctx->spin_ns) return false;
	for (int i = 0; i < YIELDS && before >= not_before && before < w->deadline; i++) {
		sched_yield();
		progress(ctx);
		bool ready = w->ready(w->arg);
		int64_t now = dpi_now();
		if (now - before > LONG_YIELD_NS) not_before = now + YIELD_PAUSE * (now - before);
		if (ready) return true;
		before = now;
	}
	return false;
}

static uint64_t bells_of(const struct dpi_wait *w)
{
	return w->bells | UINT64_C(1) << w->bell;
}

static void count_pollers(struct dpi_context *ctx, uint64_t bells, uint32_t by)
{
	for (; bells; bells &= bells - 1)
		atomic_fetch_add_explicit(&ctx->bells.page->bell[__builtin_ctzll(bells)].pollers, by, memory_order_relaxed);
}

/* linux/futex.h has these since 5.16; without the call the first bell is slept on, and the others are looked at every so often. */
struct futex_of {
	uint64_t value, address;
	uint32_t flags, pad;
};
#define FUTEX_OF_32 2
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#define LOOK_AGAIN_NS 500000

/* acquire: pairs with the release in dpi_bell_wake. To be taken before dpi_bell_await, so that a later ring changes it. */
static int take_sequences(struct dpi_context *ctx, uint64_t bells, struct futex_of *f)
{
	int n = 0;
	for (; bells; bells &= bells - 1, n++) {
		struct dpi_bell *b = &ctx->bells.page->bell[__builtin_ctzll(bells)];
		f[n] = (struct futex_of){ atomic_load_explicit(&b->sequence, memory_order_acquire), (uintptr_t)&b->sequence, FUTEX_OF_32, 0 };
	}
	return n;
}

static void sleep_on(const struct futex_of *f, int n, int64_t left)
{
	if (n > 1) {
		int64_t end = dpi_now() + left; /* futex_waitv takes a point in time */
		struct timespec t = { end / 1000000000, end % 1000000000 };
		if (syscall(SYS_futex_waitv, f, n, 0, &t, CLOCK_MONOTONIC) >= 0 || errno != ENOSYS) return;
		if (left > LOOK_AGAIN_NS) left = LOOK_AGAIN_NS;
	}
	struct timespec t = { left / 1000000000, left % 1000000000 };
	syscall(SYS_futex, (uint32_t *)(uintptr_t)f->address, FUTEX_WAIT, (uint32_t)f->value, &t, NULL, 0);
}

/* Sleep on the bells' futexes: nothing but bells can bring what is waited for, or another caller leads. */
static int sleep_on_futex(struct dpi_context *ctx, const struct dpi_wait *w)
{
	uint64_t bells = bells_of(w);
	struct futex_of f[DPI_BELLS];
	int error = DPI_SUCCESS;
	DPI_DELAY(sleeper_comes);
	dpi_bell_count_in(&ctx->bells, bells);
	for (;;) {
		int n = take_sequences(ctx, bells, f);
		DPI_DELAY(sleeper_awaits);
		dpi_bell_await(&ctx->bells, bells);
		DPI_DELAY(sleeper_looks);
		if (w->ready(w->arg)) break;
		int64_t left = w->deadline - dpi_now();
		if (left <= 0) {
			error = DPI_ERR_TIMEOUT;
			break;
		}
		DPI_DELAY(sleeper_sleeps);
		sleep_on(f, n, left);
		DPI_DELAY(sleeper_wakes);
	}
	dpi_bell_count_out(&ctx->bells, bells);
	return error;
}

/* A descriptor within an epoll set within another passes each event through both: nobody is to pay for that who spins. */
static bool watch(struct dpi_context *ctx, const struct dpi_standing *s, int op)
{
	bool good = true;
	for (int i = 0; i < ctx->carriers; i++) {
		struct dpi_carrier *c = ctx->carrier[i];
		struct epoll_event e = { .events = EPOLLIN };
		if (c->needs_progress && c->fd >= 0 && epoll_ctl(s->epoll, op, c->fd, &e)) good = false;
	}
	return good;
}

/* Sleep on the event descriptor and the transports, serving them. */
static int sleep_as_leader(struct dpi_context *ctx, const struct dpi_wait *w, struct dpi_standing *s)
{
	uint64_t bells = bells_of(w);
	int error = DPI_SUCCESS;
	bool watching = false, watched = true;
	DPI_DELAY(leader_comes);
	count_pollers(ctx, bells, 1);
	DPI_DELAY(leader_counted_in);
	dpi_bell_fence_all(&ctx->bells, bells);
	dpi_bell_polled = &ctx->bells.page->bell[w->bell]; /* rings of its others wake it once too often */
	while (!w->ready(w->arg)) {
		bool again = false;
		for (int i = 0; i < ctx->carriers; i++) {
			struct dpi_carrier *c = ctx->carrier[i];
			if (!c->needs_progress) continue;
			if (!dpi_carrier_lock(c)) {
				again = true;
				continue;
			}
			if (c->table->arm(c->tp, 0) == DPI_ERR_AGAIN) {
				serve(c);
				again = true;
			}
			pthread_mutex_unlock(&c->lock);
		}
		if (again) {
			if (dpi_now() >= w->deadline && !w->ready(w->arg)) {
				error = DPI_ERR_TIMEOUT;
				break;
			}
			continue;
		}
		DPI_DELAY(leader_looks);
		if (w->ready(w->arg)) break;
		DPI_DELAY(leader_sleeps);
		if (!watching) watched = watch(ctx, s, EPOLL_CTL_ADD);
		watching = true;
		struct epoll_event events[8];
		int64_t until = watched ? DPI_NEVER : dpi_now() + LOOK_AGAIN_NS; /* where the kernel has no room to watch them */
		int n = dpi_epoll_sleep(s->epoll, events, 8, until < w->deadline ? until : w->deadline);
		DPI_DELAY(leader_wakes);
		if (n > 0 || !watched) progress(ctx);
		if (dpi_now() >= w->deadline && !w->ready(w->arg)) { /* busy transports are no reason to stay */
			error = DPI_ERR_TIMEOUT;
			break;
		}
	}
	if (watching) watch(ctx, s, EPOLL_CTL_DEL);
	dpi_bell_polled = NULL;
	count_pollers(ctx, bells, UINT32_MAX);
	return error;
}

static void enter(struct dpi_standing *s)
{
	atomic_fetch_add(&s->inside, 1);
	DPI_DELAY(wait_inside);
	atomic_fetch_add_explicit(&s->entries, 1, memory_order_relaxed);
}

/* What the transports left for the next round is mostly sent along with the caller's next post. If not, the progress thread finds it when
 * it stands up and arms them. One that never stood down does not, nor does a leader who sleeps already: then it is done here. */
static void leave(struct dpi_context *ctx, struct dpi_standing *s)
{
	DPI_DELAY(wait_leaves);
	atomic_fetch_sub(&s->inside, 1);
	DPI_DELAY(wait_left);
	/* seq_cst: see loop.c */
	int state = atomic_load(&s->state);
	bool others = atomic_load(&s->inside);
	if (state == DPI_STANDING_DEEP && !others) dpi_loop_kick(ctx);
	if (state == DPI_STANDING_UP) dpi_loop_left_up(ctx);
	if (state == DPI_STANDING_UP || others) settle(ctx);
}

int dpi_wait(struct dpi_context *ctx, const struct dpi_wait *w)
{
	if (w->ready(w->arg)) return DPI_SUCCESS;
	if (w->deadline <= 0) {
		dpi_progress(ctx);
		return w->ready(w->arg) ? DPI_SUCCESS : DPI_ERR_TIMEOUT;
	}
	struct dpi_standing *s = dpi_loop_standing(ctx);
	int error = DPI_SUCCESS, none = 0;
	bool served = false;
	atomic_fetch_add(&ctx->inside, 1);
	for (int i = 0; i < ctx->carriers; i++) served |= ctx->carrier[i]->needs_progress && ctx->carrier[i]->fd >= 0;
	if (served) enter(s);
	if (spin(ctx, w, served) || give_way(ctx, w)) {
		if (served) leave(ctx, s);
	} else if (served && atomic_compare_exchange_strong(&s->leader, &none, 1)) {
		error = sleep_as_leader(ctx, w, s);
		DPI_DELAY(leader_leaves);
		atomic_store(&s->leader, 0);
		leave(ctx, s);
	} else {
		if (served) leave(ctx, s); /* a sleeper on the futex serves nobody */
		error = sleep_on_futex(ctx, w);
	}
	atomic_fetch_sub(&ctx->inside, 1);
	return error;
}
