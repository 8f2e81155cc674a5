/* SPDX-License-Identifier: Apache-2.0
 * flow_reduce.c: flows that reduce by key: results against a model, by every way to push and take; budgets. */
#include "arrow_kit.h"
#include "reduce_flow_kit.h"

static const DPI_Aggregate all_sums[] = {
	{ .function = DPI_AGGREGATE_COUNT_ALL, .name = "n" },
	{ .function = DPI_AGGREGATE_SUM, .column = "a", .name = "sum" },
	{ .function = DPI_AGGREGATE_AVG, .column = "a", .name = "avg" },
	{ .function = DPI_AGGREGATE_MIN, .column = "a", .name = "least" },
	{ .function = DPI_AGGREGATE_MAX, .column = "a", .name = "most" },
	{ .function = DPI_AGGREGATE_SUM, .column = "b", .name = "half" },
	{ .function = DPI_AGGREGATE_COUNT_DISTINCT, .column = "a", .name = "distinct", .precision = 10 },
	{ .function = DPI_AGGREGATE_TOP_K, .column = "a", .name = "top", .k = 3 },
};
enum { ALL = 8, FIXED = 7 }; /* results without the top k do not vary */
struct result {
	int64_t key, n, sum;
	double avg;
	int64_t least, most;
	double half;
	int64_t distinct;
};

static void check_result(struct group *g, int64_t keys, const void *row, size_t size, DPI_Schema output)
{
	struct result r;
	memcpy(&r, row, sizeof r);
	CHECK(r.key >= -keys / 2 && r.key < keys - keys / 2);
	g += r.key + keys / 2;
	CHECK(!g->came);
	g->came = true;
	CHECK_INT(r.n, ==, g->count);
	CHECK_INT(r.sum, ==, g->sum);
	CHECK(r.avg == (double)g->sum / (double)g->count);
	CHECK_INT(r.least, ==, g->least);
	CHECK_INT(r.most, ==, g->most);
	CHECK(r.half == (double)g->sum / 4);
	CHECK_INT(r.distinct, >=, g->distinct - g->distinct / 5 - 1);
	CHECK_INT(r.distinct, <=, g->distinct + g->distinct / 5 + 1);
	if (!output) {
		CHECK_INT(size, ==, sizeof r);
		return;
	}
	DPI_Value v;
	CHECK_DPI(DPI_Get_Value(row, size, ALL, output, &v));
	CHECK_INT(v.type, ==, DPI_TYPE_BINARY);
	CHECK_INT(v.size, ==, 8 * (g->count < 3 ? g->count : 3));
	CHECK(!memcmp(v.data, g->top, v.size));
}

/* Every rank is a source and a target. */
static void reduce_all(int rank, int ranks, size_t count, int64_t rows, int64_t keys, DPI_Flow_Attr *attr)
{
	uint64_t *came = harness_shared();
	DPI_Context ctx = join();
	attr->targets = attr->sources = (uint32_t)ranks;
	DPI_Flow f = reduce_flow("f", all_sums, count, attr, ctx);
	DPI_Schema output;
	CHECK_DPI(DPI_Get_Flow_Output_Schema(f, &output));
	DPI_Target t = target_of((uint32_t)rank, f);
	DPI_Source s = source_of(f);
	struct group *g = model_of(ranks, rows, keys);
	DPI_Tuple u;
	int error;
	for (int64_t i = 0; i < rows;) { /* by turns one by one and as columns */
		struct sale some[300];
		size_t n = 0, pushed;
		while (n < 300 && i + (int64_t)n < rows) some[n] = sale_of(rank, i + (int64_t)n, keys), n++;
		if (i / 300 % 2) push_sales(s, rank, i, i + (int64_t)n, keys);
		else CHECK_DPI(arrow_push(some, sizeof *some, n, s, &pushed));
		i += (int64_t)n;
	}
	CHECK_DPI(DPI_Close_Source(s));
	uint64_t groups = 0, here = 0;
	for (int n = 0; !(error = DPI_Next(t, &u)); here++, n++) {
		struct arrow_run run;
		CHECK_INT(u.kind, ==, DPI_TUPLE_ROW);
		CHECK_INT(u.source, ==, DPI_SOURCE_NONE);
		check_result(g, keys, u.data, u.size, count == ALL ? output : NULL);
		if (n % 3 || (error = arrow_next(t, output, &run))) continue;
		CHECK_INT(run.batch.source, ==, DPI_SOURCE_NONE);
		for (size_t i = 0; i < run.count; i++) check_result(g, keys, run.row[i].data, run.row[i].size, count == ALL ? output : NULL);
		here += run.count;
		arrow_done(&run);
	}
	CHECK_ERROR(error, DPI_ERR_END, "ended");
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
	CHECK_INT(target_stats(t).results, ==, here);
	__atomic_fetch_add(came, here, __ATOMIC_SEQ_CST);
	harness_barrier();
	for (int64_t k = 0; k < keys; k++) groups += g[k].count != 0;
	CHECK_INT(*came, ==, groups);
	if (attr->reduce_memory == 65536) CHECK_INT(target_stats(t).spilled, >, 0);
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Free_Schema(output));
	free(g);
	leave(ctx);
}

TEST(flow_reduce_few, "FL-320 FL-321 FL-324", 3)
{
	reduce_all(rank, ranks, FIXED, 3000, 7, FLOW_ATTR(.segment = 4096));
}

TEST(flow_reduce_many, "FL-320 FL-321 FL-324", 3, .deadline_s = 180)
{
	reduce_all(rank, ranks, ALL, 4000, 1000, FLOW_ATTR(.segment = 4096));
}

