/* SPDX-License-Identifier: Apache-2.0
 * topology.h: the machine's processors, memory and network devices, and where a progress thread and windows go on it. */
#ifndef DPI_CORE_TOPOLOGY_H
#define DPI_CORE_TOPOLOGY_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dpi_context;

enum { DPI_TOPOLOGY_NODES = 64, DPI_TOPOLOGY_DEVICES = 64 };

struct dpi_numa {
	int index; /* the kernel's */
	uint64_t memory; /* bytes */
	cpu_set_t processors;
};

/* A network device: an interface (eth0), or an RDMA device (mlx5_0). */
struct dpi_device {
	char name[32];
	char bus[16]; /* of PCI, 0000:17:00.0; empty: not said */
	bool rdma;
	int numa; /* index; -1: of none, or of several */
	cpu_set_t near; /* empty: as near to every processor */
};

struct dpi_topology {
	const char *source; /* "hwloc", "/sys" */
	bool this_machine;  /* false: hwloc replays another one (HWLOC_XMLFILE, HWLOC_SYNTHETIC) */
	int packages, cores, processors;
	uint64_t cache[3]; /* bytes of one, first level (data) to third */
	cpu_set_t all;
	int nodes, devices;
	struct dpi_numa node[DPI_TOPOLOGY_NODES];
	struct dpi_device device[DPI_TOPOLOGY_DEVICES];
};

/* By hwloc if it can be loaded, else by /sys. To be freed; NULL: no memory. hwloc does not stay loaded. */
struct dpi_topology *dpi_topology_read(void);
bool dpi_topology_by_hwloc(struct dpi_topology *t); /* topology_hwloc.c; false: no hwloc */

/* A device seen from a processor: 1: near, 0: far, -1: not known, or as near to all. */
int dpi_topology_near(const struct dpi_topology *t, const char *device, int processor);
/* Seen from where this thread runs. The topology is read into *t, where that is NULL and the machine has several NUMA nodes. */
int dpi_topology_near_here(struct dpi_topology **t, const char *device);

/* Where things go, and why. */
struct dpi_placement {
	cpu_set_t processors; /* of the progress thread; empty: where it is started */
	int numa;	      /* of windows whose buffers say nothing, as DPI_NUMA_NODE(n); DPI_NUMA_ANY: where they are made */
	char reason[320];
};

/* Near a device, for a process that may run on allowed. A pure function. */
void dpi_placement_near(const struct dpi_topology *t, const char *device, const cpu_set_t *allowed, struct dpi_placement *p);
/* Of a context whose transports are open, into ctx->placement: DPI_BIND, else near the device of the first transport that has one.
 * The topology is read only where there is something to choose, and freed then. DPI_ERR_CONFIG: DPI_BIND is no list. */
int dpi_placement_choose(struct dpi_context *ctx);

#endif
