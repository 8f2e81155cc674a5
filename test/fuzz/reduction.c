/* SPDX-License-Identifier: Apache-2.0
 * reduction.c: libFuzzer target: bytes that say they are a reduction of a schema of every type; then, for one that is, rows
 * and partial rows of anybody, taken in by a table that is small, and all that it gives. */

#include "error.h"
#include "flows/reduce/reduce.h"
#include "flows/row.h"
#include "fuzz.h"

static int take(void *state, const DPI_Value *v, void *arg)
{
	uint64_t *s = state;
	(void)arg;
	for (int k = 0; k < 2; k++)
		for (uint32_t i = 0; v[k].type >= DPI_TYPE_FIXED && i < v[k].size; i++)
			*s += ((const uint8_t *)v[k].data)[i];
	*s += v->u;
	return DPI_SUCCESS;
}

static int add(void *state, const void *from, void *arg)
{
	(void)arg;
	*(uint64_t *)state += *(const uint64_t *)from;
	return DPI_SUCCESS;
}

static int give(const void *state, void *arg, DPI_Value *result)
{
	(void)arg;
	*result = (DPI_Value){ .type = DPI_TYPE_BINARY, .size = *(const uint64_t *)state % 9, .data = state };
	return DPI_SUCCESS;
}

static struct dpi_schema *schema(void)
{
	static const DPI_Column columns[] = {
		{ "b", DPI_TYPE_BOOL, 1, 0, 0, 0 },         { "i8", DPI_TYPE_INT8, 1, 0, 0, 0 },
		{ "i16", DPI_TYPE_INT16, 0, 0, 0, 0 },      { "i32", DPI_TYPE_INT32, 0, 0, 0, 0 },
		{ "i64", DPI_TYPE_INT64, 0, 0, 0, 0 },      { "u8", DPI_TYPE_UINT8, 0, 0, 0, 0 },
		{ "u16", DPI_TYPE_UINT16, 1, 0, 0, 0 },     { "u32", DPI_TYPE_UINT32, 0, 0, 0, 0 },
		{ "u64", DPI_TYPE_UINT64, 1, 0, 0, 0 },     { "f", DPI_TYPE_FLOAT, 1, 0, 0, 0 },
		{ "d", DPI_TYPE_DOUBLE, 0, 0, 0, 0 },       { "day", DPI_TYPE_DATE32, 1, 0, 0, 0 },
		{ "dec", DPI_TYPE_DECIMAL64, 0, 0, 18, 2 }, { "wide", DPI_TYPE_DECIMAL128, 1, 0, 38, 3 },
		{ "fix", DPI_TYPE_FIXED, 1, 5, 0, 0 },      { "bin", DPI_TYPE_BINARY, 1, 0, 0, 0 },
		{ "text", DPI_TYPE_UTF8, 0, 0, 0, 0 },
	};
	static struct dpi_schema *s;
	DPI_Reducer r = { sizeof r, 8, { 0, DPI_TYPE_BINARY, 0, 0, 0, 0 }, NULL, take, add, give, NULL, NULL };
	if (s) return s;
	need(!dpi_schema_new(columns, sizeof columns / sizeof *columns, &s), "the schema");
	need(!dpi_reducer_register("r", 1, &r), "a reducer");
	return s;
}

static void round_trip(const struct dpi_reduction *r, const uint8_t *bytes, size_t size)
{
	struct dpi_reduction *again;
	need(dpi_reduction_bytes(r) == size, "a reduction has as many bytes as it was made of");
	uint8_t *own = malloc(size);
	dpi_reduction_write(r, own);
	need(!memcmp(own, bytes, size), "and the same");
	need(!dpi_reduction_parse(own, size, schema(), &again), "which are taken again");
	dpi_reduction_unref(again);
	free(own);
}

static void good_rows(const struct dpi_schema *s, const struct dpi_rows *run)
{
	for (size_t i = 0; i < run->count; i++) {
		const void *row = run->rows ? (const uint8_t *)run->rows + i * run->stride : run->record[i].data;
		need(!dpi_row_check(s, row, run->rows ? s->row_size : run->record[i].size, false),
		     "what a table gives is a row");
	}
}

/* Take everything out; partial rows into another table, if there is one. */
static void empty(struct dpi_table *t, const struct dpi_reduction *r, bool partial, struct dpi_table *to)
{
	struct dpi_rows run;
	for (;;) {
		size_t taken;
		int error = partial ? dpi_table_next_partial(t, &run) : dpi_table_next_result(t, &run);
		need(!error || error == DPI_ERR_RANGE || error == DPI_ERR_LIMIT || error == DPI_ERR_UNSUPPORTED,
		     "all is taken out");
		if (error || !run.count) break;
		good_rows(partial ? r->state : r->output, &run);
		if (to) error = dpi_table_merge(to, &run, &taken);
		need(!error || error == DPI_ERR_LIMIT || error == DPI_ERR_CORRUPT, "a table takes what another gives");
	}
	dpi_table_clear(t);
}

/* Rows: a byte that says of which kind, and how many bytes more or fewer than the fixed part; then the bytes. */
static void rows(const struct dpi_reduction *r, const uint8_t *data, size_t size)
{
	struct dpi_table_attr attr = { .budget = 1 << 20, .full = DPI_TABLE_SPILLS };
	struct dpi_table *t, *to;
	if (dpi_table_new(r, &attr, &t)) return;
	attr.full = DPI_TABLE_LIMITED;
	need(!dpi_table_new(r, &attr, &to), "another table like it");
	while (size > 1) {
		bool partial = *data & 1;
		const struct dpi_schema *s = partial ? r->state : r->input;
		size_t n = s->row_size + (*data >> 1) - 2, taken;
		if (!s->varies) n = s->row_size;
		data++, size--;
		if (n > size) n = size;
		uint8_t *copy = malloc(n + 1); /* what lies behind it is not there */
		memcpy(copy, data, n);
		DPI_Record record = { copy, n };
		struct dpi_rows run = { .record = &record, .count = 1 };
		int error = partial ? dpi_table_merge(t, &run, &taken) : dpi_table_add(t, &run, &taken);
		need(!error || error == DPI_ERR_CORRUPT || error == DPI_ERR_LIMIT || error == DPI_ERR_UNSUPPORTED,
		     "a row is one or is not");
		free(copy);
		data += n, size -= n;
	}
	struct dpi_table_stats stats;
	dpi_table_stats(t, &stats);
	if (r->merges && !stats.spilled) empty(t, r, true, to);
	empty(t, r, false, NULL);
	empty(to, r, false, NULL);
	dpi_table_free(t), dpi_table_free(to);
}

/* Two bytes: how many more are the reduction; then rows. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dpi_reduction *r;
	if (size < 2) return 0;
	size_t n = (size_t)data[0] | (size_t)data[1] << 8;
	data += 2, size -= 2;
	if (n > size) n = size;
	int error = dpi_reduction_parse(data, n, schema(), &r);
	need(!error || error == DPI_ERR_CORRUPT || error == DPI_ERR_VERSION,
	     "bytes are a reduction, corrupt or of another version");
	if (error) return 0;
	round_trip(r, data, n);
	if (r->state->row_size <= 1 << 16) rows(r, data + n, size - n);
	dpi_reduction_unref(r);
	return 0;
}
