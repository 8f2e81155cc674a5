/* SPDX-License-Identifier: Apache-2.0
 * job.h: what is to be run, as the command line and the host file say it, and the processes of it. */
#ifndef DPIRUN_JOB_H
#define DPIRUN_JOB_H

#include <sys/types.h>

#include "loop.h"
#include "util.h"

#define NODES_MAX 4096

struct link; /* remote.h */
struct node;

/* A program of the command line. */
struct program {
	char **argv; /* of the command line; ends with NULL */
	int count;   /* how many nodes run it; 0: not said */
	struct strings set;
	char *directory; /* NULL: dpirun's */
};

/* A line of the host file. */
struct host {
	char *name;    /* as ssh takes it */
	char *address; /* where the other hosts reach it */
	int slots;
	bool local;
	struct link *link; /* NULL while there is none */
};

/* One of a node's two output streams, or of ssh's. */
struct stream {
	struct watch watch;
	int which; /* 0 standard output, 1 standard error */
	struct node *node;
	char *label;	   /* before each line; "" */
	struct bytes line; /* a line's beginning */
};

struct node {
	int number;
	struct program *program;
	struct host *host;
	struct strings set; /* --env */
	pid_t pid;	    /* on its host */
	int status;	    /* as of waitpid, once it has ended */
	bool started, ended;
	bool lingers;	      /* ended, but processes of its group are left */
	struct watch process; /* a descriptor of it that is readable when it has ended */
	struct stream out[2];
};

enum label { LABEL_DEFAULT, LABEL_ON, LABEL_OFF };
enum key { KEY_DEFAULT, KEY_FILE, KEY_NONE };

struct options {
	struct program *program;
	int programs;
	struct strings set_at_node; /* "I:NAME=value" */
	enum label label;
	enum key key;
	char *key_file;
	char *host_file;
	char *ssh;
	char *remote_dpirun; /* its path on other hosts */
	bool keep_going;
	int64_t timeout_ms;
	char *timeout_text;
};

struct job {
	struct options *options;
	char id[17];
	char *cluster; /* DPI_CLUSTER; NULL until node 0's socket listens */
	struct host *host;
	int hosts;
	struct node *node;
	int nodes;
	bool label;
	char key[4096]; /* the cluster key, key_size 0: none */
	size_t key_size;
	int key_fd; /* -1 */
};

/* options.c: reads the command line, or prints what was asked for and exits. */
void read_options(struct options *o, int argc, char **argv);
/* hosts.c: reads the host file, or makes the one local host. */
void read_hosts(struct job *job);
/* run.c: starts the job and stays until it has ended; the exit status. */
int run_job(struct job *job);
/* helper.c: dpirun --remote, at the other end of ssh. */
int run_helper(void);

#endif
