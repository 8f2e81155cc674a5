/* SPDX-License-Identifier: Apache-2.0
 * row.c: rows that people build and take apart value by value, and rows from outside, checked. */
#include "row.h"

#include <float.h>
#include <math.h>

#include "error.h"

__extension__ typedef __int128 int128;

/* ------------------------------------------------------------------------------------------------ rows from outside */

int dpi_row_check_columns(const struct dpi_schema *s, const void *row, size_t size, bool utf8)
{
	if (s->varies ? size < s->row_size || size > DPI_ROW_MAX : size != s->row_size)
		return dpi_fail(DPI_ERR_CORRUPT, "a row of %zu bytes: this schema has rows of %s%u", size,
				s->varies ? "at least " : "", s->row_size);
	for (uint32_t i = 0; i < s->columns; i++) {
		const struct dpi_column *c = s->column + i;
		const uint8_t *data;
		uint32_t bytes;
		if (c->type != DPI_TYPE_BOOL && !c->variable) continue;
		if (dpi_row_null(row, c)) continue;
		if (!c->variable) {
			uint8_t b = ((const uint8_t *)row)[c->offset];
			if (b > 1)
				return dpi_fail(DPI_ERR_CORRUPT, "column %u \"%s\" of a row is %u: a BOOL is 0 or 1", i,
						c->name, b);
			continue;
		}
		if (!dpi_row_bytes(s, row, (uint32_t)size, c, &data, &bytes))
			return dpi_fail(DPI_ERR_CORRUPT, "column %u \"%s\" of a row of %zu bytes does not lie within it", i,
					c->name, size);
		if (utf8 && c->type == DPI_TYPE_UTF8 && !dpi_schema_utf8(data, bytes))
			return dpi_fail(DPI_ERR_CORRUPT, "column %u \"%s\" of a row is not UTF-8", i, c->name);
	}
	return DPI_SUCCESS;
}

#define LOAD(type, from) __extension__({ type loaded; memcpy(&loaded, (from), sizeof loaded); loaded; })

