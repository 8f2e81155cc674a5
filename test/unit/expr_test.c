/* SPDX-License-Identifier: Apache-2.0
 * expr_test.c: what single expressions give, their types, and what is refused, with the place that is named. */
#include "expr_kit.h"
#include "flows/expr/convert.h"

/* The one row that the tables below look at. */
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

struct result {
	const char *text, *type, *value; /* value: "!why" when the row has an error */
};

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

static void gives(const struct result *r, int count)
{
	for (int i = 0; i < count; i++, r++) {
		struct dpi_expr *e;
		struct dpi_expr_state *s;
		struct dpi_vector v;
		char type[DPI_TYPE_PRINTED], value[200];
		if (dpi_expr_compile(r->text, strlen(r->text), row_columns, ROW_COLUMNS, &e))
			FAIL("%s: %s", r->text, dpi_detail());
		dpi_type_print(dpi_expr_result(e), type);
		if (strcmp(type, r->type)) FAIL("%s is of type %s, not %s", r->text, type, r->type);
		CHECK_DPI(dpi_expr_state_new((const struct dpi_expr *const *)&e, 1, DPI_EXPR_FAIL, &s));
		int error = dpi_expr_project(s, &row_batch, NULL, &v);
		if (*r->value == '!') {
			if (error != DPI_ERR_RANGE || !strstr(dpi_detail(), r->value + 1))
				FAIL("%s: %s", r->text, error ? dpi_detail() : "no error");
			CHECK_HAS(dpi_detail(), "row 0, character ");
		} else {
			if (error) FAIL("%s: %s", r->text, dpi_detail());
			print(dpi_expr_result(e), &v, value);
			if (strcmp(value, r->value)) FAIL("%s is %s, not %s", r->text, value, r->value);
		}
		dpi_expr_state_free(s);
		dpi_expr_free(e);
	}
}
#define GIVES(...)                                                                                                          \
	do {                                                                                                                \
		static const struct result list[] = { __VA_ARGS__ };                                                        \
		gives(list, (int)(sizeof list / sizeof *list));                                                             \
	} while (0)

static void refused(const char *text, int error, const char *part)
{
	struct dpi_expr *e;
	int got = dpi_expr_compile(text, strlen(text), row_columns, ROW_COLUMNS, &e);
	if (got != error || !strstr(dpi_detail(), part))
		FAIL("%s: %s: \"%s\", not \"%s\"", text, dpi_error_name(got), got ? dpi_detail() : "", part);
}

TEST(expr_literals, "X-1 X-5", 0)
{
	GIVES({ "1", "INT64", "1" }, { "-9223372036854775808", "INT64", "-9223372036854775808" },
	      { "9223372036854775808", "UINT64", "9223372036854775808" },
	      { "18446744073709551616", "DECIMAL(20,0)", "18446744073709551616" },
	      { "-18446744073709551615", "DECIMAL(20,0)", "-18446744073709551615" }, { "1.50", "DECIMAL(3,2)", "1.50" },
	      { ".05", "DECIMAL(2,2)", "0.05" }, { "-0.5", "DECIMAL(1,1)", "-0.5" }, { "1e3", "DOUBLE", "1000" },
	      { "2.5E-1", "DOUBLE", "0.25" }, { "'it''s'", "UTF8", "it's" }, { "''", "UTF8", "" },
	      { "DATE '2020-02-29'", "DATE", "2020-02-29" }, { "true", "BOOL", "true" }, { "False", "BOOL", "false" },
	      { "CAST(NULL AS DATE)", "DATE", "NULL" }, { "- 3", "INT64", "-3" }, { "+3", "INT64", "3" });
}

TEST(expr_names, "X-2", 0)
{
	GIVES({ "I", "INT64", "7" }, { "\"i\" + 1", "INT64", "8" }, { "\"Two Words\"", "INT64", "7" },
	      { "case_", "INT64", "7" }, { "Case_ + case_", "INT64", "14" });
	refused("CASE_", DPI_ERR_ARGUMENT, "character 1: more than one column is named 'CASE_'");
	refused("\"I\"", DPI_ERR_ARGUMENT, "character 1: no column is named 'I'");
	refused("1 + y", DPI_ERR_ARGUMENT, "character 5: no column is named 'y'");
}

