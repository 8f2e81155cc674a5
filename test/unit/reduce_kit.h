/* SPDX-License-Identifier: Apache-2.0
 * reduce_kit.h: reductions at random over rows at random, and a simple model of what must come out: the rows of each key in
 * the order they came, and each aggregate computed from them by itself. */
#ifndef REDUCE_KIT_H
#define REDUCE_KIT_H

#include "schema_kit.h"

#include <math.h>

#include "flows/reduce/reduce.h"
#include "flows/row_batch.h"
#include "flows/sketch.h"
#include "flows/move/hash.h"

__extension__ typedef __int128 wide;

#define KIT_COLUMNS 24
#define KIT_AGGREGATES 12

/* ---------------------------------------------------------------------------------------------------- registered ones */

/* A number that depends on every value and on their order: h = h * 31 + value + 7 * second. */
struct poly {
	uint64_t h, power;
};

static inline uint64_t poly_word(const DPI_Value *v)
{
	if (v->type == DPI_TYPE_NULL) return 3;
	if (v->type >= DPI_TYPE_FIXED) return v->size;
	if (v->type == DPI_TYPE_FLOAT || v->type == DPI_TYPE_DOUBLE)
		return v->d == v->d && fabs(v->d) < 1e9 ? (uint64_t)(int64_t)v->d : 1;
	return v->type == DPI_TYPE_DECIMAL128 ? v->w[0] : v->u;
}

static inline int poly_init(void *state, void *arg)
{
	((struct poly *)state)->power = *(const uint64_t *)arg;
	return DPI_SUCCESS;
}

static inline int poly_accumulate(void *state, const DPI_Value *v, void *arg)
{
	struct poly *p = state;
	(void)arg;
	p->h = p->h * 31 + poly_word(v) + 7 * poly_word(v + 1);
	p->power *= 31;
	return DPI_SUCCESS;
}

static inline int poly_merge(void *state, const void *from, void *arg)
{
	struct poly *p = state;
	const struct poly *q = from;
	(void)arg;
	p->h = p->h * q->power + q->h;
	p->power *= q->power;
	return DPI_SUCCESS;
}

static inline int poly_finalise(const void *state, void *arg, DPI_Value *result)
{
	(void)arg;
	result->type = DPI_TYPE_UINT64;
	result->u = ((const struct poly *)state)->h;
	return DPI_SUCCESS;
}

static uint64_t poly_one = 1;

static inline void register_polys(void)
{
	DPI_Reducer r = DPI_REDUCER_INIT;
	r.state = sizeof(struct poly);
	r.result.type = DPI_TYPE_UINT64;
	r.init = poly_init, r.accumulate = poly_accumulate, r.merge = poly_merge, r.finalise = poly_finalise;
	r.arg = &poly_one;
	CHECK_OK(dpi_reducer_register("poly", 1, &r));
	r.merge = NULL;
	CHECK_OK(dpi_reducer_register("poly", 2, &r)); /* the same, at the target only */
}

/* ------------------------------------------------------------------------------------------------------- random cases */

struct kit {
	struct dpi_schema *schema;
	size_t keys; /* the first columns, in an order of their own */
	uint16_t key[DPI_KEYS_MAX];
	size_t aggregates;
	DPI_Aggregate aggregate[KIT_AGGREGATES];
	char name[KIT_AGGREGATES][24];
	struct dpi_reduction *r;
	size_t rows;
	DPI_Value (*value)[KIT_COLUMNS];
	DPI_Record *row;
};

