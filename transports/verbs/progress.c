/* SPDX-License-Identifier: Apache-2.0
 * progress.c: completions, events, and sleeping. */
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

#include "multicast.h"

int64_t dpi_verbs_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void completed(DPI_Tp *tp, const struct ibv_wc *wc)
{
	if (wc->wr_id >> 63) dpi_verbs_received(tp, wc);
	else dpi_verbs_sent(tp, wc);
}

/* They are older than what is in the queues. A callback may attach, and so put off some more. */
static void take_later(DPI_Tp *tp)
{
	while (tp->laters) {
		struct ibv_wc *later = tp->later;
		uint32_t n = tp->laters;
		tp->later = NULL;
		tp->laters = tp->later_room = 0;
		for (uint32_t i = 0; i < n; i++) completed(tp, &later[i]);
		free(later);
	}
	if (tp->has_early) dpi_verbs_in_turn(tp);
}

/* What is under way would wait for completions that nobody sees. */
static COLD void unpolled(DPI_Tp *tp)
{
	const DPI_Tp_Core *core = tp->core;
	if (tp->failed) return;
	core->log(core->self, 1, "device %s: a completion queue could not be polled; see the kernel log", tp->device);
	dpi_verbs_lose_all(tp, "a completion queue could not be polled; see the kernel log");
}

void dpi_verbs_poll(DPI_Tp *tp)
{
	struct ibv_wc wc[POLL_BATCH];
	for (struct verbs_group *g = tp->groups; g; g = g->next)
		for (int round = 0; round < POLL_ROUNDS; round++) {
			take_later(tp);
			int n = ibv_poll_cq(g->cq, POLL_BATCH, wc);
			if (n < 0) unpolled(tp);
			for (int i = 0; i < n; i++) completed(tp, &wc[i]);
			if (n < POLL_BATCH) break;
		}
}

static bool room_for_later(DPI_Tp *tp)
{
	uint32_t room = tp->later_room ? tp->later_room * 2 : 2 * POLL_BATCH;
	if (tp->laters + POLL_BATCH <= tp->later_room) return true;
	struct ibv_wc *more = realloc(tp->later, room * sizeof *more);
	if (!more) return false;
	tp->later = more;
	tp->later_room = room;
	return true;
}

/* How many have come; negative: the queue could not be polled, which progress will see as well. All are put off, but messages for which now
 * is true. */
static int put_off(DPI_Tp *tp, struct verbs_group *g, bool (*now)(DPI_Tp *tp, const struct ibv_wc *wc))
{
	uint32_t kept = 0;
	if (!room_for_later(tp)) return 0;
	struct ibv_wc *wc = tp->later + tp->laters;
	int n = ibv_poll_cq(g->cq, POLL_BATCH, wc);
	for (int i = 0; i < n; i++) {
		struct ibv_wc one = wc[i];
		if (now && now(tp, &one)) dpi_verbs_received(tp, &one);
		else wc[kept++] = one;
	}
	tp->laters += kept;
	return n;
}

/* ATTACH and ATTACHED may overtake all other messages: whoever attaches has nothing else under way with that window. */
static bool about_keys(DPI_Tp *tp, const struct ibv_wc *wc)
{
	const struct verbs_receive *r = (const struct verbs_receive *)(uintptr_t)(wc->wr_id & ~(UINT64_C(1) << 63));
	struct wire_message m;
	(void)tp;
	return wc->wr_id >> 63 && wc->status == IBV_WC_SUCCESS && !(wc->wc_flags & IBV_WC_WITH_IMM) && wc->byte_len <= WIRE_MESSAGE &&
	       !dpi_verbs_message_parse(r->bytes, wc->byte_len, &m) && (m.op == WIRE_ATTACH || m.op == WIRE_ATTACHED);
}

bool dpi_verbs_put_off(DPI_Tp *tp, struct verbs_group *g)
{
	return put_off(tp, g, NULL) == POLL_BATCH;
}

bool dpi_verbs_peek(DPI_Tp *tp)
{
	bool some = false;
	tp->early = true;
	for (struct verbs_group *g = tp->groups; g; g = g->next) some |= put_off(tp, g, about_keys) > 0;
	tp->early = false;
	for (DPI_Tp_Endpoint *c = tp->dirty; c && some; c = c->next_dirty) dpi_verbs_serve_queues(c);
	return some;
}

