/* SPDX-License-Identifier: Apache-2.0
 * descriptors.c: file descriptors in a loop of the program's own: no wake-up is lost, and none comes unasked. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include "memory_kit.h"

#define SMALL DPI_USE_QUEUE, .capacity = 4096, .max_capacity = 1 << 20, .max_record = 1000, .growth = DPI_GROWTH_NONE

static int loop_with(int fd)
{
	int loop = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
	CHECK(loop >= 0);
	if (fd >= 0) CHECK(!epoll_ctl(loop, EPOLL_CTL_ADD, fd, &e));
	return loop;
}

static bool readable(int loop, int ms)
{
	struct epoll_event e;
	int n;
	while ((n = epoll_wait(loop, &e, 1, ms)) < 0) CHECK_INT(errno, ==, EINTR);
	return n;
}

/* What must come: a lost wake-up fails here. */
#define CHECK_WOKEN(loop)                                                                              \
	do {                                                                                           \
		if (!readable(loop, 8000 * harness_slow())) FAIL("slept through what it waited for");  \
	} while (0)

static int fd_of(DPI_Buffer buf, int event)
{
	int fd = -1, again = -1;
	CHECK_DPI(DPI_Get_Buffer_Descriptor(event, buf, &fd));
	CHECK_DPI(DPI_Get_Buffer_Descriptor(event, buf, &again));
	CHECK(fd >= 0 && fd == again);
	return fd;
}

static int fd_of_request(DPI_Request request)
{
	int fd = -1, again = -1;
	CHECK_DPI(DPI_Get_Request_Descriptor(request, &fd));
	CHECK_DPI(DPI_Get_Request_Descriptor(request, &again));
	CHECK(fd >= 0 && fd == again);
	return fd;
}

static int fd_of_context(DPI_Context ctx)
{
	int fd = -1, again = -1;
	CHECK_DPI(DPI_Get_Context_Descriptor(ctx, &fd));
	CHECK_DPI(DPI_Get_Context_Descriptor(ctx, &again));
	CHECK(fd >= 0 && fd == again);
	return fd;
}

static bool arm(DPI_Buffer buf, int event)
{
	int ready = -1;
	CHECK_DPI(DPI_Arm_Buffer(event, buf, &ready));
	CHECK(ready == 0 || ready == 1);
	return ready;
}

static bool arm_request(DPI_Request request)
{
	int ready = -1;
	CHECK_DPI(DPI_Arm_Request(request, &ready));
	CHECK(ready == 0 || ready == 1);
	return ready;
}

/* Take what is there, at most so many. */
static int take_some(DPI_Buffer q, struct tally *t, int most)
{
	DPI_Record r;
	int n = 0, error = DPI_SUCCESS;
	while (n < most && !(error = DPI_Next_Record(q, &r))) {
		tally_take(t, r.data, r.size);
		n++;
	}
	if (error) CHECK_INT(error, ==, DPI_ERR_TIMEOUT);
	return n;
}

/* Groups of records, at all distances from each other; only flushes make them visible in time. */
static void append_groups(DPI_Buffer q, int rank, int records)
{
	char data[64];
	uint64_t seed = draw_seed(rank);
	for (int i = 0; i < records;) {
		for (uint64_t group = 1 + draw(&seed, 8); group && i < records; group--, i++) {
			stamp(data, sizeof data, (uint64_t)rank, (uint64_t)i);
			CHECK_DPI(DPI_Append(data, sizeof data, q));
		}
		CHECK_DPI(DPI_Flush_Buffer(q));
		if (draw(&seed, 3) == 0) usleep((useconds_t)draw(&seed, 400));
		if (draw(&seed, 200) == 0) pause_ms((int)draw(&seed, 5));
	}
}

#define RECORDS 5000

TEST(event_loop_consumes, "P-28 P-29 P-30 P-31 P-10", 3, .env = "DPI_LINGER=1min", .deadline_s = 60)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 2, ctx, DPI_USE_QUEUE, .max_record = 64);
	if (rank == 2) {
		struct tally tally = {0};
		uint64_t seed = draw_seed(rank);
		int loop = loop_with(fd_of(q, DPI_EVENT_RECORDS)), waits = 0;
		CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, q));
		harness_barrier();
		while (tally.total < 2 * RECORDS) {
			/* mostly all; sometimes it asks with records left, or before it has looked */
			take_some(q, &tally, draw(&seed, 4) ? 1000000 : (int)draw(&seed, 3));
			if (arm(q, DPI_EVENT_RECORDS)) {
				CHECK(!readable(loop, 0));
				CHECK_INT(take_some(q, &tally, 1), ==, 1);
			} else if (tally.total < 2 * RECORDS) {
				waits++;
				CHECK_WOKEN(loop);
			}
		}
		CHECK_INT(waits, >, 0);
		close(loop);
	} else {
		harness_barrier();
		append_groups(q, rank, RECORDS);
	}
	leave(ctx);
}

