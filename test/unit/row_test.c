/* SPDX-License-Identifier: Apache-2.0
 * row_test.c: flows/row*.h: segments of rows, large rows in parts, and what comes from outside. */
#include "schema_kit.h"

#include "flows/row_part.h"
#include "flows/row_segment.h"

TEST(rows_are_copied_at_every_size, "", 0)
{
	uint8_t from[300], to[302];
	fill(from, sizeof from, 1);
	for (size_t n = 0; n < sizeof from; n++) {
		memset(to, 0xaa, sizeof to);
		dpi_row_copy(to + 1, from, n);
		CHECK(to[0] == 0xaa && to[n + 1] == 0xaa && !memcmp(to + 1, from, n));
	}
}

/* Through segments of this capacity and back. */
static void carry(const struct dpi_schema *s, const struct rows *in, size_t capacity, struct draws *d)
{
	_Alignas(8) static uint8_t memory[1 << 16];
	size_t written = 0, read = 0;
	while (written < in->count) {
		uint8_t *segment = memory + sizeof memory - capacity / 8 * 8;
		size_t room = capacity / 8 * 8, size, first = written;
		struct dpi_row_writer w;
		struct dpi_segment h;
		CHECK_OK(dpi_row_begin(&w, s, segment, room));
		for (; written < in->count; written++) {
			const DPI_Record *r = in->row + written;
			CHECK(dpi_row_fits(s, r->size, room));
			if (draw_below(d, 4)) { /* both ways in */
				if (!dpi_row_append(&w, r->data, (uint32_t)r->size)) break;
			} else {
				uint32_t more = s->varies ? (uint32_t)draw_below(d, 20) : 0;
				void *at = dpi_row_reserve(&w, (uint32_t)r->size + more);
				if (!at) { /* not with what it asked for too much */
					if (!dpi_row_append(&w, r->data, (uint32_t)r->size)) break;
					continue;
				}
				memcpy(at, r->data, r->size);
				dpi_row_shrink(&w, at, (uint32_t)r->size);
				if (draw_below(d, 8)) continue;
				dpi_row_unreserve(&w, at);
				if (!dpi_row_append(&w, r->data, (uint32_t)r->size))
					FAIL("what was taken back does not fit again");
			}
		}
		CHECK_INT(written, >, first);
		CHECK_INT(dpi_row_count(&w), ==, written - first);
		size = dpi_row_end(&w, 0x100);
		CHECK_INT(size, <=, room);
		CHECK_OK(dpi_row_check_segment(s, segment, size, true));
		struct dpi_row_reader r;
		const void *row;
		uint32_t bytes;
		CHECK_OK(dpi_row_open(&r, s, segment, size, &h));
		CHECK_INT(h.rows, ==, written - first);
		CHECK_INT(h.flags & DPI_SEGMENT_ENGINE, ==, 0x100);
		while ((row = dpi_row_next(&r, &bytes))) {
			CHECK(!s->varies || (uintptr_t)row % 8 == 0);
			check_same(row, bytes, in->row + read++);
		}
		CHECK_OK(dpi_row_done(&r));
		CHECK_INT(read, ==, written);
	}
}

TEST(rows_travel_in_segments, "", 0)
{
	struct draws d = draws_from(1);
	for (int i = 0; i < rounds(200); i++) {
		struct dpi_schema *s = random_schema(&d, i % 4);
		struct rows in = random_rows(s, &d, 1 + draw_below(&d, 200), 60);
		size_t least = DPI_SEGMENT_HEADER + 16;
		for (size_t k = 0; k < in.count; k++)
			if (in.row[k].size + 48 > least) least = in.row[k].size + 48;
		carry(s, &in, least + 8, &d);
		carry(s, &in, least + 8 + draw_below(&d, 5000), &d);
		carry(s, &in, 1 << 16, &d);
		free_rows(in);
		dpi_schema_unref(s);
	}
}

