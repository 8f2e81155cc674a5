/* SPDX-License-Identifier: Apache-2.0
 * flow_arrow.h: rows of flow_plan.h as record batches, and what record batches have as rows. */
#ifndef FLOW_ARROW_H
#define FLOW_ARROW_H

#include "flow_plan.h"

#define ARROW_ROWS 300u
#define ARROW_BYTES (1u << 20)
#define ARROW_SKIPS 20u

/* The columns of some rows, to be pushed. Batches may begin behind rows that are not meant. */
struct arrow_rows {
	size_t rows, skips;
	bool whole; /* the batch's offset is meant to skip these, not each column's */
	struct arrow_column {
		uint8_t *value, valid[(ARROW_ROWS + ARROW_SKIPS) / 8 + 1];
		int32_t offset[ARROW_ROWS + ARROW_SKIPS + 1];
		int64_t nulls; /* behind those skipped */
	} column[COLUMNS_MOST];
	size_t bytes; /* of the variable values */
};

static struct arrow_rows *arrow_new(const struct columns *c, uint64_t *d)
{
	struct arrow_rows *a = calloc(1, sizeof *a);
	CHECK(a);
	for (uint32_t i = 0; i < c->count; i++) {
		size_t width = is_variable(c, i) ? ARROW_BYTES / (ARROW_ROWS + ARROW_SKIPS) : row_width(c->column[i].type, c->column[i].width);
		CHECK((a->column[i].value = calloc(ARROW_ROWS + ARROW_SKIPS, width)));
	}
	a->skips = one_in(d, 2) ? 0 : draw(d, ARROW_SKIPS + 1);
	a->whole = one_in(d, 2);
	return a;
}

static void arrow_free(const struct columns *c, struct arrow_rows *a)
{
	for (uint32_t i = 0; i < c->count; i++) free(a->column[i].value);
	free(a);
}

/* Behind the rows that are there. What is NULL has some value, too, that does not count. */
static void arrow_add_value(const struct columns *c, uint32_t i, const DPI_Value *v, size_t row, struct arrow_column *a, bool skipped)
{
	int type = c->column[i].type;
	uint32_t width = row_width(type, c->column[i].width);
	uint8_t *at = a->value + row * width;
	bool null = v->type == DPI_TYPE_NULL;
	if (!null) a->valid[row / 8] |= (uint8_t)(1 << row % 8);
	a->nulls += null && !skipped;
	if (is_variable(c, i)) {
		uint32_t bytes = null ? c->soiled * 3 : v->size;
		memset(a->value + a->offset[row], 0xa5, bytes);
		if (!null && bytes) memcpy(a->value + a->offset[row], v->data, bytes);
		a->offset[row + 1] = a->offset[row] + (int32_t)bytes;
	} else if (type == DPI_TYPE_BOOL) {
		a->value[row / 8] |= (uint8_t)((null ? c->soiled : (uint64_t)v->i) << row % 8);
	} else if (null) {
		memset(at, c->soiled ? 0xa5 : 0, width);
	} else if (type == DPI_TYPE_FLOAT) {
		memcpy(at, &(float){ (float)v->d }, 4);
	} else {
		memcpy(at, type == DPI_TYPE_FIXED ? v->data : v->w, width);
	}
}

/* False: there is no room for the row. */
static bool arrow_add(const struct columns *c, const uint8_t *row, uint32_t size, struct arrow_rows *a)
{
	size_t skips = a->rows ? 0 : a->skips;
	if (a->rows == ARROW_ROWS || a->bytes + (skips + 1) * (size + 3 * c->count) > ARROW_BYTES) return false;
	for (size_t skip = 0; skip <= skips; skip++, a->bytes += size + 3 * c->count)
		for (uint32_t i = 0; i < c->count; i++) {
			DPI_Value v;
			CHECK_DPI(DPI_Get_Value(row, size, i, c->schema, &v));
			arrow_add_value(c, i, &v, a->rows ? a->skips + a->rows : skip, a->column + i, skip < skips);
		}
	a->rows++;
	return true;
}

static void arrow_nothing(struct ArrowArray *a)
{
	a->release = NULL;
}

