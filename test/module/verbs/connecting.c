/* SPDX-License-Identifier: Apache-2.0
 * connecting.c: opening and connecting, and all that can be in the way. */
#include "sides.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

static struct window w;
static uint8_t data[1000];

TEST(verbs_probe, "", 0)
{
	char reason[200];
	sides_init();
	CHECK_INT(verbs()->probe(&a.core, reason, sizeof reason), ==, DPI_SUCCESS);
	mock.devices = 0;
	CHECK_INT(verbs()->probe(&a.core, reason, sizeof reason), ==, DPI_ERR_UNSUPPORTED);
	CHECK_HAS(reason, "no RDMA device");
	mock.devices = 2;
	mock_fail(MOCK_get_device_list, 0, ENOSYS);
	CHECK_INT(verbs()->probe(&a.core, reason, sizeof reason), ==, DPI_ERR_UNSUPPORTED);
	CHECK_HAS(reason, "no RDMA device");
	mock_fail_always(MOCK_open_device, EACCES);
	CHECK_INT(verbs()->probe(&a.core, reason, sizeof reason), ==, DPI_ERR_UNSUPPORTED);
	CHECK_HAS(reason, "modes");
	sides_init();
	mock.port.state = IBV_PORT_DOWN;
	CHECK_INT(verbs()->probe(&a.core, reason, sizeof reason), ==, DPI_ERR_UNSUPPORTED);
	CHECK_HAS(reason, "no port of an RDMA device is up: mock0 port 1 is down");
	mock_fail_always(MOCK_query_port, EIO);
	CHECK_INT(verbs()->probe(&a.core, reason, sizeof reason), ==, DPI_ERR_UNSUPPORTED);
	mock_fail_always(MOCK_query_device, EIO);
	CHECK_INT(verbs()->probe(&a.core, reason, sizeof reason), ==, DPI_ERR_UNSUPPORTED);
}

/* Each call of open fails once: an error with a sentence, and nothing is left. */
TEST(verbs_open_fails, "", 0)
{
	static const struct {
		enum mock_call call;
		int error, class;
		const char *part;
	} all[] = {
		{ MOCK_create_event_channel, ENODEV, DPI_ERR_UNSUPPORTED, "rdma_ucm" },
		{ MOCK_ifaddrs, ENOMEM, DPI_ERR_UNSUPPORTED, "no RDMA device" },
		{ MOCK_query_device, EIO, DPI_ERR_TRANSPORT, "what it can do" },
		{ MOCK_listen, EADDRINUSE, DPI_ERR_TRANSPORT, "cannot listen" },
		{ MOCK_alloc_pd, ENOMEM, DPI_ERR_LIMIT, "protection domain" },
		{ MOCK_create_comp_channel, EMFILE, DPI_ERR_TRANSPORT, "completion channel" },
		{ MOCK_reg_mr, EINVAL, DPI_ERR_TRANSPORT, "buffers" },
	};
	struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	setrlimit(RLIMIT_MEMLOCK, &none); /* may be forbidden: then the sentence speaks of the limit */
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		sides_init();
		mock_fail_always(all[i].call, all[i].error);
		CHECK_INT(side_open(&a), ==, all[i].class);
		CHECK_HAS(a.sentence, all[i].part);
		sides_end();
	}
	sides_init();
	mock.devices = 0;
	CHECK_INT(side_open(&a), ==, DPI_ERR_UNSUPPORTED);
	CHECK_HAS(a.sentence, "rdma link add");
	mock.devices = 1;
	mock.port.state = IBV_PORT_DOWN;
	CHECK_INT(side_open(&a), ==, DPI_ERR_UNSUPPORTED);
	CHECK_HAS(a.sentence, "down");
	sides_init();
	mock.device.max_qp_wr = 8;
	CHECK_INT(side_open(&a), ==, DPI_ERR_UNSUPPORTED);
	CHECK_HAS(a.sentence, "too small: 8 work requests (32 are needed)");
	mock.device.max_qp_wr = CREDITS - 1;
	mock.device.max_srq = 0;
	CHECK_FAILS(&a, side_open(&a), DPI_ERR_UNSUPPORTED, "too small: 63 work requests (64 are needed)");
	CHECK_INT(verbs()->open(&a.core, verbs(), &a.tp), ==, DPI_ERR_ARGUMENT);
	sides_end();
}

