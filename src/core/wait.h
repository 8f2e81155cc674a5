/* SPDX-License-Identifier: Apache-2.0
 * wait.h: how every blocking call waits: spin a little, making progress; let others run; then sleep on a bell and the transports. */
#ifndef DPI_CORE_WAIT_H
#define DPI_CORE_WAIT_H

#include <stdbool.h>
#include <stdint.h>

struct dpi_carrier;
struct dpi_context;

struct dpi_wait {
	bool (*ready)(void *arg); /* looked at often; cheap, no side effects that matter */
	void *arg;
	uint32_t bell;	  /* rung by whoever changes what ready looks at */
	int64_t deadline; /* dpi_now */
	uint64_t bells;	  /* others that are rung too: bit n: bell n */
};

/* DPI_SUCCESS when ready, DPI_ERR_TIMEOUT when the deadline passed (no sentence: the caller knows on whom it waited). Never on the loop thread. */
int dpi_wait(struct dpi_context *ctx, const struct dpi_wait *w);

/* Between two looks at a word that another core writes. */
static inline void dpi_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* One non-blocking round of progress on all transports, if no other thread is at it. */
void dpi_progress(struct dpi_context *ctx);

/* Lock a carrier that callers post to, within a millisecond or so: whoever holds it may have been preempted. false: not now. */
bool dpi_carrier_lock(struct dpi_carrier *c);

/* A round of progress on one carrier, whose lock the caller holds: nothing is left for another round, which may be long in coming. */
void dpi_carrier_progress(struct dpi_carrier *c);

/* After another call than a post has served the transport, with the carrier's lock held: connecting and attaching take in what comes
 * meanwhile, and may leave the answer to the next round. Whoever sleeps on the transports makes that round. */
void dpi_carrier_served(struct dpi_carrier *c);

/* A bell for a new handle. */
uint32_t dpi_bell_pick(struct dpi_context *ctx);

#endif
