/* SPDX-License-Identifier: Apache-2.0
 * filter_test.c: Bloom filters of keys: hashes of rows, records and columns are those of DPI_Hash_Rows; bytes and back; what others
 * have published is checked. */
#include "flows/bloom.h"

#include <dpi.h>

#include "flows/flow.h"
#include "flows/row_batch.h"
#include "unit.h"

enum { ROWS = 500 };

static DPI_Flow flow_of(const char *name, const DPI_Column *columns, size_t count, const char *const *key, size_t keys, DPI_Context ctx)
{
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	DPI_Flow f;
	CHECK_DPI(DPI_Create_Schema(columns, count, &a.schema));
	a.key = key, a.key_count = keys;
	CHECK_DPI(DPI_Create_Flow(name, &a, ctx, &f));
	CHECK_DPI(DPI_Free_Schema(a.schema));
	return f;
}

static const DPI_Column columns[] = { { "a", DPI_TYPE_INT32, 1, 0, 0, 0 }, { "b", DPI_TYPE_DOUBLE, 0, 0, 0, 0 }, { "c", DPI_TYPE_BOOL, 0, 0, 0, 0 }, { "d", DPI_TYPE_UTF8, 1, 0, 0, 0 } };

/* One key at a time is what DPI_Hash_Rows says; runs of rows and columns are the same. */
static void compare(size_t count, const char *const *key, size_t keys, const char *name, DPI_Context ctx)
{
	DPI_Flow f = flow_of(name, columns, count, key, keys, ctx);
	struct dpi_flow *flow = dpi_flow_get(f);
	const struct dpi_definition *d = flow->definition;
	struct dpi_schema *s = d->schema;
	static uint8_t room[ROWS][128];
	DPI_Record record[ROWS];
	DPI_Schema schema;
	struct dpi_key k;
	struct draws draws = draws_from(7);
	CHECK_DPI(DPI_Get_Flow_Schema(f, &schema));
	CHECK_DPI(dpi_key_new(d, s, 0, &k));
	uint64_t hash[ROWS], runs[ROWS], expected;
	bool whole[ROWS];
	uint8_t bits[ROWS / 8 + 1];
	for (int i = 0; i < ROWS; i++) {
		char text[16];
		size_t size;
		bool null[2] = { !draw_below(&draws, 5), !draw_below(&draws, 5) };
		uint32_t length = (uint32_t)snprintf(text, sizeof text, "%d", (int)draw_below(&draws, 1000000));
		DPI_Value v[4] = { { .type = null[0] ? DPI_TYPE_NULL : DPI_TYPE_INT32, .i = (int)draw_below(&draws, 100) - 50 },
				   { .type = DPI_TYPE_DOUBLE, .d = (double)draw_below(&draws, 3) - 1 },
				   { .type = DPI_TYPE_BOOL, .i = (int)draw_below(&draws, 2) },
				   { .type = null[1] ? DPI_TYPE_NULL : DPI_TYPE_UTF8, .size = length, .data = text } };
		if (!i) v[1].d = -0.0;
		CHECK_DPI(DPI_Pack_Row(v, schema, room[i], sizeof room[i], &size));
		record[i] = (DPI_Record){ room[i], size };
		CHECK_DPI(dpi_key_row(&k, room[i], (uint32_t)size, &hash[i], &whole[i]));
		DPI_Values values[4];
		int32_t number = (int32_t)v[0].i, place[2] = { 0, (int32_t)length };
		uint8_t flag = (uint8_t)v[2].i, yes = 1, no = 0;
		size_t n = 0;
		bool some = true;
		for (size_t j = 0; j < keys; j++) {
			DPI_Values all[4] = { { .type = DPI_TYPE_INT32, .data = &number, .valid = null[0] ? &no : &yes },
					      { .type = DPI_TYPE_DOUBLE, .data = &v[1].d },
					      { .type = DPI_TYPE_BOOL, .data = &flag, .stride = 1 },
					      { .type = DPI_TYPE_UTF8, .data = text, .offset = place, .valid = null[1] ? &no : &yes } };
			int c = *key[j] - 'a';
			values[n++] = all[c];
			some &= !(c == 0 && null[0]) && !(c == 3 && null[1]);
		}
		CHECK_DPI(DPI_Hash_Rows(values, n, 1, 0, &expected));
		CHECK_INT(hash[i], ==, expected);
		CHECK_INT(whole[i], ==, some);
	}
	struct dpi_row_batch batch;
	CHECK_DPI(dpi_row_batch_new(s, NULL, &batch));
	CHECK_DPI(dpi_row_batch_records(&batch, record, ROWS));
	for (size_t first = 0; first < 20; first += 7) {
		dpi_key_batch(&k, &batch.batch, first, ROWS - first, runs, bits);
		for (size_t i = first; i < ROWS; i++) CHECK(runs[i - first] == hash[i] && dpi_bit(bits, i - first) == whole[i]);
	}
	if (!s->varies) {
		dpi_key_rows(&k, room, sizeof *room, ROWS, runs, bits);
		for (size_t i = 0; i < ROWS; i++) CHECK(runs[i] == hash[i] && dpi_bit(bits, i) == whole[i]);
	} else { /* bytes that a peer has changed since they were checked */
		uint32_t wrong = 1u << 20;
		for (int i = 0; i < ROWS; i++) {
			if (!whole[i]) continue;
			memcpy(room[i] + s->column[3].offset + 4, &wrong, 4);
			CHECK_ERROR(dpi_key_row(&k, room[i], (uint32_t)record[i].size, &expected, &whole[i]), DPI_ERR_CORRUPT, "\"d\"");
		}
	}
	dpi_row_batch_free(&batch);
	dpi_key_end(&k);
	dpi_flow_unref(flow);
	CHECK_DPI(DPI_Free_Schema(schema));
}

