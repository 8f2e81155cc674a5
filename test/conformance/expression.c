/* SPDX-License-Identifier: Apache-2.0
 * expression.c: annex B by flows whose rows are projected and filtered: what the tables say, at the source and at the target. */
#include <math.h>

#include "expression_tables.h"
#include "memory_kit.h"

#define LIST(type, ...) (const type[]){ __VA_ARGS__ }
#define STAGES(...) .stages = LIST(DPI_Stage, __VA_ARGS__), .stage_count = sizeof LIST(DPI_Stage, __VA_ARGS__) / sizeof(DPI_Stage)
#define COLUMNS(...) .columns = LIST(DPI_Stage_Column, __VA_ARGS__), .column_count = sizeof LIST(DPI_Stage_Column, __VA_ARGS__) / sizeof(DPI_Stage_Column)
#define PROJECT(...) { .kind = DPI_STAGE_PROJECT, COLUMNS(__VA_ARGS__) }
#define FILTER(expression) { .kind = DPI_STAGE_FILTER, .text = expression }

enum { MOST = 100, ROOM = 65536, SHOWN = 200 };

/* ------------------------------------------------------------------------------------------------- the tables' row */

static const DPI_Column row_columns[] = {
	{ "i", DPI_TYPE_INT64, 1, 0, 0, 0 },	 { "none", DPI_TYPE_INT64, 1, 0, 0, 0 },      { "dec", DPI_TYPE_DECIMAL64, 1, 0, 15, 2 },
	{ "u", DPI_TYPE_UINT64, 1, 0, 0, 0 },	 { "d", DPI_TYPE_DATE32, 1, 0, 0, 0 },	      { "x", DPI_TYPE_DOUBLE, 1, 0, 0, 0 },
	{ "t", DPI_TYPE_UTF8, 1, 0, 0, 0 },	 { "yes", DPI_TYPE_BOOL, 1, 0, 0, 0 },	      { "small", DPI_TYPE_INT8, 0, 0, 0, 0 },
	{ "Two Words", DPI_TYPE_INT64, 1, 0, 0, 0 }, { "case_", DPI_TYPE_INT64, 1, 0, 0, 0 }, { "Case_", DPI_TYPE_INT64, 1, 0, 0, 0 },
	{ "bin", DPI_TYPE_BINARY, 1, 0, 0, 0 },
};
static const DPI_Value row_values[] = {
	{ .type = DPI_TYPE_INT64, .i = 7 },    { .type = DPI_TYPE_NULL },	       { .type = DPI_TYPE_DECIMAL64, .i = 12345 },
	{ .type = DPI_TYPE_UINT64, .u = 5 },   { .type = DPI_TYPE_DATE32, .i = 18321 }, { .type = DPI_TYPE_DOUBLE, .d = 2.5 },
	{ .type = DPI_TYPE_UTF8, .size = 5, .data = "Grün" }, { .type = DPI_TYPE_BOOL, .i = 1 }, { .type = DPI_TYPE_INT8, .i = -3 },
	{ .type = DPI_TYPE_INT64, .i = 7 },    { .type = DPI_TYPE_INT64, .i = 7 },     { .type = DPI_TYPE_INT64, .i = 7 },
	{ .type = DPI_TYPE_BINARY, .size = 5, .data = "Grün" },
};
#define ROW_COLUMNS (sizeof row_columns / sizeof *row_columns)

static char row[SHOWN];
static size_t row_size;
static DPI_Schema row_schema;

static void make_row(void)
{
	CHECK_DPI(DPI_Create_Schema(row_columns, ROW_COLUMNS, &row_schema));
	CHECK_DPI(DPI_Pack_Row(row_values, row_schema, row, sizeof row, &row_size));
}

/* ----------------------------------------------------------------------------------------------------------- flows */

struct way {
	DPI_Flow flow;
	DPI_Source source;
	DPI_Target target;
	char name[16];
};

static void set(DPI_Flow_Attr *a, DPI_Schema schema)
{
	a->size = sizeof *a, a->create = DPI_CREATE_NEW, a->schema = schema, a->sources = 1, a->expected = 10, a->dist = DPI_DIST_ROUND_ROBIN;
}

