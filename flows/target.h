/* SPDX-License-Identifier: Apache-2.0
 * target.h: an open target: an inlet for each source that has sent to it. */
#ifndef DPI_FLOWS_TARGET_H
#define DPI_FLOWS_TARGET_H

#include "coded.h"
#include "descriptor.h"
#include "endpoint.h"
#include "flow.h"
#include "handle.h"
#include "home.h"
#include "route.h"
#include "run.h"
#include "segment.h"

/* Where a segment begins in a ring whose space is given back as rows are acknowledged. */
struct dpi_place {
	uint64_t at, rows; /* position of its run's word; rows of the source before it */
};

/* Rows of which nothing came out of the target's stages, the last that come one after the other: those numbered from … to - 1. */
struct dpi_ack_none {
	uint64_t from, to;
};

/* The ring of one source. */
struct dpi_inlet {
	struct dpi_ring_in *ring;
	struct dpi_run_in run;
	uint32_t source;
	bool known;	 /* its source has said which it is */
	bool named;	 /* retained flows: the same, before anything was taken */
	bool peeked;	 /* retained flows: something was there, and its name was looked for: not until then is anything taken */
	uint32_t epoch;	 /* then: how often its source had been resumed */
	bool over;	 /* nothing comes any more; its ring is freed once nothing of it is lent */
	bool cut;	 /* what it wrote was nonsense */
	bool ended;	 /* its source has ended it */
	uint32_t kind;	 /* of the segment that is being read */
	uint64_t rows;	 /* received; those that were passed over count */
	uint64_t begin;	 /* rows numbered below are passed over: inlet_begin */
	struct dpi_place *place; /* retained: circular, places from first_place on, of place_room, a power of two: retain_target.c */
	uint32_t first_place, places, place_room;
	bool marked;
	uint64_t mark;	 /* the last that it passed */
	size_t lent;	 /* runs */
	size_t out;	 /* pieces, large rows too */
	uint64_t acked;	 /* rows: what its source was told last */
	struct dpi_ack_none none; /* of a direct flow: else the origin's */
	uint64_t given;	 /* of a flow that reduces: rows in windows whose results the program has given back */
	struct dpi_part_assembly part;
	struct dpi_decoder_in *decoder; /* of a flow with codecs */
};

/* A run of rows that was read. */
struct dpi_piece {
	struct dpi_inlet *inlet;
	bool some;		  /* false: there is none */
	uint32_t source;
	struct dpi_ring_in *ring; /* the one it lies in; NULL: it lies in memory of its own */
	uint64_t begin, end;	  /* positions */
	uint64_t before;	  /* rows of the inlet before it */
	const uint32_t *from;	  /* of what stages made, in own or columns: from which of its rows each came; NULL: one from each */
	struct dpi_ack_window *window; /* whose results these are; NULL: nobody asks */
	const uint8_t *data, *stop;
	void *own;		  /* freed with it: a large row, the list of varying rows, or rows made of columns */
	struct dpi_decoded *decoded; /* what it lies in, of a flow with codecs */
	struct dpi_columns_in *columns; /* of a columnar segment; data is NULL until rows are made of it */
	uint64_t skip;		  /* of its rows the first ones that were passed over */
	struct dpi_loan *loan;	  /* an Arrow array has it: columnar_target.c */
	bool back;		  /* it was given back, but not yet what was lent before it */
};

enum dpi_found { DPI_FOUND_NOTHING, DPI_FOUND_ROWS, DPI_FOUND_MARK, DPI_FOUND_END, DPI_FOUND_ERROR };

/* What a look has found. */
struct dpi_find {
	enum dpi_found found;
	struct dpi_piece piece;
	uint64_t mark;
	int error;
	char sentence[512];
};

