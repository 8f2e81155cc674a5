/* SPDX-License-Identifier: Apache-2.0
 * post.c: puts, gets, atomics, messages and flushes. */
#include "fabric.h"

/* Why an operation cannot be posted. */
#define COLD __attribute__((cold, noinline))

static COLD int outside(const DPI_Tp_Remote *r, uint64_t offset, uint64_t size, const char *what)
{
	return fabric_fail(r->tp, DPI_ERR_RANGE, "%s of %llu bytes at offset %llu lies outside the window of %llu bytes", what,
			   (unsigned long long)size, (unsigned long long)offset, (unsigned long long)r->length);
}

static COLD int forbidden(const DPI_Tp_Remote *r, uint32_t access, const char *what)
{
	return fabric_fail(r->tp, DPI_ERR_USE, "the peer's window was not registered for %s (access 0x%x, needs 0x%x)", what,
			   r->access & ~KEY_WORDS, access);
}

static COLD int misaligned(const DPI_Tp_Remote *r, uint64_t offset, const char *what)
{
	return fabric_fail(r->tp, DPI_ERR_RANGE, "%s at offset %llu is not at a multiple of 8", what, (unsigned long long)offset);
}

static COLD int too_large(const DPI_Tp_Remote *r, int count, const char *what)
{
	if (count < 0 || count > MAX_IOV)
		return fabric_fail(r->tp, DPI_ERR_LIMIT, "%s in %d pieces: the libfabric transport takes %d at most; join some or post in parts",
				   what, count, MAX_IOV);
	return fabric_fail(r->tp, DPI_ERR_LIMIT, "%s is larger than the libfabric transport's limit of %d bytes; post it in parts", what,
			   WIRE_PUT_MAX);
}

static inline bool inside(const DPI_Tp_Remote *r, uint64_t offset, uint64_t size)
{
	return offset <= r->length && size <= r->length - offset;
}

static inline bool dead(const DPI_Tp_Endpoint *c)
{
	return c->state != STATE_OPEN || c->broken;
}

/* May it be posted? total: the sum of the pieces. */
static int check(const DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, uint32_t access, const char *what,
		 uint64_t *total)
{
	*total = 0;
	if (dead(r->endpoint)) return dpi_fabric_dead(r->endpoint);
	if (count < 0 || count > MAX_IOV) return too_large(r, count, what);
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len > WIRE_PUT_MAX || *total + iov[i].iov_len > WIRE_PUT_MAX) return too_large(r, count, what);
		*total += iov[i].iov_len;
	}
	if (!inside(r, offset, *total)) return outside(r, offset, *total, what);
	return r->access & access ? DPI_SUCCESS : forbidden(r, access, what);
}

static void frame(struct wire_frame *f, enum wire_op op, const DPI_Tp_Remote *r, uint64_t offset)
{
	*f = (struct wire_frame){ .op = op, .slot = r->slot };
	f->word[2] = offset | (uint64_t)r->generation << 48;
	f->word[3] = r->secret;
}

static int notify_check(const DPI_Tp_Remote *r, const DPI_Tp_Notify *n)
{
	if (n->offset == DPI_TP_NO_OFFSET) return DPI_SUCCESS;
	if (n->offset & 7 || !(r->access & KEY_WORDS)) return misaligned(r, n->offset, "a notification's word");
	return inside(r, n->offset, 8) ? DPI_SUCCESS : outside(r, n->offset, 8, "a notification's word");
}

/* May pieces so large go by the provider's own writes or reads? A window is asked for once; until the grant comes they go by messages. */
static bool direct(DPI_Tp_Remote *r, uint64_t total, uint64_t least)
{
	struct wire_frame f;
	if (total < least) return false;
	if (r->grant == GRANT_NONE) {
		frame(&f, WIRE_USE, r, 0);
		r->grant = dpi_fabric_frame(r->endpoint, &f, true) ? GRANT_ASKED : GRANT_REFUSED;
	}
	return r->grant == GRANT_GIVEN;
}

/* An item of caller's pieces. NULL: no memory. */
static struct fabric_item *item(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, uint64_t total, bool read,
				bool by_provider, void *cookie)
{
	DPI_Tp_Endpoint *c = r->endpoint;
	DPI_Tp *tp = c->tp;
	struct fabric_item *i = dpi_fabric_item(c, by_provider ? ITEM_DIRECT : ITEM_PUT, true);
	if (!i) return NULL;
	i->remote = r;
	i->cookie = cookie;
	i->left = total;
	i->read = read;
	frame(&i->frame, WIRE_PUT, r, offset);
	for (int k = 0; k < count; k++)
		if (iov[k].iov_len) i->iov[i->count++] = iov[k];
	for (int k = 0; by_provider && tp->mr_local && k < i->count; k++) {
		uint64_t access = read ? FI_READ : FI_WRITE;
		if (!dpi_fabric_register(tp, c->ep, i->iov[k].iov_base, i->iov[k].iov_len, access, &i->mr[k])) continue;
		dpi_fabric_item_free(c, i);
		return NULL;
	}
	return i;
}

