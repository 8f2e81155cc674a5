/* SPDX-License-Identifier: Apache-2.0
 * schema.c: what of a schema comes from outside: its bytes, rows of it, and its Arrow form. */

#include "error.h"
#include "flows/arrow.h"
#include "flows/row.h"
#include "fuzz.h"

static void round_trip(const struct dpi_schema *s)
{
	struct dpi_schema *t;
	size_t size = dpi_schema_bytes(s);
	char text[512];
	void *bytes = malloc(size);
	need(size <= DPI_SCHEMA_BYTES_MAX, "a schema's bytes are bounded");
	dpi_schema_write(s, bytes);
	need(!dpi_schema_parse(bytes, size, &t), "its own bytes are taken");
	need(dpi_schema_equal(s, "a", t, "b", text, sizeof text) && s->digest == t->digest, "and make the same schema");
	dpi_schema_unref(t);
	free(bytes);
}

static void layout(const struct dpi_schema *s)
{
	uint32_t end = 0;
	for (uint32_t i = 0; i < s->columns; i++) {
		const struct dpi_column *c = s->column + i;
		need(c->offset >= end && c->offset + c->width <= s->row_size,
		     "columns lie one behind the other in the fixed part");
		need(!c->nullable == !c->null_mask && (!c->nullable || c->null_at < s->row_size), "so do the bits of NULLs");
		need(dpi_schema_find(s, c->name) == (int)i, "each is found by its name");
		end = c->offset + c->width;
	}
	need(s->row_size % s->row_align == 0, "rows keep their alignment in line");
}

static void arrow(const struct dpi_schema *s)
{
	struct ArrowSchema a;
	struct dpi_schema *t = NULL;
	char text[512];
	need(!dpi_arrow_export_schema(s, &a) && !dpi_arrow_import_schema(&a, &t), "a schema goes to Arrow and back");
	need(dpi_schema_equal(s, "a", t, "b", text, sizeof text), "and is the same");
	a.release(&a);
	dpi_schema_unref(t);
}

static void row(const struct dpi_schema *s, const uint8_t *data, size_t size)
{
	bool good = !dpi_row_check(s, data, size, true);
	DPI_Value *v = calloc(s->columns, sizeof *v);
	uint8_t *packed = NULL;
	size_t need_size, packed_size;
	for (uint32_t i = 0; i < s->columns; i++) {
		int error = dpi_row_value(s, data, size, i, v + i);
		need(!error || (error == DPI_ERR_CORRUPT && !good), "a row that was checked can be taken apart");
	}
	if (good) { /* a foreign decimal may have too many digits, and then it is no value of ours */
		int error = dpi_row_pack(s, v, NULL, 0, &need_size);
		if (error == DPI_ERR_SIZE && need_size < 1 << 20) {
			packed = malloc(need_size);
			need(!dpi_row_pack(s, v, packed, need_size, &packed_size) && packed_size == need_size,
			     "and be built again");
			need(!dpi_row_check(s, packed, packed_size, true), "as a row");
		}
	}
	free(packed);
	free(v);
}

/* Two bytes: how many more are the schema; then a row. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dpi_schema *s;
	if (size < 2) return 0;
	size_t n = (size_t)data[0] | (size_t)data[1] << 8;
	data += 2, size -= 2;
	if (n > size) n = size;
	int error = dpi_schema_parse(data, n, &s);
	need(!error || error == DPI_ERR_CORRUPT || error == DPI_ERR_VERSION,
	     "bytes are a schema, corrupt or of another version");
	if (error) return 0;
	round_trip(s);
	layout(s);
	arrow(s);
	row(s, data + n, size - n);
	dpi_schema_unref(s);
	return 0;
}