/* The appender fills the queue again and again and sleeps until there is room. */
TEST(event_loop_appends, "P-30 P-31 P-10", 2, .env = "DPI_LINGER=1min", .deadline_s = 60)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, SMALL);
	uint64_t seed = draw_seed(rank);
	enum { COUNT = 2000 };
	if (rank == 0) {
		char data[1000];
		int loop = loop_with(fd_of(q, DPI_EVENT_ROOM)), waits = 0;
		CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, q));
		for (int i = 0; i < COUNT;) {
			size_t size = STAMP_SIZE + draw(&seed, sizeof data - STAMP_SIZE + 1);
			stamp(data, size, 0, (uint64_t)i);
			int error = DPI_Append(data, size, q);
			while (error) { /* of this size */
				CHECK_INT(error, ==, DPI_ERR_TIMEOUT);
				if (!arm(q, DPI_EVENT_ROOM)) {
					waits++;
					CHECK_WOKEN(loop);
				}
				error = DPI_Append(data, size, q);
			}
			i++;
		}
		CHECK_INT(waits, >, 0);
		CHECK_DPI(DPI_Set_Timeout(0, q));
		CHECK_DPI(DPI_Flush_Buffer(q));
		close(loop);
	} else {
		struct tally tally = {0};
		DPI_Record r;
		while (tally.total < COUNT) {
			CHECK_DPI(DPI_Next_Record(q, &r));
			tally_take(&tally, r.data, r.size);
			if (draw(&seed, 8) == 0) usleep((useconds_t)draw(&seed, 300));
			if (draw(&seed, 200) == 0) pause_ms((int)draw(&seed, 5));
		}
	}
	leave(ctx);
}

/* In one thread: both ends of a queue that is too small for what goes through. */
TEST(event_loop_alone, "P-29 P-30 P-31 P-35", 0)
{
	DPI_Context ctx = join();
	DPI_Buffer in = MAKE("q", 0, ctx, SMALL), out = open_buffer("q", ctx);
	struct tally tally = {0};
	char data[1000];
	int records = loop_with(fd_of(out, DPI_EVENT_RECORDS)), room = loop_with(fd_of(in, DPI_EVENT_ROOM));
	CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, in));
	CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, out));
	if (!arm(in, DPI_EVENT_ROOM)) CHECK_WOKEN(room); /* the home gives it a ring first */
	CHECK(arm(in, DPI_EVENT_ROOM));
	uint64_t n = 0;
	for (int round = 0; round < 50; round++) {
		CHECK(!arm(out, DPI_EVENT_RECORDS));
		CHECK(!readable(records, 0));
		for (;; n++) {
			stamp(data, sizeof data, 0, n);
			int error = DPI_Append(data, sizeof data, in);
			if (error == DPI_ERR_TIMEOUT) break;
			CHECK_DPI(error);
		}
		CHECK(!arm(in, DPI_EVENT_ROOM));
		CHECK(!readable(room, 0));
		CHECK_WOKEN(records);
		if (round % 2) CHECK(arm(out, DPI_EVENT_RECORDS)); /* asking makes nothing go away */
		CHECK(take_some(out, &tally, 1000) > 0);
		CHECK_WOKEN(room);
		CHECK(readable(room, 0)); /* and stays so */
		CHECK(arm(in, DPI_EVENT_ROOM));
		CHECK(!readable(room, 0));
	}
	CHECK_INT(tally.total, ==, n);
	/* what is lent stays lent */
	DPI_Record lent[2];
	size_t count;
	CHECK_DPI(DPI_Append("lent", 4, in));
	CHECK_DPI(DPI_Append("next", 4, in));
	CHECK_DPI(DPI_Flush_Buffer(in));
	CHECK_DPI(DPI_Next_Records(out, 1, lent, &count));
	for (int i = 0; i < 3; i++) CHECK(arm(out, DPI_EVENT_RECORDS));
	CHECK_DPI(DPI_Next_Records(out, 1, lent + 1, &count));
	CHECK(!arm(out, DPI_EVENT_RECORDS));
	while (!DPI_Append(data, sizeof data, in)) {}
	CHECK(!memcmp(lent[0].data, "lent", 4) && !memcmp(lent[1].data, "next", 4));
	CHECK_DPI(DPI_Release_Records(2, out));
	CHECK_ERROR(DPI_Release_Records(1, out), DPI_ERR_RANGE, "0 are lent");
	close(records), close(room);
	CHECK_DPI(DPI_Finalize(ctx));
}

