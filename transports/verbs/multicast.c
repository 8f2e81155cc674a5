/* SPDX-License-Identifier: Apache-2.0
 * multicast.c: the queue pair of datagrams, and groups. Opened by the first cast, or the first sender that asks. */
#include "multicast.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define GROUP_BASE 0xefc00000u /* 239.192.0.0/14: an organization's own */
#define GROUP_BITS 18
#define RECEIVE (UINT64_C(1) << 63)

/* -------------------------------------------------------------------------------------------------------- settings */

static const char *setting(const DPI_Tp *tp)
{
	const char *s = tp->core->setting(tp->core->self, "MULTICAST");
	return s && *s ? s : "auto";
}

/* An address of the setting, in host order; 0: it is none. */
static uint32_t group_of(const char *s)
{
	struct in_addr a;
	return inet_pton(AF_INET, s, &a) == 1 && IN_MULTICAST(ntohl(a.s_addr)) ? ntohl(a.s_addr) : 0;
}

static const struct verbs_host *own_host(const DPI_Tp *tp)
{
	for (unsigned i = 0; i < tp->self.hosts; i++)
		if (tp->self.host[i].family == 4) return &tp->self.host[i];
	return NULL;
}

/* auto: on no device was it seen yet to be faster. */
bool dpi_verbs_multicast_can(const DPI_Tp *tp)
{
	const char *s = setting(tp);
	return (!strcmp(s, "on") || group_of(s)) && tp->limits.mtu && own_host(tp);
}

int dpi_verbs_multicast_check(DPI_Tp *tp)
{
	const char *s = setting(tp);
	if (!strcmp(s, "auto") || !strcmp(s, "on") || !strcmp(s, "off") || group_of(s)) return DPI_SUCCESS;
	return verbs_fail(tp, DPI_ERR_CONFIG, "DPI_MULTICAST is '%s': use auto, on, off, or an IPv4 multicast address such as 239.1.2.3", s);
}

static uint32_t least(uint32_t x, uint32_t y)
{
	return x < y ? x : y;
}

uint64_t dpi_verbs_multicast_most(const DPI_Tp *tp)
{
	uint64_t most = (uint64_t)least(tp->limits.datagrams, CAST_SLOTS / 2) * (tp->limits.mtu - DATAGRAM_HEAD);
	return most < CAST_MOST ? most : CAST_MOST;
}

/* --------------------------------------------------------------------------------------------------------- opening */

static int post(struct verbs_multicast *m, const struct verbs_datagram *d)
{
	struct ibv_sge sge = { (uintptr_t)d->bytes - CAST_GRH, (uint32_t)(m->mr->length / m->receives), m->mr->lkey };
	struct ibv_recv_wr wr = { .wr_id = (uint64_t)(d - m->datagram) | RECEIVE, .sg_list = &sge, .num_sge = 1 }, *bad;
	return ibv_post_recv(m->id->qp, &wr, &bad);
}

static int join(struct verbs_multicast *m, uint32_t group, bool send_only, void *context)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(group) };
	struct rdma_cm_join_mc_attr_ex a = { .comp_mask = RDMA_CM_JOIN_MC_ATTR_ADDRESS | RDMA_CM_JOIN_MC_ATTR_JOIN_FLAGS,
					     .join_flags = send_only ? RDMA_MC_JOIN_FLAG_SENDONLY_FULLMEMBER : RDMA_MC_JOIN_FLAG_FULLMEMBER,
					     .addr = (struct sockaddr *)&to };
	return rdma_join_multicast_ex(m->id, &a, context) ? errno : 0;
}

