/* SPDX-License-Identifier: Apache-2.0
 * definition.c: definitions of attributes: every field checked, defaults filled in, what it points to copied. */
#include "definition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coded.h"
#include "column_segment.h"
#include "definition_parts.h"
#include "error.h"
#include "move/move.h"
#include "segment.h"

static const char *const dist_names[] = { "HASH", "RADIX", "RANGE", "ROUND_ROBIN", "BROADCAST", "TABLE", "FUNCTION" };

#define BIT(dist) (1u << (dist))

/* ---------------------------------------------------------------------------------------------------------- numbers */

int dpi_definition_below(const char *field, uint32_t value, uint32_t most, const char *values)
{
	if (value <= most) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_ARGUMENT, "attr->%s is %d: it is one of %s", field, (int)value, values);
}

static int check_numbers(const struct dpi_definition *d)
{
	int error = dpi_definition_below("dist", d->dist, DPI_DIST_FUNCTION, "DPI_DIST_*");
	if (!error) error = dpi_definition_below("hint", d->hint, DPI_HINT_LATENCY, "DPI_HINT_BANDWIDTH and DPI_HINT_LATENCY");
	if (!error) error = dpi_definition_below("on_death", d->on_death, DPI_DEATH_GOES_ON, "DPI_DEATH_FAILS and DPI_DEATH_GOES_ON");
	if (error) return error;
	if (d->targets > DPI_TARGETS_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->targets is %u: a flow has 1 to %d", d->targets, DPI_TARGETS_MAX);
	if (d->sources > DPI_SOURCES_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT,
				"attr->sources is %u: a flow has at most %d in all its life, and 0 leaves the number "
				"open", d->sources, DPI_SOURCES_MAX);
	if (d->segment < DPI_FLOW_SEGMENT_LEAST || d->segment > DPI_FLOW_SEGMENT_MOST)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->segment is %u: a segment has %u to %u bytes, and 0 is %u",
				d->segment, DPI_FLOW_SEGMENT_LEAST, DPI_FLOW_SEGMENT_MOST, DPI_FLOW_SEGMENT);
	if (d->memory < d->segment || d->memory > DPI_FLOW_MEMORY_MOST)
		return dpi_fail(DPI_ERR_ARGUMENT,
				"attr->memory is %llu: give a target the %u bytes of one segment at least, %llu at most; "
				"0 is %llu", (unsigned long long)d->memory, d->segment, DPI_FLOW_MEMORY_MOST,
				DPI_FLOW_MEMORY);
	if (d->linger_us < 0 || d->linger_us > DPI_FLOW_LINGER_MOST)
		return dpi_fail(DPI_ERR_ARGUMENT,
				"attr->linger_us is %lld: it is microseconds, at most %lld, or 0 for DPI_LINGER",
				(long long)d->linger_us, DPI_FLOW_LINGER_MOST);
	return DPI_SUCCESS;
}

static int unused(const struct dpi_definition *d, unsigned dists, const char *field, uint64_t value)
{
	if (!value || dists & BIT(d->dist)) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_ARGUMENT,
			"attr->%s is %llu, which DPI_DIST_%s has no use for: set it to 0, or take another dist", field,
			(unsigned long long)value, dist_names[d->dist]);
}

static int unused_pointer(const struct dpi_definition *d, unsigned dists, const char *field, const void *value)
{
	if (!value || dists & BIT(d->dist)) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_ARGUMENT,
			"attr->%s is given, which DPI_DIST_%s has no use for: set it to NULL, or take another dist",
			field, dist_names[d->dist]);
}

/* What is set and means nothing is a mistake. */
static int check_unused(const struct dpi_definition *d, const DPI_Flow_Attr *attr)
{
	int error = unused(d, BIT(DPI_DIST_HASH) | BIT(DPI_DIST_TABLE), "salt", d->salt);
	if (!error) error = unused(d, BIT(DPI_DIST_RADIX), "shift", d->shift);
	if (!error) error = unused_pointer(d, BIT(DPI_DIST_RANGE), "bounds", attr->bounds);
	if (!error) error = unused_pointer(d, BIT(DPI_DIST_TABLE), "table", attr->table);
	if (!error) error = unused(d, BIT(DPI_DIST_TABLE), "table_size", d->table_size);
	if (!error) error = unused_pointer(d, BIT(DPI_DIST_FUNCTION), "dist_function", attr->dist_function);
	if (!error) error = unused(d, BIT(DPI_DIST_FUNCTION), "dist_version", d->dist_version);
	if (!error && d->group_version && !attr->group)
		error = dpi_fail(DPI_ERR_ARGUMENT,
				"attr->group_version is %u, but attr->group is NULL: name the function, or set its "
				"version to 0", d->group_version);
	return error;
}

