/* SPDX-License-Identifier: Apache-2.0
 * key_text.c: keys of rows as text, for people. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "expr/civil.h"
#include "expr/wide.h"
#include "key.h"
#include "move/hash.h"
#include "reduce/accumulate.h"
#include "row.h"
#include "row_batch.h"

struct text {
	char *at, *end; /* end: where the terminating zero may stand */
};

static void put(struct text *t, char c)
{
	if (t->at < t->end) *t->at++ = c;
}

static void print(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void print(struct text *t, const char *format, ...)
{
	char some[64];
	va_list args;
	va_start(args, format);
	vsnprintf(some, sizeof some, format, args);
	va_end(args);
	for (const char *c = some; *c; c++) put(t, *c);
}

/* Whole characters only: a cut one would be no UTF-8; nor is anybody's text for certain. */
static void put_text(struct text *t, const uint8_t *p, uint32_t size)
{
	for (uint32_t i = 0, n; i < size; i += n) {
		n = p[i] < 0x80 ? 1 : p[i] >= 0xf0 ? 4 : p[i] >= 0xe0 ? 3 : 2;
		if (n > size - i || n > (size_t)(t->end - t->at)) {
			t->end = t->at; /* nothing comes behind it */
			return;
		}
		if (!dpi_schema_utf8(p + i, n)) n = 1, put(t, '?');
		else if (n == 1) put(t, p[i] < 0x20 || p[i] == 0x7f ? '?' : (char)p[i]);
		else for (uint32_t k = 0; k < n; k++) put(t, (char)p[i + k]);
	}
}

static void put_decimal(struct text *t, dpi_i128 v, int scale)
{
	char digits[48];
	int n = 0;
	dpi_u128 m = v < 0 ? 0 - (dpi_u128)v : (dpi_u128)v;
	if (v < 0) put(t, '-');
	do digits[n++] = (char)('0' + (int)(m % 10)), m /= 10;
	while ((m || n <= scale) && n < (int)sizeof digits);
	while (n--) {
		put(t, digits[n]);
		if (n && n == scale) put(t, '.');
	}
}

static void put_value(struct text *t, const struct dpi_strided *s, size_t i)
{
	DPI_Value v = dpi_value_at(s, i);
	struct dpi_civil day;
	dpi_i128 wide;
	switch (v.type) {
	case DPI_TYPE_NULL: print(t, "NULL"); break;
	case DPI_TYPE_BOOL: print(t, v.i ? "true" : "false"); break;
	case DPI_TYPE_FLOAT: print(t, "%.9g", v.d); break;
	case DPI_TYPE_DOUBLE: print(t, "%.17g", v.d); break;
	case DPI_TYPE_DATE32:
		day = dpi_civil_from_days(v.i);
		print(t, "%04" PRId64 "-%02d-%02d", day.year, day.month, day.day);
		break;
	case DPI_TYPE_DECIMAL64: put_decimal(t, v.i, s->scale); break;
	case DPI_TYPE_DECIMAL128:
		memcpy(&wide, v.w, sizeof wide);
		put_decimal(t, wide, s->scale);
		break;
	case DPI_TYPE_UTF8: put_text(t, v.data, v.size); break;
	case DPI_TYPE_FIXED:
	case DPI_TYPE_BINARY:
		print(t, "0x");
		for (uint32_t k = 0; k < v.size && t->at < t->end; k++) print(t, "%02x", ((const uint8_t *)v.data)[k]);
		break;
	case DPI_TYPE_UINT8:
	case DPI_TYPE_UINT16:
	case DPI_TYPE_UINT32:
	case DPI_TYPE_UINT64: print(t, "%" PRIu64, v.u); break;
	default: print(t, "%" PRId64, v.i);
	}
}

void dpi_key_text(const struct dpi_key *k, const void *row, uint32_t size, char *text, size_t room)
{
	struct text t = { text, text + room - 1 };
	uint64_t said;
	if (k->group.call && !dpi_key_call(k, row, size, &said)) print(&t, "%" PRIu64, said);
	for (uint32_t i = 0; i < k->columns; i++) {
		const struct dpi_column *c = k->schema->column + k->column[i];
		const uint8_t *data = (const uint8_t *)row + c->offset;
		int32_t place[2] = { 0, 0 };
		uint32_t bytes;
		if (i) print(&t, ", ");
		if (c->variable && !dpi_row_null(row, c)) {
			if (!dpi_row_bytes(k->schema, row, size, c, &data, &bytes)) break; /* a peer has changed it meanwhile */
			place[1] = (int32_t)bytes;
		}
		struct dpi_strided s = { .type = c->type, .scale = c->scale, .width = c->width, .data = data, .stride = c->variable ? 0 : c->width,
					 .offset = place, .null = c->null_mask ? (const uint8_t *)row + c->null_at : NULL, .null_mask = c->null_mask };
		put_value(&t, &s, 0);
	}
	*t.at = 0;
}

void dpi_key_text_batch(struct dpi_key *k, const struct dpi_batch *batch, size_t i, char *text, size_t room)
{
	struct text t = { text, text + room - 1 };
	uint32_t size;
	if (k->group.call && !dpi_row_make(k->schema, batch, i, &k->row, &k->room, &size)) {
		dpi_key_text(k, k->row, size, text, room);
		return;
	}
	for (uint32_t c = 0; c < k->columns; c++) {
		struct dpi_strided s = dpi_strided_of(batch->column + k->column[c]);
		if (c) print(&t, ", ");
		put_value(&t, &s, i);
	}
	*t.at = 0;
}
