/* SPDX-License-Identifier: Apache-2.0
 * tcp.c: the transport over TCP sockets: its table, opening and closing, and progress. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tcp.h"

extern const DPI_Transport dpi_tcp;

int64_t dpi_tcp_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int tcp_probe(const DPI_Tp_Core *core, char *reason, size_t size)
{
	(void)core;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		snprintf(reason, size, "no TCP socket can be made: %s", strerror(errno));
		return DPI_ERR_UNSUPPORTED;
	}
	close(fd);
	return DPI_SUCCESS;
}

static void tcp_close(DPI_Tp *tp)
{
	for (DPI_Tp_Endpoint *c = tp->connections, *next; c; c = next) {
		next = c->next;
		if (c->state == STATE_OPEN) dpi_tcp_goodbye(c);
		dpi_tcp_forget(c);
	}
	while (tp->remotes) {
		DPI_Tp_Remote *r = tp->remotes;
		tp->remotes = r->next;
		free(r);
	}
	dpi_tcp_windows_close(tp);
	if (tp->epoll_fd >= 0) close(tp->epoll_fd);
	if (tp->listen_fd >= 0) close(tp->listen_fd);
	if (tp->spare_fd >= 0) close(tp->spare_fd);
	free(tp);
}

static int tcp_open(const DPI_Tp_Core *core, const struct DPI_Transport *lower, DPI_Tp **out)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };
	if (lower)
		return core->fail_text(core->self, DPI_ERR_ARGUMENT, "tcp does not work over another transport, such as %s",
				       lower->name);
	DPI_Tp *tp = calloc(1, sizeof *tp);
	if (!tp) return core->fail_text(core->self, DPI_ERR_MEMORY, "no memory to open tcp");
	tp->core = core;
	tp->listen_fd = -1;
	tp->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	tp->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	tp->self.incarnation = core->incarnation;
	tp->serial = (uint32_t)(dpi_tcp_now() / 1000); /* so that one opened later in this process goes on from there */
	int error = dpi_tcp_listen(tp);
	if (!error && (tp->epoll_fd < 0 || epoll_ctl(tp->epoll_fd, EPOLL_CTL_ADD, tp->listen_fd, &e)))
		error = tcp_fail(tp, DPI_ERR_LIMIT,
				 "tcp cannot watch its sockets: %s; check the limit of open files ('ulimit -n')",
				 strerror(errno));
	if (!error && (getrandom(tp->self.token, WIRE_TOKEN, 0) != WIRE_TOKEN ||
		       getrandom(tp->window_key, sizeof tp->window_key, 0) != sizeof tp->window_key))
		error = tcp_fail(tp, DPI_ERR_UNSUPPORTED, "the system gives no random bytes for tcp's keys: %s",
				 strerror(errno));
	if (error) {
		tcp_close(tp);
		return error;
	}
	*out = tp;
	return DPI_SUCCESS;
}

/* The costs are those of loopback. */
static int tcp_query(DPI_Tp *tp, DPI_Tp_Attr *attr)
{
	DPI_Tp_Attr a = {
		.capabilities = DPI_TP_PUT_ORDER | DPI_TP_ATOMICS | DPI_TP_CPU_ATOMICS | DPI_TP_FD | DPI_TP_ANY_MEMORY,
		.lanes = 1,
		.max_iov = MAX_IOV,
		.max_put = WIRE_MAX_PUT,
		.max_send = WIRE_MAX_SEND,
		.inline_size = COPY_MAX,
		.alignment = 1,
		.outstanding = OUTSTANDING,
		.windows = WIRE_SLOTS,
		.latency_us = 5,
		.bandwidth_bytes_us = 3300,
		.overhead_us = 2,
	};
	uint32_t size = attr->size;
	memcpy(a.device, tp->device, sizeof a.device);
	memcpy(attr, &a, size < sizeof a ? size : sizeof a);
	attr->size = size;
	return DPI_SUCCESS;
}

