/* SPDX-License-Identifier: Apache-2.0
 * target.c: targets: open, close, statistics. */
#include "target.h"

#include <stdlib.h>
#include <string.h>

#include "bloom.h"
#include "final.h"
#include "origin.h"
#include "pipe.h"
#include "stats.h"
#include "wait.h"

#define RETAINED_RING (4u << 20) /* larger ones are no better */
#define PUT_RING (256u << 10)	 /* nor these: four puts of 64 KiB are in flight, and all of it stays in the second cache */

struct dpi_target *dpi_target_begin(DPI_Target handle, const char *call, int *error)
{
	struct dpi_target *t = dpi_target_get(handle);
	if (!t) {
		*error = dpi_handle_error(DPI_HANDLE_TARGET, (uint64_t)(uintptr_t)handle);
		return NULL;
	}
	if (atomic_load_explicit(&t->busy, memory_order_relaxed)) {
		*error = dpi_fail(DPI_ERR_THREAD, "%s: another thread is inside a call on this target of flow '%s'", call, t->flow->name);
		return NULL;
	}
	atomic_store_explicit(&t->busy, 1, memory_order_relaxed);
	*error = DPI_SUCCESS;
	return t;
}

/* The ring of a source that keeps its rows in it: the declared sources' share of the memory, which leaves room for those that come anew. */
static uint64_t retained_ring(const struct dpi_definition *d, uint64_t segment)
{
	uint64_t most = d->memory / 2 / (d->sources ? d->sources : 16), ring = 8 * segment;
	while (2 * ring <= most && ring < RETAINED_RING) ring *= 2;
	return ring;
}

/* The first ring of a source: eight segments, but all declared sources' rings within half the flow's memory if that can be. */
static uint64_t first_ring(const struct dpi_definition *d, uint64_t segment)
{
	uint64_t first = d->retain ? retained_ring(d, segment) : 8 * segment, share = d->sources ? d->memory / 2 / d->sources : first;
	return first < share ? first : share;
}

/* Over a transport that puts, a ring's size decides how much is sent at once. */
static uint64_t put_ring(const struct dpi_definition *d, uint64_t ring)
{
	uint64_t share = d->sources && !d->retain ? d->memory / 2 / d->sources : 0, expected = dpi_definition_expected(d);
	while (2 * ring <= share && ring < PUT_RING && (!expected || ring < expected)) ring *= 2;
	return ring;
}

static struct dpi_buffer_shape ring_shape(const struct dpi_definition *d, uint32_t numa)
{
	uint64_t segment = dpi_flow_run_size(d);
	struct dpi_buffer_shape shape = dpi_run_shape(segment, first_ring(d, segment), d->memory, numa);
	if (d->retain) shape.growth = DPI_GROWTH_NONE; /* what is kept lies in one ring */
	return shape;
}

uint64_t dpi_retained_room(const struct dpi_definition *d)
{
	return ring_shape(d, 0).capacity;
}

static int make_queue(struct dpi_target *t, uint32_t numa, int64_t deadline)
{
	const struct dpi_definition *d = t->flow->definition;
	struct dpi_buffer_shape shape = ring_shape(d, numa);
	if (d->sources && shape.capacity * d->sources > d->memory)
		return dpi_fail(DPI_ERR_LIMIT, "flow '%s' gives each target %llu bytes of memory, and %u sources need at least %llu: raise attr->memory, or make segments smaller",
				t->flow->name, (unsigned long long)d->memory, d->sources, (unsigned long long)shape.capacity * d->sources);
	int error = dpi_run_queue(t->ctx, &shape, deadline, &t->queue);
	if (error) return error;
	t->home = dpi_home_find(t->ctx, t->queue);
	if (t->home) { /* no source knows of the queue yet */
		pthread_mutex_lock(&t->home->lock);
		t->home->awaited = d->sources;
		if (!d->sources) t->home->least = dpi_run_shape(dpi_flow_run_size(d), 0, d->memory, numa).capacity;
		t->home->put_capacity = put_ring(d, shape.capacity);
		pthread_mutex_unlock(&t->home->lock);
	}
	return t->home ? DPI_SUCCESS : dpi_fail(DPI_ERR_INTERNAL, "a queue was made and is not there");
}

