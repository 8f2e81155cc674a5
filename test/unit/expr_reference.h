/* SPDX-License-Identifier: Apache-2.0
 * expr_reference.h: an interpreter of checked trees, one row at a time, as plain as can be: what programs are tested
 * against. An operation that has an error yields NULL and marks the row. */
#ifndef EXPR_REFERENCE_H
#define EXPR_REFERENCE_H

#include <dlfcn.h>
#include <time.h>

#include "flows/expr/ast.h"
#include "flows/expr/convert.h"
#include "flows/expr/program.h"

struct value {
	bool null;
	dpi_i128 number; /* bool, integers, dates, unscaled decimals */
	double real;	 /* float, double */
	const char *text;
	size_t size;
};

struct reference {
	const struct dpi_batch *batch;
	size_t row;
	bool bad;
	char memory[1 << 16];
	size_t used;
};

static struct value ref_eval(struct reference *r, const struct dpi_node *n);
static const struct value ref_null = { .null = true };

static struct value ref_error(struct reference *r)
{
	r->bad = true;
	return ref_null;
}

static struct value ref_number(dpi_i128 n)
{
	return (struct value){ .number = n };
}
static struct value ref_real(double x)
{
	return (struct value){ .real = x };
}
static struct value ref_text(const char *text, size_t size)
{
	return (struct value){ .text = text, .size = size };
}

static char *ref_memory(struct reference *r, size_t size)
{
	if (size > sizeof r->memory - r->used) FAIL("the reference has no memory for %zu bytes", size);
	r->used += size;
	return r->memory + r->used - size;
}

/* ---------------------------------------------------------------------------------------------------------- leaves */

static struct value ref_column(const struct dpi_batch *batch, int column, size_t i)
{
	const struct dpi_vector *v = batch->column + column;
	const uint8_t *p = v->data;
	dpi_i128 wide;
	float f;
	double x;
	if (dpi_is_null(v, i)) return ref_null;
#define WHOLE(T) return ref_number(((const T *)(const void *)p)[i])
	switch (v->type) {
	case DPI_TYPE_BOOL: return ref_number(dpi_bit(p, i));
	case DPI_TYPE_INT8: WHOLE(int8_t);
	case DPI_TYPE_INT16: WHOLE(int16_t);
	case DPI_TYPE_INT32:
	case DPI_TYPE_DATE32: WHOLE(int32_t);
	case DPI_TYPE_INT64:
	case DPI_TYPE_DECIMAL64: WHOLE(int64_t);
	case DPI_TYPE_UINT8: WHOLE(uint8_t);
	case DPI_TYPE_UINT16: WHOLE(uint16_t);
	case DPI_TYPE_UINT32: WHOLE(uint32_t);
	case DPI_TYPE_UINT64: WHOLE(uint64_t);
	case DPI_TYPE_DECIMAL128: memcpy(&wide, p + 16 * i, 16); return ref_number(wide);
	case DPI_TYPE_FLOAT: memcpy(&f, p + 4 * i, 4); return ref_real((double)f);
	case DPI_TYPE_DOUBLE: memcpy(&x, p + 8 * i, 8); return ref_real(x);
	case DPI_TYPE_FIXED: return ref_text((const char *)p + i * v->width, v->width);
	default: return ref_text((const char *)p + v->offset[i], (size_t)(v->offset[i + 1] - v->offset[i]));
	}
#undef WHOLE
}

static struct value ref_literal(const struct dpi_node *n)
{
	if (n->null) return ref_null;
	if (n->type.type == DPI_TYPE_FLOAT) return ref_real((double)(float)n->real);
	return (struct value){
		.number = n->number, .real = n->real, .text = (const char *)n->text.at, .size = n->text.size
	};
}

