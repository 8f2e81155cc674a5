/* SPDX-License-Identifier: Apache-2.0
 * receive.c: from messages to windows, callers' memory and callbacks. Nothing in a message is trusted: the parser bounds it, the tag
 * ties it to the peer, dpi_fabric_window to a window, requests are numbered. */
#include <stdatomic.h>
#include <stdio.h>

#include "fabric.h"

static inline _Atomic uint64_t *word_at(const DPI_Tp_Window *w, uint64_t offset)
{
	return (_Atomic uint64_t *)(void *)(w->address + offset);
}

/* The fence orders the bytes before those of later puts and the word of the notification. */
static void take_put(DPI_Tp_Endpoint *c, const struct wire_frame *f, const uint8_t *payload)
{
	const DPI_Tp_Core *core = c->tp->core;
	bool notify = f->op == WIRE_PUT_NOTIFY;
	DPI_Tp_Window *w = dpi_fabric_window(c, f, f->length, DPI_TP_WRITE);
	if (!w) {
		dpi_fabric_window_stale(c, f, f->length, DPI_TP_WRITE);
		return;
	}
	if (notify && f->word[4] != DPI_TP_NO_OFFSET &&
	    (f->word[4] > w->length || w->length - f->word[4] < 8 || (uintptr_t)(w->address + f->word[4]) & 7)) {
		dpi_fabric_refuse(c, "a notification's word at offset %llu is not one of window %u of %llu bytes", (unsigned long long)f->word[4],
				  f->slot, (unsigned long long)w->length);
		return;
	}
	dpi_words_store(w->address + wire_offset(f), payload, f->length);
	atomic_thread_fence(memory_order_release);
	if (!notify) return;
	if (f->word[4] != DPI_TP_NO_OFFSET) atomic_store_explicit(word_at(w, f->word[4]), htole64(f->word[5]), memory_order_release);
	if ((uint32_t)f->word[6] != DPI_TP_NO_BELL) core->ring(core->self, -1, (uint32_t)f->word[6]);
}

/* ------------------------------------------------------------------------------------------------- requests of the peer */

/* Is this the peer's next number? The peer never has more than OUTSTANDING requests open. */
static bool may_ask(DPI_Tp_Endpoint *c, uint64_t sequence)
{
	if (sequence != c->serving) {
		dpi_fabric_refuse(c, "request %llu came where %llu was due", (unsigned long long)sequence, (unsigned long long)c->serving);
		return false;
	}
	if (c->answers >= ANSWERS) {
		dpi_fabric_refuse(c, "more than %d requests are unanswered", ANSWERS);
		return false;
	}
	c->serving++;
	return true;
}

static void answer(DPI_Tp_Endpoint *c, const struct wire_frame *a)
{
	if (!dpi_fabric_frame(c, a, false)) dpi_fabric_lose(c, "no memory for an answer to node %d", c->node);
}

static void take_get(DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	uint64_t length = f->word[5];
	if (!may_ask(c, f->word[4])) return;
	if (length > WIRE_PUT_MAX) {
		dpi_fabric_refuse(c, "a get of %llu bytes, more than %d", (unsigned long long)length, WIRE_PUT_MAX);
		return;
	}
	DPI_Tp_Window *w = dpi_fabric_window(c, f, length, DPI_TP_READ);
	if (!w && !dpi_fabric_window_stale(c, f, length, DPI_TP_READ)) return;
	struct fabric_item *i = dpi_fabric_item(c, ITEM_ANSWER, false);
	if (!i) {
		dpi_fabric_lose(c, "no memory for an answer to node %d", c->node);
		return;
	}
	i->frame.op = WIRE_GOT;
	i->frame.word[2] = f->word[4];
	i->window = w;
	i->left = length;
	if (w) i->iov[0].iov_base = w->address + wire_offset(f);
	if (!c->head && !dpi_fabric_run(c, i)) dpi_fabric_item_free(c, i);
	else dpi_fabric_enqueue(c, i);
}

static void take_atomic(DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	struct wire_frame a = { .op = WIRE_WORD };
	if (!may_ask(c, f->word[4])) return;
	DPI_Tp_Window *w = dpi_fabric_window(c, f, 8, DPI_TP_ATOMIC);
	if (!w && !dpi_fabric_window_stale(c, f, 8, DPI_TP_ATOMIC)) return;
	if (w && wire_offset(f) & 7) {
		dpi_fabric_refuse(c, "an atomic operation at offset %llu is not at a multiple of 8", (unsigned long long)wire_offset(f));
		return;
	}
	a.word[2] = f->word[4];
	if (!w) {
		a.slot = DPI_ERR_DESTROYED;
	} else if (f->op == WIRE_ADD) {
		a.word[3] = atomic_fetch_add(word_at(w, wire_offset(f)), f->word[5]);
	} else {
		a.word[3] = f->word[5];
		atomic_compare_exchange_strong(word_at(w, wire_offset(f)), &a.word[3], f->word[6]);
	}
	answer(c, &a);
}