static void target_free(struct dpi_target *t)
{
	if (t->queue) dpi_run_queue_end(t->ctx, t->queue);
	dpi_inlets_free(t);
	dpi_origins_free(t);
	dpi_decoder_close(t->decoder);
	dpi_columns_spare_free(t);
	dpi_pipe_close_target(t);
	if (t->home) dpi_home_release(t->ctx, t->home);
	dpi_target_sketch_free(t->sketch);
	dpi_target_waits_free(t->waits);
	dpi_target_bloom_end(t);
	free(t->position);
	dpi_flow_unref(t->flow);
	free(t);
}

static int open_target(struct dpi_flow *f, uint32_t index, const DPI_Target_Attr *a, DPI_Target *out)
{
	const struct dpi_definition *d = f->definition;
	int error = dpi_flow_check(f);
	if (error) return error;
	struct dpi_target *t = aligned_alloc(64, (sizeof *t + 63) / 64 * 64);
	if (!t) return dpi_fail(DPI_ERR_MEMORY, "no memory for a target");
	memset(t, 0, sizeof *t);
	t->flow = dpi_flow_ref(f);
	t->ctx = f->ctx;
	t->index = index;
	t->timeout_us = a->timeout_us ? a->timeout_us : f->ctx->timeout_us;
	t->stride = d->output->varies ? 0 : d->output->row_size;
	t->holds = d->reduction && d->window == DPI_WINDOW_MARKS;
	t->wire_stride = d->wire->varies ? 0 : d->wire->row_size;
	t->seen = UINT64_MAX;
	int64_t deadline = dpi_deadline(0, f->ctx->timeout_us);
	error = dpi_pipe_open_target(t); /* what this process lacks is found before it is bound */
	if (!error && a->sketch) error = dpi_target_sketch_new(d, &t->sketch);
	if (!error) error = dpi_target_waits_new(t);
	if (!error) error = dpi_target_positions(t, a);
	if (!error) error = make_queue(t, (uint32_t)a->numa, deadline);
	if (!error) error = dpi_decoder_open(d, (struct dpi_coded_place){ t->ctx->incarnation, t->queue }, &t->decoder);
	if (!error) error = dpi_flow_bind_again(f, index, t->queue, a->rebind, deadline, &t->epoch);
	if (error) {
		target_free(t);
		return error;
	}
	t->prompt = d->hint == DPI_HINT_LATENCY && d->layout == DPI_LAYOUT_ROWS && d->wire->plain && t->stride && !t->pipe && !t->decoder && !t->sketch && !d->ack && !d->retain;
	t->handle = (DPI_Target)(uintptr_t)dpi_handle_open(DPI_HANDLE_TARGET, t);
	if (!t->handle) {
		dpi_flow_unbind_queue(f, index, t->queue, DPI_TARGET_DEAD, deadline);
		target_free(t);
		return dpi_fail(DPI_ERR_LIMIT, "%u handles are open: close some", DPI_HANDLE_MAX);
	}
	t->stats.epoch = t->epoch;
	t->watch = (struct dpi_flow_watch){ .bell = t->home->bell, .kind = DPI_ENDPOINT_TARGET, .endpoint = t };
	dpi_flow_watch(f, &t->watch);
	*out = t->handle;
	return DPI_SUCCESS;
}

int DPI_Open_Target(uint32_t index, const DPI_Target_Attr *attr, DPI_Flow handle, DPI_Target *out)
{
	DPI_Target_Attr a = DPI_TARGET_ATTR_INIT;
	if (!out) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Open_Target: target is NULL: pass where the handle may go");
	*out = NULL;
	int error = attr ? dpi_take("DPI_Open_Target", &a, sizeof a, attr) : DPI_SUCCESS;
	if (!error) error = dpi_timeout_check("DPI_Open_Target", "timeout_us", a.timeout_us);
	if (!error && (a.numa < 0 || a.numa > 1024)) error = dpi_fail(DPI_ERR_ARGUMENT, "attr->numa is %d: DPI_NUMA_ANY or DPI_NUMA_NODE(n)", a.numa);
	if (!error && (a.sketch < 0 || a.sketch > 1)) error = dpi_fail(DPI_ERR_ARGUMENT, "attr->sketch is %d: it is 0 or 1", a.sketch);
	if (!error && (a.rebind < 0 || a.rebind > 1)) error = dpi_fail(DPI_ERR_ARGUMENT, "attr->rebind is %d: it is 0 or 1", a.rebind);
	if (error) return error;
	struct dpi_flow *f = dpi_flow_get(handle);
	if (!f) return dpi_flow_error(handle);
	if (index >= f->definition->targets)
		error = dpi_fail(DPI_ERR_RANGE, "DPI_Open_Target: index is %u: flow '%s' has targets 0 to %u", index, f->name, f->definition->targets - 1);
	else error = open_target(f, index, &a, out);
	dpi_flow_unref(f);
	return error;
}

