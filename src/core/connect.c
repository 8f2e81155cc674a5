/* SPDX-License-Identifier: Apache-2.0
 * connect.c: the connector's half of the greeting (hello.h), on the thread that needs the channel. It waits on the socket
 * alone; the loop takes the channel over when it is established. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control_state.h"
#include "wait.h"

#define CONNECT_NS 2000000000 /* to a host that does not answer at all; the next address may */
#define BACKOFF_FIRST_NS 1000000
#define BACKOFF_LAST_NS 20000000

/* One attempt. */
struct attempt {
	struct dpi_context *ctx;
	const char *address;
	int node;
	uint64_t incarnation; /* 0: whoever is there */
	int64_t deadline;
	bool join;
	bool back, outcast;   /* looks for the registry; has no place in it any more */
	bool may_come; /* nobody is there yet, or it went away in the middle: try again */
	char why[64];  /* of a failure, in a few words; "": the sentence says more */
	struct dpi_channel *channel;
	struct dpi_hello mine, theirs;
};

static int timed_out(struct attempt *a)
{
	snprintf(a->why, sizeof a->why, "did not greet in time");
	return dpi_fail(DPI_ERR_TIMEOUT,
			"something listens at %s but did not greet in time: is node %d stopped, or is it another program?",
			a->address, a->node);
}

static int strange(struct attempt *a)
{
	snprintf(a->why, sizeof a->why, "not a libdpi process");
	return dpi_fail(DPI_ERR_PEER, "what listens at %s is not a libdpi process: is the address right?", a->address);
}

/* Wait for a message of the greeting; a refusal becomes the error it says. */
static int hear(struct attempt *a, uint16_t type, struct dpi_unpack *u)
{
	struct dpi_channel *c = a->channel;
	struct dpi_frame f;
	char sentence[DPI_DETAIL_MAX];
	for (;;) {
		int n = dpi_channel_next(c, DPI_GREETING_MAX, &f, u);
		if (n < 0) break;
		if (n) {
			if (f.type == type && !(f.flags & DPI_FRAME_REPLY)) return DPI_SUCCESS;
			if (f.type != DPI_MESSAGE_REFUSAL) {
				dpi_unpack_close(u);
				break;
			}
			int error = dpi_refusal_unpack(u, sentence);
			dpi_unpack_close(u);
			a->outcast |= a->back && error == DPI_ERR_FENCED;
			a->may_come |= error == DPI_ERR_AGAIN;
			if (error == DPI_ERR_AGAIN) return dpi_fail(error, "%s", sentence);
			if (error == DPI_ERR_VERSION)
				return dpi_fail(error, "node %d at %s refuses: %s; this process has loaded %s", a->node,
						a->address, sentence, dpi_library_path());
			return dpi_fail(error, "node %d at %s refuses: %s", a->node, a->address, sentence);
		}
		int64_t left = a->deadline - dpi_now();
		struct pollfd p = { .fd = c->watch.fd, .events = POLLIN };
		if (left <= 0) return timed_out(a);
		if (poll(&p, 1, left / 1000000 > INT32_MAX - 1 ? INT32_MAX : (int)(left / 1000000) + 1) <= 0) continue;
		int r = dpi_channel_receive(c, DPI_GREETING_MAX);
		if (r == DPI_RECEIVED_END) {
			a->may_come = true;
			snprintf(a->why, sizeof a->why, "closed the connection");
			return dpi_fail(DPI_ERR_PEER, "the process at %s closed the connection before node %d was greeted",
					a->address, a->node);
		}
		if (r == DPI_RECEIVED_BAD) break;
	}
	return strange(a);
}

/* Send a message of the greeting; frees it. A fresh socket takes a greeting whole. */
static int say(struct attempt *a, uint16_t type, struct dpi_pack *p)
{
	int error = p->failed ? dpi_fail(DPI_ERR_MEMORY, "no memory for a greeting")
			      : dpi_channel_send(a->channel, type, 0, 0, p);
	dpi_pack_free(p);
	if (error == DPI_ERR_PEER) {
		a->may_come = true;
		return dpi_fail(error, "the process at %s closed the connection before node %d was greeted", a->address,
				a->node);
	}
	return error;
}

