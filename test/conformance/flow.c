/* SPDX-License-Identifier: Apache-2.0
 * flow.c: flows by name: create, open, describe, seal, cancel, destroy, close. */
#include <signal.h>
#include <sys/wait.h>

#include "memory_kit.h"

static DPI_Schema pairs(const char *second)
{
	DPI_Schema s;
	DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { second, DPI_TYPE_INT64, 0, 0, 0, 0 } };
	CHECK_DPI(DPI_Create_Schema(columns, 2, &s));
	return s;
}

/* Attributes of a flow of pairs ("key", "value"), by hash of the key. */
static DPI_Flow_Attr attr_of(uint32_t targets)
{
	static const char *const key[] = { "key" };
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	a.schema = pairs("value");
	a.targets = targets;
	a.key = key;
	a.key_count = 1;
	return a;
}

static DPI_Flow make(const char *name, int create, DPI_Context ctx)
{
	DPI_Flow flow;
	DPI_Flow_Attr a = attr_of(3);
	a.create = create;
	CHECK_DPI(DPI_Create_Flow(name, &a, ctx, &flow));
	CHECK_DPI(DPI_Free_Schema(a.schema));
	return flow;
}

static DPI_Flow open_flow(const char *name, DPI_Context ctx)
{
	DPI_Flow flow;
	CHECK_DPI(DPI_Open_Flow(name, NULL, 0, ctx, &flow));
	return flow;
}

static DPI_Flow_Info flow_info(DPI_Flow flow)
{
	DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
	CHECK_DPI(DPI_Get_Flow_Info(flow, &info));
	return info;
}

#define UNTIL_FLOW(flow, condition) UNTIL(5 * SECOND, condition, DPI_Flow_Info info = flow_info(flow))

TEST(flow_names, "FL-100 FL-103 FL-106", 3, .once = true)
{
	DPI_Context ctx = join();
	DPI_Flow flow;
	DPI_Buffer buf;
	char name[32];
	snprintf(name, sizeof name, "by %d", rank);
	DPI_Flow mine = make(name, DPI_CREATE_NEW, ctx);
	snprintf(name, sizeof name, "buffer %d", rank);
	CREATE(name, rank, ctx, DPI_USE_QUEUE);
	harness_barrier();
	DPI_Flow_Attr a = attr_of(1);
	for (int by = 0; by < ranks; by++) {
		snprintf(name, sizeof name, "by %d", by);
		flow = open_flow(name, ctx);
		DPI_Flow_Info info = flow_info(flow);
		CHECK_STR(info.name, name);
		CHECK_INT(info.targets, ==, 3);
		CHECK_INT(info.bound + info.sources + info.closed, ==, 0);
		CHECK(!info.sealed && !info.failed);
		a.create = DPI_CREATE_NEW;
		CHECK_ERROR(DPI_Create_Flow(name, &a, ctx, &flow), DPI_ERR_EXISTS, name);
		CHECK(!flow);
		for (int create = 0; create < 2; create++) {
			DPI_Buffer_Attr b = { .size = sizeof b, .create = create };
			CHECK_ERROR(DPI_Create_Buffer(name, 0, &b, ctx, &buf), DPI_ERR_EXISTS, name);
		}
		snprintf(name, sizeof name, "buffer %d", by);
		for (a.create = 0; a.create < 2; a.create++)
			CHECK_ERROR(DPI_Create_Flow(name, &a, ctx, &flow), DPI_ERR_EXISTS, name);
		buf = open_buffer(name, ctx);
		CHECK_DPI(DPI_Append("x", 1, buf));
	}
	CHECK_INT(flow_info(mine).targets, ==, 3);
	CHECK_DPI(DPI_Free_Schema(a.schema));
	leave(ctx);
}

