/* SPDX-License-Identifier: Apache-2.0
 * receive.c: receive buffers, and the completion queue of a group of endpoints.
 *
 * Each endpoint brings CREDITS buffers, and its peer sends no more messages than it has credits; a credit goes back, along
 * with any message, when the buffer is posted again. So a message always finds a buffer. In a group the buffers are in a
 * shared receive queue; a device without such has groups of one endpoint.
 *
 * A buffer that the device does not have, because it refused it or the queue pair went, is idle. Whoever finds one refused loses the
 * connection, and with it the peer's credit for that buffer; the next endpoint posts what is idle before it promises anything. */
#include <errno.h>
#include <stdlib.h>

#include "verbs.h"

static void idle(struct verbs_group *g, struct verbs_receive *r)
{
	r->next_idle = g->idle;
	g->idle = r;
}

static void all_idle(struct verbs_group *g, struct verbs_block *b)
{
	for (int i = CREDITS; i--;) idle(g, &b->receive[i]);
}

static int post(struct verbs_group *g, struct verbs_receive *r)
{
	struct ibv_sge sge = { (uintptr_t)r->bytes, WIRE_MESSAGE, r->lkey };
	struct ibv_recv_wr wr = { .wr_id = (uintptr_t)r | UINT64_C(1) << 63, .sg_list = &sge, .num_sge = 1 }, *bad;
	int error = g->srq ? ibv_post_srq_recv(g->srq, &wr, &bad) : ibv_post_recv(g->qp, &wr, &bad);
	if (error) idle(g, r);
	return error;
}

static void group_free(struct verbs_group *g)
{
	if (g->srq) ibv_destroy_srq(g->srq);
	if (g->cq) ibv_destroy_cq(g->cq);
	while (g->blocks) {
		struct verbs_block *b = g->blocks;
		g->blocks = b->next;
		ibv_dereg_mr(b->mr);
		free(b->memory);
		free(b);
	}
	free(g);
}

struct verbs_group *dpi_verbs_group_join(DPI_Tp *tp)
{
	const struct verbs_limits *l = &tp->limits;
	for (struct verbs_group *g = tp->groups; g; g = g->next)
		if (g->endpoints < l->group && (g->srq || !g->endpoints)) {
			g->endpoints++;
			return g;
		}
	struct verbs_group *g = calloc(1, sizeof *g);
	if (!g) {
		verbs_fail(tp, DPI_ERR_MEMORY, "no memory for a group of connections");
		return NULL;
	}
	g->tp = tp;
	g->endpoints = 1;
	g->cq = ibv_create_cq(tp->verbs, (int)(l->group * (l->depth + CREDITS)), g, tp->completions, 0);
	if (g->cq && l->shared_receive) {
		struct ibv_srq_init_attr a = { .srq_context = g, .attr = { .max_wr = l->group * CREDITS, .max_sge = 1 } };
		g->srq = ibv_create_srq(tp->pd, &a);
	}
	if (!g->cq || (l->shared_receive && !g->srq)) {
		dpi_verbs_refused(tp, errno, (uint64_t)l->group * (l->depth + CREDITS) * 64, g->cq ? "a shared receive queue" : "a completion queue");
		group_free(g);
		return NULL;
	}
	g->next = tp->groups;
	dpi_verbs_lock();
	tp->groups = g;
	dpi_verbs_unlock();
	return g;
}

int dpi_verbs_group_fill(struct verbs_group *g, struct ibv_qp *qp)
{
	DPI_Tp *tp = g->tp;
	const size_t size = (size_t)CREDITS * WIRE_MESSAGE;
	if (!g->srq) g->qp = qp;
	if (g->credits < g->endpoints * CREDITS) { /* else there are those of an endpoint that has left */
		struct verbs_block *b = calloc(1, sizeof *b);
		if (b) b->memory = aligned_alloc(4096, size);
		if (!b || !b->memory) {
			free(b);
			return verbs_fail(tp, DPI_ERR_MEMORY, "no memory for receive buffers");
		}
		b->mr = ibv_reg_mr(tp->pd, b->memory, size, IBV_ACCESS_LOCAL_WRITE);
		if (!b->mr) {
			int error = errno;
			free(b->memory);
			free(b);
			return dpi_verbs_refused(tp, error, size, "the memory of receive buffers");
		}
		b->next = g->blocks;
		g->blocks = b;
		g->credits += CREDITS;
		for (int i = 0; i < CREDITS; i++)
			b->receive[i] = (struct verbs_receive){ .group = g, .bytes = b->memory + (size_t)i * WIRE_MESSAGE, .lkey = b->mr->lkey };
		all_idle(g, b);
	}
	while (g->idle) {
		struct verbs_receive *r = g->idle;
		g->idle = r->next_idle;
		int error = post(g, r);
		if (error) return dpi_verbs_refused(tp, error, WIRE_MESSAGE, "a receive buffer");
	}
	return DPI_SUCCESS;
}

void dpi_verbs_group_leave(struct verbs_group *g)
{
	g->endpoints--;
	if (g->srq) return;
	g->qp = NULL;
	g->idle = NULL;
	if (g->blocks) all_idle(g, g->blocks);
}

void dpi_verbs_groups_free(DPI_Tp *tp)
{
	while (tp->groups) {
		struct verbs_group *g = tp->groups;
		tp->groups = g->next;
		group_free(g);
	}
}

DPI_Tp_Endpoint *dpi_verbs_by_qp(const DPI_Tp *tp, uint32_t qp_num)
{
	DPI_Tp_Endpoint *c = tp->by_qp[qp_num % 256];
	while (c && c->qp_num != qp_num) c = c->next_qp;
	return c;
}

void dpi_verbs_received(DPI_Tp *tp, const struct ibv_wc *wc)
{
	struct verbs_receive *r = (struct verbs_receive *)(uintptr_t)(wc->wr_id & ~(UINT64_C(1) << 63));
	struct verbs_group *g = r->group;
	DPI_Tp_Endpoint *c = dpi_verbs_by_qp(tp, wc->qp_num);
	bool alive = c && !c->closing && (c->state == STATE_OPEN || c->state == STATE_ACCEPTED);
	if (wc->status != IBV_WC_SUCCESS) {
		if (alive && wc->status != IBV_WC_WR_FLUSH_ERR)
			dpi_verbs_lose(c, "a message of node %d (%s) could not be received: %s", c->node, c->name, dpi_verbs_status(wc->status)->sentence);
		if (g->srq) post(g, r);
		return;
	}
	if (alive) {
		tp->events++;
		if (wc->wc_flags & IBV_WC_WITH_IMM) dpi_verbs_immediate(c, be32toh(wc->imm_data), wc->byte_len);
		else dpi_verbs_handle(c, r->bytes, wc->byte_len < WIRE_MESSAGE ? wc->byte_len : WIRE_MESSAGE);
	}
	if (!g->srq && (!c || c->group != g)) return; /* its queue pair has gone: it is idle */
	int error = post(g, r);
	if (error && alive)
		dpi_verbs_lose(c, "a receive buffer for node %d could not be posted: %s; see the kernel log", c->node, strerror(error));
}
