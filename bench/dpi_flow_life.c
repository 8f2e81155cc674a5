/* SPDX-License-Identifier: Apache-2.0 */
/* What a flow costs beside its rows. Two processes, each with a source and a target of every flow: create it, open the
 * endpoints, push a row, end, destroy; one flow after another, then --flows of them at once. */
#include "dpi_job.h"

#include <stdlib.h>
#include <sys/resource.h>

enum { NODES = 2, MOST = 1 << 16 };
#define WAIT_US (20 * 1000000)

static struct options o;

struct end { /* what a process has of a flow */
	DPI_Flow flow;
	DPI_Source source;
	DPI_Target target;
};

static struct end end_open(const char *name, unsigned node, DPI_Schema schema, DPI_Context ctx)
{
	DPI_Flow_Attr attr = DPI_FLOW_ATTR_INIT;
	DPI_Source_Attr source = DPI_SOURCE_ATTR_INIT;
	DPI_Target_Attr target = DPI_TARGET_ATTR_INIT;
	struct end e;

	attr.create = DPI_CREATE_OR_OPEN;
	attr.schema = schema;
	attr.targets = attr.sources = NODES;
	attr.dist = DPI_DIST_BROADCAST;
	attr.memory = o.ring;
	source.timeout_us = target.timeout_us = WAIT_US;
	need(DPI_Create_Flow(name, &attr, ctx, &e.flow));
	need(DPI_Open_Target(node, &target, e.flow, &e.target));
	need(DPI_Open_Source(e.flow, &source, &e.source));
	return e;
}

static void end_push(struct end *e, int64_t row)
{
	need(DPI_Push(&row, sizeof row, e->source));
	need(DPI_Close_Source(e->source));
}

/* Takes a row of each source, then the end. */
static void end_take(struct end *e, int64_t row)
{
	for (int n = 0;; n++) {
		DPI_Tuple tuple;
		int error = DPI_Next(e->target, &tuple);

		if (error == DPI_ERR_END && n == NODES)
			break;
		need(error);
		if (memcmp(tuple.data, &row, sizeof row))
			die(1, "a row of another flow came");
	}
	need(DPI_Close_Target(e->target));
	need(DPI_Close_Flow(e->flow));
}

static char *name_of(uint64_t flow)
{
	static char name[32];

	snprintf(name, sizeof name, "flow %llu", (unsigned long long)flow);
	return name;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* One after another; the median's microseconds. */
static double one_by_one(unsigned node, DPI_Schema schema, DPI_Context ctx)
{
	uint64_t flows = o.flows;
	double *us = calloc(flows, sizeof *us), median;

	if (!us)
		die(1, "no memory for %llu times", (unsigned long long)flows);
	for (uint64_t i = 0; i < flows; i++) {
		uint64_t start;
		struct end e;

		need(DPI_Barrier("begin", NODES, WAIT_US, ctx));
		start = now_ns();
		e = end_open(name_of(i), node, schema, ctx);
		end_push(&e, (int64_t)i);
		end_take(&e, (int64_t)i);
		us[i] = (double)(now_ns() - start) * 1e-3;
		need(DPI_Barrier("ended", NODES, WAIT_US, ctx));
		if (!node)
			need(DPI_Destroy_Flow(name_of(i), ctx));
	}
	qsort(us + flows / 10, flows - flows / 10, sizeof *us, by_value); /* what came first warmed up */
	median = us[flows / 10 + (flows - flows / 10) / 2];
	free(us);
	return median;
}

/* All alive before the first one ends; the milliseconds. */
static double at_once(unsigned node, DPI_Schema schema, DPI_Context ctx)
{
	struct end *ends = calloc(o.flows, sizeof *ends);
	uint64_t start;

	if (!ends)
		die(1, "no memory for %llu flows", (unsigned long long)o.flows);
	need(DPI_Barrier("all", NODES, WAIT_US, ctx));
	start = now_ns();
	for (uint64_t i = 0; i < o.flows; i++)
		ends[i] = end_open(name_of(MOST + i), node, schema, ctx);
	need(DPI_Barrier("alive", NODES, WAIT_US, ctx));
	for (uint64_t i = 0; i < o.flows; i++)
		end_push(&ends[i], (int64_t)i);
	for (uint64_t i = 0; i < o.flows; i++)
		end_take(&ends[i], (int64_t)i);
	free(ends);
	return (double)(now_ns() - start) * 1e-6;
}

static void side(unsigned node, void *us_ms)
{
	DPI_Column column = { .name = "key", .type = DPI_TYPE_INT64 };
	double *result = us_ms;
	DPI_Schema schema;
	DPI_Context ctx;

	pin_core(node);
	ctx = job_join(node);
	need(DPI_Create_Schema(&column, 1, &schema));
	timer_start(o.seconds + 20);
	result[0] = one_by_one(node, schema, ctx);
	result[1] = at_once(node, schema, ctx);
	need(DPI_Barrier("end", NODES, WAIT_US, ctx));
	need(DPI_Finalize(ctx));
}

int main(int argc, char **argv)
{
	double us_ms[2], other[2];
	struct rusage usage;

	options_parse(&o, "transport flows ring seconds", argc, argv);
	job_define(NODES, o.transport, NULL);
	spawn(side, 1, other);
	side(0, us_ms);
	reap(1);
	getrusage(RUSAGE_SELF, &usage);
	result_print("flow_life", "dpi", &o,
		     (struct metric[]){ { "flow_us", us_ms[0] }, { "at_once_ms", us_ms[1] },
					{ "resident_bytes", (double)usage.ru_maxrss * 1024 }, { NULL, 0 } });
	return 0;
}
