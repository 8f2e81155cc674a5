/* SPDX-License-Identifier: Apache-2.0
 * expr_test.c: what single expressions give, their types, and what is refused, with the place that is named. */
#include "expr_kit.h"
#include "expression_tables.h"
#include "flows/expr/convert.h"

/* The one row that the tables look at. */
static const int64_t one_i64 = 7, one_dec = 12345;
static const int8_t one_i8 = -3;
static const uint64_t one_u64 = 5;
static const int32_t one_date = 18321; /* 2020-02-29 */
static const double one_f64 = 2.5;
static const uint8_t one_valid = 1, one_null = 0, one_bits = 1;
static const char one_text[] = "Grün";
static const int32_t one_offset[] = { 0, 5 };

static const struct dpi_expr_column row_columns[] = {
	{ "i", DPI_TYPE_INT64, true, 0, 0, 0 },	       { "none", DPI_TYPE_INT64, true, 0, 0, 0 },
	{ "dec", DPI_TYPE_DECIMAL64, true, 0, 15, 2 }, { "u", DPI_TYPE_UINT64, true, 0, 0, 0 },
	{ "d", DPI_TYPE_DATE32, true, 0, 0, 0 },       { "x", DPI_TYPE_DOUBLE, true, 0, 0, 0 },
	{ "t", DPI_TYPE_UTF8, true, 0, 0, 0 },	       { "yes", DPI_TYPE_BOOL, true, 0, 0, 0 },
	{ "small", DPI_TYPE_INT8, false, 0, 0, 0 },    { "Two Words", DPI_TYPE_INT64, true, 0, 0, 0 },
	{ "case_", DPI_TYPE_INT64, true, 0, 0, 0 },    { "Case_", DPI_TYPE_INT64, true, 0, 0, 0 },
	{ "bin", DPI_TYPE_BINARY, true, 0, 0, 0 },
};
#define ROW_COLUMNS ((int)(sizeof row_columns / sizeof *row_columns))

static const struct dpi_vector row_vectors[] = {
	{ DPI_TYPE_INT64, 0, 8, &one_valid, &one_i64, NULL },
	{ DPI_TYPE_INT64, 0, 8, &one_null, &one_i64, NULL },
	{ DPI_TYPE_DECIMAL64, 2, 8, &one_valid, &one_dec, NULL },
	{ DPI_TYPE_UINT64, 0, 8, NULL, &one_u64, NULL },
	{ DPI_TYPE_DATE32, 0, 4, NULL, &one_date, NULL },
	{ DPI_TYPE_DOUBLE, 0, 8, NULL, &one_f64, NULL },
	{ DPI_TYPE_UTF8, 0, 0, NULL, one_text, one_offset },
	{ DPI_TYPE_BOOL, 0, 0, NULL, &one_bits, NULL },
	{ DPI_TYPE_INT8, 0, 1, NULL, &one_i8, NULL },
	{ DPI_TYPE_INT64, 0, 8, NULL, &one_i64, NULL },
	{ DPI_TYPE_INT64, 0, 8, NULL, &one_i64, NULL },
	{ DPI_TYPE_INT64, 0, 8, NULL, &one_i64, NULL },
	{ DPI_TYPE_BINARY, 0, 0, NULL, one_text, one_offset },
};
static const struct dpi_batch row_batch = { 1, ROW_COLUMNS, row_vectors };

