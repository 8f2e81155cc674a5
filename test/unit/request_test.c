/* SPDX-License-Identifier: Apache-2.0
 * request_test.c: src/memory/request.c: operations over a transport that completes when it likes, or never: on a region
 * whose memory lies in this process but is reached by posts only. */
#include "unit.h"

#include <sys/eventfd.h>

#include "buffer.h"
#include "loop_state.h"
#include "request.h"

#define SIZE 4096u
#define PENDING 64

/* ----------------------------------------------------------------------------------------------------- transport */

enum op_kind { PUT, GET, ADD, SWAP, FLUSH };

struct pending {
	enum op_kind kind;
	struct iovec iov;
	uint64_t offset, operand, expected;
	struct dpi_operation *op;
	int64_t due;
	int error;
};

static struct net {
	DPI_Transport table;
	struct dpi_carrier carrier;
	uint8_t memory[SIZE];
	struct pending pending[PENDING]; /* in the order posted; under the carrier's lock, as all that follows */
	int count;
	struct draws d;
	int64_t latest;	/* ns until a completion, at most */
	int at_once, refuse, fail; /* of 16 posts, so many are done at once, refused, end with an error */
	bool stuck, cannot_cancel, strict; /* strict: what is cancelled never completes */
	uint64_t posts, refusals, completions, cancels, disconnects;
} net;

static struct dpi_context ctx;
static struct dpi_peer home;

static uint64_t carry_out(const struct pending *p)
{
	uint64_t word = 0;
	uint8_t *at = net.memory + p->offset;
	if (p->kind == PUT) memcpy(at, p->iov.iov_base, p->iov.iov_len);
	if (p->kind == GET) memcpy(p->iov.iov_base, at, p->iov.iov_len);
	if (p->kind == ADD || p->kind == SWAP) memcpy(&word, at, sizeof word);
	if (p->kind == ADD) memcpy(at, &(uint64_t){ word + p->operand }, sizeof word);
	if (p->kind == SWAP && word == p->expected) memcpy(at, &p->operand, sizeof word);
	return word;
}

static void raise_event(void)
{
	uint64_t one = 1;
	CHECK_INT(write(net.carrier.fd, &one, sizeof one), ==, sizeof one);
}

static int post(struct pending p, uint64_t *result)
{
	net.posts++;
	if (net.count == PENDING || (int)draw_below(&net.d, 16) < net.refuse) {
		net.refusals++;
		return DPI_ERR_AGAIN;
	}
	if (!net.stuck && (int)draw_below(&net.d, 16) < net.at_once) {
		uint64_t before = carry_out(&p);
		if (result) *result = before;
		return DPI_SUCCESS;
	}
	p.due = dpi_now() + (net.latest ? (int64_t)draw_below(&net.d, (uint64_t)net.latest) : 0);
	p.error = (int)draw_below(&net.d, 16) < net.fail ? DPI_ERR_TRANSPORT : DPI_SUCCESS;
	net.pending[net.count++] = p;
	raise_event();
	return DPI_TP_PENDING;
}

static int net_put(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *n,
		   uint32_t flags, void *cookie)
{
	(void)r, (void)n, (void)flags;
	CHECK_INT(count, ==, 1);
	return post((struct pending){ .kind = PUT, .iov = *iov, .offset = offset, .op = cookie }, NULL);
}

static int net_get(DPI_Tp_Remote *r, const struct iovec *iov, int count, uint64_t offset, void *cookie)
{
	(void)r;
	CHECK_INT(count, ==, 1);
	return post((struct pending){ .kind = GET, .iov = *iov, .offset = offset, .op = cookie }, NULL);
}

static int net_add(DPI_Tp_Remote *r, uint64_t offset, uint64_t operand, uint64_t *result, void *cookie)
{
	(void)r;
	return post((struct pending){ .kind = ADD, .offset = offset, .operand = operand, .op = cookie }, result);
}

