/* SPDX-License-Identifier: Apache-2.0
 *
 * dpi_inline.h: how some calls of dpi.h, which includes it, become a few instructions in the program itself.
 *
 * This is the implementation's own and no part of the interface: programs use the calls. DPI_NO_INLINE makes them plain calls
 * again. The names carry a version, so that another layout does not link. */
#ifndef DPI_INLINE_H
#define DPI_INLINE_H

#include "dpi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ----------------------------------------------------------------------------- how DPI_Append becomes a few instructions */

/* Where there is room for it, a record of at most 128 bytes is written where it belongs by the program itself, and a flush through
 * shared memory is a store; all else is done by the calls. */
struct dpi_way_1 {
	uint32_t busy, run;
	uint8_t armed, reserved[7];
	uint64_t below, appends, append_bytes;
	unsigned char *data;
	uint64_t mask, written, until, same;
	uintptr_t place;
	uint64_t capacity, head_seen, reserved1[9], published, group, reserved2;
	uint64_t *flush;
	const uint32_t *bell;
	uint64_t quick;
};
struct dpi_slot_1 {
	uint64_t handle;
	struct dpi_way_1 *way;
};
extern DPI_API struct dpi_slot_1 *const dpi_slots_1;
extern DPI_API int dpi_arm_1(DPI_Buffer buf);
extern DPI_API int dpi_ring_1(DPI_Buffer buf);

#if defined(__GNUC__) && defined(__OPTIMIZE__) && !defined(DPI_NO_INLINE) && !defined(__SANITIZE_THREAD__)
typedef uint64_t __attribute__((may_alias)) dpi_word_1;

/* Copy 1 to 128 bytes in two pieces, which overlap unless the size is a power of two. */
static inline __attribute__((always_inline)) void dpi_copy_1(unsigned char *to, const void *data, size_t size)
{
	const unsigned char *from = (const unsigned char *)data;
	size_t i;
	__asm__("" : "+r"(from)); /* the compiler warns of branches that this size does not take */
#define dpi_pieces_1(n) (__builtin_memcpy(to, from, n), __builtin_memcpy(to + size - (n), from + size - (n), n))
	if (size > 32) {
		if (size > 64) dpi_pieces_1(64);
		else dpi_pieces_1(32);
	} else if (size > 8) {
		if (size > 16) dpi_pieces_1(16);
		else dpi_pieces_1(8);
	} else if (size >= 4) {
		dpi_pieces_1(4);
	} else {
		for (i = 0; i < size; i++) to[i] = from[i];
	}
#undef dpi_pieces_1
}
#if defined(__x86_64__)
#define dpi_ask_1(line) __asm__ volatile("prefetchw %0" : : "m"(line))
#else
#define dpi_ask_1(line) ((void)0)
#endif

static inline __attribute__((always_inline)) int dpi_append_1(const void *data, size_t size, DPI_Buffer buf)
{
	uint64_t handle = (uint64_t)(uintptr_t)buf, written, end;
	struct dpi_slot_1 *slot = dpi_slots_1 + (handle & 0xfffff);
	struct dpi_way_1 *way;
	unsigned char *to;

	if (size > 128) return (DPI_Append)(data, size, buf);
	if (__builtin_expect(handle >> 56 != 2 || __atomic_load_n(&slot->handle, __ATOMIC_ACQUIRE) != handle || !data, 0))
		return (DPI_Append)(data, size, buf);
	way = slot->way;
	/* Is a run of records of this size open, and nobody inside? They need no word each, and are counted together. Two looks, since a load of
	 * both fields would wait for the store of one, and for all that was stored before it: the copy of a group, say. */
	if (__builtin_expect(size && __atomic_load_n(&way->run, __ATOMIC_RELAXED) == size && !__atomic_load_n(&way->busy, __ATOMIC_RELAXED), 1)) {
		written = way->written;
		end = written + size;
		if (__builtin_expect(end > way->until, 0)) return (DPI_Append)(data, size, buf);
		to = (unsigned char *)(way->place + written);
		dpi_ask_1(to[1024]);
		dpi_copy_1(to, data, size);
		__atomic_store_n(&way->written, end, __ATOMIC_RELEASE);
	} else {
		written = way->written;
		end = written + 8 + ((size + 7) & ~(uint64_t)7);
		if (__builtin_expect(size >= __atomic_load_n(&way->below, __ATOMIC_RELAXED) || end > way->until || way->same ||
					     __atomic_load_n(&way->busy, __ATOMIC_RELAXED),
				     0))
			return (DPI_Append)(data, size, buf);
		to = way->data + (written & way->mask) + 8;
		dpi_ask_1(way->data[(written + 1024) & way->mask]);
		dpi_copy_1(to, data, size);
		if (size <= 56) __atomic_store_n((dpi_word_1 *)(void *)(way->data + (end & way->mask)), 0, __ATOMIC_RELAXED);
		__atomic_store_n((dpi_word_1 *)(void *)(to - 8), size | (uint64_t)1 << 32, __ATOMIC_RELEASE);
		__atomic_store_n(&way->written, end, __ATOMIC_RELEASE);
		way->appends++;
		way->append_bytes += size;
	}
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (__builtin_expect(!__atomic_load_n(&way->armed, __ATOMIC_RELAXED), 0)) return dpi_arm_1(buf);
	return DPI_SUCCESS;
}
#define DPI_Append(data, size, buf) dpi_append_1((data), (size), (buf))

