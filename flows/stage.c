/* SPDX-License-Identifier: Apache-2.0
 * stage.c: stages of attributes: every field checked and copied, expressions compiled, the schema of what comes out derived. */
#include "stage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "expr/expr.h"
#include "expr/program.h"

static const char *const kinds[] = { "FILTER", "PROJECT", "CAST", "SAMPLE", "NORMALISE", "MAP" };
static const char *const kind_text[] = { "filter", "project", "cast", "sample", "normalise", "map" };

/* A stage that is being made. */
struct making {
	const DPI_Stage *attr;
	size_t i;
	bool nulls;
	struct dpi_stage *s;
	struct dpi_expr_column *column; /* of s->in */
};

/* ---------------------------------------------------------------------------------------------------------- fields */

static int unused(const struct making *m, bool used, const char *field, bool set)
{
	if (used || !set) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].%s is set, which DPI_STAGE_%s has no use for: set it to 0", m->i, field,
			kinds[m->s->kind]);
}

static int check_unused(const struct making *m)
{
	const DPI_Stage *a = m->attr;
	int k = m->s->kind;
	bool text = k == DPI_STAGE_FILTER || k == DPI_STAGE_MAP, sample = k == DPI_STAGE_SAMPLE, map = k == DPI_STAGE_MAP;
	int error = unused(m, text, "text", a->text);
	if (!error) error = unused(m, map, "version", a->version);
	if (!error) error = unused(m, map, "schema", a->schema);
	if (!error) error = unused(m, !text && !sample, "columns", a->columns || a->column_count);
	if (!error) error = unused(m, sample, "fraction", a->fraction != 0);
	if (!error) error = unused(m, sample, "key", a->key || a->key_count);
	if (!error) error = unused(m, sample && a->key_count, "salt", a->salt);
	return error;
}

static int copy_text(const struct making *m, const char *field, const char *text, char **to)
{
	if (!text) return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].%s is NULL: DPI_STAGE_%s takes one", m->i, field, kinds[m->s->kind]);
	size_t size = strnlen(text, DPI_DEFINITION_MAX);
	if (size == DPI_DEFINITION_MAX)
		return dpi_fail(DPI_ERR_LIMIT, "attr->stages[%zu].%s is longer than DPI_DEFINITION_MAX, %d bytes", m->i, field, DPI_DEFINITION_MAX);
	if (!(*to = malloc(size + 1))) return dpi_fail(DPI_ERR_MEMORY, "no memory for a stage");
	memcpy(*to, text, size);
	(*to)[size] = 0;
	return DPI_SUCCESS;
}

static int copy_name(const struct making *m, const char *field, const char *name, char to[static DPI_NAME_MAX])
{
	size_t n = name ? strnlen(name, DPI_NAME_MAX) : 0;
	if (!n || n == DPI_NAME_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].%s %s: a name has 1 to %d bytes", m->i, field,
				!name ? "is NULL" : n ? "is longer" : "is empty", DPI_NAME_MAX - 1);
	memcpy(to, name, n);
	to[n] = 0;
	return DPI_SUCCESS;
}

static int find(const struct making *m, const char *field, const char *name, int *column)
{
	if ((*column = dpi_schema_find(m->s->in, name)) >= 0) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_NAME, "attr->stages[%zu].%s is \"%s\", and the rows that come to this stage have no such column", m->i, field, name);
}

/* ------------------------------------------------------------------------------------------------------ expressions */

/* Compile an expression over the columns that come in. */
static int compile(const struct making *m, const char *field, const char *text, struct dpi_expr **program)
{
	char why[DPI_DETAIL_MAX];
	int error = dpi_expr_compile(text, strlen(text), m->column, (int)m->s->in->columns, program);
	if (!error) return DPI_SUCCESS;
	snprintf(why, sizeof why, "%s", dpi_detail());
	return dpi_fail(error, "attr->stages[%zu].%s: %.800s", m->i, field, why);
}

static int make_filter(const struct making *m)
{
	struct dpi_stage *s = m->s;
	int error = copy_text(m, "text", m->attr->text, &s->text);
	if (error) return error;
	if (!(s->program = calloc(1, sizeof *s->program))) return dpi_fail(DPI_ERR_MEMORY, "no memory for a stage");
	s->programs = 1;
	error = compile(m, "text", s->text, s->program);
	if (error || dpi_expr_result(*s->program)->type == DPI_TYPE_BOOL) return error;
	char type[DPI_TYPE_PRINTED];
	return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].text is an expression of type %s: a filter's is BOOL", m->i,
			dpi_type_print((const struct dpi_expr_type *)dpi_expr_result(*s->program), type));
}

