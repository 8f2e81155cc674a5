/* SPDX-License-Identifier: Apache-2.0
 * ast.h: an expression as a tree: parsed, then checked, which gives each node its type and puts casts between them. After
 * the check, the operands of a node have the types its operation works on, and no more. */
#ifndef DPI_EXPR_AST_H
#define DPI_EXPR_AST_H

#include "error.h"
#include "type.h"

#define DPI_EXPR_TEXT_MAX (1 << 20) /* bytes of an expression's text */
#define DPI_EXPR_DEPTH_MAX 1000	    /* operations within each other */
#define DPI_EXPR_NEST_MAX 500	    /* parentheses and the like within each other */
#define DPI_EXPR_NODES_MAX 20000

enum dpi_node_op {
	NODE_LITERAL = 1,
	NODE_COLUMN, /* number: its index */
	NODE_CAST,
	NODE_ADD,
	NODE_SUB,
	NODE_MUL,
	NODE_DIV,
	NODE_MOD,
	NODE_NEG,
	NODE_EQ, /* the comparisons in the order of the program's */
	NODE_NE,
	NODE_LT,
	NODE_LE,
	NODE_GT,
	NODE_GE,
	NODE_AND,
	NODE_OR,
	NODE_NOT,
	NODE_IS_NULL,
	NODE_DISTINCT,
	NODE_BETWEEN, /* x, low, high */
	NODE_IN,      /* x, elements */
	NODE_LIKE,    /* text, pattern; number: the escape character's bytes, first lowest; 0: none */
	NODE_CASE,    /* condition, value, …, and the else value */
	NODE_COALESCE,
	NODE_NULLIF,
	NODE_LEAST,
	NODE_GREATEST,
	NODE_ABS,
	NODE_SIGN,
	NODE_ROUND, /* number: digits */
	NODE_FLOOR,
	NODE_CEIL,
	NODE_SQRT,
	NODE_POWER,
	NODE_LENGTH, /* characters, of binary bytes */
	NODE_OCTETS,
	NODE_LOWER,
	NODE_UPPER,
	NODE_SUBSTRING, /* text, start, and perhaps length */
	NODE_TRIM,	/* text, characters; number: 1 left, 2 right, 3 both */
	NODE_CONCAT,	/* skips NULLs */
	NODE_JOIN,	/* || */
	NODE_STARTS,
	NODE_POSITION, /* needle, text */
	NODE_EXTRACT,  /* number: enum dpi_date_part */
	NODE_TRUNC,    /* number: enum dpi_date_part */
	NODE_ADD_DAYS,
	NODE_SUB_DAYS,
	NODE_DAYS,	/* date - date */
	NODE_ADD_MONTHS /* date, count; number: months of one */
};

enum dpi_date_part { DPI_YEAR = 1, DPI_QUARTER, DPI_MONTH, DPI_WEEK, DPI_DAY, DPI_DOW, DPI_DOY };

struct dpi_node {
	uint8_t op; /* enum dpi_node_op */
	bool null, checked;
	uint16_t depth;
	uint32_t at; /* character of the text, from 1 */
	struct dpi_expr_type type;
	dpi_i128 number; /* a literal's value: bool, integer, date, unscaled decimal; else see above */
	double real;
	struct dpi_text text;
	int kids;
	struct dpi_node **kid;
	int value, mask; /* where the program has it; of dpi_expr_emit */
};

struct dpi_block;
struct dpi_tree {
	struct dpi_block *blocks;
	const struct dpi_expr_column *column;
	int columns, nodes;
	bool *used; /* of each column: the text names it */
	struct dpi_node *root;
	int error; /* class of the sentence that is set */
};

/* Set the class and a sentence that begins with the character; NULL. */
void *dpi_tree_fail(struct dpi_tree *t, int error, uint32_t at, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* NULL: memory, too deep or too large; or a kid is NULL, which has failed before. */
struct dpi_node *dpi_tree_node(struct dpi_tree *t, int op, uint32_t at, int kids, struct dpi_node *const *kid);
void *dpi_tree_memory(struct dpi_tree *t, size_t size);
void dpi_tree_free(struct dpi_tree *t);

/* Text to a tree, and a tree checked; the tree is freed by the caller, also on failure. */
int dpi_expr_parse(struct dpi_tree *t, const char *text, size_t size);
int dpi_expr_check(struct dpi_tree *t);

/* Of check.c, for check_call.c. On failure they return NULL or false, with a sentence. */
struct dpi_node *dpi_check_cast(struct dpi_tree *t, struct dpi_node *n, struct dpi_expr_type to);
/* Kids from, from + step, … become of one type, which is *common; none: they have none in common, or are all NULL. */
bool dpi_check_common(struct dpi_tree *t, struct dpi_node *n, int from, int step, struct dpi_expr_type *common);
bool dpi_check_kid(struct dpi_tree *t, struct dpi_node *n, int kid, int type); /* becomes of this type where it may */
bool dpi_check_node(struct dpi_tree *t, struct dpi_node *n);
bool dpi_check_call(struct dpi_tree *t, struct dpi_node *n);
bool dpi_check_arithmetic(struct dpi_tree *t, struct dpi_node *n);

#endif
