/* SPDX-License-Identifier: Apache-2.0
 * init.c: start and end of a context: the one place that knows all layers. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../flows/flow.h"
#include "cluster.h"
#include "control.h"
#include "descriptor.h"
#include "handle.h"
#include "memory/memory.h"

static const char *const levels[] = { "error", "warning", "information", "debug" };

/* 4: no level. */
static int level_of(const struct dpi_context *ctx)
{
	int level = 0;
	while (level < 4 && strcmp(levels[level], ctx->settings.value[DPI_SETTING_LOG])) level++;
	return level;
}

static int check_attr(const DPI_Init_Attr *attr)
{
	if (!attr) return DPI_SUCCESS;
	if (attr->size < sizeof(size_t))
		return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Init_With: attr->size is %zu: start from DPI_INIT_ATTR_INIT", attr->size);
	for (size_t i = sizeof *attr; i < attr->size; i++)
		if (((const unsigned char *)attr)[i])
			return dpi_fail(DPI_ERR_UNSUPPORTED, "DPI_Init_With: attr has a field at byte %zu that this library (%s) does not know", i,
					dpi_library_path());
	return DPI_SUCCESS;
}

static int read_settings(struct dpi_context *ctx, const DPI_Init_Attr *attr)
{
	DPI_Init_Attr a = DPI_INIT_ATTR_INIT;
	if (attr) memcpy(&a, attr, attr->size < sizeof a ? attr->size : sizeof a);
	if (a.settings_count && !a.settings) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Init_With: settings is NULL and settings_count is %zu: pass that many, or 0", a.settings_count);
	int error = dpi_settings_read(&ctx->settings, a.settings, a.settings_count);
	if (error) return error;
	int level = level_of(ctx);
	if (level == 4)
		return dpi_fail(DPI_ERR_CONFIG, "DPI_LOG is '%s': it is one of error, warning, information, debug", ctx->settings.value[DPI_SETTING_LOG]);
	dpi_log_set(level, -1);
	ctx->timeout_us = ctx->settings.number[DPI_SETTING_TIMEOUT];
	ctx->spin_ns = ctx->settings.number[DPI_SETTING_SPIN] * 1000;
	if (ctx->timeout_us < 1000) return dpi_fail(DPI_ERR_CONFIG, "DPI_TIMEOUT is %lld us: it is at least 1ms", (long long)ctx->timeout_us);
	return DPI_SUCCESS;
}

static void context_free(struct dpi_context *ctx)
{
	if (ctx->control) dpi_rejoin_stop(ctx);
	dpi_loop_stop(ctx);
	if (ctx->flows) dpi_flows_close(ctx);
	if (ctx->memory) dpi_memory_close(ctx);
	if (ctx->control) dpi_control_close(ctx);
	dpi_carriers_close(ctx);
	if (ctx->descriptors) dpi_descriptors_close(ctx);
	dpi_loop_close(ctx);
	dpi_bells_close(&ctx->bells);
	dpi_settings_free(&ctx->settings);
	dpi_context_set(NULL);
	free(ctx->topology);
	free(ctx);
}

static int context_open(struct dpi_context *ctx, const DPI_Init_Attr *attr)
{
	ctx->node = -1;
	if (getrandom(&ctx->incarnation, sizeof ctx->incarnation, 0) != sizeof ctx->incarnation) ctx->incarnation = (uint64_t)dpi_now();
	int error = read_settings(ctx, attr);
	if (!error) error = dpi_bells_create(&ctx->bells, ctx->incarnation);
	if (!error) error = dpi_loop_open(ctx);
	if (!error) error = dpi_control_open(ctx);
	if (!error) error = dpi_carriers_open(ctx);
	if (!error) error = dpi_memory_open(ctx);
	if (!error) error = dpi_flows_open(ctx);
	if (!error) error = dpi_descriptors_open(ctx); /* its service after those that ring */
	if (!error) error = dpi_loop_start(ctx);
	if (!error) error = dpi_control_start(ctx);
	if (!error) {
		dpi_log_set(level_of(ctx), ctx->node);
		ctx->handle = (DPI_Context)(uintptr_t)dpi_handle_open(DPI_HANDLE_CONTEXT, ctx);
		if (!ctx->handle) error = dpi_fail(DPI_ERR_LIMIT, "%u handles are open", DPI_HANDLE_MAX);
	}
	return error;
}

int DPI_Init_Abi(uint32_t version, const DPI_Init_Attr *attr, DPI_Context *out)
{
	if (!out) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Init: ctx is NULL: pass where the context may go");
	if (!dpi_context()) *out = NULL; /* or it may be the program's only handle of the open one */
	if (version >> 16 != DPI_VERSION_MAJOR || version >> 8 > DPI_VERSION >> 8)
		return dpi_fail(DPI_ERR_VERSION, "the program was compiled with dpi.h %u.%u.%u, the loaded library %s is %d.%d.%d: install the same version of both",
				version >> 16, version >> 8 & 255, version & 255, dpi_library_path(), DPI_VERSION_MAJOR, DPI_VERSION_MINOR,
				DPI_VERSION_PATCH);
	int error = check_attr(attr);
	if (error) return error;
	error = dpi_handles_open(); /* FORK in a forked child of a process that had a context */
	if (error) return error;
	struct dpi_context *ctx = calloc(1, sizeof *ctx);
	if (!ctx) return dpi_fail(DPI_ERR_MEMORY, "no memory for a context");
	if (!dpi_context_set(ctx)) {
		free(ctx);
		return dpi_fail(DPI_ERR_STATE, "this process has a context already: DPI_Finalize it first");
	}
	int before = dpi_aside();
	error = dpi_aside_over(before, context_open(ctx, attr));
	if (error) {
		before = dpi_aside();
		context_free(ctx);
		dpi_aside_over(before, DPI_SUCCESS);
		return error;
	}
	*out = ctx->handle;
	return DPI_SUCCESS;
}

/* The registry's node does not leave before the others have come, or a short program would end before its last process finds the
 * cluster. At most 1 s: a process that never starts is the launcher's affair. */
static void await_all(struct dpi_context *ctx)
{
	int64_t deadline = dpi_now() + 1000000000;
	struct dpi_node node;
	for (int i = 0; ctx->registry && i < ctx->expected_nodes;) {
		uint32_t seen = atomic_load_explicit(&ctx->cluster->changes, memory_order_acquire);
		if (dpi_cluster_find(ctx, i, &node)) i++;
		else if (dpi_cluster_wait(ctx, seen, deadline)) return;
	}
}

int DPI_Finalize(DPI_Context handle)
{
	int error;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	if (atomic_load(&ctx->inside))
		return dpi_fail(DPI_ERR_THREAD, "DPI_Finalize: %d calls of other threads are waiting in the library: end them first", atomic_load(&ctx->inside));
	int before = dpi_aside();
	await_all(ctx);
	dpi_flows_finish(ctx);
	dpi_memory_finish(ctx); /* publish, close handles: peers are still there */
	dpi_handle_close((uint64_t)(uintptr_t)handle);
	dpi_control_stop(ctx);
	context_free(ctx);
	return dpi_aside_over(before, DPI_SUCCESS);
}
