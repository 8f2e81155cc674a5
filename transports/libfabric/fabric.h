/* SPDX-License-Identifier: Apache-2.0
 * fabric.h: the libfabric transport's own structures. It has one lane; the core lets one thread at a time inside.
 *
 * An endpoint here is a link: a libfabric endpoint of its own, connected (FI_EP_MSG) or with one peer's address (FI_EP_RDM), so that
 * closing it ends whatever the provider still does for that peer. A link carries messages, in order, from and to buffers that belong
 * to the transport, each in exchange for a credit of the receiver; the receiver's progress takes them apart (receive.c). So words
 * are whole, atomics are those of the target's processor, and a notification follows its bytes, whatever the provider promises.
 * Large pieces go by the provider's own writes and reads where that pays (write_min) and the target has granted it for the window
 * (window.c): a grant is given on request and taken back before the window goes.
 *
 * What cannot be sent at once waits in the link's queue (queue.c), in order. Callbacks come from progress, connect and disconnect only. */
#ifndef DPI_FABRIC_H
#define DPI_FABRIC_H

#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <stdbool.h>
#include <stdint.h>

#include "dpi_transport.h"
#include "dpi_words.h"
#include "wire.h"

enum {
	MAX_IOV = 8,		 /* pieces of a put or get */
	OUTSTANDING = 128,	 /* unanswered requests of one side of a link; a power of two */
	OWN = 256,		 /* of this side's operations that wait in a link's queue */
	ANSWERS = 1024,		 /* of the peer's that wait there */
	CREDITS = 32,		 /* messages on their way to a link */
	PROBES = 4,		 /* to a peer that is silent */
	RECEIVES = CREDITS + PROBES + 4, /* buffers posted: these, and those that give credits back, need none themselves */
	COPY_MAX = 4096,	 /* puts up to this many bytes are copied, and so are done on return */
	DIRECT_MIN = 16 << 10,	 /* gets from here on go by the provider's reads, puts by the writes of a device */
	FLYING = 64,		 /* of these at once, for each link */
	EARLY = 64,		 /* messages that may come before the one that is due; more than RECEIVES, a power of two, half of their numbers at most */
	SLAB = 16,		 /* buffers allocated together */
	STRANGERS = 64,		 /* links that have not said hello */
	HELLO_US = 5000000,	 /* and how long they may take */
	QUIET_US = 500000,	 /* a link that nothing came from for so long is looked after */
	STUCK_US = 2000000,	 /* the provider has room and yet takes nothing: there is nobody any more */
	NOBODY_US = 10000000,	 /* the same while connecting */
	ROUNDS = 8,		 /* of reading the completion queue in one progress */
	EVENTS = 32,		 /* completions read at once */
	NAP_SHARE = 16,		 /* who waits looks again after that share of the time that it has waited */
	EQ_EVERY = 32,		 /* connection events are looked for every so often */
	WHY_MAX = 400
};
_Static_assert(RECEIVES < EARLY && EARLY <= 128 && !(EARLY & (EARLY - 1)), "what is early has a place of its own");
_Static_assert((COPY_MAX & 7) == 0 && COPY_MAX + 8 <= WIRE_DATAGRAM - WIRE_HEADER, "a small put is one message");

/* provider.c: what was chosen. */
struct fabric_choice {
	struct fi_info *info;
	bool message;	 /* FI_EP_MSG */
	bool order_saw;	 /* connections alone: a message sent after a write arrives after what that writes */
	bool local;	 /* the provider reaches this host only */
	int near;	 /* its device, to this process: 1, 0, or -1: not known */
	char name[64];	 /* of the provider */
	char where[64];	 /* domain and address */
	char reason[256];
};

struct fabric_grantee {
	struct fabric_grantee *next;
	DPI_Tp_Endpoint *endpoint;
	struct fid_mr *mr; /* mr_endpoint: bound to the link's, and closed before that; else NULL: the window's serves all */
	bool revoking;
};

struct DPI_Tp_Window {
	DPI_Tp *tp;
	uint8_t *address;
	uint64_t length, secret;
	uint32_t slot, generation, access;
	bool words;	    /* its address is a multiple of 8 */
	bool closing;	    /* withdraw has begun */
	struct fabric_grantee *grantees; /* links that may write and read it by the provider */
	bool refused;	    /* the provider would not register it */
	struct fid_mr *mr;  /* once a link asked for it; NULL with mr_endpoint */
};

