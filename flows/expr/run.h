/* SPDX-License-Identifier: Apache-2.0
 * run.h: registers and steps: what a program is while it runs over up to 1024 rows. */
#ifndef DPI_EXPR_RUN_H
#define DPI_EXPR_RUN_H

#include <string.h>

#include "kernel.h"
#include "program.h"

#define ROWS 1024
#define WORDS (ROWS / 64)

/* Why a row has no value. */
enum dpi_row_error { ROW_OVERFLOW = 1, ROW_ZERO, ROW_CAST, ROW_DOMAIN, ROW_LONG, ROW_PATTERN };

struct dpi_register {
	void *data;	       /* ROWS values at the kind's width; bool: WORDS words of bits */
	const uint64_t *valid; /* WORDS words; NULL: no row is NULL */
	void *own;	       /* where data points when it is this register's; NULL: a column's, lent */
	uint64_t bits[WORDS];  /* where valid points when it is not NULL */
	bool uniform;	       /* every row has the same value, and always */
};

/* Memory for text, in blocks that stay; a chunk's text is forgotten with the chunk. */
struct dpi_text_block;
struct dpi_arena {
	struct dpi_text_block *first, *now;
	size_t used, limit; /* of this chunk, in all blocks */
};

struct dpi_run {
	const struct dpi_kernels *kernels;
	size_t rows;
	uint64_t live[WORDS]; /* rows to be evaluated; none behind the last */
	struct dpi_arena arena;
	uint64_t bad[WORDS]; /* rows with errors */
	bool any_bad;
	size_t bad_row; /* the first of them, why and where */
	int bad_why;
	uint32_t bad_at;
	int error; /* class of what ends the run: memory, limit; the sentence is set */
};

struct dpi_step;
typedef void dpi_step_function(struct dpi_run *r, const struct dpi_step *s);
struct dpi_step {
	dpi_step_function *run;
	struct dpi_register *out, *a, *b, *c, *mask; /* mask NULL: all live rows */
	const struct dpi_constant *list;	     /* of OP_IN */
	uint32_t imm, at;
	uint8_t op, kind; /* kind: of a */
	double (*math)(double, double);
	double (*root)(double);
};

/* The function of an operation; it is set wherever dpi_op_result gives a kind. */
dpi_step_function *dpi_step_logic(const struct dpi_step *s);
dpi_step_function *dpi_step_number(const struct dpi_step *s);
dpi_step_function *dpi_step_convert(const struct dpi_step *s);
dpi_step_function *dpi_step_text(const struct dpi_step *s);
dpi_step_function *dpi_step_date(const struct dpi_step *s);

/* Text of this size; NULL: r->error is set. */
uint8_t *dpi_run_text(struct dpi_run *r, size_t size);
void dpi_arena_reset(struct dpi_arena *a);
void dpi_arena_free(struct dpi_arena *a);

/* These rows have an error: they become NULL and are remembered. Only live rows of the step may be named. */
void dpi_run_bad(struct dpi_run *r, const struct dpi_step *s, const uint64_t *bad, int why);

/* The rows in which a step works: live, in its mask, and with no operand NULL. */
void dpi_step_rows(const struct dpi_run *r, const struct dpi_step *s, uint64_t *rows);
/* Only these rows of the result have a value. */
void dpi_step_done(const struct dpi_run *r, const struct dpi_step *s, const uint64_t *rows);
/* The result has a value where all operands have; for steps that work on every row. */
void dpi_step_valid(const struct dpi_step *s);

/* For each row of a set: EACH_ROW (set) { … ROW … } */
#define EACH_ROW(set)                                                                                                       \
	for (size_t word_ = 0; word_ < WORDS; word_++)                                                                      \
		for (uint64_t left_ = (set)[word_]; left_; left_ &= left_ - 1)
#define ROW (word_ * 64 + (size_t)__builtin_ctzll(left_))
#define MARK(set) ((set)[word_] |= left_ & (0 - left_))
/* Without a branch, where either is likely; the row was 0. */
#define MARK_IF(set, condition) ((set)[word_] |= (uint64_t)(condition) << __builtin_ctzll(left_))

/* The same bytes; most texts are short or differ in length, which needs no call. */
static inline bool dpi_text_equal(struct dpi_text a, struct dpi_text b)
{
	uint64_t x, y;
	if (a.size != b.size) return false;
	if (a.size >= 8) {
		memcpy(&x, a.at, 8), memcpy(&y, b.at, 8);
		return x == y && (a.size == 8 || !memcmp(a.at + 8, b.at + 8, a.size - 8));
	}
	if (a.size >= 4) { /* the first four bytes and the last four, which may overlap */
		uint32_t f, g, l, m;
		memcpy(&f, a.at, 4), memcpy(&g, b.at, 4), memcpy(&l, a.at + a.size - 4, 4), memcpy(&m, b.at + a.size - 4, 4);
		return !((f ^ g) | (l ^ m));
	}
	if (!a.size) return true;
	size_t middle = a.size / 2, last = a.size - 1;
	return !((a.at[0] ^ b.at[0]) | (a.at[middle] ^ b.at[middle]) | (a.at[last] ^ b.at[last]));
}

#define VALUES(type, reg) ((type *)(reg)->data)

#endif