/* Until done, in a loop of one's own; the operation's result. */
static int finish_by_events(DPI_Request *request)
{
	int fd = fd_of_request(*request), loop = loop_with(fd), done = 0, error = DPI_SUCCESS;
	struct epoll_event e;
	while (!done) {
		if (!arm_request(*request)) {
			CHECK_WOKEN(loop);
			error = DPI_Test(request, &done);
		} else {
			error = DPI_Test(request, &done);
			CHECK(done);
		}
	}
	CHECK(*request == DPI_REQUEST_NULL);
	CHECK(!readable(loop, 0));
	CHECK(epoll_ctl(loop, EPOLL_CTL_DEL, fd, &e) < 0); /* it was closed */
	close(loop);
	return error;
}

TEST(event_loop_requests, "P-30 P-31 P-34 P-36", 2, .env = "DPI_LINGER=1min", .deadline_s = 60)
{
	_Atomic int *over = harness_shared();
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 1 << 20), l = MAKE("l", 1, ctx, DPI_USE_LOG),
		   q = MAKE("q", 1, ctx, SMALL), p = MAKE("p", 1, ctx, DPI_USE_REGION, .capacity = 4096);
	static char data[200000], back[200000];
	uint64_t position, word, at = info_of(l).first;
	size_t size;
	DPI_Request request;
	harness_barrier();
	for (int i = 0; rank == 0 && i < 60; i++) {
		fill(data, sizeof data, (uint64_t)i);
		CHECK_DPI(DPI_Write_Nb(data, sizeof data, 8, r, &request));
		CHECK_DPI(finish_by_events(&request));
		CHECK_DPI(DPI_Flush_Buffer_Nb(r, &request));
		CHECK_DPI(finish_by_events(&request));
		CHECK_DPI(DPI_Read_Nb(back, sizeof back, 8, r, &request));
		CHECK_DPI(finish_by_events(&request));
		CHECK(filled(back, sizeof back, (uint64_t)i));
		CHECK_DPI(DPI_Fetch_Add_Nb(0, 1, r, &word, &request));
		CHECK_DPI(finish_by_events(&request));
		CHECK_INT(word, ==, i);
		CHECK_DPI(DPI_Append_Position_Nb(data, 100, l, &position, &request));
		CHECK_DPI(finish_by_events(&request));
		CHECK_INT(position, ==, at);
		CHECK_DPI(DPI_Read_Record_Nb(at, back, sizeof back, l, &size, &at, &request));
		CHECK_DPI(finish_by_events(&request));
		CHECK(size == 100 && filled(back, 96, (uint64_t)i));
		DPI_Part parts[] = {{r, data, 100, 8, 0}, {p, data, 50, 0, 0}, {l, data, 10, 0, 0}};
		CHECK_DPI(DPI_Scatter_Nb(parts, 3, &request));
		CHECK_DPI(finish_by_events(&request));
		CHECK_DPI(DPI_Flush_Buffer_Nb(l, &request));
		CHECK_DPI(finish_by_events(&request));
		CHECK_DPI(DPI_Read_Record(at, back, sizeof back, l, &size, &at));
		CHECK_INT(size, ==, 10);
		CHECK_DPI(DPI_Append_Nb(data, 1000, q, &request)); /* mostly there is no room */
		CHECK_DPI(finish_by_events(&request));
		*over = i == 59;
	}
	if (rank == 1) {
		DPI_Record record;
		uint64_t seed = draw_seed(rank);
		CHECK_DPI(DPI_Set_Timeout(2 * MS, q));
		while (!*over) {
			int error = DPI_Next_Record(q, &record);
			if (error) CHECK_INT(error, ==, DPI_ERR_TIMEOUT);
			usleep((useconds_t)draw(&seed, 2000));
		}
	}
	leave(ctx);
}

