/* SPDX-License-Identifier: Apache-2.0
 * mock_device.c: the device: registrations, queues, and requests carried out by memcpy. */
#include "mock.h"

#include <errno.h>
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mock mock;

enum { EVENTS = 64, WCS = 65536, RECEIVES = 4096, HELD = 1024 };

struct region {
	struct ibv_mr mr;
	int access;
	struct region *next;
};
struct channel {
	struct ibv_comp_channel channel;
	struct ibv_cq *cq[EVENTS];
	int head, tail;
};
struct cq {
	struct ibv_cq cq;
	struct ibv_wc *wc;
	unsigned head, tail, room;
	bool armed;
};
struct receives {
	struct ibv_recv_wr wr[RECEIVES];
	struct ibv_sge sge[RECEIVES];
	unsigned head, tail, room;
};
struct srq {
	struct ibv_srq srq;
	struct receives receives;
};
struct qp {
	struct ibv_qp qp;
	struct qp *peer, *next;
	bool broken, reading; /* a read was the last that was posted */
	int reads; /* whose completion has not been polled */
	struct receives *own; /* without srq */
	uint64_t taken; /* the receive buffer of a message that does not arrive whole; 0: none */
	struct cq *cq;
	uint32_t depth, sges, inline_most, under_way;
	int retries, waits; /* tries again when the wire is silent, and when the receiver is not ready: 7 is without end */
	struct ibv_send_wr held[HELD];
	struct ibv_sge held_sge[HELD][SGES];
	uint8_t held_bytes[HELD][INLINE_MAX];
	unsigned held_head, held_tail;
	bool datagrams;
	uint32_t group[64];
	int groups;
};
struct handle {
	struct ibv_ah ah;
	uint32_t group;
};

static struct region *regions;
static struct qp *qps;
static uint32_t next_key = 100, next_qp = 17;
#define GONE ((enum ibv_event_type)-1) /* an event of a queue pair that has gone */
static struct ibv_async_event async_events[EVENTS];
static int async_head, async_tail;
static struct ibv_device device[MOCK_DEVICES];
static struct ibv_context context[MOCK_DEVICES];

/* -------------------------------------------------------------------------------------------------- what goes wrong */

void mock_fail(enum mock_call call, int after, int error)
{
	mock.fail[call].on = true;
	mock.fail[call].always = false;
	mock.fail[call].after = after;
	mock.fail[call].error = error;
}

void mock_fail_always(enum mock_call call, int error)
{
	mock_fail(call, 0, error);
	mock.fail[call].always = true;
}

bool mock_fails(enum mock_call call)
{
	mock.calls[call]++;
	if (!mock.fail[call].on || mock.fail[call].after-- > 0) return false;
	mock.fail[call].after = 0;
	mock.fail[call].on = mock.fail[call].always;
	errno = mock.fail[call].error;
	return true;
}

/* ------------------------------------------------------------------------------------------------------- requests */

static const struct region *find(uint32_t key, bool remote, uint64_t at, uint64_t size, int access)
{
	for (const struct region *r = regions; r; r = r->next) {
		uint64_t from = (uintptr_t)r->mr.addr;
		if ((remote ? r->mr.rkey : r->mr.lkey) != key) continue;
		return at >= from && size <= r->mr.length && at - from <= r->mr.length - size && (r->access & access) == access ? r : NULL;
	}
	return NULL;
}

static void push(struct cq *q, const struct ibv_wc *wc)
{
	mock.overruns += q->tail - q->head >= q->room;
	q->wc[q->tail++ % WCS] = *wc;
	if (!q->armed) return;
	struct channel *c = (struct channel *)(void *)q->cq.channel;
	uint64_t one = 1;
	q->armed = false;
	c->cq[c->tail++ % EVENTS] = &q->cq;
	if (write(c->channel.fd, &one, sizeof one) != sizeof one) abort();
}