static inline __attribute__((always_inline)) int dpi_flush_1(DPI_Buffer buf)
{
	uint64_t handle = (uint64_t)(uintptr_t)buf, written, until, *flush;
	struct dpi_slot_1 *slot = dpi_slots_1 + (handle & 0xfffff);
	struct dpi_way_1 *way;

	if (__builtin_expect(handle >> 56 != 2 || __atomic_load_n(&slot->handle, __ATOMIC_ACQUIRE) != handle, 0))
		return (DPI_Flush_Buffer)(buf);
	way = slot->way;
	flush = way->flush;
	if (__builtin_expect(!flush || __atomic_load_n(&way->busy, __ATOMIC_RELAXED), 0)) return (DPI_Flush_Buffer)(buf);
	written = way->written;
	if (__builtin_expect(__atomic_load_n(&way->run, __ATOMIC_RELAXED), 1)) { /* a run has no word to clear, and goes on to its end */
		way->published = written;
		__atomic_store_n(flush, written, __ATOMIC_RELEASE);
	} else {
		if (!__atomic_load_n(&way->below, __ATOMIC_RELAXED) || way->same) return (DPI_Flush_Buffer)(buf);
		if (written - way->published - 1 < 64) __atomic_store_n(flush + 1, written, __ATOMIC_RELEASE);
		way->published = written;
		__atomic_store_n(flush, written, __ATOMIC_RELEASE);
		if (__builtin_expect(way->until - written < way->group / 2, 0)) {
			until = (written | way->mask) + 1;
			if (way->head_seen + way->capacity - 8 < until) until = way->head_seen + way->capacity - 8;
			if (written + way->group - 1 < until) until = written + way->group - 1;
			way->until = until;
		}
	}
	way->quick++;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (__builtin_expect(__atomic_load_n(way->bell + 1, __ATOMIC_RELAXED) | __atomic_load_n(way->bell + 2, __ATOMIC_RELAXED), 0))
		return dpi_ring_1(buf);
	return DPI_SUCCESS;
}
#define DPI_Flush_Buffer(buf) dpi_flush_1(buf)
#endif

/* ------------------------------------------------------------------- how DPI_Push and DPI_Next become a few instructions */

/* Rows of one size whose target is found by one integer key are written where they
 * belong by the program itself, and taken from there. */
struct dpi_push_1 {
	uint32_t busy, row;
	uint32_t kind, offset;
	uint64_t seed;
	uint32_t parts, shift;
	struct dpi_way_1 **way;
	struct dpi_way_1 *only; /* where each row goes, if that is known without a look at it */
	const int *failed;
};
struct dpi_next_1 {
	uint32_t busy, stride;
	const unsigned char *at, *stop;
	uint32_t source;
};
extern DPI_API int dpi_push_arm_1(DPI_Source source, uint32_t target);

