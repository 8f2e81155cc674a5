/* SPDX-License-Identifier: Apache-2.0
 * libfabric_test.c: the libfabric transport over a provider that is played: first as it should be, then with every fault. */
#include <dpi.h>
#include <harness.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "mock.h"

const DPI_Transport *dpi_transport_1(void);

/* ---------------------------------------------------------------------------------------------- two nodes in a process */

struct op {
	int completions, error;
	uint64_t result;
};
struct node {
	DPI_Tp_Core core;
	DPI_Tp *tp;
	DPI_Tp_Endpoint *to; /* the other */
	DPI_Tp_Window *window;
	DPI_Tp_Key key;
	DPI_Tp_Remote *remote; /* the other's window */
	int lost, delivered;
	uint64_t rung;
	size_t at, size; /* when its bell rings, so much of data is to be there */
	char why[512];
	uint8_t memory[1 << 18] __attribute__((aligned(8)));
};
static struct node a, b;
static uint8_t data[1 << 18];
static char sentence[1024];
static const char *fabric_setting, *listen_setting;

static void core_complete(void *self, void *cookie, int error, uint64_t result)
{
	struct op *op = cookie;
	(void)self;
	op->completions++;
	op->error = error;
	op->result = result;
}
static void core_ring(void *self, int node, uint32_t bell)
{
	struct node *n = self;
	CHECK_INT(node, ==, -1);
	CHECK(!memcmp(n->memory + n->at, data, n->size)); /* a notification comes after the bytes that were put before it */
	if (bell < 64) n->rung |= UINT64_C(1) << bell; /* a peer may say anything; the core has fewer */
}
static void core_deliver(void *self, int node, const void *bytes, size_t size)
{
	struct node *n = self;
	int number;
	(void)node;
	if (size == sizeof number) { /* in the order in which they were sent */
		memcpy(&number, bytes, sizeof number);
		CHECK_INT(number, ==, n->delivered);
	}
	n->delivered++;
}
static void core_lost(void *self, int node, uint64_t incarnation, const char *text)
{
	struct node *n = self;
	(void)node, (void)incarnation;
	n->lost++;
	snprintf(n->why, sizeof n->why, "%s", text);
}
static int core_fail(void *self, int error, const char *format, ...)
{
	va_list args;
	(void)self;
	va_start(args, format);
	vsnprintf(sentence, sizeof sentence, format, args);
	va_end(args);
	return error;
}
static const char *core_setting(void *self, const char *name)
{
	(void)self;
	if (!strcmp(name, "FABRIC")) return fabric_setting;
	return !strcmp(name, "LISTEN") ? listen_setting : NULL;
}
static int warnings;
static void core_log(void *self, int level, const char *format, ...)
{
	va_list args;
	(void)self;
	warnings += level <= 1;
	printf("log %d: ", level);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

static const DPI_Transport *table(void)
{
	return dpi_transport_1();
}

static void prepare(struct node *n, int number)
{
	memset(n, 0, sizeof *n);
	n->core = (DPI_Tp_Core){ .abi = DPI_TP_ABI, .size = sizeof n->core, .self = n, .complete = core_complete, .ring = core_ring,
				 .deliver = core_deliver, .lost = core_lost, .fail_text = core_fail, .setting = core_setting, .log = core_log,
				 .node = number, .incarnation = 1000 + (uint64_t)number };
}

#define LARGE 100000 /* bytes, more than a message */
#define WORD_AT 120000 /* an offset beyond them */
#define LONG 100000000 /* µs, of what is to succeed */

#define CHECK_TP(call)                                                                                 \
	do {                                                                                           \
		int tp_e = (call);                                                                     \
		if (tp_e) FAIL("%s: %d: %s", #call, tp_e, sentence);                                   \
	} while (0)
#define CHECK_TP_ERROR(call, class, part)                                                              \
	do {                                                                                           \
		sentence[0] = 0;                                                                       \
		CHECK_INT(call, ==, class);                                                            \
		CHECK_HAS(sentence, part);                                                             \
	} while (0)

static void turn(void)
{
	if (a.tp) CHECK_TP(table()->progress(a.tp, 0, NULL));
	if (b.tp) CHECK_TP(table()->progress(b.tp, 0, NULL));
}
static void turns(int n)
{
	while (n--) turn();
}

static int open_node(struct node *n, int number)
{
	prepare(n, number);
	return table()->open(&n->core, NULL, &n->tp);
}

static void open_both(void)
{
	CHECK_TP(open_node(&a, 0));
	CHECK_TP(open_node(&b, 1));
}

static void close_both(void)
{
	if (a.tp) table()->close(a.tp);
	if (b.tp) table()->close(b.tp);
	a.tp = b.tp = NULL;
	CHECK_INT(mock.objects, ==, 0);
}

/* While one node waits in connect, the other has its turn. */
static void others(void)
{
	static bool inside;
	if (inside) return;
	inside = true;
	turn();
	inside = false;
}

static int connect_node(struct node *from, struct node *to, int64_t timeout_us)
{
	uint8_t address[DPI_TP_ADDRESS_MAX];
	DPI_Tp_Peer peer = { .node = to->core.node, .incarnation = to->core.incarnation, .same_host = 1, .address = address,
			     .address_size = sizeof address };
	CHECK_TP(table()->address(to->tp, address, &peer.address_size));
	mock.idle = others;
	int error = table()->connect(from->tp, 0, &peer, timeout_us, &from->to);
	mock.idle = NULL;
	return error;
}

static void expose(struct node *n, uint32_t access)
{
	DPI_Tp_Memory m = { .address = n->memory, .length = sizeof n->memory, .fd = -1, .access = access };
	CHECK_TP(table()->expose(n->tp, &m, &n->window, &n->key));
}

static void attach(struct node *n, const struct node *to)
{
	void *direct;
	CHECK_TP(table()->attach(n->to, &to->key, sizeof n->memory, &n->remote, &direct));
}

/* Both open, connected, with a window each. */
static void start(uint32_t access)
{
	open_both();
	CHECK_TP(connect_node(&a, &b, LONG));
	CHECK_TP(connect_node(&b, &a, LONG));
	expose(&a, access);
	expose(&b, access);
	attach(&a, &b);
	attach(&b, &a);
}

#define ALL (DPI_TP_READ | DPI_TP_WRITE | DPI_TP_ATOMIC)
#define PLAIN (DPI_TP_READ | DPI_TP_WRITE)

static void fill(int seed)
{
	for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7 + i / 251 + (size_t)seed);
}

/* Post, again as long as it says so, and finish. */
#define DO(op, call)                                                                                   \
	do {                                                                                           \
		int do_e, do_n = 0;                                                                    \
		(op) = (struct op){ 0 };                                                               \
		while ((do_e = (call)) == DPI_ERR_AGAIN && do_n++ < 1000) turn();                      \
		while (do_e == DPI_TP_PENDING && !(op).completions && do_n++ < 2000) turn();           \
		CHECK(do_e != DPI_TP_PENDING || (op).completions == 1);                                \
		if (do_e != DPI_TP_PENDING) (op).error = do_e;                                         \
	} while (0)

static int put(struct node *n, size_t size, uint64_t offset, const DPI_Tp_Notify *notify)
{
	struct op op;
	struct iovec v[2] = { { data, size / 3 }, { data + size / 3, size - size / 3 } };
	DO(op, table()->put(n->remote, v, 2, offset, notify, 0, &op));
	return op.error;
}

static int flush(struct node *n)
{
	struct op op;
	DO(op, table()->flush(n->to, &op));
	return op.error;
}

static int get(struct node *n, void *to, size_t size, uint64_t offset)
{
	struct op op;
	struct iovec v = { to, size };
	DO(op, table()->get(n->remote, &v, 1, offset, &op));
	return op.error;
}

/* -------------------------------------------------------------------------------------------------------- as it should be */

static void move(uint32_t access)
{
	static uint8_t back[1 << 18];
	static const size_t sizes[] = { 1, 8, 100, 4096, 4097, 16320, 16384, 70001, 200000 };
	uint64_t word;
	struct op op;
	start(access);
	for (int round = 0; round < 2; round++) /* the second one with grants, if there are any */
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
			size_t size = sizes[i];
			DPI_Tp_Notify n = { .offset = sizeof b.memory - 8, .value = 100 * i + (size_t)round + 1, .bell = (uint32_t)i };
			fill((int)i + round);
			memset(b.memory, 0, sizeof b.memory);
			b.rung = 0;
			b.at = 8 + (i & 1);
			b.size = size;
			CHECK_TP(put(&a, size, 8 + (i & 1), &n));
			CHECK_TP(flush(&a));
			CHECK(!memcmp(b.memory + 8 + (i & 1), data, size));
			memcpy(&word, b.memory + sizeof b.memory - 8, 8);
			CHECK_INT(word, ==, n.value);
			CHECK_INT(b.rung, ==, UINT64_C(1) << i);
			memset(back, 0, sizeof back);
			CHECK_TP(get(&a, back, size, 8 + (i & 1)));
			CHECK(!memcmp(back, data, size));
		}
	if (access & DPI_TP_ATOMIC) {
		memset(b.memory, 0, 8);
		DO(op, table()->fetch_add(a.remote, 0, 5, &op.result, &op));
		CHECK(!op.error && op.result == 0);
		DO(op, table()->compare_swap(a.remote, 0, 5, 9, &op.result, &op));
		CHECK(!op.error && op.result == 5 && b.memory[0] == 9);
		CHECK_INT(mock.registered, ==, 0 + (mock.mr_mode & FI_MR_LOCAL ? mock.registered : 0));
	} else {
		CHECK(mock.calls[MOCK_WRITE] > 0 && mock.calls[MOCK_READ] > 0);
	}
	CHECK_TP(table()->send(a.to, "hello", 5, 0));
	turns(10);
	CHECK_INT(b.delivered, ==, 1);
	/* a window goes: its grants are taken back first */
	int error, n = 0;
	while ((error = table()->withdraw(b.window)) == DPI_ERR_AGAIN && n++ < 100) turn();
	CHECK_TP(error);
	CHECK_TP(put(&a, 100, 0, NULL)); /* nobody is harmed */
	CHECK_TP(put(&a, 50000, 0, NULL));
	CHECK_INT(get(&a, back, 100, 0), ==, DPI_ERR_DESTROYED);
	CHECK_INT(get(&a, back, 100000, 0), ==, DPI_ERR_DESTROYED);
	CHECK_TP(flush(&a));
	CHECK_TP(table()->detach(a.remote));
	table()->disconnect(a.to);
	turns(50);
	CHECK_INT(b.lost, ==, 1);
	CHECK_HAS(b.why, "has left");
	CHECK_TP_ERROR(put(&b, 10, 0, NULL), DPI_ERR_PEER, "has left");
	table()->disconnect(b.to);
	close_both();
}