static void take_flush(DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	struct wire_frame a = { .op = WIRE_FLUSHED };
	if (!may_ask(c, f->word[2])) return;
	a.word[2] = f->word[2];
	if (!dpi_fabric_late(c, &a)) dpi_fabric_lose(c, "no memory for an answer to node %d", c->node);
}

/* ------------------------------------------------------------------------------------------------------- answers */

static void request_done(DPI_Tp_Endpoint *c, int error, uint64_t result)
{
	const DPI_Tp_Core *core = c->tp->core;
	struct fabric_request *q = &c->request[c->answered % OUTSTANDING];
	void *cookie = q->cookie;
	bool cancelled = q->cancelled;
	if (q->answer == WIRE_FLUSHED) c->flushed = q->puts;
	if (q->remote) q->remote->pending--;
	c->answered++;
	if (!cancelled) core->complete(core->self, cookie, error, result);
}

static void fill(struct fabric_request *q, const uint8_t *from, size_t size)
{
	for (int i = 0; i < q->count && size; i++) {
		struct iovec *v = &q->iov[i];
		size_t here = v->iov_len < size ? v->iov_len : size;
		if (!here) continue;
		memcpy(v->iov_base, from, here);
		v->iov_base = (uint8_t *)v->iov_base + here;
		v->iov_len -= here;
		from += here;
		size -= here;
	}
}

static void take_answer(DPI_Tp_Endpoint *c, const struct wire_frame *f, const uint8_t *payload)
{
	struct fabric_request *q = &c->request[c->answered % OUTSTANDING];
	bool failed = f->slot != DPI_SUCCESS;
	if (c->answered == c->asked || f->word[2] != c->answered || q->answer != f->op || (failed && f->slot != DPI_ERR_DESTROYED) ||
	    (!failed && f->op == WIRE_GOT && (f->word[3] != q->got || f->length > q->length - q->got))) {
		dpi_fabric_refuse(c, "an answer (kind %u, number %llu, %u bytes, status %u) fits no request", f->op,
				  (unsigned long long)f->word[2], f->length, f->slot);
		return;
	}
	if (f->op == WIRE_GOT && !failed) {
		if (!q->cancelled) fill(q, payload, f->length);
		q->got += f->length;
		if (q->got < q->length) return;
	}
	request_done(c, (int)f->slot, f->op == WIRE_WORD && !failed ? f->word[3] : 0);
}

static void take_error(DPI_Tp_Endpoint *c, const uint8_t *text, size_t size)
{
	char clean[WIRE_TEXT + 1];
	for (size_t i = 0; i < size; i++) clean[i] = text[i] >= ' ' && text[i] < 127 ? (char)text[i] : '?';
	clean[size] = 0;
	dpi_fabric_lose(c, "node %d ended the link because of what it got from here: %s; this is a defect, or the nodes run different libraries",
			c->node, clean);
}

/* --------------------------------------------------------------------------------------------------------- messages */

/* first: of its message, which took a credit unless it is nothing but one that gives back. false: the rest is dropped. */
static bool take_open(DPI_Tp_Endpoint *c, const struct wire_frame *f, const uint8_t *payload, bool first, bool alone)
{
	DPI_Tp *tp = c->tp;
	const DPI_Tp_Core *core = tp->core;
	if ((f->word[1] ^ c->tag) & WIRE_TAG) {
		dpi_fabric_log(tp, "dropped a message that came on the link of node %d and is not from there", c->node);
		return false;
	}
	c->heard = tp->clock;
	c->probes = 0;
	if (f->credits > CREDITS - c->credits) {
		dpi_fabric_refuse(c, "%u receive buffers were given back, and %u were used", f->credits, CREDITS - c->credits);
		return false;
	}
	c->credits += f->credits;
	if (first && !(alone && f->op == WIRE_CREDIT)) c->owed++;
	switch (f->op) {
	case WIRE_PUT:
	case WIRE_PUT_NOTIFY: take_put(c, f, payload); break;
	case WIRE_GET: take_get(c, f); break;
	case WIRE_ADD:
	case WIRE_SWAP: take_atomic(c, f); break;
	case WIRE_FLUSH: take_flush(c, f); break;
	case WIRE_GOT:
	case WIRE_WORD:
	case WIRE_FLUSHED: take_answer(c, f, payload); break;
	case WIRE_SEND_OP: core->deliver(core->self, c->node, payload, f->length); break;
	case WIRE_CREDIT: break;
	case WIRE_USE:
	case WIRE_GRANT:
	case WIRE_REVOKE:
	case WIRE_REVOKED: dpi_fabric_take_grant(c, f); break;
	case WIRE_BYE: dpi_fabric_lose(c, "node %d has left or given up the connection", c->node); break;
	case WIRE_ERROR: take_error(c, payload, f->length); break;
	default: dpi_fabric_refuse(c, "a greeting (kind %u) came after the greetings", f->op);
	}
	return c->state == STATE_OPEN;
}

