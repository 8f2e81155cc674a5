/* SPDX-License-Identifier: Apache-2.0
 * parse.c: text to a tree, by recursive descent; binary operators by precedence. */
#include <string.h>

#include "ast.h"
#include "convert.h"
#include "parse.h"

void *dpi_parse_failed(struct dpi_parser *p, const char *what)
{
	const struct dpi_lexer *l = &p->lex;
	int size = l->token.size > 40 ? 40 : (int)l->token.size;
	if (l->kind == TOKEN_WRONG) return NULL; /* it has said so */
	if (l->kind == TOKEN_END)
		return dpi_tree_fail(p->tree, DPI_ERR_ARGUMENT, l->at, "the expression ends where it needs %s", what);
	return dpi_tree_fail(p->tree, DPI_ERR_ARGUMENT, l->at, "'%.*s' stands where the expression needs %s", size,
			     (const char *)l->token.at, what);
}

bool dpi_parse_accept(struct dpi_parser *p, const char *token)
{
	if (!dpi_lex_is(&p->lex, token)) return false;
	dpi_lex_next(&p->lex);
	return true;
}

bool dpi_parse_expect(struct dpi_parser *p, const char *token)
{
	char what[24] = "'";
	if (dpi_parse_accept(p, token)) return true;
	strncat(strncat(what, token, 20), "'", 2);
	dpi_parse_failed(p, what);
	return false;
}

struct dpi_node *dpi_parse_node(struct dpi_parser *p, int op, uint32_t at, int kids, struct dpi_node *a, struct dpi_node *b,
				struct dpi_node *c)
{
	return dpi_tree_node(p->tree, op, at, kids, (struct dpi_node *[]){ a, b, c });
}

bool dpi_parse_list(struct dpi_parser *p, struct dpi_list *list, struct dpi_node *n)
{
	if (!n) return false;
	if (list->count == list->room) {
		int room = list->room ? list->room * 2 : 8;
		struct dpi_node **bigger = dpi_tree_memory(p->tree, (size_t)room * sizeof *bigger);
		if (!bigger) return false;
		if (list->count) memcpy(bigger, list->node, (size_t)list->count * sizeof *bigger);
		list->node = bigger, list->room = room;
	}
	list->node[list->count++] = n;
	return true;
}

/* ------------------------------------------------------------------------------------------------------ literals */

static struct dpi_node *literal(struct dpi_parser *p, uint32_t at, int type)
{
	struct dpi_node *n = dpi_tree_node(p->tree, NODE_LITERAL, at, 0, NULL);
	if (n) n->type = dpi_type_of(type);
	return n;
}

/* negative: a minus stood before it. */
static struct dpi_node *number(struct dpi_parser *p, uint32_t at, bool negative)
{
	struct dpi_text t = p->lex.token;
	int kind = p->lex.kind;
	struct dpi_node *n = literal(p, at, DPI_TYPE_DOUBLE);
	if (!n) return NULL;
	if (kind == TOKEN_REAL) {
		if (!dpi_parse_real(t, &n->real))
			return dpi_tree_fail(p->tree, DPI_ERR_ARGUMENT, at, "the number is too large for a DOUBLE");
		if (negative) n->real = -n->real;
	} else {
		const uint8_t *point = memchr(t.at, '.', t.size);
		int scale = point ? (int)(t.at + t.size - point - 1) : 0, digits = 0;
		if (t.size > 1000 || scale > DPI_DIGITS_128 || !dpi_parse_decimal(t, DPI_DIGITS_128, scale, &n->number))
			return dpi_tree_fail(p->tree, DPI_ERR_ARGUMENT, at,
					     "the number has more than 38 digits: write it with an exponent, as DOUBLE");
		for (dpi_i128 v = n->number; v; v /= 10) digits++;
		if (negative) n->number = -n->number;
		if (kind == TOKEN_DECIMAL || n->number > UINT64_MAX || n->number < INT64_MIN)
			n->type = dpi_type_decimal(digits > scale ? digits : scale ? scale : 1, scale);
		else n->type = dpi_type_of(n->number > INT64_MAX ? DPI_TYPE_UINT64 : DPI_TYPE_INT64);
	}
	dpi_lex_next(&p->lex);
	return n;
}

