/* SPDX-License-Identifier: Apache-2.0
 * requests.c: operations that are started and waited for. */
#include <signal.h>

#include "memory_kit.h"

#define SMALL DPI_USE_QUEUE, .capacity = 4096, .max_capacity = 1 << 20, .max_record = 1000, .growth = DPI_GROWTH_NONE

static char data[1000];

/* By DPI_Test alone. */
static int test_through(DPI_Request *request)
{
	int done = 0, error = DPI_SUCCESS;
	UNTIL(10 * SECOND, done, error = DPI_Test(request, &done));
	CHECK(*request == DPI_REQUEST_NULL);
	return error;
}

/* Each call that has the ending: does what the one without does. */
TEST(each_request, "P-19 P-20 P-26 A-48 A-66 A-75 A-78 A-79 A-84 A-85", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), l = MAKE("l", 1, ctx, DPI_USE_LOG), r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 4096);
	DPI_Request none = DPI_REQUEST_NULL, x;
	int done = 7;
	CHECK_DPI(DPI_Test(&none, &done));
	CHECK_INT(done, ==, 1);
	CHECK_DPI(DPI_Wait(&none, DPI_NO_WAIT));
	for (int by_test = 0; by_test < 2; by_test++) {
#define FINISH (by_test ? test_through(&x) : DPI_Wait(&x, 0))
		if (rank == 0) {
			char text[64] = "", more[64] = "";
			uint64_t position = 0, previous = 77, next = 0, at = 64 * (uint64_t)by_test;
			size_t size = 0;
			DPI_Part out[] = {{q, "part", 4, 0, 0}, {r, "part", 4, 1024, 0}, {l, "part", 4, 0, 0}};
			CHECK_DPI(DPI_Append_Nb("append", 6, q, &x));
			CHECK(x != DPI_REQUEST_NULL);
			CHECK_DPI(FINISH);
			CHECK(x == DPI_REQUEST_NULL);
			CHECK_DPI(DPI_Flush_Buffer_Nb(q, &x));
			CHECK_DPI(FINISH);
			CHECK_DPI(DPI_Append_Position_Nb("position", 8, l, &position, &x));
			CHECK_DPI(FINISH);
			CHECK_DPI(DPI_Read_Record_Nb(position, text, sizeof text, l, &size, &next, &x));
			CHECK_DPI(FINISH);
			CHECK_INT(size, ==, 8);
			CHECK_STR(text, "position");
			CHECK_INT(next, ==, info_of(l).end);
			CHECK_DPI(DPI_Write_Nb("write", 5, 512 + at, r, &x));
			CHECK_DPI(FINISH);
			CHECK_DPI(DPI_Read_Nb(more, 5, 512 + at, r, &x));
			CHECK_DPI(FINISH);
			CHECK_STR(more, "write");
			CHECK_DPI(DPI_Fetch_Add_Nb(at, 5, r, &previous, &x));
			CHECK_DPI(FINISH);
			CHECK_INT(previous, ==, 0);
			CHECK_DPI(DPI_Compare_Swap_Nb(at, 5, 9, r, &previous, &x));
			CHECK_DPI(FINISH);
			CHECK_INT(previous, ==, 5);
			CHECK_DPI(DPI_Compare_Swap_Nb(at, 5, 10, r, &previous, &x));
			CHECK_DPI(FINISH);
			CHECK_INT(previous, ==, 9);
			CHECK_DPI(DPI_Fetch_Add_Nb(at, 1, r, NULL, &x));
			CHECK_DPI(FINISH);
			CHECK_DPI(DPI_Scatter_Nb(out, 3, &x));
			CHECK_DPI(FINISH);
			for (int i = 0; i < 3; i++) CHECK_INT(out[i].error, ==, DPI_SUCCESS);
			DPI_Part in[] = {{r, text, 5, 512 + at, 7}, {l, more, sizeof more, position, 7}};
			CHECK_DPI(DPI_Gather_Nb(in, 2, &x));
			CHECK_DPI(FINISH);
			CHECK(!memcmp(text, "write", 5) && !memcmp(more, "position", 8));
			CHECK_INT(in[1].size, ==, 8);
			CHECK_INT(in[0].error | in[1].error, ==, 0);
			CHECK_DPI(DPI_Flush_Buffer_Nb(l, &x));
			CHECK_DPI(FINISH);
			CHECK_DPI(DPI_Scatter_Nb(out, 0, &x));
			CHECK_DPI(FINISH);
		} else {
			TAKE(q, "append", 6);
			TAKE(q, "part", 4);
		}
	}
	leave(ctx);
}

