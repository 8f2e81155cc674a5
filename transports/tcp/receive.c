/* SPDX-License-Identifier: Apache-2.0
 * receive.c: from the socket to windows, callers' memory and callbacks.
 *
 * Headers and small payloads pass through the receive buffer, as many as one system call brings. A large payload is
 * received where it belongs, together with a little of what follows it. Nothing in a frame is trusted: the parser
 * bounds it, tcp_window ties it to a window, requests are numbered. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tcp.h"

static inline _Atomic uint64_t *word_at(const DPI_Tp_Window *w, uint64_t offset)
{
	return (_Atomic uint64_t *)(void *)(w->address + offset);
}

/* All bytes of a put are in place. The fence orders them before those of later puts and the word of the notification. */
static void put_done(DPI_Tp_Endpoint *c, DPI_Tp_Window *w, bool notify, uint64_t offset, uint64_t value, uint32_t bell)
{
	const DPI_Tp_Core *core = c->tp->core;
	atomic_thread_fence(memory_order_release);
	c->tp->events++;
	if (!notify) return;
	if (w && offset != DPI_TP_NO_OFFSET) atomic_store_explicit(word_at(w, offset), htole64(value), memory_order_release);
	if (w && bell != DPI_TP_NO_BELL) core->ring(core->self, -1, bell);
}

static struct tcp_request *request_now(DPI_Tp_Endpoint *c)
{
	return &c->request[c->answered % OUTSTANDING];
}

static void request_done(DPI_Tp_Endpoint *c, int error, uint64_t result)
{
	const DPI_Tp_Core *core = c->tp->core;
	struct tcp_request *q = request_now(c);
	void *cookie = q->cookie;
	bool cancelled = q->cancelled;
	if (q->answer == WIRE_FLUSHED) c->flushed = q->puts;
	if (q->remote) q->remote->pending--;
	c->answered++;
	c->tp->events++;
	if (!cancelled) core->complete(core->self, cookie, error, result);
}

static void body_done(DPI_Tp_Endpoint *c)
{
	struct tcp_body *b = &c->body;
	DPI_Tp_Window *w = b->window;
	b->window = NULL;
	if (b->kind == BODY_PUT) put_done(c, w, b->notify, b->notify_offset, b->value, b->bell);
	if (b->kind == BODY_ANSWER) request_done(c, DPI_SUCCESS, 0);
}

/* n bytes of the body are in its pieces. */
static void body_advance(struct tcp_body *b, size_t n)
{
	b->left -= n;
	while (n) {
		struct iovec *v = &b->iov[b->at];
		size_t here = v->iov_len < n ? v->iov_len : n;
		v->iov_base = (uint8_t *)v->iov_base + here;
		v->iov_len -= here;
		n -= here;
		if (!v->iov_len) b->at++;
	}
}

/* Take what there is of the body out of the buffer; false: not even a word. */
static bool body_take(DPI_Tp_Endpoint *c)
{
	struct tcp_body *b = &c->body;
	size_t here = c->tail - c->head < b->left ? c->tail - c->head : b->left;
	if (b->dropped) {
		b->left -= here;
	} else if (b->buffered) {
		uint8_t *to = b->iov[0].iov_base;
		if (here < b->left) { /* up to a word's end */
			size_t over = (uintptr_t)(to + here) & 7;
			here = here > over ? here - over : 0;
		}
		dpi_words_store(to, c->rx + c->head, here);
		body_advance(b, here);
	} else {
		for (size_t from = c->head, left = here; left;) {
			size_t n = b->iov[b->at].iov_len < left ? b->iov[b->at].iov_len : left;
			memcpy(b->iov[b->at].iov_base, c->rx + from, n);
			from += n;
			left -= n;
			body_advance(b, n);
		}
	}
	c->head += (uint32_t)here;
	if (!b->left) body_done(c);
	return here != 0;
}

/* c->body says where a payload goes: what of it is in the buffer goes there now. */
static void body_begin(DPI_Tp_Endpoint *c, size_t length)
{
	c->body.left = length;
	if (!length)
		body_done(c);
	else if (c->head < c->tail)
		body_take(c);
	if (c->body.left && !c->body.buffered) c->ahead = AHEAD_MIN;
}

