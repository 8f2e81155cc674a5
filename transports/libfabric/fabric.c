/* SPDX-License-Identifier: Apache-2.0
 * fabric.c: the transport over libfabric: its table, opening and closing, and progress. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "fabric.h"

int64_t dpi_fabric_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* splitmix64: keys that are to be different, and tags that a stranger does not guess, seeded by the system. Never 0. */
uint64_t dpi_fabric_random(DPI_Tp *tp)
{
	uint64_t z;
	do {
		z = tp->random += 0x9e3779b97f4a7c15u;
		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
		z = (z ^ z >> 27) * 0x94d049bb133111ebu;
		z ^= z >> 31;
	} while (!z);
	return z;
}

void dpi_fabric_log(DPI_Tp *tp, const char *format, ...)
{
	const DPI_Tp_Core *core = tp->core;
	char text[WHY_MAX];
	int64_t now = dpi_fabric_now();
	va_list args;
	if (now < tp->log_at) {
		tp->unlogged++;
		return;
	}
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (tp->unlogged) core->log(core->self, 1, "libfabric: %s (and %u lines before)", text, tp->unlogged);
	else core->log(core->self, 1, "libfabric: %s", text);
	tp->log_at = now + 1000000;
	tp->unlogged = 0;
}

/* --------------------------------------------------------------------------------------------------- open and close */

static int fabric_probe(const DPI_Tp_Core *core, char *reason, size_t size)
{
	struct fabric_choice c;
	dpi_fabric_quiet(true);
	int error = dpi_fabric_choose(core, &c, false);
	dpi_fabric_quiet(false);
	if (c.info) fi_freeinfo(c.info);
	if (!error) return DPI_SUCCESS;
	const char *wanted = core->setting(core->self, "FABRIC");
	snprintf(reason, size, "no libfabric provider can be used%s%s%s", wanted && *wanted ? ": DPI_FABRIC is '" : "", wanted ? wanted : "",
		 wanted && *wanted ? "'" : "; 'fi_info' lists what there is");
	return DPI_ERR_UNSUPPORTED;
}

static void fabric_close(DPI_Tp *tp)
{
	for (DPI_Tp_Endpoint *c = tp->links, *next; c; c = next) {
		next = c->next;
		if (c->state == STATE_OPEN) dpi_fabric_goodbye(c);
		dpi_fabric_forget(c);
	}
	if (tp->door) dpi_fabric_forget(tp->door);
	while (tp->remotes) {
		DPI_Tp_Remote *r = tp->remotes;
		tp->remotes = r->next;
		free(r);
	}
	dpi_fabric_windows_close(tp);
	if (tp->pep) fi_close(&tp->pep->fid);
	if (tp->cq) fi_close(&tp->cq->fid);
	if (tp->av) fi_close(&tp->av->fid);
	dpi_fabric_buffers_close(tp);
	if (tp->domain) fi_close(&tp->domain->fid);
	if (tp->eq) fi_close(&tp->eq->fid);
	if (tp->fabric) fi_close(&tp->fabric->fid);
	if (tp->choice.info) fi_freeinfo(tp->choice.info);
	if (tp->epoll_fd >= 0) close(tp->epoll_fd);
	if (tp->timer_fd >= 0) close(tp->timer_fd);
	dpi_fabric_quiet(false);
	free(tp);
}

