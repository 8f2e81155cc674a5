/* SPDX-License-Identifier: Apache-2.0
 * expr_random_test.c: random expressions over random rows: programs that were serialised, checked and loaded, against the
 * interpreter of expr_reference.h, with each way to treat errors. TEST_SEED and TEST_ROUNDS vary it. */
#include <stdarg.h>

#include "expr_kit.h"
#include "expr_reference.h"

/* --------------------------------------------------------------------------------------------- random expressions */

enum want { A_BOOL, AN_INTEGER, A_DECIMAL, A_REAL, A_TEXT, SOME_BYTES, A_DATE, WANTS };

struct writer {
	struct draws *d;
	char text[20000];
	size_t size;
};

static void any(struct writer *w, int want, int depth);

static void put(struct writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct writer *w, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	w->size += (size_t)vsnprintf(w->text + w->size, sizeof w->text - w->size, format, args);
	va_end(args);
	if (w->size >= sizeof w->text) FAIL("the expression is too long");
}

/* A pattern: words are written as they are; $b $i $m $r $t $y $d: a value of that kind; $n: of any, but each the same. */
static void pattern(struct writer *w, const char *p, int depth)
{
	static const char letter[] = "bimrtyd";
	int same = -1;
	for (; *p; p++) {
		if (*p != '$') {
			put(w, "%c", *p);
			continue;
		}
		const char *k = strchr(letter, *++p);
		if (k) any(w, (int)(k - letter), depth - 1);
		else {
			if (same < 0) same = (int)draw_below(w->d, WANTS);
			any(w, same, depth - 1);
		}
	}
}

static void leaf(struct writer *w, int want)
{
	static const char *const named[WANTS][9] = {
		{ "b", "b", "TRUE", "FALSE", "CAST(NULL AS BOOL)", NULL },
		{ "i8", "i16", "i32", "i64", "j64", "u8", "u16", "u32", "u64" },
		{ "dec", "rate", "wide", "huge", "slim", "dec", "rate", "1.5", "-0.01" },
		{ "f32", "f64", "f64", "1e0", "-2.5e-1", "CAST(1 AS DOUBLE)", NULL },
		{ "txt", "txt", "\"Word\"", "word", "'a'", "'%b_'", "''", "'é€'", "'12'" },
		{ "bin", "bin", "fix", "CAST('ab' AS BINARY)", NULL },
		{ "d", "d", "DATE '2020-02-29'", "DATE '1969-12-31'", NULL },
	};
	static const char *const number[] = { "0",
					      "1",
					      "-1",
					      "2",
					      "10",
					      "100",
					      "255",
					      "-128",
					      "2147483648",
					      "9223372036854775807",
					      "18446744073709551615",
					      "NULL" };
	if (want == AN_INTEGER && draw_below(w->d, 3) == 0) {
		put(w, "%s", number[draw_below(w->d, sizeof number / sizeof *number)]);
		return;
	}
	if (want == A_DECIMAL && draw_below(w->d, 6) == 0) {
		put(w, "%d.%02d", (int)draw_below(w->d, 1000), (int)draw_below(w->d, 100));
		return;
	}
	int n = 0;
	while (n < 9 && named[want][n]) n++;
	put(w, "%s", named[want][draw_below(w->d, (uint64_t)n)]);
}