TEST(flow_reduce_at_the_target, "FL-320 FL-325", 3)
{
	reduce_all(rank, ranks, ALL, 2000, 200, FLOW_ATTR(.reduce = DPI_REDUCE_TARGET));
}

/* Rows of 24 bytes: none that travels is larger, and its source says that it has reduced; with all of them it would be, and does not. */
TEST(flow_reduce_pushable, "FL-338", 2)
{
	static const DPI_Aggregate rows[] = { { .function = DPI_AGGREGATE_COUNT_ALL, .name = "n" } };
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", rows, 1, ctx, .sources = 1, .reduce = DPI_REDUCE_PUSHABLE);
	if (rank) {
		DPI_Source s = source_of(f);
		push_sales(s, rank, 0, 1000, 10);
		CHECK_DPI(DPI_Flush_Source(s));
		CHECK_INT(source_stats(s).reduced, ==, 1000);
		CHECK_INT(source_stats(s).rows, ==, 10);
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of(0, f);
		struct { int64_t key, n; } x;
		int64_t count = 0;
		DPI_Tuple u;
		int error;
		for (; !(error = DPI_Next(t, &u)); count += x.n) memcpy(&x, u.data, sizeof x);
		CHECK_ERROR(error, DPI_ERR_END, "ended");
		CHECK_INT(count, ==, 1000);
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

TEST(flow_reduce_pushable_stays, "FL-338", 3)
{
	reduce_all(rank, ranks, ALL, 2000, 200, FLOW_ATTR(.reduce = DPI_REDUCE_PUSHABLE));
}

/* Tables at sources that go out again and again, those at targets in a file. */
TEST(flow_reduce_spills, "FL-320 FL-326 FL-329", 3, .deadline_s = 180)
{
	reduce_all(rank, ranks, ALL, 3000, 1500, FLOW_ATTR(.segment = 2048, .reduce_memory = 65536));
}

/* Flows of columns. */
TEST(columns_reduce_few, "FL-320 FL-324 FL-486", 3)
{
	reduce_all(rank, ranks, FIXED, 3000, 7, FLOW_ATTR(.segment = 4096, .layout = DPI_LAYOUT_COLUMNS));
}

TEST(columns_reduce_at_the_target, "FL-320 FL-325 FL-486", 3)
{
	reduce_all(rank, ranks, ALL, 2000, 200, FLOW_ATTR(.reduce = DPI_REDUCE_TARGET, .layout = DPI_LAYOUT_COLUMNS));
}

TEST(columns_reduce_spills, "FL-320 FL-326 FL-329 FL-486", 3, .deadline_s = 180)
{
	reduce_all(rank, ranks, ALL, 3000, 1500, FLOW_ATTR(.segment = 4096, .reduce_memory = 65536, .layout = DPI_LAYOUT_COLUMNS));
}

TEST(columns_reduce_encoded, "FL-320 FL-484 FL-486", 3, .deadline_s = 180)
{
	static const DPI_Codec lz4 = { .codec = DPI_CODEC_LZ4 };
	reduce_all(rank, ranks, FIXED, 3000, 1500, FLOW_ATTR(.segment = 8192, .reduce_memory = 65536, .layout = DPI_LAYOUT_COLUMNS, .codecs = &lz4, .codec_count = 1));
}

TEST(flow_reduce_budget, "FL-329", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", all_sums, ALL, ctx, .sources = 1, .reduce_memory = 65536, .reduce_full = DPI_FULL_FAILS);
	DPI_Tuple u;
	if (rank) {
		DPI_Target t = target_of(0, f);
		int error = DPI_Next(t, &u);
		CHECK_ERROR(error, DPI_ERR_FLOW, "give it more memory");
		CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_FLOW, "give it more memory");
		CHECK_DPI(DPI_Close_Target(t));
	} else {
		DPI_Source s = source_of(f);
		struct sale r;
		int error = DPI_SUCCESS;
		for (int64_t i = 0; !error; i++) {
			r = sale_of(rank, i, 100000);
			error = DPI_Push(&r, sizeof r, s);
		}
		CHECK_ERROR(error, DPI_ERR_FLOW, "give it more memory");
		CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_FLOW, "give it more memory");
	}
	leave(ctx);
}

/* ------------------------------------------------------------------------------------------------- by every way */

TEST(flow_reduce_by_batches, "FL-320 FL-324", 2)
{
	enum { ROWS = 5000, KEYS = 3000 };
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", all_sums, FIXED, ctx, .sources = 1, .segment = 2048);
	if (rank == 0) {
		DPI_Source s = source_of(f);
		struct sale *rows = calloc(ROWS, sizeof *rows);
		size_t pushed = 1, done = 0;
		for (int64_t i = 0; i < ROWS; i++) rows[i] = sale_of(0, i, KEYS);
		for (size_t n = 1; done < ROWS; n = n * 2 + 1, done += pushed) {
			if (n > ROWS - done) n = ROWS - done;
			if (n == 1) CHECK_DPI(DPI_Push(rows + done, sizeof *rows, s));
			else CHECK_DPI(DPI_Push_Batch(rows + done, n, s, &pushed));
			CHECK_INT(pushed, ==, n);
		}
		CHECK_INT(source_stats(s).reduced, <=, ROWS);
		CHECK_DPI(DPI_Close_Source(s));
		free(rows);
	} else {
		DPI_Target t = target_of(0, f);
		struct group *g = model_of(1, ROWS, KEYS);
		DPI_Batch b[64];
		size_t lent = 0, which;
		int error;
		int64_t groups = 0;
		CHECK_DPI(DPI_Wait_Targets(&t, 1, 0, &which));
		while (!(error = DPI_Next_Batch(t, b + lent))) {
			CHECK_INT(b[lent].kind, ==, DPI_TUPLE_ROW);
			CHECK_INT(b[lent].source, ==, DPI_SOURCE_NONE);
			CHECK_INT(b[lent].stride, ==, sizeof(struct result));
			lent++;
		}
		CHECK_ERROR(error, DPI_ERR_END, "ended");
		for (size_t i = 0; i < lent; i++) /* all of them still stand */
			for (size_t k = 0; k < b[i].count; k++, groups++)
				check_result(g, KEYS, (const char *)b[i].rows + k * b[i].stride, b[i].stride, NULL);
		for (int64_t k = 0; k < KEYS; k++) groups -= g[k].count != 0;
		CHECK_INT(groups, ==, 0);
		CHECK_DPI(DPI_Release_Batch(lent, t));
		CHECK_DPI(DPI_Close_Target(t));
		free(g);
	}
	leave(ctx);
}

