/* SPDX-License-Identifier: Apache-2.0
 * row_batch.h: rows to columns and back. The strided copies are plain loops behind dpi_row_kernels, which a faster engine
 * replaces. */
#ifndef DPI_FLOWS_ROW_BATCH_H
#define DPI_FLOWS_ROW_BATCH_H

#include "row_segment.h"
#include "rows.h"
#include "vector.h"

/* Values of width bytes, count of them: packed at one side, stride bytes apart at the other. Any alignment. */
struct dpi_row_kernels {
	void (*gather)(void *packed, const void *rows, size_t stride, size_t width, size_t count);
	void (*scatter)(void *rows, size_t stride, const void *packed, size_t width, size_t count);
};
extern const struct dpi_row_kernels dpi_row_scalar;
extern const struct dpi_row_kernels *dpi_row_kernels; /* at first dpi_row_scalar; set before threads use it */

/* Columns made from rows, with memory of their own. One for each thread; used again and again. */
struct dpi_row_batch {
	struct dpi_batch batch; /* columns as in the schema; one that is not wanted has data NULL */
	struct dpi_schema *schema;
	struct dpi_row_vector *own;
	struct dpi_vector *vector;
	const uint8_t **rows;	/* of the fill under way */
	uint32_t *sizes;
	size_t room;		/* rows */
};

/* wanted: bit i of word i / 64: column i; NULL: all. Takes a reference of its own. */
int dpi_row_batch_new(struct dpi_schema *s, const uint64_t *wanted, struct dpi_row_batch *b);
void dpi_row_batch_free(struct dpi_row_batch *b);

/* Convert count rows that stand stride bytes apart and do not vary. DPI_ERR_MEMORY. */
int dpi_row_batch_strided(struct dpi_row_batch *b, const void *rows, size_t stride, size_t count);
/* Convert rows that lie anywhere. DPI_ERR_CORRUPT: one is no row (sizes and places are looked at); SIZE: a column has more
 * than 2 GiB; MEMORY. */
int dpi_row_batch_records(struct dpi_row_batch *b, const DPI_Record *rows, size_t count);
/* Convert at most max rows of what the reader has left; batch.rows says how many. */
int dpi_row_batch_read(struct dpi_row_batch *b, struct dpi_row_reader *r, size_t max);

/* The rows of a batch of the same columns whose bit is set, count of them; bits NULL: all. */
int dpi_row_batch_gather(struct dpi_row_batch *b, const struct dpi_batch *from, const uint8_t *bits, size_t count);

/* All rows of a batch, from malloc: back to back, or, where they vary, the list of them and behind it the rows, each at a multiple of 8.
 * NULL: no memory. */
void *dpi_rows_from_batch(const struct dpi_schema *s, const struct dpi_batch *b, struct dpi_rows *rows);

/* Append rows first … of a batch of the schema's columns, all of them present, to a row segment. Returns how many fitted,
 * at most count. */
size_t dpi_row_from_batch(const struct dpi_schema *s, const struct dpi_batch *batch, size_t first, size_t count,
			  struct dpi_row_writer *w);
/* At most that many bytes has one such row; and the row itself: how many it has. The batch may change meanwhile, but for its
 * offsets. */
uint64_t dpi_row_size_in_batch(const struct dpi_schema *s, const struct dpi_batch *batch, size_t i);
uint32_t dpi_row_write_from_batch(const struct dpi_schema *s, const struct dpi_batch *batch, size_t i, void *row);
/* The same into memory that grows as it must, at first NULL and 0. SIZE (beyond DPI_ROW_MAX) MEMORY. */
int dpi_row_make(const struct dpi_schema *s, const struct dpi_batch *batch, size_t i, uint8_t **row, size_t *room, uint32_t *size);

#endif
