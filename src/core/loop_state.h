/* SPDX-License-Identifier: Apache-2.0
 * loop_state.h: what loop.c and wait.c share: who serves the transports. */
#ifndef DPI_CORE_LOOP_STATE_H
#define DPI_CORE_LOOP_STATE_H

#include <stdatomic.h>
#include <sys/epoll.h>

#include "loop.h"

enum { DPI_STANDING_UP, DPI_STANDING_SHALLOW, DPI_STANDING_DEEP };

struct dpi_standing {
	_Atomic int inside;	  /* callers that serve the transports now: they spin, or lead */
	_Atomic uint64_t entries; /* callers that ever began to */
	_Atomic int state;	  /* of the loop */
	_Atomic bool wanted;	  /* the loop is to stand up */
	_Atomic bool unwanted;	  /* the loop is to stand down */
	_Atomic uint32_t left_up; /* callers that left while it was up, since it was last down */
	_Atomic int leader;	  /* a caller sleeps on epoll below */
	int epoll;		  /* event descriptor and, while the leader sleeps, the carriers */
};

/* A caller leaves while the loop is up. Each such has to clear up after itself (wait.c), so when they are many it stands down, for a while. */
void dpi_loop_left_up(struct dpi_context *ctx);
struct dpi_standing *dpi_loop_standing(struct dpi_context *ctx);
void dpi_loop_carrier_ready(struct dpi_context *ctx, struct dpi_watch *w, uint32_t events);
/* Sleep in epoll until an event or the deadline, to the nanosecond; the number of events. */
int dpi_epoll_sleep(int epoll, struct epoll_event *events, int room, int64_t deadline);

#endif
