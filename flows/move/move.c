/* SPDX-License-Identifier: Apache-2.0
 * move.c: the public calls of data movement: every argument checked, then the engine. */
#include "move.h"

#include <string.h>

#include "error.h"

#define CHUNK ((size_t)512) /* rows whose parts are found at a time */
#define BLOCK ((size_t)256) /* rows transposed at a time, so that they stay in the first cache */

static uint32_t type_width(int type)
{
	switch (type) {
#define WIDTH(name, number, width, text) case DPI_TYPE_##name: return width;
		DPI_TYPES(WIDTH)
#undef WIDTH
	default: return 0;
	}
}

int dpi_strided_check(const DPI_Values *v, const char *what, size_t number, struct dpi_strided *s)
{
	*s = (struct dpi_strided){ .type = v->type, .width = type_width(v->type), .data = v->data, .stride = v->stride,
				   .valid = v->valid, .offset = v->offset, .null = v->null, .null_mask = v->null_mask };
	if (v->type < DPI_TYPE_BOOL || v->type > DPI_TYPE_UTF8)
		return dpi_fail(DPI_ERR_ARGUMENT, "%s %zu has the type %d, which is none", what, number, v->type);
	if (!v->data) return dpi_fail(DPI_ERR_ARGUMENT, "%s %zu has no data", what, number);
	if (v->type == DPI_TYPE_DECIMAL64 || v->type == DPI_TYPE_DECIMAL128) s->scale = v->scale;
	if (s->scale < 0 || s->scale > 38)
		return dpi_fail(DPI_ERR_ARGUMENT, "%s %zu has the scale %d: there are 0 to 38", what, number, v->scale);
	if (v->type >= DPI_TYPE_BINARY) {
		if (!v->offset)
			return dpi_fail(DPI_ERR_ARGUMENT, "%s %zu has bytes of any length, but no offsets", what, number);
		if (v->null || v->stride)
			return dpi_fail(DPI_ERR_ARGUMENT,
					"%s %zu has bytes of any length: they are columns, not fields of rows", what,
						number);
		return DPI_SUCCESS;
	}
	if (v->type == DPI_TYPE_FIXED) {
		if (!v->width) return dpi_fail(DPI_ERR_ARGUMENT, "%s %zu is of fixed bytes, but of no width", what, number);
		s->width = v->width;
	}
	if (v->null && !v->stride)
		return dpi_fail(DPI_ERR_ARGUMENT, "%s %zu is packed: its NULLs are given by valid, not by null", what,
				number);
	if (v->type == DPI_TYPE_BOOL && !v->stride) s->width = 0;
	else if (!v->stride) s->stride = s->width;
	else if (v->stride < s->width)
		return dpi_fail(DPI_ERR_ARGUMENT, "%s %zu: a stride of %zu for values of %u bytes", what, number, v->stride,
				s->width);
	return DPI_SUCCESS;
}

static int check_keys(const DPI_Values *keys, size_t count, const char *what, struct dpi_strided *s)
{
	if (!keys) return dpi_fail(DPI_ERR_ARGUMENT, "keys or bounds are NULL: pass the columns of keys and the bounds between the parts");
	if (!count || count > DPI_KEYS_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "a key of %zu columns: it has 1 to %d", count, DPI_KEYS_MAX);
	for (size_t k = 0; k < count; k++) {
		int error = dpi_strided_check(keys + k, what, k, s + k);
		if (error) return error;
	}
	return DPI_SUCCESS;
}

/* NULL is no place for anything but nothing. */
static int check_memory(const void *memory, size_t count, const char *what)
{
	return memory || !count ? DPI_SUCCESS : dpi_fail(DPI_ERR_ARGUMENT, "%s is NULL: " DPI_NEEDED, what);
}

