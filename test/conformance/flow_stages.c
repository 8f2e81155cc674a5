/* SPDX-License-Identifier: Apache-2.0
 * flow_stages.c: stages of flows, at the source and at the target: what passes, what is made, errors of rows. */
#include "arrow_kit.h"
#include "flow_kit.h"

#define ROWS 1000
#define LIST(type, ...) (const type[]){ __VA_ARGS__ }
#define STAGES(...) .stages = LIST(DPI_Stage, __VA_ARGS__), .stage_count = sizeof LIST(DPI_Stage, __VA_ARGS__) / sizeof(DPI_Stage)
#define COLUMNS(...) .columns = LIST(DPI_Stage_Column, __VA_ARGS__), .column_count = sizeof LIST(DPI_Stage_Column, __VA_ARGS__) / sizeof(DPI_Stage_Column)
#define PROJECT(at, ...) { .kind = DPI_STAGE_PROJECT, .place = at, COLUMNS(__VA_ARGS__) }
#define FILTER(at, expression) { .kind = DPI_STAGE_FILTER, .place = at, .text = expression }

/* Push rows number 0 … ROWS - 1, each key three times, by turns one by one, many at once, and as columns. */
static void push_all(DPI_Source s, int rank)
{
	struct flow_row rows[50];
	size_t pushed;
	for (int64_t i = 0; i < ROWS; i++) {
		rows[i % 50] = row_of(rank, i / 3, i);
		if (i / 50 % 3 == 1) {
			CHECK_DPI(DPI_Push(&rows[i % 50], sizeof *rows, s));
		} else if (i % 50 == 49) {
			if (i / 50 % 3) CHECK_DPI(DPI_Push_Batch(rows, 50, s, &pushed));
			else CHECK_DPI(arrow_push(rows, sizeof *rows, 50, s, &pushed));
			CHECK_INT(pushed, ==, 50);
		}
	}
}

/* What a case expects of a row: its columns, as the output's schema has them. */
typedef void check_row(const DPI_Value *v, size_t columns);

/* Of the stages that run here, from first on: what passes one comes to the next. in, out: rows before and behind them all. */
static void check_stages(const DPI_Flow_Attr *a, uint32_t first, DPI_Source s, DPI_Target t, uint64_t in, uint64_t out)
{
	DPI_Stage_Stats x = { .size = sizeof x };
	for (uint32_t i = first; i < a->stage_count; i++) {
		int error = s ? DPI_Get_Source_Stage_Stats(s, i, &x) : DPI_Get_Target_Stage_Stats(t, i, &x);
		if (error) {
			CHECK(s != NULL);
			CHECK_ERROR(error, DPI_ERR_RANGE, "ask its targets");
			break;
		}
		CHECK_INT(x.rows, ==, in);
		CHECK_INT(x.passed, <=, in);
		CHECK(!in == !x.batches && x.batches <= in && !x.passed == !x.bytes);
		in = x.passed;
	}
	CHECK_INT(in, ==, out);
}

/* How many of the first stages run at sources. */
static uint32_t at_source(const DPI_Flow_Attr *a, DPI_Source s)
{
	DPI_Stage_Stats x = { .size = sizeof x };
	uint32_t n = 0;
	while (n < a->stage_count && !DPI_Get_Source_Stage_Stats(s, n, &x)) n++;
	return n;
}

static uint64_t take_row(const void *row, size_t size, DPI_Schema out, size_t columns, check_row *check)
{
	DPI_Value v[8];
	CHECK_INT(columns, <=, 8);
	CHECK_DPI(DPI_Check_Row(row, size, 1, out));
	for (size_t k = 0; k < columns; k++) CHECK_DPI(DPI_Get_Value(row, size, k, out, v + k));
	check(v, columns);
	return 1;
}

