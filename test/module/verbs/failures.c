/* SPDX-License-Identifier: Apache-2.0
 * failures.c: what happens when the device, or the peer, does what it should not. */
#include "sides.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

static struct window w, v;
static uint8_t data[300000];

static void all_is_lost(struct side *s, int node)
{
	struct iovec one = { data, 8 };
	struct op o;
	CHECK_INT(s->lost, ==, 1);
	CHECK_INT(s->lost_node, ==, node);
	CHECK(*s->lost_sentence);
	CHECK_FAILS(s, verbs()->put(w.remote, &one, 1, 0, NULL, 0, &o), DPI_ERR_PEER, s->lost_sentence);
	CHECK_FAILS(s, verbs()->get(w.remote, &one, 1, 0, &o), DPI_ERR_PEER, s->lost_sentence);
	CHECK_FAILS(s, verbs()->flush(s->to, &o), DPI_ERR_PEER, s->lost_sentence);
	CHECK_FAILS(s, verbs()->send(s->to, data, 8, 0), DPI_ERR_PEER, s->lost_sentence);
	DPI_Tp_Remote *r;
	void *direct;
	CHECK_FAILS(s, verbs()->attach(s->to, &w.key, 8, &r, &direct), DPI_ERR_PEER, s->lost_sentence);
}

/* What class each is to have: without a default, so that the compiler misses one that is new. */
static int class_of(enum ibv_wc_status status)
{
	switch (status) {
	case IBV_WC_SUCCESS: return DPI_SUCCESS;
	case IBV_WC_LOC_LEN_ERR: /* what correct libraries do not do */
	case IBV_WC_LOC_QP_OP_ERR:
	case IBV_WC_LOC_ACCESS_ERR: return DPI_ERR_INTERNAL;
	case IBV_WC_LOC_PROT_ERR: return DPI_ERR_ARGUMENT; /* the program's own memory */
	case IBV_WC_REM_ACCESS_ERR: return DPI_ERR_DESTROYED; /* the peer's */
	case IBV_WC_WR_FLUSH_ERR: /* the peer is gone, or does not answer */
	case IBV_WC_RETRY_EXC_ERR:
	case IBV_WC_RNR_RETRY_EXC_ERR:
	case IBV_WC_REM_ABORT_ERR:
	case IBV_WC_RESP_TIMEOUT_ERR: return DPI_ERR_PEER;
	case IBV_WC_LOC_EEC_OP_ERR: /* the device, or what lies between the two */
	case IBV_WC_MW_BIND_ERR:
	case IBV_WC_BAD_RESP_ERR:
	case IBV_WC_REM_INV_REQ_ERR:
	case IBV_WC_REM_OP_ERR:
	case IBV_WC_LOC_RDD_VIOL_ERR:
	case IBV_WC_REM_INV_RD_REQ_ERR:
	case IBV_WC_INV_EECN_ERR:
	case IBV_WC_INV_EEC_STATE_ERR:
	case IBV_WC_FATAL_ERR:
	case IBV_WC_GENERAL_ERR:
	case IBV_WC_TM_ERR:
	case IBV_WC_TM_RNDV_INCOMPLETE: return DPI_ERR_TRANSPORT;
	}
	return DPI_ERR_TRANSPORT;
}

/* Each status of a request: its operation gets its class, all others DPI_ERR_PEER, once; the core is told, once. */
TEST(verbs_every_status, "", 0)
{
	static struct op o[8];
	struct iovec large = { data, 100000 }, small = { data, 3000 };
	for (int status = IBV_WC_LOC_LEN_ERR; status <= IBV_WC_TM_RNDV_INCOMPLETE + 1; status++) {
		sides_start();
		window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE | DPI_TP_ATOMIC);
		mock.hold = true;
		CHECK_INT(o[0].posted = verbs()->put(w.remote, &large, 1, 0, NULL, 0, &o[0]), ==, DPI_TP_PENDING);
		CHECK_INT(o[1].posted = verbs()->put(w.remote, &large, 1, 0, NULL, 0, &o[1]), ==, DPI_TP_PENDING);
		CHECK_INT(o[2].posted = verbs()->get(w.remote, &large, 1, 0, &o[2]), ==, DPI_TP_PENDING);
		CHECK_INT(o[3].posted = verbs()->get(w.remote, &small, 1, 0, &o[3]), ==, DPI_TP_PENDING);
		CHECK_INT(o[4].posted = verbs()->fetch_add(w.remote, 0, 1, NULL, &o[4]), ==, DPI_TP_PENDING);
		CHECK_INT(o[5].posted = verbs()->flush(a.to, &o[5]), ==, DPI_TP_PENDING);
		for (int i = 0; i < 6; i++) o[i].completions = 0;
		mock.status_after = 1;
		mock.status = (enum ibv_wc_status)status;
		mock.hold = false;
		mock_run();
		sides_progress();
		for (int i = 0; i < 6; i++) CHECK_INT(o[i].completions, ==, 1);
		CHECK_INT(o[0].error, ==, DPI_SUCCESS);
		CHECK_INT(o[1].error, ==, class_of((enum ibv_wc_status)status));
		for (int i = 2; i < 6; i++) CHECK_INT(o[i].error, ==, DPI_ERR_PEER);
		all_is_lost(&a, 1);
		if (status != IBV_WC_WR_FLUSH_ERR) CHECK_HAS(a.lost_sentence, dpi_verbs_status((enum ibv_wc_status)status)->sentence);
		CHECK_INT(b.lost, ==, 1); /* its queue pair is alone */
		verbs()->disconnect(a.to);
		sides_end();
	}
}

