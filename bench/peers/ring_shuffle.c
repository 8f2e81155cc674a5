/* SPDX-License-Identifier: Apache-2.0 */
/* A shuffle by hand over shared memory: a private single-producer ring for each pair of source and target, rows copied
 * straight into it, published every --publish bytes. A process that is source and target takes what came after every
 * 64 KiB that it pushed, and while it waits for room. */
#include "../shuffle.h"

#include <stdalign.h>
#include <stdatomic.h>

/* Two lines apart, because the adjacent-line prefetcher fetches pairs. */
struct ring {
	alignas(2 * CACHE_LINE) _Atomic uint64_t tail; /* rows published, ever */
	_Atomic bool closed;
	alignas(2 * CACHE_LINE) _Atomic uint64_t head; /* rows consumed, ever: the credit */
	alignas(2 * CACHE_LINE) unsigned char data[];
};

/* A source's end of a ring: there is room for the rows up to stop. */
struct writer {
	unsigned char *at, *stop;
	struct ring *ring;
	uint64_t tail, head; /* tail: rows up to the group being written; head: as last seen */
};

struct reader {
	uint64_t seen, at, credited;
	bool done;
};

static uint64_t group, slots; /* rows between publications; in a ring, a multiple of group */
static unsigned char *rings;
static size_t stride;
static struct writer writers[PARTIES];
static struct reader readers[PARTIES];
static unsigned open_rings; /* of this target */

static struct ring *ring_of(unsigned source, unsigned target)
{
	return (struct ring *)(void *)(rings + (source * shuffle.targets + target) * stride);
}

/* --------------------------------------------------------------------------------------------------------- target */

static uint64_t take_ring(struct reader *me, struct ring *r, struct tally *got)
{
	/* closed is read first: a tail read after it is the last one */
	bool closed = atomic_load_explicit(&r->closed, memory_order_acquire);
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_acquire), before = me->seen;
	uint64_t batch = slots / 4 ? slots / 4 : 1;

	while (me->seen < tail) {
		uint64_t run = tail - me->seen;

		if (run > slots - me->at)
			run = slots - me->at;
		if (run > batch)
			run = batch;
		take_rows(got, r->data + me->at * shuffle.o.size, run, shuffle.o.size);
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

static uint64_t take_all(unsigned target, struct tally *got)
{
	uint64_t rows = 0;

	open_rings = 0;
	for (unsigned s = 0; s < shuffle.sources; s++)
		if (!readers[s].done) {
			rows += take_ring(&readers[s], ring_of(s, target), got);
			open_rings += !readers[s].done;
		}
	return rows;
}

static void take_until_end(unsigned target, struct outcome *mine)
{
	unsigned spins = 0;

	do {
		uint64_t rows = take_all(target, &mine->got);

		if (!rows) {
			shuffle_relax(&spins);
			continue;
		}
		spins = 0;
		/* a consumer that looks again at once takes the tail's line away from the producer at every group */
		for (unsigned i = 0; rows * shuffle.o.size < 8192 && i < 32; i++)
			cpu_pause();
	} while (open_rings);
	mine->end = now_ns();
}

/* --------------------------------------------------------------------------------------------------------- source */

static void wait_or_take(int target, struct tally *got, unsigned *spins)
{
	if (target >= 0 && take_all((unsigned)target, got))
		*spins = 0;
	else
		shuffle_relax(spins);
}

/* Publishes what was written and waits until there is room for another group. */
static void next_group(struct writer *w, int target, struct tally *got)
{
	unsigned char *end = w->ring->data + slots * shuffle.o.size;

	w->tail += group;
	/* release: whoever sees the tail sees the rows */
	atomic_store_explicit(&w->ring->tail, w->tail, memory_order_release);
	/* acquire: the consumer's loads of the slots come before our overwriting them */
	for (unsigned spins = 0; w->tail + group - w->head > slots; wait_or_take(target, got, &spins))
		if (w->tail + group - (w->head = atomic_load_explicit(&w->ring->head, memory_order_acquire)) <= slots)
			break;
	if (w->at == end)
		w->at = w->ring->data;
	w->stop = w->at + group * shuffle.o.size;
}

static always_inline void write_row(struct writer *w, const unsigned char *row, size_t size, int target, struct tally *got)
{
	memcpy(w->at, row, size);
	w->at += size;
	if (__builtin_expect(w->at == w->stop, 0))
		next_group(w, target, got);
}

static always_inline void push_rows(size_t size, const unsigned char *row, size_t count, int target, struct tally *got)
{
	for (; count--; row += size) {
		if (!shuffle.broadcast)
			write_row(&writers[row_target(row, shuffle.targets)], row, size, target, got);
		else
			for (unsigned t = 0; t < shuffle.targets; t++)
				write_row(&writers[t], row, size, target, got);
	}
}

static void push_until_end(unsigned source, int target, const struct rows *rows, struct outcome *mine)
{
	size_t look = rows_per_look(), at = 0;
	uint64_t pushed = 0;

	for (unsigned looks = 1; !time_is_up; looks++) {
		size_t count = rows->count - at < look ? rows->count - at : look;

		WITH_SIZE(shuffle.o.size, push_rows, rows->data + at * shuffle.o.size, count, target, &mine->got);
		pushed += count;
		at = at + count == rows->count ? 0 : at + count;
		if (target >= 0 && looks % 8 == 0)
			take_all((unsigned)target, &mine->got);
	}
	for (unsigned t = 0; t < shuffle.targets; t++) {
		struct writer *w = &writers[t];

		w->tail += group - (uint64_t)(w->stop - w->at) / shuffle.o.size;
		atomic_store_explicit(&w->ring->tail, w->tail, memory_order_release);
		atomic_store_explicit(&ring_of(source, t)->closed, true, memory_order_release);
	}
	outcome_sent(mine, rows, pushed);
}

static void body(unsigned process, struct outcome *mine)
{
	int source = source_of(process), target = target_of(process);
	struct rows rows = { 0 };

	if (source >= 0) {
		rows = rows_new((unsigned)source);
		for (unsigned t = 0; t < shuffle.targets; t++) {
			struct writer *w = &writers[t];

			w->ring = ring_of((unsigned)source, t);
			w->at = w->ring->data;
			w->stop = w->at + group * shuffle.o.size;
		}
	}
	shuffle_begin(mine);
	if (source >= 0)
		push_until_end((unsigned)source, target, &rows, mine);
	if (target >= 0)
		take_until_end((unsigned)target, mine);
}

int main(int argc, char **argv)
{
	const struct options *o = &shuffle.o;

	shuffle_options("ring publish", argc, argv);
	group = o->publish / o->size ? o->publish / o->size : 1;
	if (o->ring / o->size < 2 * group)
		die(2, "a ring of %llu bytes holds less than two publications", (unsigned long long)o->ring);
	slots = o->ring / o->size / group * group;
	stride = (sizeof(struct ring) + slots * o->size + 4095) / 4096 * 4096;
	rings = shared_memory(stride * shuffle.sources * shuffle.targets);
	shuffle_run("raw_ring", body);
	return 0;
}
