/* SPDX-License-Identifier: Apache-2.0
 * kernel_loops.h: the loops themselves, included once for each instruction set. Who includes it defines KERNELS, the table's
 * name, KERNELS_NAME, and PACK(bytes): a word of 64 bytes that are 0 or 255; and perhaps WORD_LOOPS, the comparisons of
 * values of four and eight bytes. */

#define BLOCK 64

/* one: b[0] stands for every b. */
#define COMPARE_LOOP(name, T, one, condition)                                                                               \
	static void name(const void *pa, const void *pb, size_t rows, uint64_t *out)                                        \
	{                                                                                                                   \
		const T *restrict a = pa, *restrict b = pb;                                                                 \
		size_t i = 0;                                                                                               \
		for (; i + BLOCK <= rows; i += BLOCK) {                                                                     \
			uint8_t flag[BLOCK];                                                                                \
			for (size_t j = 0; j < BLOCK; j++) {                                                                \
				T x = a[i + j], y = b[(one) ? 0 : i + j];                                                   \
				flag[j] = (uint8_t) - (condition);                                                          \
			}                                                                                                   \
			out[i / BLOCK] = PACK(flag);                                                                        \
		}                                                                                                           \
		if (i < rows) out[i / BLOCK] = 0;                                                                           \
		for (size_t first = i; i < rows; i++) {                                                                     \
			T x = a[i], y = b[(one) ? 0 : i];                                                                   \
			out[first / BLOCK] |= (uint64_t)(condition) << i % BLOCK;                                           \
		}                                                                                                           \
	}
