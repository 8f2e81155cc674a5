/* SPDX-License-Identifier: Apache-2.0
 * ack_source.c: a source that hears of its rows: what it pushes is counted, what targets acknowledge arrives in the credit of each lane.
 *
 * Why no wake-up is lost: a target stores its count with release and then rings the bell that the lane named, which is the source's own
 * (bell.h); the source counts in at that bell, fences, and looks at the counts (changed, below) before it sleeps. A put that
 * brings a count rings the bell at the source's node after the count is there.
 *
 * A row waits under its number among those that the source has pushed to the target. These are the rows that travel there, also those that
 * wait to be encoded or for a segment of columns to be full; only of rows that wait in a table to be reduced it is known when the table has
 * gone out which ones they travelled in (ack_steps.h).
 *
 * A count may be of rows that the source has not pushed only if the target lies; then it acknowledges what is there, not more. */
#include "ack_source.h"

#include <stdlib.h>
#include <string.h>

#include "ack.h"
#include "ack_steps.h"
#include "columnar.h"
#include "function.h"
#include "partial.h"
#include "pipe.h"
#include "retain.h"
#include "resume.h"
#include "wait.h"

#define LOOK_AGAIN_NS 1000000 /* a flush that the transport could not take is tried again after this */

struct dpi_ack_lane {
	struct dpi_run_flush flush; /* RECEIVED: up to where the ring is in the target's memory, */
	uint64_t place, rows;	    /* and a position in it before which so many rows lie: those are asked for */
	uint64_t received;	    /* so many are known to be there */
	uint64_t told;		    /* the other levels: the count that was seen last */
	struct dpi_ack_steps steps; /* where rows are reduced before they travel */
	uint64_t version;	    /* of the flow, when its target was last known to live */
};

struct dpi_ack_source {
	struct dpi_acks *rows;
	struct dpi_ack_lane *lane; /* of each target */
	struct dpi_ack_function function;
	const struct dpi_column *column;
	uint64_t position; /* rows pushed */
	uint64_t key, last; /* of the row that is being pushed; of the one before */
	bool unsent; /* not all went that was to be sent: a ring was full, or the transport took nothing */
};

/* -------------------------------------------------------------------------------------------------- open and close */

int dpi_ack_open(struct dpi_source *s)
{
	const struct dpi_definition *d = s->flow->definition;
	if (!d->ack) return DPI_SUCCESS;
	struct dpi_ack_source *a = s->ack = calloc(1, sizeof *a);
	if (a) a->lane = calloc(d->targets, sizeof *a->lane);
	if (!a || !a->lane) return dpi_fail(DPI_ERR_MEMORY, "no memory for acknowledgements of %u targets", d->targets);
	if (d->ack_column) a->column = d->schema->column + (d->ack_column - 1);
	int error = d->ack_function[0] ? dpi_function_ack(d->ack_function, d->ack_version, &a->function) : DPI_SUCCESS;
	return error ? error : dpi_acks_new(d->ack_of, d->ack_quorum, d->ack_up_to, d->ack_pending, d->targets, &a->rows);
}

void dpi_ack_close(struct dpi_source *s)
{
	struct dpi_ack_source *a = s->ack;
	if (!a) return;
	dpi_acks_free(a->rows);
	for (uint32_t t = 0; a->lane && t < s->flow->definition->targets; t++) dpi_ack_steps_free(&a->lane[t].steps);
	free(a->lane);
	free(a);
	s->ack = NULL;
}

/* The requests of lanes that are about to be closed. */
void dpi_ack_lane_close(struct dpi_source *s, uint32_t target)
{
	DPI_Request *flushing = &s->ack->lane[target].flush.request;
	int done;
	if (!*flushing || DPI_Test(flushing, &done) || done) return;
	DPI_Cancel(*flushing);
	DPI_Test(flushing, &done);
}

/* ----------------------------------------------------------------------------------------------------- listening */

