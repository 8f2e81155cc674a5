/* SPDX-License-Identifier: Apache-2.0
 * lane.c: the way of one source to one target: segments into the ring that the source has there. */
#include <stdio.h>
#include <string.h>

#include "source.h"
#include "wait.h"

#define SLICE_US 50000 /* a wait for room looks at least so often whether the flow has failed */

/* -------------------------------------------------------------------------------------------------------- opening */

struct binding {
	struct dpi_source *s;
	uint32_t target;
	uint64_t version;
};

static bool bound(void *arg)
{
	struct binding *b = arg;
	struct dpi_flow *f = b->s->flow;
	if (atomic_load_explicit(&f->version, memory_order_acquire) == b->version) return false;
	b->version = atomic_load_explicit(&f->version, memory_order_acquire);
	return atomic_load_explicit(&f->failed, memory_order_relaxed) || dpi_flow_where(f, b->target).state != DPI_TARGET_UNBOUND;
}

/* What is wrong at a lane: the flow's failure, if that is the reason; nothing, where the flow goes on without the target. */
static int lane_failed(struct dpi_source *s, uint32_t target, int error, bool *dropped)
{
	char sentence[512];
	int failed = dpi_flow_check(s->flow);
	if (failed) return failed;
	if (error != DPI_ERR_PEER && error != DPI_ERR_DESTROYED) return error;
	s->way[target] = NULL;
	if (s->flow->definition->on_death == DPI_DEATH_GOES_ON) {
		s->lane[target].dropped = *dropped = true;
		return DPI_SUCCESS;
	}
	snprintf(sentence, sizeof sentence, "target %u of flow '%s' is gone: %.300s", target, s->flow->name, dpi_detail());
	dpi_flow_fail(s->flow, DPI_ERR_PEER, sentence);
	return dpi_fail(DPI_ERR_PEER, "%s", sentence);
}

static int open_lane(struct dpi_source *s, uint32_t target, int64_t deadline, bool *dropped)
{
	struct dpi_flow *f = s->flow;
	struct binding b = { s, target, UINT64_MAX };
	char name[DPI_NAME_MAX];
	if (!bound(&b)) {
		if (!deadline) return DPI_ERR_AGAIN;
		struct dpi_wait w = { .ready = bound, .arg = &b, .bell = s->watch.bell, .deadline = deadline };
		if (dpi_wait(s->ctx, &w))
			return dpi_fail(DPI_ERR_TIMEOUT, "target %u of flow '%s' was not opened by any process within the deadline", target, f->name);
	}
	int error = dpi_flow_check(f);
	if (error) return error;
	struct dpi_flow_target where = dpi_flow_where(f, target);
	if (where.state != DPI_TARGET_BOUND)
		return lane_failed(s, target, dpi_fail(DPI_ERR_PEER, "it was closed, or its process died"), dropped);
	snprintf(name, sizeof name, "%.100s, target %u", f->name, target);
	int64_t least = dpi_now() + DPI_ANSWER_NS;
	error = dpi_run_open(s->ctx, name, where.node, where.queue, s->timeout_us, s->linger_us, deadline > least ? deadline : least, &s->lane[target].b);
	return error ? lane_failed(s, target, error, dropped) : DPI_SUCCESS;
}

/* ---------------------------------------------------------------------------------------------------------- room */

/* The short way leads to the open segment, or there is none; where a pipe is, it leads into that. */
static void set_way(struct dpi_source *s, uint32_t target, struct dpi_buffer *b)
{
	if (!s->pipe) s->way[target] = b;
}

int dpi_lane_end(struct dpi_source *s, uint32_t target, int64_t deadline)
{
	struct dpi_lane *l = &s->lane[target];
	int error;
	if (!l->run.end) return DPI_SUCCESS;
	set_way(s, target, NULL);
	uint64_t written = atomic_load_explicit(&l->b->appender.writer.written, memory_order_relaxed);
	while ((error = dpi_run_end(l->b, &l->run)) == DPI_ERR_AGAIN) {
		if (dpi_now() >= deadline) return deadline ? dpi_fail(DPI_ERR_TIMEOUT, "the way to target %u is busy", target) : DPI_ERR_AGAIN;
		dpi_progress(s->ctx);
	}
	if (!error && s->row_size) {
		l->rows += (written - l->rows_at) / s->row_size;
		l->bytes += written - l->rows_at;
	}
	return error;
}

/* Begin a run, waiting in slices. */
static int begin_run(struct dpi_source *s, uint32_t target, uint64_t size, int64_t deadline)
{
	struct dpi_lane *l = &s->lane[target];
	int error = dpi_run_begin(l->b, &l->run, size, false);
	if (error != DPI_ERR_AGAIN || !deadline) return error;
	int64_t start = dpi_now(), now = start;
	do {
		int64_t left = (deadline - now) / 1000;
		l->b->timeout_us = left < 1 ? 1 : left < SLICE_US ? left : SLICE_US;
		error = dpi_run_begin(l->b, &l->run, size, true);
		now = dpi_now();
	} while (error == DPI_ERR_TIMEOUT && now < deadline && !atomic_load_explicit(&s->flow->failed, memory_order_relaxed));
	s->stats.stall_target = target;
	DPI_ADD(s->stats.stalls, 1);
	DPI_ADD(s->stats.stall_us, (now - start) / 1000);
	if (error == DPI_ERR_TIMEOUT)
		return dpi_fail(error, "target %u of flow '%s' on node %d had no room within the deadline: it is behind, or stopped", target,
				s->flow->name, l->b->home_peer->node);
	return error;
}

