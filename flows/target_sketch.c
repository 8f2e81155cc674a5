/* SPDX-License-Identifier: Apache-2.0
 * target_sketch.c: what a target that was asked to keeps of its rows' keys: how many different ones, and which comes most often. */
#include <stdlib.h>

#include "sketch.h"
#include "target.h"

#define PRECISION 12	   /* standard error 1.6 % */
#define HEAVY_KEYS 256	   /* a key that every 256th row has is among them */
#define PUBLISH_ROWS 65536 /* the estimates are made anew after so many rows, and whenever the target waits */

struct dpi_target_sketch {
	struct dpi_route *route;
	struct dpi_hll *distinct;
	struct dpi_heavy *heavy;
	uint64_t unpublished;
};

void dpi_target_sketch_free(struct dpi_target_sketch *k)
{
	if (!k) return;
	dpi_route_free(k->route);
	if (k->distinct) dpi_hll_free(k->distinct);
	dpi_heavy_free(k->heavy);
	free(k);
}

int dpi_target_sketch_new(const struct dpi_definition *d, struct dpi_target_sketch **out)
{
	if (!d->key_count) return dpi_fail(DPI_ERR_UNSUPPORTED, "attr->sketch: the flow has no key columns");
	struct dpi_target_sketch *k = calloc(1, sizeof *k);
	if (!k) return dpi_fail(DPI_ERR_MEMORY, "no memory for a sketch");
	int error = dpi_route_new(d, 0, &k->route);
	if (!error) error = dpi_hll_new(PRECISION, &k->distinct);
	if (!error) error = dpi_heavy_new(HEAVY_KEYS, &k->heavy);
	if (error) dpi_target_sketch_free(k);
	else *out = k;
	return error;
}

void dpi_target_sketch_publish(struct dpi_target *t)
{
	struct dpi_target_sketch *k = t->sketch;
	struct dpi_heavy_entry top = { 0 };
	if (!k->unpublished) return;
	k->unpublished = 0;
	dpi_heavy_top(k->heavy, &top, 1);
	__atomic_store_n(&t->stats.distinct, (uint64_t)(dpi_hll_estimate(k->distinct) + 0.5), __ATOMIC_RELAXED);
	__atomic_store_n(&t->stats.heavy_rows, top.count, __ATOMIC_RELAXED);
	__atomic_store_n(&t->stats.heavy_hash, top.key, __ATOMIC_RELAXED);
}

static void add(struct dpi_target_sketch *k, const void *row, uint32_t size)
{
	uint64_t hash;
	if (dpi_route_hash(k->route, row, size, &hash)) return;
	dpi_hll_add(k->distinct, hash);
	dpi_heavy_add(k->heavy, hash, 1);
	k->unpublished++;
}

void dpi_target_sketch_add(struct dpi_target *t, const struct dpi_piece *piece)
{
	if (t->stride) {
		for (const uint8_t *row = piece->data; row != piece->stop; row += t->stride) add(t->sketch, row, t->stride);
	} else {
		const DPI_Record *r = (const DPI_Record *)(const void *)piece->data, *end = (const DPI_Record *)(const void *)piece->stop;
		for (; r != end; r++) add(t->sketch, r->data, (uint32_t)r->size);
	}
	if (t->sketch->unpublished >= PUBLISH_ROWS) dpi_target_sketch_publish(t);
}
