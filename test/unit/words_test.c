/* SPDX-License-Identifier: Apache-2.0
 * words_test.c: include/dpi_words.h: copies of every alignment and size, and words that nobody sees half changed. */
#include "unit.h"

#include "dpi_words.h"

#define ROOM 1200u

TEST(words_copy_what_memcpy_does, "M-28 M-31", 0)
{
	static uint8_t from[ROOM], to[ROOM], expected[ROOM];
	for (size_t i = 0; i < ROOM; i++) from[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t size = 0; size < 700; size += size < 300 ? 1 : 37)
		for (size_t at = 0; at < 72; at += at < 16 ? 1 : 8)
			for (size_t own = 0; own < 40; own += own < 9 ? 1 : 8)
				for (int into = 0; into < 2; into++) {
					size_t t = into ? at : own, f = into ? own : at;
					memset(to, 0xee, ROOM);
					memset(expected, 0xee, ROOM);
					memcpy(expected + t, from + f, size);
					if (into) dpi_words_store(to + t, from + f, size);
					else dpi_words_load(to + t, from + f, size);
					if (memcmp(to, expected, ROOM)) FAIL("%zu bytes from %zu to %zu, %s", size, f, t, into ? "stored" : "loaded");
				}
}

/* ------------------------------------------------------------------------------------------------ two at once */

#define WORDS 20000u
#define MOST 8000u

static struct {
	_Atomic int stop;
	bool by_words; /* this one's accesses are single words, and the other's copies */
	uint64_t word[WORDS];
	uint64_t own[MOST + 10];
} both;

static uint64_t pattern(uint64_t n)
{
	return (n % 250 + 1) * 0x0101010101010101u;
}

static void *stores(void *none)
{
	struct draws d = draws_from(1);
	for (uint64_t n = 0; !both.stop; n++) {
		uint64_t first = draw_below(&d, WORDS - MOST), count = 1 + draw_below(&d, MOST), own = draw_below(&d, 65);
		if (both.by_words) {
			for (uint64_t i = 0; i < WORDS; i++) __atomic_store_n(&both.word[i], pattern(n), __ATOMIC_RELAXED);
			continue;
		}
		memset((uint8_t *)both.own + own, (int)(pattern(n) & 255), 8 * count);
		dpi_words_store(both.word + first, (uint8_t *)both.own + own, 8 * count);
	}
	return none;
}

/* With memcpy some words of a second's are halves, where the processor divides its copies so. */
TEST(words_untorn, "M-28", 0)
{
	static uint64_t got[MOST + 10];
	struct draws d = draws_from(2);
	for (int turn = 0; turn < 3; turn++) {
		both.by_words = turn == 1;
		both.stop = 0;
		pthread_t t;
		CHECK(!pthread_create(&t, NULL, stores, NULL));
		for (int64_t end = dpi_now() + SECOND; dpi_now() < end;) {
			uint64_t first = draw_below(&d, WORDS - MOST), count = 1 + draw_below(&d, MOST), own = draw_below(&d, 65);
			uint8_t *to = (uint8_t *)got + own;
			if (turn == 2)
				for (uint64_t i = 0, w; i < count; i++) w = __atomic_load_n(&both.word[first + i], __ATOMIC_RELAXED), memcpy(to + 8 * i, &w, 8);
			else dpi_words_load(to, both.word + first, 8 * count);
			for (uint64_t i = 0, w; i < count; i++) {
				memcpy(&w, to + 8 * i, 8);
				if (w && w != pattern(w % 256 - 1)) FAIL("word %llu of %llu is 0x%016llx", (unsigned long long)i, (unsigned long long)count, (unsigned long long)w);
			}
		}
		both.stop = 1;
		pthread_join(t, NULL);
	}
}
