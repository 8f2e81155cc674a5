/* SPDX-License-Identifier: Apache-2.0
 * post.c: puts, gets, atomics, messages and flushes.
 *
 * A post without DPI_TP_MORE leaves the queue either empty or waiting for EPOLLOUT, so that a thread that sleeps on the
 * lane's descriptor moves it on. EPOLLOUT is switched off by progress alone: a put that a later post has sent out is
 * still to be completed. */
#include "tcp.h"

static bool room(const DPI_Tp_Endpoint *c, size_t bytes, uint32_t pieces)
{
	return tcp_queued(c) + bytes <= SEND_BUFFER - SEND_RESERVE && c->end - c->reported + pieces <= PIECES - OUTSTANDING;
}

/* Room in the queue; DPI_ERR_AGAIN without a sentence: nobody reads it and it happens often. */
static inline int need(DPI_Tp_Endpoint *c, size_t bytes, uint32_t pieces)
{
	if (__builtin_expect(room(c, bytes, pieces), 1)) return DPI_SUCCESS;
	if (!c->blocked) dpi_tcp_transmit(c);
	if (c->broken) return dpi_tcp_dead(c);
	return room(c, bytes, pieces) ? DPI_SUCCESS : DPI_ERR_AGAIN;
}

/* Something was appended. */
static inline void send_or_hold(DPI_Tp_Endpoint *c, uint32_t flags)
{
	if (c->blocked) return;
	if (flags & DPI_TP_MORE && tcp_queued(c) < SEND_AT)
		dpi_tcp_mark(c);
	else
		dpi_tcp_transmit(c);
}

/* Why an operation cannot be posted. */
#define COLD __attribute__((cold, noinline))

static COLD int outside(const DPI_Tp_Remote *r, uint64_t offset, uint64_t size, const char *what)
{
	return tcp_fail(r->tp, DPI_ERR_RANGE, "%s of %llu bytes at offset %llu lies outside the window of %llu bytes", what,
			(unsigned long long)size, (unsigned long long)offset, (unsigned long long)r->length);
}

static COLD int forbidden(const DPI_Tp_Remote *r, uint32_t access, const char *what)
{
	return tcp_fail(r->tp, DPI_ERR_USE, "the peer's window was not registered for %s (access 0x%x, needs 0x%x)", what,
			r->access & ~KEY_WORDS, access);
}

static COLD int misaligned(const DPI_Tp_Remote *r, uint64_t offset, const char *what)
{
	return tcp_fail(r->tp, DPI_ERR_RANGE, "%s at offset %llu is not at a multiple of 8", what,
			(unsigned long long)offset);
}

static COLD int too_large(const DPI_Tp_Remote *r, int count, const char *what)
{
	if (count < 0 || count > MAX_IOV)
		return tcp_fail(r->tp, DPI_ERR_LIMIT, "%s in %d pieces: tcp takes %d at most; join some or post in parts",
				what, count, MAX_IOV);
	return tcp_fail(r->tp, DPI_ERR_LIMIT, "%s is larger than tcp's limit of %d bytes; post it in parts", what,
			WIRE_MAX_PUT);
}

static inline bool inside(const DPI_Tp_Remote *r, uint64_t offset, uint64_t size)
{
	return offset <= r->length && size <= r->length - offset;
}

/* May it be posted? total: the sum of the pieces. */
static inline int check(const DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, uint32_t access,
			const char *what, uint64_t *total)
{
	const DPI_Tp_Endpoint *c = r->endpoint;
	*total = 0;
	if (c->state != STATE_OPEN || c->broken) return dpi_tcp_dead(c);
	if (count < 0 || count > MAX_IOV) return too_large(r, count, what);
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len > WIRE_MAX_PUT || *total + iov[i].iov_len > WIRE_MAX_PUT)
			return too_large(r, count, what);
		*total += iov[i].iov_len;
	}
	if (!inside(r, offset, *total)) return outside(r, offset, *total, what);
	return r->access & access ? DPI_SUCCESS : forbidden(r, access, what);
}

static inline void frame(struct wire_frame *f, enum wire_op op, const DPI_Tp_Remote *r, uint64_t offset, uint64_t length)
{
	f->op = op;
	f->length = (uint32_t)length;
	f->slot = r->slot;
	f->word[1] = offset | (uint64_t)r->generation << 48;
	f->word[2] = r->secret;
}

