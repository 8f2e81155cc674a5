/* SPDX-License-Identifier: Apache-2.0
 * reduce_values_test.c: flows/reduce: states that vary in size: in little memory, on their way, and of anybody. */
#include "reduce_kit.h"

static size_t size_of(const struct dpi_schema *s, const struct dpi_rows *run, size_t i, const void **row)
{
	*row = run->rows ? (const uint8_t *)run->rows + i * run->stride : run->record[i].data;
	return run->rows ? s->row_size : run->record[i].size;
}

/* Rows in, one call after the other, until the table is full or all are taken. */
static size_t take_in(struct dpi_table *t, const struct kit *k, size_t i, struct draws *d, uint64_t budget)
{
	int error = DPI_SUCCESS;
	while (i < k->rows && !error) {
		struct dpi_table_stats s;
		size_t n = 1 + draw_below(d, k->rows - i), taken = hand_in(t, k->schema, k->row + i, n, d, false, &error);
		CHECK(error || taken == n);
		dpi_table_stats(t, &s);
		CHECK_INT(s.bytes, <=, budget);
		i += taken;
	}
	return i;
}

static void travel(struct dpi_table *from, struct dpi_table *to, const struct kit *k)
{
	struct dpi_rows run;
	for (;;) {
		CHECK_OK(dpi_table_next_partial(from, &run));
		if (!run.count) break;
		for (size_t i = 0; i < run.count; i++) {
			const void *row;
			size_t size = size_of(k->r->state, &run, i, &row), taken;
			CHECK_OK(dpi_row_check(k->r->state, row, size, true));
			uint8_t *there = guarded(size);
			memcpy(there, row, size);
			DPI_Record record = { there, size };
			CHECK_OK(dpi_table_merge(to, &(struct dpi_rows){ .record = &record, .count = 1 }, &taken));
			guarded_free(there, size);
		}
	}
}

TEST(reduce_long_values_in_parts, "FL-307 FL-308 FL-309 FL-312 FL-315", 0, .deadline_s = 120)
{
	struct draws d = draws_from(11);
	register_polys();
	for (int round = rounds(40); round--;) {
		struct kit k = kit_new(&d, draw_below(&d, 1500), 1 + draw_below(&d, 200),
				       KIT_LONG | KIT_MERGES | (int)draw_below(&d, 2) * KIT_NUMBER_KEY);
		uint64_t budget = (2 << 20) + draw_below(&d, 1 << 20);
		struct dpi_table *target = table_of(k.r, 256 << 20, DPI_TABLE_LIMITED), *t = table_of(k.r, budget, DPI_TABLE_DRAINS);
		for (size_t i = 0; i < k.rows;) {
			i = take_in(t, &k, i, &d, budget);
			travel(t, target, &k);
		}
		check_results(target, &k);
		dpi_table_free(t), dpi_table_free(target);
		kit_free(&k);
	}
}

/* Also with reducers that have no merge: a group that leaves the table comes back as it was. */
TEST(reduce_long_values_spill, "FL-315 FL-316", 0, .deadline_s = 180)
{
	struct draws d = draws_from(12);
	uint64_t spilled = 0;
	register_polys();
	for (int round = rounds(40); round--;) {
		struct kit k = kit_new(&d, 1500 + draw_below(&d, 3000), 1 + draw_below(&d, 4000),
				       KIT_LONG | (int)draw_below(&d, 2) * KIT_NUMBER_KEY);
		uint64_t budget = 3 << 19;
		struct dpi_table *t = table_of(k.r, budget, DPI_TABLE_SPILLS);
		struct dpi_table_stats s;
		CHECK_INT(take_in(t, &k, 0, &d, budget), ==, k.rows);
		dpi_table_stats(t, &s);
		spilled += s.spilled;
		check_results(t, &k);
		dpi_table_free(t);
		kit_free(&k);
	}
	CHECK(spilled > 0);
}

/* --------------------------------------------------------------------------------------------------------- one column */

