/* SPDX-License-Identifier: Apache-2.0
 * sketch.h: what is known of many values in little memory: how many distinct ones, which may be there, which come most
 * often, the largest. All but the last take the hash of flows/move/hash.h, of which they use the bits that do not choose
 * a part. What is saved is little endian and versioned; loading checks all of it. One thread at a time uses one. */
#ifndef DPI_FLOWS_SKETCH_H
#define DPI_FLOWS_SKETCH_H

#include <dpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------------------------- how many distinct: HyperLogLog */

#define DPI_HLL_LEAST 4
#define DPI_HLL_MOST 16

/* 2^precision registers of a byte; standard error 1.04 / sqrt(2^precision). */
struct dpi_hll {
	unsigned precision;
	uint8_t rank[]; /* 0: nothing yet; else 1 + trailing zero bits of the hash above the register's number */
};

int dpi_hll_new(unsigned precision, struct dpi_hll **h); /* DPI_ERR_ARGUMENT, DPI_ERR_MEMORY */
void dpi_hll_free(struct dpi_hll *h);
static inline void dpi_hll_add(struct dpi_hll *h, uint64_t hash)
{
	uint64_t rest = hash >> h->precision | UINT64_C(1) << (64 - h->precision);
	uint8_t *r = h->rank + (hash & ((UINT64_C(1) << h->precision) - 1)), rank = (uint8_t)(1 + __builtin_ctzll(rest));
	if (rank > *r) *r = rank;
}
void dpi_hll_add_batch(struct dpi_hll *h, const uint64_t *hash, size_t count);
int dpi_hll_merge(struct dpi_hll *to, const struct dpi_hll *from); /* DPI_ERR_ARGUMENT: another precision */
double dpi_hll_estimate(const struct dpi_hll *h);
size_t dpi_hll_size(const struct dpi_hll *h); /* bytes when saved */
void dpi_hll_save(const struct dpi_hll *h, void *to);
int dpi_hll_load(const void *from, size_t size, struct dpi_hll **h); /* DPI_ERR_CORRUPT, DPI_ERR_MEMORY */

/* -------------------------------------------------------------------------------------------- may be there: Bloom */

/* Split blocks: a hash sets one bit in each of the eight words of one block of 32 bytes. */
struct dpi_bloom {
	uint32_t blocks;
	uint32_t (*block)[8]; /* 32-byte aligned */
};

/* For count different hashes with at most rate (1e-6 … 0.5) false answers; limit: bytes. DPI_ERR_LIMIT: it needs more. */
int dpi_bloom_new(uint64_t count, double rate, size_t limit, struct dpi_bloom **b);
void dpi_bloom_free(struct dpi_bloom *b);
void dpi_bloom_insert(struct dpi_bloom *b, uint64_t hash);
bool dpi_bloom_may_have(const struct dpi_bloom *b, uint64_t hash);
void dpi_bloom_insert_batch(struct dpi_bloom *b, const uint64_t *hash, size_t count);
/* Bit i of bits: hash[i] may be there. bits: (count + 7) / 8 bytes. Returns how many. */
size_t dpi_bloom_probe(const struct dpi_bloom *b, const uint64_t *hash, size_t count, uint8_t *bits);
int dpi_bloom_merge(struct dpi_bloom *to, const struct dpi_bloom *from); /* DPI_ERR_ARGUMENT: another size */
size_t dpi_bloom_size(const struct dpi_bloom *b);
uint64_t dpi_bloom_bytes(uint32_t blocks); /* the size of one of so many blocks */
void dpi_bloom_save(const struct dpi_bloom *b, void *to);
/* DPI_ERR_CORRUPT, DPI_ERR_LIMIT, DPI_ERR_MEMORY */
int dpi_bloom_load(const void *from, size_t size, size_t limit, struct dpi_bloom **b);

/* ----------------------------------------------------------------------------------- comes most often: Space-Saving */

/* The count of a key lies between count - error and count. Any key that came more often than total / capacity is there. */
struct dpi_heavy_entry {
	uint64_t key, count, error;
	uint32_t id; /* its place among capacity ones, as long as the key is there */
};
struct dpi_heavy;

int dpi_heavy_new(uint32_t capacity, struct dpi_heavy **h); /* 1 … 2^20 keys */
void dpi_heavy_free(struct dpi_heavy *h);
struct dpi_heavy_entry dpi_heavy_add(struct dpi_heavy *h, uint64_t key, uint64_t weight); /* weight from 1; what is known of the key now */
uint64_t dpi_heavy_total(const struct dpi_heavy *h);
int dpi_heavy_merge(struct dpi_heavy *to, const struct dpi_heavy *from); /* DPI_ERR_ARGUMENT: another capacity */
/* The keys with the largest counts, descending; returns how many, at most max. */
size_t dpi_heavy_top(const struct dpi_heavy *h, struct dpi_heavy_entry *top, size_t max);
size_t dpi_heavy_size(const struct dpi_heavy *h);
void dpi_heavy_save(const struct dpi_heavy *h, void *to);
int dpi_heavy_load(const void *from, size_t size, uint32_t limit, struct dpi_heavy **h); /* limit: keys */

/* ----------------------------------------------------------------------------------------------- the largest: top k */

/* The k largest by an order word, with payload bytes each; of equal words those that came first. Lies in one piece of the
 * caller's memory, 8-byte aligned, so that it can be a state of a reduction and travel as it is. */
struct dpi_topk {
	uint32_t k, payload, used, reserved;
	uint64_t sequence; /* of the next one added */
};

size_t dpi_topk_size(uint32_t k, uint32_t payload); /* bytes of memory; 0: more than 1 GiB */
void dpi_topk_init(struct dpi_topk *t, uint32_t k, uint32_t payload);
bool dpi_topk_check(const struct dpi_topk *t, size_t size, uint32_t k, uint32_t payload); /* is memory from elsewhere one? */
void dpi_topk_add(struct dpi_topk *t, int64_t order, const void *payload);
void dpi_topk_merge(struct dpi_topk *to, const struct dpi_topk *from); /* same k and payload; from's come after to's */
/* Sort descending, after which nothing is added. */
void dpi_topk_sort(struct dpi_topk *t);
int64_t dpi_topk_get(const struct dpi_topk *t, uint32_t i, const void **payload); /* i < used */

#endif
