/* SPDX-License-Identifier: Apache-2.0
 * image.c: reductions as bytes, and of bytes. Words of four bytes, little endian: magic, version, number of key columns, of
 * aggregates; each key column; for each aggregate 15 words (struct fixed), then its name and its reducer's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "error.h"

#define MAGIC 0x52495044u /* "DPIR" */

struct fixed {
	uint32_t function, column, by; /* columns: -1 for none */
	uint32_t k, precision, ascending;
	uint32_t version, bytes, merges, type, nullable, width, digits; /* of a reducer, else 0 */
	uint32_t name, reducer;						/* bytes of the names */
};

static struct fixed fixed_of(const struct dpi_aggregate *a)
{
	const DPI_Column *c = &a->result;
	struct fixed f = { .function = (uint32_t)a->function,
			   .column = (uint32_t)a->column,
			   .by = (uint32_t)a->by,
			   .k = a->k,
			   .precision = a->precision,
			   .ascending = a->ascending,
			   .name = (uint32_t)strlen(a->name),
			   .reducer = (uint32_t)strlen(a->reducer) };
	if (a->function != DPI_AGGREGATE_REDUCER) return f;
	f.version = a->version, f.bytes = a->bytes, f.merges = a->merges, f.type = (uint32_t)c->type;
	f.nullable = (uint32_t)c->nullable, f.width = c->width, f.digits = (uint32_t)c->precision | (uint32_t)c->scale << 16;
	return f;
}

size_t dpi_reduction_bytes(const struct dpi_reduction *r)
{
	size_t size = 16 + 4 * (size_t)r->key_count;
	for (uint32_t i = 0; i < r->count; i++)
		size += sizeof(struct fixed) + strlen(r->aggregate[i].name) + strlen(r->aggregate[i].reducer);
	return size;
}

void dpi_reduction_write(const struct dpi_reduction *r, void *bytes)
{
	uint32_t head[4] = { MAGIC, DPI_REDUCTION_VERSION, r->key_count, r->count };
	uint8_t *at = bytes;
	memcpy(at, head, sizeof head);
	at += sizeof head;
	for (uint32_t i = 0; i < r->key_count; i++, at += 4) memcpy(at, &(uint32_t){ r->key[i] }, 4);
	for (uint32_t i = 0; i < r->count; i++) {
		struct fixed f = fixed_of(r->aggregate + i);
		memcpy(at, &f, sizeof f);
		memcpy(at + sizeof f, r->aggregate[i].name, f.name);
		memcpy(at + sizeof f + f.name, r->aggregate[i].reducer, f.reducer);
		at += sizeof f + f.name + f.reducer;
	}
}

/* ------------------------------------------------------------------------------------------------------------- parsing */

static int wrong(uint32_t i, const char *what)
{
	return dpi_fail(DPI_ERR_CORRUPT, "the bytes of a reduction give aggregate %u %s", i, what);
}

/* A name that the schema's own check will look at, or a reducer's. */
static bool take_name(const uint8_t *at, uint32_t size, char *to)
{
	memcpy(to, at, size);
	to[size] = 0;
	return !memchr(to, 0, size);
}

static bool is_column(const struct dpi_schema *in, uint32_t c)
{
	return c < in->columns || c == UINT32_MAX;
}

static int parse_reducer(uint32_t i, const struct fixed *f, struct dpi_aggregate *a)
{
	DPI_Column c = {
		"result", (int)f->type, (int)f->nullable, f->width, (int)(f->digits & 0xffff), (int)(f->digits >> 16)
	};
	struct dpi_schema *s;
	a->version = f->version;
	a->bytes = f->bytes;
	a->merges = f->merges;
	a->result = c;
	a->result.name = NULL;
	if (!f->reducer || f->merges > 1) return wrong(i, "a reducer that is none");
	int error = dpi_schema_new(&c, 1, &s);
	if (!error) dpi_schema_unref(s);
	return error;
}

