/* SPDX-License-Identifier: Apache-2.0
 * lane.c: the way of one source to one target: segments into the ring that the source has there. */
#include <stdio.h>
#include <string.h>

#include "columnar.h"
#include "detach.h"
#include "loop.h"
#include "resume.h"
#include "retain.h"
#include "wait.h"

#define SLICE_US 50000 /* a wait for room looks at least so often whether the flow has failed */

/* target: 1 + that which a push waits for; 0: none. */
static void waits_for(struct dpi_source *s, uint32_t target)
{
	__atomic_store_n(&s->stats.waiting, target, __ATOMIC_RELAXED);
}

/* -------------------------------------------------------------------------------------------------------- waiting */

/* One try at what a target gives when it gets on, at most for so long. TIMEOUT: not yet. */
typedef int try_room(struct dpi_source *s, uint32_t target, int64_t timeout_us, void *arg);

/* There is none in b, the lane's ring or the one that it asks for: wait, in slices. */
static int wait_for_room(struct dpi_source *s, uint32_t target, const struct dpi_buffer *b, try_room *try, void *arg, int64_t deadline)
{
	struct dpi_lane *l = &s->lane[target];
	int error, node = b->home_peer->node;
	int64_t start = dpi_now(), now = start;
	bool detaches = s->flow->definition->detach_us;
	if (detaches && dpi_lane_lags(s, target, now)) return dpi_fail(DPI_ERR_PEER, "it was detached");
	if (dpi_run_queued(b)) dpi_lane_yields(s, target);
	if (!deadline) return DPI_ERR_AGAIN;
	bool encodes = s->coded && s->columns; /* what found no room at other targets lies here, not in their rings */
	int64_t slice = encodes ? 2 * DPI_GROW_AFTER_NS / 1000 : SLICE_US; /* long enough for a ring to grow */
	waits_for(s, target + 1);
	do {
		int64_t left = (deadline - now) / 1000, patience = detaches ? (dpi_lane_patience(s, target) - now) / 1000 + 1 : 0;
		int64_t timeout_us = left < 1 ? 1 : left < slice ? left : slice;
		error = try(s, target, patience > 0 && timeout_us > patience ? patience : timeout_us, arg);
		now = dpi_now();
		if (error == DPI_ERR_TIMEOUT && dpi_run_queued(b)) dpi_lane_yields(s, target);
		if (detaches && !error) dpi_lane_goes_on(s, target);
		else if (error && encodes) dpi_columns_meanwhile(s, target);
		int fenced = error == DPI_ERR_TIMEOUT ? dpi_source_fenced(s) : DPI_SUCCESS;
		if (fenced) error = fenced;
		else if (error == DPI_ERR_TIMEOUT && detaches && dpi_lane_lags(s, target, now)) error = dpi_fail(DPI_ERR_PEER, "it was detached");
		if (error == DPI_ERR_TIMEOUT && s->retain && l->b && !dpi_retain_current(s, target)) error = DPI_ERR_PEER; /* nobody gives room there any more */
	} while (error == DPI_ERR_TIMEOUT && now < deadline && !atomic_load_explicit(&s->flow->failed, memory_order_relaxed));
	waits_for(s, 0);
	__atomic_store_n(&s->stats.stall_target, target, __ATOMIC_RELAXED);
	DPI_ADD(s->stats.stalls, 1);
	DPI_ADD(s->stats.stall_us, (now - start) / 1000);
	DPI_ADD(l->stalls, 1);
	DPI_ADD(l->stall_us, (now - start) / 1000);
	if (error == DPI_ERR_TIMEOUT)
		return dpi_fail(error, "target %u of flow '%s' on node %d had no room within the deadline: it is behind, or stopped%s", target, s->flow->name, node,
				s->retain && s->flow->definition->reduction ? "; or a window does not fit the memory in which it is kept: raise attr->memory, or end windows sooner" : "");
	return error;
}

/* -------------------------------------------------------------------------------------------------------- opening */

