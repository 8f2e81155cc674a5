/* SPDX-License-Identifier: Apache-2.0
 * bloom_image.c: a Bloom filter as bytes, and back from bytes of anybody. */
#include <string.h>

#include "bloom.h"

static const uint8_t magic[4] = { 'D', 'P', 'I', 'K' };
enum { VERSION = 1 };

size_t dpi_filter_bytes(const struct dpi_filter *f)
{
	return DPI_FILTER_HEAD + dpi_bloom_size(f->bloom);
}

void dpi_filter_write(const struct dpi_filter *f, void *bytes)
{
	uint8_t *p = bytes;
	memset(p, 0, DPI_FILTER_HEAD);
	memcpy(p, magic, sizeof magic);
	p[4] = VERSION;
	p[5] = (uint8_t)f->columns;
	memcpy(p + 8, f->type, f->columns);
	dpi_bloom_save(f->bloom, p + DPI_FILTER_HEAD);
}

static bool known(int type)
{
	switch (type) {
#define TYPE(name, number, width, text) case number:
	DPI_TYPES(TYPE)
#undef TYPE
		return true;
	}
	return false;
}

int dpi_filter_read(const void *bytes, size_t size, struct dpi_filter *f)
{
	uint8_t head[DPI_FILTER_HEAD];
	if (size < sizeof head || memcmp(bytes, magic, sizeof magic)) return dpi_fail(DPI_ERR_CORRUPT, "%zu bytes are no Bloom filter of keys", size);
	memcpy(head, bytes, sizeof head);
	if (head[4] != VERSION) return dpi_fail(DPI_ERR_VERSION, "the Bloom filter is of version %u, this library reads %u", head[4], (unsigned)VERSION);
	bool good = head[5] && head[5] <= DPI_KEYS_MAX && !head[6] && !head[7];
	for (unsigned i = 0; i < DPI_KEYS_MAX && good; i++) good = i < head[5] ? known(head[8 + i]) : !head[8 + i];
	if (!good) return dpi_fail(DPI_ERR_CORRUPT, "a Bloom filter of keys that are none");
	f->columns = head[5];
	memcpy(f->type, head + 8, DPI_KEYS_MAX);
	return dpi_bloom_load((const uint8_t *)bytes + sizeof head, size - sizeof head, DPI_BLOOM_MEMORY_MOST, &f->bloom);
}
