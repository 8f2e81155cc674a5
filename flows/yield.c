/* SPDX-License-Identifier: Apache-2.0
 * yield.c: a source that waits for memory for a ring at one target gives others up that it has elsewhere.
 *
 * Two sources, each of which has a ring at one target and waits for memory for one at another, would wait for each other. So a home tells those
 * that have rings when another waits there for memory (asked back); and a source that waits for memory itself gives up the rings that it was asked
 * for, but those at targets below the one at which it waits where it has room for the very row that it waits with. What was written there is read as
 * ever, and rows keep their order: dpi_append_yield. Of a retained flow a ring is given up when all that lies in it is acknowledged.
 *
 * Why nobody then waits for ever for memory that only waiting sources have: let t be the highest target at which a source waits for ever, and w the
 * one that is served next there. Of the sources that have rings at t none waits for memory at t, and those that wait for ever elsewhere wait at a
 * lower target, so they give their rings at t up, as they were asked to when w began to wait, or when they got them. Their memory is free when t
 * has taken what they hold, and w gets it: homes serve in the order of asking. A source that got a ring keeps it for DPI_YIELD_NS after it was
 * asked back, and pushes the row for which it waited; with one row for several targets it goes on to the next higher one. So at each target that
 * is read, some row is pushed in the end, whatever is given up. */
#include "retain.h"

#include "loop.h"

static bool is_held(const struct dpi_source *s, uint32_t target)
{
	for (uint32_t i = 0; i < s->together_count; i++)
		if (s->together[i] == target) return true;
	return false;
}

static void give_up(struct dpi_source *s, uint32_t target)
{
	struct dpi_lane *l = &s->lane[target];
	if (!l->b) { /* it was asked for, and is there, but was not needed yet */
		dpi_run_open_drop(l->opening);
		l->opening = NULL;
		if (s->retain) l->epoch = 0; /* it can be asked for again */
		return;
	}
	bool empty = l->run.end && dpi_run_left(l->b, &l->run) == l->run.end - l->run.at - DPI_RING_WORD;
	if (dpi_lane_end(s, target, 0)) return;
	if (empty) DPI_ADD(l->begun, -1);
	if (s->retain && !dpi_retain_is_empty(s, target)) return;
	if (dpi_run_yield(l->b, s->retain ? &s->flow->lock : NULL)) s->yields++; /* under the lock others look at what it keeps */
}

void dpi_lane_yields(struct dpi_source *s, uint32_t target)
{
	if (s->coded || dpi_loop_inside(s->ctx)) return;
	int64_t now = dpi_now();
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) {
		const struct dpi_lane *l = &s->lane[t];
		const struct dpi_buffer *b = l->b ? l->b : l->opening;
		int64_t since = b && !l->dropped && t != target ? dpi_run_asked_back(b) : 0;
		if (since && now - since >= DPI_YIELD_NS && !l->full_since && !(t < target && is_held(s, t))) give_up(s, t);
	}
}
