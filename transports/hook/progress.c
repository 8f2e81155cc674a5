/* SPDX-License-Identifier: Apache-2.0
 * progress.c: what was held goes down when it is due, and completions come up when they are. */
#include "hook.h"

#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* -------------------------------------------------------------------------------------------------- an operation */

/* The pieces of memory that belong to the bytes from … to of op; they stand in op->piece. */
static int slice(struct hook_op *op, uint64_t from, uint64_t to)
{
	int n = 0;
	uint64_t at = 0;
	for (int i = 0; i < op->count && at < to; at += op->iov[i++].iov_len) {
		uint64_t a = from > at ? from - at : 0, b = to - at;
		if (b > op->iov[i].iov_len) b = op->iov[i].iov_len;
		if (a >= b) continue;
		op->piece[n++] = (struct iovec){ (char *)op->iov[i].iov_base + a, b - a };
	}
	return n;
}

static int step_copy(struct hook_op *op, uint32_t flags)
{
	const DPI_Transport *table = op->endpoint->tp->table;
	const struct iovec *iov = op->iov;
	uint64_t at = op->offset;
	int count = op->count;
	bool last = op->step + 1 == op->steps;
	if (op->step > op->pieces) { /* the notification alone, after a flush */
		count = 0;
	} else if (op->pieces > 1) {
		at += op->cut[op->step];
		count = slice(op, op->cut[op->step], op->cut[op->step + 1]);
		iov = op->piece;
	}
	void *cookie = &op->flight[op->step];
	if (op->kind == HOOK_GET) return table->get(op->remote->lower, iov, count, at, cookie);
	return table->put(op->remote->lower, iov, count, at, op->notifies && last ? &op->notify : NULL, flags, cookie);
}

int hook_step(struct hook_op *op, uint32_t flags)
{
	const DPI_Transport *table = op->endpoint->tp->table;
	DPI_Tp_Remote *remote = op->remote ? op->remote->lower : NULL;
	void *cookie = &op->flight[op->step];
	int error = DPI_ERR_INTERNAL;
	switch (op->kind) {
	case HOOK_PUT:
	case HOOK_GET:
		if (op->step && op->step == op->pieces) error = table->flush(op->endpoint->lower, cookie);
		else error = step_copy(op, flags);
		break;
	case HOOK_FETCH_ADD:
		error = table->fetch_add(remote, op->offset, op->operand, &op->result, cookie);
		break;
	case HOOK_COMPARE_SWAP:
		error = table->compare_swap(remote, op->offset, op->expected, op->operand, &op->result, cookie);
		break;
	case HOOK_FLUSH:
		error = table->flush(op->endpoint->lower, cookie);
		break;
	case HOOK_SEND:
	case HOOK_KINDS:
		break;
	}
	if (error && error != DPI_TP_PENDING) return error;
	if (error) {
		op->flying++;
		op->flight[op->step].flying = true;
	}
	op->step++;
	return error;
}

static struct hook_ops *list_of(struct hook_op *op)
{
	if (op->state == HOOK_DONE) return &op->endpoint->tp->done;
	return op->state == HOOK_HELD ? &op->endpoint->held : &op->endpoint->flying;
}

void hook_enter(struct hook_op *op, enum hook_state state)
{
	if (op->state != HOOK_NEW) TAILQ_REMOVE(list_of(op), op, link);
	op->state = state;
	if (op->state != HOOK_NEW) TAILQ_INSERT_TAIL(list_of(op), op, link);
}

/* Nothing is left to do but to say so. */
void hook_done(struct hook_op *op)
{
	DPI_Tp *tp = op->endpoint->tp;
	if (op->remote) op->remote->pending--;
	op->due = op->endpoint->dead ? 0 : hook_now() + op->after;
	if (!tp->config.reorder && op->due && op->due < tp->last_due) op->due = tp->last_due;
	if (op->due) tp->last_due = op->due;
	hook_enter(op, HOOK_DONE);
}

void hook_complete(void *self, void *cookie, int error, uint64_t result)
{
	struct hook_flight *flight = cookie;
	struct hook_op *op = flight->op;
	(void)self;
	flight->flying = false;
	op->flying--;
	if (op->endpoint->dead) error = DPI_ERR_PEER;
	if (!op->error) op->error = error;
	op->result = result;
	if (op->error) op->steps = op->step; /* no notification of what was not put */
	if (!op->flying && op->step == op->steps) hook_done(op);
}