static void any(struct writer *w, int want, int depth)
{
	static const char *const form[WANTS][34] = {
		{ "($i < $i)",
		  "($i >= $i)",
		  "($i = $m)",
		  "($m <= $m)",
		  "($r > $r)",
		  "($i <> $r)",
		  "($t < $t)",
		  "($t = $t)",
		  "($d >= $d)",
		  "($y = $y)",
		  "($b AND $b)",
		  "($b OR $b)",
		  "(NOT $b)",
		  "($n IS NULL)",
		  "($n IS NOT NULL)",
		  "($n IS DISTINCT FROM $n)",
		  "($n IS NOT DISTINCT FROM $n)",
		  "($n BETWEEN $n AND $n)",
		  "($n NOT BETWEEN $n AND $n)",
		  "($n IN ($n, $n, $n))",
		  "($n NOT IN ($n, $n))",
		  "($t LIKE '%%a%%')",
		  "($t LIKE $t)",
		  "($t NOT LIKE 'a_%' )",
		  "($t LIKE $t ESCAPE '\\')",
		  "STARTS_WITH($t, $t)",
		  "CASE WHEN $b THEN $b WHEN $b THEN $b ELSE $b END",
		  "COALESCE($b, $b)",
		  "($b IS TRUE)",
		  "CAST($i AS BOOL)",
		  "($n = $n)",
		  "(i64 IN (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, -1, -2, -3, -4, -5, -6, -7, 127))",
		  "CAST($t AS BOOL)",
		  "CASE $n WHEN $n THEN $b WHEN $n THEN $b END" },
		{ "($i + $i)",
		  "($i - $i)",
		  "($i * $i)",
		  "($i / $i)",
		  "($i % $i)",
		  "(- $i)",
		  "ABS($i)",
		  "SIGN($n)",
		  "SIGN($m)",
		  "LENGTH($t)",
		  "OCTET_LENGTH($t)",
		  "OCTET_LENGTH($y)",
		  "POSITION($t IN $t)",
		  "EXTRACT(year FROM $d)",
		  "EXTRACT(doy FROM $d)",
		  "EXTRACT(dow FROM $d)",
		  "EXTRACT(quarter FROM $d)",
		  "EXTRACT(day FROM $d)",
		  "($d - $d)",
		  "CAST($i AS INT8)",
		  "CAST($m AS INT64)",
		  "CAST($r AS INT32)",
		  "CAST($t AS INT64)",
		  "CAST($i AS UINT64)",
		  "CASE WHEN $b THEN $i ELSE $i END",
		  "COALESCE($i, $i)",
		  "NULLIF($i, $i)",
		  "LEAST($i, $i)",
		  "GREATEST($i, $i, $i)",
		  "CAST($b AS INT16)",
		  "CAST($r AS UINT64)",
		  "CAST($t AS UINT8)",
		  "COALESCE(i64 / j64, 0)",
		  "CAST($i AS UINT32)" },
		{ "($m + $m)",
		  "($m - $m)",
		  "($m * $m)",
		  "($m % $m)",
		  "($m + $i)",
		  "($i * $m)",
		  "(- $m)",
		  "ABS($m)",
		  "ROUND($m, 1)",
		  "ROUND($m)",
		  "FLOOR($m)",
		  "CEIL($m)",
		  "CAST($i AS DECIMAL(15,2))",
		  "CAST($m AS DECIMAL(9,3))",
		  "CAST($m AS DECIMAL(38,10))",
		  "CAST($r AS DECIMAL(18,4))",
		  "CAST($t AS DECIMAL(20,2))",
		  "CASE WHEN $b THEN $m WHEN $b THEN $m END",
		  "COALESCE($m, $m)",
		  "NULLIF($m, $m)",
		  "LEAST($m, $m)",
		  "(dec * (1 - rate))",
		  "(dec * (1 - rate) * (1 + rate))",
		  "CAST($m AS DECIMAL(4,0))",
		  "($m - $i)",
		  "CAST($r AS DECIMAL(38,2))",
		  "GREATEST($m, $i)",
		  "CAST(u64 AS DECIMAL(20,0))",
		  NULL },
		{ "($r + $r)",
		  "($r - $r)",
		  "($r * $r)",
		  "($r / $r)",
		  "($r % $r)",
		  "($m / $m)",
		  "($m / $i)",
		  "(- $r)",
		  "ABS($r)",
		  "SQRT($r)",
		  "SQRT(ABS($r))",
		  "POWER($r, $r)",
		  "ROUND($r)",
		  "ROUND($r, 2)",
		  "FLOOR($r)",
		  "CEIL($r)",
		  "CAST($i AS DOUBLE)",
		  "CAST($m AS FLOAT)",
		  "CAST($r AS FLOAT)",
		  "CAST($t AS DOUBLE)",
		  "CASE WHEN $b THEN $r ELSE $i END",
		  "COALESCE($r, $r)",
		  "LEAST($r, $r)",
		  "GREATEST($r, $m)",
		  "($r + $m)",
		  "MOD($r, $i)",
		  NULL },
		{ "($t || $t)",
		  "CONCAT($t, $t, $t)",
		  "LOWER($t)",
		  "UPPER($t)",
		  "SUBSTRING($t, $i)",
		  "SUBSTRING($t, 2, 3)",
		  "SUBSTRING($t FROM $i FOR $i)",
		  "TRIM($t)",
		  "LTRIM($t, 'ab')",
		  "RTRIM($t, $t)",
		  "TRIM(BOTH 'a' FROM $t)",
		  "CAST($i AS UTF8)",
		  "CAST($m AS TEXT)",
		  "CAST($b AS UTF8)",
		  "CAST($d AS UTF8)",
		  "CAST($y AS UTF8)",
		  "CASE WHEN $b THEN $t ELSE $t END",
		  "COALESCE($t, $t)",
		  "NULLIF($t, $t)",
		  "LEAST($t, $t)",
		  "GREATEST($t, $t)",
		  "CAST($r AS UTF8)",
		  "TRIM(LEADING $t FROM $t)",
		  NULL },
		{ "($y || $y)", "SUBSTRING($y, $i, 2)", "CAST($t AS BINARY)", "CAST($t AS FIXED(2))",
		  "CASE WHEN $b THEN $y ELSE $y END", "COALESCE($y, $y)", "CAST($y AS FIXED(4))", NULL },
		{ "($d + $i)", "($d - $i)", "($i + $d)", "DATE_TRUNC('month', $d)", "DATE_TRUNC('week', $d)",
		  "DATE_TRUNC('quarter', $d)", "DATE_TRUNC('year', $d)", "DATE_ADD('month', $i, $d)",
		  "DATE_ADD('year', j64, $d)", "DATE_ADD('week', j64, $d)", "DATE_ADD('day', $i, $d)", "CAST($t AS DATE)",
		  "CASE WHEN $b THEN $d END", "COALESCE($d, $d)", "LEAST($d, $d)", NULL },
	};
	if (depth <= 0 || w->size > 15000 || draw_below(w->d, 8) == 0) {
		leaf(w, want);
		return;
	}
	int n = 0;
	while (n < 34 && form[want][n]) n++;
	pattern(w, form[want][draw_below(w->d, (uint64_t)n)], depth);
}

