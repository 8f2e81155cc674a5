/* SPDX-License-Identifier: Apache-2.0
 * options.c: the command line. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "dpi.h"
#include "job.h"
#include "setup.h"

static const char help[] =
	"usage: dpirun [option ...] program [argument ...] [: [-n N] [-x ...] [--wdir DIR] program [argument ...]] ...\n"
	"Start the processes of a DPI cluster, show what they print, and end when they have ended.\n"
	"\n"
	"  -n N                 how many processes run the program (1; with a host file and one program, every slot)\n"
	"  -x NAME=value        set an environment variable; -x NAME passes dpirun's own on to other hosts\n"
	"  --env I:NAME=value   set it for node I alone\n"
	"  --transport T        DPI_TRANSPORT: transports that may be used, such as shm,tcp\n"
	"  --wdir DIR           run the program in this directory (the one dpirun is in)\n"
	"  --hostfile FILE      lines 'HOST [slots=N] [address=A]': where processes run, in this order\n"
	"  --ssh COMMAND        how hosts are reached (ssh -o BatchMode=yes)\n"
	"  --dpirun PATH        where dpirun is on the other hosts (where it is here)\n"
	"  --key FILE, --no-key the cluster key (DPI_KEY_FILE; with other hosts a new one; else none)\n"
	"  --label, --no-label  '[3] ' before each line of node 3, or not (labels, if there are several processes)\n"
	"  --keep-going         a process that fails does not end the others\n"
	"  --timeout T          end the job after T: 90, 90s, 500ms, 5min (seconds)\n"
	"  --version, --help\n"
	"\n"
	"Before the first program -x and --wdir hold for all programs, after a ':' for that one.\n"
	"Exit status: that of the first process that failed, 128 + N if signal N ended it; 124 after --timeout; 127 if a\n"
	"program cannot be executed; 2 for a wrong command line or host file. dpirun(1) has all of it.\n";

struct cursor {
	char **argv;
	int count, at;
	bool first; /* before the first ':' */
};

/* Is the word this option? Then its value: behind '=', or the next word. */
static bool takes_value(struct cursor *c, const char *option, char **value)
{
	char *word = c->argv[c->at];
	size_t n = strlen(option);
	if (strncmp(word, option, n)) return false;
	if (!word[n]) {
		if (c->at + 1 >= c->count) quit(EXIT_USAGE, "%s needs a value; see dpirun --help", option);
		*value = c->argv[++c->at];
	} else if (option[1] == '-' && word[n] == '=') *value = word + n + 1;
	else if (option[1] != '-') *value = word + n; /* -n4 */
	else return false;
	c->at++;
	return true;
}

static bool is_flag(struct cursor *c, const char *option)
{
	if (strcmp(c->argv[c->at], option)) return false;
	c->at++;
	return true;
}

/* NAME=value as it is to be set; NAME takes it from dpirun's environment. */
static char *variable(const char *option, const char *text, bool need_value)
{
	size_t n = strcspn(text, "=");
	if (!n) quit(EXIT_USAGE, "%s '%s': write NAME=value", option, text);
	if (!strncmp(text, "DPI_KEY_FILE", n) && n == 12)
		quit(EXIT_USAGE, "%s %s: name the key file with --key FILE", option, text);
	if (reserved(text)) quit(EXIT_USAGE, "%s %s: dpirun itself sets %.*s", option, text, (int)n, text);
	if (text[n]) return copy_text(text);
	if (need_value) quit(EXIT_USAGE, "%s '%s': write NAME=value", option, text);
	const char *own = getenv(text);
	if (!own) quit(EXIT_USAGE, "%s %s: there is no such environment variable; write %s=value", option, text, text);
	return print_text("%s=%s", text, own);
}

static void read_at_node(struct options *o, const char *text)
{
	size_t n = strcspn(text, ":");
	char *number = print_text("%.*s", (int)n, text);
	if (!text[n] || parse_number(number, 0, NODES_MAX - 1) < 0)
		quit(EXIT_USAGE, "--env '%s': write I:NAME=value, I being the node's number", text);
	free(number);
	free(variable("--env", text + n + 1, true));
	strings_add(&o->set_at_node, text);
}

