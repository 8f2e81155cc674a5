/* SPDX-License-Identifier: Apache-2.0
 * queue.c: work requests and pending operations of an endpoint.
 *
 * Requests stand in a ring: posted to the device up to posted, held back from there to next_slot, so that one doorbell
 * hands over all. The device completes them in order, and the completion of one stands for all before it. Each that somebody waits
 * for asks for one; of the others one in four of the ring does, or one in LATE_SHARE where they have memory to give back: a
 * completion may wake the progress thread, which then runs beside the one that posts. */
#include <errno.h>

#include "multicast.h"

/* wr_id: a serial's low bits, the endpoint's index, the request's count. Bit 63 marks receives. */
static uint64_t request_id(const DPI_Tp_Endpoint *c, uint32_t count)
{
	return (c->number >> 32 & 0x7fff) << 48 | (c->number & 0xffff) << 32 | count;
}

struct verbs_slot *dpi_verbs_slot(DPI_Tp_Endpoint *c)
{
	struct verbs_slot *s = &c->slot[c->next_slot % c->depth];
	memset(&s->wr, 0, sizeof s->wr);
	s->wr.wr_id = request_id(c, c->next_slot++);
	s->wr.sg_list = s->sge;
	s->op = NULL;
	s->buffers = NULL;
	return s;
}

/* Over iWARP a request that follows a read completes before it, unless it waits for it. */
static void fence(DPI_Tp_Endpoint *c, struct verbs_slot *s)
{
	bool read = s->wr.opcode == IBV_WR_RDMA_READ;
	if (c->reading && !read) s->wr.send_flags |= IBV_SEND_FENCE;
	c->reading = read;
}

/* The end of what may be posted. The sender of siw stands still for a fence, and for reads beyond those agreed on, until answers come, and
 * then sends none to the peer's reads either: two that read from each other would wait for ever. That of soft-RoCE sleeps while more
 * than 128 packets are not acknowledged, and in Linux 6.1 loses the wake-up if a long read ends in an interrupt between its look and its
 * sleep; nothing repeats it. So with these what has to wait for reads waits here. */
static uint32_t end_of(const DPI_Tp_Endpoint *c)
{
	const struct verbs_limits *l = &c->tp->limits;
	uint32_t reads = 0, end = c->tail;
	uint64_t bytes = 0;
	if (!l->siw && !l->ahead) return c->next_slot;
	for (; end != c->next_slot; end++) {
		const struct ibv_send_wr *wr = &c->slot[end % c->depth].wr;
		bool read = wr->opcode == IBV_WR_RDMA_READ, under_way = (int32_t)(end - c->posted) < 0;
		if (!under_way && l->siw && reads && (!read || reads >= l->reads)) break;
		if (!under_way && l->ahead && bytes > l->ahead) break;
		reads += read;
		for (int i = 0; read && i < wr->num_sge; i++) bytes += wr->sg_list[i].length;
	}
	return end;
}

/* Requests with buffers that never ask could keep all buffers, when nothing follows them: only some may. */
static bool asks(DPI_Tp_Endpoint *c, const struct verbs_slot *s, uint32_t since)
{
	if ((c->tp->limits.siw || c->tp->limits.ahead) && s->wr.opcode == IBV_WR_RDMA_READ) return true; /* others may wait for it */
	if (since >= c->depth / 4 || (s->op && !s->op->late)) return true;
	return (s->op || s->buffers) && (since >= c->depth / LATE_SHARE || (s->buffers && c->tp->quiet >= QUIET));
}

void dpi_verbs_retired(DPI_Tp *tp, struct verbs_slot *s)
{
	dpi_verbs_buffers_free(tp, s->buffers);
	s->buffers = NULL;
	s->op = NULL;
	tp->quiet -= s->quiet;
	s->quiet = false;
}

void dpi_verbs_post_last(DPI_Tp_Endpoint *c)
{
	struct verbs_slot *s = dpi_verbs_slot(c);
	s->wr.opcode = IBV_WR_RDMA_WRITE; /* of no bytes, which needs no key */
	s->wr.send_flags = IBV_SEND_SIGNALED;
	dpi_verbs_ring(c);
}

