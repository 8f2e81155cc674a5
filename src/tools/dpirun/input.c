/* SPDX-License-Identifier: Apache-2.0
 * input.c: standard input for node 0. */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "sink.h"

#define ROOM (64 << 10)

static struct watch in = { .fd = -1 };
static bool file; /* always ready */
static void (*give)(const char *data, size_t size);
static size_t (*take)(void);

void input_stop(void)
{
	loop_watch(&in, 0);
	in.fd = -1; /* descriptor 0 itself stays */
}

/* In the background a read of the terminal would stop dpirun. */
static bool background(void)
{
	pid_t front = tcgetpgrp(0);
	return front >= 0 && front != getpgrp();
}

void input_pump(void)
{
	static char chunk[16384];
	while (in.fd >= 0) {
		struct pollfd p = { .fd = in.fd, .events = POLLIN };
		size_t room = take();
		bool wait = !room || background();
		if (wait || (!file && poll(&p, 1, 0) != 1)) {
			if (!file) loop_watch(&in, wait ? 0 : EPOLLIN);
			return;
		}
		ssize_t n = read(in.fd, chunk, room < sizeof chunk ? room : sizeof chunk);
		if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
		if (n <= 0) input_stop();
		give(chunk, n > 0 ? (size_t)n : 0);
	}
}

static void ready(struct watch *w, uint32_t events)
{
	(void)w, (void)events;
	input_pump();
}

void input_open(void (*put)(const char *data, size_t size), size_t (*room)(void))
{
	in = (struct watch){ .fd = 0, .ready = ready };
	give = put;
	take = room;
	file = !loop_watch(&in, EPOLLIN);
	input_pump();
}

/* --------------------------------------------------------------------------------------------------- into a pipe */

static struct sink pipe_sink = { .watch.fd = -1 };
static size_t level; /* as last told of */
void (*input_pipe_taken)(size_t size);

static void changed(struct sink *s)
{
	size_t now = sink_level(s);
	if (s->failed) {
		input_stop();
		if (input_pipe_taken) input_pipe_taken(0);
	} else if (input_pipe_taken && level > now) input_pipe_taken(level - now);
	level = now;
	if (!s->failed) input_pump();
}

int input_pipe(void)
{
	int end[2];
	if (pipe2(end, O_CLOEXEC)) return -1;
	sink_open(&pipe_sink, end[1], false);
	pipe_sink.changed = changed;
	return end[0];
}

void input_pipe_put(const char *data, size_t size)
{
	if (!size) {
		sink_close(&pipe_sink);
		return;
	}
	sink_put(&pipe_sink, data, size);
	level += size;
	sink_flush(&pipe_sink);
}

size_t input_pipe_room(void)
{
	size_t used = sink_level(&pipe_sink);
	return used < ROOM ? ROOM - used : 0;
}
