/* SPDX-License-Identifier: Apache-2.0
 * run.c: which rows a step works in, which have errors, and memory for text. */
#include "run.h"

#include <stdlib.h>

#include "error.h"

#define BLOCK_LEAST ((size_t)64 << 10)

struct dpi_text_block {
	struct dpi_text_block *next;
	size_t used, size;
	uint8_t bytes[];
};

uint8_t *dpi_run_text(struct dpi_run *r, size_t size)
{
	struct dpi_arena *a = &r->arena;
	static uint8_t none[1];
	if (!size) return none;
	if (size > a->limit || a->used > a->limit - size) {
		if (!r->error)
			r->error = dpi_fail(DPI_ERR_LIMIT,
					    "the expression makes more than %zu bytes of text from %zu rows: make shorter "
					    "text, or raise the limit",
					    a->limit, r->rows);
		return NULL;
	}
	a->used += size;
	for (struct dpi_text_block **b = a->now ? &a->now : &a->first;; b = &(*b)->next) {
		if (!*b) {
			size_t room = size > BLOCK_LEAST ? size : BLOCK_LEAST;
			struct dpi_text_block *made = malloc(sizeof *made + room);
			if (!made) {
				if (!r->error)
					r->error = dpi_fail(DPI_ERR_MEMORY,
							    "no memory for %zu bytes of an expression's text", room);
				return NULL;
			}
			*made = (struct dpi_text_block){ .size = room };
			*b = made;
		}
		if ((*b)->size - (*b)->used < size) continue;
		a->now = *b;
		(*b)->used += size;
		return (*b)->bytes + (*b)->used - size;
	}
}

void dpi_arena_reset(struct dpi_arena *a)
{
	for (struct dpi_text_block *b = a->first; b; b = b->next) b->used = 0;
	a->now = a->first;
	a->used = 0;
}

void dpi_arena_free(struct dpi_arena *a)
{
	while (a->first) {
		struct dpi_text_block *next = a->first->next;
		free(a->first);
		a->first = next;
	}
	a->now = NULL;
}

void dpi_run_bad(struct dpi_run *r, const struct dpi_step *s, const uint64_t *bad, int why)
{
	for (size_t w = 0; w < WORDS; w++) {
		if (!bad[w]) continue;
		size_t row = w * 64 + (size_t)__builtin_ctzll(bad[w]);
		if (!r->any_bad || row < r->bad_row) r->bad_row = row, r->bad_why = why, r->bad_at = s->at;
		r->any_bad = true;
		r->bad[w] |= bad[w];
	}
}

void dpi_step_rows(const struct dpi_run *r, const struct dpi_step *s, uint64_t *rows)
{
	const struct dpi_register *operand[] = { s->a, s->b, s->c, s->mask };
	memcpy(rows, r->live, WORDS * sizeof *rows);
	for (int i = 0; i < 4; i++)
		for (size_t w = 0; w < WORDS && operand[i] && operand[i]->valid; w++) rows[w] &= operand[i]->valid[w];
	for (size_t w = 0; w < WORDS && s->mask; w++) rows[w] &= ((const uint64_t *)s->mask->data)[w];
}

void dpi_step_done(const struct dpi_run *r, const struct dpi_step *s, const uint64_t *rows)
{
	struct dpi_register *o = s->out;
	bool all = true;
	for (size_t w = 0; w < WORDS; w++) {
		o->bits[w] = rows[w];
		size_t first = w * 64, n = r->rows > first ? r->rows - first : 0;
		uint64_t whole = n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
		all &= rows[w] == whole;
	}
	o->valid = all ? NULL : o->bits;
}

void dpi_step_valid(const struct dpi_step *s)
{
	const struct dpi_register *operand[] = { s->a, s->b, s->c };
	struct dpi_register *o = s->out;
	bool some = false;
	for (int i = 0; i < 3; i++) {
		if (!operand[i] || !operand[i]->valid) continue;
		for (size_t w = 0; w < WORDS; w++)
			o->bits[w] = some ? o->bits[w] & operand[i]->valid[w] : operand[i]->valid[w];
		some = true;
	}
	o->valid = some ? o->bits : NULL;
}
