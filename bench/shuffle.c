/* SPDX-License-Identifier: Apache-2.0 */
#include "shuffle.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { ZIPF_KEYS = 1 << 16 };

struct shuffle shuffle;

static struct shared {
	_Atomic unsigned arrived;
	struct outcome outcome[PARTIES];
} *shared;

void shuffle_options(const char *more, int argc, char **argv)
{
	struct shuffle *s = &shuffle;
	static char accepted[256];

	snprintf(accepted, sizeof accepted, "size sources targets roles keys skew dist footprint work seconds %s", more);
	options_parse(&s->o, accepted, argc, argv);
	s->sources = (unsigned)s->o.sources;
	s->targets = (unsigned)s->o.targets;
	s->both = !strcmp(s->o.roles, "both");
	s->broadcast = !strcmp(s->o.dist, "broadcast");
	s->processes = s->both ? s->sources : s->sources + s->targets;
	s->crowded = !cores_for(s->processes);
	if (s->both && s->sources != s->targets)
		die(2, "--roles both needs as many sources as targets");
	if (s->processes > PARTIES)
		die(2, "%u processes are more than %d", s->processes, PARTIES);
	if (s->o.size % 8)
		die(2, "--size takes a multiple of 8 here, as rows with a key of 8 bytes have");
}

int source_of(unsigned process)
{
	return process < shuffle.sources ? (int)process : -1;
}

int target_of(unsigned process)
{
	if (shuffle.both)
		return (int)process;
	return process < shuffle.sources ? -1 : (int)(process - shuffle.sources);
}

void shuffle_pin(unsigned process)
{
	if (target_of(process) >= 0)
		pin_core((unsigned)target_of(process));
	else
		pin_core(1 + process); /* of a pair, each has a core */
}

/* ----------------------------------------------------------------------------------------------------------- rows */

static uint64_t draw(uint64_t *state)
{
	*state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
	return *state;
}

static uint64_t draw_zipf(uint64_t *state)
{
	static double until[ZIPF_KEYS]; /* the probability of a key up to this one */
	double p = (double)(draw(state) >> 11) / (double)(1ull << 53);
	size_t low = 0, high = ZIPF_KEYS - 1;

	if (until[0] == 0) {
		for (size_t k = 0; k < ZIPF_KEYS; k++)
			until[k] = pow((double)(k + 1), -shuffle.o.skew) + (k ? until[k - 1] : 0);
		for (size_t k = 0; k < ZIPF_KEYS; k++)
			until[k] /= until[ZIPF_KEYS - 1];
	}
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (until[middle] < p)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct rows rows_new(unsigned source)
{
	const struct options *o = &shuffle.o;
	struct rows r = { .count = o->footprint / o->size > 256 ? o->footprint / o->size : 256 };
	uint64_t state = 88172645463325252u + source * 0x9e3779b97f4a7c15, key;
	bool zipf = !strcmp(o->keys, "zipf");

	r.data = record_new(r.count * o->size);
	for (size_t i = 0; i < r.count; i++) {
		key = zipf ? draw_zipf(&state) : draw(&state);
		memcpy(r.data + i * o->size, &key, sizeof key);
	}
	return r;
}

/* ---------------------------------------------------------------------------------------------------------- tally */

/* A target that is slow by itself, though no core is: it rests until its time for these rows is over. What it oversleeps it
 * makes up for. */
static void work_on(uint64_t rows)
{
	static uint64_t until;
	uint64_t now = now_ns(), late = 2000000;

	until = (until + late > now ? until : now - late) + rows * shuffle.o.work;
	if (until > now + 50000)
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME,
				&(struct timespec){ (time_t)(until / 1000000000), (long)(until % 1000000000) }, NULL);
}

void take_rows(struct tally *t, const unsigned char *row, size_t count, size_t stride)
{
	uint64_t sum = 0;

	t->rows += count;
	if (shuffle.o.work)
		work_on(count);
#define TAKE(bytes, step)                            \
	for (; count--; row += (step))               \
		sum += read_lines(row, (bytes))
	if (stride == shuffle.o.size)
		WITH_SIZE(stride, TAKE, stride);
	else
		TAKE(shuffle.o.size, stride);
#undef TAKE
	t->sum += sum;
}

void outcome_sent(struct outcome *mine, const struct rows *rows, uint64_t pushed)
{
	size_t size = shuffle.o.size;

	for (size_t i = 0; i < rows->count; i++) {
		const unsigned char *row = rows->data + i * size;
		uint64_t times = pushed / rows->count + (i < pushed % rows->count), sum = read_lines(row, size);
		unsigned first = shuffle.broadcast ? 0 : row_target(row, shuffle.targets);

		for (unsigned t = first; t < (shuffle.broadcast ? shuffle.targets : first + 1); t++) {
			mine->sent[t].rows += times;
			mine->sent[t].sum += times * sum;
		}
	}
}

void outcome_print(const char *peer, const struct outcome *all)
{
	uint64_t start = UINT64_MAX, end = 0, rows = 0, most = 0, bytes = 0;

	for (unsigned p = 0; p < shuffle.processes; p++) {
		int t = target_of(p);
		struct tally sent = { 0 };

		start = all[p].start < start ? all[p].start : start;
		end = all[p].end > end ? all[p].end : end;
		rows += all[p].got.rows;
		bytes += all[p].bytes;
		most = all[p].got.rows > most ? all[p].got.rows : most;
		for (unsigned s = 0; t >= 0 && s < shuffle.sources; s++) {
			sent.rows += all[s].sent[t].rows;
			sent.sum += all[s].sent[t].sum;
		}
		if (t >= 0 && (sent.rows != all[p].got.rows || sent.sum != all[p].got.sum))
			die(1, "target %d got %llu rows, or others, of %llu sent", t, (unsigned long long)all[p].got.rows,
			    (unsigned long long)sent.rows);
	}
	if (!rows || end <= start)
		die(1, "nothing arrived");
	double rate = (double)rows / ((double)(end - start) * 1e-9);
	result_print("shuffle", peer, &shuffle.o,
		     (struct metric[]){ { "records_per_s", rate },
					{ "bytes_per_s", rate * (double)shuffle.o.size },
					{ "busiest_per_s", rate * (double)most / (double)rows },
					{ "skew", (double)most * shuffle.targets / (double)rows },
					{ bytes ? "bytes_per_row" : NULL, (double)bytes / (double)rows },
					{ NULL, 0 } });
}

/* ----------------------------------------------------------------------------------------------- forked processes */

static void (*work)(unsigned process, struct outcome *mine);

static void child(unsigned process, void *unused)
{
	(void)unused;
	shuffle_pin(process);
	work(process, &shared->outcome[process]);
}

void shuffle_run(const char *peer, void (*body)(unsigned process, struct outcome *mine))
{
	work = body;
	shared = shared_memory(sizeof *shared);
	timer_start(shuffle.o.seconds + 30); /* children that hang before their own timer die with this process */
	for (unsigned p = 0; p < shuffle.processes; p++)
		spawn(child, p, NULL);
	reap(shuffle.processes);
	outcome_print(peer, shared->outcome);
}

void shuffle_meet(void)
{
	unsigned mine = atomic_fetch_add(&shared->arrived, 1), all = (mine / shuffle.processes + 1) * shuffle.processes;

	while (atomic_load(&shared->arrived) < all)
		sched_yield();
}

void shuffle_sleep(void)
{
	clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ 0, 20000 }, NULL);
}

void shuffle_begin(struct outcome *mine)
{
	shuffle_meet();
	timer_start(shuffle.o.seconds);
	mine->start = now_ns();
}
