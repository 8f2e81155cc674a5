/* SPDX-License-Identifier: Apache-2.0
 * push_plan.h: a batch of rows that do not vary, run by run: whose they are, how many each target gets, and their copies.
 * For routes with dpi_route_single. A run is what stays in the first cache between finding its parts and copying it. */
#ifndef DPI_FLOWS_PUSH_PLAN_H
#define DPI_FLOWS_PUSH_PLAN_H

#include "route.h"

#define DPI_PUSH_RUN 512u /* most rows of a run */

/* Rows of a run of this size. */
static inline uint32_t dpi_push_run(uint32_t width)
{
	uint32_t rows = 8192 / width;
	return rows < 64 ? 64 : rows < DPI_PUSH_RUN ? rows : DPI_PUSH_RUN;
}

/* Find the targets of count (at most DPI_PUSH_RUN) rows, stride bytes apart, and count them: counts, one for each target of
 * the flow, is all 0 before. touched: the targets that get any, in the order of their first rows; room for count. Returns
 * how many these are; set their counts back to 0 for the next run. */
uint32_t dpi_push_find(struct dpi_route *r, const void *rows, size_t stride, size_t count, uint16_t *part, uint32_t *counts,
		       uint16_t *touched);

/* Copy row i to at[part[i]], which moves on by width. Each target has room for all that come. */
void dpi_push_scatter(const void *rows, size_t stride, uint32_t width, size_t count, const uint16_t *part, uint8_t **at);

/* The same without counting first: stops before the first row that would go beyond end[part[i]]. Where a target has no place
 * yet, at and end are equal. ahead: bytes from a row to one that is to be copied after these and is asked for meanwhile, or 0. Returns the
 * number of rows copied, those in front. */
size_t dpi_push_fill(const void *rows, size_t stride, uint32_t width, size_t count, const uint16_t *part, uint8_t **at,
		     uint8_t *const *end, size_t ahead);

#endif
