/* SPDX-License-Identifier: Apache-2.0
 * connect.c: the connecting side. The steps are taken as the connection manager's events come (event.c); here is who is tried,
 * from which address, and until when.
 *
 * Two nodes that ask at once end with one connection: that of the lower one (by node number, then incarnation). It refuses the
 * other's request, which then waits for it. Who has been asked does not ask: the peer would take it that its own was given up. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "verbs.h"

struct attempt {
	DPI_Tp *tp;
	const DPI_Tp_Peer *peer;
	const struct verbs_address *address;
	int64_t end; /* of it all */
	int error;   /* class of the last failure */
	bool over, crossed, unresolved;
	char why[WHY_MAX];
};

/* Serve everybody else meanwhile: the peer may be waiting for this node in the same way. */
static void wait_until(DPI_Tp *tp, int64_t end)
{
	struct pollfd p = { .fd = tp->epoll_fd, .events = POLLIN };
	tp->ticks = POLL_EVERY;
	dpi_verbs_progress(tp, 0, NULL);
	int64_t left = end - dpi_verbs_now();
	if (left <= 0 || tp->events || dpi_verbs_arm(tp, 0)) return;
	if (left > 20000) left = 20000;
	struct timespec t = { left / 1000000, left % 1000000 * 1000 };
	ppoll(&p, 1, &t, NULL);
}

/* As long as it is in this state; what has come is seen before the time is over. */
static void wait_while(const DPI_Tp_Endpoint *c, enum verbs_state state, int64_t end)
{
	for (bool late = false; c->state == state && !late;) {
		late = dpi_verbs_now() >= end;
		wait_until(c->tp, end);
	}
}

static DPI_Tp_Endpoint *existing(DPI_Tp *tp, const DPI_Tp_Peer *peer)
{
	for (DPI_Tp_Endpoint *c = tp->connections; c; c = c->next)
		if ((c->state == STATE_OPEN || c->state == STATE_ACCEPTED) && !c->claimed && !c->broken && !c->gone && c->node == peer->node &&
		    c->incarnation == peer->incarnation)
			return c;
	return NULL;
}

/* What the peer has made, once it is open. NULL: there is none, or it was not in time. */
static DPI_Tp_Endpoint *take_over(struct attempt *a, int64_t end)
{
	DPI_Tp_Endpoint *c;
	while ((c = existing(a->tp, a->peer)) && c->state != STATE_OPEN && dpi_verbs_now() < end) wait_until(a->tp, end);
	if (!c || c->state != STATE_OPEN) return NULL;
	c->claimed = true;
	return c;
}

/* The own address to go out from: the device's own, so that no other one's route is taken; the nearest to the peer's. */
static int nearest(const DPI_Tp *tp, const struct verbs_host *to, unsigned *bits)
{
	int best = -1;
	*bits = 0;
	for (unsigned i = 0; i < tp->self.hosts; i++) {
		unsigned n = dpi_verbs_common_bits(&tp->self.host[i], to);
		if (n > *bits) *bits = n, best = (int)i;
	}
	return best;
}

/* The peer's addresses, those of the own networks first. Others may be reached through a router, if at all. */
static unsigned order(const DPI_Tp *tp, const struct verbs_address *a, const struct verbs_host *to[HOSTS])
{
	unsigned count = 0, bits;
	for (int routed = 0; routed < 2; routed++)
		for (unsigned i = 0; i < a->hosts; i++) {
			int from = nearest(tp, &a->host[i], &bits);
			if (from >= 0 && (bits <= tp->prefix[from]) == routed) to[count++] = &a->host[i];
		}
	return count;
}

static DPI_Tp_Endpoint *failed(struct attempt *a, int error, const char *what, int reason)
{
	a->error = error;
	a->unresolved = false;
	snprintf(a->why, sizeof a->why, "%s: %s", what, strerror(reason));
	return NULL;
}

static int64_t a_try(int64_t end)
{
	int64_t own = dpi_verbs_now() + RESOLVE_MS * 1000;
	return own < end ? own : end;
}

