/* SPDX-License-Identifier: Apache-2.0
 * push.c: rows into segments. DPI_Push's short way stands in dpi_inline.h and, for programs that do without it, in short_way.c. */
#define DPI_NO_INLINE /* here are the calls themselves */
#include <stdlib.h>
#include <string.h>

#include "ack_source.h"
#include "bloom.h"
#include "columnar.h"
#include "multicast.h"
#include "partial.h"
#include "pipe.h"
#include "push_plan.h"
#include "retain.h"
#include "row_batch.h"
#include "wait.h"

/* Is this a row of the flow's schema? */
static int check_row(const struct dpi_source *s, const void *row, uint64_t size, const char *call)
{
	const struct dpi_schema *schema = s->flow->definition->schema;
	if (__builtin_expect(!row, 0)) return dpi_fail(DPI_ERR_ARGUMENT, "%s: row is NULL: pass a row of the flow's schema", call);
	if (s->push_size && __builtin_expect(size != s->push_size, 0))
		return dpi_fail(DPI_ERR_SIZE, "%s: the row has %llu bytes, a row of flow '%s' has %u", call, (unsigned long long)size, s->flow->name, s->push_size);
	if (size > DPI_ROW_MAX) return dpi_fail(DPI_ERR_SIZE, "%s: the row has %llu bytes, at most %u are taken", call, (unsigned long long)size, DPI_ROW_MAX);
	/* text that becomes a key is looked at, as the target does that, too */
	return schema->plain ? DPI_SUCCESS : dpi_row_check(schema, row, (uint32_t)size, s->flow->definition->partial);
}

/* What an error of the transport means for a row of need bytes that was written. One that is lost with its target, where the flow goes
 * on, was dropped: so those that are counted by what is written are counted from behind it. */
static int lost(struct dpi_source *s, uint32_t target, uint64_t need, int error)
{
	bool dropped = false;
	if (error == DPI_ERR_AGAIN) return DPI_SUCCESS; /* the linger service sends what the transport could not take */
	error = dpi_lane_failed(s, target, error, &dropped);
	if (!dropped) return error;
	DPI_ADD(s->stats.dropped, 1);
	if (s->row_size) __atomic_store_n(&s->lane[target].rows_at, s->lane[target].rows_at + need, __ATOMIC_RELAXED);
	return DPI_SUCCESS;
}

/* With the latency hint, over a direct window: a row was written by the short way. */
int dpi_push_prompt(struct dpi_source *s, uint32_t target)
{
	struct dpi_lane *l = &s->lane[target];
	int error = dpi_flow_check(s->flow);
	if (error) return error;
	if (dpi_run_published(l->b)) { /* by the program itself, and somebody sleeps */
		dpi_remote_ring(&l->b->appender.remote, l->b->appender.home_bell);
		return DPI_SUCCESS;
	}
	error = dpi_run_publish(l->b, &l->run);
	return error ? lost(s, target, s->row_size, error) : DPI_SUCCESS;
}

/* A row of size bytes is in the segment's room, need bytes of it. */
static int wrote(struct dpi_source *s, uint32_t target, uint64_t size, uint64_t need)
{
	struct dpi_lane *l = &s->lane[target];
	int error = s->flow->definition->hint == DPI_HINT_LATENCY ? dpi_run_wrote_now(l->b, &l->run, need) : dpi_run_wrote(l->b, &l->run, need);
	if (error && error != DPI_ERR_AGAIN && !dpi_retain_keeps(s, error)) return lost(s, target, need, error);
	if (!s->row_size) {
		DPI_ADD(l->rows, 1);
		DPI_ADD(l->bytes, size);
	}
	return DPI_SUCCESS;
}

static int put_row(struct dpi_source *s, uint32_t target, const void *row, uint64_t size, uint64_t need)
{
	struct dpi_lane *l = &s->lane[target];
	if (s->coded) return dpi_coded_put(s, target, row, size, need);
	uint8_t *to = dpi_run_place(l->b);
	if (!s->row_size) {
		memcpy(to, &size, 8);
		to += 8;
	}
	memcpy(to, row, size);
	return wrote(s, target, size, need);
}