int dpi_row_value(const struct dpi_schema *s, const void *row, size_t size, size_t column, DPI_Value *value)
{
	const struct dpi_column *c = s->column + column;
	const uint8_t *at = (const uint8_t *)row + c->offset;
	DPI_Value v = { .type = c->type };
	if (s->varies ? size < s->row_size || size > DPI_ROW_MAX : size != s->row_size)
		return dpi_fail(DPI_ERR_CORRUPT, "a row of %zu bytes: this schema has rows of %s%u", size,
				s->varies ? "at least " : "", s->row_size);
	if (dpi_row_null(row, c)) {
		*value = (DPI_Value){ .type = DPI_TYPE_NULL };
		return DPI_SUCCESS;
	}
	switch (c->type) {
	case DPI_TYPE_BOOL:
		v.i = *at;
		if (v.i > 1)
			return dpi_fail(DPI_ERR_CORRUPT, "column %zu \"%s\" of a row is %d: a BOOL is 0 or 1", column,
					c->name, (int)v.i);
		break;
	case DPI_TYPE_INT8: v.i = (int8_t)*at; break;
	case DPI_TYPE_INT16: v.i = LOAD(int16_t, at); break;
	case DPI_TYPE_INT32:
	case DPI_TYPE_DATE32: v.i = LOAD(int32_t, at); break;
	case DPI_TYPE_INT64:
	case DPI_TYPE_DECIMAL64: v.i = LOAD(int64_t, at); break;
	case DPI_TYPE_UINT8: v.u = *at; break;
	case DPI_TYPE_UINT16: v.u = LOAD(uint16_t, at); break;
	case DPI_TYPE_UINT32: v.u = LOAD(uint32_t, at); break;
	case DPI_TYPE_UINT64: v.u = LOAD(uint64_t, at); break;
	case DPI_TYPE_FLOAT: v.d = (double)LOAD(float, at); break;
	case DPI_TYPE_DOUBLE: v.d = LOAD(double, at); break;
	case DPI_TYPE_DECIMAL128: memcpy(v.w, at, 16); break;
	case DPI_TYPE_FIXED: v.data = at, v.size = c->width; break;
	default: {
		const uint8_t *data;
		if (!dpi_row_bytes(s, row, (uint32_t)size, c, &data, &v.size))
			return dpi_fail(DPI_ERR_CORRUPT, "column %zu \"%s\" of a row of %zu bytes does not lie within it",
					column, c->name, size);
		v.data = data;
	}
	}
	*value = v;
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------ rows from values */

static int no_fit(uint32_t i, const struct dpi_column *c)
{
	char text[DPI_COLUMN_TEXT];
	return dpi_fail(DPI_ERR_RANGE, "the value of column %u does not fit %s", i, dpi_schema_column_text(c, text));
}

/* Has it at most digits digits? digits: up to 38. */
static bool decimal_fits(int128 v, int digits)
{
	int128 end = 1;
	for (int i = 0; i < digits; i++) end *= 10;
	return v < end && v > -end;
}

static bool number_fits(const struct dpi_column *c, const DPI_Value *v)
{
	int bits = (int)c->width * 8;
	switch (c->type) {
	case DPI_TYPE_BOOL: return v->i == 0 || v->i == 1;
	case DPI_TYPE_INT8:
	case DPI_TYPE_INT16:
	case DPI_TYPE_INT32:
	case DPI_TYPE_DATE32: return v->i >= -(INT64_C(1) << (bits - 1)) && v->i < INT64_C(1) << (bits - 1);
	case DPI_TYPE_UINT8:
	case DPI_TYPE_UINT16:
	case DPI_TYPE_UINT32: return v->u < UINT64_C(1) << bits;
	case DPI_TYPE_FLOAT: return !isfinite(v->d) || fabs(v->d) <= (double)FLT_MAX;
	case DPI_TYPE_DECIMAL64: return decimal_fits(v->i, c->precision);
	case DPI_TYPE_DECIMAL128: {
		int128 n;
		memcpy(&n, v->w, 16);
		return decimal_fits(n, c->precision);
	}
	}
	return true;
}

static int check_value(uint32_t i, const struct dpi_column *c, const DPI_Value *v, uint64_t *size)
{
	char text[DPI_COLUMN_TEXT];
	if (v->type == DPI_TYPE_NULL) {
		if (c->nullable) return DPI_SUCCESS;
		return dpi_fail(DPI_ERR_ARGUMENT,
				"the value of column %u is NULL, and it is %s: declare it nullable, or give a value", i,
				dpi_schema_column_text(c, text));
	}
	if (v->type != c->type)
		return dpi_fail(DPI_ERR_ARGUMENT,
				"the value of column %u has type %d, and it is %s: give values of the column's type", i,
				v->type, dpi_schema_column_text(c, text));
	if (c->type == DPI_TYPE_FIXED && v->size != c->width)
		return dpi_fail(DPI_ERR_ARGUMENT, "the value of column %u has %u bytes, and it is %s", i, v->size,
				dpi_schema_column_text(c, text));
	if ((c->variable || c->type == DPI_TYPE_FIXED) && v->size && !v->data)
		return dpi_fail(DPI_ERR_ARGUMENT, "the value of column %u has %u bytes at NULL: pass them, or set null", i, v->size);
	if (!number_fits(c, v)) return no_fit(i, c);
	if (c->variable) *size += v->size;
	return DPI_SUCCESS;
}

static void put_value(const struct dpi_column *c, const DPI_Value *v, uint8_t *row, uint32_t *behind)
{
	uint8_t *at = row + c->offset;
	float f;
	if (v->type == DPI_TYPE_NULL) {
		row[c->null_at] |= c->null_mask;
		return;
	}
	switch (c->type) {
	case DPI_TYPE_FLOAT:
		f = (float)v->d;
		memcpy(at, &f, 4);
		return;
	case DPI_TYPE_FIXED: memcpy(at, v->data, c->width); return;
	case DPI_TYPE_DECIMAL128: memcpy(at, v->w, 16); return;
	case DPI_TYPE_BINARY:
	case DPI_TYPE_UTF8:
		memcpy(at, behind, 4), memcpy(at + 4, &v->size, 4);
		if (v->size) memcpy(row + *behind, v->data, v->size);
		*behind += v->size;
		return;
	}
	memcpy(at, &v->i, c->width); /* little endian: the low bytes of whichever member was set */
}

int dpi_row_pack(const struct dpi_schema *s, const DPI_Value *values, void *row, size_t room, size_t *size)
{
	uint64_t bytes = s->row_size;
	for (uint32_t i = 0; i < s->columns; i++) {
		int error = check_value(i, s->column + i, values + i, &bytes);
		if (error) return error;
	}
	*size = bytes;
	if (bytes > DPI_ROW_MAX)
		return dpi_fail(DPI_ERR_SIZE, "the row would have %llu bytes: at most %d", (unsigned long long)bytes,
				DPI_ROW_MAX);
	if (bytes > room)
		return dpi_fail(DPI_ERR_SIZE, "the row has %llu bytes, the room for it only %zu", (unsigned long long)bytes,
				room);
	uint32_t behind = s->row_size;
	memset(row, 0, s->row_size); /* what lies between values is no bytes of somebody's */
	for (uint32_t i = 0; i < s->columns; i++) put_value(s->column + i, values + i, row, &behind);
	return DPI_SUCCESS;
}
