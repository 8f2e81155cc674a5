/* SPDX-License-Identifier: Apache-2.0
 * accumulate.h: what the loops over values and states share. */
#ifndef DPI_REDUCE_ACCUMULATE_H
#define DPI_REDUCE_ACCUMULATE_H

#include <string.h>

#include "../move/hash.h"

/* For values first … first + n of from that are not NULL: x, of type kind, and to, where column c of its entry lies, which
 * is not NULL any more. */
#define EACH_VALUE(kind, ...)                                                                          \
	do {                                                                                           \
		const uint8_t *p = (const uint8_t *)from->data + first * from->stride;                 \
		size_t stride = from->stride, at = c->offset;                                          \
		bool nulls = from->null || from->valid || c->null_mask;                                \
		if (!nulls)                                                                            \
			for (size_t i = 0; i < n; i++, p += stride) {                                  \
				kind x;                                                                \
				uint8_t *to = entry[i] + at;                                           \
				memcpy(&x, p, sizeof x);                                               \
				__VA_ARGS__;                                                           \
			}                                                                              \
		for (size_t i = nulls ? 0 : n; i < n; i++, p += stride) {                              \
			kind x;                                                                        \
			uint8_t *to = entry[i] + at;                                                   \
			if (dpi_strided_is_null(from, first + i)) continue;                            \
			if (c->null_mask) entry[i][c->null_at] &= (uint8_t)~c->null_mask;              \
			memcpy(&x, p, sizeof x);                                                       \
			__VA_ARGS__;                                                                   \
		}                                                                                      \
	} while (0)

static inline void dpi_bump(uint8_t *count, uint64_t by)
{
	uint64_t v;
	memcpy(&v, count, sizeof v);
	v += by;
	memcpy(count, &v, sizeof v);
}

/* Booleans are bits in columns, bytes in rows. */
static inline bool dpi_bool_at(const struct dpi_strided *s, size_t i)
{
	return s->stride ? ((const uint8_t *)s->data)[i * s->stride] != 0 : dpi_bit(s->data, i);
}

/* A number whose order is that of the values, for numbers and dates of at most 64 bits. */
int64_t dpi_order_word(const struct dpi_strided *s, size_t i);
DPI_Value dpi_value_at(const struct dpi_strided *s, size_t i);

#endif
