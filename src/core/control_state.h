/* SPDX-License-Identifier: Apache-2.0
 * control_state.h: what the files of the control plane share: control.c (channels, calls, life and death), accept.c (those
 * who connect), connect.c and peer.c (connecting), registry.c. */
#ifndef DPI_CORE_CONTROL_STATE_H
#define DPI_CORE_CONTROL_STATE_H

#include "channel.h"
#include "cluster.h"
#include "control.h"
#include "hello.h"
#include "peer.h"
#include "registry.h"

/* Message types of the core. Those up to READY are of the greeting (hello.h). */
enum {
	DPI_MESSAGE_HELLO = DPI_MESSAGE_CORE,
	DPI_MESSAGE_REFUSAL,
	DPI_MESSAGE_PROOF,
	DPI_MESSAGE_INTRODUCTION,
	DPI_MESSAGE_READY,
	DPI_MESSAGE_HEARTBEAT, /* between hosts: u64 when it was sent, u64 of the last one that came: when that was sent */
	DPI_MESSAGE_GOODBYE,
	DPI_MESSAGE_GIVE_UP /* this side takes the other for dead; the end of a channel without it, or a goodbye, is the process's end */
};

#define DPI_LISTENERS 3
#define DPI_STRANGERS_MAX 256		/* greetings under way; one more drops the oldest */
#define DPI_GREETING_NS 5000000000	/* a greeting takes no longer, until who connects is let in */

struct dpi_listener {
	struct dpi_watch watch; /* fd; -1: none */
	int64_t paused;		/* dpi_now until when it rests, for want of descriptors; 0 */
	bool short_of_fds;	/* that was said */
};

/* A message of this node to itself. */
struct dpi_local_message {
	struct dpi_local_message *next;
	uint16_t type;
	uint64_t id;
	struct dpi_unpack body;
	uint8_t data[];
};

struct dpi_control {
	/* lock: the set of peers, dpi_peer.channel, every channel's sending half, calls, local, adopted, connecting,
	 * greeted. Held for moments only: nothing blocks under it, no handler and no hook runs under it. */
	pthread_mutex_t lock;
	struct dpi_peer **peers; /* all there ever were */
	int peer_count, peer_room;
	struct dpi_peer **by_node; /* the newest of each number */
	int by_node_room;
	struct dpi_calling *calls;
	uint64_t next_id;
	struct dpi_local_message *local, **local_last;
	struct dpi_channel *adopted; /* made by connect.c, not yet seen by the loop */
	struct dpi_connecting *connecting;
	struct dpi_greeted *greeted;
	bool stopping, said_goodbye;
	int channel_count; /* established, not ended */
	/* loop thread only, once the loop runs */
	struct dpi_channel *channels;  /* established */
	struct dpi_channel *strangers; /* greeting, newest first */
	int stranger_count;
	struct dpi_channel *ended;
	int64_t next_beat;
	/* constant once the loop runs */
	dpi_handler *handler[DPI_MESSAGE_TYPES];
	dpi_peer_down *down[8];
	int downs;
	dpi_reporter *reporter[4];
	int reporters;
	dpi_registry_back *back[4];
	int backs;
	struct dpi_listener listener[DPI_LISTENERS];
	char local_address[DPI_ADDRESS_TEXT]; /* the Unix listener's */
	int addresses;
	char address[DPI_NODE_ADDRESSES][DPI_ADDRESS_TEXT]; /* announced */
	int64_t peer_timeout; /* ns */
	struct dpi_peer *self;
	struct dpi_rejoin *rejoin; /* rejoin.c */
};

/* A node this process connects to now; on the connecting thread's stack. */
struct dpi_connecting {
	struct dpi_connecting *next;
	int node;
};

/* A node whose greeting here is done but for its READY; in its struct dpi_accept. */
struct dpi_greeted {
	struct dpi_greeted *next;
	int node;
	uint64_t incarnation;
};

/* ------------------------------------------------------------------------------------------------ control.c */

/* Ring every bell of this node: all who wait look again. Any thread. */
void dpi_control_ring_all(struct dpi_context *ctx);
/* This node as its own peer, once it has its number and before it has others. */
int dpi_control_make_self(struct dpi_context *ctx);
/* Keep a peer as long as the context is there. Under lock. */
int dpi_control_keep_peer(struct dpi_control *k, struct dpi_peer *peer);
/* And add it to the set. Under lock. */
int dpi_control_add_peer(struct dpi_control *k, struct dpi_peer *peer);
/* The live peer of this number, or NULL. Under lock. */
struct dpi_peer *dpi_control_peer(struct dpi_control *k, int node);
/* Send on a channel and see that what is queued will go. Under lock. */
int dpi_control_send(struct dpi_context *ctx, struct dpi_channel *c, uint16_t type, uint16_t flags, uint64_t id,
		     const struct dpi_pack *body);
/* A channel has become this peer's: serve it. Loop thread. */
void dpi_control_establish(struct dpi_context *ctx, struct dpi_channel *c);
/* The peer is dead (or has left): mark, fail calls, run hooks, wake all. Loop thread. */
void dpi_control_peer_down(struct dpi_context *ctx, struct dpi_peer *peer, bool left, const char *sentence);
/* Forget a channel; its memory goes when nothing can look at it any more. Loop thread. */
void dpi_control_end(struct dpi_context *ctx, struct dpi_channel *c);

/* ------------------------------------------------------------------------------------------------- accept.c */