/* The link of this host is down: whatever the device makes of it, it is said. */
TEST(verbs_port_down, "", 0)
{
	static struct op o;
	struct iovec large = { data, 100000 };
	sides_start();
	window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
	mock.hold = true;
	CHECK_INT(o.posted = verbs()->put(w.remote, &large, 1, 0, NULL, 0, &o), ==, DPI_TP_PENDING);
	mock.port.state = IBV_PORT_DOWN;
	mock.status_after = 0;
	mock.status = IBV_WC_LOC_QP_OP_ERR;
	mock.hold = false;
	mock_run();
	sides_progress();
	CHECK_INT(o.completions, ==, 1);
	CHECK_INT(o.error, ==, DPI_ERR_PEER);
	all_is_lost(&a, 1);
	CHECK_HAS(a.lost_sentence, "port 1 of device mock0 is down");
	verbs()->disconnect(a.to);
	sides_end();
}

/* What is to become of each: without a default, so that the compiler misses one that is new. */
static enum fate { GOES_ON, CONNECTION_ENDS, ALL_END } fate_of(enum ibv_event_type type)
{
	switch (type) {
	case IBV_EVENT_CQ_ERR:
	case IBV_EVENT_SRQ_ERR:
	case IBV_EVENT_DEVICE_FATAL: return ALL_END;
	case IBV_EVENT_QP_FATAL:
	case IBV_EVENT_QP_REQ_ERR:
	case IBV_EVENT_QP_ACCESS_ERR: return CONNECTION_ENDS;
	case IBV_EVENT_COMM_EST:
	case IBV_EVENT_SQ_DRAINED:
	case IBV_EVENT_PATH_MIG:
	case IBV_EVENT_PATH_MIG_ERR:
	case IBV_EVENT_PORT_ACTIVE:
	case IBV_EVENT_PORT_ERR:
	case IBV_EVENT_LID_CHANGE:
	case IBV_EVENT_PKEY_CHANGE:
	case IBV_EVENT_SM_CHANGE:
	case IBV_EVENT_SRQ_LIMIT_REACHED:
	case IBV_EVENT_QP_LAST_WQE_REACHED:
	case IBV_EVENT_CLIENT_REREGISTER:
	case IBV_EVENT_GID_CHANGE:
	case IBV_EVENT_WQ_FATAL: return GOES_ON; /* the last is of a kind of queue that there is none of */
	}
	return GOES_ON;
}

/* Of what of a side's it is. */
static void *element_of(enum ibv_event_type type, const struct side *s)
{
	if (type == IBV_EVENT_CQ_ERR) return s->tp->groups->cq;
	return type == IBV_EVENT_SRQ_ERR || type == IBV_EVENT_SRQ_LIMIT_REACHED ? (void *)s->tp->groups->srq : s->to->qp;
}

/* Enough for it to look for events. */
static void progress_of(const struct side *s)
{
	for (int i = 0; i < 3 * POLL_EVERY; i++) verbs()->progress(s->tp, 0, NULL);
}

/* Each asynchronous event, and one that nobody knows: what ends has a class, says of which peer, and in which sentence; what is pending
 * completes so. */
TEST(verbs_every_event, "", 0)
{
	static struct op o;
	struct iovec large = { data, 100000 };
	const int last = IBV_EVENT_WQ_FATAL, unknown = last + 1;
	for (int type = IBV_EVENT_CQ_ERR; type <= unknown; type++) {
		sides_start();
		window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
		const struct verbs_event *e = dpi_verbs_event((enum ibv_event_type)type);
		enum fate fate = fate_of((enum ibv_event_type)type);
		CHECK_INT(!strcmp(e->name, "unknown"), ==, type == unknown);
		CHECK_INT(e->error != DPI_SUCCESS, ==, fate != GOES_ON || type == IBV_EVENT_WQ_FATAL);
		mock.hold = true;
		o.completions = 0;
		CHECK_INT(o.posted = verbs()->put(w.remote, &large, 1, 0, NULL, 0, &o), ==, DPI_TP_PENDING);
		mock_async((enum ibv_event_type)type, element_of((enum ibv_event_type)type, &a));
		progress_of(&a); /* of the two it is the one to find it */
		CHECK_HAS(a.log, e->sentence);
		CHECK_HAS(a.log, e->name);
		if (e->whom == WHOM_PAIR) CHECK_HAS(a.log, "(of the connection with node 1)");
		CHECK_INT(o.completions, ==, fate != GOES_ON);
		if (fate != GOES_ON) {
			CHECK_INT(o.error, ==, DPI_ERR_PEER);
			all_is_lost(&a, 1);
			CHECK_HAS(a.lost_sentence, e->sentence);
			CHECK_HAS(a.lost_sentence, "node 1 (10.9.0.1)");
			if (fate == ALL_END) CHECK_HAS(a.lost_sentence, "device mock0");
			CHECK_INT(a.tp->failed, ==, fate == ALL_END);
		} else {
			CHECK_INT(a.lost, ==, 0);
			mock.hold = false;
			mock_run();
			CHECK_INT(finish(&o), ==, DPI_SUCCESS);
			CHECK_INT(put(&a, w.remote, data, 8, 0, NULL), ==, DPI_SUCCESS);
		}
		sides_end();
	}
}

