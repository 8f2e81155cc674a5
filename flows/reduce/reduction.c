/* SPDX-License-Identifier: Apache-2.0
 * reduction.c: making reductions: what each aggregate takes, keeps and yields. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "error.h"

/* ------------------------------------------------------------------------------------------------------ one aggregate */

static const char *const function_names[] = { "count(*)", "count", "sum",   "min",	      "max",
					      "avg",	  "first", "top k", "count distinct", "reducer" };

static bool is_decimal(int type)
{
	return type == DPI_TYPE_DECIMAL64 || type == DPI_TYPE_DECIMAL128;
}

static bool is_integer(int type)
{
	return type >= DPI_TYPE_INT8 && type <= DPI_TYPE_UINT64;
}

static bool is_float(int type)
{
	return type == DPI_TYPE_FLOAT || type == DPI_TYPE_DOUBLE;
}

static int refuse(const struct dpi_aggregate *a, uint32_t i, const struct dpi_column *c, const char *takes)
{
	char text[DPI_COLUMN_TEXT];
	return dpi_fail(DPI_ERR_UNSUPPORTED, "aggregate %u, %s, does not take the column %s: it takes %s", i,
			function_names[a->function], dpi_schema_column_text(c, text), takes);
}

static int check_top_k(struct dpi_aggregate *a, uint32_t i, const struct dpi_column *c, const struct dpi_column *by)
{
	a->varies = c->variable || by->type >= DPI_TYPE_DECIMAL128; /* no word says how these order */
	size_t size = a->k ? dpi_topk_size(a->k, a->varies ? 8 : c->width) : 0;
	if (size && size <= DPI_STATE_MAX) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_ARGUMENT,
			"aggregate %u, top k, has k %u with values of %u bytes: from 1, and at most %d bytes in all", i,
			a->k, c->width, DPI_STATE_MAX);
}

/* Do function and columns fit? Sets what of them is derived. */
static int check_aggregate(const struct dpi_schema *in, struct dpi_aggregate *a, uint32_t i)
{
	const struct dpi_column *c = a->column < 0 ? NULL : in->column + a->column;
	const struct dpi_column *by = a->by < 0 ? c : in->column + a->by;
	if (!c && a->function != DPI_AGGREGATE_COUNT_ALL && a->function != DPI_AGGREGATE_REDUCER)
		return dpi_fail(DPI_ERR_ARGUMENT, "aggregate %u, %s, has no column: name its argument", i,
				function_names[a->function]);
	if (c && a->function == DPI_AGGREGATE_COUNT_ALL)
		return dpi_fail(DPI_ERR_ARGUMENT,
				"aggregate %u, count(*), has a column: count is for values that are not NULL", i);
	a->type = c ? c->type : 0;
	a->scale = c ? c->scale : 0;
	a->merges = a->function != DPI_AGGREGATE_REDUCER || a->merges;
	switch (a->function) {
	case DPI_AGGREGATE_SUM:
	case DPI_AGGREGATE_AVG:
		if (!is_integer(c->type) && !is_decimal(c->type) && !is_float(c->type))
			return refuse(a, i, c, "integers, decimals and floats");
		return DPI_SUCCESS;
	case DPI_AGGREGATE_MIN:
	case DPI_AGGREGATE_MAX:
	case DPI_AGGREGATE_FIRST: a->varies = c->variable; return DPI_SUCCESS;
	case DPI_AGGREGATE_TOP_K: return check_top_k(a, i, c, by);
	case DPI_AGGREGATE_COUNT_DISTINCT:
		if (a->precision >= DPI_HLL_LEAST && a->precision <= DPI_HLL_MOST) return DPI_SUCCESS;
		return dpi_fail(DPI_ERR_ARGUMENT, "aggregate %u, count distinct, has precision %u: there are %d to %d", i,
				a->precision, DPI_HLL_LEAST, DPI_HLL_MOST);
	case DPI_AGGREGATE_REDUCER:
		if (a->bytes && a->bytes <= DPI_STATE_MAX) return DPI_SUCCESS;
		return dpi_fail(DPI_ERR_ARGUMENT, "aggregate %u, the reducer \"%s\", has a state of %u bytes: 1 to %d", i,
				a->reducer, a->bytes, DPI_STATE_MAX);
	}
	return DPI_SUCCESS;
}

