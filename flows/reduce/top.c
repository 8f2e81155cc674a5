/* SPDX-License-Identifier: Apache-2.0
 * top.c: a top k in which values vary, or which bytes order, or decimals of 128 bits: a state of its own size. Records from the best to the worst, each at a
 * multiple of 8: what orders, as bytes that compare as it does, and the value. */
#include <string.h>

#include "accumulate.h"
#include "error.h"
#include "table.h"

struct head {
	uint32_t used;
	uint32_t worst; /* where the last record begins */
	uint64_t sequence; /* of the next one added */
};
_Static_assert(sizeof(struct head) == DPI_TOP_HEAD, "as it travels");

struct record {
	uint64_t sequence;
	uint32_t order, payload; /* bytes */
};

struct item {
	struct record r;
	const uint8_t *order, *payload;
};

static size_t bytes_of(const struct record *r)
{
	return sizeof *r + dpi_words8((size_t)r->order + r->payload);
}

static struct item item_at(const uint8_t *p)
{
	struct item x;
	memcpy(&x.r, p, sizeof x.r);
	x.order = p + sizeof x.r;
	x.payload = x.order + x.r.order;
	return x;
}

/* Does x come before y in the result? */
static bool above(const struct dpi_aggregate *a, const struct item *x, const struct item *y)
{
	uint32_t least = x->r.order < y->r.order ? x->r.order : y->r.order;
	int order = least ? memcmp(x->order, y->order, least) : 0;
	if (!order) order = (x->r.order > y->r.order) - (x->r.order < y->r.order);
	if (!order) return x->r.sequence < y->r.sequence;
	return a->ascending ? order < 0 : order > 0;
}

static struct head head_of(const uint8_t *state, uint32_t size)
{
	struct head h = { 0, 0, 0 };
	if (size) memcpy(&h, state, sizeof h);
	return h;
}

static void add(struct dpi_table *t, const struct dpi_aggregate *a, uint8_t *entry, const struct item *x, uint64_t next)
{
	const struct dpi_column *c = t->r->state->column + a->state;
	uint32_t size, last = 0;
	const uint8_t *state = dpi_value_of(t, entry, c, &size);
	struct head h = head_of(state, size);
	struct item y;
	bool full = h.used == a->k;
	h.sequence = next;
	if (full) {
		y = item_at(state + h.worst);
		if (!above(a, x, &y)) {
			memcpy(dpi_value_resize(t, entry, c, size, size), &h, sizeof h);
			return;
		}
	}
	size_t end = full ? h.worst : size ? size : sizeof h, at = sizeof h, more = bytes_of(&x->r);
	for (; at < end; at += bytes_of(&y.r)) {
		y = item_at(state + at);
		if (above(a, x, &y)) break;
	}
	for (size_t i = at; i < end; i += bytes_of(&y.r)) y = item_at(state + i), last = (uint32_t)i;
	uint8_t *to = dpi_value_resize(t, entry, c, (uint32_t)(end + more), end + more);
	memmove(to + at + more, to + at, end - at);
	memset(to + at + more - 8, 0, 8); /* behind the bytes */
	memcpy(to + at, &x->r, sizeof x->r);
	if (x->r.order) memcpy(to + at + sizeof x->r, x->order, x->r.order);
	if (x->r.payload) memcpy(to + at + sizeof x->r + x->r.order, x->payload, x->r.payload);
	h.used += !full;
	h.worst = (uint32_t)(at == end ? at : last + more);
	memcpy(to, &h, sizeof h);
}

/* ------------------------------------------------------------------------------------------------------------ taking in */

static const uint8_t *bytes_at(const struct dpi_strided *s, size_t i, uint32_t *size)
{
	if (s->offset) {
		*size = (uint32_t)(s->offset[i + 1] - s->offset[i]);
		return (const uint8_t *)s->data + s->offset[i];
	}
	*size = s->type == DPI_TYPE_BOOL ? 1 : s->width;
	return (const uint8_t *)s->data + i * s->stride;
}

/* Bytes that compare as the values of a column that are not bytes themselves. */
static uint32_t order_bytes(int type)
{
	return type == DPI_TYPE_DECIMAL128 ? 16 : 8;
}

static const uint8_t *order_at(const struct dpi_strided *by, size_t i, uint64_t word[static 2], uint32_t *size)
{
	if (by->type >= DPI_TYPE_FIXED) return bytes_at(by, i, size);
	*size = order_bytes(by->type);
	if (by->type == DPI_TYPE_DECIMAL128) {
		DPI_Value v = dpi_value_at(by, i);
		word[0] = __builtin_bswap64(v.w[1] ^ UINT64_C(1) << 63), word[1] = __builtin_bswap64(v.w[0]);
	} else {
		word[0] = __builtin_bswap64((uint64_t)dpi_order_word(by, i) ^ UINT64_C(1) << 63);
	}
	return (const uint8_t *)word;
}

