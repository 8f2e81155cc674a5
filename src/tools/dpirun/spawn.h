/* SPDX-License-Identifier: Apache-2.0
 * spawn.h: start a process in a process group of its own that dies when dpirun does. */
#ifndef DPIRUN_SPAWN_H
#define DPIRUN_SPAWN_H

#include <sys/types.h>

/* What dpirun changed of itself and its children get back: descriptor limit, signal mask, SIGPIPE. Call it first. */
void spawn_prepare(void);

struct launch {
	char **argv, **env;
	const char *directory; /* NULL: where dpirun is */
	int fd[3];	       /* its standard input, output and error */
	int keep[2];	       /* descriptors it inherits under their numbers; -1 */
};

/* 0 and the process, which executes its program already; or errno. wrong: "enter the directory", "execute", "start a process
 * for". */
int spawn(const struct launch *l, pid_t *pid, const char **wrong);

/* The sentence for a program that could not be started; belongs to the caller. */
char *spawn_error(const struct launch *l, const char *wrong, int error);

#endif