/* ----------------------------------------------------------------------------------------------------------- schemas */

/* Columns of a schema that is being made; the names of those that have none yet are made up. */
struct columns {
	DPI_Column *column;
	char (*name)[DPI_NAME_MAX];
	size_t count, most;
	size_t at; /* bytes of a row's fixed part so far */
};

static bool taken(const struct columns *s, const char *name)
{
	for (size_t i = 0; i < s->count; i++)
		if (!strcmp(s->column[i].name, name)) return true;
	return false;
}

static void append(struct columns *s, DPI_Column c)
{
	size_t width = dpi_type_bytes(c.type), align = width > 8 ? 8 : width;
	if (c.type == DPI_TYPE_FIXED) width = c.width, align = 1;
	if (!width) width = 8, align = 4;
	s->at = (s->at + align - 1) / align * align + width;
	s->column[s->count++] = c;
}

/* A column that only the state has: named after what it is, so that it is nobody else's. */
static void append_named(struct columns *s, const char *what, DPI_Column c)
{
	char *name = s->name[s->count];
	snprintf(name, DPI_NAME_MAX, "%s", what);
	for (unsigned n = 2; taken(s, name); n++) snprintf(name, DPI_NAME_MAX, "%s %u", what, n);
	c.name = name;
	append(s, c);
}

/* FIXED bytes that are read as structs begin at a multiple of 8. */
static void append_aligned(struct columns *s, uint32_t bytes)
{
	uint32_t pad = (uint32_t)(-s->at & 7);
	if (pad) append_named(s, "(padding)", (DPI_Column){ .type = DPI_TYPE_FIXED, .width = pad });
	append_named(s, "(state)", (DPI_Column){ .type = DPI_TYPE_FIXED, .width = (bytes + 7) & ~7u });
}

static void append_sum(struct columns *s, const struct dpi_aggregate *a, bool nullable)
{
	if (is_float(a->type)) {
		append_named(s, "(sum)", (DPI_Column){ .type = DPI_TYPE_DOUBLE, .nullable = nullable });
		return;
	}
	append_named(s, "(sum)", (DPI_Column){ .type = DPI_TYPE_DECIMAL128, .nullable = nullable, .scale = a->scale });
	if (a->type == DPI_TYPE_DECIMAL128) append_named(s, "(carry)", (DPI_Column){ .type = DPI_TYPE_INT64 });
}

static void append_state(struct columns *s, const struct dpi_schema *in, struct dpi_aggregate *a)
{
	static const DPI_Column count = { .type = DPI_TYPE_INT64 };
	const struct dpi_column *c = a->column < 0 ? NULL : in->column + a->column;
	switch (a->function) {
	case DPI_AGGREGATE_COUNT_ALL:
	case DPI_AGGREGATE_COUNT: append_named(s, "(count)", count); break;
	case DPI_AGGREGATE_SUM: append_sum(s, a, c->nullable); break;
	case DPI_AGGREGATE_AVG:
		append_sum(s, a, false);
		append_named(s, "(count)", count);
		break;
	case DPI_AGGREGATE_MIN:
	case DPI_AGGREGATE_MAX:
	case DPI_AGGREGATE_FIRST: append_named(s, "(value)", dpi_schema_column(in, (uint32_t)a->column)); break;
	case DPI_AGGREGATE_TOP_K:
		if (a->varies) append_named(s, "(state)", (DPI_Column){ .type = DPI_TYPE_BINARY });
		else append_aligned(s, (uint32_t)dpi_topk_size(a->k, c->width));
		break;
	case DPI_AGGREGATE_COUNT_DISTINCT:
		append_named(s, "(registers)", (DPI_Column){ .type = DPI_TYPE_FIXED, .width = 1u << a->precision });
		break;
	case DPI_AGGREGATE_REDUCER: append_aligned(s, a->bytes); break;
	}
}

