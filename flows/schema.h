/* SPDX-License-Identifier: Apache-2.0
 * schema.h: what tuples consist of, and where in a row each column lies. Immutable once made, counted by references. */
#ifndef DPI_FLOWS_SCHEMA_H
#define DPI_FLOWS_SCHEMA_H

#include <dpi.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handle.h"

struct dpi_column {
	const char *name;    /* within the schema's own memory */
	int type;	     /* DPI_TYPE_* */
	int precision, scale; /* decimals, else 0 */
	bool nullable;
	bool variable;	     /* BINARY, UTF8 */
	uint8_t null_mask;   /* of the row's byte null_at: set means NULL; 0: never NULL */
	uint32_t null_at;
	uint32_t width;	     /* bytes in a row's fixed part; variable: 8, where and how many its bytes are */
	uint32_t offset;     /* in a row */
};

struct dpi_schema {
	_Atomic uint32_t references;
	uint32_t columns;	   /* 1 … DPI_COLUMNS_MAX */
	uint32_t variable_columns, nullable_columns;
	uint32_t row_size;	   /* of the fixed part; a multiple of row_align */
	uint32_t row_align;	   /* 1, 2, 4, 8 */
	bool varies;		   /* variable_columns > 0 */
	bool plain;		   /* any bytes of row_size are a row: neither variable nor bool */
	uint64_t digest;	   /* of the bytes of dpi_schema_write */
	const struct dpi_column **by_name; /* sorted */
	struct dpi_column column[];
};

/* Each gives one reference. Every error has its sentence. */
int dpi_schema_new(const DPI_Column *columns, size_t count, struct dpi_schema **schema);
int dpi_schema_parse(const void *bytes, size_t size, struct dpi_schema **schema); /* DPI_ERR_CORRUPT, VERSION, MEMORY */

static inline struct dpi_schema *dpi_schema_ref(struct dpi_schema *s)
{
	atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
	return s;
}
void dpi_schema_unref(struct dpi_schema *s); /* NULL is allowed */

/* As bytes: uint32_t magic, version, columns; for each column uint8_t type, nullable, precision, scale, uint32_t width
 * (of FIXED, else 0), uint32_t length of the name, the name. Little endian, at most DPI_SCHEMA_BYTES_MAX. */
#define DPI_SCHEMA_MAGIC 0x53495044u /* "DPIS" */
#define DPI_SCHEMA_VERSION 1u
#define DPI_SCHEMA_BYTES_MAX (12 + DPI_COLUMNS_MAX * (12 + DPI_NAME_MAX))
size_t dpi_schema_bytes(const struct dpi_schema *s);
void dpi_schema_write(const struct dpi_schema *s, void *bytes); /* dpi_schema_bytes of them */

/* True if they are equal; else text is the first difference, with a and b called by these names ("the flow's schema"). */
bool dpi_schema_equal(const struct dpi_schema *a, const char *a_name, const struct dpi_schema *b, const char *b_name,
		      char *text, size_t room);

/* The number of the column of this name; -1: there is none. */
int dpi_schema_find(const struct dpi_schema *s, const char *name);

/* A column as DPI_Create_Schema takes it, and as people read it: "price" DECIMAL64(12,2) or NULL. */
DPI_Column dpi_schema_column(const struct dpi_schema *s, uint32_t i);
#define DPI_COLUMN_TEXT (DPI_NAME_MAX + 64)
const char *dpi_schema_column_text(const struct dpi_column *c, char text[static DPI_COLUMN_TEXT]);

/* Handles. dpi_schema_open takes over the reference, also when it fails. */
int dpi_schema_open(struct dpi_schema *s, DPI_Schema *handle);

/* NULL: not a live handle; dpi_schema_error then says why. */
static inline struct dpi_schema *dpi_schema_get(DPI_Schema handle)
{
	return dpi_handle_get(DPI_HANDLE_SCHEMA, (uint64_t)(uintptr_t)handle);
}
static inline int dpi_schema_error(DPI_Schema handle)
{
	return dpi_handle_error(DPI_HANDLE_SCHEMA, (uint64_t)(uintptr_t)handle);
}

/* Valid UTF-8: no overlong form, no surrogate, nothing above U+10FFFF. */
bool dpi_schema_utf8(const void *text, size_t size);

#endif
