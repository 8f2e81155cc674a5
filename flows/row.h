/* SPDX-License-Identifier: Apache-2.0
 * row.h: one tuple in memory (dpi.h says how it lies there). Rows from outside may be changed by a peer while they are read:
 * each place of a variable value is copied once and bounded wherever it is used. */
#ifndef DPI_FLOWS_ROW_H
#define DPI_FLOWS_ROW_H

#include <string.h>

#include "schema.h"

static inline bool dpi_row_null(const void *row, const struct dpi_column *c)
{
	return c->null_mask && ((const uint8_t *)row)[c->null_at] & c->null_mask;
}

/* The bytes of a variable value that is not NULL; false: they do not lie within the row. */
static inline bool dpi_row_bytes(const struct dpi_schema *s, const void *row, uint32_t size, const struct dpi_column *c,
				 const uint8_t **data, uint32_t *bytes)
{
	uint32_t place[2];
	memcpy(place, (const uint8_t *)row + c->offset, sizeof place);
	if (place[0] < s->row_size || place[0] > size || place[1] > size - place[0]) return false;
	*data = (const uint8_t *)row + place[0];
	*bytes = place[1];
	return true;
}

/* Copy a row; up to 64 bytes without a call, by words that may overlap. */
static inline void dpi_row_copy(void *to, const void *from, size_t size)
{
	typedef struct { uint64_t half[2]; } word;
	uint8_t *t = to;
	const uint8_t *f = from;
	if (size - 8 <= 8) {
		uint64_t a, b;
		memcpy(&a, f, 8), memcpy(&b, f + size - 8, 8);
		memcpy(t, &a, 8), memcpy(t + size - 8, &b, 8);
	} else if (size - 16 <= 48) {
		word a, b, c, d;
		size_t next = size > 32 ? 16 : 0; /* up to 32 bytes: a and b, twice */
		memcpy(&a, f, 16), memcpy(&b, f + size - 16, 16), memcpy(&c, f + next, 16),
			memcpy(&d, f + size - 16 - next, 16);
		memcpy(t, &a, 16), memcpy(t + size - 16, &b, 16), memcpy(t + next, &c, 16),
			memcpy(t + size - 16 - next, &d, 16);
	} else {
		memcpy(t, f, size);
	}
}

/* Is it a row? DPI_ERR_CORRUPT with a sentence if not. Where any bytes are one, only their number is looked at. */
int dpi_row_check_columns(const struct dpi_schema *s, const void *row, size_t size, bool utf8);
static inline int dpi_row_check(const struct dpi_schema *s, const void *row, size_t size, bool utf8)
{
	if (__builtin_expect(s->plain && size == s->row_size, 1)) return DPI_SUCCESS;
	return dpi_row_check_columns(s, row, size, utf8);
}

/* As the public calls. */
int dpi_row_pack(const struct dpi_schema *s, const DPI_Value *values, void *row, size_t room, size_t *size);
int dpi_row_value(const struct dpi_schema *s, const void *row, size_t size, size_t column, DPI_Value *value);

#endif
