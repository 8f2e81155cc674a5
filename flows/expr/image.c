/* SPDX-License-Identifier: Apache-2.0
 * image.c: a program as bytes, and back. All numbers are little endian:
 *	head		magic u32, version u16, reserved u16 0, size of all u32, result type, root u16, columns u16,
 *			constants u16, instructions u16, size of all constants u32, reserved u32 0
 *	type		type u8, nullable u8, precision u8, scale u8, width u32
 *	each column	index in the schema u32, type
 *	each constant	kind u8, null u8, reserved u16 0, size u32, bytes
 *	each instruction operation, a, b, c, mask u16, reserved u16 0, imm u32, character u32
 * NULL constants have no bytes; a type's nullable says what the schema said, of the result what may be. */
#include "image.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"

#define HEAD 36
#define COLUMN 12
#define CONSTANT 8
#define INSTRUCTION 20

struct dpi_expr *dpi_program_new(int columns, int constants, int instructions, size_t pool)
{
	struct dpi_expr *e = calloc(1, sizeof *e);
	size_t values = (size_t)columns + (size_t)constants + (size_t)instructions;
	if (!e) goto failed;
	*e = (struct dpi_expr){ .columns = columns,
				.constants = constants,
				.instructions = instructions,
				.values = (int)values,
				.pool_size = pool };
	e->column = calloc((size_t)columns + 1, sizeof *e->column);
	e->column_type = calloc((size_t)columns + 1, sizeof *e->column_type);
	e->constant = aligned_alloc(16, ((size_t)constants + 1) * sizeof *e->constant);
	e->instruction = calloc((size_t)instructions + 1, sizeof *e->instruction);
	e->kind = calloc(values + 1, 1);
	e->nullable = calloc(values + 1, sizeof *e->nullable);
	e->pool = malloc(pool + 1);
	if (e->constant) memset(e->constant, 0, ((size_t)constants + 1) * sizeof *e->constant);
	if (e->column && e->column_type && e->constant && e->instruction && e->kind && e->nullable && e->pool) return e;
failed:
	dpi_expr_free(e);
	dpi_fail(DPI_ERR_MEMORY, "no memory for an expression's program of %zu values", values);
	return NULL;
}

void dpi_expr_free(struct dpi_expr *e)
{
	if (!e) return;
	free(e->column);
	free(e->column_type);
	free(e->constant);
	free(e->instruction);
	free(e->kind);
	free(e->nullable);
	free(e->pool);
	free(e);
}

const struct dpi_expr_type *dpi_expr_result(const struct dpi_expr *e)
{
	return &e->result;
}

const int *dpi_expr_columns(const struct dpi_expr *e, int *count)
{
	*count = e->columns;
	return e->column;
}

/* ------------------------------------------------------------------------------------------------------- writing */

struct writer {
	uint8_t *at, *end; /* at may run behind end, where nothing is written */
	size_t size;
};

static void put(struct writer *w, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++, value >>= 8, w->size++)
		if (w->at < w->end) *w->at++ = (uint8_t)value;
}

static void put_bytes(struct writer *w, const uint8_t *from, size_t size)
{
	for (size_t i = 0; i < size; i++) put(w, from[i], 1);
}

static void put_type(struct writer *w, const struct dpi_expr_type *t)
{
	put(w, (uint64_t)t->type, 1), put(w, t->nullable, 1), put(w, (uint64_t)t->precision, 1),
		put(w, (uint64_t)t->scale, 1);
	put(w, t->width, 4);
}

static size_t constant_size(const struct dpi_constant *c)
{
	if (c->null) return 0;
	return c->kind == KIND_TEXT ? c->text.size : c->kind == KIND_BOOL ? 1 : dpi_kind_width(c->kind);
}

