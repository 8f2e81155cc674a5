/* SPDX-License-Identifier: Apache-2.0
 * post.c: puts, gets, atomics, messages and flushes.
 *
 * A put of up to COPY_MAX bytes, or of up to four buffers where its memory is not registered, is copied and so done on return;
 * a larger one goes from where it lies, from a window or from memory that is registered for as long as it takes. With a
 * notification, a small put travels in the notification's message.
 *
 * Words are whole where that is promised: a device writes a packet by whole words if it begins at one, and packets are cut
 * at multiples of 8 bytes from the first, so a range that begins inside a word goes in two requests. */
#include "verbs.h"

static COLD int outside(const DPI_Tp_Remote *r, uint64_t offset, uint64_t size, const char *what)
{
	return verbs_fail(r->tp, DPI_ERR_RANGE, "%s of %llu bytes at offset %llu lies outside the window of %llu bytes", what,
			  (unsigned long long)size, (unsigned long long)offset, (unsigned long long)r->length);
}

static COLD int forbidden(const DPI_Tp_Remote *r, uint32_t access, const char *what)
{
	return verbs_fail(r->tp, DPI_ERR_USE, "the peer's window was not registered for %s (access 0x%x, needs 0x%x)", what,
			  r->access & ~(KEY_WORDS | KEY_DEVICE_ATOMICS), access);
}

static COLD int misaligned(const DPI_Tp_Remote *r, uint64_t offset, const char *what)
{
	return verbs_fail(r->tp, DPI_ERR_RANGE, "%s at offset %llu is not at a multiple of 8", what, (unsigned long long)offset);
}

uint64_t dpi_verbs_max_put(const DPI_Tp *tp)
{
	uint64_t most = (uint64_t)tp->limits.chunk * 8;
	return most < 1 << 30 ? most : 1 << 30;
}

static COLD int too_large(const DPI_Tp_Remote *r, int count, const char *what)
{
	if (count < 0 || count > MAX_IOV)
		return verbs_fail(r->tp, DPI_ERR_LIMIT, "%s in %d pieces: verbs takes %d at most; join some or post in parts", what, count, MAX_IOV);
	return verbs_fail(r->tp, DPI_ERR_LIMIT, "%s is larger than the limit of %llu bytes on device %s; post it in parts", what,
			  (unsigned long long)dpi_verbs_max_put(r->tp), r->tp->device);
}

static COLD int not_ready(const DPI_Tp_Remote *r)
{
	if (r->state == REMOTE_ASKING) return DPI_ERR_AGAIN;
	if (r->state == REMOTE_REFUSED && r->refusal == DPI_ERR_CORRUPT)
		return verbs_fail(r->tp, DPI_ERR_CORRUPT, "node %d has never given out the key of this window", r->endpoint->node);
	if (r->state == REMOTE_REFUSED && r->refusal == DPI_ERR_MEMORY)
		return verbs_fail(r->tp, DPI_ERR_MEMORY, "node %d has no memory for another attached window", r->endpoint->node);
	return verbs_fail(r->tp, DPI_ERR_DESTROYED, "node %d has withdrawn the window", r->endpoint->node);
}

static inline bool inside(const DPI_Tp_Remote *r, uint64_t offset, uint64_t size)
{
	return offset <= r->length && size <= r->length - offset;
}

/* May it be posted? total: the sum of the pieces. */
static inline int check(const DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, uint32_t access, const char *what, uint64_t *total)
{
	const DPI_Tp_Endpoint *c = r->endpoint;
	uint64_t most = dpi_verbs_max_put(r->tp);
	*total = 0;
	if (c->state != STATE_OPEN || c->broken) return dpi_verbs_dead(c);
	if (count < 0 || count > MAX_IOV) return too_large(r, count, what);
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len > most || *total + iov[i].iov_len > most) return too_large(r, count, what);
		*total += iov[i].iov_len;
	}
	if (!inside(r, offset, *total)) return outside(r, offset, *total, what);
	if (!(r->access & access)) return forbidden(r, access, what);
	return DPI_SUCCESS;
}