/* One thread is source and target; rings and tables are small, so that pushes find no room. */
TEST(flow_reduce_without_room, "FL-326 FL-328", 1, .deadline_s = 180)
{
	enum { ROWS = 20000, KEYS = 8000, RUN = 700 };
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", all_sums, FIXED, ctx, .sources = 1, .segment = 2048, .memory = 16384, .reduce_memory = 65536);
	DPI_Target t = target_of(0, f);
	DPI_Source s = source_with(f, 1 * MS);
	struct group *g = model_of(1, ROWS, KEYS);
	int64_t again = 0, late = 0, cut = 0, groups = 0;
	DPI_Tuple u;
	int error;
	(void)rank;
	for (int64_t i = 0; i < ROWS;) {
		struct sale r[RUN] = { sale_of(0, i, KEYS) };
		size_t pushed, n = ROWS - i < RUN ? (size_t)(ROWS - i) : RUN;
		bool batch = i / 1000 % 2;
		for (size_t k = 1; batch && k < n; k++) r[k] = sale_of(0, i + (int64_t)k, KEYS);
		if (batch) error = DPI_Push_Batch(r, n, s, &pushed);
		else error = i % 1000 < 10 ? DPI_Push(r, sizeof *r, s) : DPI_Try_Push(r, sizeof *r, s), pushed = !error;
		i += (int64_t)pushed;
		if (batch && pushed < n) cut++;
		if (error == DPI_ERR_TIMEOUT) late++;
		else if (error == DPI_ERR_AGAIN) again++;
		else if (error) CHECK_DPI(error);
		if (error) CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, " ");
	}
	CHECK_INT(again, >, 0);
	CHECK_INT(cut, >, 0);
	while ((error = DPI_Flush_Source(s)) == DPI_ERR_TIMEOUT) CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_AGAIN, " ");
	CHECK_DPI(error);
	CHECK_DPI(DPI_Close_Source(s));
	while (!(error = DPI_Next(t, &u))) check_result(g, KEYS, u.data, u.size, NULL), groups++;
	CHECK_ERROR(error, DPI_ERR_END, "ended");
	for (int64_t k = 0; k < KEYS; k++) groups -= g[k].count != 0;
	CHECK_INT(groups, ==, 0);
	CHECK_DPI(DPI_Close_Target(t));
	free(g);
	leave(ctx);
}

