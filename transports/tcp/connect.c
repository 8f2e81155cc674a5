/* SPDX-License-Identifier: Apache-2.0
 * connect.c: how connections come about, from both sides. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <fcntl.h>

#include "tcp.h"

enum { FIRST_US = 2000000 }; /* for one address of several */

/* Strangers can knock as often as they like: one line a second tells of them. */
static void log_refusal(DPI_Tp *tp, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void log_refusal(DPI_Tp *tp, const char *format, ...)
{
	const DPI_Tp_Core *core = tp->core;
	char text[WHY_MAX];
	int64_t now = dpi_tcp_now();
	va_list args;
	if (now < tp->log_at) {
		tp->unlogged++;
		return;
	}
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (tp->unlogged)
		core->log(core->self, 1, "tcp: %s (and %u like it before)", text, tp->unlogged);
	else
		core->log(core->self, 1, "tcp: %s", text);
	tp->log_at = now + 1000000;
	tp->unlogged = 0;
}

/* ------------------------------------------------------------------------------------------------ the accepting side */

static bool watch(DPI_Tp_Endpoint *c)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
	return !epoll_ctl(c->tp->epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
}

void dpi_tcp_dismiss(DPI_Tp_Endpoint *c)
{
	if (c->state == STATE_HELLO) c->tp->strangers--;
	if (c->tp->held == c) c->tp->held = NULL;
	close(c->fd);
	c->fd = -1;
	c->state = STATE_GONE;
	c->tp->graves = true;
}

DPI_Tp_Endpoint *dpi_tcp_adopt(DPI_Tp *tp, int fd, const char *name)
{
	DPI_Tp_Endpoint *c = dpi_tcp_connection(tp, fd, name);
	if (!c) {
		close(fd);
		return NULL;
	}
	c->state = STATE_HELLO;
	c->deadline = dpi_tcp_now() + HELLO_US;
	if (++tp->strangers > STRANGERS) {
		DPI_Tp_Endpoint *oldest = NULL;
		for (DPI_Tp_Endpoint *i = c->next; i; i = i->next)
			if (i->state == STATE_HELLO && i != tp->held) oldest = i;
		if (oldest) {
			log_refusal(tp, "%d connections have not said hello; closing the oldest, of %s", STRANGERS,
				    oldest->name);
			dpi_tcp_dismiss(oldest);
		}
	}
	if (!watch(c))
		dpi_tcp_dismiss(c);
	else
		dpi_tcp_hello(c); /* it is often here already */
	return c->state == STATE_GONE ? NULL : c;
}

/* Is it one for this process? The token is compared in a time that does not depend on where it differs. */
static enum wire_status judge(const DPI_Tp *tp, const struct wire_hello *h)
{
	unsigned difference = 0;
	if (h->version != WIRE_VERSION) return WIRE_OTHER_VERSION;
	for (int i = 0; i < WIRE_TOKEN; i++) difference |= h->token[i] ^ tp->self.token[i];
	if (difference) return WIRE_OTHER_TOKEN;
	return h->target_incarnation == tp->core->incarnation ? WIRE_WELCOME : WIRE_OTHER_INCARNATION;
}

void dpi_tcp_hello(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	struct wire_hello h;
	if (c == tp->held) {
		dpi_tcp_held(c);
		return;
	}
	ssize_t n = recv(c->fd, c->hello + c->head, WIRE_HELLO - c->head, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
	if (n > 0) c->head += (uint32_t)n;
	if (n > 0 && c->head < WIRE_HELLO) return;
	if (n <= 0 || dpi_tcp_wire_parse_hello(c->hello, &h)) {
		if (n > 0) log_refusal(tp, "%s connected and did not say hello as a node does; closed", c->name);
		dpi_tcp_dismiss(c);
		return;
	}
	enum wire_status status = judge(tp, &h);
	if (status == WIRE_WELCOME) {
		if (dpi_tcp_defer(c, &h)) return;
		if (dpi_tcp_is_asking(tp, (int)h.node, h.incarnation)) status = WIRE_CROSSED;
	}
	dpi_tcp_welcome(c, &h, status);
}

void dpi_tcp_welcome(DPI_Tp_Endpoint *c, const struct wire_hello *h, enum wire_status status)
{
	DPI_Tp *tp = c->tp;
	uint8_t bytes[WIRE_ACK];
	bool crossed = status == WIRE_CROSSED;
	if (crossed) status = WIRE_WELCOME;
	if (status == WIRE_WELCOME && dpi_tcp_connection_open(c)) status = WIRE_NO_MEMORY;
	struct wire_ack a = { WIRE_VERSION, (uint16_t)status, (uint32_t)tp->core->node, tp->serial, tp->core->incarnation };
	if (status != WIRE_WELCOME) a.incarnation = 0;
	else if (crossed) a.status = WIRE_CROSSED;
	dpi_tcp_wire_ack(bytes, &a);
	ssize_t n = send(c->fd, bytes, WIRE_ACK, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (status != WIRE_WELCOME || n != WIRE_ACK) {
		static const char *const why[] = { "went away", "speaks another version of the protocol",
						   "does not know this node's token",
						   "looks for an earlier process at this address", "found no memory here" };
		log_refusal(tp, "refused %s (it says it is node %u): it %s", c->name, h->node, why[status]);
		c->state = STATE_HELLO;
		dpi_tcp_dismiss(c);
		return;
	}
	tp->strangers--;
	tp->events++;
	c->state = crossed ? STATE_UNSURE : STATE_OPEN;
	c->node = (int)h->node;
	c->incarnation = h->incarnation;
	c->superseded = h->serial;
}

/* No descriptor is left: one kept in reserve takes the connection, to close it; else it would stay in the queue and
 * keep progress busy. */
static bool turn_away(DPI_Tp *tp)
{
	if (tp->spare_fd >= 0) close(tp->spare_fd);
	int fd = accept4(tp->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0) close(fd);
	tp->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	log_refusal(tp, "a connection was turned away: the process has no free file descriptor; raise 'ulimit -n'");
	return fd >= 0;
}

void dpi_tcp_accept(DPI_Tp *tp)
{
	for (int i = 0; i < STRANGERS / 2; i++) {
		struct sockaddr_storage from;
		socklen_t length = sizeof from;
		char name[64];
		int fd = accept4(tp->listen_fd, (struct sockaddr *)&from, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EMFILE || errno == ENFILE) && turn_away(tp)) continue;
		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED || errno == EPROTO)) continue;
		if (fd < 0) return;
		dpi_tcp_name(&from, name, sizeof name);
		dpi_tcp_adopt(tp, fd, name);
	}
}