static DPI_Column output_column(const struct dpi_schema *in, const struct dpi_aggregate *a)
{
	DPI_Column o = { .name = a->name, .type = DPI_TYPE_INT64 };
	bool nullable = a->column >= 0 && in->column[a->column].nullable, sum = a->function == DPI_AGGREGATE_SUM;
	switch (a->function) {
	case DPI_AGGREGATE_SUM:
	case DPI_AGGREGATE_AVG:
		o.nullable = nullable;
		if (is_decimal(a->type)) o.type = DPI_TYPE_DECIMAL128, o.scale = sum ? a->scale : dpi_avg_scale(a->scale);
		else if (!sum || is_float(a->type)) o.type = DPI_TYPE_DOUBLE;
		else o.type = a->type >= DPI_TYPE_UINT8 ? DPI_TYPE_UINT64 : DPI_TYPE_INT64;
		break;
	case DPI_AGGREGATE_MIN:
	case DPI_AGGREGATE_MAX:
	case DPI_AGGREGATE_FIRST: o = dpi_schema_column(in, (uint32_t)a->column); break;
	case DPI_AGGREGATE_TOP_K: o.type = DPI_TYPE_BINARY; break;
	case DPI_AGGREGATE_REDUCER: o = a->result; break;
	}
	o.name = a->name;
	return o;
}

static int make_schemas(struct dpi_reduction *r, struct columns *s)
{
	for (uint32_t i = 0; i < r->key_count; i++) append(s, dpi_schema_column(r->input, r->key[i]));
	for (uint32_t i = 0; i < r->count; i++) append(s, output_column(r->input, r->aggregate + i));
	int error = dpi_schema_new(s->column, s->count, &r->output);
	if (error) return error;
	s->count = s->at = 0;
	for (uint32_t i = 0; i < r->key_count; i++) append(s, dpi_schema_column(r->input, r->key[i]));
	for (uint32_t i = 0; i < r->count; i++) {
		append_state(s, r->input, r->aggregate + i);
		r->aggregate[i].state = (uint32_t)s->count - dpi_aggregate_columns(r->aggregate + i);
	}
	if (s->count > DPI_COLUMNS_MAX)
		return dpi_fail(DPI_ERR_LIMIT, "the states of %u aggregates need %zu columns: at most %d", r->count,
				s->count, DPI_COLUMNS_MAX);
	return dpi_schema_new(s->column, s->count, &r->state);
}

uint32_t dpi_aggregate_columns(const struct dpi_aggregate *a)
{
	bool carries = a->type == DPI_TYPE_DECIMAL128;
	return a->function == DPI_AGGREGATE_SUM ? 1 + carries : a->function == DPI_AGGREGATE_AVG ? 2 + carries : 1;
}

/* --------------------------------------------------------------------------------------------------------- reductions */

int dpi_reduction_start(struct dpi_schema *input, size_t key_count, size_t count, struct dpi_reduction **r)
{
	if (key_count > DPI_KEYS_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "a key of %zu columns: it has at most %d", key_count, DPI_KEYS_MAX);
	if (count > DPI_AGGREGATES_MAX || !(key_count + count))
		return dpi_fail(DPI_ERR_ARGUMENT,
				"%zu aggregates%s: there are at most %d, and at least one where there is no key", count,
				key_count ? "" : " without a key", DPI_AGGREGATES_MAX);
	*r = calloc(1, sizeof **r + count * sizeof *(*r)->aggregate);
	if (!*r) return dpi_fail(DPI_ERR_MEMORY, "no memory for a reduction of %zu aggregates", count);
	(*r)->references = 1;
	(*r)->input = dpi_schema_ref(input);
	(*r)->key_count = (uint32_t)key_count;
	(*r)->count = (uint32_t)count;
	return DPI_SUCCESS;
}

