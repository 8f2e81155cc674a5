/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs alone, between the first RDMA device and the last (--path wire) or within the first: what perftest does, and what it cannot be told.
 * --mode stream: --window writes or reads of --size bytes in --pieces pieces, all over --footprint bytes on both sides; one in --signal
 * of them asks for a completion. The other process does nothing.
 * --mode spin: --size bytes there and back, as writes whose last byte is waited for, or as messages (--direction send); whoever has got them
 * idles for --work nanoseconds before he answers. */
#include "../latency.h"
#include "../process.h"
#include "verbs_side.h"

#include <stdlib.h>
#include <unistd.h>

enum { MESSAGES = 64, FIRST = 0, LAST = 1 }; /* processes, and the devices that they have */
#define RECEIVED (UINT64_C(1) << 63)

static struct options o;
static struct rdma_device devices[2];
static struct verbs_said *said;
static _Atomic uint64_t *over;

struct side {
	struct verbs_side verbs;
	struct ibv_qp *qp;
	struct verbs_said *theirs;
	uint64_t posted, done, counted, arrived;
	uint64_t footprint, from; /* of what is sent, behind what comes; offset of the next */
};

static void receive(struct side *s, uint64_t index)
{
	struct ibv_sge piece = { (uintptr_t)s->verbs.memory + index * o.size, (uint32_t)o.size, s->verbs.mr->lkey };
	struct ibv_recv_wr request = { .wr_id = RECEIVED | index, .sg_list = &piece, .num_sge = 1 }, *bad;

	if (ibv_post_recv(s->qp, &request, &bad))
		die(1, "a receive buffer was refused");
}

static bool messages(void)
{
	return !strcmp(o.direction, "send");
}

static void side_open(struct side *s, int index)
{
	alarm(30);
	s->footprint = strcmp(o.mode, "stream") || o.footprint < o.size ? o.size : o.footprint;
	if (messages())
		s->footprint = MESSAGES * o.size;
	verbs_open(&s->verbs, &devices[index], 2 * s->footprint, (int)o.window + 2 * MESSAGES);
	s->theirs = &said[!index];
	s->qp = verbs_pair(&s->verbs, &said[index], s->theirs, (uint32_t)(o.window + o.signal), (uint32_t)o.pieces, MESSAGES);
	for (uint64_t i = 0; messages() && i < MESSAGES; i++)
		receive(s, i);
	s->theirs->ready = 3; /* it may begin */
	while (said[index].ready < 3)
		usleep(100);
}

static void side_close(struct side *s)
{
	ibv_destroy_qp(s->qp);
	verbs_close(&s->verbs);
}

static void post(struct side *s)
{
	struct ibv_sge piece[16];
	struct ibv_send_wr request = { .wr_id = ++s->posted, .sg_list = piece, .num_sge = (int)o.pieces };
	uint64_t at = 0;

	for (uint64_t i = 0; i < o.pieces; i++) {
		uint64_t end = o.size * (i + 1) / o.pieces;
		piece[i] = (struct ibv_sge){ (uintptr_t)s->verbs.memory + s->footprint + s->from + at, (uint32_t)(end - at), s->verbs.mr->lkey };
		at = end;
	}
	request.opcode = messages() ? IBV_WR_SEND : !strcmp(o.direction, "read") ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE;
	request.wr.rdma.remote_addr = s->theirs->address + s->from;
	request.wr.rdma.rkey = s->theirs->key;
	if (s->posted % o.signal == 0)
		request.send_flags = IBV_SEND_SIGNALED;
	if (o.size <= s->verbs.inline_bytes && strcmp(o.direction, "read"))
		request.send_flags |= IBV_SEND_INLINE;
	verbs_post(s->qp, &request);
}

static void poll(struct side *s)
{
	struct ibv_wc wc;

	while (verbs_poll(&s->verbs, &wc)) {
		if (wc.wr_id & RECEIVED) {
			receive(s, wc.wr_id & ~RECEIVED);
			s->arrived++;
			return;
		}
		s->done = wc.wr_id;
	}
}

/* ---------------------------------------------------------------------------------------------------------------- stream */

static void stream(struct side *s)
{
	uint64_t start, window = o.window < o.signal ? o.signal : o.window; /* of which one completes */

	timer_start(o.seconds);
	start = now_ns();
	while (!time_is_up) {
		while (s->posted - s->done < window) {
			post(s);
			s->from += o.size;
			if (s->from + o.size > s->footprint)
				s->from = 0;
		}
		poll(s);
	}
	result_stream("raw_verbs", &o, s->done, now_ns() - start);
}

/* ------------------------------------------------------------------------------------------------------------- ping-pong */

/* One in --signal completes, which is waited for, so that the queue has room. */
static void send_record(struct side *s)
{
	s->verbs.memory[s->footprint + o.size - 1] = (unsigned char)++s->counted;
	post(s);
	while (!messages() && s->posted % o.signal == 0 && s->done != s->posted)
		poll(s);
}

/* false: the other has ended. */
static bool wait_record(struct side *s)
{
	volatile unsigned char *last = s->verbs.memory + o.size - 1;
	uint64_t next = ++s->arrived;
	unsigned looks = 0;

	s->arrived -= messages();
	while (messages() ? s->arrived != next : *last != (unsigned char)next) {
		if (messages())
			poll(s);
		if (++looks % 1024 == 0 && *over)
			return false;
	}
	return true;
}

static void idle(uint64_t nanoseconds)
{
	for (uint64_t end = now_ns() + nanoseconds; nanoseconds && now_ns() < end;)
		;
}

static void round_trip(void *arg)
{
	send_record(arg);
	wait_record(arg);
	idle(o.work);
}

static void other(unsigned index, void *arg)
{
	static struct side s;

	(void)index, (void)arg;
	pin_appender(0);
	side_open(&s, FIRST);
	timer_start(o.seconds);
	if (strcmp(o.mode, "stream"))
		while (wait_record(&s)) {
			idle(o.work);
			send_record(&s);
		}
	while (!*over)
		usleep(1000);
	side_close(&s);
}

int main(int argc, char **argv)
{
	static struct side s;

	options_parse(&o, "size footprint window signal pieces work seconds direction mode path", argc, argv);
	if (strcmp(o.mode, "stream") ? strcmp(o.mode, "spin") || !strcmp(o.direction, "read") : messages())
		die(2, "takes --mode stream, of writes or reads, or --mode spin, of writes or messages");
	rdma_devices_choose(devices, o.path);
	said = shared_memory(2 * sizeof *said);
	over = shared_memory(sizeof *over);
	spawn(other, 0, NULL);
	pin_consumer();
	side_open(&s, LAST);
	timer_start(o.seconds);
	if (!strcmp(o.mode, "stream"))
		stream(&s);
	else
		latency_run("raw_verbs", &o, round_trip, &s);
	*over = 1;
	reap(1);
	side_close(&s);
	return 0;
}
