/* SPDX-License-Identifier: Apache-2.0
 * flow_test.c: copies of flows and their coordinator: what each process hears, and when; deaths; the registry's death;
 * requests and news that no correct library sends. */
#include <signal.h>
#include <unistd.h>

#include "flows/layer.h"
#include "registry.h"
#include "unit.h"
#include "wait.h"

static int64_t soon(void)
{
	return patience();
}

static struct dpi_context *start(void)
{
	DPI_Context handle;
	CHECK_DPI(DPI_Init(&handle));
	CHECK_DPI(dpi_barrier(dpi_context(), "in", (uint32_t)dpi_context()->expected_nodes + !dpi_context()->expected_nodes,
			      soon()));
	return dpi_context();
}

static void finish(struct dpi_context *ctx, uint32_t nodes)
{
	CHECK_DPI(dpi_barrier(ctx, "out", nodes, soon()));
	CHECK_DPI(DPI_Finalize(ctx->handle));
}

static struct dpi_flow *make(struct dpi_context *ctx, const char *name, uint32_t targets, uint32_t sources, int on_death)
{
	static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 },
					      { "value", DPI_TYPE_INT64, 0, 0, 0, 0 } };
	static const char *const key[] = { "key" };
	struct dpi_flow *f;
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	CHECK_DPI(DPI_Create_Schema(columns, 2, &a.schema));
	a.create = DPI_CREATE_OR_OPEN;
	a.targets = targets;
	a.sources = sources;
	a.key = key;
	a.key_count = 1;
	a.on_death = on_death;
	CHECK_DPI(dpi_flow_create(ctx, name, &a, soon(), &f));
	DPI_Free_Schema(a.schema);
	return f;
}

struct state {
	struct dpi_flow *f;
	uint32_t opened, over;
	bool sealed;
};

static bool reached(void *arg)
{
	struct state *s = arg;
	return atomic_load(&s->f->opened) >= s->opened && atomic_load(&s->f->over) >= s->over &&
	       atomic_load(&s->f->sealed) >= s->sealed;
}

static bool has_failed(void *arg)
{
	return atomic_load(&((struct dpi_flow *)arg)->failed);
}

/* Wait as endpoints do: with a bell on the flow. */
static void await(struct dpi_flow *f, bool (*ready)(void *), void *arg)
{
	struct dpi_flow_watch watch = { .bell = dpi_bell_pick(f->ctx) };
	dpi_flow_watch(f, &watch);
	struct dpi_wait w = { .ready = ready, .arg = arg, .bell = watch.bell, .deadline = soon() };
	CHECK_INT(dpi_wait(f->ctx, &w), ==, 0);
	dpi_flow_unwatch(f, &watch);
}

static void await_state(struct dpi_flow *f, uint32_t opened, uint32_t over, bool sealed)
{
	struct state s = { f, opened, over, sealed };
	await(f, reached, &s);
}

