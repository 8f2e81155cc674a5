/* SPDX-License-Identifier: Apache-2.0
 * kernel.c: the scalar kernels, which are the reference, and the choice among all. */
#include "kernel.h"

#include <stdatomic.h>
#include <string.h>

#include "hash.h"
#include "kernel_x86.h"

static void mix(uint64_t *hash, const uint64_t *word, size_t count)
{
	for (size_t i = 0; i < count; i++) hash[i] = dpi_hash_word(hash[i], word[i]);
}

static void mix_part(uint16_t *to, const uint64_t *word, uint64_t seed, uint32_t parts, size_t count)
{
	for (size_t i = 0; i < count; i++) to[i] = (uint16_t)dpi_hash_part(dpi_hash_word(seed, word[i]), parts);
}

static void part(uint16_t *to, const uint64_t *hash, uint32_t parts, size_t count)
{
	for (size_t i = 0; i < count; i++) to[i] = (uint16_t)dpi_hash_part(hash[i], parts);
}

static void append(uint64_t *word, const uint64_t *more, unsigned bits, size_t count)
{
	uint64_t mask = (UINT64_C(1) << bits) - 1;
	for (size_t i = 0; i < count; i++) word[i] = word[i] << bits | (more[i] & mask);
}

static void radix(uint16_t *to, const uint64_t *word, unsigned shift, uint32_t mask, size_t count)
{
	for (size_t i = 0; i < count; i++) to[i] = (uint16_t)(word[i] >> shift & mask);
}

static void range(uint16_t *to, const uint64_t *word, const struct dpi_search *s, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint32_t k = 1;
		for (unsigned l = 0; l < s->levels; l++) k = 2 * k + (s->tree[k] <= (int64_t)word[i]);
		k -= 1u << s->levels;
		to[i] = (uint16_t)(k < s->bounds ? k : s->bounds);
	}
}

static void load8(uint64_t *word, const void *from, size_t stride, size_t count)
{
	const uint8_t *p = from;
	if (stride == 8) memcpy(word, p, 8 * count);
	else
		for (size_t i = 0; i < count; i++) memcpy(word + i, p + i * stride, 8);
}

/* Bit by bit, four bits at a time: the table of sixteen that a reader can check. */
static uint32_t crc32c(uint32_t crc, const void *bytes, size_t size)
{
	static const uint32_t step[16] = { 0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
					   0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
					   0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75 };
	const uint8_t *p = bytes;
	crc = ~crc;
	for (; size--; p++) {
		crc ^= *p;
		crc = crc >> 4 ^ step[crc & 15];
		crc = crc >> 4 ^ step[crc & 15];
	}
	return ~crc;
}

static void crc8(uint64_t *hash, const uint64_t *word, size_t count)
{
	for (size_t i = 0; i < count; i++) hash[i] = (uint64_t)crc32c(0, word + i, 8) << 32;
}

static size_t compress4(void *to, const void *from, const uint8_t *bits, size_t count)
{
	const uint8_t *p = from;
	uint8_t *q = to;
	for (size_t i = 0; i < count; i++)
		if (dpi_bit(bits, i)) memcpy(q, p + 4 * i, 4), q += 4;
	return (size_t)(q - (uint8_t *)to) / 4;
}

static size_t compress8(void *to, const void *from, const uint8_t *bits, size_t count)
{
	const uint8_t *p = from;
	uint8_t *q = to;
	for (size_t i = 0; i < count; i++)
		if (dpi_bit(bits, i)) memcpy(q, p + 8 * i, 8), q += 8;
	return (size_t)(q - (uint8_t *)to) / 8;
}

static void stream(void *to, const void *from, size_t size)
{
	memcpy(to, from, size);
}

static void fence(void)
{
}

const struct dpi_move_kernels dpi_move_kernels_scalar = { "scalar",	mix,	 mix_part, part,   append,    radix,	 range,
						     load8, crc8, crc32c,   compress4, compress8, stream, fence };

/* Ascending order is the tree walked left to right. */
static uint32_t fill(int64_t *tree, uint32_t size, uint32_t k, const int64_t *bound, uint32_t count, uint32_t at)
{
	if (k >= size) return at;
	at = fill(tree, size, 2 * k, bound, count, at);
	tree[k] = at < count ? bound[at] : INT64_MAX;
	return fill(tree, size, 2 * k + 1, bound, count, at + 1);
}

void dpi_search_make(struct dpi_search *s, const int64_t *bound, uint32_t bounds)
{
	s->bounds = bounds;
	s->levels = 0;
	while (bounds >> s->levels) s->levels++;
	s->tree[0] = INT64_MAX;
	fill(s->tree, 1u << s->levels, 1, bound, bounds, 0);
	memset(s->node, 0, sizeof s->node);
	memset(s->part, 0, sizeof s->part);
	for (unsigned l = 0; l <= s->levels && s->levels <= DPI_SEARCH_FEW; l++)
		for (uint32_t way = 0; way < 1u << l; way++) {
			uint32_t place = 0; /* among the nodes of its level, from left to right */
			for (unsigned step = 0; step < l; step++) place |= (way >> step & 1) << (l - 1 - step);
			if (l < s->levels) s->node[l][way] = s->tree[(1u << l) + place];
			else s->part[way] = (uint16_t)(place < bounds ? place : bounds);
		}
}

/* ------------------------------------------------------------------------------------------------------- the choice */

static _Atomic(const struct dpi_move_kernels *) chosen;

const struct dpi_move_kernels *dpi_move_kernels_number(int which)
{
	const struct dpi_move_kernels *have[3] = { &dpi_move_kernels_scalar };
	int count = 1;
#ifdef DPI_MOVE_X86
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("sse4.2")) have[count++] = &dpi_move_kernels_avx2;
	if (count == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
		have[count++] = &dpi_move_kernels_avx512;
#endif
	return which >= 0 && which < count ? have[which] : NULL;
}

const struct dpi_move_kernels *dpi_move_kernels(void)
{
	const struct dpi_move_kernels *k = atomic_load_explicit(&chosen, memory_order_relaxed); /* tables are constant */
	if (k) return k;
	for (int i = 0; dpi_move_kernels_number(i); i++) k = dpi_move_kernels_number(i);
	atomic_store_explicit(&chosen, k, memory_order_relaxed);
	return k;
}

void dpi_move_kernels_force(const struct dpi_move_kernels *k)
{
	atomic_store_explicit(&chosen, k, memory_order_relaxed);
}

uint32_t dpi_crc32c(uint32_t crc, const void *bytes, size_t size)
{
	return dpi_move_kernels()->crc32c(crc, bytes, size);
}
