/* SPDX-License-Identifier: Apache-2.0
 * sink.c: bytes on their way into a descriptor. */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static void end(struct sink *s)
{
	if (s->shared) {
		loop_watch(&s->watch, 0);
		s->watch.fd = -1;
	} else loop_remove(&s->watch);
}

static void fail(struct sink *s, int error)
{
	s->failed = true;
	s->error = error;
	s->head = 0;
	bytes_free(&s->bytes);
	end(s);
}

/* A shared pipe or terminal that poll finds writable takes PIPE_BUF bytes without blocking, and perhaps no more. */
static bool takes(const struct sink *s)
{
	struct pollfd p = { .fd = s->watch.fd, .events = POLLOUT };
	return !s->shared || s->file || (poll(&p, 1, 0) == 1 && p.revents);
}

void sink_flush(struct sink *s)
{
	bool moved = false;
	if (s->watch.fd < 0) return;
	while (sink_level(s)) {
		size_t n = sink_level(s);
		if (s->shared && !s->file && n > PIPE_BUF) n = PIPE_BUF;
		if (!takes(s)) break;
		ssize_t done = write(s->watch.fd, s->bytes.data + s->head, n);
		if (done < 0 && errno == EINTR) continue;
		if (done < 0 && errno == EAGAIN) break;
		if (done < 0) {
			fail(s, errno);
			if (s->changed) s->changed(s);
			return;
		}
		s->head += (size_t)done;
		moved = true;
	}
	/* moved together rarely, so that a slow reader does not make it quadratic */
	if (s->head == s->bytes.size || s->head > SINK_HIGH) {
		bytes_cut(&s->bytes, s->head);
		s->head = 0;
	}
	if (!sink_level(s) && s->close_after) end(s);
	else if (!s->file) loop_watch(&s->watch, sink_level(s) ? EPOLLOUT : 0);
	if (moved && s->changed) s->changed(s);
}

static void ready(struct watch *w, uint32_t events)
{
	(void)events;
	sink_flush(w->owner);
}

void sink_open(struct sink *s, int fd, bool shared)
{
	s->watch = (struct watch){ .fd = fd, .ready = ready, .owner = s };
	s->shared = shared;
	if (!shared) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	if (loop_watch(&s->watch, EPOLLOUT)) loop_watch(&s->watch, 0);
	else s->file = true;
}

void sink_put(struct sink *s, const void *data, size_t size)
{
	if (s->failed || s->watch.fd < 0 || s->close_after) return;
	bytes_add(&s->bytes, data, size);
}

void sink_close(struct sink *s)
{
	s->close_after = true;
	sink_flush(s);
}

void sink_drop(struct sink *s)
{
	if (s->watch.fd >= 0) fail(s, ECANCELED);
}