/* Does a value fit its type? */
static bool ref_fits(dpi_i128 v, const struct dpi_expr_type *t)
{
	static const int bits[] = { [DPI_TYPE_INT8] = 7,    [DPI_TYPE_INT16] = 15,  [DPI_TYPE_INT32] = 31,
				    [DPI_TYPE_INT64] = 63,  [DPI_TYPE_UINT8] = 8,   [DPI_TYPE_UINT16] = 16,
				    [DPI_TYPE_UINT32] = 32, [DPI_TYPE_UINT64] = 64, [DPI_TYPE_DATE32] = 31 };
	if (dpi_type_is_decimal(t->type))
		return v < dpi_pow10((unsigned)t->precision) && v > -dpi_pow10((unsigned)t->precision);
	dpi_i128 limit = (dpi_i128)1 << bits[t->type];
	return v < limit && v >= (dpi_type_is_unsigned(t->type) ? 0 : -limit);
}

static struct value ref_sized(struct reference *r, dpi_i128 v, const struct dpi_expr_type *t)
{
	return ref_fits(v, t) ? ref_number(v) : ref_error(r);
}

/* --------------------------------------------------------------------------------------------------------- numbers */

static dpi_i128 ref_divide_rounded(dpi_i128 v, dpi_i128 by) /* halves away from zero */
{
	dpi_i128 q = v / by, rest = v % by;
	if (rest < 0) rest = -rest;
	if (rest >= by - rest) q += v < 0 ? -1 : 1;
	return q;
}

static double ref_whole(double x) /* towards zero */
{
	return x < 1e30 && x > -1e30 ? (double)(dpi_i128)x : x;
}

static double ref_nearest(double x)
{
	double t = ref_whole(x), rest = x - t;
	return rest >= 0.5 ? t + 1 : rest <= -0.5 ? t - 1 : t;
}

static struct value ref_arithmetic(struct reference *r, const struct dpi_node *n, struct value a, struct value b)
{
	dpi_i128 v;
	if (n->type.type == DPI_TYPE_DOUBLE) {
		if ((n->op == NODE_DIV || n->op == NODE_MOD) && b.real == 0) return ref_error(r);
		switch (n->op) {
		case NODE_ADD: return ref_real(a.real + b.real);
		case NODE_SUB: return ref_real(a.real - b.real);
		case NODE_MUL: return ref_real(a.real * b.real);
		case NODE_DIV: return ref_real(a.real / b.real);
		default: return ref_real(dpi_remainder()(a.real, b.real));
		}
	}
	if ((n->op == NODE_DIV || n->op == NODE_MOD) && !b.number) return ref_error(r);
	switch (n->op) {
	case NODE_ADD: v = a.number + b.number; break;
	case NODE_SUB: v = a.number - b.number; break;
	case NODE_MUL:
		if (dpi_mul128(a.number, b.number, &v)) return ref_error(r);
		break;
	case NODE_DIV: v = a.number / b.number; break;
	default: v = a.number % b.number; break;
	}
	return ref_sized(r, v, &n->type);
}

static struct value ref_rounding(const struct dpi_node *n, struct value a)
{
	if (n->type.type == DPI_TYPE_DOUBLE) {
		double x = a.real, t = ref_whole(x), p = (double)dpi_pow10((unsigned)(n->op == NODE_ROUND ? n->number : 0));
		if (n->op == NODE_FLOOR) return ref_real(t > x ? t - 1 : t);
		if (n->op == NODE_CEIL) return ref_real(t < x ? t + 1 : t);
		if (!n->number) return ref_real(ref_nearest(x));
		return ref_real(x * p < 4503599627370496.0 && x * p > -4503599627370496.0 ? ref_nearest(x * p) / p : x);
	}
	dpi_i128 by = dpi_pow10((unsigned)(n->kid[0]->type.scale - n->type.scale)), q = a.number / by, rest = a.number % by;
	if (n->op == NODE_FLOOR) return ref_number(q - (rest < 0));
	if (n->op == NODE_CEIL) return ref_number(q + (rest > 0));
	return ref_number(ref_divide_rounded(a.number, by));
}

static double ref_root(double x)
{
	static double (*root)(double);
	if (!root) *(void **)&root = dlsym(dlopen("libm.so.6", RTLD_NOW), "sqrt");
	return root(x);
}

