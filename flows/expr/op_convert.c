/* SPDX-License-Identifier: Apache-2.0
 * op_convert.c: conversions among numbers, and between them and text. */
#include "convert.h"
#include "run.h"

/* Row by row: into, with two temporaries at hand, is what the row's value becomes; fits, whether it may. */
#define CONVERT(name, T, U, fits, value)                                                                                    \
	static void name(struct dpi_run *r, const struct dpi_step *s)                                                       \
	{                                                                                                                   \
		uint64_t rows[WORDS], bad[WORDS] = { 0 }, any = 0;                                                          \
		const T *a = s->a->data;                                                                                    \
		U *out = s->out->data;                                                                                      \
		dpi_step_rows(r, s, rows);                                                                                  \
		EACH_ROW (rows) {                                                                                           \
			T x = a[ROW];                                                                                       \
			if (fits) out[ROW] = (U)(value);                                                                    \
			else MARK(bad), any = 1;                                                                            \
		}                                                                                                           \
		for (size_t w = 0; w < WORDS && any; w++) rows[w] &= ~bad[w];                                               \
		if (any) dpi_run_bad(r, s, bad, ROW_OVERFLOW);                                                              \
		dpi_step_done(r, s, rows);                                                                                  \
	}

static double nearest(double x)
{
	if (!(x < 4503599627370496.0 && x > -4503599627370496.0)) return x;
	double t = (double)(int64_t)x, rest = x - t;
	return rest >= 0.5 ? t + 1 : rest <= -0.5 ? t - 1 : t;
}

CONVERT(to_i8, int64_t, int8_t, x >= INT8_MIN && x <= INT8_MAX, x)
CONVERT(to_i16, int64_t, int16_t, x >= INT16_MIN && x <= INT16_MAX, x)
CONVERT(to_i32, int64_t, int32_t, x >= INT32_MIN && x <= INT32_MAX, x)
CONVERT(to_u8, int64_t, uint8_t, x >= 0 && x <= UINT8_MAX, x)
CONVERT(to_u16, int64_t, uint16_t, x >= 0 && x <= UINT16_MAX, x)
CONVERT(to_u32, int64_t, uint32_t, x >= 0 && x <= UINT32_MAX, x)
CONVERT(to_u64, int64_t, uint64_t, x >= 0, x)
CONVERT(u64_to_i64, uint64_t, int64_t, x <= INT64_MAX, x)
CONVERT(i64_to_i128, int64_t, dpi_i128, true, x)
CONVERT(u64_to_i128, uint64_t, dpi_i128, true, x)
CONVERT(u64_to_f64, uint64_t, double, true, x)
CONVERT(i128_to_i64, dpi_i128, int64_t, x >= INT64_MIN && x <= INT64_MAX, x)
CONVERT(i128_to_u64, dpi_i128, uint64_t, x >= 0 && x <= UINT64_MAX, x)
/* what is finite stays so */
CONVERT(f64_to_f32, double, float, x - x != 0 || (x < 3.4028235677973366e38 && x > -3.4028235677973366e38), x)
CONVERT(f64_to_i64, double, int64_t, x >= -9223372036854775808.0 && x < 9223372036854775808.0, nearest(x))
CONVERT(f64_to_u64, double, uint64_t, x > -0.5 && x < 18446744073709551616.0, nearest(x))
CONVERT(i64_as_real, int64_t, double, true, (double)x / (double)dpi_pow10(s->imm))
CONVERT(i128_as_real, dpi_i128, double, true, (double)x / (double)dpi_pow10(s->imm))

static void real_as_decimal(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS], bad[WORDS] = { 0 };
	double p = (double)dpi_pow10(s->imm);
	const double *a = s->a->data;
	dpi_i128 *out = s->out->data;
	dpi_step_rows(r, s, rows);
	EACH_ROW (rows) {
		double x = nearest(a[ROW] * p);
		if (x <= 1e38 && x >= -1e38) out[ROW] = (dpi_i128)x;
		else MARK(bad);
	}
	for (size_t w = 0; w < WORDS; w++) rows[w] &= ~bad[w];
	dpi_run_bad(r, s, bad, ROW_OVERFLOW);
	dpi_step_done(r, s, rows);
}

static void widen(struct dpi_run *r, const struct dpi_step *s)
{
	r->kernels->widen[s->kind](s->a->data, r->rows, s->out->data);
	dpi_step_valid(s);
}

static void bool_to_i64(struct dpi_run *r, const struct dpi_step *s)
{
	const uint64_t *a = s->a->data;
	int64_t *out = s->out->data;
	for (size_t i = 0; i < r->rows; i++) out[i] = (int64_t)(a[i / 64] >> i % 64 & 1);
	dpi_step_valid(s);
}

