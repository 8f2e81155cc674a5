/* SPDX-License-Identifier: Apache-2.0
 * helper.c: dpirun --remote: the processes of one host, for a dpirun on another one. It obeys the frames on its standard
 * input; when that ends, by whatever accident, it kills everything. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "frame.h"
#include "input.h"
#include "job.h"
#include "keeper.h"
#include "setup.h"

#define FLUSH_MS 5000 /* after the end, how long the other side may take to read the rest */

static struct watch in;
static struct sink out;
static struct frame_reader reader;
static struct job job;
static struct node **nodes;
static int count, running, listen_fd = -1;
static bool opened, all, cut_off;

/* ------------------------------------------------------------------------------------------------------- telling */

static void tell(enum frame_type type, uint32_t node, const void *data, size_t size)
{
	frame_put(&out, type, node, data, size);
	sink_flush(&out);
}

static void tell_number(enum frame_type type, uint32_t node, int number)
{
	char text[16];
	int n = snprintf(text, sizeof text, "%d", number);
	tell(type, node, text, (size_t)n + 1);
}

static void tell_line(const char *line, size_t size)
{
	/* without "dpirun: " and the line's end, which the other side adds */
	if (size > 9) tell(FRAME_SAY, 0, line + 8, size - 9);
}

static void cut(void)
{
	cut_off = true;
	loop_watch(&in, 0);
	in.fd = -1;
	if (opened) keeper_kill();
}

static void out_changed(struct sink *s)
{
	if (s->failed && !cut_off) cut();
	bool full = sink_level(s) > SINK_HIGH;
	for (int which = 0; which < 2; which++)
		if (full || sink_level(s) <= SINK_LOW) keeper_pause(which, full);
}

static void output(struct stream *s, const char *data, size_t size)
{
	tell(s->which ? FRAME_ERROR : FRAME_OUTPUT, (uint32_t)s->node->number, data, size);
	out_changed(&out);
}

static void ended(struct node *n)
{
	running--;
	tell_number(FRAME_ENDED, (uint32_t)n->number, n->status);
}

static void caught(int signal)
{
	/* sshd or an operator of this host ends the helper: then everything here ends */
	if (signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT) cut();
}

static void taken(size_t size)
{
	tell(FRAME_TAKEN, (uint32_t)size, NULL, 0);
}

/* ------------------------------------------------------------------------------------------------------- obeying */

/* Split size bytes into strings, each with its zero byte. */
static bool split(const char *data, size_t size, struct strings *s)
{
	if (!size || data[size - 1]) return false;
	for (size_t at = 0; at < size; at += strlen(data + at) + 1) strings_add(s, data + at);
	return true;
}

