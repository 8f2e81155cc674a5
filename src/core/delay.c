/* SPDX-License-Identifier: Apache-2.0
 * delay.c: how threads are held up, in builds that want it. */
#include "delay.h"

#ifdef DPI_DELAYS

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#define EPOCH 256   /* visits between two choices of the hot points */
#define HOT_SHARE 8 /* one point in so many is hot: a thread is held up there often */

static _Atomic uint64_t the_seed = 1, threads;

void dpi_delay_seed(uint64_t seed)
{
	atomic_store(&the_seed, seed);
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static void hold(uint64_t draw)
{
	static _Atomic int sink;
	struct timespec t = { 0, (long)(draw >> 8 & 65535) };
	if (draw % 8 == 0) nanosleep(&t, NULL);
	else if (draw % 8 < 4) sched_yield();
	else for (uint64_t i = draw >> 8 & 1023; i; i--) atomic_store_explicit(&sink, 0, memory_order_relaxed);
}

void dpi_delay(const char *point)
{
	static _Thread_local uint64_t state, visits;
	int saved = errno;
	if (!state) state = mix(atomic_load(&the_seed) + atomic_fetch_add(&threads, 1) * 0x9e3779b97f4a7c15u) | 1;
	state ^= state << 13, state ^= state >> 7, state ^= state << 17;
	uint64_t epoch = mix(atomic_load_explicit(&the_seed, memory_order_relaxed) + visits++ / EPOCH);
	int hot = mix(epoch ^ (uint64_t)(uintptr_t)point) % HOT_SHARE == 0;
	if ((state >> 40) % (hot ? 4 : 128) == 0) hold(state);
	errno = saved;
}

#endif
