/* SPDX-License-Identifier: Apache-2.0
 * compile.c: text to a program: parse, check, emit, and number what is needed. */
#include <stdlib.h>
#include <string.h>

#include "emit.h"
#include "image.h"

/* Instructions that the result needs, from the last: operands stand before. */
static int mark_needed(struct dpi_emitter *e, int root)
{
	int count = 0;
	if (root >= EMIT_INSTRUCTION) e->instruction[root - EMIT_INSTRUCTION].used = true;
	for (int k = e->instructions; k-- > 0;) {
		struct dpi_emitted *i = e->instruction + k;
		const int operand[] = { i->a, i->b, i->c, i->mask };
		if (!i->used) continue;
		count++;
		for (int o = 0; o < 4; o++)
			if (operand[o] >= EMIT_INSTRUCTION) e->instruction[operand[o] - EMIT_INSTRUCTION].used = true;
	}
	return count;
}

static uint16_t numbered(const struct dpi_emitter *e, int v)
{
	if (v == EMIT_NONE) return DPI_VALUE_NONE;
	if (v >= EMIT_INSTRUCTION) return (uint16_t)e->instruction[v - EMIT_INSTRUCTION].number;
	return (uint16_t)(v >= EMIT_CONSTANT ? e->columns + v - EMIT_CONSTANT : v);
}

static int finish(struct dpi_emitter *e, int root, const struct dpi_expr_type *type, struct dpi_expr **out)
{
	int instructions = mark_needed(e, root);
	size_t pool = 0;
	for (int i = 0; i < e->constants; i++) pool += e->constant[i].text.size;
	if (e->columns > DPI_EXPR_COLUMNS_MAX || e->columns + e->constants + instructions > DPI_EXPR_VALUES_MAX)
		return dpi_fail(DPI_ERR_LIMIT, "the expression's program has more than %d values: split it",
				DPI_EXPR_VALUES_MAX);
	struct dpi_expr *x = dpi_program_new(e->columns, e->constants, instructions, pool);
	if (!x) return DPI_ERR_MEMORY;
	x->result = *type;
	for (int i = 0; i < e->columns; i++) {
		x->column[i] = e->column[i];
		if (dpi_type_of_column(e->tree->column + e->column[i], e->column[i], x->column_type + i)) {
			dpi_expr_free(x);
			return DPI_ERR_ARGUMENT;
		}
	}
	uint8_t *text = x->pool;
	for (int i = 0; i < e->constants; i++) {
		struct dpi_constant *c = x->constant + i;
		*c = e->constant[i];
		if (c->text.size) memcpy(text, c->text.at, c->text.size);
		c->text.at = text;
		text += c->text.size;
	}
	int number = e->columns + e->constants, k = 0;
	for (int i = 0; i < e->instructions; i++) {
		struct dpi_emitted *m = e->instruction + i;
		if (!m->used) continue;
		m->number = number++;
		x->instruction[k++] = (struct dpi_instruction){ (uint16_t)m->op,
								numbered(e, m->a),
								numbered(e, m->b),
								numbered(e, m->c),
								numbered(e, m->mask),
								m->imm,
								m->at };
	}
	x->root = numbered(e, root);
	int error = dpi_program_check(x);
	if (error == DPI_ERR_CORRUPT)
		error = dpi_fail(DPI_ERR_INTERNAL, "the compiler made a wrong program: %s", dpi_detail());
	if (error) dpi_expr_free(x);
	else *out = x;
	return error;
}

static int emit(struct dpi_tree *t, struct dpi_expr **out)
{
	struct dpi_emitter *e = dpi_tree_memory(t, sizeof *e);
	if (!e || !(e->column = dpi_tree_memory(t, ((size_t)t->columns + 1) * sizeof *e->column))) return DPI_ERR_MEMORY;
	for (int i = 0; i < t->columns; i++)
		if (t->used[i]) e->column[e->columns++] = i;
	e->tree = t;
	for (int i = 0; i < EMIT_BUCKETS; i++) e->bucket[i] = -1;
	int root = dpi_emit_node(e, t->root, EMIT_NONE);
	return root == EMIT_FAILED ? t->error : finish(e, root, &t->root->type, out);
}

int dpi_expr_compile(const char *text, size_t size, const struct dpi_expr_column *columns, int count, struct dpi_expr **out)
{
	struct dpi_tree t = { .column = columns, .columns = count };
	if (!text || !out || count < 0 || (count && !columns))
		return dpi_fail(DPI_ERR_ARGUMENT,
				"dpi_expr_compile: the text, the columns or the place of the program is NULL");
	int error = dpi_expr_parse(&t, text, size);
	if (!error) error = dpi_expr_check(&t);
	if (!error) error = emit(&t, out);
	dpi_tree_free(&t);
	return error;
}
