/* SPDX-License-Identifier: Apache-2.0
 * setup.h: what the processes of a job get: its id, the key, node 0's socket, the environment. */
#ifndef DPIRUN_SETUP_H
#define DPIRUN_SETUP_H

#include "job.h"

void make_id(char id[17]);

/* Fill job->key as the options want it. */
void setup_key(struct job *job);
/* A descriptor that a process opens again as /proc/self/fd/N: memory of this user's alone, never a file. */
int key_descriptor(const void *key, size_t size);

/* Node 0's socket, listening already, so that nobody races for an address. Local: an abstract Unix address. */
int listen_local(const char *id, char **cluster);
/* address: of this host, or "" for all of it. -1 with the sentence in *wrong. */
int listen_host(const char *address, int *port, char **wrong);
/* HOST:PORT or [V6]:PORT. */
char *address_text(const char *host, int port);
bool is_loopback(const char *address); /* a number or name of this host alone */

/* The name is one that dpirun itself gives to its processes. */
bool reserved(const char *name);
/* Add this host's environment, without what a dpirun around this one gave; settings_only: only its DPI_ variables. */
void inherit(struct strings *env, bool settings_only);
/* Add what tells a node of its cluster. listen_fd, key_fd: -1 where it gets none. */
void set_cluster(struct strings *env, const char *cluster, const char *id, int node, int nodes, int listen_fd, int key_fd);

#endif
