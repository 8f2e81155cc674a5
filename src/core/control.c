/* SPDX-License-Identifier: Apache-2.0
 * control.c: established channels: messages, calls and answers, and the life and death of peers. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "control_state.h"
#include "launcher.h"
#include "wait.h"

#define READS 8 /* of one channel, before others get their turn */
#define GOODBYE_NS 1000000000
#define PEER_TIMEOUT_LEAST_US 20000

void dpi_control_ring_all(struct dpi_context *ctx)
{
	for (uint32_t i = 0; i < DPI_BELLS; i++) dpi_bell_ring(&ctx->bells, i);
}

/* ----------------------------------------------------------------------------------------------------- the peers */

int dpi_control_keep_peer(struct dpi_control *k, struct dpi_peer *peer)
{
	if (k->peer_count == k->peer_room) {
		int room = k->peer_room ? 2 * k->peer_room : 8;
		struct dpi_peer **grown = realloc(k->peers, (size_t)room * sizeof *grown);
		if (!grown) return dpi_fail(DPI_ERR_MEMORY, "no memory for a peer");
		k->peers = grown;
		k->peer_room = room;
	}
	k->peers[k->peer_count++] = peer;
	return DPI_SUCCESS;
}

int dpi_control_add_peer(struct dpi_control *k, struct dpi_peer *peer)
{
	if (peer->node >= k->by_node_room) {
		int room = k->by_node_room ? k->by_node_room : 16;
		while (room <= peer->node) room *= 2;
		struct dpi_peer **grown = realloc(k->by_node, (size_t)room * sizeof *grown);
		if (!grown) return dpi_fail(DPI_ERR_MEMORY, "no memory for a peer");
		memset(grown + k->by_node_room, 0, (size_t)(room - k->by_node_room) * sizeof *grown);
		k->by_node = grown;
		k->by_node_room = room;
	}
	int error = dpi_control_keep_peer(k, peer);
	if (!error) k->by_node[peer->node] = peer;
	return error;
}

struct dpi_peer *dpi_control_peer(struct dpi_control *k, int node)
{
	struct dpi_peer *p = node >= 0 && node < k->by_node_room ? k->by_node[node] : NULL;
	return p && !atomic_load_explicit(&p->dead, memory_order_acquire) ? p : NULL;
}

/* "node 3 (process 12 on host a)". */
static void describe(struct dpi_context *ctx, const struct dpi_peer *peer, char *text, size_t room)
{
	struct dpi_node n;
	if (dpi_cluster_find(ctx, peer->node, &n) && n.incarnation == peer->incarnation)
		snprintf(text, room, "node %d (process %lld on %s)", peer->node, (long long)n.pid, n.host);
	else snprintf(text, room, "node %d", peer->node);
}

static void unlink_channel(struct dpi_channel **list, struct dpi_channel *c)
{
	while (*list && *list != c) list = &(*list)->next;
	if (*list) *list = c->next;
}

void dpi_control_end(struct dpi_context *ctx, struct dpi_channel *c)
{
	struct dpi_control *k = ctx->control;
	if (c->ended) return;
	unlink_channel(&k->channels, c);
	unlink_channel(&k->strangers, c);
	pthread_mutex_lock(&k->lock);
	unlink_channel(&k->adopted, c);
	c->ended = true;
	if (c->watched) dpi_loop_remove(ctx, &c->watch);
	c->watched = false;
	if (c->peer && c->peer->channel == c) {
		c->peer->channel = NULL;
		k->channel_count--;
	}
	pthread_mutex_unlock(&k->lock);
	if (c->watch.fd >= 0) close(c->watch.fd);
	c->watch.fd = -1;
	c->next = k->ended;
	k->ended = c;
}