void dpi_tcp_expire(DPI_Tp *tp)
{
	int64_t now = dpi_tcp_now();
	for (DPI_Tp_Endpoint *c = tp->connections; c; c = c->next)
		if (c->state == STATE_HELLO && c != tp->held && c->deadline < now) {
			log_refusal(tp, "%s connected and said nothing for %d s; closed", c->name, HELLO_US / 1000000);
			dpi_tcp_dismiss(c);
		}
}

/* ------------------------------------------------------------------------------------------------ the connecting side */

/* One attempt. */
struct attempt {
	DPI_Tp *tp;
	const DPI_Tp_Peer *peer;
	const struct tcp_address *address;
	int64_t deadline;
	int error; /* class of a failure */
	bool over; /* it holds for every address */
	bool taken; /* the peer has made a connection meanwhile */
	char why[160];
	struct wire_ack ack;
};

static int failed(struct attempt *a, int fd, int error, const char *format, ...) __attribute__((format(printf, 4, 5)));
static int failed(struct attempt *a, int fd, int error, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(a->why, sizeof a->why, format, args);
	va_end(args);
	a->error = error;
	if (fd >= 0) close(fd);
	return -1;
}

static DPI_Tp_Endpoint *find(DPI_Tp *tp, const DPI_Tp_Peer *peer, enum tcp_state state)
{
	for (DPI_Tp_Endpoint *c = tp->connections; c; c = c->next)
		if (c->state == state && !c->claimed && !c->broken && c->node == peer->node && c->incarnation == peer->incarnation)
			return c;
	return NULL;
}

/* Wait for fd and serve everybody else meanwhile: the peer may be waiting for this node in the same way. false: time is up, or
 * the peer has made a connection. Without fd: wait while it may. */
