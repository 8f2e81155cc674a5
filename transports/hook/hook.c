/* SPDX-License-Identifier: Apache-2.0
 * hook.c: a transport over another one. It traces, counts, and does to operations whatever the transport contract allows to
 * happen: delay, legal reordering, refusals, work done in pieces, the death of a connection. What a program does not survive
 * over hook it will not survive over some network. */
#include "hook.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

static uint32_t least(uint32_t a, uint32_t b) /* of limits, where 0 is none */
{
	return !a || (b && b < a) ? b : a;
}

/* ------------------------------------------------------------------------------- what the lower transport calls */

static void lower_ring(void *self, int node, uint32_t bell)
{
	const DPI_Tp_Core *upper = ((DPI_Tp *)self)->upper;
	upper->ring(upper->self, node, bell);
}

static void lower_deliver(void *self, int node, const void *bytes, size_t size)
{
	const DPI_Tp_Core *upper = ((DPI_Tp *)self)->upper;
	upper->deliver(upper->self, node, bytes, size);
}

static int lower_near(void *self, const char *device)
{
	const DPI_Tp_Core *upper = ((DPI_Tp *)self)->upper;
	return upper->size >= sizeof *upper && upper->near ? upper->near(upper->self, device) : -1;
}

static int lower_fail_text(void *self, int error, const char *format, ...)
{
	const DPI_Tp_Core *upper = ((DPI_Tp *)self)->upper;
	char text[1024];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	return upper->fail_text(upper->self, error, "%s", text);
}

static const char *lower_setting(void *self, const char *name)
{
	const DPI_Tp_Core *upper = ((DPI_Tp *)self)->upper;
	return upper->setting(upper->self, name);
}

static void lower_log(void *self, int level, const char *format, ...)
{
	const DPI_Tp_Core *upper = ((DPI_Tp *)self)->upper;
	char text[1024];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	upper->log(upper->self, level, "%s", text);
}

/* ------------------------------------------------------------------------------------------------ open and close */

/* Whether the lower transport works is for its own probe to say. */
static int hook_probe(const DPI_Tp_Core *core, char *reason, size_t size)
{
	(void)core, (void)reason, (void)size;
	return DPI_SUCCESS;
}

/* What is still true of the lower transport with this between. */
static void advertise(DPI_Tp *tp, const DPI_Tp_Attr *lower)
{
	const struct hook_config *c = &tp->config;
	DPI_Tp_Attr *a = &tp->attr;
	*a = *lower;
	a->size = sizeof *a;
	a->lanes = 1;
	a->max_iov = least(lower->max_iov, HOOK_IOV);
	a->capabilities &= ~DPI_TP_MULTICAST; /* each put on its own, so that each is delayed, lost or counted */
	a->max_many = 0;
	tp->lower_ordered = lower->capabilities & DPI_TP_PUT_ORDER;
	tp->lower_sleeps = lower->capabilities & DPI_TP_FD;
	if (c->nodirect) a->capabilities &= ~(DPI_TP_DIRECT | DPI_TP_CPU_ATOMICS);
	if (c->noorder) a->capabilities &= ~DPI_TP_PUT_ORDER;
	if (c->cut) a->capabilities &= ~DPI_TP_LAST_BYTE_LAST;
	tp->ordered = a->capabilities & DPI_TP_PUT_ORDER;
	if (!tp->timed) return;
	a->inline_size = 0;
	a->outstanding = least(lower->outstanding, HOOK_OUTSTANDING);
	a->latency_us += 2 * (double)c->delay_us;
	/* loads and stores need no progress, so there the timer is all there is to wait for */
	if (lower->capabilities & DPI_TP_DIRECT) a->capabilities |= DPI_TP_FD;
}

static int open_descriptor(DPI_Tp *tp)
{
	struct epoll_event event = { .events = EPOLLIN };
	int fd = -1;
	tp->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	tp->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (tp->timer < 0 || tp->epoll < 0 || epoll_ctl(tp->epoll, EPOLL_CTL_ADD, tp->timer, &event))
		return hook_fail(tp, DPI_ERR_LIMIT, "hook needs a timer and an epoll descriptor: %s; raise ulimit -n",
				 strerror(errno));
	if (!tp->lower_sleeps) return DPI_SUCCESS;
	int error = tp->table->get_fd(tp->lower, 0, &fd);
	if (error) return error;
	if (epoll_ctl(tp->epoll, EPOLL_CTL_ADD, fd, &event))
		return hook_fail(tp, DPI_ERR_TRANSPORT, "hook cannot wait for the descriptor of %s: %s", tp->table->name,
				 strerror(errno));
	return DPI_SUCCESS;
}

