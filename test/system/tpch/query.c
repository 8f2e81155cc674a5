/* SPDX-License-Identifier: Apache-2.0
 * query.c: a query of TPC-H tables by one flow: text columns go in, stages cast, filter and compute, the flow reduces, and node 0 prints
 * what comes out, a line a group, its columns parted by '|', in order.
 *
 *	dpirun -n 3 query NAME DIRECTORY      (of .tbl files) */
#include <dpi.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COLUMNS = 16, LINE = 4096 };

#define CHECK(call) check((call), #call)
static void check(int error, const char *call)
{
	const char *detail;
	if (!error) return;
	DPI_Get_Error_Detail(&detail);
	fprintf(stderr, "%s: %s\n", call, detail);
	exit(1);
}

static void fail(const char *what, const char *name)
{
	fprintf(stderr, "%s: %s\n", name, what);
	exit(1);
}

/* What is read of a table: its columns, in order; those without a name are passed over. Two tables: each row has the columns of both,
 * empty where they are the other's alone. */
struct table {
	const char *file;
	const char *column[COLUMNS];
};

struct query {
	const char *name;
	struct table table[2];
	const char *filter;
	const DPI_Stage_Column *columns;
	size_t column_count;
	const char *const *key;
	size_t key_count;
	const DPI_Aggregate *aggregates;
	size_t aggregate_count;
};

#define NUMBER "DECIMAL(12,2))"
static const struct table lineitem = { "lineitem.tbl", { "order", "part", NULL, NULL, "quantity", "price", "discount", "tax", "flag", "status", "ship", "commit",
							  "receipt", NULL, "mode", "comment" } };
static const struct table orders = { "orders.tbl", { "order", "cust", NULL, NULL, "ordered", "priority", NULL, "shipping" } };
static const struct table customer = { "customer.tbl", { "cust", NULL, NULL, NULL, NULL, NULL, "segment" } };

static const DPI_Stage_Column q1[] = {
	{ "flag", NULL, 0, 0, 0, 0, 0, 0 },
	{ "status", NULL, 0, 0, 0, 0, 0, 0 },
	{ "qty", "CAST(quantity AS " NUMBER, 0, 0, 0, 0, 0, 0 },
	{ "base", "CAST(price AS " NUMBER, 0, 0, 0, 0, 0, 0 },
	{ "disc", "CAST(price AS " NUMBER " * (1 - CAST(discount AS " NUMBER ")", 0, 0, 0, 0, 0, 0 },
	{ "charge", "CAST(price AS " NUMBER " * (1 - CAST(discount AS " NUMBER ") * (1 + CAST(tax AS " NUMBER ")", 0, 0, 0, 0, 0, 0 },
};
static const char *const q1_key[] = { "flag", "status" };
#define SUM(name) { .function = DPI_AGGREGATE_SUM, .column = name }
static const DPI_Aggregate q1_sums[] = { SUM("qty"), SUM("base"), SUM("disc"), SUM("charge"), { .function = DPI_AGGREGATE_COUNT_ALL } };

static const DPI_Stage_Column q6[] = {
	{ "revenue", "CAST(price AS " NUMBER " * CAST(discount AS " NUMBER, 0, 0, 0, 0, 0, 0 },
};
static const DPI_Aggregate q6_sums[] = { SUM("revenue") };

/* The join is by the reduction: of each order its priority, from the one table, and how many of its lines count, from the other. Where the
 * row is the other table's, its dates are no dates: AND must not look at them. */
#define LATE(m)                                                                                                                   \
	"CASE WHEN mode = '" m "' AND CAST(commit AS DATE) < CAST(receipt AS DATE) AND CAST(ship AS DATE) < CAST(commit AS DATE) " \
	"AND CAST(receipt AS DATE) >= DATE '1994-01-01' AND CAST(receipt AS DATE) < DATE '1995-01-01' THEN 1 ELSE 0 END"