static bool wait_for(struct attempt *a, int fd, short events)
{
	for (;;) {
		struct pollfd p[2] = { { .fd = fd, .events = events }, { .fd = a->tp->epoll_fd, .events = POLLIN } };
		a->tp->ticks = POLL_EVERY; /* look at the listening socket too */
		dpi_tcp_progress(a->tp, 0, NULL);
		a->taken = find(a->tp, a->peer, STATE_OPEN) != NULL;
		if (a->taken || (fd < 0 && !find(a->tp, a->peer, STATE_UNSURE))) return false;
		int64_t left = a->deadline - dpi_tcp_now();
		if (left < 0) left = 0;
		struct timespec t = { left / 1000000, left % 1000000 * 1000 };
		if (ppoll(p, 2, &t, NULL) > 0 && p[0].revents) return true;
		if (!left) return false;
	}
}

static int refused(struct attempt *a, int fd, const struct wire_ack *ack)
{
	a->over = true;
	switch (ack->status) {
	case WIRE_WELCOME:
	case WIRE_CROSSED: break;
	case WIRE_OTHER_VERSION:
		return failed(a, fd, DPI_ERR_VERSION, "it speaks version %u of the tcp protocol, this library version %d",
			      ack->version, WIRE_VERSION);
	case WIRE_NO_MEMORY: return failed(a, fd, DPI_ERR_PEER, "it has no memory for another connection");
	default: a->over = false; return failed(a, fd, DPI_ERR_PEER, "another process is there");
	}
	a->over = false;
	if (ack->version != WIRE_VERSION || ack->node != (uint32_t)a->peer->node || ack->incarnation != a->peer->incarnation)
		return failed(a, fd, DPI_ERR_PEER, "another process answered");
	return fd;
}

/* The socket, connected and welcomed; -1 with error and why. */
static int attempt(struct attempt *a, const struct tcp_host *host, struct sockaddr_storage *to)
{
	const DPI_Tp_Core *core = a->tp->core;
	struct wire_hello hello = { WIRE_VERSION, { 0 }, (uint32_t)core->node, ++a->tp->serial, core->incarnation,
				    a->peer->incarnation };
	uint8_t bytes[WIRE_HELLO];
	int error = 0;
	socklen_t length = dpi_tcp_host_socket(host, a->address->port, to), size = sizeof error;
	int fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		error = errno;
		a->over = error == EMFILE || error == ENFILE;
		return failed(a, -1, a->over ? DPI_ERR_LIMIT : DPI_ERR_PEER, "%s", strerror(error));
	}
	if (connect(fd, (struct sockaddr *)to, length) && errno != EINPROGRESS)
		return failed(a, fd, DPI_ERR_PEER, "%s", strerror(errno));
	if (!wait_for(a, fd, POLLOUT)) return failed(a, fd, DPI_ERR_TIMEOUT, "no answer in time");
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) || error)
		return failed(a, fd, error == ETIMEDOUT ? DPI_ERR_TIMEOUT : DPI_ERR_PEER, "%s",
			      strerror(error ? error : errno));
	memcpy(hello.token, a->address->token, WIRE_TOKEN);
	dpi_tcp_wire_hello(bytes, &hello);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	a->tp->asking.node = a->peer->node;
	a->tp->asking.incarnation = a->peer->incarnation;
	a->tp->asking.said = true;
	if (send(fd, bytes, WIRE_HELLO, MSG_NOSIGNAL) != WIRE_HELLO)
		return failed(a, fd, DPI_ERR_PEER, "%s", strerror(errno));
	for (size_t got = 0; got < WIRE_ACK;) {
		if (!wait_for(a, fd, POLLIN))
			return failed(a, fd, DPI_ERR_TIMEOUT, "connected, but it did not answer in time");
		ssize_t n = recv(fd, bytes + got, WIRE_ACK - got, MSG_DONTWAIT);
		if (n > 0)
			got += (size_t)n;
		else if (n == 0)
			return failed(a, fd, DPI_ERR_PEER, "it closed the connection");
		else if (errno != EAGAIN && errno != EINTR)
			return failed(a, fd, DPI_ERR_PEER, "%s", strerror(errno));
	}
	if (dpi_tcp_wire_parse_ack(bytes, &a->ack)) return failed(a, fd, DPI_ERR_PEER, "something that is not a node answered");
	fd = refused(a, fd, &a->ack);
	if (fd < 0 || !dpi_tcp_answered(a->tp, fd, &a->ack)) return fd;
	return failed(a, fd, DPI_ERR_PEER, "%s", strerror(errno));
}

