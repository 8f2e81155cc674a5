/* SPDX-License-Identifier: Apache-2.0
 * event_loop.c: an epoll loop over two queues and a timer, as a server has one. Every other process measures something and
 * appends it to the queue "samples" of node 0, and to its queue "alarms" what is out of bounds.
 *
 *	dpirun -n 3 build/examples/event_loop
 */
#include <dpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES 2000 /* of each process */
#define BOUND 990    /* of 0 … 999 */

#define CHECK(call) check((call), #call)
static void check(int error, const char *call)
{
	const char *detail;

	if (error == DPI_SUCCESS)
		return;
	DPI_Get_Error_Detail(&detail);
	fprintf(stderr, "%s: %s\n", call, detail);
	exit(1);
}

struct sample {
	uint32_t node, number, value;
};

/* One thing that the loop waits for. */
struct source {
	int fd;
	DPI_Buffer queue; /* NULL: the timer */
	uint32_t taken;
	uint64_t sum;
};

static void watch(int loop, struct source *s)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = s };

	if (epoll_ctl(loop, EPOLL_CTL_ADD, s->fd, &event)) {
		perror("epoll_ctl");
		exit(1);
	}
}

/* Take what there is, then arm the descriptor. What came in between is taken at once: nothing wakes the loop for it. */
static void take(struct source *s)
{
	DPI_Record record;
	int error, ready;

	do {
		while (!(error = DPI_Next_Record(s->queue, &record))) {
			s->taken++;
			s->sum += ((const struct sample *)record.data)->value;
		}
		if (error != DPI_ERR_TIMEOUT) /* which says that the queue is empty */
			CHECK(error);
		CHECK(DPI_Arm_Buffer(DPI_EVENT_RECORDS, s->queue, &ready));
	} while (ready);
}

static void open_source(struct source *s, const char *name, DPI_Context ctx)
{
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;

	attr.create = DPI_CREATE_OR_OPEN;
	CHECK(DPI_Create_Buffer(name, 0, &attr, ctx, &s->queue));
	CHECK(DPI_Set_Timeout(DPI_NO_WAIT, s->queue)); /* the loop waits, and nothing else */
	CHECK(DPI_Get_Buffer_Descriptor(DPI_EVENT_RECORDS, s->queue, &s->fd));
}

static int serve(uint32_t expected, DPI_Context ctx)
{
	struct source samples = { 0 }, alarms = { 0 }, timer = { 0 };
	struct itimerspec every = { { 0, 5000000 }, { 0, 5000000 } };
	int loop = epoll_create1(EPOLL_CLOEXEC), wakes = 0;

	open_source(&samples, "samples", ctx);
	open_source(&alarms, "alarms", ctx);
	timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (loop < 0 || timer.fd < 0 || timerfd_settime(timer.fd, 0, &every, NULL)) {
		perror("event loop");
		return 0;
	}
	watch(loop, &samples);
	watch(loop, &alarms);
	watch(loop, &timer);
	take(&samples); /* arms them */
	take(&alarms);

	/* The alarms are there when the samples are: each was flushed before its sample was appended. */
	while (samples.taken < expected || timer.taken < 3) {
		struct epoll_event event[4];
		int n = epoll_wait(loop, event, 4, -1);

		wakes += n > 0;
		for (int i = 0; i < n; i++) {
			struct source *s = event[i].data.ptr;
			uint64_t ticks;

			if (s->queue)
				take(s);
			else if (read(s->fd, &ticks, sizeof ticks) == sizeof ticks)
				timer.taken += (uint32_t)ticks;
		}
	}
	take(&alarms);

	uint64_t sum = (uint64_t)expected / SAMPLES * (SAMPLES / 1000) * (999 * 1000 / 2);
	uint32_t out_of_bounds = expected / 1000 * (1000 - BOUND);
	int well = samples.taken == expected && samples.sum == sum && alarms.taken == out_of_bounds;
	printf("%u samples, %u alarms, %u ticks of 5 ms; woken %d times; answer checked: %s\n", samples.taken, alarms.taken,
	       timer.taken, wakes, well ? "ok" : "WRONG");
	CHECK(DPI_Close_Buffer(samples.queue)); /* closes the descriptors, too */
	CHECK(DPI_Close_Buffer(alarms.queue));
	close(timer.fd);
	close(loop);
	return well;
}

static void measure(uint32_t node, DPI_Context ctx)
{
	struct timespec moment = { 0, 200000 };
	DPI_Buffer samples, alarms;

	CHECK(DPI_Open_Buffer("samples", NULL, ctx, &samples)); /* when node 0 has created it */
	CHECK(DPI_Open_Buffer("alarms", NULL, ctx, &alarms));
	for (uint32_t i = 0; i < SAMPLES; i++) {
		struct sample s = { node, i, i * 7 % 1000 }; /* each value SAMPLES / 1000 times */

		if (s.value >= BOUND) {
			CHECK(DPI_Append(&s, sizeof s, alarms));
			CHECK(DPI_Flush_Buffer(alarms)); /* to be seen at once */
		}
		CHECK(DPI_Append(&s, sizeof s, samples)); /* these may linger a moment */
		if (i % 100 == 0)
			nanosleep(&moment, NULL);
	}
	CHECK(DPI_Close_Buffer(samples));
	CHECK(DPI_Close_Buffer(alarms));
}

int main(void)
{
	DPI_Context ctx;
	int node, nodes, well = 1;

	CHECK(DPI_Init(&ctx));
	CHECK(DPI_Get_Node_Id(ctx, &node));
	CHECK(DPI_Get_Node_Count(ctx, &nodes));
	if (node == 0)
		well = serve((uint32_t)(nodes - 1) * SAMPLES, ctx);
	else
		measure((uint32_t)node, ctx);
	CHECK(DPI_Barrier("end", (uint32_t)nodes, 0, ctx));
	CHECK(DPI_Finalize(ctx));
	return well ? 0 : 1;
}