/* With the buffer full, or the home stopped, also for a handle's first operation. */
TEST(starting_never_waits, "P-17 P-19 P-12", 3)
{
	_Atomic int *stage = harness_shared();
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, SMALL), l = MAKE("l", 1, ctx, DPI_USE_LOG), r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 4096);
	DPI_Buffer fresh = open_buffer("q", ctx), fresh_l = open_buffer("l", ctx);
	uint64_t first = info_of(l).first, position, previous, next;
	size_t size;
	harness_barrier();
	if (rank == 0) {
		DPI_Request x[12];
		int done, n = 0;
		static char in[64], text[64];
		int full = fill_up(q);
		int64_t start = now();
		CHECK_DPI(DPI_Append_Nb(data, sizeof data, q, &x[0]));
		CHECK_AT_ONCE(start);
		CHECK_DPI(DPI_Test(&x[0], &done));
		CHECK_INT(done, ==, 0);
		CHECK(x[0] != DPI_REQUEST_NULL);
		CHECK_DPI(DPI_Append_Position("there", 5, l, &position));
		harness_kill(1, SIGSTOP);
		start = now();
		CHECK_DPI(DPI_Append_Nb("abc", 3, fresh, &x[1]));
		CHECK_DPI(DPI_Flush_Buffer_Nb(fresh, &x[2]));
		CHECK_DPI(DPI_Append_Position_Nb("def", 3, fresh_l, &position, &x[3]));
		CHECK_DPI(DPI_Flush_Buffer_Nb(q, &x[4]));
		CHECK_DPI(DPI_Write_Nb("write", 5, 0, r, &x[5]));
		CHECK_DPI(DPI_Flush_Buffer_Nb(r, &x[6]));
		CHECK_DPI(DPI_Read_Nb(in, 5, 0, r, &x[7]));
		CHECK_DPI(DPI_Fetch_Add_Nb(8, 1, r, &previous, &x[8]));
		CHECK_DPI(DPI_Read_Record_Nb(first, text, sizeof text, l, &size, &next, &x[9]));
		DPI_Part part = {r, "scatter", 7, 32, 0};
		CHECK_DPI(DPI_Scatter_Nb(&part, 1, &x[10]));
		CHECK_DPI(DPI_Flush_Buffer_Nb(l, &x[11]));
		for (int i = 0; i < 12; i++) {
			DPI_Request copy = x[i];
			CHECK_DPI(DPI_Test(&copy, &done));
			if (done) x[i] = copy;
			n += done;
		}
		CHECK_AT_ONCE(start);
		CHECK_INT(n, <, 12);
		harness_kill(1, SIGCONT);
		*stage = 1;
		/* then they happen, every one */
		for (int i = 1; i < 12; i++)
			if (i != 4) CHECK_DPI(DPI_Wait(&x[i], 0));
		CHECK_STR(in, "write");
		CHECK_STR(text, "there");
		CHECK_INT(previous, ==, 0);
		*stage = 2;
		CHECK_DPI(DPI_Wait(&x[0], 0));
		CHECK_DPI(DPI_Wait(&x[4], 0));
		CHECK_DPI(DPI_Append(&full, sizeof full, q));
	}
	if (rank == 1) {
		AWAIT(*stage >= 2);
		DPI_Record record;
		bool small = false;
		int taken = 0, value = 0;
		while (!value) {
			CHECK_DPI(DPI_Next_Record(q, &record));
			if (record.size == sizeof data) taken++;
			else if (record.size == 3) small = true;
			else memcpy(&value, record.data, sizeof value);
		}
		CHECK_INT(taken, ==, value + 1);
		CHECK(small);
	}
	leave(ctx);
}

TEST(no_request_without_success, "P-18 R-4", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, SMALL), l = MAKE("l", 1, ctx, DPI_USE_LOG, .max_record = 100),
		   r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 64);
	DPI_Request x;
	uint64_t word;
	size_t size;
