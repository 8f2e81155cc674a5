/* SPDX-License-Identifier: Apache-2.0
 * flow_loops.c: sources and targets in event loops, on descriptors: no wake-up is lost; and pushes that do not wait. */
#include <fcntl.h>
#include <signal.h>

#include "descriptor_kit.h"
#include "flow_kit.h"

static int fd_of_source(DPI_Source s)
{
	int fd = -1, again = -1;
	CHECK_DPI(DPI_Get_Source_Descriptor(s, &fd));
	CHECK_DPI(DPI_Get_Source_Descriptor(s, &again));
	CHECK(fd >= 0 && fd == again);
	return fd;
}

static int fd_of_target(DPI_Target t)
{
	int fd = -1, again = -1;
	CHECK_DPI(DPI_Get_Target_Descriptor(t, &fd));
	CHECK_DPI(DPI_Get_Target_Descriptor(t, &again));
	CHECK(fd >= 0 && fd == again);
	return fd;
}

static bool arm_source(DPI_Source s)
{
	int ready = -1;
	CHECK_DPI(DPI_Arm_Source(s, &ready));
	CHECK(ready == 0 || ready == 1);
	return ready;
}

static bool arm_target(DPI_Target t)
{
	int ready = -1;
	CHECK_DPI(DPI_Arm_Target(t, &ready));
	CHECK(ready == 0 || ready == 1);
	return ready;
}

#define ROWS 4000

/* Rows in groups, at all distances; only flushes, marks and closing make them visible in time. */
static void push_groups(DPI_Source s, int rank)
{
	uint64_t seed = draw_seed(rank);
	for (int64_t i = 0; i < ROWS;) {
		int64_t group = 1 + (int64_t)draw(&seed, 8);
		if (group > ROWS - i) group = ROWS - i;
		push_rows(s, rank, i, group);
		i += group;
		if (draw(&seed, 20)) CHECK_DPI(DPI_Flush_Source(s));
		else CHECK_DPI(DPI_Push_Mark((uint64_t)i, s));
		if (draw(&seed, 3) == 0) usleep((useconds_t)draw(&seed, 400));
		if (draw(&seed, 200) == 0) pause_ms((int)draw(&seed, 5));
	}
}

TEST(flow_loop_takes, "FL-603", 3, .deadline_s = 180)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 2, .segment = 1024, .linger_us = 60 * SECOND);
	if (rank == 2) {
		DPI_Target t = target_of(0, f);
		struct flow_tally tally = { 0 };
		uint64_t seed = draw_seed(rank);
		int loop = loop_with(fd_of_target(t)), error = DPI_SUCCESS;
		DPI_Tuple u;
		harness_barrier();
		while (error != DPI_ERR_END) {
			/* mostly all; sometimes it asks with rows left, or before it has looked */
			uint64_t most = draw(&seed, 4) ? UINT64_MAX : draw(&seed, 3);
			for (error = DPI_SUCCESS; most && !(error = DPI_Try_Next(t, &u)); most--)
				if (u.kind == DPI_TUPLE_ROW) flow_take(&tally, u.data, u.size);
			if (error == DPI_ERR_END) break;
			if (error) CHECK_INT(error, ==, DPI_ERR_AGAIN);
			if (arm_target(t)) {
				CHECK(!readable(loop, 0));
				error = DPI_Try_Next(t, &u);
				CHECK(!error || error == DPI_ERR_END);
				if (!error && u.kind == DPI_TUPLE_ROW) flow_take(&tally, u.data, u.size);
			} else {
				CHECK_WOKEN(loop);
			}
		}
		CHECK_INT(tally.total, ==, 2 * ROWS);
		CHECK(arm_target(t)); /* the end is for ever */
		CHECK_DPI(DPI_Close_Target(t));
		close(loop);
	} else {
		DPI_Source s = source_of(f);
		harness_barrier();
		push_groups(s, rank);
		CHECK_DPI(DPI_Close_Source(s));
	}
	leave(ctx);
}

/* What the program may be told of: taken. */
static void take_acks(DPI_Source s)
{
	DPI_Acked acks[64];
	size_t count = 1;
	while (!DPI_Try_Next_Acks(acks, 64, s, &count) && count) {}
}

