/* SPDX-License-Identifier: Apache-2.0
 * key.c: see key.h. */
#include "key.h"

#include <string.h>

#include "error.h"
#include "move/hash.h"
#include "row.h"

int dpi_key_new(const struct dpi_definition *d, struct dpi_schema *rows, struct dpi_key *k)
{
	*k = (struct dpi_key){ .columns = d->key_count, .seed = dpi_hash_seed(0) };
	if (!k->columns || d->group[0])
		return dpi_fail(DPI_ERR_UNSUPPORTED, "%s: name the columns in attr->key", d->group[0] ? "the flow's key is what a function makes of a row" : "the flow has no key columns");
	for (uint32_t i = 0; i < k->columns; i++) {
		const struct dpi_column *c = d->schema->column + d->key[i];
		int found = dpi_schema_find(rows, c->name);
		if (found < 0 || rows->column[found].type != c->type)
			return dpi_fail(DPI_ERR_UNSUPPORTED, "column \"%s\" of the flow's key is not in the rows that are looked at: keep it, with its type, in what stages make", c->name);
		k->column[i] = (uint16_t)found;
		k->nullable |= rows->column[found].nullable;
	}
	k->schema = dpi_schema_ref(rows);
	return DPI_SUCCESS;
}

void dpi_key_end(struct dpi_key *k)
{
	dpi_schema_unref(k->schema);
	k->schema = NULL;
}

static void begin(const struct dpi_key *k, size_t count, uint64_t *hash, uint8_t *whole)
{
	dpi_hash_start(k->seed, count, hash);
	memset(whole, 0xff, (count + 7) / 8);
}

/* One more column. */
static void add(const struct dpi_strided *s, bool nullable, size_t first, size_t count, uint64_t *hash, uint8_t *whole)
{
	dpi_hash_column(s, first, count, hash);
	for (size_t i = 0; i < count && nullable; i++)
		if (dpi_strided_is_null(s, first + i)) whole[i / 8] &= (uint8_t)~(1 << i % 8);
}

static struct dpi_strided field(const struct dpi_column *c, const uint8_t *rows, size_t stride)
{
	return (struct dpi_strided){ .type = c->type, .scale = c->scale, .width = c->width, .data = rows + c->offset, .stride = stride,
				     .null = c->null_mask ? rows + c->null_at : NULL, .null_mask = c->null_mask };
}

void dpi_key_rows(const struct dpi_key *k, const void *rows, size_t stride, size_t count, uint64_t *hash, uint8_t *whole)
{
	begin(k, count, hash, whole);
	for (uint32_t i = 0; i < k->columns; i++) {
		const struct dpi_column *c = k->schema->column + k->column[i];
		struct dpi_strided s = field(c, rows, stride);
		add(&s, c->nullable, 0, count, hash, whole);
	}
}

void dpi_key_batch(const struct dpi_key *k, const struct dpi_batch *batch, size_t first, size_t count, uint64_t *hash, uint8_t *whole)
{
	begin(k, count, hash, whole);
	for (uint32_t i = 0; i < k->columns; i++) {
		struct dpi_strided s = dpi_strided_of(batch->column + k->column[i]);
		add(&s, k->nullable, first, count, hash, whole);
	}
}

int dpi_key_row(const struct dpi_key *k, const void *row, uint32_t size, uint64_t *hash, bool *whole)
{
	uint8_t bits;
	begin(k, 1, hash, &bits);
	for (uint32_t i = 0; i < k->columns; i++) {
		const struct dpi_column *c = k->schema->column + k->column[i];
		struct dpi_strided s = field(c, row, c->width);
		int32_t place[2] = { 0, 0 };
		if (c->variable && !dpi_row_null(row, c)) {
			const uint8_t *data;
			uint32_t bytes;
			if (!dpi_row_bytes(k->schema, row, size, c, &data, &bytes))
				return dpi_fail(DPI_ERR_CORRUPT, "column \"%s\" of a row of %u bytes does not lie within it", c->name, size);
			s.data = data;
			place[1] = (int32_t)bytes; /* below DPI_ROW_MAX, as size is */
		}
		s.offset = place;
		add(&s, c->nullable, 0, 1, hash, &bits);
	}
	*whole = bits & 1;
	return DPI_SUCCESS;
}
