/* SPDX-License-Identifier: Apache-2.0
 * coded_linger.c: rows of flows with codecs that nobody flushes travel within the linger time.
 *
 * Every source with codecs is on a list that the loop thread walks; it sleeps once a round has found nothing pending. A source's thread
 * stores pending = true and then looks at asleep, the service stores asleep = true and then looks at pending, all of it sequentially
 * consistent: one of the two sees the other's. */
#include "coded.h"
#include "context.h"
#include "layer.h"
#include "loop.h"
#include "source.h"

void dpi_coded_linger_add(struct dpi_coded *c)
{
	struct dpi_flow_layer *l = c->s->ctx->flows;
	pthread_mutex_lock(&l->coded_lock);
	c->next = l->coded;
	l->coded = c;
	pthread_mutex_unlock(&l->coded_lock);
}

void dpi_coded_linger_remove(struct dpi_coded *c)
{
	struct dpi_flow_layer *l = c->s->ctx->flows;
	pthread_mutex_lock(&l->coded_lock);
	struct dpi_coded **p = &l->coded;
	while (*p != c) p = &(*p)->next;
	*p = c->next;
	pthread_mutex_unlock(&l->coded_lock);
}

static int64_t linger_ns(const struct dpi_coded *c)
{
	int64_t us = c->s->linger_us ? c->s->linger_us : c->s->ctx->settings.number[DPI_SETTING_LINGER];
	return us * 1000;
}

void dpi_coded_linger_wake(struct dpi_coded *c)
{
	struct dpi_context *ctx = c->s->ctx;
	struct dpi_flow_layer *l = ctx->flows;
	bool kick = false;
	pthread_mutex_lock(&l->coded_lock);
	if (atomic_load(&c->asleep)) {
		atomic_store(&c->asleep, false);
		c->due = dpi_now() + linger_ns(c);
		kick = c->due < atomic_load(&l->coded_at);
		if (kick) atomic_store(&l->coded_at, c->due);
	}
	pthread_mutex_unlock(&l->coded_lock);
	if (kick) dpi_loop_kick(ctx);
}

static bool some_pending(struct dpi_coded *c)
{
	for (uint32_t t = 0; t < c->s->flow->definition->targets; t++)
		if (atomic_load(&c->lane[t].pending)) return true;
	return false;
}

/* A source's round; true: it sleeps now. */
static bool one_round(struct dpi_coded *c)
{
	if (some_pending(c)) {
		for (uint32_t t = 0; t < c->s->flow->definition->targets; t++) dpi_coded_linger_send(c, t);
		return false;
	}
	atomic_store(&c->asleep, true);
	if (!some_pending(c)) return true;
	atomic_store(&c->asleep, false);
	return false;
}

static int64_t service(struct dpi_context *ctx, int64_t now)
{
	struct dpi_flow_layer *l = ctx->flows;
	int64_t next = DPI_NEVER;
	if (!l) return next;
	if (now < atomic_load(&l->coded_at)) return atomic_load(&l->coded_at);
	pthread_mutex_lock(&l->coded_lock);
	for (struct dpi_coded *c = l->coded; c; c = c->next) {
		if (atomic_load(&c->asleep)) continue;
		if (now >= c->due) {
			if (one_round(c)) continue;
			c->due = now + linger_ns(c);
		}
		if (c->due < next) next = c->due;
	}
	atomic_store(&l->coded_at, next);
	pthread_mutex_unlock(&l->coded_lock);
	return next;
}

int dpi_coded_linger_open(struct dpi_context *ctx)
{
	atomic_store(&ctx->flows->coded_at, DPI_NEVER);
	return dpi_loop_service(ctx, service);
}
