/* SPDX-License-Identifier: Apache-2.0
 * registry_return.c: how the registry comes back when node 0 has died and was started again, and that there are never two.
 *
 * The nodes that live look for node 0 (rejoin.c). Each one that finds it is bound to it, and to no other, until that one is dead to
 * it; it tells what it knows of the others, what names it holds, and what else the layers say; then that it has told all. The
 * registry is back when enough have. A vote has each node of the cluster's size but node 0, unless it has ended for certain: it
 * said goodbye, or its kernel closed its connection. More than half of the votes are enough when a node knows in the same way that
 * the last registry has ended. Otherwise that one counts as one more voter, for itself.
 *
 * A registry answers as long as those bound to it, itself included, are not fewer than the other voters: then no other can have
 * enough. Bound is who is connected on the same host, as only an end of the connection frees it; on other hosts who has shown, by
 * sending back the time of a heartbeat, that it has heard of this node less than DPI_PEER_TIMEOUT ago, as it waits as long before
 * it gives its registry up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry_state.h"

struct dpi_return {
	uint64_t cluster, term; /* of the cluster, and the highest that was told of */
	bool ended;		/* somebody knows for certain that the registry of that term has */
	struct dpi_peer **told;
	uint32_t tellers, room;
	int64_t go; /* when it goes on with those who have told; 0: they are not enough */
};

bool dpi_registry_returns(struct dpi_context *ctx)
{
	struct dpi_cluster *c = ctx->cluster;
	return !c->single && !c->launcher && ctx->expected_nodes > 1;
}

static bool has_vote(struct dpi_context *ctx, int node)
{
	return node != DPI_REGISTRY_NODE && node < ctx->expected_nodes;
}

/* --------------------------------------------------------------------------------------------------------- who is bound */

void dpi_return_count(struct dpi_context *ctx)
{
	struct dpi_registry *r = ctx->registry;
	struct dpi_node n;
	uint32_t known = 0, unheard = 0;
	for (int i = 0; dpi_cluster_at(ctx, i, &n); i++) {
		if (!has_vote(ctx, n.node)) continue;
		known++;
		unheard += !n.alive && !n.gone;
	}
	/* to a first life those are strangers who have not joined; a later one may not have been told of all */
	r->unheard = unheard + (r->second && ctx->expected_nodes ? (uint32_t)ctx->expected_nodes - 1 - known : 0);
}

static bool is_bound(struct dpi_context *ctx, const struct dpi_channel *c)
{
	int64_t lease = ctx->control->peer_timeout / 16 * 15; /* clocks do not run at quite the same rate */
	return c->local || dpi_lease_now() - c->echoed < lease;
}

int dpi_registry_check(struct dpi_context *ctx)
{
	struct dpi_registry *r = ctx->registry;
	uint32_t bound = 1, others = r->unheard;
	if (r->returning)
		return dpi_fail(DPI_ERR_REGISTRY, "node 0 was started again, and the registry is not back yet: %u nodes have come",
				r->returning->tellers);
	if (!dpi_registry_returns(ctx)) return DPI_SUCCESS;
	for (const struct dpi_channel *c = ctx->control->channels; c; c = c->next)
		if (has_vote(ctx, c->peer->node)) is_bound(ctx, c) ? bound++ : others++;
	if (bound >= others) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_REGISTRY,
			"node 0 has not heard of %u of the cluster's nodes for too long: the registry may have come back in another process; "
			"if those nodes are gone, start them again",
			others);
}

/* ------------------------------------------------------------------------------------------------------------- coming back */

int dpi_return_open(struct dpi_context *ctx)
{
	struct dpi_registry *r = ctx->registry;
	if (!dpi_registry_returns(ctx))
		return dpi_fail(DPI_ERR_CONFIG,
				"DPI_RESTART is set, but a registry comes back only to a cluster whose size DPI_NODES or a cluster file "
				"says, and which was not started by PMIx");
	r->returning = calloc(1, sizeof *r->returning);
	r->second = true;
	return r->returning ? DPI_SUCCESS : dpi_fail(DPI_ERR_MEMORY, "no memory for the registry");
}

void dpi_return_free(struct dpi_registry *r)
{
	if (r->returning) free(r->returning->told);
	free(r->returning);
	r->returning = NULL;
}

int dpi_return_admit(struct dpi_context *ctx, uint32_t node, const struct dpi_introduction *i)
{
	struct dpi_registry *r = ctx->registry;
	struct dpi_node known;
	if (!r->returning && i->cluster == ctx->cluster->id)
		return dpi_fail(DPI_ERR_FENCED, "the registry has come back without node %u, which did not reach it in time: start that node again",
				node);
	if (!r->returning || (r->returning->cluster && r->returning->cluster != i->cluster))
		return dpi_fail(DPI_ERR_CONFIG,
				"node 0 was started for another cluster than that of node %u: to bring back the registry of that one, start "
				"node 0 with DPI_RESTART=1",
				node);
	if (i->expected_nodes != (uint32_t)ctx->expected_nodes)
		return dpi_fail(DPI_ERR_CONFIG, "node %u is of a cluster of %u nodes, node 0 of one of %d: start it with the same DPI_NODES",
				node, i->expected_nodes, ctx->expected_nodes);
	if (node == DPI_REGISTRY_NODE || node >= DPI_NODES_MAX || !i->cluster)
		return dpi_fail(DPI_ERR_CORRUPT, "a node that no cluster has looks for its registry");
	if (dpi_cluster_find(ctx, (int)node, &known) && known.alive)
		return dpi_fail(DPI_ERR_CONFIG, "two processes say that they are node %u: give each its own DPI_NODE", node);
	int error = dpi_registry_reserve(r, node);
	if (!error) r->returning->cluster = i->cluster;
	return error;
}