static int net_swap(DPI_Tp_Remote *r, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result, void *cookie)
{
	struct pending p = { .kind = SWAP, .offset = offset, .expected = expected, .operand = desired, .op = cookie };
	(void)r;
	return post(p, result);
}

static int net_flush(DPI_Tp_Endpoint *e, void *cookie)
{
	(void)e;
	return post((struct pending){ .kind = FLUSH, .op = cookie }, NULL);
}

/* Take one out, and complete it if that is wanted. */
static void end_one(int i, bool complete, int error)
{
	struct pending p = net.pending[i];
	memmove(&net.pending[i], &net.pending[i + 1], sizeof p * (size_t)(--net.count - i));
	if (!complete) return;
	uint64_t result = error ? 0 : carry_out(&p);
	net.completions++;
	p.op->done(p.op, error, result);
}

static int net_progress(DPI_Tp *tp, uint32_t lane, int *events)
{
	(void)tp, (void)lane, (void)events;
	for (int i = 0; i < net.count && !net.stuck;) {
		if (dpi_now() >= net.pending[i].due) end_one(i, true, net.pending[i].error);
		else i++;
	}
	uint64_t n;
	if ((!net.count || net.stuck) && read(net.carrier.fd, &n, sizeof n) != sizeof n) CHECK_INT(errno, ==, EAGAIN);
	return DPI_SUCCESS;
}

static int net_arm(DPI_Tp *tp, uint32_t lane)
{
	(void)tp, (void)lane;
	return DPI_SUCCESS;
}

static int net_cancel(DPI_Tp_Endpoint *e, void *cookie)
{
	(void)e;
	net.cancels++;
	if (net.cannot_cancel) return DPI_ERR_UNSUPPORTED;
	for (int i = 0; i < net.count; i++)
		if (net.pending[i].op == cookie) {
			end_one(i, !net.strict && draw_below(&net.d, 4) == 0, DPI_SUCCESS); /* some complete in the last moment */
			break;
		}
	return DPI_SUCCESS;
}

static void net_disconnect(DPI_Tp_Endpoint *e)
{
	(void)e;
	net.disconnects++;
	while (net.count) end_one(0, true, DPI_ERR_PEER);
}

static void start(void)
{
	net.d = draws_from(99);
	CHECK_INT(dpi_settings_read(&ctx.settings, NULL, 0), ==, DPI_SUCCESS);
	CHECK_INT(dpi_handles_open(), ==, DPI_SUCCESS);
	CHECK_INT(dpi_bells_create(&ctx.bells, 1), ==, DPI_SUCCESS);
	CHECK_INT(dpi_loop_open(&ctx), ==, DPI_SUCCESS);
	CHECK(dpi_context_set(&ctx));
	ctx.timeout_us = 40000000 * harness_slow();
	net.table = (DPI_Transport){ .put = net_put, .get = net_get, .fetch_add = net_add, .compare_swap = net_swap,
				     .flush = net_flush, .progress = net_progress, .arm = net_arm, .cancel = net_cancel,
				     .disconnect = net_disconnect };
	struct dpi_carrier *c = &net.carrier;
	*c = (struct dpi_carrier){ .table = &net.table, .ctx = &ctx, .name = "net", .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
				   .lock = PTHREAD_MUTEX_INITIALIZER, .needs_progress = true, .attr = { .max_put = 300 } };
	c->watch = (struct dpi_watch){ c->fd, dpi_loop_carrier_ready };
	ctx.carrier[ctx.carriers++] = c;
	home.node = 1;
	home.endpoint[0] = (DPI_Tp_Endpoint *)(void *)&net;
	CHECK_INT(dpi_loop_start(&ctx), ==, DPI_SUCCESS);
}

static void stop(void)
{
	dpi_loop_stop(&ctx);
	dpi_loop_close(&ctx);
	dpi_bells_close(&ctx.bells);
	dpi_settings_free(&ctx.settings);
	close(net.carrier.fd);
}

