/* SPDX-License-Identifier: Apache-2.0 */
#include "run.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

bool selected(const char *name, const struct settings *s)
{
	return !s->only || strstr(name, s->only);
}

static bool ends_in(const char *text, const char *end)
{
	size_t a = strlen(text), b = strlen(end);

	return a >= b && !strcmp(text + a - b, end);
}

/* A figure as people read it; the key's ending is its unit. */
static void human(char *to, size_t room, const char *key, double value)
{
	static const char *const decimal[] = { "", " k", " M", " G", " T" };
	int step = 0;

	if (ends_in(key, "_per_s")) {
		for (; value >= 1000 && step < 4; step++)
			value /= 1000;
		snprintf(to, room, "%.3g%s%s/s", value, step ? decimal[step] : " ", ends_in(key, "bytes_per_s") ? "B" : "");
	} else if (ends_in(key, "_bytes")) {
		snprintf(to, room, "%.3g MiB", value / (1 << 20));
	} else {
		const char *unit = strrchr(key, '_');
		snprintf(to, room, "%.3g %s", value, !unit ? "" : !strcmp(unit, "_percent") ? "%" : unit + 1);
	}
}

static void row(const char *name, const char *ours, const char *peer, const char *ratio, const char *target, const char *verdict)
{
	printf("%-22s | %-10s | %-32s | %-18s | %-9s | %s\n", name, ours, peer, ratio, target, verdict);
}

static void missing_row(const struct comparison *c, const struct command *missing, const char *ours)
{
	char *peer = format("%s %s", missing->label, missing->status == SKIPPED ? "skipped" : "FAILED");

	row(c->name, ours, peer, "", "", missing->reason ? missing->reason : "");
	free(peer);
}

static void peer_row(const struct comparison *c, int i, const char *ours)
{
	const struct command *peer = &c->commands[i];
	char value[32], shown[96], ratio_text[64], target[32] = "-";
	const char *verdict = "reported";
	double ratio, least, most;

	if (peer->status != RAN) {
		missing_row(c, peer, ours);
		return;
	}
	human(value, sizeof value, c->metric, median(peer->values, peer->runs));
	snprintf(shown, sizeof shown, "%s %s", peer->label, value);
	if (!ratio_of(c, i, &ratio, &least, &most)) {
		row(c->name, ours, shown, "", "", c->commands[0].status == FAILED ? "ours FAILED" : "ours skipped");
		return;
	}
	snprintf(ratio_text, sizeof ratio_text, "%.2f (%.2f..%.2f)", ratio, least, most);
	if (isfinite(peer->target)) {
		snprintf(target, sizeof target, "%s %.4g", c->lower ? "<=" : ">=", peer->target);
		verdict = (c->lower ? ratio <= peer->target : ratio >= peer->target) ? "met" : "MISSED";
	}
	row(c->name, ours, shown, ratio_text, target, verdict);
}

static void limit_row(const struct comparison *c, const struct limit *limit)
{
	char value[32] = "-", most[32], target[48];
	double measured;

	human(most, sizeof most, limit->key, limit->most);
	snprintf(target, sizeof target, "<= %s", most);
	if (!ours_median(c, limit->key, &measured)) {
		row(c->name, value, limit->key, "", target, c->commands[0].reason ? c->commands[0].reason : "not measured");
		return;
	}
	human(value, sizeof value, limit->key, measured);
	row(c->name, value, limit->key, "", target, measured <= limit->most ? "met" : "MISSED");
}

void report_table(const struct plan *plan, const struct settings *s)
{
	row("comparison", "ours", "peer", "ratio (min..max)", "target", "");
	for (int n = 0; n < plan->ncomparisons; n++) {
		const struct comparison *c = &plan->comparisons[n];
		char ours[32] = "-";

		if (!selected(c->name, s))
			continue;
		if (c->commands[0].status == RAN && c->commands[0].runs)
			human(ours, sizeof ours, c->metric, median(c->commands[0].values, c->commands[0].runs));
		for (int i = 1; i < c->ncommands; i++)
			peer_row(c, i, ours);
		for (int i = 0; i < c->nlimits; i++)
			limit_row(c, &c->limits[i]);
	}
}

static void text_json(FILE *to, const char *text)
{
	fputc('"', to);
	for (; *text; text++)
		if (*text == '"' || *text == '\\')
			fprintf(to, "\\%c", *text);
		else if ((unsigned char)*text < ' ')
			fprintf(to, "\\u%04x", (unsigned)(unsigned char)*text);
		else
			fputc(*text, to);
	fputc('"', to);
}

