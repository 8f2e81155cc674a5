/* SPDX-License-Identifier: Apache-2.0
 * flow_model.c: random flows against a model. Every rank draws the same plan from the seed and the scenario's number: the flow's definition,
 * who has which sources and targets, what each does (flow_plan.h), and what happens to the flow meanwhile. The model is the plan: it says of
 * each row of each source to which targets it goes, so a target knows which rows must come next, and a source which of its rows may be
 * acknowledged (flow_ledger.h). A source's progress stands in shared memory, for marks and for kills.
 *
 * TEST_FIRST=N begins with scenario N, as a failure names it, and flow_model_fresh draws others in each run (TEST_SEED=N repeats them where
 * the command line names the case); flow_model_soak goes on for TEST_SOAK seconds. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <unistd.h>

#include "flow_arrow.h"
#include "flow_ledger.h"

ENROL_WITH_FAULTS;

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
};

/* The victim has sources, targets, or both. */
static void draw_kill(struct plan *p, struct fate *f, uint64_t *d)
{
	bool fails = one_in(d, 3), only_targets = p->with & SUMS && !fails; /* what a killed source had added up may be in the sums, or not */
	uint64_t which = only_targets ? 0 : draw(d, 3);
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
};

struct endpoint {
	struct scenario *s;
	uint32_t index;
	pthread_t thread;
	jmp_buf out; /* when the flow has failed, as was to be */
	DPI_Source source;
	DPI_Target target;
	uint8_t *row;
	struct ledger ledger;
	uint64_t d;
};

#define LOST(e, ...)                                                                                   \
	do {                                                                                           \
		char text[700];                                                                        \
		snprintf(text, sizeof text, __VA_ARGS__);                                              \
		const DPI_Flow_Attr *a = &(e)->s->p.attr;                                              \
		FAIL("scenario %d (with %u, dist %d, %u sources, %u targets, segment %u, fate %d, death %d, ack %d of %d %u up to %d by %s %d): %s", (e)->s->p.number, (e)->s->p.with, a->dist, (e)->s->p.sources, (e)->s->p.targets, a->segment, (int)(e)->s->f.what, a->on_death, a->ack, a->ack_of, a->ack_quorum, a->ack_up_to, a->ack_column ? a->ack_column : "", a->ack_function != NULL, text); \
	} while (0)
