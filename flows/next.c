/* SPDX-License-Identifier: Apache-2.0
 * next.c: rows out of segments, one by one or by the run. DPI_Next's short way stands in dpi_inline.h. */
#define DPI_NO_INLINE /* here are the calls themselves */
#include <stdio.h>

#include "bloom.h"
#include "pipe.h"
#include "target.h"
#include "wait.h"

/* A target that looks again at once takes the line of a ring's tail from its source at every group that is published; one that has
 * just read a run rests, one that gets rows singly looks at once, and one that does not wait has other things to do. As in queue.c. */
#define REST_ROWS 16
#define REST_NS 2000
static bool rest(struct dpi_target *t)
{
	uint64_t run = t->stats.rows - t->caught_up;
	t->caught_up = t->stats.rows;
	if (run < REST_ROWS || !t->ctx->spin_ns || t->timeout_us < 0) return false;
	for (int64_t end = dpi_now() + REST_NS; dpi_now() < end;) dpi_pause();
	return true;
}

static bool ready(void *arg)
{
	return dpi_target_waits(arg);
}

static int timed_out(const struct dpi_target *t, const char *call)
{
	struct dpi_flow *f = t->flow;
	uint32_t opened = atomic_load(&f->opened), over = atomic_load(&f->over), first = 0;
	int state = 0;
	while (first < opened && ((state = dpi_flow_whose(f, first).state) == DPI_SOURCE_CLOSED || state == DPI_SOURCE_DEAD)) first++;
	if (opened == over)
		return dpi_fail(DPI_ERR_TIMEOUT, "%s: nothing came to target %u of flow '%s' within the deadline; no source is open, and the flow is not sealed: more may come",
				call, t->index, f->name);
	return dpi_fail(DPI_ERR_TIMEOUT, "%s: nothing came to target %u of flow '%s' within the deadline; %u of %u sources are open, the first of them source %u on node %d%s",
			call, t->index, f->name, opened - over, opened, first, dpi_flow_whose(f, first).node, state == DPI_SOURCE_LOST ? ", which is lost and may resume" : "");
}

/* What DPI_Wait_Targets has found. */
static int take_kept(struct dpi_target *t, const char *call, struct dpi_piece *piece, uint64_t *mark)
{
	struct dpi_find *k = &t->kept;
	enum dpi_found found = k->found;
	*piece = k->piece;
	*mark = k->mark;
	k->found = DPI_FOUND_NOTHING;
	k->piece = (struct dpi_piece){ 0 };
	if (found == DPI_FOUND_ROWS && t->bloom) dpi_target_bloom_add(t, piece);
	if (found == DPI_FOUND_END) dpi_target_bloom_end(t);
	if (found == DPI_FOUND_ERROR) return dpi_fail(k->error, "%s", k->sentence);
	return found == DPI_FOUND_END ? dpi_fail(DPI_ERR_END, "%s: flow '%s' has ended", call, t->flow->name) : DPI_SUCCESS;
}