/* Drop a payload. */
static void body_drop(DPI_Tp_Endpoint *c, size_t length)
{
	c->body = (struct tcp_body){ .dropped = true, .buffered = true };
	body_begin(c, length);
}

/* A frame is taken when size bytes of it are there: the next receive has room for them. */
static bool wait_for(DPI_Tp_Endpoint *c, size_t size)
{
	size_t missing = size - (c->tail - c->head) + AHEAD_MIN;
	if (c->ahead < missing) c->ahead = (uint32_t)missing;
	return false;
}

/* Each take_ function gets a frame whose header of size bytes is at head. false: wait for the rest of its payload. */
static bool take_put(DPI_Tp_Endpoint *c, const struct wire_frame *f, size_t header)
{
	bool notify = f->op == WIRE_PUT_NOTIFY;
	size_t have = c->tail - c->head - header;
	if (f->length < DIRECT_MIN && have < f->length) return wait_for(c, header + f->length);
	DPI_Tp_Window *w = tcp_window(c, f, f->length, DPI_TP_WRITE);
	if (!w && !dpi_tcp_window_stale(c, f, f->length, DPI_TP_WRITE)) return true;
	c->head += (uint32_t)header;
	if (!w) {
		body_drop(c, f->length);
		return true;
	}
	if (notify && f->word[3] != DPI_TP_NO_OFFSET &&
	    (f->word[3] > w->length || w->length - f->word[3] < 8 || (uintptr_t)(w->address + f->word[3]) & 7)) {
		dpi_tcp_refuse(c, "a notification's word at offset %llu is not one of window %u of %llu bytes",
			       (unsigned long long)f->word[3], f->slot, (unsigned long long)w->length);
		return true;
	}
	uint8_t *to = w->address + wire_offset(f);
	if (have >= f->length) {
		dpi_words_store(to, c->rx + c->head, f->length);
		c->head += f->length;
		put_done(c, w, notify, f->word[3], f->word[4], (uint32_t)f->word[5]);
		return true;
	}
	c->body = (struct tcp_body){ .kind = BODY_PUT, .window = w, .count = 1, .iov = { { to, f->length } } };
	c->body.buffered = w->access & DPI_TP_ATOMIC;
	if (notify) {
		c->body.notify = true;
		c->body.notify_offset = f->word[3];
		c->body.value = f->word[4];
		c->body.bell = (uint32_t)f->word[5];
	}
	body_begin(c, f->length);
	return true;
}

/* May the peer ask once more, and is this its next number? The peer never has more than OUTSTANDING requests open, and
 * for the answers to as many there is always room. */
static bool may_ask(DPI_Tp_Endpoint *c, uint64_t sequence)
{
	if (c->end - c->reported == PIECES) dpi_tcp_report(c);
	if (c->state != STATE_OPEN) return false;
	if (sequence != c->serving) {
		dpi_tcp_refuse(c, "request %llu came where %llu was due", (unsigned long long)sequence,
			       (unsigned long long)c->serving);
		return false;
	}
	if (c->end - c->reported == PIECES || tcp_queued(c) + 24 > SEND_BUFFER - WIRE_MAX_ERROR - 16) {
		dpi_tcp_refuse(c, "more than %d requests are unanswered", OUTSTANDING);
		return false;
	}
	c->serving++;
	c->tp->events++;
	return true;
}

static void take_get(DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	if (!may_ask(c, f->word[3])) return;
	DPI_Tp_Window *w = tcp_window(c, f, f->length, DPI_TP_READ);
	if (!w && !dpi_tcp_window_stale(c, f, f->length, DPI_TP_READ)) return;
	struct wire_frame a = { .op = WIRE_GOT, .slot = w ? DPI_SUCCESS : DPI_ERR_DESTROYED, .length = w ? f->length : 0 };
	a.word[1] = f->word[3];
	bool copy = f->length <= COPY_MAX && tcp_queued(c) + 16 + f->length <= SEND_BUFFER - SEND_RESERVE;
	tcp_append_frame(c, &a);
	c->late = false;
	dpi_tcp_mark(c);
	if (!w || !f->length) return;
	const uint8_t *from = w->address + wire_offset(f);
	if (copy) {
		uint8_t bytes[COPY_MAX];
		dpi_words_load(bytes, from, f->length);
		tcp_append(c, bytes, f->length);
		return;
	}
	struct tcp_piece p = { .memory = from, .left = f->length, .kind = PIECE_ANSWER, .window = w };
	w->answers++;
	dpi_tcp_append_piece(c, &p);
}

