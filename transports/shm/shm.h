/* SPDX-License-Identifier: Apache-2.0
 * shm.h: the shared memory transport's own types. */
#ifndef DPI_SHM_H
#define DPI_SHM_H

#include <dpi_transport.h>
#include <stdbool.h>
#include <sys/queue.h>

#define SHM_LANES 16   /* lanes share nothing, so their number costs nothing */
#define SHM_IOV 1024   /* pieces of one put or get */
#define SHM_MAGIC 0x6d687331u

/* What peers get: the address of a node, without its number, as it is asked for before there is one; and the key of a window, whose memory
 * comes as a descriptor beside it. */
struct shm_address {
	uint32_t magic, zero;
	uint64_t incarnation;
	uint8_t boot[16]; /* of the kernel that runs it */
};

struct shm_key {
	uint32_t magic, access;
	uint64_t incarnation, fd_offset, length;
};
_Static_assert(sizeof(struct shm_key) <= DPI_TP_KEY_MAX, "fits a key");

struct DPI_Tp {
	const DPI_Tp_Core *core;
	uint8_t boot[16];
	LIST_HEAD(, DPI_Tp_Window) windows;
	LIST_HEAD(, DPI_Tp_Endpoint) endpoints[SHM_LANES];
};

struct DPI_Tp_Window {
	DPI_Tp *tp;
	LIST_ENTRY(DPI_Tp_Window) link;
};

struct DPI_Tp_Endpoint {
	DPI_Tp *tp;
	int ring_node; /* for core->ring */
	uint64_t incarnation;
	LIST_HEAD(, DPI_Tp_Remote) remotes;
	LIST_ENTRY(DPI_Tp_Endpoint) link;
};

struct DPI_Tp_Remote {
	DPI_Tp_Endpoint *endpoint;
	uint8_t *base; /* of the window */
	uint64_t length;
	uint32_t access;
	void *mapping; /* whole pages around it */
	uint64_t mapping_length;
	LIST_ENTRY(DPI_Tp_Remote) link;
};

/* return shm_fail(tp, DPI_ERR_…, "sentence", …) */
#define shm_fail(tp, ...) ((tp)->core->fail_text((tp)->core->self, __VA_ARGS__))

/* window.c */
int shm_expose(DPI_Tp *tp, const DPI_Tp_Memory *memory, DPI_Tp_Window **window, DPI_Tp_Key *key);
int shm_withdraw(DPI_Tp_Window *window);
int shm_attach(DPI_Tp_Endpoint *endpoint, const DPI_Tp_Key *key, uint64_t length, DPI_Tp_Remote **remote, void **direct);
int shm_detach(DPI_Tp_Remote *remote);

/* operation.c */
int shm_put(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, const DPI_Tp_Notify *notify,
	    uint32_t flags, void *cookie);
int shm_get(DPI_Tp_Remote *remote, const struct iovec *iov, int count, uint64_t offset, void *cookie);
int shm_fetch_add(DPI_Tp_Remote *remote, uint64_t offset, uint64_t operand, uint64_t *result, void *cookie);
int shm_compare_swap(DPI_Tp_Remote *remote, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *result,
		     void *cookie);
int shm_flush(DPI_Tp_Endpoint *endpoint, void *cookie);

#endif
