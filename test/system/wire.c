/* SPDX-License-Identifier: Apache-2.0
 * wire.c: the link between two RDMA devices is cut while records go over it, and joined again. After a second they go on. Else who appends
 * learns in time on whom it waits, nothing of what was flushed is lost, nothing comes twice or torn, and who comes after it appends over the
 * same wire.
 * Only where test/rdma-vm/run says how to cut it (RDMA_WIRE). */
#include "kit.h"

#define SECOND 1000000
enum { HOME, FIRST, NEXT = 3 }; /* ranks; those with odd numbers are at the other end of the wire */
enum life { BEFORE, AFTER };
enum { FLUSHED = 200, LATER = 200 }; /* records */

/* Nodes listen at the two devices' addresses in turn, so that what they say goes over the wire. */
static void between_devices(int rank, int ranks)
{
	char hosts[2][64];
	modules(rank, ranks);
	if (sscanf(getenv("RDMA_HOSTS"), "%63s %63s", hosts[0], hosts[1]) != 2) SKIP("RDMA_HOSTS has not two addresses");
	setenv("DPI_LISTEN", hosts[rank % 2], 1);
	setenv("DPI_KEY_FILE", getenv("RDMA_KEY_FILE"), 1);
}

static bool two_devices(void)
{
	return rdma() && getenv("RDMA_HOSTS") && getenv("RDMA_KEY_FILE") && getenv("RDMA_WIRE");
}

ENROL_IF(verbs, "DPI_TRANSPORT=verbs", between_devices, two_devices);

struct record {
	uint64_t life, number, check;
};

struct shared {
	_Atomic uint64_t flushed[2], appended[2]; /* of a life */
	_Atomic bool told, joined, over[2];
	_Atomic int64_t longest_us; /* of an append and its flush */
};

static void wire(const char *how)
{
	char command[300];
	snprintf(command, sizeof command, "%.200s %s", getenv("RDMA_WIRE"), how);
	if (system(command)) FAIL("%s", command);
}

static int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SECOND + t.tv_nsec / 1000;
}

/* Append and flush until it fails, or so many are flushed. */
static int append(struct shared *w, uint64_t life, uint64_t most, DPI_Buffer q)
{
	int error = DPI_SUCCESS;
	while (!error && w->flushed[life] < most) {
		int64_t begun = now_us();
		uint64_t n = w->appended[life];
		struct record r = { life, n, mix(life * 1000003 + n) };
		w->appended[life] = n + 1;
		error = DPI_Append(&r, sizeof r, q);
		if (!error) error = DPI_Flush_Buffer(q);
		if (!error) w->flushed[life] = n + 1;
		if (now_us() - begun > w->longest_us) w->longest_us = now_us() - begun;
	}
	return error;
}

static void appender(struct shared *w, uint64_t life)
{
	DPI_Context ctx;
	DPI_Buffer q;
	const char *text;
	DPI_Open_Attr a = DPI_OPEN_ATTR_INIT;
	a.timeout_us = 20 * SECOND;
	CHECK_DPI(DPI_Init(&ctx));
	CHECK_DPI(DPI_Open_Buffer("over the wire", &a, ctx, &q));
	if (life == BEFORE) {
		int error = append(w, life, UINT64_MAX, q);
		CHECK_DPI(DPI_Get_Error_Detail(&text));
		if (error != DPI_ERR_PEER && error != DPI_ERR_TIMEOUT) FAIL("when the wire is cut an append ends with %d: %s", error, text);
		CHECK_HAS(text, "node 0");
		w->told = true;
		AWAIT(w->joined);
		DPI_Close_Buffer(q); /* what it wrote after the last flush may be lost */
	} else {
		CHECK_DPI(append(w, life, LATER, q));
		CHECK_DPI(DPI_Close_Buffer(q));
	}
	w->over[life] = true;
	CHECK_DPI(DPI_Finalize(ctx));
}