static int make(DPI_Tp *tp, struct verbs_multicast *m)
{
	const struct verbs_limits *l = &tp->limits;
	struct sockaddr_storage from;
	size_t stride = CAST_GRH + l->mtu;
	m->depth = least(l->datagrams, CAST_SLOTS);
	m->receives = least(l->datagrams, CAST_RECEIVES);
	m->newest = &m->oldest;
	if (getrandom(m->token, sizeof m->token, 0) != sizeof m->token) return errno;
	m->group = group_of(setting(tp));
	if (!m->group) m->group = GROUP_BASE | (uint32_t)(m->token[1] & ((1 << GROUP_BITS) - 1));
	m->token[1] = m->token[1] >> GROUP_BITS | m->token[0] << (64 - GROUP_BITS); /* what the group shows is no part of the secret */
	dpi_verbs_socket(own_host(tp), 0, &from);
	if (rdma_create_id(tp->channel, &m->id, m, RDMA_PS_UDP)) return errno;
	if (rdma_bind_addr(m->id, (struct sockaddr *)&from)) return errno;
	if (m->id->verbs != tp->verbs || m->id->port_num != tp->port) return ENODEV;
	m->cq = ibv_create_cq(tp->verbs, (int)(m->depth + m->receives), NULL, NULL, 0);
	if (!m->cq) return errno;
	struct ibv_qp_init_attr a = { .send_cq = m->cq,
				      .recv_cq = m->cq,
				      .cap = { .max_send_wr = m->depth, .max_recv_wr = m->receives, .max_send_sge = 1, .max_recv_sge = 1 },
				      .qp_type = IBV_QPT_UD };
	if (rdma_create_qp(m->id, tp->pd, &a)) return errno;
	m->datagram = calloc(m->receives, sizeof *m->datagram);
	m->memory = aligned_alloc(4096, (m->receives * stride + 4095) & ~(size_t)4095);
	m->ring = aligned_alloc(4096, (CAST_SLOTS + 1) * (size_t)DATAGRAM_MOST);
	if (!m->datagram || !m->memory || !m->ring) return ENOMEM;
	m->mr = ibv_reg_mr(tp->pd, m->memory, m->receives * stride, IBV_ACCESS_LOCAL_WRITE);
	m->ring_mr = m->mr ? ibv_reg_mr(tp->pd, m->ring, (CAST_SLOTS + 1) * (size_t)l->mtu, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ) : NULL;
	if (!m->ring_mr) return errno;
	for (uint32_t i = 0; i < m->receives; i++) {
		m->datagram[i].bytes = m->memory + i * stride + CAST_GRH;
		int error = post(m, &m->datagram[i]);
		if (error) return error;
	}
	m->send_only = true;
	int error = join(m, m->group, true, NULL);
	if (!error) return 0;
	m->send_only = false; /* it may not know the difference */
	return join(m, m->group, false, NULL);
}

void dpi_verbs_multicast_failed(DPI_Tp *tp, const char *what)
{
	const DPI_Tp_Core *core = tp->core;
	if (tp->multicast->failed) return;
	tp->multicast->failed = true;
	core->log(core->self, 1, "device %s: no multicast: %s; what goes to several nodes is sent to each of them (DPI_MULTICAST)", tp->device, what);
}

struct verbs_multicast *dpi_verbs_multicast(DPI_Tp *tp)
{
	struct verbs_multicast *m = tp->multicast;
	if (!m) {
		if (tp->failed || !dpi_verbs_multicast_can(tp) || !(m = calloc(1, sizeof *m))) return NULL;
		int error = make(tp, m);
		dpi_verbs_lock();
		tp->multicast = m;
		dpi_verbs_unlock();
		if (error) dpi_verbs_multicast_failed(tp, strerror(error));
	}
	return m->failed ? NULL : m;
}

void dpi_verbs_multicast_close(DPI_Tp *tp)
{
	struct verbs_multicast *m = tp->multicast;
	if (!m) return;
	tp->multicast = NULL;
	struct sockaddr_in to = { .sin_family = AF_INET };
	while (m->memberships) {
		struct verbs_membership *s = m->memberships;
		to.sin_addr.s_addr = htonl(s->group);
		m->memberships = s->next;
		if (!s->failed) rdma_leave_multicast(m->id, (struct sockaddr *)&to);
		free(s);
	}
	to.sin_addr.s_addr = htonl(m->group);
	if (m->ring_mr) rdma_leave_multicast(m->id, (struct sockaddr *)&to);
	if (m->ah) ibv_destroy_ah(m->ah);
	if (m->id && m->id->qp) rdma_destroy_qp(m->id);
	if (m->id) rdma_destroy_id(m->id);
	if (m->cq) ibv_destroy_cq(m->cq);
	if (m->mr) ibv_dereg_mr(m->mr);
	if (m->ring_mr) ibv_dereg_mr(m->ring_mr);
	free(m->memory);
	free(m->ring);
	free(m->datagram);
	free(m);
}

/* ---------------------------------------------------------------------------------------------------------- groups */

int dpi_verbs_multicast_join(DPI_Tp *tp, uint32_t group, struct verbs_membership **membership)
{
	struct verbs_multicast *m = tp->multicast;
	struct verbs_membership *s = m->memberships;
	while (s && s->group != group) s = s->next;
	*membership = s;
	if (s) return s->failed ? EIO : 0;
	s = calloc(1, sizeof *s);
	if (!s) return ENOMEM;
	s->group = group;
	int error = join(m, group, false, s);
	if (error) {
		free(s);
		return error;
	}
	s->next = m->memberships;
	m->memberships = *membership = s;
	return 0;
}

static void own_group(DPI_Tp *tp, const struct rdma_cm_event *e)
{
	struct verbs_multicast *m = tp->multicast;
	bool joined = e->event == RDMA_CM_EVENT_MULTICAST_JOIN && !e->status;
	if (!joined && m->send_only && !m->ah) {
		m->send_only = false;
		if (!join(m, m->group, false, NULL)) return;
	}
	if (joined && !m->ah) {
		struct ibv_ah_attr a = e->param.ud.ah_attr;
		m->ah = ibv_create_ah(tp->pd, &a);
		m->qp_num = e->param.ud.qp_num;
		m->qkey = e->param.ud.qkey;
	}
	if (!joined || !m->ah) dpi_verbs_multicast_failed(tp, "its group cannot be joined");
}