static struct value ref_function(struct reference *r, const struct dpi_node *n, struct value a, struct value b)
{
	bool real = n->kid[0]->type.type == DPI_TYPE_DOUBLE;
	double x;
	switch (n->op) {
	case NODE_NEG: return real ? ref_real(-a.real) : ref_sized(r, -a.number, &n->type);
	case NODE_ABS:
		if (real) return ref_real(a.real <= 0 ? 0 - a.real : a.real);
		return ref_sized(r, a.number < 0 ? -a.number : a.number, &n->type);
	case NODE_SIGN: return ref_number(real ? (a.real > 0) - (a.real < 0) : (a.number > 0) - (a.number < 0));
	case NODE_SQRT: return a.real < 0 ? ref_error(r) : ref_real(ref_root(a.real));
	default:
		x = dpi_power()(a.real, b.real);
		if (x != x && a.real == a.real && b.real == b.real) return ref_error(r);
		if (x - x != 0 && a.real - a.real == 0 && b.real - b.real == 0) return ref_error(r);
		return ref_real(x);
	}
}

/* -------------------------------------------------------------------------------------------------------- compare */

static int ref_compare(const struct dpi_expr_type *t, struct value a, struct value b)
{
	if (dpi_type_is_real(t->type)) {
		bool x = a.real != a.real, y = b.real != b.real;
		return x || y ? x - y : (a.real > b.real) - (a.real < b.real);
	}
	if (!dpi_type_is_text(t->type)) return (a.number > b.number) - (a.number < b.number);
	for (size_t i = 0; i < a.size && i < b.size; i++)
		if (a.text[i] != b.text[i]) return (uint8_t)a.text[i] < (uint8_t)b.text[i] ? -1 : 1;
	return (a.size > b.size) - (a.size < b.size);
}

static struct value ref_relation(int op, const struct dpi_expr_type *t, struct value a, struct value b)
{
	if (a.null || b.null) return ref_null;
	int c = ref_compare(t, a, b);
	switch (op) {
	case NODE_EQ: return ref_number(c == 0);
	case NODE_NE: return ref_number(c != 0);
	case NODE_LT: return ref_number(c < 0);
	case NODE_LE: return ref_number(c <= 0);
	case NODE_GT: return ref_number(c > 0);
	default: return ref_number(c >= 0);
	}
}

static struct value ref_and(struct value a, struct value b)
{
	if ((!a.null && !a.number) || (!b.null && !b.number)) return ref_number(0);
	return a.null || b.null ? ref_null : ref_number(1);
}

static struct value ref_in(struct reference *r, const struct dpi_node *n)
{
	struct value x = ref_eval(r, n->kid[0]);
	bool unknown = false;
	for (int literals = 1; literals >= 0; literals--)
		for (int i = 1; i < n->kids; i++) {
			bool literal =
				n->kid[i]->op == NODE_LITERAL && !n->kid[i]->null && n->kid[0]->type.type != DPI_TYPE_BOOL;
			if (literal != literals) continue;
			struct value same = ref_relation(NODE_EQ, &n->kid[0]->type, x, ref_eval(r, n->kid[i]));
			if (!same.null && same.number) return ref_number(1);
			unknown |= same.null;
		}
	return unknown ? ref_null : ref_number(0);
}

/* ------------------------------------------------------------------------------------------------------------ text */

/* Characters: where each begins; at most 256. */
struct characters {
	int count;
	size_t at[300];
};

static void ref_characters(const char *text, size_t size, struct characters *c)
{
	c->count = 0;
	for (size_t i = 0; i < size; i++)
		if ((text[i] & 0xc0) != 0x80 && c->count < 299) c->at[c->count++] = i;
	c->at[c->count] = size;
}

static struct value ref_substring(struct reference *r, const struct dpi_node *n, const struct value *v)
{
	struct characters c;
	dpi_i128 start = v[1].number, end = n->kids > 2 ? start + v[2].number : INT64_MAX;
	if (n->kids > 2 && v[2].number < 0) return ref_error(r);
	ref_characters(v[0].text, v[0].size, &c);
	if (n->type.type == DPI_TYPE_BINARY)
		for (c.count = 0; c.count <= (int)v[0].size; c.count++) c.at[c.count] = (size_t)c.count;
	if (n->type.type == DPI_TYPE_BINARY) c.count--;
	int first = -1, last = -1;
	for (int i = 0; i < c.count; i++)
		if (i + 1 >= start && i + 1 < end) last = i, first = first < 0 ? i : first;
	return first < 0 ? ref_text("", 0) : ref_text(v[0].text + c.at[first], c.at[last + 1] - c.at[first]);
}

