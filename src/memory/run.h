/* SPDX-License-Identifier: Apache-2.0
 * run.h: runs: records of a ring that become visible while they are being written. Flows send their segments as runs.
 *
 * A run is a word (its room in bytes, DPI_RING_RUN) and bytes that follow it, in a ring as ring.h has it. Its room is taken at once; what is
 * written into it counts as written byte by byte, so any publishing, the linger service's too, shows what is there so far. A run
 * that ends before its room is full gets its word rewritten to its true size, before anything behind it is published. Behind a run
 * positions go on at the next multiple of 8.
 *
 * The reader looks at the word again whenever it has loaded a new tail. Why what it sees is right: a tail beyond the run's true end was
 * published after the word was rewritten (release, acquire), so the word shows the true end; a tail before it makes any of the two words
 * good, as both ends lie at or behind it. The reader gives nothing of a run back before it knows that the run is over, so the word is not
 * overwritten while it may be looked at. That is at most one run, so a ring holds four. */
#ifndef DPI_MEMORY_RUN_H
#define DPI_MEMORY_RUN_H

#include "buffer.h"
#include "ring.h"

#define DPI_RING_RUN 4u
#define DPI_RUNS_IN_RING 4u /* runs of the largest size that a ring holds at least */

/* ------------------------------------------------------------------------------------------------------- writing */

/* The run that is open in a handle's ring. */
struct dpi_run {
	uint64_t at;  /* position of its word */
	uint64_t end; /* position behind its room; 0: none is open */
};

/* The shape of a queue for runs of up to run bytes, for the home that is to hold it: a ring of at least first bytes at first, all rings at
 * most max. */
struct dpi_buffer_shape dpi_run_shape(uint64_t run, uint64_t first, uint64_t max, uint32_t numa);

/* Make such a queue on this node, without a name; its id. Not on the loop thread. */
int dpi_run_queue(struct dpi_context *ctx, const struct dpi_buffer_shape *shape, int64_t deadline, uint64_t *id);
/* And let go of it. */
void dpi_run_queue_end(struct dpi_context *ctx, uint64_t id);
/* Open a handle that writes runs to a queue whose node and id are known; name for sentences. Blocks for the home's answer. */
int dpi_run_open(struct dpi_context *ctx, const char *name, int node, uint64_t id, int64_t timeout_us, int64_t linger_us, int64_t deadline,
		 struct dpi_buffer **b);
/* The same in steps, with a ring, which is asked for at the same time; bell: rung when there is an answer, and when there is room. start
 * blocks only to connect to the node, until deadline. step: DPI_ERR_AGAIN, or an error, after which the handle is gone. */
int dpi_run_open_start(struct dpi_context *ctx, const struct dpi_wanted *wanted, int node, uint64_t id, int64_t deadline, struct dpi_buffer **b);
int dpi_run_open_step(struct dpi_buffer *b);
/* Its home has answered that there is no memory for the ring now, and will again when there is. */
static inline bool dpi_run_queued(const struct dpi_buffer *b)
{
	return b->appender.queued;
}
void dpi_run_open_drop(struct dpi_buffer *b); /* one that is not open yet */
/* Since when another waits at the home for memory that this handle's ring takes; 0: none does. */
static inline int64_t dpi_run_asked_back(const struct dpi_buffer *b)
{
	return atomic_load_explicit(&b->asked_back, memory_order_relaxed);
}
/* Give the ring up, with no run open: the next that begins asks for another. False: it stays. lock, or NULL: held while the ring is left. */
bool dpi_run_yield(struct dpi_buffer *b, pthread_mutex_t *lock);
static inline bool dpi_run_yielded(const struct dpi_buffer *b)
{
	return b->appender.base && !b->appender.attached;
}
/* Publish all and close the handle; timeout_us bounds it. */
int dpi_run_close(struct dpi_buffer *b, int64_t timeout_us);

/* Begin a run of size bytes; none is open. Its bytes go to dpi_run_place. wait: for the ring and for room in it, at most
 * the handle's timeout; otherwise DPI_ERR_AGAIN, with no sentence. Other errors: PEER DESTROYED TIMEOUT MEMORY. */
