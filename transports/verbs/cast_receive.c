/* SPDX-License-Identifier: Apache-2.0
 * cast_receive.c: casts in: datagrams are held until the CAST comes that they are for, or read where they are lost. */
#include "multicast.h"

#include <errno.h>
#include <stdlib.h>

/* --------------------------------------------------------------------------------------------------------- senders */

static void say(DPI_Tp_Endpoint *c, enum wire_listens how)
{
	dpi_verbs_request(c, WIRE_LISTENS, (uint64_t[]){ how });
}

void dpi_verbs_caster(DPI_Tp_Endpoint *c, const struct wire_message *m)
{
	struct verbs_cast *k = dpi_verbs_cast(c);
	uint64_t slots = (uint32_t)m->word[4], mtu = m->word[4] >> 32, group = m->word[5];
	if (!k || k->from || slots != CAST_SLOTS || mtu < DATAGRAM_LEAST || mtu > DATAGRAM_MOST || mtu & (mtu - 1) || m->word[3] > UINT32_MAX ||
	    group < 0xe0000000 || group > 0xefffffff) {
		dpi_verbs_refuse(c, "it casts from %llu slots of %llu bytes to group 0x%llx", (unsigned long long)slots, (unsigned long long)mtu,
				 (unsigned long long)group);
		return;
	}
	if (!dpi_verbs_multicast(c->tp) || mtu > c->tp->limits.mtu || dpi_verbs_multicast_join(c->tp, (uint32_t)group, &k->membership)) {
		say(c, WIRE_DEAF);
		return;
	}
	k->from = true;
	memcpy(k->token, m->word, sizeof k->token);
	k->address = m->word[2];
	k->rkey = (uint32_t)m->word[3];
	k->mtu = (uint32_t)mtu;
	if (k->membership->joined) say(c, WIRE_JOINED);
}

void dpi_verbs_joined(DPI_Tp *tp, const struct verbs_membership *s)
{
	for (DPI_Tp_Endpoint *c = tp->connections; c; c = c->next)
		if (c->cast && c->cast->from && c->cast->membership == s && c->state == STATE_OPEN) say(c, s->failed ? WIRE_DEAF : WIRE_JOINED);
}

void dpi_verbs_tell_taken(DPI_Tp_Endpoint *c)
{
	struct verbs_cast *k = c->cast;
	if (!k || !k->from) {
		dpi_verbs_refuse(c, "it asks about casts of which there were none");
		return;
	}
	k->told = k->taken;
	dpi_verbs_request(c, WIRE_TOOK, (uint64_t[]){ k->taken, k->reads });
}

/* ------------------------------------------------------------------------------------------------------- datagrams */

static DPI_Tp_Endpoint *sender_of(const DPI_Tp *tp, const uint64_t token[2])
{
	for (DPI_Tp_Endpoint *c = tp->connections; c; c = c->next)
		if (c->cast && c->cast->from && !((c->cast->token[0] ^ token[0]) | (c->cast->token[1] ^ token[1]))) return c;
	return NULL;
}

bool dpi_verbs_hold(DPI_Tp *tp, struct verbs_datagram *d, uint32_t size)
{
	struct verbs_multicast *m = tp->multicast;
	struct datagram parsed;
	if (dpi_verbs_datagram_parse(d->bytes, size, &parsed)) return false;
	DPI_Tp_Endpoint *c = sender_of(tp, parsed.token);
	if (!c) return false;
	struct verbs_cast *k = c->cast;
	if (!k->heard) say(c, WIRE_HEARD);
	k->heard = true;
	if (parsed.kind != DATAGRAM_DATA || parsed.sequence < k->taken || size > k->mtu) return false;
	struct verbs_datagram **place = &k->held[parsed.sequence % CAST_SLOTS];
	if (*place && (*place)->sequence >= parsed.sequence) return false;
	if (*place) dpi_verbs_release(tp, *place);
	if (m->held >= m->receives / 4 * 3) dpi_verbs_release(tp, m->oldest); /* the rest is for what comes */
	*d = (struct verbs_datagram){ .of = k, .link = m->newest, .bytes = d->bytes, .sequence = parsed.sequence, .size = size };
	*m->newest = d;
	m->newest = &d->next;
	m->held++;
	*place = d;
	if (parsed.sequence >= k->seen) k->seen = parsed.sequence + 1;
	return true;
}

