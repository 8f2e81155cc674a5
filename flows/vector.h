/* SPDX-License-Identifier: Apache-2.0
 * vector.h: columns of a batch as flows compute on them: Arrow's layout, borrowed, never owned. Whoever makes one has checked
 * every offset against the bytes there are; whoever reads one relies on it. */
#ifndef DPI_FLOWS_VECTOR_H
#define DPI_FLOWS_VECTOR_H

#include <dpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values of one column. */
struct dpi_vector {
	int type;	       /* DPI_TYPE_* */
	int scale;	       /* decimals: digits behind the point */
	uint32_t width;	       /* bytes of a value; bool: 0, it is one bit; variable: 0 */
	const uint8_t *valid;  /* bit i, least significant first: value i is not NULL; NULL: none is */
	const void *data;      /* values packed at their width, little endian; bool: bits as in valid; variable: the bytes */
	const int32_t *offset; /* variable: value i is the bytes offset[i] … offset[i + 1] of data; rows + 1 of them */
};

struct dpi_batch {
	size_t rows;
	int columns;
	const struct dpi_vector *column;
};

static inline bool dpi_bit(const uint8_t *bits, size_t i)
{
	return bits[i / 8] >> i % 8 & 1;
}

static inline bool dpi_is_null(const struct dpi_vector *v, size_t i)
{
	return v->valid && !dpi_bit(v->valid, i);
}

#endif
