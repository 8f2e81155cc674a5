/* SPDX-License-Identifier: Apache-2.0
 * queue.c: what a connection has to send, and operations that end. */
#include <sys/epoll.h>
#include <sys/socket.h>

#include "pipe.h"

/* What epoll is to say: bytes to read, unless enough answers wait, and room where bytes wait. */
static void watch(DPI_Tp_Endpoint *c)
{
	uint32_t events = (c->made || c->to - c->from < QUEUE ? EPOLLIN : 0) | (c->from < c->to ? EPOLLOUT : 0);
	struct epoll_event e = {.events = events, .data.ptr = c};
	if (c->fd < 0 || events == c->watched) return;
	epoll_ctl(c->tp->epoll, EPOLL_CTL_MOD, c->fd, &e);
	c->watched = events;
}

void transmit(DPI_Tp_Endpoint *c)
{
	while (!c->broken && c->from < c->to) {
		ssize_t n = send(c->fd, c->out + c->from, c->to - c->from, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0 && errno != EAGAIN) c->broken = true;
		if (n < 0) break;
		c->from += (size_t)n;
	}
	if (c->from == c->to) c->from = c->to = 0;
	watch(c);
}

/* Room for so many bytes more; NULL: no memory. */
static uint8_t *room(DPI_Tp_Endpoint *c, uint64_t size)
{
	if (size > c->room - c->to && c->from) {
		memmove(c->out, c->out + c->from, c->to - c->from);
		c->to -= c->from;
		c->from = 0;
	}
	if (size > c->room - c->to) {
		uint8_t *more = size < SIZE_MAX / 4 ? realloc(c->out, 2 * (c->to + size)) : NULL;
		if (!more) return NULL;
		c->out = more;
		c->room = 2 * (c->to + size);
	}
	return c->out + c->to;
}

/* A message, with room for its payload behind it. */
uint8_t *append(DPI_Tp_Endpoint *c, const struct message *m, uint64_t payload)
{
	uint8_t *at = room(c, sizeof *m + payload);
	if (!at) return NULL;
	memcpy(at, m, sizeof *m);
	c->to += sizeof *m + payload;
	return at + sizeof *m;
}

/* An operation ends. It is off the books before the core hears of it. */
void finish(DPI_Tp_Endpoint *c, int error, uint64_t result)
{
	const DPI_Tp_Core *core = c->tp->core;
	struct request *q = &c->request[c->answered++ % OUTSTANDING];
	c->tp->events++;
	if (q->cancelled) return;
	if (q->remote) q->remote->pending--;
	core->complete(core->self, q->cookie, error, result);
}
