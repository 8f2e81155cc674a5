/* SPDX-License-Identifier: Apache-2.0
 * segment.h: what a source puts into its ring at a target: segments, each a run of the ring (run.h). A segment is this header and then
 * rows as row_segment.h lays them out, a columnar segment, a part of a large row (row_part.h), or nothing. Rows are added while the segment is open and may be
 * visible already: their number is what is visible, not what the header says. */
#ifndef DPI_FLOWS_SEGMENT_H
#define DPI_FLOWS_SEGMENT_H

#include "row_part.h"
#include "row_segment.h"

/* What codecs made of a segment (coded.h). */
struct dpi_flow_coded {
	uint64_t serial;		/* coded segments of this ring before it */
	uint32_t plain[DPI_CODECS_MAX]; /* bytes before each codec */
	uint32_t as_is;			/* bit i: codec i would have made it longer, and left it as it is */
	uint32_t epoch;			/* of a retained flow, also without codecs: of the binding that it is for */
};

struct dpi_flow_segment {
	struct dpi_segment base; /* sequence: rows of this source to this target before it; reserved: the source; rows: how often it was resumed; bytes: 0 */
	uint64_t value;		 /* the mark; at the end the rows in all; of BEGIN rows that were acknowledged */
	struct dpi_flow_coded coded; /* of DPI_FLOW_CODED; else 0 but for the epoch: rows begin a cache line */
};
_Static_assert(sizeof(struct dpi_flow_segment) == 64, "a cache line");

/* base.flags, besides the magic: exactly one of these, and CODED if and only if the flow has codecs */
#define DPI_FLOW_ROWS 0x0100u
#define DPI_FLOW_MARK 0x0200u
#define DPI_FLOW_END 0x0400u
#define DPI_FLOW_PART 0x0800u
#define DPI_FLOW_CODED 0x1000u
#define DPI_FLOW_COLUMNS 0x2000u /* a columnar segment follows: column_segment.h */
#define DPI_FLOW_BEGIN 0x4000u	 /* the first of a ring into which a source of a retained flow sends again what it has kept */

/* Bytes of a segment of this schema within at most segment bytes; rows that do not vary fill it exactly. */
static inline uint32_t dpi_flow_segment_size(const struct dpi_schema *s, uint32_t segment)
{
	uint32_t room = segment - (uint32_t)sizeof(struct dpi_flow_segment) - 8;
	if (!s->varies) room = room / s->row_size * s->row_size;
	else room = room & ~7u;
	return (uint32_t)sizeof(struct dpi_flow_segment) + room;
}

static inline uint32_t dpi_flow_columns_size(uint32_t segment)
{
	return segment & ~63u;
}

/* Bytes that a row takes in a segment of rows. */
static inline uint64_t dpi_flow_row_need(const struct dpi_schema *s, uint64_t size)
{
	return s->varies ? 8 + ((size + 7) & ~UINT64_C(7)) : size;
}

#endif
