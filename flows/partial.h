/* SPDX-License-Identifier: Apache-2.0
 * partial.h: reduce at a source: a table for each target, whose partial rows travel when it is full, before a mark, a flush and
 * the end. Only where the definition says partial. */
#ifndef DPI_FLOWS_PARTIAL_H
#define DPI_FLOWS_PARTIAL_H

#include "rows.h"
#include "source.h"

struct dpi_partial;

int dpi_partial_open(struct dpi_source *s, struct dpi_partial **p);
void dpi_partial_close(struct dpi_partial *p); /* NULL is allowed */
/* Rows of the reduction's input, behind the stages. One, to all of its targets or, on an error, to none. AGAIN as dpi_push_to. */
int dpi_partial_push(struct dpi_source *s, struct dpi_partial *p, const uint32_t *to, uint32_t count, const DPI_Record *row, bool wait);
/* Many, row i to the target part[i]; *given: the first ones, which were taken in, also on an error. Waits. */
int dpi_partial_push_run(struct dpi_source *s, struct dpi_partial *p, const DPI_Record *rows, const uint16_t *part, size_t count, size_t *given);
/* Into the lanes with everything: dpi_push_to. */
int dpi_partial_drain(struct dpi_source *s, struct dpi_partial *p, int64_t deadline);

#endif