/* -------------------------------------------------------------------------------------------------------------- key */

int dpi_definition_copy_name(const char *field, const char *name, char to[static DPI_NAME_MAX])
{
	size_t n = strnlen(name, DPI_NAME_MAX);
	if (!n || n == DPI_NAME_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->%s has %s bytes: a name has 1 to %d", field, n ? "more" : "no",
				DPI_NAME_MAX - 1);
	memcpy(to, name, n);
	to[n] = 0;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)to[i] < 32 || to[i] == 127)
			return dpi_fail(DPI_ERR_ARGUMENT,
					"attr->%s has the control character %d at byte %zu: take it out", field, to[i],
					i);
	return DPI_SUCCESS;
}

static int find_key(struct dpi_definition *d, const char *name, size_t k)
{
	char copy[DPI_NAME_MAX + 1] = "";
	if (!name) return dpi_fail(DPI_ERR_ARGUMENT, "attr->key[%zu] is NULL: name a column of the schema", k);
	memcpy(copy, name, strnlen(name, DPI_NAME_MAX));
	int column = dpi_schema_find(d->schema, copy);
	if (column < 0)
		return dpi_fail(DPI_ERR_NAME,
				"attr->key[%zu] is \"%.127s\", and the schema has no such column: name one of its %u "
				"columns", k, copy, d->schema->columns);
	for (uint32_t other = 0; other < k; other++)
		if (d->key[other] == column)
			return dpi_fail(DPI_ERR_ARGUMENT,
					"attr->key[%u] and attr->key[%zu] are both \"%s\": name each column once", other,
					k, copy);
	d->key[k] = (uint16_t)column;
	return DPI_SUCCESS;
}

static int copy_key(struct dpi_definition *d, const DPI_Flow_Attr *attr)
{
	if (attr->key_count > DPI_KEYS_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->key_count is %zu: a key has at most %d columns", attr->key_count,
				DPI_KEYS_MAX);
	if (!attr->key != !attr->key_count)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->key is %s, but attr->key_count is %zu: set both, or neither",
				attr->key ? "given" : "NULL", attr->key_count);
	if (attr->group && attr->key_count)
		return dpi_fail(DPI_ERR_ARGUMENT,
				"attr->group is given, and attr->key_count is %zu: the key is either of columns or of a "
				"function", attr->key_count);
	for (size_t k = 0; k < attr->key_count; k++) {
		int error = find_key(d, attr->key[k], k);
		if (error) return error;
	}
	d->key_count = (uint32_t)attr->key_count;
	return attr->group ? dpi_definition_copy_name("group", attr->group, d->group) : DPI_SUCCESS;
}

