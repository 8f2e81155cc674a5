/* SPDX-License-Identifier: Apache-2.0
 * flow.h: a flow as a process knows it.
 *
 * The registry's node holds the truth about each flow (coordinator.c): its definition, who its sources and targets are, whether it is
 * sealed or failed. Every process that has opened it holds a copy (flow.c), which the coordinator keeps up to date by messages in order.
 * Endpoints read the copy and wait for it to change; the data itself never goes near the coordinator. */
#ifndef DPI_FLOWS_FLOW_H
#define DPI_FLOWS_FLOW_H

#include <pthread.h>

#include "context.h"
#include "definition.h"
#include "peer.h"

enum { DPI_SOURCE_OPEN = 1, DPI_SOURCE_CLOSED, DPI_SOURCE_DEAD, DPI_SOURCE_LOST }; /* LOST: dead, but it may resume: it is not over */
/* LOST: of a retained flow: its process died or closed it, and it may be bound anew. */
enum { DPI_TARGET_UNBOUND, DPI_TARGET_BOUND, DPI_TARGET_ENDED, DPI_TARGET_DEAD, DPI_TARGET_LOST, DPI_TARGET_DETACHED };

/* Where a target is. */
struct dpi_flow_target {
	uint32_t state; /* DPI_TARGET_* */
	int node;
	uint64_t queue; /* its buffer's id at that node */
	uint32_t epoch; /* how often it was bound */
};

/* Whose a source is, or was last. */
struct dpi_flow_source {
	int state; /* DPI_SOURCE_*; 0: not heard of yet */
	int node;  /* -1: the same */
	uint32_t epoch; /* how often it was resumed */
	uint64_t id;	/* the program's; 0: none */
};

/* An endpoint that wants to hear of changes: its bell is rung after each. On the flow's list while the endpoint is open. */
struct dpi_flow_watch {
	struct dpi_flow_watch *next;
	uint32_t bell;
	int kind;	/* of what can be seen from outside (stats.h): DPI_ENDPOINT_*; NONE: nothing */
	void *endpoint; /* a struct dpi_source or dpi_target */
};

struct dpi_flow {
	struct dpi_context *ctx;
	uint64_t id; /* at the coordinator */
	char name[DPI_NAME_MAX];
	struct dpi_definition *definition;
	uint32_t references; /* under the layer's lock */
	_Atomic uint64_t version; /* release: what is below has changed */
	_Atomic int failed;	  /* error class for every endpoint: FLOW, PEER, CANCELLED, DESTROYED, REGISTRY; 0; release: the sentence stands */
	char sentence[512];
	_Atomic bool sealed;
	_Atomic uint32_t opened;  /* sources admitted so far; numbers 0 … opened - 1 */
	_Atomic uint32_t over;	  /* of these closed or dead; the flow is complete when sealed and over == opened */
	pthread_mutex_t lock; /* what follows */
	uint8_t *source;      /* DPI_SOURCE_* of each; opened of them */
	int *source_node;
	uint32_t *source_epoch; /* how often it was resumed */
	uint64_t *source_id;	/* the program's; 0: none */
	struct dpi_flow_target *target; /* of each */
	struct dpi_flow_watch *watches;
	/* The registry's node is gone: nothing is heard, and calls that ask it are DPI_ERR_REGISTRY, until it is back; data goes on.
	 * Version and bells tell of it. */
	_Atomic bool orphaned;
	bool named; /* under lock: its name stood in the registry: others may have it */
	/* flow.c */
	uint64_t copy; /* this copy's number, in what its coordinator tells */
	uint32_t source_room, target_room;
	struct dpi_flow *next; /* of its bucket */
};

/* Complete: no source is or will be open. acquire: then every ring that any source made is on its target's list. */
static inline bool dpi_flow_complete(const struct dpi_flow *f)
{
	if (!atomic_load_explicit(&f->sealed, memory_order_acquire)) return false;
	return atomic_load_explicit(&f->over, memory_order_acquire) == atomic_load_explicit(&f->opened, memory_order_acquire);
}
/* DPI_SUCCESS, or the flow's failure with its sentence. */
int dpi_flow_check(const struct dpi_flow *f);

/* All of the following: any thread but the loop's; they block for the coordinator's answer until deadline.
 * Errors: REGISTRY TIMEOUT DESTROYED, a failed flow's own, and those named. */