static inline int notify_check(const DPI_Tp_Remote *r, const DPI_Tp_Notify *n)
{
	if (n->offset == DPI_TP_NO_OFFSET) return DPI_SUCCESS;
	if (n->offset & 7 || !(r->access & KEY_WORDS)) return misaligned(r, n->offset, "a notification's word");
	return inside(r, n->offset, 8) ? DPI_SUCCESS : outside(r, n->offset, 8, "a notification's word");
}

static struct verbs_op *flush_post(DPI_Tp_Endpoint *c, void *cookie)
{
	struct verbs_op *op = dpi_verbs_op(c, OP_FLUSH, NULL, cookie);
	if (!op) return NULL;
	if (!dpi_verbs_ask_along(c) && (!dpi_verbs_may_send(c, 1) || !dpi_verbs_message(c, WIRE_FLUSH, NULL, NULL, 0, 0))) {
		dpi_verbs_op_drop(c, op);
		return NULL;
	}
	op->puts = c->puts;
	op->message = c->said;
	if (!c->flush) c->flush_last = &c->flush;
	*c->flush_last = op;
	c->flush_last = &op->next;
	dpi_verbs_ring(c);
	return op;
}

/* Puts that go as messages are carried out by the target's processor. What the device does must not overtake them: first they are
 * flushed. */
static bool overtakes(DPI_Tp_Endpoint *c)
{
	if (__builtin_expect(c->told <= c->flushed, 1)) return false;
	struct verbs_op *op = c->told > c->settling ? flush_post(c, NULL) : NULL;
	if (op) {
		op->cancelled = true; /* nobody is told */
		c->settling = c->puts;
	}
	return true;
}

/* ---------------------------------------------------------------------------------------------- requests of pieces */

struct plan {
	int count;
	struct ibv_sge piece[MAX_IOV];
	struct verbs_buffer *buffers;
	int regions;
	struct verbs_region *region[MAX_IOV];
};

static void plan_drop(DPI_Tp *tp, struct plan *p)
{
	for (int i = 0; i < p->regions; i++) dpi_verbs_unregister(tp, p->region[i]);
	dpi_verbs_buffers_free(tp, p->buffers);
}

static bool plan_buffers(DPI_Tp *tp, struct plan *p, uint64_t total)
{
	p->buffers = dpi_verbs_buffers(tp, total);
	p->count = 0;
	for (const struct verbs_buffer *b = p->buffers; b; b = b->next)
		p->piece[p->count++] = (struct ibv_sge){ (uintptr_t)b->memory, b->used, b->lkey };
	return p->buffers;
}

/* Every piece in registered memory; registers what is in none, unless not to. */
static int plan_pieces(DPI_Tp *tp, struct plan *p, const struct iovec *iov, int count, bool write, bool windows_only)
{
	for (int i = 0; i < count; i++) {
		struct ibv_sge *s = &p->piece[p->count];
		if (!iov[i].iov_len) continue;
		*s = (struct ibv_sge){ (uintptr_t)iov[i].iov_base, (uint32_t)iov[i].iov_len, 0 };
		struct verbs_region *r = dpi_verbs_window_find(tp, &iov[i], write);
		int error = DPI_SUCCESS;
		if (r) r->refs++;
		else error = windows_only ? DPI_ERR_AGAIN : dpi_verbs_register(tp, &iov[i], write, &r);
		if (error) {
			plan_drop(tp, p);
			*p = (struct plan){ 0 };
			return error;
		}
		s->lkey = r->mr->lkey;
		p->region[p->regions++] = r;
		p->count++;
	}
	return DPI_SUCCESS;
}

static uint32_t plan_requests(const DPI_Tp *tp, uint64_t total)
{
	return 2 + MAX_IOV + (uint32_t)(total / tp->limits.chunk);
}

