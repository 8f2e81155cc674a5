/* SPDX-License-Identifier: Apache-2.0
 * visibility.c: calls that time out: whose the memory is afterwards, and what happened. */
#include <signal.h>

#include "memory_kit.h"

/* With the home stopped: a read that times out has let go of the memory for good. */
TEST(memory_after_a_time_out, "M-1 M-2 P-1 P-2 R-4 P-12", 2)
{
	enum { SIZE = 300000 };
	static uint8_t mine[SIZE], log_bytes[16];
	DPI_Context ctx = join();
	DPI_Buffer r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = SIZE), l = MAKE("l", 1, ctx, DPI_USE_LOG),
		   q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .max_record = SIZE, .capacity = 4096);
	uint64_t position = 0;
	if (rank == 0) {
		fill(mine, SIZE, 1);
		CHECK_DPI(DPI_Write(mine, SIZE, 0, r));
		CHECK_DPI(DPI_Flush_Buffer(r));
		CHECK_DPI(DPI_Append_Position("a record", 8, l, &position));
		CHECK_DPI(DPI_Append("first", 5, q));
		CHECK_DPI(DPI_Flush_Buffer(q));
		harness_kill(1, SIGSTOP);
		CHECK_DPI(DPI_Set_Timeout(20 * MS, r));
		CHECK_DPI(DPI_Set_Timeout(20 * MS, l));
		CHECK_DPI(DPI_Set_Timeout(20 * MS, q));
		int errors[4], sent = 0;
		for (int i = 0; i < 3; i++) {
			DPI_Part part = {r, mine, SIZE, 0, 0};
			int64_t start = now();
			errors[0] = DPI_Read(mine, SIZE, 0, r);
			memset(mine, 0xaa, SIZE);
			errors[1] = DPI_Read_Record(position, log_bytes, sizeof log_bytes, l, NULL, NULL);
			memset(log_bytes, 0xaa, sizeof log_bytes);
			errors[2] = DPI_Gather(&part, 1);
			memset(mine, 0xaa, SIZE);
			fill(mine, SIZE, (uint64_t)sent);
			errors[3] = DPI_Append(mine, SIZE, q);
			sent += !errors[3];
			memset(mine, 0xaa, SIZE);
			CHECK_WITHIN(start, 4 * SECOND + 80 * MS);
			/* a node that is reached through memory need not be asked */
			for (int k = 0; k < 4; k++)
				if (errors[k] && errors[k] != DPI_ERR_TIMEOUT) CHECK_INT(errors[k], ==, DPI_ERR_UNKNOWN);
		}
		harness_kill(1, SIGCONT);
		pause_ms(100);
		CHECK(all_bytes(mine, SIZE, 0xaa));
		CHECK(all_bytes(log_bytes, sizeof log_bytes, 0xaa));
		/* and the handles are good, or say that the node is lost */
		CHECK_DPI(DPI_Set_Timeout(0, r));
		CHECK_DPI(DPI_Read(mine, SIZE, 0, r));
		CHECK(filled(mine, SIZE, 1));
	}
	leave(ctx);
}

