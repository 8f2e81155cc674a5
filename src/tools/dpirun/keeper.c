/* SPDX-License-Identifier: Apache-2.0
 * keeper.c: the processes of this host.
 *
 * dpirun is the reaper of all its descendants (PR_SET_CHILD_SUBREAPER): a process whose parent has died becomes its child,
 * whatever group or session it made for itself. So at the end killing the children, again and again until there are none,
 * leaves no descendant. */
#include "keeper.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard.h"

#define LINGER_MS 500 /* what the nodes left behind may end by itself for this long */
#define GIVE_UP_MS 5000

static const struct keeper_owner *owner;
static struct node **nodes; /* started here */
static int count, room, running;
static struct keeper_other *others;
static struct watch signals;
static bool paused[2], killing, gave_up;
static int64_t linger_until = NEVER, give_up = NEVER;

/* ------------------------------------------------------------------------------------------------------- output */

/* Read once; false when there is nothing more now. */
static bool read_stream(struct stream *s)
{
	static char chunk[65536];
	ssize_t n;
	if (s->watch.fd < 0) return false;
	do n = read(s->watch.fd, chunk, sizeof chunk);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN) return false;
	if (n <= 0) {
		loop_remove(&s->watch);
		owner->output(s, NULL, 0);
		return false;
	}
	owner->output(s, chunk, (size_t)n);
	return true;
}

static void stream_ready(struct watch *w, uint32_t events)
{
	(void)events;
	read_stream(w->owner);
}

void keeper_pause(int which, bool pause)
{
	if (paused[which] == pause) return;
	paused[which] = pause;
	for (int i = 0; i < count; i++)
		if (nodes[i]->out[which].watch.fd >= 0) loop_watch(&nodes[i]->out[which].watch, pause ? 0 : EPOLLIN);
}

/* ------------------------------------------------------------------------------------------------ ends of processes */

static bool spared(pid_t pid)
{
	if (pid == guard_process()) return true;
	for (struct keeper_other *o = others; o; o = o->next)
		if (o->pid == pid && !o->ended) return true;
	return false;
}

static int each_child(bool (*use)(pid_t pid))
{
	char path[64], line[512];
	int used = 0;
	snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	FILE *f = fopen(path, "re");
	if (f) {
		int pid;
		while (fscanf(f, "%d", &pid) == 1) used += !spared(pid) && use(pid);
		fclose(f);
		return used;
	}
	/* a kernel without that file: look at every process's parent */
	DIR *d = opendir("/proc");
	for (struct dirent *e; d && (e = readdir(d));) {
		int parent;
		if (!isdigit((unsigned char)*e->d_name)) continue;
		snprintf(path, sizeof path, "/proc/%.20s/stat", e->d_name);
		f = fopen(path, "re");
		if (!f) continue;
		char *end = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
		if (end && sscanf(end, ") %*c %d", &parent) == 1 && parent == getpid() && !spared(pid)) used += use(pid);
		fclose(f);
	}
	if (d) closedir(d);
	return used;
}

static bool exists(pid_t pid)
{
	(void)pid;
	return true;
}

static bool kill_one(pid_t pid)
{
	return !kill(pid, SIGKILL);
}

/* All nodes have ended: wait a little for what they left, then kill it; at last take what is in the pipes. */
static void finish(void)
{
	bool left = each_child(exists);
	if (left && !killing && linger_until == NEVER) linger_until = now_ms() + LINGER_MS;
	if (left && !killing && now_ms() >= linger_until) keeper_kill();
	if (left) return;
	/* nobody holds the other ends, unless they were given away: so all that comes is there */
	for (int i = 0; i < count; i++)
		for (int which = 0; which < 2; which++) {
			struct stream *s = &nodes[i]->out[which];
			if (s->watch.fd < 0 || paused[which] || read_stream(s) || s->watch.fd < 0) continue;
			loop_remove(&s->watch);
			owner->output(s, NULL, 0);
		}
}

static void node_ended(struct node *n, int status)
{
	n->ended = true;
	n->status = status;
	loop_remove(&n->process);
	running--;
	n->lingers = !kill(-n->pid, 0);
	if (!n->lingers) guard_remove(n->pid);
	/* first what it said, then how it ended; a process it left may go on talking, so not for ever */
	for (int which = 0; which < 2; which++)
		for (int i = 0; i < 16 && read_stream(&n->out[which]); i++) continue;
	owner->ended(n);
}

static struct node *node_of(pid_t pid)
{
	for (int i = 0; i < count; i++)
		if (nodes[i]->pid == pid && !nodes[i]->ended) return nodes[i];
	return NULL;
}