int dpi_target_take(struct dpi_target *t, bool wait, const char *call, struct dpi_piece *piece, uint64_t *mark)
{
	int64_t deadline = 0, start = 0, waited_us = 0;
	uint64_t came = t->stats.rows;
	int error;
	if (t->kept.found != DPI_FOUND_NOTHING) return take_kept(t, call, piece, mark);
	if (t->ended) return dpi_fail(DPI_ERR_END, "%s: flow '%s' has ended", call, t->flow->name);
	for (;;) {
		enum dpi_found found = dpi_target_find(t, piece, mark, &error);
		if (start && found != DPI_FOUND_NOTHING) dpi_target_waited(t, found == DPI_FOUND_ROWS ? piece->source : DPI_SOURCE_NONE, waited_us);
		switch (found) {
		case DPI_FOUND_ROWS: if (__builtin_expect(t->bloom != NULL, 0)) dpi_target_bloom_add(t, piece); return DPI_SUCCESS;
		case DPI_FOUND_MARK: return DPI_SUCCESS;
		case DPI_FOUND_ERROR: return error;
		case DPI_FOUND_END: dpi_target_bloom_end(t); return dpi_fail(DPI_ERR_END, "%s: flow '%s' has ended", call, t->flow->name);
		case DPI_FOUND_NOTHING: break;
		}
		if (!wait) {
			dpi_progress(t->ctx);
			return dpi_fail(DPI_ERR_AGAIN, "%s: nothing is there now", call);
		}
		if (!start) {
			if (rest(t)) continue;
			start = dpi_now();
			deadline = dpi_deadline(0, t->timeout_us);
			DPI_ADD(t->stats.waits, 1);
		} else if (t->pipe && t->pipe->final && t->stats.rows != came) { /* the table takes in what comes: it is not in vain */
			deadline = dpi_deadline(0, t->timeout_us);
		}
		came = t->stats.rows;
		struct dpi_wait w = { .ready = ready, .arg = t, .bell = t->home->bell, .deadline = deadline };
		__atomic_store_n(&t->stats.waiting, 1, __ATOMIC_RELAXED);
		error = dpi_wait(t->ctx, &w);
		__atomic_store_n(&t->stats.waiting, 0, __ATOMIC_RELAXED);
		int64_t now = dpi_now();
		DPI_ADD(t->stats.wait_us, (now - start) / 1000);
		waited_us += (now - start) / 1000;
		start = now;
		if (!error) continue;
		dpi_target_waited(t, DPI_SOURCE_NONE, waited_us);
		return timed_out(t, call);
	}
}

void dpi_target_keep(struct dpi_target *t, struct dpi_piece *piece)
{
	t->kept.found = DPI_FOUND_ROWS;
	t->kept.piece = *piece;
	*piece = (struct dpi_piece){ 0 };
}

/* The same, as rows. */
static int find(struct dpi_target *t, bool wait, const char *call, struct dpi_piece *piece, uint64_t *mark)
{
	int error = dpi_target_take(t, wait, call, piece, mark);
	if (error || !piece->columns) return error;
	error = dpi_columns_rows(piece);
	if (error) dpi_target_keep(t, piece);
	return error;
}

static void give(struct dpi_target *t, DPI_Tuple *tuple)
{
	const uint8_t *at = t->at;
	*tuple = (DPI_Tuple){ .data = at, .size = t->stride, .source = t->source, .kind = DPI_TUPLE_ROW };
	if (t->stride) {
		t->at = at + t->stride;
		return;
	}
	const DPI_Record *r = (const DPI_Record *)(const void *)at;
	tuple->data = r->data;
	tuple->size = r->size;
	t->at = (const uint8_t *)(r + 1);
}

/* With the latency hint rows come singly: the next one mostly lies right behind the last, in the run that is being read, and is taken
 * from there with nothing else looked at. */
static bool more(struct dpi_target *t)
{
	struct dpi_piece *p = &t->piece;
	if (!p->ring || p->ring != p->inlet->ring || p->end != p->ring->reader.read) return false;
	uint64_t size = dpi_run_more(p->ring, &p->inlet->run, t->stride);
	if (!size) return false;
	p->end += size;
	p->stop += size;
	t->stop = p->stop;
	p->inlet->rows += size / t->stride;
	DPI_ADD(t->stats.rows, size / t->stride);
	DPI_ADD(t->stats.bytes, size);
	return true;
}

#define LOOKS 32 /* for the answer that is on its way; then the wait begins, which serves the transports and sleeps */
static bool next_of_run(struct dpi_target *t, bool wait)
{
	if (t->inlets != 1 || t->lents || t->bloom || t->kept.found != DPI_FOUND_NOTHING) return false;
	for (int looks = wait && t->ctx->spin_ns ? LOOKS : 1;;) {
		if (atomic_load_explicit(&t->flow->failed, memory_order_relaxed) || atomic_load_explicit(&t->home->changed, memory_order_relaxed)) return false;
		if (more(t)) return true;
		if (!--looks) return false;
		dpi_pause();
	}
}

