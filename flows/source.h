/* SPDX-License-Identifier: Apache-2.0
 * source.h: an open source: a lane to each target it has sent to. */
#ifndef DPI_FLOWS_SOURCE_H
#define DPI_FLOWS_SOURCE_H

#include "coded.h"
#include "descriptor.h"
#include "endpoint.h"
#include "flow.h"
#include "handle.h"
#include "route.h"
#include "run.h"
#include "segment.h"
#include "staging.h"

/* The way to one target. Without a buffer: nothing was sent to it yet. */
struct dpi_lane {
	struct dpi_buffer *b;
	struct dpi_buffer *opening; /* its target is asked for a ring */
	struct dpi_run run;  /* the open segment of rows; end 0: none */
	uint64_t rows_at;    /* position of its first row, of rows that do not vary; 0: none is open */
	uint64_t rows, bytes; /* in segments that are ended; of rows that vary all */
	uint64_t first;	      /* rows that its source pushed before it was resumed; rows counts them, too */
	bool dropped;	     /* the target died, or was detached, and the flow goes on */
	int64_t full_since;  /* detach.c: when a push found no room, and what lay here then has not all been given back; 0: it has */
	uint64_t full_at;    /* up to this position */
	uint64_t detaching;  /* the coordinator was asked to detach this queue, */
	uint64_t detaching_term; /* in this life of the registry */
	uint64_t looked;     /* version of the flow in which it was not detached */
	uint32_t epoch;	     /* retained: of the binding that b or opening is of, or the last was */
	struct dpi_column_builder *columns; /* columnar: what builds its segments */
	int64_t due;			     /* and when the one under construction travels */
	uint64_t begun;		     /* segments; what was begun and not written is not counted */
	uint64_t stalls, stall_us; /* pushes that waited for room here, and how long */
};

/* What DPI_Arm_Source waits for: room for a row of size bytes in a segment, or of that size for a part of a row; or for a segment of columns. */
enum dpi_want { DPI_WANT_NOTHING, DPI_WANT_ROWS, DPI_WANT_PART, DPI_WANT_COLUMNS };
struct dpi_wanted_room {
	enum dpi_want kind;
	uint32_t target;
	uint64_t size;
};

/* large.c: a row that is half sent; size 0: none is. */
struct dpi_large {
	uint64_t size, offset; /* bytes; so many all its targets have got, */
	uint32_t given;	       /* and so many targets the next part, too */
	uint32_t first;	       /* of its targets, which last had no room for the last part */
	uint64_t sent, hash;   /* bytes that any target has got, and what they were */
	uint64_t begun;	       /* segments that were begun for its targets */
};

struct dpi_source {
	/* first what programs know, too: struct dpi_push_1 of dpi.h, and short_way.c */
	_Atomic uint32_t busy;
	uint32_t short_row; /* size of rows that take the short way; 0: none */
	struct dpi_short_route route_short;
	struct dpi_buffer **way; /* of each target: its lane's buffer while a segment of rows is open there; else NULL */
	struct dpi_buffer *only; /* way[0], where there is one target and rows take the short way to it; else NULL */
	const _Atomic int *failed; /* the flow's */
	struct dpi_lane *lane;	 /* of each target */
	const uint32_t *every;	 /* all targets, where each row goes to every one of them and takes the short way of push.c; else NULL */
	uint32_t every_count;
	size_t every_rows; /* so many fit what is open at each; any other call sets it to 0 */
	struct dpi_coded *coded; /* of a flow with codecs; else NULL */
	struct dpi_flow *flow;
	struct dpi_context *ctx;
	DPI_Source handle;
	struct dpi_route *route;
	struct dpi_ack_source *ack; /* ack_source.h; NULL: no acknowledgements */
	struct dpi_flow_watch watch;
	struct dpi_pipe_source *pipe; /* pipe.h: stages and reduce; NULL: rows travel as they are pushed */
	uint32_t number, epoch; /* epoch: how often it was resumed */
	uint32_t push_size, row_size; /* of rows as they are pushed, and as they travel; 0: they vary */
	uint32_t segment;	   /* bytes of a segment; before codecs */
	int64_t timeout_us, linger_us;
	uint32_t asked; /* targets that were asked for a ring */
	uint64_t id;	/* by which it is resumed; 0: none */
	uint64_t seen;	/* version of the flow in which it had its place */
	bool closing, marked;
	bool tries; /* its program has pushed with DPI_Try_Push, or never waits */
	uint64_t mark;
	int reserved; /* target for which room is handed out; -1: none */
	uint64_t reserved_size;
	struct dpi_wanted_room wanted; /* by the row that last found none */
	struct dpi_large large;
	struct dpi_descriptor *room; /* readable when there is room for that; NULL until it is asked for */
	struct dpi_descriptor *acks; /* readable when there are acknowledgements to be told of; likewise */
	DPI_Source_Stats stats;
	struct dpi_retain *retain; /* retain.h; NULL: a direct flow */
	struct dpi_columns *columns; /* columnar.h; NULL: segments are rows */
	struct dpi_source_bloom *bloom; /* bloom.h; NULL: every row travels */
	struct dpi_staging staging;
	bool batch; /* DPI_Push_Batch is pushing */
	const uint32_t *together; /* yield.c: targets at which room is held for one row until all of them have some, */
	uint32_t together_count;  /* so many; 0: none is */
	uint64_t yields;	  /* rings that were given up: room that was found before may be none any more */
};

