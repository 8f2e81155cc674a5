/* SPDX-License-Identifier: Apache-2.0
 * accept.c: listeners, and the acceptor's half of the greeting (hello.h). All on the loop thread. A stranger can hold one
 * descriptor and a few KiB for two seconds, and no more than DPI_STRANGERS_MAX of them at once. Who was let in has longer. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "control_state.h"

#define REST_NS 50000000 /* of a listener when descriptors run out */
#define ACCEPTS 16	 /* before others get their turn */
/* Who has heard that it is let in, and is held up before it says READY, would take the end of the channel for this node's death. */
#define READY_NS 30000000000

enum { AWAIT_HELLO, AWAIT_PROOF, AWAIT_INTRODUCTION, AWAIT_READY };

struct dpi_accept {
	int state;
	int64_t deadline;
	struct dpi_hello mine, theirs;
	/* from AWAIT_READY on */
	struct dpi_node node;
	struct dpi_greeted greeted;
	struct dpi_peer *peer; /* not yet in the set */
	bool admitted;	       /* by the registry */
	bool back;	       /* which it has found again */
	int64_t introduced;    /* dpi_lease_now when it was answered */
};

/* ------------------------------------------------------------------------------------------------------ strangers */

static void ungreet(struct dpi_control *k, struct dpi_greeted *g)
{
	struct dpi_greeted **at = &k->greeted;
	while (*at && *at != g) at = &(*at)->next;
	if (*at) *at = g->next;
}

/* A stranger goes, quietly. */
static void drop(struct dpi_context *ctx, struct dpi_channel *c)
{
	struct dpi_accept *a = c->accept;
	c->accept = NULL;
	ctx->control->stranger_count--;
	dpi_control_end(ctx, c);
	if (a->peer) {
		pthread_mutex_lock(&ctx->control->lock);
		ungreet(ctx->control, &a->greeted);
		pthread_mutex_unlock(&ctx->control->lock);
		if (a->admitted) dpi_registry_withdraw(ctx, (uint32_t)a->peer->node);
		dpi_bells_close(&a->peer->bells);
		free(a->peer);
		dpi_cluster_changed(ctx);
	}
	free(a);
}

/* The thread's sentence goes to the stranger. */
static void refuse(struct dpi_context *ctx, struct dpi_channel *c, int error)
{
	struct dpi_pack p = { 0 };
	int level = error == DPI_ERR_AUTH ? DPI_LOG_WARNING : DPI_LOG_INFORMATION;
	if (error != DPI_ERR_AGAIN) dpi_log(level, "a process that connected was refused: %s", dpi_detail());
	dpi_pack_u32(&p, (uint32_t)error);
	dpi_pack_text(&p, dpi_detail());
	/* what the socket does not take at once is lost with it */
	if (!p.failed) dpi_channel_send(c, DPI_MESSAGE_REFUSAL, 0, 0, &p);
	dpi_pack_free(&p);
	drop(ctx, c);
}

/* Send one message of the greeting; frees it. */
static bool say(struct dpi_context *ctx, struct dpi_channel *c, uint16_t type, struct dpi_pack *p)
{
	bool sent = !p->failed && !dpi_channel_send(c, type, 0, 0, p) && !dpi_channel_waits(c);
	dpi_pack_free(p);
	if (!sent) drop(ctx, c); /* a fresh socket takes a greeting whole */
	return sent;
}

static void hear_hello(struct dpi_context *ctx, struct dpi_channel *c, struct dpi_unpack *u)
{
	struct dpi_accept *a = c->accept;
	struct dpi_pack p = { 0 };
	int what = dpi_hello_unpack(u, &a->theirs);
	if (what != DPI_GREETING_OK) {
		dpi_log(DPI_LOG_INFORMATION, "a process that connected does not speak this protocol: closed");
		drop(ctx, c);
		return;
	}
	int error = dpi_hello_fill(ctx, &a->mine, a->theirs.node);
	if (!error) error = dpi_hello_check(ctx, &a->mine, &a->theirs, true);
	if (error) {
		refuse(ctx, c, error);
		return;
	}
	dpi_hello_pack(&p, &a->mine);
	a->state = AWAIT_PROOF;
	say(ctx, c, DPI_MESSAGE_HELLO, &p);
}

