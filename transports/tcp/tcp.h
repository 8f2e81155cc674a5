/* SPDX-License-Identifier: Apache-2.0
 * tcp.h: the tcp transport's own structures. It has one lane; the core lets one thread at a time inside.
 *
 * An endpoint is a connection, made by connect or accepted. An accepted one serves its peer without further ado; connect
 * towards that peer takes it over. Two nodes that connect at once end with one connection (cross.c). Everything happens in
 * posts and in progress; callbacks come from progress, connect and disconnect only.
 *
 * The calls of the inner loop are the kernel's own: the C library's are points at which a thread may be cancelled, which costs each
 * a sixth of a fruitless look, and a thread cancelled here would hold the lock. */
#ifndef DPI_TCP_H
#define DPI_TCP_H

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>

#include "dpi_transport.h"
#include "dpi_words.h"
#include "wire.h"

enum {
	MAX_IOV = 8,		   /* pieces of a put or get */
	OUTSTANDING = 128,	   /* unanswered requests of one side of a connection; a power of two */
	PIECES = 2048,		   /* memory waiting to be sent; a power of two ≥ OUTSTANDING × (MAX_IOV + 1) */
	SEND_BUFFER = 128 << 10,   /* bytes; a power of two */
	SEND_RESERVE = 8 << 10,	   /* of these, for answers: OUTSTANDING of them and a last word fit */
	SEND_AT = 64 << 10,	   /* bytes held back by DPI_TP_MORE go out from here on */
	COPY_MAX = 4096,	   /* puts and answers up to this many bytes are copied, and so are done on return */
	RECEIVE_BUFFER = 64 << 10, /* bytes */
	STAGE = 64 << 10,	   /* bytes */
	DIRECT_MIN = COPY_MAX + 1, /* payloads from here on are received where they belong */
	AHEAD_FIRST = 4096,	   /* bytes of a connection's first receive */
	AHEAD_MIN = 4096,	   /* bytes read beyond such a payload */
	RECEIVE_ROUNDS = 8,	   /* receives from one connection before others have their turn */
	HOT = 2,		   /* connections looked at without asking epoll */
	HOT_LOOKS = 256,	   /* in vain, until one is no longer hot */
	POLL_EVERY = 64,	   /* progress asks epoll at least every so often */
	KEPT_MAX = 64 << 20,	   /* bytes copied to set free memory that is being sent */
	STRANGERS = 256,	   /* accepted connections that have not said hello */
	HELLO_US = 5000000,	   /* and how long they may take */
	HOSTS = 16,		   /* addresses of a node */
	WHY_MAX = 400
};
_Static_assert(SEND_RESERVE >= (OUTSTANDING + 1) * 24 + WIRE_MAX_ERROR + 16, "answers fit");
_Static_assert(PIECES >= OUTSTANDING * (MAX_IOV + 1), "every pending put and answer has its pieces");
_Static_assert(DIRECT_MIN + WIRE_WORDS * 8 <= RECEIVE_BUFFER && WIRE_MAX_SEND + 8 <= RECEIVE_BUFFER, "fits whole");

/* address.c: where a node listens. */
struct tcp_host {
	uint8_t family; /* 4, 6 */
	uint8_t bytes[16];
};
struct tcp_address {
	uint16_t port;
	uint64_t incarnation;
	uint8_t token[WIRE_TOKEN];
	unsigned hosts;
	struct tcp_host host[HOSTS]; /* loopback last */
};

struct DPI_Tp_Window {
	DPI_Tp *tp;
	uint8_t *address;
	uint64_t length, secret;
	uint32_t slot, generation, access;
	uint32_t answers; /* being sent from it */
	bool closing;	  /* withdraw has begun */
};

struct tcp_slot {
	DPI_Tp_Window *window;
	uint32_t generation; /* of the window now, or last, in it */
	uint32_t next_free;
};

struct DPI_Tp_Remote {
	DPI_Tp_Endpoint *endpoint;
	DPI_Tp *tp;
	DPI_Tp_Remote *next, **link; /* of the transport's list */
	uint64_t length, secret;
	uint32_t slot, generation, access;
	uint32_t pending;
};