/* The source fills the rings again and again, at first of targets that are not there yet, and sleeps until there is room. */
static void loop_pushes(int rank, DPI_Flow_Attr *a)
{
	_Atomic int *waits = harness_shared();
	DPI_Context ctx = join();
	a->targets = 2;
	a->sources = 1;
	if (!a->segment) a->segment = 512;
	if (!a->memory) a->memory = 16384;
	DPI_Flow f = kit_flow("f", a, ctx);
	if (rank == 0) {
		DPI_Source s = source_of(f);
		int loop = loop_with(fd_of_source(s));
		CHECK(arm_source(s)); /* no row has found no room */
		CHECK(!readable(loop, 0));
		harness_barrier();
		for (int64_t n = 0; n < 3 * ROWS; n++) {
			struct flow_row r = row_of(0, n, n);
			int error, ready = 0;
			while ((error = (DPI_Try_Push)(&r, sizeof r, s))) {
				if (a->ack && error == DPI_ERR_LIMIT) {
					take_acks(s);
					continue;
				}
				CHECK_INT(error, ==, DPI_ERR_AGAIN);
				if (arm_source(s)) {
					CHECK(!readable(loop, 0));
					/* a segment at a time; what is told of comes first */
					if (a->aggregate_count || a->ack) {
						CHECK_INT(++ready, <, 1000);
						continue;
					}
					CHECK_DPI((DPI_Try_Push)(&r, sizeof r, s));
					break;
				}
				++*waits;
				CHECK_WOKEN(loop);
			}
		}
		CHECK_DPI(DPI_Close_Source(s));
		close(loop);
	} else {
		uint64_t seed = draw_seed(rank);
		int64_t rows = 0;
		DPI_Tuple u;
		int error;
		harness_barrier();
		AWAIT(*waits);
		pause_ms((int)draw(&seed, 30));
		DPI_Target t = target_of((uint32_t)rank - 1, f);
		CHECK_INT(*waits, <, 100); /* until there is room the source sleeps */
		for (; !(error = DPI_Next(t, &u)); rows++) {
			if (draw(&seed, 8) == 0) usleep((useconds_t)draw(&seed, 200));
			if (draw(&seed, 400) == 0) pause_ms((int)draw(&seed, 5));
		}
		CHECK_INT(error, ==, DPI_ERR_END);
		CHECK_INT(rows, >, 0);
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

TEST(flow_loop_pushes, "FL-603", 3, .deadline_s = 180)
{
	loop_pushes(rank, FLOW_ATTR(.segment = 512));
}

TEST(columns_loop_pushes, "FL-603", 3, .deadline_s = 180)
{
	loop_pushes(rank, FLOW_ATTR(.layout = DPI_LAYOUT_COLUMNS, .segment = 2048, .memory = 32768));
}

TEST(codec_loop_pushes, "FL-603", 3, .deadline_s = 180)
{
	static const DPI_Codec lz4 = { .codec = DPI_CODEC_LZ4 };
	loop_pushes(rank, FLOW_ATTR(.codecs = &lz4, .codec_count = 1));
}

TEST(columns_codec_loop_pushes, "FL-603", 3, .deadline_s = 180)
{
	static const DPI_Codec lz4 = { .codec = DPI_CODEC_LZ4 };
	loop_pushes(rank, FLOW_ATTR(.layout = DPI_LAYOUT_COLUMNS, .segment = 2048, .memory = 32768, .codecs = &lz4, .codec_count = 1));
}

/* Partial rows find no room when the source's table is full. */
TEST(reduce_loop_pushes, "FL-603", 3, .deadline_s = 180)
{
	static const char *const key[] = { "number" };
	static const DPI_Aggregate sum = { .function = DPI_AGGREGATE_SUM, .column = "from", .name = "sum" };
	loop_pushes(rank, FLOW_ATTR(.key = key, .key_count = 1, .aggregates = &sum, .aggregate_count = 1, .reduce_memory = 65536));
}

/* As many rows wait for acknowledgements as may. */
TEST(ack_loop_pushes, "FL-603 FL-511", 3, .deadline_s = 180)
{
	loop_pushes(rank, FLOW_ATTR(.ack = DPI_ACK_RELEASED, .ack_pending = 100, .memory = 1 << 20, .segment = 4096));
}

static int fd_of_acks(DPI_Source s)
{
	int fd = -1, again = -1;
	CHECK_DPI(DPI_Get_Ack_Descriptor(s, &fd));
	CHECK_DPI(DPI_Get_Ack_Descriptor(s, &again));
	CHECK(fd >= 0 && fd == again);
	return fd;
}

static bool arm_acks(DPI_Source s)
{
	int ready = -1;
	CHECK_DPI(DPI_Arm_Acks(s, &ready));
	CHECK(ready == 0 || ready == 1);
	return ready;
}

/* Rows of which a source is told; false: none now. */
static bool told(DPI_Source s, bool wait, bool *came, int64_t *rows)
{
	DPI_Acked acks[16];
	size_t count = 0;
	int error = (wait ? DPI_Next_Acks : DPI_Try_Next_Acks)(acks, 16, s, &count);
	for (size_t i = 0; i < count; i++) {
		CHECK(acks[i].key >= 1 && acks[i].key <= ROWS && !came[acks[i].key]);
		CHECK_DPI(acks[i].error);
		came[acks[i].key] = true, ++*rows;
	}
	if (error) CHECK_INT(error, ==, wait ? DPI_SUCCESS : DPI_ERR_AGAIN);
	return !error;
}

/* The source pushes in groups, which nothing but arming, or waiting, makes travel in time, and sleeps until it is told of all of them, or of some. */
static void loop_acks(int rank, DPI_Flow_Attr *a)
{
	_Atomic int *waits = harness_shared();
	DPI_Context ctx = join();
	a->targets = 2, a->sources = 1, a->linger_us = 60 * SECOND;
	if (!a->segment) a->segment = 1024;
	DPI_Flow f = kit_flow("f", a, ctx);
	uint64_t seed = draw_seed(rank);
	if (rank == 0) {
		static bool came[ROWS + 1];
		DPI_Source s = source_of(f);
		int fd = fd_of_acks(s), loop = loop_with(fd);
		int64_t rows = 0;
		CHECK(fd != fd_of_source(s));
		CHECK(!arm_acks(s)); /* nothing waits */
		harness_barrier();
		for (int64_t i = 0, group; i < ROWS; i += group) {
			group = 1 + (int64_t)draw(&seed, 40);
			if (group > ROWS - i) group = ROWS - i;
			push_rows(s, 0, i, group);
			bool all = draw(&seed, 4) || i + group == ROWS;
			while (rows < (all ? i + group : i)) {
				while (told(s, false, came, &rows)) continue;
				if (rows == i + group) break;
				if (draw(&seed, 5) == 0) {
					CHECK(told(s, true, came, &rows));
				} else if (arm_acks(s)) {
					CHECK(!readable(loop, 0));
					CHECK(told(s, false, came, &rows));
				} else {
					++*waits;
					CHECK_WOKEN(loop);
				}
			}
		}
		CHECK(!arm_acks(s));
		if (a->ack != DPI_ACK_RECEIVED) CHECK_INT(*waits, >, 0); /* in memory that is shared rows are received when they are sent */
		CHECK_DPI(DPI_Close_Source(s));
		CHECK(fcntl(fd, F_GETFD) < 0);
		close(loop);
	} else {
		DPI_Target t = target_of((uint32_t)rank - 1, f);
		DPI_Tuple u;
		int error;
		harness_barrier();
		while (!(error = DPI_Next(t, &u))) {
			if (draw(&seed, 50) == 0) usleep((useconds_t)draw(&seed, 300));
			if (a->ack == DPI_ACK_CONFIRMED) CHECK_DPI(DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, t));
		}
		CHECK_INT(error, ==, DPI_ERR_END);
		CHECK_DPI(DPI_Close_Target(t));
	}
	leave(ctx);
}

TEST(flow_loop_acks_received, "FL-521", 3, .deadline_s = 180) { loop_acks(rank, FLOW_ATTR(.ack = DPI_ACK_RECEIVED)); }
TEST(flow_loop_acks_released, "FL-521", 3, .deadline_s = 180) { loop_acks(rank, FLOW_ATTR(.ack = DPI_ACK_RELEASED)); }
TEST(flow_loop_acks_confirmed, "FL-521", 3, .deadline_s = 180) { loop_acks(rank, FLOW_ATTR(.ack = DPI_ACK_CONFIRMED)); }
TEST(flow_loop_acks_retained, "FL-521", 3, .deadline_s = 180)
{
	loop_acks(rank, FLOW_ATTR(.ack = DPI_ACK_CONFIRMED, .retain = DPI_ACK_CONFIRMED));
}

TEST(columns_loop_acks, "FL-521", 3, .deadline_s = 180)
{
	loop_acks(rank, FLOW_ATTR(.ack = DPI_ACK_RELEASED, .layout = DPI_LAYOUT_COLUMNS, .segment = 2048));
}

TEST(codec_loop_acks, "FL-521", 3, .deadline_s = 180)
{
	static const DPI_Codec lz4 = { .codec = DPI_CODEC_LZ4 };
	loop_acks(rank, FLOW_ATTR(.ack = DPI_ACK_RECEIVED, .codecs = &lz4, .codec_count = 1));
}

/* What waits in the source's table goes out when it is armed, though there is no room for all of it. */
TEST(reduce_loop_acks, "FL-521", 3, .deadline_s = 180)
{
	static const char *const key[] = { "number" };
	static const DPI_Aggregate sum = { .function = DPI_AGGREGATE_SUM, .column = "from", .name = "sum" };
	loop_acks(rank, FLOW_ATTR(.key = key, .key_count = 1, .ack = DPI_ACK_RECEIVED, .memory = 16384, .aggregates = &sum, .aggregate_count = 1));
}

TEST(flow_loop_acks_misused, "FL-521", 1, .once = true)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .ack = DPI_ACK_RELEASED), none = FLOW("none", ctx, .targets = 1);
	DPI_Source s = source_of(f), without = source_of(none);
	int fd = 5, ready = -1;
	CHECK_ERROR(DPI_Get_Ack_Descriptor(without, &fd), DPI_ERR_USE, "no acknowledgements");
	CHECK_ERROR(DPI_Arm_Acks(without, &ready), DPI_ERR_USE, "no acknowledgements");
	CHECK_ERROR(DPI_Arm_Acks(s, &ready), DPI_ERR_STATE, "no descriptor");
	CHECK_ERROR(DPI_Get_Ack_Descriptor(s, NULL), DPI_ERR_ARGUMENT, "fd is NULL");
	int loop = loop_with(fd_of_acks(s));
	CHECK_ERROR(DPI_Arm_Acks(s, NULL), DPI_ERR_ARGUMENT, "ready is NULL");
	CHECK(!arm_acks(s));
	CHECK_DPI(DPI_Cancel_Flow("enough", f));
	CHECK_WOKEN(loop);
	while (!arm_acks(s)) CHECK_WOKEN(loop);
	DPI_Acked a;
	size_t count;
	CHECK_ERROR(DPI_Try_Next_Acks(&a, 1, s, &count), DPI_ERR_CANCELLED, "enough");
	close(loop);
	leave(ctx);
}