TEST(a_segment_takes_exactly_what_fits, "", 0)
{
	struct dpi_schema *s = schema_of((DPI_Column[]){ { "a", DPI_TYPE_INT64, 0, 0, 0, 0 },
							 { "b", DPI_TYPE_INT32, 0, 0, 0, 0 } }, 2);
	struct dpi_row_writer w;
	_Alignas(8) uint8_t segment[DPI_SEGMENT_HEADER + 16 * 10];
	uint8_t rows[16 * 20];
	fill(rows, sizeof rows, 1);
	CHECK_INT(dpi_row_begin(&w, s, segment, DPI_SEGMENT_HEADER + 15), ==, DPI_ERR_SIZE);
	CHECK_INT(dpi_row_begin(&w, s, segment, 3), ==, DPI_ERR_SIZE);
	CHECK(dpi_row_fits(s, 16, DPI_SEGMENT_HEADER + 16) && !dpi_row_fits(s, 16, DPI_SEGMENT_HEADER + 15) &&
	      !dpi_row_fits(s, 16, 3));
	for (size_t more = 0; more < 16; more++) {
		CHECK_OK(dpi_row_begin(&w, s, segment, DPI_SEGMENT_HEADER + 16 * 9 + more));
		for (int i = 0; i < 9; i++) CHECK(dpi_row_append(&w, rows, 16));
		CHECK(!dpi_row_append(&w, rows, 16));
		CHECK_INT(dpi_row_append_many(&w, rows, 1), ==, 0);
	}
	CHECK_OK(dpi_row_begin(&w, s, segment, sizeof segment));
	CHECK_INT(dpi_row_append_many(&w, rows, 4), ==, 4);
	CHECK_INT(dpi_row_append_many(&w, rows + 64, 16), ==, 6);
	CHECK_INT(dpi_row_end(&w, 0), ==, sizeof segment);
	CHECK(!memcmp(segment + DPI_SEGMENT_HEADER, rows, 160));
	dpi_schema_unref(s);
}

