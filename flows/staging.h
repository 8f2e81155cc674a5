/* SPDX-License-Identifier: Apache-2.0
 * staging.h: are small rows that are pushed one by one written to the ring, or on a stage (ring.h) first? Which is faster depends on how
 * far the target's processor is from the source's, which is not to be known: so a source tries both now and then. */
#ifndef DPI_FLOWS_STAGING_H
#define DPI_FLOWS_STAGING_H

#include <stdbool.h>
#include <stdint.h>

struct dpi_source;

struct dpi_staging {
	bool rows;	 /* rows may lie on a stage: small ones of one size, as they were pushed, of a direct flow */
	bool staged;	 /* those of this phase do */
	uint32_t phases; /* that were begun */
	uint32_t left;	 /* segments to be begun in this one */
	uint64_t bytes;	 /* of rows in segments that have ended, */
	uint64_t from;	 /* so many when the phase began, */
	int64_t since;	 /* and the thread's time then */
	int64_t cost[2]; /* of rows as they are, and staged: nanoseconds of it for 64 KiB */
};

void dpi_staging_open(struct dpi_source *s);
/* A segment of rows begins by a row that is pushed alone: is it staged? */
bool dpi_staging_begins(struct dpi_source *s);

#endif
