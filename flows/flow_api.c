/* SPDX-License-Identifier: Apache-2.0
 * flow_api.c: the public calls on flows, and the end of what a program has left open. */
#include <stdio.h>
#include <string.h>

#include "endpoint.h"
#include "layer.h"

#define NEED(pointer)                                                                                                      \
	do {                                                                                                               \
		if (!(pointer)) return dpi_fail(DPI_ERR_ARGUMENT, "%s: %s is NULL: " DPI_NEEDED, __func__, #pointer);                   \
	} while (0)

/* An attribute struct of another size than ours: a shorter one is an older program's, in a longer one the rest must be
 * zero. */
static int copy_attr(DPI_Flow_Attr *to, const DPI_Flow_Attr *from)
{
	size_t given = from->size;
	if (given < sizeof given)
		return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Create_Flow: attr->size is %zu: start from DPI_FLOW_ATTR_INIT",
				given);
	for (size_t i = sizeof *to; i < given; i++)
		if (((const unsigned char *)from)[i])
			return dpi_fail(
				DPI_ERR_UNSUPPORTED,
				"DPI_Create_Flow: attr has a field at byte %zu that this library (%s) does not know", i,
				dpi_library_path());
	memcpy(to, from, given < sizeof *to ? given : sizeof *to);
	to->size = sizeof *to;
	if (to->create == DPI_CREATE_NEW || to->create == DPI_CREATE_OR_OPEN) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Create_Flow: attr->create is %d: it is DPI_CREATE_NEW or DPI_CREATE_OR_OPEN",
			to->create);
}

/* Takes over the reference, also when it fails. */
static int handle_open(struct dpi_flow *f, DPI_Flow *handle)
{
	*handle = (DPI_Flow)(uintptr_t)dpi_handle_open(DPI_HANDLE_FLOW, f);
	if (*handle) return DPI_SUCCESS;
	dpi_flow_unref(f);
	return dpi_fail(DPI_ERR_LIMIT, "%u handles are open: close some", DPI_HANDLE_MAX);
}

int DPI_Create_Flow(const char *name, const DPI_Flow_Attr *attr, DPI_Context handle, DPI_Flow *flow)
{
	int error;
	struct dpi_flow *f;
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	NEED(flow);
	*flow = NULL;
	error = dpi_check_name(__func__, name);
	if (error) return error;
	NEED(attr);
	error = copy_attr(&a, attr);
	if (error) return error;
	int before = dpi_aside();
	error = dpi_aside_over(before, dpi_flow_create(ctx, name, &a, dpi_deadline(0, ctx->timeout_us), &f));
	return error ? error : handle_open(f, flow);
}

int DPI_Open_Flow(const char *name, DPI_Schema schema, int64_t wait_us, DPI_Context handle, DPI_Flow *flow)
{
	int error;
	struct dpi_flow *f;
	struct dpi_schema *mine = NULL;
	char difference[DPI_DETAIL_MAX / 2];
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	NEED(flow);
	*flow = NULL;
	error = dpi_check_name(__func__, name);
	if (!error) error = dpi_timeout_check(__func__, "wait_us", wait_us);
	if (error) return error;
	if (schema && !(mine = dpi_schema_get(schema))) return dpi_schema_error(schema);
	int64_t appear = wait_us < 0 ? dpi_now() : dpi_deadline(wait_us, ctx->timeout_us);
	int64_t answer = dpi_deadline(0, ctx->timeout_us);
	int before = dpi_aside();
	error = dpi_aside_over(before, dpi_flow_open(ctx, name, appear, appear > answer ? appear : answer, &f));
	if (error) return error;
	if (!mine || dpi_schema_equal(f->definition->schema, "the flow's schema", mine, "this process's", difference,
				      sizeof difference))
		return handle_open(f, flow);
	dpi_flow_unref(f);
	return dpi_fail(DPI_ERR_SCHEMA, "flow '%s' has another schema: %s", name, difference);
}

static int get_schema(const char *call, DPI_Flow flow, bool output, DPI_Schema *schema)
{
	struct dpi_flow *f = dpi_flow_get(flow);
	if (!f) return dpi_flow_error(flow);
	int error = schema ? dpi_schema_open(dpi_schema_ref(output ? f->definition->output : f->definition->schema), schema)
			   : dpi_fail(DPI_ERR_ARGUMENT, "%s: schema is NULL: pass one that DPI_Create_Schema or DPI_Import_Schema gave", call);
	dpi_flow_unref(f);
	return error;
}

int DPI_Get_Flow_Schema(DPI_Flow flow, DPI_Schema *schema)
{
	return get_schema(__func__, flow, false, schema);
}

int DPI_Get_Flow_Output_Schema(DPI_Flow flow, DPI_Schema *schema)
{
	return get_schema(__func__, flow, true, schema);
}