TEST(expr_errors_name_the_character, "X-1 X-3", 0)
{
	refused("", DPI_ERR_ARGUMENT, "character 1: the expression ends where it needs a value");
	refused("'ü' + * 2", DPI_ERR_ARGUMENT, "character 7: '*' stands where");
	refused("i +", DPI_ERR_ARGUMENT, "character 4: the expression ends");
	refused("(i", DPI_ERR_ARGUMENT, "character 3: the expression ends where it needs ')'");
	refused("i i", DPI_ERR_ARGUMENT, "character 3: 'i' stands where the expression needs its end");
	refused("'abc", DPI_ERR_ARGUMENT, "character 1: the string has no end");
	refused("i + \"abc", DPI_ERR_ARGUMENT, "character 5: the name has no end");
	refused("12ab", DPI_ERR_ARGUMENT, "character 1: letters follow a number");
	refused("i --2", DPI_ERR_ARGUMENT, "character 3: -- begins a comment in SQL");
	refused("i ? 2", DPI_ERR_ARGUMENT, "character 3: this character begins nothing");
	refused("i + t", DPI_ERR_ARGUMENT, "character 5: arithmetic needs numbers, not UTF8");
	refused("t < i", DPI_ERR_ARGUMENT, "UTF8 and INT64 do not go together");
	refused("i AND yes", DPI_ERR_ARGUMENT, "character 1: INT64 stands where a value of type BOOL must");
	refused("CASE WHEN i THEN 1 END", DPI_ERR_ARGUMENT, "character 11: INT64 stands where");
	refused("CASE WHEN yes THEN NULL END", DPI_ERR_ARGUMENT, "every value is NULL");
	refused("NULL", DPI_ERR_ARGUMENT, "character 1: the expression is NULL without a type");
	refused("FROB(i)", DPI_ERR_ARGUMENT, "character 1: 'FROB' stands where");
	refused("SQRT(1, 2)", DPI_ERR_ARGUMENT, "character 1: SQRT has 1 to 1 arguments, not 2");
	refused("CAST(yes AS DATE)", DPI_ERR_ARGUMENT, "character 1: BOOL cannot be cast to DATE");
	refused("CAST(i AS STRING)", DPI_ERR_ARGUMENT, "character 11: 'STRING' stands where the expression needs a type");
	refused("d = '2020-02-30'", DPI_ERR_ARGUMENT, "character 5: this is no date");
	refused("DATE '2020-13-01'", DPI_ERR_ARGUMENT, "character 6: this is no date");
	refused("t LIKE 'a' ESCAPE 'xy'", DPI_ERR_ARGUMENT, "character 19: ESCAPE needs a string of one character");
	refused("t LIKE 'a' ESCAPE '\x84\x84\x84\x84\x84\x84\x84\x84\x84\x84\x84\x84'", DPI_ERR_ARGUMENT, "character 20: the text is not UTF-8");
	refused("EXTRACT(hour FROM d)", DPI_ERR_ARGUMENT, "character 9: 'hour' stands where");
	refused("DATE_TRUNC('hour', d)", DPI_ERR_ARGUMENT, "character 12: this is no unit");
	refused("123456789012345678901234567890123456789", DPI_ERR_ARGUMENT,
		"character 1: the number has more than 38 digits");
	refused("1e999", DPI_ERR_ARGUMENT, "character 1: the number is too large");
	refused("i IS 3", DPI_ERR_ARGUMENT, "character 6: '3' stands where");
	refused("\xff", DPI_ERR_ARGUMENT, "character 1: the text is not UTF-8");
	refused("dec * CAST(1 AS DECIMAL(38,37))", DPI_ERR_ARGUMENT,
		"character 5: the product has 39 digits behind the point");
}

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

