/* SPDX-License-Identifier: Apache-2.0
 * columnar.h: flows whose segments are columns (column_segment.h).
 *
 * A source builds the segment of each target where it is to lie, in the room of an open run, and nothing of it is written, as run.h
 * means it, before the segment is whole: when it is full, at a flush, mark or close, and when its first row has waited for the
 * linger time. That last may find the source's thread anywhere, so every call on the source holds its lock. */
#ifndef DPI_FLOWS_COLUMNAR_H
#define DPI_FLOWS_COLUMNAR_H

#include "column_segment.h"
#include "linger.h"
#include "push_plan.h"
#include "row_batch.h"
#include "slice.h"
#include "source.h"

#define DPI_COLUMNS_AGAIN_NS 1000000 /* a source that is busy, or a lane that has no ring, is tried again */

struct dpi_columns {
	pthread_mutex_t lock; /* before the list's */
	struct dpi_column_builder **open; /* of each target: its segment under construction; NULL: there is none */
	struct dpi_column_scatter scatter;
	uint16_t part[DPI_PUSH_RUN], touched[DPI_PUSH_RUN];
	struct dpi_row_batch pushed, rows; /* rows that were pushed as such; that travel */
	struct dpi_row_batch mapped;	   /* what passed the stages */
	struct dpi_slice run;		   /* that comes to them */
	uint8_t *row;			   /* one that was made of a batch */
	size_t room;
	struct dpi_source *source;
	struct dpi_lingerer linger;
};

/* columnar_source.c */
int dpi_columns_open(struct dpi_source *s);
void dpi_columns_close(struct dpi_source *s); /* nothing is under construction, or it is lost */
/* Write the segment under construction, if it has rows: dpi_lane_end goes on. */
int dpi_columns_finish(struct dpi_source *s, uint32_t target);
/* Let all rows travel, or those to one target, without waiting. */
void dpi_columns_send(struct dpi_source *s);
void dpi_columns_send_to(struct dpi_source *s, uint32_t target);
/* Begin a segment for a target; the one under construction ends. As dpi_lane_begin. */
int dpi_columns_begin(struct dpi_source *s, uint32_t target, int64_t deadline, bool *dropped);
/* See that row i of a batch fits the segment under construction for a target; it does not exceed an empty one. */
int dpi_columns_room(struct dpi_source *s, uint32_t target, const struct dpi_batch *batch, size_t i, bool wait, bool *dropped);

/* columnar_linger.c */
int64_t dpi_columns_linger(struct dpi_lingerer *l, int64_t now);
/* The same for the other targets, by the source's thread while it waits for this one. */
void dpi_columns_meanwhile(struct dpi_source *s, uint32_t target);

/* columnar_push.c. Of rows that travel: one to all of the targets, as push.c has it; and from number *done on, which goes on by those that
 * went, to one. Of rows as pushed: some of one size, back to back; a batch. These go through the stages, not through reduce, and are not
 * acknowledged. */
int dpi_columns_push_row(struct dpi_source *s, const uint32_t *to, uint32_t count, const void *row, uint64_t size, bool wait);
int dpi_columns_push_made(struct dpi_source *s, uint32_t to, const struct dpi_rows *rows, bool wait, size_t *done);
int dpi_columns_push_rows(struct dpi_source *s, const void *rows, size_t count, size_t *done);
int dpi_columns_push_batch(struct dpi_source *s, const struct dpi_batch *batch, size_t *done);
int dpi_columns_push_filtered(struct dpi_source *s, const struct dpi_batch *batch, size_t *done); /* also through a Bloom filter */
/* Rows first … first + count of columns that travel: to all of these targets, each to all or to none; or each to one, part: which. */
int dpi_columns_same(struct dpi_source *s, const uint32_t *to, uint32_t targets, const struct dpi_batch *batch, size_t first, size_t count, bool wait, size_t *done);
int dpi_columns_deal(struct dpi_source *s, const struct dpi_batch *batch, size_t first, size_t count, const uint16_t *part, size_t *done);
/* columnar_map.c: rows first … of a batch through the stages, then as these. */
int dpi_columns_map(struct dpi_source *s, const struct dpi_batch *batch, size_t first, size_t count, size_t *done);
/* columnar_push.c: where a row of a batch as pushed goes by the flow's functions. */
int dpi_columns_route(struct dpi_source *s, const struct dpi_batch *batch, size_t i, const uint32_t **to, uint32_t *count);

#endif