static DPI_Buffer open_region(struct dpi_buffer *b)
{
	memset(b, 0, sizeof *b);
	b->ctx = &ctx;
	b->home_peer = &home;
	b->shape.use = DPI_USE_REGION;
	b->timeout_us = ctx.timeout_us;
	b->bell = dpi_bell_pick(&ctx);
	b->region = (struct dpi_remote){ .ctx = &ctx, .peer = &home, .carrier = &net.carrier, .length = SIZE };
	snprintf(b->name, sizeof b->name, "r");
	b->handle = (DPI_Buffer)(uintptr_t)dpi_handle_open(DPI_HANDLE_BUFFER, b);
	return b->handle;
}

static void net_lock(void)
{
	pthread_mutex_lock(&net.carrier.lock);
}

static void net_unlock(void)
{
	pthread_mutex_unlock(&net.carrier.lock);
}

/* ----------------------------------------------------------------------------------------------------- any order */

#define UNDER_WAY 8

struct started {
	DPI_Request request;
	enum op_kind kind;
	uint8_t data[500], expected[500];
	size_t size;
	uint64_t previous, expected_word;
};

/* A share of the region, as it must be once everything started so far has happened. */
struct user {
	DPI_Buffer b;
	struct draws d;
	uint64_t from, size;
	uint8_t shadow[SIZE];
	struct started started[UNDER_WAY];
};

static void check_result(const struct started *s)
{
	if (s->kind == GET) CHECK(!memcmp(s->data, s->expected, s->size));
	if (s->kind == ADD || s->kind == SWAP) CHECK_INT(s->previous, ==, s->expected_word);
}

/* Start any operation; block: carry it out. */
static void start_any(struct user *u, struct started *s, bool block)
{
	DPI_Request *request = &s->request;
	uint64_t at = draw_below(&u->d, u->size), word = draw(&u->d);
	s->kind = (enum op_kind)draw_below(&u->d, 5);
	s->size = draw_below(&u->d, u->size - at + 1);
	if (s->size > sizeof s->data) s->size = sizeof s->data;
	if (s->kind == PUT) {
		fill(s->data, s->size, word);
		memcpy(u->shadow + at, s->data, s->size);
		CHECK_DPI(block ? DPI_Write(s->data, s->size, u->from + at, u->b)
				: DPI_Write_Nb(s->data, s->size, u->from + at, u->b, request));
	} else if (s->kind == GET) {
		memcpy(s->expected, u->shadow + at, s->size);
		CHECK_DPI(block ? DPI_Read(s->data, s->size, u->from + at, u->b)
				: DPI_Read_Nb(s->data, s->size, u->from + at, u->b, request));
	} else if (s->kind == ADD) {
		at = at / 8 * 8;
		memcpy(&s->expected_word, u->shadow + at, 8);
		memcpy(u->shadow + at, &(uint64_t){ s->expected_word + word }, 8);
		CHECK_DPI(block ? DPI_Fetch_Add(u->from + at, word, u->b, &s->previous)
				: DPI_Fetch_Add_Nb(u->from + at, word, u->b, &s->previous, request));
	} else if (s->kind == SWAP) {
		at = at / 8 * 8;
		memcpy(&s->expected_word, u->shadow + at, 8);
		uint64_t expected = draw_below(&u->d, 2) ? s->expected_word : word / 2;
		if (expected == s->expected_word) memcpy(u->shadow + at, &word, 8);
		CHECK_DPI(block ? DPI_Compare_Swap(u->from + at, expected, word, u->b, &s->previous)
				: DPI_Compare_Swap_Nb(u->from + at, expected, word, u->b, &s->previous, request));
	} else {
		CHECK_DPI(block ? DPI_Flush_Buffer(u->b) : DPI_Flush_Buffer_Nb(u->b, request));
	}
	if (block) check_result(s);
}

