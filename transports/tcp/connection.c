/* SPDX-License-Identifier: Apache-2.0
 * connection.c: a connection's life: made, lost, given up, freed. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tcp.h"

DPI_Tp_Endpoint *dpi_tcp_connection(DPI_Tp *tp, int fd, const char *name)
{
	DPI_Tp_Endpoint *c = calloc(1, sizeof *c);
	if (!c) return NULL;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	c->tp = tp;
	c->fd = fd;
	c->node = -1;
	snprintf(c->name, sizeof c->name, "%s", name);
	c->next = tp->connections;
	c->link = &tp->connections;
	if (c->next) c->next->link = &c->next;
	tp->connections = c;
	return c;
}

int dpi_tcp_connection_open(DPI_Tp_Endpoint *c)
{
	c->rx = malloc(RECEIVE_BUFFER);
	c->tx = malloc(SEND_BUFFER);
	c->stage = malloc(STAGE);
	c->piece = malloc(PIECES * sizeof *c->piece);
	c->request = malloc(OUTSTANDING * sizeof *c->request);
	if (!c->rx || !c->tx || !c->stage || !c->piece || !c->request) return -1;
	c->ahead = AHEAD_FIRST;
	c->head = c->tail = 0;
	c->state = STATE_OPEN;
	return 0;
}

void dpi_tcp_heat(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	DPI_Tp_Endpoint **coolest = &tp->hot[0];
	c->looks = 0;
	for (int i = 0; i < HOT; i++) {
		if (tp->hot[i] == c) return;
		if (*coolest && (!tp->hot[i] || tp->hot[i]->looks > (*coolest)->looks)) coolest = &tp->hot[i];
	}
	*coolest = c;
}

void dpi_tcp_mark(DPI_Tp_Endpoint *c)
{
	if (c->dirty) return;
	c->dirty = true;
	c->next_dirty = c->tp->dirty;
	c->tp->dirty = c;
}

/* The socket goes; the structure stays. */
static void stop(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	for (int i = 0; i < HOT; i++)
		if (tp->hot[i] == c) tp->hot[i] = NULL;
	if (c->blocked) tp->blocked--;
	c->blocked = false;
	if (c->fd >= 0) close(c->fd);
	c->fd = -1;
}

/* Complete what is pending. Each operation is taken off before its callback, which may come back here. */
static void drop(DPI_Tp_Endpoint *c)
{
	const DPI_Tp_Core *core = c->tp->core;
	c->body = (struct tcp_body){ 0 };
	while (c->reported != c->end) {
		struct tcp_piece *p = &c->piece[c->reported % PIECES];
		bool unsent = c->reported == c->sent;
		c->reported++;
		if (unsent) c->sent++;
		if (p->kind == PIECE_ANSWER && unsent) p->window->answers--;
		if (p->kind == PIECE_KEPT && unsent) dpi_tcp_unkeep(c, p);
		if (p->kind != PIECE_LAST) continue;
		p->remote->pending--;
		core->complete(core->self, p->cookie, DPI_ERR_PEER, 0);
	}
	while (c->answered != c->asked) {
		struct tcp_request *q = &c->request[c->answered++ % OUTSTANDING];
		if (q->remote) q->remote->pending--;
		if (!q->cancelled) core->complete(core->self, q->cookie, DPI_ERR_PEER, 0);
	}
}

static void farewell(DPI_Tp_Endpoint *c, enum wire_op op, const char *text, size_t size)
{
	struct wire_frame f = { .op = op, .length = (uint32_t)size };
	if (c->broken || tcp_queued(c) + 8 + size > SEND_BUFFER) return;
	tcp_append_frame(c, &f);
	tcp_append(c, text, size);
	dpi_tcp_transmit(c);
}

void dpi_tcp_goodbye(DPI_Tp_Endpoint *c)
{
	farewell(c, WIRE_BYE, NULL, 0);
}

void dpi_tcp_lose(DPI_Tp_Endpoint *c, const char *format, ...)
{
	const DPI_Tp_Core *core = c->tp->core;
	va_list args;
	if (c->state != STATE_OPEN) return;
	va_start(args, format);
	vsnprintf(c->why, sizeof c->why, format, args);
	va_end(args);
	c->state = STATE_LOST;
	stop(c);
	c->tp->events++;
	drop(c);
	if (c->state != STATE_LOST) return; /* disconnected by a callback */
	if (c->claimed) {
		core->lost(core->self, c->node, c->incarnation, c->why);
		return;
	}
	core->log(core->self, 3, "tcp: %s", c->why);
	c->state = STATE_GONE;
	c->tp->graves = true;
}

void dpi_tcp_refuse(DPI_Tp_Endpoint *c, const char *format, ...)
{
	const DPI_Tp_Core *core = c->tp->core;
	char text[WIRE_MAX_ERROR];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	core->log(core->self, 1, "tcp: ending the connection of node %d (%s), which sent what no correct peer sends: %s",
		  c->node, c->name, text);
	farewell(c, WIRE_ERROR, text, strlen(text));
	dpi_tcp_lose(c,
		     "node %d (%s) sent what no correct peer sends: %s; this is a "
		     "defect, or the nodes run different libraries",
		     c->node, c->name, text);
}

int dpi_tcp_dead(const DPI_Tp_Endpoint *c)
{
	if (c->state == STATE_OPEN)
		return tcp_fail(c->tp, DPI_ERR_PEER,
				"the tcp connection to node %d (%s) broke: %s; its process has probably died",
				c->node, c->name, strerror(c->broken));
	return tcp_fail(c->tp, DPI_ERR_PEER, "%s", c->why);
}

void dpi_tcp_forget(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	if (c->state == STATE_HELLO) tp->strangers--;
	stop(c);
	for (DPI_Tp_Endpoint **p = &tp->dirty; *p; p = &(*p)->next_dirty)
		if (*p == c) {
			*p = c->next_dirty;
			break;
		}
	*c->link = c->next;
	if (c->next) c->next->link = c->link;
	for (uint32_t i = c->sent; i != c->end; i++)
		if (c->piece[i % PIECES].kind == PIECE_KEPT) free(c->piece[i % PIECES].kept);
	free(c->rx);
	free(c->tx);
	free(c->stage);
	free(c->piece);
	free(c->request);
	free(c);
}

void dpi_tcp_bury(DPI_Tp *tp)
{
	DPI_Tp_Endpoint *c, *next;
	tp->graves = false;
	for (c = tp->connections; c; c = next) {
		next = c->next;
		if (c->state == STATE_GONE) dpi_tcp_forget(c);
	}
}

void dpi_tcp_disconnect(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	bool inside = tp->inside;
	tp->inside = true; /* nothing is freed while callbacks run */
	if (c->state == STATE_OPEN) dpi_tcp_goodbye(c);
	snprintf(c->why, sizeof c->why, "node %d has been disconnected", c->node);
	c->state = STATE_GONE;
	stop(c);
	drop(c);
	for (DPI_Tp_Remote *r = tp->remotes, *next; r; r = next) {
		next = r->next;
		if (r->endpoint == c) dpi_tcp_detach(r);
	}
	tp->graves = true;
	tp->inside = inside;
	if (!inside) dpi_tcp_bury(tp);
}