static enum ibv_wc_status move(struct qp *q, const struct ibv_send_wr *wr, bool to_remote, uint64_t remote)
{
	for (int i = 0; i < wr->num_sge; i++) {
		const struct ibv_sge *s = &wr->sg_list[i];
		void *here = (void *)(uintptr_t)s->addr, *there = (void *)(uintptr_t)remote;
		int access = to_remote ? 0 : IBV_ACCESS_LOCAL_WRITE | (mock.transport == IBV_TRANSPORT_IWARP ? IBV_ACCESS_REMOTE_WRITE : 0);
		if (!(wr->send_flags & IBV_SEND_INLINE) && !find(s->lkey, false, s->addr, s->length, access))
			return IBV_WC_LOC_PROT_ERR;
		if (s->length) memcpy(to_remote ? there : here, to_remote ? here : there, s->length);
		remote += s->length;
	}
	(void)q;
	return IBV_WC_SUCCESS;
}

static uint32_t total(const struct ibv_send_wr *wr)
{
	uint32_t n = 0;
	for (int i = 0; i < wr->num_sge; i++) n += wr->sg_list[i].length;
	return n;
}

/* So many tries are in vain; it makes some. */
static bool gives_up(int *in_vain, int tries)
{
	bool gave_up = *in_vain > tries;
	*in_vain = 0;
	return gave_up;
}

static enum ibv_wc_status receive(struct qp *q, const struct ibv_send_wr *wr)
{
	struct qp *peer = q->peer;
	struct receives *r = peer->qp.srq ? &((struct srq *)(void *)peer->qp.srq)->receives : peer->own;
	if (r->head == r->tail || gives_up(&mock.unready, q->waits == 7 ? INT_MAX : q->waits)) return IBV_WC_RNR_RETRY_EXC_ERR;
	struct ibv_recv_wr *into = &r->wr[r->head % RECEIVES];
	struct ibv_sge *sge = &r->sge[r->head++ % RECEIVES];
	uint32_t size = total(wr);
	struct ibv_wc wc = { .wr_id = into->wr_id, .opcode = IBV_WC_RECV, .byte_len = size, .qp_num = peer->qp.qp_num };
	if (mock.taken) {
		mock.taken = false;
		peer->taken = into->wr_id;
		return IBV_WC_RETRY_EXC_ERR;
	}
	if (mock.receive_status_after >= 0 && !mock.receive_status_after--) {
		wc.status = mock.receive_status;
		wc.wc_flags = IBV_WC_WITH_IMM; /* nothing else of it means anything */
		peer->broken = true;
		push(peer->cq, &wc);
		return IBV_WC_REM_OP_ERR;
	}
	if (size > sge->length) return IBV_WC_REM_INV_REQ_ERR;
	enum ibv_wc_status status = move(q, wr, true, sge->addr);
	if (status == IBV_WC_SUCCESS) push(peer->cq, &wc);
	return status;
}