/* Found by the other transport of the process: whose it is, that one ends its connections, all of them if need be, and nobody else. */
TEST(verbs_event_of_the_other, "", 0)
{
	static const enum ibv_event_type types[] = { IBV_EVENT_QP_FATAL, IBV_EVENT_QP_ACCESS_ERR, IBV_EVENT_CQ_ERR, IBV_EVENT_SRQ_ERR };
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		sides_start();
		window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
		mock_async(types[i], element_of(types[i], &a));
		progress_of(&b);
		CHECK_HAS(b.log, dpi_verbs_event(types[i])->name);
		CHECK_INT(a.lost, ==, 0);
		progress_of(&a);
		all_is_lost(&a, 1);
		CHECK_HAS(a.lost_sentence, dpi_verbs_event(types[i])->sentence);
		CHECK_INT(a.tp->failed, ==, fate_of(types[i]) == ALL_END);
		CHECK(!b.tp->failed);
		sides_end();
	}
}

/* Both have the same device: one of them reads that it has failed, both end their connections. */
TEST(verbs_failure_of_the_device_reaches_every_transport_on_it, "", 0)
{
	sides_start();
	window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
	mock_async(IBV_EVENT_DEVICE_FATAL, NULL);
	mock.mute = true; /* nor does one learn it from the other's end */
	progress_of(&b);
	CHECK_INT(b.lost, ==, 1);
	CHECK_INT(a.lost, ==, 0);
	progress_of(&a);
	all_is_lost(&a, 1);
	CHECK_HAS(a.lost_sentence, "device mock0");
	CHECK(a.tp->failed && b.tp->failed);
	mock.mute = false;
	sides_end();
}

TEST(verbs_failure_of_a_device_ends_nothing_on_another, "", 0)
{
	sides_init();
	mock.devices = 2;
	a.listen = "mock0";
	b.listen = third.listen = "mock1";
	sides_open();
	if (side_open(&third)) FAIL("%s", third.sentence);
	if (side_connect(&b, &third, LONG)) FAIL("%s", b.sentence);
	CHECK(a.tp->verbs != b.tp->verbs);
	mock_async(IBV_EVENT_DEVICE_FATAL, NULL); /* the first one's */
	progress_of(&a);
	progress_of(&b);
	CHECK(a.tp->failed && !b.tp->failed);
	CHECK_INT(b.lost, ==, 0);
	sides_end();
}

/* The device's descriptor is the process's: another library's queues have events, too, and in their contexts what it likes. */
TEST(verbs_events_of_anothers_queues_change_nothing, "", 0)
{
	static uint8_t others[1 << 16];
	static const enum ibv_event_type types[] = { IBV_EVENT_QP_FATAL, IBV_EVENT_QP_REQ_ERR, IBV_EVENT_QP_ACCESS_ERR, IBV_EVENT_CQ_ERR, IBV_EVENT_SRQ_ERR,
						     IBV_EVENT_WQ_FATAL };
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		sides_start();
		window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
		struct ibv_qp pair = { .qp_context = others, .qp_num = a.to->qp_num }; /* as numbers of different devices may be */
		struct ibv_cq queue = { .cq_context = others };
		struct ibv_srq receives = { .srq_context = others };
		mock_async(types[i], types[i] == IBV_EVENT_CQ_ERR ? (void *)&queue : types[i] == IBV_EVENT_SRQ_ERR ? (void *)&receives : &pair);
		progress_of(&a);
		progress_of(&b);
		CHECK_HAS(a.log, dpi_verbs_event(types[i])->name);
		for (size_t k = 0; k < sizeof others; k++) CHECK(!others[k]);
		CHECK_INT(a.lost + b.lost, ==, 0);
		CHECK(!a.tp->failed && !b.tp->failed);
		CHECK_INT(put(&a, w.remote, data, 8, 0, NULL), ==, DPI_SUCCESS);
		CHECK_INT(flush(&a), ==, DPI_SUCCESS);
		sides_end();
	}
}

/* Completions cannot be had any more: what waits for them ends, with a sentence, and nobody connects in vain. */
TEST(verbs_queue_that_cannot_be_polled_ends_what_waits_for_it, "", 0)
{
	static struct op o;
	struct iovec one = { data, 3000 };
	for (int armed = 0; armed < 2; armed++) {
		sides_start();
		window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
		o.completions = 0;
		CHECK_INT(o.posted = verbs()->get(w.remote, &one, 1, 0, &o), ==, DPI_TP_PENDING);
		mock_fail_always(MOCK_poll_cq, EIO);
		if (armed) CHECK_INT(verbs()->arm(a.tp, 0), ==, DPI_ERR_AGAIN); /* it calls nobody back, and does not sleep over it */
		CHECK_INT(a.lost + o.completions, ==, 0);
		verbs()->progress(a.tp, 0, NULL);
		CHECK_INT(o.completions, ==, 1);
		CHECK_INT(o.error, ==, DPI_ERR_PEER);
		CHECK_HAS(a.log, "device mock0: a completion queue could not be polled");
		CHECK_HAS(a.lost_sentence, "a completion queue could not be polled; see the kernel log");
		all_is_lost(&a, 1);
		a.log[0] = 0;
		progress_of(&a);
		CHECK_STR(a.log, ""); /* said once */
		CHECK_INT(verbs()->arm(a.tp, 0), ==, DPI_SUCCESS);
		mock.fail[MOCK_poll_cq].on = false;
		sides_progress();
		CHECK_FAILS(&b, side_connect(&b, &a, LONG), DPI_ERR_PEER, "it has no room");
		DPI_Tp_Endpoint *old = a.to;
		CHECK_FAILS(&a, side_connect(&a, &b, LONG), DPI_ERR_PEER, "device mock0 has failed");
		verbs()->disconnect(old);
		sides_end();
	}
}