/* Watch the descriptor of a queue. */
static int watch(DPI_Tp *tp, struct fid *fid)
{
	struct epoll_event e = { .events = EPOLLIN };
	int fd = -1, error = fi_control(fid, FI_GETWAIT, &fd);
	if (error || fd < 0) return -FI_ENOSYS;
	return epoll_ctl(tp->epoll_fd, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

/* The completion queue, and that of connection events, with descriptors if the provider has them, else looked at every so often. So it is
 * with reliable datagrams, whatever the provider has: it makes its descriptors wait for each endpoint, endpoints are closed here while the
 * queue lives on, and ofi_rxm and shm do not take those of a closed one out: fi_trywait would read freed memory. */
static int open_queues(DPI_Tp *tp)
{
	const struct fi_info *info = tp->choice.info;
	struct fi_cq_attr cq = { .size = 4096, .format = FI_CQ_FORMAT_MSG, .wait_obj = FI_WAIT_FD };
	struct fi_eq_attr eq = { .size = 256, .wait_obj = FI_WAIT_FD };
	struct fi_av_attr av = { .type = info->domain_attr->av_type == FI_AV_UNSPEC ? FI_AV_TABLE : info->domain_attr->av_type };
	int error = tp->choice.message ? fi_cq_open(tp->domain, &cq, &tp->cq, NULL) : -FI_ENOSYS;
	if (!error && watch(tp, &tp->cq->fid)) {
		fi_close(&tp->cq->fid);
		tp->cq = NULL;
		error = -FI_ENOSYS;
	}
	if (error) {
		tp->cq = NULL;
		cq.wait_obj = FI_WAIT_NONE;
		eq.wait_obj = FI_WAIT_NONE;
		error = fi_cq_open(tp->domain, &cq, &tp->cq, NULL);
		if (error) tp->cq = NULL;
		else error = dpi_fabric_nap_open(tp);
	}
	if (error) return dpi_fabric_fail(tp, error, "the completion queue cannot be opened");
	if (!tp->choice.message) {
		error = fi_av_open(tp->domain, &av, &tp->av, NULL);
		if (error) tp->av = NULL;
		return error ? dpi_fabric_fail(tp, error, "the address table cannot be opened") : DPI_SUCCESS;
	}
	error = fi_eq_open(tp->fabric, &eq, &tp->eq, NULL);
	if (error) tp->eq = NULL;
	else if (eq.wait_obj == FI_WAIT_FD) error = watch(tp, &tp->eq->fid);
	return error ? dpi_fabric_fail(tp, error, "the queue of connection events cannot be opened") : DPI_SUCCESS;
}

static int open_fabric(DPI_Tp *tp)
{
	struct fi_info *info = tp->choice.info;
	int error = fi_fabric(info->fabric_attr, &tp->fabric, NULL);
	if (error) tp->fabric = NULL;
	if (error) return dpi_fabric_fail(tp, error, "the fabric cannot be opened");
	error = fi_domain(tp->fabric, info, &tp->domain, NULL);
	if (error) tp->domain = NULL;
	if (error) return dpi_fabric_fail(tp, error, "the domain %s cannot be opened", tp->choice.where);
	uint64_t mode = (uint64_t)info->domain_attr->mr_mode;
	tp->mr_local = mode & FI_MR_LOCAL;
	tp->mr_virtual = mode & FI_MR_VIRT_ADDR;
	tp->mr_endpoint = mode & FI_MR_ENDPOINT;
	size_t key_size = info->domain_attr->mr_key_size;
	tp->key_mask = key_size && key_size < 8 ? (UINT64_C(1) << 8 * key_size) - 1 : UINT64_MAX;
	tp->inject = info->tx_attr->inject_size;
	tp->iov_limit = info->tx_attr->iov_limit;
	tp->rma_limit = tp->iov_limit < MAX_IOV ? tp->iov_limit : MAX_IOV;
	tp->room = info->tx_attr->size > CREDITS + PROBES + FLYING + 4 ? UINT32_MAX : 1;
	tp->message = tp->choice.message ? WIRE_MESSAGE : WIRE_DATAGRAM;
	tp->write_min = info->nic || !tp->choice.message ? DIRECT_MIN : WIRE_PAYLOAD + 1;
	tp->message_max = info->ep_attr->max_msg_size < WIRE_PUT_MAX ? info->ep_attr->max_msg_size : WIRE_PUT_MAX;
	error = open_queues(tp);
	return error ? error : dpi_fabric_door(tp);
}

static int fabric_open(const DPI_Tp_Core *core, const struct DPI_Transport *lower, DPI_Tp **out)
{
	if (lower)
		return core->fail_text(core->self, DPI_ERR_ARGUMENT, "libfabric does not work over another transport, such as %s", lower->name);
	DPI_Tp *tp = calloc(1, sizeof *tp);
	if (!tp) return core->fail_text(core->self, DPI_ERR_MEMORY, "no memory to open libfabric");
	dpi_fabric_quiet(true);
	tp->core = core;
	tp->timer_fd = -1;
	tp->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int error = DPI_SUCCESS;
	if (tp->epoll_fd < 0)
		error = fabric_fail(tp, DPI_ERR_LIMIT, "libfabric cannot watch its queues: %s; check the limit of open files ('ulimit -n')",
				    strerror(errno));
	if (!error && (getrandom(tp->token, sizeof tp->token, 0) != sizeof tp->token ||
		       getrandom(tp->window_key, sizeof tp->window_key, 0) != sizeof tp->window_key ||
		       getrandom(&tp->random, sizeof tp->random, 0) != sizeof tp->random))
		error = fabric_fail(tp, DPI_ERR_UNSUPPORTED, "the system gives no random bytes for libfabric's keys: %s", strerror(errno));
	if (!error) error = dpi_fabric_choose(core, &tp->choice, true);
	if (!error) core->log(core->self, 2, "provider: %s", tp->choice.reason);
	if (!error) error = open_fabric(tp);
	if (error) {
		fabric_close(tp);
		return error;
	}
	*out = tp;
	return DPI_SUCCESS;
}

/* The costs are those of tcp on loopback. Nothing is passive: messages are taken apart by progress. */
static int fabric_query(DPI_Tp *tp, DPI_Tp_Attr *attr)
{
	DPI_Tp_Attr a = {
		.capabilities = DPI_TP_ATOMICS | DPI_TP_CPU_ATOMICS | DPI_TP_ANY_MEMORY | DPI_TP_FD | (tp->choice.local ? DPI_TP_SAME_HOST : 0),
		.lanes = 1,
		.max_iov = MAX_IOV,
		.max_put = WIRE_PUT_MAX,
		.max_send = WIRE_SEND,
		.inline_size = COPY_MAX,
		.alignment = 1,
		.outstanding = OUTSTANDING,
		.windows = WIRE_SLOTS,
		.latency_us = tp->choice.info->nic ? 2 : 7,
		.bandwidth_bytes_us = tp->choice.info->nic ? 10000 : 3000,
		.overhead_us = tp->choice.info->nic ? 0.5 : 2,
	};
	const char *device = dpi_fabric_device(tp->choice.info);
	if (device) snprintf(a.device, sizeof a.device, "%.31s", device);
	uint32_t size = attr->size;
	memcpy(attr, &a, size < sizeof a ? size : sizeof a);
	attr->size = size;
	return DPI_SUCCESS;
}

/* -------------------------------------------------------------------------------------------------------- progress */

static void completed(DPI_Tp *tp, struct fabric_op *op, size_t size, int code)
{
	DPI_Tp_Endpoint *c = op->endpoint;
	tp->events++;
	if (!c) { /* of a link that is closed */
		dpi_fabric_op_done(tp, op);
		return;
	}
	switch (op->kind) {
	case OP_SEND:
		c->sends--;
		dpi_fabric_op_done(tp, op);
		if (code && !c->broken) c->broken = code;
		break;
	case OP_DIRECT:
		if (code && !c->broken) c->broken = code;
		dpi_fabric_direct_done(op, code);
		break;
	case OP_RECEIVE:
		if (!code) {
			dpi_fabric_take(c, op, size);
			break;
		}
		c->missed = code;
		if (tp->choice.message && !c->broken) c->broken = code;
		dpi_fabric_receive_again(c, op);
		break;
	}
}

static void failed(DPI_Tp *tp)
{
	struct fi_cq_err_entry e = { 0 };
	ssize_t n = fi_cq_readerr(tp->cq, &e, 0);
	if (n <= 0) return;
	if (e.op_context) completed(tp, e.op_context, 0, e.err ? e.err : FI_EOTHER);
	else dpi_fabric_log(tp, "a message could not be sent: %s: %s", fi_strerror(e.err), dpi_fabric_error(e.err)->meaning);
}

/* The queue itself: nothing will ever complete. */
static void queue_failed(DPI_Tp *tp, int code)
{
	for (DPI_Tp_Endpoint *c = tp->links; c; c = c->next)
		if (c->ep && !c->broken) c->broken = code;
}

int dpi_fabric_drain(DPI_Tp *tp)
{
	struct fi_cq_msg_entry e[EVENTS];
	int all = 0;
	for (int round = 0; round < ROUNDS; round++) {
		ssize_t n = fi_cq_read(tp->cq, e, EVENTS);
		if (n == -FI_EAVAIL) {
			failed(tp);
			all++;
			continue;
		}
		if (n == -FI_EAGAIN) {
			dpi_fabric_limbo_end(tp);
			break;
		}
		if (n < 0) queue_failed(tp, (int)-n);
		if (n <= 0) break;
		for (ssize_t i = 0; i < n; i++)
			if (e[i].op_context) completed(tp, e[i].op_context, e[i].len, 0);
		all += (int)n;
		if (n < EVENTS && !tp->limbo) break;
	}
	return all;
}

/* A link without connection events whose peer is silent is sent something: what is the matter comes as an error, or nothing is taken. */
static void look_after(DPI_Tp_Endpoint *c, int64_t now)
{
	if (c->state == STATE_OPEN && c->claimed && now - c->heard > QUIET_US && c->probes < PROBES) {
		c->heard = now;
		c->probes++;
		dpi_fabric_give_back(c);
	}
	if (c->waiting && c->missed && now - c->gap > QUIET_US) dpi_fabric_broke(c, c->missed); /* what is due will not come any more */
	if (!c->stuck) return;
	if (c->state == STATE_OPEN && now - c->stuck > STUCK_US)
		dpi_fabric_lose(c, "node %d has taken nothing for %d s over %s, and should not be busy: its process has probably died", c->node,
				STUCK_US / 1000000, c->tp->choice.name);
	else if (c->state == STATE_OPENING && now - c->stuck > NOBODY_US)
		dpi_fabric_lose(c, "nobody there has taken a message for %d s", NOBODY_US / 1000000);
}

static void serve_all(DPI_Tp *tp)
{
	bool look = !tp->choice.message && tp->clock - tp->looked > 50000;
	if (look) tp->looked = tp->clock;
	for (DPI_Tp_Endpoint *c = tp->links; c; c = c->next) {
		if (c->state == STATE_OPENING && !c->greeted && c->ep) dpi_fabric_greet(c);
		if (c->head || c->broken || c->stuck || c->owed >= CREDITS / 2 || (c->held && !c->late)) dpi_fabric_serve(c);
		if (look) look_after(c, tp->clock);
	}
}

int dpi_fabric_progress(DPI_Tp *tp, uint32_t lane, int *events)
{
	(void)lane;
	if (events) *events = 0;
	if (tp->inside) return DPI_SUCCESS; /* called by a callback */
	tp->inside = true;
	tp->events = 0;
	if (!tp->choice.message && tp->ticks++ % 32 == 0) tp->clock = dpi_fabric_now();
	if (tp->holding) /* answers that no post took along, too */
		for (DPI_Tp_Endpoint *c = tp->links; c; c = c->next)
			if (c->held) dpi_fabric_ship(c);
	dpi_fabric_drain(tp);
	if (tp->eq && (tp->armed || tp->eq_ticks++ % EQ_EVERY == 0)) dpi_fabric_events(tp);
	serve_all(tp);
	if (tp->strangers) dpi_fabric_expire(tp);
	if (tp->graves) dpi_fabric_bury(tp);
	tp->armed = false;
	tp->nap_anew |= tp->events;
	if (events) *events = tp->events;
	tp->inside = false;
	return DPI_SUCCESS;
}

static int fabric_get_fd(DPI_Tp *tp, uint32_t lane, int *fd)
{
	(void)lane;
	*fd = tp->epoll_fd;
	return DPI_SUCCESS;
}

/* Whatever else there is to do makes the descriptor readable, at once or after a nap. */
static int fabric_arm(DPI_Tp *tp, uint32_t lane)
{
	struct fid *fids[2] = { &tp->cq->fid, tp->eq ? &tp->eq->fid : NULL };
	(void)lane;
	for (DPI_Tp_Endpoint *c = tp->links; c; c = c->next)
		if (dpi_fabric_runnable(c)) return DPI_ERR_AGAIN;
	if (tp->timer_fd >= 0) dpi_fabric_nap(tp);
	else if (fi_trywait(tp->fabric, fids, tp->eq ? 2 : 1)) return DPI_ERR_AGAIN;
	tp->armed = true;
	return DPI_SUCCESS;
}

static const DPI_Transport table = {
	.abi = DPI_TP_ABI,
	.size = sizeof(DPI_Transport),
	.name = "libfabric",
	.probe = fabric_probe,
	.open = fabric_open,
	.close = fabric_close,
	.query = fabric_query,
	.address = dpi_fabric_address,
	.connect = dpi_fabric_connect,
	.disconnect = dpi_fabric_disconnect,
	.expose = dpi_fabric_expose,
	.withdraw = dpi_fabric_withdraw,
	.attach = dpi_fabric_attach,
	.detach = dpi_fabric_detach,
	.put = dpi_fabric_put,
	.get = dpi_fabric_get,
	.fetch_add = dpi_fabric_fetch_add,
	.compare_swap = dpi_fabric_compare_swap,
	.send = dpi_fabric_send,
	.flush = dpi_fabric_flush,
	.cancel = dpi_fabric_cancel,
	.progress = dpi_fabric_progress,
	.get_fd = fabric_get_fd,
	.arm = fabric_arm,
};

__attribute__((visibility("default"))) const DPI_Transport *dpi_transport_1(void);
const DPI_Transport *dpi_transport_1(void)
{
	return &table;
}
