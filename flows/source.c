/* SPDX-License-Identifier: Apache-2.0
 * source.c: sources: open, mark, flush, close, statistics. */
#include "columnar.h"
#include "ack_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bloom.h"
#include "pipe.h"
#include "resume.h"
#include "retain.h"
#include "stats.h"
#include "wait.h"

struct dpi_source *dpi_source_enter(DPI_Source handle, const char *call, int *error)
{
	struct dpi_source *s = dpi_source_get(handle);
	if (!s) {
		*error = dpi_handle_error(DPI_HANDLE_SOURCE, (uint64_t)(uintptr_t)handle);
		return NULL;
	}
	if (atomic_load_explicit(&s->busy, memory_order_relaxed)) {
		*error = dpi_fail(DPI_ERR_THREAD, "%s: another thread is inside a call on this source of flow '%s': each thread opens its own", call,
				  s->flow->name);
		return NULL;
	}
	*error = DPI_SUCCESS;
	atomic_store_explicit(&s->busy, 1, memory_order_relaxed);
	s->every_rows = 0;
	if (s->columns) pthread_mutex_lock(&s->columns->lock);
	return s;
}

struct dpi_source *dpi_source_begin(DPI_Source handle, const char *call, int *error)
{
	struct dpi_source *s = dpi_source_enter(handle, call, error);
	if (!s) return NULL;
	*error = dpi_flow_check(s->flow);
	if (!*error) *error = dpi_source_fenced(s);
	if (!*error) dpi_retain_look(s);
	if (!*error) return s;
	dpi_source_leave(s);
	return NULL;
}

void dpi_source_unlock(struct dpi_source *s)
{
	pthread_mutex_unlock(&s->columns->lock);
}

/* ------------------------------------------------------------------------------------------------------- opening */

#define LATENCY_LINGER_US 50

static void source_free(struct dpi_source *s)
{
	dpi_coded_close(s);
	dpi_pipe_close_source(s);
	dpi_route_free(s->route);
	dpi_columns_close(s);
	dpi_ack_close(s);
	dpi_source_bloom_free(s->bloom);
	dpi_retain_close(s);
	free(s->lane);
	free(s->way);
	if (s->flow) dpi_flow_unref(s->flow);
	free(s);
}

static int source_new(struct dpi_flow *f, int64_t timeout_us, struct dpi_source **out)
{
	const struct dpi_definition *d = f->definition;
	struct dpi_source *s = aligned_alloc(64, (sizeof *s + 63) / 64 * 64);
	*out = NULL;
	if (!s) return dpi_fail(DPI_ERR_MEMORY, "no memory for a source");
	memset(s, 0, sizeof *s);
	s->lane = calloc(d->targets, sizeof *s->lane);
	s->way = calloc(d->targets, sizeof *s->way);
	s->flow = dpi_flow_ref(f);
	s->failed = &f->failed;
	s->ctx = f->ctx;
	s->timeout_us = timeout_us ? timeout_us : f->ctx->timeout_us;
	/* with the latency hint only what a transport could not take at once is left to linger */
	s->linger_us = d->hint == DPI_HINT_LATENCY ? LATENCY_LINGER_US : d->linger_us;
	s->push_size = d->schema->varies ? 0 : d->schema->row_size;
	s->row_size = d->wire->varies ? 0 : d->wire->row_size;
	s->segment = dpi_flow_plain_size(d);
	s->reserved = -1;
	s->watch = (struct dpi_flow_watch){ .bell = dpi_bell_pick(f->ctx), .kind = DPI_ENDPOINT_SOURCE, .endpoint = s };
	int error = s->lane && s->way ? DPI_SUCCESS : dpi_fail(DPI_ERR_MEMORY, "no memory for a source of %u targets", d->targets);
	if (!error && d->layout == DPI_LAYOUT_COLUMNS) error = dpi_columns_open(s);
	if (error) source_free(s);
	else *out = s;
	return error;
}