/* What a target's memory has got is learnt by flushes, whose steps nobody else takes; a transport may refuse one. */
TEST(ack_received_loop_pushes, "FL-603 FL-511", 3, .deadline_s = 180)
{
	loop_pushes(rank, FLOW_ATTR(.ack = DPI_ACK_RECEIVED, .ack_pending = 2, .memory = 1 << 20, .segment = 4096, .hint = DPI_HINT_LATENCY));
}

TEST(columns_ack_received_loop_pushes, "FL-603 FL-511", 3, .deadline_s = 180)
{
	loop_pushes(rank, FLOW_ATTR(.ack = DPI_ACK_RECEIVED, .ack_pending = 2, .memory = 1 << 20, .segment = 4096, .hint = DPI_HINT_LATENCY, .layout = DPI_LAYOUT_COLUMNS));
}

/* In one thread: both ends of a flow whose ring is smaller than what goes through. */
TEST(flow_loop_alone, "FL-603", 1, .once = true)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .segment = 512, .memory = 16384);
	DPI_Source s = source_of(f);
	struct flow_row r = row_of(0, 0, 0);
	DPI_Tuple u;
	int room = loop_with(fd_of_source(s)), ready = -1;
	CHECK_INT(DPI_Try_Push(&r, sizeof r, s), ==, DPI_ERR_AGAIN);
	CHECK(!arm_source(s)); /* its target is not open */
	DPI_Target t = target_of(0, f);
	int rows = loop_with(fd_of_target(t));
	CHECK(!arm_target(t));
	for (int64_t pushed = 0, taken = 0; taken < ROWS;) {
		struct flow_row n = row_of(0, pushed, pushed);
		int error = DPI_SUCCESS;
		while (pushed < ROWS && !(error = DPI_Try_Push(&n, sizeof n, s))) pushed++, n = row_of(0, pushed, pushed);
		if (error) CHECK_INT(error, ==, DPI_ERR_AGAIN);
		if (pushed == ROWS) CHECK_DPI(DPI_Flush_Source(s));
		else if (!arm_source(s) && !taken && !pushed) CHECK_WOKEN(room); /* it gets a ring */
		for (; !(error = DPI_Try_Next(t, &u)); taken++) CHECK_INT(((const struct flow_row *)u.data)->number, ==, taken);
		CHECK_INT(error, ==, DPI_ERR_AGAIN);
		if (pushed == ROWS && taken < ROWS && !arm_target(t)) CHECK_WOKEN(rows);
	}
	void *place;
	CHECK_DPI(DPI_Reserve(sizeof r, 0, s, &place));
	CHECK_ERROR(DPI_Arm_Source(s, &ready), DPI_ERR_STATE, "handed out");
	CHECK_DPI(DPI_Discard(s));
	CHECK_ERROR(DPI_Arm_Source(s, NULL), DPI_ERR_ARGUMENT, "ready is NULL");
	CHECK_ERROR(DPI_Arm_Target(t, NULL), DPI_ERR_ARGUMENT, "ready is NULL");
	CHECK_ERROR(DPI_Get_Source_Descriptor(s, NULL), DPI_ERR_ARGUMENT, "fd is NULL");
	CHECK_ERROR(DPI_Get_Target_Descriptor(t, NULL), DPI_ERR_ARGUMENT, "fd is NULL");
	while (arm_target(t)) CHECK_INT(DPI_Try_Next(t, &u), ==, DPI_ERR_AGAIN);
	int fd[2] = { fd_of_source(s), fd_of_target(t) };
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_WOKEN(rows); /* the end */
	CHECK_INT(DPI_Try_Next(t, &u), ==, DPI_ERR_END);
	CHECK_DPI(DPI_Close_Target(t));
	for (int i = 0; i < 2; i++) CHECK(fcntl(fd[i], F_GETFD) < 0);
	close(room);
	close(rows);
	CHECK_ERROR(DPI_Arm_Source(s, &ready), DPI_ERR_HANDLE, "closed");
	CHECK_ERROR(DPI_Arm_Target(t, &ready), DPI_ERR_HANDLE, "closed");
	CHECK_ERROR(DPI_Get_Source_Descriptor(s, &fd[0]), DPI_ERR_HANDLE, "closed");
	CHECK_ERROR(DPI_Get_Target_Descriptor(t, &fd[0]), DPI_ERR_HANDLE, "closed");
	leave(ctx);
}