/* Fill requests; the last one. */
static struct verbs_slot *emit(DPI_Tp_Remote *r, enum ibv_wr_opcode opcode, struct plan *p, uint64_t offset, uint64_t total, bool words)
{
	DPI_Tp_Endpoint *c = r->endpoint;
	const struct verbs_limits *l = &r->tp->limits;
	uint64_t to = r->address + offset;
	uint32_t most = opcode == IBV_WR_RDMA_READ ? l->read_sges : l->sges;
	struct verbs_slot *s = NULL;
	for (int at = 0; total;) {
		uint64_t limit = total < l->chunk ? total : l->chunk, have = 0;
		if (words && to & 7 && limit > 8 - (to & 7)) limit = 8 - (to & 7);
		/* soft-iWARP of Linux 6.1 takes the wrong bytes for a short answer that lies in two pages */
		if (l->siw && opcode == IBV_WR_RDMA_READ && limit < 64 && limit > 4096 - (to & 4095)) limit = 4096 - (to & 4095);
		s = dpi_verbs_slot(c);
		s->wr.opcode = opcode;
		s->wr.wr.rdma.remote_addr = to;
		s->wr.wr.rdma.rkey = r->rkey;
		while (have < limit && (uint32_t)s->wr.num_sge < most) {
			struct ibv_sge *from = &p->piece[at], *sge = &s->sge[s->wr.num_sge++];
			*sge = *from;
			if (sge->length > limit - have) sge->length = (uint32_t)(limit - have);
			have += sge->length;
			from->addr += sge->length;
			from->length -= sge->length;
			if (!from->length) at++;
		}
		to += have;
		total -= have;
	}
	return s;
}

/* In requests that carry the bytes themselves. */
static void emit_inline(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, uint64_t total)
{
	uint8_t bytes[INLINE_MAX];
	uint64_t to = r->address + offset, at = 0;
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len) memcpy(bytes + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	for (at = 0; at < total;) {
		struct verbs_slot *s = dpi_verbs_slot(r->endpoint);
		uint64_t n = total - at;
		if ((to + at) & 7 && n > 8 - ((to + at) & 7)) n = 8 - ((to + at) & 7);
		memcpy(s->bytes, bytes + at, n);
		s->sge[0] = (struct ibv_sge){ (uintptr_t)s->bytes, (uint32_t)n, 0 };
		s->wr.num_sge = 1;
		s->wr.opcode = IBV_WR_RDMA_WRITE;
		s->wr.send_flags = IBV_SEND_INLINE;
		s->wr.wr.rdma.remote_addr = to + at;
		s->wr.wr.rdma.rkey = r->rkey;
		at += n;
	}
}

/* ------------------------------------------------------------------------------------------------------------ puts */

static bool notify_post(DPI_Tp_Remote *r, const DPI_Tp_Notify *n, const struct iovec *iov, int count, uint64_t offset, uint32_t size)
{
	uint64_t words[5] = { r->attachment, offset, n->offset, n->value, n->bell };
	if (!dpi_verbs_message(r->endpoint, WIRE_PUT, words, iov, count, size)) return false;
	if (n->offset == DPI_TP_NO_OFFSET) return true;
	r->notified = true;
	r->word = n->offset;
	r->value = n->value;
	r->bell = n->bell;
	return true;
}

/* Does it go on from the notification before, so that an immediate says it? */
static bool goes_on(const DPI_Tp_Remote *r, const DPI_Tp_Notify *n, uint64_t total)
{
	return r->notified && n->offset == r->word && n->bell == r->bell && n->value - r->value == total && !r->tp->limits.iwarp &&
	       (uint32_t)r->attachment < WIRE_TELL_IMMEDIATE;
}

static void notify_along(DPI_Tp_Remote *r, struct verbs_slot *s, uint64_t value)
{
	r->value = value;
	s->wr.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
	s->wr.imm_data = htobe32((uint32_t)r->attachment);
	dpi_verbs_counted(r->endpoint);
}