/* A read at a log's end waits there for what another node appends. */
TEST(event_loop_follows_a_log, "P-30 P-31 P-39", 2, .env = "DPI_LINGER=1min", .deadline_s = 60)
{
	_Atomic int *seen = harness_shared();
	DPI_Context ctx = join();
	DPI_Buffer l = MAKE("l", 1, ctx, DPI_USE_LOG);
	uint64_t at = info_of(l).first, seed = draw_seed(0);
	harness_barrier();
	for (int round = 0; round < 100; round++) {
		int value = -1;
		if (rank == 0) {
			DPI_Request request;
			CHECK_DPI(DPI_Read_Record_Nb(at, &value, sizeof value, l, NULL, &at, &request));
			CHECK_DPI(finish_by_events(&request));
			CHECK_INT(value, ==, round);
			*seen = round + 1;
		} else {
			usleep((useconds_t)draw(&seed, draw(&seed, 4) ? 300 : 3000));
			CHECK_DPI(DPI_Append(&round, sizeof round, l));
			CHECK_DPI(DPI_Flush_Buffer(l));
			if (draw(&seed, 3)) AWAIT(*seen > round);
		}
	}
	harness_barrier();
	if (rank == 0) { /* nothing comes any more: sleeping costs nothing, and giving up works */
		int value;
		DPI_Request request;
		CHECK_DPI(DPI_Read_Record_Nb(at, &value, sizeof value, l, NULL, NULL, &request));
		int loop = loop_with(fd_of_request(request)), woken = 0;
		int64_t start = now(), cpu = cpu_us();
		while (now() - start < 300 * MS)
			if (!arm_request(request)) woken += readable(loop, 300);
		CHECK_INT(cpu_us() - cpu, <, (now() - start) / 20 * harness_slow());
		CHECK_INT(woken, <, 20);
		CHECK(!arm_request(request));
		CHECK_DPI(DPI_Cancel(request));
		CHECK_WOKEN(loop);
		CHECK_ERROR(DPI_Wait(&request, 0), DPI_ERR_CANCELLED, " ");
		close(loop);
	}
	leave(ctx);
}

/* What another call finishes on the way is told, too; and what is given up with its handle. */
TEST(requests_finished_by_the_way, "P-30 P-36", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, SMALL);
	harness_barrier();
	if (rank == 0) {
		static char data[1000];
		DPI_Request request[3];
		int loop[3], room = loop_with(fd_of(q, DPI_EVENT_ROOM));
		fill_up(q);
		for (int i = 0; i < 3; i++) {
			CHECK_DPI(DPI_Append_Nb(data, sizeof data, q, &request[i]));
			loop[i] = loop_with(fd_of_request(request[i]));
			CHECK(!arm_request(request[i]));
		}
		CHECK(!arm(q, DPI_EVENT_ROOM));
		CHECK_DPI(DPI_Cancel(request[1]));
		CHECK_WOKEN(loop[1]);
		CHECK_ERROR(DPI_Wait(&request[1], 0), DPI_ERR_CANCELLED, " ");
		harness_barrier(); /* the other takes all */
		CHECK_DPI(DPI_Wait(&request[2], 0));
		CHECK_WOKEN(loop[0]);
		CHECK(arm_request(request[0]));
		CHECK_DPI(DPI_Wait(&request[0], DPI_NO_WAIT));
		UNTIL(5 * SECOND, arm(q, DPI_EVENT_ROOM), CHECK_WOKEN(room)); /* room became ready by these */
		harness_barrier(); /* and takes no more */
		fill_up(q);
		CHECK_DPI(DPI_Append_Nb(data, sizeof data, q, &request[0]));
		int fd = fd_of_request(request[0]);
		close(loop[0]);
		loop[0] = loop_with(fd);
		CHECK(!arm_request(request[0]));
		CHECK_DPI(DPI_Set_Timeout(10 * MS, q));
		DPI_Close_Buffer(q); /* an error: not everything was appended */
		CHECK_WOKEN(loop[0]);
		CHECK(arm_request(request[0])); /* without its buffer */
		CHECK_ERROR(DPI_Wait(&request[0], 0), DPI_ERR_CANCELLED, " ");
		struct epoll_event e;
		CHECK(epoll_ctl(loop[0], EPOLL_CTL_DEL, fd, &e) < 0);
		for (int i = 0; i < 3; i++) close(loop[i]);
		close(room);
	} else {
		DPI_Record record;
		harness_barrier();
		CHECK_DPI(DPI_Set_Timeout(300 * MS, q));
		while (!DPI_Next_Record(q, &record)) {}
		harness_barrier();
	}
	leave(ctx);
}

