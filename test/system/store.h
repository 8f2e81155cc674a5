/* SPDX-License-Identifier: Apache-2.0
 * store.h: what a program stores of what it has done, where it outlives it: its database. One that takes its place claims it first: from
 * then on the former cannot store any more. */
#ifndef STORE_H
#define STORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define LIVES 16 /* of one store, at most */
#define PLACES 8

struct state {
	uint64_t next[PLACES], count[PLACES];
	uint64_t sums; /* where rows are reduced: see weight */
};

struct store { /* zero at first: nobody has it */
	_Atomic uint64_t now; /* who has it << 32 | version; that of version & 1 counts */
	struct state slot[LIVES][2];
};

/* Word by word, as one may read what another writes; then it is read again. */
static inline void store_copy(struct state *to, const struct state *from)
{
	uint64_t *t = (uint64_t *)to;
	const uint64_t *f = (const uint64_t *)from;
	for (size_t i = 0; i < sizeof *to / sizeof *t; i++) __atomic_store_n(t + i, __atomic_load_n(f + i, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
}

static inline uint64_t store_read(struct store *s, struct state *state)
{
	for (;;) {
		uint64_t now = s->now;
		store_copy(state, &s->slot[now >> 32][now & 1]);
		atomic_thread_fence(memory_order_acquire);
		if (s->now == now) return now;
	}
}

/* The next life, which begins with what is stored. */
static inline uint32_t store_claim(struct store *s, struct state *state)
{
	for (;;) {
		uint64_t now = store_read(s, state), life = (now >> 32) + 1;
		if (life == LIVES) abort();
		store_copy(&s->slot[life][0], state);
		if (atomic_compare_exchange_strong(&s->now, &now, life << 32)) return (uint32_t)life;
	}
}

/* False: somebody else has it. */
static inline bool store_write(struct store *s, uint32_t life, const struct state *state)
{
	uint64_t now = s->now;
	if (now >> 32 != life) return false;
	store_copy(&s->slot[life][(now + 1) & 1], state);
	return atomic_compare_exchange_strong(&s->now, &now, now + 1);
}

#endif
