/* SPDX-License-Identifier: Apache-2.0
 * util.c: memory, growing bytes, lists of strings, time, sentences. */
#include "util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

void (*say_to)(const char *line, size_t size);

int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void say_v(const char *format, va_list args)
{
	char line[2048];
	size_t at = (size_t)snprintf(line, sizeof line, "dpirun: ");
	int n = vsnprintf(line + at, sizeof line - at - 1, format, args);
	at += n < 0 ? 0 : (size_t)n < sizeof line - at - 1 ? (size_t)n : sizeof line - at - 2;
	line[at++] = '\n';
	if (say_to) say_to(line, at);
	else if (write(2, line, at) < 0) return; /* nobody is left to tell */
}

void say(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say_v(format, args);
	va_end(args);
}

void quit(int status, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say_v(format, args);
	va_end(args);
	exit(status);
}

/* Without memory there is nothing to be done; the guard ends the processes. */
static void *must(void *p)
{
	static const char line[] = "dpirun: out of memory\n";
	if (p) return p;
	if (write(2, line, sizeof line - 1) < 0) _exit(EXIT_SELF);
	_exit(EXIT_SELF);
}

void *get_memory(size_t size)
{
	return must(calloc(1, size ? size : 1));
}

void *grow_memory(void *p, size_t size)
{
	return must(realloc(p, size ? size : 1));
}

char *copy_text(const char *text)
{
	return must(strdup(text));
}

char *print_text(const char *format, ...)
{
	char *text = NULL;
	va_list args;
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0) text = NULL;
	va_end(args);
	return must(text);
}

void bytes_add(struct bytes *b, const void *data, size_t size)
{
	if (b->size + size > b->room) {
		b->room = b->room * 2 > b->size + size ? b->room * 2 : b->size + size;
		b->data = grow_memory(b->data, b->room);
	}
	if (size) memcpy(b->data + b->size, data, size);
	b->size += size;
}

void bytes_cut(struct bytes *b, size_t size)
{
	b->size -= size;
	if (b->size) memmove(b->data, b->data + size, b->size);
	else if (b->room > 1 << 18) bytes_free(b); /* one long line is no reason to hold on to its memory */
}

void bytes_free(struct bytes *b)
{
	free(b->data);
	*b = (struct bytes){ 0 };
}

void strings_add(struct strings *s, const char *text)
{
	if (s->count + 2 > s->room) {
		s->room = s->room ? 2 * s->room : 16;
		s->list = grow_memory(s->list, (size_t)s->room * sizeof *s->list);
	}
	s->list[s->count++] = copy_text(text);
	s->list[s->count] = NULL;
}

static int find(const struct strings *s, const char *name, size_t n)
{
	for (int i = 0; i < s->count; i++)
		if (!strncmp(s->list[i], name, n) && s->list[i][n] == '=') return i;
	return -1;
}

void strings_set(struct strings *s, const char *text)
{
	int i = find(s, text, strcspn(text, "="));
	if (i < 0) {
		strings_add(s, text);
		return;
	}
	free(s->list[i]);
	s->list[i] = copy_text(text);
}

void strings_set_pair(struct strings *s, const char *name, const char *value)
{
	char *text = print_text("%s=%s", name, value);
	strings_set(s, text);
	free(text);
}

void strings_set_all(struct strings *s, const struct strings *from)
{
	for (int i = 0; i < from->count; i++) strings_set(s, from->list[i]);
}

void strings_free(struct strings *s)
{
	while (s->count) free(s->list[--s->count]);
	free(s->list);
	*s = (struct strings){ 0 };
}

bool fill_random(void *p, size_t size)
{
	return getrandom(p, size, 0) == (ssize_t)size;
}

long parse_number(const char *text, long least, long most)
{
	size_t n = strlen(text);
	if (!n || n > 9 || strspn(text, "0123456789") != n) return -1;
	long v = strtol(text, NULL, 10);
	return v >= least && v <= most ? v : -1;
}