void dpi_control_peer_down(struct dpi_context *ctx, struct dpi_peer *peer, bool left, const char *sentence)
{
	struct dpi_control *k = ctx->control;
	pthread_mutex_lock(&k->lock);
	if (atomic_load_explicit(&peer->dead, memory_order_relaxed)) {
		pthread_mutex_unlock(&k->lock);
		return;
	}
	snprintf(peer->sentence, sizeof peer->sentence, "%s", sentence);
	/* release: whoever sees dead sees the sentence */
	atomic_store_explicit(&peer->dead, true, memory_order_release);
	struct dpi_channel *c = peer->channel;
	if (c && !left) dpi_channel_give_up(c, DPI_MESSAGE_GIVE_UP);
	for (struct dpi_calling **at = &k->calls, *call; (call = *at);) {
		if (call->peer != peer) {
			at = &call->next;
			continue;
		}
		*at = call->next;
		call->error = DPI_ERR_PEER;
		atomic_store_explicit(&call->done, true, memory_order_release);
	}
	bool stopping = k->stopping;
	pthread_mutex_unlock(&k->lock);
	if (c) dpi_control_end(ctx, c);
	dpi_log(DPI_LOG_INFORMATION, "%s", sentence);
	if (!stopping) {
		if (ctx->registry) dpi_registry_peer_down(ctx, peer, left);
		else if (peer->node == DPI_REGISTRY_NODE)
			dpi_cluster_down(ctx, peer->node, peer->incarnation, left, peer->gone, sentence);
		if (peer->node == DPI_REGISTRY_NODE && !left) dpi_rejoin_begin(ctx, peer);
		for (int i = 0; i < k->downs; i++) k->down[i](ctx, peer);
	}
	dpi_cluster_changed(ctx);
}

/* --------------------------------------------------------------------------------------------- calls and answers */

/* A reply has come, or cannot come any more: wake the caller if it is still there. */
static void complete(struct dpi_context *ctx, struct dpi_peer *from, uint64_t id, int error, struct dpi_unpack *body)
{
	struct dpi_control *k = ctx->control;
	uint32_t bell = DPI_BELLS;
	size_t size = (size_t)(body->end - body->at);
	pthread_mutex_lock(&k->lock);
	struct dpi_calling **at = &k->calls, *call;
	while ((call = *at) && (call->id != id || call->peer != from)) at = &call->next;
	if (call) {
		*at = call->next;
		bell = call->bell;
		call->error = error;
		uint8_t *copy = malloc(size + 1);
		if (copy) {
			if (size) memcpy(copy, body->at, size);
			copy[size] = 0;
		} else call->error = DPI_ERR_MEMORY;
		if (error && copy) dpi_clean(call->sentence = (char *)copy);
		else if (copy) {
			call->reply.data = copy;
			call->reply.body = *body;
			call->reply.body.at = copy;
			call->reply.body.end = copy + size;
			body->fd_count = 0; /* the reply's now */
		}
		atomic_store_explicit(&call->done, true, memory_order_release);
	}
	pthread_mutex_unlock(&k->lock);
	if (call) dpi_bell_ring(&ctx->bells, bell);
}

static int duplicate_fds(struct dpi_unpack *to, const struct dpi_pack *from)
{
	for (int i = 0; from && i < from->fd_count; i++) {
		to->fds[i] = fcntl(from->fds[i], F_DUPFD_CLOEXEC, 0);
		if (to->fds[i] < 0) {
			dpi_unpack_close(to);
			return dpi_fail_errno(DPI_ERR_LIMIT, "no descriptors for a message (raise the limit with ulimit "
							     "-n)");
		}
		to->fd_count = i + 1;
	}
	return DPI_SUCCESS;
}

void dpi_answer(struct dpi_context *ctx, struct dpi_peer *to, uint64_t id, int error, struct dpi_pack *body)
{
	struct dpi_control *k = ctx->control;
	struct dpi_pack text = { 0 }, none = { 0 };
	if (!body) body = &none;
	if (!error && body->failed) error = dpi_fail(DPI_ERR_MEMORY, "the answer needs more memory than there is");
	if (error) {
		text.data = (uint8_t *)(uintptr_t)dpi_detail();
		text.size = strlen(dpi_detail());
	}
	const struct dpi_pack *said = error ? &text : body;
	if (!id) {
		dpi_pack_free(body);
		return;
	}
	if (to == k->self) {
		struct dpi_unpack u = { .at = said->data, .end = said->data + said->size };
		if (!error && duplicate_fds(&u, said)) {
			error = DPI_ERR_LIMIT;
			u.at = (const uint8_t *)dpi_detail();
			u.end = u.at + strlen(dpi_detail());
		}
		complete(ctx, to, id, error, &u);
		dpi_unpack_close(&u);
	} else {
		pthread_mutex_lock(&k->lock);
		if (to->channel &&
		    dpi_control_send(ctx, to->channel, (uint16_t)error, DPI_FRAME_REPLY, id, said) == DPI_ERR_LIMIT) {
			text.data = (uint8_t *)(uintptr_t)dpi_detail();
			text.size = strlen(dpi_detail());
			dpi_control_send(ctx, to->channel, DPI_ERR_LIMIT, DPI_FRAME_REPLY, id, &text);
		}
		pthread_mutex_unlock(&k->lock);
	}
	dpi_pack_free(body);
}

