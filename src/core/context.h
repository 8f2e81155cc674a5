/* SPDX-License-Identifier: Apache-2.0
 * context.h: a process's membership in a cluster, and what all layers share. */
#ifndef DPI_CORE_CONTEXT_H
#define DPI_CORE_CONTEXT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "bell.h"
#include "clock.h"
#include "dpi.h"
#include "dpi_transport.h"
#include "error.h"
#include "log.h"
#include "loop.h"
#include "settings.h"
#include "topology.h"

struct dpi_peer;
struct dpi_control;  /* control.c */
struct dpi_registry; /* registry.c; only on the node that holds it */
struct dpi_cluster;  /* cluster.c: what this node knows of the others */
struct dpi_loop;     /* loop.c */
struct dpi_descriptors; /* descriptor.c */
struct dpi_memory_layer;
struct dpi_flow_layer;

#define DPI_TRANSPORTS_MAX 8

/* A transport this context has opened. All its lanes' slots are called with lock held: one lane now. */
struct dpi_carrier {
	const DPI_Transport *table; /* with every slot filled: &filled */
	DPI_Transport filled, lower; /* lower: what a stacked one works over */
	void *module[2];	    /* of dlopen: its own, its lower one's; NULL: built in */
	struct dpi_context *ctx;
	int index;		    /* in ctx->carrier */
	char name[32];		    /* as users write it: "hook:shm" */
	DPI_Tp *tp;
	DPI_Tp_Attr attr;
	DPI_Tp_Core core;
	pthread_mutex_t lock;
	int fd; /* to sleep on; -1 */
	struct dpi_watch watch;
	bool needs_progress; /* false: pure load and store, nothing to poll */
	char reason[160];    /* why it is, or is not, open */
};

struct dpi_context {
	DPI_Context handle;
	struct dpi_settings settings;
	int node;
	int expected_nodes; /* 0: not said */
	uint64_t incarnation;
	bool secure;	    /* a cluster key is in use */
	int64_t timeout_us; /* default deadline */
	int64_t spin_ns;
	struct dpi_bells bells; /* this node's own */
	struct dpi_loop *loop;
	struct dpi_topology *topology;	/* while transports are opened, once one has asked; else NULL */
	struct dpi_placement placement; /* of the progress thread and of windows */
	struct dpi_descriptors *descriptors;
	struct dpi_control *control;
	struct dpi_cluster *cluster;
	struct dpi_registry *registry;
	struct dpi_carrier *carrier[DPI_TRANSPORTS_MAX];
	int carriers;
	_Atomic uint32_t next_bell;
	_Atomic int inside; /* calls that wait now */
	_Atomic bool refused; /* a transport had no room for a post; until the context's descriptor is armed */
	struct dpi_memory_layer *memory;
	struct dpi_flow_layer *flows;
};

/* The one open context; NULL without. */
struct dpi_context *dpi_context(void);

/* The context behind a handle, or NULL with the error in *error. */
struct dpi_context *dpi_context_get(DPI_Context handle, int *error);

bool dpi_context_set(struct dpi_context *ctx); /* false: another one is open */

/* The file this library was loaded from. */
const char *dpi_library_path(void);
/* DPI_ERR_ARGUMENT unless name is 1 … DPI_NAME_MAX-1 bytes without control characters. */
int dpi_check_name(const char *call, const char *name);

/* Give a struct that begins with its size to a caller that may know fewer fields, or more, which become zero. ARGUMENT if to
 * is NULL or its size too small to be one. */
int dpi_give(const char *call, void *to, const void *from, size_t known);
/* Copy an attribute struct of another size than ours: a shorter one is an older program's, in a longer one the rest must be zero
 * (UNSUPPORTED). size: of ours. */
int dpi_take(const char *call, void *to, size_t size, const void *from);
/* DPI_ERR_ARGUMENT unless timeout_us is DPI_NO_WAIT, 0 or microseconds. */
int dpi_timeout_check(const char *call, const char *field, int64_t timeout_us);

/* carrier.c: open every transport that the settings allow; names and reasons stand in the carriers. */
int dpi_carriers_open(struct dpi_context *ctx);
void dpi_carriers_close(struct dpi_context *ctx);
struct dpi_carrier *dpi_carrier_find(struct dpi_context *ctx, const char *name);
/* The built-in transport of this name, NULL if none; by index, NULL past the end. */
const DPI_Transport *dpi_transport_builtin(const char *name);
const DPI_Transport *dpi_transport_at(int index);
/* The table of a name: built in, or in libdpi-NAME.so, which is looked for in folders (a:b), in LIBDIR/dpi and where the loader
 * looks. module: for dlclose, once the table is not used any more. DPI_ERR_CONFIG, DPI_ERR_VERSION. */
int dpi_transport_find(const char *folders, const char *name, void **module, const DPI_Transport **table);
/* What is tried where DPI_TRANSPORT says nothing, best first; and whether trying is in vain: a module, and no device for one. */
#define DPI_TRANSPORTS_AUTOMATIC "shm,verbs,libfabric,tcp"
bool dpi_transport_needless(const char *name);
/* A copy with stubs in the empty slots. */
void dpi_transport_fill(DPI_Transport *filled, const DPI_Transport *table);
/* The callbacks, for a carrier that opens outside a context too (dpi-info). */
void dpi_carrier_core(struct dpi_carrier *c, struct dpi_context *ctx);
bool dpi_transports_secure(const struct dpi_context *ctx); /* they may be reached from other hosts */

/* An operation posted to a transport: the cookie. done runs once, under the carrier's lock, when complete says so. */
struct dpi_operation {
	void (*done)(struct dpi_operation *op, int error, uint64_t result);
};

#endif