TEST(expr_precedence, "X-1", 0)
{
	GIVES({ "2 + 3 * 4", "INT64", "14" }, { "(2 + 3) * 4", "INT64", "20" }, { "10 - 3 - 2", "INT64", "5" },
	      { "-i * 2", "INT64", "-14" }, { "- -i", "INT64", "7" }, { "NOT yes OR yes", "BOOL", "true" },
	      { "TRUE OR TRUE AND FALSE", "BOOL", "true" }, { "NOT i = 8 AND yes", "BOOL", "true" },
	      { "i = 7 IS NULL", "BOOL", "false" }, { "1 + 1 BETWEEN 2 AND 2 * 1", "BOOL", "true" },
	      { "'a' || 'b' = 'ab'", "BOOL", "true" }, { "i NOT IN (1, 2) AND i NOT BETWEEN 1 AND 2", "BOOL", "true" },
	      { "8 / 2 / 2", "INT64", "2" }, { "7 % 4 * 2", "INT64", "6" }, { "t NOT LIKE 'x%' = yes", "BOOL", "true" });
}

TEST(expr_null_logic, "X-6 X-7 X-8 X-9 X-10 X-11 X-12 X-13", 0)
{
	GIVES({ "none + 1", "INT64", "NULL" }, { "none = none", "BOOL", "NULL" }, { "NULL = NULL", "BOOL", "NULL" },
	      { "NOT none = 1", "BOOL", "NULL" }, { "none = 1 AND FALSE", "BOOL", "false" },
	      { "FALSE AND none = 1", "BOOL", "false" }, { "none = 1 AND TRUE", "BOOL", "NULL" },
	      { "none = 1 OR TRUE", "BOOL", "true" }, { "none = 1 OR FALSE", "BOOL", "NULL" },
	      { "none IS NULL", "BOOL", "true" }, { "i IS NOT NULL", "BOOL", "true" },
	      { "none IS DISTINCT FROM none", "BOOL", "false" }, { "none IS DISTINCT FROM 1", "BOOL", "true" },
	      { "i IS NOT DISTINCT FROM 7", "BOOL", "true" }, { "none = 1 IS TRUE", "BOOL", "false" },
	      { "none = 1 IS NOT FALSE", "BOOL", "true" }, { "i IN (1, NULL)", "BOOL", "NULL" },
	      { "i IN (1, NULL, 7)", "BOOL", "true" }, { "i NOT IN (1, NULL)", "BOOL", "NULL" },
	      { "none IN (1)", "BOOL", "NULL" }, { "i IN (i - 1, i)", "BOOL", "true" },
	      { "none BETWEEN 1 AND 2", "BOOL", "NULL" }, { "i BETWEEN 8 AND none", "BOOL", "false" },
	      { "i BETWEEN none AND 3", "BOOL", "false" }, { "i BETWEEN 1 AND none", "BOOL", "NULL" },
	      { "CASE WHEN none = 1 THEN 'a' ELSE 'b' END", "UTF8", "b" },
	      { "CASE i WHEN 6 THEN 'a' WHEN 7 THEN 'b' END", "UTF8", "b" },
	      { "CASE none WHEN NULL THEN 1 END", "INT64", "NULL" }, { "COALESCE(none, NULL, i)", "INT64", "7" },
	      { "COALESCE(none)", "INT64", "NULL" }, { "NULLIF(i, 7)", "INT64", "NULL" },
	      { "NULLIF(i, none)", "INT64", "7" }, { "NULLIF(none, 7)", "INT64", "NULL" },
	      { "LEAST(none, 9, i)", "INT64", "7" }, { "GREATEST(i, none)", "INT64", "7" },
	      { "LEAST(none, NULL)", "INT64", "NULL" }, { "GREATEST('a', t, 'b')", "UTF8", "b" },
	      { "CONCAT('a', NULL, t)", "UTF8", "aGrün" }, { "CONCAT(NULL)", "UTF8", "" },
	      { "'a' || NULL", "UTF8", "NULL" });
}