int dpi_control_send(struct dpi_context *ctx, struct dpi_channel *c, uint16_t type, uint16_t flags, uint64_t id,
		     const struct dpi_pack *body)
{
	int error = dpi_channel_send(c, type, flags, id, body);
	if (dpi_channel_waits(c) && c->watched && !c->want_send && !dpi_loop_change(ctx, &c->watch, EPOLLIN | EPOLLOUT))
		c->want_send = true;
	if (error == DPI_ERR_PEER && c->peer) return dpi_fail(error, "node %d cannot be told anything any more: %s", c->peer->node, c->why);
	return error;
}

/* A message to this node itself. Under lock; the caller kicks the loop. */
static int send_local(struct dpi_control *k, uint16_t type, uint64_t id, const struct dpi_pack *body)
{
	size_t size = body ? body->size : 0;
	struct dpi_local_message *m = malloc(sizeof *m + size);
	if (!m) return dpi_fail(DPI_ERR_MEMORY, "no memory for a message");
	*m = (struct dpi_local_message){ .type = type, .id = id };
	if (size) memcpy(m->data, body->data, size);
	m->body = (struct dpi_unpack){ .at = m->data, .end = m->data + size };
	if (duplicate_fds(&m->body, body)) {
		free(m);
		return DPI_ERR_LIMIT;
	}
	*k->local_last = m;
	k->local_last = &m->next;
	return DPI_SUCCESS;
}

/* Under lock. */
static int send_to(struct dpi_context *ctx, struct dpi_peer *to, uint16_t type, uint64_t id, const struct dpi_pack *body)
{
	struct dpi_control *k = ctx->control;
	if (to == k->self) return send_local(k, type, id, body);
	if (to->channel) return dpi_control_send(ctx, to->channel, type, 0, id, body);
	return atomic_load_explicit(&to->dead, memory_order_acquire)
		       ? dpi_peer_dead(to)
		       : dpi_fail(DPI_ERR_PEER, "there is no channel to node %d", to->node);
}

int dpi_tell(struct dpi_context *ctx, struct dpi_peer *to, uint16_t type, struct dpi_pack *message)
{
	struct dpi_control *k = ctx->control;
	int error = message && message->failed ? dpi_fail(DPI_ERR_MEMORY, "the message is too large, or there is no memory "
									  "for it")
					       : DPI_SUCCESS;
	if (!error) {
		pthread_mutex_lock(&k->lock);
		error = send_to(ctx, to, type, 0, message);
		pthread_mutex_unlock(&k->lock);
		if (to == k->self) dpi_loop_kick(ctx);
	}
	if (message) dpi_pack_free(message);
	return error;
}

bool dpi_control_piles_up(struct dpi_context *ctx, struct dpi_peer *peer)
{
	pthread_mutex_lock(&ctx->control->lock);
	bool piles = peer->channel && peer->channel->queued > DPI_CHANNEL_QUEUE_MAX / 4;
	pthread_mutex_unlock(&ctx->control->lock);
	return piles;
}

static bool call_done(void *arg)
{
	return atomic_load_explicit(&((struct dpi_calling *)arg)->done, memory_order_acquire);
}

/* A message could not be sent: the loop is about to find out why the channel has ended. */
static int await_death(struct dpi_context *ctx, struct dpi_peer *peer, int64_t deadline)
{
	for (;;) {
		uint32_t seen = atomic_load_explicit(&ctx->cluster->changes, memory_order_acquire);
		if (atomic_load_explicit(&peer->dead, memory_order_acquire)) return dpi_peer_dead(peer);
		if (dpi_cluster_wait(ctx, seen, deadline))
			return dpi_fail(DPI_ERR_PEER, "the control connection to node %d is broken", peer->node);
	}
}

