/* SPDX-License-Identifier: Apache-2.0
 * dpi_top.c: dpi-top: what the flows of a running cluster do. See dpi-top(1). */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dpi_top/sample.h"
#include "log.h"

static const char help[] = "usage: dpi-top [--json] [--once] [--interval SECONDS] [--process PID | --cluster ADDRESS [--job JOB]]\n"
			   "What the flows of a running DPI cluster do: rates, who waits for whom, how full rings are, what stages let pass.\n"
			   "\n"
			   "  --process PID      join the cluster of this process, as its environment names it\n"
			   "  --cluster ADDRESS  join this one; without either that of the environment: DPI_CLUSTER\n"
			   "  --job JOB          its name; otherwise DPI_JOB\n"
			   "  --interval SECONDS between two looks, 0.01 to 3600; 1 if not given\n"
			   "  --once             look twice, an interval apart, show the second, and end\n"
			   "  --json             a line of JSON for each look\n";

static struct {
	bool json, once;
	double interval;
	long process;
	const char *cluster, *job, *key;
} options = { .interval = 1 };

static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
	(void)signal;
	stop = 1;
}

static int complain(const char *why, const char *word)
{
	fprintf(stderr, "dpi-top: %s%s; see dpi-top --help\n", why, word);
	return 2;
}

/* ------------------------------------------------------------------------------------------------- which cluster */

/* All variables of a process, each with its 0; their size, negative if they cannot be read. A process in the middle of
 * execve() has none for a moment: an empty environment is looked at again for a second. */
static ssize_t environment_of(long pid, char *text, size_t room)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%ld/environ", pid);
	for (int looks = 100;; looks--) {
		FILE *f = fopen(path, "r");
		if (!f) return -1;
		size_t size = fread(text, 1, room, f);
		bool failed = ferror(f);
		fclose(f);
		if (failed) return -1;
		if (size || !looks) return (ssize_t)size;
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
}

/* The variables of another process that say where its cluster is. */
static bool read_environment(long pid)
{
	static char text[1 << 17];
	ssize_t size = environment_of(pid, text, sizeof text - 1);
	if (size < 0) {
		fprintf(stderr, "dpi-top: the environment of process %ld cannot be read: %s\n", pid, strerror(errno));
		return false;
	}
	for (const char *at = text; at < text + size; at += strlen(at) + 1) {
		if (!strncmp(at, "DPI_CLUSTER=", 12)) options.cluster = at + 12;
		if (!strncmp(at, "DPI_JOB=", 8)) options.job = at + 8;
		if (!strncmp(at, "DPI_KEY_FILE=", 13)) options.key = at + 13;
	}
	if (options.cluster) return true;
	fprintf(stderr, "dpi-top: process %ld has no DPI_CLUSTER in its environment: it is in no cluster, or was told by other means: use --cluster\n", pid);
	return false;
}

/* As one node more, that takes any number and is waited for by nobody. */
static int join(DPI_Context *ctx)
{
	static char cluster[512], job[128], key[4200];
	const char *list[8] = { "node=", "nodes=0", "listen_fd=-1", "timeout=5s" };
	size_t count = 4;
	DPI_Init_Attr attr = DPI_INIT_ATTR_INIT;
	const char *where = options.cluster ? options.cluster : getenv("DPI_CLUSTER"), *detail;
	if (!where || !*where) return complain("no cluster is named: use --process or --cluster, or set DPI_CLUSTER", "");
	snprintf(cluster, sizeof cluster, "cluster=%s", where);
	list[count++] = cluster;
	if (options.job) {
		snprintf(job, sizeof job, "job=%s", options.job);
		list[count++] = job;
	}
	if (options.key) {
		snprintf(key, sizeof key, "key_file=%s", options.key);
		list[count++] = key;
	}
	attr.settings = list;
	attr.settings_count = count;
	if (!DPI_Init_With(&attr, ctx)) return 0;
	DPI_Get_Error_Detail(&detail);
	fprintf(stderr, "dpi-top: %s\n", detail);
	return 1;
}

/* ---------------------------------------------------------------------------------------------------------- looking */

static void sleep_until(double when)
{
	struct timespec t = { (time_t)when, (long)((when - (double)(time_t)when) * 1e9) };
	while (!stop && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {}
}

static double monotonic(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int look(DPI_Context ctx)
{
	struct sample before = { 0 }, s;
	bool redraw = isatty(1), first = true, good = true;
	for (double next = monotonic();; next += options.interval) {
		if (!sample_take(ctx, first ? NULL : &before, &s)) {
			sample_free(&s);
			if (!options.json) puts("the cluster has ended");
			break;
		}
		if (!options.once || !first) good = options.json ? json_write(&s) : screen_write(&s, redraw && !options.once);
		sample_free(&before);
		before = s;
		if (!good || stop || (options.once && !first)) break;
		first = false;
		if (monotonic() > next + options.interval) next = monotonic();
		sleep_until(next + options.interval);
		if (stop) break;
	}
	sample_free(&before);
	if (!good) fputs("dpi-top: standard output cannot be written\n", stderr);
	return !good;
}

int main(int argc, char **argv)
{
	static const struct option known[] = { { "json", 0, 0, 'j' }, { "once", 0, 0, 'o' }, { "interval", 1, 0, 'i' }, { "process", 1, 0, 'p' },
					       { "cluster", 1, 0, 'c' }, { "job", 1, 0, 'b' },	{ "help", 0, 0, 'h' },	  { 0, 0, 0, 0 } };
	int c;
	char *end;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1) switch (c) {
		case 'j': options.json = true; break;
		case 'o': options.once = true; break;
		case 'i':
			options.interval = strtod(optarg, &end);
			if (*end || !(options.interval >= 0.01) || options.interval > 3600)
				return complain("--interval takes 0.01 to 3600 seconds, not ", optarg);
			break;
		case 'p':
			options.process = strtol(optarg, &end, 10);
			if (*end || options.process < 1) return complain("--process takes the number of a process, not ", optarg);
			break;
		case 'c': options.cluster = optarg; break;
		case 'b': options.job = optarg; break;
		case 'h': fputs(help, stdout); return fflush(stdout) ? 1 : 0;
		default: return complain("there is no option ", argv[optind - 1]);
		}
	if (optind < argc) return complain("there is no option ", argv[optind]);
	if (options.process && options.cluster) return complain("either --process or --cluster", "");
	if (options.process && !read_environment(options.process)) return 1;
	struct sigaction act = { .sa_handler = on_signal };
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	signal(SIGPIPE, SIG_IGN);
	DPI_Context ctx;
	int status = join(&ctx);
	if (status) return status;
	dpi_log_set(DPI_LOG_ERROR, -1); /* that a node it looked at has died is shown */
	status = look(ctx);
	DPI_Finalize(ctx);
	return status;
}
