/* SPDX-License-Identifier: Apache-2.0
 * ack.h: what a source keeps of the rows that it has pushed and that are not acknowledged, or not told to its program yet.
 * Nothing here knows of networks.
 *
 * Of each target a source hears one number that only grows: everything up to it is acknowledged. As a source's rows reach a
 * target in order, that is all there is to say, whatever their keys are: keys stay with the source.
 *
 * A row that waits is an entry; so are several that were pushed one after the other to one target and nowhere else, with consecutive keys: a run,
 * of which nothing is known that is not known of each row. What speaks of a part of it splits it. An entry is on one list: free; waiting, in the order of pushes; or settled, in the order in which
 * there was something to tell. With up_to all stay on waiting, settled or not, as they are told in order. For each target there
 * is a queue of references to the entries whose rows went there, in order. An entry that was told leaves its references
 * behind, as a quorum need not wait for the others; its generation says that they are stale. They are squeezed out when a
 * queue would grow beyond twice the entries, so a target that is far behind costs no more than that. There are never more entries
 * than rows, so one that splits finds another.
 *
 * One thread at a time. */
#ifndef DPI_FLOWS_ACK_H
#define DPI_FLOWS_ACK_H

#include <dpi.h>
#include <stdbool.h>
#include <stdint.h>

#define DPI_ACK_NOBODY UINT32_MAX

struct dpi_ack_entry {
	uint64_t key; /* of its last row */
	uint32_t rows;
	uint32_t next, previous; /* on its list; DPI_ACK_NOBODY: none */
	uint32_t generation;	 /* changes when the entry is told */
	uint32_t targets, acked, gone; /* of each row; those that acknowledged it; those that died before */
	uint32_t who;		 /* the last that died */
	uint8_t list;		 /* FREE, WAITING, SETTLED */
	bool settled;
};
struct dpi_ack_list {
	uint32_t first, last, count; /* count: rows */
};
enum { DPI_ACK_FREE, DPI_ACK_WAITING, DPI_ACK_SETTLED, DPI_ACK_LISTS };

struct dpi_ack_reference {
	uint64_t at; /* acknowledged by a number that is no less; of a run its last row's, and each row's is one more than that of the one before */
	uint32_t entry, generation;
};
struct dpi_ack_queue { /* of a target */
	struct dpi_ack_reference *reference;
	uint64_t first;	      /* place % room is where the oldest is */
	uint32_t room, count; /* room: 0 or a power of two */
	bool gone;	      /* the target died: nothing more is acknowledged */
};

struct dpi_acks {
	uint32_t of, quorum, room, targets;
	bool up_to;
	struct dpi_ack_entry *entry; /* room of them */
	uint32_t used;		     /* entries that were ever used */
	struct dpi_ack_list list[DPI_ACK_LISTS];
	struct dpi_ack_queue *queue; /* of each target */
	/* the wait for a key: rows of it that are not finished */
	bool awaiting;
	uint64_t awaited, left;
};

/* of, quorum, up_to, room: as a definition's. MEMORY. */
int dpi_acks_new(uint32_t of, uint32_t quorum, bool up_to, uint32_t room, uint32_t targets, struct dpi_acks **a);
void dpi_acks_free(struct dpi_acks *a); /* NULL is allowed */

/* See that a row for these targets can be added. DPI_ERR_AGAIN (no sentence): all entries are in use. MEMORY. */
int dpi_acks_prepare(struct dpi_acks *a, const uint32_t *to, uint32_t count);
/* Add what was prepared: a row was pushed. Then dpi_acks_refer for each of its targets, then dpi_acks_added. */
uint32_t dpi_acks_add(struct dpi_acks *a, uint64_t key, uint32_t targets);
void dpi_acks_refer(struct dpi_acks *a, uint32_t entry, uint32_t target, uint64_t at);
void dpi_acks_added(struct dpi_acks *a, uint32_t entry);
/* All this at once for rows of one target, that is not gone: at most dpi_acks_room of them, with keys from key on, the first of
 * which is acknowledged by at. */
void dpi_acks_add_rows(struct dpi_acks *a, uint64_t key, uint32_t rows, uint32_t target, uint64_t at);

/* A target has acknowledged everything up to at. */
void dpi_acks_told(struct dpi_acks *a, uint32_t target, uint64_t at);
/* It is dead: nothing more comes. */
void dpi_acks_gone(struct dpi_acks *a, uint32_t target);

/* What there is to tell, at most max; how many. */
size_t dpi_acks_take(struct dpi_acks *a, DPI_Acked *acks, size_t max);
/* Is there anything to tell? */
bool dpi_acks_some(const struct dpi_acks *a);
/* Rows that wait for acknowledgements. */
static inline uint32_t dpi_acks_waiting(const struct dpi_acks *a)
{
	return a->list[DPI_ACK_WAITING].count;
}
/* Rows that can be added. */
static inline uint32_t dpi_acks_room(const struct dpi_acks *a)
{
	return a->room - a->list[DPI_ACK_WAITING].count - a->list[DPI_ACK_SETTLED].count;
}
static inline uint64_t dpi_ack_first_key(const struct dpi_ack_entry *e)
{
	return e->key - (e->rows - 1);
}

/* Wait for a key: begin, which counts left, that goes down by itself; when it is 0, or at will, end. */
void dpi_acks_await(struct dpi_acks *a, uint64_t key);
/* Takes what left 0 says, as if it were told. A lost row: takes nothing, and *lost is the first such. */
void dpi_acks_awaited(struct dpi_acks *a, const struct dpi_ack_entry **lost);
/* A target that a row of the key still waits for; DPI_ACK_NOBODY: none. */
uint32_t dpi_acks_laggard(const struct dpi_acks *a, uint64_t key);

#endif