/* Is it open, or was, so that what is to become of rows can be said? Of a retained flow: where nobody has tried to reach it yet. */
static bool is_bound(struct dpi_source *s, uint32_t target)
{
	struct dpi_flow_target where = dpi_flow_where(s->flow, target);
	if (where.state == DPI_TARGET_UNBOUND || where.state == DPI_TARGET_LOST) return false;
	return !s->retain || where.state != DPI_TARGET_BOUND || where.epoch != s->lane[target].epoch;
}

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
	return atomic_load_explicit(&f->failed, memory_order_relaxed) || is_bound(b->s, b->target);
}

/* What is wrong at a lane: the flow's failure, if that is the reason; nothing, where the flow goes on without the target. */
struct gone {
	const struct dpi_source *s;
	uint32_t target, epoch;
};

static bool heard(void *arg)
{
	const struct gone *g = arg;
	struct dpi_flow_target where = dpi_flow_where(g->s->flow, g->target);
	return where.state != DPI_TARGET_BOUND || where.epoch != g->epoch || atomic_load_explicit(&g->s->flow->failed, memory_order_relaxed);
}

/* A target may be gone before this process hears why. False: nothing is heard of it. */
static bool hear_why(struct dpi_source *s, uint32_t target, uint32_t epoch)
{
	struct gone g = { s, target, epoch };
	struct dpi_wait w = { .ready = heard, .arg = &g, .bell = s->watch.bell, .deadline = dpi_now() + DPI_ANSWER_NS };
	return heard(&g) || !dpi_wait(s->ctx, &w);
}

/* What a transport met when it was to reach a process that has just died. */
static int why_broken(struct dpi_source *s, uint32_t target, uint32_t epoch, int error)
{
	char sentence[DPI_DETAIL_MAX];
	if (error != DPI_ERR_TRANSPORT) return error;
	snprintf(sentence, sizeof sentence, "%s", dpi_detail());
	return dpi_fail(hear_why(s, target, epoch) ? DPI_ERR_PEER : error, "%s", sentence);
}

int dpi_lane_failed(struct dpi_source *s, uint32_t target, int error, bool *dropped)
{
	char sentence[512];
	int failed = dpi_flow_check(s->flow);
	if (failed) return failed;
	if (!dpi_loop_inside(s->ctx)) error = why_broken(s, target, dpi_flow_where(s->flow, target).epoch, error); /* a ring that was being replaced */
	if (error != DPI_ERR_PEER && error != DPI_ERR_DESTROYED) return error;
	/* that the target was detached, or the flow cancelled or destroyed, may be known there first */
	if (!s->retain && !dpi_loop_inside(s->ctx)) {
		snprintf(sentence, sizeof sentence, "%s", dpi_detail());
		hear_why(s, target, dpi_flow_where(s->flow, target).epoch);
		if ((failed = dpi_flow_check(s->flow))) return failed;
		dpi_fail(error, "%s", sentence);
	}
	uint32_t state = dpi_flow_where(s->flow, target).state;
	if (s->retain && state != DPI_TARGET_DEAD && state != DPI_TARGET_DETACHED) return error; /* retain.c */
	dpi_source_way(s, target, NULL);
	if (s->flow->definition->on_death == DPI_DEATH_GOES_ON || state == DPI_TARGET_DETACHED) {
		*dropped = true;
		__atomic_store_n(&s->lane[target].dropped, true, __ATOMIC_RELAXED); /* the linger service of codecs looks, too; late is early enough */
		return DPI_SUCCESS;
	}
	snprintf(sentence, sizeof sentence, "target %u of flow '%s' is gone: %.300s", target, s->flow->name, dpi_detail());
	dpi_flow_fail(s->flow, DPI_ERR_PEER, sentence);
	return dpi_flow_check(s->flow);
}

bool dpi_lane_gone(struct dpi_source *s, uint32_t target)
{
	bool dropped;
	if (s->retain) return true;
	const struct dpi_buffer *b = s->lane[target].b;
	if (!b || !dpi_buffer_check(b)) dpi_fail(DPI_ERR_PEER, "it was closed, or its process died");
	return !dpi_lane_failed(s, target, DPI_ERR_PEER, &dropped);
}

