/* SPDX-License-Identifier: Apache-2.0
 * partial.h: reduce at a source: for each target a bounded table, whose partial rows travel when it is full, before a
 * mark, a flush and the end. Only where the definition says partial. */
#ifndef DPI_FLOWS_PARTIAL_H
#define DPI_FLOWS_PARTIAL_H

#include "source.h"

struct dpi_partial;

/* Tables are made when they are needed; what they need of this process is looked at now. NAME VERSION (a registered reducer
 * is not here, or another) MEMORY. */
int dpi_partial_open(struct dpi_source *s, struct dpi_partial **p);
void dpi_partial_close(struct dpi_partial *p); /* NULL is allowed */

/* All are of s->pipe->partial. Errors: those of lanes, and those of a table, with which the flow fails.
 * A row of the reduction's input, behind the stages, to all of its targets or, on an error, to none; of one that is larger
 * than a segment some targets may have got it: UNKNOWN. AGAIN as dpi_push_to. */
int dpi_partial_push(struct dpi_source *s, const uint32_t *to, uint32_t count, const DPI_Record *row, bool wait);
/* Rows that do not vary, size bytes each, to one target: past the stage. *given: the first ones, which were pushed, also on an error.
 * Waits; AGAIN as dpi_push_to. */
int dpi_partial_push_rows(struct dpi_source *s, uint32_t target, const void *rows, uint32_t size, size_t count, size_t *given);
/* Rows that were pushed to a target, by whatever way. */
uint64_t dpi_partial_rows(const struct dpi_source *s, uint32_t target);
/* Into the lanes with everything. */
int dpi_partial_drain(struct dpi_source *s, int64_t deadline);

#endif