int dpi_run_begin(struct dpi_buffer *b, struct dpi_run *run, uint64_t size, bool wait);
/* End the open run where it is now. DPI_ERR_AGAIN: the transport could not take the word now; try again. */
int dpi_run_end(struct dpi_buffer *b, struct dpi_run *run);
/* The rest of the open run is written in pieces of at most DPI_SMALL_BYTES, and not to be published at once: it may lie on a stage (ring.h). */
void dpi_run_stage(struct dpi_buffer *b, const struct dpi_run *run);
/* Where the next byte goes. */
static inline uint8_t *dpi_run_place(const struct dpi_buffer *b)
{
	const struct dpi_ring_writer *w = &b->appender.writer;
	return (uint8_t *)(w->same_place + atomic_load_explicit(&w->written, memory_order_relaxed));
}
static inline uint64_t dpi_run_left(const struct dpi_buffer *b, const struct dpi_run *run)
{
	return run->end ? run->end - atomic_load_explicit(&b->appender.writer.written, memory_order_relaxed) : 0;
}
/* size more bytes are there: they may be published from now on. Publishes when a group is full. Errors: PEER DESTROYED. */
int dpi_run_wrote(struct dpi_buffer *b, const struct dpi_run *run, uint64_t size);
/* The same, and all is published: AGAIN when the transport is busy, and the linger service has it. */
int dpi_run_wrote_now(struct dpi_buffer *b, const struct dpi_run *run, uint64_t size);
/* Every write is to be published at once, over a direct window: by the program itself, where it can. */
void dpi_run_prompt(struct dpi_buffer *b);
static inline bool dpi_run_published(const struct dpi_buffer *b)
{
	return b->appender.published == atomic_load_explicit(&b->appender.writer.written, memory_order_relaxed);
}
/* Publish all; AGAIN when the transport is busy. */
int dpi_run_publish(struct dpi_buffer *b, const struct dpi_run *run);
/* Something was published by dpi_append_publish_many. */
void dpi_run_went_together(struct dpi_buffer *b, const struct dpi_run *run);
/* Wait until all is visible at the home, at most the handle's timeout. */
int dpi_run_flush(struct dpi_buffer *b, const struct dpi_run *run);

/* Up to which position the home has told that it has given back; acquire. 0: there is no ring yet. */
static inline uint64_t dpi_run_given_back(const struct dpi_buffer *b)
{
	const _Atomic uint64_t *head = b->appender.writer.head;
	return head ? atomic_load_explicit(head, memory_order_acquire) : 0;
}
/* What the home says of the runs' bytes by dpi_ring_in_ack, if wanted->acked asked for it: the count that was told last; acquire. 0: none. */
static inline uint64_t dpi_run_acked(const struct dpi_buffer *b)
{
	const struct dpi_credit *c = b->appender.credit.address;
	return c ? atomic_load_explicit(&c->acked, memory_order_acquire) : 0;
}

/* Up to which position everything is in the home's memory, without waiting. Zero at first. */
struct dpi_run_flush {
	DPI_Request request; /* where that takes a flush: the one under way */
	uint64_t asked;	     /* what it is for */
	uint64_t seen;	     /* the answer */
};
/* Look, and, where it takes a flush, begin the next if anything was written since the last. Errors: PEER DESTROYED. */
int dpi_run_look(struct dpi_buffer *b, struct dpi_run_flush *f);
/* Would a look find more? Carries the flush on. */
bool dpi_run_looks(struct dpi_buffer *b, const struct dpi_run_flush *f);

/* ------------------------------------------------------------------------------------------------------- reading */

/* Where a reader stands in the runs of a ring; it goes along when the ring is replaced. Zero at first. */
struct dpi_run_in {
	uint64_t at, end; /* of the run that is being read; end 0: none */
};

/* The next bytes of runs, where they lie: the rest of what is visible of one run. first: they are the run's first. The ring goes over
 * to its larger one as in dpi_ring_in_next. Nothing is given back. */
enum dpi_ring_found dpi_run_next(struct dpi_context *ctx, struct dpi_home *h, struct dpi_ring_in **r, struct dpi_run_in *run, const uint8_t **data,
				 uint64_t *size, bool *first);
/* More of the run that is being read, right behind what was read last: its bytes, a multiple of unit; 0: dpi_run_next says what there is. */
uint64_t dpi_run_more(struct dpi_ring_in *r, struct dpi_run_in *run, uint64_t unit);
/* Is there anything to read? Of what was loaded last several runs may be left. */
static inline bool dpi_run_ready(const struct dpi_ring_in *r)
{
	return r->reader.read != r->reader.tail || (int64_t)(atomic_load_explicit(&r->reader.ring->tail, memory_order_relaxed) - r->reader.tail) > 0;
}
/* All up to position was read and is not looked at again, but for the word of a run that may go on: one that is full does not. */
void dpi_run_give_back(struct dpi_ring_in *r, struct dpi_run_in *run, uint64_t position);

#endif
