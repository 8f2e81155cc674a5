/* SPDX-License-Identifier: Apache-2.0
 * sketch_test.c: flows/sketch.h: the errors that are promised, over many seeds; merging is as if one had seen all; what
 * was saved comes back, and nothing else is taken. */
#include "unit.h"

#include <dpi.h>

#include "flows/move/hash.h"
#include "flows/sketch.h"

static double off(double is, double should)
{
	return (is - should) / should;
}

/* The mean of the errors shows a bias, their square the spread: both within four standard errors of what they may be. */
#define SEED 20261121 /* always the same: a mean may be off by anything, now and then */
TEST(hll_error_over_many_seeds, "", 0, .deadline_s = 180)
{
	static const uint64_t counts[] = { 1, 10, 100, 1000, 3000, 10000, 40000, 200000 };
	enum { seeds = 60 };
	for (unsigned p = 6; p <= 12; p += 3)
		for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
			double sum = 0, square = 0, allowed = 1.04;
			for (unsigned i = 0; i < p; i++) allowed /= 1.4142135;
			for (int s = 0; s < seeds; s++) {
				struct dpi_hll *h;
				uint64_t seed = dpi_hash_seed(SEED + (uint64_t)s);
				CHECK_DPI(dpi_hll_new(p, &h));
				for (uint64_t i = 0; i < counts[c]; i++)
					dpi_hll_add(h, dpi_hash_word(seed, i)), dpi_hll_add(h, dpi_hash_word(seed, i / 2));
				double e = off(dpi_hll_estimate(h), (double)counts[c]);
				sum += e, square += e * e;
				CHECK(e < 9 * allowed && e > -9 * allowed); /* few registers have long tails */
				dpi_hll_free(h);
			}
			double mean = sum / seeds, spread = square / seeds, root = allowed;
			for (int i = 1; i * i < seeds; i++) root = allowed / i; /* allowed / sqrt(seeds), rounded up */
			CHECK(mean < 4 * root && mean > -4 * root);
			CHECK(spread < (p < 9 ? 4 : 2.5) * allowed * allowed);
		}
}

TEST(hll_edges_merge_and_bytes, "", 0)
{
	struct draws d = draws_from(rank);
	struct dpi_hll *a, *b, *all, *back;
	CHECK_ERROR(dpi_hll_new(3, &a), DPI_ERR_ARGUMENT, "4 to 16");
	CHECK_ERROR(dpi_hll_new(17, &a), DPI_ERR_ARGUMENT, "4 to 16");
	for (unsigned p = DPI_HLL_LEAST; p <= DPI_HLL_MOST; p++) {
		CHECK_DPI(dpi_hll_new(p, &a));
		CHECK_DPI(dpi_hll_new(p, &b));
		CHECK_DPI(dpi_hll_new(p, &all));
		CHECK(dpi_hll_estimate(a) == 0);
		dpi_hll_add(a, 0), dpi_hll_add(all, 0); /* the largest rank */
		uint64_t h[100];
		for (int i = 0; i < 100; i++) dpi_hll_add(i & 1 ? a : b, h[i] = draw(&d));
		dpi_hll_add_batch(all, h, 100);
		CHECK_DPI(dpi_hll_merge(b, a));
		size_t size = dpi_hll_size(b);
		CHECK_INT(size, ==, 8 + (1 << p));
		uint8_t *bytes = guarded(size), *more = guarded(size + 1);
		dpi_hll_save(b, bytes);
		CHECK_DPI(dpi_hll_load(bytes, size, &back));
		CHECK(!memcmp(back->rank, all->rank, (size_t)1 << p));
		CHECK(dpi_hll_estimate(back) == dpi_hll_estimate(all) && dpi_hll_estimate(all) > 1);
		memcpy(more, bytes, size);
		CHECK_INT(dpi_hll_load(more, size + 1, &back), ==, DPI_ERR_CORRUPT);
		CHECK_INT(dpi_hll_load(bytes, size - 1, &back), ==, DPI_ERR_CORRUPT);
		CHECK_INT(dpi_hll_load(bytes, 0, &back), ==, DPI_ERR_CORRUPT);
		for (int i = 0; i < 8; i++) {
			bytes[i] ^= 64;
			CHECK_INT(dpi_hll_load(bytes, size, &back), ==, DPI_ERR_CORRUPT);
			bytes[i] ^= 64;
		}
		bytes[size - 1] = (uint8_t)(66 - p);
		CHECK_ERROR(dpi_hll_load(bytes, size, &back), DPI_ERR_CORRUPT, "register");
		memset(a->rank, (int)(65 - p), (size_t)1 << p); /* full: very large, not infinite or less than nothing */
		CHECK(dpi_hll_estimate(a) > 1e18 / (1 << p));
		guarded_free(bytes, size), guarded_free(more, size + 1);
		dpi_hll_free(a), dpi_hll_free(b), dpi_hll_free(all), dpi_hll_free(back);
	}
	CHECK_DPI(dpi_hll_new(4, &a));
		CHECK_DPI(dpi_hll_new(5, &b));
	CHECK_ERROR(dpi_hll_merge(a, b), DPI_ERR_ARGUMENT, "4 and 5");
	dpi_hll_free(a), dpi_hll_free(b);
}

