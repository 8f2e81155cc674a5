/* SPDX-License-Identifier: Apache-2.0
 * expr_peer_test.c: the same expressions by SQLite, on what both have with the same rules, and by DuckDB, for decimals and
 * dates. SQLite is loaded if it is there; DuckDB if TEST_DUCKDB names its library, as it does in `make check` if `make peers`
 * could fetch it. Without them the cases are skipped.
 *
 * SQLite's subset: INT64 without overflow (there it becomes a real number); + - * / % and division by zero as NULL;
 * comparisons, AND, OR, NOT, IS NULL, IS DISTINCT FROM, IN, BETWEEN, CASE, COALESCE, NULLIF; LIKE, which is told to heed
 * case; ||, LENGTH, UPPER, LOWER, TRIM with a set, SUBSTRING from 1 on, CAST of integers to text.
 *
 * DuckDB's: every operation and function of decimals and dates. Decimals meet where a common type has at most 38 digits; where
 * none has, it drops digits and X-14 says DOUBLE. */
#include <dlfcn.h>

#include "expr_kit.h"
#include "flows/expr/convert.h"

#define PEER_ROWS 300

struct peer_table {
	int64_t i[PEER_ROWS], j[PEER_ROWS], dec[PEER_ROWS], rate[PEER_ROWS];
	dpi_i128 wide[PEER_ROWS];
	int32_t d[PEER_ROWS], e[PEER_ROWS], s_at[PEER_ROWS + 1], w_at[PEER_ROWS + 1];
	char s[PEER_ROWS * 40], w[PEER_ROWS * 40];
	uint8_t valid[PEER_ROWS / 8 + 1];
};

static const struct dpi_expr_column peer_columns[] = {
	{ "i", DPI_TYPE_INT64, true, 0, 0, 0 },		 { "j", DPI_TYPE_INT64, false, 0, 0, 0 },
	{ "s", DPI_TYPE_UTF8, true, 0, 0, 0 },		 { "w", DPI_TYPE_UTF8, false, 0, 0, 0 },
	{ "dec", DPI_TYPE_DECIMAL64, true, 0, 15, 2 },	 { "rate", DPI_TYPE_DECIMAL64, false, 0, 4, 3 },
	{ "wide", DPI_TYPE_DECIMAL128, true, 0, 30, 6 }, { "d", DPI_TYPE_DATE32, true, 0, 0, 0 },
	{ "e", DPI_TYPE_DATE32, false, 0, 0, 0 },
};
#define PEER_COLUMNS 9

static void peer_fill(struct peer_table *t, struct dpi_vector *v, struct draws *d)
{
	char text[64];
	*t = (struct peer_table){ .valid = { 0 } };
	for (int r = 0; r < PEER_ROWS; r++) {
		set_bit(t->valid, (size_t)r, draw_below(d, 6));
		t->i[r] = (int64_t)draw_below(d, 2001) - 1000, t->j[r] = (int64_t)draw_below(d, 21) - 10;
		t->dec[r] = (int64_t)draw_below(d, 20000000) - 10000000, t->rate[r] = (int64_t)draw_below(d, 2000) - 1000;
		t->wide[r] = (dpi_i128)draw(d) * (draw(d) & 1 ? 1 : -1);
		t->d[r] = draw_below(d, 4) ? (int32_t)draw_below(d, 60000) - 20000 : (int32_t)draw_below(d, 4000000) - 2000000;
		t->e[r] = (int32_t)draw_below(d, 30000);
		for (int k = 0; k < 2; k++) {
			size_t n = draw_text(d, text, k);
			for (size_t c = 0; c < n; c++)
				if (text[c] == '\'') text[c] = 'q';
			if (n > 39) n = 0;
			int32_t *at = k ? t->w_at : t->s_at;
			memcpy((k ? t->w : t->s) + at[r], text, n);
			at[r + 1] = at[r] + (int32_t)n;
		}
	}
	const void *data[PEER_COLUMNS] = { t->i, t->j, t->s, t->w, t->dec, t->rate, t->wide, t->d, t->e };
	for (int c = 0; c < PEER_COLUMNS; c++)
		v[c] = (struct dpi_vector){ .type = peer_columns[c].type,
					    .scale = peer_columns[c].scale,
					    .data = data[c],
					    .width = (uint32_t)dpi_kind_width(dpi_type_kind(peer_columns[c].type)),
					    .valid = peer_columns[c].nullable ? t->valid : NULL };
	v[2].width = v[3].width = 0;
	v[2].offset = t->s_at, v[3].offset = t->w_at;
}