static void print(const struct dpi_expr_type *t, const struct dpi_vector *v, char *out)
{
	const uint8_t *p = v->data;
	int64_t whole = 0;
	dpi_i128 wide = 0;
	size_t n = 0;
	if (dpi_is_null(v, 0)) n = (size_t)sprintf(out, "NULL");
	else if (t->type == DPI_TYPE_BOOL) n = (size_t)sprintf(out, dpi_bit(p, 0) ? "true" : "false");
	else if (t->type == DPI_TYPE_DOUBLE) n = dpi_print_real(*(const double *)v->data, false, out);
	else if (t->type == DPI_TYPE_FLOAT) n = dpi_print_real((double)*(const float *)v->data, true, out);
	else if (t->type == DPI_TYPE_DATE32) n = dpi_print_date(*(const int32_t *)v->data, out);
	else if (t->type == DPI_TYPE_FIXED) memcpy(out, p, n = v->width);
	else if (v->offset) memcpy(out, p + v->offset[0], n = (size_t)(v->offset[1] - v->offset[0]));
	else if (v->width == 16) memcpy(&wide, p, 16), n = dpi_print_decimal(wide, t->scale, out);
	else {
		memcpy(&whole, p, v->width);
		int shift = 64 - 8 * (int)v->width;
		wide = dpi_type_is_unsigned(t->type) ? (dpi_i128)(uint64_t)whole
						     : (dpi_i128)((int64_t)((uint64_t)whole << shift) >> shift);
		n = dpi_print_decimal(wide, t->scale, out);
	}
	out[n] = 0;
}

static void refused(const char *text, const char *part)
{
	struct dpi_expr *e;
	int got = dpi_expr_compile(text, strlen(text), row_columns, ROW_COLUMNS, &e);
	if (got != DPI_ERR_ARGUMENT || strncmp(dpi_detail(), "character ", 10) || !strstr(dpi_detail(), part))
		FAIL("%s: %s: \"%s\", not \"%s\"", text, dpi_error_name(got), got ? dpi_detail() : "", part);
}

static void gives(const struct expression_case *r)
{
	struct dpi_expr *e;
	struct dpi_expr_state *s;
	struct dpi_vector v;
	char type[DPI_TYPE_PRINTED], value[200];
	if (dpi_expr_compile(r->text, strlen(r->text), row_columns, ROW_COLUMNS, &e)) FAIL("%s: %s", r->text, dpi_detail());
	dpi_type_print(dpi_expr_result(e), type);
	if (strcmp(type, r->type)) FAIL("%s is of type %s, not %s", r->text, type, r->type);
	CHECK_DPI(dpi_expr_state_new((const struct dpi_expr *const *)&e, 1, DPI_EXPR_FAIL, &s));
	int error = dpi_expr_project(s, &row_batch, NULL, &v);
	if (*r->value == '!') {
		if (error != DPI_ERR_RANGE || !strstr(dpi_detail(), r->value + 1)) FAIL("%s: %s", r->text, error ? dpi_detail() : "no error");
		CHECK_HAS(dpi_detail(), "row 0, character ");
	} else {
		if (error) FAIL("%s: %s", r->text, dpi_detail());
		print(dpi_expr_result(e), &v, value);
		if (strcmp(value, r->value)) FAIL("%s is %s, not %s", r->text, value, r->value);
	}
	dpi_expr_state_free(s);
	dpi_expr_free(e);
}