/* Memory that waits to be sent after the bytes of the send buffer before position at. */
enum tcp_piece_kind { PIECE_PART, PIECE_LAST, PIECE_ANSWER, PIECE_KEPT };
struct tcp_piece {
	const uint8_t *memory;
	size_t left;
	uint64_t at;
	enum tcp_piece_kind kind;
	union {
		DPI_Tp_Remote *remote; /* PIECE_LAST */
		DPI_Tp_Window *window; /* PIECE_ANSWER */
		void *kept;	       /* PIECE_KEPT: to be freed */
	};
	union {
		void *cookie;	  /* PIECE_LAST */
		size_t kept_size; /* PIECE_KEPT */
	};
};

struct tcp_request {
	enum wire_op answer;
	uint32_t length;
	int count;
	struct iovec iov[MAX_IOV];
	DPI_Tp_Remote *remote; /* NULL: flush */
	void *cookie;
	uint64_t puts;	/* flush: posted before it */
	bool cancelled; /* the answer goes nowhere */
};

/* A payload that is being received. */
enum tcp_body_kind { BODY_NONE, BODY_PUT, BODY_ANSWER };
struct tcp_body {
	size_t left;
	enum tcp_body_kind kind; /* what happens at its end */
	bool buffered;		 /* the bytes pass through the receive buffer */
	bool dropped;		 /* and go nowhere */
	int count, at;
	struct iovec iov[MAX_IOV];
	DPI_Tp_Window *window; /* BODY_PUT */
	bool notify;
	uint64_t notify_offset, value;
	uint32_t bell;
};

enum tcp_state {
	STATE_HELLO,  /* accepted; has not said hello, or is not yet answered */
	STATE_UNSURE, /* accepted; its peer may give it up (cross.c) */
	STATE_OPEN,
	STATE_LOST,   /* an endpoint without a socket, until disconnect */
	STATE_GONE    /* to be freed when progress ends */
};

struct DPI_Tp_Endpoint {
	DPI_Tp *tp;
	DPI_Tp_Endpoint *next, **link; /* of the transport's list */
	DPI_Tp_Endpoint *next_dirty;
	enum tcp_state state;
	int fd;
	int node;
	uint64_t incarnation;
	uint32_t superseded; /* the peer's hellos up to this one came before it */
	bool claimed;	  /* the core holds it */
	bool dirty;	  /* in the list of connections that progress has to look at */
	bool late;	  /* for answers to flushes only, which wait for the next round */
	bool blocked;	  /* the socket is full; EPOLLOUT is asked for */
	int broken;	  /* errno of a send; progress finds out more and says it */
	unsigned looks;	  /* in vain */
	int64_t deadline; /* µs, of the hello */
	uint8_t hello[WIRE_HELLO];
	char name[64];	   /* the peer's address */
	char why[WHY_MAX]; /* it is lost */

	uint8_t *rx; /* received, not yet understood: head … tail */
	uint32_t head, tail, ahead;
	struct tcp_body body;

	uint8_t *tx; /* positions count up; the index is position % SEND_BUFFER */
	uint64_t tx_head, tx_tail;
	uint8_t *stage; /* bytes of the answer at sent whose words must be whole: staged_at … staged */
	size_t staged_at, staged;
	struct tcp_piece *piece; /* reported ≤ sent ≤ end, likewise */
	uint32_t reported, sent, end;

	struct tcp_request *request;
	uint64_t asked, answered; /* own requests */
	uint64_t serving;	  /* number of the peer's next request */
	uint64_t puts, flushed;	  /* posted; of these, known to be visible */
};

struct DPI_Tp {
	const DPI_Tp_Core *core;
	int epoll_fd, listen_fd, spare_fd;
	struct tcp_address self;
	char device[32]; /* the interface listened on, if it is one */
	uint64_t window_key[2]; /* secrets of windows are made from it */
	struct tcp_slot *slot;
	uint32_t slots, slots_room, free_slot;
	DPI_Tp_Endpoint *connections, *dirty, *hot[HOT];
	DPI_Tp_Remote *remotes;
	struct {
		int node;
		uint64_t incarnation;
		bool said; /* the hello is on its way, no answer has come */
	} asking; /* whom connect is at */
	uint32_t serial;       /* of the last hello */
	DPI_Tp_Endpoint *held; /* its hello waits for what comes of asking */
	unsigned strangers, blocked, ticks;
	bool inside, armed, graves; /* in progress; about to sleep; something is STATE_GONE */
	int events;
	size_t kept;	/* bytes in pieces of this kind */
	int64_t log_at; /* the next refusal is logged from then on */
	unsigned unlogged;
};

