/* SPDX-License-Identifier: Apache-2.0
 * window.c: registered memory and the keys to it.
 *
 * A key is a slot, a generation and a secret. The secret is a keyed hash (SipHash-2-4) of the other two, so that a key
 * of a window withdrawn long ago can still be told from a forged one: its puts are dropped and its requests answered
 * with DPI_ERR_DESTROYED, while a forged key ends the connection. */
#include <stdatomic.h>
#include <stdlib.h>

#include "tcp.h"

enum { KEY_SIZE = 40, KEY_VERSION = 1, NO_SLOT = WIRE_SLOTS, LAST_GENERATION = 0xffff };

static inline uint64_t rotate(uint64_t v, int bits)
{
	return v << bits | v >> (64 - bits);
}

static void sip_rounds(uint64_t v[4], int rounds)
{
	while (rounds--) {
		v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
		v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
		v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
		v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
	}
}

/* SipHash-2-4 of the 8 bytes of slot and generation. */
static uint64_t window_secret(const DPI_Tp *tp, uint32_t slot, uint32_t generation)
{
	const uint64_t message[2] = { (uint64_t)generation << 32 | slot, UINT64_C(8) << 56 };
	uint64_t v[4] = { tp->window_key[0] ^ 0x736f6d6570736575, tp->window_key[1] ^ 0x646f72616e646f6d,
			  tp->window_key[0] ^ 0x6c7967656e657261, tp->window_key[1] ^ 0x7465646279746573 };
	for (int i = 0; i < 2; i++) {
		v[3] ^= message[i];
		sip_rounds(v, 2);
		v[0] ^= message[i];
	}
	v[2] ^= 0xff;
	sip_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static bool slot_take(DPI_Tp *tp, uint32_t *slot)
{
	if (tp->free_slot == NO_SLOT || !tp->slots_room) {
		if (tp->slots == WIRE_SLOTS) return false;
		if (tp->slots == tp->slots_room) {
			uint32_t room = tp->slots_room ? tp->slots_room * 2 : 64;
			struct tcp_slot *more = realloc(tp->slot, room * sizeof *more);
			if (!more) return false;
			tp->slot = more;
			tp->slots_room = room;
			if (!tp->slots) tp->free_slot = NO_SLOT;
		}
		*slot = tp->slots++;
		tp->slot[*slot] = (struct tcp_slot){ 0 };
		return true;
	}
	*slot = tp->free_slot;
	tp->free_slot = tp->slot[*slot].next_free;
	return true;
}

int dpi_tcp_expose(DPI_Tp *tp, const DPI_Tp_Memory *m, DPI_Tp_Window **window, DPI_Tp_Key *key)
{
	const DPI_Tp_Core *core = tp->core;
	bool words = !((uintptr_t)m->address & 7);
	if ((!m->address && m->length) || m->access & ~(DPI_TP_READ | DPI_TP_WRITE | DPI_TP_ATOMIC))
		return tcp_fail(tp, DPI_ERR_ARGUMENT,
				"memory to register needs an address, and of access no more "
				"than DPI_TP_READ, WRITE and ATOMIC, not %p and 0x%x",
				m->address, m->access);
	if (m->access & DPI_TP_ATOMIC && !words)
		return tcp_fail(tp, DPI_ERR_ARGUMENT,
				"memory at %p cannot be used for atomics: its address is not a multiple of 8; align it",
				m->address);
	if (m->length > WIRE_MAX_OFFSET)
		return tcp_fail(tp, DPI_ERR_LIMIT,
				"a window of %llu bytes is larger than tcp's limit of 2^48; register it in parts",
				(unsigned long long)m->length);
	DPI_Tp_Window *w = calloc(1, sizeof *w);
	if (!w || !slot_take(tp, &w->slot)) {
		free(w);
		return tcp_fail(tp, DPI_ERR_MEMORY,
				"no memory for the tcp window table (%u windows are open); "
				"close buffers or give the process more memory",
				tp->slots);
	}
	struct tcp_slot *s = &tp->slot[w->slot];
	w->tp = tp;
	w->address = m->address;
	w->length = m->length;
	w->access = m->access;
	w->generation = ++s->generation;
	w->secret = window_secret(tp, w->slot, w->generation);
	s->window = w;
	memset(key, 0, sizeof *key);
	key->fd = -1;
	key->size = KEY_SIZE;
	wire_store(key->bytes, (uint64_t)KEY_VERSION | (uint64_t)(w->access | (words ? KEY_WORDS : 0)) << 8 |
				       (uint64_t)w->generation << 16 | (uint64_t)w->slot << 32);
	wire_store(key->bytes + 8, w->secret);
	wire_store(key->bytes + 16, w->length);
	wire_store(key->bytes + 24, core->incarnation);
	wire_store(key->bytes + 32, (uint32_t)core->node);
	*window = w;
	return DPI_SUCCESS;
}

/* What is being received into the window goes nowhere from now on; what is being sent from it is copied, as the peer
 * counts on its bytes. */
int dpi_tcp_withdraw(DPI_Tp_Window *w)
{
	DPI_Tp *tp = w->tp;
	w->closing = true;
	for (DPI_Tp_Endpoint *c = tp->connections; c; c = c->next)
		if (c->body.left && c->body.window == w) {
			c->body.dropped = c->body.buffered = true;
			c->body.kind = BODY_NONE;
			c->body.window = NULL;
		}
	for (DPI_Tp_Endpoint *c = tp->connections; w->answers && c; c = c->next)
		for (uint32_t i = c->sent; i != c->end; i++) {
			struct tcp_piece *p = &c->piece[i % PIECES];
			if (p->kind == PIECE_ANSWER && p->window == w) dpi_tcp_keep(c, p);
		}
	if (w->answers)
		return tcp_fail(tp, DPI_ERR_AGAIN,
				"%u answers to peers are still being sent from the window; make progress and try again",
				w->answers);
	struct tcp_slot *s = &tp->slot[w->slot];
	s->window = NULL;
	if (s->generation < LAST_GENERATION) { /* else the slot stays unused for ever */
		s->next_free = tp->free_slot;
		tp->free_slot = w->slot;
	}
	free(w);
	return DPI_SUCCESS;
}

void dpi_tcp_windows_close(DPI_Tp *tp)
{
	for (uint32_t i = 0; i < tp->slots; i++) free(tp->slot[i].window);
	free(tp->slot);
}

bool dpi_tcp_window_stale(DPI_Tp_Endpoint *c, const struct wire_frame *f, uint64_t length, uint32_t access)
{
	const DPI_Tp *tp = c->tp;
	uint32_t generation = wire_generation(f);
	const DPI_Tp_Window *w = f->slot < tp->slots ? tp->slot[f->slot].window : NULL;
	if (!w || w->generation != generation || w->secret != f->word[2] || w->closing) {
		if (f->slot < tp->slots && generation && generation <= tp->slot[f->slot].generation &&
		    f->word[2] == window_secret(tp, f->slot, generation))
			return true;
		dpi_tcp_refuse(c, "key of window %u is not one this node has given out", f->slot);
	} else if (!(w->access & access)) {
		dpi_tcp_refuse(c, "window %u was registered with access 0x%x, this operation needs 0x%x", f->slot, w->access,
			       access);
	} else {
		dpi_tcp_refuse(c, "%llu bytes at offset %llu lie outside window %u of %llu bytes",
			       (unsigned long long)length, (unsigned long long)wire_offset(f), f->slot,
			       (unsigned long long)w->length);
	}
	return false;
}

int dpi_tcp_attach(DPI_Tp_Endpoint *c, const DPI_Tp_Key *key, uint64_t length, DPI_Tp_Remote **remote, void **direct)
{
	DPI_Tp *tp = c->tp;
	if (c->state != STATE_OPEN) return dpi_tcp_dead(c);
	uint64_t first = wire_load(key->bytes);
	if (key->size != KEY_SIZE || (uint8_t)first != KEY_VERSION)
		return tcp_fail(tp, DPI_ERR_CORRUPT,
				"%u bytes of version %u are not a key of this tcp transport (%d "
				"bytes, version %d); use the same library on every node",
				key->size, (unsigned)(uint8_t)first, KEY_SIZE, KEY_VERSION);
	uint64_t incarnation = wire_load(key->bytes + 24), has = wire_load(key->bytes + 16);
	if (incarnation != c->incarnation || wire_load(key->bytes + 32) != (uint32_t)c->node)
		return tcp_fail(tp, DPI_ERR_PEER,
				"the key is not of node %d as it runs now: its process has been "
				"replaced, or the key is another node's; open the buffer again",
				c->node);
	if (length > has)
		return tcp_fail(tp, DPI_ERR_RANGE, "the window of node %d has %llu bytes, not %llu", c->node,
				(unsigned long long)has, (unsigned long long)length);
	DPI_Tp_Remote *r = calloc(1, sizeof *r);
	if (!r) return tcp_fail(tp, DPI_ERR_MEMORY, "no memory to attach a window of node %d", c->node);
	r->endpoint = c;
	r->tp = tp;
	r->length = length;
	r->access = (uint8_t)(first >> 8);
	r->generation = (uint16_t)(first >> 16);
	r->slot = (uint32_t)(first >> 32);
	r->secret = wire_load(key->bytes + 8);
	if (r->slot >= WIRE_SLOTS || length > WIRE_MAX_OFFSET) {
		free(r);
		return tcp_fail(tp, DPI_ERR_CORRUPT, "the key of node %d names a window that cannot exist", c->node);
	}
	r->next = tp->remotes;
	r->link = &tp->remotes;
	if (r->next) r->next->link = &r->next;
	tp->remotes = r;
	*remote = r;
	*direct = NULL;
	return DPI_SUCCESS;
}

int dpi_tcp_detach(DPI_Tp_Remote *r)
{
	if (r->pending)
		return tcp_fail(r->tp, DPI_ERR_AGAIN,
				"%u operations on the window are under way; make progress and try again",
				r->pending);
	*r->link = r->next;
	if (r->next) r->next->link = r->link;
	free(r);
	return DPI_SUCCESS;
}
