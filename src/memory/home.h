/* SPDX-License-Identifier: Apache-2.0
 * home.h: a buffer as its home node holds it. */
#ifndef DPI_MEMORY_HOME_H
#define DPI_MEMORY_HOME_H

#include "pieces.h"
#include "protocol.h"
#include "ring.h"
#include "window.h"

/* What a buffer is, as its attributes say once defaults are filled in. Travels in CREATE and OPEN. */
struct dpi_buffer_shape {
	uint32_t use, growth, full, huge_pages;
	uint32_t numa;
	uint64_t capacity, max_capacity, max_record;
};
int dpi_shape_from(const DPI_Buffer_Attr *attr, struct dpi_buffer_shape *shape); /* ARGUMENT with a sentence */
int dpi_shape_check(const struct dpi_buffer_shape *shape);			  /* one that a peer sent */
void dpi_shape_pack(struct dpi_pack *p, const struct dpi_buffer_shape *s);
void dpi_shape_unpack(struct dpi_unpack *u, struct dpi_buffer_shape *s);

enum { DPI_RING_OPEN, DPI_RING_CLOSED, DPI_RING_DEAD };

/* One appender's ring, at the home. Made by the loop thread; read by the consumer (queue) or the loop thread (log). */
struct dpi_ring_in {
	struct dpi_ring_reader reader;
	struct dpi_window window;
	struct dpi_peer *from;
	uint64_t handle; /* the appender's handle, at its node */
	uint32_t bell;	 /* of the appender, at its node */
	bool direct;	 /* the appender sees reader.ring->head itself */
	struct dpi_remote credit; /* length 0: none */
	bool credit_shared;	  /* it belongs to the ring this one replaces or was replaced by */
	uint64_t tell_at;	  /* bytes given back before the appender is told */
	uint64_t tell_least;	  /* the same when all that came was read: then it may wait for them */
	uint64_t ordered;	  /* log: records ordered */
	bool told_full;
	uint64_t *position;	  /* log: their positions, by number % DPI_POSITIONS; puts read it until the appender has them */
	_Atomic int state;	  /* OPEN; CLOSED or DEAD with release after the appender's last publish is visible */
	size_t lent;		  /* consumer: records lent */
	bool ended;		  /* consumer: LINK or CORRUPT seen */
	/* under the layer's credit_lock: what could not be posted to the credit, told by the loop when it can */
	bool credit_due, head_due, acked_due;
	uint64_t credit_head, credit_acked;
	struct dpi_ring_in *next_due;
	struct dpi_ring_in *_Atomic larger; /* the ring that replaces it; set with release before LINK can be seen */
	uint64_t yielded; /* it stands for a ring that its appender has given up, and has no memory: the position of its LINK, which the home writes; else 0 */
	bool asked_back;  /* loop thread: its appender was told that another waits for memory */
	struct dpi_ring_in *next; /* home->incoming */
};

struct dpi_handle_in { /* an open handle, as the home knows it */
	struct dpi_peer *peer;
	uint64_t handle;
	struct dpi_ring_in *ring; /* the latest */
};

/* A request for a ring: APPEND, unpacked. */
struct dpi_ring_wanted {
	struct dpi_peer *from;
	uint64_t call, handle;
	uint32_t bell;	/* of the appender, at its node */
	bool by_credit, tries, waits;
	uint32_t who;	/* as another ring's, that came or comes from elsewhere: it is the same appender; 0: it comes once */
	bool credit;	/* offer is a window for credits */
	struct dpi_window_offer offer;
	struct dpi_ring_wanted *next; /* home->wanted */
};

struct dpi_log_wait {
	struct dpi_peer *peer;
	uint64_t call, position;
};

struct dpi_log {
	struct dpi_window bounds;
	struct dpi_log_segment {
		struct dpi_window window;
		uint64_t base; /* position of its first record */
	} *segment; /* circular by number % segments_max */
	uint64_t segment_size, segments_max, first_segment, last_segment; /* [first, last) exist */
	uint64_t salt;
	struct dpi_log_wait *wait;
	size_t waits, waits_room;
};

struct dpi_home {
	uint64_t id;
	struct dpi_buffer_shape shape;
	uint32_t bell;
	pthread_mutex_t lock;	/* what follows, but the rings' reading side */
	struct dpi_ring_in *incoming; /* made, not yet seen by the reader */
	_Atomic bool changed;	      /* incoming is not empty */
	struct dpi_handle_in *handle;
	size_t handles, handles_room;
	uint64_t appenders, memory;
	uint64_t put_capacity; /* of the first ring of an appender that puts, where there is memory for it; 0: the shape's */
	uint64_t awaited; /* appenders that are still to come: memory for their rings is kept from growth */
	uint32_t *came; /* loop thread: those of them that have come */
	size_t came_count;
	uint64_t least; /* of a ring, where nobody knows how many are to come: memory for some is kept from growth; 0: awaited says it */
	struct dpi_ring_wanted *wanted; /* those that wait for memory, oldest first; changed by the loop thread alone */
	struct dpi_peer *creator; /* until NAMED */
	struct dpi_buffer *consumer;
	_Atomic bool destroyed;
	int references; /* local handles and the list */
	struct dpi_window region;
	struct dpi_pieces *pieces; /* loop thread only; NULL: never any */
	struct dpi_log log;
	struct dpi_ring_in **ring; /* log: its rings */
	size_t rings, rings_room;
	struct dpi_home *next;
};

