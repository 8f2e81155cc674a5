/* SPDX-License-Identifier: Apache-2.0
 * program.c: what each instruction may have, and the check of a whole program. */
#include "program.h"

#include <dlfcn.h>
#include <string.h>

#include "ast.h"
#include "error.h"

int dpi_op_operands(int op)
{
	static const uint8_t operands[OP_COUNT] = { 0,
#define OPERANDS(name, count) count,
						    DPI_OPS(OPERANDS)
#undef OPERANDS
	};
	return op > 0 && op < OP_COUNT ? operands[op] : 0;
}

static bool small_integer(int k)
{
	return (k >= KIND_I8 && k <= KIND_I32) || (k >= KIND_U8 && k <= KIND_U32);
}

static bool decimal(int k)
{
	return k == KIND_I64 || k == KIND_I128;
}
static int most_digits(int k)
{
	return k == KIND_I64 ? DPI_DIGITS_64 : DPI_DIGITS_128;
}

static bool converts(int from, int to)
{
	switch (from) {
	case KIND_I64: return small_integer(to) || to == KIND_U64 || to == KIND_I128 || to == KIND_F64;
	case KIND_U64: return to == KIND_I64 || to == KIND_I128 || to == KIND_F64;
	case KIND_I128: return to == KIND_I64 || to == KIND_U64;
	case KIND_F64: return to == KIND_F32 || to == KIND_I64 || to == KIND_U64;
	case KIND_F32: return to == KIND_F64;
	case KIND_BOOL: return to == KIND_I64;
	default: return small_integer(from) && to == KIND_I64;
	}
}

static bool parses(uint32_t imm)
{
	int kind = imm & 255, scale = imm >> 8 & 255, precision = imm >> 16 & 255;
	if (imm >> 24) return false;
	if (precision) return decimal(kind) && precision <= most_digits(kind) && scale <= precision;
	if (scale) return false;
	return kind == KIND_BOOL || kind == KIND_I32 || kind == KIND_I64 || kind == KIND_U64 || kind == KIND_F64;
}

static bool prints(int kind, uint32_t imm)
{
	if (decimal(kind)) return imm <= (uint32_t)most_digits(kind);
	return !imm && (kind == KIND_BOOL || kind == KIND_I32 || kind == KIND_U64 || kind == KIND_F32 || kind == KIND_F64);
}

static bool arithmetic(int op, int k)
{
	bool unsigned64 = k == KIND_U64 && op != OP_NEG && op != OP_ABS;
	return decimal(k) || k == KIND_F64 || unsigned64;
}

