/* SPDX-License-Identifier: Apache-2.0
 * schema_api.c: the public calls on schemas and rows. */
#include <string.h>

#include "context.h"
#include "row.h"

#define NEED(pointer)                                                                                  \
	do {                                                                                           \
		if (!(pointer)) return dpi_fail(DPI_ERR_ARGUMENT, "%s: %s is NULL: " DPI_NEEDED, __func__, #pointer);      \
	} while (0)

int dpi_schema_open(struct dpi_schema *s, DPI_Schema *handle)
{
	uint64_t h = 0;
	int error = dpi_handles_open();
	if (!error && !(h = dpi_handle_open(DPI_HANDLE_SCHEMA, s)))
		error = dpi_fail(DPI_ERR_LIMIT, "%u handles are open: free schemas that are no longer needed",
				 DPI_HANDLE_MAX);
	if (error) dpi_schema_unref(s);
	else *handle = (DPI_Schema)(uintptr_t)h;
	return error;
}

int DPI_Create_Schema(const DPI_Column *columns, size_t count, DPI_Schema *schema)
{
	struct dpi_schema *s;
	NEED(columns);
	NEED(schema);
	int error = dpi_schema_new(columns, count, &s);
	return error ? error : dpi_schema_open(s, schema);
}

int DPI_Free_Schema(DPI_Schema schema)
{
	struct dpi_schema *s = dpi_schema_get(schema);
	if (!s) return dpi_schema_error(schema);
	dpi_handle_close((uint64_t)(uintptr_t)schema);
	dpi_schema_unref(s);
	return DPI_SUCCESS;
}

int DPI_Get_Schema_Info(DPI_Schema schema, DPI_Schema_Info *info)
{
	const struct dpi_schema *s = dpi_schema_get(schema);
	if (!s) return dpi_schema_error(schema);
	DPI_Schema_Info all = { 0, s->columns, s->row_size, (int)s->row_align, s->varies, s->digest };
	return dpi_give(__func__, info, &all, sizeof all);
}

static int check_index(const struct dpi_schema *s, size_t index)
{
	if (index < s->columns) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_RANGE, "there is no column %zu: the schema has %u, counted from 0", index, s->columns);
}

int DPI_Get_Column(size_t index, DPI_Schema schema, DPI_Column *column, size_t *offset)
{
	const struct dpi_schema *s = dpi_schema_get(schema);
	if (!s) return dpi_schema_error(schema);
	NEED(column);
	int error = check_index(s, index);
	if (error) return error;
	*column = dpi_schema_column(s, (uint32_t)index);
	if (offset) *offset = s->column[index].offset;
	return DPI_SUCCESS;
}

int DPI_Find_Column(const char *name, DPI_Schema schema, size_t *index)
{
	const struct dpi_schema *s = dpi_schema_get(schema);
	if (!s) return dpi_schema_error(schema);
	NEED(name);
	NEED(index);
	int i = dpi_schema_find(s, name);
	if (i < 0) return dpi_fail(DPI_ERR_NAME, "the schema has no column \"%.*s\"", DPI_NAME_MAX, name);
	*index = (size_t)i;
	return DPI_SUCCESS;
}

int DPI_Compare_Schemas(DPI_Schema first, DPI_Schema second, int *equal, char *difference, size_t size)
{
	const struct dpi_schema *a = dpi_schema_get(first), *b;
	if (!a) return dpi_schema_error(first);
	if (!(b = dpi_schema_get(second))) return dpi_schema_error(second);
	NEED(equal);
	if (size) NEED(difference);
	*equal = dpi_schema_equal(a, "the first schema", b, "the second", difference, size);
	return DPI_SUCCESS;
}

int DPI_Pack_Row(const DPI_Value *values, DPI_Schema schema, void *row, size_t room, size_t *size)
{
	const struct dpi_schema *s = dpi_schema_get(schema);
	if (!s) return dpi_schema_error(schema);
	NEED(values);
	if (room) NEED(row);
	size_t bytes;
	return dpi_row_pack(s, values, row, room, size ? size : &bytes);
}

int DPI_Get_Value(const void *row, size_t size, size_t column, DPI_Schema schema, DPI_Value *value)
{
	const struct dpi_schema *s = dpi_schema_get(schema);
	if (!s) return dpi_schema_error(schema);
	NEED(row);
	NEED(value);
	int error = check_index(s, column);
	return error ? error : dpi_row_value(s, row, size, column, value);
}

int DPI_Check_Row(const void *row, size_t size, int utf8, DPI_Schema schema)
{
	const struct dpi_schema *s = dpi_schema_get(schema);
	if (!s) return dpi_schema_error(schema);
	NEED(row);
	return dpi_row_check(s, row, size, utf8);
}
