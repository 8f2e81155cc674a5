/* SPDX-License-Identifier: Apache-2.0
 * sides.c: two transports and their cores. */
#include "sides.h"

#include <stdarg.h>

const DPI_Transport *dpi_transport_1(void);

struct node a, b, third;
uint8_t data[1 << 18];
char sentence[1024];
const char *fabric_setting, *listen_setting;
int warnings;
char warning[1024];

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
static void core_log(void *self, int level, const char *format, ...)
{
	char text[sizeof warning];
	va_list args;
	(void)self;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	printf("log %d: %s\n", level, text);
	if (level > 1) return;
	warnings++;
	memcpy(warning, text, sizeof warning);
}

const DPI_Transport *table(void)
{
	return dpi_transport_1();
}

void prepare(struct node *n, int number)
{
	memset(n, 0, sizeof *n);
	n->core = (DPI_Tp_Core){ .abi = DPI_TP_ABI, .size = sizeof n->core, .self = n, .complete = core_complete, .ring = core_ring,
				 .deliver = core_deliver, .lost = core_lost, .fail_text = core_fail, .setting = core_setting, .log = core_log,
				 .node = number, .incarnation = 1000 + (uint64_t)number };
}

void turn(void)
{
	if (a.tp) CHECK_TP(table()->progress(a.tp, 0, NULL));
	if (b.tp) CHECK_TP(table()->progress(b.tp, 0, NULL));
	if (third.tp) CHECK_TP(table()->progress(third.tp, 0, NULL));
}
void turns(int n)
{
	while (n--) turn();
}

int open_node(struct node *n, int number)
{
	prepare(n, number);
	return table()->open(&n->core, NULL, &n->tp);
}

void open_both(void)
{
	CHECK_TP(open_node(&a, 0));
	CHECK_TP(open_node(&b, 1));
}

void close_both(void)
{
	if (a.tp) table()->close(a.tp);
	if (b.tp) table()->close(b.tp);
	if (third.tp) table()->close(third.tp);
	a.tp = b.tp = third.tp = NULL;
	CHECK_INT(mock.objects, ==, 0);
}

void others(void)
{
	static bool inside;
	if (inside) return;
	inside = true;
	turn();
	inside = false;
}

int connect_node(struct node *from, struct node *to, int64_t timeout_us)
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

void expose(struct node *n, uint32_t access)
{
	DPI_Tp_Memory m = { .address = n->memory, .length = sizeof n->memory, .fd = -1, .access = access };
	CHECK_TP(table()->expose(n->tp, &m, &n->window, &n->key));
}

void attach(struct node *n, const struct node *to)
{
	void *direct;
	CHECK_TP(table()->attach(n->to, &to->key, sizeof n->memory, &n->remote, &direct));
}

void start(uint32_t access)
{
	open_both();
	CHECK_TP(connect_node(&a, &b, LONG));
	CHECK_TP(connect_node(&b, &a, LONG));
	expose(&a, access);
	expose(&b, access);
	attach(&a, &b);
	attach(&b, &a);
}

void fill(int seed)
{
	for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7 + i / 251 + (size_t)seed);
}

int put(struct node *n, size_t size, uint64_t offset, const DPI_Tp_Notify *notify)
{
	struct op op;
	struct iovec v[2] = { { data, size / 3 }, { data + size / 3, size - size / 3 } };
	DO(op, table()->put(n->remote, v, 2, offset, notify, 0, &op));
	return op.error;
}

int flush(struct node *n)
{
	struct op op;
	DO(op, table()->flush(n->to, &op));
	return op.error;
}

int get(struct node *n, void *to, size_t size, uint64_t offset)
{
	struct op op;
	struct iovec v = { to, size };
	DO(op, table()->get(n->remote, &v, 1, offset, &op));
	return op.error;
}
