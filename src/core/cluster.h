/* SPDX-License-Identifier: Apache-2.0
 * cluster.h: how this process finds its cluster, and the table of nodes. The registry's node makes the table; all others
 * have a copy that the registry keeps up to date, in order with its answers. */
#ifndef DPI_CORE_CLUSTER_H
#define DPI_CORE_CLUSTER_H

#include "address.h"
#include "context.h"

#define DPI_REGISTRY_NODE 0
#define DPI_NODES_MAX 65536
#define DPI_NODE_ADDRESSES 9
#define DPI_JOB_MAX 64

struct dpi_auth;
struct dpi_launcher; /* launcher.c */

/* One node: what the registry tells about it. */
struct dpi_node {
	int node;
	uint64_t incarnation;
	int64_t pid;
	char host[64]; /* as the node itself says */
	bool alive;
	bool left;	/* if not alive: it said goodbye */
	bool gone;	/* if not alive: that is certain; otherwise it may have been held up, or cut off */
	char why[256];	/* if not alive */
	int addresses;
	char address[DPI_NODE_ADDRESSES][DPI_ADDRESS_TEXT]; /* of its control listeners, Unix first */
};

/* A cluster file, as text says it. */
struct dpi_cluster_file {
	int nodes;	 /* from 'nodes', else the highest number + 1 */
	char key[256];	 /* path; "" */
	char job[DPI_JOB_MAX];
	int count;	 /* of the lines below */
	struct dpi_cluster_line {
		int node, line;
		char address[DPI_ADDRESS_TEXT];
	} *node;
};
/* Parse text (size bytes, any bytes). name: of the file, for "name:line: sentence". DPI_ERR_CONFIG. Looks nothing up. */
int dpi_cluster_file_parse(const char *name, const char *text, size_t size, struct dpi_cluster_file *file);
int dpi_cluster_file_read(const char *path, struct dpi_cluster_file *file);
void dpi_cluster_file_free(struct dpi_cluster_file *file);

struct dpi_cluster {
	/* constant once the loop runs; job: set once more when a process without one has joined, before it serves others */
	bool single;			 /* this process alone; no listeners */
	bool holds_registry;
	int registries;			 /* how many addresses node 0 may have: */
	char registry[DPI_NODE_ADDRESSES][DPI_ADDRESS_TEXT];
	char own[DPI_ADDRESS_TEXT];	 /* where the cluster file wants this node to listen; "" */
	char job[DPI_JOB_MAX];
	char host[64];
	struct dpi_auth *auth; /* NULL: no key */
	struct dpi_launcher *launcher; /* NULL: the cluster is not from PMIx */
	/* set by the registry, and by who joins before it serves others */
	uint64_t id;		/* made by the first registry */
	_Atomic uint64_t term;	/* the registry's life: 1, 2, …; 0: this one is not back yet */
	/* lock guards the table; the loop thread alone writes it */
	pthread_mutex_t lock;
	struct dpi_node *table;
	int count, room;
	/* counts changes of the table and of the set of peers; all bells ring after each. Waiters look at it. */
	_Atomic uint32_t changes;
};

/* Read the settings and the cluster file, and the key. DPI_ERR_CONFIG and others. */
int dpi_cluster_open(struct dpi_context *ctx);
void dpi_cluster_close(struct dpi_context *ctx);

/* How many nodes the cluster has: as was said at its start, else as many as have joined. */
int dpi_cluster_count(struct dpi_context *ctx);
/* What is known of a node; dead ones too. DPI_ERR_NODE if it has not joined by now. Not on the loop thread. */
int dpi_cluster_node(struct dpi_context *ctx, int node, int64_t deadline, struct dpi_node *out);

/* The rest is for the control plane. Loop thread only: */
int dpi_cluster_set(struct dpi_context *ctx, const struct dpi_node *node);
/* False if no such node is alive. left: it said goodbye. gone: it is certain. */
bool dpi_cluster_down(struct dpi_context *ctx, int node, uint64_t incarnation, bool left, bool gone, const char *why);
/* Any thread: a copy of the record; false if there is none. */
bool dpi_cluster_find(struct dpi_context *ctx, int node, struct dpi_node *out);
/* The record number i, in order of joining; false past the end. */
bool dpi_cluster_at(struct dpi_context *ctx, int i, struct dpi_node *out);

/* Say that something changed: count and ring all bells. Any thread. */
void dpi_cluster_changed(struct dpi_context *ctx);
/* Wait until changes is no longer seen. DPI_ERR_TIMEOUT. Not on the loop thread. */
int dpi_cluster_wait(struct dpi_context *ctx, uint32_t seen, int64_t deadline);

#endif