/* Names as keys, NULL among them; results that vary. */
TEST(flow_reduce_text, "FL-320 FL-324 FL-334", 2)
{
	static char larger[40001], large[3001]; /* than a segment, and not */
	const char *names[] = { NULL, "", "a", large, larger };
	static const char *const key[] = { "name" };
	DPI_Column columns[] = { { "name", DPI_TYPE_UTF8, 1, 0, 0, 0 }, { "x", DPI_TYPE_INT32, 1, 0, 0, 0 } };
	DPI_Aggregate sums[] = { { .function = DPI_AGGREGATE_SUM, .column = "x" }, { .function = DPI_AGGREGATE_COUNT, .column = "x", .name = "n" } };
	DPI_Schema schema, output;
	DPI_Context ctx = join();
	DPI_Flow f;
	static uint8_t row[50000];
	size_t size;
	memset(large, 'x', 3000), memset(larger, 'x', 40000);
	CHECK_DPI(DPI_Create_Schema(columns, 2, &schema));
	CHECK_DPI(DPI_Create_Flow("f", FLOW_ATTR(.create = DPI_CREATE_OR_OPEN, .schema = schema, .key = key, .key_count = 1, .sources = 2, .aggregates = sums,
						  .aggregate_count = 2), ctx, &f));
	DPI_Target t = rank ? NULL : target_of(0, f);
	DPI_Source s = source_of(f);
	for (int i = 0; i < 1000; i++) {
		const char *name = names[i % 5];
		DPI_Value v[2] = { { .type = DPI_TYPE_NULL }, { .type = DPI_TYPE_NULL } };
		if (name) v[0] = (DPI_Value){ .type = DPI_TYPE_UTF8, .size = (uint32_t)strlen(name), .data = name };
		if (i % 2) v[1] = (DPI_Value){ .type = DPI_TYPE_INT32, .i = i };
		CHECK_DPI(DPI_Pack_Row(v, schema, row, sizeof row, &size));
		CHECK_DPI(DPI_Push(row, size, s));
	}
	/* text that is none would be refused by the target: it does not get that far */
	DPI_Value bad[2] = { { .type = DPI_TYPE_UTF8, .size = 2, .data = "ab" }, { .type = DPI_TYPE_NULL } };
	CHECK_DPI(DPI_Pack_Row(bad, schema, row, sizeof row, &size));
	row[size - 1] = 0xff;
	CHECK_ERROR(DPI_Push(row, size, s), DPI_ERR_CORRUPT, "UTF-8");
	CHECK_DPI(DPI_Close_Source(s));
	if (!rank) {
		DPI_Tuple u;
		DPI_Value v;
		int error, met = 0;
		CHECK_DPI(DPI_Get_Flow_Output_Schema(f, &output));
		while (!(error = DPI_Next(t, &u))) {
			int64_t sum = 0;
			int which = 0;
			CHECK_DPI(DPI_Get_Value(u.data, u.size, 0, output, &v));
			while (which < 5 && !(names[which] ? v.type && v.size == strlen(names[which]) && !memcmp(v.data, names[which], v.size) : !v.type)) which++;
			CHECK_INT(which, <, 5);
			met |= 1 << which;
			for (int i = which; i < 1000; i += 5) sum += i % 2 ? 2 * i : 0;
			CHECK_DPI(DPI_Get_Value(u.data, u.size, 1, output, &v));
			CHECK_INT(v.i, ==, sum);
			CHECK_DPI(DPI_Get_Value(u.data, u.size, 2, output, &v));
			CHECK_INT(v.i, ==, 200);
		}
		CHECK_ERROR(error, DPI_ERR_END, "ended");
		CHECK_INT(met, ==, 31);
		CHECK_DPI(DPI_Close_Target(t));
		CHECK_DPI(DPI_Free_Schema(output));
	}
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

/* ---------------------------------------------------------------------------------------- values that vary */

enum { WORDS = 3000, WORD_KEYS = 40 };

/* Row i of a rank: mostly short, now and then longer than a segment. */
static uint32_t word_of(int rank, int i, char *to, int64_t *key)
{
	uint64_t r = reduce_mix((uint64_t)rank * 1000003 + (uint64_t)i + 1);
	uint32_t size = (uint32_t)(r >> 8) % (i % 500 ? 30 : 6000);
	for (uint32_t k = 0; k < size; k++) to[k] = (char)('a' + reduce_mix(r + k / 5) % 26);
	*key = (int64_t)(r >> 40) % WORD_KEYS;
	return size;
}

static int compare_words(const char *a, uint32_t a_size, const char *b, uint32_t b_size)
{
	int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
	return order ? order : (a_size > b_size) - (a_size < b_size);
}

/* The least, the largest and the two largest text of each key, and one of those that came first. */
static void reduce_words(int rank, DPI_Flow_Attr *attr)
{
	static const char *const key[] = { "key" };
	static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "word", DPI_TYPE_UTF8, 1, 0, 0, 0 } };
	static const DPI_Aggregate words[] = { { .function = DPI_AGGREGATE_MIN, .column = "word", .name = "least" },
					       { .function = DPI_AGGREGATE_MAX, .column = "word", .name = "most" },
					       { .function = DPI_AGGREGATE_TOP_K, .column = "word", .name = "top", .k = 2 },
					       { .function = DPI_AGGREGATE_FIRST, .column = "word", .name = "first" } };
	static char word[6000];
	static uint8_t row[7000];
	struct { char least[6000], most[6000], next[6000]; uint32_t least_size, most_size, next_size, count; } *m = calloc(WORD_KEYS, sizeof *m);
	DPI_Context ctx = join();
	DPI_Schema output;
	DPI_Flow f;
	int64_t k;
	CHECK_DPI(DPI_Create_Schema(columns, 2, &attr->schema));
	attr->create = DPI_CREATE_OR_OPEN, attr->key = key, attr->key_count = 1, attr->sources = 2;
	attr->aggregates = words, attr->aggregate_count = 4;
	CHECK_DPI(DPI_Create_Flow("f", attr, ctx, &f));
	DPI_Target t = rank ? NULL : target_of(0, f);
	DPI_Source s = source_of(f);
	for (int i = 0; i < WORDS; i++) {
		size_t size;
		uint32_t n = word_of(rank, i, word, &k);
		DPI_Value v[2] = { { .type = DPI_TYPE_INT64, .i = k }, { .type = DPI_TYPE_UTF8, .size = n, .data = word } };
		if (i % 3 == 2) v[1] = (DPI_Value){ .type = DPI_TYPE_NULL };
		CHECK_DPI(DPI_Pack_Row(v, attr->schema, row, sizeof row, &size));
		CHECK_DPI(DPI_Push(row, size, s));
	}
	CHECK_DPI(DPI_Close_Source(s));
	for (int r = 0; r < 2 && m; r++)
		for (int i = 0; i < WORDS; i++) {
			uint32_t n = word_of(r, i, word, &k);
			if (i % 3 == 2) continue;
			if (!m[k].count || compare_words(word, n, m[k].least, m[k].least_size) < 0) memcpy(m[k].least, word, n), m[k].least_size = n;
			if (!m[k].count || compare_words(word, n, m[k].most, m[k].most_size) > 0) {
				memcpy(m[k].next, m[k].most, m[k].most_size), m[k].next_size = m[k].most_size;
				memcpy(m[k].most, word, n), m[k].most_size = n;
			} else if (m[k].count == 1 || compare_words(word, n, m[k].next, m[k].next_size) > 0) {
				memcpy(m[k].next, word, n), m[k].next_size = n;
			}
			m[k].count++;
		}
	if (t) {
		DPI_Tuple u;
		DPI_Value v;
		int error, groups = 0;
		CHECK_DPI(DPI_Get_Flow_Output_Schema(f, &output));
		for (; !(error = DPI_Next(t, &u)); groups++) {
			uint32_t size;
			CHECK_DPI(DPI_Get_Value(u.data, u.size, 0, output, &v));
			k = v.i;
			CHECK(k >= 0 && k < WORD_KEYS && m[k].count > 1);
			CHECK_DPI(DPI_Get_Value(u.data, u.size, 1, output, &v));
			CHECK(v.size == m[k].least_size && !memcmp(v.data, m[k].least, v.size));
			CHECK_DPI(DPI_Get_Value(u.data, u.size, 2, output, &v));
			CHECK(v.size == m[k].most_size && !memcmp(v.data, m[k].most, v.size));
			CHECK_DPI(DPI_Get_Value(u.data, u.size, 3, output, &v));
			CHECK_INT(v.size, ==, 8 + m[k].most_size + m[k].next_size);
			const char *at = v.data;
			CHECK((memcpy(&size, at, 4), size) == m[k].most_size && !memcmp(at + 4, m[k].most, size));
			at += 4 + size;
			CHECK((memcpy(&size, at, 4), size) == m[k].next_size && !memcmp(at + 4, m[k].next, size));
			CHECK_DPI(DPI_Get_Value(u.data, u.size, 4, output, &v));
			if (v.type) CHECK(compare_words(v.data, v.size, m[k].most, m[k].most_size) <= 0);
		}
		CHECK_ERROR(error, DPI_ERR_END, "ended");
		CHECK_INT(groups, ==, WORD_KEYS);
		if (attr->reduce_memory == 65536 && attr->reduce == DPI_REDUCE_TARGET) CHECK_INT(target_stats(t).spilled, >, 0);
		CHECK_DPI(DPI_Close_Target(t));
		CHECK_DPI(DPI_Free_Schema(output));
	}
	CHECK_DPI(DPI_Free_Schema(attr->schema));
	free(m);
	leave(ctx);
}