static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "text", DPI_TYPE_UTF8, 0, 0, 0, 0 } };
static struct dpi_schema *input;

static struct dpi_reduction *made(const DPI_Aggregate *a, size_t count)
{
	struct dpi_reduction *r = NULL;
	if (!input) input = schema_of(columns, COUNT(columns));
	CHECK_OK(dpi_reduction_new(input, (uint16_t[]){ 0 }, 1, a, count, &r));
	return r;
}

static int put(struct dpi_table *t, int64_t key, const char *text, size_t size)
{
	static uint8_t row[1 << 20];
	DPI_Value v[2] = { { .type = DPI_TYPE_INT64, .i = key }, { .type = DPI_TYPE_UTF8, .size = (uint32_t)size, .data = text } };
	size_t bytes, taken;
	CHECK_OK(dpi_row_pack(input, v, row, sizeof row, &bytes));
	return dpi_table_add(t, &(struct dpi_rows){ .record = &(DPI_Record){ row, bytes }, .count = 1 }, &taken);
}

/* What a column of the one row that comes next is. */
static DPI_Value next(struct dpi_table *t, const struct dpi_schema *s, bool partial, size_t column)
{
	struct dpi_rows run;
	const void *row;
	DPI_Value v = { 0 };
	CHECK_OK((partial ? dpi_table_next_partial : dpi_table_next_result)(t, &run));
	CHECK_INT(run.count, ==, 1);
	size_t size = size_of(s, &run, 0, &row);
	CHECK_OK(dpi_row_value(s, row, size, column, &v));
	return v;
}

#define IS(v, text) CHECK((v).size == sizeof(text) - 1 && !memcmp((v).data, text, sizeof(text) - 1))

TEST(reduce_text_as_bytes, "FL-307 FL-309", 0)
{
	struct dpi_reduction *r = made((DPI_Aggregate[]){ { .function = DPI_AGGREGATE_MIN, .column = "text", .name = "min" },
							  { .function = DPI_AGGREGATE_MAX, .column = "text", .name = "max" },
							  { .function = DPI_AGGREGATE_FIRST, .column = "text", .name = "first" },
							  { .function = DPI_AGGREGATE_TOP_K, .column = "text", .name = "top", .k = 2 } },
				       4);
	static const char *const texts[] = { "b", "Z", "z", "\xc3\xa4", "ab", "a", "" };
	for (size_t column = 1; column <= 4; column++) {
		struct dpi_table *t = table_of(r, 1 << 20, DPI_TABLE_LIMITED);
		for (size_t i = 0; i < COUNT(texts); i++) CHECK_OK(put(t, 1, texts[i], strlen(texts[i])));
		DPI_Value v = next(t, r->output, false, column);
		if (column == 1) IS(v, "");
		else if (column == 2) IS(v, "\xc3\xa4");
		else if (column == 3) IS(v, "b");
		else IS(v, "\x02\0\0\0\xc3\xa4\x01\0\0\0z");
		dpi_table_free(t);
	}
	dpi_reduction_unref(r);
}

