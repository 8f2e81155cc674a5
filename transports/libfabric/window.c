/* SPDX-License-Identifier: Apache-2.0
 * window.c: registered memory, the keys to it, and grants of access by the provider's own writes and reads.
 *
 * A key is a slot, a generation and a secret. The secret is a keyed hash (SipHash-2-4) of the other two, so that a key of a window
 * withdrawn long ago can still be told from a forged one: its puts are dropped and its requests answered with DPI_ERR_DESTROYED,
 * while a forged key ends the link.
 *
 * A provider's write into a window that is gone would end the whole connection or, worse, be carried out. So the provider gets to know
 * a window only when a peer has asked to write or read it directly (USE), and withdraw takes every such grant back (REVOKE) and waits
 * until its peer has nothing under way (REVOKED) or is gone. Windows for atomics are never granted: their words are whole. */
#include <stdatomic.h>
#include <stdlib.h>

#include "fabric.h"

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
			struct fabric_slot *more = realloc(tp->slot, room * sizeof *more);
			if (!more) return false;
			tp->slot = more;
			tp->slots_room = room;
			if (!tp->slots) tp->free_slot = NO_SLOT;
		}
		*slot = tp->slots++;
		tp->slot[*slot] = (struct fabric_slot){ 0 };
		return true;
	}
	*slot = tp->free_slot;
	tp->free_slot = tp->slot[*slot].next_free;
	return true;
}

