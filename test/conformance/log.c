/* SPDX-License-Identifier: Apache-2.0
 * log.c: logs: positions, readers anywhere, truncation. */
#include "memory_kit.h"

#define RECORD_MAX 8192

/* Records of a log as they were appended: shared by the ranks. */
struct book {
	_Atomic uint64_t count;
	struct {
		uint64_t position, size, by, number;
	} record[200];
	_Atomic uint64_t done, hash[8];
};

static void read_stamped(DPI_Buffer log, uint64_t position, uint64_t size, uint64_t by, uint64_t number, uint64_t *next)
{
	uint8_t data[RECORD_MAX];
	uint64_t appender;
	size_t got = 1;
	CHECK_DPI(DPI_Read_Record(position, data, sizeof data, log, &got, next));
	CHECK_INT(got, ==, size);
	if (!size) return;
	CHECK_INT(check_stamp(data, got, &appender), ==, number);
	CHECK_INT(appender, ==, by);
}

static size_t draw_size(uint64_t *seed)
{
	static const size_t least[] = {0, STAMP_SIZE, STAMP_SIZE + 1, 100, RECORD_MAX - 40, RECORD_MAX};
	uint64_t n = draw(seed, 10);
	return n < 6 ? least[n] : STAMP_SIZE + draw(seed, RECORD_MAX - STAMP_SIZE + 1);
}

TEST(log_positions, "A-33 A-48 A-65 A-66 A-67 M-4 M-6 M-11 M-17", 3)
{
	struct book *book = harness_shared();
	uint64_t seed = draw_seed(rank), next, at;
	uint8_t data[RECORD_MAX];
	DPI_Context ctx = join();
	DPI_Buffer log = MAKE("log", 1, ctx, DPI_USE_LOG, .max_record = RECORD_MAX, .max_capacity = 1 << 20, .timeout_us = 10 * SECOND, .linger_us = 10 * SECOND);
	CHECK_INT(info_of(log).first, ==, info_of(log).end);
	harness_barrier();
	/* in turn: each takes its record's number in the log, and finds the position that was promised for it */
	for (int turn = 0; turn < 12; turn++) {
		if (turn % ranks == rank)
			for (int i = 0; i < 8; i++) {
				uint64_t n = book->count, promised = info_of(log).end, position;
				size_t size = draw_size(&seed);
				if (size) stamp(data, size, (uint64_t)rank, n);
				if (i % 4 == 2) { /* this one is made visible by the next one's position */
					CHECK_DPI(DPI_Append(size ? data : NULL, size, log));
					position = UINT64_MAX;
				} else {
					CHECK_DPI(DPI_Append_Position(data, size, log, &position));
					if (i % 4 != 3) CHECK_INT(position, ==, promised);
					if (n && book->record[n - 1].position != UINT64_MAX) CHECK(position > book->record[n - 1].position);
				}
				book->record[n].position = position;
				book->record[n].size = size, book->record[n].by = (uint64_t)rank, book->record[n].number = n;
				book->count++;
			}
		harness_barrier();
		uint64_t last = book->count - 1;
		CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, log));
		read_stamped(log, book->record[last].position, book->record[last].size, (uint64_t)(turn % ranks), last, &next);
		CHECK_DPI(DPI_Set_Timeout(0, log));
		harness_barrier();
	}
	/* every record in order, from every node, twice */
	CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, log));
	for (int pass = 0; pass < 2; pass++) {
		at = info_of(log).first;
		for (uint64_t n = 0; n < book->count; n++, at = next) {
			if (book->record[n].position != UINT64_MAX) CHECK_INT(at, ==, book->record[n].position);
			read_stamped(log, at, book->record[n].size, book->record[n].by, n, &next);
			CHECK(next > at);
			CHECK_DPI(DPI_Read_Record(at, data, sizeof data, log, NULL, NULL));
			CHECK_DPI(DPI_Read_Record(at, data, sizeof data, log, NULL, &next));
			CHECK_DPI(DPI_Read_Record(at, data, sizeof data, log, &(size_t){0}, NULL));
		}
		CHECK_INT(at, ==, info_of(log).end);
		CHECK_ERROR(DPI_Read_Record(at, data, sizeof data, log, NULL, &next), DPI_ERR_TIMEOUT, ": ");
	}
	leave(ctx);
}