static DPI_Tp_Endpoint *attempt(struct attempt *a, const struct verbs_host *host, int64_t end)
{
	DPI_Tp *tp = a->tp;
	struct sockaddr_storage from, to;
	struct rdma_cm_id *id;
	unsigned bits;
	uint8_t timeout = ACK_TIMEOUT;
	DPI_Tp_Endpoint *c = take_over(a, end);
	if (c) return c;
	if (existing(tp, a->peer)) return failed(a, DPI_ERR_TIMEOUT, "it asked for a connection and did not finish it", ETIMEDOUT);
	dpi_verbs_socket(&tp->self.host[nearest(tp, host, &bits)], 0, &from);
	dpi_verbs_socket(host, host->port, &to);
	if (rdma_create_id(tp->channel, &id, NULL, RDMA_PS_TCP)) return failed(a, DPI_ERR_LIMIT, "no identifier of the connection manager", errno);
	c = dpi_verbs_endpoint(tp, id, a->peer->node, a->peer->incarnation);
	if (!c) {
		rdma_destroy_id(id);
		return failed(a, DPI_ERR_MEMORY, "no endpoint", ENOMEM);
	}
	dpi_verbs_name((struct sockaddr *)&to, c->name, sizeof c->name);
	memcpy(c->token, a->address->token, WIRE_TOKEN);
	tp->serial = (tp->serial + 1) & 0xffffff;
	rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, sizeof timeout);
	c->state = STATE_ADDRESS;
	c->awaited = true;
	if (rdma_resolve_addr(id, (struct sockaddr *)&from, (struct sockaddr *)&to, RESOLVE_MS)) dpi_verbs_give_up(c, DPI_ERR_PEER, "%s", strerror(errno));
	wait_while(c, STATE_ADDRESS, a_try(end));
	wait_while(c, STATE_ROUTE, a_try(end));
	wait_while(c, STATE_REQUEST, end);
	wait_while(c, STATE_ENDING, INT64_MAX); /* which has an end of its own */
	c->awaited = false;
	if (c->state == STATE_OPEN) {
		c->claimed = true;
		return c;
	}
	/* LOST: it was open, and ended before it was looked at */
	a->error = c->state == STATE_FAILED ? c->error : c->state == STATE_LOST ? DPI_ERR_PEER : DPI_ERR_TIMEOUT;
	a->crossed = c->state == STATE_FAILED && c->status == WIRE_CROSSED;
	a->unresolved = !c->slot && a->error == DPI_ERR_TIMEOUT;
	a->over = c->state == STATE_FAILED && (c->status == WIRE_OTHER_VERSION || c->error == DPI_ERR_LIMIT || c->error == DPI_ERR_MEMORY);
	snprintf(a->why, sizeof a->why, "%s",
		 c->state == STATE_FAILED    ? c->why
		 : c->state == STATE_ADDRESS ? "the address was not resolved in time"
		 : c->state == STATE_ROUTE   ? "no route was found in time"
		 : c->state == STATE_REQUEST ? "no answer in time"
					     : c->why);
	c->state = STATE_GONE;
	dpi_verbs_bury(tp);
	return NULL;
}

int dpi_verbs_connect(DPI_Tp *tp, uint32_t lane, const DPI_Tp_Peer *peer, int64_t timeout_us, DPI_Tp_Endpoint **endpoint)
{
	const struct verbs_host *host[HOSTS];
	struct verbs_address address;
	char tried[1000] = "";
	int64_t start = dpi_verbs_now();
	if (lane) return verbs_fail(tp, DPI_ERR_ARGUMENT, "verbs has one lane, there is no lane %u", lane);
	if (dpi_verbs_address_parse(peer->address, peer->address_size, &address) || address.incarnation != peer->incarnation)
		return verbs_fail(tp, DPI_ERR_PEER, "the verbs address of node %d is %s; use the same library on every node and start a dead node anew", peer->node,
				  address.hosts ? "that of an earlier or later process" : "not one this library understands");
	if (tp->failed) return verbs_fail(tp, DPI_ERR_PEER, "device %s has failed or was removed", tp->device);
	if (timeout_us < 0) timeout_us = 0;
	struct attempt a = { .tp = tp, .peer = peer, .address = &address, .error = DPI_ERR_PEER, .end = timeout_us > INT64_MAX - start ? INT64_MAX : start + timeout_us };
	unsigned hosts = order(tp, &address, host);
	tp->ticks = POLL_EVERY;
	dpi_verbs_progress(tp, 0, NULL);
	*endpoint = take_over(&a, a.end);
	for (unsigned i = 0; i < hosts && !*endpoint && !a.over;) {
		char name[64];
		struct sockaddr_storage to;
		size_t used = strlen(tried);
		int64_t now = dpi_verbs_now();
		if (now >= a.end && i) break;
		a.crossed = false;
		int64_t end = now + (a.end - now) / (hosts - i);
		/* what is asked on the way to an address may get lost, and the answer too */
		while (!(*endpoint = attempt(&a, host[i], end)) && a.unresolved && dpi_verbs_now() < end) wait_until(tp, end);
		if (*endpoint) break;
		if (a.crossed) { /* its own request is on its way */
			while (!existing(tp, peer) && dpi_verbs_now() < a.end) wait_until(tp, a.end);
			*endpoint = take_over(&a, a.end);
			if (*endpoint || dpi_verbs_now() < a.end) continue;
		}
		dpi_verbs_socket(host[i++], 0, &to);
		dpi_verbs_name((struct sockaddr *)&to, name, sizeof name);
		snprintf(tried + used, sizeof tried - used, "%s%s (%s)", used ? ", " : "", name, a.why);
	}
	if (*endpoint) return DPI_SUCCESS;
	if (!hosts) snprintf(tried, sizeof tried, "none, as device %s has no address of the same family", tp->device);
	return verbs_fail(tp, a.error,
			  "node %d cannot be reached over verbs from device %s within %lld ms: tried %s; check that its process runs, that 'rping' between these "
			  "addresses works, and DPI_LISTEN", peer->node, tp->device, (long long)(timeout_us / 1000), tried);
}