/* ------------------------------------------------------------------------------------------------- what is held */

/* Walks the held operations of an endpoint in the order posted. May this one go on now? Puts keep their order if it is
 * promised, notifications always; a flush comes after the puts before it; without 'reorder' nothing overtakes anything. */
struct walk {
	bool any, put, notification; /* is held before this one */
};

static bool may_go(struct walk *w, const struct hook_op *op)
{
	const DPI_Tp *tp = op->endpoint->tp;
	bool goes = !w->any;
	if (tp->config.reorder) {
		bool after_puts = op->kind == HOOK_FLUSH || (op->kind == HOOK_PUT && tp->ordered);
		goes = !(after_puts && w->put) && !(op->notifies && w->notification);
	}
	w->any = true;
	w->put |= op->kind == HOOK_PUT;
	w->notification |= op->notifies;
	/* the notification of a cut put: all flushed first */
	return goes && !(op->step >= op->pieces && op->flying);
}

/* One step of each operation that may go on; how many went. */
static int pass_down(DPI_Tp_Endpoint *e, int64_t now)
{
	struct walk walk = { 0 };
	int moved = 0;
	for (struct hook_op *op = TAILQ_FIRST(&e->held), *next; op; op = next) {
		struct walk before = walk;
		next = TAILQ_NEXT(op, link);
		if (!may_go(&walk, op) || op->due > now) {
			if (!e->tp->config.reorder) break;
			continue;
		}
		int error = hook_step(op, 0);
		if (error == DPI_ERR_AGAIN) {
			op->due = now + HOOK_RETRY_NS;
			break;
		}
		moved++;
		if (error && error != DPI_TP_PENDING) {
			if (!op->error) op->error = error;
			op->step = op->steps;
		}
		if (op->step < op->steps) {
			if (!e->tp->config.reorder) break;
			continue;
		}
		walk = before;
		if (op->flying) hook_enter(op, HOOK_FLYING);
		else hook_done(op);
	}
	return moved;
}

/* The endpoint is dead: what is held goes no further, and what is done may as well not have been. */
void hook_abandon(DPI_Tp_Endpoint *e)
{
	struct hook_op *op;
	e->dead = true;
	while ((op = TAILQ_FIRST(&e->held))) {
		op->error = DPI_ERR_PEER;
		op->steps = op->step;
		if (op->flying) hook_enter(op, HOOK_FLYING);
		else hook_done(op);
	}
	TAILQ_FOREACH(op, &e->tp->done, link) {
		if (op->endpoint != e) continue;
		op->error = DPI_ERR_PEER;
		op->due = 0;
	}
}

static struct hook_op *find(DPI_Tp_Endpoint *e, const void *cookie)
{
	struct hook_op *op;
	TAILQ_FOREACH(op, &e->held, link)
		if (op->cookie == cookie) return op;
	TAILQ_FOREACH(op, &e->flying, link)
		if (op->cookie == cookie) return op;
	TAILQ_FOREACH(op, &e->tp->done, link)
		if (op->endpoint == e && op->cookie == cookie) return op;
	return NULL;
}

