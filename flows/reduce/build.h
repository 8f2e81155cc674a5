/* SPDX-License-Identifier: Apache-2.0
 * build.h: what the makers of reductions share. */
#ifndef DPI_REDUCE_BUILD_H
#define DPI_REDUCE_BUILD_H

#include "../sketch.h"
#include "reduce.h"

/* An empty one; key, and of each aggregate function, column, by, k, ascending, precision, names, and of a reducer version,
 * bytes, result and merges, are filled in before dpi_reduction_finish checks and derives the rest. Errors: as
 * dpi_reduction_new. */
int dpi_reduction_start(struct dpi_schema *input, size_t key_count, size_t count, struct dpi_reduction **r);
int dpi_reduction_finish(struct dpi_reduction *r);

/* Columns of its state. Those that it needs to be aligned may have a padding before them. */
uint32_t dpi_aggregate_columns(const struct dpi_aggregate *a);

static inline int dpi_avg_scale(int scale)
{
	return scale > 6 ? scale : 6;
}

/* Bytes of a value; FIXED and variable ones: 0. */
static inline uint32_t dpi_type_bytes(int type)
{
	switch (type) {
#define DPI_TYPE_WIDTH(name, number, width, text) case number: return width;
		DPI_TYPES(DPI_TYPE_WIDTH)
#undef DPI_TYPE_WIDTH
	default: return 0;
	}
}

#endif
