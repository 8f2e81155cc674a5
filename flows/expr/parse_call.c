/* SPDX-License-Identifier: Apache-2.0
 * parse_call.c: CASE, CAST, functions, and the names of types. */
#include <string.h>

#include "parse.h"

/* ---------------------------------------------------------------------------------------------------------- types */

/* An integer literal from least to most. */
static bool small(struct dpi_parser *p, int least, int most, const char *what, int *out)
{
	long v = 0;
	if (p->lex.kind != TOKEN_INTEGER || p->lex.token.size > 9) return dpi_parse_failed(p, what);
	for (size_t i = 0; i < p->lex.token.size; i++) v = v * 10 + (p->lex.token.at[i] - '0');
	if (v < least || v > most) return dpi_parse_failed(p, what);
	*out = (int)v;
	dpi_lex_next(&p->lex);
	return true;
}

bool dpi_parse_type(struct dpi_parser *p, struct dpi_expr_type *out)
{
	static const struct {
		const char *name;
		int type;
	} names[] = { { "BOOL", DPI_TYPE_BOOL },	 { "BOOLEAN", DPI_TYPE_BOOL },	{ "INT8", DPI_TYPE_INT8 },
		      { "TINYINT", DPI_TYPE_INT8 },	 { "INT16", DPI_TYPE_INT16 },	{ "SMALLINT", DPI_TYPE_INT16 },
		      { "INT32", DPI_TYPE_INT32 },	 { "INT", DPI_TYPE_INT32 },	{ "INTEGER", DPI_TYPE_INT32 },
		      { "INT64", DPI_TYPE_INT64 },	 { "BIGINT", DPI_TYPE_INT64 },	{ "UINT8", DPI_TYPE_UINT8 },
		      { "UINT16", DPI_TYPE_UINT16 },	 { "UINT32", DPI_TYPE_UINT32 }, { "UINT64", DPI_TYPE_UINT64 },
		      { "FLOAT", DPI_TYPE_FLOAT },	 { "REAL", DPI_TYPE_FLOAT },	{ "DOUBLE", DPI_TYPE_DOUBLE },
		      { "DATE", DPI_TYPE_DATE32 },	 { "DATE32", DPI_TYPE_DATE32 }, { "DECIMAL", DPI_TYPE_DECIMAL64 },
		      { "NUMERIC", DPI_TYPE_DECIMAL64 }, { "FIXED", DPI_TYPE_FIXED },	{ "BINARY", DPI_TYPE_BINARY },
		      { "BLOB", DPI_TYPE_BINARY },	 { "UTF8", DPI_TYPE_UTF8 },	{ "TEXT", DPI_TYPE_UTF8 },
		      { "VARCHAR", DPI_TYPE_UTF8 } };
	size_t i = 0, count = sizeof names / sizeof *names;
	while (i < count && !(p->lex.kind == TOKEN_NAME && dpi_lex_is(&p->lex, names[i].name))) i++;
	if (i == count) return dpi_parse_failed(p, "a type, such as INT64, DOUBLE, DECIMAL(15,2), DATE, UTF8");
	dpi_lex_next(&p->lex);
	*out = dpi_type_of(names[i].type);
	if (out->type == DPI_TYPE_DOUBLE) dpi_parse_accept(p, "PRECISION");
	if (out->type == DPI_TYPE_FIXED) {
		int width;
		if (!dpi_parse_expect(p, "(") || !small(p, 1, 1 << 20, "FIXED's bytes, 1 to 1048576", &width)) return false;
		out->width = (uint32_t)width;
		return dpi_parse_expect(p, ")");
	}
	if (out->type == DPI_TYPE_DECIMAL64) {
		int precision = 18, scale = 3;
		if (dpi_parse_accept(p, "(")) {
			scale = 0;
			if (!small(p, 1, DPI_DIGITS_128, "DECIMAL's digits, 1 to 38", &precision)) return false;
			if (dpi_parse_accept(p, ",") &&
			    !small(p, 0, precision, "digits behind the point, at most all", &scale))
				return false;
			if (!dpi_parse_expect(p, ")")) return false;
		}
		*out = dpi_type_decimal(precision, scale);
	}
	return true;
}

