/* SPDX-License-Identifier: Apache-2.0
 * local.c: local memory: registered, or allocated by the library. */
#include <stdlib.h>

#include "handle.h"
#include "home.h"
#include "layer.h"
#include "window.h"

struct dpi_local_memory {
	struct dpi_context *ctx;
	struct dpi_window window;
	bool allocated;
	DPI_Memory handle;
	struct dpi_local_memory *next;
};

static int keep(struct dpi_context *ctx, struct dpi_local_memory *m, DPI_Memory *out)
{
	uint64_t handle = dpi_handle_open(DPI_HANDLE_MEMORY, m);
	if (!handle) return dpi_fail(DPI_ERR_LIMIT, "%u handles are open", DPI_HANDLE_MAX);
	*out = m->handle = (DPI_Memory)(uintptr_t)handle;
	pthread_mutex_lock(&ctx->memory->lock);
	m->next = ctx->memory->local;
	ctx->memory->local = m;
	pthread_mutex_unlock(&ctx->memory->lock);
	return DPI_SUCCESS;
}

int DPI_Register_Memory(void *addr, size_t size, DPI_Context handle, DPI_Memory *memory)
{
	int error;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	if (!addr || !memory || !size)
		return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Register_Memory: %s", !addr ? "addr is NULL: pass the memory to register" : !memory ? "memory is NULL: pass where the handle may go" : "size is 0: register a byte or more");
	struct dpi_local_memory *m = calloc(1, sizeof *m);
	if (!m) return dpi_fail(DPI_ERR_MEMORY, "no memory for a registration");
	m->ctx = ctx;
	int fd = -1;
	uint64_t offset = 0;
	dpi_local_memory_find(ctx, addr, size, &fd, &offset);
	dpi_window_wrap(addr, size, fd, offset, &m->window);
	error = dpi_window_expose(ctx, &m->window, 0); /* for this process's own operations: no access from outside */
	if (!error) error = keep(ctx, m, memory);
	if (error) {
		dpi_window_withdraw(ctx, &m->window);
		free(m);
	}
	return error;
}

int DPI_Allocate_Memory(size_t size, int huge_pages, int numa, DPI_Context handle, void **addr, DPI_Memory *memory)
{
	int error;
	struct dpi_context *ctx = dpi_context_get(handle, &error);
	if (!ctx) return error;
	if (!addr || !memory || !size)
		return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Allocate_Memory: %s", !addr ? "addr is NULL: pass where the address may go" : !memory ? "memory is NULL: pass where the handle may go" : "size is 0: ask for a byte or more");
	if (huge_pages < DPI_HUGE_NEVER || huge_pages > DPI_HUGE_REQUIRE)
		return dpi_fail(DPI_ERR_ARGUMENT, "DPI_Allocate_Memory: huge_pages is %d: it is one of DPI_HUGE_*", huge_pages);
	struct dpi_local_memory *m = calloc(1, sizeof *m);
	if (!m) return dpi_fail(DPI_ERR_MEMORY, "no memory for an allocation");
	m->ctx = ctx;
	m->allocated = true;
	error = dpi_window_allocate(size, huge_pages, numa, &m->window);
	if (!error) error = dpi_window_expose(ctx, &m->window, 0);
	if (!error) error = keep(ctx, m, memory);
	if (error) {
		if (m->window.mapping) dpi_window_free(ctx, &m->window);
		free(m);
		return error;
	}
	*addr = m->window.address;
	return DPI_SUCCESS;
}

bool dpi_local_memory_find(struct dpi_context *ctx, const void *address, uint64_t size, int *fd, uint64_t *offset)
{
	uintptr_t a = (uintptr_t)address;
	bool found = false;
	pthread_mutex_lock(&ctx->memory->lock);
	for (struct dpi_local_memory *m = ctx->memory->local; m && !found; m = m->next) {
		uintptr_t start = (uintptr_t)m->window.address;
		if (!m->allocated || a < start || a - start > m->window.length || size > m->window.length - (a - start)) continue;
		*fd = m->window.fd;
		*offset = a - start;
		found = true;
	}
	pthread_mutex_unlock(&ctx->memory->lock);
	return found;
}

/* Does a region lie over it? */
static bool covered(struct dpi_context *ctx, const struct dpi_local_memory *m)
{
	uintptr_t start = (uintptr_t)m->window.address, end = start + m->window.length;
	bool found = false;
	pthread_mutex_lock(&ctx->memory->lock);
	for (struct dpi_home *h = ctx->memory->home; h && !found; h = h->next) {
		uintptr_t a = (uintptr_t)h->region.address;
		found = h->shape.use == DPI_USE_REGION && !h->region.mapping && a < end && a + h->region.length > start;
	}
	pthread_mutex_unlock(&ctx->memory->lock);
	return found;
}

static void drop(struct dpi_local_memory *m)
{
	dpi_handle_close((uint64_t)(uintptr_t)m->handle);
	if (m->allocated) dpi_window_free(m->ctx, &m->window);
	else dpi_window_withdraw(m->ctx, &m->window);
	free(m);
}

static int end(DPI_Memory handle, bool allocated, const char *call, const char *other)
{
	struct dpi_local_memory *m = dpi_handle_get(DPI_HANDLE_MEMORY, (uint64_t)(uintptr_t)handle);
	if (!m) return dpi_handle_error(DPI_HANDLE_MEMORY, (uint64_t)(uintptr_t)handle);
	if (m->allocated != allocated) return dpi_fail(DPI_ERR_HANDLE, "%s: this memory is ended by %s", call, other);
	if (covered(m->ctx, m)) return dpi_fail(DPI_ERR_STATE, "%s: a region lies over the memory: DPI_Destroy_Buffer comes first", call);
	struct dpi_memory_layer *layer = m->ctx->memory;
	pthread_mutex_lock(&layer->lock);
	struct dpi_local_memory **p = &layer->local;
	while (*p && *p != m) p = &(*p)->next;
	if (*p) *p = m->next;
	pthread_mutex_unlock(&layer->lock);
	drop(m);
	return DPI_SUCCESS;
}

int DPI_Deregister_Memory(DPI_Memory handle)
{
	return end(handle, false, "DPI_Deregister_Memory", "DPI_Free_Memory");
}

int DPI_Free_Memory(DPI_Memory handle)
{
	return end(handle, true, "DPI_Free_Memory", "DPI_Deregister_Memory");
}

void dpi_local_memory_close(struct dpi_context *ctx)
{
	while (ctx->memory->local) {
		struct dpi_local_memory *m = ctx->memory->local;
		ctx->memory->local = m->next;
		drop(m);
	}
}
