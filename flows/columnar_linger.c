/* SPDX-License-Identifier: Apache-2.0
 * columnar_linger.c: segments under construction travel when their first row has waited for the linger time, unless the source is
 * busy: one that waits for room has sent all before, and looks itself after what found no room then. */
#include "columnar.h"

#include "layer.h"

/* What is due, or is whole and waits; not to a target with which the caller is busy. When to look again. */
static int64_t send_due(struct dpi_columns *c, uint32_t busy, int64_t now)
{
	struct dpi_source *s = c->source;
	int64_t next = DPI_NEVER;
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) {
		struct dpi_lane *l = &s->lane[t];
		bool some = c->open[t] && dpi_column_rows(c->open[t]);
		int64_t due = DPI_NEVER;
		if (t == busy) continue;
		if (some && l->due > now) due = l->due;
		else if (s->coded && !dpi_coded_publish(s, t, true)) due = now + DPI_COLUMNS_AGAIN_NS; /* also of one that is whole */
		else if (some && !s->coded) dpi_columns_send_to(s, t);
		if (due < next) next = due;
	}
	return next;
}

int64_t dpi_columns_linger(struct dpi_lingerer *linger, int64_t now)
{
	struct dpi_columns *c = (struct dpi_columns *)((char *)linger - offsetof(struct dpi_columns, linger));
	if (pthread_mutex_trylock(&c->lock)) return now + DPI_COLUMNS_AGAIN_NS;
	int64_t next = send_due(c, UINT32_MAX, now);
	pthread_mutex_unlock(&c->lock);
	return next;
}

void dpi_columns_meanwhile(struct dpi_source *s, uint32_t target)
{
	send_due(s->columns, target, dpi_now());
}
