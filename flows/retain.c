/* SPDX-License-Identifier: Apache-2.0
 * retain.c: a source of a retained flow: what it keeps, and sends again. */
#include "retain.h"

#include "columnar.h"

#include <stdlib.h>
#include <string.h>

#include "resume.h"
#include "wait.h"

#define LOOK_NS 50000000 /* a wait for acknowledgements looks at least so often what has moved */

static struct dpi_kept *at_place(const struct dpi_kept_queue *q, uint32_t n)
{
	return &q->segment[(q->first + n) & (q->room - 1)];
}

static void queue_free(struct dpi_kept_queue *q)
{
	free(q->segment);
	*q = (struct dpi_kept_queue){ 0 };
}

static uint64_t written(const struct dpi_buffer *b)
{
	return atomic_load_explicit(&b->appender.writer.written, memory_order_relaxed);
}

/* Rows in the segments of a lane that have begun. */
static uint64_t sent_rows(const struct dpi_source *s, uint32_t target)
{
	return s->coded ? s->coded->lane[target].sent : s->lane[target].rows;
}

static void drop(struct dpi_source *s, struct dpi_buffer **place)
{
	struct dpi_buffer *b = *place;
	if (!b) return;
	pthread_mutex_lock(&s->flow->lock); /* who looks from outside */
	*place = NULL;
	pthread_mutex_unlock(&s->flow->lock);
	b->appender.keep_mirror = true; /* puts from it may be under way */
	dpi_run_open_drop(b);
}

int dpi_retain_open(struct dpi_source *s)
{
	if (!s->flow->definition->retain) return DPI_SUCCESS;
	s->retain = calloc(1, sizeof *s->retain);
	if (s->retain) s->retain->lane = calloc(s->flow->definition->targets, sizeof *s->retain->lane);
	if (s->retain && s->retain->lane) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_MEMORY, "no memory for a source that keeps its rows");
}

void dpi_retain_close(struct dpi_source *s)
{
	struct dpi_retain *r = s->retain;
	if (!r) return;
	for (uint32_t t = 0; r->lane && t < s->flow->definition->targets; t++) {
		drop(s, &r->lane[t].old);
		queue_free(&r->lane[t].kept);
		queue_free(&r->lane[t].again);
	}
	free(r->lane);
	free(r);
	s->retain = NULL;
}

/* ------------------------------------------------------------------------------------------------------- segments */

/* The first of them is not kept any more. */
static void forget_first(struct dpi_retain_lane *r, struct dpi_kept_queue *q)
{
	const struct dpi_kept *k = at_place(q, 0);
	if (k->mark) *(r->old && q == &r->kept ? &r->next_mark : &r->mark) = (struct dpi_kept_mark){ true, k->value };
	q->first++;
	q->count--;
}

/* Nor is what the target has given back. */
static void forget(struct dpi_retain_lane *r, struct dpi_kept_queue *q, const struct dpi_buffer *b)
{
	if (!b->appender.attached) return;
	uint64_t head = atomic_load_explicit(b->appender.writer.head, memory_order_acquire);
	while (q->count && (int64_t)(at_place(q, 0)->at - head) < 0) forget_first(r, q);
}

int dpi_retain_prepare(struct dpi_source *s, uint32_t target)
{
	struct dpi_kept_queue *q = &s->retain->lane[target].kept;
	if (q->count < q->room) return DPI_SUCCESS;
	if (q->room) forget(&s->retain->lane[target], q, s->lane[target].b);
	if (q->count < q->room / 2) return DPI_SUCCESS;
	uint32_t room = q->room ? 2 * q->room : 32;
	struct dpi_kept *segment = malloc(room * sizeof *segment);
	if (!segment) return dpi_fail(DPI_ERR_MEMORY, "no memory to keep %u segments", room);
	for (uint32_t n = 0; n < q->count; n++) segment[n] = *at_place(q, n);
	free(q->segment);
	*q = (struct dpi_kept_queue){ segment, 0, q->count, room };
	return DPI_SUCCESS;
}

static void keep(struct dpi_kept_queue *q, struct dpi_kept segment)
{
	*at_place(q, q->count++) = segment;
}

void dpi_retain_begins(struct dpi_source *s, uint32_t target, uint32_t kind, uint64_t value)
{
	struct dpi_lane *l = &s->lane[target];
	uint64_t serial = s->coded ? s->coded->lane[target].serial : 0;
	keep(&s->retain->lane[target].kept, (struct dpi_kept){ l->run.at, sent_rows(s, target), serial, value, 0, kind == DPI_FLOW_MARK });
}

