/* SPDX-License-Identifier: Apache-2.0
 * state.h: programs made ready to run, and their results. */
#ifndef DPI_EXPR_STATE_H
#define DPI_EXPR_STATE_H

#include "run.h"

/* A program with its registers and steps. */
struct dpi_ready {
	const struct dpi_expr *program;
	struct dpi_register *value; /* of each value of the program */
	struct dpi_step *step;	    /* those that are not done beforehand */
	int steps;
};

struct dpi_result {
	uint8_t *data, *valid;
	int32_t *offset;
	size_t rows, bytes; /* room */
	size_t used;	    /* bytes of variable text */
	bool nulls;	    /* valid has been begun */
};

struct dpi_buffers;
struct dpi_expr_state {
	struct dpi_run run;
	struct dpi_arena fixed; /* text of steps that are done beforehand */
	enum dpi_expr_on_error on_error;
	int count;
	struct dpi_ready *ready;
	struct dpi_result *result;
	struct dpi_buffers *buffers; /* of registers */
	size_t registers;	     /* bytes of them */
	uint64_t dropped;
};

/* Registers and steps of a program; the steps whose operands never change are run here, once. */
int dpi_ready_make(struct dpi_expr_state *s, struct dpi_ready *ready, const struct dpi_expr *program);
void dpi_ready_free(struct dpi_ready *ready);
void dpi_buffers_free(struct dpi_expr_state *s);

/* The steps over the run's rows, columns bound before. */
void dpi_ready_run(struct dpi_run *r, const struct dpi_ready *ready);
/* Check that a batch has the program's columns; bind a chunk of them, from row first. */
int dpi_bind_check(const struct dpi_expr *e, const struct dpi_batch *batch);
void dpi_bind(struct dpi_ready *ready, const struct dpi_batch *batch, size_t first, size_t rows);

/* A result's room for rows, its rows taken from a register, and the vector of all. */
int dpi_result_begin(struct dpi_result *t, const struct dpi_expr_type *type, size_t rows);
int dpi_result_add(struct dpi_result *t, const struct dpi_expr_type *type, const struct dpi_register *from, size_t first,
		   size_t rows);
void dpi_result_lend(const struct dpi_result *t, const struct dpi_expr_type *type, struct dpi_vector *out);
void dpi_result_free(struct dpi_result *t);

#endif