/* A flow with an endpoint of each kind in each of three ranks; returns the rows that all targets got. */
static uint64_t through_once(const char *name, DPI_Context ctx, int rank, DPI_Flow_Attr *a, check_row *check)
{
	static int flows;
	uint64_t *count = (uint64_t *)harness_shared() + 1 + flows++;
	a->size = sizeof *a, a->targets = 3, a->sources = 3;
	DPI_Flow f = kit_flow(name, a, ctx);
	DPI_Target t = target_of((uint32_t)rank, f);
	DPI_Source s = source_of(f);
	DPI_Schema out;
	DPI_Schema_Info info = DPI_SCHEMA_INFO_INIT;
	DPI_Tuple u;
	int error;
	uint64_t rows = 0;
	CHECK_DPI(DPI_Get_Flow_Output_Schema(f, &out));
	CHECK_DPI(DPI_Get_Schema_Info(out, &info));
	push_all(s, rank);
	DPI_Source_Stats ss = { .size = sizeof ss };
	CHECK_DPI(DPI_Get_Source_Stats(s, &ss));
	CHECK_INT(ss.rows + ss.sifted, ==, ROWS);
	DPI_Stage_Stats none = { .size = sizeof none };
	uint32_t mine = at_source(a, s);
	check_stages(a, 0, s, NULL, ROWS, ss.rows);
	CHECK_ERROR(DPI_Get_Source_Stage_Stats(s, (uint32_t)a->stage_count, &none), DPI_ERR_RANGE, "counted from 0");
#define ONE(name, unit, text) +1
	CHECK_INT(sizeof none, ==, sizeof none.size + (0 DPI_STAGE_STATS(ONE)) * sizeof(uint64_t));
#undef ONE
	if (mine) CHECK_ERROR(DPI_Get_Target_Stage_Stats(t, 0, &none), DPI_ERR_RANGE, "ask its sources");
	CHECK_DPI(DPI_Close_Source(s));
	for (int n = 0;; n++) { /* rows by turns with what is left of their run, as columns */
		struct arrow_run run;
		error = n % 4 ? DPI_Next(t, &u) : arrow_next(t, out, &run);
		if (error) break;
		CHECK_INT(n % 4 ? u.source : run.batch.source, !=, DPI_SOURCE_NONE);
		if (n % 4) rows += take_row(u.data, u.size, out, info.columns, check);
		else for (size_t i = 0; i < run.count; i++) rows += take_row(run.row[i].data, run.row[i].size, out, info.columns, check);
		if (n % 4 == 0) arrow_done(&run);
	}
	CHECK_INT(error, ==, DPI_ERR_END);
	DPI_Target_Stats ts = { .size = sizeof ts };
	CHECK_DPI(DPI_Get_Target_Stats(t, &ts));
	CHECK_INT(ts.rows, ==, rows + ts.sifted);
	check_stages(a, mine, NULL, t, ts.rows, rows);
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Free_Schema(out));
	CHECK_DPI(DPI_Close_Flow(f));
	__atomic_fetch_add(count, rows, __ATOMIC_SEQ_CST);
	harness_barrier();
	return *count;
}

/* The same with segments of rows and of columns. */
static uint64_t through(const char *name, DPI_Context ctx, int rank, DPI_Flow_Attr *a, check_row *check)
{
	char other[40];
	DPI_Flow_Attr columns = *a;
	columns.layout = DPI_LAYOUT_COLUMNS;
	snprintf(other, sizeof other, "%s, columns", name);
	uint64_t rows = through_once(name, ctx, rank, a, check);
	CHECK_INT(through_once(other, ctx, rank, &columns, check), ==, rows);
	return rows;
}

static void is_whole(const DPI_Value *v, size_t columns)
{
	CHECK_INT(columns, ==, 4);
	CHECK_INT(v[3].u, ==, row_of((int)v[2].i, v[0].i, v[1].i).check);
	CHECK_INT(v[1].i % 3, ==, 0);
}

TEST(flow_filter, "FL-16 FL-481 FL-485 FL-700 FL-701 FL-711 FL-717 FL-719", 3)
{
	DPI_Context ctx = join();
	static const DPI_Stage stage[] = { FILTER(DPI_AT_SOURCE, "number % 3 = 0"), FILTER(DPI_AT_TARGET, "number % 3 = 0"),
					   { .place = DPI_AT_TARGET, .pushable = 1, .text = "number % 3 = 0" } };
	static const char *const name[] = { "source", "target", "pushable" };
	for (int i = 0; i < 3; i++) CHECK_INT(through(name[i], ctx, rank, &(DPI_Flow_Attr){ .stages = stage + i, .stage_count = 1 }, is_whole), ==, 3 * 334);
	leave(ctx);
}