/* ------------------------------------------------------------------------------------------------------ comparison */

static bool same_value(const struct dpi_expr_type *t, struct value a, struct value b)
{
	if (a.null || b.null) return a.null == b.null;
	if (dpi_type_is_real(t->type)) return a.real == b.real || (a.real != a.real && b.real != b.real);
	if (dpi_type_is_text(t->type)) return a.size == b.size && !memcmp(a.text, b.text, a.size);
	return a.number == b.number;
}

static void tell(const struct dpi_expr_type *t, struct value v, char *out)
{
	if (v.null) strcpy(out, "NULL");
	else if (dpi_type_is_real(t->type)) sprintf(out, "%.17g", v.real);
	else if (dpi_type_is_text(t->type)) sprintf(out, "'%.*s'", v.size > 100 ? 100 : (int)v.size, v.text);
	else out[dpi_print_decimal(v.number, t->scale, out)] = 0;
}

static void check_row(const char *text, const struct dpi_expr_type *t, const struct dpi_vector *v, size_t row,
		      struct value expected)
{
	struct dpi_batch batch = { 0, 1, v };
	struct value got = ref_column(&batch, 0, row);
	char a[200], b[200];
	if (same_value(t, got, expected)) return;
	tell(t, got, a), tell(t, expected, b);
	FAIL("%s: row %zu is %s, not %s", text, row, a, b);
}

struct known {
	struct dpi_tree tree;
	struct value *value; /* of each row */
	bool *bad;
	char *text; /* what values point to */
};

