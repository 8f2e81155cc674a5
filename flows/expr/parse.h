/* SPDX-License-Identifier: Apache-2.0
 * parse.h: what parse.c and parse_call.c share. Where they return a node or a truth, NULL and false have failed. */
#ifndef DPI_EXPR_PARSE_H
#define DPI_EXPR_PARSE_H

#include "ast.h"
#include "lex.h"

struct dpi_parser {
	struct dpi_lexer lex;
	struct dpi_tree *tree;
	int depth;
};

struct dpi_list {
	struct dpi_node **node;
	int count, room;
};

void *dpi_parse_failed(struct dpi_parser *p, const char *what); /* at the token that stands there; NULL */
bool dpi_parse_accept(struct dpi_parser *p, const char *token);
bool dpi_parse_expect(struct dpi_parser *p, const char *token);
struct dpi_node *dpi_parse_node(struct dpi_parser *p, int op, uint32_t at, int kids, struct dpi_node *a, struct dpi_node *b,
				struct dpi_node *c);
bool dpi_parse_list(struct dpi_parser *p, struct dpi_list *list, struct dpi_node *n);
struct dpi_node *dpi_parse_string(struct dpi_parser *p);
struct dpi_node *dpi_parse_expression(struct dpi_parser *p);
struct dpi_node *dpi_parse_operand(struct dpi_parser *p); /* without AND, OR, NOT, IS, comparisons, IN, LIKE, BETWEEN */

/* CASE, CAST and functions; *is: whether one stands there. */
struct dpi_node *dpi_parse_call(struct dpi_parser *p, bool *is);
bool dpi_parse_type(struct dpi_parser *p, struct dpi_expr_type *out);

#endif
