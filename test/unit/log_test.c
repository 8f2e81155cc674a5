/* SPDX-License-Identifier: Apache-2.0
 * log_test.c: src/memory/log.c, log_reader.c: the loop thread orders records while threads append, read by position and
 * truncate. One process is the whole cluster, so that what orders its threads is all that a race could show against. */
#include "unit.h"

#include "dpi.h"

#define WRITERS 3
#define READERS 2
#define LARGEST 3000u
#define KEEP 65536u /* bytes behind the end that the truncation leaves */

struct record {
	uint64_t by, number; /* then size - 16 bytes of fill */
};

static struct {
	DPI_Context ctx;
	int each; /* records of a writer */
	bool truncates;
	_Atomic int writing;
	_Atomic uint64_t truncated, seen; /* positions: what lies before the first may be gone; a record is known to start at the second */
	_Atomic uint64_t kept;		  /* records that readers found */
} it;

static DPI_Buffer open_log(void)
{
	DPI_Buffer b;
	CHECK_DPI(DPI_Open_Buffer("log", NULL, it.ctx, &b));
	CHECK_DPI(DPI_Set_Timeout(40000000 * (int64_t)harness_slow(), b));
	return b;
}

static void *append(void *arg)
{
	uint64_t me = (uint64_t)(uintptr_t)arg, position, last = 0;
	struct draws d = draws_from((int)me + 10);
	uint8_t bytes[LARGEST];
	DPI_Buffer log = open_log();
	for (uint64_t i = 0; i < (uint64_t)it.each; i++) {
		uint64_t size = sizeof(struct record) + draw_below(&d, draw_below(&d, 8) ? 100 : LARGEST - sizeof(struct record));
		struct record r = { me, i };
		memcpy(bytes, &r, sizeof r);
		fill(bytes + sizeof r, size - sizeof r, me << 32 | i);
		if (draw_below(&d, 4)) {
			CHECK_DPI(DPI_Append(bytes, size, log));
		} else {
			CHECK_DPI(DPI_Append_Position(bytes, size, log, &position));
			CHECK(!i || position > last);
			last = position;
		}
		if (!draw_below(&d, 16)) CHECK_DPI(DPI_Flush_Buffer(log));
		idle(&d, 20000);
	}
	CHECK_DPI(DPI_Close_Buffer(log));
	atomic_fetch_sub(&it.writing, 1);
	return NULL;
}

/* Every record from the first to the one that says it is the last, or, where some are truncated under one's hands, those still kept. */
static void *read_all(void *arg)
{
	struct draws d = draws_from((int)(uintptr_t)arg + 20);
	uint64_t at = 0, next, number[WRITERS] = { 0 }, found = 0;
	size_t size;
	uint8_t bytes[LARGEST];
	DPI_Buffer log = open_log();
	for (;;) {
		int error = DPI_Read_Record(at, bytes, sizeof bytes, log, &size, &next);
		if (error == DPI_ERR_RECLAIMED) {
			DPI_Buffer_Info info = DPI_BUFFER_INFO_INIT;
			CHECK(it.truncates && at < atomic_load(&it.truncated));
			CHECK_DPI(DPI_Get_Buffer_Info(log, &info));
			CHECK(info.first > at);
			at = info.first;
			continue;
		}
		CHECK_DPI(error);
		struct record r;
		CHECK(size >= sizeof r);
		memcpy(&r, bytes, sizeof r);
		if (r.by == WRITERS) break;
		CHECK(r.by < WRITERS && r.number < (uint64_t)it.each);
		CHECK(it.truncates ? r.number >= number[r.by] : r.number == number[r.by]);
		CHECK(filled(bytes + sizeof r, size - sizeof r, r.by << 32 | r.number));
		CHECK_INT(next, ==, at + (size + 7) / 8 * 8 + 8);
		number[r.by] = r.number + 1;
		found++;
		uint64_t seen = atomic_load(&it.seen);
		while (seen < at && !atomic_compare_exchange_weak(&it.seen, &seen, at)) {}
		at = next;
		idle(&d, 20000);
	}
	CHECK_DPI(DPI_Close_Buffer(log));
	atomic_fetch_add(&it.kept, found);
	return NULL;
}

static void *truncate_often(void *arg)
{
	(void)arg;
	DPI_Buffer log = open_log();
	while (atomic_load(&it.writing)) {
		uint64_t position = atomic_load(&it.seen);
		if (position > atomic_load(&it.truncated) + KEEP) {
			atomic_store(&it.truncated, position); /* before: readers find it gone after */
			CHECK_DPI(DPI_Truncate_Log(position, log));
		}
		nanosleep(&(struct timespec){ 0, 200000 }, NULL);
	}
	CHECK_DPI(DPI_Close_Buffer(log));
	return NULL;
}

static void run(bool truncates, uint64_t capacity, int each)
{
	pthread_t reader[READERS], other[WRITERS + 1];
	struct record last = { WRITERS, 0 };
	DPI_Buffer_Attr a = DPI_BUFFER_ATTR_INIT;
	DPI_Buffer log;
	int n = 0;
	CHECK_DPI(DPI_Init(&it.ctx));
	a.use = DPI_USE_LOG;
	a.max_capacity = capacity;
	a.max_record = LARGEST;
	CHECK_DPI(DPI_Create_Buffer("log", DPI_NODE_SELF, &a, it.ctx, &log));
	it.each = each;
	it.truncates = truncates;
	atomic_store(&it.writing, WRITERS);
	for (uintptr_t i = 0; i < READERS; i++) reader[i] = start_thread(read_all, (void *)i);
	for (uintptr_t i = 0; i < WRITERS; i++) other[n++] = start_thread(append, (void *)i);
	if (truncates) other[n++] = start_thread(truncate_often, NULL);
	while (n) end_thread(other[--n]);
	CHECK_DPI(DPI_Append(&last, sizeof last, log));
	CHECK_DPI(DPI_Flush_Buffer(log));
	for (int i = 0; i < READERS; i++) end_thread(reader[i]);
	if (!truncates) CHECK_INT(atomic_load(&it.kept), ==, (uint64_t)READERS * WRITERS * (uint64_t)each);
	CHECK_DPI(DPI_Close_Buffer(log));
	CHECK_DPI(DPI_Finalize(it.ctx));
}

TEST(log_is_read_while_it_grows, "", 0)
{
	run(false, UINT64_C(1) << 30, rounds(30000));
}

/* It holds less than what is appended: appenders wait for truncation, which takes segments from under the readers. */
TEST(log_is_truncated_while_it_is_read, "", 0)
{
	run(true, 1 << 20, rounds(30000));
}