static int parse_aggregate(const uint8_t **at, const uint8_t *end, const struct dpi_schema *in, uint32_t i,
			   struct dpi_aggregate *a)
{
	struct fixed f;
	if ((size_t)(end - *at) < sizeof f) return wrong(i, "too few bytes");
	memcpy(&f, *at, sizeof f);
	*at += sizeof f;
	if (f.name >= DPI_NAME_MAX || f.reducer >= DPI_NAME_MAX || f.name + f.reducer > (size_t)(end - *at))
		return wrong(i, "too few bytes");
	bool good = take_name(*at, f.name, a->name) && take_name(*at + f.name, f.reducer, a->reducer);
	*at += f.name + f.reducer;
	if (!good) return wrong(i, "a name that is none");
	if (f.function > DPI_AGGREGATE_REDUCER) return wrong(i, "a function that is none");
	if (!is_column(in, f.column) || !is_column(in, f.by)) return wrong(i, "a column that the schema does not have");
	bool top = f.function == DPI_AGGREGATE_TOP_K, reducer = f.function == DPI_AGGREGATE_REDUCER;
	if ((f.by != UINT32_MAX && !top && !reducer) || (!top && (f.k || f.ascending)) || f.ascending > 1 ||
	    (f.function != DPI_AGGREGATE_COUNT_DISTINCT && f.precision) ||
	    (!reducer && (f.version | f.bytes | f.merges | f.type | f.nullable | f.width | f.digits | f.reducer)))
		return wrong(i, "what its function does not have");
	a->function = (int)f.function;
	a->column = (int)f.column;
	a->by = (int)f.by;
	a->k = f.k;
	a->precision = f.precision;
	a->ascending = f.ascending;
	return reducer ? parse_reducer(i, &f, a) : DPI_SUCCESS;
}

static int parse(const uint8_t *at, const uint8_t *end, struct dpi_reduction *r)
{
	int error = DPI_SUCCESS;
	for (uint32_t i = 0; i < r->key_count; i++, at += 4) {
		uint32_t key;
		memcpy(&key, at, 4);
		if (key >= r->input->columns)
			return dpi_fail(DPI_ERR_CORRUPT, "the bytes of a reduction name column %u of a schema that has %u",
					key, r->input->columns);
		r->key[i] = (uint16_t)key;
	}
	for (uint32_t i = 0; i < r->count && !error; i++) error = parse_aggregate(&at, end, r->input, i, r->aggregate + i);
	if (!error && at != end)
		error = dpi_fail(DPI_ERR_CORRUPT, "the bytes of a reduction go on for %zu bytes behind its last aggregate",
				 (size_t)(end - at));
	return error ? error : dpi_reduction_finish(r);
}

int dpi_reduction_parse(const void *bytes, size_t size, struct dpi_schema *input, struct dpi_reduction **out)
{
	uint32_t head[4];
	struct dpi_reduction *r = NULL;
	if (size >= sizeof head) memcpy(head, bytes, sizeof head);
	if (size < sizeof head || head[0] != MAGIC)
		return dpi_fail(DPI_ERR_CORRUPT, "%zu bytes that should be a reduction do not begin as one", size);
	if (head[1] != DPI_REDUCTION_VERSION)
		return dpi_fail(DPI_ERR_VERSION,
				"a reduction of version %u, and this library knows version %u: use one libdpi everywhere",
				head[1], DPI_REDUCTION_VERSION);
	size_t left = (size - sizeof head) / 4;
	if (head[2] > DPI_KEYS_MAX || head[3] > DPI_AGGREGATES_MAX || head[2] > left || head[3] > left)
		return dpi_fail(DPI_ERR_CORRUPT, "the bytes of a reduction, %zu, announce %u key columns and %u aggregates",
				size, head[2], head[3]);
	int error = dpi_reduction_start(input, head[2], head[3], &r);
	if (!error) error = parse((const uint8_t *)bytes + sizeof head, (const uint8_t *)bytes + size, r);
	if (error == DPI_ERR_ARGUMENT || error == DPI_ERR_UNSUPPORTED || error == DPI_ERR_NAME || error == DPI_ERR_LIMIT) {
		char why[512];
		snprintf(why, sizeof why, "%s", dpi_detail());
		error = dpi_fail(DPI_ERR_CORRUPT, "the bytes of a reduction are none that libdpi writes: %s", why);
	}
	if (error) dpi_reduction_unref(r);
	else *out = r;
	return error;
}
