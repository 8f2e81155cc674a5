/* SPDX-License-Identifier: Apache-2.0
 * linger.c: the service behind linger.h. */
#include "linger.h"

#include "layer.h"
#include "loop.h"

void dpi_flow_linger_add(struct dpi_context *ctx, struct dpi_lingerer *l, int64_t (*serve)(struct dpi_lingerer *l, int64_t now))
{
	struct dpi_flow_layer *layer = ctx->flows;
	l->serve = serve;
	l->due = DPI_NEVER;
	pthread_mutex_lock(&layer->linger_lock);
	l->next = layer->lingerers;
	layer->lingerers = l;
	pthread_mutex_unlock(&layer->linger_lock);
}

void dpi_flow_linger_remove(struct dpi_context *ctx, struct dpi_lingerer *l)
{
	struct dpi_flow_layer *layer = ctx->flows;
	pthread_mutex_lock(&layer->linger_lock);
	struct dpi_lingerer **at = &layer->lingerers;
	while (*at && *at != l) at = &(*at)->next;
	if (*at) *at = l->next;
	pthread_mutex_unlock(&layer->linger_lock);
}

void dpi_flow_linger_by(struct dpi_context *ctx, struct dpi_lingerer *l, int64_t due)
{
	struct dpi_flow_layer *layer = ctx->flows;
	pthread_mutex_lock(&layer->linger_lock);
	if (due < l->due) l->due = due;
	bool kick = due < atomic_load_explicit(&layer->linger_at, memory_order_relaxed);
	if (kick) atomic_store_explicit(&layer->linger_at, due, memory_order_relaxed);
	pthread_mutex_unlock(&layer->linger_lock);
	if (kick) dpi_loop_kick(ctx);
}

static int64_t service(struct dpi_context *ctx, int64_t now)
{
	struct dpi_flow_layer *layer = ctx->flows;
	if (!layer) return DPI_NEVER;
	int64_t next = atomic_load_explicit(&layer->linger_at, memory_order_relaxed);
	if (now < next) return next;
	pthread_mutex_lock(&layer->linger_lock);
	next = DPI_NEVER;
	for (struct dpi_lingerer *l = layer->lingerers; l; l = l->next) {
		if (now >= l->due) l->due = l->serve(l, now);
		if (l->due < next) next = l->due;
	}
	atomic_store_explicit(&layer->linger_at, next, memory_order_relaxed);
	pthread_mutex_unlock(&layer->linger_lock);
	return next;
}

int dpi_flow_linger_open(struct dpi_context *ctx)
{
	pthread_mutex_init(&ctx->flows->linger_lock, NULL);
	atomic_init(&ctx->flows->linger_at, DPI_NEVER);
	return dpi_loop_service(ctx, service);
}