/* One descriptor for two queues and a request. */
TEST(event_loop_of_the_context, "P-33 P-30", 3, .env = "DPI_LINGER=1min", .deadline_s = 60)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 2, ctx, DPI_USE_QUEUE, .max_record = 64), s = MAKE("s", 2, ctx, DPI_USE_QUEUE, .max_record = 64),
		   r = MAKE("r", 0, ctx, DPI_USE_REGION, .capacity = 64);
	harness_barrier();
	if (rank == 2) {
		struct tally tally = {0};
		DPI_Request request = DPI_REQUEST_NULL;
		int loop = loop_with(fd_of_context(ctx)), done, requests = 0;
		CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, q));
		CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, s));
		while (tally.total < RECORDS || requests < 100) {
			CHECK_DPI(DPI_Arm_Context(ctx));
			int n = take_some(q, &tally, 1000000) + take_some(s, &tally, 1000000);
			if (request == DPI_REQUEST_NULL && requests < 100) {
				CHECK_DPI(DPI_Fetch_Add_Nb(0, 1, r, NULL, &request));
				n++;
			} else {
				CHECK_DPI(DPI_Test(&request, &done));
				requests += done && requests < 100;
				n += done && requests < 100;
			}
			if (!n && (tally.total < RECORDS || requests < 100)) CHECK_WOKEN(loop);
		}
		close(loop);
	} else {
		append_groups(rank ? q : s, rank, RECORDS / 2);
	}
	leave(ctx);
}

/* Nobody armed them, or something was there when they did. */
TEST(never_armed_never_readable, "P-28 P-29 P-32 P-35", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, SMALL), back = MAKE("back", 0, ctx, SMALL);
	harness_barrier();
	if (rank == 0) {
		int loop[4] = {loop_with(fd_of(q, DPI_EVENT_ROOM)), loop_with(fd_of(back, DPI_EVENT_RECORDS)), loop_with(fd_of(back, DPI_EVENT_ROOM)),
			       loop_with(fd_of_context(ctx))};
		UNTIL(5 * SECOND, arm(q, DPI_EVENT_ROOM), ); /* ready: not armed */
		for (int round = 0; round < 200; round++) {
			CHECK_DPI(DPI_Append(&round, sizeof round, q));
			CHECK_DPI(DPI_Flush_Buffer(q));
			if (round % 3 == 0) {
				UNTIL(5 * SECOND, arm(back, DPI_EVENT_RECORDS), ); /* records are there: not armed either */
				CHECK(arm(back, DPI_EVENT_RECORDS));
			}
			TAKE(back, &round, sizeof round);
			for (int i = 0; i < 4; i++) CHECK(!readable(loop[i], 0));
		}
		for (int i = 0; i < 4; i++) close(loop[i]);
	} else {
		for (int round = 0; round < 200; round++) {
			TAKE(q, &round, sizeof round);
			CHECK_DPI(DPI_Append(&round, sizeof round, back));
			CHECK_DPI(DPI_Flush_Buffer(back));
		}
	}
	leave(ctx);
}

