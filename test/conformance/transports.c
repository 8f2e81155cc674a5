/* SPDX-License-Identifier: Apache-2.0
 * transports.c: which transports the conformance tests run over: a line each. */
#include <glob.h>
#include <harness.h>
#include <stdlib.h>

/* The hook's decisions follow the case's seed, so that TEST_SEED brings a failure back. */
static void seed_hook(int rank, int ranks)
{
	char text[256];
	const char *hook = getenv("DPI_HOOK");
	(void)rank, (void)ranks;
	snprintf(text, sizeof text, "%s,seed=%" PRIu64, hook ? hook : "count", harness_seed());
	setenv("DPI_HOOK", text, 1);
}

/* Both in one cluster: where a node of odd rank takes part it is tcp, else shm. */
static void mix(int rank, int ranks)
{
	(void)ranks;
	if (rank % 2) setenv("DPI_TRANSPORT", "tcp", 1);
}

/* This program is not beside the library's modules. */
static void modules(int rank, int ranks)
{
	char folder[4096];
	(void)rank, (void)ranks;
	snprintf(folder, sizeof folder, "%s/dpi", harness_build());
	setenv("DPI_MODULES", folder, 1);
}

/* Has the machine an RDMA device? */
static bool rdma(void)
{
	glob_t found;
	bool some = !glob("/sys/class/infiniband/*", GLOB_NOSORT, NULL, &found);
	if (some) globfree(&found);
	return some;
}

#define FAULTS "DPI_HOOK=delay=30,reorder,again=0.1,short=0.3"

ENROL(shm, "DPI_TRANSPORT=shm", NULL);
ENROL(tcp, "DPI_TRANSPORT=tcp", NULL);
ENROL(hook_shm, "DPI_TRANSPORT=hook:shm " FAULTS, seed_hook);
ENROL(hook_shm_nodirect, "DPI_TRANSPORT=hook:shm " FAULTS ",nodirect,noorder", seed_hook);
ENROL(hook_tcp, "DPI_TRANSPORT=hook:tcp " FAULTS, seed_hook);
ENROL(mixed, "DPI_TRANSPORT=shm,tcp", mix);
ENROL_IF(verbs, "DPI_TRANSPORT=verbs", modules, rdma);