static const DPI_Stage_Column q12[] = {
	{ "order", NULL, 0, 0, 0, 0, 0, 0 },
	{ "high", "CASE WHEN priority IN ('1-URGENT', '2-HIGH') THEN 1 WHEN priority <> '' THEN 0 END", 0, 0, 0, 0, 0, 0 },
	{ "mail", LATE("MAIL"), 0, 0, 0, 0, 0, 0 },
	{ "sea", LATE("SHIP"), 0, 0, 0, 0, 0, 0 },
};
static const char *const order_key[] = { "order" };
static const DPI_Aggregate q12_sums[] = { { .function = DPI_AGGREGATE_MAX, .column = "high" }, SUM("mail"), SUM("sea") };

/* The same join: of each order whose it is and its date, if it came before the day, and what its later lines bring. Those of q3_customers
 * count. */
#define BEFORE(x) "CASE WHEN priority <> '' AND CAST(ordered AS DATE) < DATE '1995-03-15' THEN " x " END"
static const DPI_Stage_Column q3[] = {
	{ "order", NULL, 0, 0, 0, 0, 0, 0 },
	{ "whose", BEFORE("CAST(cust AS BIGINT)"), 0, 0, 0, 0, 0, 0 },
	{ "day", BEFORE("CAST(ordered AS DATE)"), 0, 0, 0, 0, 0, 0 },
	{ "first", BEFORE("CAST(shipping AS INT)"), 0, 0, 0, 0, 0, 0 },
	{ "revenue", "CASE WHEN mode <> '' AND CAST(ship AS DATE) > DATE '1995-03-15' THEN CAST(price AS " NUMBER " * (1 - CAST(discount AS " NUMBER ") END", 0, 0, 0, 0, 0,
	  0 },
};
#define MAX(name) { .function = DPI_AGGREGATE_MAX, .column = name }
static const DPI_Aggregate q3_sums[] = { MAX("whose"), MAX("day"), MAX("first"), SUM("revenue") };
static const DPI_Stage_Column cust[] = { { "cust", NULL, 0, 0, 0, 0, 0, 0 } };
static const char *const cust_key[] = { "cust" };

static const DPI_Stage_Column part[] = { { "part", NULL, 0, 0, 0, 0, 0, 0 } };
static const DPI_Stage_Column order[] = { { "order", NULL, 0, 0, 0, 0, 0, 0 } };
static const DPI_Stage_Column comment[] = { { "comment", NULL, 0, 0, 0, 0, 0, 0 } };
static const char *const part_key[] = { "part" };
static const char *const comment_key[] = { "comment" };
static const DPI_Aggregate counts[] = { { .function = DPI_AGGREGATE_COUNT_ALL } };

#define LIST(a) a, sizeof a / sizeof *a
static const struct query queries[] = {
	{ "q1", { lineitem }, "CAST(ship AS DATE) <= DATE '1998-09-02'", LIST(q1), LIST(q1_key), LIST(q1_sums) },
	{ "q6", { lineitem },
	  "CAST(ship AS DATE) >= DATE '1994-01-01' AND CAST(ship AS DATE) < DATE '1995-01-01' AND CAST(discount AS " NUMBER
	  " BETWEEN 0.05 AND 0.07 AND CAST(quantity AS " NUMBER " < 24", LIST(q6), NULL, 0, LIST(q6_sums) },
	{ "q12", { lineitem, orders }, NULL, LIST(q12), LIST(order_key), LIST(q12_sums) },
	{ "q3", { lineitem, orders }, NULL, LIST(q3), LIST(order_key), LIST(q3_sums) },
	{ "q3_customers", { customer }, "segment = 'BUILDING'", LIST(cust), LIST(cust_key), LIST(counts) },
	{ "parts", { lineitem }, NULL, LIST(part), LIST(part_key), LIST(counts) },
	{ "orders", { lineitem }, NULL, LIST(order), LIST(order_key), LIST(counts) },
	{ "comments", { lineitem }, NULL, LIST(comment), LIST(comment_key), LIST(counts) },
};

static DPI_Context ctx;
static int node, nodes;
static const struct query *query;
static const char *directory;
static DPI_Schema in_schema, line_schema;

/* --------------------------------------------------------------------------------------------------------- rows in */

static DPI_Column column[2 * COLUMNS];
static size_t columns;

