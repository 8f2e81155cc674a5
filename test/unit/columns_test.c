/* SPDX-License-Identifier: Apache-2.0
 * columns_test.c: flows/column*.h, row_batch.h: columnar segments, rows to columns and back. */
#include "schema_kit.h"

#include "flows/column_bits.h"
#include "flows/column_segment.h"
#include "flows/row_batch.h"

TEST(runs_of_bits, "", 0)
{
	struct draws d = draws_from(1);
	for (int i = 0; i < rounds(20000); i++) {
		uint8_t to[40], plain[40];
		size_t at = draw_below(&d, 60), first = draw_below(&d, 60), n = draw_below(&d, 150), set = 0;
		uint8_t *from = guarded(dpi_bits_bytes(first + n)); /* nothing is read behind the last bit */
		for (size_t k = 0; k < dpi_bits_bytes(first + n); k++) from[k] = (uint8_t)draw(&d);
		memset(to, 0, sizeof to), memset(plain, 0, sizeof plain);
		for (size_t k = 0; k < at; k++) dpi_bits_put(to, k, k % 3), dpi_bits_put(plain, k, k % 3);
		for (size_t k = 0; k < n; k++)
			dpi_bits_put(plain, at + k, dpi_bit(from, first + k)), set += dpi_bit(from, first + k);
		dpi_bits_copy(to, at, from, first, n);
		CHECK(!memcmp(to, plain, sizeof to));
		CHECK_INT(dpi_bits_count(from, first, n), ==, set);
		memset(to, 0, sizeof to);
		dpi_bits_ones(to, at, n);
		CHECK_INT(dpi_bits_count(to, 0, 320), ==, n);
		CHECK_INT(dpi_bits_count(to, at, n), ==, n);
		guarded_free(from, dpi_bits_bytes(first + n));
	}
}

/* Row i of a batch, packed. */
static uint8_t *row_of(const struct dpi_schema *s, const struct dpi_batch *b, size_t i, size_t *size)
{
	*size = dpi_row_size_in_batch(s, b, i);
	uint8_t *row = malloc(*size);
	dpi_row_write_from_batch(s, b, i, row);
	return row;
}

static void check_batch(const struct dpi_schema *s, const struct dpi_batch *b, const DPI_Record *rows, size_t count)
{
	CHECK_INT(b->rows, ==, count);
	CHECK_INT(b->columns, ==, s->columns);
	for (size_t i = 0; i < count; i++) {
		size_t size;
		uint8_t *row = row_of(s, b, i, &size);
		check_same(row, size, rows + i);
		free(row);
	}
}

static void *lines(size_t capacity)
{
	return aligned_alloc(DPI_COLUMN_ALIGN, (capacity + DPI_COLUMN_ALIGN - 1) / DPI_COLUMN_ALIGN * DPI_COLUMN_ALIGN);
}

/* One segment is read as it lies, or with copied offsets; both find the rows. */
static void check_segment(struct dpi_schema *s, const void *segment, size_t size, const DPI_Record *rows, size_t count)
{
	struct dpi_column_reader r;
	struct dpi_segment h;
	uint8_t *copy = lines(size); /* exactly as long: the sanitizer sees what goes beyond */
	memcpy(copy, segment, size);
	CHECK_OK(dpi_column_reader_new(s, &r));
	for (unsigned how = 0; how < 4; how++) {
		CHECK_OK(dpi_column_read(&r, copy, size, how, &h));
		CHECK_INT(h.rows, ==, count);
		check_batch(s, &r.batch, rows, count);
		for (uint32_t i = 0; i < s->columns; i++) {
			const struct dpi_vector *v = r.vector + i;
			CHECK((uintptr_t)v->data % DPI_COLUMN_ALIGN == 0 && (uint8_t *)v->data >= copy &&
			      (uint8_t *)v->data <= copy + size);
			if (v->offset && !(how & DPI_COLUMN_UNSAFE))
				CHECK((uint8_t *)v->offset > copy && (uint8_t *)v->offset < copy + size);
		}
	}
	dpi_column_reader_free(&r);
	free(copy);
}

