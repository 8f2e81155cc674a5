/* SPDX-License-Identifier: Apache-2.0
 * queue.c: what goes out: messages at once where possible, else in the link's queue, in order. */
#include <stdlib.h>

#include "fabric.h"

/* ------------------------------------------------------------------------------------------------------ messages */

/* The provider's answer to a post. */
static int taken(DPI_Tp_Endpoint *c, ssize_t n)
{
	if (!n) {
		c->stuck = 0;
		c->tp->nap_anew = true;
		return DPI_SUCCESS;
	}
	if (n == -FI_EAGAIN) {
		if (c->sends + c->directs < c->tp->room && !c->stuck) c->stuck = dpi_fabric_now();
		return DPI_ERR_AGAIN;
	}
	c->broken = (int)-n;
	return DPI_ERR_PEER;
}

static size_t write_frame(const DPI_Tp_Endpoint *c, uint8_t *to, struct wire_frame *f, const struct iovec *iov, int count)
{
	if (f->op != WIRE_HELLO) f->word[1] = c->tag_theirs;
	size_t at = dpi_fabric_write(to, f);
	for (int i = 0; i < count; i++) {
		if (f->op == WIRE_GOT) dpi_words_load(to + at, iov[i].iov_base, iov[i].iov_len);
		else if (iov[i].iov_len) memcpy(to + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	return at;
}

int dpi_fabric_ship(DPI_Tp_Endpoint *c)
{
	DPI_Tp *tp = c->tp;
	struct fabric_op *op = c->held;
	unsigned credits = c->owed < 255 ? c->owed : 255;
	bool inject = c->held_size <= tp->inject;
	if (!op) return DPI_SUCCESS;
	if (c->broken || !c->ep) return DPI_ERR_PEER;
	op->bytes[WIRE_CREDITS_AT] = (uint8_t)credits;
	op->bytes[WIRE_NUMBER_AT] = c->number;
	int error = taken(c, inject ? fi_inject(c->ep, op->bytes, c->held_size, c->to)
				    : fi_send(c->ep, op->bytes, c->held_size, op->desc, c->to, &op->context));
	c->blocked = error;
	if (error) return error;
	if (inject) dpi_fabric_op_done(tp, op);
	else c->sends++;
	c->number++;
	c->owed -= credits;
	c->held = NULL;
	c->late = false;
	tp->holding--;
	return DPI_SUCCESS;
}

/* Is there room in the message that is held, or can one be begun? */
static int room_held(DPI_Tp_Endpoint *c, size_t size)
{
	if (c->held && c->held_size + size > c->tp->message) {
		int error = dpi_fabric_ship(c);
		if (error) return error;
	}
	if (c->held) return DPI_SUCCESS;
	if (!c->credits) return DPI_ERR_AGAIN;
	c->held = dpi_fabric_op(c, OP_SEND);
	if (!c->held) {
		c->broken = FI_ENOMEM;
		return DPI_ERR_PEER;
	}
	c->credits--;
	c->held_size = 0;
	c->tp->holding++;
	return DPI_SUCCESS;
}

static size_t size_of(struct wire_frame *f, const struct iovec *iov, int count)
{
	f->length = 0;
	for (int i = 0; i < count; i++) f->length += (uint32_t)iov[i].iov_len;
	return dpi_fabric_shape[f->op].words * 8u + f->length;
}

static bool connected(const DPI_Tp_Endpoint *c)
{
	return c->tp->choice.message ? c->connected : c->to != FI_ADDR_UNSPEC;
}

int dpi_fabric_hold(DPI_Tp_Endpoint *c, struct wire_frame *f, const struct iovec *iov, int count)
{
	if (c->broken || !c->ep) return DPI_ERR_PEER;
	if (!connected(c)) return DPI_ERR_AGAIN;
	int error = room_held(c, size_of(f, iov, count));
	if (error) return error;
	f->credits = 0;
	c->held_size += write_frame(c, c->held->bytes + c->held_size, f, iov, count);
	c->late = false;
	return DPI_SUCCESS;
}

int dpi_fabric_message(DPI_Tp_Endpoint *c, struct wire_frame *f, const struct iovec *iov, int count, bool credit)
{
	DPI_Tp *tp = c->tp;
	uint8_t small[256], *to = small;
	struct fabric_op *op = NULL;
	if (c->held && credit) {
		int error = dpi_fabric_hold(c, f, iov, count);
		if (error) return error;
		return dpi_fabric_ship(c) == DPI_ERR_PEER ? DPI_ERR_PEER : DPI_SUCCESS;
	}
	if (c->held) {
		int error = dpi_fabric_ship(c);
		if (error) return error;
	}
	if (c->broken || !c->ep) return DPI_ERR_PEER;
	if ((credit && !c->credits) || !connected(c)) return DPI_ERR_AGAIN;
	size_t size = size_of(f, iov, count);
	bool inject = size <= tp->inject && size <= sizeof small;
	if (!inject) {
		op = dpi_fabric_op(c, OP_SEND);
		if (!op) {
			c->broken = FI_ENOMEM;
			return DPI_ERR_PEER;
		}
		to = op->bytes;
	}
	bool numbered = f->op != WIRE_HELLO && c->state != STATE_DOOR;
	f->credits = c->owed < 255 ? c->owed : 255;
	write_frame(c, to, f, iov, count);
	if (numbered) to[WIRE_NUMBER_AT] = c->number;
	int error = taken(c, inject ? fi_inject(c->ep, small, size, c->to) : fi_send(c->ep, to, size, op->desc, c->to, &op->context));
	if (error && op) dpi_fabric_op_done(tp, op);
	if (error) return error;
	if (op) c->sends++;
	c->number += numbered;
	c->owed -= f->credits;
	if (credit) c->credits--;
	return DPI_SUCCESS;
}

/* --------------------------------------------------------------------------------------------------------- items */

struct fabric_item *dpi_fabric_item(DPI_Tp_Endpoint *c, enum fabric_work work, bool own)
{
	struct fabric_item *i = calloc(1, sizeof *i);
	if (!i) return NULL;
	i->work = work;
	i->own = own;
	if (own) c->own++;
	else c->answers++;
	return i;
}

void dpi_fabric_item_free(DPI_Tp_Endpoint *c, struct fabric_item *i)
{
	if (i->own) c->own--;
	else c->answers--;
	for (int k = 0; k < i->count; k++)
		if (i->mr[k]) fi_close(&i->mr[k]->fid);
	free(i->copy);
	free(i);
}

void dpi_fabric_enqueue(DPI_Tp_Endpoint *c, struct fabric_item *i)
{
	i->next = NULL;
	*c->tail = i;
	c->tail = &i->next;
}

bool dpi_fabric_frame(DPI_Tp_Endpoint *c, const struct wire_frame *f, bool own)
{
	struct wire_frame now = *f;
	if (!c->head) {
		int error = dpi_fabric_message(c, &now, NULL, 0, true);
		if (error != DPI_ERR_AGAIN) return true; /* a broken link is found out by progress */
	}
	if (c->answers >= ANSWERS && !own) return false;
	struct fabric_item *i = dpi_fabric_item(c, ITEM_FRAME, own);
	if (!i) return false;
	i->frame = *f;
	dpi_fabric_enqueue(c, i);
	return true;
}

bool dpi_fabric_late(DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	struct wire_frame now = *f;
	bool late = !c->held || c->late;
	if (c->head || dpi_fabric_hold(c, &now, NULL, 0)) return dpi_fabric_frame(c, f, false);
	c->late = late;
	return true;
}

/* The next at most size bytes of what is left, as pieces; at most room of them. Returns their number; size: out. */
static int next_pieces(const struct fabric_item *i, struct iovec *to, int room, uint64_t *size)
{
	uint64_t want = *size < i->left ? *size : i->left, got = 0;
	int n = 0;
	for (int k = i->at; k < i->count && n < room && got < want; k++) {
		uint64_t here = i->iov[k].iov_len < want - got ? i->iov[k].iov_len : want - got;
		if (!here) continue;
		to[n++] = (struct iovec){ i->iov[k].iov_base, here };
		got += here;
	}
	*size = got;
	return n;
}

static void advance(struct fabric_item *i, uint64_t size)
{
	i->done += size;
	i->left -= size;
	while (size || (i->at < i->count && !i->iov[i->at].iov_len)) {
		struct iovec *v = &i->iov[i->at];
		uint64_t here = v->iov_len < size ? v->iov_len : size;
		v->iov_base = (uint8_t *)v->iov_base + here;
		v->iov_len -= here;
		size -= here;
		if (!v->iov_len) i->at++;
	}
}

/* Where a message ends that is not the last: at the end of a word of the window. */
static uint64_t piece_size(const DPI_Tp *tp, uint64_t offset, uint64_t left)
{
	uint64_t payload = tp->message - WIRE_HEADER;
	return left <= payload ? left : payload - ((offset + payload) & 7);
}

static int run_put(DPI_Tp_Endpoint *c, struct fabric_item *i)
{
	struct iovec v[MAX_IOV];
	do {
		struct wire_frame f = i->frame;
		uint64_t size = piece_size(c->tp, wire_offset(&f) + i->done, i->left);
		bool last = size == i->left;
		int n = next_pieces(i, v, MAX_IOV, &size);
		if (last && i->after_writes && c->writes) return DPI_ERR_AGAIN;
		f.op = last && i->notify ? WIRE_PUT_NOTIFY : WIRE_PUT;
		f.word[2] += i->done;
		if (f.op == WIRE_PUT_NOTIFY) {
			f.word[4] = i->then.offset;
			f.word[5] = i->then.value;
			f.word[6] = i->then.bell;
		}
		int error = dpi_fabric_message(c, &f, v, n, true);
		if (error) return error;
		advance(i, size);
	} while (i->left);
	return DPI_SUCCESS;
}

static int run_answer(DPI_Tp_Endpoint *c, struct fabric_item *i)
{
	do {
		struct wire_frame f = i->frame;
		struct iovec v = { NULL, 0 };
		if (!i->window) {
			f.slot = DPI_ERR_DESTROYED;
			return dpi_fabric_message(c, &f, NULL, 0, true);
		}
		f.word[3] = i->done;
		v.iov_base = (uint8_t *)i->iov[0].iov_base + i->done;
		v.iov_len = piece_size(c->tp, (uintptr_t)v.iov_base & 7, i->left);
		int error = dpi_fabric_message(c, &f, &v, 1, true);
		if (error) return error;
		i->done += v.iov_len;
		i->left -= v.iov_len;
	} while (i->left);
	return DPI_SUCCESS;
}

/* Reads and writes by the provider. */
static int run_direct(DPI_Tp_Endpoint *c, struct fabric_item *i)
{
	DPI_Tp *tp = c->tp;
	DPI_Tp_Remote *r = i->remote;
	while (i->left && r->grant == GRANT_GIVEN) {
		struct iovec v[MAX_IOV];
		void *desc[MAX_IOV];
		uint64_t size = tp->message_max;
		if (c->directs >= FLYING) return DPI_ERR_AGAIN;
		int first = i->at;
		while (first < i->count && !i->iov[first].iov_len) first++;
		int n = next_pieces(i, v, (int)tp->rma_limit, &size);
		for (int k = first, m = 0; m < n; k++)
			if (i->iov[k].iov_len) desc[m++] = i->mr[k] ? fi_mr_desc(i->mr[k]) : NULL;
		struct fabric_op *op = dpi_fabric_op(c, OP_DIRECT);
		if (!op) {
			c->broken = FI_ENOMEM;
			return DPI_ERR_PEER;
		}
		struct fi_rma_iov to = { r->base + wire_offset(&i->frame) + i->done, size, r->key };
		struct fi_msg_rma m = { .msg_iov = v, .desc = desc, .iov_count = (size_t)n, .addr = c->to, .rma_iov = &to, .rma_iov_count = 1,
					.context = &op->context };
		uint64_t flags = FI_COMPLETION | (tp->choice.order_saw || i->read ? 0 : FI_DELIVERY_COMPLETE);
		op->item = i;
		int error = taken(c, i->read ? fi_readmsg(c->ep, &m, FI_COMPLETION) : fi_writemsg(c->ep, &m, flags));
		if (error) {
			dpi_fabric_op_done(tp, op);
			return error;
		}
		i->flying++;
		r->flying++;
		c->directs++;
		c->writes += !i->read;
		advance(i, size);
	}
	if (i->left && i->read) i->error = DPI_ERR_DESTROYED; /* its window has gone; the rest of a write would be dropped */
	i->all_posted = true;
	return DPI_SUCCESS;
}

int dpi_fabric_run(DPI_Tp_Endpoint *c, struct fabric_item *i)
{
	struct iovec v = { i->copy, i->frame.length };
	struct wire_frame f;
	switch (i->work) {
	case ITEM_PUT: return run_put(c, i);
	case ITEM_ANSWER: return run_answer(c, i);
	case ITEM_DIRECT: return run_direct(c, i);
	case ITEM_FRAME: break;
	}
	if (i->after_writes && c->writes) return DPI_ERR_AGAIN;
	f = i->frame;
	if (i->next && f.op != WIRE_WELCOME) return dpi_fabric_hold(c, &f, &v, i->copy ? 1 : 0);
	return dpi_fabric_message(c, &f, &v, i->copy ? 1 : 0, f.op != WIRE_WELCOME);
}

/* ------------------------------------------------------------------------------------------------- from progress */

static void finish(DPI_Tp_Endpoint *c, struct fabric_item *i, int error)
{
	const DPI_Tp_Core *core = c->tp->core;
	void *cookie = i->cookie;
	bool told = i->work == ITEM_PUT || i->work == ITEM_DIRECT;
	if (told && i->remote) i->remote->pending--;
	told = told && i->remote;
	dpi_fabric_item_free(c, i);
	if (!told) return;
	c->tp->events++;
	core->complete(core->self, cookie, error, 0);
}

void dpi_fabric_give_back(DPI_Tp_Endpoint *c)
{
	struct wire_frame f = { .op = WIRE_CREDIT };
	bool welcomed = !c->head || c->head->frame.op != WIRE_WELCOME;
	if (welcomed) dpi_fabric_message(c, &f, NULL, 0, false);
}

void dpi_fabric_serve(DPI_Tp_Endpoint *c)
{
	int error = DPI_SUCCESS;
	while (c->state == STATE_OPEN && c->head) {
		struct fabric_item *i = c->head;
		error = dpi_fabric_run(c, i);
		if (error) break;
		c->tp->events++;
		c->head = i->next;
		if (!c->head) c->tail = &c->head;
		if (i->flying) {
			i->next = c->flying;
			c->flying = i;
		} else {
			finish(c, i, i->error);
		}
	}
	if (c->held && !c->late) dpi_fabric_ship(c);
	if (c->state == STATE_OPEN && !c->broken && !c->held && (c->owed >= CREDITS / 2 || c->stuck)) dpi_fabric_give_back(c);
	if (c->broken) dpi_fabric_broke(c, c->broken);
}

bool dpi_fabric_runnable(const DPI_Tp_Endpoint *c)
{
	return c->broken || (c->held && !c->blocked) || (c->stuck && !c->sends && !c->directs) || (c->state == STATE_OPENING && !c->greeted);
}

void dpi_fabric_direct_done(struct fabric_op *op, int code)
{
	DPI_Tp_Endpoint *c = op->endpoint;
	struct fabric_item *i = op->item;
	DPI_Tp_Remote *r = i->remote;
	c->directs--;
	c->writes -= !i->read;
	i->flying--;
	dpi_fabric_op_done(c->tp, op);
	if (code && !i->error) i->error = DPI_ERR_PEER;
	r->flying--;
	if (r->revoked && !r->flying) dpi_fabric_revoke_done(r);
	if (c->state != STATE_OPEN || i->flying || !i->all_posted) return;
	for (struct fabric_item **p = &c->flying; *p; p = &(*p)->next)
		if (*p == i) {
			*p = i->next;
			break;
		}
	finish(c, i, i->error);
}

void dpi_fabric_drop(DPI_Tp_Endpoint *c)
{
	const DPI_Tp_Core *core = c->tp->core;
	struct fabric_item *i;
	while ((i = c->flying)) {
		c->flying = i->next;
		i->remote->flying -= i->flying;
		finish(c, i, DPI_ERR_PEER);
	}
	while ((i = c->head)) {
		c->head = i->next;
		if (!c->head) c->tail = &c->head;
		if (i->work == ITEM_DIRECT) i->remote->flying -= i->flying;
		finish(c, i, DPI_ERR_PEER);
	}
	while (c->answered != c->asked) {
		struct fabric_request *q = &c->request[c->answered++ % OUTSTANDING];
		if (q->remote) q->remote->pending--;
		if (!q->cancelled) core->complete(core->self, q->cookie, DPI_ERR_PEER, 0);
	}
}