TEST(a_flow_lives_and_ends, "FL-106 FL-116 FL-117", 3)
{
	struct dpi_context *ctx = start();
	uint32_t source, other;
	struct dpi_flow *f = make(ctx, "f", 3, 6, DPI_DEATH_FAILS);
	CHECK_DPI(dpi_flow_bind(f, (uint32_t)rank, 100 + (uint64_t)rank, soon()));
	struct dpi_flow_target t = dpi_flow_where(f, (uint32_t)rank); /* what one's own call did is there when it returns */
	CHECK_INT(t.state, ==, DPI_TARGET_BOUND);
	CHECK_INT(t.node, ==, rank);
	CHECK_INT(t.queue, ==, 100 + rank);
	CHECK_ERROR(dpi_flow_bind(f, (uint32_t)rank, 7, soon()), DPI_ERR_EXISTS, "is open on node");
	CHECK_ERROR(dpi_flow_bind(f, 3, 7, soon()), DPI_ERR_RANGE, "0 to 2");
	CHECK_DPI(dpi_flow_join(f, soon(), &source));
	CHECK_INT(dpi_flow_whose(f, source).state, ==, DPI_SOURCE_OPEN);
	CHECK_INT(f->source_node[source], ==, rank);
	CHECK_DPI(dpi_flow_join(f, soon(), &other));
	CHECK_INT(other, >, source);
	await_state(f, 6, 0, true); /* sealed by its definition */
	CHECK(!dpi_flow_complete(f));
	CHECK_ERROR(dpi_flow_join(f, soon(), &other), DPI_ERR_SEALED, "after 6 sources");
	harness_barrier();
	CHECK_DPI(dpi_flow_leave(f, source, 0, DPI_SOURCE_CLOSED, soon()));
	CHECK_INT(dpi_flow_whose(f, source).state, ==, DPI_SOURCE_CLOSED);
	CHECK_DPI(dpi_flow_leave(f, source, 0, DPI_SOURCE_CLOSED, soon()));
	for (source = 0; source < 6; source++)
		if (f->source_node[source] == rank) CHECK_DPI(dpi_flow_leave(f, source, 0, DPI_SOURCE_CLOSED, soon()));
	await_state(f, 6, 6, true);
	CHECK(dpi_flow_complete(f));
	CHECK_DPI(dpi_flow_unbind(f, (uint32_t)rank, DPI_TARGET_ENDED, soon()));
	CHECK_ERROR(dpi_flow_bind(f, (uint32_t)rank, 7, soon()), DPI_ERR_EXISTS, "was taken to its end");
	CHECK_DPI(dpi_flow_seal(f, soon()));
	CHECK_DPI(dpi_flow_check(f));
	harness_barrier();
	/* one who comes late sees all of it */
	dpi_flow_unref(f);
	CHECK_DPI(dpi_flow_open(ctx, "f", dpi_now(), soon(), &f));
	CHECK(dpi_flow_complete(f));
	CHECK_INT(atomic_load(&f->opened), ==, 6);
	for (uint32_t i = 0; i < 3; i++) CHECK_INT(dpi_flow_where(f, i).state, ==, DPI_TARGET_ENDED);
	dpi_flow_unref(f);
	finish(ctx, 3);
}

TEST(a_destroyed_flow_fails_everywhere, "FL-109", 2)
{
	struct dpi_context *ctx = start();
	struct dpi_flow *f = make(ctx, "f", 1, 0, DPI_DEATH_FAILS);
	uint32_t source;
	harness_barrier();
	if (rank == 1) CHECK_DPI(dpi_flow_destroy(ctx, "f", soon()));
	await(f, has_failed, f);
	CHECK_ERROR(dpi_flow_check(f), DPI_ERR_DESTROYED, "flow 'f' was destroyed");
	CHECK_ERROR(dpi_flow_join(f, soon(), &source), DPI_ERR_DESTROYED, "flow 'f' was destroyed");
	CHECK_ERROR(dpi_flow_seal(f, soon()), DPI_ERR_DESTROYED, "flow 'f' was destroyed");
	harness_barrier();
	CHECK_ERROR(dpi_flow_destroy(ctx, "f", soon()), DPI_ERR_NAME, "'f'");
	harness_barrier(); /* the name is taken again below */
	struct dpi_flow *again = make(ctx, "f", 2, 0, DPI_DEATH_FAILS);
	CHECK(again != f);
	CHECK_DPI(dpi_flow_check(again));
	dpi_flow_unref(f);
	dpi_flow_unref(again);
	finish(ctx, 2);
}