struct dpi_node *dpi_parse_string(struct dpi_parser *p)
{
	if (p->lex.kind != TOKEN_STRING) return dpi_parse_failed(p, "a string between '…'");
	struct dpi_node *n = literal(p, p->lex.at, DPI_TYPE_UTF8);
	uint8_t *text = n ? dpi_tree_memory(p->tree, p->lex.token.size) : NULL;
	if (!text) return NULL;
	n->text = (struct dpi_text){ text, dpi_lex_unquote(&p->lex, text) };
	dpi_lex_next(&p->lex);
	return n;
}

/* A word that is a literal; NULL with *is false: it is none. */
static struct dpi_node *word_literal(struct dpi_parser *p, bool *is)
{
	struct dpi_lexer before = p->lex;
	struct dpi_node *n;
	int truth = dpi_lex_is(&p->lex, "TRUE") ? 1 : dpi_lex_is(&p->lex, "FALSE") ? 0 : -1;
	*is = true;
	if (truth >= 0 || dpi_lex_is(&p->lex, "NULL")) {
		n = literal(p, p->lex.at, truth < 0 ? DPI_TYPE_NONE : DPI_TYPE_BOOL);
		if (!n) return NULL;
		if (truth < 0) n->null = true;
		else n->number = truth;
		dpi_lex_next(&p->lex);
		return n;
	}
	if (dpi_lex_is(&p->lex, "DATE")) {
		dpi_lex_next(&p->lex);
		if (p->lex.kind == TOKEN_STRING) {
			uint32_t at = p->lex.at;
			int32_t days;
			n = dpi_parse_string(p);
			if (!n) return NULL;
			if (!dpi_parse_date(n->text, &days))
				return dpi_tree_fail(p->tree, DPI_ERR_ARGUMENT, at,
						     "this is no date: write DATE 'YYYY-MM-DD'");
			n->type = dpi_type_of(DPI_TYPE_DATE32), n->number = days;
			return n;
		}
		p->lex = before;
	}
	*is = false;
	return NULL;
}

/* -------------------------------------------------------------------------------------------------------- names */

static bool same_name(struct dpi_text t, const char *name, bool exact)
{
	if (strlen(name) != t.size) return false;
	for (size_t i = 0; i < t.size; i++) {
		int a = t.at[i], b = (uint8_t)name[i];
		if (!exact && a >= 'A' && a <= 'Z') a += 'a' - 'A';
		if (!exact && b >= 'A' && b <= 'Z') b += 'a' - 'A';
		if (a != b) return false;
	}
	return true;
}

static struct dpi_node *column(struct dpi_parser *p)
{
	bool quoted = p->lex.kind == TOKEN_QUOTED;
	struct dpi_text t = p->lex.token;
	if (quoted) {
		uint8_t *copy = dpi_tree_memory(p->tree, t.size);
		if (!copy) return NULL;
		t = (struct dpi_text){ copy, dpi_lex_unquote(&p->lex, copy) };
	}
	int found = -1, count = 0;
	for (int exact = 1; exact >= quoted && !count; exact--)
		for (int i = 0; i < p->tree->columns; i++)
			if (p->tree->column[i].name && same_name(t, p->tree->column[i].name, exact)) found = i, count++;
	if (count != 1)
		return dpi_tree_fail(p->tree, DPI_ERR_ARGUMENT, p->lex.at, "%s column is named '%.*s': %s",
				     count ? "more than one" : "no", t.size > 60 ? 60 : (int)t.size, (const char *)t.at,
				     count ? "write its name between double quotes, as the schema has it"
					   : "compare with the schema; text stands between single quotes");
	struct dpi_node *n = dpi_tree_node(p->tree, NODE_COLUMN, p->lex.at, 0, NULL);
	if (!n) return NULL;
	if (dpi_type_of_column(p->tree->column + found, found, &n->type)) return NULL;
	n->number = found;
	p->tree->used[found] = true;
	dpi_lex_next(&p->lex);
	return n;
}