int dpi_fabric_expose(DPI_Tp *tp, const DPI_Tp_Memory *m, DPI_Tp_Window **window, DPI_Tp_Key *key)
{
	const DPI_Tp_Core *core = tp->core;
	bool words = !((uintptr_t)m->address & 7);
	if ((!m->address && m->length) || m->access & ~(DPI_TP_READ | DPI_TP_WRITE | DPI_TP_ATOMIC))
		return fabric_fail(tp, DPI_ERR_ARGUMENT,
				   "memory to register needs an address, and of access no more than DPI_TP_READ, WRITE and ATOMIC, not %p and 0x%x",
				   m->address, m->access);
	if (m->access & DPI_TP_ATOMIC && !words)
		return fabric_fail(tp, DPI_ERR_ARGUMENT,
				   "memory at %p cannot be used for atomics: its address is not a multiple of 8; align it", m->address);
	if (m->length > WIRE_MAX_OFFSET)
		return fabric_fail(tp, DPI_ERR_LIMIT, "a window of %llu bytes is larger than libfabric's limit of 2^48; register it in parts",
				   (unsigned long long)m->length);
	DPI_Tp_Window *w = calloc(1, sizeof *w);
	if (!w || !slot_take(tp, &w->slot)) {
		free(w);
		return fabric_fail(tp, DPI_ERR_MEMORY,
				   "no memory for the libfabric window table (%u windows are open); close buffers or give the process more memory",
				   tp->slots);
	}
	struct fabric_slot *s = &tp->slot[w->slot];
	w->tp = tp;
	w->address = m->address;
	w->length = m->length;
	w->access = m->access;
	w->words = words;
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

static void window_frame(struct wire_frame *f, enum wire_op op, uint32_t slot, uint32_t generation, uint64_t secret)
{
	*f = (struct wire_frame){ .op = op, .slot = slot };
	f->word[2] = (uint64_t)generation << 48;
	f->word[3] = secret;
}

static void grantee_free(struct fabric_grantee **at)
{
	struct fabric_grantee *g = *at;
	*at = g->next;
	if (g->mr) fi_close(&g->mr->fid);
	free(g);
}

static void window_free(DPI_Tp_Window *w)
{
	while (w->grantees) grantee_free(&w->grantees);
	if (w->mr) fi_close(&w->mr->fid);
	free(w);
}

/* What is being answered from the window ends with DPI_ERR_DESTROYED. */
int dpi_fabric_withdraw(DPI_Tp_Window *w)
{
	DPI_Tp *tp = w->tp;
	struct wire_frame f;
	w->closing = true;
	for (DPI_Tp_Endpoint *c = tp->links; c; c = c->next)
		for (struct fabric_item *i = c->head; i; i = i->next)
			if (i->work == ITEM_ANSWER && i->window == w) i->window = NULL;
	unsigned count = 0;
	for (struct fabric_grantee *g = w->grantees; g; g = g->next, count++) {
		if (g->revoking) continue;
		window_frame(&f, WIRE_REVOKE, w->slot, w->generation, w->secret);
		g->revoking = dpi_fabric_frame(g->endpoint, &f, false);
	}
	if (count)
		return fabric_fail(tp, DPI_ERR_AGAIN, "%u peers may still write or read the window; make progress and try again", count);
	struct fabric_slot *s = &tp->slot[w->slot];
	s->window = NULL;
	if (s->generation < LAST_GENERATION) { /* else the slot stays unused for ever */
		s->next_free = tp->free_slot;
		tp->free_slot = w->slot;
	}
	window_free(w);
	return DPI_SUCCESS;
}

void dpi_fabric_windows_close(DPI_Tp *tp)
{
	for (uint32_t i = 0; i < tp->slots; i++)
		if (tp->slot[i].window) window_free(tp->slot[i].window);
	free(tp->slot);
}

DPI_Tp_Window *dpi_fabric_window(const DPI_Tp_Endpoint *c, const struct wire_frame *f, uint64_t length, uint32_t access)
{
	const DPI_Tp *tp = c->tp;
	uint64_t offset = wire_offset(f);
	DPI_Tp_Window *w = f->slot < tp->slots ? tp->slot[f->slot].window : NULL;
	return w && w->secret == f->word[3] && w->generation == wire_generation(f) && !w->closing && (!access || w->access & access) &&
			       offset <= w->length && length <= w->length - offset
		       ? w
		       : NULL;
}

bool dpi_fabric_window_stale(DPI_Tp_Endpoint *c, const struct wire_frame *f, uint64_t length, uint32_t access)
{
	const DPI_Tp *tp = c->tp;
	uint32_t generation = wire_generation(f);
	const DPI_Tp_Window *w = f->slot < tp->slots ? tp->slot[f->slot].window : NULL;
	if (!w || w->generation != generation || w->secret != f->word[3] || w->closing) {
		if (f->slot < tp->slots && generation && generation <= tp->slot[f->slot].generation &&
		    f->word[3] == window_secret(tp, f->slot, generation))
			return true;
		dpi_fabric_refuse(c, "key of window %u is not one this node has given out", f->slot);
	} else if (access && !(w->access & access)) {
		dpi_fabric_refuse(c, "window %u was registered with access 0x%x, this operation needs 0x%x", f->slot, w->access, access);
	} else {
		dpi_fabric_refuse(c, "%llu bytes at offset %llu lie outside window %u of %llu bytes", (unsigned long long)length,
				  (unsigned long long)wire_offset(f), f->slot, (unsigned long long)w->length);
	}
	return false;
}

int dpi_fabric_attach(DPI_Tp_Endpoint *c, const DPI_Tp_Key *key, uint64_t length, DPI_Tp_Remote **remote, void **direct)
{
	DPI_Tp *tp = c->tp;
	if (c->state != STATE_OPEN) return dpi_fabric_dead(c);
	uint64_t first = wire_load(key->bytes);
	if (key->size != KEY_SIZE || (uint8_t)first != KEY_VERSION)
		return fabric_fail(tp, DPI_ERR_CORRUPT,
				   "%u bytes of version %u are not a key of this libfabric transport (%d bytes, version %d); use the same "
				   "library on every node",
				   key->size, (unsigned)(uint8_t)first, KEY_SIZE, KEY_VERSION);
	uint64_t incarnation = wire_load(key->bytes + 24), has = wire_load(key->bytes + 16);
	if (incarnation != c->incarnation || wire_load(key->bytes + 32) != (uint32_t)c->node)
		return fabric_fail(tp, DPI_ERR_PEER,
				   "the key is not of node %d as it runs now: its process has been replaced, or the key is another node's; "
				   "open the buffer again",
				   c->node);
	if (length > has)
		return fabric_fail(tp, DPI_ERR_RANGE, "the window of node %d has %llu bytes, not %llu", c->node, (unsigned long long)has,
				   (unsigned long long)length);
	DPI_Tp_Remote *r = calloc(1, sizeof *r);
	if (!r) return fabric_fail(tp, DPI_ERR_MEMORY, "no memory to attach a window of node %d", c->node);
	r->endpoint = c;
	r->tp = tp;
	r->length = length;
	r->access = (uint8_t)(first >> 8);
	r->generation = (uint16_t)(first >> 16);
	r->slot = (uint32_t)(first >> 32);
	r->secret = wire_load(key->bytes + 8);
	if (r->slot >= WIRE_SLOTS || length > WIRE_MAX_OFFSET) {
		free(r);
		return fabric_fail(tp, DPI_ERR_CORRUPT, "the key of node %d names a window that cannot exist", c->node);
	}
	if (r->access & DPI_TP_ATOMIC) r->grant = GRANT_REFUSED; /* its words are whole */
	r->next = tp->remotes;
	r->link = &tp->remotes;
	if (r->next) r->next->link = &r->next;
	tp->remotes = r;
	*remote = r;
	*direct = NULL;
	return DPI_SUCCESS;
}

int dpi_fabric_detach(DPI_Tp_Remote *r)
{
	if (r->pending)
		return fabric_fail(r->tp, DPI_ERR_AGAIN, "%u operations on the window are under way; make progress and try again", r->pending);
	*r->link = r->next;
	if (r->next) r->next->link = r->link;
	free(r);
	return DPI_SUCCESS;
}

/* ------------------------------------------------------------------------------------------------------ grants */

static bool same(const DPI_Tp_Remote *r, const DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	return r->endpoint == c && r->slot == f->slot && r->generation == wire_generation(f) && r->secret == f->word[3];
}

static struct fabric_grantee *grantee(DPI_Tp_Window *w, const DPI_Tp_Endpoint *c)
{
	struct fabric_grantee *g = w->grantees;
	while (g && g->endpoint != c) g = g->next;
	return g;
}

static void ungrant(DPI_Tp_Window *w, const DPI_Tp_Endpoint *c)
{
	for (struct fabric_grantee **g = &w->grantees; *g; g = &(*g)->next)
		if ((*g)->endpoint == c) {
			grantee_free(g);
			return;
		}
}

void dpi_fabric_ungrant_all(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	for (uint32_t i = 0; i < tp->slots; i++)
		if (tp->slot[i].window) ungrant(tp->slot[i].window, c);
}

/* Let the provider know the window, once, or for each link. */
static bool enroll(DPI_Tp_Window *w, struct fabric_grantee *g)
{
	DPI_Tp *tp = w->tp;
	struct fid_mr **mr = tp->mr_endpoint ? &g->mr : &w->mr;
	uint64_t access = (w->access & DPI_TP_READ ? FI_REMOTE_READ : 0) | (w->access & DPI_TP_WRITE ? FI_REMOTE_WRITE : 0);
	if (*mr) return true;
	if (w->refused || !w->length || w->access & DPI_TP_ATOMIC) return false;
	int error = dpi_fabric_register(tp, g->endpoint->ep, w->address, w->length, access, mr);
	if (error) {
		w->refused = true;
		dpi_fabric_log(tp, "a window of %llu bytes could not be registered, so its peers use messages: %s: %s",
			       (unsigned long long)w->length, fi_strerror(-error), dpi_fabric_error(error)->meaning);
	}
	return !error;
}

/* The link's grant; NULL: none. */
static struct fabric_grantee *grant(DPI_Tp_Window *w, DPI_Tp_Endpoint *c)
{
	struct fabric_grantee *g = grantee(w, c);
	if (g) return g;
	g = calloc(1, sizeof *g);
	if (!g) return NULL;
	*g = (struct fabric_grantee){ .next = w->grantees, .endpoint = c };
	w->grantees = g;
	if (enroll(w, g)) return g;
	grantee_free(&w->grantees);
	return NULL;
}

static void take_use(DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	struct wire_frame a;
	DPI_Tp_Window *w = dpi_fabric_window(c, f, 0, 0);
	if (!w && !dpi_fabric_window_stale(c, f, 0, 0)) return;
	window_frame(&a, WIRE_GRANT, f->slot, wire_generation(f), f->word[3]);
	struct fabric_grantee *g = w ? grant(w, c) : NULL;
	if (g) {
		a.word[4] = fi_mr_key(g->mr ? g->mr : w->mr);
		a.word[5] = c->tp->mr_virtual ? (uintptr_t)w->address : 0;
		a.word[6] = 1;
	}
	if (!dpi_fabric_frame(c, &a, false)) dpi_fabric_lose(c, "no memory for an answer to node %d", c->node);
}

static void take_granted(DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	for (DPI_Tp_Remote *r = c->tp->remotes; r; r = r->next) {
		if (!same(r, c, f) || r->grant != GRANT_ASKED) continue;
		r->grant = f->word[6] == 1 ? GRANT_GIVEN : GRANT_REFUSED;
		r->key = f->word[4];
		r->base = f->word[5];
	}
}

static bool in_use(const DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	for (const DPI_Tp_Remote *r = c->tp->remotes; r; r = r->next)
		if (same(r, c, f) && r->flying) return true;
	return false;
}

static void answer_revoke(DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	struct wire_frame a;
	window_frame(&a, WIRE_REVOKED, f->slot, wire_generation(f), f->word[3]);
	if (!dpi_fabric_frame(c, &a, false)) dpi_fabric_lose(c, "no memory for an answer to node %d", c->node);
}

/* Several remotes may stand for one window. What is in the queue but not yet posted goes by messages from now on. */
static void take_revoke(DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	bool busy = in_use(c, f);
	for (DPI_Tp_Remote *r = c->tp->remotes; r; r = r->next) {
		if (!same(r, c, f)) continue;
		r->grant = GRANT_REFUSED;
		r->revoked = busy;
	}
	if (!busy) answer_revoke(c, f);
}

void dpi_fabric_revoke_done(DPI_Tp_Remote *r)
{
	struct wire_frame f;
	window_frame(&f, WIRE_REVOKE, r->slot, r->generation, r->secret);
	if (in_use(r->endpoint, &f)) return;
	for (DPI_Tp_Remote *o = r->tp->remotes; o; o = o->next)
		if (same(o, r->endpoint, &f)) o->revoked = false;
	answer_revoke(r->endpoint, &f);
}

static void take_revoked(DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	DPI_Tp *tp = c->tp;
	DPI_Tp_Window *w = f->slot < tp->slots ? tp->slot[f->slot].window : NULL;
	if (!w || w->generation != wire_generation(f) || w->secret != f->word[3]) return;
	struct fabric_grantee *g = grantee(w, c);
	if (g && g->revoking) ungrant(w, c);
}

void dpi_fabric_take_grant(DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	switch (f->op) {
	case WIRE_USE: take_use(c, f); break;
	case WIRE_GRANT: take_granted(c, f); break;
	case WIRE_REVOKE: take_revoke(c, f); break;
	case WIRE_REVOKED: take_revoked(c, f); break;
	}
}
