/* SPDX-License-Identifier: Apache-2.0
 *
 * dpi_words.h: copies between memory that others look at meanwhile and memory that nobody else does, for transports and for regions.
 *
 * An aligned 8-byte word of the shared side is moved by one instruction, which moves whole words only: no word is torn (M-28), wherever
 * the other side begins. memcpy does not do: the C library's may be one "rep movsb", which processors carry out in steps of any
 * number of bytes. On EPYC of the fourth generation a word in ten million was seen in two halves, and the kernel's copies are the same. */
#ifndef DPI_WORDS_H
#define DPI_WORDS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DPI_WORDS_SINGLY 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define DPI_WORDS_SINGLY 1 /* accesses that it knows to be meant */
#endif

typedef uint64_t dpi_word_1 __attribute__((may_alias));

/* size is a multiple of 8, as is the address on the shared side: to, or from. */
static inline void dpi_words_singly(unsigned char *to, const unsigned char *from, size_t size, int into)
{
	uint64_t word;
	for (; size; size -= 8, to += 8, from += 8) {
		if (into) {
			memcpy(&word, from, 8);
			__atomic_store_n((dpi_word_1 *)(void *)to, word, __ATOMIC_RELAXED);
		} else {
			word = __atomic_load_n((const dpi_word_1 *)(const void *)from, __ATOMIC_RELAXED);
			memcpy(to, &word, 8);
		}
	}
}

#ifndef DPI_WORDS_SINGLY

/* Moves of 16 and of 32 bytes begin at a word of the shared side, and are divided, if at all, where a line of the cache ends. */
#define DPI_WORDS_LOOP(vector, to, from, size)                                                          \
	for (; (size) >= 4 * sizeof(vector); (size) -= 4 * sizeof(vector)) {                            \
		const vector *v = (const vector *)(const void *)(from);                                 \
		vector a = v[0], b = v[1], c = v[2], d = v[3];                                          \
		vector *w = (vector *)(void *)(to);                                                     \
		w[0] = a, w[1] = b, w[2] = c, w[3] = d;                                                 \
		(to) += 4 * sizeof(vector), (from) += 4 * sizeof(vector);                               \
		__asm__ volatile("" ::: "memory"); /* or the compiler takes the loop for a memcpy */    \
	}

typedef uint64_t dpi_words_2 __attribute__((vector_size(16), aligned(1), may_alias));
typedef uint64_t dpi_words_4 __attribute__((vector_size(32), aligned(1), may_alias));

#if defined(__x86_64__) || defined(__i386__)
#define DPI_WORDS_WIDE __builtin_cpu_supports("avx")
__attribute__((target("avx")))
#else
#define DPI_WORDS_WIDE 0
#endif
static inline void dpi_words_wide(unsigned char *to, const unsigned char *from, size_t size, int into)
{
	DPI_WORDS_LOOP(dpi_words_4, to, from, size)
	dpi_words_singly(to, from, size, into);
}

static inline void dpi_words_move(unsigned char *to, const unsigned char *from, size_t size, int into)
{
	if (size >= 256 && !((uintptr_t)to & 7)) { /* stores that do not cross lines */
		size_t head = -(uintptr_t)to & 63;
		dpi_words_singly(to, from, head, into);
		to += head, from += head, size -= head;
	}
	if (size >= 4 * sizeof(dpi_words_4) && DPI_WORDS_WIDE) {
		dpi_words_wide(to, from, size, into);
		return;
	}
	DPI_WORDS_LOOP(dpi_words_2, to, from, size)
	dpi_words_singly(to, from, size, into);
}

#else
#define dpi_words_move dpi_words_singly
#endif

/* Parts of words, at both ends: nothing is promised of them. */
static inline void dpi_words_part(unsigned char *to, const unsigned char *from, size_t size)
{
	while (size--) *to++ = *from++;
}

static inline void dpi_words_copy(unsigned char *to, const unsigned char *from, size_t size, int into)
{
	size_t head = -(uintptr_t)(into ? to : from) & 7, body;
	if (head > size) head = size;
	dpi_words_part(to, from, head);
	to += head, from += head, size -= head;
	body = size & ~(size_t)7;
	dpi_words_move(to, from, body, into);
	dpi_words_part(to + body, from + body, size - body);
}

/* Copy size bytes into memory that others look at. Any alignment; the two do not overlap. Orders nothing: fences are the caller's. */
static inline void dpi_words_store(void *shared, const void *from, size_t size)
{
	dpi_words_copy((unsigned char *)shared, (const unsigned char *)from, size, 1);
}

/* Copy size bytes out of memory that others write. */
static inline void dpi_words_load(void *to, const void *shared, size_t size)
{
	dpi_words_copy((unsigned char *)to, (const unsigned char *)shared, size, 0);
}

#undef DPI_WORDS_SINGLY
#undef DPI_WORDS_LOOP
#undef DPI_WORDS_WIDE

#ifdef __cplusplus
}
#endif

#endif
