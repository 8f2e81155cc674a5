/* SPDX-License-Identifier: Apache-2.0
 * failures.c: every completion, post, event and registration fails, with every code. */
#include "sides.h"

#include <unistd.h>

static const struct {
	int code, class;
	const char *part; /* of what it means */
} codes[] = {
	{ FI_ENOMEM, DPI_ERR_MEMORY, "ulimit -l" },
	{ FI_ENOSPC, DPI_ERR_LIMIT, "no room" },
	{ FI_EMFILE, DPI_ERR_LIMIT, "ulimit -n" },
	{ FI_EPERM, DPI_ERR_TRANSPORT, "permissions" },
	{ FI_EACCES, DPI_ERR_TRANSPORT, "access to this memory" },
	{ FI_ENODATA, DPI_ERR_UNSUPPORTED, "no provider" },
	{ FI_ENODEV, DPI_ERR_TRANSPORT, "device is gone" },
	{ FI_ENOSYS, DPI_ERR_UNSUPPORTED, "cannot do it" },
	{ FI_EOPNOTSUPP, DPI_ERR_UNSUPPORTED, "cannot do it" },
	{ FI_EINVAL, DPI_ERR_TRANSPORT, "argument" },
	{ FI_EADDRINUSE, DPI_ERR_TRANSPORT, "in use" },
	{ FI_EADDRNOTAVAIL, DPI_ERR_TRANSPORT, "does not have the address" },
	{ FI_ENETDOWN, DPI_ERR_TRANSPORT, "network is down" },
	{ FI_ENETUNREACH, DPI_ERR_PEER, "no route" },
	{ FI_EHOSTUNREACH, DPI_ERR_PEER, "no route" },
	{ FI_EHOSTDOWN, DPI_ERR_PEER, "host is down" },
	{ FI_ECONNREFUSED, DPI_ERR_PEER, "nobody listens" },
	{ FI_ECONNRESET, DPI_ERR_PEER, "died" },
	{ FI_ECONNABORTED, DPI_ERR_PEER, "died" },
	{ FI_ENOTCONN, DPI_ERR_PEER, "died" },
	{ FI_ESHUTDOWN, DPI_ERR_PEER, "died" },
	{ EPIPE, DPI_ERR_PEER, "died" },
	{ FI_EIO, DPI_ERR_PEER, "link is down" },
	{ FI_ETIMEDOUT, DPI_ERR_PEER, "did not answer" },
	{ FI_ETRUNC, DPI_ERR_PEER, "more than a message holds" },
	{ FI_EMSGSIZE, DPI_ERR_PEER, "larger than the provider takes" },
	{ FI_ENOKEY, DPI_ERR_PEER, "not registered any more" },
	{ FI_EKEYREJECTED, DPI_ERR_PEER, "not registered any more" },
	{ FI_ENORX, DPI_ERR_PEER, "no receive buffers" },
	{ FI_EOVERRUN, DPI_ERR_PEER, "more came" },
	{ FI_ECANCELED, DPI_ERR_PEER, "gave it up" },
	{ FI_EOTHER, DPI_ERR_PEER, "does not say more" },
	{ 77, DPI_ERR_TRANSPORT, "FI_LOG_LEVEL" }, /* one that is not in the table */
};
#define CODES (sizeof codes / sizeof *codes)

TEST(codes_mean_something, "", 0)
{
	for (size_t i = 0; i < CODES; i++)
		for (int sign = -1; sign <= 1; sign += 2) {
			const struct fabric_error *e = dpi_fabric_error(sign * codes[i].code);
			CHECK_INT(e->class, ==, codes[i].class);
			CHECK_HAS(e->meaning, codes[i].part);
		}
}

/* A link that is lost leaves nothing behind that keeps its node awake. */
static void check_rest(void)
{
	int n = 0;
	while (table()->arm(a.tp, 0) == DPI_ERR_AGAIN && n++ < 100) turn();
	CHECK_TP(table()->arm(a.tp, 0));
}