TEST(log_no_record_there, "A-68 A-70 A-72 M-3", 3)
{
	uint64_t position[12], next, *shared = harness_shared();
	uint8_t data[400], out[400];
	size_t size;
	DPI_Context ctx = join();
	DPI_Buffer log = MAKE("log", 1, ctx, DPI_USE_LOG, .max_record = 300);
	if (rank == 2)
		for (uint64_t i = 0; i < 12; i++) {
			fill(data, 25 * i, i);
			CHECK_DPI(DPI_Append_Position(data, 25 * i, log, &shared[i]));
		}
	harness_barrier();
	memcpy(position, shared, sizeof position);
	CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, log));
	uint64_t end = info_of(log).end, first = info_of(log).first;
	for (size_t i = 0; i < 12; i++) {
		CHECK_DPI(DPI_Read_Record(position[i], out, sizeof out, log, NULL, &next));
		for (uint64_t p = position[i] + 1; p < next; p += p % 8 == 7 || p + 1 == next ? 1 : 3) {
			CHECK_ERROR(DPI_Read_Record(p, out, sizeof out, log, NULL, NULL), DPI_ERR_RANGE, ": ");
			if (p % 8 < 2) {
				CHECK_DPI(DPI_Set_Timeout(0, log));
				CHECK_ERROR(DPI_Truncate_Log(p, log), DPI_ERR_RANGE, ": ");
				CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, log));
			}
		}
		/* too little room, exactly enough, and more */
		for (size_t room = 0; i && room <= 25 * i; room += room + 1 < 25 * i ? 25 * i - 1 : 1) {
			memset(out, 0xa5, sizeof out);
			size = 7;
			int e = DPI_Read_Record(position[i], room ? out + 3 : NULL, room, log, room % 2 ? NULL : &size, NULL);
			CHECK_INT(e, ==, room < 25 * i ? DPI_ERR_SIZE : DPI_SUCCESS);
			if (room % 2 == 0) CHECK_INT(size, ==, 25 * i);
			CHECK(all_bytes(out, 3, 0xa5));
			CHECK(e ? all_bytes(out, sizeof out, 0xa5) : filled(out + 3, 25 * i, i));
			CHECK(all_bytes(out + 3 + room, sizeof out - 3 - room, 0xa5));
		}
		memset(out, 0xa5, sizeof out);
		CHECK_DPI(DPI_Read_Record(position[i], out, sizeof out, log, &size, NULL));
		CHECK(size == 25 * i && filled(out, size, i) && all_bytes(out + size, sizeof out - size, 0xa5));
	}
	CHECK_DPI(DPI_Set_Timeout(0, log));
	const uint64_t beyond[] = {end + 1, end + 8, end + 4096, end + (UINT64_C(1) << 40), UINT64_MAX, UINT64_MAX - 7};
	for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
		CHECK_ERROR(DPI_Read_Record(beyond[i], out, sizeof out, log, NULL, NULL), DPI_ERR_RANGE, ": ");
		CHECK_ERROR(DPI_Truncate_Log(beyond[i], log), DPI_ERR_RANGE, ": ");
	}
	CHECK_INT(info_of(log).first, ==, first);
	CHECK_INT(info_of(log).end, ==, end);
	leave(ctx);
}

static void *append_late(void *buf)
{
	pause_ms(40);
	CHECK_DPI(DPI_Append("late", 4, buf));
	CHECK_DPI(DPI_Flush_Buffer(buf));
	return NULL;
}

TEST(log_end_waits, "A-69 P-1 P-2", 3)
{
	char text[8];
	size_t size;
	DPI_Context ctx = join();
	DPI_Buffer log = MAKE("log", 1, ctx, DPI_USE_LOG, .max_record = 64), other = open_buffer("log", ctx);
	uint64_t at = info_of(log).end;
	int64_t start = now();
	CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, log));
	CHECK_ERROR(DPI_Read_Record(at, text, sizeof text, log, NULL, NULL), DPI_ERR_TIMEOUT, "log");
	CHECK_AT_ONCE(start);
	CHECK_DPI(DPI_Set_Timeout(60 * MS, log));
	start = now();
	CHECK_ERROR(DPI_Read_Record(at, text, sizeof text, log, NULL, NULL), DPI_ERR_TIMEOUT, "log");
	CHECK_NOT_BEFORE(start, 60 * MS);
	CHECK_WITHIN(start, SECOND + 60 * MS); /* P-2 */
	CHECK_DPI(DPI_Set_Timeout(10 * SECOND, log));
	/* a record of another node, of this one, and of another handle of it */
	for (int by = 0; by < ranks; by++) {
		harness_barrier();
		pthread_t t = 0;
		if (by == rank) t = start_thread(append_late, other);
		CHECK_DPI(DPI_Read_Record(at, text, sizeof text, log, &size, &at));
		CHECK(size == 4 && !memcmp(text, "late", 4));
		if (t) end_thread(t);
	}
	leave(ctx);
}