void dpi_retain_ends(struct dpi_source *s, uint32_t target)
{
	struct dpi_lane *l = &s->lane[target];
	struct dpi_kept_queue *q = &s->retain->lane[target].kept;
	struct dpi_kept *last = q->count ? at_place(q, q->count - 1) : NULL;
	if (!last || last->at != l->run.at) return;
	last->size = (uint32_t)(written(l->b) - l->run.at - DPI_RING_WORD);
	if (!last->size) q->count--; /* columns of no rows: none of it is there */
}

uint64_t dpi_retain_acked(struct dpi_source *s, uint32_t target)
{
	struct dpi_retain_lane *r = &s->retain->lane[target];
	struct dpi_buffer *b = s->lane[target].b;
	uint64_t told = b ? dpi_run_acked(b) : 0;
	if (told > r->acked) r->acked = told;
	return r->acked;
}

uint64_t dpi_retain_bytes(const struct dpi_source *s)
{
	uint64_t bytes = 0;
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) {
		const struct dpi_buffer *b = s->retain->lane[t].old ? s->retain->lane[t].old : s->lane[t].b;
		if (b && b->appender.attached) bytes += written(b) - atomic_load_explicit(b->appender.writer.head, memory_order_relaxed);
	}
	return bytes;
}

/* ------------------------------------------------------------------------------------------------------- moving */

void dpi_retain_moved(struct dpi_source *s)
{
	if (!s->retain) return;
	atomic_store(&s->retain->moved, true);
	__atomic_store_n(&s->short_row, 0, __ATOMIC_SEQ_CST);
}

bool dpi_retain_current(struct dpi_source *s, uint32_t target)
{
	struct dpi_lane *l = &s->lane[target];
	struct dpi_retain_lane *r = &s->retain->lane[target];
	uint64_t version = atomic_load_explicit(&s->flow->version, memory_order_acquire);
	if (dpi_buffer_check(l->b)) return false;
	if (atomic_load_explicit(&r->version, memory_order_relaxed) == version) return true;
	struct dpi_flow_target where = dpi_flow_where(s->flow, target);
	if (where.epoch != l->epoch || where.state == DPI_TARGET_LOST || where.state == DPI_TARGET_DEAD) return false;
	atomic_store_explicit(&r->version, version, memory_order_relaxed);
	return true;
}

/* The rows of an open segment are counted, and it ends where it is. */
static void end_segment(struct dpi_source *s, uint32_t target)
{
	struct dpi_lane *l = &s->lane[target];
	if (!s->pipe) dpi_source_way(s, target, NULL); /* else it leads into the pipe */
	if (!l->run.end) return;
	if (s->columns) dpi_columns_finish(s, target); /* an error of the ring: it is left */
	dpi_retain_ends(s, target);
	l->run.end = 0;
	if (!l->rows_at) return;
	uint64_t bytes = written(l->b) - l->rows_at;
	__atomic_store_n(&l->rows_at, 0, __ATOMIC_RELAXED);
	DPI_ADD(l->rows, bytes / s->row_size);
	DPI_ADD(l->bytes, bytes);
}

/* The first segment of q: nothing in it is needed any more. One whose number is that of the next row may be a part of it. */
static bool acknowledged(const struct dpi_kept_queue *q, uint64_t rows, uint64_t acked)
{
	const struct dpi_kept *k = at_place(q, 0);
	uint64_t end = q->count > 1 ? at_place(q, 1)->sequence : rows;
	return end <= acked && (k->mark || k->sequence < acked);
}

bool dpi_retain_is_empty(struct dpi_source *s, uint32_t target)
{
	struct dpi_retain_lane *r = &s->retain->lane[target];
	if (s->flow->definition->reduction || r->old || !dpi_retain_current(s, target)) return false;
	uint64_t acked = dpi_retain_acked(s, target);
	while (r->kept.count && acknowledged(&r->kept, sent_rows(s, target), acked)) forget_first(r, &r->kept);
	return !r->kept.count;
}