/* A peer of several addresses: those in the own network come first, wherever they stand; those that cannot be reached are named. */
TEST(verbs_connects_to_what_can_be_reached, "", 0)
{
	static const struct verbs_host routed = { .family = 4, .port = 5, .bytes = { 172, 16, 0, 9 } }, silent = { .family = 4, .port = 5, .bytes = { 10, 9, 0, 77 } },
				       other = { .family = 6, .port = 5, .bytes = { 0xfd } };
	sides_init();
	sides_open();
	struct verbs_address *self = &b.tp->self;
	const struct verbs_host own = self->host[0];
	self->host[0] = routed;
	self->host[1] = own;
	self->hosts = 2;
	if (side_connect(&a, &b, LONG)) FAIL("%s", a.sentence);
	CHECK_INT(mock.calls[MOCK_resolve_addr], ==, 1);
	verbs()->disconnect(a.to);
	sides_progress();
	self->host[0] = silent; /* in the own network, but nobody listens: the next is tried */
	if (side_connect(&a, &b, LONG)) FAIL("%s", a.sentence);
	CHECK_INT(mock.calls[MOCK_resolve_addr], ==, 3);
	verbs()->disconnect(a.to);
	sides_progress();
	self->host[0] = routed;
	self->host[1] = silent;
	CHECK_FAILS(&a, side_connect(&a, &b, LONG), DPI_ERR_PEER, "node 1 cannot be reached over verbs from device mock0");
	CHECK_HAS(a.sentence, "tried 10.9.0.77 (nobody listens");
	CHECK_HAS(a.sentence, ", 172.16.0.9 (nobody listens");
	self->host[0] = other; /* of another family than each of the own */
	self->hosts = 1;
	CHECK_FAILS(&a, side_connect(&a, &b, LONG), DPI_ERR_PEER, "tried none, as device mock0 has no address of the same family");
	sides_end();
}

static void works(void)
{
	window_share(&b, &a, &w, DPI_TP_WRITE);
	CHECK_INT(put(&a, w.remote, "works", 6, 0, NULL), ==, DPI_SUCCESS);
	CHECK_INT(flush(&a), ==, DPI_SUCCESS);
	CHECK_STR((char *)w.memory, "works");
}

/* By IPv6: each family goes where the other one does not lead. */
TEST(verbs_connects_by_ipv6, "", 0)
{
	static const struct verbs_host silent = { .family = 6, .port = 5, .bytes = { 0xfd, 0, [15] = 0x77 } };
	sides_init();
	mock.only[0].address = "fd00::1";
	sides_open();
	sides_connect();
	works();
	CHECK_STR(a.to->name, "fd00::1");
	sides_end();
	sides_init();
	mock.devices = 2;
	mock.only[0].address = "fd00::1";
	mock.only[1].behind = 1;
	sides_open();
	struct verbs_address *self = &b.tp->self;
	CHECK_INT(self->hosts, ==, 2);
	for (unsigned i = 0; i < 2; i++) { /* one of them alone */
		struct verbs_host both[2] = { self->host[0], self->host[1] };
		self->hosts = 1;
		self->host[0] = both[i];
		sides_connect();
		CHECK_STR(a.to->name, both[i].family == 6 ? "fd00::1" : "10.9.0.2");
		verbs()->disconnect(a.to);
		sides_progress();
		verbs()->disconnect(b.to);
		self->host[0] = both[0];
		self->hosts = 2;
	}
	self->host[self->host[1].family == 6] = silent;
	sides_connect();
	CHECK_STR(a.to->name, "10.9.0.2");
	verbs()->disconnect(a.to);
	sides_progress();
	self->hosts = 1;
	self->host[0] = silent;
	CHECK_FAILS(&a, side_connect(&a, &b, LONG), DPI_ERR_PEER, "tried fd00::77 (nobody listens");
	sides_end();
}

