/* SPDX-License-Identifier: Apache-2.0
 *
 * dpi_transport.h: all that the author of a transport needs. It is installed, so transports can live out of tree.
 *
 * A transport moves bytes between windows. A *window* is memory registered on one node and reachable from others by
 * an opaque key. The core authenticates peers, carries addresses and keys, and watches who is alive; a transport does none of this.
 *
 * Conventions. Every slot returns DPI_SUCCESS (0) or an error class of dpi.h, and reports the sentence with core->fail_text.
 * Posts never block: DPI_SUCCESS: done already, no completion follows. DPI_TP_PENDING: accepted, core->complete follows
 * exactly once, on peer death too. DPI_ERR_AGAIN: not accepted, no effect; call progress and post again. Any other error: not
 * accepted, no effect. core->complete is called only from progress, and from disconnect, never from a post.
 * Lanes: slots that take an endpoint or a lane are called by one thread at a time for each lane. Slots that take the
 * transport are called by one thread at a time. Different lanes never wait for each other's callers.
 */
#ifndef DPI_TRANSPORT_H
#define DPI_TRANSPORT_H

#include <dpi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DPI_TP_ABI 1
#define DPI_TP_PENDING (-1)

/* What is true of an open transport. Each bit is tested by the conformance kit; nothing assumes more than a set bit. */
#define DPI_TP_DIRECT 0x001u	     /* attach gives a pointer that loads and stores reach the window through */
#define DPI_TP_PUT_ORDER 0x002u	     /* puts of one endpoint become visible at the target in the order posted */
#define DPI_TP_LAST_BYTE_LAST 0x004u /* the last byte of a put becomes visible last */
#define DPI_TP_ATOMICS 0x008u	     /* fetch_add and compare_swap work */
#define DPI_TP_CPU_ATOMICS 0x010u    /* and are atomic with the target's own CPU atomics */
#define DPI_TP_APPEND 0x020u	     /* native append */
#define DPI_TP_MULTICAST 0x040u	     /* put_many works, and costs less than that many puts */
#define DPI_TP_PASSIVE 0x080u	     /* a target makes progress without anybody calling progress there */
#define DPI_TP_FD 0x100u	     /* get_fd and arm work: a waiter can sleep */
#define DPI_TP_SAME_HOST 0x200u	     /* reaches processes of the same host only */
#define DPI_TP_ANY_MEMORY 0x400u     /* registers any memory, not only memory that has a file descriptor */
#define DPI_TP_LOCAL 0x800u	     /* puts from exposed memory, and gets into it, are cheaper than others: it may be exposed with
					no access just for them, and other memory is copied or registered each time */

typedef struct DPI_Tp DPI_Tp;		    /* an open transport */
typedef struct DPI_Tp_Endpoint DPI_Tp_Endpoint; /* a lane's connection to a peer */
typedef struct DPI_Tp_Window DPI_Tp_Window;  /* a registration of local memory */
typedef struct DPI_Tp_Remote DPI_Tp_Remote;  /* an attached window of a peer */

/* The most that an address or a key takes. A key may come with a file descriptor, which the core hands over between
 * processes of one host; fd is -1 where there is none. */
#define DPI_TP_ADDRESS_MAX 512
#define DPI_TP_KEY_MAX 64
typedef struct DPI_Tp_Key {
	uint32_t size;
	int fd;
	uint8_t bytes[DPI_TP_KEY_MAX];
} DPI_Tp_Key;

/* What the core gives to a transport. All function slots may be called from any thread inside a transport call. */
typedef struct DPI_Tp_Core {
	uint32_t abi, size;
	void *self; /* first argument of each */
	/* An operation has completed. result: the word before, of an atomic; else 0. */
	void (*complete)(void *self, void *cookie, int error, uint64_t result);
	/* Wake who waits at a bell of a node; node < 0 is this process. Never blocks. */
	void (*ring)(void *self, int node, uint32_t bell);
	/* A message of send arrived. bytes are the transport's, valid during the call. */
	void (*deliver)(void *self, int node, const void *bytes, size_t size);
	/* A process, a node's incarnation, cannot be reached any more. Said once for each endpoint, from progress; posts to it then fail with DPI_ERR_PEER. */
	void (*lost)(void *self, int node, uint64_t incarnation, const char *sentence);
	/* Record the sentence of the error about to be returned: what happened, likely cause, remedy. Returns error. */
	int (*fail_text)(void *self, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
	/* The value of a setting of the table, NULL if there is none. */
	const char *(*setting)(void *self, const char *name);
	/* A line for the log: level 0 error, 1 warning, 2 information, 3 debug. */
	void (*log)(void *self, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));
	int node;	      /* this node's number; < 0 from open until it has joined, before the first expose and connect */
	uint64_t incarnation; /* of this node; keys and addresses of another one must fail */
	int secure;	      /* 1: a cluster key is in use and other hosts may connect; 0: bind to loopback only */
	/* Where a network device is, seen from the processor that this process runs on: 1: near, 0: far, -1: not known, or as near to
	 * all. NULL, or past size: the core does not know any. */
	int (*near)(void *self, const char *device);
} DPI_Tp_Core;