int dpi_call_start(struct dpi_context *ctx, struct dpi_peer *to, uint16_t type, struct dpi_pack *request, uint32_t bell,
		   struct dpi_calling *call)
{
	struct dpi_control *k = ctx->control;
	int error = request && request->failed
			    ? dpi_fail(DPI_ERR_MEMORY, "the request is too large, or there is no memory for it")
			    : DPI_SUCCESS;
	if (!error) {
		pthread_mutex_lock(&k->lock);
		*call = (struct dpi_calling){ .peer = to, .id = ++k->next_id, .bell = bell };
		error = send_to(ctx, to, type, call->id, request);
		if (error) {
			call->peer = NULL;
		} else {
			call->next = k->calls;
			k->calls = call;
		}
		pthread_mutex_unlock(&k->lock);
	}
	if (request) dpi_pack_free(request);
	if (error == DPI_ERR_PEER && !atomic_load_explicit(&to->dead, memory_order_acquire)) /* the loop is about to find out why */
		dpi_fail(error, "the control connection to node %d is broken", to->node);
	if (error) return error;
	atomic_fetch_add_explicit(&to->stats.calls, 1, memory_order_relaxed);
	if (to == k->self) dpi_loop_kick(ctx);
	return DPI_SUCCESS;
}

int dpi_call_end(struct dpi_context *ctx, struct dpi_calling *call, struct dpi_reply *reply)
{
	struct dpi_peer *peer = call->peer;
	if (reply) memset(reply, 0, sizeof *reply);
	if (!call_done(call)) return DPI_ERR_AGAIN;
	int error = call->error;
	if (error == DPI_ERR_PEER && !call->sentence) error = dpi_peer_dead(peer);
	else if (error && peer == ctx->control->self)
		dpi_fail(error, "%s", call->sentence ? call->sentence : "no memory for the answer");
	else if (error)
		dpi_fail(error, "node %d: %s", peer->node, call->sentence ? call->sentence : "no memory for the answer");
	free(call->sentence);
	if (reply && !error) *reply = call->reply;
	else dpi_reply_free(&call->reply);
	*call = (struct dpi_calling){ 0 };
	return error;
}

void dpi_call_forget(struct dpi_context *ctx, struct dpi_calling *call)
{
	struct dpi_control *k = ctx->control;
	if (!call->peer) return;
	pthread_mutex_lock(&k->lock);
	struct dpi_calling **at = &k->calls;
	while (*at && *at != call) at = &(*at)->next;
	if (*at) *at = call->next;
	pthread_mutex_unlock(&k->lock);
	free(call->sentence);
	dpi_reply_free(&call->reply);
	*call = (struct dpi_calling){ 0 };
}

int dpi_call(struct dpi_context *ctx, int node, uint16_t type, struct dpi_pack *request, int64_t deadline,
	     struct dpi_reply *reply)
{
	struct dpi_calling call = { 0 };
	struct dpi_peer *peer;
	int64_t start = dpi_now();
	if (reply) memset(reply, 0, sizeof *reply);
	int error = dpi_loop_inside(ctx)
			    ? dpi_fail(DPI_ERR_INTERNAL, "a call from the progress thread would wait for itself")
			    : dpi_peer_get(ctx, node, deadline, &peer);
	if (error) {
		if (request) dpi_pack_free(request);
		return error;
	}
	error = dpi_call_start(ctx, peer, type, request, dpi_bell_pick(ctx), &call);
	if (error == DPI_ERR_PEER) return await_death(ctx, peer, deadline);
	if (error) return error;
	struct dpi_wait w = { .ready = call_done, .arg = &call, .bell = call.bell, .deadline = deadline };
	if (dpi_wait(ctx, &w)) {
		dpi_call_forget(ctx, &call);
		return dpi_fail(DPI_ERR_TIMEOUT, "node %d has not answered within %lld ms: is it stopped, or too busy?", node,
				(long long)((dpi_now() - start) / 1000000));
	}
	return dpi_call_end(ctx, &call, reply);
}

void dpi_reply_free(struct dpi_reply *r)
{
	dpi_unpack_close(&r->body);
	free(r->data);
	memset(r, 0, sizeof *r);
}

/* ------------------------------------------------------------------------------------- what arrives, on the loop */

