/* SPDX-License-Identifier: Apache-2.0
 * coordinator_target.c: targets of flows, at the coordinator. */
#include "coordinator.h"

static void on_bind(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body);
	uint32_t number = dpi_unpack_u32(&in->body);
	uint64_t queue = dpi_unpack_u64(&in->body);
	bool again = dpi_unpack_u8(&in->body);
	struct flow *f = dpi_coordinator_flow(ctx, in, id);
	if (!f) return;
	if (number >= f->targets) {
		dpi_coordinator_answer(ctx, in,
			     dpi_fail(DPI_ERR_RANGE, "flow '%s' has no target %u: its targets are 0 to %u", f->name, number,
				      f->targets - 1));
		return;
	}
	struct target *t = &f->target[number];
	bool may = f->retain && (t->state == DPI_TARGET_BOUND || t->state == DPI_TARGET_LOST);
	if (t->state != DPI_TARGET_UNBOUND && !(may && again)) {
		static const char *const how[] = { "", "is open", "was taken to its end", "died", "was lost", "was detached" };
		dpi_coordinator_answer(ctx, in,
			     dpi_fail(DPI_ERR_EXISTS, "target %u of flow '%s' %s on node %d%s", number, f->name,
				      how[t->state], t->from->node, may ? ": with attr->rebind it is bound anew" : ""));
		return;
	}
	*t = (struct target){ .from = in->from, .queue = queue, .state = DPI_TARGET_BOUND, .epoch = t->epoch + 1 };
	dpi_coordinator_told_target(ctx, f, number);
	struct dpi_pack p = { 0 };
	dpi_pack_u32(&p, t->epoch);
	dpi_answer(ctx, in->from, in->id, DPI_SUCCESS, &p);
}

void dpi_coordinator_target_over(struct dpi_context *ctx, struct flow *f, uint32_t number, uint32_t state, int node)
{
	struct target *t = &f->target[number];
	/* sources may have a ring there; a bind that nobody waited for can have got one only if it was not the first */
	if (f->retain && (state == DPI_TARGET_DEAD || t->epoch > 1) && state != DPI_TARGET_ENDED) state = DPI_TARGET_LOST;
	t->state = (uint8_t)state;
	if (state == DPI_TARGET_UNBOUND) *t = (struct target){ .epoch = t->epoch };
	if (state == DPI_TARGET_DEAD && f->on_death == DPI_DEATH_FAILS)
		dpi_coordinator_fail(ctx, f, DPI_ERR_FLOW, "target %u of flow '%s' was closed by node %d before the flow's end", number, f->name, node);
	else dpi_coordinator_told_target(ctx, f, number);
}

static void on_unbind(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body);
	uint32_t number = dpi_unpack_u32(&in->body);
	uint64_t queue = dpi_unpack_u64(&in->body);
	uint32_t state = dpi_unpack_u32(&in->body);
	struct flow *f = dpi_coordinator_flow(ctx, in, id);
	if (!f) return;
	struct target *t = number < f->targets ? &f->target[number] : NULL;
	if (t && f->retain && t->from && (t->from != in->from || t->queue != queue)) {
		dpi_coordinator_answer(ctx, in, dpi_fail(DPI_ERR_FENCED, "target %u of flow '%s' was bound anew, by node %d", number, f->name, t->from->node));
		return;
	}
	if (!t || t->from != in->from || t->queue != queue || state == DPI_TARGET_BOUND || state > DPI_TARGET_DEAD) {
		dpi_coordinator_corrupt(ctx, in);
		return;
	}
	if (t->state == DPI_TARGET_BOUND) dpi_coordinator_target_over(ctx, f, number, state, in->from->node);
	dpi_coordinator_answer(ctx, in, DPI_SUCCESS);
}

static void on_detach(struct dpi_context *ctx, struct dpi_request_in *in)
{
	uint64_t id = dpi_unpack_u64(&in->body);
	uint32_t number = dpi_unpack_u32(&in->body);
	uint64_t queue = dpi_unpack_u64(&in->body);
	struct flow *f = dpi_coordinator_flow(ctx, in, id);
	struct target *t = f && f->detach && number < f->targets ? &f->target[number] : NULL;
	if (!t || t->state != DPI_TARGET_BOUND || t->queue != queue) return; /* asked by several, or too late */
	t->state = DPI_TARGET_DETACHED;
	dpi_coordinator_told_target(ctx, f, number);
}

int dpi_coordinator_targets(struct dpi_context *ctx)
{
	int error = dpi_handle_messages(ctx, DPI_FLOW_BIND, on_bind);
	if (!error) error = dpi_handle_messages(ctx, DPI_FLOW_UNBIND, on_unbind);
	if (!error) error = dpi_handle_messages(ctx, DPI_FLOW_DETACH, on_detach);
	return error;
}
