/* SPDX-License-Identifier: Apache-2.0
 * route_test.c: flows/route.h and function.h: every dist over random keys, against the data-movement engine on columns made
 * of the same rows and against the simplest way to say it. */
#include "schema_kit.h"

#include <math.h>

#include "flows/function.h"
#include "flows/move/move.h"
#include "flows/route.h"
#include "flows/row_batch.h"

enum { ROWS = 300 };

/* ---------------------------------------------------------------------------------------------- functions by name */

static int group_zero(const void *row, size_t size, void *arg, uint64_t *key)
{
	(void)row, (void)size, (void)arg;
	*key = 0;
	return DPI_SUCCESS;
}

static int dist_none(const void *row, size_t size, uint64_t key, uint32_t targets, void *arg, uint32_t *to, uint32_t *count)
{
	(void)row, (void)size, (void)key, (void)targets, (void)arg, (void)to;
	*count = 0;
	return DPI_SUCCESS;
}

TEST(functions_by_name, "FL-200 FL-201 FL-202 FL-204", 0)
{
	struct dpi_group_function g;
	struct dpi_dist_function f;
	int a, b;
	char name[DPI_NAME_MAX + 1] = "a name that is used again";
	CHECK_ERROR(dpi_function_group("place", 1, &g), DPI_ERR_NAME, "no group function \"place\" of version 1");
	CHECK_DPI(DPI_Register_Group(name, 1, group_zero, &a));
	strcpy(name, "another");
	CHECK_DPI(DPI_Register_Group("place", 1, group_zero, &a));
	CHECK_OK(dpi_function_group("a name that is used again", 1, &g));
	CHECK_OK(dpi_function_group("place", 1, &g));
	CHECK(g.call == group_zero && g.arg == &a);
	CHECK_ERROR(dpi_function_group("place", 2, &g), DPI_ERR_NAME, "version 2");
	CHECK_ERROR(dpi_function_dist("place", 1, &f), DPI_ERR_NAME, "no dist function \"place\"");
	CHECK_DPI(DPI_Register_Dist("place", 1, dist_none, &b)); /* another kind, another function */
	CHECK_OK(dpi_function_dist("place", 1, &f));
	CHECK(f.call == dist_none && f.arg == &b);
	CHECK_DPI(DPI_Register_Group("place", 1, group_zero, &b));
	CHECK(g.arg == &a); /* who has it keeps it */
	CHECK_OK(dpi_function_group("place", 1, &g));
	CHECK(g.arg == &b);
	memset(name, 'n', sizeof name - 1);
	CHECK_ERROR(DPI_Register_Group(NULL, 1, group_zero, NULL), DPI_ERR_ARGUMENT, "name");
	CHECK_ERROR(DPI_Register_Group("", 1, group_zero, NULL), DPI_ERR_ARGUMENT, "1 to 127 bytes");
	CHECK_ERROR(DPI_Register_Dist(name, 1, dist_none, NULL), DPI_ERR_ARGUMENT, "DPI_Register_Dist");
	CHECK_ERROR(DPI_Register_Dist("null", 1, NULL, NULL), DPI_ERR_ARGUMENT, "\"null\" is NULL");
	CHECK_ERROR(DPI_Register_Group("null", 1, NULL, NULL), DPI_ERR_ARGUMENT, "\"null\" is NULL");
}

TEST(as_many_functions_as_there_may_be, "FL-203", 0)
{
	struct dpi_group_function g;
	struct dpi_dist_function f;
	for (uint32_t i = 0; i < DPI_FUNCTIONS_MAX; i++) {
		if (i % 2) CHECK_DPI(DPI_Register_Group("f", i, group_zero, &g));
		else CHECK_DPI(DPI_Register_Dist("f", i, dist_none, &f));
	}
	CHECK_ERROR(DPI_Register_Group("f", DPI_FUNCTIONS_MAX, group_zero, NULL), DPI_ERR_LIMIT, "1024");
	CHECK_ERROR(DPI_Register_Dist("g", 0, dist_none, NULL), DPI_ERR_LIMIT, "\"g\"");
	CHECK_DPI(DPI_Register_Group("f", 1, group_zero, NULL)); /* replacing needs no place */
	for (uint32_t i = 0; i < DPI_FUNCTIONS_MAX; i++)
		CHECK_OK(i % 2 ? dpi_function_group("f", i, &g) : dpi_function_dist("f", i, &f));
}