static enum ibv_wc_status arrive_with_immediate(struct qp *q, const struct ibv_send_wr *wr)
{
	struct qp *peer = q->peer;
	struct receives *r = peer->qp.srq ? &((struct srq *)(void *)peer->qp.srq)->receives : peer->own;
	if (r->head == r->tail || gives_up(&mock.unready, q->waits == 7 ? INT_MAX : q->waits)) return IBV_WC_RNR_RETRY_EXC_ERR;
	struct ibv_wc wc = { .wr_id = r->wr[r->head++ % RECEIVES].wr_id, .opcode = IBV_WC_RECV_RDMA_WITH_IMM, .byte_len = total(wr),
			     .qp_num = peer->qp.qp_num, .wc_flags = IBV_WC_WITH_IMM, .imm_data = wr->imm_data };
	push(peer->cq, &wc);
	return IBV_WC_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------- datagrams */

enum { GRH = 40, MTU_MOST = 4096 };

static void come(struct qp *q, const uint8_t *bytes, uint32_t size)
{
	struct receives *r = q->own;
	if (r->head == r->tail) return; /* dropped: nobody is told */
	struct ibv_recv_wr *into = &r->wr[r->head % RECEIVES];
	struct ibv_sge *sge = &r->sge[r->head++ % RECEIVES];
	struct ibv_wc wc = { .wr_id = into->wr_id, .opcode = IBV_WC_RECV, .byte_len = GRH + size, .qp_num = q->qp.qp_num };
	if (GRH + size > sge->length) wc.status = IBV_WC_LOC_LEN_ERR;
	else memcpy((uint8_t *)(uintptr_t)sge->addr + GRH, bytes, size);
	push(q->cq, &wc);
}

void mock_datagram(uint32_t group, const uint8_t *bytes, uint32_t size)
{
	for (struct qp *q = qps; q; q = q->next)
		for (int i = 0; i < q->groups; i++)
			if (q->group[i] == group) come(q, bytes, size);
}

static enum ibv_wc_status cast(const struct ibv_send_wr *wr)
{
	uint8_t bytes[MTU_MOST];
	uint32_t size = wr->sg_list->length;
	if (size > 128u << mock.port.active_mtu || size > sizeof bytes || wr->num_sge != 1 || wr->wr.ud.remote_qpn != 0xffffff) return IBV_WC_LOC_LEN_ERR;
	memcpy(bytes, (void *)(uintptr_t)wr->sg_list->addr, size);
	int times = mock.datagram ? mock.datagram(mock.datagrams, bytes, &size) : 1;
	mock.datagrams++;
	while (times-- > 0) mock_datagram(((const struct handle *)(const void *)wr->wr.ud.ah)->group, bytes, size);
	return IBV_WC_SUCCESS;
}

void mock_attach(struct ibv_qp *of, uint32_t group)
{
	struct qp *q = (struct qp *)(void *)of;
	q->group[q->groups++] = group;
	mock.members++;
}

void mock_detach(struct ibv_qp *of, uint32_t group)
{
	struct qp *q = (struct qp *)(void *)of;
	for (int i = 0; i < q->groups; i++)
		if (q->group[i] == group) {
			q->group[i] = q->group[--q->groups];
			mock.members--;
			return;
		}
}

struct ibv_ah *ibv_create_ah(struct ibv_pd *pd, struct ibv_ah_attr *a)
{
	struct handle *h = mock_fails(MOCK_create_ah) ? NULL : calloc(1, sizeof *h);
	(void)pd;
	if (!h) return NULL;
	memcpy(&h->group, a->grh.dgid.raw + 12, 4);
	mock.handles++;
	return &h->ah;
}
int ibv_destroy_ah(struct ibv_ah *ah)
{
	free(ah);
	mock.handles--;
	return 0;
}

static enum ibv_wc_status carry_out(struct qp *q, const struct ibv_send_wr *wr)
{
	uint32_t size = total(wr), key = wr->wr.rdma.rkey;
	uint64_t at = wr->wr.rdma.remote_addr;
	if (q->broken) return IBV_WC_WR_FLUSH_ERR;
	if (mock.status_after >= 0 && !mock.status_after--) return mock.status;
	if (q->datagrams) return cast(wr);
	if (!q->peer || q->peer->broken || gives_up(&mock.lost, q->retries)) return IBV_WC_RETRY_EXC_ERR;
	if (size > mock.port.max_msg_sz) return IBV_WC_LOC_LEN_ERR;
	switch (wr->opcode) {
	case IBV_WR_SEND: return receive(q, wr);
	case IBV_WR_RDMA_WRITE:
	case IBV_WR_RDMA_WRITE_WITH_IMM: {
		if (wr->opcode == IBV_WR_RDMA_WRITE_WITH_IMM && mock.transport == IBV_TRANSPORT_IWARP) return IBV_WC_LOC_QP_OP_ERR;
		if (size && !find(key, true, at, size, IBV_ACCESS_REMOTE_WRITE)) return IBV_WC_REM_ACCESS_ERR;
		enum ibv_wc_status status = size ? move(q, wr, true, at) : IBV_WC_SUCCESS;
		return status || wr->opcode == IBV_WR_RDMA_WRITE ? status : arrive_with_immediate(q, wr);
	}
	case IBV_WR_RDMA_READ:
		return find(key, true, at, size, IBV_ACCESS_REMOTE_READ) ? move(q, wr, false, at) : IBV_WC_REM_ACCESS_ERR;
	case IBV_WR_ATOMIC_FETCH_AND_ADD:
	case IBV_WR_ATOMIC_CMP_AND_SWP: {
		if (!find(wr->wr.atomic.rkey, true, wr->wr.atomic.remote_addr, 8, IBV_ACCESS_REMOTE_ATOMIC)) return IBV_WC_REM_ACCESS_ERR;
		uint64_t *word = (uint64_t *)(uintptr_t)wr->wr.atomic.remote_addr, before = *word;
		mock.atomics++;
		if (wr->opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) *word += wr->wr.atomic.compare_add;
		else if (before == wr->wr.atomic.compare_add) *word = wr->wr.atomic.swap;
		memcpy((void *)(uintptr_t)wr->sg_list->addr, &before, 8);
		return IBV_WC_SUCCESS;
	}
	default: return IBV_WC_LOC_QP_OP_ERR;
	}
}

static void complete(struct qp *q, const struct ibv_send_wr *wr)
{
	struct ibv_wc wc = { .wr_id = wr->wr_id, .qp_num = q->qp.qp_num, .vendor_err = 7 };
	wc.opcode = wr->opcode == IBV_WR_RDMA_READ ? IBV_WC_RDMA_READ : IBV_WC_SEND;
	wc.status = carry_out(q, wr);
	if (wc.status != IBV_WC_SUCCESS) q->broken = true;
	q->under_way++;
	if (wr->send_flags & IBV_SEND_SIGNALED) q->under_way = 0;
	if (wc.status != IBV_WC_SUCCESS || wr->send_flags & IBV_SEND_SIGNALED) push(q->cq, &wc);
}

/* Over iWARP a request completes before a read that goes before it, unless it waits for it; siw then sends nothing at all, nor with too many reads. */
static void follow_reads(struct qp *q, const struct ibv_send_wr *wr)
{
	bool read = wr->opcode == IBV_WR_RDMA_READ, fenced = wr->send_flags & IBV_SEND_FENCE, siw = mock.device.vendor_id == MOCK_SIW;
	if (mock.transport != IBV_TRANSPORT_IWARP) return;
	mock.overtakes += (siw ? q->reads : q->reading) && !read && !fenced;
	mock.stalls += siw && (fenced || (read && q->reads >= mock.device.max_qp_init_rd_atom));
	q->reading = read;
	q->reads += read;
}

static int post_send(struct ibv_qp *of, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
	struct qp *q = (struct qp *)(void *)of;
	if (mock.pipe) raise(SIGPIPE);
	mock.doorbells++;
	for (; wr; wr = wr->next) {
		*bad = wr;
		if (mock_fails(MOCK_post_send)) return errno;
		if (wr->num_sge > (int)q->sges || (wr->send_flags & IBV_SEND_INLINE && total(wr) > q->inline_most)) return EINVAL;
		if (wr->opcode == IBV_WR_RDMA_READ && wr->num_sge > mock.device.max_sge_rd) return EINVAL;
		mock.requests++;
		mock.inlined += !!(wr->send_flags & IBV_SEND_INLINE);
		mock.signalled += !!(wr->send_flags & IBV_SEND_SIGNALED);
		if (q->under_way + q->held_tail - q->held_head >= q->depth) return ENOMEM;
		if (wr->opcode == IBV_WR_RDMA_READ && wr->send_flags & IBV_SEND_FENCE) return EINVAL;
		follow_reads(q, wr);
		if (!mock.hold && q->held_head == q->held_tail) {
			complete(q, wr);
			continue;
		}
		unsigned i = q->held_tail++ % HELD, n = 0;
		q->held[i] = *wr;
		for (int k = 0; k < wr->num_sge; k++) {
			q->held_sge[i][k] = wr->sg_list[k];
			if (!(wr->send_flags & IBV_SEND_INLINE)) continue;
			memcpy(q->held_bytes[i] + n, (void *)(uintptr_t)wr->sg_list[k].addr, wr->sg_list[k].length);
			q->held_sge[i][k].addr = (uintptr_t)q->held_bytes[i] + n;
			n += wr->sg_list[k].length;
		}
		q->held[i].sg_list = q->held_sge[i];
	}
	return 0;
}

/* What is left of a queue pair in the error state: requests, receive buffers of its own, and the one that it has taken from a shared queue. */
static void flush(struct qp *q)
{
	struct ibv_wc wc = { .status = IBV_WC_WR_FLUSH_ERR, .opcode = IBV_WC_RECV, .qp_num = q->qp.qp_num };
	while (q->held_head != q->held_tail) complete(q, &q->held[q->held_head++ % HELD]);
	for (; q->own && !q->datagrams && q->own->head != q->own->tail; push(q->cq, &wc)) wc.wr_id = q->own->wr[q->own->head++ % RECEIVES].wr_id;
	wc.wr_id = q->taken;
	if (q->taken) push(q->cq, &wc);
	q->taken = 0;
}

int ibv_modify_qp(struct ibv_qp *of, struct ibv_qp_attr *a, int mask)
{
	struct qp *q = (struct qp *)(void *)of;
	if (mock_fails(MOCK_modify_qp)) return errno;
	if (mask != IBV_QP_STATE || a->qp_state != IBV_QPS_ERR) return EINVAL;
	q->broken = true;
	if (mock.late) return 0;
	flush(q);
	if (q->qp.srq && !mock.unsaid) mock_async(IBV_EVENT_QP_LAST_WQE_REACHED, of);
	return 0;
}

int mock_receives(const struct ibv_srq *srq)
{
	const struct receives *r = &((const struct srq *)(const void *)srq)->receives;
	return (int)(r->tail - r->head);
}

void mock_run(void)
{
	for (struct qp *q = qps; q; q = q->next)
		while (q->held_head != q->held_tail) complete(q, &q->held[q->held_head++ % HELD]);
}

static int poll_cq(struct ibv_cq *of, int most, struct ibv_wc *wc)
{
	struct cq *q = (struct cq *)(void *)of;
	int n = 0;
	if (mock_fails(MOCK_poll_cq)) return -1;
	while (n < most && q->head != q->tail) {
		wc[n] = q->wc[q->head++ % WCS];
		for (struct qp *of_it = qps; of_it && wc[n].opcode == IBV_WC_RDMA_READ; of_it = of_it->next)
			if (of_it->qp.qp_num == wc[n].qp_num && of_it->reads) of_it->reads--;
		n++;
	}
	return n;
}

static int req_notify_cq(struct ibv_cq *of, int solicited)
{
	(void)solicited;
	if (mock_fails(MOCK_req_notify)) return errno;
	((struct cq *)(void *)of)->armed = true;
	return 0;
}

static int post_to(struct receives *r, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	*bad = wr;
	if (mock_fails(MOCK_post_recv)) return errno;
	if (r->tail - r->head == r->room || wr->num_sge > 1) return r->tail - r->head == r->room ? ENOMEM : EINVAL;
	r->sge[r->tail % RECEIVES] = *wr->sg_list;
	r->wr[r->tail++ % RECEIVES] = *wr;
	return 0;
}

static int post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	return post_to(&((struct srq *)(void *)srq)->receives, wr, bad);
}

