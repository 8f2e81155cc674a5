/* SPDX-License-Identifier: Apache-2.0
 * final.h: reduce at a target: a table that takes in what came, rows or partial rows, and gives the results of a window. */
#ifndef DPI_FLOWS_FINAL_H
#define DPI_FLOWS_FINAL_H

#include "rows.h"
#include "target.h"

struct dpi_final;

int dpi_final_open(struct dpi_target *t, struct dpi_final **f);
void dpi_final_close(struct dpi_final *f); /* NULL is allowed */
/* Take a piece of rows of d->wire in, all of it; the caller releases it. piece->inlet has the mark that its source has passed:
 * rows behind a mark that not every source has passed yet are of a later window. *results: a window by rows is full; then the
 * results are taken before anything else. */
int dpi_final_take(struct dpi_final *f, const struct dpi_piece *piece, bool *results);
/* Does a mark, or the end, close a window? Then its results are taken before the mark is given. */
bool dpi_final_closes(struct dpi_final *f, enum dpi_found found, uint64_t mark);
/* Results: rows of the reduction's output, which stand until the next call; count 0: all were taken, and a window begins. */
int dpi_final_next(struct dpi_final *f, struct dpi_rows *rows);

#endif