static void know(struct known *k, const char *text, const struct table *t)
{
	static struct reference r;
	*k = (struct known){ .tree = { .column = columns, .columns = COLS } };
	CHECK_DPI(dpi_expr_parse(&k->tree, text, strlen(text)));
	CHECK_DPI(dpi_expr_check(&k->tree));
	k->value = calloc(t->rows + 1, sizeof *k->value);
	k->bad = calloc(t->rows + 1, 1);
	size_t used = 0;
	bool bytes = dpi_type_is_text(k->tree.root->type.type);
	for (size_t i = 0; i < t->rows; i++) {
		r.batch = &t->batch, r.row = i, r.bad = false, r.used = 0;
		struct value v = ref_eval(&r, k->tree.root);
		k->bad[i] = r.bad;
		if (bytes && !v.null) {
			k->text = realloc(k->text, used + v.size + 1);
			memcpy(k->text + used, v.text, v.size);
			v.number = (dpi_i128)used; /* until the text stays where it is */
			used += v.size;
		}
		k->value[i] = v;
	}
	for (size_t i = 0; bytes && i < t->rows; i++) k->value[i].text = k->text + k->value[i].number;
}

static void forget(struct known *k)
{
	dpi_tree_free(&k->tree);
	free(k->value);
	free(k->bad);
	free(k->text);
}

static struct dpi_expr_state *state_of(const struct dpi_expr *e, enum dpi_expr_on_error on_error)
{
	struct dpi_expr_state *s;
	CHECK_DPI(dpi_expr_state_new(&e, 1, on_error, &s));
	return s;
}

static void check_null(const char *text, const struct dpi_expr *e, const struct table *t, const struct known *k)
{
	struct dpi_expr_state *s = state_of(e, DPI_EXPR_NULL);
	struct dpi_vector out;
	for (int twice = 0; twice < 2; twice++) {
		CHECK_DPI(dpi_expr_project(s, &t->batch, NULL, &out));
		for (size_t i = 0; i < t->rows; i++) check_row(text, dpi_expr_result(e), &out, i, k->value[i]);
	}
	if (!dpi_expr_result(e)->nullable)
		for (size_t i = 0; i < t->rows; i++) CHECK(!dpi_is_null(&out, i));
	dpi_expr_state_free(s);
}

static void check_fail(const char *text, const struct dpi_expr *e, const struct table *t, const struct known *k)
{
	struct dpi_expr_state *s = state_of(e, DPI_EXPR_FAIL);
	struct dpi_vector out;
	size_t first = 0;
	char row[40];
	while (first < t->rows && !k->bad[first]) first++;
	snprintf(row, sizeof row, "row %zu, character ", first);
	int error = dpi_expr_project(s, &t->batch, NULL, &out);
	if (first == t->rows) {
		if (error) FAIL("%s: %s", text, dpi_detail());
	} else if (error != DPI_ERR_RANGE || strncmp(dpi_detail(), row, strlen(row)))
		FAIL("%s: not an error of %s: %s", text, row, error ? dpi_detail() : "none");
	dpi_expr_state_free(s);
}

static void check_drop(const char *text, const struct dpi_expr *e, const struct table *t, const struct known *k,
		       struct draws *d)
{
	struct dpi_expr_state *s = state_of(e, DPI_EXPR_DROP);
	struct dpi_vector out;
	uint8_t *select = calloc(t->rows / 8 + 1, 1), *before = calloc(t->rows / 8 + 1, 1);
	uint64_t dropped = 0;
	for (size_t i = 0; i < t->rows; i++) set_bit(select, i, draw_below(d, 4));
	memcpy(before, select, t->rows / 8 + 1);
	CHECK_DPI(dpi_expr_project(s, &t->batch, select, &out));
	for (size_t i = 0; i < t->rows; i++) {
		bool chosen = dpi_bit(before, i), kept = dpi_bit(select, i);
		if (kept != (chosen && !k->bad[i])) FAIL("%s: row %zu is %s", text, i, kept ? "kept" : "dropped");
		if (kept) check_row(text, dpi_expr_result(e), &out, i, k->value[i]);
		dropped += chosen && !kept;
	}
	CHECK_INT(dpi_expr_state_dropped(s), ==, dropped);
	free(select);
	free(before);
	dpi_expr_state_free(s);
}