/* ---------------------------------------------------------------------------------------------------- what is read */

/* A slot that was read. */
static const uint8_t *slot_of(const struct verbs_cast *k, uint64_t sequence)
{
	const struct verbs_buffer *b = k->read_to;
	uint64_t at = (sequence - k->read_first) * k->mtu;
	for (; at >= BUFFER; at -= BUFFER) b = b->next;
	return b->memory + at;
}

static bool is_read(const struct verbs_cast *k, uint64_t sequence)
{
	return k->read_to && !k->reading && sequence - k->read_first < k->read_count;
}

/* Post the reads, if there is room for them. */
static void read_slots(DPI_Tp_Endpoint *c, uint64_t first, uint32_t count)
{
	struct verbs_cast *k = c->cast;
	uint64_t from = k->address + first % CAST_SLOTS * k->mtu, bytes = (uint64_t)count * k->mtu;
	if (c->state != STATE_OPEN || c->broken || c->free_op == UINT32_MAX || verbs_room(c) < bytes / BUFFER + 1 + 4) return;
	dpi_verbs_buffers_free(c->tp, k->read_to);
	k->read_to = dpi_verbs_buffers(c->tp, bytes);
	if (!k->read_to) return;
	struct verbs_slot *s = NULL;
	for (const struct verbs_buffer *b = k->read_to; b; b = b->next) {
		s = dpi_verbs_slot(c);
		s->wr.opcode = IBV_WR_RDMA_READ;
		s->wr.wr.rdma.remote_addr = from;
		s->wr.wr.rdma.rkey = k->rkey;
		s->sge[0] = (struct ibv_sge){ (uintptr_t)b->memory, b->used, b->lkey };
		s->wr.num_sge = 1;
		from += b->used;
	}
	s->op = dpi_verbs_op(c, OP_CAST, NULL, NULL);
	k->read_first = first;
	k->read_count = count;
	k->reading = true;
	k->reads++;
	dpi_verbs_ring(c);
}

/* The buffers stay in use until the device is done with them, so they are freed with the endpoint at the earliest. */
void dpi_verbs_was_read(DPI_Tp_Endpoint *c, struct verbs_op *op, int error)
{
	struct verbs_cast *k = c->cast;
	dpi_verbs_op_drop(c, op);
	k->reading = false;
	c->tp->events++;
	for (uint32_t i = 0; i < k->read_count && !error && k->read_to; i++) {
		struct datagram d;
		if (!dpi_verbs_datagram_parse(slot_of(k, k->read_first + i), k->mtu, &d) && d.kind == DATAGRAM_DATA && d.sequence == k->read_first + i) continue;
		dpi_verbs_refuse(c, "its ring does not hold what it has cast");
		return;
	}
}

/* ----------------------------------------------------------------------------------------------------------- casts */

static const uint8_t *piece(const struct verbs_cast *k, uint64_t sequence, uint32_t size)
{
	const struct verbs_datagram *d = k->held[sequence % CAST_SLOTS];
	if (is_read(k, sequence)) return slot_of(k, sequence) + DATAGRAM_HEAD;
	return d && d->sequence == sequence && d->size == DATAGRAM_HEAD + size ? d->bytes + DATAGRAM_HEAD : NULL;
}

/* Of the slots from first to end, count from missing on are not here. */
static void wait_or_read(DPI_Tp_Endpoint *c, uint64_t first, uint64_t end, uint64_t missing, uint32_t count)
{
	struct verbs_multicast *m = c->tp->multicast;
	struct verbs_cast *k = c->cast;
	int64_t now = dpi_verbs_now();
	if (!k->stalled_at) {
		k->stalled_at = now;
		m->stalled++;
	}
	if (k->reading || (k->seen < end && now - k->stalled_at < CAST_WAIT_US && !m->failed)) return;
	if (k->read_to) read_slots(c, first, (uint32_t)(end - first)); /* others that were held had to give way meanwhile */
	else read_slots(c, missing, count);
}