int dpi_op_result(const struct dpi_instruction *i, int a, int b, int c)
{
	bool text = a == KIND_TEXT, two = text && b == KIND_TEXT;
	uint32_t imm = i->imm;
	switch (i->op) {
	case OP_EQ:
	case OP_NE:
	case OP_LT:
	case OP_LE:
	case OP_GT:
	case OP_GE: return a == b && !imm ? KIND_BOOL : 0;
	case OP_AND:
	case OP_OR: return a == KIND_BOOL && b == KIND_BOOL && !imm ? KIND_BOOL : 0;
	case OP_NOT:
	case OP_IS_TRUE: return a == KIND_BOOL && !imm ? KIND_BOOL : 0;
	case OP_IS_NULL: return imm ? 0 : KIND_BOOL;
	case OP_SELECT: return a == KIND_BOOL && b == c && !imm ? b : 0;
	case OP_IN: return a == b && a != KIND_BOOL && imm ? KIND_BOOL : 0;
	case OP_ADD:
	case OP_SUB:
	case OP_MUL:
	case OP_DIV:
	case OP_MOD: return a == b && arithmetic(i->op, a) && !imm ? a : 0;
	case OP_NEG:
	case OP_ABS: return arithmetic(i->op, a) && !imm ? a : 0;
	case OP_SIGN: return arithmetic(i->op, a) && !imm ? KIND_I64 : 0;
	case OP_UP:
	case OP_DIGITS: return decimal(a) && imm >= 1 && imm <= (uint32_t)most_digits(a) ? a : 0;
	case OP_DOWN:
		if (imm >> 8 > DPI_ROUND_CEIL || !(imm & 255)) return 0;
		return decimal(a) && (int)(imm & 255) <= most_digits(a) ? a : 0;
	case OP_CONVERT: return imm < KIND_COUNT && converts(a, (int)imm) ? (int)imm : 0;
	case OP_REAL_TO_DECIMAL: return a == KIND_F64 && imm <= DPI_DIGITS_128 ? KIND_I128 : 0;
	case OP_DECIMAL_TO_REAL: return decimal(a) && imm <= DPI_DIGITS_128 ? KIND_F64 : 0;
	case OP_ROUND: return a == KIND_F64 && imm <= DPI_DIGITS_128 ? KIND_F64 : 0;
	case OP_FLOOR:
	case OP_CEIL:
	case OP_SQRT: return a == KIND_F64 && !imm ? KIND_F64 : 0;
	case OP_POWER: return a == KIND_F64 && b == KIND_F64 && !imm ? KIND_F64 : 0;
	case OP_LENGTH:
	case OP_OCTETS: return text && !imm ? KIND_I64 : 0;
	case OP_LOWER:
	case OP_UPPER:
	case OP_UTF8: return text && !imm ? KIND_TEXT : 0;
	case OP_SUBSTRING: return text && b == KIND_I64 && c == KIND_I64 && imm <= 3 ? KIND_TEXT : 0;
	case OP_TRIM: return two && imm >= 1 && imm <= 3 ? KIND_TEXT : 0;
	case OP_CONCAT: return two && !imm ? KIND_TEXT : 0;
	case OP_STARTS: return two && !imm ? KIND_BOOL : 0;
	case OP_POSITION: return two && imm <= 1 ? KIND_I64 : 0;
	case OP_LIKE: return two ? KIND_BOOL : 0;
	case OP_WIDTH: return text && imm && imm <= INT32_MAX ? KIND_TEXT : 0;
	case OP_PART: return a == KIND_I32 && imm >= DPI_YEAR && imm <= DPI_DOY && imm != DPI_WEEK ? KIND_I64 : 0;
	case OP_TRUNC: return a == KIND_I32 && imm >= DPI_YEAR && imm <= DPI_DAY ? KIND_I32 : 0;
	case OP_MONTHS: return a == KIND_I32 && b == KIND_I64 && imm >= 1 && imm <= 12 ? KIND_I32 : 0;
	case OP_PRINT: return prints(a, imm) ? KIND_TEXT : 0;
	case OP_PARSE: return text && parses(imm) ? (int)(imm & 255) : 0;
	default: return 0;
	}
}

bool dpi_op_raises(const struct dpi_instruction *i, int kind_a)
{
	switch (i->op) {
	case OP_ADD:
	case OP_SUB:
	case OP_MUL:
	case OP_NEG:
	case OP_ABS: return kind_a != KIND_F64;
	case OP_CONVERT:
		return (kind_a == KIND_I64 && i->imm != KIND_I128 && i->imm != KIND_F64) ||
		       (kind_a == KIND_U64 && i->imm == KIND_I64) || kind_a == KIND_I128 || kind_a == KIND_F64;
	case OP_DIV:
	case OP_MOD:
	case OP_UP:
	case OP_DIGITS:
	case OP_REAL_TO_DECIMAL:
	case OP_SQRT:
	case OP_POWER:
	case OP_SUBSTRING:
	case OP_CONCAT:
	case OP_LIKE:
	case OP_WIDTH:
	case OP_UTF8:
	case OP_TRUNC:
	case OP_MONTHS:
	case OP_PARSE: return true;
	default: return false;
	}
}

