/* SPDX-License-Identifier: Apache-2.0
 * emit.c: a checked tree to instructions. Equal instructions become one; those that nothing needs are left out. */
#include "emit.h"

#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------------------------------------- values */

int dpi_emit_kind(const struct dpi_emitter *e, int v)
{
	if (v >= EMIT_INSTRUCTION) return e->instruction[v - EMIT_INSTRUCTION].kind;
	if (v >= EMIT_CONSTANT) return e->constant[v - EMIT_CONSTANT].kind;
	return dpi_type_kind(e->tree->column[e->column[v]].type);
}

static int failed(struct dpi_emitter *e)
{
	dpi_tree_fail(e->tree, DPI_ERR_LIMIT, e->at, "the program has more than %d values: split the expression",
		      DPI_EXPR_VALUES_MAX);
	return EMIT_FAILED;
}

/* Room for one more element; old ones move. */
static bool room(struct dpi_emitter *e, void *array, int count, int *have, size_t size)
{
	void **a = array;
	if (count < *have) return true;
	int more = *have ? *have * 2 : 32;
	void *bigger = dpi_tree_memory(e->tree, (size_t)more * size);
	if (!bigger) return false;
	if (count) memcpy(bigger, *a, (size_t)count * size);
	*a = bigger, *have = more;
	return true;
}

int dpi_emit_constant(struct dpi_emitter *e, int kind, const void *bytes, struct dpi_text text, bool null, bool shared)
{
	struct dpi_constant c = { .kind = (uint8_t)kind, .null = null, .text = text };
	size_t width = kind == KIND_BOOL ? 1 : kind == KIND_TEXT ? 0 : dpi_kind_width(kind);
	if (bytes && !null) memcpy(c.bytes, bytes, width);
	for (int i = 0; shared && i < e->constants; i++)
		if (e->constant[i].kind == kind && e->constant[i].null == null &&
		    (null || !dpi_constant_compare(e->constant + i, &c)) &&
		    !memcmp(e->constant[i].bytes, c.bytes, sizeof c.bytes))
			return EMIT_CONSTANT + i;
	if (e->constants >= DPI_EXPR_VALUES_MAX) return failed(e);
	if (!room(e, &e->constant, e->constants, &e->constant_room, sizeof *e->constant)) return EMIT_FAILED;
	e->constant[e->constants] = c;
	return EMIT_CONSTANT + e->constants++;
}

static int null_of(struct dpi_emitter *e, int kind)
{
	return dpi_emit_constant(e, kind, NULL, (struct dpi_text){ NULL, 0 }, true, true);
}

/* Is mask the same as outer, or within it? */
static bool within(const struct dpi_emitter *e, int mask, int outer)
{
	while (mask != outer && mask >= EMIT_INSTRUCTION) mask = e->outer[mask - EMIT_INSTRUCTION];
	return mask == outer;
}

int dpi_emit(struct dpi_emitter *e, int op, int mask, uint32_t imm, int a, int b, int c)
{
	if (a == EMIT_FAILED || b == EMIT_FAILED || c == EMIT_FAILED || mask == EMIT_FAILED) return EMIT_FAILED;
	struct dpi_instruction i = { .op = (uint16_t)op, .imm = imm };
	int ka = a == EMIT_NONE ? 0 : dpi_emit_kind(e, a);
	int kind = dpi_op_result(&i, ka, b == EMIT_NONE ? 0 : dpi_emit_kind(e, b), c == EMIT_NONE ? 0 : dpi_emit_kind(e, c));
	if (!kind) {
		e->tree->error =
			dpi_fail(DPI_ERR_INTERNAL, "character %u: operation %d has no such operands", (unsigned)e->at, op);
		return EMIT_FAILED;
	}
	if (!dpi_op_masked(&i, ka)) mask = EMIT_NONE;
	uint32_t hash = ((((uint32_t)op * 31 + (uint32_t)a) * 31 + (uint32_t)b) * 31 + (uint32_t)c) * 31 + imm;
	int *bucket = &e->bucket[hash * 2654435761u >> 20];
	for (int k = *bucket; k >= 0; k = e->instruction[k].next) {
		struct dpi_emitted *o = e->instruction + k;
		if (o->op == op && o->a == a && o->b == b && o->c == c && o->imm == imm && within(e, mask, o->mask))
			return EMIT_INSTRUCTION + k;
	}
	int had = e->instruction_room;
	if (e->instructions >= 4 * DPI_EXPR_VALUES_MAX) return failed(e);
	if (!room(e, &e->instruction, e->instructions, &e->instruction_room, sizeof *e->instruction)) return EMIT_FAILED;
	if (!room(e, &e->outer, e->instructions, &had, sizeof *e->outer)) return EMIT_FAILED;
	e->instruction[e->instructions] = (struct dpi_emitted){ op, a, b, c, mask, imm, e->at, kind, ka, *bucket, false, 0 };
	e->outer[e->instructions] = EMIT_NONE;
	*bucket = e->instructions;
	return EMIT_INSTRUCTION + e->instructions++;
}

