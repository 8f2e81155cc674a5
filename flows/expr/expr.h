/* SPDX-License-Identifier: Apache-2.0
 * expr.h: expressions over the columns of a batch: text is compiled to a program, which runs in batches, here or in another
 * process. The language is annex B of the specification. */
#ifndef DPI_FLOWS_EXPR_H
#define DPI_FLOWS_EXPR_H

#include "../vector.h"

/* A column that an expression may name. name: no zero bytes; may be NULL for dpi_expr_load. */
struct dpi_expr_column {
	const char *name;
	int type; /* DPI_TYPE_* */
	bool nullable;
	uint32_t width;	      /* FIXED: bytes of a value */
	int precision, scale; /* decimals: digits in all and behind the point; precision 0: the type's most */
};

struct dpi_expr_type {
	int type;
	bool nullable;
	uint32_t width;	      /* FIXED */
	int precision, scale; /* decimals */
};

/* A row's error: overflow, division by zero, a cast or an argument that does not fit. */
enum dpi_expr_on_error {
	DPI_EXPR_FAIL, /* the call fails and names the row */
	DPI_EXPR_NULL, /* the operation that failed yields NULL */
	DPI_EXPR_DROP  /* the row leaves the selection and is counted */
};

struct dpi_expr;       /* a program: never changes, may be used by many threads */
struct dpi_expr_state; /* a thread's scratch and results */

/* Compile text, size bytes. ARGUMENT: the sentence names the character, from 1; LIMIT: too large or too deep; MEMORY. */
int dpi_expr_compile(const char *text, size_t size, const struct dpi_expr_column *columns, int count, struct dpi_expr **out);
void dpi_expr_free(struct dpi_expr *e); /* after its states; NULL is harmless */

/* The program as bytes: *size of them, which are written if room is enough (room 0: to learn the size). */
int dpi_expr_serialise(const struct dpi_expr *e, void *to, size_t room, size_t *size);
/* Check bytes of anybody and make a program that can run over these columns. The bytes are read once; nobody may change them
 * meanwhile. CORRUPT: no program; VERSION; ARGUMENT: the columns it uses are not these; LIMIT, MEMORY. */
int dpi_expr_load(const void *bytes, size_t size, const struct dpi_expr_column *columns, int count, struct dpi_expr **out);

/* Of the program's life time. */
const struct dpi_expr_type *dpi_expr_result(const struct dpi_expr *e);
const int *dpi_expr_columns(const struct dpi_expr *e, int *count); /* those it reads, each once, ascending */

/* One state evaluates count programs together; they must outlive it. Used by one thread at a time. */
int dpi_expr_state_new(const struct dpi_expr *const *programs, int count, enum dpi_expr_on_error on_error,
		       struct dpi_expr_state **out);
void dpi_expr_state_free(struct dpi_expr_state *s);
/* Most bytes of text that 1024 rows may make on the way, 256 MiB at first. */
void dpi_expr_state_limit(struct dpi_expr_state *s, size_t bytes);
uint64_t dpi_expr_state_dropped(const struct dpi_expr_state *s); /* rows dropped by all calls so far */

/* Rows for which the state's one program, of type BOOL, is true. among: rows to look at, a bit each, NULL for all.
 * select: (rows + 7) / 8 bytes, bits behind the last row 0; may be among. *count of its bits are set.
 * RANGE: a row's error (DPI_EXPR_FAIL); LIMIT: more text than the state may hold; ARGUMENT: the batch has other columns. */
int dpi_expr_filter(struct dpi_expr_state *s, const struct dpi_batch *batch, const uint8_t *among, uint8_t *select,
		    size_t *count);

/* The values of each program for every row of the batch, into out[0 … programs - 1]. select: rows to evaluate, NULL for all;
 * rows outside it are NULL or of any value. With DPI_EXPR_DROP select must not be NULL, and dropped rows are cleared in it.
 * Results belong to the state until its next call or free; one that is a column itself is lent from the batch. Errors as
 * dpi_expr_filter; CORRUPT: a program of a peer whose values are not as wide as it says. */
int dpi_expr_project(struct dpi_expr_state *s, const struct dpi_batch *batch, uint8_t *select, struct dpi_vector *out);

#endif