TEST(flow_create_or_open, "FL-101", 4, .once = true)
{
	DPI_Context ctx = join();
	char name[32];
	DPI_Flow flow[20];
	for (int i = 0; i < 20; i++) { /* all at once: one of each comes of it */
		snprintf(name, sizeof name, "flow %d", i);
		harness_barrier();
		flow[i] = make(name, DPI_CREATE_OR_OPEN, ctx);
		if (rank == i % ranks) CHECK_DPI(DPI_Seal_Flow(flow[i]));
	}
	for (int i = 0; i < 20; i++) UNTIL_FLOW(flow[i], info.sealed);
	/* and with a handle of one's own already */
	flow[1] = make("flow 0", DPI_CREATE_OR_OPEN, ctx);
	CHECK(flow_info(flow[1]).sealed);
	leave(ctx);
}

/* A name of one definition and attributes of another: what differs is said, and the flow stays what it was. */
#define DIFFERS(part, ...)                                                                                                 \
	do {                                                                                                               \
		DPI_Flow_Attr a = attr_of(3);                                                                              \
		DPI_Flow other;                                                                                            \
		a.create = DPI_CREATE_OR_OPEN;                                                                             \
		__VA_ARGS__;                                                                                               \
		CHECK_ERROR(DPI_Create_Flow("f", &a, ctx, &other), DPI_ERR_EXISTS, part);                                  \
		CHECK(!other);                                                                                             \
		CHECK_DPI(DPI_Free_Schema(a.schema));                                                                      \
	} while (0)

TEST(flow_definitions_differ, "FL-102", 2, .once = true)
{
	static const char *const value[] = { "value" };
	DPI_Context ctx = join();
	DPI_Flow flow = NULL;
	if (rank == 0) flow = make("f", DPI_CREATE_NEW, ctx);
	harness_barrier();
	for (int open = 0; open < 2; open++) { /* without and with a handle to it */
		DIFFERS("target", a.targets = 4);
		DIFFERS("source", a.sources = 4);
		DIFFERS("key", a.dist = DPI_DIST_BROADCAST, a.key = NULL, a.key_count = 0);
		DIFFERS("dist", a.dist = DPI_DIST_FUNCTION, a.dist_function = "any");
		DIFFERS("key", a.key = value);
		DIFFERS("salt", a.salt = 5);
		DIFFERS("\"weight\"", DPI_Free_Schema(a.schema), a.schema = pairs("weight"));
		DIFFERS("segment", a.segment = 4096);
		DIFFERS("death", a.on_death = DPI_DEATH_GOES_ON);
		if (rank == 1 && !open) flow = open_flow("f", ctx);
	}
	CHECK_INT(flow_info(flow).targets, ==, 3);
	leave(ctx);
}

TEST(flow_open_waits, "FL-103", 2, .once = true)
{
	DPI_Context ctx = join();
	DPI_Flow flow;
	int64_t start = now();
	if (rank == 1) {
		CHECK_ERROR(DPI_Open_Flow("f", NULL, DPI_NO_WAIT, ctx, &flow), DPI_ERR_NAME, "'f'");
		CHECK(!flow);
		CHECK_AT_ONCE(start);
		start = now();
		CHECK_ERROR(DPI_Open_Flow("f", NULL, 50 * MS, ctx, &flow), DPI_ERR_NAME, "'f'");
		CHECK_NOT_BEFORE(start, 50 * MS);
		CHECK_WITHIN(start, SECOND);
	}
	harness_barrier();
	if (rank == 0) {
		pause_ms(20);
		make("f", DPI_CREATE_NEW, ctx);
	} else {
		flow = open_flow("f", ctx);
		CHECK_STR(flow_info(flow).name, "f");
	}
	leave(ctx);
}

