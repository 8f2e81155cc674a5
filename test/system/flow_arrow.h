/* SPDX-License-Identifier: Apache-2.0
 * flow_arrow.h: rows of flow_plan.h as record batches, and what record batches have as rows. */
#ifndef FLOW_ARROW_H
#define FLOW_ARROW_H

#include "flow_plan.h"

#define ARROW_ROWS 300u
#define ARROW_BYTES (1u << 20)

/* The columns of some rows, to be pushed. */
struct arrow_rows {
	size_t rows, bytes;
	int64_t head[4][ARROW_ROWS];
	int32_t offset[ARROW_ROWS + 1];
	uint8_t data[ARROW_BYTES], odd[ARROW_ROWS / 8 + 1], pad[ARROW_ROWS * 200];
};

static void arrow_add(const struct plan *p, const uint8_t *row, uint32_t size, struct arrow_rows *a)
{
	uint32_t at = HEAD, fixed = fixed_part(p);
	for (int k = 0; k < 4; k++) memcpy(&a->head[k][a->rows], row + 8 * k, 8);
	if (p->varies) memcpy(a->data + a->bytes, row + fixed, size - fixed), a->bytes += size - fixed, at += 8;
	a->offset[a->rows + 1] = (int32_t)a->bytes;
	if (p->checked && a->rows % 8 == 0) a->odd[a->rows / 8] = 0;
	if (p->checked) a->odd[a->rows / 8] |= (uint8_t)(row[at++] << a->rows % 8);
	memcpy(a->pad + a->rows++ * p->pad, row + at, p->pad);
}

static void arrow_nothing(struct ArrowArray *a)
{
	a->release = NULL;
}

static int arrow_push(const struct plan *p, const struct arrow_rows *a, DPI_Source source, size_t *pushed)
{
	const void *none[1] = { NULL }, *buffer[7][3] = { { NULL } };
	struct ArrowArray child[7], *children[7];
	int64_t columns = 0;
	for (; columns < 4; columns++) buffer[columns][1] = a->head[columns];
	if (p->varies) buffer[columns][1] = a->offset, buffer[columns++][2] = a->data;
	if (p->checked) buffer[columns++][1] = a->odd;
	if (p->pad) buffer[columns++][1] = a->pad;
	for (int64_t k = 0; k < columns; k++) {
		child[k] = (struct ArrowArray){ .length = (int64_t)a->rows, .n_buffers = buffer[k][2] ? 3 : 2, .buffers = buffer[k], .release = arrow_nothing };
		children[k] = child + k;
	}
	struct ArrowArray batch = { .length = (int64_t)a->rows, .n_buffers = 1, .buffers = none, .n_children = columns, .children = children, .release = arrow_nothing };
	return DPI_Push_Arrow(&batch, NULL, source, pushed);
}

/* Row i of what was lent, as the flow's rows or sums are. Returns its size. */
static size_t arrow_row(const struct plan *p, const struct ArrowArray *a, size_t i, uint8_t *row)
{
	uint32_t heads = p->with & SUMS ? 3 : 4, at = 0, fixed = fixed_part(p), k = 0;
	for (; k < heads; k++, at += 8) memcpy(row + at, (const int64_t *)a->children[k]->buffers[1] + a->children[k]->offset + i, 8);
	if (p->with & SUMS) return at;
	size_t size = fixed;
	memset(row + at, 0, fixed - at);
	if (p->varies) {
		const int32_t *offset = (const int32_t *)a->children[k]->buffers[1] + a->children[k]->offset + i;
		uint32_t place[2] = { fixed, (uint32_t)(offset[1] - offset[0]) };
		memcpy(row + at, place, 8);
		memcpy(row + fixed, (const uint8_t *)a->children[k++]->buffers[2] + offset[0], place[1]);
		size += place[1];
		at += 8;
	}
	if (p->checked) {
		size_t bit = (size_t)a->children[k]->offset + i;
		row[at++] = ((const uint8_t *)a->children[k++]->buffers[1])[bit / 8] >> bit % 8 & 1;
	}
	if (p->pad) memcpy(row + at, (const uint8_t *)a->children[k]->buffers[1] + ((size_t)a->children[k]->offset + i) * p->pad, p->pad);
	return size;
}

#endif