static int64_t read_time(const char *text)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = { { "", 1000 }, { "s", 1000 }, { "ms", 1 }, { "min", 60000 }, { "m", 60000 }, { "h", 3600000 } };
	char *end;
	errno = 0;
	double v = strtod(text, &end);
	if (end != text && !errno && strchr("0123456789.", *text) && v > 0 && v < 1e9)
		for (size_t i = 0; i < sizeof units / sizeof *units; i++)
			if (!strcasecmp(end, units[i].name)) return (int64_t)(v * (double)units[i].ms + 0.5);
	quit(EXIT_USAGE, "--timeout '%s': write a time such as 90, 90s, 500ms, 5min or 2h", text);
}

static bool for_program(struct cursor *c, struct program *p)
{
	char *value;
	if (takes_value(c, "-n", &value)) {
		p->count = (int)parse_number(value, 1, NODES_MAX);
		if (p->count < 0) quit(EXIT_USAGE, "-n '%s': the number of processes is from 1 to %d", value, NODES_MAX);
	} else if (takes_value(c, "-x", &value)) {
		char *set = variable("-x", value, false);
		strings_set(&p->set, set);
		free(set);
	} else if (takes_value(c, "--wdir", &value)) {
		if (!*value) quit(EXIT_USAGE, "--wdir needs the name of a directory");
		p->directory = value;
	} else return false;
	return true;
}

static bool for_job(struct cursor *c, struct options *o, struct program *p)
{
	char *value;
	if (is_flag(c, "--label")) o->label = LABEL_ON;
	else if (is_flag(c, "--no-label")) o->label = LABEL_OFF;
	else if (is_flag(c, "--keep-going")) o->keep_going = true;
	else if (is_flag(c, "--no-key")) o->key = KEY_NONE;
	else if (takes_value(c, "--key", &o->key_file)) o->key = KEY_FILE;
	else if (takes_value(c, "--hostfile", &o->host_file) || takes_value(c, "--dpirun", &o->remote_dpirun)) return true;
	else if (takes_value(c, "--ssh", &o->ssh)) {
		if (!o->ssh[strspn(o->ssh, " ")]) quit(EXIT_USAGE, "--ssh needs a command, such as 'ssh -o BatchMode=yes'");
	} else if (takes_value(c, "--env", &value)) read_at_node(o, value);
	else if (takes_value(c, "--timeout", &o->timeout_text)) o->timeout_ms = read_time(o->timeout_text);
	else if (takes_value(c, "--transport", &value)) strings_set_pair(&p->set, "DPI_TRANSPORT", value);
	else return false;
	return true;
}

static void say_and_exit(const char *text)
{
	int bad = fputs(text, stdout) < 0;
	exit(fflush(stdout) || bad ? EXIT_SELF : 0);
}

/* A program with its options, up to the next ':'. */
static void read_program(struct cursor *c, struct options *o)
{
	o->program = grow_memory(o->program, (size_t)(o->programs + 1) * sizeof *o->program);
	struct program *p = &o->program[o->programs++];
	*p = (struct program){ 0 };
	if (!c->first) {
		p->directory = o->program->directory;
		strings_set_all(&p->set, &o->program->set);
	}
	while (c->at < c->count && c->argv[c->at][0] == '-' && c->argv[c->at][1]) {
		const char *word = c->argv[c->at];
		if (is_flag(c, "--")) break;
		if (is_flag(c, "--help")) say_and_exit(help);
		if (is_flag(c, "--version")) {
			char *text = print_text("dpirun %d.%d.%d\n", DPI_VERSION_MAJOR, DPI_VERSION_MINOR,
						DPI_VERSION_PATCH);
			say_and_exit(text);
		}
		if (for_program(c, p)) continue;
		if (!for_job(c, o, p)) quit(EXIT_USAGE, "there is no option '%s'; see dpirun --help", word);
		if (!c->first) quit(EXIT_USAGE, "%s holds for the whole job: write it before the first program", word);
	}
	p->argv = c->argv + c->at;
	while (c->at < c->count && strcmp(c->argv[c->at], ":")) c->at++;
	if (p->argv == c->argv + c->at || !**p->argv)
		quit(EXIT_USAGE, "%s; see dpirun --help",
		     c->first && c->at == c->count ? "no program is given" : "a program is missing beside ':'");
	bool more = c->at < c->count;
	c->argv[c->at] = NULL;
	c->at++;
	c->first = false;
	if (more) read_program(c, o);
}

void read_options(struct options *o, int argc, char **argv)
{
	struct cursor c = { .argv = argv, .count = argc, .at = 1, .first = true };
	*o = (struct options){ .ssh = "ssh -o BatchMode=yes" };
	read_program(&c, o);
}
