/* SPDX-License-Identifier: Apache-2.0
 * schema_test.c: flows/schema.h: schemas as bytes, and bytes that are none; references; UTF-8. What the public calls promise
 * is checked in test/conformance. */
#include "schema_kit.h"

static struct dpi_schema *back(const struct dpi_schema *s, uint8_t **bytes, size_t *size)
{
	struct dpi_schema *t;
	*size = dpi_schema_bytes(s);
	CHECK_INT(*size, <=, DPI_SCHEMA_BYTES_MAX);
	*bytes = malloc(*size);
	dpi_schema_write(s, *bytes);
	CHECK_OK(dpi_schema_parse(*bytes, *size, &t));
	return t;
}

TEST(schemas_come_back_from_their_bytes, "", 0)
{
	struct draws d = draws_from(1);
	for (int i = 0; i < 500; i++) {
		struct dpi_schema *s = random_schema(&d, i % 4), *t;
		uint8_t *bytes, *again;
		char text[256];
		size_t size;
		t = back(s, &bytes, &size);
		if (!dpi_schema_equal(s, "one", t, "the other", text, sizeof text)) FAIL("%s", text);
		CHECK(s->digest == t->digest && s->row_size == t->row_size && s->plain == t->plain);
		again = malloc(size);
		CHECK_INT(dpi_schema_bytes(t), ==, size);
		dpi_schema_write(t, again);
		CHECK(!memcmp(bytes, again, size));
		free(bytes), free(again);
		dpi_schema_unref(s), dpi_schema_unref(t);
	}
}

TEST(the_bytes_are_as_specified, "", 0)
{
	static const uint8_t expected[] = "DPIS\1\0\0\0\2\0\0\0"
					  "\x0d\1\x0c\2\0\0\0\0\5\0\0\0price"
					  "\x0f\0\0\0\4\0\0\0\4\0\0\0code";
	struct dpi_schema *s = schema_of((DPI_Column[]){ { "price", DPI_TYPE_DECIMAL64, 1, 0, 12, 2 },
							 { "code", DPI_TYPE_FIXED, 0, 4, 0, 0 } }, 2);
	uint8_t bytes[sizeof expected];
	CHECK_INT(dpi_schema_bytes(s), ==, sizeof expected - 1);
	dpi_schema_write(s, bytes);
	CHECK(!memcmp(bytes, expected, sizeof expected - 1));
	CHECK(s->digest == UINT64_C(0x8450afcc77ec6312)); /* processes of one version agree on it */
	dpi_schema_unref(s);
}

TEST(wrong_bytes_are_refused, "", 0)
{
	struct dpi_schema *s = schema_of((DPI_Column[]){ { "a", DPI_TYPE_INT64, 0, 0, 0, 0 },
							 { "b", DPI_TYPE_UTF8, 1, 0, 0, 0 } }, 2), *t = NULL;
	uint8_t *bytes, copy[64] = { 0 };
	size_t size;
	dpi_schema_unref(back(s, &bytes, &size));
	for (size_t n = 0; n < size; n++)
		CHECK_ERROR(dpi_schema_parse(memcpy(guarded(n), bytes, n), n, &t), DPI_ERR_CORRUPT, "schema");
	memcpy(copy, bytes, size);
	CHECK_ERROR(dpi_schema_parse(copy, size + 1, &t), DPI_ERR_CORRUPT, "behind its last column");
	static const struct {
		size_t at;
		uint8_t byte;
		int error;
		const char *part;
	} bad[] = {
		{ 0, 'X', DPI_ERR_CORRUPT, "do not begin" }, { 4, 2, DPI_ERR_VERSION, "version 2" },
		{ 8, 0, DPI_ERR_CORRUPT, "0 columns" },
		{ 11, 1, DPI_ERR_CORRUPT, "columns" }, { 8, 3, DPI_ERR_CORRUPT, "column" },
		{ 12, 0, DPI_ERR_CORRUPT, "type 0" },
		{ 13, 2, DPI_ERR_CORRUPT, "nullable 2" }, { 14, 1, DPI_ERR_CORRUPT, "precision" },
		{ 16, 1, DPI_ERR_CORRUPT, "width" },
		{ 20, 0, DPI_ERR_CORRUPT, "empty name" }, { 20, 127, DPI_ERR_CORRUPT, "ends within" },
		{ 20, 200, DPI_ERR_CORRUPT, "column 0" },
		{ 23, 255, DPI_ERR_CORRUPT, "ends within" }, { 24, 0, DPI_ERR_CORRUPT, "name" },
		{ 24, 'b', DPI_ERR_CORRUPT, "same name" },
		{ 24, 0xff, DPI_ERR_CORRUPT, "UTF-8" },
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		memcpy(copy, bytes, size);
		copy[bad[i].at] = bad[i].byte;
		if (bad[i].at == 20 || bad[i].at == 23) CHECK_INT(dpi_schema_parse(copy, size, &t), ==, DPI_ERR_CORRUPT);
		else CHECK_ERROR(dpi_schema_parse(copy, size, &t), bad[i].error, bad[i].part);
	}
	CHECK(!t);
	free(bytes);
	dpi_schema_unref(s);
}