/* Take what comes, until a life's records are there. */
static void take(uint64_t taken[2], enum life life, uint64_t until, DPI_Buffer q)
{
	DPI_Record record;
	struct record r;
	while (taken[life] < until) {
		int error = DPI_Next_Record(q, &record);
		if (error == DPI_ERR_TIMEOUT) continue; /* the case's deadline says how long */
		CHECK_DPI(error);
		CHECK_INT(record.size, ==, sizeof r);
		memcpy(&r, record.data, sizeof r);
		CHECK(r.life <= AFTER);
		CHECK_INT(r.number, ==, taken[r.life]);
		CHECK_INT(r.check, ==, mix(r.life * 1000003 + r.number));
		taken[r.life]++;
	}
}

static void play(int rank, const char *cut)
{
	struct shared *w = harness_shared();
	if (!two_devices()) SKIP("no RDMA devices between which a wire can be cut");
	if (rank != HOME) {
		unsetenv("DPI_NODE"); /* whoever comes gets a number */
		appender(w, rank == FIRST ? BEFORE : AFTER);
		return;
	}
	DPI_Context ctx;
	DPI_Buffer q;
	uint64_t taken[2] = { 0 };
	CHECK_DPI(DPI_Init(&ctx));
	CHECK_DPI(DPI_Create_Buffer("over the wire", DPI_NODE_SELF, NULL, ctx, &q));
	take(taken, BEFORE, FLUSHED, q);
	wire(cut);
	AWAIT(w->told);
	take(taken, BEFORE, w->flushed[BEFORE], q);
	wire("up");
	w->joined = true;
	harness_spawn_rank(NEXT);
	take(taken, AFTER, LATER, q);
	AWAIT(w->over[BEFORE] && w->over[AFTER]);
	CHECK_DPI(DPI_Close_Buffer(q));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(wire_dark, "", 2, .nodes = -1, .deadline_s = 120)
{
	play(rank, "dark");
}

/* Cut for a second, which is less than the device goes on trying: one append waits that long, and nobody learns of it otherwise. */
static void through_the_dark(struct shared *w)
{
	DPI_Context ctx;
	DPI_Buffer q;
	CHECK_DPI(DPI_Init(&ctx));
	CHECK_DPI(DPI_Open_Buffer("over the wire", NULL, ctx, &q));
	while (!w->joined) CHECK_DPI(append(w, BEFORE, w->flushed[BEFORE] + 1, q));
	CHECK_DPI(append(w, BEFORE, w->flushed[BEFORE] + LATER, q));
	CHECK_DPI(DPI_Close_Buffer(q));
	w->over[BEFORE] = true;
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(wire_dark_for_a_second, "", 2, .nodes = -1, .deadline_s = 120)
{
	struct shared *w = harness_shared();
	DPI_Context ctx;
	DPI_Buffer q;
	uint64_t taken[2] = { 0 };
	if (!two_devices()) SKIP("no RDMA devices between which a wire can be cut");
	if (rank != HOME) {
		through_the_dark(w);
		return;
	}
	CHECK_DPI(DPI_Init(&ctx));
	CHECK_DPI(DPI_Create_Buffer("over the wire", DPI_NODE_SELF, NULL, ctx, &q));
	take(taken, BEFORE, FLUSHED, q);
	w->longest_us = 0;
	wire("dark");
	usleep(SECOND);
	wire("up");
	AWAIT(w->longest_us > SECOND / 2);
	w->joined = true;
	while (!w->over[BEFORE]) take(taken, BEFORE, w->flushed[BEFORE], q);
	take(taken, BEFORE, w->flushed[BEFORE], q);
	CHECK_INT(taken[BEFORE], ==, w->appended[BEFORE]);
	CHECK_DPI(DPI_Close_Buffer(q));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* Cut for good with the ports down, which their devices say on standard error. Only if named: when soft-RoCE's connection manager sends
 * anything through a port that is down, the device connects nobody any more, rping neither, until it is made anew. */
TEST(port_down, "", 2, .nodes = -1, .expect_stderr = true, .deadline_s = 120, .only_named = true)
{
	play(rank, "down");
}