static void pair_json(FILE *to, const char *before, const char *key, const char *value)
{
	fprintf(to, "%s\"%s\": ", before, key);
	if (value)
		text_json(to, value);
	else
		fputs("null", to);
}

/* The processor's name as the kernel knows it. */
static void cpu_name(char *to, size_t room)
{
	FILE *in = fopen("/proc/cpuinfo", "r");
	char line[512];

	snprintf(to, room, "unknown");
	while (in && fgets(line, sizeof line, in))
		if (!strncmp(line, "model name", 10) && strchr(line, ':')) {
			snprintf(to, room, "%s", strchr(line, ':') + 2);
			to[strcspn(to, "\n")] = '\0';
			break;
		}
	if (in)
		fclose(in);
}

static void machine_json(FILE *to)
{
	struct utsname name;
	cpu_set_t cores;
	char cpu[256], date[32] = "";
	time_t now = time(NULL);
	struct tm utc;

	uname(&name);
	cpu_name(cpu, sizeof cpu);
	CPU_ZERO(&cores);
	sched_getaffinity(0, sizeof cores, &cores);
	strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
	fputs("  \"machine\": {", to);
	pair_json(to, "", "cpu", cpu);
	fprintf(to, ", \"cores\": %d", CPU_COUNT(&cores));
	pair_json(to, ", ", "kernel", name.release);
	pair_json(to, ", ", "architecture", name.machine);
	pair_json(to, ", ", "date", date);
	fputs("},\n", to);
}

static void command_json(FILE *to, const struct comparison *c, int i)
{
	static const char *const words[] = { "ran", "skipped", "failed" };
	const struct command *command = &c->commands[i];
	double ratio, least, most;

	pair_json(to, "        {", "label", command->label);
	pair_json(to, ", ", "command", command->text);
	pair_json(to, ", ", "status", words[command->status]);
	if (command->reason)
		pair_json(to, ", ", "reason", command->reason);
	if (command->status == RAN && command->runs)
		fprintf(to, ", \"median\": %.6g", median(command->values, command->runs));
	if (i && ratio_of(c, i, &ratio, &least, &most))
		fprintf(to, ", \"ratio\": %.4g, \"ratio_min\": %.4g, \"ratio_max\": %.4g", ratio, least, most);
	if (isfinite(command->target))
		fprintf(to, ", \"target\": %g", command->target);
	fputs(",\n          \"runs\": [", to);
	for (int n = 0; n < command->runs; n++)
		fprintf(to, "%s\n            %s", n ? "," : "", command->lines[n]);
	fprintf(to, "]}%s\n", i + 1 < c->ncommands ? "," : "");
}

static void comparison_json(FILE *to, const struct comparison *c)
{
	pair_json(to, "    {", "name", c->name);
	if (c->target)
		pair_json(to, ", ", "target", c->target);
	pair_json(to, ", ", "metric", c->metric);
	fprintf(to, ", \"better\": \"%s\", \"limits\": [", c->lower ? "lower" : "higher");
	for (int i = 0; i < c->nlimits; i++) {
		double value;

		pair_json(to, i ? ", {" : "{", "key", c->limits[i].key);
		if (ours_median(c, c->limits[i].key, &value))
			fprintf(to, ", \"median\": %.6g", value);
		fprintf(to, ", \"most\": %.10g}", c->limits[i].most);
	}
	fputs("],\n      \"commands\": [\n", to);
	for (int i = 0; i < c->ncommands; i++)
		command_json(to, c, i);
	fputs("      ]}", to);
}

void report_json(const struct plan *plan, const struct settings *s)
{
	FILE *to = fopen(s->json, "w");
	bool first = true;

	if (!to)
		stop("%s cannot be written: %s", s->json, strerror(errno));
	fputs("{\n", to);
	machine_json(to);
	fprintf(to, "  \"repeat\": %d,\n  \"comparisons\": [\n", s->repeat);
	for (int n = 0; n < plan->ncomparisons; n++)
		if (selected(plan->comparisons[n].name, s)) {
			fputs(first ? "" : ",\n", to);
			comparison_json(to, &plan->comparisons[n]);
			first = false;
		}
	fputs("\n  ],\n  \"figures\": [\n", to);
	first = true;
	for (int n = 0; s->plot && n < plan->nfigures; n++)
		for (int i = 0; selected(plan->figures[n].name, s) && i < plan->figures[n].npoints; i++) {
			fputs(first ? "" : ",\n", to);
			comparison_json(to, &plan->figures[n].points[i]);
			first = false;
		}
	fputs("\n  ]\n}\n", to);
	if (fclose(to))
		stop("%s cannot be written: %s", s->json, strerror(errno));
	printf("\nall figures: %s\n", s->json);
}