static bool reserved(const struct dpi_lexer *l)
{
	static const char *const word[] = { "AND",  "OR",   "NOT", "IS",   "IN",   "LIKE", "BETWEEN", "CASE",	"WHEN",
					    "THEN", "ELSE", "END", "CAST", "FROM", "FOR",  "AS",      "ESCAPE", "DISTINCT" };
	for (size_t i = 0; i < sizeof word / sizeof *word; i++)
		if (dpi_lex_is(l, word[i])) return true;
	return false;
}

/* ---------------------------------------------------------------------------------------------------- operators */

static void too_deep(struct dpi_parser *p)
{
	dpi_tree_fail(p->tree, DPI_ERR_LIMIT, p->lex.at, "more than %d operations within each other: split the expression",
		      DPI_EXPR_NEST_MAX);
}

static struct dpi_node *primary(struct dpi_parser *p)
{
	struct dpi_node *n;
	bool is;
	uint32_t at = p->lex.at;
	switch (p->lex.kind) {
	case TOKEN_INTEGER:
	case TOKEN_DECIMAL:
	case TOKEN_REAL: return number(p, at, false);
	case TOKEN_STRING: return dpi_parse_string(p);
	case TOKEN_QUOTED: return column(p);
	case TOKEN_NAME:
		n = word_literal(p, &is);
		if (is) return n;
		n = dpi_parse_call(p, &is);
		if (is) return n;
		if (!reserved(&p->lex)) return column(p);
		break;
	default: break;
	}
	if (!dpi_parse_accept(p, "(")) return dpi_parse_failed(p, "a value: a column, a literal, a function or '('");
	n = dpi_parse_expression(p);
	return n && dpi_parse_expect(p, ")") ? n : NULL;
}

static struct dpi_node *unary(struct dpi_parser *p)
{
	uint32_t at = p->lex.at;
	struct dpi_node *n = NULL;
	if (++p->depth > DPI_EXPR_NEST_MAX) too_deep(p);
	else if (dpi_parse_accept(p, "-"))
		n = p->lex.kind >= TOKEN_INTEGER && p->lex.kind <= TOKEN_REAL
			    ? number(p, at, true)
			    : dpi_parse_node(p, NODE_NEG, at, 1, unary(p), NULL, NULL);
	else if (dpi_parse_accept(p, "+")) n = unary(p);
	else n = primary(p);
	p->depth--;
	return n;
}

/* Operators that stand between two values, from the loosest. */
struct operator
{
	const char *token;
	int level, op;
};
enum { LEVEL_COMPARE = 1, LEVEL_RANGE, LEVEL_JOIN, LEVEL_ADD, LEVEL_MULTIPLY };
static const struct operator operators[] = {
	{ "=", LEVEL_COMPARE, NODE_EQ },   { "<>", LEVEL_COMPARE, NODE_NE },  { "!=", LEVEL_COMPARE, NODE_NE },
	{ "<", LEVEL_COMPARE, NODE_LT },   { "<=", LEVEL_COMPARE, NODE_LE },  { ">", LEVEL_COMPARE, NODE_GT },
	{ ">=", LEVEL_COMPARE, NODE_GE },  { "||", LEVEL_JOIN, NODE_JOIN },   { "+", LEVEL_ADD, NODE_ADD },
	{ "-", LEVEL_ADD, NODE_SUB },	   { "*", LEVEL_MULTIPLY, NODE_MUL }, { "/", LEVEL_MULTIPLY, NODE_DIV },
	{ "%", LEVEL_MULTIPLY, NODE_MOD },
};