void dpi_verbs_hasten(DPI_Tp *tp)
{
	for (DPI_Tp_Endpoint *c = tp->connections; c; c = c->next) {
		if (c->state != STATE_OPEN || c->broken) continue;
		dpi_verbs_ring(c);
		if (c->tail == c->next_slot || c->posted != c->next_slot || !verbs_room(c)) continue;
		if (c->slot[(c->posted - 1) % c->depth].wr.send_flags & IBV_SEND_SIGNALED) continue;
		dpi_verbs_post_last(c);
	}
}

void dpi_verbs_ring(DPI_Tp_Endpoint *c)
{
	struct ibv_send_wr *bad = NULL;
	if (c->posted == c->next_slot || c->broken || !c->qp) return;
	uint32_t end = end_of(c);
	if (end == c->posted) return; /* a completion brings it back here */
	for (uint32_t i = c->posted; i != end; i++) {
		struct verbs_slot *s = &c->slot[i % c->depth];
		s->wr.next = i + 1 == end ? NULL : &c->slot[(i + 1) % c->depth].wr;
		if (c->tp->limits.iwarp && !c->tp->limits.siw) fence(c, s);
		if (!asks(c, s, i - c->signalled)) {
			c->tp->quiet += s->buffers && !s->quiet;
			s->quiet = s->buffers;
			continue;
		}
		s->wr.send_flags |= IBV_SEND_SIGNALED;
		c->signalled = i;
	}
	struct ibv_send_wr *first = &c->slot[c->posted % c->depth].wr;
	int error = c->tp->limits.siw ? dpi_verbs_post_over_tcp(c->qp, first, &bad) : ibv_post_send(c->qp, first, &bad);
	if (!error) {
		c->posted = end;
		return;
	}
	while (c->posted != end && &c->slot[c->posted % c->depth].wr != bad) c->posted++;
	if (error != ENOMEM && error != EAGAIN) c->broken = error;
	dpi_verbs_mark(c);
}

void dpi_verbs_held(DPI_Tp_Endpoint *c, uint32_t flags)
{
	if (flags & DPI_TP_MORE && verbs_room(c) > c->depth / 4) dpi_verbs_mark(c);
	else dpi_verbs_ring(c);
}

static bool alive(const DPI_Tp_Endpoint *c)
{
	return c->state == STATE_OPEN || c->state == STATE_ACCEPTED;
}

/* Requests up to and without count are done. false: a callback has ended the endpoint. */
static bool retire(DPI_Tp_Endpoint *c, uint32_t count)
{
	while (c->tail != count) {
		struct verbs_slot *s = &c->slot[c->tail++ % c->depth];
		struct verbs_op *op = s->op;
		dpi_verbs_retired(c->tp, s);
		if (!op) continue;
		dpi_verbs_op_finish(c, op, DPI_SUCCESS, 0);
		if (!alive(c)) return false;
	}
	return true;
}

