/* SPDX-License-Identifier: Apache-2.0
 * ready.c: a program's registers: which share memory, which are the same for every row, and how columns get into them. */
#include <stdlib.h>

#include "error.h"
#include "state.h"

/* ------------------------------------------------------------------------------------------------------- buffers */

/* Memory of registers. Those of one width are used again once nothing needs their value. */
struct dpi_buffers {
	struct dpi_buffers *next;
	size_t width;
	int free_from; /* the instruction from which on it is free */
	_Alignas(64) uint8_t data[];
};

#define REGISTERS_MAX ((size_t)64 << 20)
#define NEVER INT32_MAX
#define KEPT (-1)

static size_t width_of(int kind)
{
	return kind == KIND_BOOL ? 0 : dpi_kind_width(kind);
}

/* at: the instruction that writes it; KEPT: it holds its value from chunk to chunk, so nothing else may ever write it. */
static void *buffer(struct dpi_expr_state *s, int kind, int at, int last_use)
{
	size_t width = width_of(kind), size = width ? ROWS * width : WORDS * 8;
	struct dpi_buffers *b = s->buffers;
	while (b && !(at != KEPT && b->width == width && b->free_from <= at)) b = b->next;
	if (!b) {
		s->registers += size;
		if (s->registers > REGISTERS_MAX) {
			dpi_fail(DPI_ERR_LIMIT, "expressions need more than %zu bytes of registers: split them",
				 REGISTERS_MAX);
			return NULL;
		}
		b = aligned_alloc(64, (sizeof *b + size + 63) / 64 * 64);
		if (!b) {
			dpi_fail(DPI_ERR_MEMORY, "no memory for an expression's registers");
			return NULL;
		}
		memset(b, 0, sizeof *b + size);
		b->next = s->buffers, b->width = width;
		s->buffers = b;
	}
	b->free_from = last_use == NEVER ? NEVER : last_use + 1;
	return b->data;
}

void dpi_buffers_free(struct dpi_expr_state *s)
{
	while (s->buffers) {
		struct dpi_buffers *next = s->buffers->next;
		free(s->buffers);
		s->buffers = next;
	}
}

/* --------------------------------------------------------------------------------------------------- one value */

/* The first row's value in every row. */
static void spread(struct dpi_register *v, int kind)
{
	size_t width = width_of(kind);
	uint8_t *data = v->own;
	if (!width) memset(data, *data & 1 ? 255 : 0, WORDS * 8);
	for (size_t i = 1; i < ROWS && width; i++) memcpy(data + i * width, data, width);
	if (v->valid) {
		bool there = v->valid[0] & 1;
		memset(v->bits, there ? 255 : 0, sizeof v->bits);
		v->valid = there ? NULL : v->bits;
	}
	v->uniform = true;
}

static void set_constant(struct dpi_register *v, const struct dpi_constant *c)
{
	if (c->kind == KIND_TEXT) {
		static const uint8_t none[1];
		struct dpi_text t = c->text.size ? c->text : (struct dpi_text){ none, 0 };
		memcpy(v->own, &t, sizeof t);
	} else memcpy(v->own, c->bytes, c->kind == KIND_BOOL ? 1 : dpi_kind_width(c->kind));
	if (c->null) v->valid = v->bits; /* all 0 */
	spread(v, c->kind);
}

/* -------------------------------------------------------------------------------------------------------- steps */

static dpi_step_function *function_of(const struct dpi_step *s)
{
	dpi_step_function *f = dpi_step_logic(s);
	if (!f) f = dpi_step_number(s);
	if (!f) f = dpi_step_convert(s);
	if (!f) f = dpi_step_text(s);
	return f ? f : dpi_step_date(s);
}

