/* SPDX-License-Identifier: Apache-2.0 */
#include "common.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum kind { BYTES, COUNT, SECONDS, WORD };

static const struct option {
	const char *name;
	enum kind kind;
	size_t offset;
	const char *fallback;
	const char *choices; /* of a WORD; else the least and largest value */
	double least, most;
	const char *help;
} table[] = {
#define FIELD(f) offsetof(struct options, f)
	{ "size", BYTES, FIELD(size), "64", NULL, 1, 1 << 26, "bytes of a record" },
	{ "ring", BYTES, FIELD(ring), "256k", NULL, 0, 1 << 30, "bytes of room between an appender and the consumer" },
	{ "publish", BYTES, FIELD(publish), "8k", NULL, 0, 1 << 28, "bytes between publications, 0: every record" },
	{ "batch", BYTES, FIELD(batch), "0", NULL, 0, 1 << 26, "bytes handed over at once, 0: a record each" },
	{ "next", COUNT, FIELD(next), "0", NULL, 0, 1 << 20, "records the consumer takes at once; 0: a run of them" },
	{ "eager", BYTES, FIELD(eager), "0", NULL, 0, 1 << 20, "largest message sent without asking first, 0: MPI's choice" },
	{ "footprint", BYTES, FIELD(footprint), "64m", NULL, 64, 1ull << 34, "bytes of memory walked over" },
	{ "parts", COUNT, FIELD(parts), "32", NULL, 1, 4096, "that rows are dealt out to" },
	{ "columns", COUNT, FIELD(columns), "1", NULL, 1, 2, "of the key" },
	{ "groups", COUNT, FIELD(groups), "200000", NULL, 1, 1 << 28, "different keys" },
	{ "window", COUNT, FIELD(window), "8", NULL, 1, 1024, "messages in flight" },
	{ "signal", COUNT, FIELD(signal), "1", NULL, 1, 256, "one request in so many asks for a completion" },
	{ "pieces", COUNT, FIELD(pieces), "1", NULL, 1, 16, "of memory that a record is in" },
	{ "appenders", COUNT, FIELD(appenders), "1", NULL, 1, 64, "processes that append" },
	{ "sources", COUNT, FIELD(sources), "1", NULL, 1, 64, "that push rows" },
	{ "targets", COUNT, FIELD(targets), "1", NULL, 1, 64, "that rows are dealt out to" },
	{ "work", COUNT, FIELD(work), "0", NULL, 0, 1000000, "nanoseconds of a target's (idle) work for each row, or before each answer" },
	{ "flows", COUNT, FIELD(flows), "1000", NULL, 10, 1 << 16, "one after another, then at once" },
	{ "processes", COUNT, FIELD(processes), "4", NULL, 1, 64, "of the job; of a database threads" },
	{ "flush", COUNT, FIELD(flush), "0", NULL, 0, 1, "1: flush after every record" },
	{ "touch", COUNT, FIELD(touch), "1", NULL, 0, 1, "1: the receiver reads every cache line" },
	{ "bloom", COUNT, FIELD(bloom), "0", NULL, 0, 1, "1: drop rows that find no partner where they are pushed" },
	{ "seconds", SECONDS, FIELD(seconds), "0.5", NULL, 0.01, 600, "how long to measure" },
	{ "scale", SECONDS, FIELD(scale), "1", NULL, 0.001, 100, "TPC-H's scale factor" },
	{ "select", SECONDS, FIELD(select), "1", NULL, 0.0001, 1, "share of the orders that are joined" },
	{ "skew", SECONDS, FIELD(skew), "1.2", NULL, 0, 4, "exponent of Zipf's law, where keys are drawn by it" },
	{ "mode", WORD, FIELD(mode), "spin", "spin|block|stream|one|two|alltoallv|bcast|ibcast|publish|columns|arrow|retained|rings|fetch_add", 0, 0, "how a side waits or works" },
	{ "roles", WORD, FIELD(roles), "apart", "apart|both", 0, 0, "is a process a source or a target, or both" },
	{ "keys", WORD, FIELD(keys), "uniform", "uniform|zipf", 0, 0, "how keys are drawn" },
	{ "aggregate", WORD, FIELD(aggregate), "sum", "sum|min|max|top", 0, 0, "what is known of each key; top: its ten greatest values" },
	{ "codec", WORD, FIELD(codec), "none", "none|lz4|zstd|deflate|aes-256-gcm", 0, 0, "what becomes of segments on the way" },
	{ "ack", WORD, FIELD(ack), "none", "none|received|released|confirmed", 0, 0, "when targets acknowledge rows" },
	{ "dist", WORD, FIELD(dist), "hash", "hash|broadcast", 0, 0, "which targets a row goes to" },
	{ "method", WORD, FIELD(method), "hash", "hash|crc32c|xxh64|radix|range|memcpy", 0, 0, "how parts are found" },
	{ "move", WORD, FIELD(move), "gather", "gather|gather_columns|gather_texts|to_columns|to_rows|partition_columns|partition_texts|memcpy", 0, 0, "what is done to rows or columns" },
	{ "by", WORD, FIELD(by), "library", "library|hand|plain", 0, 0, "what reduces, or filters; plain: a loop that is compiled as the rest is" },
	{ "filter", WORD, FIELD(filter), "one", "one|two|sum", 0, 0, "the condition: one comparison, two, or one with a sum" },
	{ "direction", WORD, FIELD(direction), "write", "read|write|send", 0, 0, "which way the bytes go; send: as messages" },
	{ "transport", WORD, FIELD(transport), "shm", "shm|tcp|sysv|verbs|libfabric", 0, 0, "what carries the bytes" },
	{ "provider", WORD, FIELD(provider), "tcp", "tcp|tcp;ofi_rxm|net|verbs|verbs;ofi_rxm", 0, 0, "libfabric's, where it carries the bytes" },
	{ "multicast", WORD, FIELD(multicast), "off", "on|off", 0, 0, "are rows for several nodes sent once" },
	{ "path", WORD, FIELD(path), "wire", "wire|loop", 0, 0, "between the first RDMA device and the last, or within the first" },
	{ "memory", WORD, FIELD(memory), "shared", "shared|private", 0, 0, "what is walked over" },
#undef FIELD
};
#define NOPTIONS (sizeof table / sizeof table[0])

