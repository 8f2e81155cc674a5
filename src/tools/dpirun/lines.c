/* SPDX-License-Identifier: Apache-2.0
 * lines.c: whole lines of several processes into one output. */
#include "lines.h"

#include <string.h>
#include <sys/stat.h>

#include "sink.h"

static struct sink sinks[2];
static struct sink *sink[2]; /* the same one where both are the same file, so that their lines do not mix either */
static void (*on_full)(int which, bool pause);
static void (*on_broken)(int which, int error);

static void changed(struct sink *s)
{
	for (int which = 0; which < 2; which++) {
		if (sink[which] != s) continue;
		if (s->failed) on_broken(which, s->error);
		if (sink_level(s) <= SINK_LOW) on_full(which, false);
	}
}

/* dpirun's own line. */
static void own_line(const char *line, size_t size)
{
	if (sink[1]->open_line) sink_put(sink[1], "\n", 1);
	sink[1]->open_line = NULL;
	sink_put(sink[1], line, size);
	sink_flush(sink[1]);
}

static bool same_file(int a, int b)
{
	struct stat s, t;
	return !fstat(a, &s) && !fstat(b, &t) && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

void lines_open(void (*full)(int which, bool pause), void (*broken)(int which, int error))
{
	on_full = full;
	on_broken = broken;
	for (int which = 0; which < 2; which++) {
		sink[which] = which && same_file(1, 2) ? sink[0] : &sinks[which];
		if (sink[which] == &sinks[which]) sink_open(sink[which], which + 1, true);
		sink[which]->changed = changed;
	}
	say_to = own_line;
}

/* Bytes of a line; whole: they end it. */
static void put(struct stream *s, const char *data, size_t size, bool whole)
{
	struct sink *to = sink[s->which];
	if (to->open_line && (to->open_line != s || *s->label)) sink_put(to, "\n", 1);
	if (*s->label) sink_put(to, s->label, strlen(s->label));
	sink_put(to, data, size);
	if (*s->label && !whole) sink_put(to, "\n", 1);
	to->open_line = whole || *s->label ? NULL : s;
}

static void add(struct stream *s, const char *data, size_t size)
{
	while (size) {
		const char *end = memchr(data, '\n', size);
		size_t n = end ? (size_t)(end - data) + 1 : size;
		if (end && !s->line.size) put(s, data, n, true);
		else {
			bytes_add(&s->line, data, n);
			if (end || s->line.size >= LINE_MAX_SIZE) {
				put(s, s->line.data, s->line.size, end);
				bytes_cut(&s->line, s->line.size);
			}
		}
		data += n;
		size -= n;
	}
}

void lines_add(struct stream *s, const char *data, size_t size)
{
	struct sink *to = sink[s->which];
	add(s, data, size);
	if (!size && s->line.size) {
		put(s, s->line.data, s->line.size, false);
		bytes_free(&s->line);
	}
	sink_flush(to);
	if (sink_level(to) > SINK_HIGH)
		for (int which = 0; which < 2; which++)
			if (sink[which] == to) on_full(which, true);
}

void lines_flush(void)
{
	for (int which = 0; which < 2; which++) sink_flush(sink[which]);
}

bool lines_empty(void)
{
	return !sink_level(sink[0]) && !sink_level(sink[1]);
}

void lines_drop(void)
{
	for (int which = 0; which < 2; which++) sink_drop(sink[which]);
}