TEST(flow_reduce_words, "FL-307 FL-308 FL-309 FL-320", 2) { (void)ranks, reduce_words(rank, FLOW_ATTR(.segment = 4096)); }
TEST(flow_reduce_words_in_little_memory, "FL-316 FL-326 FL-329", 2) { (void)ranks, reduce_words(rank, FLOW_ATTR(.segment = 4096, .reduce_memory = 65536)); }
TEST(flow_reduce_words_at_the_target, "FL-316 FL-329", 2)
{
	(void)ranks;
	reduce_words(rank, FLOW_ATTR(.segment = 4096, .reduce_memory = 65536, .reduce = DPI_REDUCE_TARGET));
}

/* Without a key all rows are one group, at each target that they go to. */
TEST(flow_reduce_all_rows, "FL-320 FL-324", 2)
{
	DPI_Context ctx = join();
	DPI_Flow f;
	DPI_Schema schema;
	struct { int64_t sum, n; } x;
	CHECK_DPI(DPI_Create_Schema(sale_columns, 3, &schema));
	CHECK_DPI(DPI_Create_Flow("f", FLOW_ATTR(.create = DPI_CREATE_OR_OPEN, .schema = schema, .targets = 2, .sources = 2, .dist = DPI_DIST_BROADCAST,
						  .aggregates = sum_a, .aggregate_count = 2), ctx, &f));
	DPI_Target t = target_of((uint32_t)rank, f);
	DPI_Source s = source_of(f);
	int64_t sum = 0;
	DPI_Tuple u;
	void *room;
	for (int r = 0; r < 2; r++)
		for (int64_t i = 0; i < 700; i++) sum += sale_of(r, i, 5).a;
	push_sales(s, rank, 0, 700, 5);
	CHECK_ERROR(DPI_Reserve(sizeof(struct sale), 0, s, &room), DPI_ERR_USE, "push them");
	CHECK_DPI(DPI_Flush_Source(s));
	CHECK_INT(source_stats(s).reduced, ==, 1400);
	CHECK_INT(source_stats(s).rows, ==, 2);
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Next(t, &u));
	CHECK_INT(u.size, ==, sizeof x);
	memcpy(&x, u.data, sizeof x);
	CHECK_INT(x.n, ==, 1400);
	CHECK_INT(x.sum, ==, sum);
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "ended");
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

/* By a key that does not say where rows go: each target sums what it gets, everything, or what is its turn. */
static void sums_of_each_target(int rank, DPI_Flow_Attr *attr)
{
	enum { KEYS = 5, ROWS = 700 };
	static const char *const key[] = { "key" };
	struct { int64_t sum[KEYS], n[KEYS]; } *came = harness_shared();
	struct { int64_t key, sum, n; } x;
	DPI_Context ctx = join();
	DPI_Flow f;
	CHECK_DPI(DPI_Create_Schema(sale_columns, 3, &attr->schema));
	attr->create = DPI_CREATE_OR_OPEN, attr->targets = attr->sources = 2, attr->key = key, attr->key_count = 1;
	attr->aggregates = sum_a, attr->aggregate_count = 2;
	CHECK_DPI(DPI_Create_Flow("f", attr, ctx, &f));
	DPI_Target t = target_of((uint32_t)rank, f);
	DPI_Source s = source_of(f);
	DPI_Tuple u;
	int64_t rows = 0, sum[KEYS] = { 0 }, n[KEYS] = { 0 };
	int error, groups = 0;
	push_sales(s, rank, 0, ROWS, KEYS);
	CHECK_DPI(DPI_Close_Source(s));
	for (; !(error = DPI_Next(t, &u)); groups++, rows += x.n) {
		CHECK_INT(u.size, ==, sizeof x);
		memcpy(&x, u.data, sizeof x);
		int64_t k = x.key + KEYS / 2;
		CHECK(k >= 0 && k < KEYS);
		came[rank].sum[k] += x.sum, came[rank].n[k] += x.n;
	}
	CHECK_ERROR(error, DPI_ERR_END, "ended");
	CHECK_INT(groups, ==, KEYS);
	CHECK_INT(rows, ==, attr->dist == DPI_DIST_BROADCAST ? 2 * ROWS : ROWS);
	harness_barrier();
	for (int r = 0; r < 2; r++)
		for (int64_t i = 0; i < ROWS; i++) {
			struct sale a = sale_of(r, i, KEYS);
			sum[a.key + KEYS / 2] += a.a, n[a.key + KEYS / 2]++;
		}
	for (int k = 0; k < KEYS; k++) {
		bool all = attr->dist == DPI_DIST_BROADCAST;
		CHECK_INT(came[rank].n[k] + (all ? 0 : came[!rank].n[k]), ==, n[k]);
		CHECK_INT(came[rank].sum[k] + (all ? 0 : came[!rank].sum[k]), ==, sum[k]);
	}
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Free_Schema(attr->schema));
	leave(ctx);
}