/* Ask a target for a ring. Blocks only to connect to its node. */
static int ask(struct dpi_source *s, uint32_t target, int64_t deadline)
{
	struct dpi_lane *l = &s->lane[target];
	char name[DPI_NAME_MAX];
	struct dpi_flow_target where = dpi_flow_where(s->flow, target);
	if (where.state != DPI_TARGET_BOUND) return dpi_fail(DPI_ERR_PEER, "it was closed, or its process died");
	snprintf(name, sizeof name, "%.100s, target %u", s->flow->name, target);
	bool prompt = s->tries || s->flow->definition->detach_us; /* what is given back is told at once: by that its lag is judged */
	struct dpi_wanted wanted = { name, s->timeout_us, s->linger_us, s->watch.bell, s->ack || s->retain, prompt, s->number + 1 };
	l->epoch = where.epoch;
	int64_t least = dpi_now() + DPI_ANSWER_NS;
	int error = dpi_run_open_start(s->ctx, &wanted, where.node, where.queue, deadline > least ? deadline : least, &l->opening);
	if (error) l->opening = NULL;
	else s->asked++;
	if (error && !dpi_retain_keeps(s, error)) l->epoch = 0; /* it can be tried again */
	return error;
}

/* With a target that is needed now, ask as many of the next ones as were asked before: they are likely to be needed too, and then
 * have answered. So a source of many targets waits for few of them, and none has more than twice the rings that it needs. What
 * goes wrong is told when they are. An answer may hold a descriptor until it is taken, so there are not many at a time. */
#define AHEAD 16u
static void ask_more(struct dpi_source *s, uint32_t target)
{
	uint32_t targets = s->flow->definition->targets, most = s->asked - 1 < AHEAD ? s->asked - 1 : AHEAD;
	for (uint32_t i = 1; i <= most && i < targets; i++) {
		uint32_t t = (target + i) % targets;
		const struct dpi_lane *l = &s->lane[t];
		if (!l->b && !l->opening && !l->dropped && dpi_flow_where(s->flow, t).state == DPI_TARGET_BOUND && is_bound(s, t)) ask(s, t, 0);
	}
}

struct opening {
	struct dpi_source *s;
	struct dpi_lane *l;
	int error;
};

static bool opened(void *arg)
{
	struct opening *o = arg;
	if (o->error != DPI_ERR_AGAIN || atomic_load_explicit(&o->s->flow->failed, memory_order_relaxed)) return true;
	o->error = dpi_run_open_step(o->l->opening);
	return o->error != DPI_ERR_AGAIN;
}

/* The target has told of its ring, if only that it has no memory for one now. */
static bool answered(void *arg)
{
	struct opening *o = arg;
	return opened(o) || dpi_run_queued(o->l->opening);
}

static int open_in_time(struct dpi_source *s, uint32_t target, int64_t timeout_us, void *arg)
{
	struct opening *o = arg;
	struct dpi_wait w = { .ready = opened, .arg = o, .bell = s->watch.bell, .deadline = dpi_now() + 1000 * timeout_us };
	(void)target;
	return dpi_wait(s->ctx, &w) ? DPI_ERR_TIMEOUT : o->error;
}

/* It was not opened in time. */
static int not_bound(struct dpi_source *s, uint32_t target)
{
	struct dpi_flow_target where = dpi_flow_where(s->flow, target);
	if (where.state == DPI_TARGET_UNBOUND)
		return dpi_fail(DPI_ERR_TIMEOUT, "target %u of flow '%s' was not opened by any process within the deadline", target, s->flow->name);
	return dpi_fail(DPI_ERR_TIMEOUT, "target %u of flow '%s' was lost with node %d, and no process has bound it anew within the deadline: open it with attr->rebind", target,
			s->flow->name, where.node);
}