static size_t image(const struct dpi_expr *e, struct writer *w, uint32_t size)
{
	size_t constants = 0;
	for (int i = 0; i < e->constants; i++) constants += CONSTANT + constant_size(e->constant + i);
	put(w, DPI_EXPR_MAGIC, 4), put(w, DPI_EXPR_VERSION, 2), put(w, 0, 2), put(w, size, 4);
	put_type(w, &e->result);
	put(w, e->root, 2), put(w, (uint64_t)e->columns, 2), put(w, (uint64_t)e->constants, 2),
		put(w, (uint64_t)e->instructions, 2);
	put(w, constants, 4), put(w, 0, 4);
	for (int i = 0; i < e->columns; i++) put(w, (uint64_t)e->column[i], 4), put_type(w, e->column_type + i);
	for (int i = 0; i < e->constants; i++) {
		const struct dpi_constant *c = e->constant + i;
		put(w, c->kind, 1), put(w, c->null, 1), put(w, 0, 2), put(w, constant_size(c), 4);
		put_bytes(w, c->kind == KIND_TEXT ? c->text.at : c->bytes, constant_size(c));
	}
	for (int i = 0; i < e->instructions; i++) {
		const struct dpi_instruction *n = e->instruction + i;
		put(w, n->op, 2), put(w, n->a, 2), put(w, n->b, 2), put(w, n->c, 2), put(w, n->mask, 2), put(w, 0, 2);
		put(w, n->imm, 4), put(w, n->at, 4);
	}
	return w->size;
}