static bool by_position(const struct dpi_source *s)
{
	return s->flow->definition->ack == DPI_ACK_RECEIVED;
}

static bool reduces(const struct dpi_source *s)
{
	return s->pipe && s->pipe->partial;
}

static bool is_gone(struct dpi_source *s, uint32_t target, struct dpi_ack_lane *l)
{
	uint64_t version = atomic_load_explicit(&s->flow->version, memory_order_acquire);
	const struct dpi_buffer *b = s->lane[target].b;
	if (s->lane[target].dropped || (!s->retain && b && dpi_buffer_check(b))) return true;
	if (l->version == version) return false;
	uint32_t state = dpi_flow_where(s->flow, target).state;
	if (state == DPI_TARGET_DEAD || state == DPI_TARGET_DETACHED) return true;
	l->version = version;
	return false;
}

/* Rows that lie in a target's ring, and a position behind them. */
static uint64_t travelled(struct dpi_source *s, uint32_t target, uint64_t *place)
{
	uint64_t rows, bytes;
	if (s->coded) return dpi_coded_travelled(s, target, place);
	dpi_lane_count(s, target, &rows, &bytes);
	if (s->columns && s->columns->open[target]) rows -= dpi_column_rows(s->columns->open[target]);
	*place = atomic_load_explicit(&s->lane[target].b->appender.writer.written, memory_order_relaxed);
	return rows;
}

static uint64_t received(struct dpi_source *s, uint32_t target, bool gone)
{
	struct dpi_ack_lane *l = s->ack->lane + target;
	struct dpi_buffer *b = s->lane[target].b;
	/* an error is found again, as its death */
	if (b && !gone && s->coded) dpi_coded_look(s, target, &l->flush);
	else if (b && !gone) dpi_run_look(b, &l->flush);
	if (l->flush.seen < l->place) return l->received;
	l->received = l->rows;
	if (!b) return l->received;
	l->rows = travelled(s, target, &l->place);
	if (l->flush.seen >= l->place) l->received = l->rows;
	return l->received;
}

/* Rows that a target has acknowledged, as they travelled. */
static uint64_t acknowledged(struct dpi_source *s, uint32_t target, bool gone)
{
	struct dpi_ack_lane *l = s->ack->lane + target;
	if (by_position(s)) return received(s, target, gone);
	if (s->retain) l->told = dpi_retain_acked(s, target);
	else if (s->lane[target].b) l->told = dpi_run_acked(s->lane[target].b);
	return l->told;
}

/* Take up what has come. */
static void listen(struct dpi_source *s)
{
	struct dpi_ack_source *a = s->ack;
	dpi_retain_look(s);
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) {
		if (!a->rows->queue[t].count) continue;
		bool gone = is_gone(s, t, a->lane + t); /* before the last look */
		uint64_t rows = acknowledged(s, t, gone);
		dpi_acks_told(a->rows, t, reduces(s) ? dpi_ack_steps_take(&a->lane[t].steps, rows) : rows);
		if (gone && dpi_lane_gone(s, t)) dpi_acks_gone(a->rows, t);
	}
}

/* Has anything come, or any target gone? */
static bool changed(void *arg)
{
	struct dpi_source *s = arg;
	const struct dpi_ack_source *a = s->ack;
	uint64_t version = atomic_load_explicit(&s->flow->version, memory_order_acquire);
	if (atomic_load_explicit(&s->flow->failed, memory_order_relaxed)) return true;
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) {
		struct dpi_ack_lane *l = a->lane + t;
		struct dpi_buffer *b = s->lane[t].b;
		if (!a->rows->queue[t].count) continue;
		if (l->version != version) return true;
		if (s->retain) {
			if (dpi_retain_acked(s, t) != l->told) return true;
			continue;
		}
		if (!b) continue; /* nothing of it has travelled */
		if (atomic_load_explicit(&b->destroyed, memory_order_relaxed) ||
		    atomic_load_explicit(&b->home_peer->dead, memory_order_relaxed))
			return true;
		if (by_position(s) && s->coded ? dpi_coded_looks(s, t, &l->flush) : by_position(s) ? dpi_run_looks(b, &l->flush) : dpi_run_acked(b) != l->told) return true;
	}
	return false;
}

