/* SPDX-License-Identifier: Apache-2.0
 * verbs.h: the verbs transport's own structures. It has one lane; the core lets one thread at a time inside.
 *
 * An endpoint is a reliable connection, a queue pair, one for each pair of nodes: made by connect, or accepted, and then
 * taken over by connect towards that peer. Bytes go by RDMA write and read between registered memory; all else (words of
 * notifications, atomics, flushes, keys) by small messages, which the target's progress serves. Callbacks come from progress,
 * connect, disconnect and cancel only.
 *
 * Why notifications and flushes are messages: a write's completion says that the initiator's memory is free, and what a read
 * after it proves about the processor's view is not in the InfiniBand specification. What is: when the completion of a
 * received message is seen, every write before it on the queue pair is visible there. That holds for each device. So each
 * message says how many of the other side's have been handled, and a flush is done when the last one before it is: that answer
 * mostly travels with a message that is sent anyway.
 *
 * Why atomics are messages too, but towards a device whose atomics are atomic with processors' (IBV_ATOMIC_GLOB): the owner of
 * a window, and peers on its host, use instructions on the same words. The home's device counts, and its keys say it. */
#ifndef DPI_VERBS_H
#define DPI_VERBS_H

#include <infiniband/verbs.h>
#include <netinet/in.h>
#include <rdma/rdma_cma.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "dpi_transport.h"
#include "dpi_words.h"
#include "wire.h"

enum {
	MAX_IOV = 8,		  /* pieces of a put or get */
	OUTSTANDING = 128,	  /* pending operations of an endpoint */
	DEPTH = 128,		  /* work requests of a queue pair, if the device has as many */
	DEPTH_MIN = 32,		  /* with fewer the device is not used */
	SGES = 8,		  /* pieces of a work request, likewise */
	CREDITS = 64,		  /* messages of one peer that there is always room for */
	INLINE_MAX = 256,	  /* bytes that a work request itself carries, likewise */
	EAGER_MAX = WIRE_MESSAGE - 6 * 8, /* bytes of a notified put that travel in its message */
	SEND_MAX = WIRE_MESSAGE - 8,
	COPY_MAX = 4096,	  /* puts up to this many bytes are copied, and so are done on return */
	BUFFER = 16 << 10,	  /* bytes of a registered buffer to copy into */
	BUFFERS = 4,		  /* so many for one operation: memory that is not registered is copied up to here */
	SLAB = 32,		  /* buffers that are registered at once */
	SLABS = 32,		  /* of these at most */
	GROUP = 16,		  /* endpoints that share a completion queue and a shared receive queue */
	LATE_SHARE = 16,	  /* of a ring's requests one in so many completes those that nobody waits for */
	QUIET = 128,		  /* requests with buffers that ask for no completion, at most */
	CHUNK = 1 << 30,	  /* bytes of a work request, if the port takes as many */
	HOSTS = 8,		  /* addresses of a node */
	POLL_BATCH = 32,
	POLL_ROUNDS = 8,
	POLL_EVERY = 128,	  /* progress looks at the descriptors at least every so often */
	RESOLVE_MS = 500,	  /* how long one try to find an address or a route takes */
	ACK_TIMEOUT = 17,	  /* 4.096 µs × 2^17: the wire is silent for half a second, then it is sent again */
	RETRIES = 6,		  /* 7 is without end for some devices */
	DRAIN_US = 250000,	  /* how long disconnect waits until what was posted is out */
	FLUSH_US = 100000,	  /* how long a queue pair in the error state may take to let go of requests and receive buffers */
	ATTACH_US = 100000,	  /* how long attach waits for the peer's answer; posts wait for the rest */
	REVOKE_US = 1800000,	  /* how long a peer may take to let go of a window */
	WHY_MAX = 400
};

/* table.c: things that are known by an id; an id is never given out twice. 0 is none. */
struct verbs_table {
	struct verbs_entry {
		void *item;
		uint32_t serial, next_free;
	} *entry;
	uint32_t count, room, free;
};

