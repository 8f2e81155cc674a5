/* SPDX-License-Identifier: Apache-2.0
 * spawn.c: start a process. */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

static struct rlimit files; /* as dpirun was started */
static sigset_t mask;
static void (*on_pipe)(int);

void spawn_prepare(void)
{
	sigprocmask(SIG_SETMASK, NULL, &mask);
	on_pipe = signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* an ignored SIGCHLD would swallow exit statuses */
	if (getrlimit(RLIMIT_NOFILE, &files)) files = (struct rlimit){ 1024, 1024 };
	struct rlimit all = { files.rlim_max, files.rlim_max };
	if (files.rlim_cur < files.rlim_max) setrlimit(RLIMIT_NOFILE, &all);
	/* descriptors 0 to 2 exist, so that no other descriptor gets these numbers */
	int fd;
	do fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd < 3);
	if (fd >= 3) close(fd);
	for (int i = 0; i < 3; i++) fcntl(i, F_SETFD, 0);
}

struct failure {
	int error, step;
};
static const char *const steps[] = { "start a process for", "enter the directory", "execute" };

/* In the child, which shares the parent's memory until it executes: it only makes system calls and writes its own stack. */
static void become(const struct launch *l, pid_t parent, int report)
{
	struct failure f = { 0, 0 };
	setpgid(0, 0);
	/* a parent that died before the prctl is noticed by the second line */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent) _exit(EXIT_SELF);
	signal(SIGPIPE, on_pipe);
	for (int i = 0; i < 3 && !f.error; i++)
		if (l->fd[i] != i && dup2(l->fd[i], i) < 0) f.error = errno;
	for (int i = 0; i < 2; i++)
		if (l->keep[i] >= 0) fcntl(l->keep[i], F_SETFD, 0);
	if (!f.error && l->directory && chdir(l->directory)) f = (struct failure){ errno, 1 };
	setrlimit(RLIMIT_NOFILE, &files);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	if (!f.error) {
		execvpe(l->argv[0], l->argv, l->env);
		f = (struct failure){ errno, 2 };
	}
	if (write(report, &f, sizeof f) < 0) _exit(EXIT_SELF);
	_exit(EXIT_NO_EXEC);
}

int spawn(const struct launch *l, pid_t *pid, const char **wrong)
{
	struct failure f = { 0, 0 };
	int report[2];
	pid_t self = getpid();
	*wrong = steps[0];
	if (pipe2(report, O_CLOEXEC)) return errno;
	*pid = vfork();
	if (!*pid) become(l, self, report[1]);
	int error = errno;
	close(report[1]);
	/* the pipe ends without a word when the program is executed */
	if (*pid > 0) error = read(report[0], &f, sizeof f) == sizeof f ? f.error : 0;
	close(report[0]);
	if (*pid > 0 && error) {
		*wrong = steps[f.step];
		waitpid(*pid, NULL, 0);
	}
	return error;
}

char *spawn_error(const struct launch *l, const char *wrong, int error)
{
	bool directory = !strcmp(wrong, steps[1]);
	const char *hint = "", *what = directory ? l->directory : l->argv[0], *program = l->argv[0];
	if (directory) hint = "; --wdir names another one";
	else if (error == EAGAIN) hint = " (the limit of processes, ulimit -u, or of the control group)";
	else if (error == EMFILE || error == ENFILE) hint = " (the limit of descriptors, ulimit -n)";
	else if (error == ENOENT && !strchr(program, '/'))
		hint = "; it is looked for in PATH: for one in this directory write ./ before it";
	else if (error == ENOENT && !l->directory && !access(program, F_OK))
		hint = "; the file is there, but the interpreter or loader that it names is not";
	else if (error == EACCES && !l->directory && !access(program, F_OK))
		hint = "; is it a program, and is it executable (chmod +x)?";
	return print_text("cannot %s '%s': %s%s", wrong, what, strerror(error), hint);
}
