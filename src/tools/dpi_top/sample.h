/* SPDX-License-Identifier: Apache-2.0
 * sample.h: what dpi-top has seen at one moment, and how it differs from the moment before. */
#ifndef DPI_TOP_SAMPLE_H
#define DPI_TOP_SAMPLE_H

#include <dpi.h>
#include <stdbool.h>

/* A source or target. */
struct seen {
	DPI_Endpoint_Info now;
	double rows_per_s, bytes_per_s;
	double waited; /* part of the time since the last sample: a source for room, a target for rows; 0 … 1 */
	int waits_for; /* source: the node of the target that it waits for; -1: nobody, or not open */
};

/* Those of one flow lie together: sources, then targets, by number. */
struct flow {
	const DPI_Flow_Info *info; /* of those who know it, whoever has heard most */
	struct seen *source, *target;
	size_t sources, targets;
	double rows_per_s, bytes_per_s; /* that its targets took */
	uint64_t rows, bytes;
	double skew; /* rows of the target that got most, to the average of all; 0: none yet */
};

struct failure {
	int node;
	char sentence[200];
};

struct sample {
	double time;	/* seconds since 1970 */
	double elapsed; /* since the last sample; 0: there is none */
	int nodes;	/* alive, without this process */
	struct seen *seen;
	size_t count, room;
	struct flow *flow;
	size_t flows;
	struct failure *failure; /* nodes that did not answer */
	size_t failures;
};

/* Look at all nodes. before: the last sample, of which rates are made; may be NULL. False: the cluster has ended. */
bool sample_take(DPI_Context ctx, const struct sample *before, struct sample *s);
void sample_free(struct sample *s);

/* Each one sample; false: standard output cannot be written. */
bool json_write(const struct sample *s);	      /* json.c: a line */
bool screen_write(const struct sample *s, bool redraw); /* screen.c: redraw: from the top of a terminal, cut to its height */

#endif