/* ---------------------------------------------------------------------------------------- into segments that are open */

/* How many rows of this size fit what the open segments of these targets publish at once: 0 where there is more to do. */
static size_t fit(const struct dpi_source *s, const uint32_t *to, uint32_t count, size_t size)
{
	uint64_t least = UINT64_MAX;
	for (uint32_t i = 0; i < count; i++) {
		const struct dpi_buffer *b = s->way[to[i]];
		if (__builtin_expect(!b || b->prompt, 0)) return 0;
		const struct dpi_ring_writer *w = &b->appender.writer;
		uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed), left = w->until > written ? w->until - written : 0;
		if (left < least) least = left;
	}
	return least < size ? 0 : least < 2 * size ? 1 : (size_t)least / size;
}

static inline void put_run(struct dpi_buffer *b, const uint8_t *row, size_t size, size_t rows)
{
	struct dpi_ring_writer *w = &b->appender.writer;
	uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed);
	uint8_t *to = dpi_run_place(b);
	dpi_ring_ask(w->data, written, w->mask);
	if (rows == 1) dpi_row_copy(to, row, size);
	else memcpy(to, row, rows * size);
	atomic_store_explicit(&w->written, written + rows * size, memory_order_release);
	dpi_append_arm(b);
}

#define FEW 32u /* targets whose places are found before a run of rows and noted behind it */

/* As many of the first rows as fit, each to its target, of few. */
static size_t put_few(struct dpi_source *s, const uint8_t *row, uint32_t size, const uint16_t *part, size_t n, size_t ahead)
{
	uint32_t targets = s->flow->definition->targets;
	uint8_t *at[FEW], *end[FEW], *from[FEW];
	for (uint32_t t = 0; t < targets; t++) {
		const struct dpi_buffer *b = s->way[t];
		at[t] = end[t] = from[t] = NULL;
		if (!b || b->prompt) continue;
		const struct dpi_ring_writer *w = &b->appender.writer;
		uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed);
		at[t] = from[t] = dpi_run_place(b); /* what is open does not wrap */
		end[t] = at[t] + (w->until > written ? w->until - written : 0);
	}
	size_t rows = dpi_push_fill(row, size, size, n, part, at, end, ahead);
	for (uint32_t t = 0; t < targets; t++) {
		if (at[t] == from[t]) continue;
		struct dpi_ring_writer *w = &s->way[t]->appender.writer;
		uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed);
		atomic_store_explicit(&w->written, written + (uint64_t)(at[t] - from[t]), memory_order_release);
		dpi_append_arm(s->way[t]);
	}
	return rows;
}

/* The same for any number of targets. What is decided row by row is which: so that is no branch, and the size of the copy, where it is a
 * common one, is the compiler's. */
static inline __attribute__((always_inline)) size_t put_sized(struct dpi_source *s, const uint8_t *row, size_t size, const uint16_t *part, size_t n, size_t ahead)
{
	struct dpi_buffer *const *way = s->way;
	bool fence = atomic_load_explicit(&s->ctx->bells.page->fence, memory_order_relaxed);
	for (size_t i = 0; i < n; i++, row += size) {
		struct dpi_buffer *b = way[part[i]];
		if (__builtin_expect(!b || b->prompt, 0)) return i;
		struct dpi_ring_writer *w = &b->appender.writer;
		uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed);
		if (__builtin_expect(written + size > w->until, 0)) return i;
		dpi_ring_ask(w->data, written, w->mask);
		__builtin_prefetch(row + ahead);
		dpi_row_copy(dpi_run_place(b), row, size);
		atomic_store_explicit(&w->written, written + size, memory_order_release);
		atomic_signal_fence(memory_order_seq_cst);
		if (__builtin_expect(fence || !atomic_load_explicit(&b->armed, memory_order_relaxed), 0)) dpi_append_arm(b);
	}
	return n;
}

