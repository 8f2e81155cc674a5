/* SPDX-License-Identifier: Apache-2.0
 * row_part.h: a row that is larger than a segment travels as a chain of segments, each with one part: FIRST … LAST. Between
 * them no other segment of the same source may come. The row is counted (rows 1) in its last part. */
#ifndef DPI_FLOWS_ROW_PART_H
#define DPI_FLOWS_ROW_PART_H

#include "row_segment.h"

/* Behind the segment's header; then the part's bytes. */
struct dpi_part_header {
	uint64_t total;	 /* bytes of the row */
	uint64_t offset; /* of this part in it */
};

/* Write the part that begins at offset into a segment of capacity bytes, at least 64; flags: the engine's. taken: out,
 * bytes of the row in it. Returns the segment's size; offset + *taken == size says that it was the last. */
size_t dpi_part_write(void *segment, size_t capacity, const void *row, size_t size, size_t offset, uint32_t flags,
		      size_t *taken);

/* A row being put together. Zero at first. Memory grows with what came, never with what was announced. */
struct dpi_part_assembly {
	uint8_t *data;
	size_t room, got, total; /* total 0: nothing begun */
};

/* Add the segment, whose DPI_SEGMENT_PART is set. complete: out: data and total are the row, until the next call; they
 * have not been checked as a row. bound: most bytes of a row. DPI_ERR_SIZE (beyond bound), CORRUPT, MEMORY: the row is
 * dropped. */
int dpi_part_add(struct dpi_part_assembly *a, const void *segment, size_t size, size_t bound, bool *complete);
void dpi_part_free(struct dpi_part_assembly *a);

#endif
