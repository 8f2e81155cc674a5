/* SPDX-License-Identifier: Apache-2.0
 * input.h: dpirun's standard input on its way to node 0, where node 0 cannot have the descriptor itself: it is a terminal,
 * which a process in another process group may not read, or node 0 is on another host. */
#ifndef DPIRUN_INPUT_H
#define DPIRUN_INPUT_H

#include <stdbool.h>
#include <stddef.h>

/* put: takes bytes, size 0: the end. room: how many it takes now. */
void input_open(void (*put)(const char *data, size_t size), size_t (*room)(void));
void input_pump(void); /* there is more room, or dpirun is in the foreground again */
void input_stop(void);

/* The reading end is a pipe to a process of this host: the node's end, to be closed once it is given to it. */
int input_pipe(void);
void input_pipe_put(const char *data, size_t size);
size_t input_pipe_room(void);
/* Called when bytes have gone into the pipe, with how many, or with 0 when nobody reads it any more. May be NULL. */
extern void (*input_pipe_taken)(size_t size);

#endif
