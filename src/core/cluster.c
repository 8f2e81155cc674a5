/* SPDX-License-Identifier: Apache-2.0
 * cluster.c: how this process finds its cluster, and the table of nodes. */
#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth.h"
#include "control_state.h"
#include "launcher.h"
#include "wait.h"

/* ------------------------------------------------------------------------------------------------- configuration */

static const char *setting(struct dpi_context *ctx, enum dpi_setting which)
{
	return ctx->settings.value[which];
}

/* The node number, or -1 when none is set. */
static int read_node(struct dpi_context *ctx, int *node)
{
	int64_t n = -1;
	const char *text = setting(ctx, DPI_SETTING_NODE);
	*node = -1;
	if (!*text) return DPI_SUCCESS;
	if (dpi_setting_parse(DPI_KIND_integer, text, &n) || n < 0 || n >= DPI_NODES_MAX)
		return dpi_fail(DPI_ERR_CONFIG, "DPI_NODE is '%s': a node number is 0 to %d", text, DPI_NODES_MAX - 1);
	*node = (int)n;
	return DPI_SUCCESS;
}

static int read_file(struct dpi_context *ctx, const char *path)
{
	struct dpi_cluster *c = ctx->cluster;
	struct dpi_cluster_file f;
	int error = dpi_cluster_file_read(path, &f), at = -1;
	if (error) return error;
	for (int i = 0; i < f.count; i++) {
		if (!f.node[i].node) memcpy(c->registry[0], f.node[i].address, sizeof c->registry[0]);
		if (f.node[i].node == ctx->node) at = i;
	}
	if (ctx->node < 0)
		error = dpi_fail(DPI_ERR_CONFIG,
				 "%s says where the nodes are, but not which one this process is: set DPI_NODE to 0 … %d",
				 path, f.nodes - 1);
	else if (at < 0)
		error = dpi_fail(DPI_ERR_CONFIG, "%s has no line for node %d, which DPI_NODE says this process is", path,
				 ctx->node);
	else memcpy(c->own, f.node[at].address, sizeof c->own);
	if (!error && ctx->expected_nodes && ctx->expected_nodes != f.nodes)
		error = dpi_fail(DPI_ERR_CONFIG, "DPI_NODES is %d, %s says %d nodes: leave DPI_NODES away",
				 ctx->expected_nodes, path, f.nodes);
	ctx->expected_nodes = f.nodes;
	/* what the environment or the call says goes before the file */
	if (!error && *f.job && !*setting(ctx, DPI_SETTING_JOB))
		error = dpi_settings_set(&ctx->settings, DPI_SETTING_JOB, f.job, "file");
	if (!error && *f.key && !*setting(ctx, DPI_SETTING_KEY_FILE))
		error = dpi_settings_set(&ctx->settings, DPI_SETTING_KEY_FILE, f.key, "file");
	dpi_cluster_file_free(&f);
	return error;
}

static int check_job(struct dpi_context *ctx)
{
	const char *job = setting(ctx, DPI_SETTING_JOB);
	size_t n = strlen(job);
	if (n >= DPI_JOB_MAX)
		return dpi_fail(DPI_ERR_CONFIG, "DPI_JOB has %zu characters: a job's name has at most %d", n,
				DPI_JOB_MAX - 1);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)job[i] <= ' ' || job[i] == 0x7f)
			return dpi_fail(DPI_ERR_CONFIG,
					"DPI_JOB has a blank or a control character at byte %zu: take letters, digits and "
					"signs",
					i);
	memcpy(ctx->cluster->job, job, n + 1);
	return DPI_SUCCESS;
}

