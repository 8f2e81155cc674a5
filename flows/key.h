/* SPDX-License-Identifier: Apache-2.0
 * key.h: the keys of rows, hashed with salt 0, or another seed, as spec/10-data-movement.md says: the same for equal keys of any flows. */
#ifndef DPI_FLOWS_KEY_H
#define DPI_FLOWS_KEY_H

#include "definition.h"

#define DPI_KEY_RUN 512u /* most keys at a time */

/* Where a flow's key lies in rows of a schema. */
struct dpi_key {
	struct dpi_schema *schema; /* a reference */
	uint32_t columns;
	uint16_t column[DPI_KEYS_MAX];
	bool nullable; /* any of them */
	uint64_t seed; /* dpi_hash_seed of a salt */
};

/* rows: of those pushed, that travel, or that targets give. UNSUPPORTED: the flow has no key columns, or they are not in them. */
int dpi_key_new(const struct dpi_definition *d, struct dpi_schema *rows, struct dpi_key *k);
void dpi_key_end(struct dpi_key *k); /* also of one that is all zero */

/* The hashes of up to DPI_KEY_RUN rows that do not vary, or rows of a batch; bit i of whole: no column of key i is NULL. */
void dpi_key_rows(const struct dpi_key *k, const void *rows, size_t stride, size_t count, uint64_t *hash, uint8_t *whole);
void dpi_key_batch(const struct dpi_key *k, const struct dpi_batch *batch, size_t first, size_t count, uint64_t *hash, uint8_t *whole);
/* Of any row. CORRUPT: a column's bytes do not lie within it. */
int dpi_key_row(const struct dpi_key *k, const void *row, uint32_t size, uint64_t *hash, bool *whole);

/* The key as text, of which as much as fits, always terminated: its columns' values behind one another with ", " between, numbers
 * and dates as a program would write them, bytes in hexadecimal behind "0x", text as it is but for control characters, which are '?'. */
void dpi_key_text(const struct dpi_key *k, const void *row, uint32_t size, char *text, size_t room);
void dpi_key_text_batch(const struct dpi_key *k, const struct dpi_batch *batch, size_t i, char *text, size_t room);

#endif
