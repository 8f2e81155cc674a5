/* SPDX-License-Identifier: Apache-2.0
 * flow_loop.h: an event loop: the ends of a thread take turns, each on a stack of its own, and sleep together on their descriptors. */
#ifndef FLOW_LOOP_H
#define FLOW_LOOP_H

#include <poll.h>
#include <ucontext.h>

#include "kit.h"

#define LOOP_MOST 16
#define LOOP_STACK (4u << 20)
#define LOOP_ASLEEP_MS (30000 * harness_slow())

struct loop {
	struct turn *turn[LOOP_MOST];
	int turns, left;
	ucontext_t at;
};

struct turn { /* of one end */
	struct loop *loop; /* NULL: it has a thread of its own */
	ucontext_t at;
	void *stack, *arg;
	void *(*run)(void *);
	int fd; /* where it sleeps, or -1 */
	bool over;
};

/* Let others have their turn, and go on some time later. */
static void turn_pause(struct turn *t)
{
	t->fd = -1;
	if (t->loop) CHECK(!swapcontext(&t->at, &t->loop->at));
	else harness_pause();
}

/* The same, and go on when the descriptor is readable. False: it never was. */
static bool turn_sleep(struct turn *t, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	t->fd = fd;
	if (!t->loop) return poll(&p, 1, LOOP_ASLEEP_MS) == 1;
	CHECK(!swapcontext(&t->at, &t->loop->at));
	return t->fd >= 0;
}

static void loop_enter(unsigned high, unsigned low)
{
	struct turn *t = (struct turn *)((uintptr_t)high << 32 | low);
	t->run(t->arg);
	t->over = true;
	t->loop->left--;
}

static inline void loop_add(struct loop *l, struct turn *t, void *(*run)(void *), void *arg)
{
	uintptr_t at = (uintptr_t)t;
	CHECK_INT(l->turns, <, LOOP_MOST);
	*t = (struct turn){ .loop = l, .run = run, .arg = arg, .fd = -1, .stack = malloc(LOOP_STACK) };
	CHECK(t->stack && !getcontext(&t->at));
	t->at.uc_stack.ss_sp = t->stack;
	t->at.uc_stack.ss_size = LOOP_STACK;
	t->at.uc_link = &l->at;
	makecontext(&t->at, (void (*)(void))loop_enter, 2, (unsigned)(at >> 32), (unsigned)at);
	l->turn[l->turns++] = t;
	l->left++;
}

/* The thread of a loop: until all ends are over. */
static inline void *loop_run(void *arg)
{
	struct loop *l = arg;
	while (l->left) {
		struct pollfd p[LOOP_MOST];
		bool awake = false;
		for (int i = 0; i < l->turns; i++) {
			struct turn *t = l->turn[i];
			p[i] = (struct pollfd){ .fd = t->over ? -1 : t->fd, .events = POLLIN };
			awake |= !t->over && t->fd < 0;
		}
		int found = poll(p, (nfds_t)l->turns, awake ? 0 : LOOP_ASLEEP_MS);
		if (awake && !found) harness_pause();
		for (int i = 0; i < l->turns; i++) {
			struct turn *t = l->turn[i];
			if (t->over || (t->fd >= 0 && found > 0 && !p[i].revents)) continue;
			if (t->fd >= 0 && found <= 0) {
				if (awake) continue;
				t->fd = -1; /* it is told that it slept through */
			}
			CHECK(!swapcontext(&l->at, &t->at));
		}
	}
	for (int i = 0; i < l->turns; i++) free(l->turn[i]->stack);
	return NULL;
}

#endif
