/* SPDX-License-Identifier: Apache-2.0
 * route.h: group and dist of a definition, ready to run in this process: which targets a row goes to. */
#ifndef DPI_FLOWS_ROUTE_H
#define DPI_FLOWS_ROUTE_H

#include "definition.h"

struct dpi_route; /* used by one thread at a time; of a row to the next, only round robin changes */

/* d must outlive it. first: where round robin begins (a source's number). Errors: NAME (a function is not registered here:
 * the sentence names it and its version) MEMORY; those of dpi_partition_prepare for a definition that was not checked. */
int dpi_route_new(const struct dpi_definition *d, uint32_t first, struct dpi_route **r);
void dpi_route_begin(struct dpi_route *r, uint32_t first); /* begin there after all */
void dpi_route_free(struct dpi_route *r); /* NULL is allowed */

/* The targets of a row that dpi_row_check has passed or that cannot be wrong: *to points to *count different ones, ascending
 * unless a function says otherwise; it stands until the next call. Moves round robin on by one. Errors: a function's own;
 * CORRUPT (a function named a target that is none; a key's bytes do not lie within the row). */
int dpi_route_row(struct dpi_route *r, const void *row, uint32_t size, const uint32_t **to, uint32_t *count);

/* The hash of a row's key columns, with the flow's salt: as DPI_Hash_Rows. There are some. Errors: CORRUPT, as above. */
int dpi_route_hash(const struct dpi_route *r, const void *row, uint32_t size, uint64_t *hash);

/* Does every row go to exactly one target, without any function? Then many at once: count rows of a schema whose rows do not
 * vary, stride bytes apart. Round robin moves on by count. */
bool dpi_route_single(const struct dpi_route *r);
/* The targets of every row, if these are always the same ones; else NULL. */
const uint32_t *dpi_route_all(const struct dpi_route *r, uint32_t *count);
void dpi_route_rows(struct dpi_route *r, const void *rows, size_t stride, size_t count, uint16_t *part);
/* The same for rows first … of a batch of the schema's columns. */
void dpi_route_batch(struct dpi_route *r, const struct dpi_batch *batch, size_t first, size_t count, uint16_t *part);
/* The last count rows were not pushed after all: round robin does not count them. */
void dpi_route_back(struct dpi_route *r, size_t count);

/* What programs may compute themselves (see the end of dpi.h): kind 0 is none. */
enum { DPI_SHORT_NONE, DPI_SHORT_ONE, DPI_SHORT_HASH_8, DPI_SHORT_HASH_4, DPI_SHORT_RADIX_8, DPI_SHORT_RADIX_4 };
struct dpi_short_route {
	uint32_t kind;	 /* ONE: a single target. HASH, RADIX: by one column, INT64 (8), INT32 or DATE32 (4), never NULL */
	uint32_t offset; /* of the key in the row */
	uint64_t seed;	 /* dpi_hash_seed */
	uint32_t parts, shift;
};
void dpi_route_short(const struct dpi_route *r, struct dpi_short_route *s);

#endif
