/* SPDX-License-Identifier: Apache-2.0
 * column_segment.h: columnar segments: the header of row_segment.h with DPI_SEGMENT_COLUMNS, a place for each column, then
 * the buffers in Arrow's layout, each at a multiple of 64 bytes from the segment's beginning, which is one itself. */
#ifndef DPI_FLOWS_COLUMN_SEGMENT_H
#define DPI_FLOWS_COLUMN_SEGMENT_H

#include "row_segment.h"
#include "vector.h"

/* Where a column lies, in bytes from the segment's beginning. */
struct dpi_column_place {
	uint32_t valid;	 /* bits, 1: not NULL; 0: no value is NULL */
	uint32_t offset; /* variable: rows + 1 int32_t; else 0 */
	uint32_t data;
	uint32_t bytes;	 /* of data */
};
#define DPI_COLUMN_ALIGN 64u

/* ------------------------------------------------------------------------------------------------------ building */

struct dpi_column_builder; /* one for a source; used again and again */

int dpi_column_builder_new(struct dpi_schema *s, struct dpi_column_builder **b); /* takes a reference of its own */
void dpi_column_builder_free(struct dpi_column_builder *b);			  /* NULL is allowed */

/* Begin a segment of capacity bytes, at a multiple of 64. Room is divided as earlier segments needed it.
 * DPI_ERR_SIZE with a sentence when not even an empty row fits. */
int dpi_column_begin(struct dpi_column_builder *b, void *segment, size_t capacity);

/* Append a row. DPI_ERR_FULL: the segment is full, end it. DPI_ERR_SIZE: the row is larger than an empty segment, send it in
 * parts (neither has a sentence). DPI_ERR_CORRUPT: it is no row. */
int dpi_column_append_row(struct dpi_column_builder *b, const void *row, uint32_t size);

/* Append rows first … of a batch of the schema's columns, all of them present. Returns how many fitted, at most count.
 * *large: the next one is larger than an empty segment; may be NULL. */
size_t dpi_column_append_batch(struct dpi_column_builder *b, const struct dpi_batch *batch, size_t first, size_t count,
			       bool *large);

/* How many of these would fit, at most count. 0 in an empty segment: the first is larger than one. */
size_t dpi_column_fit(struct dpi_column_builder *b, const struct dpi_batch *batch, size_t first, size_t count);

/* Rows first … of a batch, each to the segment under construction of its part, in order: row first + i to to[part[i]], where
 * NULL is a part that has none. Stops before the first row that does not fit. Returns how many went. */
struct dpi_column_scatter {
	struct dpi_column_builder **to;
	uint32_t *count;	/* of each part, 0 before; how many came, and for the caller to set back to 0 */
	uint16_t *touched;	/* out: the parts that got any, in the order of their first rows; room for DPI_PUSH_RUN */
	uint32_t touches;
	uint8_t **at;		/* of each part: where values go on */
	uint32_t *fill;
};
size_t dpi_column_scatter(struct dpi_column_scatter *s, const struct dpi_schema *schema, const struct dpi_batch *batch, size_t first,
			  size_t count, const uint16_t *part);

uint32_t dpi_column_rows(const struct dpi_column_builder *b);
/* Of these rows: their fixed parts and their variable values. */
uint64_t dpi_column_bytes(const struct dpi_column_builder *b);

/* Bytes of a segment with one row: of no variable bytes, a row that was checked, row i of a batch. */
uint64_t dpi_column_least(const struct dpi_schema *s);
uint64_t dpi_column_need_row(const struct dpi_schema *s, const void *row, uint32_t size);
uint64_t dpi_column_need(const struct dpi_schema *s, const struct dpi_batch *batch, size_t i);

/* Close the gaps that unused room left, write header and places. Returns the segment's size. */
size_t dpi_column_end(struct dpi_column_builder *b, uint32_t flags);

/* ------------------------------------------------------------------------------------------------------- reading */

struct dpi_column_reader {
	struct dpi_batch batch; /* lent: stands until the next dpi_column_read, or the segment goes */
	struct dpi_schema *schema;
	struct dpi_vector *vector;
	int32_t *offsets; /* own copies */
	size_t room;	  /* of these */
};

int dpi_column_reader_new(struct dpi_schema *s, struct dpi_column_reader *r); /* takes a reference of its own */
void dpi_column_reader_free(struct dpi_column_reader *r);

#define DPI_COLUMN_UTF8 1u	/* check that text is UTF-8 */
#define DPI_COLUMN_UNSAFE 2u	/* a peer can still write to the segment: offsets are copied before they are checked */

/* Check a segment of size bytes, at a multiple of 8, and lend its columns in r->batch, where they lie. NULLs in a column
 * that has none, offsets that fall or lie outside, buffers outside the segment: DPI_ERR_CORRUPT with a sentence. */
int dpi_column_read(struct dpi_column_reader *r, const void *segment, size_t size, unsigned how, struct dpi_segment *header);

#endif
