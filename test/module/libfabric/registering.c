/* SPDX-License-Identifier: Apache-2.0
 * registering.c: memory that the provider is to know of, and that it refuses. */
#include "sides.h"

static const int of_endpoints[] = { FI_MR_ENDPOINT | FI_MR_ALLOCATED, FI_MR_ENDPOINT | FI_MR_ALLOCATED | FI_MR_PROV_KEY,
				    FI_MR_ENDPOINT | FI_MR_VIRT_ADDR };
enum { MODES = sizeof of_endpoints / sizeof *of_endpoints };

/* By writes and reads of the provider, or, if it knows no region, by messages. */
static void move(struct node *from, struct node *to, int seed)
{
	static uint8_t back[LARGE];
	fill(seed);
	for (int round = 0; round < 2; round++) { /* the first one asks for the grant */
		CHECK_TP(put(from, LARGE, 0, NULL));
		CHECK_TP(flush(from));
		CHECK(!memcmp(to->memory, data, LARGE));
		CHECK_TP(get(from, back, LARGE, 0));
		CHECK(!memcmp(back, data, LARGE));
	}
}

/* One window and two peers: a region for each where a region belongs to an endpoint, gone with the link or the window; else one. */
TEST(regions_belong_to_links, "", 0)
{
	for (int type = 1; type <= 2; type++)
		for (int m = -1; m < MODES; m++) {
			mock_reset();
			mock.types = type;
			mock.nic = true;
			mock.mr_mode = m < 0 ? 0 : of_endpoints[m];
			start(PLAIN);
			CHECK_TP(open_node(&third, 2));
			CHECK_TP(connect_node(&third, &b, LONG));
			attach(&third, &b);
			move(&a, &b, 1);
			CHECK_INT(mock.registered, ==, 1);
			move(&third, &b, 2);
			CHECK_INT(mock.registered, ==, m < 0 ? 1 : 2);
			CHECK_INT(mock.calls[MOCK_MR_ENABLE], ==, m < 0 ? 0 : 2);
			CHECK_INT(mock.calls[MOCK_WRITE], ==, 2);
			CHECK_INT(mock.calls[MOCK_READ], >=, 2);
			table()->disconnect(third.to);
			turns(20);
			CHECK_INT(mock.registered, ==, 1);
			move(&a, &b, 3);
			int error, n = 0;
			while ((error = table()->withdraw(b.window)) == DPI_ERR_AGAIN && n++ < 100) turn();
			CHECK_TP(error);
			CHECK_INT(mock.registered, ==, 0);
			CHECK_INT(a.lost + b.lost, ==, 0);
			close_both();
		}
}

/* A region that is refused, not bound or not enabled is no region: nothing of it stays, the log says it, and messages do. */
TEST(regions_are_refused, "", 0)
{
	static const enum mock_call calls[] = { MOCK_REGISTER, MOCK_MR_BIND, MOCK_MR_ENABLE };
	for (int type = 1; type <= 2; type++)
		for (int m = 0; m < MODES; m++)
			for (int c = 0; c < 3; c++)
				for (int code = 0; code < 2; code++) {
					mock_reset();
					mock.types = type;
					mock.nic = true;
					mock.mr_mode = of_endpoints[m];
					mock.fail[calls[c]] = code ? FI_ENOMEM : FI_ENOSPC;
					start(PLAIN);
					CHECK_TP(open_node(&third, 2));
					CHECK_TP(connect_node(&third, &b, LONG));
					attach(&third, &b);
					warning[0] = 0;
					move(&a, &b, m);
					move(&third, &b, m + 1);
					CHECK_HAS(warning, "a window of 262144 bytes could not be registered");
					CHECK_HAS(warning, code ? "ulimit -l" : "no room");
					CHECK_INT(mock.calls[MOCK_WRITE] + mock.calls[MOCK_READ], ==, 0);
					CHECK_INT(mock.calls[calls[c]], ==, 1); /* not again for each peer */
					CHECK_INT(mock.registered, ==, 0);
					CHECK_INT(a.lost + b.lost, ==, 0);
					close_both();
				}
}

/* A link ends, by its peer's doing or by the connection's, with regions bound to its endpoint, which cannot be closed before them. */
TEST(regions_go_first, "", 0)
{
	for (int type = 1; type <= 2; type++)
		for (int how = 0; how < 3; how++) {
			mock_reset();
			mock.types = type;
			mock.nic = true;
			mock.mr_mode = of_endpoints[1];
			start(PLAIN);
			move(&a, &b, 1);
			move(&b, &a, 2);
			CHECK_INT(mock.registered, ==, 2);
			if (how == 0) table()->disconnect(a.to);
			if (how == 1) mock.fail[MOCK_CQ_READ] = FI_ENODEV;
			turns(20);
			mock.fail[MOCK_CQ_READ] = 0;
			CHECK_INT(a.lost + b.lost, ==, how == 2 ? 0 : how + 1);
			CHECK_INT(mock.registered, ==, how == 2 ? 2 : 0);
			close_both(); /* with the links still open, in the end */
			CHECK_INT(mock.registered, ==, 0);
		}
}
