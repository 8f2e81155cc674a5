/* SPDX-License-Identifier: Apache-2.0
 * casts.c: multicast: what is lost, late, cut, doubled or forged on the way is never lost, nor taken, at a target. */
#include "sides.h"

#include "transports/verbs/multicast.h"

#define CAST_GROUP 0xef010203u /* 239.1.2.3 */

static struct window w[3]; /* at b, at b, at third */
static DPI_Tp_Endpoint *to_third;
static uint8_t data[70000];

static void fill(size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++) data[i] = (uint8_t)(seed * 31 + i * 7 + i / 256);
}

/* The clock stands still, and goes on when nothing moves any more. */
static void settle(void)
{
	for (int i = 0; i < 4; i++) {
		sides_progress();
		mock.frozen_us += 2 * CAST_WAIT_US;
	}
	sides_progress();
}

static void begin(void)
{
	sides_init();
	mock.device.max_mcast_grp = 100;
	mock.port.active_mtu = IBV_MTU_1024;
	mock.frozen_us = 1000000;
	a.multicast = b.multicast = third.multicast = "239.1.2.3";
}

static void open_all(void)
{
	sides_open();
	if (side_open(&third)) FAIL("%s", third.sentence);
	if (side_connect(&a, &third, LONG)) FAIL("%s", a.sentence);
	if (side_connect(&third, &a, LONG)) FAIL("%s", third.sentence);
	window_share(&third, &a, &w[2], DPI_TP_WRITE | DPI_TP_READ | DPI_TP_ATOMIC);
	to_third = a.to;
	sides_connect();
	for (int i = 0; i < 2; i++) window_share(&b, &a, &w[i], DPI_TP_WRITE | DPI_TP_READ | DPI_TP_ATOMIC);
}

static int cast(int n, size_t size, uint64_t offset, const DPI_Tp_Notify *notify)
{
	static struct op o;
	DPI_Tp_To to[3];
	struct iovec v[2] = { { data, size / 3 }, { data + size / 3, size - size / 3 } };
	for (int i = 0; i < n; i++) to[i] = (DPI_Tp_To){ w[2 - i].remote, offset + (uint64_t)i * 8, notify };
	POST(&o, verbs()->put_many(a.tp, to, n, v, 2, 0, &o));
	return finish(&o);
}

/* Until both listen. */
static void reach(void)
{
	CHECK_FAILS(&a, cast(3, 100, 0, NULL), DPI_ERR_UNSUPPORTED, "post a put to each");
	for (int i = 0; i < 3; i++) { /* asked, probed */
		settle();
		if (!cast(3, 100, 0, NULL)) break;
	}
	settle();
	CHECK_HAS(a.log, "node 1 is reached by multicast");
	CHECK_HAS(a.log, "node 2 is reached by multicast");
}

static void start(void)
{
	begin();
	open_all();
	reach();
}

static void check_arrived(size_t size, uint64_t offset)
{
	for (int i = 0; i < 3; i++) CHECK(!memcmp(w[2 - i].memory + offset + i * 8, data, size));
}

static void end(void)
{
	CHECK_INT(a.lost + b.lost + third.lost, ==, 0);
	mock.frozen_us = 0;
	sides_end();
}

/* Casts of many sizes, over a network that does this to datagrams. Each is followed by a put, whose word is set after. */
static void casts(int (*network)(int count, uint8_t *bytes, uint32_t *size))
{
	static const size_t sizes[] = { 1, 8, 300, 991, 992, 993, 1985, 5000, 20000, 65000, 65536 };
	uint64_t number = 0;
	mock.datagram = network;
	for (int round = 0; round < 3; round++)
		for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
			uint64_t offset = 1000 + s * 3, later = 0;
			DPI_Tp_Notify word = { 0, ++number, 3 }, next = { 8, number, 4 };
			fill(sizes[s], (unsigned)number);
			for (int i = 0; i < 3; i++) memset(w[i].memory + 16, 0, sizeof w[i].memory - 16);
			CHECK_INT(cast(3, sizes[s], offset, &word), ==, DPI_SUCCESS);
			CHECK_INT(put(&a, w[0].remote, &number, 8, 200000, &next), ==, DPI_SUCCESS);
			sides_progress();
			memcpy(&later, w[0].memory + 8, 8);
			if (later == number) check_arrived(sizes[s], offset);
			CHECK_INT(b.opened, ==, 1);
			settle();
			CHECK_INT(flush(&a), ==, DPI_SUCCESS);
			check_arrived(sizes[s], offset);
			for (int i = 0; i < 3; i++) CHECK(!memcmp(w[i].memory, &number, 8) && !w[2 - i].memory[offset + i * 8 + sizes[s]]);
			CHECK(!memcmp(w[0].memory + 8, &number, 8));
			CHECK_INT(b.bell, ==, 4);
			CHECK_INT(third.bell, ==, 3);
		}
	mock.datagram = NULL;
}

