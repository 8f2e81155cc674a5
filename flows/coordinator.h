/* SPDX-License-Identifier: Apache-2.0
 * coordinator.h: what the files of the coordinator share: the truth about each flow. Loop thread of the registry's node only. */
#ifndef DPI_FLOWS_COORDINATOR_H
#define DPI_FLOWS_COORDINATOR_H

#include "layer.h"

#define DPI_FLOWS_MAX (1u << 16)
#define DPI_FLOW_MEMBERS_MAX (1u << 16) /* of a flow */

/* While the registry comes back: whose an endpoint is, and whether that node has told of it itself. */
struct told {
	int node;
	bool itself;
};

struct source {
	struct dpi_peer *from;
	uint64_t token; /* of its join */
	uint64_t id;	/* the program's; 0: none */
	int64_t until;	/* lost: how long it is waited for */
	uint32_t epoch; /* how often it was resumed */
	uint8_t state;
	struct told told;
};

struct target {
	struct dpi_peer *from; /* NULL: unbound */
	uint64_t queue;
	uint8_t state;
	uint32_t epoch; /* how often it was bound */
	struct told told;
};

struct member {
	struct dpi_peer *peer;
	uint64_t copy;
};

struct flow {
	struct flow *next; /* of its bucket */
	uint64_t id;
	struct dpi_peer *creator; /* until it is named */
	uint32_t targets, sources, on_death, retain; /* of the definition */
	int64_t resume_us;
	bool detach; /* targets that lag */
	uint8_t *definition;
	uint32_t size;
	struct source *source;
	uint32_t opened, source_room;
	struct target *target;
	struct member *member;
	uint32_t members, member_room;
	bool sealed;
	int failed; /* nothing changes any more but members */
	char sentence[DPI_FLOW_SENTENCE];
	char name[DPI_NAME_MAX]; /* for sentences */
};

/* An endpoint that left while nobody could be told. */
struct left {
	uint64_t flow, queue;
	uint32_t number, epoch, state;
	bool target;
	struct dpi_peer *from;
};

struct dpi_coordinator {
	struct flow *bucket[DPI_FLOW_BUCKETS]; /* by id */
	uint32_t flows;
	uint64_t next_id;
	uint32_t lost;	    /* sources of all flows */
	int64_t lost_until; /* no later than the first of them is given up */
	bool returning;	    /* coordinator_return.c: copies tell what the flows are */
	struct left *left;
	uint32_t lefts, left_room;
};

/* coordinator.c. The flow that a request is about, the request being whole, and that has not failed; NULL: it was answered. */
struct flow *dpi_coordinator_flow(struct dpi_context *ctx, struct dpi_request_in *in, uint64_t id);
void dpi_coordinator_answer(struct dpi_context *ctx, struct dpi_request_in *in, int error);
void dpi_coordinator_corrupt(struct dpi_context *ctx, struct dpi_request_in *in);
/* Room for one more of size bytes. */
bool dpi_coordinator_room(void **array, uint32_t count, uint32_t *room, size_t size);
void dpi_coordinator_seal(struct dpi_context *ctx, struct flow *f);
struct flow **dpi_coordinator_place(struct dpi_coordinator *c, uint64_t id);
struct flow *dpi_coordinator_new(uint64_t id, const struct dpi_definition *d, const void *bytes, uint32_t size); /* NULL: no memory */
void dpi_coordinator_enter(struct dpi_coordinator *c, struct flow *f);
bool dpi_coordinator_member(struct flow *f, struct dpi_peer *peer, uint64_t copy);
/* A member is told all of the state. */
void dpi_coordinator_tell_all(struct dpi_context *ctx, const struct flow *f, const struct member *m);
void dpi_coordinator_back(struct dpi_context *ctx, const struct flow *f, const struct member *m); /* BACK, and then all */
/* What a dead node had open of a flow. */
void dpi_coordinator_died(struct dpi_context *ctx, struct flow *f, const struct dpi_peer *peer);
__attribute__((format(printf, 4, 5))) void dpi_coordinator_fail(struct dpi_context *ctx, struct flow *f, int error, const char *format, ...);
/* Every member is told of the state of one. */
void dpi_coordinator_told_source(struct dpi_context *ctx, const struct flow *f, uint32_t source);
void dpi_coordinator_told_target(struct dpi_context *ctx, const struct flow *f, uint32_t target);

/* coordinator_source.c */
int dpi_coordinator_sources(struct dpi_context *ctx); /* its handlers */
/* Those with an id that a dead node had open. */
void dpi_coordinator_sources_lost(struct dpi_context *ctx, struct flow *f, const struct dpi_peer *peer);
/* The flow is about to be forgotten. */
void dpi_coordinator_found(struct dpi_coordinator *c, const struct flow *f);
/* A source ends: CLOSED, or DEAD, if it cannot resume; else it is lost. */
void dpi_coordinator_source_over(struct dpi_context *ctx, struct flow *f, uint32_t number, uint8_t state);
/* It is lost, and is waited for from now on. */
void dpi_coordinator_source_waits(struct dpi_context *ctx, struct flow *f, uint32_t number);
/* coordinator_target.c */
int dpi_coordinator_targets(struct dpi_context *ctx);
/* A bound target is let go of, by this node. */
void dpi_coordinator_target_over(struct dpi_context *ctx, struct flow *f, uint32_t number, uint32_t state, int node);

/* coordinator_return.c */
int dpi_coordinator_returns(struct dpi_context *ctx);

#endif
