/* SPDX-License-Identifier: Apache-2.0
 * many_test.c: what several handles have to publish goes by one put_many where it is the same, and is left alone where it is not. */
#include "unit.h"

#include <stddef.h>

#include "buffer.h"

enum { LANES = 3, CAPACITY = 4096, MOST = 1500 };

static struct dpi_carrier carrier;
static struct dpi_peer peer[LANES];
static struct dpi_buffer *lane[LANES];
static uint8_t mirror[LANES][CAPACITY], ring[LANES][DPI_RING_HEADER + CAPACITY];
static int calls, answer, agains;
static uint64_t before[LANES]; /* sent at first */

static int put_many(DPI_Tp *tp, const DPI_Tp_To *to, int n, const struct iovec *iov, int count, uint32_t flags, void *cookie)
{
	(void)tp, (void)flags;
	calls++;
	CHECK_INT(count, ==, 1);
	CHECK_INT(iov->iov_len, <=, MOST);
	CHECK(cookie == &dpi_unawaited);
	if (agains && agains--) return DPI_ERR_AGAIN;
	if (answer) return answer;
	for (int i = 0; i < n; i++) {
		uint8_t *r = (uint8_t *)to[i].remote;
		memcpy(r + to[i].offset, iov->iov_base, iov->iov_len);
		memcpy(r + to[i].notify->offset, &to[i].notify->value, 8);
	}
	return DPI_SUCCESS;
}

static int progress(DPI_Tp *tp, uint32_t l, int *events)
{
	(void)tp, (void)l;
	if (events) *events = 0;
	return DPI_SUCCESS;
}

static int arm(DPI_Tp *tp, uint32_t l)
{
	(void)tp, (void)l;
	return DPI_SUCCESS;
}

/* Lanes that are filled alike, size bytes each, from different places of their rings. */
static void start(uint64_t size)
{
	static DPI_Transport table;
	static struct dpi_context ctx;
	carrier.ctx = &ctx;
	for (int i = 0; i < LANES; i++) peer[i].node = i;
	table.put_many = put_many;
	table.progress = progress;
	table.arm = arm;
	carrier.table = &table;
	carrier.attr = (DPI_Tp_Attr){ .capabilities = DPI_TP_MULTICAST, .max_many = MOST };
	pthread_mutex_init(&carrier.lock, NULL);
	calls = answer = agains = 0;
	for (int i = 0; i < LANES; i++) {
		struct dpi_buffer *b = lane[i] = calloc(1, sizeof *b);
		struct dpi_appender *a = &b->appender;
		memset(ring[i], 0, sizeof ring[i]);
		peer[i].endpoint[0] = (DPI_Tp_Endpoint *)(void *)&peer[i];
		a->attached = true;
		a->remote = (struct dpi_remote){ .peer = &peer[i], .carrier = &carrier, .tp = (DPI_Tp_Remote *)(void *)ring[i], .length = sizeof ring[i] };
		a->writer.data = mirror[i];
		a->writer.capacity = CAPACITY;
		a->writer.mask = CAPACITY - 1;
		pthread_mutex_init(&a->lock, NULL);
		before[i] = 3 * CAPACITY + 1000 * (uint64_t)i;
		atomic_store(&a->sent, before[i]);
		atomic_store(&a->writer.written, before[i] + size);
		for (uint64_t k = 0; k < size; k++) mirror[i][(before[i] + k) & (CAPACITY - 1)] = (uint8_t)(k * 7 + 1);
	}
}

static void end(void)
{
	for (int i = 0; i < LANES; i++) {
		pthread_mutex_destroy(&lane[i]->appender.lock);
		free(lane[i]);
	}
}

static void check_sent(uint64_t size)
{
	for (int i = 0; i < LANES; i++) {
		uint64_t tail;
		CHECK_INT(atomic_load(&lane[i]->appender.sent), ==, before[i] + size);
		memcpy(&tail, ring[i] + offsetof(struct dpi_ring, tail), 8);
		CHECK_INT(tail, ==, size ? before[i] + size : 0);
		for (uint64_t k = 0; k < size; k++) CHECK_INT(ring[i][DPI_RING_HEADER + ((before[i] + k) & (CAPACITY - 1))], ==, (uint8_t)(k * 7 + 1));
	}
}

TEST(publishes_what_is_the_same, "T-61", 0)
{
	/* all that lies together, in parts: what the transport takes, then to the third's end, the second's, the rest */
	start(4000);
	for (int i = 0; i < LANES; i++) CHECK(dpi_append_has_multicast(lane[i]));
	CHECK(dpi_append_publish_many(lane, LANES));
	check_sent(4000);
	CHECK_INT(calls, ==, 4);
	CHECK(!dpi_append_publish_many(lane, LANES));
	CHECK_INT(calls, ==, 4);
	end();
	start(1);
	CHECK(dpi_append_publish_many(lane, LANES));
	check_sent(1);
	CHECK_INT(lane[2]->appender.publishes, ==, 1);
	end();
	start(100); /* a transport that is busy */
	agains = 3;
	CHECK(dpi_append_publish_many(lane, LANES));
	check_sent(100);
	end();
}

TEST(leaves_alone_what_differs, "T-61", 0)
{
	start(2000);
	mirror[1][(before[1] + 5) & (CAPACITY - 1)]++;
	CHECK(!dpi_append_publish_many(lane, LANES));
	check_sent(0);
	CHECK_INT(calls, ==, 0);
	end();
	start(2000);
	atomic_fetch_add(&lane[2]->appender.writer.written, 8);
	CHECK(!dpi_append_publish_many(lane, LANES));
	CHECK_INT(calls, ==, 0);
	end();
	start(2000);
	CHECK(!dpi_append_publish_many(lane, 1));
	lane[1]->appender.attached = false;
	CHECK(!dpi_append_has_multicast(lane[1]));
	lane[1]->appender.attached = true;
	carrier.attr.capabilities = 0;
	CHECK(!dpi_append_has_multicast(lane[1]));
	end();
	static const int errors[] = { DPI_ERR_UNSUPPORTED, DPI_ERR_PEER, DPI_ERR_AGAIN, DPI_ERR_LIMIT };
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		start(2000);
		answer = errors[i];
		CHECK(!dpi_append_publish_many(lane, LANES));
		check_sent(0);
		CHECK_INT(lane[0]->appender.publishes, ==, 0);
		end();
	}
	start(2000);
	atomic_store(&peer[1].dead, true);
	CHECK(!dpi_append_publish_many(lane, LANES));
	CHECK_INT(calls, ==, 0);
	atomic_store(&peer[1].dead, false);
	peer[2].endpoint[0] = NULL;
	CHECK(!dpi_append_publish_many(lane, LANES));
	CHECK_INT(calls, ==, 0);
	end();
}
