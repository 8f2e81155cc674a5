/* SPDX-License-Identifier: Apache-2.0
 * remote.c: dpirun's end of the connection to a host. */
#include "remote.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "setup.h"

static struct job *job;
static const struct link_owner *owner;

/* ------------------------------------------------------------------------------------------------------ receiving */

static void close_link(struct link *l, char *why)
{
	if (l->from.fd < 0) return;
	l->broken = why;
	l->why = why;
	loop_remove(&l->from);
	sink_drop(&l->to);
	owner->closed(l);
}

static struct node *node_at(struct link *l, uint32_t number)
{
	struct node *n = number < (uint32_t)job->nodes ? &job->node[number] : NULL;
	return n && n->host == l->host && !n->ended ? n : NULL;
}

/* False: no helper says that. */
static bool receive(struct link *l, const struct frame *f)
{
	struct node *n = node_at(l, f->node);
	switch (f->type) {
	case FRAME_HELLO:
		l->greeted = true;
		if (f->node == FRAME_VERSION) return true;
		close_link(
			l,
			print_text("host %s has another dpirun, of protocol %u, this one has %d: install the same version",
				   l->host->name, f->node, FRAME_VERSION));
		return true;
	case FRAME_PORT: owner->port(l, (int)f->node); return true;
	case FRAME_TAKEN:
		l->window = f->node > INPUT_WINDOW - l->window ? INPUT_WINDOW : l->window + f->node;
		owner->room(l);
		return true;
	case FRAME_SAY: say("host %s: %s", l->host->name, f->data); return true;
	case FRAME_BEGUN:
		if (!n) return false;
		n->pid = (pid_t)strtol(f->data, NULL, 10);
		n->started = true;
		owner->begun(n);
		return true;
	case FRAME_FAILED:
		if (n) owner->failed(n, f->data);
		return n;
	case FRAME_OUTPUT:
	case FRAME_ERROR:
		/* output may come after the end, from what the process left behind */
		if (f->node >= (uint32_t)job->nodes || job->node[f->node].host != l->host) return false;
		owner->output(&job->node[f->node].out[f->type == FRAME_ERROR], f->data, f->size);
		return true;
	case FRAME_ENDED:
		if (!n) return false;
		n->ended = true;
		n->status = (int)strtol(f->data, NULL, 10);
		owner->ended(n);
		return true;
	default: return false;
	}
}

/* What came instead of frames, made fit to print. */
static char *strange(struct link *l)
{
	char text[121];
	size_t n = l->reader.bytes.size - l->reader.head;
	if (n > sizeof text - 1) n = sizeof text - 1;
	memcpy(text, l->reader.bytes.data + l->reader.head, n);
	text[n] = 0;
	text[strcspn(text, "\r\n")] = 0;
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
	return print_text(
		"host %s answers '%s' where dpirun --remote should: the start-up files of its shell must not print anything",
		l->host->name, text);
}

static void from_ready(struct watch *w, uint32_t events)
{
	static char chunk[65536];
	struct link *l = w->owner;
	struct frame f;
	int got;
	(void)events;
	ssize_t n = read(w->fd, chunk, sizeof chunk);
	if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
	if (n <= 0) {
		close_link(l, NULL);
		return;
	}
	frame_feed(&l->reader, chunk, (size_t)n);
	while ((got = frame_next(&l->reader, &f)) > 0 && l->from.fd >= 0)
		if (!receive(l, &f))
			close_link(l, print_text("host %s answers what no dpirun --remote would: are both of one version?",
						 l->host->name));
	if (got < 0) close_link(l, strange(l));
}

static void error_ready(struct watch *w, uint32_t events)
{
	char chunk[4096];
	struct stream *s = w->owner;
	(void)events;
	ssize_t n = read(w->fd, chunk, sizeof chunk);
	if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
	if (n <= 0) loop_remove(w);
	owner->output(s, chunk, n > 0 ? (size_t)n : 0);
}

bool link_closed(const struct link *l)
{
	return l->from.fd < 0 && l->ssh.ended && l->error.watch.fd < 0;
}

/* -------------------------------------------------------------------------------------------------------- sending */

void link_signal(struct link *l, int signal)
{
	frame_put(&l->to, FRAME_SIGNAL, (uint32_t)signal, NULL, 0);
	sink_flush(&l->to);
}

void link_kill(struct link *l)
{
	frame_put(&l->to, FRAME_KILL, 0, NULL, 0);
	sink_flush(&l->to);
}

void link_input(struct link *l, const char *data, size_t size)
{
	l->window -= size < l->window ? size : l->window;
	frame_put(&l->to, FRAME_INPUT, 0, data, size);
	sink_flush(&l->to);
}

void link_pause(struct link *l, bool pause)
{
	if (l->from.fd >= 0) loop_watch(&l->from, pause ? 0 : EPOLLIN);
}

