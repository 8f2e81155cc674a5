/* SPDX-License-Identifier: Apache-2.0
 * check_call.c: types of arithmetic and of functions. */
#include "ast.h"

#define MOST(a, b) ((a) > (b) ? (a) : (b))
#define LEAST(a, b) ((a) < (b) ? (a) : (b))

static bool wrong(struct dpi_tree *t, const struct dpi_node *n, const char *needs)
{
	char x[DPI_TYPE_PRINTED];
	return dpi_tree_fail(t, DPI_ERR_ARGUMENT, n->at, "%s needs %s: CAST it", dpi_type_print(&n->kid[0]->type, x), needs);
}

static bool kid_cast(struct dpi_tree *t, struct dpi_node *n, int kid, struct dpi_expr_type to)
{
	return (n->kid[kid] = dpi_check_cast(t, n->kid[kid], to));
}

static bool both(struct dpi_tree *t, struct dpi_node *n, struct dpi_expr_type type)
{
	n->type = type;
	return kid_cast(t, n, 0, type) && (n->kids < 2 || kid_cast(t, n, 1, type));
}

/* ----------------------------------------------------------------------------------------------------- arithmetic */

/* The digits that a number needs: a literal those that it has. */
static struct dpi_expr_type decimal_of(const struct dpi_node *n)
{
	if (n->op != NODE_LITERAL || n->null || !dpi_type_is_integer(n->type.type)) {
		struct dpi_expr_type d = dpi_type_as_decimal(&n->type);
		return dpi_type_decimal(d.precision, d.scale);
	}
	int digits = 1;
	for (dpi_i128 v = n->number / 10; v; v /= 10) digits++;
	return dpi_type_decimal(digits, 0);
}

static struct dpi_expr_type held_as(struct dpi_expr_type t, int type)
{
	t.type = type;
	return t;
}

/* number of the node says whether the result may have more digits than its type, so that they must be looked at. */
static bool decimals(struct dpi_tree *t, struct dpi_node *n)
{
	struct dpi_expr_type a = decimal_of(n->kid[0]), b = decimal_of(n->kid[1]);
	bool narrow = MOST(a.precision, b.precision) <= DPI_DIGITS_64;
	int scale = MOST(a.scale, b.scale), aligned = MOST(a.precision - a.scale, b.precision - b.scale) + scale, need;
	if (n->op == NODE_MUL) {
		scale = a.scale + b.scale;
		if (scale > DPI_DIGITS_128)
			return dpi_tree_fail(
				t, DPI_ERR_ARGUMENT, n->at,
				"the product has %d digits behind the point, more than 38: CAST or ROUND an operand", scale);
		need = a.precision + b.precision;
		narrow = narrow && scale < DPI_DIGITS_64;
	} else {
		if (n->op == NODE_MOD && aligned > DPI_DIGITS_128) return both(t, n, dpi_type_of(DPI_TYPE_DOUBLE));
		need = n->op == NODE_MOD || n->op == NODE_DIV ? aligned : aligned + 1;
		narrow = narrow && aligned <= DPI_DIGITS_64;
	}
	n->type = dpi_type_decimal(LEAST(need, narrow ? DPI_DIGITS_64 : DPI_DIGITS_128), scale);
	n->number = need > n->type.precision;
	if (n->op != NODE_MUL) {
		a = b = dpi_type_decimal(LEAST(aligned, DPI_DIGITS_128), scale);
	}
	return kid_cast(t, n, 0, held_as(a, n->type.type)) && kid_cast(t, n, 1, held_as(b, n->type.type));
}

static bool is_literal_of(const struct dpi_node *n, int least_sign)
{
	return n->op == NODE_LITERAL && !n->null && dpi_type_is_integer(n->type.type) && n->number >= least_sign;
}

static bool integers(struct dpi_tree *t, struct dpi_node *n)
{
	bool wide = false, is_signed = false;
	for (int i = 0; i < n->kids; i++) {
		wide |= n->kid[i]->type.type == DPI_TYPE_UINT64;
		is_signed |= !dpi_type_is_unsigned(n->kid[i]->type.type) && !is_literal_of(n->kid[i], 0);
	}
	if (!wide) return both(t, n, dpi_type_of(DPI_TYPE_INT64));
	if (n->op != NODE_NEG && !is_signed) return both(t, n, dpi_type_of(DPI_TYPE_UINT64));
	if (n->op == NODE_NEG) return both(t, n, dpi_type_decimal(20, 0));
	return decimals(t, n);
}