static int open_channel(struct attempt *a, const char *address)
{
	struct dpi_address where;
	int fd, error = dpi_address_find(address, &where);
	if (error) return error;
	if (!a->ctx->secure && !dpi_address_local(&where))
		return dpi_fail(DPI_ERR_CONFIG,
				"%s is on another host: a cluster of several hosts needs a cluster key, DPI_KEY_FILE",
				address);
	int64_t until = dpi_now() + CONNECT_NS;
	int number = dpi_address_connect(&where, until < a->deadline ? until : a->deadline, &fd);
	if (number == EMFILE || number == ENFILE) {
		errno = number;
		return dpi_fail_errno(DPI_ERR_LIMIT, "no descriptor for a connection to %s (raise the limit with ulimit -n)",
				      address);
	}
	if (number) {
		/* EAGAIN: the backlog of a Unix listener is full */
		a->may_come = number == ECONNREFUSED || number == ENOENT || number == EAGAIN || number == ECONNRESET ||
			      number == ETIMEDOUT;
		snprintf(a->why, sizeof a->why, "%s", strerror(number));
		errno = number;
		return dpi_fail_errno(DPI_ERR_PEER, "nobody answers for node %d at %s", a->node, address);
	}
	a->channel = dpi_channel_new(fd);
	return a->channel ? DPI_SUCCESS : DPI_ERR_MEMORY;
}

static int exchange_hellos(struct attempt *a)
{
	struct dpi_pack p = { 0 };
	struct dpi_unpack u;
	int error = dpi_hello_fill(a->ctx, &a->mine, (uint32_t)a->node);
	if (error) return error;
	dpi_hello_pack(&p, &a->mine);
	error = say(a, DPI_MESSAGE_HELLO, &p);
	if (!error) error = hear(a, DPI_MESSAGE_HELLO, &u);
	if (error) return error;
	int what = dpi_hello_unpack(&u, &a->theirs);
	dpi_unpack_close(&u);
	if (what != DPI_GREETING_OK) return strange(a);
	error = dpi_hello_check(a->ctx, &a->mine, &a->theirs, false);
	if (error) return error;
	snprintf(a->why, sizeof a->why, "another process");
	if (a->theirs.node != (uint32_t)a->node)
		return dpi_fail(DPI_ERR_PEER, "node %u is at %s, not node %d", a->theirs.node, a->address, a->node);
	if (a->incarnation && a->theirs.incarnation != a->incarnation)
		return dpi_fail(DPI_ERR_PEER, "node %d at %s is another process than the one that joined the cluster",
				a->node, a->address);
	a->why[0] = 0;
	return DPI_SUCCESS;
}

/* Reached over TCP, the other may yet be on this host: then its Unix listener can be reached. */
static int prefer_local(struct attempt *a)
{
	struct dpi_channel *inet = a->channel;
	bool may_come = a->may_come;
	if (inet->local || strncmp(a->theirs.local, "unix:", 5) || dpi_address_check(a->theirs.local)) return DPI_SUCCESS;
	if (open_channel(a, a->theirs.local)) {
		a->channel = inet;
		a->may_come = may_come;
		a->why[0] = 0;
		return DPI_SUCCESS;
	}
	dpi_channel_free(inet);
	a->incarnation = a->theirs.incarnation;
	return exchange_hellos(a);
}

/* The channel is this node's: into the set with the peer. */
static int adopt(struct attempt *a, struct dpi_peer *peer)
{
	struct dpi_control *k = a->ctx->control;
	struct dpi_channel *c = a->channel;
	pthread_mutex_lock(&k->lock);
	int error = dpi_control_add_peer(k, peer);
	if (!error) {
		peer->channel = c;
		c->peer = peer;
		k->channel_count++;
		dpi_channel_send(c, DPI_MESSAGE_READY, 0, 0, NULL); /* before anything else; a failure shows as its end */
		c->next = k->adopted;
		k->adopted = c;
		a->channel = NULL;
	}
	pthread_mutex_unlock(&k->lock);
	if (error) return error;
	dpi_loop_kick(a->ctx);
	dpi_cluster_changed(a->ctx);
	return DPI_SUCCESS;
}

/* What node 0 says to who joins. */
static int take_number(struct attempt *a, const struct dpi_introduction *i)
{
	struct dpi_context *ctx = a->ctx;
	if (i->node >= DPI_NODES_MAX || (ctx->node >= 0 && i->node != (uint32_t)ctx->node))
		return dpi_fail(DPI_ERR_CORRUPT, "node %d at %s gives a number that was not asked for", a->node, a->address);
	if (!a->join) return DPI_SUCCESS;
	if (ctx->node < 0) ctx->node = (int)i->node;
	if (i->expected_nodes) ctx->expected_nodes = (int)i->expected_nodes;
	ctx->cluster->id = i->cluster;
	atomic_store(&ctx->cluster->term, i->term);
	memcpy(ctx->cluster->job, a->theirs.job, sizeof a->theirs.job);
	for (int c = 0; c < ctx->carriers; c++) { /* before any peer can have heard of this node */
		pthread_mutex_lock(&ctx->carrier[c]->lock);
		ctx->carrier[c]->core.node = ctx->node;
		pthread_mutex_unlock(&ctx->carrier[c]->lock);
	}
	return dpi_control_make_self(ctx);
}