#if defined(__GNUC__)
typedef uint64_t __attribute__((may_alias)) dpi_gate_1;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define dpi_open_1(size) ((uint64_t)(size) << 32)
#else
#define dpi_open_1(size) ((uint64_t)(size))
#endif
static inline __attribute__((always_inline, unused)) uint64_t dpi_part_1(uint64_t h, uint32_t parts)
{
	h = (h ^ h >> 27) * 0x3c79ac492ba7b653u;
	h = (h ^ h >> 33) * 0x1c69b3f74ac4ae35u;
	h ^= h >> 27;
	return (h >> 32) * parts >> 32;
}
/* 1: the row is written, to this target; 0: all is as it was. armed: need nothing more be done? */
static inline __attribute__((always_inline, unused)) int dpi_push_short_1(struct dpi_push_1 *p, const void *row, size_t size, uint32_t *target, int *armed)
{
	struct dpi_way_1 *way = p->only;
	const unsigned char *from = (const unsigned char *)row;
	unsigned char *to;
	uint64_t h = 0, written;
	uint32_t half;

	/* Rows of this size, and nobody inside? Two fields in one look. */
	if (__builtin_expect(!size || !row || __atomic_load_n((dpi_gate_1 *)(void *)p, __ATOMIC_RELAXED) != dpi_open_1(size), 0)) return 0;
	if (!way) {
		if (__builtin_expect(p->kind == 2, 1)) { /* the most common first */
			__builtin_memcpy(&h, from + p->offset, 8);
			h = dpi_part_1(h ^ p->seed, p->parts);
		} else {
			if (__builtin_expect(p->kind < 2, 0)) return 0;
			if (p->kind & 1) {
				__builtin_memcpy(&half, from + p->offset, 4);
				h = (uint64_t)(int64_t)(int32_t)half;
			} else {
				__builtin_memcpy(&h, from + p->offset, 8);
			}
			h = p->kind >= 4 ? h >> p->shift & (p->parts - 1) : dpi_part_1(h ^ p->seed, p->parts);
		}
		way = p->way[h];
		if (__builtin_expect(!way, 0)) return 0;
	}
	written = way->written;
	if (__builtin_expect(written + size > way->until, 0)) return 0;
	to = (unsigned char *)(way->place + written); /* what is open does not wrap */
#if defined(__x86_64__)
	__asm__ volatile("prefetchw %0" : : "m"(to[1024]));
#endif
	__builtin_memcpy(to, from, size);
	__atomic_store_n(&way->written, written + size, __ATOMIC_RELEASE);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	*target = (uint32_t)h;
	*armed = __atomic_load_n(&way->armed, __ATOMIC_RELAXED);
	return 1;
}
#endif

#if defined(__GNUC__) && defined(__OPTIMIZE__) && !defined(DPI_NO_INLINE) && !defined(__SANITIZE_THREAD__)
/* A row is written to a way that is not armed: one that publishes each row does so here, others ask the library. */
static inline __attribute__((always_inline)) int dpi_push_now_1(struct dpi_push_1 *p, DPI_Source source, uint32_t target)
{
	struct dpi_way_1 *way = p->way[target];
	uint64_t written = way->written;

	if (__builtin_expect(!__atomic_load_n(&way->run, __ATOMIC_RELAXED) || __atomic_load_n(p->failed, __ATOMIC_RELAXED), 0)) return dpi_push_arm_1(source, target);
	way->published = written;
	__atomic_store_n(way->flush, written, __ATOMIC_RELEASE);
	way->quick++;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (__builtin_expect(__atomic_load_n(way->bell + 1, __ATOMIC_RELAXED) | __atomic_load_n(way->bell + 2, __ATOMIC_RELAXED), 0))
		return dpi_push_arm_1(source, target); /* somebody sleeps */
	return DPI_SUCCESS;
}
static inline __attribute__((always_inline)) int dpi_push_inline_1(const void *row, size_t size, DPI_Source source)
{
	uint64_t handle = (uint64_t)(uintptr_t)source;
	struct dpi_slot_1 *slot = dpi_slots_1 + (handle & 0xfffff);
	struct dpi_push_1 *p;
	uint32_t target;
	int armed;

	if (__builtin_expect(handle >> 56 != 7  || __atomic_load_n(&slot->handle, __ATOMIC_ACQUIRE) != handle, 0))
		return (DPI_Push)(row, size, source);
	p = (struct dpi_push_1 *)(void *)slot->way;
	if (__builtin_expect(!dpi_push_short_1(p, row, size, &target, &armed), 0)) return (DPI_Push)(row, size, source);
	if (__builtin_expect(!armed, 0)) return dpi_push_now_1(p, source, target);
	return DPI_SUCCESS;
}
#define DPI_Push(row, size, source) dpi_push_inline_1((row), (size), (source))

static inline __attribute__((always_inline)) int dpi_next_inline_1(DPI_Target target, DPI_Tuple *tuple)
{
	uint64_t handle = (uint64_t)(uintptr_t)target;
	struct dpi_slot_1 *slot = dpi_slots_1 + (handle & 0xfffff);
	struct dpi_next_1 *n;

	if (__builtin_expect(handle >> 56 != 8  || !tuple || __atomic_load_n(&slot->handle, __ATOMIC_ACQUIRE) != handle, 0))
		return (DPI_Next)(target, tuple);
	n = (struct dpi_next_1 *)(void *)slot->way;
	if (__builtin_expect(n->at == n->stop || !n->stride || __atomic_load_n(&n->busy, __ATOMIC_RELAXED), 0)) return (DPI_Next)(target, tuple);
	tuple->data = n->at;
	tuple->size = n->stride;
	tuple->mark = 0;
	tuple->source = n->source;
	tuple->kind = DPI_TUPLE_ROW;
	n->at += n->stride;
	return DPI_SUCCESS;
}
#define DPI_Next(target, tuple) dpi_next_inline_1((target), (tuple))
#endif

#ifdef __cplusplus
}
#endif

#endif