/* What was passed down is the lower transport's to take back; the rest simply does not happen. */
int hook_cancel(DPI_Tp_Endpoint *endpoint, void *cookie)
{
	DPI_Tp *tp = endpoint->tp;
	struct hook_op *op = find(endpoint, cookie);
	if (!op) return DPI_SUCCESS; /* completed */
	for (struct hook_flight *f = op->flight; op->flying && f < op->flight + op->step; f++) {
		if (!f->flying) continue;
		int error = tp->table->cancel(endpoint->lower, f);
		if (error) return error; /* the first, so that nothing has changed */
		if (!f->flying) continue; /* completed during the call */
		f->flying = false;
		op->flying--;
		op->error = DPI_ERR_CANCELLED;
	}
	if (op->state != HOOK_DONE && op->remote) op->remote->pending--;
	hook_enter(op, HOOK_NEW);
	tp->outstanding--;
	free(op);
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------ what comes up */

int hook_deliver(DPI_Tp *tp, int64_t now)
{
	int n = 0;
	for (struct hook_op *op = TAILQ_FIRST(&tp->done), *next; op; op = next) {
		next = TAILQ_NEXT(op, link);
		if (op->due > now) continue;
		hook_enter(op, HOOK_NEW);
		tp->outstanding--;
		n++;
		tp->upper->complete(tp->upper->self, op->cookie, op->error, op->error ? 0 : op->result);
		free(op);
		next = TAILQ_FIRST(&tp->done); /* the callee may have posted, or cancelled */
	}
	return n;
}

void hook_lost(void *self, int node, uint64_t incarnation, const char *sentence)
{
	DPI_Tp *tp = self;
	DPI_Tp_Endpoint *e;
	LIST_FOREACH(e, &tp->endpoints, link) {
		if (e->node != node || e->incarnation != incarnation) continue;
		if (e->lost) return; /* killed here before: said already */
		e->lost = true;
	}
	tp->upper->lost(tp->upper->self, node, incarnation, sentence);
}

static int say_lost(DPI_Tp *tp)
{
	int n = 0;
	DPI_Tp_Endpoint *e;
	LIST_FOREACH(e, &tp->endpoints, link) {
		if (!e->dead || e->lost) continue;
		e->lost = true;
		hook_abandon(e);
		n += hook_deliver(tp, hook_now()) + 1;
		tp->upper->lost(tp->upper->self, e->node, e->incarnation,
				"hook has killed the connection, as DPI_HOOK says");
	}
	return n;
}

/* When there is something to do without the lower transport. */
static int64_t next_due(DPI_Tp *tp)
{
	int64_t due = HOOK_NEVER;
	DPI_Tp_Endpoint *e;
	struct hook_op *op;
	LIST_FOREACH(e, &tp->endpoints, link) {
		struct walk walk = { 0 };
		if (e->dead && !e->lost) return 0;
		TAILQ_FOREACH(op, &e->held, link)
			if (may_go(&walk, op) && op->due < due) due = op->due;
	}
	TAILQ_FOREACH(op, &tp->done, link)
		if (op->due < due) due = op->due;
	return due;
}

/* If the timer runs out too early, progress finds nothing and sets it again. */
void hook_wake(DPI_Tp *tp, int64_t due)
{
	if (due < 1) due = 1; /* 0 would stop the timer */
	if (due >= tp->timer_due) return;
	struct itimerspec when = { .it_value = { due / 1000000000, due % 1000000000 } };
	timerfd_settime(tp->timer, TFD_TIMER_ABSTIME, &when, NULL);
	tp->timer_due = due;
}

int hook_progress(DPI_Tp *tp, uint32_t lane, int *events)
{
	int moved = 0;
	uint64_t expirations;
	if (lane) return hook_fail(tp, DPI_ERR_ARGUMENT, "hook has one lane, there is no lane %u", lane);
	if (tp->timer_due <= hook_now() && read(tp->timer, &expirations, sizeof expirations) > 0) tp->timer_due = HOOK_NEVER;
	hook_number(tp);
	int error = tp->table->progress(tp->lower, 0, &moved);
	int64_t now = hook_now();
	DPI_Tp_Endpoint *e;
	LIST_FOREACH(e, &tp->endpoints, link)
		if (!e->dead) moved += pass_down(e, now);
	moved += say_lost(tp);
	moved += hook_deliver(tp, hook_now());
	if (tp->timed) hook_wake(tp, next_due(tp));
	if (events) *events = moved;
	return error;
}

/* ---------------------------------------------------------------------------------------------------- sleeping */

int hook_get_fd(DPI_Tp *tp, uint32_t lane, int *fd)
{
	if (!tp->timed) return tp->table->get_fd(tp->lower, lane, fd);
	if (!(tp->attr.capabilities & DPI_TP_FD))
		return hook_fail(tp, DPI_ERR_UNSUPPORTED, "transport %s has no descriptor to sleep on", tp->table->name);
	*fd = tp->epoll;
	return DPI_SUCCESS;
}

int hook_arm(DPI_Tp *tp, uint32_t lane)
{
	if (!tp->timed) return tp->table->arm(tp->lower, lane);
	int64_t due = next_due(tp);
	if (due <= hook_now()) return DPI_ERR_AGAIN; /* no sentence: it would hide that of what the caller found */
	hook_wake(tp, due);
	return tp->lower_sleeps ? tp->table->arm(tp->lower, 0) : DPI_SUCCESS;
}
