/* SPDX-License-Identifier: Apache-2.0
 * flow_fate.h: what happens to a flow of flow_model.c beyond its plan, how its ends wait, and what its processes know of one another. */
#ifndef FLOW_FATE_H
#define FLOW_FATE_H

#include <pthread.h>
#include <setjmp.h>

#include "flow_definition.h"
#include "flow_ledger.h"
#include "flow_loop.h"

/* ---------------------------------------------------------------------------------------------------------- the fate */

enum what { CALM, KILLED, CANCELLED, DESTROYED, SEALED };

/* What happens to the flow, beyond its plan. */
struct fate {
	enum what what;
	int by;		 /* this rank does it, */
	uint64_t when;	 /* after so many rows; of one that is killed, those it has pushed and taken */
	uint64_t pause;	 /* us, of who seals it while sources may still be opened */
	bool before;	 /* it is sealed */
	uint32_t dying;	 /* targets that are killed */
	int error;	 /* that the flow then has; 0: it goes on */
	enum { THREADS, LOOPS, ONE_LOOP } way[RANKS]; /* ends that wait in calls, in an event loop each, or all in one */
};

/* The victim has sources, targets, or both. */
static void draw_kill(struct plan *p, struct fate *f, uint64_t *d)
{
	bool fails = one_in(d, 3);
	uint64_t which = draw(d, 3);
	p->kills = true;
	p->sealer = 0;
	p->declared = one_in(d, 2);
	p->attr.sources = p->declared ? p->sources : 0;
	p->attr.memory = 0;
	p->attr.on_death = fails ? DPI_DEATH_FAILS : DPI_DEATH_GOES_ON;
	if (!fails && p->attr.dist == DPI_DIST_BROADCAST && one_in(d, 2)) p->attr.detach_us = WAIT_US;
	f->error = fails ? DPI_ERR_PEER : DPI_SUCCESS;
	for (uint32_t i = 0; i < p->targets; i++) p->target_rank[i] = (int)draw(d, which == 1 ? VICTIM : RANKS);
	for (uint32_t i = 0; i < p->sources; i++) p->source_rank[i] = (int)draw(d, which == 0 ? VICTIM : RANKS);
	if (which != 1) p->target_rank[draw(d, p->targets)] = VICTIM;
	if (which != 0) p->source_rank[0] = VICTIM;
	for (uint32_t i = 0; i < p->targets; i++) f->dying |= (p->target_rank[i] == VICTIM && !fails) ? 1u << i : 0;
	for (uint32_t i = 0; i < p->sources; i++) p->rows[i] += which == 0 || p->source_rank[i] == VICTIM ? 500 : 0;
}

static void draw_acks(struct plan *p, uint64_t *d)
{
	static const char *const column[] = { NULL, "number", "key" };
	DPI_Flow_Attr *a = &p->attr;
	bool several = a->dist == DPI_DIST_BROADCAST || a->dist == DPI_DIST_FUNCTION;
	a->ack_of = (int)draw(d, 3);
	a->ack_up_to = a->ack_of != DPI_ACK_COUNT && one_in(d, 2);
	/* a dist function may name one target alone */
	if (a->ack_of == DPI_ACK_QUORUM) a->ack_quorum = a->dist == DPI_DIST_BROADCAST ? 1 + (uint32_t)draw(d, p->targets) : 1;
	uint64_t key = draw(d, 4);
	/* a key of several rows: who is told of one, and of which, is to be the same for all */
	if (key == 2 && (a->ack_up_to || a->ack_of == DPI_ACK_COUNT || a->dist == DPI_DIST_ROUND_ROBIN)) key = 1;
	if (key == 3) a->ack_function = "model_ack", a->ack_version = 2;
	else a->ack_column = column[key];
	if (one_in(d, 2)) a->ack_pending = 1 + (uint32_t)draw(d, several ? 300 : 1000);
}