bool dpi_op_masked(const struct dpi_instruction *i, int kind_a)
{
	return dpi_op_raises(i, kind_a) || (i->op >= OP_LENGTH && i->op <= OP_PRINT);
}

/* --------------------------------------------------------------------------------------------------- constants */

#define COMPARE(T)                                                                                                          \
	do {                                                                                                                \
		T x, y;                                                                                                     \
		memcpy(&x, a->bytes, sizeof x), memcpy(&y, b->bytes, sizeof y);                                             \
		return x < y ? -1 : x > y;                                                                                  \
	} while (0)

static int compare_real(double x, double y)
{
	if (x != x || y != y) return (x != x) - (y != y); /* not a number is above all */
	return x < y ? -1 : x > y;
}

int dpi_constant_compare(const struct dpi_constant *a, const struct dpi_constant *b)
{
	float f[2];
	double d[2];
	switch (a->kind) {
	case KIND_I8: COMPARE(int8_t);
	case KIND_I16: COMPARE(int16_t);
	case KIND_I32: COMPARE(int32_t);
	case KIND_I64: COMPARE(int64_t);
	case KIND_BOOL:
	case KIND_U8: COMPARE(uint8_t);
	case KIND_U16: COMPARE(uint16_t);
	case KIND_U32: COMPARE(uint32_t);
	case KIND_U64: COMPARE(uint64_t);
	case KIND_I128: COMPARE(dpi_i128);
	case KIND_F32: memcpy(f, a->bytes, 4), memcpy(f + 1, b->bytes, 4); return compare_real((double)f[0], (double)f[1]);
	case KIND_F64: memcpy(d, a->bytes, 8), memcpy(d + 1, b->bytes, 8); return compare_real(d[0], d[1]);
	default: {
		size_t n = a->text.size < b->text.size ? a->text.size : b->text.size;
		int order = n ? memcmp(a->text.at, b->text.at, n) : 0;
		return order ? order : a->text.size < b->text.size ? -1 : a->text.size > b->text.size;
	}
	}
}

/* -------------------------------------------------------------------------------------------------------- check */

static int wrong(int at, const char *what)
{
	return dpi_fail(DPI_ERR_CORRUPT,
			"instruction %d of the expression's program %s: it is damaged, or not from a correct peer", at,
			what);
}

static int check_in(const struct dpi_expr *e, int at, const struct dpi_instruction *i)
{
	int first = i->b - e->columns;
	if (first < 0 || first >= e->constants || i->imm > (uint32_t)(e->constants - first))
		return wrong(at, "has no list of constants");
	for (uint32_t k = 0; k < i->imm; k++) {
		const struct dpi_constant *c = e->constant + first + k;
		if (c->kind != e->kind[i->a] || c->null) return wrong(at, "has constants of another kind in its list");
		if (k && dpi_constant_compare(c - 1, c) > 0) return wrong(at, "has a list that is not in order");
	}
	return DPI_SUCCESS;
}

static int check_instruction(struct dpi_expr *e, int at)
{
	const struct dpi_instruction *i = e->instruction + at;
	int me = e->columns + e->constants + at, operands = dpi_op_operands(i->op), kind[3] = { 0 };
	const uint16_t operand[3] = { i->a, i->b, i->c };
	if (!operands) return wrong(at, "is none that there is");
	bool nullable = false;
	for (int k = 0; k < 3; k++) {
		if (k >= operands) {
			if (operand[k] != DPI_VALUE_NONE) return wrong(at, "has an operand too many");
			continue;
		}
		if (operand[k] >= me) return wrong(at, "uses a value that is not there yet");
		kind[k] = e->kind[operand[k]];
		nullable |= e->nullable[operand[k]] && !(i->op == OP_SELECT && !k);
	}
	int result = dpi_op_result(i, kind[0], kind[1], kind[2]);
	if (!result) return wrong(at, "has operands that are not for it");
	if (i->op == OP_IN && check_in(e, at, i)) return DPI_ERR_CORRUPT;
	if (i->mask != DPI_VALUE_NONE && (i->mask >= me || e->kind[i->mask] != KIND_BOOL))
		return wrong(at, "has a mask that is none");
	bool there = i->op == OP_POWER			      ? dpi_power() != NULL
		     : i->op == OP_SQRT			      ? dpi_root() != NULL
		     : i->op == OP_MOD && kind[0] == KIND_F64 ? dpi_remainder() != NULL
							      : true;
	if (!there)
		return dpi_fail(DPI_ERR_UNSUPPORTED,
				"POWER, SQRT and %% of DOUBLE need the C library's libm.so.6, which cannot be loaded");
	e->kind[me] = (uint8_t)result;
	e->nullable[me] = i->op != OP_IS_NULL && i->op != OP_IS_TRUE &&
			  (nullable || i->mask != DPI_VALUE_NONE || dpi_op_raises(i, kind[0]));
	return DPI_SUCCESS;
}