TEST(flow_reduce_broadcast_by_key, "FL-22 FL-320", 2) { (void)ranks, sums_of_each_target(rank, FLOW_ATTR(.dist = DPI_DIST_BROADCAST)); }
TEST(flow_reduce_in_turn_by_key, "FL-22 FL-320", 2) { (void)ranks, sums_of_each_target(rank, FLOW_ATTR(.dist = DPI_DIST_ROUND_ROBIN)); }
TEST(flow_reduce_columns_in_turn_by_key, "FL-22 FL-320", 2)
{
	(void)ranks, sums_of_each_target(rank, FLOW_ATTR(.dist = DPI_DIST_ROUND_ROBIN, .layout = DPI_LAYOUT_COLUMNS, .reduce = DPI_REDUCE_TARGET));
}

/* What comes out of the stages at the source is reduced; the stages at the target see the results. */
static void between_stages(int rank, const DPI_Codec *codecs, size_t codec_count)
{
	enum { ROWS = 2000, KEYS = 40 };
	DPI_Stage_Column columns[] = { { .name = "twice", .text = "a * 2" }, { .name = "key" } };
	DPI_Stage stages[] = { { .kind = DPI_STAGE_FILTER, .text = "a >= 0" },
			       { .kind = DPI_STAGE_PROJECT, .columns = columns, .column_count = 2 },
			       { .kind = DPI_STAGE_FILTER, .place = DPI_AT_TARGET, .text = "key % 3 = 0" } };
	DPI_Aggregate sums[] = { { .function = DPI_AGGREGATE_SUM, .column = "twice" }, { .function = DPI_AGGREGATE_COUNT_ALL, .name = "n" } };
	int64_t sum[KEYS] = { 0 }, n[KEYS] = { 0 };
	DPI_Context ctx = join();
	DPI_Flow f = REDUCE("f", sums, 2, ctx, .targets = 2, .sources = 2, .stages = stages, .stage_count = 3,
			    .codecs = codecs, .codec_count = codec_count);
	DPI_Source s;
	int error = DPI_Open_Source(f, NULL, &s);
	if (error == DPI_ERR_UNSUPPORTED) SKIP("%s", detail());
	CHECK_DPI(error);
	DPI_Target t = target_of((uint32_t)rank, f);
	struct sale *rows = calloc(ROWS, sizeof *rows);
	DPI_Tuple u;
	int64_t *came = harness_shared(), groups = 0;
	for (int r = 0; r < 2; r++)
		for (int64_t i = 0; i < ROWS; i++) {
			struct sale x = sale_of(r, i, KEYS);
			if (r == rank) rows[i] = x;
			if (x.a < 0 || x.key % 3) continue;
			sum[x.key + KEYS / 2] += 2 * x.a;
			groups += !n[x.key + KEYS / 2]++;
		}
	CHECK_DPI(DPI_Push_Batch(rows, ROWS / 2, s, NULL));
	for (int64_t i = ROWS / 2; i < ROWS; i++) CHECK_DPI(DPI_Push(rows + i, sizeof *rows, s));
	CHECK_DPI(DPI_Close_Source(s));
	while (!(error = DPI_Next(t, &u))) {
		struct sum x;
		memcpy(&x, u.data, sizeof x);
		CHECK_INT(x.sum, ==, sum[x.key + KEYS / 2]);
		CHECK_INT(x.n, ==, n[x.key + KEYS / 2]);
		n[x.key + KEYS / 2] = -1;
		__atomic_fetch_add(came, 1, __ATOMIC_SEQ_CST);
	}
	CHECK_ERROR(error, DPI_ERR_END, "ended");
	harness_barrier();
	CHECK_INT(*came, ==, groups);
	CHECK_DPI(DPI_Close_Target(t));
	free(rows);
	leave(ctx);
}

TEST(flow_reduce_between_stages, "FL-320", 2)
{
	between_stages(rank, NULL, 0);
}

TEST(flow_reduce_between_stages_coded, "FL-320 C-11", 2)
{
	static const DPI_Codec codecs[] = { { DPI_CODEC_LZ4, 0, NULL }, { DPI_CODEC_AES_256_GCM, 0, "key" } };
	CHECK_DPI(DPI_Set_Key("key", "thirty-two bytes that are a key.", DPI_KEY_SIZE));
	between_stages(rank, codecs, 2);
}

static int no_group(const void *row, size_t size, void *arg, uint64_t *key)
{
	(void)row, (void)size, (void)arg;
	*key = 0;
	return DPI_SUCCESS;
}

