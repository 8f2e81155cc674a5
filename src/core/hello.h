/* SPDX-License-Identifier: Apache-2.0
 * hello.h: how two nodes greet each other on a new control channel. C connects, A accepts:
 *
 *	C → A  HELLO         who I am, whom I want; a challenge
 *	A → C  HELLO         the same
 *	C → A  PROOF         that I hold the cluster key, over both hellos (empty without a key)
 *	A → C  PROOF
 *	C → A  INTRODUCTION  how to reach me: control listeners, transports' addresses, page of bells
 *	A → C  INTRODUCTION  the same, but with C's number in it (node 0 gives one) and the cluster's size
 *	C → A  READY         C has taken the channel; before it the channel's end is no death
 *
 * or, from A at any point, REFUSAL: error class and sentence. HELLO up to the wire version, REFUSAL and the frame header
 * never change, so that versions that do not fit can say so. Nothing else of a hello is acted on before the proof. */
#ifndef DPI_CORE_HELLO_H
#define DPI_CORE_HELLO_H

#include "auth.h"
#include "cluster.h"
#include "message.h"
#include "peer.h"

#define DPI_WIRE_MAGIC 0x31495044u /* "DPI1" */
#define DPI_WIRE_VERSION 4u
#define DPI_GREETING_MAX 8192 /* bytes of a payload before a channel is established */
#define DPI_NO_NODE UINT32_MAX

struct dpi_hello {
	uint32_t wire, library;
	uint32_t node, wanted; /* DPI_NO_NODE: none yet, any */
	uint64_t incarnation;
	bool secure; /* has a cluster key */
	uint8_t challenge[DPI_CHALLENGE_SIZE];
	char job[DPI_JOB_MAX];
	char local[DPI_ADDRESS_TEXT]; /* its Unix listener; "" */
};

struct dpi_introduction {
	uint32_t node, expected_nodes;
	uint64_t cluster, term; /* of the cluster it is in; 0: none yet */
	uint8_t aim;		/* of who connects: */
#define DPI_AIM_NEW 0u	   /* a node joins, or looks for another */
#define DPI_AIM_BACK 1u	   /* a node looks for its registry, which has died, and follows this one if it is let in */
#define DPI_AIM_RESIGNED 2u /* the registry has not died, but this node has lost it, and will follow no other */
	int64_t pid;
	char host[64];
	int addresses;
	char address[DPI_NODE_ADDRESSES][DPI_ADDRESS_TEXT];
	int carriers;
	struct dpi_peer_address carrier[DPI_TRANSPORTS_MAX];
	int page_fd, event_fd; /* owned; -1 */
};

enum { DPI_GREETING_OK, DPI_GREETING_STRANGE, DPI_GREETING_BAD };

/* Text of a peer goes into sentences: take out control characters. */
void dpi_clean(char *text);
/* Pure. STRANGE: not this protocol. With another wire version only wire and library are filled, which is OK. */
int dpi_hello_unpack(struct dpi_unpack *u, struct dpi_hello *h);
void dpi_hello_pack(struct dpi_pack *p, const struct dpi_hello *h);
/* Pure, but for the descriptors it takes. */
int dpi_introduction_unpack(struct dpi_unpack *u, struct dpi_introduction *i);
void dpi_introduction_close(struct dpi_introduction *i); /* descriptors not taken */
void dpi_introduction_pack(struct dpi_context *ctx, struct dpi_pack *p, uint32_t node, uint8_t aim);
/* Pure: error class, made one of the known, and sentence. */
int dpi_refusal_unpack(struct dpi_unpack *u, char sentence[DPI_DETAIL_MAX]);

/* This node's hello, with a fresh challenge. */
int dpi_hello_fill(struct dpi_context *ctx, struct dpi_hello *h, uint32_t wanted);
/* Do the two fit: version, key, job? Else an error whose sentence the acceptor sends (accepting) or the connector reports.
 */
int dpi_hello_check(struct dpi_context *ctx, const struct dpi_hello *mine, const struct dpi_hello *theirs, bool accepting);
/* Is the process at the other end of the same user? Asked when no key is in use. */
int dpi_hello_user(struct dpi_context *ctx, int fd);
/* The proof that C (of_acceptor false) or A gives; size 0 without a key. */
int dpi_hello_prove(struct dpi_context *ctx, const struct dpi_hello *connector, const struct dpi_hello *acceptor,
		    bool of_acceptor, struct dpi_pack *p);
bool dpi_hello_proven(struct dpi_context *ctx, const struct dpi_hello *connector, const struct dpi_hello *acceptor,
		      bool of_acceptor, struct dpi_unpack *u);

/* A peer from what it said; takes the descriptors. same_host where they came, over a Unix socket. */
int dpi_hello_peer(const struct dpi_hello *h, struct dpi_introduction *i, bool local, struct dpi_peer **peer);

#endif
