/* SPDX-License-Identifier: Apache-2.0
 * kernel_x86.h: the kernels of x86-64 processors. */
#ifndef DPI_MOVE_KERNEL_X86_H
#define DPI_MOVE_KERNEL_X86_H

#include "kernel.h"

#ifdef DPI_MOVE_X86
extern const struct dpi_move_kernels dpi_move_kernels_avx2 __attribute__((visibility("hidden")));
extern const struct dpi_move_kernels dpi_move_kernels_avx512 __attribute__((visibility("hidden")));

/* Those that both use. */
uint32_t dpi_sse42_crc32c(uint32_t crc, const void *bytes, size_t size);
void dpi_sse42_crc8(uint64_t *hash, const uint64_t *word, size_t count);
void dpi_sse2_fence(void);
#endif

#endif
