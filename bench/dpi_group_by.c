/* SPDX-License-Identifier: Apache-2.0 */
/* Group-by sum by a flow that reduces: each source has its share of the rows, each target gets its share of the groups. With --roles
 * both the first processes are sources and targets. Rows lie in memory; a round is a flow from its first push, of whichever source, to its last result.
 * sent_of_least: bytes that travelled, of a state for each group from each source. */
#include "dpi_job.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { SOURCE_GOES_ON = 1, SOURCE_STOPS };
#define WAIT_US (20 * 1000000)

static struct options o;
static unsigned nodes;
static bool both;

struct row {
	int64_t key, value;
};

struct part { /* of a process */
	uint64_t rows, sent, groups, sum;
	uint64_t ns;		/* of all rounds */
	_Atomic uint64_t start; /* of this one */
	int go;
};

static bool is_source(unsigned node)
{
	return node < o.sources;
}

/* Which target a node is; -1: none. */
static int target_of(unsigned node)
{
	if (both)
		return node < o.targets ? (int)node : -1;
	return is_source(node) ? -1 : (int)(node - o.sources);
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static struct row *rows_new(unsigned node, size_t count)
{
	struct row *row = mmap(NULL, count * sizeof *row, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (row == MAP_FAILED)
		die(1, "no memory for %zu rows", count);
	for (size_t i = 0; i < count; i++) {
		uint64_t r = mix(i * o.sources + node + 1);
		row[i] = (struct row){ (int64_t)mix((r >> 11) % o.groups + 1), (int64_t)(r >> 40) };
	}
	return row;
}

static DPI_Flow flow_new(uint64_t round, DPI_Context ctx)
{
	const DPI_Column columns[] = { { .name = "key", .type = DPI_TYPE_INT64 }, { .name = "value", .type = DPI_TYPE_INT64 } };
	const DPI_Aggregate sum = { .function = DPI_AGGREGATE_SUM, .column = "value" };
	DPI_Flow_Attr attr = DPI_FLOW_ATTR_INIT;
	DPI_Flow flow;
	char name[32];

	snprintf(name, sizeof name, "round %llu", (unsigned long long)round);
	need(DPI_Create_Schema(columns, 2, &attr.schema));
	attr.create = DPI_CREATE_OR_OPEN;
	attr.targets = (uint32_t)o.targets;
	attr.sources = (uint32_t)o.sources;
	attr.key = &columns[0].name;
	attr.key_count = 1;
	attr.aggregates = &sum;
	attr.aggregate_count = 1;
	need(DPI_Create_Flow(name, &attr, ctx, &flow));
	need(DPI_Free_Schema(attr.schema));
	return flow;
}

struct push {
	DPI_Source source;
	const struct row *row;
	size_t count;
	struct part *mine;
};

static void push_each(const struct row *row, size_t count, DPI_Source source)
{
	for (size_t i = 0; i < count; i++)
		need(DPI_Push(row + i, sizeof *row, source));
}

static void *push_all(void *arg)
{
	struct push *p = arg;
	DPI_Source_Stats stats = { .size = sizeof stats };

	if (o.batch)
		for (size_t at = 0, n = o.batch / sizeof *p->row; at < p->count; at += n)
			need(DPI_Push_Batch(p->row + at, p->count - at < n ? p->count - at : n, p->source, NULL));
	else
		push_each(p->row, p->count, p->source);
	need(DPI_Flush_Source(p->source));
	need(DPI_Get_Source_Stats(p->source, &stats));
	p->mine->sent += stats.bytes;
	need(DPI_Close_Source(p->source));
	return NULL;
}

static void take_all(DPI_Target in, struct part *mine)
{
	DPI_Tuple tuple;
	int error;

	while (!(error = DPI_Next(in, &tuple))) {
		struct row r;
		memcpy(&r, tuple.data, sizeof r);
		mine->sum += (uint64_t)r.value;
		mine->groups++;
	}
	if (error != DPI_ERR_END)
		need(error);
}

/* Where not all processes have a core, some begin before others know that they may. */
static uint64_t first_start(const struct part *all)
{
	uint64_t first = UINT64_MAX;

	for (unsigned n = 0; n < o.sources; n++)
		first = all[n].start < first ? all[n].start : first;
	return first;
}

static void one_round(uint64_t round, unsigned node, struct push *p, DPI_Context ctx)
{
	DPI_Source_Attr source = DPI_SOURCE_ATTR_INIT;
	DPI_Target_Attr target = DPI_TARGET_ATTR_INIT;
	DPI_Flow flow = flow_new(round, ctx);
	int number = target_of(node);
	DPI_Target in;
	pthread_t thread;

	source.timeout_us = target.timeout_us = WAIT_US;
	if (number >= 0)
		need(DPI_Open_Target((uint32_t)number, &target, flow, &in));
	if (is_source(node))
		need(DPI_Open_Source(flow, &source, &p->source));
	need(DPI_Barrier("begin", nodes, WAIT_US, ctx));
	p->mine->start = now_ns();
	if (is_source(node) && number >= 0) {
		if (pthread_create(&thread, NULL, push_all, p))
			die(1, "cannot start a thread");
		take_all(in, p->mine);
		pthread_join(thread, NULL);
	} else if (is_source(node)) {
		push_all(p);
	} else {
		take_all(in, p->mine);
	}
	if (number >= 0)
		p->mine->ns += now_ns() - first_start(p->mine - node);
	p->mine->rows += p->count;
	if (number >= 0)
		need(DPI_Close_Target(in));
	need(DPI_Close_Flow(flow));
}

static void side(unsigned node, void *parts)
{
	struct part *part = parts;
	struct push p = { .count = is_source(node) ? o.footprint / sizeof(struct row) / o.sources : 0, .mine = part + node };
	DPI_Context ctx;
	uint64_t expected = 0;
	struct row *row = p.count ? rows_new(node, p.count) : NULL;

	p.row = row;
	for (size_t i = 0; i < p.count; i++)
		expected += (uint64_t)row[i].value;
	ctx = job_join(node);
	timer_start(o.seconds);
	for (uint64_t round = 0; part->go != SOURCE_STOPS; round++) {
		one_round(round, node, &p, ctx);
		if (!node)
			part->go = time_is_up ? SOURCE_STOPS : SOURCE_GOES_ON;
		need(DPI_Barrier("decided", nodes, WAIT_US, ctx));
	}
	if (p.count)
		part[node].sum -= expected * (part[node].rows / p.count); /* what all together make 0 */
	need(DPI_Finalize(ctx));
}

int main(int argc, char **argv)
{
	struct part *part, all = { 0 };
	double least, rounds, rate;
	uint64_t ns = 0;

	options_parse(&o, "transport sources targets roles groups footprint batch seconds", argc, argv);
	both = !strcmp(o.roles, "both");
	nodes = (unsigned)(!both ? o.sources + o.targets : o.sources > o.targets ? o.sources : o.targets);
	part = shared_memory(nodes * sizeof *part);
	job_define(nodes, o.transport, NULL);
	for (unsigned n = 0; n < nodes; n++)
		spawn(side, n, part);
	reap(nodes);
	for (unsigned n = 0; n < nodes; n++) {
		all.rows += part[n].rows, all.sent += part[n].sent, all.groups += part[n].groups, all.sum += part[n].sum;
		if (target_of(n) >= 0 && part[n].ns > ns)
			ns = part[n].ns;
	}
	if (all.sum)
		die(1, "the sums are wrong");
	rounds = (double)all.rows / (double)(o.footprint / sizeof(struct row) / o.sources * o.sources);
	least = (double)all.groups * (double)o.sources * 24; /* key and sum of a state */
	rate = (double)all.rows / ((double)ns * 1e-9);
	result_print("group_by", "dpi", &o, (struct metric[]){ { "records_per_s", rate }, { "ms", (double)ns * 1e-6 / rounds },
		     { "groups", (double)all.groups / rounds }, { "bytes_sent", (double)all.sent / rounds },
		     { "sent_of_least", (double)all.sent / least }, { NULL, 0 } });
	return 0;
}