static void take_frames(DPI_Tp_Endpoint *c, const uint8_t *bytes, size_t size)
{
	struct wire_frame f;
	size_t at = 0;
	do {
		int header = size <= c->tp->message ? dpi_fabric_parse(bytes + at, size - at, &f) : -1;
		if (header < 0) {
			if (c->tp->choice.message)
				dpi_fabric_refuse(c, "a message of %zu bytes is not one of version %d of the protocol", size, WIRE_VERSION);
			else dpi_fabric_log(c->tp, "dropped a message of %zu bytes that no node sends", size);
			return;
		}
		size_t end = at + (size_t)header + f.length;
		if (!take_open(c, &f, bytes + at + header, !at, !at && end == size)) return;
		at = end;
	} while (at < size);
}

static void take_message(DPI_Tp_Endpoint *c, const uint8_t *bytes, size_t size)
{
	DPI_Tp *tp = c->tp;
	struct wire_frame f;
	if (c->state == STATE_OPEN) {
		take_frames(c, bytes, size);
		return;
	}
	int header = size <= tp->message ? dpi_fabric_parse(bytes, size, &f) : -1;
	if (header < 0 || (size_t)header + f.length != size) {
		dpi_fabric_log(tp, "dropped a message of %zu bytes that no node sends", size);
		return;
	}
	const uint8_t *payload = bytes + header;
	if (f.op == WIRE_HELLO && (c->state == STATE_DOOR || c->state == STATE_HELLO)) dpi_fabric_hello(c, &f, payload);
	else if (f.op == WIRE_WELCOME && c->state == STATE_OPENING) dpi_fabric_welcome(c, &f, payload);
	else dpi_fabric_log(tp, "dropped a message of kind %u that no node sends before a greeting", f.op);
}

/* It waits for those before it, in its buffer. false: there is no place for such a number. */
static bool wait_turn(DPI_Tp_Endpoint *c, struct fabric_op *op, size_t size, uint8_t number)
{
	struct fabric_op **place = &c->early[number % EARLY];
	if ((uint8_t)(number - c->due) >= EARLY || *place) return false;
	*place = op;
	op->size = size;
	if (!c->waiting++) c->gap = dpi_fabric_now();
	return true;
}

void dpi_fabric_take(DPI_Tp_Endpoint *c, struct fabric_op *op, size_t size)
{
	DPI_Tp *tp = c->tp;
	bool greeting = c->state == STATE_DOOR || c->state == STATE_HELLO;
	tp->events++;
	if (greeting || size < 16) {
		take_message(c, op->bytes, size);
	} else if ((wire_load(op->bytes + 8) ^ c->tag) & WIRE_TAG) {
		dpi_fabric_log(tp, "dropped a message that came on the link of node %d and is not from there", c->node);
	} else if (op->bytes[WIRE_NUMBER_AT] != c->due) {
		if (wait_turn(c, op, size, op->bytes[WIRE_NUMBER_AT])) return;
		dpi_fabric_refuse(c, "message %u came where %u was due", op->bytes[WIRE_NUMBER_AT], c->due);
	} else {
		c->due++;
		take_message(c, op->bytes, size);
	}
	dpi_fabric_receive_again(c, op);
	while ((op = c->early[c->due % EARLY])) { /* orphaned with its link it is not there any more */
		c->early[c->due++ % EARLY] = NULL;
		if (--c->waiting) c->gap = dpi_fabric_now();
		take_message(c, op->bytes, op->size);
		dpi_fabric_receive_again(c, op);
	}
}