static int open_source(struct dpi_flow *f, const DPI_Source_Attr *a, DPI_Source *out)
{
	struct dpi_source *s;
	int error = dpi_flow_check(f);
	if (!error) error = dpi_source_check_attr(f->definition, a);
	if (!error) error = source_new(f, a->timeout_us, &s);
	if (error) return error;
	/* what this process lacks is found before the flow counts another source */
	error = dpi_route_new(f->definition, 0, &s->route);
	if (!error) error = dpi_coded_open(s);
	if (!error) error = dpi_pipe_open_source(s);
	if (!error) error = dpi_ack_open(s);
	if (!error) error = dpi_retain_open(s);
	int64_t deadline = dpi_deadline(0, f->ctx->timeout_us);
	if (!error) error = dpi_source_join(s, a, deadline);
	if (error) {
		source_free(s);
		return error;
	}
	s->handle = (DPI_Source)(uintptr_t)dpi_handle_open(DPI_HANDLE_SOURCE, s);
	if (!s->handle) {
		dpi_flow_leave(f, s->number, s->epoch, DPI_SOURCE_DEAD, deadline);
		source_free(s);
		return dpi_fail(DPI_ERR_LIMIT, "%u handles are open: close some", DPI_HANDLE_MAX);
	}
	dpi_flow_watch(f, &s->watch);
	dpi_staging_open(s);
	dpi_source_short(s);
	if (s->columns) dpi_flow_linger_add(s->ctx, &s->columns->linger, dpi_columns_linger);
	*out = s->handle;
	return DPI_SUCCESS;
}

int DPI_Open_Source(DPI_Flow handle, const DPI_Source_Attr *attr, DPI_Source *out)
{
	DPI_Source_Attr a = DPI_SOURCE_ATTR_INIT;
	if (!out) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Open_Source: source is NULL: pass where the handle may go");
	*out = NULL;
	int error = attr ? dpi_take("DPI_Open_Source", &a, sizeof a, attr) : DPI_SUCCESS;
	if (!error) error = dpi_timeout_check("DPI_Open_Source", "timeout_us", a.timeout_us);
	if (error) return error;
	struct dpi_flow *f = dpi_flow_get(handle);
	if (!f) return dpi_flow_error(handle);
	error = open_source(f, &a, out);
	dpi_flow_unref(f);
	return error;
}

/* --------------------------------------------------------------------------------------------- marks, flush, close */

static int64_t deadline_of(const struct dpi_source *s)
{
	return dpi_deadline(0, s->timeout_us);
}

/* Make every lane's rows visible; all are tried. */
static int flush(struct dpi_source *s, int64_t deadline)
{
	int first = DPI_SUCCESS;
	char sentence[DPI_DETAIL_MAX] = "";
	if (s->pipe && (first = dpi_pipe_drain(s, deadline))) return first;
	if (s->columns) dpi_columns_send(s);
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) {
		int error = dpi_lane_flush(s, t, deadline);
		if (!error || first) continue;
		first = error;
		snprintf(sentence, sizeof sentence, "%s", dpi_detail());
	}
	return first ? dpi_fail(first, "%s", sentence) : DPI_SUCCESS;
}

int DPI_Flush_Source(DPI_Source handle)
{
	int error;
	struct dpi_source *s = dpi_source_begin(handle, "DPI_Flush_Source", &error);
	if (!s) return error;
	error = flush(s, deadline_of(s));
	dpi_source_leave(s);
	return error;
}

