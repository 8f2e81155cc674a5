/* SPDX-License-Identifier: Apache-2.0
 * topology.c: processors, caches, NUMA nodes: as hwloc sees them if it can be loaded, else as /sys does. */
#include <dirent.h>
#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dpi_build.h"
#include "print.h"
#include "sections.h"

#define CPU "/sys/devices/system/cpu"
#define NODE "/sys/devices/system/node"

struct machine {
	const char *source;
	int packages, cores, processors;
	uint64_t cache[3]; /* bytes of one, first level (data) to third */
};

/* The first line of a file, without its end. */
static bool line_of(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool line_of(char *text, size_t size, const char *format, ...)
{
	char path[300];
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

/* ---------------------------------------------------------------------------------------------------------- hwloc */

#if DPI_BUILD_HWLOC
#include <hwloc.h>

/* hwloc's functions by their names, without linking it. */
static struct {
	__typeof__(hwloc_topology_init) *init;
	__typeof__(hwloc_topology_load) *load;
	__typeof__(hwloc_topology_destroy) *destroy;
	__typeof__(hwloc_get_type_depth) *depth;
	__typeof__(hwloc_get_nbobjs_by_depth) *count;
	__typeof__(hwloc_get_obj_by_depth) *object;
	__typeof__(hwloc_get_api_version) *version;
} hw;

static bool load_hwloc(void)
{
	void *module = dlopen("libhwloc.so.15", RTLD_NOW | RTLD_LOCAL);
	if (!module) return false;
	*(void **)&hw.init = dlsym(module, "hwloc_topology_init");
	*(void **)&hw.load = dlsym(module, "hwloc_topology_load");
	*(void **)&hw.destroy = dlsym(module, "hwloc_topology_destroy");
	*(void **)&hw.depth = dlsym(module, "hwloc_get_type_depth");
	*(void **)&hw.count = dlsym(module, "hwloc_get_nbobjs_by_depth");
	*(void **)&hw.object = dlsym(module, "hwloc_get_obj_by_depth");
	*(void **)&hw.version = dlsym(module, "hwloc_get_api_version");
	/* its structures are those of the header only within one major version */
	return hw.init && hw.load && hw.destroy && hw.depth && hw.count && hw.object && hw.version &&
	       hw.version() >> 16 == HWLOC_API_VERSION >> 16;
}

static int hw_count(hwloc_topology_t t, hwloc_obj_type_t type)
{
	int depth = hw.depth(t, type);
	return depth >= 0 ? (int)hw.count(t, depth) : 0;
}

static uint64_t hw_cache(hwloc_topology_t t, hwloc_obj_type_t type)
{
	int depth = hw.depth(t, type);
	hwloc_obj_t o = depth >= 0 ? hw.object(t, depth, 0) : NULL;
	return o && o->attr ? o->attr->cache.size : 0;
}

static bool from_hwloc(struct machine *m)
{
	static const hwloc_obj_type_t caches[] = { HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE };
	hwloc_topology_t t;
	if (!load_hwloc() || hw.init(&t)) return false;
	bool good = !hw.load(t);
	if (good) {
		m->source = "hwloc";
		m->packages = hw_count(t, HWLOC_OBJ_PACKAGE);
		m->cores = hw_count(t, HWLOC_OBJ_CORE);
		m->processors = hw_count(t, HWLOC_OBJ_PU);
		for (int i = 0; i < 3; i++) m->cache[i] = hw_cache(t, caches[i]);
	}
	hw.destroy(t);
	return good;
}
#else
static bool from_hwloc(struct machine *m)
{
	(void)m;
	return false;
}
#endif

/* ----------------------------------------------------------------------------------------------------------- /sys */

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

static void from_sys(struct machine *m)
{
	char level[16], type[32], size[32];
	m->source = "/sys";
	m->packages = different("physical_package_id");
	m->cores = different("core_cpus_list");
	if (!m->cores) m->cores = different("thread_siblings_list");
	m->processors = (int)sysconf(_SC_NPROCESSORS_ONLN);
	for (int i = 0; i < 8; i++) {
		if (!line_of(level, sizeof level, CPU "/cpu0/cache/index%d/level", i) ||
		    !line_of(type, sizeof type, CPU "/cpu0/cache/index%d/type", i) ||
		    !line_of(size, sizeof size, CPU "/cpu0/cache/index%d/size", i))
			continue;
		int l = atoi(level);
		if (l >= 1 && l <= 3 && strcmp(type, "Instruction")) m->cache[l - 1] = strtoull(size, NULL, 10) << 10;
	}
}

static void show_numa(void)
{
	char cpus[256], line[128];
	int shown = 0;
	print_list("numa", NULL);
	for (int i = 0; i < 1024; i++) {
		unsigned long long kib = 0;
		char label[32];
		if (!line_of(cpus, sizeof cpus, NODE "/node%d/cpulist", i)) continue;
		if (line_of(line, sizeof line, NODE "/node%d/meminfo", i)) sscanf(line, "Node %*d MemTotal: %llu", &kib);
		if (print_json) {
			print_item();
			print_count("node", "", (uint64_t)i, NULL);
			print_fact("processors", "", "%s", cpus);
			print_size("memory_bytes", "", (uint64_t)kib << 10, NULL);
			print_close();
		} else {
			char note[300];
			snprintf(label, sizeof label, "NUMA node %d", i);
			snprintf(note, sizeof note, "processors %s", *cpus ? cpus : "none");
			print_size("", label, (uint64_t)kib << 10, note);
		}
		shown++;
	}
	print_close();
	if (!shown && !print_json) print_none("", "NUMA nodes", "the kernel tells of none");
}

void show_topology(void)
{
	static const char *const keys[] = { "l1_data_bytes", "l2_bytes", "l3_bytes" };
	static const char *const labels[] = { "first-level data cache", "second-level cache", "third-level cache" };
	struct machine m = { 0 };
	char online[256];
	cpu_set_t set;
	if (!from_hwloc(&m)) from_sys(&m);
	print_section("topology", "Topology");
	print_fact("source", "known from", "%s", m.source);
	print_count("packages", "packages", (uint64_t)m.packages, NULL);
	print_count("cores", "cores", (uint64_t)m.cores, NULL);
	print_count("processors", "processors", (uint64_t)m.processors,
		    m.processors > m.cores ? "several threads a core" : NULL);
	if (line_of(online, sizeof online, CPU "/online")) print_fact("online", "  online", "%s", online);
	if (!sched_getaffinity(0, sizeof set, &set))
		print_count("allowed", "  for this process", (uint64_t)CPU_COUNT(&set),
			    CPU_COUNT(&set) < m.processors ? "taskset or a control group limits it" : NULL);
	for (int i = 0; i < 3; i++)
		if (m.cache[i]) print_size(keys[i], labels[i], m.cache[i], NULL);
	show_numa();
	print_close();
}