TEST(changed_bytes_are_an_error_or_another_schema, "", 0)
{
	struct draws d = draws_from(2);
	for (int i = 0; i < rounds(3000); i++) {
		struct dpi_schema *s = random_schema(&d, 0), *t;
		uint8_t *bytes;
		size_t size;
		dpi_schema_unref(back(s, &bytes, &size));
		for (int k = 0; k < 3; k++) bytes[draw_below(&d, size)] = (uint8_t)draw(&d);
		int error = dpi_schema_parse(bytes, size, &t);
		CHECK(!error || error == DPI_ERR_CORRUPT || error == DPI_ERR_VERSION);
		dpi_schema_unref(s);
		if (!error) {
			uint8_t *again = malloc(size);
			CHECK_INT(dpi_schema_bytes(t), ==, size);
			dpi_schema_write(t, again); /* other bytes: a precision of 0 is written as the largest */
			CHECK_OK(dpi_schema_parse(again, size, &s));
			CHECK(s->digest == t->digest);
			dpi_schema_unref(s), dpi_schema_unref(t);
			free(again);
		}
		free(bytes);
	}
}

TEST(references_keep_a_schema, "", 0)
{
	struct dpi_schema *s = schema_of(&(DPI_Column){ "a", DPI_TYPE_INT64, 0, 0, 0, 0 }, 1);
	DPI_Schema handle;
	dpi_schema_ref(s);
	CHECK_OK(dpi_schema_open(s, &handle));
	CHECK(dpi_schema_get(handle) == s);
	CHECK_DPI(DPI_Free_Schema(handle));
	CHECK(!dpi_schema_get(handle));
	CHECK_STR(s->column[0].name, "a");
	dpi_schema_unref(s);
	dpi_schema_unref(NULL);
}

TEST(utf8_is_what_unicode_says, "", 0)
{
	static const struct {
		const char *text;
		bool good;
	} known[] = {
		{ "", 1 }, { "plain text, longer than a word", 1 }, { "\xc2\x80", 1 }, { "\xdf\xbf", 1 },
		{ "\xe0\xa0\x80", 1 }, { "\xed\x9f\xbf", 1 },
		{ "\xee\x80\x80", 1 }, { "\xef\xbf\xbf", 1 }, { "\xf0\x90\x80\x80", 1 }, { "\xf4\x8f\xbf\xbf", 1 },
		{ "aaaaaaaa\xc3\xa4" "bbbbbbbb", 1 },
		{ "\x80", 0 }, { "\xbf", 0 }, { "\xc0\x80", 0 }, { "\xc1\xbf", 0 }, { "\xc2", 0 }, { "\xc2\x7f", 0 },
		{ "\xc2\xc0", 0 },
		{ "\xe0\x9f\xbf", 0 }, { "\xe0\xa0", 0 }, { "\xed\xa0\x80", 0 }, { "\xed\xbf\xbf", 0 },
		{ "\xef\xbf\xc0", 0 }, { "\xf0\x8f\xbf\xbf", 0 },
		{ "\xf4\x90\x80\x80", 0 }, { "\xf5\x80\x80\x80", 0 }, { "\xff", 0 }, { "\xfe", 0 }, { "\xf0\x90\x80", 0 },
		{ "abcdefg\xc3", 0 },
		{ "abcdefghijklmnop\xf8\x88\x80\x80\x80", 0 },
	};
	for (size_t i = 0; i < COUNT(known); i++) {
		size_t n = strlen(known[i].text);
		if (dpi_schema_utf8(memcpy(guarded(n), known[i].text, n), n) != known[i].good) FAIL("case %zu", i);
	}
}
