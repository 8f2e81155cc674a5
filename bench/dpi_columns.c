/* SPDX-License-Identifier: Apache-2.0 */
#include "dpi_columns.h"

#include <stdlib.h>

DPI_Schema columns_schema(void)
{
	DPI_Column columns[] = {
		{ .name = "key", .type = DPI_TYPE_INT64 },
		{ .name = "value", .type = DPI_TYPE_FIXED, .width = (uint32_t)shuffle.o.size - 8 },
	};
	DPI_Schema schema;

	need(DPI_Create_Schema(columns, shuffle.o.size > 8 ? 2 : 1, &schema));
	return schema;
}

struct columns columns_new(const struct rows *rows)
{
	struct columns c = { .width = { 8, shuffle.o.size - 8 } };

	for (int k = 0; k < 2; k++) {
		c.data[k] = malloc(rows->count * c.width[k] + 1);
		if (!c.data[k])
			die(1, "no memory for %zu rows", rows->count);
		for (size_t i = 0; i < rows->count; i++)
			memcpy(c.data[k] + i * c.width[k], rows->data + i * shuffle.o.size + 8 * (size_t)k, c.width[k]);
	}
	return c;
}

static void released(struct ArrowArray *array)
{
	array->release = NULL;
}

void columns_push(const struct columns *c, size_t first, size_t count, DPI_Source source)
{
	const void *none[1] = { NULL }, *buffers[2][2] = { { NULL, c->data[0] }, { NULL, c->data[1] } };
	struct ArrowArray child[2], *children[2], batch;

	for (int k = 0; k < 2; k++) {
		child[k] = (struct ArrowArray){ .length = (int64_t)count, .offset = (int64_t)first, .n_buffers = 2, .buffers = buffers[k],
						.release = released };
		children[k] = &child[k];
	}
	batch = (struct ArrowArray){ .length = (int64_t)count, .n_buffers = 1, .buffers = none, .n_children = shuffle.o.size > 8 ? 2 : 1,
				     .children = children, .release = released };
	need(DPI_Push_Arrow(&batch, NULL, source, NULL));
}

static always_inline void join(size_t width, unsigned char *row, const unsigned char *key, const unsigned char *value, size_t count)
{
	for (; count--; key += 8, value += width, row += 8 + width) {
		memcpy(row, key, 8);
		memcpy(row + 8, value, width);
	}
}

void columns_to_rows(const struct columns *c, size_t first, size_t count, unsigned char *row)
{
	const unsigned char *key = c->data[0] + first * 8, *value = c->data[1] + first * c->width[1];

	switch (c->width[1]) { /* as in WITH_SIZE */
	case 8: join(8, row, key, value, count); break;
	case 24: join(24, row, key, value, count); break;
	case 56: join(56, row, key, value, count); break;
	default: join(c->width[1], row, key, value, count); break;
	}
}

/* Of rows take_rows reads as much; here a word of every value as well, as those lie in lines of their own. */
void columns_take(struct tally *t, const struct ArrowArray *array)
{
	const unsigned char *key = array->children[0]->buffers[1], *value = shuffle.o.size > 8 ? array->children[1]->buffers[1] : NULL;
	size_t width = shuffle.o.size - 8;
	uint64_t sum = 0, seen = 0;

	t->rows += (uint64_t)array->length;
	for (size_t i = 0; i < (size_t)array->length; i++) {
		sum += read_lines(key + 8 * i, 8);
		if (value)
			seen += read_lines(value + width * i, width < 8 ? width : 8);
		if (width > 56)
			sum += read_lines(value + width * i + 56, width - 56);
	}
	keep(seen);
	t->sum += sum;
}
