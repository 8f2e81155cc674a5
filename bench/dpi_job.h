/* SPDX-License-Identifier: Apache-2.0 */
/* A cluster of the benchmark's own processes, as dpirun would start it. */
#ifndef BENCH_DPI_JOB_H
#define BENCH_DPI_JOB_H

#include <dpi.h>

#include "common.h"
#include "process.h"

/* Ends the program with the library's own sentence when a call failed. */
#define need(call)                                 \
	do {                                       \
		int need_error = (call);           \
		if (__builtin_expect(need_error, 0)) \
			fail(need_error, #call);   \
	} while (0)
_Noreturn void fail(int error, const char *call);

/* Chooses the cluster's name, before any process is spawned. transport: shm or tcp. spin: NULL, or how long waits spin. */
void job_define(unsigned nodes, const char *transport, const char *spin);

/* libfabric's provider, should that be the transport. */
void job_provider(const char *name);

/* Makes the calling process node `node` of it. One call a process. */
DPI_Context job_join(unsigned node);

/* A queue of this node, and one of another node by its name. Calls on them wait for 20 s at most. */
DPI_Buffer queue_create(DPI_Context ctx, const char *name, const struct options *o);
DPI_Buffer buffer_open(DPI_Context ctx, const char *name);

#endif