static void hear_proof(struct dpi_context *ctx, struct dpi_channel *c, struct dpi_unpack *u)
{
	struct dpi_accept *a = c->accept;
	struct dpi_pack p = { 0 };
	int error = dpi_hello_user(ctx, c->watch.fd);
	if (!error && !dpi_hello_proven(ctx, &a->theirs, &a->mine, false, u))
		error = dpi_fail(DPI_ERR_AUTH,
				 "the process that connects does not hold the cluster key of node %d: its DPI_KEY_FILE has "
				 "another content",
				 ctx->node);
	if (!error) error = dpi_hello_prove(ctx, &a->theirs, &a->mine, true, &p);
	if (error) {
		dpi_pack_free(&p);
		refuse(ctx, c, error);
		return;
	}
	a->state = AWAIT_INTRODUCTION;
	say(ctx, c, DPI_MESSAGE_PROOF, &p);
}

/* Is the one who connects here already, or does its other channel go before this one? Of two that connect to each other at
 * once the channel that the smaller incarnation began wins; 'connecting' stands from before the first byte until the peer is
 * in the set, and nobody starts to connect to one who is greeted here, so at most one of the two gets to its end. */
static bool goes_before(struct dpi_context *ctx, uint32_t node, uint64_t incarnation)
{
	struct dpi_control *k = ctx->control;
	bool before = false;
	pthread_mutex_lock(&k->lock);
	struct dpi_peer *known = dpi_control_peer(k, (int)node);
	if (known && known->incarnation == incarnation) before = true;
	for (struct dpi_greeted *g = k->greeted; g; g = g->next) before |= g->incarnation == incarnation;
	for (struct dpi_connecting *o = k->connecting; o; o = o->next)
		before |= (uint32_t)o->node == node && ctx->incarnation < incarnation;
	pthread_mutex_unlock(&k->lock);
	return before;
}

static bool leaving(struct dpi_context *ctx)
{
	pthread_mutex_lock(&ctx->control->lock);
	bool stopping = ctx->control->stopping;
	pthread_mutex_unlock(&ctx->control->lock);
	return stopping;
}

/* May it come in? It gets a number if it has none. */
static int admit(struct dpi_context *ctx, struct dpi_accept *a, const struct dpi_introduction *i, uint32_t *node)
{
	struct dpi_node known;
	*node = a->theirs.node;
	a->back = i->aim == DPI_AIM_BACK;
	if (i->node != a->theirs.node)
		return dpi_fail(DPI_ERR_CORRUPT, "the introduction names another node than the hello");
	if (a->theirs.incarnation == ctx->incarnation) return dpi_fail(DPI_ERR_PEER, "a node does not connect to itself");
	if (leaving(ctx)) return dpi_fail(DPI_ERR_PEER, "node %d is leaving the cluster", ctx->node);
	if (i->aim == DPI_AIM_RESIGNED) {
		dpi_return_resigned(ctx, *node, a->theirs.incarnation);
		return dpi_fail(DPI_ERR_FENCED, "node %u was given up", *node);
	}
	if (*node == DPI_REGISTRY_NODE && !ctx->registry &&
	    (!dpi_cluster_find(ctx, DPI_REGISTRY_NODE, &known) || known.incarnation != a->theirs.incarnation))
		return dpi_fail(DPI_ERR_FENCED, "the registry has come back in another process: this node 0 is none any more");
	if (*node != DPI_NO_NODE && goes_before(ctx, *node, a->theirs.incarnation))
		return dpi_fail(DPI_ERR_AGAIN, "there is another channel between the two nodes");
	if (*node != DPI_NO_NODE && !a->back && dpi_cluster_find(ctx, (int)*node, &known) &&
	    known.incarnation == a->theirs.incarnation && !known.alive)
		return dpi_fail(DPI_ERR_PEER, "node %u was given up: %s", *node, known.why);
	if (ctx->registry) {
		int error = a->back ? dpi_return_admit(ctx, *node, i) : dpi_registry_admit(ctx, node, i->expected_nodes);
		a->admitted = !error;
		return error;
	}
	if (*node == DPI_NO_NODE || *node == (uint32_t)ctx->node || a->back)
		return dpi_fail(DPI_ERR_CONFIG,
				"this is node %d, which gives no numbers: set DPI_CLUSTER to the address of node 0, or "
				"DPI_NODE",
				ctx->node);
	return DPI_SUCCESS;
}

