/* SPDX-License-Identifier: Apache-2.0
 * handle.h: opaque handles. A handle is an index and a generation, never a pointer, so that a closed or invented
 * one is an error and not a crash. */
#ifndef DPI_CORE_HANDLE_H
#define DPI_CORE_HANDLE_H

#include <stdatomic.h>
#include <stdint.h>

enum dpi_handle_kind {
	DPI_HANDLE_CONTEXT = 1,
	DPI_HANDLE_BUFFER,
	DPI_HANDLE_REQUEST,
	DPI_HANDLE_MEMORY,
	DPI_HANDLE_SCHEMA, /* needs no context */
	DPI_HANDLE_FLOW,
	DPI_HANDLE_SOURCE,
	DPI_HANDLE_TARGET,
	DPI_HANDLE_BLOOM,
	DPI_HANDLE_KINDS
};

#define DPI_HANDLE_INDEX_BITS 20
#define DPI_HANDLE_MAX (1u << DPI_HANDLE_INDEX_BITS)

struct dpi_handle_slot {
	_Atomic uint64_t handle; /* the live handle of this slot; 0: free */
	void *object;
};
/* DPI_HANDLE_MAX slots, wiped in a forked child (MADV_WIPEONFORK), so that every handle is dead there at no cost here. */
extern struct dpi_handle_slot *const dpi_handle_slots __attribute__((visibility("hidden")));

int dpi_handles_open(void); /* make the table; again is harmless */

/* A handle for object; 0 when DPI_HANDLE_MAX are open. Kind sits in the top byte, then generation, then index (from 1). */
uint64_t dpi_handle_open(enum dpi_handle_kind kind, void *object);
void dpi_handle_close(uint64_t handle);

/* Call on each open handle of a kind, which it may close; while no other thread opens any. */
void dpi_handle_each(enum dpi_handle_kind kind, void (*each)(uint64_t handle, void *object));

/* Is it a live one of this kind now? For those who get the object later, under a lock that whoever closes the handle takes. */
static inline int dpi_handle_alive(enum dpi_handle_kind kind, uint64_t handle)
{
	if (handle >> 56 != (uint64_t)kind) return 0;
	struct dpi_handle_slot *s = dpi_handle_slots + (handle & (DPI_HANDLE_MAX - 1));
	return atomic_load_explicit(&s->handle, memory_order_relaxed) == handle;
}

/* The object, or NULL if the handle is not a live one of this kind. */
static inline void *dpi_handle_get(enum dpi_handle_kind kind, uint64_t handle)
{
	if (__builtin_expect(handle >> 56 != (uint64_t)kind, 0)) return 0;
	struct dpi_handle_slot *s = dpi_handle_slots + (handle & (DPI_HANDLE_MAX - 1));
	/* acquire pairs with the release in dpi_handle_open: object is set before the handle */
	if (__builtin_expect(atomic_load_explicit(&s->handle, memory_order_acquire) != handle, 0)) return 0;
	void *object = s->object;
	if (!object) __builtin_unreachable(); /* so that no caller looks again */
	return object;
}

/* Why dpi_handle_get gave NULL: DPI_ERR_HANDLE, STATE or FORK, with the sentence. what: "buffer". */
int dpi_handle_error(enum dpi_handle_kind kind, uint64_t handle);

#endif