static int close_target(struct dpi_target *t, int64_t deadline)
{
	int error = DPI_SUCCESS;
	t->closing = true;
	if (t->piece.some) dpi_piece_release(t, &t->piece);
	if (t->kept.piece.some) dpi_piece_release(t, &t->kept.piece);
	while (t->lents) {
		dpi_piece_release(t, &t->lent[t->first]);
		t->first = (t->first + 1) % DPI_LENT_MAX;
		t->lents--;
	}
	dpi_pipe_let_go(t);
	/* it may have ended without this program's having asked once more */
	struct dpi_piece piece;
	uint64_t mark;
	int ignored;
	if (!t->ended && !dpi_flow_check(t->flow) && dpi_flow_complete(t->flow) && dpi_target_find(t, &piece, &mark, &ignored) == DPI_FOUND_ROWS)
		dpi_piece_release(t, &piece);
	dpi_flow_unwatch(t->flow, &t->watch);
	dpi_descriptor_close(t->some);
	if (!dpi_flow_check(t->flow) && !dpi_target_fenced(t)) error = dpi_flow_unbind_queue(t->flow, t->index, t->queue, t->ended ? DPI_TARGET_ENDED : DPI_TARGET_DEAD, deadline);
	else dpi_flow_let_go_queue(t->flow, t->index, t->queue);
	if (error && (error == DPI_ERR_FENCED || error == dpi_flow_check(t->flow))) error = DPI_SUCCESS; /* it lets go of it all the same */
	dpi_handle_close((uint64_t)(uintptr_t)t->handle);
	target_free(t);
	return error;
}

int DPI_Close_Target(DPI_Target handle)
{
	struct dpi_target *t = dpi_target_get(handle);
	if (!t) return dpi_handle_error(DPI_HANDLE_TARGET, (uint64_t)(uintptr_t)handle);
	if (atomic_exchange_explicit(&t->busy, 1, memory_order_relaxed))
		return dpi_fail(DPI_ERR_THREAD, "DPI_Close_Target: another thread is inside a call on this target of flow '%s'", t->flow->name);
	int before = dpi_aside();
	return dpi_aside_over(before, close_target(t, dpi_deadline(0, t->ctx->timeout_us)));
}

void dpi_target_finish(uint64_t handle, void *object)
{
	(void)handle;
	close_target(object, dpi_now() + 200000000);
}

void dpi_target_stats(struct dpi_target *t, DPI_Target_Stats *all)
{
	*all = (DPI_Target_Stats){ .size = sizeof *all };
#define COPY(name, unit, text) all->name = __atomic_load_n(&t->stats.name, __ATOMIC_RELAXED);
	DPI_TARGET_STATS(COPY)
#undef COPY
	pthread_mutex_lock(&t->home->lock);
	all->memory = t->home->memory;
	pthread_mutex_unlock(&t->home->lock);
	if (t->pipe && t->pipe->final) dpi_final_stats(t->pipe->final, all);
	if (t->decoder) all->codec_memory = atomic_load_explicit(&t->decoder->memory, memory_order_relaxed);
}

int DPI_Get_Target_Stats(DPI_Target handle, DPI_Target_Stats *stats)
{
	struct dpi_target *t = dpi_target_get(handle);
	if (!t) return dpi_handle_error(DPI_HANDLE_TARGET, (uint64_t)(uintptr_t)handle);
	DPI_Target_Stats all;
	dpi_target_stats(t, &all);
	return dpi_give("DPI_Get_Target_Stats", stats, &all, sizeof all);
}