#define NONE(call, class)                                                                              \
	do {                                                                                           \
		x = (DPI_Request)&ctx;                                                                 \
		CHECK_ERROR(call, class, ": ");                                                         \
		CHECK(x == DPI_REQUEST_NULL);                                                          \
	} while (0)
	NONE(DPI_Append_Nb(data, 1001, q, &x), DPI_ERR_SIZE);
	NONE(DPI_Append_Nb(data, 1, r, &x), DPI_ERR_USE);
	NONE(DPI_Append_Position_Nb(data, 101, l, &word, &x), DPI_ERR_SIZE);
	NONE(DPI_Append_Position_Nb(data, 1, q, &word, &x), DPI_ERR_USE);
	NONE(DPI_Read_Nb(data, 65, 0, r, &x), DPI_ERR_RANGE);
	NONE(DPI_Read_Nb(data, 1, 0, q, &x), DPI_ERR_USE);
	NONE(DPI_Write_Nb(data, 1, 64, r, &x), DPI_ERR_RANGE);
	NONE(DPI_Write_Nb(data, 1, 0, l, &x), DPI_ERR_USE);
	NONE(DPI_Fetch_Add_Nb(64, 1, r, &word, &x), DPI_ERR_RANGE);
	NONE(DPI_Fetch_Add_Nb(4, 1, r, &word, &x), DPI_ERR_ARGUMENT);
	NONE(DPI_Compare_Swap_Nb(64, 1, 2, r, &word, &x), DPI_ERR_RANGE);
	NONE(DPI_Compare_Swap_Nb(0, 1, 2, q, &word, &x), DPI_ERR_USE);
	NONE(DPI_Read_Record_Nb(0, data, 1, q, &size, &word, &x), DPI_ERR_USE);
	leave(ctx);
}

/* Of several requests of one handle, in another order than they were started; a failed one among them. */
TEST(any_order, "P-21 P-22 P-23", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 65536), l = MAKE("l", 1, ctx, DPI_USE_LOG), q = MAKE("q", 1, ctx, DPI_USE_QUEUE);
	if (rank == 0) {
		DPI_Request x[16];
		uint64_t seed = draw_seed(0), previous[16], position;
		char in[16], text[4];
		size_t index;
		int done;
		for (int round = 0; round < 6; round++) {
			for (int i = 0; i < 16; i++) CHECK_DPI(DPI_Fetch_Add_Nb(8, 1, r, &previous[i], &x[i]));
			if (round < 3) {
				/* by DPI_Wait and DPI_Test, in random order */
				for (int left = 16; left;) {
					int i = (int)draw(&seed, 16);
					if (x[i] == DPI_REQUEST_NULL) continue;
					if (draw(&seed, 2)) CHECK_DPI(DPI_Wait(&x[i], 0));
					else CHECK_DPI(DPI_Test(&x[i], &done));
					left -= x[i] == DPI_REQUEST_NULL;
				}
			} else {
				for (int left = 16; left; left--) {
					DPI_Request before[16];
					memcpy(before, x, sizeof x);
					CHECK_DPI(DPI_Wait_Any(x, 16, 0, &index));
					CHECK_INT(index, <, 16);
					CHECK(before[index] != DPI_REQUEST_NULL && x[index] == DPI_REQUEST_NULL);
					for (size_t i = 0; i < 16; i++) CHECK(i == index || x[i] == before[i]);
				}
				CHECK_ERROR(DPI_Wait_Any(x, 16, 0, &index), DPI_ERR_ARGUMENT, ": ");
			}
			/* in handle order they took effect */
			for (int i = 0; i < 16; i++) CHECK_INT(previous[i], ==, 16 * round + i);
		}
		CHECK_ERROR(DPI_Wait_Any(x, 0, 0, &index), DPI_ERR_ARGUMENT, ": ");
		/* each its own result: of a log, one reads what is there, one what was invented, one finds no room */
		CHECK_DPI(DPI_Append_Position("record", 6, l, &position));
		CHECK_DPI(DPI_Read_Record_Nb(position, in, sizeof in, l, NULL, NULL, &x[0]));
		CHECK_DPI(DPI_Read_Record_Nb(position + (1 << 20), in, sizeof in, l, NULL, NULL, &x[1]));
		CHECK_DPI(DPI_Read_Record_Nb(position, text, sizeof text, l, NULL, NULL, &x[2]));
		CHECK_ERROR(DPI_Wait(&x[2], 0), DPI_ERR_SIZE, ": ");
		CHECK_ERROR(DPI_Wait(&x[1], 0), DPI_ERR_RANGE, ": ");
		CHECK_DPI(DPI_Wait(&x[0], 0));
		/* of several handles */
		CHECK_DPI(DPI_Append_Nb("any", 3, q, &x[0]));
		x[1] = DPI_REQUEST_NULL;
		CHECK_DPI(DPI_Read_Nb(in, 16, 0, r, &x[2]));
		CHECK_DPI(DPI_Flush_Buffer_Nb(l, &x[3]));
		for (int i = 0; i < 3; i++) CHECK_DPI(DPI_Wait_Any(x, 4, 0, &index));
		CHECK_ERROR(DPI_Wait_Any(x, 4, 0, &index), DPI_ERR_ARGUMENT, ": ");
	} else {
		TAKE(q, "any", 3);
	}
	leave(ctx);
}

