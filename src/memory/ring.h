/* SPDX-License-Identifier: Apache-2.0
 * ring.h: the ring of records between one appender and the home: the layout, and the two ends. Nothing here knows of networks.
 *
 * A window holds the header and then a power of two of bytes. Positions are cumulative byte counts; position & mask is the place. A record is an
 * 8-byte word (size, kind) and its bytes, padded to 8, and never wraps: a PAD fills the end; the bytes of a large one begin a line,
 * by a PAD before it. LINK, always with room, is the last in a
 * ring that was replaced by a larger one.
 *
 * Writer and reader meet in two words, on lines of their own:
 *   tail: stored with release by the writer after the records; loaded with acquire by the reader before it looks at them.
 *   head: stored with release by the reader after its last look at the records; loaded with acquire by the writer before it overwrites them.
 * Neither waits for the other inside a record: a writer that stops or dies leaves tail before its half-written record.
 *
 * And in a third, that a small record alone comes with one line instead of two: the word of the record at tail. Whatever lies in the ring
 * from before may look like a record, so the writer clears the word behind a small record (which is free: LINK's room), and before it
 * stores a tail after such a record it stores its position in clear with release. All this does the owner, never the linger service. A
 * reader that has read up to a position and finds clear, loaded with acquire, equal to it sees no older bytes in the word there: it is
 * 0, or what the owner has written there since. If that is a RECORD, it was stored with release after the bytes of the record,
 * which is whole. It counts as published, and for the one behind it clear must be seen again; a PAD, which may be taken back, and a LINK are
 * left until tail has passed them.
 *
 * A run of records of one size, a multiple of 8, needs no word each: one word (kind SAME, the size, the bytes of all) stands before them, its
 * bytes beginning a line. It is written before the records are, with room for a number of them, and tail may lie within it. The owner may end
 * it early: it makes the word shorter before it stores a written beyond, so whoever sees a tail past the new end sees the new word. The
 * reader, having loaded a tail with acquire while it is within a run, looks at the word again; as long as it is within, head stays before
 * the word, which therefore is not overwritten. There is no word of a record within a run, and clear is no position within.
 *
 * The reader does not trust the ring: tail and each header are loaded once, bounded, then used. */
#ifndef DPI_MEMORY_RING_H
#define DPI_MEMORY_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "delay.h"
#include "dpi.h"

struct dpi_ring {
	_Atomic uint64_t tail;
	_Atomic uint64_t clear; /* the word at this position was 0, and has been nothing but the word of a record, PAD, LINK or run since */
	uint8_t pad0[112]; /* two lines: the neighbour is prefetched with it */
	_Atomic uint64_t head;
	uint8_t pad1[120];
	uint8_t data[];
};

enum { DPI_RING_RECORD = 1, DPI_RING_PAD = 2, DPI_RING_LINK = 3, DPI_RING_SAME = 5 }; /* 4: run.h */
#define DPI_RING_SAME_MOST 128u /* bytes of a record in a run; its size stands above the kind */
#define DPI_RING_SAME_SHIFT 40

#define DPI_RING_HEADER sizeof(struct dpi_ring)
#define DPI_RING_WORD 8u
#define DPI_RING_LEAST 4096u

static inline uint64_t dpi_ring_need(uint64_t size)
{
	return DPI_RING_WORD + ((size + 7) & ~(uint64_t)7);
}

#define DPI_RING_ALIGNED 512u /* bytes of a record from which it begins a line: copies are faster */
/* The PAD before a record at this position. */
static inline uint64_t dpi_ring_pad(uint64_t position, uint64_t size)
{
	return size < DPI_RING_ALIGNED ? 0 : (64 - DPI_RING_WORD - position) & 63;
}

/* The least capacity for records of up to max_record: two of them, as a PAD may be as large as the record after it, and a LINK. */
static inline uint64_t dpi_ring_least(uint64_t max_record)
{
	uint64_t need = 2 * (dpi_ring_pad(0, max_record) + dpi_ring_need(max_record)) + 2 * DPI_RING_WORD, capacity = DPI_RING_LEAST;
	while (capacity < need) capacity *= 2;
	return capacity;
}

/* ------------------------------------------------------------------------------------------------------- writer */