int dpi_lane_open(struct dpi_source *s, uint32_t target, int64_t deadline, bool *dropped)
{
	if (!s->retain) return dpi_lane_open_once(s, target, deadline, dropped);
	if (s->coded) pthread_mutex_lock(&s->coded->lane[target].lock);
	int error = dpi_retain_way(s, target, deadline, dropped);
	if (s->coded) pthread_mutex_unlock(&s->coded->lane[target].lock);
	return error;
}

int dpi_lane_open_once(struct dpi_source *s, uint32_t target, int64_t deadline, bool *dropped)
{
	struct dpi_flow *f = s->flow;
	struct dpi_lane *l = &s->lane[target];
	struct binding b = { s, target, UINT64_MAX };
	*dropped = l->dropped;
	if (l->b || l->dropped) return DPI_SUCCESS;
	if (l->opening && s->retain && dpi_flow_where(f, target).epoch != l->epoch) { /* it is elsewhere meanwhile */
		dpi_run_open_drop(l->opening);
		l->opening = NULL;
	}
	if (!l->opening && !bound(&b)) {
		if (!deadline) return DPI_ERR_AGAIN;
		struct dpi_wait w = { .ready = bound, .arg = &b, .bell = s->watch.bell, .deadline = deadline };
		waits_for(s, target + 1);
		int late = dpi_wait(s->ctx, &w);
		waits_for(s, 0);
		if (late) return not_bound(s, target);
	}
	int error = dpi_flow_check(f);
	if (error) return error;
	if (!l->opening) {
		uint32_t epoch = dpi_flow_where(f, target).epoch;
		error = why_broken(s, target, epoch, ask(s, target, deadline));
		if (error) return dpi_lane_failed(s, target, error, dropped);
		ask_more(s, target);
	}
	struct opening o = { s, l, DPI_ERR_AGAIN };
	int64_t least = dpi_now() + DPI_ANSWER_NS;
	struct dpi_wait w = { .ready = answered, .arg = &o, .bell = s->watch.bell, .deadline = deadline > least ? deadline : least };
	if (!answered(&o)) {
		if (!deadline) return DPI_ERR_AGAIN;
		if (dpi_wait(s->ctx, &w))
			return dpi_fail(DPI_ERR_TIMEOUT, "node %d, which has target %u of flow '%s', did not answer within the deadline",
					l->opening->home_peer->node, target, f->name);
	}
	if (o.error == DPI_ERR_AGAIN && dpi_run_queued(l->opening)) {
		int waited = wait_for_room(s, target, l->opening, open_in_time, &o, deadline);
		if (o.error == DPI_ERR_AGAIN && waited == DPI_ERR_PEER) return dpi_lane_failed(s, target, waited, dropped);
		if (o.error == DPI_ERR_AGAIN) return (error = dpi_flow_check(f)) ? error : waited;
	}
	error = dpi_flow_check(f);
	if (o.error == DPI_ERR_AGAIN) return error;
	if (!o.error && s->retain) pthread_mutex_lock(&f->lock); /* who looks from outside may do so while rings change */
	if (!o.error) {
		l->b = l->opening;
		l->full_since = 0; /* positions begin anew */
		if (f->definition->hint == DPI_HINT_LATENCY && l->b->appender.tail && !s->retain) dpi_run_prompt(l->b);
	}
	if (!o.error && s->retain) pthread_mutex_unlock(&f->lock);
	l->opening = NULL;
	o.error = why_broken(s, target, l->epoch, o.error);
	if (o.error && !dpi_retain_keeps(s, o.error)) l->epoch = 0;
	if (o.error) return dpi_lane_failed(s, target, o.error, dropped);
	return error;
}

/* ---------------------------------------------------------------------------------------------------------- room */

/* The short way leads to the open segment, or there is none; where a pipe is, it leads into that, and of columns there is none. */
static void set_way(struct dpi_source *s, uint32_t target, struct dpi_buffer *b)
{
	bool lingers = b && s->flow->definition->hint == DPI_HINT_LATENCY && !b->prompt; /* rows that are put by a transport: one by one */
	if (!s->pipe && !s->columns && !lingers) dpi_source_way(s, target, b);
}