/* Wait_Any finds the one that can go on, behind others that cannot. */
TEST(any_that_completes, "P-22 P-20 P-10", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer full = MAKE("full", 1, ctx, SMALL), l = MAKE("l", 1, ctx, DPI_USE_LOG);
	if (rank == 0) {
		DPI_Request x[2];
		size_t index = 7;
		char text[4];
		uint64_t end = info_of(l).end;
		int n = fill_up(full);
		CHECK_DPI(DPI_Append_Nb(data, sizeof data, full, &x[0]));
		CHECK_DPI(DPI_Read_Record_Nb(end, text, 4, l, NULL, NULL, &x[1]));
		int64_t start = now();
		CHECK_ERROR(DPI_Wait_Any(x, 2, 30 * MS, &index), DPI_ERR_TIMEOUT, ": ");
		CHECK_NOT_BEFORE(start, 30 * MS);
		CHECK(x[0] != DPI_REQUEST_NULL && x[1] != DPI_REQUEST_NULL);
		harness_barrier();
		CHECK_DPI(DPI_Wait_Any(x, 2, 0, &index));
		CHECK_INT(index, ==, 1);
		CHECK(!memcmp(text, "late", 4));
		CHECK_DPI(DPI_Append(&n, sizeof n, open_buffer("l", ctx)));
		harness_barrier();
		CHECK_DPI(DPI_Wait_Any(x, 2, 0, &index));
		CHECK_INT(index, ==, 0);
	} else {
		DPI_Record record;
		harness_barrier();
		pause_ms(10);
		CHECK_DPI(DPI_Append("late", 4, l));
		CHECK_DPI(DPI_Flush_Buffer(l));
		harness_barrier();
		pause_ms(10);
		for (int i = 0; i < 3; i++) CHECK_DPI(DPI_Next_Record(full, &record));
		CHECK_DPI(DPI_Next_Record(full, &record));
	}
	leave(ctx);
}

/* Blocking calls and requests together. */
TEST(handle_order, "P-23 P-26 M-6 M-1", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, SMALL), l = MAKE("l", 0, ctx, DPI_USE_LOG), r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 64);
	enum { N = 60 };
	if (rank == 0) {
		/* the queue holds four; each request's memory is its own until it has completed */
		static struct {
			uint64_t number;
			char more[904];
		} mine[N];
		DPI_Request x[N];
		for (uint64_t i = 0; i < N; i++) {
			x[i] = DPI_REQUEST_NULL;
			mine[i].number = i;
			if (i % 5 == 4) CHECK_DPI(DPI_Append(&mine[i], sizeof mine[i], q));
			else CHECK_DPI(DPI_Append_Nb(&mine[i], sizeof mine[i], q, &x[i]));
			if (i % 5 == 4) /* those before it have happened, and their memory may be used once they say so */
				for (uint64_t k = i - 4; k <= i; k++) {
					CHECK_DPI(DPI_Wait(&x[k], 0));
					memset(&mine[k], 0xff, sizeof mine[k]);
				}
		}
		CHECK_DPI(DPI_Flush_Buffer(q));
	} else {
		DPI_Record record;
		uint64_t number;
		for (uint64_t i = 0; i < N; i++) {
			CHECK_DPI(DPI_Next_Record(q, &record));
			CHECK_INT(record.size, ==, sizeof data - 88);
			memcpy(&number, record.data, 8);
			CHECK_INT(number, ==, i);
			if (i % 16 == 0) pause_ms(1);
		}
		/* a read after a write, an atomic after an atomic; a log's positions */
		uint64_t position[3], word[3], value = 5;
		DPI_Request x[6];
		CHECK_DPI(DPI_Append_Position_Nb("a", 1, l, &position[0], &x[0]));
		CHECK_DPI(DPI_Append_Position_Nb("b", 1, l, &position[1], &x[1]));
		CHECK_DPI(DPI_Append_Position("c", 1, l, &position[2]));
		CHECK(position[2] > position[1] || x[1] != DPI_REQUEST_NULL);
		CHECK_DPI(DPI_Wait(&x[0], 0));
		CHECK_DPI(DPI_Wait(&x[1], 0));
		CHECK(position[0] < position[1] && position[1] < position[2]);
		CHECK_DPI(DPI_Write_Nb(&value, 8, 0, r, &x[0]));
		CHECK_DPI(DPI_Fetch_Add_Nb(8, 1, r, &word[0], &x[1]));
		CHECK_DPI(DPI_Read_Nb(&word[1], 8, 0, r, &x[2]));
		CHECK_DPI(DPI_Fetch_Add(8, 1, r, &word[2]));
		for (int i = 0; i < 3; i++) CHECK_DPI(DPI_Wait(&x[i], 0));
		CHECK_INT(word[0], ==, 0);
		CHECK_INT(word[1], ==, 5);
		CHECK_INT(word[2], ==, 1);
	}
	leave(ctx);
}