/* buffer.c: registered memory to copy into. */
struct verbs_buffer {
	struct verbs_buffer *next;
	uint8_t *memory;
	uint32_t lkey, used;
};
struct verbs_slab {
	struct verbs_slab *next;
	uint8_t *memory;
	struct ibv_mr *mr;
	struct verbs_buffer buffer[SLAB];
};
/* Memory that is registered as long as operations on it are under way. Registrations are not kept longer: the
 * program may unmap the memory, and what is mapped there next is other memory. What is exposed, is registered. */
struct verbs_region {
	struct verbs_region *next;
	const uint8_t *address;
	uint64_t length;
	int access;
	uint32_t refs;
	bool exposed; /* a window's, with which it goes */
	struct ibv_mr *mr;
};

/* device.c */
struct verbs_host {
	uint8_t family; /* 4, 6 */
	uint8_t bytes[16];
	uint16_t port;
};
struct verbs_address {
	uint64_t incarnation;
	uint8_t token[WIRE_TOKEN];
	unsigned hosts;
	struct verbs_host host[HOSTS];
};
struct verbs_limits { /* what the device and the port say */
	uint32_t depth, sges, read_sges, inline_bytes, group, chunk;
	uint32_t reads, reads_served; /* under way at once on a connection: its own, and the peer's */
	uint32_t mtu, datagrams; /* for multicast; 0: there is none */
	uint32_t pairs, regions; /* of the whole device */
	bool shared_receive, words, iwarp;
	bool siw; /* soft-iWARP of Linux: it writes to sockets within calls, and has a defect that is gone round */
	uint32_t ahead; /* bytes of reads under way that others may be posted behind; 0: any */
	bool atomics;	     /* it asks others' devices for them */
	bool global_atomics; /* its own are atomic with processors' */
};

struct DPI_Tp_Window {
	DPI_Tp *tp;
	uint8_t *address;
	uint64_t length, secret;
	uint32_t slot, generation, access;
	struct ibv_mr *mr; /* NULL: of no bytes */
	struct verbs_region local; /* operations of this process that are at it */
	struct verbs_attachment *attachments;
	bool filled;  /* gets of this process may go there as it is registered */
	bool closing;
	int64_t revoked_at;
};
struct verbs_slot_of_window {
	DPI_Tp_Window *window;
	uint32_t generation;
	uint32_t next_free;
};
struct verbs_attachment { /* a peer's remote */
	DPI_Tp_Endpoint *endpoint;
	DPI_Tp_Window *window; /* NULL: taken away */
	uint64_t word, value;		       /* of its latest notification with a word, which immediates go on from */
	uint32_t bell;
	bool notified;
	struct verbs_attachment *next, **link; /* of the window's list */
	struct verbs_attachment *next_here, **link_here; /* of the endpoint's list */
	uint64_t id, remote;
};

enum verbs_remote_state { REMOTE_ASKING, REMOTE_READY, REMOTE_REVOKED, REMOTE_REFUSED };
struct DPI_Tp_Remote {
	DPI_Tp_Endpoint *endpoint;
	DPI_Tp *tp;
	DPI_Tp_Remote *next, **link; /* of the endpoint's list */
	enum verbs_remote_state state;
	int refusal; /* error class */
	uint64_t id, length, attachment, address;
	uint32_t rkey, access, pending;
	uint64_t word, value; /* of its latest notification with a word */
	uint32_t bell;
	bool notified;
};

enum verbs_op_kind { OP_FREE, OP_PUT, OP_GET, OP_ATOMIC, OP_MESSAGE, OP_FLUSH, OP_CAST }; /* CAST: a read of this node's own */
struct verbs_op { /* pending: complete is due */
	enum verbs_op_kind kind;
	uint32_t serial, next_free;
	bool cancelled, late; /* late: nobody waits for it */
	DPI_Tp_Remote *remote; /* NULL: flush, or late */
	void *cookie;
	uint64_t puts;	       /* flush: posted before it */
	uint32_t message;      /* flush: done when so many messages are handled */
	struct verbs_op *next; /* flush */
	struct verbs_buffer *buffers;
	int regions, count;
	struct verbs_region *region[MAX_IOV];
	struct iovec iov[MAX_IOV]; /* get: where the buffers' bytes go */
};