static int post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
	return post_to(((struct qp *)(void *)qp)->own, wr, bad);
}

/* --------------------------------------------------------------------------------------------------------- objects */

void mock_reset(void)
{
	memset(&mock, 0, sizeof mock);
	mock.devices = 1;
	mock.transport = IBV_TRANSPORT_IB;
	mock.inline_most = 512;
	mock.status_after = mock.receive_status_after = -1;
	mock.instead = (enum rdma_cm_event_type)-1;
	mock.instead_of = -1;
	mock.device = (struct ibv_device_attr){ .max_qp_wr = 1000, .max_sge = 16, .max_sge_rd = 16, .max_cqe = 100000, .max_srq = 100, .max_srq_wr = 4096,
						.max_srq_sge = 1, .max_qp_rd_atom = 16, .max_qp_init_rd_atom = 16, .atomic_cap = IBV_ATOMIC_HCA, .phys_port_cnt = 1 };
	mock.port = (struct ibv_port_attr){ .state = IBV_PORT_ACTIVE, .max_msg_sz = 1 << 23, .active_speed = 8, .active_width = 1 };
}

struct ibv_context *mock_context(int i)
{
	struct ibv_context *c = &context[i];
	if (mock.only[i].name) snprintf(device[i].name, sizeof device[i].name, "%s", mock.only[i].name);
	else snprintf(device[i].name, sizeof device[i].name, "mock%d", i);
	device[i].transport_type = mock.only[i].unconnected ? IBV_TRANSPORT_UNSPECIFIED : mock.transport;
	if (c->device) return c;
	c->device = &device[i];
	c->async_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	c->ops.poll_cq = poll_cq;
	c->ops.req_notify_cq = req_notify_cq;
	c->ops.post_send = post_send;
	c->ops.post_recv = post_recv;
	c->ops.post_srq_recv = post_srq_recv;
	return c;
}

