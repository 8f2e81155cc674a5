/* SPDX-License-Identifier: Apache-2.0
 * verbs.c: the transport over RDMA verbs: its table, opening and closing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "multicast.h"

__attribute__((visibility("default"))) const DPI_Transport *dpi_transport_1(void);

/* A device with a port that is up. Whether it has an address, only open can tell. */
static int verbs_probe(const DPI_Tp_Core *core, char *reason, size_t size)
{
	static const char *const states[] = { "of an unknown state", "down", "initializing", "armed" };
	char down[96] = "", other[64] = "";
	size_t at = 0;
	int count = 0, ports = 0, active = 0, unfit = 0;
	struct ibv_device **list = ibv_get_device_list(&count);
	(void)core;
	for (int i = 0; list && i < count; i++) {
		if (!dpi_verbs_connects(list[i])) {
			snprintf(other, sizeof other, "%s", list[i]->name);
			unfit++;
			continue;
		}
		struct ibv_context *v = ibv_open_device(list[i]);
		struct ibv_device_attr d;
		if (!v) continue;
		memset(&d, 0, sizeof d);
		if (ibv_query_device(v, &d)) d.phys_port_cnt = 0;
		for (uint8_t p = 1; p <= d.phys_port_cnt; p++) {
			struct ibv_port_attr a;
			if (ibv_query_port(v, p, &a)) continue;
			ports++;
			active += a.state == IBV_PORT_ACTIVE;
			if (at >= sizeof down) continue;
			int n = snprintf(down + at, sizeof down - at, "%s%s port %u is %s", at ? ", " : "", list[i]->name, p,
					 states[(unsigned)a.state < 4 ? a.state : 0]);
			at += n > 0 ? (size_t)n : 0;
		}
		ibv_close_device(v);
	}
	if (list) ibv_free_device_list(list);
	if (active) return DPI_SUCCESS;
	if (!count) snprintf(reason, size, "there is no RDMA device ('rdma link' shows none)");
	else if (unfit == count) snprintf(reason, size, "device %s has no reliable connections, which verbs needs; libfabric may carry over it", other);
	else if (!ports) snprintf(reason, size, "no RDMA device can be opened; check the modes of /dev/infiniband/uverbs*");
	else snprintf(reason, size, "no port of an RDMA device is up: %s", down);
	return DPI_ERR_UNSUPPORTED;
}

static void verbs_close(DPI_Tp *tp)
{
	dpi_verbs_async_end(tp);
	dpi_verbs_close(tp);
	dpi_verbs_multicast_close(tp);
	dpi_verbs_windows_close(tp);
	dpi_verbs_groups_free(tp);
	dpi_verbs_memory_close(tp);
	free(tp->endpoints.entry);
	free(tp->remotes.entry);
	free(tp->attachments.entry);
	free(tp->later);
	if (tp->completions) ibv_destroy_comp_channel(tp->completions);
	if (tp->pd) ibv_dealloc_pd(tp->pd);
	for (unsigned i = 0; i < tp->listeners; i++) rdma_destroy_id(tp->listener[i]);
	if (tp->channel) rdma_destroy_event_channel(tp->channel);
	if (tp->epoll_fd >= 0) close(tp->epoll_fd);
	free(tp);
}