static void done(DPI_Tp_Endpoint *c, uint64_t first, uint64_t end)
{
	struct verbs_cast *k = c->cast;
	for (uint64_t s = first; s < end; s++) {
		struct verbs_datagram *d = k->held[s % CAST_SLOTS];
		if (d && d->sequence <= s) dpi_verbs_release(c->tp, d);
	}
	dpi_verbs_buffers_free(c->tp, k->read_to);
	k->read_to = NULL;
	k->taken = end;
	if (k->taken - k->told >= CAST_SLOTS / 8) dpi_verbs_tell_taken(c);
}

static void go_on(DPI_Tp_Endpoint *c)
{
	if (c->cast->stalled_at) c->tp->multicast->stalled--;
	c->cast->stalled_at = 0;
}

bool dpi_verbs_take_cast(DPI_Tp_Endpoint *c, const struct wire_message *m)
{
	struct verbs_cast *k = c->cast;
	uint64_t size = m->word[4] >> 32 & 0x7fffffff, first = m->word[5], offset = m->word[1];
	uint32_t room = k && k->from ? k->mtu - DATAGRAM_HEAD : 1, missing = UINT32_MAX, last = 0;
	uint64_t n = (size + room - 1) / room;
	if (!k || !k->from || !size || n > CAST_SLOTS - first % CAST_SLOTS || first < k->taken || first > UINT64_MAX - n || offset > UINT64_MAX - size) {
		dpi_verbs_refuse(c, "it has cast %llu bytes from datagram %llu on", (unsigned long long)size, (unsigned long long)first);
		return true;
	}
	for (int look = 0; look < 2 && (!look || missing != UINT32_MAX); look++) {
		if (look) dpi_verbs_datagrams(c->tp);
		missing = UINT32_MAX;
		for (uint32_t i = 0; i < n; i++) {
			if (piece(k, first + i, i + 1 < n ? room : (uint32_t)(size - i * (uint64_t)room))) continue;
			if (missing == UINT32_MAX) missing = i;
			last = i;
		}
	}
	if (missing != UINT32_MAX) {
		wait_or_read(c, first, first + n, first + missing, last - missing + 1);
		return false;
	}
	go_on(c);
	for (uint32_t i = 0; i < n && k->from; i++) {
		bool is_last = i + 1 == n;
		uint32_t here = is_last ? (uint32_t)(size - i * (uint64_t)room) : room;
		struct wire_message part = { .op = WIRE_PUT, .size = here, .payload = piece(k, first + i, here) };
		memcpy(part.word, (uint64_t[]){ m->word[0], offset + i * (uint64_t)room, DPI_TP_NO_OFFSET, 0, DPI_TP_NO_BELL }, 5 * sizeof *part.word);
		if (is_last) memcpy(part.word + 2, (uint64_t[]){ m->word[2], m->word[3], (uint32_t)m->word[4] }, 3 * sizeof *part.word);
		dpi_verbs_take_put(c, &part);
	}
	if (k->from && !(m->word[4] & WIRE_CAST_MORE)) done(c, first, first + n);
	return true;
}

void dpi_verbs_keep(DPI_Tp_Endpoint *c, const uint8_t *bytes, size_t size)
{
	struct verbs_cast *k = c->cast;
	if (k->kept == CREDITS) {
		dpi_verbs_refuse(c, "it sends more than it has credit for");
		return;
	}
	struct verbs_kept *kept = calloc(1, sizeof *kept);
	if (!kept) {
		c->broken = ENOMEM;
		dpi_verbs_mark(c);
		return;
	}
	kept->size = (uint32_t)size;
	memcpy(kept->bytes, bytes, size);
	wire_store(kept->bytes, wire_load(bytes) & ~UINT64_C(0xffff00)); /* its credits have been counted */
	*k->end = kept;
	k->end = &kept->next;
	k->kept++;
}