/* --------------------------------------------------------------------------------------------------- many at once */

#define EACH 120u

struct appender {
	DPI_Buffer log;
	uint64_t number, count;
};

static void *append_stamped(void *arg)
{
	struct appender *a = arg;
	uint8_t data[600];
	uint64_t seed = draw_seed((int)a->number);
	for (uint64_t i = 0; i < a->count; i++) {
		size_t size = STAMP_SIZE + draw(&seed, sizeof data - STAMP_SIZE + 1);
		stamp(data, size, a->number, i);
		CHECK_DPI(DPI_Append(data, size, a->log));
		if (draw(&seed, 16) == 0) CHECK_DPI(DPI_Flush_Buffer(a->log));
	}
	CHECK_DPI(DPI_Flush_Buffer(a->log));
	return NULL;
}

TEST(log_readers_agree, "A-37 A-65 A-67 M-4 M-6 M-7", 3)
{
	struct book *book = harness_shared();
	uint8_t data[600];
	size_t size;
	DPI_Context ctx = join();
	DPI_Buffer log = MAKE("log", 1, ctx, DPI_USE_LOG, .max_record = sizeof data, .timeout_us = 10 * SECOND);
	struct appender a[2];
	pthread_t thread[2];
	struct tally tally = {0};
	uint64_t hash = 0;
	harness_barrier();
	for (int i = 0; i < 2; i++) {
		a[i] = (struct appender){open_buffer("log", ctx), (uint64_t)(2 * rank + i), EACH};
		thread[i] = start_thread(append_stamped, &a[i]);
	}
	/* each follows the log while it grows; all must see the same records at the same positions */
	for (uint64_t at = info_of(log).first, next; tally.total < 6 * EACH; at = next) {
		CHECK_DPI(DPI_Read_Record(at, data, sizeof data, log, &size, &next));
		CHECK(next > at);
		tally_take(&tally, data, size);
		uint64_t word;
		memcpy(&word, data, sizeof word);
		hash = (hash ^ word ^ next) * 0x9e3779b97f4a7c15u;
	}
	for (int i = 0; i < 2; i++) end_thread(thread[i]);
	book->hash[rank] = hash;
	harness_barrier();
	CHECK(book->hash[0] == book->hash[rank]);
	CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, log));
	CHECK_ERROR(DPI_Read_Record(info_of(log).end, data, sizeof data, log, NULL, NULL), DPI_ERR_TIMEOUT, ": ");
	leave(ctx);
}

/* A record that was visible before another's append began stands before it. */
TEST(log_order_follows_visibility, "M-18 M-11", 3)
{
	_Atomic uint64_t *turn = harness_shared();
	uint64_t i, next, at;
	DPI_Context ctx = join();
	DPI_Buffer log = MAKE("log", 1, ctx, DPI_USE_LOG, .max_record = 64, .timeout_us = 10 * SECOND), other = open_with("log", 10 * SECOND, 0, ctx);
	uint64_t first = info_of(log).first, seed = draw_seed(0);
	at = first;
	harness_barrier();
	for (uint64_t n = 0; n < 60; n++) {
		uint64_t kind = draw(&seed, 3), by = draw(&seed, (uint64_t)ranks), handle = draw(&seed, 2);
		if (by != (uint64_t)rank) continue;
		DPI_Buffer mine = handle ? other : log;
		if (kind == 2) { /* it sees the record before its own */
			while (*turn < n) harness_pause();
		} else {
			AWAIT(*turn == n);
		}
		if (kind == 0) CHECK_DPI(DPI_Append_Position(&n, sizeof n, mine, &next));
		else CHECK_DPI(DPI_Append(&n, sizeof n, mine));
		if (kind == 1) CHECK_DPI(DPI_Flush_Buffer(mine));
		if (kind == 2) { /* visible by and by: seen by a reader */
			DPI_Buffer reader = handle ? log : other;
			uint64_t seen = UINT64_MAX;
			while (seen != n) CHECK_DPI(DPI_Read_Record(at, &seen, sizeof seen, reader, NULL, &at));
		}
		++*turn;
	}
	AWAIT(*turn == 60);
	for (at = first, i = 0; i < 60; i++, at = next) {
		uint64_t n;
		CHECK_DPI(DPI_Read_Record(at, &n, sizeof n, log, NULL, &next));
		CHECK_INT(n, ==, i);
	}
	leave(ctx);
}