/* Nor while it attaches, which calls nobody back: progress says it. */
TEST(verbs_queue_that_cannot_be_polled_while_attaching, "", 0)
{
	DPI_Tp_Remote *r;
	void *direct;
	sides_start();
	CHECK_INT(window_expose(&b, &w, DPI_TP_READ), ==, DPI_SUCCESS);
	mock_fail_always(MOCK_poll_cq, EIO);
	CHECK_INT(verbs()->attach(a.to, &w.key, 8, &r, &direct), ==, DPI_SUCCESS);
	CHECK_INT(a.lost, ==, 0);
	verbs()->progress(a.tp, 0, NULL);
	CHECK_INT(a.lost, ==, 1);
	mock.fail[MOCK_poll_cq].on = false;
	sides_end();
}

/* Whoever gets no event at the next completion does not sleep. */
TEST(verbs_sleeps_only_where_something_wakes_it, "", 0)
{
	int fd;
	sides_start();
	mock_fail(MOCK_req_notify, 0, EIO);
	CHECK_INT(verbs()->arm(b.tp, 0), ==, DPI_ERR_AGAIN);
	verbs()->progress(b.tp, 0, NULL);
	CHECK_INT(verbs()->arm(b.tp, 0), ==, DPI_SUCCESS);
	CHECK_INT(verbs()->get_fd(b.tp, 0, &fd), ==, DPI_SUCCESS);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	CHECK_INT(verbs()->send(a.to, data, 8, 0), ==, DPI_SUCCESS);
	CHECK_INT(poll(&p, 1, 0), ==, 1);
	verbs()->progress(b.tp, 0, NULL);
	CHECK_INT(b.messages, ==, 1);
	sides_end();
}

/* It is said of each connection, and of the own address; what works goes on. */
TEST(verbs_hardware_address_changes, "", 0)
{
	sides_start();
	window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
	mock_cm_event(a.to, RDMA_CM_EVENT_ADDR_CHANGE, 0);
	mock_own_event(b.tp, RDMA_CM_EVENT_ADDR_CHANGE);
	progress_of(&a);
	progress_of(&b);
	CHECK_HAS(a.log, "the verbs connection to node 1 (10.9.0.1): the network interface has another hardware address");
	CHECK_HAS(b.log, "device mock0: the network interface has another hardware address");
	CHECK_INT(a.lost + b.lost, ==, 0);
	CHECK_INT(put(&a, w.remote, data, 8, 0, NULL), ==, DPI_SUCCESS);
	CHECK_INT(flush(&a), ==, DPI_SUCCESS);
	sides_end();
}

TEST(verbs_device_removed, "", 0)
{
	static struct op o;
	struct iovec large = { data, 100000 };
	sides_start();
	window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
	mock.hold = true;
	CHECK_INT(o.posted = verbs()->put(w.remote, &large, 1, 0, NULL, 0, &o), ==, DPI_TP_PENDING);
	mock_own_event(a.tp, RDMA_CM_EVENT_DEVICE_REMOVAL);
	CHECK_INT(finish(&o), ==, DPI_ERR_PEER);
	all_is_lost(&a, 1);
	CHECK_HAS(a.lost_sentence, "removed");
	DPI_Tp_Endpoint *old = a.to;
	CHECK_FAILS(&a, side_connect(&a, &b, 1000), DPI_ERR_PEER, "removed");
	verbs()->disconnect(old);
	sides_end();
}

/* Registration refused: by the limit, by the device, for bad memory. */
TEST(verbs_registration_refused, "", 0)
{
	struct rlimit small = { 64 << 10, 64 << 10 };
	static struct op o;
	struct iovec large = { data, 100000 };
	sides_start();
	window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
	int before = mock.regions;
	mock_fail(MOCK_reg_mr, 0, EINVAL);
	CHECK_FAILS(&a, window_expose(&a, &v, DPI_TP_READ), DPI_ERR_TRANSPORT, "kernel log");
	mock_fail(MOCK_reg_mr, 0, EFAULT);
	CHECK_FAILS(&a, verbs()->put(w.remote, &large, 1, 0, NULL, 0, &o), DPI_ERR_ARGUMENT, "not mapped");
	CHECK_INT(setrlimit(RLIMIT_MEMLOCK, &small), ==, 0);
	mock_fail(MOCK_reg_mr, 0, ENOMEM);
	CHECK_FAILS(&a, window_expose(&a, &v, DPI_TP_READ), DPI_ERR_LIMIT,
		    "293 KiB of locked memory, 0 KiB are locked already, and the limit of all together is 64 KiB: raise it ('ulimit -l");
	mock_fail(MOCK_reg_mr, 0, ENOMEM);
	mock.status_file = "Name:\ttest\nVmLck:\t       3 kB\nVmPin:\t      57 kB\n";
	CHECK_FAILS(&a, verbs()->get(w.remote, &large, 1, 0, &o), DPI_ERR_LIMIT, "98 KiB of locked memory, 57 KiB are locked already, and the limit of all together is 64");
	mock.status_file = NULL;
	CHECK_INT(mock.regions, ==, before);
	CHECK_INT(put(&a, w.remote, data, 100000, 0, NULL), ==, DPI_SUCCESS); /* nothing has come of it */
	/* buffers run out and no more can be had: later, not never */
	mock.hold = true;
	mock_fail_always(MOCK_reg_mr, ENOMEM);
	int posted = 0, error;
	struct iovec one = { data, 60000 };
	for (; posted < 100; posted++) {
		error = verbs()->put(w.remote, &one, 1, 0, NULL, 0, &o);
		if (error) break;
	}
	CHECK_INT(error, ==, DPI_ERR_AGAIN);
	CHECK_INT(posted, ==, SLAB / BUFFERS);
	mock.hold = false;
	mock_run();
	sides_progress();
	CHECK_INT(verbs()->put(w.remote, &one, 1, 0, NULL, 0, &o), ==, DPI_SUCCESS);
	sides_end();
}

