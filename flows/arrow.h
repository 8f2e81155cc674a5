/* SPDX-License-Identifier: Apache-2.0
 * arrow.h: record batches by the Arrow C data interface. Schemas go by the public calls. */
#ifndef DPI_FLOWS_ARROW_H
#define DPI_FLOWS_ARROW_H

#include "schema.h"
#include "vector.h"

/* As DPI_Import_Arrow_Schema and DPI_Export_Arrow_Schema. */
int dpi_arrow_import_schema(const struct ArrowSchema *arrow, struct dpi_schema **schema);
int dpi_arrow_export_schema(const struct dpi_schema *s, struct ArrowSchema *arrow);

/* A record batch of somebody else's as ours: columns point into it. */
struct dpi_arrow_batch {
	struct dpi_batch batch;
	struct dpi_schema *schema;
	struct dpi_vector *vector;
	void **own; /* what had to be copied: bits that begin within a byte, values at odd addresses; two for a column */
};

int dpi_arrow_batch_new(struct dpi_schema *s, struct dpi_arrow_batch *b); /* takes a reference of its own */
void dpi_arrow_batch_free(struct dpi_arrow_batch *b);

/* Lend a struct array whose type was compared with the schema before. It stays the caller's, unreleased, and must stand as
 * long as b->batch is used. Numbers of children and buffers, lengths, offsets and NULLs are checked; how long its buffers
 * are the interface does not say. DPI_ERR_ARGUMENT with a sentence, MEMORY. */
int dpi_arrow_import(struct dpi_arrow_batch *b, const struct ArrowArray *array);

/* Lend a batch as a struct array, without a copy. released(owner) is called once, when the array and every child that was
 * moved out of it have been released, by whichever thread does so last. Not called when this fails (DPI_ERR_MEMORY). */
int dpi_arrow_export(const struct dpi_schema *s, const struct dpi_batch *batch, void (*released)(void *owner), void *owner,
		     struct ArrowArray *array);

#endif
