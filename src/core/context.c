/* SPDX-License-Identifier: Apache-2.0
 * context.c: the open context, and the public calls about the cluster. */
#include "context.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "cluster.h"
#include "handle.h"
#include "peer.h"
#include "registry.h"

static struct dpi_context *_Atomic current;

struct dpi_context *dpi_context(void)
{
	return atomic_load_explicit(&current, memory_order_acquire);
}

bool dpi_context_set(struct dpi_context *ctx)
{
	struct dpi_context *none = NULL;
	if (!ctx) {
		atomic_store_explicit(&current, NULL, memory_order_release);
		return true;
	}
	return atomic_compare_exchange_strong(&current, &none, ctx);
}

struct dpi_context *dpi_context_get(DPI_Context handle, int *error)
{
	struct dpi_context *ctx = dpi_handle_get(DPI_HANDLE_CONTEXT, (uint64_t)(uintptr_t)handle);
	if (!ctx) *error = dpi_handle_error(DPI_HANDLE_CONTEXT, (uint64_t)(uintptr_t)handle);
	return ctx;
}

const char *dpi_library_path(void)
{
	Dl_info info;
	static const char anchor;
	return dladdr(&anchor, &info) && info.dli_fname ? info.dli_fname : "?";
}

int dpi_check_name(const char *call, const char *name)
{
	size_t n;
	if (!name) return dpi_fail(DPI_ERR_ARGUMENT, "%s: name is NULL: pass one of 1 to %d bytes", call, DPI_NAME_MAX - 1);
	n = strnlen(name, DPI_NAME_MAX);
	if (!n || n == DPI_NAME_MAX)
		return dpi_fail(DPI_ERR_ARGUMENT, "%s: a name has 1 to %d bytes, this one has %s", call, DPI_NAME_MAX - 1, n ? "more" : "none");
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
			return dpi_fail(DPI_ERR_ARGUMENT, "%s: byte %zu of the name is a control character", call, i);
	return DPI_SUCCESS;
}

int dpi_take(const char *call, void *to, size_t size, const void *from)
{
	size_t given;
	memcpy(&given, from, sizeof given);
	if (given < sizeof(size_t)) return dpi_fail(DPI_ERR_ARGUMENT, "%s: attr->size is %zu: start from the attribute's _INIT macro", call, given);
	for (size_t i = size; i < given; i++)
		if (((const unsigned char *)from)[i])
			return dpi_fail(DPI_ERR_UNSUPPORTED, "%s: attr has a field at byte %zu that this library (%s) does not know", call, i, dpi_library_path());
	memcpy(to, from, given < size ? given : size);
	return DPI_SUCCESS;
}

int dpi_give(const char *call, void *to, const void *from, size_t known)
{
	size_t size;
	if (!to) return dpi_fail(DPI_ERR_ARGUMENT, "%s: the struct to fill is NULL: pass where one lies, its size set", call);
	memcpy(&size, to, sizeof size);
	if (size < sizeof size)
		return dpi_fail(DPI_ERR_ARGUMENT, "%s: size is %zu: set it to the struct's sizeof, %zu here, before the call", call, size, known);
	if (!from) return DPI_SUCCESS; /* a look before the work */
	if (size > known) memset((char *)to + known, 0, size - known);
	size_t n = size < known ? size : known;
	memcpy((char *)to + sizeof size, (const char *)from + sizeof size, n - sizeof size);
	return DPI_SUCCESS;
}

int dpi_timeout_check(const char *call, const char *field, int64_t timeout_us)
{
	if (timeout_us >= DPI_NO_WAIT) return DPI_SUCCESS;
	return dpi_fail(DPI_ERR_ARGUMENT, "%s: %s is %lld: it is DPI_NO_WAIT, 0 for the default, or microseconds", call, field, (long long)timeout_us);
}

int DPI_Get_Version(uint32_t *version, const char **path)
{
	if (version) *version = DPI_VERSION;
	if (path) *path = dpi_library_path();
	return DPI_SUCCESS;
}

int DPI_Get_Node_Id(DPI_Context handle, int *node)
{
	int error;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	if (!node) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Get_Node_Id: node is NULL: pass where it may go");
	*node = ctx->node;
	return DPI_SUCCESS;
}