static void handle(struct dpi_context *ctx, struct dpi_request_in *in)
{
	dpi_handler *handler = in->type < DPI_MESSAGE_TYPES ? ctx->control->handler[in->type] : NULL;
	if (in->id) atomic_fetch_add_explicit(&in->from->stats.served, 1, memory_order_relaxed);
	if (handler) handler(ctx, in);
	else if (in->id)
		dpi_answer(ctx, in->from, in->id,
			   dpi_fail(DPI_ERR_UNSUPPORTED, "this library does not know requests of type 0x%04x", in->type),
			   NULL);
	dpi_unpack_close(&in->body);
}

static void lost(struct dpi_context *ctx, struct dpi_channel *c, const char *why)
{
	char who[128], sentence[256];
	describe(ctx, c->peer, who, sizeof who);
	pthread_mutex_lock(&ctx->control->lock);
	if (c->broken && c->why) why = c->why;
	pthread_mutex_unlock(&ctx->control->lock);
	snprintf(sentence, sizeof sentence, "%s died: %s", who, why);
	dpi_control_peer_down(ctx, c->peer, false, sentence);
}

/* Who has heard this node's goodbye closes the channel, and says none of its own. */
static bool parted(struct dpi_context *ctx, struct dpi_channel *c)
{
	char who[128], sentence[256];
	pthread_mutex_lock(&ctx->control->lock);
	bool said = ctx->control->said_goodbye;
	pthread_mutex_unlock(&ctx->control->lock);
	if (!said) return false;
	describe(ctx, c->peer, who, sizeof who);
	snprintf(sentence, sizeof sentence, "%s has closed the control connection to this node, which leaves the cluster", who);
	dpi_control_peer_down(ctx, c->peer, true, sentence);
	return true;
}

static void dispatch(struct dpi_context *ctx, struct dpi_channel *c, struct dpi_frame *f, struct dpi_unpack *u)
{
	char who[128], sentence[256];
	if (f->flags & DPI_FRAME_REPLY) {
		int error = f->type >= DPI_ERROR_CLASSES ? DPI_ERR_CORRUPT : f->type;
		complete(ctx, c->peer, f->id, error, u);
	} else if (f->type == DPI_MESSAGE_GOODBYE) {
		describe(ctx, c->peer, who, sizeof who);
		c->peer->gone = true;
		snprintf(sentence, sizeof sentence, "%s has left the cluster (DPI_Finalize): let nodes meet in a DPI_Barrier before one leaves that others still need", who);
		dpi_control_peer_down(ctx, c->peer, true, sentence);
	} else if (f->type == DPI_MESSAGE_GIVE_UP) {
		lost(ctx, c, "it has closed its control connection, and takes this node for dead");
	} else if (f->type == DPI_MESSAGE_HEARTBEAT) {
		int64_t sent = (int64_t)dpi_unpack_u64(u), echoed = (int64_t)dpi_unpack_u64(u);
		if (u->bad || echoed > dpi_lease_now()) return;
		c->theirs = sent;
		if (echoed > c->echoed) c->echoed = echoed;
	} else {
		struct dpi_request_in in = { .from = c->peer, .type = f->type, .id = f->id, .body = *u };
		u->fd_count = 0;
		handle(ctx, &in);
	}
	dpi_unpack_close(u);
}

/* Handle whole frames. A handler may end the channel. */
static void serve(struct dpi_context *ctx, struct dpi_channel *c)
{
	struct dpi_frame f;
	struct dpi_unpack u;
	int n = 0;
	while (!c->ended && (n = dpi_channel_next(c, DPI_MESSAGE_MAX, &f, &u)) > 0) dispatch(ctx, c, &f, &u);
	if (!c->ended && n < 0) {
		dpi_log(DPI_LOG_WARNING, "node %d sent a control frame that no correct peer sends: its channel is closed",
			c->peer->node);
		lost(ctx, c, "it sent a control frame that no correct peer sends");
	}
}

