/* SPDX-License-Identifier: Apache-2.0
 * segment.c: segments from a peer: of rows, columnar, and parts of a large row. */

#include "error.h"
#include "flows/column_segment.h"
#include "flows/row_batch.h"
#include "flows/row_part.h"
#include "fuzz.h"

static const DPI_Column columns[] = {
	{ "k", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "d", DPI_TYPE_DECIMAL128, 1, 0, 0, 2 }, { "b", DPI_TYPE_BOOL, 1, 0, 0, 0 },
	{ "f", DPI_TYPE_FIXED, 0, 5, 0, 0 }, { "t", DPI_TYPE_UTF8, 1, 0, 0, 0 }, { "x", DPI_TYPE_BINARY, 0, 0, 0, 0 },
};

/* All of it, one column only, fixed columns only, variable ones only. */
static struct dpi_schema *schema(int which)
{
	static const struct { int first, count; } choice[] = { { 0, 6 }, { 0, 1 }, { 0, 4 }, { 4, 2 } };
	struct dpi_schema *s;
	need(!dpi_schema_new(columns + choice[which].first, (size_t)choice[which].count, &s), "the schema is good");
	return s;
}

/* Every value of a batch is touched, by making rows of it. */
static void touch(const struct dpi_schema *s, const struct dpi_batch *b)
{
	for (size_t i = 0; i < b->rows; i++) {
		size_t size = dpi_row_size_in_batch(s, b, i);
		uint8_t *row = malloc(size);
		dpi_row_write_from_batch(s, b, i, row);
		need(!dpi_row_check(s, row, size, false), "what was checked makes rows");
		free(row);
	}
}

static void rows(struct dpi_schema *s, const uint8_t *segment, size_t size)
{
	struct dpi_row_reader r;
	struct dpi_row_batch b;
	const void *row;
	uint32_t bytes, count = 0;
	bool good = !dpi_row_check_segment(s, segment, size, true);
	if (dpi_row_open(&r, s, segment, size, NULL)) {
		need(!good, "a good segment can be read");
		return;
	}
	while ((row = dpi_row_next(&r, &bytes))) {
		need((const uint8_t *)row >= segment && (const uint8_t *)row + bytes <= segment + size,
		     "rows lie within their segment");
		count++;
	}
	need(!dpi_row_done(&r) || !good, "a good segment is read to its end");
	dpi_row_open(&r, s, segment, size, NULL);
	need(!dpi_row_batch_new(s, NULL, &b), "memory");
	if (!dpi_row_batch_read(&b, &r, SIZE_MAX)) {
		need(b.batch.rows == count, "as many rows become columns");
		touch(s, &b.batch);
	} else {
		need(!good, "the rows of a good segment become columns");
	}
	dpi_row_batch_free(&b);
}

static void column(struct dpi_schema *s, const uint8_t *segment, size_t size, unsigned how)
{
	struct dpi_column_reader r;
	need(!dpi_column_reader_new(s, &r), "memory");
	if (!dpi_column_read(&r, segment, size, how, NULL)) touch(s, &r.batch);
	dpi_column_reader_free(&r);
}

/* Parts follow each other: a byte says how many times 8 bytes each has. */
static void parts(const uint8_t *data, size_t size)
{
	struct dpi_part_assembly a = { 0 };
	bool complete;
	while (size > 1) {
		size_t n = (size_t)*data * 8;
		data++, size--;
		if (n > size) n = size;
		_Alignas(8) uint8_t segment[256 * 8];
		memcpy(segment, data, n);
		int error = dpi_part_add(&a, segment, n, 5000, &complete);
		need(!error || error == DPI_ERR_CORRUPT || error == DPI_ERR_SIZE || error == DPI_ERR_VERSION,
		     "parts are taken or refused");
		need(a.total <= 5000 && a.got <= a.total && a.got <= a.room, "a row being put together is bounded");
		data += n, size -= n;
	}
	dpi_part_free(&a);
}

/* A byte: what it is and of which schema. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size) return 0;
	int what = data[0] & 3;
	if (what == 3) {
		parts(data + 1, size - 1);
		return 0;
	}
	struct dpi_schema *s = schema(data[0] >> 2 & 3);
	size_t n = size - 1;
	uint8_t *segment = malloc(n); /* exactly: the sanitizer sees what goes beyond */
	memcpy(segment, data + 1, n);
	if (what == 0) rows(s, segment, n);
	else column(s, segment, n, (what == 2 ? DPI_COLUMN_UNSAFE : 0) | (data[0] & 16 ? DPI_COLUMN_UTF8 : 0));
	free(segment);
	dpi_schema_unref(s);
	return 0;
}
