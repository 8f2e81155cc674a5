/* SPDX-License-Identifier: Apache-2.0 */
/* The join by two flows: each process pushes its share of orders, then of lineitem, by the hash of the key, and in between takes
 * what has come to it. One thread a process. With --bloom 1 the sources of lineitem drop the lines whose order is certainly
 * in no process. */
#include "dpi_job.h"
#include "join.h"

enum { CHUNK = 8192, WAIT_US = 20 * 1000000 }; /* rows pushed between two looks at what came: they fit a ring, whosever they are */

static struct options o;
static struct join_outcome *outcomes;

struct way { /* a table's: the flow's two ends here */
	DPI_Flow flow;
	DPI_Source source;
	DPI_Target target;
	void (*take)(struct join_table *t, const void *rows, size_t count);
};

static void take_orders(struct join_table *t, const void *rows, size_t count)
{
	join_keep(t, rows, count);
}

static void take_items(struct join_table *t, const void *rows, size_t count)
{
	join_probe(t, rows, count);
}

static struct way way_open(DPI_Context ctx, unsigned node, const char *name, bool items)
{
	const DPI_Column columns[2][4] = {
		{ { .name = "key", .type = DPI_TYPE_INT64 }, { .name = "total", .type = DPI_TYPE_INT64 }, { .name = "date", .type = DPI_TYPE_INT64 } },
		{ { .name = "key", .type = DPI_TYPE_INT64 }, { .name = "price", .type = DPI_TYPE_INT64 }, { .name = "discount", .type = DPI_TYPE_INT32 },
		  { .name = "ship_date", .type = DPI_TYPE_INT32 } },
	};
	DPI_Flow_Attr attr = DPI_FLOW_ATTR_INIT;
	DPI_Target_Attr quick = DPI_TARGET_ATTR_INIT;
	const char *key = "key";
	struct way w = { .take = items ? take_items : take_orders };

	need(DPI_Create_Schema(columns[items], items ? 4 : 3, &attr.schema));
	attr.create = DPI_CREATE_OR_OPEN;
	attr.sources = attr.targets = (uint32_t)o.processes;
	attr.key = &key;
	attr.key_count = 1;
	attr.segment = 65536;
	need(DPI_Create_Flow(name, &attr, ctx, &w.flow));
	need(DPI_Free_Schema(attr.schema));
	quick.timeout_us = DPI_NO_WAIT;
	need(DPI_Open_Target(node, &quick, w.flow, &w.target));
	need(DPI_Open_Source(w.flow, NULL, &w.source));
	return w;
}

/* Takes what is there; false: the flow has ended. */
static bool take(struct way *w, struct join_table *t)
{
	DPI_Batch run;
	int error;

	while (!(error = DPI_Next_Batch(w->target, &run))) {
		w->take(t, run.rows, run.count);
		need(DPI_Release_Batch(1, w->target));
	}
	if (error != DPI_ERR_TIMEOUT && error != DPI_ERR_END)
		need(error);
	return error != DPI_ERR_END;
}

static uint64_t move(struct way *w, struct join_table *t, const void *rows, size_t count, size_t size)
{
	DPI_Source_Stats sent = { .size = sizeof sent };
	const unsigned char *at = rows;
	size_t index;

	for (size_t n; count; count -= n, at += n * size) {
		n = count < CHUNK ? count : CHUNK;
		need(DPI_Push_Batch(at, n, w->source, NULL));
		take(w, t);
	}
	need(DPI_Get_Source_Stats(w->source, &sent));
	need(DPI_Close_Source(w->source));
	while (take(w, t))
		need(DPI_Wait_Targets(&w->target, 1, WAIT_US, &index));
	return sent.bytes;
}

/* The keys of orders that come to this process, at first. */
static DPI_Bloom keys_of(struct way *orders)
{
	DPI_Bloom_Attr attr = DPI_BLOOM_ATTR_INIT;
	DPI_Bloom mine;

	attr.expected = (uint64_t)(o.scale * 1500000 * o.select) + 1000;
	need(DPI_Create_Bloom(orders->flow, &attr, &mine));
	need(DPI_Set_Target_Bloom(mine, orders->target));
	return mine;
}

/* Those of all, to where lines are pushed. */
static void keys_to(struct way *items, DPI_Bloom mine, DPI_Context ctx)
{
	DPI_Bloom all;

	need(DPI_Publish_Bloom("orders' keys", (uint32_t)o.processes, mine));
	need(DPI_Close_Bloom(mine));
	need(DPI_Open_Bloom("orders' keys", WAIT_US, ctx, &all));
	need(DPI_Set_Source_Bloom(all, items->source));
	need(DPI_Close_Bloom(all));
}

static void work(unsigned node, void *unused)
{
	DPI_Context ctx;
	struct share s = share_new(o.scale, node, (unsigned)o.processes);
	struct join_outcome *mine = &outcomes[node];
	struct join_table t = { 0 };
	DPI_Bloom keys = NULL;

	(void)unused;
	pin_core(node);
	share_select(&s, o.select);
	mine->want = share_answer(&s);
	ctx = job_join(node);
	struct way orders = way_open(ctx, node, "orders", false), items = way_open(ctx, node, "lineitem", true);
	need(DPI_Barrier("ready", (uint32_t)o.processes, WAIT_US, ctx));
	mine->start = now_ns();
	if (o.bloom)
		keys = keys_of(&orders);
	mine->sent = move(&orders, &t, s.orders, s.order_count, sizeof *s.orders);
	join_build(&t);
	if (o.bloom)
		keys_to(&items, keys, ctx);
	mine->sent += move(&items, &t, s.items, s.item_count, sizeof *s.items);
	mine->end = now_ns();
	mine->got = t.answer;
	join_free(&t);
	need(DPI_Barrier("end", (uint32_t)o.processes, WAIT_US, ctx));
	need(DPI_Finalize(ctx));
}

int main(int argc, char **argv)
{
	options_parse(&o, "transport processes scale select bloom", argc, argv);
	outcomes = shared_memory((size_t)o.processes * sizeof *outcomes);
	job_define((unsigned)o.processes, o.transport, NULL);
	for (unsigned p = 0; p < o.processes; p++)
		spawn(work, p, NULL);
	reap((unsigned)o.processes);
	join_print("dpi", &o, outcomes, (unsigned)o.processes);
	return 0;
}