void dpi_verbs_sent(DPI_Tp *tp, const struct ibv_wc *wc)
{
	uint32_t index = (uint32_t)(wc->wr_id >> 32) & 0xffff, count = (uint32_t)wc->wr_id;
	DPI_Tp_Endpoint *c = index < tp->endpoints.count ? tp->endpoints.entry[index].item : NULL;
	if (!c || request_id(c, count) != wc->wr_id || count - c->tail >= c->posted - c->tail) return; /* of one that is gone */
	if (c->state == STATE_ENDING) { /* their operations complete with all others */
		while (c->tail != count + 1) dpi_verbs_retired(tp, &c->slot[c->tail++ % c->depth]);
		return;
	}
	if (!alive(c)) return;
	tp->events++;
	if (wc->status == IBV_WC_SUCCESS) {
		if (!retire(c, count + 1)) return;
		if (c->answers.first || c->requests.first || c->tell || c->posted != c->next_slot) dpi_verbs_mark(c);
		return;
	}
	const struct verbs_status *s = dpi_verbs_status(wc->status);
	if (!retire(c, count)) return;
	struct verbs_slot *slot = &c->slot[count % c->depth];
	struct verbs_op *op = slot->op;
	/* devices call it by several names that they cannot send */
	bool down = wc->status != IBV_WC_WR_FLUSH_ERR && dpi_verbs_port_down(tp);
	slot->op = NULL;
	if (op) dpi_verbs_op_finish(c, op, down ? DPI_ERR_PEER : s->error, 0);
	if (!alive(c) || !retire(c, count + 1)) return;
	if (down)
		dpi_verbs_lose(c, "the verbs connection to node %d (%s) broke: port %u of device %s is down (%s); check the cable, 'ip link' and 'rdma link'",
			       c->node, c->name, tp->port, tp->device, ibv_wc_status_str(wc->status));
	else if (c->gone || wc->status == IBV_WC_WR_FLUSH_ERR)
		dpi_verbs_lose(c, "the verbs connection to node %d (%s) has ended: its process has closed it or died", c->node, c->name);
	else
		dpi_verbs_lose(c, "the verbs connection to node %d (%s) broke: %s (%s, vendor's code 0x%x)", c->node, c->name, s->sentence,
			       ibv_wc_status_str(wc->status), wc->vendor_err);
}

/* ---------------------------------------------------------------------------------------------- pending operations */

struct verbs_op *dpi_verbs_op(DPI_Tp_Endpoint *c, enum verbs_op_kind kind, DPI_Tp_Remote *remote, void *cookie)
{
	if (c->free_op == UINT32_MAX) return NULL;
	struct verbs_op *op = &c->op[c->free_op];
	uint32_t serial = op->serial + 1;
	c->free_op = op->next_free;
	*op = (struct verbs_op){ .kind = kind, .serial = serial, .remote = remote, .cookie = cookie };
	c->ops++;
	if (remote) remote->pending++;
	return op;
}

void dpi_verbs_op_drop(DPI_Tp_Endpoint *c, struct verbs_op *op)
{
	for (int i = 0; i < op->regions; i++) dpi_verbs_unregister(c->tp, op->region[i]);
	dpi_verbs_buffers_free(c->tp, op->buffers);
	if (op->remote) op->remote->pending--;
	op->kind = OP_FREE;
	op->regions = 0;
	op->buffers = NULL;
	op->next_free = c->free_op;
	c->free_op = (uint32_t)(op - c->op);
	c->ops--;
}

void dpi_verbs_op_finish(DPI_Tp_Endpoint *c, struct verbs_op *op, int error, uint64_t result)
{
	const DPI_Tp_Core *core = c->tp->core;
	DPI_Tp_Remote *r = op->remote;
	void *cookie = op->cookie;
	bool cancelled = op->cancelled;
	if (op->kind == OP_CAST) {
		dpi_verbs_was_read(c, op, error);
		return;
	}
	if (c->closing && !error) error = DPI_ERR_PEER; /* given up */
	if (!error && op->kind == OP_GET && op->buffers && !cancelled) dpi_verbs_scatter(op->iov, op->count, op->buffers);
	if (!error && op->kind == OP_ATOMIC) memcpy(&result, op->buffers->memory, 8);
	if (!error && op->kind == OP_FLUSH && op->puts > c->flushed) c->flushed = op->puts;
	dpi_verbs_op_drop(c, op);
	c->tp->events++;
	if (r && r->state == REMOTE_REVOKED && !r->pending) dpi_verbs_remote_idle(r);
	if (!cancelled) core->complete(core->self, cookie, error, error ? 0 : result);
}

uint64_t dpi_verbs_op_id(const DPI_Tp_Endpoint *c, const struct verbs_op *op)
{
	return (uint64_t)op->serial << 32 | (uint32_t)(op - c->op);
}

struct verbs_op *dpi_verbs_op_find(DPI_Tp_Endpoint *c, uint64_t id)
{
	uint32_t i = (uint32_t)id;
	if (i >= OUTSTANDING || c->op[i].kind != OP_MESSAGE || c->op[i].serial != id >> 32) return NULL;
	return &c->op[i];
}
