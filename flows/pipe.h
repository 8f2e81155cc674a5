/* SPDX-License-Identifier: Apache-2.0
 * pipe.h: what stands between the calls of the program and the segments, where rows are not the same at both ends. Nothing here
 * is reached by flows without stages and reduce. Codecs are no part of it: they are between the segment and the ring. */
#ifndef DPI_FLOWS_PIPE_H
#define DPI_FLOWS_PIPE_H

#include "source.h"
#include "target.h"
#include "ack_window.h"

/* ---------------------------------------------------------------------------------------------------------- sources */

/* Stages (map.h), then partial rows (partial.h); either may be NULL. */
struct dpi_mapped_columns;
struct dpi_pipe_source {
	struct dpi_maps *maps;
	struct dpi_partial *partial;
};
/* Rows as they are pushed go into tables of partial rows: s->way is of these, and pushes may take the short way to them. */
static inline bool dpi_pipe_short(const struct dpi_source *s)
{
	return s->pipe->partial && !s->pipe->maps;
}

/* s->pipe, NULL if there is nothing to do. Before the source joins its flow. NAME (a function is not registered here)
 * UNSUPPORTED MEMORY. */
int dpi_pipe_open_source(struct dpi_source *s);
void dpi_pipe_close_source(struct dpi_source *s); /* also where it is NULL */

/* A row as pushed, checked and routed, to all of its targets or, on an error, to none. AGAIN as dpi_push_to. */
int dpi_pipe_push(struct dpi_source *s, const uint32_t *to, uint32_t count, const void *row, uint64_t size, bool wait);
/* count checked rows that do not vary, size bytes each, at most 512: routes them, too. *given: the first ones, which were
 * pushed, also on an error. Waits; AGAIN as dpi_push_to. */
int dpi_pipe_push_run(struct dpi_source *s, const uint8_t *rows, uint32_t size, size_t count, size_t *given);
/* Columns as pushed through the stages, of which there are some; and the first given rows again, as if no others had come. */
int dpi_pipe_map_columns(struct dpi_source *s, const struct dpi_batch *in, struct dpi_mapped_columns *out);
void dpi_pipe_map_again(struct dpi_source *s, const struct dpi_batch *in, size_t given);
/* Everything that reduce holds goes into the lanes: before a mark, a flush and the end. */
int dpi_pipe_drain(struct dpi_source *s, int64_t deadline);

/* ---------------------------------------------------------------------------------------------------------- targets */

/* Results of reduce (final.h), then stages; either may be NULL. */
struct dpi_pipe_target {
	struct dpi_final *final;
	struct dpi_maps *maps;
	bool results;	     /* the final table gives them now, and then: */
	enum dpi_found then; /* MARK, END, or NOTHING */
	uint64_t mark;
	bool last;	     /* it has none but: */
	struct dpi_piece ahead;
	struct dpi_piece rest; /* rows of the next window, or for which there was no memory; some is false: none */
	struct dpi_ack_windows windows;
};

int dpi_pipe_open_target(struct dpi_target *t); /* t->pipe; as for sources */
void dpi_pipe_close_target(struct dpi_target *t);
void dpi_pipe_let_go(struct dpi_target *t); /* of what it holds of the inlets */
enum dpi_found dpi_pipe_find(struct dpi_target *t, struct dpi_piece *piece, uint64_t *mark, int *error);

/* What the program is to get next: dpi_target_look, through the pipe. A piece that a pipe made lies in memory of its own. */
static inline enum dpi_found dpi_target_find(struct dpi_target *t, struct dpi_piece *piece, uint64_t *mark, int *error)
{
	return __builtin_expect(t->pipe != NULL, 0) ? dpi_pipe_find(t, piece, mark, error) : dpi_target_look(t, piece, mark, error);
}
/* Would it find something? Cheap. */
static inline bool dpi_target_waits(struct dpi_target *t)
{
	return (t->pipe && (t->pipe->results || t->pipe->rest.some)) || dpi_target_ready(t);
}

#endif
