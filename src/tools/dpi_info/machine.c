/* SPDX-License-Identifier: Apache-2.0
 * machine.c: the library and how it was built; the limits of the system. */
#include <dlfcn.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "dpi_build.h"
#include "print.h"
#include "sections.h"

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
#define SHARED "libdpi.so." TEXT(DPI_VERSION_MAJOR)

/* ------------------------------------------------------------------------------------------------------- library */

#if defined(__clang__)
#define COMPILER __VERSION__
#else
#define COMPILER "gcc " __VERSION__
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZER "address"
#elif defined(__SANITIZE_THREAD__)
#define SANITIZER "thread"
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZER "address"
#elif __has_feature(thread_sanitizer)
#define SANITIZER "thread"
#elif __has_feature(undefined_behavior_sanitizer)
#define SANITIZER "undefined"
#endif
#endif

static void version_text(uint32_t version, char text[32])
{
	snprintf(text, 32, "%u.%u.%u", version >> 16, version >> 8 & 255, version & 255);
}

/* The library that a program linked with -ldpi gets now; dpi-info holds the same code itself. */
static void shared_library(void)
{
	int (*get)(uint32_t * version, const char **path) = NULL;
	const char *path = "", *why = NULL;
	uint32_t version = 0;
	char number[32];
	void *module = dlopen(SHARED, RTLD_NOW | RTLD_LOCAL);
	if (module) *(void **)&get = dlsym(module, "DPI_Get_Version");
	else why = dlerror();
	if (module && !get) why = "it is not libdpi";
	if (why && strstr(why, "No such file"))
		why = "not where the loader looks: ldconfig after make install, or LD_LIBRARY_PATH";
	if (!get || get(&version, &path)) {
		print_none("shared_version", SHARED, why ? why : "?");
		print_none("shared_path", "  file", "-");
	} else {
		char *real = realpath(path, NULL);
		version_text(version, number);
		print_fact("shared_version", SHARED, "%s%s", number,
			   version == DPI_VERSION ? "" : " (another version than this dpi-info)");
		print_fact("shared_path", "  file", "%s", real ? real : path);
		free(real);
	}
	if (module) dlclose(module);
}

static void optional_library(const char *file, const char *key, const char *label, const char *symbol, const char *missing)
{
	void *module = dlopen(file, RTLD_NOW | RTLD_LOCAL), *entry = module ? dlsym(module, symbol) : NULL;
	char text[200];
	if (!entry) print_none(key, label, missing);
	else if (!strcmp(symbol, "OpenSSL_version")) {
		const char *(*version)(int);
		*(void **)&version = entry;
		print_fact(key, label, "%s", version(0));
	} else if (!strcmp(symbol, "PMIx_Get_version")) {
		const char *(*version)(void);
		*(void **)&version = entry;
		snprintf(text, sizeof text, "%s", version());
		text[strcspn(text, ",(")] = 0;
		print_fact(key, label, "%s", text);
	} else {
		unsigned (*version)(void);
		*(void **)&version = entry;
		unsigned v = version();
		snprintf(text, sizeof text, "libhwloc.so.15 with API %u.%u.%u", v >> 16, v >> 8 & 255, v & 255);
		print_fact(key, label, "%s", text);
	}
	/* libcrypto stays loaded: it has an exit handler */
}