/* The queue is full: not an error to the caller, who has been told that it was accepted. */
TEST(verbs_queue_full, "", 0)
{
	struct op o;
	uint64_t value = 77;
	struct iovec one = { &value, 8 };
	sides_start();
	window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE);
	mock_fail(MOCK_post_send, 1, ENOMEM);
	CHECK_INT(verbs()->put(w.remote, &one, 1, 0, NULL, DPI_TP_MORE, &o), ==, DPI_SUCCESS);
	CHECK_INT(verbs()->put(w.remote, &one, 1, 8, NULL, DPI_TP_MORE, &o), ==, DPI_SUCCESS);
	CHECK_INT(verbs()->put(w.remote, &one, 1, 16, NULL, 0, &o), ==, DPI_SUCCESS);
	CHECK(w.memory[0] == 77 && !w.memory[8] && !w.memory[16]);
	sides_progress();
	CHECK(w.memory[8] == 77 && w.memory[16] == 77);
	/* full for long: posts wait, none is lost */
	mock.hold = true;
	int posted = 0;
	for (value = 0; verbs()->put(w.remote, &one, 1, 8 * value, NULL, 0, &o) == DPI_SUCCESS; value++) posted++;
	CHECK_INT(posted, >, 64);
	CHECK_INT(verbs()->get(w.remote, &one, 1, 0, &o), ==, DPI_ERR_AGAIN);
	mock.hold = false;
	mock_run();
	sides_progress();
	for (int i = 0; i < posted; i++) CHECK_INT(w.memory[8 * i], ==, i);
	CHECK_INT(flush(&a), ==, DPI_SUCCESS);
	/* broken for good */
	mock_fail(MOCK_post_send, 0, EIO);
	CHECK_FAILS(&a, verbs()->put(w.remote, &one, 1, 0, NULL, 0, &o), DPI_ERR_PEER, "broke");
	CHECK_FAILS(&a, verbs()->send(a.to, &one, 1, 0), DPI_ERR_PEER, "broke");
	sides_progress();
	all_is_lost(&a, 1);
	sides_end();
}

/* As many messages as one has credit for, but a few, before the other one looks for any. */
static void finds_buffers(struct side *from, struct side *to)
{
	int before = to->messages;
	for (int i = 0; i < CREDITS - 4; i++) CHECK_INT(verbs()->send(from->to, data, 8, 0), ==, DPI_SUCCESS);
	sides_progress();
	CHECK_INT(to->messages - before, ==, CREDITS - 4);
	CHECK_INT(from->lost + to->lost, ==, 0);
}

static void begin_with(bool shared_receive_queue)
{
	sides_init();
	if (!shared_receive_queue) mock.device.max_srq = 0;
	sides_open();
}

static void connect_anew(void)
{
	verbs()->disconnect(a.to);
	verbs()->disconnect(b.to);
	sides_progress();
	a.lost = b.lost = 0;
	sides_connect();
}

/* The connection that it is of ends; the next ones have all of their buffers. */
TEST(verbs_receive_buffer_refused, "", 0)
{
	for (int shared = 0; shared < 2; shared++) {
		begin_with(shared);
		sides_connect();
		for (int i = 1; i <= 10; i++) {
			mock_fail(MOCK_post_recv, 0, EINVAL);
			CHECK_INT(verbs()->send(a.to, data, 8, 0), ==, DPI_SUCCESS);
			sides_progress();
			CHECK_INT(b.messages, ==, i);
			CHECK_INT(b.lost, ==, 1);
			CHECK_HAS(b.lost_sentence, "receive buffer");
			connect_anew();
		}
		finds_buffers(&a, &b);
		sides_end();
	}
}

TEST(verbs_receive_buffers_refused_to_one_are_there_for_the_next, "", 0)
{
	for (int shared = 0; shared < 2; shared++)
		for (int after = 0; after < CREDITS; after += 21) {
			begin_with(shared);
			mock_fail(MOCK_post_recv, after, EINVAL);
			CHECK_FAILS(&a, side_connect(&a, &b, LONG), DPI_ERR_LIMIT, "a receive buffer");
			sides_progress();
			sides_connect();
			finds_buffers(&b, &a);
			finds_buffers(&a, &b);
			sides_end();
		}
}

/* Each status of a message that could not be received: its connection ends, and says why; that the queue pair has ended says nothing new. Its
 * buffer is there for the next one, even where it cannot be posted at once. */
