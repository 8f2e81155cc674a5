/* SPDX-License-Identifier: Apache-2.0
 * schema_name.c: columns as people read them, the first difference of two schemas, and UTF-8. */
#include <stdio.h>
#include <string.h>

#include "schema.h"

static const char *type_name(int type)
{
	switch (type) {
#define TYPE(name, number, width, text) case number: return #name;
	DPI_TYPES(TYPE)
#undef TYPE
	}
	return "?";
}

const char *dpi_schema_column_text(const struct dpi_column *c, char text[static DPI_COLUMN_TEXT])
{
	char more[32] = "";
	if (c->type == DPI_TYPE_FIXED) snprintf(more, sizeof more, "(%u)", c->width);
	if (c->type == DPI_TYPE_DECIMAL64 || c->type == DPI_TYPE_DECIMAL128)
		snprintf(more, sizeof more, "(%d,%d)", c->precision, c->scale);
	snprintf(text, DPI_COLUMN_TEXT, "\"%s\" %s%s%s", c->name, type_name(c->type), more, c->nullable ? " or NULL" : "");
	return text;
}

static bool same(const struct dpi_column *a, const struct dpi_column *b)
{
	return a->type == b->type && a->nullable == b->nullable && a->width == b->width && a->precision == b->precision &&
	       a->scale == b->scale && !strcmp(a->name, b->name);
}

bool dpi_schema_equal(const struct dpi_schema *a, const char *a_name, const struct dpi_schema *b, const char *b_name,
		      char *text, size_t room)
{
	char one[DPI_COLUMN_TEXT], two[DPI_COLUMN_TEXT];
	uint32_t i, both = a->columns < b->columns ? a->columns : b->columns;
	if (room) *text = 0;
	if (a == b) return true;
	for (i = 0; i < both && same(a->column + i, b->column + i); i++) {}
	if (i < both) {
		snprintf(text, room, "column %u is %s in %s and %s in %s", i, dpi_schema_column_text(a->column + i, one),
			 a_name, dpi_schema_column_text(b->column + i, two), b_name);
		return false;
	}
	if (a->columns == b->columns) return true;
	const struct dpi_schema *longer = a->columns > b->columns ? a : b;
	snprintf(text, room, "%s has %u columns and %s %u: column %u, %s, is only in %s", a_name, a->columns, b_name,
		 b->columns, both, dpi_schema_column_text(longer->column + both, one), longer == a ? a_name : b_name);
	return false;
}

bool dpi_schema_utf8(const void *text, size_t size)
{
	const uint8_t *at = text, *end = at + size;
	while (at < end) {
		uint64_t word;
		while (end - at >= 8) { /* plain ASCII, eight at a time */
			memcpy(&word, at, 8);
			if (word & UINT64_C(0x8080808080808080)) break;
			at += 8;
		}
		if (at == end) break;
		uint8_t lead = *at++;
		if (lead < 0x80) continue;
		int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
		/* the second byte's range rules out overlong forms, surrogates and what lies above U+10FFFF */
		uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80,
			high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
		if (lead < 0xc2 || lead > 0xf4 || end - at < more || *at < low || *at > high) return false;
		for (int i = 1; i < more; i++)
			if ((at[i] & 0xc0) != 0x80) return false;
		at += more;
	}
	return true;
}