static bool ref_same(const char *a, const struct characters *x, int i, const char *b, const struct characters *y, int j)
{
	size_t n = x->at[i + 1] - x->at[i];
	return n == y->at[j + 1] - y->at[j] && !memcmp(a + x->at[i], b + y->at[j], n);
}

static struct value ref_trim(const struct dpi_node *n, struct value text, struct value set)
{
	struct characters t, s;
	ref_characters(text.text, text.size, &t);
	ref_characters(set.text, set.size, &s);
	int first = 0, last = t.count;
	for (int side = 1; side <= 2; side++)
		while (n->number & side && first < last) {
			int c = side == 1 ? first : last - 1, k = 0;
			while (k < s.count && !ref_same(text.text, &t, c, set.text, &s, k)) k++;
			if (k == s.count) break;
			if (side == 1) first++;
			else last--;
		}
	return ref_text(text.text + t.at[first], t.at[last] - t.at[first]);
}

static bool ref_like(const char *text, const struct characters *t, int i, const char *like, const struct characters *p,
		     int j, int escape)
{
	if (j == p->count) return i == t->count;
	int c = (uint8_t)like[p->at[j]];
	if (escape && c == escape)
		return i < t->count && ref_same(text, t, i, like, p, j + 1) &&
		       ref_like(text, t, i + 1, like, p, j + 2, escape);
	if (c == '%') {
		for (int k = i; k <= t->count; k++)
			if (ref_like(text, t, k, like, p, j + 1, escape)) return true;
		return false;
	}
	return i < t->count && (c == '_' || ref_same(text, t, i, like, p, j)) &&
	       ref_like(text, t, i + 1, like, p, j + 1, escape);
}

static struct value ref_like_of(struct reference *r, const struct dpi_node *n, struct value text, struct value pattern)
{
	struct characters t, p;
	int escape = (int)n->number;
	ref_characters(text.text, text.size, &t);
	ref_characters(pattern.text, pattern.size, &p);
	for (int j = 0; escape && j < p.count; j++)
		if ((uint8_t)pattern.text[p.at[j]] == escape && ++j == p.count) return ref_error(r);
	return ref_number(ref_like(text.text, &t, 0, pattern.text, &p, 0, escape));
}

static struct value ref_joined(struct reference *r, struct value a, struct value b)
{
	char *to = ref_memory(r, a.size + b.size);
	for (size_t i = 0; i < a.size + b.size; i++) to[i] = i < a.size ? a.text[i] : b.text[i - a.size];
	return ref_text(to, a.size + b.size);
}

static struct value ref_text_function(struct reference *r, const struct dpi_node *n, const struct value *v)
{
	struct characters c;
	char *to;
	bool binary = n->kid[0]->type.type != DPI_TYPE_UTF8;
	switch (n->op) {
	case NODE_LENGTH: ref_characters(v[0].text, v[0].size, &c); return ref_number(binary ? (int)v[0].size : c.count);
	case NODE_OCTETS: return ref_number((dpi_i128)v[0].size);
	case NODE_LOWER:
	case NODE_UPPER:
		to = ref_memory(r, v[0].size);
		for (size_t i = 0; i < v[0].size; i++) {
			char x = v[0].text[i];
			to[i] = n->op == NODE_LOWER && x >= 'A' && x <= 'Z'   ? (char)(x + 32)
				: n->op == NODE_UPPER && x >= 'a' && x <= 'z' ? (char)(x - 32)
									      : x;
		}
		return ref_text(to, v[0].size);
	case NODE_SUBSTRING: return ref_substring(r, n, v);
	case NODE_TRIM: return ref_trim(n, v[0], v[1]);
	case NODE_JOIN: return ref_joined(r, v[0], v[1]);
	case NODE_STARTS: return ref_number(v[0].size >= v[1].size && !memcmp(v[0].text, v[1].text, v[1].size));
	case NODE_POSITION:
		for (size_t i = 0, chars = 1; i + v[0].size <= v[1].size; i++) {
			if (!memcmp(v[1].text + i, v[0].text, v[0].size))
				return ref_number((dpi_i128)(binary ? i + 1 : chars));
			chars += i + 1 <= v[1].size && (v[1].text[i] & 0xc0) != 0x80;
		}
		return ref_number(0);
	default: return ref_like_of(r, n, v[0], v[1]);
	}
}

