/* SPDX-License-Identifier: Apache-2.0
 * program.h: an expression as instructions. Values are numbered: first the columns it reads, then its constants, then one
 * for each instruction, which uses only values before it; none is ever written again. There are no jumps: an instruction with a
 * mask works, and has errors, only in rows where the mask is true; elsewhere it gives NULL. */
#ifndef DPI_EXPR_PROGRAM_H
#define DPI_EXPR_PROGRAM_H

#include "type.h"

#define DPI_EXPR_VALUES_MAX 16384
#define DPI_EXPR_COLUMNS_MAX 4096
#define DPI_EXPR_FIXED_MAX (1u << 20) /* bytes of FIXED in casts */
#define DPI_EXPR_IMAGE_MAX (16u << 20)
#define DPI_VALUE_NONE 0xffffu

/* Name, operands. The numbers, from 1, are those of serialised programs: new ones go to the end. */
#define DPI_OPS(X)                                                                                                          \
	X(EQ, 2)                                                                                                            \
	X(NE, 2)                                                                                                            \
	X(LT, 2)                                                                                                            \
	X(LE, 2)                                                                                                            \
	X(GT, 2)                                                                                                            \
	X(GE, 2)                                                                                                            \
	X(AND, 2)                                                                                                           \
	X(OR, 2)                                                                                                            \
	X(NOT, 1)                                                                                                           \
	X(IS_NULL, 1)                                                                                                       \
	X(IS_TRUE, 1) /* true and not NULL */                                                                               \
	X(SELECT, 3)  /* b where a is true, else c */                                                                       \
	X(IN, 2)      /* b and the imm - 1 values behind it: constants, ascending */                                        \
	X(ADD, 2)                                                                                                           \
	X(SUB, 2)                                                                                                           \
	X(MUL, 2)                                                                                                           \
	X(DIV, 2)                                                                                                           \
	X(MOD, 2)                                                                                                           \
	X(NEG, 1)                                                                                                           \
	X(ABS, 1)                                                                                                           \
	X(SIGN, 1)                                                                                                          \
	X(UP, 1)	      /* times 10^imm */                                                                            \
	X(DOWN, 1)	      /* divided by 10^(imm & 255), rounded as imm >> 8 says (enum dpi_rounding) */                 \
	X(DIGITS, 1)	      /* the same value, which must have at most imm digits */                                      \
	X(CONVERT, 1)	      /* to kind imm */                                                                             \
	X(REAL_TO_DECIMAL, 1) /* times 10^imm, rounded */                                                                   \
	X(DECIMAL_TO_REAL, 1) /* divided by 10^imm */                                                                       \
	X(FLOOR, 1)                                                                                                         \
	X(CEIL, 1)                                                                                                          \
	X(ROUND, 1) /* to imm digits */                                                                                     \
	X(SQRT, 1)                                                                                                          \
	X(POWER, 2)                                                                                                         \
	X(LENGTH, 1)                                                                                                        \
	X(OCTETS, 1)                                                                                                        \
	X(LOWER, 1)                                                                                                         \
	X(UPPER, 1)                                                                                                         \
	X(SUBSTRING, 3) /* imm: 1 of bytes, 2 to the end, whatever c is */                                                  \
	X(TRIM, 2)	/* imm: 1 left, 2 right, 3 both */                                                                  \
	X(CONCAT, 2)                                                                                                        \
	X(STARTS, 2)                                                                                                        \
	X(POSITION, 2) /* of a in b; imm 1: of bytes */                                                                     \
	X(LIKE, 2)     /* imm: the escape character's bytes, first lowest; 0: none */                                       \
	X(WIDTH, 1)    /* the same bytes, which must be imm */                                                              \
	X(UTF8, 1)     /* the same bytes, which must be UTF-8 */                                                            \
	X(PART, 1)     /* of a date: enum dpi_date_part */                                                                  \
	X(TRUNC, 1)    /* of a date: enum dpi_date_part */                                                                  \
	X(MONTHS, 2)   /* date a and b times imm months */                                                                  \
	X(PRINT, 1)    /* imm: scale; of I32, a date */                                                                     \
	X(PARSE, 1)    /* to kind imm & 255; a decimal: digits imm >> 16, scale imm >> 8 & 255; I32: a date */

enum dpi_op {
	OP_NONE,
#define DPI_OP_ENUM(name, operands) OP_##name,
	DPI_OPS(DPI_OP_ENUM)
#undef DPI_OP_ENUM
		OP_COUNT
};

struct dpi_instruction {
	uint16_t op, a, b, c, mask; /* values; DPI_VALUE_NONE: none */
	uint32_t imm;
	uint32_t at; /* character of the text that errors are said to be at; 0: not known */
};

struct dpi_constant {
	_Alignas(16) uint8_t bytes[16]; /* as a register of this kind holds it; bool: 0 or 1 */
	uint8_t kind;
	bool null;
	struct dpi_text text; /* KIND_TEXT: bytes of the program's pool */
};

struct dpi_expr {
	struct dpi_expr_type result;
	int columns, constants, instructions, values;
	uint16_t root;
	int *column; /* index in the schema, ascending */
	struct dpi_expr_type *column_type;
	struct dpi_constant *constant;
	struct dpi_instruction *instruction;
	uint8_t *kind;	/* of each value */
	bool *nullable; /* of each value */
	uint8_t *pool;	/* text of the constants */
	size_t pool_size;
};

/* Operands of an operation; 0: there is no such one. */
int dpi_op_operands(int op);
/* The kind of an instruction's result, when its operands are of these kinds; 0: it may not have them, or imm is wrong. */
int dpi_op_result(const struct dpi_instruction *i, int a, int b, int c);
bool dpi_op_raises(const struct dpi_instruction *i, int kind_a); /* may have a row's error */
bool dpi_op_masked(const struct dpi_instruction *i, int kind_a); /* has a mask: errors, or it is slow */

/* Everything that makes a program safe to run, and its kinds and nullable filled in; DPI_ERR_CORRUPT. */
int dpi_program_check(struct dpi_expr *e);
/* The order of constants of IN: negative, 0, positive. */
int dpi_constant_compare(const struct dpi_constant *a, const struct dpi_constant *b);
/* Where the C library's mathematics is found; NULL: nowhere. */
double (*dpi_power(void))(double, double);
double (*dpi_remainder(void))(double, double);
double (*dpi_root(void))(double); /* where the processor has no instruction that the compiler knows of */

#endif