/* Column k of what comes out: the column of in of this number, or a program's. */
static void column_in(const struct making *m, int in, const char *name, DPI_Column *out, int *from)
{
	*out = dpi_schema_column(m->s->in, (uint32_t)in);
	out->name = name;
	*from = in;
}

static int column_of(const struct making *m, uint32_t k, const char *field, const char *text, const char *name, DPI_Column *out)
{
	struct dpi_stage *s = m->s;
	char type[DPI_TYPE_PRINTED];
	int error = compile(m, field, text, s->program + k);
	if (error) return error;
	const struct dpi_expr *e = s->program[k];
	struct dpi_expr_type t = *dpi_expr_result(e);
	/* not where the same bytes have another type */
	if (!e->instructions && !e->constants && e->columns == 1 && dpi_type_same(e->column_type, &t)) {
		column_in(m, e->column[0], name, out, s->from + k);
		dpi_expr_free(s->program[k]);
		s->program[k] = NULL;
		return DPI_SUCCESS;
	}
	if (t.type == DPI_TYPE_NONE)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].%s is always NULL and has no type: cast it to one", m->i, field);
	if (t.type == DPI_TYPE_FIXED && !t.width)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].%s is %s: cast it to BINARY", m->i, field, dpi_type_print(&t, type));
	*out = (DPI_Column){ .name = name, .type = t.type, .width = t.type == DPI_TYPE_FIXED ? t.width : 0 };
	out->nullable = t.nullable || (m->nulls && e->instructions);
	if (dpi_type_is_decimal(t.type)) out->precision = t.precision, out->scale = t.scale;
	s->from[k] = -1;
	return DPI_SUCCESS;
}

/* ---------------------------------------------------------------------------------------------------------- columns */

static int check_column(const struct making *m, uint32_t k, const DPI_Stage_Column *c)
{
	int kind = m->s->kind;
	bool cast = kind == DPI_STAGE_CAST, normal = kind == DPI_STAGE_NORMALISE;
	const char *field = kind != DPI_STAGE_PROJECT && c->text ? "text"
			    : !cast && (c->type | c->precision | c->scale || c->width) ? "type"
			    : !normal && (c->minus != 0 || c->by != 0)		      ? "by"
									      : NULL;
	if (field)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].columns[%u].%s is set, which DPI_STAGE_%s has no use for: set it to 0", m->i, k, field,
				kinds[kind]);
	if (normal && (!isfinite(c->minus) || !isfinite(c->by) || c->by == 0))
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].columns[%u] has minus %g and by %g: both are finite, and by is not 0", m->i, k, c->minus,
				c->by);
	return DPI_SUCCESS;
}

static int copy_columns(const struct making *m)
{
	const DPI_Stage *a = m->attr;
	struct dpi_stage *s = m->s;
	char field[64];
	int error = DPI_SUCCESS;
	if (!a->columns || !a->column_count || a->column_count > DPI_COLUMNS_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu] has %zu columns%s: DPI_STAGE_%s takes 1 to %d", m->i, a->column_count,
				a->columns ? "" : " at NULL", kinds[s->kind], DPI_COLUMNS_MAX);
	if (!(s->column = calloc(a->column_count, sizeof *s->column))) return dpi_fail(DPI_ERR_MEMORY, "no memory for a stage");
	for (uint32_t k = 0; k < a->column_count && !error; k++) {
		const DPI_Stage_Column *c = a->columns + k;
		struct dpi_stage_column *to = s->column + k;
		s->columns = k + 1;
		*to = (struct dpi_stage_column){ .type = c->type, .precision = c->precision, .scale = c->scale, .width = c->width, .minus = c->minus + 0.0, .by = c->by + 0.0 }; /* no -0.0 */
		snprintf(field, sizeof field, "columns[%u].name", k);
		error = check_column(m, k, c);
		if (!error) error = copy_name(m, field, c->name, to->name);
		snprintf(field, sizeof field, "columns[%u].text", k);
		if (!error && c->text) error = copy_text(m, field, c->text, &to->text);
	}
	return error;
}