static void build_by_rows(struct dpi_schema *s, const struct rows *in, size_t capacity)
{
	struct dpi_column_builder *b;
	void *segment = lines(capacity);
	size_t done = 0, segments = 0;
	CHECK_OK(dpi_column_builder_new(s, &b));
	while (done < in->count) {
		size_t first = done, size;
		int error = DPI_SUCCESS;
		CHECK_OK(dpi_column_begin(b, segment, capacity));
		for (; done < in->count && !error; done += !error)
			error = dpi_column_append_row(b, in->row[done].data, (uint32_t)in->row[done].size);
		CHECK(!error || error == DPI_ERR_FULL);
		CHECK_INT(dpi_column_rows(b), ==, done - first);
		CHECK_INT(done, >, first);
		size = dpi_column_end(b, 0);
		CHECK_INT(size, <=, capacity);
		check_segment(s, segment, size, in->row + first, done - first);
		segments++;
	}
	dpi_column_builder_free(b);
	free(segment);
}

static void build_by_batches(struct dpi_schema *s, const struct rows *in, size_t capacity, struct draws *d)
{
	struct dpi_column_builder *b;
	struct dpi_row_batch columns;
	void *segment = lines(capacity);
	size_t done = 0;
	CHECK_OK(dpi_row_batch_new(s, NULL, &columns));
	CHECK_OK(dpi_row_batch_records(&columns, in->row, in->count));
	check_batch(s, &columns.batch, in->row, in->count);
	CHECK_OK(dpi_column_builder_new(s, &b));
	while (done < in->count) {
		size_t first = done, n;
		bool large;
		CHECK_OK(dpi_column_begin(b, segment, capacity));
		do {
			size_t some = 1 + draw_below(d, 50), left = in->count - done;
			n = dpi_column_append_batch(b, &columns.batch, done, some < left ? some : left, &large);
			CHECK(!large);
			done += n;
		} while (n && done < in->count);
		CHECK_INT(done, >, first);
		check_segment(s, segment, dpi_column_end(b, 0), in->row + first, done - first);
	}
	dpi_column_builder_free(b);
	dpi_row_batch_free(&columns);
	free(segment);
}

TEST(columns_travel_in_segments, "", 0)
{
	struct draws d = draws_from(2);
	for (int i = 0; i < rounds(120); i++) {
		struct dpi_schema *s = random_schema(&d, i % 4);
		struct rows in = random_rows(s, &d, 1 + draw_below(&d, 300), i % 5 ? 30 : 400);
		size_t largest = 0;
		for (size_t k = 0; k < in.count; k++) largest = in.row[k].size > largest ? in.row[k].size : largest;
		size_t least = 256 + s->columns * (16 + 3 * 64) + largest + 64 * s->columns;
		build_by_rows(s, &in, least);
		build_by_rows(s, &in, least + draw_below(&d, 20000));
		build_by_batches(s, &in, least + draw_below(&d, 3000), &d);
		build_by_batches(s, &in, 1 << 17, &d);
		free_rows(in);
		dpi_schema_unref(s);
	}
}

