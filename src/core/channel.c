/* SPDX-License-Identifier: Apache-2.0
 * channel.c: frames over a non-blocking stream socket. */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "address.h"
#include "error.h"

#define IN_ROOM 4096

struct dpi_channel_out {
	struct dpi_channel_out *next;
	size_t size, sent;
	int fds[DPI_MESSAGE_FDS], fd_count; /* own duplicates */
	uint8_t data[];
};

static uint64_t number(const uint8_t *at, int size)
{
	uint64_t v = 0;
	for (int i = 0; i < size; i++) v |= (uint64_t)at[i] << 8 * i;
	return v;
}

long dpi_frame_parse(const uint8_t *data, size_t size, uint32_t limit, struct dpi_frame *frame)
{
	if (size < DPI_FRAME_HEADER) return 0;
	frame->size = (uint32_t)number(data, 4);
	frame->type = (uint16_t)number(data + 4, 2);
	frame->flags = (uint16_t)number(data + 6, 2);
	frame->id = number(data + 8, 8);
	frame->payload = data + DPI_FRAME_HEADER;
	if (frame->size > limit || frame->flags & ~DPI_FRAME_FLAGS || frame->flags >> DPI_FRAME_FDS_SHIFT > DPI_MESSAGE_FDS)
		return -1;
	if (frame->flags & DPI_FRAME_REPLY && !frame->id) return -1;
	return size - DPI_FRAME_HEADER < frame->size ? 0 : (long)(DPI_FRAME_HEADER + frame->size);
}

static void header(uint8_t *at, uint32_t size, uint16_t type, uint16_t flags, uint64_t id)
{
	for (int i = 0; i < 4; i++) at[i] = (uint8_t)(size >> 8 * i);
	for (int i = 0; i < 2; i++) at[4 + i] = (uint8_t)(type >> 8 * i), at[6 + i] = (uint8_t)(flags >> 8 * i);
	for (int i = 0; i < 8; i++) at[8 + i] = (uint8_t)(id >> 8 * i);
}

static void close_fds(int *fds, int count)
{
	for (int i = 0; i < count; i++)
		if (fds[i] >= 0) close(fds[i]);
}

/* Those that came first, closed but for what was taken from them. */
static void drop_fds(struct dpi_channel *c)
{
	struct dpi_channel_fds *f = &c->fds[c->fds_first];
	close_fds(f->fd, f->count);
	c->fds_first = !c->fds_first;
	c->fds_count--;
}

void dpi_unpack_close(struct dpi_unpack *u)
{
	close_fds(u->fds, u->fd_count);
	u->fd_count = 0;
}

struct dpi_channel *dpi_channel_new(int fd)
{
	struct dpi_channel *c = calloc(1, sizeof *c);
	struct dpi_address a;
	int one = 1;
	if (!c || dpi_address_of(fd, &a)) {
		dpi_fail(DPI_ERR_MEMORY, "no memory for a control channel");
		free(c);
		close(fd);
		return NULL;
	}
	c->watch.fd = fd;
	c->local = a.storage.ss_family == AF_UNIX;
	if (!c->local) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	c->last = &c->first;
	return c;
}

static void drop_queue(struct dpi_channel *c)
{
	while (c->first) {
		struct dpi_channel_out *o = c->first;
		c->first = o->next;
		close_fds(o->fds, o->fd_count);
		free(o);
	}
	c->last = &c->first;
	c->queued = 0;
}

void dpi_channel_free(struct dpi_channel *c)
{
	if (!c) return;
	drop_queue(c);
	while (c->fds_count) drop_fds(c);
	if (c->watch.fd >= 0) close(c->watch.fd);
	free(c->in);
	free(c);
}

/* ------------------------------------------------------------------------------------------------------- sending */