/* A value of a result as the peers write it. */
static size_t written(const struct dpi_expr_type *t, const struct dpi_vector *v, size_t i, char *out)
{
	dpi_i128 wide;
	if (dpi_is_null(v, i)) return (size_t)sprintf(out, "NULL");
	switch (t->type) {
	case DPI_TYPE_BOOL: return (size_t)sprintf(out, "%d", dpi_bit(v->data, i));
	case DPI_TYPE_INT64:
	case DPI_TYPE_DECIMAL64: wide = ((const int64_t *)v->data)[i]; break;
	case DPI_TYPE_DECIMAL128: memcpy(&wide, (const uint8_t *)v->data + 16 * i, 16); break;
	case DPI_TYPE_DATE32: return dpi_print_date(((const int32_t *)v->data)[i], out);
	default:
		memcpy(out, (const char *)v->data + v->offset[i], (size_t)(v->offset[i + 1] - v->offset[i]));
		return (size_t)(v->offset[i + 1] - v->offset[i]);
	}
	return dpi_print_decimal(wide, t->scale, out);
}

/* ----------------------------------------------------------------------------------------- random expressions */

struct grammar {
	const char *letters;	    /* of the kinds of values */
	const char *const *form[8]; /* of each kind; the first ones are leaves */
	int leaves[8];
};

static void grow(const struct grammar *g, struct draws *d, int kind, int depth, char *out)
{
	int forms = 0;
	while (g->form[kind][forms]) forms++;
	const char *p = g->form[kind][draw_below(d, (uint64_t)(depth ? forms : g->leaves[kind]))];
	for (size_t n = strlen(out); *p; p++, n = strlen(out)) {
		if (*p != '$') out[n] = *p, out[n + 1] = 0;
		else p++, grow(g, d, (int)(strchr(g->letters, *p) - g->letters), depth ? depth - 1 : 0, out);
	}
}

struct answers {
	const struct dpi_expr_type *type;
	const struct dpi_vector *vector;
	const char *text;
	size_t row;
};

/* DuckDB counts years before the first; the standard, and we, have a year 0. */
static const char *dated(const char *value, char *out)
{
	int year;
	const char *rest = strchr(value, '-');
	if (!rest || !strstr(rest, " (BC)") || sscanf(value, "%d", &year) != 1) return value;
	sprintf(out, year > 1 ? "-%04d%.6s" : "%04d%.6s", year - 1, rest);
	return out;
}

static void same(struct answers *a, const char *value)
{
	char mine[2000], date[64];
	mine[written(a->type, a->vector, a->row, mine)] = 0;
	if (!value) value = "NULL";
	if (a->type->type == DPI_TYPE_DATE32) value = dated(value, date);
	if (a->type->type == DPI_TYPE_BOOL && strlen(value) > 3) value = *value == 't' ? "1" : *value == 'f' ? "0" : value;
	if (strcmp(mine, value)) FAIL("%s: row %zu is %s, of the peer %s", a->text, a->row, mine, value);
	a->row++;
}

