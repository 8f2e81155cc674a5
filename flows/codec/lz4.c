/* SPDX-License-Identifier: Apache-2.0
 * lz4.c: LZ4 in its frame format, as the lz4 program writes and reads it: with the size and a checksum of the content. */
#include <string.h>

#include "coder.h"
#include "error.h"

/* As in lz4frame.h 1.9. */
struct preferences {
	struct {
		int block_size, block_mode, content_checksum, frame_type;
		unsigned long long content_size;
		unsigned dictionary;
		int block_checksum;
	} frame;
	int level;
	unsigned flush, favour;
	unsigned reserved[3];
};
#define FRAME_VERSION 100

static size_t (*bound_of)(size_t, const struct preferences *);
static size_t (*compress)(void *, size_t, const void *, size_t, const struct preferences *);
static unsigned (*is_error)(size_t);
static const char *(*error_name)(size_t);
static size_t (*new_context)(void **, unsigned);
static size_t (*free_context)(void *);
static void (*reset)(void *);
static size_t (*decompress)(void *, void *, size_t *, const void *, size_t *, const void *);

static struct preferences preferences(const struct dpi_coder *c, size_t size)
{
	/* 7: blocks of 4 MiB at most; 1: independent blocks; content checksum */
	return (struct preferences){ .frame = { 7, 1, 1, 0, size, 0, 0 }, .level = c->level };
}

static int open(struct dpi_coder *c)
{
	static const struct dpi_symbol symbols[] = {
		{ "LZ4F_compressFrameBound", &bound_of }, { "LZ4F_compressFrame", &compress },
		{ "LZ4F_isError", &is_error },		  { "LZ4F_getErrorName", &error_name },
		{ "LZ4F_createDecompressionContext", &new_context }, { "LZ4F_freeDecompressionContext", &free_context },
		{ "LZ4F_resetDecompressionContext", &reset }, { "LZ4F_decompress", &decompress },
	};
	return dpi_library(c->codec, symbols, sizeof symbols / sizeof *symbols);
}

static void close(struct dpi_coder *c)
{
	if (c->decoder) free_context(c->decoder);
}

static size_t bound(const struct dpi_coder *c, size_t size)
{
	struct preferences p = preferences(c, size);
	return bound_of(size, &p);
}

static int encode(struct dpi_coder *c, const void *from, size_t size, const void *with, size_t with_size, void *to,
		  size_t *written)
{
	struct preferences p = preferences(c, size);
	(void)with, (void)with_size;
	size_t n = compress(to, *written, from, size, &p);
	if (is_error(n))
		return dpi_fail(DPI_ERR_INTERNAL, "LZ4 does not compress %zu bytes into %zu: %s", size, *written,
				error_name(n));
	*written = n;
	return DPI_SUCCESS;
}

static int decode_frame(struct dpi_coder *c, const void *from, size_t size, void *to, size_t *written)
{
	size_t in = 0, out = 0, left = 1;
	uint8_t spare; /* without room left there may still be a checksum to read; a byte more is one too many */
	if (!c->decoder && is_error(new_context(&c->decoder, FRAME_VERSION)))
		return dpi_fail(DPI_ERR_MEMORY, "no memory for LZ4");
	reset(c->decoder);
	while (in < size && left) {
		size_t n = size - in, room = *written - out, got = room ? room : 1;
		left = decompress(c->decoder, room ? (uint8_t *)to + out : &spare, &got, (const uint8_t *)from + in, &n,
				  NULL);
		if (is_error(left)) return dpi_fail(DPI_ERR_CORRUPT, "a segment is not LZ4: %s", error_name(left));
		if (got > room || (!n && !got))
			return dpi_fail(DPI_ERR_CORRUPT, "a segment of LZ4 holds more than the %zu bytes it declares",
					*written);
		out += got;
		in += n;
	}
	if (left || in < size)
		return dpi_fail(DPI_ERR_CORRUPT, left ? "a segment of LZ4 is cut short" : "bytes follow a segment of LZ4");
	*written = out;
	return DPI_SUCCESS;
}

static int decode(struct dpi_coder *c, const void *from, size_t size, const void *with, size_t with_size, void *to,
		  size_t *written)
{
	(void)with, (void)with_size;
	int error = decode_frame(c, from, size, to, written);
	if (error && c->decoder) { /* a reset of 1.9 does not forget the size that a broken frame declared */
		free_context(c->decoder);
		c->decoder = NULL;
	}
	return error;
}

const struct dpi_codec dpi_codec_lz4 = { "lz4", 1, false, 1, 1, 12, "liblz4.so.1", "liblz4-1", open, close, bound, encode,
					 decode };
