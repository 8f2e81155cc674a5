/* SPDX-License-Identifier: Apache-2.0
 * scatter.c: rows to their parts. Straight, or through lines: a block of a part is gathered in the cache, at the place it
 * has in memory modulo its size, and written past the cache when it is full, so that memory is neither read nor evicted
 * for it. With 4096 parts the lines fill the second cache, and one round is still faster than two of 64 parts. */
#include "move.h"

#include <stdlib.h>
#include <string.h>

#include "kernel.h"

#define BLOCK ((size_t)512)	    /* bytes of a part gathered before they are written; a multiple of 64 */
#define SMALL_BLOCK ((size_t)256)   /* with many parts, so that all blocks lie in the second cache */
#define MANY 64			    /* parts with blocks of the larger size */
#define LARGEST ((size_t)64)	    /* bytes of a row that still goes through a block */

#define INLINE static inline __attribute__((always_inline))

void dpi_partition_count(const uint16_t *part, size_t count, uint64_t *counts)
{
	for (size_t i = 0; i < count; i++) counts[part[i]]++;
}

/* ---------------------------------------------------------------------------------------------------------- straight */

INLINE void straight(const uint8_t *row, size_t stride, size_t width, size_t count, const uint16_t *part, uint8_t **at)
{
	for (size_t i = 0; i < count; i++, row += stride) {
		uint8_t *to = at[part[i]];
		memcpy(to, row, width);
		at[part[i]] = to + width;
	}
}

/* ------------------------------------------------------------------------------------------------------ through lines */

/* The block that begins at block is full; what lies before the part's first byte is not ours. */
static void write_block(const struct dpi_move_kernels *k, uint8_t *block, size_t size, const uint8_t *line,
			const uint8_t *first)
{
	size_t skip = first > block ? (size_t)(first - block) : 0;
	if (!skip) k->stream(block, line, size);
	else if (skip < size) memcpy(block + skip, line + skip, size - skip);
}

/* What comes ahead bytes later is fetched meanwhile. */
INLINE void streamed(const uint8_t *row, size_t stride, size_t width, size_t count, const uint16_t *part, uint8_t **at,
		     uint8_t *lines, uint8_t **first, size_t block, size_t ahead)
{
	const struct dpi_move_kernels *k = dpi_move_kernels();
	for (size_t i = 0; i < count; i++, row += stride) {
		size_t p = part[i];
		__builtin_prefetch((const void *)((uintptr_t)row + ahead)); /* may lie behind the last row: no fault */
		uint8_t *to = at[p], *line = lines + p * (block + LARGEST);
		size_t place = (uintptr_t)to & (block - 1);
		memcpy(line + place, row, width);
		at[p] = to + width;
		if (__builtin_expect(place + width >= block, 0)) {
			write_block(k, to - place, block, line, first[p]);
			memcpy(line, line + block, place + width - block);
		}
	}
}

/* A loop of its own for each width that is common. */
#define WIDTHS(do_)                                                                                    \
	switch (width) {                                                                               \
	case 1: do_(1); break;                                                                         \
	case 2: do_(2); break;                                                                         \
	case 4: do_(4); break;                                                                         \
	case 8: do_(8); break;                                                                         \
	case 16: do_(16); break;                                                                       \
	case 24: do_(24); break;                                                                       \
	case 32: do_(32); break;                                                                       \
	case 64: do_(64); break;                                                                       \
	default: do_(width);                                                                           \
	}

#define STRAIGHT(w) straight(rows, stride, w, count, part, s->at)
#define STREAMED(w) streamed(rows, stride, w, count, part, s->at, s->lines, s->first, BLOCK, ahead)
#define STREAMED_MANY(w) streamed(rows, stride, w, count, part, s->at, s->lines, s->first, SMALL_BLOCK, ahead)

bool dpi_scatter_begin(struct dpi_scatter *s, uint8_t **at, uint32_t parts, size_t width, size_t count, enum dpi_store store)
{
	bool stream = store == DPI_STORE_STREAM || (store == DPI_STORE_AUTO && count >= DPI_STREAM_LEAST / width);
	*s = (struct dpi_scatter){ .at = at, .parts = parts, .width = width, .block = parts <= MANY ? BLOCK : SMALL_BLOCK };
	/* few bytes for each part would be all ends */
	if (!stream || width > LARGEST || count / parts < 4 * s->block / width) return true;
	size_t room = parts * (s->block + LARGEST);
	s->lines = aligned_alloc(64, room + (parts * sizeof *s->first + 63) / 64 * 64);
	if (!s->lines) return false;
	s->first = (uint8_t **)(void *)(s->lines + room);
	memcpy(s->first, at, parts * sizeof *at);
	return true;
}

void dpi_scatter_rows(struct dpi_scatter *s, const void *rows, size_t stride, size_t count, const uint16_t *part)
{
	size_t width = s->width, ahead = count < DPI_SCATTER_RUN / stride ? count * stride : DPI_SCATTER_RUN;
	if (!s->lines) {
		WIDTHS(STRAIGHT)
	} else if (s->block == BLOCK) {
		WIDTHS(STREAMED)
	} else {
		WIDTHS(STREAMED_MANY)
	}
}

void dpi_scatter_end(struct dpi_scatter *s)
{
	if (!s->lines) return;
	for (uint32_t p = 0; p < s->parts; p++) { /* what is left in the lines */
		size_t place = (uintptr_t)s->at[p] & (s->block - 1);
		uint8_t *block = s->at[p] - place;
		size_t skip = s->first[p] > block ? (size_t)(s->first[p] - block) : 0;
		if (skip < place) memcpy(block + skip, s->lines + p * (s->block + LARGEST) + skip, place - skip);
	}
	dpi_move_kernels()->fence();
	free(s->lines);
}

void dpi_scatter_bits(const uint8_t *bits, size_t count, const uint16_t *part, uint8_t *const *to, uint64_t *filled)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t n = filled[part[i]]++;
		uint8_t *byte = to[part[i]] + n / 8, bit = (uint8_t)(1 << n % 8);
		*byte = (uint8_t)(!bits || dpi_bit(bits, i) ? *byte | bit : *byte & ~bit);
	}
}
