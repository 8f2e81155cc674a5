/* SPDX-License-Identifier: Apache-2.0
 * peer.h: another node as this one knows it. A peer lives until the context ends, so pointers to it stay good. */
#ifndef DPI_CORE_PEER_H
#define DPI_CORE_PEER_H

#include "context.h"

struct dpi_channel; /* control.c */

/* A transport's address as the peer announced it. */
struct dpi_peer_address {
	char transport[32];
	uint8_t bytes[DPI_TP_ADDRESS_MAX];
	uint32_t size;
};

struct dpi_peer {
	int node;
	uint64_t incarnation;
	bool same_host; /* proven: it handed over descriptors */
	_Atomic bool dead;
	char sentence[256];	  /* why it is dead; so too: */
	bool gone;		  /* its process has ended its context, or itself: for certain */
	struct dpi_bells bells;	  /* page NULL: other host */
	struct dpi_channel *channel;
	struct dpi_peer_address address[DPI_TRANSPORTS_MAX];
	int addresses;
	/* carrier.c, under the carrier's lock: the endpoint of each carrier, made at first need */
	DPI_Tp_Endpoint *endpoint[DPI_TRANSPORTS_MAX];
	_Atomic bool endpoint_lost[DPI_TRANSPORTS_MAX];
	char lost_sentence[DPI_TRANSPORTS_MAX][160]; /* set before endpoint_lost */
	_Atomic bool failed[DPI_TRANSPORTS_MAX]; /* its last try to connect: others are preferred */
	char failed_sentence[DPI_TRANSPORTS_MAX][160]; /* of the first one; set before failed */
	/* statistics; relaxed */
#define DPI_PEER_COUNTER(name, unit, text) _Atomic uint64_t name;
	struct { DPI_PEER_STATS(DPI_PEER_COUNTER) } stats;
#undef DPI_PEER_COUNTER
};

/* The peer, connected over its control channel by the deadline: NODE, PEER, TIMEOUT, AUTH, VERSION. Any thread but the loop's. Node self works. */
int dpi_peer_get(struct dpi_context *ctx, int node, int64_t deadline, struct dpi_peer **peer);
/* The peer if there is a channel to it now, else NULL. */
struct dpi_peer *dpi_peer_find(struct dpi_context *ctx, int node);
/* A dead peer that stands for a node which this one never met: of what was told about it. NULL: no memory. Loop thread. */
struct dpi_peer *dpi_peer_ghost(struct dpi_context *ctx, int node);
/* DPI_ERR_PEER with the peer's sentence. */
int dpi_peer_dead(const struct dpi_peer *peer);

/* carrier.c: the endpoint of a carrier to a peer; connects. Not on the loop thread unless it exists. Caller does not hold the carrier's lock. */
int dpi_peer_endpoint(struct dpi_context *ctx, struct dpi_peer *peer, int carrier, int64_t deadline, DPI_Tp_Endpoint **endpoint);
/* carrier.c: who could carry to it now, who does. Any thread. */
struct dpi_way {
	struct dpi_carrier *carrier; /* NULL: none can */
	char reason[256];	     /* candidates, chosen or rejected and why */
};
void dpi_peer_choose(struct dpi_context *ctx, const struct dpi_peer *peer, struct dpi_way *way);
/* carrier.c: all carriers, first those that have not failed to connect to it. Any thread. */
void dpi_peer_order(const struct dpi_context *ctx, const struct dpi_peer *peer, int order[DPI_TRANSPORTS_MAX]);
/* carrier.c: wake waiters at a peer's bell by its page; false if the page is not mapped here. */
static inline bool dpi_peer_ring(struct dpi_peer *peer, uint32_t bell)
{
	if (!peer->bells.page || bell >= DPI_BELLS) return false;
	dpi_bell_other(&peer->bells, bell);
	if (dpi_bell_ring(&peer->bells, bell)) atomic_fetch_add_explicit(&peer->stats.wakeups, 1, memory_order_relaxed);
	return true;
}

#endif
