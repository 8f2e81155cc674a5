/* SPDX-License-Identifier: Apache-2.0
 * registry.c: the registry's process is killed and started again: what is open runs on, what needs the registry is DPI_ERR_REGISTRY until
 * it is back, and then the names, flows and endpoints of those who live are there again. Never are there two. */
#include <pthread.h>

#include "kit.h"

ENROL_PLAIN;

#define LONG 60000000
enum { REGISTRY, PUSHES, TAKES, KILLER, OTHER };

static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "number", DPI_TYPE_INT64, 0, 0, 0, 0 } };
struct row {
	int64_t key, number;
};

struct shared {
	_Atomic int dead, up, opened, noticed, again, stop, gone, step;
	_Atomic int64_t pushed, taken;
	struct {
		int64_t number;
		uint64_t rows;
	} stored;
};

static const char *detail(void)
{
	const char *text = "";
	DPI_Get_Error_Detail(&text);
	return text;
}

static void numbered(char name[32], const char *what, int number)
{
	snprintf(name, 32, "%s%d", what, number);
}

/* Node 0, in its first life or a later one. */
static DPI_Context start_registry(void)
{
	DPI_Context ctx;
	if (harness_spawns(REGISTRY) > 1) setenv("DPI_RESTART", "1", 1);
	CHECK_DPI(DPI_Init(&ctx));
	return ctx;
}

static DPI_Flow plain_flow(const char *name, uint32_t targets, uint32_t sources, DPI_Context ctx)
{
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	DPI_Flow f;
	const char *key = "key";
	CHECK_DPI(DPI_Create_Schema(columns, 2, &a.schema));
	a.create = DPI_CREATE_OR_OPEN;
	a.targets = targets;
	a.sources = sources;
	a.key = &key;
	a.key_count = 1;
	CHECK_DPI(DPI_Create_Flow(name, &a, ctx, &f));
	CHECK_DPI(DPI_Free_Schema(a.schema));
	return f;
}

static DPI_Flow flow_of(const char *name, DPI_Context ctx)
{
	DPI_Flow f;
	CHECK_DPI(DPI_Open_Flow(name, NULL, LONG, ctx, &f));
	return f;
}

static DPI_Source source_of(DPI_Flow f)
{
	DPI_Source s;
	DPI_Source_Attr a = DPI_SOURCE_ATTR_INIT;
	a.timeout_us = LONG;
	CHECK_DPI(DPI_Open_Source(f, &a, &s));
	return s;
}

static DPI_Target target_of(DPI_Flow f)
{
	DPI_Target t;
	DPI_Target_Attr a = DPI_TARGET_ATTR_INIT;
	a.timeout_us = LONG;
	CHECK_DPI(DPI_Open_Target(0, &a, f, &t));
	return t;
}

static void make(const char *name, int home, DPI_Context ctx, DPI_Buffer *b)
{
	CHECK_DPI(DPI_Create_Buffer(name, home, NULL, ctx, b));
}

static void find(const char *name, DPI_Context ctx)
{
	DPI_Buffer b;
	DPI_Open_Attr a = DPI_OPEN_ATTR_INIT;
	a.wait_us = DPI_NO_WAIT;
	CHECK_DPI(DPI_Open_Buffer(name, &a, ctx, &b));
	CHECK_DPI(DPI_Close_Buffer(b));
}

/* ------------------------------------------------------------------------------------------------------- it comes back */

#define LIVES 3

static void *push_all(void *arg)
{
	DPI_Source s = arg;
	struct shared *w = harness_shared();
	for (struct row r = { 0, 0 }; !w->stop; r.number++) {
		r.key = r.number * 7;
		CHECK_DPI(DPI_Push(&r, sizeof r, s));
		if (r.number % 64 == 0) CHECK_DPI(DPI_Flush_Source(s));
		w->pushed = r.number + 1;
	}
	return NULL;
}

