/* SPDX-License-Identifier: Apache-2.0
 * kernel_avx2.c: kernels for processors with AVX2 and SSE 4.2. What gains nothing is the scalar one. */
#include "kernel_x86.h"

#ifdef DPI_MOVE_X86
#include <immintrin.h>
#include <string.h>

#include "hash.h"

#define AVX2 __attribute__((target("avx2,sse4.2")))

__attribute__((target("sse4.2"))) uint32_t dpi_sse42_crc32c(uint32_t crc, const void *bytes, size_t size)
{
	const uint8_t *p = bytes;
	uint64_t c = ~crc, w;
	for (; size >= 8; size -= 8, p += 8) {
		memcpy(&w, p, 8);
		c = _mm_crc32_u64(c, w);
	}
	for (; size; size--, p++) c = _mm_crc32_u8((uint32_t)c, *p);
	return ~(uint32_t)c;
}

__attribute__((target("sse4.2"))) void dpi_sse42_crc8(uint64_t *hash, const uint64_t *word, size_t count)
{
	for (size_t i = 0; i < count; i++) hash[i] = (uint64_t)~(uint32_t)_mm_crc32_u64(UINT32_MAX, word[i]) << 32;
}

void dpi_sse2_fence(void)
{
	_mm_sfence();
}

/* x * m, 64 bits, from 32-bit products */
AVX2 static inline __m256i multiply(__m256i x, uint64_t m)
{
	__m256i low = _mm256_set1_epi64x((int64_t)m), high = _mm256_set1_epi64x((int64_t)(m >> 32));
	__m256i cross = _mm256_add_epi64(_mm256_mul_epu32(_mm256_srli_epi64(x, 32), low), _mm256_mul_epu32(x, high));
	return _mm256_add_epi64(_mm256_mul_epu32(x, low), _mm256_slli_epi64(cross, 32));
}

AVX2 static inline __m256i mixed(__m256i x)
{
	x = multiply(_mm256_xor_si256(x, _mm256_srli_epi64(x, 27)), DPI_HASH_MIX1);
	x = multiply(_mm256_xor_si256(x, _mm256_srli_epi64(x, 33)), DPI_HASH_MIX2);
	return _mm256_xor_si256(x, _mm256_srli_epi64(x, 27));
}

AVX2 static inline __m256i load(const uint64_t *p)
{
	return _mm256_loadu_si256((const __m256i *)p);
}

AVX2 static void mix(uint64_t *hash, const uint64_t *word, size_t count)
{
	size_t i = 0;
	for (; i + 4 <= count; i += 4)
		_mm256_storeu_si256((__m256i *)(hash + i), mixed(_mm256_xor_si256(load(hash + i), load(word + i))));
	dpi_move_kernels_scalar.mix(hash + i, word + i, count - i);
}

/* The low 16 bits of the four numbers of a and the four of b. */
AVX2 static inline void store8(uint16_t *to, __m256i a, __m256i b)
{
	__m256i c = _mm256_packus_epi32(a, b); /* a0 0 a1 0 b0 0 b1 0 | a2 0 a3 0 b2 0 b3 0 */
	c = _mm256_packus_epi32(c, _mm256_setzero_si256());
	__m128i low = _mm256_castsi256_si128(c), high = _mm256_extracti128_si256(c, 1); /* a0 a1 b0 b1; a2 a3 b2 b3 */
	_mm_storeu_si128((__m128i *)to, _mm_unpacklo_epi64(_mm_unpacklo_epi32(low, high),
							    _mm_unpackhi_epi64(_mm_unpacklo_epi32(low, high), low)));
}

AVX2 static void part(uint16_t *to, const uint64_t *hash, uint32_t parts, size_t count)
{
	size_t i = 0;
	__m256i n = _mm256_set1_epi64x(parts);
	for (; i + 8 <= count; i += 8) {
		__m256i a = _mm256_mul_epu32(_mm256_srli_epi64(load(hash + i), 32), n);
		__m256i b = _mm256_mul_epu32(_mm256_srli_epi64(load(hash + i + 4), 32), n);
		store8(to + i, _mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32));
	}
	dpi_move_kernels_scalar.part(to + i, hash + i, parts, count - i);
}

AVX2 static void mix_part(uint16_t *to, const uint64_t *word, uint64_t seed, uint32_t parts, size_t count)
{
	size_t i = 0;
	__m256i s = _mm256_set1_epi64x((int64_t)seed), n = _mm256_set1_epi64x(parts);
	for (; i + 8 <= count; i += 8) {
		__m256i a = _mm256_srli_epi64(mixed(_mm256_xor_si256(s, load(word + i))), 32);
		__m256i b = _mm256_srli_epi64(mixed(_mm256_xor_si256(s, load(word + i + 4))), 32);
		store8(to + i, _mm256_srli_epi64(_mm256_mul_epu32(a, n), 32), _mm256_srli_epi64(_mm256_mul_epu32(b, n), 32));
	}
	dpi_move_kernels_scalar.mix_part(to + i, word + i, seed, parts, count - i);
}

