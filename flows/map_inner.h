/* SPDX-License-Identifier: Apache-2.0
 * map_inner.h: stages ready to run, as map.c runs them over rows and map_columns.c over columns. */
#ifndef DPI_FLOWS_MAP_INNER_H
#define DPI_FLOWS_MAP_INNER_H

#include "expr/expr.h"
#include "function.h"
#include "map.h"
#include "row_batch.h"

/* A stage with its working memory. */
struct dpi_step {
	const struct dpi_stage *stage;
	uint32_t number;
	struct dpi_row_batch columns; /* of the rows that come: those that are read */
	struct dpi_expr_state *state; /* NULL: no program */
	int programs;
	struct dpi_vector *value;  /* of each program */
	struct dpi_vector *column; /* of each column that comes out */
	struct dpi_map_function function;
	struct dpi_group_function group;
	uint64_t *key; /* group: of the rows of a run, with room for so many */
	size_t keys;
	uint64_t seen, before; /* rows that came to a sample by number, and before the last run */
	DPI_Stage_Stats stats, stats_before; /* read by other threads */
	uint8_t *made;	       /* rows */
	size_t room;
};

struct dpi_maps {
	enum dpi_expr_on_error on_error;
	uint64_t sifted, errors, sifted_before, errors_before;
	/* of the run: its rows now, and where each comes from */
	DPI_Record *record;
	uint32_t *from;
	uint8_t *bits;
	uint64_t *hash;
	size_t count, room;
	bool refused; /* by the group function: the row refuses of the run */
	size_t refuses;
	/* columns: map_columns.c */
	bool calls; /* some stage is a function of the program, which takes rows */
	struct dpi_row_batch made; /* then: of what came out */
	uint32_t steps;
	struct dpi_step step[];
};

/* map.c. A run of so many rows begins: room for them, and the counters as they are before it. */
int dpi_maps_begin(struct dpi_maps *m, size_t rows);
/* A stage is done: bytes: of the rows that passed. */
void dpi_step_count(struct dpi_step *t, size_t rows, size_t passed, uint64_t bytes, uint64_t errors);
/* It has failed: the sentence gets its number. */
int dpi_step_failed(const struct dpi_step *t, int error);
/* floor(n × share / 2^32), whatever n is. */
uint64_t dpi_step_share(uint64_t n, uint64_t share);
uint64_t dpi_step_dropped(const struct dpi_step *t);
int dpi_step_too_large(uint64_t size);

#endif
