/* SPDX-License-Identifier: Apache-2.0
 * linger.h: rows that nobody flushes travel within the linger time, where a source builds segments of its own: with codecs, or in
 * columns. (Rows that lie in a ring already are published by the memory layer.) */
#ifndef DPI_FLOWS_LINGER_H
#define DPI_FLOWS_LINGER_H

#include <stdint.h>

struct dpi_context;

/* A source that the loop thread looks at. serve: send what is due, without waiting; when to look again, DPI_NEVER: when it is said. It runs
 * with the service's lock held, so it must not wait for a lock behind which somebody calls the functions below. */
struct dpi_lingerer {
	struct dpi_lingerer *next;
	int64_t (*serve)(struct dpi_lingerer *l, int64_t now);
	int64_t due; /* under the service's lock */
};

int dpi_flow_linger_open(struct dpi_context *ctx);
void dpi_flow_linger_add(struct dpi_context *ctx, struct dpi_lingerer *l, int64_t (*serve)(struct dpi_lingerer *l, int64_t now));
void dpi_flow_linger_remove(struct dpi_context *ctx, struct dpi_lingerer *l); /* on return the service does not touch it */
void dpi_flow_linger_by(struct dpi_context *ctx, struct dpi_lingerer *l, int64_t due); /* look at it then at the latest */

#endif