int DPI_Hash_Rows(const DPI_Values *keys, size_t key_count, size_t count, uint64_t salt, uint64_t *hashes)
{
	struct dpi_strided key[DPI_KEYS_MAX];
	int error = check_keys(keys, key_count, "key", key);
	if (!error) error = check_memory(hashes, count, "hashes");
	if (error) return error;
	dpi_hash_start(dpi_hash_seed(salt), count, hashes);
	for (size_t k = 0; k < key_count; k++) dpi_hash_column(key + k, 0, count, hashes);
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------- partitions */

static int copy_attr(const DPI_Partition_Attr *attr, DPI_Partition_Attr *a)
{
	if (!attr) return dpi_fail(DPI_ERR_ARGUMENT, "attr is NULL: pass one, DPI_PARTITION_ATTR_INIT begins it");
	if (attr->size < sizeof attr->size)
		return dpi_fail(DPI_ERR_ARGUMENT, "attr->size is %zu: set it with DPI_PARTITION_ATTR_INIT", attr->size);
	for (size_t i = sizeof *a; i < attr->size; i++)
		if (((const uint8_t *)attr)[i])
			return dpi_fail(DPI_ERR_UNSUPPORTED,
					"attr has fields that this library does not know, and byte %zu is set", i);
	memset(a, 0, sizeof *a);
	memcpy(a, attr, attr->size < sizeof *a ? attr->size : sizeof *a);
	return DPI_SUCCESS;
}

/* A partitioning as the caller asks for it. */
struct asked {
	DPI_Partition_Attr attr;
	struct dpi_strided key[DPI_KEYS_MAX], bound[DPI_KEYS_MAX];
	struct dpi_partition partition;
};

int dpi_partition_attr(const DPI_Partition_Attr *attr, DPI_Partition_Attr *a, struct dpi_strided key[static DPI_KEYS_MAX])
{
	int error = copy_attr(attr, a);
	return error ? error : check_keys(a->keys, a->key_count, "key", key);
}

static int ask(const DPI_Partition_Attr *attr, struct asked *a)
{
	int error = dpi_partition_attr(attr, &a->attr, a->key);
	if (!error && a->attr.bounds) error = check_keys(a->attr.bounds, a->attr.key_count, "bound", a->bound);
	if (error) return error;
	return dpi_partition_prepare(&a->partition, a->attr.method, a->attr.parts, a->attr.salt, a->attr.shift,
				     a->attr.bits, a->key, a->attr.key_count, a->attr.bounds ? a->bound : NULL);
}

int DPI_Partition(const DPI_Partition_Attr *attr, size_t count, uint16_t *part, uint64_t *counts)
{
	uint16_t found[CHUNK];
	struct asked a;
	int error = ask(attr, &a);
	if (error) return error;
	if (counts) memset(counts, 0, a.attr.parts * sizeof *counts);
	for (size_t first = 0, n; first < count; first += n) { /* counted while they are in the cache */
		uint16_t *p = part ? part + first : found;
		n = count - first < CHUNK ? count - first : CHUNK;
		dpi_partition_find(&a.partition, a.key, first, n, p);
		if (counts) dpi_partition_count(p, n, counts);
	}
	return DPI_SUCCESS;
}

static int check_parts(const uint16_t *part, size_t count, uint32_t parts)
{
	uint32_t most = 0;
	if (!parts || parts > DPI_PARTS_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "%u parts: there are 1 to %d", parts, DPI_PARTS_MAX);
	for (size_t i = 0; part && i < count; i++) most = part[i] > most ? part[i] : most;
	if (most < parts) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_RANGE, "a row is to go to part %u of %u: count the parts from 0", most, parts);
}

static int check_strides(const void *rows, size_t stride, size_t width, size_t count)
{
	if (!width) return dpi_fail(DPI_ERR_ARGUMENT, "rows of no bytes");
	if (stride < width) return dpi_fail(DPI_ERR_ARGUMENT, "a stride of %zu for rows of %zu bytes", stride, width);
	return check_memory(rows, count, "rows");
}

static void places(uint32_t parts, size_t width, void *const *to, const uint64_t *filled, uint8_t **at)
{
	for (uint32_t p = 0; p < parts; p++) at[p] = to[p] ? (uint8_t *)to[p] + filled[p] * width : NULL;
}

