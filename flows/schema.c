/* SPDX-License-Identifier: Apache-2.0
 * schema.c: making schemas: the checks and the layout of rows; their bytes, and schemas made of bytes. */
#include "schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "rows and segments are used in place: this machine must be little endian");

/* ----------------------------------------------------------------------------------------------------- one column */

static uint32_t type_width(int type)
{
	switch (type) {
#define TYPE(name, number, width, text) case number: return width;
	DPI_TYPES(TYPE)
#undef TYPE
	}
	return 0;
}

static bool type_known(int type)
{
	return type >= DPI_TYPE_BOOL && type <= DPI_TYPE_UTF8;
}

static int decimal_digits(int type)
{
	return type == DPI_TYPE_DECIMAL64 ? 18 : type == DPI_TYPE_DECIMAL128 ? 38 : 0;
}

static int check_name(size_t i, const char *name, size_t *length)
{
	if (!name) return dpi_fail(DPI_ERR_ARGUMENT, "column %zu has no name (NULL): give each column one", i);
	*length = strnlen(name, DPI_NAME_MAX);
	if (!*length)
		return dpi_fail(DPI_ERR_ARGUMENT, "column %zu has an empty name: give it 1 to %d bytes", i,
				DPI_NAME_MAX - 1);
	if (*length == DPI_NAME_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "the name of column %zu, \"%.32s…\", is longer than %d bytes: shorten it",
				i, name, DPI_NAME_MAX - 1);
	for (const char *c = name; *c; c++)
		if ((unsigned char)*c < 32 || *c == 127)
			return dpi_fail(DPI_ERR_ARGUMENT,
					"the name of column %zu has the control character %d at byte %zu: take it out", i,
					*c, (size_t)(c - name));
	if (!dpi_schema_utf8(name, *length))
		return dpi_fail(DPI_ERR_ARGUMENT, "the name of column %zu is not UTF-8: names are", i);
	return DPI_SUCCESS;
}

/* All but the name's uniqueness. digits: out, its precision. */
static int check_column(size_t i, const DPI_Column *c, size_t *length, int *digits)
{
	int error = check_name(i, c->name, length);
	if (error) return error;
	if (!type_known(c->type))
		return dpi_fail(DPI_ERR_ARGUMENT, "column %zu \"%s\" has type %d, which is none: take a DPI_TYPE_*", i,
				c->name, c->type);
	if (c->nullable != 0 && c->nullable != 1)
		return dpi_fail(DPI_ERR_ARGUMENT, "column %zu \"%s\" has nullable %d: it is 0 or 1", i, c->name,
				c->nullable);
	if (c->type == DPI_TYPE_FIXED && (!c->width || c->width > DPI_FIXED_MAX))
		return dpi_fail(DPI_ERR_ARGUMENT,
				"column %zu \"%s\" has width %u: FIXED values have 1 to %d bytes; longer ones are BINARY",
				i, c->name, c->width, DPI_FIXED_MAX);
	if (c->type != DPI_TYPE_FIXED && c->width)
		return dpi_fail(DPI_ERR_ARGUMENT, "column %zu \"%s\" has width %u, which only FIXED has: set it to 0", i,
				c->name, c->width);
	*digits = decimal_digits(c->type);
	if (!*digits && (c->precision || c->scale))
		return dpi_fail(DPI_ERR_ARGUMENT,
				"column %zu \"%s\" has precision %d and scale %d, which only decimals have: set them to 0",
				i, c->name, c->precision, c->scale);
	if (c->precision < 0 || c->precision > *digits)
		return dpi_fail(DPI_ERR_ARGUMENT, "column %zu \"%s\" has precision %d: this decimal has 1 to %d digits%s",
				i, c->name, c->precision, *digits, *digits == 18 ? "; DECIMAL128 has 38" : "");
	if (c->precision) *digits = c->precision;
	if (c->scale < 0 || c->scale > *digits)
		return dpi_fail(DPI_ERR_ARGUMENT, "column %zu \"%s\" has scale %d: it lies between 0 and the precision, %d",
				i, c->name, c->scale, *digits);
	return DPI_SUCCESS;
}

/* --------------------------------------------------------------------------------------------------- all together */

static int by_name(const void *a, const void *b)
{
	const struct dpi_column *x = *(const struct dpi_column *const *)a, *y = *(const struct dpi_column *const *)b;
	int order = strcmp(x->name, y->name);
	return order ? order : (x > y) - (x < y);
}

static int sort_names(struct dpi_schema *s)
{
	for (uint32_t i = 0; i < s->columns; i++) s->by_name[i] = s->column + i;
	qsort(s->by_name, s->columns, sizeof *s->by_name, by_name);
	for (uint32_t i = 1; i < s->columns; i++)
		if (!strcmp(s->by_name[i - 1]->name, s->by_name[i]->name))
			return dpi_fail(DPI_ERR_ARGUMENT, "columns %d and %d have the same name, \"%s\": rename one",
					(int)(s->by_name[i - 1] - s->column), (int)(s->by_name[i] - s->column),
					s->by_name[i]->name);
	return DPI_SUCCESS;
}