static void finish_any(struct user *u)
{
	DPI_Request requests[UNDER_WAY];
	size_t i = draw_below(&u->d, UNDER_WAY);
	int done = 1;
	bool any = false;
	for (int k = 0; k < UNDER_WAY; k++) any |= (requests[k] = u->started[k].request) != DPI_REQUEST_NULL;
	if (!any) return;
	switch (draw_below(&u->d, 3)) {
	case 0: CHECK_DPI(DPI_Wait_Any(requests, UNDER_WAY, 0, &i)); break;
	case 1: CHECK_DPI(DPI_Wait(&requests[i], 0)); break;
	default: CHECK_DPI(DPI_Test(&requests[i], &done));
	}
	if (!done) return;
	CHECK(requests[i] == DPI_REQUEST_NULL);
	if (u->started[i].request != DPI_REQUEST_NULL) check_result(&u->started[i]);
	u->started[i].request = DPI_REQUEST_NULL;
}

static void *use_region(void *arg)
{
	struct user *u = arg;
	for (int n = rounds(3000); n; n--) {
		struct started *s = &u->started[draw_below(&u->d, UNDER_WAY)], blocking;
		if (s->request == DPI_REQUEST_NULL) start_any(u, s, false);
		if (!draw_below(&u->d, 4)) start_any(u, &blocking, true);
		if (draw_below(&u->d, 2)) finish_any(u);
	}
	for (int i = 0; i < UNDER_WAY; i++) {
		CHECK_DPI(DPI_Wait(&u->started[i].request, 0));
		check_result(&u->started[i]);
	}
	return NULL;
}

static void use_it_all(int64_t latest, int64_t spin_ns)
{
	static struct user users[3];
	static struct dpi_buffer buffers[3];
	pthread_t t[3];
	ctx.spin_ns = spin_ns;
	start();
	net.latest = latest;
	net.at_once = 2;
	net.refuse = 1;
	for (int i = 0; i < 3; i++) {
		users[i] = (struct user){ .b = open_region(&buffers[i]), .d = draws_from(i), .from = 1024u * (unsigned)i, .size = 1024 };
		t[i] = start_thread(use_region, &users[i]);
	}
	for (int i = 0; i < 3; i++) end_thread(t[i]);
	CHECK_INT(net.count, ==, 0);
	CHECK_INT(net.cancels, ==, 0);
	CHECK(net.completions && net.refusals && net.posts > net.completions + net.refusals);
	for (int i = 0; i < 3; i++) CHECK(!memcmp(net.memory + users[i].from, users[i].shadow, users[i].size));
	for (int i = 0; i < 3; i++) CHECK(!buffers[i].first && !buffers[i].last && !buffers[i].busy);
	CHECK_INT(ctx.inside, ==, 0);
	stop();
}

TEST(requests_complete_in_any_order, "", 0)
{
	use_it_all(30000, 0);
}

TEST(requests_complete_at_once_or_while_spun_upon, "", 0)
{
	use_it_all(3000, 20000);
}

/* --------------------------------------------------------------------------------------------------------- errors */

TEST(request_ends_with_the_transports_error, "", 0)
{
	struct dpi_buffer buffer;
	uint8_t data[64] = { 1 };
	uint64_t word = 77;
	DPI_Request r;
	start();
	DPI_Buffer b = open_region(&buffer);
	net.fail = 16;
	CHECK_ERROR(DPI_Write(data, sizeof data, 0, b), DPI_ERR_TRANSPORT, "node 1 or transport net ended the operation");
	CHECK_ERROR(DPI_Read(data, sizeof data, 0, b), DPI_ERR_TRANSPORT, "transport net");
	CHECK_ERROR(DPI_Fetch_Add(0, 1, b, &word), DPI_ERR_TRANSPORT, "transport net");
	CHECK_DPI(DPI_Write_Nb(data, sizeof data, 0, b, &r));
	CHECK_ERROR(DPI_Wait(&r, 0), DPI_ERR_TRANSPORT, " ");
	CHECK(r == DPI_REQUEST_NULL && word == 77 && !net.memory[0]);
	CHECK_INT(buffer.stats.writes + buffer.stats.reads + buffer.stats.atomics, ==, 0);
	net.fail = 0;
	CHECK_DPI(DPI_Write(data, sizeof data, 0, b)); /* the next is not affected */
	CHECK_INT(net.memory[0], ==, 1);
	stop();
}