static void channel_ready(struct dpi_context *ctx, struct dpi_watch *w, uint32_t events)
{
	struct dpi_channel *c = (struct dpi_channel *)w; /* its first member */
	struct dpi_control *k = ctx->control;
	if (events & EPOLLOUT) {
		pthread_mutex_lock(&k->lock);
		dpi_channel_flush(c);
		if (!dpi_channel_waits(c) && !dpi_loop_change(ctx, w, EPOLLIN)) c->want_send = false;
		bool stopping = k->stopping;
		pthread_mutex_unlock(&k->lock);
		if (stopping) dpi_cluster_changed(ctx);
	}
	for (int i = 0; i < READS && events & ~(uint32_t)EPOLLOUT && !c->ended; i++) {
		int r = dpi_channel_receive(c, DPI_MESSAGE_MAX);
		if (r == DPI_RECEIVED_NOTHING) return;
		c->heard = dpi_now();
		if (r == DPI_RECEIVED) {
			serve(ctx, c);
			continue;
		}
		if (r == DPI_RECEIVED_END && parted(ctx, c)) continue;
		/* without a word before: the kernel has closed it; on another host a reset says nothing about who did */
		pthread_mutex_lock(&k->lock);
		c->peer->gone = r == DPI_RECEIVED_END && (c->local ? !c->broken || c->lost : !c->broken && !c->reset);
		pthread_mutex_unlock(&k->lock);
		lost(ctx, c,
			     r == DPI_RECEIVED_END ? "its control connection ended without a goodbye"
						   : "it sent more descriptors than fit");
	}
}

void dpi_control_establish(struct dpi_context *ctx, struct dpi_channel *c)
{
	struct dpi_control *k = ctx->control;
	c->watch.ready = channel_ready;
	c->heard = dpi_now();
	c->next = k->channels;
	k->channels = c;
	if (!c->local && !k->next_beat) k->next_beat = c->heard;
	pthread_mutex_lock(&k->lock);
	uint32_t events = EPOLLIN | (dpi_channel_waits(c) ? EPOLLOUT : 0);
	bool ok = !(c->watched ? dpi_loop_change(ctx, &c->watch, events) : dpi_loop_add(ctx, &c->watch, events));
	c->watched = true;
	c->want_send = events & EPOLLOUT;
	pthread_mutex_unlock(&k->lock);
	if (ok) serve(ctx, c);
	else lost(ctx, c, dpi_detail());
}

/* ------------------------------------------------------------------------------------------------------ the loop */

/* Heartbeats to and from other hosts. */
static int64_t beat(struct dpi_context *ctx, int64_t now)
{
	struct dpi_control *k = ctx->control;
	bool any = false,
	     late = now - k->next_beat > k->peer_timeout / 2; /* this process was held up itself: judge nobody */
	if (!k->next_beat) return DPI_NEVER;
	if (now < k->next_beat) return k->next_beat;
	for (struct dpi_channel *c = k->channels, *next; c; c = next) {
		next = c->next;
		if (c->local) continue;
		any = true;
		if (late) c->heard = now;
		if (now - c->heard > k->peer_timeout) {
			char why[96];
			snprintf(why, sizeof why, "nothing was heard of it for %lld ms (DPI_PEER_TIMEOUT)",
				 (long long)((now - c->heard) / 1000000));
			lost(ctx, c, why);
			continue;
		}
		struct dpi_pack p = { 0 };
		dpi_pack_u64(&p, (uint64_t)dpi_lease_now());
		dpi_pack_u64(&p, (uint64_t)c->theirs);
		pthread_mutex_lock(&k->lock);
		if (!p.failed) dpi_control_send(ctx, c, DPI_MESSAGE_HEARTBEAT, 0, 0, &p);
		pthread_mutex_unlock(&k->lock);
		dpi_pack_free(&p);
	}
	k->next_beat = any ? now + k->peer_timeout / 4 : 0;
	return any ? k->next_beat : DPI_NEVER;
}

/* On the loop, so that it comes after every answer that a handler has given. */
static void say_goodbye(struct dpi_context *ctx)
{
	struct dpi_control *k = ctx->control;
	pthread_mutex_lock(&k->lock);
	bool now = k->stopping && !k->said_goodbye;
	for (int i = 0; i < k->peer_count && now; i++)
		if (k->peers[i]->channel) dpi_control_send(ctx, k->peers[i]->channel, DPI_MESSAGE_GOODBYE, 0, 0, NULL);
	if (now) k->said_goodbye = true;
	pthread_mutex_unlock(&k->lock);
	if (now) dpi_cluster_changed(ctx);
}

static struct dpi_channel *take_adopted(struct dpi_control *k)
{
	pthread_mutex_lock(&k->lock);
	struct dpi_channel *c = k->adopted;
	if (c) k->adopted = c->next;
	pthread_mutex_unlock(&k->lock);
	return c;
}