/* A put that a message of its own follows, or is, is covered by that. */
static void count_put(DPI_Tp_Endpoint *c, bool told)
{
	c->puts++;
	if (told) c->covered = c->puts;
}

static const DPI_Tp_Notify no_notify = { DPI_TP_NO_OFFSET, 0, DPI_TP_NO_BELL };

static int put_large(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, uint64_t total, uint32_t flags, const DPI_Tp_Notify *notify,
		     void *cookie)
{
	DPI_Tp_Endpoint *c = r->endpoint;
	DPI_Tp *tp = r->tp;
	struct plan p = { 0 };
	struct verbs_op *op = NULL;
	struct verbs_buffer *spare = NULL; /* the notification is certain to have one, should it need it */
	int error;
	bool copy = total <= COPY_MAX;
	if (!copy && (error = plan_pieces(tp, &p, iov, count, false, total <= BUFFER * BUFFERS))) {
		if (total > BUFFER * BUFFERS) return error;
		copy = true;
	}
	if (notify && !(spare = dpi_verbs_buffers(tp, BUFFER))) {
		if (!copy) plan_drop(tp, &p);
		return DPI_ERR_AGAIN;
	}
	if (copy && !plan_buffers(tp, &p, total)) {
		dpi_verbs_buffers_free(tp, spare);
		return DPI_ERR_AGAIN;
	}
	if (copy) {
		dpi_verbs_gather(p.buffers, iov, count);
	} else if (!(op = dpi_verbs_op(c, OP_PUT, flags & DPI_TP_LATE ? NULL : r, cookie))) { /* late ones are before DETACH, as copied ones are */
		dpi_verbs_buffers_free(tp, spare);
		plan_drop(tp, &p);
		return DPI_ERR_AGAIN;
	} else {
		op->late = flags & DPI_TP_LATE;
		op->regions = p.regions;
		memcpy(op->region, p.region, sizeof op->region);
	}
	uint32_t first = c->next_slot;
	struct verbs_slot *s = emit(r, IBV_WR_RDMA_WRITE, &p, offset, total, tp->limits.words && (r->access & DPI_TP_ATOMIC || total <= COPY_MAX));
	s->op = op;
	s->buffers = copy ? p.buffers : NULL;
	dpi_verbs_buffers_free(tp, spare);
	if (notify && c->next_slot - first == 1 && goes_on(r, notify, total)) notify_along(r, s, notify->value);
	else if (notify) notify_post(r, notify, NULL, 0, 0, 0);
	count_put(c, notify);
	dpi_verbs_held(c, flags);
	if (op) return DPI_TP_PENDING;
	return c->broken ? dpi_verbs_dead(c) : DPI_SUCCESS;
}

int dpi_verbs_put_check(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify, uint64_t *total)
{
	int error = check(r, iov, count, offset, DPI_TP_WRITE, "a put", total);
	if (!error && notify) error = notify_check(r, notify);
	if (!error && r->state != REMOTE_READY) error = not_ready(r);
	if (notify) r->notified = false; /* it is not said by a message of the remote's own */
	return error;
}

