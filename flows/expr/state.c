/* SPDX-License-Identifier: Apache-2.0
 * state.c: a batch through programs, chunk by chunk: filter and project. */
#include "state.h"

#include <stdlib.h>

#include "error.h"

#define TEXT_LIMIT ((size_t)256 << 20)

int dpi_expr_state_new(const struct dpi_expr *const *programs, int count, enum dpi_expr_on_error on_error,
		       struct dpi_expr_state **out)
{
	if (!programs || !out || count < 1 || (unsigned)on_error > DPI_EXPR_DROP)
		return dpi_fail(DPI_ERR_ARGUMENT, "dpi_expr_state_new: no program, or %d is no way to treat errors",
				(int)on_error);
	struct dpi_expr_state *s = aligned_alloc(64, (sizeof *s + 63) / 64 * 64);
	if (!s) return dpi_fail(DPI_ERR_MEMORY, "no memory for an expression's state");
	*s = (struct dpi_expr_state){ .on_error = on_error };
	s->run.kernels = dpi_kernels();
	s->run.arena.limit = s->fixed.limit = TEXT_LIMIT;
	s->ready = calloc((size_t)count, sizeof *s->ready);
	s->result = calloc((size_t)count, sizeof *s->result);
	int error = s->ready && s->result ? DPI_SUCCESS
					  : dpi_fail(DPI_ERR_MEMORY, "no memory for the state of %d expressions", count);
	for (; !error && s->count < count; s->count++) error = dpi_ready_make(s, s->ready + s->count, programs[s->count]);
	if (error) dpi_expr_state_free(s);
	else *out = s;
	return error;
}

void dpi_expr_state_free(struct dpi_expr_state *s)
{
	if (!s) return;
	for (int i = 0; i < s->count; i++) dpi_ready_free(s->ready + i), dpi_result_free(s->result + i);
	free(s->ready);
	free(s->result);
	dpi_buffers_free(s);
	dpi_arena_free(&s->run.arena);
	dpi_arena_free(&s->fixed);
	free(s);
}

void dpi_expr_state_limit(struct dpi_expr_state *s, size_t bytes)
{
	s->run.arena.limit = bytes;
}

uint64_t dpi_expr_state_dropped(const struct dpi_expr_state *s)
{
	return s->dropped;
}

/* ------------------------------------------------------------------------------------------------------- chunks */

/* Begin a chunk of the batch: the rows of it that are to be evaluated. */
static void begin(struct dpi_run *r, const uint8_t *among, size_t first, size_t rows)
{
	r->rows = rows;
	dpi_arena_reset(&r->arena);
	memset(r->live, 0, sizeof r->live);
	memset(r->live, 0xff, rows / 64 * 8);
	if (rows % 64) r->live[rows / 64] = (UINT64_C(1) << rows % 64) - 1;
	if (among) {
		uint64_t these[WORDS] = { 0 };
		memcpy(these, among + first / 8, (rows + 7) / 8);
		for (size_t w = 0; w < WORDS; w++) r->live[w] &= these[w];
	}
	if (r->any_bad) memset(r->bad, 0, sizeof r->bad);
	r->any_bad = false;
}

static const char *reason(int why)
{
	static const char *const text[] = { "no value",
					    "overflow: the result does not fit its type",
					    "division by zero",
					    "the text or bytes cannot be cast",
					    "an argument outside the function's domain",
					    "text of more than 2 GiB",
					    "a pattern that ends with its escape character or has more than 4096 bytes" };
	return text[why];
}

/* What the chunk's errors mean: the call fails, or not. */
static int judge(struct dpi_expr_state *s, size_t first)
{
	const struct dpi_run *r = &s->run;
	if (r->error) return r->error;
	if (!r->any_bad || s->on_error != DPI_EXPR_FAIL) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_RANGE,
			"row %zu, character %u of the expression: %s; guard it by CASE, or have such values made NULL or "
			"such rows dropped",
			first + r->bad_row, (unsigned)r->bad_at, reason(r->bad_why));
}

static int checked(struct dpi_expr_state *s, const struct dpi_batch *batch)
{
	s->run.error = DPI_SUCCESS;
	if (!batch || (batch->columns && !batch->column)) return dpi_fail(DPI_ERR_ARGUMENT, "the batch is NULL");
	for (int i = 0; i < s->count; i++) {
		int error = dpi_bind_check(s->ready[i].program, batch);
		if (error) return error;
	}
	return DPI_SUCCESS;
}