static inline size_t tcp_queued(const DPI_Tp_Endpoint *c)
{
	return (size_t)(c->tx_tail - c->tx_head);
}

/* Record the sentence of an error, and be the error. */
#define tcp_fail(tp, ...) ((tp)->core->fail_text((tp)->core->self, __VA_ARGS__))

/* tcp.c */
int dpi_tcp_progress(DPI_Tp *tp, uint32_t lane, int *events);
int64_t dpi_tcp_now(void); /* µs */

/* address.c */
int dpi_tcp_listen(DPI_Tp *tp);
int dpi_tcp_address(DPI_Tp *tp, void *bytes, uint32_t *size);
int dpi_tcp_address_parse(const uint8_t *bytes, size_t size, struct tcp_address *a); /* 0, or -1: no address */
bool dpi_tcp_host_is_loopback(const struct tcp_host *h);
bool dpi_tcp_host_is_near(const struct tcp_host *h); /* in a network that this host is in, and not its own address */
socklen_t dpi_tcp_host_socket(const struct tcp_host *h, uint16_t port, struct sockaddr_storage *to);
void dpi_tcp_name(const struct sockaddr_storage *from, char *name, size_t size);

/* connect.c */
int dpi_tcp_connect(DPI_Tp *tp, uint32_t lane, const DPI_Tp_Peer *peer, int64_t timeout_us, DPI_Tp_Endpoint **endpoint);
void dpi_tcp_accept(DPI_Tp *tp);
void dpi_tcp_expire(DPI_Tp *tp);				      /* who has not said hello in time */
DPI_Tp_Endpoint *dpi_tcp_adopt(DPI_Tp *tp, int fd, const char *name); /* take an accepted socket; NULL: closed */
void dpi_tcp_hello(DPI_Tp_Endpoint *c);				      /* receive it and answer */
void dpi_tcp_welcome(DPI_Tp_Endpoint *c, const struct wire_hello *h, enum wire_status status);
void dpi_tcp_dismiss(DPI_Tp_Endpoint *c); /* close one that is STATE_HELLO or STATE_UNSURE */

/* cross.c */
bool dpi_tcp_defer(DPI_Tp_Endpoint *c, const struct wire_hello *h);	  /* is this hello not to be answered, at least for now? */
bool dpi_tcp_is_asking(const DPI_Tp *tp, int node, uint64_t incarnation); /* has this node said hello to that one? */
void dpi_tcp_held(DPI_Tp_Endpoint *c);				  /* something has come on the connection that is held */
void dpi_tcp_unsure(DPI_Tp_Endpoint *c);			  /* something has come on one that is STATE_UNSURE */
int dpi_tcp_answered(DPI_Tp *tp, int fd, const struct wire_ack *ack); /* asking is over, with a welcome; 0, or -1 and errno */
void dpi_tcp_unanswered(DPI_Tp *tp);				  /* and without */