static inline int notify_check(const DPI_Tp_Remote *r, const DPI_Tp_Notify *n)
{
	if (n->offset == DPI_TP_NO_OFFSET) return DPI_SUCCESS;
	if (n->offset & 7 || !(r->access & KEY_WORDS)) return misaligned(r, n->offset, "a notification's word");
	return inside(r, n->offset, 8) ? DPI_SUCCESS : outside(r, n->offset, 8, "a notification's word");
}

/* The pieces of a put go out from where they lie. The last one stands for the put. */
static int put_pieces(DPI_Tp_Remote *r, const struct iovec *iov, int count, bool hold, void *cookie)
{
	DPI_Tp_Endpoint *c = r->endpoint;
	struct tcp_piece p = { .kind = PIECE_PART };
	uint32_t first = c->end, last = c->end;
	for (int i = 0; i < count; i++) {
		if (!iov[i].iov_len) continue;
		p.memory = iov[i].iov_base;
		p.left = iov[i].iov_len;
		last = c->end;
		dpi_tcp_append_piece(c, &p);
	}
	if (hold)
		dpi_tcp_mark(c);
	else if (!c->blocked)
		dpi_tcp_transmit(c);
	if (c->sent == c->end && c->reported == first) { /* as if it had never been there */
		c->reported = c->sent = c->end = first;
		dpi_tcp_clean(c);
	} else if (c->sent != c->end && !c->broken) {
		struct tcp_piece *mine = &c->piece[last % PIECES];
		mine->kind = PIECE_LAST;
		mine->remote = r;
		mine->cookie = cookie;
		r->pending++;
		return DPI_TP_PENDING;
	}
	return c->broken ? dpi_tcp_dead(c) : DPI_SUCCESS;
}

int dpi_tcp_put(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify,
		uint32_t flags, void *cookie)
{
	DPI_Tp_Endpoint *c = r->endpoint;
	struct wire_frame f;
	uint64_t total;
	int error = check(r, iov, count, offset, DPI_TP_WRITE, "a put", &total);
	if (!error && notify) error = notify_check(r, notify);
	if (error) return error;
	if (!total && !notify) return DPI_SUCCESS;
	bool copy = total <= COPY_MAX;
	error = need(c, WIRE_WORDS * 8 + (copy ? total : 0), copy ? 0 : (uint32_t)count);
	if (error) return error;
	c->puts++;
	if (notify) {
		frame(&f, WIRE_PUT_NOTIFY, r, offset, total);
		f.word[3] = notify->offset;
		f.word[4] = notify->value;
		f.word[5] = notify->bell;
		tcp_append_header(c, &f, 6);
	} else {
		frame(&f, WIRE_PUT, r, offset, total);
		tcp_append_header(c, &f, 3);
	}
	if (!copy) return put_pieces(r, iov, count, flags & DPI_TP_MORE && tcp_queued(c) + total < SEND_BUFFER, cookie);
	for (int i = 0; i < count; i++) tcp_append(c, iov[i].iov_base, iov[i].iov_len);
	send_or_hold(c, flags);
	return c->broken ? dpi_tcp_dead(c) : DPI_SUCCESS;
}

/* Append a request, with its number in that word of the header, and note what its answer does. */
static int ask(DPI_Tp_Endpoint *c, struct wire_frame *f, int word, const struct tcp_request *request)
{
	if (c->asked - c->answered == OUTSTANDING) return DPI_ERR_AGAIN;
	int error = need(c, WIRE_WORDS * 8, 0);
	if (error) return error;
	f->word[word] = c->asked;
	c->request[c->asked++ % OUTSTANDING] = *request;
	tcp_append_frame(c, f);
	dpi_tcp_heat(c);
	if (!c->blocked) dpi_tcp_transmit(c);
	if (c->broken) { /* the request is not accepted */
		c->asked--;
		return dpi_tcp_dead(c);
	}
	if (request->remote) request->remote->pending++;
	return DPI_TP_PENDING;
}

int dpi_tcp_get(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, void *cookie)
{
	struct wire_frame f;
	uint64_t total;
	int error = check(r, iov, count, offset, DPI_TP_READ, "a get", &total);
	if (error || !total) return error;
	struct tcp_request q = { .answer = WIRE_GOT, .length = (uint32_t)total, .remote = r, .cookie = cookie };
	for (int i = 0; i < count; i++)
		if (iov[i].iov_len) q.iov[q.count++] = iov[i];
	frame(&f, WIRE_GET, r, offset, total);
	return ask(r->endpoint, &f, 3, &q);
}