static struct way open_way(DPI_Flow_Attr *a, DPI_Schema schema, DPI_Context ctx)
{
	static int flows;
	struct way w;
	set(a, schema);
	snprintf(w.name, sizeof w.name, "%d", flows++);
	CHECK_DPI(DPI_Create_Flow(w.name, a, ctx, &w.flow));
	CHECK_DPI(DPI_Open_Target(0, NULL, w.flow, &w.target));
	CHECK_DPI(DPI_Open_Source(w.flow, NULL, &w.source));
	return w;
}
#define WAY(ctx, ...) open_way(&(DPI_Flow_Attr){ __VA_ARGS__ }, row_schema, ctx)

static void close_way(struct way *w, DPI_Context ctx)
{
	CHECK_DPI(DPI_Destroy_Flow(w->name, ctx));
	DPI_Close_Source(w->source); /* the failure of the flow, if it has failed */
	DPI_Close_Target(w->target);
	CHECK_DPI(DPI_Close_Flow(w->flow));
}

/* The expressions cannot be made: error and a part of the sentence. */
static void refuses(DPI_Context ctx, const char *text, int error, const char *part)
{
	DPI_Flow_Attr a = { STAGES(PROJECT({ .name = "c", .text = text })) };
	DPI_Flow f;
	set(&a, row_schema);
	int got = DPI_Create_Flow("refused", &a, ctx, &f);
	if (got != error || !strstr(detail(), part)) FAIL("%s: %d, \"%s\", not %d and \"%s\"", text, got, got ? detail() : "", error, part);
}

/* ---------------------------------------------------------------------------------------------------------- results */

static void show_type(const DPI_Column *c, char *out)
{
	static const char *const name[] = {
		"",
#define NAME(type, number, width, text) #type,
		DPI_TYPES(NAME)
#undef NAME
	};
	if (c->type == DPI_TYPE_DECIMAL64 || c->type == DPI_TYPE_DECIMAL128) snprintf(out, SHOWN, "DECIMAL(%d,%d)", c->precision, c->scale);
	else if (c->type == DPI_TYPE_FIXED) snprintf(out, SHOWN, "FIXED(%u)", c->width);
	else snprintf(out, SHOWN, "%s", c->type == DPI_TYPE_DATE32 ? "DATE" : name[c->type]);
}

__extension__ typedef __int128 wide;
__extension__ typedef unsigned __int128 unsigned_wide;

static void show_decimal(wide v, int scale, char *out)
{
	char digits[48];
	int n = 0;
	unsigned_wide left = v < 0 ? -(unsigned_wide)v : (unsigned_wide)v;
	for (; left || n <= scale; left /= 10) digits[n++] = (char)('0' + (int)(left % 10));
	if (v < 0) *out++ = '-';
	while (n) {
		*out++ = digits[--n];
		if (n && n == scale) *out++ = '.';
	}
	*out = 0;
}

static void show_date(int64_t days, char *out)
{
	int64_t z = days + 719468, era = (z < 0 ? z - 146096 : z) / 146097, of_era = z - era * 146097;
	int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365, of_year = of_era - (365 * year + year / 4 - year / 100);
	int64_t m = (5 * of_year + 2) / 153, day = of_year - (153 * m + 2) / 5 + 1, month = m < 10 ? m + 3 : m - 9;
	year += era * 400 + (month <= 2);
	snprintf(out, SHOWN, "%s%04d-%02d-%02d", year < 0 ? "-" : "", (int)(year < 0 ? -year : year), (int)month, (int)day);
}

static void show_value(const DPI_Value *v, const DPI_Column *c, char *out)
{
	switch (v->type) {
	case DPI_TYPE_NULL: snprintf(out, SHOWN, "NULL"); break;
	case DPI_TYPE_BOOL: snprintf(out, SHOWN, v->i ? "true" : "false"); break;
	case DPI_TYPE_DATE32: show_date(v->i, out); break;
	case DPI_TYPE_FLOAT: snprintf(out, SHOWN, "%.9g", v->d); break;
	case DPI_TYPE_DOUBLE: snprintf(out, SHOWN, "%.17g", v->d); break;
	case DPI_TYPE_DECIMAL64: show_decimal(v->i, c->scale, out); break;
	case DPI_TYPE_DECIMAL128: show_decimal((wide)((unsigned_wide)v->w[1] << 64 | v->w[0]), c->scale, out); break;
	case DPI_TYPE_FIXED:
	case DPI_TYPE_BINARY:
	case DPI_TYPE_UTF8: snprintf(out, SHOWN, "%.*s", (int)v->size, (const char *)v->data); break;
	default: snprintf(out, SHOWN, v->type < DPI_TYPE_UINT8 ? "%" PRId64 : "%" PRIu64, v->i);
	}
}