/* Each completion with each error: what is under way completes, the loss is said once. */
TEST(completions_fail, "", 0)
{
	static const enum mock_call calls[] = { MOCK_SEND, MOCK_WRITE, MOCK_READ, MOCK_RECV };
	for (int type = 1; type <= 2; type++)
		for (size_t k = 0; k < 4; k++)
			for (size_t i = 0; i < CODES; i++) {
				static uint8_t back[LARGE];
				struct op op[4];
				struct iovec v = { data, LARGE }, w = { back, LARGE };
				memset(op, 0, sizeof op);
				mock_reset();
				mock.types = type;
				start(PLAIN);
				CHECK_TP(put(&a, LARGE, 0, NULL)); /* asks for the grant */
				CHECK_TP(flush(&a));
				mock.complete[calls[k]] = codes[i].code;
				int first = table()->put(a.remote, &v, 1, 0, NULL, 0, &op[0]);
				int second = table()->get(a.remote, &w, 1, 0, &op[1]);
				v.iov_len = 3000;
				table()->put(a.remote, &v, 1, 0, NULL, 0, &op[2]);
				int third = table()->flush(a.to, &op[3]);
				turns(100);
				bool missed = type == 2 && calls[k] == MOCK_RECV; /* perhaps a stranger's: known when a later one waits for it too long */
				for (int n = 0; missed && !a.lost && n < 1000; n++) {
					usleep(10000);
					turns(40);
				}
				CHECK_INT(op[0].completions, ==, first == DPI_TP_PENDING);
				CHECK_INT(op[1].completions, ==, second == DPI_TP_PENDING);
				CHECK_INT(op[3].completions, ==, third == DPI_TP_PENDING);
				CHECK_INT(a.lost + b.lost, >=, 1 + missed);
				CHECK(a.lost <= 1 && b.lost <= 1);
				CHECK_HAS(a.lost ? a.why : b.why, "node");
				if (type != 2 || calls[k] != MOCK_RECV) CHECK(strstr(a.why, codes[i].part) || strstr(b.why, codes[i].part));
				turns(20);
				check_rest();
				table()->disconnect(a.to);
				table()->disconnect(b.to);
				close_both();
			}
}

/* The completion queue itself fails, as when the device is removed: all that is under way completes, and nobody connects any more. */
TEST(device_removed, "", 0)
{
	static uint8_t back[LARGE];
	for (int type = 1; type <= 2; type++) {
		struct op op[2] = { 0 };
		struct iovec w = { back, LARGE };
		mock_reset();
		mock.types = type;
		start(PLAIN);
		mock.hold = true;
		CHECK_TP(put(&a, 8, 0, NULL));
		CHECK_INT(table()->get(a.remote, &w, 1, 0, &op[0]), ==, DPI_TP_PENDING);
		CHECK_INT(table()->flush(a.to, &op[1]), ==, DPI_TP_PENDING);
		mock.fail[MOCK_CQ_READ] = FI_ENODEV;
		turns(5);
		for (int i = 0; i < 2; i++) {
			CHECK_INT(op[i].completions, ==, 1);
			CHECK_INT(op[i].error, ==, DPI_ERR_PEER);
		}
		CHECK(a.lost == 1 && b.lost == 1);
		CHECK_HAS(a.why, "device is gone");
		CHECK_TP_ERROR(put(&a, 8, 0, NULL), DPI_ERR_PEER, "device is gone");
		table()->disconnect(a.to);
		sentence[0] = 0;
		CHECK_INT(connect_node(&a, &b, LONG), ==, DPI_ERR_PEER);
		CHECK_HAS(sentence, "device is gone");
		mock.fail[MOCK_CQ_READ] = 0;
		table()->disconnect(b.to);
		turns(5);
		mock_release();
		close_both();
	}
}

/* An event of a connection that is open tells an error. */
TEST(events_fail, "", 0)
{
	for (size_t i = 0; i < CODES; i++) {
		mock_reset();
		mock.types = 1;
		start(PLAIN);
		mock_event(codes[i].code);
		turns(2 * EQ_EVERY);
		CHECK(a.lost == 1 && b.lost == 1);
		CHECK(strstr(a.why, codes[i].part) || strstr(b.why, codes[i].part));
		check_rest();
		close_both();
	}
}