static void evaluate(struct dpi_expr_state *s, struct dpi_ready *ready, const struct dpi_batch *batch, size_t first,
		     size_t rows)
{
	dpi_bind(ready, batch, first, rows);
	dpi_ready_run(&s->run, ready);
}

static void store_bits(uint8_t *to, const uint64_t *bits, size_t rows)
{
	memcpy(to, bits, (rows + 7) / 8);
}

int dpi_expr_filter(struct dpi_expr_state *s, const struct dpi_batch *batch, const uint8_t *among, uint8_t *select,
		    size_t *count)
{
	struct dpi_run *r = &s->run;
	if (s->count != 1 || s->ready->program->result.type != DPI_TYPE_BOOL || !select || !count)
		return dpi_fail(DPI_ERR_ARGUMENT,
				"dpi_expr_filter: the state must be of one program of type BOOL, select and count not NULL");
	int error = checked(s, batch);
	const struct dpi_register *root = s->ready->value + s->ready->program->root;
	size_t chosen = 0;
	for (size_t first = 0; !error && first < batch->rows; first += ROWS) {
		size_t rows = batch->rows - first < ROWS ? batch->rows - first : ROWS;
		uint64_t yes[WORDS];
		begin(r, among, first, rows);
		evaluate(s, s->ready, batch, first, rows);
		error = judge(s, first);
		if (error) break;
		for (size_t w = 0; w < WORDS; w++) yes[w] = r->live[w] & ((const uint64_t *)root->data)[w];
		for (size_t w = 0; w < WORDS && root->valid; w++) yes[w] &= root->valid[w];
		if (r->any_bad && s->on_error == DPI_EXPR_DROP) {
			for (size_t w = 0; w < WORDS; w++) yes[w] &= ~r->bad[w];
			s->dropped += r->kernels->count(r->bad, WORDS);
		}
		chosen += r->kernels->count(yes, (rows + 63) / 64);
		store_bits(select + first / 8, yes, rows);
	}
	if (!error) *count = chosen;
	return error;
}

/* Is the result a column as it lies in the batch? A cast may be none to registers, and be one to vectors. */
static bool lent(const struct dpi_ready *ready)
{
	const struct dpi_expr *e = ready->program;
	return e->root < e->columns && dpi_type_same(e->column_type + e->root, &e->result);
}

int dpi_expr_project(struct dpi_expr_state *s, const struct dpi_batch *batch, uint8_t *select, struct dpi_vector *out)
{
	struct dpi_run *r = &s->run;
	if (!out || (s->on_error == DPI_EXPR_DROP && !select))
		return dpi_fail(DPI_ERR_ARGUMENT,
				"dpi_expr_project: out must not be NULL, nor select when rows may be dropped");
	int error = checked(s, batch);
	for (int i = 0; i < s->count && !error; i++)
		if (!lent(s->ready + i)) error = dpi_result_begin(s->result + i, &s->ready[i].program->result, batch->rows);
	for (size_t first = 0; !error && first < batch->rows; first += ROWS) {
		size_t rows = batch->rows - first < ROWS ? batch->rows - first : ROWS;
		begin(r, select, first, rows);
		for (int i = 0; i < s->count && !error; i++) {
			struct dpi_ready *ready = s->ready + i;
			if (lent(ready)) continue;
			evaluate(s, ready, batch, first, rows);
			error = r->error;
			if (!error)
				error = dpi_result_add(s->result + i, &ready->program->result,
						       ready->value + ready->program->root, first, rows);
		}
		if (!error) error = judge(s, first);
		if (!error && r->any_bad && s->on_error == DPI_EXPR_DROP) {
			for (size_t w = 0; w < WORDS; w++) r->live[w] &= ~r->bad[w];
			s->dropped += r->kernels->count(r->bad, WORDS);
			store_bits(select + first / 8, r->live, rows);
		}
	}
	for (int i = 0; i < s->count && !error; i++) {
		const struct dpi_ready *ready = s->ready + i;
		if (lent(ready)) out[i] = batch->column[ready->program->column[ready->program->root]];
		else dpi_result_lend(s->result + i, &ready->program->result, out + i);
	}
	return error;
}
