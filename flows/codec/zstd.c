/* SPDX-License-Identifier: Apache-2.0
 * zstd.c: Zstandard frames, as the zstd program writes and reads them, with the content's size and checksum. */
#include "coder.h"
#include "error.h"

#define CHECKSUM_FLAG 201 /* ZSTD_c_checksumFlag, ZSTD_c_compressionLevel */
#define LEVEL 100

static void *(*new_encoder)(void);
static void *(*new_decoder)(void);
static size_t (*free_encoder)(void *);
static size_t (*free_decoder)(void *);
static size_t (*set_parameter)(void *, int, int);
static size_t (*bound_of)(size_t);
static size_t (*compress)(void *, void *, size_t, const void *, size_t);
static size_t (*decompress)(void *, void *, size_t, const void *, size_t);
static unsigned (*is_error)(size_t);
static const char *(*error_name)(size_t);

static int open(struct dpi_coder *c)
{
	static const struct dpi_symbol symbols[] = {
		{ "ZSTD_createCCtx", &new_encoder }, { "ZSTD_createDCtx", &new_decoder },
		{ "ZSTD_freeCCtx", &free_encoder }, { "ZSTD_freeDCtx", &free_decoder },
		{ "ZSTD_CCtx_setParameter", &set_parameter }, { "ZSTD_compressBound", &bound_of },
		{ "ZSTD_compress2", &compress }, { "ZSTD_decompressDCtx", &decompress },
		{ "ZSTD_isError", &is_error }, { "ZSTD_getErrorName", &error_name },
	};
	int error = dpi_library(c->codec, symbols, sizeof symbols / sizeof *symbols);
	if (error) return error;
	c->encoder = new_encoder();
	c->decoder = new_decoder();
	if (!c->encoder || !c->decoder || is_error(set_parameter(c->encoder, LEVEL, c->level)) ||
	    is_error(set_parameter(c->encoder, CHECKSUM_FLAG, 1)))
		return dpi_fail(DPI_ERR_MEMORY, "no memory for Zstandard");
	return DPI_SUCCESS;
}

static void close(struct dpi_coder *c)
{
	if (c->encoder) free_encoder(c->encoder);
	if (c->decoder) free_decoder(c->decoder);
}

static size_t bound(const struct dpi_coder *c, size_t size)
{
	(void)c;
	return bound_of(size);
}

static int encode(struct dpi_coder *c, const void *from, size_t size, const void *with, size_t with_size, void *to,
		  size_t *written)
{
	(void)with, (void)with_size;
	size_t n = compress(c->encoder, to, *written, from, size);
	if (is_error(n))
		return dpi_fail(DPI_ERR_INTERNAL, "Zstandard does not compress %zu bytes into %zu: %s", size, *written,
				error_name(n));
	*written = n;
	return DPI_SUCCESS;
}

static int decode(struct dpi_coder *c, const void *from, size_t size, const void *with, size_t with_size, void *to,
		  size_t *written)
{
	(void)with, (void)with_size;
	if (!size) return dpi_fail(DPI_ERR_CORRUPT, "a segment of Zstandard is empty");
	size_t n = decompress(c->decoder, to, *written, from, size);
	if (is_error(n))
		return dpi_fail(DPI_ERR_CORRUPT,
				"a segment is not Zstandard, or holds more than the %zu bytes it declares: %s", *written,
				error_name(n));
	*written = n;
	return DPI_SUCCESS;
}

const struct dpi_codec dpi_codec_zstd = { "zstd", 2, false, 1, 1, 19, "libzstd.so.1", "libzstd1", open, close, bound,
					  encode, decode };