TEST(room_is_divided_as_it_was_needed, "", 0)
{
	struct dpi_schema *s = schema_of((DPI_Column[]){ { "k", DPI_TYPE_INT64, 0, 0, 0, 0 },
							 { "t", DPI_TYPE_UTF8, 0, 0, 0, 0 },
							 { "u", DPI_TYPE_BINARY, 1, 0, 0, 0 } }, 3);
	struct dpi_column_builder *b;
	char *text = calloc(1, 1 << 16);
	uint8_t *row = malloc(1 << 17);
	void *segment = lines(1 << 16);
	size_t size;
	CHECK_OK(dpi_column_builder_new(s, &b));
	/* long texts, no bytes: after a few segments almost all of one is used */
	DPI_Value v[3] = { { .type = DPI_TYPE_INT64 }, { .type = DPI_TYPE_UTF8, .size = 100, .data = text },
			   { .type = DPI_TYPE_NULL } };
	CHECK_OK(dpi_row_pack(s, v, row, 1 << 17, &size));
	for (int i = 0; i < 12; i++) {
		CHECK_OK(dpi_column_begin(b, segment, 1 << 16));
		while (!dpi_column_append_row(b, row, (uint32_t)size)) {}
		size_t used = dpi_column_end(b, 0);
		if (i == 11) CHECK_INT(used, >, (1 << 16) * 3 / 4);
	}
	/* a value that fills an empty segment, one that does not fit at all */
	v[1].size = 60000;
	CHECK_OK(dpi_row_pack(s, v, row, 1 << 17, &size));
	CHECK_OK(dpi_column_begin(b, segment, 1 << 16));
	CHECK_OK(dpi_column_append_row(b, row, (uint32_t)size));
	CHECK_INT(dpi_column_append_row(b, row, (uint32_t)size), ==, DPI_ERR_FULL);
	check_segment(s, segment, dpi_column_end(b, 0), &(DPI_Record){ row, size }, 1);
	v[1].size = 65500;
	CHECK_OK(dpi_row_pack(s, v, row, 1 << 17, &size));
	CHECK_OK(dpi_column_begin(b, segment, 1 << 16));
	CHECK_INT(dpi_column_append_row(b, row, (uint32_t)size), ==, DPI_ERR_SIZE);
	struct dpi_row_batch columns;
	bool large = false;
	CHECK_OK(dpi_row_batch_new(s, NULL, &columns));
	CHECK_OK(dpi_row_batch_records(&columns, &(DPI_Record){ row, size }, 1));
	CHECK_INT(dpi_column_append_batch(b, &columns.batch, 0, 1, &large), ==, 0);
	CHECK(large);
	v[1].size = 10; /* the segment is good after that */
	CHECK_OK(dpi_row_pack(s, v, row, 1 << 17, &size));
	CHECK_OK(dpi_column_append_row(b, row, (uint32_t)size));
	check_segment(s, segment, dpi_column_end(b, 0), &(DPI_Record){ row, size }, 1);
	CHECK_OK(dpi_column_begin(b, segment, 1 << 16)); /* no rows at all */
	check_segment(s, segment, dpi_column_end(b, 0), NULL, 0);
	CHECK_ERROR(dpi_column_begin(b, segment, 300), DPI_ERR_SIZE, "300 bytes");
	CHECK_ERROR(dpi_column_begin(b, (char *)segment + 8, 1000), DPI_ERR_ARGUMENT, "multiple of 64");
	dpi_row_batch_free(&columns);
	dpi_column_builder_free(b);
	dpi_schema_unref(s);
	free(text), free(row), free(segment);
}