static int arrow_push(const struct columns *c, const struct arrow_rows *a, DPI_Source source, size_t *pushed)
{
	const void *none[1] = { NULL }, *buffer[COLUMNS_MOST][3] = { { NULL } };
	struct ArrowArray child[COLUMNS_MOST], *children[COLUMNS_MOST];
	int64_t rows = (int64_t)a->rows, skips = (int64_t)a->skips;
	for (uint32_t i = 0; i < c->count; i++) {
		const struct arrow_column *from = a->column + i;
		bool variable = is_variable(c, i);
		if (from->nulls || a->skips % 2) buffer[i][0] = from->valid;
		buffer[i][1] = variable ? (const void *)from->offset : from->value;
		buffer[i][2] = variable ? from->value : NULL;
		child[i] = (struct ArrowArray){ .length = a->whole ? rows + skips : rows, .offset = a->whole ? 0 : skips, .null_count = a->skips ? -1 : from->nulls,
						.n_buffers = variable ? 3 : 2, .buffers = buffer[i], .release = arrow_nothing };
		children[i] = child + i;
	}
	struct ArrowArray batch = { .length = rows, .offset = a->whole ? skips : 0, .n_buffers = 1, .buffers = none, .n_children = c->count, .children = children, .release = arrow_nothing };
	struct ArrowSchema schema;
	if (a->skips % 3) return DPI_Push_Arrow(&batch, NULL, source, pushed);
	CHECK_DPI(DPI_Export_Arrow_Schema(c->schema, &schema));
	int error = DPI_Push_Arrow(&batch, &schema, source, pushed);
	schema.release(&schema);
	return error;
}

static DPI_Value arrow_value(const DPI_Column *is, const struct ArrowArray *a, size_t i)
{
	DPI_Value v = { .type = is->type };
	const uint8_t *valid = a->buffers[0], *data = a->buffers[1];
	const int32_t *offset = a->buffers[1];
	i += (size_t)a->offset;
	if (valid && !(valid[i / 8] >> i % 8 & 1)) return (DPI_Value){ .type = DPI_TYPE_NULL };
	uint32_t width = row_width(is->type, is->width);
	int64_t whole = 0;
	switch (is->type) {
	case DPI_TYPE_BOOL: v.i = data[i / 8] >> i % 8 & 1; break;
	case DPI_TYPE_FLOAT: v.d = (double)((const float *)a->buffers[1])[i]; break;
	case DPI_TYPE_FIXED: v.size = width, v.data = data + i * width; break;
	case DPI_TYPE_BINARY:
	case DPI_TYPE_UTF8: v.size = (uint32_t)(offset[i + 1] - offset[i]), v.data = (const uint8_t *)a->buffers[2] + offset[i]; break;
	case DPI_TYPE_INT8: v.i = ((const int8_t *)a->buffers[1])[i]; break;
	case DPI_TYPE_INT16: v.i = ((const int16_t *)a->buffers[1])[i]; break;
	case DPI_TYPE_INT32:
	case DPI_TYPE_DATE32: v.i = ((const int32_t *)a->buffers[1])[i]; break;
	case DPI_TYPE_DECIMAL128: memcpy(v.w, data + i * 16, 16); break;
	default: memcpy(&whole, data + i * width, width), v.i = whole;
	}
	return v;
}

/* Row i of what was lent, as the flow's rows or sums are. Returns its size. */
static size_t arrow_row(const struct plan *p, const struct ArrowArray *a, size_t i, uint8_t *row)
{
	const struct columns *c = &p->columns;
	DPI_Schema schema = p->with & (SUMS | PROJECT) ? c->output : c->schema;
	DPI_Schema_Info info = DPI_SCHEMA_INFO_INIT;
	DPI_Value values[COLUMNS_MOST];
	DPI_Column column;
	CHECK_DPI(DPI_Get_Schema_Info(schema, &info));
	CHECK_INT(a->n_children, ==, info.columns);
	for (uint32_t k = 0; k < info.columns; k++) {
		CHECK_DPI(DPI_Get_Column(k, schema, &column, NULL));
		values[k] = arrow_value(&column, a->children[k], i + (size_t)a->offset);
	}
	return pack_values(values, schema, row);
}

#endif