int dpi_verbs_put(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify, uint32_t flags, void *cookie)
{
	DPI_Tp_Endpoint *c = r->endpoint;
	DPI_Tp *tp = r->tp;
	uint64_t total;
	int error = check(r, iov, count, offset, DPI_TP_WRITE, "a put", &total);
	bool told = notify;
	if (!error && notify) error = notify_check(r, notify);
	if (error) return error;
	if (!total && !notify) return DPI_SUCCESS;
	if (__builtin_expect(r->state != REMOTE_READY, 0)) return not_ready(r);
	if ((notify || !tp->limits.words) && total <= EAGER_MAX) {
		if (!dpi_verbs_may_send(c, 1) || !notify_post(r, notify ? notify : &no_notify, iov, count, offset, (uint32_t)total)) return DPI_ERR_AGAIN;
		told = true;
	} else if (!notify && total <= tp->limits.inline_bytes) {
		if (verbs_room(c) < 2 + 4) return DPI_ERR_AGAIN;
		emit_inline(r, iov, count, offset, total);
	} else {
		uint32_t requests = plan_requests(tp, total);
		if (overtakes(c)) return DPI_ERR_AGAIN;
		if (verbs_room(c) < requests + 4 || (notify && !dpi_verbs_may_send(c, requests))) return DPI_ERR_AGAIN;
		return put_large(r, iov, count, offset, total, flags, notify, cookie);
	}
	count_put(c, told);
	if (!notify && !tp->limits.words) c->told = c->puts;
	dpi_verbs_held(c, flags);
	return c->broken ? dpi_verbs_dead(c) : DPI_SUCCESS;
}

int dpi_verbs_get(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, void *cookie)
{
	DPI_Tp_Endpoint *c = r->endpoint;
	DPI_Tp *tp = r->tp;
	struct plan p = { 0 };
	uint64_t total;
	int error = check(r, iov, count, offset, DPI_TP_READ, "a get", &total);
	if (error || !total) return error;
	if (r->state != REMOTE_READY) return not_ready(r);
	if (overtakes(c) || verbs_room(c) < plan_requests(tp, total) + 4 || c->free_op == UINT32_MAX) return DPI_ERR_AGAIN;
	bool copy = total <= COPY_MAX;
	if (!copy && (error = plan_pieces(tp, &p, iov, count, true, total <= BUFFER * BUFFERS))) {
		if (total > BUFFER * BUFFERS) return error;
		copy = true;
	}
	if (copy && !plan_buffers(tp, &p, total)) return DPI_ERR_AGAIN;
	struct verbs_op *op = dpi_verbs_op(c, OP_GET, r, cookie);
	op->regions = p.regions;
	memcpy(op->region, p.region, sizeof op->region);
	if (copy) {
		op->buffers = p.buffers;
		for (int i = 0; i < count; i++) op->iov[op->count++] = iov[i];
	}
	emit(r, IBV_WR_RDMA_READ, &p, offset, total, tp->limits.words && r->access & DPI_TP_ATOMIC)->op = op;
	dpi_verbs_ring(c);
	return DPI_TP_PENDING;
}

/* --------------------------------------------------------------------------------------------------------- the rest */

static int by_device(DPI_Tp_Remote *r, uint64_t offset, enum ibv_wr_opcode opcode, uint64_t compare_add, uint64_t swap, void *cookie)
{
	DPI_Tp_Endpoint *c = r->endpoint;
	if (verbs_room(c) < 1 + 4 || c->free_op == UINT32_MAX) return DPI_ERR_AGAIN;
	struct verbs_buffer *b = dpi_verbs_buffers(r->tp, 8);
	if (!b) return DPI_ERR_AGAIN;
	struct verbs_slot *s = dpi_verbs_slot(c);
	s->op = dpi_verbs_op(c, OP_ATOMIC, r, cookie);
	s->op->buffers = b;
	s->sge[0] = (struct ibv_sge){ (uintptr_t)b->memory, 8, b->lkey };
	s->wr.num_sge = 1;
	s->wr.opcode = opcode;
	s->wr.wr.atomic.remote_addr = r->address + offset;
	s->wr.wr.atomic.rkey = r->rkey;
	s->wr.wr.atomic.compare_add = compare_add;
	s->wr.wr.atomic.swap = swap;
	dpi_verbs_ring(c);
	return DPI_TP_PENDING;
}

