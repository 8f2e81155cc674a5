/* SPDX-License-Identifier: Apache-2.0
 * op_number.c: arithmetic and functions of numbers. */
#include "run.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define TEN38 (dpi_pow10(38))

static int number_of(int kind)
{
	return kind == KIND_I64 ? DPI_LOOP_I64 : kind == KIND_U64 ? DPI_LOOP_U64 : DPI_LOOP_F64;
}

/* Rows that have an error lose their value. */
static void finish(struct dpi_run *r, const struct dpi_step *s, uint64_t *rows, const uint64_t *bad, int why)
{
	for (size_t w = 0; w < WORDS; w++) rows[w] &= ~bad[w];
	dpi_run_bad(r, s, bad, why);
	dpi_step_done(r, s, rows);
}

static bool overflows(int op, int kind, const struct dpi_step *s, size_t i)
{
	int64_t x, *a = s->a->data, *b = s->b->data;
	uint64_t y, *c = s->a->data, *d = s->b->data;
	if (kind == KIND_I64)
		return op == OP_ADD   ? __builtin_add_overflow(a[i], b[i], &x)
		       : op == OP_SUB ? __builtin_sub_overflow(a[i], b[i], &x)
				      : __builtin_mul_overflow(a[i], b[i], &x);
	return op == OP_ADD   ? __builtin_add_overflow(c[i], d[i], &y)
	       : op == OP_SUB ? __builtin_sub_overflow(c[i], d[i], &y)
			      : __builtin_mul_overflow(c[i], d[i], &y);
}

static void arithmetic_loop(struct dpi_run *r, const struct dpi_step *s)
{
	const struct dpi_kernels *k = r->kernels;
	dpi_arithmetic_loop *const *loop = s->op == OP_ADD ? k->add : s->op == OP_SUB ? k->sub : k->mul;
	uint64_t rows[WORDS], bad[WORDS] = { 0 };
	if (!loop[number_of(s->kind)](s->a->data, s->b->data, r->rows, s->out->data)) {
		dpi_step_valid(s);
		return;
	}
	dpi_step_rows(r, s, rows);
	EACH_ROW (rows)
		if (overflows(s->op, s->kind, s, ROW)) MARK(bad);
	finish(r, s, rows, bad, ROW_OVERFLOW);
}

static void divide_real(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS], bad[WORDS] = { 0 };
	if (!r->kernels->div(s->a->data, s->b->data, r->rows, s->out->data)) {
		dpi_step_valid(s);
		return;
	}
	dpi_step_rows(r, s, rows);
	EACH_ROW (rows)
		if (VALUES(double, s->b)[ROW] == 0) MARK(bad);
	finish(r, s, rows, bad, ROW_ZERO);
}

/* a op b into out; 0 or why not. */
static int wide_result(int op, dpi_i128 a, dpi_i128 b, dpi_i128 *out)
{
	bool over = false;
	if ((op == OP_DIV || op == OP_MOD) && !b) return ROW_ZERO;
	switch (op) {
	case OP_ADD: over = dpi_add128(a, b, out); break;
	case OP_SUB: over = dpi_sub128(a, b, out); break;
	case OP_MUL: over = dpi_mul128(a, b, out); break;
	case OP_DIV: over = b == -1 ? dpi_sub128(0, a, out) : (*out = a / b, false); break;
	default: *out = b == -1 ? 0 : a % b; break;
	}
	return over || *out >= TEN38 || *out <= -TEN38 ? ROW_OVERFLOW : 0;
}

static int long_result(int op, int64_t a, int64_t b, int64_t *out)
{
	if (!b) return ROW_ZERO;
	if (b == -1) return op == OP_MOD ? (*out = 0) : __builtin_sub_overflow(0, a, out) ? ROW_OVERFLOW : 0;
	*out = op == OP_DIV ? a / b : a % b;
	return 0;
}

static int unsigned_result(int op, uint64_t a, uint64_t b, uint64_t *out)
{
	if (!b) return ROW_ZERO;
	*out = op == OP_DIV ? a / b : a % b;
	return 0;
}

