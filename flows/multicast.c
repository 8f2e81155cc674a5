/* SPDX-License-Identifier: Apache-2.0
 * multicast.c: rows that go to several targets over a transport with multicast: what their lanes hold is published together. */
#include "multicast.h"

/* How many of them; the first is the least. */
static uint32_t collect(const struct dpi_source *s, const uint32_t *to, uint32_t count, struct dpi_buffer **b, uint32_t most, uint32_t *at)
{
	uint32_t n = 0;
	for (; *at < count && n < most; ++*at) {
		struct dpi_lane *l = &s->lane[to[*at]];
		if (l->b && !l->dropped && dpi_append_has_multicast(l->b)) b[n++] = l->b;
	}
	return n;
}

bool dpi_source_publish_many(struct dpi_source *s, const uint32_t *to, uint32_t count)
{
	struct dpi_buffer *b[64];
	bool some = false;
	for (uint32_t at = 0, n; (n = collect(s, to, count, b, 64, &at)) > 1;) {
		const struct dpi_appender *a = &b[0]->appender;
		if (atomic_load_explicit(&a->writer.written, memory_order_relaxed) - a->published < a->group / 2) return some;
		some |= dpi_append_publish_many(b, n);
	}
	/* now there is nothing to publish, or what could not be sent so */
	for (uint32_t i = 0; some && i < count; i++) {
		struct dpi_lane *l = &s->lane[to[i]];
		if (l->b && !l->dropped && dpi_append_has_multicast(l->b)) dpi_run_went_together(l->b, &l->run);
	}
	return some;
}