/* After a call has given up, nobody touches its memory. */
TEST(request_that_times_out_lets_go_of_memory, "", 0)
{
	struct dpi_buffer buffer;
	struct draws d = draws_from(rank);
	int late = 0, in_time = 0;
	start();
	DPI_Buffer b = open_region(&buffer);
	memset(net.memory, 1, SIZE);
	net.latest = 200000;
	for (int n = rounds(1000); n; n--) {
		uint8_t data[700];
		size_t size = 1 + draw_below(&d, sizeof data);
		CHECK_DPI(DPI_Set_Timeout((int64_t)draw_below(&d, 300) + 1, b)); /* about as long as it takes */
		int error = DPI_Read(data, size, 0, b);
		if (error) CHECK_ERROR(error, DPI_ERR_TIMEOUT, "node 1, home of buffer 'r', did not answer within the deadline");
		memset(data, 2, sizeof data);
		error ? late++ : in_time++;
		idle(&d, 400000);
		for (size_t i = 0; i < sizeof data; i++) CHECK_INT(data[i], ==, 2);
		net_lock();
		CHECK_INT(net.count, ==, 0);
		net_unlock();
	}
	CHECK(late && in_time);
	CHECK_INT(net.cancels, >=, late);
	stop();
}

TEST(request_whose_effect_cannot_be_known, "", 0)
{
	struct dpi_buffer buffer;
	uint64_t word, unknown = 0;
	start();
	DPI_Buffer b = open_region(&buffer);
	net.stuck = true;
	CHECK_DPI(DPI_Set_Timeout(1000, b));
	for (int i = 0; i < 20; i++) {
		int error = DPI_Fetch_Add(0, 1, b, &word); /* those that cancel completes have their result */
		if (error) CHECK_ERROR(error, DPI_ERR_UNKNOWN, "may or may not have happened");
		unknown += error != 0;
	}
	CHECK(unknown > 0);
	CHECK_INT(net.count, ==, 0);
	stop();
}

TEST(request_that_cannot_be_taken_back_costs_the_connection, "", 0)
{
	struct dpi_buffer buffer;
	uint8_t data[8];
	DPI_Request r;
	start();
	DPI_Buffer b = open_region(&buffer);
	net.stuck = net.cannot_cancel = true;
	CHECK_DPI(DPI_Set_Timeout(2000, b));
	CHECK_DPI(DPI_Read_Nb(data, sizeof data, 8, b, &r));
	CHECK_ERROR(DPI_Wait(&r, 1000), DPI_ERR_TIMEOUT, "the oldest waits on node 1, home of buffer 'r'");
	CHECK(r != DPI_REQUEST_NULL);
	CHECK_INT(net.cancels + net.disconnects, ==, 0); /* it stays under way */
	CHECK_ERROR(DPI_Read(data, sizeof data, 0, b), DPI_ERR_TIMEOUT, "did not answer"); /* behind the other: never posted */
	CHECK_INT(net.disconnects, ==, 0);
	dpi_request_close(&buffer);
	CHECK_INT(net.disconnects, ==, 1);
	CHECK_INT(net.count, ==, 0);
	CHECK(!home.endpoint[0] && home.endpoint_lost[0]);
	CHECK_INT(DPI_Wait(&r, 0), !=, DPI_SUCCESS);
	CHECK_ERROR(DPI_Read(data, sizeof data, 0, b), DPI_ERR_PEER, "could not be taken back");
	stop();
}