static void report_totals(const DPI_Tp *tp)
{
	const struct hook_totals *t = &tp->totals;
	tp->upper->log(tp->upper->self, 2,
		       "hook totals: %llu puts of %llu bytes, %llu gets of %llu bytes, %llu fetch_adds, %llu compare_swaps, "
		       "%llu flushes, %llu sends; injected: %llu agains, %llu errors, %llu cut, %llu held back, %llu kills",
		       (unsigned long long)t->ops[HOOK_PUT], (unsigned long long)t->bytes[HOOK_PUT],
		       (unsigned long long)t->ops[HOOK_GET], (unsigned long long)t->bytes[HOOK_GET],
		       (unsigned long long)t->ops[HOOK_FETCH_ADD], (unsigned long long)t->ops[HOOK_COMPARE_SWAP],
		       (unsigned long long)t->ops[HOOK_FLUSH], (unsigned long long)t->ops[HOOK_SEND],
		       (unsigned long long)t->again, (unsigned long long)t->error, (unsigned long long)t->cut,
		       (unsigned long long)t->held, (unsigned long long)t->killed);
}

static void hook_disconnect(DPI_Tp_Endpoint *endpoint);

static void hook_close(DPI_Tp *tp)
{
	while (!LIST_EMPTY(&tp->endpoints)) hook_disconnect(LIST_FIRST(&tp->endpoints));
	if (tp->lower) tp->table->close(tp->lower);
	while (!LIST_EMPTY(&tp->windows)) {
		DPI_Tp_Window *w = LIST_FIRST(&tp->windows);
		LIST_REMOVE(w, link);
		free(w);
	}
	if (tp->config.count) report_totals(tp);
	if (tp->timer >= 0) close(tp->timer);
	if (tp->epoll >= 0) close(tp->epoll);
	free(tp);
}

static int hook_open(const DPI_Tp_Core *core, const DPI_Transport *lower, DPI_Tp **out)
{
	struct hook_config config;
	const char *text = core->setting(core->self, "HOOK");
	if (!lower)
		return core->fail_text(core->self, DPI_ERR_CONFIG,
				       "hook wraps another transport: write hook:shm or hook:tcp in DPI_TRANSPORT");
	int error = hook_parse(core, text, &config);
	if (error) return error;
	DPI_Tp *tp = calloc(1, sizeof *tp);
	if (!tp) return core->fail_text(core->self, DPI_ERR_MEMORY, "no memory to open transport hook");
	tp->upper = core;
	tp->table = lower;
	tp->config = config;
	tp->timer = tp->epoll = -1;
	tp->timer_due = HOOK_NEVER;
	TAILQ_INIT(&tp->done);
	tp->timed = config.delay_us || config.reorder || config.cut || config.death || config.kill != UINT64_MAX;
	tp->core = (DPI_Tp_Core){ .abi = DPI_TP_ABI,
				  .size = sizeof tp->core,
				  .self = tp,
				  .complete = hook_complete,
				  .ring = lower_ring,
				  .deliver = lower_deliver,
				  .lost = hook_lost,
				  .fail_text = lower_fail_text,
				  .setting = lower_setting,
				  .log = lower_log,
				  .node = core->node,
				  .incarnation = core->incarnation,
				  .secure = core->secure,
				  .near = lower_near };
	DPI_Tp_Attr attr = { .size = sizeof attr };
	error = lower->open(&tp->core, NULL, &tp->lower);
	if (!error) error = lower->query(tp->lower, &attr);
	if (!error) advertise(tp, &attr);
	if (!error && tp->timed) error = open_descriptor(tp);
	if (error) {
		tp->config.count = false;
		hook_close(tp);
		return error;
	}
	core->log(core->self, 2, "hook over %s: seed=%llu, the setting is '%s'", lower->name,
		  (unsigned long long)config.seed, text ? text : "");
	*out = tp;
	return DPI_SUCCESS;
}

static int hook_query(DPI_Tp *tp, DPI_Tp_Attr *attr)
{
	uint32_t size = attr->size < sizeof *attr ? attr->size : sizeof *attr;
	memcpy(attr, &tp->attr, size);
	attr->size = size;
	return DPI_SUCCESS;
}

static int hook_address(DPI_Tp *tp, void *bytes, uint32_t *size)
{
	return tp->table->address(tp->lower, bytes, size);
}

/* ---------------------------------------------------------------------------------------- connections and windows */