/* All kinds are armed; nothing happens. */
TEST(armed_and_idle, "P-32 P-39", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer mine = MAKE("mine", 0, ctx, SMALL), full = MAKE("full", 1, ctx, SMALL);
	harness_barrier();
	if (rank == 0) {
		static char data[FILLER];
		DPI_Request request;
		int ready, loop = loop_with(-1);
		fill_up(full);
		CHECK(!arm((fd_of(full, DPI_EVENT_ROOM), full), DPI_EVENT_ROOM));
		CHECK(!arm((fd_of(mine, DPI_EVENT_RECORDS), mine), DPI_EVENT_RECORDS));
		CHECK_DPI(DPI_Append_Nb(data, sizeof data, full, &request));
		int fd[4] = {fd_of(mine, DPI_EVENT_RECORDS), fd_of(full, DPI_EVENT_ROOM), fd_of_request(request), fd_of_context(ctx)};
		pause_ms(50);
		CHECK(!arm(mine, DPI_EVENT_RECORDS));
		CHECK(!arm(full, DPI_EVENT_ROOM));
		CHECK_DPI(DPI_Arm_Request(request, &ready));
		CHECK(!ready);
		CHECK_DPI(DPI_Arm_Context(ctx));
		pause_ms(20); /* a transport that refused a post is tried once more */
		CHECK_DPI(DPI_Arm_Context(ctx));
		CHECK(!arm(full, DPI_EVENT_ROOM));
		CHECK(!arm_request(request));
		for (int i = 0; i < 4; i++) {
			struct epoll_event e = {.events = EPOLLIN};
			CHECK(!epoll_ctl(loop, EPOLL_CTL_ADD, fd[i], &e));
		}
		int64_t cpu = cpu_us(), start = now();
		CHECK(!readable(loop, 400));
		CHECK_INT(cpu_us() - cpu, <, (now() - start) / 50 * harness_slow());
		CHECK_DPI(DPI_Cancel(request));
		CHECK_ERROR(DPI_Wait(&request, 0), DPI_ERR_CANCELLED, " ");
		close(loop);
	}
	leave(ctx);
}

/* An end is an event. */
TEST(end_wakes_event_loops, "P-40 P-7", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer mine = MAKE("mine", 0, ctx, SMALL), full = MAKE("full", 0, ctx, SMALL);
	harness_barrier();
	if (rank == 0) {
		DPI_Record record;
		DPI_Buffer reader = open_buffer("mine", ctx), writer = open_buffer("full", ctx);
		fill_up(writer);
		int records = loop_with(fd_of(reader, DPI_EVENT_RECORDS)), room = loop_with(fd_of(writer, DPI_EVENT_ROOM));
		CHECK(!arm(reader, DPI_EVENT_RECORDS));
		CHECK(!arm(writer, DPI_EVENT_ROOM));
		harness_barrier();
		UNTIL(5 * SECOND, arm(reader, DPI_EVENT_RECORDS), CHECK_WOKEN(records));
		CHECK_ERROR(DPI_Next_Record(reader, &record), DPI_ERR_DESTROYED, "mine");
		UNTIL(5 * SECOND, arm(writer, DPI_EVENT_ROOM), CHECK_WOKEN(room));
		CHECK_ERROR(DPI_Append("x", 1, writer), DPI_ERR_DESTROYED, "full");
		close(records), close(room);
	} else {
		harness_barrier();
		pause_ms(20);
		CHECK_DPI(DPI_Destroy_Buffer("mine", ctx));
		CHECK_DPI(DPI_Destroy_Buffer("full", ctx));
	}
	CHECK_DPI(DPI_Close_Buffer(mine));
	CHECK_DPI(DPI_Close_Buffer(full));
	leave(ctx);
}

