/* SPDX-License-Identifier: Apache-2.0
 * dpi_info.c: dpi-info: what is loaded, what works here, what is set and where from. See dpi-info(1). */
#include <dlfcn.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "context.h"
#include "dpi.h"
#include "handle.h"
#include "dpi_info/json.h"

static struct dpi_context *open_context(DPI_Context *handle)
{
	const char *why;
	int error;
	if (DPI_Init(handle)) {
		DPI_Get_Error_Detail(&why);
		fprintf(stderr, "dpi-info: %s\n", why);
		exit(1);
	}
	return dpi_context_get(*handle, &error);
}

/* -------------------------------------------------------------------------------------------------------- sections */

static bool loads(const char *library)
{
	void *module = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
	if (module) dlclose(module);
	return module != NULL;
}

static void show_version(struct json *j)
{
	uint32_t version;
	const char *path;
	char text[32];
	DPI_Get_Version(&version, &path);
	json_open(j, "library");
	snprintf(text, sizeof text, "%u.%u.%u", version >> 16, version >> 8 & 255, version & 255);
	json_text(j, "version", text);
	snprintf(text, sizeof text, "%d.%d.%d", DPI_VERSION_MAJOR, DPI_VERSION_MINOR, DPI_VERSION_PATCH);
	json_text(j, "header", text);
	json_text(j, "loaded from", path);
	json_text(j, "compiler", __VERSION__);
	json_text(j, "libcrypto (cluster keys)", loads("libcrypto.so.3") ? "found" : "not found: install libssl3 to use a cluster key");
	json_text(j, "hwloc (topology)", loads("libhwloc.so.15") ? "found" : "not found: topology is read from /sys");
	json_close(j);
}

static const struct {
	uint32_t bit;
	const char *name;
} capabilities[] = {
	{ DPI_TP_DIRECT, "direct" },	     { DPI_TP_PUT_ORDER, "put-order" },	  { DPI_TP_LAST_BYTE_LAST, "last-byte-last" },
	{ DPI_TP_ATOMICS, "atomics" },	     { DPI_TP_CPU_ATOMICS, "cpu-atomics" }, { DPI_TP_APPEND, "append" },
	{ DPI_TP_MULTICAST, "multicast" },   { DPI_TP_PASSIVE, "passive" },	  { DPI_TP_FD, "fd" },
	{ DPI_TP_SAME_HOST, "same-host" },   { DPI_TP_ANY_MEMORY, "any-memory" },
};

static void show_transports(struct json *j, struct dpi_context *ctx)
{
	json_open(j, "transports");
	const DPI_Transport *t;
	for (int i = 0; (t = dpi_transport_at(i)); i++) {
		struct dpi_carrier *open = dpi_carrier_find(ctx, t->name), probe = { 0 };
		char reason[160] = "", names[200] = "";
		DPI_Transport filled;
		json_open(j, t->name);
		dpi_transport_fill(&filled, t);
		dpi_carrier_core(&probe, ctx);
		int error = filled.probe(&probe.core, reason, sizeof reason);
		json_text(j, "usable", open			   ? "yes, open"
				       : !strcmp(t->name, "hook") ? "yes, wraps another: DPI_TRANSPORT=hook:shm"
				       : error && error != DPI_ERR_UNSUPPORTED ? reason
							      : "yes, but DPI_TRANSPORT does not name it");
		if (open) {
			for (size_t k = 0; k < sizeof capabilities / sizeof *capabilities; k++)
				if (open->attr.capabilities & capabilities[k].bit)
					snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", *names ? " " : "", capabilities[k].name);
			json_text(j, "capabilities", names);
			json_number(j, "largest put (bytes, 0: no limit)", (int64_t)open->attr.max_put);
			json_number(j, "outstanding operations (0: no limit)", open->attr.outstanding);
			json_number(j, "windows (0: no limit)", open->attr.windows);
		}
		json_close(j);
	}
	json_close(j);
}

