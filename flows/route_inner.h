/* SPDX-License-Identifier: Apache-2.0
 * route_inner.h: a route as route.c makes it and route_row.c follows it. */
#ifndef DPI_FLOWS_ROUTE_INNER_H
#define DPI_FLOWS_ROUTE_INNER_H

#include "function.h"
#include "move/move.h"
#include "route.h"

enum dpi_route_how {
	DPI_ROUTE_ONE,	     /* there is but one target */
	DPI_ROUTE_HASH_8,    /* the key is one INT64, never NULL */
	DPI_ROUTE_HASH_4,    /* INT32 or DATE32, never NULL */
	DPI_ROUTE_ROBIN,
	DPI_ROUTE_BROADCAST,
	DPI_ROUTE_HASH,	     /* any key; through a table, if there is one */
	DPI_ROUTE_FIND,	     /* radix, range: as the data-movement engine finds it */
	DPI_ROUTE_FUNCTION
};

struct dpi_route {
	/* all that a short key asks for, in one cache line */
	enum dpi_route_how how;
	uint32_t key_offset;	    /* of the first key column in a row */
	uint64_t seed;
	uint32_t targets, parts;    /* parts: of the hash */
	uint32_t next;		    /* round robin: where the next row goes */
	uint32_t one;		    /* the last row's target, where there is one */
	uint32_t *to;		    /* function: the last row's targets; broadcast: all; room for all */
	const struct dpi_definition *d;
	uint32_t keys;		    /* of key; 1 with a group function */
	bool grouped;		    /* by a function: what it says is as a UINT64 column */
	struct dpi_group_function group;
	struct dpi_dist_function dist;
	uint64_t *seen;		    /* function: a bit for each target, all clear between rows */
	struct dpi_partition *partition; /* NULL: no key decides */
	const struct dpi_column *column[DPI_KEYS_MAX];
	struct dpi_strided key[DPI_KEYS_MAX], bound[DPI_KEYS_MAX]; /* key: data and null are those of a row */
	int32_t place[DPI_KEYS_MAX][2]; /* variable keys: the offsets of a row's value */
};

#endif