/* Each step of connecting fails, at either end; what was begun goes, and the next attempt works. */
TEST(verbs_connect_fails, "", 0)
{
	static const struct {
		enum mock_call call;
		int after, error, class;
		const char *part;
	} all[] = {
		{ MOCK_create_id, 0, ENOMEM, DPI_ERR_LIMIT, "identifier" },	 { MOCK_resolve_addr, 0, ENETUNREACH, DPI_ERR_PEER, "unreachable" },
		{ MOCK_resolve_route, 0, EINVAL, DPI_ERR_PEER, "Invalid" },	 { MOCK_create_cq, 0, EINVAL, DPI_ERR_LIMIT, "no room" },
		{ MOCK_create_srq, 0, EINVAL, DPI_ERR_LIMIT, "no room" },	 { MOCK_create_qp, 0, EIO, DPI_ERR_LIMIT, "no room" },
		{ MOCK_reg_mr, 0, EINVAL, DPI_ERR_LIMIT, "no room" },		 { MOCK_post_recv, 5, EINVAL, DPI_ERR_LIMIT, "no room" },
		{ MOCK_connect, 0, EINVAL, DPI_ERR_PEER, "Invalid" },		 { MOCK_create_id, 1, ENOMEM, DPI_ERR_PEER, "reached" },
		{ MOCK_create_cq, 1, EINVAL, DPI_ERR_PEER, "it has no room" },	 { MOCK_create_srq, 1, EINVAL, DPI_ERR_PEER, "it has no room" },
		{ MOCK_create_qp, 1, EIO, DPI_ERR_PEER, "it has no room" },	 { MOCK_accept, 0, EINVAL, DPI_ERR_PEER, "it has no room" },
		{ MOCK_post_recv, 70, EINVAL, DPI_ERR_PEER, "it has no room" },	 { MOCK_reg_mr, 1, EINVAL, DPI_ERR_PEER, "it has no room" },
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		sides_init();
		sides_open();
		mock_fail(all[i].call, all[i].after, all[i].error);
		a.sentence[0] = 0;
		CHECK_INT(side_connect(&a, &b, LONG), ==, all[i].class);
		CHECK_HAS(a.sentence, all[i].part);
		CHECK_HAS(a.sentence, "10.9.0.1");
		sides_progress();
		CHECK_INT(mock.queue_pairs, ==, 0);
		CHECK(!a.lost && !b.lost);
		sides_connect();
		works();
		sides_end();
	}
}

/* The device has no queue pair left: whoever connects reads how many it has, and how many are in use. */
TEST(verbs_connect_without_room, "", 0)
{
	struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	setrlimit(RLIMIT_MEMLOCK, &none);
	for (int after = 0; after < 2; after++) {
		sides_init();
		mock.device.max_qp = 1234;
		mock.device.max_mr = 4321;
		sides_open();
		mock_fail(MOCK_create_qp, after, ENOSPC);
		CHECK_INT(side_connect(&a, &b, LONG), ==, after ? DPI_ERR_PEER : DPI_ERR_LIMIT);
		CHECK_HAS(after ? b.log : a.sentence, "refused a queue pair");
		CHECK_HAS(after ? b.log : a.sentence, "of the device's 1234 queue pairs and 4321 registrations this process has 0 and 1");
		sides_connect();
		works();
		sides_end();
	}
}

/* Reads at once: what a device starts and what it serves are two limits, and those of two devices differ. Beyond either the connection
 * manager refuses, and beyond the asker's own it cannot finish. */
TEST(verbs_connect_within_reads, "", 0)
{
	static const struct {
		int own, served;
	} limits[] = { { 16, 16 }, { 4, 16 }, { 16, 4 }, { 1, 1 }, { 3, 200 } };
	enum { KINDS = sizeof limits / sizeof *limits };
	for (int i = 0; i < KINDS * KINDS; i++) {
		sides_init();
		for (int side = 0; side < 2; side++) {
			mock.device.max_qp_init_rd_atom = limits[side ? i / KINDS : i % KINDS].own;
			mock.device.max_qp_rd_atom = limits[side ? i / KINDS : i % KINDS].served;
			if (side_open(side ? &b : &a)) FAIL("%s", side ? b.sentence : a.sentence);
		}
		if (i / KINDS != i % KINDS) mock.device.max_qp_rd_atom = mock.device.max_qp_init_rd_atom = 200; /* each judged by what it asks for */
		sides_connect();
		works();
		sides_end();
	}
	for (int side = 0; side < 2; side++) { /* none at all: no gets */
		sides_init();
		*(side ? &mock.device.max_qp_rd_atom : &mock.device.max_qp_init_rd_atom) = 0;
		CHECK_FAILS(&a, side_open(&a), DPI_ERR_UNSUPPORTED, side ? "16 reads at once and 0 of a peer's" : "0 reads at once and 16 of a peer's");
		sides_end();
	}
}