static void is_projected(const DPI_Value *v, size_t columns)
{
	char text[40];
	CHECK_INT(columns, ==, 3);
	CHECK(v[1].type == DPI_TYPE_INT64 && v[2].type == DPI_TYPE_INT64);
	CHECK_INT(v[1].i, ==, 2 * v[2].i);
	CHECK_INT(v[2].i % 3, ==, 0);
	CHECK_INT(v[0].size, ==, snprintf(text, sizeof text, "number %lld", (long long)v[2].i));
	CHECK(!memcmp(v[0].data, text, v[0].size));
}

/* A filter and a projection to rows that vary: both here, both there, and one at each. */
TEST(flow_project, "FL-481 FL-485 FL-700 FL-702 FL-712", 3)
{
	DPI_Context ctx = join();
	static const int place[][2] = { { 0, 0 }, { 1, 1 }, { 0, 1 } };
	static const char *const name[] = { "source", "target", "both" };
	for (int i = 0; i < 3; i++) {
		DPI_Flow_Attr a = { STAGES(FILTER(place[i][0], "number % 3 = 0"), PROJECT(place[i][1], { .name = "text", .text = "'number ' || CAST(number AS UTF8)" },
									    { .name = "twice", .text = "number * 2" }, { .name = "number" })) };
		CHECK_INT(through(name[i], ctx, rank, &a, is_projected), ==, 3 * 334);
	}
	leave(ctx);
}

static void is_cast(const DPI_Value *v, size_t columns)
{
	CHECK_INT(columns, ==, 4);
	CHECK(v[0].type == DPI_TYPE_INT64 && v[1].type == DPI_TYPE_INT16 && v[2].type == DPI_TYPE_DECIMAL64 && v[3].type == DPI_TYPE_UINT64);
	CHECK_INT(v[3].u, ==, row_of((int)v[2].i / 10, v[0].i, v[1].i).check);
}

static void is_normalised(const DPI_Value *v, size_t columns)
{
	CHECK_INT(columns, ==, 4);
	CHECK(v[1].type == DPI_TYPE_DOUBLE && v[0].type == DPI_TYPE_INT64);
	CHECK(v[1].d >= -2 && v[1].d < 2 && (int64_t)(v[1].d * 250 + 500) / 3 == v[0].i);
}

TEST(flow_cast_and_normalise, "FL-703 FL-704", 3)
{
	DPI_Context ctx = join();
	DPI_Flow_Attr cast = { STAGES({ .kind = DPI_STAGE_CAST, .place = DPI_AT_TARGET,
					COLUMNS({ .name = "number", .type = DPI_TYPE_INT16 }, { .name = "from", .type = DPI_TYPE_DECIMAL64, .precision = 9, .scale = 1 }) }) };
	CHECK_INT(through("cast", ctx, rank, &cast, is_cast), ==, 3 * ROWS);
	DPI_Flow_Attr normal = { STAGES({ .kind = DPI_STAGE_NORMALISE, COLUMNS({ .name = "number", .minus = 500, .by = 250 }) }) };
	CHECK_INT(through("normal", ctx, rank, &normal, is_normalised), ==, 3 * ROWS);
	leave(ctx);
}

static void is_fourth(const DPI_Value *v, size_t columns)
{
	CHECK_INT(columns, ==, 4);
	CHECK_INT(v[1].i % 4, ==, 3);
}

#define ARGUMENT ((void *)(uintptr_t)4711)
#define SHARE 0x40000000u
static uint64_t kept;

static void is_in_sample(const DPI_Value *v, size_t columns)
{
	uint64_t hash;
	DPI_Values key = { .type = DPI_TYPE_INT64, .data = &v[0].i };
	CHECK_DPI(DPI_Hash_Rows(&key, 1, 1, 77, &hash));
	CHECK_INT((uint32_t)hash, <, SHARE);
	CHECK_INT(columns, ==, 4);
}