static void lose(struct dpi_source *s, uint32_t target)
{
	struct dpi_lane *l = &s->lane[target];
	struct dpi_retain_lane *r = &s->retain->lane[target];
	s->retain->moves++;
	s->retain->unfinished = true;
	end_segment(s, target);
	uint64_t rows = sent_rows(s, target);
	if (s->coded) dpi_coded_lost(s, target);
	dpi_retain_acked(s, target);
	if (r->old) {
		drop(s, &l->b);
		queue_free(&r->kept);
		r->next_mark.some = false;
	} else {
		r->again = r->kept;
		r->kept = (struct dpi_kept_queue){ 0 };
		pthread_mutex_lock(&s->flow->lock);
		r->old = l->b;
		l->b = NULL;
		pthread_mutex_unlock(&s->flow->lock);
		dpi_linger_disarm(r->old);
		/* what it gives back from now on was acknowledged too late */
		forget(r, &r->again, r->old);
		while (r->again.count && acknowledged(&r->again, rows, r->acked)) forget_first(r, &r->again);
		r->begin = r->again.count ? at_place(&r->again, 0)->sequence : rows;
	}
	if (l->first && r->begin <= l->first) r->begin = 0; /* what was pushed before the source was resumed is not here */
	if (r->begin < r->acked) r->begin = r->acked; /* begin may be more: what was given back was acknowledged */
	r->sent = r->head = 0;
}

bool dpi_retain_lost(struct dpi_source *s, uint32_t target, int error)
{
	if (!dpi_retain_keeps(s, error) || atomic_load_explicit(&s->flow->failed, memory_order_acquire)) return false;
	if (s->lane[target].b) lose(s, target);
	return true;
}

/* --------------------------------------------------------------------------------------------------- sending again */

/* A segment into the new ring. from: the old one that it lies in; NULL: it is new, and its header alone is there. */
static int send(struct dpi_source *s, uint32_t target, const struct dpi_kept *k, const struct dpi_buffer *from, const uint8_t *bytes, int64_t deadline)
{
	struct dpi_lane *l = &s->lane[target];
	struct dpi_kept_queue *q = &s->retain->lane[target].kept;
	int error = dpi_retain_prepare(s, target);
	if (!error && !l->run.end) error = dpi_lane_begin_run(s, target, k->size, deadline);
	if (!error && s->coded) error = dpi_coded_again(s, target, k, from, &bytes);
	if (error) return error;
	keep(q, (struct dpi_kept){ l->run.at, k->sequence, s->coded ? s->coded->lane[target].serial++ : 0, k->value, k->size, k->mark });
	memcpy(dpi_run_place(l->b), bytes, k->size);
	error = dpi_run_wrote(l->b, &l->run, k->size);
	/* the run is full to its end, so ending it sends nothing */
	return error && error != DPI_ERR_AGAIN ? error : dpi_run_end(l->b, &l->run);
}

/* What tells the target where the source begins: BEGIN, and the last mark, if what follows has none. */
static int send_head(struct dpi_source *s, uint32_t target, int64_t deadline)
{
	struct dpi_retain_lane *r = &s->retain->lane[target];
	uint64_t sequence = r->again.count ? at_place(&r->again, 0)->sequence : sent_rows(s, target);
	bool mark = s->marked;
	uint64_t value = s->mark;
	for (uint32_t n = 0; n < r->again.count; n++) mark &= !at_place(&r->again, n)->mark;
	/* the rows behind a mark are of no window that it ends, at a target that hears of it from others */
	if (s->flow->definition->window == DPI_WINDOW_MARKS && r->mark.some) mark = true, value = r->mark.value;
	for (; r->head < 1 + (uint32_t)mark; r->head++) {
		uint32_t kind = r->head ? DPI_FLOW_MARK : DPI_FLOW_BEGIN;
		struct dpi_flow_segment h = { .base = { .sequence = sequence, .rows = s->epoch, .flags = DPI_SEGMENT_MAGIC | kind, .reserved = s->number },
					      .value = r->head ? value : r->begin, .coded.epoch = s->lane[target].epoch };
		struct dpi_kept k = { .sequence = sequence, .value = value, .size = (uint32_t)sizeof h + dpi_coded_more(s->flow->definition), .mark = r->head };
		int error = send(s, target, &k, NULL, (const uint8_t *)&h, deadline);
		if (error) return error;
	}
	return DPI_SUCCESS;
}

