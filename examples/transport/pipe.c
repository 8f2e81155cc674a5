/* SPDX-License-Identifier: Apache-2.0
 * pipe.c: the table; open and close, progress and sleep. */
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "pipe.h"

static int pipe_progress(DPI_Tp *tp, uint32_t lane, int *events)
{
	struct epoll_event e[EVENTS];
	(void)lane;
	if (events) *events = 0;
	if (tp->inside) return DPI_SUCCESS; /* a callback came back */
	tp->inside = true;
	tp->events = 0;
	int n = epoll_wait(tp->epoll, e, EVENTS, 0);
	for (int i = 0; i < n; i++) {
		DPI_Tp_Endpoint *c = e[i].data.ptr;
		if (!c) {
			int fd = accept4(tp->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
			if (fd >= 0 && add_connection(tp, fd)) tp->events++;
			continue;
		}
		if (c->fd >= 0 && e[i].events & EPOLLOUT) {
			tp->events++;
			transmit(c);
		}
		if (c->broken && !c->made) lose(c, ""); /* nobody waits for the answers */
		if (c->fd >= 0 && e[i].events & ~(uint32_t)EPOLLOUT) receive(c);
	}
	bury(tp);
	tp->inside = false;
	if (events) *events = tp->events;
	return DPI_SUCCESS;
}

static int pipe_get_fd(DPI_Tp *tp, uint32_t lane, int *fd)
{
	(void)lane;
	*fd = tp->epoll;
	return DPI_SUCCESS;
}

/* epoll knows of all there is to do, and of what comes between this call and the sleep. */
static int pipe_arm(DPI_Tp *tp, uint32_t lane)
{
	struct epoll_event e;
	(void)lane;
	return epoll_wait(tp->epoll, &e, 1, 0) > 0 ? DPI_ERR_AGAIN : DPI_SUCCESS;
}

static void pipe_close(DPI_Tp *tp)
{
	while (tp->connections) forget(&tp->connections);
	for (DPI_Tp_Window *w; (w = tp->windows);) {
		tp->windows = w->next;
		free(w);
	}
	if (tp->listener >= 0) close(tp->listener);
	if (tp->epoll >= 0) close(tp->epoll);
	free(tp);
}

static int pipe_open(const DPI_Tp_Core *core, const struct DPI_Transport *lower, DPI_Tp **out)
{
	struct sockaddr_un u = {.sun_family = AF_UNIX};
	socklen_t size = sizeof u;
	struct epoll_event e = {.events = EPOLLIN};
	if (lower)
		return core->fail_text(core->self, DPI_ERR_ARGUMENT, "pipe works over no other transport, not over %s", lower->name);
	DPI_Tp *tp = calloc(1, sizeof *tp);
	if (!tp) return core->fail_text(core->self, DPI_ERR_MEMORY, "no memory to open pipe");
	tp->core = core;
	tp->epoll = epoll_create1(EPOLL_CLOEXEC);
	tp->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* bound to no name, the kernel chooses one: abstract, so there is no file to be left behind */
	bool good = tp->epoll >= 0 && tp->listener >= 0 && !bind(tp->listener, (struct sockaddr *)&u, sizeof u.sun_family) &&
		    !listen(tp->listener, 128) && !getsockname(tp->listener, (struct sockaddr *)&u, &size) &&
		    size - sizeof u.sun_family <= sizeof tp->self.name && !epoll_ctl(tp->epoll, EPOLL_CTL_ADD, tp->listener, &e) &&
		    getrandom(tp->self.token, sizeof tp->self.token, 0) == sizeof tp->self.token;
	if (!good) {
		int error = fail(tp, DPI_ERR_LIMIT, "pipe cannot listen: %s; raise the limit of open files (ulimit -n)", strerror(errno));
		pipe_close(tp);
		return error;
	}
	tp->self.magic = ADDRESS_MAGIC;
	tp->self.name_size = (uint32_t)(size - sizeof u.sun_family);
	tp->self.incarnation = core->incarnation;
	memcpy(tp->self.name, u.sun_path, tp->self.name_size);
	*out = tp;
	return DPI_SUCCESS;
}

static int pipe_probe(const DPI_Tp_Core *core, char *reason, size_t size)
{
	(void)core, (void)reason, (void)size; /* every Linux has Unix sockets */
	return DPI_SUCCESS;
}

static int pipe_address(DPI_Tp *tp, void *bytes, uint32_t *size)
{
	if (*size < sizeof tp->self)
		return fail(tp, DPI_ERR_SIZE, "an address of pipe has %zu bytes, there is room for %u", sizeof tp->self, *size);
	memcpy(bytes, &tp->self, sizeof tp->self);
	*size = sizeof tp->self;
	return DPI_SUCCESS;
}

/* Nothing but what is true, and tested: no last byte last, as words are copied one by one; nothing passive. */
static int pipe_query(DPI_Tp *tp, DPI_Tp_Attr *attr)
{
	const DPI_Tp_Attr a = {
		.capabilities = DPI_TP_PUT_ORDER | DPI_TP_ATOMICS | DPI_TP_CPU_ATOMICS | DPI_TP_FD | DPI_TP_SAME_HOST | DPI_TP_ANY_MEMORY,
		.lanes = 1,
		.max_iov = MAX_IOV,
		.max_send = MAX_SEND,
		.inline_size = UINT32_MAX, /* all puts */
		.alignment = 1,
		.outstanding = OUTSTANDING,
		.latency_us = 8,
		.bandwidth_bytes_us = 1500,
		.overhead_us = 2,
	};
	uint32_t size = attr->size;
	(void)tp;
	memcpy(attr, &a, size < sizeof a ? size : sizeof a);
	attr->size = size;
	return DPI_SUCCESS;
}

static const DPI_Transport table = {
	.abi = DPI_TP_ABI,
	.size = sizeof table,
	.name = "pipe",
	.probe = pipe_probe,
	.open = pipe_open,
	.close = pipe_close,
	.query = pipe_query,
	.address = pipe_address,
	.connect = pipe_connect,
	.disconnect = pipe_disconnect,
	.expose = pipe_expose,
	.withdraw = pipe_withdraw,
	.attach = pipe_attach,
	.detach = pipe_detach,
	.put = pipe_put,
	.get = pipe_get,
	.fetch_add = pipe_fetch_add,
	.compare_swap = pipe_compare_swap,
	.send = pipe_send,
	.flush = pipe_flush,
	.cancel = pipe_cancel,
	.progress = pipe_progress,
	.get_fd = pipe_get_fd,
	.arm = pipe_arm,
};

__attribute__((visibility("default"))) const DPI_Transport *DPI_TP_ENTRY(void);
const DPI_Transport *DPI_TP_ENTRY(void)
{
	return &table;
}