/* Each kind of endpoint, order and way to register. */
TEST(moves_everything, "", 0)
{
	static const int modes[] = { 0, FI_MR_LOCAL, FI_MR_VIRT_ADDR | FI_MR_PROV_KEY, FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY };
	for (int type = 1; type <= 2; type++)
		for (int ordered = 0; ordered < 2; ordered++)
			for (size_t m = 0; m < 4; m++)
				for (int atomic = 0; atomic < 2; atomic++) {
					mock_reset();
					mock.types = type;
					mock.order = FI_ORDER_SAS | (ordered ? FI_ORDER_SAW : 0);
					mock.mr_mode = modes[m];
					if (m == 1) mock.inject = 0, mock.key_size = 4;
					if (m == 2) mock.message = 70000, mock.nic = true;
					if (m == 3) mock.iov_limit = 1, mock.tx_size = 16;
					move(atomic ? ALL : PLAIN);
				}
}

/* A provider completes receives in any order; what was sent is taken in the order in which it was, and a flush follows the puts before it. */
TEST(receives_in_any_order, "", 0)
{
	for (int type = 1; type <= 2; type++)
		for (int atomic = 0; atomic < 2; atomic++) {
			mock_reset();
			mock.types = type;
			mock.overtake = true;
			move(atomic ? ALL : PLAIN);
			mock_reset();
			mock.types = type;
			mock.overtake = true;
			start(atomic ? ALL : PLAIN);
			for (int i = 0; i < 1000; i++) { /* their numbers wrap */
				struct iovec v = { data, 3000 };
				int error;
				while ((error = table()->send(a.to, &i, sizeof i, i % 3 ? 0 : DPI_TP_MORE)) == DPI_ERR_AGAIN) turn();
				CHECK_TP(error);
				if (i % 10) continue;
				struct op op = { 0 };
				fill(i);
				while ((error = table()->put(a.remote, &v, 1, 0, NULL, 0, NULL)) == DPI_ERR_AGAIN) turn();
				CHECK_TP(error);
				while ((error = table()->flush(a.to, &op)) == DPI_ERR_AGAIN) turn();
				CHECK_INT(error, ==, DPI_TP_PENDING);
				while (!op.completions) turn();
				CHECK(!op.error && !memcmp(b.memory, data, 3000));
			}
			turns(20);
			CHECK_INT(b.delivered, ==, 1000);
			close_both();
		}
}

