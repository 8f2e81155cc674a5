/* SPDX-License-Identifier: Apache-2.0
 * target_sketch.c: what a target that was asked to keeps of the keys of rows that come: how many different ones, and which come
 * most often, with their text. The target's thread publishes now and then; whoever looks takes what was published. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "key.h"
#include "move/hash.h"
#include "sketch.h"
#include "target.h"

#define PRECISION 12	   /* standard error 1.6 % */
#define HEAVY_KEYS 256	   /* a key that every 256th row has is among them */
#define PUBLISH_ROWS 65536 /* the estimates are made anew after so many rows, and whenever the target waits */
#define KNOWN 4		   /* so many rows of a key came for certain, before its text is worth making where keys push each other out */

struct dpi_target_sketch {
	struct dpi_key key; /* of rows as they travel */
	struct dpi_hll *distinct;
	struct dpi_heavy *heavy;
	uint64_t unpublished;
	struct {
		uint64_t hash;
		bool made;
		char text[DPI_HEAVY_TEXT];
	} name[HEAVY_KEYS]; /* of entries, by their id */
	pthread_mutex_t lock; /* what was published */
	DPI_Heavy_Key top[DPI_HEAVY_KEYS];
	size_t tops;
};

void dpi_target_sketch_free(struct dpi_target_sketch *k)
{
	if (!k) return;
	dpi_key_end(&k->key);
	if (k->distinct) dpi_hll_free(k->distinct);
	dpi_heavy_free(k->heavy);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

int dpi_target_sketch_new(const struct dpi_definition *d, struct dpi_target_sketch **out)
{
	struct dpi_target_sketch *k = calloc(1, sizeof *k);
	if (!k) return dpi_fail(DPI_ERR_MEMORY, "no memory for a sketch");
	pthread_mutex_init(&k->lock, NULL);
	int error = dpi_key_new(d, d->wire, d->source_stages, &k->key);
	k->key.seed = dpi_hash_seed(d->salt);
	if (!error) error = dpi_hll_new(PRECISION, &k->distinct);
	if (!error) error = dpi_heavy_new(HEAVY_KEYS, &k->heavy);
	if (error) dpi_target_sketch_free(k);
	else *out = k;
	return error;
}

/* ---------------------------------------------------------------------------------------------------------- published */

static void publish_keys(struct dpi_target_sketch *k, const struct dpi_heavy_entry *top, size_t count)
{
	pthread_mutex_lock(&k->lock);
	k->tops = 0;
	for (size_t i = 0; i < count; i++) {
		if (k->name[top[i].id].hash != top[i].key || !k->name[top[i].id].made) continue; /* it has pushed another one out just now */
		DPI_Heavy_Key *to = &k->top[k->tops++];
		*to = (DPI_Heavy_Key){ .rows = top[i].count, .error = top[i].error, .hash = top[i].key, .total = dpi_heavy_total(k->heavy) };
		memcpy(to->key, k->name[top[i].id].text, sizeof to->key);
	}
	pthread_mutex_unlock(&k->lock);
}

void dpi_target_sketch_publish(struct dpi_target *t)
{
	struct dpi_target_sketch *k = t->sketch;
	struct dpi_heavy_entry top[DPI_HEAVY_KEYS] = { { 0 } };
	if (!k->unpublished) return;
	k->unpublished = 0;
	size_t n = dpi_heavy_top(k->heavy, top, DPI_HEAVY_KEYS);
	publish_keys(k, top, n);
	__atomic_store_n(&t->stats.distinct, (uint64_t)(dpi_hll_estimate(k->distinct) + 0.5), __ATOMIC_RELAXED);
	__atomic_store_n(&t->stats.heavy_rows, top->count, __ATOMIC_RELAXED);
	__atomic_store_n(&t->stats.heavy_hash, top->key, __ATOMIC_RELAXED);
}

size_t dpi_target_heavy(struct dpi_target *t, DPI_Heavy_Key *keys)
{
	struct dpi_target_sketch *k = t->sketch;
	if (!k) return 0;
	pthread_mutex_lock(&k->lock);
	size_t n = k->tops;
	memcpy(keys, k->top, n * sizeof *keys);
	pthread_mutex_unlock(&k->lock);
	return n;
}

/* ------------------------------------------------------------------------------------------------------------ counted */

/* A key that came. Where its text goes, which is to be made now; else NULL. */
static char *count(struct dpi_target_sketch *k, uint64_t hash)
{
	dpi_hll_add(k->distinct, hash);
	struct dpi_heavy_entry e = dpi_heavy_add(k->heavy, hash, 1);
	k->unpublished++;
	if (k->name[e.id].hash == hash && k->name[e.id].made) return NULL;
	k->name[e.id].hash = hash;
	k->name[e.id].made = !e.error || e.count - e.error >= KNOWN;
	return k->name[e.id].made ? k->name[e.id].text : NULL;
}

static void add_rows(struct dpi_target_sketch *k, const uint8_t *rows, uint32_t size, size_t rest)
{
	uint64_t hash[DPI_KEY_RUN];
	uint8_t whole[DPI_KEY_RUN / 8];
	for (size_t n; rest; rest -= n, rows += n * size) {
		n = rest < DPI_KEY_RUN ? rest : DPI_KEY_RUN;
		dpi_key_rows(&k->key, rows, size, n, hash, whole);
		for (size_t i = 0; i < n; i++) {
			if (k->key.group.call && !dpi_bit(whole, i)) continue;
			char *text = count(k, hash[i]);
			if (text) dpi_key_text(&k->key, rows + i * size, size, text, DPI_HEAVY_TEXT);
		}
	}
}

static void add_row(struct dpi_target_sketch *k, const DPI_Record *row)
{
	uint64_t hash;
	bool whole;
	if (dpi_key_row(&k->key, row->data, (uint32_t)row->size, &hash, &whole)) return;
	char *text = count(k, hash);
	if (text) dpi_key_text(&k->key, row->data, (uint32_t)row->size, text, DPI_HEAVY_TEXT);
}

void dpi_target_sketch_add(struct dpi_target *t, const struct dpi_piece *piece)
{
	if (t->wire_stride) {
		add_rows(t->sketch, piece->data, t->wire_stride, (size_t)(piece->stop - piece->data) / t->wire_stride);
	} else {
		const DPI_Record *r = (const DPI_Record *)(const void *)piece->data, *end = (const DPI_Record *)(const void *)piece->stop;
		for (; r != end; r++) add_row(t->sketch, r);
	}
	if (t->sketch->unpublished >= PUBLISH_ROWS) dpi_target_sketch_publish(t);
}

void dpi_target_sketch_batch(struct dpi_target *t, const struct dpi_batch *batch, size_t first)
{
	struct dpi_target_sketch *k = t->sketch;
	uint64_t hash[DPI_KEY_RUN];
	uint8_t whole[DPI_KEY_RUN / 8];
	for (size_t n; first < batch->rows; first += n) {
		n = batch->rows - first < DPI_KEY_RUN ? batch->rows - first : DPI_KEY_RUN;
		dpi_key_batch(&k->key, batch, first, n, hash, whole);
		for (size_t i = 0; i < n; i++) {
			if (k->key.group.call && !dpi_bit(whole, i)) continue;
			char *text = count(k, hash[i]);
			if (text) dpi_key_text_batch(&k->key, batch, first + i, text, DPI_HEAVY_TEXT);
		}
	}
	if (k->unpublished >= PUBLISH_ROWS) dpi_target_sketch_publish(t);
}
