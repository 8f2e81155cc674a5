/* SPDX-License-Identifier: Apache-2.0
 * op_logic.c: comparisons, logic of three values, selection, IN. */
#include "run.h"

#define WORDS_OF(reg) ((const uint64_t *)(reg)->data)

/* ------------------------------------------------------------------------------------------------- comparisons */

static void compare_loop(struct dpi_run *r, const struct dpi_step *s)
{
	int loop = s->op == OP_EQ || s->op == OP_NE   ? DPI_LOOP_EQ
		   : s->op == OP_LT || s->op == OP_GT ? DPI_LOOP_LT
						      : DPI_LOOP_LE;
	bool swap = s->op == OP_GT || s->op == OP_GE;
	uint64_t *out = s->out->data;
	const struct dpi_kernels *k = r->kernels;
	const void *a = s->a->data, *b = s->b->data;
	if (s->b->uniform) (swap ? k->compare_one_swapped : k->compare_one)[loop][s->kind](a, b, r->rows, out);
	else if (s->a->uniform) (swap ? k->compare_one : k->compare_one_swapped)[loop][s->kind](b, a, r->rows, out);
	else k->compare[loop][s->kind](swap ? b : a, swap ? a : b, r->rows, out);
	if (s->op == OP_NE)
		for (size_t w = 0; w < WORDS; w++) out[w] = ~out[w];
	dpi_step_valid(s);
}

static void compare_bools(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t *out = s->out->data;
	(void)r;
	for (size_t w = 0; w < WORDS; w++) {
		uint64_t a = WORDS_OF(s->a)[w], b = WORDS_OF(s->b)[w];
		switch (s->op) {
		case OP_EQ: out[w] = ~(a ^ b); break;
		case OP_NE: out[w] = a ^ b; break;
		case OP_LT: out[w] = ~a & b; break;
		case OP_LE: out[w] = ~a | b; break;
		case OP_GT: out[w] = a & ~b; break;
		default: out[w] = a | ~b; break;
		}
	}
	dpi_step_valid(s);
}

static bool holds(int op, int order)
{
	switch (op) {
	case OP_EQ: return order == 0;
	case OP_NE: return order != 0;
	case OP_LT: return order < 0;
	case OP_LE: return order <= 0;
	case OP_GT: return order > 0;
	default: return order >= 0;
	}
}

static int text_order(struct dpi_text a, struct dpi_text b)
{
	size_t n = a.size < b.size ? a.size : b.size;
	int order = n ? memcmp(a.at, b.at, n) : 0;
	return order ? order : a.size < b.size ? -1 : a.size > b.size;
}

static void compare_wide(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS], *out = s->out->data;
	const dpi_i128 *a = s->a->data, *b = s->b->data;
	dpi_step_rows(r, s, rows);
	memset(out, 0, WORDS * sizeof *out);
	EACH_ROW (rows) MARK_IF(out, holds(s->op, a[ROW] < b[ROW] ? -1 : a[ROW] > b[ROW]));
	dpi_step_done(r, s, rows);
}

static void compare_text(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t rows[WORDS], *out = s->out->data;
	const struct dpi_text *a = s->a->data, *b = s->b->data;
	bool equal = s->op == OP_EQ || s->op == OP_NE, negate = s->op == OP_NE;
	dpi_step_rows(r, s, rows);
	memset(out, 0, WORDS * sizeof *out);
	EACH_ROW (rows) {
		size_t i = ROW;
		MARK_IF(out, equal ? dpi_text_equal(a[i], b[i]) != negate : holds(s->op, text_order(a[i], b[i])));
	}
	dpi_step_done(r, s, rows);
}

/* ------------------------------------------------------------------------------------------------------- logic */

static void and_or(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t *out = s->out->data;
	const uint64_t *a = s->a->data, *b = s->b->data, *va = s->a->valid, *vb = s->b->valid;
	bool and = s->op == OP_AND;
	(void)r;
	if (!va && !vb) {
		for (size_t w = 0; w < WORDS; w++) out[w] = and? a[w] & b[w] : a[w] | b[w];
		s->out->valid = NULL;
		return;
	}
	for (size_t w = 0; w < WORDS; w++) {
		uint64_t x = va ? va[w] : ~UINT64_C(0), y = vb ? vb[w] : ~UINT64_C(0);
		uint64_t yes_a = a[w] & x, yes_b = b[w] & y, no_a = ~a[w] & x, no_b = ~b[w] & y;
		out[w] = and? yes_a & yes_b : yes_a | yes_b;
		s->out->bits[w] = out[w] | (and? no_a | no_b : no_a & no_b);
	}
	s->out->valid = s->out->bits;
}