/* On another host: instead of the orderly end, which is that of a process. */
static void reset_at_close(struct dpi_channel *c)
{
	struct linger now = { .l_onoff = 1 };
	if (!c->local) setsockopt(c->watch.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static int broken(struct dpi_channel *c, const char *why)
{
	if (!c->broken) {
		c->broken = true;
		c->why = why;
		drop_queue(c);
		if (!c->lost) reset_at_close(c);
		shutdown(c->watch.fd, c->lost || c->local ? SHUT_RDWR : SHUT_RD);
	}
	return dpi_fail(DPI_ERR_PEER, "%s", c->why);
}

/* One sendmsg: bytes sent, 0 when the socket is full, -1 when it is broken. */
static ssize_t push(struct dpi_channel *c, struct iovec *iov, int count, const int *fds, int fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * DPI_MESSAGE_FDS)];
	} control;
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)count };
	if (fd_count && c->local) {
		memset(&control, 0, sizeof control);
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)fd_count);
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)fd_count);
		memcpy(CMSG_DATA(h), fds, sizeof(int) * (size_t)fd_count);
	}
	ssize_t n;
	do n = sendmsg(c->watch.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	/* ETOOMANYREFS: too many descriptors in flight; they drain as peers read */
	if (n < 0 && (errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS)) return 0;
	return n;
}