static struct dpi_node *binary(struct dpi_parser *p, int level);

static struct dpi_node *negate(struct dpi_parser *p, bool yes, uint32_t at, struct dpi_node *n)
{
	return yes ? dpi_parse_node(p, NODE_NOT, at, 1, n, NULL, NULL) : n;
}

static struct dpi_node *in_list(struct dpi_parser *p, uint32_t at, struct dpi_node *x)
{
	struct dpi_list list = { 0 };
	if (!dpi_parse_list(p, &list, x) || !dpi_parse_expect(p, "(")) return NULL;
	do {
		if (!dpi_parse_list(p, &list, dpi_parse_expression(p))) return NULL;
	} while (dpi_parse_accept(p, ","));
	return dpi_parse_expect(p, ")") ? dpi_tree_node(p->tree, NODE_IN, at, list.count, list.node) : NULL;
}

static struct dpi_node *like(struct dpi_parser *p, uint32_t at, struct dpi_node *x)
{
	struct dpi_node *pattern = binary(p, LEVEL_JOIN),
			*n = pattern ? dpi_parse_node(p, NODE_LIKE, at, 2, x, pattern, NULL) : NULL;
	if (!n || !dpi_parse_accept(p, "ESCAPE")) return n;
	at = p->lex.at;
	struct dpi_node *escape = dpi_parse_string(p);
	if (!escape) return NULL;
	if (!escape->text.size || dpi_utf8_count(escape->text) != 1 || !escape->text.at[0])
		return dpi_tree_fail(p->tree, DPI_ERR_ARGUMENT, at, "ESCAPE needs a string of one character");
	for (size_t i = escape->text.size; i--;) n->number = n->number << 8 | escape->text.at[i];
	return n;
}

/* BETWEEN, IN, LIKE, with or without NOT before. */
static struct dpi_node *range(struct dpi_parser *p)
{
	struct dpi_node *x = binary(p, LEVEL_JOIN);
	while (x) {
		struct dpi_lexer before = p->lex;
		uint32_t at = p->lex.at;
		bool not = dpi_parse_accept(p, "NOT");
		if (dpi_parse_accept(p, "BETWEEN")) {
			struct dpi_node *low = binary(p, LEVEL_JOIN);
			if (!low || !dpi_parse_expect(p, "AND")) return NULL;
			struct dpi_node *high = binary(p, LEVEL_JOIN);
			x = high ? dpi_parse_node(p, NODE_BETWEEN, at, 3, x, low, high) : NULL;
		} else if (dpi_parse_accept(p, "IN")) x = in_list(p, at, x);
		else if (dpi_parse_accept(p, "LIKE")) x = like(p, at, x);
		else {
			p->lex = before;
			return x;
		}
		if (x) x = negate(p, not, at, x);
	}
	return NULL;
}

static struct dpi_node *binary(struct dpi_parser *p, int level)
{
	if (level == LEVEL_RANGE) return range(p);
	struct dpi_node *left = level == LEVEL_MULTIPLY ? unary(p) : binary(p, level + 1);
	while (left) {
		size_t i = 0, count = sizeof operators / sizeof *operators;
		uint32_t at = p->lex.at;
		while (i < count && !(operators[i].level == level && dpi_lex_is(&p->lex, operators[i].token))) i++;
		if (i == count) return left;
		dpi_lex_next(&p->lex);
		struct dpi_node *right = level == LEVEL_MULTIPLY ? unary(p) : binary(p, level + 1);
		left = right ? dpi_parse_node(p, operators[i].op, at, 2, left, right, NULL) : NULL;
	}
	return NULL;
}