/* Ever larger values of one key, and of many: what values leave behind is taken back. */
TEST(reduce_values_grow, "FL-315 FL-316", 0)
{
	struct dpi_reduction *r = made((DPI_Aggregate[]){ { .function = DPI_AGGREGATE_MAX, .column = "text" } }, 1);
	static char text[100000];
	struct dpi_table *t = table_of(r, DPI_TABLE_LEAST, DPI_TABLE_LIMITED);
	for (size_t size = 0; size < 20000; size++) {
		memset(text, 'a', size);
		CHECK_OK(put(t, 1, text, size));
	}
	CHECK_INT(next(t, r->output, false, 1).size, ==, 19999);
	dpi_table_clear(t);
	CHECK_INT(put(t, 1, text, 10000), ==, DPI_SUCCESS);
	memset(text, 'b', sizeof text);
	CHECK_INT(put(t, 1, text, sizeof text), ==, DPI_ERR_LIMIT);
	CHECK_HAS(dpi_detail(), "give it more");
	dpi_table_free(t);
	t = table_of(r, DPI_TABLE_LEAST, DPI_TABLE_SPILLS);
	CHECK_INT(put(t, 1, text, sizeof text), ==, DPI_ERR_LIMIT);
	CHECK_HAS(dpi_detail(), "single key");
	for (size_t size = 0; size < 3000; size += 50)
		for (int64_t key = 0; key < 50; key++) CHECK_OK(put(t, key, text, size + (size_t)key));
	struct dpi_table_stats s;
	dpi_table_stats(t, &s);
	CHECK(s.spilled >= 50 && s.bytes <= DPI_TABLE_LEAST);
	size_t groups = 0;
	for (struct dpi_rows run;; groups += run.count) {
		CHECK_OK(dpi_table_next_result(t, &run));
		if (!run.count) break;
		for (size_t i = 0; i < run.count; i++) {
			const void *row;
			DPI_Value v[2];
			size_t size = size_of(r->output, &run, i, &row);
			for (size_t c = 0; c < 2; c++) CHECK_OK(dpi_row_value(r->output, row, size, c, v + c));
			CHECK_INT(v[1].size, ==, 2950 + v[0].i);
		}
	}
	CHECK_INT(groups, ==, 50);
	dpi_table_free(t);
	dpi_reduction_unref(r);
}

TEST(reduce_values_that_are_none, "FL-317", 0)
{
	struct dpi_reduction *r = made((DPI_Aggregate[]){ { .function = DPI_AGGREGATE_TOP_K, .column = "text", .name = "top", .k = 2 },
							  { .function = DPI_AGGREGATE_MIN, .column = "text", .name = "min" } },
				       2);
	struct dpi_table *t = table_of(r, 1 << 20, DPI_TABLE_LIMITED), *from = table_of(r, 1 << 20, DPI_TABLE_LIMITED);
	uint8_t row[512];
	struct dpi_rows run;
	const void *lent;
	size_t taken;
	CHECK_OK(put(from, 1, "one", 3));
	CHECK_OK(put(from, 1, "two", 3));
	CHECK_OK(dpi_table_next_partial(from, &run));
	size_t size = size_of(r->state, &run, 0, &lent);
	CHECK(size <= sizeof row);
	memcpy(row, lent, size);
	run = (struct dpi_rows){ .record = &(DPI_Record){ row, size }, .count = 1 };
	CHECK_OK(dpi_table_merge(t, &run, &taken));
	uint32_t top, min; /* places */
	memcpy(&top, row + r->state->column[1].offset, 4), memcpy(&min, row + r->state->column[2].offset, 4);
#define SPOILT(at, byte, part)                                                                         \
	do {                                                                                           \
		uint8_t *p = row + (at), was = *p;                                                     \
		*p = (byte);                                                                           \
		CHECK_INT(dpi_table_merge(t, &run, &taken), ==, DPI_ERR_CORRUPT);                      \
		CHECK_HAS(dpi_detail(), part);                                                         \
		*p = was;                                                                              \
	} while (0)
	SPOILT(top, 3, "\"top\"");		     /* more records than there are, and than k */
	SPOILT(top + 4, 8, "\"top\"");	     /* the worst is elsewhere */
	SPOILT(top + 16 + 8, 77, "\"top\"");     /* what orders goes beyond the state */
	SPOILT(top + 16 + 12 + 3, 255, "\"top\""); /* so does the value */
	SPOILT(min, 0xff, "UTF-8");	     /* text that is none */
	SPOILT(r->state->column[1].offset + 4, 15, "\"top\"");
	SPOILT(r->state->column[2].offset + 3, 255, "row");
	CHECK_OK(dpi_table_merge(t, &run, &taken));
	dpi_table_free(t), dpi_table_free(from);
	dpi_reduction_unref(r);
}
