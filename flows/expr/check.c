/* SPDX-License-Identifier: Apache-2.0
 * check.c: types of comparisons, logic, CASE and the like; casts that are understood. */
#include <string.h>

#include "ast.h"
#include "convert.h"

/* --------------------------------------------------------------------------------------------------------- casts */

static bool fits(dpi_i128 v, int type)
{
	int bits = 8 << (type - (dpi_type_is_unsigned(type) ? DPI_TYPE_UINT8 : DPI_TYPE_INT8));
	if (dpi_type_is_unsigned(type)) return v >= 0 && v >> bits == 0;
	return v >= -((dpi_i128)1 << (bits - 1)) && v < (dpi_i128)1 << (bits - 1);
}

static struct dpi_expr_type literal_decimal(const struct dpi_node *n)
{
	int digits = 0;
	for (dpi_i128 v = n->number; v; v /= 10) digits++;
	return dpi_type_decimal(digits ? digits : 1, 0);
}

/* A literal as another type, if its value is exactly that; else n. */
static struct dpi_node *literal_as(struct dpi_tree *t, struct dpi_node *n, struct dpi_expr_type to)
{
	bool whole = dpi_type_is_integer(n->type.type), decimal = dpi_type_is_decimal(n->type.type);
	struct dpi_node value = *n;
	value.type = to;
	if (n->null) {
	} else if (whole && dpi_type_is_integer(to.type)) {
		if (!fits(n->number, to.type)) return n;
	} else if ((whole || decimal) && dpi_type_is_decimal(to.type)) {
		int up = to.scale - (decimal ? n->type.scale : 0);
		if (up < 0 || dpi_mul128(n->number, dpi_pow10((unsigned)up), &value.number)) return n;
		if (dpi_abs128(value.number) >= (dpi_u128)dpi_pow10((unsigned)to.precision)) return n;
	} else if (whole && to.type == DPI_TYPE_DOUBLE) value.real = (double)n->number;
	else if (n->type.type == DPI_TYPE_UTF8 && to.type == DPI_TYPE_BINARY) {
	} else if (n->type.type == DPI_TYPE_UTF8 && to.type == DPI_TYPE_DATE32) {
		int32_t days;
		if (!dpi_parse_date(n->text, &days)) return n;
		value.number = days;
	} else return n;
	struct dpi_node *made = dpi_tree_node(t, NODE_LITERAL, n->at, 0, NULL);
	if (!made) return NULL;
	struct dpi_node **kid = made->kid;
	*made = value;
	made->kid = kid;
	made->checked = true;
	return made;
}

struct dpi_node *dpi_check_cast(struct dpi_tree *t, struct dpi_node *n, struct dpi_expr_type to)
{
	if (dpi_type_same(&n->type, &to)) return n;
	if (n->op == NODE_LITERAL) {
		struct dpi_node *made = literal_as(t, n, to);
		if (made != n) return made;
	}
	n = dpi_tree_node(t, NODE_CAST, n->at, 1, &n);
	if (n) n->type = to, n->checked = true;
	return n;
}

/* What a literal is beside values of this type: a whole number takes their integer type, text beside dates is a date. */
static bool adapt(struct dpi_tree *t, struct dpi_node **n, const struct dpi_expr_type *beside)
{
	struct dpi_node *l = *n;
	if (l->op != NODE_LITERAL || l->null) return true;
	if (dpi_type_is_integer(l->type.type) && dpi_type_is_integer(beside->type)) *n = literal_as(t, l, *beside);
	else if (dpi_type_is_integer(l->type.type) && dpi_type_is_decimal(beside->type))
		*n = literal_as(t, l, literal_decimal(l));
	else if (l->type.type == DPI_TYPE_UTF8 && dpi_type_is_bytes(beside->type))
		*n = literal_as(t, l, dpi_type_of(DPI_TYPE_BINARY));
	else if (l->type.type == DPI_TYPE_UTF8 && beside->type == DPI_TYPE_DATE32) {
		*n = literal_as(t, l, *beside);
		if (*n == l) *n = dpi_tree_fail(t, DPI_ERR_ARGUMENT, l->at, "this is no date: write 'YYYY-MM-DD'");
	}
	return *n;
}

