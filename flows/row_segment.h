/* SPDX-License-Identifier: Apache-2.0
 * row_segment.h: what a source sends at once: a header, then rows. Rows that do not vary stand back to back at their size;
 * others each begin at a multiple of 8, behind a word with their size. Segments begin at a multiple of 8 (columnar ones:
 * of 64). What is read may be changed by a peer meanwhile: sizes are copied once and bounded at each step. */
#ifndef DPI_FLOWS_ROW_SEGMENT_H
#define DPI_FLOWS_ROW_SEGMENT_H

#include "row.h"

struct dpi_segment {
	uint64_t sequence; /* the engine's */
	uint32_t rows;
	uint32_t bytes;	   /* behind this header */
	uint32_t flags;	   /* DPI_SEGMENT_MAGIC and DPI_SEGMENT_* */
	uint32_t reserved; /* the engine's */
};

#define DPI_SEGMENT_HEADER sizeof(struct dpi_segment)
#define DPI_SEGMENT_MAGIC 0xdf010000u	   /* the upper half of flags; the version is its lower byte */
#define DPI_SEGMENT_MAGIC_MASK 0xffff0000u
#define DPI_SEGMENT_COLUMNS 0x0001u	   /* columnar: column_segment.h */
#define DPI_SEGMENT_PART 0x0002u	   /* a piece of one large row: row_part.h */
#define DPI_SEGMENT_FIRST 0x0004u	   /* its first piece */
#define DPI_SEGMENT_LAST 0x0008u	   /* its last piece */
#define DPI_SEGMENT_OWN 0x000fu		   /* the flags above */
#define DPI_SEGMENT_ENGINE 0xff00u	   /* free for the engine: marks, end, encodings */

static inline uint32_t dpi_align(uint32_t n, uint32_t to)
{
	return (n + to - 1) & ~(to - 1);
}

/* Copy the header of size bytes that came and bound it: bytes behind it are there, kind is one that this library knows.
 * DPI_ERR_CORRUPT or VERSION, with a sentence. */
int dpi_segment_header(const void *segment, size_t size, struct dpi_segment *header);

/* ------------------------------------------------------------------------------------------------------- writing */

struct dpi_row_writer {
	uint8_t *at;	 /* where the next row goes */
	uint8_t *last;	 /* the last place where a row of stride bytes fits; varying rows: the end */
	uint32_t stride; /* of a row; 0: rows vary */
	uint32_t rows;	 /* varying rows only */
	uint8_t *segment;
};

/* Begin a segment of capacity bytes in all. DPI_ERR_SIZE (no sentence) when no row could fit. */
int dpi_row_begin(struct dpi_row_writer *w, const struct dpi_schema *s, void *segment, size_t capacity);

/* Room for the next row, or NULL: the segment is full. The row counts at once; size is used where rows vary. Room that
 * turns out too large is given back by dpi_row_shrink before the next. */
static inline void *dpi_row_reserve(struct dpi_row_writer *w, uint32_t size)
{
	uint8_t *at = w->at;
	if (__builtin_expect(w->stride != 0, 1)) {
		if (__builtin_expect(at > w->last, 0)) return NULL;
		w->at = at + w->stride;
		return at;
	}
	size_t room = (size_t)(w->last - at), need = 8 + (((size_t)size + 7) & ~(size_t)7);
	if (__builtin_expect(need > room, 0)) return NULL;
	uint64_t word = size;
	memcpy(at, &word, 8);
	w->at = at + need;
	w->rows++;
	return at + 8;
}

/* row: what the last dpi_row_reserve gave; size: not more than it was asked for. */
static inline void dpi_row_shrink(struct dpi_row_writer *w, void *row, uint32_t size)
{
	uint64_t word = size;
	if (w->stride) return;
	memcpy((uint8_t *)row - 8, &word, 8);
	w->at = (uint8_t *)row + (((size_t)size + 7) & ~(size_t)7);
}

