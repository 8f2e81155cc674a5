/* SPDX-License-Identifier: Apache-2.0
 * flow_values.h: the columns that flow_plan.h draws for a flow, and their values: of every type, and NULLs. By the first four a row is known,
 * they are INT64; of the others up to two may be the flow's key, and have one value for each key of the model. */
#ifndef FLOW_VALUES_H
#define FLOW_VALUES_H

#include <math.h>

#include "kit.h"

#define HEADS 4
#define HEAD (8u * HEADS)
#define MORE 6
#define COLUMNS_MOST (HEADS + MORE)
#define FIXED_MOST 400u /* bytes of a row's fixed part, at most */
#define LARGE_MOST (3 * 65536u) /* bytes of a value that may be large */
#define ROW_MOST (4 * 65536 + 1024)
#define KEYS 64

enum { KEY, NUMBER, SOURCE, CHECK };

struct columns {
	uint64_t seed;
	DPI_Column column[COLUMNS_MOST];
	size_t offset[COLUMNS_MOST];
	uint32_t count, fixed;		  /* columns; bytes of a row's fixed part */
	uint32_t key[2], keys;		  /* which of them are the key; 0: none of them, but the first */
	uint32_t large, large_most;	  /* the one whose values may be large, up to so much; 0: none */
	uint32_t out[COLUMNS_MOST], outs; /* those that a projection lets through */
	bool varies, soiled;		  /* soiled: what counts for nothing is not 0 */
	DPI_Schema schema, output;
};

static uint64_t of_value(const struct columns *c, uint32_t column, int64_t key, uint32_t source, uint64_t number)
{
	for (uint32_t i = 0; i < c->keys; i++)
		if (c->key[i] == column) return mix(c->seed ^ mix((uint64_t)key * 64 + column + 1000));
	return mix(c->seed ^ mix(source * 31 + column + 100) ^ mix(number + 99));
}

static bool is_null(const struct columns *c, uint32_t column, uint64_t r)
{
	return c->column[column].nullable && r % 4 == 0;
}

static bool is_variable(const struct columns *c, uint32_t column)
{
	return c->column[column].type == DPI_TYPE_BINARY || c->column[column].type == DPI_TYPE_UTF8;
}

/* Bytes of a variable value. */
static uint32_t length_of(const struct columns *c, uint32_t column, uint64_t r)
{
	r >>= 8;
	if (column != c->large || r % 4) return (uint32_t)(r / 4 % 24);
	return (uint32_t)(r / 64 % (r / 4 % 16 ? c->large_most / 6 : c->large_most));
}

/* ---------------------------------------------------------------------------------------------------------- columns */

static DPI_Column draw_column(const char *name, uint32_t width, bool variable, uint64_t *d)
{
	DPI_Column c = { name, variable ? DPI_TYPE_BINARY + (int)draw(d, 2) : DPI_TYPE_BOOL + (int)draw(d, 17), one_in(d, 2), 0, 0, 0 };
	if (c.type == DPI_TYPE_FIXED) c.width = width;
	if (c.type == DPI_TYPE_DECIMAL64 || c.type == DPI_TYPE_DECIMAL128) {
		c.precision = 1 + (int)draw(d, c.type == DPI_TYPE_DECIMAL64 ? 18 : 38);
		c.scale = (int)draw(d, (uint64_t)c.precision + 1);
	}
	return c;
}

