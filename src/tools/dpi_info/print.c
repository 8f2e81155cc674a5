/* SPDX-License-Identifier: Apache-2.0
 * print.c: columns, or JSON. */
#include "print.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS 100
#define LABEL 24

bool print_json;
static int depth;
static bool more; /* something stands before in this object or list */
static bool is_list[8];

/* -------------------------------------------------------------------------------------------------------- letters */

/* The bytes of the UTF-8 character at s; 0 if it is none. */
static int letter(const char *s)
{
	const unsigned char *u = (const unsigned char *)s;
	int n = *u < 0x80 ? 1 : *u >= 0xc2 && *u < 0xe0 ? 2 : *u >= 0xe0 && *u < 0xf0 ? 3 : *u >= 0xf0 && *u < 0xf5 ? 4 : 0;
	for (int i = 1; i < n; i++)
		if ((u[i] & 0xc0) != 0x80) return 0;
	/* the longer form of a shorter one, half a pair, beyond the last */
	if ((*u == 0xe0 && u[1] < 0xa0) || (*u == 0xed && u[1] > 0x9f) || (*u == 0xf0 && u[1] < 0x90) ||
	    (*u == 0xf4 && u[1] > 0x8f))
		return 0;
	return n;
}

static void quoted(const char *s)
{
	putchar('"');
	while (*s) {
		int n = letter(s);
		if (!n) printf("\\ufffd");
		else if (n == 1 && ((unsigned char)*s < 0x20 || *s == 0x7f)) printf("\\u%04x", (unsigned)*s);
		else if (*s == '"' || *s == '\\') printf("\\%c", *s);
		else fwrite(s, 1, (size_t)n, stdout);
		s += n ? n : 1;
	}
	putchar('"');
}

/* Print at most size bytes; the columns they take. */
static int plain(const char *s, size_t size)
{
	int columns = 0;
	for (const char *end = s + size; s < end && *s; columns++) {
		int n = letter(s);
		if (!n || (n == 1 && ((unsigned char)*s < 0x20 || *s == 0x7f))) putchar('?');
		else fwrite(s, 1, (size_t)n, stdout);
		s += n ? n : 1;
	}
	return columns;
}

static int width(const char *s, size_t size)
{
	int columns = 0;
	for (const char *end = s + size; s < end && *s; columns++) s += letter(s) ? letter(s) : 1;
	return columns;
}

int print_cell(int room, const char *text)
{
	int used = plain(text, strlen(text));
	do putchar(' ');
	while (++used < room);
	return used;
}

void print_wrapped(int at, int used, const char *text)
{
	bool first = true, blank = false;
	for (; used < at; used++) putchar(' ');
	/* a line may be broken at a blank, and behind a comma of a long word */
	while (*text) {
		size_t n = strcspn(text, " ,");
		n += text[n] == ',';
		if (!first && used + blank + width(text, n) > COLUMNS) {
			printf("\n%*s", at, "");
			used = at;
			first = true;
		}
		if (!first && blank) putchar(' '), used++;
		used += plain(text, n);
		first = false;
		text += n;
		blank = *text == ' ';
		text += strspn(text, " ");
	}
	putchar('\n');
}

/* ------------------------------------------------------------------------------------------------------- structure */

static void name(const char *key)
{
	if (more) putchar(',');
	printf("\n%*s", 2 * depth, "");
	if (!is_list[depth]) {
		quoted(key);
		fputs(": ", stdout);
	}
	more = true;
}

static void open_it(const char *key, const char *title, bool list)
{
	if (print_json) {
		if (depth) name(key);
		putchar(list ? '[' : '{');
		more = false;
	} else if (title) printf("%s%s\n", more ? "\n" : "", title);
	is_list[++depth] = list;
	if (!print_json) more = true;
}

void print_begin(void)
{
	open_it(NULL, NULL, false);
	more = false;
}

bool print_end(void)
{
	print_close();
	if (print_json) putchar('\n');
	return !fflush(stdout) && !ferror(stdout);
}

void print_section(const char *key, const char *title)
{
	open_it(key, title, false);
}

void print_list(const char *key, const char *title)
{
	open_it(key, title, true);
}

void print_item(void)
{
	open_it("", NULL, false);
}

void print_close(void)
{
	bool list = is_list[depth--];
	if (!print_json) return;
	if (more) printf("\n%*s", 2 * depth, "");
	putchar(list ? ']' : '}');
	more = true;
}

/* ----------------------------------------------------------------------------------------------------------- facts */

static void label_it(const char *label, const char *text)
{
	fputs("  ", stdout);
	print_wrapped(LABEL + 3, print_cell(LABEL + 1, label) + 2, text);
}

void print_fact(const char *key, const char *label, const char *format, ...)
{
	char text[4096];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (!print_json) {
		label_it(label, text);
		return;
	}
	name(key);
	quoted(text);
}

void print_none(const char *key, const char *label, const char *text)
{
	if (!print_json) {
		label_it(label, text);
		return;
	}
	name(key);
	fputs("null", stdout);
}

static void with_note(const char *label, const char *value, const char *note)
{
	char text[512];
	snprintf(text, sizeof text, note ? "%-12s %s" : "%s", value, note ? note : "");
	if (!note) {
		label_it(label, text);
		return;
	}
	printf("  ");
	int used = print_cell(LABEL + 1, label) + 2;
	used += print_cell(13, value);
	print_wrapped(used, used, note);
}

void print_count(const char *key, const char *label, uint64_t value, const char *note)
{
	char text[32];
	snprintf(text, sizeof text, "%" PRIu64, value);
	if (print_json) {
		name(key);
		fputs(text, stdout);
	} else with_note(label, text, note);
}

void print_size(const char *key, const char *label, uint64_t bytes, const char *note)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	char text[48];
	double v = (double)bytes;
	int unit = 0;
	if (print_json) {
		name(key);
		printf("%" PRIu64, bytes);
		return;
	}
	while (v >= 1024 && unit < 6) v /= 1024, unit++;
	snprintf(text, sizeof text, v < 100 && v != (double)(uint64_t)v ? "%.1f %s" : "%.0f %s", v, units[unit]);
	with_note(label, text, note);
}

void print_number(const char *key, const char *label, double value, const char *unit)
{
	char text[64];
	snprintf(text, sizeof text, "%.6g", value);
	if (print_json) {
		name(key);
		fputs(text, stdout);
	} else {
		snprintf(text, sizeof text, "%.6g %s", value, unit);
		label_it(label, text);
	}
}

void print_flag(const char *key, const char *label, bool flag, const char *yes, const char *no)
{
	if (print_json) {
		name(key);
		fputs(flag ? "true" : "false", stdout);
	} else label_it(label, flag ? yes : no);
}

void print_word(const char *word)
{
	if (!print_json) return;
	name("");
	quoted(word);
}