/* A flow that fails wakes both. */
TEST(flow_loop_hears_of_failure, "FL-603", 3)
{
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .targets = 2, .sources = 1);
	struct flow_row r = row_of(0, 0, 0);
	int ready = -1, loop = -1;
	DPI_Tuple u;
	if (rank == 0) {
		DPI_Source s = source_of(f);
		uint32_t to = 0, count;
		for (int64_t n = 0; !to; n++) {
			r = row_of(0, n, n);
			CHECK_DPI(DPI_Route(&r, sizeof r, f, &to, &count));
		}
		CHECK_ERROR(DPI_Arm_Source(s, &ready), DPI_ERR_STATE, "no descriptor");
		loop = loop_with(fd_of_source(s));
		CHECK_INT(DPI_Try_Push(&r, sizeof r, s), ==, DPI_ERR_AGAIN); /* nobody opens target 1 */
		CHECK(!arm_source(s));
		harness_barrier();
		CHECK_WOKEN(loop);
		while (!arm_source(s)) CHECK_WOKEN(loop);
		CHECK_ERROR(DPI_Try_Push(&r, sizeof r, s), DPI_ERR_CANCELLED, "enough");
		CHECK(arm_source(s));
	} else if (rank == 1) {
		DPI_Target t = target_of(0, f);
		CHECK_ERROR(DPI_Arm_Target(t, &ready), DPI_ERR_STATE, "no descriptor");
		loop = loop_with(fd_of_target(t));
		CHECK(!arm_target(t));
		harness_barrier();
		while (!arm_target(t)) CHECK_WOKEN(loop);
		CHECK_ERROR(DPI_Try_Next(t, &u), DPI_ERR_CANCELLED, "enough");
		CHECK(arm_target(t));
	} else {
		harness_barrier();
		CHECK_DPI(DPI_Cancel_Flow("enough", f));
	}
	if (loop >= 0) close(loop);
	leave(ctx);
}