/* A run whose records are written elsewhere first, and copied into the ring when they are published: stores of single lines wait for the
 * other core to send each line, a copy of a group takes whole lines unread. What is copied is the owner's or the linger service's doing, so
 * the lock is held whenever a position is published while there is a stage, and by whoever sets, moves or ends it. */
struct dpi_ring_stage {
	_Atomic uint32_t lock; /* given back by a store: an instruction that locks would wait for all lines of the copy */
	uint8_t *memory;       /* NULL: records are written where they belong */
	uint64_t room;	       /* bytes that may lie there */
	uint64_t copied;       /* up to here they were */
	_Atomic uint32_t *gate; /* what programs look at, 0 when no run is open */
};

struct dpi_ring_writer {
	uint8_t *data; /* the window's own bytes, or a mirror of them of the same size */
	uint64_t mask;
	_Atomic uint64_t written; /* end of the last whole record; stored with release: the linger service publishes up to it */
	uint64_t until;		  /* records that end here or before take the short way: see dpi_ring_until */
	uint64_t same;		  /* size of the records of the open run; 0: none is open */
	uintptr_t same_place;	  /* then: a position added to it is the address of its place; a run does not wrap */
	uint64_t capacity;
	uint64_t head_seen;
	const _Atomic uint64_t *head; /* where the reader's progress appears */
	uint64_t place;		  /* position of the record being written; after dpi_ring_room */
	uint64_t reserved;	  /* its largest size */
	uint64_t same_at, same_end; /* the open run: its word, its end */
	uint64_t same_records, same_bytes; /* records of runs that have ended, and their bytes */
	struct dpi_ring_stage *stage; /* or NULL */
	uint32_t same_changes;	  /* odd while these change: see dpi_ring_count_same */
};

typedef uint64_t __attribute__((may_alias)) dpi_ring_word;
/* Release: the reader may be looking at the word of a record, whose bytes are there. */
static inline void dpi_ring_put_word(uint8_t *at, uint64_t size, uint64_t kind)
{
	__atomic_store_n((dpi_ring_word *)(void *)at, size | kind << 32, __ATOMIC_RELEASE);
}

/* One load, whatever the compiler does with the value: what is checked is what is used. */
static inline uint64_t dpi_ring_get_word(const uint8_t *at)
{
	return __atomic_load_n((const dpi_ring_word *)(const void *)at, __ATOMIC_RELAXED);
}

/* The same where the word of the last time round is likely to be the same, as before large records of one size: a line that is not written
 * stays in both caches. What is skipped changes nothing: the owner alone writes words, and where clear says so the word was 0. */
static inline void dpi_ring_keep_word(uint8_t *at, uint64_t size, uint64_t kind)
{
	if (dpi_ring_get_word(at) != (size | kind << 32)) dpi_ring_put_word(at, size, kind);
}

#define DPI_RING_NOWHERE 1u /* no position */
#define DPI_RING_SINGLE 64u /* a record of so many bytes, its word included, is small */
/* The word of a record whose bytes are there. */
static inline void dpi_ring_put_record(struct dpi_ring_writer *w, uint64_t position, uint64_t size)
{
	uint64_t need = dpi_ring_need(size);
	uint8_t *word = w->data + (position & w->mask);
	if (need <= DPI_RING_SINGLE) dpi_ring_put_word(w->data + ((position + need) & w->mask), 0, 0);
	DPI_DELAY(ring_cleared);
	if (size >= DPI_RING_ALIGNED) dpi_ring_keep_word(word, size, DPI_RING_RECORD);
	else dpi_ring_put_word(word, size, DPI_RING_RECORD);
}

/* Publish all that is written. before: the last tail of this thread. */
static inline void dpi_ring_publish(struct dpi_ring_writer *w, _Atomic uint64_t *tail, uint64_t before)
{
	struct dpi_ring *ring = (struct dpi_ring *)(void *)tail; /* its first member */
	uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed);
	if (!w->same && written - before - 1 < DPI_RING_SINGLE) atomic_store_explicit(&ring->clear, written, memory_order_release); /* small ones, at least one */
	DPI_DELAY(append_publishes);
	atomic_store_explicit(&ring->tail, written, memory_order_release);
}