static int64_t control_service(struct dpi_context *ctx, int64_t now)
{
	struct dpi_control *k = ctx->control;
	struct dpi_channel *c;
	/* one by one: what is heard on one may end another */
	while ((c = take_adopted(k))) dpi_control_establish(ctx, c);
	pthread_mutex_lock(&k->lock);
	struct dpi_local_message *local = k->local;
	k->local = NULL;
	k->local_last = &k->local;
	pthread_mutex_unlock(&k->lock);
	while (local) {
		struct dpi_local_message *m = local;
		local = m->next;
		struct dpi_request_in in = { .from = k->self, .type = m->type, .id = m->id, .body = m->body };
		handle(ctx, &in);
		free(m);
	}
	say_goodbye(ctx);
	int64_t next = beat(ctx, now), at = dpi_accept_service(ctx, now);
	if (at < next) next = at;
	at = dpi_registry_service(ctx, now);
	if (at < next) next = at;
	while ((c = k->ended)) {
		k->ended = c->next;
		dpi_channel_free(c);
	}
	return next;
}

/* ------------------------------------------------------------------------------------------------- start and end */

int dpi_handle_messages(struct dpi_context *ctx, uint16_t type, dpi_handler *handler)
{
	if (type >= DPI_MESSAGE_TYPES || ctx->control->handler[type])
		return dpi_fail(DPI_ERR_INTERNAL, "message type 0x%04x is out of range or taken", type);
	ctx->control->handler[type] = handler;
	return DPI_SUCCESS;
}

int dpi_on_peer_down(struct dpi_context *ctx, dpi_peer_down *down)
{
	struct dpi_control *k = ctx->control;
	if (k->downs == sizeof k->down / sizeof *k->down)
		return dpi_fail(DPI_ERR_INTERNAL, "too many hooks on the death of peers");
	k->down[k->downs++] = down;
	return DPI_SUCCESS;
}

int dpi_on_registry_found(struct dpi_context *ctx, dpi_reporter *reporter)
{
	struct dpi_control *k = ctx->control;
	if (k->reporters == sizeof k->reporter / sizeof *k->reporter)
		return dpi_fail(DPI_ERR_INTERNAL, "too many layers tell the registry");
	k->reporter[k->reporters++] = reporter;
	return DPI_SUCCESS;
}

int dpi_on_registry_back(struct dpi_context *ctx, dpi_registry_back *back)
{
	struct dpi_control *k = ctx->control;
	if (k->backs == sizeof k->back / sizeof *k->back)
		return dpi_fail(DPI_ERR_INTERNAL, "too many hooks on the return of the registry");
	k->back[k->backs++] = back;
	return DPI_SUCCESS;
}

int dpi_control_open(struct dpi_context *ctx)
{
	struct dpi_control *k = calloc(1, sizeof *k);
	if (!k) return dpi_fail(DPI_ERR_MEMORY, "no memory for the control plane");
	ctx->control = k;
	pthread_mutex_init(&k->lock, NULL);
	k->local_last = &k->local;
	for (int i = 0; i < DPI_LISTENERS; i++) k->listener[i].watch.fd = -1;
	int64_t timeout = ctx->settings.number[DPI_SETTING_PEER_TIMEOUT];
	if (timeout < PEER_TIMEOUT_LEAST_US || timeout > INT64_MAX / 1000)
		return dpi_fail(DPI_ERR_CONFIG, "DPI_PEER_TIMEOUT is %lld us: it is at least %d ms", (long long)timeout,
				PEER_TIMEOUT_LEAST_US / 1000);
	k->peer_timeout = timeout * 1000;
	int error = dpi_cluster_open(ctx);
	if (!error) error = dpi_registry_open(ctx);
	if (!error) error = dpi_rejoin_open(ctx);
	if (!error && !ctx->cluster->single) error = dpi_listeners_open(ctx);
	if (!error) error = dpi_launcher_publish(ctx);
	if (!error) error = dpi_loop_service(ctx, control_service);
	return error;
}

