/* SPDX-License-Identifier: Apache-2.0
 * definition_write.c: definitions as bytes, and definitions of bytes. In order, little endian: uint32_t magic and version,
 * the numbers of definition_parts.h; then, each behind a uint32_t with its bytes: the group function's name, the dist
 * function's, the schema, the key's columns (uint16_t each), the table (uint16_t each); then, of a range, for each column of
 * the key: validity bits (none if nothing is NULL), offsets (int32_t each; variable values only), values; then what
 * definition_pipe_write.c says; and last, each behind its bytes, what definition_ack.c and definition_retain.c write. */
#include <stdlib.h>
#include <string.h>

#include "definition_parts.h"
#include "error.h"
#include "message.h"

#define MAGIC 0x46495044u /* "DPIF" */
#define VERSION 3u

/* ------------------------------------------------------------------------------------------------------------ write */

static size_t valid_bytes(const struct dpi_vector *v, uint32_t rows)
{
	return v->valid ? (rows + 7) / 8 : 0;
}

static size_t offset_bytes(const struct dpi_vector *v, uint32_t rows)
{
	return v->offset ? ((size_t)rows + 1) * 4 : 0;
}

size_t dpi_definition_bytes(const struct dpi_definition *d)
{
	enum { u32 = 4, u64 = 8 };
	uint32_t rows = dpi_bounds_rows(d);
	size_t size = 8 + 5 * 4;
#define ADD(kind, field) size += kind;
	DPI_DEFINITION_NUMBERS(ADD)
#undef ADD
	size += strlen(d->group) + strlen(d->dist_function) + dpi_schema_bytes(d->schema);
	size += ((size_t)d->key_count + d->table_size) * 2;
	for (uint32_t k = 0; rows && k < dpi_definition_keys(d); k++) {
		const struct dpi_vector *v = d->bound + k;
		size += 4 + valid_bytes(v, rows) + 4 + dpi_bounds_data(v, rows);
		if (v->offset) size += 4 + offset_bytes(v, rows);
	}
	size += dpi_pipe_bytes(d) + dpi_definition_ack_bytes(d) + dpi_definition_retain_bytes(d);
	return size;
}

static void pack_schema(struct dpi_pack *p, const struct dpi_schema *s)
{
	size_t size = dpi_schema_bytes(s);
	void *bytes = malloc(size);
	if (!bytes) {
		p->failed = true;
		return;
	}
	dpi_schema_write(s, bytes);
	dpi_pack_bytes(p, bytes, (uint32_t)size);
	free(bytes);
}

static void pack_bounds(struct dpi_pack *p, const struct dpi_definition *d)
{
	uint32_t rows = dpi_bounds_rows(d);
	for (uint32_t k = 0; rows && k < dpi_definition_keys(d); k++) {
		const struct dpi_vector *v = d->bound + k;
		dpi_pack_bytes(p, v->valid, (uint32_t)valid_bytes(v, rows));
		if (v->offset) dpi_pack_bytes(p, v->offset, (uint32_t)offset_bytes(v, rows));
		dpi_pack_bytes(p, v->data, (uint32_t)dpi_bounds_data(v, rows));
	}
}

