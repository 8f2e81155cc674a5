/* SPDX-License-Identifier: Apache-2.0
 * column_bits.h: runs of bits, as Arrow keeps validity and booleans: the least significant bit of a byte first. */
#ifndef DPI_FLOWS_COLUMN_BITS_H
#define DPI_FLOWS_COLUMN_BITS_H

#include "vector.h"

static inline size_t dpi_bits_bytes(size_t bits)
{
	return bits / 8 + (bits % 8 != 0);
}

/* Append bit i. Bits come in order, so that bytes need not be zero before. */
static inline void dpi_bits_put(uint8_t *bits, size_t i, bool value)
{
	if (i % 8) bits[i / 8] |= (uint8_t)(value << i % 8);
	else bits[i / 8] = value;
}

/* Append n ones, or n bits of from, beginning at its bit first. Neither touches a byte that holds none of them. */
static inline void dpi_bits_ones(uint8_t *bits, size_t at, size_t n)
{
	for (; n && at % 8; n--) dpi_bits_put(bits, at++, true);
	for (; n >= 8; n -= 8, at += 8) bits[at / 8] = 0xff;
	for (; n; n--) dpi_bits_put(bits, at++, true);
}

static inline void dpi_bits_copy(uint8_t *bits, size_t at, const uint8_t *from, size_t first, size_t n)
{
	for (; n && at % 8; n--) dpi_bits_put(bits, at++, dpi_bit(from, first++));
	for (; n >= 8; n -= 8, at += 8, first += 8) {
		unsigned low = first % 8;
		unsigned byte = from[first / 8] >> low;
		if (low) byte |= (unsigned)from[first / 8 + 1] << (8 - low);
		bits[at / 8] = (uint8_t)byte;
	}
	for (; n; n--) dpi_bits_put(bits, at++, dpi_bit(from, first++));
}

/* How many of n bits, beginning at bit first, are set. */
static inline size_t dpi_bits_count(const uint8_t *bits, size_t first, size_t n)
{
	size_t set = 0;
	for (; n && first % 8; n--) set += dpi_bit(bits, first++);
	for (; n >= 8; n -= 8, first += 8) set += (size_t)__builtin_popcount(bits[first / 8]);
	for (; n; n--) set += dpi_bit(bits, first++);
	return set;
}

#endif