/* --------------------------------------------------------------------------------------------------- frequent keys */

enum { KEYS = 2000 };

/* A key of a skewed choice: small ones much more often. */
static uint64_t skewed(struct draws *d)
{
	uint64_t n = KEYS;
	for (int i = 0; i < 6; i++) n = draw_below(d, n) + 1;
	return n - 1;
}

static void check_heavy(const struct dpi_heavy *h, const uint64_t *true_count, uint32_t capacity)
{
	struct dpi_heavy_entry top[300];
	uint64_t total = 0, sum = 0;
	size_t n = dpi_heavy_top(h, top, 300), few = dpi_heavy_top(h, top, 5);
	CHECK(few == (n < 5 ? n : 5));
	n = dpi_heavy_top(h, top, 300);
	CHECK(n <= capacity && n <= KEYS);
	for (int k = 0; k < KEYS; k++) total += true_count[k];
	CHECK(dpi_heavy_total(h) == total);
	for (size_t i = 0; i < n; i++) {
		CHECK(top[i].key < KEYS);
		CHECK(top[i].count >= true_count[top[i].key] && top[i].count - top[i].error <= true_count[top[i].key]);
		CHECK(i == 0 || top[i - 1].count >= top[i].count);
		sum += top[i].count;
	}
	(void)sum;
	for (uint64_t k = 0; k < KEYS; k++) {
		if (true_count[k] <= total / capacity) continue;
		size_t i = 0;
		while (i < n && top[i].key != k) i++;
		CHECK(i < n); /* every frequent one is there */
	}
}