TEST(flow_schemas, "FL-104 FL-105", 2, .once = true)
{
	DPI_Context ctx = join();
	DPI_Flow flow;
	DPI_Schema same = pairs("value"), other = pairs("weight"), s;
	char difference[256];
	int equal;
	if (rank == 0) make("f", DPI_CREATE_NEW, ctx);
	CHECK_DPI(DPI_Open_Flow("f", same, 0, ctx, &flow));
	CHECK_DPI(DPI_Free_Schema(same));
	CHECK_DPI(DPI_Get_Flow_Schema(flow, &s));
	DPI_Flow no;
	CHECK_ERROR(DPI_Open_Flow("f", other, 0, ctx, &no), DPI_ERR_SCHEMA, "\"weight\"");
	CHECK(!no);
	CHECK_ERROR(DPI_Open_Flow("f", same, 0, ctx, &no), DPI_ERR_HANDLE, "schema");
	CHECK_ERROR(DPI_Open_Flow("f", (DPI_Schema)flow, 0, ctx, &no), DPI_ERR_HANDLE, "schema");
	CHECK_DPI(DPI_Close_Flow(flow));
	harness_barrier();
	if (rank == 0) CHECK_DPI(DPI_Destroy_Flow("f", ctx));
	same = pairs("value");
	CHECK_DPI(DPI_Compare_Schemas(s, same, &equal, difference, sizeof difference));
	CHECK(equal);
	CHECK_DPI(DPI_Free_Schema(s));
	CHECK_DPI(DPI_Free_Schema(same));
	CHECK_DPI(DPI_Free_Schema(other));
	leave(ctx);
}

TEST(flow_seal, "FL-107", 2, .once = true)
{
	DPI_Context ctx = join();
	DPI_Flow flow = make("f", DPI_CREATE_OR_OPEN, ctx);
	harness_barrier();
	if (rank == 1) {
		CHECK_DPI(DPI_Seal_Flow(flow));
		CHECK(flow_info(flow).sealed);
	}
	UNTIL_FLOW(flow, info.sealed);
	CHECK_DPI(DPI_Seal_Flow(flow));
	CHECK(flow_info(open_flow("f", ctx)).sealed);
	leave(ctx);
}

TEST(flow_cancel, "FL-108 FL-110", 3, .once = true)
{
	DPI_Context ctx = join();
	char long_one[4000];
	memset(long_one, 'r', sizeof long_one);
	long_one[sizeof long_one - 1] = 0;
	DPI_Flow flow = make("f", DPI_CREATE_OR_OPEN, ctx), g = make("g", DPI_CREATE_OR_OPEN, ctx),
		 h = make("h", DPI_CREATE_OR_OPEN, ctx);
	harness_barrier();
	if (rank == 1) {
		CHECK_DPI(DPI_Cancel_Flow("the user is gone", flow));
		CHECK_DPI(DPI_Cancel_Flow(NULL, g));
		CHECK_DPI(DPI_Cancel_Flow(long_one, h));
		CHECK_INT(flow_info(flow).failed, ==, DPI_ERR_CANCELLED);
	}
	UNTIL_FLOW(flow, info.failed == DPI_ERR_CANCELLED);
	UNTIL_FLOW(g, info.failed == DPI_ERR_CANCELLED);
	UNTIL_FLOW(h, info.failed == DPI_ERR_CANCELLED);
	CHECK_ERROR(DPI_Seal_Flow(flow), DPI_ERR_CANCELLED, "the user is gone");
	CHECK_ERROR(DPI_Cancel_Flow("another reason", flow), DPI_ERR_CANCELLED, "the user is gone");
	CHECK_ERROR(DPI_Seal_Flow(g), DPI_ERR_CANCELLED, "'g'");
	CHECK_ERROR(DPI_Seal_Flow(h), DPI_ERR_CANCELLED, "rrrrrrrr");
	/* whoever opens it now sees that, too */
	CHECK_DPI(DPI_Close_Flow(flow));
	flow = open_flow("f", ctx);
	CHECK_INT(flow_info(flow).failed, ==, DPI_ERR_CANCELLED);
	CHECK_ERROR(DPI_Seal_Flow(flow), DPI_ERR_CANCELLED, "the user is gone");
	leave(ctx);
}