/* Send what is waited for. What finds no room, or a transport busy, is tried again by who waits, and goes as rows go that nobody waits
 * for; only a table goes out at no other time than this. */
static int send(struct dpi_source *s, int64_t deadline)
{
	int error = s->pipe ? dpi_pipe_drain(s, deadline) : DPI_SUCCESS;
	bool unsent = error == DPI_ERR_AGAIN;
	if (s->columns) dpi_columns_send(s);
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) {
		struct dpi_lane *l = &s->lane[t];
		if (!s->ack->rows->queue[t].count || !l->b || l->dropped) continue;
		if (s->coded) unsent |= !dpi_coded_publish(s, t, false);
		else unsent |= dpi_run_publish(l->b, &l->run) == DPI_ERR_AGAIN; /* dead: is_gone */
		unsent |= !s->coded && s->columns && s->columns->open[t] && dpi_column_rows(s->columns->open[t]);
	}
	s->ack->unsent = unsent;
	return error;
}

static int publish(struct dpi_source *s, int64_t deadline)
{
	int error = send(s, deadline);
	return error == DPI_ERR_AGAIN ? DPI_SUCCESS : error;
}

bool dpi_ack_looks_again(const struct dpi_source *s)
{
	return by_position(s) || (s->retain && s->retain->unfinished);
}

/* Wait until something may have come. TIMEOUT without a sentence; the flow's failure. */
static int wait_once(struct dpi_source *s, int64_t deadline)
{
	int64_t soon = dpi_now() + LOOK_AGAIN_NS;
	bool encodes = s->columns && s->coded; /* the linger service finds the source busy */
	bool again = (dpi_ack_looks_again(s) || encodes || s->ack->unsent) && soon < deadline;
	struct dpi_wait w = { .ready = changed, .arg = s, .bell = s->watch.bell, .deadline = again ? soon : deadline };
	int error = dpi_wait(s->ctx, &w);
	listen(s);
	if (encodes) dpi_columns_send(s);
	int failed = dpi_flow_check(s->flow);
	if (!failed) failed = dpi_source_fenced(s);
	if (!failed && s->ack->unsent) failed = publish(s, 0);
	return failed ? failed : again ? DPI_SUCCESS : error;
}

static int behind(struct dpi_source *s, uint64_t key, const char *call)
{
	const struct dpi_acks *rows = s->ack->rows;
	uint32_t t = dpi_acks_laggard(rows, key);
	if (t == DPI_ACK_NOBODY)
		return dpi_fail(DPI_ERR_TIMEOUT, "%s: nothing was acknowledged within the deadline; %u rows wait", call, dpi_acks_waiting(rows));
	return dpi_fail(DPI_ERR_TIMEOUT, "%s: not acknowledged within the deadline: target %u of flow '%s' on node %d, for one, has not yet; %u rows wait", call, t,
			s->flow->name, dpi_flow_where(s->flow, t).node, dpi_acks_waiting(rows));
}

/* ------------------------------------------------------------------------------------------------------- pushing */

static int key_of(struct dpi_ack_source *a, const void *row, uint64_t size)
{
	const struct dpi_column *c = a->column;
	a->key = a->position + 1;
	if (a->function.call) return a->function.call(row, size, a->function.arg, &a->key);
	if (!c) return DPI_SUCCESS;
	const uint8_t *at = (const uint8_t *)row + c->offset;
	union {
		int8_t i8;
		int16_t i16;
		int32_t i32;
		uint64_t bits;
	} v = { .bits = 0 };
	memcpy(&v, at, c->width);
	switch (c->type) {
	case DPI_TYPE_INT8: a->key = (uint64_t)(int64_t)v.i8; break;
	case DPI_TYPE_INT16: a->key = (uint64_t)(int64_t)v.i16; break;
	case DPI_TYPE_INT32: a->key = (uint64_t)(int64_t)v.i32; break;
	case DPI_TYPE_UINT8: a->key = (uint8_t)v.i8; break;
	case DPI_TYPE_UINT16: a->key = (uint16_t)v.i16; break;
	case DPI_TYPE_UINT32: a->key = (uint32_t)v.i32; break;
	default: a->key = v.bits; break;
	}
	return DPI_SUCCESS;
}