struct fabric_slot {
	DPI_Tp_Window *window;
	uint32_t generation; /* of the window now, or last, in it */
	uint32_t next_free;
};

enum fabric_grant { GRANT_NONE, GRANT_ASKED, GRANT_GIVEN, GRANT_REFUSED };
struct DPI_Tp_Remote {
	DPI_Tp_Endpoint *endpoint;
	DPI_Tp *tp;
	DPI_Tp_Remote *next, **link; /* of the transport's list */
	uint64_t length, secret, key, base;
	uint32_t slot, generation, access;
	uint32_t pending;
	uint32_t flying; /* reads and writes by the provider */
	enum fabric_grant grant;
	bool revoked; /* to be answered when none is flying */
};

/* What a provider's completion refers to: its context is the first member. */
enum fabric_kind { OP_SEND, OP_RECEIVE, OP_DIRECT };
struct fabric_op {
	struct fi_context2 context;
	enum fabric_kind kind;
	DPI_Tp_Endpoint *endpoint; /* NULL: of one that was closed; nobody waits */
	struct fabric_op *next, **link;
	struct fabric_item *item; /* OP_DIRECT */
	uint8_t *bytes;		  /* of a buffer */
	size_t size;		  /* OP_RECEIVE: of a message that came early */
	void *desc;
};

/* Work that waits in a link's queue, or (ITEM_DIRECT) for the provider. */
enum fabric_work {
	ITEM_FRAME,  /* a header, and perhaps a copied payload */
	ITEM_PUT,    /* pieces of the caller's memory, as messages */
	ITEM_DIRECT, /* the same by the provider's writes, or reads */
	ITEM_ANSWER  /* part of a window, as messages */
};
struct fabric_item {
	struct fabric_item *next;
	enum fabric_work work;
	bool own;	   /* posted here, not caused by the peer */
	bool after_writes; /* not before the provider's earlier writes are done */
	bool read, all_posted, notify;
	int error; /* class */
	struct wire_frame frame; /* of messages: the next one's, but for length */
	uint8_t *copy;		 /* ITEM_FRAME: the payload */
	DPI_Tp_Remote *remote;
	DPI_Tp_Window *window; /* ITEM_ANSWER */
	void *cookie;
	struct iovec iov[MAX_IOV];
	struct fid_mr *mr[MAX_IOV];
	int count, at;
	uint64_t done, left; /* bytes */
	unsigned flying;
	DPI_Tp_Notify then; /* notify */
};

struct fabric_request {
	enum wire_op answer;
	int count;
	struct iovec iov[MAX_IOV];
	uint64_t length, got;
	DPI_Tp_Remote *remote; /* NULL: flush */
	void *cookie;
	uint64_t puts; /* flush: posted before it */
	bool cancelled;
};

enum fabric_state {
	STATE_DOOR,   /* takes hellos */
	STATE_OPENING, /* connecting */
	STATE_HELLO,  /* accepted; has not said hello */
	STATE_OPEN,
	STATE_LOST, /* without a libfabric endpoint, until disconnect */
	STATE_GONE  /* to be freed when progress ends */
};

struct DPI_Tp_Endpoint {
	DPI_Tp *tp;
	DPI_Tp_Endpoint *next, **link; /* of the transport's list */
	enum fabric_state state;
	struct fid_ep *ep;
	fi_addr_t to;
	int node;
	uint64_t incarnation;
	uint64_t tag, tag_theirs; /* of messages to here; to the peer */
	uint8_t number, due;	  /* of the next message to the peer; to here */
	uint64_t token[2];	  /* of the peer's address, for the hello */
	bool claimed;		  /* the core holds it */
	bool connected;		  /* FI_CONNECTED */
	bool greeted;		  /* hello has been sent */
	bool crossed;		  /* opening: the peer's own connection came meanwhile, and goes first */
	bool deferred;		  /* the peer's, not welcomed before this node's own has failed */
	int broken;		  /* error of a post; progress says it */
	int refused;		  /* class of a connect that failed; why says more */
	int64_t deadline;	  /* µs, of the hello */
	int64_t heard;		  /* µs, when something came last */
	int64_t stuck;		  /* µs, since when the provider takes nothing though it has room; 0 */
	char why[WHY_MAX];

