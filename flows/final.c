/* SPDX-License-Identifier: Apache-2.0
 * final.c: reduce at a target. Windows of marks need nothing here: inlet.c holds those sources back that have passed a mark
 * which the target has not reported. */
#include "final.h"

#include <stdlib.h>

#include "reduce/reduce.h"

struct dpi_final {
	const struct dpi_definition *d;
	struct dpi_table *table;
	uint64_t in_window; /* rows in the window so far, where it ends by their number */
	_Atomic uint64_t results, spilled;
};

int dpi_final_open(struct dpi_target *t, struct dpi_final **out)
{
	const struct dpi_definition *d = t->flow->definition;
	/* not the salt of dist: all keys of a table have hashes of one part */
	struct dpi_table_attr attr = { .budget = d->reduce_memory, .salt = ~d->salt,
				       .full = d->reduce_full == DPI_FULL_FAILS ? DPI_TABLE_LIMITED : DPI_TABLE_SPILLS };
	struct dpi_final *f = calloc(1, sizeof *f);
	*out = NULL;
	if (!f) return dpi_fail(DPI_ERR_MEMORY, "no memory for a target");
	f->d = d;
	int error = dpi_table_new(d->reduction, &attr, &f->table);
	if (error) free(f);
	else *out = f;
	return error;
}

void dpi_final_close(struct dpi_final *f)
{
	if (f) dpi_table_free(f->table);
	free(f);
}

int dpi_final_take(struct dpi_final *f, const struct dpi_rows *rows, size_t *taken, bool *results)
{
	struct dpi_rows some = *rows;
	uint64_t left = f->d->window_rows - f->in_window;
	bool counts = f->d->window == DPI_WINDOW_ROWS;
	if (counts && some.count > left) some.count = (size_t)left;
	int error = (f->d->partial ? dpi_table_merge : dpi_table_add)(f->table, &some, taken);
	f->in_window += *taken;
	*results = !error && counts && f->in_window == f->d->window_rows;
	struct dpi_table_stats s;
	dpi_table_stats(f->table, &s);
	atomic_store_explicit(&f->spilled, s.spilled, memory_order_relaxed);
	return error;
}

bool dpi_final_closes(struct dpi_final *f, enum dpi_found found)
{
	return found == DPI_FOUND_END || (found == DPI_FOUND_MARK && f->d->window == DPI_WINDOW_MARKS);
}

int dpi_final_next(struct dpi_final *f, struct dpi_rows *rows)
{
	int error = dpi_table_next_result(f->table, rows);
	f->in_window = 0;
	if (!error) atomic_fetch_add_explicit(&f->results, rows->count, memory_order_relaxed);
	return error;
}

void dpi_final_stats(const struct dpi_final *f, DPI_Target_Stats *stats)
{
	stats->results = atomic_load_explicit(&f->results, memory_order_relaxed);
	stats->spilled = atomic_load_explicit(&f->spilled, memory_order_relaxed);
}