/* Find or make the process's copy, with a reference. attr: already copied. Errors: as DPI_Create_Flow, DPI_Open_Flow. */
int dpi_flow_create(struct dpi_context *ctx, const char *name, const DPI_Flow_Attr *attr, int64_t deadline, struct dpi_flow **f);
int dpi_flow_open(struct dpi_context *ctx, const char *name, int64_t appear, int64_t deadline, struct dpi_flow **f);
struct dpi_flow *dpi_flow_ref(struct dpi_flow *f);
void dpi_flow_unref(struct dpi_flow *f);
/* The flow of a handle, with a reference; NULL: dpi_flow_error says why. */
struct dpi_flow *dpi_flow_get(DPI_Flow handle);
static inline int dpi_flow_error(DPI_Flow handle)
{
	return dpi_handle_error(DPI_HANDLE_FLOW, (uint64_t)(uintptr_t)handle);
}

/* A new source: its number. SEALED, LIMIT, MEMORY. It belongs to this node: it is DEAD when the node is. */
int dpi_flow_join(struct dpi_flow *f, int64_t deadline, uint32_t *source);
/* The same of one with an id: a new one, or the one with that id, which then has this epoch. ARGUMENT EXISTS. */
struct dpi_flow_joining {
	uint64_t id;
	bool goes_on, takes_over; /* there must be one of this id; it may be open */
	uint32_t number, epoch;	  /* out */
};
int dpi_flow_resume(struct dpi_flow *f, struct dpi_flow_joining *j, int64_t deadline);
/* A source of this epoch ends: state CLOSED or DEAD. Every ring of it is complete before this is called. FENCED. */
int dpi_flow_leave(struct dpi_flow *f, uint32_t source, uint32_t epoch, int state, int64_t deadline);
/* It ends where nothing is to be told: the flow has failed, or it is another's. The same of a target that has this queue. */
void dpi_flow_let_go(struct dpi_flow *f, uint32_t source, uint32_t epoch);
void dpi_flow_let_go_queue(struct dpi_flow *f, uint32_t target, uint64_t queue);
/* This process takes a target: EXISTS (bound, ended or dead already), RANGE. again: of a retained flow also one that is bound or lost. */
int dpi_flow_bind_again(struct dpi_flow *f, uint32_t target, uint64_t queue, bool again, int64_t deadline, uint32_t *epoch);
static inline int dpi_flow_bind(struct dpi_flow *f, uint32_t target, uint64_t queue, int64_t deadline)
{
	uint32_t epoch;
	return dpi_flow_bind_again(f, target, queue, false, deadline, &epoch);
}
/* It lets go of it: state ENDED, or DEAD, which fails the flow unless it goes on, or is retained: then it is LOST. FENCED. */
int dpi_flow_unbind_queue(struct dpi_flow *f, uint32_t target, uint64_t queue, int state, int64_t deadline);
int dpi_flow_unbind(struct dpi_flow *f, uint32_t target, int state, int64_t deadline); /* the queue that it is known to have */
int dpi_flow_seal(struct dpi_flow *f, int64_t deadline);
int dpi_flow_cancel(struct dpi_flow *f, const char *reason, int64_t deadline);
int dpi_flow_destroy(struct dpi_context *ctx, const char *name, int64_t deadline);
/* A failure that an endpoint found: everyone's, with the sentence, unless the flow has one already. Off the loop thread it waits a second
 * at most, to be told whose sentence it is. The calling thread's stays. */
void dpi_flow_fail(struct dpi_flow *f, int error, const char *sentence);

/* Where a target is now; never blocks. */
struct dpi_flow_target dpi_flow_where(struct dpi_flow *f, uint32_t target);
/* bound, detached, dead and lost, under its lock. */
void dpi_flow_count(const struct dpi_flow *f, DPI_Flow_Info *info);
struct dpi_flow_source dpi_flow_whose(struct dpi_flow *f, uint32_t source); /* never blocks */
/* Has it been resumed, or lost, since it was of this epoch? */
bool dpi_flow_source_fenced(struct dpi_flow *f, uint32_t source, uint32_t epoch);
void dpi_flow_watch(struct dpi_flow *f, struct dpi_flow_watch *w);
void dpi_flow_unwatch(struct dpi_flow *f, struct dpi_flow_watch *w);

/* The layer of a context, as memory.h has it: opened after the memory layer, before the control channel starts. finish closes every
 * endpoint (source.h, target.h) and handle while peers are still there. */
struct dpi_flow_layer;
int dpi_flows_open(struct dpi_context *ctx);
void dpi_flows_finish(struct dpi_context *ctx);
void dpi_flows_close(struct dpi_context *ctx);

#endif
