/* SPDX-License-Identifier: Apache-2.0 */
/* The fastest way we know to stream records between two processes by hand: a private single-producer ring each. */
#include "../common.h"
#include "../process.h"

#include <stdalign.h>
#include <stdatomic.h>

/* Two lines apart, because the adjacent-line prefetcher fetches pairs. */
struct ring {
	alignas(2 * CACHE_LINE) _Atomic uint64_t tail; /* records published, ever */
	_Atomic bool closed;
	alignas(2 * CACHE_LINE) _Atomic uint64_t head; /* records consumed, ever: the credit */
	alignas(2 * CACHE_LINE) unsigned char data[];
};

static struct options o;
static uint64_t group, slots; /* records between publications; in a ring, a multiple of group */
static unsigned char *rings;
static size_t stride;

static struct ring *ring_of(unsigned index)
{
	return (struct ring *)(void *)(rings + index * stride);
}

/* A program that knows its record lets the compiler copy it. */
static void copy_group(unsigned char *to, const unsigned char *record)
{
#define COPY_EACH(bytes) \
	for (uint64_t i = 0; i < group; i++, to += (bytes)) \
		memcpy(to, record, (bytes));
	switch (o.size) {
	case 8: COPY_EACH(8) break;
	case 16: COPY_EACH(16) break;
	case 32: COPY_EACH(32) break;
	case 64: COPY_EACH(64) break;
	case 128: COPY_EACH(128) break;
	default: COPY_EACH(o.size) break;
	}
#undef COPY_EACH
}

static void produce(unsigned index, void *arg)
{
	struct ring *r = ring_of(index);
	const unsigned char *record = arg;
	uint64_t tail = 0, head = 0, at = 0;

	pin_appender(index);
	timer_start(o.seconds);
	while (!time_is_up) {
		/* acquire: the consumer's loads of the slots come before our overwriting them */
		for (unsigned spins = 0; tail + group - head > slots && !time_is_up; relax(&spins))
			if (tail + group - (head = atomic_load_explicit(&r->head, memory_order_acquire)) <= slots)
				break;
		if (tail + group - head > slots)
			break;
		copy_group(r->data + at * o.size, record);
		at = at + group == slots ? 0 : at + group;
		tail += group;
		/* release: whoever sees the tail sees the records */
		atomic_store_explicit(&r->tail, tail, memory_order_release);
	}
	atomic_store_explicit(&r->closed, true, memory_order_release);
}

static uint64_t read_run(const unsigned char *from, uint64_t records, size_t size)
{
	uint64_t sum = 0;

	if (size == 64)
		for (; records--; from += 64)
			sum += read_lines(from, 64);
	else
		for (; records--; from += size)
			sum += read_lines(from, size);
	return sum;
}

struct reader {
	uint64_t seen, at, credited;
	bool done;
};

static uint64_t consume(struct reader *me, struct ring *r, uint64_t *sum)
{
	/* closed is read first: a tail read after it is the last one */
	bool closed = atomic_load_explicit(&r->closed, memory_order_acquire);
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_acquire), before = me->seen;

	while (me->seen < tail) {
		uint64_t run = tail - me->seen, batch = slots / 4 ? slots / 4 : 1;

		if (run > slots - me->at)
			run = slots - me->at;
		if (run > batch)
			run = batch;
		*sum += read_run(r->data + me->at * o.size, run, o.size);
		me->seen += run;
		me->at += run;
		if (me->at == slots)
			me->at = 0;
		if (me->seen - me->credited >= batch) {
			me->credited = me->seen;
			atomic_store_explicit(&r->head, me->seen, memory_order_release);
		}
	}
	me->done = closed;
	return me->seen - before;
}

int main(int argc, char **argv)
{
	struct reader readers[64] = { 0 };
	uint64_t records = 0, sum = 0, start = 0, end = 0;
	unsigned char *record;
	unsigned open, spins = 0;

	options_parse(&o, "size seconds appenders ring publish", argc, argv);
	group = o.publish / o.size ? o.publish / o.size : 1;
	if (o.ring / o.size < 2 * group)
		die(2, "a ring of %llu bytes holds less than two publications", (unsigned long long)o.ring);
	slots = o.ring / o.size / group * group;
	stride = (sizeof(struct ring) + slots * o.size + 4095) / 4096 * 4096;
	rings = shared_memory(stride * o.appenders);
	record = record_new(o.size);

	for (unsigned i = 0; i < o.appenders; i++)
		spawn(produce, i, record);
	pin_consumer();
	timer_start(o.seconds);
	do {
		uint64_t got = 0;

		open = 0;
		for (unsigned i = 0; i < o.appenders; i++)
			if (!readers[i].done) {
				got += consume(&readers[i], ring_of(i), &sum);
				open++;
			}
		records += got;
		if (!got) {
			relax(&spins);
			continue;
		}
		spins = 0;
		/* A consumer that looks again at once takes the tail's line away from the producer at every record; 2 us of
		 * rest make it several times as fast. */
		for (unsigned i = 0; got * o.size < 8192 && i < 32; i++)
			cpu_pause();
		if (!start) { /* what came before the clock was read does not count */
			start = now_ns();
			sum = records = 0;
		}
	} while (open);
	end = now_ns();
	reap((unsigned)o.appenders);
	if (sum != records * read_lines(record, o.size))
		die(1, "the records that arrived are not those sent");
	result_stream("raw_ring", &o, records, end - start);
	return 0;
}