static void draw_columns(struct columns *c, uint64_t seed, uint64_t *d)
{
	static const char *const name[] = { "key", "number", "source", "check", "a", "b", "c", "d", "e", "f" };
	bool variable = one_in(d, 4);
	*c = (struct columns){ .seed = mix(seed + 8), .soiled = one_in(d, 3) };
	for (; c->count < HEADS; c->count++) c->column[c->count] = (DPI_Column){ name[c->count], DPI_TYPE_INT64, 0, 0, 0, 0 };
	for (uint32_t more = one_in(d, 3) ? variable : 1 + (uint32_t)draw(d, MORE); c->count < HEADS + more; c->count++) {
		uint32_t width = 1 + (uint32_t)draw(d, c->count == HEADS && one_in(d, 2) ? 200 : 20);
		c->column[c->count] = draw_column(name[c->count], width, variable, d);
		variable = false;
		if (is_variable(c, c->count) && !c->varies) c->large = c->count;
		c->varies |= is_variable(c, c->count);
	}
	uint32_t without = one_in(d, 2) ? HEADS + (uint32_t)draw(d, MORE) : 0;
	for (uint32_t i = 0; i < c->count; i++)
		if (i != without || !i) c->out[c->outs++] = i;
}

/* Some of the others instead of the first, or beside it: those that the flow can have as its key. */
static void draw_key(struct columns *c, bool one_number, uint64_t *d)
{
	for (uint32_t i = HEADS; i < c->count && c->keys < (one_number ? 1 : 2); i++) {
		int type = c->column[i].type;
		if (one_number && type > DPI_TYPE_UINT64 && type != DPI_TYPE_DATE32 && type != DPI_TYPE_DECIMAL64) continue;
		if (one_in(d, 3)) c->key[c->keys++] = i;
	}
}

static void make_schemas(struct columns *c)
{
	DPI_Column out[COLUMNS_MOST];
	DPI_Schema_Info info = DPI_SCHEMA_INFO_INIT;
	for (uint32_t i = 0; i < c->outs; i++) out[i] = c->column[c->out[i]];
	CHECK_DPI(DPI_Create_Schema(c->column, c->count, &c->schema));
	CHECK_DPI(DPI_Create_Schema(out, c->outs, &c->output));
	CHECK_DPI(DPI_Get_Schema_Info(c->schema, &info));
	CHECK_INT(info.row_size, <=, FIXED_MOST);
	CHECK_INT(info.varies, ==, c->varies);
	c->fixed = (uint32_t)info.row_size;
	for (uint32_t i = 0; i < c->count; i++) CHECK_DPI(DPI_Get_Column(i, c->schema, &(DPI_Column){ 0 }, &c->offset[i]));
}

static void free_schemas(struct columns *c)
{
	CHECK_DPI(DPI_Free_Schema(c->schema));
	CHECK_DPI(DPI_Free_Schema(c->output));
}

/* ----------------------------------------------------------------------------------------------------------- values */

/* Of so many bits, the least and the largest among them. */
static uint64_t whole_number(uint64_t r, unsigned bits, bool is_signed)
{
	uint64_t most = UINT64_MAX >> (64 - bits + is_signed);
	uint64_t n = r % 8 == 0 ? 0 : r % 8 == 1 ? most : r % 8 == 2 ? most - 1 : (r % 8 < 6 ? mix(r) : mix(r) % 100) & most;
	return is_signed && r >> 8 & 1 ? ~n : n; /* -1 - n */
}

__extension__ typedef __int128 int128;

static int128 decimal(uint64_t r, int precision)
{
	int128 end = 1, n = (int128)(mix(r) >> 1) << 62 | (int128)(mix(r + 1) >> 2);
	for (int i = 0; i < precision; i++) end *= 10;
	n = r % 4 ? n % end : end - 1;
	return r >> 8 & 1 ? -n : n;
}

static double real_number(uint64_t r)
{
	static const double special[] = { 0.0, -0.0, 1e-40, -1.5, INFINITY, -INFINITY, NAN, 16777216.0 };
	return r % 4 ? (double)(int64_t)mix(r) / 4096.0 : special[r / 4 % 8];
}

