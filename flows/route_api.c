/* SPDX-License-Identifier: Apache-2.0
 * route_api.c: DPI_Route: where a row would go, asked without an endpoint. */
#include <string.h>

#include "error.h"
#include "flow.h"
#include "route.h"
#include "row.h"

static int check_row(const struct dpi_schema *s, const void *row, size_t size)
{
	if (s->varies ? size < s->row_size || size > DPI_ROW_MAX : size != s->row_size)
		return dpi_fail(DPI_ERR_SIZE, "DPI_Route: the row has %zu bytes, rows of this flow have %s%u", size,
				s->varies ? "at least " : "", s->row_size);
	return dpi_row_check(s, row, size, false);
}

static int route(const struct dpi_flow *f, const void *row, size_t size, uint32_t *targets, uint32_t *count)
{
	const uint32_t *to;
	struct dpi_route *r;
	uint32_t n;
	int error = check_row(f->definition->schema, row, size);
	if (!error) error = dpi_route_new(f->definition, atomic_load_explicit(&f->opened, memory_order_relaxed), &r);
	if (error) return error;
	error = dpi_route_row(r, row, (uint32_t)size, &to, &n);
	if (!error) {
		memcpy(targets, to, n * sizeof *to);
		*count = n;
	}
	dpi_route_free(r);
	return error;
}

int DPI_Route(const void *row, size_t size, DPI_Flow flow, uint32_t *targets, uint32_t *count)
{
	if (!row || !targets || !count)
		return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Route: %s", !row ? "row is NULL: pass the row to route" : !targets ? "targets is NULL: pass room for a number of each target" : "count is NULL: pass where it may go");
	struct dpi_flow *f = dpi_flow_get(flow);
	if (!f) return dpi_flow_error(flow);
	int error = route(f, row, size, targets, count);
	dpi_flow_unref(f);
	return error;
}