static void kernel(void)
{
	struct utsname u;
	if (uname(&u)) memset(&u, 0, sizeof u);
	print_fact("kernel", "kernel", "%s %s %s", u.sysname, u.release, u.machine);
	long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	print_flag("membarrier", "membarrier", commands > 0 && (commands & MEMBARRIER_CMD_GLOBAL_EXPEDITED),
		   "yes: wake-ups cost appenders no fence", "no: every publish pays a fence");
	int fd = memfd_create("dpi-info", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	print_flag("memfd", "memfd with seals", fd >= 0, "yes: memory is shared without files",
		   "no: transport shm cannot work");
	if (fd >= 0) close(fd);
}

void show_library(void)
{
	char text[32];
	const char *path;
	uint32_t version;
	DPI_Get_Version(&version, &path);
	char *real = realpath(path, NULL);
	print_section("library", "Library");
	version_text(version, text);
	print_fact("version", "version", "%s", text);
	print_fact("path", "  loaded from", "%s", real ? real : path);
	free(real);
	print_fact("header", "header", "%d.%d.%d", DPI_VERSION_MAJOR, DPI_VERSION_MINOR, DPI_VERSION_PATCH);
	shared_library();
	print_fact("compiler", "compiler", "%s", COMPILER);
#ifdef SANITIZER
	print_fact("sanitizer", "sanitizer", "%s", SANITIZER);
#else
	print_none("sanitizer", "sanitizer", "none");
#endif
	optional_library("libcrypto.so.3", "libcrypto", "libcrypto", "OpenSSL_version",
			 "not found: a cluster key needs it (package libssl3)");
	optional_library("libhwloc.so.15", "hwloc", "hwloc", "hwloc_get_api_version",
			 "not found: topology comes from /sys (package libhwloc15)");
	if (DPI_BUILD_PMIX)
		optional_library("libpmix.so.2", "pmix", "PMIx", "PMIx_Get_version",
				 "not found: mpirun and srun need it to start a cluster (package libpmix2)");
	else print_none("pmix", "PMIx", "built without: mpirun and srun cannot start a cluster (package libpmix-dev)");
	kernel();
	print_close();
}

/* -------------------------------------------------------------------------------------------------------- limits */

static void limit(const char *key, const char *label, int resource, bool bytes, const char *note)
{
	struct rlimit r;
	char all[160], hard[48];
	if (getrlimit(resource, &r)) return;
	if (r.rlim_cur == RLIM_INFINITY) {
		print_none(key, label, "unlimited");
		return;
	}
	if (r.rlim_max == RLIM_INFINITY) snprintf(hard, sizeof hard, "may be raised");
	else if (r.rlim_max == r.rlim_cur) snprintf(hard, sizeof hard, "root may raise it");
	else if (bytes) snprintf(hard, sizeof hard, "may be raised to %llu KiB", (unsigned long long)r.rlim_max >> 10);
	else snprintf(hard, sizeof hard, "may be raised to %llu", (unsigned long long)r.rlim_max);
	snprintf(all, sizeof all, "%s; %s", note, hard);
	if (bytes) print_size(key, label, r.rlim_cur, all);
	else print_count(key, label, r.rlim_cur, all);
}

/* The number in a file of one; false without it. */
static bool number_in(const char *path, uint64_t *value)
{
	unsigned long long v;
	FILE *f = fopen(path, "re");
	bool good = f && fscanf(f, "%llu", &v) == 1;
	if (f) fclose(f);
	if (good) *value = v;
	return good;
}

static void file_system(const char *path)
{
	struct statvfs v;
	if (statvfs(path, &v)) {
		print_none("dev_shm_bytes", path, "not there; the library does not need it");
		print_none("dev_shm_free_bytes", "  free", "-");
		return;
	}
	print_size("dev_shm_bytes", path, (uint64_t)v.f_blocks * v.f_frsize, "the library puts no files there");
	print_size("dev_shm_free_bytes", "  free", (uint64_t)v.f_bavail * v.f_frsize, NULL);
}

/* A line "NAME: N kB" of /proc/meminfo. */
static bool memory_line(const char *name, uint64_t *value)
{
	char line[200];
	size_t n = strlen(name);
	unsigned long long v = 0;
	bool found = false;
	FILE *f = fopen("/proc/meminfo", "re");
	while (f && !found && fgets(line, sizeof line, f))
		found = !strncmp(line, name, n) && sscanf(line + n, ": %llu", &v) == 1;
	if (f) fclose(f);
	*value = v;
	return found;
}

static void memory(void)
{
	static const char *const overcommit[] = { "as the kernel judges", "always",
						  "never: all memory is counted when it is asked for" };
	uint64_t v, size;
	if (memory_line("MemTotal", &v)) print_size("memory_bytes", "memory", v << 10, NULL);
	if (memory_line("MemAvailable", &v)) print_size("memory_available_bytes", "  available", v << 10, NULL);
	if (number_in("/proc/sys/vm/overcommit_memory", &v))
		print_count("overcommit", "overcommit", v, overcommit[v > 2 ? 0 : v]);
	if (number_in("/sys/fs/cgroup/memory.max", &v) || number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes", &v)) {
		if (v < INT64_MAX / 4096 * 4096)
			print_size("cgroup_memory_bytes", "control group's memory", v,
				   "more than this and the kernel kills");
		else print_none("cgroup_memory_bytes", "control group's memory", "unlimited");
	}
	if (memory_line("HugePages_Total", &v) && memory_line("Hugepagesize", &size)) {
		print_count("huge_pages", "huge pages", v, v ? NULL : "none; sysctl vm.nr_hugepages=N makes some");
		memory_line("HugePages_Free", &v);
		print_count("huge_pages_free", "  free", v, NULL);
		print_size("huge_page_bytes", "  size", size << 10, NULL);
	}
}

void show_limits(void)
{
	uint64_t v;
	print_section("limits", "Limits");
	limit("memlock_bytes", "locked memory", RLIMIT_MEMLOCK, true, "ulimit -l, for RDMA and huge pages");
	limit("nofile", "open descriptors", RLIMIT_NOFILE, false, "ulimit -n, a few for each peer and window");
	limit("nproc", "processes and threads", RLIMIT_NPROC, false, "ulimit -u, of this user");
	limit("address_space_bytes", "address space", RLIMIT_AS, true, "ulimit -v");
	if (number_in("/proc/sys/vm/max_map_count", &v))
		print_count("max_map_count", "mappings of a process", v, "sysctl vm.max_map_count, one for each window");
	if (number_in("/proc/sys/net/core/somaxconn", &v))
		print_count("somaxconn", "waiting connections", v, "sysctl net.core.somaxconn, at a start of many nodes");
	memory();
	file_system("/dev/shm");
	print_close();
}