/* Reap what has ended. A node that has a descriptor is left to it: epoll tells these in the order of their ends. */
static void reap(void)
{
	for (;;) {
		siginfo_t info = { .si_pid = 0 };
		int status;
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) || !info.si_pid) break;
		struct node *n = node_of(info.si_pid);
		if (n && n->process.fd >= 0) break;
		if (waitpid(info.si_pid, &status, 0) != info.si_pid) break;
		if (n) node_ended(n, status);
		for (struct keeper_other *o = others; o; o = o->next)
			if (o->pid == info.si_pid && !o->ended) {
				o->ended = true;
				o->status = status;
			}
	}
	if (killing) each_child(kill_one);
}

static void process_ready(struct watch *w, uint32_t events)
{
	struct node *n = w->owner;
	int status;
	(void)events;
	if (waitpid(n->pid, &status, WNOHANG) == n->pid) node_ended(n, status);
	reap();
}

/* ------------------------------------------------------------------------------------------------------ signals */

static void signal_ready(struct watch *w, uint32_t events)
{
	struct signalfd_siginfo info;
	(void)events;
	while (read(w->fd, &info, sizeof info) == sizeof info) {
		if (info.ssi_signo == SIGCHLD) reap();
		else owner->signal((int)info.ssi_signo);
	}
}

static void open_signals(void)
{
	static const int list[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT };
	struct sigaction now;
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	/* a signal that dpirun was started to ignore (nohup) stays ignored, here and in the processes */
	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		if (!sigaction(list[i], NULL, &now) && now.sa_handler != SIG_IGN) sigaddset(&set, list[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals = (struct watch){ .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), .ready = signal_ready };
	if (signals.fd < 0) quit(EXIT_SELF, "no descriptor for signals: %s", strerror(errno));
	loop_watch(&signals, EPOLLIN);
}

void keeper_signal(int signal)
{
	for (int i = 0; i < count; i++)
		if (!nodes[i]->ended || nodes[i]->lingers)
			nodes[i]->lingers = !kill(-nodes[i]->pid, signal) && nodes[i]->ended;
}

void keeper_kill(void)
{
	killing = true;
	linger_until = NEVER;
	if (give_up == NEVER) give_up = now_ms() + GIVE_UP_MS;
	for (int i = 0; i < count; i++)
		if (!nodes[i]->ended) kill(-nodes[i]->pid, SIGKILL);
	each_child(kill_one);
}

/* --------------------------------------------------------------------------------------------------------- start */

void keeper_open(const struct keeper_owner *o, const char *job)
{
	owner = o;
	guard_open(job);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	open_signals();
}

void keeper_other(struct keeper_other *o)
{
	o->next = others;
	others = o;
}

int keeper_start(struct node *n, struct launch *l, const char **wrong)
{
	int pipes[2][2] = { { -1, -1 }, { -1, -1 } }, error = 0;
	*wrong = "start a process for";
	for (int i = 0; i < 2 && !error; i++) {
		n->out[i].watch.fd = -1;
		if (l->fd[i + 1] >= 0) continue;
		if (pipe2(pipes[i], O_CLOEXEC)) error = errno;
		else l->fd[i + 1] = pipes[i][1];
	}
	if (!error) error = spawn(l, &n->pid, wrong);
	for (int i = 0; i < 2; i++) {
		if (pipes[i][1] < 0) continue;
		close(pipes[i][1]);
		l->fd[i + 1] = -1;
		if (error) close(pipes[i][0]);
	}
	if (error) return error;
	guard_add(n->pid);
	n->started = true;
	if (count == room) {
		room = room ? 2 * room : 16;
		nodes = grow_memory(nodes, (size_t)room * sizeof *nodes);
	}
	nodes[count++] = n;
	running++;
	n->process = (struct watch){ .fd = (int)syscall(SYS_pidfd_open, n->pid, 0), .ready = process_ready, .owner = n };
	if (n->process.fd >= 0) fcntl(n->process.fd, F_SETFD, FD_CLOEXEC);
	if (!loop_watch(&n->process, EPOLLIN)) loop_remove(&n->process);
	for (int i = 0; i < 2; i++) {
		if (pipes[i][0] < 0) continue;
		fcntl(pipes[i][0], F_SETFL, O_NONBLOCK);
		n->out[i].watch = (struct watch){ .fd = pipes[i][0], .ready = stream_ready, .owner = &n->out[i] };
		if (!paused[i]) loop_watch(&n->out[i].watch, EPOLLIN);
	}
	return 0;
}

/* ----------------------------------------------------------------------------------------------------------- end */

bool keeper_done(void)
{
	if (gave_up) return true;
	if (running) return false;
	for (int i = 0; i < count; i++)
		if (nodes[i]->out[0].watch.fd >= 0 || nodes[i]->out[1].watch.fd >= 0) return false;
	return !each_child(exists);
}

int64_t keeper_deadline(void)
{
	return linger_until < give_up ? linger_until : give_up;
}

void keeper_tick(void)
{
	if (!running) finish();
	if (gave_up || now_ms() < give_up || keeper_done()) return;
	gave_up = true;
	say("some processes cannot be killed (are they stuck in the kernel?) and are left behind");
}

void keeper_close(void)
{
	guard_close();
}
