/* SPDX-License-Identifier: Apache-2.0
 * placement_test.c: src/core/topology.h: where a progress thread and windows go, on machines that hwloc replays and on this one. */
#include "unit.h"

#include <dirent.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>

#include "affinity.h"
#include "context.h"
#include "memory/window.h"

static struct dpi_context ctx; /* each case is a process of its own */
static struct dpi_carrier carrier;

static void replay(const char *variable, const char *value, const char *this_machine)
{
	setenv(variable, value, 1);
	setenv("HWLOC_THISSYSTEM", this_machine, 1);
}

static struct dpi_topology *read_it(void)
{
	struct dpi_topology *t = dpi_topology_read();
	CHECK(t);
	if (strcmp(t->source, "hwloc")) SKIP("no hwloc (package libhwloc-dev)");
	return t;
}

static cpu_set_t set_of(const char *list)
{
	cpu_set_t set;
	CHECK_INT(dpi_affinity_parse(list, &set), ==, DPI_SUCCESS);
	return set;
}

static const char *list_of(const cpu_set_t *set)
{
	static char text[256];
	dpi_affinity_print(set, text, sizeof text);
	return text;
}

TEST(placement_lists, "", 0)
{
	static const char *const lists[] = { "", "0", "0,2-3", "0-1023", "1023", "0,2,4,6,8,10,12", "5-7,63-64,127,512-600" };
	char text[16];
	cpu_set_t set;
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		set = set_of(lists[i]);
		CHECK_STR(list_of(&set), lists[i]);
	}
	set = set_of("0,2,4,6,8,10,12,14,16");
	dpi_affinity_print(&set, text, sizeof text);
	CHECK_STR(text, "0,2,4,6,8,...");
	dpi_affinity_print(&set, text, 8);
	CHECK_STR(text, "0,2,...");
}

TEST(placement_two_sockets_four_nics, "", 0)
{
	static const struct {
		const char *device, *bus, *processors;
		int numa;
		bool rdma;
	} devices[] = {
		{ "mlx5_0", "0000:17:00.0", "0-3,8-11", 0, true },	{ "ens1", "0000:17:00.0", "0-3,8-11", 0, false },
		{ "mlx5_1", "0000:31:00.0", "0-3,8-11", 0, true },	{ "ens2", "0000:31:00.0", "0-3,8-11", 0, false },
		{ "mlx5_2", "0000:98:00.0", "4-7,12-15", 1, true }, { "ens3", "0000:98:00.0", "4-7,12-15", 1, false },
		{ "eno1", "0000:b1:00.0", "4-7,12-15", 1, false },
	};
	struct dpi_placement p;
	cpu_set_t allowed;
	replay("HWLOC_XMLFILE", "test/topology/two_sockets_four_nics.xml", "0");
	struct dpi_topology *t = read_it();
	CHECK(!t->this_machine);
	CHECK(t->packages == 2 && t->cores == 8 && t->processors == 16 && t->nodes == 2 && t->devices == 7);
	CHECK(t->node[1].index == 1 && t->node[1].memory == UINT64_C(128) << 30);
	CHECK_STR(list_of(&t->node[1].processors), "4-7,12-15");
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		int k = 0;
		while (k < t->devices && strcmp(t->device[k].name, devices[i].device)) k++;
		CHECK_INT(k, <, t->devices);
		CHECK_STR(t->device[k].bus, devices[i].bus);
		CHECK_INT(t->device[k].rdma, ==, devices[i].rdma);
		dpi_placement_near(t, devices[i].device, &t->all, &p);
		CHECK_STR(list_of(&p.processors), devices[i].processors);
		CHECK_INT(p.numa, ==, devices[i].rdma ? DPI_NUMA_NODE(devices[i].numa) : DPI_NUMA_ANY);
		CHECK_INT(t->device[k].numa, ==, devices[i].numa);
		CHECK_HAS(p.reason, devices[i].device);
	}

	/* which devices are near a processor */
	for (int cpu = 0; cpu < 16; cpu++)
		for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
			CHECK_INT(dpi_topology_near(t, devices[i].device, cpu), ==, cpu / 4 % 2 == devices[i].numa);
	CHECK_INT(dpi_topology_near(t, "mlx5_0", -1), ==, -1);
	CHECK_INT(dpi_topology_near(t, "mlx5_0", CPU_SETSIZE), ==, -1);
	CHECK_INT(dpi_topology_near(t, "rxe0", 0), ==, -1);

	/* who is bound stays, and is told how far the device is */
	allowed = set_of("4-7");
	dpi_placement_near(t, "mlx5_0", &allowed, &p);
	CHECK(!CPU_COUNT(&p.processors) && p.numa == DPI_NUMA_ANY);
	CHECK_STR(p.reason, "the process is bound to processors 4-7, far from mlx5_0 (processors 0-3,8-11)");
	dpi_placement_near(t, "mlx5_2", &allowed, &p);
	CHECK_STR(p.reason, "the process is bound to processors 4-7, near mlx5_2 (processors 4-7,12-15)");
	allowed = set_of("3-4");
	dpi_placement_near(t, "mlx5_2", &allowed, &p);
	CHECK_HAS(p.reason, "3-4, some of them near mlx5_2");
	CHECK(!CPU_COUNT(&p.processors));

	dpi_placement_near(t, "rxe0", &t->all, &p);
	CHECK_STR(p.reason, "hwloc does not know where rxe0 is");
	CHECK(!CPU_COUNT(&p.processors) && p.numa == DPI_NUMA_ANY);
	free(t);
}

