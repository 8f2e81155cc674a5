/* SPDX-License-Identifier: Apache-2.0
 * deflate.c: DEFLATE in the gzip format, as gzip writes and reads it, by zlib. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "coder.h"
#include "error.h"

/* As in zlib.h 1.2. */
struct stream {
	const uint8_t *next_in;
	unsigned in;
	unsigned long total_in;
	uint8_t *next_out;
	unsigned out;
	unsigned long total_out;
	const char *message;
	void *state;
	void *(*allocate)(void *, unsigned, unsigned);
	void (*release)(void *, void *);
	void *opaque;
	int data_type;
	unsigned long adler, reserved;
};
enum { FINISH = 4, END = 1, DEFLATED = 8, GZIP = 16 + 15, MEMORY_LEVEL = 8, STRATEGY = 0 };

static int (*deflate_init)(struct stream *, int, int, int, int, int, const char *, int);
static int (*deflate_reset)(struct stream *);
static int (*deflate)(struct stream *, int);
static int (*deflate_end)(struct stream *);
static int (*inflate_init)(struct stream *, int, const char *, int);
static int (*inflate_reset)(struct stream *);
static int (*inflate)(struct stream *, int);
static int (*inflate_end)(struct stream *);

static int open(struct dpi_coder *c)
{
	static const struct dpi_symbol symbols[] = {
		{ "deflateInit2_", &deflate_init }, { "deflateReset", &deflate_reset }, { "deflate", &deflate },
		{ "deflateEnd", &deflate_end },	    { "inflateInit2_", &inflate_init }, { "inflateReset", &inflate_reset },
		{ "inflate", &inflate },	    { "inflateEnd", &inflate_end },
	};
	int error = dpi_library(c->codec, symbols, sizeof symbols / sizeof *symbols);
	if (error) return error;
	struct stream *d = calloc(1, sizeof *d), *i = calloc(1, sizeof *i);
	if (d && !deflate_init(d, c->level, DEFLATED, GZIP, MEMORY_LEVEL, STRATEGY, "1", sizeof *d)) c->encoder = d;
	else free(d);
	if (i && !inflate_init(i, GZIP, "1", sizeof *i)) c->decoder = i;
	else free(i);
	return c->encoder && c->decoder ? DPI_SUCCESS : dpi_fail(DPI_ERR_MEMORY,
								 "no memory for DEFLATE, or a zlib before 1.2");
}

static void close(struct dpi_coder *c)
{
	if (c->encoder) deflate_end(c->encoder);
	if (c->decoder) inflate_end(c->decoder);
	free(c->encoder);
	free(c->decoder);
}

/* zlib's own figure for any level and memory, and the gzip header and trailer. */
static size_t bound(const struct dpi_coder *c, size_t size)
{
	(void)c;
	return size + (size >> 5) + (size >> 7) + (size >> 11) + 64;
}

static int too_large(size_t size)
{
	return dpi_fail(DPI_ERR_SIZE, "a segment of %zu bytes: DEFLATE takes less than 4 GiB", size);
}

static int encode(struct dpi_coder *c, const void *from, size_t size, const void *with, size_t with_size, void *to,
		  size_t *written)
{
	struct stream *s = c->encoder;
	(void)with, (void)with_size;
	if (size > UINT_MAX / 2) return too_large(size);
	s->next_in = from, s->in = (unsigned)size;
	s->next_out = to, s->out = *written > UINT_MAX ? UINT_MAX : (unsigned)*written;
	if (deflate_reset(s) || deflate(s, FINISH) != END)
		return dpi_fail(DPI_ERR_INTERNAL, "DEFLATE does not compress %zu bytes into %zu", size, *written);
	*written = (size_t)(s->next_out - (uint8_t *)to);
	return DPI_SUCCESS;
}

static int decode(struct dpi_coder *c, const void *from, size_t size, const void *with, size_t with_size, void *to,
		  size_t *written)
{
	struct stream *s = c->decoder;
	uint8_t none;
	(void)with, (void)with_size;
	if (size > UINT_MAX || *written > UINT_MAX) return too_large(size > *written ? size : *written);
	s->next_in = from, s->in = (unsigned)size;
	s->next_out = *written ? to : &none, s->out = (unsigned)*written;
	if (inflate_reset(s) || inflate(s, FINISH) != END)
		return dpi_fail(DPI_ERR_CORRUPT,
				"a segment is not gzip, is damaged, or holds more than the %zu bytes it declares", *written);
	if (s->in) return dpi_fail(DPI_ERR_CORRUPT, "%u bytes follow a segment of gzip", s->in);
	*written -= s->out;
	return DPI_SUCCESS;
}

const struct dpi_codec dpi_codec_deflate = { "deflate", 3, false, 1, 6, 9, "libz.so.1", "zlib1g", open, close, bound,
					     encode, decode };