TEST(verbs_casts, "", 0)
{
	start();
	int before = mock.datagrams;
	casts(NULL);
	CHECK_INT(mock.datagrams - before, ==, 3 * (4 + 1 + 2 + 3 + 6 + 21 + 66 + 67));
	CHECK_INT((int)b.tp->connections->cast->reads, ==, 0);
	end();
}

/* As many datagrams as the port's MTU makes of the bytes, and no more than the device has requests for. */
TEST(verbs_casts_of_the_mtu, "", 0)
{
	for (int mtu = IBV_MTU_256; mtu <= IBV_MTU_4096; mtu++)
		for (int few = 0; few < 3; few++) {
			int room = (128 << mtu) - DATAGRAM_HEAD;
			size_t size = few && 32 * room < 20000 ? 32 * (size_t)room : 20000;
			begin();
			mock.port.active_mtu = (enum ibv_mtu)mtu;
			if (few == 1) mock.device.max_qp_wr = DEPTH_MIN;
			if (few == 2) mock.device.max_cqe = DEPTH + CREDITS;
			open_all();
			reach();
			int before = mock.datagrams;
			fill(size, (unsigned)mtu);
			CHECK_INT(cast(3, size, 1000, NULL), ==, DPI_SUCCESS);
			settle();
			CHECK_INT(flush(&a), ==, DPI_SUCCESS);
			check_arrived(size, 1000);
			CHECK_INT(mock.datagrams - before, ==, ((int)size + room - 1) / room);
			end();
		}
}

static int all_lost(int count, uint8_t *bytes, uint32_t *size) { return (void)count, (void)bytes, (void)size, 0; }
static int third_lost(int count, uint8_t *bytes, uint32_t *size) { return (void)bytes, (void)size, count % 3 != 0; }
static int many_lost(int count, uint8_t *bytes, uint32_t *size) { return (void)bytes, (void)size, count % 7 == 5; }
static int doubled(int count, uint8_t *bytes, uint32_t *size) { return (void)bytes, (void)size, 1 + count % 4; }
static int cut(int count, uint8_t *bytes, uint32_t *size)
{
	(void)bytes;
	if (count % 3 == 1) *size -= *size > 40 ? 1 + (uint32_t)count % 9 : 0;
	if (count % 11 == 1) *size = (uint32_t)count % 33;
	return 1;
}
static int forged(int count, uint8_t *bytes, uint32_t *size)
{
	if (count % 2 && *size >= DATAGRAM_HEAD) bytes[count / 2 % DATAGRAM_HEAD] ^= (uint8_t)(1 + count % 255);
	return 1;
}
static int swapped(int count, uint8_t *bytes, uint32_t *size)
{
	static uint8_t held[DATAGRAM_MOST];
	static uint32_t held_size;
	if (count % 2 == 0) {
		memcpy(held, bytes, held_size = *size);
		return 0;
	}
	mock_datagram(CAST_GROUP, bytes, *size);
	memcpy(bytes, held, *size = held_size);
	return 1;
}

