/* SPDX-License-Identifier: Apache-2.0
 * run.c: a job from its start to its end: who has failed, who is told, what the exit status is. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "input.h"
#include "keeper.h"
#include "lines.h"
#include "remote.h"
#include "setup.h"

#define GRACE_MS 2000 /* between SIGTERM and SIGKILL */
#define HOPE_MS 10000 /* after SIGKILL, for the other hosts' answer */
#define NAMES 8	      /* how many processes a sentence names */

static struct job *job;
static int listen_fd = -1;
static int running, status;
static bool ending;  /* no process shall go on */
static bool dropped; /* a second interrupt, or the output is gone */
static int asked;    /* the signal that ends the job, as dpirun got it */
static int64_t kill_at = NEVER, give_up_at = NEVER, timeout_at = NEVER;

/* -------------------------------------------------------------------------------------------------------- naming */

static const char *signal_text(int signal)
{
	const char *text = sigdescr_np(signal);
	return text ? text : "unknown";
}

/* "node 3 (pid 4711 on beta)"; one of a few static texts. */
static const char *name_of(const struct node *n)
{
	static char text[2][200];
	static int turn;
	char *t = text[turn ^= 1];
	int at = snprintf(t, sizeof *text, "node %d", n->number);
	if (n->started)
		snprintf(t + at, sizeof *text - (size_t)at, n->host->link ? " (pid %d on %s)" : " (pid %d)", (int)n->pid,
			 n->host->name);
	return t;
}

/* "node 0 (pid 17), node 2 (pid 19) and 4 more"; belongs to the caller. */
static char *running_nodes(void)
{
	struct bytes b = { 0 };
	int named = 0, more = 0;
	for (int i = 0; i < job->nodes; i++) {
		const struct node *n = &job->node[i];
		if (n->ended) continue;
		if (named == NAMES) more++;
		else {
			if (named++) bytes_add(&b, ", ", 2);
			bytes_add(&b, name_of(n), strlen(name_of(n)));
		}
	}
	char *text = more ? print_text("%.*s and %d more", (int)b.size, b.data, more)
			  : print_text("%.*s", (int)b.size, b.data ? b.data : "");
	bytes_free(&b);
	return text;
}

/* -------------------------------------------------------------------------------------------------------- ending */

static void send_all(int signal)
{
	keeper_signal(signal);
	for (int i = 0; i < job->hosts; i++)
		if (job->host[i].link) link_signal(job->host[i].link, signal);
}

static void kill_all(void)
{
	kill_at = NEVER;
	if (give_up_at == NEVER) give_up_at = now_ms() + HOPE_MS;
	keeper_kill();
	for (int i = 0; i < job->hosts; i++)
		if (job->host[i].link) link_kill(job->host[i].link);
}

/* SIGTERM now, unless the processes know already that they shall end; SIGKILL later. */
static void end_job(int with_status)
{
	if (!status) status = with_status;
	if (ending) return;
	ending = true;
	input_stop();
	kill_at = now_ms() + GRACE_MS;
	if (!running) return;
	if (!asked) send_all(SIGTERM);
	send_all(SIGCONT); /* a stopped process does not see the other signal */
}

static void grace_over(void)
{
	kill_at = NEVER;
	if (!running) return;
	char *names = running_nodes();
	say("did not end within %d s and %s killed: %s", GRACE_MS / 1000, running == 1 ? "is" : "are", names);
	free(names);
	kill_all();
}

static const char *others(void)
{
	static char text[64];
	if (!running) return "";
	if (job->options->keep_going) return "; the others go on";
	if (running == 1) return "; ending the other one";
	snprintf(text, sizeof text, "; ending the other %d", running);
	return text;
}

/* A node has ended badly. */
static void failed(int node_status)
{
	if (!status) status = node_status;
	if (!job->options->keep_going) end_job(node_status);
}

/* --------------------------------------------------------------------------------------------------- what happens */

static void node_ended(struct node *n)
{
	int s = n->status;
	running--;
	if (!n->number) input_stop();
	if (WIFEXITED(s) && !WEXITSTATUS(s)) return;
	bool quiet = ending && !job->options->keep_going;
	if (WIFEXITED(s)) {
		if (!quiet) say("%s exited with status %d%s", name_of(n), WEXITSTATUS(s), others());
		failed(WEXITSTATUS(s));
	} else {
		int signal = WTERMSIG(s);
		if (!quiet && signal != asked)
			say("%s was killed by signal %d (%s%s)%s", name_of(n), signal, signal_text(signal),
			    WCOREDUMP(s) ? ", core dumped" : "", others());
		failed(128 + signal);
	}
}