TEST(flush_request, "P-26 M-11", 2, .env = "DPI_LINGER=1min")
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, DPI_USE_QUEUE), l = MAKE("l", 1, ctx, DPI_USE_LOG);
	uint64_t at = info_of(l).first;
	for (int i = 0; i < 20; i++) {
		harness_barrier();
		if (rank == 0) {
			DPI_Request x[4];
			CHECK_DPI(DPI_Append_Nb(&i, sizeof i, q, &x[0]));
			CHECK_DPI(DPI_Flush_Buffer_Nb(q, &x[1]));
			CHECK_DPI(DPI_Append_Nb(&i, sizeof i, l, &x[2]));
			CHECK_DPI(DPI_Flush_Buffer_Nb(l, &x[3]));
			for (int k = 3; k >= 0; k--) CHECK_DPI(k % 2 ? test_through(&x[k]) : DPI_Wait(&x[k], 0));
		}
		harness_barrier();
		if (rank == 1) {
			int value;
			TAKE_NOW(q, &i, sizeof i);
			CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, l));
			CHECK_DPI(DPI_Read_Record(at, &value, sizeof value, l, NULL, &at));
			CHECK_INT(value, ==, i);
		}
	}
	leave(ctx);
}

TEST(cancelled, "P-24 M-9 P-23", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, SMALL);
	if (rank == 0) {
		static const char never[FILLER] = "never seen";
		DPI_Request x[4];
		int n = fill_up(q), done;
		for (int i = 0; i < 4; i++) CHECK_DPI(DPI_Append_Nb(i == 3 ? "fourth" : never, i == 3 ? 6 : sizeof never, q, &x[i]));
		int64_t start = now();
		CHECK_DPI(DPI_Cancel(x[1]));
		CHECK_DPI(DPI_Cancel(x[0]));
		CHECK_DPI(DPI_Cancel(x[0])); /* twice is once */
		CHECK_AT_ONCE(start);
		CHECK_ERROR(DPI_Test(&x[0], &done), DPI_ERR_CANCELLED, "cancel");
		CHECK_INT(done, ==, 1);
		CHECK_ERROR(DPI_Wait(&x[1], 0), DPI_ERR_CANCELLED, "cancel");
		CHECK(x[0] == DPI_REQUEST_NULL && x[1] == DPI_REQUEST_NULL);
		CHECK_DPI(DPI_Cancel(x[2]));
		CHECK_ERROR(DPI_Wait(&x[2], 0), DPI_ERR_CANCELLED, "cancel");
		harness_barrier();
		/* the one that was not cancelled happens */
		CHECK_DPI(DPI_Wait(&x[3], 0));
		/* cancelling what has completed changes nothing */
		CHECK_DPI(DPI_Append_Nb("done", 4, q, &x[0]));
		CHECK_DPI(DPI_Flush_Buffer(q));
		CHECK_DPI(DPI_Cancel(x[0]));
		CHECK_DPI(DPI_Wait(&x[0], 0));
		CHECK_DPI(DPI_Append(&n, sizeof n, q));
	} else {
		DPI_Record record;
		int taken = 0, n = 0;
		harness_barrier();
		for (;;) {
			CHECK_DPI(DPI_Next_Record(q, &record));
			if (record.size != sizeof data) break;
			taken++;
		}
		CHECK_INT(record.size, ==, 6);
		TAKE(q, "done", 4);
		CHECK_DPI(DPI_Next_Record(q, &record));
		memcpy(&n, record.data, sizeof n);
		CHECK_INT(taken, ==, n);
	}
	leave(ctx);
}

