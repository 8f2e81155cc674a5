/* SPDX-License-Identifier: Apache-2.0
 * message.c: messages out, within the peer's credit, and in.
 *
 * Nobody can be stuck for lack of credit: the user's messages leave two credits, ATTACH, DETACH and REVOKE one; the last is
 * for messages that bring credit along, answers and CREDIT. The credit of a request is given back with its answer, so no
 * more answers wait than there are credits; any other is owed at once, and half of them owed is a CREDIT message. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "verbs.h"

static bool alive(const DPI_Tp_Endpoint *c)
{
	return c->state == STATE_OPEN || c->state == STATE_ACCEPTED;
}

bool dpi_verbs_may_send(const DPI_Tp_Endpoint *c, uint32_t slots)
{
	return c->credits > 2 && !c->answers.first && !c->requests.first && verbs_room(c) >= slots + 4;
}

static void fill(DPI_Tp_Endpoint *c, struct verbs_slot *s, uint8_t *bytes, size_t size, uint32_t lkey)
{
	dpi_verbs_message_credits(bytes, c->owed);
	c->owed = 0;
	c->credits--;
	s->sge[0] = (struct ibv_sge){ (uintptr_t)bytes, (uint32_t)size, lkey };
	s->wr.num_sge = 1;
	s->wr.opcode = IBV_WR_SEND;
}

bool dpi_verbs_message(DPI_Tp_Endpoint *c, enum wire_op op, const uint64_t *words, const struct iovec *iov, int count, uint32_t size)
{
	size_t whole = 8 * (1 + (size_t)dpi_verbs_shape[op].words) + size;
	struct verbs_buffer *b = NULL;
	if (whole > c->tp->limits.inline_bytes && !(b = dpi_verbs_buffers(c->tp, whole))) return false;
	struct verbs_slot *s = dpi_verbs_slot(c);
	uint8_t *bytes = b ? b->memory : s->bytes, *at = bytes + dpi_verbs_message_head(bytes, op, size, words);
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len) memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	fill(c, s, bytes, whole, b ? b->lkey : 0);
	s->buffers = b;
	if (!b) s->wr.send_flags = IBV_SEND_INLINE;
	return true;
}

/* ------------------------------------------------------------------------------------------------- messages of ours */

static void queue(DPI_Tp_Endpoint *c, struct verbs_queue *q, enum wire_op op, const uint64_t *words, uint32_t owes)
{
	struct verbs_answer *a = calloc(1, sizeof *a);
	if (!a) { /* what the peer waits for would never come */
		c->broken = ENOMEM;
		dpi_verbs_mark(c);
		return;
	}
	a->owes = owes;
	a->size = (uint32_t)dpi_verbs_message_head(a->bytes, op, 0, words);
	if (!q->first) q->last = &q->first;
	*q->last = a;
	q->last = &a->next;
	dpi_verbs_mark(c);
}

void dpi_verbs_answer(DPI_Tp_Endpoint *c, enum wire_op op, const uint64_t *words, uint32_t owes)
{
	queue(c, &c->answers, op, words, owes);
}

void dpi_verbs_request(DPI_Tp_Endpoint *c, enum wire_op op, const uint64_t *words)
{
	queue(c, &c->requests, op, words, 0);
}

void dpi_verbs_queue_free(struct verbs_queue *q)
{
	while (q->first) {
		struct verbs_answer *a = q->first;
		q->first = a->next;
		free(a);
	}
}

/* Post what waits, while more than so many credits are left. */
static void serve(DPI_Tp_Endpoint *c, struct verbs_queue *q, uint32_t leave)
{
	while (q->first && c->credits > leave && verbs_room(c)) {
		struct verbs_answer *a = q->first;
		struct verbs_buffer *b = NULL;
		if (a->size > c->tp->limits.inline_bytes && !(b = dpi_verbs_buffers(c->tp, a->size))) return;
		struct verbs_slot *s = dpi_verbs_slot(c);
		uint8_t *bytes = b ? b->memory : s->bytes;
		memcpy(bytes, a->bytes, a->size);
		c->owed += a->owes;
		fill(c, s, bytes, a->size, b ? b->lkey : 0);
		s->buffers = b;
		if (!b) s->wr.send_flags = IBV_SEND_INLINE;
		q->first = a->next;
		free(a);
	}
}

void dpi_verbs_serve_queues(DPI_Tp_Endpoint *c)
{
	if (!alive(c) || c->broken) return;
	if (c->state == STATE_OPEN) {
		serve(c, &c->answers, 0);
		if (!c->answers.first) serve(c, &c->requests, 1);
		if (c->owed >= CREDITS / 2 && c->credits && verbs_room(c)) dpi_verbs_message(c, WIRE_CREDIT, NULL, NULL, 0, 0);
	}
	dpi_verbs_ring(c);
}

/* ------------------------------------------------------------------------------------------------------ incoming */

static struct verbs_attachment *attachment(DPI_Tp_Endpoint *c, uint64_t id)
{
	struct verbs_attachment *a = dpi_verbs_table_find(&c->tp->attachments, id);
	return a && a->endpoint == c ? a : NULL;
}

