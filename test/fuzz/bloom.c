/* SPDX-License-Identifier: Apache-2.0
 * bloom.c: libFuzzer target: a Bloom filter of keys that another process has published. */
#include "flows/bloom.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dpi_filter f = { 0 };
	uint8_t *copy = copy_of(data, size);
	if (!dpi_filter_read(copy, size, &f)) {
		uint8_t bits;
		uint64_t hash[2] = { size * UINT64_C(0x9e3779b97f4a7c15), 0 };
		need(f.columns && f.columns <= DPI_KEYS_MAX && dpi_filter_bytes(&f) == size, "its size");
		memset(copy, 0xa5, size);
		dpi_filter_write(&f, copy);
		need(!memcmp(copy, data, size), "other bytes");
		dpi_bloom_insert_batch(f.bloom, hash, 2);
		need(dpi_bloom_probe(f.bloom, hash, 2, &bits) == 2, "a key is lost");
		dpi_bloom_free(f.bloom);
	} else {
		need(!f.bloom, "half a filter");
	}
	free(copy);
	return 0;
}