TEST(death_wakes_event_loops, "P-40 P-7", 2, .env = "DPI_PEER_TIMEOUT=2s")
{
	_Atomic int *armed = harness_shared();
	DPI_Context ctx = join();
	DPI_Buffer full = MAKE("full", 1, ctx, SMALL), log = MAKE("log", 1, ctx, DPI_USE_LOG);
	uint64_t end = info_of(log).end;
	char data[8];
	harness_barrier();
	if (rank == 1) {
		AWAIT(*armed);
		harness_kill(1, SIGKILL);
		for (;;) pause_ms(1000);
	}
	DPI_Request request;
	fill_up(full);
	CHECK_DPI(DPI_Read_Record_Nb(end, data, sizeof data, log, NULL, NULL, &request));
	int room = loop_with(fd_of(full, DPI_EVENT_ROOM)), done = loop_with(fd_of_request(request));
	UNTIL(5 * SECOND, !arm_request(request) && !arm(full, DPI_EVENT_ROOM) && !readable(room, 0) && !readable(done, 0), );
	*armed = 1;
	UNTIL(5 * SECOND, arm(full, DPI_EVENT_ROOM), CHECK_WOKEN(room));
	CHECK_ERROR(DPI_Append("x", 1, full), DPI_ERR_PEER, "1");
	UNTIL(5 * SECOND, arm_request(request), CHECK_WOKEN(done));
	CHECK_ERROR(DPI_Wait(&request, 0), DPI_ERR_PEER, "1");
	close(room), close(done);
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(descriptors_of_wrong_things, "P-37 P-38 A-1", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 0, ctx, DPI_USE_QUEUE), l = MAKE("l", 0, ctx, DPI_USE_LOG), r = MAKE("r", 0, ctx, DPI_USE_REGION, .capacity = 64);
	int fd = 7, ready = 7;
	harness_barrier();
	CHECK_ERROR(DPI_Get_Buffer_Descriptor(0, q, &fd), DPI_ERR_ARGUMENT, "event");
	CHECK_ERROR(DPI_Get_Buffer_Descriptor(3, q, &fd), DPI_ERR_ARGUMENT, "event");
	CHECK_ERROR(DPI_Arm_Buffer(-1, q, &ready), DPI_ERR_ARGUMENT, "event");
	CHECK_ERROR(DPI_Get_Buffer_Descriptor(DPI_EVENT_ROOM, q, NULL), DPI_ERR_ARGUMENT, "fd");
	CHECK_ERROR(DPI_Get_Context_Descriptor(ctx, NULL), DPI_ERR_ARGUMENT, "fd");
	CHECK_ERROR(DPI_Arm_Buffer(DPI_EVENT_ROOM, q, NULL), DPI_ERR_ARGUMENT, "ready");
	CHECK_ERROR(DPI_Arm_Buffer(DPI_EVENT_ROOM, q, &ready), DPI_ERR_STATE, "get it");
	CHECK_ERROR(DPI_Arm_Context(ctx), DPI_ERR_STATE, "get it");
	CHECK_ERROR(DPI_Get_Buffer_Descriptor(DPI_EVENT_RECORDS, l, &fd), DPI_ERR_USE, "log");
	CHECK_ERROR(DPI_Get_Buffer_Descriptor(DPI_EVENT_RECORDS, r, &fd), DPI_ERR_USE, "region");
	CHECK_ERROR(DPI_Get_Buffer_Descriptor(DPI_EVENT_ROOM, r, &fd), DPI_ERR_USE, "region");
	CHECK_ERROR(DPI_Arm_Buffer(DPI_EVENT_ROOM, r, &ready), DPI_ERR_USE, "region");
	CHECK_ERROR(DPI_Get_Buffer_Descriptor(DPI_EVENT_ROOM, (DPI_Buffer)(uintptr_t)ctx, &fd), DPI_ERR_HANDLE, " ");
	CHECK_ERROR(DPI_Get_Context_Descriptor((DPI_Context)(uintptr_t)q, &fd), DPI_ERR_HANDLE, " ");
	CHECK_ERROR(DPI_Get_Request_Descriptor(DPI_REQUEST_NULL, &fd), DPI_ERR_ARGUMENT, " ");
	CHECK_ERROR(DPI_Arm_Request(DPI_REQUEST_NULL, &ready), DPI_ERR_ARGUMENT, " ");
	if (rank == 1) CHECK_ERROR(DPI_Get_Buffer_Descriptor(DPI_EVENT_RECORDS, q, &fd), DPI_ERR_USE, "home");
	else {
		DPI_Buffer other = open_buffer("q", ctx);
		DPI_Request request;
		DPI_Record record;
		struct rlimit limit, none;
		int fds[64], n = 0;
		fd_of(q, DPI_EVENT_RECORDS); /* makes it the consumer */
		CHECK_ERROR(DPI_Get_Buffer_Descriptor(DPI_EVENT_RECORDS, other, &fd), DPI_ERR_USE, "consumer");
		CHECK_ERROR(DPI_Arm_Buffer(DPI_EVENT_RECORDS, other, &ready), DPI_ERR_USE, "consumer");
		CHECK_ERROR(DPI_Next_Record(other, &record), DPI_ERR_USE, "consumer");
		CHECK_DPI(DPI_Append_Nb("x", 1, other, &request));
		CHECK_ERROR(DPI_Arm_Request(request, &ready), DPI_ERR_STATE, "get it");
		CHECK_ERROR(DPI_Get_Request_Descriptor(request, NULL), DPI_ERR_ARGUMENT, "fd");
		/* a full table of descriptors */
		CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
		none = (struct rlimit){(rlim_t)dup(0) + 10, limit.rlim_max};
		CHECK(!setrlimit(RLIMIT_NOFILE, &none));
		while (n < 64 && (fds[n] = dup(0)) >= 0) n++;
		CHECK_ERROR(DPI_Get_Buffer_Descriptor(DPI_EVENT_ROOM, other, &fd), DPI_ERR_LIMIT, "ulimit -n");
		CHECK_INT(fd, ==, -1);
		CHECK_ERROR(DPI_Get_Request_Descriptor(request, &fd), DPI_ERR_LIMIT, "ulimit -n");
		CHECK_ERROR(DPI_Get_Context_Descriptor(ctx, &fd), DPI_ERR_LIMIT, "ulimit -n");
		CHECK_ERROR(DPI_Arm_Buffer(DPI_EVENT_ROOM, other, &ready), DPI_ERR_STATE, "get it");
		while (n) close(fds[--n]);
		CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
		fd_of(other, DPI_EVENT_ROOM);
		UNTIL(5 * SECOND, arm(other, DPI_EVENT_ROOM), );
		CHECK_DPI(DPI_Wait(&request, 0));
		CHECK_DPI(DPI_Close_Buffer(other));
		CHECK_ERROR(DPI_Arm_Buffer(DPI_EVENT_ROOM, other, &ready), DPI_ERR_HANDLE, " ");
	}
	leave(ctx);
	CHECK_ERROR(DPI_Arm_Context(ctx), DPI_ERR_STATE, " ");
}