TEST(verbs_every_status_of_a_message_that_arrives, "", 0)
{
	for (int shared = 0; shared < 2; shared++) {
		begin_with(shared);
		sides_connect();
		for (int status = IBV_WC_LOC_LEN_ERR; status <= IBV_WC_TM_RNDV_INCOMPLETE + 1; status++) {
			mock.receive_status_after = 0;
			mock.receive_status = (enum ibv_wc_status)status;
			if (shared) mock_fail(MOCK_post_recv, 0, EINVAL);
			CHECK_INT(verbs()->send(a.to, data, 8, 0), ==, DPI_SUCCESS);
			sides_progress();
			CHECK_INT(b.messages, ==, 0);
			CHECK_INT(b.lost, ==, 1);
			CHECK_INT(b.lost_node, ==, 0);
			if (status != IBV_WC_WR_FLUSH_ERR) CHECK_HAS(b.lost_sentence, "a message of node 0 (10.9.0.1) could not be received: ");
			CHECK_HAS(b.lost_sentence, status == IBV_WC_WR_FLUSH_ERR ? "has ended" : dpi_verbs_status((enum ibv_wc_status)status)->sentence);
			CHECK_INT(a.lost, ==, 1);
			CHECK_HAS(a.lost_sentence, dpi_verbs_status(IBV_WC_REM_OP_ERR)->sentence);
			connect_anew();
		}
		finds_buffers(&a, &b);
		sides_end();
	}
}

/* Given up with all kinds of operations under way, also from inside a completion. */
TEST(verbs_disconnect, "", 0)
{
	static struct op o[6];
	struct iovec large = { data, 100000 }, small = { data, 3000 };
	for (int inside = 0; inside < 2; inside++) {
		sides_start();
		window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE | DPI_TP_ATOMIC);
		window_share(&a, &b, &v, DPI_TP_READ | DPI_TP_WRITE);
		mock.hold = true;
		o[0].posted = verbs()->put(w.remote, &large, 1, 0, NULL, 0, &o[0]);
		o[1].posted = verbs()->put(w.remote, &large, 1, 0, NULL, 0, &o[1]);
		o[2].posted = verbs()->get(w.remote, &large, 1, 0, &o[2]);
		o[3].posted = verbs()->get(w.remote, &small, 1, 0, &o[3]);
		o[4].posted = verbs()->fetch_add(w.remote, 0, 1, NULL, &o[4]);
		o[5].posted = verbs()->flush(a.to, &o[5]);
		for (int i = 0; i < 6; i++) {
			CHECK_INT(o[i].posted, ==, DPI_TP_PENDING);
			o[i].completions = 0;
		}
		if (inside) {
			a.disconnect_on = &o[1];
			mock.hold = false;
			mock_run();
			sides_progress();
		} else {
			verbs()->disconnect(a.to);
			a.to = NULL;
		}
		for (int i = 0; i < 6; i++) {
			CHECK_INT(o[i].completions, ==, 1);
			CHECK_INT(o[i].error, ==, inside && i < 2 ? DPI_SUCCESS : DPI_ERR_PEER);
		}
		mock.hold = false;
		CHECK_INT(a.lost, ==, 0);
		sides_progress();
		CHECK_INT(b.lost, ==, 1);
		CHECK_INT(verbs()->withdraw(v.window), ==, DPI_SUCCESS);
		sides_end();
	}
}

/* What is posted before the end arrives. */
TEST(verbs_goodbye, "", 0)
{
	DPI_Tp_Notify n = { 0, 5, 1 };
	for (int close = 0; close < 2; close++) {
		struct op o;
		struct iovec large = { data, 60000 };
		sides_start();
		window_share(&b, &a, &w, DPI_TP_WRITE);
		memset(w.memory, 0, 8);
		CHECK_INT(verbs()->put(w.remote, &large, 1, 8, &n, DPI_TP_MORE, &o), ==, DPI_SUCCESS);
		if (close) side_close(&a);
		else verbs()->disconnect(a.to);
		sides_progress();
		CHECK_INT(w.memory[0], ==, 5);
		CHECK_INT(b.rung, ==, 1);
		CHECK_INT(b.lost, ==, 1);
		CHECK_HAS(b.lost_sentence, "has ended");
		sides_end();
	}
}

TEST(verbs_cancel, "", 0)
{
	static struct op o[5];
	struct iovec large = { data, 100000 }, small = { data, 3000 };
	sides_start();
	window_share(&b, &a, &w, DPI_TP_READ | DPI_TP_WRITE | DPI_TP_ATOMIC);
	memset(w.memory, 0x55, sizeof w.memory);
	mock.hold = true;
	o[0].posted = verbs()->put(w.remote, &large, 1, 0, NULL, 0, &o[0]);
	o[1].posted = verbs()->get(w.remote, &large, 1, 0, &o[1]);
	o[2].posted = verbs()->get(w.remote, &small, 1, 0, &o[2]);
	o[3].posted = verbs()->fetch_add(w.remote, 0, 1, NULL, &o[3]);
	o[4].posted = verbs()->flush(a.to, &o[4]);
	for (int i = 0; i < 5; i++) o[i].completions = 0;
	CHECK_FAILS(&a, verbs()->cancel(a.to, &o[0]), DPI_ERR_UNSUPPORTED, "device");
	CHECK_FAILS(&a, verbs()->cancel(a.to, &o[1]), DPI_ERR_UNSUPPORTED, "device");
	for (int i = 2; i < 5; i++) CHECK_INT(verbs()->cancel(a.to, &o[i]), ==, DPI_SUCCESS);
	CHECK_INT(verbs()->cancel(a.to, &small), ==, DPI_SUCCESS); /* nothing of that name */
	CHECK_INT(verbs()->detach(w.remote), ==, DPI_ERR_AGAIN);
	memset(data, 0x11, 3000);
	mock.hold = false;
	mock_run();
	sides_progress();
	for (int i = 0; i < 5; i++) CHECK_INT(o[i].completions, ==, i < 2);
	CHECK_INT(verbs()->detach(w.remote), ==, DPI_SUCCESS);
	sides_end();
}