	struct fabric_op *ops; /* the provider has them */
	unsigned sends, directs, writes; /* of these */
	struct fabric_op *held;		 /* a message that more may be added to before it is sent; its credit is taken */
	size_t held_size;
	bool late;			 /* of answers to flushes alone: it waits for the next round */
	bool blocked;			 /* the provider did not take it */
	unsigned probes;		 /* since something was heard */
	unsigned credits, owed;		 /* messages the peer takes; buffers to be given back */
	struct fabric_op *early[EARLY];	 /* messages that came before the one that is due, by number */
	unsigned waiting;		 /* of these */
	int64_t gap;			 /* µs, since when they wait for it */
	int missed;			 /* code of a receive that failed: a stranger's message, or the one that is due */
	struct fabric_item *head, **tail; /* the queue */
	struct fabric_item *flying;	  /* posted to the provider, all of them */
	unsigned own, answers;		  /* in the queue or flying */

	struct fabric_request *request;
	uint64_t asked, answered; /* own requests */
	uint64_t serving;	  /* number of the peer's next request */
	uint64_t puts, flushed;	  /* posted; of these, known to be visible */
};

struct DPI_Tp {
	const DPI_Tp_Core *core;
	struct fabric_choice choice;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_cq *cq;
	struct fid_eq *eq;
	struct fid_av *av;
	struct fid_pep *pep;
	int epoll_fd; /* of the provider's descriptors, or of the timer, if it has none */
	int timer_fd; /* -1: it has some */
	int64_t quiet_since; /* µs; of the timer */
	bool nap_anew;	     /* something has been sent or has come since */
	bool mr_local, mr_virtual, mr_endpoint;
	size_t inject, iov_limit, rma_limit;
	unsigned room; /* less under way than this cannot be why the provider takes nothing */
	int64_t clock;	/* µs, of this round of progress */
	uint64_t message_max; /* bytes of a write or read */
	size_t message;	      /* bytes of the largest message */
	uint64_t write_min;   /* puts from here on go by the provider's writes: without a device one message costs less than these and another */

	uint8_t address[WIRE_ADDRESS];
	uint32_t address_size;
	uint64_t token[2], window_key[2];
	uint64_t random; /* state of keys and tags */
	uint64_t key_mask; /* of the keys that the provider lets us choose */
	uint16_t keys;	   /* chosen so far */

	struct fabric_slot *slot;
	uint32_t slots, slots_room, free_slot;
	DPI_Tp_Endpoint *links, *door;
	DPI_Tp_Remote *remotes;
	struct fabric_op *free_buffers, *free_ops, *limbo; /* limbo: of closed links, until the completion queue has been seen empty */
	struct fabric_slab *slabs;
	unsigned strangers, ticks, eq_ticks;
	unsigned holding; /* links that hold a message */
	bool inside, armed, graves;
	int events;
	int64_t log_at, looked;
	unsigned unlogged;
};

/* Record the sentence of an error, and be the error. */
#define fabric_fail(tp, ...) ((tp)->core->fail_text((tp)->core->self, __VA_ARGS__))

/* fabric.c */
int dpi_fabric_progress(DPI_Tp *tp, uint32_t lane, int *events);
int64_t dpi_fabric_now(void); /* µs */
uint64_t dpi_fabric_random(DPI_Tp *tp);
void dpi_fabric_log(DPI_Tp *tp, const char *format, ...) __attribute__((format(printf, 2, 3))); /* one line a second */
int dpi_fabric_drain(DPI_Tp *tp); /* read completions; how many */

/* nap.c */
int dpi_fabric_nap_open(DPI_Tp *tp); /* 0, or -errno */
void dpi_fabric_nap(DPI_Tp *tp);     /* before sleeping on the descriptor: when to look */

