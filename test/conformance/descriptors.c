/* SPDX-License-Identifier: Apache-2.0
 * descriptors.c: file descriptors: what wakes, what does not, and when they end. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "descriptor_kit.h"

/* Nobody armed them, or something was there when they did. */
TEST(never_armed_never_readable, "P-28 P-29 P-32 P-35", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, SMALL), back = MAKE("back", 0, ctx, SMALL);
	harness_barrier();
	if (rank == 0) {
		int loop[4] = {loop_with(fd_of(q, DPI_EVENT_ROOM)), loop_with(fd_of(back, DPI_EVENT_RECORDS)),
			       loop_with(fd_of(back, DPI_EVENT_ROOM)),
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
		for (int i = 0; i < 4; i++) {
			struct epoll_event e = {.events = EPOLLIN};
			CHECK(!epoll_ctl(loop, EPOLL_CTL_ADD, fd[i], &e));
		}
		int64_t cpu, start;
		do { /* until what is under way has settled: a transport that refused a post is tried once more */
			pause_ms(20);
			CHECK_DPI(DPI_Arm_Context(ctx));
			CHECK(!arm(mine, DPI_EVENT_RECORDS));
			CHECK(!arm(full, DPI_EVENT_ROOM));
			CHECK_DPI(DPI_Arm_Request(request, &ready));
			CHECK(!ready);
			cpu = cpu_us(), start = now();
		} while (readable(loop, 400));
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
	/* one that finds no room: a small one may still be taken when the transport is the first to know of the death */
	static const char filler[FILLER];
	CHECK_ERROR(DPI_Append(filler, sizeof filler, full), DPI_ERR_PEER, "1");
	UNTIL(5 * SECOND, arm_request(request), CHECK_WOKEN(done));
	CHECK_ERROR(DPI_Wait(&request, 0), DPI_ERR_PEER, "1");
	close(room), close(done);
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(descriptors_of_wrong_things, "P-37 P-38 A-1", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 0, ctx, DPI_USE_QUEUE), l = MAKE("l", 0, ctx, DPI_USE_LOG),
		   r = MAKE("r", 0, ctx, DPI_USE_REGION, .capacity = 64);
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
		CHECK_DPI(DPI_Append("x", 1, other)); /* it has its ring: nothing needs a descriptor any more */
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