static void not(struct dpi_run * r, const struct dpi_step *s)
{
	uint64_t *out = s->out->data;
	(void)r;
	for (size_t w = 0; w < WORDS; w++) out[w] = ~WORDS_OF(s->a)[w];
	dpi_step_valid(s);
}

static void is_null(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t *out = s->out->data;
	(void)r;
	for (size_t w = 0; w < WORDS; w++) out[w] = s->a->valid ? ~s->a->valid[w] : 0;
	s->out->valid = NULL;
}

static void is_true(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t *out = s->out->data;
	(void)r;
	for (size_t w = 0; w < WORDS; w++) out[w] = WORDS_OF(s->a)[w] & (s->a->valid ? s->a->valid[w] : ~UINT64_C(0));
	s->out->valid = NULL;
}

static void blend(uint64_t *out, const uint64_t *which, const uint64_t *b, const uint64_t *c)
{
	for (size_t w = 0; w < WORDS; w++)
		out[w] = (which[w] & (b ? b[w] : ~UINT64_C(0))) | (~which[w] & (c ? c[w] : ~UINT64_C(0)));
}

static void choose(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t which[WORDS];
	for (size_t w = 0; w < WORDS; w++) which[w] = WORDS_OF(s->a)[w] & (s->a->valid ? s->a->valid[w] : ~UINT64_C(0));
	if (s->kind == KIND_BOOL) blend(s->out->data, which, s->b->data, s->c->data);
	else {
		int width = __builtin_ctzl(dpi_kind_width(s->kind));
		r->kernels->select[width](which, s->b->data, s->c->data, r->rows, s->out->data);
	}
	if (s->b->valid || s->c->valid) blend(s->out->bits, which, s->b->valid, s->c->valid);
	s->out->valid = s->b->valid || s->c->valid ? s->out->bits : NULL;
}

/* ---------------------------------------------------------------------------------------------------------- IN */

#define FEW 16 /* constants that are better compared one by one */

static void in_loop(struct dpi_run *r, const struct dpi_step *s)
{
	uint64_t found[WORDS], *out = s->out->data;
	memset(out, 0, WORDS * sizeof *out);
	for (uint32_t i = 0; i < s->imm; i++) {
		r->kernels->compare_one[DPI_LOOP_EQ][s->kind](s->a->data, s->list[i].bytes, r->rows, found);
		for (size_t w = 0; w < (r->rows + 63) / 64; w++) out[w] |= found[w];
	}
	dpi_step_valid(&(struct dpi_step){ .out = s->out, .a = s->a });
}

static void in_search(struct dpi_run *r, const struct dpi_step *s)
{
	struct dpi_step alone = { .out = s->out, .a = s->a };
	uint64_t rows[WORDS], *out = s->out->data;
	size_t width = dpi_kind_width(s->kind);
	struct dpi_constant x = { .kind = s->kind };
	dpi_step_rows(r, &alone, rows);
	memset(out, 0, WORDS * sizeof *out);
	EACH_ROW (rows) {
		if (s->kind == KIND_TEXT) x.text = VALUES(struct dpi_text, s->a)[ROW];
		else memcpy(x.bytes, (const uint8_t *)s->a->data + ROW * width, width);
		uint32_t low = 0, high = s->imm;
		while (low < high) {
			uint32_t middle = low + (high - low) / 2;
			int order = dpi_constant_compare(&x, s->list + middle);
			if (!order) {
				MARK(out);
				break;
			}
			if (order < 0) high = middle;
			else low = middle + 1;
		}
	}
	dpi_step_done(r, &alone, rows);
}

dpi_step_function *dpi_step_logic(const struct dpi_step *s)
{
	switch (s->op) {
	case OP_EQ:
	case OP_NE:
	case OP_LT:
	case OP_LE:
	case OP_GT:
	case OP_GE:
		return s->kind == KIND_BOOL   ? compare_bools
		       : s->kind == KIND_I128 ? compare_wide
		       : s->kind == KIND_TEXT ? compare_text
					      : compare_loop;
	case OP_AND:
	case OP_OR: return and_or;
	case OP_NOT: return not ;
	case OP_IS_NULL: return is_null;
	case OP_IS_TRUE: return is_true;
	case OP_SELECT: return choose;
	case OP_IN: return s->imm > FEW || s->kind == KIND_I128 || s->kind == KIND_TEXT ? in_search : in_loop;
	default: return NULL;
	}
}