static void check_filter(const char *text, const struct dpi_expr *e, const struct table *t, const struct known *k,
			 struct draws *d)
{
	for (int mode = DPI_EXPR_NULL; mode <= DPI_EXPR_DROP; mode++) {
		struct dpi_expr_state *s = state_of(e, (enum dpi_expr_on_error)mode);
		uint8_t *among = calloc(t->rows / 8 + 1, 1), *select = malloc(t->rows / 8 + 1);
		bool all = draw(d) & 1;
		size_t count, expected = 0;
		for (size_t i = 0; i < t->rows; i++) set_bit(among, i, all || draw_below(d, 2));
		CHECK_DPI(dpi_expr_filter(s, &t->batch, all ? NULL : among, select, &count));
		for (size_t i = 0; i < t->rows; i++) {
			bool yes = dpi_bit(among, i) && !k->value[i].null && k->value[i].number &&
				   !(mode == DPI_EXPR_DROP && k->bad[i]);
			if (dpi_bit(select, i) != yes) FAIL("%s: row %zu is %schosen", text, i, yes ? "not " : "");
			expected += yes;
		}
		for (size_t i = t->rows; i % 8; i++) CHECK(!dpi_bit(select, i));
		CHECK_INT(count, ==, expected);
		free(among);
		free(select);
		dpi_expr_state_free(s);
	}
}

static int limits, compiled;

static void one_expression(const char *text, const struct table *t, struct draws *d)
{
	struct dpi_expr *e;
	struct known k;
	if (compile(text, &e)) { /* a rule of types: it says where */
		if (strncmp(dpi_detail(), "character ", 10)) FAIL("%s: %s", text, dpi_detail());
		limits++;
		return;
	}
	compiled++;
	know(&k, text, t);
	CHECK(dpi_type_same(dpi_expr_result(e), &k.tree.root->type));
	check_null(text, e, t, &k);
	check_fail(text, e, t, &k);
	check_drop(text, e, t, &k, d);
	if (dpi_expr_result(e)->type == DPI_TYPE_BOOL) check_filter(text, e, t, &k, d);
	forget(&k);
	dpi_expr_free(e);
}

static void many(int want, int times)
{
	struct draws d = draws_from(want);
	static struct writer w;
	for (int i = 0; i < rounds(times); i++) {
		struct table t;
		static const size_t sizes[] = { 0, 1, 63, 64, 65, 200, 1024, 1025, 2100 };
		table_make(&t, sizes[draw_below(&d, i % 16 ? 6 : 9)], &d);
		for (int k = 0; k < 8; k++) {
			w = (struct writer){ .d = &d };
			any(&w, want, 1 + (int)draw_below(&d, 4));
			if (getenv("TEST_SHOW")) printf("%s\n", w.text), fflush(stdout);
			one_expression(w.text, &t, &d);
		}
		table_free(&t);
	}
	printf("%d expressions, %d refused\n", compiled, limits);
	CHECK(compiled > limits);
}

TEST(expr_random_bool, "X-28 X-30 X-31 X-32 X-33", 0, .deadline_s = 180)
{
	many(A_BOOL, 160);
}
TEST(expr_random_integer, "", 0, .deadline_s = 180)
{
	many(AN_INTEGER, 160);
}
TEST(expr_random_decimal, "", 0, .deadline_s = 180)
{
	many(A_DECIMAL, 160);
}
TEST(expr_random_real, "", 0, .deadline_s = 180)
{
	many(A_REAL, 120);
}
TEST(expr_random_text, "", 0, .deadline_s = 180)
{
	many(A_TEXT, 120);
}
TEST(expr_random_bytes, "", 0, .deadline_s = 180)
{
	many(SOME_BYTES, 60);
}
TEST(expr_random_date, "", 0, .deadline_s = 180)
{
	many(A_DATE, 120);
}