#define TABLE(name, statements)                                                                                             \
	TEST(expr_##name, statements, 0)                                                                                    \
	{                                                                                                                   \
		for (size_t i = 0; i < sizeof expression_##name / sizeof *expression_##name; i++)                           \
			if (expression_##name[i].type) gives(expression_##name + i);                                        \
			else refused(expression_##name[i].text, expression_##name[i].value);                                \
	}
EXPRESSION_TABLES(TABLE)

TEST(expr_bounds, "X-4", 0)
{
	static char text[600000];
	struct dpi_expr *e;
	size_t n = 0;
	for (int i = 0; i < 100; i++) text[n++] = '(';
	text[n++] = 'i';
	for (int i = 0; i < 100; i++) text[n++] = ')';
	CHECK_DPI(dpi_expr_compile(text, n, row_columns, ROW_COLUMNS, &e));
	dpi_expr_free(e);
	memset(text, '(', sizeof text);
	CHECK_ERROR(dpi_expr_compile(text, sizeof text, row_columns, ROW_COLUMNS, &e), DPI_ERR_LIMIT,
		    "operations within each other");
	for (n = 0; n < sizeof text; n++) text[n] = n % 2 ? ' ' : '-';
	CHECK_ERROR(dpi_expr_compile(text, sizeof text, row_columns, ROW_COLUMNS, &e), DPI_ERR_LIMIT,
		    "operations within each other");
	for (n = 0; n < 4 * 900; n += 4) memcpy(text + n, "i + ", 4);
	CHECK_DPI(dpi_expr_compile(text, n - 2, row_columns, ROW_COLUMNS, &e));
	dpi_expr_free(e);
	for (n = 0; n < 4 * 2000; n += 4) memcpy(text + n, "i + ", 4);
	CHECK_ERROR(dpi_expr_compile(text, n - 2, row_columns, ROW_COLUMNS, &e), DPI_ERR_LIMIT, "more than 1000 operations");
	for (n = 0; n < 8 * 3000; n += 8) memcpy(text + n, "yes AND ", 8); /* not deep: AND has no order */
	CHECK_DPI(dpi_expr_compile(text, n - 5, row_columns, ROW_COLUMNS, &e));
	dpi_expr_free(e);
	n = (size_t)sprintf(text, "i IN (0");
	for (int i = 1; i < 5000; i++) n += (size_t)sprintf(text + n, ",%d", i * 3);
	text[n++] = ')';
	CHECK_DPI(dpi_expr_compile(text, n, row_columns, ROW_COLUMNS, &e));
	dpi_expr_free(e);
	n = (size_t)sprintf(text, "i IN (0");
	for (int i = 1; i < 30000; i++) n += (size_t)sprintf(text + n, ",%d", i);
	text[n++] = ')';
	CHECK_ERROR(dpi_expr_compile(text, n, row_columns, ROW_COLUMNS, &e), DPI_ERR_LIMIT, "more than 20000 parts");
	CHECK_ERROR(dpi_expr_compile(NULL, 0, row_columns, ROW_COLUMNS, &e), DPI_ERR_ARGUMENT, "NULL");
	char *huge = calloc(1, (1 << 20) + 1);
	CHECK_ERROR(dpi_expr_compile(huge, (1 << 20) + 1, row_columns, ROW_COLUMNS, &e), DPI_ERR_LIMIT, "1048577 bytes");
	free(huge);
}

/* x between x between …: every level has the one below twice, which must not double the work. */
TEST(expr_shared_operands_do_not_multiply, "", 0, .deadline_s = 60)
{
	char text[8000] = "yes";
	struct dpi_expr *e;
	for (int i = 0; i < 60; i++) {
		char next[8000];
		snprintf(next, sizeof next, "(%s BETWEEN FALSE AND (1 / i = 1))", text);
		strcpy(text, next);
	}
	CHECK_DPI(dpi_expr_compile(text, strlen(text), row_columns, ROW_COLUMNS, &e));
	CHECK_INT(e->instructions, <, 1000);
	dpi_expr_free(e);
	strcpy(text, "i");
	for (int i = 0; i < 60; i++) {
		char next[8000];
		snprintf(next, sizeof next, "CASE %s WHEN 1 THEN 1 / i WHEN 2 THEN 4 ELSE 5 END", text);
		strcpy(text, next);
	}
	CHECK_DPI(dpi_expr_compile(text, strlen(text), row_columns, ROW_COLUMNS, &e));
	CHECK_INT(e->instructions, <, 2000);
	dpi_expr_free(e);
}

TEST(expr_every_type_has_a_kind_and_a_name, "", 0)
{
	static const struct {
		int type;
		size_t width;
		const char *name;
	} types[] = {
#define TYPE(name, number, width, meaning) { DPI_TYPE_##name, width, #name },
		DPI_TYPES(TYPE)
#undef TYPE
	};
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		struct dpi_expr_type t = { .type = types[i].type, .width = 7, .precision = 9, .scale = 2 };
		int kind = dpi_type_kind(t.type);
		char name[DPI_TYPE_PRINTED];
		CHECK(dpi_kind_is(kind));
		if (types[i].width && kind != KIND_BOOL) CHECK_INT(dpi_kind_width(kind), ==, types[i].width);
		CHECK(strlen(dpi_type_print(&t, name)) > 2);
		CHECK(strspn(types[i].name, "DATEFIXEDECIMAL") < 4 || !strncmp(name, types[i].name, 4));
	}
	CHECK(!dpi_type_kind(0) && !dpi_type_kind(18) && !dpi_type_kind(-1));
}