static int no_memory(uint32_t parts)
{
	return dpi_fail(DPI_ERR_MEMORY, "no memory for the lines of %u parts", parts);
}

/* A part without memory may get no row; where there is one, all are found before any is copied. */
static int check_places(const struct asked *a, void *const *to, size_t count, const uint16_t *part)
{
	uint16_t found[CHUNK];
	uint32_t p = 0;
	while (p < a->attr.parts && to[p]) p++;
	for (size_t first = 0, n; p < a->attr.parts && first < count; first += n) {
		const uint16_t *f = part ? part + first : found;
		n = count - first < CHUNK ? count - first : CHUNK;
		if (!part) dpi_partition_find(&a->partition, a->key, first, n, found);
		for (size_t i = 0; i < n; i++)
			if (!to[f[i]]) return dpi_fail(DPI_ERR_ARGUMENT, "part %u gets rows, but has no memory", f[i]);
	}
	return DPI_SUCCESS;
}

int DPI_Partition_Rows(const DPI_Partition_Attr *attr, const void *rows, size_t stride, size_t width, size_t count,
		       const uint16_t *part, void *const *to, uint64_t *filled)
{
	uint8_t *at[DPI_PARTS_MAX];
	uint16_t found[CHUNK];
	struct asked a;
	struct dpi_scatter s;
	int error = part ? copy_attr(attr, &a.attr) : ask(attr, &a);
	if (!error) error = check_strides(rows, stride, width, count);
	if (!error) error = check_parts(part, count, a.attr.parts);
	if (!error && (!to || !filled)) error = dpi_fail(DPI_ERR_ARGUMENT, "to or filled is NULL: pass a place for each part");
	if (!error) error = check_places(&a, to, count, part);
	if (error) return error;
	uint32_t parts = a.attr.parts;
	size_t run = DPI_SCATTER_RUN / stride < 64	? 64
		     : DPI_SCATTER_RUN / stride < CHUNK ? DPI_SCATTER_RUN / stride
							: CHUNK;
	places(parts, width, to, filled, at);
	if (!dpi_scatter_begin(&s, at, parts, width, count, DPI_STORE_AUTO)) return no_memory(parts);
	if (part) dpi_scatter_rows(&s, rows, stride, count, part);
	else
		for (size_t first = 0, n; first < count; first += n) {
			n = count - first < run ? count - first : run;
			dpi_partition_find(&a.partition, a.key, first, n, found);
			dpi_scatter_rows(&s, (const uint8_t *)rows + first * stride, stride, n, found);
		}
	dpi_scatter_end(&s);
	for (uint32_t p = 0; p < parts; p++)
		if (to[p]) filled[p] = (uint64_t)(at[p] - (uint8_t *)to[p]) / width;
	return DPI_SUCCESS;
}

/* Bits as they are in memory, or made of the bytes and masks of rows: a chunk of 64. */
static uint64_t valid_bits(const struct dpi_strided *s, size_t first, size_t count)
{
	uint64_t bits = 0;
	for (size_t i = 0; i < count; i++) bits |= (uint64_t)!dpi_strided_is_null(s, first + i) << i;
	return bits;
}

static void partition_valid(const struct dpi_strided *s, size_t count, const uint16_t *part, uint8_t *const *to,
			    uint64_t *filled)
{
	for (size_t first = 0; first < count; first += 64) {
		size_t n = count - first < 64 ? count - first : 64;
		uint64_t bits = valid_bits(s, first, n);
		uint8_t bytes[8];
		for (unsigned i = 0; i < 8; i++) bytes[i] = (uint8_t)(bits >> 8 * i);
		dpi_scatter_bits(bytes, n, part + first, to, filled);
	}
}

static bool varies(const struct dpi_strided *s)
{
	return s->type >= DPI_TYPE_BINARY;
}