TEST(flow_sample, "FL-705 FL-706", 3)
{
	DPI_Context ctx = join();
	static const char *const key[] = { "key" };
	DPI_Flow_Attr number = { STAGES({ .kind = DPI_STAGE_SAMPLE, .fraction = 0.25 }) };
	CHECK_INT(through("number", ctx, rank, &number, is_fourth), ==, 3 * 250);
	kept = 0;
	for (int64_t i = 0; i < ROWS; i++) {
		uint64_t hash;
		DPI_Values v = { .type = DPI_TYPE_INT64, .data = &(int64_t){ i / 3 } };
		CHECK_DPI(DPI_Hash_Rows(&v, 1, 1, 77, &hash));
		kept += (uint32_t)hash < SHARE;
	}
	for (int place = 0; place < 2; place++) {
		DPI_Flow_Attr a = { STAGES({ .kind = DPI_STAGE_SAMPLE, .place = place, .fraction = 0.25, .key = key, .key_count = 1, .salt = 77 }) };
		CHECK_INT(through(place ? "there" : "here", ctx, rank, &a, is_in_sample), ==, 3 * kept);
	}
	leave(ctx);
}

/* Odd numbers, ten times as large, and as many bytes as the number says. */
static int odd(const void *row, size_t size, void *arg, void *out, size_t room, size_t *written)
{
	struct flow_row r;
	CHECK_INT(size, ==, sizeof r);
	CHECK(arg == ARGUMENT);
	memcpy(&r, row, sizeof r);
	*written = 0;
	if (r.number % 2 == 0) return DPI_SUCCESS;
	*written = 24 + (size_t)r.number;
	if (*written > room) return DPI_ERR_SIZE;
	uint32_t place[2] = { 24, (uint32_t)r.number };
	int64_t ten = r.number * 10;
	memcpy(out, &r.key, 8), memcpy((char *)out + 8, &ten, 8), memcpy((char *)out + 16, place, 8);
	memset((char *)out + 24, 'o', (size_t)r.number);
	return DPI_SUCCESS;
}

static void is_odd(const DPI_Value *v, size_t columns)
{
	CHECK_INT(columns, ==, 3);
	CHECK_INT(v[1].i % 20, ==, 10);
	CHECK_INT(v[2].size, ==, v[1].i / 10);
	CHECK_INT(v[0].i, ==, v[1].i / 30);
}

TEST(flow_map, "FL-485 FL-707 FL-716 FL-718", 3)
{
	DPI_Context ctx = join();
	DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "ten", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 0, 0, 0, 0 } };
	DPI_Schema schema;
	CHECK_DPI(DPI_Create_Schema(columns, 3, &schema));
	CHECK_ERROR(DPI_Register_Map(NULL, 1, odd, NULL), DPI_ERR_ARGUMENT, "DPI_Register_Map");
	CHECK_ERROR(DPI_Register_Map("odd", 1, NULL, NULL), DPI_ERR_ARGUMENT, "odd");
	DPI_Flow_Attr a = { .size = sizeof a, STAGES({ .kind = DPI_STAGE_MAP, .text = "odd", .version = 1, .schema = schema },
						     { .kind = DPI_STAGE_MAP, .place = DPI_AT_TARGET, .text = "same", .version = 9 }) };
	DPI_Flow f = kit_flow("none", &a, ctx);
	CHECK_ERROR(DPI_Open_Source(f, NULL, &(DPI_Source){ 0 }), DPI_ERR_NAME, "\"odd\" of version 1");
	CHECK_ERROR(DPI_Open_Target(0, NULL, f, &(DPI_Target){ 0 }), DPI_ERR_NAME, "\"same\" of version 9");
	for (int place = 0; place < 2; place++) {
		DPI_Flow_Attr b = { STAGES({ .kind = DPI_STAGE_MAP, .place = place, .text = "odd", .version = 1, .schema = schema }) };
		CHECK_DPI(DPI_Register_Map("odd", 1, odd, ARGUMENT));
		CHECK_INT(through(place ? "there" : "here", ctx, rank, &b, is_odd), ==, 3 * ROWS / 2);
	}
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