int dpi_lane_end(struct dpi_source *s, uint32_t target, int64_t deadline)
{
	struct dpi_lane *l = &s->lane[target];
	int error;
	if (!l->run.end) return DPI_SUCCESS;
	set_way(s, target, NULL);
	if (s->columns && (error = dpi_columns_finish(s, target))) return error;
	uint64_t written = atomic_load_explicit(&l->b->appender.writer.written, memory_order_relaxed);
	if (s->retain) dpi_retain_ends(s, target);
	while ((error = dpi_run_end(l->b, &l->run)) == DPI_ERR_AGAIN) {
		if (dpi_now() >= deadline) return deadline ? dpi_fail(DPI_ERR_TIMEOUT, "the way to target %u is busy", target) : DPI_ERR_AGAIN;
		dpi_progress(s->ctx);
	}
	if (!error && s->row_size && !s->columns) {
		uint64_t bytes = written - l->rows_at;
		/* who counts from outside may find these rows neither here nor there for a moment, but not twice */
		__atomic_store_n(&l->rows_at, 0, __ATOMIC_RELAXED);
		DPI_ADD(l->rows, bytes / s->row_size);
		DPI_ADD(l->bytes, bytes);
		s->staging.bytes += bytes;
	}
	return error;
}

int dpi_lane_open_now(struct dpi_source *s, uint32_t target, bool *dropped)
{
	const struct dpi_lane *l = &s->lane[target];
	int error = dpi_lane_open(s, target, 0, dropped);
	if (error != DPI_ERR_AGAIN || !l->opening || dpi_run_queued(l->opening)) return error;
	error = dpi_lane_open(s, target, 1, dropped);
	return error == DPI_ERR_TIMEOUT && l->opening && dpi_run_queued(l->opening) ? DPI_ERR_AGAIN : error;
}

static int begin(struct dpi_source *s, uint32_t target, int64_t timeout_us, void *size)
{
	struct dpi_lane *l = &s->lane[target];
	l->b->timeout_us = timeout_us;
	return dpi_run_begin(l->b, &l->run, *(const uint64_t *)size, true);
}

int dpi_lane_begin_run(struct dpi_source *s, uint32_t target, uint64_t size, int64_t deadline)
{
	struct dpi_lane *l = &s->lane[target];
	int error = dpi_run_begin(l->b, &l->run, size, false);
	if (error != DPI_ERR_AGAIN && s->flow->definition->detach_us) dpi_lane_goes_on(s, target);
	return error == DPI_ERR_AGAIN ? wait_for_room(s, target, l->b, begin, &size, deadline) : error;
}

int dpi_lane_begin(struct dpi_source *s, uint32_t target, uint32_t kind, uint64_t value, uint64_t size, int64_t deadline, bool *dropped)
{
	struct dpi_lane *l = &s->lane[target];
	int error = DPI_SUCCESS;
	if (s->flow->definition->detach_us && !l->dropped && dpi_lane_is_detached(s, target)) {
		dpi_source_way(s, target, NULL);
		__atomic_store_n(&l->dropped, true, __ATOMIC_RELAXED);
	}
	*dropped = l->dropped;
	if (l->dropped) return DPI_SUCCESS;
	do {
		if (!l->b || s->retain) error = dpi_lane_open(s, target, deadline, dropped);
		if (error || *dropped) return error;
		error = dpi_lane_end(s, target, deadline);
		if (!error && s->retain) error = dpi_retain_prepare(s, target);
		if (!error) error = dpi_lane_begin_run(s, target, size, deadline);
		if (error == DPI_ERR_AGAIN) return error;
	} while (error && dpi_retain_lost(s, target, error));
	if (error) return dpi_lane_failed(s, target, error, dropped);
	if (s->retain) dpi_retain_begins(s, target, kind, value);
	struct dpi_flow_segment h = { .base = { .sequence = l->rows, .rows = s->epoch, .flags = DPI_SEGMENT_MAGIC | kind, .reserved = s->number }, .value = value };
	if (s->retain) h.coded.epoch = l->epoch;
	memcpy(dpi_run_place(l->b), &h, sizeof h);
	DPI_ADD(l->begun, 1);
	return DPI_SUCCESS;
}