#define NETWORK(name)                                                                                  \
	TEST(verbs_casts_##name, "", 0)                                                                \
	{                                                                                              \
		start();                                                                               \
		casts(name);                                                                           \
		end();                                                                                 \
	}
NETWORK(third_lost)
NETWORK(many_lost)
NETWORK(doubled)
NETWORK(cut)
NETWORK(forged)
NETWORK(swapped)

/* A target that has to read all is given up, and can be put to. */
TEST(verbs_gives_up_multicast_that_is_lost, "", 0)
{
	start();
	mock.datagram = all_lost;
	int error = DPI_SUCCESS;
	for (int i = 0; i < 10 * CAST_JUDGED && !error; i++) {
		fill(5000, (unsigned)i);
		if ((error = cast(3, 5000, 64, NULL))) break;
		settle();
		CHECK_INT(flush(&a), ==, DPI_SUCCESS);
		check_arrived(5000, 64);
	}
	CHECK_INT(error, ==, DPI_ERR_UNSUPPORTED);
	CHECK_HAS(a.log, "is left out of multicast");
	CHECK_INT(put(&a, w[2].remote, data, 5000, 64, NULL), ==, DPI_SUCCESS);
	end();
}

/* Messages behind a cast whose bytes are lost wait for them; those of others do not. */
TEST(verbs_keeps_the_order_behind_a_cast, "", 0)
{
	start();
	DPI_Tp_Notify word = { 0, 77, 9 };
	mock.datagram = all_lost;
	b.rung = 0;
	CHECK_INT(cast(2, 3000, 512, NULL), ==, DPI_SUCCESS);
	for (int i = 0; i < 20; i++) CHECK_INT(put(&a, w[1].remote, data, 0, 0, &word), ==, DPI_SUCCESS);
	sides_progress();
	CHECK_INT(b.rung, ==, 0);
	CHECK_INT(verbs()->arm(b.tp, 0), ==, DPI_ERR_AGAIN);
	struct op o = { 0 };
	o.posted = verbs()->flush(a.to, &o);
	sides_progress();
	CHECK_INT(o.completions, ==, 0);
	fill(3000, 5); /* the caller's memory is its own again */
	settle();
	CHECK_INT(finish(&o), ==, DPI_SUCCESS);
	CHECK_INT(b.rung, ==, 20);
	fill(3000, 0);
	mock.datagram = NULL;
	end();
}

/* Datagrams of anybody: none harms. */
TEST(verbs_hostile_datagrams, "", 0)
{
	start();
	uint8_t bytes[DATAGRAM_MOST] = { 0 };
	const uint64_t *token = a.tp->multicast->token, other[2] = { 1, 2 };
	for (unsigned i = 0; i < 3000; i++) {
		uint32_t size = i * 7 % 985;
		for (uint32_t k = 0; k < size; k++) bytes[k] = (uint8_t)(k * i >> 3);
		if (i % 3) dpi_verbs_datagram(bytes, (enum datagram_kind)(i % 5), i % 2 ? i : i * UINT64_C(0x9e3779b97f4a7c15), i % 4 ? other : token);
		mock_datagram(CAST_GROUP, bytes, size);
		if (i % 50 == 0) sides_progress();
	}
	settle();
	casts(NULL);
	end();
}

/* What no correct peer says ends its connection. */
static void hostile(enum wire_op op, const uint64_t *words)
{
	start();
	dpi_verbs_request(a.to, op, words);
	settle();
	CHECK_INT(b.lost, ==, 1);
	CHECK_HAS(b.lost_sentence, "no correct peer");
	CHECK_INT(third.lost, ==, 0);
	mock.frozen_us = 0;
	sides_end();
}
TEST(verbs_hostile_casts, "", 0)
{
	uint64_t bell = DPI_TP_NO_BELL, most = UINT64_C(65536) << 32;
	hostile(WIRE_CAST, (uint64_t[]){ 0, 0, DPI_TP_NO_OFFSET, 0, bell, 5 });
	hostile(WIRE_CAST, (uint64_t[]){ 0, 0, DPI_TP_NO_OFFSET, 0, bell | most, CAST_SLOTS - 1 });
	hostile(WIRE_CAST, (uint64_t[]){ 0, 0, DPI_TP_NO_OFFSET, 0, bell | most, UINT64_MAX });
	hostile(WIRE_CAST, (uint64_t[]){ 0, UINT64_MAX - 5, DPI_TP_NO_OFFSET, 0, bell | most, 512 });
	hostile(WIRE_CAST, (uint64_t[]){ 0, 0, DPI_TP_NO_OFFSET, 0, bell | most * 32767, 512 });
	hostile(WIRE_CAST, (uint64_t[]){ 99, 0, DPI_TP_NO_OFFSET, 0, bell | UINT64_C(8) << 32, 512 }); /* what is read is not that */
	hostile(WIRE_CASTER, (uint64_t[]){ 1, 2, 0, 0, CAST_SLOTS | UINT64_C(1024) << 32, CAST_GROUP });
	hostile(WIRE_TOOK, (uint64_t[]){ 5, 0 });
	hostile(WIRE_LISTENS, (uint64_t[]){ 1 });
	hostile(WIRE_TELL + 1, (uint64_t[]){ UINT64_MAX, 0 });
}

/* A target that handles nothing: the sender is told to wait, and asks; it goes on when that does. */
TEST(verbs_casts_wait_for_targets, "", 0)
{
	start();
	DPI_Tp_To to[2] = { { w[2].remote, 0, NULL }, { w[1].remote, 0, NULL } };
	struct iovec v = { data, 65536 };
	int error, done = 0;
	while (!(error = verbs()->put_many(a.tp, to, 2, &v, 1, 0, NULL))) done++;
	CHECK_INT(error, ==, DPI_ERR_AGAIN);
	CHECK_INT(done, ==, 7);
	settle();
	for (int i = 0; i < 50; i++) {
		while ((error = verbs()->put_many(a.tp, to, 2, &v, 1, DPI_TP_MORE, NULL)) == DPI_ERR_AGAIN) settle();
		CHECK_INT(error, ==, DPI_SUCCESS);
	}
	settle();
	end();
}

TEST(verbs_casts_outlive_a_target, "", 0)
{
	start();
	mock.datagram = many_lost;
	CHECK_INT(cast(3, 30000, 0, NULL), ==, DPI_SUCCESS);
	side_close(&third);
	settle();
	CHECK_INT(a.lost, ==, 1);
	CHECK_FAILS(&a, cast(3, 30000, 0, NULL), DPI_ERR_PEER, "node 2");
	w[2] = w[1];
	fill(30000, 9);
	for (int i = 0; i < 60; i++) CHECK_INT(cast(2, 30000, 0, NULL), ==, DPI_SUCCESS);
	settle();
	CHECK_INT(flush(&a), ==, DPI_SUCCESS);
	CHECK(!memcmp(w[1].memory + 8, data, 30000));
	mock.datagram = NULL;
	mock.frozen_us = 0;
	sides_end();
}

/* A sender that goes while a target waits for bytes; and one that disconnects, whose casts are taken first. */
TEST(verbs_casters_go, "", 0)
{
	start();
	mock.datagram = all_lost;
	CHECK_INT(cast(3, 30000, 0, NULL), ==, DPI_SUCCESS);
	sides_progress();
	side_close(&a);
	settle();
	CHECK_INT(b.lost, ==, 1);
	CHECK_INT(third.lost, ==, 1);
	mock.datagram = NULL;
	mock.frozen_us = 0;
	sides_end();
}

/* A sender that goes while a target reads its casts: the device may be at the buffers until it has said otherwise, or has had its time. */
TEST(verbs_casters_go_while_they_are_read, "", 0)
{
	start();
	mock.datagram = all_lost;
	CHECK_INT(cast(3, 30000, 0, NULL), ==, DPI_SUCCESS);
	mock.hold = mock.late = true;
	settle();
	DPI_Tp_Endpoint *c = b.to;
	CHECK(c->cast && c->cast->reading);
	struct verbs_buffer *first = b.tp->buffers;
	b.tp->inside = true;
	dpi_verbs_lose(c, "the test ends it");
	b.tp->inside = false;
	sides_progress();
	CHECK(b.tp->buffers == first);
	mock.frozen_us += FLUSH_US;
	sides_progress();
	CHECK(b.tp->buffers != first);
	CHECK(!c->cast);
	mock.hold = mock.late = false;
	mock.datagram = NULL;
	mock.frozen_us = 0;
	sides_end();
}

/* Where there is no multicast, puts do. */
static void without(const char *why)
{
	open_all();
	for (int i = 0; i < 3; i++) {
		CHECK_INT(cast(3, 3000, 0, NULL), ==, DPI_ERR_UNSUPPORTED);
		settle();
	}
	if (why && !strstr(a.log, why) && !strstr(b.log, why)) FAIL("no '%s' in: %s", why, a.log);
	fill(3000, 1);
	for (int i = 0; i < 3; i++) CHECK_INT(put(&a, w[i].remote, data, 3000, 0, NULL), ==, DPI_SUCCESS);
	settle();
	for (int i = 0; i < 3; i++) CHECK(!memcmp(w[i].memory, data, 3000));
	end();
}
TEST(verbs_without_multicast, "", 0)
{
	begin();
	a.multicast = "10.1.2.3";
	CHECK_FAILS(&a, side_open(&a), DPI_ERR_CONFIG, "10.1.2.3");
	sides_end();
	begin();
	a.multicast = "off";
	open_all();
	DPI_Tp_Attr attr = { .size = sizeof attr };
	CHECK_INT(verbs()->query(a.tp, &attr), ==, DPI_SUCCESS);
	CHECK(!(attr.capabilities & DPI_TP_MULTICAST) && !attr.max_many);
	CHECK_INT(verbs()->query(b.tp, &attr), ==, DPI_SUCCESS);
	CHECK(attr.capabilities & DPI_TP_MULTICAST && attr.max_many == CAST_MOST);
	CHECK_INT(cast(3, 100, 0, NULL), ==, DPI_ERR_UNSUPPORTED);
	end();
	begin();
	b.multicast = "off";
	without("node 1 takes no part in multicast");
	begin();
	a.multicast = "auto"; /* not by itself yet */
	open_all();
	CHECK_INT(verbs()->query(a.tp, &attr), ==, DPI_SUCCESS);
	CHECK(!(attr.capabilities & DPI_TP_MULTICAST));
	end();
	begin();
	mock.join_status = -EIO;
	without("its group cannot be joined");
	begin();
	mock_fail_always(MOCK_join_multicast, ENODEV);
	without("no multicast");
	begin();
	mock_fail_always(MOCK_create_ah, ENOMEM);
	without("its group cannot be joined");
	begin();
	mock.datagram = all_lost; /* no probe comes through */
	without(NULL);
	static const enum mock_call steps[] = { MOCK_create_id, MOCK_bind_addr, MOCK_create_cq, MOCK_create_qp, MOCK_reg_mr, MOCK_post_recv };
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		begin();
		open_all();
		mock_fail_always(steps[i], ENOMEM);
		CHECK_INT(cast(3, 3000, 0, NULL), ==, DPI_ERR_UNSUPPORTED);
		mock.fail[steps[i]].on = false;
		CHECK_INT(cast(3, 3000, 0, NULL), ==, DPI_ERR_UNSUPPORTED);
		CHECK_HAS(a.log, "no multicast: ");
		end();
	}
}