/* --------------------------------------------------------------------------------------------------- shorthands */

static int one(struct dpi_emitter *e, int op, int mask, uint32_t imm, int a)
{
	return dpi_emit(e, op, mask, imm, a, EMIT_NONE, EMIT_NONE);
}

static int two(struct dpi_emitter *e, int op, int mask, uint32_t imm, int a, int b)
{
	return dpi_emit(e, op, mask, imm, a, b, EMIT_NONE);
}

static int not(struct dpi_emitter * e, int a)
{
	return one(e, OP_NOT, EMIT_NONE, 0, a);
}
static int is_true(struct dpi_emitter *e, int a)
{
	return one(e, OP_IS_TRUE, EMIT_NONE, 0, a);
}
static int is_null(struct dpi_emitter *e, int a)
{
	return one(e, OP_IS_NULL, EMIT_NONE, 0, a);
}
static int pick(struct dpi_emitter *e, int which, int a, int b)
{
	return dpi_emit(e, OP_SELECT, EMIT_NONE, 0, which, a, b);
}

/* The rows of mask where condition, which is never NULL, is true. */
static int narrower(struct dpi_emitter *e, int mask, int condition)
{
	if (mask == EMIT_NONE) return condition;
	int m = two(e, OP_AND, EMIT_NONE, 0, mask, condition);
	if (m != EMIT_FAILED) e->outer[m - EMIT_INSTRUCTION] = mask;
	return m;
}

/* --------------------------------------------------------------------------------------------------- operations */

static int literal(struct dpi_emitter *e, const struct dpi_node *n)
{
	int kind = dpi_type_kind(n->type.type);
	float f = (float)n->real;
	const void *bytes = &n->number; /* little endian: the low bytes are the narrower value */
	if (kind == KIND_F32) bytes = &f;
	if (kind == KIND_F64) bytes = &n->real;
	struct dpi_text none = { NULL, 0 };
	return dpi_emit_constant(e, kind, bytes, kind == KIND_TEXT && !n->null ? n->text : none, n->null, true);
}

static int column(struct dpi_emitter *e, const struct dpi_node *n)
{
	for (int i = 0; i < e->columns; i++)
		if (e->column[i] == (int)n->number) return EMIT_COLUMN + i;
	return EMIT_FAILED;
}

/* a op b, where b is looked at only in rows that a does not decide. */
static int logic(struct dpi_emitter *e, struct dpi_node *n, int mask)
{
	bool and = n->op == NODE_AND;
	int a = dpi_emit_node(e, n->kid[0], mask);
	int undecided = not(e, is_true(e, and? not(e, a) : a));
	int b = dpi_emit_node(e, n->kid[1], narrower(e, mask, undecided));
	return two(e, and? OP_AND : OP_OR, EMIT_NONE, 0, a, b);
}

static int between(struct dpi_emitter *e, struct dpi_node *n, int mask)
{
	int x = dpi_emit_node(e, n->kid[0], mask), low = two(e, OP_GE, EMIT_NONE, 0, x, dpi_emit_node(e, n->kid[1], mask));
	int high = dpi_emit_node(e, n->kid[2], narrower(e, mask, not(e, is_true(e, not(e, low)))));
	return two(e, OP_AND, EMIT_NONE, 0, low, two(e, OP_LE, EMIT_NONE, 0, x, high));
}

