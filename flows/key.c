/* SPDX-License-Identifier: Apache-2.0
 * key.c: see key.h. */
#include "key.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "move/hash.h"
#include "row.h"
#include "row_batch.h"

/* Where a flow reduces, what the function said of a row travels with it as a column. */
static int by_function(const struct dpi_definition *d, struct dpi_schema *rows, uint32_t stages, struct dpi_key *k)
{
	if (d->grouped.in && rows != d->schema) {
		int found = dpi_schema_find(rows, d->group);
		if (found < 0 || rows->column[found].type != DPI_TYPE_UINT64)
			return dpi_fail(DPI_ERR_UNSUPPORTED, "column \"%s\", which the group function gives, is not in the rows that are looked at: keep it, with its type, in what stages make",
					d->group);
		k->column[k->columns++] = (uint16_t)found;
		return DPI_SUCCESS;
	}
	for (uint32_t i = 0; i < stages; i++)
		if (dpi_stage_makes(d->stage + i))
			return dpi_fail(DPI_ERR_UNSUPPORTED, "the group function \"%s\" makes a key of rows as they are pushed, and stage %u makes others of them: name columns in attr->key",
					d->group, i);
	return dpi_function_group(d->group, d->group_version, &k->group);
}

static int by_columns(const struct dpi_definition *d, struct dpi_schema *rows, struct dpi_key *k)
{
	if (!d->key_count) return dpi_fail(DPI_ERR_UNSUPPORTED, "the flow has no key columns and no group function: name columns in attr->key, or a function in attr->group");
	for (; k->columns < d->key_count; k->columns++) {
		const struct dpi_column *c = d->schema->column + d->key[k->columns];
		int found = dpi_schema_find(rows, c->name);
		if (found < 0 || rows->column[found].type != c->type)
			return dpi_fail(DPI_ERR_UNSUPPORTED, "column \"%s\" of the flow's key is not in the rows that are looked at: keep it, with its type, in what stages make", c->name);
		k->column[k->columns] = (uint16_t)found;
		k->nullable |= rows->column[found].nullable;
	}
	return DPI_SUCCESS;
}

int dpi_key_new(const struct dpi_definition *d, struct dpi_schema *rows, uint32_t stages, struct dpi_key *k)
{
	*k = (struct dpi_key){ .seed = dpi_hash_seed(0) };
	int error = d->group[0] ? by_function(d, rows, stages, k) : by_columns(d, rows, k);
	if (!error) k->schema = dpi_schema_ref(rows);
	return error;
}

void dpi_key_end(struct dpi_key *k)
{
	dpi_schema_unref(k->schema);
	free(k->row);
	k->schema = NULL, k->row = NULL;
}

int dpi_key_call(const struct dpi_key *k, const void *row, uint32_t size, uint64_t *key)
{
	*key = 0;
	int error = k->group.call(row, size, k->group.arg, key);
	return error ? dpi_fail(error, "the group function returned %s (%d) for a row", dpi_error_name(error), error) : DPI_SUCCESS;
}

/* What it refuses has no key. */
static void call(const struct dpi_key *k, const void *row, uint32_t size, size_t i, uint64_t *hash, uint8_t *whole)
{
	uint64_t key;
	if (dpi_key_call(k, row, size, &key)) whole[i / 8] &= (uint8_t)~(1 << i % 8);
	hash[i] = dpi_hash_word(k->seed, dpi_hash_unsigned_word(key));
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
	for (size_t i = 0; k->group.call && i < count; i++) call(k, (const uint8_t *)rows + i * stride, k->schema->row_size, i, hash, whole);
	for (uint32_t i = 0; i < k->columns; i++) {
		const struct dpi_column *c = k->schema->column + k->column[i];
		struct dpi_strided s = field(c, rows, stride);
		add(&s, c->nullable, 0, count, hash, whole);
	}
}

void dpi_key_batch(struct dpi_key *k, const struct dpi_batch *batch, size_t first, size_t count, uint64_t *hash, uint8_t *whole)
{
	begin(k, count, hash, whole);
	for (size_t i = 0; k->group.call && i < count; i++) {
		uint32_t size;
		if (dpi_row_make(k->schema, batch, first + i, &k->row, &k->room, &size)) whole[i / 8] &= (uint8_t)~(1 << i % 8);
		else call(k, k->row, size, i, hash, whole);
	}
	for (uint32_t i = 0; i < k->columns; i++) {
		struct dpi_strided s = dpi_strided_of(batch->column + k->column[i]);
		add(&s, k->nullable, first, count, hash, whole);
	}
}

int dpi_key_row(const struct dpi_key *k, const void *row, uint32_t size, uint64_t *hash, bool *whole)
{
	uint8_t bits;
	uint64_t key;
	begin(k, 1, hash, &bits);
	if (k->group.call) {
		int error = dpi_key_call(k, row, size, &key);
		*hash = dpi_hash_word(k->seed, dpi_hash_unsigned_word(key));
		*whole = !error;
		return error;
	}
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
