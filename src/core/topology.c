/* SPDX-License-Identifier: Apache-2.0
 * topology.c: the machine: by hwloc, else as /sys tells. */
#include "topology.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "affinity.h"

#define CPU "/sys/devices/system/cpu"
#define NODE "/sys/devices/system/node"

/* The first line of a file, without its end. */
static bool line_of(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool line_of(char *text, size_t size, const char *format, ...)
{
	char path[400];
	va_list args;
	va_start(args, format);
	vsnprintf(path, sizeof path, format, args);
	va_end(args);
	FILE *f = fopen(path, "re");
	bool good = f && fgets(text, (int)size, f);
	if (f) fclose(f);
	if (good) text[strcspn(text, "\n")] = 0;
	return good;
}

/* How many different words the file has that each processor has in its folder. */
static int different(const char *file)
{
	struct word {
		char text[64];
	} *seen = NULL, now;
	int count = 0;
	DIR *d = opendir(CPU);
	for (struct dirent *e; d && (e = readdir(d));) {
		int i = 0;
		if (strncmp(e->d_name, "cpu", 3) || !strchr("0123456789", e->d_name[3]) || !e->d_name[3]) continue;
		if (!line_of(now.text, sizeof now.text, CPU "/%.20s/topology/%s", e->d_name, file)) continue;
		while (i < count && strcmp(seen[i].text, now.text)) i++;
		struct word *grown = i == count ? realloc(seen, (size_t)(count + 1) * sizeof *seen) : NULL;
		if (!grown) continue;
		seen = grown;
		seen[count++] = now;
	}
	if (d) closedir(d);
	free(seen);
	return count;
}

static void read_processors(struct dpi_topology *t)
{
	char level[16], type[32], size[32], online[1024];
	t->packages = different("physical_package_id");
	t->cores = different("core_cpus_list");
	if (!t->cores) t->cores = different("thread_siblings_list");
	t->processors = (int)sysconf(_SC_NPROCESSORS_ONLN);
	if (!line_of(online, sizeof online, CPU "/online") || dpi_affinity_parse(online, &t->all))
		for (int i = 0; i < t->processors && i < CPU_SETSIZE; i++) CPU_SET((size_t)i, &t->all);
	for (int i = 0; i < 8; i++) {
		if (!line_of(level, sizeof level, CPU "/cpu0/cache/index%d/level", i) ||
		    !line_of(type, sizeof type, CPU "/cpu0/cache/index%d/type", i) ||
		    !line_of(size, sizeof size, CPU "/cpu0/cache/index%d/size", i))
			continue;
		int l = atoi(level);
		if (l >= 1 && l <= 3 && strcmp(type, "Instruction")) t->cache[l - 1] = strtoull(size, NULL, 10) << 10;
	}
}

static void read_nodes(struct dpi_topology *t)
{
	char cpus[1024], line[128];
	for (int i = 0; i < 1024 && t->nodes < DPI_TOPOLOGY_NODES; i++) {
		unsigned long long kib = 0;
		struct dpi_numa *n = &t->node[t->nodes];
		if (!line_of(cpus, sizeof cpus, NODE "/node%d/cpulist", i) || dpi_affinity_parse(cpus, &n->processors)) continue;
		if (line_of(line, sizeof line, NODE "/node%d/meminfo", i)) sscanf(line, "Node %*d MemTotal: %llu", &kib);
		n->index = i;
		n->memory = (uint64_t)kib << 10;
		t->nodes++;
	}
}

/* The PCI address of a device, where it has one. */
static void read_bus(struct dpi_device *d)
{
	char link[128];
	snprintf(link, sizeof link, "/sys/class/%s/%s/device", d->rdma ? "infiniband" : "net", d->name);
	char *real = realpath(link, NULL), *slash = real ? strrchr(real, '/') : NULL;
	if (slash && strlen(slash + 1) < sizeof d->bus && strchr(slash, ':')) strcpy(d->bus, slash + 1);
	free(real);
}

/* Devices of a class that have hardware behind them. */
static void read_devices(struct dpi_topology *t, const char *class, bool rdma)
{
	char folder[64], link[400], numa[32], cpus[1024];
	snprintf(folder, sizeof folder, "/sys/class/%s", class);
	DIR *d = opendir(folder);
	for (struct dirent *e; d && (e = readdir(d)) && t->devices < DPI_TOPOLOGY_DEVICES;) {
		struct dpi_device *v = &t->device[t->devices];
		snprintf(link, sizeof link, "%s/%.200s/device", folder, e->d_name);
		if (e->d_name[0] == '.' || strlen(e->d_name) >= sizeof v->name || access(link, F_OK)) continue;
		*v = (struct dpi_device){ .rdma = rdma, .numa = -1 };
		strcpy(v->name, e->d_name);
		read_bus(v);
		if (line_of(numa, sizeof numa, "%s/numa_node", link)) v->numa = atoi(numa);
		if (v->numa >= 0 && line_of(cpus, sizeof cpus, "%s/local_cpulist", link) && !dpi_affinity_parse(cpus, &v->near) &&
		    CPU_EQUAL(&v->near, &t->all))
			CPU_ZERO(&v->near);
		t->devices++;
	}
	if (d) closedir(d);
}

struct dpi_topology *dpi_topology_read(void)
{
	struct dpi_topology *t = calloc(1, sizeof *t);
	if (!t) return NULL;
	if (dpi_topology_by_hwloc(t)) {
		for (int i = 0; i < t->devices; i++) /* hwloc's PCI plugin does not come with a hwloc that is loaded privately */
			if (!*t->device[i].bus && t->this_machine) read_bus(&t->device[i]);
		return t;
	}
	memset(t, 0, sizeof *t);
	t->source = "/sys";
	t->this_machine = true;
	read_processors(t);
	read_nodes(t);
	read_devices(t, "net", false);
	read_devices(t, "infiniband", true);
	return t;
}