static void add_text(struct bytes *b, const char *text)
{
	bytes_add(b, text, strlen(text) + 1);
}

static void start_node(struct link *l, struct node *n)
{
	struct bytes b = { 0 };
	struct strings env = { 0 };
	char head[64], here[4096];
	const char *directory = n->program->directory;
	int arguments = 0;
	if (!directory) directory = getcwd(here, sizeof here) ? here : "/";
	inherit(&env, true);
	if (n->host->address) strings_set_pair(&env, "DPI_LISTEN", n->host->address);
	strings_set_all(&env, &n->program->set);
	strings_set_all(&env, &n->set);
	while (n->program->argv[arguments]) arguments++;
	snprintf(head, sizeof head, "%d %d", job->nodes, arguments);
	add_text(&b, head);
	add_text(&b, job->cluster);
	add_text(&b, directory);
	for (int i = 0; i < arguments; i++) add_text(&b, n->program->argv[i]);
	for (int i = 0; i < env.count; i++) add_text(&b, env.list[i]);
	if (b.size > FRAME_MAX)
		owner->failed(n, "its arguments and environment take more than 4 MiB, too many for another host");
	else frame_put(&l->to, FRAME_NODE, (uint32_t)n->number, b.data, b.size);
	bytes_free(&b);
	strings_free(&env);
}

void link_start_nodes(struct link *l)
{
	for (int i = 0; i < job->nodes; i++)
		if (job->node[i].host == l->host) start_node(l, &job->node[i]);
	frame_put(&l->to, FRAME_ALL, 0, NULL, 0);
	sink_flush(&l->to);
}

/* ---------------------------------------------------------------------------------------------------------- ssh */

/* In single quotes, for the shell of the other host. */
static char *quoted(const char *text)
{
	struct bytes b = { 0 };
	bytes_add(&b, "'", 1);
	for (; *text; text++)
		if (*text == '\'') bytes_add(&b, "'\\''", 4);
		else bytes_add(&b, text, 1);
	bytes_add(&b, "'", 2);
	return b.data;
}

static void own_path(char path[4096])
{
	ssize_t n = readlink("/proc/self/exe", path, 4095);
	if (n < 0) n = 0;
	path[n] = 0;
	if (!n) strcpy(path, "dpirun");
}

void link_open(struct host *h, struct job *j, const struct link_owner *o, bool listens)
{
	struct link *l = get_memory(sizeof *l);
	struct strings words = { 0 };
	struct launch launch = { .keep = { -1, -1 } };
	char path[4096], *save = NULL, *ssh = copy_text(j->options->ssh);
	const char *wrong;
	int to[2], from[2], error_pipe[2], error;
	job = j;
	owner = o;
	h->link = l;
	l->host = h;
	l->window = INPUT_WINDOW;
	l->error = (struct stream){ .which = 1, .label = print_text("[%s] ", h->name) };
	for (char *word = strtok_r(ssh, " ", &save); word; word = strtok_r(NULL, " ", &save)) strings_add(&words, word);
	own_path(path);
	strings_add(&words, h->name);
	char *program = quoted(job->options->remote_dpirun ? job->options->remote_dpirun : path);
	char *command = print_text("exec %s --remote", program);
	strings_add(&words, command);
	free(program);
	free(command);
	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC) || pipe2(error_pipe, O_CLOEXEC))
		quit(EXIT_SELF, "no pipe: %s", strerror(errno));
	launch.argv = words.list;
	launch.env = environ;
	launch.fd[0] = to[0];
	launch.fd[1] = from[1];
	launch.fd[2] = error_pipe[1];
	error = spawn(&launch, &l->ssh.pid, &wrong);
	close(to[0]);
	close(from[1]);
	close(error_pipe[1]);
	free(ssh);
	sink_open(&l->to, to[1], false);
	l->from = (struct watch){ .fd = from[0], .ready = from_ready, .owner = l };
	l->error.watch = (struct watch){ .fd = error_pipe[0], .ready = error_ready, .owner = &l->error };
	if (error) {
		l->ssh.ended = true;
		loop_remove(&l->error.watch);
		close_link(l, spawn_error(&launch, wrong, error));
	}
	strings_free(&words);
	if (error) return;
	keeper_other(&l->ssh);
	loop_watch(&l->from, EPOLLIN);
	loop_watch(&l->error.watch, EPOLLIN);
	frame_put(&l->to, FRAME_JOB, FRAME_VERSION, job->id, strlen(job->id) + 1);
	if (job->key_size) frame_put(&l->to, FRAME_KEY, 0, job->key, job->key_size);
	if (listens)
		frame_put(&l->to, FRAME_LISTEN, 0, h->address ? h->address : "", h->address ? strlen(h->address) + 1 : 1);
	sink_flush(&l->to);
}