/* The same short segment to every target; to those alone that have got something if only_used. */
static int send_all(struct dpi_source *s, uint32_t kind, uint64_t value, bool only_used, int64_t deadline)
{
	if (s->columns) dpi_columns_send(s);
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) {
		bool dropped;
		uint64_t rows, bytes;
		/* one that was resumed says where it ends also where it has nothing more to send: so a gap is found */
		if (only_used && !s->lane[t].b && !s->lane[t].first && !(s->retain && s->retain->lane[t].old)) continue;
		/* its ring was given up, and read to its end: to say that nothing comes it needs no other */
		if (kind == DPI_FLOW_END && s->lane[t].b && dpi_run_yielded(s->lane[t].b) && (!s->retain || dpi_retain_current(s, t))) continue;
		dpi_lane_count(s, t, &rows, &bytes);
		int error = dpi_lane_send(s, t, kind, kind == DPI_FLOW_END ? rows : value, NULL, 0, deadline, &dropped);
		if (error) return error;
		/* a target that is lost just now has no ring: the mark is kept for the next */
		if (!dropped && !s->coded && kind == DPI_FLOW_MARK && s->lane[t].b) dpi_run_publish(s->lane[t].b, &s->lane[t].run);
	}
	return DPI_SUCCESS;
}

int DPI_Push_Mark(uint64_t mark, DPI_Source handle)
{
	int error;
	struct dpi_source *s = dpi_source_begin(handle, "DPI_Push_Mark", &error);
	if (!s) return error;
	int64_t deadline = deadline_of(s);
	if (s->reserved >= 0) error = dpi_fail(DPI_ERR_STATE, "DPI_Push_Mark: room is handed out: DPI_Commit or DPI_Discard comes first");
	else if (!deadline) error = dpi_fail(DPI_ERR_ARGUMENT, "DPI_Push_Mark: the source's timeout is DPI_NO_WAIT, and a mark goes to every target, which may have to be waited for");
	else if (s->marked && mark < s->mark)
		error = dpi_fail(DPI_ERR_ARGUMENT, "DPI_Push_Mark: mark %llu is below this source's last, %llu", (unsigned long long)mark,
				 (unsigned long long)s->mark);
	if (!error && s->pipe) error = dpi_pipe_drain(s, deadline);
	if (!error) error = send_all(s, DPI_FLOW_MARK, mark, false, deadline);
	if (!error) {
		s->marked = true;
		s->mark = mark;
		DPI_ADD(s->stats.marks, 1);
	}
	dpi_source_leave(s);
	return error;
}

static int close_source(struct dpi_source *s, int error, int64_t deadline)
{
	char sentence[DPI_DETAIL_MAX];
	snprintf(sentence, sizeof sentence, "%s", error ? dpi_detail() : "");
	if (s->columns) pthread_mutex_lock(&s->columns->lock);
	s->closing = true;
	__atomic_store_n(&s->short_row, 0, __ATOMIC_RELAXED); /* the loop may do so, too */
	if (!error && s->reserved >= 0) error = dpi_fail(DPI_ERR_STATE, "DPI_Close_Source: room was handed out, and is lost");
	if (!error && s->pipe) error = dpi_pipe_drain(s, deadline);
	/* where windows are kept their last one ends when every source has said so */
	if (!error) error = send_all(s, DPI_FLOW_END, 0, !(s->retain && s->flow->definition->reduction), deadline);
	if (!error) error = flush(s, deadline);
	if (!error && s->retain) error = dpi_retain_wait(s, deadline);
	if (error && !*sentence) snprintf(sentence, sizeof sentence, "%s", dpi_detail());
	dpi_flow_unwatch(s->flow, &s->watch); /* from here on nobody looks at its lanes */
	dpi_coded_close(s);
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) {
		struct dpi_buffer *b = s->lane[t].b;
		if (s->lane[t].opening) dpi_run_open_drop(s->lane[t].opening);
		if (!b) continue;
		if (s->ack) dpi_ack_lane_close(s, t);
		int64_t left = (deadline - dpi_now()) / 1000;
		int e = dpi_run_close(b, left < 1 ? 1 : left);
		/* what was pushed is there: that its target is gone since is told by the flow, if it fails of it */
		if (e && e != DPI_ERR_PEER && e != DPI_ERR_DESTROYED && !error && !s->lane[t].dropped) {
			error = e;
			snprintf(sentence, sizeof sentence, "%s", dpi_detail());
		}
	}
	if (s->columns) {
		dpi_flow_linger_remove(s->ctx, &s->columns->linger);
		dpi_source_unlock(s);
	}
	dpi_descriptor_close(s->room);
	dpi_descriptor_close(s->acks);
	if (error != DPI_ERR_FENCED && !dpi_flow_check(s->flow)) { /* a failed flow has forgotten its sources; and this one is another's */
		int64_t soon = dpi_now() + DPI_ANSWER_NS;
		int e = dpi_flow_leave(s->flow, s->number, s->epoch, error ? DPI_SOURCE_DEAD : DPI_SOURCE_CLOSED, deadline > soon ? deadline : soon);
		if (e && !error) {
			error = e;
			snprintf(sentence, sizeof sentence, "%s", dpi_detail());
		}
	} else dpi_flow_let_go(s->flow, s->number, s->epoch);
	dpi_handle_close((uint64_t)(uintptr_t)s->handle);
	source_free(s);
	return error ? dpi_fail(error, "%s", sentence) : DPI_SUCCESS;
}

