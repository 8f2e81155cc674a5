/* SPDX-License-Identifier: Apache-2.0
 * link.c: a link's life: made, lost, given up, freed. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "fabric.h"

/* The libfabric endpoint goes, and with it all that the provider does for it; the structure stays. */
static void stop(DPI_Tp_Endpoint *c)
{
	if (!c->ep) return;
	if (c->tp->choice.message) fi_shutdown(c->ep, 0);
	dpi_fabric_ungrant_all(c); /* first: regions may be bound to the endpoint */
	fi_close(&c->ep->fid);
	c->ep = NULL;
	dpi_fabric_orphan(c);
	c->broken = 0; /* there is nothing left to be done for it */
	c->stuck = 0;
	if (c->to != FI_ADDR_UNSPEC) fi_av_remove(c->tp->av, &c->to, 1, 0);
	c->to = FI_ADDR_UNSPEC;
}

static int open_endpoint(DPI_Tp_Endpoint *c, struct fi_info *info)
{
	DPI_Tp *tp = c->tp;
	int error = fi_endpoint(tp->domain, info, &c->ep, c);
	if (error) {
		c->ep = NULL;
		return error;
	}
	if (tp->eq) error = fi_ep_bind(c->ep, &tp->eq->fid, 0);
	if (!error && tp->av) error = fi_ep_bind(c->ep, &tp->av->fid, 0);
	if (!error) error = fi_ep_bind(c->ep, &tp->cq->fid, FI_TRANSMIT | FI_RECV);
	if (!error) error = fi_enable(c->ep);
	for (int i = 0; i < RECEIVES && !error; i++) {
		struct fabric_op *op = dpi_fabric_op(c, OP_RECEIVE);
		error = op ? dpi_fabric_receive(c, op) : -FI_ENOMEM;
		if (error == -FI_EAGAIN && i) error = 0, i = RECEIVES; /* its queue is shorter than that: fewer, then */
	}
	return error;
}

DPI_Tp_Endpoint *dpi_fabric_link(DPI_Tp *tp, struct fi_info *info, enum fabric_state state)
{
	DPI_Tp_Endpoint *c = calloc(1, sizeof *c);
	if (c && state != STATE_DOOR) c->request = malloc(OUTSTANDING * sizeof *c->request);
	if (!c || (state != STATE_DOOR && !c->request)) {
		free(c);
		fabric_fail(tp, DPI_ERR_MEMORY, "no memory for a libfabric link");
		return NULL;
	}
	c->tp = tp;
	c->state = state;
	c->node = -1;
	c->to = FI_ADDR_UNSPEC;
	c->credits = CREDITS;
	c->tail = &c->head;
	c->tag = dpi_fabric_random(tp) & WIRE_TAG;
	c->heard = dpi_fabric_now();
	int error = open_endpoint(c, info);
	if (error) {
		stop(c);
		free(c->request);
		free(c);
		dpi_fabric_fail(tp, error, "an endpoint cannot be opened");
		if (state == STATE_HELLO || state == STATE_OPEN) /* no call of this node's says it */
			dpi_fabric_log(tp, "an endpoint for a peer that connects cannot be opened: %s: %s", fi_strerror(-error),
				       dpi_fabric_error(error)->meaning);
		return NULL;
	}
	if (state == STATE_DOOR) return c;
	c->next = tp->links;
	c->link = &tp->links;
	if (c->next) c->next->link = &c->next;
	tp->links = c;
	return c;
}

void dpi_fabric_goodbye(DPI_Tp_Endpoint *c)
{
	struct wire_frame f = { .op = WIRE_BYE };
	if (!c->broken) dpi_fabric_message(c, &f, NULL, 0, false);
}

