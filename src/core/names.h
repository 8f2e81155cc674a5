/* SPDX-License-Identifier: Apache-2.0
 * names.h: a table of names. No lock of its own. */
#ifndef DPI_CORE_NAMES_H
#define DPI_CORE_NAMES_H

#include "registry.h"

struct dpi_named {
	struct dpi_named *next; /* of its bucket */
	struct dpi_name entry;
	char text[];
};

/* All zero: empty. */
struct dpi_names {
	struct dpi_named **bucket;
	uint32_t buckets, count; /* buckets: 0 or a power of two */
};

/* Where the pointer to it is; NULL: there is none. */
struct dpi_named **dpi_names_find(const struct dpi_names *n, const char *text);
/* A name that is not there yet; NULL: no memory. */
struct dpi_named *dpi_names_add(struct dpi_names *n, const char *text, const struct dpi_name *entry);
void dpi_names_remove(struct dpi_names *n, struct dpi_named **at);
void dpi_names_free(struct dpi_names *n);

#endif