TEST(placement_synthetic, "", 0)
{
	struct dpi_placement p;
	replay("HWLOC_SYNTHETIC", "package:2 [numa] [numa] core:3 pu:2", "0");
	struct dpi_topology *t = read_it();
	CHECK(t->packages == 2 && t->cores == 6 && t->processors == 12 && t->nodes == 4 && !t->devices && !t->this_machine);
	CHECK_STR(list_of(&t->all), "0-11");
	CHECK_STR(list_of(&t->node[3].processors), "6-11");
	free(t);

	setenv("HWLOC_SYNTHETIC", "core:4 pu:1", 1); /* hwloc makes it one node */
	t = read_it();
	CHECK_INT(t->nodes, ==, 1);
	dpi_placement_near(t, "eth0", &t->all, &p);
	CHECK_STR(p.reason, "the machine has one NUMA node");
	CHECK(!CPU_COUNT(&p.processors));
	free(t);

	setenv("HWLOC_SYNTHETIC", "package:80 [numa] pu:30", 1); /* more than there is room for */
	t = read_it();
	CHECK_INT(t->nodes, ==, DPI_TOPOLOGY_NODES);
	CHECK_INT(t->processors, ==, 2400);
	CHECK_INT(CPU_COUNT(&t->all), ==, CPU_SETSIZE);
	free(t);
}

/* A device that is as near to both sockets, and one that has two NUMA nodes near it. */
TEST(placement_nowhere, "", 0)
{
	static struct dpi_topology t = { .source = "/sys", .nodes = 2, .devices = 2 };
	struct dpi_placement p;
	t.all = set_of("0-7");
	t.device[0] = (struct dpi_device){ .name = "eth0", .numa = -1 };
	t.device[1] = (struct dpi_device){ .name = "eth1", .rdma = true, .numa = -1, .near = set_of("0-3") };
	dpi_placement_near(&t, "eth0", &t.all, &p);
	CHECK_STR(p.reason, "eth0 is as near to every processor");
	CHECK(!CPU_COUNT(&p.processors));
	dpi_placement_near(&t, "eth1", &t.all, &p);
	CHECK_STR(list_of(&p.processors), "0-3");
	CHECK_INT(p.numa, ==, DPI_NUMA_ANY);
	dpi_placement_near(&t, "eth2", &t.all, &p);
	CHECK_STR(p.reason, "/sys does not know where eth2 is");
}

/* ------------------------------------------------------------------------------------------------- of a context */

static bool hwloc_is_loaded(void)
{
	char line[512];
	bool found = false;
	FILE *f = fopen("/proc/self/maps", "re");
	CHECK(f);
	while (fgets(line, sizeof line, f)) found |= strstr(line, "libhwloc.so") != NULL;
	fclose(f);
	return found;
}

static void choose(const char *device, const char *bind)
{
	static const char *settings[1];
	char text[64];
	snprintf(text, sizeof text, "bind=%s", bind);
	settings[0] = text;
	CHECK_INT(dpi_settings_read(&ctx.settings, settings, 1), ==, DPI_SUCCESS);
	snprintf(carrier.attr.device, sizeof carrier.attr.device, "%s", device);
	ctx.carrier[0] = &carrier;
	ctx.carriers = 1;
	CHECK_INT(dpi_placement_choose(&ctx), ==, DPI_SUCCESS);
	dpi_settings_free(&ctx.settings);
}

