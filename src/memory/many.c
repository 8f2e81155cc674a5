/* SPDX-License-Identifier: Apache-2.0
 * many.c: what several handles publish at once. The rings of a replicate flow's targets are filled with the same bytes, and a transport
 * with multicast sends these once. Whether they are the same is not known but looked at: that costs little beside sending. */
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "buffer.h"

#define TOGETHER 64	     /* destinations of one put_many */
#define BUSY_US 20	     /* between looks at a transport that is busy */
#define TRIES 50	     /* so many, then each is sent its own */

bool dpi_append_has_multicast(const struct dpi_buffer *b)
{
	const struct dpi_appender *a = &b->appender;
	return a->attached && !a->tail && a->remote.carrier && a->remote.carrier->attr.capabilities & DPI_TP_MULTICAST;
}

static uint64_t unsent(const struct dpi_appender *a)
{
	return atomic_load_explicit(&a->writer.written, memory_order_relaxed) - atomic_load_explicit(&a->sent, memory_order_relaxed);
}

/* Bytes of the first that lie together, and are next at each of the others, too; 0: there are none. */
static uint64_t same(struct dpi_buffer *const *b, int count)
{
	const struct dpi_appender *first = &b[0]->appender;
	uint64_t n = unsent(first), sent = atomic_load_explicit(&first->sent, memory_order_relaxed), most = first->remote.carrier->attr.max_many;
	for (int i = 0; i < count; i++) {
		const struct dpi_appender *a = &b[i]->appender;
		uint64_t end = a->writer.capacity - (atomic_load_explicit(&a->sent, memory_order_relaxed) & a->writer.mask);
		if (a->remote.carrier != first->remote.carrier || unsent(a) != unsent(first)) return 0;
		if (n > end) n = end;
	}
	if (n > most) n = most;
	for (int i = 1; i < count; i++) {
		const struct dpi_appender *a = &b[i]->appender;
		uint64_t at = atomic_load_explicit(&a->sent, memory_order_relaxed) & a->writer.mask;
		if (memcmp(first->writer.data + (sent & first->writer.mask), a->writer.data + at, n)) return 0;
	}
	return n;
}

/* The caller holds their locks. */
static int put_some(struct dpi_buffer *const *b, int count, uint64_t n, bool last)
{
	DPI_Tp_To to[TOGETHER];
	DPI_Tp_Notify notify[TOGETHER];
	struct dpi_remote *remote[TOGETHER];
	for (int i = 0; i < count; i++) {
		struct dpi_appender *a = &b[i]->appender;
		uint64_t sent = atomic_load_explicit(&a->sent, memory_order_relaxed);
		remote[i] = &a->remote;
		notify[i] = (DPI_Tp_Notify){ offsetof(struct dpi_ring, tail), sent + n, last ? a->home_bell : DPI_TP_NO_BELL };
		to[i] = (DPI_Tp_To){ a->remote.tp, DPI_RING_HEADER + (sent & a->writer.mask), &notify[i] };
	}
	const struct dpi_appender *a = &b[0]->appender;
	struct iovec v = { a->writer.data + (atomic_load_explicit(&a->sent, memory_order_relaxed) & a->writer.mask), n };
	int error, tries = TRIES;
	/* as in append.c: the mirrors stay untouched, so completion need not be awaited */
	while ((error = dpi_remote_put_many(remote, to, count, &v, 1, last ? 0 : DPI_TP_MORE, &dpi_unawaited)) == DPI_ERR_AGAIN && --tries) usleep(BUSY_US);
	if (error && error != DPI_TP_PENDING) return error;
	for (int i = 0; i < count; i++) atomic_store_explicit(&b[i]->appender.sent, notify[i].value, memory_order_relaxed);
	return DPI_SUCCESS;
}

static bool publish(struct dpi_buffer *const *b, int count)
{
	bool some = false;
	for (int i = 0; i < count; i++) pthread_mutex_lock(&b[i]->appender.lock); /* the linger service only tries */
	for (uint64_t n; (n = same(b, count)) && !put_some(b, count, n, n == unsent(&b[0]->appender));) some = true;
	for (int i = 0; i < count; i++) {
		if (some) DPI_ADD(b[i]->appender.publishes, 1);
		pthread_mutex_unlock(&b[i]->appender.lock);
	}
	return some;
}

bool dpi_append_publish_many(struct dpi_buffer *const *b, uint32_t count)
{
	bool some = false;
	for (uint32_t i = 0; i < count; i += TOGETHER) {
		int n = count - i < TOGETHER ? (int)(count - i) : TOGETHER;
		if (n > 1) some |= publish(b + i, n);
	}
	return some;
}
