/* SPDX-License-Identifier: Apache-2.0
 * kernel_plain.c: the loops as the compiler's own flags have them, and the choice among all. */
#include <string.h>

#include "kernel.h"

/* 64 bytes that are 0 or 255 as bits. */
static uint64_t pack(const uint8_t *flag)
{
	uint64_t word = 0;
	for (int k = 0; k < 8; k++) {
		uint64_t eight;
		memcpy(&eight, flag + 8 * k, sizeof eight);
		word |= ((eight & 0x0101010101010101u) * 0x0102040810204080u >> 56) << 8 * k;
	}
	return word;
}

#define PACK(flag) pack(flag)
#define KERNELS dpi_kernels_plain
#define KERNELS_NAME "plain"
extern const struct dpi_kernels dpi_kernels_plain, dpi_kernels_avx2, dpi_kernels_avx512;
#include "kernel_loops.h"

const struct dpi_kernels *dpi_kernels_level(int level)
{
	if (level == 0) return &dpi_kernels_plain;
#if defined(__x86_64__)
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("popcnt")) return NULL;
	if (level == 1 && __builtin_cpu_supports("avx2")) return &dpi_kernels_avx2;
	if (level == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
		return &dpi_kernels_avx512;
#endif
	return NULL;
}

const struct dpi_kernels *dpi_kernels(void)
{
	for (int level = 2; level > 0; level--)
		if (dpi_kernels_level(level)) return dpi_kernels_level(level);
	return &dpi_kernels_plain;
}
