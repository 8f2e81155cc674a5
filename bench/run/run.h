/* SPDX-License-Identifier: Apache-2.0 */
/* The runner: what its files share. */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { MOST_COMMANDS = 16, MOST_LIMITS = 8, MOST_REPEATS = 99 };

enum status { RAN, SKIPPED, FAILED };

/* A program to run; within a comparison the first is ours. */
struct command {
	char *label, *text;
	double target; /* of ours / its value; NAN: reported only */
	enum status status;
	char *reason;			/* why skipped or failed */
	char *lines[MOST_REPEATS];	/* what it printed, a JSON object a run */
	double values[MOST_REPEATS];	/* the metric in each */
	int runs;
};

/* An absolute bound on one of our own figures. */
struct limit {
	char *key;
	double most;
};

/* One comparison of the plan, or one point of a figure. */
struct comparison {
	char *name, *target, *metric;
	bool lower; /* is better */
	struct command commands[MOST_COMMANDS];
	int ncommands;
	struct limit limits[MOST_LIMITS];
	int nlimits;
};

struct figure {
	char *name, *title, *plot, *axis;
	struct comparison *points; /* one per x, all with the same commands; one unnamed point is a figure of bars */
	char **x;
	int npoints;
};

struct plan {
	struct comparison *comparisons;
	struct figure *figures;
	int ncomparisons, nfigures;
};

struct settings {
	const char *plan, *only, *json;
	char directory[4096]; /* where the programs and the results are */
	int repeat;
	double limit; /* seconds a command may take */
	bool list, plot;
};

/* plan.c: an error in the file ends the program with file:line and a sentence */
void plan_read(struct plan *plan, const char *path);

/* child.c: runs a command line in a process group of its own. The caller frees *out (its stdout) and *err (the end of its
 * stderr). Returns the exit status, 128 + n for signal n, or -1 when it was stopped for taking too long. */
int child_run(char *const *argv, double seconds, char **out, char **err);

/* measure.c */
void measure(struct comparison *c, const struct settings *s);
double median(const double *values, int n);
/* Ours against a peer: the ratio of the medians, the least and largest ratio within one round; false if either did not run. */
bool ratio_of(const struct comparison *c, int peer, double *ratio, double *least, double *most);
bool json_number(const char *line, const char *key, double *value);
/* The median of another key that our runs printed. */
bool ours_median(const struct comparison *c, const char *key, double *value);

/* report.c */
void report_table(const struct plan *plan, const struct settings *s);
void report_json(const struct plan *plan, const struct settings *s);
bool selected(const char *name, const struct settings *s);

/* figure.c: writes the data, calls gnuplot and names the pictures; false if gnuplot failed */
bool figure_draw(const struct figure *f, const struct settings *s);

char *format(const char *text, ...) __attribute__((format(printf, 1, 2))); /* the caller frees it */
_Noreturn void stop(const char *text, ...) __attribute__((format(printf, 1, 2)));

#endif
