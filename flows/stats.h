/* SPDX-License-Identifier: Apache-2.0
 * stats.h: what can be seen of endpoints from outside: their counters, which their threads only write, read by others. */
#ifndef DPI_FLOWS_STATS_H
#define DPI_FLOWS_STATS_H

#include "protocol.h"

struct dpi_source;
struct dpi_target;

/* u32: how many entries to skip -> u8: more follow; u32: how many; entries: u8 kind (DPI_ENDPOINT_*), and
 *   of a flow: name; u32 targets, bound, sources, closed, sealed, failed, dead, lost, detached; its endpoints follow
 *   of a source: u32 number; u8 n, n u64: DPI_SOURCE_STATS in order
 *   of a target: u32 index; u64 fill; u8 n, n u64: DPI_TARGET_STATS in order
 *   of a stage: u32 number of its source or index of its target; u32 which; u8 kind; u8 n, n u64: DPI_STAGE_STATS in order
 * A reader takes the counters that it knows, and none that it does not get. */
#define DPI_FLOW_STATS (DPI_MESSAGE_FLOW + 0x80)
#define DPI_STATS_COUNTERS 64 /* most of one entry */

int dpi_stats_open(struct dpi_context *ctx); /* its handler */

/* source.c, target.c: the counters now. Any thread, as long as the endpoint is not closed. */
void dpi_source_stats(const struct dpi_source *s, DPI_Source_Stats *stats);
void dpi_target_stats(struct dpi_target *t, DPI_Target_Stats *stats);

/* An answer, unpacked: those entries that are endpoints go to at most room of info; *seen entries in all, *found of them endpoints. flow
 * goes from one answer to the next. Pure; false: malformed. */
bool dpi_stats_unpack(struct dpi_unpack *u, DPI_Flow_Info *flow, DPI_Endpoint_Info *info, size_t room, size_t *found, uint32_t *seen, bool *more);

#endif
