/* SPDX-License-Identifier: Apache-2.0
 * sketch_bloom.c: split-block Bloom filters (Putze, Sanders, Singler; as Parquet has them): a probe touches one half of a
 * cache line. The block comes of the hash's lower half, the bits of the upper half times eight odd numbers. */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "sketch.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define X86 1
#endif

#define MAGIC "DPIB"
#define VERSION 1
#define HEADER 16 /* magic, version and three zeros, blocks in 4 bytes, four zeros */
#define BLOCK 32

static const uint32_t odd[8] = { 0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947,
				 0x5c6bfb31 };

static int allocate(uint64_t blocks, size_t limit, struct dpi_bloom **b)
{
	if (blocks > UINT32_MAX || blocks * BLOCK > limit)
		return dpi_fail(
			DPI_ERR_LIMIT,
			"a Bloom filter of %llu blocks of %d bytes, of at most %zu: take a larger rate, or fewer values",
			(unsigned long long)blocks, BLOCK, limit);
	struct dpi_bloom *f = malloc(sizeof *f);
	if (f) f->block = aligned_alloc(BLOCK, blocks * BLOCK);
	if (!f || !f->block) {
		free(f);
		return dpi_fail(DPI_ERR_MEMORY, "no memory for a Bloom filter of %llu bytes",
				(unsigned long long)blocks * BLOCK);
	}
	f->blocks = (uint32_t)blocks;
	memset(f->block, 0, blocks * BLOCK);
	*b = f;
	return DPI_SUCCESS;
}

/* e^-x for x of 0 … 64: the series of x / 128, squared seven times. */
static double decay(double x)
{
	double y = -x / 128, term = 1, sum = 1;
	for (int i = 1; i < 16; i++) sum += term *= y / i;
	for (int i = 0; i < 7; i++) sum *= sum;
	return sum;
}

/* False answers with so many values a block on average: blocks have 0, 1, … values as Poisson says, and a word of a block
 * with n has each bit set with 1 - (31/32)^n. */
static double false_rate(double mean)
{
	double chance = decay(mean), rate = 0, clear = 1;
	for (int n = 0; n < 400; n++) {
		double set = 1 - clear, all = set * set;
		all *= all;
		rate += chance * all * all;
		chance *= mean / (n + 1);
		clear *= 31.0 / 32;
	}
	return rate;
}

int dpi_bloom_new(uint64_t count, double rate, size_t limit, struct dpi_bloom **b)
{
	double low = 0, high = 40; /* values a block: false_rate ascends, and is above a half at 40 */
	if (!(rate >= 1e-6 && rate <= 0.5))
		return dpi_fail(DPI_ERR_ARGUMENT, "a rate of %g false answers: there are 1e-6 to 0.5", rate);
	for (int i = 0; i < 40; i++) {
		double middle = (low + high) / 2;
		if (false_rate(middle) > rate) high = middle;
		else low = middle;
	}
	double blocks = (double)count / low + 1;
	return allocate(blocks < 1e18 ? (uint64_t)blocks : UINT64_MAX / BLOCK, limit, b);
}

void dpi_bloom_free(struct dpi_bloom *b)
{
	if (b) free(b->block);
	free(b);
}

static inline uint32_t place(const struct dpi_bloom *b, uint64_t hash)
{
	return (uint32_t)((hash & UINT32_MAX) * b->blocks >> 32);
}

static inline void bits_of(uint64_t hash, uint32_t bit[8])
{
	for (int i = 0; i < 8; i++) bit[i] = (uint32_t)1 << ((uint32_t)(hash >> 32) * odd[i] >> 27);
}

void dpi_bloom_insert(struct dpi_bloom *b, uint64_t hash)
{
	uint32_t bit[8], *block = b->block[place(b, hash)];
	bits_of(hash, bit);
	for (int i = 0; i < 8; i++) block[i] |= bit[i];
}

bool dpi_bloom_may_have(const struct dpi_bloom *b, uint64_t hash)
{
	uint32_t bit[8], missing = 0;
	const uint32_t *block = b->block[place(b, hash)];
	bits_of(hash, bit);
	for (int i = 0; i < 8; i++) missing |= bit[i] & ~block[i];
	return !missing;
}

#ifdef X86
__attribute__((target("avx2"))) static inline __m256i bits_avx2(uint64_t hash)
{
	__m256i h = _mm256_set1_epi32((int)(hash >> 32)), o = _mm256_loadu_si256((const __m256i *)odd);
	return _mm256_sllv_epi32(_mm256_set1_epi32(1), _mm256_srli_epi32(_mm256_mullo_epi32(h, o), 27));
}