static int hook_connect(DPI_Tp *tp, uint32_t lane, const DPI_Tp_Peer *peer, int64_t timeout_us,
			DPI_Tp_Endpoint **endpoint)
{
	DPI_Tp_Endpoint *lower, *e;
	if (lane) return hook_fail(tp, DPI_ERR_ARGUMENT, "hook has one lane, there is no lane %u", lane);
	if (tp->config.refuse) return hook_fail(tp, DPI_ERR_PEER, "hook refuses to connect to node %d", peer->node);
	hook_number(tp);
	int error = tp->table->connect(tp->lower, 0, peer, timeout_us, &lower);
	if (error) return error;
	/* the lower transport may have found the connection it had */
	LIST_FOREACH(e, &tp->endpoints, link)
		if (e->lower == lower) break;
	if (!e) {
		e = calloc(1, sizeof *e);
		if (!e) {
			tp->table->disconnect(lower);
			return hook_fail(tp, DPI_ERR_MEMORY, "no memory for a connection to node %d", peer->node);
		}
		*e = (DPI_Tp_Endpoint){ .tp = tp, .lower = lower, .node = peer->node, .incarnation = peer->incarnation };
		TAILQ_INIT(&e->held);
		TAILQ_INIT(&e->flying);
		LIST_INSERT_HEAD(&tp->endpoints, e, link);
	}
	*endpoint = e;
	return DPI_SUCCESS;
}

static void hook_disconnect(DPI_Tp_Endpoint *endpoint)
{
	DPI_Tp *tp = endpoint->tp;
	hook_abandon(endpoint);
	tp->table->disconnect(endpoint->lower); /* completes what is flying */
	hook_deliver(tp, hook_now());
	while (!LIST_EMPTY(&endpoint->remotes)) {
		DPI_Tp_Remote *r = LIST_FIRST(&endpoint->remotes);
		LIST_REMOVE(r, link);
		free(r);
	}
	LIST_REMOVE(endpoint, link);
	free(endpoint);
}

static int hook_expose(DPI_Tp *tp, const DPI_Tp_Memory *memory, DPI_Tp_Window **window, DPI_Tp_Key *key)
{
	DPI_Tp_Window *w = calloc(1, sizeof *w);
	if (!w) return hook_fail(tp, DPI_ERR_MEMORY, "no memory for a window");
	hook_number(tp);
	int error = tp->table->expose(tp->lower, memory, &w->lower, key);
	if (error) {
		free(w);
		return error;
	}
	w->tp = tp;
	LIST_INSERT_HEAD(&tp->windows, w, link);
	*window = w;
	return DPI_SUCCESS;
}

static int hook_withdraw(DPI_Tp_Window *window)
{
	int error = window->tp->table->withdraw(window->lower);
	if (error) return error;
	LIST_REMOVE(window, link);
	free(window);
	return DPI_SUCCESS;
}

static int hook_attach(DPI_Tp_Endpoint *endpoint, const DPI_Tp_Key *key, uint64_t length, DPI_Tp_Remote **remote,
		       void **direct)
{
	DPI_Tp *tp = endpoint->tp;
	DPI_Tp_Remote *r = calloc(1, sizeof *r);
	if (!r) return hook_fail(tp, DPI_ERR_MEMORY, "no memory for an attached window");
	int error = tp->table->attach(endpoint->lower, key, length, &r->lower, direct);
	if (error) {
		free(r);
		return error;
	}
	if (tp->config.nodirect) *direct = NULL;
	r->endpoint = endpoint;
	r->length = length;
	LIST_INSERT_HEAD(&endpoint->remotes, r, link);
	*remote = r;
	return DPI_SUCCESS;
}

static int hook_detach(DPI_Tp_Remote *remote)
{
	DPI_Tp *tp = remote->endpoint->tp;
	if (remote->pending)
		return hook_fail(tp, DPI_ERR_AGAIN, "%u operations on the window have not completed", remote->pending);
	int error = tp->table->detach(remote->lower);
	if (error) return error;
	LIST_REMOVE(remote, link);
	free(remote);
	return DPI_SUCCESS;
}

extern const DPI_Transport dpi_hook;
const DPI_Transport dpi_hook = {
	.abi = DPI_TP_ABI,
	.size = sizeof dpi_hook,
	.name = "hook",
	.probe = hook_probe,
	.open = hook_open,
	.close = hook_close,
	.query = hook_query,
	.address = hook_address,
	.connect = hook_connect,
	.disconnect = hook_disconnect,
	.expose = hook_expose,
	.withdraw = hook_withdraw,
	.attach = hook_attach,
	.detach = hook_detach,
	.put = hook_put,
	.get = hook_get,
	.fetch_add = hook_fetch_add,
	.compare_swap = hook_compare_swap,
	.send = hook_send,
	.flush = hook_flush,
	.cancel = hook_cancel,
	.progress = hook_progress,
	.get_fd = hook_get_fd,
	.arm = hook_arm,
};