static void *register_some(void *arg)
{
	static char args[200];
	struct draws d = draws_from(*(int *)arg);
	for (int i = 0; i < rounds(3000); i++) {
		uint32_t version = (uint32_t)draw_below(&d, 200);
		struct dpi_group_function g;
		CHECK_DPI(DPI_Register_Group("f", version, group_zero, args + version));
		CHECK_OK(dpi_function_group("f", version, &g));
		CHECK(g.call == group_zero && g.arg == args + version);
		idle(&d, 1000);
	}
	return NULL;
}

TEST(functions_from_any_thread, "FL-200", 0)
{
	int who[4];
	pthread_t t[4];
	for (int i = 0; i < 4; i++) who[i] = i, t[i] = start_thread(register_some, who + i);
	for (int i = 0; i < 4; i++) end_thread(t[i]);
}

/* --------------------------------------------------------------------------------------------------- the reference */

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 27) * UINT64_C(0x3c79ac492ba7b653);
	x = (x ^ x >> 33) * UINT64_C(0x1c69b3f74ac4ae35);
	return x ^ x >> 27;
}

/* A row's key, hashed as chapter 10 says. */
static uint64_t hash_of(const struct dpi_definition *d, const DPI_Record *row)
{
	uint64_t h = mix(d->salt + UINT64_C(0x9e3779b97f4a7c15)), bits;
	for (uint32_t k = 0; k < d->key_count; k++) {
		DPI_Value v;
		int scale = d->schema->column[d->key[k]].scale;
		CHECK_OK(dpi_row_value(d->schema, row->data, row->size, d->key[k], &v));
		switch (v.type) {
		case DPI_TYPE_NULL: h = mix(h ^ UINT64_C(0xd6e8feb86659fd93)); break;
		case DPI_TYPE_UINT64: h = mix(h ^ (v.u + (v.u >> 63) * UINT64_C(0xa0761d6478bd642f))); break;
		case DPI_TYPE_FLOAT:
		case DPI_TYPE_DOUBLE:
			v.d = v.d == 0 ? 0 : v.d;
			memcpy(&bits, &v.d, sizeof bits);
			h = mix(h ^ (isnan(v.d) ? UINT64_C(0x7ff8) << 48 : bits));
			break;
		case DPI_TYPE_DECIMAL64: h = mix(h ^ dpi_hash_decimal_word((uint64_t)v.i, v.i < 0 ? -1 : 0, scale)); break;
		case DPI_TYPE_DECIMAL128: h = mix(h ^ dpi_hash_decimal_word(v.w[0], (int64_t)v.w[1], scale)); break;
		case DPI_TYPE_FIXED:
		case DPI_TYPE_BINARY:
		case DPI_TYPE_UTF8: h = dpi_hash_bytes(h, v.data, v.size); break;
		default: h = mix(h ^ v.u); break;
		}
	}
	return h;
}

static int compare_values(const DPI_Value *a, const DPI_Value *b)
{
	if (!a->type || !b->type) return !!a->type - !!b->type;
	switch (a->type) {
	case DPI_TYPE_UINT8:
	case DPI_TYPE_UINT16:
	case DPI_TYPE_UINT32:
	case DPI_TYPE_UINT64: return (a->u > b->u) - (a->u < b->u);
	case DPI_TYPE_FLOAT:
	case DPI_TYPE_DOUBLE:
		if (isnan(a->d) || isnan(b->d)) return !!isnan(a->d) - !!isnan(b->d);
		return (a->d > b->d) - (a->d < b->d);
	case DPI_TYPE_DECIMAL128:
		if (a->w[1] != b->w[1]) return (int64_t)a->w[1] < (int64_t)b->w[1] ? -1 : 1;
		return (a->w[0] > b->w[0]) - (a->w[0] < b->w[0]);
	case DPI_TYPE_FIXED:
	case DPI_TYPE_BINARY:
	case DPI_TYPE_UTF8: {
		int c = memcmp(a->data, b->data, a->size < b->size ? a->size : b->size);
		return c ? c : (a->size > b->size) - (a->size < b->size);
	}
	default: return (a->i > b->i) - (a->i < b->i);
	}
}