TEST(wrong_columnar_segments_are_refused, "", 0)
{
	struct dpi_schema *s = schema_of((DPI_Column[]){ { "k", DPI_TYPE_INT64, 1, 0, 0, 0 },
							 { "t", DPI_TYPE_UTF8, 0, 0, 0, 0 },
							 { "b", DPI_TYPE_BOOL, 0, 0, 0, 0 } }, 3);
	struct dpi_column_builder *b;
	struct dpi_column_reader r;
	uint8_t row[64], *segment = lines(2048), *copy = lines(2048);
	size_t size;
	CHECK_OK(dpi_column_builder_new(s, &b));
	CHECK_OK(dpi_column_reader_new(s, &r));
	CHECK_OK(dpi_column_begin(b, segment, 2048));
	for (int i = 0; i < 5; i++) {
		DPI_Value v[3] = { { .type = i == 2 ? DPI_TYPE_NULL : DPI_TYPE_INT64, .i = i },
				   { .type = DPI_TYPE_UTF8, .size = 4, .data = "text" },
				   { .type = DPI_TYPE_BOOL, .i = 1 } };
		CHECK_OK(dpi_row_pack(s, v, row, sizeof row, &size));
		CHECK_OK(dpi_column_append_row(b, row, (uint32_t)size));
	}
	CHECK_ERROR(dpi_column_append_row(b, row, 10), DPI_ERR_CORRUPT, "10 bytes");
	memcpy(row + 8, &(uint32_t){ 1000 }, 4);
	CHECK_ERROR(dpi_column_append_row(b, row, (uint32_t)size), DPI_ERR_CORRUPT, "column 1 \"t\"");
	size = dpi_column_end(b, 0);
	CHECK_OK(dpi_column_read(&r, segment, size, 0, NULL));
	struct dpi_column_place p[3];
	memcpy(p, segment + DPI_SEGMENT_HEADER, sizeof p);
	CHECK(p[0].valid == 128 && p[0].data == 192 && p[1].offset == 256 && p[1].data == 320 && p[2].data == 384 &&
	      size == 448);

	for (size_t n = 0; n < size; n++) CHECK_ERROR(dpi_column_read(&r, segment, n, 0, NULL), DPI_ERR_CORRUPT, "segment");
	enum { PLACES = DPI_SEGMENT_HEADER, ROWS = 8, BYTES = 12, FLAGS = 16 };
	static const struct {
		uint32_t at, value;
		int error;
		const char *part;
	} bad[] = {
		{ FLAGS, DPI_SEGMENT_MAGIC, DPI_ERR_USE, "not columnar" },
		{ FLAGS, DPI_SEGMENT_MAGIC | 3, DPI_ERR_USE, "not columnar" },
		{ FLAGS, 0, DPI_ERR_CORRUPT, "do not begin" },
		{ ROWS, 6, DPI_ERR_CORRUPT, "6 rows" },
		{ ROWS, UINT32_MAX, DPI_ERR_CORRUPT, "" },
		{ BYTES, 40, DPI_ERR_CORRUPT, "places" },
		{ BYTES, 423, DPI_ERR_CORRUPT, NULL }, /* all it needs: 448 - 24 - 63 and up is well */
		{ BYTES, 360, DPI_ERR_CORRUPT, "column 2" },
		{ PLACES + 0, 64, DPI_ERR_CORRUPT, "validity of column 0" },
		{ PLACES + 0, 129, DPI_ERR_CORRUPT, "validity of column 0" },
		{ PLACES + 0, 0xffffffc0u, DPI_ERR_CORRUPT, "validity of column 0" },
		{ PLACES + 8, 128, DPI_ERR_CORRUPT, "values of column 0" },
		{ PLACES + 8, 0xffffffc0u, DPI_ERR_CORRUPT, "values of column 0" },
		{ PLACES + 8, 448, DPI_ERR_CORRUPT, "values of column 0" },
		{ PLACES + 12, 41, DPI_ERR_CORRUPT, "column 0" },
		{ PLACES + 16, 128, DPI_ERR_CORRUPT, "column 1" },
		{ PLACES + 20, 0, DPI_ERR_CORRUPT, "offsets of column 1" },
		{ PLACES + 20, 192, DPI_ERR_CORRUPT, "offsets of column 1" },
		{ PLACES + 28, 19, DPI_ERR_CORRUPT, "offsets of column 1" },
		{ PLACES + 28, 129, DPI_ERR_CORRUPT, "column 1" },
		{ PLACES + 44, 2, DPI_ERR_CORRUPT, "column 2" },
		{ 256, (uint32_t)-1, DPI_ERR_CORRUPT, "offsets of column 1" },
		{ 256, 5, DPI_ERR_CORRUPT, "offsets of column 1" },
		{ 268, 21, DPI_ERR_CORRUPT, "offsets of column 1" },
		{ 276, 21, DPI_ERR_CORRUPT, "offsets of column 1" },
		{ 276, (uint32_t)INT32_MIN, DPI_ERR_CORRUPT, "offsets of column 1" },
	};
	for (size_t i = 0; i < COUNT(bad); i++)
		for (unsigned how = 0; how < 4; how += 2) {
			memcpy(copy, segment, size);
			memcpy(copy + bad[i].at, &bad[i].value, 4);
			int error = dpi_column_read(&r, copy, size, how, NULL);
			if (!bad[i].part) continue;
			if (error != bad[i].error) FAIL("case %zu: %d %s", i, error, dpi_detail());
			CHECK_HAS(dpi_detail(), bad[i].part);
			CHECK_INT(r.batch.rows, ==, 0);
		}
	memcpy(copy, segment, size);
	copy[320 + 7] = 0xff;
	CHECK_OK(dpi_column_read(&r, copy, size, 0, NULL));
	CHECK_ERROR(dpi_column_read(&r, copy, size, DPI_COLUMN_UTF8, NULL), DPI_ERR_CORRUPT,
		    "row 1 of a segment is not UTF-8");
	CHECK_ERROR(dpi_column_read(&r, segment + 4, size - 4, 0, NULL), DPI_ERR_ARGUMENT, "multiple of 8");

	/* copied offsets stay what they were when they were checked */
	memcpy(copy, segment, size);
	CHECK_OK(dpi_column_read(&r, copy, size, DPI_COLUMN_UNSAFE, NULL));
	memset(copy + 256, 0xee, 24);
	for (int i = 0; i <= 5; i++) CHECK_INT(r.vector[1].offset[i], ==, 4 * i);
	dpi_column_reader_free(&r);
	dpi_column_builder_free(b);
	dpi_schema_unref(s);
	free(segment), free(copy);
}

