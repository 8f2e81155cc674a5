/* SPDX-License-Identifier: Apache-2.0
 * placement.c: where the progress thread and windows go: where somebody said, or near the network device, or where they are.
 *
 * Who has bound the process has chosen already; the progress thread shares its processors then, and windows lie where the threads
 * are that use them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "affinity.h"
#include "context.h"
#include "topology.h"

#define STAYS(p, ...) snprintf((p)->reason, sizeof(p)->reason, __VA_ARGS__)

static const struct dpi_device *find(const struct dpi_topology *t, const char *name)
{
	for (int i = 0; i < t->devices; i++)
		if (!strcmp(t->device[i].name, name)) return &t->device[i];
	return NULL;
}

int dpi_topology_near(const struct dpi_topology *t, const char *device, int processor)
{
	const struct dpi_device *d = find(t, device);
	if (!d || processor < 0 || processor >= CPU_SETSIZE || !CPU_COUNT(&d->near)) return -1;
	return CPU_ISSET((size_t)processor, &d->near) ? 1 : 0;
}

void dpi_placement_near(const struct dpi_topology *t, const char *device, const cpu_set_t *allowed, struct dpi_placement *p)
{
	char list[96], bound[64];
	cpu_set_t may, near;
	const struct dpi_device *d = find(t, device);
	memset(p, 0, sizeof *p);
	p->numa = DPI_NUMA_ANY;
	CPU_AND(&may, allowed, &t->all);
	if (t->nodes < 2) {
		STAYS(p, "the machine has one NUMA node");
	} else if (!d) {
		STAYS(p, "%s does not know where %.31s is", t->source, device);
	} else if (!CPU_COUNT(&d->near)) {
		STAYS(p, "%s is as near to every processor", d->name);
	} else if (!CPU_EQUAL(&may, &t->all)) {
		dpi_affinity_print(&d->near, list, sizeof list);
		dpi_affinity_print(&may, bound, sizeof bound);
		CPU_AND(&near, &may, &d->near);
		STAYS(p, "the process is bound to processors %s, %s %s (processors %s)", bound,
		      CPU_EQUAL(&near, &may) ? "near" : CPU_COUNT(&near) ? "some of them near" : "far from", d->name, list);
	} else {
		p->processors = d->near;
		if (d->rdma && d->numa >= 0) p->numa = DPI_NUMA_NODE(d->numa); /* it writes windows itself */
		STAYS(p, "near %s", d->name);
	}
}

/* Is there more than one NUMA node? One look, so that most machines need no topology. hwloc's variables replay others. */
static bool several_nodes(void)
{
	char online[256] = "";
	FILE *f = fopen("/sys/devices/system/node/online", "re"); /* such as 0-1, or 0,8 */
	if (f && !fgets(online, sizeof online, f)) *online = 0;
	if (f) fclose(f);
	return getenv("HWLOC_XMLFILE") || getenv("HWLOC_SYNTHETIC") || strpbrk(online, ",-");
}

int dpi_topology_near_here(struct dpi_topology **t, const char *device)
{
	if (!*t && several_nodes()) *t = dpi_topology_read();
	return *t && (*t)->this_machine ? dpi_topology_near(*t, device, sched_getcpu()) : -1;
}

static const char *device_of(const struct dpi_context *ctx)
{
	for (int i = 0; i < ctx->carriers; i++)
		if (*ctx->carrier[i]->attr.device) return ctx->carrier[i]->attr.device;
	return NULL;
}

int dpi_placement_choose(struct dpi_context *ctx)
{
	struct dpi_placement *p = &ctx->placement;
	const char *list = ctx->settings.value[DPI_SETTING_BIND], *device = device_of(ctx);
	char name[sizeof ctx->carrier[0]->attr.device];
	cpu_set_t allowed;
	memset(p, 0, sizeof *p);
	int error = dpi_affinity_parse(list, &p->processors);
	if (error) return error;
	if (*list) {
		STAYS(p, "DPI_BIND says so");
	} else if (!device) {
		STAYS(p, "no transport in use works over one network device");
	} else if (!several_nodes()) {
		STAYS(p, "the machine has one NUMA node");
	} else {
		struct dpi_topology *t = ctx->topology ? ctx->topology : dpi_topology_read();
		ctx->topology = t;
		snprintf(name, sizeof name, "%s", device);
		if (!t || sched_getaffinity(0, sizeof allowed, &allowed)) STAYS(p, "the topology cannot be read");
		else dpi_placement_near(t, name, t->this_machine ? &allowed : &t->all, p);
		if (t && !t->this_machine) { /* a replay is shown, not done */
			CPU_ZERO(&p->processors);
			p->numa = DPI_NUMA_ANY;
			STAYS(p, "hwloc replays another machine than this");
		}
	}
	free(ctx->topology);
	ctx->topology = NULL;
	return DPI_SUCCESS;
}