/* --------------------------------------------------------------------------------------- a run of records of one size */

static inline uint64_t dpi_ring_same_word(uint64_t bytes, uint64_t size)
{
	return bytes | (uint64_t)DPI_RING_SAME << 32 | size << DPI_RING_SAME_SHIFT;
}

static inline bool dpi_ring_try_stage(struct dpi_ring_stage *s)
{
	return !atomic_exchange_explicit(&s->lock, 1, memory_order_acquire);
}

/* The linger service holds it for one copy, if it is not preempted in it. */
static inline void dpi_ring_lock_stage(struct dpi_ring_stage *s)
{
	for (unsigned i = 1; !dpi_ring_try_stage(s); i++)
		if (i % 256 == 0) nanosleep(&(struct timespec){ 0, 20000 }, NULL);
}

static inline void dpi_ring_unlock_stage(struct dpi_ring_stage *s)
{
	atomic_store_explicit(&s->lock, 0, memory_order_release);
}

/* Copy what lies on the stage, up to a position. The caller holds the lock. */
static inline void dpi_ring_copy_staged(struct dpi_ring_writer *w, uint64_t position)
{
	uint64_t from = w->stage->copied;
	DPI_DELAY(ring_copies_stage);
	if (from != position) memcpy(w->data + (from & w->mask), (const uint8_t *)(w->same_place + from), position - from);
	w->stage->copied = position;
	DPI_DELAY(ring_copied_stage);
}

/* The open run's next records lie on the stage, from its beginning. All before them is copied. The caller holds the lock. */
static inline void dpi_ring_set_stage(struct dpi_ring_writer *w, uint8_t *memory)
{
	uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed);
	w->stage->memory = memory;
	w->stage->copied = written;
	w->same_place = (uintptr_t)memory + (written & 63) - written;
}

/* The open run goes on in the ring itself. */
static inline void dpi_ring_unstage(struct dpi_ring_writer *w)
{
	dpi_ring_lock_stage(w->stage);
	dpi_ring_copy_staged(w, atomic_load_explicit(&w->written, memory_order_relaxed));
	w->stage->memory = NULL;
	w->same_place = (uintptr_t)w->data + ((w->same_at + DPI_RING_WORD) & w->mask) - (w->same_at + DPI_RING_WORD);
	dpi_ring_unlock_stage(w->stage);
}

/* End the open run behind its last record. */
static inline void dpi_ring_end_same(struct dpi_ring_writer *w)
{
	if (w->stage && w->stage->memory) dpi_ring_unstage(w);
	uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed);
	uint64_t bytes = written - w->same_at - DPI_RING_WORD;
	if (w->stage) atomic_store_explicit(w->stage->gate, 0, memory_order_relaxed);
	DPI_DELAY(ring_ends_run);
	if (written != w->same_end)
		dpi_ring_put_word(w->data + (w->same_at & w->mask), bytes, DPI_RING_SAME | w->same << (DPI_RING_SAME_SHIFT - 32));
	dpi_ring_put_word(w->data + (written & w->mask), 0, 0); /* free, as LINK's room: clear may become this position */
	__atomic_store_n(&w->same_changes, w->same_changes + 1, __ATOMIC_RELAXED);
	atomic_thread_fence(memory_order_release);
	__atomic_store_n(&w->same_records, w->same_records + bytes / w->same, __ATOMIC_RELAXED);
	__atomic_store_n(&w->same_bytes, w->same_bytes + bytes, __ATOMIC_RELAXED);
	__atomic_store_n(&w->same, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&w->same_changes, w->same_changes + 1, __ATOMIC_RELEASE);
	w->until = 0;
	DPI_DELAY(ring_ended_run);
}