/* What became of an append that timed out: not there, ever; of one that cannot be known: once, or never. */
TEST(what_became_of_it, "M-9 M-10 M-17 P-12", 2)
{
	DPI_Context ctx = join();
	DPI_Buffer l = MAKE("l", 1, ctx, DPI_USE_LOG, .max_record = 20000), r = MAKE("r", 1, ctx, DPI_USE_REGION, .capacity = 64),
		   q = MAKE("q", 1, ctx, DPI_USE_QUEUE, .max_record = 20000);
	if (rank == 0) {
		enum { N = 12 };
		static uint8_t data[20000];
		int error[N], q_error[N], add_error[N];
		uint64_t position[N], seed = draw_seed(0), least = 0, most = 0, word;
		size_t size[N];
		CHECK_DPI(DPI_Append_Position("start", 5, l, &position[0]));
		CHECK_DPI(DPI_Append("start", 5, q));
		CHECK_DPI(DPI_Flush_Buffer(q));
		CHECK_DPI(DPI_Fetch_Add(0, 1, r, NULL));
		least = most = 1;
		for (int i = 0; i < N; i++) {
			bool stopped = i % 3 == 1;
			size[i] = STAMP_SIZE + draw(&seed, i % 2 ? 20000 - STAMP_SIZE : 100);
			if (stopped) harness_kill(1, SIGSTOP);
			CHECK_DPI(DPI_Set_Timeout(stopped ? 10 * MS : 0, l));
			CHECK_DPI(DPI_Set_Timeout(stopped ? 10 * MS : 0, r));
			CHECK_DPI(DPI_Set_Timeout(stopped ? 10 * MS : 0, q));
			stamp(data, size[i], 0, (uint64_t)i);
			error[i] = DPI_Append_Position(data, size[i], l, &position[i]);
			q_error[i] = DPI_Append(data, size[i], q);
			add_error[i] = DPI_Fetch_Add(0, 1, r, NULL);
			if (stopped) harness_kill(1, SIGCONT);
			CHECK(!error[i] || error[i] == DPI_ERR_TIMEOUT || error[i] == DPI_ERR_UNKNOWN);
			CHECK(!q_error[i] || q_error[i] == DPI_ERR_TIMEOUT || q_error[i] == DPI_ERR_UNKNOWN);
			CHECK(!add_error[i] || add_error[i] == DPI_ERR_TIMEOUT || add_error[i] == DPI_ERR_UNKNOWN);
			if (!stopped) CHECK_INT(error[i] | q_error[i] | add_error[i], ==, 0);
			least += !add_error[i];
			most += !add_error[i] || add_error[i] == DPI_ERR_UNKNOWN;
		}
		CHECK_DPI(DPI_Flush_Buffer(l));
		CHECK_DPI(DPI_Append("end", 3, q));
		CHECK_DPI(DPI_Flush_Buffer(q));
		CHECK_DPI(DPI_Read(&word, 8, 0, r));
		CHECK(word >= least && word <= most);
		/* the log, from its start */
		uint64_t at = info_of(l).first, end = info_of(l).end, appender;
		int seen[N] = {0}, last = -1;
		size_t n;
		CHECK_DPI(DPI_Read_Record(at, data, sizeof data, l, &n, &at));
		CHECK_INT(n, ==, 5);
		while (at != end) {
			uint64_t here = at;
			CHECK_DPI(DPI_Read_Record(at, data, sizeof data, l, &n, &at));
			int i = (int)check_stamp(data, n, &appender);
			CHECK(i > last);
			last = i;
			CHECK_INT(n, ==, size[i]);
			seen[i]++;
			if (!error[i]) CHECK_INT(position[i], ==, here);
		}
		_Atomic int *told = harness_shared();
		for (int i = 0; i < N; i++) {
			CHECK_INT(seen[i], <=, error[i] == DPI_ERR_TIMEOUT ? 0 : 1);
			if (!error[i]) CHECK_INT(seen[i], ==, 1);
			told[i] = q_error[i];
		}
		harness_barrier();
	} else {
		_Atomic int *told = harness_shared();
		DPI_Record record;
		uint64_t appender;
		int seen[12] = {0};
		harness_barrier();
		TAKE(q, "start", 5);
		for (;;) {
			CHECK_DPI(DPI_Next_Record(q, &record));
			if (record.size == 3) break;
			seen[check_stamp(record.data, record.size, &appender)]++;
		}
		for (int i = 0; i < 12; i++) {
			CHECK_INT(seen[i], <=, told[i] == DPI_ERR_TIMEOUT ? 0 : 1);
			if (!told[i]) CHECK_INT(seen[i], ==, 1);
		}
		CHECK_EMPTY(q, DPI_NO_WAIT);
	}
	leave(ctx);
}