#define GOOD(e, call)                                 \
	do {                                          \
		int good = (call);                    \
		if (good) stop(e, __LINE__, #call, good); \
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
	AWAIT(now->said == 2);
	if (strcmp(now->sentence, sentence)) LOST(e, "it failed: %s; and by line %d: %s", now->sentence, line, sentence);
}

static bool expected(struct endpoint *e, int error)
{
	return error && error == e->s->f.error && e->s->now->begun;
}

/* A call has returned an error. */
static _Noreturn void stop(struct endpoint *e, int line, const char *call, int error)
{
	const char *sentence = "";
	DPI_Get_Error_Detail(&sentence);
	if (!expected(e, error)) LOST(e, "line %d: %s %u: %s: error %d: %s", line, e->source ? "source" : "target", e->index, call, error, sentence);
	check_sentence(e, line, sentence);
	longjmp(e->out, 1);
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
static uint64_t rows_of(const struct scenario *s, uint32_t source)
{
	AWAIT(s->now->source[source] != NOT_YET);
	return s->now->refused[source] ? 0 : s->p.rows[source];
}

/* ------------------------------------------------------------------------------------------------------------ sources */

static void told(struct endpoint *e, const char *why)
{
	if (why) LOST(e, "source %u: %s", e->index, why);
}

/* Ask for acknowledgements, by whichever call; all: until no row waits. */
static void take_acks(struct endpoint *e, bool all)
{
	struct ledger *l = &e->ledger;
	DPI_Acked acks[64];
	size_t count = 0;
	uint64_t before;
	do {
		size_t most = 1 + draw(&e->d, 64);
		before = l->left;
		bool tries = !all && one_in(&e->d, 2);
		int error = tries ? DPI_Try_Next_Acks(acks, most, e->source, &count) : DPI_Next_Acks(acks, most, e->source, &count);
		if (tries && error == DPI_ERR_AGAIN) return;
		GOOD(e, error);
		for (size_t i = 0; i < count; i++) told(e, ledger_told(l, acks + i));
	} while (all && count);
	if (!count && before) LOST(e, "source %u: %" PRIu64 " rows wait, and it is told of none", e->index, before);
	if (all && l->left) LOST(e, "source %u: %" PRIu64 " rows were not told of", e->index, l->left);
}

static void wait_acks(struct endpoint *e)
{
	struct ledger *l = &e->ledger;
	uint64_t key = l->rows ? l->row[l->rows - 1 - draw(&e->d, l->rows < 200 ? l->rows : 200)].key : 7, position;
	int acknowledged = 1;
	bool tests = one_in(&e->d, 3);
	int error = tests ? DPI_Test_Ack(key, e->source, &acknowledged) : DPI_Wait_Ack(key, e->source);
	if (error && (error != DPI_ERR_PEER || !l->dying || !e->s->now->begun)) GOOD(e, error);
	if (error || acknowledged) told(e, ledger_waited(l, key, error));
	GOOD(e, DPI_Get_Source_Position(e->source, &position));
	if (position != l->rows) LOST(e, "source %u: its position is %" PRIu64 " after %" PRIu64 " rows", e->index, position, l->rows);
}

/* Is it that acknowledgements are to be taken first? */
static bool full(struct endpoint *e, int error)
{
	if (error != DPI_ERR_LIMIT || !(e->s->p.with & ACKS)) return false;
	uint64_t left = e->ledger.left;
	take_acks(e, false);
	if (e->ledger.left == left && e->s->p.attr.ack_of != DPI_ACK_COUNT) LOST(e, "source %u: acknowledgements are to be taken, and there are none", e->index);
	return true;
}

/* False: there is no room to build it in any more. */
static bool build(struct endpoint *e, const uint8_t *row, uint32_t size, uint32_t target)
{
	void *room;
	int error;
	for (bool again = one_in(&e->d, 4);; again = false) {
		while (full(e, error = DPI_Reserve(size, target, e->source, &room))) {}
		if (error == DPI_ERR_PEER && e->ledger.dying >> target & 1 && e->s->now->begun) return false;
		GOOD(e, error);
		if (!again) break;
		memset(room, 0xee, size);
		GOOD(e, DPI_Discard(e->source));
	}
	memcpy(room, row, size);
	GOOD(e, DPI_Commit(size, e->source));
	return true;
}

static bool push_one(struct endpoint *e, uint64_t number)
{
	struct plan *p = &e->s->p;
	uint32_t size = make_row(p, e->index, number, e->row), target;
	int error;
	if (in_place(p, e->index, number, &target)) return build(e, e->row, size, target);
	uint64_t way = draw(&e->d, size > p->attr.segment / 2 ? 2 : 3);
	do {
		if (way == 0) error = DPI_Push(e->row, size, e->source);
		else if (way == 1) error = (DPI_Push)(e->row, size, e->source);
		/* to connect to a process for the first time has a deadline of its own, which a busy machine may pass */
		else while ((error = DPI_Try_Push(e->row, size, e->source)) == DPI_ERR_AGAIN || error == DPI_ERR_TIMEOUT) harness_pause();
	} while (full(e, error));
	GOOD(e, error);
	return true;
}

/* Several at once, where rows do not vary: how many. */
static uint64_t push_batch(struct endpoint *e, uint64_t number)
{
	struct plan *p = &e->s->p;
	uint64_t most = 1 + draw(&e->d, 300), n = 0;
	uint32_t target;
	for (; n < most && number + n < p->rows[e->index] && !in_place(p, e->index, number + n, &target); n++) {
		make_row(p, e->index, number + n, e->row + n * fixed_part(p));
		if (mark_after(p, e->index, number + n)) {
			n++;
			break;
		}
	}
	if (!n) return 0;
	size_t pushed;
	int error = DPI_Push_Batch(e->row, n, e->source, &pushed);
	if (pushed > n || (!error && pushed != n)) LOST(e, "%zu of %" PRIu64 " rows were pushed: error %d", pushed, n, error);
	if (error != DPI_ERR_LIMIT || !(p->with & ACKS)) GOOD(e, error);
	return pushed;
}

/* The same as columns, also of rows that vary. */
static uint64_t push_columns(struct endpoint *e, uint64_t number)
{
	struct plan *p = &e->s->p;
	uint64_t most = 1 + draw(&e->d, ARROW_ROWS);
	struct arrow_rows *a = malloc(sizeof *a);
	uint32_t target;
	size_t pushed = 0;
	int error = DPI_SUCCESS;
	a->rows = a->bytes = 0;
	a->offset[0] = 0;
	for (uint64_t n = number; a->rows < most && n < p->rows[e->index] && !in_place(p, e->index, n, &target); n++) {
		uint32_t size = make_row(p, e->index, n, e->row);
		if (a->bytes + size > ARROW_BYTES) break;
		arrow_add(p, e->row, size, a);
		if (mark_after(p, e->index, n)) break;
	}
	size_t rows = a->rows;
	if (rows) error = arrow_push(p, a, e->source, &pushed);
	free(a);
	if (pushed > rows || (!error && pushed != rows)) LOST(e, "%zu of %zu rows were pushed: error %d", pushed, rows, error);
	if (error != DPI_ERR_LIMIT || !(p->with & ACKS)) GOOD(e, error);
	return pushed;
}

/* Each row that was pushed was sent to its targets, or dropped where these died. */
static void check_counts(struct endpoint *e)
{
	const struct ledger *l = &e->ledger;
	DPI_Source_Stats stats = { .size = sizeof stats };
	if (e->s->p.with & SUMS) return;
	GOOD(e, DPI_Get_Source_Stats(e->source, &stats));
	if (stats.rows + stats.dropped != l->sent || stats.dropped > l->sent_to_dying)
		LOST(e, "source %u: its statistics say %" PRIu64 " rows and %" PRIu64 " dropped, of %" PRIu64 " and %" PRIu64, e->index, stats.rows, stats.dropped, l->sent, l->sent_to_dying);
}

/* False: the flow is sealed. */
static bool open_source(struct endpoint *e, uint32_t *called)
{
	struct progress *now = e->s->now;
	DPI_Source_Attr attr = DPI_SOURCE_ATTR_INIT;
	attr.timeout_us = WAIT_US;
	bool sealed = now->done;
	int error = DPI_Open_Source(e->s->flow, &attr, &e->source);
	if (e->s->f.what == SEALED && (sealed || (error == DPI_ERR_SEALED && now->begun))) {
		if (error != DPI_ERR_SEALED) LOST(e, "source %u was opened when the flow was sealed: error %d", e->index, error);
		return false;
	}
	if (error) e->source = NULL;
	GOOD(e, error);
	GOOD(e, DPI_Get_Source_Number(e->source, called));
	now->number[e->index] = *called + 1;
	now->source[e->index] = OPEN;
	return true;
}

/* Not inlined where setjmp is, nor take_all. */
__attribute__((noinline)) static void push_all(struct endpoint *e)
{
	struct plan *p = &e->s->p;
	struct progress *now = e->s->now;
	uint32_t s = e->index, called = 0, target;
	uint64_t n = 0, robin = 0;
	pause_us(p->source_late[s]);
	if (!open_source(e, &called)) return;
	e->row = malloc(ROW_MOST);
	ledger_open(&e->ledger, p, s, e->s->f.dying, now->came);
	while (n < p->rows[s]) {
		uint64_t more = !p->varies && one_in(&e->d, 8) ? push_batch(e, n) : 0;
		bool built = true;
		if (!more && one_in(&e->d, p->with & COLUMNS ? 4 : 32)) more = push_columns(e, n);
		if (!more) built = push_one(e, n), more = 1;
		for (uint64_t end = n + more; n < end; n++) {
			if (built) ledger_push(&e->ledger, n, called, robin);
			robin += !in_place(p, s, n, &target);
		}
		now->pushed[s] = n;
		if (p->with & ACKS && p->attr.ack_pending && e->ledger.left > p->attr.ack_pending) LOST(e, "source %u: %" PRIu64 " rows wait", s, e->ledger.left);
		uint64_t mark = mark_after(p, s, n - 1);
		if (mark) {
			now->mark[s] = mark;
			GOOD(e, DPI_Push_Mark(mark, e->source));
		}
		if (one_in(&e->d, 100)) {
			GOOD(e, DPI_Flush_Source(e->source));
			now->flushed[s] = n;
		}
		if (p->with & ACKS && one_in(&e->d, 60)) wait_acks(e);
		if (p->with & ACKS && one_in(&e->d, 60)) take_acks(e, one_in(&e->d, 20));
		if (p->source_slow[s] && one_in(&e->d, 50)) pause_us(draw(&e->d, 2000));
	}
	if (p->with & ACKS && !one_in(&e->d, 4)) take_acks(e, true);
	check_counts(e);
	now->source[s] = CLOSING;
	int error = DPI_Close_Source(e->source);
	e->source = NULL;
	GOOD(e, error);
	now->flushed[s] = n;
}

static void *be_source(void *arg)
{
	struct endpoint *e = arg;
	struct progress *now = e->s->now;
	e->d = mix(e->s->p.seed + e->index + 1000);
	if (!setjmp(e->out)) {
		push_all(e);
	} else if (e->source) {
		int error = DPI_Close_Source(e->source);
		if (error && !expected(e, error)) LOST(e, "source %u of a flow that has failed is closed with error %d", e->index, error);
	}
	now->refused[e->index] = now->source[e->index] == NOT_YET;
	now->source[e->index] = OVER;
	free(e->row);
	free(e->ledger.row);
	return NULL;
}

/* ------------------------------------------------------------------------------------------------------------ targets */

struct check { /* what a target knows */
	struct endpoint *target;
	uint64_t next[SOURCES], robin[SOURCES]; /* of each source: the next row, and how many before it went round robin */
	uint32_t number[SOURCES];		/* + 1 */
	uint64_t mark, rows;
	uint32_t last; /* number of the source of the last row */
	bool marked;
	uint8_t *expected, *row;
	bool given[KEYS]; /* sums */
};

/* Does the next row of a source come here? */
static bool comes(struct check *c, uint32_t s)
{
	const struct plan *p = &c->target->s->p;
	return kept(p, c->next[s]) && goes_to(p, s, c->next[s], c->number[s] - 1, c->robin[s], c->target->index);
}

static void pass(struct check *c, uint32_t s)
{
	uint32_t target;
	c->robin[s] += !in_place(&c->target->s->p, s, c->next[s], &target);
	c->next[s]++;
}

static void rows_until(struct check *c, uint32_t s, uint64_t number, const char *when)
{
	for (; c->next[s] < number; pass(c, s))
		if (comes(c, s)) LOST(c->target, "target %u: row %" PRIu64 " of source %u did not come before %s", c->target->index, c->next[s], s, when);
}

/* A key's sums: of all its rows. */
static void check_sums(struct check *c, const void *row, size_t size)
{
	const struct plan *p = &c->target->s->p;
	uint32_t t = c->target->index;
	int64_t got[3], count = 0, sum = 0;
	if (size != sizeof got) LOST(c->target, "target %u: sums of %zu bytes", t, size);
	memcpy(got, row, sizeof got);
	if (p->grouped && got[0] % 7) LOST(c->target, "target %u: %" PRId64 " is what no key becomes", t, got[0]);
	if (p->grouped) got[0] /= 7; /* see group() */
	if (got[0] < 0 || got[0] >= KEYS || c->given[got[0]]) LOST(c->target, "target %u: sums of key %" PRId64, t, got[0]);
	c->given[got[0]] = true;
	for (uint32_t s = 0; s < p->sources; s++)
		for (uint64_t n = 0, rows = rows_of(c->target->s, s); n < rows && p->mask[got[0]] >> t & 1; n++)
			if (kept(p, n) && key_of(p, s, n) == got[0]) count++, sum += (int64_t)n;
	if (!count || got[1] != count || got[2] != sum)
		LOST(c->target, "target %u: key %" PRId64 " has %" PRId64 " rows and the sum %" PRId64 ", not %" PRId64 " and %" PRId64, t, got[0], got[1], got[2], count, sum);
	c->rows++;
}

static void check_all_sums(struct check *c)
{
	const struct plan *p = &c->target->s->p;
	for (uint32_t s = 0; s < p->sources; s++)
		for (uint64_t n = 0, rows = rows_of(c->target->s, s); n < rows; n++) {
			int64_t key = key_of(p, s, n);
			if (kept(p, n) && p->mask[key] >> c->target->index & 1 && !c->given[key]) LOST(c->target, "target %u: no sums of key %" PRId64, c->target->index, key);
		}
}

static void check_row(struct check *c, const void *row, size_t size, uint32_t number)
{
	const struct plan *p = &c->target->s->p;
	uint32_t t = c->target->index;
	int64_t head[4];
	if (p->with & SUMS) {
		check_sums(c, row, size);
		return;
	}
	if (size < HEAD) LOST(c->target, "target %u: a row of %zu bytes", t, size);
	memcpy(head, row, HEAD);
	if (head[2] < 0 || head[2] >= (int64_t)p->sources) LOST(c->target, "target %u: a row of source %" PRId64, t, head[2]);
	uint32_t s = (uint32_t)head[2];
	uint64_t n = (uint64_t)head[1];
	c->number[s] = c->target->s->now->number[s];
	c->last = number;
	if (c->number[s] != number + 1) LOST(c->target, "target %u: source %u is %u and %u", t, s, number, c->number[s] - 1);
	if (n < c->next[s] || n >= p->rows[s]) LOST(c->target, "target %u: row %" PRIu64 " of source %u: the next is %" PRIu64, t, n, s, c->next[s]);
	rows_until(c, s, n, "a later one");
	if (!comes(c, s)) LOST(c->target, "target %u: row %" PRIu64 " of source %u does not belong here", t, n, s);
	uint32_t whole = make_output(p, s, n, c->expected);
	if (size != whole || memcmp(c->expected, row, size)) LOST(c->target, "target %u: row %" PRIu64 " of source %u has other bytes, or %zu of %u", t, n, s, size, whole);
	pass(c, s);
	c->rows++;
	c->target->s->now->came[t][s]++;
}

/* Every source that has sent something and is not over has pushed it or a later one, and what it pushed before was taken. */
static void check_mark(struct check *c, uint64_t mark)
{
	const struct plan *p = &c->target->s->p;
	if (c->marked && mark <= c->mark) LOST(c->target, "target %u: mark %" PRIu64 " after %" PRIu64, c->target->index, mark, c->mark);
	c->marked = true;
	c->mark = mark;
	if (p->with & SUMS) return;
	for (uint32_t s = 0; s < p->sources; s++) {
		if (!c->number[s] || lossy(c->target->s, s)) continue;
		uint64_t n = 0;
		while (n < p->rows[s] && mark_after(p, s, n) < mark) n++;
		/* where no mark of it is that high: it is over */
		rows_until(c, s, n < p->rows[s] ? n + 1 : n, "a mark");
		if (n < p->rows[s] && c->target->s->now->mark[s] < mark)
			LOST(c->target, "target %u: mark %" PRIu64 ", and source %u is at %" PRIu64, c->target->index, mark, s, c->target->s->now->mark[s]);
	}
}

static void check_end(struct check *c)
{
	const struct plan *p = &c->target->s->p;
	struct progress *now = c->target->s->now;
	if (p->with & SUMS) {
		check_all_sums(c);
		return;
	}
	for (uint32_t s = 0; s < p->sources; s++) {
		uint64_t rows = lossy(c->target->s, s) ? now->flushed[s] : rows_of(c->target->s, s);
		if (!rows) continue;
		c->number[s] = now->number[s]; /* it may be known to others only */
		rows_until(c, s, rows, "the end");
	}
}

/* Runs that are lent, looked at once more when they are given back. */
struct lent {
	DPI_Batch batch[DPI_LENT_MAX];
	uint64_t digest[DPI_LENT_MAX];
	size_t count;
};

static uint64_t digest_of(const DPI_Batch *b)
{
	uint64_t h = b->count;
	for (size_t i = 0; i < b->count; i++) {
		const uint8_t *row = b->record ? b->record[i].data : (const uint8_t *)b->rows + i * b->stride;
		size_t size = b->record ? b->record[i].size : b->stride;
		for (size_t k = 0; k < size; k += 7) h = h * 31 + row[k];
	}
	return h;
}

static void give_back(struct endpoint *target, struct lent *l, size_t count, DPI_Target handle)
{
	if (!count) return;
	for (size_t i = 0; i < count; i++)
		if (digest_of(&l->batch[i]) != l->digest[i]) LOST(target, "target %u: rows changed while they were lent", target->index);
	GOOD(target, DPI_Release_Batch(count, handle));
	l->count -= count;
	memmove(l->batch, l->batch + count, l->count * sizeof *l->batch);
	memmove(l->digest, l->digest + count, l->count * sizeof *l->digest);
}

static int take_batch(struct check *c, struct lent *l, DPI_Target handle, uint64_t *d)
{
	if (l->count == DPI_LENT_MAX) give_back(c->target, l, 1 + draw(d, DPI_LENT_MAX), handle);
	DPI_Batch *b = &l->batch[l->count];
	int error = DPI_Next_Batch(handle, b);
	if (error) return error;
	if (b->kind == DPI_TUPLE_MARK) {
		check_mark(c, b->mark);
		return DPI_SUCCESS;
	}
	for (size_t i = 0; i < b->count; i++) {
		if (b->record) check_row(c, b->record[i].data, b->record[i].size, b->source);
		else check_row(c, (const uint8_t *)b->rows + i * b->stride, b->stride, b->source);
	}
	l->digest[l->count++] = digest_of(b);
	/* what is lent keeps its source waiting, at four segments for good */
	uint64_t bytes = 0;
	for (size_t i = 0; i < l->count; i++)
		for (size_t k = 0; k < l->batch[i].count; k++) bytes += (l->batch[i].record ? 8 + l->batch[i].record[k].size : l->batch[i].stride);
	if (c->target->s->p.with & ACKS || bytes > c->target->s->p.attr.segment || !one_in(d, 3)) give_back(c->target, l, l->count, handle);
	return DPI_SUCCESS;
}

static int take_one(struct check *c, DPI_Target handle, uint64_t *d)
{
	DPI_Tuple u;
	size_t index;
	int error;
	/* a wait gives back no row, for which its source may wait before it pushes another */
	uint64_t way = draw(d, 4);
	switch (way == 1 && c->target->s->p.attr.ack == DPI_ACK_RELEASED ? 0 : way) {
	case 0:
		while ((error = DPI_Try_Next(handle, &u)) == DPI_ERR_AGAIN) harness_pause();
		break;
	case 1:
		GOOD(c->target, DPI_Wait_Targets(&handle, 1, WAIT_US, &index));
		error = DPI_Next(handle, &u);
		break;
	case 2: error = (DPI_Next)(handle, &u); break;
	default: error = DPI_Next(handle, &u); break;
	}
	if (error) return error;
	if (u.kind == DPI_TUPLE_MARK) check_mark(c, u.mark);
	else check_row(c, u.data, u.size, u.source);
	return DPI_SUCCESS;
}

static int take_columns(struct check *c, DPI_Target handle)
{
	struct ArrowArray a;
	DPI_Batch b;
	int error = DPI_Next_Arrow(handle, &b, &a, NULL);
	if (error) return error;
	if (b.kind == DPI_TUPLE_MARK) {
		check_mark(c, b.mark);
		return DPI_SUCCESS;
	}
	if (a.length != (int64_t)b.count || a.length < 1) LOST(c->target, "target %u: an array of %" PRId64 " rows in a run of %zu", c->target->index, a.length, b.count);
	for (size_t i = 0; i < b.count; i++) {
		size_t size = arrow_row(&c->target->s->p, &a, i, c->row);
		check_row(c, c->row, size, b.source);
	}
	a.release(&a);
	GOOD(c->target, DPI_Release_Batch(0, handle)); /* takes back what was released */
	return DPI_SUCCESS;
}

/* What was taken is confirmed: of every source, or of the last row's. */
static void confirm(struct check *c, DPI_Target handle, uint64_t *d)
{
	uint64_t rows;
	if (!c->rows || one_in(d, 2)) {
		GOOD(c->target, DPI_Ack(DPI_ACK_EVERY_SOURCE, DPI_ACK_TAKEN, handle));
		return;
	}
	GOOD(c->target, DPI_Get_Taken(c->last, handle, &rows));
	GOOD(c->target, DPI_Ack(c->last, rows, handle));
	if (rows > 1) GOOD(c->target, DPI_Ack(c->last, rows / 2, handle)); /* changes nothing */
}

__attribute__((noinline)) static void take_all(struct endpoint *e, struct check *c, struct lent *l)
{
	struct plan *p = &e->s->p;
	uint32_t t = e->index;
	int error = DPI_SUCCESS, way = (int)draw(&e->d, 3);
	pause_us(p->target_late[t]);
	DPI_Target_Attr attr = { .size = sizeof attr, .timeout_us = WAIT_US };
	if ((error = DPI_Open_Target(t, &attr, e->s->flow, &e->target))) e->target = NULL;
	GOOD(e, error);
	e->s->now->target[t] = OPEN;
	while (!error) {
		if (way == 1 && one_in(&e->d, p->with & COLUMNS ? 3 : 12)) {
			error = take_columns(c, e->target);
		} else if (way == 0 || (way == 1 && draw(&e->d, 2))) {
			error = take_batch(c, l, e->target, &e->d);
		} else {
			give_back(e, l, l->count, e->target);
			error = take_one(c, e->target, &e->d);
		}
		if (!error && p->attr.ack == DPI_ACK_CONFIRMED) confirm(c, e->target, &e->d);
		if (p->target_slow[t] && one_in(&e->d, 100)) pause_us(draw(&e->d, 2000));
	}
	if (error != DPI_ERR_END) stop(e, __LINE__, "it takes", error);
	check_end(c);
	DPI_Target_Stats stats = { .size = sizeof stats };
	GOOD(e, DPI_Get_Target_Stats(e->target, &stats));
	if ((p->with & SUMS ? stats.results : stats.rows - stats.sifted) != c->rows) LOST(e, "target %u: its statistics say %" PRIu64 " rows, and %" PRIu64 " came", t, stats.rows, c->rows);
	give_back(e, l, l->count, e->target);
}

static void *be_target(void *arg)
{
	struct endpoint *e = arg;
	struct check c = { .target = e, .expected = malloc(ROW_MOST), .row = malloc(ROW_MOST) };
	struct lent l = { .count = 0 };
	e->row = c.expected;
	e->d = mix(e->s->p.seed + e->index + 2000);
	if (!setjmp(e->out)) take_all(e, &c, &l);
	const char *sentence = "";
	int error = e->target ? DPI_Close_Target(e->target) : DPI_SUCCESS;
	DPI_Get_Error_Detail(&sentence);
	if (error) LOST(e, "target %u is closed: error %d: %s", e->index, error, sentence);
	e->s->now->target[e->index] = OVER;
	free(e->row);
	free(c.row);
	return NULL;
}

/* ---------------------------------------------------------------------------------------------------------- scenarios */

/* Has all that happens before it happened? */
static bool due(const struct scenario *s)
{
	uint64_t rows = 0;
	for (uint32_t i = 0; i < s->p.sources; i++) {
		bool here = s->f.what != KILLED || s->p.source_rank[i] == VICTIM;
		if (here && s->f.what == KILLED && s->now->source[i] == NOT_YET) return false;
		rows += here ? s->now->pushed[i] : 0;
	}
	for (uint32_t t = 0; s->f.what == KILLED && t < s->p.targets; t++) {
		if (s->p.target_rank[t] != VICTIM) continue;
		if (s->now->target[t] == NOT_YET) return false;
		for (uint32_t i = 0; i < s->p.sources; i++) rows += s->now->came[t][i];
	}
	return (s->f.what != DESTROYED || s->now->joined == RANKS) && (rows >= s->f.when || all_over(s));
}

/* What has become of the victim's endpoints, where that is certain. */
static void note_ends(const struct scenario *s)
{
	static const int end[] = { [OPEN] = DPI_END_DEAD, [CLOSING] = 0, [OVER] = DPI_END_CLOSED };
	bool going_on = false; /* no target can have ended */
	for (uint32_t i = 0; i < s->p.sources; i++) {
		going_on |= s->now->source[i] < CLOSING;
		if (s->p.source_rank[i] == VICTIM) s->now->source_end[i] = end[s->now->source[i]];
	}
	for (uint32_t t = 0; t < s->p.targets; t++)
		if (s->p.target_rank[t] == VICTIM) s->now->target_end[t] = s->now->target[t] == OVER ? DPI_END_CLOSED : going_on ? DPI_END_DEAD : 0;
	/* its sources are over now, for who waits for that */
	for (uint32_t i = 0; i < s->p.sources; i++)
		if (s->p.source_rank[i] == VICTIM) s->now->source[i] = OVER;
}

/* The scenario's fate, by the rank whose task it is. */
static void meddle(struct scenario *s, struct shared *shared, DPI_Context ctx)
{
	int scenarios = shared->done[0] + 1;
	if (s->f.what == SEALED) pause_us(s->f.pause);
	else AWAIT(due(s));
	s->now->begun = 1;
	switch (s->f.what) {
	case KILLED:
		harness_kill(VICTIM, SIGKILL);
		AWAIT(!harness_alive(VICTIM));
		note_ends(s);
		shared->done[VICTIM] = scenarios;
		shared->kills++;
		harness_spawn_rank(VICTIM);
		break;
	case CANCELLED: CHECK_DPI(DPI_Cancel_Flow("enough of it", s->flow)); break;
	case DESTROYED: CHECK_DPI(DPI_Destroy_Flow(s->p.name, ctx)); break;
	default: CHECK_DPI(DPI_Seal_Flow(s->flow));
	}
	s->now->done = 1;
}

static void check_one_end(const struct scenario *s, uint32_t number, bool target, int state)
{
	DPI_Flow_End end = DPI_FLOW_END_INIT;
	if (!state) return;
	do {
		CHECK_DPI((target ? DPI_Get_Flow_Target : DPI_Get_Flow_Source)(number, s->flow, &end));
		harness_pause();
	} while (end.state == DPI_END_OPEN || (end.state == DPI_END_NONE && !target)); /* news come by and by */
	if (end.state != state || end.node != VICTIM)
		FAIL("scenario %d: %s %u is said to be %d, of node %d, not %d", s->p.number, target ? "target" : "source", number, end.state, end.node, state);
}

/* What everybody is told of the flow, and of those who died. */
static void check_fate(const struct scenario *s)
{
	bool died = false, unknown = false;
	AWAIT(s->f.what == CALM || s->now->done);
	for (uint32_t i = 0; s->f.what == KILLED && i < s->p.sources + s->p.targets; i++) {
		bool target = i >= s->p.sources;
		uint32_t index = target ? i - s->p.sources : i;
		if ((target ? s->p.target_rank : s->p.source_rank)[index] != VICTIM) continue;
		int end = target ? s->now->target_end[index] : s->now->source_end[index];
		died |= end == DPI_END_DEAD;
		unknown |= !end;
		if (!s->f.error) check_one_end(s, target ? index : s->now->number[index] - 1, target, end);
	}
	if (unknown) return;
	bool fails = s->f.error && (died || s->f.what != KILLED);
	DPI_Flow_Info info = DPI_FLOW_INFO_INIT;
	do {
		CHECK_DPI(DPI_Get_Flow_Info(s->flow, &info));
		harness_pause();
	} while (fails && !info.failed);
	CHECK_INT(info.failed, ==, fails ? s->f.error : 0);
}

static void seal(struct scenario *s)
{
	struct endpoint e = { .s = s };
	AWAIT(all_opened(s));
	if (!setjmp(e.out)) GOOD(&e, DPI_Seal_Flow(s->flow));
}

static void play(struct shared *shared, int number, int rank, DPI_Context ctx)
{
	struct scenario s = { .now = &shared->progress[number % 2] };
	struct endpoint end[SOURCES + TARGETS];
	int ends = 0;
	s.p = make_model(number, &s.f);
	s.flow = open_flow(&s.p, ctx);
	s.now->joined++;
	for (uint32_t i = 0; i < s.p.sources + s.p.targets; i++) {
		bool source = i < s.p.sources;
		uint32_t index = source ? i : i - s.p.sources;
		if ((source ? s.p.source_rank[index] : s.p.target_rank[index]) != rank) continue;
		end[ends] = (struct endpoint){ .s = &s, .index = index };
		if (pthread_create(&end[ends].thread, NULL, source ? be_source : be_target, &end[ends])) FAIL("pthread_create");
		ends++;
	}
	bool meddles = s.f.what != CALM && rank == s.f.by, seals = !s.p.declared && s.f.what != SEALED && rank == s.p.sealer;
	if (meddles && s.f.before) meddle(&s, shared, ctx);
	if (seals) seal(&s);
	if (meddles && !s.f.before) meddle(&s, shared, ctx);
	for (int i = 0; i < ends; i++)
		if (pthread_join(end[i].thread, NULL)) FAIL("pthread_join");
	check_fate(&s);
	CHECK_DPI(DPI_Close_Flow(s.flow));
}

static int ack_of(const void *row, size_t size, void *arg, uint64_t *key)
{
	(void)size, (void)arg;
	memcpy(key, (const uint8_t *)row + 8, 8);
	*key = *key * 3 + 7;
	return DPI_SUCCESS;
}

/* least: scenarios, however long they take */
static void run_model(int rank, int least, int most, double limit)
{
	struct shared *shared = harness_shared();
	DPI_Context ctx;
	double start = seconds();
	int first = number_from("TEST_FIRST", 0);
	CHECK_DPI(DPI_Register_Dist("model_dist", 1, dist, NULL));
	CHECK_DPI(DPI_Register_Group("model_group", 1, group, NULL));
	CHECK_DPI(DPI_Register_Ack("model_ack", 2, ack_of, NULL));
	CHECK_DPI(DPI_Set_Key("model", "thirty-two bytes that are a key.", DPI_KEY_SIZE));
	CHECK_DPI(DPI_Init(&ctx));
	if (rank == 0) shared->last = most;
	shared->up++;
	for (int n = shared->done[rank]; n < most; n = shared->done[rank]) {
		for (int r = 0; r < RANKS; r++) AWAIT(shared->done[r] >= n);
		if (n >= shared->last && n) break;
		play(shared, first + n, rank, ctx);
		if (rank == 0) {
			for (int r = 1; r < RANKS; r++) AWAIT(shared->done[r] > n); /* nobody is in it any more */
			char name[32];
			snprintf(name, sizeof name, "model%d", first + n);
			int error = DPI_Destroy_Flow(name, ctx);
			if (error != DPI_ERR_NAME) CHECK_DPI(error); /* that was its fate */
			memset(&shared->progress[(first + n + 1) % 2], 0, sizeof *shared->progress);
			if (seconds() - start > limit && n + 1 >= least) shared->last = n + 1;
		}
		shared->done[rank]++;
	}
	if (rank == 0) AWAIT(shared->up == RANKS + shared->kills); /* the last to be killed needs the registry to begin */
	if (rank == 0) printf("%d scenarios in %.1f s\n", shared->done[0], seconds() - start);
	CHECK_DPI(DPI_Finalize(ctx));
}

TEST(flow_model, "", RANKS, .deadline_s = 270)
{
	run_model(rank, 100, 150, 15); /* seconds: on a slow machine the least do */
}

/* Other ones each time. */
TEST(flow_model_fresh, "", RANKS, .deadline_s = 270, .fresh = true)
{
	run_model(rank, 40, 100, 8);
}

TEST(flow_model_soak, "", RANKS, .deadline_s = 1000000, .only_named = true)
{
	run_model(rank, 100, 1 << 30, number_from("TEST_SOAK", 3600));
}