TEST(changed_columnar_segments_are_read_or_refused, "", 0)
{
	struct draws d = draws_from(5);
	for (int i = 0; i < rounds(1500); i++) {
		struct dpi_schema *s = random_schema(&d, i % 2);
		struct rows in = random_rows(s, &d, 1 + draw_below(&d, 20), 20);
		struct dpi_column_builder *b;
		struct dpi_column_reader r;
		uint8_t *segment = lines(1 << 16), *copy;
		CHECK_OK(dpi_column_builder_new(s, &b));
		CHECK_OK(dpi_column_begin(b, segment, 1 << 16));
		for (size_t k = 0; k < in.count; k++)
			CHECK_OK(dpi_column_append_row(b, in.row[k].data, (uint32_t)in.row[k].size));
		size_t size = dpi_column_end(b, 0);
		copy = lines(size);
		CHECK_OK(dpi_column_reader_new(s, &r));
		for (int k = 0; k < 30; k++) {
			memcpy(copy, segment, size);
			size_t at = draw_below(&d, draw_below(&d, 4) ? DPI_SEGMENT_HEADER + 16 * s->columns : size);
			copy[at] = (uint8_t)(draw_below(&d, 2) ? draw(&d) : copy[at] + 64u);
			unsigned how = (unsigned)draw_below(&d, 4);
			if (dpi_column_read(&r, copy, size, how, NULL)) continue;
			for (size_t n = 0; n < r.batch.rows; n++) { /* all of it can be read */
				size_t bytes;
				free(row_of(s, &r.batch, n, &bytes));
			}
		}
		dpi_column_reader_free(&r);
		dpi_column_builder_free(b);
		free(segment), free(copy);
		free_rows(in);
		dpi_schema_unref(s);
	}
}

/* ------------------------------------------------------------------------------------------- rows to columns and back */

static size_t calls;

static void counting_gather(void *packed, const void *rows, size_t stride, size_t width, size_t count)
{
	calls++;
	dpi_row_scalar.gather(packed, rows, stride, width, count);
}

static void counting_scatter(void *rows, size_t stride, const void *packed, size_t width, size_t count)
{
	calls++;
	dpi_row_scalar.scatter(rows, stride, packed, width, count);
}

static const struct dpi_row_kernels counting = { counting_gather, counting_scatter };