/* ahead: bytes to a row of the next run, which comes from memory while these are copied, or 0. */
static size_t put_parts(struct dpi_source *s, const uint8_t *row, size_t size, const uint16_t *part, size_t n, size_t ahead)
{
	if (s->flow->definition->targets <= FEW) return put_few(s, row, (uint32_t)size, part, n, ahead);
	switch (size) {
	case 8: return put_sized(s, row, 8, part, n, ahead);
	case 16: return put_sized(s, row, 16, part, n, ahead);
	case 24: return put_sized(s, row, 24, part, n, ahead);
	case 32: return put_sized(s, row, 32, part, n, ahead);
	case 64: return put_sized(s, row, 64, part, n, ahead);
	default: return put_sized(s, row, size, part, n, ahead);
	}
}

/* As many of the first rows as fit at each of the targets, to all of them. */
static size_t put_each(struct dpi_source *s, const uint32_t *to, uint32_t count, const uint8_t *row, size_t size, size_t n)
{
	size_t rows = fit(s, to, count, size);
	if (!rows && count > 1 && dpi_source_publish_many(s, to, count)) rows = fit(s, to, count, size);
	if (rows > n) rows = n;
	for (uint32_t i = 0; rows && i < count; i++) put_run(s->way[to[i]], row, size, rows);
	return rows;
}

/* The clock is asked only of those who wait. */
static int find_room(struct dpi_source *s, uint32_t target, uint64_t need, bool wait, bool *dropped)
{
	int error = dpi_lane_room(s, target, need, 0, dropped);
	if (error != DPI_ERR_AGAIN || !wait) return error;
	int64_t deadline = dpi_deadline(0, s->timeout_us);
	if (deadline) return dpi_lane_room(s, target, need, deadline, dropped);
	error = dpi_lane_open_now(s, target, dropped);
	return error || *dropped ? error : dpi_lane_room(s, target, need, 0, dropped);
}

int dpi_source_wants(struct dpi_source *s, uint32_t target, enum dpi_want kind, uint64_t size, int error)
{
	if (__builtin_expect(error == DPI_ERR_AGAIN || error == DPI_ERR_TIMEOUT, 0)) s->wanted = (struct dpi_wanted_room){ kind, target, size };
	return error;
}

/* Room at a target. */
static int room(struct dpi_source *s, uint32_t target, uint64_t need, bool wait, bool *dropped)
{
	return dpi_source_wants(s, target, DPI_WANT_ROWS, need, find_room(s, target, need, wait, dropped));
}

/* First room at each, then the row. */
int dpi_push_to(struct dpi_source *s, const uint32_t *to, uint32_t count, const void *row, uint64_t size, bool wait)
{
	uint64_t need = dpi_flow_row_need(s->flow->definition->wire, size);
	int error = DPI_SUCCESS;
	if (s->row_size && !s->pipe && !s->columns && put_each(s, to, count, row, size, 1)) return DPI_SUCCESS;
	if (s->columns) return dpi_columns_push_row(s, to, count, row, size, wait);
	if (need > s->segment - sizeof(struct dpi_flow_segment)) return dpi_push_large(s, to, count, row, size, wait);
	uint64_t moves;
	dpi_source_together(s, to, count);
	do { /* while one is waited for, another may move or be given up, with the room in it */
		moves = dpi_source_moves(s);
		for (uint32_t i = 0; i < count && !error; i++) {
			bool dropped;
			error = room(s, to[i], need, wait, &dropped);
		}
	} while (!error && count > 1 && dpi_source_moves(s) != moves);
	dpi_source_together(s, NULL, 0);
	if (error) return error;
	for (uint32_t i = 0; i < count && !error; i++) {
		if (s->lane[to[i]].dropped) DPI_ADD(s->stats.dropped, 1);
		else error = put_row(s, to[i], row, size, need);
	}
	return error;
}

/* What no pipe changes. */
static int push_noted(struct dpi_source *s, const uint32_t *to, uint32_t count, const void *row, uint64_t size, bool wait)
{
	int error = s->ack ? dpi_ack_room(s, to, count, wait) : DPI_SUCCESS;
	if (!error) error = dpi_push_to(s, to, count, row, size, wait);
	if (!error && s->ack) dpi_ack_pushed(s, to, count);
	return error;
}