TEST(a_failure_is_everybodys, "FL-110 FL-118", 3)
{
	struct dpi_context *ctx = start();
	static const char *const names[] = { "by an endpoint", "by its owner", "by a lost target", "by a lost source" };
	struct dpi_flow *f[4];
	uint32_t source;
	for (int i = 0; i < 4; i++) f[i] = make(ctx, names[i], 1, 0, DPI_DEATH_FAILS);
	if (rank == 1) {
		CHECK_DPI(dpi_flow_bind(f[2], 0, 1, soon()));
		CHECK_DPI(dpi_flow_join(f[3], soon(), &source));
	}
	harness_barrier();
	if (rank == 1) {
		dpi_flow_fail(f[0], DPI_ERR_CORRUPT, "it is broken\nhere");
		dpi_flow_fail(f[0], DPI_ERR_FLOW, "another word");
		CHECK_ERROR(dpi_flow_check(f[0]), DPI_ERR_CORRUPT, "it is broken\nhere");
		CHECK_DPI(dpi_flow_cancel(f[1], "enough", soon()));
		dpi_flow_unbind(f[2], 0, DPI_TARGET_DEAD, soon());
		dpi_flow_leave(f[3], source, 0, DPI_SOURCE_DEAD, soon());
	}
	for (int i = 0; i < 4; i++) await(f[i], has_failed, f[i]);
	if (rank != 1) CHECK_ERROR(dpi_flow_check(f[0]), DPI_ERR_FLOW, "it is broken?here");
	CHECK_ERROR(dpi_flow_check(f[1]), DPI_ERR_CANCELLED, "flow 'by its owner' was cancelled by node 1: enough");
	CHECK_ERROR(dpi_flow_cancel(f[1], NULL, soon()), DPI_ERR_CANCELLED, "enough");
	CHECK_ERROR(dpi_flow_check(f[2]), DPI_ERR_FLOW, "target 0 of flow 'by a lost target' was closed by node 1");
	CHECK_ERROR(dpi_flow_check(f[3]), DPI_ERR_FLOW, "source 0 of flow 'by a lost source' was given up by node 1");
	CHECK_ERROR(dpi_flow_join(f[2], soon(), &source), DPI_ERR_FLOW, "target 0 of flow");
	for (int i = 0; i < 4; i++) dpi_flow_unref(f[i]);
	struct dpi_flow *late; /* whoever comes now hears of it too */
	CHECK_DPI(dpi_flow_open(ctx, names[1], dpi_now(), soon(), &late));
	CHECK_ERROR(dpi_flow_check(late), DPI_ERR_CANCELLED, "enough");
	dpi_flow_unref(late);
	finish(ctx, 3);
}

TEST(a_dead_node, "FL-118 FL-119 FL-120", 3)
{
	if (rank == 2) harness_expect_death(2);
	struct dpi_context *ctx = start();
	struct dpi_flow *fails = make(ctx, "fails", 3, 0, DPI_DEATH_FAILS),
			*goes_on = make(ctx, "goes on", 3, 2, DPI_DEATH_GOES_ON);
	struct dpi_flow *other = make(ctx, "other", 3, 0, DPI_DEATH_FAILS),
			*done = make(ctx, "done", 1, 1, DPI_DEATH_FAILS), *none;
	uint32_t source[3];
	CHECK_DPI(dpi_flow_bind(fails, (uint32_t)rank, 1, soon()));
	CHECK_DPI(dpi_flow_bind(goes_on, (uint32_t)rank, 1, soon()));
	if (rank) CHECK_DPI(dpi_flow_join(goes_on, soon(), &source[0]));
	if (rank == 2) {
		CHECK_DPI(dpi_flow_join(fails, soon(), &source[1]));
		/* all that it had of this one is over */
		CHECK_DPI(dpi_flow_bind(done, 0, 1, soon()));
		CHECK_DPI(dpi_flow_join(done, soon(), &source[2]));
		CHECK_DPI(dpi_flow_leave(done, source[2], 0, DPI_SOURCE_CLOSED, soon()));
		CHECK_DPI(dpi_flow_unbind(done, 0, DPI_TARGET_ENDED, soon()));
	}
	harness_barrier();
	if (rank == 2) harness_kill(2, SIGKILL);
	await(fails, has_failed, fails);
	CHECK_ERROR(dpi_flow_check(fails), DPI_ERR_PEER, "flow 'fails' lost source 0 and 1 more: node 2 (process ");
	await_state(goes_on, 2, 1, true);
	CHECK_DPI(dpi_flow_check(goes_on));
	CHECK_INT(dpi_flow_where(goes_on, 0).state, ==, DPI_TARGET_BOUND);
	while (dpi_flow_where(goes_on, 2).state != DPI_TARGET_DEAD) harness_pause();
	CHECK_ERROR(dpi_flow_bind(goes_on, 2, 7, soon()), DPI_ERR_EXISTS, "died on node 2");
	for (uint32_t i = 0; i < 2; i++)
		CHECK((goes_on->source_node[i] == 2) == (dpi_flow_whose(goes_on, i).state == DPI_SOURCE_DEAD));
	if (rank == 1) CHECK_DPI(dpi_flow_leave(goes_on, source[0], 0, DPI_SOURCE_CLOSED, soon()));
	await_state(goes_on, 2, 2, true);
	CHECK(dpi_flow_complete(goes_on));
	CHECK_DPI(dpi_flow_seal(other, soon()));
	CHECK(dpi_flow_complete(done));
	CHECK_DPI(dpi_flow_check(done));
	CHECK_ERROR(dpi_flow_open(ctx, "none", dpi_now(), soon(), &none), DPI_ERR_NAME, "no flow 'none'");
	dpi_flow_unref(fails);
	dpi_flow_unref(goes_on);
	dpi_flow_unref(other);
	dpi_flow_unref(done);
	finish(ctx, 2);
}