#undef ibv_get_device_list
struct ibv_device **ibv_get_device_list(int *count)
{
	struct ibv_device **list = mock_fails(MOCK_get_device_list) ? NULL : calloc(MOCK_DEVICES + 1, sizeof *list);
	*count = 0;
	for (int i = 0; list && i < mock.devices; i++)
		if (!mock.only[i].behind) list[(*count)++] = mock_context(i)->device;
	return list;
}
void ibv_free_device_list(struct ibv_device **list) { free(list); }
struct ibv_context *ibv_open_device(struct ibv_device *d) { return mock_fails(MOCK_open_device) ? NULL : mock_context((int)(d - device)); }
int ibv_close_device(struct ibv_context *c) { return (void)c, 0; }

int mock_device_of(int i)
{
	while (mock.only[i].behind) i--;
	return i;
}

/* -1: there is no such port */
static int interface_of(int device_, uint8_t port)
{
	if (port == 1) return device_;
	for (int i = device_ + 1; i < mock.devices && mock.only[i].behind; i++)
		if (mock.only[i].behind == port) return i;
	return -1;
}

int ibv_query_device(struct ibv_context *c, struct ibv_device_attr *a)
{
	if (mock_fails(MOCK_query_device)) return errno;
	*a = mock.device;
	while (interface_of((int)(c - context), (uint8_t)(a->phys_port_cnt + 1)) >= 0) a->phys_port_cnt++;
	return 0;
}