int dpi_lane_room(struct dpi_source *s, uint32_t target, uint64_t need, int64_t deadline, bool *dropped)
{
	if (s->coded) return dpi_coded_room(s, target, need, deadline, dropped);
	struct dpi_lane *l = &s->lane[target];
	*dropped = l->dropped;
	if (l->dropped || dpi_run_left(l->b, &l->run) >= need) return DPI_SUCCESS;
	int error = dpi_lane_begin(s, target, DPI_FLOW_ROWS, 0, s->segment, deadline, dropped);
	if (error || *dropped) return error;
	error = dpi_run_wrote(l->b, &l->run, sizeof(struct dpi_flow_segment));
	if (dpi_retain_keeps(s, error)) error = DPI_SUCCESS;
	if (s->row_size) /* release: the buffer, for who counts from outside */
		__atomic_store_n(&l->rows_at, atomic_load_explicit(&l->b->appender.writer.written, memory_order_relaxed), __ATOMIC_RELEASE);
	DPI_ADD(s->stats.segments, 1);
	if (error) return dpi_lane_failed(s, target, error, dropped);
	if (dpi_staging_begins(s)) dpi_run_stage(l->b, &l->run);
	set_way(s, target, l->b);
	return DPI_SUCCESS;
}

int dpi_lane_wrote(struct dpi_source *s, uint32_t target, uint64_t size)
{
	bool dropped;
	int error = dpi_run_wrote(s->lane[target].b, &s->lane[target].run, size);
	if (dpi_retain_keeps(s, error)) return DPI_SUCCESS;
	/* the linger service sends what the transport could not take */
	return error && error != DPI_ERR_AGAIN ? dpi_lane_failed(s, target, error, &dropped) : DPI_SUCCESS;
}

int dpi_lane_send(struct dpi_source *s, uint32_t target, uint32_t kind, uint64_t value, const void *bytes, uint64_t size, int64_t deadline, bool *dropped)
{
	if (s->coded) return dpi_coded_send(s, target, kind, value, deadline, dropped);
	struct dpi_lane *l = &s->lane[target];
	uint64_t header = sizeof(struct dpi_flow_segment);
	int error = dpi_lane_begin(s, target, kind, value, header + size, deadline, dropped);
	if (error || *dropped) return error;
	if (size) memcpy(dpi_run_place(l->b) + header, bytes, size);
	error = dpi_run_wrote(l->b, &l->run, header + size);
	if (s->retain) dpi_retain_ends(s, target);
	/* the run is full to its end, so ending it sends nothing */
	if (!error) error = dpi_run_end(l->b, &l->run);
	if (error && dpi_retain_lost(s, target, error)) return DPI_SUCCESS; /* it is kept */
	return error ? dpi_lane_failed(s, target, error, dropped) : DPI_SUCCESS;
}

int dpi_lane_part_room(struct dpi_source *s, uint32_t target, uint64_t size, int64_t deadline, bool *dropped)
{
	if (s->coded) return dpi_coded_part_room(s, target, deadline, dropped);
	return dpi_lane_begin(s, target, DPI_FLOW_PART, 0, sizeof(struct dpi_flow_segment) + size, deadline, dropped);
}

void dpi_lane_part_leave(struct dpi_source *s, uint32_t target)
{
	struct dpi_lane *l = &s->lane[target];
	if (s->coded || !l->b || !l->run.end) return; /* there an open run is nothing yet */
	if (s->retain) dpi_retain_ends(s, target);
	if (!dpi_run_end(l->b, &l->run)) DPI_ADD(l->begun, -1);
}