static int push_routed(struct dpi_source *s, const uint32_t *to, uint32_t count, const void *row, uint64_t size, bool wait)
{
	int error = s->ack ? dpi_ack_key(s, row, size) : DPI_SUCCESS;
	if (!error) error = __builtin_expect(s->pipe != NULL, 0) ? dpi_pipe_push(s, to, count, row, size, wait) : push_noted(s, to, count, row, size, wait);
	if (__builtin_expect(!count, 0) && !error) DPI_ADD(s->stats.filtered, 1);
	return error;
}

static int push_row(struct dpi_source *s, const void *row, uint64_t size, bool wait)
{
	const uint32_t *to;
	uint32_t count;
	int error = dpi_route_row(s->route, row, (uint32_t)size, &to, &count);
	if (!error && (error = push_routed(s, to, count, row, size, wait))) dpi_route_back(s->route, 1);
	return error;
}

/* A row that is not to travel is acknowledged as one that dist sends nowhere. */
static int drop(struct dpi_source *s, const void *row, uint64_t size, bool wait)
{
	int error = s->ack ? dpi_ack_key(s, row, size) : DPI_SUCCESS;
	if (s->ack && !error) error = dpi_ack_room(s, NULL, 0, wait);
	if (error) return error;
	if (s->ack) dpi_ack_pushed(s, NULL, 0);
	DPI_ADD(s->stats.unmatched, 1);
	return DPI_SUCCESS;
}

/* Through the source's Bloom filter. */
static int push_or_drop(struct dpi_source *s, const void *row, uint64_t size, bool wait)
{
	bool passes;
	int error = dpi_source_bloom_row(s->bloom, row, size, &passes);
	if (error) return error;
	return passes ? push_row(s, row, size, wait) : drop(s, row, size, wait);
}

int dpi_push_noted_row(struct dpi_source *s, const void *row, uint64_t size)
{
	return s->bloom ? push_or_drop(s, row, size, true) : push_row(s, row, size, true);
}

int dpi_push_no_room(struct dpi_source *s, bool wait, const char *call)
{
	const char *name = s->flow->name;
	if (s->ack && dpi_ack_full(s)) {
		dpi_progress(s->ctx);
		return dpi_fail(wait ? DPI_ERR_TIMEOUT : DPI_ERR_AGAIN, "%s: as many rows of flow '%s' wait for acknowledgements as attr->ack_pending says", call, name);
	}
	if (wait) return dpi_fail(DPI_ERR_TIMEOUT, "%s: no room, and the source's timeout is DPI_NO_WAIT", call);
	dpi_progress(s->ctx);
	return dpi_fail(DPI_ERR_AGAIN, "%s: a target of flow '%s' has no room now: take what came to your own targets, then try again", call, s->flow->name);
}

static int push(const void *row, size_t size, DPI_Source handle, bool wait, const char *call)
{
	int error;
	struct dpi_source *s = dpi_source_begin(handle, call, &error);
	if (!s) return error;
	s->tries |= !wait;
	error = check_row(s, row, size, call);
	if (!error && s->reserved >= 0) error = dpi_fail(DPI_ERR_STATE, "%s: room is handed out: DPI_Commit or DPI_Discard comes first", call);
	if (!error) error = __builtin_expect(s->bloom != NULL, 0) ? push_or_drop(s, row, size, wait) : push_row(s, row, size, wait);
	if (error == DPI_ERR_AGAIN) error = dpi_push_no_room(s, wait, call);
	dpi_source_leave(s);
	return error;
}