TEST(expr_integers, "X-14 X-15 X-16", 0)
{
	GIVES({ "small + small", "INT64", "-6" }, { "u + 1", "UINT64", "6" }, { "u - 6", "UINT64", "!overflow" },
	      { "u + i", "DECIMAL(21,0)", "12" }, { "u - i", "DECIMAL(21,0)", "-2" }, { "u / 2", "UINT64", "2" },
	      { "u / i", "DECIMAL(20,0)", "0" }, { "-u", "DECIMAL(20,0)", "-5" }, { "u * -1", "DECIMAL(21,0)", "-5" },
	      { "i / 2", "INT64", "3" }, { "-i / 2", "INT64", "-3" }, { "i % 4", "INT64", "3" }, { "-i % 4", "INT64", "-3" },
	      { "MOD(i, -4)", "INT64", "3" }, { "i / 0", "INT64", "!division by zero" },
	      { "i % 0", "INT64", "!division by zero" }, { "9223372036854775807 + 1", "INT64", "!overflow" },
	      { "-9223372036854775808 - 1", "INT64", "!overflow" },
	      { "(-9223372036854775807 - 1) / -1", "INT64", "!overflow" },
	      { "(-9223372036854775807 - 1) % -1", "INT64", "0" }, { "-(-9223372036854775807 - 1)", "INT64", "!overflow" },
	      { "ABS(-9223372036854775807 - 1)", "INT64", "!overflow" }, { "3037000500 * 3037000500", "INT64", "!overflow" },
	      { "3037000499 * 3037000499", "INT64", "9223372030926249001" }, { "small = 200", "BOOL", "false" },
	      { "u > -1", "BOOL", "true" }, { "CAST(3 AS INT8) < u", "BOOL", "true" },
	      { "COALESCE(small, 1)", "INT8", "-3" }, { "COALESCE(small, 1000)", "INT64", "-3" },
	      { "CASE WHEN yes THEN u ELSE i END", "DECIMAL(20,0)", "5" },
	      { "CASE WHEN yes THEN small ELSE CAST(1 AS UINT8) END", "INT16", "-3" },
	      { "COALESCE(CAST(1 AS UINT32), small)", "INT64", "1" });
}

TEST(expr_decimals, "X-17 X-18", 0)
{
	GIVES({ "dec", "DECIMAL(15,2)", "123.45" }, { "dec + 1", "DECIMAL(16,2)", "124.45" },
	      { "dec - 0.005", "DECIMAL(17,3)", "123.445" }, { "dec * 1.5", "DECIMAL(17,3)", "185.175" },
	      { "dec * (1 - 0.05)", "DECIMAL(18,4)", "117.2775" }, { "dec * dec", "DECIMAL(18,4)", "15239.9025" },
	      { "dec * i", "DECIMAL(34,2)", "864.15" }, { "dec % 100", "DECIMAL(15,2)", "23.45" },
	      { "-dec % 100", "DECIMAL(15,2)", "-23.45" }, { "dec / 2", "DOUBLE", "61.725" },
	      { "dec / 0", "DOUBLE", "!division by zero" }, { "-dec", "DECIMAL(15,2)", "-123.45" },
	      { "dec + x", "DOUBLE", "125.95" }, { "dec = 123.45", "BOOL", "true" }, { "dec > 123", "BOOL", "true" },
	      { "dec = 123.450000", "BOOL", "true" },
	      { "999999999999999999.0 + 1", "DECIMAL(20,1)", "1000000000000000000.0" },
	      { "CAST(999999999999999999 AS DECIMAL(18,0)) + CAST(1 AS DECIMAL(18,0))", "DECIMAL(18,0)", "!overflow" },
	      { "99999999999999999999999999999999999999 + 1", "DECIMAL(38,0)", "!overflow" },
	      { "CAST(1e10 AS DECIMAL(18,0)) * CAST(1e10 AS DECIMAL(18,0))", "DECIMAL(18,0)", "!overflow" },
	      { "ROUND(dec, 1)", "DECIMAL(15,1)", "123.5" }, { "ROUND(-dec, 1)", "DECIMAL(15,1)", "-123.5" },
	      { "ROUND(dec)", "DECIMAL(14,0)", "123" }, { "ROUND(dec, 5)", "DECIMAL(15,2)", "123.45" },
	      { "FLOOR(-dec)", "DECIMAL(14,0)", "-124" }, { "CEIL(dec)", "DECIMAL(14,0)", "124" },
	      { "ABS(-dec)", "DECIMAL(15,2)", "123.45" }, { "SIGN(-dec)", "INT64", "-1" },
	      { "LEAST(dec, 100)", "DECIMAL(15,2)", "100.00" }, { "COALESCE(dec, 0.005)", "DECIMAL(16,3)", "123.450" });
}

