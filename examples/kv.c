/* SPDX-License-Identifier: Apache-2.0
 * kv.c: a key-value store in the memory of all processes: requests are one flow, responses another.
 *
 *	dpirun -n 4 build/examples/kv
 *
 * Every process runs this program and holds the keys that the hash sends to it. A client pushes a request into the flow
 * "requests", whose dist is the hash of the key: the row arrives at whoever holds the key, and no client knows who that is.
 * The server thread there answers by a row of the flow "responses". That one is dealt out by a function of the program,
 * registered in every process under a name and a version, which reads in the row who asked.
 *
 * Both flows have the latency hint: a row travels at once, not when its segment is full. A waiting thread sleeps.
 *
 * The store ends as it began: clients close their sources of "requests"; each server sees that flow's end and closes its
 * source of "responses"; each client sees the end of those.
 *
 * --requests N   of each client (default 2000): the first half puts, the second gets */
#include <inttypes.h>
#include <string.h>

#include "check.h"

enum { PUT, GET };

struct row { /* of both flows */
	int64_t key, value;
	int32_t from;	/* the node that asked */
	int32_t what;	/* PUT, GET; of a response: 1 if there is a value */
};
static const DPI_Column columns[] = {
	{ .name = "key", .type = DPI_TYPE_INT64 },
	{ .name = "value", .type = DPI_TYPE_INT64 },
	{ .name = "from", .type = DPI_TYPE_INT32 },
	{ .name = "what", .type = DPI_TYPE_INT32 },
};

static int64_t requests = 2000;
static DPI_Context ctx;
static int node, nodes;

/* The dist of "responses". */
static int to_asker(const void *bytes, size_t size, uint64_t key, uint32_t targets, void *arg, uint32_t *to, uint32_t *count)
{
	struct row row;

	(void)size, (void)key, (void)targets, (void)arg;
	memcpy(&row, bytes, sizeof row);
	to[0] = (uint32_t)row.from;
	*count = 1;
	return DPI_SUCCESS;
}

static DPI_Flow create_flow(const char *name, int dist)
{
	DPI_Flow_Attr attr = DPI_FLOW_ATTR_INIT;
	DPI_Flow flow;

	CHECK(DPI_Create_Schema(columns, 4, &attr.schema));
	attr.create = DPI_CREATE_OR_OPEN; /* every process says the same */
	attr.targets = attr.sources = (uint32_t)nodes;
	attr.hint = DPI_HINT_LATENCY;
	attr.dist = dist;
	if (dist == DPI_DIST_HASH) {
		attr.key = &columns[0].name;
		attr.key_count = 1;
	} else {
		attr.dist_function = "to asker";
		attr.dist_version = 1;
	}
	CHECK(DPI_Create_Flow(name, &attr, ctx, &flow));
	CHECK(DPI_Free_Schema(attr.schema));
	return flow;
}

/* ---------------------------------------------------------------------------------------------------------- the server */

struct server {
	DPI_Target requests;
	DPI_Source responses;
	struct pair { /* open addressing, at most half full */
		int64_t key, value;
		bool used;
	} *slot;
	uint64_t mask, used;
};

static struct pair *find(const struct server *s, int64_t key)
{
	uint64_t at = (uint64_t)key * 0x9e3779b97f4a7c15 >> 20 & s->mask;

	while (s->slot[at].used && s->slot[at].key != key)
		at = (at + 1) & s->mask;
	return &s->slot[at];
}

static void put(struct server *s, int64_t key, int64_t value)
{
	struct pair *p;

	if (2 * s->used >= s->mask) {
		struct server old = *s;

		s->mask = old.slot ? 2 * old.mask + 1 : 255;
		s->slot = need(calloc(s->mask + 1, sizeof *s->slot));
		for (uint64_t i = 0; old.slot && i <= old.mask; i++)
			if (old.slot[i].used)
				*find(s, old.slot[i].key) = old.slot[i];
		free(old.slot);
	}
	p = find(s, key);
	s->used += !p->used;
	*p = (struct pair){ key, value, true };
}

