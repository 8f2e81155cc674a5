/* SPDX-License-Identifier: Apache-2.0
 * event.c: events of the connection manager; the accepting side. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "multicast.h"

/* An event, copied, so that it can be given back before anything is destroyed. */
struct event {
	enum rdma_cm_event_type type;
	int status;
	struct rdma_cm_id *id;
	uint8_t data[128];
	size_t size;
	uint8_t responder_resources, initiator_depth;
};

/* Strangers can knock as often as they like: one line a second tells of them. */
static void log_refusal(DPI_Tp *tp, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void log_refusal(DPI_Tp *tp, const char *format, ...)
{
	const DPI_Tp_Core *core = tp->core;
	char text[WHY_MAX];
	int64_t now = dpi_verbs_now();
	va_list args;
	if (now < tp->log_at) {
		tp->unlogged++;
		return;
	}
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (tp->unlogged) core->log(core->self, 1, "%s (and %u like it before)", text, tp->unlogged);
	else core->log(core->self, 1, "%s", text);
	tp->log_at = now + 1000000;
	tp->unlogged = 0;
}

static struct rdma_conn_param parameters(const DPI_Tp *tp, const void *data, uint8_t size)
{
	return (struct rdma_conn_param){ .private_data = data,
					 .private_data_len = size,
					 .responder_resources = (uint8_t)tp->limits.reads_served,
					 .initiator_depth = (uint8_t)tp->limits.reads,
					 .retry_count = RETRIES,
					 .rnr_retry_count = 7 };
}

/* ------------------------------------------------------------------------------------------------ the accepting side */

static const char *const reasons[] = { [WIRE_WELCOME] = "welcome",
				       [WIRE_OTHER_VERSION] = "speaks another version of the protocol",
				       [WIRE_OTHER_TOKEN] = "does not know this node's token",
				       [WIRE_OTHER_INCARNATION] = "looks for an earlier process at this address",
				       [WIRE_CROSSED] = "was asked at the same time",
				       [WIRE_NO_ROOM] = "found no room for another connection",
				       [WIRE_ELSEWHERE] = "is on another host, and there is no cluster key" };

static void reject(DPI_Tp *tp, struct rdma_cm_id *id, enum wire_status status)
{
	uint8_t bytes[WIRE_ACK];
	dpi_verbs_ack(bytes, &(struct wire_ack){ WIRE_VERSION, status, (uint32_t)tp->core->node, CREDITS, tp->serial, 0 });
	rdma_reject(id, bytes, WIRE_ACK);
	rdma_destroy_id(id);
}

/* Is it one for this process? The token is compared in a time that does not depend on where it differs. */
static enum wire_status judge(DPI_Tp *tp, struct rdma_cm_id *id, const struct wire_hello *h)
{
	unsigned difference = 0;
	if (h->version != WIRE_VERSION) return WIRE_OTHER_VERSION;
	if (!tp->core->secure && !dpi_verbs_local(rdma_get_peer_addr(id))) return WIRE_ELSEWHERE;
	for (int i = 0; i < WIRE_TOKEN; i++) difference |= h->token[i] ^ tp->self.token[i];
	if (difference || h->lane || h->credits < 4) return WIRE_OTHER_TOKEN;
	return h->target_incarnation == tp->core->incarnation ? WIRE_WELCOME : WIRE_OTHER_INCARNATION;
}

static bool connecting(const DPI_Tp_Endpoint *c)
{
	return c->state == STATE_ADDRESS || c->state == STATE_ROUTE || c->state == STATE_REQUEST;
}

/* Is there another connection of the two nodes? One being made: the lower node's stays, if it has asked. One that is made: this
 * request is of before, overtaken by what was agreed on since; or else the peer has given that up. */
static enum wire_status others(DPI_Tp *tp, const struct wire_hello *h)
{
	const DPI_Tp_Core *core = tp->core;
	bool lower = (uint32_t)core->node < h->node || ((uint32_t)core->node == h->node && core->incarnation < h->incarnation);
	for (DPI_Tp_Endpoint *c = tp->connections; c; c = c->next) {
		if (c->node != (int)h->node || c->incarnation != h->incarnation) continue;
		if (connecting(c)) {
			if (lower && c->state == STATE_REQUEST) return WIRE_CROSSED;
			c->status = WIRE_CROSSED;
			dpi_verbs_give_up(c, DPI_ERR_PEER, "it asked at the same time");
		} else if (h->serial <= c->superseded && (c->state == STATE_OPEN || c->state == STATE_ACCEPTED)) {
			return WIRE_CROSSED;
		} else {
			dpi_verbs_lose(c, "node %d (%s) has connected anew", c->node, c->name);
		}
	}
	return WIRE_WELCOME;
}

static void asked(DPI_Tp *tp, const struct event *e)
{
	struct wire_hello h;
	uint8_t bytes[WIRE_ACK];
	char name[64];
	uint8_t timeout = ACK_TIMEOUT;
	dpi_verbs_name(rdma_get_peer_addr(e->id), name, sizeof name);
	if (dpi_verbs_hello_parse(e->data, e->size, &h)) {
		log_refusal(tp, "%s asked for a connection and did not say hello as a node does; refused", name);
		reject(tp, e->id, WIRE_OTHER_VERSION);
		return;
	}
	enum wire_status status = e->id->verbs != tp->verbs || tp->failed ? WIRE_NO_ROOM : judge(tp, e->id, &h);
	if (status != WIRE_WELCOME) log_refusal(tp, "refused %s (it says it is node %u): it %s", name, h.node, reasons[status]);
	else status = others(tp, &h);
	if (status != WIRE_WELCOME) {
		reject(tp, e->id, status);
		return;
	}
	DPI_Tp_Endpoint *c = dpi_verbs_endpoint(tp, e->id, (int)h.node, h.incarnation);
	if (!c) {
		reject(tp, e->id, WIRE_NO_ROOM);
		return;
	}
	memcpy(c->name, name, sizeof c->name);
	c->credits = h.credits < CREDITS ? h.credits : CREDITS;
	c->superseded = h.serial;
	rdma_set_option(e->id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, sizeof timeout);
	dpi_verbs_ack(bytes, &(struct wire_ack){ WIRE_VERSION, WIRE_WELCOME, (uint32_t)tp->core->node, CREDITS, tp->serial, tp->core->incarnation });
	struct rdma_conn_param p = parameters(tp, bytes, WIRE_ACK);
	/* the event has the asker's two the other way round: reads that it would have served, and would serve */
	if (e->responder_resources < p.responder_resources) p.responder_resources = e->responder_resources;
	if (e->initiator_depth < p.initiator_depth) p.initiator_depth = e->initiator_depth;
	c->state = STATE_ACCEPTED;
	tp->refusal[0] = 0;
	if (!dpi_verbs_endpoint_queue(c) && !rdma_accept(e->id, &p)) return;
	const char *why = *tp->refusal ? tp->refusal : strerror(errno);
	dpi_verbs_ack(bytes, &(struct wire_ack){ WIRE_VERSION, WIRE_NO_ROOM, (uint32_t)tp->core->node, CREDITS, tp->serial, 0 });
	/* where nobody waits for the answer any more, the asker's death is why, whatever the device said */
	if (rdma_reject(e->id, bytes, WIRE_ACK)) tp->core->log(tp->core->self, 2, "verbs: %s (node %u) asked for a connection and has gone: %s", name, h.node, why);
	else log_refusal(tp, "refused %s (node %u): there is no room for another connection: %s", name, h.node, why);
	c->state = STATE_GONE;
	tp->graves = true;
}

/* ------------------------------------------------------------------------------------------------ the connecting side */

static void have_address(DPI_Tp_Endpoint *c)
{
	if (c->id->verbs != c->tp->verbs)
		dpi_verbs_give_up(c, DPI_ERR_PEER, "its address is behind another device than %s", c->tp->device);
	else if (rdma_resolve_route(c->id, RESOLVE_MS)) dpi_verbs_give_up(c, DPI_ERR_PEER, "%s", strerror(errno));
	else c->state = STATE_ROUTE;
}

static void have_route(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	uint8_t bytes[WIRE_HELLO];
	struct wire_hello h = { WIRE_VERSION, 0, (uint32_t)tp->core->node, CREDITS, tp->serial, tp->core->incarnation, c->incarnation, { 0 } };
	memcpy(h.token, c->token, WIRE_TOKEN);
	dpi_verbs_hello(bytes, &h);
	struct rdma_conn_param p = parameters(tp, bytes, WIRE_HELLO);
	tp->refusal[0] = 0;
	if (dpi_verbs_endpoint_queue(c))
		dpi_verbs_give_up(c, DPI_ERR_LIMIT, "there is no room for another connection: %s", *tp->refusal ? tp->refusal : "no memory");
	else if (rdma_connect(c->id, &p)) dpi_verbs_give_up(c, DPI_ERR_PEER, "%s", strerror(errno));
	else c->state = STATE_REQUEST;
}

static void refused(DPI_Tp_Endpoint *c, const struct event *e)
{
	struct wire_ack a;
	if (dpi_verbs_ack_parse(e->data, e->size, &a)) {
		dpi_verbs_give_up(c, DPI_ERR_PEER, "nobody listens there, or something that is not a node (the connection manager's reason is %d)", e->status);
		return;
	}
	c->status = (int)a.status;
	switch (a.status) {
	case WIRE_OTHER_VERSION:
		dpi_verbs_give_up(c, DPI_ERR_VERSION, "it speaks version %u of the verbs protocol, this library version %d", a.version, WIRE_VERSION);
		break;
	case WIRE_NO_ROOM: dpi_verbs_give_up(c, DPI_ERR_PEER, "it has no room for another connection"); break;
	case WIRE_ELSEWHERE: dpi_verbs_give_up(c, DPI_ERR_PEER, "it takes connections of its own host only, as there is no cluster key"); break;
	case WIRE_CROSSED: dpi_verbs_give_up(c, DPI_ERR_PEER, "it asked at the same time"); break;
	default: dpi_verbs_give_up(c, DPI_ERR_PEER, "another process is there"); break;
	}
}

static void established(DPI_Tp_Endpoint *c, const struct event *e)
{
	struct wire_ack a;
	if (c->state == STATE_ACCEPTED) dpi_verbs_endpoint_open(c, c->credits);
	if (c->state != STATE_REQUEST) return;
	if (dpi_verbs_ack_parse(e->data, e->size, &a) || a.version != WIRE_VERSION || a.status != WIRE_WELCOME || a.node != (uint32_t)c->node ||
	    a.incarnation != c->incarnation || a.credits < 4)
		dpi_verbs_give_up(c, DPI_ERR_PEER, "another process answered");
	else {
		c->superseded = a.serial;
		dpi_verbs_endpoint_open(c, a.credits);
	}
}

/* -------------------------------------------------------------------------------------------------------------- both */

void dpi_verbs_lose_all(DPI_Tp *tp, const char *why)
{
	tp->failed = true;
	for (DPI_Tp_Endpoint *c = tp->connections; c; c = c->next) {
		if (connecting(c)) dpi_verbs_give_up(c, DPI_ERR_PEER, "%s", why);
		else dpi_verbs_lose(c, "the verbs connection to node %d (%s) broke: device %s: %s", c->node, c->name, tp->device, why);
	}
}

/* A bond has gone over to another of its interfaces, say. Whether packets still get through is found by sending some. */
static void moved(DPI_Tp *tp, const DPI_Tp_Endpoint *c)
{
	const DPI_Tp_Core *core = tp->core;
	static const char what[] = "the network interface has another hardware address, as after a bond's fail-over";
	if (c)
		core->log(core->self, 1, "the verbs connection to node %d (%s): %s; if it does not work from there, it ends when its retries are used up",
			  c->node, c->name, what);
	else core->log(core->self, 1, "device %s: %s; if peers cannot connect any more, look at 'rdma link' and 'ip link'", tp->device, what);
}

static void handle(DPI_Tp *tp, const struct event *e)
{
	DPI_Tp_Endpoint *c = e->id->context;
	tp->events++;
	if (e->type == RDMA_CM_EVENT_CONNECT_REQUEST) {
		asked(tp, e);
		return;
	}
	if (e->type == RDMA_CM_EVENT_DEVICE_REMOVAL) {
		dpi_verbs_lose_all(tp, "it was removed");
		return;
	}
	if (e->type == RDMA_CM_EVENT_ADDR_CHANGE) {
		moved(tp, c);
		return;
	}
	if (!c) return;
	switch (e->type) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
		if (c->state == STATE_ADDRESS) have_address(c);
		break;
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
		if (c->state == STATE_ROUTE) have_route(c);
		break;
	case RDMA_CM_EVENT_ESTABLISHED: established(c, e); break;
	case RDMA_CM_EVENT_REJECTED:
		if (connecting(c)) refused(c, e);
		else dpi_verbs_lose(c, "node %d (%s) gave up connecting", c->node, c->name);
		break;
	case RDMA_CM_EVENT_ADDR_ERROR:
	case RDMA_CM_EVENT_ROUTE_ERROR:
	case RDMA_CM_EVENT_CONNECT_ERROR:
	case RDMA_CM_EVENT_UNREACHABLE:
		if (connecting(c))
			dpi_verbs_give_up(c, e->status == -ETIMEDOUT ? DPI_ERR_TIMEOUT : DPI_ERR_PEER, "%s: %s", rdma_event_str(e->type),
					  strerror(e->status < 0 ? -e->status : EHOSTUNREACH));
		else dpi_verbs_lose(c, "node %d (%s) did not finish connecting", c->node, c->name);
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
		dpi_verbs_poll(tp); /* what it sent before */
		dpi_verbs_lose(c, "node %d (%s) has ended the verbs connection%s", c->node, c->name,
			       c->gone ? "" : " without a word: its process has probably died");
		break;
	default: break;
	}
}

void dpi_verbs_cm_events(DPI_Tp *tp)
{
	struct rdma_cm_event *from;
	while (!rdma_get_cm_event(tp->channel, &from)) {
		if (tp->multicast && from->id == tp->multicast->id) {
			dpi_verbs_multicast_event(tp, from);
			rdma_ack_cm_event(from);
			continue;
		}
		struct event e = { .type = from->event,
				   .status = from->status,
				   .id = from->id,
				   .size = from->param.conn.private_data_len,
				   .responder_resources = from->param.conn.responder_resources,
				   .initiator_depth = from->param.conn.initiator_depth };
		bool conn = e.type == RDMA_CM_EVENT_CONNECT_REQUEST || e.type == RDMA_CM_EVENT_ESTABLISHED || e.type == RDMA_CM_EVENT_REJECTED;
		if (!conn || !from->param.conn.private_data) e.size = 0;
		if (e.size > sizeof e.data) e.size = sizeof e.data;
		if (e.size) memcpy(e.data, from->param.conn.private_data, e.size);
		rdma_ack_cm_event(from);
		handle(tp, &e);
	}
}