void dpi_return_resigned(struct dpi_context *ctx, uint32_t node, uint64_t incarnation)
{
	struct dpi_node n;
	if (!ctx->registry || !dpi_cluster_find(ctx, (int)node, &n) || n.incarnation != incarnation || n.alive) return;
	n.gone = true;
	dpi_cluster_set(ctx, &n);
	dpi_return_count(ctx);
}

void dpi_return_joined(struct dpi_context *ctx, const struct dpi_node *node)
{
	dpi_registry_withdraw(ctx, (uint32_t)node->node);
	if (dpi_cluster_set(ctx, node)) dpi_log(DPI_LOG_ERROR, "node %d came back, but %s", node->node, dpi_detail());
}

void dpi_return_lost(struct dpi_context *ctx, const struct dpi_peer *peer)
{
	struct dpi_return *b = ctx->registry->returning;
	for (uint32_t i = 0; b && i < b->tellers; i++)
		if (b->told[i] == peer) b->told[i--] = b->told[--b->tellers];
}

static bool has_told(const struct dpi_return *b, int node)
{
	for (uint32_t i = 0; i < b->tellers; i++)
		if (b->told[i]->node == node) return true;
	return false;
}

/* Have enough of those with a vote told? *all: nobody else is known to live. */
static bool enough(struct dpi_context *ctx, bool *all)
{
	struct dpi_return *b = ctx->registry->returning;
	uint32_t votes = (uint32_t)ctx->expected_nodes - 1, bound = 0;
	struct dpi_node n;
	*all = true;
	for (int i = 0; dpi_cluster_at(ctx, i, &n); i++) {
		if (n.node == DPI_REGISTRY_NODE) continue;
		if (has_vote(ctx, n.node)) votes -= n.gone && !n.alive;
		if ((n.alive || (!n.gone && !*n.why)) && !has_told(b, n.node)) *all = false;
	}
	for (const struct dpi_channel *c = ctx->control->channels; c; c = c->next)
		bound += has_vote(ctx, c->peer->node) && has_told(b, c->peer->node) && is_bound(ctx, c);
	return 2 * bound > votes + !b->ended;
}

/* Those who did not come are given up. */
static void give_up(struct dpi_context *ctx, const struct dpi_return *b)
{
	struct dpi_node n;
	struct dpi_peer *peer;
	for (int i = 0; dpi_cluster_at(ctx, i, &n); i++) {
		if (n.node == DPI_REGISTRY_NODE || has_told(b, n.node)) continue;
		char why[sizeof n.why];
		snprintf(why, sizeof why, "node %d (process %lld on %.40s) did not reach the registry when that came back", n.node,
			 (long long)n.pid, n.host);
		if (n.alive && (peer = dpi_peer_find(ctx, n.node))) dpi_control_peer_down(ctx, peer, false, why);
		if (*n.why && !n.alive) continue;
		n.alive = false;
		memcpy(n.why, why, sizeof why);
		dpi_cluster_set(ctx, &n);
	}
}

static void come_back(struct dpi_context *ctx)
{
	struct dpi_control *k = ctx->control;
	struct dpi_registry *r = ctx->registry;
	struct dpi_return *b = r->returning;
	struct dpi_node n;
	give_up(ctx, b);
	ctx->cluster->id = b->cluster;
	atomic_store(&ctx->cluster->term, b->term + 1);
	for (uint32_t i = 0; i < b->tellers; i++) {
		struct dpi_pack p = { 0 };
		dpi_pack_u64(&p, b->term + 1);
		dpi_tell(ctx, b->told[i], DPI_REGISTRY_BACK, &p);
		for (int j = 0; dpi_cluster_at(ctx, j, &n); j++)
			if (n.node != b->told[i]->node) dpi_registry_tell_of(ctx, b->told[i], &n);
	}
	for (int i = 0; i < k->backs; i++) k->back[i](ctx);
	dpi_log(DPI_LOG_INFORMATION, "the registry is back, with %u nodes, in its life %llu", b->tellers, (unsigned long long)b->term + 1);
	dpi_return_free(r);
	dpi_return_count(ctx);
	r->next_deadline = DPI_NEVER;
	dpi_cluster_changed(ctx);
}

