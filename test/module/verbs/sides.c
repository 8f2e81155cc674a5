/* SPDX-License-Identifier: Apache-2.0
 * sides.c: two transports and their cores. */
#include "sides.h"

#include <dlfcn.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct side a, b, third;
const DPI_Transport *dpi_transport_1(void);

const DPI_Transport *verbs(void)
{
	return dpi_transport_1();
}

static void on_complete(void *self, void *cookie, int error, uint64_t result)
{
	struct side *s = self;
	struct op *o = cookie;
	if (o->completions++) FAIL("completed twice");
	o->error = error;
	o->result = result;
	if (s->disconnect_on == o) {
		s->disconnect_on = NULL;
		verbs()->disconnect(s->to);
		s->to = NULL;
	}
}

static void on_ring(void *self, int node, uint32_t bell)
{
	struct side *s = self;
	CHECK_INT(node, ==, -1);
	s->rung++;
	s->bell = bell;
}

static void on_deliver(void *self, int node, const void *bytes, size_t size)
{
	struct side *s = self;
	CHECK_INT(node, ==, !s->core.node);
	s->messages++;
	s->message_size = size;
	memcpy(s->message, bytes, size);
}

static void on_lost(void *self, int node, uint64_t incarnation, const char *sentence)
{
	struct side *s = self;
	(void)incarnation;
	s->lost++;
	s->lost_node = node;
	snprintf(s->lost_sentence, sizeof s->lost_sentence, "%s", sentence);
}

static int on_fail(void *self, int error, const char *format, ...)
{
	struct side *s = self;
	va_list args;
	va_start(args, format);
	vsnprintf(s->sentence, sizeof s->sentence, format, args);
	va_end(args);
	return error;
}

static const char *on_setting(void *self, const char *name)
{
	const struct side *s = self;
	if (!strcmp(name, "MULTICAST") && s->multicast) return s->multicast;
	if (!strcmp(name, "CLUSTER") && s->cluster) return s->cluster;
	return !strcmp(name, "LISTEN") && s->listen ? s->listen : "";
}

static int on_near(void *self, const char *device)
{
	const struct side *s = self;
	return s->near ? s->near(device) : -1;
}

static void on_log(void *self, int level, const char *format, ...)
{
	struct side *s = self;
	size_t used = strlen(s->log);
	va_list args;
	(void)level;
	if (used > sizeof s->log / 2) used = 0;
	va_start(args, format);
	int n = vsnprintf(s->log + used, sizeof s->log - used, format, args);
	va_end(args);
	snprintf(s->log + used + n, sizeof s->log - used - (size_t)n, "\n");
}

static void init(struct side *s, int node)
{
	*s = (struct side){ .core = { DPI_TP_ABI, sizeof s->core, s, on_complete, on_ring, on_deliver, on_lost, on_fail, on_setting, on_log, node,
				      1000 + (uint64_t)node, 0, on_near } };
}

void sides_init(void)
{
	mock_reset();
	init(&a, 0);
	init(&b, 1);
	init(&third, 2);
}

int side_open(struct side *s)
{
	s->sentence[0] = 0;
	int error = verbs()->open(&s->core, NULL, &s->tp);
	s->opened = !error;
	return error;
}

static void must_open(struct side *s)
{
	if (side_open(s)) FAIL("%s", s->sentence);
}

void sides_open(void)
{
	must_open(&a);
	must_open(&b);
}

void side_close(struct side *s)
{
	if (s->opened) verbs()->close(s->tp);
	s->opened = 0;
	s->to = NULL;
}

void sides_end(void)
{
	side_close(&a);
	side_close(&b);
	side_close(&third);
	CHECK_INT(mock.handles, ==, 0);
	CHECK_INT(mock.members, ==, 0);
	CHECK_INT(mock.regions, ==, 0);
	CHECK_INT(mock.queue_pairs, ==, 0);
	CHECK_INT(mock.ids, ==, 0);
	CHECK_INT(mock.overruns, ==, 0);
}

/* Where a side waits inside a call, the other one, whose turn it would be, is played here. */
static struct side *yield_to;

int ppoll(struct pollfd *p, nfds_t n, const struct timespec *t, const sigset_t *signals)
{
	(void)p, (void)n, (void)t, (void)signals;
	if (a.opened) verbs()->progress(a.tp, 0, NULL);
	if (b.opened) verbs()->progress(b.tp, 0, NULL);
	if (third.opened) verbs()->progress(third.tp, 0, NULL);
	return 0;
}

