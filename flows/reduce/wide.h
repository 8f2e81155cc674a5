/* SPDX-License-Identifier: Apache-2.0
 * wide.h: sums of more than 64 bits where they lie in states, at any address. */
#ifndef DPI_REDUCE_WIDE_H
#define DPI_REDUCE_WIDE_H

#include <string.h>

#include "../expr/wide.h"

static inline void dpi_add_128(uint8_t *sum, dpi_u128 x)
{
	dpi_u128 v;
	memcpy(&v, sum, sizeof v);
	v += x;
	memcpy(sum, &v, sizeof v);
}

/* A third word takes what the sum's two cannot: 192 bits, in two's complement. x and high: the number to add. */
static inline void dpi_add_192(uint8_t *sum, uint8_t *carry, dpi_u128 x, int64_t high)
{
	dpi_u128 v;
	uint64_t c;
	memcpy(&v, sum, sizeof v), memcpy(&c, carry, sizeof c);
	v += x;
	c += (uint64_t)high + (v < x);
	memcpy(sum, &v, sizeof v), memcpy(carry, &c, sizeof c);
}

static inline int64_t dpi_sign_128(dpi_u128 x)
{
	return (int64_t)(x >> 64) >> 63;
}

#endif