/* connection.c */
DPI_Tp_Endpoint *dpi_tcp_connection(DPI_Tp *tp, int fd, const char *name);
int dpi_tcp_connection_open(DPI_Tp_Endpoint *c); /* its buffers and its place in epoll; 0, or -1 */
void dpi_tcp_disconnect(DPI_Tp_Endpoint *c);
void dpi_tcp_goodbye(DPI_Tp_Endpoint *c); /* BYE, if it can be sent now */
void dpi_tcp_forget(DPI_Tp_Endpoint *c);  /* close and free, without a word to anybody */
void dpi_tcp_bury(DPI_Tp *tp);		  /* free what is STATE_GONE */
/* From progress only: the connection has ended; every pending operation completes, the core is told. */
void dpi_tcp_lose(DPI_Tp_Endpoint *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, after telling the peer what it did wrong. */
void dpi_tcp_refuse(DPI_Tp_Endpoint *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void dpi_tcp_heat(DPI_Tp_Endpoint *c);
void dpi_tcp_mark(DPI_Tp_Endpoint *c);	    /* dirty */
int dpi_tcp_dead(const DPI_Tp_Endpoint *c); /* DPI_ERR_PEER with the sentence */

/* receive.c: take what has arrived; counts events. The connection may be LOST or GONE afterwards. */
void dpi_tcp_receive(DPI_Tp_Endpoint *c);

/* send.c */
void dpi_tcp_transmit(DPI_Tp_Endpoint *c); /* send what the socket takes */
/* All is sent. If nothing is to be reported either, progress need not come for it; but it may, where others were marked later. */
void dpi_tcp_clean(DPI_Tp_Endpoint *c);
void dpi_tcp_report(DPI_Tp_Endpoint *c);   /* complete the puts that have been sent; from progress only */
void dpi_tcp_unblock(DPI_Tp_Endpoint *c);  /* the socket takes bytes again; from progress only */
void dpi_tcp_append_wrapped(DPI_Tp_Endpoint *c, const void *bytes, size_t size);
/* To the send buffer, which has room. */
static inline void tcp_append(DPI_Tp_Endpoint *c, const void *bytes, size_t size)
{
	size_t at = c->tx_tail % SEND_BUFFER;
	if (!size) return;
	if (at + size > SEND_BUFFER) {
		dpi_tcp_append_wrapped(c, bytes, size);
		return;
	}
	memcpy(c->tx + at, bytes, size);
	c->tx_tail += size;
}
static inline void tcp_append_header(DPI_Tp_Endpoint *c, const struct wire_frame *f, unsigned words)
{
	size_t at = c->tx_tail % SEND_BUFFER;
	if (at + WIRE_WORDS * 8 <= SEND_BUFFER) {
		c->tx_tail += wire_write(c->tx + at, f, words);
	} else {
		uint8_t header[WIRE_WORDS * 8];
		tcp_append(c, header, wire_write(header, f, words));
	}
}
static inline void tcp_append_frame(DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	tcp_append_header(c, f, dpi_tcp_shape[f->op].words);
}
void dpi_tcp_append_piece(DPI_Tp_Endpoint *c, const struct tcp_piece *p);
/* Copy what is left of a piece, so that the memory it stands for is free; false: too much, or no memory. */
bool dpi_tcp_keep(DPI_Tp_Endpoint *c, struct tcp_piece *p);
void dpi_tcp_unkeep(DPI_Tp_Endpoint *c, struct tcp_piece *p);

/* post.c */
int dpi_tcp_put(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify,
		uint32_t flags, void *cookie);
int dpi_tcp_get(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, void *cookie);
int dpi_tcp_fetch_add(DPI_Tp_Remote *remote, uint64_t offset, uint64_t operand, uint64_t *result, void *cookie);
int dpi_tcp_compare_swap(DPI_Tp_Remote *remote, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result,
			 void *cookie);
int dpi_tcp_send(DPI_Tp_Endpoint *c, const void *bytes, size_t size, uint32_t flags);
int dpi_tcp_flush(DPI_Tp_Endpoint *c, void *cookie);
int dpi_tcp_cancel(DPI_Tp_Endpoint *c, void *cookie);

/* window.c */
#define KEY_WORDS 0x80u /* in a key's access: the window's address is a multiple of 8 */
int dpi_tcp_expose(DPI_Tp *tp, const DPI_Tp_Memory *memory, DPI_Tp_Window **window, DPI_Tp_Key *key);
int dpi_tcp_withdraw(DPI_Tp_Window *window);
int dpi_tcp_attach(DPI_Tp_Endpoint *c, const DPI_Tp_Key *key, uint64_t length, DPI_Tp_Remote **remote, void **direct);
int dpi_tcp_detach(DPI_Tp_Remote *remote);
void dpi_tcp_windows_close(DPI_Tp *tp);
/* Why tcp_window found nothing: true: the window has been withdrawn; false: the peer is wrong and has been refused. */
bool dpi_tcp_window_stale(DPI_Tp_Endpoint *c, const struct wire_frame *f, uint64_t length, uint32_t access);

/* The window a peer's frame means, its key, range and access checked. */
static inline DPI_Tp_Window *tcp_window(const DPI_Tp_Endpoint *c, const struct wire_frame *f, uint64_t length,
					uint32_t access)
{
	const DPI_Tp *tp = c->tp;
	uint64_t offset = wire_offset(f);
	DPI_Tp_Window *w = f->slot < tp->slots ? tp->slot[f->slot].window : NULL;
	return w && w->secret == f->word[2] && w->generation == wire_generation(f) && !w->closing && w->access & access &&
			       offset <= w->length && length <= w->length - offset
		       ? w
		       : NULL;
}

#endif