TEST(wrong_segments_are_refused, "", 0)
{
	struct dpi_schema *fixed = schema_of(&(DPI_Column){ "a", DPI_TYPE_INT64, 0, 0, 0, 0 }, 1);
	struct dpi_schema *varies = schema_of(&(DPI_Column){ "t", DPI_TYPE_UTF8, 0, 0, 0, 0 }, 1);
	struct dpi_row_reader r;
	struct dpi_segment h = { .rows = 2, .bytes = 16, .flags = DPI_SEGMENT_MAGIC }, bad;
	_Alignas(8) uint8_t segment[DPI_SEGMENT_HEADER + 64] = { 0 };
#define OPEN(s, size) (memcpy(segment, &bad, sizeof bad), dpi_row_open(&r, (s), segment, (size), NULL))
	bad = h;
	CHECK_OK(OPEN(fixed, DPI_SEGMENT_HEADER + 16));
	CHECK_ERROR(OPEN(fixed, DPI_SEGMENT_HEADER + 15), DPI_ERR_CORRUPT, "announces 16");
	CHECK_ERROR(OPEN(fixed, DPI_SEGMENT_HEADER - 1), DPI_ERR_CORRUPT, "no room for its header");
	bad = h, bad.rows = 3;
	CHECK_ERROR(OPEN(fixed, DPI_SEGMENT_HEADER + 16), DPI_ERR_CORRUPT, "3 rows of 8 bytes");
	bad.rows = UINT32_MAX;
	CHECK_ERROR(OPEN(fixed, DPI_SEGMENT_HEADER + 16), DPI_ERR_CORRUPT, "rows");
	CHECK_ERROR(OPEN(varies, DPI_SEGMENT_HEADER + 16), DPI_ERR_CORRUPT, "rows");
	bad = h, bad.flags = 0;
	CHECK_ERROR(OPEN(fixed, DPI_SEGMENT_HEADER + 16), DPI_ERR_CORRUPT, "do not begin");
	bad.flags = DPI_SEGMENT_MAGIC + 0x10000;
	CHECK_ERROR(OPEN(fixed, DPI_SEGMENT_HEADER + 16), DPI_ERR_VERSION, "version");
	bad.flags = DPI_SEGMENT_MAGIC | 0x10;
	CHECK_ERROR(OPEN(fixed, DPI_SEGMENT_HEADER + 16), DPI_ERR_CORRUPT, "flags");
	bad.flags = DPI_SEGMENT_MAGIC | DPI_SEGMENT_COLUMNS;
	CHECK_ERROR(OPEN(fixed, DPI_SEGMENT_HEADER + 16), DPI_ERR_USE, "columnar");
	bad.flags = DPI_SEGMENT_MAGIC | DPI_SEGMENT_PART;
	CHECK_ERROR(OPEN(fixed, DPI_SEGMENT_HEADER + 16), DPI_ERR_USE, "part");

	/* sizes of single rows */
	static const uint64_t sizes[] = { 57, 64, UINT64_MAX, UINT64_MAX - 7, UINT64_C(1) << 32, UINT32_MAX };
	const void *row;
	uint32_t size;
	bad = h, bad.rows = 1, bad.bytes = 64;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		CHECK_OK(OPEN(varies, sizeof segment));
		memcpy(segment + DPI_SEGMENT_HEADER, sizes + i, 8);
		CHECK(!dpi_row_next(&r, &size));
		CHECK_ERROR(dpi_row_done(&r), DPI_ERR_CORRUPT, "breaks off");
		CHECK_ERROR(dpi_row_check_segment(varies, segment, sizeof segment, false), DPI_ERR_CORRUPT, "breaks off");
	}
	CHECK_OK(OPEN(varies, sizeof segment));
	memcpy(segment + DPI_SEGMENT_HEADER, (uint64_t[]){ 8, 0x0000000000000008 }, 16); /* 0 bytes at 8 */
	CHECK((row = dpi_row_next(&r, &size)));
	CHECK_INT(size, ==, 8);
	CHECK_OK(dpi_row_check(varies, row, size, true));
	CHECK(!dpi_row_next(&r, &size));
	CHECK_ERROR(dpi_row_done(&r), DPI_ERR_CORRUPT, "48 bytes behind");
	dpi_schema_unref(fixed), dpi_schema_unref(varies);
}

TEST(random_segments_are_read_or_refused, "", 0)
{
	struct draws d = draws_from(3);
	for (int i = 0; i < rounds(20000); i++) {
		struct dpi_schema *s = random_schema(&d, i % 3);
		size_t size = DPI_SEGMENT_HEADER + draw_below(&d, 50) * 8;
		uint8_t *segment = guarded(size);
		struct dpi_segment h = { .rows = (uint32_t)draw_below(&d, 5),
					 .bytes = (uint32_t)(size - DPI_SEGMENT_HEADER), .flags = DPI_SEGMENT_MAGIC };
		for (size_t k = 0; k < size; k++) segment[k] = draw_below(&d, 3) ? 0 : (uint8_t)draw_below(&d, 100);
		memcpy(segment, &h, sizeof h);
		int error = dpi_row_check_segment(s, segment, size, true);
		CHECK(!error || error == DPI_ERR_CORRUPT);
		guarded_free(segment, size);
		dpi_schema_unref(s);
	}
}

/* ---------------------------------------------------------------------------------------------------------- parts */