static int by_value(const void *a, const void *b)
{
	return dpi_constant_compare(a, b);
}

/* x is looked for among the literals first, then among the others, each where none before was equal. */
static int in(struct dpi_emitter *e, struct dpi_node *n, int mask)
{
	int x = dpi_emit_node(e, n->kid[0], mask), first = EMIT_NONE, count = 0, found = EMIT_NONE;
	bool listed = dpi_type_kind(n->kid[0]->type.type) != KIND_BOOL;
	if (x == EMIT_FAILED) return x;
	for (int i = 1; i < n->kids; i++) {
		const struct dpi_node *k = n->kid[i];
		if (k->op != NODE_LITERAL || k->null || !listed) continue;
		float f = (float)k->real;
		int kind = dpi_type_kind(k->type.type);
		const void *bytes = kind == KIND_F32   ? (const void *)&f
				    : kind == KIND_F64 ? (const void *)&k->real
						       : &k->number;
		int v = dpi_emit_constant(e, kind, bytes, k->text, false, false);
		if (v == EMIT_FAILED) return v;
		if (!count++) first = v;
	}
	if (count) {
		qsort(e->constant + first - EMIT_CONSTANT, (size_t)count, sizeof *e->constant, by_value);
		found = two(e, OP_IN, EMIT_NONE, (uint32_t)count, x, first);
	}
	for (int i = 1; i < n->kids && found != EMIT_FAILED; i++) {
		struct dpi_node *k = n->kid[i];
		if (k->op == NODE_LITERAL && !k->null && listed) continue;
		int rest = found == EMIT_NONE ? mask : narrower(e, mask, not(e, is_true(e, found)));
		int same = two(e, OP_EQ, EMIT_NONE, 0, x, dpi_emit_node(e, k, rest));
		found = found == EMIT_NONE ? same : two(e, OP_OR, EMIT_NONE, 0, found, same);
	}
	return found;
}

static int distinct(struct dpi_emitter *e, struct dpi_node *n, int mask)
{
	int a = dpi_emit_node(e, n->kid[0], mask), b = dpi_emit_node(e, n->kid[1], mask);
	int same = is_true(e, two(e, OP_EQ, EMIT_NONE, 0, a, b));
	int nulls = two(e, OP_AND, EMIT_NONE, 0, is_null(e, a), is_null(e, b));
	return not(e, two(e, OP_OR, EMIT_NONE, 0, same, nulls));
}

/* Values are chosen from the last to the first; rows that none has chosen yet are the mask of the next. */
static int choice(struct dpi_emitter *e, struct dpi_node *n, int mask)
{
	bool cases = n->op == NODE_CASE;
	int count = cases ? n->kids / 2 : n->kids - 1, rest = mask, result;
	int *chosen = dpi_tree_memory(e->tree, 2 * (size_t)(count + 1) * sizeof *chosen),
	    *value = chosen ? chosen + count + 1 : NULL;
	if (!chosen) return EMIT_FAILED;
	for (int i = 0; i < count; i++) {
		if (cases) {
			chosen[i] = is_true(e, dpi_emit_node(e, n->kid[2 * i], rest));
			value[i] = dpi_emit_node(e, n->kid[2 * i + 1], narrower(e, rest, chosen[i]));
		} else {
			value[i] = dpi_emit_node(e, n->kid[i], rest);
			chosen[i] = not(e, is_null(e, value[i]));
		}
		if (chosen[i] == EMIT_FAILED || value[i] == EMIT_FAILED) return EMIT_FAILED;
		rest = narrower(e, rest, not(e, chosen[i]));
	}
	result = dpi_emit_node(e, n->kid[n->kids - 1], rest);
	while (count--) result = pick(e, chosen[count], value[count], result);
	return result;
}