size_t dpi_top_record_bytes(const struct dpi_aggregate *a, const struct dpi_feed *f, size_t i)
{
	const struct dpi_strided *from = f->column + a->column, *by = a->by < 0 ? from : f->column + a->by;
	struct record r;
	bytes_at(from, i, &r.payload), bytes_at(by, i, &r.order);
	if (by->type < DPI_TYPE_FIXED) r.order = order_bytes(by->type);
	return bytes_of(&r);
}

void dpi_top_take(struct dpi_table *t, const struct dpi_aggregate *a, const struct dpi_feed *f, size_t first, size_t n,
		  uint8_t *const *entry)
{
	const struct dpi_column *c = t->r->state->column + a->state;
	const struct dpi_strided *from = f->column + a->column, *by = a->by < 0 ? from : f->column + a->by;
	for (size_t i = 0; i < n; i++) {
		struct item x;
		uint64_t word[2];
		uint32_t size;
		uint8_t b;
		if (dpi_strided_is_null(from, first + i) || dpi_strided_is_null(by, first + i)) continue;
		x.payload = bytes_at(from, first + i, &x.r.payload);
		if (from->type == DPI_TYPE_BOOL) b = dpi_bool_at(from, first + i), x.payload = &b;
		x.order = order_at(by, first + i, word, &x.r.order);
		const uint8_t *state = dpi_value_of(t, entry[i], c, &size);
		x.r.sequence = head_of(state, size).sequence;
		add(t, a, entry[i], &x, x.r.sequence + 1);
	}
}

/* Is a state from elsewhere one? */
static bool is_state(const struct dpi_table *t, const struct dpi_aggregate *a, const uint8_t *state, uint32_t size)
{
	const struct dpi_column *c = t->r->input->column + a->column, *by = a->by < 0 ? c : t->r->input->column + a->by;
	uint32_t at = DPI_TOP_HEAD, last = 0, used = 0;
	if (!size) return true;
	if (size < DPI_TOP_HEAD || size % 8) return false;
	struct head h = head_of(state, size);
	for (; at < size && used <= a->k; used++) {
		struct record r;
		if (size - at < sizeof r) return false;
		memcpy(&r, state + at, sizeof r);
		if (r.order > size - at || r.payload > size - at || bytes_of(&r) > size - at) return false;
		if (!c->variable && r.payload != c->width) return false;
		if (!by->variable && r.order != (by->type == DPI_TYPE_FIXED ? by->width : order_bytes(by->type))) return false;
		last = at;
		at += (uint32_t)bytes_of(&r);
	}
	return used == h.used && used <= a->k && last == h.worst;
}

bool dpi_top_merge(struct dpi_table *t, const struct dpi_aggregate *a, const struct dpi_strided *from, size_t first, size_t n,
		   uint8_t *const *entry)
{
	const struct dpi_column *c = t->r->state->column + a->state;
	for (size_t i = 0; i < n; i++) {
		uint32_t size, own;
		const uint8_t *state = bytes_at(from, first + i, &size);
		if (!is_state(t, a, state, size)) return false;
		if (!size) continue;
		const uint8_t *to = dpi_value_of(t, entry[i], c, &own);
		uint64_t base = head_of(to, own).sequence, end = base + head_of(state, size).sequence;
		dpi_value_resize(t, entry[i], c, own, (size_t)own + size); /* at once, as it was reserved */
		for (size_t at = DPI_TOP_HEAD; at < size;) {
			struct item x = item_at(state + at);
			at += bytes_of(&x.r);
			x.r.sequence += base;
			add(t, a, entry[i], &x, end);
		}
	}
	return true;
}

/* --------------------------------------------------------------------------------------------------------------- result */

size_t dpi_top_values(const struct dpi_table *t, const struct dpi_aggregate *a, const uint8_t *entry, uint8_t *to)
{
	uint32_t size;
	const uint8_t *state = dpi_value_of(t, entry, t->r->state->column + a->state, &size);
	bool variable = t->r->input->column[a->column].variable;
	size_t bytes = 0;
	for (size_t at = DPI_TOP_HEAD; at < size;) {
		struct item x = item_at(state + at);
		at += bytes_of(&x.r);
		if (variable && to) memcpy(to + bytes, &x.r.payload, 4);
		bytes += variable ? 4 : 0;
		if (x.r.payload && to) memcpy(to + bytes, x.payload, x.r.payload);
		bytes += x.r.payload;
	}
	return bytes;
}
