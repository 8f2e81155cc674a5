/* SPDX-License-Identifier: Apache-2.0
 * slice.c: see slice.h. */
#include "slice.h"

#include <stdlib.h>

#include "column_bits.h"
#include "error.h"

int dpi_slice_new(const struct dpi_schema *s, size_t rows, struct dpi_slice *slice)
{
	*slice = (struct dpi_slice){ .room = rows, .vector = calloc(s->columns, sizeof *slice->vector), .bits = malloc(2 * s->columns * dpi_bits_bytes(rows)) };
	if (slice->vector && slice->bits) return DPI_SUCCESS;
	dpi_slice_free(slice);
	return dpi_fail(DPI_ERR_MEMORY, "no memory for a batch of %u columns", s->columns);
}

void dpi_slice_free(struct dpi_slice *slice)
{
	free(slice->vector), free(slice->bits);
	*slice = (struct dpi_slice){ 0 };
}

static const uint8_t *bits_of(const uint8_t *bits, size_t first, size_t count, uint8_t *own)
{
	if (!bits || first % 8 == 0) return bits ? bits + first / 8 : NULL;
	dpi_bits_copy(own, 0, bits, first, count);
	return own;
}

const struct dpi_batch *dpi_slice(struct dpi_slice *slice, const struct dpi_batch *batch, size_t first, size_t count)
{
	uint8_t *own = slice->bits;
	size_t each = dpi_bits_bytes(slice->room);
	for (int k = 0; k < batch->columns; k++, own += 2 * each) {
		struct dpi_vector v = batch->column[k];
		v.valid = bits_of(v.valid, first, count, own);
		if (v.offset) v.offset += first;
		else if (v.type == DPI_TYPE_BOOL) v.data = bits_of(v.data, first, count, own + each);
		else v.data = (const uint8_t *)v.data + first * v.width;
		slice->vector[k] = v;
	}
	slice->batch = (struct dpi_batch){ count, batch->columns, slice->vector };
	return &slice->batch;
}
