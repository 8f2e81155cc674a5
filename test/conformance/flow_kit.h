/* SPDX-License-Identifier: Apache-2.0
 * flow_kit.h: what the cases of flows share: rows that say who pushed them and in which order. */
#ifndef FLOW_KIT_H
#define FLOW_KIT_H

#include "memory_kit.h"

struct flow_row {
	int64_t key, number; /* number: of its source, from 0 */
	int64_t from;	     /* rank */
	uint64_t check;
};

#define FLOW_ATTR(...) (&(DPI_Flow_Attr){ .size = sizeof(DPI_Flow_Attr), __VA_ARGS__ })
/* Create or open a flow of such rows, by hash of the key. */
#define FLOW(name, ctx, ...) kit_flow(name, FLOW_ATTR(__VA_ARGS__), ctx)
DPI_Flow kit_flow(const char *name, DPI_Flow_Attr *attr, DPI_Context ctx);
/* Codecs for a flow that is to have some, and the key, which the process holds from here on. Where a library is missing, each process finds
 * that out by itself, and the case is skipped. */
enum kit_codecs { KIT_PLAIN, KIT_COMPRESSED, KIT_ENCRYPTED, KIT_BOTH };
void kit_codecs(enum kit_codecs how, DPI_Flow_Attr *attr, DPI_Context ctx);
DPI_Source source_of(DPI_Flow flow);
DPI_Source source_with(DPI_Flow flow, int64_t timeout_us);
DPI_Target target_of(uint32_t index, DPI_Flow flow);
DPI_Target target_with(uint32_t index, DPI_Flow flow, int64_t timeout_us);

struct flow_row row_of(int rank, int64_t key, int64_t number);
void push_rows(DPI_Source source, int rank, int64_t first, int64_t count); /* key and number: first … */

/* Numbers of one rank must rise; each row must be whole. */
struct flow_tally {
	int64_t last[HARNESS_RANKS], rows[HARNESS_RANKS], total;
};
void flow_take(struct flow_tally *t, const void *row, size_t size);
/* Take rows until the flow ends. */
void flow_drain(DPI_Target target, struct flow_tally *t);

#endif
