/* SPDX-License-Identifier: Apache-2.0
 * arrow_test.c: flows/arrow.h: record batches come in and go out by pointers, not by copies. */
#include "schema_kit.h"

#include "flows/arrow.h"
#include "flows/column_bits.h"
#include "flows/column_segment.h"
#include "flows/row_batch.h"

static void check_rows(const struct dpi_schema *s, const struct dpi_batch *b, const DPI_Record *rows, size_t count)
{
	CHECK_INT(b->rows, ==, count);
	for (size_t i = 0; i < count; i++) {
		size_t size = dpi_row_size_in_batch(s, b, i);
		uint8_t *row = malloc(size);
		dpi_row_write_from_batch(s, b, i, row);
		check_same(row, size, rows + i);
		free(row);
	}
}

static void count_release(void *owner)
{
	++*(int *)owner;
}

TEST(columns_are_lent_where_they_lie, "", 0)
{
	struct draws d = draws_from(1);
	for (int i = 0; i < rounds(100); i++) {
		struct dpi_schema *s = random_schema(&d, i % 4);
		struct rows in = random_rows(s, &d, draw_below(&d, 60), 30);
		size_t room = 1 << 17;
		uint8_t *segment = aligned_alloc(64, room);
		struct dpi_column_builder *build;
		struct dpi_column_reader r;
		struct dpi_arrow_batch back;
		struct ArrowArray out;
		int released = 0;
		CHECK_OK(dpi_column_builder_new(s, &build));
		CHECK_OK(dpi_column_begin(build, segment, room));
		for (size_t k = 0; k < in.count; k++)
			CHECK_OK(dpi_column_append_row(build, in.row[k].data, (uint32_t)in.row[k].size));
		size_t size = dpi_column_end(build, 0);
		CHECK_OK(dpi_column_reader_new(s, &r));
		CHECK_OK(dpi_column_read(&r, segment, size, 0, NULL));
		CHECK_OK(dpi_arrow_export(s, &r.batch, count_release, &released, &out));

		CHECK(out.length == (int64_t)in.count && out.n_children == (int64_t)s->columns && out.n_buffers == 1 &&
		      !out.buffers[0]);
		for (uint32_t k = 0; k < s->columns; k++) {
			const struct dpi_column *c = s->column + k;
			const struct ArrowArray *a = out.children[k];
			struct dpi_column_place p;
			memcpy(&p, segment + DPI_SEGMENT_HEADER + k * sizeof p, sizeof p);
			CHECK_INT(a->length, ==, in.count);
			CHECK_INT(a->offset, ==, 0);
			CHECK_INT(a->n_buffers, ==, c->variable ? 3 : 2);
			CHECK(a->buffers[0] == (p.valid ? segment + p.valid : NULL));
			CHECK_INT(a->null_count, ==, p.valid ? -1 : 0);
			if (c->variable) CHECK(a->buffers[1] == segment + p.offset);
			CHECK(a->buffers[c->variable ? 2 : 1] == segment + p.data);
		}

		CHECK_OK(dpi_arrow_batch_new(s, &back));
		CHECK_OK(dpi_arrow_import(&back, &out));
		check_rows(s, &back.batch, in.row, in.count);
		for (uint32_t k = 0; k < s->columns && in.count; k++) { /* in again, still the same memory */
			CHECK(back.vector[k].data == r.vector[k].data);
			CHECK(back.vector[k].offset == r.vector[k].offset && back.vector[k].valid == r.vector[k].valid);
		}
		CHECK_INT(released, ==, 0);
		out.release(&out);
		CHECK(!out.release);
		CHECK_INT(released, ==, 1);
		CHECK_ERROR(dpi_arrow_import(&back, &out), DPI_ERR_ARGUMENT, "released");
		dpi_arrow_batch_free(&back);
		dpi_column_reader_free(&r);
		dpi_column_builder_free(build);
		free(segment);
		free_rows(in);
		dpi_schema_unref(s);
	}
}

TEST(a_moved_child_keeps_the_owners_memory, "", 0)
{
	static const int64_t a[2] = { 1, 2 }, b[2] = { 3, 4 };
	struct dpi_schema *s = schema_of((DPI_Column[]){ { "a", DPI_TYPE_INT64, 0, 0, 0, 0 },
							 { "b", DPI_TYPE_INT64, 0, 0, 0, 0 } }, 2);
	struct dpi_vector v[2] = { { .type = DPI_TYPE_INT64, .width = 8, .data = a },
				   { .type = DPI_TYPE_INT64, .width = 8, .data = b } };
	struct dpi_batch batch = { 2, 2, v };
	struct ArrowArray out, moved;
	int released = 0;
	CHECK_OK(dpi_arrow_export(s, &batch, count_release, &released, &out));
	dpi_schema_unref(s);
	moved = *out.children[1];
	out.children[1]->release = NULL;
	out.release(&out);
	CHECK_INT(released, ==, 0);
	CHECK(moved.buffers[1] == b && moved.length == 2);
	moved.release(&moved);
	CHECK_INT(released, ==, 1);
}