/* -------------------------------------------------------------------------------------------------------- row errors */

#define DIVIDE(at) STAGES(PROJECT(at, { .name = "key" }, { .name = "number" }, { .name = "tenth", .text = "10000 / (number - 50)" }))

TEST(flow_row_error_fails, "FL-485 FL-708", 2)
{
	DPI_Context ctx = join();
	static const char *const name[] = { "here", "there", "columns here", "columns there" };
	for (int n = 0; n < 4; n++) {
		int place = n % 2;
		DPI_Flow f = FLOW(name[n], ctx, .sources = 1, DIVIDE(place), .layout = n / 2);
		DPI_Tuple u;
		int error = DPI_SUCCESS;
		if (rank == 0) {
			DPI_Source s = source_of(f);
			harness_barrier();
			if (!place) {
				push_rows(s, 0, 0, 50);
				struct flow_row r = row_of(0, 50, 50);
				size_t pushed = 9;
				CHECK_ERROR(n ? arrow_push(&r, sizeof r, 1, s, &pushed) : DPI_Push(&r, sizeof r, s), DPI_ERR_RANGE, "division by zero");
				if (n) CHECK_INT(pushed, ==, 0);
				CHECK(strstr(detail(), "stage 0"));
			} else {
				push_rows(s, 0, 0, 51);
				CHECK_DPI(DPI_Flush_Source(s));
			}
			struct flow_row r = row_of(0, 0, 0);
			UNTIL(10 * SECOND, error == DPI_ERR_FLOW, error = DPI_Push(&r, sizeof r, s));
			CHECK(strstr(detail(), "division by zero"));
		} else {
			DPI_Target t = target_of(0, f);
			harness_barrier();
			while (!(error = DPI_Next(t, &u))) CHECK(u.kind == DPI_TUPLE_ROW);
			CHECK_INT(error, ==, place ? DPI_ERR_RANGE : DPI_ERR_FLOW);
			CHECK(strstr(detail(), "division by zero"));
		}
		harness_barrier();
	}
	leave(ctx);
}

static void is_tenth_or_null(const DPI_Value *v, size_t columns)
{
	CHECK_INT(columns, ==, 3);
	if (v[1].i == 50) CHECK_INT(v[2].type, ==, DPI_TYPE_NULL);
	else CHECK_INT(v[2].i, ==, 10000 / (v[1].i - 50));
}

static void is_tenth(const DPI_Value *v, size_t columns)
{
	CHECK_INT(v[1].i, !=, 50);
	is_tenth_or_null(v, columns);
}

TEST(flow_row_error_goes_on, "FL-485 FL-709 FL-710", 3)
{
	DPI_Context ctx = join();
	char name[20];
	for (int place = 0; place < 2; place++) {
		DPI_Flow_Attr null = { DIVIDE(place), .row_error = DPI_ROW_ERROR_NULL }, drop = { DIVIDE(place), .row_error = DPI_ROW_ERROR_DROPS };
		snprintf(name, sizeof name, "null %d", place);
		CHECK_INT(through(name, ctx, rank, &null, is_tenth_or_null), ==, 3 * ROWS);
		snprintf(name, sizeof name, "drop %d", place);
		CHECK_INT(through(name, ctx, rank, &drop, is_tenth), ==, 3 * (ROWS - 1));
	}
	DPI_Flow f = FLOW("counted", ctx, .sources = 3, DIVIDE(0), .row_error = DPI_ROW_ERROR_DROPS);
	DPI_Target t = rank ? NULL : target_of(0, f);
	DPI_Source s = source_of(f);
	push_rows(s, rank, 0, 100);
	DPI_Source_Stats ss = { .size = sizeof ss };
	CHECK_DPI(DPI_Get_Source_Stats(s, &ss));
	CHECK(ss.rows == 99 && ss.sifted == 1 && ss.row_errors == 1);
	CHECK_DPI(DPI_Close_Source(s));
	DPI_Tuple u;
	int rows = 0, error = DPI_ERR_END;
	for (; t && !(error = DPI_Next(t, &u)); rows++) CHECK_INT(u.kind, ==, DPI_TUPLE_ROW);
	CHECK_INT(error, ==, DPI_ERR_END);
	if (t) CHECK_INT(rows, ==, 3 * 99);
	leave(ctx);
}