/* A segment of size bytes in all with its header. */
static int begin_segment(struct dpi_source *s, uint32_t target, uint32_t kind, uint64_t value, uint64_t size, int64_t deadline, bool *dropped)
{
	struct dpi_lane *l = &s->lane[target];
	int error = DPI_SUCCESS;
	*dropped = l->dropped;
	if (l->dropped) return DPI_SUCCESS;
	if (!l->b) error = open_lane(s, target, deadline, dropped);
	if (error || *dropped) return error;
	error = dpi_lane_end(s, target, deadline);
	if (!error) error = begin_run(s, target, size, deadline);
	if (error == DPI_ERR_AGAIN) return error;
	if (error) return lane_failed(s, target, error, dropped);
	struct dpi_flow_segment h = { .base = { .sequence = l->rows, .flags = DPI_SEGMENT_MAGIC | kind, .reserved = s->number }, .value = value };
	memcpy(dpi_run_place(l->b), &h, sizeof h);
	return DPI_SUCCESS;
}

int dpi_lane_room(struct dpi_source *s, uint32_t target, uint64_t need, int64_t deadline, bool *dropped)
{
	struct dpi_lane *l = &s->lane[target];
	*dropped = l->dropped;
	if (l->dropped || dpi_run_left(l->b, &l->run) >= need) return DPI_SUCCESS;
	int error = begin_segment(s, target, DPI_FLOW_ROWS, 0, s->segment, deadline, dropped);
	if (error || *dropped) return error;
	error = dpi_run_wrote(l->b, &l->run, sizeof(struct dpi_flow_segment));
	l->rows_at = atomic_load_explicit(&l->b->appender.writer.written, memory_order_relaxed);
	DPI_ADD(s->stats.segments, 1);
	if (error) return lane_failed(s, target, error, dropped);
	set_way(s, target, l->b);
	return DPI_SUCCESS;
}

int dpi_lane_wrote(struct dpi_source *s, uint32_t target, uint64_t size)
{
	bool dropped;
	int error = dpi_run_wrote(s->lane[target].b, &s->lane[target].run, size);
	/* the linger service sends what the transport could not take */
	return error && error != DPI_ERR_AGAIN ? lane_failed(s, target, error, &dropped) : DPI_SUCCESS;
}

int dpi_lane_send(struct dpi_source *s, uint32_t target, uint32_t kind, uint64_t value, const void *bytes, uint64_t size, int64_t deadline, bool *dropped)
{
	struct dpi_lane *l = &s->lane[target];
	uint64_t header = sizeof(struct dpi_flow_segment);
	int error = begin_segment(s, target, kind, value, header + size, deadline, dropped);
	if (error || *dropped) return error;
	if (size) memcpy(dpi_run_place(l->b) + header, bytes, size);
	error = dpi_run_wrote(l->b, &l->run, header + size);
	/* the run is full to its end, so ending it sends nothing */
	if (!error) error = dpi_run_end(l->b, &l->run);
	return error ? lane_failed(s, target, error, dropped) : DPI_SUCCESS;
}

int dpi_lane_send_large(struct dpi_source *s, uint32_t target, const void *row, uint64_t size, int64_t deadline, bool *dropped)
{
	struct dpi_lane *l = &s->lane[target];
	uint64_t header = sizeof(struct dpi_flow_segment), room = s->segment - header;
	for (uint64_t offset = 0; offset < size;) {
		size_t taken, left = DPI_SEGMENT_HEADER + sizeof(struct dpi_part_header) + size - offset;
		uint64_t part = left < room ? left : room;
		/* a large row once begun is not taken back: a reader drops what it has of it when another begins */
		int error = begin_segment(s, target, DPI_FLOW_PART, 0, header + part, deadline, dropped);
		if (error || *dropped) return error;
		dpi_part_write(dpi_run_place(l->b) + header, part, row, size, offset, 0, &taken);
		error = dpi_run_wrote(l->b, &l->run, header + part);
		if (!error) error = dpi_run_end(l->b, &l->run);
		if (error) return lane_failed(s, target, error, dropped);
		offset += taken;
	}
	l->rows++;
	l->bytes += size;
	return DPI_SUCCESS;
}

int dpi_lane_flush(struct dpi_source *s, uint32_t target, int64_t deadline)
{
	struct dpi_lane *l = &s->lane[target];
	bool dropped = false;
	if (!l->b || l->dropped) return DPI_SUCCESS;
	int64_t left = (deadline - dpi_now()) / 1000;
	l->b->timeout_us = left < 1 ? 1 : left;
	int error = dpi_run_flush(l->b, &l->run);
	return error && error != DPI_ERR_TIMEOUT ? lane_failed(s, target, error, &dropped) : error;
}

void dpi_lane_count(const struct dpi_source *s, uint32_t target, uint64_t *rows, uint64_t *bytes)
{
	const struct dpi_lane *l = &s->lane[target];
	*rows = l->rows;
	*bytes = l->bytes;
	if (!s->row_size || !l->run.end) return;
	uint64_t open = atomic_load_explicit(&l->b->appender.writer.written, memory_order_relaxed) - l->rows_at;
	*rows += open / s->row_size;
	*bytes += open;
}
