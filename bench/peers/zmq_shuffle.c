/* SPDX-License-Identifier: Apache-2.0 */
/* A shuffle over ZeroMQ: each target pulls at an endpoint of its own, each source has a PUSH socket for each target, over
 * TCP loopback; a message is a row, or --batch bytes of rows packed by hand. With --dist broadcast every message goes to each target, its
 * bytes shared by those that send it; or, in --mode publish, a source publishes and all targets subscribe, none of which loses a message. */
#include "../shuffle.h"

#include <errno.h>
#include <stdlib.h>
#include <zmq.h>

static char (*endpoint)[64]; /* of each target, or of each source that publishes; shared */
static size_t message;	     /* bytes */
static void *to[PARTIES];
static unsigned char *buffer[PARTIES];
static size_t filled[PARTIES];
static void *in;
static unsigned open_sources;
static bool publishes;
static int flags; /* a process of both roles never waits inside a call */

static void need(bool true_if_well, const char *what)
{
	if (!true_if_well)
		die(1, "%s failed: %s", what, zmq_strerror(zmq_errno()));
}

static void *socket_new(void *context, int type)
{
	void *socket = zmq_socket(context, type);
	int most = (int)(message < 8192 ? 10000 : 100);

	need(socket && !zmq_setsockopt(socket, ZMQ_RCVHWM, &most, sizeof most) &&
		     !zmq_setsockopt(socket, ZMQ_SNDHWM, &most, sizeof most) &&
		     !zmq_setsockopt(socket, ZMQ_LINGER, &(int){ 5000 }, sizeof(int)), "zmq_socket");
	return socket;
}

/* Takes a message; false if there is none and flags say not to wait. */
static bool take_one(struct tally *got)
{
	zmq_msg_t m;
	bool there;

	zmq_msg_init(&m);
	there = zmq_msg_recv(&m, in, flags) >= 0;
	need(there || zmq_errno() == EAGAIN || zmq_errno() == EINTR, "zmq_msg_recv");
	if (there && !zmq_msg_size(&m))
		open_sources--;
	else if (there)
		take_rows(got, zmq_msg_data(&m), zmq_msg_size(&m) / shuffle.o.size, shuffle.o.size);
	zmq_msg_close(&m);
	return there;
}

static void send_message(unsigned target, const void *from, size_t size, struct tally *got)
{
	while (zmq_send(to[target], from, size, flags) < 0) {
		need(zmq_errno() == EAGAIN || zmq_errno() == EINTR, "zmq_send");
		if (shuffle.both && !take_one(got))
			sched_yield();
	}
}

/* The same message to each target. */
static void send_to_all(const void *from, size_t size)
{
	zmq_msg_t whole, m;

	need(!zmq_msg_init_size(&whole, size), "zmq_msg_init_size");
	memcpy(zmq_msg_data(&whole), from, size);
	for (unsigned t = 0; t < (publishes ? 1 : shuffle.targets); t++) {
		zmq_msg_init(&m);
		zmq_msg_copy(&m, &whole);
		while (zmq_msg_send(&m, to[t], 0) < 0)
			need(zmq_errno() == EAGAIN || zmq_errno() == EINTR, "zmq_msg_send");
	}
	zmq_msg_close(&whole);
}

static void send_rows(unsigned target, const void *from, size_t size, struct tally *got)
{
	if (shuffle.broadcast)
		send_to_all(from, size);
	else
		send_message(target, from, size, got);
}

static void push_row(const unsigned char *row, struct tally *got)
{
	unsigned target = shuffle.broadcast ? 0 : row_target(row, shuffle.targets);

	if (message == shuffle.o.size) {
		send_rows(target, row, message, got);
		return;
	}
	memcpy(buffer[target] + filled[target], row, shuffle.o.size);
	filled[target] += shuffle.o.size;
	if (filled[target] == message) {
		send_rows(target, buffer[target], message, got);
		filled[target] = 0;
	}
}

