/* SPDX-License-Identifier: Apache-2.0
 * finish.c: results out of states; here a sum is judged to fit its column, or not. */
#include <math.h>
#include <stdlib.h>

#include "accumulate.h"
#include "error.h"
#include "table.h"
#include "wide.h"

/* A sum in three words, of the sign that is said, as it is divided. */
struct magnitude {
	uint64_t word[3]; /* lowest first */
	bool negative;
};

static struct magnitude magnitude_of(dpi_u128 low, int64_t high)
{
	struct magnitude m = { { (uint64_t)low, (uint64_t)(low >> 64), (uint64_t)high }, high < 0 };
	uint64_t borrow = 1;
	for (int i = 0; i < 3 && m.negative; i++) {
		m.word[i] = ~m.word[i] + borrow;
		borrow = borrow && !m.word[i];
	}
	return m;
}

/* m becomes m / by; the remainder is returned. */
static uint64_t divide(struct magnitude *m, uint64_t by)
{
	dpi_u128 rest = 0;
	for (int i = 2; i >= 0; i--) {
		rest = rest << 64 | m->word[i];
		m->word[i] = (uint64_t)(rest / by);
		rest %= by;
	}
	return (uint64_t)rest;
}

static int no_fit(const struct dpi_aggregate *a, const char *type, const char *remedy)
{
	return dpi_fail(DPI_ERR_RANGE, "the %s in \"%s\" does not fit %s: %s",
			a->function == DPI_AGGREGATE_AVG ? "average" : "sum", a->name, type, remedy);
}

static bool is_decimal_128(dpi_i128 v)
{
	return v < dpi_pow10(DPI_DIGITS_128) && v > -dpi_pow10(DPI_DIGITS_128);
}

static int finish_sum(const struct dpi_aggregate *a, int type, dpi_u128 low, int64_t high, uint8_t *to)
{
	bool wide = high != dpi_sign_128(low);
	if (type == DPI_TYPE_INT64) {
		if (wide || (dpi_u128)(dpi_i128)(int64_t)low != low)
			return no_fit(a, "INT64", "cast its column to a decimal, whose sums have 38 digits");
		memcpy(to, &low, 8);
	} else if (type == DPI_TYPE_UINT64) {
		if (wide || low >> 64) return no_fit(a, "UINT64", "cast its column to a decimal, whose sums have 38 digits");
		memcpy(to, &low, 8);
	} else {
		if (wide || !is_decimal_128((dpi_i128)low))
			return no_fit(a, "38 digits", "cast its column to a double, or to a smaller scale");
		memcpy(to, &low, 16);
	}
	return DPI_SUCCESS;
}

/* A quotient with more digits behind the point than the sum has, the last one rounded, halves away from zero. */
static int finish_decimal_avg(const struct dpi_aggregate *a, dpi_u128 low, int64_t high, uint64_t count, uint8_t *to)
{
	struct magnitude m = magnitude_of(low, high);
	uint64_t rest = divide(&m, count);
	dpi_u128 q = (dpi_u128)m.word[1] << 64 | m.word[0], most = (dpi_u128)dpi_pow10(DPI_DIGITS_128);
	bool fits = !m.word[2] && q < most;
	for (int s = a->scale; s < dpi_avg_scale(a->scale) && fits; s++) {
		dpi_u128 next = (dpi_u128)rest * 10;
		fits = q < most / 10;
		q = q * 10 + next / count;
		rest = (uint64_t)(next % count);
	}
	if (rest >= count - rest) q++;
	if (!fits || q >= most) return no_fit(a, "38 digits", "cast its column to a double");
	if (m.negative) q = 0 - q;
	memcpy(to, &q, 16);
	return DPI_SUCCESS;
}

/* *null: the result is NULL. to: 16 bytes. */
static int finish_numbers(struct dpi_table *t, const struct dpi_aggregate *a, const struct dpi_column *o,
			  const uint8_t *entry, uint8_t *to, bool *null)
{
	const struct dpi_column *c = t->r->state->column + a->state;
	bool carries = a->type == DPI_TYPE_DECIMAL128, avg = a->function == DPI_AGGREGATE_AVG;
	dpi_u128 low = 0;
	int64_t count = 0, high;
	double sum = 0;
	if (c->type == DPI_TYPE_DOUBLE) memcpy(&sum, entry + c->offset, sizeof sum);
	else memcpy(&low, entry + c->offset, sizeof low);
	high = dpi_sign_128(low);
	if (carries) memcpy(&high, entry + c[1].offset, sizeof high);
	if (avg) memcpy(&count, entry + c[1 + carries].offset, sizeof count);
	*null = avg ? !count : dpi_row_null(entry, c);
	if (*null) return DPI_SUCCESS;
	if (count < 0) return dpi_fail(DPI_ERR_RANGE, "the count in \"%s\" does not fit INT64", a->name);
	if (o->type == DPI_TYPE_DOUBLE) {
		if (c->type != DPI_TYPE_DOUBLE) sum = (double)(dpi_i128)low;
		if (avg) sum /= (double)count;
		memcpy(to, &sum, sizeof sum);
		return DPI_SUCCESS;
	}
	return avg ? finish_decimal_avg(a, low, high, (uint64_t)count, to) : finish_sum(a, o->type, low, high, to);
}

