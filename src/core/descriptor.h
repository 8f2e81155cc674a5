/* SPDX-License-Identifier: Apache-2.0
 * descriptor.h: file descriptors by which a program that sleeps in a loop of its own learns that something became ready.
 *
 * Such a thread is not inside the library, so while a descriptor is armed the progress thread listens in its place: the descriptor
 * is counted in at bells, as a thread that polls is, so a ring wakes the progress thread (bell.h), which makes the descriptor
 * readable if one of its bells was rung. It does not look at what the descriptor stands for, as only the thread that uses a handle
 * may: readable means 'look again'. A descriptor that has become readable is counted out until it is armed again. Who rings pays
 * for the wake-up, and nothing where no descriptor is armed. */
#ifndef DPI_CORE_DESCRIPTOR_H
#define DPI_CORE_DESCRIPTOR_H

#include <stdbool.h>
#include <stdint.h>

struct dpi_context;
struct dpi_descriptor;

/* What there is to listen to. */
struct dpi_listening {
	uint64_t bells;	 /* bit n: bell n of this node, from 1 */
	int64_t look_at; /* look again then, though nothing was rung (dpi_now); DPI_NEVER */
};

/* Is it ready? If not, say in l (empty before) which bells are rung when it may have become so. Run by the thread that arms. */
typedef bool dpi_is_ready(void *arg, struct dpi_listening *l);

/* Give the number of *d, which is made at the first call (NULL before). LIMIT MEMORY; ARGUMENT: fd is NULL. call: its name. */
int dpi_descriptor_get(struct dpi_context *ctx, const char *call, struct dpi_descriptor **d, int *fd);
/* Make it unreadable; then *now = 1 if what it stands for is ready, else it becomes readable when that may have changed.
 * STATE if d is NULL; ARGUMENT if now is NULL. One thread at a time for each descriptor. */
int dpi_descriptor_arm(const char *call, struct dpi_descriptor *d, dpi_is_ready *ready, void *arg, int *now);
/* Something changed that no bell tells: make it readable if it is armed. NULL is none. Any thread. */
void dpi_descriptor_fire(struct dpi_descriptor *d);
void dpi_descriptor_close(struct dpi_descriptor *d); /* NULL is none. Any thread; nobody arms it any more */

int dpi_descriptors_open(struct dpi_context *ctx);   /* before dpi_loop_start */
void dpi_descriptors_close(struct dpi_context *ctx); /* all but the context's own are closed; the loop has stopped */

#endif
