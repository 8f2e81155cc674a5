/* SPDX-License-Identifier: Apache-2.0
 * handle.c: the table of open handles. */
#include "handle.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "context.h"

/* Virtual memory: only pages in use become resident. */
static struct dpi_handle_slot slots[DPI_HANDLE_MAX] __attribute__((aligned(65536)));
struct dpi_handle_slot *const dpi_handle_slots = slots;
struct dpi_slot_1 *const dpi_slots_1 = (struct dpi_slot_1 *)(void *)slots; /* the same, for programs: dpi.h */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t generations[DPI_HANDLE_MAX];
static uint32_t next_free[DPI_HANDLE_MAX]; /* first in, first out: a closed handle's slot is reused as late as can be */
static uint32_t free_head, free_tail, used = 1; /* index 0 is never given out */

static _Atomic pid_t owner; /* the process that made the table */
static atomic_bool bound;   /* a handle that belongs to a context was ever opened in it */

static int forked(void)
{
	return dpi_fail(DPI_ERR_FORK, "process %d is a forked child of %d, whose %s it cannot use: %s", (int)getpid(),
			(int)owner, bound ? "context" : "schemas",
			bound ? "call DPI_Init in a program started by exec" : "make its own");
}

int dpi_handles_open(void)
{
	int error = 0;
	size_t size = sizeof(struct dpi_handle_slot) * DPI_HANDLE_MAX;
	if (owner && owner != getpid()) { /* before the lock, which a thread of the parent may have held at the fork */
		if (bound) return forked();
		lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER; /* the parent had schemas only, and the table is wiped */
		owner = getpid();
	}
	pthread_mutex_lock(&lock);
	if (!owner) {
		if (madvise(slots, size, MADV_WIPEONFORK)) error = dpi_fail_errno(DPI_ERR_MEMORY, "the table of handles (%zu bytes) cannot be kept from forked children", size);
		else owner = getpid();
	}
	pthread_mutex_unlock(&lock);
	return error;
}

uint64_t dpi_handle_open(enum dpi_handle_kind kind, void *object)
{
	uint64_t handle = 0;
	if (kind != DPI_HANDLE_SCHEMA) bound = true;
	pthread_mutex_lock(&lock);
	uint32_t at = 0;
	if (free_head && (free_head != free_tail || used == DPI_HANDLE_MAX)) {
		at = free_head;
		free_head = next_free[at];
		if (!free_head) free_tail = 0;
	} else if (used < DPI_HANDLE_MAX) {
		at = used++;
	}
	if (at) {
		handle = (uint64_t)kind << 56 | (uint64_t)(++generations[at]) << DPI_HANDLE_INDEX_BITS | at;
		dpi_handle_slots[at].object = object;
		/* release pairs with the acquire in dpi_handle_get */
		atomic_store_explicit(&dpi_handle_slots[at].handle, handle, memory_order_release);
	}
	pthread_mutex_unlock(&lock);
	return handle;
}

void dpi_handle_close(uint64_t handle)
{
	uint32_t at = (uint32_t)(handle & (DPI_HANDLE_MAX - 1));
	pthread_mutex_lock(&lock);
	if (at && atomic_load_explicit(&dpi_handle_slots[at].handle, memory_order_relaxed) == handle) {
		atomic_store_explicit(&dpi_handle_slots[at].handle, 0, memory_order_relaxed);
		dpi_handle_slots[at].object = NULL;
		next_free[at] = 0;
		if (free_tail) next_free[free_tail] = at;
		else free_head = at;
		free_tail = at;
	}
	pthread_mutex_unlock(&lock);
}

void dpi_handle_each(enum dpi_handle_kind kind, void (*each)(uint64_t handle, void *object))
{
	for (uint32_t i = 1; i < used; i++) {
		uint64_t handle = atomic_load_explicit(&dpi_handle_slots[i].handle, memory_order_acquire);
		if (handle >> 56 == (uint64_t)kind) each(handle, dpi_handle_slots[i].object);
	}
}

int dpi_handle_error(enum dpi_handle_kind kind, uint64_t handle)
{
	static const char *const names[] = { "", "context", "buffer", "request", "memory", "schema", "flow", "source", "target", "Bloom filter" };
	unsigned other = (unsigned)(handle >> 56);
	if (owner && owner != getpid()) return forked();
	if (!handle && (dpi_context() || kind == DPI_HANDLE_SCHEMA))
		return dpi_fail(DPI_ERR_ARGUMENT, "the %s handle is NULL: pass what the call that creates or opens one gave", names[kind]);
	if (other >= DPI_HANDLE_CONTEXT && other < DPI_HANDLE_KINDS && other != kind)
		return dpi_fail(DPI_ERR_HANDLE, "a %s handle was passed where a %s is needed: look at the order of the arguments", names[other], names[kind]);
	if (!dpi_context() && kind != DPI_HANDLE_SCHEMA)
		return dpi_fail(DPI_ERR_STATE, "no context is open: DPI_Init comes first, and no call follows DPI_Finalize but DPI_Init");
	return dpi_fail(DPI_ERR_HANDLE, "the %s handle is closed, or was never opened: open it again, or see who closed it", names[kind]);
}