/* ------------------------------------------------------------------------------------------------------ rows of output */

static int reserve(struct dpi_table *t, size_t bytes)
{
	if (bytes <= t->out_room) return DPI_SUCCESS;
	size_t room = bytes + bytes / 2;
	uint8_t *out = bytes > DPI_ROW_MAX ? NULL : realloc(t->out, room);
	if (!out)
		return dpi_fail(bytes > DPI_ROW_MAX ? DPI_ERR_SIZE : DPI_ERR_MEMORY, "no room for a result of %zu bytes",
				bytes);
	t->out = out;
	t->out_room = room;
	return DPI_SUCCESS;
}

/* Append bytes of a variable value to the row that is at t->out; size: of the row so far. */
static int append(struct dpi_table *t, const struct dpi_column *o, const void *data, size_t bytes, size_t *size)
{
	int error = reserve(t, *size + bytes);
	if (error) return error;
	uint32_t place[2] = { (uint32_t)*size, (uint32_t)bytes };
	memcpy(t->out + o->offset, place, sizeof place);
	if (bytes) memcpy(t->out + *size, data, bytes);
	*size += bytes;
	return DPI_SUCCESS;
}

static int finish_top(struct dpi_table *t, const struct dpi_aggregate *a, const struct dpi_column *o, const uint8_t *entry,
		      size_t *size)
{
	const struct dpi_column *c = t->r->state->column + a->state;
	if (a->varies) {
		size_t at = *size, bytes = dpi_top_values(t, a, entry, NULL);
		int error = bytes > DPI_ROW_MAX ? reserve(t, bytes) : append(t, o, NULL, 0, size);
		if (!error) error = reserve(t, at + bytes);
		if (error) return error;
		dpi_top_values(t, a, entry, t->out + at);
		memcpy(t->out + o->offset + 4, &(uint32_t){ (uint32_t)bytes }, 4);
		*size += bytes;
		return DPI_SUCCESS;
	}
	struct dpi_topk *copy = (struct dpi_topk *)(void *)t->scratch;
	memcpy(copy, entry + c->offset, c->width);
	dpi_topk_sort(copy);
	size_t width = copy->payload, bytes = copy->used * width, at = *size;
	int error = append(t, o, NULL, 0, size);
	if (!error) error = reserve(t, at + bytes);
	for (uint32_t i = 0; i < copy->used && !error; i++) {
		const void *payload;
		dpi_topk_get(copy, i, &payload);
		memcpy(t->out + at + i * width, payload, width);
	}
	if (error) return error;
	uint32_t n = (uint32_t)bytes;
	memcpy(t->out + o->offset + 4, &n, sizeof n);
	*size += bytes;
	return DPI_SUCCESS;
}

static int finish_value(struct dpi_table *t, const struct dpi_column *c, const struct dpi_column *o, const uint8_t *entry,
			size_t *size)
{
	uint32_t bytes;
	const uint8_t *value = dpi_value_of(t, entry, c, &bytes);
	return append(t, o, value, bytes, size);
}

int dpi_finish_partial(struct dpi_table *t, const uint8_t *entry, size_t bytes, uint8_t **row, size_t *size)
{
	int error = reserve(t, bytes);
	if (error) return error;
	memcpy(t->out, entry, bytes);
	*size = bytes;
	for (uint32_t k = 0; k < t->r->count && !error; k++) {
		const struct dpi_aggregate *a = t->r->aggregate + k;
		const struct dpi_column *c = t->r->state->column + a->state;
		if (a->varies && !dpi_row_null(entry, c)) error = finish_value(t, c, c, entry, size);
	}
	*row = t->out;
	return error;
}

