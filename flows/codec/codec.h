/* SPDX-License-Identifier: Apache-2.0
 * codec.h: whole segments compressed or encrypted: last at the source, first at the target. The libraries are loaded when
 * first needed. What compressors write is each one's standard format, byte for byte. */
#ifndef DPI_CODEC_CODEC_H
#define DPI_CODEC_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dpi_coder;

/* One kind of codec: how it is called in a definition, and in a segment's header. Numbers never change. */
struct dpi_codec {
	const char *name;
	uint32_t id;
	bool keyed;	     /* needs a key, and authenticates what goes with the segment */
	int least, usual, most; /* levels; all 0: there is none */
	const char *library, *package;
	int (*open)(struct dpi_coder *c);
	void (*close)(struct dpi_coder *c);
	size_t (*bound)(const struct dpi_coder *c, size_t size);
	/* *written: room; out: bytes */
	int (*encode)(struct dpi_coder *c, const void *from, size_t size, const void *with, size_t with_size, void *to,
		      size_t *written);
	int (*decode)(struct dpi_coder *c, const void *from, size_t size, const void *with, size_t with_size, void *to,
		      size_t *written);
};

/* lz4 (1), zstd (2), deflate (3, gzip format), aes-256-gcm (4). NULL: none of this name or number. */
const struct dpi_codec *dpi_codec_named(const char *name);
const struct dpi_codec *dpi_codec_numbered(uint32_t id);

/* A coder: one codec's working memory, used by one thread at a time, for any number of segments. level: 0 is the usual
 * one. key: the name of a key this process holds, for a keyed codec; else NULL. DPI_ERR_UNSUPPORTED: the library is not
 * there, the sentence names the package; DPI_ERR_NAME: no such key; DPI_ERR_ARGUMENT: level; DPI_ERR_MEMORY. */
int dpi_coder_open(const struct dpi_codec *codec, int level, const char *key, struct dpi_coder **c);
/* Another one of the same codec, level and key, also where the process holds that key no more. */
int dpi_coder_like(const struct dpi_coder *other, struct dpi_coder **c);
void dpi_coder_close(struct dpi_coder *c); /* wipes what it derived; NULL is fine */

/* Bytes by which what a keyed codec makes is longer. */
#define DPI_CODEC_SEALED 72u

/* No encoding of size bytes is longer. */
size_t dpi_coder_bound(const struct dpi_coder *c, size_t size);

/* Encode a segment. with: what is not encoded but authenticated, such as the segment's header; keyed codecs only. room:
 * of to, at least the bound. DPI_ERR_FORK: a forked child's coder, which could repeat its parent's nonces. */
int dpi_coder_encode(struct dpi_coder *c, const void *from, size_t size, const void *with, size_t with_size, void *to,
		     size_t room, size_t *written);

/* A size that a peer declares, before anything is allocated for it. DPI_ERR_CORRUPT: more than limit. */
int dpi_codec_declared(uint64_t declared, size_t limit, size_t *size);

/* Decode a segment to exactly plain bytes, as declared. Never reads or writes beyond; from may hold anything.
 * DPI_ERR_CORRUPT: no such format, damaged, or of another size; DPI_ERR_AUTH: sealed with another key. */
int dpi_coder_decode(struct dpi_coder *c, const void *from, size_t size, const void *with, size_t with_size, void *to,
		     size_t plain);

#endif