#undef ibv_query_port
int ibv_query_port(struct ibv_context *c, uint8_t port, struct _compat_ibv_port_attr *a)
{
	int index = interface_of((int)(c - context), port);
	struct ibv_port_attr its = mock.port;
	if (mock_fails(MOCK_query_port)) return errno;
	if (index < 0) return EINVAL;
	if (mock.only[index].message) its.max_msg_sz = mock.only[index].message;
	if (mock.only[index].down) its.state = IBV_PORT_DOWN;
	if (mock.only[index].speed) its.active_speed = mock.only[index].speed;
	if (mock.only[index].new_speed) its.active_speed = 0;
	memcpy(a, &its, sizeof its);
	return 0;
}

struct ibv_pd *ibv_alloc_pd(struct ibv_context *c)
{
	struct ibv_pd *pd = mock_fails(MOCK_alloc_pd) ? NULL : calloc(1, sizeof *pd);
	if (pd) pd->context = c;
	return pd;
}
int ibv_dealloc_pd(struct ibv_pd *pd) { return free(pd), 0; }

#undef ibv_reg_mr
struct ibv_mr *ibv_reg_mr(struct ibv_pd *pd, void *address, size_t length, int access)
{
	if (mock_fails(MOCK_reg_mr)) return NULL;
	struct region *r = calloc(1, sizeof *r);
	r->mr = (struct ibv_mr){ .context = pd->context, .pd = pd, .addr = address, .length = length, .lkey = next_key, .rkey = next_key + 1 };
	next_key += 2;
	r->access = access;
	r->next = regions;
	regions = r;
	mock.regions++;
	return &r->mr;
}
struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *pd, void *address, size_t length, uint64_t iova, unsigned access)
{
	(void)iova;
	return ibv_reg_mr(pd, address, length, (int)access);
}
int ibv_dereg_mr(struct ibv_mr *mr)
{
	struct region **p = &regions, *r = (struct region *)(void *)mr;
	while (*p != r) p = &(*p)->next;
	*p = r->next;
	mock.regions--;
	free(r);
	return 0;
}

struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *context_)
{
	struct channel *c = mock_fails(MOCK_create_comp_channel) ? NULL : calloc(1, sizeof *c);
	if (!c) return NULL;
	c->channel.context = context_;
	c->channel.fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	return &c->channel;
}
int ibv_destroy_comp_channel(struct ibv_comp_channel *c)
{
	close(c->fd);
	free(c);
	return 0;
}

