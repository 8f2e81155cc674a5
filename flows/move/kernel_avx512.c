/* SPDX-License-Identifier: Apache-2.0
 * kernel_avx512.c: kernels for processors with AVX-512 F, DQ, BW and VL. */
#include "kernel_x86.h"

#ifdef DPI_MOVE_X86
#include <immintrin.h>
#include <string.h>

#include "hash.h"

#define AVX512 __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,popcnt")))

AVX512 static inline __m512i mixed(__m512i x)
{
	x = _mm512_mullo_epi64(_mm512_xor_si512(x, _mm512_srli_epi64(x, 27)), _mm512_set1_epi64((int64_t)DPI_HASH_MIX1));
	x = _mm512_mullo_epi64(_mm512_xor_si512(x, _mm512_srli_epi64(x, 33)), _mm512_set1_epi64((int64_t)DPI_HASH_MIX2));
	return _mm512_xor_si512(x, _mm512_srli_epi64(x, 27));
}

AVX512 static void mix(uint64_t *hash, const uint64_t *word, size_t count)
{
	size_t i = 0;
	for (; i + 8 <= count; i += 8)
		_mm512_storeu_si512(hash + i, mixed(_mm512_xor_si512(_mm512_loadu_si512(hash + i),
								     _mm512_loadu_si512(word + i))));
	dpi_move_kernels_scalar.mix(hash + i, word + i, count - i);
}

AVX512 static inline void store8(uint16_t *to, __m512i x)
{
	_mm_storeu_si128((__m128i *)to, _mm512_cvtepi64_epi16(x));
}

AVX512 static void part(uint16_t *to, const uint64_t *hash, uint32_t parts, size_t count)
{
	size_t i = 0;
	__m512i n = _mm512_set1_epi64(parts);
	for (; i + 8 <= count; i += 8)
		store8(to + i, _mm512_srli_epi64(_mm512_mul_epu32(_mm512_srli_epi64(_mm512_loadu_si512(hash + i), 32), n),
						 32));
	dpi_move_kernels_scalar.part(to + i, hash + i, parts, count - i);
}

AVX512 static void mix_part(uint16_t *to, const uint64_t *word, uint64_t seed, uint32_t parts, size_t count)
{
	size_t i = 0;
	__m512i s = _mm512_set1_epi64((int64_t)seed), n = _mm512_set1_epi64(parts);
	for (; i + 8 <= count; i += 8) {
		__m512i h = mixed(_mm512_xor_si512(s, _mm512_loadu_si512(word + i)));
		store8(to + i, _mm512_srli_epi64(_mm512_mul_epu32(_mm512_srli_epi64(h, 32), n), 32));
	}
	dpi_move_kernels_scalar.mix_part(to + i, word + i, seed, parts, count - i);
}

AVX512 static void append(uint64_t *word, const uint64_t *more, unsigned bits, size_t count)
{
	size_t i = 0;
	__m512i m = _mm512_set1_epi64((int64_t)((UINT64_C(1) << bits) - 1));
	__m128i by = _mm_cvtsi32_si128((int)bits);
	for (; i + 8 <= count; i += 8)
		_mm512_storeu_si512(word + i, _mm512_or_si512(_mm512_sll_epi64(_mm512_loadu_si512(word + i), by),
							      _mm512_and_si512(_mm512_loadu_si512(more + i), m)));
	dpi_move_kernels_scalar.append(word + i, more + i, bits, count - i);
}

AVX512 static void radix(uint16_t *to, const uint64_t *word, unsigned shift, uint32_t mask, size_t count)
{
	size_t i = 0;
	__m512i m = _mm512_set1_epi64(mask);
	__m128i by = _mm_cvtsi32_si128((int)shift);
	for (; i + 8 <= count; i += 8)
		store8(to + i, _mm512_and_si512(_mm512_srl_epi64(_mm512_loadu_si512(word + i), by), m));
	dpi_move_kernels_scalar.radix(to + i, word + i, shift, mask, count - i);
}

/* Few levels: all nodes lie in registers. A permutation looks at the low bits of the way alone, which are all it has so far. */
AVX512 static inline __attribute__((always_inline)) size_t range_levels(uint16_t *to, const uint64_t *word, const struct dpi_search *s, size_t count,
									unsigned levels)
{
	size_t i = 0;
	__m512i root = _mm512_set1_epi64(s->node[0][0]), one = _mm512_loadu_si512(s->node[1]), two = _mm512_loadu_si512(s->node[2]),
		three = _mm512_loadu_si512(s->node[3]), four = _mm512_loadu_si512(s->node[4]), more = _mm512_loadu_si512(s->node[4] + 8),
		part = _mm512_loadu_si512(s->part);
#define STEP(l, bound)                                                                                                         \
	if (levels > (l))                                                                                                     \
		way = _mm512_mask_add_epi64(way, _mm512_cmple_epi64_mask(bound, w), way, _mm512_set1_epi64(1 << (l)))
	for (; i + 8 <= count; i += 8) {
		__m512i w = _mm512_loadu_si512(word + i), way = _mm512_setzero_si512();
		STEP(0, root);
		STEP(1, _mm512_permutexvar_epi64(way, one));
		STEP(2, _mm512_permutexvar_epi64(way, two));
		STEP(3, _mm512_permutexvar_epi64(way, three));
		STEP(4, _mm512_permutex2var_epi64(four, way, more));
		__m512i ways = _mm512_castsi128_si512(_mm512_cvtepi64_epi16(way));
		_mm_storeu_si128((__m128i *)(to + i), _mm512_castsi512_si128(_mm512_permutexvar_epi16(ways, part)));
	}
#undef STEP
	return i;
}

