/* SPDX-License-Identifier: Apache-2.0
 * receive.c: what has arrived: requests to be served, answers. */
#include <stdatomic.h>
#include <sys/socket.h>

#include "pipe.h"

/* The window that a peer's message means; NULL: it is withdrawn, or the message is wrong. */
static DPI_Tp_Window *meant(const DPI_Tp *tp, const struct message *m)
{
	uint32_t access = m->op == PUT ? DPI_TP_WRITE : m->op == GET ? DPI_TP_READ : DPI_TP_ATOMIC;
	bool atomic = m->op == ADD || m->op == SWAP;
	DPI_Tp_Window *w = tp->windows;
	while (w && (w->id != m->id || w->secret != m->secret)) w = w->next;
	if (!w || !(w->access & access) || !within(w->length, m->offset, atomic ? 8 : m->size)) return NULL;
	return atomic && m->offset & 7 ? NULL : w;
}

/* A header is there: where does its payload go? false: the connection cannot go on. */
static bool expect(DPI_Tp_Endpoint *c)
{
	const struct message *m = &c->in;
	const struct request *q = &c->request[c->answered % OUTSTANDING];
	bool wanted = false;
	free(c->payload);
	c->payload = NULL;
	if (c->made) { /* an answer, to the oldest request */
		if (c->answered == c->asked || m->op != q->op || m->size != (m->stale ? 0 : q->size)) return false;
		wanted = m->size && !q->cancelled;
	} else if (!c->greeted) {
		const uint64_t *token = c->tp->self.token;
		c->greeted = m->op == HELLO && m->word == token[0] && m->value == token[1] && !m->size;
		c->node = (int)m->node;
		return c->greeted;
	} else if (m->op == SEND) {
		if (m->size > MAX_SEND) return false;
		wanted = m->size;
	} else if (m->op == PUT) {
		wanted = m->size && meant(c->tp, m);
	} else if (m->op != GET && m->size) {
		return false;
	}
	if (wanted) c->payload = malloc(m->size);
	return c->payload || !wanted;
}

static void take_answer(DPI_Tp_Endpoint *c)
{
	const struct request *q = &c->request[c->answered % OUTSTANDING];
	const uint8_t *from = c->payload;
	for (int i = 0; from && !q->cancelled && i < q->count; i++) {
		if (q->iov[i].iov_len) memcpy(q->iov[i].iov_base, from, q->iov[i].iov_len);
		from += q->iov[i].iov_len;
	}
	if (q->op == FLUSH) c->flushed = q->puts;
	finish(c, c->in.stale ? DPI_ERR_DESTROYED : DPI_SUCCESS, c->in.value);
}

static void put_in(DPI_Tp *tp, const struct message *m, const uint8_t *payload)
{
	DPI_Tp_Window *w = meant(tp, m);
	if (!w || (m->size && !payload)) return; /* withdrawn, perhaps while the payload came */
	dpi_words_store(w->memory + m->offset, payload, m->size);
	if (m->word != DPI_TP_NO_OFFSET && !((m->word | (uintptr_t)w->memory) & 7) && within(w->length, m->word, 8))
		atomic_store_explicit((_Atomic uint64_t *)(void *)(w->memory + m->word), m->value, memory_order_release);
	if (m->bell != DPI_TP_NO_BELL) tp->core->ring(tp->core->self, -1, m->bell);
}

/* A request is there, whole. false: no memory for the answer. */
static bool serve(DPI_Tp_Endpoint *c)
{
	const struct message *m = &c->in;
	const DPI_Tp_Core *core = c->tp->core;
	if (m->op == PUT) put_in(c->tp, m, c->payload);
	if (m->op == SEND) core->deliver(core->self, c->node, c->payload, m->size);
	if (m->op != GET && m->op != ADD && m->op != SWAP && m->op != FLUSH) return true;
	struct message answer = {.op = m->op};
	DPI_Tp_Window *w = m->op == FLUSH ? NULL : meant(c->tp, m);
	_Atomic uint64_t *word = w ? (_Atomic uint64_t *)(void *)(w->memory + m->offset) : NULL;
	answer.stale = m->op != FLUSH && !w;
	if (m->op == GET && w) answer.size = m->size;
	if (m->op == ADD && w) answer.value = atomic_fetch_add(word, m->value);
	if (m->op == SWAP && w) {
		answer.value = m->word;
		atomic_compare_exchange_strong(word, &answer.value, m->value);
	}
	uint8_t *at = append(c, &answer, answer.size);
	if (at && answer.size) dpi_words_load(at, w->memory + m->offset, answer.size);
	if (at) transmit(c);
	return at;
}

static uint64_t payload_size(const DPI_Tp_Endpoint *c)
{
	return c->in.op == GET && !c->made ? 0 : c->in.size;
}

void receive(DPI_Tp_Endpoint *c)
{
	const uint64_t header = sizeof c->in;
	uint8_t nowhere[4096];
	for (int turn = 0; turn < TURN && c->fd >= 0 && !c->gone; turn++) {
		bool heading = c->got < header;
		uint64_t left = heading ? header - c->got : header + payload_size(c) - c->got; /* at least 1 */
		uint8_t *at = heading ? (uint8_t *)&c->in + c->got : c->payload ? c->payload + (c->got - header) : nowhere;
		if (at == nowhere && left > sizeof nowhere) left = sizeof nowhere;
		ssize_t n = recv(c->fd, at, left, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
		if (n <= 0) {
			lose(c, n ? strerror(errno) : "its process has ended, or has given it up");
			return;
		}
		c->got += (uint64_t)n;
		if (c->got == header && !expect(c)) {
			lose(c, "it said what no correct peer says, or there was no memory for it");
			return;
		}
		if (c->got < header || c->got < header + payload_size(c)) continue;
		c->got = 0;
		c->tp->events++;
		if (c->made) take_answer(c);
		else if (!serve(c)) lose(c, "no memory for an answer");
		if (!c->made && c->to - c->from >= QUEUE) return;
	}
}