/* The least or greatest so far stays where the next is NULL or no better; a NULL so far does not. */
static int extreme(struct dpi_emitter *e, struct dpi_node *n, int mask)
{
	int best = dpi_emit_node(e, n->kid[0], mask);
	for (int i = 1; i < n->kids && best != EMIT_FAILED; i++) {
		int next = dpi_emit_node(e, n->kid[i], mask);
		int stays = two(e, n->op == NODE_LEAST ? OP_LE : OP_GE, EMIT_NONE, 0, best, next);
		best = pick(e, two(e, OP_OR, EMIT_NONE, 0, is_null(e, next), stays), best, next);
	}
	return best;
}

static int arithmetic(struct dpi_emitter *e, struct dpi_node *n, int mask)
{
	static const uint8_t op[] = { OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_MOD };
	int a = dpi_emit_node(e, n->kid[0], mask), b = dpi_emit_node(e, n->kid[1], mask);
	e->at = n->at;
	int r = two(e, op[n->op - NODE_ADD], mask, 0, a, b);
	if (!dpi_type_is_decimal(n->type.type) || !n->number) return r;
	return one(e, OP_DIGITS, mask, (uint32_t)n->type.precision, r);
}

static int rounding(struct dpi_emitter *e, struct dpi_node *n, int mask)
{
	int a = dpi_emit_node(e, n->kid[0], mask);
	e->at = n->at;
	if (n->type.type == DPI_TYPE_DOUBLE) {
		int op = n->op == NODE_FLOOR ? OP_FLOOR : n->op == NODE_CEIL ? OP_CEIL : OP_ROUND;
		return one(e, op, mask, n->op == NODE_ROUND ? (uint32_t)n->number : 0, a);
	}
	int how = n->op == NODE_FLOOR ? DPI_ROUND_FLOOR : n->op == NODE_CEIL ? DPI_ROUND_CEIL : DPI_ROUND_NEAREST;
	int down = n->kid[0]->type.scale - n->type.scale, kind = dpi_type_kind(n->type.type);
	if (down) a = one(e, OP_DOWN, mask, (uint32_t)(how << 8 | down), a);
	return a == EMIT_FAILED || dpi_emit_kind(e, a) == kind ? a : one(e, OP_CONVERT, mask, (uint32_t)kind, a);
}

static int concat(struct dpi_emitter *e, struct dpi_node *n, int mask)
{
	int all = EMIT_NONE, empty = dpi_emit_constant(e, KIND_TEXT, NULL, (struct dpi_text){ NULL, 0 }, false, true);
	for (int i = 0; i < n->kids && all != EMIT_FAILED; i++) {
		int v = dpi_emit_node(e, n->kid[i], mask);
		v = pick(e, not(e, is_null(e, v)), v, empty);
		e->at = n->at;
		all = all == EMIT_NONE ? v : two(e, OP_CONCAT, mask, 0, all, v);
	}
	return all;
}

static int days(struct dpi_emitter *e, struct dpi_node *n, int mask)
{
	int a = dpi_emit_node(e, n->kid[0], mask), b = dpi_emit_node(e, n->kid[1], mask);
	e->at = n->at;
	if (n->op == NODE_ADD_MONTHS) return two(e, OP_MONTHS, mask, (uint32_t)n->number, a, b);
	a = one(e, OP_CONVERT, mask, KIND_I64, a);
	if (n->op == NODE_DAYS) return two(e, OP_SUB, mask, 0, a, one(e, OP_CONVERT, mask, KIND_I64, b));
	return one(e, OP_CONVERT, mask, KIND_I32, two(e, n->op == NODE_ADD_DAYS ? OP_ADD : OP_SUB, mask, 0, a, b));
}