/* room: for what the value points to; it moves on. */
static DPI_Value value_of(const struct columns *c, uint32_t column, uint64_t r, uint8_t **room)
{
	const DPI_Column *is = c->column + column;
	DPI_Value v = { .type = is->type };
	uint64_t n = mix(r + 3);
	if (is_null(c, column, r)) return (DPI_Value){ .type = DPI_TYPE_NULL };
	switch (is->type) {
	case DPI_TYPE_BOOL: v.i = (int64_t)(n & 1); break;
	case DPI_TYPE_INT8:
	case DPI_TYPE_INT16:
	case DPI_TYPE_INT32:
	case DPI_TYPE_INT64: v.i = (int64_t)whole_number(n, 8u << (is->type - DPI_TYPE_INT8), true); break;
	case DPI_TYPE_UINT8:
	case DPI_TYPE_UINT16:
	case DPI_TYPE_UINT32:
	case DPI_TYPE_UINT64: v.u = whole_number(n, 8u << (is->type - DPI_TYPE_UINT8), false); break;
	case DPI_TYPE_FLOAT: v.d = (double)(float)real_number(n); break;
	case DPI_TYPE_DOUBLE: v.d = real_number(n); break;
	case DPI_TYPE_DATE32: v.i = (int64_t)whole_number(n, 32, true); break;
	case DPI_TYPE_DECIMAL64: v.i = (int64_t)decimal(n, is->precision); break;
	case DPI_TYPE_DECIMAL128: {
		int128 wide = decimal(n, is->precision);
		memcpy(v.w, &wide, sizeof wide);
		break;
	}
	default:
		v.size = is->type == DPI_TYPE_FIXED ? is->width : length_of(c, column, r);
		v.data = *room;
		for (uint32_t i = 0; i < v.size; i++) (*room)[i] = (uint8_t)(is->type == DPI_TYPE_UTF8 ? 'a' + (n + i) % 26 : n + 3 * i);
		if (is->type == DPI_TYPE_UTF8 && v.size > 1) memcpy(*room, "\xc3\xa9", 2);
		*room += v.size;
	}
	return v;
}

/* Are they equal as keys are: NULLs, NaNs, and zeros of either sign? */
static inline bool same_value(const DPI_Value *a, const DPI_Value *b)
{
	if (a->type != b->type) return false;
	switch (a->type) {
	case DPI_TYPE_NULL: return true;
	case DPI_TYPE_FLOAT:
	case DPI_TYPE_DOUBLE: return a->d == b->d || (isnan(a->d) && isnan(b->d));
	case DPI_TYPE_DECIMAL128: return a->w[0] == b->w[0] && a->w[1] == b->w[1];
	case DPI_TYPE_FIXED:
	case DPI_TYPE_BINARY:
	case DPI_TYPE_UTF8: return a->size == b->size && (!a->size || !memcmp(a->data, b->data, a->size));
	default: return a->i == b->i;
	}
}

/* As min and max compare: NaN is above all other numbers. */
static inline int compare_values(const DPI_Value *a, const DPI_Value *b)
{
	int128 one, other;
	if (same_value(a, b)) return 0;
	switch (a->type) {
	case DPI_TYPE_FLOAT:
	case DPI_TYPE_DOUBLE: return isnan(a->d) || (!isnan(b->d) && a->d > b->d) ? 1 : -1;
	case DPI_TYPE_UINT8:
	case DPI_TYPE_UINT16:
	case DPI_TYPE_UINT32:
	case DPI_TYPE_UINT64: return a->u > b->u ? 1 : -1;
	case DPI_TYPE_DECIMAL128:
		memcpy(&one, a->w, sizeof one);
		memcpy(&other, b->w, sizeof other);
		return one > other ? 1 : -1;
	case DPI_TYPE_FIXED:
	case DPI_TYPE_BINARY:
	case DPI_TYPE_UTF8: {
		uint32_t least = a->size < b->size ? a->size : b->size;
		int order = least ? memcmp(a->data, b->data, least) : 0;
		return order ? order : a->size > b->size ? 1 : -1;
	}
	default: return a->i > b->i ? 1 : -1;
	}
}

/* ------------------------------------------------------------------------------------------------------------- rows */

static uint32_t pack_values(const DPI_Value *values, DPI_Schema schema, void *row)
{
	size_t size;
	CHECK_DPI(DPI_Pack_Row(values, schema, row, ROW_MOST, &size));
	return (uint32_t)size;
}