TEST(rows_become_columns_and_rows_again, "", 0)
{
	struct draws d = draws_from(6);
	for (int i = 0; i < rounds(300); i++) {
		struct dpi_schema *s = random_schema(&d, i % 4);
		struct rows in = random_rows(s, &d, draw_below(&d, 200), 40);
		struct dpi_row_writer w;
		struct dpi_row_reader r;
		struct dpi_row_batch b;
		size_t room = 1 << 18, done = 0, size;
		uint8_t *segment = lines(room), *again = lines(room);
		CHECK_OK(dpi_row_begin(&w, s, segment, room));
		for (size_t k = 0; k < in.count; k++) CHECK(dpi_row_append(&w, in.row[k].data, (uint32_t)in.row[k].size));
		size = dpi_row_end(&w, 0);
		CHECK_OK(dpi_row_open(&r, s, segment, size, NULL));
		CHECK_OK(dpi_row_batch_new(s, NULL, &b));
		dpi_row_kernels = i % 2 ? &counting : &dpi_row_scalar;
		calls = 0;
		CHECK_OK(dpi_row_begin(&w, s, again, room));
		do { /* a few rows at a time */
			size_t some = 1 + draw_below(&d, 60);
			CHECK_OK(dpi_row_batch_read(&b, &r, some));
			check_batch(s, &b.batch, in.row + done, b.batch.rows);
			CHECK_INT(dpi_row_from_batch(s, &b.batch, 0, b.batch.rows, &w), ==, b.batch.rows);
			done += b.batch.rows;
		} while (b.batch.rows);
		CHECK_INT(done, ==, in.count);
		CHECK_OK(dpi_row_done(&r));
		CHECK_INT(dpi_row_end(&w, 0), ==, size);
		if (s->plain && i % 2 && in.count) CHECK_INT(calls, >=, 2 * s->columns);
		CHECK_OK(dpi_row_open(&r, s, again, size, NULL));
		const void *row;
		uint32_t bytes;
		for (size_t k = 0; (row = dpi_row_next(&r, &bytes)); k++) check_same(row, bytes, in.row + k);
		/* no room */
		CHECK_OK(dpi_row_batch_records(&b, in.row, in.count));
		size_t small = DPI_SEGMENT_HEADER + 8 + (s->row_size + 7u) / 8 * 8 + draw_below(&d, 200);
		CHECK_OK(dpi_row_begin(&w, s, again, small));
		done = dpi_row_from_batch(s, &b.batch, 0, in.count, &w);
		CHECK_INT(dpi_row_end(&w, 0), <=, small);
		CHECK_OK(dpi_row_open(&r, s, again, small, NULL));
		CHECK_INT(r.rows, ==, done);
		dpi_row_batch_free(&b);
		free(segment), free(again);
		free_rows(in);
		dpi_schema_unref(s);
	}
	dpi_row_kernels = &dpi_row_scalar;
}

TEST(only_wanted_columns_are_made, "", 0)
{
	static char names[70][4];
	DPI_Column c[70];
	uint64_t wanted[2] = { UINT64_C(1) << 3, 1 << 5 };
	struct dpi_row_batch b;
	for (int i = 0; i < 70; i++) {
		snprintf(names[i], sizeof names[i], "%d", i);
		c[i] = (DPI_Column){ .name = names[i], .type = i == 69 ? DPI_TYPE_UTF8 : DPI_TYPE_INT16 };
	}
	struct dpi_schema *s = schema_of(c, 70);
	struct draws d = draws_from(1);
	struct rows in = random_rows(s, &d, 100, 10);
	CHECK_OK(dpi_row_batch_new(s, wanted, &b));
	CHECK_OK(dpi_row_batch_records(&b, in.row, in.count));
	CHECK_INT(b.batch.columns, ==, 70);
	for (int i = 0; i < 70; i++) CHECK_INT(!!b.vector[i].data, ==, i == 3 || i == 69);
	int16_t v;
	memcpy(&v, (const uint8_t *)in.row[9].data + 6, 2);
	CHECK_INT(((const int16_t *)b.vector[3].data)[9], ==, v);
	dpi_row_batch_free(&b);
	free_rows(in);
	dpi_schema_unref(s);
}

TEST(wrong_rows_become_no_columns, "", 0)
{
	struct dpi_schema *s = schema_of((DPI_Column[]){ { "b", DPI_TYPE_BOOL, 0, 0, 0, 0 },
							 { "t", DPI_TYPE_UTF8, 0, 0, 0, 0 } }, 2);
	struct dpi_row_batch b;
	uint32_t row[4] = { 77, 12, 2, 0x6161 }; /* a bool of 77 is true */
	CHECK_OK(dpi_row_batch_new(s, NULL, &b));
	CHECK_OK(dpi_row_batch_records(&b, &(DPI_Record){ row, 14 }, 1));
	CHECK(dpi_bit(b.vector[0].data, 0) && b.vector[1].offset[1] == 2);
	CHECK_ERROR(dpi_row_batch_records(&b, &(DPI_Record){ row, 13 }, 1), DPI_ERR_CORRUPT, "column 1 \"t\"");
	CHECK_INT(b.batch.rows, ==, 0);
	CHECK_ERROR(dpi_row_batch_records(&b, &(DPI_Record){ row, 11 }, 1), DPI_ERR_CORRUPT, "11 bytes");
	CHECK_ERROR(dpi_row_batch_records(&b, NULL, INT32_MAX), DPI_ERR_SIZE, "rows");
	dpi_row_batch_free(&b);
	dpi_schema_unref(s);
}