static size_t place_of(const char *name)
{
	size_t c = 0;
	while (c < columns && strcmp(column[c].name, name)) c++;
	return c;
}

/* Those of this node's lines. */
static void push_table(const struct table *t, DPI_Source s)
{
	char path[4096], line[LINE], row[2 * LINE];
	snprintf(path, sizeof path, "%s/%s", directory, t->file);
	FILE *f = fopen(path, "r");
	if (!f) fail("cannot be read", path);
	for (long number = 0; fgets(line, sizeof line, f); number++) {
		DPI_Value v[2 * COLUMNS];
		size_t size;
		char *at = line;
		if (number % nodes != node) continue;
		for (size_t c = 0; c < columns; c++) v[c] = (DPI_Value){ .type = DPI_TYPE_UTF8, .data = "" };
		for (int i = 0; i < COLUMNS && *at != '\n'; i++) {
			char *end = strchr(at, '|');
			if (!end) fail("a line without its last |", path);
			size_t c = t->column[i] ? place_of(t->column[i]) : columns;
			if (c < columns) v[c].data = at, v[c].size = (uint32_t)(end - at);
			at = end + 1;
		}
		CHECK(DPI_Pack_Row(v, in_schema, row, sizeof row, &size));
		CHECK(DPI_Push(row, size, s));
	}
	fclose(f);
}

static void *push_all(void *source)
{
	for (int t = 0; t < 2 && query->table[t].file; t++) push_table(&query->table[t], source);
	CHECK(DPI_Close_Source(source));
	return NULL;
}

static DPI_Flow open_flow(void)
{
	DPI_Stage stages[2] = { { .kind = DPI_STAGE_FILTER, .text = query->filter },
				{ .kind = DPI_STAGE_PROJECT, .columns = query->columns, .column_count = query->column_count } };
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	DPI_Flow f;
	for (int t = 0; t < 2; t++)
		for (int i = 0; i < COLUMNS; i++)
			if (query->table[t].column[i] && place_of(query->table[t].column[i]) == columns)
				column[columns++] = (DPI_Column){ query->table[t].column[i], DPI_TYPE_UTF8, 0, 0, 0, 0 };
	CHECK(DPI_Create_Schema(column, columns, &in_schema));
	a.create = DPI_CREATE_OR_OPEN;
	a.schema = in_schema;
	a.sources = (uint32_t)nodes;
	a.targets = query->key_count ? (uint32_t)nodes : 1;
	a.key = query->key, a.key_count = query->key_count;
	a.stages = stages + !query->filter, a.stage_count = 1 + (query->filter != NULL);
	a.aggregates = query->aggregates, a.aggregate_count = query->aggregate_count;
	CHECK(DPI_Create_Flow(query->name, &a, ctx, &f));
	return f;
}

/* -------------------------------------------------------------------------------------------------------- rows out */

static size_t print_wide(char *to, __int128 x, int scale)
{
	char digits[64];
	size_t n = 0, at = 0;
	unsigned __int128 u = x < 0 ? -(unsigned __int128)x : (unsigned __int128)x;
	do digits[n++] = (char)('0' + (int)(u % 10));
	while ((u /= 10) || n <= (size_t)scale);
	if (x < 0) to[at++] = '-';
	while (n) {
		to[at++] = digits[--n];
		if (n == (size_t)scale && n) to[at++] = '.';
	}
	return at;
}

static size_t print_value(char *to, const DPI_Value *v, const DPI_Column *c)
{
	switch (v->type) {
	case DPI_TYPE_NULL: return 0;
	case DPI_TYPE_UTF8: memcpy(to, v->data, v->size); return v->size;
	case DPI_TYPE_DATE32: return strftime(to, 16, "%Y-%m-%d", gmtime(&(time_t){ v->i * 86400 }));
	case DPI_TYPE_DECIMAL128: return print_wide(to, (__int128)((unsigned __int128)v->w[1] << 64 | v->w[0]), c->scale);
	default: return print_wide(to, v->i, v->type == DPI_TYPE_DECIMAL64 ? c->scale : 0);
	}
}

struct way {
	DPI_Target from;
	DPI_Schema schema;
	DPI_Source to;
};

