/* SPDX-License-Identifier: Apache-2.0
 * loop.h: the progress thread: one a context. It serves control channels, the transports (while no caller does), linger timers
 * and whoever registered a service. Everything registered here runs on that thread and must not block. */
#ifndef DPI_CORE_LOOP_H
#define DPI_CORE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct dpi_context;

/* A descriptor the loop watches. Owned by the registrant; stays until dpi_loop_remove. */
struct dpi_watch {
	int fd;
	void (*ready)(struct dpi_context *ctx, struct dpi_watch *w, uint32_t events); /* EPOLL* bits */
};

/* From any thread; after remove returns on the loop thread, ready is not called again. */
int dpi_loop_add(struct dpi_context *ctx, struct dpi_watch *w, uint32_t events);
int dpi_loop_change(struct dpi_context *ctx, struct dpi_watch *w, uint32_t events);
void dpi_loop_remove(struct dpi_context *ctx, struct dpi_watch *w);

/* A service runs after every wake-up of the loop and says when it wants to run at the latest (dpi_now; DPI_NEVER). */
typedef int64_t dpi_service(struct dpi_context *ctx, int64_t now);
int dpi_loop_service(struct dpi_context *ctx, dpi_service *service); /* before dpi_loop_start */

int dpi_loop_open(struct dpi_context *ctx);  /* epoll; no thread yet */
int dpi_loop_start(struct dpi_context *ctx); /* the thread */
void dpi_loop_stop(struct dpi_context *ctx); /* join it */
void dpi_loop_close(struct dpi_context *ctx);
void dpi_loop_kick(struct dpi_context *ctx); /* run the services soon; any thread */
/* Serve the transports again at once, if it has stood down for a caller who has left: now nobody may come back. Any thread. */
void dpi_loop_stand_up(struct dpi_context *ctx);
bool dpi_loop_inside(struct dpi_context *ctx); /* is this the loop thread */

#endif
