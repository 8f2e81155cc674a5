/* SPDX-License-Identifier: Apache-2.0
 * loop.c: the progress thread.
 *
 * A caller that waits takes the transports over (wait.c, 'leader'); this thread then stands down, so that the two do not wake for the same
 * packet. It finds out lazily: the first packet that wakes it while a leader is inside makes it stop watching the transports for 1 ms
 * (SHALLOW). If the leader has been inside all that time, it stops looking altogether (DEEP) and the leader, when it leaves, kicks it.
 *   leader:  inside = 0;    load state;  DEEP -> kick          loop:  state = DEEP;  load inside;  0 -> resume
 * all four seq_cst: at least one of the two sees the other, so the transports are never left without anybody. */
#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "affinity.h"
#include "context.h"
#include "loop_state.h"
#include "wait.h"

#define SERVICES 12
#define BATCH 32
#define STAND_DOWN_NS 1000000
#define STAND_DOWN_AFTER 16 /* waits that ended while it was up */
#define ARM_AGAIN_NS 1000000 /* a carrier whose lock somebody had is tried again: who posts leaves nothing behind, mostly */

struct dpi_loop {
	struct dpi_standing standing;
	int epoll;
	int kick_fd;
	pthread_t thread;
	bool running;
	_Atomic bool stop;
	_Atomic bool kicked;
	dpi_service *service[SERVICES];
	int services;
	pthread_mutex_t lock; /* batch, round */
	pthread_cond_t passed;
	struct epoll_event batch[BATCH];
	int batch_size;
	uint64_t round;
	bool watching; /* the carriers' descriptors are in epoll */
	int64_t look_again;
	uint64_t entries_seen;
};

struct dpi_standing *dpi_loop_standing(struct dpi_context *ctx)
{
	return &ctx->loop->standing;
}

/* To the nanosecond in one call, where the kernel (5.11) has it; -1: it has not. */
static int sleep_exactly(int epoll, struct epoll_event *events, int room, int64_t left)
{
#if defined(SYS_epoll_pwait2) && defined(__LP64__)
	static _Atomic bool missing;
	if (!atomic_load_explicit(&missing, memory_order_relaxed)) {
		struct timespec t = { left / 1000000000, left % 1000000000 };
		long n = syscall(SYS_epoll_pwait2, epoll, events, room, &t, NULL, 0);
		if (n >= 0) return (int)n;
		if (errno != ENOSYS && errno != EPERM) return 0;
		atomic_store_explicit(&missing, true, memory_order_relaxed);
	}
#else
	(void)epoll, (void)events, (void)room, (void)left;
#endif
	return -1;
}

int dpi_epoll_sleep(int epoll, struct epoll_event *events, int room, int64_t deadline)
{
	if (deadline != DPI_NEVER) {
		int64_t left = deadline - dpi_now();
		if (left < 0) left = 0;
		if (left && left < 20000000) {
			int n = sleep_exactly(epoll, events, room, left);
			if (n >= 0) return n;
		}
		if (left && left < 20000000) { /* epoll_wait's milliseconds are too coarse */
			struct pollfd p = { .fd = epoll, .events = POLLIN };
			struct timespec t = { left / 1000000000, left % 1000000000 };
			if (ppoll(&p, 1, &t, NULL) <= 0) return 0;
			left = 0;
		}
		int64_t ms = (left + 999999) / 1000000;
		int n = epoll_wait(epoll, events, room, ms > INT32_MAX ? INT32_MAX : (int)ms);
		return n < 0 ? 0 : n;
	}
	int n = epoll_wait(epoll, events, room, -1);
	return n < 0 ? 0 : n;
}

