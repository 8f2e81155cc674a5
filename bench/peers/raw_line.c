/* SPDX-License-Identifier: Apache-2.0 */
/* One cache line handed from core to core and another one back: the least a message can cost. */
#include "../latency.h"
#include "../process.h"

#include <stdalign.h>
#include <stdatomic.h>

struct lines {
	alignas(2 * CACHE_LINE) _Atomic uint64_t there;
	alignas(2 * CACHE_LINE) _Atomic uint64_t back;
	alignas(2 * CACHE_LINE) uint64_t count;
};

#define STOP UINT64_MAX

static struct options o;

static void round_trip(void *arg)
{
	struct lines *l = arg;
	uint64_t n = ++l->count;

	atomic_store_explicit(&l->there, n, memory_order_release);
	while (atomic_load_explicit(&l->back, memory_order_acquire) != n)
		;
}

static void echo(unsigned index, void *arg)
{
	struct lines *l = arg;
	uint64_t n, last = 0;

	pin_appender(index);
	timer_start(o.seconds); /* dies by itself 10 s later */
	do {
		while ((n = atomic_load_explicit(&l->there, memory_order_acquire)) == last)
			;
		atomic_store_explicit(&l->back, last = n, memory_order_release);
	} while (n != STOP);
}

int main(int argc, char **argv)
{
	struct lines *l = shared_memory(sizeof *l);

	options_parse(&o, "size seconds mode", argc, argv);
	if (o.size != sizeof l->there || strcmp(o.mode, "spin"))
		die(2, "a line is handed over with --size 8 --mode spin");
	spawn(echo, 0, l);
	pin_consumer();
	timer_start(o.seconds);
	latency_run("raw_line", &o, round_trip, l);
	atomic_store_explicit(&l->there, STOP, memory_order_release);
	reap(1);
	return 0;
}