TEST(posts_fail, "", 0)
{
	static const enum mock_call calls[] = { MOCK_SEND, MOCK_INJECT, MOCK_WRITE, MOCK_READ, MOCK_RECV };
	for (int type = 1; type <= 2; type++)
		for (size_t k = 0; k < 5; k++)
			for (int code = 0; code < 2; code++) {
				static uint8_t back[LARGE];
				mock_reset();
				mock.types = type;
				start(PLAIN);
				CHECK_TP(put(&a, LARGE, 0, NULL));
				CHECK_TP(flush(&a));
				turns(5);
				mock.fail[calls[k]] = code ? FI_EPERM : FI_ECONNRESET;
				int e1 = put(&a, LARGE, 0, NULL), e2 = get(&a, back, LARGE, 0), e3 = put(&a, 100, 0, NULL), e4 = flush(&a);
				turns(10);
				CHECK(e1 == DPI_ERR_PEER || !e1);
				CHECK(e2 == DPI_ERR_PEER || !e2);
				CHECK(e3 == DPI_ERR_PEER || !e3);
				CHECK(e4 == DPI_ERR_PEER || !e4);
				if (!(a.lost + b.lost)) FAIL("type %d, call %d, code %d: %d %d %d %d: nobody is lost", type, (int)k, code, e1, e2, e3, e4);
				CHECK(a.lost <= 1 && b.lost <= 1);
				mock.fail[calls[k]] = 0;
				close_both();
			}
}

/* A full queue is no error: later it goes. */
TEST(queue_full, "", 0)
{
	static const enum mock_call calls[] = { MOCK_SEND, MOCK_INJECT, MOCK_WRITE, MOCK_READ };
	for (int type = 1; type <= 2; type++)
		for (size_t k = 0; k < 4; k++) {
			static uint8_t back[LARGE];
			mock_reset();
			mock.types = type;
			start(PLAIN);
			CHECK_TP(put(&a, LARGE, 0, NULL));
			CHECK_TP(flush(&a));
			for (int i = 0; i < 20; i++) {
				fill(i);
				mock.fail[calls[k]] = FI_EAGAIN;
				mock.times[calls[k]] = 5;
				DPI_Tp_Notify n = { .offset = WORD_AT, .value = (uint64_t)i + 1, .bell = DPI_TP_NO_BELL };
				CHECK_TP(put(&a, LARGE, 0, &n));
				CHECK_TP(put(&a, 8, LARGE, NULL));
				CHECK_TP(flush(&a));
				CHECK(!memcmp(b.memory, data, LARGE) && b.memory[WORD_AT] == i + 1);
				CHECK_TP(get(&a, back, LARGE, 0));
				CHECK(!memcmp(back, data, LARGE));
			}
			CHECK_INT(a.lost + b.lost, ==, 0);
			close_both();
		}
}

/* For ever full with nothing under way: there is nobody. */
TEST(nobody_takes_anything, "", 0)
{
	mock_reset();
	mock.types = 2;
	start(PLAIN);
	mock.fail[MOCK_SEND] = mock.fail[MOCK_INJECT] = FI_EAGAIN;
	for (int i = 0; i < 600 && !a.lost; i++) {
		turns(40);
		usleep(10000);
	}
	CHECK_INT(a.lost, ==, 1);
	CHECK_HAS(a.why, "taken nothing");
	mock.fail[MOCK_SEND] = mock.fail[MOCK_INJECT] = 0;
	close_both();
}

TEST(connection_ends, "", 0)
{
	struct op op = { 0 };
	struct iovec v = { data, 200000 };
	mock_reset();
	mock.types = 1;
	start(ALL);
	int posted = DPI_SUCCESS;
	for (int i = 0; !posted && i < 10; i++) posted = table()->put(a.remote, &v, 1, 0, NULL, 0, &op);
	CHECK_INT(posted, ==, DPI_TP_PENDING); /* the credits were used up */
	mock_cut();
	turns(100);
	CHECK(op.completions == 1);
	CHECK_INT(a.lost, ==, 1);
	CHECK_INT(b.lost, ==, 1);
	CHECK_HAS(a.why, "node 1");
	close_both();
}

/* No registration: everything goes by messages. */
TEST(registration_refused, "", 0)
{
	for (int local = 0; local < 2; local++) {
		mock_reset();
		mock.mr_mode = local ? FI_MR_LOCAL : 0;
		start(PLAIN);
		if (local) {
			CHECK_TP(put(&a, LARGE, 0, NULL)); /* the grant is given; then the pieces are refused */
			CHECK_TP(flush(&a));
		}
		mock.fail[MOCK_REGISTER] = FI_ENOMEM;
		for (int i = 0; i < 3; i++) {
			fill(i);
			CHECK_TP(put(&a, 100000, 0, NULL));
			CHECK_TP(flush(&a));
			CHECK(!memcmp(b.memory, data, 100000));
		}
		if (!local) CHECK_INT(mock.calls[MOCK_WRITE], ==, 0);
		close_both();
	}
}
