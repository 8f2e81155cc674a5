/* SPDX-License-Identifier: Apache-2.0
 * multicast.h: bytes for several nodes, sent once.
 *
 * The bytes go in datagrams to a multicast group, and each target is told over its connection, by a CAST message, which datagrams
 * are whose bytes and where they belong. So nothing rests on a datagram: what has not come by the time its CAST is handled, or
 * shortly after, the target reads from the sender's ring, where it stays until every target has said that it took it. Until
 * then the target keeps back the messages behind that CAST, so their order is that of puts. A datagram names no window:
 * one that is forged, late, cut or sent twice is not what a CAST stands for, and is dropped.
 *
 * Each node that sends has a group, a ring of slots of one MTU each, and a sequence number that counts slots; a cast takes
 * slots that lie together. A target joins a sender's group when the sender asks (CASTER), and counts as reached when a probe
 * has come through; until then, and where that never happens, put_many returns DPI_ERR_UNSUPPORTED. */
#ifndef DPI_VERBS_MULTICAST_H
#define DPI_VERBS_MULTICAST_H

#include "datagram.h"
#include "verbs.h"

enum {
	CAST_SLOTS = 512,	/* of a ring: what is sent and not taken yet */
	CAST_RECEIVES = 1024,	/* datagrams that there is room for, if the device has as many requests */
	CAST_MOST = 65536,	/* bytes of a cast */
	CAST_GRH = 40,		/* bytes before each datagram that is received */
	CAST_WAIT_US = 1000,	/* a datagram may come so long after its CAST */
	CAST_PROBE_US = 1000,	/* from probe to probe; doubles, up to 2^10 of this */
	CAST_JUDGED = 64	/* casts after which a target is given up to which most had to be sent again */
};

struct verbs_datagram { /* a receive buffer */
	struct verbs_cast *of;	    /* held for it; NULL: the device has it */
	struct verbs_datagram *next, **link; /* held: from the oldest */
	uint8_t *bytes;
	uint64_t sequence;
	uint32_t size;
};

struct verbs_membership { /* of a sender's group; stays until close */
	struct verbs_membership *next;
	uint32_t group;
	bool joined, failed;
};

struct verbs_multicast {
	struct rdma_cm_id *id; /* with the queue pair of datagrams */
	struct ibv_cq *cq;
	bool failed;
	_Atomic int event;	      /* of its queues, + 1 (async.c) */
	uint32_t depth, posted, sent; /* datagrams out, counted */
	uint32_t stalled;	      /* endpoints */
	/* in */
	uint32_t receives, held;
	struct verbs_datagram *datagram, *oldest, **newest;
	uint8_t *memory;
	struct ibv_mr *mr;
	struct verbs_membership *memberships;
	/* out */
	struct ibv_ah *ah; /* NULL: not there yet */
	uint32_t group, qp_num, qkey;
	bool send_only;
	uint64_t token[2];
	uint8_t *ring; /* CAST_SLOTS slots, and one for probes */
	struct ibv_mr *ring_mr;
	uint64_t next, tail; /* sequence numbers: to be sent, not taken by all */
	struct ibv_send_wr wr[CAST_SLOTS];
	struct ibv_sge sge[CAST_SLOTS];
};

struct verbs_kept { /* a message behind a CAST whose bytes are not all here; or that CAST */
	struct verbs_kept *next;
	uint32_t size;
	uint8_t bytes[WIRE_MESSAGE];
};

enum verbs_reached { REACHED_UNKNOWN, REACHED_ASKED, REACHED_JOINED, REACHED_YES, REACHED_NO };
struct verbs_cast { /* of an endpoint */
	/* this node's casts */
	enum verbs_reached reached;
	uint64_t sent, took; /* sequence numbers behind what was sent to it, and what it took */
	bool asked;	     /* TELL is under way */
	int64_t probe_at;
	unsigned probes;
	uint64_t casts, read, casts_before, read_before; /* counts; of these the peer had to read */
	int last;					  /* put_many: the last of the peer's destinations */
	uint32_t here;					  /* and how many it has */
	/* the peer's casts */
	bool from, heard;
	uint64_t token[2], address;
	uint32_t rkey, mtu;
	struct verbs_membership *membership;
	struct verbs_datagram *held[CAST_SLOTS]; /* by sequence number */
	uint64_t seen, taken, told;		 /* sequence numbers behind the latest that came, that was taken, that the peer knows of */
	uint64_t reads;
	int64_t stalled_at; /* 0: not */
	bool reading;
	struct verbs_buffer *read_to; /* slots from read_first, once reading is over */
	uint64_t read_first;
	uint32_t read_count;
	struct verbs_kept *first, **end;
	uint32_t kept; /* no more than the peer has credits */
};

/* multicast.c */
int dpi_verbs_multicast_check(DPI_Tp *tp);		  /* is the setting one? CONFIG */
bool dpi_verbs_multicast_can(const DPI_Tp *tp);		  /* what the device and the settings say */
uint64_t dpi_verbs_multicast_most(const DPI_Tp *tp);	  /* bytes of a cast */
struct verbs_multicast *dpi_verbs_multicast(DPI_Tp *tp); /* opened by the first who asks; NULL: it cannot be, or has failed */
void dpi_verbs_multicast_event(DPI_Tp *tp, const struct rdma_cm_event *e);
void dpi_verbs_multicast_close(DPI_Tp *tp);
void dpi_verbs_multicast_failed(DPI_Tp *tp, const char *what);
int dpi_verbs_multicast_join(DPI_Tp *tp, uint32_t group, struct verbs_membership **membership); /* errno */
struct verbs_cast *dpi_verbs_cast(DPI_Tp_Endpoint *c); /* its casts, made when they are needed; NULL: no memory */
void dpi_verbs_cast_end(DPI_Tp_Endpoint *c);	       /* the connection is over */
bool dpi_verbs_datagrams(DPI_Tp *tp);		       /* poll for them; calls nobody back. true: some came */
void dpi_verbs_cast_progress(DPI_Tp *tp);
bool dpi_verbs_cast_arm(DPI_Tp *tp); /* true: there is something to do */

/* cast_send.c */
int dpi_verbs_put_many(DPI_Tp *tp, const DPI_Tp_To *to, int n, const struct iovec *iov, int count, uint32_t flags, void *cookie);
void dpi_verbs_listens(DPI_Tp_Endpoint *c, const struct wire_message *m);
void dpi_verbs_took(DPI_Tp_Endpoint *c, const struct wire_message *m);
bool dpi_verbs_casting(DPI_Tp_Endpoint *c); /* has the peer casts to take? It is asked to say when it has none */

/* cast_receive.c */
void dpi_verbs_caster(DPI_Tp_Endpoint *c, const struct wire_message *m);
void dpi_verbs_joined(DPI_Tp *tp, const struct verbs_membership *s); /* or failed */
bool dpi_verbs_hold(DPI_Tp *tp, struct verbs_datagram *d, uint32_t size); /* false: it is not needed */
void dpi_verbs_release(DPI_Tp *tp, struct verbs_datagram *d);
bool dpi_verbs_take_cast(DPI_Tp_Endpoint *c, const struct wire_message *m); /* false: its bytes are not all here */
void dpi_verbs_was_read(DPI_Tp_Endpoint *c, struct verbs_op *op, int error);
void dpi_verbs_tell_taken(DPI_Tp_Endpoint *c);
static inline bool verbs_stalled(const DPI_Tp_Endpoint *c)
{
	return c->cast && c->cast->stalled_at;
}
void dpi_verbs_keep(DPI_Tp_Endpoint *c, const uint8_t *bytes, size_t size); /* a message for later */

#endif
