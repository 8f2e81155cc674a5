/* SPDX-License-Identifier: Apache-2.0
 * message.c: messages out, within the peer's credit, and in.
 *
 * Nobody can be stuck for lack of credit: the user's messages leave two credits, ATTACH, DETACH and REVOKE one; the last is
 * for messages that bring credit along, answers and CREDIT. The credit of a request is given back with its answer, so no
 * more answers wait than there are credits; any other is owed at once, and half of them owed is a CREDIT message.
 *
 * What has been handled is said by any message, at the latest by a CREDIT in the round of progress after the one that handled
 * it: a caller who answers what it has just received carries it along. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "multicast.h"

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
	dpi_verbs_message_credits(bytes, c->owed, c->heard);
	c->owed = 0;
	c->tell = false;
	dpi_verbs_counted(c);
	s->sge[0] = (struct ibv_sge){ (uintptr_t)bytes, (uint32_t)size, lkey };
	s->wr.num_sge = 1;
	s->wr.opcode = IBV_WR_SEND;
}

void dpi_verbs_counted(DPI_Tp_Endpoint *c)
{
	c->credits--;
	c->said++;
	c->covered = c->puts;
	c->message_end = c->next_slot;
}

/* Not with one about keys: handled out of turn, it is counted later than it is answered. */
bool dpi_verbs_ask_along(DPI_Tp_Endpoint *c)
{
	struct verbs_slot *s = &c->slot[(c->next_slot - 1) % c->depth];
	uint8_t *bytes = s->wr.opcode == IBV_WR_SEND ? (uint8_t *)(uintptr_t)s->sge[0].addr : NULL;
	if (c->posted == c->next_slot || c->message_end != c->next_slot) return false;
	if (bytes && (*bytes == WIRE_ATTACH || *bytes == WIRE_ATTACHED)) return false;
	if (bytes) dpi_verbs_message_tell(bytes);
	else s->wr.imm_data |= htobe32(WIRE_TELL_IMMEDIATE);
	return true;
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

/* Where nothing is owed, an answer is to come, which says it. */
void dpi_verbs_tell_handled(DPI_Tp_Endpoint *c)
{
	if (!c->tell || !c->owed || c->state != STATE_OPEN || c->broken || !c->credits || !verbs_room(c)) return;
	dpi_verbs_message(c, WIRE_CREDIT, NULL, NULL, 0, 0);
	dpi_verbs_ring(c);
}

/* ------------------------------------------------------------------------------------------------------ incoming */

static void handled(DPI_Tp_Endpoint *c, bool tell, bool overtakes)
{
	if (c->tp->early || overtakes) c->early++, c->tp->has_early = true;
	else c->heard++;
	c->tell |= tell;
	if (c->tell || c->owed >= CREDITS / 2 || c->answers.first || c->requests.first) dpi_verbs_mark(c);
}

void dpi_verbs_in_turn(DPI_Tp *tp)
{
	tp->has_early = false;
	for (DPI_Tp_Endpoint *c = tp->connections; c; c = c->next) {
		tp->has_early |= c->early && verbs_stalled(c);
		if (verbs_stalled(c)) continue;
		c->heard += c->early;
		c->early = 0;
	}
}

/* The peer has handled so many, of which these are the low bits. A message that is handled out of turn has said it before others. */
static void take_handled(DPI_Tp_Endpoint *c, uint16_t low)
{
	uint16_t more = (uint16_t)(low - c->handled);
	if (more > INT16_MAX) return;
	if (more > c->said - c->handled) {
		dpi_verbs_refuse(c, "it has handled messages that it was not sent");
		return;
	}
	c->handled += more;
	if (c->handled == c->said) c->flushed = c->covered;
	while (c->flush && (int32_t)(c->handled - c->flush->message) >= 0) {
		struct verbs_op *op = c->flush;
		c->flush = op->next;
		dpi_verbs_op_finish(c, op, DPI_SUCCESS, 0);
		if (!alive(c)) return;
	}
}

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

void dpi_verbs_take_put(DPI_Tp_Endpoint *c, const struct wire_message *m)
{
	const DPI_Tp_Core *core = c->tp->core;
	uint64_t offset = m->word[1], at = m->word[2];
	DPI_Tp_Window *w = window(c, m->word[0], offset, m->size, DPI_TP_WRITE);
	if (!w) return;
	struct verbs_attachment *a = attachment(c, m->word[0]);
	if (at != DPI_TP_NO_OFFSET) {
		if (at > w->length || w->length - at < 8) {
			dpi_verbs_refuse(c, "a word at offset %llu of a window of %llu bytes", (unsigned long long)at, (unsigned long long)w->length);
			return;
		}
		_Atomic uint64_t *word = word_of(c, w, at);
		if (!word) return;
		dpi_words_store(w->address + offset, m->payload, m->size);
		atomic_store_explicit(word, htole64(m->word[3]), memory_order_release);
		a->notified = true;
		a->word = at;
		a->value = m->word[3];
		a->bell = (uint32_t)m->word[4];
	} else {
		dpi_words_store(w->address + offset, m->payload, m->size);
	}
	if ((uint32_t)m->word[4] != DPI_TP_NO_BELL) core->ring(core->self, -1, (uint32_t)m->word[4]);
}

/* Its word was checked with the message that it goes on from. */
static bool take_immediate(DPI_Tp_Endpoint *c, uint32_t immediate, uint32_t size)
{
	uint32_t place = immediate & ~WIRE_TELL_IMMEDIATE;
	const DPI_Tp_Core *core = c->tp->core;
	struct verbs_attachment *a = place < c->tp->attachments.count ? c->tp->attachments.entry[place].item : NULL;
	if (!a || a->endpoint != c || !a->notified) {
		dpi_verbs_refuse(c, "an immediate that goes on from nothing");
		return false;
	}
	if (!a->window) return immediate & WIRE_TELL_IMMEDIATE;
	a->value += size;
	atomic_store_explicit((_Atomic uint64_t *)(void *)(a->window->address + a->word), htole64(a->value), memory_order_release);
	if (a->bell != DPI_TP_NO_BELL) core->ring(core->self, -1, a->bell);
	return immediate & WIRE_TELL_IMMEDIATE;
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

/* false: a cast whose bytes are not all here. */
static bool act(DPI_Tp_Endpoint *c, const struct wire_message *m)
{
	const DPI_Tp_Core *core = c->tp->core;
	uint32_t owes = 1;
	bool tell = m->tell, overtakes = verbs_stalled(c) && (m->op == WIRE_ATTACH || m->op == WIRE_ATTACHED);
	switch (m->op) {
	case WIRE_PUT: dpi_verbs_take_put(c, m); break;
	case WIRE_ADD:
	case WIRE_SWAP: take_atomic(c, m), owes = 0; break;
	case WIRE_FLUSH: tell = true; break;
	case WIRE_IMMEDIATE: tell |= take_immediate(c, (uint32_t)m->word[0], (uint32_t)m->word[1]); break;
	case WIRE_ANSWER: take_answer(c, m); break;
	case WIRE_ATTACH: dpi_verbs_attach_asked(c, m), owes = 0; break;
	case WIRE_ATTACHED: dpi_verbs_attached(c, m); break;
	case WIRE_REVOKE: dpi_verbs_revoked(c, m->word[0]); break;
	case WIRE_DETACH: take_detach(c, m); break;
	case WIRE_SEND: core->deliver(core->self, c->node, m->payload, m->size); break;
	case WIRE_BYE: c->gone = true; break;
	case WIRE_CASTER: dpi_verbs_caster(c, m); break;
	case WIRE_LISTENS: dpi_verbs_listens(c, m); break;
	case WIRE_CAST:
		if (!dpi_verbs_take_cast(c, m)) return false;
		break;
	case WIRE_TELL: dpi_verbs_tell_taken(c); break;
	case WIRE_TOOK: dpi_verbs_took(c, m); break;
	default: break;
	}
	if (!alive(c)) return true;
	c->owed += owes;
	handled(c, tell, overtakes);
	return true;
}

/* Keys may overtake: see progress.c. */
void dpi_verbs_handle(DPI_Tp_Endpoint *c, const uint8_t *bytes, size_t size)
{
	struct wire_message m;
	/* the peer knows that it is connected, so this node is */
	if (c->state == STATE_ACCEPTED) dpi_verbs_endpoint_open(c, c->credits);
	if (dpi_verbs_message_parse(bytes, size, &m) || m.credits > CREDITS || c->credits + m.credits > CREDITS) {
		dpi_verbs_refuse(c, "%zu bytes that are no message", size);
		return;
	}
	c->credits += m.credits;
	take_handled(c, m.handled);
	if (!alive(c)) return;
	bool kept = verbs_stalled(c) && m.op != WIRE_ATTACH && m.op != WIRE_ATTACHED;
	if (kept || !act(c, &m)) dpi_verbs_keep(c, bytes, size);
}

void dpi_verbs_immediate(DPI_Tp_Endpoint *c, uint32_t immediate, uint32_t size)
{
	uint8_t bytes[WIRE_WORDS * 8];
	struct wire_message m;
	if (c->state == STATE_ACCEPTED) dpi_verbs_endpoint_open(c, c->credits);
	size_t length = dpi_verbs_message_head(bytes, WIRE_IMMEDIATE, 0, (uint64_t[]){ immediate, size });
	if (verbs_stalled(c)) dpi_verbs_keep(c, bytes, length);
	else if (!dpi_verbs_message_parse(bytes, length, &m)) act(c, &m);
}

void dpi_verbs_unstall(DPI_Tp_Endpoint *c)
{
	struct verbs_cast *k = c->cast;
	struct wire_message m;
	while (k->first && alive(c)) {
		struct verbs_kept *kept = k->first;
		k->first = kept->next;
		if (!k->first) k->end = &k->first;
		dpi_verbs_message_parse(kept->bytes, kept->size, &m); /* it was one */
		if (act(c, &m)) {
			free(kept);
			if (k->kept) k->kept--; /* 0: the connection is over */
			continue;
		}
		kept->next = k->first;
		if (!k->first) k->end = &kept->next;
		k->first = kept;
		return;
	}
}