/* A stack that is not the thread's is more than these follow: there each end has a thread. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LOOP_OF_SEVERAL LOOPS
#else
#define LOOP_OF_SEVERAL ONE_LOOP
#endif

/* A mark waits in its call, which an event loop does not. */
static void draw_ways(struct plan *p, struct fate *f, uint64_t *d)
{
	for (int r = 0; r < RANKS; r++) f->way[r] = one_in(d, 2) ? THREADS : one_in(d, 2) ? LOOPS : LOOP_OF_SEVERAL;
	for (uint32_t i = 0; i < p->sources; i++) p->quiet[i] = f->way[p->source_rank[i]] != THREADS;
}

static struct plan make_model(int number, struct fate *f)
{
	struct plan p = make_plan(number);
	uint64_t d = mix(p.seed + 6), fate = draw(&d, 20);
	*f = (struct fate){ .by = (int)draw(&d, RANKS), .when = draw(&d, 1500), .pause = draw(&d, 20000), .before = one_in(&d, 2) };
	if (p.with & ACKS) draw_acks(&p, &d);
	if (p.kills || fate < 3) {
		f->what = KILLED;
		f->by = 0;
		draw_kill(&p, f, &d);
	} else if (fate < 5) {
		f->what = fate == 3 ? CANCELLED : DESTROYED;
		f->error = fate == 3 ? DPI_ERR_CANCELLED : DPI_ERR_DESTROYED;
	} else if (fate < 8 && !p.declared) {
		f->what = SEALED;
		f->by = p.sealer;
	}
	draw_ways(&p, f, &d);
	return p;
}

/* ------------------------------------------------------------------------------------------------------ shared memory */

enum { NOT_YET, OPEN, CLOSING, OVER };

struct progress { /* of one scenario */
	_Atomic int joined, begun, done;	 /* ranks that have the flow; the fate's deed has begun, is done */
	_Atomic int source[SOURCES], target[TARGETS]; /* of the enumeration above */
	_Atomic bool refused[SOURCES];		      /* the flow was sealed, or had failed, before it was open */
	_Atomic int source_end[SOURCES], target_end[TARGETS]; /* of those killed: DPI_END_*; 0: nobody knows */
	_Atomic uint64_t pushed[SOURCES], flushed[SOURCES]; /* rows */
	_Atomic uint64_t mark[SOURCES];			    /* the last, before it is pushed */
	_Atomic uint32_t number[SOURCES];		    /* what targets call it, + 1 */
	_Atomic uint64_t came[TARGETS][SOURCES];	    /* rows that a target has taken */
	_Atomic int said;				    /* 1: somebody writes the sentence with which the flow failed, 2: it is there */
	char sentence[512];
};

struct shared {
	_Atomic int done[RANKS]; /* scenarios */
	_Atomic int last;	 /* no scenario from here on */
	_Atomic int up, kills;	 /* processes that have begun, and were killed */
	struct progress progress[2];
};

struct scenario {
	struct plan p;
	struct fate f;
	struct progress *now;
	DPI_Flow flow;
	DPI_Context ctx;
};

struct endpoint {
	struct scenario *s;
	uint32_t index;
	pthread_t thread;
	struct turn turn;
	bool loops;  /* it does not wait in calls */
	int fd, hot; /* its descriptor, or -1; times it was ready, one after the other */
	jmp_buf out; /* when the flow has failed, as was to be */
	DPI_Source source;
	DPI_Target target;
	uint8_t *row;
	struct ledger ledger;
	uint64_t d;
	char sentence[512]; /* of an error that another thread had for this end; "": none */
};

#define LOST(e, ...)                                                                                   \
	do {                                                                                           \
		char text[700], columns[200];                                                                        \
		snprintf(text, sizeof text, __VA_ARGS__);                                              \
		const DPI_Flow_Attr *a = &(e)->s->p.attr;                                              \
		FAIL("scenario %d (with %u, dist %d, %u sources, %u targets, segment %u, fate %d, ways %d %d %d %d, death %d, ack %d of %d %u up to %d by %s %d, columns %s): %s", (e)->s->p.number, (e)->s->p.with, a->dist, (e)->s->p.sources, (e)->s->p.targets, a->segment, (int)(e)->s->f.what, (int)(e)->s->f.way[0], (int)(e)->s->f.way[1], (int)(e)->s->f.way[2], (int)(e)->s->f.way[3], a->on_death, a->ack, a->ack_of, a->ack_quorum, a->ack_up_to, a->ack_column ? a->ack_column : "", a->ack_function != NULL, columns_text(&(e)->s->p.columns, columns), text); \
	} while (0)
