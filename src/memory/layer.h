/* SPDX-License-Identifier: Apache-2.0
 * layer.h: the state of the memory layer of a context. */
#ifndef DPI_MEMORY_LAYER_H
#define DPI_MEMORY_LAYER_H

#include "context.h"

struct dpi_home;
struct dpi_buffer;
struct dpi_local_memory;
struct dpi_peer;
struct dpi_ring_in;
struct dpi_leaving;

/* Locks are taken in this order: memory layer, home, appender or credits, carrier, leaving. */
struct dpi_memory_layer {
	pthread_mutex_t lock; /* all that follows; homes are listed and unlisted on the loop thread */
	struct dpi_home *home;
	uint64_t next_home;
	uint64_t piece; /* pieces.h: the latest serial, begun at random; loop thread only */
	struct dpi_buffer *buffer; /* open handles */
	struct dpi_local_memory *local;
	/* linger.c */
	pthread_mutex_t linger_lock; /* held while the service publishes: a handle disarmed under it is not touched any more */
	struct dpi_buffer **armed;
	size_t armed_count, armed_room;
	_Atomic int64_t linger_at; /* when the service looks next */
	/* ring_in.c */
	pthread_mutex_t credit_lock;
	struct dpi_ring_in *_Atomic credits_due; /* changed under the lock */
	/* home.c */
	size_t rings_wanted; /* of all homes: requests that wait for memory; loop thread only */
	/* leaving.c */
	pthread_mutex_t leaving_lock;
	struct dpi_leaving *leaving;
	int64_t leaving_at; /* loop thread only: when it asks next */
};

/* buffer.c: a home says that a buffer is gone: its handles here end. */
void dpi_memory_gone(struct dpi_context *ctx, int home, uint64_t id);
/* buffer.c: a home says that another waits for memory that the ring of this handle takes. */
void dpi_memory_short(struct dpi_context *ctx, int home, uint64_t id, uint64_t handle);
/* buffer.c: the node is dead: appends to its buffers look before they write. */
void dpi_memory_home_down(struct dpi_context *ctx, struct dpi_peer *peer);
/* linger.c */
int dpi_linger_open(struct dpi_context *ctx);
/* leaving.c */
int dpi_leaving_open(struct dpi_context *ctx);
void dpi_leaving_close(struct dpi_context *ctx); /* the loop has stopped */
/* local.c: is a range inside memory that the library allocated? Then its descriptor and offset. */
bool dpi_local_memory_find(struct dpi_context *ctx, const void *address, uint64_t size, int *fd, uint64_t *offset);
void dpi_local_memory_close(struct dpi_context *ctx);

#endif