/* Limits and costs of an open transport. 0: no limit, or not known. */
typedef struct DPI_Tp_Attr {
	uint32_t size;
	uint32_t capabilities; /* DPI_TP_* bits */
	uint32_t lanes;	       /* how many there are */
	uint32_t max_iov;      /* pieces of one put or get, at least 4 */
	uint64_t max_put;      /* bytes of one put or get */
	uint32_t max_send;     /* bytes of one send; 0 here: there is no send */
	uint32_t inline_size;  /* puts up to this many bytes are always done on return */
	uint32_t alignment;    /* of offsets and sizes of puts and gets */
	uint32_t outstanding;  /* pending operations of an endpoint */
	uint32_t windows;      /* registrations */
	double latency_us, bandwidth_bytes_us, overhead_us; /* costs for choosing; measured on a machine of today */
	char device[32]; /* the one network device it works over, as the system calls it (eth0, mlx5_0): threads and memory go
			    near it; empty: none, or several */
	uint64_t max_many; /* bytes of one put_many */
} DPI_Tp_Attr;

/* Memory to register. */
#define DPI_TP_READ 1u	 /* peers may get */
#define DPI_TP_WRITE 2u	 /* peers may put */
#define DPI_TP_ATOMIC 4u /* peers may use atomics, and no aligned 8-byte word is ever seen half changed by a put or get */
typedef struct DPI_Tp_Memory {
	void *address;
	uint64_t length;
	int fd;		    /* a memfd, sealed against shrinking, whose range from fd_offset is mapped at address; or -1 */
	uint64_t fd_offset;
	uint32_t access;    /* DPI_TP_READ | … */
} DPI_Tp_Memory;

/* A peer to connect to. */
typedef struct DPI_Tp_Peer {
	int node;
	uint64_t incarnation;
	int same_host;	     /* proven: a file descriptor could be handed over */
	const void *address; /* what its transport of this name gave */
	uint32_t address_size;
} DPI_Tp_Peer;

/* A notification that follows a put: after the put's bytes are visible at the target, the 8-byte word at offset of the
 * same window, a multiple of 8, is set to value (little endian, one store with release), and then bell of the target node is rung. With
 * bell DPI_TP_NO_BELL nobody is woken. A put of no bytes with a notification is legal. */
#define DPI_TP_NO_BELL UINT32_MAX
#define DPI_TP_NO_OFFSET UINT64_MAX /* no word is set, the bell alone is rung */
typedef struct DPI_Tp_Notify {
	uint64_t offset, value;
	uint32_t bell;
} DPI_Tp_Notify;

/* A destination of put_many: a window, where in it, and the notification that follows there (NULL: none). */
typedef struct DPI_Tp_To {
	DPI_Tp_Remote *remote;
	uint64_t offset;
	const DPI_Tp_Notify *notify;
} DPI_Tp_To;

/* Flags of posts. */
#define DPI_TP_MORE 1u /* another post to the same endpoint follows at once: the transport may hold this one back */
#define DPI_TP_LATE 2u /* of put: nobody waits for its completion, which may come with that of a later post, or of a withdraw */

