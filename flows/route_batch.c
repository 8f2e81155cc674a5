/* SPDX-License-Identifier: Apache-2.0
 * route_batch.c: the targets of rows that lie in columns. */
#include <string.h>

#include "route_inner.h"

void dpi_route_batch(struct dpi_route *r, const struct dpi_batch *batch, size_t first, size_t count, uint16_t *part)
{
	const uint32_t *table = r->d->dist == DPI_DIST_TABLE ? r->d->table : NULL;
	struct dpi_strided key[DPI_KEYS_MAX];
	if (r->how == DPI_ROUTE_ONE || r->how == DPI_ROUTE_ROBIN) {
		dpi_route_rows(r, NULL, 0, count, part); /* looks at none */
		return;
	}
	for (uint32_t k = 0; k < r->keys; k++) key[k] = dpi_strided_of(batch->column + r->d->key[k]);
	dpi_partition_find(r->partition, key, first, count, part);
	for (size_t i = 0; table && i < count; i++) part[i] = (uint16_t)table[part[i]];
}
