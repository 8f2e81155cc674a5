/* SPDX-License-Identifier: Apache-2.0
 * linger.c: appends that nobody flushes become visible within the linger time.
 *
 * A handle that has unpublished records is armed: on a list that the loop thread walks. A handle found clean some times in a row is disarmed.
 * The handle's thread looks at 'armed' after it has stored 'written', without a fence; so the service, which stores 'armed' = false and
 * then looks at 'written' once more, puts the fence of both between the two (bell.h has the argument).
 *
 * Runs over a transport that puts are looked at twice in the linger time, and what is younger than a look is left to the next: a source that
 * is busy publishes by itself meanwhile, with less of system calls than bits and pieces take. */
#include <stdlib.h>

#include "buffer.h"
#include "layer.h"

#define CLEAN_ROUNDS 8

static int64_t between_looks(const struct dpi_buffer *b)
{
	return dpi_append_waits_a_look(b) ? b->linger_us * 500 : b->linger_us * 1000;
}

void dpi_linger_arm(struct dpi_buffer *b)
{
	struct dpi_memory_layer *m = b->ctx->memory;
	bool kick = false;
	DPI_DELAY(linger_arms);
	pthread_mutex_lock(&m->linger_lock);
	if (!atomic_load(&b->armed)) {
		if (m->armed_count == m->armed_room) {
			size_t room = m->armed_room ? 2 * m->armed_room : 16;
			void *p = realloc(m->armed, room * sizeof *m->armed);
			if (p) m->armed = p, m->armed_room = room;
		}
		if (m->armed_count < m->armed_room) { /* else: tried again at the next append */
			m->armed[m->armed_count++] = b;
			atomic_store(&b->armed, true);
			b->linger_due = dpi_now() + between_looks(b);
			b->clean = 0;
			if (b->linger_due < atomic_load(&m->linger_at)) {
				atomic_store(&m->linger_at, b->linger_due);
				kick = true;
			}
		}
	}
	pthread_mutex_unlock(&m->linger_lock);
	if (kick) dpi_loop_kick(b->ctx);
}

static void unlist(struct dpi_memory_layer *m, struct dpi_buffer *b)
{
	for (size_t i = 0; i < m->armed_count; i++)
		if (m->armed[i] == b) {
			m->armed[i] = m->armed[--m->armed_count];
			break;
		}
}

void dpi_linger_disarm(struct dpi_buffer *b)
{
	struct dpi_memory_layer *m = b->ctx->memory;
	pthread_mutex_lock(&m->linger_lock);
	unlist(m, b);
	atomic_store(&b->armed, true); /* nothing arms it again */
	pthread_mutex_unlock(&m->linger_lock);
}

static int64_t service(struct dpi_context *ctx, int64_t now)
{
	struct dpi_memory_layer *m = ctx->memory;
	if (now < atomic_load(&m->linger_at)) return atomic_load(&m->linger_at);
	int64_t next = DPI_NEVER;
	pthread_mutex_lock(&m->linger_lock);
	for (size_t i = 0; i < m->armed_count;) {
		struct dpi_buffer *b = m->armed[i];
		if (now >= b->linger_due) {
			b->clean = dpi_append_linger(b) ? 0 : b->clean + 1;
			b->linger_due = now + between_looks(b);
			if (b->clean >= CLEAN_ROUNDS) {
				DPI_DELAY(linger_disarms);
				atomic_store(&b->armed, false);
				DPI_DELAY(linger_disarmed);
				dpi_bell_fence_own(&ctx->bells);
				DPI_DELAY(linger_fenced);
				if (!dpi_append_linger(b)) { /* nothing slipped in between */
					m->armed[i] = m->armed[--m->armed_count];
					continue;
				}
				atomic_store(&b->armed, true);
				b->clean = 0;
			}
		}
		if (b->linger_due < next) next = b->linger_due;
		i++;
	}
	DPI_DELAY(linger_next);
	atomic_store(&m->linger_at, next);
	pthread_mutex_unlock(&m->linger_lock);
	return next;
}

int dpi_linger_open(struct dpi_context *ctx)
{
	atomic_store(&ctx->memory->linger_at, DPI_NEVER);
	return dpi_loop_service(ctx, service);
}