struct dpi_target {
	/* first what programs know, too: struct dpi_next_1 of dpi.h, and short_way.c */
	_Atomic uint32_t busy;
	uint32_t stride;	 /* of rows that do not vary; 0: they do */
	const uint8_t *at, *stop; /* what DPI_Next has still to give of the present piece */
	uint32_t source;
	bool prompt; /* rows that are given as they come, one by one: see next.c */
	struct dpi_piece piece; /* of DPI_Next */
	struct dpi_flow *flow;
	struct dpi_context *ctx;
	DPI_Target handle;
	struct dpi_flow_watch watch;
	uint32_t index;
	struct dpi_pipe_target *pipe; /* pipe.h: reduce and stages; NULL: rows are given as they came */
	uint32_t wire_stride;	      /* of rows as they travel; 0: they vary */
	int64_t timeout_us;
	uint64_t queue;
	uint32_t epoch; /* of its binding */
	bool fenced;	/* it was bound anew, elsewhere */
	uint64_t fence_seen; /* version of the flow for which that was looked at */
	DPI_Position *position; /* handed in when it was opened; positions of them */
	size_t positions;
	struct dpi_home *home;
	struct dpi_decoder *decoder; /* of a flow with codecs; else NULL */
	struct dpi_inlet **inlet;
	size_t inlets, room, turn;
	struct dpi_origin *origin; /* origin.h; of a retained flow, by source */
	uint32_t origins;
	bool resumes; /* a source has */
	uint64_t seen;	 /* version of the flow that was looked at */
	uint64_t attached; /* version of the flow in which it was not detached */
	bool last;	 /* no news come any more: the end is due when every inlet is over */
	bool marked;
	uint64_t mark;	 /* reported last */
	bool holds;	 /* windows end at marks: a source that has passed one which is not reported waits */
	bool ended;	 /* DPI_ERR_END was found */
	bool closing;	 /* what is let go of now was not given back by the program */
	uint64_t caught_up; /* rows taken when it last found nothing */
	struct dpi_piece lent[DPI_LENT_MAX]; /* of DPI_Next_Batch, circular, oldest at first */
	size_t lents, first;
	struct dpi_columns_in *spare; /* to read columnar segments with */
	struct dpi_find kept; /* by DPI_Wait_Targets, for the next call that takes */
	struct dpi_target_sketch *sketch; /* NULL: none was asked for */
	struct dpi_target_waits *waits;	  /* target_waits.c */
	struct dpi_target_bloom *bloom;	  /* bloom.h; NULL: keys of rows are not kept */
	struct dpi_descriptor *some; /* readable when there is something to take; NULL until it is asked for */
	DPI_Target_Stats stats;
};

static inline struct dpi_target *dpi_target_get(DPI_Target handle)
{
	return dpi_handle_get(DPI_HANDLE_TARGET, (uint64_t)(uintptr_t)handle);
}
struct dpi_target *dpi_target_begin(DPI_Target handle, const char *call, int *error);
static inline void dpi_target_leave(struct dpi_target *t)
{
	atomic_store_explicit(&t->busy, 0, memory_order_relaxed);
}

/* target_sketch.c: of the keys; new: UNSUPPORTED NAME MEMORY. add: a piece that was taken. publish: to the counters. */
/* target_waits.c: a wait that what a source sent has ended; DPI_SOURCE_NONE: anything else. */
void dpi_target_waited(struct dpi_target *t, uint32_t source, int64_t us);
/* Any thread, while the target is watched: number i of the sources that it has waited for, ascending. False: there are fewer. */
bool dpi_target_wait_at(struct dpi_target *t, size_t i, uint32_t *source, uint64_t *count, uint64_t *us);
int dpi_target_waits_new(struct dpi_target *t);
void dpi_target_waits_free(struct dpi_target_waits *w); /* NULL is allowed */

int dpi_target_sketch_new(const struct dpi_definition *d, struct dpi_target_sketch **k);
void dpi_target_sketch_free(struct dpi_target_sketch *k); /* NULL is allowed */
void dpi_target_sketch_add(struct dpi_target *t, const struct dpi_piece *piece);
void dpi_target_sketch_batch(struct dpi_target *t, const struct dpi_batch *batch, size_t first);
/* Any thread: what was published last; how many, at most DPI_HEAVY_KEYS. */
size_t dpi_target_heavy(struct dpi_target *t, DPI_Heavy_Key *keys);
void dpi_target_sketch_publish(struct dpi_target *t);

/* inlet.c */
/* Look at every inlet once, from the present one on. rows: *piece. mark: *mark. Error: *error. */
enum dpi_found dpi_target_look(struct dpi_target *t, struct dpi_piece *piece, uint64_t *mark, int *error);
/* Of a retained flow that reduces: has it nothing more to come, so that what is in its table is the last window, whose results the sources
 * wait for before they are closed? */