/* Evaluate in the mode NULL; false: a rule of types refuses it. */
static bool mine(const char *text, const struct dpi_batch *batch, struct dpi_expr **e, struct dpi_expr_state **s,
		 struct dpi_vector *v)
{
	if (dpi_expr_compile(text, strlen(text), peer_columns, PEER_COLUMNS, e)) return false;
	CHECK_DPI(dpi_expr_state_new((const struct dpi_expr *const *)e, 1, DPI_EXPR_NULL, s));
	CHECK_DPI(dpi_expr_project(*s, batch, NULL, v));
	return true;
}

/* ------------------------------------------------------------------------------------------------------- SQLite */

static const char *const lite_bool[] = { "(i < j)",
					 "(s = w)",
					 "($i = $i)",
					 "($i >= $i)",
					 "($t < $t)",
					 "($t <> $t)",
					 "($b AND $b)",
					 "($b OR $b)",
					 "(NOT $b)",
					 "($i IS NULL)",
					 "($t IS NOT NULL)",
					 "($i IS DISTINCT FROM $i)",
					 "($i IN ($i, $i, 3))",
					 "($t NOT IN ($t, 'a', NULL))",
					 "($i BETWEEN $i AND $i)",
					 "($t LIKE '%a_%')",
					 "($t LIKE $t)",
					 "($t LIKE 'x\\%' ESCAPE '\\')",
					 "CASE WHEN $b THEN $b ELSE $b END",
					 "COALESCE($b, $b)",
					 NULL };
static const char *const lite_integer[] = { "i",
					    "j",
					    "7",
					    "-3",
					    "(0 - j)",
					    "($i + $i)",
					    "($i - $i)",
					    "(i * $i)",
					    "($i / $i)",
					    "($i % $i)",
					    "(- $i)",
					    "ABS($i)",
					    "LENGTH($t)",
					    "CASE WHEN $b THEN $i ELSE $i END",
					    "CASE $i WHEN $i THEN $i END",
					    "COALESCE($i, $i)",
					    "NULLIF($i, $i)",
					    NULL };
static const char *const lite_text[] = { "s",
					 "w",
					 "'ab'",
					 "''",
					 "'é€'",
					 "($t || $t)",
					 "UPPER($t)",
					 "LOWER($t)",
					 "TRIM($t, 'a')",
					 "LTRIM($t, $t)",
					 "RTRIM($t, 'bé')",
					 "SUBSTRING($t, 2, 3)",
					 "SUBSTRING($t, 3)",
					 "CAST($i AS TEXT)",
					 "CASE WHEN $b THEN $t ELSE $t END",
					 "COALESCE($t, $t)",
					 "NULLIF($t, $t)",
					 NULL };
static const struct grammar lite = { "bit", { lite_bool, lite_integer, lite_text }, { 2, 5, 5 } };

static int lite_row(void *answers, int columns_there, char **value, char **name)
{
	(void)columns_there, (void)name;
	same(answers, value[0]);
	return 0;
}

