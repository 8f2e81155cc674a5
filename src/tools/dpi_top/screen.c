/* SPDX-License-Identifier: Apache-2.0
 * screen.c: a sample for a person: a line for each flow, source, stage and target. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "error.h"
#include "sample.h"

static int lines_left, columns;

/* A line, cut to the terminal's width; names are the programs', so what may be an escape sequence becomes '?'. */
static void line(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void line(const char *format, ...)
{
	char text[512];
	va_list args;
	if (!lines_left) return;
	lines_left--;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
	printf("%.*s\n", columns, text);
}

/* 1234567 as "1.23 M". */
static const char *number(double value, char text[16])
{
	static const char *const unit[] = { "", " k", " M", " G", " T", " P" };
	int i = 0;
	for (; value >= 999.5 && i < 5; i++) value /= 1000;
	snprintf(text, 16, "%.*f%s", !i || value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2, value, unit[i]);
	return text;
}

static void show_source(const struct seen *e)
{
	char rows[16], bytes[16], total[16], whom[96] = "";
	const DPI_Source_Stats *s = &e->now.source;
	if (s->waiting && e->waits_for >= 0) snprintf(whom, sizeof whom, "  waits for target %" PRIu64 " on node %d", s->waiting - 1, e->waits_for);
	else if (s->waiting) snprintf(whom, sizeof whom, "  waits for target %" PRIu64 ", which nobody has opened", s->waiting - 1);
	line("  source %-5u node %-4d %9s rows/s %9s B/s %9s rows  stalled %3.0f %%%s", e->now.number, e->now.node, number(e->rows_per_s, rows),
	     number(e->bytes_per_s, bytes), number((double)s->rows, total), 100 * e->waited, whom);
}

static void show_target(const struct flow *f, const struct seen *e)
{
	char rows[16], bytes[16], total[16], keys[16], more[224] = "";
	const DPI_Target_Stats *t = &e->now.target;
	const DPI_Heavy_Key *heaviest = sample_heaviest(f, e);
	double fill = t->memory ? 100 * (double)e->now.fill / (double)t->memory : 0;
	if (t->distinct && t->rows)
		snprintf(more, sizeof more, "  %s keys, one has %.0f %%%s%s", number((double)t->distinct, keys), 100 * (double)t->heavy_rows / (double)t->rows,
			 heaviest ? ": " : "", heaviest ? heaviest->key : "");
	line("  target %-5u node %-4d %9s rows/s %9s B/s %9s rows  idle    %3.0f %%  rings %3.0f %% full%s%s", e->now.number, e->now.node,
	     number(e->rows_per_s, rows), number(e->bytes_per_s, bytes), number((double)t->rows, total), 100 * e->waited, fill,
	     t->waiting ? "  waits for its sources" : "", more);
}

/* At all of its endpoints together: rows come, bytes pass. */
static void show_stage(const struct stage *s)
{
	char rows[16], bytes[16], total[16], errors[16], more[64] = "";
	double passes = s->total.rows ? 100 * (double)s->total.passed / (double)s->total.rows : 0;
	if (s->total.row_errors) snprintf(more, sizeof more, "  %s rows with an error", number((double)s->total.row_errors, errors));
	line("  stage  %-5u at %-6s %9s rows/s %9s B/s %9s rows  passes  %3.0f %%  %s%s", s->number, s->at_target ? "target" : "source",
	     number(s->rows_per_s, rows), number(s->bytes_per_s, bytes), number((double)s->total.rows, total), passes, sample_stage_kind(s->kind), more);
}

static void show_flow(const struct flow *f)
{
	char rows[16], bytes[16], skew[32] = "", slow[64] = "";
	const DPI_Flow_Info *i = f->info;
	uint64_t us;
	uint32_t slowest;
	if (f->skew > 0 && f->targets > 1) snprintf(skew, sizeof skew, "  skew %.2f", f->skew);
	if (sample_slowest(f, &slowest, &us)) snprintf(slow, sizeof slow, "  slowest target %u: %.1f s waited for", slowest, (double)us / 1e6);
	line("%s", "");
	line("%.60s  %s  sources %u of %u open  targets %u of %u bound  %s rows/s  %s B/s%s%s", i->name,
	     i->failed ? dpi_error_name(i->failed) : i->sealed ? "sealed" : "not sealed", i->sources - i->closed, i->sources, i->bound, i->targets,
	     number(f->rows_per_s, rows), number(f->bytes_per_s, bytes), skew, slow);
	struct stage stage = { 0 };
	for (size_t k = 0; k < f->sources; k++) show_source(&f->source[k]);
	bool more = sample_stage(f, 0, &stage);
	for (; more && !stage.at_target; more = sample_stage(f, stage.number + 1, &stage)) show_stage(&stage);
	for (size_t k = 0; k < f->targets; k++) show_target(f, &f->target[k]);
	for (; more; more = sample_stage(f, stage.number + 1, &stage)) show_stage(&stage);
}

bool screen_write(const struct sample *s, bool redraw)
{
	struct winsize w = { 0 };
	char clock[32] = "";
	struct tm t;
	time_t now = (time_t)s->time;
	lines_left = -1;
	columns = 512;
	if (redraw && !ioctl(1, TIOCGWINSZ, &w) && w.ws_row > 1) {
		lines_left = w.ws_row - 1;
		columns = w.ws_col;
	}
	if (redraw) fputs("\033[H\033[J", stdout);
	if (localtime_r(&now, &t)) strftime(clock, sizeof clock, "%H:%M:%S", &t);
	line("%s  %d nodes  %zu flows  %zu sources and targets", clock, s->nodes, s->flows, s->endpoints);
	for (size_t i = 0; i < s->failures; i++) line("node %d: %s", s->failure[i].node, s->failure[i].sentence);
	for (size_t i = 0; i < s->flows; i++) show_flow(&s->flow[i]);
	if (!redraw) putchar('\n');
	return !fflush(stdout) && !ferror(stdout);
}
