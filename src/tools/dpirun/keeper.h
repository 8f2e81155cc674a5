/* SPDX-License-Identifier: Apache-2.0
 * keeper.h: the processes of this host: start them, read what they say, pass on signals, leave none behind. */
#ifndef DPIRUN_KEEPER_H
#define DPIRUN_KEEPER_H

#include "job.h"
#include "spawn.h"

/* Who wants to know. */
struct keeper_owner {
	void (*output)(struct stream *s, const char *data, size_t size); /* size 0: its end */
	void (*ended)(struct node *n); /* n->status; what it printed before has been given to output */
	void (*signal)(int signal);    /* dpirun got it; not SIGCHLD */
};

/* Becomes the reaper of all descendants and starts the guard. job: its id. */
void keeper_open(const struct keeper_owner *owner, const char *job);
/* Start a node. l->fd[1], l->fd[2] < 0: they become pipes, read here. 0, or errno with *wrong as of spawn. */
int keeper_start(struct node *n, struct launch *l, const char **wrong);
/* A process that is no node: ssh. ended(status) is called once; it is not killed with the rest. */
struct keeper_other {
	pid_t pid;
	int status;
	bool ended;
	struct keeper_other *next;
};
void keeper_other(struct keeper_other *o);

void keeper_signal(int signal);		  /* to every process group */
void keeper_kill(void);			  /* SIGKILL for all, until none is left */
void keeper_pause(int which, bool pause); /* read the output streams of this kind no more, for now */
/* Nothing is left: every node has ended, so has every process they started, and all their output was given. */
bool keeper_done(void);
int64_t keeper_deadline(void); /* when keeper_tick wants to run, at the latest */
void keeper_tick(void);
void keeper_close(void);

#endif