/* IS [NOT] NULL, IS [NOT] DISTINCT FROM, IS [NOT] TRUE or FALSE. */
static struct dpi_node *is_test(struct dpi_parser *p)
{
	struct dpi_node *x = binary(p, LEVEL_COMPARE);
	uint32_t at = p->lex.at;
	while (x && dpi_parse_accept(p, "IS")) {
		bool not = dpi_parse_accept(p, "NOT"), is = false;
		if (dpi_parse_accept(p, "NULL")) x = dpi_parse_node(p, NODE_IS_NULL, at, 1, x, NULL, NULL);
		else if (dpi_parse_accept(p, "DISTINCT")) {
			struct dpi_node *y = dpi_parse_expect(p, "FROM") ? binary(p, LEVEL_COMPARE) : NULL;
			x = y ? dpi_parse_node(p, NODE_DISTINCT, at, 2, x, y, NULL) : NULL;
		} else if (dpi_lex_is(&p->lex, "TRUE") || dpi_lex_is(&p->lex, "FALSE")) {
			struct dpi_node *y = word_literal(p, &is); /* x IS TRUE: x is not distinct from it */
			x = y ? negate(p, true, at, dpi_parse_node(p, NODE_DISTINCT, at, 2, x, y, NULL)) : NULL;
		} else return dpi_parse_failed(p, "NULL, TRUE, FALSE or DISTINCT FROM after IS");
		if (x) x = negate(p, not, at, x);
	}
	return x;
}

static struct dpi_node *not_test(struct dpi_parser *p)
{
	uint32_t at = p->lex.at;
	if (!dpi_parse_accept(p, "NOT")) return is_test(p);
	struct dpi_node *n = NULL;
	if (++p->depth > DPI_EXPR_NEST_MAX) too_deep(p);
	else n = not_test(p);
	p->depth--;
	return n ? negate(p, true, at, n) : NULL;
}

/* A run of operands of AND is one tree as low as it can be, so that a long run is not a deep one. */
static struct dpi_node *balance(struct dpi_parser *p, int op, struct dpi_node **n, int count)
{
	if (count == 1) return *n;
	int half = count / 2;
	struct dpi_node *a = balance(p, op, n, half), *b = a ? balance(p, op, n + half, count - half) : NULL;
	return b ? dpi_parse_node(p, op, n[half]->at, 2, a, b, NULL) : NULL;
}

static struct dpi_node *logic(struct dpi_parser *p, bool or)
{
	struct dpi_list list = { 0 };
	do {
		if (!dpi_parse_list(p, &list, or ? logic(p, false) : not_test(p))) return NULL;
	} while (dpi_parse_accept(p, or ? "OR" : "AND"));
	return balance(p, or ? NODE_OR : NODE_AND, list.node, list.count);
}

struct dpi_node *dpi_parse_expression(struct dpi_parser *p)
{
	struct dpi_node *n = NULL;
	if (++p->depth > DPI_EXPR_NEST_MAX) too_deep(p);
	else n = logic(p, true);
	p->depth--;
	return n;
}

struct dpi_node *dpi_parse_operand(struct dpi_parser *p)
{
	return binary(p, LEVEL_JOIN);
}

int dpi_expr_parse(struct dpi_tree *t, const char *text, size_t size)
{
	struct dpi_parser p = { .tree = t };
	t->error = DPI_ERR_ARGUMENT;
	if (size > DPI_EXPR_TEXT_MAX) return dpi_fail(DPI_ERR_LIMIT, "the expression has %zu bytes: at most 1 MiB", size);
	t->used = dpi_tree_memory(t, (size_t)t->columns + 1);
	int error = t->used ? dpi_lex_open(&p.lex, text, size) : DPI_ERR_MEMORY;
	if (error) return error;
	t->root = dpi_parse_expression(&p);
	if (t->root && p.lex.kind != TOKEN_END) {
		dpi_parse_failed(&p, "its end, or an operator");
		t->root = NULL;
	}
	return t->root ? DPI_SUCCESS : t->error;
}
