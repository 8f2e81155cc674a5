/* SPDX-License-Identifier: Apache-2.0
 * bloom_test.c: the Bloom filter of flows/sketch.h: nothing inserted is missed, false answers are as rare as asked for,
 * over many seeds and sizes and behind a partitioning; batches are single calls; merging, saving and loading. */
#include "unit.h"

#include <dpi.h>

#include "flows/move/hash.h"
#include "flows/sketch.h"

#define LIMIT ((size_t)64 << 20)
#define SEED 20261121 /* always the same: a rate may be anything, now and then */

static uint64_t hash_of(uint64_t seed, uint64_t value)
{
	return dpi_hash_word(dpi_hash_seed(seed), value);
}

TEST(bloom_rate_over_many_seeds, "", 0, .deadline_s = 180)
{
	static const double rates[] = { 0.5, 0.1, 0.01, 0.001, 0.0001 };
	enum { PROBES = 100000 };
	for (int r = 0; r < 5; r++)
		for (uint64_t count = 10; count <= 30000; count *= count < 1000 ? 10 : 30) {
			uint64_t wrong = 0;
			int seeds = count > 1000 ? 4 : 20;
			for (int s = 0; s < seeds; s++) {
				struct dpi_bloom *b;
				uint64_t seed = SEED + (uint64_t)s;
				CHECK_DPI(dpi_bloom_new(count, rates[r], LIMIT, &b));
				for (uint64_t i = 0; i < count; i++) dpi_bloom_insert(b, hash_of(seed, i));
				for (uint64_t i = 0; i < count; i++) CHECK(dpi_bloom_may_have(b, hash_of(seed, i)));
				for (uint64_t i = 0; i < PROBES; i++)
					wrong += dpi_bloom_may_have(b, hash_of(seed, count + i));
				dpi_bloom_free(b);
			}
			/* with few values the blocks they fall into vary a lot */
			double most = rates[r] * (count < 100 ? 3 : count < 1000 ? 1.5 : 1.15) * PROBES * seeds + 30;
			CHECK(wrong < most);
		}
}

/* All keys of one part of 64: the bits that chose it are no use any more, and none is needed. */
TEST(bloom_behind_a_partitioning, "", 0)
{
	struct dpi_bloom *b;
	uint64_t count = 0, wrong = 0, probes = 0;
	CHECK_DPI(dpi_bloom_new(5000, 0.01, LIMIT, &b));
	for (uint64_t i = 0; count < 5000; i++) {
		uint64_t h = hash_of(SEED, i);
		if (dpi_hash_part(h, 64) == 17) dpi_bloom_insert(b, h), count++;
	}
	for (uint64_t i = 1u << 30; probes < 50000; i++) {
		uint64_t h = hash_of(SEED, i);
		if (dpi_hash_part(h, 64) == 17) wrong += dpi_bloom_may_have(b, h), probes++;
	}
	CHECK_INT(wrong, <, 50000 * 0.0125);
	dpi_bloom_free(b);
}

TEST(bloom_batches_merge_and_bytes, "", 0)
{
	struct draws d = draws_from(rank);
	for (int n = rounds(100); n; n--) {
		struct dpi_bloom *one, *batch, *other, *back;
		uint64_t count = 1 + draw_below(&d, 500), h[500];
		uint8_t bits[63];
		CHECK_DPI(dpi_bloom_new(count, 0.05, LIMIT, &one));
		CHECK_DPI(dpi_bloom_new(count, 0.05, LIMIT, &batch));
		CHECK_DPI(dpi_bloom_new(count, 0.05, LIMIT, &other));
		for (uint64_t i = 0; i < count; i++) dpi_bloom_insert(one, h[i] = draw(&d));
		uint64_t half = draw_below(&d, count + 1);
		dpi_bloom_insert_batch(batch, h, half), dpi_bloom_insert_batch(other, h + half, count - half);
		CHECK_DPI(dpi_bloom_merge(batch, other));
		CHECK(!memcmp(one->block, batch->block, (size_t)one->blocks * 32));
		CHECK_INT(dpi_bloom_probe(one, h, count, bits), ==, count);
		for (uint64_t i = 0; i < count; i++) h[i] = draw_below(&d, 2) ? draw(&d) : h[i];
		size_t found = dpi_bloom_probe(one, h, count, bits), is = 0;
		for (uint64_t i = 0; i < count; i++) {
			bool may = dpi_bloom_may_have(one, h[i]);
			CHECK((bits[i / 8] >> i % 8 & 1) == may);
			is += may;
		}
		CHECK_INT(found, ==, is);
		size_t size = dpi_bloom_size(one);
		uint8_t *bytes = guarded(size);
		dpi_bloom_save(one, bytes);
		CHECK_DPI(dpi_bloom_load(bytes, size, size, &back));
		CHECK(back->blocks == one->blocks && !memcmp(one->block, back->block, (size_t)one->blocks * 32));
		dpi_bloom_free(back);
		CHECK_INT(dpi_bloom_load(bytes, size, 31, &back), ==, DPI_ERR_LIMIT);
		for (int i = 0; i < 16; i++) {
			bytes[i] ^= 1;
			CHECK_INT(dpi_bloom_load(bytes, size, size, &back), ==, DPI_ERR_CORRUPT);
			bytes[i] ^= 1;
		}
		for (size_t cut = 0; cut < 48 && cut < size; cut++)
			CHECK_INT(dpi_bloom_load(bytes + size - cut, cut, LIMIT, &back), ==, DPI_ERR_CORRUPT);
		guarded_free(bytes, size);
		dpi_bloom_free(one), dpi_bloom_free(batch), dpi_bloom_free(other);
	}
	struct dpi_bloom *a, *b;
	CHECK_ERROR(dpi_bloom_new(1, 0, LIMIT, &a), DPI_ERR_ARGUMENT, "rate");
	CHECK_ERROR(dpi_bloom_new(1, 0.9, LIMIT, &a), DPI_ERR_ARGUMENT, "rate");
	CHECK_ERROR(dpi_bloom_new(UINT64_MAX, 0.01, LIMIT, &a), DPI_ERR_LIMIT, "at most");
	CHECK_DPI(dpi_bloom_new(1000, 0.01, LIMIT, &a));
		CHECK_DPI(dpi_bloom_new(10, 0.01, LIMIT, &b));
	CHECK_ERROR(dpi_bloom_merge(a, b), DPI_ERR_ARGUMENT, "do not merge");
	dpi_bloom_free(a), dpi_bloom_free(b);
}