static void take_atomic(DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	struct wire_frame a = { .op = WIRE_WORD };
	if (!may_ask(c, f->word[3])) return;
	DPI_Tp_Window *w = tcp_window(c, f, 8, DPI_TP_ATOMIC);
	if (!w && !dpi_tcp_window_stale(c, f, 8, DPI_TP_ATOMIC)) return;
	if (w && wire_offset(f) & 7) {
		dpi_tcp_refuse(c, "an atomic operation at offset %llu is not at a multiple of 8",
			       (unsigned long long)wire_offset(f));
		return;
	}
	a.word[1] = f->word[3];
	if (!w) {
		a.slot = DPI_ERR_DESTROYED;
	} else if (f->op == WIRE_ADD) {
		a.word[2] = atomic_fetch_add(word_at(w, wire_offset(f)), f->word[4]);
	} else {
		a.word[2] = f->word[4];
		atomic_compare_exchange_strong(word_at(w, wire_offset(f)), &a.word[2], f->word[5]);
	}
	tcp_append_frame(c, &a);
	c->late = false;
	dpi_tcp_mark(c);
}

static void take_flush(DPI_Tp_Endpoint *c, const struct wire_frame *f)
{
	struct wire_frame a = { .op = WIRE_FLUSHED };
	if (!may_ask(c, f->word[1])) return;
	a.word[1] = f->word[1];
	tcp_append_frame(c, &a);
	/* What was flushed is for a caller who may answer it at once: then this goes along, in one system call instead of two. If not,
	 * the next round of progress sends it. */
	if (!c->dirty) c->late = true;
	dpi_tcp_mark(c);
}

static bool take_answer(DPI_Tp_Endpoint *c, const struct wire_frame *f, size_t header)
{
	struct tcp_request *q = request_now(c);
	bool failed = f->slot != DPI_SUCCESS;
	if (c->answered == c->asked || f->word[1] != c->answered || q->answer != f->op ||
	    f->length != (failed ? 0 : q->length) || (failed && f->slot != DPI_ERR_DESTROYED)) {
		dpi_tcp_refuse(c, "an answer (kind %u, number %llu, %u bytes, status %u) fits no request", f->op,
			       (unsigned long long)f->word[1], f->length, f->slot);
		return true;
	}
	if (f->op == WIRE_GOT && !failed) {
		size_t have = c->tail - c->head - header;
		if (f->length < DIRECT_MIN && have < f->length) return wait_for(c, header + f->length);
		c->head += (uint32_t)header;
		c->body = (struct tcp_body){ .kind = BODY_ANSWER, .count = q->count };
		c->body.dropped = c->body.buffered = q->cancelled;
		memcpy(c->body.iov, q->iov, (size_t)q->count * sizeof *q->iov);
		body_begin(c, f->length);
		return true;
	}
	c->head += (uint32_t)header;
	request_done(c, (int)f->slot, f->op == WIRE_WORD && !failed ? f->word[2] : 0);
	return true;
}

static void take_error(DPI_Tp_Endpoint *c, const uint8_t *text, size_t size)
{
	char clean[WIRE_MAX_ERROR + 1];
	for (size_t i = 0; i < size; i++) clean[i] = text[i] >= ' ' && text[i] < 127 ? (char)text[i] : '?';
	clean[size] = 0;
	dpi_tcp_lose(c,
		     "node %d (%s) ended the connection because of what it got from here: "
		     "%s; this is a defect, or the nodes run different libraries",
		     c->node, c->name, clean);
}