/* room: ROW_MOST, for what values point to. */
static void values_of(const struct columns *c, const int64_t head[HEADS], DPI_Value *values, uint8_t *room)
{
	for (uint32_t i = 0; i < HEADS; i++) values[i] = (DPI_Value){ .type = DPI_TYPE_INT64, .i = head[i] };
	for (uint32_t i = HEADS; i < c->count; i++)
		values[i] = value_of(c, i, of_value(c, i, head[KEY], (uint32_t)head[SOURCE], (uint64_t)head[NUMBER]), &room);
}

static uint32_t row_bytes(const struct columns *c, int64_t key, uint32_t source, uint64_t number)
{
	uint32_t size = c->fixed;
	for (uint32_t i = HEADS; c->varies && i < c->count; i++) {
		uint64_t r = of_value(c, i, key, source, number);
		if (is_variable(c, i) && !is_null(c, i, r)) size += length_of(c, i, r);
	}
	return size;
}

static uint32_t row_width(int type, uint32_t width)
{
#define WIDTH_OF(name, number, bytes, text) [number] = bytes,
	static const uint8_t bytes[] = { DPI_TYPES(WIDTH_OF) };
	return type >= DPI_TYPE_BINARY ? 8 : type == DPI_TYPE_FIXED ? width : bytes[type];
}

/* What stands between values and in place of a NULL does not matter; nor does the order of what varies. */
static void soil(const struct columns *c, uint8_t *row, uint32_t size)
{
	uint8_t clean[FIXED_MOST];
	uint32_t end = 0, at = size, bit = 0, nulls;
	uint8_t behind[ROW_MOST];
	if (!c->soiled) return;
	memcpy(clean, row, c->fixed);
	memcpy(behind, row + c->fixed, size - c->fixed);
	memset(row, 0xa5, c->fixed);
	for (uint32_t i = 0; i < c->count; i++) {
		uint32_t width = row_width(c->column[i].type, c->column[i].width);
		end = (uint32_t)c->offset[i] + width;
		memcpy(row + c->offset[i], clean + c->offset[i], width);
	}
	nulls = end;
	for (uint32_t i = 0; i < c->count; i++) {
		uint32_t width = row_width(c->column[i].type, c->column[i].width), place[2];
		bool null = c->column[i].nullable && clean[nulls + bit / 8] >> bit % 8 & 1;
		if (c->column[i].nullable && bit++ % 8 == 0) row[nulls + (bit - 1) / 8] = clean[nulls + (bit - 1) / 8];
		if (null) memset(row + c->offset[i], 0xa5, width);
		if (null || !is_variable(c, i)) continue;
		memcpy(place, clean + c->offset[i], 8);
		at -= place[1];
		memcpy(row + at, behind + place[0] - c->fixed, place[1]);
		place[0] = at;
		memcpy(row + c->offset[i], place, 8);
	}
}

/* The row as DPI_Pack_Row would have made it, of one that is soiled. 0: it is no row. */
static uint32_t clean_row(DPI_Schema schema, uint32_t columns, const void *row, size_t size, uint8_t *to)
{
	DPI_Value values[COLUMNS_MOST];
	if (DPI_Check_Row(row, size, 1, schema)) return 0;
	for (uint32_t i = 0; i < columns; i++) CHECK_DPI(DPI_Get_Value(row, size, i, schema, values + i));
	return pack_values(values, schema, to);
}

/* Has a row come as was expected? */
static bool same_row(const struct columns *c, bool projected, const void *row, size_t size, const uint8_t *expected, uint32_t whole)
{
	uint8_t clean[ROW_MOST];
	if (!c->soiled) return size == whole && !memcmp(row, expected, whole);
	return clean_row(projected ? c->output : c->schema, projected ? c->outs : c->count, row, size, clean) == whole && !memcmp(clean, expected, whole);
}

#endif