/* A write on its way, then a notification or a flush: neither says that it is there before it is. */
TEST(writes_land_late, "", 0)
{
	static const size_t sizes[] = { 0, 100, 5000, 70000 };
	for (int type = 1; type <= 2; type++)
		for (int order = 0; order < 2; order++)
			for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
				struct op first = { 0 }, second = { 0 }, flushed = { 0 };
				struct iovec v = { data, LARGE }, w = { data + LARGE, sizes[i] };
				DPI_Tp_Notify n = { .offset = DPI_TP_NO_OFFSET, .bell = 1 };
				int error;
				mock_reset();
				mock.types = type;
				mock.nic = true;
				mock.order = FI_ORDER_SAS | (order ? FI_ORDER_SAW : 0);
				start(PLAIN);
				CHECK_TP(put(&a, LARGE, 0, NULL)); /* asks for the grant */
				CHECK_TP(flush(&a));
				fill(9);
				memset(b.memory, 0, sizeof b.memory);
				b.size = LARGE + sizes[i];
				int before = mock.calls[MOCK_WRITE];
				CHECK_INT(table()->put(a.remote, &v, 1, 0, NULL, 0, &first), ==, DPI_TP_PENDING);
				CHECK_INT(mock.calls[MOCK_WRITE], ==, before + 1);
				if (sizes[i]) { /* else the flush follows at once */
					while ((error = table()->put(a.remote, &w, 1, LARGE, &n, 0, &second)) == DPI_ERR_AGAIN) turn();
					CHECK(!error || error == DPI_TP_PENDING);
				}
				for (int k = 0; k < 5; k++) CHECK_TP(table()->progress(b.tp, 0, NULL)); /* it takes what there is before the completion is read */
				mock.overtake = true;
				while ((error = table()->flush(a.to, &flushed)) == DPI_ERR_AGAIN) turn();
				CHECK_INT(error, ==, DPI_TP_PENDING);
				for (int k = 0; k < 5; k++) CHECK_TP(table()->progress(b.tp, 0, NULL));
				for (int k = 0; !flushed.completions && k < 1000; k++) turn();
				CHECK_INT(flushed.completions, ==, 1);
				CHECK(!flushed.error && !memcmp(b.memory, data, b.size));
				CHECK_INT(b.rung, ==, sizes[i] ? 2 : 0);
				close_both();
			}
}