/* Who asked was killed meanwhile: that is why the device refuses, and no refusal to warn of. */
TEST(verbs_asker_has_gone, "", 0)
{
	sides_init();
	sides_open();
	mock.gone = true;
	mock_fail(MOCK_create_qp, 1, EIO);
	CHECK_INT(side_connect(&a, &b, LONG), ==, DPI_ERR_PEER);
	CHECK_HAS(b.log, "asked for a connection and has gone");
	CHECK(!strstr(b.log, "there is no room"));
	mock.gone = false;
	sides_connect();
	works();
	sides_end();
}

/* The connection manager's own answers: an error in place of each step. */
TEST(verbs_connect_events, "", 0)
{
	static const struct {
		enum rdma_cm_event_type of, instead;
		int class;
		bool tried_again; /* until the deadline */
	} all[] = {
		{ RDMA_CM_EVENT_ADDR_RESOLVED, RDMA_CM_EVENT_ADDR_ERROR, DPI_ERR_TIMEOUT, true },
		{ RDMA_CM_EVENT_ROUTE_RESOLVED, RDMA_CM_EVENT_ROUTE_ERROR, DPI_ERR_TIMEOUT, true },
		{ RDMA_CM_EVENT_ESTABLISHED, RDMA_CM_EVENT_REJECTED, DPI_ERR_PEER, false },
		{ RDMA_CM_EVENT_ESTABLISHED, RDMA_CM_EVENT_UNREACHABLE, DPI_ERR_TIMEOUT, false },
		{ RDMA_CM_EVENT_ESTABLISHED, RDMA_CM_EVENT_CONNECT_ERROR, DPI_ERR_TIMEOUT, false },
		{ RDMA_CM_EVENT_ROUTE_RESOLVED, RDMA_CM_EVENT_DEVICE_REMOVAL, DPI_ERR_PEER, false },
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		sides_init();
		sides_open();
		mock.instead_of = (int)all[i].of;
		mock.instead = all[i].instead;
		mock.instead_always = all[i].tried_again;
		CHECK_INT(side_connect(&a, &b, all[i].tried_again ? 100000 : LONG), ==, all[i].class);
		CHECK(*a.sentence);
		mock.instead = (enum rdma_cm_event_type)-1;
		sides_progress();
		CHECK(!a.lost && !b.lost);
		if (all[i].instead != RDMA_CM_EVENT_DEVICE_REMOVAL) {
			sides_connect();
			works();
		}
		sides_end();
	}
}

/* ------------------------------------------------------------------------------------------------------ odd answers */

static void another_version(enum rdma_cm_event_type type, uint8_t *bytes)
{
	if (type == RDMA_CM_EVENT_CONNECT_REQUEST || type == RDMA_CM_EVENT_REJECTED) bytes[4]++;
}

/* It says which version it speaks; its other addresses are not tried. */
TEST(verbs_connects_to_no_other_version, "", 0)
{
	char why[100];
	snprintf(why, sizeof why, "it speaks version %d of the verbs protocol, this library version %d", WIRE_VERSION + 1, WIRE_VERSION);
	sides_init();
	sides_open();
	b.tp->self.host[1] = b.tp->self.host[0];
	b.tp->self.hosts = 2;
	mock.says = another_version;
	CHECK_FAILS(&a, side_connect(&a, &b, LONG), DPI_ERR_VERSION, why);
	CHECK_INT(mock.calls[MOCK_resolve_addr], ==, 1);
	CHECK_HAS(b.log, "speaks another version of the protocol");
	mock.says = NULL;
	sides_connect();
	works();
	sides_end();
}

/* Without a cluster key only this host's are taken; here the list of its addresses cannot be had. */
TEST(verbs_connects_to_no_other_host_without_a_key, "", 0)
{
	sides_init();
	sides_open();
	mock_fail(MOCK_ifaddrs, 0, ENOMEM);
	CHECK_FAILS(&a, side_connect(&a, &b, LONG), DPI_ERR_PEER, "it takes connections of its own host only, as there is no cluster key");
	sides_connect();
	works();
	sides_end();
}

static int odd; /* what of an acceptance is not as it should be */
enum { ODD_MAGIC, ODD_VERSION, ODD_STATUS, ODD_NODE, ODD_CREDITS, ODD_INCARNATION, ODD_COUNT };