/* The table. name: what users write in DPI_TRANSPORT. Slots left NULL are filled with one that returns DPI_ERR_UNSUPPORTED. */
typedef struct DPI_Transport {
	uint32_t abi, size; /* DPI_TP_ABI, sizeof(DPI_Transport) */
	const char *name;

	/* Can it work on this machine? If not, reason (size bytes) says why. May look at devices; no side effects. */
	int (*probe)(const DPI_Tp_Core *core, char *reason, size_t size);
	/* Open it. core stays valid until close. lower: the transport that a stacked one works over, every slot filled, valid until
	 * close; else NULL. May block briefly. */
	int (*open)(const DPI_Tp_Core *core, const struct DPI_Transport *lower, DPI_Tp **tp);
	/* Close it: endpoints, remotes and windows that are left go with it. */
	void (*close)(DPI_Tp *tp);
	/* Fill attr (attr->size says how much the caller knows). */
	int (*query)(DPI_Tp *tp, DPI_Tp_Attr *attr);
	/* The address peers connect to. size: in: room, DPI_TP_ADDRESS_MAX; out: used. It is asked for before the node has its
	 * number as well as after it, and does not hold it: the incarnation says whose it is. */
	int (*address)(DPI_Tp *tp, void *bytes, uint32_t *size);

	/* Connect a lane to a peer, or find the connection the peer has already made to this lane. May block, at most until
	 * timeout_us. An address or incarnation that does not fit is DPI_ERR_PEER. On success the peer's connect towards
	 * this node finds the connection at once. */
	int (*connect)(DPI_Tp *tp, uint32_t lane, const DPI_Tp_Peer *peer, int64_t timeout_us, DPI_Tp_Endpoint **endpoint);
	/* Give up a connection: everything pending on it completes (DPI_ERR_PEER), nothing touches callers' memory after. The
	 * endpoint's remotes go with it, direct pointers too. */
	void (*disconnect)(DPI_Tp_Endpoint *endpoint);

	/* Register memory; the key goes to peers. key->fd, if any, stays the transport's. */
	int (*expose)(DPI_Tp *tp, const DPI_Tp_Memory *memory, DPI_Tp_Window **window, DPI_Tp_Key *key);
	/* End a registration. After it returns no peer's operation touches the memory (but with DPI_TP_SAME_HOST peers may have a
	 * mapping of their own, in which they go on). DPI_ERR_AGAIN while an operation into it is in flight. */
	int (*withdraw)(DPI_Tp_Window *window);
	/* Make a peer's window usable. key->fd is the caller's and is not kept. length: the window's size, bounds every operation.
	 * direct: out: pointer to its first byte if DPI_TP_DIRECT, else NULL. DPI_ERR_PEER: a key of another incarnation;
	 * DPI_ERR_CORRUPT: no key at all. */
	int (*attach)(DPI_Tp_Endpoint *endpoint, const DPI_Tp_Key *key, uint64_t length, DPI_Tp_Remote **remote, void **direct);
	/* Forget it. DPI_ERR_AGAIN while operations on it are in flight. */
	int (*detach)(DPI_Tp_Remote *remote);

	/* Copy count pieces, back to back, into the window from offset; then notify (may be NULL). Completes when the
	 * pieces' memory may be reused; says nothing about arrival. iov itself may be reused on return. DPI_ERR_RANGE: outside the
	 * window, or a word at no multiple of 8. DPI_ERR_USE: the window is not exposed for this. DPI_ERR_LIMIT: over max_iov
	 * or max_put. The same of get and atomics. */
	int (*put)(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify,
		   uint32_t flags, void *cookie);
	/* Copy from the window at offset into count pieces. Completes when the bytes are there. */
	int (*get)(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, void *cookie);
	/* Atomics on an aligned 8-byte word; the result is the word before: in *result on DPI_SUCCESS, with the completion on
	 * DPI_TP_PENDING. */
	int (*fetch_add)(DPI_Tp_Remote *remote, uint64_t offset, uint64_t operand, uint64_t *result, void *cookie);
	int (*compare_swap)(DPI_Tp_Remote *remote, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result,
			    void *cookie);
	/* Send a message of at most max_send bytes; it is delivered once, in order among the sends of the endpoint. The
	 * bytes may be reused on return. */
	int (*send)(DPI_Tp_Endpoint *endpoint, const void *bytes, size_t size, uint32_t flags);
	/* Completes when every earlier put of the endpoint is visible at the target. */
	int (*flush)(DPI_Tp_Endpoint *endpoint, void *cookie);

	/* Take a pending operation back: on return nothing touches its memory any more; complete may have been called during
	 * this call, or never will be. The operation may or may not have its effect. A transport that cannot returns
	 * DPI_ERR_UNSUPPORTED, and the core disconnects. */
	int (*cancel)(DPI_Tp_Endpoint *endpoint, void *cookie);

	/* Move things on, without blocking. events: out: how many operations, messages or connections moved; may be NULL. */
	int (*progress)(DPI_Tp *tp, uint32_t lane, int *events);
	/* A descriptor that poll finds readable when progress has something to do. */
	int (*get_fd)(DPI_Tp *tp, uint32_t lane, int *fd);
	/* Before sleeping on the descriptor: DPI_SUCCESS: sleep; DPI_ERR_AGAIN: call progress first. */
	int (*arm)(DPI_Tp *tp, uint32_t lane);

	/* With DPI_TP_MULTICAST: copy the same count pieces into the windows of n destinations, each as a put would: in the same order
	 * with the other posts of its endpoint, seen by flush, lost with its peer alone. Several may be of one endpoint. Accepted for
	 * all or for none; one completion, when the pieces' memory may be reused, which a lost peer does not make an error.
	 * DPI_ERR_UNSUPPORTED: not these destinations, or not now: post a put to each. DPI_ERR_LIMIT: over max_iov or max_many. Other
	 * errors are put's, about one of the destinations. */
	int (*put_many)(DPI_Tp *tp, const DPI_Tp_To *to, int n, const struct iovec *iov, int count, uint32_t flags, void *cookie);
} DPI_Transport;

/* A loadable transport NAME is the module libdpi-NAME.so that exports this symbol; the number in it is the ABI. */
#define DPI_TP_ENTRY dpi_transport_1
typedef const DPI_Transport *(*DPI_Tp_Entry)(void);

#ifdef __cplusplus
}
#endif

#endif
