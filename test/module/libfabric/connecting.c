/* SPDX-License-Identifier: Apache-2.0
 * connecting.c: opening, connecting, and strangers at the door. */
#include "sides.h"

#include <unistd.h>

/* Every call that open makes, once refused: an error, a sentence, and nothing left behind. */
TEST(open_fails, "", 0)
{
	static const enum mock_call calls[] = { MOCK_FABRIC, MOCK_DOMAIN, MOCK_CQ_OPEN, MOCK_EQ_OPEN, MOCK_AV_OPEN, MOCK_ENDPOINT, MOCK_BIND,
						MOCK_ENABLE, MOCK_GETNAME, MOCK_PASSIVE, MOCK_LISTEN, MOCK_RECV, MOCK_REGISTER, MOCK_GETWAIT };
	for (int type = 1; type <= 2; type++)
		for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
			for (int after = 0; after < 3; after++) {
				mock_reset();
				mock.types = type;
				mock.mr_mode = FI_MR_LOCAL;
				mock.fail[calls[i]] = FI_ENOMEM;
				mock.after[calls[i]] = after;
				sentence[0] = 0;
				int error = open_node(&a, 0);
				if (error) CHECK(*sentence);
				else table()->close(a.tp);
				a.tp = NULL;
				bool timed = calls[i] == MOCK_CQ_OPEN || calls[i] == MOCK_GETWAIT; /* without descriptors it sleeps by a timer */
				if (!after && mock.calls[calls[i]] && !timed) CHECK(error);
				CHECK_INT(mock.objects, ==, 0);
			}
}

TEST(connect_fails, "", 0)
{
	static const enum mock_call calls[] = { MOCK_ENDPOINT, MOCK_BIND, MOCK_ENABLE, MOCK_RECV, MOCK_CONNECT, MOCK_ACCEPT, MOCK_AV_INSERT, MOCK_SEND,
						MOCK_GETNAME };
	for (int type = 1; type <= 2; type++)
		for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
			for (int after = 0; after < 3; after++) {
				mock_reset();
				mock.types = type;
				open_both();
				mock.fail[calls[i]] = FI_ENODEV;
				mock.after[calls[i]] = after;
				sentence[0] = 0;
				int error = connect_node(&a, &b, 30000);
				if (error) CHECK(*sentence);
				mock.fail[calls[i]] = 0;
				turns(10);
				error = connect_node(&a, &b, LONG); /* all is well again */
				CHECK_TP(error);
				close_both();
			}
}

TEST(connect_refused, "", 0)
{
	for (int type = 1; type <= 2; type++) {
		uint8_t address[DPI_TP_ADDRESS_MAX];
		DPI_Tp_Peer peer = { .node = 1, .incarnation = 1001, .same_host = 1, .address = address, .address_size = sizeof address };
		mock_reset();
		mock.types = type;
		open_both();
		CHECK_TP(table()->address(b.tp, address, &peer.address_size));
		CHECK_TP_ERROR(table()->connect(a.tp, 1, &peer, 1000, &a.to), DPI_ERR_ARGUMENT, "one lane");
		peer.incarnation++;
		CHECK_TP_ERROR(table()->connect(a.tp, 0, &peer, 1000, &a.to), DPI_ERR_PEER, "earlier or later");
		peer.incarnation--;
		address[32] ^= 1; /* of the provider's name */
		CHECK_TP_ERROR(table()->connect(a.tp, 0, &peer, 1000, &a.to), DPI_ERR_PEER, "name one of them");
		address[32] ^= 1;
		address[16] ^= 1; /* of the token: no answer */
		mock.idle = others;
		CHECK_TP_ERROR(table()->connect(a.tp, 0, &peer, type == 1 ? LONG : 20000, &a.to), type == 1 ? DPI_ERR_PEER : DPI_ERR_TIMEOUT, "node 1");
		address[16] ^= 1;
		((uint8_t *)&peer.incarnation)[0] ^= 1, address[8] ^= 1; /* another process's address, whose token is right */
		CHECK_TP_ERROR(table()->connect(a.tp, 0, &peer, LONG, &a.to), DPI_ERR_PEER, "another process");
		((uint8_t *)&peer.incarnation)[0] ^= 1, address[8] ^= 1;
		peer.node = 7;
		CHECK_TP_ERROR(table()->connect(a.tp, 0, &peer, LONG, &a.to), DPI_ERR_PEER, "another process answered");
		mock.idle = NULL;
		table()->close(b.tp);
		b.tp = NULL;
		peer.node = 1;
		sentence[0] = 0;
		int error = table()->connect(a.tp, 0, &peer, 20000, &a.to);
		CHECK(error == DPI_ERR_PEER || error == DPI_ERR_TIMEOUT);
		CHECK_HAS(sentence, "node 1");
		close_both();
	}
}

