/* SPDX-License-Identifier: Apache-2.0
 * topology.c: processors, caches, NUMA nodes, network devices, and where the library puts things. */
#include "topology.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "affinity.h"
#include "print.h"
#include "sections.h"

static void show_numa(const struct dpi_topology *t)
{
	char cpus[256], label[32], note[300];
	print_list("numa", NULL);
	for (int i = 0; i < t->nodes; i++) {
		const struct dpi_numa *n = &t->node[i];
		dpi_affinity_print(&n->processors, cpus, sizeof cpus);
		if (print_json) {
			print_item();
			print_count("node", "", (uint64_t)n->index, NULL);
			print_fact("processors", "", "%s", cpus);
			print_size("memory_bytes", "", n->memory, NULL);
			print_close();
		} else {
			snprintf(label, sizeof label, "NUMA node %d", n->index);
			snprintf(note, sizeof note, "processors %s", *cpus ? cpus : "none");
			print_size("", label, n->memory, note);
		}
	}
	print_close();
	if (!t->nodes && !print_json) print_none("", "NUMA nodes", "the kernel tells of none");
}

/* Where things go: processors, or nothing for "they stay". */
static void show_place(const struct dpi_placement *p, const char *thread, const char *windows)
{
	char cpus[256];
	dpi_affinity_print(&p->processors, cpus, sizeof cpus);
	if (*cpus) print_fact("progress_thread", thread, print_json ? "%s" : "processors %s", cpus);
	else print_none("progress_thread", thread, "on the processors the process may use");
	if (p->numa != DPI_NUMA_ANY && print_json) print_count("windows_numa", windows, (uint64_t)p->numa - 1, NULL);
	else if (p->numa != DPI_NUMA_ANY) print_fact("windows_numa", windows, "NUMA node %d", p->numa - 1);
	else print_none("windows_numa", windows, "where the threads are that make them");
	print_fact("reason", "    because", "%s", p->reason);
}

/* Seen from where this process runs. */
static void show_near(const struct dpi_topology *t, const char *device)
{
	int near = t->this_machine ? dpi_topology_near(t, device, sched_getcpu()) : -1;
	if (near >= 0) print_flag("near", "  from this process", near, "near", "far");
	else if (print_json) print_none("near", "", "");
}

static void show_devices(const struct dpi_topology *t, const cpu_set_t *allowed)
{
	char cpus[256];
	print_list("devices", NULL);
	for (int i = 0; i < t->devices; i++) {
		const struct dpi_device *d = &t->device[i];
		struct dpi_placement p;
		dpi_affinity_print(&d->near, cpus, sizeof cpus);
		dpi_placement_near(t, d->name, allowed, &p);
		if (print_json) {
			print_item();
			print_fact("name", "", "%s", d->name);
			print_fact("kind", "", "%s", d->rdma ? "rdma" : "network");
			if (*d->bus) print_fact("bus", "", "%s", d->bus);
			else print_none("bus", "", "");
			if (d->numa >= 0) print_count("numa", "", (uint64_t)d->numa, NULL);
			else print_none("numa", "", "");
			print_fact("processors", "", "%s", cpus);
			show_near(t, d->name);
			show_place(&p, "", "");
			print_close();
			continue;
		}
		char label[64], numa[32] = "";
		snprintf(label, sizeof label, "%s %s", d->rdma ? "RDMA device" : "interface", d->name);
		if (d->numa >= 0) snprintf(numa, sizeof numa, "NUMA node %d, ", d->numa);
		if (*cpus) print_fact("", label, "%s%snear %sprocessors %s", d->bus, *d->bus ? ", " : "", numa, cpus);
		else print_fact("", label, "%s%sas near to every processor", d->bus, *d->bus ? ", " : "");
		show_near(t, d->name);
		show_place(&p, "  its progress thread", "  its windows");
	}
	print_close();
	if (!t->devices && !print_json) print_none("", "network devices", "none that has a place");
}

void show_topology(const struct info *info)
{
	static const char *const keys[] = { "l1_data_bytes", "l2_bytes", "l3_bytes" };
	static const char *const labels[] = { "first-level data cache", "second-level cache", "third-level cache" };
	char online[1024];
	cpu_set_t allowed;
	struct dpi_topology *t = dpi_topology_read();
	print_section("topology", "Topology");
	if (!t || sched_getaffinity(0, sizeof allowed, &allowed)) {
		print_none("source", "known from", "it cannot be read");
		print_close();
		free(t);
		return;
	}
	print_fact("source", "known from", print_json || t->this_machine ? "%s" : "%s, which replays another machine", t->source);
	print_count("packages", "packages", (uint64_t)t->packages, NULL);
	print_count("cores", "cores", (uint64_t)t->cores, NULL);
	print_count("processors", "processors", (uint64_t)t->processors,
		    t->processors > t->cores ? "several threads a core" : NULL);
	dpi_affinity_print(&t->all, online, sizeof online);
	print_fact("online", "  online", "%s", online);
	if (t->this_machine)
		print_count("allowed", "  for this process", (uint64_t)CPU_COUNT(&allowed),
			    CPU_COUNT(&allowed) < t->processors ? "taskset or a control group limits it" : NULL);
	else allowed = t->all;
	for (int i = 0; i < 3; i++)
		if (t->cache[i]) print_size(keys[i], labels[i], t->cache[i], NULL);
	show_numa(t);
	show_devices(t, &allowed);
	if (info->ctx) {
		if (print_json) print_section("place", NULL);
		show_place(&info->ctx->placement, "progress thread", "windows");
		if (print_json) print_close();
	}
	print_close();
	free(t);
}