/* ----------------------------------------------------------------------------------------------------- truncation */

TEST(log_truncated, "A-65 A-71 A-72 A-33", 3)
{
	uint64_t *position = harness_shared(), next;
	uint8_t data[3000];
	size_t size;
	DPI_Context ctx = join();
	DPI_Buffer log = MAKE("log", 1, ctx, DPI_USE_LOG, .max_record = sizeof data, .timeout_us = 10 * SECOND);
	for (int by = 0; by < ranks; by++) { /* each node truncates */
		harness_barrier();
		uint64_t before = info_of(log).end;
		harness_barrier();
		if (rank == (by + 1) % ranks)
			for (uint64_t i = 0; i < 40; i++) {
				fill(data, 100 + 50 * i, i);
				CHECK_DPI(DPI_Append_Position(data, 100 + 50 * i, log, &position[i]));
				CHECK(position[i] >= before && (!i || position[i] > position[i - 1]));
			}
		harness_barrier();
		CHECK_DPI(DPI_Read_Record(position[0], data, sizeof data, log, NULL, NULL));
		harness_barrier();
		for (size_t keep = 1; keep < 40; keep += 19) {
			if (rank == by) CHECK_DPI(DPI_Truncate_Log(position[keep], log));
			harness_barrier();
			for (size_t i = 0; i < 40; i++) {
				int e = DPI_Read_Record(position[i], data, sizeof data, log, &size, NULL);
				CHECK_INT(e, ==, i < keep ? DPI_ERR_RECLAIMED : DPI_SUCCESS);
				if (e) CHECK_HAS(detail(), "log");
				else CHECK(size == 100 + 50 * i && filled(data, size, i));
			}
			CHECK_INT(info_of(log).first, ==, position[keep]);
			uint64_t end = info_of(log).end;
			CHECK_DPI(DPI_Truncate_Log(0, log));
			CHECK_DPI(DPI_Truncate_Log(position[keep - 1], log));
			CHECK_DPI(DPI_Truncate_Log(position[keep], log));
			CHECK_ERROR(DPI_Truncate_Log(position[39] + 3, log), DPI_ERR_RANGE, ": ");
			CHECK_ERROR(DPI_Truncate_Log(position[39] + 8, log), DPI_ERR_RANGE, ": ");
			CHECK_ERROR(DPI_Truncate_Log(end + 8, log), DPI_ERR_RANGE, ": ");
			CHECK_INT(info_of(log).first, ==, position[keep]);
			CHECK_INT(info_of(log).end, ==, end);
			CHECK_DPI(DPI_Read_Record(position[keep], data, sizeof data, log, &size, &next));
			harness_barrier();
		}
		uint64_t end = info_of(log).end;
		harness_barrier();
		if (rank == by) CHECK_DPI(DPI_Truncate_Log(end, log));
		harness_barrier();
		CHECK_INT(info_of(log).first, ==, end);
		CHECK_INT(info_of(log).end, ==, end);
		CHECK_ERROR(DPI_Read_Record(position[39], data, sizeof data, log, NULL, NULL), DPI_ERR_RECLAIMED, "log");
		CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, log));
		CHECK_ERROR(DPI_Read_Record(end, data, sizeof data, log, NULL, NULL), DPI_ERR_TIMEOUT, ": ");
		CHECK_DPI(DPI_Set_Timeout(10 * SECOND, log));
	}
	leave(ctx);
}

#define STREAM 1500u