/* The order in which to try: loopback first on one host; else last, and only if there is nothing else, since behind it
 * stands another machine's process. Between, what lies in a network that this host is in goes before the rest. */
static unsigned order(const struct tcp_address *a, bool same_host, const struct tcp_host *to[HOSTS])
{
	unsigned count = 0;
	for (int loopback = same_host; loopback >= 0 && loopback <= 1; loopback += same_host ? -1 : 1)
		for (int far = 0; far < 2; far++)
			for (unsigned i = 0; i < a->hosts; i++)
				if (dpi_tcp_host_is_loopback(&a->host[i]) == loopback && (!loopback || same_host || !count) &&
				    dpi_tcp_host_is_near(&a->host[i]) == !far)
					to[count++] = &a->host[i];
	return count;
}

int dpi_tcp_connect(DPI_Tp *tp, uint32_t lane, const DPI_Tp_Peer *peer, int64_t timeout_us, DPI_Tp_Endpoint **endpoint)
{
	const struct tcp_host *host[HOSTS];
	struct tcp_address address;
	struct sockaddr_storage to;
	char tried[HOSTS * 96] = "", name[64];
	size_t used = 0;
	int64_t start = dpi_tcp_now(), end;
	if (lane) return tcp_fail(tp, DPI_ERR_ARGUMENT, "tcp has one lane, there is no lane %u", lane);
	if (dpi_tcp_address_parse(peer->address, peer->address_size, &address) || address.incarnation != peer->incarnation)
		return tcp_fail(tp, DPI_ERR_PEER,
				"the tcp address of node %d is %s; use the same library "
				"on every node and start a dead node anew",
				peer->node,
				address.hosts ? "that of an earlier or later process" : "not one this library understands");
	if (timeout_us < 0) timeout_us = 0;
	end = timeout_us > INT64_MAX - start ? INT64_MAX : start + timeout_us;
	struct attempt a = { .tp = tp, .peer = peer, .address = &address, .error = DPI_ERR_PEER, .deadline = start };
	unsigned hosts = order(&address, peer->same_host, host);
	int fd = -1;
	bool late = false;
	wait_for(&a, -1, 0); /* the peer's may be there, or about to be */
	/* at first none of several may take long, so that one that does not answer holds up nobody; then each its share */
	for (unsigned n = 0; n < 2 * hosts && fd < 0 && !a.over && !a.taken; n++) {
		unsigned i = n % hosts;
		int64_t now = dpi_tcp_now();
		if (now >= end && n) break;
		a.deadline = now + (end - now) / (hosts - i);
		if (n < hosts && hosts > 1 && a.deadline > now + FIRST_US) a.deadline = now + FIRST_US;
		if (n == hosts) {
			if (!late) break;
			used = 0;
		}
		fd = attempt(&a, host[i], &to);
		if (fd < 0) {
			dpi_tcp_unanswered(tp);
			wait_for(&a, -1, 0);
		}
		late |= fd < 0 && a.error == DPI_ERR_TIMEOUT;
		dpi_tcp_name(&to, name, sizeof name);
		if (fd < 0 && used < sizeof tried)
			used += (size_t)snprintf(tried + used, sizeof tried - used, "%s%s (%s)", i ? ", " : "", name, a.why);
	}
	DPI_Tp_Endpoint *c = a.taken ? find(tp, peer, STATE_OPEN) : NULL;
	if (c) {
		c->claimed = true;
		*endpoint = c;
		return DPI_SUCCESS;
	}
	if (fd < 0)
		return tcp_fail(tp, a.error,
				"node %d cannot be reached over tcp within %lld ms: tried %s; check that its "
				"process runs, that no firewall stands between, and DPI_LISTEN",
				peer->node, (long long)(timeout_us / 1000), tried);
	c = dpi_tcp_connection(tp, fd, name);
	if (c) {
		c->node = peer->node;
		c->incarnation = peer->incarnation;
		c->superseded = a.ack.serial;
		c->claimed = true;
		if (!dpi_tcp_connection_open(c) && watch(c)) {
			*endpoint = c;
			return DPI_SUCCESS;
		}
		c->state = STATE_LOST;
		dpi_tcp_forget(c);
	} else {
		close(fd);
	}
	return tcp_fail(tp, DPI_ERR_MEMORY, "no memory for a tcp connection to node %d", peer->node);
}