static void push_until_end(const struct rows *rows, struct outcome *mine)
{
	size_t look = rows_per_look(), at = 0;
	uint64_t pushed = 0;

	for (unsigned looks = 1; !time_is_up; looks++) {
		size_t count = rows->count - at < look ? rows->count - at : look;

		for (size_t i = 0; i < count; i++)
			push_row(rows->data + (at + i) * shuffle.o.size, &mine->got);
		pushed += count;
		at = at + count == rows->count ? 0 : at + count;
		while (shuffle.both && looks % 8 == 0 && take_one(&mine->got))
			;
	}
	for (unsigned t = 0; t < (shuffle.broadcast ? 1 : shuffle.targets); t++) {
		if (filled[t])
			send_rows(t, buffer[t], filled[t], &mine->got);
		send_rows(t, "", 0, &mine->got); /* the end */
	}
	outcome_sent(mine, rows, pushed);
}

static void *bound(void *context, int type, char at[64])
{
	void *socket = socket_new(context, type);
	size_t length = sizeof endpoint[0];

	need(!zmq_bind(socket, "tcp://127.0.0.1:*") && !zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, at, &length), "zmq_bind");
	return socket;
}

static void push_sockets(void *context)
{
	for (unsigned t = 0; t < shuffle.targets; t++) {
		to[t] = socket_new(context, ZMQ_PUSH);
		need(!zmq_connect(to[t], endpoint[t]), "zmq_connect");
	}
}

/* One socket that publishes: it waits for the slowest subscriber instead of dropping what that has no room for. */
static void publisher(void *context, unsigned source)
{
	to[0] = bound(context, ZMQ_XPUB, endpoint[source]);
	need(!zmq_setsockopt(to[0], ZMQ_XPUB_NODROP, &(int){ 1 }, sizeof(int)) &&
		     !zmq_setsockopt(to[0], ZMQ_XPUB_VERBOSE, &(int){ 1 }, sizeof(int)), "zmq_setsockopt");
}

static void subscriber(void *context)
{
	in = socket_new(context, ZMQ_SUB);
	need(!zmq_setsockopt(in, ZMQ_SUBSCRIBE, "", 0), "ZMQ_SUBSCRIBE");
	for (unsigned s = 0; s < shuffle.sources; s++)
		need(!zmq_connect(in, endpoint[s]), "zmq_connect");
}

/* Until all targets have subscribed. */
static void await_subscribers(void)
{
	char subscription[1];

	for (unsigned t = 0; t < shuffle.targets; t++)
		need(zmq_recv(to[0], subscription, sizeof subscription, 0) == 1, "a subscription");
}

/* A context's threads do not survive a fork, so each process makes its own. */
static void body(unsigned process, struct outcome *mine)
{
	int source = source_of(process), target = target_of(process);
	void *context = zmq_ctx_new();
	struct rows rows = { 0 };

	need(context != NULL, "zmq_ctx_new");
	flags = shuffle.both ? ZMQ_DONTWAIT : 0;
	if (target >= 0 && !publishes)
		in = bound(context, ZMQ_PULL, endpoint[target]);
	if (source >= 0 && publishes)
		publisher(context, (unsigned)source);
	shuffle_meet(); /* all endpoints are known */
	if (source >= 0) {
		rows = rows_new((unsigned)source);
		for (unsigned t = 0; t < shuffle.targets; t++)
			buffer[t] = record_new(message);
		if (!publishes)
			push_sockets(context);
	}
	if (target >= 0) {
		open_sources = shuffle.sources;
		if (publishes)
			subscriber(context);
	}
	if (source >= 0 && publishes)
		await_subscribers();
	shuffle_begin(mine);
	if (source >= 0)
		push_until_end(&rows, mine);
	flags = 0;
	while (open_sources)
		take_one(&mine->got);
	mine->end = now_ns();
	for (unsigned t = 0; t < shuffle.targets; t++)
		if (to[t])
			zmq_close(to[t]);
	if (in)
		zmq_close(in);
	zmq_ctx_term(context);
}

int main(int argc, char **argv)
{
	shuffle_options("batch mode", argc, argv);
	publishes = !strcmp(shuffle.o.mode, "publish");
	if (shuffle.broadcast && shuffle.both)
		die(2, "--roles takes apart with --dist broadcast here");
	if (publishes && !shuffle.broadcast)
		die(2, "--mode publish sends every row to each target: --dist broadcast");
	message = shuffle.o.batch / shuffle.o.size ? shuffle.o.batch / shuffle.o.size * shuffle.o.size : shuffle.o.size;
	endpoint = shared_memory(PARTIES * sizeof *endpoint);
	shuffle_run("zmq", body);
	return 0;
}
