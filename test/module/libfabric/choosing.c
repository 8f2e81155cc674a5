/* SPDX-License-Identifier: Apache-2.0
 * choosing.c: which provider, and why; why not. */
#include "sides.h"

static void refused(int class, const char *part)
{
	char reason[256] = "";
	prepare(&a, 0);
	CHECK_TP_ERROR(table()->open(&a.core, NULL, &a.tp), class, part);
	a.tp = NULL;
	CHECK_INT(table()->probe(&a.core, reason, sizeof reason), ==, DPI_ERR_UNSUPPORTED);
	CHECK(*reason);
	CHECK_INT(mock.objects, ==, 0);
}

TEST(provider_is_chosen, "", 0)
{
	char reason[256];
	fabric_setting = listen_setting = NULL;
	mock_reset();
	mock.fail[MOCK_GETINFO] = FI_ENODATA;
	refused(DPI_ERR_UNSUPPORTED, "no provider");
	mock_reset();
	mock.provider = "sockets";
	refused(DPI_ERR_UNSUPPORTED, "no provider");
	mock.provider = "udp;ofi_rxd";
	refused(DPI_ERR_UNSUPPORTED, "no provider");
	mock.provider = "net;ofi_rxm";
	refused(DPI_ERR_UNSUPPORTED, "no provider");
	mock_reset();
	mock.mr_mode = FI_MR_RAW;
	refused(DPI_ERR_UNSUPPORTED, "no provider");
	mock.mr_mode = FI_MR_ENDPOINT | FI_MR_LOCAL;
	refused(DPI_ERR_UNSUPPORTED, "no provider");
	fabric_setting = "mock";
	refused(DPI_ERR_CONFIG, "memory that messages lie in registered for each endpoint");
	fabric_setting = NULL;
	mock_reset();
	mock.order = 0;
	refused(DPI_ERR_UNSUPPORTED, "no provider");
	mock_reset();
	mock.message = 1000;
	refused(DPI_ERR_UNSUPPORTED, "no provider");
	mock_reset();
	mock.key_size = 16;
	refused(DPI_ERR_UNSUPPORTED, "no provider");
	mock_reset();
	mock.mode = FI_MSG_PREFIX;
	refused(DPI_ERR_UNSUPPORTED, "no provider");
	mock_reset();
	mock.iov_limit = 0;
	refused(DPI_ERR_UNSUPPORTED, "no provider");
	mock_reset();
	mock.ip = 0x0a000001; /* not loopback, and no key */
	refused(DPI_ERR_UNSUPPORTED, "without a cluster key");
	fabric_setting = "mock";
	refused(DPI_ERR_CONFIG, "cluster key");
	fabric_setting = "sockets";
	refused(DPI_ERR_CONFIG, "never used");
	fabric_setting = "another";
	refused(DPI_ERR_CONFIG, "no such provider");
	fabric_setting = NULL;
	listen_setting = "nonsense";
	refused(DPI_ERR_CONFIG, "neither a numeric address");
	listen_setting = "10.0.0.1";
	refused(DPI_ERR_CONFIG, "only loopback");
	listen_setting = "127.0.0.9";
	mock_reset();
	refused(DPI_ERR_UNSUPPORTED, "no provider");
	/* and what works */
	listen_setting = "127.0.0.1";
	prepare(&a, 0);
	CHECK_TP(table()->probe(&a.core, reason, sizeof reason));
	listen_setting = "lo";
	CHECK_TP(table()->probe(&a.core, reason, sizeof reason));
	listen_setting = NULL;
	mock.ip = 0x0a000001;
	a.core.secure = 1;
	CHECK_TP(table()->probe(&a.core, reason, sizeof reason));
	mock_reset();
	mock.provider = "shm";
	refused(DPI_ERR_UNSUPPORTED, "no provider");
	mock_reset();
	mock.second = "net";
	fabric_setting = "net"; /* only by name */
	prepare(&a, 0);
	CHECK_TP(table()->probe(&a.core, reason, sizeof reason));
	fabric_setting = NULL;
	CHECK_TP_ERROR(table()->open(&a.core, table(), &a.tp), DPI_ERR_ARGUMENT, "over another");
}

/* Probed with a key and DPI_LISTEN: 0, or the class of why not. */
static int probe_keyed(const char *listen)
{
	char reason[256];
	listen_setting = listen;
	prepare(&a, 0);
	a.core.secure = 1;
	int error = table()->probe(&a.core, reason, sizeof reason);
	listen_setting = NULL;
	return error;
}