/* Room for the columns that come out, and their schema. */
static int begin_out(struct making *m, uint32_t columns, DPI_Column **out)
{
	struct dpi_stage *s = m->s;
	s->from = calloc(columns, sizeof *s->from);
	s->program = calloc(columns, sizeof *s->program);
	*out = calloc(columns, sizeof **out);
	s->programs = s->program ? columns : 0;
	return s->from && s->program && *out ? DPI_SUCCESS : dpi_fail(DPI_ERR_MEMORY, "no memory for a stage of %u columns", columns);
}

static int end_out(const struct making *m, const DPI_Column *out, size_t columns)
{
	char why[DPI_DETAIL_MAX];
	int error = dpi_schema_new(out, columns, &m->s->out);
	if (!error || error == DPI_ERR_MEMORY) return error;
	snprintf(why, sizeof why, "%s", dpi_detail());
	return dpi_fail(error, "attr->stages[%zu] makes rows that no schema has: %.800s", m->i, why);
}

static int make_project(struct making *m)
{
	struct dpi_stage *s = m->s;
	DPI_Column *out = NULL;
	char field[64];
	int error = copy_columns(m);
	if (!error) error = begin_out(m, s->columns, &out);
	for (uint32_t k = 0; k < s->columns && !error; k++) {
		const struct dpi_stage_column *c = s->column + k;
		int in;
		snprintf(field, sizeof field, "columns[%u].%s", k, c->text ? "text" : "name");
		if (c->text) {
			error = column_of(m, k, field, c->text, c->name, out + k);
		} else {
			error = find(m, field, c->name, &in);
			if (!error) column_in(m, in, c->name, out + k, s->from + k);
		}
	}
	if (!error) error = end_out(m, out, s->columns);
	free(out);
	return error;
}

/* The column as it becomes; it must be what was asked for. */
static int make_changed(struct making *m, uint32_t k, int in, DPI_Column *out)
{
	struct dpi_stage *s = m->s;
	const struct dpi_stage_column *c = s->column + k;
	const struct dpi_column *from = s->in->column + in;
	char field[64], *text, was[DPI_COLUMN_TEXT];
	bool cast = s->kind == DPI_STAGE_CAST;
	snprintf(field, sizeof field, "columns[%u]", k);
	int error = cast ? dpi_stage_cast_text(from, c, &text) : dpi_stage_normal_text(from, c, &text);
	if (error) return error;
	error = column_of(m, (uint32_t)in, field, text, from->name, out + in);
	free(text);
	if (!error && cast && out[in].type != c->type)
		error = dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].%s has type %d with precision %d, and decimals of at most 18 digits are DECIMAL64", m->i, field,
				 c->type, c->precision);
	if (!error && !cast && (from->type == DPI_TYPE_BOOL || from->variable))
		error = dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].%s normalises the column %s, which is no number: cast it before", m->i, field,
				 dpi_schema_column_text(from, was));
	return error;
}

static int make_changes(struct making *m)
{
	struct dpi_stage *s = m->s;
	DPI_Column *out = NULL;
	char field[64];
	int error = copy_columns(m);
	if (!error) error = begin_out(m, s->in->columns, &out);
	for (uint32_t c = 0; c < s->in->columns && !error; c++) column_in(m, (int)c, s->in->column[c].name, out + c, s->from + c);
	for (uint32_t k = 0; k < s->columns && !error; k++) {
		int in;
		snprintf(field, sizeof field, "columns[%u].name", k);
		error = find(m, field, s->column[k].name, &in);
		for (uint32_t other = 0; other < k && !error; other++)
			if (!strcmp(s->column[other].name, s->column[k].name))
				error = dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].columns[%u] and [%u] are both \"%s\": name each column once", m->i, other, k,
						 s->column[k].name);
		if (!error) error = make_changed(m, k, in, out);
	}
	if (!error) error = end_out(m, out, s->in->columns);
	free(out);
	return error;
}

/* -------------------------------------------------------------------------------------------------- sample and map */

static int make_sample(const struct making *m)
{
	const DPI_Stage *a = m->attr;
	struct dpi_stage *s = m->s;
	char field[64], name[DPI_NAME_MAX];
	if (!(a->fraction >= 0 && a->fraction <= 1))
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].fraction is %g: it is 0 to 1", m->i, a->fraction);
	if (!a->key != !a->key_count || a->key_count > DPI_KEYS_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].key is %s and key_count %zu: set both, at most %d, or neither", m->i, a->key ? "given" : "NULL",
				a->key_count, DPI_KEYS_MAX);
	s->share = (uint64_t)(a->fraction * 4294967296.0 + 0.5);
	s->salt = a->salt;
	for (size_t k = 0; k < a->key_count; k++) {
		int column, error;
		snprintf(field, sizeof field, "key[%zu]", k);
		error = copy_name(m, field, a->key[k], name);
		if (!error) error = find(m, field, name, &column);
		if (error) return error;
		for (size_t other = 0; other < k; other++)
			if (s->key[other] == column)
				return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].key[%zu] and key[%zu] are both \"%s\": name each column once", m->i, other, k, name);
		s->key[k] = (uint16_t)column;
	}
	s->key_count = (uint32_t)a->key_count;
	return DPI_SUCCESS;
}