void dpi_fabric_lose(DPI_Tp_Endpoint *c, const char *format, ...)
{
	DPI_Tp *tp = c->tp;
	const DPI_Tp_Core *core = tp->core;
	enum fabric_state was = c->state;
	va_list args;
	if (was == STATE_LOST || was == STATE_GONE || was == STATE_DOOR) return;
	va_start(args, format);
	vsnprintf(c->why, sizeof c->why, format, args);
	va_end(args);
	if (was == STATE_HELLO) tp->strangers--;
	c->state = STATE_LOST;
	tp->events++;
	stop(c);
	dpi_fabric_drop(c);
	if (c->state != STATE_LOST) return; /* disconnected by a callback */
	if (was == STATE_OPENING) {
		if (!c->refused) c->refused = DPI_ERR_PEER; /* connect says it and frees the link */
	} else if (c->claimed) {
		core->lost(core->self, c->node, c->incarnation, c->why);
	} else {
		core->log(core->self, 3, "libfabric: %s", c->why);
		c->state = STATE_GONE;
		tp->graves = true;
	}
}

void dpi_fabric_broke(DPI_Tp_Endpoint *c, int code)
{
	const struct fabric_error *e = dpi_fabric_error(code);
	if (!c->tp->choice.message && c->state == STATE_OPEN) { /* nothing else tells the peer */
		c->broken = 0;
		dpi_fabric_goodbye(c);
	}
	dpi_fabric_lose(c, "the %s link to node %d broke: %s; %s", c->tp->choice.name, c->node, fi_strerror(code < 0 ? -code : code), e->meaning);
}

void dpi_fabric_refuse(DPI_Tp_Endpoint *c, const char *format, ...)
{
	const DPI_Tp_Core *core = c->tp->core;
	char text[WIRE_TEXT];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (c->state == STATE_OPEN) {
		struct wire_frame f = { .op = WIRE_ERROR };
		struct iovec v = { text, strlen(text) };
		core->log(core->self, 1, "libfabric: ending the link of node %d, which sent what no correct peer sends: %s", c->node, text);
		if (!c->broken) dpi_fabric_message(c, &f, &v, 1, false);
	}
	dpi_fabric_lose(c, "node %d sent what no correct peer sends: %s; this is a defect, or the nodes run different libraries", c->node, text);
}

int dpi_fabric_dead(const DPI_Tp_Endpoint *c)
{
	if (c->state == STATE_OPEN)
		return fabric_fail(c->tp, DPI_ERR_PEER, "the %s link to node %d broke: %s; %s", c->tp->choice.name, c->node,
				   fi_strerror(c->broken), dpi_fabric_error(c->broken)->meaning);
	return fabric_fail(c->tp, DPI_ERR_PEER, "%s", c->why);
}

void dpi_fabric_forget(DPI_Tp_Endpoint *c)
{
	if (c->state == STATE_HELLO) c->tp->strangers--;
	stop(c);
	while (c->head) {
		struct fabric_item *i = c->head;
		c->head = i->next;
		dpi_fabric_item_free(c, i);
	}
	while (c->flying) {
		struct fabric_item *i = c->flying;
		c->flying = i->next;
		dpi_fabric_item_free(c, i);
	}
	if (c->link) {
		*c->link = c->next;
		if (c->next) c->next->link = c->link;
	}
	free(c->request);
	free(c);
}

void dpi_fabric_bury(DPI_Tp *tp)
{
	DPI_Tp_Endpoint *c, *next;
	tp->graves = false;
	for (c = tp->links; c; c = next) {
		next = c->next;
		if (c->state == STATE_GONE) dpi_fabric_forget(c);
	}
}

void dpi_fabric_disconnect(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	bool inside = tp->inside;
	tp->inside = true; /* nothing is freed while callbacks run */
	if (c->state == STATE_OPEN) dpi_fabric_goodbye(c);
	snprintf(c->why, sizeof c->why, "node %d has been disconnected", c->node);
	c->state = STATE_GONE;
	stop(c);
	dpi_fabric_drop(c);
	for (DPI_Tp_Remote *r = tp->remotes, *next; r; r = next) {
		next = r->next;
		if (r->endpoint == c) dpi_fabric_detach(r);
	}
	tp->graves = true;
	tp->inside = inside;
	if (!inside) dpi_fabric_bury(tp);
}
