/* SPDX-License-Identifier: Apache-2.0
 * reduce.h: reduce by key: rows of one key become one row. A reduction says how; a table does it, once at a source, where it
 * gives partial rows, and once more at the target, where it gives the results. spec/08-flows.md says what comes out.
 *
 * A partial row is an ordinary row of the reduction's state schema: the key's columns, then those of each aggregate's state.
 * A table is these rows, one a key, with an index over them; so they are lent to travel as they lie, without a copy. */
#ifndef DPI_REDUCE_H
#define DPI_REDUCE_H

#include "../rows.h"
#include "../schema.h"
#include "../vector.h"

/* -------------------------------------------------------------------------------------------------------- reducers */

/* Register one under name and version; it replaces what was there, for tables made later. Any thread. ARGUMENT LIMIT
 * MEMORY. */
int dpi_reducer_register(const char *name, uint32_t version, const DPI_Reducer *reducer);
/* NAME: not registered in this process; the sentence names it. Any thread. */
int dpi_reducer_find(const char *name, uint32_t version, DPI_Reducer *reducer);
struct dpi_aggregate;
/* One of its functions returned an error: that, with a sentence; what no function returns is FLOW. */
int dpi_reducer_failed(const struct dpi_aggregate *a, const char *function, int error);

/* ------------------------------------------------------------------------------------------------------- reductions */

struct dpi_aggregate {
	int function;
	int column, by;		 /* of the input; -1: none */
	int type, scale;	 /* of the argument; none: 0 */
	uint32_t k, precision;
	bool ascending;
	uint32_t state;		 /* its first column in the state schema */
	bool varies;		 /* its state does, in size */
	uint32_t version, bytes; /* reducer; bytes: of its state */
	DPI_Column result;	 /* reducer: what it yields; name NULL */
	bool merges;
	char reducer[DPI_NAME_MAX], name[DPI_NAME_MAX];
};

struct dpi_reduction { /* never changes; used by any number of threads */
	_Atomic uint32_t references;
	struct dpi_schema *input;
	struct dpi_schema *state;  /* keys, states: partial rows; key columns lie as in output */
	struct dpi_schema *output; /* keys, a column for each aggregate */
	bool merges;		   /* else it runs at the target only, on the rows as they are */
	uint32_t key_count;	   /* 0: all rows are of one key */
	uint16_t key[DPI_KEYS_MAX];
	uint32_t count;
	struct dpi_aggregate aggregate[];
};

/* One reference. Every error has its sentence, which names the aggregate. ARGUMENT (also: no such function) NAME (no such
 * column; a reducer is not registered here) UNSUPPORTED (a type that the function does not take) LIMIT MEMORY. */
int dpi_reduction_new(struct dpi_schema *input, const uint16_t *key, size_t key_count, const DPI_Aggregate *aggregates,
		      size_t count, struct dpi_reduction **r);
static inline struct dpi_reduction *dpi_reduction_ref(struct dpi_reduction *r)
{
	atomic_fetch_add_explicit(&r->references, 1, memory_order_relaxed);
	return r;
}
void dpi_reduction_unref(struct dpi_reduction *r); /* NULL is allowed */
/* Are its reducers registered here, the same ones? NAME VERSION. */
int dpi_reduction_check(const struct dpi_reduction *r);

/* As bytes, without the input's schema, little endian, versioned; equal reductions have equal bytes. They name the
 * registered reducers and say what they are like; so parsing needs none of them. CORRUPT VERSION MEMORY: the bytes of
 * anybody are checked. */
size_t dpi_reduction_bytes(const struct dpi_reduction *r);
void dpi_reduction_write(const struct dpi_reduction *r, void *bytes); /* dpi_reduction_bytes of them */
int dpi_reduction_parse(const void *bytes, size_t size, struct dpi_schema *input, struct dpi_reduction **r);
#define DPI_REDUCTION_VERSION 1u

/* ----------------------------------------------------------------------------------------------------------- tables */

enum dpi_when_full {
	DPI_TABLE_DRAINS, /* DPI_ERR_FULL: take the partial rows out, then go on */
	DPI_TABLE_LIMITED, /* DPI_ERR_LIMIT, with a sentence */
	DPI_TABLE_SPILLS	/* rows of keys that have no place wait in a file until the results are taken */
};

struct dpi_table_attr {
	uint64_t budget; /* bytes of states, keys and index, and of what goes to the file; at least DPI_TABLE_LEAST */
	enum dpi_when_full full;
	const char *directory; /* of the file, which has no name there; NULL: $TMPDIR, or /tmp */
	uint64_t salt;	       /* of the hash of keys */
};
#define DPI_TABLE_LEAST ((uint64_t)64 << 10)
#define DPI_TABLE_MOST ((uint64_t)32 << 30)

struct dpi_table_stats {
	uint64_t rows, partials; /* taken in: as they are, and partial ones */
	uint64_t groups;	 /* now in memory */
	uint64_t bytes;		 /* in use now, of the budget */
	uint64_t fulls;		 /* times it was full */
	uint64_t spilled;	 /* rows that went to the file, each time counted */
	uint64_t file;		 /* bytes of the file, at most so far */
};

struct dpi_table; /* one thread at a time */

/* r must outlive it. attr's text is copied. NAME VERSION (a registered reducer is not here, or another) ARGUMENT (budget)
 * LIMIT (not even one key fits) MEMORY. */
int dpi_table_new(const struct dpi_reduction *r, const struct dpi_table_attr *attr, struct dpi_table **t);
void dpi_table_free(struct dpi_table *t); /* NULL is allowed */

/* Take rows of the input in, in order. They may be a peer's and change meanwhile. taken: out, how many, also on an error.
 * FULL (no sentence) LIMIT MEMORY CORRUPT STATE (rows are being taken out), a reducer's own. */
int dpi_table_add(struct dpi_table *t, const struct dpi_rows *rows, size_t *taken);
/* The same with columns of the input. */
int dpi_table_add_batch(struct dpi_table *t, const struct dpi_batch *batch, size_t *taken);
/* Take partial rows in: rows of the state schema, of anybody. UNSUPPORTED: it does not merge. Otherwise as dpi_table_add. */
int dpi_table_merge(struct dpi_table *t, const struct dpi_rows *rows, size_t *taken);

/* Take the partial rows out, run by run, in the order in which their keys came; a run stands until the next call. With count
 * 0 all are out, and the table is as new. UNSUPPORTED: it does not merge, or has spilled. */
int dpi_table_next_partial(struct dpi_table *t, struct dpi_rows *run);
/* Take the results out: rows of the output schema; otherwise the same, but in no order. RANGE (a sum does not fit its
 * column; the sentence names it) LIMIT MEMORY TRANSPORT… of the file, a reducer's own. */
int dpi_table_next_result(struct dpi_table *t, struct dpi_rows *run);
/* Forget everything. */
void dpi_table_clear(struct dpi_table *t);

void dpi_table_stats(const struct dpi_table *t, struct dpi_table_stats *s);

#endif