/* The topology is read where there is something to choose, and hwloc does not stay. */
TEST(placement_costs_nothing, "", 0)
{
	choose("", "");
	CHECK_STR(ctx.placement.reason, "no transport in use works over one network device");
	CHECK(!hwloc_is_loaded());
	choose("eth0", "0");
	CHECK_STR(ctx.placement.reason, "DPI_BIND says so");
	CHECK_STR(list_of(&ctx.placement.processors), "0");
	CHECK(!hwloc_is_loaded());
	if (access("/sys/devices/system/node/node1", F_OK)) {
		choose("eth0", "");
		CHECK_STR(ctx.placement.reason, "the machine has one NUMA node");
		CHECK(!hwloc_is_loaded());
	}
	replay("HWLOC_XMLFILE", "test/topology/two_sockets_four_nics.xml", "0");
	free(read_it());
	choose("mlx5_0", "");
	CHECK_STR(ctx.placement.reason, "hwloc replays another machine than this");
	CHECK(!CPU_COUNT(&ctx.placement.processors) && ctx.placement.numa == DPI_NUMA_ANY);
	CHECK(!hwloc_is_loaded());
}

/* The processors on which the progress thread may run. */
static void progress_thread(char *list, size_t size)
{
	DIR *d = opendir("/proc/self/task");
	CHECK(d);
	*list = 0;
	for (struct dirent *e; (e = readdir(d));) {
		char path[300], line[256] = "";
		snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
		FILE *f = fopen(path, "re");
		bool it = false;
		while (f && fgets(line, sizeof line, f)) {
			it |= !strcmp(line, "Name:\tdpi-progress\n");
			if (it && !strncmp(line, "Cpus_allowed_list:\t", 19)) snprintf(list, size, "%s", line + 19);
		}
		if (f) fclose(f);
	}
	closedir(d);
	list[strcspn(list, "\n")] = 0;
}

/* This machine, said to have two NUMA nodes of one processor each: the thread goes to the second, if nobody bound the process. */
TEST(placement_is_done, "", 0)
{
	cpu_set_t both = set_of("0-1"), allowed;
	char list[256];
	if (sched_setaffinity(0, sizeof both, &both) || sched_getaffinity(0, sizeof allowed, &allowed) || !CPU_EQUAL(&both, &allowed))
		SKIP("processors 0 and 1 are not this process's");
	replay("HWLOC_XMLFILE", "test/topology/two_processors.xml", "1");
	free(read_it());
	for (int bound = 0; bound < 2; bound++) {
		cpu_set_t first = set_of("0");
		struct dpi_window w;
		if (bound) CHECK(!sched_setaffinity(0, sizeof first, &first));
		memset(&ctx, 0, sizeof ctx);
		choose("nic1", "");
		CHECK_STR(list_of(&ctx.placement.processors), bound ? "" : "1");
		CHECK_INT(ctx.placement.numa, ==, bound ? DPI_NUMA_ANY : DPI_NUMA_NODE(1));
		CHECK_INT(dpi_settings_read(&ctx.settings, NULL, 0), ==, DPI_SUCCESS);
		CHECK_INT(dpi_bells_create(&ctx.bells, 1), ==, DPI_SUCCESS);
		CHECK_INT(dpi_loop_open(&ctx), ==, DPI_SUCCESS);
		carrier.fd = -1;
		CHECK_INT(dpi_loop_start(&ctx), ==, DPI_SUCCESS);
		for (*list = 0; !*list; usleep(1000)) progress_thread(list, sizeof list); /* it names itself */
		CHECK_STR(list, bound ? "0" : "1");

		/* memory is to be had wherever the node is only preferred */
		CHECK(dpi_context_set(&ctx));
		CHECK_INT(dpi_window_allocate(100000, DPI_HUGE_NEVER, DPI_NUMA_ANY, &w), ==, DPI_SUCCESS);
		memset(w.address, 1, 100000);
		dpi_window_free(&ctx, &w);
		dpi_context_set(NULL);
		dpi_loop_stop(&ctx);
		dpi_loop_close(&ctx);
		dpi_bells_close(&ctx.bells);
		dpi_settings_free(&ctx.settings);
	}
}

