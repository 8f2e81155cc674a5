/* SPDX-License-Identifier: Apache-2.0
 * kernel_avx512.c: the loops for AVX-512 (F, BW, DQ, VL), where a comparison makes bits at once. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "kernel.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,popcnt"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,popcnt")
#pragma GCC optimize("O3")
#endif

#define PACK(flag) (uint64_t) _mm512_movepi8_mask(_mm512_loadu_si512(flag))
#define KERNELS dpi_kernels_avx512
#define KERNELS_NAME "avx512"
extern const struct dpi_kernels dpi_kernels_avx512;

/* The masks of 64 values as a word: put together where they are, which takes fewer steps than from general registers. */
static inline uint64_t join_8(const __mmask8 m[8])
{
	__mmask32 low = _mm512_kunpackw(_mm512_kunpackb(m[3], m[2]), _mm512_kunpackb(m[1], m[0]));
	return _mm512_kunpackd(_mm512_kunpackw(_mm512_kunpackb(m[7], m[6]), _mm512_kunpackb(m[5], m[4])), low);
}

static inline uint64_t join_16(const __mmask16 m[4])
{
	return _mm512_kunpackd(_mm512_kunpackw(m[3], m[2]), _mm512_kunpackw(m[1], m[0]));
}

/* lanes: values of a vector; some: loads those of a mask. bits(x, y): their mask. */
#define WORD_LOOP(name, T, V, load, some, set1, lanes, one, bits)                                                                 \
	static void name(const void *pa, const void *pb, size_t rows, uint64_t *out)                                        \
	{                                                                                                                   \
		const T *restrict a = pa, *restrict b = pb;                                                                 \
		size_t i = 0;                                                                                               \
		V same = set1(*b);                                                                                          \
		(void)same;                                                                                                 \
		for (; i + 64 <= rows; i += 64) {                                                                           \
			__mmask##lanes m[64 / lanes];                                                                       \
			for (size_t j = 0; j < 64; j += lanes) {                                                            \
				V x = load(a + i + j), y = (one) ? same : load(b + i + j);                                  \
				m[j / lanes] = bits;                                                                        \
			}                                                                                                   \
			out[i / 64] = join_##lanes(m);                                                                      \
		}                                                                                                           \
		if (i == rows) return;                                                                                      \
		uint64_t word = 0;                                                                                          \
		for (size_t j = i; j < rows; j += lanes) {                                                                  \
			__mmask##lanes in = (__mmask##lanes)(rows - j >= lanes ? ~0u : (1u << (rows - j)) - 1);             \
			V x = some(in, a + j), y = (one) ? same : some(in, b + j);                                          \
			word |= (uint64_t)(bits) << (j - i);                                                                \
		}                                                                                                           \
		out[i / 64] = word;                                                                                         \
	}
#define WORDS_OF(k, T, V, load, some, set1, lanes, eq, lt, le, ge, gt)                                                            \
	WORD_LOOP(eq_##k, T, V, load, some, set1, lanes, 0, eq)                                                                   \
	WORD_LOOP(lt_##k, T, V, load, some, set1, lanes, 0, lt)                                                                   \
	WORD_LOOP(le_##k, T, V, load, some, set1, lanes, 0, le)                                                                   \
	WORD_LOOP(eq1_##k, T, V, load, some, set1, lanes, 1, eq)                                                                  \
	WORD_LOOP(lt1_##k, T, V, load, some, set1, lanes, 1, lt)                                                                  \
	WORD_LOOP(le1_##k, T, V, load, some, set1, lanes, 1, le)                                                                  \
	WORD_LOOP(ge1_##k, T, V, load, some, set1, lanes, 1, ge)                                                                  \
	WORD_LOOP(gt1_##k, T, V, load, some, set1, lanes, 1, gt)
#define WHOLE(k, T, some, set1, lanes, cmp)                                                                                       \
	WORDS_OF(k, T, __m512i, _mm512_loadu_si512, some, set1, lanes, cmp(x, y, _MM_CMPINT_EQ), cmp(x, y, _MM_CMPINT_LT),        \
		 cmp(x, y, _MM_CMPINT_LE), cmp(x, y, _MM_CMPINT_NLT), cmp(x, y, _MM_CMPINT_NLE))
/* Not a number equals itself and is greater than all others. */
#define REAL(k, T, V, load, some, set1, lanes, cmp)                                                                               \
	WORDS_OF(k, T, V, load, some, set1, lanes, cmp(x, y, _CMP_EQ_OQ) | (cmp(x, x, _CMP_UNORD_Q) & cmp(y, y, _CMP_UNORD_Q)),   \
		 cmp(x, y, _CMP_LT_OQ) | (cmp(x, x, _CMP_ORD_Q) & cmp(y, y, _CMP_UNORD_Q)),                                 \
		 cmp(x, y, _CMP_LE_OQ) | cmp(y, y, _CMP_UNORD_Q), cmp(x, y, _CMP_GE_OQ) | cmp(x, x, _CMP_UNORD_Q),          \
		 cmp(x, y, _CMP_GT_OQ) | (cmp(y, y, _CMP_ORD_Q) & cmp(x, x, _CMP_UNORD_Q)))

#define WORD_LOOPS                                                                                                          \
	WHOLE(i32, int32_t, _mm512_maskz_loadu_epi32, _mm512_set1_epi32, 16, _mm512_cmp_epi32_mask)                                                   \
	WHOLE(i64, int64_t, _mm512_maskz_loadu_epi64, _mm512_set1_epi64, 8, _mm512_cmp_epi64_mask)                                                    \
	WHOLE(u32, uint32_t, _mm512_maskz_loadu_epi32, _mm512_set1_epi32, 16, _mm512_cmp_epu32_mask)                                                  \
	WHOLE(u64, uint64_t, _mm512_maskz_loadu_epi64, _mm512_set1_epi64, 8, _mm512_cmp_epu64_mask)                                                   \
	REAL(f32, float, __m512, _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps, 16, _mm512_cmp_ps_mask)                                   \
	REAL(f64, double, __m512d, _mm512_loadu_pd, _mm512_maskz_loadu_pd, _mm512_set1_pd, 8, _mm512_cmp_pd_mask)

#include "kernel_loops.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
typedef int dpi_no_avx512;
#endif
