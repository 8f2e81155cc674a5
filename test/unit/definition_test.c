/* SPDX-License-Identifier: Apache-2.0
 * definition_test.c: flows/definition.h: definitions from attributes, as bytes, and from bytes of anybody. */
#include "definition_kit.h"

TEST(zero_is_the_default, "", 0)
{
	DPI_Schema s = kit_schema();
	struct dpi_definition *d = definition_of(FLOW(.schema = s));
	CHECK(d->schema == dpi_schema_get(s));
	CHECK_INT(d->targets, ==, 1);
	CHECK_INT(d->sources, ==, 0);
	CHECK_INT(d->segment, ==, DPI_FLOW_SEGMENT);
	CHECK_INT(d->memory, ==, DPI_FLOW_MEMORY);
	CHECK_INT(d->linger_us, ==, 0);
	CHECK(!d->key_count && !dpi_definition_keys(d) && !d->table && !d->bound && !d->group[0] && !d->dist_function[0]);
	dpi_definition_unref(dpi_definition_ref(d));
	CHECK_DPI(DPI_Free_Schema(s)); /* the definition keeps what it needs */
	CHECK_STR(d->schema->column[0].name, "id");
	dpi_definition_unref(d);
	dpi_definition_unref(NULL);
}

TEST(definitions_come_back_from_their_bytes, "", 0)
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