static int make_step(const struct dpi_ready *ready, const struct dpi_instruction *i, int out, struct dpi_step *s)
{
	const struct dpi_expr *e = ready->program;
	struct dpi_register *v = ready->value;
	*s = (struct dpi_step){ .out = v + out, .a = v + i->a, .imm = i->imm, .at = i->at, .op = (uint8_t)i->op };
	if (i->b != DPI_VALUE_NONE) s->b = v + i->b;
	if (i->c != DPI_VALUE_NONE) s->c = v + i->c;
	if (i->mask != DPI_VALUE_NONE) s->mask = v + i->mask;
	if (i->op == OP_IN) s->list = e->constant + i->b - e->columns, s->b = NULL;
	s->kind = e->kind[i->op == OP_SELECT ? i->b : i->a];
	if (i->op == OP_POWER) s->math = dpi_power();
	if (i->op == OP_SQRT) s->root = dpi_root();
	if (i->op == OP_MOD && s->kind == KIND_F64) s->math = dpi_remainder();
	s->run = function_of(s);
	return s->run ? DPI_SUCCESS : dpi_fail(DPI_ERR_INTERNAL, "operation %d of an expression has no function", i->op);
}

static bool uniform(const struct dpi_step *s)
{
	return s->a->uniform && (!s->b || s->b->uniform) && (!s->c || s->c->uniform);
}

/* A step over one row, for all; false: it has an error, which it must have again for each row. */
static bool run_once(struct dpi_expr_state *s, const struct dpi_step *step, int kind)
{
	struct dpi_run r = { .kernels = s->run.kernels, .rows = 1, .live = { 1 }, .arena = s->fixed };
	struct dpi_step once = *step;
	once.mask = NULL;
	once.run(&r, &once);
	s->fixed = r.arena;
	if (r.any_bad || r.error) return false;
	spread(step->out, kind);
	return true;
}

/* The last instruction that reads each value's register; -1: none, as of the elements of a list. */
static void last_uses(const struct dpi_expr *e, int *last)
{
	for (int v = 0; v < e->values; v++) last[v] = -1;
	for (int i = 0; i < e->instructions; i++) {
		const struct dpi_instruction *n = e->instruction + i;
		const uint16_t operand[] = { n->a, n->b, n->c, n->mask };
		for (int o = 0; o < 4; o++)
			if (operand[o] != DPI_VALUE_NONE && !(o == 1 && n->op == OP_IN)) last[operand[o]] = i;
	}
	last[e->root] = NEVER;
}

int dpi_ready_make(struct dpi_expr_state *s, struct dpi_ready *ready, const struct dpi_expr *e)
{
	int *last = malloc(((size_t)e->values + 1) * sizeof *last), error = DPI_SUCCESS;
	ready->program = e;
	ready->value = calloc((size_t)e->values + 1, sizeof *ready->value);
	ready->step = calloc((size_t)e->instructions + 1, sizeof *ready->step);
	if (!last || !ready->value || !ready->step) {
		error = dpi_fail(DPI_ERR_MEMORY, "no memory for an expression's state");
		goto done;
	}
	last_uses(e, last);
	for (struct dpi_buffers *b = s->buffers; b; b = b->next)
		if (b->free_from != NEVER) b->free_from = 0; /* another program's, which runs before or after this one */
	for (int i = 0; i < e->columns + e->constants; i++) {
		struct dpi_register *v = ready->value + i;
		bool constant = i >= e->columns;
		if (constant && last[i] < 0) continue;
		if (!(v->own = buffer(s, e->kind[i], KEPT, NEVER)))
			error = s->registers > REGISTERS_MAX ? DPI_ERR_LIMIT : DPI_ERR_MEMORY;
		if (error) goto done;
		v->data = v->own;
		if (constant) set_constant(v, e->constant + i - e->columns);
	}
	for (int i = 0; i < e->instructions; i++) {
		struct dpi_step *step = ready->step + ready->steps;
		int out = e->columns + e->constants + i;
		struct dpi_register *v = ready->value + out;
		error = make_step(ready, e->instruction + i, out, step);
		if (error) goto done;
		bool once = uniform(step);
		if (!(v->own = v->data = buffer(s, e->kind[out], once ? KEPT : i, once ? NEVER : last[out])))
			error = s->registers > REGISTERS_MAX ? DPI_ERR_LIMIT : DPI_ERR_MEMORY;
		if (error) goto done;
		if (!once || !run_once(s, step, e->kind[out])) ready->steps++;
	}
done:
	free(last);
	return error;
}

