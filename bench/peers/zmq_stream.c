/* SPDX-License-Identifier: Apache-2.0 */
/* ZeroMQ PUSH/PULL over TCP loopback: a message per record, or --batch bytes of records packed by hand into each. */
#include "../common.h"
#include "../process.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <zmq.h>

static struct options o;
static size_t message; /* bytes */
static char endpoint[128];

static void need(bool true_if_well, const char *what)
{
	if (!true_if_well)
		die(1, "%s failed: %s", what, zmq_strerror(zmq_errno()));
}

/* A context's threads do not survive a fork, so each process makes its own. */
static void *socket_new(void *context, int type)
{
	void *socket = zmq_socket(context, type);

	need(socket && !zmq_setsockopt(socket, ZMQ_RCVHWM, &(int){ 100000 }, sizeof(int)) &&
		     !zmq_setsockopt(socket, ZMQ_SNDHWM, &(int){ 100000 }, sizeof(int)) &&
		     !zmq_setsockopt(socket, ZMQ_LINGER, &(int){ 5000 }, sizeof(int)), "zmq_socket");
	return socket;
}

static void send_all(void *socket, const void *from, size_t size)
{
	int sent;

	do
		sent = zmq_send(socket, from, size, 0);
	while (sent < 0 && zmq_errno() == EINTR);
	need(sent >= 0, "zmq_send");
}

static void produce(unsigned index, void *arg)
{
	int from_parent = *(int *)arg;
	unsigned char *record = record_new(o.size), *buffer = record_new(message);
	void *context, *socket;

	(void)index; /* not pinned: ZeroMQ sends from a thread of its own */
	if (read(from_parent, endpoint, sizeof endpoint) != sizeof endpoint)
		die(1, "the receiver has gone");
	need((context = zmq_ctx_new()) != NULL, "zmq_ctx_new");
	socket = socket_new(context, ZMQ_PUSH);
	need(!zmq_connect(socket, endpoint), "zmq_connect");
	timer_start(o.seconds);
	while (!time_is_up) {
		if (o.batch)
			for (size_t at = 0; at < message; at += o.size)
				memcpy(buffer + at, record, o.size);
		send_all(socket, o.batch ? buffer : record, message);
	}
	send_all(socket, "", 0); /* the end */
	zmq_close(socket);
	zmq_ctx_term(context);
}

static void consume(void *socket)
{
	uint64_t messages = 0, sum = 0, start = 0;
	unsigned open = (unsigned)o.appenders;
	zmq_msg_t in;

	zmq_msg_init(&in);
	while (open) {
		if (zmq_msg_recv(&in, socket, 0) < 0) {
			need(zmq_errno() == EINTR, "zmq_msg_recv");
			continue;
		}
		if (!zmq_msg_size(&in))
			open--;
		else if (start)
			messages++;
		else
			start = now_ns();
		for (size_t at = 0; at + o.size <= zmq_msg_size(&in); at += o.size)
			sum += read_lines((unsigned char *)zmq_msg_data(&in) + at, o.size);
	}
	keep(sum);
	result_stream("zmq", &o, messages * (message / o.size), now_ns() - start);
	zmq_msg_close(&in);
}

int main(int argc, char **argv)
{
	int pipes[2];
	void *context, *socket;
	size_t length = sizeof endpoint;

	options_parse(&o, "size seconds appenders batch", argc, argv);
	message = o.batch / o.size ? o.batch / o.size * o.size : o.size;
	need(!pipe(pipes), "pipe");
	for (unsigned i = 0; i < o.appenders; i++)
		spawn(produce, i, &pipes[0]);
	need((context = zmq_ctx_new()) != NULL, "zmq_ctx_new");
	socket = socket_new(context, ZMQ_PULL);
	need(!zmq_bind(socket, "tcp://127.0.0.1:*") && !zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &length), "zmq_bind");
	for (unsigned i = 0; i < o.appenders; i++)
		need(write(pipes[1], endpoint, sizeof endpoint) == sizeof endpoint, "write");
	timer_start(o.seconds);
	consume(socket);
	zmq_close(socket);
	zmq_ctx_term(context);
	reap((unsigned)o.appenders);
	return 0;
}
