/* SPDX-License-Identifier: Apache-2.0
 * bloom.h: Bloom filters as programs have them: of the keys that rows of one flow have, for the sources of others. The bits
 * themselves are sketch.h's. */
#ifndef DPI_FLOWS_BLOOM_H
#define DPI_FLOWS_BLOOM_H

#include "context.h"
#include "key.h"
#include "sketch.h"

struct dpi_source;
struct dpi_target;
struct dpi_piece;

#define DPI_BLOOM_MEMORY ((uint64_t)64 << 20)
#define DPI_BLOOM_MEMORY_MOST ((uint64_t)1 << 30)

/* Keys are added by one at a time: the thread of the handle, or, while one is attached, that of a target. Whoever looks keys up
 * has a reference, and none is added then. */
struct dpi_filter {
	_Atomic uint32_t references;
	_Atomic uint32_t busy;	   /* inside a call */
	_Atomic bool attached;	   /* a target adds to it; release: it does so no more */
	_Atomic bool whole;	   /* a source looks keys up, or it came so: nothing is added any more */
	uint32_t parts;		   /* published as one of so many; 0: not yet */
	struct dpi_context *ctx;
	struct dpi_bloom *bloom;
	struct dpi_key key;	   /* of rows of the flow it was made for; no schema: it was opened by name */
	uint32_t columns;	   /* of the key */
	uint8_t type[DPI_KEYS_MAX]; /* DPI_TYPE_* */
};

struct dpi_filter *dpi_filter_ref(struct dpi_filter *f);
void dpi_filter_unref(struct dpi_filter *f);
/* A handle of a new one, whose reference it takes over, also when it fails. */
int dpi_filter_open(struct dpi_filter *f, DPI_Bloom *handle);
static inline struct dpi_filter *dpi_filter_get(DPI_Bloom handle)
{
	return dpi_handle_get(DPI_HANDLE_BLOOM, (uint64_t)(uintptr_t)handle);
}
/* Enter a call on a handle, which one thread does at a time. */
struct dpi_filter *dpi_filter_begin(DPI_Bloom handle, const char *call, int *error);
static inline void dpi_filter_leave(struct dpi_filter *f)
{
	atomic_store_explicit(&f->busy, 0, memory_order_release);
}
/* DPI_SUCCESS, if nobody adds keys now: a target that is attached would. */
int dpi_filter_settled(const struct dpi_filter *f, const char *call);
/* Can keys of these types be equal to keys of the flow's? UNSUPPORTED: the sentence names the first difference. */
int dpi_filter_joins(const struct dpi_filter *f, const struct dpi_definition *d, const char *flow);
void dpi_filter_add(struct dpi_filter *f, const uint64_t *hash, const uint8_t *whole, size_t count); /* at most DPI_KEY_RUN */

/* bloom_image.c: a filter as bytes, which say what its keys are, too. */
#define DPI_FILTER_HEAD (8 + DPI_KEYS_MAX) /* "DPIK", version, columns, two zeros; a type each, else 0; then sketch.h's */
size_t dpi_filter_bytes(const struct dpi_filter *f);
void dpi_filter_write(const struct dpi_filter *f, void *bytes);
/* Of anybody's bytes; only columns, type and bloom are set. CORRUPT VERSION LIMIT MEMORY. */
int dpi_filter_read(const void *bytes, size_t size, struct dpi_filter *f);

/* bloom_source.c: what a source has of its filter; s->bloom. */
struct dpi_source_bloom;
void dpi_source_bloom_free(struct dpi_source_bloom *b); /* NULL is allowed */
uint32_t dpi_source_bloom_run(const struct dpi_source_bloom *b); /* rows that are looked up at once, at most DPI_KEY_RUN */
/* May a row's key be there? */
int dpi_source_bloom_row(struct dpi_source_bloom *b, const void *row, uint64_t size, bool *passes);
/* Of a run of rows that do not vary, those whose key may be there: *some of them, back to back; stands until the next run. */
const uint8_t *dpi_source_bloom_rows(struct dpi_source_bloom *b, const uint8_t *rows, uint32_t size, size_t count, size_t *some);
/* How many rows of the last run have been dealt with when the first given of those that pass were pushed. */
size_t dpi_source_bloom_done(const struct dpi_source_bloom *b, size_t count, size_t given);
/* Of rows first … of a batch: bits, which stand until the next run. */
const uint8_t *dpi_source_bloom_batch(struct dpi_source_bloom *b, const struct dpi_batch *batch, size_t first, size_t count);

/* bloom_target.c: t->bloom. A piece that is given; and no more is. */
void dpi_target_bloom_add(struct dpi_target *t, const struct dpi_piece *piece);
void dpi_target_bloom_end(struct dpi_target *t); /* also where there is none */

#endif
