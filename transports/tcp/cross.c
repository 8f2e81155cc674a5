/* SPDX-License-Identifier: Apache-2.0
 * cross.c: two nodes that connect to each other at once end with one connection.
 *
 * The lower of the two, by number, then by incarnation, decides. A node asks from its hello until the answer. A hello of the
 * higher one that finds the lower one asking is held: neither answered nor refused. A hello of the lower one that finds the
 * higher one asking is answered with CROSSED: welcome, but nothing is done on that connection until KEEP comes over it.
 * When the lower one is answered it sends KEEP, if it was CROSSED, and closes what it holds; when it is not, because the
 * address was another process's or time was up, it closes its own and answers what it holds. So the higher one gets one of
 * the two, whatever is lost or late, and nothing has been sent over the other, whose end nobody takes for a death.
 *
 * A hello of before may still come when the connection is made. Hellos are numbered, and the two ends of a connection know up
 * to which the other's are superseded by it: such a one is closed. A later one is of a peer that has given the connection up. */
#include <errno.h>
#include <sys/socket.h>

#include "tcp.h"

static bool again(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

/* Numbers go round. */
static bool later(uint32_t serial, uint32_t than)
{
	return (int32_t)(serial - than) > 0;
}

static bool is_lower(const DPI_Tp *tp, int node, uint64_t incarnation)
{
	return tp->core->node < node || (tp->core->node == node && tp->core->incarnation < incarnation);
}

bool dpi_tcp_is_asking(const DPI_Tp *tp, int node, uint64_t incarnation)
{
	return tp->asking.said && tp->asking.node == node && tp->asking.incarnation == incarnation;
}

bool dpi_tcp_defer(DPI_Tp_Endpoint *c, const struct wire_hello *h)
{
	DPI_Tp *tp = c->tp;
	for (DPI_Tp_Endpoint *o = tp->connections; o; o = o->next)
		if ((o->state == STATE_OPEN || o->state == STATE_UNSURE) && o->node == (int)h->node &&
		    o->incarnation == h->incarnation && !later(h->serial, o->superseded)) {
			dpi_tcp_dismiss(c);
			return true;
		}
	if (!dpi_tcp_is_asking(tp, (int)h->node, h->incarnation) || !is_lower(tp, (int)h->node, h->incarnation)) return false;
	if (tp->held) dpi_tcp_dismiss(tp->held); /* the peer tries another address */
	tp->held = c;
	return true;
}

/* Its peer has given it up, or says more before it is answered, which no correct one does. */
void dpi_tcp_held(DPI_Tp_Endpoint *c)
{
	uint8_t byte;
	if (!again(recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT))) dpi_tcp_dismiss(c);
}

void dpi_tcp_unsure(DPI_Tp_Endpoint *c)
{
	const DPI_Tp_Core *core = c->tp->core;
	struct wire_frame f;
	ssize_t n = recv(c->fd, c->hello + c->head, 8 - c->head, MSG_DONTWAIT);
	if (again(n)) return;
	if (n > 0) c->head += (uint32_t)n;
	if (n > 0 && c->head < 8) return;
	c->tp->events++;
	if (n > 0 && wire_parse(c->hello, 8, &f) == 8 && f.op == WIRE_KEEP) {
		c->head = 0;
		c->state = STATE_OPEN;
		return;
	}
	if (n > 0)
		core->log(core->self, 1, "tcp: node %d (%s) did not say whether its connection stays; closed", c->node, c->name);
	dpi_tcp_dismiss(c);
}

int dpi_tcp_answered(DPI_Tp *tp, int fd, const struct wire_ack *ack)
{
	DPI_Tp_Endpoint *held = tp->held;
	struct wire_hello h;
	uint8_t keep[8];
	tp->asking.said = false;
	tp->held = NULL;
	if (held && !dpi_tcp_wire_parse_hello(held->hello, &h) && later(h.serial, ack->serial))
		dpi_tcp_welcome(held, &h, WIRE_WELCOME);
	else if (held)
		dpi_tcp_dismiss(held);
	if (ack->status != WIRE_CROSSED) return 0;
	wire_write(keep, &(struct wire_frame){ .op = WIRE_KEEP }, 1);
	return send(fd, keep, sizeof keep, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof keep ? 0 : -1;
}

void dpi_tcp_unanswered(DPI_Tp *tp)
{
	DPI_Tp_Endpoint *held = tp->held;
	struct wire_hello h;
	tp->asking.said = false;
	tp->held = NULL;
	if (held && !dpi_tcp_wire_parse_hello(held->hello, &h)) dpi_tcp_welcome(held, &h, WIRE_WELCOME);
}