static bool dates(struct dpi_tree *t, struct dpi_node *n)
{
	int a = n->kid[0]->type.type, b = n->kid[1]->type.type;
	if (n->op == NODE_ADD && b == DPI_TYPE_DATE32 && a != b) {
		struct dpi_node *date = n->kid[1];
		n->kid[1] = n->kid[0], n->kid[0] = date;
		a = DPI_TYPE_DATE32, b = n->kid[1]->type.type;
	}
	bool text = n->kid[0]->op == NODE_LITERAL || n->kid[1]->op == NODE_LITERAL;
	bool days = n->op == NODE_SUB && b == DPI_TYPE_DATE32 && (a == b || (a == DPI_TYPE_UTF8 && text));
	days |= n->op == NODE_SUB && b == DPI_TYPE_UTF8 && text;
	if (days) {
		n->op = NODE_DAYS, n->type = dpi_type_of(DPI_TYPE_INT64);
		return dpi_check_kid(t, n, 0, DPI_TYPE_DATE32) && dpi_check_kid(t, n, 1, DPI_TYPE_DATE32);
	}
	if ((n->op != NODE_ADD && n->op != NODE_SUB) || a != DPI_TYPE_DATE32 ||
	    (!dpi_type_is_integer(b) && b != DPI_TYPE_NONE))
		return dpi_tree_fail(
			t, DPI_ERR_ARGUMENT, n->at,
			"a date goes with + and - days, and with - another date: CAST the operands, or use DATE_ADD");
	n->op = n->op == NODE_ADD ? NODE_ADD_DAYS : NODE_SUB_DAYS, n->type = dpi_type_of(DPI_TYPE_DATE32);
	return dpi_check_kid(t, n, 1, DPI_TYPE_INT64);
}

bool dpi_check_arithmetic(struct dpi_tree *t, struct dpi_node *n)
{
	bool real = false, decimal = false, typed = false;
	for (int i = 0; i < n->kids; i++)
		if (n->kids == 2 && n->kid[i]->type.type == DPI_TYPE_DATE32) return dates(t, n);
	for (int i = 0; i < n->kids; i++) {
		int type = n->kid[i]->type.type;
		char x[DPI_TYPE_PRINTED];
		if (type != DPI_TYPE_NONE && !dpi_type_is_number(type))
			return dpi_tree_fail(t, DPI_ERR_ARGUMENT, n->kid[i]->at,
					     "arithmetic needs numbers, not %s: CAST it%s",
					     dpi_type_print(&n->kid[i]->type, x),
					     type == DPI_TYPE_UTF8 && n->op == NODE_ADD ? ", or join text by ||" : "");
		real |= dpi_type_is_real(type), decimal |= dpi_type_is_decimal(type), typed |= type != DPI_TYPE_NONE;
	}
	if (!typed) return both(t, n, dpi_type_of(DPI_TYPE_INT64));
	for (int i = 0; i < n->kids; i++) /* a NULL is of the other's type */
		if (n->kid[i]->type.type == DPI_TYPE_NONE && !kid_cast(t, n, i, n->kid[1 - i]->type)) return false;
	if (real || (decimal && n->op == NODE_DIV)) return both(t, n, dpi_type_of(DPI_TYPE_DOUBLE));
	if (!decimal) return integers(t, n);
	if (n->op == NODE_NEG) return n->type = n->kid[0]->type, true;
	return decimals(t, n);
}

/* ------------------------------------------------------------------------------------------------------ functions */

/* The types that functions of numbers compute on: INT64, UINT64, decimals, DOUBLE. */
static bool computed(struct dpi_tree *t, struct dpi_node *n)
{
	int type = n->kid[0]->type.type;
	if (type == DPI_TYPE_NONE) type = DPI_TYPE_INT64;
	if (!dpi_type_is_number(type)) return wrong(t, n, "to be a number here");
	if (dpi_type_is_decimal(type)) return n->type = n->kid[0]->type, true;
	if (dpi_type_is_real(type)) type = DPI_TYPE_DOUBLE;
	else if (type != DPI_TYPE_UINT64) type = DPI_TYPE_INT64;
	n->type = dpi_type_of(type);
	return kid_cast(t, n, 0, n->type);
}