TEST(flow_destroy, "FL-109", 3, .once = true)
{
	DPI_Context ctx = join();
	DPI_Flow flow = make("f", DPI_CREATE_OR_OPEN, ctx), again;
	harness_barrier();
	if (rank == 1) {
		CHECK_DPI(DPI_Destroy_Flow("f", ctx));
		CHECK_ERROR(DPI_Destroy_Flow("f", ctx), DPI_ERR_NAME, "'f'");
		CHECK_ERROR(DPI_Open_Flow("f", NULL, DPI_NO_WAIT, ctx, &again), DPI_ERR_NAME, "'f'");
		again = make("f", DPI_CREATE_NEW, ctx);
		CHECK_DPI(DPI_Seal_Flow(again));
	}
	UNTIL_FLOW(flow, info.failed == DPI_ERR_DESTROYED);
	CHECK_ERROR(DPI_Seal_Flow(flow), DPI_ERR_DESTROYED, "'f'");
	CHECK_ERROR(DPI_Cancel_Flow("x", flow), DPI_ERR_DESTROYED, "'f'");
	CHECK(!flow_info(flow).sealed);
	harness_barrier();
	again = open_flow("f", ctx);
	CHECK(flow_info(again).sealed && !flow_info(again).failed);
	CHECK_DPI(DPI_Close_Flow(flow));
	CHECK_ERROR(DPI_Destroy_Flow("never there", ctx), DPI_ERR_NAME, "'never there'");
	DPI_Buffer b = MAKE("buffer", 1, ctx, DPI_USE_QUEUE);
	CHECK_ERROR(DPI_Destroy_Flow("buffer", ctx), DPI_ERR_NAME, "'buffer'");
	CHECK_DPI(DPI_Append("x", 1, b));
	leave(ctx);
}