/* Connections that have something to send, have broken while sending, or have sent puts to report. */
static void serve_dirty(DPI_Tp *tp, bool late_too)
{
	DPI_Tp_Endpoint *c = tp->dirty;
	tp->dirty = NULL;
	while (c) {
		DPI_Tp_Endpoint *next = c->next_dirty;
		c->dirty = false;
		if (c->late && !late_too && c->state == STATE_OPEN && !c->broken) {
			dpi_tcp_mark(c);
			c = next;
			continue;
		}
		c->late = false;
		if (c->state == STATE_OPEN && !c->broken && !c->blocked) dpi_tcp_transmit(c);
		if (c->state == STATE_OPEN && c->broken) { /* what the peer sent before may say why */
			dpi_tcp_receive(c);
			if (c->state == STATE_OPEN) dpi_tcp_mark(c);
		}
		if (c->state == STATE_OPEN) dpi_tcp_report(c);
		c = next;
	}
}

static void poll_events(DPI_Tp *tp)
{
	struct epoll_event e[32];
	int n = epoll_wait(tp->epoll_fd, e, sizeof e / sizeof *e, 0);
	tp->ticks = 0;
	for (int i = 0; i < n; i++) {
		DPI_Tp_Endpoint *c = e[i].data.ptr;
		if (!c) {
			dpi_tcp_accept(tp);
			continue;
		}
		if (c->state == STATE_HELLO) {
			dpi_tcp_hello(c);
			continue;
		}
		if (c->state == STATE_UNSURE) {
			dpi_tcp_unsure(c);
			continue;
		}
		if (c->state == STATE_OPEN && e[i].events & EPOLLOUT && !c->broken) {
			tp->events++;
			dpi_tcp_unblock(c);
		}
		if (c->state == STATE_OPEN && e[i].events & ~(uint32_t)EPOLLOUT) dpi_tcp_receive(c);
	}
	if (tp->strangers) dpi_tcp_expire(tp);
}

/* A spinning caller comes here very often: it looks at the hot connections directly, and asks epoll about the rest
 * now and then. */
int dpi_tcp_progress(DPI_Tp *tp, uint32_t lane, int *events)
{
	bool hot = false;
	(void)lane;
	if (events) *events = 0;
	if (tp->inside) return DPI_SUCCESS; /* called by a callback */
	tp->inside = true;
	tp->events = 0;
	if (tp->dirty) serve_dirty(tp, true);
	for (int i = 0; i < HOT; i++) {
		DPI_Tp_Endpoint *c = tp->hot[i];
		if (!c) continue;
		if (c->looks++ == HOT_LOOKS)
			tp->hot[i] = NULL;
		else
			hot = true;
		dpi_tcp_receive(c);
	}
	if (tp->blocked || ++tp->ticks >= POLL_EVERY || (!tp->events && (!hot || tp->armed))) poll_events(tp);
	if (tp->dirty) serve_dirty(tp, false);
	if (tp->graves) dpi_tcp_bury(tp);
	tp->armed = false;
	if (events) *events = tp->events;
	tp->inside = false;
	return DPI_SUCCESS;
}

static int tcp_get_fd(DPI_Tp *tp, uint32_t lane, int *fd)
{
	(void)lane;
	*fd = tp->epoll_fd;
	return DPI_SUCCESS;
}

/* Whatever else there is to do makes the descriptor readable. */
static int tcp_arm(DPI_Tp *tp, uint32_t lane)
{
	(void)lane;
	if (tp->dirty) return DPI_ERR_AGAIN;
	tp->armed = true;
	return DPI_SUCCESS;
}

const DPI_Transport dpi_tcp = {
	.abi = DPI_TP_ABI,
	.size = sizeof(DPI_Transport),
	.name = "tcp",
	.probe = tcp_probe,
	.open = tcp_open,
	.close = tcp_close,
	.query = tcp_query,
	.address = dpi_tcp_address,
	.connect = dpi_tcp_connect,
	.disconnect = dpi_tcp_disconnect,
	.expose = dpi_tcp_expose,
	.withdraw = dpi_tcp_withdraw,
	.attach = dpi_tcp_attach,
	.detach = dpi_tcp_detach,
	.put = dpi_tcp_put,
	.get = dpi_tcp_get,
	.fetch_add = dpi_tcp_fetch_add,
	.compare_swap = dpi_tcp_compare_swap,
	.send = dpi_tcp_send,
	.flush = dpi_tcp_flush,
	.cancel = dpi_tcp_cancel,
	.progress = dpi_tcp_progress,
	.get_fd = tcp_get_fd,
	.arm = tcp_arm,
};