int dpi_control_make_self(struct dpi_context *ctx)
{
	struct dpi_control *k = ctx->control;
	struct dpi_peer *p = k->self ? NULL : calloc(1, sizeof *p);
	if (k->self) return DPI_SUCCESS;
	if (!p) return dpi_fail(DPI_ERR_MEMORY, "no memory for a peer");
	p->node = ctx->node;
	p->incarnation = ctx->incarnation;
	p->same_host = true;
	p->bells = ctx->bells; /* not owned */
	for (int i = 0; i < ctx->carriers; i++) {
		struct dpi_peer_address *a = &p->address[p->addresses];
		a->size = sizeof a->bytes;
		if (ctx->carrier[i]->table->address(ctx->carrier[i]->tp, a->bytes, &a->size) || a->size > sizeof a->bytes)
			continue;
		memcpy(a->transport, ctx->carrier[i]->name, sizeof a->transport);
		p->addresses++;
	}
	pthread_mutex_lock(&k->lock);
	int error = dpi_control_add_peer(k, p);
	if (!error) k->self = p;
	else free(p);
	pthread_mutex_unlock(&k->lock);
	return error;
}

int dpi_control_start(struct dpi_context *ctx)
{
	struct dpi_control *k = ctx->control;
	struct dpi_cluster *c = ctx->cluster;
	int error = DPI_SUCCESS;
	if (c->holds_registry) {
		struct dpi_node n = { .node = ctx->node,
				      .incarnation = ctx->incarnation,
				      .pid = getpid(),
				      .alive = true,
				      .addresses = k->addresses };
		memcpy(n.host, c->host, sizeof n.host);
		memcpy(n.address, k->address, sizeof n.address);
		error = dpi_cluster_set(ctx, &n);
		if (!error) error = dpi_control_make_self(ctx);
		if (!error && !ctx->settings.number[DPI_SETTING_RESTART]) {
			c->id = ctx->incarnation | 1;
			atomic_store(&c->term, 1);
		}
	} else error = dpi_join(ctx, dpi_deadline(0, ctx->timeout_us));
	/* only now, with a number: who knows of this node already waits in the listeners' backlog */
	if (!error && !c->single) error = dpi_listeners_start(ctx);
	if (!error && c->holds_registry && !atomic_load(&c->term)) error = dpi_return_await(ctx, dpi_deadline(0, ctx->timeout_us));
	return error;
}

/* Is every goodbye read (other hosts), or in the peer's hands (this one)? */
static bool all_said(void *arg)
{
	struct dpi_control *k = arg;
	pthread_mutex_lock(&k->lock);
	bool said = k->said_goodbye;
	for (int i = 0; i < k->peer_count && k->channel_count; i++) {
		struct dpi_channel *c = k->peers[i]->channel;
		if (c && !c->broken && (!c->local || c->first)) said = false;
	}
	pthread_mutex_unlock(&k->lock);
	return said;
}

void dpi_control_stop(struct dpi_context *ctx)
{
	struct dpi_control *k = ctx->control;
	int64_t deadline = dpi_now() + GOODBYE_NS;
	dpi_rejoin_stop(ctx);
	pthread_mutex_lock(&k->lock);
	k->stopping = true;
	pthread_mutex_unlock(&k->lock);
	dpi_loop_kick(ctx);
	for (;;) {
		uint32_t seen = atomic_load_explicit(&ctx->cluster->changes, memory_order_acquire);
		if (all_said(k) || dpi_cluster_wait(ctx, seen, deadline)) return;
	}
}

static void free_channels(struct dpi_channel *c)
{
	while (c) {
		struct dpi_channel *next = c->next;
		dpi_channel_free(c);
		c = next;
	}
}

void dpi_control_close(struct dpi_context *ctx)
{
	struct dpi_control *k = ctx->control;
	if (!k) return;
	dpi_listeners_close(ctx);
	dpi_strangers_free(ctx);
	free_channels(k->channels);
	free_channels(k->adopted);
	free_channels(k->ended);
	dpi_registry_close(ctx);
	dpi_rejoin_close(ctx);
	while (k->local) {
		struct dpi_local_message *m = k->local;
		k->local = m->next;
		dpi_unpack_close(&m->body);
		free(m);
	}
	for (int i = 0; i < k->peer_count; i++) {
		if (k->peers[i] != k->self) dpi_bells_close(&k->peers[i]->bells);
		free(k->peers[i]);
	}
	free(k->peers);
	free(k->by_node);
	dpi_cluster_close(ctx);
	pthread_mutex_destroy(&k->lock);
	free(k);
	ctx->control = NULL;
}
