/* SPDX-License-Identifier: Apache-2.0
 * event_loops.c: programs that sleep in a loop of their own, on descriptors: no wake-up is lost. */
#include "descriptor_kit.h"

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

TEST(event_loop_consumes, "P-28 P-29 P-30 P-31 P-10", 3, .env = "DPI_LINGER=1min", .deadline_s = 180)
{
	_Atomic int *waits = harness_shared();
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 2, ctx, DPI_USE_QUEUE, .max_record = 64);
	if (rank == 2) {
		struct tally tally = {0};
		uint64_t seed = draw_seed(rank);
		int loop = loop_with(fd_of(q, DPI_EVENT_RECORDS));
		CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, q));
		harness_barrier();
		while (tally.total < 2 * RECORDS + 1) {
			/* mostly all; sometimes it asks with records left, or before it has looked */
			take_some(q, &tally, draw(&seed, 4) ? 1000000 : (int)draw(&seed, 3));
			if (arm(q, DPI_EVENT_RECORDS)) {
				CHECK(!readable(loop, 0));
				CHECK_INT(take_some(q, &tally, 1), ==, 1);
			} else if (tally.total < 2 * RECORDS + 1) {
				++*waits;
				CHECK_WOKEN(loop);
			}
		}
		close(loop);
	} else {
		harness_barrier();
		append_groups(q, rank, RECORDS);
		if (rank == 0) { /* one that it waits for, however late the others came */
			char data[64];
			AWAIT(*waits);
			stamp(data, sizeof data, 0, RECORDS);
			CHECK_DPI(DPI_Append(data, sizeof data, q));
			CHECK_DPI(DPI_Flush_Buffer(q));
		}
	}
	leave(ctx);
}

/* The appender fills the queue again and again and sleeps until there is room. */
TEST(event_loop_appends, "P-30 P-31 P-10", 2, .env = "DPI_LINGER=1min", .deadline_s = 180)
{
	_Atomic int *waits = harness_shared();
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, SMALL);
	uint64_t seed = draw_seed(rank);
	enum { COUNT = 2000 };
	if (rank == 0) {
		char data[1000];
		int loop = loop_with(fd_of(q, DPI_EVENT_ROOM));
		CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, q));
		for (int i = 0; i < COUNT;) {
			size_t size = STAMP_SIZE + draw(&seed, sizeof data - STAMP_SIZE + 1);
			stamp(data, size, 0, (uint64_t)i);
			int error = DPI_Append(data, size, q);
			while (error) { /* of this size */
				CHECK_INT(error, ==, DPI_ERR_TIMEOUT);
				if (!arm(q, DPI_EVENT_ROOM)) {
					*waits += i > 0; /* the first waits for its ring */
					CHECK_WOKEN(loop);
				}
				error = DPI_Append(data, size, q);
			}
			i++;
		}
		CHECK_DPI(DPI_Set_Timeout(0, q));
		CHECK_DPI(DPI_Flush_Buffer(q));
		close(loop);
	} else {
		struct tally tally = {0};
		DPI_Record r;
		AWAIT(*waits);
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

TEST(event_loop_requests, "P-30 P-31 P-34 P-36", 2, .env = "DPI_LINGER=1min", .deadline_s = 180)
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
TEST(event_loop_follows_a_log, "P-30 P-31 P-39", 2, .env = "DPI_LINGER=1min", .deadline_s = 180)
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
TEST(event_loop_of_the_context, "P-33 P-30", 3, .env = "DPI_LINGER=1min", .deadline_s = 180)
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
