/* SPDX-License-Identifier: Apache-2.0
 * expression.c: libFuzzer target: the first byte chooses: bytes that say they are a program (0), or the text of an
 * expression; what is accepted runs over a small batch of every type, as a filter or a projection, with each way to treat
 * errors. What was compiled must be accepted as bytes, and give the same. */

#include "flows/expr/expr.h"
#include "fuzz.h"

#define ROWS 70
#define COLS 17

static const struct dpi_expr_column columns[COLS] = {
	{ "b", DPI_TYPE_BOOL, true, 0, 0, 0 },	       { "i8", DPI_TYPE_INT8, true, 0, 0, 0 },
	{ "i16", DPI_TYPE_INT16, true, 0, 0, 0 },      { "i32", DPI_TYPE_INT32, true, 0, 0, 0 },
	{ "i64", DPI_TYPE_INT64, true, 0, 0, 0 },      { "u8", DPI_TYPE_UINT8, true, 0, 0, 0 },
	{ "u16", DPI_TYPE_UINT16, true, 0, 0, 0 },     { "u32", DPI_TYPE_UINT32, true, 0, 0, 0 },
	{ "u64", DPI_TYPE_UINT64, false, 0, 0, 0 },    { "f32", DPI_TYPE_FLOAT, true, 0, 0, 0 },
	{ "f64", DPI_TYPE_DOUBLE, true, 0, 0, 0 },     { "d", DPI_TYPE_DATE32, true, 0, 0, 0 },
	{ "dec", DPI_TYPE_DECIMAL64, true, 0, 15, 2 }, { "wide", DPI_TYPE_DECIMAL128, true, 0, 30, 6 },
	{ "fix", DPI_TYPE_FIXED, true, 3, 0, 0 },      { "bin", DPI_TYPE_BINARY, true, 0, 0, 0 },
	{ "txt", DPI_TYPE_UTF8, true, 0, 0, 0 },
};

static struct dpi_vector vector[COLS];
static _Alignas(16) uint8_t values[COLS][ROWS * 16 + 1], valid[COLS][ROWS / 8 + 1];
static int32_t offset[COLS][ROWS + 1];

/* Any bytes are values; each column's last byte lies at the end of its array, so that a byte more is not there. */
static void fill(void)
{
	uint64_t x = 88172645463325252u;
	for (int c = 0; c < COLS; c++) {
		static const size_t width[COLS] = { 0, 1, 2, 4, 8, 1, 2, 4, 8, 4, 8, 4, 8, 16, 3, 0, 0 };
		for (size_t i = 0; i < sizeof values[c]; i++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			values[c][i] = c > 14  ? "ab%_ 1-.\303\251x"[x % 11]
				       : x % 5 ? (uint8_t)(x >> 32)
					       : (uint8_t) - (int)(x >> 40 & 1);
		}
		for (size_t i = 0; i < sizeof valid[c]; i++) valid[c][i] = (uint8_t)(x >> i % 50);
		for (int i = 0; i < ROWS; i++) offset[c][i + 1] = offset[c][i] + (int32_t)((x >> i % 60) % 12);
		vector[c] = (struct dpi_vector){ .type = columns[c].type,
						 .scale = columns[c].scale,
						 .width = (uint32_t)width[c],
						 .valid = columns[c].nullable ? valid[c] : NULL,
						 .data = values[c],
						 .offset = c > 14 ? offset[c] : NULL };
	}
}

/* Read all of a result. */
static uint64_t sum(const struct dpi_expr_type *t, const struct dpi_vector *v)
{
	uint64_t h = (uint64_t)t->type;
	need(v->type == t->type, "the type of a result");
	for (size_t i = 0; i < ROWS; i++) {
		const uint8_t *p = v->data;
		size_t from = i * v->width, to = from + v->width;
		if (dpi_is_null(v, i)) continue;
		if (t->type == DPI_TYPE_BOOL) {
			h = h * 31 + dpi_bit(p, i);
			continue;
		}
		if (v->offset) from = (size_t)v->offset[i], to = (size_t)v->offset[i + 1];
		need(from <= to, "the offsets of a result");
		for (; from < to; from++) h = h * 31 + p[from];
	}
	return h;
}

static uint64_t run(const struct dpi_expr *e, int mode)
{
	const struct dpi_batch batch = { ROWS, COLS, vector };
	struct dpi_expr_state *s;
	struct dpi_vector out;
	uint8_t select[ROWS / 8 + 1], again[ROWS / 8 + 1];
	size_t count, bits = 0;
	uint64_t h = 0;
	memset(select, 255, sizeof select);
	if (dpi_expr_state_new(&e, 1, (enum dpi_expr_on_error)mode, &s)) return 1;
	dpi_expr_state_limit(s, 1 << 20);
	if (!dpi_expr_project(s, &batch, select, &out)) h = sum(dpi_expr_result(e), &out);
	if (dpi_expr_result(e)->type == DPI_TYPE_BOOL && !dpi_expr_filter(s, &batch, select, again, &count)) {
		for (size_t i = 0; i < ROWS; i++)
			bits += dpi_bit(again, i), need(dpi_bit(select, i) || !dpi_bit(again, i), "a row not asked for");
		need(bits == count && count <= ROWS, "the count of a filter");
		h = h * 31 + count;
	}
	dpi_expr_state_free(s);
	return h;
}

static void both(struct dpi_expr *e, int mode)
{
	struct dpi_expr *f;
	size_t size, again;
	uint8_t *image;
	need(!dpi_expr_serialise(e, NULL, 0, &size), "serialise");
	image = malloc(size);
	if (!image) return;
	need(!dpi_expr_serialise(e, image, size, &again) && again == size, "the size of a program");
	need(!dpi_expr_load(image, size, columns, COLS, &f), "a program that was made is refused");
	need(run(e, mode) == run(f, mode), "a program changes by being sent");
	dpi_expr_free(f);
	free(image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dpi_expr *e;
	if (!vector[0].type) fill();
	if (size < 2 || size > 8192) return 0;
	int mode = data[0] >> 1 & 3;
	if (mode > DPI_EXPR_DROP) mode = DPI_EXPR_NULL;
	int error = data[0] & 1 ? dpi_expr_compile((const char *)data + 1, size - 1, columns, COLS, &e)
				: dpi_expr_load(data + 1, size - 1, columns, COLS, &e);
	if (error) return 0;
	both(e, mode);
	dpi_expr_free(e);
	return 0;
}
