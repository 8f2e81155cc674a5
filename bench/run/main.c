/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the plan: every command of a comparison interleaved and repeated, then medians, ratios, a table, JSON and pictures. */
#include "run.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *format(const char *text, ...)
{
	char *made;
	va_list ap;

	va_start(ap, text);
	if (vasprintf(&made, text, ap) < 0)
		abort();
	va_end(ap);
	return made;
}

_Noreturn void stop(const char *text, ...)
{
	va_list ap;

	va_start(ap, text);
	vfprintf(stderr, text, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

static const char usage[] =
	"run [--plan FILE] [--repeat N] [--only NAME] [--list] [--plot] [--json FILE] [--limit SECONDS]\n"
	"  --plan    what to compare (bench/plan; its first lines say how it is written)\n"
	"  --repeat  runs of each command, 1 to 99 (5)\n"
	"  --only    comparisons and figures whose name contains NAME\n"
	"  --plot    measure and draw the figures too\n"
	"  --json    where all figures go (results.json beside this program)\n"
	"  --limit   seconds after which a command is stopped (30)\n";

static void options(struct settings *s, int argc, char **argv)
{
	static const struct option known[] = { { "plan", 1, NULL, 'p' },  { "repeat", 1, NULL, 'r' }, { "only", 1, NULL, 'o' },
					       { "list", 0, NULL, 'l' },  { "plot", 0, NULL, 'g' },   { "json", 1, NULL, 'j' },
					       { "limit", 1, NULL, 't' }, { "help", 0, NULL, 'h' },   { NULL, 0, NULL, 0 } };
	char *end = NULL;

	for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;)
		switch (c) {
		case 'p': s->plan = optarg; break;
		case 'o': s->only = optarg; break;
		case 'l': s->list = true; break;
		case 'g': s->plot = true; break;
		case 'j': s->json = optarg; break;
		case 'r':
			s->repeat = (int)strtol(optarg, &end, 10);
			if (*end || s->repeat < 1 || s->repeat > MOST_REPEATS)
				stop("--repeat takes a number from 1 to %d, not '%s'", MOST_REPEATS, optarg);
			break;
		case 't':
			s->limit = strtod(optarg, &end);
			if (*end || !(s->limit >= 1 && s->limit <= 3600))
				stop("--limit takes seconds from 1 to 3600, not '%s'", optarg);
			break;
		case 'h': fputs(usage, stdout); exit(0);
		default: stop("%s", usage);
		}
	if (optind < argc)
		stop("'%s' is not understood\n%s", argv[optind], usage);
}

/* Where this program is, its fellows are. */
static void find_directory(struct settings *s)
{
	ssize_t n = readlink("/proc/self/exe", s->directory, sizeof s->directory - 1);

	if (n <= 0)
		stop("the runner's own directory cannot be found");
	s->directory[n] = '\0';
	*strrchr(s->directory, '/') = '\0';
}

/* What `make peers` has fetched, unless the environment names another. */
static void find_peers(const struct settings *s)
{
	char *duckdb = format("%s/../peer/libduckdb.so", s->directory);

	if (access(duckdb, R_OK) == 0)
		setenv("BENCH_DUCKDB", duckdb, 0);
	free(duckdb);
}

static void list(const struct plan *plan)
{
	for (int i = 0; i < plan->ncomparisons; i++)
		printf("%-22s %s\n", plan->comparisons[i].name, plan->comparisons[i].target);
	for (int i = 0; i < plan->nfigures; i++)
		printf("%-22s %s\n", plan->figures[i].name, plan->figures[i].title);
}

static int failed_commands(const struct comparison *c)
{
	int failed = 0;

	for (int i = 0; i < c->ncommands; i++)
		failed += c->commands[i].status == FAILED;
	return failed;
}

/* Ratios on a busy machine mean little. */
static void warn_if_busy(void)
{
	double load[1];

	if (getloadavg(load, 1) == 1 && load[0] > 0.5)
		fprintf(stderr, "load average is %.2f: something else runs on this machine\n", load[0]);
}

int main(int argc, char **argv)
{
	static struct settings s = { .plan = "bench/plan", .repeat = 5, .limit = 30 };
	static struct plan plan;
	int failed = 0, chosen = 0;

	find_directory(&s);
	find_peers(&s);
	options(&s, argc, argv);
	if (!s.json)
		s.json = format("%s/results.json", s.directory);
	plan_read(&plan, s.plan);
	if (s.list) {
		list(&plan);
		return 0;
	}
	warn_if_busy();
	for (int i = 0; i < plan.ncomparisons; i++)
		if (selected(plan.comparisons[i].name, &s)) {
			fprintf(stderr, "%s\n", plan.comparisons[i].name);
			measure(&plan.comparisons[i], &s);
			failed += failed_commands(&plan.comparisons[i]);
			chosen++;
		}
	for (int i = 0; s.plot && i < plan.nfigures; i++)
		for (int p = 0; selected(plan.figures[i].name, &s) && p < plan.figures[i].npoints; p++) {
			fprintf(stderr, "%s\n", plan.figures[i].points[p].name);
			measure(&plan.figures[i].points[p], &s);
			failed += failed_commands(&plan.figures[i].points[p]);
			chosen++;
		}
	if (!chosen)
		stop("nothing in %s is named like '%s'; --list shows the names", s.plan, s.only ? s.only : "");
	putchar('\n');
	report_table(&plan, &s);
	report_json(&plan, &s);
	for (int i = 0; s.plot && i < plan.nfigures; i++)
		if (selected(plan.figures[i].name, &s))
			failed += !figure_draw(&plan.figures[i], &s);
	if (failed)
		printf("%d command%s failed\n", failed, failed > 1 ? "s" : "");
	return failed ? 1 : 0;
}
