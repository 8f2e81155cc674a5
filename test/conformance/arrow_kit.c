/* SPDX-License-Identifier: Apache-2.0
 * arrow_kit.c: see arrow_kit.h. */
#include "arrow_kit.h"

#define COLUMNS_MOST 16

/* -------------------------------------------------------------------------------------------------------------- pushing */

static void nothing(struct ArrowArray *a)
{
	a->release = NULL;
}

int arrow_push(const void *rows, size_t size, size_t count, DPI_Source source, size_t *pushed)
{
	size_t columns = size / 8;
	uint64_t *values = malloc(count * size + 1);
	const void *buffer[COLUMNS_MOST][2], *none[1] = { NULL };
	struct ArrowArray child[COLUMNS_MOST], *children[COLUMNS_MOST];
	CHECK(values && size % 8 == 0 && columns <= COLUMNS_MOST);
	for (size_t k = 0; k < columns; k++) {
		for (size_t i = 0; i < count; i++) memcpy(values + k * count + i, (const char *)rows + i * size + 8 * k, 8);
		buffer[k][0] = NULL, buffer[k][1] = values + k * count;
		child[k] = (struct ArrowArray){ .length = (int64_t)count, .n_buffers = 2, .buffers = buffer[k], .release = nothing };
		children[k] = child + k;
	}
	struct ArrowArray a = { .length = (int64_t)count, .n_buffers = 1, .buffers = none, .n_children = (int64_t)columns, .children = children, .release = nothing };
	int error = DPI_Push_Arrow(&a, NULL, source, pushed);
	free(values);
	return error;
}

/* --------------------------------------------------------------------------------------------------------------- taking */

static bool bit(const void *bits, int64_t i)
{
	return ((const uint8_t *)bits)[i / 8] >> i % 8 & 1;
}

static int64_t integer(const uint8_t *data, size_t width, bool is_signed)
{
	uint64_t u = 0;
	memcpy(&u, data, width);
	return is_signed && width < 8 && u >> (8 * width - 1) ? (int64_t)(u | UINT64_MAX << 8 * width) : (int64_t)u;
}

/* Value i, whose type the format of the Arrow C data interface says. */
static DPI_Value value_of(const struct ArrowSchema *type, const struct ArrowArray *a, int64_t i)
{
	static const struct {
		char letter;
		int type;
		size_t width;
	} plain[] = { { 'c', DPI_TYPE_INT8, 1 }, { 's', DPI_TYPE_INT16, 2 }, { 'i', DPI_TYPE_INT32, 4 }, { 'l', DPI_TYPE_INT64, 8 },
		      { 'C', DPI_TYPE_UINT8, 1 }, { 'S', DPI_TYPE_UINT16, 2 }, { 'I', DPI_TYPE_UINT32, 4 }, { 'L', DPI_TYPE_UINT64, 8 } };
	const char *f = type->format, *comma = strchr(f, ',');
	const uint8_t *data = a->buffers[1];
	DPI_Value v;
	memset(&v, 0, sizeof v);
	CHECK_INT((uintptr_t)data % 8, ==, 0);
	i += a->offset;
	if (a->buffers[0] && !bit(a->buffers[0], i)) {
		CHECK(type->flags & 2); /* nullable */
		return v;
	}
	switch (*f) {
	case 'b': v.type = DPI_TYPE_BOOL, v.i = bit(data, i); return v;
	case 'g': v.type = DPI_TYPE_DOUBLE, memcpy(&v.d, data + 8 * i, 8); return v;
	case 'f': {
		float x;
		memcpy(&x, data + 4 * i, 4);
		v.type = DPI_TYPE_FLOAT, v.d = x;
		return v;
	}
	case 't': v.type = DPI_TYPE_DATE32, v.i = integer(data + 4 * i, 4, true); return v;
	case 'w':
		v.type = DPI_TYPE_FIXED, v.size = (uint32_t)atoi(f + 2);
		v.data = data + (size_t)i * v.size;
		return v;
	case 'd':
		v.type = comma && strchr(comma + 1, ',') ? DPI_TYPE_DECIMAL64 : DPI_TYPE_DECIMAL128;
		if (v.type == DPI_TYPE_DECIMAL64) v.i = integer(data + 8 * i, 8, true);
		else memcpy(v.w, data + 16 * i, 16);
		return v;
	case 'u':
	case 'z': {
		const int32_t *offset = (const int32_t *)(const void *)data;
		v.type = *f == 'u' ? DPI_TYPE_UTF8 : DPI_TYPE_BINARY;
		v.size = (uint32_t)(offset[i + 1] - offset[i]);
		v.data = (const char *)a->buffers[2] + offset[i];
		return v;
	}
	}
	for (size_t n = 0; n < sizeof plain / sizeof *plain; n++)
		if (*f == plain[n].letter) v.type = plain[n].type, v.i = integer(data + (size_t)i * plain[n].width, plain[n].width, n < 4);
	CHECK(v.type);
	return v;
}

int arrow_next(DPI_Target target, DPI_Schema output, struct arrow_run *run)
{
	struct ArrowSchema type;
	*run = (struct arrow_run){ 0 };
	int error = DPI_Next_Arrow(target, &run->batch, &run->array, &type), same;
	if (error || run->batch.kind == DPI_TUPLE_MARK) {
		CHECK(!run->array.release && !type.release);
		return error;
	}
	DPI_Schema schema;
	CHECK_DPI(DPI_Import_Arrow_Schema(&type, &schema));
	CHECK_DPI(DPI_Compare_Schemas(schema, output, &same, NULL, 0));
	CHECK(same);
	CHECK_DPI(DPI_Free_Schema(schema));
	run->count = (size_t)run->array.length;
	CHECK_INT(run->batch.count, ==, run->count);
	CHECK_INT(run->count, >, 0);
	CHECK_INT(run->array.offset, ==, 0);
	CHECK_INT(run->array.n_children, <=, COLUMNS_MOST);
	run->row = malloc(run->count * sizeof *run->row);
	for (size_t i = 0; i < run->count; i++) {
		DPI_Value v[COLUMNS_MOST];
		size_t room = 64, size;
		for (int64_t k = 0; k < run->array.n_children; k++) {
			CHECK_INT(run->array.children[k]->length, ==, run->count);
			v[k] = value_of(type.children[k], run->array.children[k], (int64_t)i);
			room += 32 + v[k].size;
		}
		void *row = malloc(room);
		CHECK_DPI(DPI_Pack_Row(v, output, row, room, &size));
		run->row[i] = (DPI_Record){ row, size };
	}
	type.release(&type);
	return DPI_SUCCESS;
}

void arrow_done(struct arrow_run *run)
{
	for (size_t i = 0; i < run->count; i++) free((void *)(uintptr_t)run->row[i].data);
	free(run->row);
	if (run->array.release) run->array.release(&run->array);
}