/* Row by row, with two operands; two reasons may meet. */
#define BY_ROW(name, T, U, call)                                                                                            \
	static void name(struct dpi_run *r, const struct dpi_step *s)                                                       \
	{                                                                                                                   \
		uint64_t rows[WORDS], bad[ROW_PATTERN + 1][WORDS] = { { 0 } };                                              \
		unsigned reasons = 0;                                                                                       \
		U *out = s->out->data;                                                                                      \
		const T *a = s->a->data, *b = s->b ? s->b->data : NULL;                                                     \
		(void)b;                                                                                                    \
		dpi_step_rows(r, s, rows);                                                                                  \
		EACH_ROW (rows) {                                                                                           \
			size_t i = ROW;                                                                                     \
			int why = call;                                                                                     \
			if (why) MARK(bad[why]), reasons |= 1u << why;                                                      \
		}                                                                                                           \
		for (int why = 1; why <= ROW_PATTERN; why++)                                                                \
			for (size_t w = 0; w < WORDS && reasons >> why & 1; w++) rows[w] &= ~bad[why][w];                   \
		for (int why = 1; why <= ROW_PATTERN; why++)                                                                \
			if (reasons >> why & 1) dpi_run_bad(r, s, bad[why], why);                                           \
		dpi_step_done(r, s, rows);                                                                                  \
	}

static int power_result(const struct dpi_step *s, double a, double b, double *out)
{
	double v = *out = s->math(a, b);
	if (v != v) return a == a && b == b ? ROW_DOMAIN : 0;
	if (v - v == 0 || a - a != 0 || b - b != 0) return 0; /* finite, or from what is not */
	return a == 0 ? ROW_ZERO : ROW_OVERFLOW;
}

static int remainder_result(const struct dpi_step *s, double a, double b, double *out)
{
	if (b == 0) return ROW_ZERO;
	*out = s->math(a, b);
	return 0;
}

static int root_result(const struct dpi_step *s, double a, double *out)
{
	if (a < 0) return ROW_DOMAIN;
#if defined(__SSE2__)
	__m128d v = _mm_set_sd(a);
	*out = _mm_cvtsd_f64(_mm_sqrt_sd(v, v));
	(void)s;
#else
	*out = s->root(a);
#endif
	return 0;
}

static int digits_result(const struct dpi_step *s, dpi_i128 a, dpi_i128 *out)
{
	*out = a;
	return a >= dpi_pow10(s->imm) || a <= -dpi_pow10(s->imm) ? ROW_OVERFLOW : 0;
}

static int up_result(const struct dpi_step *s, int64_t a, int64_t *out)
{
	return __builtin_mul_overflow(a, (int64_t)dpi_pow10(s->imm), out) ? ROW_OVERFLOW : 0;
}

static int down_result(const struct dpi_step *s, int64_t a, int64_t *out)
{
	*out = (int64_t)dpi_scale_down(a, s->imm & 255, (int)(s->imm >> 8));
	return 0;
}

static int down_wide(const struct dpi_step *s, dpi_i128 a, dpi_i128 *out)
{
	*out = dpi_scale_down(a, s->imm & 255, (int)(s->imm >> 8));
	return 0;
}

BY_ROW(wide, dpi_i128, dpi_i128, wide_result(s->op, a[i], b[i], out + i))
BY_ROW(divide_long, int64_t, int64_t, long_result(s->op, a[i], b[i], out + i))
BY_ROW(divide_unsigned, uint64_t, uint64_t, unsigned_result(s->op, a[i], b[i], out + i))
BY_ROW(power, double, double, power_result(s, a[i], b[i], out + i))
BY_ROW(remainder_real, double, double, remainder_result(s, a[i], b[i], out + i))
BY_ROW(root, double, double, root_result(s, a[i], out + i))
BY_ROW(negate_long, int64_t, int64_t, __builtin_sub_overflow(0, a[i], out + i) ? ROW_OVERFLOW : 0)
BY_ROW(negate_wide, dpi_i128, dpi_i128, dpi_sub128(0, a[i], out + i) ? ROW_OVERFLOW : 0)
BY_ROW(negate_real, double, double, (out[i] = -a[i], 0))
BY_ROW(absolute_long, int64_t, int64_t,
       a[i] >= 0				  ? (out[i] = a[i], 0)
       : __builtin_sub_overflow(0, a[i], out + i) ? ROW_OVERFLOW
						  : 0)
