/* SPDX-License-Identifier: Apache-2.0
 * registry.c: the registry, held by node 0: names, barriers, who is in the cluster. All on its loop thread. A node's entry
 * is its lease: its channel renews it, and with the channel everything goes that the node holds. */
#include "registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry_state.h"

#define WAITING_MAX (1u << 16) /* finds and barrier participants */

/* A find that waits, or one who is in a barrier. */
struct waiting {
	struct waiting *next;
	struct dpi_peer *peer;
	uint64_t id;
	int64_t deadline;
	uint32_t kind; /* find */
	char name[DPI_NAME_MAX];
};

struct barrier {
	struct barrier *next;
	uint32_t count, came;
	struct waiting *in;
	char name[DPI_NAME_MAX];
};


/* --------------------------------------------------------------------------------------------------------- names */

static void answer_name(struct dpi_context *ctx, struct dpi_peer *to, uint64_t id, bool exists, const struct dpi_name *entry)
{
	struct dpi_pack p = { 0 };
	dpi_pack_u8(&p, exists);
	dpi_pack_u32(&p, entry->kind);
	dpi_pack_u32(&p, (uint32_t)entry->node);
	dpi_pack_u64(&p, entry->incarnation);
	dpi_pack_u64(&p, entry->id);
	dpi_answer(ctx, to, id, DPI_SUCCESS, &p);
}

static const char *kind_name(uint32_t kind)
{
	static const char *const kinds[] = { "?", "buffer", "flow", "Bloom filter" };
	return kinds[kind <= DPI_NAME_BLOOM ? kind : 0];
}

static int wrong_kind(const char *name, uint32_t has, uint32_t wants)
{
	return dpi_fail(DPI_ERR_NAME, "'%s' is a %s, not a %s", name, kind_name(has), kind_name(wants));
}

static void answer_find(struct dpi_context *ctx, struct dpi_peer *to, uint64_t id, const char *name, uint32_t kind,
			const struct dpi_name *entry)
{
	if (kind != entry->kind) dpi_answer(ctx, to, id, wrong_kind(name, entry->kind, kind), NULL);
	else answer_name(ctx, to, id, true, entry);
}

/* Whoever holds a name knows it, and tells a registry that has come back. */
static void tell_holder(struct dpi_context *ctx, uint16_t type, const char *name, const struct dpi_name *entry)
{
	struct dpi_pack p = { 0 };
	struct dpi_peer *to = entry->node == ctx->node ? NULL : dpi_peer_find(ctx, entry->node);
	if (!to || to->incarnation != entry->incarnation) return;
	dpi_held_pack(&p, name, entry);
	dpi_tell(ctx, to, type, &p); /* one who cannot be told is about to die, too */
}

static int publish(struct dpi_context *ctx, const struct dpi_registry_request *q)
{
	struct dpi_registry *r = ctx->registry;
	struct dpi_name entry = { q->kind, q->node, q->incarnation, q->id };
	struct dpi_node holder;
	if (!dpi_cluster_find(ctx, q->node, &holder))
		return dpi_fail(DPI_ERR_NODE, "node %d, which is to hold '%s', has not joined", q->node, q->name);
	if (holder.incarnation != q->incarnation || !holder.alive)
		return dpi_fail(DPI_ERR_PEER, "%s",
				holder.alive ? "the node that is to hold the name is another process now" : holder.why);
	if (r->names.count >= NAMES_MAX) return dpi_fail(DPI_ERR_LIMIT, "the cluster has %u names: destroy some", NAMES_MAX);
	if (!dpi_names_add(&r->names, q->name, &entry)) return dpi_fail(DPI_ERR_MEMORY, "the registry has no memory for a name");
	tell_holder(ctx, DPI_REGISTRY_HOLD, q->name, &entry);
	for (struct waiting **w = &r->finds; *w;) {
		struct waiting *f = *w;
		if (strcmp(f->name, q->name)) {
			w = &f->next;
			continue;
		}
		*w = f->next;
		r->waiting--;
		answer_find(ctx, f->peer, f->id, f->name, f->kind, &entry);
		free(f);
	}
	return DPI_SUCCESS;
}