/* Run it, or let it wait. */
static int start(DPI_Tp_Endpoint *c, struct fabric_item *i)
{
	int error = c->head ? DPI_ERR_AGAIN : dpi_fabric_run(c, i);
	if (error == DPI_ERR_PEER && !i->done && !i->flying) {
		dpi_fabric_item_free(c, i);
		return dpi_fabric_dead(c);
	}
	if (!error && i->work == ITEM_PUT) {
		dpi_fabric_item_free(c, i);
		return DPI_SUCCESS;
	}
	i->remote->pending++;
	if (error || !i->flying) {
		dpi_fabric_enqueue(c, i); /* a link that broke is dropped by progress */
	} else {
		i->next = c->flying;
		c->flying = i;
	}
	return DPI_TP_PENDING;
}

static int put_small(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify, uint32_t flags)
{
	DPI_Tp_Endpoint *c = r->endpoint;
	struct wire_frame f;
	if (c->head || (c->writes && notify && !c->tp->choice.order_saw)) return DPI_ERR_AGAIN;
	frame(&f, notify ? WIRE_PUT_NOTIFY : WIRE_PUT, r, offset);
	if (notify) {
		f.word[4] = notify->offset;
		f.word[5] = notify->value;
		f.word[6] = notify->bell;
	}
	int error = flags & DPI_TP_MORE ? dpi_fabric_hold(c, &f, iov, count) : dpi_fabric_message(c, &f, iov, count, true);
	if (error == DPI_ERR_PEER) return dpi_fabric_dead(c);
	if (!error) c->puts++;
	return error;
}

/* By the provider's writes; a notification follows as a message of its own. */
static int put_direct(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, uint64_t total, const DPI_Tp_Notify *notify,
		      void *cookie)
{
	DPI_Tp_Endpoint *c = r->endpoint;
	struct fabric_item *i = item(r, iov, count, offset, total, false, true, cookie), *n = NULL;
	if (!i) return DPI_ERR_UNSUPPORTED;
	if (notify) {
		n = dpi_fabric_item(c, ITEM_FRAME, true);
		if (!n) {
			dpi_fabric_item_free(c, i);
			return fabric_fail(c->tp, DPI_ERR_MEMORY, "no memory for a put to node %d", c->node);
		}
		frame(&n->frame, WIRE_PUT_NOTIFY, r, 0);
		n->frame.word[4] = notify->offset;
		n->frame.word[5] = notify->value;
		n->frame.word[6] = notify->bell;
		n->after_writes = !c->tp->choice.order_saw;
	}
	int error = start(c, i);
	if (error == DPI_TP_PENDING) c->puts++;
	if (n && error == DPI_TP_PENDING && (c->head || dpi_fabric_run(c, n))) dpi_fabric_enqueue(c, n);
	else if (n) dpi_fabric_item_free(c, n);
	return error;
}

int dpi_fabric_put(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify, uint32_t flags,
		   void *cookie)
{
	DPI_Tp_Endpoint *c = r->endpoint;
	uint64_t total;
	int error = check(r, iov, count, offset, DPI_TP_WRITE, "a put", &total);
	if (!error && notify) error = notify_check(r, notify);
	if (error || (!total && !notify)) return error;
	if (total <= COPY_MAX) return put_small(r, iov, count, offset, notify, flags);
	if (c->own + 2 > OWN) return DPI_ERR_AGAIN;
	if (direct(r, total, c->tp->write_min)) {
		error = put_direct(r, iov, count, offset, total, notify, cookie);
		if (error != DPI_ERR_UNSUPPORTED) return error;
	}
	struct fabric_item *i = item(r, iov, count, offset, total, false, false, cookie);
	if (!i) return fabric_fail(c->tp, DPI_ERR_MEMORY, "no memory for a put to node %d", c->node);
	i->notify = notify;
	if (notify) i->then = *notify;
	i->after_writes = notify && !c->tp->choice.order_saw;
	error = start(c, i);
	if (!error || error == DPI_TP_PENDING) c->puts++;
	return error;
}

/* Send a request, with its number in that word of the header, and note what its answer does. */
static int ask(DPI_Tp_Endpoint *c, struct wire_frame *f, int word, const struct fabric_request *request, bool after_writes)
{
	if (c->asked - c->answered == OUTSTANDING || c->own + 1 > OWN) return DPI_ERR_AGAIN;
	f->word[word] = c->asked;
	if (c->head || (after_writes && c->writes)) {
		struct fabric_item *i = dpi_fabric_item(c, ITEM_FRAME, true);
		if (!i) return fabric_fail(c->tp, DPI_ERR_MEMORY, "no memory for a request to node %d", c->node);
		i->frame = *f;
		i->after_writes = after_writes;
		dpi_fabric_enqueue(c, i);
	} else {
		int error = dpi_fabric_message(c, f, NULL, 0, true);
		if (error == DPI_ERR_PEER) return dpi_fabric_dead(c);
		if (error) return error;
	}
	c->request[c->asked++ % OUTSTANDING] = *request;
	if (request->remote) request->remote->pending++;
	return DPI_TP_PENDING;
}