int dpi_loop_open(struct dpi_context *ctx)
{
	struct dpi_loop *l = calloc(1, sizeof *l);
	if (!l) return dpi_fail(DPI_ERR_MEMORY, "no memory for the progress thread");
	ctx->loop = l;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->passed, NULL);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->standing.epoll = epoll_create1(EPOLL_CLOEXEC);
	/* Edge-triggered and never read: every ring is an edge for every watcher of the descriptor. */
	struct epoll_event e = { .events = EPOLLIN | EPOLLET };
	if (l->epoll < 0 || l->kick_fd < 0 || l->standing.epoll < 0 ||
	    epoll_ctl(l->epoll, EPOLL_CTL_ADD, ctx->bells.event_fd, &e) || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->kick_fd, &e) ||
	    epoll_ctl(l->standing.epoll, EPOLL_CTL_ADD, ctx->bells.event_fd, &e)) {
		int error = dpi_fail_errno(errno == EMFILE || errno == ENFILE ? DPI_ERR_LIMIT : DPI_ERR_MEMORY,
					   "no descriptors for the progress thread (raise the limit with ulimit -n)");
		dpi_loop_close(ctx);
		return error;
	}
	return DPI_SUCCESS;
}

void dpi_loop_close(struct dpi_context *ctx)
{
	struct dpi_loop *l = ctx->loop;
	if (!l) return;
	if (l->epoll >= 0) close(l->epoll);
	if (l->kick_fd >= 0) close(l->kick_fd);
	if (l->standing.epoll >= 0) close(l->standing.epoll);
	pthread_cond_destroy(&l->passed);
	pthread_mutex_destroy(&l->lock);
	free(l);
	ctx->loop = NULL;
}

int dpi_loop_add(struct dpi_context *ctx, struct dpi_watch *w, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = w };
	pthread_mutex_lock(&ctx->loop->lock); /* the loop takes it before it looks at *w */
	int failed = epoll_ctl(ctx->loop->epoll, EPOLL_CTL_ADD, w->fd, &e);
	pthread_mutex_unlock(&ctx->loop->lock);
	return failed ? dpi_fail_errno(DPI_ERR_LIMIT, "cannot watch descriptor %d", w->fd) : DPI_SUCCESS;
}

int dpi_loop_change(struct dpi_context *ctx, struct dpi_watch *w, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = w };
	if (epoll_ctl(ctx->loop->epoll, EPOLL_CTL_MOD, w->fd, &e))
		return dpi_fail_errno(DPI_ERR_INTERNAL, "cannot change how descriptor %d is watched", w->fd);
	return DPI_SUCCESS;
}

void dpi_loop_remove(struct dpi_context *ctx, struct dpi_watch *w)
{
	struct dpi_loop *l = ctx->loop;
	epoll_ctl(l->epoll, EPOLL_CTL_DEL, w->fd, NULL);
	DPI_DELAY(loop_removed);
	pthread_mutex_lock(&l->lock);
	for (int i = 0; i < l->batch_size; i++)
		if (l->batch[i].data.ptr == w) l->batch[i].data.ptr = NULL;
	if (l->running && !dpi_loop_inside(ctx)) { /* its callback may be running now */
		uint64_t round = l->round;
		dpi_loop_kick(ctx);
		while (l->round == round && !atomic_load(&l->stop)) pthread_cond_wait(&l->passed, &l->lock);
	}
	pthread_mutex_unlock(&l->lock);
}

int dpi_loop_service(struct dpi_context *ctx, dpi_service *service)
{
	struct dpi_loop *l = ctx->loop;
	if (l->services == SERVICES) return dpi_fail(DPI_ERR_INTERNAL, "more than %d services", SERVICES);
	l->service[l->services++] = service;
	return DPI_SUCCESS;
}

void dpi_loop_kick(struct dpi_context *ctx)
{
	struct dpi_loop *l = ctx->loop;
	if (atomic_exchange(&l->kicked, true)) return;
	DPI_DELAY(loop_kicked);
	uint64_t one = 1;
	ssize_t n = write(l->kick_fd, &one, sizeof one);
	(void)n;
}

void dpi_loop_stand_up(struct dpi_context *ctx)
{
	struct dpi_standing *s = dpi_loop_standing(ctx);
	atomic_store(&s->unwanted, false);
	if (atomic_load(&s->state) == DPI_STANDING_UP || atomic_load(&s->inside)) return;
	atomic_store(&s->wanted, true);
	dpi_loop_kick(ctx);
}

bool dpi_loop_inside(struct dpi_context *ctx)
{
	return ctx->loop->running && pthread_equal(ctx->loop->thread, pthread_self());
}

