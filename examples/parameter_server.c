/* SPDX-License-Identifier: Apache-2.0
 * parameter_server.c: trains a logistic regression on data that no process has as a whole, as section 6.2 of the DPI paper
 * describes it.
 *
 *	dpirun -n 4 build/examples/parameter_server
 *
 * All processes run this program, and each has a share of the samples. Node 0 has the model besides: a weight for each
 * feature. Each round it broadcasts the weights in the flow "model" and ends them with a mark. The workers, every process
 * one, push for each sample what it says of the weights of its features into the flow "update", and a mark of the same
 * number. That flow reduces: it has a sum for each feature, whose window ends at a mark. So a worker's samples are added up
 * before they travel, and what comes out at the server is one row for each feature, and the mark when all workers have
 * pushed theirs: then it takes a step, and the next round begins.
 *
 * When the loss gets no better the server closes its source of "model". That flow ends, the workers close theirs of
 * "update", and so that flow ends, too. Node 0 then trains alone, with all samples, and compares.
 *
 * --samples N   in all (default 5,000) */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "check.h"

enum { FEATURES = 48, IN_SAMPLE = 8, ROUNDS = 400, LOSS = -1 };

static uint64_t samples = 5000;
static DPI_Context ctx;
static int node, nodes;

struct part { /* a row of both flows: something of a feature, or of the loss */
	int64_t feature;
	double value;
};
static const DPI_Column columns[] = {
	{ .name = "feature", .type = DPI_TYPE_INT64 },
	{ .name = "value", .type = DPI_TYPE_DOUBLE },
};

static DPI_Flow create_flow(const char *name, DPI_Flow_Attr attr)
{
	DPI_Flow flow;

	CHECK(DPI_Create_Schema(columns, 2, &attr.schema));
	attr.size = sizeof attr;
	attr.create = DPI_CREATE_OR_OPEN; /* every process says the same */
	CHECK(DPI_Create_Flow(name, &attr, ctx, &flow));
	CHECK(DPI_Free_Schema(attr.schema));
	return flow;
}

/* ------------------------------------------------------------------------------------------------------------ the data */

static uint64_t mix(uint64_t x) /* the finaliser of SplitMix64 */
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* A sample is a function of its number: which features it has, and what it is; one in ten is told wrong. */
static bool sample_of(uint64_t number, int feature[IN_SAMPLE])
{
	uint64_t random = mix(number + 1);
	double truth = 0;

	for (int i = 0; i < IN_SAMPLE; i++, random /= FEATURES / IN_SAMPLE) {
		feature[i] = i * (FEATURES / IN_SAMPLE) + (int)(random % (FEATURES / IN_SAMPLE));
		truth += (double)(mix((uint64_t)feature[i] + 1000) % 2001) / 1000 - 1;
	}
	return (truth > 0) != (mix(number + 77) % 10 == 0);
}

/* What a sample says: to each of its features the same, which is returned; *loss is added to. */
static double gradient_of(uint64_t number, const double *weight, int feature[IN_SAMPLE], double *loss)
{
	bool yes = sample_of(number, feature);
	double sum = 0, p;

	for (int i = 0; i < IN_SAMPLE; i++)
		sum += weight[feature[i]];
	p = 1 / (1 + exp(-sum));
	*loss -= log(yes ? p : 1 - p);
	return p - yes;
}

/* Returns whether it goes on. */
static bool step(double *weight, const double *gradient, double loss, double *last)
{
	bool better = *last - loss > 1e-7 * (double)samples;

	for (int f = 0; f < FEATURES; f++)
		weight[f] -= 4 * gradient[f] / (double)samples;
	*last = loss;
	return better;
}

/* ---------------------------------------------------------------------------------------------------------- the worker */

struct worker {
	DPI_Target model;
	DPI_Source update;
};

static void *work(void *arg)
{
	DPI_Target model = ((struct worker *)arg)->model;
	DPI_Source update = ((struct worker *)arg)->update;
	DPI_Source_Stats stats = { .size = sizeof stats };
	DPI_Tuple tuple;
	struct part sum = { .feature = LOSS };
	double weight[FEATURES] = { 0 }, loss;
	uint64_t first = samples * (uint64_t)node / (uint64_t)nodes, end = samples * ((uint64_t)node + 1) / (uint64_t)nodes;
	int error, feature[IN_SAMPLE];

	while ((error = DPI_Next(model, &tuple)) != DPI_ERR_END) {
		CHECK(error);
		if (tuple.kind == DPI_TUPLE_ROW) {
			const struct part *p = tuple.data;
			weight[p->feature] = p->value;
			continue;
		}
		loss = 0; /* the model is here: a round begins */
		for (uint64_t n = first; n < end; n++) {
			struct part p = { 0, gradient_of(n, weight, feature, &loss) };
			for (int i = 0; i < IN_SAMPLE; i++) {
				p.feature = feature[i];
				CHECK(DPI_Push(&p, sizeof p, update));
			}
		}
		sum.value = loss;
		CHECK(DPI_Push(&sum, sizeof sum, update));
		CHECK(DPI_Push_Mark(tuple.mark, update));
	}
	CHECK(DPI_Get_Source_Stats(update, &stats));
	printf("node %d: %" PRIu64 " rows pushed, %" PRIu64 " sent\n", node, stats.reduced, stats.rows);
	CHECK(DPI_Close_Target(model));
	CHECK(DPI_Close_Source(update));
	return NULL;
}