static void check_value(const struct expression_case *r, const DPI_Value *v, const DPI_Column *c)
{
	char type[SHOWN], value[SHOWN];
	show_type(c, type), show_value(v, c, value);
	if (strcmp(type, r->type)) FAIL("%s is of type %s, not %s", r->text, type, r->type);
	bool real = v->type == DPI_TYPE_DOUBLE || v->type == DPI_TYPE_FLOAT;
	double is = real ? v->d : 0, expected = real ? strtod(r->value, NULL) : 0;
	if (v->type == DPI_TYPE_FLOAT) expected = (double)(float)expected;
	if (real ? !(is == expected || (isnan(is) && isnan(expected))) : strcmp(value, *r->value == '!' ? "NULL" : r->value))
		FAIL("%s is %s, not %s", r->text, value, r->value);
}

/* A flow of one row with a column for each expression. */
static void check_all(DPI_Context ctx, const struct expression_case *const *r, size_t count, int row_error, int place)
{
	DPI_Stage_Column columns[MOST];
	char name[MOST][24];
	DPI_Schema out;
	DPI_Tuple u;
	CHECK_INT(count, <=, MOST);
	for (size_t k = 0; k < count; k++) {
		snprintf(name[k], sizeof name[k], "c%zu", k);
		columns[k] = (DPI_Stage_Column){ .name = name[k], .text = r[k]->text };
	}
	struct way w = WAY(ctx, STAGES({ .kind = DPI_STAGE_PROJECT, .place = place, .columns = columns, .column_count = count }), .row_error = row_error);
	CHECK_DPI(DPI_Get_Flow_Output_Schema(w.flow, &out));
	CHECK_DPI(DPI_Push(row, row_size, w.source));
	CHECK_DPI(DPI_Flush_Source(w.source));
	CHECK_DPI(DPI_Next(w.target, &u));
	for (size_t k = 0; k < count; k++) {
		DPI_Column c;
		DPI_Value v;
		CHECK_DPI(DPI_Get_Column(k, out, &c, NULL));
		CHECK_DPI(DPI_Get_Value(u.data, u.size, k, out, &v));
		check_value(r[k], &v, &c);
	}
	CHECK_DPI(DPI_Free_Schema(out));
	close_way(&w, ctx);
}

static void fails(DPI_Context ctx, const struct expression_case *r)
{
	struct way w = WAY(ctx, STAGES(PROJECT({ .name = "c", .text = r->text })));
	int error = DPI_Push(row, row_size, w.source);
	if (error != DPI_ERR_RANGE || !strstr(detail(), "row 0")) FAIL("%s: %d, \"%s\"", r->text, error, error ? detail() : "");
	close_way(&w, ctx);
}

static void check_table(const struct expression_case *r, size_t count)
{
	const struct expression_case *good[MOST], *bad[MOST];
	size_t goods = 0, bads = 0;
	char part[SHOWN];
	DPI_Context ctx = join();
	make_row();
	for (size_t i = 0; i < count; i++, r++) {
		if (!r->type) { /* the place, if the table has it */
			int digits = (int)strcspn(r->value, ":");
			snprintf(part, sizeof part, "text: %.*s", strncmp(r->value, "character ", 10) ? 10 : digits, strncmp(r->value, "character ", 10) ? "character " : r->value);
			refuses(ctx, r->text, DPI_ERR_ARGUMENT, part);
		} else if (*r->value == '!') {
			fails(ctx, bad[bads++] = r);
		} else {
			good[goods++] = r;
		}
	}
	for (int place = 0; place < 2; place++) {
		if (goods) check_all(ctx, good, goods, DPI_ROW_ERROR_FAILS, place);
		if (bads) check_all(ctx, bad, bads, DPI_ROW_ERROR_NULL, place);
	}
	CHECK_DPI(DPI_Free_Schema(row_schema));
	leave(ctx);
}