/* Watch the carriers' descriptors or not. */
static void watch_carriers(struct dpi_context *ctx, bool on)
{
	struct dpi_loop *l = ctx->loop;
	if (l->watching == on) return;
	l->watching = on;
	for (int i = 0; i < ctx->carriers; i++) {
		struct epoll_event e = { .events = EPOLLIN, .data.ptr = &ctx->carrier[i]->watch };
		if (ctx->carrier[i]->fd >= 0) epoll_ctl(l->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, ctx->carrier[i]->fd, &e);
	}
	atomic_store(&l->standing.state, on ? DPI_STANDING_UP : DPI_STANDING_SHALLOW);
}

static void stand_down(struct dpi_context *ctx)
{
	struct dpi_loop *l = ctx->loop;
	watch_carriers(ctx, false);
	l->entries_seen = atomic_load(&l->standing.entries);
	l->look_again = dpi_now() + STAND_DOWN_NS;
	atomic_store(&l->standing.left_up, 0);
}

void dpi_loop_left_up(struct dpi_context *ctx)
{
	struct dpi_standing *s = dpi_loop_standing(ctx);
	if (atomic_fetch_add_explicit(&s->left_up, 1, memory_order_relaxed) != STAND_DOWN_AFTER) return;
	atomic_store(&s->unwanted, true);
	dpi_loop_kick(ctx);
}

/* Is anybody serving the transports while this thread does not? */
static void look_again(struct dpi_context *ctx)
{
	struct dpi_loop *l = ctx->loop;
	uint64_t entries = atomic_load(&l->standing.entries);
	bool same = entries == l->entries_seen;
	l->entries_seen = entries;
	l->look_again = dpi_now() + STAND_DOWN_NS;
	if (!atomic_load(&l->standing.inside)) {
		if (same) watch_carriers(ctx, true); /* nobody came by for a whole period */
		return;
	}
	if (!same) return;
	DPI_DELAY(loop_goes_deep);
	atomic_store(&l->standing.state, DPI_STANDING_DEEP);
	DPI_DELAY(loop_is_deep);
	if (atomic_load(&l->standing.inside)) l->look_again = DPI_NEVER;
	else watch_carriers(ctx, true);
}

/* A carrier's descriptor woke the loop. */
void dpi_loop_carrier_ready(struct dpi_context *ctx, struct dpi_watch *w, uint32_t events)
{
	(void)events;
	struct dpi_carrier *c = (struct dpi_carrier *)((char *)w - offsetof(struct dpi_carrier, watch));
	DPI_DELAY(loop_carrier_ready);
	if (atomic_load(&ctx->loop->standing.inside)) {
		stand_down(ctx);
		return;
	}
	/* A poster may be inside, perhaps preempted by this very thread: looking again and again would keep it from its processor. */
	if (!dpi_carrier_lock(c)) return; /* level-triggered: looked at again */
	dpi_carrier_progress(c);
	pthread_mutex_unlock(&c->lock);
}

/* Descriptors that hold back (arm says AGAIN) would be slept over. */
static bool carriers_armed(struct dpi_context *ctx)
{
	if (!ctx->loop->watching) return true;
	bool armed = true;
	for (int i = 0; i < ctx->carriers; i++) {
		struct dpi_carrier *c = ctx->carrier[i];
		if (!c->needs_progress) continue;
		if (pthread_mutex_trylock(&c->lock)) { /* a poster is inside, who may leave something to be sent */
			armed = false;
			continue;
		}
		if (c->table->arm(c->tp, 0) == DPI_ERR_AGAIN) {
			c->table->progress(c->tp, 0, NULL);
			if (c->table->arm(c->tp, 0) == DPI_ERR_AGAIN) armed = false;
		}
		pthread_mutex_unlock(&c->lock);
	}
	return armed;
}

static int64_t run_services(struct dpi_context *ctx)
{
	struct dpi_loop *l = ctx->loop;
	int64_t next = DPI_NEVER;
	for (int i = 0; i < l->services; i++) {
		int64_t at = l->service[i](ctx, dpi_now());
		if (at < next) next = at;
	}
	return next;
}

