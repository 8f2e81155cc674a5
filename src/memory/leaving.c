/* SPDX-License-Identifier: Apache-2.0
 * leaving.c: windows that their owner is done with and a peer is not.
 *
 * A transport whose peers write by themselves has to hear from each of them before the memory may go, and a peer that is stopped does
 * not answer until it goes on or is found dead. Nobody waits for that: the window is listed here, with its memory, and the loop thread
 * asks again. Memory of the caller's cannot be listed, since he may free it: dpi_window_withdraw waits. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "layer.h"
#include "window.h"

#define ASK_AGAIN_NS 1000000
#define AT_THE_END_NS 2000000000 /* for all together */

struct dpi_leaving {
	struct dpi_leaving *next;
	struct dpi_window window;
};

bool dpi_leaving_add(struct dpi_context *ctx, const struct dpi_window *w)
{
	struct dpi_memory_layer *m = ctx->memory;
	struct dpi_leaving *l = malloc(sizeof *l);
	if (!l) return false;
	l->window = *w;
	pthread_mutex_lock(&m->leaving_lock);
	l->next = m->leaving;
	m->leaving = l;
	pthread_mutex_unlock(&m->leaving_lock);
	dpi_loop_kick(ctx);
	return true;
}

/* Ask each once more. Only the loop thread, and whoever ends it, take from the list. */
static void ask(struct dpi_context *ctx)
{
	struct dpi_memory_layer *m = ctx->memory;
	pthread_mutex_lock(&m->leaving_lock);
	struct dpi_leaving *all = m->leaving;
	m->leaving = NULL;
	pthread_mutex_unlock(&m->leaving_lock);
	while (all) {
		struct dpi_leaving *l = all;
		all = l->next;
		if (dpi_window_leave(ctx, &l->window)) {
			free(l);
			continue;
		}
		pthread_mutex_lock(&m->leaving_lock);
		l->next = m->leaving;
		m->leaving = l;
		pthread_mutex_unlock(&m->leaving_lock);
	}
}

static int64_t service(struct dpi_context *ctx, int64_t now)
{
	struct dpi_memory_layer *m = ctx->memory;
	pthread_mutex_lock(&m->leaving_lock);
	bool some = m->leaving;
	pthread_mutex_unlock(&m->leaving_lock);
	if (!some) return DPI_NEVER;
	if (now >= m->leaving_at) {
		ask(ctx);
		m->leaving_at = now + ASK_AGAIN_NS;
	}
	return m->leaving_at;
}

int dpi_leaving_open(struct dpi_context *ctx)
{
	return dpi_loop_service(ctx, service);
}

void dpi_leaving_close(struct dpi_context *ctx)
{
	struct dpi_memory_layer *m = ctx->memory;
	int64_t deadline = dpi_now() + AT_THE_END_NS;
	for (ask(ctx); m->leaving && dpi_now() < deadline; ask(ctx)) usleep(100);
	while (m->leaving) {
		struct dpi_leaving *l = m->leaving;
		m->leaving = l->next;
		dpi_window_abandon(ctx, &l->window);
		free(l);
	}
}