static struct waiting *wait_for(struct dpi_registry *r, struct dpi_request_in *in, const struct dpi_registry_request *q)
{
	if (r->waiting >= WAITING_MAX) {
		dpi_fail(DPI_ERR_LIMIT, "%u calls wait at the registry already", WAITING_MAX);
		return NULL;
	}
	struct waiting *w = calloc(1, sizeof *w);
	if (!w) {
		dpi_fail(DPI_ERR_LIMIT, "the registry has no memory for one more call that waits");
		return NULL;
	}
	*w = (struct waiting){
		.peer = in->from, .id = in->id, .deadline = dpi_deadline(q->timeout_us, -1), .kind = q->kind
	};
	memcpy(w->name, q->name, sizeof w->name);
	if (w->deadline < r->next_deadline) r->next_deadline = w->deadline;
	r->waiting++;
	return w;
}

static int no_such_name(const char *name, uint32_t kind)
{
	return dpi_fail(DPI_ERR_NAME,
			"there is no %s '%s' in the cluster: is its name spelt so, and was it created, and not destroyed?",
			kind_name(kind), name);
}

/* ------------------------------------------------------------------------------------------------------ barriers */

static void end_barrier(struct dpi_context *ctx, struct barrier **at, int error)
{
	struct barrier *b = *at;
	*at = b->next;
	while (b->in) {
		struct waiting *w = b->in;
		b->in = w->next;
		ctx->registry->waiting--;
		dpi_answer(ctx, w->peer, w->id, error, NULL);
		free(w);
	}
	free(b);
}

/* Enters; answers by itself unless it fails. */
static int enter_barrier(struct dpi_context *ctx, struct dpi_request_in *in, const struct dpi_registry_request *q)
{
	struct dpi_registry *r = ctx->registry;
	struct barrier **at = &r->barriers;
	while (*at && strcmp((*at)->name, q->name)) at = &(*at)->next;
	if (*at && (*at)->count != q->count)
		return dpi_fail(DPI_ERR_EXISTS,
				"others wait in barrier '%s' with count %u, this call says %u: give the same count "
				"everywhere",
				q->name, (*at)->count, q->count);
	struct waiting *w = wait_for(r, in, q);
	if (!w) return DPI_ERR_LIMIT;
	if (!*at) {
		*at = calloc(1, sizeof **at);
		if (!*at) {
			r->waiting--;
			free(w);
			return dpi_fail(DPI_ERR_MEMORY, "the registry has no memory for a barrier");
		}
		(*at)->count = q->count;
		memcpy((*at)->name, q->name, sizeof q->name);
	}
	w->next = (*at)->in;
	(*at)->in = w;
	if (++(*at)->came == q->count) end_barrier(ctx, at, DPI_SUCCESS);
	return DPI_SUCCESS;
}

/* Those whose time is over leave. */
static void barrier_deadlines(struct dpi_context *ctx, int64_t now)
{
	struct dpi_registry *r = ctx->registry;
	for (struct barrier **at = &r->barriers, *b; (b = *at);) {
		uint32_t came = b->came;
		for (struct waiting **in = &b->in, *w; (w = *in);) {
			if (w->deadline > now) {
				if (w->deadline < r->next_deadline) r->next_deadline = w->deadline;
				in = &w->next;
				continue;
			}
			*in = w->next;
			r->waiting--;
			b->came--;
			dpi_answer(ctx, w->peer, w->id,
				   dpi_fail(DPI_ERR_TIMEOUT, "only %u of %u came to barrier '%s' in time", came, b->count,
					    b->name),
				   NULL);
			free(w);
		}
		if (b->in) {
			at = &b->next;
			continue;
		}
		*at = b->next;
		free(b);
	}
}