AVX512 static size_t range_few(uint16_t *to, const uint64_t *word, const struct dpi_search *s, size_t count)
{
	switch (s->levels) {
	case 5: return range_levels(to, word, s, count, 5);
	case 4: return range_levels(to, word, s, count, 4);
	case 3: return range_levels(to, word, s, count, 3);
	default: return range_levels(to, word, s, count, s->levels);
	}
}

/* One step down the tree: right where the bound is not above the word. */
AVX512 static inline __m512i down(__m512i k, __m512i bound, __m512i word)
{
	__m512i two = _mm512_add_epi64(k, k);
	return _mm512_mask_add_epi64(two, _mm512_cmple_epi64_mask(bound, word), two, _mm512_set1_epi64(1));
}

/* More levels: the five upper ones lie in registers. Level l begins at 2^l. */
AVX512 static size_t range_many(uint16_t *to, const uint64_t *word, const struct dpi_search *s, size_t count)
{
	size_t i = 0;
	const int64_t *top = s->tree;
	__m512i a = _mm512_loadu_si512(top), b = _mm512_loadu_si512(top + 8), c = _mm512_loadu_si512(top + 16),
		d = _mm512_loadu_si512(top + 24), most = _mm512_set1_epi64(s->bounds), first = _mm512_set1_epi64((int64_t)1 << s->levels);
	for (; i + 8 <= count; i += 8) {
		__m512i w = _mm512_loadu_si512(word + i), k = _mm512_set1_epi64(1);
		for (int l = 0; l < 3; l++) k = down(k, _mm512_permutexvar_epi64(k, a), w);
		k = down(k, _mm512_permutexvar_epi64(k, b), w);
		k = down(k, _mm512_permutex2var_epi64(c, k, d), w);
		for (unsigned l = 5; l < s->levels; l++) k = down(k, _mm512_i64gather_epi64(k, s->tree, 8), w);
		store8(to + i, _mm512_min_epi64(_mm512_sub_epi64(k, first), most));
	}
	return i;
}

AVX512 static void range(uint16_t *to, const uint64_t *word, const struct dpi_search *s, size_t count)
{
	size_t i = (s->levels <= DPI_SEARCH_FEW ? range_few : range_many)(to, word, s, count);
	dpi_move_kernels_scalar.range(to + i, word + i, s, count - i);
}

AVX512 static void load8(uint64_t *word, const void *from, size_t stride, size_t count)
{
	const uint8_t *p = from;
	size_t i = 0;
	if (stride == 16) {
		const __m512i even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
		for (; i + 9 <= count; i += 8) /* the last row may end with its key */
			_mm512_storeu_si512(word + i, _mm512_permutex2var_epi64(_mm512_loadu_si512(p + i * 16), even,
										 _mm512_loadu_si512(p + i * 16 + 64)));
	}
	dpi_move_kernels_scalar.load8(word + i, p + i * stride, stride, count - i);
}

AVX512 static size_t compress4(void *to, const void *from, const uint8_t *bits, size_t count)
{
	const uint8_t *p = from;
	uint8_t *q = to;
	for (size_t i = 0; i < count; i += 16, p += 64) {
		uint16_t mask;
		memcpy(&mask, bits + i / 8, sizeof mask);
		if (!mask) continue;
		unsigned n = (unsigned)__builtin_popcount(mask);
		_mm512_mask_storeu_epi32(q, (__mmask16)((1u << n) - 1), _mm512_maskz_compress_epi32(mask,
			_mm512_loadu_si512(p)));
		q += 4 * n;
	}
	return (size_t)(q - (uint8_t *)to) / 4;
}

AVX512 static size_t compress8(void *to, const void *from, const uint8_t *bits, size_t count)
{
	const uint8_t *p = from;
	uint8_t *q = to;
	for (size_t i = 0; i < count; i += 8, p += 64) {
		uint8_t mask = bits[i / 8];
		if (!mask) continue;
		unsigned n = (unsigned)__builtin_popcount(mask);
		_mm512_mask_storeu_epi64(q, (__mmask8)((1u << n) - 1), _mm512_maskz_compress_epi64(mask,
			_mm512_loadu_si512(p)));
		q += 8 * n;
	}
	return (size_t)(q - (uint8_t *)to) / 8;
}

AVX512 static void stream(void *to, const void *from, size_t size)
{
	const __m512i *p = from;
	__m512i *q = to;
	for (size_t i = 0; i < size / 64; i++) _mm512_stream_si512(q + i, _mm512_loadu_si512(p + i));
}

const struct dpi_move_kernels dpi_move_kernels_avx512 = { "avx512", mix,	 mix_part,  part, append, radix,  range,
						     load8, dpi_sse42_crc8, dpi_sse42_crc32c, compress4, compress8, stream,
							     dpi_sse2_fence };
#endif
