/* SPDX-License-Identifier: Apache-2.0
 * row_segment.c: beginning, ending and checking row segments; what happens per row stands in the header. */
#include "row_segment.h"

#include "error.h"

int dpi_segment_header(const void *segment, size_t size, struct dpi_segment *header)
{
	struct dpi_segment h;
	if (size < sizeof h) return dpi_fail(DPI_ERR_CORRUPT, "a segment of %zu bytes has no room for its header", size);
	memcpy(&h, segment, sizeof h);
	if ((h.flags & 0xff000000u) != (DPI_SEGMENT_MAGIC & 0xff000000u))
		return dpi_fail(DPI_ERR_CORRUPT, "%zu bytes that should be a segment do not begin as one", size);
	if ((h.flags & DPI_SEGMENT_MAGIC_MASK) != DPI_SEGMENT_MAGIC)
		return dpi_fail(DPI_ERR_VERSION,
				"a segment of version %u, and this library knows version %u: use one libdpi everywhere",
				h.flags >> 16 & 255, DPI_SEGMENT_MAGIC >> 16 & 255);
	if (h.bytes > size - sizeof h)
		return dpi_fail(DPI_ERR_CORRUPT, "a segment of %zu bytes announces %u behind its header", size, h.bytes);
	if (h.flags & ~(DPI_SEGMENT_MAGIC_MASK | DPI_SEGMENT_OWN | DPI_SEGMENT_ENGINE))
		return dpi_fail(DPI_ERR_CORRUPT, "a segment with flags 0x%x, which nobody sets", h.flags);
	*header = h;
	return DPI_SUCCESS;
}

int dpi_row_begin(struct dpi_row_writer *w, const struct dpi_schema *s, void *segment, size_t capacity)
{
	size_t least = s->varies ? 8 + ((s->row_size + 7u) & ~7u) : s->row_size;
	if (capacity > UINT32_MAX) capacity = UINT32_MAX & ~7u;
	if (capacity < DPI_SEGMENT_HEADER || capacity - DPI_SEGMENT_HEADER < least) return DPI_ERR_SIZE;
	uint8_t *at = segment;
	*w = (struct dpi_row_writer){ .at = at + DPI_SEGMENT_HEADER, .segment = at, .stride = s->varies ? 0 : s->row_size };
	w->last = at + capacity - w->stride;
	return DPI_SUCCESS;
}

size_t dpi_row_append_many(struct dpi_row_writer *w, const void *rows, size_t count)
{
	if (w->at > w->last) return 0;
	size_t room = (size_t)(w->last - w->at) / w->stride + 1;
	if (count > room) count = room;
	memcpy(w->at, rows, count * w->stride);
	w->at += count * w->stride;
	return count;
}

int dpi_row_open(struct dpi_row_reader *r, const struct dpi_schema *s, const void *segment, size_t size,
		 struct dpi_segment *header)
{
	struct dpi_segment h;
	int error = dpi_segment_header(segment, size, &h);
	if (error) return error;
	if (h.flags & (DPI_SEGMENT_COLUMNS | DPI_SEGMENT_PART))
		return dpi_fail(DPI_ERR_USE, "a %s is read as a segment of rows",
				h.flags & DPI_SEGMENT_COLUMNS ? "columnar segment" : "part of a row");
	if (!s->varies && (uint64_t)h.rows * s->row_size != h.bytes)
		return dpi_fail(DPI_ERR_CORRUPT, "a segment of %u rows of %u bytes has %u bytes", h.rows, s->row_size,
				h.bytes);
	if (s->varies && (uint64_t)h.rows * 8 > h.bytes)
		return dpi_fail(DPI_ERR_CORRUPT, "a segment announces %u rows in %u bytes", h.rows, h.bytes);
	r->at = (const uint8_t *)segment + DPI_SEGMENT_HEADER;
	r->end = r->at + h.bytes;
	r->stride = s->varies ? 0 : s->row_size;
	r->rows = h.rows;
	if (header) *header = h;
	return DPI_SUCCESS;
}

int dpi_row_done(const struct dpi_row_reader *r)
{
	if (r->rows) return dpi_fail(DPI_ERR_CORRUPT, "a segment breaks off within a row, %u rows before its end", r->rows);
	if (r->at != r->end)
		return dpi_fail(DPI_ERR_CORRUPT, "a segment has %zu bytes behind its last row", (size_t)(r->end - r->at));
	return DPI_SUCCESS;
}

int dpi_row_check_segment(const struct dpi_schema *s, const void *segment, size_t size, bool utf8)
{
	struct dpi_row_reader r;
	const void *row;
	uint32_t bytes;
	int error = dpi_row_open(&r, s, segment, size, NULL);
	if (error || s->plain) return error;
	while ((row = dpi_row_next(&r, &bytes)))
		if ((error = dpi_row_check(s, row, bytes, utf8))) return error;
	return dpi_row_done(&r);
}
