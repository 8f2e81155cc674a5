/* SPDX-License-Identifier: Apache-2.0
 * check.h: what the examples do when a call fails, which is to say why and end. */
#ifndef CHECK_H
#define CHECK_H

#include <dpi.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Every call returns DPI_SUCCESS or an error class; the detail is a sentence: what happened and what to do. */
#define CHECK(call) check((call), #call)
static inline void check(int error, const char *call)
{
	const char *detail;

	if (error == DPI_SUCCESS)
		return;
	DPI_Get_Error_Detail(&detail);
	fprintf(stderr, "%s: %s\n", call, detail);
	exit(1);
}

static inline void *need(void *memory)
{
	if (!memory)
		fprintf(stderr, "out of memory\n"), exit(1);
	return memory;
}

static inline double now(void) /* seconds */
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Join a thread, if it ends within so many seconds. */
static inline bool join_within(pthread_t thread, double seconds)
{
	struct timespec until;
	int64_t ns;

	clock_gettime(CLOCK_REALTIME, &until);
	ns = until.tv_nsec + (int64_t)(seconds * 1e9);
	until.tv_sec += (time_t)(ns / 1000000000);
	until.tv_nsec = (long)(ns % 1000000000);
	return !pthread_timedjoin_np(thread, NULL, &until);
}

#endif