/* Take one frame. false: it is not whole yet. */
static bool take(DPI_Tp_Endpoint *c)
{
	const DPI_Tp_Core *core = c->tp->core;
	struct wire_frame f;
	int header = wire_parse(c->rx + c->head, c->tail - c->head, &f);
	if (!header) return false;
	if (header < 0) {
		dpi_tcp_refuse(c, "a frame of kind %u, %u bytes and slot %u is not one of version %d of the protocol", f.op,
			       f.length, f.slot, WIRE_VERSION);
		return true;
	}
	switch (f.op) {
	case WIRE_PUT:
	case WIRE_PUT_NOTIFY: return take_put(c, &f, (size_t)header);
	case WIRE_GOT:
	case WIRE_WORD:
	case WIRE_FLUSHED: return take_answer(c, &f, (size_t)header);
	case WIRE_SEND:
	case WIRE_ERROR:
		if (c->tail - c->head - (uint32_t)header < f.length) return wait_for(c, (size_t)header + f.length);
	}
	const uint8_t *payload = c->rx + c->head + header;
	c->head += (uint32_t)header;
	switch (f.op) {
	case WIRE_GET: take_get(c, &f); break;
	case WIRE_ADD:
	case WIRE_SWAP: take_atomic(c, &f); break;
	case WIRE_FLUSH: take_flush(c, &f); break;
	case WIRE_SEND:
		c->head += f.length;
		c->tp->events++;
		core->deliver(core->self, c->node, payload, f.length);
		break;
	case WIRE_BYE: dpi_tcp_lose(c, "node %d (%s) has left or given up the connection", c->node, c->name); break;
	case WIRE_ERROR: take_error(c, payload, f.length); break;
	case WIRE_KEEP: dpi_tcp_refuse(c, "it keeps a connection that it was not asked about"); break;
	}
	return true;
}

/* The iovec of the next receive; returns its pieces. */
static int room(DPI_Tp_Endpoint *c, struct iovec *iov, size_t *total)
{
	struct tcp_body *b = &c->body;
	int count = 0;
	if (!b->left || b->buffered) {
		if (c->head) memmove(c->rx, c->rx + c->head, c->tail - c->head);
		c->tail -= c->head;
		c->head = 0;
		*total = RECEIVE_BUFFER - c->tail;
		if (!b->left && *total > c->ahead) *total = c->ahead;
		iov[0] = (struct iovec){ c->rx + c->tail, *total };
		return 1;
	}
	for (int i = b->at; i < b->count; i++) iov[count++] = b->iov[i];
	c->head = c->tail = 0;
	iov[count++] = (struct iovec){ c->rx, AHEAD_MIN };
	*total = b->left + AHEAD_MIN;
	return count;
}

static void ended(DPI_Tp_Endpoint *c, ssize_t n)
{
	int error = n == 0 ? 0 : c->broken ? c->broken : errno;
	if (error)
		dpi_tcp_lose(c, "the tcp connection to node %d (%s) broke: %s; its process has probably died", c->node,
			     c->name, strerror(error));
	else
		dpi_tcp_lose(c, "node %d (%s) closed the tcp connection without a goodbye; its process has probably died",
			     c->node, c->name);
}

void dpi_tcp_receive(DPI_Tp_Endpoint *c)
{
	for (int round = 0; round < RECEIVE_ROUNDS && c->state == STATE_OPEN; round++) {
		struct tcp_body *b = &c->body;
		struct iovec iov[MAX_IOV + 1];
		size_t total;
		int count = room(c, iov, &total);
		struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)count };
		ssize_t n = count == 1 ? syscall(SYS_recvfrom, c->fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT, NULL, NULL) /* tcp.h */
				       : recvmsg(c->fd, &m, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && !c->broken) return;
		if (n <= 0) {
			ended(c, n);
			return;
		}
		dpi_tcp_heat(c);
		c->tp->events++;
		size_t got = (size_t)n, here = 0;
		if (b->left && !b->buffered) {
			here = b->left < got ? b->left : got;
			body_advance(b, here);
			c->tail = (uint32_t)(got - here);
			if (!b->left) body_done(c);
		} else {
			c->tail += (uint32_t)got;
			if (got == total && !b->left && c->ahead < RECEIVE_BUFFER) c->ahead *= 2;
		}
		while (c->state == STATE_OPEN && c->head < c->tail && (b->left ? body_take(c) : take(c))) continue;
		if (got < total && !c->broken) return; /* the socket is empty */
	}
}