static inline struct dpi_source *dpi_source_get(DPI_Source handle)
{
	return dpi_handle_get(DPI_HANDLE_SOURCE, (uint64_t)(uintptr_t)handle);
}
/* Enter a call, of which begin is for those that the flow's failure ends. */
struct dpi_source *dpi_source_enter(DPI_Source handle, const char *call, int *error);
struct dpi_source *dpi_source_begin(DPI_Source handle, const char *call, int *error);
void dpi_source_unlock(struct dpi_source *s); /* columns */
static inline void dpi_source_leave(struct dpi_source *s)
{
	if (__builtin_expect(s->columns != NULL, 0)) dpi_source_unlock(s);
	atomic_store_explicit(&s->busy, 0, memory_order_relaxed);
}

/* Open or (NULL) end the short way to a target. */
static inline void dpi_source_way(struct dpi_source *s, uint32_t target, struct dpi_buffer *b)
{
	s->way[target] = b;
	if (s->route_short.kind == DPI_SHORT_ONE) s->only = b;
}

/* short_way.c: decide anew which rows take the short way. */
void dpi_source_short(struct dpi_source *s);

/* push.c: a row was written by the short way to a lane that is prompt: it is published. */
int dpi_push_prompt(struct dpi_source *s, uint32_t target);
/* push.c: a row that may travel, to all of the targets or, on an error, to none. AGAIN (no sentence): no room; with wait only if
 * the source's timeout is DPI_NO_WAIT. */
int dpi_push_to(struct dpi_source *s, const uint32_t *to, uint32_t count, const void *row, uint64_t size, bool wait);
/* push.c: a row as it was pushed, in a flow with acknowledgements; waits. */
int dpi_push_noted_row(struct dpi_source *s, const void *row, uint64_t size);
/* push.c: rows of one size, back to back, as DPI_Push_Batch has them; no room is handed out. */
int dpi_push_rows(struct dpi_source *s, const void *rows, size_t count, const char *call, size_t *pushed);
/* push.c: rows that vary, of columns, written where they travel: where each goes to one target and nothing else is done with it. done: as *pushed. */
bool dpi_push_makes(const struct dpi_source *s);
int dpi_push_made(struct dpi_source *s, const struct dpi_batch *batch, size_t *done);
/* The sentence to AGAIN, which with wait is TIMEOUT. */
int dpi_push_no_room(struct dpi_source *s, bool wait, const char *call);

