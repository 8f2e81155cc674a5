/* SPDX-License-Identifier: Apache-2.0
 * definition_bytes_test.c: definitions of flows as bytes, and bytes that are none. */
#include "definition_kit.h"

TEST(definitions_come_back_from_their_bytes, "FL-14", 0)
{
	struct draws r = draws_from(1);
	for (int i = 0; i < rounds(2000); i++) {
		struct dpi_definition *d = random_definition(&r), *e = NULL;
		char text[300];
		size_t size, again_size;
		uint8_t *bytes = written(d, &size), *again;
		CHECK_OK(dpi_definition_parse(bytes, size, &e));
		if (!dpi_definition_equal(d, e, text, sizeof text)) FAIL("%s", text);
		CHECK_STR(text, "");
		again = written(e, &again_size);
		CHECK(again_size == size && !memcmp(bytes, again, size));
		free(bytes), free(again);
		dpi_definition_unref(d), dpi_definition_unref(e);
	}
}

/* Taken only if these are the very bytes of a definition. */
static bool exact(const uint8_t *bytes, size_t size)
{
	struct dpi_definition *d = NULL;
	int error = dpi_definition_parse(bytes, size, &d);
	if (error) {
		CHECK(error == DPI_ERR_CORRUPT || error == DPI_ERR_VERSION);
		CHECK(!d && strlen(dpi_detail()) > 20);
		return false;
	}
	size_t again_size;
	uint8_t *again = written(d, &again_size);
	CHECK(again_size == size && !memcmp(again, bytes, size));
	free(again);
	dpi_definition_unref(d);
	return true;
}

TEST(shortened_definitions_are_refused, "FL-15", 0, .deadline_s = 180)
{
	struct draws r = draws_from(2);
	for (int i = 0; i < rounds(30); i++) {
		struct dpi_definition *d = random_definition(&r);
		size_t size;
		uint8_t *bytes = written(d, &size), *more = calloc(1, size + 3);
		size_t step = size > 600 ? 7 : 1;
		for (size_t n = size - 1; n; n = n > step ? n - step : 0) {
			uint8_t *part = guarded(n);
			CHECK(!exact(memcpy(part, bytes, n), n));
			guarded_free(part, n);
		}
		CHECK(exact(bytes, size));
		memcpy(more, bytes, size);
		for (size_t n = 1; n <= 3; n++) CHECK(!exact(more, size + n));
		free(bytes), free(more);
		dpi_definition_unref(d);
	}
}