/* Where other hosts are to reach it, and what DPI_LISTEN says of addresses that have no IP. */
TEST(provider_has_a_place, "", 0)
{
	mock_reset();
	CHECK_INT(probe_keyed(NULL), ==, DPI_ERR_UNSUPPORTED); /* loopback reaches this host only */
	CHECK_TP(probe_keyed("127.0.0.1")); /* which may be asked for */
	mock.ip6 = "::1";
	CHECK_INT(probe_keyed(NULL), ==, DPI_ERR_UNSUPPORTED);
	CHECK_TP(probe_keyed("::1"));
	mock.ip6 = "fe80::5";
	CHECK_INT(probe_keyed(NULL), ==, DPI_ERR_UNSUPPORTED);
	CHECK_INT(probe_keyed("fe80::5"), ==, DPI_ERR_UNSUPPORTED);
	mock.ip6 = "fd00::5";
	CHECK_TP(probe_keyed(NULL));
	CHECK_TP(probe_keyed("fd00::5"));
	CHECK_INT(probe_keyed("fd00::6"), ==, DPI_ERR_UNSUPPORTED);
	mock.ip6 = NULL;
	mock.ip = 0x0a000001;
	CHECK_TP(probe_keyed("10.0.0.1"));
	CHECK_INT(probe_keyed("10.0.0.2"), ==, DPI_ERR_UNSUPPORTED);
	mock.no_ip = 1;
	mock.nic = true;
	CHECK_TP(probe_keyed(NULL));
	CHECK_TP(probe_keyed("10.0.0.2"));
	refused(DPI_ERR_UNSUPPORTED, "without a cluster key");
	mock.link_down = true;
	CHECK_INT(probe_keyed(NULL), ==, DPI_ERR_UNSUPPORTED);
}

static int near(void *self, const char *device)
{
	(void)self;
	return !strcmp(device, "mlx5_2") ? 1 : !strcmp(device, "mlx5_0") ? 0 : -1;
}

/* The address that DPI_LISTEN says goes before what has none, nearer or not; and that before an address without a device. */
TEST(provider_is_where_it_is_to_listen, "", 0)
{
	for (int near_first = 0; near_first < 2; near_first++)
		for (int nic = 0; nic < 2; nic++) {
			mock_reset();
			mock.provider = "one";
			mock.second = "two";
			mock.ip = 0x0a000001;
			mock.no_ip = 1;
			mock.nic = true;
			mock.second_without_nic = !nic;
			mock.device[0] = near_first ? "mlx5_2" : "mlx5_0";
			mock.device[1] = near_first ? "mlx5_0" : "mlx5_2";
			for (int listen = 0; listen < 2; listen++) {
				listen_setting = listen ? "10.0.0.1" : NULL;
				prepare(&a, 0);
				a.core.near = near;
				a.core.secure = 1;
				CHECK_TP(table()->open(&a.core, NULL, &a.tp));
				CHECK_STR(a.tp->choice.name, nic && (listen || !near_first) ? "two" : "one");
				table()->close(a.tp);
				listen_setting = NULL;
			}
		}
	CHECK_INT(mock.objects, ==, 0);
}

/* Whether there is a device, and how it is called: by its own name, or else its domain's. */
TEST(device_is_told, "", 0)
{
	for (int i = 0; i < 3; i++) {
		DPI_Tp_Attr attr = { .size = sizeof attr };
		mock_reset();
		mock.nic = i > 0;
		if (i > 1) mock.device[0] = "mlx5_2";
		CHECK_TP(open_node(&a, 0));
		CHECK_TP(table()->query(a.tp, &attr));
		CHECK_STR(attr.device, i > 1 ? "mlx5_2" : i ? "lo" : "");
		close_both();
	}
}

/* Of two devices the near one, wherever it stands in libfabric's list; the choice says so. */
TEST(provider_is_near, "", 0)
{
	static const char *const devices[][2] = { { "mlx5_0", "mlx5_2" }, { "mlx5_2", "mlx5_0" }, { "mlx5_0", "unknown" }, { "unknown", "mlx5_0" },
						  { "mlx5_0", NULL } };
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		mock_reset();
		mock.provider = "one";
		mock.second = "two";
		mock.nic = true;
		memcpy(mock.device, devices[i], sizeof mock.device);
		prepare(&a, 0);
		a.core.near = near;
		CHECK_TP(table()->open(&a.core, NULL, &a.tp));
		CHECK_STR(a.tp->choice.name, i % 2 ? "one" : "two");
		CHECK(!!strstr(a.tp->choice.reason, ": a device near this process") == (i < 2));
		table()->close(a.tp);
		a.core.size = offsetof(DPI_Tp_Core, near); /* a core of an earlier library */
		CHECK_TP(table()->open(&a.core, NULL, &a.tp));
		CHECK_STR(a.tp->choice.name, "one");
		table()->close(a.tp);
	}
	CHECK_INT(mock.objects, ==, 0);
}