TEST(expr_doubles, "X-19 X-20", 0)
{
	GIVES({ "x * 2", "DOUBLE", "5" }, { "x / 0", "DOUBLE", "!division by zero" }, { "x % 2", "DOUBLE", "0.5" },
	      { "1e308 * 10", "DOUBLE", "inf" }, { "CAST('nan' AS DOUBLE) = CAST('nan' AS DOUBLE)", "BOOL", "true" },
	      { "CAST('nan' AS DOUBLE) > CAST('inf' AS DOUBLE)", "BOOL", "true" },
	      { "GREATEST(x, CAST('nan' AS DOUBLE))", "DOUBLE", "nan" }, { "0e0 = -0e0", "BOOL", "true" },
	      { "CAST(x AS FLOAT) + CAST(1 AS FLOAT)", "DOUBLE", "3.5" }, { "ROUND(x)", "DOUBLE", "3" },
	      { "ROUND(-x)", "DOUBLE", "-3" }, { "ROUND(1e0 / 3, 2)", "DOUBLE", "0.33" }, { "FLOOR(-x)", "DOUBLE", "-3" },
	      { "CEIL(-x)", "DOUBLE", "-2" }, { "SQRT(x + 3.75)", "DOUBLE", "2.5" },
	      { "SQRT(-x)", "DOUBLE", "!function's domain" }, { "POWER(x, 2)", "DOUBLE", "6.25" },
	      { "POWER(2, 0.5)", "DOUBLE", "1.4142135623730951" }, { "POWER(0, -1)", "DOUBLE", "!division by zero" },
	      { "POWER(-1, 0.5)", "DOUBLE", "!function's domain" }, { "POWER(10, 400)", "DOUBLE", "!overflow" },
	      { "SIGN(-x)", "INT64", "-1" }, { "x > i", "BOOL", "false" }, { "t < 'Grz'", "BOOL", "false" },
	      { "'a' < 'ab'", "BOOL", "true" }, { "FALSE < TRUE", "BOOL", "true" });
}