static inline __attribute__((always_inline)) void put_every_sized(struct dpi_source *s, const void *row, size_t size)
{
	for (uint32_t i = 0; i < s->every_count; i++) {
		struct dpi_buffer *b = s->way[s->every[i]];
		struct dpi_ring_writer *w = &b->appender.writer;
		uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed);
		dpi_ring_ask(w->data, written, w->mask);
		dpi_row_copy(dpi_run_place(b), row, size);
		atomic_store_explicit(&w->written, written + size, memory_order_release);
		atomic_signal_fence(memory_order_seq_cst);
		if (__builtin_expect(!atomic_load_explicit(&b->armed, memory_order_relaxed), 0)) dpi_append_arm(b);
	}
}

/* The short way of a row that goes to every target. False: all is as it was. */
static bool put_every(struct dpi_source *s, const void *row, size_t size)
{
	if (size != s->push_size || atomic_load_explicit(&s->flow->failed, memory_order_relaxed)) return false;
	if (!s->every_rows && !(s->every_rows = fit(s, s->every, s->every_count, size))) return false;
	s->every_rows--;
	switch (size) {
	case 8: put_every_sized(s, row, 8); break;
	case 16: put_every_sized(s, row, 16); break;
	case 32: put_every_sized(s, row, 32); break;
	case 64: put_every_sized(s, row, 64); break;
	default: put_every_sized(s, row, size);
	}
	return true;
}

/* A row of the short way for which the open segment has room, but which ends a group: nothing else is looked at. False: all is as it was. */
static bool put_last(struct dpi_source *s, const void *row, size_t size, int *error)
{
	const uint32_t *to;
	uint32_t count;
	if (!size || size != __atomic_load_n(&s->short_row, __ATOMIC_RELAXED) || s->id || atomic_load_explicit(&s->flow->failed, memory_order_relaxed)) return false;
	if (dpi_route_row(s->route, row, (uint32_t)size, &to, &count)) return false;
	const struct dpi_lane *l = &s->lane[*to];
	if (!l->b || s->way[*to] != l->b || dpi_run_left(l->b, &l->run) < size) return false;
	*error = put_row(s, *to, row, size, size);
	return true;
}

int dpi_push_slow(const void *row, size_t size, DPI_Source handle)
{
	struct dpi_source *s = dpi_source_get(handle);
	if (s && row && !atomic_load_explicit(&s->busy, memory_order_relaxed)) {
		int error = DPI_SUCCESS;
		atomic_store_explicit(&s->busy, 1, memory_order_relaxed);
		bool done = s->every ? put_every(s, row, size) : put_last(s, row, size, &error);
		atomic_store_explicit(&s->busy, 0, memory_order_relaxed);
		if (done) return error;
	}
	return push(row, size, handle, true, "DPI_Push");
}

int DPI_Try_Push(const void *row, size_t size, DPI_Source handle)
{
	return push(row, size, handle, false, "DPI_Try_Push");
}

/* ------------------------------------------------------------------------------------------------------- batches */

#define RUN_ROWS 512u /* routed at a time: their parts and the rows themselves stay in the first cache */

/* As many of the first rows as fit at the first one's target and go there, of those that are acknowledged. */
static size_t put_noted(struct dpi_source *s, const uint8_t *row, uint32_t size, const uint16_t *part, size_t n)
{
	const uint32_t to = *part;
	size_t rows = fit(s, &to, 1, size);
	if (rows) rows = dpi_ack_ready(s, row, size, part, rows < n ? rows : n);
	if (!rows) return 0;
	put_run(s->way[to], row, size, rows);
	dpi_ack_pushed_rows(s, to, rows);
	return rows;
}