static int send_again(struct dpi_source *s, uint32_t target, int64_t deadline)
{
	struct dpi_lane *l = &s->lane[target];
	struct dpi_retain_lane *r = &s->retain->lane[target];
	const struct dpi_ring_writer *w = &r->old->appender.writer;
	int error = send_head(s, target, deadline);
	for (; !error && r->sent < r->again.count; r->sent += !error) {
		const struct dpi_kept *k = at_place(&r->again, r->sent);
		error = send(s, target, k, r->old, w->data + ((k->at + DPI_RING_WORD) & w->mask), deadline);
		if (!error) DPI_ADD(s->stats.replayed, k->size);
	}
	if (error) return error;
	DPI_ADD(s->stats.replays, 1);
	drop(s, &r->old);
	queue_free(&r->again);
	if (r->next_mark.some) r->mark = r->next_mark;
	r->next_mark.some = false;
	error = dpi_run_publish(l->b, &l->run);
	return error == DPI_ERR_AGAIN ? DPI_SUCCESS : error; /* it lingers */
}

int dpi_retain_way(struct dpi_source *s, uint32_t target, int64_t deadline, bool *dropped)
{
	struct dpi_lane *l = &s->lane[target];
	struct dpi_retain_lane *r = &s->retain->lane[target];
	for (;;) {
		*dropped = l->dropped;
		if (l->dropped) return DPI_SUCCESS;
		if (l->b && !dpi_retain_current(s, target)) lose(s, target);
		int error = l->b ? DPI_SUCCESS : dpi_lane_open_once(s, target, deadline, dropped);
		if (!error && !*dropped && r->old) error = send_again(s, target, deadline);
		if (!dpi_retain_keeps(s, error) || atomic_load_explicit(&s->flow->failed, memory_order_acquire)) return error;
		uint32_t state = dpi_flow_where(s->flow, target).state;
		int fenced = dpi_source_fenced(s); /* then the target had all from another */
		if (fenced || state == DPI_TARGET_DEAD || state == DPI_TARGET_ENDED) return fenced ? fenced : error;
		if (l->b) lose(s, target); /* else what was asked for a ring is gone: the next turn waits for another binding */
	}
}

void dpi_retain_step(struct dpi_source *s)
{
	struct dpi_retain *r = s->retain;
	atomic_store(&r->moved, false);
	r->unfinished = false;
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) {
		bool dropped;
		struct dpi_retain_lane *l = &r->lane[t];
		if (!s->lane[t].b && !l->old) continue;
		if (!l->old && dpi_retain_current(s, t)) continue;
		if (dpi_lane_open(s, t, 0, &dropped)) r->unfinished = true; /* whatever it is, the next call that needs the lane finds it again */
	}
	dpi_source_short(s);
}

/* ------------------------------------------------------------------------------------------------------- the end */

static uint64_t missing(struct dpi_source *s, uint32_t *target)
{
	uint64_t rows = 0;
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) {
		const struct dpi_lane *l = &s->lane[t];
		if (l->dropped || (!l->b && !s->retain->lane[t].old) || dpi_retain_acked(s, t) >= l->rows) continue;
		if (!rows) *target = t;
		rows += l->rows - s->retain->lane[t].acked;
	}
	return rows;
}

static bool settled(void *arg)
{
	struct dpi_source *s = arg;
	uint32_t target;
	return atomic_load_explicit(&s->flow->failed, memory_order_relaxed) || atomic_load_explicit(&s->retain->moved, memory_order_relaxed) || !missing(s, &target);
}

int dpi_retain_wait(struct dpi_source *s, int64_t deadline)
{
	uint32_t target = 0;
	uint64_t rows;
	while ((rows = missing(s, &target))) {
		int64_t now = dpi_now(), soon = now + LOOK_NS;
		int error = dpi_flow_check(s->flow);
		if (!error) error = dpi_source_fenced(s); /* what is not acknowledged is another's then */
		if (error) return error;
		if (now >= deadline)
			return dpi_fail(DPI_ERR_TIMEOUT, "%llu rows of flow '%s' were not acknowledged within the deadline: target %u on node %d, for one, has not; they are given up", (unsigned long long)rows,
					s->flow->name, target, dpi_flow_where(s->flow, target).node);
		struct dpi_wait w = { .ready = settled, .arg = s, .bell = s->watch.bell, .deadline = soon < deadline ? soon : deadline };
		dpi_wait(s->ctx, &w);
		dpi_retain_step(s);
	}
	return DPI_SUCCESS;
}
