/* SPDX-License-Identifier: Apache-2.0
 * staging.c: trials of staging.h. They are of all lanes together, since the time that rows take is that of the one thread that pushes them. */
#include "staging.h"

#include <time.h>

#include "retain.h"

#define PHASE 8u	 /* segments of each target that was asked for a ring */
#define MOST 16u	 /* targets: the stages are to stay in the cache */
#define TRIAL_EVERY 512u /* of so many phases the first, third and so on are as they are, */
#define TRIALS 4u	 /* the second and fourth staged, and the others so if that was faster, */
#define WORTH 3 / 4	 /* by a quarter at least: where it is worth it, it is by more than half */

void dpi_staging_open(struct dpi_source *s)
{
	const struct dpi_definition *d = s->flow->definition;
	s->staging.rows = d->targets <= MOST && s->row_size && s->row_size <= DPI_SMALL_BYTES && !s->columns && !s->coded && !s->pipe && !s->retain && d->hint != DPI_HINT_LATENCY;
}

/* Of this thread: others have the processor, too. A source that went from thread to thread makes one trial in vain. */
static int64_t thread_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000 + t.tv_nsec;
}

bool dpi_staging_begins(struct dpi_source *s)
{
	struct dpi_staging *t = &s->staging;
	if (!t->rows || s->batch) return false; /* what a batch copies goes where it belongs at once */
	if (t->left) {
		t->left--;
		return t->staged;
	}
	uint64_t bytes = t->bytes - t->from;
	uint32_t last = (t->phases - 1) % TRIAL_EVERY, next = t->phases++ % TRIAL_EVERY;
	int64_t now = last < TRIALS || next < TRIALS ? thread_ns() : 0; /* that costs as much as a hundred rows */
	if (last < TRIALS && bytes && now > t->since) {
		int64_t *cost = &t->cost[last & 1], took = (int64_t)((double)(now - t->since) * 65536 / (double)bytes);
		if (last < 2 || took < *cost) *cost = took;
	}
	t->staged = next < TRIALS ? next & 1 : t->cost[1] < t->cost[0] * WORTH;
	t->left = PHASE * s->asked;
	t->from = t->bytes;
	t->since = now;
	return t->staged;
}