int dpi_fabric_get(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, void *cookie)
{
	DPI_Tp_Endpoint *c = r->endpoint;
	struct wire_frame f;
	uint64_t total;
	int error = check(r, iov, count, offset, DPI_TP_READ, "a get", &total);
	if (error || !total) return error;
	if (c->own + 2 > OWN) return DPI_ERR_AGAIN;
	if (direct(r, total, DIRECT_MIN)) {
		struct fabric_item *i = item(r, iov, count, offset, total, true, true, cookie);
		if (i) return start(c, i);
	}
	struct fabric_request q = { .answer = WIRE_GOT, .length = total, .remote = r, .cookie = cookie };
	for (int i = 0; i < count; i++)
		if (iov[i].iov_len) q.iov[q.count++] = iov[i];
	frame(&f, WIRE_GET, r, offset);
	f.word[5] = total;
	return ask(c, &f, 4, &q, false);
}

static int atomic(DPI_Tp_Remote *r, struct wire_frame *f, enum wire_op op, uint64_t offset, void *cookie)
{
	static const struct iovec word = { NULL, 8 };
	struct fabric_request q = { .answer = WIRE_WORD, .remote = r, .cookie = cookie };
	uint64_t total;
	int error = offset & 7 ? misaligned(r, offset, "an atomic operation")
			       : check(r, &word, 1, offset, DPI_TP_ATOMIC, "an atomic operation", &total);
	if (error) return error;
	uint64_t five = f->word[5], six = f->word[6];
	frame(f, op, r, offset);
	f->word[5] = five;
	f->word[6] = six;
	return ask(r->endpoint, f, 4, &q, false);
}

/* The result comes with the completion. */
int dpi_fabric_fetch_add(DPI_Tp_Remote *r, uint64_t offset, uint64_t operand, uint64_t *result, void *cookie)
{
	struct wire_frame f = { .word[5] = operand };
	(void)result;
	return atomic(r, &f, WIRE_ADD, offset, cookie);
}

int dpi_fabric_compare_swap(DPI_Tp_Remote *r, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result, void *cookie)
{
	struct wire_frame f = { .word[5] = expected, .word[6] = desired };
	(void)result;
	return atomic(r, &f, WIRE_SWAP, offset, cookie);
}

int dpi_fabric_flush(DPI_Tp_Endpoint *c, void *cookie)
{
	if (dead(c)) return dpi_fabric_dead(c);
	if (c->puts == c->flushed) return DPI_SUCCESS;
	struct wire_frame f = { .op = WIRE_FLUSH };
	struct fabric_request q = { .answer = WIRE_FLUSHED, .cookie = cookie, .puts = c->puts };
	return ask(c, &f, 2, &q, !c->tp->choice.order_saw);
}

int dpi_fabric_send(DPI_Tp_Endpoint *c, const void *bytes, size_t size, uint32_t flags)
{
	struct wire_frame f = { .op = WIRE_SEND_OP };
	struct iovec v = { (void *)(uintptr_t)bytes, size };
	if (dead(c)) return dpi_fabric_dead(c);
	if (size > WIRE_SEND)
		return fabric_fail(c->tp, DPI_ERR_SIZE,
				   "a message of %zu bytes is larger than the libfabric transport's limit of %d; put it into a window instead", size,
				   WIRE_SEND);
	if (c->head) return DPI_ERR_AGAIN;
	int error = flags & DPI_TP_MORE ? dpi_fabric_hold(c, &f, &v, 1) : dpi_fabric_message(c, &f, &v, 1, true);
	return error == DPI_ERR_PEER ? dpi_fabric_dead(c) : error;
}

/* Of a put that has not gone out as a whole the rest is dropped; an answer still to come is, too. What the provider reads or writes by
 * itself cannot be taken back one by one. */
int dpi_fabric_cancel(DPI_Tp_Endpoint *c, void *cookie)
{
	struct fabric_item *i;
	for (struct fabric_item **p = &c->head; (i = *p); p = &i->next) {
		if (!i->remote || i->cookie != cookie) continue;
		if (i->flying) goto cannot;
		*p = i->next;
		if (!i->next) c->tail = p;
		i->remote->pending--;
		dpi_fabric_item_free(c, i);
		return DPI_SUCCESS;
	}
	for (i = c->flying; i; i = i->next)
		if (i->cookie == cookie) goto cannot;
	for (uint64_t k = c->answered; k != c->asked; k++) {
		struct fabric_request *q = &c->request[k % OUTSTANDING];
		if (q->cookie != cookie || q->cancelled) continue;
		q->cancelled = true;
		if (q->remote) q->remote->pending--;
		q->remote = NULL;
		return DPI_SUCCESS;
	}
	return DPI_SUCCESS; /* it has completed */
cannot:
	return fabric_fail(c->tp, DPI_ERR_UNSUPPORTED,
			   "the provider has the operation and cannot give it back; only a disconnect sets its memory free");
}