TEST(filter_keys, "", 1)
{
	static const char *const key[] = { "b", "a", "c", "d" };
	DPI_Context ctx;
	(void)rank;
	CHECK_DPI(DPI_Init(&ctx));
	compare(3, key, 3, "fixed", ctx);
	compare(3, key, 1, "one", ctx);
	compare(4, key, 4, "varies", ctx);
	CHECK_DPI(DPI_Finalize(ctx));
}

/* ------------------------------------------------------------------------------------------------------------ bytes */

static uint8_t *image_of(DPI_Bloom bloom, size_t *size)
{
	struct dpi_filter *f = dpi_filter_get(bloom);
	*size = dpi_filter_bytes(f);
	uint8_t *p = malloc(*size);
	CHECK(p);
	dpi_filter_write(f, p);
	return p;
}

static int read_copy(const uint8_t *image, size_t size)
{
	struct dpi_filter f = { 0 };
	uint8_t *copy = malloc(size ? size : 1);
	if (size) memcpy(copy, image, size);
	int error = dpi_filter_read(copy, size, &f);
	if (!error) dpi_bloom_free(f.bloom);
	else CHECK(!f.bloom);
	free(copy);
	return error;
}

TEST(filter_bytes, "FL-811", 1)
{
	static const char *const key[] = { "a", "d" };
	DPI_Context ctx;
	DPI_Bloom bloom;
	DPI_Bloom_Attr a = DPI_BLOOM_ATTR_INIT;
	size_t size;
	(void)rank;
	CHECK_DPI(DPI_Init(&ctx));
	DPI_Flow f = flow_of("f", columns, 4, key, 2, ctx);
	a.expected = 20;
	CHECK_DPI(DPI_Create_Bloom(f, &a, &bloom));
	dpi_bloom_insert(dpi_filter_get(bloom)->bloom, 12345678901234567u);
	uint8_t *image = image_of(bloom, &size);
	struct dpi_filter back = { 0 };
	CHECK_DPI(dpi_filter_read(image, size, &back));
	CHECK(back.columns == 2 && back.type[0] == DPI_TYPE_INT32 && back.type[1] == DPI_TYPE_UTF8 && !back.type[2]);
	CHECK(dpi_bloom_may_have(back.bloom, 12345678901234567u) && !dpi_bloom_may_have(back.bloom, 12345678901234568u << 9));
	dpi_bloom_free(back.bloom);
	for (size_t n = 0; n < size; n++) CHECK_INT(read_copy(image, n), ==, DPI_ERR_CORRUPT);
	for (size_t n = 0; n < DPI_FILTER_HEAD + 16; n++) {
		uint8_t was = image[n];
		for (int bit = 0; bit < 8; bit++) {
			image[n] = (uint8_t)(was ^ 1 << bit);
			/* another type may be one, too */
			int error = read_copy(image, size);
			CHECK(n == 4 ? error == DPI_ERR_VERSION : error == DPI_ERR_CORRUPT || (n >= 8 && n < 10 && !error));
		}
		image[n] = was;
	}
	CHECK_DPI(read_copy(image, size));
	free(image);
	CHECK_DPI(DPI_Finalize(ctx));
}