/* Windows lie where the context wants them, if there is room. */
TEST(placement_of_windows, "", 0)
{
	int mode = -1;
	unsigned long nodes[16] = { 0 };
	struct dpi_window w;
	memset(&ctx, 0, sizeof ctx);
	for (int wanted = 0; wanted < 2; wanted++) {
		ctx.placement.numa = wanted ? DPI_NUMA_NODE(0) : DPI_NUMA_ANY;
		CHECK(dpi_context_set(&ctx));
		CHECK_INT(dpi_window_allocate(100000, DPI_HUGE_NEVER, DPI_NUMA_ANY, &w), ==, DPI_SUCCESS);
		memset(w.address, 1, 100000);
		if (syscall(SYS_get_mempolicy, &mode, nodes, 8 * sizeof nodes, w.address, MPOL_F_ADDR)) SKIP("the kernel tells no memory policy: %s", strerror(errno));
		CHECK_INT(mode, ==, wanted ? MPOL_PREFERRED : MPOL_DEFAULT);
		CHECK_INT(nodes[0], ==, (unsigned long)wanted);
		dpi_window_free(&ctx, &w);
		dpi_context_set(NULL);
	}
}

/* What transports are told, on this machine, said to have two NUMA nodes: the processor that the thread runs on decides. */
TEST(placement_seen_from_here, "", 0)
{
	struct dpi_topology *t = NULL;
	CHECK_INT(dpi_settings_read(&ctx.settings, NULL, 0), ==, DPI_SUCCESS);
	if (access("/sys/devices/system/node/node1", F_OK)) { /* one node: nothing is read */
		CHECK_INT(dpi_topology_near_here(&t, "nic0"), ==, -1);
		CHECK(!t);
	}
	replay("HWLOC_XMLFILE", "test/topology/two_processors.xml", "1");
	free(read_it());
	for (int cpu = 0; cpu < 2; cpu++) {
		cpu_set_t one = set_of(cpu ? "1" : "0");
		struct dpi_topology *before = t;
		if (sched_setaffinity(0, sizeof one, &one)) SKIP("processors 0 and 1 are not this process's");
		dpi_carrier_core(&carrier, &ctx);
		CHECK_INT(dpi_topology_near_here(&t, "nic0"), ==, !cpu);
		CHECK_INT(dpi_topology_near_here(&t, "nic1"), ==, cpu);
		CHECK_INT(carrier.core.near(carrier.core.self, "nic1"), ==, cpu);
		CHECK(ctx.topology && t && (!before || t == before)); /* read once */
		CHECK_INT(dpi_topology_near_here(&t, "nic2"), ==, -1);
	}
	free(t);
	dpi_settings_free(&ctx.settings);
	choose("nic1", "0");
	CHECK(!ctx.topology);
	t = NULL;
	replay("HWLOC_XMLFILE", "test/topology/two_sockets_four_nics.xml", "0"); /* this process is nowhere on another machine */
	CHECK_INT(dpi_topology_near_here(&t, "mlx5_0"), ==, -1);
	free(t);
}

/* A processor that is not there: the thread stays, and the context opens all the same. */
TEST(placement_that_fails, "", 0)
{
	char list[256];
	CHECK_INT(dpi_settings_read(&ctx.settings, NULL, 0), ==, DPI_SUCCESS);
	CHECK_INT(dpi_bells_create(&ctx.bells, 1), ==, DPI_SUCCESS);
	CHECK_INT(dpi_loop_open(&ctx), ==, DPI_SUCCESS);
	dpi_settings_set(&ctx.settings, DPI_SETTING_BIND, "1023", "test");
	CHECK_ERROR(dpi_loop_start(&ctx), DPI_ERR_CONFIG, "1023"); /* who says it is told */
	dpi_loop_stop(&ctx);
	dpi_loop_close(&ctx);
	CHECK_INT(dpi_loop_open(&ctx), ==, DPI_SUCCESS);
	dpi_settings_set(&ctx.settings, DPI_SETTING_BIND, "", "test");
	CHECK_INT(dpi_loop_start(&ctx), ==, DPI_SUCCESS);
	for (*list = 0; !*list; usleep(1000)) progress_thread(list, sizeof list);
	dpi_loop_stop(&ctx);
	dpi_loop_close(&ctx);
	dpi_bells_close(&ctx.bells);
	dpi_settings_free(&ctx.settings);
}
