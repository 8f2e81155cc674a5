/* SPDX-License-Identifier: Apache-2.0
 * hook.h: the hook transport's own types. Everything but the windows belongs to its one lane and is touched by the thread
 * that is in it. */
#ifndef DPI_HOOK_H
#define DPI_HOOK_H

#include <dpi_transport.h>
#include <stdbool.h>
#include <sys/queue.h>
#include <time.h>

#define HOOK_IOV 1024		/* pieces of one put or get */
#define HOOK_OUTSTANDING 4096	/* operations held back, all endpoints together */
#define HOOK_CUTS 4		/* most pieces that an operation is cut into */
#define HOOK_RETRY_NS 100000	/* after the lower transport could not take an operation */
#define HOOK_NEVER INT64_MAX

/* What the setting HOOK says; the items are listed in config.c. Probabilities are in units of 2^-32. */
struct hook_config {
	uint64_t seed, delay_us, kill;
	uint64_t again, error, cut, death;
	bool reorder, noorder, refuse, nodirect, trace, count;
};
int hook_parse(const DPI_Tp_Core *core, const char *text, struct hook_config *config);

/* Decisions are drawn from the number of the post alone, so that the same seed gives the same ones however time goes. */
struct hook_dice {
	uint64_t state;
};
uint64_t hook_draw(struct hook_dice *dice);

enum hook_kind { HOOK_PUT, HOOK_GET, HOOK_FETCH_ADD, HOOK_COMPARE_SWAP, HOOK_FLUSH, HOOK_SEND, HOOK_KINDS };

/* An operation. It is *held* until all its steps were posted below, *flying* until the lower transport has completed them,
 * then *done* until its completion is due. Steps: the pieces; then, where a cut put has a notification and the lower
 * transport keeps no order, a flush and the notification alone. */
enum hook_state { HOOK_NEW, HOOK_HELD, HOOK_FLYING, HOOK_DONE };
TAILQ_HEAD(hook_ops, hook_op);
struct hook_op {
	TAILQ_ENTRY(hook_op) link;
	DPI_Tp_Endpoint *endpoint;
	DPI_Tp_Remote *remote; /* NULL: a flush */
	void *cookie;
	enum hook_kind kind;
	enum hook_state state;
	int error;
	int64_t due, after; /* when to go on; from done to the completion, ns */
	uint64_t result, offset, size, operand, expected;
	bool notifies;
	DPI_Tp_Notify notify;
	uint32_t pieces, steps, step, flying; /* step: the next to post; flying: steps */
	uint64_t cut[HOOK_CUTS + 1];	      /* where pieces start and the last one ends */
	struct hook_flight {		      /* a step under way; the lower transport's cookie */
		struct hook_op *op;
		bool flying;
	} flight[HOOK_CUTS + 2];
	int count;
	struct iovec *piece; /* room for one piece's, behind iov */
	struct iovec iov[];
};

struct DPI_Tp {
	const DPI_Tp_Core *upper;
	DPI_Tp_Core core; /* what the lower transport calls */
	const DPI_Transport *table;
	DPI_Tp *lower;
	struct hook_config config;
	DPI_Tp_Attr attr;   /* as advertised */
	bool timed;	    /* things happen later: there is a timer, and a descriptor to sleep on */
	bool lower_ordered; /* the lower transport keeps puts in order */
	bool ordered;	    /* and this one says so too */
	bool lower_sleeps;  /* DPI_TP_FD below */
	int timer, epoll;
	int64_t timer_due; /* what the timer is set to */
	uint64_t posts;
	uint32_t outstanding; /* held and done */
	int64_t last_due;     /* of completions */
	struct hook_ops done;
	LIST_HEAD(, DPI_Tp_Endpoint) endpoints;
	LIST_HEAD(, DPI_Tp_Window) windows;
	struct hook_totals {
		uint64_t ops[HOOK_KINDS], bytes[HOOK_KINDS], again, error, cut, held, killed;
	} totals;
};

struct DPI_Tp_Window {
	DPI_Tp *tp;
	DPI_Tp_Window *lower;
	LIST_ENTRY(DPI_Tp_Window) link;
};

struct DPI_Tp_Endpoint {
	DPI_Tp *tp;
	DPI_Tp_Endpoint *lower;
	LIST_ENTRY(DPI_Tp_Endpoint) link;
	LIST_HEAD(, DPI_Tp_Remote) remotes;
	int node;
	uint64_t incarnation;
	bool dead, lost; /* killed; the core was told */
	uint64_t operations;
	struct hook_ops held, flying;
};

struct DPI_Tp_Remote {
	DPI_Tp_Endpoint *endpoint;
	DPI_Tp_Remote *lower;
	LIST_ENTRY(DPI_Tp_Remote) link;
	uint64_t length;
	uint32_t pending; /* held and flying operations */
};

/* return hook_fail(tp, DPI_ERR_…, "sentence", …) */
#define hook_fail(tp, ...) ((tp)->upper->fail_text((tp)->upper->self, __VA_ARGS__))

/* A node may learn its number after open: the lower transport is to have it, too. */
static inline void hook_number(DPI_Tp *tp)
{
	tp->core.node = tp->upper->node;
}

static inline int64_t hook_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* post.c */
int hook_put(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify,
	     uint32_t flags, void *cookie);
int hook_get(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, void *cookie);
int hook_fetch_add(DPI_Tp_Remote *remote, uint64_t offset, uint64_t operand, uint64_t *result, void *cookie);
int hook_compare_swap(DPI_Tp_Remote *remote, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result,
		      void *cookie);
int hook_send(DPI_Tp_Endpoint *endpoint, const void *bytes, size_t size, uint32_t flags);
int hook_flush(DPI_Tp_Endpoint *endpoint, void *cookie);
int hook_cancel(DPI_Tp_Endpoint *endpoint, void *cookie);

/* progress.c */
int hook_progress(DPI_Tp *tp, uint32_t lane, int *events);
int hook_get_fd(DPI_Tp *tp, uint32_t lane, int *fd);
int hook_arm(DPI_Tp *tp, uint32_t lane);
void hook_wake(DPI_Tp *tp, int64_t due); /* see that the timer runs out then at the latest */
int hook_step(struct hook_op *op, uint32_t flags); /* post the next step below */
void hook_enter(struct hook_op *op, enum hook_state state); /* leave one list for another */
void hook_done(struct hook_op *op);
void hook_complete(void *self, void *cookie, int error, uint64_t result); /* the lower transport's */
void hook_lost(void *self, int node, uint64_t incarnation, const char *sentence);
void hook_abandon(DPI_Tp_Endpoint *endpoint); /* it is dead */
int hook_deliver(DPI_Tp *tp, int64_t now);    /* completions that are due; returns how many */

#endif