int dpi_ack_key(struct dpi_source *s, const void *row, uint64_t size)
{
	struct dpi_ack_source *a = s->ack;
	int error = key_of(a, row, size);
	if (error || !s->flow->definition->ack_up_to || !a->position || a->key >= a->last) return error;
	return dpi_fail(DPI_ERR_ARGUMENT, "the row's acknowledgement key is %llu, that of the row before %llu: flow '%s' has ack_up_to, so keys of a source never fall",
			(unsigned long long)a->key, (unsigned long long)a->last, s->flow->name);
}

int dpi_ack_room(struct dpi_source *s, const uint32_t *to, uint32_t count, bool wait)
{
	const struct dpi_definition *d = s->flow->definition;
	struct dpi_acks *rows = s->ack->rows;
	int64_t deadline = 0;
	int error;
	if (d->ack_of == DPI_ACK_QUORUM && count && count < d->ack_quorum)
		return dpi_fail(DPI_ERR_ARGUMENT, "dist sends the row to %u targets, and %u have to acknowledge it: send it to as many, or to none", count, d->ack_quorum);
	while ((error = dpi_acks_prepare(rows, to, count)) == DPI_ERR_AGAIN) {
		listen(s);
		if (dpi_acks_some(rows))
			return dpi_fail(DPI_ERR_LIMIT, "%u rows of flow '%s' wait, and of some the program can be told: take them with DPI_Next_Acks or DPI_Wait_Ack", rows->room,
					s->flow->name);
		wait = wait && s->timeout_us >= 0;
		error = DPI_SUCCESS;
		if (!deadline) {
			deadline = wait ? dpi_deadline(0, s->timeout_us) : 0;
			error = publish(s, deadline);
		}
		if (!error && !wait) return DPI_ERR_AGAIN;
		if (!error) error = wait_once(s, deadline);
		if (error == DPI_ERR_TIMEOUT) return behind(s, UINT64_MAX, "a push");
		if (error) return error;
	}
	return error;
}

size_t dpi_ack_ready(struct dpi_source *s, const void *rows, uint32_t size, const uint16_t *part, size_t count)
{
	const struct dpi_definition *d = s->flow->definition;
	struct dpi_ack_source *a = s->ack;
	uint32_t target = *part, room = dpi_acks_room(a->rows);
	size_t n = 1;
	if (a->function.call || s->lane[target].dropped || a->rows->queue[target].gone || (d->ack_of == DPI_ACK_QUORUM && d->ack_quorum > 1)) return 0;
	if (dpi_acks_prepare(a->rows, &target, 1)) return 0;
	if (count > room) count = room;
	while (n < count && part[n] == target) n++;
	key_of(a, rows, size);
	uint64_t first = a->key, end = first;
	if (!a->column) return n;
	if (d->ack_up_to && a->position && first < a->last) return 0;
	for (size_t i = 1; i < n && end != UINT64_MAX; i++) {
		key_of(a, (const uint8_t *)rows + i * size, size);
		if (a->key != end + 1) n = i;
		else end++;
	}
	a->key = first;
	return end == UINT64_MAX ? (size_t)(end - first) + 1 : n;
}

/* The number of the last row that was pushed to a target. */
static uint64_t pushed_to(const struct dpi_source *s, uint32_t target)
{
	uint64_t rows, bytes;
	if (reduces(s)) return dpi_partial_rows(s, target);
	dpi_lane_count(s, target, &rows, &bytes);
	return rows;
}

