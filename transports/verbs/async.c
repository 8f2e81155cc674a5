/* SPDX-License-Identifier: Apache-2.0
 * async.c: events of the device.
 *
 * Its descriptor is the connection manager's, one for the whole process. Others may have queues behind it (a library that opens the same
 * device, another open transport of this kind), and whoever reads an event has taken it from all of them. So an event is compared with the
 * queues of each open transport, and none's context is trusted: it may be anything of anybody's. Where it belongs it is noted, and that
 * transport's own progress acts on it. */
#include <pthread.h>
#include <stdio.h>

#include "multicast.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static DPI_Tp *open_ones;

void dpi_verbs_lock(void)
{
	pthread_mutex_lock(&mutex);
}

void dpi_verbs_unlock(void)
{
	pthread_mutex_unlock(&mutex);
}

void dpi_verbs_async_begin(DPI_Tp *tp)
{
	dpi_verbs_lock();
	tp->next_open = open_ones;
	open_ones = tp;
	dpi_verbs_unlock();
}

void dpi_verbs_async_end(const DPI_Tp *tp)
{
	dpi_verbs_lock();
	for (DPI_Tp **p = &open_ones; *p; p = &(*p)->next_open)
		if (*p == tp) {
			*p = tp->next_open;
			break;
		}
	dpi_verbs_unlock();
}

/* Where it is noted that this one's queue has had it; NULL: the queue is not one of these. node: whose connection it is. Under the lock. */
static _Atomic int *place(DPI_Tp *tp, const struct ibv_async_event *e, enum verbs_whom whom, int *node)
{
	struct verbs_multicast *m = tp->multicast;
	if (whom == WHOM_ALL) return &tp->event;
	if (whom == WHOM_PAIR) {
		DPI_Tp_Endpoint *c = dpi_verbs_by_qp(tp, e->element.qp->qp_num); /* the queue pair lasts until the event is acknowledged */
		if (!c || c->qp != e->element.qp) return m && m->id && m->id->qp == e->element.qp ? &m->event : NULL;
		*node = c->node;
		return e->event_type == IBV_EVENT_QP_LAST_WQE_REACHED ? &c->emptied : &c->event;
	}
	for (const struct verbs_group *g = tp->groups; g; g = g->next)
		if (whom == WHOM_COMPLETIONS ? g->cq == e->element.cq : whom == WHOM_RECEIVES && g->srq == e->element.srq) return &tp->event;
	return m && whom == WHOM_COMPLETIONS && m->cq == e->element.cq ? &m->event : NULL;
}

/* false: it concerns none that is open. */
static bool note(const struct ibv_context *device, const struct ibv_async_event *e, const struct verbs_event *what, int *node)
{
	bool ours = false;
	dpi_verbs_lock();
	for (DPI_Tp *tp = open_ones; tp && what->whom != WHOM_NOBODY; tp = tp->next_open) {
		_Atomic int *at = tp->verbs == device ? place(tp, e, what->whom, node) : NULL;
		ours |= at != NULL;
		if (!at || (!what->error && e->event_type != IBV_EVENT_QP_LAST_WQE_REACHED)) continue; /* nothing is to be done about it */
		atomic_store(at, (int)e->event_type + 1);
		atomic_store(&tp->noted, true);
	}
	dpi_verbs_unlock();
	return ours;
}

void dpi_verbs_async_events(DPI_Tp *tp)
{
	const DPI_Tp_Core *core = tp->core;
	struct ibv_async_event e;
	while (!ibv_get_async_event(tp->verbs, &e)) {
		const struct verbs_event *what = dpi_verbs_event(e.event_type);
		char whose[64] = "";
		int node = -1;
		bool foreign = !note(tp->verbs, &e, what, &node) && what->whom != WHOM_NOBODY;
		ibv_ack_async_event(&e);
		tp->events++;
		if (foreign) snprintf(whose, sizeof whose, " (of a queue that is not this library's)");
		else if (node >= 0) snprintf(whose, sizeof whose, " (of the connection with node %d)", node);
		core->log(core->self, (what->error && !foreign) || e.event_type == IBV_EVENT_PORT_ERR ? 1 : 3, "device %s: event %s: %s%s", tp->device,
			  what->name, what->sentence, whose);
	}
}

void dpi_verbs_async_act(DPI_Tp *tp)
{
	if (!atomic_exchange(&tp->noted, false)) return;
	int all = atomic_exchange(&tp->event, 0), datagrams = tp->multicast ? atomic_exchange(&tp->multicast->event, 0) : 0;
	if (all) dpi_verbs_lose_all(tp, dpi_verbs_event((enum ibv_event_type)(all - 1))->sentence);
	if (datagrams) dpi_verbs_multicast_failed(tp, dpi_verbs_event((enum ibv_event_type)(datagrams - 1))->sentence);
	for (DPI_Tp_Endpoint *c = tp->connections; c; c = c->next)
		if (atomic_load(&c->event)) dpi_verbs_mark(c);
}