/* The registry that this node has lost may live, and have given this node up. It will not be followed by another then. */
static uint8_t aim(struct attempt *a)
{
	struct dpi_node lost;
	if (!a->back) return DPI_AIM_NEW;
	a->outcast |= dpi_cluster_find(a->ctx, DPI_REGISTRY_NODE, &lost) && lost.incarnation == a->theirs.incarnation;
	return a->outcast ? DPI_AIM_RESIGNED : DPI_AIM_BACK;
}

static int greet(struct attempt *a)
{
	struct dpi_context *ctx = a->ctx;
	struct dpi_pack p = { 0 };
	struct dpi_unpack u;
	struct dpi_introduction i;
	struct dpi_peer *peer = NULL;
	int error = open_channel(a, a->address);
	if (!error) error = exchange_hellos(a);
	if (!error) error = prefer_local(a);
	if (!error) error = dpi_hello_user(ctx, a->channel->watch.fd);
	if (!error) error = dpi_hello_prove(ctx, &a->mine, &a->theirs, false, &p);
	if (!error) error = say(a, DPI_MESSAGE_PROOF, &p);
	if (!error) error = hear(a, DPI_MESSAGE_PROOF, &u);
	if (error) return error;
	bool proven = dpi_hello_proven(ctx, &a->mine, &a->theirs, true, &u);
	dpi_unpack_close(&u);
	if (!proven)
		return dpi_fail(DPI_ERR_AUTH,
				"the process at %s does not hold this process's cluster key: its DPI_KEY_FILE has another "
				"content",
				a->address);
	p = (struct dpi_pack){ 0 };
	dpi_introduction_pack(ctx, &p, a->mine.node, aim(a));
	error = say(a, DPI_MESSAGE_INTRODUCTION, &p);
	if (!error) error = hear(a, DPI_MESSAGE_INTRODUCTION, &u);
	if (error) return error;
	int what = dpi_introduction_unpack(&u, &i);
	dpi_unpack_close(&u);
	if (what != DPI_GREETING_OK)
		return dpi_fail(DPI_ERR_CORRUPT, "the introduction of node %d at %s is malformed", a->node, a->address);
	error = take_number(a, &i);
	i.node = (uint32_t)a->node;
	if (!error) error = dpi_hello_peer(&a->theirs, &i, a->channel->local, &peer);
	dpi_introduction_close(&i);
	if (!error) error = adopt(a, peer);
	if (error && peer) {
		dpi_bells_close(&peer->bells);
		free(peer);
	}
	return error;
}

static int attempt(struct attempt *a)
{
	int error = greet(a);
	dpi_channel_free(a->channel);
	a->channel = NULL;
	return error;
}

/* The order in which to try: Unix listeners, which are of this host or refuse at once; then what lies in a network that this
 * host is in; then the rest; then what are this host's own addresses, too, behind which may stand another process. Loopback
 * only if there is nothing else, as behind it stands another machine's process. Returns how many. */
static int order(char (*address)[DPI_ADDRESS_TEXT], int count, int to[DPI_NODE_ADDRESSES])
{
	int rank[DPI_NODE_ADDRESSES], n = 0;
	bool others = false;
	for (int i = 0; i < count; i++) {
		rank[i] = dpi_address_distance(address[i]);
		others |= rank[i] > DPI_ADDRESS_UNIX && rank[i] < DPI_ADDRESS_LOOPBACK;
	}
	for (int r = DPI_ADDRESS_UNIX; r <= DPI_ADDRESS_LOOPBACK; r++)
		for (int i = 0; i < count && !(r == DPI_ADDRESS_LOOPBACK && others); i++)
			if (rank[i] == r) to[n++] = i;
	return n;
}

/* Another address may lead to the right process where this one did not. */
static bool go_on(const struct attempt *a, int error)
{
	if (error == DPI_ERR_PEER) return true;
	return strncmp(a->address, "unix:", 5) && (error == DPI_ERR_TIMEOUT || error == DPI_ERR_AUTH || error == DPI_ERR_CONFIG ||
						   error == DPI_ERR_VERSION);
}

/* Each of count addresses in turn, until one is the node's. Of several that fail the sentence is what a process said, else it
 * names all that were tried. */
