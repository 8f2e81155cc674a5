/* SPDX-License-Identifier: Apache-2.0
 * target_test.c: a target that waits when its flow is complete and a ring of it is not read to its end: it sleeps, and no wake-up is
 * lost. */
#include "flows/source.h"
#include "flows/target.h"
#include "unit.h"

#define ROUNDS 40

struct pair {
	DPI_Source source;
	DPI_Target target;
	int64_t key;
};

/* A flow whose only source the coordinator takes to be closed, with its ring open: as when it has heard of a death first. */
static struct pair complete_flow(int n, DPI_Context ctx)
{
	static const DPI_Column columns[] = { { "key", DPI_TYPE_INT64, 0, 0, 0, 0 } };
	struct pair p = { 0 };
	char name[16];
	DPI_Flow f;
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	snprintf(name, sizeof name, "f%d", n);
	CHECK_DPI(DPI_Create_Schema(columns, 1, &a.schema));
	a.sources = 1;
	a.dist = DPI_DIST_ROUND_ROBIN;
	a.segment = 512;
	CHECK_DPI(DPI_Create_Flow(name, &a, ctx, &f));
	CHECK_DPI(DPI_Free_Schema(a.schema));
	CHECK_DPI(DPI_Open_Target(0, NULL, f, &p.target));
	CHECK_DPI(DPI_Open_Source(f, NULL, &p.source));
	CHECK_DPI(DPI_Push(&p.key, sizeof p.key, p.source));
	CHECK_DPI(DPI_Flush_Source(p.source));
	struct dpi_source *s = dpi_source_get(p.source);
	CHECK_DPI(dpi_flow_leave(s->flow, s->number, 0, DPI_SOURCE_CLOSED, patience()));
	CHECK(dpi_flow_complete(s->flow));
	CHECK_DPI(DPI_Close_Flow(f));
	return p;
}

static void *push_and_close(void *arg)
{
	struct pair *p = arg;
	struct draws d = draws_from((int)p->key);
	usleep((useconds_t)draw_below(&d, 2000));
	p->key++;
	CHECK_DPI(DPI_Push(&p->key, sizeof p->key, p->source));
	CHECK_DPI(DPI_Flush_Source(p->source));
	usleep((useconds_t)draw_below(&d, 500));
	CHECK_DPI(DPI_Close_Source(p->source));
	return NULL;
}

/* By DPI_Next, and by DPI_Wait_Targets. */
static int take(DPI_Target target, bool by_wait)
{
	DPI_Tuple u;
	size_t which;
	if (by_wait) CHECK_DPI(DPI_Wait_Targets(&target, 1, 20000000 * harness_slow(), &which));
	return by_wait ? DPI_Try_Next(target, &u) : DPI_Next(target, &u);
}

TEST(a_target_of_a_complete_flow_sleeps, "FL-600", 1, .deadline_s = 180)
{
	DPI_Context ctx;
	CHECK_DPI(DPI_Init(&ctx));
	for (int n = 0; n < rounds(ROUNDS); n++) {
		struct pair p = complete_flow(n, ctx);
		struct dpi_target *t = dpi_target_get(p.target);
		DPI_Tuple u;
		pthread_t thread;
		CHECK_DPI(DPI_Next(p.target, &u));
		CHECK_ERROR(DPI_Try_Next(p.target, &u), DPI_ERR_AGAIN, "nothing");
		CHECK(t->last);
		CHECK(!dpi_target_ready(t)); /* so it sleeps */
		p.key = n;
		CHECK(!pthread_create(&thread, NULL, push_and_close, &p));
		CHECK_DPI(take(p.target, n % 2));
		CHECK_ERROR(take(p.target, n % 2), DPI_ERR_END, "ended");
		CHECK(!pthread_join(thread, NULL));
		CHECK_DPI(DPI_Close_Target(p.target));
	}
	CHECK_DPI(DPI_Finalize(ctx));
}