#define COMPARES(k, T, eq, lt, le, ge, gt)                                                                                  \
	COMPARE_LOOP(eq_##k, T, 0, eq)                                                                                      \
	COMPARE_LOOP(lt_##k, T, 0, lt)                                                                                      \
	COMPARE_LOOP(le_##k, T, 0, le)                                                                                      \
	COMPARE_LOOP(eq1_##k, T, 1, eq)                                                                                     \
	COMPARE_LOOP(lt1_##k, T, 1, lt)                                                                                     \
	COMPARE_LOOP(le1_##k, T, 1, le)                                                                                     \
	COMPARE_LOOP(ge1_##k, T, 1, ge)                                                                                     \
	COMPARE_LOOP(gt1_##k, T, 1, gt)
#define INTEGERS(k, T) COMPARES(k, T, x == y, x<y, x <= y, x >= y, x> y)
/* Not a number equals itself and is greater than all others. */
#define REALS(k, T)                                                                                                         \
	COMPARES(k, T, (x == y) | ((x != x) & (y != y)), (x < y) | ((x == x) & (y != y)), (x <= y) | (y != y),              \
		 (x >= y) | (x != x), (x > y) | ((y == y) & (x != x)))

INTEGERS(i8, int8_t)
INTEGERS(i16, int16_t)
INTEGERS(u8, uint8_t)
INTEGERS(u16, uint16_t)
#ifdef WORD_LOOPS
WORD_LOOPS
#else
INTEGERS(i32, int32_t)
INTEGERS(i64, int64_t)
INTEGERS(u32, uint32_t)
INTEGERS(u64, uint64_t)
REALS(f32, float)
REALS(f64, double)
#endif

/* --------------------------------------------------------------------------------------------------- arithmetic */

/* wrong: what is not 0, its lowest bits left out, where the result is none. */
#define ARITHMETIC(name, T, U, expression, wrong, bits)                                                                     \
	static uint64_t name(const void *pa, const void *pb, size_t rows, void *po)                                         \
	{                                                                                                                   \
		const T *restrict a = pa, *restrict b = pb;                                                                 \
		T *restrict out = po;                                                                                       \
		uint64_t bad = 0;                                                                                           \
		for (size_t i = 0; i < rows; i++) {                                                                         \
			U x = (U)a[i], y = (U)b[i], r = expression;                                                         \
			out[i] = (T)r;                                                                                      \
			bad |= (uint64_t)(wrong);                                                                           \
		}                                                                                                           \
		return bad >> (bits);                                                                                       \
	}
ARITHMETIC(add_i64, int64_t, uint64_t, x + y, (x ^ r) & (y ^ r), 63)
ARITHMETIC(sub_i64, int64_t, uint64_t, x - y, (x ^ y) & (x ^ r), 63)
ARITHMETIC(add_u64, uint64_t, uint64_t, x + y, r < x, 0)
ARITHMETIC(sub_u64, uint64_t, uint64_t, x - y, x < y, 0)
ARITHMETIC(add_f64, double, double, x + y, 0, 0)
ARITHMETIC(sub_f64, double, double, x - y, 0, 0)
ARITHMETIC(mul_f64, double, double, x *y, 0, 0)
ARITHMETIC(div_f64, double, double, x / y, y == 0, 0)
ARITHMETIC(plain_mul, uint64_t, uint64_t, x *y, 0, 0)

static int bits_used(uint64_t v)
{
	return v ? 64 - __builtin_clzll(v) : 0;
}

/* Products are looked at one by one only where the largest factors of all could give too large a one. */
static uint64_t mul_i64(const void *pa, const void *pb, size_t rows, void *po)
{
	const int64_t *restrict a = pa, *restrict b = pb;
	int64_t *restrict out = po;
	uint64_t x = 0, y = 0, bad = 0;
	for (size_t i = 0; i < rows; i++) {
		x |= (uint64_t)(a[i] ^ (a[i] >> 63));
		y |= (uint64_t)(b[i] ^ (b[i] >> 63));
	}
	if (bits_used(x) + bits_used(y) < 63) return plain_mul(pa, pb, rows, po);
	for (size_t i = 0; i < rows; i++) bad |= __builtin_mul_overflow(a[i], b[i], out + i);
	return bad;
}

static uint64_t mul_u64(const void *pa, const void *pb, size_t rows, void *po)
{
	const uint64_t *restrict a = pa, *restrict b = pb;
	uint64_t *restrict out = po;
	uint64_t x = 0, y = 0, bad = 0;
	for (size_t i = 0; i < rows; i++) x |= a[i], y |= b[i];
	if (bits_used(x) + bits_used(y) <= 64) return plain_mul(pa, pb, rows, po);
	for (size_t i = 0; i < rows; i++) bad |= __builtin_mul_overflow(a[i], b[i], out + i);
	return bad;
}

#define CONVERT(name, T, U)                                                                                                 \
	static uint64_t name(const void *pa, size_t rows, void *po)                                                         \
	{                                                                                                                   \
		const T *restrict a = pa;                                                                                   \
		U *restrict out = po;                                                                                       \
		for (size_t i = 0; i < rows; i++) out[i] = (U)a[i];                                                         \
		return 0;                                                                                                   \
	}
CONVERT(widen_i8, int8_t, int64_t)
CONVERT(widen_i16, int16_t, int64_t)
CONVERT(widen_i32, int32_t, int64_t)
CONVERT(widen_u8, uint8_t, int64_t)
CONVERT(widen_u16, uint16_t, int64_t)
CONVERT(widen_u32, uint32_t, int64_t)
CONVERT(real_i64, int64_t, double)
CONVERT(real_f32, float, double)

static uint64_t beyond(const void *pa, size_t rows, void *out)
{
	const int64_t *restrict a = pa;
	const uint64_t most = 999999999999999999u;
	uint64_t bad = 0;
	(void)out;
	for (size_t i = 0; i < rows; i++) bad |= (uint64_t)a[i] + most > 2 * most;
	return bad;
}

/* ------------------------------------------------------------------------------------------------------- select */

#define SELECT_LOOP(name, T)                                                                                                \
	static void name(const uint64_t *which, const void *pa, const void *pb, size_t rows, void *po)                      \
	{                                                                                                                   \
		const T *restrict a = pa, *restrict b = pb;                                                                 \
		T *restrict out = po;                                                                                       \
		for (size_t i = 0; i < rows; i += BLOCK) {                                                                  \
			uint64_t word = which[i / BLOCK];                                                                   \
			size_t n = rows - i < BLOCK ? rows - i : BLOCK;                                                     \
			for (size_t j = 0; j < n; j++) out[i + j] = word >> j & 1 ? a[i + j] : b[i + j];                    \
		}                                                                                                           \
	}
SELECT_LOOP(select_1, uint8_t)
SELECT_LOOP(select_2, uint16_t)
SELECT_LOOP(select_4, uint32_t)
SELECT_LOOP(select_8, uint64_t)
SELECT_LOOP(select_16, dpi_i128)

static size_t count_bits(const uint64_t *bits, size_t words)
{
	size_t n = 0;
	for (size_t w = 0; w < words; w++) n += (size_t)__builtin_popcountll(bits[w]);
	return n;
}

#define OF_KINDS(p)                                                                                                         \
	{                                                                                                                   \
		[KIND_I8] = p##_i8, [KIND_I16] = p##_i16, [KIND_I32] = p##_i32, [KIND_I64] = p##_i64, [KIND_U8] = p##_u8,   \
		[KIND_U16] = p##_u16, [KIND_U32] = p##_u32, [KIND_U64] = p##_u64, [KIND_F32] = p##_f32,                     \
		[KIND_F64] = p##_f64                                                                                        \
	}

const struct dpi_kernels KERNELS = {
	.name = KERNELS_NAME,
	.compare = { OF_KINDS(eq), OF_KINDS(lt), OF_KINDS(le) },
	.compare_one = { OF_KINDS(eq1), OF_KINDS(lt1), OF_KINDS(le1) },
	.compare_one_swapped = { OF_KINDS(eq1), OF_KINDS(gt1), OF_KINDS(ge1) },
	.add = { add_i64, add_u64, add_f64 },
	.sub = { sub_i64, sub_u64, sub_f64 },
	.mul = { mul_i64, mul_u64, mul_f64 },
	.div = div_f64,
	.widen = { [KIND_I8] = widen_i8,
		   [KIND_I16] = widen_i16,
		   [KIND_I32] = widen_i32,
		   [KIND_U8] = widen_u8,
		   [KIND_U16] = widen_u16,
		   [KIND_U32] = widen_u32,
		   [KIND_I64] = real_i64,
		   [KIND_F32] = real_f32 },
	.beyond = beyond,
	.count = count_bits,
	.select = { select_1, select_2, select_4, select_8, select_16 },
};
