/* SPDX-License-Identifier: Apache-2.0
 * flow_test.c: copies of flows and their coordinator: what each process hears, and when; deaths; the registry's death; requests
 * and news that no correct library sends. */
#include <signal.h>

#include "flows/layer.h"
#include "registry.h"
#include "unit.h"
#include "wait.h"

static int64_t soon(void)
{
	return dpi_now() + 5 * SECOND * harness_slow();
}

static struct dpi_context *start(void)
{
	DPI_Context handle;
	CHECK_DPI(DPI_Init(&handle));
	CHECK_DPI(dpi_barrier(dpi_context(), "in", (uint32_t)dpi_context()->expected_nodes + !dpi_context()->expected_nodes, soon()));
	return dpi_context();
}

static void finish(struct dpi_context *ctx, uint32_t nodes)
{
	CHECK_DPI(dpi_barrier(ctx, "out", nodes, soon()));
	CHECK_DPI(DPI_Finalize(ctx->handle));
}

static struct dpi_flow *make(struct dpi_context *ctx, const char *name, uint32_t targets, uint32_t sources, int on_death)
{
	static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 }, { "value", DPI_TYPE_INT64, 0, 0, 0, 0 } };
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
	return atomic_load(&s->f->opened) >= s->opened && atomic_load(&s->f->over) >= s->over && atomic_load(&s->f->sealed) >= s->sealed;
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

TEST(a_flow_lives_and_ends, "", 3)
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
	CHECK_INT(dpi_flow_source_state(f, source), ==, DPI_SOURCE_OPEN);
	CHECK_INT(f->source_node[source], ==, rank);
	CHECK_DPI(dpi_flow_join(f, soon(), &other));
	CHECK_INT(other, >, source);
	await_state(f, 6, 0, true); /* sealed by its definition */
	CHECK(!dpi_flow_complete(f));
	CHECK_ERROR(dpi_flow_join(f, soon(), &other), DPI_ERR_SEALED, "after 6 sources");
	harness_barrier();
	CHECK_DPI(dpi_flow_leave(f, source, DPI_SOURCE_CLOSED, soon()));
	CHECK_INT(dpi_flow_source_state(f, source), ==, DPI_SOURCE_CLOSED);
	CHECK_DPI(dpi_flow_leave(f, source, DPI_SOURCE_CLOSED, soon()));
	for (source = 0; source < 6; source++)
		if (f->source_node[source] == rank) CHECK_DPI(dpi_flow_leave(f, source, DPI_SOURCE_CLOSED, soon()));
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

TEST(a_destroyed_flow_fails_everywhere, "", 2)
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
	struct dpi_flow *again = make(ctx, "f", 2, 0, DPI_DEATH_FAILS);
	CHECK(again != f);
	CHECK_DPI(dpi_flow_check(again));
	dpi_flow_unref(f);
	dpi_flow_unref(again);
	finish(ctx, 2);
}

TEST(a_failure_is_everybodys, "", 3)
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
		dpi_flow_leave(f[3], source, DPI_SOURCE_DEAD, soon());
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

TEST(a_dead_node, "", 3)
{
	if (rank == 2) harness_expect_death(2);
	struct dpi_context *ctx = start();
	struct dpi_flow *fails = make(ctx, "fails", 3, 0, DPI_DEATH_FAILS), *goes_on = make(ctx, "goes on", 3, 2, DPI_DEATH_GOES_ON);
	struct dpi_flow *other = make(ctx, "other", 3, 0, DPI_DEATH_FAILS), *done = make(ctx, "done", 1, 1, DPI_DEATH_FAILS), *none;
	uint32_t source[3];
	CHECK_DPI(dpi_flow_bind(fails, (uint32_t)rank, 1, soon()));
	CHECK_DPI(dpi_flow_bind(goes_on, (uint32_t)rank, 1, soon()));
	if (rank) CHECK_DPI(dpi_flow_join(goes_on, soon(), &source[0]));
	if (rank == 2) {
		CHECK_DPI(dpi_flow_join(fails, soon(), &source[1]));
		/* all that it had of this one is over */
		CHECK_DPI(dpi_flow_bind(done, 0, 1, soon()));
		CHECK_DPI(dpi_flow_join(done, soon(), &source[2]));
		CHECK_DPI(dpi_flow_leave(done, source[2], DPI_SOURCE_CLOSED, soon()));
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
		CHECK_INT(dpi_flow_source_state(goes_on, i), ==, goes_on->source_node[i] == 2 ? DPI_SOURCE_DEAD : DPI_SOURCE_OPEN);
	if (rank == 1) CHECK_DPI(dpi_flow_leave(goes_on, source[0], DPI_SOURCE_CLOSED, soon()));
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

TEST(the_registry_dies, "", 3)
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
		CHECK_DPI(dpi_flow_leave(g, source, DPI_SOURCE_CLOSED, soon()));
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