static const struct dpi_definition *sorting;
static int compare_rows(const void *a, const void *b)
{
	const DPI_Record *p = a, *q = b;
	int c = 0;
	for (uint32_t k = 0; k < sorting->key_count && !c; k++) {
		DPI_Value v, w;
		CHECK_OK(dpi_row_value(sorting->schema, p->data, p->size, sorting->key[k], &v));
		CHECK_OK(dpi_row_value(sorting->schema, q->data, q->size, sorting->key[k], &w));
		c = compare_values(&v, &w);
	}
	return c;
}

/* ------------------------------------------------------------------------------------------------ random definitions */

static bool radix_takes(int type)
{
	return (type >= DPI_TYPE_INT8 && type <= DPI_TYPE_UINT64) || type == DPI_TYPE_BOOL || type == DPI_TYPE_DATE32 ||
	       type == DPI_TYPE_DECIMAL64;
}

static unsigned radix_bits(const struct dpi_column *c)
{
	return c->type == DPI_TYPE_BOOL ? 1 : 8 * c->width;
}

static bool radix_takes_all(const struct dpi_definition *f)
{
	unsigned bits = 0;
	for (uint32_t k = 0; k < f->key_count; k++) {
		const struct dpi_column *c = f->schema->column + f->key[k];
		if (!radix_takes(c->type)) return false;
		bits += radix_bits(c);
	}
	return f->key_count == 1 || bits <= 64;
}

/* A definition over the schema with up to four key columns; hash if the drawn dist does not take them. */
static struct dpi_definition random_definition(struct dpi_schema *s, struct draws *d)
{
	struct dpi_definition f = { .schema = s, .salt = draw(d), .dist = (uint32_t)draw_below(d, 6) };
	f.key_count = 1 + (uint32_t)draw_below(d, draw_below(d, 2) ? 1 : 4);
	for (uint32_t k = 0; k < f.key_count; k++) f.key[k] = (uint16_t)draw_below(d, s->columns);
	f.targets = 1 + (uint32_t)draw_below(d, draw_below(d, 4) ? 10 : DPI_PARTS_MAX);
	f.shift = (uint32_t)draw_below(d, 9);
	if (f.dist == DPI_DIST_RADIX && !radix_takes_all(&f)) f.dist = DPI_DIST_HASH;
	if (f.dist == DPI_DIST_RADIX) f.targets = 1u << draw_below(d, 13);
	if (f.dist != DPI_DIST_TABLE) return f;
	f.table_size = 1 + (uint32_t)draw_below(d, DPI_PARTS_MAX);
	f.table = malloc(f.table_size * sizeof *f.table);
	for (uint32_t i = 0; i < f.table_size; i++) f.table[i] = (uint32_t)draw_below(d, f.targets);
	return f;
}

/* Any bytes are values of the columns that are neither booleans nor variable. */
static struct rows any_rows(const struct dpi_schema *s, struct draws *d, size_t count)
{
	struct rows r = random_rows(s, d, count, draw_below(d, 4) ? 12 : 200);
	for (size_t i = 0; i < count; i++)
		for (uint32_t c = 0; c < s->columns; c++)
			if (s->column[c].type != DPI_TYPE_BOOL && !s->column[c].variable && draw_below(d, 2))
				fill((uint8_t *)(uintptr_t)r.row[i].data + s->column[c].offset, s->column[c].width, draw(d));
	return r;
}

