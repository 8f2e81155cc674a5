/* SPDX-License-Identifier: Apache-2.0
 * gather.c: rows and bits that a bit vector chooses, and strided copies. */
#include <string.h>

#include "kernel.h"
#include "move.h"

#define INLINE static inline __attribute__((always_inline))

size_t dpi_count_bits(const uint8_t *bits, size_t count)
{
	size_t n = 0;
	for (size_t i = 0; i < count; i += 64) n += (size_t)__builtin_popcountll(dpi_bits_at(bits, i, count));
	return n;
}

/* Runs of 64 set bits are one copy. */
INLINE size_t gather(const uint8_t *row, size_t stride, size_t width, size_t first, size_t count, const uint8_t *bits,
		     uint8_t *to)
{
	uint8_t *start = to;
	for (size_t i = first; i < count; i += 64) {
		uint64_t mask = dpi_bits_at(bits, i, count);
		if (stride == width && !~mask) {
			memcpy(to, row + i * stride, 64 * width);
			to += 64 * width;
			continue;
		}
		for (; mask; mask &= mask - 1, to += width)
			memcpy(to, row + (i + (size_t)__builtin_ctzll(mask)) * stride, width);
	}
	return width ? (size_t)(to - start) / width : dpi_count_bits(bits, count);
}

size_t dpi_gather(const void *rows, size_t stride, size_t width, size_t count, const uint8_t *bits, void *to)
{
	size_t done = 0, whole = count & ~(size_t)63;
	if (stride == width && (width == 4 || width == 8) && whole) {
		const struct dpi_move_kernels *k = dpi_move_kernels();
		done = (width == 4 ? k->compress4 : k->compress8)(to, rows, bits, whole);
		return done + gather(rows, stride, width, whole, count, bits, (uint8_t *)to + done * width);
	}
	switch (width) {
	case 1: return gather(rows, stride, 1, 0, count, bits, to);
	case 2: return gather(rows, stride, 2, 0, count, bits, to);
	case 4: return gather(rows, stride, 4, 0, count, bits, to);
	case 8: return gather(rows, stride, 8, 0, count, bits, to);
	case 16: return gather(rows, stride, 16, 0, count, bits, to);
	case 32: return gather(rows, stride, 32, 0, count, bits, to);
	default: return gather(rows, stride, width, 0, count, bits, to);
	}
}

size_t dpi_gather_bits(const uint8_t *from, size_t count, const uint8_t *bits, uint8_t *to)
{
	size_t n = 0;
	for (size_t i = 0; i < count; i += 64) {
		uint64_t mask = dpi_bits_at(bits, i, count), value = from ? dpi_bits_at(from, i, count) : ~(uint64_t)0;
		for (; mask; mask &= mask - 1, n++) {
			uint8_t bit = (uint8_t)(1 << n % 8);
			bool set = value >> __builtin_ctzll(mask) & 1;
			to[n / 8] = (uint8_t)(set ? to[n / 8] | bit : to[n / 8] & ~bit);
		}
	}
	return n;
}

INLINE void copy(uint8_t *to, size_t to_stride, const uint8_t *from, size_t from_stride, size_t width, size_t count)
{
	for (; count--; to += to_stride, from += from_stride) memcpy(to, from, width);
}

void dpi_copy_strided(void *to, size_t to_stride, const void *from, size_t from_stride, size_t width, size_t count)
{
	if (to_stride == width && from_stride == width) {
		if (count) memcpy(to, from, width * count);
		return;
	}
	if (width == 8 && to_stride == 8) {
		uint64_t word[64]; /* the kernel stores words; the column may lie anywhere */
		for (size_t n; count; count -= n, to = (uint8_t *)to + 8 * n, from =
		     (const uint8_t *)from + n * from_stride) {
			n = count < 64 ? count : 64;
			dpi_move_kernels()->load8(word, from, from_stride, n);
			memcpy(to, word, 8 * n);
		}
		return;
	}
	switch (width) {
	case 1: copy(to, to_stride, from, from_stride, 1, count); break;
	case 2: copy(to, to_stride, from, from_stride, 2, count); break;
	case 4: copy(to, to_stride, from, from_stride, 4, count); break;
	case 8: copy(to, to_stride, from, from_stride, 8, count); break;
	case 16: copy(to, to_stride, from, from_stride, 16, count); break;
	default: copy(to, to_stride, from, from_stride, width, count);
	}
}