int dpi_definition_write(const struct dpi_definition *d, uint8_t **bytes, size_t *size)
{
	struct dpi_pack p = { 0 };
	uint16_t part[DPI_PARTS_MAX];
	if (dpi_definition_bytes(d) > DPI_DEFINITION_MAX)
		return dpi_fail(DPI_ERR_LIMIT, "a definition of %zu bytes: DPI_DEFINITION_MAX is %d",
				dpi_definition_bytes(d), DPI_DEFINITION_MAX);
	dpi_pack_u32(&p, MAGIC);
	dpi_pack_u32(&p, VERSION);
#define PACK(kind, field) dpi_pack_##kind(&p, d->field);
	DPI_DEFINITION_NUMBERS(PACK)
#undef PACK
	dpi_pack_text(&p, d->group);
	dpi_pack_text(&p, d->dist_function);
	pack_schema(&p, d->schema);
	dpi_pack_bytes(&p, d->key, d->key_count * 2);
	for (uint32_t i = 0; i < d->table_size; i++) part[i] = (uint16_t)d->table[i];
	dpi_pack_bytes(&p, part, d->table_size * 2);
	pack_bounds(&p, d);
	dpi_pipe_pack(&p, d);
	dpi_definition_ack_pack(d, &p);
	dpi_definition_retain_pack(d, &p);
	if (p.failed) {
		dpi_pack_free(&p);
		return dpi_fail(DPI_ERR_MEMORY, "no memory for the bytes of a definition");
	}
	*bytes = p.data, *size = p.size;
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------------ parse */

/* What the bytes say, as attributes; all else is checked there. */
struct parsed {
	struct dpi_unpack in;
	DPI_Flow_Attr attr;
	struct dpi_schema *schema;
	char group[DPI_NAME_MAX], dist_function[DPI_NAME_MAX], ack_function[DPI_NAME_MAX];
	const char *key[DPI_KEYS_MAX];
	uint32_t table[DPI_PARTS_MAX];
	DPI_Values bounds[DPI_KEYS_MAX];
	int32_t *offset[DPI_KEYS_MAX];
	struct dpi_parsed_pipe pipe;
};

static int corrupt(const char *part)
{
	return dpi_fail(DPI_ERR_CORRUPT, "the bytes of a flow's definition are none that libdpi writes: wrong %s", part);
}

/* The same, if it is no lack of memory and no other version, with the sentence that there is. */
static int corrupt_why(int error)
{
	char why[DPI_DETAIL_MAX];
	if (error == DPI_ERR_MEMORY || error == DPI_ERR_VERSION) return error;
	memcpy(why, dpi_detail(), strlen(dpi_detail()) + 1);
	return dpi_fail(DPI_ERR_CORRUPT, "the bytes of a flow's definition are none that libdpi writes: %s", why);
}

static int parse_key(struct parsed *p)
{
	uint32_t size;
	uint16_t column;
	const uint8_t *bytes = dpi_unpack_bytes(&p->in, &size);
	if (p->in.bad || size % 2 || size / 2 > DPI_KEYS_MAX) return corrupt("key");
	for (uint32_t k = 0; k < size / 2; k++) {
		memcpy(&column, bytes + 2 * k, 2);
		if (column >= p->schema->columns) return corrupt("column of the key");
		p->key[k] = p->schema->column[column].name;
	}
	p->attr.key_count = size / 2;
	if (size) p->attr.key = p->key;
	return DPI_SUCCESS;
}

static int parse_table(struct parsed *p)
{
	uint32_t size;
	uint16_t part;
	const uint8_t *bytes = dpi_unpack_bytes(&p->in, &size);
	if (p->in.bad || p->attr.table_size > DPI_PARTS_MAX || size != p->attr.table_size * 2) return corrupt("table");
	for (uint32_t i = 0; i < p->attr.table_size; i++) {
		memcpy(&part, bytes + 2 * i, 2);
		p->table[i] = part;
	}
	if (size) p->attr.table = p->table;
	return DPI_SUCCESS;
}

/* One column of rows bounds, of the key's type; its arrays stay in the bytes but for the offsets, which must be aligned. */
static int parse_bound(struct parsed *p, uint32_t k, const struct dpi_column *c, uint32_t rows)
{
	uint32_t valid, offsets = 0, data, need = c ? c->width * rows : 8 * rows;
	DPI_Values *v = p->bounds + k;
	*v = (DPI_Values){ .type = c ? c->type : DPI_TYPE_UINT64, .scale = c ? c->scale : 0, .width = c ? c->width : 8 };
	v->valid = dpi_unpack_bytes(&p->in, &valid);
	if (!valid) v->valid = NULL;
	if (p->in.bad || (valid && valid != (rows + 7) / 8)) return corrupt("validity of bounds");
	if (c && c->variable) {
		const void *bytes = dpi_unpack_bytes(&p->in, &offsets);
		if (p->in.bad || offsets != (rows + 1) * 4) return corrupt("offsets of bounds");
		if (!(p->offset[k] = malloc(offsets))) return dpi_fail(DPI_ERR_MEMORY, "no memory for %u bounds", rows);
		memcpy(p->offset[k], bytes, offsets);
		v->offset = p->offset[k];
		for (uint32_t i = 0; i < rows; i++)
			if (v->offset[i] < 0 || v->offset[i + 1] < v->offset[i]) return corrupt("offsets of bounds");
		need = (uint32_t)v->offset[rows];
	} else if (c && c->type == DPI_TYPE_BOOL) need = (rows + 7) / 8;
	v->data = dpi_unpack_bytes(&p->in, &data);
	return p->in.bad || data != need ? corrupt("values of bounds") : DPI_SUCCESS;
}

static int parse_bounds(struct parsed *p)
{
	uint32_t rows = p->attr.targets - 1;
	int error = DPI_SUCCESS;
	if (!p->attr.targets || p->attr.targets > DPI_TARGETS_MAX) return corrupt("number of targets");
	if (p->attr.dist != DPI_DIST_RANGE || !rows) return DPI_SUCCESS;
	if (p->attr.group) error = parse_bound(p, 0, NULL, rows);
	for (uint32_t k = 0; !error && k < p->attr.key_count; k++)
		error = parse_bound(p, k, p->schema->column + dpi_schema_find(p->schema, p->key[k]), rows);
	p->attr.bounds = p->bounds;
	return error;
}

static int parse(struct parsed *p)
{
	uint32_t size, magic = dpi_unpack_u32(&p->in), version = dpi_unpack_u32(&p->in);
	if (p->in.bad || magic != MAGIC) return corrupt("beginning");
	if (version != VERSION)
		return dpi_fail(DPI_ERR_VERSION,
				"a flow's definition of version %u, and this library knows version %u: use one libdpi "
				"everywhere", version, VERSION);
	p->attr.size = sizeof p->attr;
#define UNPACK(kind, field) p->attr.field = dpi_unpack_##kind(&p->in);
	DPI_DEFINITION_NUMBERS(UNPACK)
#undef UNPACK
	dpi_unpack_text(&p->in, p->group, sizeof p->group);
	dpi_unpack_text(&p->in, p->dist_function, sizeof p->dist_function);
	if (p->group[0]) p->attr.group = p->group;
	if (p->dist_function[0]) p->attr.dist_function = p->dist_function;
	const void *schema = dpi_unpack_bytes(&p->in, &size);
	if (p->in.bad) return corrupt("length");
	int error = dpi_schema_parse(schema, size, &p->schema);
	if (error) return corrupt_why(error);
	error = parse_key(p);
	if (!error) error = parse_table(p);
	if (!error) error = parse_bounds(p);
	if (!error) error = dpi_pipe_unpack(&p->in, &p->attr, &p->pipe);
	if (!error && !dpi_definition_ack_unpack(&p->in, p->schema, &p->attr, p->ack_function)) error = corrupt("acknowledgements");
	if (!error && !dpi_definition_retain_unpack(&p->in, &p->attr)) error = corrupt("delivery");
	return !error && p->in.at != p->in.end ? corrupt("length") : error;
}

/* Only what libdpi writes: the same definition has no other bytes. */
static int compare(const struct dpi_definition *d, const void *bytes, size_t size)
{
	uint8_t *again;
	size_t again_size;
	int error = dpi_definition_write(d, &again, &again_size);
	if (error) return error;
	if (again_size != size || memcmp(again, bytes, size)) error = corrupt("form");
	free(again);
	return error;
}

int dpi_definition_parse(const void *bytes, size_t size, struct dpi_definition **made)
{
	struct dpi_definition *d = NULL;
	if (size > DPI_DEFINITION_MAX) return corrupt("length");
	struct parsed *p = calloc(1, sizeof *p);
	if (!p) return dpi_fail(DPI_ERR_MEMORY, "no memory to read a flow's definition");
	p->in.at = bytes, p->in.end = p->in.at + size;
	int error = parse(p);
	if (!error && (error = dpi_definition_make(p->schema, &p->attr, &p->pipe, &d))) error = corrupt_why(error);
	if (!error && (error = compare(d, bytes, size))) dpi_definition_unref(d);
	if (!error) *made = d;
	dpi_schema_unref(p->schema);
	for (uint32_t k = 0; k < DPI_KEYS_MAX; k++) free(p->offset[k]);
	dpi_pipe_parsed_free(&p->pipe);
	free(p);
	return error;
}
