/* SPDX-License-Identifier: Apache-2.0
 * registry_client.c: what a node asks of the registry, and what the registry tells it unasked. */
#include <stdio.h>
#include <string.h>

#include "control_state.h"
#include "registry.h"

/* The registry answers at the deadline at the latest; its answer, which says what was missing, is worth a little more. */
#define GRACE_NS 1000000000

static int ask(struct dpi_context *ctx, uint16_t type, struct dpi_pack *request, int64_t deadline, struct dpi_reply *reply)
{
	int64_t now = dpi_now();
	if (deadline < now) deadline = now;
	if (deadline < DPI_NEVER - GRACE_NS) deadline += GRACE_NS;
	int error = dpi_call(ctx, DPI_REGISTRY_NODE, type, request, deadline, reply);
	if (error == DPI_ERR_PEER && !dpi_peer_find(ctx, DPI_REGISTRY_NODE))
		return dpi_registry_gone(ctx, "the registry");
	return error;
}

int dpi_registry_gone(struct dpi_context *ctx, const char *what)
{
	char why[DPI_DETAIL_MAX];
	snprintf(why, sizeof why, "%.300s", dpi_detail());
	if (ctx->registry) return dpi_fail(DPI_ERR_REGISTRY, "%s cannot be asked any more: %s", what, why);
	return dpi_fail(DPI_ERR_REGISTRY, "%s cannot be asked any more: %s; %s", what, why, dpi_rejoin_outlook(ctx));
}

static int64_t left_us(int64_t deadline)
{
	if (deadline == DPI_NEVER) return INT64_MAX / 4;
	int64_t left = deadline - dpi_now();
	return left > 0 ? (left + 999) / 1000 : -1;
}

static int malformed(void)
{
	return dpi_fail(DPI_ERR_CORRUPT, "the registry's answer is malformed");
}

static int take_entry(struct dpi_reply *reply, struct dpi_name *entry, bool *exists)
{
	struct dpi_unpack *u = &reply->body;
	*exists = dpi_unpack_u8(u);
	entry->kind = dpi_unpack_u32(u);
	uint32_t node = dpi_unpack_u32(u);
	entry->node = (int)node;
	entry->incarnation = dpi_unpack_u64(u);
	entry->id = dpi_unpack_u64(u);
	bool bad = u->bad || node >= DPI_NODES_MAX;
	dpi_reply_free(reply);
	return bad ? malformed() : DPI_SUCCESS;
}

int dpi_name_publish(struct dpi_context *ctx, const char *name, struct dpi_name *entry, int64_t deadline)
{
	struct dpi_pack p = { 0 };
	struct dpi_reply reply;
	bool exists;
	dpi_pack_text(&p, name);
	dpi_pack_u32(&p, entry->kind);
	dpi_pack_u32(&p, (uint32_t)entry->node);
	dpi_pack_u64(&p, entry->incarnation);
	dpi_pack_u64(&p, entry->id);
	int error = ask(ctx, DPI_REGISTRY_PUBLISH, &p, deadline, &reply);
	if (!error) error = take_entry(&reply, entry, &exists);
	if (error || !exists) return error;
	return dpi_fail(DPI_ERR_EXISTS, "the name '%s' is taken: node %d holds it; take another, or open what is there",
			name, entry->node);
}

int dpi_name_find(struct dpi_context *ctx, const char *name, uint32_t kind, int64_t deadline, struct dpi_name *entry)
{
	struct dpi_pack p = { 0 };
	struct dpi_reply reply;
	bool exists;
	dpi_pack_text(&p, name);
	dpi_pack_u32(&p, kind);
	dpi_pack_u64(&p, (uint64_t)left_us(deadline));
	int error = ask(ctx, DPI_REGISTRY_FIND, &p, deadline, &reply);
	return error ? error : take_entry(&reply, entry, &exists);
}

int dpi_name_remove(struct dpi_context *ctx, const char *name, uint64_t id, int64_t deadline)
{
	struct dpi_pack p = { 0 };
	dpi_pack_text(&p, name);
	dpi_pack_u64(&p, id);
	return ask(ctx, DPI_REGISTRY_REMOVE, &p, deadline, NULL);
}

