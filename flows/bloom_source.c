/* SPDX-License-Identifier: Apache-2.0
 * bloom_source.c: a source that drops rows whose key cannot be in a Bloom filter, before they are routed. */
#include <stdlib.h>
#include <string.h>

#include "bloom.h"
#include "move/move.h"
#include "short_way.h"
#include "source.h"

#define RUN_BYTES 262144u /* of rows that are looked up at once */

struct dpi_source_bloom {
	struct dpi_filter *filter;
	struct dpi_key key; /* of rows as they are pushed */
	uint32_t run;
	uint64_t hash[DPI_KEY_RUN];
	uint8_t pass[DPI_KEY_RUN / 8], whole[DPI_KEY_RUN / 8];
	uint8_t *rows; /* room for a run of those that pass; NULL: rows vary */
};

void dpi_source_bloom_free(struct dpi_source_bloom *b)
{
	if (!b) return;
	dpi_filter_unref(b->filter);
	dpi_key_end(&b->key);
	free(b->rows);
	free(b);
}

uint32_t dpi_source_bloom_run(const struct dpi_source_bloom *b)
{
	return b->run;
}

int dpi_source_bloom_row(struct dpi_source_bloom *b, const void *row, uint64_t size, bool *passes)
{
	uint64_t hash;
	int error = dpi_key_row(&b->key, row, (uint32_t)size, &hash, passes);
	if (!error && *passes) *passes = dpi_bloom_may_have(b->filter->bloom, hash);
	return error;
}

static size_t look_up(struct dpi_source_bloom *b, size_t count)
{
	size_t n = dpi_bloom_probe(b->filter->bloom, b->hash, count, b->pass);
	if (!b->key.nullable && !b->key.group.call) return n;
	for (size_t i = 0; i < (count + 7) / 8; i++) /* what a function refuses goes on, to be refused where it is routed */
		b->pass[i] = (uint8_t)(b->key.nullable ? b->pass[i] & b->whole[i] : b->pass[i] | ~b->whole[i]);
	return dpi_count_bits(b->pass, count);
}

const uint8_t *dpi_source_bloom_rows(struct dpi_source_bloom *b, const uint8_t *rows, uint32_t size, size_t count, size_t *some)
{
	dpi_key_rows(&b->key, rows, size, count, b->hash, b->whole);
	*some = look_up(b, count);
	if (*some == count) return rows;
	dpi_gather(rows, size, size, count, b->pass, b->rows);
	return b->rows;
}

size_t dpi_source_bloom_done(const struct dpi_source_bloom *b, size_t count, size_t given)
{
	size_t i = 0;
	for (; i < count; i++)
		if (dpi_bit(b->pass, i) && !given--) break;
	return i;
}

const uint8_t *dpi_source_bloom_batch(struct dpi_source_bloom *b, const struct dpi_batch *batch, size_t first, size_t count)
{
	dpi_key_batch(&b->key, batch, first, count, b->hash, b->whole);
	look_up(b, count);
	return b->pass;
}

static int make(struct dpi_source *s, struct dpi_filter *f, struct dpi_source_bloom **out)
{
	const struct dpi_definition *d = s->flow->definition;
	uint32_t size = d->schema->row_size, run = RUN_BYTES / size;
	struct dpi_source_bloom *b = calloc(1, sizeof *b);
	if (!b) return dpi_fail(DPI_ERR_MEMORY, "no memory for a source's Bloom filter");
	b->filter = dpi_filter_ref(f);
	b->run = run > DPI_KEY_RUN ? DPI_KEY_RUN : run ? run : 1;
	int error = dpi_key_new(d, d->schema, 0, &b->key);
	if (!error) error = dpi_filter_joins(f, d, s->flow->name);
	if (!error && !d->schema->varies && !(b->rows = malloc((size_t)b->run * size))) error = dpi_fail(DPI_ERR_MEMORY, "no memory for rows that pass a Bloom filter");
	if (error) dpi_source_bloom_free(b);
	else *out = b;
	return error;
}

static int set(struct dpi_source *s, struct dpi_filter *f)
{
	struct dpi_source_bloom *b = NULL;
	int error = DPI_SUCCESS;
	if (s->reserved >= 0) return dpi_fail(DPI_ERR_STATE, "DPI_Set_Source_Bloom: room is handed out: DPI_Commit or DPI_Discard comes first");
	if (f && f->parts > 1)
		return dpi_fail(DPI_ERR_STATE, "DPI_Set_Source_Bloom: this is one of the %u parts of a Bloom filter: DPI_Open_Bloom gives the whole", f->parts);
	if (f && s->id) /* a row has its number where it travels to, and what is dropped has none: one that resumes may drop others */
		return dpi_fail(DPI_ERR_UNSUPPORTED, "DPI_Set_Source_Bloom: source %u of flow '%s' has the id %llu, and rows that a filter drops are not numbered: who resumes it with another "
				"filter or without would lose rows; open it without an id, or filter before it pushes", s->number, s->flow->name, (unsigned long long)s->id);
	if (f) error = dpi_filter_settled(f, "DPI_Set_Source_Bloom");
	if (f && !error) error = make(s, f, &b);
	if (error) return error;
	if (f) atomic_store(&f->whole, true);
	dpi_source_bloom_free(s->bloom);
	s->bloom = b;
	dpi_source_short(s);
	return DPI_SUCCESS;
}

int DPI_Set_Source_Bloom(DPI_Bloom bloom, DPI_Source source)
{
	int error;
	struct dpi_source *s = dpi_source_begin(source, "DPI_Set_Source_Bloom", &error);
	if (!s) return error;
	struct dpi_filter *f = bloom ? dpi_filter_begin(bloom, "DPI_Set_Source_Bloom", &error) : NULL;
	if (!error) error = set(s, f);
	if (f) dpi_filter_leave(f);
	dpi_source_leave(s);
	return error;
}