/* At most DPI_COLUMNS_MAX * (DPI_FIXED_MAX + 8): far from the end of uint32_t. */
static void lay_out(struct dpi_schema *s)
{
	uint32_t at = 0;
	s->row_align = 1;
	s->plain = true;
	for (uint32_t i = 0; i < s->columns; i++) {
		struct dpi_column *c = s->column + i;
		uint32_t width = type_width(c->type), align = width > 8 ? 8 : width;
		if (c->type == DPI_TYPE_FIXED) align = 1, width = c->width;
		else if (!width) align = 4, width = 8, c->variable = true;
		at = (at + align - 1) & ~(align - 1);
		c->width = width;
		c->offset = at;
		at += width;
		if (align > s->row_align) s->row_align = align;
		s->variable_columns += c->variable;
		if (c->variable || c->type == DPI_TYPE_BOOL) s->plain = false;
	}
	for (uint32_t i = 0; i < s->columns; i++) {
		struct dpi_column *c = s->column + i;
		if (!c->nullable) continue;
		c->null_at = at + s->nullable_columns / 8;
		c->null_mask = (uint8_t)(1u << s->nullable_columns++ % 8);
	}
	at += (s->nullable_columns + 7) / 8;
	s->row_size = (at + s->row_align - 1) & ~(s->row_align - 1);
	s->varies = s->variable_columns > 0;
}

static uint64_t digest(const struct dpi_schema *s)
{
	uint8_t bytes[12 + DPI_NAME_MAX];
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	for (uint32_t i = 0; i < s->columns; i++) {
		const struct dpi_column *c = s->column + i;
		size_t name = strlen(c->name);
		memset(bytes, 0, 12);
		bytes[0] = (uint8_t)c->type, bytes[1] = c->nullable, bytes[2] = (uint8_t)c->precision,
			bytes[3] = (uint8_t)c->scale;
		memcpy(bytes + 4, &c->width, 4);
		memcpy(bytes + 12, c->name, name + 1);
		for (size_t k = 0; k < 12 + name + 1; k++) h = (h ^ bytes[k]) * UINT64_C(0x100000001b3);
	}
	h ^= h >> 32, h *= UINT64_C(0x9e3779b97f4a7c15), h ^= h >> 29; /* its upper bits alone are weak */
	return h;
}

int dpi_schema_new(const DPI_Column *columns, size_t count, struct dpi_schema **schema)
{
	size_t names = 0, length;
	int digits;
	if (!count || count > DPI_COLUMNS_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "a schema of %zu columns: it has 1 to %d", count, DPI_COLUMNS_MAX);
	for (size_t i = 0; i < count; i++) {
		int error = check_column(i, columns + i, &length, &digits);
		if (error) return error;
		names += length + 1;
	}
	size_t head = sizeof(struct dpi_schema) + count * sizeof(struct dpi_column);
	struct dpi_schema *s = calloc(1, head + count * sizeof *s->by_name + names);
	if (!s) return dpi_fail(DPI_ERR_MEMORY, "no memory for a schema of %zu columns", count);
	s->by_name = (const struct dpi_column **)((char *)s + head);
	char *name = (char *)(s->by_name + count);
	s->references = 1;
	s->columns = (uint32_t)count;
	for (size_t i = 0; i < count; i++) {
		struct dpi_column *c = s->column + i;
		if (check_column(i, columns + i, &length, &digits) || length + 1 > names) { /* another thread changes them */
			free(s);
			return dpi_fail(DPI_ERR_ARGUMENT, "column %zu changed while the schema was made", i);
		}
		names -= length + 1;
		c->name = memcpy(name, columns[i].name, length);
		name += length + 1;
		c->type = columns[i].type;
		c->nullable = columns[i].nullable;
		c->width = columns[i].width;
		c->precision = digits;
		c->scale = columns[i].scale;
	}
	int error = sort_names(s);
	if (error) {
		free(s);
		return error;
	}
	lay_out(s);
	s->digest = digest(s);
	*schema = s;
	return DPI_SUCCESS;
}

void dpi_schema_unref(struct dpi_schema *s)
{
	if (s && atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) == 1) free(s);
}

int dpi_schema_find(const struct dpi_schema *s, const char *name)
{
	uint32_t low = 0, high = s->columns;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		int order = strcmp(name, s->by_name[middle]->name);
		if (!order) return (int)(s->by_name[middle] - s->column);
		if (order < 0) high = middle;
		else low = middle + 1;
	}
	return -1;
}