/* The node is its only kid after all. */
static bool same_as_kid(struct dpi_node *n)
{
	struct dpi_expr_type type = n->kid[0]->type;
	n->op = NODE_CAST, n->type = type;
	return true;
}

static bool rounding(struct dpi_tree *t, struct dpi_node *n)
{
	if (!computed(t, n)) return false;
	int digits = n->op == NODE_ROUND ? (int)n->number : 0;
	if (dpi_type_is_integer(n->type.type)) return same_as_kid(n);
	if (!dpi_type_is_decimal(n->type.type)) return true;
	if (digits >= n->type.scale) return same_as_kid(n);
	n->type = dpi_type_decimal(n->type.precision - n->type.scale + 1 + digits, digits);
	return true;
}

/* UTF8, or where it may be BINARY. */
static bool text(struct dpi_tree *t, struct dpi_node *n, bool bytes)
{
	struct dpi_expr_type c;
	for (int i = 0; i < n->kids; i++)
		if (!dpi_type_is_text(n->kid[i]->type.type) && !dpi_check_kid(t, n, i, DPI_TYPE_UTF8)) return false;
	if (!dpi_check_common(t, n, 0, 1, &c)) return false;
	bool binary = bytes && dpi_type_is_bytes(c.type);
	for (int i = 0; i < n->kids; i++)
		if (!dpi_check_kid(t, n, i, binary ? DPI_TYPE_BINARY : DPI_TYPE_UTF8)) return false;
	n->type = dpi_type_of(binary ? DPI_TYPE_BINARY : DPI_TYPE_UTF8);
	return true;
}

static bool as(struct dpi_node *n, int type)
{
	n->type = dpi_type_of(type);
	return true;
}

static bool substring(struct dpi_tree *t, struct dpi_node *n)
{
	bool binary = dpi_type_is_bytes(n->kid[0]->type.type);
	if (!dpi_check_kid(t, n, 0, binary ? DPI_TYPE_BINARY : DPI_TYPE_UTF8)) return false;
	for (int i = 1; i < n->kids; i++)
		if (!dpi_check_kid(t, n, i, DPI_TYPE_INT64)) return false;
	return as(n, n->kid[0]->type.type);
}

static bool octets(struct dpi_tree *t, struct dpi_node *n)
{
	if (!dpi_type_is_bytes(n->kid[0]->type.type) && !dpi_check_kid(t, n, 0, DPI_TYPE_UTF8)) return false;
	return as(n, DPI_TYPE_INT64);
}

bool dpi_check_call(struct dpi_tree *t, struct dpi_node *n)
{
	switch (n->op) {
	case NODE_ABS: return computed(t, n) && (n->type.type != DPI_TYPE_UINT64 || same_as_kid(n));
	case NODE_SIGN: return computed(t, n) && as(n, DPI_TYPE_INT64);
	case NODE_ROUND:
	case NODE_FLOOR:
	case NODE_CEIL: return rounding(t, n);
	case NODE_POWER:
		if (!dpi_check_kid(t, n, 1, DPI_TYPE_DOUBLE)) return false; /* fall through */
	case NODE_SQRT: return dpi_check_kid(t, n, 0, DPI_TYPE_DOUBLE) && as(n, DPI_TYPE_DOUBLE);
	case NODE_LENGTH:
	case NODE_OCTETS: return octets(t, n);
	case NODE_LOWER:
	case NODE_UPPER:
	case NODE_TRIM: return text(t, n, false);
	case NODE_CONCAT:
	case NODE_JOIN: return text(t, n, true);
	case NODE_LIKE: return text(t, n, false) && as(n, DPI_TYPE_BOOL);
	case NODE_STARTS: return text(t, n, true) && as(n, DPI_TYPE_BOOL);
	case NODE_POSITION: return text(t, n, true) && as(n, DPI_TYPE_INT64);
	case NODE_SUBSTRING: return substring(t, n);
	case NODE_EXTRACT: return dpi_check_kid(t, n, 0, DPI_TYPE_DATE32) && as(n, DPI_TYPE_INT64);
	case NODE_TRUNC: return dpi_check_kid(t, n, 0, DPI_TYPE_DATE32) && as(n, DPI_TYPE_DATE32);
	default: /* days and months */
		return dpi_check_kid(t, n, 0, DPI_TYPE_DATE32) && dpi_check_kid(t, n, 1, DPI_TYPE_INT64) &&
		       as(n, DPI_TYPE_DATE32);
	}
}