TEST(heavy_bounds_hold_over_many_seeds, "", 0, .deadline_s = 180)
{
	struct draws d = draws_from(rank);
	static uint64_t count[2][KEYS];
	for (int n = rounds(60); n; n--) {
		uint32_t capacity = 1 + (uint32_t)draw_below(&d, draw_below(&d, 2) ? 10 : 300);
		struct dpi_heavy *h[2], *back;
		memset(count, 0, sizeof count);
		for (int i = 0; i < 2; i++) {
			CHECK_DPI(dpi_heavy_new(capacity, &h[i]));
			for (uint64_t k = draw_below(&d, 20000); k; k--) {
				uint64_t key = skewed(&d), weight = draw_below(&d, 10) ? 1 : 1 + draw_below(&d, 50);
				dpi_heavy_add(h[i], key, weight);
				count[i][key] += weight;
			}
			check_heavy(h[i], count[i], capacity);
		}
		CHECK_DPI(dpi_heavy_merge(h[0], h[1]));
		for (int k = 0; k < KEYS; k++) count[0][k] += count[1][k];
		check_heavy(h[0], count[0], capacity);
		size_t size = dpi_heavy_size(h[0]);
		uint8_t *bytes = guarded(size);
		dpi_heavy_save(h[0], bytes);
		CHECK_DPI(dpi_heavy_load(bytes, size, 300, &back));
		check_heavy(back, count[0], capacity);
		for (int i = 0; i < 500; i++) { /* and it goes on */
			uint64_t key = skewed(&d);
			dpi_heavy_add(back, key, 1), count[0][key]++;
		}
		check_heavy(back, count[0], capacity);
		dpi_heavy_free(back);
		CHECK_INT(dpi_heavy_load(bytes, size - 1, 300, &back), ==, DPI_ERR_CORRUPT);
		CHECK_INT(dpi_heavy_load(bytes, size, capacity - 1, &back), ==, DPI_ERR_CORRUPT);
		if (size > 48) { /* the same key twice */
			memcpy(bytes + 48, bytes + 24, 8);
			CHECK_INT(dpi_heavy_load(bytes, size, 300, &back), ==, DPI_ERR_CORRUPT);
		}
		guarded_free(bytes, size), dpi_heavy_free(h[0]), dpi_heavy_free(h[1]);
	}
	struct dpi_heavy *a, *b;
	CHECK_ERROR(dpi_heavy_new(0, &a), DPI_ERR_ARGUMENT, "room for 0");
	CHECK_DPI(dpi_heavy_new(3, &a));
		CHECK_DPI(dpi_heavy_new(4, &b));
	CHECK_ERROR(dpi_heavy_merge(a, b), DPI_ERR_ARGUMENT, "3 and 4");
	for (int i = 0; i < 3; i++) dpi_heavy_add(a, 7, UINT64_MAX); /* counts stop, and do not begin anew */
	CHECK(dpi_heavy_total(a) == UINT64_MAX);
	dpi_heavy_free(a), dpi_heavy_free(b);
}

/* ----------------------------------------------------------------------------------------------------------- top k */

struct pair {
	int64_t order;
	uint64_t number;
};

static int best_first(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	if (x->order != y->order) return x->order < y->order ? 1 : -1;
	return (x->number > y->number) - (x->number < y->number);
}

TEST(topk_is_what_sorting_gives, "", 0)
{
	struct draws d = draws_from(rank);
	static struct pair all[3000];
	for (int n = rounds(200); n; n--) {
		uint32_t k = (uint32_t)draw_below(&d, 60), payload = 8 + (uint32_t)draw_below(&d, 20), parts =
			1 + (uint32_t)draw_below(&d, 4);
		size_t size = dpi_topk_size(k, payload), count = 0;
		struct dpi_topk *t[4];
		uint8_t value[28];
		CHECK(size);
		for (uint32_t i = 0; i < parts; i++) {
			t[i] = malloc(size);
			dpi_topk_init(t[i], k, payload);
			for (uint64_t m = draw_below(&d, 500); m; m--, count++) {
				all[count] = (struct pair){ draw_below(&d, 5) ? (int64_t)draw_below(&d, 50) - 25
							    : (int64_t)draw(&d), count };
				fill(value, payload, count), memcpy(value, &all[count].number, 8);
				dpi_topk_add(t[i], all[count].order, value);
			}
		}
		for (uint32_t i = 1; i < parts; i++) {
			CHECK(dpi_topk_check(t[i], size, k, payload));
			dpi_topk_merge(t[0], t[i]);
			free(t[i]);
		}
		dpi_topk_sort(t[0]);
		qsort(all, count, sizeof *all, best_first);
		CHECK_INT(t[0]->used, ==, count < k ? count : k);
		for (uint32_t i = 0; i < t[0]->used; i++) {
			const void *p;
			CHECK(dpi_topk_get(t[0], i, &p) == all[i].order);
			CHECK(!memcmp(p, &all[i].number, 8));
			for (uint32_t b = 8; b < payload; b++) CHECK(((const uint8_t *)p)[b] == byte_of(all[i].number, b));
		}
		CHECK(!dpi_topk_check(t[0], size - 1, k, payload) && !dpi_topk_check(t[0], size, k + 1, payload));
		t[0]->used = k + 1;
		CHECK(!dpi_topk_check(t[0], size, k, payload));
		free(t[0]);
	}
	CHECK(!dpi_topk_size(UINT32_MAX, 8) && !dpi_topk_size(1, UINT32_MAX) && dpi_topk_size(0,
		0) == sizeof(struct dpi_topk));
}