static int make_map(const struct making *m, struct dpi_schema *schema)
{
	struct dpi_stage *s = m->s;
	char name[DPI_NAME_MAX];
	int error = copy_name(m, "text", m->attr->text, name);
	if (!error) error = copy_text(m, "text", name, &s->text);
	if (error) return error;
	s->version = m->attr->version;
	s->own_schema = schema;
	s->out = dpi_schema_ref(schema ? schema : s->in);
	if (!(s->from = calloc(s->out->columns, sizeof *s->from))) return dpi_fail(DPI_ERR_MEMORY, "no memory for a stage");
	for (uint32_t c = 0; c < s->out->columns; c++) { /* what it promises of the flow's key */
		const struct dpi_column *o = s->out->column + c;
		int in = dpi_schema_find(s->in, o->name);
		const struct dpi_column *i = in < 0 ? NULL : s->in->column + in;
		s->from[c] = i && i->type == o->type && i->scale == o->scale && i->width == o->width ? in : -1;
	}
	return DPI_SUCCESS;
}

/* --------------------------------------------------------------------------------------------------------- together */

static int make(struct making *m, struct dpi_schema *schema)
{
	struct dpi_stage *s = m->s;
	int error = check_unused(m);
	if (error) return error;
	if (!(m->column = calloc(s->in->columns, sizeof *m->column))) return dpi_fail(DPI_ERR_MEMORY, "no memory for a stage");
	for (uint32_t c = 0; c < s->in->columns; c++) {
		const struct dpi_column *i = s->in->column + c;
		m->column[c] = (struct dpi_expr_column){ .name = i->name, .type = i->type, .nullable = i->nullable,
							 .width = i->type == DPI_TYPE_FIXED ? i->width : 0, .precision = i->precision, .scale = i->scale };
	}
	switch (s->kind) {
	case DPI_STAGE_FILTER: error = make_filter(m); break;
	case DPI_STAGE_PROJECT: error = make_project(m); break;
	case DPI_STAGE_SAMPLE: error = make_sample(m); break;
	case DPI_STAGE_MAP: error = make_map(m, schema); break;
	default: error = make_changes(m);
	}
	free(m->column);
	if (!error && !s->out) s->out = dpi_schema_ref(s->in);
	return error;
}

int dpi_stage_from(const DPI_Stage *attr, size_t i, struct dpi_schema *in, struct dpi_schema *schema, bool nulls, struct dpi_stage *s)
{
	struct making m = { .attr = attr, .i = i, .nulls = nulls, .s = s };
	if (attr->kind < 0 || attr->kind > DPI_STAGE_MAP)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].kind is %d: it is one of DPI_STAGE_*", i, attr->kind);
	if (attr->place != DPI_AT_SOURCE && attr->place != DPI_AT_TARGET)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].place is %d: it is DPI_AT_SOURCE or DPI_AT_TARGET", i, attr->place);
	if (attr->pushable != 0 && attr->pushable != 1)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->stages[%zu].pushable is %d: it is 0 or 1", i, attr->pushable);
	s->kind = attr->kind;
	s->place = attr->place;
	s->pushable = attr->pushable;
	s->in = dpi_schema_ref(in);
	return make(&m, schema);
}

int dpi_stage_group(const char *function, uint32_t version, struct dpi_schema *in, struct dpi_stage *s)
{
	char why[DPI_DETAIL_MAX];
	DPI_Column *column = malloc((in->columns + 1) * sizeof *column);
	s->kind = DPI_STAGE_GROUP;
	s->version = version;
	s->in = dpi_schema_ref(in);
	s->text = strdup(function);
	s->from = calloc(in->columns + 1, sizeof *s->from);
	int error = column && s->text && s->from ? DPI_SUCCESS : dpi_fail(DPI_ERR_MEMORY, "no memory for the rows of a group function, of %u columns", in->columns);
	for (uint32_t c = 0; c < in->columns && !error; c++) {
		column[c] = dpi_schema_column(in, c);
		s->from[c] = (int)c;
	}
	if (!error) {
		column[in->columns] = (DPI_Column){ .name = function, .type = DPI_TYPE_UINT64 };
		s->from[in->columns] = -1;
		error = dpi_schema_new(column, in->columns + 1, &s->out);
		snprintf(why, sizeof why, "%s", dpi_detail());
		if (error) dpi_fail(error, "attr->group is \"%s\", and rows cannot have a column of this name with the key that attr->aggregates reduce by: %.700s", function, why);
	}
	free(column);
	return error;
}

