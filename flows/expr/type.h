/* SPDX-License-Identifier: Apache-2.0
 * type.h: types of expressions, the kinds of registers that hold them, and how types meet. */
#ifndef DPI_EXPR_TYPE_H
#define DPI_EXPR_TYPE_H

#include "expr.h"
#include "wide.h"

#define DPI_TYPE_NONE 0 /* of a NULL that nothing has given a type yet */

/* How a register holds its values. */
enum dpi_kind {
	KIND_BOOL = 1, /* bits */
	KIND_I8,
	KIND_I16,
	KIND_I32, /* dates, too */
	KIND_I64, /* decimals of 64 bits, too */
	KIND_U8,
	KIND_U16,
	KIND_U32,
	KIND_U64,
	KIND_F32,
	KIND_F64,
	KIND_I128,
	KIND_TEXT, /* struct dpi_text: fixed, binary, UTF-8 */
	KIND_COUNT
};

struct dpi_text {
	const uint8_t *at;
	size_t size;
};

static inline bool dpi_kind_is(int kind)
{
	return kind >= KIND_BOOL && kind < KIND_COUNT;
}
size_t dpi_kind_width(int kind); /* bytes of a value in a register; bool: 0 */
int dpi_type_kind(int type);	 /* 0: there is no such type */

static inline bool dpi_type_is_integer(int type)
{
	return type >= DPI_TYPE_INT8 && type <= DPI_TYPE_UINT64;
}
static inline bool dpi_type_is_unsigned(int type)
{
	return type >= DPI_TYPE_UINT8 && type <= DPI_TYPE_UINT64;
}
static inline bool dpi_type_is_decimal(int type)
{
	return type == DPI_TYPE_DECIMAL64 || type == DPI_TYPE_DECIMAL128;
}
static inline bool dpi_type_is_real(int type)
{
	return type == DPI_TYPE_FLOAT || type == DPI_TYPE_DOUBLE;
}
static inline bool dpi_type_is_bytes(int type)
{
	return type == DPI_TYPE_FIXED || type == DPI_TYPE_BINARY;
}
static inline bool dpi_type_is_text(int type)
{
	return type >= DPI_TYPE_FIXED && type <= DPI_TYPE_UTF8;
}
static inline bool dpi_type_is_number(int type)
{
	return dpi_type_is_integer(type) || dpi_type_is_decimal(type) || dpi_type_is_real(type);
}

struct dpi_expr_type dpi_type_of(int type);
struct dpi_expr_type dpi_type_decimal(int precision, int scale);		  /* 64 bits where they are enough */
bool dpi_type_same(const struct dpi_expr_type *a, const struct dpi_expr_type *b); /* whatever nullable says */
int dpi_type_digits(int type);						 /* of the largest value of an integer type */
struct dpi_expr_type dpi_type_as_decimal(const struct dpi_expr_type *t); /* of an integer or decimal type */

/* The type to which values of both are cast when they are compared, or are branches of one expression; false: none. */
bool dpi_type_common(const struct dpi_expr_type *a, const struct dpi_expr_type *b, struct dpi_expr_type *out);
bool dpi_type_castable(int from, int to);

#define DPI_TYPE_PRINTED 40
const char *dpi_type_print(const struct dpi_expr_type *t, char *text); /* DPI_TYPE_PRINTED bytes */
/* A column's declaration, checked and with its defaults; DPI_ERR_ARGUMENT. */
int dpi_type_of_column(const struct dpi_expr_column *c, int index, struct dpi_expr_type *out);

#endif
