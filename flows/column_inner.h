/* SPDX-License-Identifier: Apache-2.0
 * column_inner.h: a columnar segment under construction, as column_build.c and column_scatter.c fill it. */
#ifndef DPI_FLOWS_COLUMN_INNER_H
#define DPI_FLOWS_COLUMN_INNER_H

#include "column_segment.h"

/* Statistics are read by other threads meanwhile: rows, and used of each column. */
#define DPI_COLUMN_SET(word, value) __atomic_store_n(&(word), (uint32_t)(value), __ATOMIC_RELAXED)

struct dpi_column_build {
	uint8_t *valid;	 /* nullable columns */
	int32_t *offset; /* variable columns */
	uint8_t *data;
	uint32_t room, used;  /* variable: bytes of data */
	uint32_t planned;     /* scattering: bytes that come, of values that were found to fit */
	uint32_t nulls;
	uint32_t mean;	      /* variable: bytes to plan for a value */
	uint32_t first;	      /* variable: bytes that the first row needs */
	const uint8_t *bytes; /* variable: the value under way */
	uint32_t size;
	bool null;
};

struct dpi_column_builder {
	struct dpi_schema *schema;
	uint8_t *segment;
	uint32_t capacity;
	uint32_t rows, most;
	struct dpi_column_build column[];
};

#endif