/* The window that the peer means. NULL: it has been withdrawn, or the peer is wrong and has been refused. */
static DPI_Tp_Window *window(DPI_Tp_Endpoint *c, uint64_t id, uint64_t offset, uint64_t size, uint32_t access)
{
	struct verbs_attachment *a = attachment(c, id);
	DPI_Tp_Window *w = a ? a->window : NULL;
	if (!a) dpi_verbs_refuse(c, "it names an attachment that it does not have");
	if (!w) return NULL;
	if (offset <= w->length && size <= w->length - offset && w->access & access) return w;
	dpi_verbs_refuse(c, "%llu bytes at offset %llu of a window of %llu bytes registered with access 0x%x", (unsigned long long)size,
			 (unsigned long long)offset, (unsigned long long)w->length, w->access);
	return NULL;
}

static _Atomic uint64_t *word_of(DPI_Tp_Endpoint *c, DPI_Tp_Window *w, uint64_t offset)
{
	if (!(((uintptr_t)w->address + offset) & 7)) return (_Atomic uint64_t *)(void *)(w->address + offset);
	dpi_verbs_refuse(c, "a word at offset %llu, which is no multiple of 8", (unsigned long long)offset);
	return NULL;
}

static void take_put(DPI_Tp_Endpoint *c, const struct wire_message *m)
{
	const DPI_Tp_Core *core = c->tp->core;
	uint64_t offset = m->word[1], at = m->word[2];
	DPI_Tp_Window *w = window(c, m->word[0], offset, m->size, DPI_TP_WRITE);
	if (!w) return;
	if (at != DPI_TP_NO_OFFSET) {
		if (at > w->length || w->length - at < 8) {
			dpi_verbs_refuse(c, "a word at offset %llu of a window of %llu bytes", (unsigned long long)at, (unsigned long long)w->length);
			return;
		}
		_Atomic uint64_t *word = word_of(c, w, at);
		if (!word) return;
		dpi_verbs_copy_in(w->address + offset, m->payload, m->size);
		atomic_store_explicit(word, htole64(m->word[3]), memory_order_release);
	} else {
		dpi_verbs_copy_in(w->address + offset, m->payload, m->size);
	}
	if ((uint32_t)m->word[4] != DPI_TP_NO_BELL) core->ring(core->self, -1, (uint32_t)m->word[4]);
}

static void take_atomic(DPI_Tp_Endpoint *c, const struct wire_message *m)
{
	DPI_Tp_Window *w = window(c, m->word[0], m->word[2], 8, DPI_TP_ATOMIC);
	uint64_t answer[3] = { m->word[1], DPI_ERR_DESTROYED, 0 };
	if (!alive(c)) return;
	if (w) {
		_Atomic uint64_t *word = word_of(c, w, m->word[2]);
		if (!word) return;
		answer[1] = DPI_SUCCESS;
		answer[2] = m->word[3];
		if (m->op == WIRE_ADD) answer[2] = atomic_fetch_add(word, m->word[3]);
		else atomic_compare_exchange_strong(word, &answer[2], m->word[4]);
	}
	dpi_verbs_answer(c, WIRE_ANSWER, answer, 1);
}

static void take_answer(DPI_Tp_Endpoint *c, const struct wire_message *m)
{
	struct verbs_op *op = dpi_verbs_op_find(c, m->word[0]);
	if (!op) dpi_verbs_refuse(c, "it answers what it was not asked");
	else dpi_verbs_op_finish(c, op, m->word[1] ? DPI_ERR_DESTROYED : DPI_SUCCESS, m->word[2]);
}

static void take_detach(DPI_Tp_Endpoint *c, const struct wire_message *m)
{
	struct verbs_attachment *a = attachment(c, m->word[0]);
	if (a) dpi_verbs_attachment_end(c->tp, a);
	else dpi_verbs_refuse(c, "it gives back an attachment that it does not have");
}

void dpi_verbs_handle(DPI_Tp_Endpoint *c, const uint8_t *bytes, size_t size)
{
	const DPI_Tp_Core *core = c->tp->core;
	struct wire_message m;
	uint32_t owes = 1;
	/* the peer knows that it is connected, so this node is */
	if (c->state == STATE_ACCEPTED) dpi_verbs_endpoint_open(c, c->credits);
	if (dpi_verbs_message_parse(bytes, size, &m) || m.credits > CREDITS || c->credits + m.credits > CREDITS) {
		dpi_verbs_refuse(c, "%zu bytes that are no message", size);
		return;
	}
	c->credits += m.credits;
	switch (m.op) {
	case WIRE_PUT: take_put(c, &m); break;
	case WIRE_ADD:
	case WIRE_SWAP: take_atomic(c, &m), owes = 0; break;
	case WIRE_FLUSH: dpi_verbs_answer(c, WIRE_ANSWER, (uint64_t[]){ m.word[0], DPI_SUCCESS, 0 }, 1), owes = 0; break;
	case WIRE_ANSWER: take_answer(c, &m); break;
	case WIRE_ATTACH: dpi_verbs_attach_asked(c, &m), owes = 0; break;
	case WIRE_ATTACHED: dpi_verbs_attached(c, &m); break;
	case WIRE_REVOKE: dpi_verbs_revoked(c, m.word[0]); break;
	case WIRE_DETACH: take_detach(c, &m); break;
	case WIRE_SEND: core->deliver(core->self, c->node, m.payload, m.size); break;
	case WIRE_BYE: c->gone = true; break;
	default: break;
	}
	if (!alive(c)) return;
	c->owed += owes;
	if (c->owed >= CREDITS / 2 || c->answers.first || c->requests.first) dpi_verbs_mark(c);
}
