/* SPDX-License-Identifier: Apache-2.0
 * linger_test.c: src/memory/linger.c: a record that nobody flushes is seen all the same, whatever the service is at when
 * it is appended. One process is the whole cluster: its loop thread is the service. */
#include "unit.h"

#include "buffer.h"
#include "layer.h"

static DPI_Context ctx;

static void start(bool fence)
{
	if (fence) forbid_membarrier();
	CHECK_DPI(DPI_Init(&ctx));
	CHECK_INT(dpi_context()->bells.page->fence, ==, fence);
}

static DPI_Buffer make(const char *name, uint64_t max_record)
{
	DPI_Buffer_Attr a = DPI_BUFFER_ATTR_INIT;
	DPI_Buffer b;
	a.capacity = 4096;
	a.max_record = max_record;
	CHECK_DPI(DPI_Create_Buffer(name, DPI_NODE_SELF, &a, ctx, &b));
	return b;
}

/* A handle whose records the service publishes as soon as it comes by; and it comes by all the time until it is disarmed. */
static DPI_Buffer open_eager(const char *name)
{
	DPI_Buffer b;
	CHECK_DPI(DPI_Open_Buffer(name, NULL, ctx, &b));
	dpi_buffer_get(b)->linger_us = 0;
	return b;
}

static void take(DPI_Buffer from, uint64_t wanted)
{
	DPI_Record r;
	uint64_t got;
	CHECK_DPI(DPI_Next_Record(from, &r));
	CHECK_INT(r.size, ==, sizeof got);
	memcpy(&got, r.data, sizeof got);
	CHECK_INT(got, ==, wanted);
}

/* ------------------------------------------------------------------------------------------------ arm and disarm */