/* What the public calls of chapter 10 say of the rows' columns. */
static void parts_of_columns(const struct dpi_definition *d, const struct dpi_batch *b, const struct dpi_batch *bounds,
			     uint16_t *part, uint64_t *hashes)
{
	static const int methods[] = { [DPI_DIST_HASH] = DPI_PARTITION_HASH, [DPI_DIST_RADIX] = DPI_PARTITION_RADIX,
				       [DPI_DIST_RANGE] = DPI_PARTITION_RANGE, [DPI_DIST_TABLE] = DPI_PARTITION_HASH };
	DPI_Values key[4], bound[4];
	for (uint32_t k = 0; k < d->key_count; k++) {
		const struct dpi_vector *v = b->column + d->key[k], *w = bounds ? bounds->column + d->key[k] : v;
		key[k] = (DPI_Values){ .type = v->type, .scale = v->scale, .width = v->width, .data = v->data,
				       .valid = v->valid, .offset = v->offset };
		bound[k] = (DPI_Values){ .type = w->type, .scale = w->scale, .width = w->width, .data = w->data,
					 .valid = w->valid, .offset = w->offset };
	}
	DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
	a.method = methods[d->dist], a.parts = d->dist == DPI_DIST_TABLE ? d->table_size : d->targets;
	a.keys = key, a.key_count = d->key_count, a.salt = d->salt, a.shift = d->shift, a.bounds = bounds ? bound : NULL;
	CHECK_DPI(DPI_Partition(&a, b->rows, part, NULL));
	CHECK_DPI(DPI_Hash_Rows(key, d->key_count, b->rows, d->salt, hashes));
}

/* One row's target as the definition's words have it. */
static uint32_t plain_target(const struct dpi_definition *d, const DPI_Record *row, const struct rows *bounds)
{
	DPI_Value v;
	uint64_t above = hash_of(d, row) >> 32, number = 0;
	uint32_t n = 0;
	switch (d->dist) {
	case DPI_DIST_HASH: return (uint32_t)(above * d->targets >> 32);
	case DPI_DIST_TABLE: return d->table[above * d->table_size >> 32];
	case DPI_DIST_RADIX:
		for (uint32_t k = 0; k < d->key_count; k++) {
			unsigned bits = d->key_count == 1 ? 64 : radix_bits(d->schema->column + d->key[k]);
			CHECK_OK(dpi_row_value(d->schema, row->data, row->size, d->key[k], &v));
			if (bits < 64) number <<= bits;
			if (v.type) number |= bits < 64 ? v.u & ((UINT64_C(1) << bits) - 1) : v.u;
		}
		return (uint32_t)(number >> d->shift) % d->targets;
	default:
		sorting = d;
		for (size_t i = 0; i < bounds->count; i++) n += compare_rows(bounds->row + i, row) <= 0;
		return n;
	}
}

static void check_route(struct dpi_schema *s, struct dpi_definition *f, const struct rows *rows, const struct rows *bounds,
			struct dpi_row_batch *b, struct dpi_row_batch *bound)
{
	static uint16_t part[ROWS], many[ROWS];
	static uint64_t hashes[ROWS];
	struct dpi_vector vector[4];
	struct dpi_route *r;
	if (f->dist == DPI_DIST_RANGE && bounds->count) {
		CHECK_OK(dpi_row_batch_records(bound, bounds->row, bounds->count));
		for (uint32_t k = 0; k < f->key_count; k++) vector[k] = bound->batch.column[f->key[k]];
		f->bound = vector;
	}
	CHECK_OK(dpi_route_new(f, 0, &r));
	CHECK(dpi_route_single(r));
	CHECK_OK(dpi_row_batch_records(b, rows->row, rows->count));
	bool bits = f->dist == DPI_DIST_RANGE; /* a range over booleans as bits wants bounds as bits, as they are */
	parts_of_columns(f, &b->batch, f->bound && bits ? &bound->batch : NULL, part, hashes);
	for (size_t i = 0; i < rows->count; i++) {
		const uint32_t *to;
		uint32_t count, plain = plain_target(f, rows->row + i, bounds);
		CHECK_INT(hashes[i], ==, hash_of(f, rows->row + i));
		CHECK_OK(dpi_route_row(r, rows->row[i].data, (uint32_t)rows->row[i].size, &to, &count));
		CHECK_INT(count, ==, 1);
		CHECK_INT(*to, ==, plain);
		CHECK_INT(f->dist == DPI_DIST_TABLE ? f->table[part[i]] : part[i], ==, plain);
	}
	if (!s->varies) { /* where they stand in a row, at any distance */
		size_t stride = s->row_size + 8;
		uint8_t *all = malloc(rows->count * stride);
		for (size_t i = 0; i < rows->count; i++) memcpy(all + i * stride, rows->row[i].data, s->row_size);
		dpi_route_rows(r, all, stride, rows->count, many);
		for (size_t i = 0; i < rows->count; i++) CHECK_INT(many[i], ==, plain_target(f, rows->row + i, bounds));
		free(all);
	}
	f->bound = NULL;
	dpi_route_free(r);
}

