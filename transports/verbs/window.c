/* SPDX-License-Identifier: Apache-2.0
 * window.c: registered memory, the keys to it, and who has it attached.
 *
 * A key is a slot, a generation and a secret. The device's own key, which is short and may be guessed, goes only to
 * those who show the secret, over the connection, and the window knows them: before it goes it asks each to let go, and
 * waits until all have. So no write is under way when the registration ends, which would break the connection it is on. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "verbs.h"

enum { SLOTS_MAX = 1 << 24 };

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

/* SipHash-2-4 of the 8 bytes of slot and generation: nobody else can make a key. */
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

/* Room for one more: a slot that was used before, or the end of the arrays. */
static bool slot_take(DPI_Tp *tp, uint32_t *slot)
{
	if (tp->slots && tp->free_slot != SLOTS_MAX) {
		*slot = tp->free_slot;
		tp->free_slot = tp->slot[*slot].next_free;
		return true;
	}
	if (tp->slots == SLOTS_MAX) return false;
	if (tp->slots == tp->slots_room) {
		uint32_t room = tp->slots_room ? tp->slots_room * 2 : 64;
		struct verbs_slot_of_window *more = realloc(tp->slot, room * sizeof *more);
		if (!more) return false;
		tp->slot = more;
		DPI_Tp_Window **sorted = realloc(tp->exposed, room * sizeof *sorted);
		if (!sorted) return false;
		tp->exposed = sorted;
		tp->slots_room = room;
	}
	*slot = tp->slots++;
	if (!*slot) tp->free_slot = SLOTS_MAX;
	tp->slot[*slot] = (struct verbs_slot_of_window){ 0 };
	return true;
}

static void slot_give(DPI_Tp *tp, uint32_t slot)
{
	tp->slot[slot].window = NULL;
	if (tp->slot[slot].generation == UINT32_MAX) return; /* stays unused for ever */
	tp->slot[slot].next_free = tp->free_slot;
	tp->free_slot = slot;
}

static void list(DPI_Tp *tp, DPI_Tp_Window *w)
{
	uint32_t i = tp->windows++;
	for (; i && tp->exposed[i - 1]->address > w->address; i--) tp->exposed[i] = tp->exposed[i - 1];
	tp->exposed[i] = w;
}

static void unlist(DPI_Tp *tp, const DPI_Tp_Window *w)
{
	uint32_t i = 0;
	while (tp->exposed[i] != w) i++;
	tp->windows--;
	for (; i < tp->windows; i++) tp->exposed[i] = tp->exposed[i + 1];
}