/* More than a look takes has come, and nothing comes of it but the last row: no source is there any more who would ring for the rest. */
static void much_comes_to_one(int rank, bool by_context)
{
	enum { MANY = 20000 };
	static const DPI_Stage last = { .kind = DPI_STAGE_FILTER, .place = DPI_AT_TARGET, .text = "number = 19999" };
	DPI_Context ctx = join();
	DPI_Flow f = FLOW("f", ctx, .sources = 1, .segment = 512, .memory = 32 << 20, .stages = &last, .stage_count = 1);
	if (rank == 0) {
		DPI_Source s = source_of(f);
		push_rows(s, 0, 0, MANY);
		CHECK_DPI(DPI_Close_Source(s));
		harness_barrier();
	} else {
		DPI_Target t = target_of(0, f);
		DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
		struct flow_tally tally = { .last = { MANY - 2 } };
		int loop = loop_with(by_context ? fd_of_context(ctx) : fd_of_target(t)), error = DPI_SUCCESS;
		DPI_Tuple u;
		harness_barrier();
		UNTIL(10 * SECOND, info.closed == 1, CHECK_DPI(DPI_Get_Flow_Info(f, &info)));
		while (error != DPI_ERR_END) {
			if (by_context) CHECK_DPI(DPI_Arm_Context(ctx));
			else while (!arm_target(t)) CHECK_WOKEN(loop);
			while (!(error = DPI_Try_Next(t, &u))) flow_take(&tally, u.data, u.size);
			if (error == DPI_ERR_AGAIN && by_context) CHECK_WOKEN(loop);
		}
		CHECK_INT(tally.total, ==, 1);
		CHECK_DPI(DPI_Close_Target(t));
		close(loop);
	}
	leave(ctx);
}