static bool is_orphan(void *arg)
{
	return atomic_load(&((struct dpi_flow *)arg)->orphaned);
}

TEST(the_registry_dies, "FL-115", 3)
{
	if (rank == 0) harness_expect_death(0);
	struct dpi_context *ctx = start();
	struct dpi_flow *f = make(ctx, "f", 1, 0, DPI_DEATH_FAILS), *g = make(ctx, "g", 1, 1, DPI_DEATH_FAILS), *none;
	DPI_Flow handle;
	uint32_t source;
	CHECK_DPI(DPI_Open_Flow("f", NULL, 0, ctx->handle, &handle));
	if (rank == 1) {
		CHECK_DPI(dpi_flow_bind(f, 0, 1, soon()));
		CHECK_DPI(dpi_flow_join(g, soon(), &source));
		CHECK_DPI(dpi_flow_leave(g, source, 0, DPI_SOURCE_CLOSED, soon()));
	}
	if (rank) await_state(g, 1, 1, true);
	harness_barrier();
	if (rank == 0) harness_kill(0, SIGKILL);
	uint64_t before = atomic_load(&f->version);
	await(f, is_orphan, f);
	CHECK_INT(atomic_load(&f->version), >, before - 1);
	CHECK_INT(atomic_load(&f->failed), ==, 0);
	CHECK(dpi_flow_complete(g));
	CHECK_ERROR(dpi_flow_join(f, soon(), &source), DPI_ERR_REGISTRY, "node 0");
	CHECK_ERROR(dpi_flow_seal(f, soon()), DPI_ERR_REGISTRY, "node 0");
	CHECK_ERROR(dpi_flow_cancel(f, "x", soon()), DPI_ERR_REGISTRY, "node 0");
	CHECK_ERROR(dpi_flow_unbind(f, 0, DPI_TARGET_ENDED, soon()), DPI_ERR_REGISTRY, "node 0");
	CHECK_ERROR(dpi_flow_open(ctx, "f", dpi_now(), soon(), &none), DPI_ERR_REGISTRY, "registry");
	CHECK_ERROR(dpi_flow_destroy(ctx, "f", soon()), DPI_ERR_REGISTRY, "registry");
	dpi_flow_fail(f, DPI_ERR_FLOW, "told to nobody");
	CHECK_ERROR(dpi_flow_check(f), DPI_ERR_FLOW, "told to nobody");
	dpi_flow_unref(f);
	dpi_flow_unref(g);
	CHECK_DPI(DPI_Finalize(ctx->handle));
}