/* ------------------------------------------------------------------------------------------------------ hostile peers */

/* Send these bytes as a's message to b. */
static void say(const uint8_t *bytes, size_t size)
{
	struct verbs_slot *s = dpi_verbs_slot(a.to);
	memcpy(s->bytes, bytes, size);
	s->sge[0] = (struct ibv_sge){ (uintptr_t)s->bytes, (uint32_t)size, 0 };
	s->wr.num_sge = 1;
	s->wr.opcode = IBV_WR_SEND;
	s->wr.send_flags = IBV_SEND_INLINE;
	dpi_verbs_ring(a.to);
	sides_progress();
}

TEST(verbs_hostile_messages, "", 0)
{
	const uint64_t none = 12345;
	for (int i = 0; i < 16; i++) {
		uint8_t bytes[INLINE_MAX] = { 0 };
		sides_start();
		window_share(&b, &a, &w, i == 15 ? DPI_TP_READ : DPI_TP_READ | DPI_TP_WRITE | DPI_TP_ATOMIC);
		uint64_t has = w.remote->attachment, size = sizeof w.memory;
		const struct {
			enum wire_op op;
			uint64_t word[6];
		} all[16] = {
			{ WIRE_PUT, { none, 0, 0, 1, 1 } },		      { WIRE_PUT, { has, size + 1, 0, 1, 1 } },
			{ WIRE_PUT, { has, 0, size - 7, 1, 1 } },	      { WIRE_PUT, { has, 0, 4, 1, 1 } },
			{ WIRE_ADD, { none, 1, 0, 1 } },		      { WIRE_ADD, { has, 1, size, 1 } },
			{ WIRE_SWAP, { has, 1, 4, 1, 1 } },		      { WIRE_ANSWER, { 77, 0, 0 } },
			{ WIRE_DETACH, { none } },			      { WIRE_DETACH, { UINT64_MAX } },
			{ WIRE_PUT, { has, UINT64_MAX, 0, 1, 1 } },	      { WIRE_PUT, { has, 0, UINT64_MAX - 8, 1, 1 } },
			{ WIRE_ADD, { has, 1, UINT64_MAX - 7, 1 } },	      { WIRE_PUT, { has, UINT64_MAX - 1, 8, 1, 1 } },
			{ WIRE_ADD, { has, 1, UINT64_MAX, 1 } },	      { WIRE_PUT, { has, 0, 0, 1, 1 } },
		};
		memset(w.memory, 0, sizeof w.memory);
		say(bytes, dpi_verbs_message_head(bytes, all[i].op, 0, all[i].word));
		CHECK_INT(b.lost, ==, 1);
		CHECK_HAS(b.lost_sentence, "no correct peer");
		CHECK_INT(b.rung, ==, 0);
		for (size_t k = 0; k < sizeof w.memory; k++) CHECK(!w.memory[k]);
		sides_end();
	}
}

/* An immediate says little: an attachment of its own, that a message has told a word of. */
TEST(verbs_hostile_immediates, "", 0)
{
	for (int i = 0; i < 4; i++) {
		sides_start();
		window_share(&b, &a, &w, DPI_TP_WRITE);
		uint64_t has = w.remote->attachment;
		struct verbs_slot *s = dpi_verbs_slot(a.to);
		s->wr.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
		s->wr.imm_data = htobe32(i == 0 ? (uint32_t)has : i == 1 ? (uint32_t)has + 1 : i == 2 ? 0 : UINT32_MAX);
		dpi_verbs_ring(a.to);
		sides_progress();
		CHECK_INT(b.lost, ==, 1);
		CHECK_HAS(b.lost_sentence, "no correct peer");
		CHECK_INT(b.rung, ==, 0);
		sides_end();
	}
}

/* What has been handled is no more than was sent. */
TEST(verbs_hostile_counts, "", 0)
{
	uint8_t bytes[8];
	sides_start();
	dpi_verbs_message_head(bytes, WIRE_CREDIT, 0, NULL);
	dpi_verbs_message_credits(bytes, 0, b.to->said + 1);
	say(bytes, sizeof bytes);
	CHECK_INT(b.lost, ==, 1);
	CHECK_HAS(b.lost_sentence, "handled messages");
	sides_end();
}

/* Bytes of no meaning, of every length; what is no message ends the connection, what is one by chance harms nobody. */
TEST(verbs_garbage_messages, "", 0)
{
	uint64_t state = harness_seed();
	for (int i = 0; i < 400; i++) {
		uint8_t bytes[INLINE_MAX];
		sides_start();
		for (size_t k = 0; k < sizeof bytes; k++) {
			state = state * 6364136223846793005u + 1442695040888963407u;
			bytes[k] = (uint8_t)(state >> 40);
		}
		if (i % 2) memset(bytes, 0, 8), bytes[0] = (uint8_t)(i / 2 % (WIRE_OP_COUNT + 2)); /* one with a good beginning */
		say(bytes, i % 2 && bytes[0] && bytes[0] < WIRE_OP_COUNT ? 8 + 8u * dpi_verbs_shape[bytes[0]].words : (size_t)i % sizeof bytes);
		CHECK_INT(b.lost, <=, 1);
		if (!(i % 2)) CHECK_INT(b.lost, ==, 1);
		sides_end();
	}
}