void dpi_ready_free(struct dpi_ready *ready)
{
	free(ready->value);
	free(ready->step);
}

/* ---------------------------------------------------------------------------------------------------------- run */

void dpi_ready_run(struct dpi_run *r, const struct dpi_ready *ready)
{
	for (int i = 0; i < ready->steps && !r->error; i++) {
		const struct dpi_step *s = ready->step + i;
		if (s->mask) {
			uint64_t any = 0;
			for (size_t w = 0; w < WORDS; w++) any |= r->live[w] & ((const uint64_t *)s->mask->data)[w];
			if (!any) { /* no row is in the mask */
				memset(s->out->bits, 0, sizeof s->out->bits);
				s->out->valid = s->out->bits;
				continue;
			}
		}
		s->run(r, s);
	}
}

/* -------------------------------------------------------------------------------------------------------- columns */

int dpi_bind_check(const struct dpi_expr *e, const struct dpi_batch *batch)
{
	for (int i = 0; i < e->columns; i++) {
		const struct dpi_expr_type *t = e->column_type + i;
		bool good = e->column[i] < batch->columns;
		const struct dpi_vector *v = good ? batch->column + e->column[i] : NULL;
		char wants[DPI_TYPE_PRINTED];
		good = good && v->type == t->type;
		if (good && t->type == DPI_TYPE_FIXED) good = v->width == t->width;
		if (good && dpi_type_is_decimal(t->type)) good = v->scale == t->scale;
		if (good && batch->rows)
			good = t->type == DPI_TYPE_BINARY || t->type == DPI_TYPE_UTF8 ? v->offset != NULL : v->data != NULL;
		if (!good)
			return dpi_fail(DPI_ERR_ARGUMENT,
					"column %d of the batch is not the %s that the expression was made for",
					e->column[i], dpi_type_print(t, wants));
	}
	return DPI_SUCCESS;
}

static void bind_text(struct dpi_register *v, const struct dpi_expr_type *t, const struct dpi_vector *from, size_t first,
		      size_t rows)
{
	static const uint8_t none[1];
	struct dpi_text *out = v->own;
	const uint8_t *bytes = from->data ? from->data : none;
	for (size_t i = 0; i < rows; i++) {
		size_t at = t->type == DPI_TYPE_FIXED ? (first + i) * t->width : (size_t)from->offset[first + i];
		size_t end = t->type == DPI_TYPE_FIXED ? at + t->width : (size_t)from->offset[first + i + 1];
		out[i] = (struct dpi_text){ bytes + at, end - at };
	}
}

void dpi_bind(struct dpi_ready *ready, const struct dpi_batch *batch, size_t first, size_t rows)
{
	const struct dpi_expr *e = ready->program;
	for (int i = 0; i < e->columns; i++) {
		struct dpi_register *v = ready->value + i;
		const struct dpi_vector *from = batch->column + e->column[i];
		size_t width = dpi_kind_width(e->kind[i]);
		v->data = v->own;
		if (e->kind[i] == KIND_TEXT) bind_text(v, e->column_type + i, from, first, rows);
		else if (e->kind[i] == KIND_BOOL) memcpy(v->own, (const uint8_t *)from->data + first / 8, (rows + 7) / 8);
		else {
			const uint8_t *at = (const uint8_t *)from->data + first * width;
			if ((uintptr_t)at & (width - 1)) memcpy(v->own, at, rows * width);
			else v->data = (void *)(uintptr_t)at; /* read only: no step writes what is not its own */
		}
		v->valid = NULL;
		if (!from->valid) continue;
		memcpy(v->bits, from->valid + first / 8, (rows + 7) / 8);
		v->valid = v->bits;
	}
}
