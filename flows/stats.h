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
#define DPI_FLOW_ENDPOINTS (DPI_MESSAGE_FLOW + 0x80)
#define DPI_STATS_COUNTERS 64 /* most of one entry */

/* The same for lists of what belongs to endpoints: entries are u8 1: a flow, its name, whose others follow; or u8 0, and
 *   of a stall: u8 kind of the endpoint; u32 its number, peer; u64 count, time
 *   of a key: u32 which target; u64 rows, error, total, hash; its text */
#define DPI_FLOW_STALLS (DPI_MESSAGE_FLOW + 0x81)
#define DPI_FLOW_HEAVY (DPI_MESSAGE_FLOW + 0x82)

int dpi_stats_open(struct dpi_context *ctx); /* their handlers */

/* What an answer is put together with. */
struct dpi_stats_writer {
	struct dpi_pack body;
	uint32_t skip, count;
	bool more;
};
bool dpi_stats_due(struct dpi_stats_writer *w); /* is the next entry? */
struct dpi_flow;
typedef void dpi_stats_write(struct dpi_stats_writer *w, struct dpi_flow *f); /* under the flow's lock */
void dpi_stats_answer(struct dpi_context *ctx, struct dpi_request_in *in, dpi_stats_write *write);

/* Ask a node again and again until all entries were given, each of bytes, to info, as DPI_Get_Endpoints does. unpack: as
 * dpi_stats_unpack, state goes from one answer to the next; node_at: where in an entry its node stands. */
typedef bool dpi_stats_read(struct dpi_unpack *u, void *state, void *some, size_t room, size_t *found, uint32_t *seen, bool *more);
struct dpi_stats_question {
	const char *call;
	uint16_t message;
	dpi_stats_read *read;
	size_t bytes, node_at;
};
int dpi_stats_ask(const struct dpi_stats_question *q, int node, struct dpi_context *ctx, void *state, void *info, size_t room, size_t *count);

/* stats_lists.c */
extern const struct dpi_stats_question dpi_stats_endpoints, dpi_stats_stalls; /* state: a DPI_Flow_Info, a flow's name */

int dpi_stats_lists_open(struct dpi_context *ctx);
dpi_stats_read dpi_stats_unpack_stalls, dpi_stats_unpack_heavy; /* state: DPI_NAME_MAX bytes, a flow's name. Pure; false: malformed */

/* source.c, target.c: the counters now. Any thread, as long as the endpoint is not closed. */
void dpi_source_stats(const struct dpi_source *s, DPI_Source_Stats *stats);
void dpi_target_stats(struct dpi_target *t, DPI_Target_Stats *stats);

/* An answer, unpacked: those entries that are endpoints go to at most room of info; *seen entries in all, *found of them endpoints. flow
 * goes from one answer to the next. Pure; false: malformed. */
bool dpi_stats_unpack(struct dpi_unpack *u, DPI_Flow_Info *flow, DPI_Endpoint_Info *info, size_t room, size_t *found, uint32_t *seen, bool *more);

#endif