static void hear_introduction(struct dpi_context *ctx, struct dpi_channel *c, struct dpi_unpack *u)
{
	struct dpi_control *k = ctx->control;
	struct dpi_accept *a = c->accept;
	struct dpi_introduction i;
	struct dpi_pack p = { 0 };
	uint32_t node;
	if (dpi_introduction_unpack(u, &i)) {
		dpi_log(DPI_LOG_INFORMATION, "a process that connected sent a malformed introduction: closed");
		drop(ctx, c);
		return;
	}
	int error = admit(ctx, a, &i, &node);
	i.node = node;
	if (!error) error = dpi_hello_peer(&a->theirs, &i, c->local, &a->peer);
	dpi_introduction_close(&i);
	if (error) {
		if (a->admitted) dpi_registry_withdraw(ctx, node);
		a->admitted = false;
		refuse(ctx, c, error);
		return;
	}
	a->node = (struct dpi_node){ .node = (int)node,
				     .incarnation = a->theirs.incarnation,
				     .pid = i.pid,
				     .alive = true,
				     .addresses = i.addresses };
	memcpy(a->node.host, i.host, sizeof i.host);
	memcpy(a->node.address, i.address, sizeof i.address);
	pthread_mutex_lock(&k->lock);
	a->greeted = (struct dpi_greeted){ k->greeted, (int)node, a->theirs.incarnation };
	k->greeted = &a->greeted;
	pthread_mutex_unlock(&k->lock);
	a->state = AWAIT_READY;
	a->deadline = dpi_now() + READY_NS;
	a->introduced = dpi_lease_now();
	dpi_introduction_pack(ctx, &p, node, DPI_AIM_NEW);
	say(ctx, c, DPI_MESSAGE_INTRODUCTION, &p);
}

static void hear_ready(struct dpi_context *ctx, struct dpi_channel *c)
{
	struct dpi_control *k = ctx->control;
	struct dpi_accept *a = c->accept;
	pthread_mutex_lock(&k->lock);
	int error = dpi_control_add_peer(k, a->peer);
	if (!error) {
		ungreet(k, &a->greeted);
		c->peer = a->peer;
		a->peer->channel = c;
		k->channel_count++;
	}
	pthread_mutex_unlock(&k->lock);
	if (error) {
		drop(ctx, c);
		return;
	}
	/* no stranger any more */
	struct dpi_channel **list = &k->strangers;
	while (*list && *list != c) list = &(*list)->next;
	if (*list) *list = c->next;
	k->stranger_count--;
	c->accept = NULL;
	dpi_log(DPI_LOG_DEBUG, "node %d has connected", a->peer->node);
	c->echoed = a->introduced; /* it has heard that */
	if (a->back) dpi_return_joined(ctx, &a->node);
	else if (a->admitted) dpi_registry_joined(ctx, a->peer, &a->node);
	free(a);
	dpi_cluster_changed(ctx);
	dpi_control_establish(ctx, c);
}

static void hear(struct dpi_context *ctx, struct dpi_channel *c, const struct dpi_frame *f, struct dpi_unpack *u)
{
	static const uint16_t awaited[] = { DPI_MESSAGE_HELLO, DPI_MESSAGE_PROOF, DPI_MESSAGE_INTRODUCTION,
					    DPI_MESSAGE_READY };
	int state = c->accept->state;
	if (f->type != awaited[state] || f->flags & DPI_FRAME_REPLY || (u->fd_count && state != AWAIT_INTRODUCTION)) {
		dpi_log(DPI_LOG_INFORMATION, "a process that connected does not speak this protocol: closed");
		drop(ctx, c);
	} else if (state == AWAIT_HELLO) hear_hello(ctx, c, u);
	else if (state == AWAIT_PROOF) hear_proof(ctx, c, u);
	else if (state == AWAIT_INTRODUCTION) hear_introduction(ctx, c, u);
	else hear_ready(ctx, c);
}

static void stranger_ready(struct dpi_context *ctx, struct dpi_watch *w, uint32_t events)
{
	struct dpi_channel *c = (struct dpi_channel *)w; /* its first member */
	struct dpi_frame f;
	struct dpi_unpack u;
	int n = 0;
	(void)events;
	int r = dpi_channel_receive(c, DPI_GREETING_MAX);
	if (r == DPI_RECEIVED_NOTHING) return;
	/* what comes behind READY is the established channel's: dpi_control_establish goes on with it */
	while (r == DPI_RECEIVED && c->accept && (n = dpi_channel_next(c, DPI_GREETING_MAX, &f, &u)) > 0) {
		hear(ctx, c, &f, &u);
		dpi_unpack_close(&u);
	}
	if (!c->accept || (r == DPI_RECEIVED && n >= 0)) return;
	if (r != DPI_RECEIVED_END)
		dpi_log(DPI_LOG_INFORMATION, "a process that connected does not speak this protocol: closed");
	drop(ctx, c);
}

