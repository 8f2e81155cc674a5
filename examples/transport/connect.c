/* SPDX-License-Identifier: Apache-2.0
 * connect.c: connections come and go. */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "pipe.h"

DPI_Tp_Endpoint *add_connection(DPI_Tp *tp, int fd)
{
	DPI_Tp_Endpoint *c = calloc(1, sizeof *c);
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
	if (!c || epoll_ctl(tp->epoll, EPOLL_CTL_ADD, fd, &e)) {
		free(c);
		close(fd);
		return NULL;
	}
	c->tp = tp;
	c->fd = fd;
	c->watched = EPOLLIN;
	c->next = tp->connections;
	tp->connections = c;
	return c;
}

void hang_up(DPI_Tp_Endpoint *c)
{
	if (c->fd >= 0) close(c->fd);
	c->fd = -1;
}

/* Off the list, with what it holds. */
void forget(DPI_Tp_Endpoint **at)
{
	DPI_Tp_Endpoint *c = *at;
	*at = c->next;
	hang_up(c);
	for (DPI_Tp_Remote *r; (r = c->remotes);) {
		c->remotes = r->next;
		free(r);
	}
	free(c->out);
	free(c->payload);
	free(c);
}

void bury(DPI_Tp *tp)
{
	for (DPI_Tp_Endpoint **at = &tp->connections; *at;)
		if ((*at)->gone) forget(at);
		else at = &(*at)->next;
}

/* The other side has gone, or said what no correct one says. From progress only. */
void lose(DPI_Tp_Endpoint *c, const char *why)
{
	const DPI_Tp_Core *core = c->tp->core;
	hang_up(c);
	c->tp->events++;
	c->gone |= !c->made;
	if (!c->made) return;
	snprintf(c->why, sizeof c->why, "the connection to node %d ended: %s", c->node, why);
	while (c->answered != c->asked) finish(c, DPI_ERR_PEER, 0);
	if (!c->gone) core->lost(core->self, c->node, c->incarnation, c->why);
}

int pipe_connect(DPI_Tp *tp, uint32_t lane, const DPI_Tp_Peer *peer, int64_t timeout_us, DPI_Tp_Endpoint **out)
{
	struct address a;
	struct sockaddr_un u = {.sun_family = AF_UNIX};
	struct timespec pause = {.tv_nsec = 1000000};
	if (lane) return fail(tp, DPI_ERR_ARGUMENT, "pipe has one lane, not %u", lane + 1);
	if (!peer->same_host) return fail(tp, DPI_ERR_PEER, "node %d is not on this host, pipe reaches no other", peer->node);
	if (peer->address_size == sizeof a) memcpy(&a, peer->address, sizeof a);
	if (peer->address_size != sizeof a || a.magic != ADDRESS_MAGIC || a.name_size > sizeof a.name)
		return fail(tp, DPI_ERR_PEER, "node %d gave no address of pipe; use the same module on every node", peer->node);
	if (a.incarnation != peer->incarnation)
		return fail(tp, DPI_ERR_PEER, "the address is of another process than node %d's of now", peer->node);
	memcpy(u.sun_path, a.name, a.name_size);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) return fail(tp, DPI_ERR_LIMIT, "no socket: %s; raise the limit of open files (ulimit -n)", strerror(errno));
	/* A queue of connections that is full is all there is to wait for: hearing from the other side is not needed. */
	while (connect(fd, (struct sockaddr *)&u, (socklen_t)(sizeof u.sun_family + a.name_size))) {
		bool full = errno == EAGAIN;
		if (full && timeout_us > 0 && !nanosleep(&pause, NULL)) {
			timeout_us -= 1000;
			continue;
		}
		int error = fail(tp, full ? DPI_ERR_TIMEOUT : DPI_ERR_PEER, "node %d cannot be reached: %s; has its process ended?",
				 peer->node, strerror(errno));
		close(fd);
		return error;
	}
	struct message hello = {.op = HELLO, .node = (uint32_t)tp->core->node, .word = a.token[0], .value = a.token[1]};
	DPI_Tp_Endpoint *c = add_connection(tp, fd);
	if (!c || !append(c, &hello, 0)) {
		if (c) forget(&tp->connections);
		return fail(tp, DPI_ERR_MEMORY, "no memory for a connection to node %d", peer->node);
	}
	c->made = true;
	c->node = peer->node;
	c->incarnation = peer->incarnation;
	transmit(c);
	*out = c;
	return DPI_SUCCESS;
}

/* Inside progress the connection's event may still be in the list of those at hand. */
void pipe_disconnect(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	hang_up(c);
	c->gone = true;
	snprintf(c->why, sizeof c->why, "node %d has been disconnected", c->node);
	while (c->answered != c->asked) finish(c, DPI_ERR_PEER, 0);
	if (!tp->inside) bury(tp);
}
