/* SPDX-License-Identifier: Apache-2.0
 * bell.h: how a waiter is woken, from its own process or another of the host.
 *
 * Every node has a page of bells that its same-host peers map. A waiter counts itself in at a bell, looks once more at what
 * it waits for, then sleeps; a ringer publishes its change, then looks whether anybody is counted in.
 *
 * Proof that no wake-up is lost: the waiter does  count in; F; check.  the ringer does  publish; G; look.  With full fences F
 * and G one of the two sees the other (store buffering). G would cost every publisher, so G is only a compiler barrier,
 * and F is membarrier(GLOBAL_EXPEDITED), which puts a full fence into every running thread of every registered process, that is into the
 * ringer between its publish and its look if it is there. Where membarrier is missing, page->fence is 1 and G is a real fence; F is
 * always both, as the ringers of one page may differ.
 *
 * A waiter that sleeps often would fence often, and each such fence interrupts every core. So who has fenced at a bell leaves FENCED in its
 * word of sleepers, while he is counted in: from that fence on every ringer finds the word not 0, and then fences himself, for a few
 * nanoseconds, before he looks. Waiters that count in and find FENCED came after that fence: what a ringer had published before it without a
 * fence of his own, they see. A ringer who has found nobody many times takes FENCED away, by a comparison of the whole word: nobody is
 * counted in then, and who comes next fences again.
 *
 * A waiter that was woken but does not run yet is not to be woken again. Each time round he takes the sequence, sets awaited, fences, looks,
 * and sleeps until the sequence changes. A ringer wakes if he changes awaited from 1 to 0, and then the sequence. One that finds 0 read it
 * before the waiter's 1, who then sees what he published (store buffering, both fence); or read the 0 of another ringer after it, who
 * changes the sequence after the waiter took it: the waiter comes round, sets awaited anew, which that 0 came before, and sees it then.
 *
 * While nobody but the process itself rings a bell, membarrier(PRIVATE_EXPEDITED) does, which disturbs no other process. Who rings one
 * of another process for the first time, or is about to, sets its others and fences. The waiter counts in, fences, and looks at others: if
 * it is 0, the count precedes it, others precedes the ringer's fence, and that its look, now and ever after: it sees the count. */
#ifndef DPI_CORE_BELL_H
#define DPI_CORE_BELL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "delay.h"

#define DPI_BELLS 63
#define DPI_BELL_SERVICE 0u /* the progress thread's own */

struct dpi_bell {
	_Atomic uint32_t sequence; /* futex word; changed by every ring that found a waiter */
	_Atomic uint32_t sleepers; /* threads that sleep on the futex; DPI_BELL_FENCED */
	_Atomic uint32_t pollers;  /* threads that sleep in poll on the node's event descriptor */
	_Atomic uint32_t others;   /* 1: a process other than the owner rings it */
	_Atomic uint32_t awaited;  /* 1: of the sleepers one wants the next ring */
	_Atomic uint32_t vain;	   /* rings that found FENCED and nobody */
	uint32_t pad[10];
};
#define DPI_BELL_FENCED (UINT32_C(1) << 31)

struct dpi_bell_page {
	uint32_t version;
	_Atomic uint32_t fence; /* 1: ringers fence; set by whoever rings here and cannot do without */
	uint64_t incarnation;
	uint32_t pad[12];
	struct dpi_bell bell[DPI_BELLS];
};
_Static_assert(sizeof(struct dpi_bell_page) == 4096, "one page");

/* A page as its ringers know it. */
struct dpi_bells {
	struct dpi_bell_page *page; /* NULL: not mapped here */
	int event_fd;		    /* of the node that owns the page */
	int page_fd;		    /* owner only */
	bool alone;		    /* owner only: a fence of this process alone can be had */
};

int dpi_bells_create(struct dpi_bells *b, uint64_t incarnation); /* makes page, memfd and eventfd; registers membarrier */
int dpi_bells_map(struct dpi_bells *b, int page_fd, int event_fd); /* a peer's; takes event_fd, closes page_fd */
void dpi_bells_close(struct dpi_bells *b);

bool dpi_bell_wake(const struct dpi_bells *b, uint32_t bell); /* the slow half of dpi_bell_ring */

/* To be called after the release store of what the waiter looks at. Returns whether somebody was woken. */
static inline bool dpi_bell_ring(const struct dpi_bells *b, uint32_t bell)
{
	struct dpi_bell *p = &b->page->bell[bell];
	DPI_DELAY(bell_published);
	if (__builtin_expect(atomic_load_explicit(&b->page->fence, memory_order_relaxed), 0)) atomic_thread_fence(memory_order_seq_cst);
	else atomic_signal_fence(memory_order_seq_cst);
	if (__builtin_expect(!(atomic_load_explicit(&p->sleepers, memory_order_relaxed) |
			       atomic_load_explicit(&p->pollers, memory_order_relaxed)), 1))
		return false;
	return dpi_bell_wake(b, bell);
}

/* Seems somebody to be counted in? For ringers to whom the answer decides about speed alone. */
static inline bool dpi_bell_slept_at(const struct dpi_bell *p)
{
	return atomic_load_explicit(&p->sleepers, memory_order_relaxed) & ~DPI_BELL_FENCED || atomic_load_explicit(&p->pollers, memory_order_relaxed);
}

/* The bell at which this thread is counted in as a poller, while it serves the transports. */
extern _Thread_local struct dpi_bell *dpi_bell_polled __attribute__((visibility("hidden")));

/* To be called before ringing a bell of another process: at the latest between the publish and dpi_bell_ring. */
static inline void dpi_bell_other(const struct dpi_bells *b, uint32_t bell)
{
	struct dpi_bell *p = &b->page->bell[bell];
	if (__builtin_expect(atomic_load_explicit(&p->others, memory_order_relaxed), 1)) return;
	atomic_store_explicit(&p->others, 1, memory_order_relaxed);
	DPI_DELAY(bell_other);
	atomic_thread_fence(memory_order_seq_cst);
}

/* How a thread sleeps at bells (bit n: bell n) of its own node: count in; then each time round await, look, sleep; count out. */
void dpi_bell_count_in(const struct dpi_bells *own, uint64_t bells);
void dpi_bell_await(const struct dpi_bells *own, uint64_t bells);
void dpi_bell_count_out(const struct dpi_bells *own, uint64_t bells);

/* The waiter's fence F. */
void dpi_bell_fence(const struct dpi_bells *own, uint32_t bell);
void dpi_bell_fence_all(const struct dpi_bells *own, uint64_t bells); /* bit n: bell n; counted in at all of them */
/* The same against threads of this process only. */
void dpi_bell_fence_own(const struct dpi_bells *own);

#endif