/* Endpoints with something to hand over, to answer, or to say. What was handled in this round is told in the next, if no message has said
 * it meanwhile. */
static void serve_dirty(DPI_Tp *tp, bool tell)
{
	DPI_Tp_Endpoint *c = tp->dirty;
	tp->dirty = NULL;
	while (c) {
		DPI_Tp_Endpoint *next = c->next_dirty;
		c->dirty = false;
		int event = atomic_exchange(&c->event, 0);
		if (event) {
			const struct verbs_event *e = dpi_verbs_event((enum ibv_event_type)(event - 1));
			dpi_verbs_lose(c, "the verbs connection to node %d (%s) broke: %s (%s)", c->node, c->name, e->sentence, e->name);
		}
		if (c->broken)
			dpi_verbs_lose(c, "the verbs connection to node %d (%s) broke: a request could not be posted: %s; see the kernel log", c->node, c->name,
				       strerror(c->broken));
		dpi_verbs_serve_queues(c);
		if (tell) dpi_verbs_tell_handled(c);
		else if (c->tell && c->owed && c->credits && c->state == STATE_OPEN && !c->broken) dpi_verbs_mark(c);
		c = next;
	}
}

/* Events of completion queues that were armed: the descriptor is quiet again. */
static void drain_channel(DPI_Tp *tp)
{
	struct ibv_cq *cq;
	void *context;
	while (!ibv_get_cq_event(tp->completions, &cq, &context)) {
		struct verbs_group *g = context;
		g->notified = false;
		ibv_ack_cq_events(cq, 1);
	}
}

static void poll_events(DPI_Tp *tp)
{
	struct epoll_event e[4];
	int n = epoll_wait(tp->epoll_fd, e, 4, 0);
	tp->ticks = 0;
	for (int i = 0; i < n; i++) {
		if (e[i].data.fd == tp->completions->fd) drain_channel(tp);
		else if (e[i].data.fd == tp->channel->fd) dpi_verbs_cm_events(tp);
		else dpi_verbs_async_events(tp);
	}
	dpi_verbs_async_act(tp);
}

int dpi_verbs_progress(DPI_Tp *tp, uint32_t lane, int *events)
{
	(void)lane;
	if (events) *events = 0;
	if (tp->inside) return DPI_SUCCESS; /* called by a callback */
	tp->inside = true;
	tp->events = 0;
	if (tp->dirty) serve_dirty(tp, true);
	dpi_verbs_poll(tp);
	if (tp->armed || ++tp->ticks >= POLL_EVERY) {
		poll_events(tp);
		dpi_verbs_poll(tp);
	}
	if (tp->multicast) dpi_verbs_cast_progress(tp);
	if (tp->dirty) serve_dirty(tp, false);
	if (tp->ending) dpi_verbs_end(tp);
	if (tp->graves) dpi_verbs_bury(tp);
	tp->armed = false;
	if (events) *events = tp->events;
	tp->inside = false;
	return DPI_SUCCESS;
}

/* Ask for an event at the next completion, then look whether one has come before. Who cannot ask must not sleep. Of a device that has failed
 * there is nothing to come. */
int dpi_verbs_arm(DPI_Tp *tp, uint32_t lane)
{
	(void)lane;
	if (tp->dirty || tp->laters) return DPI_ERR_AGAIN;
	for (const DPI_Tp_Endpoint *c = tp->connections; c && tp->ending; c = c->next)
		if (c->state == STATE_ENDING) return DPI_ERR_AGAIN; /* its end is not told yet, which nothing may wake for */
	tp->armed = true;
	for (struct verbs_group *g = tp->groups; g && !tp->failed; g = g->next) {
		if (!g->notified && ibv_req_notify_cq(g->cq, 0)) return DPI_ERR_AGAIN;
		g->notified = true;
		if (put_off(tp, g, NULL)) return DPI_ERR_AGAIN;
	}
	if (tp->multicast && dpi_verbs_cast_arm(tp)) return DPI_ERR_AGAIN;
	return DPI_SUCCESS;
}
