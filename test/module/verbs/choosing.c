/* SPDX-License-Identifier: Apache-2.0
 * choosing.c: which device and port, and why; nearness by the core's own topology, of a machine that hwloc replays. */
#include "sides.h"

#include <errno.h>
#include <stdlib.h>

#include "src/core/topology.h"

/* Which device, and why. */
TEST(verbs_chooses_a_device, "", 0)
{
	sides_init();
	mock.devices = 2;
	CHECK_INT(side_open(&a), ==, DPI_SUCCESS);
	CHECK_STR(a.tp->device, "mock0");
	CHECK_HAS(a.log, "device mock0 port 1, 10.9.0.1 (mock0), 10 Gb/s: chosen");
	CHECK_HAS(a.log, "device mock1 port 1, 10.9.0.2 (mock1), 10 Gb/s: left out: another of its kind comes first");
	side_close(&a);
	static const char *const by[] = { "10.9.0.2", "mock1" };
	for (int i = 0; i < 2; i++) {
		a.listen = by[i];
		a.log[0] = 0;
		CHECK_INT(side_open(&a), ==, DPI_SUCCESS);
		CHECK_STR(a.tp->device, "mock1");
		CHECK_HAS(a.log, "10.9.0.2 (mock1), 10 Gb/s: chosen: DPI_LISTEN names it");
		CHECK_HAS(a.log, "10.9.0.1 (mock0), 10 Gb/s: left out: DPI_LISTEN names another");
		side_close(&a);
	}
	static const char *const any[] = { "127.0.0.1", "::1", "lo", "0.0.0.0", "::" };
	for (int i = 0; i < 5; i++) {
		a.listen = any[i];
		CHECK_INT(side_open(&a), ==, DPI_SUCCESS);
		side_close(&a);
	}
	static const char *const wrong[] = { "192.0.2.1", "eth9", "fe80::1", "no such thing" };
	for (int i = 0; i < 4; i++) {
		a.listen = wrong[i];
		CHECK_INT(side_open(&a), ==, DPI_ERR_CONFIG);
		CHECK_HAS(a.sentence, wrong[i]);
	}
	sides_end();
}

/* A port that is up first, then speed; a setting is above both. Each device's line says which it was. */
TEST(verbs_chooses_by_the_port, "", 0)
{
	sides_init();
	mock.devices = 2;
	mock.only[1].speed = 32;
	CHECK_INT(side_open(&a), ==, DPI_SUCCESS);
	CHECK_STR(a.tp->device, "mock1");
	CHECK_HAS(a.log, "device mock0 port 1, 10.9.0.1 (mock0), 10 Gb/s: left out: another is faster");
	CHECK_HAS(a.log, "device mock1 port 1, 10.9.0.2 (mock1), 25 Gb/s: chosen");
	side_close(&a);
	mock.only[1].down = true;
	CHECK_INT(side_open(&a), ==, DPI_SUCCESS);
	CHECK_STR(a.tp->device, "mock0");
	CHECK_HAS(a.log, "device mock1 port 1, 10.9.0.2 (mock1), 25 Gb/s: left out: its port is down");
	side_close(&a);
	a.listen = "10.9.0.2"; /* it cannot be used, and nothing else is in its place */
	CHECK_INT(side_open(&a), ==, DPI_ERR_UNSUPPORTED);
	CHECK_HAS(a.sentence, "port 1 of RDMA device mock1 (mock1) is down; check the cable");
	a.listen = "10.9.0.1";
	mock.only[1].down = false;
	CHECK_INT(side_open(&a), ==, DPI_SUCCESS);
	CHECK_STR(a.tp->device, "mock0");
	CHECK_HAS(a.log, "10.9.0.2 (mock1), 25 Gb/s: left out: DPI_LISTEN names another");
	side_close(&a);
	sides_end();
}