/* The clock of this process, which stands still when it is told to. */
int clock_gettime(clockid_t clock, struct timespec *t)
{
	if (!mock.frozen_us) return (int)syscall(SYS_clock_gettime, clock, t);
	*t = (struct timespec){ mock.frozen_us / 1000000, mock.frozen_us % 1000000 * 1000 };
	return 0;
}

/* Some of the system's files are what a test says. */
FILE *fopen(const char *path, const char *mode)
{
	static FILE *(*real)(const char *, const char *);
	const char *text = NULL;
	if (mock.status_file && !strcmp(path, "/proc/self/status")) text = mock.status_file;
	if (mock.rate_file && !strcmp(path, "/sys/class/infiniband/mock1/ports/1/rate")) text = mock.rate_file;
	if (text) return fmemopen((char *)(uintptr_t)text, strlen(text), "r");
	if (!real) *(void **)&real = dlsym(RTLD_NEXT, "fopen");
	return real(path, mode);
}

int sched_yield(void)
{
	if (yield_to && yield_to->opened) verbs()->progress(yield_to->tp, 0, NULL);
	return 0;
}

int side_connect(struct side *from, struct side *to, int64_t timeout_us)
{
	uint8_t address[DPI_TP_ADDRESS_MAX];
	uint32_t size = sizeof address;
	CHECK_INT(verbs()->address(to->tp, address, &size), ==, DPI_SUCCESS);
	DPI_Tp_Peer peer = { .node = to->core.node, .incarnation = to->core.incarnation, .same_host = 1, .address = address, .address_size = size };
	return verbs()->connect(from->tp, 0, &peer, timeout_us, &from->to);
}

void sides_progress(void)
{
	int quiet = 0;
	while (quiet < 2 * POLL_EVERY) {
		int p = 0, q = 0, r = 0;
		if (a.opened) verbs()->progress(a.tp, 0, &p);
		if (b.opened) verbs()->progress(b.tp, 0, &q);
		if (third.opened) verbs()->progress(third.tp, 0, &r);
		quiet = p || q || r ? 0 : quiet + 1;
	}
}

void sides_connect(void)
{
	if (side_connect(&a, &b, LONG)) FAIL("%s", a.sentence);
	if (side_connect(&b, &a, LONG)) FAIL("%s", b.sentence);
	sides_progress();
}

void sides_start(void)
{
	sides_init();
	sides_open();
	sides_connect();
}

int window_expose(struct side *owner, struct window *w, uint32_t access)
{
	DPI_Tp_Memory m = { .address = w->memory, .length = sizeof w->memory, .fd = -1, .access = access };
	return verbs()->expose(owner->tp, &m, &w->window, &w->key);
}

void window_share(struct side *owner, struct side *other, struct window *w, uint32_t access)
{
	void *direct = w;
	if (window_expose(owner, w, access)) FAIL("%s", owner->sentence);
	yield_to = owner;
	if (verbs()->attach(other->to, &w->key, sizeof w->memory, &w->remote, &direct)) FAIL("%s", other->sentence);
	yield_to = NULL;
	CHECK(!direct);
	sides_progress();
}

int finish(struct op *o)
{
	if (o->posted != DPI_TP_PENDING) return o->posted;
	if (!o->completions) sides_progress();
	return o->completions ? o->error : -1;
}

int put(struct side *s, DPI_Tp_Remote *r, const void *data, size_t size, uint64_t offset, const DPI_Tp_Notify *n)
{
	static struct op o;
	struct iovec v = { (void *)(uintptr_t)data, size };
	(void)s;
	POST(&o, verbs()->put(r, &v, size ? 1 : 0, offset, n, 0, &o));
	return finish(&o);
}

int get(struct side *s, DPI_Tp_Remote *r, void *data, size_t size, uint64_t offset)
{
	static struct op o;
	struct iovec v = { data, size };
	(void)s;
	POST(&o, verbs()->get(r, &v, 1, offset, &o));
	return finish(&o);
}

int flush(struct side *s)
{
	static struct op o;
	POST(&o, verbs()->flush(s->to, &o));
	return finish(&o);
}
