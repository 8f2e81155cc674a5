/* SPDX-License-Identifier: Apache-2.0
 * bloom_target.c: a target that adds the keys of the rows it gives to a Bloom filter. */
#include <stdlib.h>

#include "bloom.h"
#include "target.h"

struct dpi_target_bloom {
	struct dpi_filter *filter;
	struct dpi_key key; /* of rows as they are given */
};

void dpi_target_bloom_end(struct dpi_target *t)
{
	struct dpi_target_bloom *b = t->bloom;
	if (!b) return;
	t->bloom = NULL;
	atomic_store_explicit(&b->filter->attached, false, memory_order_release);
	dpi_filter_unref(b->filter);
	dpi_key_end(&b->key);
	free(b);
}

/* What a source wrote was checked; a row that it has made unreadable since has no key. */
static void add_row(const struct dpi_target_bloom *b, const DPI_Record *row)
{
	uint64_t hash;
	bool whole;
	if (!dpi_key_row(&b->key, row->data, (uint32_t)row->size, &hash, &whole) && whole) dpi_bloom_insert(b->filter->bloom, hash);
}

/* Rows where a target has them: back to back, or a list. */
static void add_rows(const struct dpi_target *t, const uint8_t *at, const uint8_t *stop)
{
	uint64_t hash[DPI_KEY_RUN];
	uint8_t whole[DPI_KEY_RUN / 8];
	const struct dpi_target_bloom *b = t->bloom;
	for (size_t n; t->stride && at != stop; at += n * t->stride) {
		n = (size_t)(stop - at) / t->stride;
		n = n < DPI_KEY_RUN ? n : DPI_KEY_RUN;
		dpi_key_rows(&b->key, at, t->stride, n, hash, whole);
		dpi_filter_add(b->filter, hash, whole, n);
	}
	for (; at != stop; at += sizeof(DPI_Record)) add_row(b, (const DPI_Record *)(const void *)at);
}

static void add_batch(struct dpi_target_bloom *b, const struct dpi_batch *batch)
{
	uint64_t hash[DPI_KEY_RUN];
	uint8_t whole[DPI_KEY_RUN / 8];
	for (size_t first = 0, n; first < batch->rows; first += n) {
		n = batch->rows - first < DPI_KEY_RUN ? batch->rows - first : DPI_KEY_RUN;
		dpi_key_batch(&b->key, batch, first, n, hash, whole);
		dpi_filter_add(b->filter, hash, whole, n);
	}
}

void dpi_target_bloom_add(struct dpi_target *t, const struct dpi_piece *piece)
{
	if (piece->columns) add_batch(t->bloom, dpi_columns_batch(piece));
	else add_rows(t, piece->data, piece->stop);
}

static int set(struct dpi_target *t, struct dpi_filter *f)
{
	const struct dpi_definition *d = t->flow->definition;
	if (f && (!f->key.schema || f->parts || atomic_load(&f->whole)))
		return dpi_fail(DPI_ERR_STATE, "DPI_Set_Target_Bloom: the Bloom filter %s: nothing is added to it any more",
				!f->key.schema ? "was opened by its name" : f->parts ? "is published" : "is a source's");
	if (f && t->ended) return dpi_fail(DPI_ERR_STATE, "DPI_Set_Target_Bloom: flow '%s' has ended: no rows come to be added", t->flow->name);
	int error = f ? dpi_filter_settled(f, "DPI_Set_Target_Bloom") : DPI_SUCCESS;
	if (!error && f) error = dpi_filter_joins(f, d, t->flow->name);
	struct dpi_target_bloom *b = f && !error ? calloc(1, sizeof *b) : NULL;
	if (f && !error && !b) error = dpi_fail(DPI_ERR_MEMORY, "no memory for a target's Bloom filter");
	if (b) error = dpi_key_new(d, d->output, d->stages, &b->key);
	if (error) {
		free(b);
		return error;
	}
	dpi_target_bloom_end(t);
	if (!b) return DPI_SUCCESS;
	b->filter = dpi_filter_ref(f);
	atomic_store(&f->attached, true);
	t->bloom = b;
	add_rows(t, t->at, t->stop); /* what it has, and has still to give */
	return DPI_SUCCESS;
}

int DPI_Set_Target_Bloom(DPI_Bloom bloom, DPI_Target target)
{
	int error;
	struct dpi_target *t = dpi_target_begin(target, "DPI_Set_Target_Bloom", &error);
	if (!t) return error;
	struct dpi_filter *f = bloom ? dpi_filter_begin(bloom, "DPI_Set_Target_Bloom", &error) : NULL;
	if (!error) error = set(t, f);
	if (f) dpi_filter_leave(f);
	dpi_target_leave(t);
	return error;
}
