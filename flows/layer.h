/* SPDX-License-Identifier: Apache-2.0
 * layer.h: the state of the flow layer of a context. */
#ifndef DPI_FLOWS_LAYER_H
#define DPI_FLOWS_LAYER_H

#include "flow.h"
#include "protocol.h"

struct dpi_lingerer;
struct dpi_flow_own;
struct dpi_coordinator;

#define DPI_FLOW_BUCKETS 1024u

/* Locks are taken in this order: layer, flow, control. */
struct dpi_flow_layer {
	pthread_mutex_t lock;			 /* copies and their references */
	struct dpi_flow *copy[DPI_FLOW_BUCKETS]; /* by id */
	uint64_t next_copy;
	_Atomic uint64_t next_token;
	pthread_mutex_t linger_lock; /* linger.c: held while its service sends */
	struct dpi_lingerer *lingerers;
	_Atomic int64_t linger_at; /* when the service looks next */
	struct dpi_coordinator *coordinator; /* loop thread only; NULL: another node is the registry's */
	struct dpi_flow_own *own; /* flow_return.c, under lock */
	_Atomic int joining;	  /* calls that make an endpoint this process's, under way */
};

/* flow_return.c: the endpoints that this process has, and how it tells a coordinator that comes back of them and of its copies. */
struct dpi_flow_own {
	struct dpi_flow_own *next;
	uint64_t flow, queue; /* queue: of a target */
	uint32_t number, epoch;
	bool target;
	uint32_t left; /* it is gone, with this state, which the coordinator may not know; 0: it is there */
};
int dpi_flow_return_open(struct dpi_context *ctx);
void dpi_flow_return_close(struct dpi_flow_layer *l);
/* An endpoint that the coordinator has counted; own: from malloc, the layer's from now on. */
void dpi_flow_owned(struct dpi_flow_layer *l, struct dpi_flow_own *own);
/* It ends, with the error of the call that told the coordinator. epoch counts of a source, queue of a target. */
void dpi_flow_disowned(struct dpi_context *ctx, const struct dpi_flow_own *which, int state, int error);
/* The coordinator has come back: it knows who left. Under lock. */
void dpi_flow_left_is_known(struct dpi_flow_layer *l);

/* coordinator.c */
int dpi_coordinator_open(struct dpi_context *ctx); /* handlers on every node; flows where the registry is held */
void dpi_coordinator_close(struct dpi_context *ctx);

/* flow.c. A copy with one reference: to be freed, or, once it is enlisted and news find it, given back. */
struct dpi_flow *dpi_flow_new(struct dpi_context *ctx, const char *name);
void dpi_flow_free(struct dpi_flow *f);
void dpi_flow_enlist(struct dpi_flow *f);
/* The place in its bucket's list of the copy of this number; 0: of any that is whole. Under the layer's lock. */
struct dpi_flow **dpi_flow_place(struct dpi_flow_layer *l, uint64_t id, uint64_t copy);
/* Tell the coordinator something; it may be gone. Frees p. */
void dpi_flow_tell(struct dpi_context *ctx, uint16_t type, struct dpi_pack *p);
/* News (type SOURCES … FAILED) for a copy of this process. Loop thread. */
void dpi_flow_news(struct dpi_context *ctx, uint16_t type, struct dpi_unpack *body);

/* What a flow can have failed with: any other class is DPI_ERR_FLOW to those who did not find it. */
static inline int dpi_flow_class(uint32_t error)
{
	return error == DPI_ERR_PEER || error == DPI_ERR_CANCELLED || error == DPI_ERR_DESTROYED ? (int)error : DPI_ERR_FLOW;
}

#endif