/* A peer may write anything into the region, whenever it likes. */
TEST(filter_published_by_others, "FL-811", 1)
{
	static const char *const key[] = { "a" };
	DPI_Context ctx;
	DPI_Bloom mine[3], whole;
	DPI_Bloom_Attr a = DPI_BLOOM_ATTR_INIT;
	DPI_Open_Attr at_once = DPI_OPEN_ATTR_INIT;
	DPI_Buffer region;
	uint64_t shape, wrong;
	(void)rank;
	CHECK_DPI(DPI_Init(&ctx));
	DPI_Flow f = flow_of("f", columns, 4, key, 1, ctx);
	a.expected = 1000;
	at_once.wait_us = DPI_NO_WAIT;
	for (int i = 0; i < 3; i++) CHECK_DPI(DPI_Create_Bloom(f, &a, &mine[i]));
	CHECK_DPI(DPI_Publish_Bloom("whole", 1, mine[0]));
	CHECK_DPI(DPI_Open_Buffer("whole (parts)", &at_once, ctx, &region));
	CHECK_DPI(DPI_Read(&shape, sizeof shape, 0, region));
	for (int bit = 16; bit < 48; bit++) { /* it says how large it is */
		wrong = shape ^ UINT64_C(1) << bit;
		CHECK_DPI(DPI_Write(&wrong, sizeof wrong, 0, region));
		CHECK_INT(DPI_Open_Bloom("whole", DPI_NO_WAIT, ctx, &whole), ==, DPI_ERR_CORRUPT);
		CHECK(!whole);
	}
	CHECK_DPI(DPI_Write(&shape, sizeof shape, 0, region));
	CHECK_DPI(DPI_Open_Bloom("whole", DPI_NO_WAIT, ctx, &whole));
	CHECK_DPI(DPI_Close_Bloom(whole));
	memset(&wrong, 0x5a, sizeof wrong);
	CHECK_DPI(DPI_Write(&wrong, sizeof wrong, 64, region));
	CHECK_ERROR(DPI_Open_Bloom("whole", DPI_NO_WAIT, ctx, &whole), DPI_ERR_CORRUPT, "no Bloom filter");
	CHECK_DPI(DPI_Close_Buffer(region));

	CHECK_DPI(DPI_Publish_Bloom("half", 2, mine[1]));
	CHECK_DPI(DPI_Open_Buffer("half (parts)", &at_once, ctx, &region));
	CHECK_DPI(DPI_Write(&wrong, sizeof wrong, 72, region));
	CHECK_ERROR(DPI_Publish_Bloom("half", 2, mine[2]), DPI_ERR_CORRUPT, "keys that are none");
	CHECK_ERROR(DPI_Open_Bloom("half", DPI_NO_WAIT, ctx, &whole), DPI_ERR_NAME, "2 of 2");
	CHECK_DPI(DPI_Close_Buffer(region));
	CHECK_DPI(DPI_Destroy_Bloom("half", ctx));

	/* a region of that name that is none */
	DPI_Buffer_Attr b = DPI_BUFFER_ATTR_INIT;
	b.use = DPI_USE_REGION;
	b.capacity = 8;
	CHECK_DPI(DPI_Create_Buffer("small (parts)", DPI_NODE_SELF, &b, ctx, &region));
	CHECK_INT(DPI_Open_Bloom("small", DPI_NO_WAIT, ctx, &whole), !=, DPI_SUCCESS);
	CHECK_ERROR(DPI_Publish_Bloom("small", 2, mine[2]), DPI_ERR_ARGUMENT, "'small'");
	CHECK_DPI(DPI_Finalize(ctx));
}