TEST(expr_same_as_sqlite, "", 0, .deadline_s = 180)
{
	void *library = dlopen("libsqlite3.so.0", RTLD_NOW), *db;
	int (*open)(const char *, void **), (*close)(void *);
	int (*exec)(void *, const char *, int (*)(void *, int, char **, char **), void *, char **);
	if (!library) SKIP("no SQLite (package libsqlite3-0)");
	*(void **)&open = dlsym(library, "sqlite3_open"), *(void **)&close = dlsym(library, "sqlite3_close");
	*(void **)&exec = dlsym(library, "sqlite3_exec");
	if (!open || !close || !exec || open(":memory:", &db)) SKIP("SQLite does not open");
	static struct peer_table t;
	static char sql[40000];
	struct dpi_vector vectors[PEER_COLUMNS], v;
	struct draws d = draws_from(1);
	int compared = 0;
	peer_fill(&t, vectors, &d);
	const struct dpi_batch batch = { PEER_ROWS, PEER_COLUMNS, vectors };
	if (exec(db, "PRAGMA case_sensitive_like = 1; CREATE TABLE t (r INTEGER, i INTEGER, j INTEGER, s TEXT, w TEXT)",
		 NULL, NULL, NULL) ||
	    exec(db, "SELECT 1 IS DISTINCT FROM 2", NULL, NULL, NULL))
		SKIP("this SQLite is older than 3.39");
	for (int r = 0; r < PEER_ROWS; r++) {
		char i[32] = "NULL", s[64] = "NULL";
		if (dpi_bit(t.valid, (size_t)r)) {
			sprintf(i, "%" PRId64, t.i[r]);
			sprintf(s, "'%.*s'", t.s_at[r + 1] - t.s_at[r], t.s + t.s_at[r]);
		}
		sprintf(sql, "INSERT INTO t VALUES (%d, %s, %" PRId64 ", %s, '%.*s')", r, i, t.j[r], s,
			t.w_at[r + 1] - t.w_at[r], t.w + t.w_at[r]);
		CHECK(!exec(db, sql, NULL, NULL, NULL));
	}
	for (int n = 0; n < rounds(800); n++) {
		static char text[20000];
		struct dpi_expr *e;
		struct dpi_expr_state *s;
		*text = 0;
		grow(&lite, &d, n % 3, 1 + (int)draw_below(&d, 3), text);
		if (!mine(text, &batch, &e, &s, &v)) FAIL("%s: %s", text, dpi_detail());
		struct answers a = { dpi_expr_result(e), &v, text, 0 };
		snprintf(sql, sizeof sql, "SELECT %s FROM t ORDER BY r", text);
		char *why = NULL;
		if (exec(db, sql, lite_row, &a, &why)) FAIL("%s: SQLite: %s", text, why);
		CHECK_INT(a.row, ==, PEER_ROWS);
		compared++;
		dpi_expr_state_free(s);
		dpi_expr_free(e);
	}
	printf("%d expressions\n", compared);
	close(db);
}

/* ------------------------------------------------------------------------------------------------------- DuckDB */

static const char *const duck_decimal[] = { "dec",
					    "rate",
					    "1.25",
					    "0.5",
					    "(dec * (1 - rate))",
					    "($m + rate)",
					    "(dec + $m)",
					    "($m - dec)",
					    "(dec * rate)",
					    "(- $m)",
					    "ABS($m)",
					    "ROUND($m, 1)",
					    "ROUND($m)",
					    "FLOOR($m)",
					    "CEIL($m)",
					    "($m % rate)",
					    "MOD(wide, $m)",
					    "(wide + $m)",
					    "(wide * rate)",
					    "(dec * 7)",
					    "(1 - $m)",
					    "NULLIF($m, $m)",
					    "GREATEST(dec, wide)",
					    "CAST($i AS DECIMAL(12,4))",
					    "CAST(CAST($m AS TEXT) AS DECIMAL(30,4))",
					    "CAST($m AS DECIMAL(28,1))",
					    "CAST($m AS DECIMAL(18,2))",
					    "CASE WHEN $b THEN $m ELSE dec END",
					    "COALESCE($m, rate)",
					    "LEAST(dec, rate)",
					    "CAST(wide AS DECIMAL(30,3))",
					    "CAST(wide AS DECIMAL(18,6))",
					    "CAST(dec AS DECIMAL(6,2))",
					    NULL };
static const char *const duck_date[] = { "d",
					 "e",
					 "DATE '2020-02-29'",
					 "($d + 31)",
					 "($d - 400)",
					 "CASE WHEN $b THEN $d ELSE $d END",
					 "COALESCE($d, $d)",
					 "LEAST(d, e)",
					 "CAST(DATE_TRUNC('month', $d) AS DATE)",
					 "CAST(DATE_TRUNC('week', $d) AS DATE)",
					 "CAST(DATE_TRUNC('quarter', $d) AS DATE)",
					 "CAST(DATE_TRUNC('year', $d) AS DATE)",
					 "CAST(DATE_TRUNC('day', $d) AS DATE)",
					 "DATE_ADD('year', j, $d)",
					 "DATE_ADD('quarter', 3, $d)",
					 "DATE_ADD('month', $i, $d)",
					 "DATE_ADD('month', 1, $d)",
					 "DATE_ADD('week', j, $d)",
					 "DATE_ADD('day', -1000, $d)",
					 "CAST(CAST($d AS TEXT) AS DATE)",
					 "NULLIF($d, $d)",
					 "GREATEST($d, d)",
					 NULL };