void dpi_verbs_multicast_event(DPI_Tp *tp, const struct rdma_cm_event *e)
{
	struct verbs_membership *s = (void *)(uintptr_t)e->param.ud.private_data;
	tp->events++;
	if (e->event == RDMA_CM_EVENT_DEVICE_REMOVAL) dpi_verbs_multicast_failed(tp, "the device was removed");
	if (e->event != RDMA_CM_EVENT_MULTICAST_JOIN && e->event != RDMA_CM_EVENT_MULTICAST_ERROR) return;
	if (!s) {
		own_group(tp, e);
		return;
	}
	if (e->event == RDMA_CM_EVENT_MULTICAST_JOIN && !e->status) s->joined = true;
	else s->failed = true;
	dpi_verbs_joined(tp, s);
}

/* ------------------------------------------------------------------------------------------------------- endpoints */

struct verbs_cast *dpi_verbs_cast(DPI_Tp_Endpoint *c)
{
	if (!c->cast && (c->cast = calloc(1, sizeof *c->cast))) c->cast->end = &c->cast->first;
	return c->cast;
}

void dpi_verbs_cast_end(DPI_Tp_Endpoint *c)
{
	const DPI_Tp_Core *core = c->tp->core;
	struct verbs_cast *k = c->cast;
	if (!k) return;
	if (k->casts) core->log(core->self, 3, "node %d was sent %llu casts, and last said that it had to read %llu", c->node, (unsigned long long)k->casts, (unsigned long long)k->read);
	if (k->taken) core->log(core->self, 3, "casts of node %d: %llu were read", c->node, (unsigned long long)k->reads);
	k->casts = k->taken = 0;
	for (int i = 0; i < CAST_SLOTS; i++)
		if (k->held[i]) dpi_verbs_release(c->tp, k->held[i]);
	while (k->first) {
		struct verbs_kept *kept = k->first;
		k->first = kept->next;
		free(kept);
	}
	k->end = &k->first;
	k->kept = 0;
	if (!k->reading) { /* else the device may be at them */
		dpi_verbs_buffers_free(c->tp, k->read_to);
		k->read_to = NULL;
	}
	if (k->stalled_at) c->tp->multicast->stalled--;
	k->stalled_at = 0;
	k->from = false;
	k->reached = REACHED_NO;
	k->took = k->sent;
}

/* -------------------------------------------------------------------------------------------------------- progress */

void dpi_verbs_release(DPI_Tp *tp, struct verbs_datagram *d)
{
	struct verbs_multicast *m = tp->multicast;
	if (d->of) {
		*d->link = d->next;
		if (d->next) d->next->link = d->link;
		else m->newest = d->link;
		d->of->held[d->sequence % CAST_SLOTS] = NULL;
		d->of = NULL;
		m->held--;
	}
	if (!m->failed && post(m, d)) dpi_verbs_multicast_failed(tp, "a receive buffer could not be posted");
}

bool dpi_verbs_datagrams(DPI_Tp *tp)
{
	struct verbs_multicast *m = tp->multicast;
	struct ibv_wc wc[POLL_BATCH];
	bool some = false;
	for (int round = 0; round < POLL_ROUNDS && m->cq; round++) {
		int n = ibv_poll_cq(m->cq, POLL_BATCH, wc);
		if (n < 0) dpi_verbs_multicast_failed(tp, "its completion queue could not be polled");
		for (int i = 0; i < n; i++) {
			some = true;
			if (wc[i].status != IBV_WC_SUCCESS) {
				dpi_verbs_multicast_failed(tp, dpi_verbs_status(wc[i].status)->sentence);
			} else if (wc[i].wr_id & RECEIVE) {
				struct verbs_datagram *d = &m->datagram[wc[i].wr_id & ~RECEIVE];
				if (wc[i].byte_len < CAST_GRH || !dpi_verbs_hold(tp, d, wc[i].byte_len - CAST_GRH)) dpi_verbs_release(tp, d);
			} else {
				m->sent = (uint32_t)wc[i].wr_id;
			}
		}
		if (n < POLL_BATCH) break;
	}
	if (some) tp->events++;
	return some;
}

void dpi_verbs_cast_progress(DPI_Tp *tp)
{
	struct verbs_multicast *m = tp->multicast;
	dpi_verbs_datagrams(tp);
	for (DPI_Tp_Endpoint *c = tp->connections; c && m->stalled; c = c->next)
		if (verbs_stalled(c)) dpi_verbs_unstall(c);
}

/* Datagrams wake nobody: without their CAST they are of no use. */
bool dpi_verbs_cast_arm(DPI_Tp *tp)
{
	struct verbs_multicast *m = tp->multicast;
	for (const DPI_Tp_Endpoint *c = tp->connections; c && m->stalled; c = c->next)
		if (verbs_stalled(c) && !c->cast->reading) return true; /* nothing would wake it */
	return false;
}
