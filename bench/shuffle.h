/* SPDX-License-Identifier: Apache-2.0 */
/* What every shuffle program shares: who takes part, the rows, the hash that deals them out, the tally that is checked.
 * A source pushes its rows over and over until the time is up; a target reads a word of every cache line it gets. */
#ifndef BENCH_SHUFFLE_H
#define BENCH_SHUFFLE_H

#include "common.h"
#include "process.h"

enum { PARTIES = 64 }; /* most sources, targets and processes */

struct shuffle {
	struct options o;
	unsigned processes, sources, targets;
	bool both;	/* every process is a source and a target; else the sources come first */
	bool broadcast; /* every row goes to every target */
	bool crowded;	/* more processes than cores */
};
extern struct shuffle shuffle;

/* Reads the options and sets all of the above. more: accepted beside those that all shuffles take. */
void shuffle_options(const char *more, int argc, char **argv);

/* The number of the source or target that a process is, or -1; and pinning it. */
int source_of(unsigned process);
int target_of(unsigned process);
void shuffle_pin(unsigned process);

/* ----------------------------------------------------------------------------------------------------------- rows */

/* --footprint bytes of rows of --size: an 8 B key, then a pattern. */
struct rows {
	unsigned char *data;
	size_t count;
};
struct rows rows_new(unsigned source);

/* The target of a row: libdpi's specified hash, one column of int64, salt 0. */
static inline uint64_t hash_mix(uint64_t x)
{
	x = (x ^ x >> 27) * 0x3c79ac492ba7b653;
	x = (x ^ x >> 33) * 0x1c69b3f74ac4ae35;
	return x ^ x >> 27;
}
static inline unsigned row_target(const unsigned char *row, uint64_t targets)
{
	uint64_t key;

	memcpy(&key, row, sizeof key);
	return (unsigned)((hash_mix(hash_mix(0x9e3779b97f4a7c15) ^ key) >> 32) * targets >> 32);
}

/* Calls with the size as a constant where that pays: a program that knows its row lets the compiler copy and read it. */
#define WITH_SIZE(size, call, ...)                            \
	do {                                                  \
		switch (size) {                               \
		case 8: call(8, __VA_ARGS__); break;          \
		case 16: call(16, __VA_ARGS__); break;        \
		case 32: call(32, __VA_ARGS__); break;        \
		case 64: call(64, __VA_ARGS__); break;        \
		case 128: call(128, __VA_ARGS__); break;      \
		default: call((size), __VA_ARGS__); break;    \
		}                                             \
	} while (0)
#define always_inline inline __attribute__((always_inline))

/* Rows between two looks at the clock: 8 KiB. */
static inline size_t rows_per_look(void)
{
	return shuffle.o.size < 8192 ? 8192 / shuffle.o.size : 1;
}

/* ---------------------------------------------------------------------------------------------------------- tally */

struct tally {
	uint64_t rows, sum;
};

/* Of one process. */
struct outcome {
	struct tally sent[PARTIES], got;
	uint64_t start, end; /* nanoseconds; end: of a target */
	uint64_t bytes;	     /* that a source has sent, should it say so */
};

void take_rows(struct tally *t, const unsigned char *row, size_t count, size_t stride);

/* A source that has pushed so many rows, from the first on and over again: what each target must have got of it. */
void outcome_sent(struct outcome *mine, const struct rows *rows, uint64_t pushed);

/* Checks that every target got what was sent to it, and prints the program's line. */
void outcome_print(const char *peer, const struct outcome *all);

/* ----------------------------------------------------------------------------------------------- forked processes */

/* Runs body in a process each, pinned, and prints what came of it. body connects, calls shuffle_begin, and works. */
void shuffle_run(const char *peer, void (*body)(unsigned process, struct outcome *mine));

/* Waits for all processes. */
void shuffle_meet(void);
/* The same, and starts the clock. */
void shuffle_begin(struct outcome *mine);

/* In a loop that waits for another process. Where not every process has a core, one that waits sleeps, so that those that
 * work are not held up by it. */
void shuffle_sleep(void);
static inline void shuffle_relax(unsigned *spins)
{
	if (!shuffle.crowded)
		relax(spins);
	else if (++*spins < 4)
		sched_yield();
	else
		shuffle_sleep();
}

#endif