/* A device writes pieces from 16 KiB on by itself. Without one, over connections, what fits into a message goes in one. */
TEST(writes_or_messages, "", 0)
{
	for (int type = 1; type <= 2; type++)
		for (int nic = 0; nic < 2; nic++) {
			bool writes = nic || type == 2;
			mock_reset();
			mock.types = type;
			mock.nic = nic;
			start(PLAIN);
			CHECK_TP(put(&a, LARGE, 0, NULL)); /* asks for the grant */
			CHECK_TP(flush(&a));
			turns(5);
			for (int i = 0; i < 3; i++) {
				size_t size = i < 2 ? (size_t)(i ? 65536 : 16384) : LARGE;
				int before = mock.calls[MOCK_WRITE], sent = mock.calls[MOCK_SEND];
				fill(i);
				CHECK_TP(put(&a, size, 8, NULL));
				CHECK_INT(mock.calls[MOCK_WRITE] - before, ==, writes || i == 2);
				CHECK_INT(mock.calls[MOCK_SEND] - sent, ==, !(writes || i == 2));
				CHECK_TP(flush(&a));
				CHECK(!memcmp(b.memory + 8, data, size));
			}
			close_both();
		}
}

/* What is posted together goes in one message; the answer to a flush goes along with what is posted next, or by itself a round later. */
TEST(goes_along, "", 0)
{
	struct op flushed[2] = { 0 };
	DPI_Tp_Notify n = { .offset = 64, .value = 7, .bell = 3 };
	struct iovec v = { data, 16 };
	fill(1);
	for (int alone = 0; alone < 2; alone++)
		for (int types = 1; types <= 2; types++) {
			mock_reset();
			mock.types = types;
			start(ALL);
			turns(3);
			memset(flushed, 0, sizeof flushed);
			int before = mock.calls[MOCK_SEND] + mock.calls[MOCK_INJECT];
			CHECK_TP(table()->put(a.remote, &v, 1, 0, &n, DPI_TP_MORE, NULL));
			CHECK_TP(table()->put(a.remote, &v, 1, 128, &n, DPI_TP_MORE, NULL));
			CHECK_INT(mock.calls[MOCK_SEND] + mock.calls[MOCK_INJECT], ==, before);
			CHECK_INT(table()->flush(a.to, &flushed[0]), ==, DPI_TP_PENDING);
			CHECK_INT(mock.calls[MOCK_SEND] + mock.calls[MOCK_INJECT], ==, before + 1);
			CHECK_TP(table()->progress(b.tp, 0, NULL));
			CHECK(!memcmp(b.memory, data, 16) && !memcmp(b.memory + 128, data, 16) && b.rung == 8);
			CHECK_INT(mock.calls[MOCK_SEND] + mock.calls[MOCK_INJECT], ==, before + 1);
			CHECK_INT(table()->arm(b.tp, 0), ==, DPI_ERR_AGAIN);
			if (alone) CHECK_TP(table()->progress(b.tp, 0, NULL));
			else CHECK_TP(table()->put(b.remote, &v, 1, 0, &n, 0, NULL));
			CHECK_INT(mock.calls[MOCK_SEND] + mock.calls[MOCK_INJECT], ==, before + 2);
			CHECK_TP(table()->progress(a.tp, 0, NULL));
			CHECK_INT(flushed[0].completions, ==, 1);
			CHECK_INT(flushed[0].error, ==, DPI_SUCCESS);
			/* one that the program leaves without a successor goes with the next round */
			CHECK_TP(table()->put(a.remote, &v, 1, 256, &n, DPI_TP_MORE, NULL));
			CHECK_INT(table()->arm(a.tp, 0), ==, DPI_ERR_AGAIN);
			turns(2);
			CHECK(!memcmp(b.memory + 256, data, 16));
			close_both();
		}
}