static struct dpi_node *cast(struct dpi_parser *p, uint32_t at)
{
	struct dpi_expr_type type;
	struct dpi_node *n = dpi_parse_expression(p);
	if (!n || !dpi_parse_expect(p, "AS") || !dpi_parse_type(p, &type)) return NULL;
	n = dpi_parse_node(p, NODE_CAST, at, 1, n, NULL, NULL);
	if (n) n->type = type;
	return n;
}

/* ----------------------------------------------------------------------------------------------------------- CASE */

/* CASE x WHEN v is CASE WHEN x = v, with the same node x in each. */
static struct dpi_node *case_of(struct dpi_parser *p, uint32_t at)
{
	struct dpi_list list = { 0 };
	struct dpi_node *x = NULL, *n;
	bool simple = !dpi_lex_is(&p->lex, "WHEN");
	if (simple && !(x = dpi_parse_expression(p))) return NULL;
	if (!dpi_lex_is(&p->lex, "WHEN")) return dpi_parse_failed(p, "WHEN");
	for (uint32_t when = p->lex.at; dpi_parse_accept(p, "WHEN"); when = p->lex.at) {
		n = dpi_parse_expression(p);
		if (n && simple) n = dpi_parse_node(p, NODE_EQ, when, 2, x, n, NULL);
		if (!dpi_parse_list(p, &list, n) || !dpi_parse_expect(p, "THEN")) return NULL;
		if (!dpi_parse_list(p, &list, dpi_parse_expression(p))) return NULL;
	}
	if (dpi_parse_accept(p, "ELSE")) n = dpi_parse_expression(p);
	else if ((n = dpi_tree_node(p->tree, NODE_LITERAL, p->lex.at, 0, NULL))) n->null = true;
	if (!dpi_parse_list(p, &list, n) || !dpi_parse_expect(p, "END")) return NULL;
	return dpi_tree_node(p->tree, NODE_CASE, at, list.count, list.node);
}

/* ------------------------------------------------------------------------------------------------------ functions */

static int date_part(struct dpi_text t)
{
	static const char *const name[] = { "year", "quarter", "month", "week", "day", "dow", "doy" };
	for (int i = 0; i < 7; i++)
		if (strlen(name[i]) == t.size && !strncasecmp(name[i], (const char *)t.at, t.size)) return DPI_YEAR + i;
	return 0;
}

static struct dpi_node *extract(struct dpi_parser *p, uint32_t at)
{
	int part = p->lex.kind == TOKEN_NAME ? date_part(p->lex.token) : 0;
	if (!part || part == DPI_WEEK) return dpi_parse_failed(p, "year, quarter, month, day, dow or doy");
	dpi_lex_next(&p->lex);
	struct dpi_node *n = dpi_parse_expect(p, "FROM") ? dpi_parse_expression(p) : NULL;
	n = n ? dpi_parse_node(p, NODE_EXTRACT, at, 1, n, NULL, NULL) : NULL;
	if (n) n->number = part;
	return n;
}

/* DATE_TRUNC('unit', date), DATE_ADD('unit', count, date). */
static struct dpi_node *of_unit(struct dpi_parser *p, uint32_t at, bool add)
{
	uint32_t unit_at = p->lex.at;
	struct dpi_node *unit = dpi_parse_string(p), *count = NULL;
	int part = unit ? date_part(unit->text) : 0;
	if (!unit) return NULL;
	if (!part || part > DPI_DAY)
		return dpi_tree_fail(p->tree, DPI_ERR_ARGUMENT, unit_at,
				     "this is no unit: write 'year', 'quarter', 'month', 'week' or 'day'");
	if (!dpi_parse_expect(p, ",")) return NULL;
	if (add && (!(count = dpi_parse_expression(p)) || !dpi_parse_expect(p, ","))) return NULL;
	struct dpi_node *n = dpi_parse_expression(p);
	if (!n) return NULL;
	if (!add) {
		n = dpi_parse_node(p, NODE_TRUNC, at, 1, n, NULL, NULL);
		if (n) n->number = part;
		return n;
	}
	if (part == DPI_DAY) return dpi_parse_node(p, NODE_ADD_DAYS, at, 2, n, count, NULL);
	if (part == DPI_WEEK) {
		struct dpi_node *seven = dpi_tree_node(p->tree, NODE_LITERAL, at, 0, NULL);
		if (!seven) return NULL;
		seven->type = dpi_type_of(DPI_TYPE_INT64), seven->number = 7;
		count = dpi_parse_node(p, NODE_MUL, at, 2, count, seven, NULL);
		return count ? dpi_parse_node(p, NODE_ADD_DAYS, at, 2, n, count, NULL) : NULL;
	}
	n = dpi_parse_node(p, NODE_ADD_MONTHS, at, 2, n, count, NULL);
	if (n) n->number = part == DPI_YEAR ? 12 : part == DPI_QUARTER ? 3 : 1;
	return n;
}

