/* SPDX-License-Identifier: Apache-2.0
 * ack_source.h: acknowledgements at a source: what push.c, lane.c and source.c call. s->ack is NULL without. */
#ifndef DPI_FLOWS_ACK_SOURCE_H
#define DPI_FLOWS_ACK_SOURCE_H

#include "source.h"

/* MEMORY NAME (its function is not registered here). After an error, too, dpi_ack_close. */
int dpi_ack_open(struct dpi_source *s);
void dpi_ack_close(struct dpi_source *s);
/* Before a lane that is open is closed. */
void dpi_ack_lane_close(struct dpi_source *s, uint32_t target);

/* Before a row is pushed: find its key, then see that it can be waited for. AGAIN (no sentence) if it is not to wait and may not. Errors: the
 * function's own, ARGUMENT (keys fall; too few targets), LIMIT (the program does not take what there is to tell), TIMEOUT, MEMORY,
 * the flow's failure. */
int dpi_ack_key(struct dpi_source *s, const void *row, uint64_t size);
int dpi_ack_room(struct dpi_source *s, const uint32_t *to, uint32_t count, bool wait);
/* It was pushed. */
void dpi_ack_pushed(struct dpi_source *s, const uint32_t *to, uint32_t count);
/* The same for rows, size bytes each, which do not vary, of which part says the targets: how many of the first can be pushed to the first one's
 * target at once; 0: the next one as above. And so many of these were pushed. */
size_t dpi_ack_ready(struct dpi_source *s, const void *rows, uint32_t size, const uint16_t *part, size_t count);
void dpi_ack_pushed_rows(struct dpi_source *s, uint32_t target, size_t rows);
/* Where a source reduces: all of its table for a target has gone into the lane, and so have these first rows that were pushed to it. */
void dpi_ack_went(struct dpi_source *s, uint32_t target, uint64_t pushed);
/* Was it this that there was no room for? */
bool dpi_ack_full(const struct dpi_source *s);
/* Before a descriptor is armed: send what waits, without waiting for room. Errors: as a push's, but not the flow's failure. */
int dpi_ack_send(struct dpi_source *s);
/* Is there anything to be told of, or has the flow failed? If not, look_at may be set: no bell tells all of it. */
bool dpi_ack_told(struct dpi_source *s, int64_t *look_at);
/* Where it was full: is there room for a row again, or something to be told of? */
bool dpi_ack_some(struct dpi_source *s);
/* Is it learnt by steps that the source takes, and of which no bell tells? */
bool dpi_ack_looks_again(const struct dpi_source *s);

#endif
