/* SPDX-License-Identifier: Apache-2.0
 * cast_send.c: casts out: the bytes into the ring and to the group, the word of it to each target. */
#include "multicast.h"

#include <errno.h>

static uint8_t *slot_of(const DPI_Tp *tp, uint64_t sequence)
{
	return tp->multicast->ring + sequence % CAST_SLOTS * tp->limits.mtu;
}

static void fill(struct verbs_multicast *m, uint32_t i, const uint8_t *bytes, uint32_t size)
{
	m->sge[i] = (struct ibv_sge){ (uintptr_t)bytes, size, m->ring_mr->lkey };
	m->wr[i] = (struct ibv_send_wr){ .wr_id = m->posted + i + 1, .sg_list = &m->sge[i], .num_sge = 1, .opcode = IBV_WR_SEND };
	m->wr[i].wr.ud.ah = m->ah;
	m->wr[i].wr.ud.remote_qpn = m->qp_num;
	m->wr[i].wr.ud.remote_qkey = m->qkey;
	if (i) m->wr[i - 1].next = &m->wr[i];
}

/* What cannot be posted is lost on the way. */
static void send_out(DPI_Tp *tp, uint32_t n)
{
	struct verbs_multicast *m = tp->multicast;
	struct ibv_send_wr *bad = NULL;
	m->wr[n - 1].send_flags = IBV_SEND_SIGNALED;
	int error = ibv_post_send(m->id->qp, m->wr, &bad);
	if (error) dpi_verbs_multicast_failed(tp, strerror(error));
	m->posted += n;
}

static bool room_to_send(DPI_Tp *tp, uint32_t n)
{
	struct verbs_multicast *m = tp->multicast;
	if (m->depth - (m->posted - m->sent) < n) dpi_verbs_datagrams(tp);
	return m->depth - (m->posted - m->sent) >= n;
}

/* ---------------------------------------------------------------------------------------------- who can be reached */

static void probe(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	struct verbs_cast *k = c->cast;
	int64_t now = dpi_verbs_now();
	if (!tp->multicast->ah || now < k->probe_at || !room_to_send(tp, 1)) return;
	uint8_t *bytes = tp->multicast->ring + (size_t)CAST_SLOTS * tp->limits.mtu;
	dpi_verbs_datagram(bytes, DATAGRAM_PROBE, 0, tp->multicast->token);
	fill(tp->multicast, 0, bytes, DATAGRAM_HEAD);
	send_out(tp, 1);
	k->probe_at = now + ((int64_t)CAST_PROBE_US << k->probes);
	if (k->probes < 10) k->probes++;
}

static bool reached(DPI_Tp_Endpoint *c)
{
	struct verbs_multicast *m = c->tp->multicast;
	struct verbs_cast *k = dpi_verbs_cast(c);
	if (!k) return false;
	if (k->reached == REACHED_UNKNOWN) {
		k->reached = REACHED_ASKED;
		dpi_verbs_request(c, WIRE_CASTER, (uint64_t[]){ m->token[0], m->token[1], (uintptr_t)m->ring, m->ring_mr->rkey,
							       CAST_SLOTS | (uint64_t)c->tp->limits.mtu << 32, m->group });
	} else if (k->reached == REACHED_JOINED) {
		probe(c);
	}
	return k->reached == REACHED_YES && m->ah;
}

void dpi_verbs_listens(DPI_Tp_Endpoint *c, const struct wire_message *m)
{
	const DPI_Tp_Core *core = c->tp->core;
	struct verbs_cast *k = c->cast;
	if (!k || k->reached == REACHED_UNKNOWN || m->word[0] > WIRE_HEARD) {
		dpi_verbs_refuse(c, "it listens to what nobody casts");
	} else if (m->word[0] == WIRE_DEAF) {
		k->reached = REACHED_NO;
		core->log(core->self, 2, "node %d takes no part in multicast: what goes to it and others is sent to each", c->node);
	} else if (k->reached == REACHED_ASKED && m->word[0] == WIRE_JOINED) {
		k->reached = REACHED_JOINED;
		if (dpi_verbs_multicast(c->tp)) probe(c);
	} else if (m->word[0] == WIRE_HEARD && k->reached != REACHED_NO) {
		k->reached = REACHED_YES;
		core->log(core->self, 2, "node %d is reached by multicast", c->node);
	}
}

/* ----------------------------------------------------------------------------------------------- what was taken */

bool dpi_verbs_casting(DPI_Tp_Endpoint *c)
{
	struct verbs_cast *k = c->cast;
	if (!k || c->state != STATE_OPEN || c->broken || k->took == k->sent) return false;
	if (!k->asked) dpi_verbs_request(c, WIRE_TELL, NULL);
	k->asked = true;
	return true;
}

/* A target that had to read most of the latest casts: the network does not carry them, or it is too slow for them. */
static void judge(DPI_Tp_Endpoint *c)
{
	const DPI_Tp_Core *core = c->tp->core;
	struct verbs_cast *k = c->cast;
	uint64_t casts = k->casts - k->casts_before, read = k->read - k->read_before;
	if (casts < CAST_JUDGED) return;
	k->casts_before = k->casts;
	k->read_before = k->read;
	if (read * 2 <= casts || k->reached != REACHED_YES) return;
	k->reached = REACHED_NO;
	core->log(core->self, 2, "node %d had to be sent %llu of %llu casts again, and is left out of multicast", c->node, (unsigned long long)read,
		  (unsigned long long)casts);
}