static void oddly(enum rdma_cm_event_type type, uint8_t *bytes)
{
	static const uint8_t at[ODD_COUNT] = { 0, 4, 6, 8, 12, 16 };
	if (type != RDMA_CM_EVENT_ESTABLISHED) return;
	if (odd == ODD_CREDITS) bytes[at[odd]] = 3;
	else bytes[at[odd]]++;
}

/* Who accepts must be who was asked. */
TEST(verbs_connects_to_nobody_else_than_it_asked, "", 0)
{
	for (odd = 0; odd < ODD_COUNT; odd++) {
		sides_init();
		sides_open();
		mock.says = oddly;
		CHECK_FAILS(&a, side_connect(&a, &b, LONG), DPI_ERR_PEER, "another process answered");
		mock.says = NULL;
		sides_progress();
		CHECK_INT(mock.queue_pairs, ==, 0);
		CHECK(!a.lost && !b.lost);
		sides_connect();
		works();
		sides_end();
	}
}

/* Who has been accepted refuses after all. */
TEST(verbs_accepted_and_given_up, "", 0)
{
	sides_start();
	mock_cm_event(b.to, RDMA_CM_EVENT_REJECTED, 28);
	sides_progress();
	CHECK_INT(b.lost, ==, 1);
	CHECK_HAS(b.lost_sentence, "node 0 (10.9.0.1) gave up connecting");
	sides_end();
}

TEST(verbs_connect_in_time, "", 0)
{
	sides_init();
	sides_open();
	mock.mute = true;
	CHECK_INT(side_connect(&a, &b, 20000), ==, DPI_ERR_TIMEOUT);
	CHECK_HAS(a.sentence, "not resolved in time");
	mock.mute = false;
	sides_connect();
	/* an accepted connection that is never established goes */
	mock_cm_event(b.to, RDMA_CM_EVENT_UNREACHABLE, -ETIMEDOUT);
	sides_progress();
	CHECK_INT(b.lost, ==, 1);
	sides_end();
}

/* The peer is killed when it has just accepted: that is its death, not lateness. */
TEST(verbs_connect_to_the_dying, "", 0)
{
	sides_init();
	sides_open();
	mock.brief = true;
	CHECK_FAILS(&a, side_connect(&a, &b, LONG), DPI_ERR_PEER, "has probably died");
	sides_progress();
	mock.brief = false;
	sides_connect();
	works();
	sides_end();
}

/* What is asked on the way to an address gets lost, or its answer: it is asked again, not waited for until the deadline. */
TEST(verbs_connect_resolves_again, "", 0)
{
	static const enum rdma_cm_event_type instead[] = { RDMA_CM_EVENT_ADDR_ERROR, RDMA_CM_EVENT_ROUTE_ERROR };
	for (int lost = 0; lost < 4; lost++) {
		sides_init();
		sides_open();
		if (lost < 2) {
			mock.silent = 1 + lost; /* two tries in vain */
		} else {
			mock.instead_of = lost == 2 ? RDMA_CM_EVENT_ADDR_RESOLVED : RDMA_CM_EVENT_ROUTE_RESOLVED;
			mock.instead = instead[lost - 2];
		}
		CHECK_INT(side_connect(&a, &b, LONG), ==, DPI_SUCCESS);
		CHECK_INT(mock.calls[MOCK_resolve_addr], ==, lost == 1 ? 3 : 2);
		CHECK_INT(mock.resolve_ms, <=, 500);
		CHECK_INT(side_connect(&b, &a, LONG), ==, DPI_SUCCESS);
		CHECK_INT(mock.queue_pairs, ==, 2);
		works();
		sides_end();
	}
}

/* y begins to connect to x, as connect begins. */
static DPI_Tp_Endpoint *begin(struct side *y, struct side *x)
{
	struct rdma_cm_id *id;
	struct sockaddr_storage from, to;
	CHECK_INT(rdma_create_id(y->tp->channel, &id, NULL, RDMA_PS_TCP), ==, 0);
	DPI_Tp_Endpoint *c = dpi_verbs_endpoint(y->tp, id, x->core.node, x->core.incarnation);
	memcpy(c->token, x->tp->self.token, WIRE_TOKEN);
	dpi_verbs_socket(&y->tp->self.host[0], 0, &from);
	dpi_verbs_socket(&x->tp->self.host[0], x->tp->self.host[0].port, &to);
	y->tp->serial++;
	c->state = STATE_ADDRESS;
	CHECK_INT(rdma_resolve_addr(id, (struct sockaddr *)&from, (struct sockaddr *)&to, 100), ==, 0);
	return c;
}

