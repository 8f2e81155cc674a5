/* SPDX-License-Identifier: Apache-2.0 */
#include "latency.h"

#include <stdlib.h>

enum { BLOCK = 32, SAMPLES = 1 << 20 };

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* One-way microseconds per sample, sorted; returns how many. */
static size_t sample(double *us, double seconds, unsigned trips, void (*round_trip)(void *), void *arg)
{
	uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9);
	size_t n = 0;

	do {
		uint64_t before = now_ns();

		for (unsigned i = 0; i < trips; i++)
			round_trip(arg);
		start = now_ns();
		us[n++] = (double)(start - before) / (2e3 * trips);
	} while (start < end && n < SAMPLES);
	qsort(us, n, sizeof *us, by_value);
	return n;
}

void latency_run(const char *peer, const struct options *o, void (*round_trip)(void *arg), void *arg)
{
	double *us = malloc(SAMPLES * sizeof *us), one_way;
	size_t n;

	if (!us)
		die(1, "no memory for the samples");
	n = sample(us, o->seconds / 10, BLOCK, round_trip, arg); /* warm-up */
	n = sample(us, o->seconds / 2, BLOCK, round_trip, arg);
	one_way = us[n / 2];
	n = sample(us, o->seconds / 2, 1, round_trip, arg);
	result_print("latency", peer, o,
		     (struct metric[]){ { "one_way_us", one_way },
					{ "p50_us", us[n / 2] },
					{ "p99_us", us[n * 99 / 100] },
					{ "p999_us", us[n * 999 / 1000] },
					{ NULL, 0 } });
	free(us);
}
