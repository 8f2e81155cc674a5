/* SPDX-License-Identifier: Apache-2.0
 * partial.c: reduce at a source. */
#include "partial.h"

int dpi_partial_open(struct dpi_source *s, struct dpi_partial **p)
{
	*p = NULL;
	return dpi_fail(DPI_ERR_UNSUPPORTED, "flow '%s' reduces, which this library does not know of yet", s->flow->name);
}

void dpi_partial_close(struct dpi_partial *p)
{
	(void)p;
}

int dpi_partial_push(struct dpi_source *s, struct dpi_partial *p, const uint32_t *to, uint32_t count, const DPI_Record *row, bool wait)
{
	(void)s, (void)p, (void)to, (void)count, (void)row, (void)wait;
	return DPI_SUCCESS;
}

int dpi_partial_push_run(struct dpi_source *s, struct dpi_partial *p, const DPI_Record *rows, const uint16_t *part, size_t count, size_t *given)
{
	(void)s, (void)p, (void)rows, (void)part;
	*given = count;
	return DPI_SUCCESS;
}

int dpi_partial_drain(struct dpi_source *s, struct dpi_partial *p, int64_t deadline)
{
	(void)s, (void)p, (void)deadline;
	return DPI_SUCCESS;
}