/* The creator dies between naming and saying so, or the destroyer before it removes the name: a name of nothing. */
TEST(a_name_of_nothing_is_removed, "", 2)
{
	struct dpi_context *ctx = start();
	struct dpi_name entry = { DPI_NAME_FLOW, 0, dpi_peer_find(ctx, 0)->incarnation, 1000 };
	struct dpi_flow *f;
	if (rank == 1) {
		CHECK_DPI(dpi_name_publish(ctx, "f", &entry, soon()));
		CHECK_ERROR(dpi_flow_open(ctx, "f", dpi_now(), soon(), &f), DPI_ERR_NAME, "'f'");
		CHECK_ERROR(dpi_flow_open(ctx, "f", dpi_now(), soon(), &f), DPI_ERR_NAME, "'f'");
		CHECK_DPI(dpi_name_publish(ctx, "f", &entry, soon()));
		CHECK_ERROR(dpi_flow_destroy(ctx, "f", soon()), DPI_ERR_NAME, "another caller");
		CHECK_DPI(dpi_name_publish(ctx, "f", &entry, soon()));
		f = make(ctx, "f", 1, 0, DPI_DEATH_FAILS);
		dpi_flow_unref(f);
	}
	finish(ctx, 2);
}

/* Rank 1 names a flow, and dies before it says so to the coordinator: whoever has opened the flow by then keeps it. */
TEST(a_creator_that_dies_unheard, "FL-111", 2)
{
	if (rank == 1) harness_expect_death(1);
	struct dpi_context *ctx = start();
	struct dpi_flow *other = make(ctx, "other", 1, 0, DPI_DEATH_FAILS), *f;
	uint32_t source;
	if (rank == 1) {
		struct dpi_pack p = { 0 };
		struct dpi_reply reply;
		uint8_t *bytes;
		size_t size;
		CHECK_DPI(dpi_flow_bind(other, 0, 1, soon()));
		CHECK_DPI(dpi_definition_write(other->definition, &bytes, &size));
		dpi_pack_u64(&p, 77);
		dpi_pack_text(&p, "f");
		dpi_pack_bytes(&p, bytes, (uint32_t)size);
		free(bytes);
		CHECK_DPI(dpi_call(ctx, 0, DPI_FLOW_CREATE, &p, soon(), &reply));
		struct dpi_name entry = { DPI_NAME_FLOW, 0, dpi_peer_find(ctx, 0)->incarnation, dpi_unpack_u64(&reply.body) };
		dpi_reply_free(&reply);
		CHECK_DPI(dpi_name_publish(ctx, "f", &entry, soon()));
		pause();
	}
	CHECK_DPI(dpi_flow_open(ctx, "f", soon(), soon(), &f));
	harness_kill(1, SIGKILL);
	await(other, has_failed, other);
	CHECK_DPI(dpi_flow_join(f, soon(), &source));
	CHECK_DPI(dpi_flow_seal(f, soon()));
	dpi_flow_unref(f);
	dpi_flow_unref(other);
	CHECK_DPI(DPI_Finalize(ctx->handle));
}

/* The call times out; what it has done by then is undone. */
TEST(a_join_nobody_waits_for, "", 2)
{
	struct dpi_context *ctx = start();
	struct dpi_flow *f = make(ctx, "f", 1, 0, DPI_DEATH_FAILS);
	uint32_t source;
	harness_barrier();
	if (rank == 1) {
		harness_kill(0, SIGSTOP);
		CHECK_ERROR(dpi_flow_join(f, dpi_now() + 20 * MS, &source), DPI_ERR_TIMEOUT, "node 0 has not answered");
		CHECK_ERROR(dpi_flow_bind(f, 0, 9, dpi_now() + 20 * MS), DPI_ERR_TIMEOUT, "node 0 has not answered");
		harness_kill(0, SIGCONT);
	}
	await_state(f, 1, 1, false);
	if (rank == 1) {
		CHECK_DPI(dpi_flow_bind(f, 0, 10, soon()));
		CHECK_INT(dpi_flow_where(f, 0).queue, ==, 10);
		CHECK_DPI(dpi_flow_unbind(f, 0, DPI_TARGET_ENDED, soon()));
	}
	dpi_flow_unref(f);
	finish(ctx, 2);
}

/* ------------------------------------------------------------------------------------------------- many at once */

