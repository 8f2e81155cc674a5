/* SPDX-License-Identifier: Apache-2.0
 * map.h: stages of a definition, ready to run over rows in this process. */
#ifndef DPI_FLOWS_MAP_H
#define DPI_FLOWS_MAP_H

#include "definition.h"
#include "rows.h"

struct dpi_maps; /* used by one thread at a time */

/* What came out: rows, which stand until the next call, or in those that went in; and of each the number of the one that it was
 * made of, ascending. */
struct dpi_mapped {
	const DPI_Record *record;
	const uint32_t *from;
	size_t count;
};

/* Stages first … first + count - 1 of d, which must outlive it. NAME (a map function is not registered here) MEMORY. */
int dpi_maps_new(const struct dpi_definition *d, uint32_t first, uint32_t count, struct dpi_maps **m);
/* Those that run at the source, and before them the group's, which numbers no stage. */
int dpi_maps_new_source(const struct dpi_definition *d, struct dpi_maps **m);
void dpi_maps_free(struct dpi_maps *m); /* NULL is allowed */

/* Rows of the first stage's schema through all stages. Errors: a row's (RANGE; the sentence names the stage), where the flow
 * fails by it; a map function's own; CORRUPT (it made no row) LIMIT MEMORY. */
int dpi_maps_run(struct dpi_maps *m, const struct dpi_rows *in, struct dpi_mapped *out);
/* The same over columns of the first stage's schema. What came out: columns, which stand until the next call, or as long as those that went in,
 * and of these the rows whose bit is set, NULL: all; from: as above, of these. */
struct dpi_mapped_columns {
	struct dpi_batch batch;
	const uint8_t *bits;
	const uint32_t *from;
	size_t count;
};
int dpi_maps_run_columns(struct dpi_maps *m, const struct dpi_batch *in, struct dpi_mapped_columns *out);
/* The last run ended with an error of the group function: for which row? Then no stage has seen any. */
bool dpi_maps_refused(const struct dpi_maps *m, size_t *row);
/* The last run was not: samples count as before it. */
void dpi_maps_back(struct dpi_maps *m);

/* The counters of stage number of the definition. False: it does not run here. Any thread. */
bool dpi_maps_stage(const struct dpi_maps *m, uint32_t number, DPI_Stage_Stats *stats);

/* Rows that did not pass, and of them those for an error. */
void dpi_maps_count(const struct dpi_maps *m, uint64_t *sifted, uint64_t *errors);

#endif