TEST(flow_loop_much_comes_to_one, "FL-603", 2) { much_comes_to_one(rank, false); }
TEST(flow_context_loop_much_comes_to_one, "P-33", 2) { much_comes_to_one(rank, true); }

static char state_of_process(int64_t pid)
{
	char path[40], text[400] = "";
	snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
	FILE *f = fopen(path, "r");
	CHECK(f);
	CHECK(fgets(text, sizeof text, f));
	fclose(f);
	const char *end = strrchr(text, ')');
	CHECK(end);
	return end[2];
}

/* A target's process that does not answer holds up nobody who tries. */
TEST(flow_try_waits_for_nobody, "FL-602", 2)
{
	DPI_Context ctx = join();
	DPI_Flow known = FLOW("known", ctx, .sources = 1), f = FLOW("f", ctx, .sources = 1);
	if (rank == 0) {
		DPI_Source first = source_of(known), s = source_of(f);
		struct flow_row r = row_of(0, 0, 0);
		harness_barrier();
		push_rows(first, 0, 0, 1);
		CHECK_DPI(DPI_Close_Source(first)); /* the processes are connected now */
		harness_barrier();
		DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
		UNTIL(10 * SECOND, info.bound == 1, CHECK_DPI(DPI_Get_Flow_Info(f, &info)));
		harness_kill(1, SIGSTOP);
		AWAIT(state_of_process(harness_pid(1)) == 'T');
		for (int i = 0; i < 5; i++) CHECK_INT(DPI_Try_Push(&r, sizeof r, s), ==, DPI_ERR_AGAIN);
		harness_kill(1, SIGCONT);
		UNTIL(10 * SECOND, !error, int error = DPI_Try_Push(&r, sizeof r, s));
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		struct flow_tally tally = { 0 }, none = { 0 };
		DPI_Target first = target_of(0, known), t = target_of(0, f);
		harness_barrier();
		flow_drain(first, &none);
		CHECK_DPI(DPI_Close_Target(first));
		harness_barrier();
		flow_drain(t, &tally);
		CHECK_DPI(DPI_Close_Target(t));
		CHECK_INT(tally.rows[0], ==, 1);
	}
	leave(ctx);
}