struct verbs_slot { /* a work request */
	struct ibv_send_wr wr;
	struct ibv_sge sge[SGES];
	struct verbs_op *op; /* completes with it */
	struct verbs_buffer *buffers;
	bool quiet; /* they come back with a later request's completion */
	uint8_t bytes[INLINE_MAX];
};

struct verbs_answer { /* a message of the transport's own that waits for credit or room */
	struct verbs_answer *next;
	uint32_t owes; /* credits that are the peer's once it leaves */
	uint32_t size;
	uint8_t bytes[WIRE_WORDS * 8];
};
struct verbs_queue {
	struct verbs_answer *first, **last;
};

/* receive.c */
struct verbs_receive {
	struct verbs_group *group;
	struct verbs_receive *next_idle;
	uint8_t *bytes;
	uint32_t lkey;
};
struct verbs_block { /* the receive buffers of one endpoint */
	struct verbs_block *next;
	uint8_t *memory;
	struct ibv_mr *mr;
	struct verbs_receive receive[CREDITS];
};
struct verbs_group {
	struct verbs_group *next;
	DPI_Tp *tp;
	struct ibv_cq *cq;
	struct ibv_srq *srq; /* NULL: the device has none; then each endpoint is a group of its own */
	struct ibv_qp *qp;   /* without srq */
	struct verbs_block *blocks;
	struct verbs_receive *idle; /* the device does not have them */
	uint32_t endpoints, credits; /* what its blocks are good for */
	bool notified;		     /* an event is due at the next completion */
};

enum verbs_state {
	STATE_ADDRESS, /* connecting: the address is looked up */
	STATE_ROUTE,
	STATE_REQUEST, /* the peer has been asked */
	STATE_ACCEPTED,
	STATE_OPEN,
	STATE_FAILED, /* connecting: it came to nothing */
	STATE_ENDING, /* the device lets go of its requests; then what is pending completes */
	STATE_LOST,   /* until disconnect: an endpoint without requests and operations */
	STATE_GONE    /* to be freed when progress ends */
};

struct DPI_Tp_Endpoint {
	DPI_Tp *tp;
	DPI_Tp_Endpoint *next, **link; /* of the transport's list */
	DPI_Tp_Endpoint *next_dirty, *next_qp;
	enum verbs_state state;
	struct rdma_cm_id *id;
	struct ibv_qp *qp;
	uint32_t qp_num;
	struct verbs_group *group;
	uint64_t number; /* in the table of endpoints */
	int node;
	uint64_t incarnation;
	uint8_t token[WIRE_TOKEN]; /* connecting: the peer's */
	uint32_t superseded;	   /* serial of the peer's latest attempt when this one was agreed on */
	bool claimed, dirty, closing, gone; /* gone: the peer has said goodbye */
	bool awaited;			    /* connect.c looks at it, and lets it go */
	int broken;			    /* errno of a post; progress says it */
	_Atomic int event;		    /* of its queue pair, + 1 (async.c) */
	_Atomic int emptied;		    /* likewise: it has no receive buffer of the shared queue any more */
	int64_t ends_at;		    /* when its queue pair goes, whatever the device still has to say */
	int error;			    /* STATE_FAILED */
	int status;			    /* wire_status of a refusal */
	char name[64];
	char why[WHY_MAX];

