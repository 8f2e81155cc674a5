/* SPDX-License-Identifier: Apache-2.0
 * ready.c: the file descriptors of sources and targets. */
#include "ack_source.h"
#include "columnar.h"
#include "detach.h"
#include "target.h"

/* AGAIN: there is no room of the kind that a push last found none of. */
static int wanted_room(struct dpi_source *s)
{
	const struct dpi_wanted_room *w = &s->wanted;
	bool dropped;
	int error = DPI_SUCCESS;
	if (w->kind == DPI_WANT_ROWS) error = dpi_lane_room(s, w->target, w->size, 0, &dropped);
	if (w->kind == DPI_WANT_COLUMNS) error = dpi_columns_begin(s, w->target, 0, &dropped);
	if (w->kind == DPI_WANT_PART) {
		error = dpi_lane_part_room(s, w->target, w->size, 0, &dropped);
		if (!error) dpi_lane_part_leave(s, w->target);
	}
	return error;
}

/* Everything that may give a source room rings its bell: answers to its questions for rings, space that is given back in them, what was
 * acknowledged, news of the flow. But a transport that took nothing tells nobody when it has room again. */
static bool room_ready(void *arg, struct dpi_listening *l)
{
	struct dpi_source *s = arg;
	l->bells = UINT64_C(1) << s->watch.bell;
	if (atomic_load_explicit(&s->flow->failed, memory_order_acquire)) return true;
	if (s->ack && dpi_ack_full(s)) {
		if (dpi_ack_looks_again(s)) l->look_at = dpi_now() + DPI_LOOK_AGAIN_NS;
		return dpi_ack_some(s);
	}
	if (wanted_room(s) != DPI_ERR_AGAIN) return true;
	struct dpi_lane *lane = &s->lane[s->wanted.target];
	bool busy = s->coded ? dpi_coded_busy(s, s->wanted.target) : lane->b && (lane->run.end || dpi_run_publish(lane->b, &lane->run) == DPI_ERR_AGAIN);
	int64_t now = dpi_now(), patience = s->flow->definition->detach_us ? dpi_lane_patience(s, s->wanted.target) : 0;
	const struct dpi_buffer *asks = lane->b ? lane->b : lane->opening;
	if (patience > now) l->look_at = patience; /* then the target is to be detached, which the next push sees to */
	if (asks && dpi_run_queued(asks) && now + DPI_YIELD_NS < l->look_at) l->look_at = now + DPI_YIELD_NS; /* what it has elsewhere others may wait for */
	if (busy) l->look_at = now + DPI_LOOK_AGAIN_NS;
	return false;
}

/* What targets acknowledge, and what becomes of them, rings the source's bell. */
static bool acks_ready(void *arg, struct dpi_listening *l)
{
	struct dpi_source *s = arg;
	l->bells = UINT64_C(1) << s->watch.bell;
	return dpi_ack_told(s, &l->look_at);
}

static bool rows_ready(void *arg, struct dpi_listening *l)
{
	struct dpi_target *t = arg;
	l->bells = UINT64_C(1) << t->home->bell;
	return dpi_target_found(t);
}

int DPI_Get_Source_Descriptor(DPI_Source handle, int *fd)
{
	int error;
	struct dpi_source *s = dpi_source_enter(handle, "DPI_Get_Source_Descriptor", &error);
	if (!s) return error;
	error = dpi_descriptor_get(s->ctx, "DPI_Get_Source_Descriptor", &s->room, fd);
	dpi_source_leave(s);
	return error;
}

int DPI_Arm_Source(DPI_Source handle, int *ready)
{
	int error;
	struct dpi_source *s = dpi_source_enter(handle, "DPI_Arm_Source", &error);
	if (!s) return error;
	if (s->reserved >= 0) error = dpi_fail(DPI_ERR_STATE, "DPI_Arm_Source: room is handed out: DPI_Commit or DPI_Discard comes first");
	else error = dpi_descriptor_arm("DPI_Arm_Source", s->room, room_ready, s, ready);
	dpi_source_leave(s);
	return error;
}

static struct dpi_source *enter_acked(DPI_Source handle, const char *call, int *error)
{
	struct dpi_source *s = dpi_source_enter(handle, call, error);
	if (!s || s->ack) return s;
	*error = dpi_fail(DPI_ERR_USE, "%s: flow '%s' has no acknowledgements: set attr->ack when it is created", call, s->flow->name);
	dpi_source_leave(s);
	return NULL;
}

int DPI_Get_Ack_Descriptor(DPI_Source handle, int *fd)
{
	int error;
	struct dpi_source *s = enter_acked(handle, "DPI_Get_Ack_Descriptor", &error);
	if (!s) return error;
	error = dpi_descriptor_get(s->ctx, "DPI_Get_Ack_Descriptor", &s->acks, fd);
	dpi_source_leave(s);
	return error;
}

int DPI_Arm_Acks(DPI_Source handle, int *ready)
{
	int error;
	struct dpi_source *s = enter_acked(handle, "DPI_Arm_Acks", &error);
	if (!s) return error;
	if (s->acks && ready) error = dpi_ack_send(s);
	if (!error) error = dpi_descriptor_arm("DPI_Arm_Acks", s->acks, acks_ready, s, ready);
	dpi_source_leave(s);
	return error;
}

int DPI_Get_Target_Descriptor(DPI_Target handle, int *fd)
{
	int error;
	struct dpi_target *t = dpi_target_begin(handle, "DPI_Get_Target_Descriptor", &error);
	if (!t) return error;
	error = dpi_descriptor_get(t->ctx, "DPI_Get_Target_Descriptor", &t->some, fd);
	dpi_target_leave(t);
	return error;
}

int DPI_Arm_Target(DPI_Target handle, int *ready)
{
	int error;
	struct dpi_target *t = dpi_target_begin(handle, "DPI_Arm_Target", &error);
	if (!t) return error;
	error = dpi_descriptor_arm("DPI_Arm_Target", t->some, rows_ready, t, ready);
	dpi_target_leave(t);
	return error;
}