/* Make room for a record of size bytes: where its bytes go, or NULL when the ring is full now. Ends a run. */
static inline uint8_t *dpi_ring_room(struct dpi_ring_writer *w, uint64_t size)
{
	if (w->same) dpi_ring_end_same(w);
	uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed);
	uint64_t need = dpi_ring_need(size), at = written & w->mask, end = w->capacity - at;
	uint64_t pad = dpi_ring_pad(written, size), start = 0;
	if (__builtin_expect(pad + need > end, 0)) {
		start = dpi_ring_pad(0, size);
		pad = end + start;
	}
	uint64_t limit = w->capacity - DPI_RING_WORD; /* room for a LINK stays */
	if (__builtin_expect(written + pad + need - w->head_seen > limit, 0)) {
		DPI_DELAY(ring_full);
		/* acquire: the reader is done with what it gave back */
		w->head_seen = atomic_load_explicit(w->head, memory_order_acquire);
		if (written + pad + need - w->head_seen > limit) return NULL;
	}
	if (pad) dpi_ring_keep_word(w->data + at, pad - start - DPI_RING_WORD, DPI_RING_PAD);
	if (start) dpi_ring_keep_word(w->data, start - DPI_RING_WORD, DPI_RING_PAD);
	w->place = written + pad;
	w->reserved = size;
	return w->data + (w->place & w->mask) + DPI_RING_WORD;
}

/* The record in the room is whole: size bytes of it. */
static inline void dpi_ring_commit(struct dpi_ring_writer *w, uint64_t size)
{
	dpi_ring_put_record(w, w->place, size);
	DPI_DELAY(ring_commits);
	atomic_store_explicit(&w->written, w->place + dpi_ring_need(size), memory_order_release);
}

/* Begin a run with room for at most bytes of records of this size, a multiple of 8. False: there is no room for a few now. */
#define DPI_RING_SAME_LEAST 512u
static inline bool dpi_ring_begin_same(struct dpi_ring_writer *w, uint64_t size, uint64_t bytes)
{
	uint8_t *room = NULL;
	for (; !room && bytes >= DPI_RING_SAME_LEAST; bytes /= 2) {
		bytes -= bytes % size;
		room = dpi_ring_room(w, bytes < DPI_RING_ALIGNED ? DPI_RING_ALIGNED : bytes);
		if (room) break;
	}
	if (!room) return false;
	dpi_ring_put_word(room - DPI_RING_WORD, bytes, DPI_RING_SAME | size << (DPI_RING_SAME_SHIFT - 32));
	DPI_DELAY(ring_begins_run);
	/* release: the word, for whoever sees a tail from here on; there may be no record behind it yet */
	atomic_store_explicit(&w->written, w->place + DPI_RING_WORD, memory_order_release);
	__atomic_store_n(&w->same_changes, w->same_changes + 1, __ATOMIC_RELAXED);
	atomic_thread_fence(memory_order_release);
	__atomic_store_n(&w->same_at, w->place, __ATOMIC_RELAXED);
	__atomic_store_n(&w->same, size, __ATOMIC_RELAXED);
	__atomic_store_n(&w->same_changes, w->same_changes + 1, __ATOMIC_RELEASE);
	w->until = w->same_end = w->place + DPI_RING_WORD + bytes; /* the caller may stop before, and go on: dpi_ring_go_on */
	w->same_place = (uintptr_t)room - (w->place + DPI_RING_WORD);
	return true;
}

/* Let the open run go on for at most bytes more. False: it is full. */
static inline bool dpi_ring_go_on(struct dpi_ring_writer *w, uint64_t bytes)
{
	uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed), left = w->same_end - written;
	w->until = written + (left < bytes ? left : bytes);
	return left >= w->same;
}

/* How many records were written in runs, and their bytes. From any thread: the figures of a moment, or false if they change just now.
 * acquire and the fences pair with those of begin and end; a written seen with one run's same_at is of it. */
static inline bool dpi_ring_count_same(const struct dpi_ring_writer *w, uint64_t *records, uint64_t *bytes)
{
	uint32_t changes = __atomic_load_n(&w->same_changes, __ATOMIC_ACQUIRE);
	uint64_t size = __atomic_load_n(&w->same, __ATOMIC_RELAXED), at = __atomic_load_n(&w->same_at, __ATOMIC_RELAXED);
	uint64_t open = size ? atomic_load_explicit(&w->written, memory_order_relaxed) - at - DPI_RING_WORD : 0;
	*records = __atomic_load_n(&w->same_records, __ATOMIC_RELAXED) + (size ? open / size : 0);
	*bytes = __atomic_load_n(&w->same_bytes, __ATOMIC_RELAXED) + open;
	atomic_thread_fence(memory_order_acquire);
	return !(changes & 1) && __atomic_load_n(&w->same_changes, __ATOMIC_RELAXED) == changes;
}

