/* SPDX-License-Identifier: Apache-2.0
 * harness.c: the runner: command line, which cases, how many at once, one line a case. */
#include "harness_case.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS_MAX 32

static struct harness_case *cases, **cases_end = &cases;
static struct harness_transport *transports, **transports_end = &transports;

void harness_add_case(struct harness_case *c)
{
	*cases_end = c;
	cases_end = &c->next;
}

void harness_add_transport(struct harness_transport *t)
{
	if (t->present && !t->present()) return;
	*transports_end = t;
	transports_end = &t->next;
}

struct job {
	pid_t pid; /* 0: free */
	int report;
	char name[192];
};

static struct job jobs[JOBS_MAX];
static int jobs_max = 1, passed, failed, skipped;
static bool verbose;
static char *const *filters;

static void print_report(const struct job *j, const char *prefix)
{
	FILE *f = fdopen(dup(j->report), "r");
	char line[4096];
	rewind(f);
	while (fgets(line, sizeof line, f)) printf("%s%s%s", prefix, line, strchr(line, '\n') ? "" : "\n");
	fclose(f);
}

static void print_skip(const struct job *j)
{
	char reason[256] = "";
	ssize_t n = pread(j->report, reason, sizeof reason - 1, 0);
	reason[n > 0 ? strcspn(reason, "\n") : 0] = 0;
	printf("skip %s: %s\n", j->name, reason);
}

/* Wait for one job to end and say how it went. */
static void finish_one(void)
{
	int status;
	pid_t pid = wait(&status);
	for (struct job *j = jobs; j < jobs + jobs_max; j++) {
		if (pid <= 0 || j->pid != pid) continue;
		int outcome = WIFEXITED(status) ? WEXITSTATUS(status) : HARNESS_NOT_OK;
		if (outcome == HARNESS_OK) {
			passed++;
			printf("ok %s\n", j->name);
			if (verbose) print_report(j, "  | ");
		} else if (outcome == HARNESS_SKIP) {
			skipped++;
			print_skip(j);
		} else {
			failed++;
			printf("not ok %s  (log below)\n", j->name);
			if (!WIFEXITED(status)) printf("  | the case's supervisor died by signal %d\n", WTERMSIG(status));
			print_report(j, "  | ");
		}
		fflush(stdout);
		close(j->report);
		j->pid = 0;
	}
}

/* Is the case, or the case on this transport, or the transport named by a line 'NAME[@TRANSPORT] REASON' or '@TRANSPORT REASON' of the
 * file TEST_EXCLUDE? Cases that the command line names run all the same. A transport is told of once. */
static bool excluded(const struct harness_case *c, const char *name)
{
	static char told[1024];
	char line[512], transport[128];
	const char *at = strchr(name, '@');
	bool found = false;
	snprintf(transport, sizeof transport, "%s ", at ? at : "");
	FILE *f = *filters || !getenv("TEST_EXCLUDE") ? NULL : fopen(getenv("TEST_EXCLUDE"), "re");
	while (f && !found && fgets(line, sizeof line, f)) {
		size_t n = strcspn(line, " \n");
		if (*line == '#' || !n || !line[n]) continue;
		line[n] = 0;
		line[n + 1 + strcspn(line + n + 1, "\n")] = 0;
		bool whole = at && !strcmp(line, at);
		found = whole || !strcmp(line, c->name) || !strcmp(line, name);
		if (!found) continue;
		if (whole && strstr(told, transport)) break;
		if (whole) strncat(told, transport, sizeof told - strlen(told) - 1);
		skipped++;
		printf("skip %s: %s\n", whole ? at : name, line + n + 1);
	}
	if (f) fclose(f);
	return found;
}