TEST(expr_casts, "X-21 X-22 X-23 X-24", 0)
{
	GIVES({ "CAST(2.5 AS INT64)", "INT64", "3" }, { "CAST(-2.5 AS INT64)", "INT64", "-3" },
	      { "CAST(-x AS INT32)", "INT32", "-3" }, { "CAST(300 AS UINT8)", "UINT8", "!overflow" },
	      { "CAST(-1 AS UINT64)", "UINT64", "!overflow" }, { "CAST(1e19 AS INT64)", "INT64", "!overflow" },
	      { "CAST(dec AS DECIMAL(5,1))", "DECIMAL(5,1)", "123.5" },
	      { "CAST(dec AS DECIMAL(4,2))", "DECIMAL(4,2)", "!overflow" },
	      { "CAST(x AS DECIMAL(5,3))", "DECIMAL(5,3)", "2.500" },
	      { "CAST('1.255' AS DECIMAL(5,2))", "DECIMAL(5,2)", "1.26" },
	      { "CAST('1.25e2' AS DECIMAL(5,2))", "DECIMAL(5,2)", "125.00" }, { "CAST(' 42 ' AS INT8)", "INT8", "42" },
	      { "CAST('4x' AS INT8)", "INT8", "!cannot be cast" }, { "CAST('128' AS INT8)", "INT8", "!overflow" },
	      { "CAST('-0' AS UINT64)", "UINT64", "0" },
	      { "CAST('18446744073709551615' AS UINT64)", "UINT64", "18446744073709551615" },
	      { "CAST('4.0' AS INT64)", "INT64", "!cannot be cast" }, { "CAST('1e3' AS DOUBLE)", "DOUBLE", "1000" },
	      { "CAST('1e400' AS DOUBLE)", "DOUBLE", "!cannot be cast" },
	      { "CAST('-Infinity' AS DOUBLE)", "DOUBLE", "-inf" }, { "CAST(1e39 AS FLOAT)", "FLOAT", "!overflow" },
	      { "CAST(0.1 AS FLOAT)", "FLOAT", "0.1" }, { "CAST('TRUE' AS BOOL)", "BOOL", "true" },
	      { "CAST('f' AS BOOL)", "BOOL", "false" }, { "CAST('yes' AS BOOL)", "BOOL", "!cannot be cast" },
	      { "CAST(5 AS BOOL)", "BOOL", "true" }, { "CAST(yes AS INT8)", "INT8", "1" },
	      { "CAST(i AS UTF8)", "UTF8", "7" }, { "CAST(-dec AS TEXT)", "UTF8", "-123.45" },
	      { "CAST(0.05 AS TEXT)", "UTF8", "0.05" }, { "CAST(1e0 / 3 AS TEXT)", "UTF8", "0.3333333333333333" },
	      { "CAST(1e100 AS TEXT)", "UTF8", "1e+100" }, { "CAST(CAST(0.1 AS FLOAT) AS TEXT)", "UTF8", "0.1" },
	      { "CAST(yes AS TEXT)", "UTF8", "true" }, { "CAST(d AS TEXT)", "UTF8", "2020-02-29" },
	      { "CAST('-0044-03-15' AS DATE)", "DATE", "-0044-03-15" },
	      { "CAST('10000-01-01' AS DATE)", "DATE", "10000-01-01" },
	      { "CAST('2021-02-29' AS DATE)", "DATE", "!cannot be cast" }, { "CAST('abc' AS FIXED(3))", "FIXED(3)", "abc" },
	      { "CAST(t AS FIXED(3))", "FIXED(3)", "!cannot be cast" },
	      { "CAST(CAST(t AS BINARY) AS UTF8)", "UTF8", "Grün" },
	      { "CAST(SUBSTRING(bin, 4) AS UTF8)", "UTF8", "!cannot be cast" },
	      { "CAST(NULL AS DECIMAL(38,3))", "DECIMAL(38,3)", "NULL" });
}

TEST(expr_text, "X-25 X-26", 0)
{
	GIVES({ "LENGTH(t)", "INT64", "4" }, { "OCTET_LENGTH(t)", "INT64", "5" }, { "LENGTH(bin)", "INT64", "5" },
	      { "UPPER(t)", "UTF8", "GRüN" }, { "LOWER(t)", "UTF8", "grün" }, { "SUBSTRING(t, 2)", "UTF8", "rün" },
	      { "SUBSTRING(t, 3, 1)", "UTF8", "ü" }, { "SUBSTRING(t FROM 0 FOR 2)", "UTF8", "G" },
	      { "SUBSTRING(t, -5)", "UTF8", "Grün" }, { "SUBSTRING(t, 9)", "UTF8", "" },
	      { "SUBSTRING(t, 1, -1)", "UTF8", "!function's domain" },
	      { "SUBSTRING(t, 2, 9223372036854775807)", "UTF8", "rün" }, { "TRIM('  a b ')", "UTF8", "a b" },
	      { "LTRIM('xxaxx', 'x')", "UTF8", "axx" }, { "RTRIM('aüü', 'ü')", "UTF8", "a" },
	      { "TRIM(LEADING 'ab' FROM 'abba-ab')", "UTF8", "-ab" }, { "TRIM(BOTH FROM ' 1')", "UTF8", "1" },
	      { "t || '!'", "UTF8", "Grün!" }, { "STARTS_WITH(t, 'Gr')", "BOOL", "true" },
	      { "POSITION('n' IN t)", "INT64", "4" }, { "POSITION('x', t)", "INT64", "0" },
	      { "POSITION('' IN t)", "INT64", "1" }, { "t LIKE 'Gr_n'", "BOOL", "true" }, { "t LIKE 'G%n'", "BOOL", "true" },
	      { "t LIKE 'g%'", "BOOL", "false" }, { "t LIKE '%'", "BOOL", "true" }, { "t LIKE '%rü%'", "BOOL", "true" },
	      { "t LIKE '____'", "BOOL", "true" }, { "t LIKE '_____'", "BOOL", "false" },
	      { "'5%' LIKE '5\\%' ESCAPE '\\'", "BOOL", "true" }, { "'5x' LIKE '5\\%' ESCAPE '\\'", "BOOL", "false" },
	      { "'a' LIKE 'aé' ESCAPE 'é'", "BOOL", "!pattern" }, { "'aXbXc' LIKE '%X%X_'", "BOOL", "true" });
}

