/* SPDX-License-Identifier: Apache-2.0 */
/* Plain TCP over loopback: --mode stream sends --size bytes at a time from each appender to one receiver;
 * --mode block and --mode spin bounce --size bytes between two processes. */
#include "../latency.h"
#include "../process.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECEIVE = 256 << 10 }; /* large enough to empty a socket, small enough for the L2 cache */

static struct options o;
static struct sockaddr_in address = { .sin_family = AF_INET };
static unsigned char *record;

static void need(bool true_if_well, const char *what)
{
	if (!true_if_well)
		die(1, "%s failed: %s", what, strerror(errno));
}

static int listener(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof address;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	need(fd >= 0 && !bind(fd, (struct sockaddr *)&address, sizeof address) && !listen(fd, 64) &&
		     !getsockname(fd, (struct sockaddr *)&address, &length), "listening on 127.0.0.1");
	return fd;
}

static int no_delay(int fd)
{
	need(fd >= 0 && !setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)), "connecting over 127.0.0.1");
	return fd;
}

static int connection(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	need(!connect(fd, (struct sockaddr *)&address, sizeof address), "connecting over 127.0.0.1");
	return no_delay(fd);
}

static void send_all(int fd, const unsigned char *from, size_t size)
{
	for (ssize_t n; size; from += n, size -= (size_t)n)
		need((n = send(fd, from, size, MSG_NOSIGNAL)) > 0, "send");
}

static void stream(unsigned index, void *arg)
{
	int fd;

	(void)arg;
	pin_appender(index);
	fd = connection();
	timer_start(o.seconds);
	while (!time_is_up)
		send_all(fd, record, o.size);
}

static void receive_streams(int listening)
{
	unsigned char *buffer = record_new(RECEIVE);
	uint64_t bytes = 0, sum = 0, start = 0;
	unsigned open = (unsigned)o.appenders;
	struct pollfd peers[64];

	for (unsigned i = 0; i < open; i++) {
		peers[i] = (struct pollfd){ .fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC), .events = POLLIN, .revents = POLLIN };
		need(peers[i].fd >= 0, "accept");
	}
	while (open) {
		if (o.appenders > 1) /* one connection needs no asking which */
			need(poll(peers, o.appenders, -1) > 0 || errno == EINTR, "poll");
		for (unsigned i = 0; i < o.appenders; i++) {
			ssize_t n;

			if (peers[i].fd < 0 || !peers[i].revents)
				continue;
			need((n = recv(peers[i].fd, buffer, RECEIVE, 0)) >= 0, "recv");
			if (n == 0) {
				close(peers[i].fd);
				peers[i].fd = -1;
				open--;
			}
			if (o.touch)
				sum += read_lines(buffer, (size_t)n);
			if (start)
				bytes += (uint64_t)n;
			else
				start = now_ns();
		}
	}
	keep(sum);
	result_stream("raw_socket", &o, bytes / o.size, now_ns() - start);
	free(buffer);
}

/* Receives exactly --size bytes; false at the end of the connection. */
static bool receive_record(int fd, unsigned char *to)
{
	int flags = strcmp(o.mode, "spin") ? MSG_WAITALL : MSG_DONTWAIT;

	for (size_t got = 0; got < o.size;) {
		ssize_t n = recv(fd, to + got, o.size - got, flags);

		if (n > 0)
			got += (size_t)n;
		else if (n == 0)
			return false;
		else
			need(errno == EAGAIN || errno == EINTR, "recv");
	}
	return true;
}

static void round_trip(void *arg)
{
	int fd = *(int *)arg;

	send_all(fd, record, o.size);
	if (!receive_record(fd, record))
		die(1, "the other side has gone");
}

static void echo(unsigned index, void *arg)
{
	int fd;

	(void)arg;
	pin_appender(index);
	fd = connection();
	timer_start(o.seconds);
	while (receive_record(fd, record))
		send_all(fd, record, o.size);
}

int main(int argc, char **argv)
{
	bool streaming;
	int fd;

	options_parse(&o, "size seconds mode appenders touch", argc, argv);
	streaming = !strcmp(o.mode, "stream");
	if (!streaming && o.appenders > 1)
		die(2, "--mode %s bounces between two processes, so --appenders is 1", o.mode);
	record = record_new(o.size);
	fd = listener();
	for (unsigned i = 0; i < o.appenders; i++)
		spawn(streaming ? stream : echo, i, NULL);
	pin_consumer();
	timer_start(o.seconds);
	if (streaming) {
		receive_streams(fd);
	} else {
		int peer = no_delay(accept4(fd, NULL, NULL, SOCK_CLOEXEC));

		latency_run("raw_socket", &o, round_trip, &peer);
		close(peer);
	}
	reap((unsigned)o.appenders);
	return 0;
}