/* Whether it comes in time or not, a cancelled operation happened exactly when it did not say so. */
TEST(cancel_races, "P-24", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 64);
	if (rank == 0) {
		uint64_t happened = 0, word, seed = draw_seed(0);
		for (int i = 0; i < 200; i++) {
			DPI_Request x, y;
			int done;
			CHECK_DPI(DPI_Fetch_Add_Nb(0, 1, r, NULL, &x));
			CHECK_DPI(DPI_Fetch_Add_Nb(0, 1000, r, NULL, &y));
			if (draw(&seed, 3) == 0) CHECK_DPI(DPI_Test(&x, &done));
			if (x != DPI_REQUEST_NULL) CHECK_DPI(DPI_Cancel(x));
			else happened++;
			CHECK_DPI(DPI_Cancel(y));
			int error = DPI_Wait(&y, 0);
			CHECK(error == DPI_SUCCESS || error == DPI_ERR_CANCELLED);
			happened += error ? 0 : 1000;
			if (x == DPI_REQUEST_NULL) continue;
			error = DPI_Wait(&x, 0);
			CHECK(error == DPI_SUCCESS || error == DPI_ERR_CANCELLED);
			happened += !error;
		}
		CHECK_DPI(DPI_Read(&word, 8, 0, r));
		CHECK_INT(word, ==, happened);
	}
	leave(ctx);
}

