/* SPDX-License-Identifier: Apache-2.0
 * peer.c: the peer of a number, connected when it is first needed. */
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control_state.h"
#include "registry.h"

int dpi_peer_dead(const struct dpi_peer *peer)
{
	return dpi_fail(DPI_ERR_PEER, "%s",
			atomic_load_explicit(&peer->dead, memory_order_acquire) ? peer->sentence : "the peer is dead");
}

struct dpi_peer *dpi_peer_find(struct dpi_context *ctx, int node)
{
	struct dpi_control *k = ctx->control;
	if (!k) return NULL;
	pthread_mutex_lock(&k->lock);
	struct dpi_peer *p = dpi_control_peer(k, node);
	pthread_mutex_unlock(&k->lock);
	return p;
}

struct dpi_peer *dpi_peer_ghost(struct dpi_context *ctx, int node)
{
	struct dpi_control *k = ctx->control;
	struct dpi_node n;
	bool some = dpi_cluster_find(ctx, node, &n) && !n.alive && *n.why;
	pthread_mutex_lock(&k->lock);
	for (int i = 0; i < k->peer_count; i++)
		if (k->peers[i]->node == node && !k->peers[i]->incarnation) {
			struct dpi_peer *known = k->peers[i];
			pthread_mutex_unlock(&k->lock);
			return known;
		}
	pthread_mutex_unlock(&k->lock);
	struct dpi_peer *p = calloc(1, sizeof *p);
	if (!p) return NULL;
	p->node = node;
	if (some) memcpy(p->sentence, n.why, sizeof p->sentence);
	else snprintf(p->sentence, sizeof p->sentence, "the process that was node %d has gone", node);
	atomic_init(&p->dead, true);
	pthread_mutex_lock(&k->lock);
	bool added = !dpi_control_keep_peer(k, p);
	pthread_mutex_unlock(&k->lock);
	if (added) return p;
	free(p);
	return NULL;
}

enum { FOUND, DEAD, BUSY, MINE };

/* Without the registry nobody will tell that a node which does not answer has gone. */
#define UNTOLD_NS 1000000000

static int64_t untold(struct dpi_context *ctx, int64_t deadline)
{
	struct dpi_node registry;
	int64_t soon = dpi_now() + UNTOLD_NS;
	return dpi_cluster_find(ctx, DPI_REGISTRY_NODE, &registry) && !registry.alive && soon < deadline ? soon : deadline;
}

/* What to do about the node whose record is n. MINE: entered in connecting, this thread connects. */
static int look(struct dpi_control *k, const struct dpi_node *n, struct dpi_connecting *mine, struct dpi_peer **peer)
{
	int what = MINE;
	pthread_mutex_lock(&k->lock);
	*peer = dpi_control_peer(k, n->node);
	if (*peer) what = FOUND;
	for (int i = 0; i < k->peer_count && what == MINE; i++) {
		if (k->peers[i]->node != n->node || k->peers[i]->incarnation != n->incarnation) continue;
		*peer = k->peers[i];
		what = DEAD;
	}
	for (struct dpi_connecting *c = k->connecting; c && what == MINE; c = c->next)
		if (c->node == n->node) what = BUSY;
	for (struct dpi_greeted *g = k->greeted; g && what == MINE; g = g->next)
		if (g->node == n->node) what = BUSY;
	if (what == MINE) {
		*mine = (struct dpi_connecting){ k->connecting, n->node };
		k->connecting = mine;
	}
	pthread_mutex_unlock(&k->lock);
	return what;
}

int dpi_peer_get(struct dpi_context *ctx, int node, int64_t deadline, struct dpi_peer **peer)
{
	struct dpi_control *k = ctx->control;
	struct dpi_node n;
	struct dpi_connecting mine;
	int64_t wait_ns = 0;
	*peer = dpi_peer_find(ctx, node);
	if (*peer) return DPI_SUCCESS;
	if (dpi_loop_inside(ctx)) return dpi_fail(DPI_ERR_INTERNAL, "the progress thread cannot wait for a connection");
	for (;;) {
		uint32_t seen = atomic_load_explicit(&ctx->cluster->changes, memory_order_acquire);
		bool again = true;
		int error = dpi_node_await(ctx, node, deadline);
		if (!dpi_cluster_find(ctx, node, &n))
			return error ? error : dpi_fail(DPI_ERR_NODE, "there is no node %d", node);
		if (error == DPI_ERR_NODE) return dpi_fail(DPI_ERR_PEER, "%s", n.why); /* it was there, and is dead */
		if (error) return error;
		int what = look(k, &n, &mine, peer);
		if (what == FOUND) return DPI_SUCCESS;
		if (what == DEAD) return dpi_peer_dead(*peer);
		error = DPI_ERR_AGAIN;
		if (what == MINE) {
			error = dpi_connect(ctx, n.address, n.addresses, node, n.incarnation, deadline, &again);
			again |= error == DPI_ERR_AGAIN;
			pthread_mutex_lock(&k->lock);
			struct dpi_connecting **at = &k->connecting;
			while (*at != &mine) at = &(*at)->next;
			*at = mine.next;
			pthread_mutex_unlock(&k->lock);
			dpi_cluster_changed(ctx);
		}
		if (error && !again) return error;
		if (dpi_now() >= deadline)
			return error == DPI_ERR_PEER ? error
						     : dpi_fail(DPI_ERR_TIMEOUT,
								"no channel to node %d came about in time: is it stopped, "
								"or too busy?",
								node);
		if (error == DPI_ERR_PEER) deadline = untold(ctx, deadline);
		if (error) dpi_backoff(ctx, seen, &wait_ns, deadline);
	}
}