AVX2 static void append(uint64_t *word, const uint64_t *more, unsigned bits, size_t count)
{
	size_t i = 0;
	__m256i m = _mm256_set1_epi64x((int64_t)((UINT64_C(1) << bits) - 1));
	__m128i by = _mm_cvtsi32_si128((int)bits);
	for (; i + 4 <= count; i += 4)
		_mm256_storeu_si256((__m256i *)(word + i), _mm256_or_si256(_mm256_sll_epi64(load(word + i), by),
									 _mm256_and_si256(load(more + i), m)));
	dpi_move_kernels_scalar.append(word + i, more + i, bits, count - i);
}

AVX2 static void radix(uint16_t *to, const uint64_t *word, unsigned shift, uint32_t mask, size_t count)
{
	size_t i = 0;
	__m256i m = _mm256_set1_epi64x(mask);
	__m128i by = _mm_cvtsi32_si128((int)shift);
	for (; i + 8 <= count; i += 8)
		store8(to + i, _mm256_and_si256(_mm256_srl_epi64(load(word + i), by), m),
		       _mm256_and_si256(_mm256_srl_epi64(load(word + i + 4), by), m));
	dpi_move_kernels_scalar.radix(to + i, word + i, shift, mask, count - i);
}

/* Eight rows at a time, so that their searches overlap. */
static void range(uint16_t *to, const uint64_t *word, const struct dpi_search *s, size_t count)
{
	size_t i = 0;
	for (; i + 8 <= count; i += 8) {
		uint32_t k[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };
		for (unsigned l = 0; l < s->levels; l++) {
#pragma GCC unroll 8
			for (int j = 0; j < 8; j++) k[j] = 2 * k[j] + (s->tree[k[j]] <= (int64_t)word[i + (size_t)j]);
		}
		for (int j = 0; j < 8; j++) {
			uint32_t p = k[j] - (1u << s->levels);
			to[i + (size_t)j] = (uint16_t)(p < s->bounds ? p : s->bounds);
		}
	}
	dpi_move_kernels_scalar.range(to + i, word + i, s, count - i);
}

AVX2 static void load8(uint64_t *word, const void *from, size_t stride, size_t count)
{
	const uint8_t *p = from;
	size_t i = 0;
	if (stride == 16)
		for (; i + 5 <= count; i += 4) { /* the last row may end with its key */
			__m256i a = _mm256_loadu_si256((const __m256i *)(p + i * 16));
			__m256i b = _mm256_loadu_si256((const __m256i *)(p + i * 16 + 32));
			__m256i c = _mm256_unpacklo_epi64(a, b); /* 0 2 1 3 */
			_mm256_storeu_si256((__m256i *)(word + i), _mm256_permute4x64_epi64(c, 0xd8));
		}
	dpi_move_kernels_scalar.load8(word + i, p + i * stride, stride, count - i);
}

/* Set bit by set bit. */
static size_t compress4(void *to, const void *from, const uint8_t *bits, size_t count)
{
	const uint8_t *p = from;
	uint8_t *q = to;
	for (size_t i = 0; i < count; i += 64) {
		uint64_t mask;
		memcpy(&mask, bits + i / 8, sizeof mask);
		for (; mask; mask &= mask - 1, q += 4) memcpy(q, p + 4 * (i + (size_t)__builtin_ctzll(mask)), 4);
	}
	return (size_t)(q - (uint8_t *)to) / 4;
}

static size_t compress8(void *to, const void *from, const uint8_t *bits, size_t count)
{
	const uint8_t *p = from;
	uint8_t *q = to;
	for (size_t i = 0; i < count; i += 64) {
		uint64_t mask;
		memcpy(&mask, bits + i / 8, sizeof mask);
		for (; mask; mask &= mask - 1, q += 8) memcpy(q, p + 8 * (i + (size_t)__builtin_ctzll(mask)), 8);
	}
	return (size_t)(q - (uint8_t *)to) / 8;
}

AVX2 static void stream(void *to, const void *from, size_t size)
{
	const __m256i *p = from;
	__m256i *q = to;
	for (size_t i = 0; i < size / 32; i++) _mm256_stream_si256(q + i, _mm256_loadu_si256(p + i));
}

const struct dpi_move_kernels dpi_move_kernels_avx2 = { "avx2", mix,	      mix_part,	 part, append, radix,  range,
						   load8,  dpi_sse42_crc8, dpi_sse42_crc32c, compress4, compress8, stream,
							   dpi_sse2_fence };
#endif