/* TRIM([[LEADING | TRAILING | BOTH] [characters] FROM] text), or as LTRIM and RTRIM: (text [, characters]). */
static struct dpi_node *trim(struct dpi_parser *p, uint32_t at, int sides)
{
	struct dpi_node *text = NULL, *set = NULL;
	bool from = false;
	if (sides == 3) {
		int which = dpi_lex_is(&p->lex, "LEADING")    ? 1
			    : dpi_lex_is(&p->lex, "TRAILING") ? 2
			    : dpi_lex_is(&p->lex, "BOTH")     ? 3
							      : 0;
		struct dpi_lexer before = p->lex;
		if (which) {
			dpi_lex_next(&p->lex);
			if (dpi_lex_is(&p->lex, ")") || dpi_lex_is(&p->lex, ","))
				p->lex = before; /* a column of that name */
			else from = true, sides = which;
		}
	}
	if (from && dpi_parse_accept(p, "FROM")) text = dpi_parse_expression(p);
	else {
		text = dpi_parse_expression(p);
		if (!text) return NULL;
		if (dpi_lex_is(&p->lex, "FROM") || from) {
			set = text;
			text = dpi_parse_expect(p, "FROM") ? dpi_parse_expression(p) : NULL;
		} else if (dpi_parse_accept(p, ",") && !(set = dpi_parse_expression(p))) return NULL;
	}
	if (!text) return NULL;
	if (!set) {
		set = dpi_tree_node(p->tree, NODE_LITERAL, at, 0, NULL);
		if (!set) return NULL;
		set->type = dpi_type_of(DPI_TYPE_UTF8), set->text = (struct dpi_text){ (const uint8_t *)" ", 1 };
	}
	struct dpi_node *n = dpi_parse_node(p, NODE_TRIM, at, 2, text, set, NULL);
	if (n) n->number = sides;
	return n;
}

static struct dpi_node *substring(struct dpi_parser *p, uint32_t at)
{
	struct dpi_node *text = dpi_parse_expression(p), *start, *length = NULL;
	if (!text) return NULL;
	bool words = dpi_parse_accept(p, "FROM");
	if (!words && !dpi_parse_expect(p, ",")) return NULL;
	start = dpi_parse_expression(p);
	if (!start) return NULL;
	if (dpi_parse_accept(p, words ? "FOR" : ",") && !(length = dpi_parse_expression(p))) return NULL;
	return dpi_parse_node(p, NODE_SUBSTRING, at, length ? 3 : 2, text, start, length);
}

static struct dpi_node *position(struct dpi_parser *p, uint32_t at)
{
	struct dpi_node *needle = dpi_parse_operand(p), *text;
	if (!needle) return NULL;
	if (!dpi_lex_is(&p->lex, "IN") && !dpi_lex_is(&p->lex, ",")) return dpi_parse_failed(p, "IN or ','");
	dpi_lex_next(&p->lex);
	text = dpi_parse_expression(p);
	return text ? dpi_parse_node(p, NODE_POSITION, at, 2, needle, text, NULL) : NULL;
}

