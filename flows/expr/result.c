/* SPDX-License-Identifier: Apache-2.0
 * result.c: results as vectors in Arrow's layout, in memory that grows and stays. What is NULL has bytes of 0. */
#include <stdlib.h>

#include "error.h"
#include "state.h"

static bool variable(int type)
{
	return type == DPI_TYPE_BINARY || type == DPI_TYPE_UTF8;
}

static size_t width_of(const struct dpi_expr_type *t)
{
	return t->type == DPI_TYPE_FIXED ? t->width : dpi_kind_width(dpi_type_kind(t->type));
}

static bool grow(void *memory, size_t size)
{
	void **p = memory, *more = realloc(*p, size);
	if (!more) return false;
	*p = more;
	return true;
}

int dpi_result_begin(struct dpi_result *t, const struct dpi_expr_type *type, size_t rows)
{
	size_t bits = (rows + 63) / 64 * 8, data = bits;
	t->used = 0, t->nulls = false;
	if (rows <= t->rows) goto ready;
	bool good =
		variable(type->type) || type->type == DPI_TYPE_BOOL || !__builtin_mul_overflow(width_of(type), rows, &data);
	good = good && grow(&t->valid, bits);
	if (variable(type->type)) good = good && grow(&t->offset, (rows + 1) * sizeof *t->offset);
	else good = good && grow(&t->data, data);
	if (!good) return dpi_fail(DPI_ERR_MEMORY, "no memory for an expression's %zu results", rows);
	t->rows = rows;
ready:
	if (variable(type->type) && !t->bytes) {
		if (!grow(&t->data, 4096)) return dpi_fail(DPI_ERR_MEMORY, "no memory for an expression's results");
		t->bytes = 4096;
	}
	if (t->offset) t->offset[0] = 0;
	return DPI_SUCCESS;
}

static bool there(const struct dpi_register *from, size_t i)
{
	return !from->valid || (from->valid[i / 64] >> i % 64 & 1);
}

static int add_text(struct dpi_result *t, const struct dpi_register *from, size_t first, size_t rows)
{
	const struct dpi_text *text = from->data;
	size_t more = 0;
	for (size_t i = 0; i < rows; i++) more += there(from, i) ? text[i].size : 0;
	if (more > INT32_MAX - t->used)
		return dpi_fail(DPI_ERR_LIMIT,
				"an expression's results for one batch have more than 2 GiB of text: use smaller batches");
	if (t->used + more > t->bytes) {
		size_t room = t->bytes * 2 > t->used + more ? t->bytes * 2 : t->used + more;
		if (!grow(&t->data, room))
			return dpi_fail(DPI_ERR_MEMORY, "no memory for %zu bytes of an expression's results", room);
		t->bytes = room;
	}
	for (size_t i = 0; i < rows; i++) {
		if (there(from, i) && text[i].size)
			memcpy(t->data + t->used, text[i].at, text[i].size), t->used += text[i].size;
		t->offset[first + i + 1] = (int32_t)t->used;
	}
	return DPI_SUCCESS;
}

static int add_fixed(struct dpi_result *t, size_t width, const struct dpi_register *from, size_t first, size_t rows)
{
	const struct dpi_text *text = from->data;
	uint8_t *to = t->data + first * width;
	for (size_t i = 0; i < rows; i++, to += width) {
		if (!there(from, i)) memset(to, 0, width);
		else if (text[i].size == width) memcpy(to, text[i].at, width);
		else
			return dpi_fail(
				DPI_ERR_CORRUPT,
				"an expression's program gives %zu bytes where it says %zu: it is not from a correct peer",
				text[i].size, width);
	}
	return DPI_SUCCESS;
}

static void add_values(struct dpi_result *t, size_t width, const struct dpi_register *from, size_t first, size_t rows)
{
	uint8_t *to = t->data + first * width;
	memcpy(to, from->data, rows * width);
	if (!from->valid) return;
	for (size_t w = 0; w * 64 < rows; w++)
		for (uint64_t none = ~from->valid[w]; none; none &= none - 1) {
			size_t i = w * 64 + (size_t)__builtin_ctzll(none);
			if (i >= rows) break;
			memset(to + i * width, 0, width);
		}
}

static void add_bits(uint8_t *to, const uint64_t *bits, const uint64_t *among, size_t rows)
{
	for (size_t w = 0; w * 64 < rows; w++) {
		uint64_t word = (bits ? bits[w] : ~UINT64_C(0)) & (among ? among[w] : ~UINT64_C(0));
		if (rows - w * 64 < 64) word &= (UINT64_C(1) << (rows - w * 64)) - 1;
		memcpy(to + 8 * w, &word, 8);
	}
}

int dpi_result_add(struct dpi_result *t, const struct dpi_expr_type *type, const struct dpi_register *from, size_t first,
		   size_t rows)
{
	if (from->valid && !t->nulls) memset(t->valid, 255, first / 8);
	t->nulls |= from->valid != NULL;
	if (t->nulls) add_bits(t->valid + first / 8, from->valid, NULL, rows);
	if (variable(type->type)) return add_text(t, from, first, rows);
	if (type->type == DPI_TYPE_FIXED) return add_fixed(t, type->width, from, first, rows);
	if (type->type == DPI_TYPE_BOOL) add_bits(t->data + first / 8, from->data, from->valid, rows);
	else add_values(t, width_of(type), from, first, rows);
	return DPI_SUCCESS;
}

void dpi_result_lend(const struct dpi_result *t, const struct dpi_expr_type *type, struct dpi_vector *out)
{
	*out = (struct dpi_vector){
		.type = type->type, .scale = type->scale, .data = t->data, .valid = t->nulls ? t->valid : NULL
	};
	if (variable(type->type)) out->offset = t->offset;
	else if (type->type != DPI_TYPE_BOOL) out->width = (uint32_t)width_of(type);
}

void dpi_result_free(struct dpi_result *t)
{
	free(t->data);
	free(t->valid);
	free(t->offset);
}