TEST(routes_by_key_columns, "FL-210 FL-211 FL-212 FL-213 FL-214 FL-215", 0)
{
	struct draws d = draws_from(1);
	int dists[6] = { 0 };
	for (int n = rounds(400); n; n--) {
		struct dpi_schema *s = random_schema(&d, draw_below(&d, 2) ? KIT_FIXED : draw_below(&d, 4) ? 0 : KIT_PLAIN);
		struct dpi_definition f = random_definition(s, &d);
		struct rows rows = any_rows(s, &d, draw_below(&d, ROWS)), bounds = { 0 };
		struct dpi_row_batch b, bound;
		CHECK_OK(dpi_row_batch_new(s, NULL, &b));
		CHECK_OK(dpi_row_batch_new(s, NULL, &bound));
		if (f.dist == DPI_DIST_ROUND_ROBIN || f.dist == DPI_DIST_BROADCAST) f.dist = DPI_DIST_RANGE;
		if (f.dist == DPI_DIST_RANGE) {
			if (draw_below(&d, 8)) f.targets = 1 + f.targets % 40;
			bounds = any_rows(s, &d, f.targets - 1);
			sorting = &f;
			qsort(bounds.row, bounds.count, sizeof *bounds.row, compare_rows);
		}
		dists[f.dist]++;
		check_route(s, &f, &rows, &bounds, &b, &bound);
		free_rows(rows), free_rows(bounds);
		dpi_row_batch_free(&b), dpi_row_batch_free(&bound);
		free(f.table);
		dpi_schema_unref(s);
	}
	CHECK(dists[DPI_DIST_HASH] && dists[DPI_DIST_RANGE] && dists[DPI_DIST_TABLE]);
}

/* ------------------------------------------------------------------------------------------------- without a key */

static struct dpi_schema *pair_schema(void)
{
	const DPI_Column c[2] = { { .name = "k", .type = DPI_TYPE_INT64 }, { .name = "v", .type = DPI_TYPE_INT64 } };
	return schema_of(c, 2);
}

struct pair {
	int64_t k, v;
};

static uint32_t route_one(struct dpi_route *r, const void *row, uint32_t size)
{
	const uint32_t *to;
	uint32_t count;
	CHECK_OK(dpi_route_row(r, row, size, &to, &count));
	CHECK_INT(count, ==, 1);
	return *to;
}

TEST(round_robin_and_broadcast, "FL-216 FL-217", 0)
{
	struct draws d = draws_from(2);
	struct dpi_schema *s = pair_schema();
	struct pair row[100] = { { 0 } };
	uint16_t part[100];
	for (int n = rounds(200); n; n--) {
		struct dpi_definition f = { .schema = s, .dist = DPI_DIST_ROUND_ROBIN };
		f.targets = 1 + (uint32_t)draw_below(&d, draw_below(&d, 2) ? 5 : DPI_PARTS_MAX);
		uint32_t next = (uint32_t)draw_below(&d, DPI_SOURCES_MAX), count;
		const uint32_t *to;
		struct dpi_route *r;
		CHECK_OK(dpi_route_new(&f, next, &r));
		CHECK(dpi_route_single(r));
		for (int i = 0; i < 20; i++) {
			size_t batch = draw_below(&d, 100);
			CHECK_INT(route_one(r, row, sizeof *row), ==, next++ % f.targets);
			dpi_route_rows(r, row, sizeof *row, batch, part);
			for (size_t k = 0; k < batch; k++) CHECK_INT(part[k], ==, next++ % f.targets);
		}
		dpi_route_free(r);
		f.dist = DPI_DIST_BROADCAST;
		CHECK_OK(dpi_route_new(&f, next, &r));
		CHECK_INT(dpi_route_single(r), ==, f.targets == 1);
		for (int i = 0; i < 2; i++) {
			CHECK_OK(dpi_route_row(r, row, sizeof *row, &to, &count));
			CHECK_INT(count, ==, f.targets);
			for (uint32_t t = 0; t < count; t++) CHECK_INT(to[t], ==, t);
		}
		dpi_route_free(r);
	}
	dpi_schema_unref(s);
}