/* ----------------------------------------------------------------------------------------------------------- dates */

static struct tm ref_civil(dpi_i128 days)
{
	struct tm t;
	time_t seconds = (time_t)days * 86400;
	gmtime_r(&seconds, &t);
	return t;
}

static dpi_i128 ref_days(int64_t year, int month, int day) /* month from 0 */
{
	struct tm t = { .tm_year = (int)(year - 1900), .tm_mon = month, .tm_mday = day };
	return timegm(&t) / 86400;
}

static struct value ref_part(const struct dpi_node *n, struct value a)
{
	struct tm t = ref_civil(a.number);
	switch ((int)n->number) {
	case DPI_YEAR: return ref_number((dpi_i128)t.tm_year + 1900);
	case DPI_QUARTER: return ref_number(t.tm_mon / 3 + 1);
	case DPI_MONTH: return ref_number(t.tm_mon + 1);
	case DPI_DAY: return ref_number(t.tm_mday);
	case DPI_DOW: return ref_number(t.tm_wday);
	default: return ref_number(t.tm_yday + 1);
	}
}

static struct value ref_cut(struct reference *r, const struct dpi_node *n, struct value a)
{
	struct tm t = ref_civil(a.number);
	int64_t year = (int64_t)t.tm_year + 1900;
	switch ((int)n->number) {
	case DPI_YEAR: return ref_sized(r, a.number - t.tm_yday, &n->type);
	case DPI_QUARTER: return ref_sized(r, ref_days(year, t.tm_mon / 3 * 3, 1), &n->type);
	case DPI_MONTH: return ref_sized(r, a.number - t.tm_mday + 1, &n->type);
	case DPI_WEEK: return ref_sized(r, a.number - (t.tm_wday + 6) % 7, &n->type);
	default: return a;
	}
}

