/* SPDX-License-Identifier: Apache-2.0
 * endpoint.c: a connection's life: made, lost, given up, freed. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "multicast.h"

DPI_Tp_Endpoint *dpi_verbs_endpoint(DPI_Tp *tp, struct rdma_cm_id *id, int node, uint64_t incarnation)
{
	DPI_Tp_Endpoint *c = calloc(1, sizeof *c);
	if (c) c->number = dpi_verbs_table_add(&tp->endpoints, c);
	if (!c || !c->number || (uint32_t)c->number > 0xffff) {
		if (c && c->number) dpi_verbs_table_remove(&tp->endpoints, c->number);
		free(c);
		verbs_fail(tp, DPI_ERR_MEMORY, "no memory for a verbs connection to node %d", node);
		return NULL;
	}
	c->tp = tp;
	c->id = id;
	c->node = node;
	c->incarnation = incarnation;
	id->context = c;
	c->next = tp->connections;
	c->link = &tp->connections;
	if (c->next) c->next->link = &c->next;
	tp->connections = c;
	return c;
}

static int make_qp(DPI_Tp_Endpoint *c)
{
	struct verbs_limits *l = &c->tp->limits;
	for (;;) {
		struct ibv_qp_init_attr a = { .qp_context = c,
					      .send_cq = c->group->cq,
					      .recv_cq = c->group->cq,
					      .srq = c->group->srq,
					      .cap = { .max_send_wr = c->depth,
						       .max_recv_wr = c->group->srq ? 0 : CREDITS,
						       .max_send_sge = l->sges,
						       .max_recv_sge = c->group->srq ? 0 : 1,
						       .max_inline_data = l->inline_bytes },
					      .qp_type = IBV_QPT_RC };
		if (!rdma_create_qp(c->id, c->tp->pd, &a)) {
			c->qp = c->id->qp;
			if (a.cap.max_inline_data < l->inline_bytes) l->inline_bytes = a.cap.max_inline_data; /* granted */
			return 0;
		}
		if (errno != EINVAL || !l->inline_bytes) return errno ? errno : EINVAL;
		l->inline_bytes = l->inline_bytes > 32 ? l->inline_bytes / 2 : 0; /* how many bytes inline is not to be asked otherwise */
	}
}

int dpi_verbs_endpoint_queue(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	c->depth = tp->limits.depth;
	c->slot = calloc(c->depth, sizeof *c->slot);
	c->op = calloc(OUTSTANDING, sizeof *c->op);
	if (!c->slot || !c->op) return verbs_fail(tp, DPI_ERR_MEMORY, "no memory for a verbs connection to node %d", c->node);
	for (uint32_t i = 0; i < OUTSTANDING; i++) c->op[i].next_free = i + 1 < OUTSTANDING ? i + 1 : UINT32_MAX;
	c->group = dpi_verbs_group_join(tp);
	if (!c->group) return DPI_ERR_LIMIT;
	int error = make_qp(c);
	if (error) return dpi_verbs_refused(tp, error, (uint64_t)c->depth * 256, "a queue pair");
	c->qp_num = c->qp->qp_num;
	c->next_qp = tp->by_qp[c->qp_num % 256];
	dpi_verbs_lock();
	tp->by_qp[c->qp_num % 256] = c;
	dpi_verbs_unlock();
	return dpi_verbs_group_fill(c->group, c->qp);
}

void dpi_verbs_endpoint_open(DPI_Tp_Endpoint *c, uint32_t credits)
{
	c->credits = credits < CREDITS ? credits : CREDITS;
	c->state = STATE_OPEN;
	c->tp->events++;
	if (c->answers.first || c->requests.first) dpi_verbs_mark(c);
}

void dpi_verbs_mark(DPI_Tp_Endpoint *c)
{
	if (c->dirty) return;
	c->dirty = true;
	c->next_dirty = c->tp->dirty;
	c->tp->dirty = c;
}

/* The queue pair goes, and with it the device's hand on all memory. Its completions are taken out before: a provider may drop them with it,
 * and then nobody learns which receive buffers of the shared queue they stood for. */
static void stop(DPI_Tp_Endpoint *c)
{
	DPI_Tp_Endpoint **p = &c->tp->by_qp[c->qp_num % 256];
	if (c->qp) {
		while (dpi_verbs_put_off(c->tp, c->group)) continue;
		while (*p && *p != c) p = &(*p)->next_qp;
		dpi_verbs_lock();
		if (*p) *p = c->next_qp;
		dpi_verbs_unlock();
		rdma_destroy_qp(c->id);
	}
	c->qp = NULL;
	if (c->id) rdma_destroy_id(c->id); /* tells the peer */
	c->id = NULL;
	if (c->group) dpi_verbs_group_leave(c->group);
	c->group = NULL;
}

