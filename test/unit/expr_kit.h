/* SPDX-License-Identifier: Apache-2.0
 * expr_kit.h: batches for tests of expressions: a table of every type with random values, and programs made from text. */
#ifndef EXPR_KIT_H
#define EXPR_KIT_H

#include "unit.h"

#include "dpi.h"
#include "error.h"
#include "flows/expr/program.h"

enum {
	COL_BOOL,
	COL_I8,
	COL_I16,
	COL_I32,
	COL_I64,
	COL_J64, /* small values */
	COL_U8,
	COL_U16,
	COL_U32,
	COL_U64,
	COL_F32,
	COL_F64,
	COL_DATE,
	COL_DEC,   /* (15,2) */
	COL_RATE,  /* (4,3) */
	COL_WIDE,  /* (30,6) */
	COL_HUGE,  /* (38,0) */
	COL_SLIM,  /* 128 bits of (10,4) */
	COL_FIXED, /* 4 bytes */
	COL_BYTES,
	COL_TEXT,
	COL_WORD,
	COLS
};

static const struct dpi_expr_column columns[COLS] = {
	{ "b", DPI_TYPE_BOOL, true, 0, 0, 0 },		 { "i8", DPI_TYPE_INT8, true, 0, 0, 0 },
	{ "i16", DPI_TYPE_INT16, true, 0, 0, 0 },	 { "i32", DPI_TYPE_INT32, true, 0, 0, 0 },
	{ "i64", DPI_TYPE_INT64, true, 0, 0, 0 },	 { "j64", DPI_TYPE_INT64, false, 0, 0, 0 },
	{ "u8", DPI_TYPE_UINT8, true, 0, 0, 0 },	 { "u16", DPI_TYPE_UINT16, true, 0, 0, 0 },
	{ "u32", DPI_TYPE_UINT32, true, 0, 0, 0 },	 { "u64", DPI_TYPE_UINT64, true, 0, 0, 0 },
	{ "f32", DPI_TYPE_FLOAT, true, 0, 0, 0 },	 { "f64", DPI_TYPE_DOUBLE, true, 0, 0, 0 },
	{ "d", DPI_TYPE_DATE32, true, 0, 0, 0 },	 { "dec", DPI_TYPE_DECIMAL64, true, 0, 15, 2 },
	{ "rate", DPI_TYPE_DECIMAL64, false, 0, 4, 3 },	 { "wide", DPI_TYPE_DECIMAL128, true, 0, 30, 6 },
	{ "huge", DPI_TYPE_DECIMAL128, true, 0, 38, 0 }, { "slim", DPI_TYPE_DECIMAL128, true, 0, 10, 4 },
	{ "fix", DPI_TYPE_FIXED, true, 4, 0, 0 },	 { "bin", DPI_TYPE_BINARY, true, 0, 0, 0 },
	{ "txt", DPI_TYPE_UTF8, true, 0, 0, 0 },	 { "Word", DPI_TYPE_UTF8, false, 0, 0, 0 },
};

struct table {
	size_t rows;
	struct dpi_vector vector[COLS];
	struct dpi_batch batch;
	void *memory[3 * COLS];
	int pieces;
};

static inline void *table_memory(struct table *t, size_t size)
{
	void *p = aligned_alloc(64, (size + 64) / 64 * 64 + 64);
	if (!p) FAIL("memory");
	return t->memory[t->pieces++] = memset(p, 0, size);
}

static inline dpi_i128 draw_wide(struct draws *d, int digits)
{
	dpi_i128 limit = dpi_pow10((unsigned)digits), v = 0;
	for (int i = 0; i < 2; i++) v = (dpi_i128)((dpi_u128)v << 64 | draw(d));
	switch (draw_below(d, 8)) {
	case 0: return 0;
	case 1: return limit - 1;
	case 2: return 1 - limit;
	case 3: return ((dpi_i128)draw_below(d, 200) - 100) % limit;
	case 4: return v % 1000000 % limit;
	default: return v % limit;
	}
}

static inline int64_t draw_integer(struct draws *d)
{
	static const int64_t edge[] = { 0,
					1,
					-1,
					2,
					10,
					127,
					128,
					-128,
					-129,
					255,
					256,
					32767,
					32768,
					-32768,
					65535,
					65536,
					INT32_MAX,
					INT32_MIN,
					UINT32_MAX,
					INT64_MAX,
					INT64_MIN,
					INT64_MAX - 1,
					INT64_C(1) << 62,
					3037000500 };
	switch (draw_below(d, 4)) {
	case 0: return edge[draw_below(d, sizeof edge / sizeof *edge)];
	case 1: return (int64_t)draw_below(d, 20) - 10;
	case 2: return (int64_t)(draw(d) >> draw_below(d, 64));
	default: return (int64_t)draw(d);
	}
}

static inline double draw_real(struct draws *d)
{
	static const double edge[] = { 0.0,    -0.0,   1.0,
				       -1.0,   0.5,    -0.5,
				       1.5,    2.5,    1e300,
				       -1e300, 5e-324, 9007199254740993.0,
				       1e18,   -1e18,  9223372036854775808.0,
				       1e38,   3.5e38, 0.1,
				       100.0 };
	uint64_t bits;
	double v;
	switch (draw_below(d, 6)) {
	case 0: return edge[draw_below(d, sizeof edge / sizeof *edge)];
	case 1: return (double)__builtin_nanf("");
	case 2: return draw(d) & 1 ? __builtin_inf() : -__builtin_inf();
	case 3: bits = draw(d), memcpy(&v, &bits, 8); return v;
	case 4: return (double)(int64_t)draw_below(d, 2000) / 8 - 100;
	default: return (double)(int64_t)draw(d) / 1e15;
	}
}

