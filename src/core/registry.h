/* SPDX-License-Identifier: Apache-2.0
 * registry.h: names of the cluster, who is in it, barriers. Held by node 0 (registry.c answers there); these calls ask it.
 * All from any thread but the loop's; all DPI_ERR_REGISTRY when the registry's node is dead. */
#ifndef DPI_CORE_REGISTRY_H
#define DPI_CORE_REGISTRY_H

#include "context.h"

/* DPI_ERR_REGISTRY with the calling thread's sentence, and what helps. what: "the registry" */
int dpi_registry_gone(struct dpi_context *ctx, const char *what);

enum dpi_name_kind { DPI_NAME_BUFFER = 1, DPI_NAME_FLOW = 2, DPI_NAME_BLOOM = 3 };

/* A name's entry: who holds it, and the holder's own number for it. Dies with its holder. */
struct dpi_name {
	uint32_t kind;
	int node;
	uint64_t incarnation; /* of the node */
	uint64_t id;
};

/* Publish a name for entry->node, this node or another that has joined: DPI_ERR_EXISTS with *entry filled from who has it. */
int dpi_name_publish(struct dpi_context *ctx, const char *name, struct dpi_name *entry, int64_t deadline);
/* Look a name up, waiting for it to appear: DPI_ERR_NAME at the deadline. */
int dpi_name_find(struct dpi_context *ctx, const char *name, uint32_t kind, int64_t deadline, struct dpi_name *entry);
/* Remove a name if it still has this id. */
int dpi_name_remove(struct dpi_context *ctx, const char *name, uint64_t id, int64_t deadline);
int dpi_barrier(struct dpi_context *ctx, const char *name, uint32_t count, int64_t deadline);
/* Wait until this node knows all that the registry's node knew when it was asked. One that is not back yet answers, too. */
int dpi_registry_sync(struct dpi_context *ctx, int64_t deadline);
/* Wait until a node has joined: DPI_ERR_NODE at once if it can never join (number outside a cluster of known size), or is dead; DPI_ERR_TIMEOUT. */
int dpi_node_await(struct dpi_context *ctx, int node, int64_t deadline);

/* Loop thread of the registry's node. May it answer? DPI_ERR_REGISTRY: it is not back yet, or another may have taken its place. */
int dpi_registry_check(struct dpi_context *ctx);
/* The same, of a registry that comes back, in a dpi_registry_back: a name that this node holds itself. DPI_ERR_EXISTS. */
int dpi_return_name(struct dpi_context *ctx, const char *name, uint32_t kind, uint64_t id);

#endif