static int ask(DPI_Tp_Endpoint *c, DPI_Tp_Remote *r, enum wire_op wire, uint64_t *words, int at, void *cookie)
{
	if (!dpi_verbs_may_send(c, 1)) return DPI_ERR_AGAIN;
	struct verbs_op *op = dpi_verbs_op(c, OP_MESSAGE, r, cookie);
	if (!op) return DPI_ERR_AGAIN;
	words[at] = dpi_verbs_op_id(c, op);
	if (!dpi_verbs_message(c, wire, words, NULL, 0, 0)) {
		dpi_verbs_op_drop(c, op);
		return DPI_ERR_AGAIN;
	}
	dpi_verbs_ring(c);
	return DPI_TP_PENDING;
}

static int atomic(DPI_Tp_Remote *r, enum wire_op wire, uint64_t offset, uint64_t first, uint64_t second, void *cookie)
{
	static const struct iovec word = { NULL, 8 };
	uint64_t total;
	int error = offset & 7 ? misaligned(r, offset, "an atomic operation") : check(r, &word, 1, offset, DPI_TP_ATOMIC, "an atomic operation", &total);
	if (error) return error;
	if (r->state != REMOTE_READY) return not_ready(r);
	if (r->access & KEY_DEVICE_ATOMICS && r->tp->limits.atomics)
		return by_device(r, offset, wire == WIRE_ADD ? IBV_WR_ATOMIC_FETCH_AND_ADD : IBV_WR_ATOMIC_CMP_AND_SWP, first, second, cookie);
	return ask(r->endpoint, r, wire, (uint64_t[]){ r->attachment, 0, offset, first, second }, 1, cookie);
}

/* The result comes with the completion. */
int dpi_verbs_fetch_add(DPI_Tp_Remote *r, uint64_t offset, uint64_t operand, uint64_t *result, void *cookie)
{
	(void)result;
	return atomic(r, WIRE_ADD, offset, operand, 0, cookie);
}

int dpi_verbs_compare_swap(DPI_Tp_Remote *r, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result, void *cookie)
{
	(void)result;
	return atomic(r, WIRE_SWAP, offset, expected, desired, cookie);
}

/* Done when the target's progress has handled a message behind the puts: it has then seen every write before it, and set every word. */
int dpi_verbs_flush(DPI_Tp_Endpoint *c, void *cookie)
{
	if (c->state != STATE_OPEN || c->broken) return dpi_verbs_dead(c);
	if (c->puts == c->flushed) return DPI_SUCCESS;
	return flush_post(c, cookie) ? DPI_TP_PENDING : DPI_ERR_AGAIN;
}

int dpi_verbs_send(DPI_Tp_Endpoint *c, const void *bytes, size_t size, uint32_t flags)
{
	if (c->state != STATE_OPEN || c->broken) return dpi_verbs_dead(c);
	if (size > SEND_MAX)
		return verbs_fail(c->tp, DPI_ERR_SIZE, "a message of %zu bytes is larger than verbs' limit of %d; put it into a window instead", size, SEND_MAX);
	struct iovec v = { (void *)(uintptr_t)bytes, size };
	if (!dpi_verbs_may_send(c, 1) || !dpi_verbs_message(c, WIRE_SEND, NULL, &v, 1, (uint32_t)size)) return DPI_ERR_AGAIN;
	dpi_verbs_held(c, flags);
	return c->broken ? dpi_verbs_dead(c) : DPI_SUCCESS;
}

/* What goes by way of a buffer or a message can be let go: it ends unseen. A device that is at the caller's memory cannot
 * be stopped but by ending the connection. */
int dpi_verbs_cancel(DPI_Tp_Endpoint *c, void *cookie)
{
	for (int i = 0; c->op && i < OUTSTANDING; i++) {
		struct verbs_op *op = &c->op[i];
		if (op->kind == OP_FREE || op->cancelled || op->cookie != cookie) continue;
		if (op->kind == OP_PUT || (op->kind == OP_GET && !op->buffers))
			return verbs_fail(c->tp, DPI_ERR_UNSUPPORTED, "the device is at the operation's memory; it can only be taken back with the connection");
		op->cancelled = true;
		return DPI_SUCCESS;
	}
	return DPI_SUCCESS;
}
