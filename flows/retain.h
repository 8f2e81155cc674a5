/* SPDX-License-Identifier: Apache-2.0
 * retain.h: what a source of a retained flow keeps: its rows lie in its ring at the target, or in the mirror of it, until the target
 * gives their space back, which it does when they are acknowledged and never within a segment. Here is kept where the segments
 * lie. When the target is bound anew they are sent again, into a ring there, in order and byte by byte; those that are encrypted are
 * so anew, for that ring (coded_again.c).
 *
 * The old ring holds the truth until the last of it was sent again: should the target be lost once more before that, it begins anew.
 * Nothing is pushed to the target meanwhile. The memory of a ring outlives the process that made it as long as it is mapped here.
 *
 * What a source must not miss is that a target has moved while its program pushes by the short way alone. The progress thread, which
 * hears of it, sets moved and then clears short_row; the source's thread sets short_row and then looks at moved (all seq_cst): so either
 * the clearing comes last, or moved is seen. Without short_row a push enters a call, which looks at moved.
 *
 * In a flow with codecs what is done here for a lane is done under its lock, which the linger service takes, too. */
#ifndef DPI_FLOWS_RETAIN_H
#define DPI_FLOWS_RETAIN_H

#include "source.h"

/* A segment: the position of its run's word, rows before it, its serial in a flow with codecs, bytes behind the word (of the last, while
 * it is open: 0). */
struct dpi_kept {
	uint64_t at, sequence, serial;
	uint64_t value; /* of a mark */
	uint32_t size;
	bool mark;
};

/* Circular; room is 0 or a power of two. */
struct dpi_kept_queue {
	struct dpi_kept *segment;
	uint32_t first, count, room;
};

struct dpi_kept_mark {
	bool some;
	uint64_t value;
};

struct dpi_retain_lane {
	struct dpi_kept_queue kept; /* in the lane's ring */
	struct dpi_buffer *old;	    /* the ring of which segments are sent again; NULL: none */
	struct dpi_kept_queue again; /* in old */
	uint32_t sent;		    /* of these */
	uint32_t head;		    /* of what is sent before them: BEGIN, the last mark */
	uint64_t begin;		    /* rows before the first of them that are acknowledged, at least */
	uint64_t acked;		    /* rows; only grows */
	struct dpi_kept_mark mark; /* the last that is not kept any more: with windows of marks what is kept begins behind it */
	struct dpi_kept_mark next_mark; /* while segments are sent again: the last that the new ring does not keep any more; it counts when they all were sent */
	_Atomic uint64_t version;   /* of the flow, when the lane was last found to lead to its target; by the linger service, too */
};

struct dpi_retain {
	_Atomic bool moved; /* a target is somewhere else, or lost */
	bool unfinished;    /* a lane leads nowhere, or not everything was sent again */
	uint64_t moves;	    /* of lanes: room that was found before is none any more */
	struct dpi_retain_lane *lane; /* of each target */
};

/* target.c: bytes of the ring in which a source keeps what it sends to one target. */
uint64_t dpi_retained_room(const struct dpi_definition *d);
int dpi_retain_open(struct dpi_source *s); /* MEMORY */
void dpi_retain_close(struct dpi_source *s);
/* The flow's news tell of a target. Loop thread, under the flow's lock. */
void dpi_retain_moved(struct dpi_source *s);
/* Look whether targets have moved, and go on with sending again what can be sent without waiting. */
void dpi_retain_step(struct dpi_source *s);
/* A number that changes when room that was found is none any more. */
static inline uint64_t dpi_source_moves(const struct dpi_source *s)
{
	return s->yields + (s->retain ? s->retain->moves : 0);
}
static inline void dpi_retain_look(struct dpi_source *s)
{
	if (s->retain && s->reserved < 0 && (s->retain->unfinished || atomic_load_explicit(&s->retain->moved, memory_order_relaxed))) dpi_retain_step(s);
}
/* With no segment open: is nothing kept in the lane's ring, so that another may follow it? The ends of windows go through it, so not with reduce. */
bool dpi_retain_is_empty(struct dpi_source *s, uint32_t target);
/* Does the lane lead to where its target is now? */
bool dpi_retain_current(struct dpi_source *s, uint32_t target);
/* The lane's ring is of use no more, for this error: what it holds is sent again. False: the error is another's, or the flow's. */
bool dpi_retain_lost(struct dpi_source *s, uint32_t target, int error);
/* It is kept, so this error does not matter to what was written. */
static inline bool dpi_retain_keeps(const struct dpi_source *s, int error)
{
	return s->retain && (error == DPI_ERR_PEER || error == DPI_ERR_DESTROYED);
}
/* A segment begins: prepare before its run does (MEMORY), begins when it has. And it has all its bytes. */
int dpi_retain_prepare(struct dpi_source *s, uint32_t target);
void dpi_retain_begins(struct dpi_source *s, uint32_t target, uint32_t kind, uint64_t value);
void dpi_retain_ends(struct dpi_source *s, uint32_t target);
/* Rows that the target has acknowledged. */
uint64_t dpi_retain_acked(struct dpi_source *s, uint32_t target);
/* Wait until all of them are. TIMEOUT says who has not. */
int dpi_retain_wait(struct dpi_source *s, int64_t deadline);
/* Bytes that are kept; any thread, under the flow's lock. */
uint64_t dpi_retain_bytes(const struct dpi_source *s);

#endif
