/* SPDX-License-Identifier: Apache-2.0
 * key.h: the keys of rows, hashed with salt 0, or another seed, as spec/10-data-movement.md says: the same for equal keys of any flows. */
#ifndef DPI_FLOWS_KEY_H
#define DPI_FLOWS_KEY_H

#include "definition.h"
#include "function.h"

#define DPI_KEY_RUN 512u /* most keys at a time */

/* Where a flow's key lies in rows of a schema. */
struct dpi_key {
	struct dpi_schema *schema; /* a reference */
	uint32_t columns;
	uint16_t column[DPI_KEYS_MAX];
	bool nullable; /* any of them */
	uint64_t seed; /* dpi_hash_seed of a salt */
	/* A key that a function makes of rows as they are pushed: what it says is as a UINT64 column. call NULL: columns */
	struct dpi_group_function group;
	uint8_t *row; /* one of a batch, for the function */
	size_t room;
};

/* rows: of those pushed, that travel, or that targets give; stages: how many of the flow's they have come through. UNSUPPORTED: the
 * flow has no key, or it is not in them. NAME: the function is not registered here. */
int dpi_key_new(const struct dpi_definition *d, struct dpi_schema *rows, uint32_t stages, struct dpi_key *k);
void dpi_key_end(struct dpi_key *k); /* also of one that is all zero */

/* The hashes of up to DPI_KEY_RUN rows that do not vary, or rows of a batch; bit i of whole: no column of key i is NULL, and a
 * function did not refuse the row. */
void dpi_key_rows(const struct dpi_key *k, const void *rows, size_t stride, size_t count, uint64_t *hash, uint8_t *whole);
void dpi_key_batch(struct dpi_key *k, const struct dpi_batch *batch, size_t first, size_t count, uint64_t *hash, uint8_t *whole);
/* Of any row. CORRUPT: a column's bytes do not lie within it; or what a function returned. */
int dpi_key_row(const struct dpi_key *k, const void *row, uint32_t size, uint64_t *hash, bool *whole);

/* What the function says of a row, or the error that it returned. */
int dpi_key_call(const struct dpi_key *k, const void *row, uint32_t size, uint64_t *key);

/* The key as text, of which as much as fits, always terminated: its columns' values behind one another with ", " between, numbers
 * and dates as a program would write them, bytes in hexadecimal behind "0x", text as it is but for control characters, which are '?'.
 * Of a function the number that it says. */
void dpi_key_text(const struct dpi_key *k, const void *row, uint32_t size, char *text, size_t room);
void dpi_key_text_batch(struct dpi_key *k, const struct dpi_batch *batch, size_t i, char *text, size_t room);

#endif