static void nothing(struct ArrowArray *a)
{
	FAIL("an array of %lld was released", (long long)a->length);
}

/* A batch of somebody else's: three columns of ten values, of which it takes some. */
static struct foreign {
	_Alignas(8) uint8_t memory[256];
	const void *buffer[10];
	struct ArrowArray child[3], *pointer[3], root;
} f;

enum { NUMBER, TEXT, FLAG };

static void make(int64_t offset, int64_t length)
{
	memset(&f, 0, sizeof f);
	int32_t *numbers = (int32_t *)(void *)f.memory, *offsets = (int32_t *)(void *)(f.memory + 64);
	for (int i = 0; i < 10; i++) {
		numbers[i] = 100 + i;
		offsets[i + 1] = offsets[i] + i;
	}
	memset(f.memory + 128, 'x', 45);
	memcpy(f.memory + 176, "\xdd\x03", 2); /* bits 1 and 5 are NULL */
	memcpy(f.memory + 184, "\x55\x01", 2); /* every other is true */
	const void *buffers[10] = { NULL, f.memory + 176, f.memory, f.memory + 176, f.memory + 64, f.memory + 128, NULL,
				    f.memory + 184 };
	memcpy(f.buffer, buffers, sizeof buffers);
	f.child[NUMBER] = (struct ArrowArray){ .length = 10, .null_count = 2, .n_buffers = 2, .buffers = f.buffer + 1,
					       .release = nothing };
	f.child[TEXT] = (struct ArrowArray){ .length = 10, .null_count = -1, .n_buffers = 3, .buffers = f.buffer + 3,
					     .release = nothing };
	f.child[FLAG] = (struct ArrowArray){ .length = 10, .n_buffers = 2, .buffers = f.buffer + 6, .release = nothing };
	for (int i = 0; i < 3; i++) f.pointer[i] = f.child + i;
	f.root = (struct ArrowArray){ .length = length, .offset = offset, .n_buffers = 1, .n_children = 3,
				      .buffers = f.buffer, .children = f.pointer, .release = nothing };
}

static struct dpi_schema *foreign_schema(int nullable)
{
	return schema_of((DPI_Column[]){ { "n", DPI_TYPE_INT32, nullable, 0, 0, 0 }, { "t", DPI_TYPE_UTF8, 1, 0, 0, 0 },
					 { "f", DPI_TYPE_BOOL, 0, 0, 0, 0 } }, 3);
}

TEST(slices_of_a_record_batch, "", 0)
{
	struct dpi_schema *s = foreign_schema(1);
	struct dpi_arrow_batch b;
	CHECK_OK(dpi_arrow_batch_new(s, &b));
	for (int64_t offset = 0; offset < 10; offset++)
		for (int64_t length = 0; offset + length <= 10; length++) {
			int64_t child = offset / 2; /* a column may begin later than its buffers, too */
			make(offset - child, length);
			for (int i = 0; i < 3; i++) f.child[i].offset = child, f.child[i].length -= child;
			CHECK_OK(dpi_arrow_import(&b, &f.root));
			CHECK_INT(b.batch.rows, ==, length);
			if (offset == 0 && length)
				CHECK(b.vector[0].data == f.memory && b.vector[0].valid == f.memory + 176 &&
				      b.vector[2].data == f.memory + 184);
			for (int64_t i = 0; i < length; i++) {
				int64_t k = offset + i;
				CHECK_INT(dpi_is_null(b.vector, (size_t)i), ==, k == 1 || k == 5);
				CHECK_INT(dpi_is_null(b.vector + 1, (size_t)i), ==, k == 1 || k == 5);
				CHECK_INT(((const int32_t *)b.vector[0].data)[i], ==, 100 + k);
				CHECK_INT(b.vector[1].offset[i + 1] - b.vector[1].offset[i], ==, k);
				CHECK_INT(dpi_bit(b.vector[2].data, (size_t)i), ==, k % 2 == 0 && k < 10);
			}
		}
	dpi_arrow_batch_free(&b);
	dpi_schema_unref(s);
}

TEST(values_at_odd_addresses_are_copied, "", 0)
{
	struct dpi_schema *s = foreign_schema(1);
	struct dpi_arrow_batch b;
	make(0, 10);
	static _Alignas(8) uint8_t odd[2][64];
	memcpy(odd[0] + 1, f.memory, 40);
	memcpy(odd[1] + 2, f.memory + 64, 44);
	f.buffer[2] = odd[0] + 1;
	f.buffer[4] = odd[1] + 2;
	CHECK_OK(dpi_arrow_batch_new(s, &b));
	for (int i = 0; i < 2; i++) {
		CHECK_OK(dpi_arrow_import(&b, &f.root));
		CHECK((uintptr_t)b.vector[0].data % 4 == 0 && !memcmp(b.vector[0].data, f.memory, 40));
		CHECK((uintptr_t)b.vector[1].offset % 4 == 0 && !memcmp(b.vector[1].offset, f.memory + 64, 44));
	}
	dpi_arrow_batch_free(&b);
	dpi_schema_unref(s);
}

