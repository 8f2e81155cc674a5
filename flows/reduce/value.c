/* SPDX-License-Identifier: Apache-2.0
 * value.c: one value of a column; states before their first value. */
#include "accumulate.h"
#include "table.h"
#include "wide.h"

#define LOAD(type, from) __extension__({ type loaded; memcpy(&loaded, (from), sizeof loaded); loaded; })

DPI_Value dpi_value_at(const struct dpi_strided *s, size_t i)
{
	const uint8_t *p = (const uint8_t *)s->data + i * s->stride;
	DPI_Value v = { .type = s->type };
	if (dpi_strided_is_null(s, i)) return (DPI_Value){ .type = DPI_TYPE_NULL };
	switch (s->type) {
	case DPI_TYPE_BOOL: v.i = dpi_bool_at(s, i); break;
	case DPI_TYPE_INT8: v.i = (int8_t)*p; break;
	case DPI_TYPE_INT16: v.i = LOAD(int16_t, p); break;
	case DPI_TYPE_INT32:
	case DPI_TYPE_DATE32: v.i = LOAD(int32_t, p); break;
	case DPI_TYPE_INT64:
	case DPI_TYPE_DECIMAL64: v.i = LOAD(int64_t, p); break;
	case DPI_TYPE_UINT8: v.u = *p; break;
	case DPI_TYPE_UINT16: v.u = LOAD(uint16_t, p); break;
	case DPI_TYPE_UINT32: v.u = LOAD(uint32_t, p); break;
	case DPI_TYPE_UINT64: v.u = LOAD(uint64_t, p); break;
	case DPI_TYPE_FLOAT: v.d = (double)LOAD(float, p); break;
	case DPI_TYPE_DOUBLE: v.d = LOAD(double, p); break;
	case DPI_TYPE_DECIMAL128: memcpy(v.w, p, 16); break;
	case DPI_TYPE_FIXED: v.data = p, v.size = s->width; break;
	default:
		v.data = (const uint8_t *)s->data + s->offset[i];
		v.size = (uint32_t)(s->offset[i + 1] - s->offset[i]);
	}
	return v;
}

/* The value that any other is better than, or as good: so no state need know whether it has one. */
static void worst(const struct dpi_column *c, bool least, uint8_t *to)
{
	bool is_signed = (c->type >= DPI_TYPE_INT8 && c->type <= DPI_TYPE_INT64) || c->type == DPI_TYPE_DATE32 ||
			 c->type == DPI_TYPE_DECIMAL64 || c->type == DPI_TYPE_DECIMAL128;
	if (c->type == DPI_TYPE_FLOAT) {
		float x = least ? __builtin_nanf("") : -__builtin_inff();
		memcpy(to, &x, sizeof x);
	} else if (c->type == DPI_TYPE_DOUBLE) {
		double x = least ? __builtin_nan("") : -__builtin_inf();
		memcpy(to, &x, sizeof x);
	} else if (c->type == DPI_TYPE_BOOL) {
		*to = least;
	} else {
		memset(to, least ? 0xff : 0, c->width);
		if (is_signed) to[c->width - 1] ^= 0x80;
	}
}

void dpi_blank_state(const struct dpi_reduction *r, const struct dpi_aggregate *a, uint8_t *row)
{
	const struct dpi_column *c = r->state->column + a->state;
	uint32_t width;
	if (c->null_mask) row[c->null_at] |= c->null_mask;
	switch (a->function) {
	case DPI_AGGREGATE_MIN:
	case DPI_AGGREGATE_MAX:
		if (!a->varies) worst(c, a->function == DPI_AGGREGATE_MIN, row + c->offset);
		break;
	case DPI_AGGREGATE_TOP_K:
		if (a->varies) break;
		width = r->input->column[a->column].width;
		dpi_topk_init((struct dpi_topk *)(void *)(row + c->offset), a->k, width);
		break;
	}
}