/* As providers judge: what is larger than the device said is refused. */
static bool beyond(int64_t asked, int most)
{
	if (asked <= most) return false;
	errno = EINVAL;
	return true;
}

struct ibv_cq *ibv_create_cq(struct ibv_context *context_, int cqe, void *user, struct ibv_comp_channel *channel, int vector)
{
	struct cq *q = mock_fails(MOCK_create_cq) || beyond(cqe, mock.device.max_cqe) ? NULL : calloc(1, sizeof *q);
	(void)vector;
	if (!q) return NULL;
	q->room = (unsigned)cqe;
	q->cq.context = context_;
	q->cq.channel = channel;
	q->cq.cq_context = user;
	q->wc = malloc(WCS * sizeof *q->wc);
	return &q->cq;
}
int ibv_destroy_cq(struct ibv_cq *cq)
{
	free(((struct cq *)(void *)cq)->wc);
	free(cq);
	return 0;
}
int ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **user)
{
	struct channel *c = (struct channel *)(void *)channel;
	uint64_t n;
	if (read(channel->fd, &n, sizeof n) != sizeof n) return -1;
	*cq = c->cq[c->head++ % EVENTS];
	*user = (*cq)->cq_context;
	return 0;
}
void ibv_ack_cq_events(struct ibv_cq *cq, unsigned n) { (void)cq, (void)n; }

struct ibv_srq *ibv_create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *a)
{
	bool refused = mock_fails(MOCK_create_srq) || beyond(a->attr.max_wr, mock.device.max_srq_wr) || beyond(a->attr.max_sge, mock.device.max_srq_sge) ||
		       beyond(1, mock.device.max_srq);
	struct srq *s = refused ? NULL : calloc(1, sizeof *s);
	if (!s) return NULL;
	s->receives.room = a->attr.max_wr;
	s->srq.context = pd->context;
	return &s->srq;
}
int ibv_destroy_srq(struct ibv_srq *srq) { return free(srq), 0; }

int rdma_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, struct ibv_qp_init_attr *a)
{
	const struct ibv_device_attr *d = &mock.device;
	if (mock_fails(MOCK_create_qp) || beyond(a->cap.max_send_wr, d->max_qp_wr) || beyond(a->cap.max_recv_wr, d->max_qp_wr) ||
	    beyond(a->cap.max_send_sge, d->max_sge) || beyond(a->cap.max_recv_sge, d->max_sge))
		return -1;
	if (a->cap.max_inline_data > mock.inline_most && !mock.inline_cut) return errno = EINVAL, -1;
	if (a->cap.max_inline_data > mock.inline_most) a->cap.max_inline_data = mock.inline_most;
	struct qp *q = calloc(1, sizeof *q);
	q->qp.context = pd->context;
	q->qp.qp_context = a->qp_context;
	q->qp.qp_num = next_qp++;
	q->qp.srq = a->srq;
	q->cq = (struct cq *)(void *)a->send_cq;
	q->depth = a->cap.max_send_wr;
	q->sges = a->cap.max_send_sge;
	q->inline_most = a->cap.max_inline_data;
	if (!a->srq) q->own = calloc(1, sizeof *q->own);
	if (q->own) q->own->room = a->cap.max_recv_wr;
	q->datagrams = a->qp_type == IBV_QPT_UD;
	q->next = qps;
	qps = q;
	id->qp = &q->qp;
	mock.queue_pairs++;
	return 0;
}

/* Its completions and events go with it, as some providers have it, or else come after it. */
static void forget(struct qp *q)
{
	unsigned kept = q->cq->head;
	for (unsigned i = q->cq->head; !mock.late && i != q->cq->tail; i++) {
		const struct ibv_wc *wc = &q->cq->wc[i % WCS];
		if (wc->qp_num != q->qp.qp_num) q->cq->wc[kept++ % WCS] = *wc;
		else if (q->qp.srq) mock.missing += wc->wr_id >> 63;
	}
	if (!mock.late) q->cq->tail = kept;
	else q->broken = true, flush(q);
	if (q->taken) mock.missing++;
	for (int i = async_head; i != async_tail; i++)
		if (async_events[i % EVENTS].element.qp == &q->qp) async_events[i % EVENTS].event_type = GONE;
}