TEST(expr_text_arguments_have_types, "X-25", 0)
{
	refused("TRIM(1)", DPI_ERR_ARGUMENT, "character 6: INT64");
	refused("t || bin", DPI_ERR_ARGUMENT, "do not go together");
	refused("bin LIKE 'a'", DPI_ERR_ARGUMENT, "stands where a value of type UTF8 must");
}

TEST(expr_dates, "X-27", 0)
{
	GIVES({ "d + 1", "DATE", "2020-03-01" }, { "1 + d", "DATE", "2020-03-01" }, { "d - 60", "DATE", "2019-12-31" },
	      { "d - DATE '2019-02-28'", "INT64", "366" }, { "d - '2020-02-28'", "INT64", "1" },
	      { "d < '2020-03-01'", "BOOL", "true" }, { "d + 3000000000", "DATE", "!overflow" },
	      { "EXTRACT(year FROM d)", "INT64", "2020" }, { "EXTRACT(quarter FROM d)", "INT64", "1" },
	      { "EXTRACT(MONTH FROM d)", "INT64", "2" }, { "EXTRACT(day FROM d)", "INT64", "29" },
	      { "EXTRACT(dow FROM d)", "INT64", "6" }, { "EXTRACT(doy FROM d)", "INT64", "60" },
	      { "DATE_TRUNC('year', d)", "DATE", "2020-01-01" }, { "DATE_TRUNC('quarter', d)", "DATE", "2020-01-01" },
	      { "DATE_TRUNC('month', d)", "DATE", "2020-02-01" }, { "DATE_TRUNC('week', d)", "DATE", "2020-02-24" },
	      { "DATE_TRUNC('day', d)", "DATE", "2020-02-29" }, { "DATE_ADD('month', 12, d)", "DATE", "2021-02-28" },
	      { "DATE_ADD('month', -1, DATE '2020-03-31')", "DATE", "2020-02-29" },
	      { "DATE_ADD('year', 4, d)", "DATE", "2024-02-29" }, { "DATE_ADD('quarter', 1, d)", "DATE", "2020-05-29" },
	      { "DATE_ADD('week', 2, d)", "DATE", "2020-03-14" }, { "DATE_ADD('day', -29, d)", "DATE", "2020-01-31" },
	      { "DATE_ADD('month', 9223372036854775807, d)", "DATE", "!overflow" },
	      { "EXTRACT(dow FROM DATE '1969-12-31')", "INT64", "3" });
	refused("d * 2", DPI_ERR_ARGUMENT, "character 3: a date goes with + and - days");
}

TEST(expr_rows_not_selected_have_no_errors, "X-29", 0)
{
	GIVES({ "CASE WHEN i = 0 THEN 1 / (i - 7) ELSE 5 END", "INT64", "5" },
	      { "i = 0 AND 1 / (i - 7) = 1", "BOOL", "false" }, { "i = 7 OR 1 / (i - 7) = 1", "BOOL", "true" },
	      { "COALESCE(i, 1 / (i - 7))", "INT64", "7" }, { "i IN (7, 1 / (i - 7))", "BOOL", "true" },
	      { "i BETWEEN 8 AND 1 / (i - 7)", "BOOL", "false" },
	      { "CASE i WHEN 7 THEN 1 WHEN 1 / (i - 7) THEN 2 END", "INT64", "1" },
	      { "CASE WHEN none = 1 THEN 1 / (i - 7) END", "INT64", "NULL" },
	      { "i = 7 AND 1 / (i - 7) = 1", "BOOL", "!division by zero" },
	      { "none = 1 AND 1 / (i - 7) = 1", "BOOL", "!division by zero" },
	      { "CASE WHEN i = 7 THEN CASE WHEN i = 8 THEN 1 / (i - 7) ELSE 3 END END", "INT64", "3" });
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