/* Rows that may travel; one by one also those that may not. *pushed: how many, also on an error. */
static int push_rows(struct dpi_source *s, const uint8_t *row, size_t count, const char *call, size_t *pushed)
{
	int error = DPI_SUCCESS;
	uint16_t part[RUN_ROWS];
	size_t done = 0;
	uint32_t size = s->push_size;
	*pushed = 0;
	if (s->columns && !s->ack && !(s->pipe && s->pipe->partial)) {
		error = dpi_columns_push_rows(s, row, count, pushed);
		return error == DPI_ERR_AGAIN ? dpi_push_no_room(s, true, call) : error;
	}
	uint32_t targets = 0;
	const uint32_t *every = s->ack ? NULL : dpi_route_all(s->route, &targets), *all = s->pipe ? NULL : every;
	bool direct = every && targets == 1 && s->pipe && dpi_pipe_short(s); /* all into one table of partial rows */
	bool single = dpi_route_single(s->route) && !(s->ack && s->bloom) && !all, plain = s->flow->definition->schema->plain;
	while (done < count && !error) {
		size_t n = count - done < RUN_ROWS ? count - done : RUN_ROWS;
		for (size_t i = 0; i < n && !plain && !error; i++) error = check_row(s, row + i * size, size, call);
		if (error) break;
		if (direct || (s->pipe && !dpi_pipe_short(s) && !(s->ack && s->bloom))) {
			size_t given = 0;
			error = direct ? dpi_partial_push_rows(s, *every, row, size, n, &given) : dpi_pipe_push_run(s, row, size, n, &given);
			if (error == DPI_ERR_AGAIN) error = dpi_push_no_room(s, true, call);
			row += given * size;
			done += given;
			continue;
		}
		size_t end = done + n, ahead = end < count ? RUN_ROWS * size : 0;
		if (single) dpi_route_rows(s->route, row, size, n, part);
		for (size_t i = 0; i < n && !error; i++, row += size) {
			size_t same = 0;
			if (single) same = s->ack ? put_noted(s, row, size, part + i, n - i) : put_parts(s, row, size, part + i, n - i, ahead);
			else if (all) same = put_each(s, all, targets, row, size, n - i);
			if (__builtin_expect(same != 0, 1)) {
				done += same;
				i += same - 1;
				row += (same - 1) * size;
				continue;
			}
			if (single && (s->pipe || s->ack)) {
				uint32_t to = part[i];
				error = push_routed(s, &to, 1, row, size, true);
			} else if (single) {
				bool dropped;
				error = room(s, part[i], size, true, &dropped);
				if (!error && !dropped) error = put_row(s, part[i], row, size, size);
				if (dropped) DPI_ADD(s->stats.dropped, 1);
			} else {
				error = s->ack ? dpi_push_noted_row(s, row, size) : push_row(s, row, size, true);
			}
			if (error == DPI_ERR_AGAIN) error = dpi_push_no_room(s, true, call);
			done += !error;
		}
		if (single) dpi_route_back(s->route, end - done);
	}
	*pushed = done;
	return error;
}

/* Run by run those that pass the source's Bloom filter. */
static int push_some(struct dpi_source *s, const uint8_t *row, size_t count, const char *call, size_t *pushed)
{
	int error = DPI_SUCCESS;
	uint32_t size = s->push_size;
	for (*pushed = 0; *pushed < count && !error;) {
		size_t n = count - *pushed, some, given, done;
		n = n < dpi_source_bloom_run(s->bloom) ? n : dpi_source_bloom_run(s->bloom);
		const uint8_t *pass = dpi_source_bloom_rows(s->bloom, row + *pushed * size, size, n, &some);
		error = push_rows(s, pass, some, call, &given);
		done = error ? dpi_source_bloom_done(s->bloom, n, given) : n;
		DPI_ADD(s->stats.unmatched, done - given);
		*pushed += done;
	}
	return error;
}

int dpi_push_rows(struct dpi_source *s, const void *rows, size_t count, const char *call, size_t *pushed)
{
	s->batch = true;
	/* where rows are acknowledged, also dropped ones have their turn */
	int error = (s->bloom && !s->ack ? push_some : push_rows)(s, rows, count, call, pushed);
	s->batch = false;
	return error;
}