#define FLOWS 5
#define THREADS 3

struct worker {
	struct dpi_context *ctx;
	int who;
};

/* Make, open, use and destroy flows of a few names that all the others use too. */
static void *work(void *arg)
{
	const struct worker *me = arg;
	struct draws d = draws_from(me->who);
	for (int i = 0, n = rounds(400); i < n; i++) {
		char name[16];
		struct dpi_flow *f = NULL;
		uint32_t source, target = (uint32_t)draw_below(&d, 4);
		snprintf(name, sizeof name, "f%d", (int)draw_below(&d, FLOWS));
		int error, what = (int)draw_below(&d, 8);
		if (what == 0) {
			error = dpi_flow_destroy(me->ctx, name, soon());
			if (error) CHECK_INT(error, ==, DPI_ERR_NAME);
			continue;
		}
		if (what < 5) f = make(me->ctx, name, 4, 0, DPI_DEATH_FAILS);
		else if (dpi_flow_open(me->ctx, name, dpi_now() + MS, soon(), &f)) continue;
		dpi_flow_unref(dpi_flow_ref(f));
		error = dpi_flow_join(f, soon(), &source);
		if (!error) {
			CHECK_INT(dpi_flow_whose(f, source).state, ==, DPI_SOURCE_OPEN);
			error = dpi_flow_leave(f, source, 0, DPI_SOURCE_CLOSED, soon());
			if (!error) CHECK_INT(dpi_flow_whose(f, source).state, ==, DPI_SOURCE_CLOSED);
		}
		if (error) CHECK(error == DPI_ERR_DESTROYED || error == DPI_ERR_SEALED || error == DPI_ERR_FLOW);
		error = dpi_flow_bind(f, target, draw(&d), soon());
		if (!error) {
			struct dpi_flow_target t = dpi_flow_where(f, target);
			CHECK(t.state == DPI_TARGET_BOUND && t.node == me->ctx->node);
			dpi_flow_unbind(f, target, draw_below(&d, 8) ? DPI_TARGET_ENDED : DPI_TARGET_DEAD, soon());
		}
		if (draw_below(&d, 20) == 0) dpi_flow_seal(f, soon());
		if (draw_below(&d, 20) == 0) dpi_flow_fail(f, DPI_ERR_FLOW, "drawn");
		dpi_flow_unref(f);
	}
	return NULL;
}

TEST(many_at_once, "", 3, .deadline_s = 180)
{
	struct dpi_context *ctx = start();
	struct worker w[THREADS];
	pthread_t t[THREADS];
	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ ctx, rank * THREADS + i };
		t[i] = start_thread(work, &w[i]);
	}
	for (int i = 0; i < THREADS; i++) end_thread(t[i]);
	for (uint32_t i = 0; i < DPI_FLOW_BUCKETS; i++) CHECK(!ctx->flows->copy[i]);
	finish(ctx, 3);
}

/* --------------------------------------------------------------------------------------------------------- nonsense */

static int send_bytes(struct dpi_context *ctx, int node, uint16_t type, const void *bytes, size_t size)
{
	struct dpi_pack p = { .data = malloc(size + 1), .size = size, .room = size + 1 };
	memcpy(p.data, bytes, size);
	return dpi_call(ctx, node, type, &p, soon(), NULL);
}

/* A request of a type with fields drawn from what could be right, now and then cut short or too long. */
static struct dpi_pack random_request(struct draws *d, uint16_t type, const struct dpi_flow *f)
{
	static const uint32_t numbers[] = { 0, 1, 2, 3, 4, 5, 65535, 65536, 0x7fffffff, 0xffffffff };
	struct dpi_pack p = { 0 };
	bool create = type == DPI_FLOW_CREATE;
	dpi_pack_u64(&p, !create && draw_below(d, 8) ? f->id : draw(d));
	for (int i = 0, n = (int)draw_below(d, 5); i < n || (create && i < 2); i++) {
		uint8_t bytes[64];
		fill(bytes, sizeof bytes, draw(d));
		switch (draw_below(d, create ? 1 : 4)) {
		case 0:
			dpi_pack_bytes(&p, bytes, (uint32_t)draw_below(d, sizeof bytes));
			break;
		case 1:
			dpi_pack_u64(&p, draw_below(d, 2) ? draw_below(d, 4) : draw(d));
			break;
		default:
			dpi_pack_u32(&p, numbers[draw_below(d, sizeof numbers / sizeof *numbers)]);
		}
	}
	if (draw_below(d, 4) == 0) p.size = draw_below(d, p.size + 1);
	return p;
}