/* A loop that a descriptor was added to has nothing left of it when its handle is closed. */
TEST(descriptors_end_with_their_handles, "P-36", 0)
{
	DPI_Context ctx = join();
	int before = entries("/proc/self/fd"), fds = 0;
	for (int round = 0; round < 100; round++) {
		DPI_Buffer q = MAKE("q", 0, ctx, SMALL);
		DPI_Request request;
		int loop = loop_with(fd_of(q, DPI_EVENT_RECORDS)), context = fd_of_context(ctx);
		struct epoll_event e = {.events = EPOLLIN};
		CHECK(!arm(q, DPI_EVENT_RECORDS));
		fill_up(q);
		CHECK(fcntl(context, F_GETFD) == FD_CLOEXEC);
		CHECK(!arm((fd_of(q, DPI_EVENT_ROOM), q), DPI_EVENT_ROOM));
		CHECK_DPI(DPI_Append_Nb("x", 1, q, &request)); /* there is room for it: done */
		CHECK(!epoll_ctl(loop, EPOLL_CTL_ADD, fd_of_request(request), &e));
		CHECK_DPI(DPI_Arm_Context(ctx));
		CHECK_WOKEN(loop);
		CHECK_DPI(DPI_Wait(&request, 0));
		CHECK_DPI(DPI_Close_Buffer(q));
		CHECK(!readable(loop, 0));
		CHECK_DPI(DPI_Destroy_Buffer("q", ctx));
		close(loop);
		if (!round) fds = entries("/proc/self/fd");
	}
	CHECK_INT(entries("/proc/self/fd"), <=, fds + 2);
	CHECK_DPI(DPI_Finalize(ctx));
	CHECK_INT(entries("/proc/self/fd"), <, before);
}

/* The thread that sleeps need not be the one that arms; and a second one inside is told. */
static void *take_one(void *arg)
{
	DPI_Record record;
	CHECK_DPI(DPI_Next_Record(arg, &record));
	return NULL;
}

TEST(descriptors_and_threads, "P-38 P-14", 0)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 0, ctx, DPI_USE_QUEUE), in = open_buffer("q", ctx);
	int fd, ready;
	int loop = loop_with(fd_of(q, DPI_EVENT_RECORDS));
	CHECK(!arm(q, DPI_EVENT_RECORDS));
	pthread_t t = start_thread(take_one, q);
	await_asleep();
	CHECK_ERROR(DPI_Get_Buffer_Descriptor(DPI_EVENT_RECORDS, q, &fd), DPI_ERR_THREAD, "q");
	CHECK_ERROR(DPI_Arm_Buffer(DPI_EVENT_RECORDS, q, &ready), DPI_ERR_THREAD, "q");
	CHECK_DPI(DPI_Append("x", 1, in));
	CHECK_DPI(DPI_Flush_Buffer(in));
	end_thread(t);
	CHECK_WOKEN(loop); /* by the record that the other thread took */
	CHECK(!arm(q, DPI_EVENT_RECORDS));
	close(loop);
	CHECK_DPI(DPI_Finalize(ctx));
}