/* Row i of columns, of most bytes at the most, is made where it travels. SIZE, with no sentence: it is larger than a segment. */
static int put_made(struct dpi_source *s, uint32_t target, const struct dpi_batch *batch, size_t i, uint64_t most)
{
	const struct dpi_definition *d = s->flow->definition;
	struct dpi_lane *l = &s->lane[target];
	uint64_t need = dpi_flow_row_need(d->wire, most);
	bool dropped = l->dropped;
	if (need > s->segment - sizeof(struct dpi_flow_segment)) return DPI_ERR_SIZE;
	int error = dropped || dpi_run_left(l->b, &l->run) >= need ? DPI_SUCCESS : room(s, target, need, true, &dropped);
	if (error) return error;
	if (dropped) {
		DPI_ADD(s->stats.dropped, 1);
		return DPI_SUCCESS;
	}
	uint8_t *to = dpi_run_place(l->b);
	uint64_t size = dpi_row_write_from_batch(d->schema, batch, i, to + 8);
	memcpy(to, &size, 8);
	return wrote(s, target, size, dpi_flow_row_need(d->wire, size));
}

bool dpi_push_makes(const struct dpi_source *s)
{
	return !s->push_size && dpi_route_single(s->route) && !s->ack && !s->bloom && !s->pipe && !s->coded && !s->columns;
}

int dpi_push_made(struct dpi_source *s, const struct dpi_batch *batch, size_t *done)
{
	const struct dpi_schema *schema = s->flow->definition->schema;
	uint16_t part[RUN_ROWS];
	uint8_t *row = NULL;
	size_t kept = 0;
	int error = DPI_SUCCESS;
	while (*done < batch->rows && !error) {
		size_t n = batch->rows - *done < RUN_ROWS ? batch->rows - *done : RUN_ROWS, i = 0;
		dpi_route_batch(s->route, batch, *done, n, part);
		for (; i < n && !error; i += !error) {
			uint32_t target = part[i], size;
			error = put_made(s, target, batch, *done + i, dpi_row_size_in_batch(schema, batch, *done + i));
			if (error != DPI_ERR_SIZE) continue;
			error = dpi_row_make(schema, batch, *done + i, &row, &kept, &size); /* it is larger than a segment */
			if (!error) error = dpi_push_to(s, &target, 1, row, size, true);
		}
		dpi_route_back(s->route, n - i);
		*done += i;
	}
	free(row);
	return error;
}

int DPI_Push_Batch(const void *rows, size_t count, DPI_Source handle, size_t *pushed)
{
	int error;
	size_t done = 0;
	if (pushed) *pushed = 0;
	struct dpi_source *s = dpi_source_begin(handle, "DPI_Push_Batch", &error);
	if (!s) return error;
	if (count && !rows) error = dpi_fail(DPI_ERR_ARGUMENT, "DPI_Push_Batch: rows is NULL: pass the rows, or count 0");
	else if (!s->push_size) error = dpi_fail(DPI_ERR_USE, "DPI_Push_Batch: rows of flow '%s' vary in size: push them one by one", s->flow->name);
	else if (s->reserved >= 0) error = dpi_fail(DPI_ERR_STATE, "DPI_Push_Batch: room is handed out: DPI_Commit or DPI_Discard comes first");
	if (!error) error = dpi_push_rows(s, rows, count, "DPI_Push_Batch", &done);
	dpi_source_leave(s);
	if (pushed) *pushed = done;
	return error;
}

/* --------------------------------------------------------------------------------------------------- room in place */

/* Where the row is built. */
static uint8_t *place_of(struct dpi_source *s, uint32_t target)
{
	return s->coded ? dpi_coded_hold(s, target) : dpi_run_place(s->lane[target].b);
}

