/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_SKIPPED = 77, MOST_WORDS = 64 };

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double median(const double *values, int n)
{
	double sorted[MOST_REPEATS];

	memcpy(sorted, values, (size_t)n * sizeof *values);
	qsort(sorted, (size_t)n, sizeof *sorted, by_value);
	return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

bool json_number(const char *line, const char *key, double *value)
{
	char *quoted = format("\"%s\":", key), *end;
	const char *at = strstr(line, quoted);

	if (at)
		at += strlen(quoted);
	free(quoted);
	if (!at)
		return false;
	*value = strtod(at, &end);
	return end != at && isfinite(*value);
}

bool ours_median(const struct comparison *c, const char *key, double *value)
{
	double values[MOST_REPEATS];
	const struct command *ours = &c->commands[0];
	int n = 0;

	for (int i = 0; ours->status == RAN && i < ours->runs; i++)
		if (json_number(ours->lines[i], key, &values[n]))
			n++;
	if (n)
		*value = median(values, n);
	return n > 0;
}

bool ratio_of(const struct comparison *c, int peer, double *ratio, double *least, double *most)
{
	const struct command *a = &c->commands[0], *b = &c->commands[peer];

	if (a->status != RAN || b->status != RAN || !a->runs || !b->runs)
		return false;
	*ratio = median(a->values, a->runs) / median(b->values, b->runs);
	*least = INFINITY;
	*most = 0;
	for (int i = 0; i < a->runs && i < b->runs; i++) {
		*least = fmin(*least, a->values[i] / b->values[i]);
		*most = fmax(*most, a->values[i] / b->values[i]);
	}
	return true;
}

/* A program without a slash is one of ours, beside the runner. */
static char *program(const char *name, const struct settings *s)
{
	return strchr(name, '/') ? format("%s", name) : format("%s/%s", s->directory, name);
}

/* The last line that is a JSON object, or NULL; cut out of text. */
static char *json_line(char *text)
{
	char *found = NULL;

	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		if (line[0] == '{' && line[strlen(line) - 1] == '}')
			found = line;
	return found;
}

/* The end of what a program said, on one line. */
static char *tail(const char *text)
{
	size_t length = strlen(text), from;

	while (length && strchr(" \n\t", text[length - 1]))
		length--;
	from = length > 400 ? length - 400 : 0;
	char *said = format("%.*s", (int)(length - from), text + from);
	for (char *c = said; *c; c++)
		if (*c == '\n' || *c == '\t')
			*c = ' ';
	return said;
}

static char *failure(int status, double limit, const char *err)
{
	char *said = tail(err), *reason;

	if (status < 0)
		reason = format("stopped after %g s: %s", limit, said);
	else if (status > 128)
		reason = format("killed by signal %d: %s", status - 128, said);
	else
		reason = format("exit status %d: %s", status, said);
	free(said);
	return reason;
}

static void give_up(const struct comparison *c, struct command *command, enum status status, char *reason)
{
	command->status = status;
	command->reason = reason;
	fprintf(stderr, "  %s: %s: %s: %s\n", status == SKIPPED ? "skipped" : "FAILED", c->name, command->text, reason);
}

static void run_once(const struct comparison *c, struct command *command, const struct settings *s)
{
	char *words[MOST_WORDS + 1], *text = format("%s", command->text), *out, *err, *line;
	size_t n = 0;

	for (char *w = strtok(text, " \t"); w && n < MOST_WORDS; w = strtok(NULL, " \t"))
		words[n++] = w;
	words[n] = NULL;
	words[0] = program(words[0], s);
	if (access(words[0], X_OK)) {
		give_up(c, command, SKIPPED, format("%s is not built", words[0]));
		goto unrun;
	}
	int status = child_run(words, s->limit, &out, &err);
	line = json_line(out);
	if (status == EXIT_SKIPPED)
		give_up(c, command, SKIPPED, tail(err));
	else if (status)
		give_up(c, command, FAILED, failure(status, s->limit, err));
	else if (!line)
		give_up(c, command, FAILED, format("printed no result: %s", tail(err)));
	else if (!json_number(line, c->metric, &command->values[command->runs]))
		give_up(c, command, FAILED, format("its result has no number '%s'", c->metric));
	else
		command->lines[command->runs++] = format("%s", line);
	free(out);
	free(err);
unrun:
	free(words[0]);
	free(text);
}

/* Interleaved, A B C A B C: what disturbs the machine for a while disturbs all of them. */
void measure(struct comparison *c, const struct settings *s)
{
	for (int round = 0; round < s->repeat; round++)
		for (int i = 0; i < c->ncommands; i++)
			if (c->commands[i].status == RAN)
				run_once(c, &c->commands[i], s);
}