/* One record at a time, at any time: while armed, while the service makes up its mind, and after. */
static void append_at_odd_times(bool fence, int n)
{
	struct draws d = draws_from(rounds(1));
	uint64_t found_armed = 0, found_disarmed = 0;
	start(fence);
	DPI_Buffer q = make("q", 100), a = open_eager("q");
	struct dpi_buffer *b = dpi_buffer_get(a);
	int64_t disarm_ns = 20000; /* about so long the service takes to let a handle go; learnt */
	for (uint64_t i = 0; i < (uint64_t)rounds(n) || !found_armed || !found_disarmed; i++) {
		bool armed = i && atomic_load(&b->armed);
		armed ? found_armed++ : found_disarmed++;
		CHECK_DPI(DPI_Append(&i, sizeof i, a));
		int64_t end = patience();
		while (atomic_load_explicit(b->appender.tail, memory_order_acquire) != b->appender.writer.written)
			if (dpi_now() > end) FAIL("record %" PRIu64 " is not seen: armed %d", i, atomic_load(&b->armed));
		take(q, i);
		disarm_ns += armed ? disarm_ns / 16 : -disarm_ns / 16; /* so that it is armed half of the times */
		if (disarm_ns < 500) disarm_ns = 500;
		pass_ns(disarm_ns - disarm_ns / 8 + (int64_t)draw_below(&d, (uint64_t)disarm_ns / 4));
		if (!draw_below(&d, 64)) idle(&d, 200000);
	}
	CHECK_DPI(DPI_Close_Buffer(a));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(linger_shows_what_is_appended_at_any_time, "", 0)
{
	append_at_odd_times(false, 10000);
}

TEST(linger_shows_it_with_real_fences, "", 0)
{
	append_at_odd_times(true, 10000);
}

/* By the setting: within the time, and not much later. */
TEST(linger_keeps_its_time, "", 0, .env = "DPI_LINGER=2ms")
{
	start(false);
	DPI_Buffer q = make("q", 100), a;
	DPI_Open_Attr attr = DPI_OPEN_ATTR_INIT;
	for (int own = 0; own < 2; own++) {
		attr.linger_us = own ? 5000 : 0;
		CHECK_DPI(DPI_Open_Buffer("q", &attr, ctx, &a));
		struct dpi_buffer *b = dpi_buffer_get(a);
		for (uint64_t i = 0; i < (uint64_t)rounds(30); i++) {
			int64_t begin = dpi_now();
			CHECK_DPI(DPI_Append(&i, sizeof i, a));
			take(q, i);
			CHECK_INT(dpi_now() - begin, <, 10 * SECOND * harness_slow());
			CHECK_INT(b->linger_us, ==, own ? 5000 : 2000);
		}
		CHECK_DPI(DPI_Close_Buffer(a));
	}
	CHECK_DPI(DPI_Finalize(ctx));
}

/* --------------------------------------------------------------------------------------------- who sleeps meanwhile */

static DPI_Buffer sleeping;
static _Atomic uint64_t taken;

static void *take_all(void *arg)
{
	uint64_t n = (uint64_t)(uintptr_t)arg;
	for (uint64_t i = 0; i < n; i++) take(sleeping, i), atomic_store(&taken, i + 1);
	return NULL;
}

static void await_sleeper(const struct dpi_bell *bell)
{
	for (int64_t end = patience(); !dpi_bell_slept_at(bell);)
		if (dpi_now() > end) FAIL("nobody sleeps");
}

/* A group does not wake a consumer; a quarter of the ring does, and what is left then when the linger time is over, or with a flush. */
static void let_sleep(int64_t linger_us, bool flush)
{
	DPI_Buffer_Attr attr = DPI_BUFFER_ATTR_INIT;
	DPI_Open_Attr open = DPI_OPEN_ATTR_INIT;
	DPI_Buffer a;
	attr.capacity = 65536;
	attr.max_record = 100;
	open.linger_us = linger_us;
	CHECK_DPI(DPI_Create_Buffer("wide", DPI_NODE_SELF, &attr, ctx, &sleeping));
	CHECK_DPI(DPI_Open_Buffer("wide", &open, ctx, &a));
	struct dpi_buffer *b = dpi_buffer_get(a);
	uint64_t i = 0, most = attr.capacity / 4 / 16; /* a record has 16 bytes, without a run */
	atomic_store(&taken, 0);
	/* the first waits for its ring; then the consumer sleeps */
	CHECK_DPI(DPI_Append(&i, sizeof i, a));
	CHECK_DPI(DPI_Flush_Buffer(a));
	pthread_t t = start_thread(take_all, (void *)(uintptr_t)(most + 100));
	for (int64_t end = patience(); atomic_load(&taken) != 1;)
		if (dpi_now() > end) FAIL("the first record is not taken");
	const struct dpi_bell *bell = &dpi_context()->bells.page->bell[b->appender.home_bell];
	await_sleeper(bell);
	uint64_t published = b->appender.published;
	uint32_t woken = bell->sequence;
	for (i = 1; b->appender.published == published; i++) CHECK_DPI(DPI_Append(&i, sizeof i, a));
	if (linger_us > SECOND / 1000) CHECK_INT(bell->sequence, ==, woken);
	for (; i < most + 100; i++) CHECK_DPI(DPI_Append(&i, sizeof i, a));
	if (flush) CHECK_DPI(DPI_Flush_Buffer(a));
	end_thread(t);
	CHECK_DPI(DPI_Close_Buffer(a));
	CHECK_DPI(DPI_Close_Buffer(sleeping));
	CHECK_DPI(DPI_Destroy_Buffer("wide", ctx));
}

TEST(groups_let_their_consumer_sleep, "", 0, .env = "DPI_SPIN=0")
{
	start(false);
	let_sleep(1000000000, true);
	let_sleep(2000, false);
	CHECK_DPI(DPI_Finalize(ctx));
}

static int appended_in_all;

/* The handle is armed, unless the machine stood still until the service had published the record. */
static void append_and_see_armed(const uint64_t *record, DPI_Buffer to)
{
	struct dpi_buffer *b = dpi_buffer_get(to);
	for (;;) {
		int64_t begin = dpi_now();
		CHECK_DPI(DPI_Append(record, sizeof *record, to));
		appended_in_all++;
		if (atomic_load(&b->armed)) return;
		CHECK_INT(dpi_now() - begin, >=, 1000 * (int64_t)b->linger_us);
	}
}

/* Nothing to publish: the service lets go of the handle, and the loop sleeps. */
TEST(linger_lets_go_of_idle_handles, "", 0)
{
	start(false);
	struct dpi_memory_layer *m = dpi_context()->memory;
	DPI_Buffer q = make("q", 100), a[20];
	for (uint64_t i = 0; i < 20; i++) {
		CHECK_DPI(DPI_Open_Buffer("q", NULL, ctx, &a[i]));
		append_and_see_armed(&i, a[i]);
	}
	for (int64_t end = patience(); atomic_load(&m->linger_at) != DPI_NEVER; harness_pause())
		if (dpi_now() > end) FAIL("the service goes on for nothing");
	for (int i = 0; i < 20; i++) CHECK(!atomic_load(&dpi_buffer_get(a[i])->armed));
	for (int i = 0; i < 20; i += 2) CHECK_DPI(DPI_Close_Buffer(a[i]));
	for (uint64_t i = 1; i < 20; i += 2) append_and_see_armed(&i, a[i]);
	DPI_Record r;
	for (int i = 0; i < appended_in_all; i++) CHECK_DPI(DPI_Next_Record(q, &r));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* ------------------------------------------------------------------------------------------ handles come and go */

#define APPENDERS 3

static _Atomic uint64_t appended;
static _Atomic int appenders_left;

static void *come_and_go(void *arg)
{
	struct draws d = draws_from((int)(intptr_t)arg);
	for (int n = rounds(300); n; n--) {
		DPI_Buffer a = open_eager("q");
		if (draw_below(&d, 4) == 0) dpi_buffer_get(a)->linger_us = 100;
		uint64_t tag = (uint64_t)(uintptr_t)a;
		for (uint64_t i = 0, count = draw_below(&d, 20); i < count; i++) {
			uint64_t record[2] = { tag, i };
			CHECK_DPI(DPI_Append(record, sizeof record, a));
			atomic_fetch_add(&appended, 1);
			idle(&d, 20000);
		}
		CHECK_DPI(DPI_Close_Buffer(a)); /* at once: armed, or about to be disarmed */
	}
	atomic_fetch_sub(&appenders_left, 1);
	return NULL;
}

TEST(linger_while_handles_come_and_go, "", 0)
{
	pthread_t t[APPENDERS];
	uint64_t got = 0;
	start(false);
	DPI_Buffer q = make("q", 100);
	atomic_store(&appenders_left, APPENDERS);
	for (intptr_t i = 0; i < APPENDERS; i++) t[i] = start_thread(come_and_go, (void *)i);
	while (atomic_load(&appenders_left) || got < atomic_load(&appended)) {
		DPI_Record r;
		CHECK_DPI(DPI_Set_Timeout(20000, q));
		int error = DPI_Next_Record(q, &r);
		if (error) CHECK_INT(error, ==, DPI_ERR_TIMEOUT);
		else got++;
	}
	for (int i = 0; i < APPENDERS; i++) end_thread(t[i]);
	CHECK_INT(got, ==, appended);
	CHECK_INT(dpi_context()->memory->armed_count, ==, 0);
	CHECK_DPI(DPI_Finalize(ctx));
}

/* ---------------------------------------------------------------------------------------------------------- growth */

struct grower {
	int rounds;
	_Atomic uint64_t grown;
};

/* Gets a larger ring again and again, while the service looks at whichever it is. */
static void *grow(void *arg)
{
	struct grower *g = arg;
	struct draws d = draws_from(1);
	for (int n = g->rounds; n; n--) {
		DPI_Buffer a = open_eager("q");
		struct dpi_buffer *b = dpi_buffer_get(a);
		uint64_t i = 0;
		for (int rings = 0; rings < 8; rings++) {
			for (uint64_t count = draw_below(&d, 30); count; count--) {
				uint64_t record[2] = { (uint64_t)n, i++ };
				CHECK_DPI(DPI_Append(record, sizeof record, a));
			}
			if (draw_below(&d, 2)) pass_ns((int64_t)draw_below(&d, 20000));
			if (b->appender.attached && dpi_append_grow(b, patience())) atomic_fetch_add(&g->grown, 1);
		}
		uint64_t record[2] = { (uint64_t)n, UINT64_MAX };
		CHECK_DPI(DPI_Append(record, sizeof record, a));
		CHECK_DPI(DPI_Close_Buffer(a));
	}
	return NULL;
}

TEST(linger_while_rings_grow, "", 0)
{
	struct grower g = { .rounds = rounds(100) };
	start(false);
	DPI_Buffer q = make("q", 100);
	uint64_t *next = calloc((size_t)g.rounds + 1, sizeof *next);
	pthread_t t = start_thread(grow, &g);
	for (int left = g.rounds; left;) {
		DPI_Record r;
		uint64_t got[2];
		CHECK_DPI(DPI_Next_Record(q, &r));
		CHECK_INT(r.size, ==, sizeof got);
		memcpy(got, r.data, sizeof got);
		CHECK(got[0] <= (uint64_t)g.rounds);
		if (got[1] == UINT64_MAX) left--;
		else if (got[1] != next[got[0]]++) FAIL("handle %" PRIu64 ": record %" PRIu64 " is not the next", got[0], got[1]);
	}
	end_thread(t);
	CHECK(g.grown > 0);
	CHECK_DPI(DPI_Finalize(ctx));
	free(next);
}