#define REFUSED(class, sentence, ...)                                                                  \
	do {                                                                                           \
		DPI_Flow refused_flow;                                                                 \
		DPI_Flow_Attr refused = { .size = sizeof refused, .schema = schema, .key = sale_key, .key_count = 1, __VA_ARGS__ }; \
		CHECK_ERROR(DPI_Create_Flow("f", &refused, ctx, &refused_flow), class, sentence);      \
	} while (0)

TEST(flow_reduce_definitions, "FL-302 FL-336 FL-337", 1)
{
	DPI_Context ctx = join();
	DPI_Schema schema;
	static DPI_Aggregate many[DPI_AGGREGATES_MAX + 1];
	DPI_Aggregate bad = { .function = DPI_AGGREGATE_SUM, .column = "nowhere" }, big = { .function = DPI_AGGREGATE_COUNT_DISTINCT, .column = "a" };
	(void)rank;
	CHECK_DPI(DPI_Create_Schema(sale_columns, 3, &schema));
	CHECK_DPI(DPI_Register_Group("none", 1, no_group, NULL));
	REFUSED(DPI_ERR_NAME, "nowhere", .aggregates = &bad, .aggregate_count = 1);
	bad.function = 77;
	REFUSED(DPI_ERR_ARGUMENT, "attr->aggregates", .aggregates = &bad, .aggregate_count = 1);
	REFUSED(DPI_ERR_ARGUMENT, "attr->aggregates", .aggregates = many, .aggregate_count = DPI_AGGREGATES_MAX + 1);
	REFUSED(DPI_ERR_ARGUMENT, "aggregate_count", .aggregates = sum_a);
	REFUSED(DPI_ERR_ARGUMENT, "aggregate_count", .aggregate_count = 1);
	REFUSED(DPI_ERR_ARGUMENT, "attr->reduce ", .reduce = DPI_REDUCE_TARGET);
	REFUSED(DPI_ERR_ARGUMENT, "attr->reduce_memory", .reduce_memory = 1 << 20);
	REFUSED(DPI_ERR_ARGUMENT, "attr->reduce_full", .reduce_full = DPI_FULL_FAILS);
	REFUSED(DPI_ERR_ARGUMENT, "attr->window ", .window = DPI_WINDOW_MARKS);
	REFUSED(DPI_ERR_ARGUMENT, "attr->window_rows", .window_rows = 5);
	REFUSED(DPI_ERR_ARGUMENT, "reduce", .aggregates = sum_a, .aggregate_count = 2, .reduce = 9);
	REFUSED(DPI_ERR_ARGUMENT, "reduce_full", .aggregates = sum_a, .aggregate_count = 2, .reduce_full = 9);
	REFUSED(DPI_ERR_ARGUMENT, "window", .aggregates = sum_a, .aggregate_count = 2, .window = 9);
	REFUSED(DPI_ERR_ARGUMENT, "reduce_memory", .aggregates = sum_a, .aggregate_count = 2, .reduce_memory = 65535);
	REFUSED(DPI_ERR_ARGUMENT, "reduce_memory", .aggregates = sum_a, .aggregate_count = 2, .reduce_memory = (UINT64_C(32) << 30) + 1);
	REFUSED(DPI_ERR_ARGUMENT, "window_rows", .aggregates = sum_a, .aggregate_count = 2, .window_rows = 5);
	REFUSED(DPI_ERR_ARGUMENT, "window_rows", .aggregates = sum_a, .aggregate_count = 2, .window = DPI_WINDOW_ROWS, .reduce = DPI_REDUCE_TARGET);
	REFUSED(DPI_ERR_ARGUMENT, "DPI_REDUCE_TARGET", .aggregates = sum_a, .aggregate_count = 2, .window = DPI_WINDOW_ROWS, .window_rows = 5);
	REFUSED(DPI_ERR_SIZE, "segment", .aggregates = &big, .aggregate_count = 1, .segment = 4096);
	DPI_Flow_Attr grouped = { .size = sizeof grouped, .schema = schema, .group = "none", .group_version = 1, .aggregates = sum_a, .aggregate_count = 2 };
	DPI_Flow f;
	grouped.group = "a"; /* a column has this name */
	CHECK_ERROR(DPI_Create_Flow("f", &grouped, ctx, &f), DPI_ERR_ARGUMENT, "attr->group");
	DPI_Stage_Column one = { .name = "a" };
	DPI_Stage without = { .kind = DPI_STAGE_PROJECT, .columns = &one, .column_count = 1 };
	grouped.group = "none";
	grouped.stages = &without, grouped.stage_count = 1;
	CHECK_ERROR(DPI_Create_Flow("f", &grouped, ctx, &f), DPI_ERR_ARGUMENT, "left out by a stage at the source");
	f = REDUCE("f", &big, 1, ctx, .segment = 4096, .reduce = DPI_REDUCE_TARGET); /* there it does not travel */
	CHECK_DPI(DPI_Close_Flow(f));
	CHECK_DPI(DPI_Free_Schema(schema));
	leave(ctx);
}

/* ------------------------------------------------------------------------------------------------ by a function */

/* The tens of a key that is not negative; 777 it refuses. */
static int tens(const void *row, size_t size, void *arg, uint64_t *key)
{
	struct sale r;
	(void)arg;
	CHECK_INT(size, ==, sizeof r);
	memcpy(&r, row, sizeof r);
	if (r.key == 777) return DPI_ERR_NODE;
	*key = (uint64_t)(r.key < 0 ? -r.key : r.key) / 10;
	return DPI_SUCCESS;
}