TEST(requests_of_a_dead_home, "P-25 P-7 M-38 R-9", 3)
{
	_Atomic int *started = harness_shared();
	if (rank == 1) harness_expect_death(1);
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, SMALL), l = MAKE("l", 1, ctx, DPI_USE_LOG), r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 1 << 20);
	DPI_Request x[7];
	static char in[1 << 20], text[16];
	uint64_t position, previous, end = info_of(l).end;
	if (rank != 1) fill_up(q);
	harness_barrier();
	if (rank == 1) for (;;) pause_ms(1000);
	if (rank == 0) harness_kill(1, SIGSTOP);
	CHECK_DPI(DPI_Append_Nb(data, sizeof data, q, &x[0]));
	CHECK_DPI(DPI_Read_Record_Nb(end, text, sizeof text, l, NULL, NULL, &x[1]));
	CHECK_DPI(DPI_Append_Position_Nb("x", 1, l, &position, &x[2]));
	CHECK_DPI(DPI_Read_Nb(in, sizeof in, 0, r, &x[3]));
	CHECK_DPI(DPI_Write_Nb(in, sizeof in, 0, r, &x[4]));
	CHECK_DPI(DPI_Fetch_Add_Nb(0, 1, r, &previous, &x[5]));
	CHECK_DPI(DPI_Flush_Buffer_Nb(q, &x[6]));
	++*started;
	if (rank == 0) {
		AWAIT(*started == 2);
		pause_ms(20);
		harness_kill(1, SIGKILL);
	}
	AWAIT(!harness_alive(1));
	int64_t start = now();
	for (int i = 0; i < 7; i++) {
		int error = DPI_Wait(&x[i], 0);
		CHECK(x[i] == DPI_REQUEST_NULL);
		if (error == DPI_ERR_PEER) CHECK_HAS(detail(), "1");
		else if (error == DPI_ERR_UNKNOWN) CHECK(i == 2 || i == 5);
		else CHECK_DPI(error);
		/* these cannot have completed */
		if (i < 2 || i == 6) CHECK_INT(error, ==, DPI_ERR_PEER);
	}
	CHECK_WITHIN(start, 2 * SECOND);
	CHECK_ERROR(DPI_Flush_Buffer(r), DPI_ERR_PEER, "1");
	CHECK_DPI(DPI_Barrier("two", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* Requests that fail together are asked one after the other, with other failures in between. */
TEST(requests_keep_their_sentences, "P-21 A-84 A-85", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer l[2] = { MAKE("first log", 1, ctx, DPI_USE_LOG), MAKE("second log", 1, ctx, DPI_USE_LOG) }, r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 64);
	uint64_t end[2] = { info_of(l[0]).end, info_of(l[1]).end };
	char text[3][16];
	harness_barrier();
	if (rank == 0) {
		DPI_Request x[3], parts;
		DPI_Part part[3] = { { .buffer = r, .offset = 60, .data = text[0], .size = 16 },
				     { .buffer = l[1], .offset = end[1], .data = text[1], .size = 16 },
				     { .buffer = l[0], .offset = end[0], .data = text[2], .size = 16 } };
		for (int i = 0; i < 3; i++) CHECK_DPI(DPI_Read_Record_Nb(end[0], text[0], sizeof text[0], l[0], NULL, NULL, &x[i]));
		for (int first = 0; first < 2; first++) { /* its lowest failing part is one that is refused at once, or one that fails later */
			CHECK_DPI(DPI_Gather_Nb(part + first, 3 - (size_t)first, &parts));
			if (!first) CHECK_DPI(DPI_Cancel(parts));
			if (!first) CHECK(DPI_Wait(&parts, 0) != DPI_SUCCESS);
		}
		CHECK_DPI(DPI_Destroy_Buffer("first log", ctx));
		CHECK_DPI(DPI_Destroy_Buffer("second log", ctx));
		for (int i = 0; i < 3; i++) {
			CHECK_ERROR(DPI_Wait(&x[i], 0), DPI_ERR_DESTROYED, "first log");
			CHECK_ERROR(DPI_Destroy_Buffer("none of this name", ctx), DPI_ERR_NAME, "none of this name");
		}
		CHECK_ERROR(DPI_Wait(&parts, 0), DPI_ERR_DESTROYED, "part 0: ");
		CHECK_HAS(detail(), "second log");
		part[1].size = part[2].size = 0;
	}
	leave(ctx);
}

/* A handle is closed over its requests. */
TEST(requests_of_a_closed_handle, "P-27 A-20 M-9", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer q = MAKE("q", 1, ctx, SMALL), closing = open_buffer("q", ctx), r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 64);
	if (rank == 0) {
		DPI_Request x[5];
		static char mine[FILLER] = "never seen";
		char in[8];
		int n = fill_up(closing), error;
		CHECK_DPI(DPI_Set_Timeout(30 * MS, closing));
		for (int i = 0; i < 3; i++) CHECK_DPI(DPI_Append_Nb(mine, sizeof mine, closing, &x[i]));
		error = DPI_Close_Buffer(closing);
		CHECK(error == DPI_SUCCESS || error == DPI_ERR_TIMEOUT);
		memset(mine, 0xff, sizeof mine);
		CHECK_ERROR(DPI_Append("x", 1, closing), DPI_ERR_HANDLE, "closed");
		for (int i = 0; i < 3; i++) CHECK_ERROR(DPI_Wait(&x[i], 0), DPI_ERR_CANCELLED, "cancelled");
		CHECK_DPI(DPI_Read_Nb(in, 8, 0, r, &x[3]));
		CHECK_DPI(DPI_Fetch_Add_Nb(0, 1, r, NULL, &x[4]));
		CHECK_DPI(DPI_Close_Buffer(r));
		for (int i = 3; i < 5; i++) {
			int done = 0;
			error = DPI_Test(&x[i], &done);
			CHECK_INT(done, ==, 1);
			CHECK(error == DPI_SUCCESS || error == DPI_ERR_CANCELLED);
		}
		CHECK_DPI(DPI_Append(&n, sizeof n, q));
		CHECK_DPI(DPI_Flush_Buffer(q));
		harness_barrier();
	} else {
		DPI_Record record;
		int taken = 0, n = 0;
		harness_barrier();
		while (!n) {
			CHECK_DPI(DPI_Next_Record(q, &record));
			if (record.size == sizeof data) taken++;
			else CHECK_INT(record.size, ==, sizeof n);
			if (record.size == sizeof n) memcpy(&n, record.data, sizeof n);
		}
		/* no order between handles: the rest of the closed one's */
		while (taken < n) {
			CHECK_DPI(DPI_Next_Record(q, &record));
			CHECK_INT(record.size, ==, sizeof data);
			taken++;
		}
		CHECK_EMPTY(q, 20 * MS);
	}
	leave(ctx);
}
