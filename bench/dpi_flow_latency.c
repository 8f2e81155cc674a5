/* SPDX-License-Identifier: Apache-2.0 */
/* A row pushed into a flow with the latency hint, answered by one of another flow: half of that. */
#include "dpi_job.h"
#include "latency.h"

#define WAIT_US (20 * 1000000)

static struct options o;

struct side {
	DPI_Context ctx;
	DPI_Source out;
	DPI_Target in;
	const unsigned char *row;
};

static DPI_Flow flow_new(const char *name, DPI_Context ctx)
{
	DPI_Column columns[] = {
		{ .name = "key", .type = DPI_TYPE_INT64 },
		{ .name = "value", .type = DPI_TYPE_FIXED, .width = (uint32_t)o.size - 8 },
	};
	DPI_Flow_Attr attr = DPI_FLOW_ATTR_INIT;
	DPI_Flow flow;

	need(DPI_Create_Schema(columns, o.size > 8 ? 2 : 1, &attr.schema));
	attr.create = DPI_CREATE_OR_OPEN;
	attr.sources = attr.targets = 1;
	attr.dist = DPI_DIST_ROUND_ROBIN;
	attr.hint = DPI_HINT_LATENCY;
	need(DPI_Create_Flow(name, &attr, ctx, &flow));
	need(DPI_Free_Schema(attr.schema));
	return flow;
}

static struct side side_open(unsigned node, const unsigned char *row)
{
	struct side s = { .ctx = job_join(node), .row = row };
	DPI_Source_Attr source = DPI_SOURCE_ATTR_INIT;
	DPI_Target_Attr target = DPI_TARGET_ATTR_INIT;
	DPI_Flow there = flow_new("there", s.ctx), back = flow_new("back", s.ctx);

	source.timeout_us = target.timeout_us = WAIT_US;
	need(DPI_Open_Target(0, &target, node ? there : back, &s.in));
	need(DPI_Open_Source(node ? back : there, &source, &s.out));
	return s;
}

static void side_close(struct side *s)
{
	need(DPI_Barrier("end", 2, WAIT_US, s->ctx));
	need(DPI_Finalize(s->ctx));
}

static int take(struct side *s)
{
	DPI_Tuple tuple;
	int error = DPI_Next(s->in, &tuple);

	if (error == DPI_ERR_END)
		return error;
	need(error);
	keep(read_lines(tuple.data, tuple.size));
	return error;
}

static void round_trip(void *arg)
{
	struct side *s = arg;

	need(DPI_Push(s->row, o.size, s->out));
	need(take(s));
}

static void echo(unsigned index, void *arg)
{
	struct side s;

	pin_appender(index);
	s = side_open(1, arg);
	timer_start(o.seconds); /* dies by itself 10 s later */
	while (take(&s) != DPI_ERR_END)
		need(DPI_Push(s.row, o.size, s.out));
	need(DPI_Close_Source(s.out));
	side_close(&s);
}

int main(int argc, char **argv)
{
	unsigned char *row;
	struct side s;

	options_parse(&o, "transport mode size seconds", argc, argv);
	if (strcmp(o.mode, "spin") && strcmp(o.mode, "block"))
		die(2, "--mode takes spin or block here");
	if (o.size % 8)
		die(2, "--size takes a multiple of 8 here, as rows with a key of 8 bytes have");
	row = record_new(o.size);
	job_define(2, o.transport, strcmp(o.mode, "spin") ? "0" : "10s");
	spawn(echo, 0, row);
	pin_consumer();
	s = side_open(0, row);
	timer_start(o.seconds);
	latency_run("dpi", &o, round_trip, &s);
	need(DPI_Close_Source(s.out));
	if (take(&s) != DPI_ERR_END)
		die(1, "a row too many came back");
	side_close(&s);
	reap(1);
	return 0;
}