/* ---------------------------------------------------------------------------------------------------------- the server */

static double serve(DPI_Source model, DPI_Target update)
{
	DPI_Tuple tuple;
	double weight[FEATURES] = { 0 }, gradient[FEATURES] = { 0 }, loss = 0, last = INFINITY;
	uint64_t round = 0;
	bool goes_on = true;
	int error;

	while (goes_on && round++ < ROUNDS) {
		for (int64_t f = 0; f < FEATURES; f++) {
			struct part part = { f, weight[f] };
			CHECK(DPI_Push(&part, sizeof part, model));
		}
		CHECK(DPI_Push_Mark(round, model));
		do {
			CHECK(DPI_Next(update, &tuple));
			const struct part *p = tuple.data;
			if (tuple.kind == DPI_TUPLE_ROW)
				*(p->feature == LOSS ? &loss : &gradient[p->feature]) = p->value;
		} while (tuple.kind != DPI_TUPLE_MARK);
		goes_on = step(weight, gradient, loss, &last);
	}
	CHECK(DPI_Close_Source(model));
	while ((error = DPI_Next(update, &tuple)) != DPI_ERR_END)
		CHECK(error);
	CHECK(DPI_Close_Target(update));
	printf("%d workers: loss %.6f after %" PRIu64 " rounds\n", nodes, last / (double)samples, round < ROUNDS ? round : ROUNDS);
	return last;
}

/* ------------------------------------------------------------------------------------------------------------ the check */

static double train_alone(void)
{
	double weight[FEATURES] = { 0 }, loss, last = INFINITY;
	bool goes_on = true;
	int feature[IN_SAMPLE];

	for (int round = 0; goes_on && round < ROUNDS; round++) {
		double gradient[FEATURES] = { 0 };
		loss = 0;
		for (uint64_t n = 0; n < samples; n++) {
			double g = gradient_of(n, weight, feature, &loss);
			for (int i = 0; i < IN_SAMPLE; i++)
				gradient[feature[i]] += g;
		}
		goes_on = step(weight, gradient, loss, &last);
	}
	return last;
}

int main(int argc, char **argv)
{
	DPI_Aggregate sum = { .function = DPI_AGGREGATE_SUM, .column = "value" };
	DPI_Flow model, update;
	DPI_Source out = NULL; /* of the server */
	DPI_Target in = NULL;
	struct worker worker;
	pthread_t thread;
	double loss = 0, alone;
	bool right = true;

	if (argc == 3 && !strcmp(argv[1], "--samples"))
		samples = strtoull(argv[2], NULL, 10);
	else if (argc > 1) {
		fprintf(stderr, "usage: parameter_server [--samples N]\n");
		return 2;
	}
	CHECK(DPI_Init(&ctx));
	CHECK(DPI_Get_Node_Id(ctx, &node));
	CHECK(DPI_Get_Node_Count(ctx, &nodes));
	model = create_flow("model", (DPI_Flow_Attr){ .targets = (uint32_t)nodes, .sources = 1, .dist = DPI_DIST_BROADCAST });
	update = create_flow("update", (DPI_Flow_Attr){ .sources = (uint32_t)nodes, .key = &columns[0].name, .key_count = 1,
			     .aggregates = &sum, .aggregate_count = 1, .window = DPI_WINDOW_MARKS });
	CHECK(DPI_Open_Target((uint32_t)node, NULL, model, &worker.model));
	CHECK(DPI_Open_Source(update, NULL, &worker.update));
	if (node == 0) {
		CHECK(DPI_Open_Source(model, NULL, &out));
		CHECK(DPI_Open_Target(0, NULL, update, &in));
	}
	CHECK(DPI_Barrier("open", (uint32_t)nodes, 0, ctx)); /* a mark waits for the sources that are open: for all of them */

	if (pthread_create(&thread, NULL, work, &worker)) {
		fprintf(stderr, "cannot start a thread\n");
		exit(1);
	}
	if (node == 0)
		loss = serve(out, in);
	pthread_join(thread, NULL);
	if (node == 0) {
		alone = train_alone(); /* adds the same in another order */
		right = fabs(loss - alone) <= 1e-6 * alone && alone < 0.5 * (double)samples;
		printf("alone: loss %.6f\nanswer checked: %s\n", alone / (double)samples, right ? "ok" : "WRONG");
	}
	CHECK(DPI_Barrier("end", (uint32_t)nodes, 0, ctx));
	CHECK(DPI_Finalize(ctx));
	return right ? 0 : 1;
}