/* ------------------------------------------------------------------------------------------------------- functions */

/* The key is the second number, turned round; a row whose first is negative has none: its error is minus that. */
static int group_second(const void *row, size_t size, void *arg, uint64_t *key)
{
	struct pair p;
	CHECK_INT(size, ==, sizeof p);
	memcpy(&p, row, sizeof p);
	if (p.k < 0) return (int)-p.k;
	*key = ~(uint64_t)p.v;
	++*(int *)arg;
	return DPI_SUCCESS;
}

TEST(routes_by_group_function, "FL-204 FL-218 FL-219", 0)
{
	struct draws d = draws_from(3);
	struct dpi_schema *s = pair_schema();
	int calls = 0, expected = 0;
	CHECK_DPI(DPI_Register_Group("second", 7, group_second, &calls));
	for (int n = rounds(300); n; n--) {
		static uint64_t bound[DPI_PARTS_MAX];
		struct dpi_definition f = random_definition(s, &d);
		struct dpi_vector ranges = { .type = DPI_TYPE_UINT64, .width = 8, .data = bound };
		struct pair row[50];
		uint64_t key[50];
		struct dpi_route *r;
		if (f.dist == DPI_DIST_ROUND_ROBIN || f.dist == DPI_DIST_BROADCAST) f.dist = DPI_DIST_RANGE;
		f.key_count = 0;
		strcpy(f.group, "second");
		CHECK_ERROR(dpi_route_new(&f, 0, &r), DPI_ERR_NAME, "\"second\" of version 0");
		f.group_version = 7;
		for (uint32_t i = 0; i + 1 < f.targets; i++) bound[i] = (i + 1) * (UINT64_MAX / f.targets);
		if (f.dist == DPI_DIST_RANGE && f.targets > 1) f.bound = &ranges;
		CHECK_OK(dpi_route_new(&f, 0, &r));
		CHECK(!dpi_route_single(r));
		for (int i = 0; i < 50; i++) row[i] = (struct pair){ i, (int64_t)draw(&d) }, key[i] = ~(uint64_t)row[i].v;
		/* as a column of UINT64 goes */
		DPI_Values v = { .type = DPI_TYPE_UINT64, .data = key }, b = { .type = DPI_TYPE_UINT64, .data = bound };
		DPI_Partition_Attr a = DPI_PARTITION_ATTR_INIT;
		a.parts = f.dist == DPI_DIST_TABLE ? f.table_size : f.targets;
		a.method = f.dist == DPI_DIST_RADIX ? DPI_PARTITION_RADIX
			   : f.dist == DPI_DIST_RANGE ? DPI_PARTITION_RANGE : DPI_PARTITION_HASH;
		a.keys = &v, a.key_count = 1, a.salt = f.salt, a.shift = f.shift, a.bounds = &b;
		uint16_t part[50];
		CHECK_DPI(DPI_Partition(&a, 50, part, NULL));
		for (int i = 0; i < 50; i++)
			CHECK_INT(route_one(r, row + i, sizeof *row), ==,
				  f.dist == DPI_DIST_TABLE ? f.table[part[i]] : part[i]);
		CHECK_INT(calls, ==, expected += 50);
		struct pair bad = { -DPI_ERR_RANGE, 0 };
		const uint32_t *to;
		uint32_t count;
		CHECK_ERROR(dpi_route_row(r, &bad, sizeof bad, &to, &count), DPI_ERR_RANGE,
			    "group function \"second\" of version 7 returned DPI_ERR_RANGE");
		bad.k = -4711;
		CHECK_ERROR(dpi_route_row(r, &bad, sizeof bad, &to, &count), 4711, "4711");
		dpi_route_free(r);
		free(f.table);
	}
	dpi_schema_unref(s);
}

/* What the next call of dist_said says, and what it was given. */
struct said {
	uint32_t to[32], count, targets;
	uint64_t key;
	int error;
};

static int dist_said(const void *row, size_t size, uint64_t key, uint32_t targets, void *arg, uint32_t *to, uint32_t *count)
{
	struct said *said = arg;
	CHECK(row);
	CHECK_INT(size, ==, sizeof(struct pair));
	for (uint32_t i = 0; i < said->count && i < targets; i++) to[i] = said->to[i];
	*count = said->count, said->targets = targets, said->key = key;
	return said->error;
}