static int check_column(const struct dpi_strided *s, size_t column, size_t count, const uint16_t *part, uint32_t parts, void *const *to,
			uint8_t *const *valid, const uint64_t *filled, const uint64_t *counts)
{
	for (uint32_t p = 0; p < parts; p++)
		if (counts[p] && (!to[p] || ((s->valid || s->null) && (!valid || !valid[p]))))
			return dpi_fail(DPI_ERR_ARGUMENT, "column %zu has no memory for the values or validity of part %u", column, p);
	if (!varies(s)) return DPI_SUCCESS;
	return dpi_bytes_partition_room(s, column, count, part, parts, (DPI_Bytes_Column *const *)to, filled, counts);
}

static int partition_values(const struct dpi_strided *s, size_t count, const uint16_t *part, uint32_t parts, void *const *to,
			    const uint64_t *filled)
{
	uint8_t *at[DPI_PARTS_MAX];
	struct dpi_scatter way;
	places(parts, s->width, to, filled, at);
	if (!dpi_scatter_begin(&way, at, parts, s->width, count, DPI_STORE_AUTO)) return no_memory(parts);
	dpi_scatter_rows(&way, s->data, s->stride, count, part);
	dpi_scatter_end(&way);
	return DPI_SUCCESS;
}

int DPI_Partition_Columns(const DPI_Values *columns, size_t column_count, size_t count, const uint16_t *part, uint32_t parts,
			  void *const *to, uint8_t *const *valid, uint64_t *filled)
{
	struct dpi_strided s;
	uint64_t counts[DPI_PARTS_MAX], bit[DPI_PARTS_MAX];
	int small = DPI_SUCCESS;
	if (!columns) return dpi_fail(DPI_ERR_ARGUMENT, "columns is NULL: pass an array of them");
	if (!to || !filled || (count && !part)) return dpi_fail(DPI_ERR_ARGUMENT, "part, to or filled is NULL: pass the parts, and a place for each");
	int error = check_parts(part, count, parts);
	memset(counts, 0, sizeof counts);
	if (!error) dpi_partition_count(part, count, counts);
	for (size_t c = 0; !error && c < column_count; c++) { /* before anything is written */
		error = dpi_strided_check(columns + c, "column", c, &s);
		if (!error) error = check_column(&s, c, count, part, parts, to + c * parts, valid ? valid + c * parts : NULL, filled, counts);
		if (error == DPI_ERR_SIZE) small = error, error = DPI_SUCCESS; /* what each takes */
	}
	if (error || small) return error ? error : small;
	for (size_t c = 0; c < column_count; c++) {
		void *const *values = to + c * parts;
		dpi_strided_check(columns + c, "column", c, &s);
		if (varies(&s)) {
			dpi_bytes_partition(&s, count, part, parts, (DPI_Bytes_Column *const *)values, filled);
		} else if (!s.width) {
			memcpy(bit, filled, parts * sizeof *bit);
			dpi_scatter_bits(s.data, count, part, (uint8_t *const *)values, bit);
		} else if ((error = partition_values(&s, count, part, parts, values, filled))) {
			return error;
		}
		if (valid && (s.valid || s.null)) {
			memcpy(bit, filled, parts * sizeof *bit);
			partition_valid(&s, count, part, valid + c * parts, bit);
		}
	}
	for (uint32_t p = 0; p < parts; p++) filled[p] += counts[p];
	return DPI_SUCCESS;
}

/* ----------------------------------------------------------------------------------------------------------- gather */

int DPI_Gather_Rows(const void *rows, size_t stride, size_t width, size_t count, const uint8_t *bits, void *to,
		    uint64_t *gathered)
{
	int error = check_strides(rows, stride, width, to ? count : 0);
	if (!error) error = check_memory(bits, count, "bits");
	if (!error) error = check_memory(gathered, 1, "gathered");
	if (error) return error;
	*gathered = to ? dpi_gather(rows, stride, width, count, bits, to) : dpi_count_bits(bits, count);
	return DPI_SUCCESS;
}

