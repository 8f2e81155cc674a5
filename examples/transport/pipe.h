/* SPDX-License-Identifier: Apache-2.0
 * pipe.h: a transport to copy from: Unix stream sockets between processes of one host. Read with dpi_write_transport(7).
 *
 * Each connect makes a connection of its own. Its maker asks, the other side answers, in order, and never the other way
 * round. The maker takes answers whatever else happens; the other side takes no further request while QUEUE bytes of
 * answers wait. So the memory of both is bounded, and two nodes with full queues towards each other cannot wait for each
 * other. Every put is copied into the connection's queue and is done then: short, not fast. */
#ifndef PIPE_H
#define PIPE_H

#include <dpi_transport.h>
#include <dpi_words.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
	MAX_IOV = 8,	   /* pieces of a put or get */
	MAX_SEND = 4096,   /* bytes of a message */
	OUTSTANDING = 64,  /* requests of a connection without their answer */
	QUEUE = 256 << 10, /* bytes that wait; beyond them nothing more is taken */
	TURN = 64,	   /* messages of one connection before the others have their turn */
	EVENTS = 16,
	ADDRESS_MAGIC = 0x45504950,
	KEY_MAGIC = 0x594b4950,
	KEY_WORDS = 0x100 /* in a key's access: the window's memory is aligned to 8 bytes */
};

struct address {
	uint32_t magic, name_size;
	uint64_t incarnation, token[2]; /* token: who says it has the address from the core */
	char name[16];			/* of an abstract socket */
};

struct key {
	uint32_t magic, access;
	uint64_t id, secret, length, incarnation;
};

/* A request or an answer; size bytes follow, but not a GET. Both processes are of one machine: words go as they are. */
enum op { HELLO, PUT, GET, ADD, SWAP, FLUSH, SEND };
struct message {
	uint32_t op, bell;
	uint32_t stale; /* an answer: the window is not there any more */
	uint32_t node; /* HELLO */
	uint64_t id, secret, offset, size;
	uint64_t word, value; /* PUT: the notification; SWAP: expected, desired; ADD: value; HELLO: token; answers: value */
};

struct request {
	uint32_t op;
	int count;
	uint64_t size;
	struct iovec iov[MAX_IOV];
	uint64_t puts;	       /* FLUSH: those before it */
	DPI_Tp_Remote *remote; /* NULL: flush */
	void *cookie;
	bool cancelled;
};

struct DPI_Tp_Window {
	DPI_Tp *tp;
	DPI_Tp_Window *next;
	uint8_t *memory;
	uint64_t length, id, secret;
	uint32_t access;
};

struct DPI_Tp_Remote {
	DPI_Tp_Endpoint *endpoint;
	DPI_Tp_Remote *next;
	struct key key;
	uint32_t pending;
};

/* A connection, made here (then it is the core's endpoint) or accepted. */
struct DPI_Tp_Endpoint {
	DPI_Tp *tp;
	DPI_Tp_Endpoint *next;
	bool made, greeted, broken; /* broken: a send failed; progress finds out that the peer is lost */
	bool gone;		    /* to be freed when progress ends */
	int fd;			    /* -1: lost */
	uint32_t watched;	    /* of epoll */
	int node;
	uint64_t incarnation;
	uint8_t *out; /* what waits to be sent: from … to */
	size_t from, to, room;
	struct message in; /* what is being received, and how much of it with its payload is there */
	uint64_t got;
	uint8_t *payload; /* NULL: it goes nowhere */
	struct request request[OUTSTANDING];
	uint64_t asked, answered;
	uint64_t puts, flushed; /* posted; of these, known to be visible */
	DPI_Tp_Remote *remotes;
	char why[160]; /* it is lost */
};

struct DPI_Tp {
	const DPI_Tp_Core *core;
	int epoll, listener;
	struct address self;
	uint64_t windows_ever;
	DPI_Tp_Window *windows;
	DPI_Tp_Endpoint *connections;
	bool inside; /* in progress */
	int events;
};

#define fail(tp, ...) ((tp)->core->fail_text((tp)->core->self, __VA_ARGS__))

static inline bool within(uint64_t length, uint64_t offset, uint64_t size)
{
	return offset <= length && size <= length - offset;
}

/* queue.c */
void transmit(DPI_Tp_Endpoint *c); /* send what the socket takes */
uint8_t *append(DPI_Tp_Endpoint *c, const struct message *m, uint64_t payload); /* room for its payload; NULL: no memory */
void finish(DPI_Tp_Endpoint *c, int error, uint64_t result); /* the oldest request */

/* connect.c */
DPI_Tp_Endpoint *add_connection(DPI_Tp *tp, int fd);
void hang_up(DPI_Tp_Endpoint *c);
void forget(DPI_Tp_Endpoint **at); /* off the list, with what it holds */
void bury(DPI_Tp *tp);		   /* those that are gone */
void lose(DPI_Tp_Endpoint *c, const char *why);
int pipe_connect(DPI_Tp *tp, uint32_t lane, const DPI_Tp_Peer *peer, int64_t timeout_us, DPI_Tp_Endpoint **out);
void pipe_disconnect(DPI_Tp_Endpoint *c);

/* window.c */
int pipe_expose(DPI_Tp *tp, const DPI_Tp_Memory *m, DPI_Tp_Window **window, DPI_Tp_Key *key);
int pipe_withdraw(DPI_Tp_Window *w);
int pipe_attach(DPI_Tp_Endpoint *c, const DPI_Tp_Key *key, uint64_t length, DPI_Tp_Remote **remote, void **direct);
int pipe_detach(DPI_Tp_Remote *r);

/* post.c */
int pipe_put(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify,
	     uint32_t flags, void *cookie);
int pipe_get(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, void *cookie);
int pipe_fetch_add(DPI_Tp_Remote *r, uint64_t offset, uint64_t operand, uint64_t *result, void *cookie);
int pipe_compare_swap(DPI_Tp_Remote *r, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result,
		      void *cookie);
int pipe_flush(DPI_Tp_Endpoint *c, void *cookie);
int pipe_send(DPI_Tp_Endpoint *c, const void *bytes, size_t size, uint32_t flags);
int pipe_cancel(DPI_Tp_Endpoint *c, void *cookie);

/* receive.c: take what has arrived */
void receive(DPI_Tp_Endpoint *c);

#endif