TEST(nonsense_to_the_coordinator, "", 2, .expect_stderr = true)
{
	struct dpi_context *ctx = start();
	struct draws d = draws_from(rank);
	struct dpi_flow *f = make(ctx, "f", 4, 0, DPI_DEATH_GOES_ON), *mine = make(ctx, "mine", 1, 0, DPI_DEATH_GOES_ON);
	uint32_t source, own;
	if (rank == 0) {
		CHECK_DPI(dpi_flow_join(f, soon(), &source));
		CHECK_DPI(dpi_flow_bind(f, 0, 5, soon()));
	}
	harness_barrier();
	if (rank == 1) {
		uint8_t bytes[64] = { 0 };
		for (uint16_t type = DPI_FLOW_CREATE; type <= DPI_FLOW_DESTROY; type++)
			for (size_t size = 0; size < 8; size++) {
				bool tell = type == DPI_FLOW_NAMED || type == DPI_FLOW_DROP || type == DPI_FLOW_CLOSE ||
					    type == DPI_FLOW_ABANDON || type == DPI_FLOW_DETACH ||
					    type == DPI_FLOW_FAIL; /* as calls they have no answer */
				if (!tell)
					CHECK_ERROR(send_bytes(ctx, 0, type, bytes, size), DPI_ERR_CORRUPT,
						    "no correct library sends");
			}
		/* what is another's */
		struct {
			uint16_t type;
			int error;
			struct dpi_pack p;
		} wrong[7] = {
			{ DPI_FLOW_LEAVE, DPI_ERR_CORRUPT, { 0 } },  { DPI_FLOW_LEAVE, DPI_ERR_CORRUPT, { 0 } },
			{ DPI_FLOW_UNBIND, DPI_ERR_CORRUPT, { 0 } }, { DPI_FLOW_UNBIND, DPI_ERR_CORRUPT, { 0 } },
			{ DPI_FLOW_OPEN, DPI_ERR_CORRUPT, { 0 } },   { DPI_FLOW_BIND, DPI_ERR_RANGE, { 0 } },
			{ DPI_FLOW_JOIN, DPI_ERR_DESTROYED, { 0 } },
		};
		for (int i = 0; i < 6; i++) dpi_pack_u64(&wrong[i].p, f->id);
		for (int i = 0; i < 2; i++)
			dpi_pack_u32(&wrong[i].p, (uint32_t)i), dpi_pack_u32(&wrong[i].p, 0), dpi_pack_u32(&wrong[i].p, DPI_SOURCE_CLOSED);
		for (int i = 2; i < 4; i++)
			dpi_pack_u32(&wrong[i].p, i == 2 ? 0 : 77), dpi_pack_u64(&wrong[i].p, 5),
				dpi_pack_u32(&wrong[i].p, DPI_TARGET_ENDED);
		dpi_pack_u64(&wrong[4].p, f->copy);
		dpi_pack_u32(&wrong[5].p, 4), dpi_pack_u64(&wrong[5].p, 5), dpi_pack_u8(&wrong[5].p, 0);
		dpi_pack_u64(&wrong[6].p, 99);
		for (int i = 0; i < 2; i++) dpi_pack_u64(&wrong[6].p, 5);
		dpi_pack_u32(&wrong[6].p, 0);
		for (int i = 0; i < 7; i++)
			CHECK_INT(dpi_call(ctx, 0, wrong[i].type, &wrong[i].p, soon(), NULL), ==, wrong[i].error);
		CHECK_INT(dpi_flow_whose(f, 0).state, ==, DPI_SOURCE_OPEN);
		CHECK_INT(dpi_flow_where(f, 0).state, ==, DPI_TARGET_BOUND);
		CHECK_DPI(dpi_flow_check(f));
		for (int i = 0, n = rounds(3000); i < n; i++) {
			uint16_t type =
				(uint16_t)(DPI_FLOW_CREATE + draw_below(&d, DPI_FLOW_MESSAGES_END - DPI_FLOW_CREATE));
			struct dpi_pack p = random_request(&d, type, f);
			CHECK_DPI(dpi_tell(ctx, dpi_peer_find(ctx, 0), type, &p));
			if (i % 100 == 0) { /* it has all been read, and what it did not name stands */
				CHECK_DPI(dpi_flow_join(mine, soon(), &own));
				CHECK_DPI(dpi_flow_leave(mine, own, 0, DPI_SOURCE_CLOSED, soon()));
			}
		}
	}
	harness_barrier();
	dpi_flow_unref(f);
	dpi_flow_unref(mine);
	finish(ctx, 2);
}