static const char *const duck_integer[] = { "j",
					    "7",
					    "EXTRACT(year FROM $d)",
					    "EXTRACT(month FROM $d)",
					    "EXTRACT(day FROM $d)",
					    "EXTRACT(quarter FROM $d)",
					    "EXTRACT(dow FROM $d)",
					    "EXTRACT(doy FROM $d)",
					    "($d - $d)",
					    "CAST($m AS BIGINT)",
					    "SIGN($m)",
					    "LENGTH(CAST($m AS TEXT))",
					    "($i + $i)",
					    NULL };
static const char *const duck_bool[] = { "(d < e)",
					 "(dec > rate)",
					 "($m <= $m)",
					 "($d = $d)",
					 "($d BETWEEN $d AND $d)",
					 "($m IN (dec, 1.25))",
					 "($b AND $b)",
					 "($b OR $b)",
					 "(NOT $b)",
					 "(dec IS NULL)",
					 "($m = $m)",
					 "(wide < $m)",
					 "($m > $i)",
					 "(dec / rate > 3)",
					 "($m IS DISTINCT FROM $m)",
					 "($m BETWEEN $m AND $m)",
					 "($d IN (d, DATE '1999-12-31', e))",
					 "($d > '1970-01-01')",
					 NULL };
static const struct grammar duck = { "mdib", { duck_decimal, duck_date, duck_integer, duck_bool }, { 4, 3, 2, 2 } };

/* Its optimizer drops a TRY_CAST that is compared, and with it the NULL. Division by zero is an error of ours, and of DuckDB's
 * without infinities. DATE_ADD is made of what it has. */
static const char *const duck_rules[] = {
	"PRAGMA disable_optimizer",
	"SET ieee_floating_point_ops = false",
	"CREATE MACRO DATE_ADD(unit, n, d) AS CAST(d + CASE unit WHEN 'year' THEN to_years(n::INTEGER) "
	"WHEN 'quarter' THEN to_quarters(n::INTEGER) WHEN 'month' THEN to_months(n::INTEGER) "
	"WHEN 'week' THEN to_weeks(n::INTEGER) WHEN 'day' THEN to_days(n::INTEGER) END AS DATE)",
};

/* Its casts that fail shall be NULL, as ours are here. */
static void with_tries(const char *text, char *out)
{
	for (const char *cast; (cast = strstr(text, "CAST(")); text = cast + 5)
		out += sprintf(out, "%.*sTRY_CAST(", (int)(cast - text), text);
	strcpy(out, text);
}

/* As duckdb.h has it: its fields are its own. */
struct duck_result {
	uint64_t count[3];
	void *inside[3];
};