void dpi_stage_free(struct dpi_stage *s)
{
	for (uint32_t k = 0; k < s->columns; k++) free(s->column[k].text);
	for (uint32_t k = 0; k < s->programs; k++) dpi_expr_free(s->program[k]);
	free(s->text), free(s->column), free(s->from), free(s->program);
	dpi_schema_unref(s->in), dpi_schema_unref(s->out);
	*s = (struct dpi_stage){ 0 };
}

/* ------------------------------------------------------------------------------------------------------------ equal */

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool same_column(const struct dpi_stage_column *a, const struct dpi_stage_column *b)
{
	return !strcmp(a->name, b->name) && same_text(a->text, b->text) && a->type == b->type && a->width == b->width && a->precision == b->precision &&
	       a->scale == b->scale && !memcmp(&a->minus, &b->minus, sizeof a->minus) && !memcmp(&a->by, &b->by, sizeof a->by);
}

static bool same_columns(const struct dpi_stage *flow, const struct dpi_stage *yours, uint32_t i, char *text, size_t room)
{
	if (flow->columns != yours->columns) {
		snprintf(text, room, "the flow's stages[%u] has %u columns, yours %u", i, flow->columns, yours->columns);
		return false;
	}
	for (uint32_t k = 0; k < flow->columns; k++) {
		const struct dpi_stage_column *a = flow->column + k, *b = yours->column + k;
		if (same_column(a, b)) continue;
		if (strcmp(a->name, b->name))
			snprintf(text, room, "the flow's stages[%u].columns[%u] is \"%s\", yours is \"%s\"", i, k, a->name, b->name);
		else
			snprintf(text, room, "the flow's stages[%u].columns[%u], \"%s\", is another than in yours", i, k, a->name);
		return false;
	}
	return true;
}

bool dpi_stage_equal(const struct dpi_stage *flow, const struct dpi_stage *yours, uint32_t i, char *text, size_t room)
{
	if (flow->kind != yours->kind) {
		snprintf(text, room, "the flow's stages[%u] is a %s, yours a %s", i, kind_text[flow->kind], kind_text[yours->kind]);
		return false;
	}
	const struct {
		const char *field;
		uint64_t flow, yours;
	} number[] = { { "place", (uint64_t)flow->place, (uint64_t)yours->place }, { "pushable", flow->pushable, yours->pushable },
		       { "version", flow->version, yours->version },		   { "salt", flow->salt, yours->salt },
		       { "fraction, times 2^32,", flow->share, yours->share },	   { "key_count", flow->key_count, yours->key_count } };
	for (size_t n = 0; n < sizeof number / sizeof *number; n++) {
		if (number[n].flow == number[n].yours) continue;
		snprintf(text, room, "the flow's stages[%u].%s is %llu, yours is %llu", i, number[n].field, (unsigned long long)number[n].flow,
			 (unsigned long long)number[n].yours);
		return false;
	}
	if (!same_text(flow->text, yours->text)) {
		snprintf(text, room, "the flow's stages[%u].text is \"%.200s\", yours is \"%.200s\"", i, flow->text, yours->text);
		return false;
	}
	for (uint32_t k = 0; k < flow->key_count; k++) {
		if (flow->key[k] == yours->key[k]) continue;
		snprintf(text, room, "the flow's stages[%u].key[%u] is \"%s\", yours is \"%s\"", i, k, flow->in->column[flow->key[k]].name,
			 yours->in->column[yours->key[k]].name);
		return false;
	}
	if (!same_columns(flow, yours, i, text, room)) return false;
	if (flow->own_schema != yours->own_schema) {
		snprintf(text, room, "the flow's stages[%u].schema is %s, yours is %s", i, flow->own_schema ? "given" : "NULL", yours->own_schema ? "given" : "NULL");
		return false;
	}
	return !flow->own_schema || dpi_schema_equal(flow->out, "the schema of the flow's stage", yours->out, "of yours", text, room);
}