/* Who is connected to can have no more endpoints: both sides are told so, the log there of the provider's reason. */
TEST(endpoints_run_out, "", 0)
{
	for (int type = 1; type <= 2; type++) {
		mock_reset();
		mock.types = type;
		open_both();
		mock.fail[MOCK_ENDPOINT] = FI_ENOSPC;
		mock.after[MOCK_ENDPOINT] = 1; /* of the connecting side */
		warning[0] = 0;
		CHECK_TP_ERROR(connect_node(&a, &b, LONG), DPI_ERR_PEER, type == 1 ? "nobody listens" : "it can open no endpoint");
		CHECK_HAS(warning, "an endpoint for a peer that connects cannot be opened");
		CHECK_HAS(warning, "no room");
		mock.fail[MOCK_ENDPOINT] = 0;
		CHECK_TP(connect_node(&a, &b, LONG));
		close_both();
	}
}

/* A welcome that the provider does not take at once is overtaken by nothing. */
TEST(welcome_goes_first, "", 0)
{
	for (int times = 1; times < 6; times++) {
		mock_reset();
		mock.types = 2;
		open_both();
		mock.fail[MOCK_INJECT] = FI_EAGAIN;
		mock.times[MOCK_INJECT] = times;
		warnings = 0;
		CHECK_TP(connect_node(&a, &b, LONG));
		CHECK_INT(warnings, ==, 0);
		close_both();
	}
}

/* Where nobody takes the hello it is tried again less and less often. */
TEST(connect_is_patient, "", 0)
{
	mock_reset();
	mock.types = 2;
	open_both();
	mock.fail[MOCK_SEND] = FI_EAGAIN;
	CHECK_TP_ERROR(connect_node(&a, &b, 1000000), DPI_ERR_TIMEOUT, "in time");
	CHECK_INT(mock.calls[MOCK_SEND], <, 1500); /* every 200 µs would be 5000 */
	mock.fail[MOCK_SEND] = 0;
	close_both();
}

TEST(strangers, "", 0)
{
	uint8_t noise[300];
	mock_reset();
	mock.types = 1;
	start(PLAIN);
	mock_flood(100);
	for (int i = 0; i < 20; i++) turns(40);
	CHECK_INT(mock.calls[MOCK_REJECT], ==, 2 * (100 - STRANGERS));
	CHECK_TP(put(&a, 100, 0, NULL));
	CHECK_TP(flush(&a));
	close_both();
	mock_reset();
	mock.types = 2;
	start(PLAIN);
	for (size_t size = 0; size < sizeof noise; size += 13) {
		for (size_t i = 0; i < size; i++) noise[i] = (uint8_t)(i * size);
		noise[3] = (uint8_t)(size / 13 % WIRE_OPS); /* of kinds that there are */
		mock_spill(noise, size);
		turns(3);
	}
	CHECK_INT(a.lost + b.lost, ==, 0);
	CHECK_TP(put(&a, 100, 0, NULL));
	CHECK_TP(flush(&a));
	close_both();
}

/* A stranger's message takes a receive of a link away, and no message that is due: the link stays. */
TEST(a_stranger_fails_a_receive, "", 0)
{
	mock_reset();
	mock.types = 2;
	start(PLAIN);
	mock.complete[MOCK_RECV] = FI_ETRUNC;
	mock_spill(data, 100);
	for (int i = 0; i < 70; i++) {
		CHECK_TP(put(&a, 3000, 0, NULL));
		CHECK_TP(flush(&a));
		CHECK_TP(put(&b, 3000, 0, NULL));
		CHECK_TP(flush(&b));
		usleep(10000);
	}
	CHECK_INT(a.lost + b.lost, ==, 0);
	close_both();
}