/* Its creator closes it, leaves or is killed: the flow lives on. */
TEST(flow_outlives, "FL-111", 4, .once = true)
{
	if (rank == 3) harness_expect_death(3);
	DPI_Context ctx = join();
	if (rank == 1) CHECK_DPI(DPI_Close_Flow(make("closed", DPI_CREATE_NEW, ctx)));
	if (rank == 2) make("left", DPI_CREATE_NEW, ctx);
	if (rank == 3) make("killed", DPI_CREATE_NEW, ctx);
	harness_barrier();
	if (rank == 3) harness_kill(3, SIGKILL);
	if (rank == 2) {
		CHECK_DPI(DPI_Finalize(ctx));
		return;
	}
	UNTIL(5 * SECOND, !info.alive, DPI_Node_Info info = DPI_NODE_INFO_INIT; DPI_Get_Node_Info(2, ctx, &info));
	UNTIL(5 * SECOND, !info.alive, DPI_Node_Info info = DPI_NODE_INFO_INIT; DPI_Get_Node_Info(3, ctx, &info));
	static const char *const names[] = { "closed", "left", "killed" };
	for (int i = 0; i < 3; i++) {
		DPI_Flow flow = open_flow(names[i], ctx);
		CHECK_INT(flow_info(flow).failed, ==, 0);
		CHECK_DPI(DPI_Seal_Flow(flow));
	}
	CHECK_DPI(DPI_Barrier("end", 2, 0, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_handles, "FL-112 R-11", 0)
{
	DPI_Context ctx = join();
	DPI_Flow flow, out;
	DPI_Schema s;
	DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
	DPI_Flow_Attr a = attr_of(2);
	char long_one[DPI_NAME_MAX + 1];
	memset(long_one, 'n', DPI_NAME_MAX);
	long_one[DPI_NAME_MAX] = 0;
	const char *names[] = { NULL, "", long_one, "a\nb", "\x7f" };
	for (int i = 0; i < 5; i++) {
		CHECK_ERROR(DPI_Create_Flow(names[i], &a, ctx, &out), DPI_ERR_ARGUMENT, "name");
		CHECK_ERROR(DPI_Open_Flow(names[i], NULL, DPI_NO_WAIT, ctx, &out), DPI_ERR_ARGUMENT, "name");
		CHECK_ERROR(DPI_Destroy_Flow(names[i], ctx), DPI_ERR_ARGUMENT, "name");
	}
	CHECK_ERROR(DPI_Create_Flow("f", NULL, ctx, &out), DPI_ERR_ARGUMENT, "attr");
	CHECK_ERROR(DPI_Create_Flow("f", &a, NULL, &out), DPI_ERR_ARGUMENT, "context");
	CHECK_ERROR(DPI_Create_Flow("f", &a, ctx, NULL), DPI_ERR_ARGUMENT, "flow");
	CHECK_ERROR(DPI_Open_Flow("f", NULL, 0, NULL, &out), DPI_ERR_ARGUMENT, "context");
	CHECK_ERROR(DPI_Open_Flow("f", NULL, 0, ctx, NULL), DPI_ERR_ARGUMENT, "flow");
	CHECK_ERROR(DPI_Open_Flow("f", NULL, -2, ctx, &out), DPI_ERR_ARGUMENT, "wait_us");
	CHECK_ERROR(DPI_Destroy_Flow("f", NULL), DPI_ERR_ARGUMENT, "context");
	a.create = 2;
	CHECK_ERROR(DPI_Create_Flow("f", &a, ctx, &out), DPI_ERR_ARGUMENT, "create");
	a.create = DPI_CREATE_NEW;
	a.size = 3;
	CHECK_ERROR(DPI_Create_Flow("f", &a, ctx, &out), DPI_ERR_ARGUMENT, "size");
	struct { /* a later header's */
		DPI_Flow_Attr a;
		uint64_t later;
	} newer = { attr_of(2), 0 };
	newer.a.size = sizeof newer;
	CHECK_DPI(DPI_Create_Flow("newer", &newer.a, ctx, &out));
	newer.later = 1;
	CHECK_ERROR(DPI_Create_Flow("newest", &newer.a, ctx, &out), DPI_ERR_UNSUPPORTED, "byte");
	a.size = sizeof a;
	CHECK_DPI(DPI_Create_Flow("f", &a, ctx, &flow));
	CHECK_ERROR(DPI_Get_Flow_Schema(flow, NULL), DPI_ERR_ARGUMENT, "schema");
	CHECK_ERROR(DPI_Get_Flow_Info(flow, NULL), DPI_ERR_ARGUMENT, " ");
	info.size = 0;
	CHECK_ERROR(DPI_Get_Flow_Info(flow, &info), DPI_ERR_ARGUMENT, "size");
	DPI_Flow bad[] = { NULL, (DPI_Flow)ctx, (DPI_Flow)a.schema, (DPI_Flow)(uintptr_t)0x1234567, flow };
	for (int i = 0; i < 5; i++) {
		int class = i ? DPI_ERR_HANDLE : DPI_ERR_ARGUMENT;
		if (bad[i] == flow) CHECK_DPI(DPI_Close_Flow(flow));
		info.size = sizeof info;
		CHECK_ERROR(DPI_Get_Flow_Schema(bad[i], &s), class, "flow");
		CHECK_ERROR(DPI_Get_Flow_Info(bad[i], &info), class, "flow");
		CHECK_ERROR(DPI_Seal_Flow(bad[i]), class, "flow");
		CHECK_ERROR(DPI_Cancel_Flow("x", bad[i]), class, "flow");
		CHECK_ERROR(DPI_Close_Flow(bad[i]), class, "flow");
	}
	flow = open_flow("f", ctx);
	CHECK_DPI(DPI_Finalize(ctx));
	CHECK_ERROR(DPI_Seal_Flow(flow), DPI_ERR_STATE, "DPI_Init");
	CHECK_ERROR(DPI_Close_Flow(flow), DPI_ERR_STATE, "DPI_Init");
	ctx = join(); /* the cluster of one is a new one, its names are gone */
	CHECK_ERROR(DPI_Seal_Flow(flow), DPI_ERR_HANDLE, "flow");
	CHECK_ERROR(DPI_Open_Flow("f", NULL, DPI_NO_WAIT, ctx, &out), DPI_ERR_NAME, "'f'");
	CHECK_DPI(DPI_Free_Schema(a.schema));
	CHECK_DPI(DPI_Free_Schema(newer.a.schema));
	CHECK_DPI(DPI_Finalize(ctx));
}

struct sharer {
	DPI_Context ctx;
	DPI_Flow flow;
	int number;
};

static void *share(void *arg)
{
	struct sharer *me = arg;
	for (int i = 0; i < 50; i++) {
		char name[32];
		DPI_Flow own;
		DPI_Schema s;
		CHECK_INT(flow_info(me->flow).targets, ==, 3);
		CHECK_DPI(DPI_Seal_Flow(me->flow));
		CHECK_DPI(DPI_Get_Flow_Schema(me->flow, &s));
		CHECK_DPI(DPI_Free_Schema(s));
		CHECK_DPI(DPI_Close_Flow(open_flow("shared", me->ctx)));
		snprintf(name, sizeof name, "own %d", me->number);
		own = make(name, DPI_CREATE_NEW, me->ctx);
		CHECK_DPI(DPI_Destroy_Flow(name, me->ctx));
		CHECK_DPI(DPI_Close_Flow(own));
	}
	return NULL;
}

TEST(flow_handles_are_shared, "FL-113", 2, .once = true)
{
	DPI_Context ctx = join();
	DPI_Flow flow = make("shared", DPI_CREATE_OR_OPEN, ctx);
	struct sharer s[4];
	pthread_t t[4];
	for (int i = 0; i < 4; i++) {
		s[i] = (struct sharer){ ctx, flow, rank * 4 + i };
		t[i] = start_thread(share, &s[i]);
	}
	for (int i = 0; i < 4; i++) end_thread(t[i]);
	leave(ctx);
}

/* One thread closes what the others use. */
static DPI_Flow _Atomic current;
static _Atomic bool over;

static void *use(void *arg)
{
	while (!over) {
		DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
		DPI_Schema s;
		int error = DPI_Get_Flow_Info(current, &info);
		CHECK(!error || error == DPI_ERR_HANDLE);
		if (!error) CHECK_INT(info.targets, ==, 3);
		error = DPI_Get_Flow_Schema(current, &s);
		CHECK(!error || error == DPI_ERR_HANDLE);
		if (!error) CHECK_DPI(DPI_Free_Schema(s));
		error = DPI_Seal_Flow(current);
		CHECK(!error || error == DPI_ERR_HANDLE);
	}
	return arg;
}

TEST(flow_closed_by_another_thread, "FL-112 FL-113", 2, .once = true)
{
	DPI_Context ctx = join();
	pthread_t t[3];
	current = make("f", DPI_CREATE_OR_OPEN, ctx);
	for (int i = 0; i < 3; i++) t[i] = start_thread(use, NULL);
	for (int i = 0; i < 300; i++) {
		DPI_Flow old = current;
		if (i % 2) current = open_flow("f", ctx); /* the process keeps its copy, or not */
		CHECK_DPI(DPI_Close_Flow(old));
		CHECK_ERROR(DPI_Close_Flow(old), DPI_ERR_HANDLE, "flow");
		if (i % 2 == 0) current = open_flow("f", ctx);
	}
	over = true;
	for (int i = 0; i < 3; i++) end_thread(t[i]);
	leave(ctx);
}

/* In a child the handles are dead, whatever the parent's threads were at. */
TEST(flow_handles_in_a_child, "E-47 E-48", 1, .once = true)
{
	DPI_Context ctx = join();
	pthread_t t = 0;
	current = make("f", DPI_CREATE_NEW, ctx);
	t = start_thread(use, NULL);
	for (int i = 0; i < 50; i++) {
		int status = -1;
		pid_t child = fork();
		if (!child) {
			DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
			DPI_Flow flow;
			int good = DPI_Get_Flow_Info(current, &info) == DPI_ERR_FORK &&
				   DPI_Seal_Flow(current) == DPI_ERR_FORK && DPI_Close_Flow(current) == DPI_ERR_FORK &&
				   DPI_Open_Flow("f", NULL, 0, ctx, &flow) == DPI_ERR_FORK;
			_exit(good ? 0 : 1);
		}
		CHECK_INT(waitpid(child, &status, 0), ==, child);
		CHECK_INT(status, ==, 0);
	}
	over = true;
	end_thread(t);
	leave(ctx);
}

#define LIVE 1000

TEST(a_thousand_flows, "FL-114", 2, .once = true, .deadline_s = 180)
{
	DPI_Context ctx = join();
	static DPI_Flow flow[LIVE];
	char name[32];
	for (int i = 0; i < LIVE; i++) {
		snprintf(name, sizeof name, "flow %d", i);
		flow[i] = make(name, DPI_CREATE_OR_OPEN, ctx);
	}
	harness_barrier();
	for (int i = rank; i < LIVE; i += 2) CHECK_DPI(DPI_Seal_Flow(flow[i]));
	for (int i = 0; i < LIVE; i++) UNTIL_FLOW(flow[i], info.sealed);
	harness_barrier();
	for (int i = rank; i < LIVE; i += 2) {
		snprintf(name, sizeof name, "flow %d", i);
		CHECK_DPI(DPI_Destroy_Flow(name, ctx));
	}
	for (int i = 0; i < LIVE; i++) {
		UNTIL_FLOW(flow[i], info.failed == DPI_ERR_DESTROYED);
		CHECK_DPI(DPI_Close_Flow(flow[i]));
	}
	leave(ctx);
}

/* Rank 0 is the registry's node in this implementation and any other that keeps it in the first. */
TEST(flow_without_registry, "FL-115", 3, .once = true)
{
	if (rank == 0) harness_expect_death(0);
	DPI_Context ctx = join();
	DPI_Flow flow = make("f", DPI_CREATE_OR_OPEN, ctx), other;
	DPI_Flow_Attr a = attr_of(3);
	DPI_Schema s;
	harness_barrier();
	if (rank == 0) harness_kill(0, SIGKILL);
	AWAIT(!harness_alive(0));
	int64_t start = now();
	UNTIL(SECOND, e == DPI_ERR_REGISTRY, int e = DPI_Seal_Flow(flow));
	CHECK_ERROR(DPI_Cancel_Flow("x", flow), DPI_ERR_REGISTRY, " ");
	CHECK_ERROR(DPI_Destroy_Flow("f", ctx), DPI_ERR_REGISTRY, " ");
	CHECK_ERROR(DPI_Open_Flow("f", NULL, 0, ctx, &other), DPI_ERR_REGISTRY, " ");
	for (a.create = 0; a.create < 2; a.create++)
		CHECK_ERROR(DPI_Create_Flow("g", &a, ctx, &other), DPI_ERR_REGISTRY, " ");
	CHECK_WITHIN(start, 2 * SECOND);
	CHECK_INT(flow_info(flow).failed, ==, 0);
	CHECK_DPI(DPI_Get_Flow_Schema(flow, &s));
	CHECK_DPI(DPI_Free_Schema(s));
	CHECK_DPI(DPI_Free_Schema(a.schema));
	CHECK_DPI(DPI_Close_Flow(flow));
	CHECK_DPI(DPI_Finalize(ctx));
}
