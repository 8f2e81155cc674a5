/* SPDX-License-Identifier: Apache-2.0
 * columnar_linger.c: segments under construction travel when their first row has waited for the linger time. The loop thread
 * walks the list of sources and takes each whose lock is free: one that waits for room has sent all before. */
#include "columnar.h"

#include "layer.h"
#include "loop.h"

#define AGAIN_NS 1000000 /* a source that is busy is tried again */

void dpi_columns_enlist(struct dpi_source *s)
{
	struct dpi_flow_layer *l = s->ctx->flows;
	pthread_mutex_lock(&l->columns_lock);
	s->columns->next = l->columns;
	l->columns = s;
	pthread_mutex_unlock(&l->columns_lock);
}

void dpi_columns_unlist(struct dpi_source *s)
{
	struct dpi_flow_layer *l = s->ctx->flows;
	pthread_mutex_lock(&l->columns_lock);
	struct dpi_source **at = &l->columns;
	while (*at && *at != s) at = &(*at)->columns->next;
	if (*at) *at = s->columns->next;
	pthread_mutex_unlock(&l->columns_lock);
}

void dpi_columns_due(struct dpi_source *s, int64_t due)
{
	struct dpi_flow_layer *l = s->ctx->flows;
	pthread_mutex_lock(&l->columns_lock);
	bool kick = due < atomic_load_explicit(&l->columns_at, memory_order_relaxed);
	if (kick) atomic_store_explicit(&l->columns_at, due, memory_order_relaxed);
	pthread_mutex_unlock(&l->columns_lock);
	if (kick) dpi_loop_kick(s->ctx);
}

/* Send what is due; when the next is. */
static int64_t serve(struct dpi_source *s, int64_t now)
{
	struct dpi_columns *c = s->columns;
	int64_t next = DPI_NEVER;
	if (pthread_mutex_trylock(&c->lock)) return now + AGAIN_NS;
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) {
		struct dpi_lane *l = &s->lane[t];
		if (!c->open[t] || !dpi_column_rows(c->open[t])) continue;
		if (l->due > now) {
			if (l->due < next) next = l->due;
			continue;
		}
		dpi_columns_send_to(s, t);
	}
	pthread_mutex_unlock(&c->lock);
	return next;
}

int64_t dpi_columns_service(struct dpi_context *ctx, int64_t now)
{
	struct dpi_flow_layer *l = ctx->flows;
	int64_t next = atomic_load_explicit(&l->columns_at, memory_order_relaxed);
	if (now < next) return next;
	pthread_mutex_lock(&l->columns_lock);
	next = DPI_NEVER;
	for (struct dpi_source *s = l->columns; s; s = s->columns->next) {
		int64_t at = serve(s, now);
		if (at < next) next = at;
	}
	atomic_store_explicit(&l->columns_at, next, memory_order_relaxed);
	pthread_mutex_unlock(&l->columns_lock);
	return next;
}