/* ------------------------------------------------------------------------------------------------ marks, room, sizes */

/* Stages hold nothing back: marks and rows keep their order, and what none passes does not stop them. */
TEST(flow_stages_and_marks, "FL-485 FL-713 FL-715", 2)
{
	DPI_Context ctx = join();
	static const char *const name[] = { "here", "there", "columns here", "columns there" };
	for (int n = 0; n < 4; n++) {
		int place = n % 2;
		DPI_Flow f = FLOW(name[n], ctx, .sources = 1, .layout = n / 2, STAGES(FILTER(place, "number >= 10 AND number < 20")));
		DPI_Tuple u;
		if (rank == 0) {
			DPI_Source s = source_of(f);
			for (int64_t i = 0; i < 30; i += 5) {
				push_rows(s, 0, i, 5);
				CHECK_DPI(DPI_Push_Mark((uint64_t)i, s));
			}
			void *room;
			if (!place) CHECK_ERROR(DPI_Reserve(sizeof(struct flow_row), 0, s, &room), DPI_ERR_USE, "push");
			CHECK_DPI(DPI_Close_Source(s));
		} else {
			DPI_Target t = target_of(0, f);
			int64_t next = 10;
			uint64_t mark = 0;
			int error;
			while (!(error = DPI_Next(t, &u))) {
				if (u.kind == DPI_TUPLE_ROW) {
					CHECK_INT(((const struct flow_row *)u.data)->number, ==, next);
					next++;
				} else {
					CHECK(mark == 0 ? u.mark <= 5 : u.mark == mark + 5);
					mark = u.mark;
					if (mark >= 10) CHECK_INT(next, ==, mark >= 15 ? 20 : 15);
				}
			}
			CHECK_INT(error, ==, DPI_ERR_END);
			CHECK(next == 20 && mark == 25);
		}
		harness_barrier();
	}
	leave(ctx);
}

/* A push that found no room is as if it had not been: the sample counts the rows that were pushed. */
static void sample_and_room(int rank, int layout)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .segment = 512, .memory = 4096, .layout = layout, STAGES({ .kind = DPI_STAGE_SAMPLE, .fraction = 0.5 }));
	int64_t *behind = harness_shared();
	if (rank == 0) {
		DPI_Source s = source_with(f, SECOND);
		struct flow_row rows[100];
		int64_t next = 0;
		int full = 0;
		harness_barrier();
		while (next < 5000) {
			size_t pushed = 1;
			int error, many = full < 4 ? full % 2 == 0 : next / 500 % 2 == 0;
			for (int64_t i = 0; i < 100; i++) rows[i] = row_of(0, 1, next + i);
			if (many && next % 3 == 0) error = arrow_push(rows, sizeof *rows, 100, s, &pushed);
			else error = many ? DPI_Push_Batch(rows, 100, s, &pushed) : DPI_Try_Push(rows, sizeof *rows, s);
			if (!many) pushed = !error;
			next += (int64_t)pushed;
			if (!error) continue;
			CHECK_INT(error, ==, many ? DPI_ERR_TIMEOUT : DPI_ERR_AGAIN);
			if (full++ == 3) __atomic_store_n(behind, 1, __ATOMIC_SEQ_CST);
			harness_pause();
		}
		__atomic_store_n(behind, 1, __ATOMIC_SEQ_CST);
		CHECK_INT(full, >, 0);
		/* a close has no longer than the handle's timeout: it finds nothing to wait for */
		UNTIL(15 * SECOND, DPI_Flush_Source(s) == DPI_SUCCESS, );
		UNTIL(15 * SECOND, __atomic_load_n(behind + 1, __ATOMIC_SEQ_CST) == next / 2, );
		CHECK_DPI(DPI_Close_Source(s));
		*behind = next;
		harness_barrier();
	} else {
		DPI_Target t = target_of(0, f);
		DPI_Tuple u;
		int64_t number = 1;
		int error;
		harness_barrier();
		UNTIL(10 * SECOND, __atomic_load_n(behind, __ATOMIC_SEQ_CST), );
		for (; !(error = DPI_Next(t, &u)); number += 2) {
			CHECK_INT(((const struct flow_row *)u.data)->number, ==, number);
			__atomic_fetch_add(behind + 1, 1, __ATOMIC_SEQ_CST);
		}
		CHECK_INT(error, ==, DPI_ERR_END);
		harness_barrier();
		CHECK_INT(number, ==, *behind / 2 * 2 + 1);
	}
	leave(ctx);
}