int64_t dpi_return_service(struct dpi_context *ctx, int64_t now)
{
	struct dpi_return *b = ctx->registry->returning;
	bool all;
	if (!enough(ctx, &all)) b->go = 0;
	else if (!b->go) b->go = now + ctx->control->peer_timeout;
	if (!b->go) return DPI_NEVER;
	if (!all && now < b->go) return b->go;
	come_back(ctx);
	return DPI_NEVER;
}

int dpi_return_await(struct dpi_context *ctx, int64_t deadline)
{
	struct dpi_cluster *c = ctx->cluster;
	int64_t start = dpi_now();
	for (;;) {
		uint32_t seen = atomic_load_explicit(&c->changes, memory_order_acquire), came = 0;
		if (atomic_load(&c->term)) return DPI_SUCCESS;
		if (!dpi_cluster_wait(ctx, seen, deadline)) continue;
		struct dpi_node n;
		for (int i = 0; dpi_cluster_at(ctx, i, &n); i++) came += n.alive && n.node != ctx->node;
		return dpi_fail(DPI_ERR_REGISTRY,
				"the registry has not come back within %lld ms: %u of the other %d nodes have come to %s, which are not enough; do "
				"they live, and is the last node 0 dead to them? To begin a new cluster, leave DPI_RESTART away",
				(long long)((dpi_now() - start) / 1000000), came, ctx->expected_nodes - 1, c->registry[0]);
	}
}

/* --------------------------------------------------------------------------------------------------------- what is told */

/* From a node that is bound and has not told all yet. */
static bool tells(struct dpi_context *ctx, const struct dpi_request_in *in)
{
	struct dpi_registry *r = ctx->registry;
	return r && r->returning && in->from->node != ctx->node && !has_told(r->returning, in->from->node);
}

static void malformed(const struct dpi_request_in *in)
{
	dpi_log(DPI_LOG_WARNING, "node %d tells the registry what it has no right to, or what is malformed", in->from->node);
}

/* What it knows of another node. */
static void handle_known(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct dpi_node n, known;
	uint8_t alive = dpi_unpack_u8(&in->body);
	if (!tells(ctx, in) || alive > 1 || !dpi_node_unpack(&in->body, &n)) {
		malformed(in);
		return;
	}
	struct dpi_registry *r = ctx->registry;
	if ((uint32_t)n.node >= r->next_number) r->next_number = (uint32_t)n.node + 1;
	if (n.node == ctx->node || n.node == in->from->node) return;
	bool some = dpi_cluster_find(ctx, n.node, &known);
	if (some && known.alive) return;
	if (alive) n.why[0] = 0;
	if (some && known.incarnation == n.incarnation) {
		n.gone |= known.gone;
		if (*known.why) memcpy(n.why, known.why, sizeof n.why);
	} else if (some && !alive) return;
	n.alive = false; /* it comes itself */
	dpi_cluster_set(ctx, &n);
}

static void handle_held(struct dpi_context *ctx, struct dpi_request_in *in)
{
	char name[DPI_NAME_MAX];
	struct dpi_name entry;
	if (!tells(ctx, in) || !dpi_held_unpack(&in->body, name, &entry)) {
		malformed(in);
		return;
	}
	entry.node = in->from->node;
	entry.incarnation = in->from->incarnation;
	struct dpi_names *names = &ctx->registry->names;
	if (names->count >= NAMES_MAX || dpi_names_find(names, name) || !dpi_names_add(names, name, &entry))
		dpi_log(DPI_LOG_ERROR, "the name '%s' of node %d is lost: another has it, or there is no room", name, entry.node);
}

int dpi_return_name(struct dpi_context *ctx, const char *name, uint32_t kind, uint64_t id)
{
	struct dpi_name entry = { kind, ctx->node, ctx->incarnation, id };
	struct dpi_names *names = &ctx->registry->names;
	if (names->count < NAMES_MAX && !dpi_names_find(names, name) && dpi_names_add(names, name, &entry)) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_EXISTS, "the name '%s' is taken, or there is no room for it", name);
}

static void handle_told(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t term = dpi_unpack_u64(&in->body);
	uint8_t ended = dpi_unpack_u8(&in->body);
	struct dpi_return *b = tells(ctx, in) ? ctx->registry->returning : NULL;
	if (!b || in->body.bad || in->body.at != in->body.end || ended > 1 || !term || term >= UINT32_MAX) {
		malformed(in);
		return;
	}
	if (b->tellers == b->room) {
		uint32_t room = b->room ? 2 * b->room : 8;
		struct dpi_peer **grown = realloc(b->told, room * sizeof *grown);
		if (!grown) return;
		b->told = grown;
		b->room = room;
	}
	b->told[b->tellers++] = in->from;
	if (term > b->term) b->ended = false;
	if (term >= b->term) b->ended |= ended;
	if (term > b->term) b->term = term;
}

int dpi_return_handlers(struct dpi_context *ctx)
{
	int error = dpi_handle_messages(ctx, DPI_REGISTRY_KNOWN, handle_known);
	if (!error) error = dpi_handle_messages(ctx, DPI_REGISTRY_HELD, handle_held);
	return error ? error : dpi_handle_messages(ctx, DPI_REGISTRY_TOLD, handle_told);
}