int dpi_barrier(struct dpi_context *ctx, const char *name, uint32_t count, int64_t deadline)
{
	struct dpi_pack p = { 0 };
	dpi_pack_text(&p, name);
	dpi_pack_u32(&p, count);
	dpi_pack_u64(&p, (uint64_t)left_us(deadline));
	return ask(ctx, DPI_REGISTRY_BARRIER, &p, deadline, NULL);
}

int dpi_registry_sync(struct dpi_context *ctx, int64_t deadline)
{
	return ask(ctx, DPI_REGISTRY_SYNC, NULL, deadline, NULL);
}

/* ----------------------------------------------------------------------------------------------- news of the nodes */

void dpi_node_pack(struct dpi_pack *p, const struct dpi_node *n)
{
	dpi_pack_u32(p, (uint32_t)n->node);
	dpi_pack_u64(p, n->incarnation);
	dpi_pack_u64(p, (uint64_t)n->pid);
	dpi_pack_text(p, n->host);
	dpi_pack_u8(p, (uint8_t)(n->left | n->gone << 1));
	dpi_pack_text(p, n->why);
	dpi_pack_u8(p, (uint8_t)n->addresses);
	for (int i = 0; i < n->addresses; i++) dpi_pack_text(p, n->address[i]);
}

bool dpi_node_unpack(struct dpi_unpack *u, struct dpi_node *n)
{
	memset(n, 0, sizeof *n);
	uint32_t node = dpi_unpack_u32(u);
	n->node = node < DPI_NODES_MAX ? (int)node : -1;
	n->incarnation = dpi_unpack_u64(u);
	n->pid = (int64_t)dpi_unpack_u64(u);
	dpi_unpack_text(u, n->host, sizeof n->host);
	uint8_t how = dpi_unpack_u8(u);
	n->left = how & 1;
	n->gone = how & 2;
	if (how > 3) u->bad = true;
	dpi_unpack_text(u, n->why, sizeof n->why);
	n->addresses = dpi_unpack_u8(u);
	if (n->addresses > DPI_NODE_ADDRESSES) {
		n->addresses = 0;
		u->bad = true;
	}
	for (int i = 0; i < n->addresses; i++) dpi_unpack_text(u, n->address[i], sizeof n->address[i]);
	dpi_clean(n->host);
	dpi_clean(n->why);
	return !u->bad && u->at == u->end && n->node >= 0;
}

static void handle_news(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct dpi_control *k = ctx->control;
	struct dpi_node n, known;
	if (in->from->node != DPI_REGISTRY_NODE || ctx->registry || !dpi_node_unpack(&in->body, &n)) {
		dpi_log(DPI_LOG_WARNING, "node %d sent news of nodes that it has no right to, or that are malformed",
			in->from->node);
		return;
	}
	n.alive = in->type == DPI_REGISTRY_NODE_UP;
	if (n.alive || !dpi_cluster_find(ctx, n.node, &known)) {
		if (dpi_cluster_set(ctx, &n)) dpi_log(DPI_LOG_ERROR, "news of node %d is lost: %s", n.node, dpi_detail());
		return;
	}
	if (n.incarnation == ctx->incarnation) return;
	dpi_cluster_down(ctx, n.node, n.incarnation, n.left, n.gone, n.why);
	pthread_mutex_lock(&k->lock);
	struct dpi_peer *peer = dpi_control_peer(k, n.node);
	pthread_mutex_unlock(&k->lock);
	if (peer && peer->incarnation == n.incarnation) dpi_control_peer_down(ctx, peer, n.left, n.why);
}

int dpi_registry_watch(struct dpi_context *ctx)
{
	int error = dpi_handle_messages(ctx, DPI_REGISTRY_NODE_UP, handle_news);
	return error ? error : dpi_handle_messages(ctx, DPI_REGISTRY_NODE_DOWN, handle_news);
}