DPI_Column dpi_schema_column(const struct dpi_schema *s, uint32_t i)
{
	const struct dpi_column *c = s->column + i;
	return (DPI_Column){ c->name, c->type, c->nullable, c->type == DPI_TYPE_FIXED ? c->width : 0, c->precision,
			     c->scale };
}

/* --------------------------------------------------------------------------------------------------------- bytes */

static uint8_t *put32(uint8_t *at, uint32_t v)
{
	memcpy(at, &v, 4);
	return at + 4;
}

size_t dpi_schema_bytes(const struct dpi_schema *s)
{
	size_t size = 12;
	for (uint32_t i = 0; i < s->columns; i++) size += 12 + strlen(s->column[i].name);
	return size;
}

void dpi_schema_write(const struct dpi_schema *s, void *bytes)
{
	uint8_t *at = put32(put32(put32(bytes, DPI_SCHEMA_MAGIC), DPI_SCHEMA_VERSION), s->columns);
	for (uint32_t i = 0; i < s->columns; i++) {
		DPI_Column c = dpi_schema_column(s, i);
		uint32_t name = (uint32_t)strlen(c.name);
		*at++ = (uint8_t)c.type, *at++ = (uint8_t)c.nullable, *at++ = (uint8_t)c.precision, *at++ = (uint8_t)c.scale;
		at = put32(put32(at, c.width), name);
		memcpy(at, c.name, name);
		at += name;
	}
}

struct schema_input {
	const uint8_t *at, *end;
	char *names; /* DPI_COLUMNS_MAX of DPI_NAME_MAX bytes */
};

static bool get32(struct schema_input *in, uint32_t *v)
{
	if (in->end - in->at < 4) return false;
	memcpy(v, in->at, 4);
	in->at += 4;
	return true;
}

static int parse_column(struct schema_input *in, uint32_t i, DPI_Column *c)
{
	uint32_t kind, width, name;
	char *text = in->names + (size_t)i * DPI_NAME_MAX;
	if (!get32(in, &kind) || !get32(in, &width) || !get32(in, &name) || name > (size_t)(in->end - in->at))
		return dpi_fail(DPI_ERR_CORRUPT, "the bytes of a schema end within column %u", i);
	if (name >= DPI_NAME_MAX || memchr(in->at, 0, name))
		return dpi_fail(DPI_ERR_CORRUPT, "the bytes of a schema give column %u a name that is none", i);
	memcpy(text, in->at, name);
	text[name] = 0;
	in->at += name;
	*c = (DPI_Column){ text, kind & 255, kind >> 8 & 255, width, kind >> 16 & 255, (int)(kind >> 24) };
	return DPI_SUCCESS;
}

static int parse(struct schema_input *in, uint32_t count, DPI_Column *columns, struct dpi_schema **schema)
{
	int error = DPI_SUCCESS;
	for (uint32_t i = 0; i < count && !error; i++) error = parse_column(in, i, columns + i);
	if (error) return error;
	if (in->at != in->end)
		return dpi_fail(DPI_ERR_CORRUPT, "the bytes of a schema go on for %zu bytes behind its last column",
				(size_t)(in->end - in->at));
	error = dpi_schema_new(columns, count, schema);
	if (error == DPI_ERR_ARGUMENT) {
		char why[512];
		snprintf(why, sizeof why, "%s", dpi_detail());
		return dpi_fail(DPI_ERR_CORRUPT, "the bytes of a schema are none that libdpi writes: %s", why);
	}
	return error;
}

int dpi_schema_parse(const void *bytes, size_t size, struct dpi_schema **schema)
{
	struct schema_input in = { bytes, (const uint8_t *)bytes + size, NULL };
	uint32_t magic, version, count;
	if (!get32(&in, &magic) || !get32(&in, &version) || !get32(&in, &count) || magic != DPI_SCHEMA_MAGIC)
		return dpi_fail(DPI_ERR_CORRUPT, "%zu bytes that should be a schema do not begin as one", size);
	if (version != DPI_SCHEMA_VERSION)
		return dpi_fail(DPI_ERR_VERSION,
				"a schema of version %u, and this library knows version %u: use one libdpi everywhere",
				version, DPI_SCHEMA_VERSION);
	if (!count || count > DPI_COLUMNS_MAX || count > (size_t)(in.end - in.at) / 12)
		return dpi_fail(DPI_ERR_CORRUPT, "the bytes of a schema, %zu, announce %u columns", size, count);
	DPI_Column *columns = calloc(count, sizeof *columns);
	in.names = malloc((size_t)count * DPI_NAME_MAX);
	int error = columns && in.names ? parse(&in, count, columns, schema)
					: dpi_fail(DPI_ERR_MEMORY, "no memory for a schema of %u columns", count);
	free(columns);
	free(in.names);
	return error;
}
