/* SPDX-License-Identifier: Apache-2.0
 * remote.h: dpirun's end of the connection to a host: ssh runs 'dpirun --remote' there, one for all nodes of the host. The
 * key and the environment go over the connection and never stand on a command line. */
#ifndef DPIRUN_REMOTE_H
#define DPIRUN_REMOTE_H

#include "frame.h"
#include "job.h"
#include "keeper.h"

struct link {
	struct host *host;
	struct sink to;	     /* the helper's standard input */
	struct watch from;   /* its standard output */
	struct stream error; /* ssh's and the remote shell's complaints */
	struct frame_reader reader;
	struct keeper_other ssh;
	size_t window; /* bytes of standard input that may be sent */
	bool greeted, broken;
	char *why; /* broken: the sentence */
};

struct link_owner {
	void (*port)(struct link *l, int port);
	void (*output)(struct stream *s, const char *data, size_t size);
	void (*begun)(struct node *n);
	void (*failed)(struct node *n, const char *why); /* could not be started */
	void (*ended)(struct node *n);
	void (*room)(struct link *l);	/* the window is larger */
	void (*closed)(struct link *l); /* it says nothing any more; why is set if it should have */
};

/* Start ssh to a host and send what comes first. listens: node 0's socket is made there. */
void link_open(struct host *h, struct job *job, const struct link_owner *owner, bool listens);
void link_start_nodes(struct link *l); /* job->cluster is known */
void link_signal(struct link *l, int signal);
void link_kill(struct link *l);
void link_input(struct link *l, const char *data, size_t size);
void link_pause(struct link *l, bool pause);
bool link_closed(const struct link *l); /* ssh has ended too */

#endif