#define TABLE(name, statements)                                                                        \
	TEST(expression_of_##name, statements, 1, .once = true)                                        \
	{                                                                                              \
		check_table(expression_##name, sizeof expression_##name / sizeof *expression_##name);  \
	}
EXPRESSION_TABLES(TABLE)

/* ------------------------------------------------------------------------------------------------------------ rows */

static const DPI_Column number_columns[] = { { "n", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "m", DPI_TYPE_INT64, 0, 0, 0, 0 } };
struct numbers {
	int64_t n, m;
};

static struct way numbers_way(DPI_Flow_Attr *a, DPI_Context ctx)
{
	DPI_Schema schema;
	CHECK_DPI(DPI_Create_Schema(number_columns, 2, &schema));
	struct way w = open_way(a, schema, ctx);
	CHECK_DPI(DPI_Free_Schema(schema));
	return w;
}
#define NUMBERS(ctx, ...) numbers_way(&(DPI_Flow_Attr){ __VA_ARGS__ }, ctx)

#define QUOTIENT STAGES(PROJECT({ .name = "n" }, { .name = "q", .text = "COALESCE(1000 / (n - 50), -1)" }))

enum { NUMBERS = 200 };

/* Many rows at once, some of which have an error: how many come out; quotients: 0 for a row that must not come. */
static int check_quotients(struct way *w, const int64_t *quotient)
{
	struct numbers in[NUMBERS];
	size_t pushed;
	int rows = 0;
	DPI_Tuple u;
	for (int64_t i = 0; i < NUMBERS; i++) in[i] = (struct numbers){ i, i % 2 };
	CHECK_DPI(DPI_Push_Batch(in, NUMBERS, w->source, &pushed));
	CHECK_INT(pushed, ==, NUMBERS);
	CHECK_DPI(DPI_Flush_Source(w->source));
	for (int64_t i = 0; i < NUMBERS; i++) {
		int64_t out[2];
		if (!quotient[i]) continue;
		CHECK_DPI(DPI_Next(w->target, &u));
		memcpy(out, u.data, sizeof out);
		CHECK_INT(out[0], ==, i);
		CHECK_INT(out[1], ==, quotient[i]);
		rows++;
	}
	CHECK_ERROR(DPI_Try_Next(w->target, &u), DPI_ERR_AGAIN, " ");
	return rows;
}

TEST(expression_errors_of_rows, "X-28 X-30 X-31", 1, .once = true)
{
	DPI_Context ctx = join();
	int64_t quotient[NUMBERS];
	struct numbers in[NUMBERS];
	size_t pushed = 1;
	for (int64_t i = 0; i < NUMBERS; i++) in[i] = (struct numbers){ i, 0 };
	for (int64_t i = 0; i < NUMBERS; i++) quotient[i] = i == 50 ? -1 : 1000 / (i - 50);
	struct way w = NUMBERS(ctx, QUOTIENT);
	CHECK_ERROR(DPI_Push_Batch(in, NUMBERS, w.source, &pushed), DPI_ERR_RANGE, "row 50");
	close_way(&w, ctx);
	w = NUMBERS(ctx, QUOTIENT, .row_error = DPI_ROW_ERROR_NULL);
	CHECK_INT(check_quotients(&w, quotient), ==, NUMBERS);
	close_way(&w, ctx);
	w = NUMBERS(ctx, QUOTIENT, .row_error = DPI_ROW_ERROR_DROPS);
	quotient[50] = 0;
	CHECK_INT(check_quotients(&w, quotient), ==, NUMBERS - 1);
	DPI_Source_Stats s = { .size = sizeof s };
	CHECK_DPI(DPI_Get_Source_Stats(w.source, &s));
	CHECK_INT(s.row_errors, ==, 1);
	close_way(&w, ctx);
	leave(ctx);
}

/* What a filter before it let not pass has no errors; nor have operands that need not be looked at, row by row. */
TEST(expression_of_selected_rows, "X-29 X-32", 1, .once = true)
{
	DPI_Context ctx = join();
	int64_t quotient[NUMBERS];
	for (int64_t i = 0; i < NUMBERS; i++) quotient[i] = i % 2 ? 100 / (i % 2) : 0;
	struct way w = NUMBERS(ctx, STAGES(FILTER("m <> 0"), PROJECT({ .name = "n" }, { .name = "q", .text = "100 / m" })));
	CHECK_INT(check_quotients(&w, quotient), ==, NUMBERS / 2);
	close_way(&w, ctx);
	w = NUMBERS(ctx, STAGES(FILTER("m <> 0 AND 100 / m = 100"), PROJECT({ .name = "n" }, { .name = "q", .text = "100 / m" })));
	CHECK_INT(check_quotients(&w, quotient), ==, NUMBERS / 2);
	close_way(&w, ctx);
	w = NUMBERS(ctx, STAGES(PROJECT({ .name = "n" }, { .name = "q", .text = "CASE WHEN m = 0 THEN 7 ELSE 100 / m END" })));
	for (int64_t i = 0; i < NUMBERS; i += 2) quotient[i] = 7;
	CHECK_INT(check_quotients(&w, quotient), ==, NUMBERS);
	close_way(&w, ctx);
	leave(ctx);
}

/* -------------------------------------------------------------------------------------------------- sizes and depths */

/* A filter that is true of the row, in a text that is freed then. */
static void passes(DPI_Context ctx, char *text)
{
	DPI_Tuple u;
	struct way w = WAY(ctx, STAGES(FILTER(text)));
	CHECK_DPI(DPI_Push(row, row_size, w.source));
	CHECK_DPI(DPI_Flush_Source(w.source));
	CHECK_DPI(DPI_Next(w.target, &u));
	close_way(&w, ctx);
	free(text);
}

/* before, count times part, and after. */
static char *repeated(const char *before, const char *part, size_t count, const char *after)
{
	char *text = malloc(strlen(before) + count * strlen(part) + strlen(after) + 1), *at = text;
	CHECK(text != NULL);
	at = stpcpy(at, before);
	while (count--) at = stpcpy(at, part);
	strcpy(at, after);
	return text;
}

TEST(expression_bounds, "X-4", 1, .once = true)
{
	DPI_Context ctx = join();
	make_row();
	char *open = repeated("", "(", 100, "i");
	passes(ctx, repeated(open, ")", 100, " = 7"));
	free(open);
	passes(ctx, repeated("i", " + i", 500, " = 3507"));
	passes(ctx, repeated("i IN (", "1000000,", 999, "7)"));
	passes(ctx, repeated("i = 7", " ", 59000, "")); /* a definition has no more room */
	passes(ctx, repeated("LENGTH('", "x", 40000, "') = 40000"));
	char *deep = repeated("", "(", 50000, "i"), *many = repeated("", "i + ", 14000, "i"), *large = repeated("i = 7", " ", 100000, "");
	refuses(ctx, deep, DPI_ERR_LIMIT, "text");
	refuses(ctx, many, DPI_ERR_LIMIT, "text");
	refuses(ctx, large, DPI_ERR_LIMIT, "text");
	free(deep), free(many), free(large);
	CHECK_DPI(DPI_Free_Schema(row_schema));
	leave(ctx);
}

/* ------------------------------------------------------------------------------------------------ another process */

/* Rank 0 pushes each row to a flow whose expressions are evaluated there and to one whose are evaluated at rank 1, which compares. */
TEST(expression_in_another_process, "X-33", 2, .once = true)
{
	DPI_Context ctx = join();
	DPI_Stage_Column columns[] = { { .name = "a", .text = "i * 3 - small" },
				       { .name = "b", .text = "dec * (1 - 0.05) + u" },
				       { .name = "c", .text = "x / 3 + SQRT(x)" },
				       { .name = "e", .text = "CASE WHEN t LIKE '%1%' THEN UPPER(t) || CAST(dec AS UTF8) ELSE CAST(x AS UTF8) END" },
				       { .name = "f", .text = "DATE_ADD('month', i, d)" },
				       { .name = "g", .text = "i IN (1, 5, 9, 12) OR t < 'row 3'" },
				       { .name = "h", .text = "COALESCE(NULLIF(i % 7, 3), 100 / (i - 20))" } };
	DPI_Stage stage = { .kind = DPI_STAGE_PROJECT, .columns = columns, .column_count = sizeof columns / sizeof *columns };
	DPI_Flow flow[2];
	DPI_Source s[2];
	DPI_Target t[2];
	make_row();
	for (int place = 0; place < 2; place++) {
		DPI_Flow_Attr a = { .stages = &stage, .stage_count = 1, .row_error = DPI_ROW_ERROR_NULL };
		stage.place = place;
		set(&a, row_schema);
		a.create = DPI_CREATE_OR_OPEN;
		CHECK_DPI(DPI_Create_Flow(place ? "there" : "here", &a, ctx, flow + place));
		if (rank) CHECK_DPI(DPI_Open_Target(0, NULL, flow[place], t + place));
		else CHECK_DPI(DPI_Open_Source(flow[place], NULL, s + place));
	}
	for (int i = 0; !rank && i < NUMBERS; i++) {
		DPI_Value v[ROW_COLUMNS];
		char text[16];
		memcpy(v, row_values, sizeof v);
		snprintf(text, sizeof text, "row %d", i);
		v[0].i = i, v[2].i = i * 1001 - 70000, v[5].d = i / 7.0 - 3, v[6].data = text, v[6].size = (uint32_t)strlen(text);
		if (i % 11 == 0) v[2] = v[1];
		CHECK_DPI(DPI_Pack_Row(v, row_schema, row, sizeof row, &row_size));
		for (int place = 0; place < 2; place++) CHECK_DPI(DPI_Push(row, row_size, s[place]));
	}
	for (int place = 0; !rank && place < 2; place++) CHECK_DPI(DPI_Close_Source(s[place]));
	for (int i = 0; rank && i < NUMBERS; i++) {
		DPI_Tuple u[2];
		for (int place = 0; place < 2; place++) CHECK_DPI(DPI_Next(t[place], u + place));
		CHECK_INT(u[0].size, ==, u[1].size);
		CHECK(!memcmp(u[0].data, u[1].data, u[0].size));
	}
	for (int place = 0; rank && place < 2; place++) {
		CHECK_ERROR(DPI_Next(t[place], &(DPI_Tuple){ 0 }), DPI_ERR_END, " ");
		CHECK_DPI(DPI_Close_Target(t[place]));
	}
	for (int place = 0; place < 2; place++) CHECK_DPI(DPI_Close_Flow(flow[place]));
	CHECK_DPI(DPI_Free_Schema(row_schema));
	leave(ctx);
}

/* As deep as it goes, in every way to go deep: taken or DPI_ERR_LIMIT, by whoever holds the definition, too. */
TEST(expression_depths, "X-4", 1, .once = true)
{
	static const struct {
		const char *before, *part, *middle, *part_after, *after;
	} way[] = {
		{ "", "(", "i", ")", " = 7" },
		{ "", "- ", "i", "", " <> 0" },
		{ "", "NOT ", "yes", "", "" },
		{ "i", " + i", "", "", " > 0" },
		{ "t", " || t", "", "", " > ''" },
		{ "", "ABS(", "i", ")", " = 7" },
		{ "", "COALESCE(none, ", "i", ")", " = 7" },
		{ "", "CAST(", "i", " AS INT32)", " = 7" },
		{ "", "CASE WHEN yes THEN ", "i", " END", " = 7" },
		{ "", "CASE i WHEN 7 THEN ", "i", " ELSE i END", " = 7" },
		{ "", "yes = (i BETWEEN 0 AND 9 AND ", "yes", ")", "" },
		{ "", "yes IN (FALSE, ", "yes", ")", "" },
		{ "yes", " IS TRUE", "", "", "" },
	};
	static const size_t depth[] = { 100, 150, 200, 300, 400, 600, 800, 999, 2000 };
	DPI_Context ctx = join();
	int taken = 0;
	make_row();
	for (size_t k = 0; k < sizeof way / sizeof *way; k++)
		for (size_t n = 0; n < sizeof depth / sizeof *depth; n++) {
			char *open = repeated(way[k].before, way[k].part, depth[n], way[k].middle), *text = repeated(open, way[k].part_after, depth[n], way[k].after);
			DPI_Flow_Attr a = { STAGES({ .kind = DPI_STAGE_FILTER, .place = DPI_AT_TARGET, .text = text }) };
			DPI_Flow f;
			set(&a, row_schema);
			int error = DPI_Create_Flow("deep", &a, ctx, &f);
			if (error && error != DPI_ERR_LIMIT) FAIL("%s, %zu times: %s", way[k].part, depth[n], detail());
			if (!error) {
				CHECK_DPI(DPI_Destroy_Flow("deep", ctx));
				DPI_Close_Flow(f);
				taken++;
			}
			free(open), free(text);
		}
	CHECK_INT(taken, >=, sizeof way / sizeof *way);
	CHECK_DPI(DPI_Free_Schema(row_schema));
	leave(ctx);
}
