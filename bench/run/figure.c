/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool present(const struct command *c)
{
	return c->status == RAN && c->runs;
}

static void value_row(FILE *to, const char *x, const struct command *c)
{
	double least = c->values[0], most = c->values[0];

	for (int i = 1; i < c->runs; i++) {
		least = c->values[i] < least ? c->values[i] : least;
		most = c->values[i] > most ? c->values[i] : most;
	}
	fprintf(to, "%s %.6g %.6g %.6g\n", x, median(c->values, c->runs), least, most);
}

/* A block a series, headed by its label; rows of x, median, least, most. Returns the series written. */
static int lines_data(FILE *to, const struct figure *f)
{
	int series = 0;

	for (int c = 0; c < f->points[0].ncommands; c++) {
		int points = 0;

		for (int i = 0; i < f->npoints; i++) {
			const struct command *command = &f->points[i].commands[c];

			if (!present(command))
				continue;
			if (!points++)
				fprintf(to, "%s\"%s\"\n", series++ ? "\n\n" : "", command->label);
			value_row(to, f->x[i], command);
		}
	}
	return series;
}

/* Rows of "label", median, least, most. */
static int bars_data(FILE *to, const struct figure *f)
{
	int bars = 0;

	for (int c = 0; c < f->points[0].ncommands; c++)
		if (present(&f->points[0].commands[c])) {
			char *label = format("\"%s\"", f->points[0].commands[c].label);
			value_row(to, label, &f->points[0].commands[c]);
			free(label);
			bars++;
		}
	return bars;
}

static bool picture(const struct figure *f, const struct settings *s, const char *data, int n, const char *terminal, const char *ending)
{
	const char *slash = strrchr(s->plan, '/');
	char *here = format("%.*splot/", slash ? (int)(slash + 1 - s->plan) : 0, s->plan), *script = format("%s%s", here, f->plot);
	char *file = format("%s/%s.%s", s->directory, f->name, ending), *out, *err;
	char *given = format("set terminal %s; set output '%s'; data='%s'; n=%d; here='%s'; heading='%s'; metric='%s'; axis='%s'",
			     terminal, file, data, n, here, f->title, f->points[0].metric, f->axis ? f->axis : "");
	char *const argv[] = { (char[]){ "gnuplot" }, (char[]){ "-e" }, given, script, NULL };
	int status = child_run(argv, 30, &out, &err);

	if (status)
		fprintf(stderr, "gnuplot failed on %s: %s\n", script, err);
	else
		printf("picture: %s\n", file);
	free(out);
	free(err);
	free(given);
	free(script);
	free(here);
	free(file);
	return status == 0;
}

bool figure_draw(const struct figure *f, const struct settings *s)
{
	char *data = format("%s/%s.dat", s->directory, f->name);
	FILE *to = fopen(data, "w");
	bool well = true;
	int n;

	if (!to)
		stop("%s cannot be written: %s", data, strerror(errno));
	n = f->x[0] ? lines_data(to, f) : bars_data(to, f);
	fclose(to);
	if (n) {
		well = picture(f, s, data, n, "pngcairo size 1200,750 font \"DejaVu Sans,13\"", "png");
		well &= picture(f, s, data, n, "svg size 1200,750 dynamic font \"DejaVu Sans,16\"", "svg");
	} else {
		printf("no picture of %s: nothing was measured\n", f->name);
	}
	free(data);
	return well;
}