static bool good_type(const struct dpi_expr_type *t)
{
	int most = t->type == DPI_TYPE_DECIMAL64 ? DPI_DIGITS_64 : DPI_DIGITS_128;
	if (!dpi_type_kind(t->type)) return false;
	if (t->type == DPI_TYPE_FIXED ? !t->width || t->width > INT32_MAX : t->width != 0) return false;
	if (!dpi_type_is_decimal(t->type)) return !t->precision && !t->scale;
	return t->precision >= 1 && t->precision <= most && t->scale >= 0 && t->scale <= t->precision;
}

int dpi_program_check(struct dpi_expr *e)
{
	bool good = good_type(&e->result) && e->values == e->columns + e->constants + e->instructions && e->root < e->values;
	for (int i = 0; good && i < e->columns; i++) {
		good = good_type(e->column_type + i) && e->column[i] >= 0 && (!i || e->column[i - 1] < e->column[i]);
		e->kind[i] = (uint8_t)dpi_type_kind(e->column_type[i].type);
		e->nullable[i] = e->column_type[i].nullable;
	}
	for (int i = 0; good && i < e->constants; i++) {
		good = dpi_kind_is(e->constant[i].kind);
		e->kind[e->columns + i] = e->constant[i].kind;
		e->nullable[e->columns + i] = e->constant[i].null;
	}
	if (!good)
		return dpi_fail(DPI_ERR_CORRUPT,
				"the head of an expression's program is wrong: it is damaged, or not from a correct peer");
	for (int i = 0; i < e->instructions; i++) {
		int error = check_instruction(e, i);
		if (error) return error;
	}
	if (e->kind[e->root] != dpi_type_kind(e->result.type))
		return wrong(e->instructions - 1, "gives another type than the program says");
	e->result.nullable = e->nullable[e->root];
	/* a peer must not make every row of ours as wide as it likes */
	good = e->result.type != DPI_TYPE_FIXED || e->result.width <= DPI_EXPR_FIXED_MAX;
	for (int i = 0; i < e->columns; i++)
		good |= e->column_type[i].type == DPI_TYPE_FIXED && e->column_type[i].width == e->result.width;
	return good ? DPI_SUCCESS : wrong(e->instructions - 1, "gives bytes of a width that no column has");
}

/* -------------------------------------------------------------------------------------------------- mathematics */

/* libdpi does not link the C library's mathematics, which is a library of its own with glibc. */
static void *mathematics(const char *name)
{
	void *f = dlsym(RTLD_DEFAULT, name);
	if (f) return f;
	void *library = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
	return library ? dlsym(library, name) : NULL;
}

double (*dpi_power(void))(double, double)
{
	double (*f)(double, double);
	*(void **)&f = mathematics("pow");
	return f;
}

double (*dpi_root(void))(double)
{
	double (*f)(double);
	*(void **)&f = mathematics("sqrt");
	return f;
}

double (*dpi_remainder(void))(double, double)
{
	double (*f)(double, double);
	*(void **)&f = mathematics("fmod");
	return f;
}