	struct verbs_slot *slot;
	uint32_t depth, tail, posted, next_slot, signalled; /* counters: tail ≤ posted ≤ next_slot */
	bool reading;					     /* the request before is a read */
	struct verbs_op *op;
	uint32_t free_op, ops;
	uint64_t puts, flushed, covered;      /* covered: puts before the latest message's end */
	uint32_t said, handled, heard, early; /* messages: sent, and handled there; handled here, and out of turn */
	uint32_t message_end;		      /* next_slot after the latest message */
	bool tell;			      /* the peer wants to know of heard */
	struct verbs_op *flush, **flush_last; /* pending, in order */
	uint64_t told, settling; /* puts up to told have such among them as went as messages; up to settling a flush of our own is on its way */
	uint32_t credits, owed;
	struct verbs_queue answers, requests; /* answers go first */
	DPI_Tp_Remote *remotes;
	struct verbs_attachment *attached;
	struct verbs_cast *cast; /* multicast.h; NULL: no casts */
};

struct DPI_Tp {
	const DPI_Tp_Core *core;
	int epoll_fd;
	struct rdma_event_channel *channel;
	struct ibv_context *verbs;
	struct ibv_pd *pd;
	struct ibv_comp_channel *completions;
	char device[64];
	uint8_t port;
	unsigned listeners;
	struct rdma_cm_id *listener[HOSTS];
	struct verbs_address self;
	uint8_t prefix[HOSTS]; /* bits of the network of each of its addresses */
	struct verbs_limits limits;
	uint64_t window_key[2];
	struct verbs_slot_of_window *slot;
	uint32_t slots, slots_room, free_slot, windows;
	DPI_Tp_Window **exposed; /* by address */
	struct verbs_slab *slabs;
	unsigned slab_count;
	uint32_t quiet; /* requests */
	struct verbs_buffer *buffers;
	struct verbs_region *regions;
	struct verbs_table endpoints, remotes, attachments;
	struct verbs_group *groups;
	DPI_Tp_Endpoint *connections, *dirty, *by_qp[256];
	bool inside, armed, graves, failed; /* failed: the device is gone */
	bool ending;			    /* endpoints that have ended have queue pairs still */
	bool early, has_early;		    /* messages are handled out of turn; some have been */
	unsigned ticks;
	uint32_t serial; /* attempts to connect */
	int events;
	DPI_Tp *next_open;
	_Atomic int event;   /* of what all connections share, + 1 (async.c) */
	_Atomic bool noted;  /* this event, or that of an endpoint or of multicast */
	int64_t log_at;
	unsigned unlogged;
	char refusal[WHY_MAX]; /* the device's last */
	struct ibv_wc *later; /* completions found by arm and attach, which call nobody back */
	uint32_t laters, later_room;
	struct verbs_multicast *multicast; /* NULL: not opened */
};

#define verbs_fail(tp, ...) ((tp)->core->fail_text((tp)->core->self, __VA_ARGS__))
#define COLD __attribute__((cold, noinline))

/* table.c */
uint64_t dpi_verbs_table_add(struct verbs_table *t, void *item); /* 0: no memory */
void *dpi_verbs_table_find(const struct verbs_table *t, uint64_t id);
void dpi_verbs_table_remove(struct verbs_table *t, uint64_t id);

/* choose.c */
int dpi_verbs_device_find(DPI_Tp *tp); /* and listen there */
bool dpi_verbs_connects(const struct ibv_device *d); /* has it reliable connections? */

/* device.c */
int dpi_verbs_limits_find(DPI_Tp *tp);
bool dpi_verbs_host(const struct sockaddr *a, struct verbs_host *h); /* false: no address that peers can use */
/* that two addresses begin with, and one more; 0: of different families */
unsigned dpi_verbs_common_bits(const struct verbs_host *a, const struct verbs_host *b);
bool dpi_verbs_port_down(const DPI_Tp *tp);
bool dpi_verbs_local(const struct sockaddr *a); /* an address of this host? */
void dpi_verbs_name(const struct sockaddr *a, char *name, size_t size);
int dpi_verbs_address(DPI_Tp *tp, void *bytes, uint32_t *size);
int dpi_verbs_address_parse(const uint8_t *bytes, size_t size, struct verbs_address *a); /* 0, or -1 */
void dpi_verbs_socket(const struct verbs_host *h, uint16_t port, struct sockaddr_storage *to);
/* The class and sentence of a refusal to register memory or to make a queue. */
int dpi_verbs_refused(DPI_Tp *tp, int error, uint64_t bytes, const char *what);