static void *loop_main(void *arg)
{
	struct dpi_context *ctx = arg;
	struct dpi_loop *l = ctx->loop;
	struct dpi_bell *bell = &ctx->bells.page->bell[DPI_BELL_SERVICE];
	bool counted_in = false;
	pthread_setname_np(pthread_self(), "dpi-progress");
	watch_carriers(ctx, true);
	while (!atomic_load(&l->stop)) {
		int64_t next = run_services(ctx);
		DPI_DELAY(loop_served);
		/* Count in at the service bell, then look once more (bell.h). Whom only the clock has woken has stayed counted in: nothing
		 * is lost, since the look of the services comes after the fence, and busy threads are spared a fence at each linger time. */
		if (!counted_in) {
			atomic_store_explicit(&bell->pollers, 1, memory_order_relaxed);
			DPI_DELAY(loop_counted_in);
			dpi_bell_fence(&ctx->bells, DPI_BELL_SERVICE);
			int64_t again = run_services(ctx);
			if (again < next) next = again;
			counted_in = true;
		}
		if (!l->watching && l->look_again < next) next = l->look_again;
		if (!carriers_armed(ctx)) {
			int64_t soon = dpi_now() + ARM_AGAIN_NS;
			if (soon < next) next = soon;
		}
		DPI_DELAY(loop_sleeps);
		int n = dpi_epoll_sleep(l->epoll, l->batch, BATCH, next);
		DPI_DELAY(loop_wakes);
		if (n) {
			atomic_store_explicit(&bell->pollers, 0, memory_order_relaxed);
			counted_in = false;
		}
		/* cleared before the services run, so that a kick from now on is seen by the next round */
		bool kicked = atomic_exchange(&l->kicked, false);
		DPI_DELAY(loop_took_kick);
		pthread_mutex_lock(&l->lock);
		l->batch_size = n;
		for (int i = 0; i < l->batch_size; i++) {
			struct dpi_watch *w = l->batch[i].data.ptr;
			if (!w) continue;
			pthread_mutex_unlock(&l->lock);
			DPI_DELAY(loop_ready);
			w->ready(ctx, w, l->batch[i].events);
			pthread_mutex_lock(&l->lock);
		}
		l->batch_size = 0;
		l->round++;
		pthread_cond_broadcast(&l->passed);
		pthread_mutex_unlock(&l->lock);
		bool down = atomic_exchange(&l->standing.unwanted, false);
		if (l->watching && down) {
			stand_down(ctx); /* as if a caller were inside: the last that was is not long ago, and look_again finds out if none comes back */
		} else if (!l->watching) {
			bool up = kicked && atomic_load(&l->standing.state) == DPI_STANDING_DEEP;
			up |= atomic_exchange(&l->standing.wanted, false);
			if (up && !atomic_load(&l->standing.inside)) watch_carriers(ctx, true);
			else if (dpi_now() >= l->look_again) look_again(ctx);
		}
	}
	return NULL;
}

int dpi_loop_start(struct dpi_context *ctx)
{
	struct dpi_loop *l = ctx->loop;
	const char *list = ctx->settings.value[DPI_SETTING_BIND];
	int error = dpi_placement_choose(ctx);
	if (error) return error;
	l->running = true;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	/* definitions are read here: the deepest expressions take 300 KiB, with a sanitizer several times that; what is not touched costs nothing */
	pthread_attr_setstacksize(&attr, 4 << 20);
	error = pthread_create(&l->thread, &attr, loop_main, ctx);
	pthread_attr_destroy(&attr);
	if (error) {
		l->running = false;
		errno = error;
		return dpi_fail_errno(DPI_ERR_LIMIT, "cannot start the progress thread (ulimit -u?)");
	}
	dpi_log(DPI_LOG_DEBUG, "place of the progress thread: %s", ctx->placement.reason);
	error = dpi_affinity_set(l->thread, &ctx->placement.processors, list);
	if (!error || *list) return error;
	dpi_log(DPI_LOG_INFORMATION, "the progress thread stays where it is, not near the network device: %s", dpi_detail());
	return DPI_SUCCESS;
}

void dpi_loop_stop(struct dpi_context *ctx)
{
	struct dpi_loop *l = ctx->loop;
	if (!l || !l->running) return;
	atomic_store(&l->stop, true);
	atomic_store(&l->kicked, false);
	dpi_loop_kick(ctx);
	pthread_join(l->thread, NULL);
	l->running = false;
}
