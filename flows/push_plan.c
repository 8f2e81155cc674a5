/* SPDX-License-Identifier: Apache-2.0
 * push_plan.c: runs of a batch. */
#include "push_plan.h"

#include "move/move.h"
#include "ring.h"
#include "row.h"

uint32_t dpi_push_find(struct dpi_route *r, const void *rows, size_t stride, size_t count, uint16_t *part, uint32_t *counts,
		       uint16_t *touched)
{
	uint32_t n = 0;
	dpi_route_rows(r, rows, stride, count, part);
	for (size_t i = 0; i < count; i++) {
		touched[n] = part[i]; /* stays if it is the first */
		n += counts[part[i]]++ == 0;
	}
	return n;
}

void dpi_push_scatter(const void *rows, size_t stride, uint32_t width, size_t count, const uint16_t *part, uint8_t **at)
{
	struct dpi_scatter s;
	dpi_scatter_begin(&s, at, 0, width, count, DPI_STORE_CACHED); /* straight: needs no memory */
	dpi_scatter_rows(&s, rows, stride, count, part);
	dpi_scatter_end(&s);
}

static inline __attribute__((always_inline)) size_t fill(const uint8_t *row, size_t stride, size_t width, size_t count,
							 const uint16_t *part, uint8_t **at, uint8_t *const *end, size_t ahead)
{
	size_t i = 0;
	for (; i < count; i++, row += stride) {
		uint8_t *to = at[part[i]];
		if (__builtin_expect((size_t)(end[part[i]] - to) < width, 0)) break;
		dpi_ring_ask(to, 0, DPI_RING_AHEAD);
		__builtin_prefetch(row + ahead);
		dpi_row_copy(to, row, width);
		at[part[i]] = to + width;
	}
	return i;
}

size_t dpi_push_fill(const void *rows, size_t stride, uint32_t width, size_t count, const uint16_t *part, uint8_t **at,
		     uint8_t *const *end, size_t ahead)
{
	switch (width) { /* a loop of its own for each width that is common */
	case 8: return fill(rows, stride, 8, count, part, at, end, ahead);
	case 16: return fill(rows, stride, 16, count, part, at, end, ahead);
	case 24: return fill(rows, stride, 24, count, part, at, end, ahead);
	case 32: return fill(rows, stride, 32, count, part, at, end, ahead);
	case 64: return fill(rows, stride, 64, count, part, at, end, ahead);
	default: return fill(rows, stride, width, count, part, at, end, ahead);
	}
}