int DPI_Reserve(size_t size, uint32_t target, DPI_Source handle, void **out)
{
	int error;
	bool dropped;
	if (!out) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Reserve: room is NULL: pass where the address may go");
	*out = NULL;
	struct dpi_source *s = dpi_source_begin(handle, "DPI_Reserve", &error);
	if (!s) return error;
	uint64_t need = dpi_flow_row_need(s->flow->definition->wire, size);
	if (s->columns) error = dpi_fail(DPI_ERR_USE, "DPI_Reserve: a segment of flow '%s' has columns and no rows to build in place: push them", s->flow->name);
	else if (s->pipe) error = dpi_fail(DPI_ERR_USE, "DPI_Reserve: rows of flow '%s' are changed before they reach a segment: push them", s->flow->name);
	else if (s->reserved >= 0) error = dpi_fail(DPI_ERR_STATE, "DPI_Reserve: room is handed out already: DPI_Commit or DPI_Discard comes first");
	else if (target >= s->flow->definition->targets)
		error = dpi_fail(DPI_ERR_ARGUMENT, "DPI_Reserve: target is %u: flow '%s' has %u", target, s->flow->name, s->flow->definition->targets);
	else if ((s->row_size && size != s->row_size) || size > DPI_ROW_MAX || need > s->segment - sizeof(struct dpi_flow_segment))
		error = dpi_fail(DPI_ERR_SIZE, "DPI_Reserve: %zu bytes: %s", size, s->row_size ? "rows of this flow have another size" : "that does not fit a segment; DPI_Push takes such a row");
	if (!error && s->ack) error = dpi_ack_room(s, &target, 1, true);
	if (!error) error = room(s, target, need, true, &dropped);
	if (error == DPI_ERR_AGAIN) error = dpi_push_no_room(s, true, "DPI_Reserve");
	if (!error && dropped) error = dpi_fail(DPI_ERR_PEER, "DPI_Reserve: target %u of flow '%s' is gone", target, s->flow->name);
	if (!error) {
		s->reserved = (int)target;
		s->reserved_size = size;
		__atomic_store_n(&s->short_row, 0, __ATOMIC_RELAXED); /* the loop may do so, too */
		s->every = NULL;
		*out = place_of(s, target) + (s->row_size ? 0 : 8);
	}
	dpi_source_leave(s);
	return error;
}

static struct dpi_source *begin_reserved(DPI_Source handle, const char *call, int *error)
{
	struct dpi_source *s = dpi_source_begin(handle, call, error);
	if (!s || s->reserved >= 0) return s;
	*error = dpi_fail(DPI_ERR_STATE, "%s: no room is handed out: DPI_Reserve comes first", call);
	dpi_source_leave(s);
	return NULL;
}

static void discard(struct dpi_source *s)
{
	if (s->coded) dpi_coded_discard(s, (uint32_t)s->reserved);
	s->reserved = -1; /* nothing was written: the room is simply used again */
	dpi_source_short(s);
}

int DPI_Commit(size_t size, DPI_Source handle)
{
	int error;
	struct dpi_source *s = begin_reserved(handle, "DPI_Commit", &error);
	if (!s) return error;
	uint32_t target = (uint32_t)s->reserved;
	uint8_t *at = place_of(s, target);
	uint64_t bytes = size, need = dpi_flow_row_need(s->flow->definition->wire, size);
	if (size > s->reserved_size || (s->row_size && size != s->row_size))
		error = dpi_fail(DPI_ERR_SIZE, "DPI_Commit: %zu bytes, %llu were reserved", size, (unsigned long long)s->reserved_size);
	else error = check_row(s, at + (s->row_size ? 0 : 8), size, "DPI_Commit");
	bool passes = true;
	if (!error && s->bloom) error = dpi_source_bloom_row(s->bloom, at + (s->row_size ? 0 : 8), size, &passes);
	if (!error && !passes) {
		error = drop(s, at + (s->row_size ? 0 : 8), size, true);
		if (!error) discard(s);
		dpi_source_leave(s);
		return error;
	}
	if (!error && s->ack) error = dpi_ack_key(s, at + (s->row_size ? 0 : 8), size);
	if (!error) {
		if (!s->row_size) memcpy(at, &bytes, 8);
		error = s->coded ? dpi_coded_commit(s, target, size, need) : wrote(s, target, size, need);
		if (!error && s->ack) dpi_ack_pushed(s, &target, 1);
		s->reserved = -1;
		dpi_source_short(s);
	}
	dpi_source_leave(s);
	return error;
}

int DPI_Discard(DPI_Source handle)
{
	int error;
	struct dpi_source *s = begin_reserved(handle, "DPI_Discard", &error);
	if (!s) return error;
	discard(s);
	dpi_source_leave(s);
	return DPI_SUCCESS;
}
