/* SPDX-License-Identifier: Apache-2.0
 * post.c: what happens to an operation when it is posted: refused, passed down at once, or held. */
#include "hook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REORDER_NS 20000 /* reordering needs some delay; on the average, where none was asked for */

static const char *const names[HOOK_KINDS] = { "put", "get", "fetch_add", "compare_swap", "flush", "send" };

/* splitmix64 */
uint64_t hook_draw(struct hook_dice *dice)
{
	uint64_t z = dice->state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static bool chance(struct hook_dice *dice, uint64_t probability)
{
	return hook_draw(dice) >> 32 < probability;
}

/* From nothing to twice the mean. */
static int64_t delay(const DPI_Tp *tp, struct hook_dice *dice)
{
	uint64_t mean = tp->config.delay_us * 1000;
	if (!mean && tp->config.reorder) mean = REORDER_NS;
	uint64_t draw = hook_draw(dice);
	return mean ? (int64_t)(draw % (2 * mean)) : 0;
}

/* May this post go on? The draws are the same whatever comes of it. */
static int admit(DPI_Tp_Endpoint *e, struct hook_dice *dice)
{
	DPI_Tp *tp = e->tp;
	dice->state = tp->config.seed + (uint64_t)tp->core.node * 0x632be59bd9b4e019u;
	dice->state += ++tp->posts * 0xd1342543de82ef95u;
	bool again = chance(dice, tp->config.again), error = chance(dice, tp->config.error), death = chance(dice, tp->config.death);
	if (!e->dead && (death || e->operations >= tp->config.kill)) {
		e->dead = true;
		tp->totals.killed++;
		hook_wake(tp, 0);
	}
	if (e->dead)
		return hook_fail(tp, DPI_ERR_PEER, "hook has killed the connection to node %d, as DPI_HOOK says (seed=%llu)", e->node,
				 (unsigned long long)tp->config.seed);
	if (again) {
		tp->totals.again++;
		return hook_fail(tp, DPI_ERR_AGAIN, "hook did not accept the operation, as DPI_HOOK says");
	}
	if (error) {
		tp->totals.error++;
		return hook_fail(tp, DPI_ERR_TRANSPORT, "hook let the operation fail, as DPI_HOOK says (seed=%llu)", (unsigned long long)tp->config.seed);
	}
	if (tp->timed && tp->outstanding >= tp->attr.outstanding)
		return hook_fail(tp, DPI_ERR_AGAIN, "hook holds %u operations", tp->outstanding);
	return DPI_SUCCESS;
}

static struct hook_op *make(DPI_Tp_Endpoint *e, enum hook_kind kind, DPI_Tp_Remote *remote, void *cookie,
			    const struct iovec *iov, int count, int *error)
{
	*error = DPI_SUCCESS;
	if (count < 0 || (count && !iov)) *error = hook_fail(e->tp, DPI_ERR_ARGUMENT, "%d pieces to copy", count);
	else if ((uint32_t)count > e->tp->attr.max_iov)
		*error = hook_fail(e->tp, DPI_ERR_LIMIT, "%d pieces in one operation; there may be %u", count,
				   e->tp->attr.max_iov);
	if (*error) return NULL;
	struct hook_op *op = calloc(1, sizeof *op + 2 * (size_t)count * sizeof *iov);
	if (!op) {
		*error = hook_fail(e->tp, DPI_ERR_MEMORY, "no memory for an operation");
		return NULL;
	}
	op->endpoint = e;
	op->kind = kind;
	op->remote = remote;
	op->cookie = cookie;
	op->count = count;
	op->piece = op->iov + count;
	op->pieces = op->steps = 1;
	for (int i = 0; i < HOOK_CUTS + 2; i++) op->flight[i].op = op;
	if (count) memcpy(op->iov, iov, (size_t)count * sizeof *iov);
	for (int i = 0; i < count; i++)
		if (__builtin_add_overflow(op->size, iov[i].iov_len, &op->size)) op->size = UINT64_MAX;
	op->cut[1] = op->size;
	return op;
}

/* Cut it where the window has whole words, so that none is torn that would not have been. Only what lies in the window. */
static void cut(struct hook_op *op, struct hook_dice *dice)
{
	DPI_Tp *tp = op->endpoint->tp;
	uint32_t unit = tp->attr.alignment > 8 ? tp->attr.alignment : 8, n = 0;
	bool wanted = chance(dice, tp->config.cut);
	uint64_t draw = hook_draw(dice), last = 0;
	if (!wanted || (op->kind != HOOK_PUT && op->kind != HOOK_GET)) return;
	if (op->offset > op->remote->length || op->size > op->remote->length - op->offset || op->size < 2 * unit) return;
	for (uint32_t i = 1; i < HOOK_CUTS; i++, draw >>= 16) {
		uint64_t span = op->size / (HOOK_CUTS - 1), at = op->offset + (i - 1) * span + (draw & 0xffff) % (span + 1);
		at -= at % unit;
		if (at <= op->offset + last || at >= op->offset + op->size) continue;
		last = op->cut[++n] = at - op->offset;
	}
	op->cut[++n] = op->size;
	op->pieces = op->steps = n;
	if (n == 1) return;
	/* without an order below, the notification must wait for a flush */
	if (op->notifies && !tp->lower_ordered) op->steps += 2;
	tp->totals.cut++;
}

static void trace(const struct hook_op *op, int error)
{
	DPI_Tp *tp = op->endpoint->tp;
	char text[160] = "", end[40];
	bool word = op->kind == HOOK_FETCH_ADD || op->kind == HOOK_COMPARE_SWAP;
	if (op->remote)
		snprintf(text, sizeof text, ", %llu bytes at %llu of %llu%s%s%s",
			 (unsigned long long)(word ? 8 : op->size), (unsigned long long)op->offset,
			 (unsigned long long)op->remote->length, op->notifies ? ", with notification" : "",
			 op->pieces > 1 ? ", cut" : "", error == DPI_TP_PENDING && !op->step ? ", held" : "");
	snprintf(end, sizeof end, "error %d", error);
	tp->upper->log(tp->upper->self, 2, "hook: %s node %d%s: %s", names[op->kind], op->endpoint->node, text,
		       error == DPI_TP_PENDING ? "pending" : !error ? "done" : error == DPI_ERR_AGAIN ? "again" : end);
}

static int pass(struct hook_op *op, uint32_t flags, struct hook_dice *dice)
{
	DPI_Tp_Endpoint *e = op->endpoint;
	DPI_Tp *tp = e->tp;
	cut(op, dice);
	int64_t wait = delay(tp, dice);
	op->after = delay(tp, dice);
	tp->outstanding++;
	if (op->remote) op->remote->pending++;
	if (wait || op->steps > 1 || !TAILQ_EMPTY(&e->held)) {
		op->due = hook_now() + wait;
		hook_enter(op, HOOK_HELD);
		tp->totals.held++;
		hook_wake(tp, op->due);
		return DPI_TP_PENDING;
	}
	int error = hook_step(op, tp->timed ? flags & ~DPI_TP_MORE : flags);
	if (error == DPI_TP_PENDING) {
		hook_enter(op, HOOK_FLYING);
		return error;
	}
	if (!error && op->after) {
		hook_done(op);
		hook_wake(tp, op->due);
		return DPI_TP_PENDING;
	}
	tp->outstanding--;
	if (op->remote) op->remote->pending--;
	return error;
}

/* To the end of a post: pass it, count it, and free it unless it lives on. */
static int post(struct hook_op *op, uint32_t flags, struct hook_dice *dice, uint64_t *result)
{
	DPI_Tp_Endpoint *e = op->endpoint;
	int error = pass(op, flags, dice);
	if (e->tp->config.trace) trace(op, error);
	if (error == DPI_SUCCESS || error == DPI_TP_PENDING) {
		e->operations++;
		e->tp->totals.ops[op->kind]++;
		e->tp->totals.bytes[op->kind] += op->size;
	}
	if (error == DPI_TP_PENDING) return error;
	if (!error && result) *result = op->result;
	free(op);
	return error;
}

int hook_put(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify,
	     uint32_t flags, void *cookie)
{
	struct hook_dice dice;
	int error = admit(remote->endpoint, &dice);
	if (error) return error;
	struct hook_op *op = make(remote->endpoint, HOOK_PUT, remote, cookie, iov, count, &error);
	if (!op) return error;
	op->offset = offset;
	op->notifies = notify;
	if (notify) op->notify = *notify;
	return post(op, flags, &dice, NULL);
}

int hook_get(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, void *cookie)
{
	struct hook_dice dice;
	int error = admit(remote->endpoint, &dice);
	if (error) return error;
	struct hook_op *op = make(remote->endpoint, HOOK_GET, remote, cookie, iov, count, &error);
	if (!op) return error;
	op->offset = offset;
	return post(op, 0, &dice, NULL);
}

int hook_fetch_add(DPI_Tp_Remote *remote, uint64_t offset, uint64_t operand, uint64_t *result, void *cookie)
{
	struct hook_dice dice;
	int error = admit(remote->endpoint, &dice);
	if (error) return error;
	struct hook_op *op = make(remote->endpoint, HOOK_FETCH_ADD, remote, cookie, NULL, 0, &error);
	if (!op) return error;
	op->offset = offset;
	op->operand = operand;
	return post(op, 0, &dice, result);
}

int hook_compare_swap(DPI_Tp_Remote *remote, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result,
		      void *cookie)
{
	struct hook_dice dice;
	int error = admit(remote->endpoint, &dice);
	if (error) return error;
	struct hook_op *op = make(remote->endpoint, HOOK_COMPARE_SWAP, remote, cookie, NULL, 0, &error);
	if (!op) return error;
	op->offset = offset;
	op->expected = expected;
	op->operand = desired;
	return post(op, 0, &dice, result);
}

int hook_flush(DPI_Tp_Endpoint *endpoint, void *cookie)
{
	struct hook_dice dice;
	int error = admit(endpoint, &dice);
	if (error) return error;
	struct hook_op *op = make(endpoint, HOOK_FLUSH, NULL, cookie, NULL, 0, &error);
	if (!op) return error;
	return post(op, 0, &dice, NULL);
}

/* A send has no completion that could come late: it is refused or passed on. */
int hook_send(DPI_Tp_Endpoint *endpoint, const void *bytes, size_t size, uint32_t flags)
{
	DPI_Tp *tp = endpoint->tp;
	struct hook_dice dice;
	int error = admit(endpoint, &dice);
	if (!error) error = tp->table->send(endpoint->lower, bytes, size, tp->timed ? flags & ~DPI_TP_MORE : flags);
	if (tp->config.trace)
		tp->upper->log(tp->upper->self, 2, "hook: send node %d, %zu bytes: error %d", endpoint->node, size, error);
	if (error) return error;
	endpoint->operations++;
	tp->totals.ops[HOOK_SEND]++;
	tp->totals.bytes[HOOK_SEND] += size;
	return DPI_SUCCESS;
}