static bool start_node(const struct frame *f)
{
	struct strings words = { 0 }, arguments = { 0 }, env = { 0 };
	struct launch l = { .fd = { -1, -1, -1 }, .keep = { -1, job.key_fd } };
	const char *wrong;
	int total, argc, used = 0;
	bool good = split(f->data, f->size, &words) && words.count > 3 &&
		    sscanf(words.list[0], "%d %d%n", &total, &argc, &used) == 2 && !words.list[0][used] && argc > 0 &&
		    argc <= words.count - 3 && f->node < NODES_MAX;
	if (good) {
		struct node *n = get_memory(sizeof *n);
		*n = (struct node){ .number = (int)f->node, .process.fd = -1 };
		for (int which = 0; which < 2; which++)
			n->out[which] = (struct stream){ .watch.fd = -1, .which = which, .node = n };
		nodes = grow_memory(nodes, (size_t)(count + 1) * sizeof *nodes);
		nodes[count++] = n;
		inherit(&env, false);
		for (int i = 0; i < argc; i++) strings_add(&arguments, words.list[3 + i]);
		for (int i = 3 + argc; i < words.count; i++) strings_set(&env, words.list[i]);
		set_cluster(&env, words.list[1], job.id, n->number, total, n->number ? -1 : listen_fd, job.key_fd);
		l.argv = arguments.list;
		l.env = env.list;
		l.directory = words.list[2];
		if (!n->number) {
			input_pipe_taken = taken;
			l.fd[0] = input_pipe();
			l.keep[0] = listen_fd;
		} else l.fd[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		int error = keeper_start(n, &l, &wrong);
		if (l.fd[0] >= 0) close(l.fd[0]);
		if (!n->number && listen_fd >= 0) close(listen_fd);
		if (error) {
			char *why = spawn_error(&l, wrong, error);
			tell(FRAME_FAILED, f->node, why, strlen(why));
			free(why);
		} else {
			running++;
			tell_number(FRAME_BEGUN, f->node, (int)n->pid);
		}
	}
	strings_free(&words);
	strings_free(&arguments);
	strings_free(&env);
	return good;
}

static bool make_socket(const struct frame *f)
{
	char *wrong = NULL;
	int port = 0;
	if (listen_fd >= 0) return false;
	listen_fd = listen_host(f->data, &port, &wrong);
	if (listen_fd >= 0) tell(FRAME_PORT, (uint32_t)port, NULL, 0);
	else tell(FRAME_FAILED, 0, wrong, strlen(wrong));
	free(wrong);
	return true;
}

static const struct keeper_owner owner = { .output = output, .ended = ended, .signal = caught };

static bool obey(const struct frame *f)
{
	if (!opened) {
		if (f->type != FRAME_JOB || f->node != FRAME_VERSION || f->size != sizeof job.id ||
		    strlen(f->data) != sizeof job.id - 1)
			return false;
		memcpy(job.id, f->data, sizeof job.id);
		keeper_open(&owner, job.id);
		opened = true;
		return true;
	}
	switch (f->type) {
	case FRAME_KEY:
		if (job.key_fd >= 0 || !f->size || f->size > sizeof job.key) return false;
		job.key_fd = key_descriptor(f->data, f->size);
		if (job.key_fd < 0) say("no memory for the key: %s", strerror(errno));
		return job.key_fd >= 0;
	case FRAME_LISTEN: return make_socket(f);
	case FRAME_NODE: return !all && start_node(f);
	case FRAME_ALL: all = true; return true;
	case FRAME_SIGNAL:
		if (f->node < 1 || f->node > 64) return false;
		keeper_signal((int)f->node);
		return true;
	case FRAME_KILL: keeper_kill(); return true;
	case FRAME_INPUT: input_pipe_put(f->data, f->size); return true;
	default: return false;
	}
}

static void in_ready(struct watch *w, uint32_t events)
{
	static char chunk[65536];
	struct frame f;
	int got;
	(void)events;
	ssize_t n = read(w->fd, chunk, sizeof chunk);
	if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
	if (n <= 0) {
		cut();
		return;
	}
	frame_feed(&reader, chunk, (size_t)n);
	while ((got = frame_next(&reader, &f)) > 0 && !cut_off)
		if (!obey(&f)) {
			say("a frame '%c' that does not fit: are both dpirun of one version?", (int)f.type);
			cut();
		}
	explicit_bzero(chunk, (size_t)n); /* the key was in it */
	if (got < 0 && !cut_off) {
		say("what comes is not from dpirun: dpirun --remote is started by dpirun alone");
		cut();
	}
}

/* ------------------------------------------------------------------------------------------------------------- run */

static bool over(void)
{
	if (!opened) return cut_off;
	return (cut_off || (all && !running)) && keeper_done();
}

int run_helper(void)
{
	job.key_fd = -1;
	loop_open();
	sink_open(&out, 1, true);
	out.changed = out_changed;
	say_to = tell_line;
	in = (struct watch){ .fd = 0, .ready = in_ready };
	if (!loop_watch(&in, EPOLLIN)) {
		say_to = NULL;
		quit(EXIT_USAGE, "dpirun --remote is started by dpirun alone, through ssh");
	}
	tell(FRAME_HELLO, FRAME_VERSION, NULL, 0);
	while (!over()) {
		loop_turn(opened ? keeper_deadline() : NEVER);
		if (opened && (cut_off || all)) keeper_tick();
	}
	if (opened) keeper_close();
	/* the rest of the output; the other side may be slow, or gone */
	for (int64_t until = now_ms() + FLUSH_MS; sink_level(&out) && !out.failed && (!cut_off || now_ms() < until);)
		loop_turn(cut_off ? until : NEVER);
	return 0;
}
