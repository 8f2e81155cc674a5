/* SPDX-License-Identifier: Apache-2.0
 * final.c: reduce at a target. */
#include "final.h"

int dpi_final_open(struct dpi_target *t, struct dpi_final **f)
{
	*f = NULL;
	return dpi_fail(DPI_ERR_UNSUPPORTED, "flow '%s' reduces, which this library does not know of yet", t->flow->name);
}

void dpi_final_close(struct dpi_final *f)
{
	(void)f;
}

int dpi_final_take(struct dpi_final *f, const struct dpi_piece *piece, bool *results)
{
	(void)f, (void)piece;
	*results = false;
	return DPI_SUCCESS;
}

bool dpi_final_closes(struct dpi_final *f, enum dpi_found found, uint64_t mark)
{
	(void)f, (void)found, (void)mark;
	return false;
}

int dpi_final_next(struct dpi_final *f, struct dpi_rows *rows)
{
	(void)f;
	*rows = (struct dpi_rows){ 0 };
	return DPI_SUCCESS;
}