TEST(changed_definitions_are_refused_or_others, "FL-15", 0, .deadline_s = 180)
{
	struct draws r = draws_from(3);
	int others = 0;
	for (int i = 0; i < rounds(40); i++) {
		struct dpi_definition *d = random_definition(&r);
		size_t size;
		uint8_t *bytes = written(d, &size);
		for (size_t bit = 0; bit < 8 * size; bit += size > 600 ? 1 + draw_below(&r, 20) : 1) {
			bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			others += exact(bytes, size);
			bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		CHECK(exact(bytes, size));
		for (int k = 0; k < 200; k++) { /* several bytes, the extremes among them */
			uint8_t *copy = malloc(size);
			memcpy(copy, bytes, size);
			for (uint64_t n = 1 + draw_below(&r, 6); n; n--)
				copy[draw_below(&r, size)] = (uint8_t)(draw_below(&r, 2) ? draw(&r) : 0 - draw_below(&r, 2));
			exact(copy, size);
			free(copy);
		}
		free(bytes);
		dpi_definition_unref(d);
	}
	CHECK_INT(others, >, 100); /* such as another number of sources */
}

TEST(the_bytes_are_as_written_down, "", 0)
{
	static const uint8_t expected[] =
		"DPIF\3\0\0\0" /* magic, version */
		"\2\0\0\0" "\7\0\0\0" "\2\0\0\0" "\0\0\0\0" "\0\0\0\0" /* targets sources dist shift table_size */
		"\1\0\0\0" "\0\4\0\0" "\1\0\0\0" "\0\0\0\0" "\0\0\0\0" /* hint segment on_death group_version dist_version */
		"\0\0\0\0\0\0\0\0" "\0\0\x10\0\0\0\0\0" /* salt memory */
		"\5\0\0\0\0\0\0\0" "\6\0\0\0\0\0\0\0" /* expected linger_us */
		"\0\0\0\0" "\0\0\0\0" /* no function */
		"\x2b\0\0\0" "DPIS\1\0\0\0\2\0\0\0" "\5\0\0\0\0\0\0\0\2\0\0\0id" "\x11\1\0\0\0\0\0\0\5\0\0\0words"
		"\4\0\0\0" "\1\0\0\0" /* key: columns 1, 0 */
		"\0\0\0\0"	      /* no table */
		"\1\0\0\0" "\0" "\x8\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0" /* words: NULL */
		"\0\0\0\0" "\x8\0\0\0" "\xfe\xff\xff\xff\xff\xff\xff\xff" /* id: -2 */
		"\1\0\0\0" "\0\0\0\0" "\0\0\0\0" "\0\0\0\0" /* row_error reduce reduce_full window */
		"\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" "\0\0\0\0" /* reduce_memory window_rows layout */
		"\1\0\0\0" /* stages */
		"\1\0\0\0" "\1\0\0\0" "\1\0\0\0" "\0\0\0\0" /* kind place pushable version */
		"\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" /* salt share */
		"\0\0\0\0" "\0\0\0\0" "\0\0\0\0" /* no text, schema, key */
		"\1\0\0\0" "\1\0\0\0i" "\4\0\0\0id+1" /* a column */
		"\0\0\0\0" "\0\0\0\0" "\0\0\0\0" "\0\0\0\0" /* type width precision scale */
		"\0\0\0\0\0\0\0\0" "\0\0\0\0\0\0\0\0" /* minus by */
		"\0\0\0\0" /* no reduction */
		"\1\0\0\0" "\4\0\0\0" "\0\0\0\0" "\1\0\0\0k" /* codecs: codec level key */
		"\0\0\0\0" /* no acknowledgements */
		"\0\0\0\0" /* direct delivery */;
	DPI_Stage_Column column = { .name = "i", .text = "id+1" };
	DPI_Stage stage = { .kind = DPI_STAGE_PROJECT, .place = DPI_AT_TARGET, .pushable = 1, .columns = &column, .column_count = 1 };
	DPI_Codec codec = { .codec = DPI_CODEC_AES_256_GCM, .key = "k" };
	DPI_Flow_Attr a = FLOW(.targets = 2, .sources = 7, KEY("words", "id"), .dist = DPI_DIST_RANGE,
			       .hint = DPI_HINT_LATENCY, .segment = 1024, .on_death = DPI_DEATH_GOES_ON, .memory = 1 << 20,
			       .expected = 5, .linger_us = 6, .row_error = DPI_ROW_ERROR_NULL, .stages = &stage, .stage_count = 1,
			       .codecs = &codec, .codec_count = 1);
	int32_t offset[] = { 0, 1 };
	uint8_t valid[] = { 0 };
	DPI_Values bounds[] = { { .type = DPI_TYPE_UTF8, .data = "x", .offset = offset, .valid = valid },
				{ .type = DPI_TYPE_INT64, .data = (int64_t[]){ -2 } } };
	DPI_Column columns[] = { { "id", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "words", DPI_TYPE_UTF8, 1, 0, 0, 0 } };
	a.bounds = bounds;
	a.schema = make_schema(columns, 2);
	struct dpi_definition *d = definition_of(a);
	size_t size;
	uint8_t *bytes = written(d, &size);
	CHECK_INT(size, ==, sizeof expected - 1);
	for (size_t i = 0; i < size; i++)
		if (bytes[i] != expected[i]) FAIL("byte %zu is %d, not %d", i, bytes[i], expected[i]);
	CHECK(exact(bytes, size));
	free(bytes);
	dpi_definition_unref(d);
	forget_schemas();
}

TEST(wrong_bytes_have_their_sentence, "FL-15", 0)
{
	struct draws r = draws_from(4);
	struct dpi_definition *d = NULL, *e = NULL;
	do {
		dpi_definition_unref(d);
		d = random_definition(&r);
	} while (d->dist != DPI_DIST_TABLE);
	size_t size;
	uint8_t *bytes = written(d, &size), *copy = malloc(DPI_DEFINITION_MAX + 1);
	static const struct {
		size_t at;
		uint8_t byte;
		int error;
		const char *part;
	} bad[] = {
		{ 0, 'X', DPI_ERR_CORRUPT, "wrong beginning" }, { 4, 4, DPI_ERR_VERSION, "version 4" },
		{ 11, 1, DPI_ERR_CORRUPT, "number of targets" }, { 15, 9, DPI_ERR_CORRUPT, "attr->sources is" },
		{ 16, 9, DPI_ERR_CORRUPT, "attr->dist is 9" }, { 20, 3, DPI_ERR_CORRUPT, "attr->shift is 3" },
		{ 27, 1, DPI_ERR_CORRUPT, "wrong table" }, { 28, 2, DPI_ERR_CORRUPT, "attr->hint is 2" },
		{ 35, 1, DPI_ERR_CORRUPT, "attr->segment is" }, { 36, 2, DPI_ERR_CORRUPT, "attr->on_death is 2" },
		{ 40, 1, DPI_ERR_CORRUPT, "attr->group_version is 1" },
		{ 44, 1, DPI_ERR_CORRUPT, "attr->dist_version is 1" },
		{ 63, 1, DPI_ERR_CORRUPT, "attr->memory is" }, { 79, 128, DPI_ERR_CORRUPT, "attr->linger_us is -" },
		{ 83, 1, DPI_ERR_CORRUPT, "wrong length" }, { 92, 'X', DPI_ERR_CORRUPT, "should be a schema" },
	};
	for (size_t i = 0; i < COUNT(bad); i++) {
		memcpy(copy, bytes, size);
		copy[bad[i].at] = bad[i].byte;
		CHECK_ERROR(dpi_definition_parse(copy, size, &e), bad[i].error, bad[i].part);
	}
	CHECK_ERROR(dpi_definition_parse(copy, DPI_DEFINITION_MAX + 1, &e), DPI_ERR_CORRUPT, "length");
	CHECK_ERROR(dpi_definition_parse(copy, 0, &e), DPI_ERR_CORRUPT, "beginning");
	CHECK(!e);
	free(bytes), free(copy);
	dpi_definition_unref(d);
}

TEST(the_bytes_of_acknowledgements_and_delivery, "", 0)
{
	static const uint8_t expected[] =
		"\x20\0\0\0" /* bytes */
		"\3\0\0\0" "\1\0\0\0" "\1\0\0\0" "\1\0\0\0" "\x9\0\0\0" "\0\0\0\0" /* ack ack_of ack_quorum ack_up_to ack_pending ack_version */
		"\1\0\0\0" "\0\0\0\0" /* column 0, no function */
		"\x14\0\0\0" "\3\0\0\0" "\5\0\0\0\0\0\0\0" "\6\0\0\0\0\0\0\0" /* bytes, retain resume_us detach_us */;
	DPI_Flow_Attr a = FLOW(.targets = 2, KEY("id"), .ack = DPI_ACK_CONFIRMED, .ack_of = DPI_ACK_QUORUM, .ack_quorum = 1, .ack_up_to = 1, .ack_pending = 9,
			       .ack_column = "id", .retain = DPI_ACK_CONFIRMED, .resume_us = 5, .detach_us = 6);
	DPI_Column columns[] = { { "id", DPI_TYPE_INT64, 0, 0, 0, 0 } };
	a.schema = make_schema(columns, 1);
	struct dpi_definition *d = definition_of(a);
	size_t size;
	uint8_t *bytes = written(d, &size);
	CHECK(size > sizeof expected && !memcmp(bytes + size - (sizeof expected - 1), expected, sizeof expected - 1)); /* they are the last */
	CHECK(exact(bytes, size));
	free(bytes);
	dpi_definition_unref(d);
	forget_schemas();
}
