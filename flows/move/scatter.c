/* SPDX-License-Identifier: Apache-2.0
 * scatter.c: rows to their parts. Straight, or through lines: a block of a part is gathered in the cache, at the place it
 * has in memory modulo its size, and written past the cache when it is full, so that memory is neither read nor evicted
 * for it. With 4096 parts the lines fill the second cache, and one round is still faster than two of 64 parts. */
#include "move.h"

#include <stdlib.h>
#include <string.h>

#include "kernel.h"

/* Bytes of a part gathered before they are written, powers of two. Memory takes them the faster the more there are at once, up to 2 KiB. */
#define MOST_BLOCK ((size_t)2048)
#define LEAST_BLOCK ((size_t)256)
#define BLOCKS ((size_t)256 << 10)  /* of all parts at most, but for the least: a part of the second cache */
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

/* A part's block is full; what lies before the part's first byte is not ours. Returns where the line goes on. */
static __attribute__((noinline)) uint8_t *write_block(const struct dpi_move_kernels *k, struct dpi_scatter_line *l, size_t size)
{
	uint8_t *line = l->end - size;
	size_t skip = l->first > l->block ? (size_t)(l->first - l->block) : 0;
	if (!skip) k->stream(l->block, line, size);
	else if (skip < size) memcpy(l->block + skip, line + skip, size - skip);
	memcpy(line, l->end, (size_t)(l->at - l->end));
	l->block += size;
	return l->at - size;
}

/* What comes ahead bytes later is fetched meanwhile. */
INLINE void streamed(const uint8_t *row, size_t stride, size_t width, size_t count, const uint16_t *part, struct dpi_scatter_line *lines,
		     size_t block, size_t ahead)
{
	const struct dpi_move_kernels *k = dpi_move_kernels();
	for (size_t i = 0; i < count; i++, row += stride) {
		struct dpi_scatter_line *l = lines + part[i];
		__builtin_prefetch((const void *)((uintptr_t)row + ahead)); /* may lie behind the last row: no fault */
		uint8_t *to = l->at;
		memcpy(to, row, width);
		l->at = to += width;
		if (__builtin_expect(to >= l->end, 0)) l->at = write_block(k, l, block);
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
#define STREAMED(w) streamed(rows, stride, w, count, part, s->line, s->block, ahead)

bool dpi_scatter_begin(struct dpi_scatter *s, uint8_t **at, uint32_t parts, size_t width, size_t count, enum dpi_store store)
{
	bool stream = store == DPI_STORE_STREAM || (store == DPI_STORE_AUTO && count >= DPI_STREAM_LEAST / width);
	*s = (struct dpi_scatter){ .at = at, .parts = parts, .width = width, .block = MOST_BLOCK };
	if (!stream || width > LARGEST) return true;
	while (s->block > LEAST_BLOCK && (parts * s->block > BLOCKS || count / parts < 4 * s->block / width)) s->block /= 2;
	if (count / parts < 4 * s->block / width) return true; /* few bytes for each part would be all ends */
	size_t room = parts * (s->block + LARGEST);
	s->bytes = aligned_alloc(64, room + (parts * sizeof *s->line + 63) / 64 * 64);
	if (!s->bytes) return false;
	s->line = (struct dpi_scatter_line *)(void *)(s->bytes + room);
	for (uint32_t p = 0; p < parts; p++) {
		size_t place = (uintptr_t)at[p] & (s->block - 1);
		uint8_t *line = s->bytes + p * (s->block + LARGEST);
		s->line[p] = (struct dpi_scatter_line){ line + place, line + s->block, at[p] - place, at[p] };
	}
	return true;
}

void dpi_scatter_rows(struct dpi_scatter *s, const void *rows, size_t stride, size_t count, const uint16_t *part)
{
	size_t width = s->width, ahead = count < DPI_SCATTER_RUN / stride ? count * stride : DPI_SCATTER_RUN;
	if (!s->bytes) {
		WIDTHS(STRAIGHT)
	} else {
		WIDTHS(STREAMED)
	}
}

void dpi_scatter_end(struct dpi_scatter *s)
{
	if (!s->bytes) return;
	for (uint32_t p = 0; p < s->parts; p++) { /* what is left in the lines */
		struct dpi_scatter_line *l = s->line + p;
		uint8_t *line = l->end - s->block;
		size_t place = (size_t)(l->at - line), skip = l->first > l->block ? (size_t)(l->first - l->block) : 0;
		if (skip < place) memcpy(l->block + skip, line + skip, place - skip);
		s->at[p] = l->block + place;
	}
	dpi_move_kernels()->fence();
	free(s->bytes);
}

void dpi_scatter_bits(const uint8_t *bits, size_t count, const uint16_t *part, uint8_t *const *to, uint64_t *filled)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t n = filled[part[i]]++;
		uint8_t *byte = to[part[i]] + n / 8, bit = (uint8_t)(1 << n % 8);
		*byte = (uint8_t)(!bits || dpi_bit(bits, i) ? *byte | bit : *byte & ~bit);
	}
}
