/* SPDX-License-Identifier: Apache-2.0
 * settings.c: read and check the settings: defaults, then the environment, then the call. */
#include "settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "error.h"
#include "log.h"

extern char **environ;

const struct dpi_setting_def dpi_setting_defs[DPI_SETTING_COUNT] = {
#define DEF(name, kind, value, text) { #name, DPI_KIND_##kind, value, text },
	DPI_SETTINGS(DEF)
#undef DEF
};

int dpi_setting_find(const char *name)
{
	if (!strncasecmp(name, "DPI_", 4)) name += 4;
	for (int i = 0; i < DPI_SETTING_COUNT; i++)
		if (!strcasecmp(name, dpi_setting_defs[i].name)) return i;
	return -1;
}

static const struct unit {
	enum dpi_setting_kind kind;
	const char *name;
	int64_t factor;
} units[] = {
	{ DPI_KIND_size, "", 1 },	    { DPI_KIND_size, "k", 1 << 10 },   { DPI_KIND_size, "m", 1 << 20 },
	{ DPI_KIND_size, "g", 1 << 30 },    { DPI_KIND_time, "", 1 },	       { DPI_KIND_time, "us", 1 },
	{ DPI_KIND_time, "ms", 1000 },	    { DPI_KIND_time, "s", 1000000 },   { DPI_KIND_time, "min", 60000000 },
	{ DPI_KIND_integer, "", 1 },
};

int dpi_setting_parse(enum dpi_setting_kind kind, const char *text, int64_t *number)
{
	static const char *const forms[] = { "", "a whole number", "a size such as 4096, 64k, 2m or 1g",
					     "a time such as 500 (µs), 500us, 5ms, 2s or 1min" };
	char *end;
	errno = 0;
	long long v = strtoll(text, &end, 10);
	if (end != text && !errno && !isspace((unsigned char)*text))
		for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
			int64_t limit = INT64_MAX / units[i].factor;
			if (units[i].kind != kind || strcasecmp(end, units[i].name)) continue;
			if (v > limit || v < (kind == DPI_KIND_integer ? INT64_MIN : 0)) break;
			*number = v * units[i].factor;
			return DPI_SUCCESS;
		}
	return dpi_fail(DPI_ERR_CONFIG, "'%s' is not %s", text, forms[kind]);
}

int dpi_settings_set(struct dpi_settings *s, enum dpi_setting which, const char *value, const char *origin)
{
	const struct dpi_setting_def *def = &dpi_setting_defs[which];
	int64_t number = 0;
	if (def->kind != DPI_KIND_text && dpi_setting_parse(def->kind, value, &number))
		return dpi_fail(DPI_ERR_CONFIG, "setting DPI_%s (from %s): %s", def->name, origin, dpi_detail());
	char *copy = strdup(value);
	if (!copy) return dpi_fail(DPI_ERR_MEMORY, "no memory for setting DPI_%s", def->name);
	free(s->value[which]);
	s->value[which] = copy;
	s->origin[which] = origin;
	s->number[which] = number;
	return DPI_SUCCESS;
}

/* Edits between two words: insert, delete, replace, swap of neighbours. */
static int distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	int d[3][40];
	if (n >= 40 || m >= 40) return 99;
	for (size_t j = 0; j <= m; j++) d[0][j] = (int)j;
	for (size_t i = 1; i <= n; i++) {
		int *row = d[i % 3], *up = d[(i + 2) % 3], *up2 = d[(i + 1) % 3];
		row[0] = (int)i;
		for (size_t j = 1; j <= m; j++) {
			int best = up[j - 1] + (a[i - 1] != b[j - 1]);
			if (up[j] + 1 < best) best = up[j] + 1;
			if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < best)
				best = up2[j - 2] + 1;
			row[j] = best;
		}
	}
	return d[n % 3][m];
}

/* A variable DPI_… that is no setting is most likely a slip. */
static void warn_unknown(const char *name)
{
	int best = 4, at = -1;
	for (int i = 0; i < DPI_SETTING_COUNT; i++) {
		int d = distance(name + 4, dpi_setting_defs[i].name);
		if (d < best && 2 * d <= (int)strlen(name + 4)) best = d, at = i; /* half of it at least is right */
	}
	if (at >= 0)
		dpi_log(DPI_LOG_WARNING, "environment variable %s is not a setting and has no effect; did you mean DPI_%s?",
			name, dpi_setting_defs[at].name);
	else dpi_log(DPI_LOG_WARNING, "environment variable %s is not a setting and has no effect; dpi-info --settings lists them", name);
}

static int set_pair(struct dpi_settings *s, const char *pair, const char *origin, bool strict)
{
	const char *equal = strchr(pair, '=');
	char name[64];
	size_t n = equal ? (size_t)(equal - pair) : 0;
	if (!n || n >= sizeof name)
		return strict ? dpi_fail(DPI_ERR_CONFIG, "'%s' is not of the form name=value: dpi-info --settings lists the names", pair) : DPI_SUCCESS;
	memcpy(name, pair, n);
	name[n] = 0;
	int which = dpi_setting_find(name);
	if (which < 0) {
		if (strict)
			return dpi_fail(DPI_ERR_CONFIG, "there is no setting '%s': dpi-info --settings lists them", name);
		warn_unknown(name);
		return DPI_SUCCESS;
	}
	return dpi_settings_set(s, (enum dpi_setting)which, equal + 1, origin);
}

int dpi_settings_read(struct dpi_settings *s, const char *const *call, size_t call_count)
{
	int error = 0;
	memset(s, 0, sizeof *s);
	for (int i = 0; i < DPI_SETTING_COUNT && !error; i++)
		error = dpi_settings_set(s, (enum dpi_setting)i, dpi_setting_defs[i].value, "default");
	for (char **e = environ; e && *e && !error; e++)
		if (!strncmp(*e, "DPI_", 4)) error = set_pair(s, *e, "environment", false);
	for (size_t i = 0; i < call_count && !error; i++)
		error = call[i] ? set_pair(s, call[i], "call", true)
				: dpi_fail(DPI_ERR_ARGUMENT, "settings[%zu] is NULL: pass name=value", i);
	if (error) dpi_settings_free(s);
	return error;
}

void dpi_settings_free(struct dpi_settings *s)
{
	for (int i = 0; i < DPI_SETTING_COUNT; i++) free(s->value[i]);
	memset(s, 0, sizeof *s);
}
