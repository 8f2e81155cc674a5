/* SPDX-License-Identifier: Apache-2.0
 * sample.h: what dpi-top has seen at one moment, and how it differs from the moment before. */
#ifndef DPI_TOP_SAMPLE_H
#define DPI_TOP_SAMPLE_H

#include <dpi.h>
#include <stdbool.h>

/* A source or target, or a stage that runs at one. */
struct seen {
	DPI_Endpoint_Info now;
	double rows_per_s, bytes_per_s; /* of a stage: rows that came, bytes that passed */
	double passed_per_s;		/* stage: rows */
	double waited; /* part of the time since the last sample: a source for room, a target for rows; 0 … 1 */
	int waits_for; /* source: the node of the target that it waits for; -1: nobody, or not open */
};

/* Who waited for whom, and which keys come often: of one flow together, in the order of its endpoints. */
struct lists {
	DPI_Stall *stall;
	DPI_Heavy_Key *key;
	size_t stalls, keys;
};

/* Those of one flow lie together: sources, targets, stages of sources, stages of targets, by number. */
struct flow {
	const DPI_Flow_Info *info; /* of those who know it, whoever has heard most */
	struct seen *source, *target, *stage;
	size_t sources, targets, stages;
	double rows_per_s, bytes_per_s; /* that its targets took */
	uint64_t rows, bytes;
	struct lists lists; /* of the sample, the flow's */
	double skew; /* rows of the target that got most, to the average of all; 0: none yet */
};

/* A stage, at all endpoints where it runs. */
struct stage {
	uint32_t number;
	int kind;	   /* DPI_STAGE_* */
	bool at_target;
	size_t endpoints;
	DPI_Stage_Stats total;
	double rows_per_s, passed_per_s, bytes_per_s;
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
	size_t endpoints; /* of these, sources and targets */
	struct lists lists;
	struct flow *flow;
	size_t flows;
	struct failure *failure; /* nodes that did not answer */
	size_t failures;
};

/* Look at all nodes. before: the last sample, of which rates are made; may be NULL. False: the cluster has ended. */
bool sample_take(DPI_Context ctx, const struct sample *before, struct sample *s);
void sample_free(struct sample *s);
/* The next stage of a flow that runs anywhere: its number is at least from. False: there is none. */
bool sample_stage(const struct flow *f, uint32_t from, struct stage *stage);
const char *sample_stage_kind(int kind); /* a word */
/* The target for which all sources of a flow have waited longest. False: they have not waited. */
bool sample_slowest(const struct flow *f, uint32_t *target, uint64_t *time_us);
/* How long, and how often, they have for one. */
uint64_t sample_stalled(const struct flow *f, uint32_t target, uint64_t *count);
/* The key that came most often to a target; NULL: none is known. */
const DPI_Heavy_Key *sample_heaviest(const struct flow *f, const struct seen *target);

/* Each one sample; false: standard output cannot be written. */
bool json_write(const struct sample *s);	      /* json.c: a line */
bool screen_write(const struct sample *s, bool redraw); /* screen.c: redraw: from the top of a terminal, cut to its height */

#endif
