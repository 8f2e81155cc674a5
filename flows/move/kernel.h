/* SPDX-License-Identifier: Apache-2.0
 * kernel.h: the loops that come in several instruction sets: one table each, chosen once by what the processor has. All of
 * them give the same bits as the scalar ones. */
#ifndef DPI_MOVE_KERNEL_H
#define DPI_MOVE_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define DPI_MOVE_X86 1
#endif

#define DPI_SEARCH_LEVELS 12 /* 2^12 is DPI_PARTS_MAX */
#define DPI_SEARCH_FEW 5     /* levels of which all nodes lie in a few vectors */

/* Ascending bounds, at most 2^levels - 1, to search among. */
struct dpi_search {
	uint32_t bounds;
	unsigned levels;
	/* Node k has children 2k and 2k + 1; the bounds that are missing are the largest number. */
	int64_t tree[(size_t)1 << DPI_SEARCH_LEVELS];
	/* Few levels: each one's nodes by the way to them, the first step being its lowest bit, so that a step is one addition;
	 * and the part at the end of each way. */
	int64_t node[DPI_SEARCH_FEW][1 << (DPI_SEARCH_FEW - 1)];
	uint16_t part[1 << DPI_SEARCH_FEW];
};
void dpi_search_make(struct dpi_search *s, const int64_t *bound, uint32_t bounds);

struct dpi_move_kernels {
	const char *name;
	/* hash[i] = mix(hash[i] ^ word[i]) */
	void (*mix)(uint64_t *hash, const uint64_t *word, size_t count);
	/* the part of a key of one word */
	void (*mix_part)(uint16_t *part, const uint64_t *word, uint64_t seed, uint32_t parts, size_t count);
	/* part[i] = upper half of hash[i] * parts >> 32 */
	void (*part)(uint16_t *part, const uint64_t *hash, uint32_t parts, size_t count);
	/* word[i] = word[i] << bits | the lowest bits of more[i]; bits: 1 … 63 */
	void (*append)(uint64_t *word, const uint64_t *more, unsigned bits, size_t count);
	/* part[i] = word[i] >> shift & mask */
	void (*radix)(uint16_t *part, const uint64_t *word, unsigned shift, uint32_t mask, size_t count);
	/* part[i] = how many of the bounds are <= word[i], as signed */
	void (*range)(uint16_t *part, const uint64_t *word, const struct dpi_search *s, size_t count);
	/* word[i] = the 8 bytes at from + i * stride */
	void (*load8)(uint64_t *word, const void *from, size_t stride, size_t count);
	/* hash[i] = CRC32C of the 8 bytes of word[i], in the upper half */
	void (*crc8)(uint64_t *hash, const uint64_t *word, size_t count);
	uint32_t (*crc32c)(uint32_t crc, const void *bytes, size_t size);
	/* Values of 4 or 8 bytes whose bit is set, one behind another; count is a multiple of 64. Returns how many. */
	size_t (*compress4)(void *to, const void *from, const uint8_t *bits, size_t count);
	size_t (*compress8)(void *to, const void *from, const uint8_t *bits, size_t count);
	/* Copy past the caches; to and size are multiples of 64. fence: once at the end, so that other cores see it in
	 * order. */
	void (*stream)(void *to, const void *from, size_t size);
	void (*fence)(void);
};

extern const struct dpi_move_kernels dpi_move_kernels_scalar __attribute__((visibility("hidden")));
/* The best this machine has, or the one forced. */
const struct dpi_move_kernels *dpi_move_kernels(void);
/* Number which of those this machine can run, 0 being scalar; NULL beyond the last. For tests. */
const struct dpi_move_kernels *dpi_move_kernels_number(int which);
/* Use this one from now on; NULL: the best again. For tests and benchmarks. */
void dpi_move_kernels_force(const struct dpi_move_kernels *k);

#endif