static int enqueue(struct dpi_channel *c, const struct iovec iov[2], size_t sent, const struct dpi_pack *body)
{
	size_t size = iov[0].iov_len + iov[1].iov_len;
	int fd_count = !sent && c->local && body ? body->fd_count : 0;
	if (c->queued + size > DPI_CHANNEL_QUEUE_MAX)
		return broken(c, "it does not read what is sent to it: 8 MiB wait (is it stopped?)");
	struct dpi_channel_out *o = malloc(sizeof *o + size);
	if (!o) return broken(c, "no memory for a message to it");
	o->next = NULL;
	o->size = size;
	o->sent = sent;
	memcpy(o->data, iov[0].iov_base, iov[0].iov_len);
	if (iov[1].iov_len) memcpy(o->data + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
	for (o->fd_count = 0; o->fd_count < fd_count; o->fd_count++) {
		int fd = fcntl(body->fds[o->fd_count], F_DUPFD_CLOEXEC, 0);
		if (fd < 0) {
			close_fds(o->fds, o->fd_count);
			free(o);
			return dpi_fail_errno(DPI_ERR_LIMIT, "no descriptors for a message (raise the limit with ulimit "
							     "-n)");
		}
		o->fds[o->fd_count] = fd;
	}
	*c->last = o;
	c->last = &o->next;
	c->queued += size;
	return DPI_SUCCESS;
}

int dpi_channel_send(struct dpi_channel *c, uint16_t type, uint16_t flags, uint64_t id, const struct dpi_pack *body)
{
	uint8_t head[DPI_FRAME_HEADER];
	uint32_t size = body ? (uint32_t)body->size : 0;
	struct iovec iov[2] = { { head, sizeof head }, { body ? body->data : NULL, size } };
	size_t sent = 0;
	if (c->broken) return dpi_fail(DPI_ERR_PEER, "%s", c->why);
	if (body && c->local) flags |= (uint16_t)(body->fd_count << DPI_FRAME_FDS_SHIFT);
	header(head, size, type, flags, id);
	if (!c->first) {
		ssize_t n = push(c, iov, size ? 2 : 1, body ? body->fds : NULL, body ? body->fd_count : 0);
		if (n < 0) {
			c->lost = true;
			return broken(c, "its control connection is broken");
		}
		sent = (size_t)n;
	}
	return sent == sizeof head + size ? DPI_SUCCESS : enqueue(c, iov, sent, body);
}

void dpi_channel_give_up(struct dpi_channel *c, uint16_t type)
{
	if (c->broken) return;
	if (dpi_channel_send(c, type, 0, 0, NULL) || c->first) reset_at_close(c);
}

void dpi_channel_flush(struct dpi_channel *c)
{
	while (c->first && !c->broken) {
		struct dpi_channel_out *o = c->first;
		struct iovec iov = { o->data + o->sent, o->size - o->sent };
		ssize_t n = push(c, &iov, 1, o->fds, o->sent ? 0 : o->fd_count);
		if (n < 0) {
			c->lost = true;
			broken(c, "its control connection is broken");
		}
		if (n <= 0) return;
		o->sent += (size_t)n;
		if (o->sent < o->size) return;
		c->first = o->next;
		if (!c->first) c->last = &c->first;
		c->queued -= o->size;
		close_fds(o->fds, o->fd_count);
		free(o);
	}
}

/* ----------------------------------------------------------------------------------------------------- receiving */

/* Room for the rest of the frame at the head, or for some bytes. */
static bool make_room(struct dpi_channel *c, uint32_t limit)
{
	struct dpi_frame f;
	if (c->in_at == c->in_size) {
		c->in_at = c->in_size = 0;
		if (c->in_room > IN_ROOM) { /* a large message is rare: do not keep its room */
			free(c->in);
			c->in = NULL;
			c->in_room = 0;
		}
	}
	size_t have = c->in_size - c->in_at, want = IN_ROOM;
	if (c->in_at) memmove(c->in, c->in + c->in_at, have);
	c->in_at = 0;
	c->in_size = have;
	if (!dpi_frame_parse(c->in, have, limit, &f) && have >= DPI_FRAME_HEADER && DPI_FRAME_HEADER + f.size > want)
		want = DPI_FRAME_HEADER + f.size;
	if (c->in_room >= want) return true;
	uint8_t *in = realloc(c->in, want);
	if (!in) return false;
	c->in = in;
	c->in_room = want;
	return true;
}

int dpi_channel_receive(struct dpi_channel *c, uint32_t limit)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * DPI_MESSAGE_FDS)];
	} control;
	if (!make_room(c, limit)) return DPI_RECEIVED_BAD;
	struct iovec iov = { c->in + c->in_size, c->in_room - c->in_size };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (c->local) {
		m.msg_control = &control;
		m.msg_controllen = sizeof control;
	}
	ssize_t n;
	do n = recvmsg(c->watch.fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN) return DPI_RECEIVED_NOTHING;
	if (n < 0) {
		c->reset = true;
		return DPI_RECEIVED_END;
	}
	struct dpi_channel_fds more = { .cut = m.msg_flags & MSG_CTRUNC };
	bool bad = false, some = more.cut;
	for (struct cmsghdr *h = m.msg_controllen ? CMSG_FIRSTHDR(&m) : NULL; h; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
		size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
			if (more.count < DPI_MESSAGE_FDS && c->fds_count < 2) more.fd[more.count++] = fd;
			else {
				close(fd);
				bad = true;
			}
		}
		some |= count > 0;
	}
	if (some && c->fds_count < 2) c->fds[(c->fds_first + c->fds_count++) & 1] = more;
	else bad |= some;
	if (!n) return DPI_RECEIVED_END;
	c->in_size += (size_t)n;
	return bad ? DPI_RECEIVED_BAD : DPI_RECEIVED;
}

int dpi_channel_next(struct dpi_channel *c, uint32_t limit, struct dpi_frame *frame, struct dpi_unpack *message)
{
	size_t have = c->in_size - c->in_at;
	long n = have ? dpi_frame_parse(c->in + c->in_at, have, limit, frame) : 0;
	if (n < 0) return -1;
	if (!n) return have || !c->fds_count ? 0 : -1; /* descriptors come with bytes of their frame */
	int fds = frame->flags >> DPI_FRAME_FDS_SHIFT;
	struct dpi_channel_fds *f = &c->fds[c->fds_first];
	if (fds && (!c->local || !c->fds_count)) return -1;
	/* missing ones are a fault of the sender, unless this process could not take them: then the handler sees -1 */
	if (fds && (fds < f->count || (fds > f->count && !f->cut))) return -1;
	*message = (struct dpi_unpack){ .at = frame->payload, .end = frame->payload + frame->size, .fd_count = fds };
	for (int i = 0; i < DPI_MESSAGE_FDS; i++) message->fds[i] = i < fds && i < f->count ? f->fd[i] : -1;
	if (fds) {
		f->count = 0; /* the message's own now */
		drop_fds(c);
	}
	c->in_at += (size_t)n;
	return 1;
}