void dpi_verbs_took(DPI_Tp_Endpoint *c, const struct wire_message *m)
{
	struct verbs_cast *k = c->cast;
	if (!k || m->word[0] > k->sent || m->word[1] < k->read || m->word[1] > k->casts) {
		dpi_verbs_refuse(c, "it took what was not cast");
		return;
	}
	if (m->word[0] > k->took) k->took = m->word[0];
	k->read = m->word[1];
	k->asked = false;
	judge(c);
}

/* Slots for a cast, which lie together; false: targets have not taken enough of the earlier ones, and are asked. */
static bool take_slots(DPI_Tp *tp, uint32_t n, uint64_t *first)
{
	struct verbs_multicast *m = tp->multicast;
	uint64_t at = m->next % CAST_SLOTS;
	*first = at + n > CAST_SLOTS ? m->next + CAST_SLOTS - at : m->next;
	if (*first + n - m->tail <= CAST_SLOTS) return true;
	m->tail = *first;
	for (const DPI_Tp_Endpoint *c = tp->connections; c; c = c->next)
		if (c->cast && c->state == STATE_OPEN && c->cast->took != c->cast->sent && c->cast->took < m->tail) m->tail = c->cast->took;
	if (*first + n - m->tail <= CAST_SLOTS) return true;
	for (DPI_Tp_Endpoint *c = tp->connections; c; c = c->next) dpi_verbs_casting(c);
	return false;
}

/* ------------------------------------------------------------------------------------------------------------ casts */

/* May it be posted to all of them? */
static int check(DPI_Tp *tp, const DPI_Tp_To *to, int n, const struct iovec *iov, int count, uint64_t *total)
{
	bool all = true;
	*total = 0;
	for (int i = 0; i < n; i++) {
		int error = dpi_verbs_put_check(to[i].remote, iov, count, to[i].offset, to[i].notify, total);
		if (error) return error;
	}
	if (!*total || n < 1 || tp->limits.inline_bytes < 7 * 8 || !dpi_verbs_multicast(tp))
		return verbs_fail(tp, DPI_ERR_UNSUPPORTED, "there is no multicast on device %s, or nothing to send by it; post a put to each", tp->device);
	if (*total > dpi_verbs_multicast_most(tp))
		return verbs_fail(tp, DPI_ERR_LIMIT, "%llu bytes for several nodes are more than the %llu of one multicast; post them in parts",
				  (unsigned long long)*total, (unsigned long long)dpi_verbs_multicast_most(tp));
	for (int i = 0; i < n; i++) all &= reached(to[i].remote->endpoint);
	if (!all) return verbs_fail(tp, DPI_ERR_UNSUPPORTED, "not all of these nodes are reached by multicast; post a put to each");
	for (int i = 0; i < n; i++) to[i].remote->endpoint->cast->here = 0;
	for (int i = 0; i < n; i++) {
		DPI_Tp_Endpoint *c = to[i].remote->endpoint;
		if (c->credits <= 2 + c->cast->here || !dpi_verbs_may_send(c, ++c->cast->here)) return DPI_ERR_AGAIN;
		c->cast->last = i;
	}
	return DPI_SUCCESS;
}

static void gather(uint8_t *to, uint32_t size, const struct iovec **iov, size_t *at)
{
	while (size) {
		size_t n = (*iov)->iov_len - *at;
		if (n > size) n = size;
		if (n) memcpy(to, (const uint8_t *)(*iov)->iov_base + *at, n);
		to += n;
		size -= (uint32_t)n;
		*at += n;
		if (*at == (*iov)->iov_len) ++*iov, *at = 0;
	}
}

/* The bytes are copied, so it is done on return. */
int dpi_verbs_put_many(DPI_Tp *tp, const DPI_Tp_To *to, int n, const struct iovec *iov, int count, uint32_t flags, void *cookie)
{
	uint64_t total, first, left;
	uint32_t room = tp->limits.mtu - DATAGRAM_HEAD;
	size_t at = 0;
	(void)cookie;
	int error = check(tp, to, n, iov, count, &total);
	if (error) return error;
	struct verbs_multicast *m = tp->multicast;
	uint32_t slots = (uint32_t)((total + room - 1) / room);
	if (!room_to_send(tp, slots) || !take_slots(tp, slots, &first)) return DPI_ERR_AGAIN;
	if (m->failed) return verbs_fail(tp, DPI_ERR_UNSUPPORTED, "multicast on device %s has just failed; post a put to each", tp->device);
	left = total;
	for (uint32_t i = 0; i < slots; i++) {
		uint8_t *slot = slot_of(tp, first + i);
		uint32_t size = left < room ? (uint32_t)left : room;
		dpi_verbs_datagram(slot, DATAGRAM_DATA, first + i, m->token);
		gather(slot + DATAGRAM_HEAD, size, &iov, &at);
		fill(m, i, slot, DATAGRAM_HEAD + size);
		left -= size;
	}
	send_out(tp, slots);
	m->next = first + slots;
	for (int i = 0; i < n; i++) {
		const DPI_Tp_Remote *r = to[i].remote;
		const DPI_Tp_Notify none = { DPI_TP_NO_OFFSET, 0, DPI_TP_NO_BELL }, *notify = to[i].notify ? to[i].notify : &none;
		DPI_Tp_Endpoint *c = r->endpoint;
		struct verbs_cast *k = c->cast;
		uint64_t words[6] = { r->attachment, to[i].offset, notify->offset, notify->value,
				      notify->bell | total << 32 | (k->last != i ? WIRE_CAST_MORE : 0), first };
		dpi_verbs_message(c, WIRE_CAST, words, NULL, 0, 0); /* inline: it needs no buffer */
		if (k->took == k->sent) k->took = first;
		k->sent = first + slots;
		k->casts += k->last == i;
		c->puts++;
		dpi_verbs_held(c, flags);
	}
	return DPI_SUCCESS;
}