int64_t dpi_registry_service(struct dpi_context *ctx, int64_t now)
{
	struct dpi_registry *r = ctx->registry;
	if (!r) return DPI_NEVER;
	if (r->returning) return dpi_return_service(ctx, now);
	if (now < r->next_deadline) return r->next_deadline;
	r->next_deadline = DPI_NEVER;
	for (struct waiting **at = &r->finds, *w; (w = *at);) {
		if (w->deadline > now) {
			if (w->deadline < r->next_deadline) r->next_deadline = w->deadline;
			at = &w->next;
			continue;
		}
		*at = w->next;
		r->waiting--;
		dpi_answer(ctx, w->peer, w->id, no_such_name(w->name, w->kind), NULL);
		free(w);
	}
	barrier_deadlines(ctx, now);
	return r->next_deadline;
}

/* ------------------------------------------------------------------------------------------------------ requests */

bool dpi_registry_unpack(uint16_t type, struct dpi_unpack *u, struct dpi_registry_request *r)
{
	memset(r, 0, sizeof *r);
	dpi_unpack_text(u, r->name, sizeof r->name);
	if (type == DPI_REGISTRY_PUBLISH) {
		r->kind = dpi_unpack_u32(u);
		uint32_t node = dpi_unpack_u32(u);
		r->node = node < DPI_NODES_MAX ? (int)node : -1;
		r->incarnation = dpi_unpack_u64(u);
		r->id = dpi_unpack_u64(u);
	} else if (type == DPI_REGISTRY_REMOVE) r->id = dpi_unpack_u64(u);
	else {
		if (type == DPI_REGISTRY_FIND) r->kind = dpi_unpack_u32(u);
		else r->count = dpi_unpack_u32(u);
		r->timeout_us = (int64_t)dpi_unpack_u64(u);
	}
	for (const char *at = r->name; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f) return false;
	return !u->bad && u->at == u->end && *r->name && r->node >= 0 && (type != DPI_REGISTRY_BARRIER || r->count);
}

static void handle_request(struct dpi_context *ctx, struct dpi_request_in *in)
{
	struct dpi_registry *r = ctx->registry;
	struct dpi_registry_request q;
	struct dpi_named **at = NULL;
	int error = DPI_SUCCESS;
	if (!r)
		error = dpi_fail(DPI_ERR_REGISTRY, "node %d does not hold the registry, node %d does", ctx->node,
				 DPI_REGISTRY_NODE);
	else if (!dpi_registry_unpack(in->type, &in->body, &q))
		error = dpi_fail(DPI_ERR_CORRUPT, "the request to the registry is malformed");
	else if (!(error = dpi_registry_check(ctx))) at = dpi_names_find(&r->names, q.name);
	if (error) {
		dpi_answer(ctx, in->from, in->id, error, NULL);
		return;
	}
	switch (in->type) {
	case DPI_REGISTRY_PUBLISH:
		if (at) {
			answer_name(ctx, in->from, in->id, true, &(*at)->entry);
			return;
		}
		error = publish(ctx, &q);
		break;
	case DPI_REGISTRY_REMOVE:
		if (at && (*at)->entry.id == q.id) {
			tell_holder(ctx, DPI_REGISTRY_RELEASE, q.name, &(*at)->entry);
			dpi_names_remove(&r->names, at);
		} else error = no_such_name(q.name, DPI_NAME_BUFFER);
		break;
	case DPI_REGISTRY_FIND:
		if (at) {
			answer_find(ctx, in->from, in->id, q.name, q.kind, &(*at)->entry);
			return;
		}
		if (q.timeout_us <= 0) error = no_such_name(q.name, q.kind);
		else {
			struct waiting *w = wait_for(r, in, &q);
			if (w) {
				w->next = r->finds;
				r->finds = w;
				return;
			}
			error = DPI_ERR_LIMIT;
		}
		break;
	default:
		error = enter_barrier(ctx, in, &q);
		if (!error) return;
	}
	if (!error && in->type == DPI_REGISTRY_PUBLISH) {
		struct dpi_name entry = { q.kind, q.node, q.incarnation, q.id };
		answer_name(ctx, in->from, in->id, false, &entry);
	} else dpi_answer(ctx, in->from, in->id, error, NULL);
}

