/* SPDX-License-Identifier: Apache-2.0
 * kernel.h: loops over the values of registers, compiled for several instruction sets. They do the same, bit for bit.
 * Pointers are aligned to the values' width. Rows of bits are words, least significant bit first; of the last word, bits
 * behind the last row are of any value. */
#ifndef DPI_EXPR_KERNEL_H
#define DPI_EXPR_KERNEL_H

#include "program.h"

typedef void dpi_compare_loop(const void *a, const void *b, size_t rows, uint64_t *out);
/* What is not 0 says that some row may have overflowed; which, the caller finds out. */
typedef uint64_t dpi_arithmetic_loop(const void *a, const void *b, size_t rows, void *out);
typedef uint64_t dpi_convert_loop(const void *a, size_t rows, void *out);
typedef void dpi_select_loop(const uint64_t *which, const void *a, const void *b, size_t rows, void *out);

enum { DPI_LOOP_EQ, DPI_LOOP_LT, DPI_LOOP_LE, DPI_LOOP_COMPARES };
enum { DPI_LOOP_I64, DPI_LOOP_U64, DPI_LOOP_F64, DPI_LOOP_NUMBERS };

struct dpi_kernels {
	const char *name;
	/* a EQ, LT, LE b; NULL for kinds without loops: bool, 128 bits, text */
	dpi_compare_loop *compare[DPI_LOOP_COMPARES][KIND_COUNT];
	/* the same with b[0] for every b, and the same with the operands swapped: b[0] EQ, LT, LE a */
	dpi_compare_loop *compare_one[DPI_LOOP_COMPARES][KIND_COUNT];
	dpi_compare_loop *compare_one_swapped[DPI_LOOP_COMPARES][KIND_COUNT];
	dpi_arithmetic_loop *add[DPI_LOOP_NUMBERS], *sub[DPI_LOOP_NUMBERS], *mul[DPI_LOOP_NUMBERS],
		*div;			     /* div: of doubles */
	dpi_convert_loop *widen[KIND_COUNT]; /* to I64; of I64 to F64, of F32 to F64 */
	dpi_convert_loop *beyond;	     /* I64 of more than 18 digits; out is not used */
	dpi_select_loop *select[5];	     /* values of 1 << i bytes */
	size_t (*count)(const uint64_t *bits, size_t words);
};

/* The best for this processor. */
const struct dpi_kernels *dpi_kernels(void);
/* 0: plain C; then better ones; NULL: not for this processor or build. */
const struct dpi_kernels *dpi_kernels_level(int level);

#endif