static int try_each(struct attempt *a, char (*address)[DPI_ADDRESS_TEXT], int count)
{
	char tried[DPI_NODE_ADDRESSES * 96] = "", told[DPI_DETAIL_MAX] = "";
	int at[DPI_NODE_ADDRESSES], n = order(address, count, at), hosts = 0, result = DPI_ERR_PEER, told_error = DPI_ERR_PEER;
	int64_t deadline = a->deadline;
	bool may_come = false;
	size_t used = 0;
	if (!n) return dpi_fail(DPI_ERR_PEER, "node %d told no address of its own", a->node);
	for (int i = 0; i < n; i++) {
		int64_t now = dpi_now(), left = deadline - now;
		bool local = !strncmp(address[at[i]], "unix:", 5);
		a->address = address[at[i]];
		/* one that takes the connection and then says nothing leaves time for the others */
		a->deadline = local || i == n - 1 || left <= 0 ? deadline : now + left / (n - i);
		a->may_come = false;
		a->why[0] = 0;
		int error = attempt(a);
		a->may_come = may_come |= a->may_come;
		if (!error || !go_on(a, error)) return error;
		if (!*a->why && !*told) {
			snprintf(told, sizeof told, "%s", dpi_detail());
			told_error = error;
		}
		if (error == DPI_ERR_TIMEOUT) result = error;
		if (local) continue;
		hosts++;
		if (used < sizeof tried)
			used += (size_t)snprintf(tried + used, sizeof tried - used, "%s%.60s (%s)", used ? ", " : "", a->address,
						 *a->why ? a->why : dpi_error_name(error));
	}
	if (*told) return dpi_fail(told_error, "%s", told);
	if (hosts < 2) return result; /* with the last one's sentence */
	return dpi_fail(result, "nobody answers for node %d: tried %s", a->node, tried);
}

int dpi_connect(struct dpi_context *ctx, char (*address)[DPI_ADDRESS_TEXT], int count, int node, uint64_t incarnation,
		int64_t deadline, bool *may_come)
{
	struct attempt a = { .ctx = ctx, .node = node, .incarnation = incarnation, .deadline = deadline };
	int before = dpi_aside(), error = dpi_aside_over(before, try_each(&a, address, count));
	*may_come = a.may_come;
	return error;
}

int dpi_connect_back(struct dpi_context *ctx, int64_t deadline, bool *outcast)
{
	struct dpi_cluster *c = ctx->cluster;
	struct attempt a = { .ctx = ctx, .node = DPI_REGISTRY_NODE, .deadline = deadline, .back = true };
	int error = try_each(&a, c->registry, c->registries);
	*outcast |= a.outcast;
	return error;
}

void dpi_backoff(struct dpi_context *ctx, uint32_t seen, int64_t *wait_ns, int64_t deadline)
{
	int64_t until = dpi_now() + (*wait_ns < BACKOFF_FIRST_NS ? BACKOFF_FIRST_NS : *wait_ns);
	dpi_cluster_wait(ctx, seen, until < deadline ? until : deadline);
	*wait_ns = *wait_ns < BACKOFF_FIRST_NS ? 2 * BACKOFF_FIRST_NS : *wait_ns * 2;
	if (*wait_ns > BACKOFF_LAST_NS) *wait_ns = BACKOFF_LAST_NS;
}

int dpi_join(struct dpi_context *ctx, int64_t deadline)
{
	struct dpi_cluster *c = ctx->cluster;
	int64_t start = dpi_now(), wait_ns = 0;
	struct dpi_node self;
	for (;;) {
		uint32_t seen = atomic_load_explicit(&c->changes, memory_order_acquire);
		struct attempt a = { .ctx = ctx, .node = DPI_REGISTRY_NODE, .deadline = deadline, .join = true };
		int error = try_each(&a, c->registry, c->registries);
		if (!error) break;
		if (error == DPI_ERR_TIMEOUT || error == DPI_ERR_PEER || error == DPI_ERR_AGAIN) {
			if (!a.may_come || dpi_now() >= deadline)
				return dpi_fail(DPI_ERR_REGISTRY,
						"no registry was found within %lld ms: %s; check that node 0 runs, that "
						"DPI_CLUSTER (%s) is the same there%s",
						(long long)((dpi_now() - start) / 1000000), dpi_detail(), c->registry[0],
						strncmp(c->registry[0], "unix:", 5) ? ""
										 : ", and that both are on one host and in "
										   "one network namespace");
			dpi_backoff(ctx, seen, &wait_ns, deadline);
			continue;
		}
		return error;
	}
	/* the registry tells of all who have joined before, and of this node last */
	for (;;) {
		uint32_t seen = atomic_load_explicit(&c->changes, memory_order_acquire);
		struct dpi_peer *registry = dpi_peer_find(ctx, DPI_REGISTRY_NODE);
		if (dpi_cluster_find(ctx, ctx->node, &self) && self.incarnation == ctx->incarnation) return DPI_SUCCESS;
		if (!registry)
			return dpi_fail(DPI_ERR_REGISTRY, "node 0, which holds the registry, died while this process "
							  "joined");
		if (dpi_cluster_wait(ctx, seen, deadline))
			return dpi_fail(DPI_ERR_REGISTRY,
					"the registry at %s let this process in but does not go on: is node 0 stopped?",
					c->registry[0]);
	}
}