/* Functions and operators that are one instruction. */
static int plain(struct dpi_emitter *e, struct dpi_node *n, int mask)
{
	static const uint8_t ops[] = { [NODE_EQ] = OP_EQ,
				       [NODE_NE] = OP_NE,
				       [NODE_LT] = OP_LT,
				       [NODE_LE] = OP_LE,
				       [NODE_GT] = OP_GT,
				       [NODE_GE] = OP_GE,
				       [NODE_NOT] = OP_NOT,
				       [NODE_IS_NULL] = OP_IS_NULL,
				       [NODE_NEG] = OP_NEG,
				       [NODE_ABS] = OP_ABS,
				       [NODE_SIGN] = OP_SIGN,
				       [NODE_SQRT] = OP_SQRT,
				       [NODE_POWER] = OP_POWER,
				       [NODE_OCTETS] = OP_OCTETS,
				       [NODE_LOWER] = OP_LOWER,
				       [NODE_UPPER] = OP_UPPER,
				       [NODE_TRIM] = OP_TRIM,
				       [NODE_JOIN] = OP_CONCAT,
				       [NODE_STARTS] = OP_STARTS,
				       [NODE_POSITION] = OP_POSITION,
				       [NODE_LIKE] = OP_LIKE,
				       [NODE_EXTRACT] = OP_PART,
				       [NODE_TRUNC] = OP_TRUNC,
				       [NODE_LENGTH] = OP_LENGTH,
				       [NODE_SUBSTRING] = OP_SUBSTRING,
				       [NODE_ADD_MONTHS] = 0 };
	int v[3] = { EMIT_NONE, EMIT_NONE, EMIT_NONE }, op = ops[n->op];
	bool binary = n->kids && dpi_type_is_bytes(n->kid[0]->type.type);
	uint32_t imm = 0;
	for (int i = 0; i < n->kids; i++) v[i] = dpi_emit_node(e, n->kid[i], mask);
	e->at = n->at;
	if (op == OP_SUBSTRING || op == OP_POSITION) imm = binary;
	if (op == OP_SUBSTRING && n->kids == 2) v[2] = v[1], imm |= 2;
	if (op == OP_LENGTH && binary) op = OP_OCTETS;
	if (op == OP_TRIM || op == OP_LIKE || op == OP_PART || op == OP_TRUNC) imm = (uint32_t)n->number;
	return dpi_emit(e, op, mask, imm, v[0], v[1], v[2]);
}

static int operation(struct dpi_emitter *e, struct dpi_node *n, int mask)
{
	switch (n->op) {
	case NODE_LITERAL: return literal(e, n);
	case NODE_COLUMN: return column(e, n);
	case NODE_CAST: {
		int v = dpi_emit_node(e, n->kid[0], mask);
		e->at = n->at;
		return dpi_emit_cast(e, v, &n->kid[0]->type, &n->type, mask);
	}
	case NODE_ADD:
	case NODE_SUB:
	case NODE_MUL:
	case NODE_DIV:
	case NODE_MOD: return arithmetic(e, n, mask);
	case NODE_AND:
	case NODE_OR: return logic(e, n, mask);
	case NODE_BETWEEN: return between(e, n, mask);
	case NODE_IN: return in(e, n, mask);
	case NODE_DISTINCT: return distinct(e, n, mask);
	case NODE_CASE:
	case NODE_COALESCE: return choice(e, n, mask);
	case NODE_NULLIF: {
		int a = dpi_emit_node(e, n->kid[0], mask), same = is_true(e, dpi_emit_node(e, n->kid[1], mask));
		return a == EMIT_FAILED ? a : pick(e, same, null_of(e, dpi_emit_kind(e, a)), a);
	}
	case NODE_LEAST:
	case NODE_GREATEST: return extreme(e, n, mask);
	case NODE_ROUND:
	case NODE_FLOOR:
	case NODE_CEIL: return rounding(e, n, mask);
	case NODE_CONCAT: return concat(e, n, mask);
	case NODE_ADD_DAYS:
	case NODE_SUB_DAYS:
	case NODE_DAYS:
	case NODE_ADD_MONTHS: return days(e, n, mask);
	default: return plain(e, n, mask);
	}
}

/* A node that stands at several places is computed once, unless that was where the mask is narrower than here. */
int dpi_emit_node(struct dpi_emitter *e, struct dpi_node *n, int mask)
{
	if (mask == EMIT_FAILED) return EMIT_FAILED;
	if (n->value >= 0 && within(e, mask, n->mask)) return n->value;
	uint32_t at = e->at;
	e->at = n->at;
	int v = operation(e, n, mask);
	e->at = at;
	n->value = v, n->mask = mask;
	return v;
}