static void handle_sync(struct dpi_context *ctx, struct dpi_request_in *in)
{
	int error =
		ctx->registry ? DPI_SUCCESS : dpi_fail(DPI_ERR_REGISTRY, "node %d does not hold the registry", ctx->node);
	dpi_answer(ctx, in->from, in->id, error, NULL);
}

/* --------------------------------------------------------------------------------------------------------- nodes */

int dpi_registry_reserve(struct dpi_registry *r, uint32_t node)
{
	for (int i = 0; i < r->reserved_count; i++)
		if (r->reserved[i] == node)
			return dpi_fail(DPI_ERR_CONFIG,
					"another process joins as node %u at this moment: give each its own DPI_NODE", node);
	uint32_t *reserved = realloc(r->reserved, (size_t)(r->reserved_count + 1) * sizeof *reserved);
	if (!reserved) return dpi_fail(DPI_ERR_MEMORY, "the registry has no memory for a node");
	reserved[r->reserved_count++] = node;
	r->reserved = reserved;
	if (node >= r->next_number) r->next_number = node + 1;
	return DPI_SUCCESS;
}

int dpi_registry_admit(struct dpi_context *ctx, uint32_t *node, uint32_t expected_nodes)
{
	struct dpi_registry *r = ctx->registry;
	struct dpi_node known;
	if (r->returning)
		return dpi_fail(DPI_ERR_AGAIN, "node 0 was started again, and the registry is not back yet");
	if (*node == DPI_NO_NODE) {
		uint32_t number =
			r->next_number > (uint32_t)ctx->expected_nodes ? r->next_number : (uint32_t)ctx->expected_nodes;
		if (!number) number = 1;
		if (number >= DPI_NODES_MAX)
			return dpi_fail(DPI_ERR_LIMIT, "the cluster has had %d nodes, more cannot join", DPI_NODES_MAX);
		*node = number;
	} else if (expected_nodes && ctx->expected_nodes && expected_nodes != (uint32_t)ctx->expected_nodes)
		return dpi_fail(DPI_ERR_CONFIG,
				"node %u was told that the cluster has %u nodes, node 0 that it has %d: start all with the "
				"same DPI_NODES",
				*node, expected_nodes, ctx->expected_nodes);
	if (dpi_cluster_find(ctx, (int)*node, &known) && known.alive)
		return dpi_fail(DPI_ERR_CONFIG,
				"node %u has joined already (process %lld on %s): give each process its own DPI_NODE", *node,
				(long long)known.pid, known.host);
	return dpi_registry_reserve(r, *node);
}

void dpi_registry_withdraw(struct dpi_context *ctx, uint32_t node)
{
	struct dpi_registry *r = ctx->registry;
	for (int i = 0; i < r->reserved_count; i++)
		if (r->reserved[i] == node) r->reserved[i--] = r->reserved[--r->reserved_count];
}

static void tell_of(struct dpi_context *ctx, struct dpi_peer *to, uint16_t type, const struct dpi_node *node)
{
	struct dpi_pack p = { 0 };
	dpi_node_pack(&p, node);
	dpi_tell(ctx, to, type, &p); /* one who cannot be told is about to die, too */
}

void dpi_registry_tell_of(struct dpi_context *ctx, struct dpi_peer *to, const struct dpi_node *node)
{
	tell_of(ctx, to, node->alive ? DPI_REGISTRY_NODE_UP : DPI_REGISTRY_NODE_DOWN, node);
}

static void tell_all(struct dpi_context *ctx, uint16_t type, const struct dpi_node *node)
{
	struct dpi_node other;
	for (int i = 0; dpi_cluster_at(ctx, i, &other); i++) {
		struct dpi_peer *to = other.alive && other.node != ctx->node && other.node != node->node
					      ? dpi_peer_find(ctx, other.node)
					      : NULL;
		if (to) tell_of(ctx, to, type, node);
	}
}