static bool watch(const DPI_Tp *tp, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
	int flags = fcntl(fd, F_GETFL);
	return flags >= 0 && !fcntl(fd, F_SETFL, flags | O_NONBLOCK) && !epoll_ctl(tp->epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

static int set_up(DPI_Tp *tp)
{
	if (getrandom(tp->self.token, WIRE_TOKEN, 0) != WIRE_TOKEN || getrandom(tp->window_key, sizeof tp->window_key, 0) != sizeof tp->window_key)
		return verbs_fail(tp, DPI_ERR_UNSUPPORTED, "the system gives no random bytes for verbs' keys: %s", strerror(errno));
	tp->channel = rdma_create_event_channel();
	if (!tp->channel)
		return verbs_fail(tp, DPI_ERR_UNSUPPORTED, "the RDMA connection manager cannot be opened: %s; load the module rdma_ucm and check /dev/infiniband/rdma_cm",
				  strerror(errno));
	int error = dpi_verbs_multicast_check(tp);
	if (!error) error = dpi_verbs_device_find(tp);
	if (error) return error;
	tp->pd = ibv_alloc_pd(tp->verbs);
	if (!tp->pd) return dpi_verbs_refused(tp, errno, 0, "a protection domain");
	tp->completions = ibv_create_comp_channel(tp->verbs);
	if (!tp->completions) return dpi_verbs_refused(tp, errno, 0, "a completion channel");
	if (tp->epoll_fd < 0 || !watch(tp, tp->completions->fd) || !watch(tp, tp->channel->fd) || !watch(tp, tp->verbs->async_fd))
		return verbs_fail(tp, DPI_ERR_LIMIT, "verbs cannot watch its descriptors: %s; check the limit of open files ('ulimit -n')", strerror(errno));
	dpi_verbs_async_begin(tp);
	return dpi_verbs_slab(tp);
}

static int verbs_open(const DPI_Tp_Core *core, const struct DPI_Transport *lower, DPI_Tp **out)
{
	if (lower) return core->fail_text(core->self, DPI_ERR_ARGUMENT, "verbs does not work over another transport, such as %s", lower->name);
	DPI_Tp *tp = calloc(1, sizeof *tp);
	if (!tp) return core->fail_text(core->self, DPI_ERR_MEMORY, "no memory to open verbs");
	tp->core = core;
	tp->self.incarnation = core->incarnation;
	tp->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int error = set_up(tp);
	if (error) {
		verbs_close(tp);
		return error;
	}
	*out = tp;
	return DPI_SUCCESS;
}

/* The costs are those of a 100 Gb/s adapter. */
static int verbs_query(DPI_Tp *tp, DPI_Tp_Attr *attr)
{
	DPI_Tp_Attr a = {
		.capabilities = DPI_TP_ATOMICS | DPI_TP_CPU_ATOMICS | DPI_TP_FD | DPI_TP_ANY_MEMORY | DPI_TP_LOCAL,
		.lanes = 1,
		.max_iov = MAX_IOV,
		.max_put = dpi_verbs_max_put(tp),
		.max_send = SEND_MAX,
		.inline_size = tp->limits.words ? COPY_MAX : EAGER_MAX,
		.alignment = 1,
		.outstanding = OUTSTANDING,
		.windows = 0,
		.latency_us = 2,
		.bandwidth_bytes_us = 12000,
		.overhead_us = 0.3,
	};
	if (dpi_verbs_multicast_can(tp)) {
		a.capabilities |= DPI_TP_MULTICAST;
		a.max_many = dpi_verbs_multicast_most(tp);
	}
	snprintf(a.device, sizeof a.device, "%.31s", tp->verbs->device->name);
	uint32_t size = attr->size;
	memcpy(attr, &a, size < sizeof a ? size : sizeof a);
	attr->size = size;
	return DPI_SUCCESS;
}

static int verbs_get_fd(DPI_Tp *tp, uint32_t lane, int *fd)
{
	(void)lane;
	*fd = tp->epoll_fd;
	return DPI_SUCCESS;
}

static const DPI_Transport table = {
	.abi = DPI_TP_ABI,
	.size = sizeof(DPI_Transport),
	.name = "verbs",
	.probe = verbs_probe,
	.open = verbs_open,
	.close = verbs_close,
	.query = verbs_query,
	.address = dpi_verbs_address,
	.connect = dpi_verbs_connect,
	.disconnect = dpi_verbs_disconnect,
	.expose = dpi_verbs_expose,
	.withdraw = dpi_verbs_withdraw,
	.attach = dpi_verbs_attach,
	.detach = dpi_verbs_detach,
	.put = dpi_verbs_put,
	.get = dpi_verbs_get,
	.fetch_add = dpi_verbs_fetch_add,
	.compare_swap = dpi_verbs_compare_swap,
	.send = dpi_verbs_send,
	.flush = dpi_verbs_flush,
	.cancel = dpi_verbs_cancel,
	.progress = dpi_verbs_progress,
	.get_fd = verbs_get_fd,
	.arm = dpi_verbs_arm,
	.put_many = dpi_verbs_put_many,
};

const DPI_Transport *dpi_transport_1(void)
{
	return &table;
}
