/* SPDX-License-Identifier: Apache-2.0
 * final.h: reduce at a target: a table that takes in what came, rows or partial rows, and gives the results of a window. */
#ifndef DPI_FLOWS_FINAL_H
#define DPI_FLOWS_FINAL_H

#include "rows.h"
#include "target.h"

struct dpi_final;

/* NAME VERSION (a registered reducer is not here, or another) LIMIT MEMORY. */
int dpi_final_open(struct dpi_target *t, struct dpi_final **f);
void dpi_final_close(struct dpi_final *f); /* NULL is allowed */
/* Take rows of d->wire in. taken: out, how many, also on an error; fewer only when a window by rows is full: then *results,
 * which are taken before anything else. */
int dpi_final_take(struct dpi_final *f, const struct dpi_rows *rows, size_t *taken, bool *results);
/* Does a mark, or the end, close a window? Then its results are taken before the mark is given. */
bool dpi_final_closes(struct dpi_final *f, enum dpi_found found);
/* Results: rows of the reduction's output, which stand until the next call; count 0: all were taken, and a window begins. */
int dpi_final_next(struct dpi_final *f, struct dpi_rows *rows);
void dpi_final_stats(const struct dpi_final *f, DPI_Target_Stats *stats);

#endif