static int next(DPI_Tuple *tuple, DPI_Target handle, bool wait, const char *call)
{
	int error;
	uint64_t mark = 0;
	if (!tuple) return dpi_fail(DPI_ERR_ARGUMENT, "%s: tuple is NULL: pass where it may go", call);
	struct dpi_target *t = dpi_target_begin(handle, call, &error);
	if (!t) return error;
	if (t->at == t->stop && !(t->prompt && next_of_run(t, wait))) {
		if (t->piece.some) dpi_piece_release(t, &t->piece);
		t->at = t->stop = NULL;
		error = find(t, wait, call, &t->piece, &mark);
		if (!error && t->piece.some) {
			t->at = t->piece.data;
			t->stop = t->piece.stop;
			t->source = t->piece.source;
		} else if (!error) {
			*tuple = (DPI_Tuple){ .mark = mark, .kind = DPI_TUPLE_MARK };
			dpi_target_leave(t);
			return DPI_SUCCESS;
		}
	}
	if (!error) give(t, tuple);
	dpi_target_leave(t);
	return error;
}

int DPI_Next(DPI_Target handle, DPI_Tuple *tuple)
{
	return next(tuple, handle, true, "DPI_Next");
}

int DPI_Try_Next(DPI_Target handle, DPI_Tuple *tuple)
{
	return next(tuple, handle, false, "DPI_Try_Next");
}

/* ------------------------------------------------------------------------------------------------------- by the run */

void dpi_target_rest(struct dpi_target *t, struct dpi_piece *piece)
{
	*piece = t->piece;
	piece->data = t->at;
	t->piece = (struct dpi_piece){ 0 };
	t->at = t->stop = NULL;
}

void dpi_target_lend(struct dpi_target *t, const struct dpi_piece *piece)
{
	t->lent[(t->first + t->lents++) % DPI_LENT_MAX] = *piece;
}

void dpi_target_collect(struct dpi_target *t)
{
	for (; t->lents && dpi_piece_back(&t->lent[t->first]); t->lents--) {
		dpi_piece_release(t, &t->lent[t->first]);
		t->first = (t->first + 1) % DPI_LENT_MAX;
	}
}

int DPI_Next_Batch(DPI_Target handle, DPI_Batch *batch)
{
	int error;
	uint64_t mark = 0;
	struct dpi_piece piece = { 0 };
	if (!batch) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Next_Batch: batch is NULL: pass where it may go");
	*batch = (DPI_Batch){ 0 };
	struct dpi_target *t = dpi_target_begin(handle, "DPI_Next_Batch", &error);
	if (!t) return error;
	dpi_target_collect(t);
	if (t->lents == DPI_LENT_MAX) {
		error = dpi_fail(DPI_ERR_LIMIT, "DPI_Next_Batch: %d runs are lent: DPI_Release_Batch some", DPI_LENT_MAX);
	} else if (t->at != t->stop) {
		dpi_target_rest(t, &piece);
	} else {
		if (t->piece.some) dpi_piece_release(t, &t->piece);
		error = find(t, true, "DPI_Next_Batch", &piece, &mark);
	}
	if (!error && !piece.some) {
		batch->kind = DPI_TUPLE_MARK;
		batch->mark = mark;
	} else if (!error) {
		batch->source = piece.source;
		batch->stride = t->stride;
		if (t->stride) {
			batch->rows = piece.data;
			batch->count = (size_t)(piece.stop - piece.data) / t->stride;
		} else {
			batch->record = (const DPI_Record *)(const void *)piece.data;
			batch->count = (size_t)(piece.stop - piece.data) / sizeof *batch->record;
		}
		dpi_target_lend(t, &piece);
	}
	dpi_target_leave(t);
	return error;
}