/* A speed of a later generation than libibverbs knows: the system says it. */
TEST(verbs_chooses_by_a_new_speed, "", 0)
{
	sides_init();
	mock.devices = 2;
	mock.only[0].speed = 128;
	mock.only[1].new_speed = true;
	mock.rate_file = "800 Gb/sec (4X XDR)\n";
	CHECK_INT(side_open(&a), ==, DPI_SUCCESS);
	CHECK_STR(a.tp->device, "mock1");
	CHECK_HAS(a.log, "10.9.0.2 (mock1), 800 Gb/s: chosen");
	side_close(&a);
	static const char *const unknown[] = { NULL, "none\n", "-1", "1e30 Gb/sec" };
	for (int i = 0; i < 4; i++) {
		mock.rate_file = unknown[i];
		a.log[0] = 0;
		CHECK_INT(side_open(&a), ==, DPI_SUCCESS);
		CHECK_STR(a.tp->device, "mock0");
		CHECK_HAS(a.log, "10.9.0.2 (mock1): left out: another is faster");
		side_close(&a);
	}
	sides_end();
}

static struct dpi_topology *machine;
static int processor;

static int near_on_that_machine(const char *device)
{
	return dpi_topology_near(machine, device, processor);
}

static void expect(const char *device)
{
	a.log[0] = 0;
	if (side_open(&a)) FAIL("%s", a.sentence);
	CHECK_STR(a.tp->device, device);
	side_close(&a);
}

/* By locality, on a machine of two sockets and four NICs that hwloc replays: below a port that is up, above speed. */
TEST(verbs_chooses_a_near_device, "", 0)
{
	setenv("HWLOC_XMLFILE", "test/topology/two_sockets_four_nics.xml", 1);
	setenv("HWLOC_THISSYSTEM", "0", 1);
	machine = dpi_topology_read();
	CHECK(machine);
	if (strcmp(machine->source, "hwloc")) SKIP("no hwloc (package libhwloc-dev)");
	sides_init();
	mock.devices = 4;
	for (int i = 0; i < 3; i++) mock.only[i].name = (const char *[]){ "mlx5_0", "mlx5_1", "mlx5_2" }[i];
	mock.only[3].name = "rxe0"; /* where it is, nobody knows */
	mock.only[3].down = true;
	a.near = near_on_that_machine;
	for (processor = 0; processor < 16; processor++) {
		bool second = processor / 4 % 2;
		expect(second ? "mlx5_2" : "mlx5_0");
		CHECK_HAS(a.log, second ? "device mlx5_2 port 1, 10.9.0.3 (mock2), 10 Gb/s, near this process: chosen"
					: "device mlx5_0 port 1, 10.9.0.1 (mock0), 10 Gb/s, near this process: chosen");
		CHECK_HAS(a.log, second ? "device mlx5_0 port 1, 10.9.0.1 (mock0), 10 Gb/s, far from this process: left out: another is nearer"
					: "device mlx5_2 port 1, 10.9.0.3 (mock2), 10 Gb/s, far from this process: left out: another is nearer");
		CHECK_HAS(a.log, second ? "mlx5_1 port 1, 10.9.0.2 (mock1), 10 Gb/s, far from this process: left out: another is nearer"
					: "mlx5_1 port 1, 10.9.0.2 (mock1), 10 Gb/s, near this process: left out: another of its kind comes first");
		CHECK_HAS(a.log, "device rxe0 port 1, 10.9.0.4 (mock3), 10 Gb/s: left out: its port is down");
	}
	processor = 4;
	mock.only[0].speed = 32; /* the faster one is far */
	expect("mlx5_2");
	processor = 0;
	mock.only[0].speed = 0;
	mock.only[1].speed = 32; /* of two near ones */
	expect("mlx5_1");
	CHECK_HAS(a.log, "10.9.0.1 (mock0), 10 Gb/s, near this process: left out: another is faster");
	processor = 4;
	mock.only[2].down = true; /* the near one is down */
	expect("mlx5_1");
	CHECK_HAS(a.log, "10.9.0.2 (mock1), 25 Gb/s, far from this process: chosen");
	a.listen = "mock0"; /* a setting is above all */
	expect("mlx5_0");
	a.listen = NULL;
	a.core.size = offsetof(DPI_Tp_Core, near); /* a core of an earlier library */
	expect("mlx5_1");
	CHECK_HAS(a.log, "10.9.0.2 (mock1), 25 Gb/s: chosen");
	free(machine);
	sides_end();
}

