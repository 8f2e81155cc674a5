/* SPDX-License-Identifier: Apache-2.0
 * hosts.c: the host file: a line a host, its words HOST [slots=N] [address=A]; # begins a comment. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "job.h"
#include "setup.h"

static const char *file;
static int line;

static _Noreturn void wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void wrong(const char *format, ...)
{
	char text[700];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	quit(EXIT_USAGE, "%s:%d: %s", file, line, text);
}

/* A name goes to ssh as an argument: it must not look like an option, nor hold what a shell would take for its own. */
static void check_name(const char *what, const char *name)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:@%";
	if (!*name || *name == '-' || strspn(name, good) != strlen(name) || strlen(name) > 100)
		wrong("'%s' is not %s: letters, digits and ._-:@%% are allowed, at most 100", name, what);
}

/* The host that dpirun runs on needs no ssh. */
static bool is_here(const char *name)
{
	char own[256] = "";
	if (is_loopback(name)) return true;
	if (gethostname(own, sizeof own - 1)) return false;
	return !strcmp(name, own);
}

static void read_line(struct job *job, char *text)
{
	char *save = NULL;
	text[strcspn(text, "#\n")] = 0;
	char *word = strtok_r(text, " \t\r", &save);
	if (!word) return;
	if (strchr(word, '=')) wrong("the line begins with '%s': first comes the host's name", word);
	check_name("a host's name", word);
	for (int i = 0; i < job->hosts; i++)
		if (!strcmp(job->host[i].name, word)) wrong("host %s has a line already: add up its slots", word);
	job->host = grow_memory(job->host, (size_t)(job->hosts + 1) * sizeof *job->host);
	struct host *h = &job->host[job->hosts++];
	*h = (struct host){ .name = copy_text(word), .slots = 1, .local = is_here(word) };
	while ((word = strtok_r(NULL, " \t\r", &save))) {
		if (!strncmp(word, "slots=", 6)) {
			h->slots = (int)parse_number(word + 6, 1, NODES_MAX);
			if (h->slots < 0) wrong("'%s': slots is a number from 1 to %d", word, NODES_MAX);
		} else if (!strncmp(word, "address=", 8)) {
			check_name("an address", word + 8);
			h->address = copy_text(word + 8);
		} else wrong("'%s' is neither slots=N nor address=A", word);
	}
}

static void read_file(struct job *job)
{
	char *text = NULL;
	size_t room = 0;
	FILE *f = fopen(file, "re");
	ssize_t n = -1;
	if (!f) quit(EXIT_USAGE, "the host file %s cannot be read: %s", file, strerror(errno));
	while (errno = 0, (n = getline(&text, &room, f)) >= 0) {
		line++;
		if (strlen(text) != (size_t)n) wrong("there is a zero byte: is this a text file?");
		if (n > 4096) wrong("the line is longer than 4096 bytes");
		read_line(job, text);
	}
	if (errno) quit(EXIT_USAGE, "the host file %s cannot be read: %s", file, strerror(errno));
	if (!job->hosts) quit(EXIT_USAGE, "the host file %s names no host: write a line such as 'alpha slots=2'", file);
	free(text);
	fclose(f);
}

void read_hosts(struct job *job)
{
	struct options *o = job->options;
	int slots = 0, at = 0, used = 0;
	file = o->host_file;
	if (file) read_file(job);
	else {
		job->host = get_memory(sizeof *job->host);
		job->hosts = 1;
		*job->host = (struct host){ .name = copy_text("localhost"), .slots = NODES_MAX, .local = true };
	}
	for (int i = 0; i < job->hosts; i++) slots += job->host[i].slots;
	for (int i = 0; i < o->programs; i++) {
		struct program *p = &o->program[i];
		/* one program and a host file: every slot */
		if (!p->count) p->count = file && o->programs == 1 ? slots : 1;
		job->nodes += p->count;
	}
	if (job->nodes > NODES_MAX) quit(EXIT_USAGE, "%d nodes are too many: %d at most", job->nodes, NODES_MAX);
	if (job->nodes > slots)
		quit(EXIT_USAGE, "%s has %d slot%s for %d nodes: give its hosts more, as in 'alpha slots=%d'", file, slots,
		     slots == 1 ? "" : "s", job->nodes, job->nodes);
	job->node = get_memory((size_t)job->nodes * sizeof *job->node);
	for (int i = 0, n = 0; i < o->programs; i++)
		for (int k = 0; k < o->program[i].count; k++, n++) {
			while (used == job->host[at].slots) at++, used = 0;
			used++;
			job->node[n] = (struct node){ .number = n,
						      .program = &o->program[i],
						      .host = &job->host[at],
						      .process.fd = -1 };
			for (int which = 0; which < 2; which++)
				job->node[n].out[which] = (struct stream){ .watch.fd = -1,
									   .which = which,
									   .node = &job->node[n] };
		}
	/* hosts that got no node are not used */
	job->hosts = at + 1;
}
