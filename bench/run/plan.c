/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A line being read, and where. */
struct reader {
	const char *path;
	int number;
	char *rest;
};

static _Noreturn void wrong(const struct reader *r, const char *sentence)
{
	stop("%s:%d: %s", r->path, r->number, sentence);
}

static char *copy(const char *text)
{
	return format("%s", text);
}

/* The next word of the line, or a "quoted text". */
static char *word(struct reader *r)
{
	char *start = r->rest + strspn(r->rest, " \t"), *end;

	if (*start == '"') {
		end = strchr(++start, '"');
		if (!end)
			wrong(r, "a quote is not closed");
	} else {
		end = start + strcspn(start, " \t");
	}
	if (end == start)
		wrong(r, "a word is missing");
	r->rest = *end ? end + 1 : end;
	*end = '\0';
	return start;
}

static char *rest(struct reader *r)
{
	char *start = r->rest + strspn(r->rest, " \t");

	if (!*start)
		wrong(r, "the rest of the line is missing");
	return start;
}

static double number(struct reader *r, const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (*end || end == text)
		wrong(r, "a number is expected");
	return value;
}

static void *grow(void *array, int n, size_t each)
{
	char *more = realloc(array, (size_t)(n + 1) * each);

	if (!more)
		stop("no memory for the plan");
	memset(more + (size_t)n * each, 0, each);
	return more;
}

static struct command *command_add(struct reader *r, struct comparison *c, const char *label, const char *text)
{
	struct command *command = &c->commands[c->ncommands];

	if (c->ncommands == MOST_COMMANDS)
		wrong(r, "too many commands in one comparison");
	c->ncommands++;
	command->label = copy(label);
	command->text = copy(text);
	command->target = NAN;
	return command;
}

static void comparison_line(struct reader *r, struct comparison *c, const char *key)
{
	if (!strcmp(key, "target")) {
		c->target = copy(rest(r));
	} else if (!strcmp(key, "metric")) {
		c->metric = copy(word(r));
		const char *better = word(r);
		c->lower = !strcmp(better, "lower");
		if (!c->lower && strcmp(better, "higher"))
			wrong(r, "a metric is 'higher' or 'lower' when better");
	} else if (!strcmp(key, "ours")) {
		if (c->ncommands)
			wrong(r, "'ours' comes once and before the peers");
		command_add(r, c, "dpi", rest(r));
	} else if (!strcmp(key, "peer")) {
		const char *label = word(r), *target = word(r);

		if (!c->ncommands)
			wrong(r, "'ours' comes before the peers");
		struct command *peer = command_add(r, c, label, rest(r));
		if (strcmp(target, "-"))
			peer->target = number(r, target);
	} else if (!strcmp(key, "limit")) {
		if (c->nlimits == MOST_LIMITS)
			wrong(r, "too many limits");
		struct limit *limit = &c->limits[c->nlimits++];
		limit->key = copy(word(r));
		limit->most = number(r, word(r));
	} else {
		wrong(r, "a comparison knows target, metric, ours, peer and limit");
	}
}

static char *replace(const char *text, const char *what, const char *by)
{
	const char *at = strstr(text, what);

	if (!at)
		return copy(text);
	char *tail = replace(at + strlen(what), what, by), *whole = format("%.*s%s%s", (int)(at - text), text, by, tail);
	free(tail);
	return whole;
}

static void figure_point(struct figure *f, const char *x, const char *metric)
{
	f->x = grow(f->x, f->npoints, sizeof *f->x);
	f->points = grow(f->points, f->npoints, sizeof *f->points);
	f->x[f->npoints] = x ? copy(x) : NULL;
	f->points[f->npoints].name = x ? format("%s %s", f->name, x) : copy(f->name);
	f->points[f->npoints++].metric = x ? replace(metric, "$x", x) : copy(metric);
}

static void figure_line(struct reader *r, struct figure *f, char **metric, const char *key)
{
	if (!strcmp(key, "title")) {
		f->title = copy(rest(r));
	} else if (!strcmp(key, "plot")) {
		f->plot = copy(word(r));
	} else if (!strcmp(key, "axis")) {
		f->axis = copy(rest(r));
	} else if (!strcmp(key, "metric")) {
		free(*metric);
		*metric = copy(word(r));
	} else if (!strcmp(key, "x")) {
		if (!*metric)
			wrong(r, "'metric' comes before 'x'");
		for (rest(r); r->rest[strspn(r->rest, " \t")];)
			figure_point(f, word(r), *metric);
	} else if (!strcmp(key, "series")) {
		const char *label = word(r), *text = rest(r);

		if (!f->npoints && !*metric)
			wrong(r, "'metric', and 'x' if there is one, come before the series");
		if (!f->npoints)
			figure_point(f, NULL, *metric);
		for (int i = 0; i < f->npoints; i++) {
			char *command = f->x[i] ? replace(text, "$x", f->x[i]) : copy(text);
			command_add(r, &f->points[i], label, command);
			free(command);
		}
	} else {
		wrong(r, "a figure knows title, plot, axis, metric, x and series");
	}
}

static void comparison_check(const struct reader *r, const struct plan *plan)
{
	const struct comparison *c = plan->ncomparisons ? &plan->comparisons[plan->ncomparisons - 1] : NULL;
	const struct figure *f = plan->nfigures ? &plan->figures[plan->nfigures - 1] : NULL;

	if (c && (!c->target || !c->metric || !c->ncommands))
		wrong(r, "the comparison before this line lacks target, metric or ours");
	if (f && (!f->title || !f->plot || !f->npoints))
		wrong(r, "the figure before this line lacks title, plot, metric or series");
}

void plan_read(struct plan *plan, const char *path)
{
	struct reader r = { .path = path };
	FILE *in = fopen(path, "r");
	char *line = NULL, *metric = NULL;
	size_t room = 0;
	enum { NOWHERE, COMPARISON, FIGURE } where = NOWHERE;

	if (!in)
		stop("the plan %s cannot be read: %s", path, strerror(errno));
	while (getline(&line, &room, in) > 0) {
		r.number++;
		line[strcspn(line, "#\n")] = '\0';
		r.rest = line;
		if (!line[strspn(line, " \t")])
			continue;
		const char *key = word(&r);
		if (!strcmp(key, "compare")) {
			comparison_check(&r, plan);
			plan->comparisons = grow(plan->comparisons, plan->ncomparisons, sizeof *plan->comparisons);
			plan->comparisons[plan->ncomparisons++].name = copy(word(&r));
			where = COMPARISON;
		} else if (!strcmp(key, "figure")) {
			comparison_check(&r, plan);
			plan->figures = grow(plan->figures, plan->nfigures, sizeof *plan->figures);
			plan->figures[plan->nfigures++].name = copy(word(&r));
			where = FIGURE;
		} else if (where == COMPARISON) {
			comparison_line(&r, &plan->comparisons[plan->ncomparisons - 1], key);
		} else if (where == FIGURE) {
			figure_line(&r, &plan->figures[plan->nfigures - 1], &metric, key);
		} else {
			wrong(&r, "a plan begins with 'compare' or 'figure'");
		}
	}
	comparison_check(&r, plan);
	free(metric);
	free(line);
	fclose(in);
}