static bool no_common(struct dpi_tree *t, const struct dpi_node *n, const struct dpi_expr_type *a,
		      const struct dpi_expr_type *b)
{
	char x[DPI_TYPE_PRINTED], y[DPI_TYPE_PRINTED];
	return dpi_tree_fail(t, DPI_ERR_ARGUMENT, n->at, "%s and %s do not go together: CAST one of them",
			     dpi_type_print(a, x), dpi_type_print(b, y));
}

bool dpi_check_common(struct dpi_tree *t, struct dpi_node *n, int from, int step, struct dpi_expr_type *common)
{
	struct dpi_expr_type c = dpi_type_of(DPI_TYPE_NONE), next;
	for (int literals = 0; literals < 2; literals++)
		for (int i = from; i < n->kids; i += step) {
			if ((n->kid[i]->op == NODE_LITERAL) != literals) continue;
			if (literals && !adapt(t, &n->kid[i], &c)) return false;
			if (!dpi_type_common(&c, &n->kid[i]->type, &next))
				return no_common(t, n->kid[i], &c, &n->kid[i]->type);
			c = next;
		}
	*common = c;
	if (c.type == DPI_TYPE_NONE) return true;
	for (int i = from; i < n->kids; i += step)
		if (!(n->kid[i] = dpi_check_cast(t, n->kid[i], c))) return false;
	return true;
}

bool dpi_check_kid(struct dpi_tree *t, struct dpi_node *n, int kid, int type)
{
	char x[DPI_TYPE_PRINTED], y[DPI_TYPE_PRINTED];
	struct dpi_expr_type to = dpi_type_of(type);
	if (n->kid[kid]->type.type == type) return true;
	if (!adapt(t, &n->kid[kid], &to)) return false;
	int from = n->kid[kid]->type.type;
	if (from == type) return true;
	bool number = (dpi_type_is_integer(from) && type == DPI_TYPE_INT64) ||
		      (dpi_type_is_number(from) && type == DPI_TYPE_DOUBLE);
	if (from == DPI_TYPE_NONE || number || (dpi_type_is_bytes(from) && type == DPI_TYPE_BINARY))
		return (n->kid[kid] = dpi_check_cast(t, n->kid[kid], to));
	return dpi_tree_fail(t, DPI_ERR_ARGUMENT, n->kid[kid]->at, "%s stands where a value of type %s must: CAST it",
			     dpi_type_print(&n->kid[kid]->type, x), dpi_type_print(&to, y));
}

/* --------------------------------------------------------------------------------------------------- operations */

static bool compare(struct dpi_tree *t, struct dpi_node *n)
{
	struct dpi_expr_type c;
	if (!dpi_check_common(t, n, 0, 1, &c)) return false;
	n->type = dpi_type_of(DPI_TYPE_BOOL);
	for (int i = 0; c.type == DPI_TYPE_NONE && i < n->kids; i++)
		if (!dpi_check_kid(t, n, i, DPI_TYPE_INT64)) return false;
	return true;
}

static bool alike(struct dpi_tree *t, struct dpi_node *n, int from, int step)
{
	if (!dpi_check_common(t, n, from, step, &n->type)) return false;
	return n->type.type != DPI_TYPE_NONE ||
	       dpi_tree_fail(t, DPI_ERR_ARGUMENT, n->at, "every value is NULL: give one a type by CAST(NULL AS type)");
}

static bool logic(struct dpi_tree *t, struct dpi_node *n)
{
	n->type = dpi_type_of(DPI_TYPE_BOOL);
	for (int i = 0; i < n->kids; i++)
		if (!dpi_check_kid(t, n, i, DPI_TYPE_BOOL)) return false;
	return true;
}