static void start(const struct harness_case *c, const struct harness_transport *t, const char *name)
{
	if (excluded(c, name)) return;
	if (t && t->before) t->before();
	struct job *j = jobs;
	for (;;) {
		for (j = jobs; j < jobs + jobs_max && j->pid; j++) {}
		if (j < jobs + jobs_max) break;
		finish_one();
	}
	snprintf(j->name, sizeof j->name, "%s", name);
	j->report = memfd_create("report", MFD_CLOEXEC);
	fflush(NULL);
	pid_t runner = getpid();
	j->pid = fork();
	if (j->report < 0 || j->pid < 0) {
		fprintf(stderr, "harness: cannot start %s: %s\n", name, strerror(errno));
		exit(2);
	}
	if (j->pid) return;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != runner) _exit(HARNESS_NOT_OK);
	for (struct job *k = jobs; k < jobs + jobs_max; k++)
		if (k != j && k->pid) close(k->report);
	if (c->fresh && !*filters) unsetenv("TEST_SEED");
	_exit((int)harness_supervise(c, t, j->report, verbose));
}

static bool wanted(const struct harness_case *c, const char *name)
{
	if (!*filters) return !c->only_named;
	for (char *const *f = filters; *f; f++) {
		const char *at = strstr(name, *f), *transport = strchr(*f, '@');
		if (at && (!transport || !transport[1] || !at[strlen(*f)])) return true;
	}
	return false;
}

/* Is its DPI_TRANSPORT a list? */
static bool several(const struct harness_transport *t)
{
	const char *list = strstr(t->env, "DPI_TRANSPORT=");
	return list && memchr(list, ',', strcspn(list, " "));
}

/* Each case, times each transport it is to run for. */
static void for_each(void (*visit)(const struct harness_case *, const struct harness_transport *, const char *))
{
	for (const struct harness_case *c = cases; c; c = c->next) {
		const struct harness_transport *t = c->processes ? transports : NULL;
		do {
			char name[192];
			snprintf(name, sizeof name, t ? "%s@%s" : "%s", c->name, t ? t->name : "");
			if (wanted(c, name) && !(t && c->one_transport && several(t)) && !(t && t->kit_only && strncmp(c->name, "tp_", 3))) visit(c, t, name);
		} while (t && !c->once && (t = t->next));
	}
}

static void print_name(const struct harness_case *c, const struct harness_transport *t, const char *name)
{
	(void)c, (void)t;
	puts(name);
}

static void print_cites(void)
{
	for (const struct harness_case *c = cases; c; c = c->next) {
		char text[1024], *save = NULL;
		snprintf(text, sizeof text, "%s", c->cites);
		for (char *s = strtok_r(text, " ,", &save); s; s = strtok_r(NULL, " ,", &save))
			if (strcmp(s, "cites:")) printf("%s %s\n", c->name, s);
	}
}

/* Only this transport; one that nobody enrolled is enrolled by naming it. */
static void only_transport(const char *name)
{
	static struct harness_transport one;
	static char env[256];
	struct harness_transport *t = transports;
	while (t && strcmp(t->name, name)) t = t->next;
	if (t) one = *t;
	snprintf(env, sizeof env, "DPI_TRANSPORT=%s", name);
	if (!t) one = (struct harness_transport){.name = name, .env = env};
	one.next = NULL;
	transports = &one;
}

static int usage(const char *program)
{
	fprintf(stderr, "usage: %s [--list] [--cites] [--jobs N] [--repeat N] [--transport NAME] [--verbose] [FILTER…]\n",
		program);
	return 2;
}

int main(int argc, char **argv)
{
	bool list = false, cites = false;
	int repeat = 1, i = 1;
	for (; i < argc && argv[i][0] == '-'; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";
		if (!strcmp(argv[i], "--list")) list = true;
		else if (!strcmp(argv[i], "--cites")) cites = true;
		else if (!strcmp(argv[i], "--verbose")) verbose = true;
		else if (!strcmp(argv[i], "--transport") && *value) only_transport(argv[++i]);
		else if (!strcmp(argv[i], "--jobs") && atoi(value) > 0) jobs_max = atoi(argv[++i]);
		else if (!strcmp(argv[i], "--repeat") && atoi(value) > 0) repeat = atoi(argv[++i]);
		else return usage(argv[0]);
	}
	filters = argv + i;
	if (jobs_max > JOBS_MAX) jobs_max = JOBS_MAX;
	if (cites) print_cites();
	else if (list) for_each(print_name);
	if (cites || list) return 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (repeat--) for_each(start);
	for (struct job *j = jobs; j < jobs + jobs_max; j++)
		while (j->pid) finish_one();
	printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
	return failed != 0;
}