/* Both at once: one connection, the lower node's. */
TEST(verbs_connect_crossing, "", 0)
{
	for (int first = 0; first < 2; first++) {
		struct side *x = first ? &b : &a, *y = first ? &a : &b;
		sides_init();
		sides_open();
		mock.crossing = 2;
		DPI_Tp_Endpoint *c = begin(y, x);
		/* x waits from now on, and both make progress */
		CHECK_INT(side_connect(x, y, LONG), ==, DPI_SUCCESS);
		sides_progress();
		if (y->core.node < x->core.node) { /* x has given up its own and found what y made */
			CHECK_INT(c->state, ==, STATE_OPEN);
		} else { /* y was refused, and accepted x's */
			CHECK_INT(c->state, ==, STATE_FAILED);
			CHECK_INT(c->status, ==, WIRE_CROSSED);
			c->state = STATE_GONE;
			dpi_verbs_bury(y->tp);
		}
		CHECK_INT(side_connect(y, x, LONG), ==, DPI_SUCCESS);
		CHECK_INT(mock.queue_pairs, ==, 2);
		works();
		sides_end();
	}
}

static struct {
	struct side *who, *whom;
	DPI_Tp_Endpoint *c;
} meanwhile;

static void ask_meanwhile(void)
{
	mock.destroyed = NULL;
	meanwhile.c = begin(meanwhile.who, meanwhile.whom);
	for (int i = 0; i < 2 * POLL_EVERY && meanwhile.c->state != STATE_REQUEST; i++) verbs()->progress(meanwhile.who->tp, 0, NULL);
	CHECK_INT(meanwhile.c->state, ==, STATE_REQUEST);
}

/* The peer asks between one try to find its address and the next: the next is not made, as asking anew would end what the peer has by then. */
TEST(verbs_connect_asked_between_tries, "", 0)
{
	for (int first = 0; first < 2; first++) {
		struct side *x = first ? &b : &a, *y = first ? &a : &b;
		sides_init();
		sides_open();
		mock.silent = 1; /* x's first try is in vain */
		mock.destroyed = ask_meanwhile;
		meanwhile.who = y;
		meanwhile.whom = x;
		CHECK_INT(side_connect(x, y, LONG), ==, DPI_SUCCESS);
		CHECK_INT(mock.calls[MOCK_resolve_addr], ==, 2);
		sides_progress();
		CHECK_INT(meanwhile.c->state, ==, STATE_OPEN);
		CHECK_INT(side_connect(y, x, LONG), ==, DPI_SUCCESS);
		CHECK_INT(mock.queue_pairs, ==, 2);
		works();
		sides_end();
	}
}

/* A node whose own request is not out yet takes the peer's, and need not find the peer's address any more. */
TEST(verbs_connect_asked_before_asking, "", 0)
{
	for (int first = 0; first < 2; first++) {
		struct side *x = first ? &b : &a, *y = first ? &a : &b;
		sides_init();
		sides_open();
		DPI_Tp_Endpoint *c = begin(y, x);
		mock.silent = 1; /* x is not told of the address */
		CHECK_INT(side_connect(x, y, LONG), ==, DPI_SUCCESS);
		sides_progress();
		CHECK_INT(c->state, ==, STATE_OPEN);
		CHECK_INT(mock.calls[MOCK_resolve_addr], ==, 2);
		CHECK_INT(side_connect(y, x, LONG), ==, DPI_SUCCESS);
		CHECK_INT(mock.queue_pairs, ==, 2);
		works();
		sides_end();
	}
}

/* Who has given up and comes again: the old connection ends, the new one works. */
TEST(verbs_connect_anew, "", 0)
{
	sides_start();
	works();
	DPI_Tp_Endpoint *old = b.to;
	mock.mute = true; /* the farewell is lost */
	verbs()->disconnect(a.to);
	mock.mute = false;
	CHECK_INT(side_connect(&a, &b, LONG), ==, DPI_SUCCESS);
	sides_progress();
	CHECK_INT(b.lost, ==, 1);
	verbs()->disconnect(old);
	CHECK_INT(side_connect(&b, &a, LONG), ==, DPI_SUCCESS);
	works();
	sides_end();
}