__attribute__((target("avx2"))) static void insert_avx2(struct dpi_bloom *b, const uint64_t *hash, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		__m256i *block = (__m256i *)(void *)b->block[place(b, hash[i])];
		_mm256_store_si256(block, _mm256_or_si256(_mm256_load_si256(block), bits_avx2(hash[i])));
	}
}

__attribute__((target("avx2"))) static uint64_t probe_avx2(const struct dpi_bloom *b, const uint64_t *hash, size_t count)
{
	uint64_t found = 0;
	for (size_t i = 0; i < count; i++) {
		__m256i block = _mm256_load_si256((const __m256i *)(const void *)b->block[place(b, hash[i])]);
		found |= (uint64_t)_mm256_testc_si256(block, bits_avx2(hash[i])) << i;
	}
	return found;
}

static bool have_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}
#endif

void dpi_bloom_insert_batch(struct dpi_bloom *b, const uint64_t *hash, size_t count)
{
#ifdef X86
	if (have_avx2()) {
		insert_avx2(b, hash, count);
		return;
	}
#endif
	for (size_t i = 0; i < count; i++) dpi_bloom_insert(b, hash[i]);
}

/* Up to 64 at once. */
static uint64_t probe(const struct dpi_bloom *b, const uint64_t *hash, size_t count)
{
	uint64_t found = 0;
	for (size_t i = 0; i < count; i++) found |= (uint64_t)dpi_bloom_may_have(b, hash[i]) << i;
	return found;
}

size_t dpi_bloom_probe(const struct dpi_bloom *b, const uint64_t *hash, size_t count, uint8_t *bits)
{
	uint64_t (*run)(const struct dpi_bloom *, const uint64_t *, size_t) = probe;
	size_t total = 0;
#ifdef X86
	if (have_avx2()) run = probe_avx2;
#endif
	for (size_t first = 0, n; first < count; first += n) {
		n = count - first < 64 ? count - first : 64;
		uint64_t found = run(b, hash + first, n);
		total += (size_t)__builtin_popcountll(found);
		for (size_t i = 0; i < (n + 7) / 8; i++) bits[first / 8 + i] = (uint8_t)(found >> 8 * i);
	}
	return total;
}

int dpi_bloom_merge(struct dpi_bloom *to, const struct dpi_bloom *from)
{
	if (to->blocks != from->blocks)
		return dpi_fail(DPI_ERR_ARGUMENT, "Bloom filters of %u and %u blocks do not merge", to->blocks,
				from->blocks);
	for (size_t i = 0; i < (size_t)to->blocks * 8; i++) to->block[i / 8][i % 8] |= from->block[i / 8][i % 8];
	return DPI_SUCCESS;
}

uint64_t dpi_bloom_bytes(uint32_t blocks)
{
	return HEADER + (uint64_t)blocks * BLOCK;
}

size_t dpi_bloom_size(const struct dpi_bloom *b)
{
	return dpi_bloom_bytes(b->blocks);
}

static uint32_t swapped(uint32_t v) /* little endian and back */
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return __builtin_bswap32(v);
#else
	return v;
#endif
}

void dpi_bloom_save(const struct dpi_bloom *b, void *to)
{
	uint8_t header[HEADER] = { MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], VERSION };
	uint8_t *p = to;
	for (int i = 0; i < 4; i++) header[8 + i] = (uint8_t)(b->blocks >> 8 * i);
	memcpy(p, header, HEADER);
	for (size_t i = 0; i < (size_t)b->blocks * 8; i++) {
		uint32_t word = swapped(b->block[i / 8][i % 8]);
		memcpy(p + HEADER + 4 * i, &word, 4);
	}
}

int dpi_bloom_load(const void *from, size_t size, size_t limit, struct dpi_bloom **b)
{
	const uint8_t *p = from;
	static const uint8_t zero[4];
	uint32_t blocks = 0;
	for (int i = 0; size >= HEADER && i < 4; i++) blocks |= (uint32_t)p[8 + i] << 8 * i;
	if (size < HEADER || memcmp(p, MAGIC, 4) || p[4] != VERSION || memcmp(p + 5, zero, 3) || memcmp(p + 12, zero, 4) ||
	    !blocks ||
	    size != HEADER + (uint64_t)blocks * BLOCK)
		return dpi_fail(DPI_ERR_CORRUPT, "%zu bytes are no Bloom filter of version %d", size, VERSION);
	int error = allocate(blocks, limit, b);
	for (size_t i = 0; !error && i < (size_t)blocks * 8; i++) {
		uint32_t word;
		memcpy(&word, p + HEADER + 4 * i, 4);
		(*b)->block[i / 8][i % 8] = swapped(word);
	}
	return error;
}