BY_ROW(absolute_wide, dpi_i128, dpi_i128, a[i] >= 0 ? (out[i] = a[i], 0) : dpi_sub128(0, a[i], out + i) ? ROW_OVERFLOW : 0)
BY_ROW(absolute_real, double, double, (out[i] = a[i] < 0 ? -a[i] : a[i] == 0 ? 0 : a[i], 0))
BY_ROW(sign_long, int64_t, int64_t, (out[i] = (a[i] > 0) - (a[i] < 0), 0))
BY_ROW(sign_unsigned, uint64_t, int64_t, (out[i] = a[i] > 0, 0))
BY_ROW(sign_real, double, int64_t, (out[i] = (a[i] > 0) - (a[i] < 0), 0))
BY_ROW(sign_wide, dpi_i128, int64_t, (out[i] = (a[i] > 0) - (a[i] < 0), 0))
BY_ROW(digits_wide, dpi_i128, dpi_i128, digits_result(s, a[i], out + i))
BY_ROW(up_long, int64_t, int64_t, up_result(s, a[i], out + i))
BY_ROW(up_wide, dpi_i128, dpi_i128, dpi_mul128(a[i], dpi_pow10(s->imm), out + i) ? ROW_OVERFLOW : 0)
BY_ROW(down_long_rows, int64_t, int64_t, down_result(s, a[i], out + i))
BY_ROW(down_wide_rows, dpi_i128, dpi_i128, down_wide(s, a[i], out + i))

static void digits_long(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS], bad[WORDS] = { 0 };
	const int64_t *a = s->a->data;
	int64_t most = (int64_t)dpi_pow10(s->imm);
	memcpy(s->out->data, a, r->rows * sizeof *a);
	if (s->imm == DPI_DIGITS_64 && !r->kernels->beyond(a, r->rows, NULL)) {
		dpi_step_valid(s);
		return;
	}
	dpi_step_rows(r, s, rows);
	EACH_ROW (rows)
		if (a[ROW] >= most || a[ROW] <= -most) MARK(bad);
	finish(r, s, rows, bad, ROW_OVERFLOW);
}

/* ------------------------------------------------------------------------------------------ rounding of doubles */

#define WHOLE 4503599627370496.0 /* from here on, no double has a fraction */

static double whole(double x, int how)
{
	if (!(x < WHOLE && x > -WHOLE)) return x;
	double t = (double)(int64_t)x, rest = x - t;
	if (how == DPI_ROUND_FLOOR) return rest < 0 ? t - 1 : t;
	if (how == DPI_ROUND_CEIL) return rest > 0 ? t + 1 : t;
	return rest >= 0.5 ? t + 1 : rest <= -0.5 ? t - 1 : t;
}

static double round_to(double x, uint32_t digits)
{
	double p = (double)dpi_pow10(digits), scaled = x * p;
	if (!digits) return whole(x, DPI_ROUND_NEAREST);
	return scaled < WHOLE && scaled > -WHOLE ? whole(scaled, DPI_ROUND_NEAREST) / p : x;
}

static void round_loop(struct dpi_run *r, const struct dpi_step *s)
{
	const double *a = s->a->data;
	double *out = s->out->data;
	for (size_t i = 0; i < r->rows; i++)
		out[i] = s->op == OP_ROUND ? round_to(a[i], s->imm)
					   : whole(a[i], s->op == OP_FLOOR ? DPI_ROUND_FLOOR : DPI_ROUND_CEIL);
	dpi_step_valid(s);
}

static dpi_step_function *of_kind(int kind, dpi_step_function *i64, dpi_step_function *u64, dpi_step_function *f64,
				  dpi_step_function *i128)
{
	return kind == KIND_I64 ? i64 : kind == KIND_U64 ? u64 : kind == KIND_F64 ? f64 : i128;
}

dpi_step_function *dpi_step_number(const struct dpi_step *s)
{
	switch (s->op) {
	case OP_ADD:
	case OP_SUB:
	case OP_MUL: return of_kind(s->kind, arithmetic_loop, arithmetic_loop, arithmetic_loop, wide);
	case OP_DIV: return of_kind(s->kind, divide_long, divide_unsigned, divide_real, wide);
	case OP_MOD: return of_kind(s->kind, divide_long, divide_unsigned, remainder_real, wide);
	case OP_NEG: return of_kind(s->kind, negate_long, NULL, negate_real, negate_wide);
	case OP_ABS: return of_kind(s->kind, absolute_long, NULL, absolute_real, absolute_wide);
	case OP_SIGN: return of_kind(s->kind, sign_long, sign_unsigned, sign_real, sign_wide);
	case OP_UP: return of_kind(s->kind, up_long, NULL, NULL, up_wide);
	case OP_DOWN: return of_kind(s->kind, down_long_rows, NULL, NULL, down_wide_rows);
	case OP_DIGITS: return of_kind(s->kind, digits_long, NULL, NULL, digits_wide);
	case OP_FLOOR:
	case OP_CEIL:
	case OP_ROUND: return round_loop;
	case OP_SQRT: return root;
	case OP_POWER: return power;
	default: return NULL;
	}
}