TEST(routes_by_dist_function, "FL-204 FL-220 FL-221 FL-222 FL-223", 0)
{
	struct draws d = draws_from(4);
	struct dpi_schema *s = pair_schema();
	struct said said = { .count = 0 };
	struct pair row = { 5, 6 };
	struct dpi_route *r;
	const uint32_t *to;
	uint32_t count;
	int calls = 0;
	struct dpi_definition f = { .schema = s, .dist = DPI_DIST_FUNCTION, .dist_function = "said", .dist_version = 3,
				    .targets = 32 };
	CHECK_ERROR(dpi_route_new(&f, 0, &r), DPI_ERR_NAME, "dist function \"said\" of version 3");
	CHECK_DPI(DPI_Register_Dist("said", 3, dist_said, &said));
	CHECK_DPI(DPI_Register_Group("second", 7, group_second, &calls));
	CHECK_OK(dpi_route_new(&f, 0, &r));
	CHECK(!dpi_route_single(r));
	for (int n = rounds(2000); n; n--) { /* any number of any targets, some of them often */
		uint32_t expected[32], different = 0;
		said.count = (uint32_t)draw_below(&d, 33);
		for (uint32_t i = 0; i < said.count; i++) {
			bool old = false;
			said.to[i] = (uint32_t)draw_below(&d, draw_below(&d, 2) ? 32 : 4);
			for (uint32_t k = 0; k < different; k++) old |= expected[k] == said.to[i];
			if (!old) expected[different++] = said.to[i];
		}
		CHECK_OK(dpi_route_row(r, &row, sizeof row, &to, &count));
		CHECK_INT(count, ==, different);
		CHECK(!memcmp(to, expected, count * sizeof *to));
	}
	CHECK_INT(said.targets, ==, 32);
	CHECK_INT(said.key, ==, 0);
	said.count = 3, said.to[0] = 31, said.to[1] = 32, said.to[2] = 31;
	CHECK_ERROR(dpi_route_row(r, &row, sizeof row, &to, &count), DPI_ERR_CORRUPT, "named target 32");
	said.count = 33, said.to[1] = 30;
	CHECK_ERROR(dpi_route_row(r, &row, sizeof row, &to, &count), DPI_ERR_CORRUPT, "named 33 targets");
	said.count = 3, said.error = DPI_ERR_TIMEOUT;
	CHECK_ERROR(dpi_route_row(r, &row, sizeof row, &to, &count), DPI_ERR_TIMEOUT,
		    "dist function \"said\" of version 3 returned DPI_ERR_TIMEOUT");
	said.error = 0; /* nothing is left of what failed */
	CHECK_OK(dpi_route_row(r, &row, sizeof row, &to, &count));
	CHECK_INT(count, ==, 2);
	CHECK(to[0] == 31 && to[1] == 30);
	dpi_route_free(r);
	/* the key: the hash of columns, or what the group function says, or its error */
	f.key_count = 2, f.key[0] = 1, f.key[1] = 0;
	CHECK_OK(dpi_route_new(&f, 0, &r));
	CHECK_OK(dpi_route_row(r, &row, sizeof row, &to, &count));
	CHECK_INT(said.key, ==, hash_of(&f, &(DPI_Record){ .data = &row, .size = sizeof row }));
	dpi_route_free(r);
	f.key_count = 0, f.group_version = 7;
	strcpy(f.group, "second");
	CHECK_OK(dpi_route_new(&f, 0, &r));
	CHECK_OK(dpi_route_row(r, &row, sizeof row, &to, &count));
	CHECK_INT(said.key, ==, ~UINT64_C(6));
	row.k = -DPI_ERR_SIZE, said.key = 1;
	CHECK_ERROR(dpi_route_row(r, &row, sizeof row, &to, &count), DPI_ERR_SIZE, "group function");
	CHECK_INT(said.key, ==, 1);
	dpi_route_free(r);
	dpi_schema_unref(s);
}

/* ---------------------------------------------------------------------------------------------------- other matters */

