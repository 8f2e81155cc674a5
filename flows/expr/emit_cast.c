/* SPDX-License-Identifier: Apache-2.0
 * emit_cast.c: casts as instructions. Numbers go through INT64, UINT64, 128 bits or DOUBLE. */
#include "emit.h"

static int convert(struct dpi_emitter *e, int v, int kind, int mask)
{
	if (v == EMIT_FAILED || dpi_emit_kind(e, v) == kind) return v;
	return dpi_emit(e, OP_CONVERT, mask, (uint32_t)kind, v, EMIT_NONE, EMIT_NONE);
}

static int integer(struct dpi_emitter *e, int v, int kind, int mask)
{
	int from = v == EMIT_FAILED ? kind : dpi_emit_kind(e, v);
	if (from == kind) return v;
	if (from != KIND_I64 && kind != KIND_I64) v = convert(e, v, KIND_I64, mask);
	return convert(e, v, kind, mask);
}

/* A number of scale digits behind the point as one of the type; digits: it has at most so many before the point. */
static int rescale(struct dpi_emitter *e, int v, int scale, int digits, const struct dpi_expr_type *to, int mask)
{
	int kind = dpi_type_kind(to->type), up = to->scale - scale;
	if (v == EMIT_FAILED) return v;
	if (dpi_emit_kind(e, v) == KIND_U64 || kind == KIND_I128) v = convert(e, v, KIND_I128, mask);
	if (up > 0 && up > (dpi_emit_kind(e, v) == KIND_I64 ? DPI_DIGITS_64 : DPI_DIGITS_128))
		v = convert(e, v, KIND_I128, mask);
	if (up > 0) v = dpi_emit(e, OP_UP, mask, (uint32_t)up, v, EMIT_NONE, EMIT_NONE);
	if (up < 0) v = dpi_emit(e, OP_DOWN, mask, (uint32_t)-up, v, EMIT_NONE, EMIT_NONE);
	if (digits + (up < 0) > to->precision - to->scale)
		v = dpi_emit(e, OP_DIGITS, mask, (uint32_t)to->precision, v, EMIT_NONE, EMIT_NONE);
	return convert(e, v, kind, mask);
}

static int to_decimal(struct dpi_emitter *e, int v, const struct dpi_expr_type *from, const struct dpi_expr_type *to,
		      int mask)
{
	if (dpi_type_is_decimal(from->type)) return rescale(e, v, from->scale, from->precision - from->scale, to, mask);
	if (dpi_type_is_integer(from->type)) {
		if (from->type != DPI_TYPE_UINT64) v = convert(e, v, KIND_I64, mask);
		return rescale(e, v, 0, dpi_type_digits(from->type), to, mask);
	}
	v = convert(e, v, KIND_F64, mask);
	v = dpi_emit(e, OP_REAL_TO_DECIMAL, mask, (uint32_t)to->scale, v, EMIT_NONE, EMIT_NONE);
	v = dpi_emit(e, OP_DIGITS, mask, (uint32_t)to->precision, v, EMIT_NONE, EMIT_NONE);
	return convert(e, v, dpi_type_kind(to->type), mask);
}

static int to_integer(struct dpi_emitter *e, int v, const struct dpi_expr_type *from, int kind, int mask)
{
	int hub = kind == KIND_U64 ? KIND_U64 : KIND_I64;
	if (dpi_type_is_real(from->type))
		return integer(e, convert(e, convert(e, v, KIND_F64, mask), hub, mask), kind, mask);
	if (!dpi_type_is_decimal(from->type)) return integer(e, v, kind, mask);
	if (from->scale) v = dpi_emit(e, OP_DOWN, mask, (uint32_t)from->scale, v, EMIT_NONE, EMIT_NONE);
	if (v != EMIT_FAILED && dpi_emit_kind(e, v) == KIND_I128) v = convert(e, v, hub, mask);
	return integer(e, v, kind, mask);
}

static int to_real(struct dpi_emitter *e, int v, const struct dpi_expr_type *from, int kind, int mask)
{
	if (dpi_type_is_decimal(from->type))
		v = dpi_emit(e, OP_DECIMAL_TO_REAL, mask, (uint32_t)from->scale, v, EMIT_NONE, EMIT_NONE);
	else if (dpi_type_is_integer(from->type)) {
		if (from->type != DPI_TYPE_UINT64) v = convert(e, v, KIND_I64, mask);
		v = convert(e, v, KIND_F64, mask);
	} else v = convert(e, v, KIND_F64, mask);
	return convert(e, v, kind, mask);
}

static int to_text(struct dpi_emitter *e, int v, const struct dpi_expr_type *from, int mask)
{
	if (dpi_type_is_bytes(from->type)) return dpi_emit(e, OP_UTF8, mask, 0, v, EMIT_NONE, EMIT_NONE);
	if (dpi_type_is_integer(from->type) && from->type != DPI_TYPE_UINT64) v = convert(e, v, KIND_I64, mask);
	uint32_t scale = dpi_type_is_decimal(from->type) ? (uint32_t)from->scale : 0;
	return dpi_emit(e, OP_PRINT, mask, scale, v, EMIT_NONE, EMIT_NONE);
}

static int from_text(struct dpi_emitter *e, int v, const struct dpi_expr_type *to, int mask)
{
	int kind = dpi_type_kind(to->type), hub = kind;
	uint32_t imm = 0;
	if (dpi_type_is_decimal(to->type)) imm = (uint32_t)to->precision << 16 | (uint32_t)to->scale << 8;
	else if (dpi_type_is_integer(to->type)) hub = kind == KIND_U64 ? KIND_U64 : KIND_I64;
	else if (dpi_type_is_real(to->type)) hub = KIND_F64;
	v = dpi_emit(e, OP_PARSE, mask, imm | (uint32_t)hub, v, EMIT_NONE, EMIT_NONE);
	return dpi_type_is_integer(to->type) ? integer(e, v, kind, mask) : convert(e, v, kind, mask);
}

int dpi_emit_cast(struct dpi_emitter *e, int v, const struct dpi_expr_type *from, const struct dpi_expr_type *to, int mask)
{
	int kind = dpi_type_kind(to->type);
	if (v == EMIT_FAILED || dpi_type_same(from, to)) return v;
	if (to->type == DPI_TYPE_FIXED) return dpi_emit(e, OP_WIDTH, mask, to->width, v, EMIT_NONE, EMIT_NONE);
	if (to->type == DPI_TYPE_BINARY) return v;
	if (to->type == DPI_TYPE_UTF8) return to_text(e, v, from, mask);
	if (from->type == DPI_TYPE_UTF8) return from_text(e, v, to, mask);
	if (to->type == DPI_TYPE_BOOL) { /* of an integer */
		static const uint8_t zero[16];
		int none = dpi_emit_constant(e, dpi_emit_kind(e, v), zero, (struct dpi_text){ NULL, 0 }, false, true);
		return dpi_emit(e, OP_NE, EMIT_NONE, 0, v, none, EMIT_NONE);
	}
	if (dpi_type_is_decimal(to->type)) return to_decimal(e, v, from, to, mask);
	if (dpi_type_is_real(to->type)) return to_real(e, v, from, kind, mask);
	return to_integer(e, v, from, kind, mask);
}