void dpi_registry_joined(struct dpi_context *ctx, struct dpi_peer *peer, const struct dpi_node *node)
{
	struct dpi_node other;
	dpi_registry_withdraw(ctx, (uint32_t)node->node);
	if (dpi_cluster_set(ctx, node)) {
		dpi_log(DPI_LOG_ERROR, "node %d joined, but %s", node->node, dpi_detail());
		return;
	}
	for (int i = 0; dpi_cluster_at(ctx, i, &other); i++)
		if (other.node != node->node) dpi_registry_tell_of(ctx, peer, &other);
	dpi_return_count(ctx);
	tell_all(ctx, DPI_REGISTRY_NODE_UP, node);
	dpi_cluster_find(ctx, node->node, &other);
	tell_of(ctx, peer, DPI_REGISTRY_NODE_UP, &other); /* last: it now knows of all */
}

void dpi_registry_peer_down(struct dpi_context *ctx, struct dpi_peer *peer, bool left)
{
	struct dpi_registry *r = ctx->registry;
	struct dpi_node node;
	if (!dpi_cluster_down(ctx, peer->node, peer->incarnation, left, peer->gone, peer->sentence)) return;
	dpi_return_count(ctx);
	dpi_return_lost(ctx, peer);
	for (uint32_t i = 0; i < r->names.buckets; i++)
		for (struct dpi_named **at = &r->names.bucket[i]; *at;)
			if ((*at)->entry.incarnation == peer->incarnation) dpi_names_remove(&r->names, at);
			else at = &(*at)->next;
	for (struct waiting **at = &r->finds, *w; (w = *at);) {
		if (w->peer != peer) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		r->waiting--;
		free(w);
	}
	for (struct barrier **at = &r->barriers, *b; (b = *at);) {
		struct waiting *w = b->in;
		while (w && w->peer != peer) w = w->next;
		if (w)
			end_barrier(ctx, at,
				    dpi_fail(DPI_ERR_PEER, "barrier '%s' cannot be completed: %s", b->name, peer->sentence));
		else at = &b->next;
	}
	if (!r->returning && dpi_cluster_find(ctx, peer->node, &node)) tell_all(ctx, DPI_REGISTRY_NODE_DOWN, &node);
}

int dpi_registry_open(struct dpi_context *ctx)
{
	int error = dpi_registry_watch(ctx);
	if (!error) error = dpi_return_handlers(ctx);
	if (!error) error = dpi_handle_messages(ctx, DPI_REGISTRY_SYNC, handle_sync);
	for (uint16_t type = DPI_REGISTRY_PUBLISH; type <= DPI_REGISTRY_BARRIER && !error; type++)
		error = dpi_handle_messages(ctx, type, handle_request);
	if (error || !ctx->cluster->holds_registry) return error;
	struct dpi_registry *r = calloc(1, sizeof *r);
	if (!r) return dpi_fail(DPI_ERR_MEMORY, "no memory for the registry");
	r->next_deadline = DPI_NEVER;
	ctx->registry = r;
	return ctx->settings.number[DPI_SETTING_RESTART] ? dpi_return_open(ctx) : DPI_SUCCESS;
}

void dpi_registry_close(struct dpi_context *ctx)
{
	struct dpi_registry *r = ctx->registry;
	if (!r) return;
	dpi_names_free(&r->names);
	while (r->finds) {
		struct waiting *w = r->finds;
		r->finds = w->next;
		free(w);
	}
	while (r->barriers) {
		struct barrier *b = r->barriers;
		r->barriers = b->next;
		while (b->in) {
			struct waiting *w = b->in;
			b->in = w->next;
			free(w);
		}
		free(b);
	}
	dpi_return_free(r);
	free(r->reserved);
	free(r);
	ctx->registry = NULL;
}