static int atomic(DPI_Tp_Remote *r, struct wire_frame *f, enum wire_op op, uint64_t offset, void *cookie)
{
	static const struct iovec word = { NULL, 8 };
	struct tcp_request q = { .answer = WIRE_WORD, .remote = r, .cookie = cookie };
	uint64_t total;
	int error = offset & 7 ? misaligned(r, offset, "an atomic operation")
			       : check(r, &word, 1, offset, DPI_TP_ATOMIC, "an atomic operation", &total);
	if (error) return error;
	frame(f, op, r, offset, 0);
	return ask(r->endpoint, f, 3, &q);
}

/* The result comes with the completion. */
int dpi_tcp_fetch_add(DPI_Tp_Remote *r, uint64_t offset, uint64_t operand, uint64_t *result, void *cookie)
{
	struct wire_frame f;
	(void)result;
	f.word[4] = operand;
	return atomic(r, &f, WIRE_ADD, offset, cookie);
}

int dpi_tcp_compare_swap(DPI_Tp_Remote *r, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result,
			 void *cookie)
{
	struct wire_frame f;
	(void)result;
	f.word[4] = expected;
	f.word[5] = desired;
	return atomic(r, &f, WIRE_SWAP, offset, cookie);
}

int dpi_tcp_flush(DPI_Tp_Endpoint *c, void *cookie)
{
	if (c->state != STATE_OPEN || c->broken) return dpi_tcp_dead(c);
	if (c->puts == c->flushed) return DPI_SUCCESS;
	struct wire_frame f = { .op = WIRE_FLUSH };
	struct tcp_request q = { .answer = WIRE_FLUSHED, .cookie = cookie, .puts = c->puts };
	return ask(c, &f, 1, &q);
}

int dpi_tcp_send(DPI_Tp_Endpoint *c, const void *bytes, size_t size, uint32_t flags)
{
	if (c->state != STATE_OPEN || c->broken) return dpi_tcp_dead(c);
	if (size > WIRE_MAX_SEND)
		return tcp_fail(c->tp, DPI_ERR_SIZE,
				"a message of %zu bytes is larger than tcp's limit of %d; put it into a window instead",
				size, WIRE_MAX_SEND);
	int error = need(c, 8 + size, 0);
	if (error) return error;
	struct wire_frame f = { .op = WIRE_SEND, .length = (uint32_t)size };
	tcp_append_frame(c, &f);
	tcp_append(c, bytes, size);
	send_or_hold(c, flags);
	return c->broken ? dpi_tcp_dead(c) : DPI_SUCCESS;
}

/* What remains of a put is copied, so that the stream stays whole; an answer still to come is dropped. */
int dpi_tcp_cancel(DPI_Tp_Endpoint *c, void *cookie)
{
	for (uint32_t i = c->reported; i != c->end; i++) {
		struct tcp_piece *last = &c->piece[i % PIECES];
		if (last->kind != PIECE_LAST || last->cookie != cookie) continue;
		DPI_Tp_Remote *remote = last->remote;
		if ((int32_t)(i - c->sent) < 0) {
			last->kind = PIECE_PART; /* it only waits to be reported */
		} else {
			uint32_t k = i;
			while (k != c->sent && c->piece[(k - 1) % PIECES].kind == PIECE_PART) k--;
			for (; k != i + 1; k++)
				if (!dpi_tcp_keep(c, &c->piece[k % PIECES]))
					return tcp_fail(c->tp, DPI_ERR_UNSUPPORTED,
							"a put that is being sent is too large to be copied; "
							"only a disconnect sets its memory free");
		}
		remote->pending--;
		return DPI_SUCCESS;
	}
	for (uint64_t i = c->answered; i != c->asked; i++) {
		struct tcp_request *q = &c->request[i % OUTSTANDING];
		if (q->cookie != cookie || q->cancelled) continue;
		q->cancelled = true;
		if (q->remote) q->remote->pending--;
		q->remote = NULL;
		if (i == c->answered && c->body.left && c->body.kind == BODY_ANSWER)
			c->body.dropped = c->body.buffered = true;
		return DPI_SUCCESS;
	}
	return DPI_SUCCESS; /* it has completed */
}
