/* SPDX-License-Identifier: Apache-2.0
 * arrow_schema.c: schemas by the Arrow C data interface: formats are Arrow's own short texts for types. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arrow.h"
#include "context.h"

static const struct {
	const char *format;
	int type;
} formats[] = {
	{ "b", DPI_TYPE_BOOL }, { "c", DPI_TYPE_INT8 }, { "s", DPI_TYPE_INT16 }, { "i", DPI_TYPE_INT32 },
	{ "l", DPI_TYPE_INT64 },
	{ "C", DPI_TYPE_UINT8 }, { "S", DPI_TYPE_UINT16 }, { "I", DPI_TYPE_UINT32 }, { "L", DPI_TYPE_UINT64 },
	{ "f", DPI_TYPE_FLOAT },
	{ "g", DPI_TYPE_DOUBLE }, { "tdD", DPI_TYPE_DATE32 }, { "z", DPI_TYPE_BINARY }, { "u", DPI_TYPE_UTF8 },
};

/* What to do about types that are not taken, by how their format begins. */
static const struct {
	const char *begin, *name, *remedy;
} others[] = {
	{ "n", "null", "leave the column out" },
	{ "e", "float16", "cast it to float32" },
	{ "Z", "large binary", "cast it to binary" },
	{ "U", "large utf8", "cast it to utf8" },
	{ "vz", "binary view", "cast it to binary" },
	{ "vu", "utf8 view", "cast it to utf8" },
	{ "tdm", "date64", "cast it to date32" },
	{ "tt", "time", "cast it to an integer" },
	{ "ts", "timestamp", "cast it to int64" },
	{ "tD", "duration", "cast it to int64" },
	{ "ti", "interval", "cast it to integers" },
	{ "+s", "struct", "make a column of each of its fields" },
	{ "+", "nested", "flatten it" },
};

static int unsupported(int64_t i, const char *name, const char *format)
{
	for (size_t k = 0; k < sizeof others / sizeof *others; k++)
		if (!strncmp(format, others[k].begin, strlen(others[k].begin)))
			return dpi_fail(DPI_ERR_UNSUPPORTED,
					"Arrow column %lld \"%.*s\" has the type %s (\"%.16s\"), which no column has here: %s",
					(long long)i, DPI_NAME_MAX, name, others[k].name, format, others[k].remedy);
	return dpi_fail(DPI_ERR_UNSUPPORTED,
			"Arrow column %lld \"%.*s\" has the format \"%.32s\", which no column has here: cast it",
			(long long)i, DPI_NAME_MAX, name, format);
}

/* "d:12,2" or "d:12,2,64" */
static bool decimal(const char *format, DPI_Column *c)
{
	int bits = 128, end = 0, p, s;
	if (sscanf(format, "d:%4d,%4d%n", &p, &s, &end) < 2 || !end) return false;
	if (format[end]) {
		int more = 0;
		if (sscanf(format + end, ",%4d%n", &bits, &more) < 1 || !more || format[end + more]) return false;
	}
	if ((bits != 64 && bits != 128) || p < 1 || s < 0) return false;
	c->type = bits == 64 ? DPI_TYPE_DECIMAL64 : DPI_TYPE_DECIMAL128;
	c->precision = p;
	c->scale = s;
	return true;
}

static bool fixed(const char *format, DPI_Column *c)
{
	int end = 0;
	if (sscanf(format, "w:%9u%n", &c->width, &end) < 1 || !end || format[end]) return false;
	c->type = DPI_TYPE_FIXED;
	return true;
}

static int import_column(int64_t i, const struct ArrowSchema *a, DPI_Column *c)
{
	if (!a || !a->release) return dpi_fail(DPI_ERR_ARGUMENT, "Arrow column %lld is missing or released", (long long)i);
	if (!a->format) return dpi_fail(DPI_ERR_ARGUMENT, "Arrow column %lld has no format", (long long)i);
	*c = (DPI_Column){ .name = a->name ? a->name : "", .nullable = !!(a->flags & ARROW_FLAG_NULLABLE) };
	if (a->dictionary)
		return dpi_fail(DPI_ERR_UNSUPPORTED, "Arrow column %lld \"%.*s\" is encoded by a dictionary: decode it",
				(long long)i, DPI_NAME_MAX, c->name);
	for (size_t k = 0; k < sizeof formats / sizeof *formats; k++)
		if (!strcmp(a->format, formats[k].format)) {
			c->type = formats[k].type;
			return DPI_SUCCESS;
		}
	return decimal(a->format, c) || fixed(a->format, c) ? DPI_SUCCESS : unsupported(i, c->name, a->format);
}