TEST(verbs_connect_refuses_arguments, "", 0)
{
	uint8_t address[DPI_TP_ADDRESS_MAX];
	uint32_t size = sizeof address;
	DPI_Tp_Endpoint *e;
	sides_init();
	sides_open();
	CHECK_INT(verbs()->address(b.tp, address, &size), ==, DPI_SUCCESS);
	DPI_Tp_Peer peer = { .node = 1, .incarnation = 1001, .address = address, .address_size = size };
	CHECK_FAILS(&a, verbs()->connect(a.tp, 1, &peer, 1000, &e), DPI_ERR_ARGUMENT, "lane");
	peer.incarnation++;
	CHECK_FAILS(&a, verbs()->connect(a.tp, 0, &peer, 1000, &e), DPI_ERR_PEER, "earlier or later");
	peer.incarnation--;
	for (uint32_t n = 0; n < size; n++) {
		peer.address_size = n;
		CHECK_FAILS(&a, verbs()->connect(a.tp, 0, &peer, 1000, &e), DPI_ERR_PEER, "understands");
	}
	peer.address_size = size;
	address[32] = 5; /* a family of its own */
	CHECK_FAILS(&a, verbs()->connect(a.tp, 0, &peer, 1000, &e), DPI_ERR_PEER, "understands");
	address[32] = 4;
	address[16] ^= 1; /* the token */
	CHECK_FAILS(&a, verbs()->connect(a.tp, 0, &peer, LONG, &e), DPI_ERR_PEER, "another process is there");
	size = 3;
	CHECK_FAILS(&a, verbs()->address(a.tp, address, &size), DPI_ERR_SIZE, "room for 3");
	side_close(&b);
	size = sizeof address;
	address[16] ^= 1;
	CHECK_FAILS(&a, verbs()->connect(a.tp, 0, &peer, LONG, &e), DPI_ERR_PEER, "nobody listens");
	sides_end();
}

/* ---------------------------------------------------------------------------------------------------------- strangers */

static int judged(const struct wire_hello *h)
{
	uint8_t bytes[WIRE_HELLO];
	dpi_verbs_hello(bytes, h);
	struct rdma_cm_id *id = mock_stranger(b.tp, bytes, WIRE_HELLO);
	sides_progress();
	int status = mock_stranger_refused(id);
	mock_stranger_end(id);
	return status;
}

TEST(verbs_strangers, "", 0)
{
	sides_start();
	works();
	struct wire_hello good = { WIRE_VERSION, 0, 7, CREDITS, 1, 2007, b.core.incarnation, { 0 } }, h;
	memcpy(good.token, b.tp->self.token, WIRE_TOKEN);
	h = good, h.version++;
	CHECK_INT(judged(&h), ==, WIRE_OTHER_VERSION);
	h = good, h.token[15] ^= 0x80;
	CHECK_INT(judged(&h), ==, WIRE_OTHER_TOKEN);
	h = good, h.target_incarnation++;
	CHECK_INT(judged(&h), ==, WIRE_OTHER_INCARNATION);
	h = good, h.credits = 0;
	CHECK_INT(judged(&h), ==, WIRE_OTHER_TOKEN);
	h = good, h.lane = 1;
	CHECK_INT(judged(&h), ==, WIRE_OTHER_TOKEN);
	/* a request of the peer's that was on its way when the two agreed on another */
	h = good, h.node = 0, h.incarnation = a.core.incarnation, h.serial = a.tp->serial;
	CHECK_INT(judged(&h), ==, WIRE_CROSSED);
	CHECK_INT(b.lost, ==, 0);
	/* without a key, those of other hosts; here the list of this host's addresses cannot be had */
	mock_fail(MOCK_ifaddrs, 0, ENOMEM);
	CHECK_INT(judged(&good), ==, WIRE_ELSEWHERE);
	for (int i = 0; i <= 56; i++) {
		uint8_t bytes[56];
		memset(bytes, i, sizeof bytes);
		struct rdma_cm_id *id = mock_stranger(b.tp, bytes, (uint8_t)i);
		sides_progress();
		CHECK_INT(mock_stranger_refused(id), ==, WIRE_OTHER_VERSION);
		mock_stranger_end(id);
	}
	CHECK_HAS(b.log, "refused");
	CHECK_INT(b.lost, ==, 0);
	CHECK_INT(put(&a, w.remote, data, 8, 0, NULL), ==, DPI_SUCCESS);
	sides_end();
}
