/* SPDX-License-Identifier: Apache-2.0 */
#include "verbs_side.h"
#include "../common.h"
#include "../process.h"

#include <errno.h>
#include <stdlib.h>

enum { PORT = 1, INLINE = 256, ACCESS = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC };

static struct ibv_context *device_open(const char *name)
{
	struct ibv_context *context = NULL;
	struct ibv_device **list = ibv_get_device_list(NULL);

	for (int i = 0; list && list[i] && !context; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			context = ibv_open_device(list[i]);
	if (!context)
		die(EXIT_SKIPPED, "device %s cannot be opened by verbs", name);
	ibv_free_device_list(list);
	return context;
}

void verbs_open(struct verbs_side *s, const struct rdma_device *device, size_t bytes, int completions)
{
	s->device = device;
	s->context = device_open(device->name);
	if (s->context->device->transport_type == IBV_TRANSPORT_IWARP)
		die(EXIT_SKIPPED, "device %s is of iWARP, which connects by its connection manager alone", device->name);
	s->memory = shared_memory(bytes);
	if (ibv_query_device(s->context, &s->limits) || ibv_query_port(s->context, PORT, &s->port))
		die(1, "device %s does not say what it can do", device->name);
	s->pd = ibv_alloc_pd(s->context);
	s->mr = s->pd ? ibv_reg_mr(s->pd, s->memory, bytes, ACCESS) : NULL;
	s->cq = s->mr ? ibv_create_cq(s->context, completions, NULL, NULL, 0) : NULL;
	if (!s->cq)
		die(1, "device %s refused %zu bytes or %d completions: %s", device->name, bytes, completions, strerror(errno));
}

static uint8_t reads(int most)
{
	return (uint8_t)(most > 16 ? 16 : most);
}

static void connect_to(struct verbs_side *s, struct ibv_qp *qp, const struct verbs_said *to)
{
	struct ibv_qp_attr ready = { .qp_state = IBV_QPS_RTR,
				     .path_mtu = s->port.active_mtu,
				     .dest_qp_num = to->pair,
				     .max_dest_rd_atomic = reads(s->limits.max_qp_rd_atom),
				     .min_rnr_timer = 12,
				     .ah_attr = { .port_num = PORT, .dlid = to->lid } };
	struct ibv_qp_attr send = { .qp_state = IBV_QPS_RTS,
				    .timeout = 17,
				    .retry_cnt = 6,
				    .rnr_retry = 7,
				    .max_rd_atomic = reads(s->limits.max_qp_init_rd_atom) };

	if (*s->device->gid) {
		ready.ah_attr.is_global = 1;
		ready.ah_attr.grh = (struct ibv_global_route){ .dgid = to->gid, .sgid_index = (uint8_t)atoi(s->device->gid), .hop_limit = 64 };
	}
	if (ibv_modify_qp(qp, &ready, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
					      IBV_QP_MIN_RNR_TIMER) ||
	    ibv_modify_qp(qp, &send, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC))
		die(1, "device %s connects to no queue pair %u: %s", s->device->name, to->pair, strerror(errno));
}

static void await(struct verbs_said *said, int ready)
{
	unsigned spins = 0;

	while (said->ready < ready) /* alarm says how long */
		relax(&spins);
}

struct ibv_qp *verbs_pair(struct verbs_side *s, struct verbs_said *ours, struct verbs_said *theirs, uint32_t requests, uint32_t pieces, uint32_t messages)
{
	struct ibv_qp_init_attr a = { .send_cq = s->cq,
				      .recv_cq = s->cq,
				      .cap = { requests, messages ? messages : 1, pieces, 1, INLINE },
				      .qp_type = IBV_QPT_RC };
	struct ibv_qp_attr init = { .qp_state = IBV_QPS_INIT, .port_num = PORT, .qp_access_flags = ACCESS };
	struct ibv_qp *qp = ibv_create_qp(s->pd, &a);

	if (!qp) { /* with nothing inline, then */
		a.cap.max_inline_data = 0;
		qp = ibv_create_qp(s->pd, &a);
	}
	if (!qp || ibv_modify_qp(qp, &init, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS))
		die(1, "device %s refused a queue pair of %u requests: %s", s->device->name, requests, strerror(errno));
	s->inline_bytes = a.cap.max_inline_data;
	if (*s->device->gid && ibv_query_gid(s->context, PORT, atoi(s->device->gid), &ours->gid))
		die(1, "device %s has no address", s->device->name);
	ours->lid = s->port.lid;
	ours->pair = qp->qp_num;
	ours->key = s->mr->rkey;
	ours->address = (uintptr_t)s->memory;
	ours->ready = 1;
	await(theirs, 1);
	connect_to(s, qp, theirs);
	ours->ready = 2;
	await(theirs, 2);
	return qp;
}

void verbs_post(struct ibv_qp *qp, struct ibv_send_wr *requests)
{
	struct ibv_send_wr *bad;
	int error = ibv_post_send(qp, requests, &bad);

	if (error)
		die(1, "a request was refused: %s", strerror(error));
}

bool verbs_poll(struct verbs_side *s, struct ibv_wc *wc)
{
	int n = ibv_poll_cq(s->cq, 1, wc);

	if (n < 0 || (n && wc->status))
		die(1, "a request failed: %s", n < 0 ? "the completion queue" : ibv_wc_status_str(wc->status));
	return n;
}

void verbs_close(struct verbs_side *s)
{
	ibv_destroy_cq(s->cq);
	ibv_dereg_mr(s->mr);
	ibv_dealloc_pd(s->pd);
	ibv_close_device(s->context);
}