/* error.c: what a provider's error code means. */
struct fabric_error {
	int code; /* FI_… */
	int class; /* DPI_ERR_… */
	const char *meaning; /* cause and remedy */
};
const struct fabric_error *dpi_fabric_error(int code); /* either sign; never NULL */
/* Fail with the class of code: what could not be done, the code's own text, and the meaning. */
int dpi_fabric_fail(DPI_Tp *tp, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* provider.c */
int dpi_fabric_choose(const DPI_Tp_Core *core, struct fabric_choice *c, bool loud); /* loud: log each candidate */
const char *dpi_fabric_device(const struct fi_info *i); /* a network device it works over; NULL: none */
void dpi_fabric_quiet(bool on); /* libfabric's own lines on standard error; counted */

/* address.c */
int dpi_fabric_listen_address(const DPI_Tp_Core *core, uint8_t family[1], uint8_t bytes[16], bool *any);
int dpi_fabric_address(DPI_Tp *tp, void *bytes, uint32_t *size);
struct fabric_address {
	bool message;
	char provider[64];
	uint64_t incarnation, token[2];
	uint32_t size;
	uint8_t bytes[WIRE_ADDRESS];
};
int dpi_fabric_address_parse(const uint8_t *bytes, size_t size, struct fabric_address *a); /* 0, or -1 */

/* connect.c */
int dpi_fabric_door(DPI_Tp *tp); /* open it */
int dpi_fabric_connect(DPI_Tp *tp, uint32_t lane, const DPI_Tp_Peer *peer, int64_t timeout_us, DPI_Tp_Endpoint **endpoint);
void dpi_fabric_events(DPI_Tp *tp); /* of connections */
void dpi_fabric_greet(DPI_Tp_Endpoint *c);
void dpi_fabric_hello(DPI_Tp_Endpoint *c, const struct wire_frame *f, const uint8_t *address);
void dpi_fabric_welcome(DPI_Tp_Endpoint *c, const struct wire_frame *f, const uint8_t *address);
void dpi_fabric_expire(DPI_Tp *tp);

/* link.c */
DPI_Tp_Endpoint *dpi_fabric_link(DPI_Tp *tp, struct fi_info *info, enum fabric_state state); /* NULL: with the sentence */
void dpi_fabric_disconnect(DPI_Tp_Endpoint *c);
void dpi_fabric_goodbye(DPI_Tp_Endpoint *c);
void dpi_fabric_forget(DPI_Tp_Endpoint *c);
void dpi_fabric_bury(DPI_Tp *tp);
/* From progress only: the link has ended; every pending operation completes, the core is told. */
void dpi_fabric_lose(DPI_Tp_Endpoint *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, after telling the peer what it did wrong. */
void dpi_fabric_refuse(DPI_Tp_Endpoint *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void dpi_fabric_broke(DPI_Tp_Endpoint *c, int code); /* lose it with the meaning of code */
int dpi_fabric_dead(const DPI_Tp_Endpoint *c);	     /* DPI_ERR_PEER with the sentence */

/* region.c: let the provider know memory; ep: whose operations it is for. 0, or the provider's error with *mr NULL and nothing left. */
int dpi_fabric_register(DPI_Tp *tp, struct fid_ep *ep, const void *at, size_t size, uint64_t access, struct fid_mr **mr);

/* buffer.c: operations and buffers. NULL: no memory. */
struct fabric_op *dpi_fabric_op(DPI_Tp_Endpoint *c, enum fabric_kind kind);
void dpi_fabric_op_done(DPI_Tp *tp, struct fabric_op *op);
void dpi_fabric_orphan(DPI_Tp_Endpoint *c);	   /* its endpoint is closed */
void dpi_fabric_limbo_end(DPI_Tp *tp);		   /* the completion queue was empty */
int dpi_fabric_receive(DPI_Tp_Endpoint *c, struct fabric_op *op); /* post a buffer; 0 or a provider's error */
void dpi_fabric_receive_again(DPI_Tp_Endpoint *c, struct fabric_op *op); /* its message has been taken */
void dpi_fabric_buffers_close(DPI_Tp *tp);

/* queue.c */
/* Send a frame now, behind what is held: 0, DPI_ERR_AGAIN: it was not taken, or DPI_ERR_PEER with the link broken. The pieces are copied.
 * without credit: in a message of its own. */
int dpi_fabric_message(DPI_Tp_Endpoint *c, struct wire_frame *f, const struct iovec *iov, int count, bool credit);
/* The same of one that another follows; the next one, or progress, sends it. */
int dpi_fabric_hold(DPI_Tp_Endpoint *c, struct wire_frame *f, const struct iovec *iov, int count);
int dpi_fabric_ship(DPI_Tp_Endpoint *c); /* send what is held; as above */
bool dpi_fabric_late(DPI_Tp_Endpoint *c, const struct wire_frame *f); /* an answer that may wait for a post to go along with; false: no memory */
bool dpi_fabric_frame(DPI_Tp_Endpoint *c, const struct wire_frame *f, bool own); /* send or queue; false: no memory */
struct fabric_item *dpi_fabric_item(DPI_Tp_Endpoint *c, enum fabric_work work, bool own);
void dpi_fabric_enqueue(DPI_Tp_Endpoint *c, struct fabric_item *i);
void dpi_fabric_item_free(DPI_Tp_Endpoint *c, struct fabric_item *i);
int dpi_fabric_run(DPI_Tp_Endpoint *c, struct fabric_item *i); /* as far as it goes: 0: done; DPI_ERR_AGAIN; DPI_ERR_PEER */
void dpi_fabric_give_back(DPI_Tp_Endpoint *c); /* a message that only gives credits back, ahead of the queue, but for a welcome there */
void dpi_fabric_serve(DPI_Tp_Endpoint *c);		       /* from progress: the queue, and credits owed */
void dpi_fabric_direct_done(struct fabric_op *op, int code);   /* from progress */
void dpi_fabric_drop(DPI_Tp_Endpoint *c);		       /* complete everything with DPI_ERR_PEER */
bool dpi_fabric_runnable(const DPI_Tp_Endpoint *c);	       /* nothing but trying again moves it on */

/* receive.c */
void dpi_fabric_take(DPI_Tp_Endpoint *c, struct fabric_op *op, size_t size); /* the message in op, and those behind it that came before it */

/* post.c */
int dpi_fabric_put(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify,
		   uint32_t flags, void *cookie);
int dpi_fabric_get(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, void *cookie);
int dpi_fabric_fetch_add(DPI_Tp_Remote *remote, uint64_t offset, uint64_t operand, uint64_t *result, void *cookie);
int dpi_fabric_compare_swap(DPI_Tp_Remote *remote, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result,
			    void *cookie);
int dpi_fabric_send(DPI_Tp_Endpoint *c, const void *bytes, size_t size, uint32_t flags);
int dpi_fabric_flush(DPI_Tp_Endpoint *c, void *cookie);
int dpi_fabric_cancel(DPI_Tp_Endpoint *c, void *cookie);

/* window.c */
#define KEY_WORDS 0x80u /* in a key's access: the window's address is a multiple of 8 */
int dpi_fabric_expose(DPI_Tp *tp, const DPI_Tp_Memory *memory, DPI_Tp_Window **window, DPI_Tp_Key *key);
int dpi_fabric_withdraw(DPI_Tp_Window *window);
int dpi_fabric_attach(DPI_Tp_Endpoint *c, const DPI_Tp_Key *key, uint64_t length, DPI_Tp_Remote **remote, void **direct);
int dpi_fabric_detach(DPI_Tp_Remote *remote);
void dpi_fabric_windows_close(DPI_Tp *tp);
DPI_Tp_Window *dpi_fabric_window(const DPI_Tp_Endpoint *c, const struct wire_frame *f, uint64_t length, uint32_t access);
/* Why there is none: true: it has been withdrawn; false: the peer is wrong and has been refused. */
bool dpi_fabric_window_stale(DPI_Tp_Endpoint *c, const struct wire_frame *f, uint64_t length, uint32_t access);
void dpi_fabric_take_grant(DPI_Tp_Endpoint *c, const struct wire_frame *f); /* USE, GRANT, REVOKE, REVOKED */
void dpi_fabric_revoke_done(DPI_Tp_Remote *r);				    /* nothing is flying any more */
void dpi_fabric_ungrant_all(DPI_Tp_Endpoint *c);			    /* the link is closed */

#endif