/* home.c. All on the loop thread unless said otherwise. */
int dpi_home_open(struct dpi_context *ctx); /* message handlers */
void dpi_home_close(struct dpi_context *ctx);
struct dpi_home *dpi_home_find(struct dpi_context *ctx, uint64_t id); /* any thread; takes a reference */
void dpi_home_release(struct dpi_context *ctx, struct dpi_home *h);   /* any thread */
/* A region over memory of the caller; any thread. id out. */
int dpi_home_over(struct dpi_context *ctx, const struct dpi_buffer_shape *shape, void *memory, uint64_t *id);
void dpi_home_peer_down(struct dpi_context *ctx, struct dpi_peer *peer);
/* The buffer a request is about, its body unpacked; NULL: answered already. */
struct dpi_home *dpi_home_target(struct dpi_context *ctx, struct dpi_request_in *in, uint64_t id);
struct dpi_home *dpi_home_first(struct dpi_context *ctx); /* all of them, by next */
void dpi_home_answer(struct dpi_context *ctx, struct dpi_request_in *in, int error); /* with no body */
bool dpi_home_same_host(struct dpi_context *ctx, const struct dpi_peer *peer);
struct dpi_handle_in *dpi_home_handle(struct dpi_home *h, const struct dpi_peer *peer, uint64_t handle);
void dpi_home_ring_end(struct dpi_context *ctx, struct dpi_home *h, struct dpi_handle_in *handle, int state); /* it ends where it is */

/* ring_home.c */
int dpi_ring_home_open(struct dpi_context *ctx); /* message handlers */
void dpi_wanted_forget(struct dpi_context *ctx, struct dpi_home *h, const struct dpi_handle_in *handle); /* the handle waits for no ring any more */
void dpi_wanted_free(struct dpi_context *ctx, struct dpi_home *h, int error); /* nor does any; error: they are told */

/* region_home.c */
int dpi_region_home_open(struct dpi_context *ctx); /* message handlers */

/* ring_in.c: the reader's side; by the reader's thread. */
int dpi_ring_in_make(struct dpi_context *ctx, struct dpi_home *h, uint64_t capacity, uint64_t base, struct dpi_ring_in **out);
/* Release everything before end, which boundary goes with (ring.h), and tell the appender when that is due; the second half alone. */
void dpi_ring_in_give_back(struct dpi_ring_in *r, uint64_t end, uint64_t boundary);
void dpi_ring_in_tell(struct dpi_ring_in *r);
/* What stands for a ring that is given up, until there is another for its appender: it takes nothing of the buffer's memory. link: the other replaces it. */
int dpi_ring_in_yielded(uint64_t base, struct dpi_ring_in **out);
void dpi_ring_in_link(struct dpi_ring_in *yielded, struct dpi_ring_in *next);
void dpi_ring_in_by_credit(struct dpi_ring_in *r); /* new: its appender does not see the ring's head */
/* Its appender tries for room, and may take nothing from elsewhere, which would bring it here to give more back, before it has found some:
 * it is told whatever is given back. Others wait, and are told by parts of the ring. */
void dpi_ring_in_prompt(struct dpi_ring_in *r);
void dpi_ring_in_caught_up(struct dpi_ring_in *r); /* a look found nothing: tell what an appender may wait for */
/* Tell the appender, which asked for it when it opened the ring, that count is acknowledged: a number that only grows, and means what the two
 * agree on. It goes along to the ring that replaces this one. */
void dpi_ring_in_ack(struct dpi_ring_in *r, uint64_t count);
void dpi_ring_in_free(struct dpi_context *ctx, struct dpi_home *h, struct dpi_ring_in *r);
/* Those that replaced it, of which none was read: it may have been replaced several times. */
void dpi_ring_in_free_larger(struct dpi_context *ctx, struct dpi_home *h, struct dpi_ring_in *r);
/* The next record of one ring; on LINK *r becomes the larger ring (the old one is freed once nothing of it is lent). */
enum dpi_ring_found dpi_ring_in_next(struct dpi_context *ctx, struct dpi_home *h, struct dpi_ring_in **r, const void **data, size_t *size);
/* LINK was read: *r becomes the larger ring. False: there is none. */
bool dpi_ring_in_replace(struct dpi_context *ctx, struct dpi_home *h, struct dpi_ring_in **r);
/* Nothing will come any more: closed or dead, and all was read. */
bool dpi_ring_in_over(struct dpi_ring_in *r);
/* The loop's service: post the credits that are due. */
int64_t dpi_credit_service(struct dpi_context *ctx, int64_t now);

/* log.c */
int dpi_log_create(struct dpi_context *ctx, struct dpi_home *h);
void dpi_log_free(struct dpi_context *ctx, struct dpi_home *h);
bool dpi_log_drain(struct dpi_context *ctx, struct dpi_home *h); /* order what the rings hold; whether anything moved */
/* The number of the segment in which a position lies; it is at least first and at most end. */
uint64_t dpi_log_segment_of(const struct dpi_log *l, uint64_t position);
int dpi_log_truncate(struct dpi_context *ctx, struct dpi_home *h, uint64_t position);

#endif