/* 1.5 MB through a log of 256 KiB. */
TEST(log_streams_on, "A-73 A-41 A-101", 3)
{
	uint8_t data[1000];
	uint64_t at, next;
	size_t size, n, taken = 0;
	DPI_Context ctx = join();
	DPI_Buffer log = MAKE("log", 1, ctx, DPI_USE_LOG, .max_record = sizeof data, .capacity = 8192, .max_capacity = 256 * 1024,
			      .full = DPI_FULL_ERROR, .timeout_us = 10 * SECOND);
	memset(data, 1, sizeof data);
	for (int by = 0; by < ranks; by++) {
		if (by == rank) {
			int full = 0;
			at = info_of(log).end;
			/* the appender's own ring may be full before the log is: the log is when that lasts */
			for (n = 0; full < 20 || n * (sizeof data + 16) < 128 * 1024;) {
				int e = DPI_Append(data, sizeof data, log);
				if (e) CHECK_ERROR(e, DPI_ERR_FULL, "log");
				full = e ? full + 1 : 0;
				n += !e;
				CHECK_INT(n, <, 10000);
				if (e) pause_ms(1);
			}
			/* give up all that is there as it comes, until nothing is left of it */
			UNTIL(10 * SECOND, taken == n, {
				CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, log));
				while (taken < n && !DPI_Read_Record(at, data, sizeof data, log, &size, &next)) taken++, at = next;
				CHECK_DPI(DPI_Set_Timeout(10 * SECOND, log));
				CHECK_DPI(DPI_Truncate_Log(at, log));
			});
			UNTIL(10 * SECOND, !e, int e = DPI_Append(data, sizeof data, log));
			CHECK_DPI(DPI_Flush_Buffer(log));
			CHECK_DPI(DPI_Truncate_Log(info_of(log).end, log));
		}
		taken = 0;
		harness_barrier();
	}
	DPI_Buffer waits = MAKE("waits", 1, ctx, DPI_USE_LOG, .max_record = sizeof data, .capacity = 8192, .max_capacity = 256 * 1024,
				.timeout_us = 10 * SECOND);
	if (rank == 2) {
		struct tally t = {0};
		for (at = info_of(waits).first; t.total < STREAM; at = next) {
			CHECK_DPI(DPI_Read_Record(at, data, sizeof data, waits, &size, &next));
			tally_take(&t, data, size);
			if (t.total % 50 == 0) CHECK_DPI(DPI_Truncate_Log(next, waits));
			CHECK_INT(info_of(waits).memory, <=, 1024 * 1024);
		}
	} else {
		for (uint64_t i = 0; i < STREAM / 2; i++) {
			stamp(data, sizeof data, (uint64_t)rank, i);
			CHECK_DPI(DPI_Append(data, sizeof data, waits));
		}
	}
	leave(ctx);
}

static void *truncate_behind(void *arg)
{
	struct appender *a = arg;
	_Atomic uint64_t *done = harness_shared(), *readers = done + 2;
	uint64_t at = info_of(a->log).first, seed = draw_seed(9);
	uint8_t data[600];
	AWAIT(*readers == 3); /* each has met a record */
	while (!*done) {
		int e = DPI_Read_Record(at, data, sizeof data, a->log, NULL, &at);
		if (e == DPI_ERR_TIMEOUT) continue;
		if (e) CHECK_DPI(e);
		if (draw(&seed, 30) == 0) CHECK_DPI(DPI_Truncate_Log(at, a->log));
	}
	return NULL;
}

TEST(log_truncated_under_readers, "A-74 A-71 M-4 M-6", 3)
{
	_Atomic uint64_t *done = harness_shared(), *ended = done + 1, *readers = done + 2;
	uint64_t due[4] = {0}, appender, number, met = 0;
	uint8_t data[600];
	size_t size;
	DPI_Context ctx = join();
	DPI_Buffer log = MAKE("log", 1, ctx, DPI_USE_LOG, .max_record = sizeof data);
	struct appender a = {open_with("log", 10 * SECOND, 0, ctx), (uint64_t)rank, 600}, t = {open_with("log", 5 * MS, 0, ctx), 0, 0};
	pthread_t appends = start_thread(append_stamped, &a), truncates = 0;
	CHECK_DPI(DPI_Set_Timeout(5 * MS, log));
	if (rank == 0) truncates = start_thread(truncate_behind, &t);
	for (uint64_t at = info_of(log).first; !*done;) {
		int e = DPI_Read_Record(at, data, sizeof data, log, &size, &at);
		if (e == DPI_ERR_RECLAIMED) {
			at = info_of(log).first;
		} else if (e == DPI_ERR_TIMEOUT) {
			if (rank == 2 && *ended == 3 && *readers == 3) *done = 1;
		} else {
			CHECK_DPI(e);
			number = check_stamp(data, size, &appender);
			CHECK_INT(appender, <, 3);
			CHECK_INT(number, >=, due[appender]); /* some may have been truncated before they were read */
			due[appender] = number + 1;
			if (!met++) ++*readers;
		}
		if (appends && stats_of(a.log).appends == 600) {
			end_thread(appends);
			appends = 0;
			++*ended;
		}
	}
	if (truncates) end_thread(truncates);
	CHECK_INT(met, >, 0);
	leave(ctx);
}
