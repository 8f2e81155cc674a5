/* SPDX-License-Identifier: Apache-2.0
 * wide.h: 128-bit integers and powers of ten. */
#ifndef DPI_EXPR_WIDE_H
#define DPI_EXPR_WIDE_H

#include <stdbool.h>
#include <stdint.h>

__extension__ typedef __int128 dpi_i128;
__extension__ typedef unsigned __int128 dpi_u128;

#define DPI_I128_MAX ((dpi_i128)(~(dpi_u128)0 >> 1))
#define DPI_I128_MIN (-DPI_I128_MAX - 1)
#define DPI_DIGITS_64 18
#define DPI_DIGITS_128 38

static inline dpi_i128 dpi_pow10(unsigned n) /* n ≤ 38 */
{
	static const uint64_t power[20] = { 1u,
					    10u,
					    100u,
					    1000u,
					    10000u,
					    100000u,
					    1000000u,
					    10000000u,
					    100000000u,
					    1000000000u,
					    10000000000u,
					    100000000000u,
					    1000000000000u,
					    10000000000000u,
					    100000000000000u,
					    1000000000000000u,
					    10000000000000000u,
					    100000000000000000u,
					    1000000000000000000u,
					    10000000000000000000u };
	return n < 20 ? (dpi_i128)power[n] : (dpi_i128)power[19] * power[n - 19];
}

static inline dpi_u128 dpi_abs128(dpi_i128 a)
{
	return a < 0 ? 0 - (dpi_u128)a : (dpi_u128)a;
}

/* True: it does not fit. The compilers' own check of products is a call that not every runtime library has. */
static inline bool dpi_mul128(dpi_i128 a, dpi_i128 b, dpi_i128 *out)
{
	dpi_u128 x = dpi_abs128(a), y = dpi_abs128(b);
	bool negative = (a < 0) != (b < 0);
	uint64_t xh = (uint64_t)(x >> 64), yh = (uint64_t)(y >> 64), xl = (uint64_t)x, yl = (uint64_t)y;
	*out = (dpi_i128)((dpi_u128)a * (dpi_u128)b);
	if (xh && yh) return true;
	dpi_u128 cross = (dpi_u128)xh * yl + (dpi_u128)yh * xl; /* one of them is 0 */
	if (cross >> 64) return true;
	dpi_u128 low = (dpi_u128)xl * yl, r = low + (cross << 64);
	return r < low || r > (dpi_u128)DPI_I128_MAX + negative;
}

static inline bool dpi_add128(dpi_i128 a, dpi_i128 b, dpi_i128 *out)
{
	*out = (dpi_i128)((dpi_u128)a + (dpi_u128)b);
	return ((a ^ *out) & (b ^ *out)) < 0;
}

static inline bool dpi_sub128(dpi_i128 a, dpi_i128 b, dpi_i128 *out)
{
	*out = (dpi_i128)((dpi_u128)a - (dpi_u128)b);
	return ((a ^ b) & (a ^ *out)) < 0;
}

enum dpi_rounding { DPI_ROUND_NEAREST, DPI_ROUND_FLOOR, DPI_ROUND_CEIL }; /* nearest: halves away from zero */

/* a / 10^digits, rounded. */
static inline dpi_i128 dpi_scale_down(dpi_i128 a, unsigned digits, int how)
{
	dpi_i128 p = dpi_pow10(digits), q = a / p, r = a % p;
	if (how == DPI_ROUND_FLOOR) return q - (r < 0);
	if (how == DPI_ROUND_CEIL) return q + (r > 0);
	if (dpi_abs128(r) >= dpi_abs128(p) - dpi_abs128(r)) return a < 0 ? q - 1 : q + 1;
	return q;
}

#endif