static void not_started(struct node *n, const char *why)
{
	bool there = n->host->link;
	n->ended = true;
	running--;
	if (!ending) say("node %d%s%s: %s", n->number, there ? " on " : "", there ? n->host->name : "", why);
	failed(EXIT_NO_EXEC);
}

static void got_output(struct stream *s, const char *data, size_t size)
{
	lines_add(s, data, size);
}

static void got_signal(int signal)
{
	bool again = asked;
	switch (signal) {
	case SIGTSTP:
		send_all(SIGTSTP);
		raise(SIGSTOP);
		return;
	case SIGCONT:
		send_all(SIGCONT);
		input_pump();
		return;
	case SIGINT:
	case SIGTERM:
	case SIGHUP:
	case SIGQUIT:
		if (again) {
			if (!status) status = 128 + signal;
			ending = dropped = true;
			kill_all();
			lines_drop();
			return;
		}
		if (signal != SIGHUP) asked = signal;
		break;
	default: break;
	}
	if (signal == asked) say("passing on signal %d (%s); once more kills the processes", signal, signal_text(signal));
	send_all(signal);
}

static void output_full(int which, bool pause)
{
	keeper_pause(which, pause);
	for (int i = 0; i < job->hosts; i++)
		if (job->host[i].link) link_pause(job->host[i].link, pause);
}

/* Who reads our output has gone: as in any pipeline, the processes find that out by SIGPIPE. */
static void output_broken(int which, int error)
{
	if (dropped) return;
	if (error != EPIPE) say("standard %s cannot be written: %s", which ? "error" : "output", strerror(error));
	if (error != EPIPE) end_job(EXIT_SELF);
	else end_job(128 + SIGPIPE);
}

/* -------------------------------------------------------------------------------------------------------- starting */

static void local_environment(struct strings *env, const struct node *n)
{
	inherit(env, false);
	if (n->host->address && job->hosts > 1) strings_set_pair(env, "DPI_LISTEN", n->host->address);
	strings_set_all(env, &n->program->set);
	strings_set_all(env, &n->set);
	set_cluster(env, job->cluster, job->id, n->number, job->nodes, n->number ? -1 : listen_fd, job->key_fd);
}

static void start_local(struct node *n)
{
	struct strings env = { 0 };
	static int null_fd = -1;
	bool pass_through = job->nodes == 1 && !job->label, own_input = !n->number && !isatty(0);
	struct launch l = { .argv = n->program->argv,
			    .directory = n->program->directory,
			    .fd = { 0, pass_through ? 1 : -1, pass_through ? 2 : -1 },
			    .keep = { n->number ? -1 : listen_fd, job->key_fd } };
	const char *wrong;
	if (null_fd < 0) null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (n->number) l.fd[0] = null_fd;
	else if (!own_input) l.fd[0] = input_pipe();
	local_environment(&env, n);
	l.env = env.list;
	int error = keeper_start(n, &l, &wrong);
	if (!n->number && !own_input && l.fd[0] >= 0) close(l.fd[0]);
	if (error) {
		char *why = spawn_error(&l, wrong, error);
		not_started(n, why);
		free(why);
	} else if (!n->number && !own_input) input_open(input_pipe_put, input_pipe_room);
	strings_free(&env);
}

/* The cluster's address is known: everybody starts. */
static void start_nodes(void)
{
	for (int i = 0; i < job->hosts; i++)
		if (job->host[i].link) link_start_nodes(job->host[i].link);
	for (int i = 0; i < job->nodes; i++) {
		struct node *n = &job->node[i];
		if (!n->host->local) continue;
		if (!ending) start_local(n);
		else n->ended = true, running--;
		if (!n->number && listen_fd >= 0) close(listen_fd); /* it is node 0's alone: it ends with it */
	}
}

static void got_port(struct link *l, int port)
{
	if (job->cluster) return;
	job->cluster = address_text(l->host->address ? l->host->address : l->host->name, port);
	start_nodes();
}

static void link_room(struct link *l)
{
	if (l->host == job->node->host) input_pump();
}