static void show_limit(struct json *j, const char *name, int resource)
{
	struct rlimit r;
	if (getrlimit(resource, &r)) return;
	if (r.rlim_cur == RLIM_INFINITY) json_text(j, name, "unlimited");
	else json_number(j, name, (int64_t)r.rlim_cur);
}

static void show_file(struct json *j, const char *name, const char *path)
{
	char text[128];
	FILE *f = fopen(path, "re");
	if (f && fgets(text, sizeof text, f)) {
		text[strcspn(text, "\n")] = 0;
		json_text(j, name, text);
	}
	if (f) fclose(f);
}

static void show_limits(struct json *j)
{
	struct statvfs v;
	json_open(j, "limits");
	show_limit(j, "locked memory (bytes, ulimit -l)", RLIMIT_MEMLOCK);
	show_limit(j, "open files (ulimit -n)", RLIMIT_NOFILE);
	show_limit(j, "processes (ulimit -u)", RLIMIT_NPROC);
	show_limit(j, "address space (bytes, ulimit -v)", RLIMIT_AS);
	show_file(j, "mappings a process (vm.max_map_count)", "/proc/sys/vm/max_map_count");
	show_file(j, "overcommit (vm.overcommit_memory)", "/proc/sys/vm/overcommit_memory");
	show_file(j, "huge pages (vm.nr_hugepages)", "/proc/sys/vm/nr_hugepages");
	json_number(j, "memory (bytes)", (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
	if (!statvfs("/dev/shm", &v)) json_number(j, "/dev/shm free (bytes; libdpi uses none of it)", (int64_t)(v.f_bavail * v.f_frsize));
	json_close(j);
}

static void show_topology(struct json *j)
{
	json_open(j, "topology");
	json_number(j, "processors online", sysconf(_SC_NPROCESSORS_ONLN));
	show_file(j, "processors", "/sys/devices/system/cpu/online");
	show_file(j, "NUMA nodes", "/sys/devices/system/node/online");
	show_file(j, "processors of NUMA node 0", "/sys/devices/system/node/node0/cpulist");
	show_file(j, "threads of core 0", "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list");
	show_file(j, "first-level data cache", "/sys/devices/system/cpu/cpu0/cache/index0/size");
	show_file(j, "second-level cache", "/sys/devices/system/cpu/cpu0/cache/index2/size");
	show_file(j, "third-level cache", "/sys/devices/system/cpu/cpu0/cache/index3/size");
	json_close(j);
}

static void show_settings(struct json *j, struct dpi_context *ctx)
{
	json_open(j, "settings");
	for (int i = 0; i < DPI_SETTING_COUNT; i++) {
		char name[64], value[300];
		snprintf(name, sizeof name, "DPI_%s", dpi_setting_defs[i].name);
		if (j->machine) {
			json_open(j, name);
			json_text(j, "value", ctx->settings.value[i]);
			json_text(j, "origin", ctx->settings.origin[i]);
			json_text(j, "meaning", dpi_setting_defs[i].text);
			json_close(j);
			continue;
		}
		snprintf(value, sizeof value, "%-12s %-12s %s", *ctx->settings.value[i] ? ctx->settings.value[i] : "-", ctx->settings.origin[i],
			 dpi_setting_defs[i].text);
		json_text(j, name, value);
	}
	json_close(j);
}

static void show_errors(struct json *j)
{
	json_open(j, "errors");
	for (int e = 0;; e++) {
		const char *name, *text;
		if (DPI_Get_Error_Name(e, &name) || DPI_Get_Error_Text(e, &text)) break;
		json_text(j, name, text);
	}
	json_close(j);
}

static void show_cluster(struct json *j, DPI_Context handle)
{
	int count = 0, self = 0;
	DPI_Get_Node_Count(handle, &count);
	DPI_Get_Node_Id(handle, &self);
	json_open(j, "cluster");
	json_number(j, "this node", self);
	json_number(j, "nodes", count);
	for (int i = 0; i < count; i++) {
		char name[32];
		DPI_Node_Info info = DPI_NODE_INFO_INIT;
		snprintf(name, sizeof name, "node %d", i);
		json_open(j, name);
		if (DPI_Get_Node_Info(i, handle, &info)) {
			const char *why;
			DPI_Get_Error_Detail(&why);
			json_text(j, "state", why);
		} else {
			json_text(j, "state", info.alive ? "joined" : "dead or gone");
			json_text(j, "host", info.host);
			json_number(j, "process", info.pid);
			json_text(j, "transports", info.reason);
		}
		json_close(j);
	}
	json_close(j);
}

/* The table as an mdoc list, for dpi_environment(7). */
static void man_settings(void)
{
	static const char *const kinds[] = { "text", "number", "size", "time" };
	puts(".Bl -tag -width Ds");
	for (int i = 0; i < DPI_SETTING_COUNT; i++) {
		const struct dpi_setting_def *d = &dpi_setting_defs[i];
		printf(".It Ev DPI_%s Pq %s\n", d->name, kinds[d->kind]);
		/* a sentence of its own on each line, first letter large */
		printf("%c%s.\n", *d->text >= 'a' && *d->text <= 'z' ? *d->text - 32 : *d->text, d->text + 1);
		if (*d->value) printf("The default is\n.Ql %s .\n", d->value);
		else puts("The default is empty.");
	}
	puts(".El");
}

static void usage(FILE *to)
{
	fputs("usage: dpi-info [--json] [--version | --transports | --limits | --topology | --settings | --errors | --cluster]…\n"
	      "With nothing named, all but --errors and --cluster. --cluster joins the cluster of the environment.\n", to);
}

int main(int argc, char **argv)
{
	enum { VERSION = 1, TRANSPORTS = 2, LIMITS = 4, TOPOLOGY = 8, SETTINGS = 16, ERRORS = 32, CLUSTER = 64, JSON = 128, MAN = 256, HELP = 512 };
	static const struct option options[] = {
		{ "version", 0, 0, VERSION },	{ "transports", 0, 0, TRANSPORTS }, { "limits", 0, 0, LIMITS },	    { "topology", 0, 0, TOPOLOGY },
		{ "settings", 0, 0, SETTINGS }, { "errors", 0, 0, ERRORS },	    { "cluster", 0, 0, CLUSTER },   { "json", 0, 0, JSON },
		{ "man-settings", 0, 0, MAN },	{ "help", 0, 0, HELP },		    { 0, 0, 0, 0 },
	};
	int what = 0, c;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == '?') return usage(stderr), 2;
		what |= c == 'h' ? HELP : c;
	}
	if (optind < argc) return fprintf(stderr, "dpi-info: '%s' is no option\n", argv[optind]), usage(stderr), 2;
	if (what & HELP) return usage(stdout), 0;
	if (what & MAN) return man_settings(), 0;
	struct json j = { .machine = what & JSON };
	what &= ~JSON;
	if (!what) what = VERSION | TRANSPORTS | LIMITS | TOPOLOGY | SETTINGS;
	if (!(what & CLUSTER)) { /* look at this machine; join nobody */
		unsetenv("DPI_CLUSTER");
		unsetenv("DPI_NODE");
		unsetenv("DPI_NODES");
		unsetenv("DPI_LISTEN_FD");
	}
	DPI_Context handle = NULL;
	struct dpi_context *ctx = what & (TRANSPORTS | SETTINGS | CLUSTER) ? open_context(&handle) : NULL;
	json_open(&j, NULL);
	if (what & VERSION) show_version(&j);
	if (what & TRANSPORTS) show_transports(&j, ctx);
	if (what & LIMITS) show_limits(&j);
	if (what & TOPOLOGY) show_topology(&j);
	if (what & SETTINGS) show_settings(&j, ctx);
	if (what & ERRORS) show_errors(&j);
	if (what & CLUSTER) show_cluster(&j, handle);
	json_close(&j);
	return handle && DPI_Finalize(handle) ? 1 : 0;
}