/* A key is checked before it is used. */
TEST(verbs_keys, "", 0)
{
	DPI_Tp_Remote *r;
	void *direct;
	DPI_Tp_Key k;
	sides_start();
	CHECK_INT(window_expose(&b, &w, DPI_TP_READ), ==, DPI_SUCCESS);
	k = w.key, k.size--;
	CHECK_FAILS(&a, verbs()->attach(a.to, &k, 8, &r, &direct), DPI_ERR_CORRUPT, "are not a key");
	k = w.key, k.bytes[0]++;
	CHECK_FAILS(&a, verbs()->attach(a.to, &k, 8, &r, &direct), DPI_ERR_CORRUPT, "are not a key");
	k = w.key, k.bytes[32]++;
	CHECK_FAILS(&a, verbs()->attach(a.to, &k, 8, &r, &direct), DPI_ERR_PEER, "runs now");
	CHECK_FAILS(&a, verbs()->attach(a.to, &w.key, sizeof w.memory + 1, &r, &direct), DPI_ERR_RANGE, "bytes, not");
	struct op o;
	struct iovec one = { data, 8 };
	CHECK_INT(verbs()->attach(a.to, &w.key, 100, &r, &direct), ==, DPI_SUCCESS);
	sides_progress();
	CHECK_FAILS(&a, verbs()->put(r, &one, 1, 0, NULL, 0, &o), DPI_ERR_USE, "not registered for");
	CHECK_FAILS(&a, verbs()->get(r, &one, 1, 93, &o), DPI_ERR_RANGE, "outside");
	CHECK_FAILS(&a, verbs()->fetch_add(r, 4, 1, NULL, &o), DPI_ERR_RANGE, "multiple of 8");
	CHECK_FAILS(&a, verbs()->get(r, &one, 9, 0, &o), DPI_ERR_LIMIT, "pieces");
	one.iov_len = (size_t)1 << 40;
	CHECK_FAILS(&a, verbs()->get(r, &one, 1, 0, &o), DPI_ERR_LIMIT, "in parts");
	CHECK_FAILS(&a, verbs()->send(a.to, data, SEND_MAX + 1, 0), DPI_ERR_SIZE, "larger");
	DPI_Tp_Memory odd = { .address = v.memory + 1, .length = 64, .fd = -1, .access = DPI_TP_ATOMIC };
	CHECK_FAILS(&a, verbs()->expose(a.tp, &odd, &v.window, &k), DPI_ERR_ARGUMENT, "align");
	odd.access = 64;
	CHECK_FAILS(&a, verbs()->expose(a.tp, &odd, &v.window, &k), DPI_ERR_ARGUMENT, "no more than");
	sides_end();
}

static bool pipe_pending(void)
{
	sigset_t set;
	CHECK(!sigpending(&set));
	return sigismember(&set, SIGPIPE);
}

/* soft-iWARP writes to its socket within the call that posts: SIGPIPE ends nobody, and what the program has of its own stays. An adapter
 * writes to none, and nothing is done about signals there. */
TEST(verbs_posts_without_sigpipe, "", 0)
{
	sigset_t pipe, mask;
	sides_init();
	mock.transport = IBV_TRANSPORT_IWARP;
	mock.device.vendor_id = MOCK_SIW;
	mock.device.atomic_cap = IBV_ATOMIC_NONE;
	sides_open();
	sides_connect();
	mock.pipe = true;
	CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
	CHECK_INT(verbs()->send(a.to, "x", 1, 0), ==, DPI_SUCCESS);
	CHECK(!pipe_pending());
	CHECK(!pthread_sigmask(SIG_BLOCK, NULL, &mask) && !sigismember(&mask, SIGPIPE));
	CHECK(!sigemptyset(&pipe) && !sigaddset(&pipe, SIGPIPE) && !pthread_sigmask(SIG_BLOCK, &pipe, NULL));
	CHECK_INT(verbs()->send(a.to, "y", 1, 0), ==, DPI_SUCCESS);
	CHECK(!pipe_pending());
	CHECK(!raise(SIGPIPE));
	CHECK_INT(verbs()->send(a.to, "z", 1, 0), ==, DPI_SUCCESS);
	CHECK(pipe_pending()); /* the program's own */
	CHECK_INT(sigtimedwait(&pipe, NULL, &(struct timespec){ 0 }), ==, SIGPIPE);
	mock.pipe = false;
	sides_end();
	sides_init();
	mock.transport = IBV_TRANSPORT_IWARP;
	mock.device.vendor_id = MOCK_ADAPTER;
	mock.device.atomic_cap = IBV_ATOMIC_NONE;
	sides_open();
	sides_connect();
	mock.pipe = true;
	CHECK_INT(verbs()->send(a.to, "x", 1, 0), ==, DPI_SUCCESS);
	CHECK(pipe_pending()); /* nobody has taken it away */
	CHECK_INT(sigtimedwait(&pipe, NULL, &(struct timespec){ 0 }), ==, SIGPIPE);
	mock.pipe = false;
	CHECK(!pthread_sigmask(SIG_UNBLOCK, &pipe, NULL));
	sides_end();
}