static void gather_valid(const struct dpi_strided *s, size_t count, const uint8_t *bits, uint8_t *to)
{
	size_t n = 0;
	for (size_t i = 0; i < count; i++) {
		if (!dpi_bit(bits, i)) continue;
		uint8_t bit = (uint8_t)(1 << n % 8);
		to[n / 8] = (uint8_t)(dpi_strided_is_null(s, i) ? to[n / 8] & ~bit : to[n / 8] | bit);
		n++;
	}
}

int DPI_Gather_Columns(const DPI_Values *columns, size_t column_count, size_t count, const uint8_t *bits, void *const *to,
		       uint8_t *const *valid, uint64_t *gathered)
{
	struct dpi_strided s;
	if (!columns || !to || !gathered) return dpi_fail(DPI_ERR_ARGUMENT, "columns, to or gathered is NULL: pass the columns, and where what is gathered may go");
	int error = check_memory(bits, count, "bits"), small = DPI_SUCCESS;
	for (size_t c = 0; !error && c < column_count; c++) {
		error = dpi_strided_check(columns + c, "column", c, &s);
		if (!error && (!to[c] || ((s.valid || s.null) && (!valid || !valid[c]))))
			error = dpi_fail(DPI_ERR_ARGUMENT, "column %zu has no memory for its values or validity", c);
		if (!error && varies(&s)) error = dpi_bytes_gather_room(&s, c, count, bits, to[c]);
		if (error == DPI_ERR_SIZE) small = error, error = DPI_SUCCESS;
	}
	if (error || small) return error ? error : small;
	for (size_t c = 0; c < column_count; c++) {
		dpi_strided_check(columns + c, "column", c, &s);
		if (varies(&s)) dpi_bytes_gather(&s, count, bits, to[c]);
		else if (s.width) dpi_gather(s.data, s.stride, s.width, count, bits, to[c]);
		else dpi_gather_bits(s.data, count, bits, to[c]);
		if (s.null) gather_valid(&s, count, bits, valid[c]);
		else if (s.valid) dpi_gather_bits(s.valid, count, bits, valid[c]);
	}
	*gathered = dpi_count_bits(bits, count);
	return DPI_SUCCESS;
}

/* -------------------------------------------------------------------------------------------------------- transpose */

static int check_fields(const DPI_Field *fields, size_t field_count, size_t count, const void *rows, size_t stride)
{
	if (!fields) return dpi_fail(DPI_ERR_ARGUMENT, "fields is NULL: pass an array of them");
	for (size_t f = 0; f < field_count; f++) {
		if (!fields[f].width || fields[f].width > stride || fields[f].offset > stride - fields[f].width)
			return dpi_fail(DPI_ERR_ARGUMENT, "field %zu, %zu bytes at %zu, is not in a row of %zu bytes", f,
					fields[f].width,
					fields[f].offset, stride);
		if (count && !fields[f].column) return dpi_fail(DPI_ERR_ARGUMENT, "field %zu has no column", f);
	}
	return check_memory(rows, count, "rows");
}

int DPI_Rows_To_Columns(const void *rows, size_t stride, size_t count, const DPI_Field *fields, size_t field_count)
{
	int error = check_fields(fields, field_count, count, rows, stride);
	for (size_t first = 0; !error && first < count; first += BLOCK)
		for (const DPI_Field *f = fields; f < fields + field_count; f++)
			dpi_copy_strided((uint8_t *)f->column + first * f->width, f->width,
					 (const uint8_t *)rows + first * stride + f->offset, stride, f->width,
					 count - first < BLOCK ? count - first : BLOCK);
	return error;
}

int DPI_Columns_To_Rows(const DPI_Field *fields, size_t field_count, size_t count, void *rows, size_t stride)
{
	int error = check_fields(fields, field_count, count, rows, stride);
	for (size_t first = 0; !error && first < count; first += BLOCK)
		for (const DPI_Field *f = fields; f < fields + field_count; f++)
			dpi_copy_strided((uint8_t *)rows + first * stride + f->offset, stride,
					 (const uint8_t *)f->column + first * f->width, f->width, f->width,
					 count - first < BLOCK ? count - first : BLOCK);
	return error;
}