int dpi_arrow_import_schema(const struct ArrowSchema *arrow, struct dpi_schema **schema)
{
	int error = DPI_SUCCESS;
	if (!arrow->release) return dpi_fail(DPI_ERR_ARGUMENT, "the Arrow schema is released: import it before that");
	if (!arrow->format || strcmp(arrow->format, "+s"))
		return dpi_fail(DPI_ERR_ARGUMENT,
				"the Arrow schema has the format \"%.32s\": a record batch is a struct, \"+s\"",
				arrow->format ? arrow->format : "NULL");
	if (arrow->n_children < 1 || arrow->n_children > DPI_COLUMNS_MAX || !arrow->children)
		return dpi_fail(DPI_ERR_ARGUMENT, "the Arrow schema has %lld columns: a schema has 1 to %d",
				(long long)arrow->n_children, DPI_COLUMNS_MAX);
	size_t count = (size_t)arrow->n_children;
	DPI_Column *columns = calloc(count, sizeof *columns);
	if (!columns) return dpi_fail(DPI_ERR_MEMORY, "no memory for a schema of %zu columns", count);
	for (size_t i = 0; i < count && !error; i++) error = import_column((int64_t)i, arrow->children[i], columns + i);
	if (!error) error = dpi_schema_new(columns, count, schema);
	free(columns);
	return error;
}

/* -------------------------------------------------------------------------------------------------------- export */

/* The whole export lies in one piece of memory, so a child that was moved out must keep it too: it is counted.
 * Behind the children come the pointers to them, then their texts. */
struct export {
	_Atomic size_t references;
	struct ArrowSchema child[];
};

static void drop(struct ArrowSchema *a)
{
	struct export *e = a->private_data;
	a->release = NULL;
	if (atomic_fetch_sub_explicit(&e->references, 1, memory_order_acq_rel) == 1) free(e);
}

static void release_all(struct ArrowSchema *a)
{
	for (int64_t i = 0; i < a->n_children; i++)
		if (a->children[i]->release) a->children[i]->release(a->children[i]);
	drop(a);
}

#define FORMAT_MAX 32

static void write_format(const struct dpi_column *c, char format[static FORMAT_MAX])
{
	for (size_t k = 0; k < sizeof formats / sizeof *formats; k++)
		if (formats[k].type == c->type) strcpy(format, formats[k].format);
	if (c->type == DPI_TYPE_DECIMAL64) snprintf(format, FORMAT_MAX, "d:%d,%d,64", c->precision, c->scale);
	if (c->type == DPI_TYPE_DECIMAL128) snprintf(format, FORMAT_MAX, "d:%d,%d", c->precision, c->scale);
	if (c->type == DPI_TYPE_FIXED) snprintf(format, FORMAT_MAX, "w:%u", c->width);
}

int dpi_arrow_export_schema(const struct dpi_schema *s, struct ArrowSchema *arrow)
{
	struct export *e = calloc(1,
				  sizeof *e + s->columns * (sizeof *e->child + sizeof(void *) + FORMAT_MAX + DPI_NAME_MAX));
	if (!e) return dpi_fail(DPI_ERR_MEMORY, "no memory to export a schema of %u columns", s->columns);
	struct ArrowSchema **pointer = (struct ArrowSchema **)(e->child + s->columns);
	char *text = (char *)(pointer + s->columns);
	e->references = s->columns + 1;
	for (uint32_t i = 0; i < s->columns; i++, text += FORMAT_MAX + DPI_NAME_MAX) {
		write_format(s->column + i, text);
		strcpy(text + FORMAT_MAX, s->column[i].name);
		e->child[i] = (struct ArrowSchema){ .format = text, .name = text + FORMAT_MAX,
						    .flags = s->column[i].nullable ? ARROW_FLAG_NULLABLE : 0,
						    .release = drop, .private_data = e };
		pointer[i] = e->child + i;
	}
	*arrow = (struct ArrowSchema){ .format = "+s", .name = "", .n_children = s->columns, .children = pointer,
				       .release = release_all, .private_data = e };
	return DPI_SUCCESS;
}

/* --------------------------------------------------------------------------------------------------- public calls */

int DPI_Import_Arrow_Schema(const struct ArrowSchema *arrow, DPI_Schema *schema)
{
	struct dpi_schema *s;
	if (!arrow || !schema) return dpi_fail(DPI_ERR_ARGUMENT, "%s: %s", __func__, arrow ? "schema is NULL: pass where the handle may go" : "arrow is NULL: pass the ArrowSchema to import");
	int error = dpi_arrow_import_schema(arrow, &s);
	return error ? error : dpi_schema_open(s, schema);
}

int DPI_Export_Arrow_Schema(DPI_Schema schema, struct ArrowSchema *arrow)
{
	const struct dpi_schema *s = dpi_schema_get(schema);
	if (!s) return dpi_schema_error(schema);
	if (!arrow) return dpi_fail(DPI_ERR_ARGUMENT, "%s: arrow is NULL: pass the ArrowSchema to fill", __func__);
	return dpi_arrow_export_schema(s, arrow);
}