static int configure(struct dpi_context *ctx)
{
	struct dpi_cluster *c = ctx->cluster;
	const char *where = setting(ctx, DPI_SETTING_CLUSTER);
	int64_t nodes = ctx->settings.number[DPI_SETTING_NODES];
	int error = read_node(ctx, &ctx->node);
	if (error) return error;
	if (nodes < 0 || nodes > DPI_NODES_MAX)
		return dpi_fail(DPI_ERR_CONFIG, "DPI_NODES is %lld: a cluster has 1 to %d nodes", (long long)nodes,
				DPI_NODES_MAX);
	ctx->expected_nodes = (int)nodes;
	c->registries = 1;
	bool launched = dpi_launcher_meant(ctx);
	c->single = !*where && !launched;
	if (launched) {
		error = dpi_launcher_open(ctx);
		if (error) return error;
	} else if (c->single) {
		error = dpi_launcher_alone(ctx);
		if (error) return error;
		if (ctx->node > 0 || nodes > 1)
			return dpi_fail(DPI_ERR_CONFIG,
					"DPI_%s is set but DPI_CLUSTER is not: start the program with dpirun, or say in "
					"DPI_CLUSTER where the cluster is",
					ctx->node > 0 ? "NODE" : "NODES");
		ctx->node = 0;
		ctx->expected_nodes = 1;
	} else if (dpi_address_likely(where)) {
		if (dpi_address_check(where)) return dpi_fail(DPI_ERR_CONFIG, "DPI_CLUSTER: %s", dpi_detail());
		snprintf(c->registry[0], sizeof c->registry[0], "%s", where);
	} else {
		error = read_file(ctx, where);
		if (error) return error;
	}
	if (ctx->expected_nodes && ctx->node >= ctx->expected_nodes)
		return dpi_fail(DPI_ERR_CONFIG, "DPI_NODE is %d, but the cluster has %d nodes: numbers go from 0 to %d",
				ctx->node, ctx->expected_nodes, ctx->expected_nodes - 1);
	c->holds_registry = ctx->node == DPI_REGISTRY_NODE;
	error = check_job(ctx);
	if (!error && !c->single && *setting(ctx, DPI_SETTING_KEY_FILE))
		error = dpi_auth_open(setting(ctx, DPI_SETTING_KEY_FILE), &c->auth);
	ctx->secure = !error && c->auth;
	return error;
}

int dpi_cluster_open(struct dpi_context *ctx)
{
	struct dpi_cluster *c = calloc(1, sizeof *c);
	if (!c) return dpi_fail(DPI_ERR_MEMORY, "no memory for the table of nodes");
	pthread_mutex_init(&c->lock, NULL);
	if (gethostname(c->host, sizeof c->host - 1)) c->host[0] = 0;
	ctx->cluster = c;
	return configure(ctx);
}

void dpi_cluster_close(struct dpi_context *ctx)
{
	struct dpi_cluster *c = ctx->cluster;
	if (!c) return;
	dpi_launcher_close(c->launcher);
	dpi_auth_close(c->auth);
	pthread_mutex_destroy(&c->lock);
	free(c->table);
	free(c);
	ctx->cluster = NULL;
}

/* ----------------------------------------------------------------------------------------------------- the table */

static struct dpi_node *find(struct dpi_cluster *c, int node)
{
	for (int i = 0; i < c->count; i++)
		if (c->table[i].node == node) return &c->table[i];
	return NULL;
}

int dpi_cluster_set(struct dpi_context *ctx, const struct dpi_node *node)
{
	struct dpi_cluster *c = ctx->cluster;
	pthread_mutex_lock(&c->lock);
	struct dpi_node *n = find(c, node->node);
	if (!n && c->count == c->room) {
		int room = c->room ? 2 * c->room : 4;
		void *grown = realloc(c->table, (size_t)room * sizeof *c->table);
		if (!grown) {
			pthread_mutex_unlock(&c->lock);
			return dpi_fail(DPI_ERR_MEMORY, "no memory for the table of nodes");
		}
		c->table = grown;
		c->room = room;
	}
	if (!n) n = &c->table[c->count++];
	*n = *node;
	pthread_mutex_unlock(&c->lock);
	dpi_cluster_changed(ctx);
	return DPI_SUCCESS;
}

bool dpi_cluster_down(struct dpi_context *ctx, int node, uint64_t incarnation, bool left, bool gone, const char *why)
{
	struct dpi_cluster *c = ctx->cluster;
	pthread_mutex_lock(&c->lock);
	struct dpi_node *n = find(c, node);
	bool known = n && n->alive && n->incarnation == incarnation;
	if (known) {
		n->alive = false;
		n->left = left;
		n->gone = gone;
		snprintf(n->why, sizeof n->why, "%s", why);
	}
	pthread_mutex_unlock(&c->lock);
	if (known) dpi_cluster_changed(ctx);
	return known;
}

bool dpi_cluster_find(struct dpi_context *ctx, int node, struct dpi_node *out)
{
	struct dpi_cluster *c = ctx->cluster;
	pthread_mutex_lock(&c->lock);
	struct dpi_node *n = find(c, node);
	if (n) *out = *n;
	pthread_mutex_unlock(&c->lock);
	return n;
}