/* -------------------------------------------------------------------------------------------------------- text */

static size_t print_row(const struct dpi_step *s, size_t i, char *text)
{
	const void *a = s->a->data;
	bool truth;
	switch (s->kind) {
	case KIND_BOOL:
		truth = ((const uint64_t *)a)[i / 64] >> i % 64 & 1;
		return memcpy(text, truth ? "true" : "false", 5), truth ? 4 : 5;
	case KIND_I32: return dpi_print_date(((const int32_t *)a)[i], text);
	case KIND_I64: return dpi_print_decimal(((const int64_t *)a)[i], (int)s->imm, text);
	case KIND_U64: return dpi_print_decimal(((const uint64_t *)a)[i], 0, text);
	case KIND_I128: return dpi_print_decimal(((const dpi_i128 *)a)[i], (int)s->imm, text);
	case KIND_F32: return dpi_print_real((double)((const float *)a)[i], true, text);
	default: return dpi_print_real(((const double *)a)[i], false, text);
	}
}

static void print(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS];
	struct dpi_text *out = s->out->data;
	char text[DPI_PRINT_MAX];
	dpi_step_rows(r, s, rows);
	EACH_ROW (rows) {
		size_t size = print_row(s, ROW, text);
		uint8_t *to = dpi_run_text(r, size);
		if (!to) break;
		memcpy(to, text, size);
		out[ROW] = (struct dpi_text){ to, size };
	}
	if (r->error) memset(rows, 0, sizeof rows);
	dpi_step_done(r, s, rows);
}

static bool parse_row(const struct dpi_step *s, struct dpi_text t, size_t i)
{
	int kind = s->imm & 255, scale = s->imm >> 8 & 255, precision = s->imm >> 16 & 255;
	void *out = s->out->data;
	dpi_i128 wide;
	bool truth, good;
	if (precision) {
		good = dpi_parse_decimal(t, precision, scale, &wide);
		if (good && kind == KIND_I64) ((int64_t *)out)[i] = (int64_t)wide;
		else if (good) ((dpi_i128 *)out)[i] = wide;
		return good;
	}
	switch (kind) {
	case KIND_BOOL:
		good = dpi_parse_bool(t, &truth);
		if (good && truth) ((uint64_t *)out)[i / 64] |= UINT64_C(1) << i % 64;
		return good;
	case KIND_I32: return dpi_parse_date(t, (int32_t *)out + i);
	case KIND_I64: return dpi_parse_integer(t, true, (int64_t *)out + i);
	case KIND_U64: return dpi_parse_integer(t, false, (int64_t *)out + i);
	default: return dpi_parse_real(t, (double *)out + i);
	}
}

static void parse(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS], bad[WORDS] = { 0 };
	const struct dpi_text *a = s->a->data;
	if ((s->imm & 255) == KIND_BOOL) memset(s->out->data, 0, WORDS * 8);
	dpi_step_rows(r, s, rows);
	EACH_ROW (rows)
		if (!parse_row(s, a[ROW], ROW)) MARK(bad);
	for (size_t w = 0; w < WORDS; w++) rows[w] &= ~bad[w];
	dpi_run_bad(r, s, bad, ROW_CAST);
	dpi_step_done(r, s, rows);
}

dpi_step_function *dpi_step_convert(const struct dpi_step *s)
{
	static dpi_step_function *const narrow[KIND_COUNT] = {
		[KIND_I8] = to_i8,   [KIND_I16] = to_i16, [KIND_I32] = to_i32,	     [KIND_U8] = to_u8, [KIND_U16] = to_u16,
		[KIND_U32] = to_u32, [KIND_U64] = to_u64, [KIND_I128] = i64_to_i128, [KIND_F64] = widen
	};
	switch (s->op) {
	case OP_PRINT: return print;
	case OP_PARSE: return parse;
	case OP_REAL_TO_DECIMAL: return real_as_decimal;
	case OP_DECIMAL_TO_REAL: return s->kind == KIND_I64 ? i64_as_real : i128_as_real;
	case OP_CONVERT: break;
	default: return NULL;
	}
	switch (s->kind) {
	case KIND_BOOL: return bool_to_i64;
	case KIND_I64: return narrow[s->imm];
	case KIND_U64: return s->imm == KIND_I64 ? u64_to_i64 : s->imm == KIND_F64 ? u64_to_f64 : u64_to_i128;
	case KIND_I128: return s->imm == KIND_I64 ? i128_to_i64 : i128_to_u64;
	case KIND_F64: return s->imm == KIND_F32 ? f64_to_f32 : s->imm == KIND_I64 ? f64_to_i64 : f64_to_u64;
	default: return widen;
	}
}