int dpi_reduction_finish(struct dpi_reduction *r)
{
	size_t most = r->key_count + 4 * (size_t)r->count;
	int error = DPI_SUCCESS;
	for (uint32_t i = 0; i < r->key_count; i++) {
		if (r->key[i] >= r->input->columns)
			return dpi_fail(DPI_ERR_ARGUMENT, "key %u is column %u of a schema that has %u", i, r->key[i],
					r->input->columns);
		for (uint32_t k = 0; k < i; k++)
			if (r->key[i] == r->key[k])
				return dpi_fail(DPI_ERR_ARGUMENT, "column %u is twice in the key: name it once", r->key[i]);
	}
	r->merges = true;
	for (uint32_t i = 0; i < r->count && !error; i++) {
		error = check_aggregate(r->input, r->aggregate + i, i);
		r->merges &= r->aggregate[i].merges;
	}
	if (error) return error;
	struct columns s = { calloc(most, sizeof *s.column), calloc(most, sizeof *s.name), 0, most, 0 };
	error = s.column && s.name ? make_schemas(r, &s) : dpi_fail(DPI_ERR_MEMORY, "no memory for %zu columns", most);
	free(s.column), free(s.name);
	return error;
}

static int find_column(const struct dpi_schema *in, const char *name, uint32_t i, int *column)
{
	*column = name ? dpi_schema_find(in, name) : -1;
	if (!name || *column >= 0) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_NAME, "aggregate %u is of the column \"%.*s\", which the schema does not have", i,
			DPI_NAME_MAX, name);
}

static int copy_name(const char *name, uint32_t i, char *to)
{
	size_t size = strnlen(name, DPI_NAME_MAX);
	if (size == DPI_NAME_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "a name in aggregate %u is longer than %d bytes: shorten it", i,
				DPI_NAME_MAX - 1);
	memcpy(to, name, size + 1);
	return DPI_SUCCESS;
}

static int compile(const struct dpi_schema *in, const DPI_Aggregate *from, uint32_t i, struct dpi_aggregate *a)
{
	const char *name = from->name ? from->name : from->column ? from->column : "count";
	if (from->function < 0 || from->function > DPI_AGGREGATE_REDUCER)
		return dpi_fail(DPI_ERR_ARGUMENT, "aggregate %u has function %d, which is none: take a DPI_AGGREGATE_*", i,
				from->function);
	a->function = from->function;
	int error = find_column(in, from->column, i, &a->column);
	a->by = -1;
	if (!error && (a->function == DPI_AGGREGATE_TOP_K || a->function == DPI_AGGREGATE_REDUCER))
		error = find_column(in, from->by, i, &a->by);
	if (!error) error = copy_name(name, i, a->name);
	if (error) return error;
	if (a->function == DPI_AGGREGATE_TOP_K) a->k = from->k, a->ascending = from->ascending != 0;
	if (a->function == DPI_AGGREGATE_COUNT_DISTINCT) a->precision = from->precision ? from->precision : 12;
	if (a->function != DPI_AGGREGATE_REDUCER) return DPI_SUCCESS;
	if (!from->reducer) return dpi_fail(DPI_ERR_ARGUMENT, "aggregate %u names no reducer", i);
	DPI_Reducer reducer;
	error = dpi_reducer_find(from->reducer, from->version, &reducer);
	if (!error) error = copy_name(from->reducer, i, a->reducer);
	a->version = from->version;
	a->bytes = reducer.state;
	a->merges = reducer.merge;
	a->result = reducer.result;
	return error;
}

int dpi_reduction_new(struct dpi_schema *input, const uint16_t *key, size_t key_count, const DPI_Aggregate *aggregates,
		      size_t count, struct dpi_reduction **out)
{
	struct dpi_reduction *r;
	int error = dpi_reduction_start(input, key_count, count, &r);
	if (error) return error;
	if (key_count) memcpy(r->key, key, key_count * sizeof *key);
	for (uint32_t i = 0; i < count && !error; i++) error = compile(input, aggregates + i, i, r->aggregate + i);
	if (!error) error = dpi_reduction_finish(r);
	if (error) dpi_reduction_unref(r);
	else *out = r;
	return error;
}

void dpi_reduction_unref(struct dpi_reduction *r)
{
	if (!r || atomic_fetch_sub_explicit(&r->references, 1, memory_order_acq_rel) != 1) return;
	dpi_schema_unref(r->input), dpi_schema_unref(r->state), dpi_schema_unref(r->output);
	free(r);
}