static bool case_of(struct dpi_tree *t, struct dpi_node *n)
{
	struct dpi_node *last = n->kid[n->kids - 1];
	for (int i = 0; i + 1 < n->kids; i += 2)
		if (!dpi_check_kid(t, n, i, DPI_TYPE_BOOL)) return false;
	/* the values alone, as the kids of a node that is no part of the tree */
	struct dpi_node *values = dpi_tree_node(t, NODE_COALESCE, n->at, n->kids / 2 + 1, n->kid);
	if (!values) return false;
	for (int i = 0; i < n->kids / 2; i++) values->kid[i] = n->kid[2 * i + 1];
	values->kid[n->kids / 2] = last;
	if (!alike(t, values, 0, 1)) return false;
	for (int i = 0; i < n->kids / 2; i++) n->kid[2 * i + 1] = values->kid[i];
	n->kid[n->kids - 1] = values->kid[n->kids / 2];
	n->type = values->type;
	return true;
}

/* NULLIF(a, b): kids become a and a = b. */
static bool null_if(struct dpi_tree *t, struct dpi_node *n)
{
	if (n->kid[0]->type.type == DPI_TYPE_NONE)
		return dpi_tree_fail(t, DPI_ERR_ARGUMENT, n->at, "NULLIF of NULL has no type: write CAST(NULL AS type)");
	n->kid[1] = dpi_tree_node(t, NODE_EQ, n->at, 2, n->kid);
	n->type = n->kid[0]->type;
	return n->kid[1] && dpi_check_node(t, n->kid[1]);
}

static bool cast(struct dpi_tree *t, struct dpi_node *n)
{
	char x[DPI_TYPE_PRINTED], y[DPI_TYPE_PRINTED];
	struct dpi_node *a = n->kid[0];
	if (!dpi_type_castable(a->type.type, n->type.type))
		return dpi_tree_fail(t, DPI_ERR_ARGUMENT, n->at, "%s cannot be cast to %s", dpi_type_print(&a->type, x),
				     dpi_type_print(&n->type, y));
	if (a->op == NODE_LITERAL && a->null) { /* a NULL of this type */
		struct dpi_expr_type type = n->type;
		n->op = NODE_LITERAL, n->null = true, n->kids = 0, n->type = type;
	}
	return true;
}

bool dpi_check_node(struct dpi_tree *t, struct dpi_node *n)
{
	if (n->checked) return true;
	for (int i = 0; i < n->kids; i++)
		if (!dpi_check_node(t, n->kid[i])) return false;
	n->checked = true;
	switch (n->op) {
	case NODE_LITERAL:
	case NODE_COLUMN: return true;
	case NODE_CAST: return cast(t, n);
	case NODE_EQ:
	case NODE_NE:
	case NODE_LT:
	case NODE_LE:
	case NODE_GT:
	case NODE_GE:
	case NODE_DISTINCT:
	case NODE_BETWEEN:
	case NODE_IN: return compare(t, n);
	case NODE_AND:
	case NODE_OR:
	case NODE_NOT: return logic(t, n);
	case NODE_IS_NULL:
		n->type = dpi_type_of(DPI_TYPE_BOOL);
		return n->kid[0]->type.type != DPI_TYPE_NONE || dpi_check_kid(t, n, 0, DPI_TYPE_BOOL);
	case NODE_CASE: return case_of(t, n);
	case NODE_COALESCE:
	case NODE_LEAST:
	case NODE_GREATEST: return alike(t, n, 0, 1);
	case NODE_NULLIF: return null_if(t, n);
	case NODE_ADD:
	case NODE_SUB:
	case NODE_MUL:
	case NODE_DIV:
	case NODE_MOD:
	case NODE_NEG: return dpi_check_arithmetic(t, n);
	default: return dpi_check_call(t, n);
	}
}

int dpi_expr_check(struct dpi_tree *t)
{
	t->error = DPI_ERR_ARGUMENT;
	if (!dpi_check_node(t, t->root)) return t->error;
	if (t->root->type.type == DPI_TYPE_NONE)
		dpi_tree_fail(t, DPI_ERR_ARGUMENT, t->root->at,
			      "the expression is NULL without a type: write CAST(NULL AS type)");
	return t->root->type.type == DPI_TYPE_NONE ? t->error : DPI_SUCCESS;
}
