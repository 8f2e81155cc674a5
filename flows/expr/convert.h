/* SPDX-License-Identifier: Apache-2.0
 * convert.h: values from text and to text, and UTF-8. Blanks around a value are skipped. */
#ifndef DPI_EXPR_CONVERT_H
#define DPI_EXPR_CONVERT_H

#include "type.h"

/* False: the text is no such value, or its value does not fit. */
bool dpi_parse_bool(struct dpi_text t, bool *out);			 /* true, false, t, f, 1, 0, in whatever case */
bool dpi_parse_integer(struct dpi_text t, bool is_signed, int64_t *out); /* out: the bits of a uint64_t when not signed */
bool dpi_parse_decimal(struct dpi_text t, int precision, int scale, dpi_i128 *out); /* rounded to scale digits */
bool dpi_parse_real(struct dpi_text t, double *out);
bool dpi_parse_date(struct dpi_text t, int32_t *days); /* [-]Y…-MM-DD, four to seven digits of a year */

#define DPI_PRINT_MAX 48
/* At most DPI_PRINT_MAX bytes; how many. */
size_t dpi_print_decimal(dpi_i128 value, int scale, char *text);
size_t dpi_print_real(double value, bool is_float, char *text); /* fewest digits that read back the same */
size_t dpi_print_date(int32_t days, char *text);

size_t dpi_utf8_valid(const uint8_t *p, size_t n); /* bytes before the first that is wrong */
static inline bool dpi_utf8_starts(uint8_t byte)
{
	return (byte & 0xc0) != 0x80;
}
static inline size_t dpi_utf8_count(struct dpi_text t)
{
	size_t n = 0;
	for (size_t i = 0; i < t.size; i++) n += dpi_utf8_starts(t.at[i]);
	return n;
}

#endif