int DPI_Get_Node_Count(DPI_Context handle, int *count)
{
	int error;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	if (!count) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Get_Node_Count: count is NULL: pass where it may go");
	*count = ctx->expected_nodes ? ctx->expected_nodes : dpi_cluster_count(ctx);
	return DPI_SUCCESS;
}

int DPI_Get_Node_Info(int node, DPI_Context handle, DPI_Node_Info *info)
{
	int error;
	struct dpi_node found;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	error = dpi_give("DPI_Get_Node_Info", info, NULL, sizeof *info);
	if (error) return error;
	if (node == DPI_NODE_SELF) node = ctx->node;
	error = dpi_cluster_node(ctx, node, dpi_deadline(0, ctx->timeout_us), &found);
	if (error) return error;
	DPI_Node_Info all = { .node = node, .alive = found.alive, .pid = found.pid };
	snprintf(all.host, sizeof all.host, "%s", found.host);
	struct dpi_peer *peer = dpi_peer_find(ctx, node);
	if (node == ctx->node) {
		snprintf(all.transport, sizeof all.transport, "local");
		snprintf(all.reason, sizeof all.reason, "local: this process");
	} else if (peer) {
		struct dpi_way way;
		dpi_peer_choose(ctx, peer, &way);
		if (way.carrier) snprintf(all.transport, sizeof all.transport, "%s", way.carrier->name);
		memcpy(all.reason, way.reason, sizeof way.reason);
	}
	return dpi_give("DPI_Get_Node_Info", info, &all, sizeof all);
}

int DPI_Barrier(const char *name, uint32_t count, int64_t timeout_us, DPI_Context handle)
{
	int error;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	error = dpi_check_name("DPI_Barrier", name);
	if (error) return error;
	if (dpi_timeout_check("DPI_Barrier", "timeout_us", timeout_us)) return DPI_ERR_ARGUMENT;
	if (!count) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Barrier: count is 0: a barrier has at least one caller");
	return dpi_barrier(ctx, name, count, dpi_deadline(timeout_us, ctx->timeout_us));
}

int DPI_Get_Setting(const char *name, DPI_Context handle, char *value, size_t size, const char **origin)
{
	int error;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	if (!name || (!value && size)) return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Get_Setting: %s", name ? "value is NULL: pass where the text may go, or size 0" : "name is NULL: pass a setting's, dpi-info --settings lists them");
	int i = dpi_setting_find(name);
	if (i < 0) return dpi_fail(DPI_ERR_CONFIG, "there is no setting '%s': dpi-info --settings lists them", name);
	const char *text = ctx->settings.value[i];
	if (strlen(text) >= size) {
		if (size) memcpy(value, text, size - 1), value[size - 1] = 0;
		return dpi_fail(DPI_ERR_SIZE, "setting DPI_%s takes %zu bytes, there is room for %zu", dpi_setting_defs[i].name, strlen(text) + 1, size);
	}
	strcpy(value, text);
	if (origin) *origin = ctx->settings.origin[i];
	return DPI_SUCCESS;
}

int DPI_Get_Peer_Stats(int node, DPI_Context handle, DPI_Peer_Stats *stats)
{
	int error;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	error = dpi_give("DPI_Get_Peer_Stats", stats, NULL, sizeof *stats);
	if (error) return error;
	DPI_Peer_Stats all = { 0 };
	struct dpi_peer *peer = dpi_peer_find(ctx, node == DPI_NODE_SELF ? ctx->node : node);
	if (!peer && (node < DPI_NODE_SELF || node >= (ctx->expected_nodes ? ctx->expected_nodes : dpi_cluster_count(ctx))))
		return dpi_fail(DPI_ERR_NODE, "there is no node %d in the cluster", node);
	if (peer) {
#define COPY(name, unit, text) all.name = atomic_load_explicit(&peer->stats.name, memory_order_relaxed);
		DPI_PEER_STATS(COPY)
#undef COPY
	}
	return dpi_give("DPI_Get_Peer_Stats", stats, &all, sizeof all);
}