/* connect.c */
int dpi_verbs_connect(DPI_Tp *tp, uint32_t lane, const DPI_Tp_Peer *peer, int64_t timeout_us, DPI_Tp_Endpoint **endpoint);

/* event.c */
void dpi_verbs_cm_events(DPI_Tp *tp);
void dpi_verbs_lose_all(DPI_Tp *tp, const char *why); /* the device is of no use any more. From progress only */

/* async.c */
void dpi_verbs_async_begin(DPI_Tp *tp); /* events may concern it */
void dpi_verbs_async_end(const DPI_Tp *tp);
void dpi_verbs_async_events(DPI_Tp *tp); /* read them, for all transports */
void dpi_verbs_async_act(DPI_Tp *tp);	 /* on what has been read for this one */
/* Around changes of by_qp, groups and multicast, by which others look for whose a queue is. Their own transport reads them without. */
void dpi_verbs_lock(void);
void dpi_verbs_unlock(void);

/* endpoint.c */
DPI_Tp_Endpoint *dpi_verbs_endpoint(DPI_Tp *tp, struct rdma_cm_id *id, int node, uint64_t incarnation);
int dpi_verbs_endpoint_queue(DPI_Tp_Endpoint *c); /* its queue pair and buffers; error class with a sentence */
void dpi_verbs_endpoint_open(DPI_Tp_Endpoint *c, uint32_t credits);
void dpi_verbs_disconnect(DPI_Tp_Endpoint *c);
void dpi_verbs_mark(DPI_Tp_Endpoint *c);
void dpi_verbs_end(DPI_Tp *tp); /* what lost endpoints wait for may have come. From progress only */
void dpi_verbs_bury(DPI_Tp *tp);
void dpi_verbs_free(DPI_Tp_Endpoint *c);
void dpi_verbs_close(DPI_Tp *tp);
int dpi_verbs_dead(const DPI_Tp_Endpoint *c);
/* The connection has ended; once the device is through with its requests every pending operation completes, and the core is told.
 * From progress only. */