/* ------------------------------------------------------------------------------------------------------ listeners */

static void take_in(struct dpi_context *ctx, int fd)
{
	struct dpi_control *k = ctx->control;
	struct dpi_channel *c = dpi_channel_new(fd);
	if (!c) return;
	c->accept = calloc(1, sizeof *c->accept);
	c->watch.ready = stranger_ready;
	if (!c->accept || dpi_loop_add(ctx, &c->watch, EPOLLIN)) {
		free(c->accept);
		dpi_channel_free(c);
		return;
	}
	c->watched = true;
	c->accept->deadline = dpi_now() + DPI_GREETING_NS;
	c->next = k->strangers;
	k->strangers = c;
	if (++k->stranger_count <= DPI_STRANGERS_MAX) return;
	while (c->next) c = c->next;
	dpi_log(DPI_LOG_INFORMATION, "more than %d processes connect at once: the one that has taken longest is dropped",
		DPI_STRANGERS_MAX);
	drop(ctx, c);
}

static void listener_ready(struct dpi_context *ctx, struct dpi_watch *w, uint32_t events)
{
	struct dpi_listener *l = (struct dpi_listener *)w; /* its first member */
	(void)events;
	for (int i = 0; i < ACCEPTS; i++) {
		int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			l->short_of_fds = false;
			take_in(ctx, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			/* the listener stays readable: look away for a while */
			if (!l->short_of_fds)
				dpi_log(DPI_LOG_WARNING, "no descriptor for a process that connects: it waits (raise the "
							 "limit with ulimit -n)");
			l->short_of_fds = true;
			if (!dpi_loop_change(ctx, w, 0)) l->paused = dpi_now() + REST_NS;
			return;
		} else if (errno == EAGAIN) return;
	}
}

int64_t dpi_accept_service(struct dpi_context *ctx, int64_t now)
{
	struct dpi_control *k = ctx->control;
	int64_t next = DPI_NEVER;
	for (struct dpi_channel *c = k->strangers, *after; c; c = after) {
		after = c->next;
		if (c->accept->deadline <= now) drop(ctx, c);
		else if (c->accept->deadline < next) next = c->accept->deadline;
	}
	for (int i = 0; i < DPI_LISTENERS; i++) {
		struct dpi_listener *l = &k->listener[i];
		if (!l->paused || l->watch.fd < 0) continue;
		if (l->paused <= now && !dpi_loop_change(ctx, &l->watch, EPOLLIN)) l->paused = 0;
		else if (l->paused < next) next = l->paused;
	}
	return next;
}

static void announce(struct dpi_control *k, const struct dpi_address *a)
{
	if (a->storage.ss_family == AF_UNIX && k->addresses < DPI_NODE_ADDRESSES)
		dpi_address_text(a, k->address[k->addresses++]);
	else if (k->addresses < DPI_NODE_ADDRESSES)
		k->addresses += dpi_address_announce(a, &k->address[k->addresses], DPI_NODE_ADDRESSES - k->addresses);
}

/* Listen at an address: the listener's number i. */
static int listen_at(struct dpi_context *ctx, int i, const struct dpi_address *a, const char *setting)
{
	struct dpi_control *k = ctx->control;
	struct dpi_address bound;
	char text[DPI_ADDRESS_TEXT];
	dpi_address_text(a, text);
	if (!ctx->secure && !dpi_address_local(a))
		return dpi_fail(DPI_ERR_CONFIG,
				"%s: listening at %s lets other hosts in, which needs a cluster key: set DPI_KEY_FILE, or "
				"take a loopback address",
				setting, text);
	int error = dpi_address_listen(a, &k->listener[i].watch.fd);
	if (error == DPI_ERR_EXISTS)
		return dpi_fail(DPI_ERR_CONFIG,
				"%s: something listens at %s already: is another node %d of this cluster, or another "
				"cluster, running?",
				setting, text, ctx->node);
	if (!error) error = dpi_address_of(k->listener[i].watch.fd, &bound);
	if (!error) announce(k, &bound);
	return error;
}