#define GOOD(e, call)                                 \
	do {                                          \
		int good = (call);                    \
		if (good) stop(e, __LINE__, #call, good); \
	} while (0)

#define WAIT_IN(e, condition)                                         \
	do {                                                          \
		while (!(condition)) turn_pause(&(e)->turn);          \
	} while (0)

/* The flow fails with one sentence everywhere. */
static void check_sentence(struct endpoint *e, int line, const char *sentence)
{
	struct progress *now = e->s->now;
	int nobody = 0;
	if (e->s->f.what == CANCELLED && !strstr(sentence, "enough of it")) LOST(e, "it was cancelled: %s", sentence);
	if (atomic_compare_exchange_strong(&now->said, &nobody, 1)) {
		snprintf(now->sentence, sizeof now->sentence, "%s", sentence);
		now->said = 2;
	}
	WAIT_IN(e, now->said == 2);
	if (strcmp(now->sentence, sentence)) LOST(e, "it failed: %s; and by line %d: %s", now->sentence, line, sentence);
}

static bool expected(struct endpoint *e, int error)
{
	return error && error == e->s->f.error && e->s->now->begun;
}

/* A call has returned an error. */
static _Noreturn void stop(struct endpoint *e, int line, const char *call, int error)
{
	const char *sentence = e->sentence;
	if (!*sentence) DPI_Get_Error_Detail(&sentence);
	if (!expected(e, error)) LOST(e, "line %d: %s %u: %s: error %d: %s", line, e->source ? "source" : "target", e->index, call, error, sentence);
	check_sentence(e, line, sentence);
	longjmp(e->out, 1);
}

/* There was no room, or nothing to take: others have their turn until there is. */
static void rest(struct endpoint *e)
{
	int ready = 0;
	if (!e->loops) {
		harness_pause();
		return;
	}
	if (e->fd < 0) GOOD(e, e->source ? DPI_Get_Source_Descriptor(e->source, &e->fd) : DPI_Get_Target_Descriptor(e->target, &e->fd));
	GOOD(e, e->source ? DPI_Arm_Source(e->source, &ready) : DPI_Arm_Target(e->target, &ready));
	e->hot = ready ? e->hot + 1 : 0;
	if (e->hot > 100000) LOST(e, "%s %u is ready for ever", e->source ? "source" : "target", e->index);
	if (ready) turn_pause(&e->turn);
	else if (!turn_sleep(&e->turn, e->fd)) LOST(e, "%s %u slept through what it waited for", e->source ? "source" : "target", e->index);
}

/* Has a call not waited that would have to? */
static bool would_wait(struct endpoint *e, int error)
{
	return error == DPI_ERR_AGAIN || (e->loops && error == DPI_ERR_TIMEOUT);
}

static bool dies(const struct scenario *s, int rank)
{
	return s->f.what == KILLED && rank == VICTIM;
}

/* A source of which rows may be lost. */
static bool lossy(const struct scenario *s, uint32_t source)
{
	return dies(s, s->p.source_rank[source]) && !s->f.error;
}

static bool all_opened(const struct scenario *s)
{
	for (uint32_t i = 0; i < s->p.sources; i++)
		if (s->now->source[i] == NOT_YET) return false;
	return true;
}

static bool all_over(const struct scenario *s)
{
	for (uint32_t i = 0; i < s->p.sources; i++)
		if (s->now->source[i] != OVER) return false;
	return true;
}

/* Rows that a source has: all are opened, or were refused. */
static uint64_t rows_of(struct endpoint *e, uint32_t source)
{
	const struct scenario *s = e->s;
	WAIT_IN(e, s->now->source[source] != NOT_YET);
	return s->now->refused[source] ? 0 : s->p.rows[source];
}

#endif