int dpi_verbs_expose(DPI_Tp *tp, const DPI_Tp_Memory *m, DPI_Tp_Window **window, DPI_Tp_Key *key)
{
	bool words = !((uintptr_t)m->address & 7), by_device = m->access & DPI_TP_ATOMIC && tp->limits.global_atomics;
	if ((!m->address && m->length) || m->access & ~(DPI_TP_READ | DPI_TP_WRITE | DPI_TP_ATOMIC))
		return verbs_fail(tp, DPI_ERR_ARGUMENT,
				  "memory to register needs an address, and of access no more than DPI_TP_READ, WRITE and ATOMIC, not %p and 0x%x", m->address,
				  m->access);
	if (m->access & DPI_TP_ATOMIC && !words)
		return verbs_fail(tp, DPI_ERR_ARGUMENT, "memory at %p cannot be used for atomics: its address is not a multiple of 8; align it", m->address);
	DPI_Tp_Window *w = calloc(1, sizeof *w);
	if (!w || !slot_take(tp, &w->slot)) {
		free(w);
		return verbs_fail(tp, DPI_ERR_MEMORY, "no memory for verbs' table of windows (%u are open); close buffers", tp->windows);
	}
	bool written = m->access & (DPI_TP_WRITE | DPI_TP_ATOMIC);
	int access = (m->access & DPI_TP_READ ? IBV_ACCESS_REMOTE_READ : 0) | (written ? IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE : 0) |
		     (by_device ? IBV_ACCESS_REMOTE_ATOMIC : 0);
	/* for gets; over iWARP these need what would let the window's peers write */
	int fill = !tp->limits.iwarp ? IBV_ACCESS_LOCAL_WRITE : !m->access || written ? IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE : 0;
	w->filled = fill;
	if (m->length && !(w->mr = ibv_reg_mr(tp->pd, m->address, m->length, access | fill)) && errno == EFAULT && !written) {
		w->mr = ibv_reg_mr(tp->pd, m->address, m->length, access); /* it is not writable */
		w->filled = false;
	}
	if (m->length && !w->mr) {
		int error = errno;
		slot_give(tp, w->slot);
		free(w);
		return dpi_verbs_refused(tp, error, m->length, "the memory of a window");
	}
	struct verbs_slot_of_window *s = &tp->slot[w->slot];
	w->tp = tp;
	w->address = m->address;
	w->length = m->length;
	w->local = (struct verbs_region){ .address = m->address, .length = m->length, .exposed = true, .mr = w->mr };
	w->access = m->access;
	w->generation = ++s->generation;
	w->secret = window_secret(tp, w->slot, w->generation);
	s->window = w;
	list(tp, w);
	memset(key, 0, sizeof *key);
	key->fd = -1;
	key->size = KEY_SIZE;
	wire_store(key->bytes, (uint64_t)KEY_VERSION | (uint64_t)(w->access | (words ? KEY_WORDS : 0) | (by_device ? KEY_DEVICE_ATOMICS : 0)) << 8);
	wire_store(key->bytes + 8, w->slot | (uint64_t)w->generation << 32);
	wire_store(key->bytes + 16, w->secret);
	wire_store(key->bytes + 24, w->length);
	wire_store(key->bytes + 32, tp->core->incarnation);
	wire_store(key->bytes + 40, (uint32_t)tp->core->node);
	*window = w;
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------ attachments */

void dpi_verbs_attach_asked(DPI_Tp_Endpoint *c, const struct wire_message *m)
{
	DPI_Tp *tp = c->tp;
	uint32_t slot = (uint32_t)m->word[1], generation = (uint32_t)(m->word[1] >> 32);
	DPI_Tp_Window *w = slot < tp->slots ? tp->slot[slot].window : NULL;
	uint64_t answer[6] = { m->word[0], DPI_SUCCESS };
	if (slot >= tp->slots || m->word[2] != window_secret(tp, slot, generation)) answer[1] = DPI_ERR_CORRUPT;
	else if (!w || w->generation != generation || w->closing) answer[1] = DPI_ERR_DESTROYED;
	struct verbs_attachment *a = answer[1] ? NULL : calloc(1, sizeof *a);
	if (a) a->id = dpi_verbs_table_add(&tp->attachments, a);
	if (!answer[1] && (!a || !a->id)) {
		free(a);
		answer[1] = DPI_ERR_MEMORY;
	} else if (a) {
		a->endpoint = c;
		a->window = w;
		a->remote = m->word[0];
		a->next = w->attachments;
		a->link = &w->attachments;
		if (a->next) a->next->link = &a->next;
		w->attachments = a;
		a->next_here = c->attached;
		a->link_here = &c->attached;
		if (a->next_here) a->next_here->link_here = &a->next_here;
		c->attached = a;
		answer[2] = a->id;
		answer[3] = (uintptr_t)w->address;
		answer[4] = w->length;
		answer[5] = w->mr ? w->mr->rkey : 0;
	}
	dpi_verbs_answer(c, WIRE_ATTACHED, answer, 1);
}

static void from_window(struct verbs_attachment *a)
{
	if (!a->window) return;
	*a->link = a->next;
	if (a->next) a->next->link = a->link;
	a->window = NULL;
}

void dpi_verbs_attachment_end(DPI_Tp *tp, struct verbs_attachment *a)
{
	from_window(a);
	*a->link_here = a->next_here;
	if (a->next_here) a->next_here->link_here = a->link_here;
	dpi_verbs_table_remove(&tp->attachments, a->id);
	free(a);
}

/* A peer that is stopped does not answer. After a while the registration ends all the same: if that peer does write
 * later, its device is told so, and its connection ends. */
int dpi_verbs_withdraw(DPI_Tp_Window *w)
{
	DPI_Tp *tp = w->tp;
	if (!w->closing) {
		w->closing = true;
		w->revoked_at = dpi_verbs_now();
		for (struct verbs_attachment *a = w->attachments; a; a = a->next) dpi_verbs_request(a->endpoint, WIRE_REVOKE, &a->remote);
		for (struct verbs_attachment *a = w->attachments; a; a = a->next) dpi_verbs_serve_queues(a->endpoint);
	}
	if (w->attachments && dpi_verbs_now() - w->revoked_at < REVOKE_US)
		return verbs_fail(tp, DPI_ERR_AGAIN, "peers may have operations under way in the window; make progress and try again");
	if (w->local.refs) dpi_verbs_hasten(tp);
	if (w->local.refs)
		return verbs_fail(tp, DPI_ERR_AGAIN, "%u operations of this process are at the memory; make progress and try again", w->local.refs);
	while (w->attachments) from_window(w->attachments);
	if (w->mr) ibv_dereg_mr(w->mr);
	unlist(tp, w);
	slot_give(tp, w->slot);
	free(w);
	return DPI_SUCCESS;
}

void dpi_verbs_windows_close(DPI_Tp *tp)
{
	for (uint32_t i = 0; i < tp->windows; i++) {
		if (tp->exposed[i]->mr) ibv_dereg_mr(tp->exposed[i]->mr);
		free(tp->exposed[i]);
	}
	free(tp->exposed);
	free(tp->slot);
}