/* Set how far records can be written with nothing else to do: no wrap, no look at the head, and less than group bytes
 * since published. One comparison a record then stands for the three. */
static inline void dpi_ring_until(struct dpi_ring_writer *w, uint64_t published, uint64_t group)
{
	if (w->same) return; /* until its end */
	uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed);
	uint64_t until = (written | w->mask) + 1, limit = w->head_seen + w->capacity - DPI_RING_WORD;
	if (limit < until) until = limit;
	if (published + group - 1 < until) until = published + group - 1;
	w->until = until;
}

/* The lines of the ring are in the other core's cache. Stores leave in order and a core holds back a few dozen of them, so
 * a writer that waits for each line has only a few lines on their way; these ask for lines before they are written, or read. */
#define DPI_RING_AHEAD 1024u
static inline void dpi_ring_ask(const uint8_t *data, uint64_t position, uint64_t mask)
{
	const uint8_t *line = data + ((position + DPI_RING_AHEAD) & mask);
#if defined(__x86_64__)
	__asm__ volatile("prefetchw %0" : : "m"(*line)); /* no processor of 64 bits faults on it */
#else
	__builtin_prefetch(line, 1);
#endif
}

/* Copy 1 to 128 bytes without a call: two pieces, which overlap unless the size is a power of two. */
static inline __attribute__((always_inline)) void dpi_ring_copy(uint8_t *to, const uint8_t *from, size_t size)
{
#define DPI_RING_PIECES(bytes) (memcpy(to, from, bytes), memcpy(to + size - (bytes), from + size - (bytes), bytes))
	if (size > 32) {
		if (size > 64) DPI_RING_PIECES(64);
		else DPI_RING_PIECES(32);
	} else if (size > 8) {
		if (size > 16) DPI_RING_PIECES(16);
		else DPI_RING_PIECES(8);
	} else if (size >= 4) {
		DPI_RING_PIECES(4);
	} else {
		for (size_t i = 0; i < size; i++) to[i] = from[i];
	}
#undef DPI_RING_PIECES
}

/* The short way within a run. */
static inline bool dpi_ring_write_same(struct dpi_ring_writer *w, const void *data, uint64_t size)
{
	uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed);
	if (size != w->same || written + size > w->until) return false;
	dpi_ring_ask(w->data, written, w->mask);
	dpi_ring_copy((uint8_t *)(w->same_place + written), data, size);
	DPI_DELAY(ring_writes);
	atomic_store_explicit(&w->written, written + size, memory_order_release);
	return true;
}

/* The short way: write a whole record if it ends before until. small: of at most 128 bytes. */
static inline __attribute__((always_inline)) bool dpi_ring_write_sized(struct dpi_ring_writer *w, const void *data, uint64_t size, bool small)
{
	if (__builtin_expect(w->same != 0, 0)) return dpi_ring_write_same(w, data, size);
	uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed), pad = small ? 0 : dpi_ring_pad(written, size);
	uint64_t end = written + pad + dpi_ring_need(size);
	if (__builtin_expect(end > w->until, 0)) return false;
	uint8_t *at = w->data + (written & w->mask);
	dpi_ring_ask(w->data, written, w->mask);
	if (pad) dpi_ring_put_word(at, pad - DPI_RING_WORD, DPI_RING_PAD);
	at += pad;
	if (small) dpi_ring_copy(at + DPI_RING_WORD, data, size);
	else if (size) memcpy(at + DPI_RING_WORD, data, size);
	DPI_DELAY(ring_writes);
	dpi_ring_put_record(w, written + pad, size);
	DPI_DELAY(ring_commits);
	atomic_store_explicit(&w->written, end, memory_order_release);
	return true;
}
static inline __attribute__((always_inline)) bool dpi_ring_write_small(struct dpi_ring_writer *w, const void *data, uint64_t size)
{
	return dpi_ring_write_sized(w, data, size, true);
}
static inline bool dpi_ring_write(struct dpi_ring_writer *w, const void *data, uint64_t size)
{
	return dpi_ring_write_sized(w, data, size, false);
}

