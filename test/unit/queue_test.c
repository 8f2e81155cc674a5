/* SPDX-License-Identifier: Apache-2.0
 * queue_test.c: src/memory/home.c, queue.c, ready.c: a queue's list of rings while appenders come, outgrow their rings and go,
 * and its descriptors. One process is the whole cluster: appenders are threads, the loop thread makes and ends their rings. */
#include "unit.h"

#include <poll.h>

#include "dpi.h"

#define APPENDERS 3
#define LARGEST 600u

enum { BY_CALLS, BY_RUNS, BY_POLL };

static struct {
	DPI_Context ctx;
	int visits, most, how; /* of an appender: how often it comes, with how many records at most */
	_Atomic int here;
	_Atomic uint64_t appended; /* by those that are gone */
	uint32_t *next[APPENDERS]; /* by visit: the number of the next record that the consumer expects */
} it;

static uint64_t key_of(const uint64_t head[3])
{
	return head[0] << 48 | head[1] << 24 | head[2];
}

/* Sleep until the descriptor says that the event may have come. */
static void await(DPI_Buffer b, int event)
{
	struct pollfd p = { .events = POLLIN };
	int ready;
	CHECK_DPI(DPI_Get_Buffer_Descriptor(event, b, &p.fd));
	CHECK_DPI(DPI_Arm_Buffer(event, b, &ready));
	while (!ready) {
		int n = poll(&p, 1, 40000 * harness_slow());
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) FAIL("slept through event %d", event);
		CHECK_DPI(DPI_Arm_Buffer(event, b, &ready));
	}
}

static void append_one(DPI_Buffer b, const void *bytes, size_t size)
{
	if (it.how != BY_POLL) {
		CHECK_DPI(DPI_Append(bytes, size, b));
		return;
	}
	CHECK_DPI(DPI_Set_Timeout(DPI_NO_WAIT, b)); /* an append that would wait says so */
	int error;
	while ((error = DPI_Append(bytes, size, b)) == DPI_ERR_TIMEOUT) await(b, DPI_EVENT_ROOM);
	CHECK_DPI(error);
	CHECK_DPI(DPI_Set_Timeout(40000000 * (int64_t)harness_slow(), b));
}

static void *visit(void *arg)
{
	uint64_t me = (uint64_t)(uintptr_t)arg, total = 0;
	struct draws d = draws_from((int)me + 10);
	uint8_t bytes[LARGEST];
	for (int i = 0; i < it.visits; i++) {
		uint64_t number = draw_below(&d, (uint64_t)it.most);
		DPI_Buffer b;
		CHECK_DPI(DPI_Open_Buffer("q", NULL, it.ctx, &b));
		CHECK_DPI(DPI_Set_Timeout(40000000 * (int64_t)harness_slow(), b));
		for (uint64_t n = 0; n < number; n++) {
			uint64_t head[3] = { me, (uint64_t)i, n }, size = sizeof head + draw_below(&d, draw_below(&d, 4) ? 48 : LARGEST - sizeof head);
			memcpy(bytes, head, sizeof head);
			fill(bytes + sizeof head, size - sizeof head, key_of(head));
			append_one(b, bytes, size);
			if (!draw_below(&d, 16)) CHECK_DPI(DPI_Flush_Buffer(b));
			idle(&d, 10000);
		}
		CHECK_DPI(DPI_Close_Buffer(b));
		total += number;
	}
	atomic_fetch_add(&it.appended, total);
	if (atomic_fetch_sub(&it.here, 1) > 1) return NULL;
	uint64_t last[3] = { APPENDERS, 0, atomic_load(&it.appended) };
	DPI_Buffer b;
	CHECK_DPI(DPI_Open_Buffer("q", NULL, it.ctx, &b));
	CHECK_DPI(DPI_Append(last, sizeof last, b));
	CHECK_DPI(DPI_Close_Buffer(b));
	return NULL;
}

/* The last appender's record says how many there are; it may come before others'. */
static void look_at(const DPI_Record *r, uint64_t *found, uint64_t *all)
{
	uint64_t head[3];
	CHECK(r->size >= sizeof head && r->size <= LARGEST);
	memcpy(head, r->data, sizeof head);
	if (head[0] == APPENDERS) {
		*all = head[2];
		return;
	}
	++*found;
	CHECK(head[0] < APPENDERS && head[1] < (uint64_t)it.visits);
	CHECK_INT(head[2], ==, it.next[head[0]][head[1]]++); /* a handle's records come in order */
	CHECK(filled((const uint8_t *)r->data + sizeof head, r->size - sizeof head, key_of(head)));
}

static void run(int how)
{
	pthread_t thread[APPENDERS];
	uint64_t found = 0, all = UINT64_MAX;
	struct draws d = draws_from(0);
	DPI_Buffer_Attr a = DPI_BUFFER_ATTR_INIT;
	DPI_Buffer q;
	it.how = how, it.visits = rounds(400), it.most = 60;
	a.capacity = 4096;
	a.max_capacity = 1 << 24; /* rings that grow leave room for those that come */
	a.max_record = LARGEST;
	if (how == BY_POLL) a.growth = DPI_GROWTH_NONE;
	CHECK_DPI(DPI_Init(&it.ctx));
	CHECK_DPI(DPI_Create_Buffer("q", DPI_NODE_SELF, &a, it.ctx, &q));
	atomic_store(&it.here, APPENDERS);
	for (int i = 0; i < APPENDERS; i++)
		if (!(it.next[i] = calloc((size_t)it.visits, sizeof *it.next[i]))) FAIL("no memory");
	for (uintptr_t i = 0; i < APPENDERS; i++) thread[i] = start_thread(visit, (void *)i);
	CHECK_DPI(DPI_Set_Timeout(how == BY_POLL ? DPI_NO_WAIT : 40000000 * (int64_t)harness_slow(), q));
	while (found < all) {
		DPI_Record record[32];
		size_t count = 1;
		int error = how == BY_RUNS ? DPI_Next_Records(q, 32, record, &count) : DPI_Next_Record(q, record);
		if (how == BY_POLL && error == DPI_ERR_TIMEOUT) {
			await(q, DPI_EVENT_RECORDS);
			continue;
		}
		CHECK_DPI(error);
		for (size_t i = 0; i < count; i++) look_at(&record[i], &found, &all);
		if (how == BY_RUNS) CHECK_DPI(DPI_Release_Records(count, q));
		idle(&d, 5000);
	}
	for (int i = 0; i < APPENDERS; i++) end_thread(thread[i]), free(it.next[i]);
	CHECK_INT(found, ==, all);
	CHECK_DPI(DPI_Close_Buffer(q));
	CHECK_DPI(DPI_Finalize(it.ctx));
}

TEST(rings_come_grow_and_go, "", 0)
{
	run(BY_CALLS);
}

TEST(rings_come_and_go_while_records_are_lent, "", 0)
{
	run(BY_RUNS);
}

TEST(descriptors_of_both_ends, "", 0)
{
	run(BY_POLL);
}