int DPI_Get_Flow_Info(DPI_Flow flow, DPI_Flow_Info *info)
{
	struct dpi_flow *f = dpi_flow_get(flow);
	if (!f) return dpi_flow_error(flow);
	DPI_Flow_Info all = { .targets = f->definition->targets };
	pthread_mutex_lock(&f->lock);
	dpi_flow_count(f, &all);
	all.sources = atomic_load_explicit(&f->opened, memory_order_relaxed);
	all.closed = atomic_load_explicit(&f->over, memory_order_relaxed);
	all.sealed = atomic_load_explicit(&f->sealed, memory_order_relaxed);
	all.failed = atomic_load_explicit(&f->failed, memory_order_relaxed);
	pthread_mutex_unlock(&f->lock);
	memcpy(all.name, f->name, sizeof all.name);
	dpi_flow_unref(f);
	return dpi_give(__func__, info, &all, sizeof all);
}

int DPI_Get_Flow_Source(uint32_t source, DPI_Flow flow, DPI_Flow_End *end)
{
	static const int state[] = { [0] = DPI_END_NONE, [DPI_SOURCE_OPEN] = DPI_END_OPEN, [DPI_SOURCE_CLOSED] = DPI_END_CLOSED,
				     [DPI_SOURCE_DEAD] = DPI_END_DEAD, [DPI_SOURCE_LOST] = DPI_END_LOST };
	struct dpi_flow *f = dpi_flow_get(flow);
	if (!f) return dpi_flow_error(flow);
	struct dpi_flow_source is = dpi_flow_whose(f, source);
	dpi_flow_unref(f);
	DPI_Flow_End all = { .state = state[is.state], .node = is.node, .epoch = is.epoch, .id = is.id };
	return dpi_give(__func__, end, &all, sizeof all);
}

int DPI_Get_Flow_Target(uint32_t target, DPI_Flow flow, DPI_Flow_End *end)
{
	static const int state[] = { [DPI_TARGET_UNBOUND] = DPI_END_NONE, [DPI_TARGET_BOUND] = DPI_END_OPEN, [DPI_TARGET_ENDED] = DPI_END_CLOSED,
				     [DPI_TARGET_DEAD] = DPI_END_DEAD, [DPI_TARGET_LOST] = DPI_END_LOST, [DPI_TARGET_DETACHED] = DPI_END_DETACHED };
	struct dpi_flow *f = dpi_flow_get(flow);
	if (!f) return dpi_flow_error(flow);
	uint32_t targets = f->definition->targets;
	struct dpi_flow_target is = dpi_flow_where(f, target);
	int error = target < targets ? DPI_SUCCESS
				     : dpi_fail(DPI_ERR_ARGUMENT, "DPI_Get_Flow_Target: target is %u: flow '%s' has %u, from 0", target, f->name, targets);
	dpi_flow_unref(f);
	if (error) return error;
	DPI_Flow_End all = { .state = state[is.state], .node = is.state == DPI_TARGET_UNBOUND ? -1 : is.node, .epoch = is.epoch };
	return dpi_give(__func__, end, &all, sizeof all);
}

int DPI_Close_Flow(DPI_Flow flow)
{
	struct dpi_flow *f = dpi_flow_get(flow);
	if (!f) return dpi_flow_error(flow);
	pthread_mutex_lock(&f->ctx->flows->lock);
	bool mine = dpi_handle_get(DPI_HANDLE_FLOW, (uint64_t)(uintptr_t)flow);
	if (mine) dpi_handle_close((uint64_t)(uintptr_t)flow);
	pthread_mutex_unlock(&f->ctx->flows->lock);
	dpi_flow_unref(f);
	if (!mine) return dpi_flow_error(flow); /* another thread was faster */
	dpi_flow_unref(f);
	return DPI_SUCCESS;
}

int DPI_Seal_Flow(DPI_Flow flow)
{
	struct dpi_flow *f = dpi_flow_get(flow);
	if (!f) return dpi_flow_error(flow);
	int error = dpi_flow_seal(f, dpi_deadline(0, f->ctx->timeout_us));
	dpi_flow_unref(f);
	return error;
}

int DPI_Cancel_Flow(const char *reason, DPI_Flow flow)
{
	struct dpi_flow *f = dpi_flow_get(flow);
	if (!f) return dpi_flow_error(flow);
	int error = dpi_flow_cancel(f, reason, dpi_deadline(0, f->ctx->timeout_us));
	dpi_flow_unref(f);
	return error;
}

int DPI_Destroy_Flow(const char *name, DPI_Context handle)
{
	int error;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	error = dpi_check_name(__func__, name);
	if (error) return error;
	int before = dpi_aside();
	return dpi_aside_over(before, dpi_flow_destroy(ctx, name, dpi_deadline(0, ctx->timeout_us)));
}

static void close_handle(uint64_t handle, void *object)
{
	(void)object;
	DPI_Close_Flow((DPI_Flow)(uintptr_t)handle);
}

static void close_bloom(uint64_t handle, void *object)
{
	(void)object;
	DPI_Close_Bloom((DPI_Bloom)(uintptr_t)handle);
}

void dpi_flows_finish(struct dpi_context *ctx)
{
	if (!ctx->flows) return;
	dpi_handle_each(DPI_HANDLE_SOURCE, dpi_source_finish);
	dpi_handle_each(DPI_HANDLE_TARGET, dpi_target_finish);
	dpi_handle_each(DPI_HANDLE_FLOW, close_handle);
	dpi_handle_each(DPI_HANDLE_BLOOM, close_bloom);
}