TEST(route_of_what_is_no_row, "", 0)
{
	struct dpi_schema *s = schema_of((DPI_Column[]){ { .name = "text", .type = DPI_TYPE_UTF8, .nullable = 1 } }, 1);
	const uint32_t *to;
	uint32_t count, size;
	struct draws d = draws_from(5);
	struct dpi_definition f = { .schema = s, .targets = 8, .key_count = 1 };
	struct dpi_vector bound = { .type = DPI_TYPE_UTF8, .data = "abcdefg", .offset =
				    (int32_t[]){ 0, 1, 2, 3, 4, 5, 6, 7 } };
	for (int dist = 0; dist < 2; dist++) {
		struct dpi_route *r;
		f.dist = dist ? DPI_DIST_RANGE : DPI_DIST_HASH, f.bound = dist ? &bound : NULL;
		CHECK_OK(dpi_route_new(&f, 0, &r));
		for (int n = rounds(1000); n; n--) {
			uint8_t *row = random_row(s, &d, 20, &size), *copy = guarded(size);
			memcpy(copy, row, size);
			for (int k = 0; k < 2; k++) copy[draw_below(&d, size)] = (uint8_t)draw(&d);
			int error = dpi_route_row(r, copy, size, &to, &count);
			bool good = !dpi_row_check(s, copy, size, false);
			if (error) CHECK_ERROR(error, DPI_ERR_CORRUPT, "column 0 \"text\"");
			CHECK_INT(good, ==, !error);
			guarded_free(copy, size);
			free(row);
		}
		dpi_route_free(r);
	}
	dpi_schema_unref(s);
}

TEST(route_to_one_target, "FL-224", 0)
{
	struct dpi_schema *s = pair_schema();
	struct pair row = { 1, 2 };
	struct dpi_definition f = { .schema = s, .targets = 1 }; /* no key: what no field set makes */
	uint16_t part[3] = { 9, 9, 9 };
	struct dpi_route *r;
	CHECK_OK(dpi_route_new(&f, 7, &r));
	CHECK(dpi_route_single(r));
	CHECK_INT(route_one(r, &row, sizeof row), ==, 0);
	dpi_route_rows(r, &row, 0, 3, part);
	CHECK(!part[0] && !part[1] && !part[2]);
	dpi_route_free(r);
	dpi_schema_unref(s);
}

TEST(routes_that_programs_follow, "", 0)
{
	struct draws d = draws_from(6);
	int kinds[6] = { 0 }, missing = 6;
	for (int n = rounds(2000), most = 200000; most && (n > 0 || missing); n--, most--) {
		struct dpi_schema *s = random_schema(&d, KIT_FIXED);
		struct dpi_definition f = random_definition(s, &d);
		struct dpi_short_route by;
		struct dpi_route *r;
		if (f.dist == DPI_DIST_RANGE) f.dist = DPI_DIST_HASH;
		if (draw_below(&d, 8) == 0 && f.dist != DPI_DIST_TABLE) f.targets = 1;
		CHECK_OK(dpi_route_new(&f, 0, &r));
		dpi_route_short(r, &by);
		missing -= !kinds[by.kind]++;
		struct rows rows = any_rows(s, &d, 20);
		for (size_t i = 0; i < 20; i++) {
			const uint8_t *key = (const uint8_t *)rows.row[i].data + by.offset;
			bool eight = by.kind == DPI_SHORT_HASH_8 || by.kind == DPI_SHORT_RADIX_8;
			int64_t v = 0;
			int32_t w;
			if (by.kind == DPI_SHORT_NONE) break;
			uint32_t is = route_one(r, rows.row[i].data, (uint32_t)rows.row[i].size);
			if (eight) memcpy(&v, key, 8);
			else if (by.kind != DPI_SHORT_ONE) memcpy(&w, key, 4), v = w;
			if (by.kind == DPI_SHORT_ONE) CHECK_INT(is, ==, 0);
			else if (by.kind == DPI_SHORT_HASH_8 || by.kind == DPI_SHORT_HASH_4)
				CHECK_INT(is, ==, dpi_hash_part(dpi_hash_word(by.seed, (uint64_t)v), by.parts));
			else CHECK_INT(is, ==, (uint64_t)v >> by.shift & (by.parts - 1));
		}
		free_rows(rows);
		dpi_route_free(r);
		free(f.table);
		dpi_schema_unref(s);
	}
	CHECK_INT(missing, ==, 0);
}