void dpi_ack_pushed_rows(struct dpi_source *s, uint32_t target, size_t rows)
{
	struct dpi_ack_source *a = s->ack;
	dpi_acks_add_rows(a->rows, a->key, (uint32_t)rows, target, pushed_to(s, target) - (rows - 1));
	a->last = a->key + rows - 1;
	a->position += rows;
}

void dpi_ack_pushed(struct dpi_source *s, const uint32_t *to, uint32_t count)
{
	struct dpi_ack_source *a = s->ack;
	if (count == 1 && !s->lane[*to].dropped && !a->rows->queue[*to].gone) {
		dpi_ack_pushed_rows(s, *to, 1);
		return;
	}
	uint32_t entry = dpi_acks_add(a->rows, a->key, count);
	for (uint32_t i = 0; i < count; i++) {
		struct dpi_lane *l = &s->lane[to[i]];
		if (l->dropped && !a->rows->queue[to[i]].gone) {
			listen(s);
			dpi_acks_gone(a->rows, to[i]);
		}
		dpi_acks_refer(a->rows, entry, to[i], l->dropped ? 0 : pushed_to(s, to[i]));
	}
	dpi_acks_added(a->rows, entry);
	a->last = a->key;
	a->position++;
}

void dpi_ack_went(struct dpi_source *s, uint32_t target, uint64_t pushed)
{
	uint64_t rows, bytes;
	dpi_lane_count(s, target, &rows, &bytes);
	dpi_ack_steps_add(&s->ack->lane[target].steps, rows, pushed);
}

bool dpi_ack_some(struct dpi_source *s)
{
	listen(s);
	return dpi_acks_some(s->ack->rows) || !dpi_ack_full(s);
}

int dpi_ack_send(struct dpi_source *s)
{
	const struct dpi_acks *rows = s->ack->rows;
	if (dpi_flow_check(s->flow) || dpi_source_fenced(s) || dpi_acks_some(rows) || !dpi_acks_waiting(rows)) return DPI_SUCCESS;
	int error = publish(s, 0);
	return dpi_flow_check(s->flow) ? DPI_SUCCESS : error;
}

bool dpi_ack_told(struct dpi_source *s, int64_t *look_at)
{
	if (dpi_flow_check(s->flow) || dpi_source_fenced(s)) return true;
	listen(s);
	if (dpi_acks_some(s->ack->rows)) return true;
	if (dpi_acks_waiting(s->ack->rows) && (dpi_ack_looks_again(s) || s->ack->unsent)) *look_at = dpi_now() + LOOK_AGAIN_NS;
	return false;
}

bool dpi_ack_full(const struct dpi_source *s)
{
	const struct dpi_acks *rows = s->ack->rows;
	return !dpi_acks_room(rows);
}

/* --------------------------------------------------------------------------------------------------------- calls */

static struct dpi_source *begin(DPI_Source handle, const char *call, int *error)
{
	struct dpi_source *s = dpi_source_begin(handle, call, error);
	if (!s || s->ack) return s;
	*error = dpi_fail(DPI_ERR_USE, "%s: flow '%s' has no acknowledgements: set attr->ack when it is created", call, s->flow->name);
	dpi_source_leave(s);
	return NULL;
}

