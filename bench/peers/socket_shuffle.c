/* SPDX-License-Identifier: Apache-2.0 */
/* A shuffle by hand over TCP loopback: a connection for each pair of source and target; rows are gathered into a buffer of
 * --publish bytes for each target, sent when it is full; with --dist broadcast one buffer is sent to each target in turn. */
#include "../shuffle.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECEIVE = 256 << 10 }; /* large enough to empty a socket, small enough for the L2 cache */

struct out {
	unsigned char *buffer, *at, *stop;
};

struct in {
	unsigned char *buffer;
	size_t kept; /* bytes of a row that has not come whole */
};

static struct sockaddr_in address[PARTIES]; /* of each target */
static int listening[PARTIES];
static struct out outs[PARTIES];
static struct in ins[PARTIES];
static struct pollfd peers[PARTIES + 1]; /* sources; the last: a target that has no room */
static int to[PARTIES];
static unsigned open_peers;
static int flags; /* a process of both roles never waits inside a call */

static void need(bool true_if_well, const char *what)
{
	if (!true_if_well)
		die(1, "%s failed: %s", what, strerror(errno));
}

static int listener(struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof *at;

	at->sin_family = AF_INET;
	at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	need(fd >= 0 && !bind(fd, (struct sockaddr *)at, sizeof *at) && !listen(fd, PARTIES) &&
		     !getsockname(fd, (struct sockaddr *)at, &length), "listening on 127.0.0.1");
	return fd;
}

static int connection(const struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	need(fd >= 0 && !connect(fd, (const struct sockaddr *)at, sizeof *at) &&
		     !setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)), "connecting over 127.0.0.1");
	return fd;
}

/* --------------------------------------------------------------------------------------------------------- target */

static void take_one(unsigned source, struct tally *got)
{
	struct in *in = &ins[source];
	ssize_t n = recv(peers[source].fd, in->buffer + in->kept, RECEIVE, flags);
	size_t size = shuffle.o.size, bytes, rows;

	if (n < 0) {
		need(errno == EAGAIN || errno == EINTR, "recv");
		return;
	}
	if (n == 0) {
		close(peers[source].fd);
		peers[source].fd = -1;
		open_peers--;
		return;
	}
	bytes = in->kept + (size_t)n;
	rows = bytes / size;
	take_rows(got, in->buffer, rows, size);
	in->kept = bytes - rows * size;
	memmove(in->buffer, in->buffer + rows * size, in->kept);
}

/* timeout: as poll's. */
static void take_ready(struct tally *got, int timeout)
{
	if (shuffle.sources > 1 || shuffle.both) /* one connection needs no asking which */
		need(poll(peers, shuffle.sources + 1, timeout) >= 0 || errno == EINTR, "poll");
	for (unsigned s = 0; s < shuffle.sources; s++)
		if (peers[s].fd >= 0 && peers[s].revents)
			take_one(s, got);
}

/* --------------------------------------------------------------------------------------------------------- source */

static void send_all(int fd, const unsigned char *from, size_t size, struct tally *got)
{
	while (size) {
		ssize_t n = send(fd, from, size, MSG_NOSIGNAL | flags);

		if (n > 0) {
			from += n;
			size -= (size_t)n;
			continue;
		}
		need(errno == EAGAIN || errno == EINTR, "send");
		peers[shuffle.sources].fd = fd;
		take_ready(got, -1);
		peers[shuffle.sources].fd = -1;
	}
}

static void send_buffer(unsigned target, struct tally *got)
{
	struct out *out = &outs[target];

	if (!shuffle.broadcast)
		send_all(to[target], out->buffer, (size_t)(out->at - out->buffer), got);
	else
		for (unsigned t = 0; t < shuffle.targets; t++)
			send_all(to[t], out->buffer, (size_t)(out->at - out->buffer), got);
	out->at = out->buffer;
}

static always_inline void push_rows(size_t size, const unsigned char *row, size_t count, struct tally *got)
{
	for (; count--; row += size) {
		unsigned target = shuffle.broadcast ? 0 : row_target(row, shuffle.targets);
		struct out *out = &outs[target];

		memcpy(out->at, row, size);
		out->at += size;
		if (__builtin_expect(out->at == out->stop, 0))
			send_buffer(target, got);
	}
}

static void push_until_end(const struct rows *rows, struct outcome *mine)
{
	size_t look = rows_per_look(), at = 0;
	uint64_t pushed = 0;

	for (unsigned looks = 1; !time_is_up; looks++) {
		size_t count = rows->count - at < look ? rows->count - at : look;

		WITH_SIZE(shuffle.o.size, push_rows, rows->data + at * shuffle.o.size, count, &mine->got);
		pushed += count;
		at = at + count == rows->count ? 0 : at + count;
		if (shuffle.both && looks % 8 == 0)
			take_ready(&mine->got, 0);
	}
	for (unsigned t = 0; t < shuffle.targets; t++)
		send_buffer(t, &mine->got);
	for (unsigned t = 0; t < shuffle.targets; t++)
		close(to[t]);
	outcome_sent(mine, rows, pushed);
}

static void source_open(unsigned source, struct rows *rows)
{
	size_t size = shuffle.o.size, room = shuffle.o.publish / size ? shuffle.o.publish / size * size : size;

	*rows = rows_new(source);
	for (unsigned t = 0; t < shuffle.targets; t++) {
		outs[t].buffer = outs[t].at = record_new(room);
		outs[t].stop = outs[t].buffer + room;
		to[t] = connection(&address[t]);
	}
}

static void target_open(unsigned target)
{
	for (unsigned s = 0; s < shuffle.sources; s++) {
		peers[s] = (struct pollfd){ .fd = accept4(listening[target], NULL, NULL, SOCK_CLOEXEC), .events = POLLIN,
					    .revents = POLLIN };
		need(peers[s].fd >= 0, "accept");
		ins[s].buffer = record_new(RECEIVE + shuffle.o.size);
	}
	open_peers = shuffle.sources;
}

static void body(unsigned process, struct outcome *mine)
{
	int source = source_of(process), target = target_of(process);
	struct rows rows;

	flags = shuffle.both ? MSG_DONTWAIT : 0;
	peers[shuffle.sources] = (struct pollfd){ .fd = -1, .events = POLLOUT };
	if (source >= 0)
		source_open((unsigned)source, &rows);
	if (target >= 0)
		target_open((unsigned)target);
	shuffle_begin(mine);
	if (source >= 0)
		push_until_end(&rows, mine);
	if (target >= 0) {
		while (open_peers)
			take_ready(&mine->got, -1);
		mine->end = now_ns();
	}
}

int main(int argc, char **argv)
{
	shuffle_options("publish", argc, argv);
	for (unsigned t = 0; t < shuffle.targets; t++)
		listening[t] = listener(&address[t]);
	shuffle_run("raw_socket", body);
	return 0;
}
