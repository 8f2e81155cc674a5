/* SPDX-License-Identifier: Apache-2.0
 * flow_pusher.h: a source of flow_model.c: it pushes what the plan says, by all calls that there are, and is told what it may be. */
#ifndef FLOW_PUSHER_H
#define FLOW_PUSHER_H

#include "flow_arrow.h"
#include "flow_fate.h"
#include "flow_sieve.h"

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
		if (would_wait(e, error)) {
			turn_pause(&e->turn);
			count = 1;
			continue;
		}
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
	int error;
	while (would_wait(e, error = tests ? DPI_Test_Ack(key, e->source, &acknowledged) : DPI_Wait_Ack(key, e->source))) turn_pause(&e->turn);
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
		while (full(e, error = DPI_Reserve(size, target, e->source, &room)) || would_wait(e, error))
			if (would_wait(e, error)) rest(e);
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
	uint64_t way = draw(&e->d, 3);
	bool again;
	do {
		error = way == 0 ? DPI_Push(e->row, size, e->source) : way == 1 ? (DPI_Push)(e->row, size, e->source) : DPI_Try_Push(e->row, size, e->source);
		/* to connect to a process for the first time has a deadline of its own, which a busy machine may pass */
		again = would_wait(e, error) || (way == 2 && error == DPI_ERR_TIMEOUT);
		if (again) rest(e);
	} while (again || full(e, error));
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
		make_row(p, e->index, number + n, e->row + n * p->columns.fixed);
		if (mark_after(p, e->index, number + n)) {
			n++;
			break;
		}
	}
	if (!n) return 0;
	size_t pushed;
	int error = DPI_Push_Batch(e->row, n, e->source, &pushed);
	if (pushed > n || (!error && pushed != n)) LOST(e, "%zu of %" PRIu64 " rows were pushed: error %d", pushed, n, error);
	if (would_wait(e, error)) rest(e);
	else if (error != DPI_ERR_LIMIT || !(p->with & ACKS)) GOOD(e, error);
	return pushed;
}

/* The same as columns, also of rows that vary. */
static uint64_t push_columns(struct endpoint *e, uint64_t number)
{
	struct plan *p = &e->s->p;
	uint64_t most = 1 + draw(&e->d, ARROW_ROWS);
	struct arrow_rows *a = arrow_new(&p->columns, &e->d);
	uint32_t target;
	size_t pushed = 0;
	int error = DPI_SUCCESS;
	for (uint64_t n = number; a->rows < most && n < p->rows[e->index] && !in_place(p, e->index, n, &target); n++) {
		uint32_t size = make_row(p, e->index, n, e->row);
		if (!arrow_add(&p->columns, e->row, size, a) || mark_after(p, e->index, n)) break;
	}
	size_t rows = a->rows;
	if (rows) error = arrow_push(&p->columns, a, e->source, &pushed);
	arrow_free(&p->columns, a);
	if (pushed > rows || (!error && pushed != rows)) LOST(e, "%zu of %zu rows were pushed: error %d", pushed, rows, error);
	if (would_wait(e, error)) rest(e);
	else if (error != DPI_ERR_LIMIT || !(p->with & ACKS)) GOOD(e, error);
	return pushed;
}

/* Each row that was pushed was sent to its targets, or dropped where these died. */
static void check_counts(struct endpoint *e)
{
	const struct ledger *l = &e->ledger;
	DPI_Source_Stats stats = { .size = sizeof stats };
	if (e->s->p.with & SUMS) return;
	GOOD(e, DPI_Get_Source_Stats(e->source, &stats));
	if (stats.unmatched != l->unmatched) LOST(e, "source %u: its statistics say %" PRIu64 " rows did not match, not %" PRIu64, e->index, stats.unmatched, l->unmatched);
	if (stats.rows + stats.dropped != l->sent || stats.dropped > l->sent_to_dying)
		LOST(e, "source %u: its statistics say %" PRIu64 " rows and %" PRIu64 " dropped, of %" PRIu64 " and %" PRIu64, e->index, stats.rows, stats.dropped, l->sent, l->sent_to_dying);
}

static void flush(struct endpoint *e)
{
	int error;
	while (would_wait(e, error = DPI_Flush_Source(e->source))) turn_pause(&e->turn);
	GOOD(e, error);
}

struct closing {
	struct endpoint *e;
	int error;
	_Atomic bool over;
};

static void *close_in_thread(void *arg)
{
	struct closing *c = arg;
	const char *sentence = "";
	c->error = DPI_Close_Source(c->e->source);
	if (c->error) {
		DPI_Get_Error_Detail(&sentence);
		snprintf(c->e->sentence, sizeof c->e->sentence, "%s", sentence);
	}
	c->over = true;
	return NULL;
}

/* It waits for room, which in an event loop the targets of this very thread may have to make. */
static int close_source(struct endpoint *e)
{
	struct closing c = { .e = e };
	pthread_t thread;
	if (!e->turn.loop) return DPI_Close_Source(e->source);
	if (pthread_create(&thread, NULL, close_in_thread, &c)) FAIL("pthread_create");
	WAIT_IN(e, c.over);
	if (pthread_join(thread, NULL)) FAIL("pthread_join");
	return c.error;
}

/* False: the flow is sealed. */
static bool open_source(struct endpoint *e, uint32_t *called)
{
	struct progress *now = e->s->now;
	DPI_Source_Attr attr = DPI_SOURCE_ATTR_INIT;
	attr.timeout_us = e->loops ? DPI_NO_WAIT : WAIT_US;
	bool sealed = now->done;
	int error = DPI_Open_Source(e->s->flow, &attr, &e->source);
	if (e->s->f.what == SEALED && (sealed || (error == DPI_ERR_SEALED && now->begun))) {
		if (error != DPI_ERR_SEALED) LOST(e, "source %u was opened when the flow was sealed: error %d", e->index, error);
		return false;
	}
	if (error) e->source = NULL;
	GOOD(e, error);
	GOOD(e, DPI_Get_Source_Number(e->source, called));
	if (e->s->p.bloom) {
		DPI_Bloom bloom = sieve_open(&e->s->p, e->s->ctx);
		GOOD(e, DPI_Set_Source_Bloom(bloom, e->source));
		CHECK_DPI(DPI_Close_Bloom(bloom));
	}
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
		uint64_t more = !p->columns.varies && one_in(&e->d, 8) ? push_batch(e, n) : 0;
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
			flush(e);
			now->flushed[s] = n;
		}
		if (p->with & ACKS && one_in(&e->d, 60)) wait_acks(e);
		if (p->with & ACKS && one_in(&e->d, 60)) take_acks(e, one_in(&e->d, 20));
		if (p->source_slow[s] && one_in(&e->d, 50)) pause_us(draw(&e->d, 2000));
	}
	if (p->with & ACKS && !one_in(&e->d, 4)) take_acks(e, true);
	if (e->loops) flush(e);
	check_counts(e);
	now->source[s] = CLOSING;
	int error = close_source(e);
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

#endif
