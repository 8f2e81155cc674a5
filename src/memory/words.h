/* SPDX-License-Identifier: Apache-2.0
 * words.h: copies between a region and the caller's memory that tear no aligned 8-byte word of the region.
 * memcpy moves vectors that begin wherever the source or the end of the copy has them; where both sides begin at a multiple of 8 and the size is
 * one too, every vector begins at a word, and each word moves in one access. Otherwise words are moved one by one. */
#ifndef DPI_MEMORY_WORDS_H
#define DPI_MEMORY_WORDS_H

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

static inline void dpi_words_copy(uint8_t *region, uint8_t *own, uint64_t size, int write)
{
	uint64_t head = -(uintptr_t)region & 7;
	if (head > size) head = size;
	if (head) { /* part of a word: nothing is promised of it */
		memcpy(write ? region : own, write ? own : region, head);
		region += head, own += head, size -= head;
	}
	uint64_t body = size & ~(uint64_t)7;
	if (!((uintptr_t)own & 7)) {
		if (body) memcpy(write ? region : own, write ? own : region, body);
	} else {
		for (uint64_t i = 0; i < body; i += 8) {
			_Atomic uint64_t *word = (_Atomic uint64_t *)(region + i);
			uint64_t value;
			if (write) {
				memcpy(&value, own + i, 8);
				atomic_store_explicit(word, value, memory_order_relaxed);
			} else {
				value = atomic_load_explicit(word, memory_order_relaxed);
				memcpy(own + i, &value, 8);
			}
		}
	}
	if (size > body) memcpy(write ? region + body : own + body, write ? own + body : region + body, size - body);
}

#endif