int DPI_Release_Batch(size_t count, DPI_Target handle)
{
	int error;
	struct dpi_target *t = dpi_target_begin(handle, "DPI_Release_Batch", &error);
	if (!t) return error;
	size_t lent = 0;
	for (size_t n = 0; n < t->lents; n++) lent += !dpi_piece_back(&t->lent[(t->first + n) % DPI_LENT_MAX]);
	if (count > lent) error = dpi_fail(DPI_ERR_RANGE, "DPI_Release_Batch: %zu runs, but %zu are lent", count, lent);
	for (size_t n = 0; n < t->lents && count && !error; n++) {
		struct dpi_piece *p = &t->lent[(t->first + n) % DPI_LENT_MAX];
		if (dpi_piece_back(p)) continue;
		p->back = true;
		count--;
	}
	dpi_target_collect(t);
	dpi_target_leave(t);
	return error;
}

/* ------------------------------------------------------------------------------------------------- several targets */

struct several {
	const DPI_Target *targets;
	size_t count, found;
};

/* Something may have come. */
static bool some_ready(void *arg)
{
	struct several *s = arg;
	for (size_t n = 0; n < s->count; n++)
		if (dpi_target_waits(dpi_target_get(s->targets[n]))) return true;
	return false;
}

/* News that change nothing for the program, and marks that wait for others, are nothing. */
bool dpi_target_found(struct dpi_target *t)
{
	struct dpi_find *k = &t->kept;
	if (t->ended || t->at != t->stop || k->found != DPI_FOUND_NOTHING) return true;
	if (!dpi_target_waits(t)) {
		dpi_target_caught_up(t);
		return false;
	}
	k->found = dpi_target_find(t, &k->piece, &k->mark, &k->error);
	if (k->found == DPI_FOUND_ERROR) snprintf(k->sentence, sizeof k->sentence, "%s", dpi_detail());
	return k->found != DPI_FOUND_NOTHING;
}

static bool some_found(struct several *s)
{
	for (s->found = 0; s->found < s->count; s->found++)
		if (dpi_target_found(dpi_target_get(s->targets[s->found]))) return true;
	return false;
}

int DPI_Wait_Targets(const DPI_Target *targets, size_t count, int64_t timeout_us, size_t *index)
{
	int error = DPI_SUCCESS;
	if (!targets || !count || !index) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Wait_Targets: %s", !targets ? "targets is NULL: pass an array of them" : !count ? "count is 0: wait for one or more" : "index is NULL: pass where the number of the one that is ready may go");
	error = dpi_timeout_check("DPI_Wait_Targets", "timeout_us", timeout_us);
	if (error) return error;
	size_t entered = 0;
	for (; entered < count && !error; entered += !error) dpi_target_begin(targets[entered], "DPI_Wait_Targets", &error);
	if (!error) {
		struct dpi_target *t = dpi_target_get(targets[0]);
		struct several s = { targets, count, 0 };
		struct dpi_wait w = { .ready = some_ready, .arg = &s, .bell = t->home->bell, .deadline = dpi_deadline(timeout_us, t->ctx->timeout_us) };
		for (size_t n = 1; n < count; n++) w.bells |= UINT64_C(1) << dpi_target_get(targets[n])->home->bell;
		while (!some_found(&s)) {
			for (size_t n = 0; n < count; n++) __atomic_store_n(&dpi_target_get(targets[n])->stats.waiting, 1, __ATOMIC_RELAXED);
			int late = dpi_wait(t->ctx, &w);
			for (size_t n = 0; n < count; n++) __atomic_store_n(&dpi_target_get(targets[n])->stats.waiting, 0, __ATOMIC_RELAXED);
			if (!late) continue;
			error = dpi_fail(DPI_ERR_TIMEOUT, "DPI_Wait_Targets: none of %zu targets has anything within the deadline", count);
			break;
		}
		*index = s.found;
	}
	while (entered--) dpi_target_leave(dpi_target_get(targets[entered]));
	return error;
}
