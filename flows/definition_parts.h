/* SPDX-License-Identifier: Apache-2.0
 * definition_parts.h: what the files of definition.h share. */
#ifndef DPI_FLOWS_DEFINITION_PARTS_H
#define DPI_FLOWS_DEFINITION_PARTS_H

#include "definition.h"
#include "move/hash.h"

/* The plain numbers of a definition, which have the same names in DPI_Flow_Attr, in the order of its bytes. */
#define DPI_DEFINITION_NUMBERS(X)                                                                      \
	X(u32, targets)                                                                                \
	X(u32, sources)                                                                                \
	X(u32, dist)                                                                                   \
	X(u32, shift)                                                                                  \
	X(u32, table_size)                                                                             \
	X(u32, hint)                                                                                   \
	X(u32, segment)                                                                                \
	X(u32, on_death)                                                                               \
	X(u32, group_version)                                                                          \
	X(u32, dist_version)                                                                           \
	X(u32, layout)                                                                                 \
	X(u64, salt)                                                                                   \
	X(u64, memory)                                                                                 \
	X(u64, expected)                                                                               \
	X(u64, linger_us)

/* dpi_definition_from over a schema that is there; it takes a reference of its own. */
int dpi_definition_make(struct dpi_schema *s, const DPI_Flow_Attr *attr, struct dpi_definition **d);
/* What dpi_definition_write would write. */
size_t dpi_definition_bytes(const struct dpi_definition *d);

/* definition_bounds.c. The columns of bounds: type, width and scale of each column of the key. */
void dpi_bounds_key(const struct dpi_definition *d, struct dpi_strided key[static DPI_KEYS_MAX]);
/* Fill d->bound with a copy: packed, NULLs and bits behind the last row zero, one NaN and no -0.0, so that equal bounds have
 * equal bytes. ARGUMENT LIMIT MEMORY. */
int dpi_bounds_from(const DPI_Values *values, struct dpi_definition *d);
void dpi_bounds_free(struct dpi_definition *d);
static inline uint32_t dpi_bounds_rows(const struct dpi_definition *d)
{
	return d->bound ? d->targets - 1 : 0;
}
/* Bytes of a column's data. */
size_t dpi_bounds_data(const struct dpi_vector *v, uint32_t rows);
/* The first row in which two columns of one type differ; rows if none does. */
uint32_t dpi_bounds_differ(const struct dpi_vector *a, const struct dpi_vector *b, uint32_t rows);

#endif