TEST(sleeps, "", 0)
{
	mock_reset();
	start(PLAIN);
	int fd, n = 0;
	CHECK_TP(table()->get_fd(a.tp, 0, &fd));
	while (table()->arm(a.tp, 0) == DPI_ERR_AGAIN && n++ < 100) turn();
	CHECK_TP(table()->arm(a.tp, 0));
	CHECK_TP(put(&b, 8, 0, NULL));
	close_both();
	mock_reset();
	mock.no_fd = true;
	start(PLAIN);
	DPI_Tp_Attr attr = { .size = sizeof attr };
	CHECK_TP(table()->query(a.tp, &attr));
	CHECK(attr.capabilities & DPI_TP_FD);
	CHECK(!(attr.capabilities & (DPI_TP_PASSIVE | DPI_TP_LAST_BYTE_LAST)));
	struct pollfd p = { .events = POLLIN };
	CHECK_TP(table()->get_fd(b.tp, 0, &p.fd));
	for (int round = 0; round < 40; round++) { /* each time it is woken, be there something to do or not */
		n = 0;
		while (table()->arm(b.tp, 0) == DPI_ERR_AGAIN && n++ < 100) turn();
		CHECK_INT(poll(&p, 1, 60000), ==, 1);
		if (round % 8 == 7) {
			int events;
			CHECK_TP(put(&a, 8, 0, NULL));
			CHECK_TP(table()->progress(b.tp, 0, &events));
			CHECK_INT(events, >, 0);
		}
	}
	CHECK_TP(flush(&a));
	close_both();
	mock_reset();
	mock.no_fd = true;
	mock.types = 2;
	start(PLAIN);
	CHECK_TP(put(&a, 8, 0, NULL));
	CHECK_TP(flush(&a));
	close_both();
}