int dpi_expr_serialise(const struct dpi_expr *e, void *to, size_t room, size_t *size)
{
	struct writer count = { 0 }, w = { .at = to, .end = to ? (uint8_t *)to + room : NULL };
	if (!e || !size || (room && !to)) return dpi_fail(DPI_ERR_ARGUMENT, "dpi_expr_serialise: an argument is NULL");
	*size = image(e, &count, 0);
	if (*size > DPI_EXPR_IMAGE_MAX)
		return dpi_fail(DPI_ERR_LIMIT,
				"the expression's program has %zu bytes: at most %u; move its text into columns", *size,
				DPI_EXPR_IMAGE_MAX);
	if (room >= *size) image(e, &w, (uint32_t)*size);
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------- reading */

struct reader {
	const uint8_t *at, *end;
	bool bad;
};

static uint64_t get(struct reader *r, int bytes)
{
	uint64_t v = 0;
	if (r->end - r->at < bytes) return r->bad = true, r->at = r->end, 0;
	for (int i = 0; i < bytes; i++) v |= (uint64_t)*r->at++ << 8 * i;
	return v;
}

static void get_zero(struct reader *r, int bytes)
{
	if (get(r, bytes)) r->bad = true;
}

static bool get_bool(struct reader *r)
{
	uint64_t v = get(r, 1);
	if (v > 1) r->bad = true;
	return v;
}

static struct dpi_expr_type get_type(struct reader *r)
{
	struct dpi_expr_type t = { .type = (int)get(r, 1) };
	t.nullable = get_bool(r), t.precision = (int)get(r, 1), t.scale = (int)get(r, 1), t.width = (uint32_t)get(r, 4);
	return t;
}

static int damaged(void)
{
	return dpi_fail(DPI_ERR_CORRUPT,
			"the bytes are no program of an expression: they are damaged, or not from a correct peer");
}

static void get_constant(struct reader *r, struct dpi_constant *c, uint8_t **pool)
{
	c->kind = (uint8_t)get(r, 1), c->null = get_bool(r);
	get_zero(r, 2);
	size_t size = get(r, 4);
	if (r->bad || !dpi_kind_is(c->kind) || size > (size_t)(r->end - r->at)) {
		r->bad = true;
		return;
	}
	size_t needs = c->null ? 0 : c->kind == KIND_TEXT ? size : c->kind == KIND_BOOL ? 1 : dpi_kind_width(c->kind);
	if (size != needs) r->bad = true;
	else if (c->kind == KIND_TEXT) {
		c->text = (struct dpi_text){ *pool, size };
		if (size) memcpy(*pool, r->at, size);
		*pool += size;
	} else if (size) memcpy(c->bytes, r->at, size);
	if (c->kind == KIND_BOOL && c->bytes[0] > 1) r->bad = true;
	r->at += size;
}

static int same_columns(const struct dpi_expr *e, const struct dpi_expr_column *columns, int count)
{
	for (int i = 0; i < e->columns; i++) {
		struct dpi_expr_type t;
		char has[DPI_TYPE_PRINTED], wants[DPI_TYPE_PRINTED];
		dpi_type_print(e->column_type + i, wants);
		if (e->column[i] >= count)
			return dpi_fail(
				DPI_ERR_ARGUMENT,
				"the program reads column %d of type %s, but there are %d columns: the schemas differ",
				e->column[i], wants, count);
		int error = dpi_type_of_column(columns + e->column[i], e->column[i], &t);
		if (error) return error;
		if (!dpi_type_same(&t, e->column_type + i))
			return dpi_fail(DPI_ERR_ARGUMENT,
					"the program reads column %d as %s, but it is %s: the schemas differ", e->column[i],
					wants, dpi_type_print(&t, has));
		e->column_type[i].nullable = t.nullable;
	}
	return DPI_SUCCESS;
}

static int read_image(struct reader *r, struct dpi_expr *e, size_t constants)
{
	for (int i = 0; i < e->columns; i++) {
		uint64_t index = get(r, 4);
		if (index > INT32_MAX) r->bad = true;
		e->column[i] = (int)(index & INT32_MAX);
		e->column_type[i] = get_type(r);
	}
	uint8_t *pool = e->pool;
	struct reader own = { .at = r->at, .end = r->at + constants }; /* the pool has room for what stands here, no more */
	for (int i = 0; i < e->constants && !own.bad; i++) get_constant(&own, e->constant + i, &pool);
	if (own.bad || own.at != own.end) r->bad = true;
	r->at = own.end;
	for (int i = 0; i < e->instructions && !r->bad; i++) {
		struct dpi_instruction *n = e->instruction + i;
		n->op = (uint16_t)get(r, 2), n->a = (uint16_t)get(r, 2), n->b = (uint16_t)get(r, 2),
		n->c = (uint16_t)get(r, 2);
		n->mask = (uint16_t)get(r, 2);
		get_zero(r, 2);
		n->imm = (uint32_t)get(r, 4), n->at = (uint32_t)get(r, 4);
	}
	return r->bad || r->at != r->end ? damaged() : dpi_program_check(e);
}

int dpi_expr_load(const void *bytes, size_t size, const struct dpi_expr_column *columns, int count, struct dpi_expr **out)
{
	struct reader r = { .at = bytes, .end = (const uint8_t *)bytes + size };
	if (!bytes || !out || count < 0 || (count && !columns))
		return dpi_fail(DPI_ERR_ARGUMENT, "dpi_expr_load: an argument is NULL");
	if (size < HEAD || size > DPI_EXPR_IMAGE_MAX || get(&r, 4) != DPI_EXPR_MAGIC) return damaged();
	unsigned version = (unsigned)get(&r, 2);
	if (version != DPI_EXPR_VERSION)
		return dpi_fail(DPI_ERR_VERSION,
				"the program of an expression has version %u, this library runs %d: use one version of it "
				"everywhere",
				version, DPI_EXPR_VERSION);
	get_zero(&r, 2);
	if (get(&r, 4) != size) return damaged();
	struct dpi_expr_type result = get_type(&r);
	uint16_t root = (uint16_t)get(&r, 2);
	size_t nc = get(&r, 2), nk = get(&r, 2), ni = get(&r, 2), constants = get(&r, 4);
	get_zero(&r, 4);
	size_t rest = (size_t)(r.end - r.at);
	if (r.bad || nc > DPI_EXPR_COLUMNS_MAX || nc + nk + ni > DPI_EXPR_VALUES_MAX || constants > rest ||
	    nc * COLUMN + ni * INSTRUCTION + constants != rest || nk * CONSTANT > constants)
		return damaged();
	struct dpi_expr *e = dpi_program_new((int)nc, (int)nk, (int)ni, constants);
	if (!e) return DPI_ERR_MEMORY;
	e->result = result, e->root = root;
	int error = read_image(&r, e, constants);
	if (!error) error = same_columns(e, columns, count);
	if (!error) error = dpi_program_check(e); /* with what may be NULL here */
	if (error) dpi_expr_free(e);
	else *out = e;
	return error;
}