/* Devices that know no members who only send; and one whose queue of datagrams breaks under way. */
TEST(verbs_multicast_breaks, "", 0)
{
	begin();
	mock.no_send_only = true;
	open_all();
	reach();
	casts(third_lost);
	mock.status_after = 0;
	mock.status = IBV_WC_LOC_QP_OP_ERR;
	fill(9000, 3);
	CHECK_INT(cast(3, 9000, 64, NULL), ==, DPI_SUCCESS);
	settle();
	CHECK_INT(flush(&a), ==, DPI_SUCCESS);
	check_arrived(9000, 64);
	CHECK_FAILS(&a, cast(3, 9000, 64, NULL), DPI_ERR_UNSUPPORTED, "no multicast");
	end();
}

/* An event of its queues, or one that cannot be polled, at the sender or at a target: there is no multicast any more, and the connections stay. */
TEST(verbs_failure_of_the_datagrams_queues_ends_multicast_only, "", 0)
{
	for (int i = 0; i < 6; i++) {
		struct side *s = i % 2 ? &b : &a;
		start();
		struct verbs_multicast *m = s->tp->multicast;
		if (i < 2) mock_async(IBV_EVENT_QP_FATAL, m->id->qp);
		else if (i < 4) mock_async(IBV_EVENT_CQ_ERR, m->cq);
		else mock_fail(MOCK_poll_cq, 1, EIO); /* the connections' queue is polled before */
		if (i < 4) settle();
		else dpi_verbs_progress(s->tp, 0, NULL);
		CHECK(m->failed);
		CHECK_HAS(s->log, "no multicast: ");
		CHECK(!s->tp->failed);
		fill(9000, (unsigned)i);
		CHECK_INT(cast(3, 9000, 64, NULL), ==, s == &a ? DPI_ERR_UNSUPPORTED : DPI_SUCCESS);
		for (int k = 0; k < 3 && s == &a; k++) CHECK_INT(put(&a, w[2 - k].remote, data, 9000, 64 + 8 * (uint64_t)k, NULL), ==, DPI_SUCCESS);
		settle();
		CHECK_INT(flush(&a), ==, DPI_SUCCESS);
		check_arrived(9000, 64);
		end();
	}
}
