/* SPDX-License-Identifier: Apache-2.0
 * loop.c: the one epoll loop. */
#include "loop.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "util.h"

static int epoll_fd = -1;

void loop_open(void)
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0) quit(EXIT_SELF, "no epoll descriptor: %s", strerror(errno));
}

bool loop_watch(struct watch *w, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = w };
	if (w->fd < 0 || (w->in_epoll && w->events == events)) return true;
	/* with no events epoll would still report a hang-up, again and again: so it is taken out */
	int op = !events ? EPOLL_CTL_DEL : w->in_epoll ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	if (op == EPOLL_CTL_DEL && !w->in_epoll) return true;
	if (epoll_ctl(epoll_fd, op, w->fd, &e)) return false;
	w->in_epoll = events;
	w->events = events;
	return true;
}

void loop_remove(struct watch *w)
{
	if (w->fd < 0) return;
	loop_watch(w, 0);
	close(w->fd);
	w->fd = -1;
	w->events = 0;
}

void loop_turn(int64_t deadline)
{
	struct epoll_event e[64];
	int64_t left = deadline == NEVER ? -1 : deadline - now_ms();
	int n = epoll_wait(epoll_fd, e, 64, deadline == NEVER ? -1 : left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left);
	for (int i = 0; i < n; i++) {
		struct watch *w = e[i].data.ptr;
		if (w->fd >= 0 && w->in_epoll) w->ready(w, e[i].events);
	}
}