int DPI_Close_Source(DPI_Source handle)
{
	struct dpi_source *s = dpi_source_get(handle);
	if (!s) return dpi_handle_error(DPI_HANDLE_SOURCE, (uint64_t)(uintptr_t)handle);
	if (atomic_exchange_explicit(&s->busy, 1, memory_order_relaxed))
		return dpi_fail(DPI_ERR_THREAD, "DPI_Close_Source: another thread is inside a call on this source of flow '%s'", s->flow->name);
	/* a close that was too short cannot be tried again: not even DPI_NO_WAIT loses rows */
	int64_t deadline = s->timeout_us < 0 ? dpi_deadline(0, s->ctx->timeout_us) : deadline_of(s), least = dpi_now() + 1000000;
	int before = dpi_aside(), error = dpi_flow_check(s->flow);
	return dpi_aside_over(before, close_source(s, error ? error : dpi_source_fenced(s), deadline > least ? deadline : least));
}

void dpi_source_finish(uint64_t handle, void *object)
{
	struct dpi_source *s = object;
	(void)handle;
	close_source(s, dpi_flow_check(s->flow), dpi_now() + 200000000);
}

void dpi_source_stats(const struct dpi_source *s, DPI_Source_Stats *all)
{
	*all = (DPI_Source_Stats){ .size = sizeof *all };
#define COPY(name, unit, text) all->name = __atomic_load_n(&s->stats.name, __ATOMIC_RELAXED);
	DPI_SOURCE_STATS(COPY)
#undef COPY
	if (s->retain) all->kept = dpi_retain_bytes(s);
	for (uint32_t t = 0; t < s->flow->definition->targets; t++) {
		uint64_t rows, bytes;
		dpi_lane_count(s, t, &rows, &bytes);
		rows -= s->lane[t].first;
		all->rows += rows;
		all->bytes += bytes;
		if (rows <= all->most_rows) continue;
		all->most_rows = rows;
		all->most_target = t;
	}
}

int DPI_Get_Source_Number(DPI_Source handle, uint32_t *number)
{
	struct dpi_source *s = dpi_source_get(handle);
	if (!s) return dpi_handle_error(DPI_HANDLE_SOURCE, (uint64_t)(uintptr_t)handle);
	if (!number) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Get_Source_Number: number is NULL: pass where it may go");
	*number = s->number;
	return DPI_SUCCESS;
}

int DPI_Get_Source_Stats(DPI_Source handle, DPI_Source_Stats *stats)
{
	struct dpi_source *s = dpi_source_get(handle);
	if (!s) return dpi_handle_error(DPI_HANDLE_SOURCE, (uint64_t)(uintptr_t)handle);
	DPI_Source_Stats all;
	if (s->retain) pthread_mutex_lock(&s->flow->lock); /* its rings change */
	dpi_source_stats(s, &all);
	if (s->retain) pthread_mutex_unlock(&s->flow->lock);
	return dpi_give("DPI_Get_Source_Stats", stats, &all, sizeof all);
}