static void *take_all(void *arg)
{
	DPI_Target t = arg;
	struct shared *w = harness_shared();
	DPI_Tuple u;
	int error;
	while (!(error = DPI_Next(t, &u))) {
		const struct row *r = u.data;
		CHECK_INT(r->number, ==, w->taken);
		w->taken = r->number + 1;
	}
	CHECK_INT(error, ==, DPI_ERR_END);
	return NULL;
}

/* While there is no registry. */
static void without(int rank, int life, DPI_Context ctx)
{
	DPI_Buffer b;
	DPI_Flow f;
	char name[32];
	int error;
	numbered(name, rank == PUSHES ? "pushes" : "takes", 100 + life);
	do {
		error = DPI_Create_Buffer(name, rank, NULL, ctx, &b);
		if (!error) CHECK_DPI(DPI_Close_Buffer(b));
		if (!error) DPI_Destroy_Buffer(name, ctx); /* or it dies in between */
	} while (!error);
	if (error != DPI_ERR_REGISTRY) FAIL("error %d: %s", error, detail());
	CHECK_HAS(detail(), "DPI_RESTART=1");
	CHECK_ERROR(DPI_Open_Buffer("pushes", NULL, ctx, &b), DPI_ERR_REGISTRY, "node 0");
	CHECK_ERROR(DPI_Destroy_Buffer("pushes", ctx), DPI_ERR_REGISTRY, "node 0");
	CHECK_ERROR(DPI_Barrier("b", 2, 0, ctx), DPI_ERR_REGISTRY, "node 0");
	CHECK_ERROR(DPI_Open_Flow("steady", NULL, LONG, ctx, &f), DPI_ERR_REGISTRY, "node 0");
}

/* When it is back. */
static void with(int rank, int life, DPI_Buffer old, DPI_Context ctx)
{
	struct shared *w = harness_shared();
	DPI_Buffer b;
	DPI_Open_Attr now = DPI_OPEN_ATTR_INIT;
	char name[32];
	DPI_Node_Info info = DPI_NODE_INFO_INIT;
	now.wait_us = DPI_NO_WAIT;
	CHECK_DPI(DPI_Get_Node_Info(0, ctx, &info));
	CHECK_INT(info.alive, ==, 1);
	CHECK_INT(info.pid, ==, harness_pid(REGISTRY));
	find("pushes", ctx);
	find("takes", ctx);
	/* the process that was node 0 is dead, and what it held is gone */
	numbered(name, "own", life - 1);
	CHECK_ERROR(DPI_Open_Buffer(name, &now, ctx, &b), DPI_ERR_NAME, "no buffer");
	CHECK_ERROR(DPI_Append("x", 1, old), DPI_ERR_PEER, "node 0");
	CHECK_ERROR(DPI_Create_Buffer(rank == PUSHES ? "takes" : "pushes", rank, NULL, ctx, &b), DPI_ERR_EXISTS, "taken");
	CHECK_DPI(DPI_Close_Flow(flow_of("steady", ctx)));
	numbered(name, "meet", life);
	CHECK_DPI(DPI_Barrier(name, 2, LONG, ctx));
	/* a new flow, and the end of one whose source was closed when nobody could be told */
	numbered(name, "new", life);
	DPI_Flow f = plain_flow(name, 1, 1, ctx);
	struct row r = { 1, 2 };
	if (rank == PUSHES) {
		DPI_Source s = source_of(f);
		CHECK_DPI(DPI_Push(&r, sizeof r, s));
		CHECK_DPI(DPI_Close_Source(s));
	} else {
		DPI_Target t = target_of(f);
		DPI_Tuple u;
		CHECK_DPI(DPI_Next(t, &u));
		CHECK_INT(DPI_Next(t, &u), ==, DPI_ERR_END);
		CHECK_DPI(DPI_Close_Target(t));
	}
	CHECK_DPI(DPI_Close_Flow(f));
	w->again++;
}

