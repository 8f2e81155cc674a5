/* SPDX-License-Identifier: Apache-2.0
 * topology_hwloc.c: the machine as hwloc sees it. hwloc is loaded for the moment of reading; its own variables
 * (HWLOC_XMLFILE, HWLOC_SYNTHETIC, HWLOC_THISSYSTEM) replay other machines. */
#include "topology.h"

#include "dpi_build.h"

#if DPI_BUILD_HWLOC
#include <dlfcn.h>
#include <hwloc.h>
#include <stdio.h>
#include <string.h>

/* hwloc's functions by their names, without linking it. */
#define CALLS(X)                                              \
	X(init, hwloc_topology_init)                          \
	X(filter, hwloc_topology_set_io_types_filter)         \
	X(load, hwloc_topology_load)                          \
	X(destroy, hwloc_topology_destroy)                    \
	X(this_machine, hwloc_topology_is_thissystem)         \
	X(depth, hwloc_get_type_depth)                        \
	X(count, hwloc_get_nbobjs_by_depth)                   \
	X(object, hwloc_get_obj_by_depth)                     \
	X(next, hwloc_bitmap_next)                            \
	X(equal, hwloc_bitmap_isequal)                        \
	X(version, hwloc_get_api_version)
static struct {
#define POINTER(name, symbol) __typeof__(symbol) *name;
	CALLS(POINTER)
} hw;

/* The module, NULL without. */
static void *load(void)
{
	bool good = true;
	void *module = dlopen("libhwloc.so.15", RTLD_NOW | RTLD_LOCAL);
	if (!module) return NULL;
#define FIND(name, symbol)                                    \
	*(void **)&hw.name = dlsym(module, #symbol);          \
	good = good && hw.name;
	CALLS(FIND)
	/* its structures are those of the header only within one major version */
	if (good && hw.version() >> 16 == HWLOC_API_VERSION >> 16) return module;
	dlclose(module);
	return NULL;
}

static int number_of(hwloc_topology_t t, hwloc_obj_type_t type)
{
	int depth = hw.depth(t, type);
	return depth == HWLOC_TYPE_DEPTH_UNKNOWN || depth == HWLOC_TYPE_DEPTH_MULTIPLE ? 0 : (int)hw.count(t, depth);
}

static hwloc_obj_t at(hwloc_topology_t t, hwloc_obj_type_t type, int i)
{
	return hw.object(t, hw.depth(t, type), (unsigned)i);
}

static void copy_set(hwloc_const_bitmap_t from, cpu_set_t *to)
{
	CPU_ZERO(to);
	for (int i = from ? hw.next(from, -1) : -1; i >= 0 && i < CPU_SETSIZE; i = hw.next(from, i)) CPU_SET((size_t)i, to);
}

static void read_device(hwloc_topology_t t, hwloc_obj_t o, struct dpi_topology *out)
{
	hwloc_obj_osdev_type_t type = o->attr->osdev.type;
	if (type != HWLOC_OBJ_OSDEV_NETWORK && type != HWLOC_OBJ_OSDEV_OPENFABRICS) return;
	if (!o->name || strlen(o->name) >= sizeof out->device->name || out->devices == DPI_TOPOLOGY_DEVICES) return;
	struct dpi_device *d = &out->device[out->devices++];
	*d = (struct dpi_device){ .rdma = type == HWLOC_OBJ_OSDEV_OPENFABRICS, .numa = -1 };
	strcpy(d->name, o->name);
	hwloc_obj_t root = hw.object(t, 0, 0), near = o;
	for (; near && !near->cpuset; near = near->parent)
		if (near->type == HWLOC_OBJ_PCI_DEVICE && !*d->bus) {
			const struct hwloc_pcidev_attr_s *p = &near->attr->pcidev;
			snprintf(d->bus, sizeof d->bus, "%04x:%02x:%02x.%01x", (unsigned)p->domain & 0xffff, p->bus, p->dev, p->func);
		}
	if (!near || hw.equal(near->cpuset, root->cpuset)) return;
	copy_set(near->cpuset, &d->near);
	int numa = hw.next(near->nodeset, -1);
	d->numa = hw.next(near->nodeset, numa) < 0 ? numa : -1;
}

static void read_all(hwloc_topology_t t, struct dpi_topology *out)
{
	static const hwloc_obj_type_t caches[] = { HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE };
	out->source = "hwloc";
	out->this_machine = hw.this_machine(t);
	out->packages = number_of(t, HWLOC_OBJ_PACKAGE);
	out->cores = number_of(t, HWLOC_OBJ_CORE);
	out->processors = number_of(t, HWLOC_OBJ_PU);
	copy_set(hw.object(t, 0, 0)->cpuset, &out->all);
	for (int i = 0; i < 3; i++)
		if (number_of(t, caches[i])) out->cache[i] = at(t, caches[i], 0)->attr->cache.size;
	int nodes = number_of(t, HWLOC_OBJ_NUMANODE);
	for (int i = 0; i < nodes && i < DPI_TOPOLOGY_NODES; i++) {
		hwloc_obj_t o = at(t, HWLOC_OBJ_NUMANODE, i);
		struct dpi_numa *n = &out->node[out->nodes++];
		n->index = (int)o->os_index;
		n->memory = o->attr->numanode.local_memory;
		copy_set(o->cpuset, &n->processors);
	}
	int devices = number_of(t, HWLOC_OBJ_OS_DEVICE);
	for (int i = 0; i < devices; i++) read_device(t, at(t, HWLOC_OBJ_OS_DEVICE, i), out);
}

bool dpi_topology_by_hwloc(struct dpi_topology *out)
{
	hwloc_topology_t t;
	void *module = load();
	if (!module) return false;
	bool good = !hw.init(&t);
	if (good) {
		hw.filter(t, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
		good = !hw.load(t) && hw.object(t, 0, 0);
		if (good) read_all(t, out);
		hw.destroy(t);
	}
	dlclose(module);
	return good;
}
#else
bool dpi_topology_by_hwloc(struct dpi_topology *out)
{
	(void)out;
	return false;
}
#endif
