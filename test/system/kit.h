/* SPDX-License-Identifier: Apache-2.0
 * kit.h: what system tests share that draw, over which transports they run, and that kill. */
#ifndef KIT_H
#define KIT_H

#include <glob.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "dpi.h"
#include "harness.h"

static inline uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 33) * 0xff51afd7ed558ccdu;
	x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
	return x ^ x >> 33;
}

static inline uint64_t draw(uint64_t *state, uint64_t below)
{
	return mix(*state += 0x9e3779b97f4a7c15u) % below;
}

static inline bool one_in(uint64_t *state, uint64_t n)
{
	return draw(state, n) == 0;
}

static inline double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A number of the environment. */
static inline int number_from(const char *name, int otherwise)
{
	const char *text = getenv(name);
	return text && *text ? atoi(text) : otherwise;
}

static inline void pause_us(uint64_t us)
{
	nanosleep(&(struct timespec){ (time_t)(us / 1000000), (long)(us % 1000000) * 1000 }, NULL);
}

/* Of what is done so often: all, or with TEST_FEW (emulated machines) a twentieth, yet at least few. */
static inline int times(int all, int few)
{
	if (!getenv("TEST_FEW")) return all;
	return all / 20 > few ? all / 20 : few;
}

/* Has the machine an RDMA device that can be used? */
static inline bool rdma(void)
{
	glob_t found;
	bool some = !glob("/sys/class/infiniband/*", GLOB_NOSORT, NULL, &found);
	if (some) globfree(&found);
	return some && harness_carries("verbs");
}
static inline void modules(int rank, int ranks)
{
	char folder[4200];
	(void)rank, (void)ranks;
	snprintf(folder, sizeof folder, "%.4000s/dpi", harness_build());
	setenv("DPI_MODULES", folder, 1);
}

/* The hook's decisions follow the case's seed. */
#define FAULTS "DPI_HOOK=delay=30,reorder,again=0.1,short=0.3"
static inline void seed_hook(int rank, int ranks)
{
	char text[256];
	(void)rank, (void)ranks;
	snprintf(text, sizeof text, "%s,seed=%" PRIu64, getenv("DPI_HOOK"), harness_seed());
	setenv("DPI_HOOK", text, 1);
}
#define ENROL_PLAIN                              \
	ENROL(shm, "DPI_TRANSPORT=shm", NULL); \
	ENROL(tcp, "DPI_TRANSPORT=tcp", NULL); \
	ENROL_IF(verbs, "DPI_TRANSPORT=verbs", modules, rdma)
#define ENROL_WITH_FAULTS                                                                                \
	ENROL_PLAIN;                                                                                       \
	ENROL(hook_shm_nodirect, "DPI_TRANSPORT=hook:shm " FAULTS ",nodirect,noorder", seed_hook);       \
	ENROL(hook_tcp, "DPI_TRANSPORT=hook:tcp " FAULTS, seed_hook)

/* One of count ranks lives at most so long; then it is killed, and started anew. */
static inline void kill_one(int first, int count, uint64_t most_us, uint64_t *state)
{
	int victim = first + (int)draw(state, (uint64_t)count);
	pause_us(draw(state, most_us));
	harness_kill(victim, SIGKILL);
	AWAIT(!harness_alive(victim));
	harness_spawn_rank(victim);
}

/* Create or open a retained flow of INT64 columns, the first its key; its rings are small. */
static inline DPI_Flow retained_flow(DPI_Context ctx, const DPI_Column *columns, size_t count, uint32_t targets, uint32_t sources, int retain,
				     int64_t resume_us)
{
	const char *const key[] = { columns->name };
	DPI_Flow_Attr a = DPI_FLOW_ATTR_INIT;
	DPI_Flow f;
	CHECK_DPI(DPI_Create_Schema(columns, count, &a.schema));
	a.create = DPI_CREATE_OR_OPEN;
	a.targets = targets;
	a.sources = sources;
	a.key = key;
	a.key_count = 1;
	a.retain = retain;
	a.resume_us = resume_us;
	a.segment = 1024;
	a.memory = 1 << 17;
	CHECK_DPI(DPI_Create_Flow("rows", &a, ctx, &f));
	CHECK_DPI(DPI_Free_Schema(a.schema));
	return f;
}

#endif