/* By reachability: in the network of the cluster's address, where one is; what no address leads to is named, too. */
TEST(verbs_chooses_a_device_that_reaches, "", 0)
{
	static const char *const clusters[] = { "10.8.0.77:4000", "10.8.0.1:1" };
	static const char *const others[] = { "", "unix:name", "127.0.0.1:4000", "10.7.0.1:4000", "[10.8.0.77]:4000", "host:4000", "10.8.0.77", "/a/file:1",
					      "[fd00::1]:4000", "[]:1", ":4000", "a-name-that-is-longer-than-any-numeric-address-is:4000" };
	sides_init();
	mock.devices = 3;
	mock.only[1].address = "10.8.0.1";
	mock.only[2].address = "";
	for (size_t i = 0; i < sizeof clusters / sizeof *clusters; i++) {
		a.cluster = clusters[i];
		expect("mock1");
		CHECK_HAS(a.log, "device mock1 port 1, 10.8.0.1 (mock1), 10 Gb/s, in the cluster's network: chosen");
		CHECK_HAS(a.log, "device mock0 port 1, 10.9.0.1 (mock0), 10 Gb/s: left out: another is in the cluster's network");
		CHECK_HAS(a.log, "device mock2: left out: no address leads to it; an interface of it must be up and have one");
	}
	mock.only[1].down = true;
	expect("mock0");
	CHECK_HAS(a.log, "in the cluster's network: left out: its port is down");
	mock.only[1].down = false;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		a.cluster = others[i];
		expect("mock0");
		CHECK(!strstr(a.log, "cluster's network"));
	}
	sides_end();
}

/* Why an address of a device cannot be used is said, not guessed. */
TEST(verbs_says_why_an_address_is_left_out, "", 0)
{
	static const enum mock_call calls[] = { MOCK_bind_addr, MOCK_query_port };
	static const char *const logged[] = { "10.9.0.1 (mock0): left out: the connection manager does not bind to it: Permission denied",
					      "10.9.0.1 (mock0): left out: its port does not say its state: Permission denied" };
	for (int i = 0; i < 2; i++) {
		sides_init();
		mock.devices = 2;
		mock_fail(calls[i], !i, EACCES); /* after eth9 */
		expect("mock1");
		CHECK_HAS(a.log, logged[i]);
		mock_fail(calls[i], !i, EACCES);
		a.listen = "mock0";
		CHECK_FAILS(&a, side_open(&a), DPI_ERR_UNSUPPORTED, "verbs cannot use 10.9.0.1 (mock0): Permission denied; check 'rdma link', the modes");
		a.listen = NULL;
		mock_fail_always(calls[i], EACCES);
		CHECK_FAILS(&a, side_open(&a), DPI_ERR_UNSUPPORTED, i ? "verbs cannot use 10.9.0.1 (mock0): Permission denied" : "192.0.2.1 (eth9): Permission");
		sides_end();
	}
}

/* A device of datagrams alone, its port up: left to libfabric. */
TEST(verbs_needs_reliable_connections, "", 0)
{
	char reason[200];
	sides_init();
	mock.only[0].unconnected = true;
	mock.only[0].name = "efa_0";
	CHECK_INT(verbs()->probe(&a.core, reason, sizeof reason), ==, DPI_ERR_UNSUPPORTED);
	CHECK_HAS(reason, "device efa_0 has no reliable connections, which verbs needs; libfabric may carry over it");
	CHECK_FAILS(&a, side_open(&a), DPI_ERR_UNSUPPORTED, "device efa_0: it has no reliable connections, which verbs needs; libfabric");
	mock.devices = 2;
	CHECK_INT(verbs()->probe(&a.core, reason, sizeof reason), ==, DPI_SUCCESS);
	expect("mock1");
	CHECK_HAS(a.log, "device efa_0: left out: it has no reliable connections, which verbs needs; libfabric may carry over it");
	mock.only[1].down = true;
	CHECK_INT(verbs()->probe(&a.core, reason, sizeof reason), ==, DPI_ERR_UNSUPPORTED);
	CHECK_HAS(reason, "no port of an RDMA device is up: mock1 port 1 is down");
	sides_end();
}