bool dpi_cluster_at(struct dpi_context *ctx, int i, struct dpi_node *out)
{
	struct dpi_cluster *c = ctx->cluster;
	pthread_mutex_lock(&c->lock);
	bool in = i < c->count;
	if (in) *out = c->table[i];
	pthread_mutex_unlock(&c->lock);
	return in;
}

int dpi_cluster_count(struct dpi_context *ctx)
{
	struct dpi_cluster *c = ctx->cluster;
	int count = ctx->expected_nodes;
	if (count) return count;
	pthread_mutex_lock(&c->lock);
	for (int i = 0; i < c->count; i++) count += c->table[i].alive;
	pthread_mutex_unlock(&c->lock);
	return count;
}

int dpi_cluster_node(struct dpi_context *ctx, int node, int64_t deadline, struct dpi_node *out)
{
	bool possible = node >= 0 && node < DPI_NODES_MAX;
	if (possible && dpi_cluster_find(ctx, node, out)) {
		/* who has the registry's answer knows that it is back, maybe before the news are here */
		if (node == DPI_REGISTRY_NODE && !out->alive && !dpi_registry_sync(ctx, deadline)) dpi_cluster_find(ctx, node, out);
		return DPI_SUCCESS;
	}
	/* a node that has joined may know it before the news are here */
	int error = possible && !ctx->cluster->holds_registry ? dpi_registry_sync(ctx, deadline) : DPI_SUCCESS;
	if (error) return error;
	if (possible && dpi_cluster_find(ctx, node, out)) return DPI_SUCCESS;
	if (possible && node < ctx->expected_nodes)
		return dpi_fail(DPI_ERR_NODE, "node %d has not joined the cluster yet", node);
	return dpi_fail(DPI_ERR_NODE, "there is no node %d: the cluster's nodes are 0 to %d", node, dpi_cluster_count(ctx) - 1);
}

/* ------------------------------------------------------------------------------------------------------- waiting */

void dpi_cluster_changed(struct dpi_context *ctx)
{
	/* release: who sees the count sees what changed */
	atomic_fetch_add_explicit(&ctx->cluster->changes, 1, memory_order_release);
	dpi_control_ring_all(ctx);
}

struct change {
	struct dpi_cluster *cluster;
	uint32_t seen;
};

static bool has_changed(void *arg)
{
	struct change *c = arg;
	return atomic_load_explicit(&c->cluster->changes, memory_order_acquire) != c->seen;
}

int dpi_cluster_wait(struct dpi_context *ctx, uint32_t seen, int64_t deadline)
{
	struct change c = { ctx->cluster, seen };
	struct dpi_wait w = { .ready = has_changed, .arg = &c, .bell = dpi_bell_pick(ctx), .deadline = deadline };
	return dpi_wait(ctx, &w);
}

int dpi_node_await(struct dpi_context *ctx, int node, int64_t deadline)
{
	struct dpi_node n;
	if (node == ctx->node) return DPI_SUCCESS;
	if (node < 0 || node >= DPI_NODES_MAX)
		return dpi_fail(DPI_ERR_NODE, "%d is not a node number: they go from 0 to %d", node,
				dpi_cluster_count(ctx) - 1);
	for (;;) {
		uint32_t seen = atomic_load_explicit(&ctx->cluster->changes, memory_order_acquire);
		if (dpi_cluster_find(ctx, node, &n)) {
			if (n.alive) return DPI_SUCCESS;
			return dpi_fail(DPI_ERR_NODE, "%s", n.why);
		}
		if (ctx->cluster->single || (ctx->expected_nodes && node >= ctx->expected_nodes))
			return dpi_fail(DPI_ERR_NODE, "there is no node %d: the cluster's nodes are 0 to %d", node, ctx->expected_nodes - 1);
		if (dpi_cluster_find(ctx, DPI_REGISTRY_NODE, &n) && !n.alive)
			return dpi_fail(DPI_ERR_REGISTRY, "node %d has not joined, and cannot without the registry: %s", node, n.why);
		if (dpi_cluster_wait(ctx, seen, deadline))
			return dpi_fail(DPI_ERR_TIMEOUT,
					"node %d has not joined the cluster: was it started, with DPI_NODE=%d and the same "
					"DPI_CLUSTER?",
					node, node);
	}
}
