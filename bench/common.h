/* SPDX-License-Identifier: Apache-2.0 */
/* What every benchmark program shares: the clock, its options, the one line of JSON it prints. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define CACHE_LINE 64

/* Every option any program knows; a program accepts the ones it names to options_parse. Bytes unless said otherwise. */
struct options {
	uint64_t size;		/* a record */
	uint64_t ring;		/* room between one appender and the consumer */
	uint64_t publish;	/* 0: every record */
	uint64_t batch;		/* bytes the program hands over at once; 0: a record each */
	uint64_t next;		/* records the consumer takes at once; 0: a run */
	uint64_t footprint;	/* memory walked over */
	uint64_t eager;		/* the largest message MPI sends without asking first; 0: its own choice */
	uint64_t window;	/* messages in flight */
	uint64_t signal;	/* one request in so many asks for a completion */
	uint64_t pieces;	/* of memory that a record is in */
	uint64_t appenders;
	uint64_t sources, targets;
	uint64_t flows;
	uint64_t work;		/* nanoseconds of a target's for each row, or before each answer */
	uint64_t processes;
	uint64_t flush;		/* 0 or 1: flush after every record */
	uint64_t parts;		/* that rows are dealt out to */
	uint64_t columns;	/* of the key */
	uint64_t groups;	/* different keys */
	uint64_t touch;		/* 0 or 1: the receiver reads every cache line */
	uint64_t bloom;		/* 0 or 1: rows that find no partner are dropped where they are pushed */
	double seconds;
	double scale;		/* TPC-H's scale factor */
	double select;		/* share of the orders that are joined */
	double skew;		/* exponent of Zipf's law */
	const char *mode, *direction, *transport, *memory, *method, *move, *filter, *roles, *keys, *dist, *by, *aggregate, *codec, *ack, *path, *provider, *multicast;
};

/* Fills *o from defaults and argv. accepted: names separated by spaces. A wrong option ends the program with a sentence. */
void options_parse(struct options *o, const char *accepted, int argc, char **argv);

struct metric {
	const char *key;
	double value;
};

/* The program's one line on stdout: bench, peer, the accepted options, then the metrics up to a NULL key. */
void result_print(const char *bench, const char *peer, const struct options *o, const struct metric *metrics);

/* The same for the common case of a stream of equal records. */
void result_stream(const char *peer, const struct options *o, uint64_t records, uint64_t nanoseconds);

#define EXIT_SKIPPED 77 /* the machine lacks what this program needs; stderr says what */

_Noreturn void die(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

uint64_t now_ns(void);
unsigned char *memory_touched(size_t size); /* mapped, and written once: page faults are not what is measured */

/* One word of every cache line of a record: what a consumer that looks at its data must at least load. */
static inline uint64_t read_lines(const void *record, size_t size)
{
	const unsigned char *p = record;
	uint64_t sum = 0, word;

	if (size < sizeof word)
		return size ? p[0] : 0;
	for (size_t at = 0; at + sizeof word <= size; at += CACHE_LINE) {
		memcpy(&word, p + at, sizeof word);
		sum += word;
	}
	return sum;
}

/* Makes the compiler believe that value is used. */
static inline void keep(uint64_t value)
{
	__asm__ volatile("" ::"r"(value));
}

/* A record filled with a pattern, so that sums of read_lines can be checked. */
unsigned char *record_new(size_t size);

#endif