static const char *accepted_names = "";

_Noreturn void die(int status, const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(status);
}

unsigned char *memory_touched(size_t size)
{
	unsigned char *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (m == MAP_FAILED)
		die(1, "no memory of %zu bytes", size);
	memset(m, 1, size);
	return m;
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Is word among list, separated by sep? */
static bool listed(const char *list, char sep, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = list; length && (at = strstr(at, word)); at++)
		if ((at == list || at[-1] == sep) && (at[length] == sep || !at[length]))
			return true;
	return false;
}

/* Binary suffixes, as everywhere in the project: 64k is 65536. */
static bool parse_number(const struct option *opt, const char *text, double *value)
{
	char *end;

	errno = 0;
	*value = strtod(text, &end);
	if (end == text || errno)
		return false;
	if (opt->kind == BYTES && *end) {
		const char *suffix = strchr("kmg", tolower((unsigned char)*end));
		if (!suffix)
			return false;
		*value *= *suffix == 'k' ? 1 << 10 : *suffix == 'm' ? 1 << 20 : 1 << 30;
		end++;
	}
	if (*end || !(*value >= opt->least && *value <= opt->most))
		return false;
	return opt->kind == SECONDS || *value == (double)(uint64_t)*value;
}

static void set(struct options *o, const struct option *opt, const char *text)
{
	void *field = (char *)o + opt->offset;
	double value;

	if (opt->kind == WORD) {
		if (!listed(opt->choices, '|', text))
			die(2, "--%s takes %s, not '%s'", opt->name, opt->choices, text);
		*(const char **)field = text;
		return;
	}
	if (!parse_number(opt, text, &value))
		die(2, "--%s takes a number from %g to %g%s, not '%s'", opt->name, opt->least, opt->most,
		    opt->kind == BYTES ? " (k, m, g: binary)" : "", text);
	if (opt->kind == SECONDS)
		*(double *)field = value;
	else
		*(uint64_t *)field = (uint64_t)value;
}

static void help(void)
{
	for (size_t i = 0; i < NOPTIONS; i++)
		if (listed(accepted_names, ' ', table[i].name))
			printf("  --%-10s %s%s%s (%s)\n", table[i].name, table[i].help, table[i].choices ? ": " : "",
			       table[i].choices ? table[i].choices : "", table[i].fallback);
	exit(0);
}

void options_parse(struct options *o, const char *accepted, int argc, char **argv)
{
	accepted_names = accepted;
	for (size_t i = 0; i < NOPTIONS; i++)
		set(o, &table[i], table[i].fallback);
	for (int a = 1; a < argc; a += 2) {
		const struct option *opt = NULL;

		if (!strcmp(argv[a], "--help"))
			help();
		for (size_t i = 0; i < NOPTIONS; i++)
			if (!strncmp(argv[a], "--", 2) && !strcmp(argv[a] + 2, table[i].name) && listed(accepted, ' ', table[i].name))
				opt = &table[i];
		if (!opt)
			die(2, "'%s' is no option of this program; --help lists them", argv[a]);
		if (!argv[a + 1])
			die(2, "%s needs a value", argv[a]);
		set(o, opt, argv[a + 1]);
	}
}

void result_print(const char *bench, const char *peer, const struct options *o, const struct metric *metrics)
{
	printf("{\"bench\":\"%s\",\"peer\":\"%s\"", bench, peer);
	for (size_t i = 0; i < NOPTIONS; i++) {
		const void *field = (const char *)o + table[i].offset;

		if (!listed(accepted_names, ' ', table[i].name))
			continue;
		if (table[i].kind == WORD)
			printf(",\"%s\":\"%s\"", table[i].name, *(const char *const *)field);
		else if (table[i].kind == SECONDS)
			printf(",\"%s\":%g", table[i].name, *(const double *)field);
		else
			printf(",\"%s\":%llu", table[i].name, (unsigned long long)*(const uint64_t *)field);
	}
	for (; metrics->key; metrics++)
		printf(",\"%s\":%.6g", metrics->key, metrics->value);
	puts("}");
	fflush(stdout);
}

void result_stream(const char *peer, const struct options *o, uint64_t records, uint64_t nanoseconds)
{
	if (!records || !nanoseconds)
		die(1, "nothing arrived");
	double rate = (double)records / ((double)nanoseconds * 1e-9);

	result_print("stream", peer, o,
		     (struct metric[]){ { "records_per_s", rate }, { "bytes_per_s", rate * (double)o->size }, { NULL, 0 } });
}

unsigned char *record_new(size_t size)
{
	unsigned char *record = aligned_alloc(CACHE_LINE, (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);

	if (!record)
		die(1, "no memory for a record of %zu bytes", size);
	for (size_t i = 0; i < size; i++)
		record[i] = (unsigned char)(i * 7 + 1);
	return record;
}
