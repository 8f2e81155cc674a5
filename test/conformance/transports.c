/* SPDX-License-Identifier: Apache-2.0
 * transports.c: which transports the conformance tests run over: a line each. */
#include <dlfcn.h>
#include <dpi_transport.h>
#include <glob.h>
#include <harness.h>
#include <stdlib.h>
#include <unistd.h>

/* The hook's decisions follow the case's seed, so that TEST_SEED brings a failure back. */
static void seed_hook(int rank, int ranks)
{
	char text[256];
	const char *hook = getenv("DPI_HOOK");
	(void)rank, (void)ranks;
	snprintf(text, sizeof text, "%s,seed=%" PRIu64, hook && *hook ? hook : "count", harness_seed());
	setenv("DPI_HOOK", text, 1);
}

/* Both in one cluster: where a node of odd rank takes part it is tcp, else shm. */
static void mix(int rank, int ranks)
{
	(void)ranks;
	if (rank % 2) setenv("DPI_TRANSPORT", "tcp", 1);
}

/* Has the machine RDMA devices, and are they of a kind? 4: iWARP, whose device's port speaks TCP. */
static bool devices(bool iwarp)
{
	glob_t found;
	int some = 0;
	if (glob("/sys/class/infiniband/*/node_type", GLOB_NOSORT, NULL, &found)) return false;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		FILE *f = fopen(found.gl_pathv[i], "re");
		some += f && (fgetc(f) == '4') == iwarp;
		if (f) fclose(f);
	}
	globfree(&found);
	return some;
}

static bool rdma(void)
{
	return devices(false) && harness_carries("verbs");
}

static bool iwarp(void)
{
	return devices(true) && !devices(false) && harness_carries("verbs");
}

/* Where this program finds the module NAME, as it is not beside the library's modules. */
static bool module(const char *name, char *folder, size_t size)
{
	char path[4300];
	snprintf(folder, size, "%.4000s/dpi", harness_build());
	snprintf(path, sizeof path, "%.4000s/dpi/libdpi-%.64s.so", harness_build(), name);
	return !access(path, F_OK);
}

static int no_text(void *self, int error, const char *format, ...)
{
	(void)self, (void)format;
	return error;
}

static const char *no_setting(void *self, const char *name)
{
	(void)self, (void)name;
	return "";
}

/* Not under sanitizers that take libfabric's own leaks, and what they cannot see of its locks, for errors of the library. */
static bool libfabric(void)
{
	char folder[4200];
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
	return false;
#endif
	return module("libfabric", folder, sizeof folder);
}

static void modules(int rank, int ranks)
{
	char folder[4200];
	(void)rank, (void)ranks;
	module("", folder, sizeof folder);
	setenv("DPI_MODULES", folder, 1);
}

/* Nodes listen at two devices' addresses in turn, so that what they say goes over the wire; test/rdma-vm/run says where these are. */
static void between_devices(int rank, int ranks)
{
	char hosts[2][64];
	modules(rank, ranks);
	if (sscanf(getenv("RDMA_HOSTS"), "%63s %63s", hosts[0], hosts[1]) != 2) SKIP("RDMA_HOSTS has not two addresses");
	setenv("DPI_LISTEN", hosts[rank % 2], 1);
	setenv("DPI_KEY_FILE", getenv("RDMA_KEY_FILE"), 1);
}

static bool two_devices(void)
{
	return (rdma() || iwarp()) && getenv("RDMA_HOSTS") && getenv("RDMA_KEY_FILE");
}

static bool two_devices_of_libfabric(void)
{
	return two_devices() && libfabric();
}

/* libfabric looks for its providers for half a second, once in a process; what is found here the cases' processes inherit. Not where there
 * are RDMA devices: it opens them, and a process that has inherited one may not use it (error 13 of each send). */
static void libfabric_first(void)
{
	static bool done;
	char file[4300], *end;
	if (done || devices(false) || devices(true)) return;
	done = true;
	module("libfabric", file, sizeof file - 64);
	end = file + strlen(file);
	snprintf(end, 64, "/libdpi-libfabric.so");
	void *loaded = dlopen(file, RTLD_NOW | RTLD_LOCAL);
	DPI_Tp_Entry entry = NULL;
	if (loaded) *(void **)&entry = dlsym(loaded, "dpi_transport_1");
	DPI_Tp_Core core = {.abi = DPI_TP_ABI, .size = sizeof core, .fail_text = no_text, .setting = no_setting};
	char reason[128];
	if (entry) entry()->probe(&core, reason, sizeof reason);
}

#define FAULTS "DPI_HOOK=delay=30,reorder,again=0.1,short=0.3"

ENROL(shm, "DPI_TRANSPORT=shm", NULL);
ENROL(tcp, "DPI_TRANSPORT=tcp", NULL);
ENROL(hook_shm, "DPI_TRANSPORT=hook:shm " FAULTS, seed_hook);
ENROL(hook_shm_nodirect, "DPI_TRANSPORT=hook:shm " FAULTS ",nodirect,noorder", seed_hook);
ENROL(hook_tcp, "DPI_TRANSPORT=hook:tcp " FAULTS, seed_hook);
ENROL(mixed, "DPI_TRANSPORT=shm,tcp", mix);
ENROL_IF(verbs, "DPI_TRANSPORT=verbs DPI_LISTEN=", modules, rdma);
ENROL_IF(iwarp, "DPI_TRANSPORT=verbs DPI_LISTEN=", modules, iwarp);
ENROL_IF(wire, "DPI_TRANSPORT=verbs DPI_LISTEN=", between_devices, two_devices);
/* Verbs and libfabric take addresses that an interface has: not the one of loopback that the harness gives each case. */
ENROL_ALSO(libfabric, "DPI_TRANSPORT=libfabric DPI_LISTEN= DPI_FABRIC=tcp", modules, .present = libfabric, .before = libfabric_first);
ENROL_ALSO(libfabric_rxm, "DPI_TRANSPORT=libfabric DPI_LISTEN= DPI_FABRIC=tcp;ofi_rxm", modules, .present = libfabric, .before = libfabric_first,
	   .kit_only = true);
/* Larger messages than that do not come in the order in which they were sent. */
ENROL_ALSO(libfabric_rxm_4k, "DPI_TRANSPORT=libfabric DPI_LISTEN= DPI_FABRIC=tcp;ofi_rxm FI_OFI_RXM_BUFFER_SIZE=4096", modules, .present = libfabric,
	   .before = libfabric_first, .kit_only = true);
ENROL_ALSO(libfabric_verbs, "DPI_TRANSPORT=libfabric DPI_LISTEN= DPI_FABRIC=verbs", between_devices, .present = two_devices_of_libfabric,
	   .kit_only = true);
ENROL_ALSO(libfabric_verbs_rxm, "DPI_TRANSPORT=libfabric DPI_LISTEN= DPI_FABRIC=verbs;ofi_rxm", between_devices, .present = two_devices_of_libfabric,
	   .kit_only = true);
ENROL_ALSO(libfabric_shm, "DPI_TRANSPORT=libfabric DPI_LISTEN= DPI_FABRIC=shm", modules, .present = libfabric, .before = libfabric_first, .kit_only = true);
