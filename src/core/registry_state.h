/* SPDX-License-Identifier: Apache-2.0
 * registry_state.h: what the files of the registry share: registry.c (names, barriers, nodes) and registry_return.c (how it comes
 * back, and whether this one still is it). Loop thread of the registry's node only. */
#ifndef DPI_CORE_REGISTRY_STATE_H
#define DPI_CORE_REGISTRY_STATE_H

#include "control_state.h"
#include "names.h"

#define NAMES_MAX (1u << 20)
#define WAITING_MAX (1u << 16) /* finds and barrier participants */

struct waiting;
struct barrier;

struct dpi_registry {
	struct dpi_names names;
	struct waiting *finds;
	struct barrier *barriers;
	uint32_t waiting;
	int64_t next_deadline; /* not later than the first of all */
	uint32_t next_number;
	uint32_t *reserved; /* numbers admitted, not yet joined */
	int reserved_count;
	/* registry_return.c */
	struct dpi_return *returning; /* NULL: the registry is back, or was never away */
	bool second;		      /* not its first life */
	uint32_t unheard;	      /* nodes with a vote that are not there, and of which nobody knows that they have ended */
};

/* registry.c */
int dpi_registry_reserve(struct dpi_registry *r, uint32_t node);
/* Tell one node of another, and all of one. */
void dpi_registry_tell_of(struct dpi_context *ctx, struct dpi_peer *to, const struct dpi_node *node);

/* registry_return.c */
void dpi_return_count(struct dpi_context *ctx); /* after a change of the table */
void dpi_return_lost(struct dpi_context *ctx, const struct dpi_peer *peer);
int64_t dpi_return_service(struct dpi_context *ctx, int64_t now);
void dpi_return_free(struct dpi_registry *r);

#endif
