/* SPDX-License-Identifier: Apache-2.0
 * column_read.c: columnar segments from outside, checked and lent. */
#include <stdlib.h>

#include "column_bits.h"
#include "column_segment.h"
#include "error.h"

int dpi_column_reader_new(struct dpi_schema *s, struct dpi_column_reader *r)
{
	*r = (struct dpi_column_reader){ .vector = calloc(s->columns, sizeof *r->vector) };
	if (!r->vector) return dpi_fail(DPI_ERR_MEMORY, "no memory to read segments of %u columns", s->columns);
	r->schema = dpi_schema_ref(s);
	r->batch = (struct dpi_batch){ .columns = (int)s->columns, .column = r->vector };
	return DPI_SUCCESS;
}

void dpi_column_reader_free(struct dpi_column_reader *r)
{
	dpi_schema_unref(r->schema);
	free(r->vector);
	free(r->offsets);
	*r = (struct dpi_column_reader){ 0 };
}

/* A segment under way: buffers come in order and do not meet, so all of them together are no longer than it. */
struct input {
	const uint8_t *segment;
	uint64_t at, size; /* from here on a buffer may begin; the segment's bytes */
	uint32_t rows;
	size_t copied; /* of the reader's own offsets */
};

static bool buffer(struct input *in, uint32_t at, uint64_t bytes, const uint8_t **data)
{
	if (at % DPI_COLUMN_ALIGN || at < in->at || at > in->size || bytes > in->size - at) return false;
	*data = in->segment + at;
	in->at = at + bytes;
	return true;
}

static bool rising(const int32_t *offset, uint32_t rows, uint32_t bytes)
{
	bool good = offset[0] >= 0 && (uint32_t)offset[rows] <= bytes && offset[rows] >= 0;
	int32_t falls = 0;
	for (uint32_t i = 0; i < rows; i++) falls |= offset[i + 1] < offset[i]; /* no branch: wide */
	return good && !falls;
}

static int read_offsets(struct dpi_column_reader *r, struct input *in, uint32_t i, const struct dpi_column_place *p,
			bool copy)
{
	const uint8_t *at;
	struct dpi_vector *v = r->vector + i;
	size_t count = (size_t)in->rows + 1;
	if (!buffer(in, p->offset, 4 * (uint64_t)count, &at))
		return dpi_fail(DPI_ERR_CORRUPT, "the offsets of column %u \"%s\" lie outside their segment", i,
				r->schema->column[i].name);
	v->offset = (const int32_t *)(const void *)at;
	if (copy) { /* room was made before */
		v->offset = memcpy(r->offsets + in->copied, at, 4 * count);
		in->copied += count;
	}
	if (!rising(v->offset, in->rows, p->bytes))
		return dpi_fail(DPI_ERR_CORRUPT, "the offsets of column %u \"%s\" fall, or lead outside its %u bytes", i,
				r->schema->column[i].name, p->bytes);
	return DPI_SUCCESS;
}

static int check_text(const struct dpi_vector *v, const struct dpi_column *c, uint32_t rows)
{
	for (uint32_t i = 0; i < rows; i++) {
		if (dpi_is_null(v, i)) continue;
		if (!dpi_schema_utf8((const uint8_t *)v->data + v->offset[i], (size_t)(v->offset[i + 1] - v->offset[i])))
			return dpi_fail(DPI_ERR_CORRUPT, "column \"%s\" of row %u of a segment is not UTF-8", c->name, i);
	}
	return DPI_SUCCESS;
}

static int read_column(struct dpi_column_reader *r, struct input *in, uint32_t i, unsigned how)
{
	const struct dpi_column *c = r->schema->column + i;
	struct dpi_vector *v = r->vector + i;
	struct dpi_column_place p;
	const uint8_t *data;
	memcpy(&p, in->segment + DPI_SEGMENT_HEADER + i * sizeof p, sizeof p);
	*v = (struct dpi_vector){ .type = c->type, .scale = c->scale,
				  .width = c->variable || c->type == DPI_TYPE_BOOL ? 0 : c->width };
	if (p.valid && !c->nullable)
		return dpi_fail(DPI_ERR_CORRUPT, "a segment has NULLs in column %u \"%s\", which has none", i, c->name);
	if (p.valid && !buffer(in, p.valid, dpi_bits_bytes(in->rows), &v->valid))
		return dpi_fail(DPI_ERR_CORRUPT, "the validity of column %u \"%s\" lies outside its segment", i, c->name);
	if (c->variable) {
		int error = read_offsets(r, in, i, &p, how & DPI_COLUMN_UNSAFE);
		if (error) return error;
	} else if (p.bytes != (c->type == DPI_TYPE_BOOL ? dpi_bits_bytes(in->rows) : (uint64_t)c->width * in->rows)) {
		return dpi_fail(DPI_ERR_CORRUPT, "column %u \"%s\" of a segment of %u rows has %u bytes", i, c->name,
				in->rows, p.bytes);
	}
	if (!buffer(in, p.data, p.bytes, &data))
		return dpi_fail(DPI_ERR_CORRUPT, "the values of column %u \"%s\" lie outside their segment", i, c->name);
	v->data = data;
	return how & DPI_COLUMN_UTF8 && c->type == DPI_TYPE_UTF8 ? check_text(v, c, in->rows) : DPI_SUCCESS;
}

int dpi_column_read(struct dpi_column_reader *r, const void *segment, size_t size, unsigned how, struct dpi_segment *header)
{
	const struct dpi_schema *s = r->schema;
	struct dpi_segment h;
	uint64_t places = DPI_SEGMENT_HEADER + (uint64_t)s->columns * sizeof(struct dpi_column_place);
	r->batch.rows = 0;
	if ((uintptr_t)segment % 8)
		return dpi_fail(DPI_ERR_ARGUMENT, "a columnar segment at %p: it begins at a multiple of 8", segment);
	int error = dpi_segment_header(segment, size, &h);
	if (error) return error;
	if (!(h.flags & DPI_SEGMENT_COLUMNS) || h.flags & DPI_SEGMENT_PART)
		return dpi_fail(DPI_ERR_USE, "a segment that is not columnar is read as one");
	struct input in = { segment, places, DPI_SEGMENT_HEADER + (uint64_t)h.bytes, h.rows, 0 };
	if (places > in.size)
		return dpi_fail(DPI_ERR_CORRUPT, "a columnar segment of %u bytes has not the places of %u columns", h.bytes,
				s->columns);
	size_t own = how & DPI_COLUMN_UNSAFE ? s->variable_columns * ((size_t)h.rows + 1) : 0;
	if (own > in.size / 4)
		return dpi_fail(DPI_ERR_CORRUPT, "a columnar segment announces %u rows in %u bytes", h.rows, h.bytes);
	if (own > r->room) {
		free(r->offsets);
		r->offsets = malloc(own * sizeof *r->offsets);
		r->room = r->offsets ? own : 0;
		if (!r->offsets) return dpi_fail(DPI_ERR_MEMORY, "no memory for the offsets of %u rows", h.rows);
	}
	for (uint32_t i = 0; i < s->columns && !error; i++) error = read_column(r, &in, i, how);
	if (error) return error;
	r->batch.rows = h.rows;
	if (header) *header = h;
	return DPI_SUCCESS;
}