static const char kit_text[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";

/* distinct: about so many different values. */
static inline DPI_Value kit_value(struct draws *d, const struct dpi_column *c, uint64_t distinct)
{
	DPI_Value v = { .type = c->type };
	int64_t n = (int64_t)draw_below(d, distinct) - (int64_t)(distinct / 2);
	if (c->nullable && draw_below(d, 6) == 0) return (DPI_Value){ 0 };
	switch (c->type) {
	case DPI_TYPE_BOOL: v.i = n & 1; break;
	case DPI_TYPE_INT8: v.i = n % 100; break;
	case DPI_TYPE_UINT8: v.u = (uint64_t)n & 127; break;
	case DPI_TYPE_INT16: v.i = n % 30000; break;
	case DPI_TYPE_UINT16: v.u = (uint64_t)n & 0xffff; break;
	case DPI_TYPE_UINT32: v.u = (uint64_t)n & 0xffffffff; break;
	case DPI_TYPE_UINT64: v.u = (uint64_t)n & 0xffffffffff; break;
	case DPI_TYPE_FLOAT:
	case DPI_TYPE_DOUBLE: /* eighths: their sums have no rounding */
		v.d = draw_below(d, 40) == 0 ? (draw_below(d, 2) ? -0.0 : 0.0) : (double)(n % 4000) / 8;
		if (draw_below(d, 80) == 0) v.d = (double)NAN;
		break;
	case DPI_TYPE_DECIMAL128:
		if (draw_below(d, 2)) v.w[0] = (uint64_t)n, v.w[1] = (uint64_t)(n >> 63);
		else v.w[0] = draw(d), v.w[1] = (uint64_t)(n % 500); /* wider than 64 bits; its sums and averages are not too wide */
		break;
	case DPI_TYPE_FIXED:
		v.size = c->width;
		v.data = kit_text + (uint64_t)n % 26;
		break;
	case DPI_TYPE_BINARY:
	case DPI_TYPE_UTF8:
		v.size = (uint32_t)((uint64_t)n / 26 % 20);
		v.data = kit_text + (uint64_t)n % 26;
		break;
	default: v.i = n;
	}
	return v;
}

static inline bool summable(int type)
{
	return type != DPI_TYPE_BOOL && type != DPI_TYPE_DATE32 && type < DPI_TYPE_FIXED;
}

/* An aggregate that fits some column of s; merges: only one that does. */
static inline DPI_Aggregate kit_aggregate(struct draws *d, const struct dpi_schema *s, bool merges)
{
	for (;;) {
		const struct dpi_column *c = s->column + draw_below(d, s->columns),
					*by = s->column + draw_below(d, s->columns);
		DPI_Aggregate a = { .function = (int)draw_below(d, 10), .column = c->name };
		switch (a.function) {
		case DPI_AGGREGATE_COUNT_ALL: a.column = NULL; return a;
		case DPI_AGGREGATE_COUNT: return a;
		case DPI_AGGREGATE_SUM:
		case DPI_AGGREGATE_AVG:
			if (summable(c->type)) return a;
			break;
		case DPI_AGGREGATE_MIN:
		case DPI_AGGREGATE_MAX:
		case DPI_AGGREGATE_FIRST:
			return a;
		case DPI_AGGREGATE_TOP_K:
			a.by = by->name, a.k = 1 + (uint32_t)draw_below(d, 6), a.ascending = (int)draw_below(d, 2);
			return a;
		case DPI_AGGREGATE_COUNT_DISTINCT: a.precision = 4 + (uint32_t)draw_below(d, 5); return a;
		case DPI_AGGREGATE_REDUCER:
			a.reducer = "poly", a.version = merges ? 1 : 1 + (uint32_t)draw_below(d, 2);
			if (draw_below(d, 2)) a.by = by->name;
			if (draw_below(d, 3) == 0) a.column = NULL;
			return a;
		}
	}
}

enum { KIT_MERGES = 1, KIT_NUMBER_KEY = 2, KIT_LONG = 4 };

/* Of up to 2 KB where it varies; most are short. */
static inline void lengthen(struct draws *d, DPI_Value *v)
{
	static char text[8192];
	while (!*text)
		for (size_t i = sizeof text; i--;) text[i] = (char)('a' + draw_below(d, 4));
	if (v->type != DPI_TYPE_BINARY && v->type != DPI_TYPE_UTF8) return;
	v->size = (uint32_t)draw_below(d, UINT64_C(1) << draw_below(d, 12));
	v->data = text + draw_below(d, 4096);
}


static inline struct kit kit_new(struct draws *d, size_t rows, uint64_t distinct, int how)
{
	static char names[KIT_COLUMNS][8];
	struct kit k = { .rows = rows };
	DPI_Column c[KIT_COLUMNS];
	size_t columns = 3 + draw_below(d, KIT_COLUMNS - 3);
	int widest = draw_below(d, 2) ? DPI_TYPE_UTF8 : DPI_TYPE_FIXED;
	if (how & KIT_LONG) widest = DPI_TYPE_UTF8;
	for (size_t i = 0; i < columns; i++) {
		int type = how & KIT_LONG && i % 2 ? DPI_TYPE_BINARY + (int)draw_below(d, 2) : 1 + (int)draw_below(d, (uint64_t)widest);
		snprintf(names[i], sizeof names[i], "c%zu", i);
		c[i] = (DPI_Column){ .name = names[i], .type = type, .nullable = (int)draw_below(d, 2) };
		if (type == DPI_TYPE_FIXED) c[i].width = 1 + (uint32_t)draw_below(d, 20);
		if (type == DPI_TYPE_DECIMAL64 || type == DPI_TYPE_DECIMAL128) c[i].scale = (int)draw_below(d, 9);
	}
	k.keys = draw_below(d, 4);
	if (how & KIT_NUMBER_KEY) {
		static const int types[] = { DPI_TYPE_INT64,  DPI_TYPE_INT32,  DPI_TYPE_UINT32,
					     DPI_TYPE_UINT64, DPI_TYPE_DATE32, DPI_TYPE_DECIMAL64 };
		k.keys = 1;
		c[0].type = types[draw_below(d, COUNT(types))], c[0].nullable = 0, c[0].width = 0;
		c[0].scale = c[0].type == DPI_TYPE_DECIMAL64 ? 2 : 0;
	}
	if (k.keys > columns) k.keys = columns;
	for (size_t i = 0; i < k.keys; i++) k.key[i] = (uint16_t)(k.keys - 1 - i);
	k.schema = schema_of(c, columns);
	k.aggregates = draw_below(d, KIT_AGGREGATES + 1) + !k.keys;
	if (k.aggregates > KIT_AGGREGATES) k.aggregates = KIT_AGGREGATES;
	for (size_t i = 0; i < k.aggregates; i++) {
		k.aggregate[i] = kit_aggregate(d, k.schema, how & KIT_MERGES);
		snprintf(k.name[i], sizeof k.name[i], "a%zu", i);
		k.aggregate[i].name = k.name[i];
	}
	/* the names are copied, so that k may move */
	CHECK_OK(dpi_reduction_new(k.schema, k.key, k.keys, k.aggregates ? k.aggregate : NULL, k.aggregates, &k.r));
	k.value = calloc(rows + 1, sizeof *k.value);
	k.row = calloc(rows + 1, sizeof *k.row);
	for (size_t i = 0; i < rows; i++) {
		size_t size;
		for (size_t x = 0; x < columns; x++) {
			k.value[i][x] = kit_value(d, k.schema->column + x,
						  x < k.keys ? (k.keys > 1 ? distinct / 4 + 2 : distinct) : 1000);
			if (how & KIT_LONG && x >= k.keys) lengthen(d, &k.value[i][x]);
		}
		dpi_row_pack(k.schema, k.value[i], NULL, 0, &size);
		uint8_t *row = malloc(size);
		CHECK_OK(dpi_row_pack(k.schema, k.value[i], row, size, &size));
		k.row[i] = (DPI_Record){ row, size };
	}
	return k;
}

static inline void kit_free(struct kit *k)
{
	for (size_t i = 0; i < k->rows; i++) free((void *)(uintptr_t)k->row[i].data);
	free(k->row), free(k->value);
	dpi_reduction_unref(k->r);
	dpi_schema_unref(k->schema);
}

/* --------------------------------------------------------------------------------------------------------------- model */

static inline bool same_value(const DPI_Value *a, const DPI_Value *b)
{
	if (a->type != b->type) return false;
	if (a->type == DPI_TYPE_NULL) return true;
	if (a->type == DPI_TYPE_FLOAT || a->type == DPI_TYPE_DOUBLE) return a->d == b->d || (a->d != a->d && b->d != b->d);
	if (a->type == DPI_TYPE_DECIMAL128) return a->w[0] == b->w[0] && a->w[1] == b->w[1];
	if (a->type < DPI_TYPE_FIXED) return a->u == b->u;
	return a->size == b->size && (!a->size || !memcmp(a->data, b->data, a->size));
}

/* Groups in the order their first rows came, each with its rows. */
struct model {
	size_t groups;
	size_t *first, *next, *last, *bucket, *chain; /* rows; next: of the same group */
	size_t buckets;
	size_t *of; /* group of each row */
	bool *seen;
};

static inline uint64_t key_word(const DPI_Value *v)
{
	uint64_t h = (uint64_t)v->type;
	if (v->type == DPI_TYPE_NULL) return 1;
	if (v->type == DPI_TYPE_FLOAT || v->type == DPI_TYPE_DOUBLE) return dpi_hash_double_word(v->d);
	if (v->type < DPI_TYPE_FIXED) return v->u;
	for (uint32_t i = 0; i < v->size; i++) h = h * 131 + ((const uint8_t *)v->data)[i];
	return h;
}

static inline bool same_keys(const struct kit *k, const DPI_Value *row, const DPI_Value *key)
{
	for (size_t i = 0; i < k->keys; i++)
		if (!same_value(row + k->key[i], key + i)) return false;
	return true;
}

/* key: values in the order of the key; SIZE_MAX: there is none. */
static inline size_t model_find(const struct model *m, const struct kit *k, const DPI_Value *key)
{
	uint64_t h = 0;
	for (size_t i = 0; i < k->keys; i++) h = dpi_hash_mix(h + key_word(key + i));
	size_t g = m->bucket[h % m->buckets];
	while (g != SIZE_MAX && !same_keys(k, k->value[m->first[g]], key)) g = m->chain[g];
	return g;
}

static inline struct model model_of(const struct kit *k)
{
	size_t n = k->rows + 1;
	struct model m = { .buckets = 2 * n };
	m.first = calloc(n, sizeof *m.first), m.next = calloc(n, sizeof *m.next), m.last = calloc(n, sizeof *m.last);
	m.chain = calloc(n, sizeof *m.chain), m.seen = calloc(n, sizeof *m.seen), m.of = calloc(n, sizeof *m.of);
	m.bucket = malloc(m.buckets * sizeof *m.bucket);
	memset(m.bucket, 0xff, m.buckets * sizeof *m.bucket);
	for (size_t i = 0; i < k->rows; i++) {
		DPI_Value key[KIT_COLUMNS];
		uint64_t h = 0;
		for (size_t x = 0; x < k->keys; x++)
			key[x] = k->value[i][k->key[x]], h = dpi_hash_mix(h + key_word(key + x));
		size_t g = model_find(&m, k, key);
		m.next[i] = SIZE_MAX;
		if (g == SIZE_MAX) {
			g = m.groups++;
			m.first[g] = i;
			m.chain[g] = m.bucket[h % m.buckets];
			m.bucket[h % m.buckets] = g;
		} else {
			m.next[m.last[g]] = i;
		}
		m.last[g] = i;
		m.of[i] = g;
	}
	return m;
}

static inline void model_free(struct model *m)
{
	free(m->first), free(m->next), free(m->last), free(m->chain), free(m->seen), free(m->of), free(m->bucket);
}

static inline wide wide_of(const DPI_Value *v)
{
	wide w;
	if (v->type == DPI_TYPE_DECIMAL128) return memcpy(&w, v->w, 16), w;
	return v->type >= DPI_TYPE_UINT8 && v->type <= DPI_TYPE_UINT64 ? (wide)v->u : (wide)v->i;
}

/* Below 0, 0, above 0. */
static inline int compare_values(const DPI_Value *a, const DPI_Value *b)
{
	if (a->type == DPI_TYPE_FLOAT || a->type == DPI_TYPE_DOUBLE) {
		if (a->d != a->d || b->d != b->d) return (a->d != a->d) - (b->d != b->d);
		return (a->d > b->d) - (a->d < b->d);
	}
	if (a->type >= DPI_TYPE_FIXED) {
		uint32_t both = a->size < b->size ? a->size : b->size;
		int order = both ? memcmp(a->data, b->data, both) : 0;
		return order ? order : (a->size > b->size) - (a->size < b->size);
	}
	wide x = wide_of(a), y = wide_of(b);
	return (x > y) - (x < y);
}

static inline void check_numbers(const DPI_Aggregate *a, const struct dpi_column *c, const struct dpi_column *o, wide sum,
				 double real, int64_t count, const DPI_Value *got)
{
	bool avg = a->function == DPI_AGGREGATE_AVG, is_real = c->type == DPI_TYPE_FLOAT || c->type == DPI_TYPE_DOUBLE;
	if (!count) {
		CHECK_INT(got->type, ==, DPI_TYPE_NULL);
	} else if (is_real || (avg && o->type == DPI_TYPE_DOUBLE)) {
		CHECK_INT(got->type, ==, DPI_TYPE_DOUBLE);
		double want = is_real ? real : (double)sum;
		if (avg) want /= (double)count;
		CHECK(got->d == want || (got->d != got->d && want != want));
	} else if (avg) {
		CHECK_INT(got->type, ==, DPI_TYPE_DECIMAL128);
		for (int s = c->scale; s < o->scale; s++) sum *= 10;
		wide twice = 2 * sum + (sum < 0 ? -count : count),
		     want = twice / (2 * (wide)count); /* halves away from zero */
		CHECK(wide_of(got) == want);
	} else {
		CHECK_INT(got->type, ==, o->type);
		CHECK(wide_of(got) == sum);
	}
}

static inline uint64_t distinct_hash(const struct dpi_column *c, const DPI_Value *v)
{
	uint64_t h = dpi_hash_seed(UINT64_C(0x6469737469637400));
	if (c->type >= DPI_TYPE_FIXED) return dpi_hash_bytes(h, v->data, v->size);
	if (c->type == DPI_TYPE_FLOAT || c->type == DPI_TYPE_DOUBLE) return dpi_hash_word(h, dpi_hash_double_word(v->d));
	if (c->type == DPI_TYPE_DECIMAL128)
		return dpi_hash_word(h, dpi_hash_decimal_word(v->w[0], (int64_t)v->w[1], c->scale));
	if (c->type == DPI_TYPE_DECIMAL64) return dpi_hash_word(h, dpi_hash_decimal_word(v->u, v->i >> 63, c->scale));
	return dpi_hash_word(h, v->u);
}

static inline void check_distinct(const struct kit *k, const struct model *m, size_t g, const DPI_Aggregate *a, int column,
				  const DPI_Value *got)
{
	struct dpi_hll *h;
	CHECK_OK(dpi_hll_new(a->precision, &h));
	for (size_t i = m->first[g]; i != SIZE_MAX; i = m->next[i])
		if (k->value[i][column].type)
			dpi_hll_add(h, distinct_hash(k->schema->column + column, &k->value[i][column]));
	CHECK_INT(got->i, ==, (int64_t)(dpi_hll_estimate(h) + 0.5));
	dpi_hll_free(h);
}

/* The best not yet taken, again and again; of equal ones the first. */
static inline void check_top(const struct kit *k, const struct model *m, size_t g, const DPI_Aggregate *a, int column,
			     int by, const DPI_Value *got)
{
	const struct dpi_column *c = k->schema->column + column;
	const uint8_t *at = got->data, *end = at + got->size;
	uint32_t found = 0;
	CHECK_INT(got->type, ==, DPI_TYPE_BINARY);
	for (size_t i = m->first[g]; i != SIZE_MAX; i = m->next[i])
		m->seen[i] = !k->value[i][column].type || !k->value[i][by].type;
	for (; found < a->k; found++) {
		size_t best = SIZE_MAX;
		for (size_t i = m->first[g]; i != SIZE_MAX; i = m->next[i]) {
			if (m->seen[i]) continue;
			int order = best == SIZE_MAX ? 1 : compare_values(&k->value[i][by], &k->value[best][by]);
			if (best == SIZE_MAX || (a->ascending ? order < 0 : order > 0)) best = i;
		}
		if (best == SIZE_MAX) break;
		m->seen[best] = true;
		const DPI_Value *v = &k->value[best][column];
		uint32_t width = c->variable ? v->size : c->width, head;
		if (c->variable) {
			CHECK_INT(end - at, >=, 4);
			memcpy(&head, at, 4);
			at += 4;
			CHECK_INT(head, ==, width);
		}
		CHECK_INT(end - at, >=, width);
		if (width) CHECK(!memcmp(at, c->variable ? v->data : (const uint8_t *)k->row[best].data + c->offset, width));
		at += width;
	}
	CHECK(at == end);
}

static inline void check_aggregate(const struct kit *k, const struct model *m, size_t g, size_t i, const DPI_Value *got)
{
	const DPI_Aggregate *a = k->aggregate + i;
	int column = a->column ? dpi_schema_find(k->schema, a->column) : -1,
	    by = a->by ? dpi_schema_find(k->schema, a->by) : column;
	const struct dpi_column *c = k->schema->column + column, *o = k->r->output->column + k->keys + i;
	const DPI_Value *best = NULL;
	struct poly p = { 0, 1 };
	int64_t rows = 0, count = 0;
	wide sum = 0;
	double real = 0;
	for (size_t r = m->first[g]; r != SIZE_MAX; r = m->next[r]) {
		const DPI_Value none = { 0 }, *v = column >= 0 ? &k->value[r][column] : &none;
		DPI_Value two[2] = { *v, a->by ? k->value[r][by] : none };
		rows++;
		poly_accumulate(&p, two, NULL);
		if (!v->type) continue;
		count++;
		if (summable(v->type)) sum += wide_of(v), real += v->d;
		if (a->function == DPI_AGGREGATE_MIN && (!best || compare_values(v, best) < 0)) best = v;
		if (a->function == DPI_AGGREGATE_MAX && (!best || compare_values(v, best) > 0)) best = v;
	}
	static const DPI_Value null = { 0 };
	switch (a->function) {
	case DPI_AGGREGATE_COUNT_ALL: CHECK_INT(got->i, ==, rows); break;
	case DPI_AGGREGATE_COUNT: CHECK_INT(got->i, ==, count); break;
	case DPI_AGGREGATE_SUM:
	case DPI_AGGREGATE_AVG: check_numbers(a, c, o, sum, real, count, got); break;
	case DPI_AGGREGATE_FIRST: CHECK(same_value(got, &k->value[m->first[g]][column])); break;
	case DPI_AGGREGATE_MIN:
	case DPI_AGGREGATE_MAX: CHECK(same_value(got, best ? best : &null)); break;
	case DPI_AGGREGATE_TOP_K: check_top(k, m, g, a, column, by, got); break;
	case DPI_AGGREGATE_COUNT_DISTINCT: check_distinct(k, m, g, a, column, got); break;
	case DPI_AGGREGATE_REDUCER: CHECK(got->u == p.h); break;
	}
}

/* Take the results, each group once, and compare every value. */
static inline void check_results(struct dpi_table *t, const struct kit *k)
{
	struct model m = model_of(k);
	bool *met = calloc(k->rows + 1, sizeof *met);
	size_t groups = 0;
	struct dpi_rows run;
	for (;;) {
		CHECK_OK(dpi_table_next_result(t, &run));
		if (!run.count) break;
		for (size_t i = 0; i < run.count; i++, groups++) {
			DPI_Value v[KIT_COLUMNS + KIT_AGGREGATES];
			const void *row = run.rows ? (const uint8_t *)run.rows + i * run.stride : run.record[i].data;
			size_t size = run.rows ? k->r->output->row_size : run.record[i].size;
			CHECK_OK(dpi_row_check(k->r->output, row, size, true));
			for (size_t c = 0; c < k->r->output->columns; c++)
				CHECK_OK(dpi_row_value(k->r->output, row, size, c, v + c));
			size_t g = model_find(&m, k, v);
			CHECK(g != SIZE_MAX && !met[g]);
			met[g] = true;
			for (size_t a = 0; a < k->aggregates; a++) check_aggregate(k, &m, g, a, v + k->keys + a);
		}
	}
	CHECK_INT(groups, ==, m.groups);
	free(met);
	model_free(&m);
}

/* --------------------------------------------------------------------------------------------------------- into tables */

static inline struct dpi_table *table_of(const struct dpi_reduction *r, uint64_t budget, enum dpi_when_full full)
{
	struct dpi_table_attr attr = { .budget = budget, .full = full };
	struct dpi_table *t = NULL;
	CHECK_OK(dpi_table_new(r, &attr, &t));
	return t;
}

/* As columns. */
static inline size_t hand_in_batch(struct dpi_table *t, const struct dpi_schema *s, const DPI_Record *row, size_t count)
{
	struct dpi_row_batch b;
	size_t taken;
	CHECK_OK(dpi_row_batch_new((struct dpi_schema *)(uintptr_t)s, NULL, &b));
	CHECK_OK(dpi_row_batch_records(&b, row, count));
	CHECK_OK(dpi_table_add_batch(t, &b.batch, &taken));
	dpi_row_batch_free(&b);
	return taken;
}

/* Hand rows in: where they lie, or in line with more between them. Returns how many were taken; *error: 0 or FULL. */
static inline size_t hand_in(struct dpi_table *t, const struct dpi_schema *s, const DPI_Record *row, size_t count,
			     struct draws *d, bool partial, int *error)
{
	size_t taken = 0, stride = s->row_size + draw_below(d, 3) * 5;
	struct dpi_rows run = { .record = row, .count = count };
	uint8_t *line = NULL;
	if (!s->varies && draw_below(d, 2)) {
		line = malloc(count * stride + 1);
		for (size_t i = 0; i < count; i++) memcpy(line + i * stride, row[i].data, s->row_size);
		run = (struct dpi_rows){ .rows = line, .stride = stride, .count = count };
	}
	*error = partial ? dpi_table_merge(t, &run, &taken) : dpi_table_add(t, &run, &taken);
	free(line);
	if (*error != DPI_ERR_FULL) CHECK_OK(*error);
	return taken;
}

#endif