/* It goes into the run that room has begun. */
static int write_part(struct dpi_source *s, uint32_t target, const struct dpi_part *part)
{
	struct dpi_lane *l = &s->lane[target];
	uint64_t header = sizeof(struct dpi_flow_segment);
	bool dropped;
	size_t taken;
	dpi_part_write(dpi_run_place(l->b) + header, part->size, part->row, part->row_size, part->offset, 0, &taken);
	int error = dpi_run_wrote(l->b, &l->run, header + part->size);
	if (s->retain) dpi_retain_ends(s, target);
	/* the run is full to its end, so ending it sends nothing */
	if (!error) error = dpi_run_end(l->b, &l->run);
	if (error && dpi_retain_lost(s, target, error)) return DPI_SUCCESS; /* it is kept */
	return error ? dpi_lane_failed(s, target, error, &dropped) : DPI_SUCCESS;
}

int dpi_lane_part_write(struct dpi_source *s, uint32_t target, const struct dpi_part *part)
{
	struct dpi_lane *l = &s->lane[target];
	bool last = part->offset + part->taken == part->row_size;
	int error = l->dropped ? DPI_SUCCESS : (s->coded ? dpi_coded_part_write : write_part)(s, target, part);
	if (error || !last) return error;
	if (l->dropped) {
		DPI_ADD(s->stats.dropped, 1);
	} else {
		DPI_ADD(l->rows, 1);
		DPI_ADD(l->bytes, part->row_size);
	}
	return DPI_SUCCESS;
}

int dpi_lane_flush_run(struct dpi_lane *l, int64_t deadline)
{
	int64_t left = (deadline - dpi_now()) / 1000;
	l->b->timeout_us = !deadline ? DPI_NO_WAIT : left < 1 ? 1 : left;
	return dpi_run_flush(l->b, &l->run);
}

static int flush_retained(struct dpi_source *s, uint32_t target, int64_t deadline)
{
	struct dpi_lane *l = &s->lane[target];
	bool dropped;
	int error;
	if (!l->b && !s->retain->lane[target].old) return DPI_SUCCESS;
	do {
		error = dpi_retain_way(s, target, deadline, &dropped);
		if (error || dropped) return error;
		error = dpi_lane_flush_run(l, deadline);
	} while (error && dpi_retain_lost(s, target, error));
	return error && error != DPI_ERR_TIMEOUT ? dpi_lane_failed(s, target, error, &dropped) : error;
}

int dpi_lane_flush(struct dpi_source *s, uint32_t target, int64_t deadline)
{
	if (s->coded) return dpi_coded_flush(s, target, deadline);
	struct dpi_lane *l = &s->lane[target];
	bool dropped = false;
	if (s->retain) return flush_retained(s, target, deadline);
	if (!l->b || l->dropped) return DPI_SUCCESS;
	int error = s->columns ? dpi_lane_end(s, target, 0) : DPI_SUCCESS;
	if (error && error != DPI_ERR_AGAIN) return dpi_lane_failed(s, target, error, &dropped); /* AGAIN: but it is written */
	error = dpi_lane_flush_run(l, deadline);
	return error && error != DPI_ERR_TIMEOUT ? dpi_lane_failed(s, target, error, &dropped) : error;
}

void dpi_lane_count(const struct dpi_source *s, uint32_t target, uint64_t *rows, uint64_t *bytes)
{
	const struct dpi_lane *l = &s->lane[target];
	*rows = __atomic_load_n(&l->rows, __ATOMIC_RELAXED);
	*bytes = __atomic_load_n(&l->bytes, __ATOMIC_RELAXED);
	if (s->columns) {
		const struct dpi_column_builder *open = __atomic_load_n(&s->columns->open[target], __ATOMIC_ACQUIRE);
		if (open) *bytes += dpi_column_bytes(open);
		return;
	}
	uint64_t at = __atomic_load_n(&l->rows_at, __ATOMIC_ACQUIRE);
	if (!at || s->coded) return;
	uint64_t open = atomic_load_explicit(&l->b->appender.writer.written, memory_order_relaxed) - at;
	if (open > s->segment) return; /* the segment has just ended */
	*rows += open / s->row_size;
	*bytes += open;
}
