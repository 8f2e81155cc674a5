/* SPDX-License-Identifier: Apache-2.0
 * schema_kit.h: schemas, rows and values at random for the unit tests of flows. */
#ifndef SCHEMA_KIT_H
#define SCHEMA_KIT_H

#include "unit.h"

#include <stdlib.h>

#include "error.h"
#include "flows/row.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* As CHECK_DPI, for what is inside. */
#define CHECK_OK(call)                                                                                 \
	do {                                                                                           \
		int kit_e = (call);                                                                    \
		if (kit_e) FAIL("%s: %s: %s", #call, dpi_error_name(kit_e), dpi_detail());             \
	} while (0)

static inline struct dpi_schema *schema_of(const DPI_Column *columns, size_t count)
{
	struct dpi_schema *s = NULL;
	CHECK_OK(dpi_schema_new(columns, count, &s));
	return s;
}

enum { KIT_FIXED = 1, KIT_PLAIN = 2 }; /* no variable columns; no nullable ones either, and no bool */

static inline struct dpi_schema *random_schema(struct draws *d, int how)
{
	static char names[40][8];
	DPI_Column c[40];
	size_t count = 1 + draw_below(d, 12) * (1 + 2 * (draw_below(d, 8) == 0));
	for (size_t i = 0; i < count; i++) {
		int types = how ? DPI_TYPE_FIXED : DPI_TYPE_UTF8, type = 1 + (int)draw_below(d, (uint64_t)types);
		if (how & KIT_PLAIN && type == DPI_TYPE_BOOL) type = DPI_TYPE_INT64;
		snprintf(names[i], sizeof names[i], "c%zu", i);
		c[i] = (DPI_Column){ .name = names[i], .type = type, .nullable = !(how & KIT_PLAIN) && draw_below(d, 2) };
		if (type == DPI_TYPE_FIXED) c[i].width = 1 + (uint32_t)draw_below(d, 20);
		if (type == DPI_TYPE_DECIMAL64) c[i].scale = 2;
	}
	return schema_of(c, count);
}

/* A row of random values, malloc'ed. longest: bytes of a variable value. */
static inline uint8_t *random_row(const struct dpi_schema *s, struct draws *d, uint32_t longest, uint32_t *size)
{
	DPI_Value *v = calloc(s->columns, sizeof *v);
	char *bytes = malloc(longest + 64);
	size_t need;
	for (uint32_t i = 0; i < longest + 64; i++) bytes[i] = (char)('a' + draw_below(d, 26));
	for (uint32_t i = 0; i < s->columns; i++) {
		const struct dpi_column *c = s->column + i;
		v[i].type = c->nullable && draw_below(d, 4) == 0 ? DPI_TYPE_NULL : c->type;
		switch (c->type) {
		case DPI_TYPE_BOOL: v[i].i = (int64_t)draw_below(d, 2); break;
		case DPI_TYPE_FLOAT:
		case DPI_TYPE_DOUBLE: v[i].d = (double)draw_below(d, 1000) / 8; break;
		case DPI_TYPE_DECIMAL128: v[i].w[0] = draw(d), v[i].w[1] = draw(d) >> 8; break;
		case DPI_TYPE_FIXED: v[i].size = c->width, v[i].data = bytes + draw_below(d, 40); break;
		case DPI_TYPE_BINARY:
		case DPI_TYPE_UTF8:
			v[i].size = (uint32_t)draw_below(d, longest + 1);
			v[i].data = bytes + draw_below(d, 40);
			break;
		default: v[i].i = (int64_t)draw_below(d, 128); break;
		}
	}
	dpi_row_pack(s, v, NULL, 0, &need);
	uint8_t *row = malloc(need);
	CHECK_OK(dpi_row_pack(s, v, row, need, &need));
	*size = (uint32_t)need;
	free(v), free(bytes);
	return row;
}

struct rows {
	size_t count;
	DPI_Record *row;
};

static inline struct rows random_rows(const struct dpi_schema *s, struct draws *d, size_t count, uint32_t longest)
{
	struct rows r = { count, calloc(count + 1, sizeof *r.row) };
	for (size_t i = 0; i < count; i++) {
		uint32_t size;
		r.row[i].data = random_row(s, d, longest, &size);
		r.row[i].size = size;
	}
	return r;
}

static inline void free_rows(struct rows r)
{
	for (size_t i = 0; i < r.count; i++) free((void *)(uintptr_t)r.row[i].data);
	free(r.row);
}

/* Rows packed by libdpi are equal when their bytes are. */
static inline void check_same(const void *a, size_t a_size, const DPI_Record *b)
{
	CHECK_INT(a_size, ==, b->size);
	CHECK(!memcmp(a, b->data, b->size));
}

#endif
