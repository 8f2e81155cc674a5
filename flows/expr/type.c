/* SPDX-License-Identifier: Apache-2.0
 * type.c: types of expressions and how they meet. */
#include "type.h"

#include <stdio.h>
#include <string.h>

#include "error.h"

#define MOST(a, b) ((a) > (b) ? (a) : (b))

size_t dpi_kind_width(int kind)
{
	static const uint8_t width[KIND_COUNT] = { 0, 0, 1, 2, 4, 8, 1, 2, 4, 8, 4, 8, 16, sizeof(struct dpi_text) };
	return width[kind];
}

int dpi_type_kind(int type)
{
	static const uint8_t kind[] = { 0,	  KIND_BOOL, KIND_I8,	KIND_I16,  KIND_I32,  KIND_I64,
					KIND_U8,  KIND_U16,  KIND_U32,	KIND_U64,  KIND_F32,  KIND_F64,
					KIND_I32, KIND_I64,  KIND_I128, KIND_TEXT, KIND_TEXT, KIND_TEXT };
	return type > 0 && type < (int)sizeof kind ? kind[type] : 0;
}

struct dpi_expr_type dpi_type_of(int type)
{
	return (struct dpi_expr_type){ .type = type };
}

struct dpi_expr_type dpi_type_decimal(int precision, int scale)
{
	int type = precision <= DPI_DIGITS_64 ? DPI_TYPE_DECIMAL64 : DPI_TYPE_DECIMAL128;
	return (struct dpi_expr_type){ .type = type, .precision = precision, .scale = scale };
}

bool dpi_type_same(const struct dpi_expr_type *a, const struct dpi_expr_type *b)
{
	if (a->type != b->type) return false;
	if (a->type == DPI_TYPE_FIXED) return a->width == b->width;
	return !dpi_type_is_decimal(a->type) || (a->precision == b->precision && a->scale == b->scale);
}

int dpi_type_digits(int type)
{
	static const uint8_t digits[] = { 3, 5, 10, 19, 3, 5, 10, 20 };
	return digits[type - DPI_TYPE_INT8];
}

struct dpi_expr_type dpi_type_as_decimal(const struct dpi_expr_type *t)
{
	return dpi_type_is_decimal(t->type) ? *t : dpi_type_decimal(dpi_type_digits(t->type), 0);
}

static int common_integer(int a, int b)
{
	if (dpi_type_is_unsigned(a) == dpi_type_is_unsigned(b)) return MOST(a, b);
	int s = dpi_type_is_unsigned(a) ? b : a, u = dpi_type_is_unsigned(a) ? a : b;
	if (u == DPI_TYPE_UINT64) return DPI_TYPE_DECIMAL128;
	int wider = u - DPI_TYPE_UINT8 + DPI_TYPE_INT8 + 1;
	return MOST(s, wider);
}

bool dpi_type_common(const struct dpi_expr_type *a, const struct dpi_expr_type *b, struct dpi_expr_type *out)
{
	int s = a->type, t = b->type;
	if (s == DPI_TYPE_NONE || t == DPI_TYPE_NONE) return *out = s == DPI_TYPE_NONE ? *b : *a, true;
	if (dpi_type_same(a, b)) return *out = *a, true;
	if (dpi_type_is_bytes(s) && dpi_type_is_bytes(t)) return *out = dpi_type_of(DPI_TYPE_BINARY), true;
	if (!dpi_type_is_number(s) || !dpi_type_is_number(t)) return false;
	*out = dpi_type_of(DPI_TYPE_DOUBLE);
	if (dpi_type_is_real(s) || dpi_type_is_real(t)) return true;
	if (dpi_type_is_integer(s) && dpi_type_is_integer(t)) {
		int type = common_integer(s, t);
		*out = type == DPI_TYPE_DECIMAL128 ? dpi_type_decimal(20, 0) : dpi_type_of(type);
		return true;
	}
	struct dpi_expr_type x = dpi_type_as_decimal(a), y = dpi_type_as_decimal(b);
	int scale = MOST(x.scale, y.scale), precision = MOST(x.precision - x.scale, y.precision - y.scale) + scale;
	if (precision <= DPI_DIGITS_128) {
		*out = dpi_type_decimal(precision, scale);
		if (s == DPI_TYPE_DECIMAL128 || t == DPI_TYPE_DECIMAL128) out->type = DPI_TYPE_DECIMAL128;
	}
	return true;
}

bool dpi_type_castable(int from, int to)
{
	if (from == DPI_TYPE_NONE || from == to) return true;
	if (from == DPI_TYPE_UTF8) return true;
	if (to == DPI_TYPE_UTF8) return true;
	if (dpi_type_is_bytes(from)) return dpi_type_is_bytes(to);
	if (dpi_type_is_number(from) && dpi_type_is_number(to)) return true;
	return (from == DPI_TYPE_BOOL && dpi_type_is_integer(to)) || (to == DPI_TYPE_BOOL && dpi_type_is_integer(from));
}

const char *dpi_type_print(const struct dpi_expr_type *t, char *text)
{
	static const char *const name[] = { "NULL",
#define TYPE_NAME(name, number, width, meaning) #name,
					    DPI_TYPES(TYPE_NAME)
#undef TYPE_NAME
	};
	const char *n = t->type >= 0 && t->type < (int)(sizeof name / sizeof *name) ? name[t->type] : "?";
	if (dpi_type_is_decimal(t->type)) snprintf(text, DPI_TYPE_PRINTED, "DECIMAL(%d,%d)", t->precision, t->scale);
	else if (t->type == DPI_TYPE_FIXED) snprintf(text, DPI_TYPE_PRINTED, "FIXED(%u)", (unsigned)t->width);
	else snprintf(text, DPI_TYPE_PRINTED, "%s", t->type == DPI_TYPE_DATE32 ? "DATE" : n);
	return text;
}

int dpi_type_of_column(const struct dpi_expr_column *c, int index, struct dpi_expr_type *out)
{
	const char *name = c->name ? c->name : "";
	if (!dpi_type_kind(c->type))
		return dpi_fail(DPI_ERR_ARGUMENT, "column %d '%s' has type %d: see DPI_TYPES in dpi.h", index, name,
				c->type);
	*out = (struct dpi_expr_type){ .type = c->type, .nullable = c->nullable };
	if (c->type == DPI_TYPE_FIXED) {
		if (!c->width || c->width > INT32_MAX)
			return dpi_fail(DPI_ERR_ARGUMENT, "column %d '%s' is FIXED of %u bytes: 1 to 2147483647", index,
					name, (unsigned)c->width);
		out->width = c->width;
	}
	if (dpi_type_is_decimal(c->type)) {
		int most = c->type == DPI_TYPE_DECIMAL64 ? DPI_DIGITS_64 : DPI_DIGITS_128;
		out->precision = c->precision ? c->precision : most;
		out->scale = c->scale;
		if (out->precision < 1 || out->precision > most || out->scale < 0 || out->scale > out->precision)
			return dpi_fail(
				DPI_ERR_ARGUMENT,
				"column %d '%s' is DECIMAL(%d,%d): at most %d digits, of them none to all behind the point",
				index, name, out->precision, out->scale, most);
	}
	return DPI_SUCCESS;
}