/* Text that looks like what is cast, matched and compared. */
static inline size_t draw_text(struct draws *d, char *out, bool word)
{
	static const char *const made[] = {
		"",	      "a",	    "ab",     "abc",   "b",	"%",	"_",	      "a%c",
		"a_c",	      "12",	    "-7",     "3.14",  "1e3",	" 42 ", "2020-02-29", "1999-12-31",
		"0001-01-01", "2021-02-29", "true",   "False", "t",	"nan",	"inf",	      "99999999999999999999",
		"127",	      "128",	    "-0.005", "é",     "éa",	"€uro", "𝄞x",	      "ß",
		"aaaa",	      "abab",	    "A",      "AbC",   "  a  ", "xyx",	"\\",	      "x\\"
	};
	static const char *const part[] = { "a", "b", "c", "é", "€", "%", "_", " ", "x", "1", "." };
	if (!word && draw_below(d, 3)) return strlen(strcpy(out, made[draw_below(d, sizeof made / sizeof *made)]));
	*out = 0;
	for (uint64_t n = draw_below(d, word ? 4 : 9); n; n--) strcat(out, part[draw_below(d, word ? 3 : 11)]);
	return strlen(out);
}

static inline void set_bit(void *bits, size_t i, bool yes)
{
	uint8_t *b = bits;
	if (yes) b[i / 8] = (uint8_t)(b[i / 8] | 1u << i % 8);
}

static inline void fill_column(struct table *t, int c, struct draws *d)
{
	const struct dpi_expr_column *k = columns + c;
	struct dpi_vector *v = t->vector + c;
	size_t n = t->rows, width = dpi_kind_width(dpi_type_kind(k->type));
	uint8_t *data, *valid;
	*v = (struct dpi_vector){ .type = k->type, .scale = k->scale };
	if (k->nullable && draw_below(d, 8)) {
		v->valid = valid = table_memory(t, n / 8 + 1);
		uint64_t share = draw_below(d, 10);
		for (size_t i = 0; i < n; i++) set_bit(valid, i, draw_below(d, 10) >= share);
	}
	if (k->type == DPI_TYPE_BINARY || k->type == DPI_TYPE_UTF8) {
		int32_t *offset = table_memory(t, (n + 1) * sizeof *offset);
		data = table_memory(t, 32 * n + 1);
		v->offset = offset, v->data = data;
		for (size_t i = 0; i < n; i++) {
			char text[64];
			size_t size = draw_text(d, text, c == COL_WORD);
			if (size > 31) size = 0;
			memcpy(data + offset[i], text, size);
			offset[i + 1] = offset[i] + (int32_t)size;
		}
		return;
	}
	if (k->type == DPI_TYPE_FIXED) width = v->width = k->width;
	v->width = (uint32_t)width;
	v->data = data = table_memory(t, (width ? n * width : n / 8) + 1);
	for (size_t i = 0; i < n; i++) {
		int64_t whole = draw_integer(d);
		double real = draw_real(d);
		float single = (float)real;
		dpi_i128 wide = draw_wide(d, k->precision ? k->precision : 18);
		if (c == COL_J64) whole = (int64_t)draw_below(d, 100) - 50;
		if (c == COL_DATE && draw_below(d, 4)) whole = (int64_t)draw_below(d, 40000) - 10000;
		if (k->type == DPI_TYPE_BOOL) set_bit(data, i, whole & 1);
		else if (k->type == DPI_TYPE_FLOAT) memcpy(data + 4 * i, &single, 4);
		else if (k->type == DPI_TYPE_DOUBLE) memcpy(data + 8 * i, &real, 8);
		else if (k->precision) memcpy(data + width * i, &wide, width);
		else if (k->type == DPI_TYPE_FIXED) memcpy(data + width * i, draw_below(d, 2) ? "abcd" : "ab\0\377", 4);
		else memcpy(data + width * i, &whole, width);
	}
}

static inline void table_make(struct table *t, size_t rows, struct draws *d)
{
	*t = (struct table){ .rows = rows };
	for (int c = 0; c < COLS; c++) fill_column(t, c, d);
	t->batch = (struct dpi_batch){ rows, COLS, t->vector };
}

static inline void table_free(struct table *t)
{
	while (t->pieces) free(t->memory[--t->pieces]);
}

/* A program as another process would have it: compiled, serialised, checked and loaded. */
static inline int compile(const char *text, struct dpi_expr **out)
{
	struct dpi_expr *e;
	size_t size, again;
	int error = dpi_expr_compile(text, strlen(text), columns, COLS, &e);
	if (error) return error;
	CHECK_DPI(dpi_expr_serialise(e, NULL, 0, &size));
	uint8_t *image = malloc(size), *second = malloc(size);
	CHECK(image && second);
	CHECK_DPI(dpi_expr_serialise(e, image, size, &again));
	CHECK_INT(size, ==, again);
	CHECK_DPI(dpi_expr_load(image, size, columns, COLS, out));
	CHECK_DPI(dpi_expr_serialise(*out, second, size, &again));
	CHECK(size == again && !memcmp(image, second, size));
	free(image);
	free(second);
	dpi_expr_free(e);
	return DPI_SUCCESS;
}

#endif