/* Of two ports of a device the better one, with its own limits, and its own state when something fails. */
TEST(verbs_chooses_the_second_port, "", 0)
{
	DPI_Tp_Attr attr = { .size = sizeof attr };
	char reason[200];
	sides_init();
	mock.devices = 2;
	mock.only[1].behind = 2;
	mock.only[1].speed = 32;
	mock.only[1].message = 1 << 17;
	sides_open();
	CHECK_STR(a.tp->device, "mock0");
	CHECK_HAS(a.log, "device mock0 port 1, 10.9.0.1 (mock0), 10 Gb/s: left out: another is faster");
	CHECK_HAS(a.log, "device mock0 port 2, 10.9.0.2 (mock1), 25 Gb/s: chosen");
	CHECK_INT(a.tp->self.hosts, ==, 1); /* no address of the other port */
	CHECK_INT(verbs()->query(a.tp, &attr), ==, DPI_SUCCESS);
	CHECK_INT(attr.max_put, ==, 8 << 17);
	sides_connect();
	mock.only[1].down = true;
	mock.status_after = 0;
	mock.status = IBV_WC_RETRY_EXC_ERR;
	CHECK_INT(verbs()->send(a.to, "x", 1, 0), ==, DPI_SUCCESS);
	sides_progress();
	CHECK_INT(a.lost, ==, 1);
	CHECK_HAS(a.lost_sentence, "port 2 of device mock0 is down");
	side_close(&a);
	expect("mock0");
	CHECK_HAS(a.log, "device mock0 port 1, 10.9.0.1 (mock0), 10 Gb/s: chosen");
	CHECK_INT(verbs()->probe(&a.core, reason, sizeof reason), ==, DPI_SUCCESS);
	mock.only[0].down = true;
	CHECK_INT(verbs()->probe(&a.core, reason, sizeof reason), ==, DPI_ERR_UNSUPPORTED);
	CHECK_HAS(reason, "mock0 port 1 is down, mock0 port 2 is down");
	sides_end();
}

/* IPv6, alone or beside IPv4 at the same port; an address of the link alone says nothing elsewhere. */
TEST(verbs_chooses_by_ipv6, "", 0)
{
	sides_init();
	mock.only[0].address = "fe80::1";
	CHECK_FAILS(&a, side_open(&a), DPI_ERR_UNSUPPORTED, "no RDMA device has a port with an IP address");
	mock.only[0].address = "fd00:1::1";
	expect("mock0");
	CHECK_HAS(a.log, "device mock0 port 1, fd00:1::1 (mock0), 10 Gb/s: chosen");
	mock.devices = 3;
	mock.only[1].behind = 1;
	mock.only[2].address = "fd00:2::1";
	a.cluster = "[fd00:2::77]:4000";
	expect("mock2");
	CHECK_HAS(a.log, "fd00:2::1 (mock2), 10 Gb/s, in the cluster's network: chosen");
	CHECK(!strstr(a.log, "fd00:1::1 (mock0), 10 Gb/s, in the"));
	a.cluster = NULL;
	a.listen = "fd00:2::1";
	expect("mock2");
	a.listen = NULL;
	CHECK_INT(side_open(&a), ==, DPI_SUCCESS);
	CHECK_INT(a.tp->self.hosts, ==, 2);
	CHECK_HAS(a.log, "10.9.0.2 (mock1), 10 Gb/s: listened on too");
	CHECK_INT(a.tp->prefix[0], ==, 64);
	CHECK_INT(a.tp->prefix[1], ==, 24);
	sides_end();
}