void rdma_destroy_qp(struct rdma_cm_id *id)
{
	struct qp **p = &qps, *q = (struct qp *)(void *)id->qp;
	forget(q);
	mock_qp_unpair(id->qp);
	while (*p != q) p = &(*p)->next;
	*p = q->next;
	id->qp = NULL;
	free(q->own);
	free(q);
	mock.queue_pairs--;
}

void mock_qp_pair(struct ibv_qp *a, struct ibv_qp *b)
{
	struct qp *x = (struct qp *)(void *)a, *y = (struct qp *)(void *)b;
	if (x && y) x->peer = y, y->peer = x;
}

void mock_qp_retries(struct ibv_qp *qp, int retries, int waits)
{
	struct qp *q = (struct qp *)(void *)qp;
	q->retries = retries;
	q->waits = waits;
}

void mock_qp_unpair(struct ibv_qp *qp)
{
	struct qp *q = (struct qp *)(void *)qp;
	if (q->peer) q->peer->peer = NULL;
	q->peer = NULL;
}

void mock_async(enum ibv_event_type type, void *of)
{
	uint64_t one = 1;
	async_events[async_tail++ % EVENTS] = (struct ibv_async_event){ .event_type = type, .element.qp = of };
	if (write(mock_context(0)->async_fd, &one, sizeof one) != sizeof one) abort();
}
int ibv_get_async_event(struct ibv_context *c, struct ibv_async_event *e)
{
	uint64_t n;
	do {
		if (read(c->async_fd, &n, sizeof n) != sizeof n) return -1;
		*e = async_events[async_head++ % EVENTS];
	} while (e->event_type == GONE);
	return 0;
}
void ibv_ack_async_event(struct ibv_async_event *e) { (void)e; }
const char *ibv_wc_status_str(enum ibv_wc_status status) { return status == IBV_WC_SUCCESS ? "success" : "failure"; }

/* ------------------------------------------------------------------------------------------- interfaces of the host */

const char *mock_address(int i)
{
	static const char *const usual[MOCK_DEVICES] = { "10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4" };
	return mock.only[i].address ? mock.only[i].address : usual[i];
}

static void add(struct ifaddrs **list, const char *name, const char *address, const char *mask, unsigned flags)
{
	struct ifaddrs *one = calloc(1, sizeof *one);
	struct sockaddr_in *in = calloc(2, sizeof *in);
	struct sockaddr_in6 *six = calloc(2, sizeof *six);
	in[0].sin_family = in[1].sin_family = AF_INET;
	six[0].sin6_family = six[1].sin6_family = AF_INET6;
	bool is_six = !inet_pton(AF_INET, address, &in[0].sin_addr) && inet_pton(AF_INET6, address, &six[0].sin6_addr);
	inet_pton(AF_INET, mask, &in[1].sin_addr);
	inet_pton(AF_INET6, "ffff:ffff:ffff:ffff::", &six[1].sin6_addr);
	one->ifa_name = (char *)(uintptr_t)name;
	one->ifa_flags = flags;
	one->ifa_addr = is_six ? (struct sockaddr *)&six[0] : (struct sockaddr *)&in[0];
	one->ifa_netmask = is_six ? (struct sockaddr *)&six[1] : (struct sockaddr *)&in[1];
	free(is_six ? (void *)in : (void *)six);
	one->ifa_next = *list;
	*list = one;
}

int getifaddrs(struct ifaddrs **list)
{
	static const char *const names[MOCK_DEVICES] = { "mock0", "mock1", "mock2", "mock3" };
	if (mock_fails(MOCK_ifaddrs)) return -1;
	*list = NULL;
	add(list, "down0", "10.9.0.9", "255.255.255.0", 0);
	for (int i = MOCK_DEVICES; i--;)
		if (*mock_address(i)) add(list, names[i], mock_address(i), "255.255.255.0", IFF_UP);
	add(list, "eth9", "192.0.2.1", "255.255.255.0", IFF_UP);
	add(list, "lo", "127.0.0.1", "255.0.0.0", IFF_UP | IFF_LOOPBACK);
	return 0;
}

void freeifaddrs(struct ifaddrs *list)
{
	while (list) {
		struct ifaddrs *next = list->ifa_next;
		free(list->ifa_addr);
		free(list);
		list = next;
	}
}