/* The last word of a ring that is replaced. */
static inline void dpi_ring_link(struct dpi_ring_writer *w)
{
	if (w->same) dpi_ring_end_same(w);
	uint64_t written = atomic_load_explicit(&w->written, memory_order_relaxed);
	dpi_ring_put_word(w->data + (written & w->mask), 0, DPI_RING_LINK);
	atomic_store_explicit(&w->written, written + DPI_RING_WORD, memory_order_release);
}

/* ------------------------------------------------------------------------------------------------------- reader */

struct dpi_ring_reader {
	struct dpi_ring *ring;
	uint64_t capacity, mask, max_record;
	uint64_t tail; /* as last loaded, bounded; or the end of a record that was seen by its word */
	uint64_t clear; /* as last loaded */
	uint64_t read; /* next to look at */
	uint64_t same; /* size of the records of the run that read lies within, or at the end of; 0: in none */
	uint64_t same_at, same_end; /* then: its word, its end */
	uint64_t same_most; /* the largest size; 0: there may be no runs */
	uint64_t head; /* given back up to here, where a word begins */
	uint64_t freed; /* and of a run that begins there, up to here; else head */
	uint64_t head_told; /* and the writer knows up to here */
};

enum dpi_ring_found { DPI_RING_EMPTY, DPI_RING_FOUND, DPI_RING_ENDED, DPI_RING_CORRUPT };

/* The end of a record that can be seen by its word, all before it being read; or 0: there is none. */
static inline uint64_t dpi_ring_seen_end(const struct dpi_ring_reader *r)
{
	if (r->clear != r->tail || r->same) return 0;
	uint64_t at = r->read & r->mask;
	uint64_t word = __atomic_load_n((const dpi_ring_word *)(const void *)(r->ring->data + at), __ATOMIC_ACQUIRE);
	uint64_t length = word - ((uint64_t)DPI_RING_RECORD << 32), need = dpi_ring_need(length);
	if (length > r->max_record || need > r->capacity - at || r->read + need - r->head > r->capacity) return 0;
	return r->read + need;
}

/* What can be given back when all that was read can be: not the word of a run that goes on. */
static inline uint64_t dpi_ring_boundary(const struct dpi_ring_reader *r)
{
	return r->same && r->read != r->same_end ? r->same_at : r->read;
}

/* The record read last was not. */
static inline void dpi_ring_unread(struct dpi_ring_reader *r, uint64_t size)
{
	r->read -= r->same ? r->same : dpi_ring_need(size);
}

/* What the word of a run says, bounded: false if it is nonsense. */
static inline bool dpi_ring_check_same(const struct dpi_ring_reader *r, uint64_t at, uint64_t word, uint64_t *size, uint64_t *end)
{
	uint64_t bytes = word & UINT32_MAX;
	*size = word >> DPI_RING_SAME_SHIFT;
	*end = at + DPI_RING_WORD + bytes;
	return (word >> 32 & 0xff) == DPI_RING_SAME && *size && *size <= r->same_most && *size <= r->max_record && *size % 8 == 0 &&
	       bytes % *size == 0 && DPI_RING_WORD + bytes <= r->capacity - (at & r->mask);
}

/* Within a run, a tail was loaded: the run may be shorter now. */
static inline bool dpi_ring_look_same(struct dpi_ring_reader *r)
{
	uint64_t size, end;
	if (r->read == r->same_end) { /* all read: the word may be overwritten already */
		r->same = 0;
		return true;
	}
	if (!dpi_ring_check_same(r, r->same_at, dpi_ring_get_word(r->ring->data + (r->same_at & r->mask)), &size, &end) || size != r->same ||
	    end > r->same_end || end < r->read)
		return false;
	r->same_end = end;
	return true;
}

/* Is there anything new? Cheap, for waiting. */
static inline bool dpi_ring_ready(const struct dpi_ring_reader *r)
{
	if (r->read != r->tail || dpi_ring_seen_end(r)) return true;
	return (int64_t)(atomic_load_explicit(&r->ring->tail, memory_order_relaxed) - r->tail) > 0;
}