static int finish_reducer(struct dpi_table *t, uint32_t k, const struct dpi_column *o, const uint8_t *entry, size_t *size)
{
	const DPI_Reducer *u = t->reducer + k;
	const struct dpi_column *c = t->r->state->column + t->r->aggregate[k].state;
	DPI_Value v = { 0 };
	int error = u->finalise(entry + c->offset, u->arg, &v);
	if (error) return dpi_reducer_failed(t->r->aggregate + k, "finalise", error);
	if (v.type == DPI_TYPE_NULL && o->nullable) {
		t->out[o->null_at] |= o->null_mask;
		return DPI_SUCCESS;
	}
	if (v.type != o->type || ((o->variable || o->type == DPI_TYPE_FIXED) && v.size && !v.data) ||
	    (o->type == DPI_TYPE_FIXED && v.size != o->width))
		return dpi_fail(DPI_ERR_ARGUMENT,
				"the reducer \"%s\" yields a value of type %d with %u bytes, and its result is of type %d",
				t->r->aggregate[k].reducer, v.type, v.size, o->type);
	if (o->variable) return append(t, o, v.data, v.size, size);
	if (o->type == DPI_TYPE_BOOL) v.i = v.i != 0;
	float f = (float)v.d;
	const void *from = o->type == DPI_TYPE_FIXED   ? v.data
			   : o->type == DPI_TYPE_FLOAT ? (const void *)&f
						       : (const void *)v.w;
	memcpy(t->out + o->offset, from, o->width);
	return DPI_SUCCESS;
}

static int finish_distinct(struct dpi_table *t, const struct dpi_aggregate *a, const uint8_t *state, uint8_t *to)
{
	if (!t->hll || t->hll->precision != a->precision) {
		dpi_hll_free(t->hll);
		t->hll = NULL;
		int error = dpi_hll_new(a->precision, &t->hll);
		if (error) return error;
	}
	memcpy(t->hll->rank, state, (size_t)1 << a->precision);
	double estimate = dpi_hll_estimate(t->hll);
	int64_t count = estimate < 9e18 ? (int64_t)(estimate + 0.5) : INT64_MAX;
	memcpy(to, &count, sizeof count);
	return DPI_SUCCESS;
}

static int finish_aggregate(struct dpi_table *t, uint32_t k, const uint8_t *entry, size_t *size)
{
	const struct dpi_aggregate *a = t->r->aggregate + k;
	const struct dpi_column *c = t->r->state->column + a->state, *o = t->r->output->column + t->r->key_count + k;
	uint8_t *to = t->out + o->offset;
	bool null = false;
	int error = DPI_SUCCESS;
	switch (a->function) {
	case DPI_AGGREGATE_COUNT_ALL:
	case DPI_AGGREGATE_COUNT:
		memcpy(to, entry + c->offset, 8);
		if (to[7] & 0x80) error = dpi_fail(DPI_ERR_RANGE, "the count in \"%s\" does not fit INT64", a->name);
		break;
	case DPI_AGGREGATE_SUM:
	case DPI_AGGREGATE_AVG: error = finish_numbers(t, a, o, entry, to, &null); break;
	case DPI_AGGREGATE_MIN:
	case DPI_AGGREGATE_MAX:
	case DPI_AGGREGATE_FIRST:
		null = dpi_row_null(entry, c);
		if (!null && c->variable) return finish_value(t, c, o, entry, size);
		if (!null) memcpy(to, entry + c->offset, c->width);
		break;
	case DPI_AGGREGATE_TOP_K: return finish_top(t, a, o, entry, size);
	case DPI_AGGREGATE_COUNT_DISTINCT: error = finish_distinct(t, a, entry + c->offset, to); break;
	case DPI_AGGREGATE_REDUCER: return finish_reducer(t, k, o, entry, size);
	}
	if (null) t->out[o->null_at] |= o->null_mask;
	return error;
}

int dpi_finish_row(struct dpi_table *t, const uint8_t *entry, uint8_t **row, size_t *size)
{
	const struct dpi_schema *o = t->r->output, *s = t->r->state;
	uint32_t tail = 0, place[2];
	*size = o->row_size;
	int error = reserve(t, *size);
	if (error) return error;
	memset(t->out, 0, *size);
	memcpy(t->out, entry, t->key_bytes);
	for (uint32_t k = 0; k < t->r->key_count; k++) {
		bool null = dpi_row_null(entry, s->column + k);
		if (null) t->out[o->column[k].null_at] |= o->column[k].null_mask;
		if (null || !s->column[k].variable) continue;
		memcpy(place, entry + s->column[k].offset, sizeof place);
		error = append(t, o->column + k, entry + s->row_size + tail, place[1], size);
		if (error) return error;
		tail += place[1];
	}
	for (uint32_t k = 0; k < t->r->count && !error; k++) error = finish_aggregate(t, k, entry, size);
	*row = t->out;
	return error;
}