TEST(flow_sample_and_room, "FL-714", 2)
{
	sample_and_room(rank, DPI_LAYOUT_ROWS);
}

TEST(columns_sample_and_room, "FL-485 FL-714", 2)
{
	sample_and_room(rank, DPI_LAYOUT_COLUMNS);
}

/* Rows that vary, some larger than a segment, through filters at both ends; and to every target. */
static void large_rows(int rank, int layout)
{
	DPI_Context ctx = join();
	DPI_Column columns[] = { { "n", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "t", DPI_TYPE_UTF8, 1, 0, 0, 0 } };
	DPI_Schema schema;
	CHECK_DPI(DPI_Create_Schema(columns, 2, &schema));
	DPI_Flow_Attr a = { .size = sizeof a, .schema = schema, .dist = DPI_DIST_BROADCAST, .targets = 2, .sources = 2, .segment = 1024, .layout = layout,
			    STAGES(FILTER(0, "LENGTH(t) > 10"), FILTER(1, "t LIKE 'x%'"), PROJECT(1, { .name = "length", .text = "LENGTH(t)" }, { .name = "n" })) };
	DPI_Flow f = kit_flow("f", &a, ctx);
	DPI_Target t = target_of((uint32_t)rank, f);
	DPI_Source s = source_of(f);
	static char text[40000], row[40100];
	static const uint32_t size[] = { 5, 11, 500, 2000, 40000 };
	for (int64_t i = 0; i < 20; i++) {
		size_t bytes;
		memset(text, i % 4 ? 'x' : 'y', sizeof text);
		DPI_Value v[] = { { .type = DPI_TYPE_INT64, .i = i }, { .type = DPI_TYPE_UTF8, .size = size[i % 5], .data = text } };
		CHECK_DPI(DPI_Pack_Row(v, schema, row, sizeof row, &bytes));
		CHECK_DPI(DPI_Push(row, bytes, s));
	}
	DPI_Value null[] = { { .type = DPI_TYPE_INT64, .i = 99 }, { .type = DPI_TYPE_NULL } };
	size_t bytes;
	CHECK_DPI(DPI_Pack_Row(null, schema, row, sizeof row, &bytes));
	CHECK_DPI(DPI_Push(row, bytes, s));
	CHECK_DPI(DPI_Close_Source(s));
	int rows = 0, error;
	DPI_Batch b;
	while (!(error = DPI_Next_Batch(t, &b))) {
		for (size_t i = 0; i < b.count; i++, rows++) {
			int64_t r[2];
			CHECK(b.rows && b.stride >= sizeof r);
			memcpy(r, (const char *)b.rows + i * b.stride, sizeof r);
			CHECK(r[1] % 4 && r[1] % 5);
			CHECK_INT(r[0], ==, size[r[1] % 5]);
		}
		CHECK_DPI(DPI_Release_Batch(1, t));
	}
	CHECK_INT(error, ==, DPI_ERR_END);
	CHECK_INT(rows, ==, 2 * 12);
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

TEST(flow_stages_of_large_rows, "FL-700 FL-701", 2)
{
	large_rows(rank, DPI_LAYOUT_ROWS);
}

TEST(columns_stages_of_large_rows, "FL-475 FL-485 FL-700", 2)
{
	large_rows(rank, DPI_LAYOUT_COLUMNS);
}