static void *serve(void *arg)
{
	struct server *s = arg;
	DPI_Tuple tuple;
	int error;

	while ((error = DPI_Next(s->requests, &tuple)) != DPI_ERR_END) {
		struct row row;

		CHECK(error);
		memcpy(&row, tuple.data, sizeof row);
		if (row.what == PUT) {
			put(s, row.key, row.value);
			row.what = 1;
		} else {
			const struct pair *p = s->slot ? find(s, row.key) : NULL;
			row.what = p && p->used;
			row.value = row.what ? p->value : 0;
		}
		CHECK(DPI_Push(&row, sizeof row, s->responses));
	}
	CHECK(DPI_Close_Source(s->responses));
	CHECK(DPI_Close_Target(s->requests));
	free(s->slot);
	return NULL;
}

/* ---------------------------------------------------------------------------------------------------------- the client */

/* Push a request and wait for its response, which is all that this client waits for. */
static struct row ask(int64_t key, int64_t value, int what, DPI_Source out, DPI_Target in)
{
	struct row row = { key, value, node, what };
	DPI_Tuple tuple;

	CHECK(DPI_Push(&row, sizeof row, out));
	CHECK(DPI_Next(in, &tuple));
	memcpy(&row, tuple.data, sizeof row);
	return row;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int64_t value_of(int64_t key)
{
	return key * key + 7;
}

/* Puts keys of its own; when all have, gets everybody's, and one that nobody put. Returns how many answers were wrong. */
static int64_t client(DPI_Source out, DPI_Target in)
{
	int64_t half = requests / 2, wrong = 0;
	double *us = need(calloc((size_t)half, sizeof *us));
	DPI_Tuple tuple;

	for (int64_t i = 0; i < half; i++)
		wrong += ask(node * half + i, value_of(node * half + i), PUT, out, in).what != 1;
	CHECK(DPI_Barrier("all are put", (uint32_t)nodes, 0, ctx));
	for (int64_t i = 0; i < half; i++) {
		int64_t key = (i * 7919 + node) % (half * nodes);
		double start = now();
		struct row row = ask(key, 0, GET, out, in);

		us[i] = (now() - start) * 1e6;
		wrong += row.key != key || row.what != 1 || row.value != value_of(key);
	}
	wrong += ask(half * nodes, 0, GET, out, in).what != 0;
	CHECK(DPI_Close_Source(out));
	wrong += DPI_Next(in, &tuple) != DPI_ERR_END; /* nothing more comes */
	CHECK(DPI_Close_Target(in));
	qsort(us, (size_t)half, sizeof *us, by_value);
	printf("node %d: a get takes %.1f us, 99 of 100 at most %.1f us; %" PRId64 " answers checked: %s\n", node,
	       us[half / 2], us[half * 99 / 100], 2 * half + 1, wrong ? "WRONG" : "ok");
	free(us);
	return wrong;
}

int main(int argc, char **argv)
{
	struct server server = { .mask = 0 };
	DPI_Flow requests_flow, responses_flow;
	DPI_Source out;
	DPI_Target in;
	pthread_t thread;
	int64_t wrong;

	if (argc == 3 && !strcmp(argv[1], "--requests"))
		requests = strtoll(argv[2], NULL, 10);
	else if (argc > 1)
		requests = 0;
	if (requests < 2 || requests > 100000000) {
		fprintf(stderr, "usage: kv [--requests N]\n");
		return 2;
	}
	CHECK(DPI_Init(&ctx));
	CHECK(DPI_Get_Node_Id(ctx, &node));
	CHECK(DPI_Get_Node_Count(ctx, &nodes));
	CHECK(DPI_Register_Dist("to asker", 1, to_asker, NULL));
	requests_flow = create_flow("requests", DPI_DIST_HASH);
	responses_flow = create_flow("responses", DPI_DIST_FUNCTION);
	CHECK(DPI_Open_Target((uint32_t)node, NULL, requests_flow, &server.requests));
	CHECK(DPI_Open_Target((uint32_t)node, NULL, responses_flow, &in));
	CHECK(DPI_Open_Source(requests_flow, NULL, &out));
	CHECK(DPI_Open_Source(responses_flow, NULL, &server.responses));

	if (pthread_create(&thread, NULL, serve, &server)) {
		fprintf(stderr, "cannot start a thread\n");
		return 1;
	}
	wrong = client(out, in);
	pthread_join(thread, NULL);
	CHECK(DPI_Barrier("end", (uint32_t)nodes, 0, ctx));
	CHECK(DPI_Finalize(ctx));
	return wrong ? 1 : 0;
}