TEST(nonsense_to_a_copy, "", 2, .expect_stderr = true)
{
	struct dpi_context *ctx = start();
	struct draws d = draws_from(rank);
	static const int fails = DPI_ERR_FLOW;
	uint64_t *shared = harness_shared();
	for (int i = 0, n = rounds(300); i < n; i++) {
		struct dpi_flow *f = make(ctx, "f", 4, 0, DPI_DEATH_GOES_ON);
		if (rank == 1) shared[0] = f->id, shared[1] = f->copy;
		harness_barrier();
		if (rank == 0) {
			uint16_t type =
				(uint16_t)(DPI_FLOW_SOURCES + draw_below(&d, DPI_FLOW_MESSAGES_END - DPI_FLOW_SOURCES));
			struct dpi_pack p = { 0 };
			dpi_pack_u64(&p, shared[0]);
			dpi_pack_u64(&p, shared[1]);
			uint32_t first = draw_below(&d, 2) ? 0 : (uint32_t)draw(&d),
				 count = draw_below(&d, 2) ? (uint32_t)draw_below(&d, 6) : (uint32_t)draw(&d);
			dpi_pack_u32(&p, first);
			dpi_pack_u32(&p, count);
			for (int k = (int)draw_below(&d, 60); k > 0; k--)
				dpi_pack_u8(&p, draw_below(&d, 3) ? (uint8_t)draw_below(&d, 5) : (uint8_t)draw(&d));
			CHECK_DPI(dpi_tell(ctx, dpi_peer_find(ctx, 1), type, &p));
			CHECK_DPI(dpi_barrier(ctx, "read", 2, soon()));
		} else {
			CHECK_DPI(dpi_barrier(ctx, "read", 2, soon()));
			int error = dpi_flow_check(f);
			if (error)
				CHECK(error == fails || error == DPI_ERR_PEER || error == DPI_ERR_CANCELLED ||
				      error == DPI_ERR_DESTROYED);
			CHECK_INT(atomic_load(&f->over), <=, atomic_load(&f->opened));
			for (uint32_t k = 0; k < 8; k++) {
				CHECK_INT(dpi_flow_whose(f, k).state, <=, DPI_SOURCE_DEAD);
				CHECK_INT(dpi_flow_where(f, k).state, <=, DPI_TARGET_LOST);
			}
			/* one who has no right to tell */
			struct dpi_pack p = { 0 };
			dpi_pack_u64(&p, shared[0]);
			dpi_pack_u64(&p, 1);
			CHECK_DPI(dpi_tell(ctx, dpi_peer_find(ctx, 0), DPI_FLOW_SEALED, &p));
		}
		CHECK_DPI(dpi_barrier(ctx, "looked", 2, soon()));
		if (rank == 0) CHECK(!atomic_load(&f->sealed));
		dpi_flow_unref(f);
		harness_barrier();
		if (rank == 0) dpi_flow_destroy(ctx, "f", soon());
		harness_barrier();
	}
	finish(ctx, 2);
}