/* Take the last reserved row back. */
static inline void dpi_row_unreserve(struct dpi_row_writer *w, void *row)
{
	w->at = (uint8_t *)row - (w->stride ? 0 : 8);
	if (!w->stride) w->rows--;
}

/* Can an empty segment of capacity bytes hold a row of this size? If not, the row travels in parts: row_part.h. */
static inline bool dpi_row_fits(const struct dpi_schema *s, size_t size, size_t capacity)
{
	size_t need = s->varies ? 8 + ((size + 7) & ~(size_t)7) : size;
	return capacity >= DPI_SEGMENT_HEADER && need <= capacity - DPI_SEGMENT_HEADER;
}

/* Copy a row of size bytes (the stride, where rows do not vary) into the segment; false: it is full. */
static inline bool dpi_row_append(struct dpi_row_writer *w, const void *row, uint32_t size)
{
	void *to = dpi_row_reserve(w, size);
	if (__builtin_expect(!to, 0)) return false;
	dpi_row_copy(to, row, w->stride ? w->stride : size);
	return true;
}

/* As many of count rows, back to back, as fit; rows that do not vary. Returns how many. */
size_t dpi_row_append_many(struct dpi_row_writer *w, const void *rows, size_t count);

static inline uint32_t dpi_row_count(const struct dpi_row_writer *w)
{
	return w->stride ? (uint32_t)((size_t)(w->at - w->segment - DPI_SEGMENT_HEADER) / w->stride) : w->rows;
}

/* Write the header; the segment's size in all, header included. sequence and reserved are zero. */
static inline size_t dpi_row_end(struct dpi_row_writer *w, uint32_t flags)
{
	size_t size = (size_t)(w->at - w->segment);
	struct dpi_segment h = { .rows = dpi_row_count(w), .bytes = (uint32_t)(size - DPI_SEGMENT_HEADER),
				 .flags = DPI_SEGMENT_MAGIC | flags };
	memcpy(w->segment, &h, sizeof h);
	return size;
}

/* ------------------------------------------------------------------------------------------------------- reading */

struct dpi_row_reader {
	const uint8_t *at, *end;
	uint32_t stride;  /* 0: rows vary */
	uint32_t rows;	  /* still to come */
};

/* Begin to read; the header is copied and bounded, the rows are bounded one by one. DPI_ERR_CORRUPT, VERSION, and USE when
 * it is a columnar segment or a part, with a sentence. header: out; may be NULL. */
int dpi_row_open(struct dpi_row_reader *r, const struct dpi_schema *s, const void *segment, size_t size,
		 struct dpi_segment *header);

/* The next row and its size; NULL: there is none, or what stands there is no row: dpi_row_done tells which. */
static inline const void *dpi_row_next(struct dpi_row_reader *r, uint32_t *size)
{
	const uint8_t *at = r->at;
	if (__builtin_expect(!r->rows, 0)) return NULL;
	if (__builtin_expect(r->stride != 0, 1)) {
		r->at = at + r->stride;
		r->rows--;
		*size = r->stride;
		return at;
	}
	uint64_t word;
	size_t room = (size_t)(r->end - at);
	if (__builtin_expect(room < 8, 0)) return NULL;
	memcpy(&word, at, 8);
	if (__builtin_expect(word > room - 8 || ((word + 7) & ~UINT64_C(7)) > room - 8, 0)) return NULL;
	r->at = at + 8 + ((word + 7) & ~UINT64_C(7));
	r->rows--;
	*size = (uint32_t)word;
	return at + 8;
}

/* DPI_SUCCESS: every row was taken and nothing stands behind the last. Else DPI_ERR_CORRUPT with a sentence. */
int dpi_row_done(const struct dpi_row_reader *r);

/* All rows of a segment by dpi_row_check. */
int dpi_row_check_segment(const struct dpi_schema *s, const void *segment, size_t size, bool utf8);

#endif