TEST(large_rows_travel_in_parts, "", 0)
{
	struct draws d = draws_from(4);
	struct dpi_part_assembly a = { 0 };
	_Alignas(8) uint8_t segment[5000];
	for (int i = 0; i < rounds(300); i++) {
		size_t before = a.room, size = 1 + draw_below(&d, i % 3 ? 3000 : 100000),
		       capacity = 64 + draw_below(&d, sizeof segment - 63), at = 0, taken, parts = 0;
		uint8_t *row = malloc(size);
		bool complete = false;
		fill(row, size, (uint64_t)i);
		while (!complete) {
			CHECK_INT(at, <, size);
			size_t n = dpi_part_write(segment, capacity, row, size, at, 0x200, &taken);
			CHECK_INT(n, <=, capacity);
			CHECK_INT(taken, >, 0);
			at += taken;
			parts++;
			struct dpi_segment h;
			CHECK_OK(dpi_segment_header(segment, n, &h));
			CHECK_INT(!!(h.flags & DPI_SEGMENT_FIRST), ==, parts == 1);
			CHECK_INT(!!(h.flags & DPI_SEGMENT_LAST), ==, at == size);
			CHECK_INT(h.rows, ==, at == size);
			CHECK_OK(dpi_part_add(&a, segment, n, size, &complete));
			CHECK_INT(complete, ==, at == size);
			CHECK(a.room <= before || a.room <= 2 * at);
		}
		CHECK_INT(a.total, ==, size);
		CHECK(filled(a.data, size, (uint64_t)i));
		free(row);
	}
	dpi_part_free(&a);
	CHECK(!a.data);
}

TEST(wrong_parts_are_refused, "", 0)
{
	struct dpi_part_assembly a = { 0 };
	uint8_t row[1000];
	_Alignas(8) uint8_t part[3][512], other[512];
	size_t size[3], at = 0, taken;
	bool complete;
	fill(row, sizeof row, 1);
	for (int i = 0; i < 3; i++, at += taken) size[i] = dpi_part_write(part[i], 400, row, sizeof row, at, 0, &taken);
	CHECK_INT(at, ==, sizeof row);
#define ADD(i) dpi_part_add(&a, part[i], size[i], 1000, &complete)
	CHECK_ERROR(ADD(1), DPI_ERR_CORRUPT, "without the parts before it");
	CHECK_ERROR(ADD(2), DPI_ERR_CORRUPT, "without the parts before it");
	CHECK_OK(ADD(0));
	CHECK_ERROR(ADD(2), DPI_ERR_CORRUPT, "does not fit");
	CHECK_OK(ADD(0));
	CHECK_ERROR(ADD(0), DPI_ERR_CORRUPT, "before the row under way");
	CHECK_ERROR(dpi_part_add(&a, part[0], size[0], 999, &complete), DPI_ERR_SIZE, "at most 999");

	/* one field changed at a time: offsets in segment header, then part header */
	static const struct {
		size_t at;
		uint8_t byte;
		int error;
	} bad[] = {
		{ 8, 1, DPI_ERR_CORRUPT }, { 12, 0, DPI_ERR_CORRUPT }, { 12, 15, DPI_ERR_CORRUPT },
		{ 16, 0, DPI_ERR_CORRUPT },
		{ 16, 6 | 8, DPI_ERR_CORRUPT }, { 16, 7, DPI_ERR_CORRUPT }, { 24, 0xff, DPI_ERR_SIZE },
		{ 31, 1, DPI_ERR_SIZE },
		{ 25, 0, DPI_ERR_CORRUPT }, { 32, 1, DPI_ERR_CORRUPT }, { 39, 0xff, DPI_ERR_CORRUPT },
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		memcpy(other, part[0], sizeof other);
		other[bad[i].at] = bad[i].byte;
		if (bad[i].at == 12) other[13] = 0; /* fewer bytes than a part's header */
		if (bad[i].at == 25) other[24] = 16; /* a row of 16 bytes, and more come */
		int error = dpi_part_add(&a, other, size[0], 1000, &complete);
		if (error != bad[i].error) FAIL("case %zu: %d: %s", i, error, dpi_detail());
		CHECK_INT(a.total, ==, 0);
	}
	for (int i = 0; i < 3; i++) CHECK_OK(ADD(i));
	CHECK(complete && filled(a.data, 1000, 1));
	CHECK_OK(ADD(0)); /* another row */
	CHECK(!complete);
	dpi_part_free(&a);
}
