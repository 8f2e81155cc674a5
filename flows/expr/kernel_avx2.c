/* SPDX-License-Identifier: Apache-2.0
 * kernel_avx2.c: the loops for AVX2. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "kernel.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,popcnt")
#pragma GCC optimize("O3")
#endif

static inline uint64_t pack(const uint8_t *flag)
{
	uint32_t low = (uint32_t)_mm256_movemask_epi8(_mm256_loadu_si256((const __m256i *)flag));
	uint32_t high = (uint32_t)_mm256_movemask_epi8(_mm256_loadu_si256((const __m256i *)(flag + 32)));
	return low | (uint64_t)high << 32;
}

#define PACK(flag) pack(flag)
#define KERNELS dpi_kernels_avx2
#define KERNELS_NAME "avx2"
extern const struct dpi_kernels dpi_kernels_avx2;
#include "kernel_loops.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
typedef int dpi_no_avx2;
#endif