/* retain.c, of a retained flow: see that the way leads to where the target is now, and all that is kept was sent there. As dpi_lane_open. */
int dpi_retain_way(struct dpi_source *s, uint32_t target, int64_t deadline, bool *dropped);
int dpi_lane_open_once(struct dpi_source *s, uint32_t target, int64_t deadline, bool *dropped); /* one try of it */
#define DPI_YIELD_NS 20000000 /* a ring that another waits for is given up no sooner: its source gets to push what it asked for it for */
/* yield.c: the target of this lane has no memory for a ring now: let others have what they wait for elsewhere. */
void dpi_lane_yields(struct dpi_source *s, uint32_t target);
/* Room at these targets is needed for one row: it is held at the first ones while it is waited for at the others. */
static inline void dpi_source_together(struct dpi_source *s, const uint32_t *to, uint32_t count)
{
	s->together = to;
	s->together_count = count;
}
/* lane.c. deadline: dpi_now, 0: do not wait. DPI_ERR_AGAIN (no sentence) only where it is 0.
 * See that there is a way. A target that is bound is given time to answer, whatever the deadline, if that is not 0. */
int dpi_lane_open(struct dpi_source *s, uint32_t target, int64_t deadline, bool *dropped);
/* See that need bytes fit the open segment of rows to a target. *dropped: the target died and the flow goes on. */
int dpi_lane_room(struct dpi_source *s, uint32_t target, uint64_t need, int64_t deadline, bool *dropped);
/* Begin a segment of size bytes in all: a run is open then, with its header in place, and nothing of it written. */
int dpi_lane_begin(struct dpi_source *s, uint32_t target, uint32_t kind, uint64_t value, uint64_t size, int64_t deadline, bool *dropped);
/* A segment with no rows, or, with size, that many bytes behind its header; it is whole when this returns. */
int dpi_lane_send(struct dpi_source *s, uint32_t target, uint32_t kind, uint64_t value, const void *bytes, uint64_t size, int64_t deadline, bool *dropped);
/* What became of an error at a lane: the flow's failure, if that is the reason; none where the flow goes on without the target. */
int dpi_lane_failed(struct dpi_source *s, uint32_t target, int error, bool *dropped);
/* A lane's target seems to be gone. False: the flow has failed, maybe by that. */
bool dpi_lane_gone(struct dpi_source *s, uint32_t target);
/* size more bytes of rows are in the open segment. */
int dpi_lane_wrote(struct dpi_source *s, uint32_t target, uint64_t size);
/* End the open segment. */
int dpi_lane_end(struct dpi_source *s, uint32_t target, int64_t deadline);
/* Make all visible. */
int dpi_lane_flush(struct dpi_source *s, uint32_t target, int64_t deadline);
/* What lies in its ring. Without a deadline it waits until what travels is there: each flush begins anew. */
int dpi_lane_flush_run(struct dpi_lane *l, int64_t deadline);
void dpi_lane_count(const struct dpi_source *s, uint32_t target, uint64_t *rows, uint64_t *bytes);
/* A run in the lane's ring, for coded.c. */
int dpi_lane_begin_run(struct dpi_source *s, uint32_t target, uint64_t size, int64_t deadline);
/* Not to wait for room is no reason not to wait for the answer of a target that was never sent to. AGAIN: it is not bound, or has no memory
 * for a ring now. */
int dpi_lane_open_now(struct dpi_source *s, uint32_t target, bool *dropped);
/* A part of a large row: see that there is room for its segment, of size bytes behind the header, then write it, or leave it. Nothing else
 * comes between. The last one counts the row; at a target that is dropped as such. */
struct dpi_part {
	const void *row;
	uint64_t row_size, offset, taken; /* bytes */
	uint64_t size;			  /* of the segment behind its header */
};
int dpi_lane_part_room(struct dpi_source *s, uint32_t target, uint64_t size, int64_t deadline, bool *dropped);
int dpi_lane_part_write(struct dpi_source *s, uint32_t target, const struct dpi_part *part);
void dpi_lane_part_leave(struct dpi_source *s, uint32_t target);
/* large.c: a row that is larger than a segment, to all of the targets. As dpi_push_to; UNKNOWN: it is at some of them. */
int dpi_push_large(struct dpi_source *s, const uint32_t *to, uint32_t count, const void *row, uint64_t size, bool wait);
/* push.c: if error says that there was no room: it was for this. Returns error. */
int dpi_source_wants(struct dpi_source *s, uint32_t target, enum dpi_want kind, uint64_t size, int error);

#endif
