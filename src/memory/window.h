/* SPDX-License-Identifier: Apache-2.0
 * window.h: memory of one node that others reach: what buffers and flows both rest on.
 * A window is exposed through every open transport; who attaches takes the first that reaches its owner, and where that gives a direct
 * pointer it loads and stores, with no call at all. */
#ifndef DPI_MEMORY_WINDOW_H
#define DPI_MEMORY_WINDOW_H

#include "context.h"
#include "message.h"
#include "peer.h"

struct dpi_window {
	void *address;
	uint64_t length;
	int fd;		    /* memfd behind it, or -1 */
	uint64_t fd_offset;
	void *mapping;	    /* what to unmap; NULL: the caller's memory */
	uint64_t mapped;
	DPI_Tp_Window *exposed[DPI_TRANSPORTS_MAX];
	DPI_Tp_Key key[DPI_TRANSPORTS_MAX];
};

/* Allocate shareable memory: pages exist and the file is sealed before anybody sees it, so a store never raises SIGBUS.
 * Errors: MEMORY LIMIT UNSUPPORTED (huge pages required, NUMA node unknown). */
int dpi_window_allocate(uint64_t length, int huge_pages, int numa, struct dpi_window *w);
/* Wrap memory that exists: fd (or -1) backs it from fd_offset. */
void dpi_window_wrap(void *address, uint64_t length, int fd, uint64_t fd_offset, struct dpi_window *w);
/* Expose with every transport that can. */
int dpi_window_expose(struct dpi_context *ctx, struct dpi_window *w, uint32_t access);
/* Or with one, for no peer, where that makes this process's puts from it cheaper. */
void dpi_window_expose_locally(struct dpi_window *w, struct dpi_carrier *c);
/* For memory of the caller's: waits until no peer writes to it, 2 s at most, and says so if one still might. */
void dpi_window_withdraw(struct dpi_context *ctx, struct dpi_window *w);
/* For what dpi_window_allocate gave: does not wait; unmapped and closed now, or once every peer has let go of it (leaving.c). */
void dpi_window_free(struct dpi_context *ctx, struct dpi_window *w);
/* leaving.c: keep it until then; false: no memory to. leave: true if it is freed now. abandon: leaked, with an error in the log,
 * rather than written to by a device after it is freed. */
bool dpi_leaving_add(struct dpi_context *ctx, const struct dpi_window *w);
bool dpi_window_leave(struct dpi_context *ctx, struct dpi_window *w);
void dpi_window_abandon(struct dpi_context *ctx, struct dpi_window *w);
/* Describe it for a peer; only: a carrier's way in, or NULL: each one's; same_host: descriptors can travel. */
void dpi_window_pack(struct dpi_context *ctx, const struct dpi_window *w, const struct dpi_carrier *only, bool same_host, struct dpi_pack *p);
/* The only peer that it is for has been told: the memory stays, its descriptor is one too many where there are thousands of windows. */
void dpi_window_given(struct dpi_window *w);

/* A window of a peer, or of this process. */
struct dpi_remote {
	struct dpi_context *ctx;
	struct dpi_peer *peer;
	struct dpi_carrier *carrier; /* NULL: this process's own memory, or, without direct, reached by calls to its owner */
	DPI_Tp_Remote *tp;
	uint8_t *direct; /* NULL: only by put and get */
	uint64_t length;
	bool mapped; /* direct is a mapping of its own, of this process's window */
};

/* What a peer said of a window, parsed. Owns fd until attached. */
struct dpi_window_offer {
	uint64_t length;
	int fd;
	int keys;
	struct {
		char transport[32];
		DPI_Tp_Key key;
	} key[DPI_TRANSPORTS_MAX];
};
void dpi_window_unpack(struct dpi_unpack *u, struct dpi_window_offer *offer); /* u->bad on nonsense */
void dpi_window_offer_free(struct dpi_window_offer *offer);

/* Does a transport reach the peer, but none of its memory that is offered? */
bool dpi_window_out_of_reach(struct dpi_context *ctx, struct dpi_peer *peer, const struct dpi_window_offer *offer);

/* Attach by the best transport that reaches the peer; connects if need be until deadline. Takes the offer's fd. On the loop
 * thread only where the connection exists. Errors: PEER TRANSPORT MEMORY. */
int dpi_remote_attach(struct dpi_context *ctx, struct dpi_peer *peer, struct dpi_window_offer *offer, int64_t deadline, struct dpi_remote *r);
/* A window of this process as a remote. */
void dpi_remote_self(struct dpi_context *ctx, struct dpi_peer *self, const struct dpi_window *w, struct dpi_remote *r);
void dpi_remote_detach(struct dpi_remote *r);

/* For operations that nobody waits for: what they guard is known otherwise. */
extern struct dpi_operation dpi_unawaited;

/* Posts, as in dpi_transport.h; bounds are checked here too. DPI_ERR_PEER for a dead peer. They count in peer->stats. */
int dpi_remote_put(struct dpi_remote *r, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify, uint32_t flags,
		   struct dpi_operation *op);
/* To several windows over one carrier, which has DPI_TP_MULTICAST. Makes progress where the transport is busy. */
int dpi_remote_put_many(struct dpi_remote *const *r, const DPI_Tp_To *to, int n, const struct iovec *iov, int count, uint32_t flags,
			struct dpi_operation *op);
int dpi_remote_get(struct dpi_remote *r, const struct iovec *iov, int count, uint64_t offset, struct dpi_operation *op);
int dpi_remote_fetch_add(struct dpi_remote *r, uint64_t offset, uint64_t operand, uint64_t *result, struct dpi_operation *op);
int dpi_remote_compare_swap(struct dpi_remote *r, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result,
			    struct dpi_operation *op);
int dpi_remote_flush(struct dpi_remote *r, struct dpi_operation *op);
/* Make the transport let go of a pending operation's memory. Its done may have run, or runs now, or never will. */
void dpi_remote_abandon(struct dpi_remote *r, struct dpi_operation *op);
/* DPI_SUCCESS, or the error of a peer or connection that is gone. */
int dpi_remote_check(const struct dpi_remote *r);
/* Wake who waits at a bell of the window's owner: after a store through direct. */
static inline void dpi_remote_ring(const struct dpi_remote *r, uint32_t bell)
{
	dpi_peer_ring(r->peer, bell);
}

#endif