TEST(expr_same_as_duckdb, "", 0, .deadline_s = 120)
{
#if defined(__SANITIZE_THREAD__)
	SKIP("the thread sanitizer takes DuckDB's mutexes, whose making it has not seen, for faults");
#endif
	const char *name = getenv("TEST_DUCKDB");
	const char *why = getenv("TEST_NO_DUCKDB");
	if (!name) SKIP("%s", why ? why : "TEST_DUCKDB does not name a libduckdb.so; make peers fetches one");
	void *library = dlopen(name, RTLD_NOW), *db, *connection;
	if (!library) SKIP("%s", dlerror());
	int (*open)(const char *, void **), (*connect)(void *, void **),
		(*query)(void *, const char *, struct duck_result *);
	char *(*value)(struct duck_result *, uint64_t, uint64_t);
	const char *(*error)(struct duck_result *);
	void (*destroy)(struct duck_result *), (*release)(void *), (*disconnect)(void **), (*close)(void **);
	*(void **)&open = dlsym(library, "duckdb_open"), *(void **)&connect = dlsym(library, "duckdb_connect");
	*(void **)&query = dlsym(library, "duckdb_query"), *(void **)&value = dlsym(library, "duckdb_value_varchar");
	*(void **)&error = dlsym(library, "duckdb_result_error"),
	       *(void **)&destroy = dlsym(library, "duckdb_destroy_result");
	*(void **)&release = dlsym(library, "duckdb_free"), *(void **)&disconnect = dlsym(library, "duckdb_disconnect");
	*(void **)&close = dlsym(library, "duckdb_close");
	if (!open || !connect || !query || !value || !error || !destroy || !release || !disconnect || !close ||
	    open(NULL, &db) || connect(db, &connection))
		SKIP("%s does not open a database", name);
	static struct peer_table t;
	static char sql[40000];
	struct dpi_vector vectors[PEER_COLUMNS], v;
	struct duck_result r;
	struct draws d = draws_from(2);
	int compared = 0, refused = 0;
	peer_fill(&t, vectors, &d);
	const struct dpi_batch batch = { PEER_ROWS, PEER_COLUMNS, vectors };
	CHECK(!query(connection,
		     "CREATE TABLE t (r BIGINT, j BIGINT, dec DECIMAL(15,2), rate DECIMAL(4,3), wide DECIMAL(30,6), d DATE, "
		     "e DATE)",
		     &r));
	destroy(&r);
	for (size_t k = 0; k < sizeof duck_rules / sizeof *duck_rules; k++) {
		if (query(connection, duck_rules[k], &r)) FAIL("%s: %s", duck_rules[k], error(&r));
		destroy(&r);
	}
	for (int k = 0; k < PEER_ROWS; k++) {
		char cell[3][64], day[32] = "NULL";
		for (int c = 0; c < 3; c++) {
			const struct dpi_expr_column *of = peer_columns + 4 + c;
			struct dpi_expr_type type = { .type = of->type, .scale = of->scale };
			cell[c][written(&type, vectors + 4 + c, (size_t)k, cell[c])] = 0;
		}
		if (dpi_bit(t.valid, (size_t)k)) sprintf(day, "%" PRId32, t.d[k]);
		snprintf(sql, sizeof sql,
			 "INSERT INTO t VALUES (%d, %" PRId64 ", %s, %s, %s, DATE '1970-01-01' + (%s), DATE '1970-01-01' + %" PRId32 ")",
			 k, t.j[k], cell[0], cell[1], cell[2], day, t.e[k]);
		if (query(connection, sql, &r)) FAIL("%s: %s", sql, error(&r));
		destroy(&r);
	}
	for (int n = 0; n < rounds(300); n++) {
		static char text[20000], tried[30000];
		struct dpi_expr *e;
		struct dpi_expr_state *s;
		*text = 0;
		grow(&duck, &d, n % 4, 1 + (int)draw_below(&d, 2), text);
		if (!mine(text, &batch, &e, &s, &v)) {
			refused++;
			continue;
		}
		struct answers a = { dpi_expr_result(e), &v, text, 0 };
		with_tries(text, tried);
		snprintf(sql, sizeof sql, "SELECT CAST(%s AS VARCHAR) FROM t ORDER BY r", tried);
		if (query(connection, sql, &r)) refused++; /* a value is too large for it: it has no way to make that NULL */
		else {
			for (uint64_t row = 0; row < PEER_ROWS; row++) {
				char *cell = value(&r, 0, row);
				same(&a, cell);
				if (cell) release(cell);
			}
			compared++;
		}
		destroy(&r);
		dpi_expr_state_free(s);
		dpi_expr_free(e);
	}
	disconnect(&connection);
	close(&db);
	printf("%d expressions, %d refused\n", compared, refused);
	CHECK(compared > refused);
}