/* The next record, where it lies. It stays there until dpi_ring_release passes it. */
static inline enum dpi_ring_found dpi_ring_next(struct dpi_ring_reader *r, const void **data, size_t *size)
{
	for (;;) {
		uint64_t seen = r->read == r->tail ? dpi_ring_seen_end(r) : 0;
		if (seen) {
			DPI_DELAY(ring_saw_word);
			r->tail = seen;
		} else if (r->read == r->tail) {
			uint64_t tail = atomic_load_explicit(&r->ring->tail, memory_order_acquire);
			DPI_DELAY(ring_saw_tail);
			r->clear = atomic_load_explicit(&r->ring->clear, memory_order_acquire);
			/* below: a notification overtaken by a later one, or a record was seen by its word */
			if ((int64_t)(tail - r->tail) <= 0) return DPI_RING_EMPTY;
			if (tail - r->head > r->capacity || tail - r->read > r->capacity || tail % 8) return DPI_RING_CORRUPT;
			r->tail = tail;
			if (r->same && !dpi_ring_look_same(r)) return DPI_RING_CORRUPT;
		}
		if (r->same && r->read != r->same_end) {
			if (r->same > r->tail - r->read) return DPI_RING_CORRUPT;
			*data = r->ring->data + (r->read & r->mask);
			*size = (size_t)r->same;
			r->read += r->same;
			return DPI_RING_FOUND;
		}
		r->same = 0;
		uint64_t at = r->read & r->mask, word = dpi_ring_get_word(r->ring->data + at);
		uint64_t length = word & UINT32_MAX, need = dpi_ring_need(length);
		if (__builtin_expect(word >> 32 == DPI_RING_RECORD, 1)) {
			if (length > r->max_record || need > r->tail - r->read || need > r->capacity - at) return DPI_RING_CORRUPT;
			*data = r->ring->data + at + DPI_RING_WORD;
			*size = (size_t)length;
			r->read += need;
			return DPI_RING_FOUND;
		}
		if (word >> 32 == DPI_RING_PAD) {
			if (length % 8 || need > r->capacity - at || need > r->tail - r->read) return DPI_RING_CORRUPT;
			r->read += need;
			continue;
		}
		if (word >> 32 == DPI_RING_LINK) {
			if (r->read + DPI_RING_WORD != r->tail) return DPI_RING_CORRUPT;
			return DPI_RING_ENDED;
		}
		if (dpi_ring_check_same(r, r->read, word, &length, &need) && need - r->head <= r->capacity) {
			r->same = length;
			r->same_at = r->read;
			r->same_end = need;
			r->read += DPI_RING_WORD;
			continue;
		}
		return DPI_RING_CORRUPT;
	}
}

/* The short way: the next record if it lies in what was last loaded, and is one. Otherwise false, and dpi_ring_next has the rest. */
static inline __attribute__((always_inline)) bool dpi_ring_read(struct dpi_ring_reader *r, const void **data, size_t *size)
{
	uint64_t at = r->read & r->mask, left = r->tail - r->read;
	if (__builtin_expect(!left, 0)) return false;
	if (r->same) {
		if (r->same > left || r->read == r->same_end) return false;
		*data = r->ring->data + at;
		*size = (size_t)r->same;
		r->read += r->same;
		return true;
	}
	uint64_t word = dpi_ring_get_word(r->ring->data + at);
	/* with another kind the length is huge, and fails the bounds */
	uint64_t length = word - ((uint64_t)DPI_RING_RECORD << 32), need = dpi_ring_need(length);
	if (__builtin_expect(length > r->max_record || need > left || need > r->capacity - at, 0)) return false;
	*data = r->ring->data + at + DPI_RING_WORD;
	*size = (size_t)length;
	r->read += need;
	return true;
}

/* The short way for many: how many records were read, at most max. size: of the record before. In a run of equal sizes each begins where a
 * prediction says, not where the load of the one before says, so that the loads of many lines are under way at once. */
