/* SPDX-License-Identifier: Apache-2.0
 * control.h: the authenticated control channel between two nodes, and calls over it. One a pair of nodes: a Unix socket on one host
 * (which carries descriptors and proves that it is one host), TCP otherwise. */
#ifndef DPI_CORE_CONTROL_H
#define DPI_CORE_CONTROL_H

#include "context.h"
#include "message.h"

/* Message types. The registry's and core's stand here; each layer above has a range. */
enum {
	DPI_MESSAGE_CORE = 0x0001,   /* control.c */
	DPI_MESSAGE_REGISTRY = 0x0100, /* registry.c */
	DPI_MESSAGE_MEMORY = 0x0200, /* src/memory */
	DPI_MESSAGE_FLOW = 0x0300,
	DPI_MESSAGE_TYPES = 0x0400
};

/* A request that arrived. Valid during the handler, unless kept. */
struct dpi_request_in {
	struct dpi_peer *from; /* this node itself too */
	uint16_t type;
	uint64_t id;
	struct dpi_unpack body;
};

/* Runs on the loop thread; must not block. It answers with dpi_answer now, or keeps from and id and answers later (a dead
 * peer's answers go nowhere, harmlessly). One-way messages (dpi_tell) have id 0 and no answer. */
typedef void dpi_handler(struct dpi_context *ctx, struct dpi_request_in *in);
int dpi_handle_messages(struct dpi_context *ctx, uint16_t type, dpi_handler *handler); /* before dpi_control_start */

/* Answer a request: error class and, for success, the body (may be NULL). For an error the loop thread's sentence goes along.
 * From the loop thread. Frees body. */
void dpi_answer(struct dpi_context *ctx, struct dpi_peer *to, uint64_t id, int error, struct dpi_pack *body);

/* The reply to a call. */
struct dpi_reply {
	struct dpi_unpack body;
	uint8_t *data; /* behind body */
};
void dpi_reply_free(struct dpi_reply *r); /* closes descriptors not taken */

/* Ask a node (itself too) and wait for the answer: the answer's error class, with the sentence "node 3: …";
 * DPI_ERR_TIMEOUT (the other side may still act), DPI_ERR_PEER, DPI_ERR_NODE. Connects if need be. reply may be NULL. Frees request. Any thread but the loop's. */
int dpi_call(struct dpi_context *ctx, int node, uint16_t type, struct dpi_pack *request, int64_t deadline, struct dpi_reply *reply);

/* A call under way: its starter's, zeroed; stays where it is until it ended or was forgotten. */
struct dpi_calling {
	struct dpi_calling *next;
	struct dpi_peer *peer; /* NULL: none is under way */
	uint64_t id;
	uint32_t bell; /* rung when the answer is there */
	int error;
	struct dpi_reply reply;
	char *sentence;	   /* of an error; malloc'ed; may be NULL */
	_Atomic bool done; /* release: all above is set */
};
/* Ask a peer already connected; never blocks. Frees request. Any thread. */
int dpi_call_start(struct dpi_context *ctx, struct dpi_peer *to, uint16_t type, struct dpi_pack *request, uint32_t bell,
		   struct dpi_calling *call);
/* DPI_ERR_AGAIN: no answer yet. Else as dpi_call returns, and the call is over. reply may be NULL. */
int dpi_call_end(struct dpi_context *ctx, struct dpi_calling *call, struct dpi_reply *reply);
/* Its answer is not wanted any more; without effect if none is under way. */
void dpi_call_forget(struct dpi_context *ctx, struct dpi_calling *call);

/* A message without an answer; never blocks; from any thread; only to a peer already connected. Frees message. */
int dpi_tell(struct dpi_context *ctx, struct dpi_peer *to, uint16_t type, struct dpi_pack *message);

/* Do messages pile up for a peer that does not read them? A channel with too many ends. Any thread. */
bool dpi_control_piles_up(struct dpi_context *ctx, struct dpi_peer *peer);

/* Called on the loop thread when a peer is dead or gone. */
typedef void dpi_peer_down(struct dpi_context *ctx, struct dpi_peer *peer);
int dpi_on_peer_down(struct dpi_context *ctx, dpi_peer_down *down); /* before dpi_control_start */

/* What a layer tells a registry that has come back: by dpi_report, on a thread of its own. Once a context and life of the registry. */
typedef int dpi_reporter(struct dpi_context *ctx, struct dpi_peer *registry);
int dpi_on_registry_found(struct dpi_context *ctx, dpi_reporter *reporter); /* before dpi_control_start */
/* As dpi_tell, but waits for room, and no longer than the context is open. */
int dpi_report(struct dpi_context *ctx, struct dpi_peer *registry, uint16_t type, struct dpi_pack *message);
/* Called on the loop thread of a registry that comes back, when all has been told and before it answers. */
typedef void dpi_registry_back(struct dpi_context *ctx);
int dpi_on_registry_back(struct dpi_context *ctx, dpi_registry_back *back); /* before dpi_control_start */

int dpi_control_open(struct dpi_context *ctx);	/* listeners */
int dpi_control_start(struct dpi_context *ctx); /* join the cluster (cluster.h); the loop runs already */
void dpi_control_stop(struct dpi_context *ctx); /* goodbyes */
void dpi_control_close(struct dpi_context *ctx);
void dpi_rejoin_stop(struct dpi_context *ctx); /* the thread that looks for a lost registry, and reads other layers; again is harmless */

#endif