static void link_gone(struct link *l)
{
	int lost = 0;
	for (int i = 0; i < job->nodes; i++) {
		struct node *n = &job->node[i];
		if (n->host != l->host || n->ended) continue;
		n->ended = true;
		running--;
		lost++;
	}
	/* without node 0's socket nobody can start */
	if (!job->cluster)
		for (int i = 0; i < job->nodes; i++) running -= !job->node[i].ended, job->node[i].ended = true;
	bool tell = !ending || job->options->keep_going;
	if (l->why && tell) say("%s", l->why);
	else if (lost && tell && l->greeted)
		say("the connection to host %s ended before its %d process%s did", l->host->name, lost,
		    lost == 1 ? "" : "es");
	else if (lost && tell)
		say("host %s: no answer of dpirun; does '%s %s true' work, and is dpirun at the same path (--dpirun)?",
		    l->host->name, job->options->ssh, l->host->name);
	if (lost || l->why) failed(EXIT_SELF);
}

static size_t link_window(void)
{
	return job->node->host->link->window;
}

static void link_put(const char *data, size_t size)
{
	link_input(job->node->host->link, data, size);
}

static void node_begun(struct node *n)
{
	if (!n->number) input_open(link_put, link_window);
}

static const struct keeper_owner keeper_owner = { .output = got_output, .ended = node_ended, .signal = got_signal };
static const struct link_owner link_owner = { .port = got_port,
					      .output = got_output,
					      .begun = node_begun,
					      .failed = not_started,
					      .ended = node_ended,
					      .room = link_room,
					      .closed = link_gone };

static void start(void)
{
	bool remote = false;
	int port;
	char *wrong;
	for (int i = 0; i < job->hosts; i++) remote |= !job->host[i].local;
	struct host *first = job->node->host;
	if (job->key_size) {
		job->key_fd = key_descriptor(job->key, job->key_size);
		if (job->key_fd < 0) quit(EXIT_SELF, "no memory for the key: %s", strerror(errno));
	}
	if (!remote) listen_fd = listen_local(job->id, &job->cluster);
	else if (first->local) {
		char own[256] = "localhost";
		gethostname(own, sizeof own - 1);
		listen_fd = listen_host(first->address ? first->address : "", &port, &wrong);
		if (listen_fd < 0) quit(EXIT_SELF, "%s", wrong);
		job->cluster = address_text(first->address ? first->address : own, port);
	}
	for (int i = 0; i < job->hosts; i++)
		if (!job->host[i].local) link_open(&job->host[i], job, &link_owner, &job->host[i] == first);
	if (job->cluster) start_nodes();
}

/* ------------------------------------------------------------------------------------------------------------ run */

static bool over(void)
{
	if (running) return false;
	for (int i = 0; i < job->hosts; i++)
		if (job->host[i].link && !link_closed(job->host[i].link)) return false;
	return keeper_done() && (lines_empty() || dropped);
}

static int64_t soonest(void)
{
	int64_t at = keeper_deadline();
	if (kill_at < at) at = kill_at;
	if (give_up_at < at) at = give_up_at;
	return timeout_at < at ? timeout_at : at;
}

static void tick(void)
{
	int64_t now = now_ms();
	if (now >= timeout_at) {
		timeout_at = NEVER;
		if (running && !ending) {
			char *names = running_nodes();
			say("the job has not ended within %s (--timeout); still running: %s", job->options->timeout_text,
			    names);
			free(names);
			status = EXIT_TIMEOUT;
			end_job(EXIT_TIMEOUT);
		}
	}
	if (now >= kill_at) grace_over();
	keeper_tick();
}

int run_job(struct job *j)
{
	job = j;
	running = job->nodes;
	if (job->options->timeout_ms) timeout_at = now_ms() + job->options->timeout_ms;
	loop_open();
	keeper_open(&keeper_owner, job->id);
	lines_open(output_full, output_broken);
	start();
	while (!over()) {
		loop_turn(soonest());
		tick();
		if (now_ms() >= give_up_at) {
			/* hosts that do not even answer to a kill: ssh is ended, and with it the helper there */
			for (int i = 0; i < job->hosts; i++)
				if (job->host[i].link && !job->host[i].link->ssh.ended)
					kill(job->host[i].link->ssh.pid, SIGKILL);
			give_up_at = now_ms() + HOPE_MS;
		}
	}
	keeper_close();
	return status;
}