static struct value ref_months(struct reference *r, const struct dpi_node *n, struct value a, struct value b)
{
	struct tm t = ref_civil(a.number);
	dpi_i128 months = ((dpi_i128)t.tm_year + 1900) * 12 + t.tm_mon + b.number * n->number, year = months / 12,
		 month = months % 12;
	if (month < 0) month += 12, year--;
	if (year > 6000000 || year < -6000000) return ref_error(r);
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int last = days[month] + (month == 1 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
	return ref_sized(r, ref_days((int64_t)year, (int)month, t.tm_mday < last ? t.tm_mday : last), &n->type);
}

/* ----------------------------------------------------------------------------------------------------------- casts */

static struct value ref_from_text(struct reference *r, struct value a, const struct dpi_expr_type *to)
{
	struct dpi_text t = { (const uint8_t *)a.text, a.size };
	dpi_i128 wide = 0;
	int32_t days;
	double real;
	bool truth, good;
	if (to->type == DPI_TYPE_BOOL) return dpi_parse_bool(t, &truth) ? ref_number(truth) : ref_error(r);
	if (to->type == DPI_TYPE_DATE32) return dpi_parse_date(t, &days) ? ref_number(days) : ref_error(r);
	if (to->type == DPI_TYPE_BINARY) return a;
	if (to->type == DPI_TYPE_FIXED) return a.size == to->width ? a : ref_error(r);
	if (dpi_type_is_decimal(to->type))
		return dpi_parse_decimal(t, to->precision, to->scale, &wide) ? ref_number(wide) : ref_error(r);
	if (dpi_type_is_real(to->type)) {
		good = dpi_parse_real(t, &real);
		if (good && to->type == DPI_TYPE_FLOAT && real - real == 0 && (float)real - (float)real != 0) good = false;
		return good ? ref_real(to->type == DPI_TYPE_FLOAT ? (double)(float)real : real) : ref_error(r);
	}
	good = !memchr(a.text, '.', a.size) && !memchr(a.text, 'e', a.size) && !memchr(a.text, 'E', a.size) &&
	       dpi_parse_decimal(t, 38, 0, &wide);
	return good ? ref_sized(r, wide, to) : ref_error(r);
}

static struct value ref_to_text(struct reference *r, struct value a, const struct dpi_expr_type *from)
{
	char *text = ref_memory(r, 64);
	if (from->type == DPI_TYPE_BOOL) return a.number ? ref_text("true", 4) : ref_text("false", 5);
	if (dpi_type_is_bytes(from->type))
		return dpi_utf8_valid((const uint8_t *)a.text, a.size) == a.size ? a : ref_error(r);
	if (dpi_type_is_real(from->type)) return ref_text(text, dpi_print_real(a.real, from->type == DPI_TYPE_FLOAT, text));
	if (from->type == DPI_TYPE_DATE32) {
		struct tm t = ref_civil(a.number);
		long long year = (long long)t.tm_year + 1900;
		return ref_text(text, (size_t)sprintf(text, "%s%04lld-%02d-%02d", year < 0 ? "-" : "",
						      year < 0 ? -year : year, t.tm_mon + 1, t.tm_mday));
	}
	char *p = text + 64;
	dpi_i128 v = a.number < 0 ? -a.number : a.number;
	int digits = 0;
	do {
		if (digits == from->scale && digits) *--p = '.';
		*--p = (char)('0' + (int)(v % 10)), v /= 10;
	} while (++digits <= from->scale || v);
	if (a.number < 0) *--p = '-';
	return ref_text(p, (size_t)(text + 64 - p));
}

static struct value ref_cast(struct reference *r, struct value a, const struct dpi_expr_type *from,
			     const struct dpi_expr_type *to)
{
	if (dpi_type_same(from, to)) return a;
	if (to->type == DPI_TYPE_UTF8) return ref_to_text(r, a, from);
	if (dpi_type_is_text(from->type)) return ref_from_text(r, a, to);
	if (to->type == DPI_TYPE_BOOL) return ref_number(a.number != 0);
	int scale = dpi_type_is_decimal(from->type) ? from->scale : 0;
	if (dpi_type_is_real(to->type)) {
		if (!dpi_type_is_real(from->type)) a.real = (double)a.number / (double)dpi_pow10((unsigned)scale);
		if (to->type == DPI_TYPE_DOUBLE) return ref_real(a.real);
		return a.real - a.real == 0 && (float)a.real - (float)a.real != 0 ? ref_error(r)
										  : ref_real((double)(float)a.real);
	}
	int more = (dpi_type_is_decimal(to->type) ? to->scale : 0) - scale;
	if (dpi_type_is_real(from->type)) {
		double x = ref_nearest(a.real * (double)dpi_pow10((unsigned)more));
		return x < 1.5e38 && x > -1.5e38 ? ref_sized(r, (dpi_i128)x, to) : ref_error(r);
	}
	if (more < 0) return ref_sized(r, ref_divide_rounded(a.number, dpi_pow10((unsigned)-more)), to);
	return dpi_mul128(a.number, dpi_pow10((unsigned)more), &a.number) ? ref_error(r) : ref_sized(r, a.number, to);
}

/* ------------------------------------------------------------------------------------------------------- all nodes */

static struct value ref_case(struct reference *r, const struct dpi_node *n)
{
	for (int i = 0; i + 1 < n->kids; i += 2) {
		struct value c = ref_eval(r, n->kid[i]);
		if (!c.null && c.number) return ref_eval(r, n->kid[i + 1]);
	}
	return ref_eval(r, n->kid[n->kids - 1]);
}

/* Those that do not look at all their operands, or at NULLs. */
static bool ref_lazy(struct reference *r, const struct dpi_node *n, struct value *out)
{
	struct value a = ref_null, b;
	switch (n->op) {
	case NODE_AND:
	case NODE_OR:
		a = ref_eval(r, n->kid[0]);
		if (!a.null && (a.number != 0) == (n->op == NODE_OR)) return *out = a, true;
		b = ref_eval(r, n->kid[1]);
		if (n->op == NODE_AND) return *out = ref_and(a, b), true;
		a.number = !a.number, b.number = !b.number;
		*out = ref_and(a, b);
		out->number = !out->number;
		return true;
	case NODE_BETWEEN:
		a = ref_eval(r, n->kid[0]);
		b = ref_relation(NODE_GE, &n->kid[0]->type, a, ref_eval(r, n->kid[1]));
		if (!b.null && !b.number) return *out = b, true;
		return *out = ref_and(b, ref_relation(NODE_LE, &n->kid[0]->type, a, ref_eval(r, n->kid[2]))), true;
	case NODE_IN: return *out = ref_in(r, n), true;
	case NODE_CASE: return *out = ref_case(r, n), true;
	case NODE_COALESCE:
		for (int i = 0; i < n->kids && a.null; i++) a = ref_eval(r, n->kid[i]);
		return *out = a, true;
	case NODE_IS_NULL: return *out = ref_number(ref_eval(r, n->kid[0]).null), true;
	case NODE_DISTINCT:
		a = ref_eval(r, n->kid[0]), b = ref_eval(r, n->kid[1]);
		*out = ref_number(a.null || b.null ? a.null != b.null : ref_compare(&n->kid[0]->type, a, b) != 0);
		return true;
	case NODE_NULLIF:
		a = ref_eval(r, n->kid[0]), b = ref_eval(r, n->kid[1]);
		return *out = !b.null && b.number ? ref_null : a, true;
	case NODE_LEAST:
	case NODE_GREATEST:
		for (int i = 0; i < n->kids; i++) {
			b = ref_eval(r, n->kid[i]);
			if (b.null) continue;
			int c = a.null ? 0 : ref_compare(&n->type, b, a);
			if (a.null || (n->op == NODE_LEAST ? c < 0 : c > 0)) a = b;
		}
		return *out = a, true;
	case NODE_CONCAT:
		a = ref_text("", 0);
		for (int i = 0; i < n->kids; i++) {
			b = ref_eval(r, n->kid[i]);
			if (!b.null) a = ref_joined(r, a, b);
		}
		return *out = a, true;
	default: return false;
	}
}

static struct value ref_eval(struct reference *r, const struct dpi_node *n)
{
	struct value v[3] = { ref_null, ref_null, ref_null }, out;
	if (n->op == NODE_LITERAL) return ref_literal(n);
	if (n->op == NODE_COLUMN) return ref_column(r->batch, (int)n->number, r->row);
	if (ref_lazy(r, n, &out)) return out;
	for (int i = 0; i < n->kids; i++) v[i] = ref_eval(r, n->kid[i]);
	for (int i = 0; i < n->kids; i++)
		if (v[i].null) return ref_null;
	if (n->op >= NODE_EQ && n->op <= NODE_GE) return ref_relation(n->op, &n->kid[0]->type, v[0], v[1]);
	switch (n->op) {
	case NODE_CAST: return ref_cast(r, v[0], &n->kid[0]->type, &n->type);
	case NODE_ADD:
	case NODE_SUB:
	case NODE_MUL:
	case NODE_DIV:
	case NODE_MOD: return ref_arithmetic(r, n, v[0], v[1]);
	case NODE_NOT: return ref_number(!v[0].number);
	case NODE_ROUND:
	case NODE_FLOOR:
	case NODE_CEIL: return ref_rounding(n, v[0]);
	case NODE_NEG:
	case NODE_ABS:
	case NODE_SIGN:
	case NODE_SQRT:
	case NODE_POWER: return ref_function(r, n, v[0], v[1]);
	case NODE_EXTRACT: return ref_part(n, v[0]);
	case NODE_TRUNC: return ref_cut(r, n, v[0]);
	case NODE_ADD_MONTHS: return ref_months(r, n, v[0], v[1]);
	case NODE_ADD_DAYS: return ref_sized(r, v[0].number + v[1].number, &n->type);
	case NODE_SUB_DAYS: return ref_sized(r, v[0].number - v[1].number, &n->type);
	case NODE_DAYS: return ref_number(v[0].number - v[1].number);
	default: return ref_text_function(r, n, v);
	}
}

#endif