static inline __attribute__((always_inline)) size_t dpi_ring_read_many(struct dpi_ring_reader *r, uint64_t size, size_t max, DPI_Record *records)
{
	for (size_t n = 0;;) {
		uint64_t at = r->read & r->mask, left = r->tail - r->read, end = r->capacity - at, pad = dpi_ring_pad(r->read, size);
		if (r->same) {
			const uint8_t *p = r->ring->data + at;
			size = r->same;
			if (left > r->same_end - r->read) left = r->same_end - r->read;
			for (; n < max && left >= size; p += size, left -= size) {
				__builtin_prefetch(p); /* as many at once as the core can: the caller looks at them one after the other */
				records[n++] = (DPI_Record){ p, size };
			}
			r->read += (uint64_t)(p - (r->ring->data + at));
			return n;
		}
		const uint64_t word = size | (uint64_t)DPI_RING_RECORD << 32, step = pad + dpi_ring_need(size);
		const uint64_t pad_word = (pad - DPI_RING_WORD) | (uint64_t)DPI_RING_PAD << 32;
		const uint8_t *p = r->ring->data + at, *from = p;
		if (left > end) left = end;
		for (; n < max && left >= step && (!pad || dpi_ring_get_word(p) == pad_word) && dpi_ring_get_word(p + pad) == word; p += step) {
			records[n++] = (DPI_Record){ p + pad + DPI_RING_WORD, size };
			left -= step;
		}
		r->read += (uint64_t)(p - from);
		if (n == max || !dpi_ring_read(r, &records[n].data, &records[n].size)) return n;
		size = records[n++].size;
	}
}

/* How many more records of the size of the one just read lie evenly behind it, at most max: they are read. stride: out, from one to the next. */
static inline size_t dpi_ring_read_evenly(struct dpi_ring_reader *r, uint64_t size, size_t max, size_t *stride)
{
	uint64_t at = r->read & r->mask, left = r->tail - r->read, count = 0;
	if (r->same) {
		if (left > r->same_end - r->read) left = r->same_end - r->read;
		count = left / r->same;
		if (count > max) count = max;
		*stride = (size_t)r->same;
		r->read += count * r->same;
		return (size_t)count;
	}
	const uint64_t pad = dpi_ring_pad(r->read, size), step = pad + dpi_ring_need(size);
	const uint64_t word = size | (uint64_t)DPI_RING_RECORD << 32, pad_word = (pad - DPI_RING_WORD) | (uint64_t)DPI_RING_PAD << 32;
	const uint8_t *p = r->ring->data + at;
	if (left > r->capacity - at) left = r->capacity - at;
	if (!at) left = 0; /* the one just read ends the ring */
	for (; count < max && left >= step && (!pad || dpi_ring_get_word(p) == pad_word) && dpi_ring_get_word(p + pad) == word; p += step, left -= step) count++;
	*stride = (size_t)step;
	r->read += count * step;
	return (size_t)count;
}

/* Everything before position, which boundary goes with, is not looked at again. The caller decides when the writer is told: dpi_ring_tell. */
static inline void dpi_ring_release(struct dpi_ring_reader *r, uint64_t position, uint64_t boundary)
{
	r->freed = position;
	__atomic_store_n(&r->head, boundary, __ATOMIC_RELAXED); /* statistics look at it */
}

/* Release the count oldest records that were not released, all of them ending before end. They were checked when they were read,
 * and may have been changed since. */
static inline void dpi_ring_release_some(struct dpi_ring_reader *r, uint64_t count, uint64_t end)
{
	uint64_t at = r->freed, boundary = r->head;
	while (count && at < end) {
		uint64_t word = dpi_ring_get_word(r->ring->data + (boundary & r->mask)), size, run_end;
		if (dpi_ring_check_same(r, boundary, word, &size, &run_end)) {
			if (at == boundary) at += DPI_RING_WORD;
			uint64_t most = run_end > at ? (run_end - at) / size : 0, n = count < most ? count : most;
			at += n * size;
			count -= n;
			if (n == most) boundary = at;
		} else {
			at += dpi_ring_need(word & UINT32_MAX);
			count -= word >> 32 != DPI_RING_PAD;
			boundary = at;
		}
	}
	if (at > end) at = end;
	if (boundary > at) boundary = at;
	if (r->same && r->read != r->same_end && boundary > r->same_at) boundary = r->same_at;
	dpi_ring_release(r, at, boundary);
}

/* Tell a writer that shares the memory. */
static inline void dpi_ring_tell(struct dpi_ring_reader *r)
{
	DPI_DELAY(ring_tells);
	r->head_told = r->head;
	atomic_store_explicit(&r->ring->head, r->head, memory_order_release);
}

#endif