/* May requests of it still be at memory? Those without an operation and buffers are at none but their own. */
static bool flushing(const DPI_Tp_Endpoint *c)
{
	for (uint32_t i = c->tail; c->qp && i != c->posted; i++)
		if (c->slot[i % c->depth].op || c->slot[i % c->depth].buffers) return true;
	return false;
}

/* It has ended: what needs no device goes at once, and the queue pair is put into the error state, in which it lets go of its requests and
 * of the shared receive queue's buffers. dpi_verbs_end waits for both, so long as the device may take; not every device says when it has let
 * go of the latter. */
static void begin_end(DPI_Tp_Endpoint *c)
{
	struct ibv_qp_attr error = { .qp_state = IBV_QPS_ERR };
	bool open = c->state == STATE_OPEN && !c->tp->failed;
	c->flush = NULL;
	dpi_verbs_queue_free(&c->answers);
	dpi_verbs_queue_free(&c->requests);
	dpi_verbs_cast_end(c);
	while (c->attached) dpi_verbs_attachment_end(c->tp, c->attached);
	for (DPI_Tp_Remote *r = c->remotes; r; r = r->next)
		if (r->state == REMOTE_REVOKED) r->state = REMOTE_REFUSED, r->refusal = DPI_ERR_DESTROYED;
	if (open && !c->broken && flushing(c) && verbs_room(c)) dpi_verbs_post_last(c);
	c->state = STATE_ENDING;
	c->ends_at = dpi_verbs_now();
	c->tp->ending = true;
	if (!open || ibv_modify_qp(c->qp, &error, IBV_QP_STATE)) return; /* there is nothing to wait for */
	c->ends_at += FLUSH_US;
	if (!c->tp->limits.iwarp) rdma_disconnect(c->id); /* tells the peer; over iWARP the error state does */
}

/* Complete what is pending. Each operation is taken off before its callback, which may come back here. */
static void drop(DPI_Tp_Endpoint *c)
{
	for (; c->slot && c->tail != c->next_slot; c->tail++)
		dpi_verbs_retired(c->tp, &c->slot[c->tail % c->depth]);
	c->posted = c->next_slot;
	for (int i = 0; c->op && c->ops && i < OUTSTANDING; i++)
		if (c->op[i].kind != OP_FREE) dpi_verbs_op_finish(c, &c->op[i], DPI_ERR_PEER, 0);
	dpi_verbs_cast_end(c);
	c->tp->graves = true;
}

/* The device is through with its requests, or has had its time. */
static void complete_end(DPI_Tp_Endpoint *c)
{
	const DPI_Tp_Core *core = c->tp->core;
	if (flushing(c)) stop(c);
	c->state = STATE_LOST;
	c->tp->events++;
	drop(c);
	if (c->state != STATE_LOST) return; /* disconnected by a callback */
	if (c->claimed) {
		core->lost(core->self, c->node, c->incarnation, c->why);
		return;
	}
	core->log(core->self, 3, "%s", c->why);
	if (!c->awaited) c->state = STATE_GONE;
}

/* The queue pair goes once it has no receive buffer any more, or has had its time. */
void dpi_verbs_end(DPI_Tp *tp)
{
	int64_t now = dpi_verbs_now();
	tp->ending = false;
	for (DPI_Tp_Endpoint *c = tp->connections; c; c = c->next) {
		if (c->state < STATE_ENDING) continue;
		bool late = now >= c->ends_at;
		if (c->state == STATE_ENDING && (late || !flushing(c))) complete_end(c);
		if (c->qp && c->state != STATE_ENDING && (late || !c->group->srq || atomic_load(&c->emptied))) stop(c);
		tp->ending |= c->qp || c->state == STATE_ENDING;
		tp->graves |= c->state == STATE_GONE;
	}
}

void dpi_verbs_give_up(DPI_Tp_Endpoint *c, int error, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(c->why, sizeof c->why, format, args);
	va_end(args);
	c->error = error;
	c->state = STATE_FAILED;
	c->tp->events++;
}

void dpi_verbs_lose(DPI_Tp_Endpoint *c, const char *format, ...)
{
	va_list args;
	if (c->state != STATE_OPEN && c->state != STATE_ACCEPTED) return;
	va_start(args, format);
	vsnprintf(c->why, sizeof c->why, format, args);
	va_end(args);
	c->tp->events++;
	begin_end(c);
}

void dpi_verbs_refuse(DPI_Tp_Endpoint *c, const char *format, ...)
{
	const DPI_Tp_Core *core = c->tp->core;
	char text[200];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	core->log(core->self, 1, "ending the connection of node %d (%s), which sent what no correct peer sends: %s", c->node, c->name, text);
	dpi_verbs_lose(c, "node %d (%s) sent what no correct peer sends: %s; this is a defect, or the nodes run different libraries", c->node, c->name,
		       text);
}