static void lives(int rank)
{
	struct shared *w = harness_shared();
	DPI_Context ctx;
	DPI_Buffer mine, old;
	pthread_t thread;
	AWAIT(w->up == 1);
	CHECK_DPI(DPI_Init(&ctx));
	make(rank == PUSHES ? "pushes" : "takes", rank, ctx, &mine);
	DPI_Flow f = plain_flow("steady", 1, 1, ctx);
	void *end = rank == PUSHES ? (void *)source_of(f) : (void *)target_of(f);
	pthread_create(&thread, NULL, rank == PUSHES ? push_all : take_all, end);
	for (int life = 1; life < LIVES; life++) {
		char name[32];
		numbered(name, "own", life - 1);
		CHECK_DPI(DPI_Open_Buffer(name, NULL, ctx, &old));
		AWAIT(w->taken > 100 * life);
		w->opened++;
		AWAIT(w->dead == life);
		without(rank, life, ctx);
		int64_t before = w->taken;
		AWAIT(w->taken > before + 1000); /* what is open runs on */
		CHECK_DPI(DPI_Append("on", 2, mine));
		w->noticed++;
		AWAIT(w->up == life + 1);
		with(rank, life, old, ctx);
		CHECK_DPI(DPI_Close_Buffer(old));
		AWAIT(w->again == 2 * life);
	}
	w->stop = 1;
	if (rank == PUSHES) {
		CHECK(!pthread_join(thread, NULL));
		CHECK_DPI(DPI_Close_Source(end));
	} else {
		CHECK(!pthread_join(thread, NULL));
		CHECK_INT(w->taken, ==, w->pushed);
		CHECK_DPI(DPI_Close_Target(end));
	}
	CHECK_DPI(DPI_Close_Flow(f));
	w->gone++;
	CHECK_DPI(DPI_Barrier("end", 3, LONG, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

static void hold(void)
{
	struct shared *w = harness_shared();
	int life = harness_spawns(REGISTRY);
	DPI_Context ctx = start_registry();
	DPI_Buffer own;
	char name[32];
	numbered(name, "own", life - 1);
	make(name, 0, ctx, &own);
	w->up = life;
	AWAIT(w->gone == 2); /* or it is killed before */
	CHECK_DPI(DPI_Barrier("end", 3, LONG, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

static void kill_registry(struct shared *w, int life)
{
	harness_kill(REGISTRY, SIGKILL);
	AWAIT(!harness_alive(REGISTRY));
	w->dead = life;
}

TEST(registry_comes_back, "E-32 E-61 E-62 E-64 FL-115", 4, .nodes = 3, .deadline_s = 120)
{
	struct shared *w = harness_shared();
	if (rank == REGISTRY) hold();
	else if (rank != KILLER) lives(rank);
	for (int life = 1; rank == KILLER && life < LIVES; life++) {
		AWAIT(w->opened == 2 * life);
		kill_registry(w, life);
		AWAIT(w->noticed == 2 * life);
		harness_spawn_rank(REGISTRY);
	}
}

/* -------------------------------------------------------------------------------------- endpoints that closed meanwhile */

/* Rows that were pushed, and the end that could not be told, which is told when the registry is back. */
TEST(what_closed_meanwhile_is_told_later, "E-63 FL-448", 4, .nodes = 3, .deadline_s = 120)
{
	struct shared *w = harness_shared();
	DPI_Context ctx;
	DPI_Tuple u;
	if (rank == KILLER) {
		AWAIT(w->opened == 2);
		kill_registry(w, 1);
		AWAIT(w->noticed == 2);
		harness_spawn_rank(REGISTRY);
		return;
	}
	if (rank == REGISTRY) {
		hold();
		return;
	}
	AWAIT(w->up == 1);
	CHECK_DPI(DPI_Init(&ctx));
	DPI_Flow f = plain_flow("f", 1, 1, ctx);
	DPI_Source s = rank == PUSHES ? source_of(f) : NULL;
	DPI_Target t = rank == TAKES ? target_of(f) : NULL;
	w->opened++;
	AWAIT(w->dead == 1);
	if (rank == PUSHES) {
		for (struct row r = { 0, 0 }; r.number < 1000; r.number++) CHECK_DPI(DPI_Push(&r, sizeof r, s)); /* what a ring holds */
		CHECK_ERROR(DPI_Close_Source(s), DPI_ERR_REGISTRY, "node 0");
		CHECK_DPI(DPI_Close_Flow(f)); /* nor has this process a copy of it any more */
		w->pushed = 1000;
	} else {
		AWAIT(w->pushed);
		for (int i = 0; i < 1000; i++) CHECK_DPI(DPI_Next(t, &u));
	}
	w->noticed++;
	AWAIT(w->up == 2);
	if (rank == TAKES) {
		CHECK_INT(DPI_Next(t, &u), ==, DPI_ERR_END);
		DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
		CHECK_DPI(DPI_Get_Flow_Info(f, &info));
		CHECK_INT(info.closed, ==, 1);
		CHECK_DPI(DPI_Close_Target(t));
		CHECK_DPI(DPI_Close_Flow(f));
	}
	w->gone++;
	CHECK_DPI(DPI_Barrier("end", 3, LONG, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* ------------------------------------------------------------------------------------------------- rebinding afterwards */

enum { ROWS = 20000 };

static DPI_Target rebound(DPI_Flow f)
{
	struct shared *w = harness_shared();
	DPI_Target t;
	DPI_Target_Attr a = DPI_TARGET_ATTR_INIT;
	DPI_Position p = { 0, w->stored.rows };
	a.timeout_us = LONG;
	a.rebind = 1;
	a.position = &p;
	a.positions = 1;
	CHECK_DPI(DPI_Open_Target(0, &a, f, &t));
	return t;
}

static void target_dies(void)
{
	struct shared *w = harness_shared();
	DPI_Context ctx;
	DPI_Tuple u;
	int error;
	AWAIT(w->up == (harness_spawns(TAKES) > 1 ? 2 : 1));
	CHECK_DPI(DPI_Init(&ctx));
	DPI_Flow f = retained_flow(ctx, columns, 2, 1, 1, DPI_ACK_CONFIRMED, 0);
	DPI_Target t = rebound(f);
	w->opened += harness_spawns(TAKES) == 1;
	while (!(error = DPI_Next(t, &u))) {
		CHECK_INT(((const struct row *)u.data)->number, ==, w->stored.number);
		w->stored.number++;
		w->stored.rows++;
		CHECK_DPI(DPI_Ack(0, w->stored.rows, t));
		w->taken = w->stored.number;
	}
	CHECK_INT(error, ==, DPI_ERR_END);
	CHECK_INT(w->stored.number, ==, ROWS);
	CHECK_DPI(DPI_Close_Target(t));
	CHECK_DPI(DPI_Close_Flow(f));
	w->gone++;
	CHECK_DPI(DPI_Barrier("end", 3, LONG, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

static void source_stays(void)
{
	struct shared *w = harness_shared();
	DPI_Context ctx;
	AWAIT(w->up == 1);
	CHECK_DPI(DPI_Init(&ctx));
	DPI_Flow f = retained_flow(ctx, columns, 2, 1, 1, DPI_ACK_CONFIRMED, 0);
	DPI_Source s = source_of(f);
	w->opened++;
	for (struct row r = { 0, 0 }; r.number < ROWS; r.number++) {
		CHECK_DPI(DPI_Push(&r, sizeof r, s));
		w->pushed = r.number + 1;
		if (r.number == ROWS / 2) AWAIT(w->up == 2); /* a row is between two lives */
	}
	CHECK_DPI(DPI_Close_Source(s));
	CHECK_DPI(DPI_Close_Flow(f));
	w->gone++;
	CHECK_DPI(DPI_Barrier("end", 3, LONG, ctx));
	CHECK_DPI(DPI_Finalize(ctx));
}

/* The registry's process and a target's die, in either order; both are started again. */
static void both_die(int rank, bool target_first)
{
	struct shared *w = harness_shared();
	if (rank == REGISTRY) hold();
	else if (rank == PUSHES) source_stays();
	else if (rank == TAKES) target_dies();
	if (rank != KILLER) return;
	AWAIT(w->opened == 2 && w->taken > 100);
	if (target_first) harness_kill(TAKES, SIGKILL);
	harness_kill(REGISTRY, SIGKILL);
	if (!target_first) harness_kill(TAKES, SIGKILL);
	AWAIT(!harness_alive(REGISTRY) && !harness_alive(TAKES));
	w->dead = 1;
	harness_spawn_rank(REGISTRY);
	AWAIT(w->up == 2);
	harness_spawn_rank(TAKES);
}

TEST(a_target_is_rebound_when_it_is_back, "E-63 FL-904 FL-905", 4, .nodes = 3, .deadline_s = 120) { both_die(rank, false); }
TEST(a_target_that_died_before_is_rebound, "E-63 FL-904 FL-905", 4, .nodes = 3, .deadline_s = 120) { both_die(rank, true); }

/* ------------------------------------------------------------------------------------------------------ never two of it */

/* Other processes that say they are node 0: while the registry lives, elsewhere, and of another cluster. */
static void impostor(void)
{
	struct shared *w = harness_shared();
	char text[128], cluster[128];
	DPI_Context ctx;
	setenv("DPI_NODE", "0", 1);
	unsetenv("DPI_LISTEN_FD");
	snprintf(cluster, sizeof cluster, "%s", getenv("DPI_CLUSTER"));
	AWAIT(w->opened == 1);
	CHECK_ERROR(DPI_Init(&ctx), DPI_ERR_CONFIG, "listens at");
	setenv("DPI_RESTART", "1", 1);
	CHECK_ERROR(DPI_Init(&ctx), DPI_ERR_CONFIG, "listens at");
	/* where nobody looks for it */
	snprintf(text, sizeof text, "%.100s-elsewhere", cluster);
	setenv("DPI_CLUSTER", text, 1);
	setenv("DPI_TIMEOUT", "300ms", 1);
	CHECK_ERROR(DPI_Init(&ctx), DPI_ERR_REGISTRY, "has not come back");
	setenv("DPI_CLUSTER", cluster, 1);
	w->step = 1;
	/* in its place, but as a new cluster's */
	AWAIT(w->dead == 1);
	unsetenv("DPI_RESTART");
	setenv("DPI_TIMEOUT", "30s", 1);
	CHECK_DPI(DPI_Init(&ctx));
	w->step = 2;
	AWAIT(w->step == 3);
	CHECK_DPI(DPI_Finalize(ctx));
	w->step = 4;
	/* and where there is none to come back to */
	AWAIT(w->up == 2);
	setenv("DPI_CLUSTER", text, 1);
	setenv("DPI_RESTART", "1", 1);
	setenv("DPI_NODES", "0", 1);
	CHECK_ERROR(DPI_Init(&ctx), DPI_ERR_CONFIG, "DPI_RESTART");
	w->gone++;
}

TEST(never_two_registries, "E-62", 4, .nodes = 2, .deadline_s = 120)
{
	struct shared *w = harness_shared();
	DPI_Context ctx;
	DPI_Buffer b;
	if (rank == REGISTRY) {
		int life = harness_spawns(REGISTRY);
		ctx = start_registry();
		make(life == 1 ? "first" : "second", 0, ctx, &b);
		w->up = life;
		AWAIT(w->gone == 2);
		CHECK_DPI(DPI_Finalize(ctx));
	} else if (rank == 1) {
		AWAIT(w->up == 1);
		CHECK_DPI(DPI_Init(&ctx));
		make("mine", 1, ctx, &b);
		w->opened = 1;
		AWAIT(w->step == 2);
		int64_t until = 300; /* it looks for the registry, finds the other one, and does not follow it */
		while (until--) {
			CHECK_ERROR(DPI_Open_Buffer("mine", NULL, ctx, &b), DPI_ERR_REGISTRY, "node 0");
			pause_us(1000);
		}
		w->step = 3;
		AWAIT(w->up == 2);
		find("mine", ctx);
		find("second", ctx);
		w->gone++;
		AWAIT(w->gone == 2);
		CHECK_DPI(DPI_Finalize(ctx));
	} else if (rank == 2) {
		impostor();
	} else {
		AWAIT(w->step == 1);
		kill_registry(w, 1);
		AWAIT(w->step == 4);
		harness_spawn_rank(REGISTRY);
	}
}