void dpi_verbs_lose(DPI_Tp_Endpoint *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The peer did what no correct peer does. */
void dpi_verbs_refuse(DPI_Tp_Endpoint *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Connecting came to nothing. */
void dpi_verbs_give_up(DPI_Tp_Endpoint *c, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* receive.c */
struct verbs_group *dpi_verbs_group_join(DPI_Tp *tp); /* NULL with a sentence */
int dpi_verbs_group_fill(struct verbs_group *g, struct ibv_qp *qp); /* room for one endpoint's messages */
void dpi_verbs_group_leave(struct verbs_group *g);
void dpi_verbs_groups_free(DPI_Tp *tp);
DPI_Tp_Endpoint *dpi_verbs_by_qp(const DPI_Tp *tp, uint32_t qp_num);
void dpi_verbs_received(DPI_Tp *tp, const struct ibv_wc *wc);

/* pipe.c: ibv_post_send, and no SIGPIPE comes of it. */
int dpi_verbs_post_over_tcp(struct ibv_qp *qp, struct ibv_send_wr *requests, struct ibv_send_wr **bad);

/* queue.c */
static inline uint32_t verbs_room(const DPI_Tp_Endpoint *c)
{
	return c->depth - (c->next_slot - c->tail);
}
struct verbs_slot *dpi_verbs_slot(DPI_Tp_Endpoint *c); /* there is room */
void dpi_verbs_ring(DPI_Tp_Endpoint *c);	       /* hand everything to the device */
void dpi_verbs_held(DPI_Tp_Endpoint *c, uint32_t flags); /* or hold it back, with DPI_TP_MORE */
/* Have what was posted complete, although nobody may wait for it. */
void dpi_verbs_hasten(DPI_Tp *tp);
void dpi_verbs_post_last(DPI_Tp_Endpoint *c); /* a request that does nothing: its completion stands for all before it. There is room */
void dpi_verbs_retired(DPI_Tp *tp, struct verbs_slot *s); /* its buffers are free */
void dpi_verbs_sent(DPI_Tp *tp, const struct ibv_wc *wc);
struct verbs_op *dpi_verbs_op(DPI_Tp_Endpoint *c, enum verbs_op_kind kind, DPI_Tp_Remote *remote, void *cookie); /* NULL: none is free */
void dpi_verbs_op_drop(DPI_Tp_Endpoint *c, struct verbs_op *op); /* without completion */
void dpi_verbs_op_finish(DPI_Tp_Endpoint *c, struct verbs_op *op, int error, uint64_t result);
uint64_t dpi_verbs_op_id(const DPI_Tp_Endpoint *c, const struct verbs_op *op);
struct verbs_op *dpi_verbs_op_find(DPI_Tp_Endpoint *c, uint64_t id);

/* message.c */
/* May a message of the user's be posted now: credit, room for slots work requests, nothing of ours waiting? */
bool dpi_verbs_may_send(const DPI_Tp_Endpoint *c, uint32_t slots);
/* Post one; there is credit and room. false: no buffer for it. payload: pieces, copied. */
bool dpi_verbs_message(DPI_Tp_Endpoint *c, enum wire_op op, const uint64_t *words, const struct iovec *iov, int count, uint32_t size);
/* Post one of ours, or queue it. */
void dpi_verbs_answer(DPI_Tp_Endpoint *c, enum wire_op op, const uint64_t *words, uint32_t owes);
void dpi_verbs_request(DPI_Tp_Endpoint *c, enum wire_op op, const uint64_t *words);
void dpi_verbs_serve_queues(DPI_Tp_Endpoint *c);
void dpi_verbs_tell_handled(DPI_Tp_Endpoint *c); /* if that is due */
void dpi_verbs_counted(DPI_Tp_Endpoint *c);	 /* the latest slot is a message */
/* Have the peer say that the latest message is handled. false: it is on its way, another request follows it, or it is about keys. */
bool dpi_verbs_ask_along(DPI_Tp_Endpoint *c);
void dpi_verbs_in_turn(DPI_Tp *tp); /* what was handled out of turn is not so any more */
void dpi_verbs_queue_free(struct verbs_queue *q);
void dpi_verbs_handle(DPI_Tp_Endpoint *c, const uint8_t *bytes, size_t size); /* a message that has arrived */
void dpi_verbs_immediate(DPI_Tp_Endpoint *c, uint32_t immediate, uint32_t size); /* or a write of so many bytes */
void dpi_verbs_take_put(DPI_Tp_Endpoint *c, const struct wire_message *m);
void dpi_verbs_unstall(DPI_Tp_Endpoint *c); /* messages that were kept, as far as they can be handled now */

/* buffer.c */
struct verbs_buffer *dpi_verbs_buffers(DPI_Tp *tp, uint64_t size); /* a chain for size bytes; NULL: not now */
void dpi_verbs_buffers_free(DPI_Tp *tp, struct verbs_buffer *b);
void dpi_verbs_gather(struct verbs_buffer *to, const struct iovec *iov, int count);
void dpi_verbs_scatter(const struct iovec *iov, int count, const struct verbs_buffer *from);
int dpi_verbs_slab(DPI_Tp *tp); /* the first one; error class with a sentence */
void dpi_verbs_memory_close(DPI_Tp *tp);
/* Register for an operation, or find what is; error class with a sentence. */
int dpi_verbs_register(DPI_Tp *tp, const struct iovec *v, bool write, struct verbs_region **region);
void dpi_verbs_unregister(DPI_Tp *tp, struct verbs_region *r);
struct verbs_region *dpi_verbs_window_find(const DPI_Tp *tp, const struct iovec *v, bool write); /* NULL: it is in none */

/* window.c */
int dpi_verbs_expose(DPI_Tp *tp, const DPI_Tp_Memory *memory, DPI_Tp_Window **window, DPI_Tp_Key *key);
int dpi_verbs_withdraw(DPI_Tp_Window *window);
void dpi_verbs_windows_close(DPI_Tp *tp);
void dpi_verbs_attach_asked(DPI_Tp_Endpoint *c, const struct wire_message *m);
void dpi_verbs_attachment_end(DPI_Tp *tp, struct verbs_attachment *a);

/* remote.c */
int dpi_verbs_attach(DPI_Tp_Endpoint *c, const DPI_Tp_Key *key, uint64_t length, DPI_Tp_Remote **remote, void **direct);
int dpi_verbs_detach(DPI_Tp_Remote *remote);
void dpi_verbs_remote_free(DPI_Tp_Remote *r);
void dpi_verbs_remote_idle(DPI_Tp_Remote *r); /* nothing is pending any more */
void dpi_verbs_attached(DPI_Tp_Endpoint *c, const struct wire_message *m);
void dpi_verbs_revoked(DPI_Tp_Endpoint *c, uint64_t id);
enum { KEY_SIZE = 48, KEY_VERSION = 1 };
/* In a key's access: the window's address is a multiple of 8; the home's device does atomics on it. */
#define KEY_WORDS 0x80u
#define KEY_DEVICE_ATOMICS 0x40u

/* post.c */
/* May this be put now? AGAIN: the window is not attached yet. total: the pieces' sum. */
int dpi_verbs_put_check(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify, uint64_t *total);
int dpi_verbs_put(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify,
		  uint32_t flags, void *cookie);
int dpi_verbs_get(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, void *cookie);
int dpi_verbs_fetch_add(DPI_Tp_Remote *remote, uint64_t offset, uint64_t operand, uint64_t *result, void *cookie);
int dpi_verbs_compare_swap(DPI_Tp_Remote *remote, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result,
			   void *cookie);
int dpi_verbs_send(DPI_Tp_Endpoint *c, const void *bytes, size_t size, uint32_t flags);
int dpi_verbs_flush(DPI_Tp_Endpoint *c, void *cookie);
int dpi_verbs_cancel(DPI_Tp_Endpoint *c, void *cookie);
uint64_t dpi_verbs_max_put(const DPI_Tp *tp);

/* progress.c */
int dpi_verbs_progress(DPI_Tp *tp, uint32_t lane, int *events);
int dpi_verbs_arm(DPI_Tp *tp, uint32_t lane);
void dpi_verbs_poll(DPI_Tp *tp); /* completions, until there are none */
/* Take completions of a group's queue out, for later; false: there are no more. */
bool dpi_verbs_put_off(DPI_Tp *tp, struct verbs_group *g);
bool dpi_verbs_peek(DPI_Tp *tp);  /* look for completions, but call nobody back: keys are asked for and answered. true: something came */
int64_t dpi_verbs_now(void);	  /* µs */

/* status.c */
struct verbs_status {
	int error;	      /* class of the operation itself; those behind it are DPI_ERR_PEER */
	const char *sentence; /* cause and remedy */
};
const struct verbs_status *dpi_verbs_status(enum ibv_wc_status status);
enum verbs_whom { WHOM_NOBODY, WHOM_PAIR, WHOM_COMPLETIONS, WHOM_RECEIVES, WHOM_ALL }; /* a queue pair, a queue, or the device */
struct verbs_event {
	int error; /* 0: nothing is lost by it */
	enum verbs_whom whom;
	const char *name, *sentence;
};
const struct verbs_event *dpi_verbs_event(enum ibv_event_type type);

#endif