int dpi_verbs_dead(const DPI_Tp_Endpoint *c)
{
	if (c->state == STATE_OPEN)
		return verbs_fail(c->tp, DPI_ERR_PEER, "the verbs connection to node %d (%s) broke: %s", c->node, c->name, strerror(c->broken));
	return verbs_fail(c->tp, DPI_ERR_PEER, "%s", c->why);
}

/* What only a connection that works needs: most of an endpoint. */
static void strip(DPI_Tp_Endpoint *c)
{
	free(c->cast);
	free(c->slot);
	free(c->op);
	c->cast = NULL;
	c->slot = NULL;
	c->op = NULL;
}

void dpi_verbs_free(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	stop(c);
	for (DPI_Tp_Endpoint **p = &tp->dirty; *p; p = &(*p)->next_dirty)
		if (*p == c) {
			*p = c->next_dirty;
			break;
		}
	*c->link = c->next;
	if (c->next) c->next->link = c->link;
	while (c->remotes) dpi_verbs_remote_free(c->remotes);
	while (c->attached) dpi_verbs_attachment_end(tp, c->attached);
	dpi_verbs_queue_free(&c->answers);
	dpi_verbs_queue_free(&c->requests);
	dpi_verbs_cast_end(c);
	dpi_verbs_table_remove(&tp->endpoints, c->number);
	strip(c);
	free(c);
}

/* No caller is inside an endpoint. */
void dpi_verbs_bury(DPI_Tp *tp)
{
	DPI_Tp_Endpoint *c, *next;
	tp->graves = false;
	for (c = tp->connections; c; c = next) {
		next = c->next;
		if (c->state == STATE_GONE && !(c->qp && c->ends_at)) dpi_verbs_free(c);
		else if (c->state >= STATE_LOST) strip(c);
	}
}

/* ------------------------------------------------------------------------------------------------------ given up */

/* Say goodbye, in a request whose completion tells that everything before it is out too. */
static void goodbye(DPI_Tp_Endpoint *c)
{
	c->closing = true;
	if (c->broken || !verbs_room(c)) return;
	if (c->credits) {
		if (!dpi_verbs_message(c, WIRE_BYE, NULL, NULL, 0, 0)) return;
	} else { /* a write of no bytes, which needs no key */
		dpi_verbs_slot(c)->wr.opcode = IBV_WR_RDMA_WRITE;
	}
	c->slot[(c->next_slot - 1) % c->depth].wr.send_flags |= IBV_SEND_SIGNALED;
	dpi_verbs_ring(c);
}

static bool draining(const DPI_Tp_Endpoint *c)
{
	return c->closing && c->state == STATE_OPEN && !c->broken && c->tail != c->next_slot;
}

void dpi_verbs_disconnect(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	bool inside = tp->inside; /* a callback: there is no waiting */
	int64_t end = dpi_verbs_now() + DRAIN_US;
	if (c->state == STATE_OPEN && !inside) {
		while (dpi_verbs_casting(c) && dpi_verbs_now() < end) dpi_verbs_progress(tp, 0, NULL);
		if (c->state == STATE_OPEN) goodbye(c);
		while (draining(c) && dpi_verbs_now() < end) dpi_verbs_progress(tp, 0, NULL);
	}
	c->claimed = false;
	c->awaited = true;
	dpi_verbs_lose(c, "node %d has been disconnected", c->node);
	while (c->state == STATE_ENDING && !inside) dpi_verbs_progress(tp, 0, NULL);
	c->state = STATE_GONE;
	if (flushing(c)) stop(c);
	drop(c);
	while (c->remotes) dpi_verbs_remote_free(c->remotes);
	if (!inside) dpi_verbs_bury(tp);
}

/* No callback from here on. */
void dpi_verbs_close(DPI_Tp *tp)
{
	int64_t end = dpi_verbs_now() + DRAIN_US;
	tp->inside = true;
	for (DPI_Tp_Endpoint *c = tp->connections; c; c = c->next) {
		c->claimed = false;
		c->closing = true;
		for (int i = 0; c->op && i < OUTSTANDING; i++) c->op[i].cancelled = true;
		if (c->state == STATE_OPEN) goodbye(c);
	}
	for (bool more = true; more && dpi_verbs_now() < end;) {
		more = false;
		dpi_verbs_poll(tp);
		for (DPI_Tp_Endpoint *c = tp->connections; c; c = c->next) more |= draining(c);
	}
	while (tp->connections) dpi_verbs_free(tp->connections);
}
