/* SPDX-License-Identifier: Apache-2.0
 * send.c: the queue of a connection and its way into the socket.
 *
 * The queue is a ring of bytes (headers, and payloads small enough to copy) into which pieces of others' memory are
 * woven: piece.at says before which byte a piece goes. A piece's memory is read until it has been sent, no longer. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tcp.h"

enum { BATCH = 64 }; /* pieces of a system call */

void dpi_tcp_append_wrapped(DPI_Tp_Endpoint *c, const void *bytes, size_t size)
{
	size_t at = c->tx_tail % SEND_BUFFER, first = SEND_BUFFER - at;
	memcpy(c->tx + at, bytes, first);
	memcpy(c->tx, (const uint8_t *)bytes + first, size - first);
	c->tx_tail += size;
}

void dpi_tcp_append_piece(DPI_Tp_Endpoint *c, const struct tcp_piece *p)
{
	struct tcp_piece *to = &c->piece[c->end++ % PIECES];
	*to = *p;
	to->at = c->tx_tail;
}

bool dpi_tcp_keep(DPI_Tp_Endpoint *c, struct tcp_piece *p)
{
	DPI_Tp *tp = c->tp;
	if (p->kind == PIECE_KEPT) return true;
	void *copy = p->left <= KEPT_MAX - tp->kept ? malloc(p->left ? p->left : 1) : NULL;
	if (!copy) return false;
	dpi_words_load(copy, p->memory, p->left);
	if (p->kind == PIECE_ANSWER) p->window->answers--;
	p->kind = PIECE_KEPT;
	p->memory = p->kept = copy;
	p->kept_size = p->left;
	tp->kept += p->left;
	return true;
}

void dpi_tcp_unkeep(DPI_Tp_Endpoint *c, struct tcp_piece *p)
{
	c->tp->kept -= p->kept_size;
	free(p->kept);
	p->kind = PIECE_PART;
}

static int add_bytes(const DPI_Tp_Endpoint *c, uint64_t from, uint64_t to, struct iovec *iov)
{
	size_t at = from % SEND_BUFFER, size = (size_t)(to - from), first = SEND_BUFFER - at;
	if (!size) return 0;
	iov[0] = (struct iovec){ c->tx + at, first < size ? first : size };
	if (first >= size) return 1;
	iov[1] = (struct iovec){ c->tx, size - first };
	return 2;
}

/* Copy the next words of an answer out of its window: the kernel may read a word in two halves. */
static void stage(DPI_Tp_Endpoint *c, struct tcp_piece *p)
{
	size_t n = p->left < STAGE ? p->left : STAGE;
	if (n < p->left) n -= (uintptr_t)(p->memory + n) & 7;
	dpi_words_load(c->stage, p->memory, n);
	p->memory += n;
	p->left -= n;
	c->staged_at = 0;
	c->staged = n;
}

/* What is to be sent next, at most BATCH + 2 pieces. */
static int gather(DPI_Tp_Endpoint *c, struct iovec *iov, size_t *total)
{
	uint64_t at = c->tx_head;
	uint32_t p = c->sent;
	int count = 0;
	for (; p != c->end && count < BATCH - 2; p++) {
		struct tcp_piece *piece = &c->piece[p % PIECES];
		bool first = p == c->sent, staged = first && c->staged_at < c->staged;
		bool whole = piece->kind == PIECE_ANSWER && piece->window->access & DPI_TP_ATOMIC;
		if (whole && !first) break; /* there is one stage */
		count += add_bytes(c, at, piece->at, iov + count);
		at = piece->at;
		if (whole && !staged) stage(c, piece);
		if (whole || staged) {
			iov[count++] = (struct iovec){ c->stage + c->staged_at, c->staged - c->staged_at };
			if (piece->left) break;
		} else {
			iov[count++] = (struct iovec){ (void *)(uintptr_t)piece->memory, piece->left };
		}
	}
	if (p == c->end) count += add_bytes(c, at, c->tx_tail, iov + count);
	*total = 0;
	for (int i = 0; i < count; i++) *total += iov[i].iov_len;
	return count;
}

/* n bytes of the queue are in the kernel's hands. */
static void advance(DPI_Tp_Endpoint *c, size_t n)
{
	while (n) {
		struct tcp_piece *p = c->sent != c->end ? &c->piece[c->sent % PIECES] : NULL;
		size_t here;
		if (!p || p->at > c->tx_head) {
			here = (size_t)((p ? p->at : c->tx_tail) - c->tx_head);
			if (here > n) here = n;
			c->tx_head += here;
			n -= here;
			continue;
		}
		if (c->staged_at < c->staged) {
			here = c->staged - c->staged_at < n ? c->staged - c->staged_at : n;
			c->staged_at += here;
		} else {
			here = p->left < n ? p->left : n;
			p->memory += here;
			p->left -= here;
		}
		n -= here;
		if (p->left || c->staged_at < c->staged) continue;
		if (p->kind == PIECE_ANSWER) p->window->answers--;
		if (p->kind == PIECE_KEPT) dpi_tcp_unkeep(c, p);
		c->sent++;
	}
	if (c->tx_head == c->tx_tail && c->sent == c->end) { /* start anew, in memory that is in the cache */
		c->tx_head = c->tx_tail = 0;
		if (c->reported == c->end) c->reported = c->sent = c->end = 0;
	}
}

static void watch_writes(DPI_Tp_Endpoint *c, bool on)
{
	struct epoll_event e = { .events = EPOLLIN | (on ? (uint32_t)EPOLLOUT : 0), .data.ptr = c };
	if (c->blocked == on) return;
	c->blocked = on;
	if (on)
		c->tp->blocked++;
	else
		c->tp->blocked--;
	epoll_ctl(c->tp->epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

void dpi_tcp_clean(DPI_Tp_Endpoint *c)
{
	if (!c->dirty || c->tp->dirty != c || c->reported != c->end) return;
	c->tp->dirty = c->next_dirty;
	c->dirty = c->late = false;
}

void dpi_tcp_transmit(DPI_Tp_Endpoint *c)
{
	struct iovec iov[BATCH + 2];
	size_t total;
	while (!c->broken) {
		int count = gather(c, iov, &total);
		if (!count) {
			dpi_tcp_clean(c);
			return;
		}
		struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)count };
		ssize_t n = count == 1 ? syscall(SYS_sendto, c->fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0) /* tcp.h */
				       : sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR) continue;
		if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS && errno != ENOMEM) {
			c->broken = errno;
			dpi_tcp_mark(c);
			return;
		}
		if (n > 0) advance(c, (size_t)n);
		if (n < (ssize_t)total) { /* full: epoll says when it is not, without being asked for each post */
			watch_writes(c, true);
			return;
		}
	}
}

void dpi_tcp_unblock(DPI_Tp_Endpoint *c)
{
	dpi_tcp_transmit(c);
	if (c->state == STATE_OPEN && c->tx_head == c->tx_tail && c->sent == c->end) watch_writes(c, false);
	dpi_tcp_report(c);
}

void dpi_tcp_report(DPI_Tp_Endpoint *c)
{
	const DPI_Tp_Core *core = c->tp->core;
	while (c->reported != c->sent) {
		struct tcp_piece *p = &c->piece[c->reported++ % PIECES];
		if (p->kind != PIECE_LAST) continue;
		p->remote->pending--;
		c->tp->events++;
		core->complete(core->self, p->cookie, DPI_SUCCESS, 0);
	}
}