int dpi_listeners_open(struct dpi_context *ctx);
int dpi_listeners_start(struct dpi_context *ctx);
void dpi_listeners_close(struct dpi_context *ctx); /* the loop has stopped; so too: */
void dpi_strangers_free(struct dpi_context *ctx);
/* Drop strangers whose time is over, wake listeners that rested. Loop thread. */
int64_t dpi_accept_service(struct dpi_context *ctx, int64_t now);

/* ------------------------------------------------------------------------------------------------ connect.c */

/* Try each of count addresses once. node, incarnation: who must answer there (incarnation 0: whoever it is). On success the peer
 * stands in the set; DPI_ERR_AGAIN: the other side connects to us at this moment, or is there already; DPI_ERR_TIMEOUT;
 * DPI_ERR_PEER: nobody there, *may_come set if it can come yet; else what the other side says. Not on the loop thread. */
int dpi_connect(struct dpi_context *ctx, char (*address)[DPI_ADDRESS_TEXT], int count, int node, uint64_t incarnation,
		int64_t deadline, bool *may_come);
/* Wait for a change, and no longer than *wait_ns, which doubles from 1 to 20 ms. */
void dpi_backoff(struct dpi_context *ctx, uint32_t seen, int64_t *wait_ns, int64_t deadline);
/* Join the cluster over node 0. */
int dpi_join(struct dpi_context *ctx, int64_t deadline);

/* ------------------------------------------------------------------------------------------------ registry.c */

int dpi_registry_open(struct dpi_context *ctx); /* handlers on every node; the registry itself where it is held */
int dpi_registry_watch(struct dpi_context *ctx); /* registry_client.c: handlers of the registry's news */
void dpi_registry_close(struct dpi_context *ctx);
int64_t dpi_registry_service(struct dpi_context *ctx, int64_t now);
/* Loop thread of the registry's node. May the node that greets join? Gives it a number if it has none. */
int dpi_registry_admit(struct dpi_context *ctx, uint32_t *node, uint32_t expected_nodes);
void dpi_registry_withdraw(struct dpi_context *ctx, uint32_t node); /* it was admitted, but did not take the channel */
void dpi_registry_joined(struct dpi_context *ctx, struct dpi_peer *peer, const struct dpi_node *node);
void dpi_registry_peer_down(struct dpi_context *ctx, struct dpi_peer *peer, bool left);

/* A request to the registry, unpacked. Pure; false: malformed. */
struct dpi_registry_request {
	char name[DPI_NAME_MAX];
	uint32_t kind, count;
	int node;
	uint64_t incarnation, id;
	int64_t timeout_us;
};
bool dpi_registry_unpack(uint16_t type, struct dpi_unpack *u, struct dpi_registry_request *r);
/* News of a node, for NODE_UP and NODE_DOWN. Pure. */
void dpi_node_pack(struct dpi_pack *p, const struct dpi_node *n);
bool dpi_node_unpack(struct dpi_unpack *u, struct dpi_node *n);

enum {
	DPI_REGISTRY_PUBLISH = DPI_MESSAGE_REGISTRY,
	DPI_REGISTRY_FIND,
	DPI_REGISTRY_REMOVE,
	DPI_REGISTRY_BARRIER,
	DPI_REGISTRY_NODE_UP,	/* from the registry, one way */
	DPI_REGISTRY_NODE_DOWN, /* the same */
	DPI_REGISTRY_SYNC,	/* answered when all news before it are sent */
	DPI_REGISTRY_HOLD,	/* from the registry: this name is that node's now: name, u32 kind, u64 id */
	DPI_REGISTRY_RELEASE,	/* and not any more: the same */
	/* to a registry that comes back, one way */
	DPI_REGISTRY_KNOWN,	/* u8 alive, what is known of another node */
	DPI_REGISTRY_HELD,	/* as HOLD */
	DPI_REGISTRY_TOLD,	/* u64 term of the last registry, u8 it has ended for certain: all was told */
	DPI_REGISTRY_BACK	/* from it: it is, u64 term */
};

/* ---------------------------------------------------------------------------------------- registry_return.c, rejoin.c */

/* Of a cluster whose registry can come back? Any thread. */
bool dpi_registry_returns(struct dpi_context *ctx);
int dpi_return_handlers(struct dpi_context *ctx);
int dpi_return_open(struct dpi_context *ctx);
/* Wait for it. Not on the loop thread. */
int dpi_return_await(struct dpi_context *ctx, int64_t deadline);
/* Loop thread of the registry's node. A node that looks for its registry: may it be bound to this one? */
struct dpi_introduction;
int dpi_return_admit(struct dpi_context *ctx, uint32_t node, const struct dpi_introduction *i);
void dpi_return_joined(struct dpi_context *ctx, const struct dpi_node *node);
/* A node that this registry gave up will follow no other. */
void dpi_return_resigned(struct dpi_context *ctx, uint32_t node, uint64_t incarnation);

int dpi_rejoin_open(struct dpi_context *ctx);
void dpi_rejoin_close(struct dpi_context *ctx);
/* What can be hoped for while there is no registry. Any thread. */
const char *dpi_rejoin_outlook(struct dpi_context *ctx);
/* Loop thread: the registry has died. */
void dpi_rejoin_begin(struct dpi_context *ctx, const struct dpi_peer *registry);
/* connect.c: one attempt to find the registry. *outcast: this one has no place in it any more. */
int dpi_connect_back(struct dpi_context *ctx, int64_t deadline, bool *outcast);

/* A name that a node holds; node and incarnation of the entry are not in it. Pure. */
void dpi_held_pack(struct dpi_pack *p, const char *name, const struct dpi_name *entry);
bool dpi_held_unpack(struct dpi_unpack *u, char name[DPI_NAME_MAX], struct dpi_name *entry);

#endif