static struct dpi_node *round_to(struct dpi_parser *p, uint32_t at)
{
	struct dpi_node *x = dpi_parse_expression(p);
	int digits = 0;
	if (!x) return NULL;
	if (dpi_parse_accept(p, ",") && !small(p, 0, DPI_DIGITS_128, "a number of digits, 0 to 38", &digits)) return NULL;
	x = dpi_parse_node(p, NODE_ROUND, at, 1, x, NULL, NULL);
	if (x) x->number = digits;
	return x;
}

static const struct function {
	const char *name;
	int op, least, most; /* arguments */
} functions[] = {
	{ "COALESCE", NODE_COALESCE, 1, 1000 },
	{ "NULLIF", NODE_NULLIF, 2, 2 },
	{ "LEAST", NODE_LEAST, 1, 1000 },
	{ "GREATEST", NODE_GREATEST, 1, 1000 },
	{ "ABS", NODE_ABS, 1, 1 },
	{ "SIGN", NODE_SIGN, 1, 1 },
	{ "FLOOR", NODE_FLOOR, 1, 1 },
	{ "CEIL", NODE_CEIL, 1, 1 },
	{ "CEILING", NODE_CEIL, 1, 1 },
	{ "SQRT", NODE_SQRT, 1, 1 },
	{ "POWER", NODE_POWER, 2, 2 },
	{ "MOD", NODE_MOD, 2, 2 },
	{ "LENGTH", NODE_LENGTH, 1, 1 },
	{ "OCTET_LENGTH", NODE_OCTETS, 1, 1 },
	{ "LOWER", NODE_LOWER, 1, 1 },
	{ "UPPER", NODE_UPPER, 1, 1 },
	{ "CONCAT", NODE_CONCAT, 1, 1000 },
	{ "STARTS_WITH", NODE_STARTS, 2, 2 },
};

static struct dpi_node *special(struct dpi_parser *p, uint32_t at, int which)
{
	switch (which) {
	case 0: return cast(p, at);
	case 1: return extract(p, at);
	case 2: return of_unit(p, at, false);
	case 3: return of_unit(p, at, true);
	case 4: return trim(p, at, 3);
	case 5: return trim(p, at, 1);
	case 6: return trim(p, at, 2);
	case 7: return substring(p, at);
	case 8: return position(p, at);
	default: return round_to(p, at);
	}
}

struct dpi_node *dpi_parse_call(struct dpi_parser *p, bool *is)
{
	static const char *const own[] = { "CAST",  "EXTRACT", "DATE_TRUNC", "DATE_ADD", "TRIM",
					   "LTRIM", "RTRIM",   "SUBSTRING",  "POSITION", "ROUND" };
	struct dpi_lexer name = p->lex;
	const struct function *f = NULL;
	int which = 0, words = sizeof own / sizeof *own;
	*is = true;
	if (dpi_parse_accept(p, "CASE")) return case_of(p, name.at);
	dpi_lex_next(&p->lex);
	if (!dpi_lex_is(&p->lex, "(") || dpi_lex_is(&name, "AND") || dpi_lex_is(&name, "OR") || dpi_lex_is(&name, "NOT")) {
		p->lex = name;
		*is = false;
		return NULL;
	}
	while (which < words && !dpi_lex_is(&name, own[which])) which++;
	for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
		if (dpi_lex_is(&name, functions[i].name)) f = functions + i;
	if (which == words && !f) {
		p->lex = name;
		return dpi_parse_failed(p, "a function that there is: dpi_expression(7) lists them");
	}
	dpi_lex_next(&p->lex);
	struct dpi_node *n;
	struct dpi_list list = { 0 };
	if (!f) n = special(p, name.at, which);
	else {
		do {
			if (!dpi_parse_list(p, &list, dpi_parse_expression(p))) return NULL;
		} while (dpi_parse_accept(p, ","));
		if (list.count < f->least || list.count > f->most)
			return dpi_tree_fail(p->tree, DPI_ERR_ARGUMENT, name.at, "%s has %d to %d arguments, not %d",
					     f->name, f->least, f->most, list.count);
		n = dpi_tree_node(p->tree, f->op, name.at, list.count, list.node);
	}
	return n && dpi_parse_expect(p, ")") ? n : NULL;
}
