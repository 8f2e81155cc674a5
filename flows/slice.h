/* SPDX-License-Identifier: Apache-2.0
 * slice.h: some rows of a batch that stand one behind the other, as a batch: its values lie where they did. */
#ifndef DPI_FLOWS_SLICE_H
#define DPI_FLOWS_SLICE_H

#include "schema.h"
#include "vector.h"

struct dpi_slice {
	struct dpi_batch batch; /* stands until the next call */
	struct dpi_vector *vector;
	uint8_t *bits; /* copies of bits that began within a byte */
	size_t room;   /* rows */
};

/* For slices of at most so many rows. MEMORY. */
int dpi_slice_new(const struct dpi_schema *s, size_t rows, struct dpi_slice *slice);
void dpi_slice_free(struct dpi_slice *slice); /* of zeros, too */
const struct dpi_batch *dpi_slice(struct dpi_slice *slice, const struct dpi_batch *batch, size_t first, size_t count);

#endif