TEST(empty_batches_need_no_buffers, "", 0)
{
	struct dpi_schema *s = foreign_schema(1);
	struct dpi_arrow_batch b;
	make(0, 0);
	memset(f.buffer, 0, sizeof f.buffer);
	for (int i = 0; i < 3; i++) f.child[i].length = f.child[i].null_count = 0;
	CHECK_OK(dpi_arrow_batch_new(s, &b));
	CHECK_OK(dpi_arrow_import(&b, &f.root));
	CHECK_INT(b.batch.rows, ==, 0);
	CHECK_INT(b.vector[1].offset[0], ==, 0);
	dpi_arrow_batch_free(&b);
	dpi_schema_unref(s);
}

TEST(wrong_record_batches_are_refused, "", 0)
{
	struct dpi_schema *s = foreign_schema(1), *strict = foreign_schema(0);
	struct dpi_arrow_batch b, c;
	int32_t *offsets = (int32_t *)(void *)(f.memory + 64);
	CHECK_OK(dpi_arrow_batch_new(s, &b));
	CHECK_OK(dpi_arrow_batch_new(strict, &c));
#define REFUSED(change, part)                                                                          \
	do {                                                                                           \
		make(0, 10);                                                                           \
		change;                                                                                \
		CHECK_ERROR(dpi_arrow_import(&b, &f.root), DPI_ERR_ARGUMENT, part);                    \
		CHECK_INT(b.batch.rows, ==, 0);                                                        \
	} while (0)
	REFUSED(f.root.release = NULL, "released");
	REFUSED(f.root.n_children = 2, "2 columns");
	REFUSED(f.root.n_children = INT64_MAX, "columns");
	REFUSED(f.root.children = NULL, "columns");
	REFUSED(f.root.n_buffers = 2, "2 buffers");
	REFUSED(f.root.dictionary = &f.root, "columns");
	REFUSED(f.root.length = -1, "-1 rows");
	REFUSED(f.root.length = INT64_C(1) << 31, "2^31");
	REFUSED(f.root.offset = -1, "rows");
	REFUSED(f.root.offset = INT64_MAX, "begins at row");
	REFUSED(f.root.length = 11, "column 0 \"n\" has 10 values");
	REFUSED(f.root.offset = 1, "column 0 \"n\"");
	REFUSED((f.buffer[0] = f.memory + 176, f.root.null_count = 2), "NULL as a whole");
	REFUSED((f.buffer[0] = f.memory + 176, f.root.null_count = -1), "NULL as a whole");
	REFUSED(f.pointer[1] = NULL, "column 1 \"t\" is missing");
	REFUSED(f.child[1].release = NULL, "column 1 \"t\" is missing or released");
	REFUSED(f.child[1].n_buffers = 2, "column 1 \"t\" has 2 buffers");
	REFUSED(f.child[0].n_buffers = 3, "column 0 \"n\" has 3 buffers");
	REFUSED(f.child[0].buffers = NULL, "column 0 \"n\"");
	REFUSED(f.child[0].n_children = 1, "1 children");
	REFUSED(f.child[0].dictionary = f.child + 1, "column 0");
	REFUSED(f.child[0].length = 9, "9 values");
	REFUSED(f.child[0].length = -1, "column 0");
	REFUSED(f.child[0].offset = -1, "column 0");
	REFUSED(f.child[0].offset = INT64_MAX, "column 0");
	REFUSED(f.child[0].offset = INT64_MAX - 10, "column 0");
	REFUSED(f.child[0].null_count = 11, "null_count 11");
	REFUSED(f.child[0].null_count = -2, "null_count -2");
	REFUSED(f.buffer[1] = NULL, "no bits that say where");
	REFUSED(f.buffer[2] = NULL, "column 0 \"n\" has values at NULL");
	REFUSED(f.buffer[4] = NULL, "no offsets");
	REFUSED(f.buffer[5] = NULL, "bytes at NULL");
	REFUSED(f.buffer[7] = NULL, "column 2 \"f\" has values at NULL");
	REFUSED(offsets[0] = -1, "fall, or are negative");
	REFUSED(offsets[4] = 0, "fall, or are negative");
	REFUSED(offsets[10] = INT32_MIN, "fall, or are negative");
	make(0, 10);
	CHECK_OK(dpi_arrow_import(&b, &f.root));
	CHECK_ERROR(dpi_arrow_import(&c, &f.root), DPI_ERR_ARGUMENT,
		    "column 0 \"n\" has NULLs, and the schema's column has none");
	make(2, 3); /* there are none in the slice */
	CHECK_OK(dpi_arrow_import(&c, &f.root));
	CHECK(!c.vector[0].valid);
	dpi_arrow_batch_free(&b), dpi_arrow_batch_free(&c);
	dpi_schema_unref(s), dpi_schema_unref(strict);
}