static void *die_later(void *arg)
{
	struct draws d = draws_from(1);
	nanosleep(&(struct timespec){ 0, (long)(3 * MS + (int64_t)draw_below(&d, 3 * MS)) }, NULL);
	snprintf(home.sentence, sizeof home.sentence, "node 1 was killed");
	atomic_store(&home.dead, true);
	for (uint32_t i = 0; i < DPI_BELLS; i++) dpi_bell_ring(&ctx.bells, i);
	return arg;
}

TEST(request_ends_when_the_peer_dies, "", 0)
{
	struct dpi_buffer buffer;
	uint8_t data[8];
	uint64_t word;
	DPI_Request r[2];
	start();
	DPI_Buffer b = open_region(&buffer);
	net.stuck = net.strict = true;
	CHECK_DPI(DPI_Write_Nb(data, sizeof data, 8, b, &r[0]));
	CHECK_DPI(DPI_Fetch_Add_Nb(0, 1, b, &word, &r[1]));
	pthread_t t = start_thread(die_later, NULL);
	int64_t begin = dpi_now();
	CHECK_ERROR(DPI_Read(data, sizeof data, 0, b), DPI_ERR_PEER, "node 1 was killed");
	CHECK_INT(dpi_now() - begin, <, 20 * SECOND * harness_slow()); /* not after the timeout */
	CHECK_ERROR(DPI_Wait(&r[0], 0), DPI_ERR_PEER, "node 1 was killed");
	CHECK_ERROR(DPI_Wait(&r[1], 0), DPI_ERR_PEER, "node 1 was killed");
	CHECK_INT(net.count, ==, 0);
	end_thread(t);
	stop();
}

TEST(request_is_cancelled_before_it_begins, "", 0)
{
	struct dpi_buffer buffer;
	uint8_t data[4] = { 1, 2, 3, 4 };
	DPI_Request r[4];
	int done;
	start();
	DPI_Buffer b = open_region(&buffer);
	net.stuck = true;
	for (int i = 0; i < 4; i++) CHECK_DPI(DPI_Write_Nb(&data[i], 1, (uint64_t)i, b, &r[i]));
	CHECK_DPI(DPI_Cancel(r[0])); /* under way: it has its own end */
	CHECK_DPI(DPI_Cancel(r[2]));
	CHECK_DPI(DPI_Cancel(r[3]));
	CHECK_DPI(DPI_Cancel(r[3]));
	CHECK_ERROR(DPI_Wait(&r[3], 0), DPI_ERR_CANCELLED, "before it began");
	CHECK_DPI(DPI_Test(&r[0], &done));
	CHECK(!done && r[0] != DPI_REQUEST_NULL);
	CHECK_DPI(DPI_Write_Nb(&data[3], 1, 3, b, &r[3])); /* the list is whole */
	net_lock();
	net.stuck = false;
	raise_event();
	net_unlock();
	CHECK_DPI(DPI_Wait(&r[3], 0));
	CHECK_DPI(DPI_Wait(&r[0], 0));
	CHECK_DPI(DPI_Wait(&r[1], 0));
	CHECK_ERROR(DPI_Test(&r[2], &done), DPI_ERR_CANCELLED, "cancelled");
	CHECK(!memcmp(net.memory, (uint8_t[]){ 1, 2, 0, 4 }, 4));
	CHECK_DPI(DPI_Wait(&r[2], 0)); /* a null request is done */
	CHECK_ERROR(DPI_Cancel(DPI_REQUEST_NULL), DPI_ERR_ARGUMENT, "NULL");
	r[0] = (DPI_Request)(uintptr_t)b;
	CHECK_ERROR(DPI_Wait(&r[0], 0), DPI_ERR_HANDLE, "a buffer handle was passed where a request is needed");
	stop();
}