/* Endpoints come and go while a process sleeps: no provider is asked to wait for one that is closed. */
TEST(sleeps_after_a_close, "", 0)
{
	for (int type = 1; type <= 2; type++) {
		mock_reset();
		mock.types = type;
		start(PLAIN);
		table()->disconnect(a.to);
		turns(10);
		for (int n = 0; table()->arm(a.tp, 0) == DPI_ERR_AGAIN && n < 100; n++) turn();
		CHECK_TP(table()->arm(a.tp, 0));
		CHECK_INT(mock.stale, ==, 0);
		table()->disconnect(b.to);
		close_both();
	}
}

/* ------------------------------------------------------------------------------------------------------ the provider */

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
	mock.mr_mode = FI_MR_ENDPOINT;
	refused(DPI_ERR_UNSUPPORTED, "no provider");
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

/* Every call that open makes, once refused: an error, a sentence, and nothing left behind. */
TEST(open_fails, "", 0)
{
	static const enum mock_call calls[] = { MOCK_FABRIC, MOCK_DOMAIN, MOCK_CQ_OPEN, MOCK_EQ_OPEN, MOCK_AV_OPEN, MOCK_ENDPOINT, MOCK_BIND,
						MOCK_ENABLE, MOCK_GETNAME, MOCK_PASSIVE, MOCK_LISTEN, MOCK_RECV, MOCK_REGISTER };
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
				if (!after && mock.calls[calls[i]] && calls[i] != MOCK_CQ_OPEN) CHECK(error);
				CHECK_INT(mock.objects, ==, 0);
			}
}

/* ---------------------------------------------------------------------------------------------------------- connecting */

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

/* ------------------------------------------------------------------------------------------------------------- faults */

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

