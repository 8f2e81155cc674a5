/* SPDX-License-Identifier: Apache-2.0
 * rows.h: rows that are handed on inside a process: to stages and reduce, and by them. */
#ifndef DPI_FLOWS_ROWS_H
#define DPI_FLOWS_ROWS_H

#include <dpi.h>

/* Rows in line, stride bytes apart; or, where rows is NULL, anywhere. */
struct dpi_rows {
	const void *rows;
	size_t stride;
	const DPI_Record *record;
	size_t count;
};

static inline DPI_Record dpi_rows_at(const struct dpi_rows *r, size_t i)
{
	return r->rows ? (DPI_Record){ (const char *)r->rows + i * r->stride, r->stride } : r->record[i];
}

#endif