bool dpi_target_all_sent(const struct dpi_target *t);
/* It found nothing: give back and tell what sources may need before they push anything more. */
void dpi_target_caught_up(struct dpi_target *t);
/* Would it find something, or the flow's failure? Cheap. */
bool dpi_target_ready(struct dpi_target *t);
/* What a source wrote is nonsense: nothing more is read from it. Sets *error, with what in the sentence. */
enum dpi_found dpi_inlet_cut(struct dpi_target *t, struct dpi_inlet *i, const char *what, int *error);
/* retain_target.c, of a retained flow. A segment begins: NULL, or what is wrong. */
const char *dpi_inlet_keeps(struct dpi_inlet *i, uint64_t rows);
/* Give back the space of what is acknowledged and not lent. */
void dpi_inlet_frees(struct dpi_target *t, struct dpi_inlet *i);
/* The number of the first row of a source that the program wants: as it has said. False: it has not. */
bool dpi_target_position(const struct dpi_target *t, uint32_t source, uint64_t *rows);
int dpi_target_positions(struct dpi_target *t, const DPI_Target_Attr *a); /* ARGUMENT MEMORY */
/* DPI_ERR_FENCED, once it was bound anew. */
int dpi_target_fenced(struct dpi_target *t);
/* inlet.c: where the program still has rows of a ring, at most end */
uint64_t dpi_target_first_lent(const struct dpi_target *t, const struct dpi_ring_in *r, uint64_t end);
/* next.c: is there something that the next call gives? What this takes is kept for it. */
bool dpi_target_found(struct dpi_target *t);
/* A piece is not needed any more. Pieces are given back in any order. */
void dpi_piece_release(struct dpi_target *t, struct dpi_piece *piece);
/* What was made of it takes its place: when that is given back, its rows are. */
void dpi_piece_follow(struct dpi_target *t, struct dpi_piece *made, struct dpi_piece *piece);
void dpi_inlets_free(struct dpi_target *t);

/* next.c: the next piece or mark; AGAIN only if it is not to wait. And what DPI_Next has not given of its piece yet, as a piece. */
int dpi_target_take(struct dpi_target *t, bool wait, const char *call, struct dpi_piece *piece, uint64_t *mark);
void dpi_target_rest(struct dpi_target *t, struct dpi_piece *piece);
/* A piece that could not be given: for the next call that takes. */
void dpi_target_keep(struct dpi_target *t, struct dpi_piece *piece);
/* Put it at the end of what is lent; and let go of what was given back at its beginning. */
void dpi_target_lend(struct dpi_target *t, const struct dpi_piece *piece);
void dpi_target_collect(struct dpi_target *t);

/* columnar_target.c */
/* Of count rows that come now the program does not want so many, the first ones. */
uint64_t dpi_inlet_before(const struct dpi_inlet *i, uint64_t count);
/* Check a columnar segment and make a piece of it, unless all of its rows were passed over; NULL, or what is wrong. decoded: what it lies
 * in, the piece's if there is one; NULL: the ring. */
const char *dpi_columns_take(struct dpi_target *t, struct dpi_inlet *i, const uint8_t *data, uint64_t size, struct dpi_decoded *decoded, struct dpi_piece *piece);
const struct dpi_batch *dpi_columns_batch(const struct dpi_piece *piece); /* the columns of one that has them */
/* A piece of what stages made, in memory of its own. from: with which of their rows each came from. MEMORY. */
struct dpi_mapped_columns;
int dpi_columns_make(const struct dpi_target *t, const struct dpi_mapped_columns *mapped, bool from, uint32_t source, struct dpi_piece *piece);
/* See that data and stop show rows. MEMORY. */
int dpi_columns_rows(struct dpi_piece *piece);
/* The piece ends. */
void dpi_columns_done(struct dpi_target *t, struct dpi_piece *piece);
void dpi_columns_spare_free(struct dpi_target *t);
bool dpi_loan_back(const struct dpi_loan *loan);
static inline bool dpi_piece_back(const struct dpi_piece *p)
{
	return p->back || (p->loan && dpi_loan_back(p->loan));
}

#endif