static int check_key(const struct dpi_definition *d)
{
	bool key = dpi_definition_keys(d), must = d->dist == DPI_DIST_HASH && d->targets > 1;
	must |= d->dist == DPI_DIST_RADIX || d->dist == DPI_DIST_RANGE || d->dist == DPI_DIST_TABLE;
	if (must && !key)
		return dpi_fail(DPI_ERR_ARGUMENT,
				"attr->key_count is 0, attr->group NULL and attr->targets %u: DPI_DIST_%s takes a key; "
				"without one take DPI_DIST_ROUND_ROBIN or DPI_DIST_BROADCAST", d->targets,
				dist_names[d->dist]);
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------------- dist */

/* Why the engine does not take it. */
static int radix_error(const struct dpi_definition *d, const struct dpi_strided *key)
{
	char text[DPI_COLUMN_TEXT];
	unsigned bits = 0;
	if (d->targets & (d->targets - 1))
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->targets is %u: DPI_DIST_RADIX takes a power of two", d->targets);
	if (d->shift > 63) return dpi_fail(DPI_ERR_ARGUMENT, "attr->shift is %u: a key has the bits 0 to 63", d->shift);
	for (uint32_t k = 0; k < d->key_count; k++) {
		if (!dpi_radix_takes(key + k))
			return dpi_fail(DPI_ERR_UNSUPPORTED,
					"attr->key[%u] is %s: DPI_DIST_RADIX takes integers, dates and DECIMAL64; DPI_DIST_HASH "
					"takes any", k, dpi_schema_column_text(d->schema->column + d->key[k], text));
		bits += dpi_radix_bits(key + k);
	}
	return dpi_fail(DPI_ERR_UNSUPPORTED,
			"attr->key has %u bits: DPI_DIST_RADIX takes up to 64; DPI_DIST_HASH takes any", bits);
}

/* Radix and range, as the engine takes them. */
static int check_partition(const struct dpi_definition *d, int method)
{
	struct dpi_strided key[DPI_KEYS_MAX], bound[DPI_KEYS_MAX];
	struct dpi_partition *p = malloc(sizeof *p);
	char why[DPI_DETAIL_MAX];
	if (!p) return dpi_fail(DPI_ERR_MEMORY, "no memory to check a dist");
	dpi_bounds_key(d, key);
	for (uint32_t k = 0; d->bound && k < dpi_definition_keys(d); k++) bound[k] = dpi_strided_of(d->bound + k);
	int error = dpi_partition_prepare(p, method, d->targets, 0, d->shift, NULL, key, dpi_definition_keys(d),
					  d->bound ? bound : NULL);
	free(p);
	if (!error) return DPI_SUCCESS;
	if (method == DPI_PARTITION_RADIX) return radix_error(d, key);
	snprintf(why, sizeof why, "%s", dpi_detail());
	return dpi_fail(error, "attr->bounds: %s", why);
}

static int copy_table(struct dpi_definition *d, const uint32_t *table)
{
	if (!d->table_size || d->table_size > DPI_PARTS_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->table_size is %u: a table has 1 to %d parts", d->table_size,
				DPI_PARTS_MAX);
	if (!table) return dpi_fail(DPI_ERR_ARGUMENT, "attr->table is NULL: give the target of each of %u parts",
			d->table_size);
	if (!(d->table = malloc(d->table_size * sizeof *d->table)))
		return dpi_fail(DPI_ERR_MEMORY, "no memory for a table of %u parts", d->table_size);
	memcpy(d->table, table, d->table_size * sizeof *d->table);
	for (uint32_t i = 0; i < d->table_size; i++)
		if (d->table[i] >= d->targets)
			return dpi_fail(DPI_ERR_ARGUMENT,
					"attr->table[%u] is %u: the flow has %u targets, counted from 0", i, d->table[i],
					d->targets);
	return DPI_SUCCESS;
}

static int copy_dist(struct dpi_definition *d, const DPI_Flow_Attr *attr)
{
	int error = DPI_SUCCESS;
	switch (d->dist) {
	case DPI_DIST_RADIX: return check_partition(d, DPI_PARTITION_RADIX);
	case DPI_DIST_RANGE:
		if (d->targets > 1 && !attr->bounds)
			return dpi_fail(DPI_ERR_ARGUMENT,
					"attr->bounds is NULL: DPI_DIST_RANGE over %u targets takes %u bounds",
					d->targets, d->targets - 1);
		if (d->targets > 1) error = dpi_bounds_from(attr->bounds, d);
		return error ? error : check_partition(d, DPI_PARTITION_RANGE);
	case DPI_DIST_TABLE: return copy_table(d, attr->table);
	case DPI_DIST_FUNCTION:
		if (!attr->dist_function)
			return dpi_fail(DPI_ERR_ARGUMENT,
					"attr->dist_function is NULL: DPI_DIST_FUNCTION takes the name of a registered "
					"function");
		return dpi_definition_copy_name("dist_function", attr->dist_function, d->dist_function);
	default: return DPI_SUCCESS;
	}
}

/* --------------------------------------------------------------------------------------------------------- together */

static int check_sizes(const struct dpi_definition *d)
{
	size_t bytes = dpi_definition_bytes(d), schema = dpi_schema_bytes(d->schema);
	uint32_t room = dpi_flow_segment_size(d->schema, d->segment) - (uint32_t)sizeof(struct dpi_flow_segment);
	int error = dpi_definition_below("layout", d->layout, DPI_LAYOUT_COLUMNS, "DPI_LAYOUT_ROWS and DPI_LAYOUT_COLUMNS");
	if (error) return error;
	uint64_t least = dpi_column_least(d->wire) + sizeof(struct dpi_flow_segment);
	if (d->layout == DPI_LAYOUT_COLUMNS && least > dpi_flow_plain_size(d))
		return dpi_fail(DPI_ERR_SIZE,
				"attr->segment is %u, of which encryption takes %u, and one row of %u columns that travels takes %llu bytes "
				"of a columnar segment: raise it, at most to %u", d->segment, dpi_coded_more(d), d->wire->columns,
				(unsigned long long)least, DPI_FLOW_SEGMENT_MOST);
	if (d->layout == DPI_LAYOUT_ROWS && dpi_flow_row_need(d->schema, d->schema->row_size) > room)
		return dpi_fail(DPI_ERR_SIZE,
				"attr->segment is %u, and the fixed part of a row has %u bytes: raise it, at most to %u, "
				"or make long columns BINARY", d->segment, d->schema->row_size, DPI_FLOW_SEGMENT_MOST);
	if (bytes > DPI_DEFINITION_MAX)
		return dpi_fail(DPI_ERR_LIMIT,
				"the definition has %zu bytes, of these its schema %zu, bounds and table most of the "
				"rest: DPI_DEFINITION_MAX is %d; take fewer columns, shorter names, fewer targets or a "
				"smaller table", bytes, schema, DPI_DEFINITION_MAX);
	return DPI_SUCCESS;
}

uint64_t dpi_definition_expected(const struct dpi_definition *d)
{
	uint64_t ways = (d->sources ? d->sources : 1) * (uint64_t)(d->dist == DPI_DIST_BROADCAST ? 1 : d->targets);
	uint64_t rows = d->expected / ways + (d->expected % ways != 0), bytes = dpi_flow_row_need(d->schema, d->schema->row_size);
	return rows > UINT64_MAX / 2 / bytes ? UINT64_MAX : 2 * rows * bytes;
}

/* Rows that are few, and alike, take smaller segments, and so smaller rings, of which each holds some. */
static uint32_t segment_for(const struct dpi_definition *d, const DPI_Flow_Attr *attr)
{
	uint64_t bytes = dpi_definition_expected(d), row = dpi_flow_row_need(d->schema, d->schema->row_size);
	uint32_t segment = DPI_FLOW_SEGMENT;
	if (!bytes || d->schema->varies || attr->retain || attr->stage_count || attr->aggregate_count || attr->codec_count || attr->layout) return segment;
	while (segment > DPI_FLOW_SEGMENT_FEW && segment / 2 >= bytes / 4 && segment / 2 >= 4 * row) segment /= 2;
	return segment;
}

int dpi_definition_make(struct dpi_schema *s, const DPI_Flow_Attr *attr, const struct dpi_parsed_pipe *parsed,
			struct dpi_definition **made)
{
	struct dpi_definition *d = calloc(1, sizeof *d);
	if (!d) return dpi_fail(DPI_ERR_MEMORY, "no memory for a flow's definition");
	atomic_init(&d->references, 1);
	d->schema = dpi_schema_ref(s);
#define COPY(kind, field) d->field = attr->field;
	DPI_DEFINITION_NUMBERS(COPY)
#undef COPY
	if (!d->targets) d->targets = 1;
	if (!d->segment) d->segment = segment_for(d, attr);
	if (!d->memory) d->memory = DPI_FLOW_MEMORY;
	int error = check_numbers(d);
	if (!error) error = check_unused(d, attr);
	if (!error) error = copy_key(d, attr);
	if (!error) error = check_key(d);
	if (!error) error = copy_dist(d, attr);
	if (!error) error = dpi_pipe_from(attr, parsed, d);
	if (!error) error = dpi_definition_ack(d, attr);
	if (!error) error = dpi_definition_retain(d, attr);
	if (!error) error = check_sizes(d);
	if (error) dpi_definition_unref(d);
	else *made = d;
	return error;
}

int dpi_definition_from(const DPI_Flow_Attr *attr, struct dpi_definition **d)
{
	if (!attr->schema)
		return dpi_fail(DPI_ERR_ARGUMENT,
				"attr->schema is NULL: give the schema of the rows, from DPI_Create_Schema");
	struct dpi_schema *s = dpi_schema_get(attr->schema);
	if (!s) return dpi_schema_error(attr->schema);
	int error = dpi_definition_below("create", (uint32_t)attr->create, DPI_CREATE_OR_OPEN, "DPI_CREATE_NEW and DPI_CREATE_OR_OPEN");
	return error ? error : dpi_definition_make(s, attr, NULL, d);
}

void dpi_definition_unref(struct dpi_definition *d)
{
	if (!d || atomic_fetch_sub_explicit(&d->references, 1, memory_order_acq_rel) != 1) return;
	dpi_schema_unref(d->schema);
	dpi_pipe_free(d);
	dpi_bounds_free(d);
	free(d->table);
	free(d);
}