/* The socket that the launcher made for node 0. */
static int listen_inherited(struct dpi_context *ctx, int i, int fd)
{
	struct dpi_control *k = ctx->control;
	struct dpi_address a;
	int listening = 0;
	socklen_t size = sizeof listening;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) || !listening || dpi_address_of(fd, &a))
		return dpi_fail(DPI_ERR_CONFIG,
				"DPI_LISTEN_FD is %d, which is not a listening socket: dpirun sets it; leave it away "
				"otherwise",
				fd);
	if (!ctx->secure && !dpi_address_local(&a))
		return dpi_fail(DPI_ERR_CONFIG, "DPI_LISTEN_FD listens for other hosts, which needs a cluster key: set "
						"DPI_KEY_FILE");
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK))
		return dpi_fail_errno(DPI_ERR_CONFIG, "DPI_LISTEN_FD (%d) cannot be used", fd);
	k->listener[i].watch.fd = fd;
	announce(k, &a);
	return DPI_SUCCESS;
}

/* Where setting LISTEN wants the TCP listener: an address, with or without a port, or an interface. */
static int wanted_address(struct dpi_context *ctx, struct dpi_address *a)
{
	const char *listen = ctx->settings.value[DPI_SETTING_LISTEN];
	char text[DPI_ADDRESS_TEXT + 8];
	if (!*listen) return dpi_address_find(ctx->secure ? "0.0.0.0:0" : "127.0.0.1:0", a);
	if (strlen(listen) >= DPI_ADDRESS_TEXT)
		return dpi_fail(DPI_ERR_CONFIG, "DPI_LISTEN is longer than %d characters", DPI_ADDRESS_TEXT - 1);
	if (!strncmp(listen, "unix:", 5))
		return dpi_fail(DPI_ERR_CONFIG, "DPI_LISTEN is '%s': it takes an IP address or an interface", listen);
	if (!dpi_address_interface(listen, a)) return DPI_SUCCESS;
	if (dpi_address_likely(listen)) snprintf(text, sizeof text, "%s", listen);
	else snprintf(text, sizeof text, strchr(listen, ':') && *listen != '[' ? "[%s]:0" : "%s:0", listen);
	if (!dpi_address_find(text, a)) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_CONFIG,
			"DPI_LISTEN is '%s', which is neither an address nor a network interface of this machine", listen);
}

int dpi_listeners_open(struct dpi_context *ctx)
{
	struct dpi_control *k = ctx->control;
	struct dpi_cluster *c = ctx->cluster;
	struct dpi_address a;
	char text[DPI_ADDRESS_TEXT];
	int64_t fd = ctx->settings.number[DPI_SETTING_LISTEN_FD];
	bool inet = false;
	/* the Unix listener of every node; its name cannot be guessed beforehand */
	snprintf(text, sizeof text, "unix:dpi-%.40s-%016llx", c->job, (unsigned long long)ctx->incarnation);
	int error = dpi_address_find(text, &a);
	if (!error) error = listen_at(ctx, 0, &a, "DPI_CLUSTER");
	if (error) return error;
	memcpy(k->local_address, text, sizeof text);
	/* where all look for the registry, or where the cluster file puts this node */
	const char *known = *c->own ? c->own : c->holds_registry ? c->registry[0] : "";
	if (c->holds_registry && fd >= 0) {
		error = fd > INT32_MAX ? dpi_fail(DPI_ERR_CONFIG, "DPI_LISTEN_FD is no descriptor")
				       : listen_inherited(ctx, 1, (int)fd);
		inet = strncmp(c->registry[0], "unix:", 5);
	} else if (*known) {
		error = dpi_address_find(known, &a);
		if (!error) error = listen_at(ctx, 1, &a, "DPI_CLUSTER");
		inet = !error && a.storage.ss_family != AF_UNIX;
	}
	if (error || inet) return error;
	error = wanted_address(ctx, &a);
	return error ? error : listen_at(ctx, 2, &a, "DPI_LISTEN");
}

int dpi_listeners_start(struct dpi_context *ctx)
{
	struct dpi_control *k = ctx->control;
	int error = DPI_SUCCESS;
	for (int i = 0; i < DPI_LISTENERS && !error; i++) {
		k->listener[i].watch.ready = listener_ready;
		if (k->listener[i].watch.fd >= 0) error = dpi_loop_add(ctx, &k->listener[i].watch, EPOLLIN);
	}
	return error;
}

void dpi_listeners_close(struct dpi_context *ctx)
{
	struct dpi_control *k = ctx->control;
	for (int i = 0; i < DPI_LISTENERS; i++) {
		if (k->listener[i].watch.fd < 0) continue;
		dpi_loop_remove(ctx, &k->listener[i].watch);
		close(k->listener[i].watch.fd);
		k->listener[i].watch.fd = -1;
	}
}

void dpi_strangers_free(struct dpi_context *ctx)
{
	while (ctx->control->strangers) drop(ctx, ctx->control->strangers);
}