static int next_acks(DPI_Acked *acks, size_t max, DPI_Source handle, size_t *count, bool wait, const char *call)
{
	int error = DPI_SUCCESS;
	if (!acks || !max || !count) return dpi_fail(DPI_ERR_ARGUMENT, "%s: %s", call, !count ? "count is NULL: pass where it may go" : acks ? "max is 0: ask for one or more" : "acks is NULL: pass an array of max");
	*count = 0;
	struct dpi_source *s = begin(handle, call, &error);
	if (!s) return error;
	struct dpi_acks *rows = s->ack->rows;
	int64_t deadline = wait ? dpi_deadline(0, s->timeout_us) : 0;
	listen(s);
	error = dpi_flow_check(s->flow);
	if (!error && wait && !dpi_acks_some(rows)) error = publish(s, deadline);
	while (wait && !error && !dpi_acks_some(rows) && dpi_acks_waiting(rows)) error = wait_once(s, deadline);
	if (!error) *count = dpi_acks_take(rows, acks, max);
	if (error == DPI_ERR_TIMEOUT) error = behind(s, UINT64_MAX, call);
	if (!error && !wait && !*count) {
		dpi_progress(s->ctx);
		error = dpi_fail(DPI_ERR_AGAIN, "%s: nothing is acknowledged now", call);
	}
	dpi_source_leave(s);
	return error;
}

int DPI_Next_Acks(DPI_Acked *acks, size_t max, DPI_Source handle, size_t *count)
{
	return next_acks(acks, max, handle, count, true, "DPI_Next_Acks");
}

int DPI_Try_Next_Acks(DPI_Acked *acks, size_t max, DPI_Source handle, size_t *count)
{
	return next_acks(acks, max, handle, count, false, "DPI_Try_Next_Acks");
}

/* What came of a wait for a key. */
static int awaited(struct dpi_source *s, const char *call)
{
	const struct dpi_ack_entry *lost;
	dpi_acks_awaited(s->ack->rows, &lost);
	if (!lost) return DPI_SUCCESS;
	uint64_t key = s->ack->rows->up_to ? dpi_ack_first_key(lost) : s->ack->rows->awaited;
	return dpi_fail(DPI_ERR_PEER, "%s: the row with key %llu is lost: %u of its %u targets have acknowledged it, and target %u of flow '%s' on node %d is gone", call,
			(unsigned long long)key, lost->acked, lost->targets, lost->who, s->flow->name, dpi_flow_where(s->flow, lost->who).node);
}

int DPI_Wait_Ack(uint64_t key, DPI_Source handle)
{
	int error;
	struct dpi_source *s = begin(handle, "DPI_Wait_Ack", &error);
	if (!s) return error;
	struct dpi_acks *rows = s->ack->rows;
	listen(s);
	error = dpi_flow_check(s->flow);
	dpi_acks_await(rows, key);
	int64_t deadline = rows->left ? dpi_deadline(0, s->timeout_us) : 0;
	if (rows->left && !error) error = publish(s, deadline);
	while (rows->left && !error) error = wait_once(s, deadline);
	int came = awaited(s, "DPI_Wait_Ack");
	if (!error) error = came;
	else if (error == DPI_ERR_TIMEOUT) error = behind(s, key, "DPI_Wait_Ack");
	dpi_source_leave(s);
	return error;
}

int DPI_Test_Ack(uint64_t key, DPI_Source handle, int *acknowledged)
{
	int error;
	if (!acknowledged) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Test_Ack: acknowledged is NULL: pass where the answer may go");
	*acknowledged = 0;
	struct dpi_source *s = begin(handle, "DPI_Test_Ack", &error);
	if (!s) return error;
	listen(s);
	error = dpi_flow_check(s->flow);
	dpi_acks_await(s->ack->rows, key);
	*acknowledged = !s->ack->rows->left;
	int came = awaited(s, "DPI_Test_Ack");
	if (!error) error = came;
	if (error) *acknowledged = 0;
	else if (!*acknowledged) dpi_progress(s->ctx);
	dpi_source_leave(s);
	return error;
}

int DPI_Get_Source_Position(DPI_Source handle, uint64_t *position)
{
	int error;
	if (!position) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Get_Source_Position: position is NULL: pass where it may go");
	struct dpi_source *s = begin(handle, "DPI_Get_Source_Position", &error);
	if (!s) return error;
	*position = s->ack->position;
	dpi_source_leave(s);
	return DPI_SUCCESS;
}