/* Credits: a peer that takes nothing is sent no more than it has buffers for, and all arrives when it goes on. */
TEST(credits_run_out, "", 0)
{
	struct op op;
	struct iovec v = { data, 64 };
	int taken = 0;
	mock_reset();
	start(PLAIN);
	while (table()->put(a.remote, &v, 1, (uint64_t)taken * 64, NULL, 0, &op) != DPI_ERR_AGAIN) {
		CHECK_INT(++taken, <=, CREDITS);
		table()->progress(a.tp, 0, NULL);
	}
	CHECK_INT(taken, ==, CREDITS);
	turns(10);
	CHECK_TP(put(&a, 64, 0, NULL));
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

/* A peer that lies: bits of its messages change on their way, their numbers too, but not the tag, which it knows. Nothing but the link is harmed. */
static uint64_t lies;
static unsigned told;
static void tamper(uint8_t *bytes, size_t size)
{
	lies = lies * 6364136223846793005u + 1442695040888963407u;
	if ((lies >> 33) % 8 || size < 24) return;
	size_t words = size / 8 < 8 ? size / 8 : 8, word = (lies >> 40) % words;
	if (word == 1) bytes[WIRE_NUMBER_AT] ^= (uint8_t)(1 << (lies >> 60) % 8);
	else bytes[8 * word + (lies >> 50) % 8] ^= (uint8_t)(1 << (lies >> 60) % 8);
	told++;
}

TEST(a_peer_lies, "", 0)
{
	static struct op ops[12];
	static uint8_t back[40000];
	unsigned ended = 0;
	lies = 1;
	for (int round = 0; round < 300; round++) {
		memset(ops, 0, sizeof ops);
		mock_reset();
		mock.types = 1 + round % 2;
		start(round % 3 ? ALL : PLAIN);
		mock.tamper = tamper;
		int posted[12] = { 0 };
		for (int i = 0; i < 12; i++) {
			struct iovec v = { data, (size_t)(i % 2 ? 20000 : 300) }, w = { back, v.iov_len };
			DPI_Tp_Notify n = { .offset = 64, .value = 1, .bell = 3 };
			switch (i % 4) {
			case 0: posted[i] = table()->put(a.remote, &v, 1, 0, &n, 0, &ops[i]); break;
			case 1: posted[i] = table()->get(a.remote, &w, 1, 0, &ops[i]); break;
			case 2: posted[i] = table()->flush(a.to, &ops[i]); break;
			case 3: posted[i] = table()->fetch_add(a.remote, 8, 1, &ops[i].result, &ops[i]); break;
			}
			turn();
		}
		turns(30);
		CHECK(a.lost <= 1 && b.lost <= 1);
		ended += a.lost || b.lost;
		mock.tamper = NULL;
		table()->disconnect(a.to);
		table()->disconnect(b.to);
		for (int i = 0; i < 12; i++) CHECK_INT(ops[i].completions, ==, posted[i] == DPI_TP_PENDING);
		close_both();
	}
	CHECK(told && ended);
}

TEST(taken_back, "", 0)
{
	static uint8_t back[100000];
	struct op puts[3], gets[3];
	struct iovec v = { data, 100000 }, w = { back, sizeof back };
	memset(puts, 0, sizeof puts);
	memset(gets, 0, sizeof gets);
	mock_reset();
	start(ALL);
	mock.hold = true;
	for (int i = 0, posted = 0; !posted && i < 20; i++) posted = table()->put(a.remote, &v, 1, 0, NULL, 0, &puts[0]);
	for (int i = 0; i < 3; i++) {
		if (i) CHECK_INT(table()->put(a.remote, &v, 1, 0, NULL, 0, &puts[i]), ==, DPI_TP_PENDING);
		CHECK_INT(table()->get(a.remote, &w, 1, 0, &gets[i]), ==, DPI_TP_PENDING);
	}
	CHECK_TP(table()->cancel(a.to, &puts[1]));
	CHECK_TP(table()->cancel(a.to, &gets[1]));
	CHECK_TP(table()->cancel(a.to, &gets[1])); /* it is gone */
	mock.hold = false;
	mock_release();
	turns(300);
	CHECK(puts[0].completions == 1 && puts[2].completions == 1 && gets[0].completions == 1 && gets[2].completions == 1);
	CHECK(puts[1].completions == 0 && gets[1].completions == 0);
	CHECK_INT(a.lost + b.lost, ==, 0);
	close_both();
}
