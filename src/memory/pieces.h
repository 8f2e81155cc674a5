/* SPDX-License-Identifier: Apache-2.0
 * pieces.h: the pieces of a region, as its home keeps them, outside the region's bytes. One thread at a time: the loop's. */
#ifndef DPI_MEMORY_PIECES_H
#define DPI_MEMORY_PIECES_H

#include <stdint.h>

#include "dpi.h"

struct dpi_pieces;

#define DPI_PIECES_MAX (1u << 20) /* of one region, with the gaps between them */

/* For a region of length bytes. serial: counts every piece ever allocated, of any region here, and outlives this. NULL: no memory. */
struct dpi_pieces *dpi_pieces_new(uint64_t length, uint64_t *serial);
void dpi_pieces_free(struct dpi_pieces *p);

int dpi_pieces_allocate(struct dpi_pieces *p, uint64_t size, DPI_Reference *out); /* ARGUMENT FULL MEMORY LIMIT */
/* DPI_SUCCESS if the reference is of a piece that lives; RECLAIMED, or ARGUMENT: it was altered. */
int dpi_pieces_check(const struct dpi_pieces *p, const DPI_Reference *r);
int dpi_pieces_release(struct dpi_pieces *p, const DPI_Reference *r); /* as check */

#endif