/* Half of the rows go one by one, the others many at once, through a run with one that the function refuses. */
static void push_tens(DPI_Source s, int rank, int64_t rows, int64_t keys)
{
	struct sale run[50];
	size_t pushed;
	for (int64_t i = 0; i < rows; i++) {
		run[i % 50] = sale_of(rank, i, keys);
		if (i / 50 % 2) CHECK_DPI(DPI_Push(&run[i % 50], sizeof *run, s));
		else if (i % 50 == 49) CHECK_DPI(DPI_Push_Batch(run, 50, s, &pushed));
	}
	struct sale refused[3] = { { 5, 1, 1 }, { 777, 1, 1 }, { 5, 1, 1 } };
	CHECK_ERROR(DPI_Push_Batch(refused, 3, s, &pushed), DPI_ERR_NODE, "tens");
	CHECK_INT(pushed, ==, 1);
	CHECK_ERROR(DPI_Push(&refused[1], sizeof *refused, s), DPI_ERR_NODE, "tens");
}

static void reduce_by_tens(int rank, int ranks, int dist, DPI_Flow_Attr *a)
{
	enum { ROWS = 1000, KEYS = 400 };
	DPI_Context ctx = join();
	uint64_t *groups = harness_shared();
	int64_t count[KEYS] = { 0 }, sum[KEYS] = { 0 };
	DPI_Schema output;
	DPI_Schema_Info info = DPI_SCHEMA_INFO_INIT;
	CHECK_DPI(DPI_Register_Group("tens", 3, tens, NULL));
	a->targets = 2, a->sources = (uint32_t)ranks;
	a->dist = dist;
	CHECK_DPI(DPI_Create_Schema(sale_columns, 3, &a->schema));
	a->group = "tens", a->group_version = 3;
	a->aggregates = sum_a, a->aggregate_count = 2;
	a->create = DPI_CREATE_OR_OPEN;
	DPI_Flow f;
	CHECK_DPI(DPI_Create_Flow("f", a, ctx, &f));
	CHECK_DPI(DPI_Free_Schema(a->schema));
	CHECK_DPI(DPI_Get_Flow_Output_Schema(f, &output));
	CHECK_DPI(DPI_Get_Schema_Info(output, &info));
	CHECK_INT(info.columns, ==, 3);
	DPI_Column key;
	CHECK_DPI(DPI_Get_Column(0, output, &key, NULL));
	CHECK(!strcmp(key.name, "tens") && key.type == DPI_TYPE_UINT64 && !key.nullable);
	DPI_Target t = rank < 2 ? target_of((uint32_t)rank, f) : NULL;
	DPI_Source s = source_of(f);
	push_tens(s, rank, ROWS, KEYS);
	CHECK_DPI(DPI_Close_Source(s));
	for (int r = 0; r < ranks; r++) {
		for (int64_t i = 0; i < ROWS; i++) {
			struct sale x = sale_of(r, i, KEYS);
			int64_t at = (x.key < 0 ? -x.key : x.key) / 10;
			if (a->stage_count && x.a < 0) continue;
			count[at]++, sum[at] += x.a;
		}
		count[0]++, sum[0]++; /* the row before the one that is refused */
	}
	int error = t ? DPI_SUCCESS : DPI_ERR_END;
	DPI_Tuple u;
	while (!error && !(error = DPI_Next(t, &u))) {
		struct sum r;
		CHECK_INT(u.size, ==, sizeof r);
		memcpy(&r, u.data, sizeof r);
		CHECK(r.key >= 0 && r.key < KEYS && count[r.key]);
		CHECK_INT(r.n, ==, count[r.key]);
		CHECK_INT(r.sum, ==, sum[r.key]);
		count[r.key] = 0;
		__atomic_fetch_add(groups, 1, __ATOMIC_SEQ_CST);
	}
	CHECK_INT(error, ==, DPI_ERR_END);
	harness_barrier();
	CHECK_INT(*groups, ==, KEYS / 20 + 1); /* 0 … 199 of either sign, and 200 */
	if (t) CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Free_Schema(output));
	leave(ctx);
}

TEST(flow_reduce_by_function, "FL-337 FL-219 FL-320", 3) { reduce_by_tens(rank, ranks, DPI_DIST_HASH, FLOW_ATTR(.segment = 1024)); }
TEST(flow_reduce_by_function_at_the_target, "FL-337", 3) { reduce_by_tens(rank, ranks, DPI_DIST_RADIX, FLOW_ATTR(.reduce = DPI_REDUCE_TARGET)); }
/* The stages at the source see the column, and keep it. */
TEST(flow_reduce_by_function_behind_stages, "FL-337", 3)
{
	static const DPI_Stage_Column columns[] = { { .name = "a" }, { .name = "tens" } };
	static const DPI_Stage stages[] = { { .kind = DPI_STAGE_FILTER, .text = "a >= 0 AND tens < 1000" },
					    { .kind = DPI_STAGE_PROJECT, .columns = columns, .column_count = 2 } };
	reduce_by_tens(rank, ranks, DPI_DIST_HASH, FLOW_ATTR(.stages = stages, .stage_count = 2));
}

TEST(flow_reduce_by_unknown_function, "FL-337 FL-435", 1)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .key_count = 0, .group = "nobody's", .group_version = 4, .aggregates = (const DPI_Aggregate[]){ { .function = DPI_AGGREGATE_COUNT_ALL } }, .aggregate_count = 1);
	DPI_Source s = NULL;
	CHECK_ERROR(DPI_Open_Source(f, NULL, &s), DPI_ERR_NAME, "\"nobody's\" of version 4");
	CHECK(!s);
	DPI_Target t = target_of(0, f); /* it needs none */
	CHECK_DPI(DPI_Seal_Flow(f));
	DPI_Tuple u;
	CHECK_ERROR(DPI_Next(t, &u), DPI_ERR_END, "'f'");
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Close_Flow(f));
	leave(ctx);
}