/* Results to node 0, as text. */
static void *pass_on(void *arg)
{
	DPI_Target t = ((struct way *)arg)->from;
	DPI_Schema schema = ((struct way *)arg)->schema;
	DPI_Source s = ((struct way *)arg)->to;
	DPI_Schema_Info info = { .size = sizeof info };
	DPI_Tuple row;
	int error;
	CHECK(DPI_Get_Schema_Info(schema, &info));
	while (t && (error = DPI_Next(t, &row)) != DPI_ERR_END) {
		char line[LINE], out[LINE + 64];
		size_t n = 0, size;
		check(error, "DPI_Next");
		for (size_t i = 0; i < info.columns; i++) {
			DPI_Column c;
			DPI_Value v;
			CHECK(DPI_Get_Column(i, schema, &c, NULL));
			CHECK(DPI_Get_Value(row.data, row.size, i, schema, &v));
			if (i) line[n++] = '|';
			n += print_value(line + n, &v, &c);
		}
		CHECK(DPI_Pack_Row(&(DPI_Value){ .type = DPI_TYPE_UTF8, .size = (uint32_t)n, .data = line }, line_schema, out, sizeof out, &size));
		CHECK(DPI_Push(out, size, s));
	}
	if (t) CHECK(DPI_Close_Target(t));
	CHECK(DPI_Close_Source(s));
	return NULL;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_lines(DPI_Target t)
{
	char **line = NULL;
	size_t lines = 0, room = 0;
	DPI_Tuple row;
	int error;
	while ((error = DPI_Next(t, &row)) != DPI_ERR_END) {
		DPI_Value v;
		check(error, "DPI_Next");
		CHECK(DPI_Get_Value(row.data, row.size, 0, line_schema, &v));
		if (lines == room && !(line = realloc(line, (room = 2 * room + 1000) * sizeof *line))) fail("no memory", "lines");
		if (!(line[lines++] = strndup(v.data, v.size))) fail("no memory", "lines");
	}
	CHECK(DPI_Close_Target(t));
	if (lines) qsort(line, lines, sizeof *line, by_text);
	for (size_t i = 0; i < lines; i++) puts(line[i]), free(line[i]);
	free(line);
}

int main(int argc, char **argv)
{
	DPI_Flow flow, lines;
	DPI_Target out = NULL;
	DPI_Source s;
	struct way way = { .from = NULL };
	pthread_t thread[2];
	for (size_t i = 0; argc == 3 && i < sizeof queries / sizeof *queries; i++)
		if (!strcmp(queries[i].name, argv[1])) query = &queries[i];
	if (!query) fail("usage: query NAME DIRECTORY", argc > 1 ? argv[1] : argv[0]);
	directory = argv[2];
	CHECK(DPI_Init(&ctx));
	CHECK(DPI_Get_Node_Id(ctx, &node));
	CHECK(DPI_Get_Node_Count(ctx, &nodes));
	CHECK(DPI_Create_Schema(&(DPI_Column){ "line", DPI_TYPE_UTF8, 0, 0, 0, 0 }, 1, &line_schema));
	flow = open_flow();
	CHECK(DPI_Create_Gather("lines", line_schema, (uint32_t)nodes, ctx, &lines));
	if (!node || query->key_count) CHECK(DPI_Open_Target((uint32_t)node, NULL, flow, &way.from));
	if (!node) CHECK(DPI_Open_Target(0, NULL, lines, &out));
	CHECK(DPI_Open_Source(flow, NULL, &s));
	CHECK(DPI_Open_Source(lines, NULL, &way.to));
	CHECK(DPI_Get_Flow_Output_Schema(flow, &way.schema));
	if (pthread_create(&thread[0], NULL, push_all, s) || pthread_create(&thread[1], NULL, pass_on, &way)) fail("no thread", "query");
	if (!node) print_lines(out);
	for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
	CHECK(DPI_Free_Schema(way.schema));
	CHECK(DPI_Free_Schema(in_schema));
	CHECK(DPI_Free_Schema(line_schema));
	CHECK(DPI_Barrier("end", (uint32_t)nodes, 0, ctx));
	CHECK(DPI_Finalize(ctx));
	return 0;
}
